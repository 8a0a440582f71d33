//! Deciding: from uplinks to a plan. Tables and priorities are allotted, routes and rules laid out, and one
//! uplink per family is chosen for main's default route.

mod cover;
mod device;
pub(crate) mod difference;
pub(crate) mod group;
pub(crate) mod layout;
pub(crate) mod networks;
pub(crate) mod numbers;

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use self::group::Group;
use self::layout::{Numbers, Surroundings};
use self::networks::{Hop, Networks};
use self::numbers::SLOT;
use crate::interfaces::command::Meeting;
use crate::interfaces::{Diagnostic, Family, Severity};
use crate::snapshot::{Route, Rule, Snapshot};
use crate::tables::Names;
use crate::uplinks::{Found, Layout, Origin, Skipped, Uplink};

/// Something that comes and goes with a stanza (an index into `Config::stanzas`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    pub item: T,
    pub stanza: usize,
}

/// What one uplink needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Index into `Plan::uplinks`.
    pub uplink: usize,
    pub table: u32,
    pub priority: u32,
    pub layout: Layout,
    pub routes: Vec<Placed<Route>>,
    pub rules: Vec<Placed<Rule>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub uplinks: Vec<Uplink>,
    /// Uplinks that are to have a policy, whether or not all is known for it yet.
    pub managed: Vec<usize>,
    pub policies: Vec<Policy>,
    /// The interface group that the rules name, and whose interfaces are in it.
    pub group: Group,
    /// Main's default route by family: the uplink that has it.
    pub primary: HashMap<Family, usize>,
    /// Metrics for main's default routes that the stanzas lack, by uplink.
    pub metrics: HashMap<usize, u32>,
    /// Main's default routes that belong to no uplink.
    pub unknown_defaults: Vec<Route>,
    /// What stands in the way of a plan, or looks wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// Default routes of one metric that the administrator wrote so; only an edit by hand mends them.
    pub clashes: Vec<Diagnostic>,
}

impl Plan {
    pub fn policy(&self, uplink: usize) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.uplink == uplink)
    }

    /// Does the family have more than one way out?
    pub fn is_multihomed(&self, family: Family) -> bool {
        is_multihomed(&self.uplinks, family)
    }

    /// Priorities of its uplinks, and of rules that the kernel has.
    pub fn priorities(&self, snapshot: Option<&Snapshot>) -> HashSet<u32> {
        let of_uplinks = self.policies.iter().flat_map(|policy| policy.priority..policy.priority + SLOT);
        let rules = snapshot.iter().flat_map(|snapshot| &snapshot.rules);
        of_uplinks.chain(rules.map(|rule| rule.priority)).collect()
    }

    /// Why an uplink has no policy, if it has none.
    pub fn reason_without(&self, uplink: usize) -> Option<&'static str> {
        let it = &self.uplinks[uplink];
        match () {
            () if self.policy(uplink).is_some() => None,
            () if it.skipped.is_some() => it.skipped.map(Skipped::reason),
            () if it.hand_written => Some("written by hand in its stanza, left alone"),
            () if it.wish.enabled == Some(false) => Some("left alone: its stanza says 'symroute no'"),
            () if !self.is_multihomed(it.family) => Some("the only uplink of its family: nothing to do"),
            () if it.dynamic => Some("table and rules when it is up"),
            () => Some("no address to route by"),
        }
    }
}

fn is_multihomed(uplinks: &[Uplink], family: Family) -> bool {
    uplinks.iter().filter(|uplink| uplink.family == family && uplink.skipped.is_none()).count() > 1
}

fn is_managed(uplinks: &[Uplink], uplink: &Uplink) -> bool {
    let wanted = uplink.wish.enabled.unwrap_or_else(|| is_multihomed(uplinks, uplink.family));
    wanted && !uplink.hand_written && uplink.skipped.is_none()
}

