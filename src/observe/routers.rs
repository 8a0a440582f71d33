//! Several uplinks on one link: the gateways that an uplink's packets must not be sent to. Ethernet addresses tell them
//! apart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::links::{Hardware, Index, Neighbour, Router};
use crate::check::expected::{Expected, Routing};
use crate::network::{Family, Snapshot};
use crate::policy::Plan;
use crate::sort::sort;
use crate::uplinks::Uplink;

/// The uplinks that are up, with their links.
pub fn active<'a>(plan: &'a Plan, snapshot: &Snapshot) -> Vec<(&'a Uplink, Index)> {
    let uplinks = plan.uplinks.iter().filter(|uplink| uplink.up && uplink.skipped.is_none());
    uplinks.filter_map(|uplink| Some((uplink, snapshot.link(&uplink.interface)?.index))).collect()
}

/// Have two uplinks of a family one link, or links that share one? Then neighbours are needed.
pub fn shares_links(plan: &Plan, snapshot: &Snapshot) -> bool {
    let uplinks = active(plan, snapshot);
    uplinks.iter().enumerate().any(|(at, (uplink, index))| {
        let mut others = uplinks[at + 1..].iter().filter(|(other, _)| other.family == uplink.family);
        others.any(|(_, other)| wire(snapshot, *index) == wire(snapshot, *other))
    })
}

/// The link below a macvlan, or the link itself.
fn wire(snapshot: &Snapshot, index: Index) -> Index {
    let below = snapshot.links.iter().find(|link| link.index == index).and_then(|link| link.shares);
    below.unwrap_or(index)
}

/// An uplink with an Ethernet gateway.
#[derive(Clone, Copy)]
struct Known<'a> {
    uplink: &'a Uplink,
    link: Index,
    gateway: IpAddr,
    hardware: Hardware,
}

/// The gateways of uplinks that share a link. One whose Ethernet address is not known is left out, and so are those of
/// uplinks that use the same router.
pub fn routers(plan: &Plan, snapshot: &Snapshot, family: Family, neighbours: &[Neighbour]) -> Vec<Router> {
    let uplinks = active(plan, snapshot).into_iter().filter(|(uplink, _)| uplink.family == family);
    let known: Vec<Known> = uplinks
        .filter_map(|(uplink, link)| {
            let gateway = uplink.gateway.address()?;
            let neighbour = neighbours.iter().find(|known| (known.link, known.address) == (link, gateway))?;
            Some(Known { uplink, link, gateway, hardware: neighbour.hardware })
        })
        .collect();
    let mut routers: Vec<Router> = Vec::new();
    for Known { link, gateway, hardware, .. } in &known {
        let shared = known.iter().filter(|other| wire(snapshot, other.link) == wire(snapshot, *link));
        let (own, others): (Vec<&Known>, Vec<&Known>) = shared.partition(|other| other.hardware == *hardware);
        let is_listed = routers.iter().any(|router| (router.link, router.hardware) == (*link, *hardware));
        if is_listed || others.is_empty() {
            continue;
        }
        let sources: BTreeMap<IpNet, bool> = others.iter().flat_map(|other| networks(other.uplink, true)).collect();
        let sources = sources.into_iter().chain(own.iter().flat_map(|own| networks(own.uplink, false))).collect();
        let near = near(plan, snapshot, &own, &others);
        routers.push(Router { link: *link, hardware: *hardware, address: *gateway, sources, near });
    }
    routers
}

/// The uplink's addresses and its on-link networks.
fn networks(uplink: &Uplink, is_other: bool) -> impl Iterator<Item = (IpNet, bool)> {
    let addresses = uplink.sources.iter().map(|source| match source.by_prefix {
        true => source.net.trunc(),
        false => IpNet::from(source.net.addr()),
    });
    let on_link = uplink.on_link().into_iter().filter(|net| net.prefix_len() > 0);
    addresses.chain(on_link).map(move |net| (net.trunc(), is_other))
}

/// What the check expects the others' addresses to reach through a gateway of `own`, and what is on its link.
fn near(plan: &Plan, snapshot: &Snapshot, own: &[&Known], others: &[&Known]) -> Vec<IpNet> {
    let family = own.first().map_or(Family::Inet, |own| own.uplink.family);
    let tables: Vec<u32> = plan.tables().filter(|(of, _)| *of == family).map(|(_, table)| table).collect();
    let routing = Routing::new(&plan.uplinks, snapshot, family, &tables);
    let is_own = |gateway: &Option<IpAddr>| own.iter().any(|own| Some(own.gateway) == *gateway);
    let is_near = |net: &&IpNet| {
        let mut expected = others.iter().map(|other| routing.derive(other.uplink, net.addr()));
        expected.any(|derived| match derived.map(|derived| derived.expected) {
            Some(Expected::Through(_, gateway)) => is_own(&gateway),
            Some(Expected::AnyOf(hops)) => hops.iter().any(|(_, gateway)| is_own(gateway)),
            Some(Expected::Dev(_) | Expected::NotThrough(_) | Expected::Routable) | None => true,
            Some(Expected::Delivered | Expected::Rejected) => false,
        })
    };
    let networks = routing.before_main.iter().chain([&routing.main]).flat_map(|table| table.networks());
    let on_link = own.iter().flat_map(|own| own.uplink.on_link()).filter(|net| net.prefix_len() > 0);
    let mut near: Vec<IpNet> = networks.filter(is_near).copied().chain(on_link).collect();
    sort(&mut near);
    near.dedup();
    near
}
