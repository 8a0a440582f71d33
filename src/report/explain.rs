//! A walk through the rules, to be read at 3 a.m., and its JSON.

use std::fmt::Write;

use nix::errno::Errno;
use serde_json::{Map, Value, json};

use super::iproute2::{protocol_name, route_json, route_text, rule_json, rule_words, table_name};
use crate::check::walk::{Outcome, Said, Step, Verdict, Walk};
use crate::snapshot::{Answer, Kind, Query, Way};

/// Rules longer than this get no padding.
const WIDEST: usize = 80;

/// The question in `ip route get`'s words.
fn question(query: &Query) -> String {
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
    add("uid", Some(query.uid).filter(|uid| *uid != 0 && query.iif.is_none()).map(|uid| uid.to_string()));
    add("ipproto", Some(query.ip_protocol).filter(|protocol| *protocol != 17).map(protocol_name));
    add("sport", Some(query.sport).filter(|port| *port != 0).map(|port| port.to_string()));
    add("dport", Some(query.dport).filter(|port| *port != 0).map(|port| port.to_string()));
    text
}

/// What came of a rule: the words of the table, and for JSON a stable name.
fn said(step: &Step) -> (&'static str, String) {
    let table = || format!("table {}", table_name(step.rule.table));
    match &step.said {
        Said::No(why) => ("no match", format!("no: {why}")),
        Said::Goto(priority) => ("goto", format!("yes: on to rule {priority}")),
        Said::GotoNowhere(priority) => ("goto", format!("yes, but there is no rule {priority}: on to the next")),
        Said::Nop => ("nop", "yes, and does nothing".into()),
        Said::NoRoute => ("no route", format!("{}: no route", table())),
        Said::Throw(route) => ("throw", format!("{}: {}: on to the next rule", table(), route_text(route))),
        Said::Suppressed(route, why) => {
            ("suppressed", format!("{}: {}, suppressed ({why})", table(), route_text(route)))
        }
        Said::Route(route) => ("route", format!("{}: {}", table(), route_text(route))),
        Said::Refused(Some(route), _) => ("refused", format!("{}: {}", table(), route_text(route))),
        Said::Refused(None, errno) => ("refused", format!("yes: {}", errno.desc())),
        Said::Unsure(why) => ("unsure", format!("cannot be told: {why}")),
        Said::Passed => ("passed", "jumped past".into()),
        Said::NotAsked => ("not asked", "not asked".into()),
    }
}

/// `via 192.0.2.1 dev eth0`, as `ip route get` has it.
fn way_text(way: &Way) -> String {
    let mut text = if way.kind == Kind::Unicast { String::new() } else { format!("{} ", way.kind.name()) };
    if let Some(gateway) = way.gateway {
        let _ = write!(text, "via {gateway} ");
    }
    let _ = write!(text, "dev {}", way.dev.as_deref().unwrap_or("?"));
    text
}

/// The answer in words.
pub fn outcome_text(walk: &Walk) -> String {
    let rule = |step: usize| walk.steps.get(step).map_or(0, |step| step.rule.priority);
    match &walk.outcome {
        Outcome::Route { step, route, ways } => {
            let by = format!("(table {}, rule {})", table_name(route.table), rule(*step));
            match (route.kind(), ways.len()) {
                (Kind::Local, _) => format!("it is for this host itself: {} {by}", route_text(route)),
                (_, 0 | 1) => format!("{} {by}", route_text(route)),
                (_, count) => {
                    let ways: Vec<String> = ways.iter().map(way_text).collect();
                    format!(
                        "one of {count} ways, chosen by a hash or by which router answers: {} {by}",
                        ways.join(", or ")
                    )
                }
            }
        }
        Outcome::OnLink { dev } => format!(
            "no route for a socket bound to {dev}; the kernel then takes the destination for a neighbour there and asks \
             for it by ARP"
        ),
        Outcome::Refused { step, errno, why } => {
            let by = step.map_or(String::new(), |step| format!(" (rule {})", rule(step)));
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("none, '{}'{by}{why}", errno.desc())
        }
        Outcome::Unsure(why) => format!("cannot be told: {why}"),
    }
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Refused(errno) => format!("'{}'", errno.desc()),
        Answer::Route(way) => {
            let mut text = way_text(way);
            if way.table != 0 {
                let _ = write!(text, " table {}", table_name(way.table));
            }
            if let Some(source) = way.source {
                let _ = write!(text, " src {source}");
            }
            text
        }
    }
}

