//! Two interfaces in one subnet, and a bridge with a tunnel.

use super::{ETH0, LAN};
use crate::PLAIN;
use crate::check::{assert_quiet, fixed, found_and_fixed};
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::world::{B4, Host, PUBLIC, World};

/// Provider A connects the server's eth0 and eth3 to one network. Returns the interfaces file.
pub fn one_subnet(world: &World) -> String {
    let World { server, isp_a, .. } = world;
    world.link(server, "eth3", isp_a, "cust2");
    world.shorten_delays("eth3");
    isp_a
        .outside(
            "set -e
            ip link add br0 type bridge; echo 0 > /proc/sys/net/ipv6/conf/br0/accept_dad; ip link set br0 up
            ip addr flush dev cust0
            for port in cust0 cust2; do ip link set $port master br0 up; done
            echo 1 > /proc/sys/net/ipv4/conf/br0/rp_filter
            ip -6 rule add from 2001:db8:a::/64 iif br0 lookup main priority 5
            ip -6 rule add iif br0 prohibit priority 6
            ip addr add 192.0.2.1/24 dev br0; ip addr add 2001:db8:a::1/64 dev br0 nodad",
        )
        .ok();
    LAN.to_string()
        + ETH0
        + "iface eth0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
auto eth3
iface eth3 inet static
    address 192.0.2.11/24
    gateway 192.0.2.1
iface eth3 inet6 static
    address 2001:db8:a::11/64
    gateway 2001:db8:a::1
"
}

