//! Events on a running server: interfaces, addresses and files that change, with and without ifupdown.

use super::up_by_hand;
use crate::WITH_METRIC;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, state};
use crate::world::{A4, A6, B4, B6, World};

pub fn up_and_down_take_interface_names(world: &World) {
    world.configure(WITH_METRIC);
    let early = world.server.run("symroute up eth1");
    assert_eq!(early.code(), 1);
    assert!(early.text().contains("start it with 'ifup eth1'"), "{}", early.text());
    up_by_hand(world);
    let dry = world.server.ok("symroute apply --dry-run");
    assert_eq!(dry.lines().count(), 24, "{dry}");
    assert_nothing_left(world);
    // The printed commands have the same result with `ip`.
    world.server.ok(&format!("set -e\n{dry}"));
    assert_eq!(world.server.ok("symroute apply"), "Nothing to do: everything is installed.\n");
    assert_eq!(world.server.ok("symroute apply --dry-run"), "# Nothing to do.\n");
    assert_kernel_is_plan(world);
    world.server.ok("symroute flush");
    assert_nothing_left(world);
    world.server.ok("symroute up eth1");
    assert_kernel_is_plan(world);
    world.server.ok("symroute down eth1 && symroute down eth1");
    let rules = world.server.ok("ip rule; ip -6 rule");
    assert!(rules.contains(A4) && rules.contains(A6) && !rules.contains(B4) && !rules.contains(B6), "{rules}");
    world.server.ok("symroute down eth0 eth1");
    assert_nothing_left(world);
    assert_eq!(world.server.run("symroute up eth9").code(), 1);
    world.server.ok("symroute up eth2");
}

/// Ten thousand foreign rules and a hundred thousand foreign routes are not changed.
pub fn apply_keeps_many_foreign_rules_and_routes(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    let rules = (1..=10_000)
        .map(|n| format!("rule add from 10.{}.{}.1 table 500 priority {}\n", n / 250, n % 250, 20_000 + n / 2));
    // The routes are in five tables and are added before the rules, because the kernel looks up each gateway by all
    // rules, and is slow with large tables.
    let route = |n: u32| {
        let (a, b, c, table) = (n / 65_536, n / 256 % 256, n % 256, 501 + (n - 1) / 20_000);
        format!("route add 10.{a}.{b}.{c} via 203.0.113.2 table {table}\n")
    };
    let routes = (1..=100_000).map(route);
    world.server.write("/tmp/many", routes.chain(rules).collect::<String>().as_bytes());
    world.server.ok("ip -batch /tmp/many");
    let foreign =
        || world.server.ok("(ip rule | grep -v 'proto 97'; ip route show table all | grep ' table 50[1-5] ') | cksum");
    let before = foreign();
    world.server.ok("symroute apply");
    assert_kernel_is_plan(world);
    assert_eq!(foreign(), before);
    world.server.ok("IFACE=eth1 MODE=stop symroute hook; symroute flush");
    assert_eq!(foreign(), before);
}

