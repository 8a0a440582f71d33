//! The uplinks at one glance, and the plan in full.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::diagnostics::{begins, diagnostics_json};
use super::iproute2::{route_json, route_text, rule_json, rule_text};
use crate::files::Root;
use crate::interfaces::{Config, Family};
use crate::policy::{Plan, Policy};
use crate::snapshot::Route;
use crate::uplinks::{Layout, Uplink};

/// What main's default route is to this uplink.
fn main_default(plan: &Plan, at: usize) -> String {
    let uplink = &plan.uplinks[at];
    match (plan.primary.get(&uplink.family), plan.metrics.get(&at).copied().or(uplink.metric)) {
        _ if uplink.skipped.is_some() => String::new(),
        (Some(primary), _) if *primary == at => "main's default route".into(),
        _ if !uplink.in_main => "no default route in main".into(),
        (_, Some(metric)) => format!("backup default route, metric {metric}"),
        _ => "default route in main".into(),
    }
}

pub(super) fn addresses(uplink: &Uplink) -> String {
    let list: Vec<String> = uplink.sources.iter().map(|source| source.net.to_string()).collect();
    match list.len() {
        0 => "no address yet".into(),
        1..=3 => list.join(" "),
        more => format!("{} and {} more", list[..2].join(" "), more - 2),
    }
}

/// The uplinks in a few lines, aligned.
pub fn summary(plan: &Plan) -> String {
    table(plan, |_| String::new(), &[])
}

/// The same with something before each uplink; main has no default route of those `without`.
pub(super) fn table(plan: &Plan, before: impl Fn(usize) -> String, without: &[usize]) -> String {
    if plan.uplinks.is_empty() {
        return "No uplinks found.\n".into();
    }
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (at, uplink) in plan.uplinks.iter().enumerate() {
        let unknown = if uplink.skipped.is_some() { "no gateway" } else { "gateway by DHCP or RA" };
        let gateway = uplink.gateway.map_or(unknown.into(), |gateway| format!("via {gateway}"));
        let numbers = match (plan.policy(at), plan.reason_without(at)) {
            (Some(policy), _) => format!("table {} priority {}", policy.table, policy.priority),
            (None, reason) => reason.unwrap_or_default().into(),
        };
        let default = match without.contains(&at) {
            true => "default route missing in main".into(),
            false => main_default(plan, at),
        };
        rows.push([uplink.label(), addresses(uplink), gateway, numbers, default]);
    }
    let mut out = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    for (at, row) in rows.iter().enumerate() {
        out.push_str(&before(at));
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        let end = out.trim_end().len();
        let row_end = if row[4].is_empty() { end } else { out.len() };
        out.truncate(row_end);
        let _ = writeln!(out, "{}", row[4]);
    }
    out
}

/// The plan in full: the summary, then each uplink's routes and rules.
pub fn plan_text(plan: &Plan) -> String {
    let mut out = summary(plan) + &unknown_defaults(plan);
    for policy in &plan.policies {
        let _ = writeln!(out, "\n{}: {}", plan.uplinks[policy.uplink].label(), reads_as(policy));
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
    let others: Vec<&String> = plan.group.interfaces.iter().filter(|interface| !has_layered(plan, interface)).collect();
    if !others.is_empty() {
        let _ = writeln!(out, "\n{OTHER_UPLINKS}");
    }
    for interface in others {
        let _ = writeln!(out, "    {}", group_text(interface, plan.group.number));
    }
    out
}

/// Main's default routes that belong to no uplink, one a line.
pub(super) fn unknown_defaults(plan: &Plan) -> String {
    let line = |route: &Route| {
        let family = if route.family == Family::Inet6 { "IPv6" } else { "IPv4" };
        format!("Default route in the main table that belongs to no uplink ({family}): {}\n", route_text(route))
    };
    plan.unknown_defaults.iter().map(line).collect()
}

/// Above the interfaces of uplinks that have no policy of their own, and whose networks are behind a gateway for the
/// others.
pub(super) const OTHER_UPLINKS: &str = "Interfaces of other uplinks:";

/// Does an uplink of the interface show the group with its policy?
pub(super) fn has_layered(plan: &Plan, interface: &str) -> bool {
    let mut layered = plan.policies.iter().filter(|policy| policy.layout == Layout::Layered);
    layered.any(|policy| plan.uplinks[policy.uplink].interface == interface && plan.uplinks[policy.uplink].up)
}

/// As `ip link set` takes it.
pub(super) fn group_text(interface: &str, number: u32) -> String {
    format!("dev {interface} group {number}")
}

fn group_of(plan: &Plan, policy: &Policy) -> Option<String> {
    let interface = &plan.uplinks[policy.uplink].interface;
    let of_policy = policy.layout == Layout::Layered && plan.group.has(interface);
    of_policy.then(|| group_text(interface, plan.group.number))
}

pub(super) fn reads_as(policy: &Policy) -> String {
    format!("table {}, layout {}", policy.table, policy.layout.name())
}

pub(super) fn uplink_json(plan: &Plan, at: usize, config: &Config, root: &Root) -> Map<String, Value> {
    let uplink = &plan.uplinks[at];
    let policy = plan.policy(at);
    let (file, line) = begins(config, root, uplink.at);
    let value = json!({
        "interface": uplink.interface,
        "family": uplink.family.name(),
        "addresses": Value::from_iter(uplink.sources.iter().map(|source| source.net.to_string())),
        "gateway": uplink.gateway.map(|gateway| gateway.to_string()),
        "up": uplink.up,
        "dynamic": uplink.dynamic,
        "hand_written": uplink.hand_written,
        "primary": plan.primary.get(&uplink.family) == Some(&at),
        "metric": plan.metrics.get(&at).copied().or(uplink.metric),
        "table": policy.map(|policy| policy.table),
        "priority": policy.map(|policy| policy.priority),
        "layout": policy.map(|policy| policy.layout.name()),
        "group": plan.group.has(&uplink.interface).then(|| plan.group.number.to_string()),
        "reason": plan.reason_without(at),
        "file": file,
        "line": line,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub fn plan_json(plan: &Plan, config: &Config, root: &Root) -> Value {
    let uplinks = (0..plan.uplinks.len()).map(|at| {
        let mut out = uplink_json(plan, at, config, root);
        let policy = plan.policy(at);
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
