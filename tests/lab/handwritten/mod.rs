//! Manual policy routing: symroute skips it, and a server can change from it to symroute.

mod grammar;
mod warnings;

use grammar::symroute_reads_commands_as_ip_does;
use warnings::warnings_of_manual_policy_are_correct;

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, state};
use crate::world::{A4, A6, B4, World};

/// A case that needs only the suite.
type Case = fn(&str);

pub const HOST_CASES: [(&str, Case); 1] = [("symroute_reads_commands_as_ip_does", symroute_reads_commands_as_ip_does)];

pub const CASES: [(&str, crate::Case); 3] = [
    ("warnings_of_manual_policy_are_correct", warnings_of_manual_policy_are_correct),
    ("correct_manual_policy_is_skipped", correct_manual_policy_is_skipped),
    ("symroute_replaces_manual_lines", symroute_replaces_manual_lines),
];

fn fixture(name: &str) -> String {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/handwritten");
    std::fs::read_to_string(directory.join(name)).expect("a fixture")
}

/// Gives the server its own `/etc`, with a name for a table.
fn own_etc(world: &World) {
    world.server.own_etc();
    world.server.ok("mkdir -p /etc/iproute2/rt_tables.d; echo '200 isp-b' > /etc/iproute2/rt_tables.d/local.conf");
}

fn rules(world: &World, with: &str) -> Vec<String> {
    let rules = world.server.ok("ip rule; ip -6 rule");
    rules.lines().filter(|line| line.contains(with)).map(String::from).collect()
}

/// Restores the state before `ifup`.
fn clean(world: &World) {
    world.server.run(
        "ifdown --force --ignore-errors eth0 eth1 eth0:1 eth1:1; rm -f /run/network/ifstate*
        for dev in eth0 eth1; do ip addr flush dev $dev; ip link set $dev down; done
        for f in -4 -6; do ip $f rule flush; ip $f rule add lookup main pref 32766; done
        ip rule add lookup default pref 32767; for t in 1 2 3 100 200 300; do ip route flush table $t; done",
    );
}

fn correct_manual_policy_is_skipped(world: &World) {
    own_etc(world);
    world.install_hooks();
    let interfaces = fixture("correct");
    world.configure(&interfaces);
    let server = &world.server;
    for style in ["iproute2", "article", "hook"] {
        let generated = server.run(&format!("symroute-gen --write --style {style}"));
        assert!(generated.succeeded() && !generated.text().contains("[manual-"), "{}", generated.text());
        assert_eq!(server.read("/etc/network/interfaces"), interfaces.as_bytes());
    }
    for _ in 0..2 {
        server.ok("ifup -a");
        world.settle();
        server.ok("symroute apply");
        assert_eq!(server.ok("ip route show table all proto 97; ip -6 route show table all proto 97"), "");
        assert_eq!(rules(world, "proto 97"), [""; 0]);
        for (from, count) in [("192.0.2.10", 2), ("2001:db8:a::/64", 1), ("198.51.100.0/24", 1), ("198.51.100.11", 1)] {
            assert_eq!(rules(world, &format!(" {from} ")).len(), count, "{from}\n{}", state(world));
        }
        for to in [A4, A6, B4, "198.51.100.11"] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// The steps of docs/hand-written.md, on a server that stays up and is reached all the time.
fn symroute_replaces_manual_lines(world: &World) {
    let server = &world.server;
    let lines = |n: u8, net: &str, dev: &str| {
        format!(
            "    post-up ip route add {net}.0/24 dev {dev} table {n}\n    post-up ip route add default via {net}.1 dev {dev} table {n}\n    \
             post-up ip rule add from {net}.10 table {n} priority {n}00\n    \
             pre-down ip rule del from {net}.10 table {n} priority {n}00\n    pre-down ip route flush table {n}\n"
        )
    };
    let stanzas = |a: &str, b: &str| {
        format!(
            "auto lo eth0 eth1 eth2\niface lo inet loopback\niface eth0 inet static\n    address 192.0.2.10/24\n    \
             gateway 192.0.2.1\n{a}iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n{b}\
             iface eth2 inet static\n    address 203.0.113.1/26\n"
        )
    };
    world.configure(&stanzas(&lines(1, "192.0.2", "eth0"), &lines(2, "198.51.100", "eth1")));
    server.ok("ifup -a");
    let assert_reached = |when: &str| {
        for to in [A4, B4] {
            assert!(world.client.reaches(None, to), "{when}: {to}\n{}", state(world));
        }
    };
    assert_reached("manual lines");
    // Step 1: remove the lines from the file. Step 2: write symroute's lines. Step 3: change the running system. Step
    // 4: remove the old rules and routes.
    world.configure(&stanzas("", ""));
    server.ok("symroute-gen --write");
    let text = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
    assert!(text.contains("table 3") && !text.contains("table 1 "), "tables in use are skipped: {text}");
    server.ok("symroute apply");
    assert_reached("both installed");
    server.ok("ip rule del from 192.0.2.10 table 1 priority 100; ip route flush table 1
         ip rule del from 198.51.100.10 table 2 priority 200; ip route flush table 2");
    assert_kernel_is_plan(world);
    assert_reached("symroute alone");
    assert!(world.lan.reaches(None, B4), "the manual lines had no route to the LAN");
    server.ok("ifdown -a");
    assert_nothing_left(world);
    server.ok("ifup -a");
    assert_kernel_is_plan(world);
    assert_reached("after ifdown and ifup");
}
