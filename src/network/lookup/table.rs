//! The lookup in one table, and the interface and gateway of the route that it finds.
//!
//! IPv4 and IPv6 differ: IPv4 selects the longest prefix, then the smallest metric. IPv6 goes from the node with the
//! longest prefix back to shorter ones, and selects the route with the best score in each. After
//! net/ipv4/{fib_trie,fib_semantics}.c and net/ipv6/{ip6_fib,route}.c of Linux 6.18.

use std::net::{IpAddr, Ipv6Addr};

use nix::errno::Errno;

use super::flow::Flow;
use crate::network::{Family, Kind, LookupContext, Nexthop, ResolvedRoute, Route, RouteExtras, Snapshot};
use crate::sort::sort_by_key;

/// `RTPROT_KERNEL` (rtnetlink(7)).
const KERNEL: u8 = 2;

/// The result of a lookup in one table.
pub(crate) enum TableLookup {
    NoRoute,
    Throw(Route),
    Rejected(Route, Errno),
    /// One of these nexthops; the first match is the first one. Never empty.
    Found {
        route: Route,
        hops: Vec<Nexthop>,
    },
    Unknown(String),
}

impl TableLookup {
    fn of(route: &Route, hops: Vec<Nexthop>) -> TableLookup {
        let route = route.clone();
        match route.kind() {
            Kind::Throw => TableLookup::Throw(route),
            Kind::Unreachable => TableLookup::Rejected(route, Errno::EHOSTUNREACH),
            Kind::Prohibit => TableLookup::Rejected(route, Errno::EACCES),
            Kind::Blackhole | Kind::Other(_) => TableLookup::Rejected(route, Errno::EINVAL),
            _ => TableLookup::Found { route, hops },
        }
    }
}

/// The nexthops of a route: its own, or those of a multipath route.
pub(crate) fn hops(route: &Route) -> Vec<Nexthop> {
    match &route.extras {
        Some(extras) if !extras.nexthops.is_empty() => extras.nexthops.clone(),
        _ => {
            let Route { gateway, dev, onlink, state, .. } = route.clone();
            vec![Nexthop { gateway, dev, weight: 1, onlink, state }]
        }
    }
}

/// A nexthop object that the kernel does not show (`net.ipv4.nexthop_compat_mode` 0).
fn hidden(route: &Route) -> Option<TableLookup> {
    let id = route.extras.as_ref().and_then(|extras| extras.nexthop_id)?;
    let shown = route.dev.is_some() || route.extras.as_ref().is_some_and(|extras| !extras.nexthops.is_empty());
    (!shown && matches!(route.kind(), Kind::Unicast))
        .then(|| TableLookup::Unknown(format!("the kernel does not show the nexthops of object {id}")))
}

