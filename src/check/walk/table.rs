//! What one table answers, and where the route that it finds leads to.
//!
//! Here inet and inet6 have little in common: the one takes the longest prefix and then the smallest metric, the other
//! goes back from node to node and lets the routes of each compete by score. After net/ipv4/{fib_trie,fib_semantics}.c
//! and net/ipv6/{ip6_fib,route}.c of Linux 6.18.

use std::net::{IpAddr, Ipv6Addr};

use nix::errno::Errno;

use super::Flow;
use crate::interfaces::Family;
use crate::snapshot::{Kind, Nexthop, Route, RouteMore, Snapshot, Surroundings, Way};

/// `RTPROT_KERNEL` (rtnetlink(7)).
const KERNEL: u8 = 2;

/// What a table answers.
pub(super) enum Looked {
    Nothing,
    Throw(Route),
    Refused(Route, Errno),
    /// Any of these nexthops, the first one that matched first; never empty.
    Found {
        route: Route,
        hops: Vec<Nexthop>,
    },
    Unsure(String),
}

impl Looked {
    fn of(route: &Route, hops: Vec<Nexthop>) -> Looked {
        let route = route.clone();
        match route.kind() {
            Kind::Throw => Looked::Throw(route),
            Kind::Unreachable => Looked::Refused(route, Errno::EHOSTUNREACH),
            Kind::Prohibit => Looked::Refused(route, Errno::EACCES),
            Kind::Blackhole | Kind::Other(_) => Looked::Refused(route, Errno::EINVAL),
            _ => Looked::Found { route, hops },
        }
    }
}

/// The nexthops of a route: its own, or those of a multipath route.
pub(super) fn hops(route: &Route) -> Vec<Nexthop> {
    match &route.more {
        Some(more) if !more.nexthops.is_empty() => more.nexthops.clone(),
        _ => {
            let Route { gateway, dev, onlink, state, .. } = route.clone();
            vec![Nexthop { gateway, dev, weight: 1, onlink, state }]
        }
    }
}

/// A nexthop object that the kernel does not show (`net.ipv4.nexthop_compat_mode` 0).
fn hidden(route: &Route) -> Option<Looked> {
    let id = route.more.as_ref().and_then(|more| more.nexthop_id)?;
    let shown = route.dev.is_some() || route.more.as_ref().is_some_and(|more| !more.nexthops.is_empty());
    (!shown && matches!(route.kind(), Kind::Unicast))
        .then(|| Looked::Unsure(format!("the kernel does not show where nexthop object {id} leads to")))
}

