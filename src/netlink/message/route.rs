//! Routes and lookups (rtnetlink(7), linux/rtnetlink.h).

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use nix::libc;

use super::values::{family_of, index_of, ip_family, name_of, prefix};
use crate::netlink::wire::{AF_INET6, Attached, Attribute, Attributes, Request, after, split};
use crate::network::{Family, Kind, Link, Nexthop, Query, ResolvedRoute, Route, RouteExtras, RouteState};

// Those up to RTA_MFC_STATS are in `libc`.
const RTA_VIA: u16 = 18;
const RTA_NEWDST: u16 = 19;
const RTA_PREF: u16 = 20;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_EXPIRES: u16 = 23;
const RTA_UID: u16 = 25;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;
const RTA_NH_ID: u16 = 30;
const RTA_FLOWLABEL: u16 = 31;
const RTNH_F_DEAD: u32 = 1;
const RTNH_F_ONLINK: u32 = 4;
const RTNH_F_LINKDOWN: u32 = 16;
/// Flags that only the kernel sets: `DEAD`, `OFFLOAD`, `LINKDOWN`, `TRAP`, and `RTM_F_OFFLOAD`,
/// `RTM_F_TRAP`, `RTM_F_OFFLOAD_FAILED`.
const STATE: u32 = 1 | 8 | 16 | 64 | 0x4000 | 0x8000 | 0x2000_0000;
const RTM_F_CLONED: u32 = 0x200;
const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
pub(crate) const RTM_F_FIB_MATCH: u32 = 0x2000;

/// `RT_TABLE_COMPAT`: the number is in the attribute, because it does not fit in one byte of the header.
const IN_ATTRIBUTE: u8 = 252;

/// `struct rtmsg`
#[derive(Default)]
struct RouteHeader {
    family: u8,
    dst_len: u8,
    src_len: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

impl RouteHeader {
    fn split(body: &[u8]) -> Result<(RouteHeader, Attributes<'_>)> {
        let (&[family, dst_len, src_len, tos, table, protocol, scope, kind, f0, f1, f2, f3], attributes) = split(body)?;
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
        Ok((RouteHeader { family, dst_len, src_len, tos, table, protocol, scope, kind, flags }, attributes))
    }

    /// What plain routes do not have; nothing if the header is that of a plain route.
    fn extras(&self) -> Option<Box<RouteExtras>> {
        let (kind, tos, other) = (kind_of(self.kind), self.tos, self.flags & !(STATE | RTNH_F_ONLINK) != 0);
        let is_plain = kind == Kind::Unicast && tos == 0 && !other;
        (!is_plain).then(|| Box::new(RouteExtras { kind, tos, other, ..RouteExtras::default() }))
    }

    fn bytes(&self) -> [u8; 12] {
        let [f0, f1, f2, f3] = self.flags.to_ne_bytes();
        let RouteHeader { family, dst_len, src_len, tos, table, protocol, scope, kind, .. } = *self;
        [family, dst_len, src_len, tos, table, protocol, scope, kind, f0, f1, f2, f3]
    }
}

/// Which routes are listed; without a value, all. With strict checking, the kernel omits other routes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filter {
    pub(crate) table: Option<u32>,
    pub(crate) protocol: Option<u8>,
    /// Without those for which [`is_link_local`], one for each interface.
    pub(crate) without_link_local: bool,
}

impl Filter {
    pub(crate) fn has(self, route: &Route) -> bool {
        self.table.is_none_or(|table| table == route.table)
            && self.protocol.is_none_or(|protocol| protocol == route.protocol)
    }
}

/// Without a family, those of all families.
pub(crate) fn list_routes(family: Option<Family>, filter: Filter) -> Request {
    let (family, protocol) = (family.map_or(0, family_of), filter.protocol.unwrap_or_default());
    let header = RouteHeader { family, protocol, ..RouteHeader::default() };
    let mut request = Request::new(libc::RTM_GETROUTE, &header.bytes());
    if let Some(table) = filter.table {
        request.attributes.add_u32(libc::RTA_TABLE, table);
    }
    request
}

