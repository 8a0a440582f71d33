//! Several stanzas for one interface, several files, and further addresses.

use super::{ETH0, PLAIN, Shape};

pub const SHAPES: [(&str, Shape); 6] = [
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
];
