//! Other servers: what people's files look like beyond two plain stanzas. Each goes through `ifup -a` with the
//! lines alone and with the hooks alone, is reached at every address, and leaves nothing behind.

use crate::PLAIN as PLAIN_FILE;
use crate::check::{assert_quiet, fixed, found_and_fixed};
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::world::{B4, Host, PUBLIC, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Lines,
    Hooks,
}

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// `/etc/network/interfaces`, without the LAN.
    interfaces: &'static str,
    /// Other files, by path.
    files: &'static [(&'static str, &'static str)],
    /// Addresses that the remote client and the LAN client have to reach.
    reached: &'static [&'static str],
    /// Done on the server, with the machine's tools, before each `ifup -a`.
    before: &'static str,
    /// What else has to hold while everything is up.
    also: fn(&World),
    /// `Lines` where the file does not say which link a stanza is for: only the hooks can know.
    not: Option<Way>,
}

const PLAIN: Shape = Shape {
    interfaces: "",
    files: &[],
    reached: &["192.0.2.10", "198.51.100.10"],
    before: "",
    also: |_| (),
    not: None,
};

const BOTH_FAMILIES: &[&str] = &["192.0.2.10", "198.51.100.10", "2001:db8:a::10", "2001:db8:b::10"];

const LAN: &str = "
auto lo eth2
iface lo inet loopback
iface eth2 inet static
    address 203.0.113.1/26
iface eth2 inet6 static
    address 2001:db8:c::1/64
";

const ETH0: &str = "auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n";

