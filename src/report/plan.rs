//! The uplinks as a table, and the full plan.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::columns::{Align, Column};
use super::diagnostics::{diagnostics_json, file_and_line};
use super::iproute2::{route_json, route_text, rule_json, rule_text};
use crate::interfaces::{Config, Files};
use crate::network::Route;
use crate::policy::{Plan, Policy};
use crate::uplinks::{Gateway, Layout, Selection, Uplink};

/// The columns that `cells` fills.
const COLUMNS: [Column; 5] = [
    ("UPLINK", Align::Left),
    ("ADDRESS", Align::Left),
    ("GATEWAY", Align::Left),
    ("TABLE", Align::Right),
    ("PRIO", Align::Right),
];

/// The role of the uplink's default route in the main table.
fn main_default(plan: &Plan, index: usize) -> String {
    let uplink = &plan.uplinks[index];
    match (plan.primary.get(&uplink.family), plan.metrics.get(&index).copied().or(uplink.metric)) {
        _ if uplink.skipped.is_some() => String::new(),
        (Some(primary), _) if *primary == index => "primary".into(),
        _ if !uplink.in_main => "none".into(),
        (_, Some(metric)) => format!("backup, metric {metric}"),
        _ => "backup".into(),
    }
}

/// `eth0 IPv4`.
pub(super) fn name(uplink: &Uplink) -> String {
    format!("{} {}", uplink.name, uplink.family.version())
}

/// The first address, and the number of further ones.
pub(super) fn addresses(uplink: &Uplink) -> String {
    match uplink.sources.as_slice() {
        [] => "-".into(),
        [only] => only.net.to_string(),
        [first, others @ ..] => format!("{} +{}", first.net, others.len()),
    }
}

/// The gateway, or `none` for a point-to-point link.
pub(super) fn gateway(uplink: &Uplink, unknown: &str) -> String {
    match uplink.gateway {
        Gateway::Unknown => unknown.into(),
        Gateway::OnLink => "none".into(),
        Gateway::Address(address) => address.to_string(),
    }
}

/// The first columns of a table: name, address, gateway, table, priority.
pub(super) fn cells(plan: &Plan, index: usize) -> Vec<String> {
    let uplink = &plan.uplinks[index];
    let has_none = uplink.skipped.is_some() || uplink.is_faulty() && !uplink.dynamic;
    let unknown = if has_none { "-" } else { "(DHCP or RA)" };
    let gateway = gateway(uplink, unknown);
    let policy = plan.policy(index);
    let number = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
    let (table, priority) = (policy.map(|policy| policy.table), policy.map(|policy| policy.priority));
    vec![name(uplink), addresses(uplink), gateway, number(table), number(priority)]
}

/// The uplinks in a table.
pub fn summary(plan: &Plan, selection: &Selection) -> String {
    let row = |index: usize| {
        let default = [
            Some(main_default(plan, index)).filter(|text| !text.is_empty()),
            plan.reason_without(index).map(String::from),
        ];
        let last = default.into_iter().flatten().collect::<Vec<_>>().join("; ");
        cells(plan, index).into_iter().chain([last]).collect()
    };
    uplinks(plan, selection, "DEFAULT ROUTE IN MAIN", row)
}

/// A table with a row for each uplink that is selected.
pub(super) fn uplinks(
    plan: &Plan,
    selection: &Selection,
    last: &'static str,
    row: impl Fn(usize) -> Vec<String>,
) -> String {
    if plan.uplinks.is_empty() {
        return "No uplinks found.\n".into();
    }
    let rows: Vec<Vec<String>> =
        (0..plan.uplinks.len()).filter(|index| selection.has(&plan.uplinks[*index])).map(row).collect();
    let columns: Vec<Column> = COLUMNS.into_iter().chain([(last, Align::Left)]).collect();
    super::columns::columns(&columns, &rows)
}

/// The full plan: the summary, then each uplink's routes and rules.
pub fn plan_text(plan: &Plan, selection: &Selection) -> String {
    let mut out = summary(plan, selection) + &unknown_defaults(plan);
    for policy in plan.policies.iter().filter(|policy| selection.has(&plan.uplinks[policy.uplink])) {
        let _ = writeln!(out, "\n{}: {}", name(&plan.uplinks[policy.uplink]), reads_as(policy));
        if let Some(group) = group_of(plan, policy) {
            let _ = writeln!(out, "    {group}");
        }
        for route in &policy.routes {
            let _ = writeln!(out, "    {}", route_text(&route.item));
        }
        for rule in &policy.rules {
            let _ = writeln!(out, "    {}", rule_text(&rule.item));
        }
    }
    let others: Vec<&String> = plan
        .group
        .interfaces
        .iter()
        .filter(|interface| !has_layered(plan, interface))
        .filter(|interface| selection.has_interface(interface))
        .collect();
    if !others.is_empty() {
        let _ = writeln!(out, "\n{OTHER_UPLINKS}");
    }
    for interface in others {
        let _ = writeln!(out, "    {}", group_text(interface, plan.group.number));
    }
    out
}

