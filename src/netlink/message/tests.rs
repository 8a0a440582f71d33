use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use nix::libc;
use proptest::prelude::*;

use super::link::*;
use super::*;
use crate::netlink::wire::{AF_INET, AF_INET6, Attached, name_text};
use crate::network::{Action, Family, Kind, Link, Nexthop, Route, RouteExtras, RouteState, Rule, RuleExtras};

fn body(header: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut attached = Attached::default();
    for (kind, value) in attributes {
        attached.add(*kind, value);
    }
    [header, attached.bytes()].concat()
}

#[test]
fn rules_with_a_dscp_or_a_tunnel() {
    const DSCP: u16 = 25;
    const DSCP_MASK: u16 = 30;
    let read = |attributes: &[(u16, &[u8])]| {
        let body = body(&[AF_INET, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0], attributes);
        read_rule(&body).unwrap().unwrap().extras.map(|extras| (extras.dscp, extras.tun_id, extras.unknown))
    };
    assert_eq!(read(&[(DSCP, &[10])]), Some((Some((10, 63)), None, false)));
    assert_eq!(read(&[(DSCP, &[8]), (DSCP_MASK, &[56])]), Some((Some((8, 56)), None, false)));
    assert_eq!(read(&[(12, &7u64.to_be_bytes())]), Some((None, Some(7), false)));
    assert_eq!(read(&[(18, &[0; 4])]), None);
    for unknown in [(DSCP, &[1, 2][..]), (26, &[0; 4])] {
        assert_eq!(read(&[unknown]), Some((None, None, true)));
    }
}

/// A single port has a mask of all bits; another mask is a selector that the snapshot does not hold.
#[test]
fn rules_with_masks_of_ports() {
    let unknown = |attributes: &[(u16, &[u8])]| {
        let body = body(&[AF_INET, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0], attributes);
        read_rule(&body).unwrap().unwrap().extras.is_some_and(|extras| extras.unknown)
    };
    for kind in [28, 29] {
        assert!(!unknown(&[(kind, &[0xff, 0xff])]));
        assert!(unknown(&[(kind, &[0xff, 0])]));
    }
}

/// `struct ifinfomsg` of interface 7, which is up.
const LINK_7: [u8; 16] = {
    let mut header = [0; 16];
    [header[4], header[8]] = [7, 1];
    if cfg!(target_endian = "big") {
        [header[4], header[7], header[8], header[11]] = [0, 7, 0, 1];
    }
    header
};

fn link(attributes: &[(u16, &[u8])]) -> Result<Link> {
    read_link(&body(&LINK_7, attributes))
}

const NAME: (u16, &[u8]) = (IFLA_IFNAME, b"eth0\0");

#[test]
fn links_with_altnames_and_in_a_vrf() {
    const CONTROLLER: u16 = 10;
    let read = |attributes: &[(u16, &[u8])]| link(&[&[NAME], attributes].concat()).unwrap();
    let eth0 = Link { index: 7, name: "eth0".into(), up: true, ..Link::default() };
    assert_eq!(read(&[]), eth0);
    let long = "enxa-name-that-is-longer-than-fifteen-bytes";
    let names = body(&[], &[(IFLA_ALT_IFNAME, b"enp3s0\0"), (IFLA_ALT_IFNAME, &[long.as_bytes(), &[0]].concat())]);
    let altnames = vec!["enp3s0".to_string(), long.to_string()];
    // NLA_F_NESTED
    assert_eq!(read(&[(IFLA_PROP_LIST | 0x8000, &names)]), Link { altnames, ..eth0.clone() });
    let of_vrf = Link { vrf: true, ..eth0.clone() };
    let info = |kind: u16, value: &[u8]| body(&[], &[(kind, value)]);
    let member = info(IFLA_INFO_SLAVE_KIND, b"vrf\0");
    assert_eq!(read(&[(CONTROLLER, &[3, 0, 0, 0]), (IFLA_LINKINFO, &member)]), of_vrf);
    assert_eq!(read(&[(IFLA_LINKINFO, &info(IFLA_INFO_KIND, b"vrf"))]), of_vrf);
    assert_eq!(read(&[(IFLA_LINKINFO, &info(IFLA_INFO_SLAVE_KIND, b"bridge\0"))]), eth0);
    let kind = |kind: &[u8]| [&[kind.len() as u8 + 4, 0, 1, 0], kind].concat();
    for (name, shares) in [(&b"macvlan\0"[..], Some(3)), (b"vlan\0\0\0\0", None)] {
        let read = read(&[(IFLA_LINK, &3u32.to_ne_bytes()), (IFLA_LINKINFO, &kind(name))]);
        assert_eq!(read, Link { shares, ..eth0.clone() });
    }
    assert_eq!(read(&[(IFLA_GROUP, &97u32.to_ne_bytes())]), Link { group: 97, ..eth0 });
}

