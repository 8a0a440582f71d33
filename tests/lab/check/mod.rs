//! `symroute check` in the test lab. A case breaks a healthy server in one way, and packets are lost. The finding
//! reports it, and the fix of the finding makes the packets arrive again.

pub mod environment;
pub mod lookups;
pub mod policy;
pub mod uplinks;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use crate::PLAIN;
use crate::judge::state;
use crate::providers::assert_lookups;
use crate::world::{A4, B4, B6, Host, World};

/// `symroute check --json`, with its exit code compared with the document.
pub fn check(world: &World) -> Value {
    let ran = world.server.run("symroute check --json");
    let report: Value = serde_json::from_str(&ran.stdout()).unwrap_or_else(|_| panic!("no JSON: {}", ran.text()));
    assert_eq!(ran.code(), if report["healthy"] == true { 0 } else { 1 }, "{report:#}");
    assert_eq!(world.server.run("symroute check --quiet").code(), ran.code());
    assert_fits(Schema::Check, &report);
    assert_severities(&report);
    report
}

/// An error loses packets now: there is one if a lookup fails. A difference from the plan alone is no error.
fn assert_severities(report: &Value) {
    let list = |key: &str| report[key].as_array().expect("a list").iter();
    let is_error = |finding: &Value| finding["severity"] == "error";
    let has_failed = list("lookups").any(|lookup| lookup["ok"] == false);
    assert!(!has_failed || list("findings").any(is_error), "{report:#}");
    let is_difference = |finding: &Value| {
        let ids = ["rule-missing", "table-empty", "table-stale", "foreign-route", "interface-group", "arp-flux"];
        ids.iter().any(|id| finding["id"] == *id)
    };
    let has_error = list("findings").any(|finding| is_error(finding) && is_difference(finding));
    assert!(has_failed || !has_error, "{report:#}");
}

/// The schemas of documents for other tools.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    Check,
    Observe,
}

/// A schema is the interface for monitoring. Debian's python3-jsonschema validates the documents; it starts only
/// once for each, because its start takes longer than a check.
pub fn assert_fits(schema: Schema, document: &Value) {
    type Validator = OnceLock<Mutex<(Child, BufReader<ChildStdout>)>>;
    static VALIDATORS: [Validator; 2] = [OnceLock::new(), OnceLock::new()];
    let path = ["docs/check.schema.json", "docs/observe.schema.json"][schema as usize];
    let start = || {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", VALIDATE]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let errors = BufReader::new(child.stdout.take().expect("a pipe"));
        Mutex::new((child, errors))
    };
    let mut validator = VALIDATORS[schema as usize].get_or_init(start).lock().expect("no panic");
    let (child, errors) = &mut *validator;
    writeln!(child.stdin.as_mut().expect("a pipe"), "{document}").expect("python3-jsonschema");
    let mut found = String::new();
    errors.read_line(&mut found).expect("python3-jsonschema");
    drop(validator);
    assert_eq!(found, "[]\n", "{document:#}");
}

/// Reads a document from each line of standard input, and writes its faults, as a list, to a line of standard output.
const VALIDATE: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
for line in sys.stdin:
    print([error.message for error in kind(schema).iter_errors(json.loads(line))], flush=True)
";

pub fn ids(report: &Value) -> Vec<&str> {
    report["findings"].as_array().expect("a list").iter().map(|finding| finding["id"].as_str().expect("text")).collect()
}

/// A healthy server: no finding, and its packets use the expected uplinks.
pub fn assert_quiet(world: &World) {
    assert_no_finding(world);
    assert_lookups(world);
}

/// Only the findings: manual policy routing may have no route to the LAN.
pub fn assert_no_finding(world: &World) {
    let ran = world.server.run("symroute check -v");
    assert!(ran.succeeded(), "{}\n{}", ran.text(), state(world));
    assert!(ran.text().contains("OK: all "), "{}", ran.text());
}

/// Breaks a healthy server. `works` sends packets: before, after it is broken, and after the fix.
pub fn found_and_fixed(world: &World, id: &str, how: &str, works: &dyn Fn() -> bool) {
    assert!(works() || works(), "{id}: works before\n{}", state(world));
    let broken = world.server.run(how);
    assert!(broken.succeeded(), "{id}: {}", broken.text());
    assert!(!works(), "{id}: still works after '{how}'\n{}", state(world));
    fixed(world, id, works);
    assert_quiet(world);
}

