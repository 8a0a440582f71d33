//! The findings of a host, from the plan, the kernel, the lookups and the facts. Pure: values in, findings out.

mod environment;
mod groups;
mod lookups;
mod policy;
mod uplinks;

use crate::check::finding::Finding;
use crate::check::foreign::failed_lookups;
use crate::check::input::CheckInput;
use crate::interfaces::Severity;
use crate::sort::sort_by_key;
use crate::uplinks::{detached, restart};

/// All findings, errors first.
pub fn findings(input: &CheckInput) -> Vec<Finding> {
    let mut found = Vec::new();
    let failed = &failed_lookups(input);
    // These may cause the other findings: 'ifup' aborts at such errors.
    input.find_stanza_errors(&mut found);
    input.find_duplicate_addresses(&mut found);
    if input.is_applied() {
        input.find_group_faults(&mut found);
        for policy in &input.plan.policies {
            let uplink = &input.plan.uplinks[policy.uplink];
            if uplink.up {
                input.find_policy_faults(policy, uplink, failed, &mut found);
            }
        }
    } else {
        input.find_not_applied(failed, &mut found);
    }
    input.find_unreached_by_manual(failed, &mut found);
    input.find_shadowing_rules(failed, &mut found);
    input.find_stale_entries(&mut found);
    input.find_duplicated_rules(failed, &mut found);
    input.find_rules_without_address(&mut found);
    input.find_missing_defaults(&mut found);
    input.find_unknown_defaults(&mut found);
    input.find_same_metrics(&mut found);
    input.find_missing_addresses(&mut found);
    input.find_unknown_gateways(&mut found);
    input.find_unknown_interfaces(&mut found);
    input.find_inactive_uplinks(&mut found);
    if input.is_applied() {
        input.find_reverse_path_drops(&mut found);
    }
    input.find_ignored_marks(&mut found);
    input.find_shared_addresses(&mut found);
    input.find_arp_flux(&mut found);
    input.find_other_managers(&mut found);
    input.find_unmarked_translations(&mut found);
    input.find_wildcard_sockets(&mut found);
    input.find_manual_errors(&mut found);
    input.find_failed_lookups(failed, &mut found);
    for finding in found.iter_mut().filter(|finding| BY_LOOKUPS.contains(&finding.id) && !input.has_failed(finding)) {
        finding.severity = Severity::Warning;
    }
    sort_by_key(&mut found, |finding| finding.severity);
    found
}

/// Differences from the plan: errors if a lookup fails, otherwise warnings.
const BY_LOOKUPS: [&str; 7] =
    ["interface-group", NOT_APPLIED, "foreign-route", "rule-missing", "stanza-error", "table-empty", "table-stale"];

/// The items in one line; of more than three, the first two and a count.
fn joined(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.len() {
        0..=3 => items.join(", "),
        n => format!("{} and {} more", items[..2].join(", "), n - 2),
    }
}

/// The id of the one finding for all uplinks.
const NOT_APPLIED: &str = "not-applied";

const EFFECT_WRONG_UPLINK: &str = "Replies sent through the wrong provider are dropped. Incoming connections to this \
                                   address fail; connections from the LAN may fail too.";
/// The same where a finding names no address.
const EFFECT_WRONG_UPLINKS: &str = "Replies sent through the wrong provider are dropped. Incoming connections to the \
                                    uplinks' addresses fail; connections from the LAN may fail too.";
const EFFECT_NO_SOURCE: &str = "Packets from sockets without a source address have no route. Name lookups, package \
                                updates and replies from wildcard sockets may fail.";

impl CheckInput<'_> {
    /// Has a lookup failed for the uplink that the finding is about?
    fn has_failed(&self, finding: &Finding) -> bool {
        self.results.iter().filter(|result| !result.is_ok()).any(|result| {
            let interface = result.probe.uplink.map(|index| &self.plan.uplinks[index].interface);
            let is_of_family = finding.family.is_none_or(|family| family == result.probe.query.family());
            is_of_family && (finding.interface.is_none() || finding.interface.as_ref() == interface)
        })
    }

    /// The command that takes an uplink down and brings it up again; `forced` if ifup's state may be out of date.
    fn restart(&self, uplink: usize, forced: bool) -> String {
        detached(&self.restart_attached(uplink, forced))
    }

    /// The same as a part of a longer command.
    fn restart_attached(&self, uplink: usize, forced: bool) -> String {
        restart(self.ifup_targets.get(uplink).map(Vec::as_slice).unwrap_or_default(), forced)
    }
}

/// The precondition of a command that takes an interface down, or removes an address from it.
fn cuts(interface: &str) -> String {
    format!(
        "This cuts connections through {interface}. Over ssh, run the command unchanged: with 'setsid' it continues \
         when the session ends."
    )
}

/// `sysctl -w` with the name's slashes: an interface name may contain dots.
fn sysctl(interface: &str, name: &str, value: u8) -> String {
    match interface.contains('.') {
        true => format!("sysctl -w net/ipv4/conf/{interface}/{name}={value}"),
        false => format!("sysctl -w net.ipv4.conf.{interface}.{name}={value}"),
    }
}

const KEEP_SYSCTL: &str = "To keep it after a reboot, add 'NAME = VALUE' to /etc/sysctl.d/60-symroute.conf.";
