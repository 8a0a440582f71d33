//! What a route lookup has to return: a function of main, of the tables that foreign rules for all packets look up
//! before it, of the uplinks' gateways, and of the source's uplink.
//!
//! What main reaches without an uplink's gateway is reached the same way from every uplink's address; everything else
//! leaves through the source's own uplink. This never looks at the plan's routes and rules: a fault there has to show.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::interfaces::Family;
use crate::snapshot::{Kind, LOCAL, MAIN, Route, Rule, Snapshot};
use crate::uplinks::Uplink;

/// The longest prefixes, inet and inet6, that stand for the whole Internet: VPNs halve the default route, and IPv6
/// hosts write 2000::/3 for it.
const DEFAULT_LIKE: [u8; 2] = [1, 3];
/// The table `default`.
const DEFAULT: u32 = 253;

/// What a correct answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Some route.
    Routable,
    /// This interface, whatever the gateway.
    Dev(String),
    /// This interface and gateway; without one, directly.
    Way(String, Option<IpAddr>),
    /// One of these: a multipath route, or several routers.
    AnyOf(Vec<(String, Option<IpAddr>)>),
    /// Any interface but these, or none: a foreign rule may lead it into a tunnel, or reject it.
    NotBy(Vec<String>),
    /// It is for the host itself.
    Delivered,
    /// Main rejects it (unreachable, blackhole, prohibit).
    Rejected,
}

/// How an uplink's address has to reach a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// An address of the host.
    Host,
    /// As a route has it that uses no uplink's gateway: LANs, VPNs, containers, further routers.
    Local(IpNet),
    /// Directly on the uplink's own interface.
    Neighbour(IpNet),
    /// Through the own gateway: main's route uses another uplink.
    Provider(IpNet),
    /// Through the own gateway: no route but a default one.
    Remote,
    /// Main rejects it.
    Rejected(IpNet),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    pub reach: Reach,
    pub expected: Expected,
}

/// The routes of one table, but for those that stand for the whole Internet: by prefix, the smallest metric first.
pub struct PrefixTable<'a> {
    routes: BTreeMap<IpNet, Vec<&'a Route>>,
    /// The prefix lengths that it has, the longest first: a router has a hundred thousand routes, but few lengths.
    lengths: Vec<u8>,
}

impl<'a> PrefixTable<'a> {
    /// Only prefixes longer than `limit` count.
    fn new(snapshot: &'a Snapshot, family: Family, table: u32, limit: u8) -> Self {
        let links = snapshot.links.iter().filter(|link| link.up && link.name != "lo");
        let links: HashSet<&str> = links.map(|link| &link.name[..]).collect();
        let is_usable = |route: &Route| match route.kind() {
            Kind::Unicast => nexthops(route).iter().any(|hop| links.contains(hop.dev)),
            _ => true,
        };
        let mut routes: BTreeMap<IpNet, Vec<&Route>> = BTreeMap::new();
        for route in snapshot.routes.iter().filter(|route| route.table == table && route.family == family) {
            let counts = route.dst.prefix_len() > limit && is_ordinary(&route.dst.addr());
            if counts && route.more.as_ref().is_none_or(|more| more.tos == 0) && is_usable(route) {
                routes.entry(route.dst).or_default().push(route);
            }
        }
        for same in routes.values_mut() {
            same.sort_by_key(|route| route.metric);
        }
        let lengths: BTreeSet<u8> = routes.keys().map(IpNet::prefix_len).collect();
        PrefixTable { routes, lengths: lengths.into_iter().rev().collect() }
    }

    pub fn networks(&self) -> impl Iterator<Item = &IpNet> {
        self.routes.keys()
    }

    /// All routes for prefixes that hold the address, the longest prefix first.
    fn matches(&self, to: IpAddr) -> impl Iterator<Item = &[&'a Route]> {
        let networks = self.lengths.iter().filter_map(move |length| IpNet::new(to, *length).ok());
        networks.filter_map(|net| self.routes.get(&net.trunc()).map(Vec::as_slice))
    }

    /// The routes of the longest prefix that holds the address.
    pub fn longest_match(&self, to: IpAddr) -> Option<&[&'a Route]> {
        self.matches(to).next()
    }
}

/// Where a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hop<'a> {
    dev: &'a str,
    gateway: Option<IpAddr>,
}

/// The nexthops of a route that are in use; none where the kernel does not show them (nexthop objects).
fn nexthops(route: &Route) -> Vec<Hop<'_>> {
    let own = (&route.dev, route.gateway, route.state.dead);
    let several = route.more.iter().flat_map(|more| &more.nexthops);
    let several = several.map(|hop| (&hop.dev, hop.gateway, hop.state.dead));
    let usable = std::iter::once(own).chain(several).filter(|(_, _, dead)| !dead);
    usable.filter_map(|(dev, gateway, _)| Some(Hop { dev: dev.as_deref()?, gateway })).collect()
}

