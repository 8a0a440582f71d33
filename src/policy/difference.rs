//! From a snapshot to a plan: what is missing, what is ours and not wanted, what is in place.

use std::collections::HashSet;

use super::group::{GROUP, NO_GROUP};
use super::numbers::SLOT;
use super::{Plan, Policy};
use crate::interfaces::Family;
use crate::snapshot::{MAIN, Route, Rule, Snapshot};
use crate::uplinks::Uplink;

/// An interface, and the group that it changes from and to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub dev: String,
    pub from: u32,
    pub to: u32,
}

/// What has to change. Carried out in the order of the fields, no rule ever points to a table without its routes,
/// or names a group that the interfaces are not in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Interfaces that have to be in the group.
    pub join: Vec<Membership>,
    pub add_routes: Vec<Route>,
    /// Ours with the same destination and metric, but another gateway or link: exchanged in one step.
    pub replace_routes: Vec<(Route, Route)>,
    pub add_rules: Vec<Rule>,
    pub remove_rules: Vec<Rule>,
    pub remove_routes: Vec<Route>,
    /// Interfaces that symroute put into the group, and that are no uplink of the plan any more.
    pub leave: Vec<Membership>,
    /// Wanted, but a route of somebody else stands in its place: (wanted, theirs).
    pub obstructed: Vec<(Route, Route)>,
}

/// What the plan wants of the kernel: the items of every uplink that is up.
pub fn wanted(plan: &Plan) -> impl Iterator<Item = &Policy> {
    plan.policies.iter().filter(|policy| plan.uplinks[policy.uplink].up)
}

/// Do the stanza's own lines make this uplink's routes and rules?
pub fn by_lines(plan: &Plan, policy: &Policy) -> bool {
    plan.uplinks[policy.uplink].written.is_some_and(|written| written.lines)
}

/// Lines may make the same rule without our protocol (the article's do): then that is what was wanted.
pub fn rule_in_place(snapshot: &Snapshot, rule: &Rule, by_lines: bool) -> bool {
    snapshot.rules.iter().any(|known| if by_lines { known.same_as(rule) } else { known == rule })
}

/// The same route does its work whoever made it, and the kernel takes no second one beside it.
pub fn route_in_place(snapshot: &Snapshot, route: &Route) -> bool {
    snapshot.routes.iter().any(|known| known.same_as(route))
}

