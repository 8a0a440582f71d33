//! Asymmetry of each kind, made on purpose. Each is seen in the packets, and named with its cause.

use super::expect;
use crate::shapes::topologies::one_subnet;
use crate::world::{A4, B4, B6, Host, World};
use crate::{PLAIN, WITH_METRIC};

const REMOTE: &str = "203.0.113.190";

/// A server without symroute, whose gateways are in its neighbour tables.
fn without_symroute(world: &World) {
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    world.settle();
    reach_gateways(world);
}

fn healthy(world: &World) {
    world.install_hooks();
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook");
    world.server.ok("ifup -a");
    world.settle();
    reach_gateways(world);
}

fn reach_gateways(world: &World) {
    for to in ["192.0.2.1", "198.51.100.1", "2001:db8:a::1", "2001:db8:b::1"] {
        assert!(world.server.pings(None, to));
    }
}

/// A UDP datagram and its reply.
fn asks(host: &Host, to: &str, port: u16) -> bool {
    host.outside(&format!("echo there | socat -t 1 -T 1 - UDP:{to}:{port}")).stdout() == "there\n"
}

fn wait_for_port(world: &World, port: u16) {
    let listens = format!("for n in $(seq 50); do ss -lun | grep -q :{port} && exit; sleep 0.1; done; exit 1");
    assert!(world.server.outside(&listens).succeeded());
}

/// Two uplinks without symroute: replies leave through the uplink of main's default route.
pub fn replies_leave_through_the_default_route(world: &World) {
    without_symroute(world);
    let expected = [
        "answered-elsewhere eth1>eth0 icmp 198.51.100.10 -: not-applied",
        "answered-elsewhere eth1>eth0 icmpv6 2001:db8:b::10 -: not-applied",
        "answered-elsewhere eth1>eth0 tcp 198.51.100.10 7000: not-applied",
        "answered-elsewhere eth1>eth0 tcp 2001:db8:b::10 7000: not-applied",
    ];
    let observed = expect(world, &expected, &|| {
        for to in [B4, B6] {
            assert!(!world.client.pings(None, to) && !world.client.talks(None, to));
        }
        assert!(world.client.reaches(None, A4));
    });
    assert_eq!(observed.link("eth1")["answered_elsewhere"], observed.link("eth1")["came_in"]);
    assert_eq!(observed.link("eth0")["answered_here"], observed.link("eth0")["came_in"]);
    for fault in observed.faults() {
        assert_eq!(fault["priority"], 32766, "{fault}");
        assert_eq!(fault["fix"][0], "symroute apply");
    }
}

/// A program that sends from the address of one uplink, without rules: the provider of the other one drops it.
pub fn a_foreign_source_is_sent(world: &World) {
    without_symroute(world);
    let expected = [
        "foreign-source-sent ->eth0 icmp 198.51.100.10 -: not-applied",
        "foreign-source-sent ->eth0 tcp 198.51.100.10 7000: not-applied",
    ];
    expect(world, &expected, &|| {
        assert!(!world.server.pings(Some(B4), REMOTE) && !world.server.talks(Some(B4), REMOTE));
        assert!(world.server.pings(Some(A4), REMOTE) && world.server.talks(Some(A4), REMOTE));
    });
}

/// The article's only rule also matches replies to the LAN.
pub fn the_articles_rule_cuts_off_the_lan(world: &World) {
    world.install_hooks();
    world.configure(&PLAIN.replace("gateway 198.51.100.1", "gateway 198.51.100.1\n    symroute-layout article"));
    world.server.ok("symroute-gen --write --style hook");
    world.server.ok("ifup -a");
    world.settle();
    reach_gateways(world);
    let expected = [
        "answered-elsewhere eth2>eth1 icmp 198.51.100.10 -: local-network-unreachable",
        "answered-elsewhere eth2>eth1 tcp 198.51.100.10 7000: local-network-unreachable",
    ];
    expect(world, &expected, &|| {
        assert!(!world.lan.pings(None, B4) && !world.lan.talks(None, B4));
        assert!(world.client.reaches(None, B4));
    });
}

