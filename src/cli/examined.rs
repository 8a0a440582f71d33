//! A host as `check` examines it: what `check` and `observe` have in common.

use std::net::IpAddr;

use anyhow::Result;

use super::common::Common;
use crate::check::facts::Facts;
use crate::check::finding::Finding;
use crate::check::findings::findings;
use crate::check::input::{CheckInput, ProbeResult, by_files};
use crate::check::{matrix, status};
use crate::handwritten::lint_with;
use crate::netlink::{self, Socket};
use crate::network::Snapshot;
use crate::policy::Plan;
use crate::system::configuration::Configuration;
use crate::system::host;
use crate::uplinks::{find, ifup_targets};

/// A host, and the kernel's replies to the lookups.
pub(super) struct Examined {
    pub(super) configuration: Configuration,
    pub(super) snapshot: Snapshot,
    pub(super) plan: Plan,
    pub(super) results: Vec<ProbeResult>,
}

impl Examined {
    /// The host as it is now.
    pub(super) fn read(common: &Common) -> Result<Self> {
        let configuration = common.read();
        let mut socket = Socket::open()?;
        let snapshot = netlink::snapshot(&mut socket)?;
        let plan = configuration.plan(Some(&snapshot), &[]);
        Examined::ask(configuration, snapshot, plan, &mut socket, &[])
    }

    /// Asks the kernel for all lookups.
    pub(super) fn ask(
        configuration: Configuration,
        snapshot: Snapshot,
        plan: Plan,
        socket: &mut Socket,
        to: &[IpAddr],
    ) -> Result<Self> {
        let ask =
            |probe: matrix::Probe| Ok(ProbeResult { answer: socket.lookup(&probe.query, &snapshot.links)?, probe });
        let results = matrix::probes(&plan, &snapshot, to).into_iter().map(ask).collect::<Result<Vec<_>>>()?;
        Ok(Examined { configuration, snapshot, plan, results })
    }

    pub(super) fn facts(&self) -> Facts {
        host::facts(&self.snapshot.links)
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let Examined { configuration, snapshot, plan, results } = self;
        let Configuration { config, names, .. } = configuration;
        // symroute-gen does not know which interfaces are active.
        let mut files_alone = configuration.clone();
        files_alone.config.active.clear();
        let boot = config.at_boot();
        let at_boot = |index: &usize| {
            let uplink = &plan.uplinks[*index];
            // A mapping may have chosen the stanza.
            let listed = uplink.name.split('=').next().unwrap_or_default();
            boot.has(&config.stanzas[uplink.stanza].interface) || boot.has(listed.as_bytes())
        };
        let ifup_targets: Vec<_> = plan.uplinks.iter().map(|uplink| ifup_targets(config, snapshot, uplink)).collect();
        findings(&CheckInput {
            plan,
            by_files: &by_files(&plan.uplinks, &find(config, None, &[], names).uplinks),
            written: &files_alone.plan(None, &[]),
            ifup_targets: &ifup_targets,
            at_boot: &(0..plan.uplinks.len()).filter(at_boot).collect(),
            manual: &lint_with(config, names, &plan.in_use(Some(snapshot))),
            snapshot,
            status: &status(plan, snapshot),
            facts: &self.facts(),
            results,
        })
    }
}
