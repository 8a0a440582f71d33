//! From a snapshot to a plan: what is missing, and which of symroute's entries are no longer needed.

use std::cell::{Cell, LazyCell};
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashSet;

use super::group::{GROUP, NO_GROUP};
use super::numbers::PRIORITIES_PER_UPLINK;
use super::plan::{Plan, Policy};
use crate::network::{Address, Family, LOCAL, MAIN, Route, RouteKey, Rule, Snapshot};
use crate::sort::sort_by_key;
use crate::uplinks::{Source, Uplink};

/// An interface, and the group that it changes from and to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub dev: String,
    pub from: u32,
    pub to: u32,
}

/// The changes to make, in the order of the fields: then no rule ever points to a table without its routes, or names a
/// group before the interfaces are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Interfaces that have to be in the group.
    pub join: Vec<Membership>,
    pub add_routes: Vec<Route>,
    /// Routes of symroute with the same destination and metric, but another gateway or link: replaced in one step.
    pub replace_routes: Vec<(Route, Route)>,
    pub add_rules: Vec<Rule>,
    pub remove_rules: Vec<Rule>,
    pub remove_routes: Vec<Route>,
    /// Interfaces that symroute put into the group and that are no longer uplinks of the plan.
    pub leave: Vec<Membership>,
    /// Foreign routes that block a route of the plan: (planned, foreign).
    pub conflicts: Vec<(Route, Route)>,
}

/// The policies that the kernel has to have: those of the uplinks that are up.
pub fn wanted(plan: &Plan) -> impl Iterator<Item = &Policy> {
    plan.policies.iter().filter(|policy| plan.uplinks[policy.uplink].up)
}

/// Do the stanza's own lines add this uplink's routes and rules?
pub fn is_managed_by_lines(plan: &Plan, policy: &Policy) -> bool {
    plan.uplinks[policy.uplink].written.is_some_and(|written| written.lines)
}

/// A rule's family and priority.
type RuleKey = (Family, u32);

fn rule_key(rule: &Rule) -> RuleKey {
    (rule.family, rule.priority)
}

/// Rules or routes, sorted by the part of them that few others have. To compare a key is cheaper than to hash the whole.
struct Sorted<'a, K, T> {
    all: &'a [T],
    /// The positions in `all`, by key.
    items: Vec<(K, usize)>,
    /// The place after the last one that was found: mostly that of the next search, as kernel and plan have similar orders.
    next: Cell<usize>,
}

impl<'a, K: Ord + Copy, T: PartialEq> Sorted<'a, K, T> {
    /// Of `all`, those that `is_member` selects.
    fn new(all: &'a [T], is_member: impl Fn(&T) -> bool, key: fn(&T) -> K) -> Self {
        let members = all.iter().enumerate().filter(|(_, item)| is_member(item));
        let mut items: Vec<(K, usize)> = members.map(|(position, item)| (key(item), position)).collect();
        sort_by_key(&mut items, |(key, _)| *key);
        Sorted { all, items, next: Cell::new(0) }
    }

    /// Those with this key and their positions, in their order.
    fn with(&self, key: K) -> impl Iterator<Item = (usize, &'a T)> {
        let first = self.first_from(key);
        self.next.set(first + 1);
        let items = self.items.get(first..).unwrap_or_default();
        let with_key = items.iter().take_while(move |(known, _)| *known == key);
        with_key.map(|(_, position)| (*position, &self.all[*position]))
    }

    /// The place of the first one that is not before this key.
    fn first_from(&self, key: K) -> usize {
        let is_before = |(known, _): &(K, usize)| *known < key;
        let next = self.next.get();
        let is_next =
            next > 0 && self.items.get(next - 1).is_some_and(is_before) && !self.items.get(next).is_none_or(is_before);
        if is_next { next } else { self.items.partition_point(is_before) }
    }

    fn has(&self, key: K, item: &T) -> bool {
        self.with(key).any(|(_, known)| known == item)
    }
}

