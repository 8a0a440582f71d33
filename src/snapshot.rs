//! What the kernel has: links, addresses, rules and routes, as plain values in iproute2's terms.
//!
//! `kernel` fills it; tests write it by hand. What symroute makes is a plain rule or a plain unicast route; what
//! else a foreign one has is apart in `more`, so that it never equals one of ours, and a server with a hundred
//! thousand plain routes pays nothing for it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use crate::interfaces::Family;

/// The protocol number of everything that symroute makes: `symroute` in rt_protos.d. Whatever carries
/// another one is never touched.
pub const PROTOCOL: u8 = 97;
/// The table `main`.
pub const MAIN: u32 = 254;
/// The table `local`: the addresses of the host.
pub const LOCAL: u32 = 255;
/// Metric of an IPv6 route that names none (`IP6_RT_PRIO_USER`, include/net/ip6_route.h).
pub const INET6_METRIC: u32 = 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub rules: Vec<Rule>,
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Its alternative names (`ip link property`): iproute2 takes them for the name.
    pub altnames: Vec<String>,
    /// Administratively up (`IFF_UP`); a missing carrier does not matter.
    pub up: bool,
    /// What `suppress_ifgroup` looks at.
    pub group: u32,
    /// A VRF, or a member of one.
    pub vrf: bool,
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
    /// Duplicate address detection failed: the kernel has it, and does not use it (ip-address(8), `dadfailed`).
    pub duplicate: bool,
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
    /// A route of the table through an interface of this group does not count.
    pub suppress_ifgroup: Option<u32>,
    pub protocol: u8,
    /// It has selectors or actions beyond these: no rule of ours.
    pub more: Option<Box<RuleMore>>,
}

/// What a rule can have beside what symroute's have (linux/fib_rules.h, ip-rule(8)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleMore {
    pub action: Action,
    /// The rule is for what its selectors do not match.
    pub not: bool,
    pub dst: Option<IpNet>,
    /// `lo` stands for what the host itself sends.
    pub iif: Option<String>,
    pub tos: u8,
    /// DSCP and mask (`FRA_DSCP`).
    pub dscp: Option<(u8, u8)>,
    /// The packet comes out of a tunnel, with this number.
    pub tun_id: Option<u64>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    pub uids: Option<(u32, u32)>,
    pub ip_protocol: Option<u8>,
    pub sports: Option<(u16, u16)>,
    pub dports: Option<(u16, u16)>,
    /// The table of the VRF that the packet is of.
    pub l3mdev: bool,
    /// Realms, which no lookup looks at.
    pub realms: bool,
    /// Selectors that symroute does not know.
    pub unknown: bool,
}

/// `FR_ACT_*` (linux/fib_rules.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    #[default]
    Lookup,
    /// The priority of a rule further down.
    Goto(u32),
    Nop,
    Blackhole,
    Unreachable,
    Prohibit,
    /// The kernel takes it for a blackhole.
    Other(u8),
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
    pub more: Option<Box<RouteMore>>,
    pub state: State,
}

/// What a route can have beside what symroute's have (linux/rtnetlink.h, ip-route(8)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteMore {
    pub kind: Kind,
    pub tos: u8,
    /// inet6: only for packets from here.
    pub src: Option<IpNet>,
    pub prefsrc: Option<IpAddr>,
    /// Where there are several; then the route itself has neither gateway nor device.
    pub nexthops: Vec<Nexthop>,
    /// The number of a nexthop object (ip-nexthop(8)).
    pub nexthop_id: Option<u32>,
    /// inet6: the router preference of RFC 4191, `ICMPV6_ROUTER_PREF_*`: 0 medium, 1 high, 3 low.
    pub preference: u8,
    /// Attributes that no lookup looks at: MTU, realms, encapsulation.
    pub other: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nexthop {
    pub gateway: Option<IpAddr>,
    pub dev: Option<String>,
    pub weight: u32,
    pub onlink: bool,
    pub state: State,
}

