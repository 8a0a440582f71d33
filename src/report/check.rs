//! `symroute check` as text that fits a screen, and as JSON for monitoring (docs/check.schema.json).

use std::fmt::Write;

use serde_json::{Value, json};

use super::columns::{Align, Column, columns, paragraph};
use super::diagnostics::file_and_line;
use super::plan::{addresses, gateway, name, uplink_json};
use crate::check::expected::Expected;
use crate::check::finding::Finding;
use crate::check::input::ProbeResult;
use crate::interfaces::{Config, Files, Severity};
use crate::network::{Answer, Kind, ip_protocol_name, table_name};
use crate::policy::Plan;
use crate::uplinks::{Missing, Selection};

/// The results of a check.
#[derive(Clone, Copy)]
pub struct Checked<'a> {
    pub plan: &'a Plan,
    pub results: &'a [ProbeResult],
    pub findings: &'a [Finding],
    /// How many more there were, which the user ignores.
    pub ignored: usize,
    pub config: &'a Config,
    pub root: &'a dyn Files,
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Rejected(errno) => format!("no route: {}", errno.desc()),
        Answer::Route(route) if route.kind == Kind::Local => "delivered locally".into(),
        Answer::Route(route) => {
            let via = route.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
            format!("{via}dev {} table {}", route.dev.as_deref().unwrap_or("-"), table_name(route.table))
        }
    }
}

fn expected_text(expected: &Expected) -> String {
    match expected {
        Expected::Routable => "any route".into(),
        Expected::Delivered => "delivered locally".into(),
        Expected::Dev(dev) => format!("dev {dev}"),
        Expected::NotThrough(links) => format!("not dev {}", links.join(", ")),
        Expected::Through(dev, Some(gateway)) => format!("via {gateway} dev {dev}"),
        Expected::Through(dev, None) => format!("dev {dev}"),
        Expected::AnyOf(hops) => {
            let hops = hops.iter().map(|(dev, gateway)| expected_text(&Expected::Through(dev.clone(), *gateway)));
            hops.collect::<Vec<_>>().join(" or ")
        }
        Expected::Rejected => "rejected".into(),
    }
}

/// The query as `ip route get` accepts it.
fn query_text(result: &ProbeResult) -> String {
    let query = &result.probe.query;
    let from = query.from.map_or(String::new(), |from| format!(" from {from}"));
    let iif = query.iif.as_ref().map_or(String::new(), |iif| format!(" iif {iif}"));
    let oif = query.oif.as_ref().map_or(String::new(), |oif| format!(" oif {oif}"));
    let selectors: String = query.selectors().iter().map(|(word, value)| format!(" {word} {value}")).collect();
    format!("{}{from}{iif}{oif}{selectors}", query.to)
}

const COLUMNS: [Column; 4] =
    [("UPLINK", Align::Left), ("ADDRESS", Align::Left), ("GATEWAY", Align::Left), ("LOOKUPS", Align::Left)];

/// A line for each uplink: how many of its lookups return the expected route.
fn summary(checked: &Checked, selection: &Selection) -> String {
    let lookups = |uplink: Option<usize>| {
        let of_uplink = checked.results.iter().filter(|result| result.probe.uplink == uplink);
        let (ok, count) = of_uplink.fold((0, 0), |(ok, count), result| (ok + usize::from(result.is_ok()), count + 1));
        (count > 0).then(|| format!("{ok} of {count} ok"))
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (index, uplink) in checked.plan.uplinks.iter().enumerate().filter(|(_, uplink)| selection.has(uplink)) {
        let gateway = gateway(uplink, "(unknown)");
        let state = match lookups(Some(index)) {
            _ if !uplink.up => uplink.missing.map_or("skipped", Missing::state).to_string(),
            None => checked.plan.reason_without(index).unwrap_or("nothing to look up").to_string(),
            Some(lookups) => lookups,
        };
        rows.push(vec![name(uplink), addresses(uplink), gateway, state]);
    }
    if let Some(lookups) = lookups(None) {
        rows.push(vec!["(any)".into(), "no source address".into(), String::new(), lookups]);
    }
    columns(&COLUMNS, &rows)
}

/// How a check is printed.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Also every lookup.
    pub verbose: bool,
    pub color: bool,
    /// The width of the terminal, in columns.
    pub width: usize,
}

pub fn text(checked: &Checked, selection: &Selection, style: Style) -> String {
    let mut out =
        if checked.plan.uplinks.is_empty() { "No uplinks found.\n".to_string() } else { summary(checked, selection) };
    if style.verbose {
        out.push('\n');
        for result in checked.results {
            let mark = if result.is_ok() { "ok    " } else { "FAILED" };
            let expected = match result.is_ok() {
                true => String::new(),
                false => format!("   expected: {}", expected_text(&result.probe.expected)),
            };
            let name = result.probe.target.name();
            let _ = writeln!(
                out,
                "{mark}  {name:<26} {}  ->  {}{expected}",
                query_text(result),
                answer_text(&result.answer)
            );
        }
    }
    for finding in checked.findings {
        out += &finding_text(checked, finding, style);
    }
    out.push('\n');
    out + &conclusion(checked)
}

