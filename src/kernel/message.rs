//! Between netlink messages and the snapshot's values (rtnetlink(7), linux/fib_rules.h). Pure: `requests` and
//! `reconcile` send them.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use crate::interfaces::Family;
use crate::policy::difference::Membership;
use crate::snapshot::{Action, Address, Kind, Link, Nexthop, Query, Route, RouteMore, Rule, RuleMore, State, Way};

/// `RT_TABLE_COMPAT`: the number is in the attribute, it does not fit the header's byte.
const IN_ATTRIBUTE: u8 = 252;

pub(super) fn family_of(family: Family) -> AddressFamily {
    match family {
        Family::Inet6 => AddressFamily::Inet6,
        _ => AddressFamily::Inet,
    }
}

pub(super) fn write_query(query: &Query, links: &[Link], flags: RouteFlags) -> Result<RouteMessage> {
    let index = |dev: &String| {
        links.iter().find(|link| link.name == *dev).map(|link| link.index).with_context(|| format!("no device {dev}"))
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(query.family());
    // inet6 always tells the table, and refuses to be asked for it.
    let table = if query.to.is_ipv6() { RouteFlags::empty() } else { RouteFlags::LookupTable };
    message.header.flags = flags | table;
    message.header.destination_prefix_length = if query.to.is_ipv6() { 128 } else { 32 };
    message.attributes.push(RouteAttribute::Destination(query.to.into()));
    if let Some(from) = query.from {
        message.header.source_prefix_length = message.header.destination_prefix_length;
        message.attributes.push(RouteAttribute::Source(from.into()));
    }
    if let Some(iif) = &query.iif {
        message.attributes.push(RouteAttribute::Iif(index(iif)?));
    }
    if let Some(oif) = &query.oif {
        message.attributes.push(RouteAttribute::Oif(index(oif)?));
    }
    // Of what comes in, the kernel takes root for the owner.
    let uid = if query.iif.is_some() { 0 } else { query.uid };
    message.attributes.push(RouteAttribute::Mark(query.mark));
    message.attributes.push(RouteAttribute::Uid(uid));
    message.attributes.push(RouteAttribute::IpProto(query.ip_protocol));
    if query.sport != 0 {
        message.attributes.push(RouteAttribute::Sport(query.sport));
    }
    if query.dport != 0 {
        message.attributes.push(RouteAttribute::Dport(query.dport));
    }
    Ok(message)
}

pub(super) fn read_way(message: &RouteMessage, links: &[Link]) -> Way {
    let mut way = Way { kind: kind_of(message.header.kind), table: message.header.table.into(), ..Way::default() };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => way.table = *table,
            RouteAttribute::Oif(index) => way.dev = name_of(*index, links),
            RouteAttribute::Gateway(address) => way.gateway = address_of(address),
            RouteAttribute::Via(via) => way.gateway = via_of(via),
            RouteAttribute::PrefSource(address) => way.source = address_of(address),
            _ => {}
        }
    }
    way
}

pub(super) fn read_link(message: LinkMessage) -> Option<Link> {
    let is_vrf =
        |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Vrf) | LinkInfo::PortKind(InfoPortKind::Vrf));
    let altname = |property: Prop| if let Prop::AltIfName(altname) = property { Some(altname) } else { None };
    let (mut name, mut altnames, mut group, mut vrf) = (None, Vec::new(), 0, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name = Some(it),
            LinkAttribute::PropList(properties) => altnames = properties.into_iter().filter_map(altname).collect(),
            LinkAttribute::Group(it) => group = it,
            LinkAttribute::LinkInfo(infos) => vrf = infos.iter().any(is_vrf),
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up);
    Some(Link { index: message.header.index, name: name?, altnames, up, group, vrf })
}

pub(super) fn read_address(message: &AddressMessage, links: &[Link]) -> Option<Address> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let other = find(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    // IFA_ADDRESS is the peer where IFA_LOCAL differs from it, else the address itself.
    let own = local.unwrap_or(other);
    let peer = (own != other).then_some(other);
    let length = if peer.is_some() { IpNet::from(own).max_prefix_len() } else { message.header.prefix_len };
    Some(Address {
        dev: links.iter().find(|link| link.index == message.header.index)?.name.clone(),
        net: IpNet::new(own, length).ok()?,
        peer,
        local: message.header.scope != AddressScope::Universe,
        duplicate: message.header.flags.contains(AddressHeaderFlags::Dadfailed),
    })
}

