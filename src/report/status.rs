//! The plan beside the kernel.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::iproute2::{route_json, route_text, rule_json, rule_text};
use super::plan::{OTHER_UPLINKS, group_text, has_layered, reads_as, table, unknown_defaults, uplink_json};
use crate::check::{GroupStatus, PolicyStatus, Status};
use crate::files::Root;
use crate::interfaces::Config;
use crate::policy::Plan;
use crate::policy::group::GROUP;
use crate::uplinks::{Lack, Layout};

pub fn status_json(plan: &Plan, status: &Status, config: &Config, root: &Root) -> Value {
    let state = |in_place: bool| if in_place { "in place" } else { "missing" };
    let with = |mut item: Map<String, Value>, in_place: bool| {
        item.insert("state".into(), state(in_place).into());
        item
    };
    let uplinks = (0..plan.uplinks.len()).map(|at| {
        let mut out = uplink_json(plan, at, config, root);
        let found = status.policies.iter().find(|policy| policy.uplink == at);
        let routes =
            found.iter().flat_map(|found| &found.routes).map(|route| with(route_json(&route.item), route.in_place));
        let rules = found.iter().flat_map(|found| &found.rules).map(|rule| with(rule_json(&rule.item), rule.in_place));
        if let Some(group) = status.group(&plan.uplinks[at].interface) {
            out.insert("group_state".into(), state(group.in_place).into());
        }
        out.insert("routes".into(), Value::from_iter(routes));
        out.insert("rules".into(), Value::from_iter(rules));
        out.insert("state".into(), state_of(plan, status, at).word.into());
        out
    });
    json!({
        "in_step": status.in_step(),
        "uplinks": Value::from_iter(uplinks),
        "unknown_defaults": Value::from_iter(plan.unknown_defaults.iter().map(route_json)),
        "left_over": {
            "routes": Value::from_iter(status.left_over_routes.iter().map(route_json)),
            "rules": Value::from_iter(status.left_over_rules.iter().map(rule_json)),
            "links": Value::from_iter(
                status.left_over_groups.iter().map(|dev| json!({"ifname": dev, "group": GROUP.to_string()})),
            ),
        },
        "not_ours": {
            "routes": Value::from_iter(status.foreign_routes.iter().map(route_json)),
            "rules": Value::from_iter(status.foreign_rules.iter().map(rule_json)),
        },
    })
}

/// How it stands with an uplink.
struct Standing {
    word: String,
    /// An SGR code (ECMA-48); none for the terminal's own.
    color: &'static str,
}

fn state_of(plan: &Plan, status: &Status, at: usize) -> Standing {
    let found = status.policies.iter().find(|policy| policy.uplink == at);
    let missing = |found: &PolicyStatus| {
        let group = status.group(&plan.uplinks[at].interface);
        group.into_iter().filter(|group| !group.in_place).count()
            + found.routes.iter().filter(|route| !route.in_place).count()
            + found.rules.iter().filter(|rule| !rule.in_place).count()
    };
    let lack = plan.uplinks[at].lacks.map(Lack::state);
    let (word, color) = match (found.map(missing), plan.managed.contains(&at)) {
        (Some(0), _) if found.is_some_and(|found| found.is_linkdown) => ("no carrier".into(), "33"),
        (Some(0), _) => ("ok".into(), "32"),
        (Some(missing), _) => (format!("{missing} missing"), "31"),
        (None, true) => (lack.unwrap_or("no table").into(), "33"),
        (None, false) => ("skipped".into(), ""),
    };
    Standing { word, color }
}

/// `inactive` tells of the uplinks that are not active.
pub fn status_text(plan: &Plan, status: &Status, inactive: &str, color: bool) -> String {
    let plain = |text: &str, code: &str| match color && !code.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_string(),
    };
    let states: Vec<Standing> = (0..plan.uplinks.len()).map(|at| state_of(plan, status, at)).collect();
    let width = states.iter().map(|state| state.word.len()).max().unwrap_or(0);
    let state = |at: usize| format!("{}  ", plain(&format!("{:width$}", states[at].word), states[at].color));
    let mut out = table(plan, state, &status.without_default);
    out.push_str(&unknown_defaults(plan));
    let paint = |text: &str, code: &str| plain(&format!("{text:<9}"), code);
    let state = |in_place: bool| if in_place { paint("in place", "32") } else { paint("MISSING", "31") };
    for policy in &status.policies {
        let planned = plan.policies.iter().find(|planned| planned.uplink == policy.uplink);
        let _ =
            writeln!(out, "\n{}: {}", plan.uplinks[policy.uplink].label(), planned.map(reads_as).unwrap_or_default());
        let layered = planned.is_some_and(|planned| planned.layout == Layout::Layered);
        if let Some(group) = status.group(&plan.uplinks[policy.uplink].interface).filter(|_| layered) {
            let _ = writeln!(out, "    {} {}", state(group.in_place), group_text(&group.interface, group.number));
        }
        for route in &policy.routes {
            let _ = writeln!(out, "    {} {}", state(route.in_place), route_text(&route.item));
        }
        for rule in &policy.rules {
            let _ = writeln!(out, "    {} {}", state(rule.in_place), rule_text(&rule.item));
        }
    }
    let others: Vec<&GroupStatus> = status.groups.iter().filter(|group| !has_layered(plan, &group.interface)).collect();
    if !others.is_empty() {
        let _ = writeln!(out, "\n{OTHER_UPLINKS}");
    }
    for group in others {
        let _ = writeln!(out, "    {} {}", state(group.in_place), group_text(&group.interface, group.number));
    }
    for (title, word, code, routes, rules) in [
        (
            "Made by symroute, but wanted by no uplink that is up:",
            "LEFT",
            "31",
            &status.left_over_routes,
            &status.left_over_rules,
        ),
        (
            "Foreign entries in the same tables or priority range:",
            "not ours",
            "33",
            &status.foreign_routes,
            &status.foreign_rules,
        ),
    ] {
        let groups = if word == "LEFT" { &status.left_over_groups[..] } else { &[] };
        if !routes.is_empty() || !rules.is_empty() || !groups.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for dev in groups {
            let _ = writeln!(out, "    {} {}", paint(word, code), group_text(dev, GROUP));
        }
        for route in routes {
            let _ = writeln!(out, "    {} {} (table {})", paint(word, code), route_text(route), route.table);
        }
        for rule in rules {
            let _ = writeln!(out, "    {} {}", paint(word, code), rule_text(rule));
        }
    }
    out.push('\n');
    out.push_str(match () {
        () if !status.in_step() => {
            "Routing does not match the configuration. Preview: 'symroute apply --dry-run'. Fix: 'symroute apply'.\n"
        }
        () if plan.managed.is_empty() => "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n",
        () if inactive.is_empty() => "Everything is in place.\n",
        () => "",
    });
    out.push_str(inactive);
    out
}
