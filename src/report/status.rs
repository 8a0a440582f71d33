//! The plan compared with the kernel.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::iproute2::{route_json, route_text, rule_json, rule_text};
use super::plan::{
    OTHER_UPLINKS, cells, group_text, has_layered, name, reads_as, unknown_defaults, uplink_json, uplinks,
};
use crate::check::{PolicyStatus, Status};
use crate::interfaces::{Config, Files};
use crate::network::{Route, Rule};
use crate::policy::Plan;
use crate::policy::group::GROUP;
use crate::uplinks::{Layout, Missing, Selection, Source};

pub fn status_json(plan: &Plan, status: &Status, selection: &Selection, config: &Config, root: &dyn Files) -> Value {
    let state = |is_installed: bool| if is_installed { "installed" } else { "missing" };
    let with = |mut item: Map<String, Value>, is_installed: bool| {
        item.insert("state".into(), state(is_installed).into());
        item
    };
    let selected = (0..plan.uplinks.len()).filter(|index| selection.has(&plan.uplinks[*index]));
    let uplinks = selected.map(|index| {
        let mut out = uplink_json(plan, index, config, root);
        let found = status.policies.iter().find(|policy| policy.uplink == index);
        let routes =
            found.iter().flat_map(|found| &found.routes).map(|route| with(route_json(&route.item), route.is_installed));
        let rules =
            found.iter().flat_map(|found| &found.rules).map(|rule| with(rule_json(&rule.item), rule.is_installed));
        if let Some(group) = status.group(&plan.uplinks[index].interface) {
            out.insert("group_state".into(), state(group.is_installed).into());
        }
        out.insert("routes".into(), Value::from_iter(routes));
        out.insert("rules".into(), Value::from_iter(rules));
        out.insert("state".into(), state_of(plan, status, index).text.into());
        out
    });
    json!({
        "in_sync": status.in_sync(),
        "uplinks": Value::from_iter(uplinks),
        "unknown_defaults": Value::from_iter(plan.unknown_defaults.iter().map(route_json)),
        "stale": {
            "routes": Value::from_iter(status.stale_routes.iter().map(route_json)),
            "rules": Value::from_iter(status.stale_rules.iter().map(rule_json)),
            "links": Value::from_iter(
                status.stale_groups.iter().map(|dev| json!({"ifname": dev, "group": GROUP.to_string()})),
            ),
        },
        "foreign": {
            "routes": Value::from_iter(status.foreign_routes.iter().map(route_json)),
            "rules": Value::from_iter(status.foreign_rules.iter().map(rule_json)),
        },
    })
}

/// The state of an uplink.
struct UplinkState {
    text: String,
    /// An SGR code (ECMA-48); empty for the default color.
    color: &'static str,
}

fn state_of(plan: &Plan, status: &Status, index: usize) -> UplinkState {
    let state = |text: &str, color: &'static str| UplinkState { text: text.to_string(), color };
    let uplink = &plan.uplinks[index];
    if uplink.is_faulty() {
        return state("error in stanza", "31");
    }
    let found = status.policies.iter().find(|policy| policy.uplink == index);
    match (found, plan.managed.contains(&index)) {
        (Some(found), _) => {
            let entries = entries(plan, status, found);
            let missing = entries.iter().filter(|entry| !entry.is_installed).count();
            match missing {
                0 if found.is_linkdown => state("no carrier", "33"),
                0 if status.without_default.contains(&index) => state("ok, default route missing in main", "33"),
                0 => state("ok", "32"),
                _ => state(&format!("{missing} of {} missing", entries.len()), "31"),
            }
        }
        (None, true) => state(uplink.missing.map_or("no table", Missing::state), "33"),
        (None, false) => state(plan.reason_without(index).unwrap_or("skipped"), ""),
    }
}

/// A route, a rule or a group membership, as text.
struct Entry {
    text: String,
    is_installed: bool,
}

fn entries(plan: &Plan, status: &Status, policy: &PolicyStatus) -> Vec<Entry> {
    let is_layered = plan.policy(policy.uplink).is_some_and(|planned| planned.layout == Layout::Layered);
    let group = status.group(&plan.uplinks[policy.uplink].interface).filter(|_| is_layered);
    let group =
        group.map(|group| Entry { text: group_text(&group.interface, group.number), is_installed: group.is_installed });
    let routes =
        policy.routes.iter().map(|route| Entry { text: route_text(&route.item), is_installed: route.is_installed });
    let rules = policy.rules.iter().map(|rule| Entry { text: rule_text(&rule.item), is_installed: rule.is_installed });
    group.into_iter().chain(routes).chain(rules).collect()
}