/// The rules of the kernel and the routes in the tables of a plan, indexed.
pub struct Installed<'a> {
    rules: Sorted<'a, RuleKey, Rule>,
    routes: Sorted<'a, RouteKey, Route>,
}

impl<'a> Installed<'a> {
    pub fn new(snapshot: &'a Snapshot, plan: &Plan) -> Self {
        let tables: FxHashSet<(Family, u32)> = plan.tables().collect();
        // Main, which may have a million routes, is no uplink's table.
        let is_of_plan = |route: &Route| route.table != MAIN && tables.contains(&(route.family, route.table));
        Installed {
            rules: Sorted::new(&snapshot.rules, |_| true, rule_key),
            routes: Sorted::new(&snapshot.routes, is_of_plan, Route::key),
        }
    }

    /// A stanza's own lines may add the same rule with another protocol, as the article's lines do: that is enough.
    pub fn has_rule(&self, rule: &Rule, by_lines: bool) -> bool {
        self.rules.with(rule_key(rule)).any(|(_, known)| if by_lines { known.same_as(rule) } else { known == rule })
    }

    /// A foreign copy of the route is enough: the kernel rejects a second one.
    pub fn has_route(&self, route: &Route) -> bool {
        self.same_key(route).any(|(_, known)| known.same_as(route))
    }

    /// The routes with the same table, destination and metric.
    fn same_key(&self, route: &Route) -> impl Iterator<Item = (usize, &'a Route)> {
        self.routes.with(route.key())
    }
}

/// The tables whose foreign routes decide what the plan and its difference from the kernel are. They are not those of
/// uplinks that are complete: these keep their tables, and no route of theirs is to be added. Of the others, they are the
/// tables that symroute's rules look up, which the uplinks may keep, and those that are assigned up to the last uplink
/// with missing routes.
pub fn undecided_tables(plan: &Plan, snapshot: &Snapshot) -> Vec<(Family, u32)> {
    let own = Sorted::new(&snapshot.routes, Route::is_ours, Route::key);
    let is_installed = |route: &Route| own.has(route.key(), route);
    // The default route, the last one of a policy, is the first one of a table.
    let is_complete =
        |policy: &&Policy| !policy.has_copies && policy.routes.iter().rev().all(|placed| is_installed(&placed.item));
    let incomplete: Vec<&Policy> = plan.policies.iter().filter(|policy| !is_complete(policy)).collect();
    let last = incomplete.iter().map(|policy| policy.uplink).filter(|uplink| plan.uplinks[*uplink].up).max();
    let before = last.map_or(&[][..], |last| &plan.uplinks[..=last]);
    // An IPv4 uplink has the table of the IPv6 uplink of its interface.
    let before: FxHashSet<&str> = before.iter().map(|uplink| &uplink.interface[..]).collect();
    let ours = || snapshot.rules.iter().filter(|rule| rule.is_ours());
    let looked_up: LazyCell<FxHashSet<u32>, _> = LazyCell::new(|| ours().map(|rule| rule.table).collect());
    let counts = |policy: &&Policy| {
        before.contains(&plan.uplinks[policy.uplink].interface[..]) || looked_up.contains(&policy.table)
    };
    let tables = incomplete.into_iter().filter(counts);
    tables.map(|policy| (plan.uplinks[policy.uplink].family, policy.table)).collect()
}

