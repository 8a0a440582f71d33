//! What is wrong with a host, from the plan, the kernel, the lookups and the facts. Pure: values in, findings out.

mod beside;
mod groups;
mod lookups;
mod policy;
mod uplinks;

use std::collections::HashSet;
use std::net::IpAddr;

use crate::check::Status;
use crate::check::expected::Expected;
use crate::check::facts::Facts;
use crate::check::finding::Finding;
use crate::check::foreign::{Cause, causes};
use crate::check::matrix::{Probe, Target};
use crate::interfaces::Diagnostic;
use crate::policy::Plan;
use crate::snapshot::{Answer, Kind, Snapshot, Way};
use crate::uplinks::{Uplink, restart};

/// A lookup and what the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub probe: Probe,
    pub answer: Answer,
}

impl Asked {
    pub fn is_right(&self) -> bool {
        let Answer::Route(way) = &self.answer else {
            return matches!(self.probe.expected, Expected::NotBy(_) | Expected::Rejected);
        };
        let is_by = |dev: &String, gateway: &Option<IpAddr>| {
            let straight = way.gateway == Some(self.probe.query.to);
            way.kind == Kind::Unicast && way.dev.as_ref() == Some(dev) && (way.gateway == *gateway || straight)
        };
        match &self.probe.expected {
            Expected::Routable => true,
            Expected::Rejected => false,
            Expected::Delivered => way.kind == Kind::Local,
            Expected::Dev(dev) => way.kind == Kind::Unicast && way.dev.as_ref() == Some(dev),
            Expected::NotBy(links) => !way.dev.as_ref().is_some_and(|dev| links.contains(dev)),
            Expected::Way(dev, gateway) => is_by(dev, gateway),
            Expected::AnyOf(ways) => ways.iter().any(|(dev, gateway)| is_by(dev, gateway)),
        }
    }

    pub(super) fn is_received(&self) -> bool {
        self.probe.query.iif.is_some()
    }
}

/// Everything that is known of a host.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    pub plan: &'a Plan,
    /// The uplinks as the files alone have them, in the same order.
    pub by_files: &'a [Uplink],
    /// What symroute-gen writes: the plan of the files, without what is up.
    pub written: &'a Plan,
    /// What `ifup` takes to bring each uplink up again, in the same order.
    pub restarted: &'a [Vec<String>],
    /// Uplinks that `auto` brings up at boot, an index for each.
    pub at_boot: &'a HashSet<usize>,
    /// What is wrong with policy by hand.
    pub by_hand: &'a [Diagnostic],
    pub snapshot: &'a Snapshot,
    pub status: &'a Status,
    pub facts: &'a Facts,
    pub asked: &'a [Asked],
}

/// All findings: what loses packets first.
pub fn findings(host: &Host) -> Vec<Finding> {
    let mut found = Vec::new();
    let causes = &causes(host);
    // The others may follow from it: 'ifup' gives up there.
    host.duplicates(&mut found);
    if host.is_applied() {
        host.groups(&mut found);
        for policy in &host.plan.policies {
            let uplink = &host.plan.uplinks[policy.uplink];
            if uplink.up {
                host.policy(policy, uplink, causes, &mut found);
            }
        }
    } else {
        host.not_applied(causes, &mut found);
    }
    host.shadowed(causes, &mut found);
    host.left_over(&mut found);
    host.duplicated(&mut found);
    host.without_address(&mut found);
    host.defaults(&mut found);
    host.unknown_defaults(&mut found);
    host.metrics(&mut found);
    host.addresses(&mut found);
    host.gateways(&mut found);
    host.down(&mut found);
    if host.is_applied() {
        host.reverse_path(&mut found);
    }
    host.marks(&mut found);
    host.same_address(&mut found);
    host.same_subnet(&mut found);
    host.managers(&mut found);
    host.translations(&mut found);
    host.sockets(&mut found);
    host.by_hand(&mut found);
    host.failed_lookups(causes, &mut found);
    found.sort_by_key(|finding| finding.severity);
    found
}

fn listed(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.len() {
        0..=3 => items.join(", "),
        n => format!("{} and {} more", items[..2].join(", "), n - 2),
    }
}

/// The wrong lookups and what each comes of.
type Causes<'a> = [(&'a Asked, Cause)];

/// The id that accounts for every uplink.
const NOT_APPLIED: &str = "not-applied";

/// What answers do that do not leave by their uplink.
const LOST: &str = "What answers from an address of one provider through another is dropped there: connections from \
                    outside die, and those to the LAN may too.";
const UNBOUND: &str = "Whatever is not bound to an address finds no way out: name lookups, package updates, and servers \
                       that answer from a wildcard socket.";

impl Host<'_> {
    /// The command that takes an uplink down and brings it up again; `forced` where ifup may not know what is up.
    fn restart(&self, uplink: usize, forced: bool) -> String {
        restart(self.restarted.get(uplink).map(Vec::as_slice).unwrap_or_default(), forced)
    }

    /// `answers from A to B leave by DEV via GW`, for the first of the wrong lookups.
    fn what_happens(&self, wrong: &[&Asked]) -> Option<String> {
        let first = wrong.iter().find(|asked| asked.probe.target == Target::Distant).or(wrong.first())?;
        let query = &first.probe.query;
        let who = match (query.from, &query.oif) {
            (Some(from), _) => format!("what {from} sends to {}", query.to),
            (None, Some(oif)) => format!("what a socket bound to {oif} sends to {}", query.to),
            (None, None) => format!("what is sent to {}", query.to),
        };
        Some(match &first.answer {
            Answer::Route(way) => format!("{who} leaves {}", leaves(way)),
            Answer::Refused(errno) => format!("{who} has no way ({})", errno.desc()),
        })
    }
}

fn leaves(way: &Way) -> String {
    let dev = way.dev.as_deref().unwrap_or("no link");
    way.gateway.map_or(format!("straight by {dev}"), |gateway| format!("by {dev} via {gateway}"))
}

/// `sysctl -w` with the name's slashes: a link's name may have dots.
fn sysctl(link: &str, name: &str, value: u8) -> String {
    match link.contains('.') {
        true => format!("sysctl -w net/ipv4/conf/{link}/{name}={value}"),
        false => format!("sysctl -w net.ipv4.conf.{link}.{name}={value}"),
    }
}

const KEEP_SYSCTL: &str = "To keep it over a reboot, put 'NAME = VALUE' into /etc/sysctl.d/60-symroute.conf.";
