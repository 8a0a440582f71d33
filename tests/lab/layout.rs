//! What main routes, from an uplink's address: real packets for each kind of route, and random hosts on which the
//! kernel answers for every destination.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::WITH_METRIC;
use crate::check::{assert_quiet, found_and_fixed};
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, in_group, state};
use crate::world::{A4, A6, B4, B6, Host, World};

/// Hosts behind the server, and what they have to reach.
type Way<'a> = (&'a str, &'a Host, Option<&'a str>, &'a str);

fn assert_reached(world: &World, what: &str, ways: &[Way]) {
    let lost: Vec<String> = std::thread::scope(|scope| {
        let tries: Vec<_> = ways
            .iter()
            .map(|(name, host, from, to)| {
                let way = format!("{name} {} -> {to}", from.unwrap_or_default());
                // An ICMPv6 echo reply is bound to the interface that it was asked on: TCP tells.
                // A second try: on a busy machine a connection may take longer than its limit, but what goes the
                // wrong way is always lost.
                scope.spawn(move || (0..2).all(|_| !host.talks(*from, to)).then_some(way))
            })
            .collect();
        tries.into_iter().filter_map(|tried| tried.join().expect("no panic")).collect()
    });
    assert!(lost.is_empty(), "{what}: {lost:#?}\n{}", state(world));
}

/// From the client, the LAN and each neighbour to all four addresses.
fn usual(world: &World) -> Vec<Way<'_>> {
    let hosts = [
        ("client", &world.client),
        ("LAN", &world.lan),
        ("neighbour A", &world.neighbour_a),
        ("neighbour B", &world.neighbour_b),
    ];
    hosts.into_iter().flat_map(|(name, host)| [A4, B4, A6, B6].map(|to| (name, host, None, to))).collect()
}

fn ups(world: &World, interfaces: &str, style: &str, check: &dyn Fn(&str)) {
    let server = &world.server;
    world.configure(interfaces);
    if style == "hook" {
        world.install_hooks();
    }
    server.ok(&format!("symroute-gen --write --style {style}"));
    for rp_filter in [0, 1] {
        server.ok(&format!("for name in /proc/sys/net/ipv4/conf/*/rp_filter; do echo {rp_filter} >$name; done"));
        server.ok("ifup -a");
        world.settle();
        server.ok("symroute status");
        check(&format!("{style}, rp_filter {rp_filter}"));
        assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is in place.\n");
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Virtual machines with addresses of the providers' networks, each by a route of its own in main; and what they send
/// to others is nobody's but main's.
pub fn routed_machines_in_a_providers_network(world: &World) {
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
        ups(world, &interfaces, style, &|what| {
            let mut ways = usual(world);
            for [machine, own, other] in [[machines[0], A4, B4], [machines[1], A6, B6]] {
                ways.extend([own, other].map(|to| ("machine", lan, Some(machine), to)));
                ways.extend([own, other].map(|from| ("server", server, Some(from), machine)));
            }
            assert_reached(world, what, &ways);
            assert_quiet(world);
            let forwarded = server.ok("ip route get 203.0.113.190 from 198.51.100.30 iif eth2");
            assert!(forwarded.contains("dev eth0"), "{what}: {forwarded}");
        });
    }
}

/// Routes of main to remote hosts through one uplink's gateway: from the other uplink's address, the Internet.
pub fn routes_through_a_gateway(world: &World) {
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
        ups(world, &interfaces, style, &|what| {
            assert_reached(world, what, &usual(world));
            assert_quiet(world);
        });
    }
}

