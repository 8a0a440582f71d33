//! The main table's routes through the interfaces of uplinks, and which of them each uplink's table needs.
//!
//! The first rule of an address suppresses all of them. Routes that do not use an uplink's gateway are copied into the
//! uplink's table: networks of its own interface, and private networks and further routers on other interfaces. All
//! other destinations are on the Internet: the uplink's default route is used for them.

use std::cell::{Cell, LazyCell};
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::group::Group;
use crate::network::prefixes::{Prefixes, contains, order};
use crate::network::{Family, Kind, MAIN, Route, RouteExtras, Snapshot, is_ipv4_link_local};
use crate::sort::{sort, sort_by_key};
use crate::uplinks::{Gateway, StaticRoute, Uplink};

/// The longest prefixes, IPv4 and IPv6, that are used instead of a default route: VPNs halve the default route, and IPv6
/// hosts use 2000::/3 for it.
pub const MAX_DEFAULT_LIKE_PREFIX_LENGTH: [u32; 2] = [1, 3];

/// The next hop of packets to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop<'a> {
    pub gateway: Option<IpAddr>,
    pub dev: &'a str,
}

/// The main table's routes through the interfaces of the group, of one family.
#[derive(Debug, Default)]
pub struct Networks<'a> {
    uplinks: &'a [Uplink],
    /// The interfaces of the uplinks of the family.
    interfaces: FxHashMap<&'a str, Interface>,
    /// For each destination the route that a lookup uses, sorted: a network comes after those that contain it. Without a
    /// hop for a `throw` route: the lookup continues in the next table.
    routes: Vec<(IpNet, Vec<Hop<'a>>)>,
    /// Routes that any uplink may need a copy of, as indexes into `routes`.
    for_all: Vec<usize>,
    /// Routes to private networks.
    private: Vec<usize>,
}

/// What the uplinks of one interface have in common.
#[derive(Debug, Default)]
struct Interface {
    /// Sorted.
    gateways: Vec<IpAddr>,
    /// Networks of the providers' customers, sorted.
    of_providers: Vec<IpNet>,
    in_providers: Prefixes,
    /// A gateway is outside every network of the interface, or there is none (a point-to-point link): then the
    /// provider's network is unknown.
    has_gateway_outside: bool,
    /// Routes through it that each uplink on it may need, and routes through the gateway of one, as indexes into `routes`.
    for_each: Vec<usize>,
    through_gateway: FxHashMap<IpAddr, Vec<usize>>,
}

impl Interface {
    /// Takes an uplink in. `is_on_link` tells whether the main table has a route without a gateway to an address.
    fn add(&mut self, uplink: &Uplink, is_on_link: impl Fn(&IpAddr) -> bool) {
        let of_provider = uplink.provider_networks();
        match self.of_providers.is_empty() {
            true => self.of_providers = of_provider,
            false => self.of_providers.extend(of_provider),
        }
        let gateway = uplink.gateway.address();
        self.gateways.extend(gateway);
        let is_far = |gateway: IpAddr| !uplink.networks().any(|net| net.contains(&gateway)) && !is_on_link(&gateway);
        self.has_gateway_outside |= uplink.gateway == Gateway::OnLink || gateway.is_some_and(is_far);
    }

    /// To be called after the last uplink.
    fn complete(&mut self) {
        sort(&mut self.of_providers);
        sort(&mut self.gateways);
        self.in_providers = Prefixes::new(self.of_providers.iter().copied());
    }

    fn has_gateway(&self, gateway: IpAddr) -> bool {
        self.gateways.binary_search(&gateway).is_ok()
    }

    fn has_gateway_in(&self, net: &IpNet) -> bool {
        let first = self.gateways.partition_point(|gateway| *gateway < net.network());
        self.gateways.get(first).is_some_and(|gateway| *gateway <= net.broadcast())
    }

