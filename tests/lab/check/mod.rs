//! `symroute check` in the laboratory: a healthy server is broken in one way, real packets show it, the finding
//! names it, the command that it advises fixes it, and packets flow again.

pub mod beside;
pub mod lookups;
pub mod policy;
pub mod uplinks;

use serde_json::Value;

use crate::PLAIN;
use crate::judge::state;
use crate::world::{A4, B4, B6, Host, World};

/// `symroute check --json`, with its exit code held against what it says.
pub fn check(world: &World) -> Value {
    let ran = world.server.run("symroute check --json");
    let report: Value = serde_json::from_str(&ran.stdout()).unwrap_or_else(|_| panic!("no JSON: {}", ran.text()));
    assert_eq!(ran.code(), if report["healthy"] == true { 0 } else { 1 }, "{report:#}");
    assert_eq!(world.server.run("symroute check --quiet").code(), ran.code());
    // The schema is what is promised to monitoring; somebody else's validator judges.
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, &ran.output.stdout).expect("room for it");
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/check.schema.json");
    let judged = world.client.outside(&format!("/usr/bin/jsonschema -i {} {schema}", file.path().display()));
    assert!(judged.succeeded(), "{}", judged.text());
    report
}

pub fn ids(report: &Value) -> Vec<&str> {
    report["findings"].as_array().expect("a list").iter().map(|finding| finding["id"].as_str().expect("text")).collect()
}

/// Healthy servers have no finding at all.
pub fn assert_quiet(world: &World) {
    let ran = world.server.run("symroute check -v");
    assert!(ran.succeeded(), "{}\n{}", ran.text(), state(world));
    assert!(ran.text().contains("All is symmetric"), "{}", ran.text());
}

/// Breaks a healthy server: `works` is what packets say, before, in between and after the advice is followed.
pub fn found_and_fixed(world: &World, id: &str, how: &str, works: &dyn Fn() -> bool) {
    assert!(works() || works(), "{id}: works before\n{}", state(world));
    let broken = world.server.run(how);
    assert!(broken.succeeded(), "{id}: {}", broken.text());
    assert!(!works(), "{id}: still works after '{how}'\n{}", state(world));
    fixed(world, id, works);
    assert_quiet(world);
}

/// Follows the advice of a finding, and sees the packets and the finding go.
pub fn fixed(world: &World, id: &str, works: &dyn Fn() -> bool) {
    let report = check(world);
    let finding = report["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == id);
    let finding = finding.unwrap_or_else(|| panic!("{id} is not among {:?}\n{}", ids(&report), state(world)));
    for command in finding["mend"].as_array().expect("a list") {
        world.server.ok(command.as_str().expect("text"));
    }
    assert!(works() || works(), "{id}: does not work after {}\n{}", finding["mend"], state(world));
    assert!(!ids(&check(world)).contains(&id), "{id} is still found");
}

/// The same where nothing but these findings may be there, and all their advice is followed.
pub fn broken_and_fixed(world: &World, expected: &[&str], how: &str, works: &dyn Fn() -> bool) {
    world.server.ok(how);
    assert!(!works(), "still works after '{how}'\n{}", state(world));
    let report = check(world);
    assert_eq!(ids(&report), expected, "'{how}': {report:#}");
    let findings = report["findings"].as_array().expect("a list").iter();
    for command in findings.flat_map(|finding| finding["mend"].as_array().expect("a list")) {
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

/// '--to' takes what an answer can be sent to, near ones too.
pub fn asks_for_an_address(world: &World) {
    healthy(world);
    let code = |to: &str| world.server.run(&format!("symroute check --quiet --to {to}")).code();
    for to in ["203.0.113.190", "203.0.113.190 --to 2001:db8:f::99", "198.51.100.20", "203.0.113.2", "2001:db8:b::20"] {
        assert_eq!(code(to), 0, "{to}");
    }
    let refused = ["127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1", "255.255.255.255", "198.51.100.10"];
    for to in refused.into_iter().chain(["203.0.113.190 --to 203.0.113.191", "203.0.113", ""]) {
        assert_eq!(code(to), 2, "{to}");
    }
}

/// What other tools have beside symroute, and no packet is lost.
pub fn quiet_beside_others(world: &World) {
    healthy(world);
    let server = &world.server;
    for line in [
        // Tailscale's, but for the reverse order of its numbers and the tunnel.
        "for family in -4 -6; do ip $family rule add fwmark 0x80000/0xff0000 priority 5210 lookup main
            ip $family rule add fwmark 0x80000/0xff0000 priority 5230 lookup default
            ip $family rule add fwmark 0x80000/0xff0000 priority 5250 unreachable
            ip $family rule add priority 5270 lookup 52; done
        ip route add throw 203.0.113.68 table 52",
        // wg-quick's, started before symroute's.
        "ip route add unreachable default table 51820; ip rule add not fwmark 51820 table 51820 priority 32765
        ip rule add table main suppress_prefixlength 0 priority 32764; ip route add default dev eth0 metric 5 table 51820
        ip route del unreachable default table 51820",
        // An administrator's: the LAN by the second uplink, a mark, a tunnel for one network, networks not to talk to.
        "ip route add default via 198.51.100.1 table 300; ip rule add from 203.0.113.0/26 table 300 priority 50
        ip rule add fwmark 7 table 300 priority 60
        ip rule add to 203.0.113.72/29 table 301 priority 61; ip route add default dev eth2 table 301
        ip rule add to 203.0.113.80/29 blackhole priority 62
        ip route add blackhole 198.51.100.128/27; ip route add unreachable 2001:db8:c::/48
        ip -6 route add blackhole 2001:db8:ffff::/48",
        // Addresses of a LAN's keepalived, of the host, of SLAAC that are on their way out, and one that is taken.
        "ip addr add 203.0.113.50/32 dev eth2; ip addr add 203.0.113.80/32 dev lo; ip -6 addr add 2001:db8:77::1/128 dev lo
        ip -6 addr add 2001:db8:b::beef/64 dev eth1 preferred_lft 0 valid_lft 1000 nodad
        ip addr add 198.51.100.77/32 dev eth1; ip addr add 192.0.2.78/24 dev eth0 noprefixroute
        ip -6 addr add 2001:db8:c::2/64 dev eth2; symroute apply",
        // Routes for one host by one uplink, and main's default with this and that.
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
    let ways = [("client", &world.client, B4), ("client", &world.client, B6), ("client", &world.client, A4)];
    assert_eq!(Host::lost(&ways), Vec::<String>::new());
    assert!(world.client.pings(None, "198.51.100.77"));
}