/// A server program that does not set the source address of its replies.
pub fn a_wildcard_socket_replies_from_another_address(world: &World) {
    healthy(world);
    let _naive = world.server.background("exec socat UDP4-RECVFROM:5300,fork PIPE");
    wait_for_port(world, 5300);
    let expected = ["answered-elsewhere eth1>eth0 udp 198.51.100.10 5300 from 192.0.2.10: wildcard-udp"];
    let observed = expect(world, &expected, &|| {
        assert!(!asks(&world.client, B4, 5300));
        assert!(asks(&world.client, A4, 5300));
    });
    assert!(observed.faults()[0]["program"] == "socat", "{}", observed.text);
}

/// A published port of a host behind the server, without marks.
pub fn translated_connections_lose_their_uplink(world: &World) {
    healthy(world);
    let server = &world.server;
    server.ok("echo 1 >/proc/sys/net/ipv4/ip_forward");
    server.ok("nft add table ip nat && nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }' &&
        nft add rule ip nat pre iifname '\"eth*\"' tcp dport 8080 dnat to 203.0.113.2:7000");
    let published = |to: &str| {
        let ran = world.client.outside(&format!("echo there | socat -t 2 -T 3 - TCP:{to}:8080,connect-timeout=3"));
        ran.stdout() == "there\n"
    };
    let expected = ["answered-elsewhere eth1>eth0 tcp 198.51.100.10 8080: dnat-without-marks"];
    let observed = expect(world, &expected, &|| {
        assert!(published(A4) && !published(B4));
    });
    assert_eq!(observed.faults()[0]["forwarded_to"], "203.0.113.2:7000", "{}", observed.text);
    assert_eq!(observed.faults()[0]["priority"], 32766, "{}", observed.text);
}

/// rp_filter drops what comes in, because the reply would leave through another interface.
pub fn strict_filters_drop_requests(world: &World) {
    without_symroute(world);
    world.server.ok("echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter");
    let observed = expect(
        world,
        &[
            "unanswered eth1>- icmp 198.51.100.10 -: not-applied",
            "unanswered eth1>- tcp 198.51.100.10 7000: not-applied",
        ],
        &|| {
            assert!(!world.client.pings(None, B4) && !world.client.talks(None, B4));
        },
    );
    assert!(observed.text.contains("rp_filter is strict"), "{}", observed.text);
}

/// A VPN that takes the default route, also for replies. Its interface has no Ethernet header.
pub fn a_vpn_takes_the_default_route(world: &World) {
    healthy(world);
    let _vpn = world.server.background("sleep 600 | socat TUN:10.8.0.2/24,tun-name=vpn0,iff-up -");
    let route = "ip route add default dev vpn0 table 51820 2>/dev/null";
    world.server.ok(&format!(
        "for n in $(seq 50); do {route} && break; sleep 0.1; done
        ip rule add not fwmark 51820 table 51820 priority 50"
    ));
    let expected = [
        "answered-elsewhere eth0>vpn0 icmp 192.0.2.10 -: rule-shadowed",
        "answered-elsewhere eth1>vpn0 icmp 198.51.100.10 -: rule-shadowed",
        "answered-elsewhere eth1>vpn0 tcp 198.51.100.10 7000: rule-shadowed",
    ];
    expect(world, &expected, &|| {
        assert!(!world.client.pings(None, A4) && !world.client.pings(None, B4) && !world.client.talks(None, B4));
    });
}

/// Two interfaces in one network: the provider's router has learned the MAC address of the wrong one.
pub fn packets_arrive_through_the_other_interface(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&one_subnet(world));
    server.ok("symroute-gen --write --style hook");
    server.ok("ifup -a");
    world.settle();
    let mac = server.ok("cat /sys/class/net/eth0/address");
    let learn = |address: &str| format!("ip neigh replace {address} lladdr {} dev br0 nud permanent\n", mac.trim());
    world.isp_a.outside(&(learn("192.0.2.10") + &learn("192.0.2.11"))).ok();
    let expected = [
        "arrived-elsewhere eth0>- icmp 192.0.2.11 -: arp-flux",
        "arrived-elsewhere eth0>- tcp 192.0.2.11 7000: arp-flux",
    ];
    expect(world, &expected, &|| {
        assert!(world.client.reaches(None, "192.0.2.11") && world.client.reaches(None, A4));
    });
    // With a strict filter they are lost. That is named, too.
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter");
    let observed = expect(world, &expected[..1], &|| {
        assert!(!world.client.pings(None, "192.0.2.11") && world.client.pings(None, A4));
    });
    assert!(observed.text.contains("The kernel drops them"), "{}", observed.text);
}