impl Flow<'_> {
    pub(crate) fn look_up(&self, table: u32, snapshot: &Snapshot, context: &LookupContext) -> TableLookup {
        let plain = RouteExtras::default();
        let extras = |route: &Route| route.extras.as_deref().unwrap_or(&plain).clone();
        let of_table = |route: &&Route| route.table == table && route.family == self.family;
        let mut routes: Vec<&Route> =
            snapshot.routes.iter().filter(of_table).filter(|route| route.dst.contains(&self.to)).collect();
        match self.family {
            Family::Inet6 => self.look_up_inet6(&routes, context),
            Family::Inet => {
                // The packet has TOS 0: routes for another TOS do not match.
                routes.retain(|route| extras(route).tos == 0);
                self.look_up_inet(routes)
            }
        }
    }

    /// `fib_table_lookup` (net/ipv4/fib_trie.c), then `fib_select_path` (fib_semantics.c).
    fn look_up_inet(&self, mut routes: Vec<&Route>) -> TableLookup {
        sort_by_key(&mut routes, |route| (std::cmp::Reverse(route.dst.prefix_len()), route.metric));
        let mut skipped: Option<IpAddr> = None;
        for (index, route) in routes.iter().enumerate() {
            if skipped == Some(route.dst.network()) {
                continue;
            }
            if let TableLookup::Throw(_) | TableLookup::Rejected(..) = TableLookup::of(route, Vec::new()) {
                return TableLookup::of(route, Vec::new());
            }
            if let Some(hidden) = hidden(route) {
                return hidden;
            }
            if route.state.dead {
                continue;
            }
            let is_on_device = |hop: &Nexthop| self.oif.is_none() || hop.dev.as_deref() == self.oif;
            let mut alive: Vec<Nexthop> =
                hops(route).into_iter().filter(|hop| !hop.state.dead && is_on_device(hop)).collect();
            if alive.is_empty() {
                // After a nexthop object without a usable nexthop, the kernel skips the rest of the trie's leaf: all
                // routes to prefixes that begin at the same address.
                let by_object = route.extras.as_ref().is_some_and(|extras| extras.nexthop_id.is_some());
                skipped = by_object.then(|| route.dst.network()).or(skipped);
                continue;
            }
            if self.oif.is_some() {
                alive.truncate(1);
            } else if hops(route).len() > 1 {
                alive.extend(hops(route).into_iter().filter(is_still_chosen));
            } else if hops(route).len() == 1 && self.is_sent() {
                alive.extend(other_defaults(&routes[index..]));
            }
            return TableLookup::of(route, alive);
        }
        TableLookup::NoRoute
    }

    /// `fib6_table_lookup` (net/ipv6/route.c) over the nodes of `fib6_node_lookup` and `fib6_backtrack`.
    fn look_up_inet6(&self, routes: &[&Route], context: &LookupContext) -> TableLookup {
        let source = self.from.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let src = |route: &Route| route.extras.as_ref().and_then(|extras| extras.src);
        let descending = |mut lengths: Vec<u8>| {
            sort_by_key(&mut lengths, |length| std::cmp::Reverse(*length));
            lengths.dedup();
            lengths
        };
        let mut nodes: Vec<Vec<&Route>> = Vec::new();
        for length in descending(routes.iter().map(|route| route.dst.prefix_len()).collect()) {
            let at_node = || routes.iter().copied().filter(move |route| route.dst.prefix_len() == length);
            let by_source = |route: &&Route| src(route).is_some_and(|src| src.contains(&source));
            let sources = at_node().filter(by_source).filter_map(src).map(|src| src.prefix_len()).collect();
            for of_source in descending(sources) {
                let same = |route: &&Route| src(route).is_some_and(|src| src.prefix_len() == of_source);
                nodes.push(at_node().filter(by_source).filter(same).collect());
            }
            // If the node has routes for other sources, the kernel finds its routes for all sources only when it goes
            // back from a longer prefix.
            let plain: Vec<&Route> = at_node().filter(|route| src(route).is_none()).collect();
            let only_for_others = at_node().any(|route| src(route).is_some()) && nodes.is_empty() && length > 0;
            if !plain.is_empty() && !only_for_others {
                nodes.push(plain);
            }
        }
        // A host that does not forward first looks for routers that reply.
        for reachable in if context.forwards { &[false][..] } else { &[true, false] } {
            for node in &nodes {
                if let Some(found) = self.select(node, *reachable, context) {
                    return found;
                }
            }
        }
        TableLookup::NoRoute
    }

    /// `rt6_select` and `fib6_select_path` (net/ipv6/route.c): selects by score among the routes of the
    /// smallest metric; if none is usable, among all others.
    fn select(&self, node: &[&Route], reachable: bool, context: &LookupContext) -> Option<TableLookup> {
        let mut routes = node.to_vec();
        sort_by_key(&mut routes, |route| route.metric);
        let first = routes.iter().take_while(|route| route.metric == routes[0].metric).count();
        let (first, others) = routes.split_at(first);
        [first, others].into_iter().find_map(|group| {
            let mut best: Option<(u32, &Route)> = None;
            for route in group {
                if hidden(route).is_some() {
                    return hidden(route);
                }
                // A nexthop object of type blackhole matches on every interface.
                if route.kind() == Kind::Blackhole
                    && route.extras.as_ref().is_some_and(|extras| extras.nexthop_id.is_some())
                {
                    return Some(TableLookup::of(route, Vec::new()));
                }
                let score = hops(route).iter().filter_map(|hop| self.score(route, hop, reachable, context)).max();
                if let Some(score) = score.filter(|score| best.is_none_or(|(known, _)| *score > known)) {
                    best = Some((score, route));
                }
            }
            let (_, route) = best?;
            let several = hops(route).len() > 1;
            let is_usable = |hop: &Nexthop| {
                several && self.oif.is_none() && is_still_chosen(hop)
                    || self.score(route, hop, reachable, context).is_some()
            };
            Some(TableLookup::of(route, hops(route).into_iter().filter(is_usable).collect()))
        })
    }

    /// `find_match` and `rt6_score_route` (net/ipv6/route.c); nothing for an unusable nexthop.
    fn score(&self, route: &Route, hop: &Nexthop, reachable: bool, context: &LookupContext) -> Option<u32> {
        let interface = if self.is_sent() { self.oif } else { Some(self.iif) };
        let is_strict = needs_interface(&self.to) || self.is_sent() && self.oif.is_some() && self.from.is_none();
        let is_on_interface = interface.is_none_or(|interface| hop.dev.as_deref() == Some(interface));
        let has_failed = |gateway: IpAddr| {
            context.failed.iter().any(|(dev, address)| *address == gateway && Some(dev) == hop.dev.as_ref())
        };
        if hop.state.dead || is_strict && !is_on_interface || reachable && hop.gateway.is_some_and(has_failed) {
            return None;
        }
        let preference = route.extras.as_ref().map_or(0, |extras| u32::from(extras.preference));
        Some(if is_on_interface { 2 } else { 0 } | (preference ^ 2) << 2)
    }

    /// The interface and gateway of a nexthop. An address of the host as gateway means on-link, but only if no route to
    /// it was installed when the route was added: both are possible.
    pub(crate) fn resolve(&self, route: &Route, hop: &Nexthop, snapshot: &Snapshot) -> Vec<ResolvedRoute> {
        let kind = route.kind();
        let is_for_host = match self.family {
            Family::Inet => kind == Kind::Local || kind == Kind::Broadcast && !self.is_sent(),
            // Anycast routes that the kernel added are delivered locally, foreign ones are not.
            Family::Inet6 => {
                let is_local = kind == Kind::Local || kind == Kind::Anycast && route.protocol == KERNEL;
                is_local && !needs_interface(&route.dst.addr())
            }
        };
        let resolved = |gateway| ResolvedRoute {
            kind,
            table: route.table,
            dev: if is_for_host { Some("lo".into()) } else { hop.dev.clone() },
            gateway,
            source: None,
        };
        let is_of_host = |gateway: &IpAddr| snapshot.addresses.iter().any(|known| known.net.addr() == *gateway);
        match hop.gateway.filter(|_| !is_for_host && kind != Kind::Broadcast) {
            Some(gateway) if self.family == Family::Inet && is_of_host(&gateway) => {
                vec![resolved(None), resolved(Some(gateway))]
            }
            gateway => vec![resolved(gateway)],
        }
    }
}

