//! The lookups of a check. From every address of an uplink, from its interface and without a source address: to a
//! remote address, its gateway, the host's own addresses and every network of the host; and packets that arrive from
//! there. `expected` computes the expected result of each.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::expected::{Derived, Expected, PrefixTable, Reach, Routing, is_default_like};
use crate::network::{Family, Kind, Query, Route, Rule, Snapshot};
use crate::policy::numbers::PRIORITIES_PER_UPLINK;
use crate::policy::{Plan, Policy};
use crate::uplinks::{Layout, Uplink};

/// At most this many networks of a table, and addresses of the host, are looked up: a router may have a full table.
const MOST_NETWORKS: usize = 256;
/// With more uplinks than this, fewer networks are looked up for each.
const MANY_UPLINKS: usize = 16;
/// With more lookups than this, only the first address of an uplink is looked up with all destinations. The others have
/// the same rules and table, and are looked up with one destination of each kind.
const MANY_LOOKUPS: usize = 20_000;

/// At most this many foreign rules with a protocol, a port or a user are looked up.
const MOST_RULES: usize = 64;
/// TCP, UDP, and ICMP or ICMPv6: the kernel looks up no others (`rtm_getroute_parse_ip_proto`).
const KNOWN_PROTOCOLS: [[u8; 3]; 2] = [[6, 17, 1], [6, 17, 58]];

/// The kind of a lookup's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An address on the Internet.
    Remote,
    /// The uplink's own gateway.
    Gateway,
    /// An address of the host itself.
    Host,
    /// A neighbour on the uplink's own network.
    Neighbour(IpNet),
    /// A host that main reaches through another uplink: in its network, or through its gateway.
    Provider(IpNet),
    /// A host in a LAN, VPN or container network: reached without an uplink's gateway.
    Local(IpNet),
    /// A host that main rejects.
    Rejected(IpNet),
    /// A destination that a foreign rule, or a foreign route in the uplink's table, names.
    Named(IpNet),
    /// Any destination, for packets of a protocol, a port or a user that a foreign rule names.
    Selected,
}

impl Target {
    /// The network, if main reaches it without an uplink's gateway.
    pub fn local(&self) -> Option<IpNet> {
        if let Target::Local(net) = self { Some(*net) } else { None }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Target::Remote => "remote address",
            Target::Gateway => "gateway",
            Target::Host => "own address",
            Target::Neighbour(_) => "neighbour",
            Target::Provider(_) => "other uplink's network",
            Target::Local(_) => "local network",
            Target::Rejected(_) => "rejected by the main table",
            Target::Named(_) => "named by a foreign entry",
            Target::Selected => "selected by a foreign rule",
        }
    }
}

/// One lookup and its expected result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Index into `Plan::uplinks`; nothing for lookups without a source address.
    pub uplink: Option<usize>,
    pub target: Target,
    pub query: Query,
    pub expected: Expected,
}

/// Another host in the network, but in no smaller network of the table.
fn host_in(net: &IpNet, table: &PrefixTable, own: &FxHashSet<IpAddr>) -> Option<IpAddr> {
    let is_in_smaller = |host: &IpAddr| {
        let routes = table.longest_match(*host).unwrap_or_default();
        routes.first().is_some_and(|route| !route.dst.contains(net))
    };
    let hosts = (0..64).filter_map(|offset| offset_by(net.network(), offset));
    let is_end = |host: &IpAddr| *host == net.network() || *host == net.broadcast();
    let has_ends = net.max_prefix_len() - net.prefix_len() > 1;
    let hosts = hosts.take_while(|host| net.contains(host)).filter(|host| !has_ends || !is_end(host));
    hosts.into_iter().find(|host| !own.contains(host) && !is_in_smaller(host))
}

fn offset_by(address: IpAddr, offset: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(offset.into()).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(offset.into()).map(|n| IpAddr::V6(n.into())),
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast())
}