/// The plan for the uplinks that were found: a pure function of configuration and snapshot. `layout` is what
/// the command line asks for; a stanza's own `symroute-layout` wins. What blocks have stays, and what has no block yet
/// gets the layout of the first.
pub fn plan(found: Found, snapshot: Option<&Snapshot>, names: &Names, layout: Option<Layout>) -> Plan {
    let Found { uplinks, other_networks, static_routes, taken_tables, taken_priorities, .. } = found;
    let unknown_defaults = found.unknown_defaults;
    let (unset_metrics, one_metric, mut diagnostics) = (found.unset_metrics, found.one_metric, found.diagnostics);
    let managed: Vec<usize> = (0..uplinks.len()).filter(|at| is_managed(&uplinks, &uplinks[*at])).collect();
    let usual = uplinks.iter().find_map(|uplink| uplink.written?.layout).unwrap_or(Layout::Layered);
    let layouts: HashMap<usize, Layout> = managed
        .iter()
        .map(|at| {
            let uplink = &uplinks[*at];
            let written = uplink.written.and_then(|written| written.layout);
            (*at, uplink.wish.layout.or(layout).or(written).unwrap_or(usual))
        })
        .collect();
    let taken = numbers::Taken::new(names, snapshot, &taken_tables, &taken_priorities);
    let numbers = numbers::allot(&uplinks, &layouts, &managed, snapshot, taken, &mut diagnostics);
    let served: Vec<usize> = managed
        .iter()
        .copied()
        .filter(|at| numbers.contains_key(at) && uplinks[*at].gateway.is_some() && !uplinks[*at].sources.is_empty())
        .collect();
    let layered: Vec<usize> = served.iter().copied().filter(|at| layouts[at] == Layout::Layered).collect();
    let group = group::group(&uplinks, &layered, snapshot, &mut diagnostics);
    let networks =
        [Family::Inet, Family::Inet6].map(|family| Networks::new(&uplinks, &static_routes, family, &group, snapshot));
    let devices = device::Rules::new(&uplinks, &layered, &numbers);
    let around = Surroundings { uplinks: &uplinks, group: &group, other_networks: &other_networks, snapshot };
    let mut policies = Vec::new();
    for at in served {
        let (table, priority) = numbers[&at];
        let uplink = &uplinks[at];
        let layout = layouts[&at];
        let networks = &networks[usize::from(uplink.family == Family::Inet6)];
        // A foreign route in its place is what somebody wants for the same destination.
        let is_taken = |dst: &IpNet, hop: &Hop| {
            let mut known = snapshot.iter().flat_map(|snapshot| &snapshot.routes);
            known.any(|known| {
                let in_place = (known.table, known.family, known.dst) == (table, uplink.family, *dst);
                in_place && !known.is_ours() && (known.gateway, known.dev.as_ref()) != (hop.gateway, Some(&hop.dev))
            })
        };
        let copies = (layout == Layout::Layered).then(|| {
            let copies = networks.copies(&uplinks, at).into_iter();
            copies.filter(|(dst, hop)| !is_taken(dst, hop)).collect()
        });
        policies.push(Policy {
            uplink: at,
            table,
            priority,
            layout,
            routes: layout::routes(uplink, table, copies),
            rules: layout::rules(&around, at, Numbers { table, priority }, layout, devices.of(at)),
        });
    }
    for uplink in
        uplinks.iter().filter(|uplink| uplink.in_main && uplink.family == Family::Inet && !uplink.twins.is_empty())
    {
        diagnostics.push(Diagnostic::warning(
            uplink.at,
            b"",
            format!(
                "{} has the same 'gateway' in more than one stanza: the second one's 'ifup' fails with \"File exists\"",
                uplink.label()
            ),
            "Keep the 'gateway' line in one stanza; the others only add addresses.",
        ));
    }
    let mut plan = Plan { uplinks, managed, policies, group, unknown_defaults, diagnostics, ..Plan::default() };
    for (family, unset) in [Family::Inet, Family::Inet6].into_iter().zip(unset_metrics) {
        plan.choose_primary(family, unset);
    }
    if one_metric {
        plan.share_metrics();
    }
    plan
}

impl Plan {
    /// The larger of what both families of an interface need serves both.
    fn share_metrics(&mut self) {
        let interface = |at: &usize| &self.uplinks[*at].interface;
        let largest =
            |at| self.metrics.iter().filter(|(other, _)| interface(other) == interface(at)).map(|it| *it.1).max();
        self.metrics = self.metrics.keys().filter_map(|at| Some((*at, largest(at)?))).collect();
    }

