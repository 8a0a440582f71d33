//! Lookups: the expected routes, with rules that this file adds, and the findings if one fails.

use serde_json::Value;

use super::{assert_quiet, check, healthy, ids};
use crate::judge::state;
use crate::world::{A4, B4, World};

/// The lookups that failed, as `FROM TO`.
fn failed(world: &World) -> Vec<String> {
    let report = check(world);
    let lookups = report["lookups"].as_array().expect("a list").iter().filter(|lookup| lookup["ok"] == false);
    let text = |lookup: &Value, key: &str| lookup[key].as_str().unwrap_or("-").to_string();
    lookups.map(|lookup| format!("{} {}", text(lookup, "from"), text(lookup, "to"))).collect()
}

/// One known uplink, and a default route of main with a smaller metric through another interface.
pub fn findings_of_lookups(world: &World) {
    let server = &world.server;
    world.install_hooks();
    let eth1 = "auto lo eth1\niface lo inet loopback\n\
                iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n";
    world.configure(eth1);
    server.ok("ifup -a");
    world.settle();
    assert_quiet(world);
    let reached = || world.client.pings(None, B4);
    assert!(reached());
    let default = "default via 192.0.2.1 dev eth0 metric 5";
    server.ok(&format!("ip link set eth0 up; ip addr add 192.0.2.10/24 dev eth0; ip route add {default}"));
    world.settle();
    assert!(!reached());
    let report = check(world);
    assert_eq!(ids(&report), ["lookup-failed", "default-route-unknown"], "{report:#}");
    let finding = &report["findings"][0];
    let summary = "eth1 (IPv4): packets from 198.51.100.10 to 203.0.113.1 leave through eth0 via 192.0.2.1; expected: \
                through eth1 via 198.51.100.1";
    assert!(finding["summary"].as_str().expect("text").starts_with(summary), "{finding:#}");
    // The command shows the route.
    let note = finding["note"].as_str().expect("text");
    let explained = server.ok(note.split('\'').nth(1).expect("a command"));
    assert!(explained.contains("192.0.2.1"), "{explained}");
    let ignoring = |ids: &str| server.run(&format!("symroute check --ignore {ids}"));
    assert_eq!(ignoring("default-route-unknown:eth0").code(), 1);
    assert_eq!(ignoring("lookup-failed").code(), 1);
    let both = ignoring("lookup-failed,default-route-unknown");
    assert!(both.succeeded() && !both.text().contains("OK:"), "{}", both.text());
    assert!(both.text().contains("lookups failed; the findings that explain them are ignored."), "{}", both.text());
    let json = server.ok("symroute check --json --ignore lookup-failed,default-route-unknown");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["healthy"] == true && json["ignored"].as_u64() > Some(1), "{json:#}");
    // As the note says: a stanza with the gateway.
    world.configure(&format!(
        "{eth1}auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    symroute-gateway 192.0.2.1\n"
    ));
    server.ok("symroute apply");
    assert!(reached() && world.client.pings(None, A4));
    assert_quiet(world);
}

