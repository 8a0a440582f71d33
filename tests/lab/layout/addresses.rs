//! Many addresses on one uplink, covered by few rules.

use super::{Connection, all_connections, assert_reached, check_each_rp_filter};
use crate::WITH_METRIC;
use crate::check::assert_quiet;
use crate::judge::state;
use crate::world::{A4, A6, World};

/// Forwarded packets use main, however many addresses the second uplink has. The senders are a network behind the LAN,
/// a container that is added later, and a machine with an address between those of the uplink.
pub fn many_addresses_keep_forwarded_traffic(world: &World) {
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
        check_each_rp_filter(world, &interfaces, style, &|what| {
            server.ok("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
            let container = world.another_host();
            world.link(server, "br9", &container, "eth0");
            server.outside("echo 0 >/proc/sys/net/ipv6/conf/br9/accept_dad; ip link set br9 up; ip addr add fe80::9/64 dev br9 nodad").ok();
            container.outside("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up").ok();
            for machine in MACHINES[1..].as_flattened() {
                // A route cannot use a tentative address as its source.
                let (flags, via) = if machine.contains(':') { ("nodad", "via fe80::9") } else { ("", "") };
                server.ok(&format!("echo 1 >/proc/sys/net/ipv4/conf/br9/proxy_arp; ip route add {machine} dev br9"));
                container
                    .outside(&format!(
                        "set -e; ip addr add {machine} dev eth0 {flags}
                        ip route replace default {via} dev eth0 src {machine}"
                    ))
                    .ok();
            }
            let hosts = [lan, &container, &container];
            let connections: Vec<Connection> = MACHINES
                .iter()
                .zip(hosts)
                .flat_map(|(addresses, host)| {
                    addresses.iter().zip(REMOTE).map(move |(from, to)| ("machine", host, Some(*from), to))
                })
                .collect();
            assert_reached(world, what, &connections);
            assert_reached(world, what, &all_connections(world));
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

/// Thousands of addresses have few rules.
pub fn thousands_of_addresses_need_few_rules(world: &World) {
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