/// Marks and sockets that are bound to an interface go past the rules for the address.
pub fn marks_and_bound_sockets(world: &World) {
    healthy(world);
    let server = &world.server;
    server.ok("ip route add default via 192.0.2.1 dev eth0 table 200; ip rule add fwmark 5 lookup 200 priority 50
        nft add table ip m && nft add chain ip m out '{ type route hook output priority mangle; }' &&
        nft add rule ip m out tcp sport 7000 meta mark set 5");
    let expected = [
        "answered-elsewhere eth1>eth0 tcp 198.51.100.10 7000: -",
        "foreign-source-sent ->eth0 tcp 198.51.100.10 7001: -",
        "foreign-source-sent ->eth1 icmp 192.0.2.10 -: -",
    ];
    let observed = expect(world, &expected, &|| {
        assert!(!world.client.talks(None, B4));
        let bound = format!("socat - TCP:{REMOTE}:7001,bind={B4},so-bindtodevice=eth0,connect-timeout=2 </dev/null");
        assert!(!server.outside(&bound).succeeded());
        assert!(!server.outside(&format!("ping -q -n -c 1 -w 1 -I eth1 -I {A4} {REMOTE}")).succeeded());
    });
    let cause = |id: &str, protocol: &str| {
        let fault = observed.faults().into_iter().find(|fault| fault["id"] == id && fault["protocol"] == protocol);
        fault.expect("the fault").clone()
    };
    let marked = cause("answered-elsewhere", "tcp");
    assert!(marked["cause"].to_string().contains("mark 0x5"), "{marked}");
    assert_eq!(marked["priority"], 50, "{marked}");
    assert!(marked["pid"].is_number(), "the program that listens: {marked}");
    let bound = cause("foreign-source-sent", "tcp");
    assert!(bound["cause"].to_string().contains("SO_BINDTODEVICE"), "{bound}");
    assert_eq!(bound["program"], "socat", "{bound}");
    let ping = cause("foreign-source-sent", "icmp");
    assert!(ping["cause"].to_string().contains("not the cause"), "{ping}");
}

/// Hosts behind the server: with a private address that is not translated, and with an address in the network of the
/// other uplink.
pub fn hosts_behind_the_server(world: &World) {
    healthy(world);
    world.server.ok("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/conf/eth1/proxy_arp
        ip addr add 10.9.0.1/24 dev eth2; ip route add 198.51.100.50/32 dev eth2");
    world.lan.outside("ip addr add 10.9.0.2/24 dev eth0; ip addr add 198.51.100.50/32 dev eth0").ok();
    let expected = [
        "answered-elsewhere eth1>eth0 icmp 198.51.100.50 -: -",
        "foreign-source-sent ->eth0 icmp 10.9.0.2 -: -",
        "foreign-source-sent ->eth0 icmp 198.51.100.50 -: -",
    ];
    let observed = expect(world, &expected, &|| {
        assert!(!world.client.pings(None, "198.51.100.50"));
        assert!(!world.lan.pings(Some("198.51.100.50"), REMOTE) && !world.lan.pings(Some("10.9.0.2"), REMOTE));
    });
    for fault in observed.faults() {
        let is_private = fault["address"] == "10.9.0.2";
        let cause = if is_private { "does not translate its address" } else { "no rule for its address" };
        assert!(fault["cause"].to_string().contains(cause), "{fault}");
        assert_eq!(fault["priority"], 32766, "{fault}");
    }
}

/// Connects both providers to the wire of the server's eth0.
fn one_wire(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    world.link(isp_a, "port", isp_b, "cust2");
    isp_a
        .outside(
            "set -e
            ip link add br0 type bridge; echo 0 > /proc/sys/net/ipv6/conf/br0/accept_dad; ip addr flush dev cust0
            for port in cust0 port; do ip link set $port master br0 up; done; ip link set br0 up
            echo 1 > /proc/sys/net/ipv4/conf/br0/rp_filter
            ip addr add 192.0.2.1/24 dev br0; ip addr add 2001:db8:a::1/64 dev br0 nodad",
        )
        .ok();
    isp_b
        .outside(
            "set -e; echo 0 > /proc/sys/net/ipv6/conf/cust2/accept_dad; ip addr flush dev cust0; ip link set cust2 up
            ip addr add 198.51.100.1/24 dev cust2; ip addr add 2001:db8:b::1/64 dev cust2 nodad",
        )
        .ok();
    world.unplug("eth1");
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore");
}

/// Without symroute, replies are sent to the wrong gateway. With it, nothing is reported.
fn expect_wrong_gateways(world: &World, links: &str) {
    world.settle();
    reach_gateways(world);
    let expected = ["icmp 198.51.100.10 -", "icmpv6 2001:db8:b::10 -", "tcp 198.51.100.10 7000"];
    let mut expected = expected.map(|flow| format!("answered-elsewhere {links} {flow}: not-applied")).to_vec();
    expected.push("foreign-source-sent ->eth0 tcp 198.51.100.10 7000: not-applied".into());
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let observed = expect(world, &expected, &|| {
        assert!(!world.client.pings(None, B4) && !world.client.talks(None, B4));
        world.client.pings(None, B6);
        assert!(!world.server.talks(Some(B4), REMOTE));
        assert!(world.client.reaches(None, A4) && world.server.talks(Some(A4), REMOTE));
    });
    for fault in observed.faults() {
        let gateway = if fault["protocol"] == "icmpv6" { "2001:db8:a::1" } else { "192.0.2.1" };
        assert_eq!(fault["gateway"], gateway, "{fault}");
    }
    world.server.ok("symroute apply");
    expect(world, &[], &|| {
        for to in [A4, B4, B6] {
            assert!(world.client.reaches(None, to), "{to}");
        }
        assert!(world.server.talks(Some(A4), REMOTE) && world.server.talks(Some(B4), REMOTE));
        assert!(world.server.pings(Some(B4), "192.0.2.1"));
    });
}

pub fn two_gateways_on_one_interface(world: &World) {
    one_wire(world);
    let interfaces = WITH_METRIC.replace("eth0 eth1", "eth0").replace("eth1", "eth0");
    world.configure(&interfaces);
    world.server.ok("ifup -a");
    // The strict gateway does not reply to ARP requests from a foreign address: no reply leaves.
    world.settle();
    assert!(world.server.pings(None, "198.51.100.1"));
    world.server.ok("ip neigh flush to 192.0.2.1");
    expect(world, &["unanswered eth0>- icmp 198.51.100.10 -: not-applied"], &|| {
        assert!(!world.client.pings(None, B4));
        std::thread::sleep(std::time::Duration::from_secs(3));
    });
    expect_wrong_gateways(world, "eth0>eth0");
    // A server program that does not set the source address of its replies.
    let _naive = world.server.background("exec socat UDP4-RECVFROM:5300,fork PIPE");
    wait_for_port(world, 5300);
    let expected = ["answered-elsewhere eth0>eth0 udp 198.51.100.10 5300 from 192.0.2.10: wildcard-udp"];
    expect(world, &expected, &|| {
        assert!(!asks(&world.client, B4, 5300) && asks(&world.client, A4, 5300));
    });
}

pub fn a_macvlan_beside_its_parent(world: &World) {
    one_wire(world);
    world.server.outside("ip link add link eth0 name eth1 type macvlan mode bridge").ok();
    world.shorten_delays("eth1");
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    expect_wrong_gateways(world, "eth1>eth0");
}

/// Address translation to a fixed address, whatever the interface is.
pub fn a_fixed_translation(world: &World) {
    healthy(world);
    world.server.ok("echo 1 >/proc/sys/net/ipv4/ip_forward
        nft add table ip nat && nft add chain ip nat post '{ type nat hook postrouting priority srcnat; }' &&
        nft add rule ip nat post ip saddr 203.0.113.0/26 ip daddr 203.0.113.190 snat to 198.51.100.10");
    let observed = expect(world, &["foreign-source-sent ->eth0 tcp 198.51.100.10 7000: -"], &|| {
        assert!(!world.lan.talks(None, REMOTE));
    });
    let fault = observed.faults()[0].clone();
    assert!(fault["cause"].to_string().contains("translates 203.0.113.2 to this address"), "{fault}");
    assert_eq!(fault["priority"], 32766, "{fault}");
}