/// After each event, `status` reports the difference, `apply` installs the new plan, and a second `apply` does nothing.
pub fn apply_follows_changes_of_a_running_server(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    let assert_in_sync = |what: &str, changed: bool| {
        let status = server.run("symroute status");
        assert_eq!(status.code(), i32::from(changed), "{what}: {}", status.text());
        server.ok("symroute apply");
        // Inactive uplinks are named.
        let (applied, status) = (server.ok("symroute apply"), server.ok("symroute status"));
        let is_active = !status.contains("is inactive");
        let nothing = "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n";
        if status.contains(nothing) {
            assert_eq!(applied, nothing, "{what}: {status}");
            return;
        }
        assert_eq!(applied == "Nothing to do: everything is installed.\n", is_active, "{what}: {applied}");
        assert!(is_active || applied.starts_with("Nothing to do for the active uplinks.\n"), "{what}: {applied}");
        assert_eq!(status.contains("Everything is installed."), is_active, "{what}: {status}");
    };
    let rules = || server.ok("ip rule; ip -6 rule");

    server.ok("ip link set eth1 down");
    assert_in_sync("interface set down", true);
    assert!(!rules().contains(B4) && rules().contains(A4), "{}", rules());
    server.ok("ip link set eth1 up");
    server.ok(
        "ip -6 addr add 2001:db8:b::10/64 dev eth1 nodad; ip route add default via 198.51.100.1 dev eth1 metric 20",
    );
    assert_in_sync("interface set up", true);
    assert_kernel_is_plan(world);

    server.ok("ip addr del 198.51.100.10/24 dev eth1");
    assert_in_sync("address deleted", true);
    assert!(!rules().contains(B4) && rules().contains(B6), "{}", rules());
    server.ok("ip addr add 198.51.100.10/24 dev eth1");
    assert_in_sync("address added", true);
    server.ok("ip addr add 198.51.100.77/24 dev eth1");
    assert_in_sync("another address added", true);
    assert!(world.client.reaches(None, "198.51.100.77"), "{}", state(world));
    server.ok("ip addr del 198.51.100.77/24 dev eth1");
    assert_in_sync("the other address deleted", true);
    assert_kernel_is_plan(world);

    server.ok("symroute flush");
    assert_in_sync("everything flushed", true);
    // Rules and routes of an older plan in another table.
    server.ok(
        "set -e; ip rule add from 192.0.2.10 lookup 9 priority 900 protocol 97; ip rule add from 192.0.2.99 lookup 1 priority 901 protocol 97
        ip route add default via 203.0.113.2 table 9 protocol 97; ip -6 rule add from 2001:db8:a::10 lookup 9 priority 902 protocol 97",
    );
    assert_in_sync("an older plan", true);
    assert!(!rules().contains("lookup 9"), "{}", rules());

    // The file is edited while everything is up: first another table, then one uplink less.
    world.configure(&WITH_METRIC.replace("    metric 20\n", "    metric 20\n    symroute-table 42\n"));
    assert_in_sync("another table requested", true);
    assert!(rules().contains("lookup 42") && !rules().contains("lookup 2 "), "{}", rules());
    assert!(world.client.reaches(None, B4), "{}", state(world));
    world.configure(
        &WITH_METRIC
            .replace("    gateway 198.51.100.1\n    metric 20\n", "")
            .replace("    gateway 2001:db8:b::1\n    metric 2000\n", ""),
    );
    // Its addresses exist, and its tables have its gateways. It is an uplink until its entries are flushed.
    assert_in_sync("an uplink without gateway lines", false);
    assert!(world.client.reaches(None, B4) && world.client.reaches(None, B6), "{}", state(world));
    server.ok("symroute flush");
    assert_in_sync("one uplink removed from the file", false);
    assert_nothing_left(world);
    world.configure(WITH_METRIC);
    assert_in_sync("the uplink in the file again", true);
    assert_kernel_is_plan(world);

    server.ok("ip link del eth1");
    assert_in_sync("device deleted", true);
    assert!(!rules().contains(B4) && !rules().contains("eth1"), "{}", rules());
    server.run("ifdown eth1");
    assert_in_sync("ifdown without the device", false);
    for to in [A4, A6] {
        assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
    }
    server.ok("ifdown eth0");
    assert_nothing_left(world);
}

/// The stanza that a mapping or a pattern selected is known while it is up: to `status`, to `apply`, and to the hook of
/// the last interface that is stopped.
pub fn stanzas_chosen_at_run_time_are_uplinks(world: &World) {
    let server = &world.server;
    let interfaces = "auto lo
iface lo inet loopback
auto eth0 /eth1=wan
mapping eth0
    script /etc/network/choose
iface home inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface wan inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    metric 10
";
    world.configure(interfaces);
    server.write("/etc/network/choose", b"#!/bin/sh\necho home\n");
    server.ok("chmod 755 /etc/network/choose");
    let written = server.run("symroute-gen --write");
    assert_eq!(written.code(), 0);
    assert_eq!(
        written.text(),
        "No uplinks found.

Nothing to write.
warning: a mapping selects the interface of 'home' at run time; symroute-gen writes no lines for it
 --> /etc/network/interfaces:8:5
  |
8 |     gateway 192.0.2.1
  |     ^^^^^^^
  |
  = help: Set a unique 'metric' for its default route. The hooks manage it while it is up.
warning: 'wan' does not name one interface; symroute-gen writes no lines for it
  --> /etc/network/interfaces:11:5
   |
11 |     gateway 198.51.100.1
   |     ^^^^^^^
   |
   = help: The hooks add the routes and rules while it is up. If symroute-gen should write lines, name one interface: 'auto eth0=wan'.
"
    );
    assert_eq!(server.read("/etc/network/interfaces"), interfaces.as_bytes());
    world.install_hooks();
    for _ in 0..2 {
        server.ok("ifup -a");
        for to in [A4, B4] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        assert_kernel_is_plan(world);
        server.ok("ip rule del priority 100");
        assert_eq!(server.run("symroute status").code(), 1);
        assert_eq!(server.ok("symroute apply"), "1 change made; everything is installed.\n");
        server.ok("symroute status");
        // One uplink remains. It needs no rules.
        server.ok("ifdown eth0");
        assert_nothing_left(world);
        server.ok("ifdown eth1; ifup eth1; ifup eth0=home");
        assert_kernel_is_plan(world);
        server.ok("ifdown eth1; ifdown eth0");
        assert_nothing_left(world);
    }
}

