//! `symroute check`: looks, asks the kernel, judges; sends and changes nothing.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::common::{Common, Exit, Selected, print, print_diagnostics, print_json, width};
use super::examined::Examined;
use super::observe::{duration, seen_within};
use crate::check::finding;
use crate::interfaces::Severity;
use crate::netlink::{self, Socket};
use crate::network::Snapshot;
use crate::report::check::Checked;
use crate::report::{self, paragraph};
use crate::sort::sort_by_key;
use crate::system::running::{now, running};

#[derive(Debug, Clone, clap::Args)]
pub struct CheckArguments {
    #[command(flatten)]
    selected: Selected,
    /// Print JSON; routes and rules have the keys of 'ip -json'
    #[arg(long)]
    json: bool,
    /// Remote address to look up, at most one for each address family [default: one outside all networks of this host]
    #[arg(long, value_name = "ADDR")]
    to: Vec<IpAddr>,
    /// Ignore this finding, for all or for one object: 'wildcard-udp:1194'
    #[arg(long, value_name = "ID[:WHAT]", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Also watch packets for this time, such as 10s, and report asymmetric ones; needs root
    #[arg(long, value_name = "TIME", value_parser = duration)]
    traffic: Option<Duration>,
    /// Show the page of a finding, or 'list' for all findings
    #[arg(long, value_name = "ID", exclusive = true)]
    explain: Option<String>,
}

/// The page of a kind of finding, or all kinds.
fn explain(id: &str) -> Result<Exit> {
    if id == "list" {
        let ids: Vec<&str> = finding::ids().collect();
        let longest = ids.iter().map(|id| id.len()).max().unwrap_or(0);
        let line = |id: &&str| {
            let label = format!("{id:longest$}  ");
            paragraph(&label, &finding::title(id).unwrap_or_default(), width())
        };
        print(ids.iter().map(line).collect::<String>())?;
        return Ok(Exit::Yes);
    }
    let Some(page) = finding::page(id) else { bail!(unknown(id)) };
    print(report::page_text(&page, width()))?;
    Ok(Exit::Yes)
}

fn unknown(id: &str) -> String {
    format!("unknown finding '{id}'; run 'symroute check --explain list' for all")
}

pub fn check(common: &Common, arguments: &CheckArguments) -> Result<Exit> {
    if let Some(id) = &arguments.explain {
        return explain(id);
    }
    for id in arguments.ignore.iter().map(|word| word.split(':').next().unwrap_or_default()) {
        if finding::page(id).is_none() {
            bail!("--ignore: {}", unknown(id));
        }
    }
    let configuration = common.read();
    let mut socket = Socket::open()?;
    let snapshot = netlink::snapshot(&mut socket)?;
    usable(&arguments.to, &snapshot)?;
    let plan = configuration.plan(Some(&snapshot), &[]);
    let all = configuration.config.diagnostics.iter().chain(&plan.diagnostics);
    if print_diagnostics(common.color, &configuration, all.filter(|diagnostic| diagnostic.severity == Severity::Error))
    {
        if arguments.json {
            print_json(&report::problems_json(&plan, &configuration.config, &configuration.root))?;
        }
        bail!("nothing was checked");
    }
    let examined = Examined::ask(configuration, snapshot, plan, &mut socket, &arguments.to)?;
    let mut findings = examined.findings();
    if let Some(time) = arguments.traffic {
        findings.extend(seen_within(common, time).context("--traffic")?);
        sort_by_key(&mut findings, |finding| finding.severity);
    }
    let selection = arguments.selected.of(&examined.plan)?;
    findings.retain(|finding| selection.has_finding(finding.interface.as_deref(), finding.family));
    let found = findings.len();
    findings.retain(|finding| !arguments.ignore.iter().any(|word| finding.is_named(word)));
    let checked = Checked {
        plan: &examined.plan,
        results: &examined.results,
        findings: &findings,
        ignored: found - findings.len(),
        config: &examined.configuration.config,
        root: &examined.configuration.root,
    };
    if arguments.json {
        let mut json = report::check::json(&checked);
        json["watch"] = report::watch_json(running().as_ref());
        print_json(&json)?;
    } else if !common.quiet {
        let color = common.color.is_for(&io::stdout());
        let style = report::check::Style { verbose: common.verbose, color, width: width() };
        print(report::check::text(&checked, &selection, style) + &report::watch_summary(running().as_ref(), now()))?;
    }
    Ok(if findings.is_empty() { Exit::Yes } else { Exit::No })
}

/// # Errors
/// For what no answer could be sent to by a gateway.
fn usable(to: &[IpAddr], snapshot: &Snapshot) -> Result<()> {
    for (at, address) in to.iter().enumerate() {
        let is_on_link = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if is_on_link || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            bail!("--to {address}: not the address of a remote host");
        }
        if let Some(own) = snapshot.addresses.iter().find(|known| known.net.addr() == *address) {
            bail!("--to {address}: this host has this address on {}", own.dev);
        }
        if to[..at].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            bail!("--to {address}: only one address for each address family");
        }
    }
    Ok(())
}