/// The difference between what the kernel has and what the plan wants. `hands_off` names the uplinks whose
/// own lines are at work right now: nothing of theirs is added or removed.
pub fn difference(plan: &Plan, snapshot: &Snapshot, hands_off: &dyn Fn(usize) -> bool) -> Difference {
    let mut difference = Difference::default();
    memberships(plan, snapshot, hands_off, &mut difference);
    let mut wanted_rules: Vec<&Rule> = Vec::new();
    let mut wanted_routes: Vec<&Route> = Vec::new();
    for policy in wanted(plan) {
        let lines = by_lines(plan, policy);
        // Lines make no rule that depends on other rules of the host.
        let by_us = |rule: &&Rule| !hands_off(policy.uplink) || rule.priority < policy.priority;
        for rule in policy.rules.iter().map(|placed| &placed.item).filter(by_us) {
            wanted_rules.push(rule);
            if !rule_in_place(snapshot, rule, lines) {
                difference.add_rules.push(rule.clone());
            }
        }
        if hands_off(policy.uplink) {
            continue;
        }
        for route in policy.routes.iter().map(|placed| &placed.item) {
            wanted_routes.push(route);
            if route_in_place(snapshot, route) {
                continue;
            }
            match snapshot.routes.iter().find(|known| known.key() == route.key()) {
                None => difference.add_routes.push(route.clone()),
                Some(known) if known.is_ours() => difference.replace_routes.push((known.clone(), route.clone())),
                Some(known) => difference.obstructed.push((route.clone(), known.clone())),
            }
        }
    }
    let untouched: Vec<&Policy> = plan.policies.iter().filter(|policy| hands_off(policy.uplink)).collect();
    let is_untouched = |rule: &Rule| {
        untouched.iter().any(|policy| {
            // The rule for an interface may be in the priorities of another uplink on it.
            if policy.rules.iter().any(|placed| placed.item == *rule) {
                return true;
            }
            let slot = policy.priority..policy.priority + SLOT;
            let it = &plan.uplinks[policy.uplink];
            // The rule for the device may point to the table of another uplink on it.
            let of_device = |table: u32| {
                let mut others =
                    plan.policies.iter().filter(|other| plan.uplinks[other.uplink].interface == it.interface);
                table == MAIN || others.any(|other| other.table == table)
            };
            it.family == rule.family && slot.contains(&rule.priority) && of_device(rule.table)
        })
    };
    let waiting = waiting(plan, snapshot);
    let mut seen: Vec<&Rule> = Vec::new();
    for rule in snapshot.rules.iter().filter(|rule| rule.is_ours()) {
        // The kernel keeps a rule as often as it was added; one is enough.
        let duplicate = seen.contains(&rule);
        seen.push(rule);
        if duplicate || !wanted_rules.contains(&rule) && !is_untouched(rule) && !waiting.rules.contains(&rule) {
            difference.remove_rules.push(rule.clone());
        }
    }
    for route in snapshot.routes.iter().filter(|route| route.is_ours()) {
        let kept = wanted_routes.contains(&route)
            || difference.replace_routes.iter().any(|(old, _)| old == route)
            || waiting.tables.contains(&(route.family, route.table))
            || untouched
                .iter()
                .any(|policy| plan.uplinks[policy.uplink].family == route.family && policy.table == route.table);
        if !kept {
            difference.remove_routes.push(route.clone());
        }
    }
    difference
}

/// What uplinks have that are waiting for their gateway: it stays as it is.
#[derive(Default)]
struct Waiting<'a> {
    rules: Vec<&'a Rule>,
    tables: HashSet<(Family, u32)>,
}

fn waiting<'a>(plan: &Plan, snapshot: &'a Snapshot) -> Waiting<'a> {
    let uplinks: Vec<&Uplink> = managed(plan).filter(|uplink| uplink.is_waiting()).collect();
    if uplinks.is_empty() {
        return Waiting::default();
    }
    let is_of = |uplink: &Uplink, rule: &Rule| match (&rule.src, &rule.oif) {
        (Some(src), _) => uplink.sources.iter().any(|source| src.contains(&source.net.addr())),
        (None, oif) => oif.as_ref() == Some(&uplink.interface),
    };
    let rules = snapshot.rules.iter().filter(|rule| rule.is_ours());
    let is_kept = |rule: &&Rule| uplinks.iter().any(|uplink| uplink.family == rule.family && is_of(uplink, rule));
    let rules: Vec<&Rule> = rules.filter(is_kept).collect();
    let tables = rules.iter().map(|rule| (rule.family, rule.table)).filter(|(_, table)| *table != MAIN).collect();
    Waiting { rules, tables }
}

fn managed(plan: &Plan) -> impl Iterator<Item = &Uplink> {
    plan.managed.iter().filter_map(|at| plan.uplinks.get(*at))
}