/// What is not needed never hides an interface: an alias that is not UTF-8, attributes of any length, newer ones.
#[test]
fn a_link_is_read_whatever_else_it_has() {
    let eth0 = link(&[NAME]).unwrap();
    for kind in (0..200).filter(|kind| ![IFLA_IFNAME, IFLA_GROUP, IFLA_PROP_LIST, IFLA_LINKINFO].contains(kind)) {
        for value in [&b""[..], b"B\xfcro", &[0xff; 200]] {
            assert_eq!(link(&[(kind, value), NAME]).unwrap(), eth0, "attribute {kind}");
            assert_eq!(link(&[NAME, (kind | 0x4000, value)]).unwrap(), eth0, "attribute {kind}");
        }
    }
    for name in [&b"B\xfcro\0"[..], b"\xff\xfe\0", "B\u{fc}ro\0".as_bytes(), b"a\\xfc\0"] {
        let text = name_text(&name[..name.len() - 1]);
        assert_eq!(link(&[(IFLA_IFNAME, name)]).unwrap().name, text);
        let altname = body(&[], &[(IFLA_ALT_IFNAME, name)]);
        assert_eq!(link(&[NAME, (IFLA_PROP_LIST, &altname)]).unwrap().altnames, [text]);
    }
}

/// What is needed and cannot be read is an error, and says what it is.
#[test]
fn what_cannot_be_read_is_an_error() {
    let fails =
        |result: Result<()>, expected_error: &str| assert_eq!(format!("{:#}", result.unwrap_err()), expected_error);
    let of_link = |attributes: &[(u16, &[u8])]| link(attributes).map(drop);
    fails(read_link(&LINK_7[..15]).map(drop), "its header is cut off");
    fails(of_link(&[]), "interface 7: it has no name");
    fails(of_link(&[(IFLA_IFNAME, b"\0")]), "interface 7: attribute 3 has no name in it");
    fails(of_link(&[NAME, (IFLA_GROUP, &[1, 2])]), "interface 7: attribute 27 has 2 bytes instead of 4");
    fails(of_link(&[NAME, (IFLA_PROP_LIST, &[9, 0])]), "interface 7: an attribute is cut off");
    let cut_off = |bytes: &[u8]| read_link(&[&body(&LINK_7, &[NAME]), bytes].concat()).map(drop);
    fails(
        cut_off(&[&9u16.to_ne_bytes()[..], &3u16.to_ne_bytes(), b"eth"].concat()),
        "interface 7: the length of attribute 3 is 9, with 7 bytes left",
    );
    let eth0 = [link(&[NAME]).unwrap()];
    let address =
        |header: [u8; 8], attributes: &[(u16, &[u8])]| read_address(&body(&header, attributes), &eth0).map(drop);
    fails(address([AF_INET, 24, 0, 0, 7, 0, 0, 0], &[]), "neither IFA_LOCAL nor IFA_ADDRESS");
    fails(address([AF_INET6, 64, 0, 0, 7, 0, 0, 0], &[(1, &[1; 4])]), "attribute 1 has 4 bytes instead of 16");
    let rule = |src_len, attributes: &[(u16, &[u8])]| {
        let header = [AF_INET, 0, src_len, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        read_rule(&body(&header, attributes)).map(drop)
    };
    fails(rule(24, &[]), "a prefix of length 24 without an address");
    fails(rule(33, &[(2, &[192, 0, 2, 0])]), "192.0.2.0 has length 33: invalid IP prefix length");
    fails(rule(0, &[(6, &[])]), "attribute 6 has 0 bytes instead of 4");
    fails(read_rule(&[3; 12]).map(drop), "a rule of address family 3");
    let route = |dst_len, attributes: &[(u16, &[u8])]| {
        let header = [AF_INET, dst_len, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        read_route(&body(&header, attributes), &eth0).map(drop)
    };
    fails(route(24, &[]), "a prefix of length 24 without an address");
    fails(route(0, &[(9, &[16, 0, 0, 0, 7, 0, 0, 0])]), "the length of a nexthop is 16");
    fails(route(0, &[(18, &[2])]), "attribute 18 has 1 bytes");
}

/// A list of all families has those of multicast routing, and routes of MPLS.
#[test]
fn rules_and_routes_of_another_protocol_do_not_count() {
    for family in [128, 129, 12] {
        assert_eq!(read_rule(&[family, 0, 0, 0, 253, 0, 0, 1, 0, 0, 0, 0]).unwrap(), None);
    }
    for family in [128, 129, 12, 28] {
        assert_eq!(read_route(&[family, 32, 32, 0, 253, 17, 0, 5, 0, 0, 0, 0], &[]).unwrap(), None);
    }
    let header = [AF_INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    assert!(read_route(&header, &[]).unwrap().is_some());
    assert!(!is_cached(&header));
    assert!(is_cached(&body(&[&header[..8], &0x200u32.to_ne_bytes()].concat(), &[])));
}

#[test]
fn link_local_routes_of_the_kernel() {
    let route = |family: u8, protocol: u8, dst: &[u8]| {
        let header = [family, 64, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
        is_link_local(&body(&header, &[(15, &[254, 0, 0, 0]), (1, dst)]))
    };
    let link_local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(route(AF_INET6, 2, &link_local));
    assert!(!route(AF_INET6, 97, &link_local));
    assert!(!route(AF_INET6, 2, &global));
    assert!(!route(AF_INET, 2, &[0xfe, 0x80, 0, 0]));
    assert!(!is_link_local(&[AF_INET6, 0, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0]));
}

#[test]
fn the_priority_in_a_message_is_that_of_the_rule() {
    let header = [AF_INET, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
    for attributes in [&[(15, &[254, 0, 0, 0][..]), (6, &[9, 1, 0, 0])][..], &[]] {
        let body = body(&header, attributes);
        assert_eq!(priority_of_rule(&body).unwrap(), read_rule(&body).unwrap().unwrap().priority);
    }
    assert!(priority_of_rule(&body(&header, &[(6, &[9])])).is_err());
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Inet), Just(Family::Inet6)]
}

#[test]
fn link_local_addresses_are_no_sources() {
    let eth0 = Link { index: 7, name: "eth0".into(), ..Link::default() };
    let is_local = |address: [u8; 4], scope: u8| {
        let body = body(&[AF_INET, 16, 0, scope, 7, 0, 0, 0], &[(IFA_LOCAL, &address)]);
        read_address(&body, std::slice::from_ref(&eth0)).unwrap().unwrap().local
    };
    // dhcpcd gives the first of these the scope global.
    assert!(is_local([169, 254, 1, 1], 0) && is_local([192, 0, 2, 1], 253) && !is_local([192, 0, 2, 1], 0));
}

fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::Inet6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
        Family::Inet => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
    }
}

/// With host bits too: what the kernel has is given back as it is. A length of 0 has no address.
fn net(family: Family) -> impl Strategy<Value = IpNet> {
    let longest: u8 = if family == Family::Inet6 { 128 } else { 32 };
    (address(family), 1..=longest).prop_map(|(address, length)| IpNet::new(address, length).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(1..=255u8, 1..16).prop_map(|name| name_text(&name))
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Lookup),
        any::<u32>().prop_map(Action::Goto),
        Just(Action::Nop),
        Just(Action::Blackhole),
        Just(Action::Unreachable),
        Just(Action::Prohibit),
        (9..255u8).prop_map(Action::Other),
    ]
}