/// Two interfaces in one subnet: which interface replies to ARP for an address, and through which one its replies
/// leave.
pub fn two_interfaces_share_a_subnet(world: &World) {
    let World { server, isp_a, client, lan, .. } = world;
    let interfaces = one_subnet(world);
    let both = [("eth0", "192.0.2.10", "2001:db8:a::10"), ("eth3", "192.0.2.11", "2001:db8:a::11")];
    // The number of interfaces whose addresses resolve to their own MAC address.
    let correct_macs = || {
        isp_a.outside("ip neigh flush dev br0").ok();
        let has_own_mac = |(interface, v4, v6): &&(&str, &str, &str)| {
            let link = server.ok(&format!("ip -o link show {interface}"));
            let mac = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a MAC address");
            [v4, v6]
                .iter()
                .all(|to| isp_a.pings(None, to) && isp_a.outside(&format!("ip neigh show {to}")).stdout().contains(mac))
        };
        both.iter().filter(has_own_mac).count()
    };
    let sent = |interface: &str| -> u64 {
        let text = server.ok(&format!("ip -s -j link show {interface}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        links[0]["stats64"]["tx"]["packets"].as_u64().expect("a number")
    };
    let set = |name: &str, value: u8| server.ok(&format!("echo {value} > /proc/sys/net/ipv4/conf/all/{name}"));

    world.configure(&interfaces);
    server.ok("symroute-gen --write --style hook");
    set("arp_filter", 1);
    server.ok("ifup -a");
    assert_eq!(correct_macs(), 1, "without rules, one interface does not reply to ARP (arp_filter)");
    server.ok("ifdown -a");
    for style in ["iproute2", "hook"] {
        server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        for setting in ["arp_filter", "rp_filter"] {
            set("arp_filter", u8::from(setting == "arp_filter"));
            set("rp_filter", u8::from(setting == "rp_filter"));
            server.ok("ifup -a");
            assert_kernel_is_plan(world);
            assert_eq!(correct_macs(), 2, "{style}, {setting}\n{}", state(world));
            for (interface, v4, v6) in both {
                let other = if interface == "eth0" { "eth3" } else { "eth0" };
                for to in [v4, v6] {
                    assert!(client.reaches(None, to) && lan.reaches(None, to), "{style}, {setting}: {to}");
                    let before = (sent(interface), sent(other));
                    client.outside(&format!("ping -q -n -c 20 -i 0.01 -w 5 {to}")).ok();
                    let (own, wrong) = (sent(interface) - before.0, sent(other) - before.1);
                    assert!(
                        own >= 20 && wrong < 10,
                        "{style}, {setting}, {to}: {own} replies, {wrong} through the wrong interface"
                    );
                }
            }
            server.ok("ifdown -a");
            assert_nothing_left(world);
        }
    }
    set("arp_filter", 0);
    set("rp_filter", 0);
    server.ok("ifup -a");
    world.settle();
    assert_eq!(correct_macs(), 1, "one interface replies to ARP for both addresses");
    fixed(world, "arp-flux", &|| correct_macs() == 2);
    assert_quiet(world);
}

/// A bridge with a container, and a VPN that halves the default route.
pub fn containers_and_a_tunnel_keep_their_routes(world: &World) {
    let World { server, isp_a, client, lan, neighbour_a, neighbour_b, .. } = world;
    let (container, vpn) = (world.another_host(), world.another_host());
    world.link(server, "veth-c", &container, "eth0");
    world.link(server, "tun0", &vpn, "eth0");
    // Provider A routes the container's network to the server.
    server
        .outside(
            "set -e
            echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
            ip link add br-c type bridge; ip link set veth-c master br-c up
            for dev in br-c tun0; do echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad; ip link set $dev up; done
            ip addr add 203.0.113.65/26 dev br-c; ip addr add 2001:db8:c0::1/64 dev br-c nodad
            ip addr add 203.0.113.193/26 dev tun0; ip addr add 2001:db8:d::1/64 dev tun0 nodad",
        )
        .ok();
    for (host, v4, v6) in [(&container, 64, "c0"), (&vpn, 192, "d")] {
        host.outside(&format!(
            "set -e; echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up
            ip addr add 203.0.113.{}/26 dev eth0; ip route add default via 203.0.113.{}
            ip addr add 2001:db8:{v6}::2/64 dev eth0 nodad; ip route add default via 2001:db8:{v6}::1",
            v4 + 2,
            v4 + 1
        ))
        .ok();
    }
    isp_a
        .outside(
            "set -e; ip route add 203.0.113.64/26 via 192.0.2.10; ip route add 2001:db8:c0::/64 via 2001:db8:a::10
            ip -6 rule add from 2001:db8:c0::/64 iif cust0 lookup main priority 5",
        )
        .ok();
    client
        .outside("ip route add 203.0.113.64/26 via 203.0.113.133; ip route add 2001:db8:c0::/64 via 2001:db8:f:1::1")
        .ok();
    container.echo();
    vpn.echo();

    for style in ["iproute2", "hook"] {
        world.configure(PLAIN);
        server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        server.ok("ifup -a");
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        let mut connections: Vec<(&str, &Host, &str)> = Vec::new();
        for to in PUBLIC {
            connections.extend([("container", &container, to), ("VPN peer", &vpn, to), ("LAN client", lan, to)]);
            connections.extend([("remote client", client, to), ("neighbour A", neighbour_a, to)]);
            connections.push(("neighbour B", neighbour_b, to));
        }
        for to in ["203.0.113.66", "2001:db8:c0::2"] {
            connections.extend([("LAN client", lan, to), ("VPN peer", &vpn, to)]);
        }
        let through_provider = [
            ("container", &container, "203.0.113.190"),
            ("container", &container, "2001:db8:f::99"),
            ("remote client", client, "203.0.113.66"),
            ("remote client", client, "2001:db8:c0::2"),
        ];
        let lost = Host::lost(&[&connections[..], &through_provider[..]].concat());
        assert!(lost.is_empty(), "{style}: {lost:#?}\n{}", state(world));
        for from in PUBLIC {
            let to = if from.contains(':') { "2001:db8:c0::2" } else { "203.0.113.66" };
            assert!(server.reaches(Some(from), to), "{style}: server {from} -> container");
        }

        // The VPN gets the packets without a source address, but no packets from an uplink's address.
        server.ok("set -e
            for half in 0.0.0.0/1 128.0.0.0/1; do ip route add $half via 203.0.113.194; done
            for half in ::/1 8000::/1 2000::/3; do ip route add $half via 2001:db8:d::2; done");
        let lost = Host::lost(&connections);
        assert!(lost.is_empty(), "{style}, with the VPN: {lost:#?}\n{}", state(world));
        for (to, from) in [("203.0.113.190", "203.0.113.66"), ("2001:db8:f::99", "2001:db8:c0::2")] {
            for get in [format!("ip route get {to}"), format!("ip route get {to} from {from} iif br-c")] {
                let route = server.ok(&get);
                assert!(route.contains("dev tun0"), "{style}: {route}");
            }
        }
        for from in PUBLIC {
            let to = if from.contains(':') { "2001:db8:f::99" } else { "203.0.113.190" };
            assert!(server.reaches(Some(from), to), "{style}: server {from} -> remote client");
        }
        server.ok("for half in 0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1 2000::/3; do ip route del $half || exit; done");
        assert_quiet(world);
        // A rule for an address that the server had before.
        container.outside("ip addr replace 198.51.100.30/32 dev eth0").ok();
        server.ok("ip route add 198.51.100.30 via 203.0.113.66");
        assert!(server.pings(Some(B4), "198.51.100.30"), "main's longer prefix applies");
        assert_quiet(world);
        let moved = || container.pings(Some("198.51.100.30"), "203.0.113.2");
        let stale_rule = "ip rule add from 198.51.100.30 table 2 priority 90";
        found_and_fixed(world, "rule-without-address", stale_rule, &moved);
        server.ok("ip route del 198.51.100.30; ifdown -a");
        assert_nothing_left(world);
    }
}