    /// Is the destination on the Internet: behind an uplink's gateway, or in a network of a provider's customers?
    fn is_of_provider(&self, dst: &IpNet, gateway: Option<IpAddr>) -> bool {
        match gateway {
            Some(gateway) => self.has_gateway(gateway),
            None => {
                self.in_providers.hold(*dst) || self.has_gateway_in(dst) || self.has_gateway_outside && !is_private(dst)
            }
        }
    }

    /// Is the destination neither a network of an uplink on this interface, nor behind the gateway of one?
    fn is_for_each(&self, dst: &IpNet, gateway: Option<IpAddr>) -> bool {
        gateway.map_or_else(|| self.of_providers.binary_search(dst).is_err(), |gateway| !self.has_gateway(gateway))
    }
}

impl<'a> Networks<'a> {
    /// The routes of the files are used for interfaces through which the main table has no route yet.
    pub fn new(
        uplinks: &'a [Uplink],
        static_routes: &'a [StaticRoute],
        family: Family,
        group: &Group,
        snapshot: Option<&'a Snapshot>,
    ) -> Self {
        let mut group: FxHashSet<&str> = group.interfaces.iter().map(String::as_str).collect();
        let mut routes = snapshot.map(|snapshot| of_main(snapshot, family, &group)).unwrap_or_default();
        for hop in routes.iter().flat_map(|(_, hops)| hops) {
            group.remove(hop.dev);
        }
        let is_of_files = |dev: &str| group.contains(dev);
        let of_family = || uplinks.iter().enumerate().filter(|(_, uplink)| uplink.family == family);
        let on_link = of_family().filter(|(_, uplink)| uplink.up && is_of_files(&uplink.interface));
        let on_link = on_link.flat_map(|(_, uplink)| {
            let hop = Hop { gateway: None, dev: &uplink.interface };
            let certain = uplink.certainly_on_link();
            let nets = uplink.on_link().into_iter().filter(move |net| certain.contains(net));
            nets.map(move |net| (net, hop))
        });
        let by_files = static_routes.iter().filter(|route| route.family == family && is_specific(&route.dst));
        let by_files = by_files.filter(|route| is_of_files(&route.dev));
        let hop = |route: &'a StaticRoute| Hop { gateway: route.gateway, dev: &route.dev };
        let (first, last): (Vec<_>, Vec<_>) = by_files.partition(|route| route.is_used_first);
        let [first, last] = [first, last].map(|routes| routes.into_iter().map(|route| (route.dst.trunc(), hop(route))));
        // Of those to one destination, the first one counts.
        routes.extend(first.chain(on_link).chain(last).map(|(net, hop)| (net, vec![hop])));
        sort_by_key(&mut routes, |(net, _)| *net);
        routes.dedup_by_key(|(net, _)| *net);
        let mut networks = Networks { uplinks, routes, ..Networks::default() };
        networks.interfaces = networks.interfaces(family);
        networks.sort_by_use();
        networks
    }