/// linux/fib_rules.h; FRA_PAD says nothing.
const FRA_PAD: u16 = 18;
const FRA_DSCP: u16 = 25;
const FRA_DSCP_MASK: u16 = 30;
/// All bits of a DSCP.
const DSCP_BITS: u8 = 0x3f;

pub(super) fn read_rule(message: &RuleMessage, family: Family) -> Rule {
    let header = &message.header;
    let mut rule = Rule {
        family,
        priority: 0,
        src: None,
        oif: None,
        table: header.table.into(),
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: 0,
        more: None,
    };
    // Detached and unresolved are as the links and the other rules are; not a part of what was asked for.
    let state = RuleFlags::Permanent
        | RuleFlags::IifDetached
        | RuleFlags::OifDetached
        | RuleFlags::Unresolved
        | RuleFlags::Invert;
    let mut more = RuleMore {
        action: match header.action {
            RuleAction::ToTable => Action::Lookup,
            RuleAction::Goto => Action::Goto(0),
            RuleAction::Nop => Action::Nop,
            RuleAction::Blackhole => Action::Blackhole,
            RuleAction::Unreachable => Action::Unreachable,
            RuleAction::Prohibit => Action::Prohibit,
            action => Action::Other(action.into()),
        },
        not: header.flags.contains(RuleFlags::Invert),
        tos: header.tos,
        unknown: !state.contains(header.flags),
        ..RuleMore::default()
    };
    // The kernel gives -1 where a suppressor is not set.
    let set = |number: &u32| Some(*number).filter(|number| *number != u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(address) => rule.src = IpNet::new(*address, header.src_len).ok(),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress_prefixlen = set(length),
            RuleAttribute::Protocol(protocol) => rule.protocol = (*protocol).into(),
            RuleAttribute::SuppressIfGroup(group) => rule.suppress_ifgroup = set(group),
            RuleAttribute::Destination(address) => more.dst = IpNet::new(*address, header.dst_len).ok(),
            RuleAttribute::Iifname(name) => more.iif = Some(name.clone()),
            RuleAttribute::Goto(priority) => more.action = Action::Goto(*priority),
            RuleAttribute::FwMark(mark) => more.mark = Some((*mark, more.mark.map_or(u32::MAX, |(_, mask)| mask))),
            RuleAttribute::FwMask(mask) => more.mark = Some((more.mark.map_or(0, |(mark, _)| mark), *mask)),
            RuleAttribute::UidRange(uids) => more.uids = Some((uids.start, uids.end)),
            RuleAttribute::IpProtocol(protocol) => {
                more.ip_protocol = u8::try_from(i32::from(*protocol)).ok().filter(|protocol| *protocol != 0);
            }
            RuleAttribute::SourcePortRange(ports) => more.sports = Some((ports.start, ports.end)),
            RuleAttribute::DestinationPortRange(ports) => more.dports = Some((ports.start, ports.end)),
            RuleAttribute::L3MDev(l3mdev) => more.l3mdev = *l3mdev,
            RuleAttribute::Realm(_) => more.realms = true,
            RuleAttribute::TunId(id) => more.tun_id = Some(*id),
            RuleAttribute::Other(other) if other.kind() == FRA_PAD => {}
            RuleAttribute::Other(other) => match (other.kind(), byte(other)) {
                (FRA_DSCP, Some(dscp)) => more.dscp = Some((dscp, more.dscp.map_or(DSCP_BITS, |(_, mask)| mask))),
                (FRA_DSCP_MASK, Some(mask)) => more.dscp = Some((more.dscp.map_or(0, |(dscp, _)| dscp), mask)),
                _ => more.unknown = true,
            },
            _ => more.unknown = true,
        }
    }
    rule.more = (more != RuleMore::default()).then(|| Box::new(more));
    rule
}

/// The value of an attribute of one byte.
fn byte(attribute: &DefaultNla) -> Option<u8> {
    let mut value = [0; 1];
    (attribute.value_len() == value.len()).then(|| attribute.emit_value(&mut value)).map(|()| value[0])
}