/// A rule for all packets, and a peer's route in its table, as Tailscale adds them.
pub fn findings_of_foreign_tables(world: &World) {
    healthy(world);
    let server = &world.server;
    let peer = world.another_host();
    world.link(server, "vpn0", &peer, "eth0");
    peer.outside(
        "ip link set eth0 up && ip addr add 203.0.113.100/32 dev eth0 && ip route add 192.0.2.10 dev eth0 &&
        ip route add 198.51.100.10 dev eth0",
    )
    .ok();
    server.ok("ip link set vpn0 up; ip addr add 203.0.113.99/32 dev vpn0; ip rule add priority 5270 table 52
        ip route add throw 203.0.113.101 table 52");
    assert_quiet(world);
    server.ok("ip route add 203.0.113.100 dev vpn0 table 52; symroute apply");
    let reached = || [A4, B4].iter().all(|to| peer.pings(None, to));
    if !reached() {
        let report = check(world);
        assert_eq!(ids(&report), ["local-network-unreachable"; 2], "{report:#}");
        for finding in report["findings"].as_array().expect("a list") {
            for command in finding["fix"].as_array().expect("a list") {
                server.ok(command.as_str().expect("text"));
            }
        }
        assert!(reached(), "{report:#}\n{}", state(world));
    }
    assert_quiet(world);
}

/// `lookup local` behind symroute's rules, as ifupdown2 puts it beside a VRF.
pub fn findings_of_the_hosts_own_addresses(world: &World) {
    healthy(world);
    let server = &world.server;
    let reaches_itself = || server.pings(Some(A4), A4) && server.pings(Some(A4), B4);
    assert!(reaches_itself());
    server.ok("for family in -4 -6; do
        ip $family rule add priority 32765 table local && ip $family rule del priority 0; done");
    if !reaches_itself() {
        let failed = failed(world);
        assert!(failed.contains(&format!("{A4} {A4}")) && failed.contains(&format!("{A4} {B4}")), "{failed:?}");
        assert_eq!(server.run("symroute check --quiet").code(), 1);
    }
    // The commands of the page.
    let page = server.ok("symroute check --explain lookup-failed");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(commands.len(), 2, "{page}");
    server.ok(&commands.join(" && "));
    server.ok("for family in -4 -6; do ip $family rule del priority 32765; done; symroute apply");
    assert!(reaches_itself());
    assert_quiet(world);
}

/// Two rules for each source, with the uplinks' interfaces in a group. `ip` adds them.
const BY_GROUP: &str = "set -e
    group() {
        ip link set $2 group 97; ip $1 route flush table $4 2>/dev/null || true
        ip $1 route add $6 dev $2 table $4; ip $1 route add default via $5 dev $2 table $4
        ip $1 rule add from $3 lookup main suppress_prefixlength $8 suppress_ifgroup 97 priority $7
        ip $1 rule add from $3 lookup $4 priority $(($7 + 1))
        ip $1 rule add oif $2 lookup $4 priority $(($7 + 3))
    }
    ip rule flush protocol 97; ip -6 rule flush protocol 97
    group -4 eth0 192.0.2.10 1 192.0.2.1 192.0.2.0/24 100 1
    group -4 eth1 198.51.100.10 2 198.51.100.1 198.51.100.0/24 110 1
    group -6 eth0 2001:db8:a::10 1 2001:db8:a::1 2001:db8:a::/64 100 3
    group -6 eth1 2001:db8:b::10 2 2001:db8:b::1 2001:db8:b::/64 110 3";

/// Routes of main with the copies that they need, and the commands that remove both.
const SHAPES: [(&str, &str); 6] = [
    // A host with a provider's address, and a network inside the other provider's network.
    (
        "ip route add 192.0.2.77 dev eth2; ip route add 198.51.100.64/28 via 203.0.113.2
        ip -6 route add 2001:db8:a::77 dev eth2",
        "ip route del 192.0.2.77; ip route del 198.51.100.64/28; ip -6 route del 2001:db8:a::77",
    ),
    // Static routes through each gateway, and through another router of a provider's network.
    (
        "ip route add 203.0.113.192/28 via 198.51.100.1; ip route add 203.0.113.208/28 via 192.0.2.1
        ip -6 route add 2001:db8:e1::/48 via 2001:db8:b::1
        ip route add 203.0.113.224/28 via 198.51.100.77
        for table in 1 2; do ip route add 203.0.113.224/28 via 198.51.100.77 dev eth1 table $table; done",
        "for net in 203.0.113.192/28 203.0.113.208/28 203.0.113.224/28; do ip route del $net; done
        ip -6 route del 2001:db8:e1::/48; for table in 1 2; do ip route del 203.0.113.224/28 table $table; done",
    ),
    // Rejected networks, inside a provider's network and outside.
    (
        "ip route add blackhole 198.51.100.128/27; ip route add unreachable 203.0.113.192/28
        ip -6 route add prohibit 2001:db8:a:0:1::/80; ip route add throw 203.0.113.208/28",
        "ip route del 198.51.100.128/27; ip route del 203.0.113.192/28; ip route del throw 203.0.113.208/28
        ip -6 route del 2001:db8:a:0:1::/80",
    ),
    // A private network on an uplink's interface.
    (
        "ip addr add 10.5.0.10/24 dev eth1
        for table in 1 2; do ip route add 10.5.0.0/24 dev eth1 table $table; done
        ip rule add from 10.5.0.10 lookup main suppress_prefixlength 1 suppress_ifgroup 97 priority 110
        ip rule add from 10.5.0.10 lookup 2 priority 111",
        "ip addr del 10.5.0.10/24 dev eth1; ip rule del from 10.5.0.10; ip rule del from 10.5.0.10
        for table in 1 2; do ip route del 10.5.0.0/24 table $table 2>/dev/null || true; done",
    ),
    // A VPN's table for all packets.
    (
        "ip rule add priority 5270 table 52; ip route add 203.0.113.100 dev eth2 table 52
        for rule in '192.0.2.10 lookup 52 priority 99' '198.51.100.10 lookup 52 priority 109'; do
            ip rule add from $rule suppress_prefixlength 1 suppress_ifgroup 97; done",
        "ip rule del priority 5270; ip rule del priority 99; ip rule del priority 109; ip route flush table 52",
    ),
    // Halves of the default route, and the local rule with the lowest precedence.
    (
        "for half in 0.0.0.0/1 128.0.0.0/1; do ip route add $half via 203.0.113.2; done
        for address in 192.0.2.10 198.51.100.10; do ip rule add from $address lookup local priority 90; done
        ip rule add priority 32765 table local; ip rule del priority 0",
        "ip rule add priority 0 table local; ip rule del priority 32765; ip rule del priority 90
        ip rule del priority 90; for half in 0.0.0.0/1 128.0.0.0/1; do ip route del $half; done",
    ),
];

pub fn expects_the_routes_of_rules_by_group(world: &World) {
    healthy(world);
    let server = &world.server;
    server.ok(BY_GROUP);
    assert_eq!(failed(world), Vec::<String>::new(), "{}", state(world));
    for (shape, undone) in SHAPES {
        server.ok(shape);
        assert_eq!(failed(world), Vec::<String>::new(), "'{shape}'\n{}", state(world));
        server.ok(undone);
    }
    assert_eq!(failed(world), Vec::<String>::new(), "{}", state(world));
    // Each rule is needed: without it, lookups fail.
    let without_group =
        "ip rule del priority 100; ip rule add from 192.0.2.10 lookup main suppress_prefixlength 1 priority 100";
    server.ok(without_group);
    assert!(failed(world).contains(&format!("{A4} 198.51.100.1")), "the other uplink's network");
    server.ok("ip route add 203.0.113.192/28 via 198.51.100.1");
    assert!(failed(world).contains(&format!("{A4} 203.0.113.193")), "through the other gateway");
    server.ok("ip rule del priority 100; ip route add 192.0.2.77 dev eth2");
    let failed = failed(world);
    assert!(
        failed.contains(&format!("{A4} 203.0.113.2")) && failed.contains(&format!("{A4} 192.0.2.77")),
        "{failed:?}"
    );
    assert!(!failed.contains(&format!("{A4} 203.0.113.193")), "{failed:?}");
}