/// What becomes of a route as links come and go. It is no part of what was asked for: a route is the same in
/// every state, so any two states compare as equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    /// No lookup takes it: its link is gone, or down and `ignore_routes_with_linkdown` is set.
    pub dead: bool,
    /// Its link has no carrier.
    pub linkdown: bool,
}

impl PartialEq for State {
    fn eq(&self, _: &State) -> bool {
        true
    }
}

impl Eq for State {}

impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &State) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for State {
    fn cmp(&self, _: &State) -> std::cmp::Ordering {
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

/// What a route lookup is asked: which way a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Nothing for a socket that is not bound to an address.
    pub from: Option<IpAddr>,
    pub to: IpAddr,
    /// The packet comes in by this device; nothing where the host itself sends it.
    pub iif: Option<String>,
    /// The device that the socket is bound to.
    pub oif: Option<String>,
    pub mark: u32,
    /// Whose socket it is; of no matter for what comes in.
    pub uid: u32,
    /// `IPPROTO_*`; the kernel answers for 1, 6, 17 and 58 alone.
    pub ip_protocol: u8,
    /// 0 matches no rule that names ports.
    pub sport: u16,
    pub dport: u16,
}

impl Query {
    /// A UDP packet of root's, as the kernel takes it when nothing else is said.
    pub fn to(to: IpAddr) -> Query {
        Query { from: None, to, iif: None, oif: None, mark: 0, uid: 0, ip_protocol: 17, sport: 0, dport: 0 }
    }

    pub fn family(&self) -> Family {
        if self.to.is_ipv6() { Family::Inet6 } else { Family::Inet }
    }
}

/// What the kernel says to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Route(Way),
    /// ENETUNREACH no route, or a rule 'unreachable'; EHOSTUNREACH a route 'unreachable'; EACCES 'prohibit';
    /// EINVAL 'blackhole', or a received packet that its source check drops.
    Refused(Errno),
}

/// Which way a packet goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    pub kind: Kind,
    /// 0 where the kernel took no route from a table.
    pub table: u32,
    /// Of what is for the host itself, the kernel says `lo`.
    pub dev: Option<String>,
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel chose, where it had to choose one.
    pub source: Option<IpAddr>,
}

/// What a lookup depends on beside rules and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// inet: `forwarding` of the device that it comes in by; inet6: of the host (`net.ipv6.conf.all`).
    pub forwards: bool,
    /// inet6: neighbours that do not answer (device and address); a host that does not forward prefers other routers.
    pub failed: Vec<(String, IpAddr)>,
}

/// `RT_SCOPE_LINK` (rtnetlink(7)).
pub const SCOPE_LINK: u8 = 253;

impl Rule {
    pub fn is_ours(&self) -> bool {
        let sent_by_host = RuleMore { iif: Some("lo".into()), ..RuleMore::default() };
        self.protocol == PROTOCOL && self.more.as_ref().is_none_or(|more| **more == sent_by_host)
    }

    /// The same rule, whoever made it.
    pub fn same_as(&self, other: &Rule) -> bool {
        let Rule { family, priority, src, oif, table, suppress_prefixlen, suppress_ifgroup, protocol: _, more } = self;
        (family, priority, table, src) == (&other.family, &other.priority, &other.table, &other.src)
            && (suppress_prefixlen, suppress_ifgroup) == (&other.suppress_prefixlen, &other.suppress_ifgroup)
            && (oif, more) == (&other.oif, &other.more)
    }
}

