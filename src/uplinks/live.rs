//! The uplinks as the kernel has them.

use std::cell::LazyCell;
use std::net::{IpAddr, Ipv6Addr};

use bstr::BStr;
use ipnet::{IpNet, Ipv6Net};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::collector::UplinkCollector;
use super::gateway::Gateway;
use super::owners::Owners;
use super::ppp::is_unit;
use super::uplink::{Missing, Origin, Skipped, Source, Uplink, is_alias};
use crate::interfaces::Stanza;
use crate::network::{Address, Family, Kind, Lease, Link, MAIN, PROTOCOL_DHCP, Route, Snapshot, is_host};
use crate::sort::sort_by_key;

/// `ICMPV6_ROUTER_PREF_HIGH` and `_LOW` (linux/icmpv6.h).
const HIGH: u8 = 1;
const LOW: u8 = 3;

/// All global unicast addresses (RFC 4291): some guides write this network for the default route.
const GLOBAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// One nexthop of a default route.
#[derive(Clone, Copy)]
struct Default<'a> {
    route: &'a Route,
    interface: &'a str,
    gateway: Gateway,
}

impl Default<'_> {
    fn is_of(&self, uplink: &Uplink) -> bool {
        uplink.interface == self.interface && uplink.family == self.route.family
    }
}

/// What the gateways of dynamic uplinks depend on.
struct Defaults<'a> {
    main: Vec<Default<'a>>,
    lookups: Lookups<'a>,
}

/// The default routes of main, the best first. `2000::/3` is one too, through a router, or through a point-to-point link.
fn of_main(snapshot: &Snapshot) -> Vec<Default<'_>> {
    let is_broadcast = |name: &str| snapshot.link(name).is_some_and(|link| link.broadcast);
    let leads_out = |default: &Default| default.gateway.address().is_some() == is_broadcast(default.interface);
    let unicast = snapshot.routes.iter().filter(|route| route.table == MAIN && route.kind() == Kind::Unicast);
    let global = unicast.filter(|route| route.dst == GLOBAL.into()).flat_map(ways).filter(leads_out);
    let routes = default_routes(snapshot).filter(|route| route.table == MAIN);
    let mut defaults: Vec<Default> = routes.flat_map(ways).chain(global).collect();
    sort_by_key(&mut defaults, |default| rank(default, snapshot));
    defaults
}

/// The smallest comes first, as in the kernel: it skips an IPv6 router that does not reply if there is another one, prefers
/// the longer prefix, and compares metrics before the preferences of RFC 4191.
fn rank(default: &Default, snapshot: &Snapshot) -> (bool, bool, u32, u8) {
    let is_failed =
        |gateway: IpAddr| snapshot.failed.iter().any(|(dev, address)| dev == default.interface && *address == gateway);
    let preference = match default.route.extras.as_ref().map(|more| more.preference) {
        Some(HIGH) => 0,
        Some(LOW) => 2,
        _ => 1,
    };
    let is_shorter = default.route.dst.prefix_len() == 0;
    (default.gateway.address().is_some_and(is_failed), is_shorter, default.route.metric, preference)
}

/// avahi-autoipd adds a default route without a gateway to a LAN, which is no provider's.
fn is_zeroconf(default: &Default, snapshot: &Snapshot) -> bool {
    let has_peer = || snapshot.addresses.iter().any(|known| known.dev == default.interface && known.peer.is_some());
    let is_broadcast = || snapshot.link(default.interface).is_some_and(|link| link.broadcast);
    default.gateway == Gateway::OnLink && default.route.table == MAIN && is_broadcast() && !has_peer()
}

/// The default routes that symroute made in other tables.
fn of_own_tables(snapshot: &Snapshot) -> impl Iterator<Item = Default<'_>> {
    default_routes(snapshot).filter(|route| route.table != MAIN && route.is_ours()).flat_map(ways)
}

fn default_routes(snapshot: &Snapshot) -> impl Iterator<Item = &Route> {
    snapshot.routes.iter().filter(|route| route.dst.prefix_len() == 0 && route.kind() == Kind::Unicast)
}

/// For which addresses rules of symroute's look up a table.
struct Lookups<'a> {
    addresses: FxHashMap<&'a str, Vec<IpAddr>>,
    sources: FxHashMap<(Family, u32), Vec<IpNet>>,
}

