//! IPv6 through a tunnel broker and through a provider. Not every kernel has sit interfaces, so an Ethernet interface
//! gets the name of the tunnel. Everything else is real.

use crate::judge::{assert_nothing_left, state};
use crate::world::{A6, B6, World};

const INTERFACES: &str = "auto lo eth0 he-ipv6
iface lo inet loopback
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
iface he-ipv6 inet6 v4tunnel
    address 2001:db8:b::10
    netmask 64
    endpoint 203.0.113.190
    local 192.0.2.10
    ttl 255
    gateway 2001:db8:b::1
    metric 2000
";

/// A replacement of ip(8): `ip tunnel` renames an interface.
const IP: &str = "#!/bin/sh
case \"$1 $2\" in
'tunnel add') exec /tmp/ip link set eth1 name \"$3\" ;;
'tunnel del') /tmp/ip link set \"$3\" down; exec /tmp/ip link set \"$3\" name eth1 ;;
esac
exec /tmp/ip \"$@\"
";

pub fn a_tunnel_broker_is_an_uplink(world: &World) {
    let server = &world.server;
    server.write("/tmp/stand-in", IP.as_bytes());
    server.mount("cp bin/ip tmp/ip; chmod 755 tmp/stand-in; mount --bind tmp/stand-in bin/ip");
    let assert_reached = |what: &str| {
        world.settle();
        for to in [A6, B6] {
            assert!(world.client.reaches(None, to), "{what}: {to}\n{}", state(world));
        }
        assert!(world.neighbour_a.talks(None, B6), "{what}: a customer of the provider\n{}", state(world));
    };
    let route_of = |from: &str| server.ok(&format!("ip -6 route get 2001:db8:f::99 from {from}"));
    for lines in [false, true] {
        let what = if lines { "lines" } else { "hooks" };
        world.configure(INTERFACES);
        if lines {
            server.ok("rm -f /etc/network/if-up.d/symroute /etc/network/if-down.d/symroute; symroute-gen --write");
        } else {
            world.install_hooks();
        }
        for filter in [0, 1] {
            server.ok(&format!("sysctl -q net.ipv4.conf.all.rp_filter={filter}; ifup -a"));
            assert_reached(what);
            assert!(route_of(B6).contains("via 2001:db8:b::1 dev he-ipv6"), "{what}: {}", route_of(B6));
            assert!(route_of(A6).contains("via 2001:db8:a::1 dev eth0"), "{what}: {}", route_of(A6));
            server.ok("ifdown he-ipv6");
            let rules = server.ok("ip -6 rule");
            assert!(!rules.contains(B6) && !rules.contains("he-ipv6"), "{what}: {rules}");
            server.ok("ifup he-ipv6");
            assert_reached(what);
            server.ok("ifdown he-ipv6; ifdown eth0");
            assert_nothing_left(world);
        }
    }
}