/// Which interfaces have to change their group. A group that symroute did not set stays as it is.
fn memberships(plan: &Plan, snapshot: &Snapshot, hands_off: &dyn Fn(usize) -> bool, difference: &mut Difference) {
    let is_left_alone = |dev: &str| {
        let mut uplinks = plan.uplinks.iter().enumerate();
        uplinks.any(|(at, uplink)| uplink.interface == dev && hands_off(at))
    };
    let is_waiting = |dev: &str| managed(plan).any(|uplink| uplink.interface == dev && uplink.is_waiting());
    for link in snapshot.links.iter().filter(|link| !is_left_alone(&link.name)) {
        let change = |to: u32| Membership { dev: link.name.clone(), from: link.group, to };
        match (link.group, plan.group.is_set_by_us(&link.name)) {
            (NO_GROUP, true) => difference.join.push(change(GROUP)),
            (GROUP, false) if !is_waiting(&link.name) => difference.leave.push(change(NO_GROUP)),
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::interfaces::command::Meeting;
    use crate::interfaces::{At, Family};
    use crate::policy::plan;
    use crate::snapshot::{Address, LOCAL, Link, PROTOCOL, State};
    use crate::tables::Names;
    use crate::uplinks::{Found, Origin, Source, Uplink, Wish};

    /// `ethN` in 10.N.0.0/24, up or down.
    pub(crate) fn uplink(n: u8, up: bool) -> Uplink {
        let net = format!("10.{n}.0.10/24").parse().unwrap();
        Uplink {
            interface: format!("eth{n}"),
            name: format!("eth{n}"),
            family: Family::Inet,
            stanza: usize::from(n),
            at: At { file: 0, line: 0 },
            gateway: Some([10, n, 0, 1].into()),
            twins: Vec::new(),
            in_main: true,
            metric: Some(n.into()),
            sources: vec![Source { net, peer: None, stanza: Some(n.into()), by_prefix: false, elsewhere: None }],
            dynamic: false,
            wish: Wish::default(),
            written: None,
            hand_written: false,
            origin: Origin::Options,
            meeting: Meeting::Fails,
            skipped: None,
            up,
            lacks: None,
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
                scope: if via { 0 } else { crate::snapshot::SCOPE_LINK },
                metric: 0,
                onlink: false,
                protocol,
                more: None,
                state: State::default(),
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
                more: None,
            },
        )
    }

    /// As the kernel has it: one route for a destination and metric in a table.
    pub(crate) fn snapshot(mut routes: Vec<Route>, rules: Vec<Rule>) -> Snapshot {
        let mut seen = HashSet::new();
        routes.retain(|route| seen.insert(route.key()));
        // One that somebody put into a group, and one that is no uplink and in symroute's.
        let links = [NO_GROUP, NO_GROUP, 5, GROUP].into_iter().enumerate();
        let links = links
            .map(|(n, group)| Link { index: n as u32, name: format!("eth{n}"), up: true, group, ..Link::default() })
            .collect();
        let addresses: Vec<Address> = Vec::new();
        Snapshot { links, addresses, rules, routes }
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
        #[test]
        fn any_kernel_comes_to_any_plan(
            ups in prop::collection::vec(any::<bool>(), 2..4),
            routes in prop::collection::vec(route(), 0..25),
            rules in prop::collection::vec(rule(), 0..25),
            off in 0usize..6,
        ) {
            let before = snapshot(routes, rules);
            let uplinks = ups.iter().enumerate().map(|(n, up)| uplink(n as u8, *up)).collect();
            let found = Found { uplinks, ..Found::default() };
            let plan = plan(found, Some(&before), &Names::default(), None);
            let hands_off = |at: usize| at == off;
            let change = difference(&plan, &before, &hands_off);
            if !change.obstructed.is_empty() {
                // A foreign route came into a table that is in use: nothing is done, and the message says so.
                let table = change.obstructed[0].0.table;
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
                let at = now.rules.iter().position(|known| known == rule);
                now.rules.remove(at.expect("there to be removed"));
            }
            let without_rules = dangling(&now);
            for route in &change.remove_routes {
                now.routes.retain(|known| known != route);
                prop_assert!(dangling(&now) <= without_rules, "{route} went before its rules");
            }
            prop_assert_eq!(foreign(&now), foreign(&before));
            let again = difference(&plan, &now, &hands_off);
            prop_assert_eq!(again, Difference::default());
            for policy in wanted(&plan).filter(|policy| policy.uplink != off) {
                for route in &policy.routes {
                    prop_assert!(route_in_place(&now, &route.item));
                }
                for rule in &policy.rules {
                    prop_assert_eq!(now.rules.iter().filter(|known| **known == rule.item).count(), 1);
                }
            }
        }
    }
}
