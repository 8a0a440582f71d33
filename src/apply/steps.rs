//! Which messages bring the kernel to a plan, and in which order: at no moment does an address that stays lose its way,
//! or a rule point to an empty table.

use crate::network::deletion::{would_delete, would_delete_route};
use crate::network::{Action, Family, Route, Rule, Snapshot};
use crate::policy::difference::{Difference, Membership, difference, teardown};
use crate::policy::installed::SPARE;
use crate::policy::{Plan, Policy};
use crate::sort::sort_by_key;

/// One message to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    AddRoute(Route),
    /// The old one, for taking it back, and the new one.
    ReplaceRoute(Route, Route),
    RemoveRoute(Route),
    AddRule(Rule),
    RemoveRule(Rule),
    SetGroup(Membership),
}

impl Step {
    pub(crate) fn inverse(self) -> Step {
        match self {
            Step::AddRoute(route) => Step::RemoveRoute(route),
            Step::ReplaceRoute(old, new) => Step::ReplaceRoute(new, old),
            Step::RemoveRoute(route) => Step::AddRoute(route),
            Step::AddRule(rule) => Step::RemoveRule(rule),
            Step::RemoveRule(rule) => Step::AddRule(rule),
            Step::SetGroup(Membership { dev, from, to }) => Step::SetGroup(Membership { dev, from: to, to: from }),
        }
    }

    /// What it does to a kernel; false when it was done already.
    pub(crate) fn apply_to(&self, now: &mut Snapshot) -> bool {
        let Snapshot { routes, rules, links, .. } = now;
        match self {
            Step::AddRoute(route) => {
                let free = routes.iter().all(|known| known.key() != route.key());
                routes.extend(free.then(|| route.clone()));
                free
            }
            Step::ReplaceRoute(_, route) => {
                routes.retain(|known| known.key() != route.key());
                routes.push(route.clone());
                true
            }
            Step::RemoveRoute(route) => {
                let found = routes.iter().position(|known| would_delete_route(route, known));
                found.map(|at| routes.remove(at)).is_some()
            }
            Step::AddRule(rule) => {
                let free = !rules.contains(rule);
                let is_behind = |known: &Rule| known.family == rule.family && known.priority > rule.priority;
                let at = rules.iter().position(is_behind).unwrap_or(rules.len());
                rules.splice(at..at, free.then(|| rule.clone()));
                free
            }
            Step::RemoveRule(rule) => {
                let found = rules.iter().position(|known| is_removed_for(rule, known));
                found.map(|at| rules.remove(at)).is_some()
            }
            Step::SetGroup(Membership { dev, to, .. }) => {
                let link = links.iter_mut().find(|link| link.name == *dev && link.group != *to);
                link.map(|link| link.group = *to).is_some()
            }
        }
    }

    /// The table of a route.
    pub(crate) fn table(&self) -> Option<(Family, u32)> {
        match self {
            Step::AddRoute(route) | Step::ReplaceRoute(_, route) | Step::RemoveRoute(route) => {
                Some((route.family, route.table))
            }
            _ => None,
        }
    }

    /// The interface whose group it sets.
    pub(crate) fn interface(&self) -> Option<&str> {
        match self {
            Step::SetGroup(change) => Some(&change.dev),
            _ => None,
        }
    }

    /// May it be sent together with `earlier`, and then be done although the kernel rejects that one?
    fn is_independent_of(&self, earlier: &Step) -> bool {
        match (earlier, self) {
            (Step::AddRoute(_) | Step::ReplaceRoute(..), Step::AddRoute(_) | Step::ReplaceRoute(..)) => true,
            // Interfaces join the group before routes are added, and leave it after routes are removed.
            (Step::SetGroup(_), Step::SetGroup(_) | Step::AddRoute(_) | Step::ReplaceRoute(..)) => true,
            (Step::RemoveRoute(_), Step::SetGroup(_)) | (Step::AddRule(_), Step::AddRule(_)) => true,
            // It must not remove the entry of the other one instead.
            (Step::RemoveRoute(earlier), Step::RemoveRoute(route)) => !would_delete_route(route, earlier),
            (Step::RemoveRule(earlier), Step::RemoveRule(rule)) => !is_removed_for(rule, earlier),
            _ => false,
        }
    }

