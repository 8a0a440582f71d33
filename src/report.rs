//! What a person or `jq` reads: diagnostics, the configuration, the plan and the status as text and JSON.
//!
//! Text speaks as `ip rule show` and `ip route show` do, and JSON has iproute2's keys, so that both can be
//! held against what `ip` says.

pub mod check;
mod explain;

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet as Cited};
use bstr::ByteSlice;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::check::{PolicyStatus, Status};
use crate::files::Root;
use crate::interfaces::{At, Config, Diagnostic, Family, Severity};
use crate::policy::{Plan, Policy};
use crate::snapshot::{
    Action, INET6_METRIC, Kind, LOCAL, MAIN, Route, RouteMore, Rule, RuleMore, SCOPE_LINK, State, prefix,
};
use crate::uplinks::Uplink;

pub use explain::{explain_json, explain_text, outcome_text};

/// `RT_TABLE_DEFAULT` (rtnetlink(7)).
const DEFAULT: u32 = 253;
/// A cited line is cut here, in characters.
const LONGEST: usize = 300;

/// A diagnostic's place: file as it was opened, line as ifupdown counts, column in characters, cited text,
/// and the bytes of it to point at.
struct Place {
    file: String,
    line: usize,
    column: usize,
    text: String,
    span: std::ops::Range<usize>,
}

fn place(config: &Config, root: &Root, at: At, word: &[u8]) -> Place {
    let file = &config.files[at.file];
    let raw = file.document.lines().get(at.line).map_or(&b""[..], |_| file.document.raw(at.line));
    let last = raw.strip_suffix(b"\n").unwrap_or(raw).rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let text: String = last.to_str_lossy().trim_end().chars().take(LONGEST).collect();
    let start = text.len() - text.trim_start().len();
    let word = word.lines().next().unwrap_or_default().to_str_lossy();
    let span = match text.find(word.as_ref()) {
        Some(at) if !word.is_empty() => at..at + word.len(),
        _ => start..text.len(),
    };
    Place {
        file: root.locate(&file.path).display().to_string(),
        line: file.document.lines().get(at.line).map_or(1, |line| line.last),
        column: text[..span.start].chars().count() + 1,
        text,
        span,
    }
}

/// As a compiler shows it: `file:line:column`, the cited line, a caret, what to do.
pub fn diagnostic(config: &Config, root: &Root, diagnostic: &Diagnostic, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Hint => Level::INFO.with_name(Some("hint")),
    };
    let mut title = level.primary_title(diagnostic.message.as_str());
    if let Some(id) = diagnostic.id {
        title = title.id(id);
    }
    let help = Level::HELP.message(diagnostic.help.as_str());
    let report = match diagnostic.at {
        Some(at) => {
            let place = place(config, root, at, &diagnostic.word);
            let annotation = AnnotationKind::Primary.span(place.span);
            let cited = Cited::source(place.text).line_start(place.line).path(place.file).annotation(annotation);
            title.element(cited).element(help)
        }
        None => annotate_snippets::Group::with_title(title).element(help),
    };
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[report]) + "\n"
}

/// The same on one line, for hooks: `file:line: message`.
pub fn one_line(config: &Config, root: &Root, diagnostic: &Diagnostic) -> String {
    match diagnostic.at {
        Some(at) => {
            let place = place(config, root, at, &diagnostic.word);
            format!("{}:{}: {}", place.file, place.line, diagnostic.message)
        }
        None => diagnostic.message.clone(),
    }
}

pub fn diagnostics_json<'a>(
    config: &Config,
    root: &Root,
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
) -> Value {
    let one = |diagnostic: &Diagnostic| {
        let place = diagnostic.at.map(|at| place(config, root, at, &diagnostic.word));
        json!({
            "severity": diagnostic.severity.name(),
            "id": diagnostic.id,
            "file": place.as_ref().map(|place| &place.file),
            "line": place.as_ref().map(|place| place.line),
            "column": place.as_ref().map(|place| place.column),
            "message": diagnostic.message,
            "help": diagnostic.help,
        })
    };
    diagnostics.into_iter().map(one).collect()
}