/// An address that a host can have, and that means the same on every interface.
fn is_ordinary(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast() && !address.is_loopback(),
        IpAddr::V6(address) => !address.is_multicast() && !address.is_unicast_link_local() && !address.is_loopback(),
    }
}

/// RFC 1918, RFC 6598, RFC 4193: no provider carries these.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_private() || (address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 0x40)
        }
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

pub fn is_default_like(net: &IpNet) -> bool {
    net.prefix_len() <= DEFAULT_LIKE[usize::from(net.addr().is_ipv6())]
}

/// The foreign tables that rules for all packets look up before main, with the prefix length that a route of theirs
/// has to exceed.
pub fn tables_before_main(snapshot: &Snapshot, family: Family, of_uplinks: &[u32]) -> Vec<(u32, u8)> {
    let is_for_all = |rule: &&Rule| {
        let selects =
            rule.src.is_some() || rule.oif.is_some() || rule.suppress_ifgroup.is_some() || rule.more.is_some();
        rule.family == family && !selects && !rule.is_ours()
    };
    let mut rules: Vec<&Rule> = snapshot.rules.iter().filter(is_for_all).collect();
    rules.sort_by_key(|rule| rule.priority);
    let limit = DEFAULT_LIKE[usize::from(family == Family::Inet6)];
    let before = rules.into_iter().take_while(|rule| rule.table != MAIN);
    let foreign = before.filter(|rule| ![0, LOCAL, DEFAULT].contains(&rule.table) && !of_uplinks.contains(&rule.table));
    foreign
        .map(|rule| (rule.table, rule.suppress_prefixlen.map_or(limit, |own| limit.max(own.min(128) as u8))))
        .collect()
}

/// What the expectations of one family follow from.
pub struct Routing<'a> {
    /// Foreign tables that come before main, in the order of their rules.
    pub before_main: Vec<PrefixTable<'a>>,
    pub main: PrefixTable<'a>,
    /// Addresses for which table local delivers to the host.
    pub host: HashSet<IpAddr>,
    uplinks: Vec<&'a Uplink>,
    interfaces: HashSet<&'a str>,
    /// The uplinks' gateways, and those of main's default routes through their interfaces.
    gateways: HashSet<(&'a str, IpAddr)>,
}

impl<'a> Routing<'a> {
    /// `of_uplinks` are the tables of the uplinks, which are not foreign.
    pub fn new(uplinks: &'a [Uplink], snapshot: &'a Snapshot, family: Family, of_uplinks: &[u32]) -> Self {
        let uplinks: Vec<&Uplink> = uplinks.iter().filter(|uplink| uplink.family == family).collect();
        let interfaces: HashSet<&str> = uplinks.iter().map(|uplink| &uplink.interface[..]).collect();
        let in_main = || snapshot.routes.iter().filter(|route| route.table == MAIN && route.family == family);
        let defaults = in_main().filter(|route| route.dst.prefix_len() == 0).flat_map(nexthops);
        let defaults = defaults.filter_map(|hop| Some((hop.dev, hop.gateway?)));
        let by_uplinks = uplinks.iter().filter_map(|uplink| Some((&uplink.interface[..], uplink.gateway?)));
        let gateways = by_uplinks.chain(defaults.filter(|(dev, _)| interfaces.contains(dev))).collect();
        let before_main = tables_before_main(snapshot, family, of_uplinks).into_iter();
        let limit = DEFAULT_LIKE[usize::from(family == Family::Inet6)];
        Routing {
            before_main: before_main.map(|(table, limit)| PrefixTable::new(snapshot, family, table, limit)).collect(),
            main: PrefixTable::new(snapshot, family, MAIN, limit),
            host: host_addresses(snapshot, family),
            uplinks,
            interfaces,
            gateways,
        }
    }

    /// What a lookup from an address of `own` has to return; nothing where more than one answer is legitimate.
    pub fn derive(&self, own: &Uplink, to: IpAddr) -> Option<Derived> {
        if self.host.contains(&to) {
            return Some(Derived { reach: Reach::Host, expected: Expected::Delivered });
        }
        for table in &self.before_main {
            let Some((best, hops)) = self.best(table, to) else { continue };
            match best.kind() {
                Kind::Throw => {}
                Kind::Unicast if self.through_uplinks(&hops) => match self.by_gateways(&hops) {
                    true => {}
                    false => return None,
                },
                _ => return self.as_route(best, &hops),
            }
        }
        let Some((best, hops)) = self.best(&self.main, to) else {
            return Some(Derived { reach: Reach::Remote, expected: self.own_route(own, to) });
        };
        match self.through_uplinks(&hops) && best.kind() == Kind::Unicast {
            true => self.by_uplink(own, to, best, &hops),
            false => self.as_route(best, &hops),
        }
    }