impl Route {
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL && self.more.is_none()
    }

    /// The same route, whoever made it.
    pub fn same_as(&self, other: &Route) -> bool {
        let Route { family, table, dst, gateway, dev, scope, metric, onlink, protocol: _, more, state: _ } = self;
        // The table first: a server may have a hundred thousand routes, and they are gone through for each of ours.
        (table, family, dst) == (&other.table, &other.family, &other.dst)
            && (metric, scope, onlink, gateway) == (&other.metric, &other.scope, &other.onlink, &other.gateway)
            && (dev, more) == (&other.dev, &other.more)
    }

    pub fn kind(&self) -> Kind {
        self.more.as_ref().map_or(Kind::Unicast, |more| more.kind)
    }

    /// Does it, or one of its nexthops, leave through the interface?
    pub fn is_through(&self, interface: &str) -> bool {
        let nexthops = self.more.iter().flat_map(|more| &more.nexthops).map(|nexthop| &nexthop.dev);
        [&self.dev].into_iter().chain(nexthops).any(|dev| dev.as_deref() == Some(interface))
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

/// The kernel's name of the interface that has this name or altname; the name itself where there is none.
pub fn kernel_name<'a>(links: &'a [Link], name: &'a str) -> &'a str {
    let by_altname = || links.iter().find(|link| link.altnames.iter().any(|altname| altname == name));
    let by_name = links.iter().find(|link| link.name == name);
    by_name.or_else(by_altname).map_or(name, |link| &link.name)
}

/// A source or destination as iproute2 writes it: without the length of a whole address.
pub fn prefix(net: &IpNet) -> String {
    match net {
        _ if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        _ => net.to_string(),
    }
}

/// `0x12`, or `0x10/0x3c`: of six bits.
pub fn dscp_text((value, mask): (u8, u8)) -> String {
    if mask >= 0x3f { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

/// As `ip rule add` and `ip rule del` take it, without the protocol.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = RuleMore::default();
        let more = self.more.as_deref().unwrap_or(&plain);
        let mut words: Vec<String> = Vec::new();
        words.extend(more.not.then(|| "not".to_string()));
        if self.src.is_some() || self.oif.is_none() {
            words.push(format!("from {}", self.src.as_ref().map_or("all".into(), prefix)));
        }
        words.extend(more.dst.as_ref().map(|dst| format!("to {}", prefix(dst))));
        words.extend((more.tos != 0).then(|| format!("tos {:#x}", more.tos)));
        words.extend(more.dscp.map(dscp_text).map(|dscp| format!("dscp {dscp}")));
        words.extend(more.mark.map(|(mark, mask)| match mask {
            u32::MAX => format!("fwmark {mark:#x}"),
            mask => format!("fwmark {mark:#x}/{mask:#x}"),
        }));
        words.extend(more.iif.as_ref().map(|iif| format!("iif {iif}")));
        words.extend(self.oif.as_ref().map(|oif| format!("oif {oif}")));
        words.extend(more.tun_id.map(|id| format!("tun_id {id}")));
        words.extend(more.uids.map(|(first, last)| format!("uidrange {first}-{last}")));
        words.extend(more.ip_protocol.map(|protocol| format!("ipproto {protocol}")));
        words.extend(more.sports.map(|(first, last)| format!("sport {first}-{last}")));
        words.extend(more.dports.map(|(first, last)| format!("dport {first}-{last}")));
        words.push(match more.action {
            Action::Lookup if more.l3mdev => "l3mdev".into(),
            Action::Lookup if self.table == MAIN => "table main".into(),
            Action::Lookup if self.table == LOCAL => "table local".into(),
            Action::Lookup => format!("table {}", self.table),
            Action::Goto(target) => format!("goto {target}"),
            Action::Nop => "nop".into(),
            Action::Unreachable => "unreachable".into(),
            Action::Prohibit => "prohibit".into(),
            Action::Blackhole | Action::Other(_) => "blackhole".into(),
        });
        words.push(format!("priority {}", self.priority));
        words.extend(self.suppress_prefixlen.map(|length| format!("suppress_prefixlength {length}")));
        words.extend(self.suppress_ifgroup.map(|group| format!("suppress_ifgroup {group}")));
        f.write_str(&words.join(" "))
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