/// Where a logical line begins: file and line.
fn begins(config: &Config, root: &Root, at: At) -> (String, usize) {
    let file = &config.files[at.file];
    (root.locate(&file.path).display().to_string(), file.document.lines()[at.line].first)
}

pub fn config_json(config: &Config, root: &Root) -> Value {
    let text = |bytes: &[u8]| Value::from(bytes.to_str_lossy().into_owned());
    let texts = |list: &[bstr::BString]| Value::from_iter(list.iter().map(|item| text(item)));
    let mut lists = Map::new();
    for (class, names) in &config.lists.allow {
        let key = if class == "auto" { "auto".to_string() } else { format!("allow-{class}") };
        lists.insert(key, texts(names));
    }
    for (key, list) in [
        ("no-auto-down", &config.lists.no_auto_down),
        ("no-scripts", &config.lists.no_scripts),
        ("rename", &config.lists.rename),
    ] {
        if !list.is_empty() {
            lists.insert(key.into(), texts(list));
        }
    }
    let stanzas = config.stanzas.iter().map(|stanza| {
        let place = stanza.at.map(|at| begins(config, root, at));
        let options = stanza.options().into_iter().map(|option| {
            let (file, line) = begins(config, root, option.at);
            json!({"name": text(&option.name), "value": text(&option.value), "file": file, "line": line})
        });
        json!({
            "interface": text(&stanza.interface),
            "family": (stanza.family != Family::Any).then(|| stanza.family.name()),
            "method": text(&stanza.method),
            "inherits": stanza.inherits.as_ref().map(|name| text(name)),
            "file": place.as_ref().map(|place| &place.0),
            "line": place.as_ref().map(|place| place.1),
            "block": stanza.has_block(),
            "options": Value::from_iter(options),
        })
    });
    let mappings = config.mappings.iter().map(|mapping| {
        json!({
            "patterns": texts(&mapping.patterns),
            "script": mapping.script.as_ref().map(|script| text(script)),
            "map": texts(&mapping.maps),
        })
    });
    let files = config.files.iter().map(|file| root.locate(&file.path).display().to_string());
    json!({
        "files": Value::from_iter(files),
        "lists": lists,
        "stanzas": Value::from_iter(stanzas),
        "mappings": Value::from_iter(mappings),
        "diagnostics": diagnostics_json(config, root, &config.diagnostics),
    })
}

pub fn config_text(config: &Config, root: &Root) -> String {
    let mut out = String::new();
    for (class, names) in &config.lists.allow {
        let key = if class == "auto" { "auto".to_string() } else { format!("allow-{class}") };
        let _ = writeln!(out, "{key} {}", bstr::join(" ", names).to_str_lossy());
    }
    for (key, list) in [
        ("no-auto-down", &config.lists.no_auto_down),
        ("no-scripts", &config.lists.no_scripts),
        ("rename", &config.lists.rename),
    ] {
        if !list.is_empty() {
            let _ = writeln!(out, "{key} {}", bstr::join(" ", list).to_str_lossy());
        }
    }
    for mapping in &config.mappings {
        let _ = writeln!(out, "\nmapping {}", bstr::join(" ", &mapping.patterns).to_str_lossy());
    }
    for stanza in &config.stanzas {
        let place = stanza.at.map(|at| begins(config, root, at));
        let place = place.map_or("implicit".into(), |(file, line)| format!("{file}:{line}"));
        let head = format!("iface {} {} {}", stanza.interface, stanza.family, stanza.method);
        let inherits = stanza.inherits.as_ref().map_or(String::new(), |name| format!(" inherits {name}"));
        let _ = writeln!(out, "\n{:<50}# {place}", head + &inherits);
        for option in stanza.options() {
            let (_, line) = begins(config, root, option.at);
            let value = option.value.to_str_lossy().replace('\n', "\\n");
            let _ = writeln!(out, "{:<50}# {line}", format!("    {} {value}", option.name));
        }
    }
    out
}