/// Runs the fix of a finding. Packets then arrive, and the finding is gone.
pub fn fixed(world: &World, id: &str, works: &dyn Fn() -> bool) {
    let report = check(world);
    let finding = report["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == id);
    let finding = finding.unwrap_or_else(|| panic!("{id} is not among {:?}\n{}", ids(&report), state(world)));
    for command in finding["fix"].as_array().expect("a list") {
        world.server.ok(command.as_str().expect("text"));
    }
    assert!(works() || works(), "{id}: does not work after {}\n{}", finding["fix"], state(world));
    assert!(!ids(&check(world)).contains(&id), "{id} is still found");
}

/// The same with exactly these findings, and the fixes of all of them.
pub fn broken_and_fixed(world: &World, expected: &[&str], how: &str, works: &dyn Fn() -> bool) {
    world.server.ok(how);
    assert!(!works(), "still works after '{how}'\n{}", state(world));
    let report = check(world);
    assert_eq!(ids(&report), expected, "'{how}': {report:#}");
    let findings = report["findings"].as_array().expect("a list").iter();
    for command in findings.flat_map(|finding| finding["fix"].as_array().expect("a list")) {
        world.server.ok(command.as_str().expect("text"));
    }
    world.settle();
    assert!(works() || works(), "'{how}' is not fixed by {report:#}\n{}", state(world));
    assert_quiet(world);
}

fn healthy(world: &World) {
    healthy_but_for(world, &[]);
    assert_quiet(world);
}

fn healthy_but_for(world: &World, expected: &[&str]) {
    world.install_hooks();
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook");
    world.server.ok("ifup -a");
    world.settle();
    let report = check(world);
    assert_eq!(ids(&report), expected, "{report:#}");
}

/// '--to' accepts addresses that packets can be sent to, on-link ones too.
pub fn looks_up_a_given_address(world: &World) {
    healthy(world);
    let code = |to: &str| world.server.run(&format!("symroute check --quiet --to {to}")).code();
    for to in ["203.0.113.190", "203.0.113.190 --to 2001:db8:f::99", "198.51.100.20", "203.0.113.2", "2001:db8:b::20"] {
        assert_eq!(code(to), 0, "{to}");
    }
    let invalid = ["127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1", "255.255.255.255", "198.51.100.10"];
    for to in invalid.into_iter().chain(["203.0.113.190 --to 203.0.113.191", "203.0.113", ""]) {
        assert_eq!(code(to), 2, "{to}");
    }
}

/// Entries of other tools, with which no packet is lost.
pub fn no_finding_with_other_tools(world: &World) {
    healthy(world);
    let server = &world.server;
    for line in [
        // Those of Tailscale, without the tunnel.
        "for family in -4 -6; do ip $family rule add fwmark 0x80000/0xff0000 priority 5210 lookup main
            ip $family rule add fwmark 0x80000/0xff0000 priority 5230 lookup default
            ip $family rule add fwmark 0x80000/0xff0000 priority 5250 unreachable
            ip $family rule add priority 5270 lookup 52; done
        ip route add throw 203.0.113.68 table 52",
        // Those of wg-quick, started before symroute.
        "ip route add unreachable default table 51820; ip rule add not fwmark 51820 table 51820 priority 32765
        ip rule add table main suppress_prefixlength 0 priority 32764; ip route add default dev eth0 metric 5 table 51820
        ip route del unreachable default table 51820",
        // Those of an administrator: the LAN through the second uplink, a mark, a tunnel for one network, rejected
        // networks.
        "ip route add default via 198.51.100.1 table 300; ip rule add from 203.0.113.0/26 table 300 priority 50
        ip rule add fwmark 7 table 300 priority 60
        ip rule add to 203.0.113.72/29 table 301 priority 61; ip route add default dev eth2 table 301
        ip rule add to 203.0.113.80/29 blackhole priority 62
        ip rule add ipproto 6 dport 25 table 301 priority 63; ip rule add uidrange 7000-7009 table 301 priority 64
        ip rule add from 198.51.100.10 ipproto 17 sport 53 table 300 priority 65
        ip route add blackhole 198.51.100.128/27; ip route add unreachable 2001:db8:c::/48
        ip -6 route add blackhole 2001:db8:ffff::/48",
        // Addresses of keepalived in the LAN, of the host, deprecated ones of SLAAC, and further ones on the uplinks.
        "ip addr add 203.0.113.50/32 dev eth2; ip addr add 203.0.113.80/32 dev lo; ip -6 addr add 2001:db8:77::1/128 dev lo
        ip -6 addr add 2001:db8:b::beef/64 dev eth1 preferred_lft 0 valid_lft 1000 nodad
        ip addr add 198.51.100.77/32 dev eth1; ip addr add 192.0.2.78/24 dev eth0 noprefixroute
        ip -6 addr add 2001:db8:c::2/64 dev eth2; symroute apply",
        // Routes to one host through one uplink, and attributes of main's default route.
        "ip route add 203.0.113.254 via 192.0.2.1 dev eth0; ip route add 203.0.113.253 dev eth1 scope link
        symroute apply
        ip route replace default via 192.0.2.1 dev eth0 mtu 1400 advmss 1360 src 192.0.2.10",
        "ip route flush exact default
        ip route add default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1",
        "ip nexthop add id 1 via 192.0.2.1 dev eth0; ip nexthop add id 2 via 198.51.100.1 dev eth1
        ip nexthop add id 10 group 1/2; ip route replace default nhid 10",
    ] {
        server.ok(line);
        assert_quiet(world);
    }
    let paths = [("client", &world.client, B4), ("client", &world.client, B6), ("client", &world.client, A4)];
    assert_eq!(Host::lost(&paths), Vec::<String>::new());
    assert!(world.client.pings(None, "198.51.100.77"));
}
