//! Which messages bring the kernel to a plan, and in which order: at no moment does an address that stays lose its way,
//! or a rule point to an empty table.

use crate::policy::difference::{Difference, Membership, difference};
use crate::policy::numbers::SPARE;
use crate::policy::{Plan, Policy};
use crate::snapshot::{Route, Rule, Snapshot};

/// One message to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    AddRoute(Route),
    /// The old one, for taking it back, and the new one.
    ReplaceRoute(Route, Route),
    RemoveRoute(Route),
    AddRule(Rule),
    RemoveRule(Rule),
    SetGroup(Membership),
}

impl Step {
    pub(super) fn undone(self) -> Step {
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
    pub(super) fn model(&self, now: &mut Snapshot) -> bool {
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
                routes.iter().position(|known| known == route).map(|at| routes.remove(at)).is_some()
            }
            Step::AddRule(rule) => {
                let free = !rules.contains(rule);
                rules.extend(free.then(|| rule.clone()));
                free
            }
            Step::RemoveRule(rule) => rules.iter().position(|known| known == rule).map(|at| rules.remove(at)).is_some(),
            Step::SetGroup(Membership { dev, to, .. }) => {
                let link = links.iter_mut().find(|link| link.name == *dev && link.group != *to);
                link.map(|link| link.group = *to).is_some()
            }
        }
    }

    /// The `ip` command that would do it, for messages.
    pub(super) fn command(&self) -> String {
        let family = |family: crate::interfaces::Family| match family {
            crate::interfaces::Family::Inet6 => "ip -6",
            _ => "ip",
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

/// All steps to the plan. A table that changes hands between two uplinks would, between two messages, lead the
/// one's addresses out by the other's gateway: its new owner waits in a spare table until the old one has moved.
pub(super) fn steps_to(plan: &Plan, before: &Snapshot, hands_off: &dyn Fn(usize) -> bool) -> Vec<Step> {
    let at_once = difference(plan, before, hands_off);
    let replaced = |table: u32| at_once.replace_routes.iter().any(|(old, _)| old.table == table);
    let left = |table: u32| at_once.remove_rules.iter().any(|rule| rule.table == table && rule.src.is_some());
    let mut spare = (SPARE..u32::MAX)
        .rev()
        .filter(|table| before.routes.iter().all(|route| route.table != *table))
        .filter(|table| before.rules.iter().all(|rule| rule.table != *table));
    let mut interim = plan.clone();
    let mut moved: Vec<(u32, u32)> = Vec::new();
    let changes_hands =
        |policy: &&mut Policy| !hands_off(policy.uplink) && replaced(policy.table) && left(policy.table);
    for policy in interim.policies.iter_mut().filter(changes_hands) {
        let known = moved.iter().find(|(table, _)| *table == policy.table).map(|(_, spare)| *spare);
        let Some(table) = known.or_else(|| spare.next()) else { return steps(at_once) };
        moved.push((policy.table, table));
    }
    if moved.is_empty() {
        return steps(at_once);
    }
    for policy in interim.policies.iter_mut().filter(|policy| !hands_off(policy.uplink)) {
        let tables = policy.routes.iter_mut().map(|route| &mut route.item.table);
        for table in tables.chain(policy.rules.iter_mut().map(|rule| &mut rule.item.table)) {
            *table = moved.iter().find(|(from, _)| from == table).map_or(*table, |(_, to)| *to);
        }
    }
    let mut first = steps(difference(&interim, before, hands_off));
    let mut now = before.clone();
    for step in &first {
        step.model(&mut now);
    }
    first.extend(steps(difference(plan, &now, hands_off)));
    first
}

pub(super) fn steps(difference: Difference) -> Vec<Step> {
    let Difference { join, add_routes, replace_routes, mut add_rules, mut remove_rules, remove_routes, leave, .. } =
        difference;
    // The rules of a source build on each other: none may be missed by one that comes after it.
    add_rules.sort_by_key(|rule| rule.priority);
    remove_rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    let replace = replace_routes.into_iter().map(|(old, new)| Step::ReplaceRoute(old, new));
    let mut steps: Vec<Step> = join.into_iter().map(Step::SetGroup).collect();
    steps.extend(add_routes.into_iter().map(Step::AddRoute).chain(replace));
    steps.extend(add_rules.into_iter().map(Step::AddRule));
    steps.extend(remove_rules.into_iter().map(Step::RemoveRule));
    steps.extend(remove_routes.into_iter().map(Step::RemoveRoute));
    steps.extend(leave.into_iter().map(Step::SetGroup));
    steps
}

/// The commands that [`super::reconcile()`] would amount to, in its order.
pub(crate) fn reconciled(plan: &Plan, before: &Snapshot, hands_off: &dyn Fn(usize) -> bool) -> Vec<String> {
    steps_to(plan, before, hands_off).iter().map(Step::command).collect()
}