/// A rule as `ip rule show` has it.
fn rule_text(rule: &Rule) -> String {
    format!("{}:\t{}", rule.priority, rule_words(rule))
}

/// The same without its priority.
fn rule_words(rule: &Rule) -> String {
    let plain = RuleMore::default();
    let more = rule.more.as_deref().unwrap_or(&plain);
    let mut text = if more.not { "not " } else { "" }.to_string();
    let _ = write!(text, "from {}", rule.src.as_ref().map_or("all".into(), prefix));
    let mut add = |key: &str, value: Option<String>| {
        let _ = value.map(|value| write!(text, " {key} {value}"));
    };
    let range = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    add("to", more.dst.as_ref().map(prefix));
    add("tos", Some(more.tos).filter(|tos| *tos != 0).map(|tos| format!("{tos:#x}")));
    add(
        "fwmark",
        more.mark
            .map(|mark| [Some(fwmark(mark).0), fwmark(mark).1].into_iter().flatten().collect::<Vec<_>>().join("/")),
    );
    add("iif", more.iif.clone());
    add("oif", rule.oif.clone());
    add("uidrange", more.uids.map(|(first, last)| format!("{first}-{last}")));
    add("ipproto", more.ip_protocol.map(protocol_name));
    add("sport", more.sports.map(range));
    add("dport", more.dports.map(range));
    let table = if more.l3mdev { "[l3mdev-table]".into() } else { table_name(rule.table) };
    match more.action {
        Action::Lookup => add("lookup", Some(table)),
        Action::Goto(priority) => add("goto", Some(priority.to_string())),
        action => text.push_str(&format!(" {}", action_name(action))),
    }
    if let Some(length) = rule.suppress_prefixlen {
        let _ = write!(text, " suppress_prefixlength {length}");
    }
    if let Some(group) = more.suppress_ifgroup {
        let _ = write!(text, " suppress_ifgroup {group}");
    }
    text + if more.unknown { " and more" } else { "" }
}

/// Mark and mask; no mask where all bits count.
fn fwmark((mark, mask): (u32, u32)) -> (String, Option<String>) {
    (format!("{mark:#x}"), (mask != u32::MAX).then(|| format!("{mask:#x}")))
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Lookup => "lookup",
        Action::Goto(_) => "goto",
        Action::Nop => "nop",
        Action::Unreachable => "unreachable",
        Action::Prohibit => "prohibit",
        Action::Blackhole | Action::Other(_) => "blackhole",
    }
}

/// As iproute2 names the protocols that a rule is likely to have.
fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "ipv6-icmp".into(),
        number => number.to_string(),
    }
}

/// A route as `ip route show table N` has it.
fn route_text(route: &Route) -> String {
    let plain = RouteMore::default();
    let more = route.more.as_deref().unwrap_or(&plain);
    let leads = matches!(more.kind, Kind::Unicast | Kind::Local | Kind::Broadcast | Kind::Anycast | Kind::Multicast);
    let mut text = if more.kind == Kind::Unicast { String::new() } else { format!("{} ", more.kind.name()) };
    let of_route = Route { dev: route.dev.clone().filter(|_| leads), ..route.clone() }.to_string();
    text.push_str(of_route.rsplit_once(" table ").map_or(of_route.as_str(), |(text, _)| text));
    if let Some(src) = &more.src {
        let _ = write!(text, " from {}", prefix(src));
    }
    let unset = if route.family == Family::Inet6 { [0, INET6_METRIC] } else { [0, 0] };
    if !unset.contains(&route.metric) {
        let _ = write!(text, " metric {}", route.metric);
    }
    if let Some(id) = more.nexthop_id {
        let _ = write!(text, " nhid {id}");
    }
    for hop in &more.nexthops {
        text.push_str(" nexthop");
        if let Some(gateway) = hop.gateway {
            let _ = write!(text, " via {gateway}");
        }
        let _ = write!(text, " dev {}{}", hop.dev.as_deref().unwrap_or("?"), state_text(hop.state));
    }
    text + state_text(route.state)
}