/// The main table's default routes that belong to no uplink, one in each line.
pub(super) fn unknown_defaults(plan: &Plan) -> String {
    let line = |route: &Route| {
        let family = route.family.version();
        format!("Default route in the main table that belongs to no uplink ({family}): {}\n", route_text(route))
    };
    plan.unknown_defaults.iter().map(line).collect()
}

/// The heading of interfaces that belong to uplinks without a policy. They are in the group, too.
pub(super) const OTHER_UPLINKS: &str = "Interfaces of other uplinks:";

/// Does an uplink of the interface show the group with its policy?
pub(super) fn has_layered(plan: &Plan, interface: &str) -> bool {
    let mut layered = plan.policies.iter().filter(|policy| policy.layout == Layout::Layered);
    layered.any(|policy| plan.uplinks[policy.uplink].interface == interface && plan.uplinks[policy.uplink].up)
}

/// As `ip link set` accepts it.
pub(super) fn group_text(interface: &str, number: u32) -> String {
    format!("dev {interface} group {number}")
}

fn group_of(plan: &Plan, policy: &Policy) -> Option<String> {
    let interface = &plan.uplinks[policy.uplink].interface;
    let is_in_group = policy.layout == Layout::Layered && plan.group.has(interface);
    is_in_group.then(|| group_text(interface, plan.group.number))
}

pub(super) fn reads_as(policy: &Policy) -> String {
    format!("table {}, layout {}", policy.table, policy.layout.name())
}

pub(super) fn uplink_json(plan: &Plan, index: usize, config: &Config, root: &dyn Files) -> Map<String, Value> {
    let uplink = &plan.uplinks[index];
    let policy = plan.policy(index);
    let (file, line) = file_and_line(config, root, uplink.location);
    let value = json!({
        "interface": uplink.interface,
        "family": uplink.family.name(),
        "addresses": Value::from_iter(uplink.sources.iter().map(|source| source.net.to_string())),
        "gateway": uplink.gateway.address().map(|gateway| gateway.to_string()),
        "point_to_point": uplink.gateway == Gateway::OnLink,
        "up": uplink.up,
        "dynamic": uplink.dynamic,
        "manual": uplink.is_manual,
        "primary": plan.primary.get(&uplink.family) == Some(&index),
        "metric": plan.metrics.get(&index).copied().or(uplink.metric),
        "table": policy.map(|policy| policy.table),
        "priority": policy.map(|policy| policy.priority),
        "layout": policy.map(|policy| policy.layout.name()),
        "group": plan.group.has(&uplink.interface).then(|| plan.group.number.to_string()),
        "reason": plan.reason_without(index),
        "file": file,
        "line": line,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What stands where a plan with an error cannot be reported.
pub fn problems_json(plan: &Plan, config: &Config, root: &dyn Files) -> Value {
    let diagnostics = config.diagnostics.iter().chain(&plan.diagnostics).chain(&plan.clashes);
    json!({"diagnostics": diagnostics_json(config, root, diagnostics)})
}

pub fn plan_json(plan: &Plan, selection: &Selection, config: &Config, root: &dyn Files) -> Value {
    let selected = (0..plan.uplinks.len()).filter(|index| selection.has(&plan.uplinks[*index]));
    let uplinks = selected.map(|index| {
        let mut out = uplink_json(plan, index, config, root);
        let policy = plan.policy(index);
        let routes = policy.iter().flat_map(|policy| &policy.routes).map(|route| route_json(&route.item));
        let rules = policy.iter().flat_map(|policy| &policy.rules).map(|rule| rule_json(&rule.item));
        out.insert("routes".into(), Value::from_iter(routes));
        out.insert("rules".into(), Value::from_iter(rules));
        out
    });
    let diagnostics = config.diagnostics.iter().chain(&plan.diagnostics).chain(&plan.clashes);
    let unknown_defaults = Value::from_iter(plan.unknown_defaults.iter().map(route_json));
    json!({"uplinks": Value::from_iter(uplinks), "unknown_defaults": unknown_defaults, "diagnostics": diagnostics_json(config, root, diagnostics)})
}