    /// Main's default route: the smallest metric wins, then the first in the file; the others need larger
    /// ones. `unset` is what a stanza without `metric` gets: from ifupdown 0 in inet and the kernel's 1024 in inet6.
    fn choose_primary(&mut self, family: Family, unset: u32) {
        // Routes from router advertisements have their metric from the kernel, not from the stanza.
        let by_stanza = |uplink: &Uplink| {
            let learnt = uplink.origin == Origin::Main || uplink.dynamic && family == Family::Inet6;
            uplink.in_main && !learnt && uplink.skipped.is_none()
        };
        let with_default: Vec<usize> = (0..self.uplinks.len())
            .filter(|at| self.uplinks[*at].family == family && by_stanza(&self.uplinks[*at]))
            .collect();
        let effective = |at: usize| self.uplinks[at].metric.unwrap_or(unset);
        let Some(primary) = with_default.iter().copied().min_by_key(|at| effective(*at)) else {
            let any =
                (0..self.uplinks.len()).find(|at| self.uplinks[*at].family == family && self.uplinks[*at].in_main);
            self.primary.extend(any.map(|at| (family, at)));
            return;
        };
        let mut used: Vec<u32> = with_default.iter().filter_map(|at| self.uplinks[*at].metric).collect();
        used.push(effective(primary));
        let (mut metrics, mut clashes, mut warnings) = (HashMap::new(), Vec::new(), Vec::new());
        let mut met: Vec<usize> = vec![primary];
        for (position, &at) in with_default.iter().enumerate().filter(|(_, at)| **at != primary) {
            let uplink = &self.uplinks[at];
            let twin = met.iter().copied().find(|other| effective(*other) == effective(at));
            met.push(at);
            let Some(twin) = twin else { continue };
            let twin = &self.uplinks[twin];
            if uplink.meeting == Meeting::Joins {
                continue;
            }
            if !is_managed(&self.uplinks, uplink) {
                warnings.push(Diagnostic { severity: Severity::Warning, ..clash(uplink, twin, effective(at)) });
                continue;
            }
            if uplink.metric.is_some() {
                clashes.push(clash(uplink, twin, effective(at)));
                continue;
            }
            let least = effective(primary);
            let kept =
                uplink.written.and_then(|written| written.metric).filter(|kept| *kept > least && !used.contains(kept));
            let first = least.saturating_add(10 * (position as u32 + 1));
            let metric = kept.unwrap_or_else(|| {
                (0..).map(|n| first.saturating_add(10 * n)).find(|m| !used.contains(m)).unwrap_or(first)
            });
            used.push(metric);
            metrics.insert(at, metric);
        }
        if unset > 1 && self.uplinks[primary].metric.is_some() && effective(primary) < unset {
            if let Some(other) = with_default.iter().find(|at| self.uplinks[**at].metric.is_none()) {
                let (first, other) = (&self.uplinks[primary], &self.uplinks[*other]);
                warnings.push(Diagnostic::warning(
                    first.at,
                    b"",
                    format!(
                        "{} has the better default route: its metric {} is smaller than the {unset} that the kernel gives {}",
                        first.label(),
                        effective(primary),
                        other.label()
                    ),
                    format!("If {} should be the first choice, give it a smaller 'metric' as well.", other.label()),
                ));
            }
        }
        let learnt = (0..self.uplinks.len()).filter(|at| {
            let uplink = &self.uplinks[*at];
            uplink.family == family && uplink.in_main && uplink.origin == Origin::Main && uplink.skipped.is_none()
        });
        let best = learnt.min_by_key(|at| effective(*at)).filter(|at| effective(*at) < effective(primary));
        self.primary.insert(family, best.unwrap_or(primary));
        self.metrics.extend(metrics);
        self.clashes.extend(clashes);
        self.diagnostics.extend(warnings);
    }
}

fn clash(uplink: &Uplink, twin: &Uplink, metric: u32) -> Diagnostic {
    let other = metric.saturating_add(10);
    let message = format!("the default routes of {} and {} both have metric {metric}", twin.label(), uplink.label());
    if let Origin::Line { at } = uplink.origin {
        let what = match uplink.meeting {
            Meeting::Replaces => "this line replaces the first one",
            _ => "this line fails with \"File exists\"",
        };
        let help = format!("Write 'metric {other}' into this line: a 'metric' of its stanza has no effect on it.");
        return Diagnostic::error(at, b"", format!("{message}: {what}"), help);
    }
    let what = match uplink.meeting {
        _ if uplink.dynamic => "the second one is silently not made",
        Meeting::Replaces => "the second 'ifup' silently replaces the first one's default route",
        _ => "the second 'ifup' fails with \"File exists\"",
    };
    let help = format!("Give {} another 'metric' in its stanza, for example {other}.", uplink.label());
    Diagnostic::error(uplink.at, b"", format!("{message}: {what}"), help)
}
