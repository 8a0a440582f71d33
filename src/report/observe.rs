//! What was seen in the traffic, as text and as JSON lines (docs/observe.schema.json).

use serde_json::{Value, json};

use super::columns::{Align, Column, columns, paragraph};
use super::explain::outcome_text;
use super::iproute2::rule_words;
use crate::check::finding::Finding;
use crate::network::lookup::{Lookup, Outcome};
use crate::network::{Family, ip_protocol_name};
use crate::observe::cause::{Cause, Program, Reason};
use crate::observe::kinds::{Time, Verdict};
use crate::observe::packet::{ICMP, ICMPV6};
use crate::observe::seen::{Entry, Seen};
use crate::sort::sort_by_key;

/// `22:01:03`, in UTC.
fn clock(time: Time) -> String {
    let seconds = time / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn ip_protocol(number: u8) -> String {
    if number == 58 { "icmpv6".into() } else { ip_protocol_name(number) }
}

/// `192.0.2.10:22`, or the address alone.
fn endpoint(address: std::net::IpAddr, port: u16) -> String {
    match port {
        0 => address.to_string(),
        _ => std::net::SocketAddr::new(address, port).to_string(),
    }
}

fn program(program: &Program) -> String {
    match &program.process {
        Some((pid, name)) => format!("{name}, process {pid}"),
        None => "a socket of the kernel".into(),
    }
}

/// What is wrong, in one sentence.
pub fn entry_summary(seen: &Seen, entry: &Entry) -> String {
    let Entry { kind, cause, .. } = entry;
    let (came_in, left) = (seen.name(kind.came_in), seen.name(kind.left));
    let who = match (&cause.local.forwarded_to, &cause.local.program) {
        _ if cause.local.translated_from.is_some() => String::new(),
        (Some(host), _) if host.ip() != kind.local => format!(" (forwarded to {})", endpoint(host.ip(), host.port())),
        (None, Some(known)) => format!(" ({})", program(known)),
        _ => String::new(),
    };
    let protocol = match ip_protocol(kind.protocol) {
        number if number.starts_with(|c: char| c.is_ascii_digit()) => format!("protocol {number}"),
        name => name,
    };
    let service = match kind.is_server {
        true if kind.is_of_closed_ports() => format!("{protocol} to closed ports of {}{who}", kind.local),
        true => format!("{protocol} to {}{who}", endpoint(kind.local, kind.port)),
        false if kind.port == 0 => format!("{protocol} from {}{who}", kind.local),
        false => format!("{protocol} from {} to port {}{who}", kind.local, kind.port),
    };
    let source = if kind.source == kind.local { String::new() } else { format!(" from {}", kind.source) };
    if let Some(router) = kind.router {
        let leave = format!("leave through {left} to {router}, the gateway of another uplink");
        return match kind.verdict {
            Verdict::AnsweredElsewhere => format!("{service}: came in through {came_in}, replies {leave}"),
            _ => format!("{service}: packets {leave}"),
        };
    }
    match kind.verdict {
        Verdict::AnsweredElsewhere => {
            format!("{service}: came in through {came_in}, replies leave through {left}{source}")
        }
        Verdict::ForeignSource if kind.is_server => {
            format!("{service}: packets leave through {left}, which does not have the address {}", kind.source)
        }
        Verdict::ForeignSource => format!("{service}: leaves through {left}, which does not have this address"),
        Verdict::ArrivedElsewhere => {
            format!("{service}: packets for {} arrive through {came_in}, which does not have this address", kind.local)
        }
        Verdict::Unanswered => format!("{service}: came in through {came_in}, and no reply left"),
    }
}

/// How much there was of it.
pub fn entry_counts(entry: &Entry) -> String {
    let (count, example) = (&entry.count, &entry.count.example);
    let times = match (clock(count.first), clock(count.last)) {
        (first, last) if first == last => format!("at {first} UTC"),
        (first, last) => format!("from {first} to {last} UTC"),
    };
    let direction = if entry.kind.is_server { "from" } else { "to" };
    // An echo request has an identifier instead of ports.
    let port = if matches!(entry.kind.protocol, ICMP | ICMPV6) { 0 } else { example.remote_port };
    format!(
        "{}, {}, {times}; for example {direction} {}",
        counted(count.flows, "flow"),
        counted(count.packets, "packet"),
        endpoint(example.remote, port)
    )
}

/// The rule that decided the lookup, and the route.
fn lookup_text(lookup: &Lookup) -> String {
    let step = match &lookup.outcome {
        Outcome::Route { step, .. } => Some(*step),
        Outcome::Rejected { step, .. } => *step,
        Outcome::OnLink { .. } | Outcome::Unknown(_) => None,
    };
    match step.and_then(|step| lookup.steps.get(step)) {
        Some(step) => {
            let rule = format!("rule {} '{}'", step.rule.priority, rule_words(&step.rule));
            format!("{rule} returns {}", outcome_text(lookup))
        }
        None => outcome_text(lookup),
    }
}

/// Why, in one sentence.
pub fn cause_text(cause: &Cause) -> String {
    let lookup = cause.lookup.as_ref().map_or(String::new(), |(_, lookup)| lookup_text(lookup));
    match cause.reason {
        Reason::Routes => format!("Routing: {lookup}"),
        Reason::WildcardSocket => {
            format!("The program replies without the address of the request, and the kernel selects one: {lookup}")
        }
        Reason::Forwarded => format!(
            "The connection is forwarded to another host. Its replies carry that host's address when the route is \
             selected, so rules by source address do not match: {lookup}"
        ),
        Reason::RoutedHost => {
            format!("A host behind this one sends them, and no rule for its address selects an uplink: {lookup}")
        }
        Reason::NotTranslated => {
            format!("A host behind this one sends them, and the packet filter does not translate its address: {lookup}")
        }
        Reason::TranslatedFrom(host) => {
            format!("The packet filter translates {host} to this address. The route is selected before: {lookup}")
        }
        Reason::BoundSocket => {
            format!("The program has bound its socket to the interface (SO_BINDTODEVICE): {lookup}")
        }
        Reason::Marked(mark) => {
            format!("The packets have the mark {mark:#x}, from their program or the packet filter: {lookup}")
        }
        Reason::NotRoutes => format!(
            "Rules for its address are not the cause ({lookup}). The packets are marked, the packet filter changes \
             their address, or the program selects the interface (IP_PKTINFO)."
        ),
        Reason::Sender => "The sender, a neighbour or the provider sends them to this interface.".into(),
        Reason::SenderDropped => {
            "The sender, a neighbour or the provider sends them to this interface. The kernel drops \
             them, because rp_filter is strict there."
                .into()
        }
        Reason::ReversePath => format!("rp_filter is strict, and replies would leave through another link: {lookup}"),
        Reason::NoRoute => format!("Replies have no route: {lookup}"),
        Reason::Unknown => "No route and no setting accounts for it; the service may be closed.".into(),
    }
}

/// The finding of `check`.
pub fn finding(seen: &Seen, entry: &Entry) -> Finding {
    let kind = &entry.kind;
    let effect = match kind.verdict {
        Verdict::AnsweredElsewhere | Verdict::ForeignSource => {
            "Providers drop packets with a foreign source address, and firewalls drop replies without a request."
        }
        Verdict::ArrivedElsewhere => "These packets depend on the other uplink. With rp_filter, the kernel drops them.",
        Verdict::Unanswered => "The kernel drops the request or cannot send the reply: the flows fail.",
    };
    let make = if kind.verdict == Verdict::ArrivedElsewhere { Finding::warning } else { Finding::error };
    let uplink = [kind.came_in, kind.left].into_iter().flatten().find(|link| seen.uplinks.contains(link));
    let why = cause_text(&entry.cause);
    let why = why.strip_suffix('.').unwrap_or(&why);
    let see = entry.cause.finding.as_ref().map_or(String::new(), |cause| format!(" See {}.", cause.id));
    make(kind.verdict.id(), entry_summary(seen, entry), effect)
        .on(seen.name(uplink), Family::of(&kind.local))
        .note(format!("Seen: {}. Cause: {why}.{see}", entry_counts(entry)))
}

/// The page that says what to do where no command does.
fn page(entry: &Entry) -> &'static str {
    match (&entry.cause.finding, &entry.cause.reason) {
        (Some(finding), _) => finding.id,
        (None, Reason::WildcardSocket) => "wildcard-udp",
        (None, Reason::Forwarded) => "dnat-without-marks",
        (None, _) => entry.kind.verdict.id(),
    }
}

