//! `symroute explain`: its text and JSON on a server, and random lookups compared with the kernel.

mod host;
pub mod kernel;

use std::fmt::Write as _;

use crate::PLAIN;
use crate::world::{B4, B6, World};

/// The output on a healthy server with two uplinks, then with foreign rules before symroute's. Lines that begin with `#
/// ` are run on the server.
const TRANSCRIPT: &str = include_str!("../../fixtures/explain.transcript");

pub fn explain_shows_each_rule(world: &World) {
    let server = &world.server;
    world.configure(PLAIN);
    server.ok("symroute-gen --write && ifup -a");
    world.settle();
    let mut produced = String::new();
    for command in TRANSCRIPT.lines().filter_map(|line| line.strip_prefix("# ")) {
        let ran = server.run(command);
        let _ = write!(produced, "# {command}\n{}", ran.text());
        if !ran.succeeded() {
            let _ = writeln!(produced, "[exit code {}]", ran.code());
        }
    }
    assert_eq!(produced, TRANSCRIPT, "produced:\n{produced}");
}

/// The JSON has iproute2's keys: those of `ip -j rule` for each rule, and of `ip -j route get` for the kernel's result.
pub fn explain_json_has_the_keys_of_iproute2(world: &World) {
    let server = &world.server;
    world.configure(PLAIN);
    server.ok("symroute-gen --write && ifup -a");
    world.settle();
    server.ok("ip rule add not from 192.0.2.0/25 to 203.0.113.128/26 fwmark 1/0xff iif eth2 uidrange 0-5 ipproto udp \
         sport 5 dport 50-60 pref 50 lookup 7
         ip rule add pref 60 goto 70; ip rule add pref 70 nop; ip rule add pref 80 from 203.0.113.64/26 prohibit");
    for (family, from, to) in [("-4", B4, "203.0.113.190"), ("-6", B6, "2001:db8:f::99")] {
        let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        let ours = parse(server.ok(&format!("symroute explain --json --from {from} --to {to}")));
        let rules = parse(server.ok(&format!("ip {family} -j rule")));
        let get = parse(server.ok(&format!("ip {family} -j route get {to} from {from}")));
        let (ours_rules, rules) = (ours["rules"].as_array().unwrap(), rules.as_array().unwrap());
        assert_eq!(ours_rules.len(), rules.len());
        crate::judge::assert_keys_documented(&ours.to_string());
        for (ours, theirs) in ours_rules.iter().zip(rules) {
            for (key, value) in theirs.as_object().unwrap() {
                let named = ["table", "protocol"].contains(&key.as_str());
                assert!(ours.get(key).is_some_and(|ours| named || ours == value), "{key} of {theirs} in {ours}");
            }
        }
        for key in ["dev", "gateway"] {
            assert_eq!(ours["kernel"][key], get[0][key], "{ours:#}");
            assert_eq!(ours["answer"]["routes"][0][key], get[0][key], "{ours:#}");
        }
        assert_eq!((&ours["verdict"], &ours["answer"]["priority"]), (&"same".into(), &111.into()), "{ours:#}");
    }
}

/// A nexthop that lost its carrier before `ignore_routes_with_linkdown` was set is shown as dead, but still selected.
/// Rules for a tunnel do not match other packets.
pub fn explain_shows_dead_nexthops(world: &World) {
    let World { server, isp_b, .. } = world;
    world.configure(PLAIN);
    server.ok("symroute-gen --write && ifup -a");
    world.settle();
    server.ok("ip rule add pref 40 tun_id 7 prohibit; ip rule add pref 41 not tun_id 7 lookup 77");
    server.ok("while ip route del default 2>/dev/null; do :; done
        ip route add default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1");
    isp_b.outside("ip link set cust0 down").ok();
    server.ok("for n in $(seq 50); do ip route show default | grep -q linkdown && exit; sleep 0.1; done; exit 1");
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/all/ignore_routes_with_linkdown");
    server.ok("ip route show default | grep -q 'dead linkdown'");
    let mut devs = std::collections::BTreeSet::new();
    for n in 129..169 {
        let to = format!("203.0.113.{n}");
        let ran = server.run(&format!("symroute explain --json --to {to}"));
        let explained: serde_json::Value = serde_json::from_str(&ran.stdout()).expect("JSON");
        assert_eq!((ran.code(), &explained["verdict"]), (0, &"same".into()), "{explained:#}");
        devs.insert(explained["kernel"]["dev"].to_string());
    }
    assert_eq!(devs.len(), 2, "the kernel uses both: {devs:?}");
}
