//! Other servers: what people's files look like beyond two plain stanzas. Each goes through `ifup -a` with the
//! lines alone and with the hooks alone, is reached at every address, and leaves nothing behind.

use crate::check::assert_quiet;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, state};
use crate::world::{Host, World};

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
}

const LAN: &str = "
auto lo eth2
iface lo inet loopback
iface eth2 inet static
    address 203.0.113.1/26
iface eth2 inet6 static
    address 2001:db8:c::1/64
";

const ETH0: &str = "auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n";

pub const SHAPES: [(&str, Shape); 10] = [
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10"],
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
            files: &[],
            reached: &[
                "192.0.2.10",
                "198.51.100.10",
                "198.51.100.11",
                "2001:db8:a::10",
                "2001:db8:b::10",
                "2001:db8:b::11",
            ],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10", "198.51.100.11", "198.51.100.12"],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10", "198.51.100.11", "198.51.100.15"],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10", "2001:db8:a::10", "2001:db8:b::10"],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10"],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10", "2001:db8:b::10"],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10"],
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
            files: &[],
            reached: &["192.0.2.10", "198.51.100.10"],
        },
    ),
];

pub fn run(world: &World, shape: Shape, way: Way) {
    let server = &world.server;
    let original = LAN.to_string() + shape.interfaces;
    world.configure(&original);
    for (path, text) in shape.files {
        server.write(path, text.as_bytes());
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