/// An entry as paragraphs. The finding that the reader has seen with one of the entries before is not repeated.
pub fn entry_text(seen: &Seen, entry: &Entry, before: &[&Entry], width: usize) -> String {
    let mut out = paragraph(
        "",
        &format!(
            "{} {}: {}",
            entry.kind.verdict.id(),
            seen.name(entry.kind.left.or(entry.kind.came_in)),
            entry_summary(seen, entry)
        ),
        width,
    );
    out += &paragraph("  seen     ", &entry_counts(entry), width);
    out += &paragraph("  cause    ", &cause_text(&entry.cause), width);
    let fix = entry.cause.finding.as_ref().map_or(&[][..], |finding| &finding.fix);
    if let Some(finding) = &entry.cause.finding {
        if before.iter().any(|other| other.cause.finding.as_ref() == Some(finding)) {
            out += &format!("  finding  {}, as above\n", finding.id);
            return out;
        }
        out += &paragraph("  finding  ", &format!("{}: {}", finding.id, finding.summary), width);
    }
    match fix {
        [] => out += &format!("  page     symroute check --explain {}\n", page(entry)),
        fix => fix.iter().for_each(|command| out += &format!("  fix      {command}\n")),
    }
    out
}

/// Further kinds of flows are not shown as text.
pub const MOST_SHOWN: usize = 20;