fn rule_extras(family: Family) -> impl Strategy<Value = RuleExtras> {
    use prop::option::of;
    let packet = (of(net(family)), of(name()), any::<u8>(), of((0..64u8, 1..64u8)), of(any::<u64>()));
    let socket = (of(any::<(u32, u32)>()), of(any::<(u32, u32)>()), of(1..=255u8));
    let ports = (of(any::<(u16, u16)>()), of(any::<(u16, u16)>()));
    (action(), any::<(bool, bool)>(), packet, socket, ports).prop_map(
        |(action, (not, l3mdev), (dst, iif, tos, dscp, tun_id), (mark, uids, ip_protocol), (sports, dports))| {
            RuleExtras {
                action,
                not,
                dst,
                iif,
                tos,
                dscp,
                tun_id,
                mark,
                uids,
                ip_protocol,
                sports,
                dports,
                l3mdev,
                realms: false,
                unknown: false,
            }
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    use prop::option::of;
    family().prop_flat_map(|family| {
        let numbers = (any::<u32>(), any::<u32>(), any::<u8>(), of(0..u32::MAX), of(0..u32::MAX));
        (numbers, of(net(family)), of(name()), of(rule_extras(family))).prop_map(
            move |((priority, table, protocol, suppress_prefixlen, suppress_ifgroup), src, oif, extras)| Rule {
                family,
                priority,
                src,
                oif,
                table,
                suppress_prefixlen,
                suppress_ifgroup,
                protocol,
                extras: extras.filter(|extras| *extras != RuleExtras::default()).map(Box::new),
            },
        )
    })
}

fn links() -> [Link; 2] {
    [("eth0", 7), ("B\\xfcro", 70_000)].map(|(name, index)| Link { index, name: name.into(), ..Link::default() })
}

fn dev() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(links().map(|link| link.name).to_vec()))
}