fn state_text(state: State) -> &'static str {
    match (state.dead, state.linkdown) {
        (false, false) => "",
        (false, true) => " linkdown",
        (true, false) => " dead",
        (true, true) => " dead linkdown",
    }
}

fn table_name(table: u32) -> String {
    match table {
        MAIN => "main".into(),
        LOCAL => "local".into(),
        DEFAULT => "default".into(),
        number => number.to_string(),
    }
}

fn route_json(route: &Route) -> Map<String, Value> {
    let plain = RouteMore::default();
    let more = route.more.as_deref().unwrap_or(&plain);
    let mut out = Map::new();
    if more.kind != Kind::Unicast {
        out.insert("type".into(), more.kind.name().into());
    }
    let dst = if route.dst.prefix_len() == 0 { "default".into() } else { prefix(&route.dst) };
    out.insert("dst".into(), dst.into());
    if let Some(src) = &more.src {
        out.insert("from".into(), prefix(src).into());
    }
    if let Some(gateway) = route.gateway {
        out.insert("gateway".into(), gateway.to_string().into());
    }
    if let Some(dev) = &route.dev {
        out.insert("dev".into(), dev.as_str().into());
    }
    out.insert("table".into(), table_name(route.table).into());
    out.insert("protocol".into(), route.protocol.to_string().into());
    if route.scope == SCOPE_LINK {
        out.insert("scope".into(), "link".into());
    }
    if let Some(source) = more.prefsrc {
        out.insert("prefsrc".into(), source.to_string().into());
    }
    if route.metric != 0 {
        out.insert("metric".into(), route.metric.into());
    }
    if let Some(id) = more.nexthop_id {
        out.insert("nhid".into(), id.into());
    }
    let flags = |onlink: bool, state: State| {
        let named = [("dead", state.dead), ("onlink", onlink), ("linkdown", state.linkdown)];
        Value::from_iter(named.into_iter().filter(|(_, set)| *set).map(|(name, _)| name))
    };
    out.insert("flags".into(), flags(route.onlink, route.state));
    if !more.nexthops.is_empty() {
        let nexthops = more.nexthops.iter().map(|hop| {
            let mut out = Map::new();
            out.extend(hop.gateway.map(|gateway| ("gateway".into(), gateway.to_string().into())));
            out.extend(hop.dev.as_deref().map(|dev| ("dev".into(), dev.into())));
            out.insert("weight".into(), hop.weight.into());
            out.insert("flags".into(), flags(hop.onlink, hop.state));
            out
        });
        out.insert("nexthops".into(), Value::from_iter(nexthops));
    }
    out
}

fn rule_json(rule: &Rule) -> Map<String, Value> {
    let plain = RuleMore::default();
    let more = rule.more.as_deref().unwrap_or(&plain);
    let mut out = Map::new();
    let mut add = |key: &str, value: Option<Value>| out.extend(value.map(|value| (key.to_string(), value)));
    let length = |net: &Option<IpNet>| {
        net.filter(|net| net.prefix_len() < net.max_prefix_len()).map(|net| net.prefix_len().into())
    };
    add("priority", Some(rule.priority.into()));
    add("not", more.not.then_some(Value::Null));
    add("src", Some(rule.src.map_or("all".into(), |src| src.addr().to_string()).into()));
    add("srclen", length(&rule.src));
    add("dst", more.dst.map(|dst| dst.addr().to_string().into()));
    add("dstlen", length(&more.dst));
    add("tos", Some(more.tos).filter(|tos| *tos != 0).map(|tos| format!("{tos:#x}").into()));
    add("fwmark", more.mark.map(|mark| fwmark(mark).0.into()));
    add("fwmask", more.mark.and_then(|mark| fwmark(mark).1).map(Value::from));
    add("iif", more.iif.as_deref().map(Value::from));
    add("oif", rule.oif.as_deref().map(Value::from));
    add("uid_start", more.uids.map(|(first, _)| first.into()));
    add("uid_end", more.uids.map(|(_, last)| last.into()));
    add("ipproto", more.ip_protocol.map(|protocol| protocol_name(protocol).into()));
    for (key, ports) in [("sport", more.sports), ("dport", more.dports)] {
        if let Some((first, last)) = ports.filter(|(first, last)| first != last) {
            add(&format!("{key}_start"), Some(first.into()));
            add(&format!("{key}_end"), Some(last.into()));
        } else {
            add(key, ports.map(|(first, _)| first.into()));
        }
    }
    match more.action {
        Action::Lookup if more.l3mdev => add("l3mdev", Some(Value::Null)),
        Action::Lookup => add("table", Some(table_name(rule.table).into())),
        Action::Goto(priority) => add("goto", Some(priority.into())),
        Action::Nop => add("nop", Some(Value::Null)),
        action => add("action", Some(action_name(action).into())),
    }
    add("suppress_prefixlen", rule.suppress_prefixlen.map(Value::from));
    add("suppress_ifgroup", more.suppress_ifgroup.map(|group| group.to_string().into()));
    add("protocol", Some(rule.protocol.to_string().into()));
    out
}