/// The changes that make the kernel match the plan. `is_skipped` is true for uplinks whose own lines run right now:
/// nothing is added or removed for them.
pub fn difference(plan: &Plan, snapshot: &Snapshot, is_skipped: &dyn Fn(usize) -> bool) -> Difference {
    let mut difference = Difference::default();
    memberships(plan, snapshot, is_skipped, &mut difference);
    let installed = Installed::new(snapshot, plan);
    let needed = additions(plan, snapshot, &installed, is_skipped, &mut difference);
    let untouched: Vec<&Policy> = plan.policies.iter().filter(|policy| is_skipped(policy.uplink)).collect();
    let kept = kept(plan, snapshot);
    let rules = snapshot.rules.iter().enumerate().filter(|(position, rule)| rule.is_ours() && !needed.rules[*position]);
    for (position, rule) in rules {
        // The kernel keeps a rule as often as it was added; one is enough.
        let mut same = installed.rules.with(rule_key(rule)).filter(|(_, known)| *known == rule);
        let is_duplicate = same.next().is_some_and(|(first, _)| first != position);
        let is_kept = || kept.rules.contains(rule) || untouched.iter().any(|policy| is_rule_of(plan, policy, rule));
        if is_duplicate || !is_kept() {
            difference.remove_rules.push(rule.clone());
        }
    }
    let is_route_of = |policy: &Policy, route: &Route| {
        plan.uplinks[policy.uplink].family == route.family && policy.table == route.table
    };
    for (position, route) in snapshot.routes.iter().enumerate().filter(|(_, route)| route.is_ours()) {
        let is_needed = needed.routes[position] || kept.tables.contains(&(route.family, route.table));
        if !is_needed && !untouched.iter().any(|policy| is_route_of(policy, route)) {
            difference.remove_routes.push(route.clone());
        }
    }
    difference
}

/// Which rules and routes of a snapshot the plan needs, or replaces in one step. Of equal rules, it is the first one.
struct Needed {
    rules: Vec<bool>,
    routes: Vec<bool>,
}

/// Adds to `difference` what is missing.
fn additions(
    plan: &Plan,
    snapshot: &Snapshot,
    installed: &Installed,
    is_skipped: &dyn Fn(usize) -> bool,
    difference: &mut Difference,
) -> Needed {
    let mut needed = Needed { rules: vec![false; snapshot.rules.len()], routes: vec![false; snapshot.routes.len()] };
    for policy in wanted(plan) {
        let by_lines = is_managed_by_lines(plan, policy);
        // Lines add no rule that depends on other rules of the host.
        let by_us = |rule: &&Rule| !is_skipped(policy.uplink) || rule.priority < policy.priority;
        for rule in policy.rules.iter().map(|placed| &placed.item).filter(by_us) {
            match installed.rules.with(rule_key(rule)).find(|(_, known)| *known == rule) {
                Some((position, _)) => needed.rules[position] = true,
                None if by_lines && installed.has_rule(rule, by_lines) => {}
                None => difference.add_rules.push(rule.clone()),
            }
        }
        let of_policy = policy.routes.iter().map(|placed| &placed.item);
        for route in of_policy.filter(|_| !is_skipped(policy.uplink)) {
            let mut is_installed = false;
            for (position, known) in installed.same_key(route) {
                needed.routes[position] |= known == route;
                is_installed |= known.same_as(route);
            }
            if is_installed {
                continue;
            }
            match installed.same_key(route).next() {
                None => difference.add_routes.push(route.clone()),
                Some((position, known)) if known.is_ours() => {
                    needed.routes[position] = true;
                    difference.replace_routes.push((known.clone(), route.clone()));
                }
                Some((_, known)) => difference.conflicts.push((route.clone(), known.clone())),
            }
        }
    }
    needed
}

/// Is it a rule that the uplink's own lines may have added?
fn is_rule_of(plan: &Plan, policy: &Policy, rule: &Rule) -> bool {
    // The rule for an interface may have a priority of another uplink on it.
    if policy.rules.iter().any(|placed| placed.item == *rule) {
        return true;
    }
    let priorities = policy.priority..policy.priority + PRIORITIES_PER_UPLINK;
    let uplink = &plan.uplinks[policy.uplink];
    // The rule for the interface may point to the table of another uplink on it.
    let is_of_interface = |table: u32| {
        let mut others = plan.policies.iter().filter(|other| plan.uplinks[other.uplink].interface == uplink.interface);
        table == MAIN || others.any(|other| other.table == table)
    };
    uplink.family == rule.family && priorities.contains(&rule.priority) && is_of_interface(rule.table)
}