/// An address outside all networks of the host, as an example of the Internet. No packet is sent to it.
fn remote_address(plan: &Plan, snapshot: &Snapshot, routing: &Routing, family: Family) -> Option<IpAddr> {
    let is_unknown = |address: &IpAddr| {
        let is_on_link = snapshot.addresses.iter().any(|known| known.net.contains(address));
        let is_gateway = plan.uplinks.iter().any(|uplink| uplink.gateway.is(*address));
        routing.main.longest_match(*address).is_none() && !is_on_link && !is_gateway && !is_named(snapshot, address)
    };
    match family {
        // Documentation networks (RFC 5737), then the first host of every other one.
        Family::Inet => {
            let documentation = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];
            let documentation = documentation.into_iter().flat_map(|[a, b, c]| [1, 65, 129, 193].map(|d| [a, b, c, d]));
            let others = (1..=223).filter(|n| *n != 127).map(|n| [n, 0, 0, 1]);
            documentation.chain(others).map(IpAddr::from).find(is_unknown)
        }
        // Documentation (RFC 3849), then the same host in other parts of 2000::/3.
        Family::Inet6 => (0x2001..0x2400u16).map(|n| IpAddr::from([n, 0xdb8, 0xffff, 0, 0, 0, 0, 1])).find(is_unknown),
    }
}

/// Does a rule or a route of any table match this part of the Internet in particular? (Blackhole routes for reserved
/// networks are common.)
fn is_named(snapshot: &Snapshot, address: &IpAddr) -> bool {
    let is_match = |dst: &IpNet| !is_default_like(dst) && dst.contains(address);
    snapshot.routes.iter().any(|route| is_match(&route.dst))
        || snapshot.rules.iter().any(|rule| rule.extras.as_ref().is_some_and(|extras| extras.dst.iter().any(is_match)))
}

/// Destinations that foreign rules before symroute's name: lookups of other destinations do not match these rules.
fn destinations_of_rules(snapshot: &Snapshot, family: Family, before: u32) -> BTreeSet<IpNet> {
    let rules = snapshot.rules.iter().filter(|rule| rule.family == family && rule.priority < before);
    let dst = rules.filter_map(|rule| rule.extras.as_ref()?.dst);
    dst.filter(|dst| !is_default_like(dst) && !is_link_local(&dst.addr())).collect()
}

/// Foreign rules before symroute's that select packets by protocol, port or user. They may be in use for other interfaces,
/// or select packets with a mark: these are not looked up.
fn rules_with_selectors(snapshot: &Snapshot, family: Family, before: u32) -> Vec<&Rule> {
    let has_selector = |rule: &&Rule| {
        rule.extras.as_ref().is_some_and(|extras| {
            let is_received = extras.iif.as_ref().is_some_and(|iif| iif != "lo");
            let is_other = extras.mark.is_some() || extras.not || extras.tos != 0 || is_received;
            let known = KNOWN_PROTOCOLS[usize::from(family == Family::Inet6)];
            let is_known = extras.ip_protocol.is_none_or(|protocol| known.contains(&protocol));
            let is_selected = extras.ip_protocol.is_some() || extras.sports.is_some() || extras.dports.is_some();
            (is_selected && is_known || extras.uids.is_some()) && !is_other
        })
    };
    let rules = snapshot.rules.iter().filter(|rule| rule.family == family && rule.priority < before);
    rules.filter(|rule| !rule.is_ours() && rule.oif.is_none()).filter(has_selector).take(MOST_RULES).collect()
}

/// A host in every network of main, of the tables before it, and of the rules. If there are too many, networks that are
/// reached without an uplink's gateway come first.
fn hosts(
    routing: &Routing,
    of_rules: &BTreeSet<IpNet>,
    own: &FxHashSet<IpAddr>,
    uplinks: usize,
) -> Vec<(IpNet, IpAddr)> {
    let most = (MOST_NETWORKS * MANY_UPLINKS / uplinks.max(MANY_UPLINKS)).max(16);
    let main = &routing.main;
    let (internet, local): (Vec<&IpNet>, Vec<&IpNet>) = main.networks().partition(|net| routing.is_internet(net));
    let in_main = local.into_iter().chain(internet).take(most).map(|net| (net, main));
    let of_table = |table| PrefixTable::networks(table).map(move |net| (net, table));
    let foreign = routing.before_main.iter().flat_map(of_table).take(most);
    let of_rules = of_rules.iter().take(most).map(|net| (net, main));
    let mut seen = FxHashSet::default();
    let networks = in_main.chain(foreign).chain(of_rules);
    let hosts = networks.filter_map(|(net, table)| Some((*net, host_in(net, table, own)?)));
    hosts.filter(|(_, host)| seen.insert(*host)).collect()
}

