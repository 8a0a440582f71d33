//! A run that changes the host. It takes the lock first: another run may change what was read before.

use anyhow::{Result, bail};
use bstr::ByteSlice;
use rustc_hash::FxHashSet;

use super::reconcile::{self, Outcome};
use super::steps;
use super::view::View;
use crate::netlink::Socket;
use crate::network::prefixes::Prefixes;
use crate::network::{Lease, Snapshot, kernel_name};
use crate::policy::Plan;
use crate::policy::difference::undecided_tables;
use crate::report;
use crate::system::configuration::Configuration;
use crate::system::ifstate;
use crate::system::lock::{Lock, LockFile};
use crate::uplinks::Uplink;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// How to run: what does not depend on the command.
pub struct Setting<'a> {
    /// Reads the configuration; called with the lock held.
    pub read: &'a dyn Fn() -> Configuration,
    /// Called once when another run has held the lock for a second.
    pub waiting: &'a dyn Fn(),
    /// Change nothing; give the commands that would do the same.
    pub dry_run: bool,
    /// What a process that makes many runs keeps between them.
    pub watch: Option<Watch<'a>>,
}

/// What `symroute watch` passes to a run.
pub struct Watch<'a> {
    pub lock_file: &'a LockFile,
    /// Called with the lock held; an error ends the run.
    pub locked: &'a dyn Fn(&Lock) -> Result<()>,
    /// Called with the netlink port that the changes of the run carry.
    pub port: &'a dyn Fn(u32),
}

impl Setting<'_> {
    pub(super) fn lock(&self) -> Result<Option<Lock>> {
        if self.dry_run {
            return Ok(None);
        }
        if let Some(watch) = &self.watch {
            let lock = watch.lock_file.try_clone()?.lock(self.waiting)?;
            (watch.locked)(&lock)?;
            return Ok(Some(lock));
        }
        loop {
            let lock = LockFile::open()?.lock(self.waiting)?;
            // It may have been deleted meanwhile: then another process may have the lock of a new file.
            if lock.is_current() {
                return Ok(Some(lock));
            }
        }
    }
}

/// What one run is to do.
pub struct Request<'a> {
    /// Interfaces that go down, as ifupdown names them, with the stanza where that is known: `eth0:1=extra`.
    pub leaving: Vec<String>,
    /// The lease that a DHCP client reports, and those that the caller remembers.
    pub leases: Vec<Lease>,
    /// Takes in what only the caller knows; rejects a configuration that cannot be used.
    pub prepare: &'a dyn Fn(&mut Configuration) -> Result<()>,
    /// Is the uplink (an index into `Plan::uplinks`) managed by the lines of its stanza, which run now?
    pub is_skipped: &'a dyn Fn(&Plan, usize) -> bool,
    /// What to do about uplinks that an `ifup` or `ifdown` works on at the moment.
    pub busy: Busy<'a>,
    /// Looks at the plan before anything is changed.
    pub precheck: &'a dyn Fn(&Configuration, &Plan, &Snapshot) -> Result<()>,
}