const COLUMNS: [Column; 5] = [
    ("UPLINK", Align::Left),
    ("CAME IN", Align::Right),
    ("ANSWERED HERE", Align::Right),
    ("ELSEWHERE", Align::Right),
    ("NOT ANSWERED", Align::Right),
];

/// All counts, then the faults.
pub fn summary_text(seen: &Seen, entries: &[&Entry], width: usize) -> String {
    let row = |index: &u32| {
        let count = seen.links.get(index).copied().unwrap_or_default();
        let numbers = [count.came_in, count.answered_here, count.answered_elsewhere, count.unanswered];
        std::iter::once(seen.name(Some(*index)).to_string()).chain(numbers.map(|number| number.to_string())).collect()
    };
    let mut out = columns(&COLUMNS, &seen.uplinks.iter().map(row).collect::<Vec<Vec<String>>>());
    let mut shown = entries.to_vec();
    if shown.len() > MOST_SHOWN {
        sort_by_key(&mut shown, |entry| std::cmp::Reverse(entry.count.flows));
        shown.truncate(MOST_SHOWN);
    }
    for (at, entry) in shown.iter().enumerate() {
        out.push('\n');
        out += &entry_text(seen, entry, &shown[..at], width);
    }
    if shown.len() < entries.len() {
        let more = counted((entries.len() - shown.len()) as u64, "more kind");
        out += &format!("\n{more} of flows, with fewer flows each: '--json' shows all.\n");
    }
    let notes = losses(seen);
    if !notes.is_empty() {
        out.push('\n');
        notes.iter().for_each(|note| out += &paragraph("", note, width));
    }
    if entries.is_empty() {
        out += "\nOK: no asymmetric packet seen.\n";
    }
    out
}

