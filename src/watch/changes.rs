//! What a run changed, as one line for each uplink. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use crate::apply::steps::Step;
use crate::network::{Family, Route, Rule};
use crate::policy::Plan;

/// The names of the uplinks that have, or had, a table or a source address.
#[derive(Debug, Default)]
pub(super) struct UplinkNames {
    by_table: FxHashMap<(Family, u32), String>,
    by_source: FxHashMap<IpNet, String>,
}

impl UplinkNames {
    pub fn of(plan: &Plan) -> Self {
        let mut names = UplinkNames::default();
        for policy in &plan.policies {
            let uplink = &plan.uplinks[policy.uplink];
            names.by_table.insert((uplink.family, policy.table), uplink.label());
            let sources = policy.rules.iter().filter_map(|rule| rule.item.src);
            names.by_source.extend(sources.map(|source| (source, uplink.label())));
        }
        names
    }

    /// Keeps earlier names for entries that are removed later, but not those of years.
    pub fn add(&mut self, earlier: UplinkNames) {
        if earlier.by_source.len() < NAMES {
            earlier.by_table.into_iter().for_each(|(table, name)| _ = self.by_table.entry(table).or_insert(name));
            earlier.by_source.into_iter().for_each(|(source, name)| _ = self.by_source.entry(source).or_insert(name));
        }
    }

    fn of_route(&self, route: &Route) -> Option<&String> {
        self.by_table.get(&(route.family, route.table))
    }

    /// Rules of all uplinks look up main.
    fn of_rule(&self, rule: &Rule) -> Option<&String> {
        let by_source = rule.src.and_then(|source| self.by_source.get(&source));
        by_source.or_else(|| self.by_table.get(&(rule.family, rule.table)))
    }
}

/// Source addresses of earlier plans whose names are kept.
const NAMES: usize = 10_000;

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rules: usize,
    routes: usize,
}

impl Counts {
    fn text(self, verb: &str) -> Option<String> {
        let count = |number: usize, noun: &str| match number {
            0 => None,
            1 => Some(format!("1 {noun}")),
            _ => Some(format!("{number} {noun}s")),
        };
        let counts: Vec<String> =
            [count(self.rules, "rule"), count(self.routes, "route")].into_iter().flatten().collect();
        (!counts.is_empty()).then(|| format!("{verb} {}", counts.join(" and ")))
    }
}

/// One line for each uplink, in the order of their names: `eth1 (IPv4): added 2 rules and 5 routes`. What is removed has
/// the name that it had `before`.
pub(super) fn lines(steps: &[Step], names: &UplinkNames, before: &UplinkNames) -> Vec<String> {
    let mut by_uplink: BTreeMap<String, [Counts; 3]> = BTreeMap::new();
    let mut groups = Vec::new();
    for step in steps {
        let (name, family, table) = match step {
            Step::AddRoute(route) | Step::ReplaceRoute(_, route) => {
                (names.of_route(route).or_else(|| before.of_route(route)), route.family, route.table)
            }
            Step::RemoveRoute(route) => {
                (before.of_route(route).or_else(|| names.of_route(route)), route.family, route.table)
            }
            Step::AddRule(rule) => (names.of_rule(rule).or_else(|| before.of_rule(rule)), rule.family, rule.table),
            Step::RemoveRule(rule) => (before.of_rule(rule).or_else(|| names.of_rule(rule)), rule.family, rule.table),
            Step::SetGroup(change) => {
                groups.push(format!("{}: set interface group {}", change.dev, change.to));
                continue;
            }
        };
        let name = name.cloned().unwrap_or_else(|| format!("table {table} ({})", family.version()));
        let [added, changed, removed] = by_uplink.entry(name).or_default();
        match step {
            Step::AddRoute(_) => added.routes += 1,
            Step::AddRule(_) => added.rules += 1,
            Step::ReplaceRoute(..) => changed.routes += 1,
            Step::RemoveRoute(_) => removed.routes += 1,
            Step::RemoveRule(_) => removed.rules += 1,
            Step::SetGroup(_) => {}
        }
    }
    let uplinks = by_uplink.into_iter().map(|(name, [added, changed, removed])| {
        let texts = [added.text("added"), changed.text("changed"), removed.text("removed")];
        format!("{name}: {}", texts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    });
    uplinks.chain(groups).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{MAIN, PROTOCOL, Route, RouteState};
    use crate::policy::difference::Membership;

    fn rule(source: &str, table: u32) -> Rule {
        Rule {
            family: Family::Inet,
            priority: 100,
            src: source.parse().ok(),
            oif: None,
            table,
            suppress_prefixlen: None,
            suppress_ifgroup: None,
            protocol: PROTOCOL,
            extras: None,
        }
    }

    fn route(table: u32) -> Route {
        Route {
            family: Family::Inet6,
            table,
            dst: "::/0".parse().unwrap(),
            gateway: None,
            dev: Some("eth1".into()),
            scope: 0,
            metric: 1024,
            onlink: false,
            protocol: PROTOCOL,
            extras: None,
            state: RouteState::default(),
        }
    }

    #[test]
    fn one_line_for_each_uplink() {
        let mut names = UplinkNames::default();
        names.by_table.insert((Family::Inet, 1), "eth0 (IPv4)".into());
        names.by_source.insert("198.51.100.10/32".parse().unwrap(), "eth1 (IPv4)".into());
        let steps = [
            Step::AddRule(rule("198.51.100.10/32", MAIN)),
            Step::AddRule(rule("198.51.100.10/32", 2)),
            Step::RemoveRule(rule("192.0.2.10/32", 1)),
            Step::ReplaceRoute(route(7), route(7)),
            Step::RemoveRoute(route(7)),
            Step::SetGroup(Membership { dev: "eth1".into(), from: 0, to: 97 }),
        ];
        assert_eq!(
            lines(&steps, &names, &UplinkNames::default()),
            [
                "eth0 (IPv4): removed 1 rule",
                "eth1 (IPv4): added 2 rules",
                "table 7 (IPv6): changed 1 route, removed 1 route",
                "eth1: set interface group 97",
            ]
        );
        assert_eq!(lines(&[], &names, &names), [""; 0]);
    }
}