    /// Has main, or a table before it, a route for the address that is more than a default?
    pub fn has_route(&self, to: IpAddr) -> bool {
        let mut tables = self.before_main.iter().chain([&self.main]);
        tables.any(|table| self.best(table, to).is_some_and(|(best, _)| best.kind() == Kind::Unicast))
    }

    /// Does main reach the network through an uplink's gateway alone?
    pub fn is_internet(&self, net: &IpNet) -> bool {
        let best = self.main.routes.get(net).and_then(|routes| routes.first());
        best.is_some_and(|route| route.kind() == Kind::Unicast && self.by_gateways(&nexthops(route)))
    }

    /// The route that a table has for the address, and where it leads to. inet6 chooses among routes of one metric by
    /// which router answers.
    fn best(&self, table: &PrefixTable<'a>, to: IpAddr) -> Option<(&'a Route, Vec<Hop<'a>>)> {
        let routes = table.longest_match(to)?;
        let best = *routes.first()?;
        let equal = routes.iter().filter(|route| route.kind() == best.kind() && route.metric == best.metric);
        let count = if best.family == Family::Inet6 { routes.len() } else { 1 };
        let mut hops: Vec<Hop> = Vec::new();
        for hop in equal.take(count).flat_map(|route| nexthops(route)) {
            if !hops.contains(&hop) {
                hops.push(hop);
            }
        }
        Some((best, hops))
    }

    fn through_uplinks(&self, hops: &[Hop]) -> bool {
        hops.iter().any(|hop| self.interfaces.contains(hop.dev))
    }

    fn is_by_gateway(&self, hop: &Hop) -> bool {
        hop.gateway.is_some_and(|gateway| self.gateways.contains(&(hop.dev, gateway)))
    }

    fn by_gateways(&self, hops: &[Hop]) -> bool {
        hops.iter().all(|hop| self.is_by_gateway(hop))
    }

    fn as_route(&self, route: &Route, hops: &[Hop]) -> Option<Derived> {
        let by_source = route.more.as_ref().is_some_and(|more| more.src.is_some());
        let way = |hop: &Hop| (hop.dev.to_string(), hop.gateway);
        let (reach, expected) = match (route.kind(), hops) {
            (Kind::Unreachable | Kind::Blackhole | Kind::Prohibit, _) => {
                (Reach::Rejected(route.dst), Expected::Rejected)
            }
            (Kind::Local, _) => (Reach::Host, Expected::Delivered),
            // A route for some sources alone, or one whose nexthops the kernel does not show.
            (Kind::Unicast, _) if by_source => return None,
            (Kind::Unicast, [hop]) => (Reach::Local(route.dst), Expected::Way(hop.dev.to_string(), hop.gateway)),
            (Kind::Unicast, [_, ..]) => (Reach::Local(route.dst), Expected::AnyOf(hops.iter().map(way).collect())),
            _ => return None,
        };
        Some(Derived { reach, expected })
    }

    /// Main's route leaves through an uplink's interface.
    fn by_uplink(&self, own: &Uplink, to: IpAddr, best: &Route, hops: &[Hop]) -> Option<Derived> {
        let net = best.dst;
        let direct = is_private(&to) && !self.is_private_uplink(own);
        if let Some(hop) = self.own_hop(own, self.main.longest_match(to).unwrap_or_default()) {
            let dev = hop.dev.to_string();
            if hop.gateway.is_none() && !direct && self.is_other_providers(own, &net) {
                return Some(Derived { reach: Reach::Provider(net), expected: Expected::Way(dev, own.gateway) });
            }
            let reach = if hop.gateway.is_none() { Reach::Neighbour(net) } else { Reach::Local(net) };
            return Some(Derived { reach, expected: Expected::Way(dev, hop.gateway) });
        }
        // One route through an uplink and through something else: it depends on the nexthop.
        if !hops.iter().all(|hop| self.interfaces.contains(hop.dev)) {
            return None;
        }
        if direct {
            return self.as_route(best, hops);
        }
        let is_internet = |hop: &Hop| match hop.gateway {
            Some(_) => Some(self.is_by_gateway(hop)),
            None => self.is_providers(hop.dev, to),
        };
        let first = hops.first().and_then(is_internet)?;
        if hops.iter().any(|hop| is_internet(hop) != Some(first)) {
            return None;
        }
        match first {
            true => Some(Derived { reach: Reach::Provider(net), expected: self.own_route(own, to) }),
            false => self.as_route(best, hops),
        }
    }