pub const SHAPES: [(&str, Shape); 16] = [
    (
        "logical_names",
        Shape {
            interfaces: "auto eth0=provider-a eth1=provider-b
iface provider-a inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface provider-b inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
",
            ..PLAIN
        },
    ),
    (
        "more_stanzas",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
iface eth1 inet static
    address 198.51.100.11/24
iface eth0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface eth1 inet6 static
    address 2001:db8:b::10/64
    gateway 2001:db8:b::1
iface eth1 inet6 static
    address 2001:db8:b::11/64
",
            reached: &[
                "192.0.2.10",
                "198.51.100.10",
                "198.51.100.11",
                "2001:db8:a::10",
                "2001:db8:b::10",
                "2001:db8:b::11",
            ],
            ..PLAIN
        },
    ),
    (
        "alias_and_added_address",
        Shape {
            interfaces: "auto eth0 eth1 eth1:1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    up ip addr add 198.51.100.12/24 dev $IFACE
    down ip addr del 198.51.100.12/24 dev $IFACE
iface eth1:1 inet static
    address 198.51.100.11/24
",
            reached: &["192.0.2.10", "198.51.100.10", "198.51.100.11", "198.51.100.12"],
            ..PLAIN
        },
    ),
    (
        "many_addresses",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    up for n in 11 12 13 14 15; do true; done
    up ip addr add 198.51.100.11/24 dev eth1
    up ip addr add 198.51.100.12/24 dev eth1
    up ip addr add 198.51.100.13/24 dev eth1
    up ip addr add 198.51.100.14/24 dev eth1
    up ip addr add 198.51.100.15/24 dev eth1
",
            reached: &["192.0.2.10", "198.51.100.10", "198.51.100.11", "198.51.100.15"],
            ..PLAIN
        },
    ),
    (
        "host_address_and_gateway_outside",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/32
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/32
    gateway 198.51.100.1
iface eth0 inet6 static
    address 2001:db8:a::10/128
    gateway fe80::1
iface eth1 inet6 static
    address 2001:db8:b::10/128
    gateway fe80::1
",
            reached: &["192.0.2.10", "198.51.100.10", "2001:db8:a::10", "2001:db8:b::10"],
            ..PLAIN
        },
    ),
    (
        "point_to_point",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/32
    pointopoint 198.51.100.1
    gateway 198.51.100.1
",
            ..PLAIN
        },
    ),
    (
        "one_family_multihomed",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
iface eth1 inet6 static
    address 2001:db8:b::10/64
    gateway 2001:db8:b::1
",
            reached: &["192.0.2.10", "198.51.100.10", "2001:db8:b::10"],
            ..PLAIN
        },
    ),
    (
        "spread_over_files",
        Shape {
            interfaces: "source interfaces.d/*.cfg\nsource-directory /etc/network/interfaces.d\n",
            files: &[
                ("/etc/network/interfaces.d/eth0", ETH0),
                (
                    "/etc/network/interfaces.d/b.cfg",
                    "allow-hotplug eth1\nauto eth1\niface eth1 inet static\n\taddress 198.51.100.10\n\tnetmask 24\n\tgateway 198.51.100.1",
                ),
            ],
            reached: &["192.0.2.10", "198.51.100.10"],
            ..PLAIN
        },
    ),
    (
        "inherited_gateway",
        Shape {
            interfaces: "iface provider-b inet static
    gateway 198.51.100.1
    mtu 1400
auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static inherits provider-b
    address 198.51.100.10/24
",
            ..PLAIN
        },
    ),
    (
        "halved_default_routes",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    # As a VPN does: everything through a host on the LAN.
    up ip route add 0.0.0.0/1 via 203.0.113.2
    up ip route add 128.0.0.0/1 via 203.0.113.2
    down ip route del 0.0.0.0/1 via 203.0.113.2
    down ip route del 128.0.0.0/1 via 203.0.113.2
",
            ..PLAIN
        },
    ),
    (
        "bridge",
        Shape {
            interfaces: "auto br0 eth1
iface br0 inet static
    bridge-ports eth0
    bridge-stp off
    bridge-fd 0
    address 192.0.2.10/24
    gateway 192.0.2.1
iface br0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
iface eth1 inet6 static
    address 2001:db8:b::10/64
    gateway 2001:db8:b::1
",
            reached: BOTH_FAMILIES,
            also: |world| assert!(world.server.ok("ip link show eth0").contains("master br0")),
            ..PLAIN
        },
    ),
    (
        // Links of other kinds with these names; ifdown deletes eth0.5. That ifupdown's vlan and bonding scripts
        // make the real ones in time is for a boot with those packages and kernel modules to show.
        "vlan_and_bond_names",
        Shape {
            before: "ip link set eth0 up; ip link add link eth0 name eth0.5 address 02:00:00:00:00:05 type macvlan
                echo 0 > /proc/sys/net/ipv6/conf/eth0.5/router_solicitation_delay
                [ -e /proc/sys/net/ipv4/conf/bond0 ] || ip link set eth1 name bond0",
            interfaces: "auto eth0.5 bond0
iface eth0.5 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth0.5 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface bond0 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
iface bond0 inet6 static
    address 2001:db8:b::10/64
    gateway 2001:db8:b::1
",
            reached: BOTH_FAMILIES,
            ..PLAIN
        },
    ),
    (
        // The script's choice stands in no file: only the hooks can follow it.
        "mapping",
        Shape {
            interfaces: "auto eth0 eth1
mapping eth0
    script /etc/network/choose
    map elsewhere
    map home
iface elsewhere inet static
    address 203.0.113.70/26
    gateway 203.0.113.65
iface home inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface home inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    metric 10
iface eth1 inet6 static
    address 2001:db8:b::10/64
    gateway 2001:db8:b::1
    metric 2000
",
            files: &[("/etc/network/choose", "#!/bin/sh\necho home\n")],
            reached: BOTH_FAMILIES,
            not: Some(Way::Lines),
            ..PLAIN
        },
    ),
    (
        // Two 'gateway' lines fail without a metric, so people write the second one as a command.
        "default_by_line",
        Shape {
            interfaces: "auto eth0 eth1
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface eth1 inet static
    address 198.51.100.10/24
    up ip route add default via 198.51.100.1 dev eth1 metric 100
    down ip route del default via 198.51.100.1 dev eth1 metric 100 || true
iface eth1 inet6 static
    address 2001:db8:b::10/64
    up ip -6 route append default via 2001:db8:b::1 dev $IFACE metric 2000
",
            reached: BOTH_FAMILIES,
            also: |world| {
                let defaults = world.server.ok("ip route show default; ip -6 route show default");
                assert_eq!(defaults.matches("dev eth1").count(), 2, "{defaults}");
                let file = world.server.read("/etc/network/interfaces");
                assert!(!String::from_utf8_lossy(&file).contains("    metric "), "the line's own metric counts");
            },
            ..PLAIN
        },
    ),
    (
        // As after an update that renamed the cards: the old names are altnames now.
        "alternative_names",
        Shape {
            before: "for n in 0 1; do ip link property add dev eth$n altname enp${n}s0 2>/dev/null || true; done",
            interfaces: "auto enp0s0 enp1s0
iface enp0s0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface enp0s0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface enp1s0 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
iface enp1s0 inet6 static
    address 2001:db8:b::10/64
    gateway 2001:db8:b::1
",
            reached: BOTH_FAMILIES,
            also: |world| {
                let server = &world.server;
                assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is in place.\n");
                let plan = server.ok("symroute plan");
                assert!(plan.contains("enp1s0 inet6") && plan.contains("default via 2001:db8:b::1 dev eth1"), "{plan}");
            },
            ..PLAIN
        },
    ),
    (
        "patterns",
        Shape {
            interfaces: "auto /eth0=provider-a /eth[1]=provider-b
iface provider-a inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface provider-b inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    metric 10
",
            not: Some(Way::Lines),
            ..PLAIN
        },
    ),
];