pub(super) fn write_rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_of(rule.family);
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    message.attributes.push(RuleAttribute::Table(rule.table));
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    if let Some(src) = rule.src {
        message.header.src_len = src.prefix_len();
        message.attributes.push(RuleAttribute::Source(src.addr()));
    }
    message.attributes.extend(rule.oif.clone().map(RuleAttribute::Oifname));
    let iif = rule.more.as_ref().and_then(|more| more.iif.clone());
    message.attributes.extend(iif.map(RuleAttribute::Iifname));
    message.attributes.extend(rule.suppress_prefixlen.map(RuleAttribute::SuppressPrefixLen));
    message.attributes.extend(rule.suppress_ifgroup.map(RuleAttribute::SuppressIfGroup));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)));
    message
}

/// Nothing where the link is not there any more: without an index, it would be a request about every link of a group.
pub(super) fn write_group(change: &Membership, links: &[Link]) -> Option<LinkMessage> {
    let index = links.iter().find(|link| link.name == change.dev).map(|link| link.index).filter(|index| *index != 0)?;
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Group(change.to));
    Some(message)
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn kind_of(kind: RouteType) -> Kind {
    match kind {
        RouteType::Unicast => Kind::Unicast,
        RouteType::Local => Kind::Local,
        RouteType::Broadcast => Kind::Broadcast,
        RouteType::Anycast => Kind::Anycast,
        RouteType::Multicast => Kind::Multicast,
        RouteType::BlackHole => Kind::Blackhole,
        RouteType::Unreachable => Kind::Unreachable,
        RouteType::Prohibit => Kind::Prohibit,
        RouteType::Throw => Kind::Throw,
        kind => Kind::Other(kind.into()),
    }
}

pub(super) fn name_of(index: u32, links: &[Link]) -> Option<String> {
    links.iter().find(|link| link.index == index).map(|link| link.name.clone())
}

/// `via inet6`: a router of the other family.
fn via_of(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(address) => Some((*address).into()),
        RouteVia::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn read_nexthop(nexthop: &RouteNextHop, links: &[Link]) -> Nexthop {
    let gateway = nexthop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => address_of(address),
        RouteAttribute::Via(via) => via_of(via),
        _ => None,
    });
    Nexthop {
        gateway,
        dev: name_of(nexthop.interface_index, links),
        weight: u32::from(nexthop.hops) + 1,
        onlink: nexthop.flags.contains(RouteNextHopFlags::Onlink),
        state: State {
            dead: nexthop.flags.contains(RouteNextHopFlags::Dead),
            linkdown: nexthop.flags.contains(RouteNextHopFlags::Linkdown),
        },
    }
}

