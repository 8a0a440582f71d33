//! The change from lines and rules of versions before interface groups.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Connection, all_connections, assert_reached, assert_reached_strictly};
use crate::WITH_METRIC;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left};
use crate::world::{A4, A6, B4, B6, World};

/// Lines of an earlier version are active. The file is written again, and the running system is changed.
pub fn lines_of_an_earlier_version_are_replaced(world: &World) {
    let server = &world.server;
    let lan = "auto eth2\niface eth2 inet static\n    address 203.0.113.1/26\n";
    world.configure(&(include_str!("../../fixtures/three-rules.interfaces").to_string() + lan));
    server.ok("ifup -a");
    world.settle();
    let connections: Vec<Connection> =
        all_connections(world).into_iter().filter(|connection| !connection.3.contains(':')).collect();
    let assert_strictly = |what: &str| assert_reached_strictly(world, what, &connections);
    assert_strictly("before");
    assert!(!server.ok("ip rule").contains("suppress_ifgroup"));
    // eth1's lines set no protocol: their entries are foreign, and only their own lines remove them.
    server.ok("ifdown eth1; symroute-gen --write; ifup eth1; symroute apply; symroute status");
    assert_kernel_is_plan(world);
    assert_strictly("written again");
    // ifupdown2 stops an interface with the lines that started it, except with this option.
    let read_again = if world.suite == "bookworm-ifupdown2" { " --use-current-config" } else { "" };
    server.ok(&format!("ifdown -a{read_again}"));
    assert_nothing_left(world);
}

/// Installs the rules of an earlier version with `ip`: three rules for an address, and routes to the other uplinks'
/// networks through the gateway. Then it removes today's rules, in an order that loses no packet.
fn as_before(uplinks: &[(&str, &str, &str, &str, u32)]) -> String {
    use std::fmt::Write;
    let mut script = String::new();
    for (dev, address, net, gateway, table) in uplinks {
        let inet6 = address.contains(':');
        let (ip, length) = if inet6 { ("ip -6", 3) } else { ("ip", 1) };
        let scope = if inet6 { "" } else { " scope link" };
        let mut routes = vec![format!("{net} dev {dev}{scope}"), format!("default via {gateway} dev {dev}")];
        routes.extend(inet6.then(|| format!("fe80::/64 dev {dev}")));
        let others = uplinks.iter().filter(|other| other.0 != *dev && other.1.contains(':') == inet6);
        routes.extend(others.map(|other| format!("{} via {gateway} dev {dev}", other.2)));
        for route in routes {
            let _ = writeln!(script, "{ip} route replace {route} table {table} proto 97");
        }
        let p = 90 + 10 * table;
        for rule in [
            format!("from {address} table {table} priority {p} suppress_prefixlength 0"),
            format!("from {address} table main priority {} suppress_prefixlength {length}", p + 1),
            format!("from {address} table {table} priority {}", p + 2),
            format!("oif {dev} table {table} priority {}", p + 3),
        ] {
            let _ = writeln!(script, "{ip} rule add {rule} protocol 97 2>/dev/null");
        }
        let group = format!("suppress_prefixlength {length} suppress_ifgroup 97");
        let _ = writeln!(
            script,
            "{ip} rule del from {address} table {table} priority {} protocol 97 2>/dev/null
            {ip} rule del from {address} table main priority {p} {group} protocol 97 2>/dev/null",
            p + 1
        );
    }
    script + "ip link set dev eth0 group 0; ip link set dev eth1 group 0"
}

/// No packet is lost during the change from the earlier rules to those with interface groups.
pub fn no_packet_is_lost_during_an_upgrade(world: &World) {
    let server = &world.server;
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    let before = as_before(&[
        ("eth0", A4, "192.0.2.0/24", "192.0.2.1", 1),
        ("eth1", B4, "198.51.100.0/24", "198.51.100.1", 2),
        ("eth0", A6, "2001:db8:a::/64", "2001:db8:a::1", 1),
        ("eth1", B6, "2001:db8:b::/64", "2001:db8:b::1", 2),
    ]);
    server.ok(&before);
    let connections = all_connections(world);
    assert_reached(world, "before", &connections);
    let old = server.ok("ip rule; ip -6 rule");
    assert!(!old.contains("suppress_ifgroup") && old.contains("112:\tfrom 198.51.100.10 lookup 2"), "{old}");
    let done = AtomicBool::new(false);
    let (changes, talked, lost) = std::thread::scope(|scope| {
        let pings: Vec<_> = connections
            .iter()
            .map(|(name, host, _, to)| {
                let done = &done;
                scope.spawn(move || {
                    let mut lost = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let ran = host.outside(&format!("ping -q -n -c 200 -i 0.005 -W 2 {to}"));
                        if !ran.stdout().contains(" 0% packet loss") {
                            lost.push(format!("{name} -> {to}: {}", ran.text()));
                        }
                    }
                    lost
                })
            })
            .collect();
        // A connection that lasts during the changes.
        let talk = "(echo one; sleep 4; echo two) | socat -t 3 -T 20 - TCP:[2001:db8:b::10]:7000";
        let talk = scope.spawn(move || world.client.outside(talk).stdout());
        let changes: Vec<String> = (0..8).map(|_| server.run(&format!("{before}\nsymroute apply")).text()).collect();
        let talked = talk.join().expect("no panic");
        done.store(true, Ordering::Relaxed);
        let lost: Vec<String> = pings.into_iter().flat_map(|ping| ping.join().expect("no panic")).collect();
        (changes, talked, lost)
    });
    assert!(changes.iter().all(|text| text == "26 changes made; everything is installed.\n"), "{changes:?}");
    assert_eq!(talked, "one\ntwo\n", "the connection broke");
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert_kernel_is_plan(world);
    assert_reached_strictly(world, "after", &connections);
}
