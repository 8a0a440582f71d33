//! Routes of main that apply to packets from an uplink's address, with real packets for each kind of route.

pub mod addresses;
pub mod groups;
pub mod networks;
pub mod routes;
pub mod upgrade;

use crate::judge::{assert_nothing_left, state};
use crate::world::{A4, A6, B4, B6, Host, World};

/// A name, a host, its source address, and the address that it must reach.
type Connection<'a> = (&'a str, &'a Host, Option<&'a str>, &'a str);

fn assert_reached(world: &World, what: &str, connections: &[Connection]) {
    let lost: Vec<String> = std::thread::scope(|scope| {
        let attempts: Vec<_> = connections
            .iter()
            .map(|(name, host, from, to)| {
                let connection = format!("{name} {} -> {to}", from.unwrap_or_default());
                // TCP, because an ICMPv6 echo reply uses the interface of its request. Two attempts: on a busy machine
                // a connection may exceed its time limit. Packets through the wrong provider are lost in both.
                scope.spawn(move || (0..2).all(|_| !host.talks(*from, to)).then_some(connection))
            })
            .collect();
        attempts.into_iter().filter_map(|attempt| attempt.join().expect("no panic")).collect()
    });
    assert!(lost.is_empty(), "{what}: {lost:#?}\n{}", state(world));
}

/// The same with each setting of the server's reverse path filter.
fn assert_reached_strictly(world: &World, what: &str, connections: &[Connection]) {
    for rp_filter in [1, 0] {
        filter(world, rp_filter);
        assert_reached(world, &format!("{what}, rp_filter {rp_filter}"), connections);
    }
}

fn filter(world: &World, rp_filter: u8) {
    let command = format!("for name in /proc/sys/net/ipv4/conf/*/rp_filter; do echo {rp_filter} >$name; done");
    world.server.ok(&command);
}

/// From the client, the LAN and each neighbour to all four addresses.
fn all_connections(world: &World) -> Vec<Connection<'_>> {
    let hosts = [
        ("client", &world.client),
        ("LAN", &world.lan),
        ("neighbour A", &world.neighbour_a),
        ("neighbour B", &world.neighbour_b),
    ];
    hosts.into_iter().flat_map(|(name, host)| [A4, B4, A6, B6].map(|to| (name, host, None, to))).collect()
}

fn check_each_rp_filter(world: &World, interfaces: &str, style: &str, check: &dyn Fn(&str)) {
    let server = &world.server;
    world.configure(interfaces);
    if style == "hook" {
        world.install_hooks();
    }
    server.ok(&format!("symroute-gen --write --style {style}"));
    for rp_filter in [0, 1] {
        filter(world, rp_filter);
        server.ok("ifup -a");
        world.settle();
        server.ok("symroute status");
        check(&format!("{style}, rp_filter {rp_filter}"));
        assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is installed.\n");
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}