impl<'a> Lookups<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let size = snapshot.links.len();
        let mut lookups = Lookups {
            addresses: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
            sources: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
        };
        for address in &snapshot.addresses {
            lookups.addresses.entry(&address.dev[..]).or_default().push(address.net.addr());
        }
        for rule in snapshot.rules.iter().filter(|rule| rule.is_ours()) {
            lookups.sources.entry((rule.family, rule.table)).or_default().extend(rule.src);
        }
        lookups
    }

    /// Is its table looked up for an address of its interface? What an older plan left is not in use.
    fn is_in_use(&self, default: &Default) -> bool {
        let own = || self.addresses.get(default.interface).into_iter().flatten();
        let mut sources = self.sources.get(&(default.route.family, default.route.table)).into_iter().flatten();
        sources.any(|src| own().any(|address| src.contains(address)))
    }
}

/// The kernel shows a nexthop object by its number alone (`net.ipv4.nexthop_compat_mode=0`).
fn has_hidden_nexthops(route: &Route) -> bool {
    let is_object = route.extras.as_ref().is_some_and(|extras| extras.nexthop_id.is_some());
    is_object && ways(route).next().is_none()
}

/// The ways of one default route. dhcpcd adds one through every router of its lease.
fn ways(route: &Route) -> impl Iterator<Item = Default<'_>> {
    let Route { gateway, dev, extras: more, .. } = route;
    let nexthops = more.iter().flat_map(|more| &more.nexthops).map(|nexthop| (nexthop.gateway, nexthop.dev.as_deref()));
    let ways = [(*gateway, dev.as_deref())].into_iter().chain(nexthops);
    ways.filter(|(gateway, _)| gateway.is_none_or(is_host)).filter_map(move |(gateway, dev)| {
        let gateway = match gateway {
            None => Gateway::OnLink,
            Some(gateway) if gateway.is_ipv6() == (route.family == Family::Inet6) => Gateway::Address(gateway),
            Some(_) => Gateway::Unknown,
        };
        Some(Default { route, interface: dev?, gateway })
    })
}

/// The default routes of main and of symroute's tables, each with the first uplink of its family on its interface.
fn with_first_uplinks<'a>(snapshot: &'a Snapshot, uplinks: &[Uplink]) -> Vec<(Default<'a>, Option<usize>)> {
    let mut first: FxHashMap<(&str, Family), usize> = FxHashMap::with_capacity_and_hasher(uplinks.len(), FxBuildHasher);
    for (index, uplink) in uplinks.iter().enumerate() {
        first.entry((&uplink.interface, uplink.family)).or_insert(index);
    }
    let defaults = of_main(snapshot).into_iter().chain(of_own_tables(snapshot));
    defaults.map(|default| (default, first.get(&(default.interface, default.route.family)).copied())).collect()
}

