//! The program `symroute`: applies the plan, shows it, compares it with the kernel.

use std::io;

use anyhow::{Context, Result, bail};
use bstr::ByteSlice;
use clap::{Parser, Subcommand};

use super::check::{Proof, check};
use super::explain::{Question, explain};
use super::{Common, Exit, Loaded, color, exit, say, say_error, say_json};
use crate::check::status as compare;
use crate::interfaces::{Diagnostic, Severity, Stanza};
use crate::kernel::{self, Socket};
use crate::policy::{Plan, plan};
use crate::snapshot::{Route, Rule, Snapshot, kernel_name};
use crate::uplinks::handwritten::judge_beside;
use crate::uplinks::{find, intended, restarted};
use crate::{ifstate, report};

/// Symmetric routing on a server with several default gateways
///
/// What comes in through one uplink is answered through the same uplink: a routing table for each uplink,
/// rules by source address. Reads /etc/network/interfaces; 'symroute-gen' writes the same into that file.
#[derive(Debug, Parser)]
#[command(
    name = "symroute",
    version,
    after_help = "Exit codes: 0 done or nothing to do, 1 the answer is no, 2 could not.\n\
    For hook, up and down every failure is 1."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Do what the hook does when these interfaces have come up
    Up {
        #[arg(required = true, value_name = "IFACE")]
        names: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Do what the hook does when these interfaces are about to go down
    Down {
        #[arg(required = true, value_name = "IFACE")]
        names: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Bring tables and rules in step with the configuration, for all interfaces that are up
    Apply {
        #[command(flatten)]
        change: Change,
    },
    /// Remove all routes and rules that symroute made, and nothing else
    Flush {
        #[command(flatten)]
        change: Change,
    },
    /// What the hooks in if-up.d and if-down.d call: reads IFACE, MODE and the like from the environment
    Hook {
        #[command(flatten)]
        change: Change,
    },
    /// Show the files as ifupdown reads them: stanzas, options, and where each came from
    Config {
        #[command(flatten)]
        json: Json,
    },
    /// Show uplinks, tables, routes and rules, before anything is done
    Plan {
        #[command(flatten)]
        json: Json,
    },
    /// Show the plan beside the kernel; exit code 1 when they differ
    Status {
        #[command(flatten)]
        json: Json,
    },
    /// Prove that answers leave by the uplink that they belong to, and find what breaks it; sends and changes nothing
    Check {
        #[command(flatten)]
        proof: Proof,
    },
    /// Show which way a packet goes and why: the rules one by one, what their tables answer, and the kernel's own
    /// answer; exit code 1 when there is no route. Nothing is sent
    Explain {
        #[command(flatten)]
        question: Question,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Json {
    /// Print JSON with iproute2's keys
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Change {
    /// Change nothing; show the 'ip' commands that would do the same
    #[arg(long)]
    dry_run: bool,
}

/// An interface that comes or goes, as ifupdown names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Up,
    Down,
}

pub fn main() -> std::process::ExitCode {
    let Arguments { command, common } = Arguments::parse();
    let event = matches!(command, Command::Up { .. } | Command::Down { .. } | Command::Hook { .. });
    exit("symroute", run(command, &common), if event { Exit::No } else { Exit::CouldNot })
}

fn run(command: Command, common: &Common) -> Result<Exit> {
    match command {
        Command::Hook { change } => hook(common, change),
        Command::Up { names, change } => each(Event::Up, &names, common, change),
        Command::Down { names, change } => each(Event::Down, &names, common, change),
        Command::Apply { change } => apply(common, change),
        Command::Flush { change } => flush(common, change),
        Command::Config { json } => config(common, json),
        Command::Plan { json } => show_plan(common, json),
        Command::Status { json } => status(common, json),
        Command::Check { proof } => check(common, &proof),
        Command::Explain { question } => explain(common, &question),
    }
}

/// The configuration, and what is up by it.
pub(super) fn load(common: &Common) -> Loaded {
    let mut loaded = Loaded::read(&common.root, &common.interfaces, common.dialect);
    if common.root.as_os_str() == "/" {
        loaded.config.up_as = ifstate::up_as(&loaded.root, loaded.config.dialect);
    }
    loaded
}

fn config(common: &Common, json: Json) -> Result<Exit> {
    let mut loaded = load(common);
    let refused = loaded.config.refused();
    let priorities = planned(&loaded, None, &[]).priorities(None);
    loaded.config.diagnostics.extend(judge_beside(&loaded.config, &loaded.names, &priorities));
    loaded.config.diagnostics.sort_by_key(|diagnostic| diagnostic.at);
    if json.json {
        say_json(&report::config_json(&loaded.config, &loaded.root))?;
    } else if !refused {
        say(report::config_text(&loaded.config, &loaded.root))?;
    }
    let shown = loaded.config.diagnostics.iter().filter(|d| !common.quiet || d.severity == Severity::Error);
    loaded.complain(shown);
    Ok(if refused { Exit::CouldNot } else { Exit::Yes })
}

/// The plan of the host, held against the kernel; nothing when the configuration has an error.
pub(super) fn planned(loaded: &Loaded, snapshot: Option<&Snapshot>, going: &[&str]) -> Plan {
    let found = find(&loaded.config, snapshot, going, &loaded.names);
    plan(found, snapshot, &loaded.names, None)
}

fn complain(loaded: &Loaded, plan: &Plan, quiet: bool) -> bool {
    let mut all: Vec<&Diagnostic> = loaded.config.diagnostics.iter().chain(&plan.diagnostics).collect();
    all.sort_by_key(|diagnostic| diagnostic.at);
    let failed = loaded.complain(all.into_iter().filter(|d| !quiet || d.severity == Severity::Error));
    if !quiet {
        // Only the next ifup meets them; the plan for what is up now stands.
        let as_warning = |clash: &Diagnostic| Diagnostic { severity: Severity::Warning, ..clash.clone() };
        loaded.complain(&plan.clashes.iter().map(as_warning).collect::<Vec<_>>());
    }
    failed
}

fn show_plan(common: &Common, json: Json) -> Result<Exit> {
    let loaded = load(common);
    // The numbers in use are the kernel's to tell; another root has another kernel.
    let snapshot = match common.root.as_os_str() == "/" {
        true => Some(kernel::snapshot(&mut Socket::open()?)?),
        false => None,
    };
    let found = intended(&loaded.config, snapshot.as_ref(), &loaded.names);
    let mut plan = plan(found, snapshot.as_ref(), &loaded.names, None);
    let priorities = plan.priorities(snapshot.as_ref());
    plan.diagnostics.extend(judge_beside(&loaded.config, &loaded.names, &priorities));
    if json.json {
        say_json(&report::plan_json(&plan, &loaded.config, &loaded.root))?;
        return Ok(if loaded.config.refused() || has_error(&plan) { Exit::CouldNot } else { Exit::Yes });
    }
    if complain(&loaded, &plan, common.quiet) {
        return Ok(Exit::CouldNot);
    }
    say(report::plan_text(&plan))?;
    Ok(Exit::Yes)
}

fn has_error(plan: &Plan) -> bool {
    plan.diagnostics.iter().any(|d| d.severity == Severity::Error)
}

fn status(common: &Common, json: Json) -> Result<Exit> {
    let loaded = load(common);
    let snapshot = kernel::snapshot(&mut Socket::open()?)?;
    let plan = planned(&loaded, Some(&snapshot), &[]);
    if complain(&loaded, &plan, common.quiet || json.json) {
        return Ok(Exit::CouldNot);
    }
    let status = compare(&plan, &snapshot);
    if json.json {
        say_json(&report::status_json(&plan, &status, &loaded.config, &loaded.root))?;
    } else if !common.quiet {
        let inactive = report::inactive(&plan, &loaded.config, &snapshot);
        say(report::status_text(&plan, &status, &inactive, color(&io::stdout())))?;
    }
    Ok(if status.in_step() { Exit::Yes } else { Exit::No })
}

/// For a change, an error in the configuration stops everything: all of them, then nothing is done.
fn usable(loaded: &Loaded, plan: &Plan) -> Result<()> {
    let all = loaded.config.diagnostics.iter().chain(&plan.diagnostics);
    if loaded.complain(all.filter(|d| d.severity == Severity::Error)) {
        bail!("nothing was changed");
    }
    Ok(())
}

fn apply(common: &Common, change: Change) -> Result<Exit> {
    let loaded = load(common);
    let (mut managed, mut inactive) = (0, String::new());
    let changes = reconcile(&loaded, &[], &|_, _| false, change, &mut |plan, snapshot| {
        managed = plan.managed.len();
        inactive = report::inactive(plan, &loaded.config, snapshot);
        // The rest is for 'symroute plan'; this says what an apply leaves undone.
        let groups = plan.diagnostics.iter().filter(|diagnostic| diagnostic.id == Some("interface-group"));
        loaded.complain(groups.filter(|_| !common.quiet));
        Ok(())
    })?;
    if let (Some(changes), false) = (changes, common.quiet) {
        say(report::applied(changes, managed, &inactive))?;
    }
    Ok(Exit::Yes)
}

fn flush(common: &Common, change: Change) -> Result<Exit> {
    let _lock = if change.dry_run { None } else { Some(kernel::lock()?) };
    let mut socket = Socket::open()?;
    let snapshot = kernel::snapshot(&mut socket)?;
    if change.dry_run {
        let commands = kernel::reconciled(&Plan::default(), &snapshot, &|_| false);
        say(commands.iter().map(|command| format!("{command}\n")).collect::<String>())?;
        return Ok(Exit::Yes);
    }
    let removed = kernel::flush(&mut socket, &snapshot)?;
    if !common.quiet {
        say(format!("{removed} rules, routes and group memberships removed.\n"))?;
    }
    Ok(Exit::Yes)
}

/// Brings the kernel to the plan; gives the number of changes, nothing for a dry run.
fn reconcile(
    loaded: &Loaded,
    going: &[&str],
    hands_off: &dyn Fn(&Plan, usize) -> bool,
    change: Change,
    look: &mut dyn FnMut(&Plan, &Snapshot) -> Result<()>,
) -> Result<Option<usize>> {
    let _lock = if change.dry_run { None } else { Some(kernel::lock()?) };
    let mut socket = Socket::open()?;
    // In this order: whoever begins to go down after this look waits for the lock, and takes its own away.
    let snapshot = kernel::snapshot(&mut socket)?;
    let aliases = loaded.config.stanzas.iter().filter_map(|stanza| stanza.interface.to_str().ok());
    let links = snapshot.links.iter().flat_map(|link| link.altnames.iter().chain([&link.name]));
    let names = links.map(String::as_str).chain(aliases.filter(|name| name.contains(':')));
    let leaving = ifstate::going_down(loaded.config.dialect, names);
    let going: Vec<&str> = going.iter().copied().chain(leaving.iter().map(String::as_str)).collect();
    let plan = planned(loaded, Some(&snapshot), &going);
    usable(loaded, &plan)?;
    look(&plan, &snapshot)?;
    let hands_off = |at| hands_off(&plan, at);
    if change.dry_run {
        let commands = kernel::reconciled(&plan, &snapshot, &hands_off);
        say(commands.iter().map(|command| format!("{command}\n")).collect::<String>())?;
        return Ok(None);
    }
    Ok(Some(kernel::reconcile(&mut socket, &plan, &snapshot, &hands_off)?))
}

/// `up` and `down`: asked for by name, so that a stanza's own lines may call it.
fn each(event: Event, interfaces: &[String], common: &Common, change: Change) -> Result<Exit> {
    let loaded = load(common);
    for interface in interfaces {
        let named = |stanza: &Stanza| link(&stanza.interface.to_string()) == link(interface);
        let in_files = loaded.config.listed().has(interface.as_bytes()) || loaded.config.stanzas.iter().any(named);
        if !in_files && !is_another_name(&loaded, interface)? {
            bail!("{interface}: no such interface in {}", common.interfaces.display());
        }
    }
    let going: Vec<&str> = match event {
        Event::Up => Vec::new(),
        Event::Down => interfaces.iter().map(String::as_str).collect(),
    };
    let changes = reconcile(&loaded, &going, &|_, _| false, change, &mut |plan, snapshot| {
        for interface in interfaces.iter().filter(|_| event == Event::Up) {
            let own: Vec<_> =
                plan.managed.iter().map(|at| &plan.uplinks[*at]).filter(|it| it.is_on(interface)).collect();
            if own.is_empty() || own.iter().any(|uplink| uplink.up) {
                continue;
            }
            // A lease without a router is no fault, and must not fail the 'ifup' that calls this.
            if own.iter().all(|uplink| uplink.dynamic) {
                say_error(&format!("symroute: {interface}: no address and gateway learnt yet, nothing to route by\n"));
            } else {
                let names = restarted(&loaded.config, snapshot, own[0]).join(" ");
                bail!("its link is down or has no address of its stanza; 'ifup {names}' brings it up");
            }
        }
        Ok(())
    });
    let changes = changes.with_context(|| interfaces.join(", "))?;
    if let (Some(changes), true) = (changes, common.verbose) {
        say(format!("{}: {changes} changes made\n", interfaces.join(", ")))?;
    }
    Ok(Exit::Yes)
}

/// Is it the kernel's name, or another altname, of an interface that the files have by an altname?
fn is_another_name(loaded: &Loaded, interface: &str) -> Result<bool> {
    let links = kernel::snapshot(&mut Socket::open()?)?.links;
    let of_stanza = |stanza: &Stanza| {
        kernel_name(&links, link(&stanza.interface.to_string())) == kernel_name(&links, link(interface))
    };
    Ok(loaded.config.stanzas.iter().any(of_stanza))
}

/// Does table main tell of uplinks that the files do not, or are there some to be taken away? It cannot where the
/// files have one interface. Where the kernel does not say, a host that has nothing to do does not fail for it.
fn main_may_tell_more(loaded: &Loaded) -> bool {
    let stanzas = || loaded.config.stanzas.iter().map(|stanza| link(stanza.interface.to_str().unwrap_or_default()));
    let first = stanzas().find(|name| *name != "lo");
    if stanzas().all(|name| name == "lo" || Some(name) == first) {
        return false;
    }
    let Ok(snapshot) = Socket::open().and_then(|mut socket| kernel::snapshot(&mut socket)) else { return false };
    let ours = snapshot.rules.iter().any(Rule::is_ours) || snapshot.routes.iter().any(Route::is_ours);
    ours || !planned(loaded, Some(&snapshot), &[]).managed.is_empty()
}

/// `eth0` of `eth0:1`.
fn link(interface: &str) -> &str {
    interface.split(':').next().unwrap_or_default()
}

/// What ifupdown's hook directories call, in the environment of interfaces(5): IFACE, MODE (`start`, `stop`)
/// or PHASE (ifupdown-ng and ifupdown2: `up`, `down`).
fn hook(common: &Common, change: Change) -> Result<Exit> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let interface = variable("IFACE");
    if interface.is_empty() {
        bail!(
            "IFACE is not set: 'symroute hook' is for /etc/network/if-up.d and if-down.d; use 'symroute up IFACE' by hand"
        );
    }
    if matches!(interface.as_str(), "--all" | "lo") || variable("ADDRFAM") == "meta" {
        return Ok(Exit::Yes);
    }
    let event = match (variable("MODE").as_str(), variable("PHASE").as_str()) {
        ("start", _) | (_, "up" | "post-up") => Event::Up,
        ("stop", _) | (_, "down" | "pre-down") => Event::Down,
        (mode, phase) => bail!("{interface}: neither MODE '{mode}' nor PHASE '{phase}' says whether it comes or goes"),
    };
    let mut loaded = load(common);
    let up_as = &mut loaded.config.up_as;
    up_as.retain(|(link, _)| link != interface.as_bytes());
    let logical = variable("LOGICAL");
    if event == Event::Up && !logical.is_empty() {
        up_as.push((interface.as_str().into(), logical.as_str().into()));
    }
    // The files alone say whether there is anything to do: no socket is opened on a host with one uplink. But
    // which uplinks there are may depend on what is up, and then the last to go has to be taken away.
    let by_files = planned(&loaded, None, &[]);
    let in_one_line = |diagnostic: &Diagnostic| report::one_line(&loaded.config, &loaded.root, diagnostic);
    let errors =
        loaded.config.diagnostics.iter().chain(&by_files.diagnostics).filter(|d| d.severity == Severity::Error);
    let errors: Vec<String> = errors.map(in_one_line).collect();
    let chosen_at_run_time = loaded.config.chooses_at_run_time() || !(logical.is_empty() || logical == interface);
    let nothing_by_files = by_files.managed.is_empty() && !chosen_at_run_time;
    if nothing_by_files && (!errors.is_empty() || !main_may_tell_more(&loaded)) {
        // A host with one uplink is none of symroute's business, so its 'ifup' does not fail. But the other uplink
        // may be missing for a fault of its stanza.
        if !errors.is_empty() {
            say_error(&format!(
                "symroute: {interface}: {} (nothing was changed; 'symroute plan' says more)\n",
                errors.join("; ")
            ));
        }
        return Ok(Exit::Yes);
    }
    if !errors.is_empty() {
        bail!("{interface}: {} (nothing was changed; 'symroute plan' says more)", errors.join("; "));
    }
    // The name of its stanza, which only this call tells.
    let going = match event {
        Event::Up => None,
        Event::Down if logical.is_empty() => Some(interface.clone()),
        Event::Down => Some(format!("{interface}={logical}")),
    };
    // A stanza with lines of its own sees to itself while it comes and goes.
    let hands_off = |plan: &Plan, at: usize| {
        let uplink = &plan.uplinks[at];
        uplink.is_on(&interface) && uplink.written.is_some_and(|written| written.lines)
    };
    let going: Vec<&str> = going.as_deref().into_iter().collect();
    let changes =
        reconcile(&loaded, &going, &hands_off, change, &mut |_, _| Ok(())).with_context(|| interface.clone())?;
    let verbose = common.verbose || variable("VERBOSITY") == "1";
    if let (Some(changes), true) = (changes, verbose) {
        say(format!("symroute: {interface}: {changes} changes made\n"))?;
    }
    Ok(Exit::Yes)
}