    /// The `ip` command that would do it, for messages.
    pub(crate) fn command(&self) -> String {
        let family = |family: Family| match family {
            Family::Inet6 => "ip -6",
            Family::Inet => "ip",
        };
        match self {
            Step::AddRoute(route) => format!("{} route add {route} proto 97", family(route.family)),
            Step::ReplaceRoute(_, route) => format!("{} route replace {route} proto 97", family(route.family)),
            Step::RemoveRoute(route) => format!("{} route del {route} proto 97", family(route.family)),
            Step::AddRule(rule) => format!("{} rule add {rule} protocol 97", family(rule.family)),
            Step::RemoveRule(rule) => format!("{} rule del {rule} protocol 97", family(rule.family)),
            Step::SetGroup(Membership { dev, to, .. }) => format!("ip link set dev {dev} group {to}"),
        }
    }
}

/// Does the kernel take `known` for the removal of `rule`?
fn is_removed_for(rule: &Rule, known: &Rule) -> bool {
    would_delete(rule, Some(rule.extras.as_ref().map_or(Action::Lookup, |more| more.action)), known)
}

/// How many of these steps, the first ones, are sent together: the kernel goes on after a step that it rejects. So a rule is
/// added once the routes are there, and a route is removed once the rules are gone.
pub(crate) fn together(steps: &[Step]) -> usize {
    const MOST: usize = 64;
    let follows = |(n, step): &(usize, &Step)| steps[..*n].iter().all(|earlier| step.is_independent_of(earlier));
    steps.iter().take(MOST).enumerate().take_while(follows).count()
}

/// The steps that stand for one on a kernel that has `now`, which they change. A removal takes exactly its own rule or
/// route: what the kernel would take instead goes before it, and comes back unless `pending_removals` has it.
pub(crate) fn exact(step: Step, now: &mut Snapshot, pending_removals: &mut Vec<Step>) -> Vec<Step> {
    let removed_instead: Vec<(Step, Step)> = match &step {
        Step::RemoveRule(rule) if !now.rules.contains(rule) => return Vec::new(),
        Step::RemoveRule(rule) => {
            let before = now.rules.iter().take_while(|known| *known != rule);
            let removed_instead = before.filter(|known| is_removed_for(rule, known)).cloned();
            removed_instead.map(|known| (Step::RemoveRule(known.clone()), Step::AddRule(known))).collect()
        }
        Step::RemoveRoute(route) if !now.routes.contains(route) => return Vec::new(),
        Step::RemoveRoute(route) => {
            let before = now.routes.iter().take_while(|known| *known != route);
            let removed_instead = before.filter(|known| would_delete_route(route, known)).cloned();
            removed_instead.map(|known| (Step::RemoveRoute(known.clone()), Step::AddRoute(known))).collect()
        }
        _ => Vec::new(),
    };
    let mut steps: Vec<Step> = removed_instead.iter().map(|(removal, _)| removal.clone()).collect();
    steps.push(step);
    for (removal, addition) in removed_instead {
        match pending_removals.iter().position(|other| *other == removal) {
            Some(at) => _ = pending_removals.remove(at),
            None => steps.push(addition),
        }
    }
    for step in &steps {
        step.apply_to(now);
    }
    steps
}

