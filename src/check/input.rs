//! The input of the findings: a host, and the results of its route lookups.

use std::net::IpAddr;

use rustc_hash::FxHashSet;

use super::expected::Expected;
use super::facts::Facts;
use super::matrix::Probe;
use super::status::Status;
use crate::interfaces::Diagnostic;
use crate::network::{Answer, Kind, Snapshot};
use crate::policy::Plan;
use crate::uplinks::Uplink;

/// A lookup and the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    pub probe: Probe,
    pub answer: Answer,
}

impl ProbeResult {
    /// The table of the route that the kernel selected.
    pub(super) fn table(&self) -> Option<u32> {
        if let Answer::Route(route) = &self.answer { Some(route.table) } else { None }
    }

    pub fn is_ok(&self) -> bool {
        let Answer::Route(route) = &self.answer else {
            return matches!(self.probe.expected, Expected::NotThrough(_) | Expected::Rejected);
        };
        let is_through = |dev: &String, gateway: &Option<IpAddr>| {
            // A gateway that is the destination itself.
            let is_on_link = route.gateway == Some(self.probe.query.to);
            let is_same_gateway = route.gateway == *gateway || is_on_link;
            route.kind == Kind::Unicast && route.dev.as_ref() == Some(dev) && is_same_gateway
        };
        match &self.probe.expected {
            Expected::Routable => true,
            Expected::Rejected => false,
            Expected::Delivered => route.kind == Kind::Local,
            Expected::Dev(dev) => route.kind == Kind::Unicast && route.dev.as_ref() == Some(dev),
            Expected::NotThrough(interfaces) => !route.dev.as_ref().is_some_and(|dev| interfaces.contains(dev)),
            Expected::Through(dev, gateway) => is_through(dev, gateway),
            Expected::AnyOf(hops) => hops.iter().any(|(dev, gateway)| is_through(dev, gateway)),
        }
    }

    pub(crate) fn is_received(&self) -> bool {
        self.probe.query.iif.is_some()
    }
}

/// What the findings depend on.
#[derive(Debug, Clone, Copy)]
pub struct CheckInput<'a> {
    pub plan: &'a Plan,
    /// The uplinks according to the files alone, in the same order.
    pub by_files: &'a [Uplink],
    /// What symroute-gen writes: the plan of the files alone.
    pub written: &'a Plan,
    /// The arguments of `ifup` that bring each uplink up again, in the same order.
    pub ifup_targets: &'a [Vec<String>],
    /// Indexes of the uplinks that `auto` brings up at boot.
    pub at_boot: &'a FxHashSet<usize>,
    /// Errors in manual policy routing.
    pub manual: &'a [Diagnostic],
    pub snapshot: &'a Snapshot,
    pub status: &'a Status,
    pub facts: &'a Facts,
    pub results: &'a [ProbeResult],
}

#[cfg(test)]
impl<'a> CheckInput<'a> {
    /// A host whose files and kernel agree.
    pub(crate) fn of(
        plan: &'a Plan,
        snapshot: &'a Snapshot,
        status: &'a Status,
        facts: &'a Facts,
        results: &'a [ProbeResult],
    ) -> Self {
        static NOTHING: std::sync::LazyLock<FxHashSet<usize>> = std::sync::LazyLock::new(FxHashSet::default);
        let (ifup_targets, manual) = (&[], &[]);
        let (by_files, written, at_boot) = (&plan.uplinks[..], plan, &*NOTHING);
        CheckInput { plan, by_files, written, ifup_targets, at_boot, manual, snapshot, status, facts, results }
    }
}

/// The uplinks according to the files alone, in the order of the plan. An uplink that only the main table has is
/// unchanged.
pub(crate) fn by_files(planned: &[Uplink], of_files: &[Uplink]) -> Vec<Uplink> {
    let find_in_files = |uplink: &Uplink| {
        let is_same = |other: &&Uplink| {
            let is_same_gateway = !other.gateway.is_known() || other.gateway == uplink.gateway;
            (&other.name, other.family, other.stanza) == (&uplink.name, uplink.family, uplink.stanza) && is_same_gateway
        };
        // The files may have an altname; keep the kernel's name.
        let of_files = of_files.iter().find(is_same).cloned();
        of_files.map(|other| Uplink { interface: uplink.interface.clone(), ..other })
    };
    planned.iter().map(|uplink| find_in_files(uplink).unwrap_or_else(|| uplink.clone())).collect()
}