/// What main's default route is to this uplink.
fn main_default(plan: &Plan, at: usize) -> String {
    let uplink = &plan.uplinks[at];
    match (plan.primary.get(&uplink.family), plan.metrics.get(&at), uplink.metric) {
        (Some(primary), ..) if *primary == at => "main's default route".into(),
        _ if !uplink.in_main => "no default route in main".into(),
        (_, Some(metric), _) => format!("second choice in main, metric {metric}"),
        (_, None, Some(metric)) => format!("second choice in main, metric {metric}"),
        _ => "default route in main".into(),
    }
}

fn addresses(uplink: &Uplink) -> String {
    let list: Vec<String> = uplink.sources.iter().map(|source| source.net.to_string()).collect();
    match list.len() {
        0 => "no address yet".into(),
        1..=3 => list.join(" "),
        more => format!("{} and {} more", list[..2].join(" "), more - 2),
    }
}

/// The uplinks in a few lines, aligned.
pub fn summary(plan: &Plan) -> String {
    table(plan, |_| String::new())
}

/// The same with something before each uplink.
fn table(plan: &Plan, before: impl Fn(usize) -> String) -> String {
    if plan.uplinks.is_empty() {
        return "No uplinks found.\n".into();
    }
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (at, uplink) in plan.uplinks.iter().enumerate() {
        let gateway = uplink.gateway.map_or("gateway by DHCP or RA".into(), |gateway| format!("via {gateway}"));
        let numbers = match (plan.policy(at), plan.reason_without(at)) {
            (Some(policy), _) => format!("table {} priority {}", policy.table, policy.priority),
            (None, reason) => reason.unwrap_or_default().into(),
        };
        let mut last = main_default(plan, at);
        if !uplink.up {
            last.push_str(", down");
        }
        rows.push([uplink.label(), addresses(uplink), gateway, numbers, last]);
    }
    let mut out = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    for (at, row) in rows.iter().enumerate() {
        out.push_str(&before(at));
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", row[4]);
    }
    out
}

/// The plan in full: the summary, then each uplink's routes and rules.
pub fn plan_text(plan: &Plan) -> String {
    let mut out = summary(plan);
    for policy in &plan.policies {
        let _ = writeln!(out, "\n{}: {}", plan.uplinks[policy.uplink].label(), reads_as(policy));
        for route in &policy.routes {
            let _ = writeln!(out, "    {}", route_text(&route.item));
        }
        for rule in &policy.rules {
            let _ = writeln!(out, "    {}", rule_text(&rule.item));
        }
    }
    out
}

fn reads_as(policy: &Policy) -> String {
    format!("table {}, layout {}", policy.table, policy.layout.name())
}

fn uplink_json(plan: &Plan, at: usize, config: &Config, root: &Root) -> Map<String, Value> {
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
    json!({"uplinks": Value::from_iter(uplinks), "diagnostics": diagnostics_json(config, root, diagnostics)})
}