pub(crate) fn write_query(query: &Query, links: &[Link], flags: u32) -> Result<Request> {
    let index = |dev: &String| index_of(dev, links).with_context(|| format!("interface {dev} not found"));
    // For IPv6 the kernel always reports the table, and rejects a request for it.
    let table = if query.to.is_ipv6() { 0 } else { RTM_F_LOOKUP_TABLE };
    let length = if query.to.is_ipv6() { 128 } else { 32 };
    let header = RouteHeader {
        family: family_of(query.family()),
        dst_len: length,
        src_len: if query.from.is_some() { length } else { 0 },
        flags: flags | table,
        ..RouteHeader::default()
    };
    let mut request = Request::new(libc::RTM_GETROUTE, &header.bytes());
    let attributes = &mut request.attributes;
    attributes.add_address(libc::RTA_DST, query.to);
    if let Some(from) = query.from {
        attributes.add_address(libc::RTA_SRC, from);
    }
    if let Some(iif) = &query.iif {
        attributes.add_u32(libc::RTA_IIF, index(iif)?);
    }
    if let Some(oif) = &query.oif {
        attributes.add_u32(libc::RTA_OIF, index(oif)?);
    }
    // For received packets the kernel uses root as the user.
    let uid = if query.iif.is_some() { 0 } else { query.uid };
    attributes.add_u32(libc::RTA_MARK, query.mark);
    attributes.add_u32(RTA_UID, uid);
    attributes.add(RTA_IP_PROTO, &[query.ip_protocol]);
    for (kind, port) in [(RTA_SPORT, query.sport), (RTA_DPORT, query.dport)] {
        if port != 0 {
            attributes.add(kind, &port.to_be_bytes());
        }
    }
    Ok(request)
}

pub(crate) fn read_way(body: &[u8], links: &[Link]) -> Result<ResolvedRoute> {
    let (header, attributes) = RouteHeader::split(body)?;
    let mut way = ResolvedRoute { kind: kind_of(header.kind), table: header.table.into(), ..ResolvedRoute::default() };
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            libc::RTA_TABLE => way.table = attribute.u32()?,
            libc::RTA_OIF => way.dev = name_of(attribute.u32()?, links),
            libc::RTA_GATEWAY => way.gateway = Some(attribute.address(header.family)?),
            RTA_VIA => way.gateway = attribute.via()?,
            libc::RTA_PREFSRC => way.source = Some(attribute.address(header.family)?),
            _ => {}
        }
    }
    Ok(way)
}

pub(crate) fn kind_of(number: u8) -> Kind {
    match number {
        libc::RTN_UNICAST => Kind::Unicast,
        libc::RTN_LOCAL => Kind::Local,
        libc::RTN_BROADCAST => Kind::Broadcast,
        libc::RTN_ANYCAST => Kind::Anycast,
        libc::RTN_MULTICAST => Kind::Multicast,
        libc::RTN_BLACKHOLE => Kind::Blackhole,
        libc::RTN_UNREACHABLE => Kind::Unreachable,
        libc::RTN_PROHIBIT => Kind::Prohibit,
        libc::RTN_THROW => Kind::Throw,
        number => Kind::Other(number),
    }
}

fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Unicast => libc::RTN_UNICAST,
        Kind::Local => libc::RTN_LOCAL,
        Kind::Broadcast => libc::RTN_BROADCAST,
        Kind::Anycast => libc::RTN_ANYCAST,
        Kind::Multicast => libc::RTN_MULTICAST,
        Kind::Blackhole => libc::RTN_BLACKHOLE,
        Kind::Unreachable => libc::RTN_UNREACHABLE,
        Kind::Prohibit => libc::RTN_PROHIBIT,
        Kind::Throw => libc::RTN_THROW,
        Kind::Other(number) => number,
    }
}

fn state_of(flags: u32) -> RouteState {
    RouteState { dead: flags & RTNH_F_DEAD != 0, linkdown: flags & RTNH_F_LINKDOWN != 0 }
}

