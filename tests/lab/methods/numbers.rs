//! Many uplinks, and their tables and priorities.

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, state};
use crate::world::World;

/// Many uplinks are reached in both families, with lines and with hooks.
pub fn many_uplinks(world: &World, count: usize) {
    use std::fmt::Write;
    let mut interfaces =
        "auto lo eth2\niface lo inet loopback\niface eth2 inet static\n    address 203.0.113.1/26\n".to_string();
    for n in 0..count {
        let net = format!("198.51.100.{}", 16 * n + 1);
        let own = format!("198.51.100.{}", 16 * n + 2);
        let _ = write!(
            interfaces,
            "\nauto eth{0}\niface eth{0} inet static\n    address {own}/28\n    gateway {net}\n\
             iface eth{0} inet6 static\n    address 2001:db8:10{n}::2/64\n    gateway 2001:db8:10{n}::1\n",
            n + 3
        );
    }
    for style in ["iproute2", "hook"] {
        world.configure(&interfaces);
        world.server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        world.server.ok("ifup -a");
        assert_kernel_is_plan(world);
        for n in 0..count {
            for to in [format!("198.51.100.{}", 16 * n + 2), format!("2001:db8:10{n}::2")] {
                assert!(world.client.reaches(None, &to), "{style}: {to}\n{}", state(world));
            }
            assert!(world.lan.reaches(None, &format!("198.51.100.{}", 16 * n + 2)), "{style}: LAN");
        }
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Two providers on one interface: replies from each address leave through the router of its provider.
pub fn two_gateways_share_a_bridge(world: &World, _: usize) {
    let interfaces = "auto lo eth2 br0
iface lo inet loopback
iface eth2 inet static
    address 203.0.113.1/26
iface br0 inet static
    pre-up ip link add br0 type bridge 2>/dev/null || true
    pre-up for port in eth3 eth4; do ip link set $port master br0 up; done
    address 198.51.100.2/28
    gateway 198.51.100.1
iface br0 inet static
    address 198.51.100.18/28
    gateway 198.51.100.17
iface br0 inet6 static
    address 2001:db8:100::2/64
    gateway 2001:db8:100::1
iface br0 inet6 static
    address 2001:db8:101::2/64
    gateway 2001:db8:101::1
";
    for style in ["iproute2", "hook"] {
        world.configure(interfaces);
        world.server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        world.server.ok("ifup -a");
        assert_kernel_is_plan(world);
        for to in ["198.51.100.2", "198.51.100.18", "2001:db8:100::2", "2001:db8:101::2"] {
            assert!(world.client.reaches(None, to), "{style}: {to}\n{}", state(world));
            assert!(to.contains(':') || world.lan.reaches(None, to), "{style}: LAN to {to}");
        }
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
        world.server.ok("ip link del br0");
    }
}

/// Tables and priorities in use are skipped. An uplink keeps its own, whatever is added before it.
pub fn uplinks_keep_their_tables_and_priorities(world: &World) {
    let server = &world.server;
    server.own_etc();
    server.mount(
        "set -e
        if [ -d usr/share/iproute2 ]; then
            mkdir tmp/share; cp -r usr/share/iproute2/. tmp/share/; mount --bind tmp/share usr/share/iproute2
        fi
        mkdir -p etc/iproute2/rt_tables.d; echo '1 first' >etc/iproute2/rt_tables.d/one.conf
        if [ -d usr/share/iproute2 ]; then
            mkdir -p usr/share/iproute2/rt_tables.d; echo '2 second' >usr/share/iproute2/rt_tables.d/two.conf
        else
            echo '2 second' >>etc/iproute2/rt_tables
        fi",
    );
    server.ok("ip link set lo up; ip rule add from 203.0.113.40 lookup 3 priority 100
        ip route add 203.0.113.50/32 dev lo table 4");
    let lan = "auto lo\niface lo inet loopback\nauto eth2\niface eth2 inet static\n    address 203.0.113.1/26
    up ip rule add from 203.0.113.9 table 5 priority 120\n    down ip rule del from 203.0.113.9 table 5 priority 120\n\n";
    let a = "auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n";
    let b =
        "auto eth1\niface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n";
    let other =
        "auto eth7\niface eth7 inet static\n    address 203.0.113.70/26\n    gateway 203.0.113.65\n    metric 30\n";
    let assert_numbers = |what: &str, expected: &[&str]| {
        let plan = server.ok("symroute plan");
        for line in expected {
            let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
            let is_row = |row: &str| {
                let row = words(row);
                row.len() > 5 && [&row[..2], &row[4..6]].concat() == words(line)
            };
            assert!(plan.lines().any(is_row), "{what}: {line}\n{plan}");
        }
    };
    let (first, second) = ("eth0 IPv4 6 110", "eth1 IPv4 7 130");

    // With hooks, the kernel has the numbers.
    world.configure(&format!("{lan}{a}{b}"));
    server.ok("ifup -a; symroute apply");
    assert_numbers("in use", &[first, second]);
    for (what, file) in [
        ("exchanged", format!("{lan}{b}{a}")),
        ("one uplink before", format!("{lan}{other}{a}{b}")),
        ("one uplink between", format!("{lan}{b}{other}{a}")),
    ] {
        world.configure(&file);
        assert_numbers(what, &[first, second]);
        let applied = server.ok("symroute apply");
        let new = "eth7 (IPv4) is inactive: no interface has this name.";
        let expected = if file.contains("eth7") { new } else { "everything is installed" };
        assert!(applied.contains(expected), "{what}: {applied}");
        assert!(server.ok("ip rule").contains("131:\tfrom 198.51.100.10 lookup 7 proto 97"), "{what}");
    }
    assert_numbers("the new uplink", &["eth7 IPv4 8 140"]);
    server.ok("symroute flush");

    // With lines, the file has the numbers.
    world.configure(&format!("{lan}{a}{b}"));
    server.ok("symroute-gen --write");
    let written = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
    let position = |name: &str| written.find(&format!("auto {name}\n")).expect("a stanza");
    let (written_a, written_b) = (&written[position("eth0")..position("eth1")], &written[position("eth1")..]);
    for (what, file) in [
        ("written, exchanged", format!("{lan}{written_b}{written_a}")),
        ("written, one uplink before", format!("{lan}{other}{written_a}{written_b}")),
        ("written, one uplink removed and added back", format!("{lan}{written_b}{other}")),
    ] {
        world.configure(&file);
        server.ok("symroute-gen --write");
        assert_numbers(what, &[second]);
        let now = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
        assert!(now.contains("ip rule add from 198.51.100.10 table 7 priority 131 protocol 97"), "{what}\n{now}");
        assert!(what.ends_with("back") || now.contains("from 192.0.2.10 table 6 priority 111 protocol 97"), "{what}");
    }

    // If two uplinks request the same number, the second gets no policy. The warning names both.
    let with_option = |text: &str, option: &str| format!("{text}    {option}\n");
    world.configure(&format!("{lan}{}{}", with_option(a, "symroute-table 9"), with_option(b, "symroute-table 9")));
    let clash = server.run("symroute plan");
    assert_eq!(clash.code(), 0);
    let warning =
        "warning: table 9 is requested by two uplinks: eth0 (IPv4) and eth1 (IPv4): no policy for eth1 (IPv4)\n";
    assert!(clash.text().contains(warning), "{}", clash.text());
    world.configure(&format!(
        "{lan}{}{}",
        with_option(a, "symroute-priority 500"),
        with_option(b, "symroute-priority 502")
    ));
    let clash = server.run("symroute-gen --write");
    assert_eq!(clash.code(), 0);
    let warning = "warning: priority 502 (rules up to 505) is requested by two uplinks: eth0 (IPv4) and eth1 (IPv4): no \
                policy for eth1 (IPv4)\n";
    assert!(clash.text().contains(warning), "{}", clash.text());
}