impl UplinkCollector<'_> {
    /// The uplinks of the files, then those that only main's default routes tell of; and main's default routes that
    /// belong to none.
    pub(crate) fn with_those_of_main(&mut self, snapshot: Option<&Snapshot>) -> (Vec<Uplink>, Vec<Route>) {
        let mut uplinks = self.uplinks();
        let mut unknown: Vec<Route> = Vec::new();
        let Some(snapshot) = snapshot else { return (uplinks, unknown) };
        let of_files = uplinks.len();
        // An uplink that main had may have its own table alone: it goes when its address goes.
        let lookups = LazyCell::new(|| Lookups::new(snapshot));
        let mut added: FxHashMap<(&str, Family), usize> = FxHashMap::default();
        for (default, first) in with_first_uplinks(snapshot, &uplinks) {
            let Route { family, table, metric, .. } = *default.route;
            if let Some(index) = first.or_else(|| added.get(&(default.interface, family)).copied()) {
                let uplink = &mut uplinks[index];
                // pppd adds it, or a program that the stanza starts.
                let is_of_program = uplink.dynamic && uplink.gateway == Gateway::OnLink && !uplink.in_main;
                if is_of_program && table == MAIN {
                    (uplink.in_main, uplink.origin, uplink.metric) = (true, Origin::Main, Some(metric));
                }
                continue;
            }
            if table != MAIN && !lookups.is_in_use(&default) {
                continue;
            }
            let stanza = self
                .stanza_of(default.interface, family)
                .filter(|_| default.gateway.is_known() && !is_zeroconf(&default, snapshot));
            match stanza.and_then(|stanza| self.uplink_in(stanza, default.interface, family)) {
                Some(uplink) => {
                    added.insert((default.interface, family), uplinks.len());
                    let metric = Some(metric).filter(|_| table == MAIN);
                    let (in_main, origin) = (metric.is_some(), Origin::Main);
                    uplinks.push(Uplink { dynamic: true, in_main, metric, origin, written: None, ..uplink });
                }
                None if table != MAIN || self.has_unknown_ppp && is_unit(default.interface) => {}
                None if unknown.contains(default.route) || default.route.dst.prefix_len() > 0 => {}
                None => unknown.push(default.route.clone()),
            }
        }
        // Nothing changes where each address is on the link of its uplink already.
        if uplinks.len() > of_files || !self.are_on_own_links {
            let mut owners = Owners::new(&mut uplinks);
            for known in &self.sources {
                owners.assign(known.link(self.config), known.family(), &known.source());
            }
        }
        self.mark_manual(&mut uplinks[of_files..]);
        let unknown = self.unknown_defaults(unknown, &uplinks, snapshot);
        (uplinks, unknown)
    }

    /// Those of these default routes that are a problem, and those whose nexthops the kernel does not show.
    fn unknown_defaults(&self, mut unknown: Vec<Route>, uplinks: &[Uplink], snapshot: &Snapshot) -> Vec<Route> {
        let mut with_default: FxHashSet<(Family, &str)> =
            unknown.iter().flat_map(ways).map(|default| (default.route.family, default.interface)).collect();
        if !unknown.is_empty() {
            let managed = uplinks.iter().filter(|uplink| uplink.skipped.is_none());
            with_default.extend(managed.map(|uplink| (uplink.family, &uplink.interface[..])));
        }
        let mut counts: FxHashMap<Family, usize> = FxHashMap::default();
        with_default.into_iter().for_each(|(family, _)| *counts.entry(family).or_default() += 1);
        // The only default route of a host is no problem. On a host without stanzas, another program manages the network.
        unknown.retain(|route| counts.get(&route.family).is_some_and(|count| *count > 1));
        let hidden = default_routes(snapshot).filter(|route| route.table == MAIN && has_hidden_nexthops(route));
        unknown.extend(hidden.cloned());
        if self.config.stanzas.iter().all(|stanza| stanza.interface == "lo") {
            unknown.clear();
        }
        unknown
    }
}

/// Which uplinks are up, with which addresses, and for dynamic ones through which router.
pub(crate) fn merge_snapshot(uplinks: &mut Vec<Uplink>, snapshot: &Snapshot) {
    merge_all(uplinks, snapshot);
    let up: Vec<bool> = uplinks.iter().map(|uplink| uplink.up).collect();
    drop_copies(uplinks, &up);
}

/// The kernel's interfaces by name, and its addresses by interface.
struct Present<'a> {
    links: FxHashMap<&'a str, &'a Link>,
    addresses: FxHashSet<(&'a str, IpAddr)>,
}

fn merge_all(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    let links = snapshot.links.iter().map(|link| (&link.name[..], link)).collect();
    let addresses = snapshot.addresses.iter().map(|known| (&known.dev[..], known.net.addr())).collect();
    let present = Present { links, addresses };
    let defaults = LazyCell::new(|| Defaults { main: of_main(snapshot), lookups: Lookups::new(snapshot) });
    for at in 0..uplinks.len() {
        if uplinks[at].dynamic && !uplinks[at].gateway.is_known() {
            learn_gateway(uplinks, at, snapshot, &defaults);
        }
        as_the_kernel_has_it(&mut uplinks[at], &present);
    }
    assign_kernel_addresses(uplinks, snapshot);
    for uplink in uplinks {
        uplink.missing = lack(uplink, &present);
    }
}

/// What is missing where an uplink is not up.
fn lack(uplink: &Uplink, present: &Present) -> Option<Missing> {
    if uplink.up || uplink.skipped.is_some() {
        return None;
    }
    let is_there = |source: &Source| present.addresses.contains(&(&uplink.interface[..], source.net.addr()));
    let has_address = uplink.sources.iter().any(|source| source.other_interface.is_none() && is_there(source));
    Some(match present.links.get(&uplink.interface[..]) {
        None => Missing::Link,
        Some(link) if !link.up => Missing::LinkUp,
        Some(_) if has_address => Missing::Gateway,
        Some(_) => Missing::Address,
    })
}