    /// The interfaces of the uplinks of the family.
    fn interfaces(&self, family: Family) -> FxHashMap<&'a str, Interface> {
        let on_link = LazyCell::new(|| self.on_link_by_interface());
        let of_family = || self.uplinks.iter().filter(|uplink| uplink.family == family);
        let mut interfaces: FxHashMap<&str, Interface> =
            FxHashMap::with_capacity_and_hasher(of_family().count(), FxBuildHasher);
        for uplink in of_family() {
            let dev = &uplink.interface[..];
            let is_on_link = |gateway: &IpAddr| on_link.get(dev).is_some_and(|nets| nets.hold(*gateway));
            interfaces.entry(dev).or_default().add(uplink, is_on_link);
        }
        interfaces.values_mut().for_each(Interface::complete);
        interfaces
    }

    /// The networks to which the main table has routes without a gateway.
    fn on_link_by_interface(&self) -> FxHashMap<&str, Prefixes> {
        let mut nets: FxHashMap<&str, Vec<IpNet>> = FxHashMap::default();
        for (net, hops) in &self.routes {
            for hop in hops.iter().filter(|hop| hop.gateway.is_none()) {
                nets.entry(hop.dev).or_default().push(*net);
            }
        }
        nets.into_iter().map(|(dev, nets)| (dev, Prefixes::new(nets))).collect()
    }

    /// Sorts the routes by the uplinks that may need a copy.
    fn sort_by_use(&mut self) {
        for (index, (dst, hops)) in self.routes.iter().enumerate() {
            if is_private(dst) {
                self.private.push(index);
            }
            let mut is_for_all = false;
            for hop in hops {
                let interface = self.interfaces.get_mut(hop.dev);
                is_for_all |= interface.as_ref().is_none_or(|interface| !interface.is_of_provider(dst, hop.gateway));
                let Some(interface) = interface else { continue };
                if interface.is_for_each(dst, hop.gateway) {
                    interface.for_each.push(index);
                } else if let Some(gateway) = hop.gateway {
                    interface.through_gateway.entry(gateway).or_default().push(index);
                }
            }
            self.for_all.extend(is_for_all.then_some(index));
        }
    }

    /// The networks of `uplinks[index]` that are on its link. Where a provider separates its customers, the main table
    /// reaches its own network through the gateway, or has no route to it: that network is not on the link.
    pub fn on_link(&self, index: usize) -> Vec<IpNet> {
        let uplink = &self.uplinks[index];
        let certain = LazyCell::new(|| uplink.certainly_on_link());
        let is_through_router = |net: &IpNet| {
            let route =
                self.routes.binary_search_by_key(&order(net), |(dst, _)| order(dst)).ok().map(|at| &self.routes[at].1);
            let mut own = route.into_iter().flatten().filter(|hop| hop.dev == uplink.interface);
            own.next().map_or_else(|| !certain.contains(net), |hop| hop.gateway.is_some())
        };
        uplink.on_link().into_iter().filter(|net| !is_through_router(net)).collect()
    }

    /// The routes that the table of `uplinks[index]` needs in addition to those to its own networks and the default route.
    /// A route with the next hop of a shorter route of the table is not needed. `on_link` are its networks.
    pub fn copies(&self, index: usize, on_link: &[IpNet]) -> Vec<(IpNet, Hop<'a>)> {
        let uplink = &self.uplinks[index];
        let default = Hop { gateway: uplink.gateway.address(), dev: &uplink.interface };
        let mut own = on_link.to_vec();
        sort(&mut own);
        let mut copies = Vec::new();
        // They are sorted: a network comes after those that contain it.
        let mut above: Vec<(IpNet, Hop)> = Vec::new();
        let considered = self.considered(uplink, &own, default);
        // Nothing but its networks.
        if considered.len() == own.len() {
            return copies;
        }
        for (dst, hop) in considered {
            while above.last().is_some_and(|(net, _)| !contains(net, &dst)) {
                above.pop();
            }
            if above.last().map_or(default, |(_, hop)| *hop) != hop {
                if own.binary_search(&dst).is_err() {
                    copies.push((dst, hop));
                }
                above.push((dst, hop));
            }
        }
        copies
    }

    /// The destinations for which an uplink does not use its default route, and the networks inside them for which it does.
    /// Sorted; `own` are its networks, also sorted.
    fn considered(&self, uplink: &'a Uplink, own: &[IpNet], default: Hop<'a>) -> Vec<(IpNet, Hop<'a>)> {
        let private: &[usize] = if is_in_private_network(uplink) { &[] } else { &self.private };
        let interface = self.interfaces.get(&uplink.interface[..]);
        let for_each = interface.iter().flat_map(|interface| &interface.for_each);
        let through_gateway = interface
            .and_then(|interface| interface.through_gateway.get(&uplink.gateway.address()?))
            .into_iter()
            .flatten();
        let copied = self.for_all.iter().chain(private).chain(for_each).chain(through_gateway).filter_map(|index| {
            let (dst, hops) = &self.routes[*index];
            hops.iter().find(|hop| self.is_for(uplink, own, dst, hop)).map(|hop| (*dst, *hop))
        });
        let direct = Hop { gateway: None, dev: &uplink.interface };
        // Of those to one destination, the first one counts.
        let mut considered: Vec<(IpNet, Hop)> = own.iter().map(|net| (*net, direct)).chain(copied).collect();
        sort_by_key(&mut considered, |(net, _)| *net);
        considered.dedup_by_key(|(net, _)| *net);
        let (mut inside, mut end) = (Vec::new(), 0);
        for net in considered.iter().filter(|(_, hop)| *hop != default).map(|(net, _)| net) {
            let place = order(net);
            let start = self.routes.partition_point(|(dst, _)| order(dst) <= place).max(end);
            end = start + self.routes[start..].iter().take_while(|(dst, _)| contains(net, dst)).count();
            inside.extend(start..end);
        }
        if inside.is_empty() {
            return considered;
        }
        considered.extend(inside.into_iter().map(|index| (self.routes[index].0, default)));
        sort_by_key(&mut considered, |(net, _)| *net);
        considered.dedup_by_key(|(net, _)| *net);
        considered
    }

    /// Does an uplink with these networks use the main table's next hop?
    fn is_for(&self, uplink: &Uplink, own: &[IpNet], dst: &IpNet, hop: &Hop) -> bool {
        if hop.gateway.is_some_and(|gateway| gateway.is_ipv6() != dst.addr().is_ipv6()) {
            return false;
        }
        if hop.dev != uplink.interface {
            return !self.is_of_provider(dst, hop) || is_private(dst) && !is_in_private_network(uplink);
        }
        let is_own = hop.gateway.map_or_else(|| own.binary_search(dst).is_ok(), |gateway| uplink.gateway.is(gateway));
        is_own || self.interfaces.get(hop.dev).is_none_or(|interface| interface.is_for_each(dst, hop.gateway))
    }

    fn is_of_provider(&self, dst: &IpNet, hop: &Hop) -> bool {
        self.interfaces.get(hop.dev).is_some_and(|interface| interface.is_of_provider(dst, hop.gateway))
    }
}

