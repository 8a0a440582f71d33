//! The interface group of the uplinks.

use std::collections::BTreeSet;

use super::{all_connections, assert_reached, assert_reached_strictly};
use crate::WITH_METRIC;
use crate::check::{assert_quiet, found_and_fixed};
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, in_group};
use crate::world::{A4, B4, B6, World};

/// Interfaces in foreign groups, interfaces that are added again, and a kernel that rejects the change.
pub fn apply_sets_interface_groups(world: &World) {
    let server = &world.server;
    let members = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    assert_eq!(in_group(world), members(&["eth0", "eth1"]));
    let neighbour_pings = || world.neighbour_b.pings(None, A4);
    found_and_fixed(world, "interface-group", "ip link set dev eth1 group 0", &neighbour_pings);
    let lan_pings = || world.lan.pings(None, B4);
    found_and_fixed(world, "interface-group", "ip link set dev eth2 group 97", &lan_pings);
    // An interface that was added again has group 0.
    server.ok("ip link set dev eth1 group 0");
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1);
    assert!(status.stdout().contains("eth1 IPv4, missing:\n    dev eth1 group 97\n"), "{}", status.text());
    assert_eq!(server.ok("symroute apply --dry-run"), "ip link set dev eth1 group 97\n");
    server.ok("IFACE=eth0 MODE=start symroute hook");
    assert_kernel_is_plan(world);
    // An interface that is not an uplink must not be in the group.
    server.ok("ip link set dev eth2 group 97");
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1);
    assert!(
        status.stdout().contains("Stale entries (added by symroute, no longer needed):\n    dev eth2 group 97\n"),
        "{}",
        status.text()
    );
    server.ok("symroute apply");
    assert_kernel_is_plan(world);
    // The interface leaves the group with its last uplink, of both families.
    server.ok("ifdown eth1");
    assert_eq!(in_group(world), members(&["eth0"]));
    server.ok("ifup eth1");
    world.settle();

    // A foreign group is not changed. Messages name it.
    server.ok("ip link set dev eth1 group 5");
    for command in ["symroute status", "symroute apply", "symroute plan"] {
        let ran = server.run(command);
        let message = "eth1 is in interface group 5, which symroute did not set";
        assert!(ran.text().contains(message), "{command}: {}", ran.text());
        assert!(ran.text().contains("'ip link set dev eth1 group 0'"), "{command}: {}", ran.text());
    }
    assert!(server.ok("ip link show dev eth1").contains("group 5 "));
    server.ok("symroute status");
    assert_reached(
        world,
        "in another group",
        &[("client", &world.client, None, A4), ("client", &world.client, None, B6)],
    );
    // If all uplinks are in one group, the rules use it.
    server.ok("ip link set dev eth0 group 5; symroute apply; symroute status");
    assert!(server.ok("ip rule").contains("suppress_ifgroup 5 "), "{}", server.ok("ip rule"));
    assert_reached_strictly(world, "in one group", &all_connections(world));
    assert_quiet(world);
    // The rules do not use it if another interface is in the group: the LAN would not be reached.
    server.ok("ip link set dev eth2 group 5; symroute apply");
    assert!(server.ok("ip rule").contains("suppress_ifgroup 97 "), "{}", server.ok("ip rule"));
    assert_reached(world, "the LAN as well", &[("LAN", &world.lan, None, B4), ("client", &world.client, None, B4)]);
    server.ok("for n in 0 1 2; do ip link set dev eth$n group 0; done; symroute apply");
    assert_kernel_is_plan(world);
    assert_reached_strictly(world, "as before", &all_connections(world));
    assert_eq!(server.ok("symroute flush"), "24 rules, routes and group memberships removed.\n");
    assert_nothing_left(world);

    let rejected = server.run("setpriv --bounding-set=-all --inh-caps=-all symroute apply");
    assert_eq!(rejected.code(), 2);
    let message = "symroute: the kernel rejected 'ip link set dev eth0 group 97': EPERM: Operation not permitted\n";
    assert_eq!(rejected.text(), message);
    assert_nothing_left(world);
}

/// By lines: an interface is in the group while one of its stanzas is up. A foreign group is not changed.
pub fn lines_set_interface_groups(world: &World) {
    let server = &world.server;
    let members = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    world.configure(WITH_METRIC);
    server.ok("symroute-gen --write; ifup -a");
    world.settle();
    assert_eq!(in_group(world), members(&["eth0", "eth1"]));
    assert_reached_strictly(world, "by lines", &all_connections(world));
    server.ok("ifdown eth1");
    assert_eq!(in_group(world), members(&["eth0"]));
    server.ok("ip link set dev eth1 group 5; ifup eth1");
    assert!(server.ok("ip link show dev eth1").contains("group 5 "));
    server.ok("ifdown eth1");
    assert!(server.ok("ip link show dev eth1").contains("group 5 "));
    server.ok("ip link set dev eth1 group 0; ifup eth1");
    world.settle();
    assert_kernel_is_plan(world);
    server.ok("ifdown -a");
    assert_nothing_left(world);
    // The lines of the others put an interface without lines into the group. It leaves with the last rule that needs it,
    // even where 'ip rule' shows a name for the group.
    let third = "    address 203.0.113.1/26\n    gateway 203.0.113.2\n    metric 30\n    symroute no\n";
    server.own_etc();
    server.ok("mkdir -p /etc/iproute2");
    world.configure(&WITH_METRIC.replace("    address 203.0.113.1/26\n", third));
    server.ok("symroute-gen --write; ifup -a");
    assert_eq!(in_group(world), members(&["eth0", "eth1", "eth2"]));
    for (interface, rest) in [("eth1", &["eth0", "eth2"][..]), ("eth0", &[])] {
        server.write("/etc/iproute2/group", b"97 uplinks\n");
        let rules = server.ok("ip rule");
        assert!(rules.contains("suppress_ifgroup uplinks "), "{rules}");
        server.ok(&format!("ifdown {interface}; rm /etc/iproute2/group"));
        assert_eq!(in_group(world), members(rest));
    }
    server.ok("ifdown -a");
    assert_nothing_left(world);
}