pub(super) fn read_route(message: &RouteMessage, family: Family, links: &[Link]) -> Option<Route> {
    let header = &message.header;
    let any: IpAddr = match family {
        Family::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    // What the kernel itself sets as things change; not a part of what was asked for.
    let state = RouteFlags::Dead | RouteFlags::Linkdown | RouteFlags::Offload | RouteFlags::Trap;
    let mut route = Route {
        family,
        table: header.table.into(),
        dst: IpNet::new(any, header.destination_prefix_length).ok()?,
        gateway: None,
        dev: None,
        scope: header.scope.into(),
        metric: 0,
        onlink: header.flags.contains(RouteFlags::Onlink),
        protocol: header.protocol.into(),
        more: None,
        state: State {
            dead: header.flags.contains(RouteFlags::Dead),
            linkdown: header.flags.contains(RouteFlags::Linkdown),
        },
    };
    let mut more = RouteMore {
        kind: kind_of(header.kind),
        tos: header.tos,
        other: !(state | RouteFlags::Onlink).contains(header.flags),
        ..RouteMore::default()
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => {
                route.dst = IpNet::new(address_of(address)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Gateway(address) => route.gateway = address_of(address),
            RouteAttribute::Oif(index) => route.dev = name_of(*index, links),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Preference(preference) => more.preference = (*preference).into(),
            RouteAttribute::Source(address) => {
                more.src = IpNet::new(address_of(address)?, header.source_prefix_length).ok();
            }
            RouteAttribute::PrefSource(address) => more.prefsrc = address_of(address),
            RouteAttribute::MultiPath(nexthops) => {
                more.nexthops = nexthops.iter().map(|nexthop| read_nexthop(nexthop, links)).collect();
            }
            RouteAttribute::NhId(id) => more.nexthop_id = Some(*id),
            RouteAttribute::Via(via) => {
                route.gateway = via_of(via);
                more.other = true;
            }
            RouteAttribute::CacheInfo(_) | RouteAttribute::Other(_) => {}
            _ => more.other = true,
        }
    }
    route.more = (more != RouteMore::default()).then(|| Box::new(more));
    Some(route)
}

/// Nothing where the link is not there any more.
pub(super) fn write_route(route: &Route, links: &[Link]) -> Option<RouteMessage> {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family_of(route.family);
    header.destination_prefix_length = route.dst.prefix_len();
    header.table = u8::try_from(route.table).unwrap_or(IN_ATTRIBUTE);
    header.protocol = route.protocol.into();
    header.scope = RouteScope::from(route.scope);
    header.kind = RouteType::Unicast;
    header.flags = if route.onlink { RouteFlags::Onlink } else { RouteFlags::empty() };
    message.attributes.push(RouteAttribute::Table(route.table));
    if route.dst.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(address(route.dst.addr())));
    }
    message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(address(gateway))));
    if let Some(dev) = &route.dev {
        let link = links.iter().find(|link| link.name == *dev)?;
        message.attributes.push(RouteAttribute::Oif(link.index));
    }
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;

    use super::*;

    #[test]
    fn rules_with_a_dscp_or_a_tunnel() {
        let read = |attributes: Vec<RuleAttribute>| {
            let mut message = RuleMessage::default();
            message.header.action = RuleAction::ToTable;
            message.attributes = attributes;
            read_rule(&message, Family::Inet).more.map(|more| (more.dscp, more.tun_id, more.unknown))
        };
        let other = |kind: u16, value: &[u8]| RuleAttribute::Other(DefaultNla::new(kind, value.to_vec()));
        assert_eq!(read(vec![other(25, &[10])]), Some((Some((10, 63)), None, false)));
        assert_eq!(read(vec![other(25, &[8]), other(30, &[56])]), Some((Some((8, 56)), None, false)));
        assert_eq!(read(vec![RuleAttribute::TunId(7)]), Some((None, Some(7), false)));
        assert_eq!(read(vec![other(18, &[0; 4])]), None);
        for unknown in [other(25, &[1, 2]), other(26, &[0; 4])] {
            assert_eq!(read(vec![unknown]), Some((None, None, true)));
        }
    }

    #[test]
    fn links_with_altnames_and_in_a_vrf() {
        let read = |attributes: Vec<LinkAttribute>| {
            let mut message = LinkMessage::default();
            message.header.index = 7;
            message.header.flags = LinkFlags::Up;
            message.attributes = [vec![LinkAttribute::IfName("eth0".into())], attributes].concat();
            let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewLink(message));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).unwrap().payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => read_link(message).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let eth0 = Link { index: 7, name: "eth0".into(), up: true, ..Link::default() };
        assert_eq!(read(Vec::new()), eth0);
        let altname = |name: &str| Prop::AltIfName(name.into());
        let long = "enxa-name-that-is-longer-than-fifteen-bytes";
        assert_eq!(
            read(vec![LinkAttribute::PropList(vec![altname("enp3s0"), altname(long)])]),
            Link { altnames: vec!["enp3s0".into(), long.into()], ..eth0.clone() }
        );
        let of_vrf = Link { vrf: true, ..eth0.clone() };
        let member = LinkInfo::PortKind(InfoPortKind::Vrf);
        assert_eq!(read(vec![LinkAttribute::Controller(3), LinkAttribute::LinkInfo(vec![member])]), of_vrf);
        assert_eq!(read(vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vrf)])]), of_vrf);
        let bridged = LinkInfo::PortKind(InfoPortKind::Bridge);
        assert_eq!(read(vec![LinkAttribute::LinkInfo(vec![bridged])]), eth0);
    }
}