/// The main table's best route to each destination, if it leaves through the group or is a `throw` route.
fn of_main<'a>(snapshot: &'a Snapshot, family: Family, group: &FxHashSet<&str>) -> Vec<(IpNet, Vec<Hop<'a>>)> {
    let addresses = || snapshot.addresses.iter().map(|address| address.net.addr());
    let addresses: LazyCell<FxHashSet<IpAddr>, _> = LazyCell::new(|| addresses().collect());
    // The host's own address: for IPv6, the main table has it as well.
    let is_own = |dst: &IpNet| dst.prefix_len() == dst.max_prefix_len() && addresses.contains(&dst.addr());
    let is_in_main = |route: &&Route| route.table == MAIN && route.family == family;
    let main = snapshot.routes.iter().filter(is_in_main);
    let mut main: Vec<&Route> = main.filter(|route| is_specific(&route.dst)).collect();
    // A router may have a million routes; the kernel lists them almost in this order.
    sort_by_key(&mut main, |route| route.dst);
    // Routes through one interface come in a row.
    let last = Cell::new(("", group.contains("")));
    let is_in_group = |dev| {
        if last.get().0 != dev {
            last.set((dev, group.contains(dev)));
        }
        last.get().1
    };
    // After a `throw` route, the lookup also reaches the uplink's table, which may have a shorter route.
    let is_passed_on =
        |route: &'a Route| route.kind() == Kind::Throw || nexthops(route).any(|(_, dev)| is_in_group(dev));
    let best = main.chunk_by(|one, other| one.dst == other.dst).filter_map(|same| {
        let routes = || same.iter().copied();
        let best = routes().filter(|route| is_passed_on(route)).min_by_key(|route| route.metric)?;
        // The first rule uses a better route through another interface.
        let mut better = routes().filter(|route| route.metric < best.metric && !is_passed_on(route));
        better.next().is_none().then(|| (best.dst, hops(best)))
    });
    best.filter(|(dst, _)| !is_own(dst)).collect()
}

fn hops(route: &Route) -> Vec<Hop<'_>> {
    nexthops(route).map(|(gateway, dev)| Hop { gateway, dev }).collect()
}

