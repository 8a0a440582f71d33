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
pub(super) mod tests {
    use super::*;
    use crate::policy::difference::tests::uplink;
    use crate::snapshot::{Address, Link, Nexthop, RouteMore, RuleMore, State};
    use crate::uplinks::Source;

    fn family(text: &str) -> Family {
        if text.contains(':') { Family::Inet6 } else { Family::Inet }
    }

    /// `eth0 192.0.2.10/24 … via 192.0.2.1`, one a line.
    pub fn uplinks(text: &str) -> Vec<Uplink> {
        let one = |line: &str| {
            let (addresses, gateway) = line.split_once(" via ").unwrap();
            let mut words = addresses.split_whitespace();
            let interface = words.next().unwrap().to_string();
            let source = |word: &str| Source {
                net: word.parse().unwrap(),
                peer: None,
                stanza: None,
                by_prefix: false,
                elsewhere: None,
            };
            let sources = words.map(source).collect();
            let (name, family, gateway) = (interface.clone(), family(gateway), gateway.trim().parse().ok());
            Uplink { interface, name, family, gateway, sources, ..uplink(0, true) }
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(one).collect()
    }

    fn route(line: &str) -> Route {
        let words: Vec<&str> = line.split_whitespace().collect();
        let all = |name: &str| words.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1]).collect::<Vec<_>>();
        let number = |name: &str| all(name).first().map(|word| word.parse::<u32>().unwrap());
        let (kind, dst) = match words[0] {
            "unreachable" => (Kind::Unreachable, words[1]),
            "blackhole" => (Kind::Blackhole, words[1]),
            "throw" => (Kind::Throw, words[1]),
            "local" => (Kind::Local, words[1]),
            dst => (Kind::Unicast, dst),
        };
        let (devs, gateways) = (all("dev"), all("via"));
        let hop = |dev: &&str, gateway: &&str| Nexthop {
            gateway: gateway.parse().ok(),
            dev: Some(dev.to_string()),
            weight: 1,
            onlink: false,
            state: State::default(),
        };
        let nexthops = match devs.len() > 1 {
            true => devs.iter().zip(&gateways).map(|(dev, gateway)| hop(dev, gateway)).collect(),
            false => Vec::new(),
        };
        let src = all("from").first().map(|src| src.parse().unwrap());
        let single = nexthops.is_empty();
        let more = RouteMore { kind, nexthops, src, ..RouteMore::default() };
        Route {
            family: family(dst),
            table: number("table").unwrap_or(if kind == Kind::Local { LOCAL } else { MAIN }),
            dst: dst.parse().or_else(|_| dst.parse::<IpAddr>().map(IpNet::from)).unwrap(),
            gateway: gateways.first().filter(|_| single).map(|gateway| gateway.parse().unwrap()),
            dev: devs.first().filter(|_| single).map(|dev| dev.to_string()),
            scope: 0,
            metric: number("metric").unwrap_or(0),
            onlink: false,
            protocol: 3,
            more: (more != RouteMore::default()).then(|| Box::new(more)),
            state: State { dead: words.contains(&"dead"), linkdown: false },
        }
    }

    /// Routes as `ip route` has them; `local ADDRESS dev DEV` gives the host that address.
    pub fn snapshot(text: &str) -> Snapshot {
        let routes: Vec<Route> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(route).collect();
        let devs: HashSet<&str> = routes.iter().flat_map(nexthops).map(|hop| hop.dev).collect();
        let link = |(index, name): (usize, &&str)| Link {
            index: index as u32,
            name: name.to_string(),
            up: true,
            ..Link::default()
        };
        let local = routes.iter().filter(|route| route.kind() == Kind::Local);
        let address = |route: &Route| Address {
            dev: route.dev.clone().unwrap(),
            net: route.dst,
            peer: None,
            local: false,
            duplicate: false,
        };
        let (links, addresses) = (devs.iter().enumerate().map(link).collect(), local.map(address).collect());
        Snapshot { links, addresses, rules: Vec::new(), routes }
    }

    pub fn rule(priority: u32, table: u32, more: Option<RuleMore>) -> Rule {
        Rule {
            family: Family::Inet,
            priority,
            src: None,
            oif: None,
            table,
            suppress_prefixlen: None,
            suppress_ifgroup: None,
            protocol: 0,
            more: more.map(Box::new),
        }
    }

    fn text(expected: &Expected) -> String {
        let way = |dev: &str, gateway: &Option<IpAddr>| match gateway {
            Some(gateway) => format!("{dev} via {gateway}"),
            None => dev.to_string(),
        };
        match expected {
            Expected::Way(dev, gateway) => way(dev, gateway),
            Expected::AnyOf(ways) => {
                ways.iter().map(|(dev, gateway)| way(dev, gateway)).collect::<Vec<_>>().join(" or ")
            }
            Expected::Dev(dev) => format!("{dev} …"),
            Expected::Delivered => "host".into(),
            Expected::Rejected => "rejected".into(),
            Expected::Routable | Expected::NotBy(_) => "?".into(),
        }
    }

    /// Each line of `expected`: `UPLINK DESTINATION: WAY`, the uplink by its position.
    fn assert_derived(uplinks: &[Uplink], snapshot: &Snapshot, expected: &str) {
        for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (question, way) = line.split_once(": ").unwrap();
            let (own, to) = question.split_once(' ').unwrap();
            let own = &uplinks[own.parse::<usize>().unwrap()];
            let routing = Routing::new(uplinks, snapshot, own.family, &[1, 2, 3]);
            let derived = routing.derive(own, to.parse().unwrap());
            assert_eq!(derived.map_or("-".to_string(), |derived| text(&derived.expected)), way, "{question}");
        }
    }

    const TWO: &str = "eth0 192.0.2.10/24 via 192.0.2.1
        eth1 198.51.100.10/24 via 198.51.100.1";
    const CONNECTED: &str = "0.0.0.0/0 via 192.0.2.1 dev eth0
        0.0.0.0/0 via 198.51.100.1 dev eth1 metric 20
        192.0.2.0/24 dev eth0
        198.51.100.0/24 dev eth1
        203.0.113.0/26 dev eth2
        local 192.0.2.10 dev eth0
        local 198.51.100.10 dev eth1
        local 203.0.113.1 dev eth2
        ";

    fn assert_two(routes: &str, expected: &str) {
        assert_derived(&uplinks(TWO), &snapshot(&format!("{CONNECTED}{routes}")), expected);
    }

    #[test]
    fn networks_and_addresses_of_the_host() {
        assert_two(
            "",
            "0 203.0.113.200: eth0 via 192.0.2.1
            1 203.0.113.200: eth1 via 198.51.100.1
            0 192.0.2.20: eth0
            1 192.0.2.20: eth1 via 198.51.100.1
            0 198.51.100.1: eth0 via 192.0.2.1
            0 192.0.2.1: eth0
            0 203.0.113.2: eth2
            1 203.0.113.2: eth2
            0 192.0.2.10: host
            0 198.51.100.10: host
            1 203.0.113.1: host",
        );
    }

    /// Halves of the default route are a VPN's, and say nothing of an uplink's addresses.
    #[test]
    fn defaults_and_their_halves() {
        assert_two("0.0.0.0/1 dev tun0\n 128.0.0.0/1 dev tun0", "1 203.0.113.200: eth1 via 198.51.100.1");
        assert_two("unreachable 0.0.0.0/0 metric 5", "1 203.0.113.200: eth1 via 198.51.100.1");
        assert_two("192.0.0.0/2 dev tun0", "1 203.0.113.200: tun0");
    }

    #[test]
    fn machines_with_addresses_of_a_provider() {
        assert_two(
            "192.0.2.77 dev br0\n 198.51.100.64/28 via 203.0.113.2 dev eth2",
            "0 192.0.2.77: br0
            1 192.0.2.77: br0
            0 198.51.100.65: eth2 via 203.0.113.2
            1 198.51.100.65: eth2 via 203.0.113.2
            1 198.51.100.80: eth1",
        );
        // A proxied neighbour of the other uplink is still its provider's.
        assert_two("192.0.2.78 dev eth0", "0 192.0.2.78: eth0\n 1 192.0.2.78: eth1 via 198.51.100.1");
    }

    #[test]
    fn static_routes() {
        assert_two(
            "203.0.113.128/28 via 192.0.2.1 dev eth0
            203.0.113.144/28 via 192.0.2.254 dev eth0
            203.0.113.160/28 via 203.0.113.2 dev eth2
            203.0.113.176/28 via 198.51.100.254 dev eth1 metric 9
            203.0.113.176/28 via 192.0.2.1 dev eth0 metric 7
            203.0.113.192/28 via 192.0.2.254 dev eth0 dead",
            "0 203.0.113.129: eth0 via 192.0.2.1
            1 203.0.113.129: eth1 via 198.51.100.1
            0 203.0.113.145: eth0 via 192.0.2.254
            1 203.0.113.145: eth0 via 192.0.2.254
            0 203.0.113.161: eth2 via 203.0.113.2
            1 203.0.113.161: eth2 via 203.0.113.2
            0 203.0.113.177: eth0 via 192.0.2.1
            1 203.0.113.177: eth1 via 198.51.100.254",
        );
    }

    #[test]
    fn several_nexthops() {
        assert_two(
            "203.0.113.128/28 via 203.0.113.2 dev eth2 via 203.0.113.66 dev eth3
            203.0.113.144/28 via 192.0.2.1 dev eth0 via 198.51.100.1 dev eth1
            203.0.113.160/28 via 192.0.2.1 dev eth0 via 203.0.113.2 dev eth2
            203.0.113.176/28 via 198.51.100.1 dev eth1 via 198.51.100.254 dev eth1",
            "1 203.0.113.129: eth2 via 203.0.113.2 or eth3 via 203.0.113.66
            0 203.0.113.145: eth0 via 192.0.2.1
            1 203.0.113.145: eth1 via 198.51.100.1
            1 203.0.113.161: -
            0 203.0.113.177: -",
        );
    }

    #[test]
    fn routes_that_reject() {
        assert_two(
            "blackhole 198.51.100.128/27
            unreachable 203.0.113.128/28
            throw 203.0.113.144/28
            local 203.0.113.160/28 dev lo table 254",
            "0 198.51.100.129: rejected
            1 198.51.100.129: rejected
            0 203.0.113.129: rejected
            0 203.0.113.145: -
            0 203.0.113.161: host",
        );
    }

    /// No provider carries private networks; a private uplink's router may.
    #[test]
    fn private_networks() {
        let uplinks = uplinks(
            "eth0 192.0.2.10/24 via 192.0.2.1
            eth1 10.8.0.10/24 via 10.8.0.1
            eth2 172.20.0.10/24 via 172.20.0.1
            eth0 fd00:a::10/64 2001:db8:a::10/64 via fe80::1
            eth1 fd00:b::10/64 via fd00:b::1",
        );
        let snapshot = snapshot(
            "192.0.2.0/24 dev eth0
            10.8.0.0/24 dev eth1
            172.20.0.0/24 dev eth2
            10.9.0.0/24 dev eth0
            100.64.0.0/10 via 192.0.2.1 dev eth0
            10.32.0.0/16 via 172.20.0.1 dev eth2
            172.32.0.0/16 via 10.8.0.1 dev eth1
            fd00:a::/64 dev eth0
            2001:db8:a::/64 dev eth0
            fd00:b::/64 dev eth1",
        );
        assert_derived(
            &uplinks,
            &snapshot,
            "0 10.8.0.5: eth1
            0 10.8.0.1: eth1
            1 172.20.0.5: eth1 via 10.8.0.1
            1 192.0.2.5: eth1 via 10.8.0.1
            1 10.9.0.5: eth0
            0 100.64.0.5: eth0 via 192.0.2.1
            1 100.64.0.5: eth1 via 10.8.0.1
            0 10.32.0.5: eth2 via 172.20.0.1
            1 10.32.0.5: eth1 via 10.8.0.1
            0 172.32.0.5: eth0 via 192.0.2.1
            3 fd00:b::5: eth1
            4 fd00:a::5: -
            3 fd00:a::5: eth0",
        );
    }

    /// A link-local gateway is in no network: that of the uplink's own address is the provider's.
    #[test]
    fn networks_by_router_advertisement() {
        let uplinks = uplinks("eth0 2001:db8:a::10/64 via 2001:db8:a::1\n eth1 2001:db8:b::10/128 via fe80::1");
        let snapshot = snapshot(
            "::/0 via fe80::1 dev eth1 metric 1024
            ::/0 via fe80::2 dev eth1 metric 2048
            2001:db8:a::/64 dev eth0 metric 256
            2001:db8:b::/64 dev eth1 metric 256
            2001:db8:b1::/64 dev eth1 metric 256
            2001:db8:e1::/48 via fe80::1 dev eth1 metric 1024
            2001:db8:e2::/48 via fe80::2 dev eth1 metric 1024
            2001:db8:e3::/48 via fe80::1 dev eth2 metric 1024
            2001:db8:e4::/48 from 2001:db8:a::/64 dev eth2 metric 1024
            fe80::/64 dev eth1 metric 256",
        );
        assert_derived(
            &uplinks,
            &snapshot,
            "0 2001:db8:b::20: eth0 via 2001:db8:a::1
            1 2001:db8:b::20: eth1
            1 2001:db8:a::20: eth1 via fe80::1
            0 2001:db8:b1::20: -
            0 2001:db8:e1::1: eth0 via 2001:db8:a::1
            0 2001:db8:e2::1: eth0 via 2001:db8:a::1
            0 2001:db8:e3::1: eth2 via fe80::1
            0 2001:db8:e4::1: -
            0 2001:db8:f::1: eth0 via 2001:db8:a::1",
        );
    }

    #[test]
    fn two_interfaces_in_one_network() {
        let uplinks = uplinks("eth0 192.0.2.10/24 via 192.0.2.1\n eth3 192.0.2.11/24 via 192.0.2.1");
        let snapshot = snapshot("192.0.2.0/24 dev eth0\n 192.0.2.0/24 dev eth3\n 192.0.2.128/25 dev eth3 metric 9");
        assert_derived(
            &uplinks,
            &snapshot,
            "0 192.0.2.20: eth0
            1 192.0.2.20: eth3
            1 192.0.2.1: eth3
            0 192.0.2.200: eth0
            1 203.0.113.200: eth3 via 192.0.2.1",
        );
    }

    /// Each has its own networks and its own gateway.
    #[test]
    fn two_gateways_on_one_interface() {
        let uplinks = uplinks("br0 192.0.2.10/24 via 192.0.2.1\n br0 198.51.100.10/24 via 198.51.100.1");
        let snapshot = snapshot(
            "192.0.2.0/24 dev br0
            198.51.100.0/24 dev br0
            203.0.113.128/28 via 198.51.100.1 dev br0
            203.0.113.144/28 via 198.51.100.254 dev br0",
        );
        assert_derived(
            &uplinks,
            &snapshot,
            "0 192.0.2.20: br0
            0 198.51.100.20: br0 via 192.0.2.1
            0 203.0.113.129: br0 via 192.0.2.1
            1 203.0.113.129: br0 via 198.51.100.1
            0 203.0.113.145: br0 via 198.51.100.254",
        );
    }

    #[test]
    fn gateways_outside_every_network() {
        let uplinks = uplinks("eth0 192.0.2.10/32 via 203.0.113.254\n eth1 198.51.100.10/24 via 203.0.113.253");
        let snapshot = snapshot("203.0.113.254 dev eth0\n 198.51.100.0/24 dev eth1\n 198.51.100.77 dev br0");
        assert_derived(
            &uplinks,
            &snapshot,
            "0 203.0.113.254: eth0
            1 203.0.113.254: eth1 via 203.0.113.253
            1 203.0.113.253: eth1 via 203.0.113.253
            0 198.51.100.20: eth0 via 203.0.113.254
            0 198.51.100.77: br0",
        );
        // A public address whose gateway is private has no private network behind it.
        let uplinks = self::uplinks("eth0 203.0.113.5/32 via 172.31.1.1\n eth1 10.8.0.10/24 via 10.8.0.1");
        let snapshot = self::snapshot("172.31.1.1 dev eth0\n 10.8.0.0/24 dev eth1");
        let expected = "0 10.8.0.5: eth1\n 0 172.31.1.1: eth0\n 1 172.31.1.1: eth1 via 10.8.0.1";
        assert_derived(&uplinks, &snapshot, expected);
    }

    /// Tailscale's way: a rule for all packets before main.
    #[test]
    fn foreign_tables() {
        let routes = "203.0.113.70 dev vpn0 table 52
            203.0.113.5 dev vpn0 table 52
            203.0.113.144/28 via 198.51.100.1 dev eth1 table 52
            throw 203.0.113.72 table 52
            blackhole 203.0.113.73 table 52
            0.0.0.0/0 dev vpn0 table 52
            203.0.113.80 dev vpn0 table 53
            203.0.113.81 dev vpn0 table 54
            203.0.113.82 dev vpn0 table 2";
        let mut snapshot = snapshot(&format!("{CONNECTED}{routes}"));
        let marked = RuleMore { mark: Some((7, u32::MAX)), ..RuleMore::default() };
        snapshot.rules = vec![
            rule(0, LOCAL, None),
            rule(60, 2, None),
            rule(5260, 54, Some(marked)),
            rule(5270, 52, None),
            rule(32766, MAIN, None),
            rule(32768, 53, None),
        ];
        assert_derived(
            &uplinks(TWO),
            &snapshot,
            "0 203.0.113.70: vpn0
            1 203.0.113.70: vpn0
            0 203.0.113.5: vpn0
            0 203.0.113.145: eth0 via 192.0.2.1
            0 203.0.113.72: eth0 via 192.0.2.1
            0 203.0.113.73: rejected
            0 203.0.113.200: eth0 via 192.0.2.1
            0 203.0.113.80: eth0 via 192.0.2.1
            0 203.0.113.81: eth0 via 192.0.2.1
            0 203.0.113.82: eth0 via 192.0.2.1",
        );
    }

    /// Not before duplicate address detection has ended, nor in a VRF.
    #[test]
    fn addresses_that_are_not_delivered() {
        let mut snapshot = snapshot(CONNECTED);
        snapshot.routes.retain(|route| route.dst.addr() != IpAddr::from([203, 0, 113, 1]));
        for address in &mut snapshot.addresses {
            address.duplicate = address.dev == "eth1";
        }
        assert_eq!(host_addresses(&snapshot, Family::Inet), HashSet::from(["192.0.2.10".parse().unwrap()]));
    }
}
