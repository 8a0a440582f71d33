//! Expected results on small hosts, which are written as routes.

use super::*;
use crate::network::{Address, Link, Nexthop, RouteExtras, RouteState, RuleExtras};
use crate::policy::difference::tests::uplink;
use crate::uplinks::{Gateway, Source};

fn family(text: &str) -> Family {
    if text.contains(':') { Family::Inet6 } else { Family::Inet }
}

/// `eth0 192.0.2.10/24 … via 192.0.2.1`, one a line.
pub fn uplinks(text: &str) -> Vec<Uplink> {
    let one = |line: &str| {
        let (addresses, gateway) = line.split_once(" via ").unwrap();
        let mut words = addresses.split_whitespace();
        let interface = words.next().unwrap().to_string();
        let source = |word: &str| Source {
            net: word.parse().unwrap(),
            peer: None,
            stanza: None,
            by_prefix: false,
            other_interface: None,
        };
        let sources = words.map(source).collect();
        let (name, family) = (interface.clone(), family(addresses));
        let gateway = match gateway.trim() {
            "none" => Gateway::OnLink,
            text => text.parse().map_or(Gateway::Unknown, Gateway::Address),
        };
        Uplink { interface, name, family, gateway, sources, ..uplink(0, true) }
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(one).collect()
}

fn route(line: &str) -> Route {
    let words: Vec<&str> = line.split_whitespace().collect();
    let values = |name: &str| words.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1]).collect::<Vec<_>>();
    let number = |name: &str| values(name).first().map(|word| word.parse::<u32>().unwrap());
    let (kind, dst) = match words[0] {
        "unreachable" => (Kind::Unreachable, words[1]),
        "blackhole" => (Kind::Blackhole, words[1]),
        "throw" => (Kind::Throw, words[1]),
        "local" => (Kind::Local, words[1]),
        dst => (Kind::Unicast, dst),
    };
    let (devs, gateways) = (values("dev"), values("via"));
    let hop = |dev: &&str, gateway: &&str| Nexthop {
        gateway: gateway.parse().ok(),
        dev: Some(dev.to_string()),
        weight: 1,
        onlink: false,
        state: RouteState::default(),
    };
    let nexthops = match devs.len() > 1 {
        true => devs.iter().zip(&gateways).map(|(dev, gateway)| hop(dev, gateway)).collect(),
        false => Vec::new(),
    };
    let src = values("from").first().map(|src| src.parse().unwrap());
    let single = nexthops.is_empty();
    let extras = RouteExtras { kind, nexthops, src, ..RouteExtras::default() };
    Route {
        family: family(dst),
        table: number("table").unwrap_or(if kind == Kind::Local { LOCAL } else { MAIN }),
        dst: dst.parse().or_else(|_| dst.parse::<IpAddr>().map(IpNet::from)).unwrap(),
        gateway: gateways.first().filter(|_| single).map(|gateway| gateway.parse().unwrap()),
        dev: devs.first().filter(|_| single).map(|dev| dev.to_string()),
        scope: 0,
        metric: number("metric").unwrap_or(0),
        onlink: false,
        protocol: 3,
        extras: (extras != RouteExtras::default()).then(|| Box::new(extras)),
        state: RouteState { dead: words.contains(&"dead"), linkdown: false },
    }
}

/// Routes as `ip route` has them; `local ADDRESS dev DEV` gives the host that address.
pub fn snapshot(text: &str) -> Snapshot {
    let routes: Vec<Route> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(route).collect();
    let devs: FxHashSet<&str> = routes.iter().flat_map(nexthops).map(|hop| hop.dev).collect();
    let link = |(index, name): (usize, &&str)| Link {
        index: index as u32,
        name: name.to_string(),
        up: true,
        ..Link::default()
    };
    let local = routes.iter().filter(|route| route.kind() == Kind::Local);
    let address = |route: &Route| Address {
        dev: route.dev.clone().unwrap(),
        net: route.dst,
        peer: None,
        local: false,
        duplicate: false,
    };
    let (links, addresses) = (devs.iter().enumerate().map(link).collect(), local.map(address).collect());
    Snapshot { links, addresses, routes, ..Snapshot::default() }
}

pub fn rule(priority: u32, table: u32, extras: Option<RuleExtras>) -> Rule {
    Rule {
        family: Family::Inet,
        priority,
        src: None,
        oif: None,
        table,
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: 0,
        extras: extras.map(Box::new),
    }
}