/// What to remove for interfaces that go down, according to the kernel alone: the tables whose default route leaves
/// through the interface, or that rules look up for its addresses or for sockets bound to it; the rules to these tables;
/// and the rules to other tables for the same sources.
pub fn teardown(snapshot: &Snapshot, interfaces: &[&str]) -> Difference {
    let is_going = |dev: &Option<String>| dev.as_deref().is_some_and(|dev| interfaces.contains(&dev));
    let rules = || snapshot.rules.iter().filter(|rule| rule.is_ours());
    let routes = || snapshot.routes.iter().filter(|route| route.is_ours() && route.table != MAIN);
    let (mut own, mut of_others) = (FxHashSet::default(), FxHashSet::default());
    for route in routes().filter(|route| route.dst.prefix_len() == 0) {
        let tables = if is_going(&route.dev) { &mut own } else { &mut of_others };
        tables.insert((route.family, route.table));
    }
    // The kernel deletes routes with their link, and keeps the rules.
    let addresses = snapshot.addresses.iter().filter(|address| interfaces.contains(&address.dev.as_str()));
    let addresses: Vec<IpAddr> = addresses.map(|address| address.net.addr()).collect();
    let has_source = |rule: &Rule| rule.src.is_some_and(|src| addresses.iter().any(|address| src.contains(address)));
    let is_whole = |rule: &&Rule| rule.suppress_prefixlen.is_none() && ![MAIN, LOCAL].contains(&rule.table);
    for rule in rules().filter(is_whole).filter(|rule| is_going(&rule.oif) || has_source(rule)) {
        let table = (rule.family, rule.table);
        own.extend(Some(table).filter(|table| !of_others.contains(table)));
    }
    let sources = |tables: &FxHashSet<(Family, u32)>| -> FxHashSet<Option<IpNet>> {
        rules().filter(|rule| tables.contains(&(rule.family, rule.table))).map(|rule| rule.src).collect()
    };
    let (leaving_sources, staying_sources) = (sources(&own), sources(&of_others));
    let goes = |rule: &&Rule| {
        let of_source =
            rule.src.is_some() && leaving_sources.contains(&rule.src) && !staying_sources.contains(&rule.src);
        own.contains(&(rule.family, rule.table)) || is_going(&rule.oif) || of_source
    };
    let links = snapshot.links.iter().filter(|link| link.group == GROUP && interfaces.contains(&link.name.as_str()));
    Difference {
        remove_rules: rules().filter(goes).cloned().collect(),
        remove_routes: routes().filter(|route| own.contains(&(route.family, route.table))).cloned().collect(),
        leave: links.map(|link| Membership { dev: link.name.clone(), from: GROUP, to: NO_GROUP }).collect(),
        ..Difference::default()
    }
}

/// The entries of uplinks that wait for their gateway, or whose stanza has an error: they stay unchanged.
#[derive(Default)]
struct Kept<'a> {
    rules: FxHashSet<&'a Rule>,
    tables: FxHashSet<(Family, u32)>,
}

fn kept<'a>(plan: &Plan, snapshot: &'a Snapshot) -> Kept<'a> {
    let kept = plan.managed.iter().filter(|index| plan.keeps_installed(**index)).map(|index| &plan.uplinks[*index]);
    let uplinks: Vec<(&Uplink, Vec<IpAddr>)> = kept.map(|uplink| (uplink, addresses(uplink, snapshot))).collect();
    if uplinks.is_empty() {
        return Kept::default();
    }
    let is_of = |(uplink, addresses): &(&Uplink, Vec<IpAddr>), rule: &Rule| match (&rule.src, &rule.oif) {
        _ if uplink.family != rule.family || addresses.is_empty() => false,
        (Some(src), _) => addresses.iter().any(|address| src.contains(address)),
        (None, oif) => oif.as_ref() == Some(&uplink.interface),
    };
    // The default route of a table that another uplink gets uses the gateway of that uplink.
    let planned = |table: &(Family, u32)| {
        let mut policies = plan.policies.iter();
        policies.any(|policy| (plan.uplinks[policy.uplink].family, policy.table) == *table)
    };
    let mut kept = Kept::default();
    for uplink in &uplinks {
        let rules: Vec<&Rule> = snapshot.rules.iter().filter(|rule| rule.is_ours() && is_of(uplink, rule)).collect();
        let tables = rules.iter().map(|rule| (rule.family, rule.table)).filter(|(_, table)| *table != MAIN);
        let tables: FxHashSet<(Family, u32)> = tables.collect();
        if !tables.iter().any(planned) {
            kept.rules.extend(rules);
            kept.tables.extend(tables);
        }
    }
    kept
}

