//! Which ways are asked for, and what the right answers are: every local address against a distant address,
//! its gateway and every network of the host, bound to the source, to the device and to nothing; and what
//! comes in from there.
//!
//! The right answers follow from the uplinks and from main alone, not from the rules that symroute makes: what
//! belongs to an uplink leaves by it, what main knows a way to goes there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::interfaces::Family;
use crate::policy::layout::NEARLY_DEFAULT;
use crate::policy::networks::is_private;
use crate::policy::numbers::SLOT;
use crate::policy::{Plan, Policy};
use crate::snapshot::{Kind, MAIN, Query, Route, Snapshot};
use crate::uplinks::{Layout, Uplink};

/// More networks than this in main (a router with the Internet's table) are not all tried.
const MOST_NETWORKS: usize = 256;

/// What a lookup's destination is to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Somewhere on the Internet.
    Distant,
    /// The same, for an address of the uplink's network that another link has: no rule of symroute's is for it.
    Elsewhere,
    /// The uplink's own gateway.
    Gateway,
    /// A neighbour on the uplink's own network.
    Neighbour(IpNet),
    /// A host in another uplink's network.
    Provider(IpNet),
    /// A host in a LAN, VPN or container network: anything that main has a way to.
    Local(IpNet),
    /// Somewhere that a rule of somebody else's, or a route in the uplink's table, names.
    Named(IpNet),
}

impl Target {
    /// The network, if main has a way to it.
    pub fn local(&self) -> Option<IpNet> {
        if let Target::Local(net) = self { Some(*net) } else { None }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Target::Distant | Target::Elsewhere => "distant",
            Target::Gateway => "gateway",
            Target::Neighbour(_) => "neighbour",
            Target::Provider(_) => "other uplink's network",
            Target::Local(_) => "local network",
            Target::Named(_) => "named by others",
        }
    }
}

/// What a right answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Some route.
    Routable,
    /// This link, by whatever gateway.
    Dev(String),
    /// This link and gateway; without one, straight to the neighbour.
    Way(String, Option<IpAddr>),
    /// Any link but these, or none: somebody may lead it into a tunnel, or refuse it.
    NotBy(Vec<String>),
    /// What comes in is taken in.
    Delivered,
}

/// One lookup and its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Index into `Plan::uplinks`; nothing for what belongs to none.
    pub uplink: Option<usize>,
    pub target: Target,
    pub query: Query,
    pub expected: Expected,
}

/// The networks that main has ways to, but for the default route and its halves.
struct Networks<'a>(BTreeMap<IpNet, &'a Route>);

impl<'a> Networks<'a> {
    fn new(snapshot: &'a Snapshot, family: Family) -> Self {
        let mut best: BTreeMap<IpNet, &Route> = BTreeMap::new();
        let is_up = |route: &Route| {
            let dev = route.dev.as_deref().and_then(|dev| snapshot.link(dev));
            dev.is_some_and(|link| link.up && link.name != "lo")
        };
        let in_main = snapshot.routes.iter().filter(|route| route.table == MAIN && route.family == family);
        for route in in_main.filter(|route| !is_nearly_default(&route.dst) && !is_link_local(&route.dst.addr())) {
            if route.kind() == Kind::Unicast && is_up(route) {
                let known = best.entry(route.dst).or_insert(route);
                if route.metric < known.metric {
                    *known = route;
                }
            }
        }
        Networks(best)
    }

    /// The way that main has to an address.
    fn way(&self, to: &IpAddr) -> Option<&'a Route> {
        let lengths = (0..=if to.is_ipv4() { 32 } else { 128 }).rev();
        lengths.filter_map(|length| IpNet::new(*to, length).ok()).find_map(|net| self.0.get(&net.trunc()).copied())
    }

    /// A host in the network that is not this one, and in no network within it.
    fn host_in(&self, net: &IpNet, own: &HashSet<IpAddr>) -> Option<IpAddr> {
        let free = |host: &IpAddr| !own.contains(host) && self.way(host).is_none_or(|route| route.dst.contains(net));
        let hosts = (0..64).filter_map(|offset| plus(net.network(), offset));
        let ends = |host: &IpAddr| *host == net.network() || *host == net.broadcast();
        let wide = net.max_prefix_len() - net.prefix_len() > 1;
        hosts.take_while(|host| net.contains(host)).filter(|host| !wide || !ends(host)).find(free)
    }
}

