//! What main routes through the uplinks' interfaces, and where it goes from an address of one uplink.
//!
//! The first rule of an address rejects all of it. What does not use an uplink's gateway is copied into the uplink's
//! table: networks of the own interface, private networks and further routers on the others'. The rest is the
//! Internet, for which the own gateway is the way, and needs no route but the default.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::group::Group;
use super::layout::NEARLY_DEFAULT;
use crate::interfaces::Family;
use crate::snapshot::{Kind, MAIN, Route, Snapshot};
use crate::uplinks::{StaticRoute, Uplink};

/// Where packets to a destination go next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub gateway: Option<IpAddr>,
    pub dev: String,
}

/// What main routes through the interfaces of the group, by destination: the route that a lookup takes. No hop where
/// the route says that another table has to decide.
#[derive(Debug, Default)]
pub struct Networks(BTreeMap<IpNet, Vec<Hop>>);

impl Networks {
    /// Of one family; from the files where main has nothing through an interface yet.
    pub fn new(
        uplinks: &[Uplink],
        static_routes: &[StaticRoute],
        family: Family,
        group: &Group,
        snapshot: Option<&Snapshot>,
    ) -> Self {
        let main = || {
            let routes = snapshot.iter().flat_map(|snapshot| &snapshot.routes);
            let routes = routes.filter(|route| route.table == MAIN && route.family == family);
            routes.filter(|route| is_specific(&route.dst) && !is_own(&route.dst, snapshot))
        };
        // Behind a `throw` comes the uplink's table as well, which may have a shorter route.
        let is_passed_on =
            |route: &&Route| route.kind() == Kind::Throw || hops(route).iter().any(|hop| group.has(&hop.dev));
        let mut best: BTreeMap<IpNet, &Route> = BTreeMap::new();
        for route in main().filter(is_passed_on) {
            let known = best.entry(route.dst).or_insert(route);
            if route.metric < known.metric {
                *known = route;
            }
        }
        // A better route through another interface is taken by the first rule.
        for route in main().filter(|route| !is_passed_on(route)) {
            if best.get(&route.dst).is_some_and(|known| route.metric < known.metric) {
                best.remove(&route.dst);
            }
        }
        let mut networks: BTreeMap<IpNet, Vec<Hop>> = best.into_iter().map(|(dst, route)| (dst, hops(route))).collect();
        let is_in_main = |dev: &str| networks.values().flatten().any(|hop| hop.dev == dev);
        let in_files = uplinks.iter().filter(|uplink| uplink.family == family && uplink.up);
        let in_files = in_files.filter(|uplink| group.has(&uplink.interface) && !is_in_main(&uplink.interface));
        let mut in_files: Vec<(IpNet, Hop)> = in_files
            .flat_map(|uplink| {
                let hop = Hop { gateway: None, dev: uplink.interface.clone() };
                uplink.on_link().into_iter().map(move |net| (net, hop.clone()))
            })
            .collect();
        let by_lines = static_routes.iter().filter(|route| route.family == family && is_specific(&route.dst));
        let by_lines = by_lines.filter(|route| group.has(&route.dev) && !is_in_main(&route.dev));
        in_files
            .extend(by_lines.map(|route| (route.dst.trunc(), Hop { gateway: route.gateway, dev: route.dev.clone() })));
        for (net, hop) in in_files {
            networks.entry(net).or_insert_with(|| vec![hop]);
        }
        Networks(networks)
    }

    /// The routes that the table of `uplinks[at]` needs beside those to its own networks and the default. A route that
    /// goes where a shorter one of the table goes is left out.
    pub fn copies(&self, uplinks: &[Uplink], at: usize) -> Vec<(IpNet, Hop)> {
        let it = &uplinks[at];
        let default = Hop { gateway: it.gateway, dev: it.interface.clone() };
        let direct = Hop { gateway: None, dev: it.interface.clone() };
        let own: Vec<IpNet> = it.on_link();
        let mut all: BTreeMap<IpNet, Hop> = BTreeMap::new();
        for (dst, hops) in &self.0 {
            let copied = hops.iter().find(|hop| self.is_for(uplinks, it, dst, hop)).unwrap_or(&default);
            all.insert(*dst, copied.clone());
        }
        all.extend(own.iter().map(|net| (*net, direct.clone())));
        let mut copies = Vec::new();
        // Sorted, a network comes after those that hold it.
        let mut above: Vec<(IpNet, Hop)> = Vec::new();
        for (dst, hop) in all {
            while above.last().is_some_and(|(net, _)| !net.contains(&dst)) {
                above.pop();
            }
            if above.last().map_or(&default, |(_, hop)| hop) != &hop {
                if !own.contains(&dst) {
                    copies.push((dst, hop.clone()));
                }
                above.push((dst, hop));
            }
        }
        copies
    }