/// The host's own addresses: the first of each interface, then the others.
fn host_addresses(routing: &Routing, snapshot: &Snapshot) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let known = snapshot.addresses.iter().filter(|known| routing.host.contains(&known.net.addr()));
    let mut seen = FxHashSet::default();
    let (first, others): (Vec<_>, Vec<_>) = known.take(MOST_NETWORKS).partition(|known| seen.insert(&known.dev));
    let addresses = |list: Vec<&crate::network::Address>| list.iter().map(|known| known.net.addr()).collect();
    (addresses(first), addresses(others))
}

/// Foreign routes in these tables.
fn foreign_routes<'a>(snapshot: &'a Snapshot, family: Family, tables: &[u32]) -> FxHashMap<u32, Vec<&'a Route>> {
    let tables: FxHashSet<u32> = tables.iter().copied().collect();
    let mut found: FxHashMap<u32, Vec<&Route>> = FxHashMap::default();
    for route in snapshot.routes.iter().filter(|route| route.family == family && !route.is_ours()) {
        if tables.contains(&route.table) {
            found.entry(route.table).or_default().push(route);
        }
    }
    found
}

/// Positions of the first destination of each kind.
fn of_each_kind(destinations: &[Destination]) -> FxHashSet<usize> {
    let mut seen = FxHashSet::default();
    let first = destinations.iter().enumerate().filter(|(_, known)| seen.insert(known.target.name()));
    first.map(|(index, _)| index).collect()
}

/// All lookups for the active uplinks. `to` replaces the remote addresses.
pub fn probes(plan: &Plan, snapshot: &Snapshot, to: &[IpAddr]) -> Vec<Probe> {
    let mut probes = Vec::new();
    let own: FxHashSet<IpAddr> = snapshot.addresses.iter().map(|address| address.net.addr()).collect();
    for family in Family::ALL {
        let uplinks: Vec<usize> = (0..plan.uplinks.len())
            .filter(|index| plan.uplinks[*index].family == family && plan.uplinks[*index].up)
            .filter(|index| plan.uplinks[*index].overrides.enabled != Some(false))
            .collect();
        if uplinks.is_empty() {
            continue;
        }
        let tables: Vec<u32> = plan.policies.iter().map(|policy| policy.table).collect();
        let routing = Routing::new(&plan.uplinks, snapshot, family, &tables);
        let given = to.iter().copied().find(|to| to.is_ipv6() == (family == Family::Inet6));
        let remote = given.or_else(|| remote_address(plan, snapshot, &routing, family));
        let last = uplinks
            .iter()
            .filter_map(|index| plan.policy(*index))
            .map(|policy| policy.priority + PRIORITIES_PER_UPLINK)
            .max();
        let of_rules = destinations_of_rules(snapshot, family, last.unwrap_or(0));
        let hosts = hosts(&routing, &of_rules, &own, uplinks.len());
        let addresses = host_addresses(&routing, snapshot);
        let foreign = foreign_routes(snapshot, family, &tables);
        let selecting = rules_with_selectors(snapshot, family, last.unwrap_or(0));
        let most_lookups = MANY_LOOKUPS / uplinks.len();
        let own = &own;
        let of_family =
            ProbesOfFamily { plan, snapshot, routing, hosts, addresses, foreign, selecting, most_lookups, remote, own };
        for index in &uplinks {
            of_family.add_uplink(*index, &mut probes);
        }
        of_family.add_without_source(family, &mut probes);
    }
    probes
}

