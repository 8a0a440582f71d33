//! The plan, as a value: what every uplink needs.

use rustc_hash::{FxHashMap, FxHashSet};

use super::group::Group;
use super::numbers::PRIORITIES_PER_UPLINK;
use crate::interfaces::Diagnostic;
use crate::network::{Family, Route, Rule, Snapshot};
use crate::uplinks::{Gateway, Layout, Skipped, Uplink};

/// An item that is added and removed with a stanza (an index into `Config::stanzas`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaItem<T> {
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
    pub routes: Vec<StanzaItem<Route>>,
    pub rules: Vec<StanzaItem<Rule>>,
    /// Some of the routes are copies of the main table's: a foreign route to the same destination takes their place.
    pub has_copies: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub uplinks: Vec<Uplink>,
    /// Uplinks that need a policy, even if some of its values are not known yet.
    pub managed: Vec<usize>,
    pub policies: Vec<Policy>,
    /// The interface group that the rules name, and whose interfaces are in it.
    pub group: Group,
    /// The uplink with the main table's default route, by family.
    pub primary: FxHashMap<Family, usize>,
    /// Metrics for default routes of the main table that are missing in the stanzas, by uplink.
    pub metrics: FxHashMap<usize, u32>,
    /// Default routes of the main table that belong to no uplink.
    pub unknown_defaults: Vec<Route>,
    /// Problems of the plan.
    pub diagnostics: Vec<Diagnostic>,
    /// Uplinks whose policy the kernel rejected.
    pub excluded: Vec<usize>,
    /// Default routes with the same metric, set by the administrator; only a manual edit fixes them.
    pub clashes: Vec<Diagnostic>,
}

impl Plan {
    pub fn policy(&self, uplink: usize) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.uplink == uplink)
    }

    /// The tables of its policies.
    pub fn tables(&self) -> impl Iterator<Item = (Family, u32)> {
        self.policies.iter().map(|policy| (self.uplinks[policy.uplink].family, policy.table))
    }

    /// The uplink gets no policy; its installed entries stay.
    pub fn exclude(&mut self, uplink: usize) {
        self.policies.retain(|policy| policy.uplink != uplink);
        self.excluded.push(uplink);
    }

    /// Do the installed entries of the uplink stay?
    pub fn keeps_installed(&self, uplink: usize) -> bool {
        self.excluded.contains(&uplink) || self.uplinks[uplink].keeps_installed()
    }

    /// Does the family have two or more uplinks?
    pub fn is_multihomed(&self, family: Family) -> bool {
        is_multihomed(&self.uplinks, family)
    }

    /// Tables and priorities of its uplinks, and those that the kernel has.
    pub fn in_use(&self, snapshot: Option<&Snapshot>) -> InUse {
        let of_uplinks =
            self.policies.iter().flat_map(|policy| policy.priority..policy.priority + PRIORITIES_PER_UPLINK);
        let rules = || snapshot.iter().flat_map(|snapshot| &snapshot.rules);
        let routes = snapshot.iter().flat_map(|snapshot| &snapshot.routes);
        let tables = self.policies.iter().map(|policy| policy.table);
        InUse {
            tables: tables.chain(rules().map(|rule| rule.table)).chain(routes.map(|route| route.table)).collect(),
            priorities: of_uplinks.chain(rules().map(|rule| rule.priority)).collect(),
        }
    }

    /// Why an uplink has no policy, if it has none.
    pub fn reason_without(&self, index: usize) -> Option<&'static str> {
        let uplink = &self.uplinks[index];
        match () {
            () if self.policy(index).is_some() => None,
            () if uplink.skipped.is_some() => uplink.skipped.map(Skipped::reason),
            () if uplink.is_manual => Some("skipped: manual policy routing"),
            () if uplink.overrides.enabled == Some(false) => Some("skipped: 'symroute no' in its stanza"),
            () if uplink.is_faulty() => Some("no policy: error in its stanza"),
            () if !self.is_multihomed(uplink.family) => Some(match uplink.family == Family::Inet6 {
                true => "nothing to do: the only IPv6 uplink",
                false => "nothing to do: the only IPv4 uplink",
            }),
            () if uplink.dynamic && uplink.gateway == Gateway::OnLink => Some("pending: no address"),
            () if uplink.dynamic => Some("pending: no lease"),
            () => Some("no policy: no address"),
        }
    }
}

fn is_multihomed(uplinks: &[Uplink], family: Family) -> bool {
    uplinks.iter().filter(|uplink| uplink.family == family && uplink.skipped.is_none()).nth(1).is_some()
}

pub(crate) fn is_managed(uplinks: &[Uplink], uplink: &Uplink) -> bool {
    let wanted = uplink.overrides.enabled.unwrap_or_else(|| is_multihomed(uplinks, uplink.family));
    wanted && !uplink.is_manual && uplink.skipped.is_none()
}

pub(crate) fn any_is_managed(uplinks: &[Uplink]) -> bool {
    uplinks.iter().any(|uplink| is_managed(uplinks, uplink))
}

/// Numbers that are in use or planned: symroute suggests none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    pub tables: FxHashSet<u32>,
    pub priorities: FxHashSet<u32>,
}