impl Shape {
    pub fn ways(&self) -> impl Iterator<Item = Way> {
        let not = self.not;
        [Way::Lines, Way::Hooks].into_iter().filter(move |way| Some(*way) != not)
    }
}

pub fn run(world: &World, shape: Shape, way: Way) {
    let server = &world.server;
    let original = world.configure(&(LAN.to_string() + shape.interfaces));
    for (path, text) in shape.files {
        server.write(path, text.as_bytes());
        server.ok(&format!("case {path} in */choose) chmod 755 {path};; esac"));
    }
    let style = match way {
        Way::Lines => "iproute2",
        Way::Hooks => "hook",
    };
    if way == Way::Hooks {
        world.install_hooks();
    }
    server.ok(&format!("symroute-gen --write --style {style}"));
    for round in 0..2 {
        server.outside(&format!("set -e; {}", shape.before)).ok();
        let up = server.run("ifup -a");
        assert!(
            up.succeeded(),
            "round {round}: {}\n{}",
            up.text(),
            String::from_utf8_lossy(&server.read("/etc/network/interfaces"))
        );
        world.settle();
        assert_kernel_is_plan(world);
        let from = [("remote client", &world.client), ("LAN client", &world.lan)];
        let ways: Vec<_> = shape.reached.iter().flat_map(|to| from.map(|(name, host)| (name, host, *to))).collect();
        let unreached = Host::lost(&ways);
        assert!(unreached.is_empty(), "{unreached:#?}\n{}", state(world));
        (shape.also)(world);
        if server.ok("ip route show default").is_empty() {
            // ifupdown-ng makes no default route for a gateway outside every network.
            fixed(world, "no-default", &|| server.pings(None, "203.0.113.190"));
        }
        assert_quiet(world);
        let rules = server.ok("ip rule").lines().count();
        assert!(rules < 25, "{rules} rules");
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
    server.ok("symroute-gen --remove --write");
    assert_eq!(server.read("/etc/network/interfaces"), original.as_bytes());
    for (path, text) in shape.files {
        assert_eq!(server.read(path), text.as_bytes(), "{path}");
    }
}

/// Two cards in one subnet, on one wire: which card answers for an address (ARP), and by which the answers leave.
pub fn two_nics_in_one_subnet(world: &World) {
    let World { server, isp_a, client, lan, .. } = world;
    world.link(server, "eth3", isp_a, "cust2");
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
    let interfaces = LAN.to_string()
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
";
    let cards = [("eth0", "192.0.2.10", "2001:db8:a::10"), ("eth3", "192.0.2.11", "2001:db8:a::11")];
    // How many of the addresses' neighbours learn the card that has it.
    let answering = || {
        isp_a.outside("ip neigh flush dev br0").ok();
        let right = |(card, v4, v6): &&(&str, &str, &str)| {
            let link = server.ok(&format!("ip -o link show {card}"));
            let mac = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a MAC address");
            [v4, v6]
                .iter()
                .all(|to| isp_a.pings(None, to) && isp_a.outside(&format!("ip neigh show {to}")).stdout().contains(mac))
        };
        cards.iter().filter(right).count()
    };
    let sent = |card: &str| -> u64 {
        let text = server.ok(&format!("ip -s -j link show {card}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        links[0]["stats64"]["tx"]["packets"].as_u64().expect("a number")
    };
    let set = |name: &str, value: u8| server.ok(&format!("echo {value} > /proc/sys/net/ipv4/conf/all/{name}"));

    world.configure(&interfaces);
    server.ok("symroute-gen --write --style hook");
    set("arp_filter", 1);
    server.ok("ifup -a");
    assert_eq!(answering(), 1, "without rules, arp_filter silences one card");
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
            assert_eq!(answering(), 2, "{style}, {setting}\n{}", state(world));
            for (card, v4, v6) in cards {
                let other = if card == "eth0" { "eth3" } else { "eth0" };
                for to in [v4, v6] {
                    assert!(client.reaches(None, to) && lan.reaches(None, to), "{style}, {setting}: {to}");
                    let before = (sent(card), sent(other));
                    client.outside(&format!("ping -q -n -c 20 -i 0.01 -w 5 {to}")).ok();
                    let (own, wrong) = (sent(card) - before.0, sent(other) - before.1);
                    assert!(
                        own >= 20 && wrong < 10,
                        "{style}, {setting}, {to}: {own} answers, {wrong} by the wrong card"
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
    assert_eq!(answering(), 1, "one card answers for both addresses");
    fixed(world, "arp-flux", &|| answering() == 2);
    assert_quiet(world);
}

/// A bridge with a container, and a tunnel that halves the default route, beside the uplinks.
pub fn containers_and_a_tunnel(world: &World) {
    let World { server, isp_a, client, lan, neighbour_a, neighbour_b, .. } = world;
    let (container, vpn) = (world.another_host(), world.another_host());
    world.link(server, "veth-c", &container, "eth0");
    world.link(server, "tun0", &vpn, "eth0");
    // The container's network is one that provider A routes here.
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
    let _echo = [container.echo(), vpn.echo()];

    for style in ["iproute2", "hook"] {
        world.configure(PLAIN_FILE);
        server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        server.ok("ifup -a");
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        let mut ways: Vec<(&str, &Host, &str)> = Vec::new();
        for to in PUBLIC {
            ways.extend([("container", &container, to), ("VPN peer", &vpn, to), ("LAN client", lan, to)]);
            ways.extend([("remote client", client, to), ("neighbour A", neighbour_a, to)]);
            ways.push(("neighbour B", neighbour_b, to));
        }
        for to in ["203.0.113.66", "2001:db8:c0::2"] {
            ways.extend([("LAN client", lan, to), ("VPN peer", &vpn, to)]);
        }
        let far = [
            ("container", &container, "203.0.113.190"),
            ("container", &container, "2001:db8:f::99"),
            ("remote client", client, "203.0.113.66"),
            ("remote client", client, "2001:db8:c0::2"),
        ];
        let lost = Host::lost(&[&ways[..], &far[..]].concat());
        assert!(lost.is_empty(), "{style}: {lost:#?}\n{}", state(world));
        for from in PUBLIC {
            let to = if from.contains(':') { "2001:db8:c0::2" } else { "203.0.113.66" };
            assert!(server.reaches(Some(from), to), "{style}: server {from} -> container");
        }

        // The VPN takes what chooses no address, as its owner wants, and no address of an uplink with it.
        server.ok("set -e
            for half in 0.0.0.0/1 128.0.0.0/1; do ip route add $half via 203.0.113.194; done
            for half in ::/1 8000::/1 2000::/3; do ip route add $half via 2001:db8:d::2; done");
        let lost = Host::lost(&ways);
        assert!(lost.is_empty(), "{style}, with the VPN: {lost:#?}\n{}", state(world));
        for (to, from) in [("203.0.113.190", "203.0.113.66"), ("2001:db8:f::99", "2001:db8:c0::2")] {
            for get in [format!("ip route get {to}"), format!("ip route get {to} from {from} iif br-c")] {
                let way = server.ok(&get);
                assert!(way.contains("dev tun0"), "{style}: {way}");
            }
        }
        for from in PUBLIC {
            let to = if from.contains(':') { "2001:db8:f::99" } else { "203.0.113.190" };
            assert!(server.reaches(Some(from), to), "{style}: server {from} -> remote client");
        }
        server.ok("for half in 0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1 2000::/3; do ip route del $half || exit; done");
        assert_quiet(world);
        // An address that was the server's once, and a rule that somebody forgot.
        container.outside("ip addr replace 198.51.100.30/32 dev eth0").ok();
        server.ok("ip route add 198.51.100.30 via 203.0.113.66");
        assert!(server.pings(Some(B4), "198.51.100.30"), "main's longer route counts");
        assert_quiet(world);
        let moved = || container.pings(Some("198.51.100.30"), "203.0.113.2");
        let forgotten = "ip rule add from 198.51.100.30 table 2 priority 90";
        found_and_fixed(world, "rule-without-address", forgotten, &moved);
        server.ok("ip route del 198.51.100.30; ifdown -a");
        assert_nothing_left(world);
    }
}
