//! The plan compared with the kernel: entries that are installed, missing, stale or foreign.

use crate::check::expected::is_default_like;
use crate::network::{MAIN, Route, Rule, Snapshot};
use crate::policy::Plan;
use crate::policy::difference::{Installed, difference, is_managed_by_lines};
use crate::policy::numbers::PRIORITIES_PER_UPLINK;
use crate::uplinks::{Selection, Uplink};

/// A planned entry, and whether the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared<T> {
    pub item: T,
    pub is_installed: bool,
}

/// An interface that should be in the group of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub interface: String,
    pub number: u32,
    pub is_installed: bool,
}

/// One policy compared with the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Index into `Plan::uplinks`.
    pub uplink: usize,
    pub routes: Vec<Compared<Route>>,
    pub rules: Vec<Compared<Rule>>,
    /// Its interface has no carrier.
    pub is_linkdown: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Of the active uplinks.
    pub policies: Vec<PolicyStatus>,
    pub groups: Vec<GroupStatus>,
    /// Interfaces in symroute's group that no uplink needs there.
    pub stale_groups: Vec<String>,
    /// Added by symroute, but no active uplink needs them.
    pub stale_routes: Vec<Route>,
    pub stale_rules: Vec<Rule>,
    /// Foreign, but in symroute's tables or between its priorities.
    pub foreign_routes: Vec<Route>,
    pub foreign_rules: Vec<Rule>,
    /// Uplinks whose stanza has an error.
    pub faulty: Vec<usize>,
    /// Active uplinks whose default route is missing in main.
    pub without_default: Vec<usize>,
}

impl Status {
    /// Is everything installed, and no stanza faulty?
    pub fn in_sync(&self) -> bool {
        self.is_installed() && self.faulty.is_empty()
    }

    /// Does the kernel have all planned entries and no stale ones?
    pub fn is_installed(&self) -> bool {
        let routes = self.policies.iter().flat_map(|policy| &policy.routes).all(|route| route.is_installed);
        let rules = self.policies.iter().flat_map(|policy| &policy.rules).all(|rule| rule.is_installed);
        let groups = self.groups.iter().all(|group| group.is_installed) && self.stale_groups.is_empty();
        routes && rules && groups && self.stale_routes.is_empty() && self.stale_rules.is_empty()
    }

    /// Removes the entries of other uplinks, and of another family.
    pub fn select(&mut self, plan: &Plan, selection: &Selection) {
        let has = |uplink: usize| selection.has(&plan.uplinks[uplink]);
        let tables: Vec<u32> =
            plan.policies.iter().filter(|policy| has(policy.uplink)).map(|policy| policy.table).collect();
        let others: Vec<u32> =
            plan.policies.iter().filter(|policy| !has(policy.uplink)).map(|policy| policy.table).collect();
        // An entry in no uplink's table may belong to any uplink.
        let has_table = |table: u32| tables.contains(&table) || !others.contains(&table);
        let has_route = |route: &Route| selection.has_family(route.family) && has_table(route.table);
        let has_rule = |rule: &Rule| selection.has_family(rule.family) && has_table(rule.table);
        self.policies.retain(|policy| has(policy.uplink));
        self.faulty.retain(|uplink| has(*uplink));
        self.groups.retain(|group| selection.has_interface(&group.interface));
        self.stale_groups.retain(|interface| selection.has_interface(interface));
        self.stale_routes.retain(has_route);
        self.stale_rules.retain(has_rule);
        self.foreign_routes.retain(has_route);
        self.foreign_rules.retain(has_rule);
    }

    /// The group that an interface should be in.
    pub fn group(&self, interface: &str) -> Option<&GroupStatus> {
        self.groups.iter().find(|group| group.interface == interface)
    }
}

/// Compares the plan with the kernel.
pub fn status(plan: &Plan, snapshot: &Snapshot) -> Status {
    let stale = difference(plan, snapshot, &|_| false);
    let mut status = Status {
        stale_routes: stale.remove_routes,
        stale_rules: stale.remove_rules,
        stale_groups: stale.leave.into_iter().map(|change| change.dev).collect(),
        ..Status::default()
    };
    status.groups.extend(plan.group.interfaces.iter().map(|interface| GroupStatus {
        interface: interface.clone(),
        number: plan.group.number,
        is_installed: snapshot.link(interface).is_some_and(|link| link.group == plan.group.number),
    }));
    status.faulty = plan.managed.iter().copied().filter(|index| plan.uplinks[*index].is_faulty()).collect();
    status.without_default = without_default(plan, snapshot);
    let installed = Installed::new(snapshot, plan);
    for policy in plan.policies.iter().filter(|policy| plan.uplinks[policy.uplink].up) {
        let by_lines = is_managed_by_lines(plan, policy);
        let routes = policy
            .routes
            .iter()
            .map(|placed| Compared { is_installed: installed.has_route(&placed.item), item: placed.item.clone() });
        let rules = policy.rules.iter().map(|placed| Compared {
            is_installed: installed.has_rule(&placed.item, by_lines),
            item: placed.item.clone(),
        });
        let family = plan.uplinks[policy.uplink].family;
        let slot = policy.priority..policy.priority + PRIORITIES_PER_UPLINK;
        let is_foreign_route = |route: &&Route| {
            let is_by_lines = by_lines && policy.routes.iter().any(|placed| route.same_as(&placed.item));
            route.family == family && route.table == policy.table && !route.is_ours() && !is_by_lines
        };
        let is_foreign_rule = |rule: &&Rule| {
            let is_by_lines = by_lines && policy.rules.iter().any(|placed| rule.same_as(&placed.item));
            let is_in_range = rule.table == policy.table || slot.contains(&rule.priority);
            rule.family == family && is_in_range && !rule.is_ours() && !is_by_lines
        };
        status.foreign_routes.extend(snapshot.routes.iter().filter(is_foreign_route).cloned());
        status.foreign_rules.extend(snapshot.rules.iter().filter(is_foreign_rule).cloned());
        let interface = &plan.uplinks[policy.uplink].interface;
        let is_linkdown =
            snapshot.routes.iter().any(|route| route.state.linkdown && route.dev.as_ref() == Some(interface));
        let (routes, rules) = (routes.collect(), rules.collect());
        status.policies.push(PolicyStatus { uplink: policy.uplink, routes, rules, is_linkdown });
    }
    status
}

fn without_default(plan: &Plan, snapshot: &Snapshot) -> Vec<usize> {
    let in_main = snapshot.routes.iter().filter(|route| route.table == MAIN && is_default_like(&route.dst));
    let defaults: Vec<&Route> = in_main.collect();
    let has_default = |uplink: &Uplink| {
        defaults.iter().any(|route| route.family == uplink.family && route.is_through(&uplink.interface))
    };
    let uplinks = plan.uplinks.iter().enumerate().filter(|(_, uplink)| uplink.up && uplink.in_main);
    uplinks.filter(|(_, uplink)| !has_default(uplink)).map(|(index, _)| index).collect()
}
