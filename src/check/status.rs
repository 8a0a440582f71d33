//! Comparing: what is in place, what is missing, and what is there that is not ours.

use crate::policy::Plan;
use crate::policy::difference::{by_lines, difference, route_in_place, rule_in_place};
use crate::policy::numbers::SLOT;
use crate::snapshot::{MAIN, Route, Rule, Snapshot};
use crate::uplinks::Uplink;

/// Something wanted, and whether the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared<T> {
    pub item: T,
    pub in_place: bool,
}

/// An interface that has to be in the group of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub interface: String,
    pub number: u32,
    pub in_place: bool,
}

/// One policy beside the kernel.
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
    /// Of the uplinks that are up.
    pub policies: Vec<PolicyStatus>,
    pub groups: Vec<GroupStatus>,
    /// In symroute's group, but no uplink that needs it.
    pub left_over_groups: Vec<String>,
    /// Ours, but wanted by no uplink that is up.
    pub left_over_routes: Vec<Route>,
    pub left_over_rules: Vec<Rule>,
    /// Not ours, but in our tables or between our priorities.
    pub foreign_routes: Vec<Route>,
    pub foreign_rules: Vec<Rule>,
    /// Uplinks that are up and whose default route main does not have.
    pub without_default: Vec<usize>,
}

impl Status {
    /// Is the kernel what the plan says?
    pub fn in_step(&self) -> bool {
        let routes = self.policies.iter().flat_map(|policy| &policy.routes).all(|route| route.in_place);
        let rules = self.policies.iter().flat_map(|policy| &policy.rules).all(|rule| rule.in_place);
        let groups = self.groups.iter().all(|group| group.in_place) && self.left_over_groups.is_empty();
        routes && rules && groups && self.left_over_routes.is_empty() && self.left_over_rules.is_empty()
    }

    /// The group that an interface has to be in.
    pub fn group(&self, interface: &str) -> Option<&GroupStatus> {
        self.groups.iter().find(|group| group.interface == interface)
    }
}

/// The plan beside the kernel.
pub fn status(plan: &Plan, snapshot: &Snapshot) -> Status {
    let left = difference(plan, snapshot, &|_| false);
    let mut status = Status {
        left_over_routes: left.remove_routes,
        left_over_rules: left.remove_rules,
        left_over_groups: left.leave.into_iter().map(|change| change.dev).collect(),
        ..Status::default()
    };
    status.groups.extend(plan.group.interfaces.iter().map(|interface| GroupStatus {
        interface: interface.clone(),
        number: plan.group.number,
        in_place: snapshot.link(interface).is_some_and(|link| link.group == plan.group.number),
    }));
    status.without_default = without_default(plan, snapshot);
    for policy in plan.policies.iter().filter(|policy| plan.uplinks[policy.uplink].up) {
        let lines = by_lines(plan, policy);
        let routes = policy
            .routes
            .iter()
            .map(|placed| Compared { in_place: route_in_place(snapshot, &placed.item), item: placed.item.clone() });
        let rules = policy.rules.iter().map(|placed| Compared {
            in_place: rule_in_place(snapshot, &placed.item, lines),
            item: placed.item.clone(),
        });
        let family = plan.uplinks[policy.uplink].family;
        let slot = policy.priority..policy.priority + SLOT;
        let foreign_route = |route: &&Route| {
            let made_by_lines = lines && policy.routes.iter().any(|wanted| route.same_as(&wanted.item));
            route.family == family && route.table == policy.table && !route.is_ours() && !made_by_lines
        };
        let foreign_rule = |rule: &&Rule| {
            let made_by_lines = lines && policy.rules.iter().any(|wanted| rule.same_as(&wanted.item));
            let near = rule.table == policy.table || slot.contains(&rule.priority);
            rule.family == family && near && !rule.is_ours() && !made_by_lines
        };
        status.foreign_routes.extend(snapshot.routes.iter().filter(foreign_route).cloned());
        status.foreign_rules.extend(snapshot.rules.iter().filter(foreign_rule).cloned());
        let interface = &plan.uplinks[policy.uplink].interface;
        let is_linkdown =
            snapshot.routes.iter().any(|route| route.state.linkdown && route.dev.as_ref() == Some(interface));
        let (routes, rules) = (routes.collect(), rules.collect());
        status.policies.push(PolicyStatus { uplink: policy.uplink, routes, rules, is_linkdown });
    }
    status
}

fn without_default(plan: &Plan, snapshot: &Snapshot) -> Vec<usize> {
    let in_main = snapshot.routes.iter().filter(|route| route.table == MAIN && route.dst.prefix_len() == 0);
    let defaults: Vec<&Route> = in_main.collect();
    let has_default = |uplink: &Uplink| {
        defaults.iter().any(|route| route.family == uplink.family && route.is_through(&uplink.interface))
    };
    let uplinks = plan.uplinks.iter().enumerate().filter(|(_, uplink)| uplink.up && uplink.in_main);
    uplinks.filter(|(_, uplink)| !has_default(uplink)).map(|(at, _)| at).collect()
}
