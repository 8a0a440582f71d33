//! Networks that are added at run time or by lines, on an uplink's interface or on another one.

use super::{Connection, all_connections, assert_reached, assert_reached_strictly, check_each_rp_filter};
use crate::WITH_METRIC;
use crate::check::assert_quiet;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left};
use crate::world::{A4, A6, B4, B6, World};

/// The second provider's network and router come from router advertisements. The router has a link-local address.
pub fn advertised_networks_are_reached(world: &World) {
    let server = &world.server;
    // ifupdown2 has no method `auto`.
    let method = match world.suite {
        "bookworm-ifupdown2" => "iface eth1 inet6 manual\n",
        _ => "iface eth1 inet6 auto\n    accept_ra 0\n    autoconf 0\n    privext 0\n",
    };
    let interfaces = WITH_METRIC.replace(
        "iface eth1 inet6 static\n    address 2001:db8:b::10/64\n    gateway 2001:db8:b::1\n    metric 2000\n",
        method,
    );
    assert!(interfaces != WITH_METRIC);
    for style in ["iproute2", "hook"] {
        if style == "hook" {
            world.install_hooks();
        }
        world.configure(&interfaces);
        server.ok(&format!("symroute-gen --write --style {style}; ifup -a"));
        // The kernel does this when it receives an advertisement.
        server.ok("ip -6 addr add 2001:db8:b::10/64 dev eth1 noprefixroute nodad
            ip -6 route add 2001:db8:b::/64 dev eth1 proto ra metric 256
            ip -6 route add default via fe80::1 dev eth1 proto ra metric 2000");
        server.ok("symroute apply; symroute status");
        world.settle();
        assert_reached_strictly(world, &format!("by advertisements, {style}"), &all_connections(world));
        server.ok("ifdown -a; ip -6 addr flush dev eth1 scope global; symroute apply");
        assert_nothing_left(world);
        server.ok("symroute-gen --remove --write --quiet");
    }
}

/// Main has a route to a network that is added after the hooks ran. No event is needed.
pub fn a_new_network_is_reached(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    let container = world.another_host();
    world.link(server, "br9", &container, "eth0");
    server
        .outside(
            "set -e; echo 0 > /proc/sys/net/ipv6/conf/br9/accept_dad; ip link set br9 up
            ip addr add 172.31.9.1/24 dev br9; ip addr add fd00:9::1/64 dev br9 nodad",
        )
        .ok();
    container
        .outside(
            "set -e; echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up
            ip addr add 172.31.9.2/24 dev eth0; ip addr add fd00:9::2/64 dev eth0 nodad
            ip route add default via 172.31.9.1; ip route add default via fd00:9::1",
        )
        .ok();
    world.settle();
    let connections: Vec<Connection> = [A4, B4, A6, B6].map(|to| ("container", &container, None, to)).into();
    assert_reached(world, "a network that appears", &connections);
    assert_quiet(world);
    server.ok("symroute status");
    server.ok("ip link del br9; ifdown -a");
    assert_nothing_left(world);
}

/// A private network on the first uplink's interface, and a further router in the second provider's network. Both
/// tables have copies.
pub fn apply_copies_further_networks(world: &World) {
    let World { server, neighbour_a, neighbour_b, .. } = world;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    server.ok("ip addr add 10.5.0.10/24 dev eth0; ip route add 192.168.77.0/24 via 198.51.100.20 dev eth1
        ip route add 203.0.113.96/28 via 198.51.100.20 dev eth1; ip route add 203.0.113.112/28 via 192.0.2.1 dev eth0");
    assert_eq!(server.run("symroute status").code(), 1);
    server.ok("symroute apply; symroute status");
    assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is installed.\n");
    let get = |from: &str, to: &str| server.ok(&format!("ip route get {to} from {from}"));
    for from in [A4, B4] {
        assert!(get(from, "10.5.0.20").contains("10.5.0.20 from") && get(from, "10.5.0.20").contains("dev eth0"));
        for to in ["192.168.77.7", "203.0.113.97"] {
            assert!(get(from, to).contains("via 198.51.100.20 dev eth1"), "{}", get(from, to));
        }
    }
    assert!(get(B4, "203.0.113.113").contains("via 198.51.100.1 dev eth1"));
    assert!(get(A4, "203.0.113.113").contains("via 192.0.2.1 dev eth0"));
    assert_reached(world, "further networks", &all_connections(world));
    // The copies are removed with main's routes.
    server.ok("ip route del 192.168.77.0/24; ip addr del 10.5.0.10/24 dev eth0");
    server.ok("symroute apply; ip route del 203.0.113.96/28; ip route del 203.0.113.112/28; symroute apply");
    assert_kernel_is_plan(world);
    assert!(neighbour_a.talks(None, B4) && neighbour_b.talks(None, A4));
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// Lines of the stanzas add the same routes, so symroute-gen copies them.
pub fn lines_copy_further_networks(world: &World) {
    let server = &world.server;
    let interfaces = WITH_METRIC
        .replace("    gateway 192.0.2.1\n", "    gateway 192.0.2.1\n    up ip addr replace 10.5.0.10/24 dev eth0\n")
        .replace(
            "    gateway 198.51.100.1\n",
            "    gateway 198.51.100.1\n    up ip route replace 192.168.77.0/24 via 198.51.100.20\n",
        );
    for style in ["iproute2", "hook"] {
        check_each_rp_filter(world, &interfaces, style, &|what| {
            for from in [A4, B4, "10.5.0.10"] {
                for (to, route) in [("10.5.0.20", "10.5.0.20 from"), ("192.168.77.7", "via 198.51.100.20 dev eth1")] {
                    let get = server.ok(&format!("ip route get {to} from {from}"));
                    assert!(get.contains(route), "{what}: {get}");
                }
            }
            assert_reached(world, what, &all_connections(world));
            // Each uplink that starts again has the routes of both.
            for name in ["eth1", "eth0"] {
                server.ok(&format!("ifdown {name}; symroute status; ifup {name}"));
                world.settle();
                server.ok("symroute status");
            }
        });
    }
}