/// Options of the text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Also installed entries, not only missing ones.
    pub verbose: bool,
    pub color: bool,
}

impl Style {
    fn paint(self, text: &str, code: &str) -> String {
        match self.color && !code.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// `inactive` names the uplinks that are not active.
pub fn status_text(plan: &Plan, status: &Status, selection: &Selection, inactive: &str, style: Style) -> String {
    let row = |index: usize| {
        let UplinkState { text, color } = state_of(plan, status, index);
        cells(plan, index).into_iter().chain([style.paint(&text, color)]).collect()
    };
    let mut out = uplinks(plan, selection, "STATE", row);
    out.push_str(&unknown_defaults(plan));
    for policy in &status.policies {
        let entries = entries(plan, status, policy);
        let name = name(&plan.uplinks[policy.uplink]);
        if style.verbose {
            let planned = plan.policy(policy.uplink).map(reads_as).unwrap_or_default();
            let _ = writeln!(out, "\n{name}: {planned}");
        } else if entries.iter().any(|entry| !entry.is_installed) {
            let _ = writeln!(out, "\n{name}, missing:");
        }
        for Entry { text, is_installed } in entries {
            match (style.verbose, is_installed) {
                (true, true) => _ = writeln!(out, "    {} {text}", style.paint("installed", "32")),
                (true, false) => _ = writeln!(out, "    {} {text}", style.paint("MISSING  ", "31")),
                (false, false) => _ = writeln!(out, "    {text}"),
                (false, true) => {}
            }
        }
    }
    out += &other_groups(plan, status, style);
    out += &section("Stale entries (added by symroute, no longer needed):", &stale(status));
    out += &section("Foreign entries in the same tables or priority range:", &foreign(status));
    out.push('\n');
    out.push_str(match () {
        () if only_removes(plan, status) => {
            "Out of sync. 'symroute apply' would only remove entries of uplinks whose address is missing. Run 'symroute \
             check' first.\n"
        }
        () if !status.is_installed() => "Out of sync. Preview: symroute apply --dry-run   Fix: symroute apply\n",
        () if plan.managed.is_empty() => "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n",
        () if inactive.is_empty() => "Everything is installed.\n",
        () => "",
    });
    out.push_str(inactive);
    out
}

/// Does 'symroute apply' only remove entries of an uplink whose address may be on another interface?
fn only_removes(plan: &Plan, status: &Status) -> bool {
    let is_complete = status.policies.iter().all(|policy| {
        policy.routes.iter().all(|route| route.is_installed) && policy.rules.iter().all(|rule| rule.is_installed)
    });
    let inactive = plan.managed.iter().map(|index| &plan.uplinks[*index]);
    let mut sources =
        inactive.filter(|uplink| uplink.missing == Some(Missing::Address)).flat_map(|uplink| &uplink.sources);
    let has_rule = |source: &Source| {
        let is_of = |rule: &Rule| rule.src.is_some_and(|src| src.prefix_len() > 0 && src.contains(&source.net.addr()));
        status.stale_rules.iter().any(is_of)
    };
    is_complete && sources.any(has_rule)
}

/// The groups of interfaces whose uplinks have no policy.
fn other_groups(plan: &Plan, status: &Status, style: Style) -> String {
    let others = status.groups.iter().filter(|group| !has_layered(plan, &group.interface));
    let lines = others.filter(|group| style.verbose || !group.is_installed).map(|group| {
        let state = if group.is_installed { "" } else { " (missing)" };
        format!("{}{state}", group_text(&group.interface, group.number))
    });
    section(OTHER_UPLINKS, &lines.collect::<Vec<_>>())
}

fn stale(status: &Status) -> Vec<String> {
    let groups = status.stale_groups.iter().map(|interface| group_text(interface, GROUP));
    groups.chain(entries_text(&status.stale_routes, &status.stale_rules)).collect()
}

fn foreign(status: &Status) -> Vec<String> {
    entries_text(&status.foreign_routes, &status.foreign_rules).collect()
}

fn entries_text<'a>(routes: &'a [Route], rules: &'a [Rule]) -> impl Iterator<Item = String> + 'a {
    let routes = routes.iter().map(|route| format!("{} (table {})", route_text(route), route.table));
    routes.chain(rules.iter().map(rule_text))
}

fn section(title: &str, lines: &[String]) -> String {
    let list: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    if lines.is_empty() { String::new() } else { format!("\n{title}\n{list}") }
}