/// What a run does about uplinks that an `ifup` or `ifdown` works on at the moment: their own hooks follow.
#[derive(Clone, Copy)]
pub enum Busy<'a> {
    /// It manages them like the others.
    Manage,
    /// It skips those that have no entries, or lines of their own, but manages those of these interfaces: they are the
    /// caller's own.
    SkipOthers(&'a [String]),
    /// It skips those that have lines of their own, and manages those of these interfaces.
    SkipLines(&'a [String]),
    /// It skips them: the caller comes again when the `ifup` or `ifdown` has ended.
    Skip,
}

/// What one run did.
pub struct Run {
    pub configuration: Configuration,
    pub plan: Plan,
    pub snapshot: Snapshot,
    pub done: Done,
    /// It skipped an uplink.
    pub has_skipped: bool,
}

pub enum Done {
    Changed(Outcome),
    /// A dry run: the commands that would do the same.
    Commands(Vec<String>),
}

impl Run {
    /// The number of changes; nothing for a dry run.
    pub fn changes(&self) -> Option<usize> {
        self.outcome().map(|outcome| outcome.steps.len())
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.done {
            Done::Changed(outcome) => Some(outcome),
            Done::Commands(_) => None,
        }
    }

    /// Why an uplink got no policy, for those that `is_own` selects; the faults of its stanza only where it goes up.
    pub fn failures(&self, is_own: &dyn Fn(usize) -> bool, direction: Direction) -> Vec<String> {
        let Configuration { config, root, .. } = &self.configuration;
        let faults = self.plan.uplinks.iter().enumerate().filter(|(at, _)| direction == Direction::Up && is_own(*at));
        let faults = faults.flat_map(|(_, uplink)| uplink.faults.iter().map(move |fault| (uplink, fault)));
        let faults = faults.map(|(uplink, fault)| {
            let text = report::one_line(config, root, fault);
            format!("{text}: no policy for {} (details: 'symroute plan')", uplink.label())
        });
        let rejected = self.outcome().into_iter().flat_map(|outcome| &outcome.failures);
        let rejected = rejected
            .filter(|failure| is_own(failure.uplink))
            .map(|failure| format!("no policy for {}: {:#}", self.plan.uplinks[failure.uplink].label(), failure.error));
        faults.chain(rejected).collect()
    }
}

/// Brings the kernel to the plan.
///
/// # Errors
/// When the lock cannot be had, the request rejects the configuration or the plan, or the kernel rejects what belongs to
/// no single uplink: then nothing is changed.
pub fn run(setting: &Setting, request: &Request) -> Result<Run> {
    let lock = setting.lock()?;
    run_locked(setting, request, lock.as_ref(), (setting.read)())
}

/// The same with the lock (a dry run has none) and with what was read while it was held.
///
/// # Errors
/// As [`run`].
pub(super) fn run_locked(
    setting: &Setting,
    request: &Request,
    lock: Option<&Lock>,
    mut configuration: Configuration,
) -> Result<Run> {
    if let (Some(lock), None) = (lock, &setting.watch) {
        lock.set_flushed(false)?;
    }
    (request.prepare)(&mut configuration)?;
    let mut socket = Socket::open()?;
    if let Some(watch) = &setting.watch {
        socket.port().map(watch.port);
    }
    // In this order: an interface that starts to go down after this snapshot waits for the lock, and removes its own
    // entries.
    let mut view = View::new(&mut socket);
    let mut snapshot = view.snapshot()?;
    snapshot.leases.extend(request.leases.iter().cloned());
    if configuration.config.is_invalid() {
        return take_down(configuration, &mut view, snapshot, setting, &request.leaving);
    }
    let plan = planned(request, &configuration, &mut view, &mut snapshot)?;
    (request.precheck)(&configuration, &plan, &snapshot)?;
    // Decided once: an 'ifup' may end while this runs.
    let with_entries = with_entries(&snapshot);
    let skip = |at| {
        (request.is_skipped)(&plan, at)
            || is_skipped_while_busy(request.busy, &plan.uplinks[at], &configuration, &with_entries)
    };
    let skipped: Vec<bool> = (0..plan.uplinks.len()).map(skip).collect();
    let is_skipped = |at: usize| skipped[at];
    let done = match setting.dry_run {
        true => Done::Commands(steps::reconciled(&plan, &snapshot, &is_skipped)),
        false => Done::Changed(reconcile::reconcile(&mut view, &plan, &snapshot, &is_skipped)?),
    };
    if setting.watch.is_none() {
        // The process ends soon, which closes it and gives its memory back.
        std::mem::forget(socket);
    }
    Ok(Run { configuration, plan, snapshot, done, has_skipped: skipped.contains(&true) })
}

/// The plan, and in the snapshot what it depends on.
fn planned(request: &Request, configuration: &Configuration, view: &mut View, snapshot: &mut Snapshot) -> Result<Plan> {
    let mut leaving: Vec<&str> = request.leaving.iter().map(String::as_str).collect();
    let mut plan = configuration.plan(Some(snapshot), &leaving);
    let being_taken_down = going_down(configuration, snapshot, &plan);
    if !being_taken_down.is_empty() {
        leaving.extend(being_taken_down.iter().map(String::as_str));
        plan = configuration.plan(Some(snapshot), &leaving);
    }
    // What foreign routes are in its tables decides whether they are free.
    loop {
        let tables = undecided_tables(&plan, snapshot);
        if !view.extend(snapshot, tables)? {
            return Ok(plan);
        }
        plan = configuration.plan(Some(snapshot), &leaving);
    }
}

/// Without a configuration: what the kernel has for these interfaces goes, and nothing else changes.
fn take_down(
    configuration: Configuration,
    view: &mut View,
    snapshot: Snapshot,
    setting: &Setting,
    leaving: &[String],
) -> Result<Run> {
    let name = |leaving: &String| leaving.split('=').next().unwrap_or_default().to_string();
    let names: Vec<String> = leaving.iter().map(name).collect();
    if let Some(alias) = names.iter().find(|name| name.contains(':')) {
        bail!("the interfaces files contain errors, so the address of {alias} is unknown; nothing was changed");
    }
    let links: Vec<&str> = names.iter().map(|name| kernel_name(&snapshot.links, name)).collect();
    let done = match setting.dry_run {
        true => Done::Commands(steps::taken_down(&snapshot, &links)),
        false => {
            let steps = reconcile::take_down(view, &snapshot, &links)?;
            Done::Changed(Outcome { steps, failures: Vec::new() })
        }
    };
    Ok(Run { configuration, plan: Plan::default(), snapshot, done, has_skipped: false })
}

/// Interfaces with addresses of uplinks that an `ifdown` is working on.
fn going_down(configuration: &Configuration, snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
    let sources = plan.uplinks.iter().flat_map(|uplink| &uplink.sources);
    let others = sources.filter_map(|source| source.other_interface.as_deref());
    let used: FxHashSet<&str> = plan.uplinks.iter().map(|uplink| &uplink.interface[..]).chain(others).collect();
    let mut names: Vec<&str> = Vec::with_capacity(used.len());
    for link in snapshot.links.iter().filter(|link| used.contains(&link.name[..])) {
        names.extend(link.altnames.iter().map(String::as_str));
        names.push(&link.name);
    }
    let interfaces = configuration.config.stanzas.iter().map(|stanza| &stanza.interface);
    let aliases = interfaces.filter(|name| name.contains(&b':')).filter_map(|name| name.to_str().ok());
    names.extend(aliases);
    ifstate::going_down(configuration.config.dialect, &names)
}

fn is_skipped_while_busy(busy: Busy, uplink: &Uplink, configuration: &Configuration, with_entries: &Prefixes) -> bool {
    let is_another = |own: &[String]| !own.iter().any(|interface| uplink.is_on(interface));
    match busy {
        Busy::Manage => false,
        Busy::SkipLines(own) => has_lines(uplink) && is_another(own) && is_busy(uplink, configuration),
        // Without an entry it is either before the hook of its 'ifup' or after the hook of its 'ifdown'.
        Busy::SkipOthers(own) => {
            let may_be_busy = has_lines(uplink) || !has_entries(uplink, with_entries);
            may_be_busy && is_another(own) && is_busy(uplink, configuration)
        }
        Busy::Skip => is_busy(uplink, configuration),
    }
}

/// Does an `ifup` or `ifdown` work on its interface?
pub(crate) fn is_busy(uplink: &Uplink, configuration: &Configuration) -> bool {
    let is_busy = |name: &str| ifstate::is_busy(configuration.config.dialect, name);
    let (interface, listed) = (&uplink.interface[..], uplink.listed_interface());
    is_busy(interface) || listed != interface && is_busy(listed)
}

fn has_lines(uplink: &Uplink) -> bool {
    uplink.written.is_some_and(|written| written.lines)
}

/// The addresses for which the kernel has rules of symroute's.
fn with_entries(snapshot: &Snapshot) -> Prefixes {
    Prefixes::new(snapshot.rules.iter().filter(|rule| rule.is_ours()).filter_map(|rule| rule.src))
}

fn has_entries(uplink: &Uplink, with_entries: &Prefixes) -> bool {
    uplink.sources.iter().any(|source| with_entries.hold(source.net.addr()))
}

/// Removes everything that is symroute's; reads no configuration.
///
/// # Errors
/// When the lock cannot be had, or the kernel rejects a change: then nothing is changed.
pub fn flush(setting: &Setting) -> Result<Done> {
    let lock = setting.lock()?;
    let mut socket = Socket::open()?;
    let mut view = View::new(&mut socket);
    let snapshot = view.snapshot()?;
    Ok(match setting.dry_run {
        true => Done::Commands(steps::reconciled(&Plan::default(), &snapshot, &|_| false)),
        false => {
            let steps = reconcile::flush(&mut view, &snapshot)?;
            if let Some(lock) = &lock {
                lock.set_flushed(true)?;
            }
            Done::Changed(Outcome { steps, failures: Vec::new() })
        }
    })
}
