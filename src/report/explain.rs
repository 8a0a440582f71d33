//! `symroute explain` as text and JSON: every rule and its result.

use std::fmt::Write;

use nix::errno::Errno;
use serde_json::{Map, Value, json};

use super::iproute2::{route_json, route_text, rule_json, rule_words};
use crate::network::lookup::{Comparison, Lookup, Outcome, RuleVerdict, Step};
use crate::network::{Answer, Kind, Query, ResolvedRoute, ip_protocol_name, table_name};

/// Rules longer than this are not padded.
const WIDEST: usize = 80;

/// The query in the words of `ip route get`.
fn query_text(query: &Query) -> String {
    let mut text = match (query.from, &query.iif) {
        (Some(from), _) => format!("from {from} to {}", query.to),
        (None, _) => format!("to {}", query.to),
    };
    let mut add = |key: &str, value: Option<String>| {
        let _ = value.map(|value| write!(text, " {key} {value}"));
    };
    add("iif", query.iif.clone());
    add("oif", query.oif.clone());
    add("mark", Some(query.mark).filter(|mark| *mark != 0).map(|mark| format!("{mark:#x}")));
    query.selectors().into_iter().for_each(|(word, value)| add(word, Some(value)));
    text
}

/// The result of a rule: a stable name for JSON, and text.
fn verdict(step: &Step) -> (&'static str, String) {
    let table = || format!("table {}", table_name(step.rule.table));
    match &step.verdict {
        RuleVerdict::NoMatch(why) => ("no match", format!("no match: {why}")),
        RuleVerdict::Goto(priority) => ("goto", format!("continues at rule {priority}")),
        RuleVerdict::GotoNowhere(priority) => {
            ("goto", format!("rule {priority} does not exist: continues at the next rule"))
        }
        RuleVerdict::Nop => ("nop", "no action".into()),
        RuleVerdict::NoRoute => ("no route", format!("{}: no route", table())),
        RuleVerdict::Throw(route) => {
            ("throw", format!("{}: {}: continues at the next rule", table(), route_text(route)))
        }
        RuleVerdict::Suppressed(route, why) => {
            ("suppressed", format!("{}: {}, suppressed ({why})", table(), route_text(route)))
        }
        RuleVerdict::Route(route) => ("route", format!("{}: {}", table(), route_text(route))),
        RuleVerdict::Rejected(Some(route), _) => ("rejected", format!("{}: {}", table(), route_text(route))),
        RuleVerdict::Rejected(None, errno) => ("rejected", format!("rejected: {}", errno.desc())),
        RuleVerdict::Unknown(why) => ("unknown", format!("unknown: {why}")),
        RuleVerdict::Skipped => ("skipped", "skipped".into()),
        RuleVerdict::NotEvaluated => ("not evaluated", "not evaluated".into()),
    }
}

/// `via 192.0.2.1 dev eth0`, as `ip route get` has it.
fn resolved_text(route: &ResolvedRoute) -> String {
    let mut text = if route.kind == Kind::Unicast { String::new() } else { format!("{} ", route.kind.name()) };
    if let Some(gateway) = route.gateway {
        let _ = write!(text, "via {gateway} ");
    }
    let _ = write!(text, "dev {}", route.dev.as_deref().unwrap_or("?"));
    text
}

/// The outcome in words.
pub fn outcome_text(lookup: &Lookup) -> String {
    let rule = |step: usize| lookup.steps.get(step).map_or(0, |step| step.rule.priority);
    match &lookup.outcome {
        Outcome::Route { step, route, candidates } => {
            let by = format!("(table {}, rule {})", table_name(route.table), rule(*step));
            match (route.kind(), candidates.len()) {
                (Kind::Local, _) => format!("delivered locally: {} {by}", route_text(route)),
                (_, 0 | 1) => format!("{} {by}", route_text(route)),
                (_, count) => {
                    let candidates: Vec<String> = candidates.iter().map(resolved_text).collect();
                    format!(
                        "one of {count} routes, selected by a hash or by the reachability of the router: {} {by}",
                        candidates.join(", or ")
                    )
                }
            }
        }
        Outcome::OnLink { dev } => format!(
            "no route for a socket bound to {dev}; the kernel treats the destination as on-link there and sends ARP \
             requests"
        ),
        Outcome::Rejected { step, errno, why } => {
            let by = step.map_or(String::new(), |step| format!(" (rule {})", rule(step)));
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("none, '{}'{by}{why}", errno.desc())
        }
        Outcome::Unknown(why) => format!("unknown: {why}"),
    }
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Rejected(errno) => format!("'{}'", errno.desc()),
        Answer::Route(route) => {
            let mut text = resolved_text(route);
            if route.table != 0 {
                let _ = write!(text, " table {}", table_name(route.table));
            }
            if let Some(source) = route.source {
                let _ = write!(text, " src {source}");
            }
            text
        }
    }
}

