//! The uplinks as the kernel has them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bstr::BStr;

use super::finder::Finder;
use super::named::is_alias;
use super::{Lack, Origin, Skipped, Source, Uplink, assign};
use crate::interfaces::{Family, Stanza};
use crate::snapshot::{Address, Kind, MAIN, Route, Rule, Snapshot};

/// One way out by a default route: a nexthop where the route has several.
struct Default<'a> {
    route: &'a Route,
    interface: &'a str,
    gateway: Option<IpAddr>,
}

impl Default<'_> {
    fn is_of(&self, uplink: &Uplink) -> bool {
        uplink.interface == self.interface && uplink.family == self.route.family
    }
}

/// The default routes of main, the best first.
fn of_main(snapshot: &Snapshot) -> Vec<Default<'_>> {
    let mut routes: Vec<&Route> = default_routes(snapshot).filter(|route| route.table == MAIN).collect();
    routes.sort_by_key(|route| route.metric);
    routes.into_iter().flat_map(ways).collect()
}

/// The default routes that symroute made in other tables, those in use first.
fn of_own_tables(snapshot: &Snapshot) -> Vec<Default<'_>> {
    let own = default_routes(snapshot).filter(|route| route.table != MAIN && route.is_ours());
    let mut defaults: Vec<Default> = own.flat_map(ways).collect();
    defaults.sort_by_key(|default| !is_in_use(default, snapshot));
    defaults
}

fn default_routes(snapshot: &Snapshot) -> impl Iterator<Item = &Route> {
    snapshot.routes.iter().filter(|route| route.dst.prefix_len() == 0 && route.kind() == Kind::Unicast)
}

/// Do rules of symroute's look up its table for an address of its interface? What an older plan left is not in use.
fn is_in_use(default: &Default, snapshot: &Snapshot) -> bool {
    let own = |src: &ipnet::IpNet| {
        snapshot.addresses.iter().any(|known| known.dev == default.interface && src.contains(&known.net.addr()))
    };
    let of_table = |rule: &&Rule| (rule.family, rule.table) == (default.route.family, default.route.table);
    let rules = snapshot.rules.iter().filter(|rule| rule.is_ours()).filter(of_table);
    rules.filter_map(|rule| rule.src.as_ref()).any(own)
}

/// The ways of one default route.
fn ways(route: &Route) -> impl Iterator<Item = Default<'_>> {
    let Route { gateway, dev, more, .. } = route;
    let nexthops = more.iter().flat_map(|more| &more.nexthops).map(|nexthop| (nexthop.gateway, nexthop.dev.as_deref()));
    [(*gateway, dev.as_deref())].into_iter().chain(nexthops).filter_map(move |(gateway, dev)| {
        let gateway = gateway.filter(|gateway| gateway.is_ipv6() == (route.family == Family::Inet6));
        Some(Default { route, interface: dev?, gateway })
    })
}

impl Finder<'_> {
    /// The uplinks of the files, then those that only main's default routes tell of; and main's default routes that
    /// belong to none.
    pub(super) fn with_those_of_main(&mut self, snapshot: Option<&Snapshot>) -> (Vec<Uplink>, Vec<Route>) {
        let mut uplinks = self.uplinks();
        let mut unknown: Vec<Route> = Vec::new();
        let Some(snapshot) = snapshot else { return (uplinks, unknown) };
        let of_files = uplinks.len();
        // An uplink that main had may have its own table alone: it goes when its address goes.
        let own_tables = of_own_tables(snapshot).into_iter().filter(|default| is_in_use(default, snapshot));
        for default in &of_main(snapshot).into_iter().chain(own_tables).collect::<Vec<_>>() {
            if uplinks.iter().any(|uplink| default.is_of(uplink)) {
                continue;
            }
            let Route { family, table, metric, .. } = *default.route;
            let stanza = self.stanza_of(default.interface, family).filter(|_| default.gateway.is_some());
            match stanza.and_then(|stanza| self.uplink_in(stanza, default.interface, family)) {
                Some(uplink) => {
                    let metric = Some(metric).filter(|_| table == MAIN);
                    let (in_main, origin) = (metric.is_some(), Origin::Main);
                    uplinks.push(Uplink { dynamic: true, in_main, metric, origin, written: None, ..uplink });
                }
                None if table != MAIN || self.is_of_point_to_point(&uplinks, default) => {}
                None if unknown.contains(default.route) => {}
                None => unknown.push(default.route.clone()),
            }
        }
        for (interface, family, source) in &self.sources {
            assign(&mut uplinks, interface, *family, source);
        }
        self.mark_hand_written(&mut uplinks[of_files..]);
        unknown.retain(|route| {
            let out = uplinks.iter().filter(|uplink| uplink.family == route.family && uplink.skipped.is_none());
            out.count() > 0
        });
        (uplinks, unknown)
    }

    /// pppd names its interfaces itself: the stanza is of no use to find out whose default route it is.
    fn is_of_point_to_point(&self, uplinks: &[Uplink], default: &Default) -> bool {
        default.interface.starts_with("ppp")
            && uplinks.iter().any(|uplink| uplink.skipped == Some(Skipped::PointToPoint))
    }
}