/// The next hops of a unicast route that lookups use; none for other routes.
fn nexthops(route: &Route) -> impl Iterator<Item = (Option<IpAddr>, &str)> {
    let extras = route.extras.as_deref();
    let is_plain = |extras: &RouteExtras| extras.kind == Kind::Unicast && extras.tos == 0 && extras.src.is_none();
    let is_taken = !route.state.dead && extras.is_none_or(is_plain);
    let several = extras.map_or(&[][..], |extras| &extras.nexthops);
    let alive = several.iter().filter(|nexthop| !nexthop.state.dead).map(|nexthop| (nexthop.gateway, &nexthop.dev));
    let single = several.is_empty().then_some((route.gateway, &route.dev));
    let found = single.into_iter().chain(alive).filter(move |_| is_taken);
    found.filter_map(|(gateway, dev)| Some((gateway, dev.as_deref()?)))
}

/// Is it more specific than a default route, and neither loopback, link-local nor multicast?
fn is_specific(dst: &IpNet) -> bool {
    let length = MAX_DEFAULT_LIKE_PREFIX_LENGTH[usize::from(dst.addr().is_ipv6())];
    let local = match dst.addr() {
        IpAddr::V4(address) => address.is_loopback() || address.is_multicast(),
        IpAddr::V6(address) => address.is_loopback() || address.is_multicast() || address.is_unicast_link_local(),
    };
    u32::from(dst.prefix_len()) > length && !local && !is_ipv4_link_local(dst)
}

/// Within RFC 1918, RFC 6598 or RFC 4193: no provider has a route to it.
pub fn is_private(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => {
            let within = |(octets, length): &([u8; 4], u8)| {
                let differs = u32::from(net.addr()) ^ u32::from_be_bytes(*octets);
                net.prefix_len() >= *length && differs >> (32 - length) == 0
            };
            PRIVATE.iter().any(within)
        }
        IpNet::V6(net) => net.prefix_len() >= 7 && net.addr().is_unique_local(),
    }
}

const PRIVATE: [([u8; 4], u8); 4] =
    [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16), ([100, 64, 0, 0], 10)];

