//! Which uplinks are not active, why, and what starts them.

use std::fmt::Write;

use crate::interfaces::{Config, Family};
use crate::policy::Plan;
use crate::snapshot::Snapshot;
use crate::uplinks::{Lack, Uplink, restart, restarted};

/// A line for each family with inactive uplinks, and one for each of those; empty where all are active.
pub fn inactive(plan: &Plan, config: &Config, snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for family in [Family::Inet, Family::Inet6] {
        let uplinks = || plan.managed.iter().map(|at| &plan.uplinks[*at]).filter(|uplink| uplink.family == family);
        let (count, active) = (uplinks().count(), uplinks().filter(|uplink| uplink.up).count());
        if active == count {
            continue;
        }
        let verb = if active == 1 { "is" } else { "are" };
        let _ = writeln!(out, "{active} of {count} {} uplinks {verb} active.", name(family));
        for uplink in uplinks().filter(|uplink| !uplink.up) {
            let why = uplink.lacks.map_or("not up", Lack::reason);
            let start = start(uplink, config, snapshot);
            let _ = writeln!(out, "{} ({}) is inactive: {why}.{start}", uplink.name, name(family));
        }
    }
    out
}

/// What an `apply` did, to `managed` uplinks of which some may be `inactive`.
pub fn applied(changes: usize, managed: usize, inactive: &str) -> String {
    let made = match changes {
        0 => String::new(),
        1 => "1 change made".into(),
        n => format!("{n} changes made"),
    };
    match (made.as_str(), inactive) {
        ("", _) if managed == 0 => "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n".into(),
        (_, _) if managed == 0 => format!("{made}; neither IPv4 nor IPv6 has two or more uplinks.\n"),
        ("", "") => "Nothing to do: everything is in place.\n".into(),
        (_, "") => format!("{made}; everything is in place.\n"),
        ("", _) => format!("Nothing to do for the active uplinks.\n{inactive}"),
        _ => format!("{made}.\n{inactive}"),
    }
}

fn name(family: Family) -> &'static str {
    if family == Family::Inet6 { "IPv6" } else { "IPv4" }
}

fn start(uplink: &Uplink, config: &Config, snapshot: &Snapshot) -> String {
    let words = restarted(config, snapshot, uplink);
    let up = words.join(" ");
    let is_noted = config.up_as.iter().any(|(link, _)| uplink.is_on(&link.to_string()));
    match uplink.lacks {
        Some(Lack::Link) => " 'ip link' shows the interfaces.".into(),
        Some(Lack::Stay) | None => String::new(),
        _ if is_noted => format!(" Restart it, which cuts its connections: {}", restart(&words, true)),
        _ => format!(" Start it with 'ifup {up}'."),
    }
}
