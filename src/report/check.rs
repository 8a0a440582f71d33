//! `symroute check` as text that fits a screen, and as JSON for monitoring (docs/check.schema.json).

use std::fmt::Write;

use serde_json::{Value, json};

use super::diagnostics::begins;
use super::iproute2::table_name;
use super::plan::{addresses, uplink_json};
use crate::check::expected::Expected;
use crate::check::finding::Finding;
use crate::check::findings::Asked;
use crate::files::Root;
use crate::interfaces::{Config, Severity};
use crate::policy::Plan;
use crate::snapshot::{Answer, Kind};
use crate::uplinks::Lack;

/// Columns of a finding's text.
const WIDTH: usize = 96;

/// What a check found, ready to be told.
#[derive(Debug, Clone, Copy)]
pub struct Checked<'a> {
    pub plan: &'a Plan,
    pub asked: &'a [Asked],
    pub findings: &'a [Finding],
    pub config: &'a Config,
    pub root: &'a Root,
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Refused(errno) => format!("refused: {}", errno.desc()),
        Answer::Route(way) if way.kind == Kind::Local => "taken in".into(),
        Answer::Route(way) => {
            let via = way.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
            format!("{via}dev {} table {}", way.dev.as_deref().unwrap_or("-"), table_name(way.table))
        }
    }
}

fn expected_text(expected: &Expected) -> String {
    match expected {
        Expected::Routable => "any route".into(),
        Expected::Delivered => "taken in".into(),
        Expected::Dev(dev) => format!("dev {dev}"),
        Expected::NotBy(links) => format!("not dev {}", links.join(", ")),
        Expected::Way(dev, Some(gateway)) => format!("via {gateway} dev {dev}"),
        Expected::Way(dev, None) => format!("dev {dev}"),
        Expected::AnyOf(ways) => {
            let ways = ways.iter().map(|(dev, gateway)| expected_text(&Expected::Way(dev.clone(), *gateway)));
            ways.collect::<Vec<_>>().join(" or ")
        }
        Expected::Rejected => "rejected".into(),
    }
}

/// As `ip route get` takes it.
fn question(asked: &Asked) -> String {
    let query = &asked.probe.query;
    let from = query.from.map_or(String::new(), |from| format!(" from {from}"));
    let iif = query.iif.as_ref().map_or(String::new(), |iif| format!(" iif {iif}"));
    let oif = query.oif.as_ref().map_or(String::new(), |oif| format!(" oif {oif}"));
    format!("{}{from}{iif}{oif}", query.to)
}

/// A line for each uplink: how many of its lookups are right.
fn summary(checked: &Checked) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    let mut verdicts: Vec<(bool, String)> = Vec::new();
    let verdict = |at: Option<usize>| {
        let of = checked.asked.iter().filter(|asked| asked.probe.uplink == at);
        let (right, all) = of.fold((0, 0), |(right, all), asked| (right + usize::from(asked.is_right()), all + 1));
        (right == all, all, format!("{right} of {all} lookups right"))
    };
    for (at, uplink) in checked.plan.uplinks.iter().enumerate() {
        let (fine, all, text) = verdict(Some(at));
        let gateway = uplink.gateway.map_or("no gateway known".into(), |gateway| format!("via {gateway}"));
        let text = match () {
            () if !uplink.up => uplink.lacks.map_or("skipped", Lack::state).to_string(),
            () if all == 0 => checked.plan.reason_without(at).unwrap_or("nothing to look up").to_string(),
            () => text,
        };
        rows.push([uplink.name.clone(), uplink.family.to_string(), addresses(uplink), gateway]);
        verdicts.push((fine, text));
    }
    let (fine, all, text) = verdict(None);
    if all > 0 {
        rows.push(["(any)".into(), String::new(), "no source address".into(), String::new()]);
        verdicts.push((fine, text));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut out = String::new();
    for (row, (_, text)) in rows.iter().zip(verdicts) {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{text}");
    }
    out
}

