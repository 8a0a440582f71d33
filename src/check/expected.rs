//! The expected result of a route lookup. It depends on main, on the tables that foreign rules for all packets look up
//! before it, on the uplinks' gateways, and on the source's uplink.
//!
//! What main reaches without an uplink's gateway is reached in the same way from every uplink's address. All other
//! packets leave through the source's uplink. Must not use the plan's routes and rules: a fault in them has to be
//! found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashSet;

use crate::network::{DEFAULT, Family, Kind, LOCAL, MAIN, Route, Rule, Snapshot, is_ipv4_link_local};
use crate::sort::sort_by_key;
use crate::uplinks::{Gateway, Uplink};

/// The longest prefixes, IPv4 and IPv6, that are used instead of a default route: VPNs halve the default route, and
/// IPv6 hosts use 2000::/3 for it.
const DEFAULT_LIKE: [u8; 2] = [1, 3];

/// The result of a correct lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Some route.
    Routable,
    /// This interface, whatever the gateway.
    Dev(String),
    /// This interface and gateway; without one, directly.
    Through(String, Option<IpAddr>),
    /// One of these: a multipath route, or several routers.
    AnyOf(Vec<(String, Option<IpAddr>)>),
    /// Any interface but these, or none: a foreign rule may send it into a tunnel, or reject it.
    NotThrough(Vec<String>),
    /// Delivered locally.
    Delivered,
    /// Main rejects it (unreachable, blackhole, prohibit).
    Rejected,
}

/// How an uplink's address should reach a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// An address of the host.
    Host,
    /// By a route that uses no uplink's gateway: LANs, VPNs, containers, other routers.
    Local(IpNet),
    /// Directly on the uplink's own interface.
    Neighbour(IpNet),
    /// Through the uplink's gateway: main's route uses another uplink.
    Provider(IpNet),
    /// Through the uplink's gateway: main has only a default route.
    Remote,
    /// Main rejects it.
    Rejected(IpNet),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    pub reach: Reach,
    pub expected: Expected,
}

/// The routes of one table except default routes and their halves: by prefix, the smallest metric first.
pub struct PrefixTable<'a> {
    routes: BTreeMap<IpNet, Vec<&'a Route>>,
    /// Its prefix lengths, the longest first: a router has a hundred thousand routes, but few lengths.
    lengths: Vec<u8>,
}

impl<'a> PrefixTable<'a> {
    /// Only prefixes longer than `limit` count.
    fn new(snapshot: &'a Snapshot, family: Family, table: u32, limit: u8) -> Self {
        let links = snapshot.links.iter().filter(|link| link.up && link.name != "lo");
        let links: FxHashSet<&str> = links.map(|link| &link.name[..]).collect();
        let is_usable = |route: &Route| match route.kind() {
            Kind::Unicast => nexthops(route).iter().any(|hop| links.contains(hop.dev)),
            _ => true,
        };
        let mut routes: BTreeMap<IpNet, Vec<&Route>> = BTreeMap::new();
        for route in snapshot.routes.iter().filter(|route| route.table == table && route.family == family) {
            let is_network = is_ordinary(&route.dst.addr()) && !is_ipv4_link_local(&route.dst);
            let is_specific = route.dst.prefix_len() > limit && is_network;
            if is_specific && route.extras.as_ref().is_none_or(|extras| extras.tos == 0) && is_usable(route) {
                routes.entry(route.dst).or_default().push(route);
            }
        }
        for same in routes.values_mut() {
            sort_by_key(same, |route| route.metric);
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

/// The interface and gateway of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hop<'a> {
    dev: &'a str,
    gateway: Option<IpAddr>,
}

/// The nexthops of a route that are in use; none where the kernel does not show them (nexthop objects).
fn nexthops(route: &Route) -> Vec<Hop<'_>> {
    let single = (&route.dev, route.gateway, route.state.dead);
    let several = route.extras.iter().flat_map(|extras| &extras.nexthops);
    let several = several.map(|hop| (&hop.dev, hop.gateway, hop.state.dead));
    let usable = std::iter::once(single).chain(several).filter(|(_, _, dead)| !dead);
    usable.filter_map(|(dev, gateway, _)| Some(Hop { dev: dev.as_deref()?, gateway })).collect()
}

/// A unicast address that does not depend on the interface.
fn is_ordinary(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast() && !address.is_loopback(),
        IpAddr::V6(address) => !address.is_multicast() && !address.is_unicast_link_local() && !address.is_loopback(),
    }
}