fn text(expected: &Expected) -> String {
    let target = |dev: &str, gateway: &Option<IpAddr>| match gateway {
        Some(gateway) => format!("{dev} via {gateway}"),
        None => dev.to_string(),
    };
    match expected {
        Expected::Through(dev, gateway) => target(dev, gateway),
        Expected::AnyOf(hops) => {
            hops.iter().map(|(dev, gateway)| target(dev, gateway)).collect::<Vec<_>>().join(" or ")
        }
        Expected::Dev(dev) => format!("{dev} …"),
        Expected::Delivered => "host".into(),
        Expected::Rejected => "rejected".into(),
        Expected::Routable | Expected::NotThrough(_) => "?".into(),
    }
}

/// Each line of `expected`: `UPLINK DESTINATION: ROUTE`, the uplink by its position.
fn assert_derived(uplinks: &[Uplink], snapshot: &Snapshot, expected: &str) {
    for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (query, route) = line.split_once(": ").unwrap();
        let (own, to) = query.split_once(' ').unwrap();
        let own = &uplinks[own.parse::<usize>().unwrap()];
        let routing = Routing::new(uplinks, snapshot, own.family, &[1, 2, 3]);
        let derived = routing.derive(own, to.parse().unwrap());
        assert_eq!(derived.map_or("-".to_string(), |derived| text(&derived.expected)), route, "{query}");
    }
}

const TWO: &str = "eth0 192.0.2.10/24 via 192.0.2.1
    eth1 198.51.100.10/24 via 198.51.100.1";
const CONNECTED: &str = "0.0.0.0/0 via 192.0.2.1 dev eth0
    0.0.0.0/0 via 198.51.100.1 dev eth1 metric 20
    192.0.2.0/24 dev eth0
    198.51.100.0/24 dev eth1
    203.0.113.0/26 dev eth2
    local 192.0.2.10 dev eth0
    local 198.51.100.10 dev eth1
    local 203.0.113.1 dev eth2
    ";

fn assert_two(routes: &str, expected: &str) {
    assert_derived(&uplinks(TWO), &snapshot(&format!("{CONNECTED}{routes}")), expected);
}

#[test]
fn networks_and_addresses_of_the_host() {
    assert_two(
        "",
        "0 203.0.113.200: eth0 via 192.0.2.1
        1 203.0.113.200: eth1 via 198.51.100.1
        0 192.0.2.20: eth0
        1 192.0.2.20: eth1 via 198.51.100.1
        0 198.51.100.1: eth0 via 192.0.2.1
        0 192.0.2.1: eth0
        0 203.0.113.2: eth2
        1 203.0.113.2: eth2
        0 192.0.2.10: host
        0 198.51.100.10: host
        1 203.0.113.1: host",
    );
}

/// VPNs halve the default route; this does not matter for an uplink's addresses.
#[test]
fn defaults_and_their_halves() {
    assert_two("0.0.0.0/1 dev tun0\n 128.0.0.0/1 dev tun0", "1 203.0.113.200: eth1 via 198.51.100.1");
    assert_two("unreachable 0.0.0.0/0 metric 5", "1 203.0.113.200: eth1 via 198.51.100.1");
    assert_two("192.0.0.0/2 dev tun0", "1 203.0.113.200: tun0");
}

#[test]
fn hosts_behind_the_server_with_addresses_of_a_provider() {
    assert_two(
        "192.0.2.77 dev br0\n 198.51.100.64/28 via 203.0.113.2 dev eth2",
        "0 192.0.2.77: br0
        1 192.0.2.77: br0
        0 198.51.100.65: eth2 via 203.0.113.2
        1 198.51.100.65: eth2 via 203.0.113.2
        1 198.51.100.80: eth1",
    );
    // A proxied neighbour of the other uplink is still its provider's.
    assert_two("192.0.2.78 dev eth0", "0 192.0.2.78: eth0\n 1 192.0.2.78: eth1 via 198.51.100.1");
}