/// The same for those that only main tells of; the others stay as the files have them.
pub(crate) fn merge_snapshot_into_defaults(uplinks: &mut Vec<Uplink>, snapshot: &Snapshot) {
    let mut held = uplinks.clone();
    merge_all(&mut held, snapshot);
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
    if uplinks.iter().zip(up).all(|(uplink, up)| uplink.dynamic || *up) {
        return;
    }
    let of_stanza = |uplink: &Uplink| (uplink.stanza, uplink.family, uplink.gateway);
    let mut kept: FxHashMap<_, usize> = FxHashMap::default();
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
pub(crate) fn take_down(uplinks: &mut [Uplink], collector: &UplinkCollector, leaving: &[&str]) {
    for name in leaving {
        if is_alias(name) {
            take_alias_down(uplinks, collector, name);
            continue;
        }
        let link = collector.interface_of(BStr::new(name.split('=').next().unwrap_or_default()));
        for uplink in &mut *uplinks {
            uplink.sources.retain(|source| source.other_interface.as_deref() != Some(&*link));
            if uplink.interface == link {
                uplink.leave();
            }
        }
    }
}

fn take_alias_down(uplinks: &mut [Uplink], collector: &UplinkCollector, name: &str) {
    let (name, logical) = name.split_once('=').unwrap_or((name, name));
    let link = collector.interface_of(BStr::new(name));
    let stanzas = collector.config.stanzas.iter().enumerate();
    let own = stanzas
        .filter(|(_, stanza)| stanza.interface == logical || collector.links_of(stanza).contains(&BStr::new(name)));
    let own: Vec<(usize, &Stanza)> = own.collect();
    // No list may have its stanza: then the kernel alone tells that the interface has the address.
    let addresses: FxHashSet<IpAddr> = own.iter().flat_map(|(_, stanza)| collector.all_addresses_of(stanza)).collect();
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
        uplink
            .sources
            .retain(|source| *source.other_interface.as_ref().unwrap_or(&interface) != link || !is_own(source));
    }
}

/// The gateway of a dynamic uplink, in this order: main's default route if a client changes it with the lease; the router of
/// the lease; main's default route; the last gateway, which its own table still has; a remembered one. Gateways of other
/// uplinks on the interface do not count.
fn learn_gateway(uplinks: &mut [Uplink], at: usize, snapshot: &Snapshot, defaults: &Defaults) {
    let uplink = &uplinks[at];
    let own = |default: &Default| {
        let others = |other: &Uplink| default.is_of(other) && other.gateway == default.gateway;
        // Without a router, an interface with a DHCP client or autoconfiguration reaches nothing beyond its network.
        let may_be_on_link = uplink.origin == Origin::Main && default.gateway == Gateway::OnLink;
        let is_usable = default.gateway.address().is_some() || may_be_on_link;
        default.is_of(uplink) && is_usable && !uplinks.iter().any(others)
    };
    let of_tables = || of_own_tables(snapshot).filter(own);
    let last = of_tables().find(|default| defaults.lookups.is_in_use(default)).or_else(|| of_tables().next());
    let main: Vec<Default> = defaults.main.iter().copied().filter(own).collect();
    let main = present_or_best(&main, last.as_ref(), snapshot);
    let gateway_of = |default: Option<&Default>| default.map(|default| default.gateway).unwrap_or_default();
    let of_main = gateway_of(main);
    let (gateway, lease) = match (known_lease(uplink, snapshot, false), last.as_ref().and_then(recorded_lease)) {
        // dhclient does not change its own route, which has no protocol, while the address stays.
        _ if main.is_some_and(|default| default.route.protocol == PROTOCOL_DHCP) => (of_main, None),
        (Some(lease), _) => {
            let is_other = of_main.is_known() && !of_main.is(lease.router);
            (Gateway::Address(lease.router), is_other.then_some(lease.address))
        }
        (None, Some(address)) if has_address(uplink, address, snapshot) => (gateway_of(last.as_ref()), Some(address)),
        _ => {
            let remembered = || known_lease(uplink, snapshot, true).map(|lease| Gateway::Address(lease.router));
            let of_kernel = main.or(last.as_ref()).map(|default| default.gateway);
            (of_kernel.or_else(remembered).unwrap_or_default(), None)
        }
    };
    uplinks[at].gateway = gateway;
    uplinks[at].lease = lease;
}