/// RFC 1918, RFC 6598, RFC 4193: no provider routes these.
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

/// The foreign tables that rules for all packets look up before main. The rule suppresses routes up to the prefix
/// length.
pub fn tables_before_main(snapshot: &Snapshot, family: Family, of_uplinks: &[u32]) -> Vec<(u32, u8)> {
    let is_for_all = |rule: &&Rule| {
        let has_selector =
            rule.src.is_some() || rule.oif.is_some() || rule.suppress_ifgroup.is_some() || rule.extras.is_some();
        rule.family == family && !has_selector && !rule.is_ours()
    };
    let mut rules: Vec<&Rule> = snapshot.rules.iter().filter(is_for_all).collect();
    sort_by_key(&mut rules, |rule| rule.priority);
    let limit = DEFAULT_LIKE[usize::from(family == Family::Inet6)];
    let before = rules.into_iter().take_while(|rule| rule.table != MAIN);
    let foreign = before.filter(|rule| ![0, LOCAL, DEFAULT].contains(&rule.table) && !of_uplinks.contains(&rule.table));
    foreign
        .map(|rule| (rule.table, rule.suppress_prefixlen.map_or(limit, |length| limit.max(length.min(128) as u8))))
        .collect()
}

/// What the expected results of one family depend on.
pub struct Routing<'a> {
    /// Foreign tables that are looked up before main, in the order of their rules.
    pub before_main: Vec<PrefixTable<'a>>,
    pub main: PrefixTable<'a>,
    /// Addresses that table local delivers to the host.
    pub host: FxHashSet<IpAddr>,
    uplinks: Vec<&'a Uplink>,
    interfaces: FxHashSet<&'a str>,
    /// The uplinks' gateways, and those of main's default routes through their interfaces.
    gateways: FxHashSet<(&'a str, IpAddr)>,
}