#[test]
fn static_routes() {
    assert_two(
        "203.0.113.128/28 via 192.0.2.1 dev eth0
        203.0.113.144/28 via 192.0.2.254 dev eth0
        203.0.113.160/28 via 203.0.113.2 dev eth2
        203.0.113.176/28 via 198.51.100.254 dev eth1 metric 9
        203.0.113.176/28 via 192.0.2.1 dev eth0 metric 7
        203.0.113.192/28 via 192.0.2.254 dev eth0 dead",
        "0 203.0.113.129: eth0 via 192.0.2.1
        1 203.0.113.129: eth1 via 198.51.100.1
        0 203.0.113.145: eth0 via 192.0.2.254
        1 203.0.113.145: eth0 via 192.0.2.254
        0 203.0.113.161: eth2 via 203.0.113.2
        1 203.0.113.161: eth2 via 203.0.113.2
        0 203.0.113.177: eth0 via 192.0.2.1
        1 203.0.113.177: eth1 via 198.51.100.254",
    );
}

#[test]
fn networks_of_one_link() {
    assert_two(
        "169.254.0.0/16 dev eth2
        169.254.169.254/32 dev eth2",
        "0 169.254.1.1: eth0 via 192.0.2.1
        1 169.254.1.1: eth1 via 198.51.100.1
        0 169.254.169.254: eth2
        1 169.254.169.254: eth2",
    );
}

#[test]
fn several_nexthops() {
    assert_two(
        "203.0.113.128/28 via 203.0.113.2 dev eth2 via 203.0.113.66 dev eth3
        203.0.113.144/28 via 192.0.2.1 dev eth0 via 198.51.100.1 dev eth1
        203.0.113.160/28 via 192.0.2.1 dev eth0 via 203.0.113.2 dev eth2
        203.0.113.176/28 via 198.51.100.1 dev eth1 via 198.51.100.254 dev eth1",
        "1 203.0.113.129: eth2 via 203.0.113.2 or eth3 via 203.0.113.66
        0 203.0.113.145: eth0 via 192.0.2.1
        1 203.0.113.145: eth1 via 198.51.100.1
        1 203.0.113.161: -
        0 203.0.113.177: -",
    );
}

#[test]
fn routes_that_reject() {
    assert_two(
        "blackhole 198.51.100.128/27
        unreachable 203.0.113.128/28
        throw 203.0.113.144/28
        local 203.0.113.160/28 dev lo table 254",
        "0 198.51.100.129: rejected
        1 198.51.100.129: rejected
        0 203.0.113.129: rejected
        0 203.0.113.145: -
        0 203.0.113.161: host",
    );
}

/// No provider routes private networks; the router of a private uplink may.
#[test]
fn private_networks() {
    let uplinks = uplinks(
        "eth0 192.0.2.10/24 via 192.0.2.1
        eth1 10.8.0.10/24 via 10.8.0.1
        eth2 172.20.0.10/24 via 172.20.0.1
        eth0 fd00:a::10/64 2001:db8:a::10/64 via fe80::1
        eth1 fd00:b::10/64 via fd00:b::1",
    );
    let snapshot = snapshot(
        "192.0.2.0/24 dev eth0
        10.8.0.0/24 dev eth1
        172.20.0.0/24 dev eth2
        10.9.0.0/24 dev eth0
        100.64.0.0/10 via 192.0.2.1 dev eth0
        10.32.0.0/16 via 172.20.0.1 dev eth2
        172.32.0.0/16 via 10.8.0.1 dev eth1
        fd00:a::/64 dev eth0
        2001:db8:a::/64 dev eth0
        fd00:b::/64 dev eth1",
    );
    assert_derived(
        &uplinks,
        &snapshot,
        "0 10.8.0.5: eth1
        0 10.8.0.1: eth1
        1 172.20.0.5: eth1 via 10.8.0.1
        1 192.0.2.5: eth1 via 10.8.0.1
        1 10.9.0.5: eth0
        0 100.64.0.5: eth0 via 192.0.2.1
        1 100.64.0.5: eth1 via 10.8.0.1
        0 10.32.0.5: eth2 via 172.20.0.1
        1 10.32.0.5: eth1 via 10.8.0.1
        0 172.32.0.5: eth0 via 192.0.2.1
        3 fd00:b::5: eth1
        4 fd00:a::5: -
        3 fd00:a::5: eth0",
    );
}