/// The addresses of an uplink that the kernel has. If its stanza has an error, all addresses of its interface.
fn addresses(uplink: &Uplink, snapshot: &Snapshot) -> Vec<IpAddr> {
    let is_own = |address: &&Address| {
        let source = |source: &Source| {
            let dev = source.other_interface.as_ref().unwrap_or(&uplink.interface);
            address.dev == *dev && address.net.addr() == source.net.addr()
        };
        uplink.sources.iter().any(source) || uplink.is_faulty() && address.dev == uplink.interface
    };
    snapshot.addresses.iter().filter(is_own).map(|address| address.net.addr()).collect()
}

/// The interfaces that have to change their group. A group that symroute did not set stays.
fn memberships(plan: &Plan, snapshot: &Snapshot, is_skipped: &dyn Fn(usize) -> bool, difference: &mut Difference) {
    let interface = |index: usize| &plan.uplinks[index].interface[..];
    let unchanged: FxHashSet<&str> =
        (0..plan.uplinks.len()).filter(|index| is_skipped(*index)).map(interface).collect();
    let kept = plan.managed.iter().copied().filter(|index| plan.keeps_installed(*index));
    let kept: FxHashSet<&str> = kept.map(interface).collect();
    let members: FxHashSet<&str> = plan.group.interfaces.iter().map(String::as_str).collect();
    for link in snapshot.links.iter().filter(|link| [NO_GROUP, GROUP].contains(&link.group)) {
        let name = &link.name[..];
        let is_set_by_us = plan.group.number == GROUP && members.contains(name);
        if is_set_by_us == (link.group == GROUP) || unchanged.contains(name) {
            continue;
        }
        let change = |to: u32| Membership { dev: link.name.clone(), from: link.group, to };
        match is_set_by_us {
            true => difference.join.push(change(GROUP)),
            false if kept.contains(name) => {}
            false => difference.leave.push(change(NO_GROUP)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::SameMetric;
    use crate::commands::tables::Names;
    use crate::interfaces::Location;
    use crate::network::{Family, Link, PROTOCOL, RouteState};
    use crate::policy::plan;
    use crate::uplinks::{Discovery, Gateway, Origin, Overrides, Source, Uplink};

    /// `ethN` in 10.N.0.0/24, up or down.
    pub(crate) fn uplink(n: u8, up: bool) -> Uplink {
        let net = format!("10.{n}.0.10/24").parse().unwrap();
        Uplink {
            interface: format!("eth{n}"),
            name: format!("eth{n}"),
            family: Family::Inet,
            stanza: usize::from(n),
            location: Location::new(0, 0),
            gateway: Gateway::Address([10, n, 0, 1].into()),
            lease: None,
            same_gateway: Vec::new(),
            in_main: true,
            metric: Some(n.into()),
            sources: vec![Source { net, peer: None, stanza: Some(n.into()), by_prefix: false, other_interface: None }],
            dynamic: false,
            overrides: Overrides::default(),
            written: None,
            is_manual: false,
            origin: Origin::Options,
            same_metric: SameMetric::Fails,
            skipped: None,
            up,
            missing: None,
            faults: Vec::new(),
        }
    }

    pub(crate) fn route() -> impl Strategy<Value = Route> {
        (1u32..6, 0u8..5, 0u8..4, any::<bool>(), prop_oneof![2 => Just(PROTOCOL), 1 => Just(3u8)]).prop_map(
            |(table, net, dev, via, protocol)| Route {
                family: Family::Inet,
                table,
                dst: if net == 0 {
                    "0.0.0.0/0".parse().unwrap()
                } else {
                    format!("10.{}.0.0/24", net - 1).parse().unwrap()
                },
                gateway: via.then(|| [10, dev, 0, 1].into()),
                dev: Some(format!("eth{dev}")),
                scope: if via { 0 } else { crate::network::SCOPE_LINK },
                metric: 0,
                onlink: false,
                protocol,
                extras: None,
                state: RouteState::default(),
            },
        )
    }

    pub(crate) fn rule() -> impl Strategy<Value = Rule> {
        (0u32..40, 0u8..5, 1u32..6, 0u32..4, prop_oneof![2 => Just(PROTOCOL), 1 => Just(0u8)]).prop_map(
            |(priority, net, table, suppress, protocol)| Rule {
                family: Family::Inet,
                priority: 100 + priority,
                src: (net > 0).then(|| format!("10.{}.0.10/32", net - 1).parse().unwrap()),
                oif: (net == 0).then(|| "eth0".into()),
                table: if suppress == 1 { MAIN } else { table },
                suppress_prefixlen: (suppress < 2).then_some(suppress),
                suppress_ifgroup: (suppress == 1 && net % 2 == 0).then_some(GROUP),
                protocol,
                extras: None,
            },
        )
    }

    /// As the kernel has it: one route for a destination and metric in a table.
    pub(crate) fn snapshot(mut routes: Vec<Route>, rules: Vec<Rule>) -> Snapshot {
        let mut seen = FxHashSet::default();
        routes.retain(|route| seen.insert(route.key()));
        // One in a foreign group, and one in symroute's group that is not an uplink.
        let links = [NO_GROUP, NO_GROUP, 5, GROUP].into_iter().enumerate();
        let links = links
            .map(|(n, group)| Link { index: n as u32, name: format!("eth{n}"), up: true, group, ..Link::default() })
            .collect();
        let addresses: Vec<Address> = Vec::new();
        Snapshot { links, addresses, rules, routes, ..Snapshot::default() }
    }

    /// No rule of ours may ever point to a table that has no route.
    pub(crate) fn dangling(now: &Snapshot) -> usize {
        let empty = |rule: &&Rule| {
            rule.is_ours()
                && ![MAIN, LOCAL].contains(&rule.table)
                && !now.routes.iter().any(|route| route.table == rule.table)
        };
        now.rules.iter().filter(empty).count()
    }

    pub(crate) fn foreign(now: &Snapshot) -> (Vec<Route>, Vec<Rule>) {
        let routes = now.routes.iter().filter(|route| !route.is_ours()).cloned().collect();
        (routes, now.rules.iter().filter(|rule| !rule.is_ours()).cloned().collect())
    }

    /// The difference from a kernel of which the foreign routes of these tables are read, whenever a plan needs them.
    fn difference_after(
        uplinks: &[Uplink],
        kernel: &Snapshot,
        tables_of: impl Fn(&Plan, &Snapshot) -> Vec<(Family, u32)>,
    ) -> Difference {
        let plan = |known: &Snapshot| {
            let found = Discovery { uplinks: uplinks.to_vec(), ..Discovery::default() };
            plan(found, Some(known), &Names::default(), None)
        };
        let mut read: FxHashSet<(Family, u32)> = FxHashSet::default();
        loop {
            let mut known = kernel.clone();
            known.routes.retain(|route| route.is_ours() || read.contains(&(route.family, route.table)));
            let plan = plan(&known);
            let before = read.len();
            read.extend(tables_of(&plan, &known));
            if read.len() == before {
                return difference(&plan, &known, &|_| false);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
        #[test]
        fn foreign_routes_of_decided_tables_decide_nothing(
            ups in prop::collection::vec(any::<bool>(), 2..5),
            installed in prop::collection::vec(any::<bool>(), 5),
            routes in prop::collection::vec(route(), 0..25),
            rules in prop::collection::vec(rule(), 0..10),
        ) {
            let uplinks: Vec<Uplink> = ups.iter().enumerate().map(|(n, up)| uplink(n as u8, *up)).collect();
            // The entries of some uplinks are complete.
            let found = Discovery { uplinks: uplinks.clone(), ..Discovery::default() };
            let complete = plan(found, Some(&Snapshot::default()), &Names::default(), None);
            let complete = complete.policies.iter().filter(|policy| installed[policy.uplink]);
            let items = complete.clone().flat_map(|policy| policy.routes.iter().map(|placed| placed.item.clone()));
            let routes: Vec<Route> = items.chain(routes).collect();
            let items = complete.flat_map(|policy| policy.rules.iter().map(|placed| placed.item.clone()));
            let kernel = snapshot(routes, items.chain(rules).collect());
            let all = difference_after(&uplinks, &kernel, |plan, _| plan.tables().collect());
            prop_assert_eq!(difference_after(&uplinks, &kernel, undecided_tables), all);
        }

        #[test]
        fn any_kernel_comes_to_any_plan(
            ups in prop::collection::vec(any::<bool>(), 2..4),
            routes in prop::collection::vec(route(), 0..25),
            rules in prop::collection::vec(rule(), 0..25),
            off in 0usize..6,
        ) {
            let before = snapshot(routes, rules);
            let uplinks = ups.iter().enumerate().map(|(n, up)| uplink(n as u8, *up)).collect();
            let found = Discovery { uplinks, ..Discovery::default() };
            let plan = plan(found, Some(&before), &Names::default(), None);
            let is_skipped = |index: usize| index == off;
            let change = difference(&plan, &before, &is_skipped);
            if !change.conflicts.is_empty() {
                // A foreign route came into a table that is in use: nothing is done, and the message says so.
                let table = change.conflicts[0].0.table;
                prop_assert!(before.routes.iter().any(|route| route.is_ours() && route.table == table));
                return Ok(());
            }
            let mut now = before.clone();
            let at_first = dangling(&now);
            for Membership { dev, to, .. } in change.join.iter().chain(&change.leave) {
                now.links.iter_mut().filter(|link| link.name == *dev).for_each(|link| link.group = *to);
            }
            for route in &change.add_routes {
                prop_assert!(!now.routes.iter().any(|known| known.key() == route.key()), "EEXIST");
                now.routes.push(route.clone());
            }
            for (old, new) in &change.replace_routes {
                now.routes.retain(|known| known != old);
                now.routes.push(new.clone());
            }
            for rule in &change.add_rules {
                now.rules.push(rule.clone());
                prop_assert!(dangling(&now) <= at_first, "{rule} points to an empty table");
            }
            for rule in &change.remove_rules {
                let index = now.rules.iter().position(|known| known == rule);
                now.rules.remove(index.expect("there to be removed"));
            }
            let without_rules = dangling(&now);
            for route in &change.remove_routes {
                now.routes.retain(|known| known != route);
                prop_assert!(dangling(&now) <= without_rules, "{route} went before its rules");
            }
            prop_assert_eq!(foreign(&now), foreign(&before));
            let again = difference(&plan, &now, &is_skipped);
            prop_assert_eq!(again, Difference::default());
            for policy in wanted(&plan).filter(|policy| policy.uplink != off) {
                for route in &policy.routes {
                    prop_assert!(Installed::new(&now, &plan).has_route(&route.item));
                }
                for rule in &policy.rules {
                    prop_assert_eq!(now.rules.iter().filter(|known| **known == rule.item).count(), 1);
                }
            }
        }
    }
}