/// A nexthop without carrier counts as dead with `ignore_routes_with_linkdown`; but which of several nexthops a hash
/// selects is computed when the carrier changes (`fib_rebalance`, `rt6_multipath_rebalance`), not when the setting
/// changes.
fn is_still_chosen(hop: &Nexthop) -> bool {
    hop.state.dead && hop.state.linkdown
}

/// `rt6_need_strict`: addresses whose meaning depends on the interface.
fn needs_interface(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address)
        if address.is_loopback() || address.is_multicast() || address.is_unicast_link_local())
}

/// `fib_select_default` (net/ipv4/fib_semantics.c): of several default routes with the same metric, the kernel
/// selects one whose router replies. `routes` begins with the route that was found.
fn other_defaults(routes: &[&Route]) -> Vec<Nexthop> {
    let has_router = |route: &Route| {
        route.dst.prefix_len() == 0 && route.kind() == Kind::Unicast && hops(route)[0].gateway.is_some()
    };
    let Some((first, others)) = routes.split_first().filter(|(first, _)| has_router(first)) else { return Vec::new() };
    let others = others.iter().take_while(|route| route.metric == first.metric);
    let others = others.filter(|route| has_router(route) && !route.state.dead && route.scope == first.scope);
    others.filter_map(|route| hops(route).into_iter().next()).collect()
}