/// A link-local gateway is in no network: the provider's network is that of the uplink's address.
#[test]
fn networks_by_router_advertisement() {
    let uplinks = uplinks("eth0 2001:db8:a::10/64 via 2001:db8:a::1\n eth1 2001:db8:b::10/128 via fe80::1");
    let snapshot = snapshot(
        "::/0 via fe80::1 dev eth1 metric 1024
        ::/0 via fe80::2 dev eth1 metric 2048
        2001:db8:a::/64 dev eth0 metric 256
        2001:db8:b::/64 dev eth1 metric 256
        2001:db8:b1::/64 dev eth1 metric 256
        2001:db8:e1::/48 via fe80::1 dev eth1 metric 1024
        2001:db8:e2::/48 via fe80::2 dev eth1 metric 1024
        2001:db8:e3::/48 via fe80::1 dev eth2 metric 1024
        2001:db8:e4::/48 from 2001:db8:a::/64 dev eth2 metric 1024
        fe80::/64 dev eth1 metric 256",
    );
    assert_derived(
        &uplinks,
        &snapshot,
        "0 2001:db8:b::20: eth0 via 2001:db8:a::1
        1 2001:db8:b::20: eth1
        1 2001:db8:a::20: eth1 via fe80::1
        0 2001:db8:b1::20: -
        0 2001:db8:e1::1: eth0 via 2001:db8:a::1
        0 2001:db8:e2::1: eth0 via 2001:db8:a::1
        0 2001:db8:e3::1: eth2 via fe80::1
        0 2001:db8:e4::1: -
        0 2001:db8:f::1: eth0 via 2001:db8:a::1",
    );
}

#[test]
fn two_interfaces_in_one_network() {
    let uplinks = uplinks("eth0 192.0.2.10/24 via 192.0.2.1\n eth3 192.0.2.11/24 via 192.0.2.1");
    let snapshot = snapshot("192.0.2.0/24 dev eth0\n 192.0.2.0/24 dev eth3\n 192.0.2.128/25 dev eth3 metric 9");
    assert_derived(
        &uplinks,
        &snapshot,
        "0 192.0.2.20: eth0
        1 192.0.2.20: eth3
        1 192.0.2.1: eth3
        0 192.0.2.200: eth0 or eth0 via 192.0.2.1
        1 203.0.113.200: eth3 via 192.0.2.1",
    );
}

/// Where a provider separates its customers, the main table reaches the own network through the gateway.
#[test]
fn the_own_network_through_the_gateway() {
    let uplinks = uplinks("eth0 192.0.2.10/24 via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1");
    let snapshot = snapshot(
        "192.0.2.0/24 via 192.0.2.1 dev eth0
        192.0.2.0/24 dev eth0
        198.51.100.0/24 dev eth1
        198.51.100.128/26 via 198.51.100.1 dev eth1
        198.51.100.192/26 via 198.51.100.77 dev eth1",
    );
    assert_derived(
        &uplinks,
        &snapshot,
        "0 192.0.2.20: eth0 via 192.0.2.1
        1 192.0.2.20: eth1 via 198.51.100.1
        1 198.51.100.20: eth1
        1 198.51.100.129: eth1 via 198.51.100.1
        0 198.51.100.129: eth0 via 192.0.2.1
        1 198.51.100.193: eth1 via 198.51.100.77",
    );
}

/// Each has its own networks and its own gateway.
#[test]
fn two_gateways_on_one_interface() {
    let uplinks = uplinks("br0 192.0.2.10/24 via 192.0.2.1\n br0 198.51.100.10/24 via 198.51.100.1");
    let snapshot = snapshot(
        "192.0.2.0/24 dev br0
        198.51.100.0/24 dev br0
        203.0.113.128/28 via 198.51.100.1 dev br0
        203.0.113.144/28 via 198.51.100.254 dev br0",
    );
    assert_derived(
        &uplinks,
        &snapshot,
        "0 192.0.2.20: br0
        0 198.51.100.20: br0 via 192.0.2.1
        0 203.0.113.129: br0 via 192.0.2.1
        1 203.0.113.129: br0 via 198.51.100.1
        0 203.0.113.145: br0 via 198.51.100.254",
    );
}