/// Is the uplink's own network private? The address decides: a public address may have a private gateway.
fn is_in_private_network(uplink: &Uplink) -> bool {
    let address = uplink.sources.first().map(|source| source.net.addr()).or(uplink.gateway.address());
    address.is_some_and(|address| is_private(&address.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::check::expected::tests::{snapshot, uplinks};

    /// By all uplinks of the interface, one after the other.
    fn is_for(networks: &Networks, uplink: &Uplink, dst: &IpNet, hop: &Hop) -> bool {
        if hop.dev != uplink.interface {
            return !is_of_provider(networks, dst, hop) || is_private(dst) && !is_in_private_network(uplink);
        }
        let on_interface = networks.uplinks.iter().filter(|other| other.interface == hop.dev);
        let mut others = on_interface.filter(|other| !std::ptr::eq(*other, uplink));
        match hop.gateway {
            Some(gateway) => uplink.gateway.is(gateway) || others.all(|other| !other.gateway.is(gateway)),
            None => uplink.on_link().contains(dst) || others.all(|other| !other.provider_networks().contains(dst)),
        }
    }

    fn is_of_provider(networks: &Networks, dst: &IpNet, hop: &Hop) -> bool {
        let mut there = networks.uplinks.iter().filter(|uplink| uplink.interface == hop.dev);
        if hop.gateway.is_some() {
            return there.any(|uplink| uplink.gateway.address() == hop.gateway);
        }
        let on_link =
            |(_, hops): &&(IpNet, Vec<Hop>)| hops.iter().any(|known| known.dev == hop.dev && known.gateway.is_none());
        let routes = || networks.routes.iter().filter(on_link).map(|(net, _)| *net);
        there.any(|uplink| {
            if uplink.provider_networks().iter().any(|net| net.contains(dst)) {
                return true;
            }
            let gateway = match uplink.gateway {
                Gateway::Unknown => return false,
                Gateway::OnLink => return !is_private(dst),
                Gateway::Address(gateway) => gateway,
            };
            let outside = || !routes().chain(uplink.on_link()).any(|net| net.contains(&gateway));
            dst.contains(&gateway) || outside() && !is_private(dst)
        })
    }

    /// Every network of main, not only those that are considered.
    fn by_all<'a>(networks: &Networks<'a>, index: usize) -> Vec<(IpNet, Hop<'a>)> {
        let uplink = &networks.uplinks[index];
        let default = Hop { gateway: uplink.gateway.address(), dev: &uplink.interface };
        let hop_to = |(dst, hops): &(IpNet, Vec<Hop<'a>>)| {
            (*dst, *hops.iter().find(|hop| is_for(networks, uplink, dst, hop)).unwrap_or(&default))
        };
        let mut all: BTreeMap<IpNet, Hop> = networks.routes.iter().map(hop_to).collect();
        // Unless main reaches the own network through a router.
        let through_router = |net: &IpNet| {
            let mut own = networks.routes.iter().filter(|(dst, _)| dst == net).flat_map(|(_, hops)| hops);
            own.any(|hop| hop.dev == uplink.interface && hop.gateway.is_some())
        };
        let on_link: Vec<IpNet> = uplink.on_link().into_iter().filter(|net| !through_router(net)).collect();
        all.extend(on_link.iter().map(|net| (*net, Hop { gateway: None, dev: &uplink.interface })));
        let holder = |dst: &IpNet| {
            let holders = all.iter().filter(|(net, _)| *net != dst && net.contains(dst));
            holders.max_by_key(|(net, _)| net.prefix_len()).map_or(&default, |(_, hop)| hop)
        };
        let differs = |(dst, hop): &(&IpNet, &Hop)| holder(dst) != *hop && !on_link.contains(dst);
        all.iter().filter(differs).map(|(dst, hop)| (*dst, *hop)).collect()
    }

    /// Networks in networks, through uplinks and routers, in an order that a seed decides.
    #[test]
    fn what_is_not_considered_needs_no_copy() {
        let text = "eth0 192.0.2.10/24 via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1\n \
                    eth2 10.1.0.10/16 via 10.1.0.1\n eth0 192.0.2.11/24 via 192.0.2.2\n \
                    ppp0 203.0.113.7/32 10.3.0.7/24 via none";
        let uplinks = uplinks(text);
        let interfaces = ["eth0", "eth1", "eth2", "ppp0"].map(str::to_string).to_vec();
        let group = Group { interfaces, ..Group::default() };
        let ways = [
            "192.0.2.1 dev eth0",
            "192.0.2.9 dev eth0",
            "198.51.100.1 dev eth1",
            "10.1.0.1 dev eth2",
            "10.1.0.9 dev eth2",
        ];
        let devs = ["eth0", "eth1", "eth2", "ppp0"];
        let nets = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "192.0.0.0/16",
            "192.0.2.64/26",
            "203.0.113.0/24",
            "203.0.113.64/26",
        ];
        let mut copied = 0;
        for seed in 0..400_usize {
            let mut routes = String::from("0.0.0.0/0 via 192.0.2.1 dev eth0\n");
            for (index, net) in nets.iter().enumerate() {
                let pick = seed.wrapping_mul(2_654_435_761).wrapping_add(index * 40_503) >> index;
                match ways.get(pick % 7) {
                    Some(way) => routes += &format!("{net} via {way}\n"),
                    None if pick % 7 == 5 => routes += &format!("{net} dev {}\n", devs[pick % 4]),
                    None => {}
                }
            }
            let snapshot = snapshot(&routes);
            let networks = Networks::new(&uplinks, &[], Family::Inet, &group, Some(&snapshot));
            for (index, uplink) in uplinks.iter().enumerate() {
                let copies = networks.copies(index, &networks.on_link(index));
                copied += copies.len();
                assert_eq!(copies, by_all(&networks, index), "{} of\n{routes}", uplink.label());
            }
        }
        assert!(copied > 1000, "{copied}");
    }
}
