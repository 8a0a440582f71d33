//! What the kernel has: links, addresses, rules and routes, as plain values in iproute2's terms.
//!
//! `kernel` fills it; tests write it by hand. Only the rules and routes that symroute could have made are
//! held whole; of the others just what it takes to keep out of their way.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::interfaces::Family;

/// The protocol number of everything that symroute makes: `symroute` in rt_protos.d. Whatever carries
/// another one is never touched.
pub const PROTOCOL: u8 = 97;
/// The table `main`.
pub const MAIN: u32 = 254;
/// Metric of an IPv6 route that names none (`IP6_RT_PRIO_USER`, include/net/ip6_route.h).
pub const INET6_METRIC: u32 = 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub rules: Vec<Rule>,
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Administratively up (`IFF_UP`); a missing carrier does not matter.
    pub up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub dev: String,
    /// With the prefix length of the on-link network; the host bits are the address.
    pub net: IpNet,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Scope below global: loopback and link-local addresses.
    pub local: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    /// Nothing for `from all`.
    pub src: Option<IpNet>,
    pub oif: Option<String>,
    pub table: u32,
    pub suppress_prefixlen: Option<u32>,
    pub protocol: u8,
    /// It has selectors or actions beyond these: no rule of ours.
    pub more: bool,
}

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
    /// Not a plain unicast route, or with attributes beyond these: no route of ours.
    pub more: bool,
}

/// `RT_SCOPE_LINK` (rtnetlink(7)).
pub const SCOPE_LINK: u8 = 253;

impl Rule {
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL && !self.more
    }

    /// The same rule, whoever made it.
    pub fn same_as(&self, other: &Rule) -> bool {
        let protocol = other.protocol;
        Rule { protocol, ..self.clone() } == *other
    }
}

impl Route {
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL && !self.more
    }

    pub fn same_as(&self, other: &Route) -> bool {
        let protocol = other.protocol;
        Route { protocol, ..self.clone() } == *other
    }

    /// What the kernel takes for the identity of a route: a second one needs another metric.
    pub fn key(&self) -> (Family, u32, IpNet, u32) {
        (self.family, self.table, self.dst, self.metric)
    }
}

impl Snapshot {
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

/// A source or destination as iproute2 writes it: without the length of a whole address.
pub fn prefix(net: &IpNet) -> String {
    match net {
        _ if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        _ => net.to_string(),
    }
}

/// As `ip rule add` and `ip rule del` take it, without the protocol.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.src, &self.oif) {
            (Some(src), _) => write!(f, "from {}", prefix(src))?,
            (None, Some(oif)) => write!(f, "oif {oif}")?,
            (None, None) => write!(f, "from all")?,
        }
        if let (Some(_), Some(oif)) = (&self.src, &self.oif) {
            write!(f, " oif {oif}")?;
        }
        match self.table {
            MAIN => write!(f, " table main")?,
            table => write!(f, " table {table}")?,
        }
        write!(f, " priority {}", self.priority)?;
        match self.suppress_prefixlen {
            Some(length) => write!(f, " suppress_prefixlength {length}"),
            None => Ok(()),
        }
    }
}

/// As `ip route add` takes it, without the protocol.
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
        write!(f, " table {}", self.table)
    }
}