fn plus(address: IpAddr, offset: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(offset.into()).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(offset.into()).map(|n| IpAddr::V6(n.into())),
    }
}

fn is_nearly_default(net: &IpNet) -> bool {
    let longest = NEARLY_DEFAULT[usize::from(net.addr().is_ipv6())];
    u32::from(net.prefix_len()) <= longest
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast())
}

/// An address outside every network that the host knows, to stand for the Internet. Nothing is sent there.
fn distant(plan: &Plan, snapshot: &Snapshot, networks: &Networks, family: Family) -> Option<IpAddr> {
    let unknown = |address: &IpAddr| {
        let on_host = snapshot.addresses.iter().any(|known| known.net.contains(address));
        let gateway = plan.uplinks.iter().any(|uplink| uplink.gateway == Some(*address));
        networks.way(address).is_none() && !on_host && !gateway && !named(snapshot, address)
    };
    match family {
        // Documentation networks (RFC 5737), then the first host of every other one.
        Family::Inet => {
            let documentation = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];
            let documentation = documentation.into_iter().flat_map(|[a, b, c]| [1, 65, 129, 193].map(|d| [a, b, c, d]));
            let others = (1..=223).filter(|n| *n != 127).map(|n| [n, 0, 0, 1]);
            documentation.chain(others).map(IpAddr::from).find(unknown)
        }
        // Documentation (RFC 3849), then the same host in other parts of 2000::/3.
        _ => (0x2001..0x2400u16).map(|n| IpAddr::from([n, 0xdb8, 0xffff, 0, 0, 0, 0, 1])).find(unknown),
    }
}

/// Does a rule or a route of any table say something about just this part of the Internet? (Blackholes for
/// networks that nobody should come from are common.)
fn named(snapshot: &Snapshot, address: &IpAddr) -> bool {
    let names = |dst: &IpNet| !is_nearly_default(dst) && dst.contains(address);
    snapshot.routes.iter().any(|route| names(&route.dst))
        || snapshot.rules.iter().any(|rule| rule.more.as_ref().is_some_and(|more| more.dst.iter().any(names)))
}

/// Destinations that somebody's rules name before symroute's are asked: no lookup for others meets such a rule.
fn named_by_rules(snapshot: &Snapshot, family: Family, before: u32) -> BTreeSet<IpNet> {
    let rules = snapshot.rules.iter().filter(|rule| rule.family == family && rule.priority < before);
    let dst = rules.filter_map(|rule| rule.more.as_ref()?.dst);
    dst.filter(|dst| !is_nearly_default(dst) && !is_link_local(&dst.addr())).collect()
}

