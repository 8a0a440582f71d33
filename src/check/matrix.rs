//! Which routes are looked up: every local address against a remote address, its gateway, the host's own addresses
//! and every network of the host, bound to the source, to the interface and to nothing; and what comes in from there.
//! What each has to return is `expected`'s.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::expected::{Derived, Expected, PrefixTable, Reach, Routing, is_default_like};
use crate::interfaces::Family;
use crate::policy::numbers::SLOT;
use crate::policy::{Plan, Policy};
use crate::snapshot::{Kind, Query, Snapshot};
use crate::uplinks::{Layout, Uplink};

/// More networks than this in a table (a router with the Internet's) are not all tried, nor more addresses of the host.
const MOST_NETWORKS: usize = 256;

/// What a lookup's destination is to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Somewhere on the Internet.
    Distant,
    /// The uplink's own gateway.
    Gateway,
    /// An address of the host itself.
    Host,
    /// A neighbour on the uplink's own network.
    Neighbour(IpNet),
    /// A host that main reaches through another uplink: in its network, or by a route through its gateway.
    Provider(IpNet),
    /// A host in a LAN, VPN or container network: anything that is reached without an uplink's gateway.
    Local(IpNet),
    /// A host that main rejects.
    Rejected(IpNet),
    /// Somewhere that a rule of somebody else's, or a route in the uplink's table, names.
    Named(IpNet),
}

impl Target {
    /// The network, if main has a way to it.
    pub fn local(&self) -> Option<IpNet> {
        if let Target::Local(net) = self { Some(*net) } else { None }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Target::Distant => "distant",
            Target::Gateway => "gateway",
            Target::Host => "own address",
            Target::Neighbour(_) => "neighbour",
            Target::Provider(_) => "other uplink's network",
            Target::Local(_) => "local network",
            Target::Rejected(_) => "rejected by main",
            Target::Named(_) => "named by others",
        }
    }
}

/// One lookup and its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Index into `Plan::uplinks`; nothing for what belongs to none.
    pub uplink: Option<usize>,
    pub target: Target,
    pub query: Query,
    pub expected: Expected,
}

/// A host in the network that is not this one, and in no network of the table within it.
fn host_in(net: &IpNet, table: &PrefixTable, own: &HashSet<IpAddr>) -> Option<IpAddr> {
    let is_within = |host: &IpAddr| {
        let routes = table.longest_match(*host).unwrap_or_default();
        routes.first().is_some_and(|route| !route.dst.contains(net))
    };
    let hosts = (0..64).filter_map(|offset| plus(net.network(), offset));
    let ends = |host: &IpAddr| *host == net.network() || *host == net.broadcast();
    let wide = net.max_prefix_len() - net.prefix_len() > 1;
    let hosts = hosts.take_while(|host| net.contains(host)).filter(|host| !wide || !ends(host));
    hosts.into_iter().find(|host| !own.contains(host) && !is_within(host))
}

fn plus(address: IpAddr, offset: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(offset.into()).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(offset.into()).map(|n| IpAddr::V6(n.into())),
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast())
}

/// An address outside every network that the host knows, to stand for the Internet. Nothing is sent there.
fn distant(plan: &Plan, snapshot: &Snapshot, routing: &Routing, family: Family) -> Option<IpAddr> {
    let unknown = |address: &IpAddr| {
        let on_host = snapshot.addresses.iter().any(|known| known.net.contains(address));
        let gateway = plan.uplinks.iter().any(|uplink| uplink.gateway == Some(*address));
        routing.main.longest_match(*address).is_none() && !on_host && !gateway && !named(snapshot, address)
    };
    match family {
        // Documentation networks (RFC 5737), then the first host of every other one.
        Family::Inet => {
            let documentation = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];
            let documentation = documentation.into_iter().flat_map(|[a, b, c]| [1, 65, 129, 193].map(|d| [a, b, c, d]));
            let others = (1..=223).filter(|n| *n != 127).map(|n| [n, 0, 0, 1]);
            documentation.chain(others).map(IpAddr::from).find(unknown)
        }
        // Documentation (RFC 3849), then the same host in other parts of 2000::/3.
        _ => (0x2001..0x2400u16).map(|n| IpAddr::from([n, 0xdb8, 0xffff, 0, 0, 0, 0, 1])).find(unknown),
    }
}

/// Does a rule or a route of any table say something about just this part of the Internet? (Blackholes for
/// networks that nobody should come from are common.)
fn named(snapshot: &Snapshot, address: &IpAddr) -> bool {
    let names = |dst: &IpNet| !is_default_like(dst) && dst.contains(address);
    snapshot.routes.iter().any(|route| names(&route.dst))
        || snapshot.rules.iter().any(|rule| rule.more.as_ref().is_some_and(|more| more.dst.iter().any(names)))
}