/// `struct rtnexthop`s, each with its attributes.
fn read_nexthops(attribute: Attribute<'_>, family: u8, links: &[Link]) -> Result<Vec<Nexthop>> {
    let mut nexthops = Vec::new();
    let mut rest = attribute.value;
    while !rest.is_empty() {
        let &[l0, l1, flags, hops, i0, i1, i2, i3] = rest.first_chunk().context("a nexthop is cut off")?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let nexthop = rest.get(8..length).with_context(|| format!("the length of a nexthop is {length}"))?;
        let mut gateway = None;
        for attribute in Attributes::of(nexthop) {
            let attribute = attribute?;
            match attribute.kind {
                libc::RTA_GATEWAY => gateway = Some(attribute.address(family)?),
                RTA_VIA => gateway = attribute.via()?,
                _ => {}
            }
        }
        nexthops.push(Nexthop {
            gateway,
            dev: name_of(u32::from_ne_bytes([i0, i1, i2, i3]), links),
            weight: u32::from(hops) + 1,
            onlink: u32::from(flags) & RTNH_F_ONLINK != 0,
            state: state_of(flags.into()),
        });
        rest = after(rest, length);
    }
    Ok(nexthops)
}

/// An entry of a table. Nothing for a route of another protocol, multicast routing for example.
pub(crate) fn read_route(body: &[u8], links: &[Link]) -> Result<Option<Route>> {
    let (header, attributes) = RouteHeader::split(body)?;
    let Some(family) = ip_family(header.family) else { return Ok(None) };
    let any: IpAddr = match family {
        Family::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut route = Route {
        family,
        table: header.table.into(),
        dst: any.into(),
        gateway: None,
        dev: None,
        scope: header.scope,
        metric: 0,
        onlink: header.flags & RTNH_F_ONLINK != 0,
        protocol: header.protocol,
        extras: None,
        state: state_of(header.flags),
    };
    let mut extras = header.extras();
    let (mut dst, mut src) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            libc::RTA_TABLE => route.table = attribute.u32()?,
            libc::RTA_DST => dst = Some(attribute.address(header.family)?),
            libc::RTA_SRC => src = Some(attribute.address(header.family)?),
            libc::RTA_GATEWAY => route.gateway = Some(attribute.address(header.family)?),
            libc::RTA_OIF => route.dev = name_of(attribute.u32()?, links),
            libc::RTA_PRIORITY => route.metric = attribute.u32()?,
            RTA_VIA => {
                route.gateway = attribute.via()?;
                extras.get_or_insert_default().other = true;
            }
            // The preference of nearly all IPv6 routes.
            RTA_PREF if attribute.value == [0] => {}
            kind if has_extra(kind) => read_extra(attribute, header.family, links, extras.get_or_insert_default())?,
            _ => {}
        }
    }
    route.dst = match prefix(dst, header.dst_len)? {
        Some(dst) => dst,
        None => IpNet::new(any, 0).context("no prefix of length 0")?,
    };
    if let Some(src) = prefix(src, header.src_len)? {
        extras.get_or_insert_default().src = Some(src);
    }
    route.extras = extras.filter(|extras| **extras != RouteExtras::default());
    Ok(Some(route))
}

fn has_extra(kind: u16) -> bool {
    matches!(kind, libc::RTA_MULTIPATH | libc::RTA_PREFSRC | RTA_PREF | RTA_NH_ID) || is_other(kind)
}

/// Attributes for which [`has_extra`].
fn read_extra(attribute: Attribute<'_>, family: u8, links: &[Link], extras: &mut RouteExtras) -> Result<()> {
    match attribute.kind {
        libc::RTA_MULTIPATH => extras.nexthops = read_nexthops(attribute, family, links)?,
        libc::RTA_PREFSRC => extras.prefsrc = Some(attribute.address(family)?),
        RTA_PREF => extras.preference = attribute.u8()?,
        RTA_NH_ID => extras.nexthop_id = Some(attribute.u32()?),
        _ => extras.other = true,
    }
    Ok(())
}

/// Attributes that no route of symroute has, and that no lookup uses.
fn is_other(kind: u16) -> bool {
    matches!(
        kind,
        libc::RTA_IIF
            | libc::RTA_METRICS
            | libc::RTA_FLOW
            | libc::RTA_MARK..=libc::RTA_MFC_STATS
            | RTA_NEWDST
            | RTA_ENCAP_TYPE..=RTA_EXPIRES
            | RTA_UID..=RTA_DPORT
            | RTA_FLOWLABEL
    )
}

