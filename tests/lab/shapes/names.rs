//! Stanzas with other names than their interfaces, and interfaces with special names.

use super::{BOTH_FAMILIES, Method, PLAIN, Shape};

pub const SHAPES: [(&str, Shape); 6] = [
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
        // Interfaces of other kinds with these names; ifdown deletes eth0.5. The boot test has real VLANs and bonds.
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
        // The file does not show the choice of the script: only the hooks know it.
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
            without: Some(Method::Lines),
            ..PLAIN
        },
    ),
    (
        // After an update that renamed the interfaces, the old names are altnames.
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
                assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is installed.\n");
                let plan = server.ok("symroute plan");
                assert!(plan.contains("enp1s0 IPv6") && plan.contains("default via 2001:db8:b::1 dev eth1"), "{plan}");
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
            without: Some(Method::Lines),
            ..PLAIN
        },
    ),
];
