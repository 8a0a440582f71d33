//! Uplinks by router advertisements in full, and a server with hundreds of addresses: judged by packets.

use serde_json::Value;

use crate::check::assert_quiet;
use crate::judge::{assert_nothing_left, state};
use crate::uplinks::advertise;
use crate::world::{A4, B4, Host, World};

/// The prefix option of an advertisement, for 2001:db8:a::/64 or 2001:db8:b::/64.
fn prefix(last: &str) -> String {
    let zeros = r"\000".repeat(9);
    format!(r"\003\004\100\300\000\000\016\020\000\000\016\020\000\000\000\000\040\001\015\270\000{last}\000{zeros}")
}

/// The address that the server made for itself in a network.
fn made(server: &Host, network: &str) -> String {
    let find = format!(
        "for n in $(seq 80); do ip -j -6 addr show scope global -tentative | grep -q '{network}' && break; sleep 0.1; done
        ip -j -6 addr show scope global -tentative"
    );
    let links: Value = serde_json::from_str(&server.ok(&find)).expect("JSON");
    let infos = links.as_array().into_iter().flatten().filter_map(|link| link["addr_info"].as_array()).flatten();
    let mut addresses = infos.filter_map(|info| info["local"].as_str());
    addresses.find(|address| address.starts_with(network)).expect("an address by advertisement").to_string()
}

fn assert_reached(world: &World, what: &str, addresses: &[&str]) {
    let hosts = [
        ("client", &world.client),
        ("LAN", &world.lan),
        ("neighbour A", &world.neighbour_a),
        ("neighbour B", &world.neighbour_b),
    ];
    let ways: Vec<_> = addresses.iter().flat_map(|to| hosts.map(|(name, host)| (name, host, *to))).collect();
    let lost = Host::lost(&ways);
    assert!(lost.is_empty(), "{what}: {lost:#?}\n{}", state(world));
}

/// The providers stand in for the usual addresses only: for all others, their customers have a route.
fn neighbours_through_their_routers(world: &World) {
    for (neighbour, net) in [(&world.neighbour_a, "a"), (&world.neighbour_b, "b")] {
        let route = format!("2001:db8:{net}::/64 via 2001:db8:{net}::1 dev eth0 metric 10");
        neighbour.outside(&format!("ip -6 route add 2001:db8:{net}::1 dev eth0; ip -6 route add {route}")).ok();
    }
}

/// `inet6 auto` on both uplinks, by lines and by hooks: prefix and router come by advertisement. Then the second link
/// has two routers, and one of them goes.
pub fn uplinks_by_advertisement(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    neighbours_through_their_routers(world);
    // ifupdown2 has no method `auto`.
    let method = if world.suite == "bookworm-ifupdown2" { "manual" } else { "auto" };
    let interfaces = format!(
        "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\n\
         iface eth0 inet6 {method}\nauto eth1\niface eth1 inet static\n    address {B4}/24\n    gateway 198.51.100.1\n    \
         metric 20\niface eth1 inet6 {method}\nauto eth2\niface eth2 inet static\n    address 203.0.113.1/26\n\
         iface eth2 inet6 static\n    address 2001:db8:c::1/64\n"
    );
    for style in ["iproute2", "hook"] {
        world.configure(&interfaces);
        if style == "hook" {
            world.install_hooks();
        }
        server.ok(&format!("symroute-gen --write --style {style}; ifup -a"));
        world.settle();
        server.ok("for dev in eth0 eth1; do echo 2 >/proc/sys/net/ipv6/conf/$dev/accept_ra; done");
        advertise(isp_a, 1800, &prefix(r"\012"), "");
        advertise(isp_b, 1800, &prefix(r"\013"), "");
        let (a6, b6) = (made(server, "2001:db8:a:"), made(server, "2001:db8:b:"));
        let reached = |what: &str| {
            server.ok("symroute apply; symroute status");
            assert_reached(world, &format!("{style}, {what}"), &[A4, B4, &a6, &b6]);
            assert_quiet(world);
        };
        reached("a router each");
        // The second router of one link, and then it alone.
        let routers = || server.ok("ip -6 route show default").matches("via fe80::").count();
        advertise(isp_b, 1800, "", ",bind=[fe80::1]");
        server.ok("for n in $(seq 50); do ip -6 route show default | grep -q 'via fe80::1 dev eth1' && exit; sleep 0.1; done; exit 1");
        assert_eq!(routers(), 3, "{}", state(world));
        reached("two routers on one link");
        advertise(isp_b, 0, "", "");
        server.ok("for n in $(seq 50); do [ $(ip -6 route show default | grep -c 'dev eth1') = 1 ] && exit; sleep 0.1; done; exit 1");
        isp_b.outside("sleep 0.1").ok();
        reached("one of two routers left");
        server.ok("ifdown -a");
        server.ok("for dev in eth0 eth1; do ip -6 addr flush dev $dev scope global; ip -6 route flush dev $dev proto ra; done");
        server.ok("symroute apply");
        assert_nothing_left(world);
        server.ok("symroute-gen --remove --write --quiet");
    }
}

/// Three hundred addresses of both families among the uplinks: a sample of them is reached, few rules serve all.
pub fn hundreds_of_addresses(world: &World) {
    let server = &world.server;
    neighbours_through_their_routers(world);
    world.install_hooks();
    world.configure(crate::WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    // Even numbers on one uplink and odd ones on the other, beside each provider's own customers.
    server.ok("for n in $(seq 100 199); do
            printf 'addr add 192.0.2.%d/24 dev eth0\\naddr add 198.51.100.%d/24 dev eth1\\n' $n $n
            printf 'addr add 2001:db8:b::%x/64 dev eth1 nodad\\n' $((2 * n)); done | ip -batch -");
    server.ok("symroute apply; symroute status --quiet");
    let rules = server.ok("ip rule; ip -6 rule").lines().count();
    assert!(rules < 60, "{rules} rules for 300 addresses");
    let sample = ["192.0.2.100", "192.0.2.147", "192.0.2.199", "198.51.100.100", "198.51.100.152", "198.51.100.199"];
    assert_reached(
        world,
        "a sample",
        &[&sample[..], &["2001:db8:b::c8", "2001:db8:b::12e", "2001:db8:b::18e"]].concat(),
    );
    assert_quiet(world);
    for n in [101, 198] {
        server.ok(&format!("ip addr del 192.0.2.{n}/24 dev eth0"));
    }
    server.ok("symroute apply");
    assert_quiet(world);
    server.ok("ifdown -a; ip addr flush dev eth0; ip addr flush dev eth1; symroute apply");
    assert_nothing_left(world);
}
