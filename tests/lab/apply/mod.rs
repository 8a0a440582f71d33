//! `symroute apply`, the hooks and `symroute status` on a running server.

pub mod concurrency;
pub mod events;
pub mod rejections;
pub mod status;

use crate::world::World;

/// Sets addresses and interfaces up as `ifup -a` does, without ifupdown.
fn up_by_hand(world: &World) {
    world.server.ok("set -e; for n in 0 1 2; do ip link set eth$n up; done
        ip addr add 192.0.2.10/24 dev eth0; ip addr add 198.51.100.10/24 dev eth1; ip addr add 203.0.113.1/26 dev eth2
        ip addr add 2001:db8:a::10/64 dev eth0 nodad; ip addr add 2001:db8:b::10/64 dev eth1 nodad
        ip route add default via 192.0.2.1 dev eth0; ip -6 route add default via 2001:db8:a::1 dev eth0");
}