/// Which uplinks are up, with which addresses, and for dynamic ones through which router.
pub(super) fn hold_against(uplinks: &mut Vec<Uplink>, snapshot: &Snapshot) {
    hold_all(uplinks, snapshot);
    let up: Vec<bool> = uplinks.iter().map(|uplink| uplink.up).collect();
    drop_copies(uplinks, &up);
}

fn hold_all(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    for at in 0..uplinks.len() {
        learn_gateway(uplinks, at, snapshot);
        as_the_kernel_has_it(&mut uplinks[at], snapshot);
    }
    assign_kernel_addresses(uplinks, snapshot);
    for uplink in uplinks {
        uplink.lacks = lack(uplink, snapshot);
    }
}

/// What is missing where an uplink is not up.
fn lack(uplink: &Uplink, snapshot: &Snapshot) -> Option<Lack> {
    if uplink.up || uplink.skipped.is_some() {
        return None;
    }
    let has_address = uplink.sources.iter().any(|source| {
        let is_it = |known: &Address| known.dev == uplink.interface && known.net.addr() == source.net.addr();
        source.elsewhere.is_none() && snapshot.addresses.iter().any(is_it)
    });
    Some(match snapshot.link(&uplink.interface) {
        None => Lack::Link,
        Some(link) if !link.up => Lack::LinkUp,
        Some(_) if has_address => Lack::Gateway,
        Some(_) => Lack::Address,
    })
}

/// The same for those that only main tells of; the others stay as the files have them.
pub(super) fn hold_those_of_main_against(uplinks: &mut Vec<Uplink>, snapshot: &Snapshot) {
    let mut held = uplinks.clone();
    hold_all(&mut held, snapshot);
    let up: Vec<bool> = held.iter().map(|uplink| uplink.up).collect();
    for (uplink, held) in uplinks.iter_mut().zip(held) {
        match uplink.origin {
            Origin::Main => *uplink = held,
            _ => uplink.skipped = held.skipped,
        }
    }
    drop_copies(uplinks, &up);
}

/// Of the links that a stanza with an address is up on, those count that have it (`up`). Where none has it, the first
/// stands for all of them.
fn drop_copies(uplinks: &mut Vec<Uplink>, up: &[bool]) {
    let of_stanza = |uplink: &Uplink| (uplink.stanza, uplink.family, uplink.gateway);
    let mut kept: HashMap<_, usize> = HashMap::new();
    for (at, uplink) in uplinks.iter().enumerate() {
        let first = kept.entry(of_stanza(uplink)).or_insert(at);
        if up[at] && !up[*first] {
            *first = at;
        }
    }
    let mut at = 0..;
    uplinks.retain(|uplink| {
        let at = at.next().unwrap_or_default();
        uplink.dynamic || up[at] || kept.get(&of_stanza(uplink)) == Some(&at)
    });
}

/// Counts interfaces that are about to go down as down already; an alias (`eth0:1`) takes only what is its own. With the
/// stanza that they are up as (`eth0:1=extra`), where that is known.
pub(super) fn take_down(uplinks: &mut [Uplink], finder: &Finder, going: &[&str]) {
    for name in going {
        if is_alias(name) {
            take_alias_down(uplinks, finder, name);
            continue;
        }
        let link = finder.interface_of(BStr::new(name.split('=').next().unwrap_or_default()));
        for uplink in &mut *uplinks {
            uplink.sources.retain(|source| source.elsewhere.as_ref() != Some(&link));
            if uplink.interface == link {
                uplink.leave();
            }
        }
    }
}

