//! Between netlink messages and the snapshot's values (rtnetlink(7), linux/fib_rules.h).

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::Socket;
use crate::interfaces::Family;
use crate::snapshot::{Address, Link, Route, Rule};

const FAMILIES: [Family; 2] = [Family::Inet, Family::Inet6];
/// `RT_TABLE_COMPAT`: the number is in the attribute, it does not fit the header's byte.
const IN_ATTRIBUTE: u8 = 252;

fn family_of(family: Family) -> AddressFamily {
    match family {
        Family::Inet6 => AddressFamily::Inet6,
        _ => AddressFamily::Inet,
    }
}

impl Socket {
    pub(super) fn links(&mut self) -> Result<Vec<Link>> {
        let replies = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(replies
            .into_iter()
            .filter_map(|reply| match reply {
                RouteNetlinkMessage::NewLink(message) => Some(Link {
                    index: message.header.index,
                    up: message.header.flags.contains(LinkFlags::Up),
                    name: message.attributes.into_iter().find_map(|attribute| match attribute {
                        LinkAttribute::IfName(name) => Some(name),
                        _ => None,
                    })?,
                }),
                _ => None,
            })
            .collect())
    }

    pub(super) fn addresses(&mut self, links: &[Link]) -> Result<Vec<Address>> {
        let replies = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let read = |reply| match reply {
            RouteNetlinkMessage::NewAddress(message) => read_address(&message, links),
            _ => None,
        };
        Ok(replies.into_iter().filter_map(read).collect())
    }

    /// A kernel that was booted with `ipv6.disable=1` knows no rules or routes of that family: there are none.
    fn dump_if_known(&mut self, request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        self.dump(request).or_else(|error| match error.downcast_ref() {
            Some(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT) => Ok(Vec::new()),
            _ => Err(error),
        })
    }

    pub(super) fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in FAMILIES {
            let mut request = RuleMessage::default();
            request.header.family = family_of(family);
            for reply in self.dump_if_known(RouteNetlinkMessage::GetRule(request))? {
                if let RouteNetlinkMessage::NewRule(message) = reply {
                    rules.push(read_rule(&message, family));
                }
            }
        }
        Ok(rules)
    }

    pub(super) fn routes(&mut self, links: &[Link]) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in FAMILIES {
            let mut request = RouteMessage::default();
            request.header.address_family = family_of(family);
            for reply in self.dump_if_known(RouteNetlinkMessage::GetRoute(request))? {
                if let RouteNetlinkMessage::NewRoute(message) = reply {
                    routes.extend(read_route(&message, family, links));
                }
            }
        }
        Ok(routes)
    }
}

fn read_address(message: &AddressMessage, links: &[Link]) -> Option<Address> {
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
    })
}

fn read_rule(message: &RuleMessage, family: Family) -> Rule {
    let header = &message.header;
    let detached = RuleFlags::Permanent | RuleFlags::IifDetached | RuleFlags::OifDetached;
    let mut rule = Rule {
        family,
        priority: 0,
        src: None,
        oif: None,
        table: header.table.into(),
        suppress_prefixlen: None,
        protocol: 0,
        more: header.action != RuleAction::ToTable
            || header.tos != 0
            || header.dst_len != 0
            || !detached.contains(header.flags),
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(address) => rule.src = IpNet::new(*address, header.src_len).ok(),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::Table(table) => rule.table = *table,
            // The kernel gives -1 where there is none.
            RuleAttribute::SuppressPrefixLen(length) => {
                rule.suppress_prefixlen = Some(*length).filter(|length| *length != u32::MAX);
            }
            RuleAttribute::Protocol(protocol) => rule.protocol = (*protocol).into(),
            RuleAttribute::SuppressIfGroup(group) => rule.more |= *group != u32::MAX,
            RuleAttribute::Other(_) => {}
            _ => rule.more = true,
        }
    }
    rule
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
    message.attributes.extend(rule.suppress_prefixlen.map(RuleAttribute::SuppressPrefixLen));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)));
    message
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn read_route(message: &RouteMessage, family: Family, links: &[Link]) -> Option<Route> {
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
        more: header.kind != RouteType::Unicast
            || header.tos != 0
            || header.source_prefix_length != 0
            || !(state | RouteFlags::Onlink).contains(header.flags),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => {
                route.dst = IpNet::new(address_of(address)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Gateway(address) => route.gateway = address_of(address),
            RouteAttribute::Oif(index) => {
                route.dev = links.iter().find(|link| link.index == *index).map(|link| link.name.clone());
            }
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::CacheInfo(_) | RouteAttribute::Preference(_) | RouteAttribute::Other(_) => {}
            _ => route.more = true,
        }
    }
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