/// All lookups for the uplinks that are up. `to` replaces the distant addresses.
pub fn probes(plan: &Plan, snapshot: &Snapshot, to: &[IpAddr]) -> Vec<Probe> {
    let mut probes = Vec::new();
    let own: HashSet<IpAddr> = snapshot.addresses.iter().map(|address| address.net.addr()).collect();
    for family in [Family::Inet, Family::Inet6] {
        let uplinks: Vec<usize> = (0..plan.uplinks.len())
            .filter(|at| plan.uplinks[*at].family == family && plan.uplinks[*at].up)
            .filter(|at| plan.uplinks[*at].wish.enabled != Some(false))
            .collect();
        if uplinks.is_empty() {
            continue;
        }
        let networks = Networks::new(snapshot, family);
        let asked = to.iter().copied().find(|to| to.is_ipv6() == (family == Family::Inet6));
        let distant = asked.or_else(|| distant(plan, snapshot, &networks, family));
        let last = uplinks.iter().filter_map(|at| plan.policy(*at)).map(|policy| policy.priority + SLOT).max();
        let by_rules = named_by_rules(snapshot, family, last.unwrap_or(0));
        let hosts: Vec<(IpNet, IpAddr)> = networks
            .0
            .keys()
            .take(MOST_NETWORKS)
            .chain(by_rules.iter().take(MOST_NETWORKS))
            .filter_map(|net| Some((*net, networks.host_in(net, &own)?)))
            .collect();
        let of_host = OfHost { plan, snapshot, networks, hosts, distant, own: &own };
        for at in &uplinks {
            of_host.uplink(*at, &mut probes);
        }
        of_host.elsewhere(&uplinks, family, &mut probes);
        of_host.unbound(family, &mut probes);
    }
    probes
}

/// What the lookups of one family share.
struct OfHost<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    networks: Networks<'a>,
    hosts: Vec<(IpNet, IpAddr)>,
    distant: Option<IpAddr>,
    own: &'a HashSet<IpAddr>,
}

