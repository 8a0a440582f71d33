//! What is observed on a host: its uplinks, and the other links through which packets of the uplinks' addresses could
//! leave.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::links::{Index, Link, Neighbour, Observed, Owners};
use super::routers::{active, routers};
use crate::check::expected::{Expected, Routing};
use crate::network::{Family, Kind, LOCAL, Route, Snapshot};
use crate::policy::Plan;
use crate::sort::sort;
use crate::uplinks::Uplink;

/// What is observed: nothing of an uplink that is down.
pub fn select(plan: &Plan, snapshot: &Snapshot, neighbours: &[Neighbour]) -> Observed {
    let uplinks = active(plan, snapshot);
    let is_uplink = |index: Index| uplinks.iter().any(|(_, uplink)| *uplink == index);
    let links = snapshot.links.iter().filter(|link| link.up && link.name != "lo" && !link.vrf);
    // The parts of a bridge or a bond have no routes of their own.
    let routed = routed(snapshot);
    let links: Vec<Link> = links
        .filter(|link| is_uplink(link.index) || routed.contains(&link.name[..]))
        .map(|link| Link { index: link.index, name: link.name.clone(), is_uplink: is_uplink(link.index) })
        .collect();
    let mut owners = Owners::default();
    for (uplink, index) in &uplinks {
        for source in &uplink.sources {
            let whole = IpNet::from(source.net.addr());
            owners.add(if source.by_prefix { source.net.trunc() } else { whole }, *index);
        }
        // A default route says nothing about whose addresses they are.
        uplink.on_link().into_iter().filter(|net| net.prefix_len() > 0).for_each(|net| owners.add(net, *index));
    }
    // Packets of a macvlan are seen on both interfaces.
    for link in &snapshot.links {
        let both = link.shares.map(|below| (link.index, below));
        both.into_iter().for_each(|(link, below)| owners.share(link, below));
    }
    let mut observed = Observed { links, owners, near: BTreeMap::new(), routers: Vec::new() };
    for family in Family::ALL {
        add_near(&mut observed, plan, snapshot, family, &uplinks);
        observed.routers.extend(routers(plan, snapshot, family, neighbours));
    }
    for networks in observed.near.values_mut() {
        sort(networks);
        networks.dedup();
    }
    observed
}

/// Interfaces with a route that leads to another host.
fn routed(snapshot: &Snapshot) -> HashSet<&str> {
    let is_on_link_only = |route: &&Route| match route.dst.addr() {
        IpAddr::V4(address) => address.is_link_local() || address.is_multicast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    let routes = snapshot.routes.iter().filter(|route| route.table != LOCAL && route.kind() == Kind::Unicast);
    let to_hosts = routes.filter(|route| !is_on_link_only(route));
    to_hosts
        .flat_map(|route| {
            let several = route.extras.iter().flat_map(|extras| &extras.nexthops).map(|hop| hop.dev.as_deref());
            std::iter::once(route.dev.as_deref()).chain(several).flatten()
        })
        .collect()
}

/// The networks that the check expects to be reached through other links than the uplink's own, and those that a rule
/// of the administrator sends elsewhere.
fn add_near(observed: &mut Observed, plan: &Plan, snapshot: &Snapshot, family: Family, uplinks: &[(&Uplink, Index)]) {
    let tables: Vec<u32> = plan.tables().filter(|(of, _)| *of == family).map(|(_, table)| table).collect();
    let routing = Routing::new(&plan.uplinks, snapshot, family, &tables);
    let networks: Vec<IpNet> =
        routing.before_main.iter().chain([&routing.main]).flat_map(|table| table.networks().copied()).collect();
    for (uplink, index) in uplinks.iter().filter(|(uplink, _)| uplink.family == family) {
        for net in &networks {
            let expected = routing.derive(uplink, net.addr()).map(|derived| derived.expected);
            for link in snapshot.links.iter().filter(|link| link.index != *index) {
                let is_through = match &expected {
                    Some(Expected::Through(dev, _) | Expected::Dev(dev)) => *dev == link.name,
                    Some(Expected::AnyOf(hops)) => hops.iter().any(|(dev, _)| *dev == link.name),
                    Some(Expected::NotThrough(links)) => !links.contains(&link.name),
                    Some(Expected::Routable) | None => true,
                    Some(Expected::Delivered | Expected::Rejected) => false,
                };
                if is_through {
                    observed.near.entry((*index, link.index)).or_default().push(*net);
                }
            }
        }
        let through_others = |(_, link): &(IpNet, Index)| !uplinks.iter().any(|(_, uplink)| uplink == link);
        for (net, link) in by_destination(snapshot, family).filter(through_others) {
            observed.near.entry((*index, link)).or_default().push(net);
        }
    }
}

/// Foreign rules by destination, and the links of the tables that they look up. Through another uplink they are a fault.
fn by_destination(snapshot: &Snapshot, family: Family) -> impl Iterator<Item = (IpNet, Index)> {
    let rules = snapshot.rules.iter().filter(move |rule| rule.family == family && !rule.is_ours());
    let rules = rules.filter(|rule| rule.table != LOCAL);
    rules.filter_map(|rule| Some((rule, rule.extras.as_ref()?.dst?))).flat_map(move |(rule, net)| {
        let routes = snapshot
            .routes
            .iter()
            .filter(move |route| route.family == family && route.table == rule.table && route.kind() == Kind::Unicast);
        let links = snapshot.links.iter().filter(move |link| routes.clone().any(|route| route.is_through(&link.name)));
        links.map(move |link| (net, link.index))
    })
}