/// What the counts do not include.
pub fn losses(seen: &Seen) -> Vec<String> {
    let totals = &seen.totals;
    let numbers = [
        (totals.dropped, "dropped by the kernel, because they came faster than they were read"),
        (totals.malformed, "with malformed headers"),
        (totals.kinds_not_fitting, "of further kinds of flows, which are not listed"),
    ];
    let packets = numbers.iter().filter(|(count, _)| *count > 0);
    let mut notes: Vec<String> =
        packets.map(|(count, what)| format!("Not counted: {} {what}.", counted(*count, "packet"))).collect();
    if totals.flows_not_fitting > 0 {
        notes.push(format!("Not counted: {}, for which there was no room.", counted(totals.flows_not_fitting, "flow")));
    }
    if let Some(why) = &seen.file_failed {
        notes.push(format!("The file of packets is incomplete: {why}."));
    }
    notes
}

/// Seconds since 1970.
fn seconds(time: Time) -> f64 {
    time as f64 / 1000.0
}

/// One kind of flow.
pub fn entry_json(seen: &Seen, entry: &Entry) -> Value {
    let Entry { kind, count, cause } = entry;
    let priority = cause.lookup.as_ref().and_then(|(_, lookup)| match &lookup.outcome {
        Outcome::Route { step, .. } => lookup.steps.get(*step).map(|step| step.rule.priority),
        _ => None,
    });
    let process = cause.local.program.as_ref().and_then(|program| program.process.as_ref());
    let link = |link: Option<u32>| link.map(|link| seen.name(Some(link)).to_string());
    json!({
        "event": "flows",
        "id": kind.verdict.id(),
        "fault": entry.is_fault(),
        "came_in": link(kind.came_in),
        "left": link(kind.left),
        "gateway": kind.router.map(|router| router.to_string()),
        "address": kind.local.to_string(),
        "source": kind.source.to_string(),
        "protocol": ip_protocol(kind.protocol),
        "port": Some(kind.port).filter(|port| *port != 0),
        "server": kind.is_server,
        "flows": count.flows,
        "packets": count.packets,
        "first": seconds(count.first),
        "last": seconds(count.last),
        "example": {
            "remote": count.example.remote.to_string(),
            "remote_port": count.example.remote_port,
            "local_port": count.example.local_port,
        },
        "pid": process.map(|(pid, _)| pid),
        "program": process.map(|(_, name)| name),
        "forwarded_to": cause.local.forwarded_to.map(|host| endpoint(host.ip(), host.port())),
        "summary": entry_summary(seen, entry),
        "cause": cause_text(cause),
        "priority": priority,
        "finding": cause.finding.as_ref().map(|finding| finding.id),
        "fix": cause.finding.as_ref().map_or(&[][..], |finding| &finding.fix),
    })
}

/// The names of the uplinks that are observed.
pub fn begin_json(seen: &Seen) -> Value {
    let uplinks: Vec<&str> = seen.uplinks.iter().map(|index| seen.name(Some(*index))).collect();
    json!({"event": "begin", "version": 1, "uplinks": uplinks})
}

/// The counts of all uplinks, at the end.
pub fn end_json(seen: &Seen, is_symmetric: bool) -> Value {
    let uplinks = seen.uplinks.iter().map(|index| {
        let count = seen.links.get(index).copied().unwrap_or_default();
        json!({
            "interface": seen.name(Some(*index)),
            "came_in": count.came_in,
            "answered_here": count.answered_here,
            "answered_elsewhere": count.answered_elsewhere,
            "unanswered": count.unanswered,
        })
    });
    let totals = &seen.totals;
    json!({
        "event": "end",
        "symmetric": is_symmetric,
        "uplinks": Value::from_iter(uplinks),
        "copied": totals.packets,
        "dropped": totals.dropped,
        "malformed": totals.malformed,
        "flows_not_fitting": totals.flows_not_fitting,
        "kinds_not_fitting": totals.kinds_not_fitting,
        "written": totals.written,
        "file_error": seen.file_failed,
    })
}
