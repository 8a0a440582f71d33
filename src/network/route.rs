//! Routes (ip-route(8)).
//!
//! symroute adds plain unicast routes. Further attributes of foreign routes are in `extras`, so that a hundred thousand
//! plain routes need no memory for them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::family::Family;
use super::prefixes::order;
use crate::commands::tables::table_name;

/// The protocol number of all entries that symroute adds: `symroute` in rt_protos.d. Entries with another protocol are
/// foreign and never changed.
pub const PROTOCOL: u8 = 97;
/// `RTPROT_DHCP` (linux/rtnetlink.h): routes of dhcpcd and systemd-networkd. They change with the lease, and each interface
/// has another metric.
pub const PROTOCOL_DHCP: u8 = 16;
/// Metric of an IPv6 route that is added without one (`IP6_RT_PRIO_USER`, include/net/ip6_route.h).
pub const INET6_METRIC: u32 = 1024;

/// `RT_SCOPE_LINK` (rtnetlink(7)).
pub const SCOPE_LINK: u8 = 253;

/// A route's table, destination (family, address and length) and metric: to compare these numbers is fast.
pub type RouteKey = (u32, (Family, u128, u8), u32);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub family: Family,
    pub table: u32,
    pub dst: IpNet,
    pub gateway: Option<IpAddr>,
    pub dev: Option<String>,
    /// `RT_SCOPE_*` (rtnetlink(7)): 0 universe, 253 link.
    pub scope: u8,
    pub metric: u32,
    pub onlink: bool,
    pub protocol: u8,
    /// For routes that are not plain unicast routes.
    pub extras: Option<Box<RouteExtras>>,
    pub state: RouteState,
}

/// Attributes of a route that symroute does not use itself (linux/rtnetlink.h, ip-route(8)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteExtras {
    pub kind: Kind,
    pub tos: u8,
    /// IPv6: only for packets from this network.
    pub src: Option<IpNet>,
    pub prefsrc: Option<IpAddr>,
    /// If there are several; the route itself then has neither gateway nor interface.
    pub nexthops: Vec<Nexthop>,
    /// The number of a nexthop object (ip-nexthop(8)).
    pub nexthop_id: Option<u32>,
    /// IPv6: the router preference of RFC 4191, `ICMPV6_ROUTER_PREF_*`: 0 medium, 1 high, 3 low.
    pub preference: u8,
    /// It has attributes that no lookup uses: MTU, realms, encapsulation.
    pub other: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nexthop {
    pub gateway: Option<IpAddr>,
    pub dev: Option<String>,
    pub weight: u32,
    pub onlink: bool,
    pub state: RouteState,
}

/// The state of a route, which depends on its link. It does not belong to the configuration of the route: all states
/// compare as equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteState {
    /// No lookup uses it: its link is missing, or down with `ignore_routes_with_linkdown`.
    pub dead: bool,
    /// Its link has no carrier.
    pub linkdown: bool,
}

impl PartialEq for RouteState {
    fn eq(&self, _: &RouteState) -> bool {
        true
    }
}

impl Eq for RouteState {}

impl std::hash::Hash for RouteState {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialOrd for RouteState {
    fn partial_cmp(&self, other: &RouteState) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RouteState {
    fn cmp(&self, _: &RouteState) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// `RTN_*` (rtnetlink(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    #[default]
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
    Other(u8),
}

impl Kind {
    /// iproute2's name, or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unicast => "unicast",
            Kind::Local => "local",
            Kind::Broadcast => "broadcast",
            Kind::Anycast => "anycast",
            Kind::Multicast => "multicast",
            Kind::Blackhole => "blackhole",
            Kind::Unreachable => "unreachable",
            Kind::Prohibit => "prohibit",
            Kind::Throw => "throw",
            Kind::Other(_) => "unknown",
        }
    }
}

impl Route {
    /// Added by symroute, according to its protocol.
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    /// The same route, whoever added it.
    pub fn same_as(&self, other: &Route) -> bool {
        let Route { family, table, dst, gateway, dev, scope, metric, onlink, protocol: _, extras, state: _ } = self;
        // The table first, for speed: a server may have a hundred thousand routes.
        (table, family, dst) == (&other.table, &other.family, &other.dst)
            && (metric, scope, onlink, gateway) == (&other.metric, &other.scope, &other.onlink, &other.gateway)
            && (dev, extras) == (&other.dev, &other.extras)
    }

    pub fn kind(&self) -> Kind {
        self.extras.as_ref().map_or(Kind::Unicast, |extras| extras.kind)
    }

    /// Does it, or one of its nexthops, use the interface?
    pub fn is_through(&self, interface: &str) -> bool {
        let nexthops = self.extras.iter().flat_map(|extras| &extras.nexthops).map(|nexthop| &nexthop.dev);
        [&self.dev].into_iter().chain(nexthops).any(|dev| dev.as_deref() == Some(interface))
    }

    /// The key of a route in the kernel: a second one needs another metric.
    pub fn key(&self) -> RouteKey {
        (self.table, order(&self.dst), self.metric)
    }
}

/// The IPv4 link-local network (RFC 3927): its hosts are on one link, and no address of an uplink replies to them. A
/// part of it, such as a cloud's 169.254.169.254/32, is a network like others.
pub fn is_ipv4_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(net) if net.network().is_link_local() && net.prefix_len() == 16)
}

/// Can a host on a link have the address, so that it is a gateway?
pub fn is_host(address: IpAddr) -> bool {
    let is_special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !is_special && !matches!(address, IpAddr::V4(address) if address.is_broadcast() || address.octets()[0] == 0)
}

/// A source or destination as iproute2 writes it: without the length of a whole address.
pub fn prefix(net: &IpNet) -> String {
    match net {
        _ if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        _ => net.to_string(),
    }
}

/// As `ip route add` accepts it, without the protocol.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dst.prefix_len() {
            0 => write!(f, "default")?,
            _ => write!(f, "{}", prefix(&self.dst))?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.onlink {
            write!(f, " onlink")?;
        }
        if self.scope == SCOPE_LINK && self.family == Family::Inet {
            write!(f, " scope link")?;
        }
        // Of foreign routes, the source selects no route.
        if let Some(prefsrc) = self.extras.as_ref().and_then(|extras| extras.prefsrc).filter(|_| self.is_ours()) {
            write!(f, " src {prefsrc}")?;
        }
        write!(f, " table {}", table_name(self.table))
    }
}