#[test]
fn gateways_outside_every_network() {
    let uplinks = uplinks("eth0 192.0.2.10/32 via 203.0.113.254\n eth1 198.51.100.10/24 via 203.0.113.253");
    let snapshot = snapshot("203.0.113.254 dev eth0\n 198.51.100.0/24 dev eth1\n 198.51.100.77 dev br0");
    assert_derived(
        &uplinks,
        &snapshot,
        "0 203.0.113.254: eth0
        1 203.0.113.254: eth1 via 203.0.113.253
        1 203.0.113.253: eth1 via 203.0.113.253
        0 198.51.100.20: eth0 via 203.0.113.254
        0 198.51.100.77: br0",
    );
    // A public address whose gateway is private has no private network behind it.
    let uplinks = self::uplinks("eth0 203.0.113.5/32 via 172.31.1.1\n eth1 10.8.0.10/24 via 10.8.0.1");
    let snapshot = self::snapshot("172.31.1.1 dev eth0\n 10.8.0.0/24 dev eth1");
    let expected = "0 10.8.0.5: eth1\n 0 172.31.1.1: eth0\n 1 172.31.1.1: eth1 via 10.8.0.1";
    assert_derived(&uplinks, &snapshot, expected);
}

/// Everything is behind a point-to-point link: a route through it without a gateway is one to the Internet.
#[test]
fn uplinks_without_a_gateway() {
    let uplinks = uplinks("eth0 192.0.2.10/24 via 192.0.2.1\n ppp0 203.0.113.7/32 via none\n wg0 10.8.0.2/24 via none");
    let snapshot = snapshot(
        "0.0.0.0/0 dev ppp0\n 192.0.2.0/24 dev eth0\n 203.0.113.1/32 dev ppp0\n 198.51.100.0/24 dev ppp0\n \
         10.8.0.0/24 dev wg0\n 10.9.0.0/24 dev ppp0",
    );
    assert_derived(
        &uplinks,
        &snapshot,
        "0 203.0.113.1: eth0 via 192.0.2.1
        0 198.51.100.9: eth0 via 192.0.2.1
        0 10.8.0.9: wg0
        0 10.9.0.9: ppp0
        1 203.0.113.1: ppp0
        1 192.0.2.9: ppp0
        1 10.8.0.9: wg0
        2 10.8.0.9: wg0
        2 192.0.2.9: wg0",
    );
}

/// A rule for all packets before main, as Tailscale adds it.
#[test]
fn foreign_tables() {
    let routes = "203.0.113.70 dev vpn0 table 52
        203.0.113.5 dev vpn0 table 52
        203.0.113.144/28 via 198.51.100.1 dev eth1 table 52
        throw 203.0.113.72 table 52
        blackhole 203.0.113.73 table 52
        0.0.0.0/0 dev vpn0 table 52
        203.0.113.80 dev vpn0 table 53
        203.0.113.81 dev vpn0 table 54
        203.0.113.82 dev vpn0 table 2";
    let mut snapshot = snapshot(&format!("{CONNECTED}{routes}"));
    let marked = RuleExtras { mark: Some((7, u32::MAX)), ..RuleExtras::default() };
    snapshot.rules = vec![
        rule(0, LOCAL, None),
        rule(60, 2, None),
        rule(5260, 54, Some(marked)),
        rule(5270, 52, None),
        rule(32766, MAIN, None),
        rule(32768, 53, None),
    ];
    assert_derived(
        &uplinks(TWO),
        &snapshot,
        "0 203.0.113.70: vpn0
        1 203.0.113.70: vpn0
        0 203.0.113.5: vpn0
        0 203.0.113.145: eth0 via 192.0.2.1
        0 203.0.113.72: eth0 via 192.0.2.1
        0 203.0.113.73: rejected
        0 203.0.113.200: eth0 via 192.0.2.1
        0 203.0.113.80: eth0 via 192.0.2.1
        0 203.0.113.81: eth0 via 192.0.2.1
        0 203.0.113.82: eth0 via 192.0.2.1",
    );
}

/// Duplicate address detection has not ended, or the interface is in a VRF.
#[test]
fn addresses_that_are_not_delivered() {
    let mut snapshot = snapshot(CONNECTED);
    snapshot.routes.retain(|route| route.dst.addr() != IpAddr::from([203, 0, 113, 1]));
    for address in &mut snapshot.addresses {
        address.duplicate = address.dev == "eth1";
    }
    assert_eq!(host_addresses(&snapshot, Family::Inet), FxHashSet::from_iter(["192.0.2.10".parse().unwrap()]));
}