/// Words in lines of [`WIDTH`], the first one behind `label`, all indented.
fn paragraph(out: &mut String, label: &str, text: &str) {
    let mut line = format!("  {label:<6}");
    let indent = line.len();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > indent {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(indent);
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

pub fn text(checked: &Checked, verbose: bool, color: bool) -> String {
    let mut out = if checked.plan.uplinks.is_empty() { "No uplinks found.\n".to_string() } else { summary(checked) };
    if verbose {
        out.push('\n');
        for asked in checked.asked {
            let mark = if asked.is_right() { "right" } else { "WRONG" };
            let expected = match asked.is_right() {
                true => String::new(),
                false => format!("   expected: {}", expected_text(&asked.probe.expected)),
            };
            let name = asked.probe.target.name();
            let _ =
                writeln!(out, "{mark}  {name:<22} {}  ->  {}{expected}", question(asked), answer_text(&asked.answer));
        }
    }
    for finding in checked.findings {
        let (word, code) = match finding.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning | Severity::Hint => ("warning", "1;33"),
        };
        let word = if color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_string() };
        let place = finding.at.map(|at| begins(checked.config, checked.root, at));
        let place = place.map_or(String::new(), |(file, line)| format!(" ({file}:{line})"));
        let _ = writeln!(out, "\n{word}: {}{place}", finding.id);
        paragraph(&mut out, "seen", &finding.seen);
        paragraph(&mut out, "why", &finding.why);
        let mut label = "mend";
        if let Some(before) = &finding.before {
            paragraph(&mut out, label, before);
            label = "";
        }
        for command in &finding.mend {
            // Commands stay on one line, to be copied.
            let _ = writeln!(out, "  {label:<6}{command}");
            label = "";
        }
        if let Some(advice) = &finding.advice {
            let mut lines = advice.lines();
            paragraph(&mut out, label, lines.next().unwrap_or_default());
            // Lines of a configuration, to be copied.
            lines.for_each(|line| _ = writeln!(out, "  {:<6}{line}", ""));
        }
    }
    let lookups = checked.asked.len();
    let wrong = checked.asked.iter().filter(|asked| !asked.is_right()).count();
    out.push('\n');
    match (checked.findings.first(), wrong) {
        (None, 0) if lookups == 0 => out.push_str("Nothing to prove: no family has an uplink that is up.\n"),
        (None, 0) => _ = writeln!(out, "All is symmetric: the kernel answered {lookups} lookups, every one right."),
        (None, _) => {
            _ = writeln!(out, "{wrong} of {lookups} lookups failed; the findings that account for them are ignored.")
        }
        (Some(first), _) => {
            let errors = checked.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            let warnings = checked.findings.len() - errors;
            let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
            let _ = writeln!(
                out,
                "{}, {}; {wrong} of {lookups} lookups wrong ('-v' shows them). 'symroute check --explain {}' says more.",
                count(errors, "error"),
                count(warnings, "warning"),
                first.id
            );
        }
    }
    out
}

fn answer_json(answer: &Answer) -> Value {
    match answer {
        Answer::Refused(errno) => json!({"error": errno.desc()}),
        Answer::Route(way) => json!({
            "type": way.kind.name(),
            "gateway": way.gateway.map(|gateway| gateway.to_string()),
            "dev": way.dev,
            "table": table_name(way.table),
            "prefsrc": way.source.map(|source| source.to_string()),
        }),
    }
}

fn expected_json(expected: &Expected) -> Value {
    match expected {
        Expected::Routable => json!({}),
        Expected::Delivered => json!({"type": "local"}),
        Expected::Dev(dev) => json!({"type": "unicast", "dev": dev}),
        Expected::NotBy(links) => json!({"not_dev": links}),
        Expected::Way(dev, gateway) => {
            json!({"type": "unicast", "dev": dev, "gateway": gateway.map(|gateway| gateway.to_string())})
        }
        Expected::AnyOf(ways) => {
            let ways = ways.iter().map(|(dev, gateway)| expected_json(&Expected::Way(dev.clone(), *gateway)));
            json!({"any_of": Value::from_iter(ways)})
        }
        Expected::Rejected => json!({"rejected": true}),
    }
}

pub fn json(checked: &Checked) -> Value {
    let lookups = checked.asked.iter().map(|asked| {
        let query = &asked.probe.query;
        json!({
            "uplink": asked.probe.uplink,
            "target": asked.probe.target.name(),
            "from": query.from.map(|from| from.to_string()),
            "to": query.to.to_string(),
            "iif": query.iif,
            "oif": query.oif,
            "expected": expected_json(&asked.probe.expected),
            "answer": answer_json(&asked.answer),
            "right": asked.is_right(),
        })
    });
    let uplinks = (0..checked.plan.uplinks.len()).map(|at| {
        let mut out = uplink_json(checked.plan, at, checked.config, checked.root);
        let own = || checked.asked.iter().filter(move |asked| asked.probe.uplink == Some(at));
        out.insert("lookups".into(), own().count().into());
        out.insert("wrong".into(), own().filter(|asked| !asked.is_right()).count().into());
        out
    });
    let findings = checked.findings.iter().map(|finding| {
        let place = finding.at.map(|at| begins(checked.config, checked.root, at));
        json!({
            "id": finding.id,
            "severity": finding.severity.name(),
            "interface": finding.interface,
            "family": finding.family.map(|family| family.name()),
            "file": place.as_ref().map(|place| &place.0),
            "line": place.as_ref().map(|place| place.1),
            "seen": finding.seen,
            "why": finding.why,
            "before": finding.before,
            "mend": finding.mend,
            "advice": finding.advice,
        })
    });
    json!({
        "healthy": checked.findings.is_empty(),
        "uplinks": Value::from_iter(uplinks),
        "findings": Value::from_iter(findings),
        "lookups": Value::from_iter(lookups),
    })
}