/// The best default route; of equal ones the present one, so that nothing changes back and forth.
fn present_or_best<'a, 'b>(
    main: &'b [Default<'a>],
    present: Option<&Default>,
    snapshot: &Snapshot,
) -> Option<&'b Default<'a>> {
    let best = main.first()?;
    let mut equal = main.iter().take_while(|default| rank(default, snapshot) == rank(best, snapshot));
    equal.find(|default| present.is_some_and(|present| present.gateway == default.gateway)).or(Some(best))
}

fn has_address(uplink: &Uplink, address: IpAddr, snapshot: &Snapshot) -> bool {
    snapshot.addresses.iter().any(|known| known.dev == uplink.interface && known.net.addr() == address)
}

/// The lease that the interface's DHCP client reports, or a remembered one, while the interface has its address.
fn known_lease<'a>(uplink: &Uplink, snapshot: &'a Snapshot, is_remembered: bool) -> Option<&'a Lease> {
    let of_uplink = |lease: &&Lease| lease.interface == uplink.interface && lease.is_remembered == is_remembered;
    let mut leases = snapshot.leases.iter().filter(of_uplink);
    leases.find(|lease| {
        lease.router.is_ipv6() == (uplink.family == Family::Inet6) && has_address(uplink, lease.address, snapshot)
    })
}

/// The address of the lease that has the gateway of the uplink's own default route, if main had another gateway then.
fn recorded_lease(default: &Default) -> Option<IpAddr> {
    default.route.extras.as_ref()?.prefsrc
}

/// Holds an uplink against the kernel: is it up, and which of its addresses are there?
fn as_the_kernel_has_it(uplink: &mut Uplink, present: &Present) {
    let link = present.links.get(&uplink.interface[..]);
    if link.is_some_and(|link| link.vrf) {
        uplink.skipped = Some(Skipped::Vrf);
    }
    let Uplink { interface, sources, .. } = uplink;
    let is_present = |source: &Source| {
        let dev = source.other_interface.as_ref().unwrap_or(interface);
        present.addresses.contains(&(&dev[..], source.net.addr()))
    };
    let has_own = sources.iter().any(|source| source.other_interface.is_none() && is_present(source));
    let has_way = uplink.dynamic && uplink.gateway.is_known() || has_own;
    uplink.up = link.is_some_and(|link| link.up) && has_way && uplink.skipped.is_none();
    if uplink.up {
        sources.retain(is_present);
    }
}

/// Do the uplinks of its interface have each of the addresses already?
fn have_all<'a>(uplinks: &[Uplink], mut addresses: impl Iterator<Item = &'a Address>) -> bool {
    let mut known = FxHashSet::with_capacity_and_hasher(uplinks.len(), FxBuildHasher);
    for uplink in uplinks.iter().filter(|uplink| uplink.skipped.is_none()) {
        known.extend(uplink.sources.iter().map(|source| (&uplink.interface[..], uplink.family, source.net.addr())));
    }
    addresses.all(|known_address| {
        let address = known_address.net.addr();
        known.contains(&(&known_address.dev[..], Family::of(&address), address))
    })
}

/// Adds the addresses that only the kernel knows. Single addresses come last: whose network they are in may follow
/// from the others.
fn assign_kernel_addresses(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    let is_single = |address: &&Address| address.net.prefix_len() == address.net.max_prefix_len();
    // A VRF has its addresses for itself.
    let vrfs: FxHashSet<&str> = snapshot.links.iter().filter(|link| link.vrf).map(|link| &link.name[..]).collect();
    let global = || snapshot.addresses.iter().filter(|address| !address.local && !vrfs.contains(&address.dev[..]));
    if !have_all(uplinks, global()) {
        let mut owners = Owners::new(uplinks);
        for address in global().filter(|address| !is_single(address)).chain(global().filter(is_single)) {
            let family = if address.net.addr().is_ipv6() { Family::Inet6 } else { Family::Inet };
            let by_prefix = family == Family::Inet6 && !is_single(&address);
            let source = Source { peer: address.peer, by_prefix, ..Source::of(address.net) };
            owners.assign(BStr::new(&address.dev), family, &source);
        }
    }
    for uplink in uplinks {
        uplink.up &= uplink.sources.iter().any(|source| source.other_interface.is_none());
    }
}