impl<'a> Routing<'a> {
    /// `of_uplinks` are the tables of the uplinks, which are not foreign.
    pub fn new(uplinks: &'a [Uplink], snapshot: &'a Snapshot, family: Family, of_uplinks: &[u32]) -> Self {
        let uplinks: Vec<&Uplink> = uplinks.iter().filter(|uplink| uplink.family == family).collect();
        let interfaces: FxHashSet<&str> = uplinks.iter().map(|uplink| &uplink.interface[..]).collect();
        let in_main = || snapshot.routes.iter().filter(|route| route.table == MAIN && route.family == family);
        let defaults = in_main().filter(|route| route.dst.prefix_len() == 0).flat_map(nexthops);
        let defaults = defaults.filter_map(|hop| Some((hop.dev, hop.gateway?)));
        let of_uplinks_themselves =
            uplinks.iter().filter_map(|uplink| Some((&uplink.interface[..], uplink.gateway.address()?)));
        let gateways = of_uplinks_themselves.chain(defaults.filter(|(dev, _)| interfaces.contains(dev))).collect();
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

    /// The expected result of a lookup from an address of `own`; nothing if more than one result is correct.
    pub fn derive(&self, own: &Uplink, to: IpAddr) -> Option<Derived> {
        if self.host.contains(&to) {
            return Some(Derived { reach: Reach::Host, expected: Expected::Delivered });
        }
        for table in &self.before_main {
            let Some((best, hops)) = self.best_route(table, to) else { continue };
            match best.kind() {
                Kind::Throw => {}
                Kind::Unicast if self.uses_uplink(&hops) => match self.uses_only_gateways(&hops) {
                    true => {}
                    false => return None,
                },
                _ => return self.derive_as_route(best, &hops),
            }
        }
        let Some((best, hops)) = self.best_route(&self.main, to) else {
            let is_on_link = own.on_link().iter().any(|net| net.contains(&to) && !own.may_be_off_link(net));
            let direct = || Expected::Through(own.interface.clone(), None);
            let expected = if is_on_link { direct() } else { through_gateway(own) };
            return Some(Derived { reach: Reach::Remote, expected });
        };
        match self.uses_uplink(&hops) && best.kind() == Kind::Unicast {
            true => self.derive_through_uplink(own, to, best, &hops),
            false => self.derive_as_route(best, &hops),
        }
    }

    /// Does main, or a table before it, have a route to the address, other than a default route?
    pub fn has_route(&self, to: IpAddr) -> bool {
        let mut tables = self.before_main.iter().chain([&self.main]);
        tables.any(|table| self.best_route(table, to).is_some_and(|(best, _)| best.kind() == Kind::Unicast))
    }

    /// Does main reach the network through an uplink's gateway alone?
    pub fn is_internet(&self, net: &IpNet) -> bool {
        let best = self.main.routes.get(net).and_then(|routes| routes.first());
        best.is_some_and(|route| route.kind() == Kind::Unicast && self.uses_only_gateways(&nexthops(route)))
    }

    /// The route of a table to the address, and its nexthops. IPv6 selects among routes of the same metric by the
    /// reachability of their routers.
    fn best_route(&self, table: &PrefixTable<'a>, to: IpAddr) -> Option<(&'a Route, Vec<Hop<'a>>)> {
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

    fn uses_uplink(&self, hops: &[Hop]) -> bool {
        hops.iter().any(|hop| self.interfaces.contains(hop.dev))
    }

    fn uses_gateway(&self, hop: &Hop) -> bool {
        hop.gateway.is_some_and(|gateway| self.gateways.contains(&(hop.dev, gateway)))
    }

    fn uses_only_gateways(&self, hops: &[Hop]) -> bool {
        hops.iter().all(|hop| self.uses_gateway(hop))
    }

    fn derive_as_route(&self, route: &Route, hops: &[Hop]) -> Option<Derived> {
        let is_for_some_sources = route.extras.as_ref().is_some_and(|extras| extras.src.is_some());
        let target = |hop: &Hop| (hop.dev.to_string(), hop.gateway);
        let (reach, expected) = match (route.kind(), hops) {
            (Kind::Unreachable | Kind::Blackhole | Kind::Prohibit, _) => {
                (Reach::Rejected(route.dst), Expected::Rejected)
            }
            (Kind::Local, _) => (Reach::Host, Expected::Delivered),
            // A route for some sources only, or one whose nexthops the kernel does not show.
            (Kind::Unicast, _) if is_for_some_sources => return None,
            (Kind::Unicast, [hop]) => (Reach::Local(route.dst), Expected::Through(hop.dev.to_string(), hop.gateway)),
            (Kind::Unicast, [_, ..]) => (Reach::Local(route.dst), Expected::AnyOf(hops.iter().map(target).collect())),
            _ => return None,
        };
        Some(Derived { reach, expected })
    }

    /// Main's route leaves through an uplink's interface.
    fn derive_through_uplink(&self, own: &Uplink, to: IpAddr, best: &Route, hops: &[Hop]) -> Option<Derived> {
        let net = best.dst;
        let is_private_to_public = is_private(&to) && !self.is_private_uplink(own);
        let own_hop = self.own_hop(own, self.main.longest_match(to).unwrap_or_default());
        if let Some(hop) = own_hop.filter(|hop| !self.uses_gateway(hop)) {
            let dev = hop.dev.to_string();
            if hop.gateway.is_none() && !is_private_to_public && self.is_other_providers(own, &net) {
                return Some(Derived {
                    reach: Reach::Provider(net),
                    expected: Expected::Through(dev, own.gateway.address()),
                });
            }
            let reach = if hop.gateway.is_none() { Reach::Neighbour(net) } else { Reach::Local(net) };
            return Some(Derived { reach, expected: Expected::Through(dev, hop.gateway) });
        }
        // A route through an uplink and through another interface: the result depends on the nexthop.
        if !hops.iter().all(|hop| self.interfaces.contains(hop.dev)) {
            return None;
        }
        if is_private_to_public {
            return self.derive_as_route(best, hops);
        }
        let is_internet = |hop: &Hop| match hop.gateway {
            Some(_) => Some(self.uses_gateway(hop)),
            None => self.is_providers(hop.dev, to),
        };
        let first = hops.first().and_then(is_internet)?;
        if hops.iter().any(|hop| is_internet(hop) != Some(first)) {
            return None;
        }
        match first {
            true => Some(Derived { reach: Reach::Provider(net), expected: self.through_own(own, to) }),
            false => self.derive_as_route(best, hops),
        }
    }

    /// The first of these routes that uses the uplink's own interface, but no other uplink's gateway.
    fn own_hop(&self, own: &Uplink, routes: &[&'a Route]) -> Option<Hop<'a>> {
        let unicast = routes.iter().filter(|route| route.kind() == Kind::Unicast);
        let is_own = |hop: &Hop| !self.uses_gateway(hop) || hop.gateway.is_some_and(|gateway| own.gateway.is(gateway));
        unicast.flat_map(|route| nexthops(route)).find(|hop| hop.dev == own.interface && is_own(hop))
    }

    /// Through the uplink's gateway. A network of the other uplink may be inside its own one: then both ways are its own.
    fn through_own(&self, own: &Uplink, to: IpAddr) -> Expected {
        let dev = &own.interface;
        let is_direct = self.main.matches(to).find_map(|routes| self.own_hop(own, routes));
        match (is_direct, own.gateway.address()) {
            (Some(Hop { gateway: None, .. }), Some(gateway)) => {
                Expected::AnyOf(vec![(dev.clone(), None), (dev.clone(), Some(gateway))])
            }
            _ => through_gateway(own),
        }
    }

    /// Main's on-link networks on an interface that hold the address.
    fn on_link(&self, dev: &str, to: IpAddr) -> impl Iterator<Item = IpNet> {
        let is_on_link = move |route: &&&Route| {
            route.kind() == Kind::Unicast && nexthops(route).contains(&Hop { dev, gateway: None })
        };
        self.main.matches(to).filter_map(move |routes| routes.iter().find(is_on_link).map(|route| route.dst))
    }

    /// Is the address in a network of a provider? Such a network contains a gateway. If the gateway is in no network (a
    /// link-local one, for example), it contains an address of the uplink. Nothing if this is unknown.
    fn is_providers(&self, dev: &str, to: IpAddr) -> Option<bool> {
        let gateways = || self.gateways.iter().filter(|(on, _)| *on == dev).map(|(_, gateway)| *gateway);
        let networks = || self.on_link(dev, to);
        if networks().any(|net| gateways().any(|gateway| net.contains(&gateway))) {
            return Some(true);
        }
        let mut on_interface = self.uplinks.iter().filter(|uplink| uplink.interface == dev);
        // Everything is behind a point-to-point link, except that no provider routes private networks.
        if on_interface.any(|uplink| uplink.gateway == Gateway::OnLink) {
            return Some(!is_private(&to));
        }
        // The gateway is unknown: it may be in any of them.
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
        // Otherwise it is another advertised network, or a LAN on the same interface: unknown.
        (has_source && !is_private(&to)).then_some(true)
    }

    /// Is it the network of another uplink on the own interface?
    fn is_other_providers(&self, own: &Uplink, net: &IpNet) -> bool {
        let mut on_interface =
            self.uplinks.iter().filter(|other| other.interface == own.interface && other.gateway != own.gateway);
        let is_own = own.gateway.address().is_some_and(|gateway| net.contains(&gateway))
            || own.sources.iter().any(|source| net.contains(&source.net.addr()));
        !is_own && on_interface.any(|other| other.gateway.address().is_some_and(|gateway| net.contains(&gateway)))
    }

    /// Is the uplink's own network private, so that its router may reach other private ones?
    fn is_private_uplink(&self, own: &Uplink) -> bool {
        let has_gateway = |net: &IpNet| own.gateway.address().is_some_and(|gateway| net.contains(&gateway));
        let networks = || own.sources.iter().map(|source| source.net);
        match networks().find(has_gateway) {
            Some(net) => is_private(&net.addr()),
            None => !own.sources.is_empty() && networks().all(|net| is_private(&net.addr())),
        }
    }
}

fn through_gateway(own: &Uplink) -> Expected {
    let dev = own.interface.clone();
    match own.gateway.is_known() {
        true => Expected::Through(dev, own.gateway.address()),
        false => Expected::Dev(dev),
    }
}

/// Addresses of the host that table local delivers. Addresses whose duplicate address detection runs or has failed are
/// not among them.
fn host_addresses(snapshot: &Snapshot, family: Family) -> FxHashSet<IpAddr> {
    let local = snapshot.routes.iter().filter(|route| route.table == LOCAL && route.family == family);
    let local =
        local.filter(|route| route.kind() == Kind::Local && route.dst.prefix_len() == route.dst.max_prefix_len());
    let local: FxHashSet<IpAddr> = local.map(|route| route.dst.addr()).collect();
    let in_vrf = |dev: &str| snapshot.link(dev).is_some_and(|link| link.vrf);
    let usable = snapshot.addresses.iter().filter(|known| !known.local && !known.duplicate && !in_vrf(&known.dev));
    usable.map(|known| known.net.addr()).filter(|address| local.contains(address)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