/// Interfaces are added late and in another order, and are removed before `ifdown`.
pub fn interfaces_are_removed_and_added(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(
        &WITH_METRIC.replace("auto lo eth0 eth1 eth2", "auto lo eth2\nallow-hotplug eth0\nallow-hotplug eth1"),
    );
    let assert_reached = |addresses: &[&str]| {
        for to in addresses {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
    };
    let rules = || server.ok("ip rule; ip -6 rule");
    world.unplug("eth0");
    world.unplug("eth1");
    server.ok("ifup -a");
    assert_nothing_left(world);
    let missing_interface = |name: &str, family: &str| {
        format!("{name} ({family}) is inactive: no interface has this name. 'ip link' shows the interfaces.\n")
    };
    let none_active = ["IPv4", "IPv6"].map(|family| {
        format!(
            "0 of 2 {family} uplinks are active.\n{}{}",
            missing_interface("eth0", family),
            missing_interface("eth1", family)
        )
    });
    let status = server.ok("symroute status");
    assert!(status.ends_with(&format!("\n\n{}symroute watch is not running.\n", none_active.concat())), "{status}");
    assert!(status.lines().any(|line| line.starts_with("eth0 IPv4") && line.ends_with("  no interface")), "{status}");
    assert_eq!(server.ok("symroute apply"), format!("Nothing to do for the active uplinks.\n{}", none_active.concat()));

    world.plug("eth1");
    server.ok("ifup eth1");
    assert_reached(&[B4, B6]);
    let one_active = ["IPv4", "IPv6"]
        .map(|family| format!("1 of 2 {family} uplinks is active.\n{}", missing_interface("eth0", family)));
    assert!(
        server.ok("symroute status").ends_with(&format!("\n\n{}symroute watch is not running.\n", one_active.concat()))
    );
    world.plug("eth0");
    server.ok("ifup eth0");
    assert_kernel_is_plan(world);
    assert_reached(&[A4, A6, B4, B6]);
    assert!(server.ok("symroute status").ends_with("\nEverything is installed.\nsymroute watch is not running.\n"));

    world.unplug("eth1");
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1, "{}", status.text());
    assert!(status.stdout().contains("Stale entries (added by symroute, no longer needed):"), "{}", status.text());
    // ifupdown reports the missing interface after the hook in if-down.d has run. ifupdown2 runs no hook.
    server.run("ifdown eth1");
    if world.suite == "bookworm-ifupdown2" {
        assert_eq!(server.run("symroute status").code(), 1);
        server.ok("symroute apply");
    }
    assert!(!rules().contains(B4) && !rules().contains("eth1"), "{}", rules());
    server.ok("symroute status");
    assert_reached(&[A4, A6]);
    world.plug("eth1");
    server.ok("ifup eth1");
    assert_kernel_is_plan(world);
    assert_reached(&[B4, B6]);

    // The interface was removed and added between two runs: its rules remain, its routes do not.
    world.unplug("eth1");
    world.plug("eth1");
    assert_eq!(server.run("symroute status").code(), 1);
    server.run("ifdown eth1");
    server.ok("ifup eth1");
    assert_kernel_is_plan(world);
    assert_reached(&[A4, A6, B4, B6]);
}