    /// Does the address of an uplink go there as main does?
    fn is_for(&self, uplinks: &[Uplink], it: &Uplink, dst: &IpNet, hop: &Hop) -> bool {
        if hop.gateway.is_some_and(|gateway| gateway.is_ipv6() != dst.addr().is_ipv6()) {
            return false;
        }
        if hop.dev != it.interface {
            return !self.is_of_provider(uplinks, it.family, dst, hop) || is_private(dst) && !is_in_private_network(it);
        }
        // Of several uplinks on one interface, each has its own networks and its own gateway.
        let on_device = |other: &&Uplink| other.interface == it.interface && other.family == it.family;
        let mut others = uplinks.iter().filter(on_device).filter(|other| !std::ptr::eq(*other, it));
        match hop.gateway {
            Some(gateway) => it.gateway == Some(gateway) || others.all(|other| other.gateway != Some(gateway)),
            None => it.on_link().contains(dst) || others.all(|other| !other.provider_networks().contains(dst)),
        }
    }

    /// Is it the Internet: behind an uplink's gateway, or a network of a provider's customers?
    fn is_of_provider(&self, uplinks: &[Uplink], family: Family, dst: &IpNet, hop: &Hop) -> bool {
        let mut there = uplinks.iter().filter(|uplink| uplink.family == family && uplink.interface == hop.dev);
        if hop.gateway.is_some() {
            return there.any(|uplink| uplink.gateway == hop.gateway);
        }
        there.any(|uplink| {
            let Some(gateway) = uplink.gateway else { return false };
            if uplink.provider_networks().iter().any(|net| net.contains(dst)) {
                return true;
            }
            // A gateway outside every network of its interface does not tell which of them is the provider's.
            let outside = || !self.on_link(&hop.dev).chain(uplink.on_link()).any(|net| net.contains(&gateway));
            dst.contains(&gateway) || outside() && !is_private(dst)
        })
    }

    fn on_link<'a>(&'a self, dev: &'a str) -> impl Iterator<Item = IpNet> + 'a {
        let on_link = move |hop: &Hop| hop.dev == dev && hop.gateway.is_none();
        self.0.iter().filter(move |(_, hops)| hops.iter().any(on_link)).map(|(net, _)| *net)
    }
}

/// Of a unicast route that a lookup takes; nothing for any other.
fn hops(route: &Route) -> Vec<Hop> {
    let hop = |gateway: Option<IpAddr>, dev: &Option<String>| dev.clone().map(|dev| Hop { gateway, dev });
    match &route.more {
        _ if route.state.dead => Vec::new(),
        Some(more) if more.kind != Kind::Unicast || more.tos != 0 || more.src.is_some() => Vec::new(),
        Some(more) if !more.nexthops.is_empty() => {
            let alive = more.nexthops.iter().filter(|nexthop| !nexthop.state.dead);
            alive.filter_map(|nexthop| hop(nexthop.gateway, &nexthop.dev)).collect()
        }
        _ => hop(route.gateway, &route.dev).into_iter().collect(),
    }
}

/// The host's own address, which inet6 has in main as well.
fn is_own(dst: &IpNet, snapshot: Option<&Snapshot>) -> bool {
    let mut addresses = snapshot.iter().flat_map(|snapshot| &snapshot.addresses);
    dst.prefix_len() == dst.max_prefix_len() && addresses.any(|address| address.net.addr() == dst.addr())
}

/// Longer than what stands for the whole Internet, and not of a scope below it.
fn is_specific(dst: &IpNet) -> bool {
    let length = NEARLY_DEFAULT[usize::from(dst.addr().is_ipv6())];
    let local = match dst.addr() {
        IpAddr::V4(address) => address.is_loopback() || address.is_multicast(),
        IpAddr::V6(address) => address.is_loopback() || address.is_multicast() || address.is_unicast_link_local(),
    };
    u32::from(dst.prefix_len()) > length && !local
}

/// Within RFC 1918, RFC 6598 or RFC 4193: no provider has a route to it.
pub fn is_private(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16), ([100, 64, 0, 0], 10)]
            .iter()
            .filter_map(|(address, length)| Ipv4Net::new(Ipv4Addr::from(*address), *length).ok())
            .any(|private| private.contains(net)),
        IpNet::V6(net) => {
            let unique_local = Ipv6Net::new(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
            unique_local.is_ok_and(|private| private.contains(net))
        }
    }
}

/// Is the uplink's own network private? Its address tells: a provider may give a private gateway to a public address.
fn is_in_private_network(it: &Uplink) -> bool {
    let address = it.sources.first().map(|source| source.net.addr()).or(it.gateway);
    address.is_some_and(|address| is_private(&address.into()))
}