/// All steps to the plan; `at_once` is its difference from `before`. A table that changes hands between two uplinks would, between two messages, lead the
/// one's addresses out by the other's gateway: its new owner waits in a spare table until the old one has moved.
pub(crate) fn steps_to(
    plan: &Plan,
    before: &Snapshot,
    at_once: Difference,
    is_skipped: &dyn Fn(usize) -> bool,
) -> Vec<Step> {
    if at_once.replace_routes.is_empty() {
        return steps(at_once, before);
    }
    let replaced = |table: u32| at_once.replace_routes.iter().any(|(old, _)| old.table == table);
    let left = |table: u32| at_once.remove_rules.iter().any(|rule| rule.table == table && rule.src.is_some());
    let mut spare = (SPARE..u32::MAX)
        .rev()
        .filter(|table| before.routes.iter().all(|route| route.table != *table))
        .filter(|table| before.rules.iter().all(|rule| rule.table != *table));
    let mut interim = plan.clone();
    let mut moved: Vec<(u32, u32)> = Vec::new();
    let changes_hands =
        |policy: &&mut Policy| !is_skipped(policy.uplink) && replaced(policy.table) && left(policy.table);
    for policy in interim.policies.iter_mut().filter(changes_hands) {
        let known = moved.iter().find(|(table, _)| *table == policy.table).map(|(_, spare)| *spare);
        let Some(table) = known.or_else(|| spare.next()) else { return steps(at_once, before) };
        moved.push((policy.table, table));
    }
    if moved.is_empty() {
        return steps(at_once, before);
    }
    for policy in interim.policies.iter_mut().filter(|policy| !is_skipped(policy.uplink)) {
        let tables = policy.routes.iter_mut().map(|route| &mut route.item.table);
        for table in tables.chain(policy.rules.iter_mut().map(|rule| &mut rule.item.table)) {
            *table = moved.iter().find(|(from, _)| from == table).map_or(*table, |(_, to)| *to);
        }
    }
    let mut first = steps(difference(&interim, before, is_skipped), before);
    let mut now = before.clone();
    for step in &first {
        step.apply_to(&mut now);
    }
    first.extend(steps(difference(plan, &now, is_skipped), &now));
    first
}

/// The steps for a difference from `before`.
pub(crate) fn steps(difference: Difference, before: &Snapshot) -> Vec<Step> {
    let Difference { join, add_routes, replace_routes, mut add_rules, mut remove_rules, remove_routes, leave, .. } =
        difference;
    // The rules of a source build on each other: none may be missed by one that comes after it.
    sort_by_key(&mut add_rules, |rule| rule.priority);
    sort_by_key(&mut remove_rules, |rule| std::cmp::Reverse(rule.priority));
    let replace = replace_routes.into_iter().map(|(old, new)| Step::ReplaceRoute(old, new));
    let mut steps: Vec<Step> = join.into_iter().map(Step::SetGroup).collect();
    steps.extend(add_routes.into_iter().map(Step::AddRoute).chain(replace));
    steps.extend(add_rules.into_iter().map(Step::AddRule));
    let removals = remove_rules.into_iter().map(Step::RemoveRule);
    let mut removals: Vec<Step> = removals.chain(remove_routes.into_iter().map(Step::RemoveRoute)).collect();
    if !removals.is_empty() {
        let mut now = before.clone();
        for step in &steps {
            step.apply_to(&mut now);
        }
        removals.reverse();
        while let Some(removal) = removals.pop() {
            steps.extend(exact(removal, &mut now, &mut removals));
        }
    }
    steps.extend(leave.into_iter().map(Step::SetGroup));
    steps
}

/// The commands that [`crate::apply::reconcile()`] would amount to, in its order.
pub(crate) fn reconciled(plan: &Plan, before: &Snapshot, is_skipped: &dyn Fn(usize) -> bool) -> Vec<String> {
    steps_to(plan, before, difference(plan, before, is_skipped), is_skipped).iter().map(Step::command).collect()
}

/// The steps that remove what the kernel has for these interfaces.
pub(crate) fn steps_down(before: &Snapshot, interfaces: &[&str]) -> Vec<Step> {
    steps(teardown(before, interfaces), before)
}

/// The commands that [`crate::netlink::take_down()`] would amount to, in its order.
pub(crate) fn taken_down(before: &Snapshot, interfaces: &[&str]) -> Vec<String> {
    steps_down(before, interfaces).iter().map(Step::command).collect()
}