impl OfHost<'_> {
    fn uplink(&self, at: usize, probes: &mut Vec<Probe>) {
        let it = &self.plan.uplinks[at];
        let policy = self.plan.policy(at);
        let targets = self.targets(it, policy);
        // The same for every address; an uplink may have thousands.
        let ways: Vec<_> = targets.iter().map(|(target, to)| (target, to, self.right_way(it, *target, to))).collect();
        let probe = |target, query, expected| Probe { uplink: Some(at), target, query, expected };
        // Every address that the kernel has and that belongs here, secondary ones included.
        for source in it.sources.iter().map(|source| source.net.addr()) {
            for (target, to, (dev, gateway)) in &ways {
                // What neighbours and networks send comes in where answers to them go out.
                if it.family == Family::Inet && !matches!(target, Target::Named(_)) {
                    let query = Query { from: Some(**to), iif: Some(dev.clone()), ..Query::to(source) };
                    probes.push(probe(**target, query, Expected::Delivered));
                }
                let query = Query { from: Some(source), ..Query::to(**to) };
                let expected = match target {
                    Target::Named(_) => Expected::NotBy(self.other_links(it)),
                    _ => Expected::Way(dev.clone(), *gateway),
                };
                probes.push(probe(**target, query, expected));
            }
        }
        if policy.is_some_and(|policy| policy.layout == Layout::Layered) {
            let same_device =
                |other: &&Uplink| other.interface == it.interface && other.family == it.family && other.up;
            let shared = self.plan.uplinks.iter().filter(same_device).count() > 1;
            for (target, to) in targets.iter().filter(|(target, _)| !matches!(target, Target::Named(_))) {
                let query = Query { oif: Some(it.interface.clone()), ..Query::to(*to) };
                let expected = match target {
                    Target::Distant if !shared => {
                        let near = it.on_link().iter().any(|net| net.contains(to));
                        Expected::Way(it.interface.clone(), it.gateway.filter(|_| !near))
                    }
                    Target::Neighbour(_) if !shared => Expected::Way(it.interface.clone(), None),
                    _ => Expected::Dev(it.interface.clone()),
                };
                probes.push(probe(*target, query, expected));
            }
        }
    }

    /// Addresses that lie in the network of one uplink alone, but on another link (`lo`, a bridge).
    fn elsewhere(&self, uplinks: &[usize], family: Family, probes: &mut Vec<Probe>) {
        let of_family = || self.plan.uplinks.iter().enumerate().filter(|(_, uplink)| uplink.family == family);
        let theirs: HashSet<IpAddr> =
            of_family().flat_map(|(_, uplink)| &uplink.sources).map(|source| source.net.addr()).collect();
        let networks: Vec<(usize, IpNet)> = of_family()
            .flat_map(|(at, uplink)| uplink.provider_networks().into_iter().map(move |net| (at, net)))
            .collect();
        let Some(to) = self.distant else { return };
        for address in self.snapshot.addresses.iter().filter(|address| !address.local) {
            let from = address.net.addr();
            // A smaller network of its own (a VPN inside 10.0.0.0/8) is not the provider's.
            let (length, most) = (address.net.prefix_len(), address.net.max_prefix_len());
            let has = |net: &IpNet| net.contains(&from) && (length == most || length <= net.prefix_len());
            let of: BTreeSet<usize> = networks.iter().filter(|(_, net)| has(net)).map(|(at, _)| *at).collect();
            let is_up = self.snapshot.link(&address.dev).is_some_and(|link| link.up);
            let (Some(at), 1, true, false) = (of.first(), of.len(), is_up, theirs.contains(&from)) else { continue };
            let it = &self.plan.uplinks[*at];
            if !uplinks.contains(at) || self.plan.policy(*at).is_none() || it.interface == address.dev {
                continue;
            }
            let (dev, gateway) = self.right_way(it, Target::Elsewhere, &to);
            let (query, expected) = (Query { from: Some(from), ..Query::to(to) }, Expected::Way(dev, gateway));
            probes.push(Probe { uplink: Some(*at), target: Target::Elsewhere, query, expected });
        }
    }

    /// What an address of this uplink has to reach. Policy that is not ours is held to less.
    fn targets(&self, it: &Uplink, policy: Option<&Policy>) -> Vec<(Target, IpAddr)> {
        let mut targets: Vec<(Target, IpAddr)> = self.distant.map(|to| (Target::Distant, to)).into_iter().collect();
        let gateway = it.gateway.filter(|gateway| !is_link_local(gateway));
        targets.extend(gateway.map(|gateway| (Target::Gateway, gateway)));
        let on_link = it.on_link();
        let kind_of = |net: &IpNet, host: &IpAddr| {
            let provider = || {
                let others = self.plan.uplinks.iter().filter(|other| other.family == it.family);
                others.flat_map(Uplink::provider_networks).any(|other| other.contains(host))
            };
            match () {
                () if self.is_within(it, host) => Target::Local(*net),
                () if on_link.iter().any(|own| own.contains(host)) => Target::Neighbour(*net),
                () if self.networks.way(host).is_some_and(|route| !self.is_by_uplink(route)) => Target::Local(*net),
                () if provider() && !self.is_private_to(it, host) => Target::Provider(*net),
                () if self.networks.way(host).is_some() => Target::Local(*net),
                () => Target::Named(*net),
            }
        };
        let Some(policy) = policy else {
            let hosts = self.hosts.iter().map(|(net, host)| (kind_of(net, host), *host));
            targets.extend(hosts.filter(|(target, _)| matches!(target, Target::Neighbour(_))));
            return targets;
        };
        targets.extend(self.hosts.iter().map(|(net, host)| (kind_of(net, host), *host)));
        // Somebody's routes in this table.
        let in_table = self.snapshot.routes.iter().filter(|route| {
            let ours = route.is_ours() || policy.routes.iter().any(|placed| route.same_as(&placed.item));
            route.table == policy.table && route.family == it.family && !ours
        });
        for route in in_table.filter(|route| !is_nearly_default(&route.dst)).take(MOST_NETWORKS) {
            let Some(host) = self.networks.host_in(&route.dst, self.own) else { continue };
            let target = match (kind_of(&route.dst, &host), route.kind()) {
                (Target::Named(net), Kind::Unicast) => Target::Named(net),
                (Target::Named(_), _) => Target::Distant,
                (known, _) => known,
            };
            if !targets.iter().any(|(_, known)| *known == host) {
                targets.push((target, host));
            }
        }
        targets
    }

    /// Is the address in the uplink's own network, but main has a way of its own to it, by a link that is no
    /// uplink's? (A provider's address that a virtual machine has.)
    fn is_within(&self, it: &Uplink, host: &IpAddr) -> bool {
        let Some(route) = self.networks.way(host) else { return false };
        let uplinks = self.plan.uplinks.iter().filter(|other| other.family == it.family);
        let on_link = it.on_link();
        let mut own = on_link.iter().filter(|net| net.contains(host));
        own.any(|net| route.dst.prefix_len() > net.prefix_len())
            && !uplinks.map(|other| &other.interface).any(|link| Some(link) == route.dev.as_ref())
    }

    fn is_by_uplink(&self, route: &Route) -> bool {
        self.plan
            .uplinks
            .iter()
            .any(|other| other.family == route.family && Some(&other.interface) == route.dev.as_ref())
    }

    fn is_behind_gateway(&self, route: &Route) -> bool {
        let same = |other: &Uplink| Some(&other.interface) == route.dev.as_ref() && other.gateway == route.gateway;
        route.gateway.is_some() && self.plan.uplinks.iter().any(same)
    }

    /// A private network of another uplink, which the uplink's own provider has no route to.
    fn is_private_to(&self, it: &Uplink, host: &IpAddr) -> bool {
        is_private(&(*host).into()) && !it.gateway.is_some_and(|gateway| is_private(&gateway.into()))
    }

    /// The links of the other uplinks.
    fn other_links(&self, it: &Uplink) -> Vec<String> {
        let others = self.plan.uplinks.iter().filter(|other| other.family == it.family);
        let links: BTreeSet<&String> = others.map(|other| &other.interface).collect();
        links.into_iter().filter(|link| **link != it.interface).cloned().collect()
    }

    /// The link and the gateway by which an address of the uplink has to answer.
    fn right_way(&self, it: &Uplink, target: Target, to: &IpAddr) -> (String, Option<IpAddr>) {
        let dev = it.interface.clone();
        let on_link = it.on_link().iter().any(|net| net.contains(to));
        match target {
            Target::Gateway | Target::Neighbour(_) | Target::Distant | Target::Elsewhere if on_link => (dev, None),
            // A gateway outside every network is reached through itself, or by a route of its own.
            Target::Gateway => match self.networks.way(to).filter(|route| route.dev.as_ref() == Some(&dev)) {
                Some(route) => (dev, route.gateway),
                None => (dev, it.gateway),
            },
            // What main has behind an uplink's gateway is the Internet.
            Target::Local(_) => match self.networks.way(to) {
                Some(route) if !self.is_behind_gateway(route) || self.is_private_to(it, to) => {
                    (route.dev.clone().unwrap_or(dev), route.gateway)
                }
                _ => (dev, it.gateway),
            },
            Target::Distant | Target::Elsewhere => match self.networks.way(to).filter(|_| self.is_local(to)) {
                Some(route) if !self.is_behind_gateway(route) => (route.dev.clone().unwrap_or(dev), route.gateway),
                _ => (dev, it.gateway),
            },
            Target::Neighbour(_) | Target::Provider(_) | Target::Named(_) => (dev, it.gateway),
        }
    }

    /// `--to` may name a host of a network that main knows and that is no uplink's.
    fn is_local(&self, to: &IpAddr) -> bool {
        !self.plan.uplinks.iter().flat_map(Uplink::provider_networks).any(|net| net.contains(to))
    }

    fn unbound(&self, family: Family, probes: &mut Vec<Probe>) {
        let known = self.hosts.iter().filter(|(_, host)| self.networks.way(host).is_some());
        let targets = known.map(|(net, host)| (Target::Local(*net), *host));
        let distant = self.distant.map(|to| (Target::Distant, to));
        let any = || {
            self.snapshot
                .addresses
                .iter()
                .any(|address| !address.local && address.net.addr().is_ipv6() == (family == Family::Inet6))
        };
        for (target, to) in distant.into_iter().chain(targets).filter(|_| any()) {
            probes.push(Probe { uplink: None, target, query: Query::to(to), expected: Expected::Routable });
        }
    }
}