/// What others send through the server is nobody's but main's, however many addresses the second uplink has: a network
/// behind the LAN, a container that appears later, and a machine between the addresses of the uplink itself.
pub fn forwarded_traffic_beside_many_addresses(world: &World) {
    let World { server, lan, isp_a, client, .. } = world;
    const REMOTE: [&str; 2] = ["203.0.113.190", "2001:db8:f::99"];
    const MACHINES: [[&str; 2]; 3] =
        [["203.0.113.72", "2001:db8:d::5"], ["203.0.113.74", "2001:db8:d:1::5"], ["198.51.100.13", "2001:db8:b::13"]];
    for machine in MACHINES.as_flattened() {
        let inet6 = machine.contains(':');
        let (customer, core) = if inet6 { (A6, "2001:db8:f:1::1") } else { (A4, "203.0.113.133") };
        isp_a.outside(&format!("ip route add {machine} via {customer} dev cust0")).ok();
        client.outside(&format!("ip route add {machine} via {core}")).ok();
        if inet6 {
            isp_a.outside(&format!("ip -6 rule add from {machine} iif cust0 lookup main priority 5")).ok();
        }
    }
    lan.outside("ip addr add 203.0.113.72/32 dev lo; ip addr add 2001:db8:d::5/128 dev lo nodad").ok();
    let more = |netmask: &str, addresses: &[&str]| {
        let line = |address: &&str| format!("    up ip addr replace {address}/{netmask} dev eth1\n");
        addresses.iter().map(line).collect::<String>()
    };
    let own = more("24", &["198.51.100.9", "198.51.100.11", "198.51.100.12", "198.51.100.14", "198.51.100.15"]);
    let own6 = more("64", &["2001:db8:b::11", "2001:db8:b::12", "2001:db8:b::14", "2001:db8:b::15", "2001:db8:b::16"]);
    let further = more("32", &["203.0.113.66", "203.0.113.90"]) + "    up sysctl -qw net.ipv4.ip_forward=1\n";
    let interfaces = WITH_METRIC
        .replace("    gateway 198.51.100.1\n", &format!("    gateway 198.51.100.1\n{own}{further}"))
        .replace("    gateway 2001:db8:b::1\n", &format!("    gateway 2001:db8:b::1\n{own6}"))
        .replace(
            "    address 203.0.113.1/26\n",
            "    address 203.0.113.1/26\n    up ip route add 203.0.113.72/32 via 203.0.113.2\n",
        )
        .replace(
            "    address 2001:db8:c::1/64\n",
            "    address 2001:db8:c::1/64\n    up ip route add 2001:db8:d::5/128 via 2001:db8:c::2\n",
        );
    for style in ["iproute2", "hook"] {
        ups(world, &interfaces, style, &|what| {
            server.ok("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
            let container = world.another_host();
            world.link(server, "br9", &container, "eth0");
            server.outside("echo 0 >/proc/sys/net/ipv6/conf/br9/accept_dad; ip link set br9 up; ip addr add fe80::9/64 dev br9 nodad").ok();
            container.outside("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up").ok();
            for machine in MACHINES[1..].as_flattened() {
                let via = if machine.contains(':') { "via fe80::9 dev eth0" } else { "dev eth0" };
                server.ok(&format!("echo 1 >/proc/sys/net/ipv4/conf/br9/proxy_arp; ip route add {machine} dev br9"));
                container
                    .outside(&format!(
                        "ip addr add {machine} dev eth0; ip route replace default {via} src {machine} || true"
                    ))
                    .ok();
            }
            let hosts = [lan, &container, &container];
            let ways: Vec<Way> = MACHINES
                .iter()
                .zip(hosts)
                .flat_map(|(addresses, host)| {
                    addresses.iter().zip(REMOTE).map(move |(from, to)| ("machine", host, Some(*from), to))
                })
                .collect();
            assert_reached(world, what, &ways);
            assert_reached(world, what, &usual(world));
            for (from, to) in MACHINES.iter().flat_map(|addresses| addresses.iter().zip(REMOTE)) {
                let dev = if MACHINES[0].contains(from) { "eth2" } else { "br9" };
                let forwarded = server.ok(&format!("ip route get {to} from {from} iif {dev}"));
                assert!(forwarded.contains("dev eth0"), "{what}: {forwarded}\n{}", state(world));
            }
            assert_quiet(world);
            server.ok("ip link del br9");
        });
    }
}

/// Few rules for thousands of addresses.
pub fn thousands_of_addresses(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    server.ok("for n in $(seq 256 5255); do printf 'addr add 2001:db8:b::%x/64 dev eth1 nodad\\n' $((2 * n)); done | ip -6 -batch -");
    server.ok("symroute apply; symroute status --quiet");
    let rules = server.ok("ip -6 rule").lines().filter(|line| line.contains("from 2001:db8:b:")).count();
    assert!((2..20).contains(&rules), "{rules} rules");
    let address = "2001:db8:b::2900";
    assert!(server.ok(&format!("ip -6 route get 2001:db8:f::99 from {address}")).contains("dev eth1"));
    assert_reached(world, "thousands", &[("client", &world.client, None, address), ("LAN", &world.lan, None, address)]);
}

/// The LAN has a second router in it, so it is an uplink as well: private, and no provider has a route to it.
pub fn a_lan_with_a_backup_router(world: &World) {
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
        ups(world, &interfaces, style, &|what| {
            let mut ways: Vec<Way> = usual(world).into_iter().filter(|way| way.0 != "LAN").collect();
            ways.extend([A4, B4].map(|to| ("LAN", lan, Some("10.1.0.2"), to)));
            ways.extend([A6, B6].map(|to| ("LAN", lan, Some("fd00:c::2"), to)));
            assert_reached(world, what, &ways);
            assert_quiet(world);
            // One of the interfaces goes and comes back, and the others' tables with it.
            for name in ["eth2", "eth0"] {
                world.server.ok(&format!("ifdown {name}; symroute status; ifup {name}"));
                world.settle();
                world.server.ok("symroute status");
            }
            assert_reached(world, what, &ways);
        });
    }
}