fn nexthop(family: Family) -> impl Strategy<Value = Nexthop> {
    let gateway = prop_oneof![address(family), address(Family::Inet6)];
    (prop::option::of(gateway), dev(), 1..=256u32, any::<bool>()).prop_map(|(gateway, dev, weight, onlink)| Nexthop {
        gateway,
        dev,
        weight,
        onlink,
        state: RouteState::default(),
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..=255u8).prop_map(route::kind_of)
}

fn route_extras(family: Family) -> impl Strategy<Value = RouteExtras> {
    use prop::option::of;
    let src = of(net(family));
    let nexthops = prop::collection::vec(nexthop(family), 0..4);
    (kind(), any::<u8>(), src, of(address(family)), nexthops, 0..4u8, of(any::<u32>())).prop_map(
        |(kind, tos, src, prefsrc, nexthops, preference, nexthop_id)| RouteExtras {
            kind,
            tos,
            src,
            prefsrc,
            nexthops,
            nexthop_id,
            preference,
            other: false,
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    use prop::option::of;
    family().prop_flat_map(|family| {
        let default = IpNet::new(if family == Family::Inet6 { [0; 16].into() } else { [0; 4].into() }, 0).unwrap();
        let dst = prop_oneof![net(family), Just(default)];
        let numbers = (any::<u32>(), any::<u8>(), any::<u32>(), any::<u8>(), any::<bool>());
        (numbers, dst, of(address(family)), dev(), of(route_extras(family)), any::<bool>()).prop_map(
            move |((table, scope, metric, protocol, onlink), dst, gateway, dev, extras, via)| {
                let mut extras = extras.unwrap_or_default();
                let mut route = Route {
                    family,
                    table,
                    dst,
                    gateway,
                    dev,
                    scope,
                    metric,
                    onlink,
                    protocol,
                    extras: None,
                    state: RouteState::default(),
                };
                if via && family == Family::Inet {
                    route.gateway = Some("fe80::1".parse().unwrap());
                    extras.other = true;
                }
                // The nexthop object has them.
                if extras.nexthop_id.is_some() {
                    (route.gateway, route.dev, extras.nexthops, extras.other) = (None, None, Vec::new(), false);
                }
                route.extras = (extras != RouteExtras::default()).then(|| Box::new(extras));
                route
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_rule_that_is_written_is_read_again(rule in rule()) {
        let request = write_rule(&rule, libc::RTM_NEWRULE);
        prop_assert_eq!(read_rule(&request.body()).unwrap(), Some(rule));
    }

    #[test]
    fn a_route_that_is_written_is_read_again(route in route()) {
        let request = write_route(&route, &links(), libc::RTM_NEWROUTE).unwrap();
        prop_assert_eq!(read_route(&request.body(), &links()).unwrap(), Some(route));
    }

    #[test]
    fn a_link_that_is_gone_is_in_no_request(route in route()) {
        let extras = route.extras.clone().unwrap_or_default();
        let has_dev = route.dev.is_some() || extras.nexthops.iter().any(|nexthop| nexthop.dev.is_some());
        prop_assert_eq!(write_route(&route, &[], libc::RTM_DELROUTE).is_none(), has_dev);
    }

    /// Any bytes, and any attributes: a value or an error, never a panic.
    #[test]
    fn any_bytes(
        header in prop::collection::vec(prop_oneof![any::<u8>(), Just(AF_INET), Just(AF_INET6)], 0..17),
        attributes in prop::collection::vec((0..64u16, prop::collection::vec(any::<u8>(), 0..20)), 0..6)
    ) {
        let attributes: Vec<(u16, &[u8])> = attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        let body = body(&header, &attributes);
        let _ = (read_link(&body), read_address(&body, &links()), read_failed_neighbour(&body, &links(), NeighbourStates::Failed));
        let _ = (is_cached(&body), read_way(&body, &links()), read_neighbour(&body));
        let _ = (read_rule(&body), read_route(&body, &links()));
    }
}