/// What the lookups of one family share.
struct ProbesOfFamily<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    routing: Routing<'a>,
    hosts: Vec<(IpNet, IpAddr)>,
    /// The host's own: the first of each interface, then the others.
    addresses: (Vec<IpAddr>, Vec<IpAddr>),
    /// Foreign routes in uplinks' tables.
    foreign: FxHashMap<u32, Vec<&'a Route>>,
    /// Foreign rules with a protocol, a port or a user.
    selecting: Vec<&'a Rule>,
    /// For each uplink.
    most_lookups: usize,
    remote: Option<IpAddr>,
    own: &'a FxHashSet<IpAddr>,
}

/// A destination of an uplink's lookups.
struct Destination {
    target: Target,
    to: IpAddr,
    expected: Expected,
}

impl ProbesOfFamily<'_> {
    fn add_uplink(&self, index: usize, probes: &mut Vec<Probe>) {
        let uplink = &self.plan.uplinks[index];
        let policy = self.plan.policy(index);
        // The same for every address; an uplink may have thousands.
        let destinations = self.destinations(uplink, policy);
        let (of_interfaces, others) = &self.addresses;
        let of_each_kind = of_each_kind(&destinations);
        let is_many = uplink.sources.len() * (destinations.len() + of_interfaces.len()) > self.most_lookups;
        let probe = |target, query, expected| Probe { uplink: Some(index), target, query, expected };
        // Every address of the uplink that the kernel has, including secondary ones.
        for (position, source) in uplink.sources.iter().map(|source| source.net.addr()).enumerate() {
            let is_sample = is_many && position > 0;
            let chosen =
                destinations.iter().enumerate().filter(|(index, _)| !is_sample || of_each_kind.contains(index));
            for Destination { target, to, expected } in chosen.map(|(_, destination)| destination) {
                // Packets from the destination arrive on the interface through which replies to it leave.
                let dev = match expected {
                    Expected::Through(dev, _) | Expected::Dev(dev) => Some(dev),
                    Expected::AnyOf(hops) => hops.first().map(|(dev, _)| dev),
                    _ => None,
                };
                if let Some(dev) = dev.filter(|_| uplink.family == Family::Inet) {
                    let query = Query { from: Some(*to), iif: Some(dev.clone()), ..Query::to(source) };
                    probes.push(probe(*target, query, Expected::Delivered));
                }
                let query = Query { from: Some(source), ..Query::to(*to) };
                probes.push(probe(*target, query, expected.clone()));
            }
            // All of them from the first address only: a host may have thousands.
            let of_interfaces = of_interfaces.iter().take(if is_sample { 1 } else { usize::MAX });
            for to in of_interfaces.chain(others.iter().filter(|_| position == 0)) {
                let query = Query { from: Some(source), ..Query::to(*to) };
                probes.push(probe(Target::Host, query, Expected::Delivered));
            }
        }
        self.add_selected(index, probes);
        if policy.is_some_and(|policy| policy.layout == Layout::Layered) {
            self.add_bound_to_interface(index, &destinations, probes);
        }
    }

    /// Packets that foreign rules select. Such a rule may send them into a tunnel, but not through another uplink.
    fn add_selected(&self, index: usize, probes: &mut Vec<Probe>) {
        let uplink = &self.plan.uplinks[index];
        for rule in &self.selecting {
            let Some(extras) = &rule.extras else { continue };
            let mut sources = uplink.sources.iter().map(|source| source.net.addr());
            let source = sources.find(|source| rule.src.is_none_or(|src| src.contains(source)));
            let to = match extras.dst {
                Some(dst) => host_in(&dst, &self.routing.main, self.own),
                None => self.remote,
            };
            let (Some(source), Some(to)) = (source, to) else { continue };
            let is_internet = self
                .routing
                .derive(uplink, to)
                .is_some_and(|derived| matches!(derived.reach, Reach::Remote | Reach::Provider(_)));
            if !is_internet {
                continue;
            }
            let query = Query {
                from: Some(source),
                uid: extras.uids.map_or(0, |(first, _)| first),
                ip_protocol: extras.ip_protocol.unwrap_or(Query::to(to).ip_protocol),
                sport: extras.sports.map_or(0, |(first, _)| first),
                dport: extras.dports.map_or(0, |(first, _)| first),
                ..Query::to(to)
            };
            let expected = Expected::NotThrough(self.other_interfaces(uplink));
            probes.push(Probe { uplink: Some(index), target: Target::Selected, query, expected });
        }
    }

    /// Sockets that are bound to the uplink's interface.
    fn add_bound_to_interface(&self, index: usize, destinations: &[Destination], probes: &mut Vec<Probe>) {
        let uplink = &self.plan.uplinks[index];
        let Uplink { interface, family, .. } = uplink;
        let is_on_interface = |other: &&Uplink| other.interface == *interface && other.family == *family && other.up;
        let is_shared = self.plan.uplinks.iter().filter(is_on_interface).count() > 1;
        for Destination { target, to, .. } in destinations {
            let expected = match target {
                Target::Named(_) | Target::Rejected(_) | Target::Host => continue,
                Target::Remote if !is_shared => {
                    let is_on_link = uplink.on_link().iter().any(|net| net.contains(to));
                    Expected::Through(interface.clone(), uplink.gateway.address().filter(|_| !is_on_link))
                }
                Target::Neighbour(_) if !is_shared => Expected::Through(interface.clone(), None),
                _ => Expected::Dev(interface.clone()),
            };
            let query = Query { oif: Some(interface.clone()), ..Query::to(*to) };
            probes.push(Probe { uplink: Some(index), target: *target, query, expected });
        }
    }

    /// The destinations that an address of this uplink should reach.
    fn destinations(&self, uplink: &Uplink, policy: Option<&Policy>) -> Vec<Destination> {
        let derive = |to: IpAddr| self.routing.derive(uplink, to);
        let mut destinations: Vec<Destination> = Vec::new();
        let gateway = uplink.gateway.address().filter(|gateway| !is_link_local(gateway));
        for (target, to) in [(Target::Remote, self.remote), (Target::Gateway, gateway)] {
            let Some(to) = to.filter(|to| !self.own.contains(to)) else { continue };
            // If more than one result is correct, none may use another uplink.
            let expected = derive(to)
                .map_or_else(|| Expected::NotThrough(self.other_interfaces(uplink)), |derived| derived.expected);
            destinations.push(Destination { target, to, expected });
        }
        let hosts = self.hosts.iter().filter_map(|(net, host)| Some((*net, *host, derive(*host)?)));
        destinations.extend(hosts.map(|(net, to, derived)| self.destination(uplink, net, to, derived)));
        // Only the layout 'layered' looks up the routes of main that reject packets.
        if policy.is_none_or(|policy| policy.layout == Layout::Article) {
            destinations.retain(|known| !matches!(known.target, Target::Rejected(_)));
        }
        if let Some(policy) = policy {
            self.add_foreign_destinations(uplink, policy, &mut destinations);
        }
        destinations
    }

    /// The destinations of foreign routes in the uplink's table.
    fn add_foreign_destinations(&self, uplink: &Uplink, policy: &Policy, destinations: &mut Vec<Destination>) {
        let in_table = self.foreign.get(&policy.table).into_iter().flatten();
        let in_table = in_table.filter(|route| !policy.routes.iter().any(|placed| route.same_as(&placed.item)));
        for route in in_table.filter(|route| !is_default_like(&route.dst)).take(MOST_NETWORKS) {
            let Some(to) = host_in(&route.dst, &self.routing.main, self.own) else { continue };
            let Some(derived) =
                self.routing.derive(uplink, to).filter(|_| !destinations.iter().any(|known| known.to == to))
            else {
                continue;
            };
            let own_route = derived.expected.clone();
            let destination = self.destination(uplink, route.dst, to, derived);
            // A route that throws or rejects never uses the uplink.
            destinations.push(match (destination.target, route.kind()) {
                (Target::Named(_), Kind::Unicast) => destination,
                (Target::Named(_), _) => Destination { target: Target::Remote, expected: own_route, ..destination },
                _ => destination,
            });
        }
    }

    fn destination(&self, uplink: &Uplink, net: IpNet, to: IpAddr, derived: Derived) -> Destination {
        let Derived { reach, expected } = derived;
        let (target, expected) = match reach {
            Reach::Host => (Target::Host, expected),
            Reach::Local(net) => (Target::Local(net), expected),
            Reach::Neighbour(net) => (Target::Neighbour(net), expected),
            Reach::Provider(net) => (Target::Provider(net), expected),
            Reach::Rejected(net) => (Target::Rejected(net), expected),
            Reach::Remote => (Target::Named(net), Expected::NotThrough(self.other_interfaces(uplink))),
        };
        Destination { target, to, expected }
    }

    /// The interfaces of the other uplinks.
    fn other_interfaces(&self, uplink: &Uplink) -> Vec<String> {
        let others = self.plan.uplinks.iter().filter(|other| other.family == uplink.family);
        let interfaces: BTreeSet<&String> = others.map(|other| &other.interface).collect();
        interfaces.into_iter().filter(|interface| **interface != uplink.interface).cloned().collect()
    }

    fn add_without_source(&self, family: Family, probes: &mut Vec<Probe>) {
        let reached = self.hosts.iter().filter(|(_, host)| self.routing.has_route(*host));
        let targets = reached.map(|(net, host)| (Target::Local(*net), *host));
        let remote = self.remote.map(|to| (Target::Remote, to));
        let has_address = || {
            self.snapshot
                .addresses
                .iter()
                .any(|address| !address.local && address.net.addr().is_ipv6() == (family == Family::Inet6))
        };
        for (target, to) in remote.into_iter().chain(targets).filter(|_| has_address()) {
            probes.push(Probe { uplink: None, target, query: Query::to(to), expected: Expected::Routable });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::expected::tests::{snapshot, uplinks};
    use crate::commands::tables::Names;
    use crate::policy::plan;
    use crate::uplinks::Discovery;

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
        plan(Discovery { uplinks: uplinks(text), ..Discovery::default() }, None, &Names::default(), None)
    }

    fn two() -> Plan {
        planned("eth0 192.0.2.10/24 via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1")
    }

    /// A fault of the planner must not change the expected routes.
    #[test]
    fn the_planned_routes_and_rules_do_not_matter() {
        let snapshot = snapshot(ROUTES);
        let mut faulty = two();
        for policy in &mut faulty.policies {
            policy.routes.clear();
            policy.rules.clear();
        }
        assert!(two() != faulty);
        assert_eq!(probes(&two(), &snapshot, &[]), probes(&faulty, &snapshot, &[]));
    }

    #[test]
    fn destinations_of_an_address() {
        let probes = probes(&two(), &snapshot(ROUTES), &[]);
        let from =
            |probe: &&Probe| probe.query.from == Some(IpAddr::from([192, 0, 2, 10])) && probe.query.iif.is_none();
        let line = |probe: &Probe| format!("{} {}", probe.target.name(), probe.query.to);
        let lines: Vec<String> = probes.iter().filter(from).map(line).collect();
        let expected = [
            "remote address 203.0.113.65",
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

    /// Manual policy routing often has no route to LANs, VPNs and the other uplinks' networks.
    #[test]
    fn manual_policy_has_the_same_lookups() {
        let snapshot = snapshot(ROUTES);
        let mut uplinks = uplinks("eth0 192.0.2.10/24 via 192.0.2.1\n eth1 198.51.100.10/24 via 198.51.100.1");
        uplinks[1].is_manual = true;
        let manual = plan(Discovery { uplinks, ..Discovery::default() }, None, &Names::default(), None);
        assert!(manual.policy(1).is_none());
        let from_eth1 = |plan: &Plan| {
            let own = |probe: &Probe| probe.query.from == Some(IpAddr::from([198, 51, 100, 10]));
            let probes = probes(plan, &snapshot, &[]).into_iter().filter(own);
            probes.map(|probe| (probe.query, probe.expected)).collect::<Vec<_>>()
        };
        assert!(from_eth1(&manual).iter().any(|(query, _)| query.to == IpAddr::from([203, 0, 113, 2])));
        assert_eq!(from_eth1(&manual), from_eth1(&two()));
    }

    /// A router with a full table, and a server with a thousand addresses.
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
        // Many of both: only the first address is looked up with all destinations.
        let (one, two) = (count(500, 300), count(1000, 300));
        assert!(two < 2 * one && two < 20_000, "{one} {two}");
    }
}