/// The last line: how many lookups failed, and how many findings there are.
fn conclusion(checked: &Checked) -> String {
    let lookups = checked.results.len();
    let failed = checked.results.iter().filter(|result| !result.is_ok()).count();
    match (checked.findings.first(), failed) {
        (None, 0) if lookups == 0 => "Nothing to check: no uplink is active.\n".into(),
        (None, 0) => format!("OK: all {lookups} route lookups use the expected uplink.\n"),
        (None, _) => {
            format!("{failed} of {lookups} lookups failed; the findings that explain them are ignored.\n")
        }
        (Some(first), _) => {
            let errors = checked.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            let warnings = checked.findings.len() - errors;
            let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
            format!(
                "{}, {}; {failed} of {lookups} lookups failed ('-v' shows them). Details: 'symroute check --explain {}'.\n",
                count(errors, "error"),
                count(warnings, "warning"),
                first.id
            )
        }
    }
}

fn finding_text(checked: &Checked, finding: &Finding, style: Style) -> String {
    let (word, code) = match finding.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning | Severity::Hint => ("warning", "1;33"),
    };
    let word = if style.color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_string() };
    let place = finding.location.map(|location| file_and_line(checked.config, checked.root, location));
    let place = place.map_or(String::new(), |(file, line)| format!(" ({file}:{line})"));
    let mut out = format!("\n{word}: {}{place}\n", finding.id);
    out += &paragraph("  problem  ", &finding.summary, style.width);
    out += &paragraph("  effect   ", &finding.effect, style.width);
    if let Some(before) = &finding.before {
        out += &paragraph("  note     ", before, style.width);
    }
    let mut label = "fix";
    for command in &finding.fix {
        // A command stays on one line, so that it can be copied.
        let _ = writeln!(out, "  {label:<9}{command}");
        label = "";
    }
    if let Some(note) = &finding.note {
        let mut lines = note.lines();
        out += &paragraph("  note     ", lines.next().unwrap_or_default(), style.width);
        // Lines of a configuration stay lines, so that they can be copied.
        lines.for_each(|line| _ = writeln!(out, "  {:<9}{line}", ""));
    }
    out
}

fn answer_json(answer: &Answer) -> Value {
    match answer {
        Answer::Rejected(errno) => json!({"error": errno.desc()}),
        Answer::Route(route) => json!({
            "type": route.kind.name(),
            "gateway": route.gateway.map(|gateway| gateway.to_string()),
            "dev": route.dev,
            "table": table_name(route.table),
            "prefsrc": route.source.map(|source| source.to_string()),
        }),
    }
}

fn expected_json(expected: &Expected) -> Value {
    match expected {
        Expected::Routable => json!({}),
        Expected::Delivered => json!({"type": "local"}),
        Expected::Dev(dev) => json!({"type": "unicast", "dev": dev}),
        Expected::NotThrough(links) => json!({"not_dev": links}),
        Expected::Through(dev, gateway) => {
            json!({"type": "unicast", "dev": dev, "gateway": gateway.map(|gateway| gateway.to_string())})
        }
        Expected::AnyOf(hops) => {
            let hops = hops.iter().map(|(dev, gateway)| expected_json(&Expected::Through(dev.clone(), *gateway)));
            json!({"any_of": Value::from_iter(hops)})
        }
        Expected::Rejected => json!({"rejected": true}),
    }
}

pub fn json(checked: &Checked) -> Value {
    let lookups = checked.results.iter().map(|result| {
        let query = &result.probe.query;
        json!({
            "uplink": result.probe.uplink,
            "target": result.probe.target.name(),
            "from": query.from.map(|from| from.to_string()),
            "to": query.to.to_string(),
            "iif": query.iif,
            "oif": query.oif,
            "uid": query.uid,
            "ipproto": ip_protocol_name(query.ip_protocol),
            "sport": query.sport,
            "dport": query.dport,
            "expected": expected_json(&result.probe.expected),
            "answer": answer_json(&result.answer),
            "ok": result.is_ok(),
        })
    });
    let uplinks = (0..checked.plan.uplinks.len()).map(|index| {
        let mut out = uplink_json(checked.plan, index, checked.config, checked.root);
        let own = || checked.results.iter().filter(move |result| result.probe.uplink == Some(index));
        out.insert("lookups".into(), own().count().into());
        out.insert("failed".into(), own().filter(|result| !result.is_ok()).count().into());
        out
    });
    let findings = checked.findings.iter().map(|finding| {
        let place = finding.location.map(|location| file_and_line(checked.config, checked.root, location));
        json!({
            "id": finding.id,
            "severity": finding.severity.name(),
            "interface": finding.interface,
            "family": finding.family.map(|family| family.name()),
            "file": place.as_ref().map(|place| &place.0),
            "line": place.as_ref().map(|place| place.1),
            "summary": finding.summary,
            "effect": finding.effect,
            "before": finding.before,
            "fix": finding.fix,
            "note": finding.note,
        })
    });
    json!({
        "healthy": checked.findings.is_empty(),
        "ignored": checked.ignored,
        "uplinks": Value::from_iter(uplinks),
        "findings": Value::from_iter(findings),
        "lookups": Value::from_iter(lookups),
    })
}