fn take_alias_down(uplinks: &mut [Uplink], finder: &Finder, name: &str) {
    let (name, logical) = name.split_once('=').unwrap_or((name, name));
    let link = finder.interface_of(BStr::new(name));
    let stanzas = finder.config.stanzas.iter().enumerate();
    let own =
        stanzas.filter(|(_, stanza)| stanza.interface == logical || finder.links_of(stanza).contains(&BStr::new(name)));
    let own: Vec<(usize, &Stanza)> = own.collect();
    // No list may have its stanza: then the kernel alone tells that the interface has the address.
    let addresses: HashSet<IpAddr> = own.iter().flat_map(|(_, stanza)| finder.all_addresses_of(stanza)).collect();
    let is_own = |source: &Source| match source.stanza {
        Some(stanza) => own.iter().any(|(index, _)| *index == stanza),
        None => addresses.contains(&source.net.addr()),
    };
    for uplink in uplinks {
        // Its numbers are found by its addresses.
        if uplink.listed_link() == name {
            uplink.leave();
            continue;
        }
        let interface = uplink.interface.clone();
        uplink.sources.retain(|source| *source.elsewhere.as_ref().unwrap_or(&interface) != link || !is_own(source));
    }
}

/// The gateway of a dynamic uplink: that of main's default through its interface, or else the last known one, which
/// its own table still has. Those of other uplinks on the interface are not its.
fn learn_gateway(uplinks: &mut [Uplink], at: usize, snapshot: &Snapshot) {
    let uplink = &uplinks[at];
    if !uplink.dynamic || uplink.gateway.is_some() {
        return;
    }
    let own = |default: &Default| {
        let others = |other: &Uplink| default.is_of(other) && other.gateway == default.gateway;
        default.is_of(uplink) && default.gateway.is_some() && !uplinks.iter().any(others)
    };
    let known = of_main(snapshot).into_iter().chain(of_own_tables(snapshot)).find(|default| own(default));
    let gateway = known.and_then(|default| default.gateway);
    uplinks[at].gateway = gateway;
}

/// Holds an uplink against the kernel: is it up, and which of its addresses are there?
fn as_the_kernel_has_it(uplink: &mut Uplink, snapshot: &Snapshot) {
    let link = snapshot.link(&uplink.interface);
    if link.is_some_and(|link| link.vrf) {
        uplink.skipped = Some(Skipped::Vrf);
    }
    let present = |source: &&Source| {
        let dev = source.elsewhere.as_ref().unwrap_or(&uplink.interface);
        snapshot.addresses.iter().any(|known| known.dev == *dev && known.net.addr() == source.net.addr())
    };
    let there: Vec<Source> = uplink.sources.iter().filter(present).cloned().collect();
    let has_own = there.iter().any(|source| source.elsewhere.is_none());
    let has_way = uplink.dynamic && uplink.gateway.is_some() || has_own;
    uplink.up = link.is_some_and(|link| link.up) && has_way && uplink.skipped.is_none();
    if uplink.up {
        uplink.sources = there;
    }
}

/// Adds the addresses that only the kernel knows. Single addresses come last: whose network they are in may follow
/// from the others.
fn assign_kernel_addresses(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    let is_single = |address: &&Address| address.net.prefix_len() == address.net.max_prefix_len();
    // A VRF has its addresses for itself.
    let in_vrf = |dev: &str| snapshot.link(dev).is_some_and(|link| link.vrf);
    let global = || snapshot.addresses.iter().filter(|address| !address.local && !in_vrf(&address.dev));
    for address in global().filter(|address| !is_single(address)).chain(global().filter(is_single)) {
        let family = if address.net.addr().is_ipv6() { Family::Inet6 } else { Family::Inet };
        let by_prefix = family == Family::Inet6 && !is_single(&address);
        let source = Source { peer: address.peer, by_prefix, ..Source::of(address.net) };
        assign(uplinks, &address.dev, family, &source);
    }
    for uplink in uplinks {
        uplink.up &= uplink.sources.iter().any(|source| source.elsewhere.is_none());
    }
}
