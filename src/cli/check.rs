//! `symroute check`: looks, asks the kernel, judges; sends and changes nothing.

use std::io;
use std::net::IpAddr;

use anyhow::{Result, bail};

use super::symroute::{load, planned};
use super::{Common, Exit, color, say, say_json};
use crate::check::findings::{Asked, Host, findings};
use crate::check::{finding, matrix, status};
use crate::host;
use crate::interfaces::Severity;
use crate::kernel::{self, Socket};
use crate::report;
use crate::report::check::Checked;
use crate::snapshot::Snapshot;
use crate::uplinks::handwritten::judge_beside;
use crate::uplinks::{Uplink, find, restarted};

#[derive(Debug, Clone, clap::Args)]
pub struct Proof {
    /// Print JSON with iproute2's keys
    #[arg(long)]
    json: bool,
    /// Look up this distant address, instead of one outside every network of the host; once for each family
    #[arg(long, value_name = "ADDR")]
    to: Vec<IpAddr>,
    /// Leave out this kind of finding, or one of them: 'wildcard-udp:1194', 'uplink-down:eth1'
    #[arg(long, value_name = "ID[:WHAT]", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Explain a kind of finding and how to fix it; 'list' names all kinds
    #[arg(long, value_name = "ID", exclusive = true)]
    explain: Option<String>,
}

pub fn check(common: &Common, arguments: &Proof) -> Result<Exit> {
    let unknown = |id: &str| format!("there is no finding '{id}'; 'symroute check --explain list' names all");
    match arguments.explain.as_deref() {
        None => {}
        Some("list") => {
            say(finding::ids().map(|id| format!("{id}\n")).collect::<String>())?;
            return Ok(Exit::Yes);
        }
        Some(id) => {
            let Some(page) = finding::page(id) else { bail!(unknown(id)) };
            say(page)?;
            return Ok(Exit::Yes);
        }
    }
    for id in arguments.ignore.iter().map(|word| word.split(':').next().unwrap_or_default()) {
        if finding::page(id).is_none() {
            bail!("--ignore: {}", unknown(id));
        }
    }
    let mut loaded = load(common);
    let mut socket = Socket::open()?;
    let snapshot = kernel::snapshot(&mut socket)?;
    usable(&arguments.to, &snapshot)?;
    let plan = planned(&loaded, Some(&snapshot), &[]);
    let by_files = by_files(&plan.uplinks, &find(&loaded.config, None, &[], &loaded.names).uplinks);
    // symroute-gen does not know what is up.
    let up_as = std::mem::take(&mut loaded.config.up_as);
    let written = planned(&loaded, None, &[]);
    loaded.config.up_as = up_as;
    let all = loaded.config.diagnostics.iter().chain(&plan.diagnostics);
    if loaded.complain(all.filter(|diagnostic| diagnostic.severity == Severity::Error)) {
        bail!("nothing was checked");
    }
    let ask = |probe: matrix::Probe| Ok(Asked { answer: socket.lookup(&probe.query, &snapshot.links)?, probe });
    let asked = matrix::probes(&plan, &snapshot, &arguments.to).into_iter().map(ask).collect::<Result<Vec<_>>>()?;
    let boot = loaded.config.at_boot();
    let at_boot = |at: &usize| {
        let uplink = &plan.uplinks[*at];
        // A mapping may have chosen the stanza.
        let listed = uplink.name.split('=').next().unwrap_or_default();
        boot.has(&loaded.config.stanzas[uplink.stanza].interface) || boot.has(listed.as_bytes())
    };
    let restarted: Vec<_> = plan.uplinks.iter().map(|uplink| restarted(&loaded.config, &snapshot, uplink)).collect();
    let mut findings = findings(&Host {
        plan: &plan,
        by_files: &by_files,
        written: &written,
        restarted: &restarted,
        at_boot: &(0..plan.uplinks.len()).filter(at_boot).collect(),
        by_hand: &judge_beside(&loaded.config, &loaded.names, &plan.priorities(Some(&snapshot))),
        snapshot: &snapshot,
        status: &status(&plan, &snapshot),
        facts: &host::facts(&snapshot.links),
        asked: &asked,
    });
    findings.retain(|finding| !arguments.ignore.iter().any(|word| finding.is_named(word)));
    let checked =
        Checked { plan: &plan, asked: &asked, findings: &findings, config: &loaded.config, root: &loaded.root };
    if arguments.json {
        say_json(&report::check::json(&checked))?;
    } else if !common.quiet {
        say(report::check::text(&checked, common.verbose, color(&io::stdout())))?;
    }
    Ok(if findings.is_empty() { Exit::Yes } else { Exit::No })
}

/// The uplinks as the files alone have them, in the order of those of the plan. One that only the main table tells of
/// is as it is.
fn by_files(planned: &[Uplink], of_files: &[Uplink]) -> Vec<Uplink> {
    let of = |uplink: &Uplink| {
        let is_it = |other: &&Uplink| {
            let gateway = other.gateway.is_none() || other.gateway == uplink.gateway;
            (&other.name, other.family, other.stanza) == (&uplink.name, uplink.family, uplink.stanza) && gateway
        };
        // The kernel's name, where the files have an altname.
        let of_files = of_files.iter().find(is_it).cloned();
        of_files.map(|other| Uplink { interface: uplink.interface.clone(), ..other })
    };
    planned.iter().map(|uplink| of(uplink).unwrap_or_else(|| uplink.clone())).collect()
}

/// # Errors
/// For what no answer could be sent to by a gateway.
fn usable(to: &[IpAddr], snapshot: &Snapshot) -> Result<()> {
    for (at, address) in to.iter().enumerate() {
        let near = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if near || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            bail!("--to {address}: give the address of a host on the Internet");
        }
        if let Some(own) = snapshot.addresses.iter().find(|known| known.net.addr() == *address) {
            bail!("--to {address}: that is this host's own, on {}", own.dev);
        }
        if to[..at].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            bail!("--to {address}: one address for each family");
        }
    }
    Ok(())
}