/// Is it a cached result of a lookup (`RTM_F_CLONED`), not an entry of a table?
pub(crate) fn is_cached(body: &[u8]) -> bool {
    let flags = body.get(8..).and_then(|rest| rest.first_chunk());
    flags.is_some_and(|flags| u32::from_ne_bytes(*flags) & RTM_F_CLONED != 0)
}

/// Is it a route of the kernel to IPv6 link-local addresses?
pub(crate) fn is_link_local(body: &[u8]) -> bool {
    let Ok((header, mut attributes)) = RouteHeader::split(body) else { return false };
    if (header.family, header.protocol) != (AF_INET6, libc::RTPROT_KERNEL) || header.dst_len < 10 {
        return false;
    }
    let dst = attributes.find_map(|attribute| attribute.ok().filter(|attribute| attribute.kind == libc::RTA_DST));
    dst.is_some_and(|dst| dst.value.starts_with(&[0xfe, 0x80]))
}

/// The message for a route; `kind` is `RTM_NEWROUTE` or `RTM_DELROUTE`. Attributes that are `other` are missing. Nothing if
/// a link does not exist any more.
pub(crate) fn write_route(route: &Route, links: &[Link], kind: u16) -> Option<Request> {
    let plain = RouteExtras::default();
    let extras = route.extras.as_deref().unwrap_or(&plain);
    let header = RouteHeader {
        family: family_of(route.family),
        dst_len: route.dst.prefix_len(),
        src_len: extras.src.map_or(0, |src| src.prefix_len()),
        tos: extras.tos,
        table: u8::try_from(route.table).unwrap_or(IN_ATTRIBUTE),
        protocol: route.protocol,
        scope: route.scope,
        kind: kind_number(extras.kind),
        flags: if route.onlink { RTNH_F_ONLINK } else { 0 },
    };
    let mut request = Request::new(kind, &header.bytes());
    let attributes = &mut request.attributes;
    attributes.add_u32(libc::RTA_TABLE, route.table);
    if route.dst.prefix_len() > 0 {
        attributes.add_address(libc::RTA_DST, route.dst.addr());
    }
    if let Some(src) = extras.src {
        attributes.add_address(libc::RTA_SRC, src.addr());
    }
    if let Some(prefsrc) = extras.prefsrc {
        attributes.add_address(libc::RTA_PREFSRC, prefsrc);
    }
    if route.metric != 0 {
        attributes.add_u32(libc::RTA_PRIORITY, route.metric);
    }
    if extras.preference != 0 {
        attributes.add(RTA_PREF, &[extras.preference]);
    }
    match extras.nexthop_id {
        // Gateway and interface are those of the nexthop object: the kernel rejects both together.
        Some(id) => attributes.add_u32(RTA_NH_ID, id),
        None => write_ways(route, extras, links, attributes)?,
    }
    Some(request)
}

fn write_ways(route: &Route, extras: &RouteExtras, links: &[Link], attributes: &mut Attached) -> Option<()> {
    if let Some(gateway) = route.gateway {
        write_gateway(gateway, route.family, attributes);
    }
    if let Some(dev) = &route.dev {
        attributes.add_u32(libc::RTA_OIF, index_of(dev, links)?);
    }
    let mut nexthops = Attached::default();
    for nexthop in &extras.nexthops {
        let mut own = Attached::default();
        if let Some(gateway) = nexthop.gateway {
            write_gateway(gateway, route.family, &mut own);
        }
        let index = match &nexthop.dev {
            Some(dev) => index_of(dev, links)?,
            None => 0,
        };
        let flags = if nexthop.onlink { RTNH_F_ONLINK as u8 } else { 0 };
        // The kernel counts from 0, in a byte.
        let hops = u8::try_from(nexthop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
        nexthops.add_nexthop(flags, hops, index, &own);
    }
    if !extras.nexthops.is_empty() {
        attributes.add(libc::RTA_MULTIPATH, nexthops.bytes());
    }
    Some(())
}

fn write_gateway(gateway: IpAddr, family: Family, attributes: &mut Attached) {
    match gateway.is_ipv6() == (family == Family::Inet6) {
        true => attributes.add_address(libc::RTA_GATEWAY, gateway),
        false => attributes.add_via(RTA_VIA, gateway),
    }
}
