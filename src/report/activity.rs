//! Inactive uplinks, the reason, and the command that starts them.

use std::fmt::Write;

use crate::interfaces::Config;
use crate::network::{Family, Snapshot};
use crate::policy::Plan;
use crate::uplinks::{Missing, Selection, Uplink, detached, ifup_targets, restart};

/// A line for each family with inactive uplinks, and one for each of those; empty where all are active.
/// Those that `failed` could not be installed.
pub fn inactive(plan: &Plan, selection: &Selection, config: &Config, snapshot: &Snapshot, failed: &[usize]) -> String {
    let mut out = String::new();
    for family in Family::ALL {
        let selected = |index: &&usize| plan.uplinks[**index].family == family && selection.has(&plan.uplinks[**index]);
        let uplinks = || plan.managed.iter().filter(selected);
        let is_active =
            |index: &usize| plan.uplinks[*index].up && !plan.uplinks[*index].is_faulty() && !failed.contains(index);
        let (count, active) = (uplinks().count(), uplinks().filter(|index| is_active(index)).count());
        if active == count {
            continue;
        }
        let verb = if active == 1 { "is" } else { "are" };
        let _ = writeln!(out, "{active} of {count} {} uplinks {verb} active.", family.version());
        for index in uplinks().filter(|index| !is_active(index)) {
            let uplink = &plan.uplinks[*index];
            let (why, start) = match uplink.missing {
                _ if uplink.is_faulty() => ("its stanza has an error", " 'symroute plan' shows it.".into()),
                None if failed.contains(index) => ("its routes and rules could not be installed", String::new()),
                missing => (missing.map_or("not up", Missing::reason), start(uplink, config, snapshot)),
            };
            let _ = writeln!(out, "{} ({}) is inactive: {why}.{start}", uplink.name, family.version());
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
        ("", "") => "Nothing to do: everything is installed.\n".into(),
        (_, "") => format!("{made}; everything is installed.\n"),
        ("", _) => format!("Nothing to do for the active uplinks.\n{inactive}"),
        _ => format!("{made}.\n{inactive}"),
    }
}

fn start(uplink: &Uplink, config: &Config, snapshot: &Snapshot) -> String {
    let words = ifup_targets(config, snapshot, uplink);
    let up = words.join(" ");
    let is_noted = config.active.iter().any(|(link, _)| uplink.is_on(&link.to_string()));
    match uplink.missing {
        Some(Missing::Link) => " 'ip link' shows the interfaces.".into(),
        Some(Missing::Stay) | None => String::new(),
        _ if is_noted => format!(" Restart it, which cuts its connections: {}", detached(&restart(&words, true))),
        _ => format!(" Start it with 'ifup {up}'."),
    }
}