/// Rules, answer, the kernel's answer, notes. `verbose`: also the rules after the one that decided.
pub fn explain_text(query: &Query, lookup: &Lookup, answer: &Answer, verbose: bool, notes: &[String]) -> String {
    let mut out = format!("{}\n", query_text(query));
    let shown: Vec<&Step> =
        lookup.steps.iter().filter(|step| verbose || step.verdict != RuleVerdict::NotEvaluated).collect();
    let words: Vec<String> = shown.iter().map(|step| rule_words(&step.rule)).collect();
    let width = words.iter().map(String::len).filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for (step, words) in shown.iter().zip(&words) {
        let _ = writeln!(out, "{:>7}  {words:width$}  {}", step.rule.priority, verdict(step).1);
    }
    let _ = writeln!(out, "Answer: {}", outcome_text(lookup));
    let theirs = answer_text(answer);
    let _ = match lookup.compare(query, answer) {
        Comparison::Same => writeln!(out, "The kernel returns the same: {theirs}"),
        Comparison::Unknown => writeln!(out, "The kernel returns: {theirs}"),
        Comparison::SourceCheck => writeln!(
            out,
            "But the kernel drops the packet: {theirs}. Its source check (rp_filter, or a source address of this host) \
             rejects packets{} on {}.",
            query.from.map_or(String::new(), |from| format!(" from {from}")),
            query.iif.as_deref().unwrap_or("?")
        ),
        Comparison::Differs => writeln!(
            out,
            "The kernel returns another route: {theirs}\n\
             The kernel is right; this is a bug in symroute. Report it to the maintainer ('apt show symroute'). Include \
             this command, its output, and the output of 'ip rule' and 'ip route show table all' (with -6 for IPv6)."
        ),
    };
    for note in notes {
        let _ = writeln!(out, "{note}");
    }
    out
}

fn errno_name(errno: Errno) -> String {
    format!("{errno:?}")
}

fn resolved_json(route: &ResolvedRoute) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("type".into(), route.kind.name().into());
    out.extend(route.gateway.map(|gateway| ("gateway".into(), gateway.to_string().into())));
    out.extend(route.dev.as_deref().map(|dev| ("dev".into(), dev.into())));
    out.extend(Some(route.table).filter(|table| *table != 0).map(|table| ("table".into(), table_name(table).into())));
    out.extend(route.source.map(|source| ("prefsrc".into(), source.to_string().into())));
    out
}

/// A rule with its result, and the route that it gave.
fn step_json(step: &Step) -> Value {
    let mut out = rule_json(&step.rule);
    let (result, text) = verdict(step);
    out.insert("result".into(), result.into());
    out.insert("explanation".into(), text.into());
    let route = match &step.verdict {
        RuleVerdict::Throw(route)
        | RuleVerdict::Suppressed(route, _)
        | RuleVerdict::Route(route)
        | RuleVerdict::Rejected(Some(route), _) => Some(route_json(route)),
        _ => None,
    };
    out.extend(route.map(|route| ("route".to_string(), route.into())));
    out.into()
}

fn outcome_json(lookup: &Lookup) -> Value {
    let priority = |step: Option<usize>| step.and_then(|step| lookup.steps.get(step)).map(|step| step.rule.priority);
    match &lookup.outcome {
        Outcome::Route { step, candidates, .. } => {
            json!({"priority": priority(Some(*step)), "routes": Value::from_iter(candidates.iter().map(resolved_json))})
        }
        Outcome::OnLink { dev } => {
            json!({"priority": null, "routes": [{"type": "unicast", "dev": dev}], "on_link": true})
        }
        Outcome::Rejected { step, errno, .. } => json!({"priority": priority(*step), "error": errno_name(*errno)}),
        Outcome::Unknown(why) => json!({"unknown": why}),
    }
}

/// The query, every rule with its result, the answer and the kernel's answer, with iproute2's keys.
pub fn explain_json(query: &Query, lookup: &Lookup, answer: &Answer, notes: &[String]) -> Value {
    let rejected = |errno: Errno| json!({"error": errno_name(errno)});
    let theirs = match answer {
        Answer::Route(route) => resolved_json(route).into(),
        Answer::Rejected(errno) => rejected(*errno),
    };
    let verdict = match lookup.compare(query, answer) {
        Comparison::Same => "same",
        Comparison::SourceCheck => "source check",
        Comparison::Differs => "differs",
        Comparison::Unknown => "unknown",
    };
    json!({
        "from": query.from.map(|from| from.to_string()),
        "to": query.to.to_string(),
        "iif": query.iif,
        "oif": query.oif,
        "mark": format!("{:#x}", query.mark),
        "uid": query.uid,
        "ipproto": ip_protocol_name(query.ip_protocol),
        "sport": query.sport,
        "dport": query.dport,
        "rules": Value::from_iter(lookup.steps.iter().map(step_json)),
        "explanation": outcome_text(lookup),
        "answer": outcome_json(lookup),
        "kernel": theirs,
        "verdict": verdict,
        "notes": notes,
    })
}
