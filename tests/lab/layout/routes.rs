//! Static routes, private uplinks, and foreign rules that select a table.

use super::{Connection, all_connections, assert_reached, assert_reached_strictly, check_each_rp_filter};
use crate::WITH_METRIC;
use crate::check::assert_quiet;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left};
use crate::world::{A4, A6, B4, B6, World};

/// Virtual machines have addresses of the providers' networks, and main has a route to each. Packets that they send to
/// other hosts use main only.
pub fn routed_machines_keep_their_routes(world: &World) {
    let World { server, lan, .. } = world;
    let machines = ["198.51.100.30", "2001:db8:b::30"];
    lan.outside("ip addr add 198.51.100.30/32 dev lo; ip addr add 2001:db8:b::30/128 dev lo nodad").ok();
    server.ok("echo 1 > /proc/sys/net/ipv4/ip_forward");
    let interfaces = WITH_METRIC
        .replace(
            "    address 203.0.113.1/26\n",
            "    address 203.0.113.1/26\n    up ip route add 198.51.100.30/32 via 203.0.113.2 dev eth2\n",
        )
        .replace(
            "    address 2001:db8:c::1/64\n",
            "    address 2001:db8:c::1/64\n    up ip route add 2001:db8:b::30/128 via 2001:db8:c::2 dev eth2\n",
        );
    for style in ["iproute2", "hook"] {
        check_each_rp_filter(world, &interfaces, style, &|what| {
            let mut connections = all_connections(world);
            for [machine, own, other] in [[machines[0], A4, B4], [machines[1], A6, B6]] {
                connections.extend([own, other].map(|to| ("machine", lan, Some(machine), to)));
                connections.extend([own, other].map(|from| ("server", server, Some(from), machine)));
            }
            assert_reached(world, what, &connections);
            assert_quiet(world);
            let forwarded = server.ok("ip route get 203.0.113.190 from 198.51.100.30 iif eth2");
            assert!(forwarded.contains("dev eth0"), "{what}: {forwarded}");
        });
    }
}

/// Main has routes to remote hosts through one uplink's gateway. Packets from the other uplink's address do not use
/// them.
pub fn static_routes_apply_to_one_uplink(world: &World) {
    let interfaces = WITH_METRIC
        .replace(
            "    gateway 198.51.100.1\n",
            "    gateway 198.51.100.1\n    up ip route add 203.0.113.128/26 via 198.51.100.1 dev eth1\n",
        )
        .replace(
            "    gateway 2001:db8:b::1\n",
            "    gateway 2001:db8:b::1\n    up ip route add 2001:db8:f::/48 via 2001:db8:b::1 dev eth1\n",
        );
    for style in ["iproute2", "hook"] {
        check_each_rp_filter(world, &interfaces, style, &|what| {
            assert_reached(world, what, &all_connections(world));
            assert_quiet(world);
        });
    }
}

/// A provider separates its customers: the main table reaches the own network through the gateway.
pub fn separated_customers_are_reached(world: &World) {
    let World { server, isp_a, .. } = world;
    isp_a.outside("echo 0 > /proc/sys/net/ipv4/conf/cust0/proxy_arp").ok();
    let interfaces = WITH_METRIC.replace(
        "    gateway 192.0.2.1\n",
        "    gateway 192.0.2.1\n    up ip route prepend 192.0.2.0/24 via 192.0.2.1 dev eth0\n",
    );
    for style in ["iproute2", "article", "hook"] {
        check_each_rp_filter(world, &interfaces, style, &|what| {
            let mut connections = all_connections(world);
            connections.extend([A4, B4].map(|from| ("server", server, Some(from), "192.0.2.20")));
            assert_reached(world, what, &connections);
            assert_quiet(world);
        });
    }
}

/// A provider routes a block of addresses to the uplink's address. A line of the uplink's stanza adds one to lo.
pub fn a_routed_block_uses_the_uplink_of_its_stanza(world: &World) {
    let World { server, isp_b, client, .. } = world;
    const BLOCK: &str = "198.18.5.1";
    isp_b.outside(&format!("ip route add {BLOCK} via {B4} dev cust0")).ok();
    client.outside(&format!("ip route add {BLOCK} via 203.0.113.137 dev to-b src 203.0.113.190")).ok();
    let interfaces = WITH_METRIC.replace(
        "    gateway 198.51.100.1\n",
        &format!(
            "    gateway 198.51.100.1\n    up ip addr add {BLOCK}/32 dev lo\n    down ip addr del {BLOCK}/32 dev lo\n"
        ),
    );
    for style in ["iproute2", "hook"] {
        check_each_rp_filter(world, &interfaces, style, &|what| {
            let mut connections = all_connections(world);
            connections.push(("client", client, None, BLOCK));
            connections.push(("server", server, Some(BLOCK), "203.0.113.2"));
            assert_reached(world, what, &connections);
            assert_quiet(world);
        });
    }
}