    /// The first of these routes that leaves through the own interface, to no uplink's gateway.
    fn own_hop(&self, own: &Uplink, routes: &[&'a Route]) -> Option<Hop<'a>> {
        let unicast = routes.iter().filter(|route| route.kind() == Kind::Unicast);
        unicast.flat_map(|route| nexthops(route)).find(|hop| hop.dev == own.interface && !self.is_by_gateway(hop))
    }

    /// What the own uplink has for the destination: a network or a router on its interface, else its gateway.
    fn own_route(&self, own: &Uplink, to: IpAddr) -> Expected {
        let dev = own.interface.clone();
        match self.main.matches(to).find_map(|routes| self.own_hop(own, routes)) {
            Some(hop) => Expected::Way(dev, hop.gateway),
            None if own.on_link().iter().any(|net| net.contains(&to)) => Expected::Way(dev, None),
            None if own.gateway.is_none() => Expected::Dev(dev),
            None => Expected::Way(dev, own.gateway),
        }
    }

    /// Main's on-link networks on an interface that hold the address.
    fn on_link(&self, dev: &str, to: IpAddr) -> impl Iterator<Item = IpNet> {
        let is_on_link = move |route: &&&Route| {
            route.kind() == Kind::Unicast && nexthops(route).contains(&Hop { dev, gateway: None })
        };
        self.main.matches(to).filter_map(move |routes| routes.iter().find(is_on_link).map(|route| route.dst))
    }

    /// Is the address in a network of a provider? It holds a gateway, or, where the gateway is in no network (a
    /// link-local one, or one outside), an address of its uplink. Nothing where that cannot be told.
    fn is_providers(&self, dev: &str, to: IpAddr) -> Option<bool> {
        let gateways = || self.gateways.iter().filter(|(on, _)| *on == dev).map(|(_, gateway)| *gateway);
        let networks = || self.on_link(dev, to);
        if networks().any(|net| gateways().any(|gateway| net.contains(&gateway))) {
            return Some(true);
        }
        // Its gateway is not known any more: it may be in any of them.
        if gateways().next().is_none()
            && self.uplinks.iter().any(|uplink| uplink.interface == dev && uplink.is_waiting())
        {
            return None;
        }
        let is_inside = |gateway| self.on_link(dev, gateway).any(|net| net.prefix_len() < net.max_prefix_len());
        if gateways().next().is_none() || gateways().any(is_inside) {
            return Some(false);
        }
        let uplinks = self.uplinks.iter().filter(|uplink| uplink.interface == dev);
        let mut sources = uplinks.flat_map(|uplink| &uplink.sources).map(|source| source.net.addr());
        let has_source = sources.any(|source| networks().any(|net| net.contains(&source)));
        // A further network of an advertisement, or of a LAN on the same wire.
        (has_source && !is_private(&to)).then_some(true)
    }

    /// Is it the network of another uplink on the own interface?
    fn is_other_providers(&self, own: &Uplink, net: &IpNet) -> bool {
        let mut here =
            self.uplinks.iter().filter(|other| other.interface == own.interface && other.gateway != own.gateway);
        let is_own = own.gateway.is_some_and(|gateway| net.contains(&gateway))
            || own.sources.iter().any(|source| net.contains(&source.net.addr()));
        !is_own && here.any(|other| other.gateway.is_some_and(|gateway| net.contains(&gateway)))
    }

    /// Is the uplink's own network private, so that its router may reach other private ones?
    fn is_private_uplink(&self, own: &Uplink) -> bool {
        let with_gateway = |net: &IpNet| own.gateway.is_some_and(|gateway| net.contains(&gateway));
        let all = || own.sources.iter().map(|source| source.net);
        match all().find(with_gateway) {
            Some(net) => is_private(&net.addr()),
            None => !own.sources.is_empty() && all().all(|net| is_private(&net.addr())),
        }
    }
}

/// Addresses of the host that table local delivers: not those that are still, or in vain, checked for duplicates.
fn host_addresses(snapshot: &Snapshot, family: Family) -> HashSet<IpAddr> {
    let local = snapshot.routes.iter().filter(|route| route.table == LOCAL && route.family == family);
    let local =
        local.filter(|route| route.kind() == Kind::Local && route.dst.prefix_len() == route.dst.max_prefix_len());
    let local: HashSet<IpAddr> = local.map(|route| route.dst.addr()).collect();
    let in_vrf = |dev: &str| snapshot.link(dev).is_some_and(|link| link.vrf);
    let usable = snapshot.addresses.iter().filter(|known| !known.local && !known.duplicate && !in_vrf(&known.dev));
    usable.map(|known| known.net.addr()).filter(|address| local.contains(address)).collect()
}

#[cfg(test)]
pub(super) mod tests;