pub fn status_json(plan: &Plan, status: &Status, config: &Config, root: &Root) -> Value {
    let with = |mut item: Map<String, Value>, in_place: bool| {
        item.insert("state".into(), if in_place { "in place" } else { "missing" }.into());
        item
    };
    let uplinks = (0..plan.uplinks.len()).map(|at| {
        let mut out = uplink_json(plan, at, config, root);
        let found = status.policies.iter().find(|policy| policy.uplink == at);
        let routes =
            found.iter().flat_map(|found| &found.routes).map(|route| with(route_json(&route.item), route.in_place));
        let rules = found.iter().flat_map(|found| &found.rules).map(|rule| with(rule_json(&rule.item), rule.in_place));
        out.insert("routes".into(), Value::from_iter(routes));
        out.insert("rules".into(), Value::from_iter(rules));
        out
    });
    json!({
        "in_step": status.in_step(),
        "uplinks": Value::from_iter(uplinks),
        "left_over": {
            "routes": Value::from_iter(status.left_over_routes.iter().map(route_json)),
            "rules": Value::from_iter(status.left_over_rules.iter().map(rule_json)),
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
        found.routes.iter().filter(|route| !route.in_place).count()
            + found.rules.iter().filter(|rule| !rule.in_place).count()
    };
    let (word, color) = match (found.map(missing), plan.managed.contains(&at)) {
        (Some(0), _) => ("in place".into(), "32"),
        (Some(missing), _) => (format!("{missing} MISSING"), "31"),
        (None, true) if plan.uplinks[at].up => ("waiting".into(), "33"),
        (None, true) => ("down".into(), "33"),
        (None, false) => ("-".into(), ""),
    };
    Standing { word, color }
}

pub fn status_text(plan: &Plan, status: &Status, color: bool) -> String {
    let plain = |text: &str, code: &str| match color && !code.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_string(),
    };
    let states: Vec<Standing> = (0..plan.uplinks.len()).map(|at| state_of(plan, status, at)).collect();
    let width = states.iter().map(|state| state.word.len()).max().unwrap_or(0);
    let mut out = table(plan, |at| format!("{}  ", plain(&format!("{:width$}", states[at].word), states[at].color)));
    let paint = |text: &str, code: &str| plain(&format!("{text:<9}"), code);
    let state = |in_place: bool| if in_place { paint("in place", "32") } else { paint("MISSING", "31") };
    for policy in &status.policies {
        let planned = plan.policies.iter().find(|planned| planned.uplink == policy.uplink);
        let _ =
            writeln!(out, "\n{}: {}", plan.uplinks[policy.uplink].label(), planned.map(reads_as).unwrap_or_default());
        for route in &policy.routes {
            let _ = writeln!(out, "    {} {}", state(route.in_place), route_text(&route.item));
        }
        for rule in &policy.rules {
            let _ = writeln!(out, "    {} {}", state(rule.in_place), rule_text(&rule.item));
        }
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
            "In the same tables or priorities, made by somebody else:",
            "not ours",
            "33",
            &status.foreign_routes,
            &status.foreign_rules,
        ),
    ] {
        if !routes.is_empty() || !rules.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for route in routes {
            let _ = writeln!(out, "    {} {} (table {})", paint(word, code), route_text(route), route.table);
        }
        for rule in rules {
            let _ = writeln!(out, "    {} {}", paint(word, code), rule_text(rule));
        }
    }
    let down = plan.managed.iter().any(|at| !plan.uplinks[*at].up);
    let _ = writeln!(
        out,
        "\n{}",
        match () {
            () if !status.in_step() => "Out of step: 'symroute apply' mends it, 'symroute apply --dry-run' shows how.",
            () if plan.managed.is_empty() => "No family has two uplinks: nothing is wanted of the kernel.",
            () if status.policies.is_empty() => "No uplink is up: nothing is wanted of the kernel.",
            () if down => "Everything is in place for what is up.",
            () => "Everything is in place.",
        }
    );
    out
}