/// A VPN with a table of its own, which a rule behind symroute's looks up for every packet.
pub fn a_table_that_everybody_looks_up(world: &World) {
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
    let ways: Vec<Way> = [(A4, "100.64.0.9"), (B4, "100.64.0.9"), (A6, "fd7a::9"), (B6, "fd7a::9")]
        .map(|(to, from)| ("peer", lan, Some(from), to))
        .into();
    assert_reached(world, "a peer", &ways);
    assert_reached(world, "others", &usual(world).into_iter().filter(|way| way.0 != "LAN").collect::<Vec<_>>());
    assert_quiet(world);
    server.ok("symroute status");
    server.outside("for family in -4 -6; do ip $family rule del pref 5270; done").ok();
    server.ok("IFACE=eth0 MODE=start symroute hook; symroute status");
    assert_kernel_is_plan(world);
    server.ok("ip link del vpn0; ifdown -a");
    assert_nothing_left(world);
}

/// ifupdown2 moves the rule for table local where it makes VRFs: behind symroute's.
pub fn local_addresses_behind(world: &World) {
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
    let ways: Vec<Way> = own.into_iter().chain(own6).flatten().chain(usual(world)).collect();
    assert_reached(world, "local behind", &ways);
    server.ok("for family in -4 -6; do
        ip $family rule add pref 0 lookup local; ip $family rule del pref 32765; done");
    server.ok("symroute apply");
    assert_kernel_is_plan(world);
    assert_reached(world, "local first", &ways);
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// The second provider's network comes from router advertisements, and so does its router: a link-local address.
pub fn a_network_by_advertisements(world: &World) {
    let server = &world.server;
    world.install_hooks();
    let by_hand = "iface eth1 inet6 manual\n";
    let interfaces = WITH_METRIC.replace(
        "iface eth1 inet6 static\n    address 2001:db8:b::10/64\n    gateway 2001:db8:b::1\n    metric 2000\n",
        "iface eth1 inet6 auto\n    accept_ra 0\n    autoconf 0\n    privext 0\n",
    );
    assert!(interfaces != WITH_METRIC && !interfaces.contains(by_hand));
    world.configure(&interfaces);
    server.ok("ifup -a");
    // As the kernel does it when an advertisement comes.
    server.ok("ip -6 addr add 2001:db8:b::10/64 dev eth1 noprefixroute nodad
        ip -6 route add 2001:db8:b::/64 dev eth1 proto ra metric 256
        ip -6 route add default via fe80::1 dev eth1 proto ra metric 2000");
    server.ok("symroute apply; symroute status");
    world.settle();
    assert_reached(world, "by advertisements", &usual(world));
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// Main knows a network that appears after the hooks ran; no event is needed for it.
pub fn a_network_that_appears(world: &World) {
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
    let ways: Vec<Way> = [A4, B4, A6, B6].map(|to| ("container", &container, None, to)).into();
    assert_reached(world, "a network that appears", &ways);
    assert_quiet(world);
    server.ok("symroute status");
    server.ok("ip link del br9; ifdown -a");
    assert_nothing_left(world);
}

/// A private network on the first provider's wire, and a further router in the second's: copies in both tables.
pub fn further_networks_on_the_uplinks(world: &World) {
    let World { server, neighbour_a, neighbour_b, .. } = world;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    server.ok("ip addr add 10.5.0.10/24 dev eth0; ip route add 192.168.77.0/24 via 198.51.100.20 dev eth1
        ip route add 203.0.113.96/28 via 198.51.100.20 dev eth1; ip route add 203.0.113.112/28 via 192.0.2.1 dev eth0");
    assert_eq!(server.run("symroute status").code(), 1);
    server.ok("symroute apply; symroute status");
    assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is in place.\n");
    let get = |from: &str, to: &str| server.ok(&format!("ip route get {to} from {from}"));
    for from in [A4, B4] {
        assert!(get(from, "10.5.0.20").contains("10.5.0.20 from") && get(from, "10.5.0.20").contains("dev eth0"));
        for to in ["192.168.77.7", "203.0.113.97"] {
            assert!(get(from, to).contains("via 198.51.100.20 dev eth1"), "{}", get(from, to));
        }
    }
    assert!(get(B4, "203.0.113.113").contains("via 198.51.100.1 dev eth1"));
    assert!(get(A4, "203.0.113.113").contains("via 192.0.2.1 dev eth0"));
    assert_reached(world, "further networks", &usual(world));
    // They go with main's.
    server.ok("ip route del 192.168.77.0/24; ip addr del 10.5.0.10/24 dev eth0");
    server.ok("symroute apply; ip route del 203.0.113.96/28; ip route del 203.0.113.112/28; symroute apply");
    assert_kernel_is_plan(world);
    assert!(neighbour_a.talks(None, B4) && neighbour_b.talks(None, A4));
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// The same where lines of the stanzas add them: the files tell, so lines of symroute-gen do as well.
pub fn further_networks_by_lines(world: &World) {
    let server = &world.server;
    let interfaces = WITH_METRIC
        .replace("    gateway 192.0.2.1\n", "    gateway 192.0.2.1\n    up ip addr replace 10.5.0.10/24 dev eth0\n")
        .replace(
            "    gateway 198.51.100.1\n",
            "    gateway 198.51.100.1\n    up ip route replace 192.168.77.0/24 via 198.51.100.20\n",
        );
    for style in ["iproute2", "hook"] {
        ups(world, &interfaces, style, &|what| {
            for from in [A4, B4, "10.5.0.10"] {
                for (to, way) in [("10.5.0.20", "10.5.0.20 from"), ("192.168.77.7", "via 198.51.100.20 dev eth1")] {
                    let get = server.ok(&format!("ip route get {to} from {from}"));
                    assert!(get.contains(way), "{what}: {get}");
                }
            }
            assert_reached(world, what, &usual(world));
            // Whichever of them comes back, it has the other's, and the other has its own.
            for name in ["eth1", "eth0"] {
                server.ok(&format!("ifdown {name}; symroute status; ifup {name}"));
                world.settle();
                server.ok("symroute status");
            }
        });
    }
}

/// Interfaces that somebody put into a group, links that are recreated, and a kernel that refuses.
pub fn interface_groups(world: &World) {
    let server = &world.server;
    let members = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    assert_eq!(in_group(world), members(&["eth0", "eth1"]));
    let near = || world.neighbour_b.pings(None, A4);
    found_and_fixed(world, "interface-group", "ip link set dev eth1 group 0", &near);
    let lan = || world.lan.pings(None, B4);
    found_and_fixed(world, "interface-group", "ip link set dev eth2 group 97", &lan);
    // As a link that was recreated has it.
    server.ok("ip link set dev eth1 group 0");
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1);
    assert!(status.stdout().contains("    MISSING   dev eth1 group 97\n"), "{}", status.text());
    assert_eq!(server.ok("symroute apply --dry-run"), "ip link set dev eth1 group 97\n");
    server.ok("IFACE=eth0 MODE=start symroute hook");
    assert_kernel_is_plan(world);
    // An interface that is no uplink does not belong there.
    server.ok("ip link set dev eth2 group 97");
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1);
    assert!(status.stdout().contains("    LEFT      dev eth2 group 97\n"), "{}", status.text());
    server.ok("symroute apply");
    assert_kernel_is_plan(world);
    // It goes with its uplink: with the last of both families.
    server.ok("ifdown eth1");
    assert_eq!(in_group(world), members(&["eth0"]));
    server.ok("ifup eth1");
    world.settle();

    // Somebody else's group is not changed, and named.
    server.ok("ip link set dev eth1 group 5");
    for command in ["symroute status", "symroute apply", "symroute plan"] {
        let ran = server.run(command);
        let said = "eth1 is in interface group 5, which symroute did not set";
        assert!(ran.text().contains(said), "{command}: {}", ran.text());
        assert!(ran.text().contains("'ip link set dev eth1 group 0'"), "{command}: {}", ran.text());
    }
    assert!(server.ok("ip link show dev eth1").contains("group 5 "));
    server.ok("symroute status");
    assert_reached(
        world,
        "in another group",
        &[("client", &world.client, None, A4), ("client", &world.client, None, B6)],
    );
    // All uplinks in one: the rules use it.
    server.ok("ip link set dev eth0 group 5; symroute apply; symroute status");
    assert!(server.ok("ip rule").contains("suppress_ifgroup 5 "), "{}", server.ok("ip rule"));
    assert_reached(world, "in one group", &usual(world));
    assert_quiet(world);
    // But not if another interface is in it, or the LAN would be cut off.
    server.ok("ip link set dev eth2 group 5; symroute apply");
    assert!(server.ok("ip rule").contains("suppress_ifgroup 97 "), "{}", server.ok("ip rule"));
    assert_reached(world, "the LAN as well", &[("LAN", &world.lan, None, B4), ("client", &world.client, None, B4)]);
    server.ok("for n in 0 1 2; do ip link set dev eth$n group 0; done; symroute apply");
    assert_kernel_is_plan(world);
    assert_reached(world, "as before", &usual(world));
    assert_eq!(server.ok("symroute flush"), "24 rules, routes and group memberships removed.\n");
    assert_nothing_left(world);

    let refused = server.run("setpriv --bounding-set=-all --inh-caps=-all symroute apply");
    assert_eq!(refused.code(), 2);
    let said = "symroute: the kernel refused 'ip link set dev eth0 group 97': EPERM: Operation not permitted\n";
    assert_eq!(refused.text(), said);
    assert_nothing_left(world);
}

/// What symroute made before its rules used interface groups, with `ip`: three rules for an address, the others'
/// networks through the own gateway. Then what it makes now goes, in an order that loses nothing.
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

/// Not one packet is lost on the way from the rules that symroute had before to those with interface groups.
pub fn no_packet_is_lost_from_the_rules_before(world: &World) {
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
    let ways = usual(world);
    assert_reached(world, "before", &ways);
    let old = server.ok("ip rule; ip -6 rule");
    assert!(!old.contains("suppress_ifgroup") && old.contains("112:\tfrom 198.51.100.10 lookup 2"), "{old}");
    let done = AtomicBool::new(false);
    let (changes, talked, lost) = std::thread::scope(|scope| {
        let pings: Vec<_> = ways
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
        // A connection that goes on meanwhile.
        let talk = "(echo one; sleep 4; echo two) | socat -t 3 -T 20 - TCP:[2001:db8:b::10]:7000";
        let talk = scope.spawn(move || world.client.outside(talk).stdout());
        let changes: Vec<String> = (0..8).map(|_| server.run(&format!("{before}\nsymroute apply")).text()).collect();
        let talked = talk.join().expect("no panic");
        done.store(true, Ordering::Relaxed);
        let lost: Vec<String> = pings.into_iter().flat_map(|ping| ping.join().expect("no panic")).collect();
        (changes, talked, lost)
    });
    assert!(changes.iter().all(|said| said == "26 changes made; everything is in place.\n"), "{changes:?}");
    assert_eq!(talked, "one\ntwo\n", "the connection broke");
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert_kernel_is_plan(world);
}