impl Flow<'_> {
    pub(super) fn look_in(&self, table: u32, snapshot: &Snapshot, surroundings: &Surroundings) -> Looked {
        let plain = RouteMore::default();
        let more = |route: &Route| route.more.as_deref().unwrap_or(&plain).clone();
        let of_table = |route: &&Route| route.table == table && route.family == self.family;
        let mut routes: Vec<&Route> =
            snapshot.routes.iter().filter(of_table).filter(|route| route.dst.contains(&self.to)).collect();
        match self.family {
            Family::Inet6 => self.look_in_inet6(&routes, surroundings),
            _ => {
                // Routes for a TOS come first, but not for packets without one.
                routes.retain(|route| more(route).tos == 0);
                self.look_in_inet(routes)
            }
        }
    }

    /// `fib_table_lookup` (net/ipv4/fib_trie.c), then `fib_select_path` (fib_semantics.c).
    fn look_in_inet(&self, mut routes: Vec<&Route>) -> Looked {
        routes.sort_by_key(|route| (std::cmp::Reverse(route.dst.prefix_len()), route.metric));
        let mut missed: Option<IpAddr> = None;
        for (at, route) in routes.iter().enumerate() {
            if missed == Some(route.dst.network()) {
                continue;
            }
            if let Looked::Throw(_) | Looked::Refused(..) = Looked::of(route, Vec::new()) {
                return Looked::of(route, Vec::new());
            }
            if let Some(hidden) = hidden(route) {
                return hidden;
            }
            if route.state.dead {
                continue;
            }
            let on_device = |hop: &Nexthop| self.oif.is_none() || hop.dev.as_deref() == self.oif;
            let mut alive: Vec<Nexthop> =
                hops(route).into_iter().filter(|hop| !hop.state.dead && on_device(hop)).collect();
            if alive.is_empty() {
                // After a nexthop object that will not do, the kernel passes over the rest of the trie's leaf: all
                // routes to prefixes that begin at the same address.
                let by_object = route.more.as_ref().is_some_and(|more| more.nexthop_id.is_some());
                missed = by_object.then(|| route.dst.network()).or(missed);
                continue;
            }
            if self.oif.is_some() {
                alive.truncate(1);
            } else if hops(route).len() > 1 {
                alive.extend(hops(route).into_iter().filter(is_still_chosen));
            } else if hops(route).len() == 1 && self.sent() {
                alive.extend(other_defaults(&routes[at..]));
            }
            return Looked::of(route, alive);
        }
        Looked::Nothing
    }

    /// `fib6_table_lookup` (net/ipv6/route.c) over the nodes of `fib6_node_lookup` and `fib6_backtrack`.
    fn look_in_inet6(&self, routes: &[&Route], surroundings: &Surroundings) -> Looked {
        let source = self.from.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let src = |route: &Route| route.more.as_ref().and_then(|more| more.src);
        let descending = |mut lengths: Vec<u8>| {
            lengths.sort_by(|a, b| b.cmp(a));
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
            // Where routes for other sources stand beside them, the kernel finds those for all only on its way back
            // from a longer prefix.
            let plain: Vec<&Route> = at_node().filter(|route| src(route).is_none()).collect();
            let only_for_others = at_node().any(|route| src(route).is_some()) && nodes.is_empty() && length > 0;
            if !plain.is_empty() && !only_for_others {
                nodes.push(plain);
            }
        }
        // A host, as opposed to a router, first looks for routers that answer.
        for reachable in if surroundings.forwards { &[false][..] } else { &[true, false] } {
            for node in &nodes {
                if let Some(looked) = self.select(node, *reachable, surroundings) {
                    return looked;
                }
            }
        }
        Looked::Nothing
    }

    /// `rt6_select` and `fib6_select_path` (net/ipv6/route.c): the routes of the smallest metric compete by score;
    /// where none of them will do, all others.
    fn select(&self, node: &[&Route], reachable: bool, surroundings: &Surroundings) -> Option<Looked> {
        let mut routes = node.to_vec();
        routes.sort_by_key(|route| route.metric);
        let first = routes.iter().take_while(|route| route.metric == routes[0].metric).count();
        let (first, others) = routes.split_at(first);
        [first, others].into_iter().find_map(|group| {
            let mut best: Option<(u32, &Route)> = None;
            for route in group {
                if hidden(route).is_some() {
                    return hidden(route);
                }
                // A nexthop object that is a blackhole takes all, whatever the device.
                if route.kind() == Kind::Blackhole && route.more.as_ref().is_some_and(|more| more.nexthop_id.is_some())
                {
                    return Some(Looked::of(route, Vec::new()));
                }
                let score = hops(route).iter().filter_map(|hop| self.score(route, hop, reachable, surroundings)).max();
                if let Some(score) = score.filter(|score| best.is_none_or(|(known, _)| *score > known)) {
                    best = Some((score, route));
                }
            }
            let (_, route) = best?;
            let several = hops(route).len() > 1;
            let will_do = |hop: &Nexthop| {
                several && self.oif.is_none() && is_still_chosen(hop)
                    || self.score(route, hop, reachable, surroundings).is_some()
            };
            Some(Looked::of(route, hops(route).into_iter().filter(will_do).collect()))
        })
    }

    /// `find_match` and `rt6_score_route` (net/ipv6/route.c); nothing for a nexthop that will not do.
    fn score(&self, route: &Route, hop: &Nexthop, reachable: bool, surroundings: &Surroundings) -> Option<u32> {
        let device = if self.sent() { self.oif } else { Some(self.iif) };
        let strict = needs_device(&self.to) || self.sent() && self.oif.is_some() && self.from.is_none();
        let on_device = device.is_none_or(|device| hop.dev.as_deref() == Some(device));
        let failed = |gateway: IpAddr| {
            surroundings.failed.iter().any(|(dev, address)| *address == gateway && Some(dev) == hop.dev.as_ref())
        };
        if hop.state.dead || strict && !on_device || reachable && hop.gateway.is_some_and(failed) {
            return None;
        }
        let preference = route.more.as_ref().map_or(0, |more| u32::from(more.preference));
        Some(if on_device { 2 } else { 0 } | (preference ^ 2) << 2)
    }

    /// Where a nexthop leads to. An own address for a gateway is the old way of saying that all is on the link, but
    /// only if no route to it stood in the table when the route was made: then it may be either.
    pub(super) fn ways(&self, route: &Route, hop: &Nexthop, snapshot: &Snapshot) -> Vec<Way> {
        let kind = route.kind();
        let for_host = match self.family {
            Family::Inet => kind == Kind::Local || kind == Kind::Broadcast && !self.sent(),
            // The kernel's own anycast addresses are the host's, those that somebody wrote are not.
            _ => {
                let own = kind == Kind::Local || kind == Kind::Anycast && route.protocol == KERNEL;
                own && !needs_device(&route.dst.addr())
            }
        };
        let way = |gateway| Way {
            kind,
            table: route.table,
            dev: if for_host { Some("lo".into()) } else { hop.dev.clone() },
            gateway,
            source: None,
        };
        let own = |gateway: &IpAddr| snapshot.addresses.iter().any(|known| known.net.addr() == *gateway);
        match hop.gateway.filter(|_| !for_host && kind != Kind::Broadcast) {
            Some(gateway) if self.family == Family::Inet && own(&gateway) => vec![way(None), way(Some(gateway))],
            gateway => vec![way(gateway)],
        }
    }
}

/// A nexthop without carrier counts as dead with `ignore_routes_with_linkdown`; but which of several nexthops a hash
/// chooses is worked out when the carrier changes (`fib_rebalance`, `rt6_multipath_rebalance`), whatever was set since.
fn is_still_chosen(hop: &Nexthop) -> bool {
    hop.state.dead && hop.state.linkdown
}

/// `rt6_need_strict`: addresses that mean something else on each link.
fn needs_device(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address)
        if address.is_loopback() || address.is_multicast() || address.is_unicast_link_local())
}

/// `fib_select_default` (net/ipv4/fib_semantics.c): of several default routes with one metric, one whose router
/// answers. `routes` begins with the one that was found.
fn other_defaults(routes: &[&Route]) -> Vec<Nexthop> {
    let by_router = |route: &Route| {
        route.dst.prefix_len() == 0 && route.kind() == Kind::Unicast && hops(route)[0].gateway.is_some()
    };
    let Some((first, others)) = routes.split_first().filter(|(first, _)| by_router(first)) else { return Vec::new() };
    let others = others.iter().take_while(|route| route.metric == first.metric);
    let others = others.filter(|route| by_router(route) && !route.state.dead && route.scope == first.scope);
    others.filter_map(|route| hops(route).into_iter().next()).collect()
}
