//! From a snapshot to a plan: what is missing, what is ours and not wanted, what is in place.

use super::numbers::SLOT;
use super::{Plan, Policy};
use crate::snapshot::{MAIN, Route, Rule, Snapshot};

/// What has to change. Carried out in the order of the fields, no rule ever points to a table without its
/// routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub add_routes: Vec<Route>,
    /// Ours with the same destination and metric, but another gateway or link: exchanged in one step.
    pub replace_routes: Vec<(Route, Route)>,
    pub add_rules: Vec<Rule>,
    pub remove_rules: Vec<Rule>,
    pub remove_routes: Vec<Route>,
    /// Wanted, but a route of somebody else stands in its place: (wanted, theirs).
    pub obstructed: Vec<(Route, Route)>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        *self == Difference::default()
    }
}

/// What the plan wants of the kernel: the items of every uplink that is up.
pub fn wanted(plan: &Plan) -> impl Iterator<Item = &Policy> {
    plan.policies.iter().filter(|policy| plan.uplinks[policy.uplink].up)
}

/// Do the stanza's own lines make this uplink's routes and rules?
pub fn by_lines(plan: &Plan, policy: &Policy) -> bool {
    plan.uplinks[policy.uplink].written.is_some_and(|written| written.lines)
}

/// Lines may make the same without our protocol (the article's do): then that is what was wanted.
pub fn rule_in_place(snapshot: &Snapshot, rule: &Rule, by_lines: bool) -> bool {
    snapshot.rules.iter().any(|known| if by_lines { known.same_as(rule) } else { known == rule })
}

pub fn route_in_place(snapshot: &Snapshot, route: &Route, by_lines: bool) -> bool {
    snapshot.routes.iter().any(|known| if by_lines { known.same_as(route) } else { known == route })
}

/// The difference between what the kernel has and what the plan wants. `hands_off` names the uplinks whose
/// own lines are at work right now: nothing of theirs is added or removed.
pub fn difference(plan: &Plan, snapshot: &Snapshot, hands_off: &dyn Fn(usize) -> bool) -> Difference {
    let mut difference = Difference::default();
    let mut wanted_rules: Vec<&Rule> = Vec::new();
    let mut wanted_routes: Vec<&Route> = Vec::new();
    for policy in wanted(plan).filter(|policy| !hands_off(policy.uplink)) {
        let lines = by_lines(plan, policy);
        for route in policy.routes.iter().map(|placed| &placed.item) {
            wanted_routes.push(route);
            if route_in_place(snapshot, route, lines) {
                continue;
            }
            match snapshot.routes.iter().find(|known| known.key() == route.key()) {
                None => difference.add_routes.push(route.clone()),
                Some(known) if known.is_ours() => difference.replace_routes.push((known.clone(), route.clone())),
                Some(known) => difference.obstructed.push((route.clone(), known.clone())),
            }
        }
        for rule in policy.rules.iter().map(|placed| &placed.item) {
            wanted_rules.push(rule);
            if !rule_in_place(snapshot, rule, lines) {
                difference.add_rules.push(rule.clone());
            }
        }
    }
    let untouched: Vec<&Policy> = plan.policies.iter().filter(|policy| hands_off(policy.uplink)).collect();
    let is_untouched = |rule: &Rule| {
        untouched.iter().any(|policy| {
            let slot = policy.priority..policy.priority + SLOT;
            plan.uplinks[policy.uplink].family == rule.family
                && slot.contains(&rule.priority)
                && (rule.table == policy.table || rule.table == MAIN)
        })
    };
    let mut seen: Vec<&Rule> = Vec::new();
    for rule in snapshot.rules.iter().filter(|rule| rule.is_ours()) {
        // The kernel keeps a rule as often as it was added; one is enough.
        let duplicate = seen.contains(&rule);
        seen.push(rule);
        if duplicate || !wanted_rules.contains(&rule) && !is_untouched(rule) {
            difference.remove_rules.push(rule.clone());
        }
    }
    for route in snapshot.routes.iter().filter(|route| route.is_ours()) {
        let kept = wanted_routes.contains(&route)
            || difference.replace_routes.iter().any(|(old, _)| old == route)
            || untouched
                .iter()
                .any(|policy| plan.uplinks[policy.uplink].family == route.family && policy.table == route.table);
        if !kept {
            difference.remove_routes.push(route.clone());
        }
    }
    difference
}