/// Destinations that somebody's rules name before symroute's are asked: no lookup for others meets such a rule.
fn named_by_rules(snapshot: &Snapshot, family: Family, before: u32) -> BTreeSet<IpNet> {
    let rules = snapshot.rules.iter().filter(|rule| rule.family == family && rule.priority < before);
    let dst = rules.filter_map(|rule| rule.more.as_ref()?.dst);
    dst.filter(|dst| !is_default_like(dst) && !is_link_local(&dst.addr())).collect()
}

/// A host for every network of main, of the tables before it, and that a rule names. What is not reached through an
/// uplink's gateway comes first, where there are too many.
fn hosts(routing: &Routing, by_rules: &BTreeSet<IpNet>, own: &HashSet<IpAddr>) -> Vec<(IpNet, IpAddr)> {
    let main = &routing.main;
    let (internet, local): (Vec<&IpNet>, Vec<&IpNet>) = main.networks().partition(|net| routing.is_internet(net));
    let in_main = local.into_iter().chain(internet).take(MOST_NETWORKS).map(|net| (net, main));
    let of_table = |table| PrefixTable::networks(table).map(move |net| (net, table));
    let foreign = routing.before_main.iter().flat_map(of_table).take(MOST_NETWORKS);
    let by_rules = by_rules.iter().take(MOST_NETWORKS).map(|net| (net, main));
    let mut met = HashSet::new();
    let networks = in_main.chain(foreign).chain(by_rules);
    let hosts = networks.filter_map(|(net, table)| Some((*net, host_in(net, table, own)?)));
    hosts.filter(|(_, host)| met.insert(*host)).collect()
}

/// The host's own addresses: the first of each link, then the others.
fn host_addresses(routing: &Routing, snapshot: &Snapshot) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let known = snapshot.addresses.iter().filter(|known| routing.host.contains(&known.net.addr()));
    let mut met = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) = known.take(MOST_NETWORKS).partition(|known| met.insert(&known.dev));
    let addresses = |list: Vec<&crate::snapshot::Address>| list.iter().map(|known| known.net.addr()).collect();
    (addresses(first), addresses(others))
}

/// All lookups for the uplinks that are up. `to` replaces the distant addresses.
pub fn probes(plan: &Plan, snapshot: &Snapshot, to: &[IpAddr]) -> Vec<Probe> {
    let mut probes = Vec::new();
    let own: HashSet<IpAddr> = snapshot.addresses.iter().map(|address| address.net.addr()).collect();
    for family in [Family::Inet, Family::Inet6] {
        let uplinks: Vec<usize> = (0..plan.uplinks.len())
            .filter(|at| plan.uplinks[*at].family == family && plan.uplinks[*at].up)
            .filter(|at| plan.uplinks[*at].wish.enabled != Some(false))
            .collect();
        if uplinks.is_empty() {
            continue;
        }
        let tables: Vec<u32> = plan.policies.iter().map(|policy| policy.table).collect();
        let routing = Routing::new(&plan.uplinks, snapshot, family, &tables);
        let asked = to.iter().copied().find(|to| to.is_ipv6() == (family == Family::Inet6));
        let distant = asked.or_else(|| distant(plan, snapshot, &routing, family));
        let last = uplinks.iter().filter_map(|at| plan.policy(*at)).map(|policy| policy.priority + SLOT).max();
        let by_rules = named_by_rules(snapshot, family, last.unwrap_or(0));
        let hosts = hosts(&routing, &by_rules, &own);
        let of_host = OfHost { plan, snapshot, routing, hosts, distant, own: &own };
        for at in &uplinks {
            of_host.uplink(*at, &mut probes);
        }
        of_host.unbound(family, &mut probes);
    }
    probes
}

/// What the lookups of one family share.
struct OfHost<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    routing: Routing<'a>,
    hosts: Vec<(IpNet, IpAddr)>,
    distant: Option<IpAddr>,
    own: &'a HashSet<IpAddr>,
}

/// A destination of an uplink's lookups.
struct Destination {
    target: Target,
    to: IpAddr,
    expected: Expected,
}

