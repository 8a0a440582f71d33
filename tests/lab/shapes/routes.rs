//! Gateways outside the network, and default routes that lines add.

use super::{BOTH_FAMILIES, PLAIN, Shape};

pub const SHAPES: [(&str, Shape); 4] = [
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
        // Two 'gateway' lines without a metric fail, so administrators write the second one as a command.
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
                assert!(!String::from_utf8_lossy(&file).contains("    metric "), "the metric of the line is enough");
            },
            ..PLAIN
        },
    ),
];