/// Rules, answer, the kernel's answer. `more`: also the rules after the one that decided. `notes` follow.
pub fn explain_text(query: &Query, walk: &Walk, answer: &Answer, more: bool, notes: &[String]) -> String {
    let mut out = format!("{}\n", question(query));
    let shown: Vec<&Step> = walk.steps.iter().filter(|step| more || step.said != Said::NotAsked).collect();
    let words: Vec<String> = shown.iter().map(|step| rule_words(&step.rule)).collect();
    let width = words.iter().map(String::len).filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for (step, words) in shown.iter().zip(&words) {
        let _ = writeln!(out, "{:>7}  {words:width$}  {}", step.rule.priority, said(step).1);
    }
    let _ = writeln!(out, "Answer: {}", outcome_text(walk));
    let theirs = answer_text(answer);
    let _ = match walk.verdict(query, answer) {
        Verdict::Same => writeln!(out, "The kernel says the same: {theirs}"),
        Verdict::Unsure => writeln!(out, "The kernel says: {theirs}"),
        Verdict::SourceCheck => writeln!(
            out,
            "But the kernel drops the packet: {theirs}. Its source check (rp_filter, or a source that is this host's own) \
             does not let {} in by {}.",
            query.from.map_or("it".into(), |from| from.to_string()),
            query.iif.as_deref().unwrap_or("?")
        ),
        Verdict::Differs => writeln!(
            out,
            "THE KERNEL SAYS OTHERWISE: {theirs}\n\
             The kernel is right, and this is a defect of symroute. Please report it, with the output of 'ip rule', \
             'ip route show table all' (with -6 for IPv6) and the question."
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

fn way_json(way: &Way) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("type".into(), way.kind.name().into());
    out.extend(way.gateway.map(|gateway| ("gateway".into(), gateway.to_string().into())));
    out.extend(way.dev.as_deref().map(|dev| ("dev".into(), dev.into())));
    out.extend(Some(way.table).filter(|table| *table != 0).map(|table| ("table".into(), table_name(table).into())));
    out.extend(way.source.map(|source| ("prefsrc".into(), source.to_string().into())));
    out
}

/// The question, every rule with what came of it, the answer and the kernel's, with iproute2's keys.
pub fn explain_json(query: &Query, walk: &Walk, answer: &Answer, notes: &[String]) -> Value {
    let rules = walk.steps.iter().map(|step| {
        let mut out = rule_json(&step.rule);
        let (result, text) = said(step);
        out.insert("result".into(), result.into());
        out.insert("explanation".into(), text.into());
        let route = match &step.said {
            Said::Throw(route) | Said::Suppressed(route, _) | Said::Route(route) | Said::Refused(Some(route), _) => {
                Some(route_json(route))
            }
            _ => None,
        };
        out.extend(route.map(|route| ("route".to_string(), route.into())));
        out
    });
    let priority = |step: Option<usize>| step.and_then(|step| walk.steps.get(step)).map(|step| step.rule.priority);
    let refused = |errno: Errno| json!({"error": errno_name(errno)});
    let ours = match &walk.outcome {
        Outcome::Route { step, ways, .. } => {
            json!({"priority": priority(Some(*step)), "ways": Value::from_iter(ways.iter().map(way_json))})
        }
        Outcome::OnLink { dev } => {
            json!({"priority": null, "ways": [{"type": "unicast", "dev": dev}], "on_link": true})
        }
        Outcome::Refused { step, errno, .. } => json!({"priority": priority(*step), "error": errno_name(*errno)}),
        Outcome::Unsure(why) => json!({"unsure": why}),
    };
    let theirs = match answer {
        Answer::Route(way) => way_json(way).into(),
        Answer::Refused(errno) => refused(*errno),
    };
    let verdict = match walk.verdict(query, answer) {
        Verdict::Same => "same",
        Verdict::SourceCheck => "source check",
        Verdict::Differs => "differs",
        Verdict::Unsure => "unsure",
    };
    json!({
        "from": query.from.map(|from| from.to_string()),
        "to": query.to.to_string(),
        "iif": query.iif,
        "oif": query.oif,
        "mark": format!("{:#x}", query.mark),
        "uid": query.uid,
        "ipproto": protocol_name(query.ip_protocol),
        "sport": query.sport,
        "dport": query.dport,
        "rules": Value::from_iter(rules),
        "explanation": outcome_text(walk),
        "answer": ours,
        "kernel": theirs,
        "verdict": verdict,
        "notes": notes,
    })
}