impl OfHost<'_> {
    fn uplink(&self, at: usize, probes: &mut Vec<Probe>) {
        let it = &self.plan.uplinks[at];
        let policy = self.plan.policy(at);
        // The same for every address; an uplink may have thousands.
        let destinations = self.destinations(it, policy);
        let (of_links, others) = host_addresses(&self.routing, self.snapshot);
        let probe = |target, query, expected| Probe { uplink: Some(at), target, query, expected };
        // Every address that the kernel has and that belongs here, secondary ones included.
        for (position, source) in it.sources.iter().map(|source| source.net.addr()).enumerate() {
            for Destination { target, to, expected } in &destinations {
                // What neighbours and networks send comes in where answers to them go out.
                let dev = match expected {
                    Expected::Way(dev, _) | Expected::Dev(dev) => Some(dev),
                    Expected::AnyOf(ways) => ways.first().map(|(dev, _)| dev),
                    _ => None,
                };
                if let Some(dev) = dev.filter(|_| it.family == Family::Inet) {
                    let query = Query { from: Some(*to), iif: Some(dev.clone()), ..Query::to(source) };
                    probes.push(probe(*target, query, Expected::Delivered));
                }
                let query = Query { from: Some(source), ..Query::to(*to) };
                probes.push(probe(*target, query, expected.clone()));
            }
            // All of them from the first address alone: a host may have thousands.
            for to in of_links.iter().chain(others.iter().filter(|_| position == 0)) {
                let query = Query { from: Some(source), ..Query::to(*to) };
                probes.push(probe(Target::Host, query, Expected::Delivered));
            }
        }
        if policy.is_some_and(|policy| policy.layout == Layout::Layered) {
            self.bound_to_interface(at, &destinations, probes);
        }
    }

    /// Sockets that are bound to the uplink's interface.
    fn bound_to_interface(&self, at: usize, destinations: &[Destination], probes: &mut Vec<Probe>) {
        let it = &self.plan.uplinks[at];
        let same_device = |other: &&Uplink| other.interface == it.interface && other.family == it.family && other.up;
        let shared = self.plan.uplinks.iter().filter(same_device).count() > 1;
        for Destination { target, to, .. } in destinations {
            let expected = match target {
                Target::Named(_) | Target::Rejected(_) | Target::Host => continue,
                Target::Distant if !shared => {
                    let near = it.on_link().iter().any(|net| net.contains(to));
                    Expected::Way(it.interface.clone(), it.gateway.filter(|_| !near))
                }
                Target::Neighbour(_) if !shared => Expected::Way(it.interface.clone(), None),
                _ => Expected::Dev(it.interface.clone()),
            };
            let query = Query { oif: Some(it.interface.clone()), ..Query::to(*to) };
            probes.push(Probe { uplink: Some(at), target: *target, query, expected });
        }
    }

    /// What an address of this uplink has to reach. Policy that is not ours is held to less.
    fn destinations(&self, it: &Uplink, policy: Option<&Policy>) -> Vec<Destination> {
        let derive = |to: IpAddr| self.routing.derive(it, to);
        let mut destinations: Vec<Destination> = Vec::new();
        let gateway = it.gateway.filter(|gateway| !is_link_local(gateway));
        for (target, to) in [(Target::Distant, self.distant), (Target::Gateway, gateway)] {
            let Some(to) = to.filter(|to| !self.own.contains(to)) else { continue };
            // Where more than one answer is legitimate, none may leave through another uplink.
            let expected = derive(to).map_or(Expected::NotBy(self.other_links(it)), |derived| derived.expected);
            destinations.push(Destination { target, to, expected });
        }
        let hosts = self.hosts.iter().filter_map(|(net, host)| Some((*net, *host, derive(*host)?)));
        destinations.extend(hosts.map(|(net, to, derived)| self.destination(it, net, to, derived)));
        let Some(policy) = policy else {
            destinations
                .retain(|known| matches!(known.target, Target::Distant | Target::Gateway | Target::Neighbour(_)));
            return destinations;
        };
        if policy.layout == Layout::Article {
            // Its one rule knows no other table.
            destinations.retain(|known| !matches!(known.target, Target::Rejected(_)));
        }
        // Somebody's routes in this table.
        let in_table = self.snapshot.routes.iter().filter(|route| {
            let ours = route.is_ours() || policy.routes.iter().any(|placed| route.same_as(&placed.item));
            route.table == policy.table && route.family == it.family && !ours
        });
        for route in in_table.filter(|route| !is_default_like(&route.dst)).take(MOST_NETWORKS) {
            let Some(to) = host_in(&route.dst, &self.routing.main, self.own) else { continue };
            let Some(derived) = derive(to).filter(|_| !destinations.iter().any(|known| known.to == to)) else {
                continue;
            };
            let own_route = derived.expected.clone();
            let destination = self.destination(it, route.dst, to, derived);
            // What throws or rejects there never leaves by the uplink.
            destinations.push(match (destination.target, route.kind()) {
                (Target::Named(_), Kind::Unicast) => destination,
                (Target::Named(_), _) => Destination { target: Target::Distant, expected: own_route, ..destination },
                _ => destination,
            });
        }
        destinations
    }

    fn destination(&self, it: &Uplink, net: IpNet, to: IpAddr, derived: Derived) -> Destination {
        let Derived { reach, expected } = derived;
        let (target, expected) = match reach {
            Reach::Host => (Target::Host, expected),
            Reach::Local(net) => (Target::Local(net), expected),
            Reach::Neighbour(net) => (Target::Neighbour(net), expected),
            Reach::Provider(net) => (Target::Provider(net), expected),
            Reach::Rejected(net) => (Target::Rejected(net), expected),
            Reach::Remote => (Target::Named(net), Expected::NotBy(self.other_links(it))),
        };
        Destination { target, to, expected }
    }

    /// The links of the other uplinks.
    fn other_links(&self, it: &Uplink) -> Vec<String> {
        let others = self.plan.uplinks.iter().filter(|other| other.family == it.family);
        let links: BTreeSet<&String> = others.map(|other| &other.interface).collect();
        links.into_iter().filter(|link| **link != it.interface).cloned().collect()
    }

    fn unbound(&self, family: Family, probes: &mut Vec<Probe>) {
        let known = self.hosts.iter().filter(|(_, host)| self.routing.has_route(*host));
        let targets = known.map(|(net, host)| (Target::Local(*net), *host));
        let distant = self.distant.map(|to| (Target::Distant, to));
        let any = || {
            self.snapshot
                .addresses
                .iter()
                .any(|address| !address.local && address.net.addr().is_ipv6() == (family == Family::Inet6))
        };
        for (target, to) in distant.into_iter().chain(targets).filter(|_| any()) {
            probes.push(Probe { uplink: None, target, query: Query::to(to), expected: Expected::Routable });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::expected::tests::{snapshot, uplinks};
    use crate::policy::plan;
    use crate::tables::Names;
    use crate::uplinks::Found;

    const ROUTES: &str = "0.0.0.0/0 via 192.0.2.1 dev eth0
        192.0.2.0/24 dev eth0
        198.51.100.0/24 dev eth1
        203.0.113.0/26 dev eth2
        203.0.113.128/28 via 198.51.100.1 dev eth1
        local 192.0.2.10 dev eth0
        local 198.51.100.10 dev eth1
        local 203.0.113.1 dev eth2
        ";

    fn planned(text: &str) -> Plan {
        plan(Found { uplinks: uplinks(text), ..Found::default() }, None, &Names::default(), None)
    }

    fn two() -> Plan {
        planned("eth0 192.0.2.10/24 via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1")
    }

    /// A fault of the planner must not make a wrong route right.
    #[test]
    fn the_planned_routes_and_rules_do_not_matter() {
        let snapshot = snapshot(ROUTES);
        let mut wrong = two();
        for policy in &mut wrong.policies {
            policy.routes.clear();
            policy.rules.clear();
        }
        assert!(two() != wrong);
        assert_eq!(probes(&two(), &snapshot, &[]), probes(&wrong, &snapshot, &[]));
    }

    #[test]
    fn destinations_of_an_address() {
        let probes = probes(&two(), &snapshot(ROUTES), &[]);
        let from =
            |probe: &&Probe| probe.query.from == Some(IpAddr::from([192, 0, 2, 10])) && probe.query.iif.is_none();
        let line = |probe: &Probe| format!("{} {}", probe.target.name(), probe.query.to);
        let lines: Vec<String> = probes.iter().filter(from).map(line).collect();
        let expected = [
            "distant 203.0.113.65",
            "gateway 192.0.2.1",
            "neighbour 192.0.2.1",
            "local network 203.0.113.2",
            "other uplink's network 198.51.100.1",
            "other uplink's network 203.0.113.129",
            "own address 192.0.2.10",
            "own address 198.51.100.10",
            "own address 203.0.113.1",
        ];
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        assert_eq!(sorted(lines), sorted(expected.map(str::to_string).to_vec()));
    }

    /// A router with the Internet's table, and a server with a thousand addresses.
    #[test]
    fn lookups_are_bounded_and_local_networks_come_first() {
        let count = |addresses: usize, networks: usize| {
            let (mut sources, mut routes) = (String::new(), ROUTES.to_string());
            for n in 0..addresses {
                let address = format!("192.0.{}.{}", 4 + n / 200, 1 + n % 200);
                sources += &format!(" {address}/22");
                routes += &format!("local {address} dev eth0\n");
            }
            for n in 0..networks {
                routes += &format!("11.{}.{}.0/24 via 192.0.2.1 dev eth0\n", n / 256, n % 256);
            }
            let plan =
                planned(&format!("eth0 192.0.2.10/24{sources} via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1"));
            let probes = probes(&plan, &snapshot(&routes), &[]);
            assert!(probes.iter().any(|probe| probe.query.to == IpAddr::from([203, 0, 113, 2])), "the LAN");
            probes.len()
        };
        let (one, two, four) = (count(100, 0), count(200, 0), count(400, 0));
        assert!(four - two <= 2 * (two - one) + 2, "{one} {two} {four}");
        assert_eq!(count(0, 300), count(0, 3000));
    }
}