/// The LAN has a second router, so it is an uplink, too. Its addresses are private: no provider has a route to them.
pub fn a_lan_with_a_backup_router_is_an_uplink(world: &World) {
    let lan = &world.lan;
    lan.outside(
        "ip addr add 10.1.0.2/24 dev eth0; ip addr add fd00:c::2/64 dev eth0 nodad
        ip route replace default via 10.1.0.1; ip -6 route replace default via fd00:c::1",
    )
    .ok();
    let interfaces = WITH_METRIC
        .replace("    address 203.0.113.1/26\n", "    address 10.1.0.1/24\n    gateway 10.1.0.254\n    metric 100\n")
        .replace(
            "    address 2001:db8:c::1/64\n",
            "    address fd00:c::1/64\n    gateway fd00:c::fe\n    metric 3000\n",
        );
    for style in ["iproute2", "hook"] {
        check_each_rp_filter(world, &interfaces, style, &|what| {
            let mut connections: Vec<Connection> =
                all_connections(world).into_iter().filter(|connection| connection.0 != "LAN").collect();
            connections.extend([A4, B4].map(|to| ("LAN", lan, Some("10.1.0.2"), to)));
            connections.extend([A6, B6].map(|to| ("LAN", lan, Some("fd00:c::2"), to)));
            assert_reached(world, what, &connections);
            assert_quiet(world);
            // An interface is stopped and started again. The tables of the others follow.
            for name in ["eth2", "eth0"] {
                world.server.ok(&format!("ifdown {name}; symroute status; ifup {name}"));
                world.settle();
                world.server.ok("symroute status");
            }
            assert_reached(world, what, &connections);
        });
    }
}

/// A VPN has its own table. A rule with a lower precedence than symroute's looks it up for every packet.
pub fn a_table_for_all_packets_is_used(world: &World) {
    let (server, lan) = (&world.server, &world.lan);
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    world.link(server, "vpn0", lan, "vpn1");
    lan.outside(
        "ip link set vpn1 up; ip addr add 100.64.0.9/32 dev vpn1; ip -6 addr add fd7a::9/128 dev vpn1 nodad
        for to in 100.64.0.1 192.0.2.10 198.51.100.10; do ip route add $to dev vpn1 src 100.64.0.9; done
        ip -6 route add fd7a::1 dev vpn1
        for to in 2001:db8:a::10 2001:db8:b::10; do ip -6 route add $to via fd7a::1 dev vpn1 src fd7a::9; done",
    )
    .ok();
    server
        .outside(
            "ip link set vpn0 up; ip addr add 100.64.0.1/32 dev vpn0; ip -6 addr add fd7a::1/128 dev vpn0 nodad
            for family in -4 -6; do ip $family rule add pref 5270 lookup 52; done
            ip route add 100.64.0.9 dev vpn0 table 52; ip -6 route add fd7a::9 dev vpn0 table 52",
        )
        .ok();
    assert_eq!(server.run("symroute status").code(), 1);
    server.ok("IFACE=eth0 MODE=start symroute hook");
    let connections: Vec<Connection> = [(A4, "100.64.0.9"), (B4, "100.64.0.9"), (A6, "fd7a::9"), (B6, "fd7a::9")]
        .map(|(to, from)| ("peer", lan, Some(from), to))
        .into();
    assert_reached_strictly(world, "a peer", &connections);
    assert_reached_strictly(
        world,
        "others",
        &all_connections(world).into_iter().filter(|connection| connection.0 != "LAN").collect::<Vec<_>>(),
    );
    assert_quiet(world);
    server.ok("symroute status");
    server.outside("for family in -4 -6; do ip $family rule del pref 5270; done").ok();
    server.ok("IFACE=eth0 MODE=start symroute hook; symroute status");
    assert_kernel_is_plan(world);
    server.ok("ip link del vpn0; ifdown -a");
    assert_nothing_left(world);
}

/// ifupdown2 moves the rule for the local table behind symroute's if it creates VRFs.
pub fn local_addresses_are_reached_without_rule_0(world: &World) {
    let server = &world.server;
    world.install_hooks();
    server.ok("for family in -4 -6; do
        ip $family rule add pref 32765 lookup local; ip $family rule del pref 0; done");
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    server.ok("symroute status");
    let own = [A4, B4, "203.0.113.1"].map(|to| [A4, B4].map(|from| ("itself", server, Some(from), to)));
    let own6 = [A6, B6, "2001:db8:c::1"].map(|to| [A6, B6].map(|from| ("itself", server, Some(from), to)));
    let connections: Vec<Connection> = own.into_iter().chain(own6).flatten().chain(all_connections(world)).collect();
    assert_reached_strictly(world, "local behind", &connections);
    server.ok("for family in -4 -6; do
        ip $family rule add pref 0 lookup local; ip $family rule del pref 32765; done");
    server.ok("symroute apply");
    assert_kernel_is_plan(world);
    assert_reached_strictly(world, "local first", &connections);
    server.ok("ifdown -a");
    assert_nothing_left(world);
}
