//! `symroute watch`: reconciles the kernel with the configuration whenever something changes.
//!
//! Waits for events of the kernel and of files, and calls `apply` for each burst of them. What to change is for `apply`
//! to decide; what to print, for the caller.

pub(crate) mod caller;
mod changes;
mod effective;
mod pace;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;

use self::caller::{Caller, Level};
use self::changes::{UplinkNames, lines};
use self::effective::Effective;
use self::pace::{Ended, Pace};
use crate::apply::change::{self, Busy, Direction, Request, Run, Setting, is_busy, run};
use crate::apply::steps::Step;
use crate::check::facts::LastChange;
use crate::netlink::events::{Event, Events, Subject};
use crate::network::{Lease, MAIN, Route, Rule, Snapshot};
use crate::policy::Plan;
use crate::policy::layout::is_unconditional;
use crate::system::file_events::{FileChanges, FileEvents};
use crate::system::lock::{Lock, LockFile};
use crate::system::running::{Record, now};
use crate::uplinks::Uplink;

/// Runs whose events may not have been read yet.
const OWN_PORTS: usize = 8;
/// Addresses whose routers are remembered.
const LEASES: usize = 256;

/// Why the next run is made. Kept until a run has succeeded.
#[derive(Debug, Default)]
struct Causes {
    /// The netlink port of a program that removed routes or rules of symroute.
    removed_by: Option<u32>,
    /// Another symroute ran.
    command: bool,
    /// An `ifup` or `ifdown` has ended, or a reload: it ends a standby.
    request: bool,
}

/// What other programs have changed.
struct News {
    has_any: bool,
    /// As in [`Causes`].
    removed_by: Option<u32>,
}

/// What a run finds once it has the lock.
struct Locked {
    /// The time that it waits for the lock is not its own.
    began: Cell<Instant>,
    changes: Cell<FileChanges>,
}

struct Watch<'a> {
    caller: &'a Caller<'a>,
    events: Events,
    files: FileEvents,
    lock_file: LockFile,
    record: Record,
    effective: Effective,
    pace: Pace,
    causes: Causes,
    names: UplinkNames,
    /// Routes in other tables have no part in the policy of any uplink.
    tables: BTreeSet<u32>,
    /// The netlink ports of the last runs, whose changes are symroute's own.
    own_ports: VecDeque<u32>,
    /// Failures that were logged and have not ended.
    failures: BTreeSet<String>,
    /// The log has said that the same changes are necessary again and again.
    has_reported_pause: bool,
    /// The routers of active uplinks with DHCP: the kernel forgets them when an interface goes down.
    leases: Vec<Lease>,
    /// Why it waits for an `ifup`, an `apply` or a reload, as the hooks do.
    standby: Option<Standby>,
}

/// No entry of symroute's is installed, and it is not for watch to install the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standby {
    /// Until the first run has succeeded: the package may just have been installed.
    NotInstalled,
    /// `symroute flush` is the rollback of a user who is locked out.
    Flushed,
}

impl std::fmt::Display for Standby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match self {
            Standby::NotInstalled => "no routes and rules of symroute are installed",
            Standby::Flushed => "'symroute flush' has removed all routes and rules",
        };
        write!(f, "{why}; waiting for an ifup, 'symroute apply' or a reload")
    }
}

impl std::error::Error for Standby {}

/// Reconciles until SIGTERM or SIGINT; routes and rules stay.
///
/// # Errors
/// When another process watches, or the kernel gives no socket.
pub fn watch(caller: &Caller) -> Result<()> {
    let record = Record::acquire()?;
    let mut signals = Signals::block()?;
    // Before the first run: nothing that happens after it is missed.
    let events = Events::open()?;
    let lock_file = LockFile::open()?;
    let files = FileEvents::open((caller.read)().config.dialect)?;
    let mut watch = Watch {
        caller,
        events,
        files,
        lock_file,
        record,
        effective: Effective::default(),
        pace: Pace::default(),
        causes: Causes::default(),
        names: UplinkNames::default(),
        tables: BTreeSet::new(),
        own_ports: VecDeque::new(),
        failures: BTreeSet::new(),
        has_reported_pause: false,
        leases: Vec::new(),
        standby: Some(Standby::NotInstalled),
    };
    watch.reconcile()?;
    notify(&[NotifyState::Ready]);
    watch.until_ended(&mut signals)?;
    notify(&[NotifyState::Stopping]);
    Ok(())
}

/// Tells systemd, if it has started this process.
fn notify(state: &[NotifyState]) {
    let _ = sd_notify::notify(state);
}

impl Watch<'_> {
    fn until_ended(&mut self, signals: &mut Signals) -> Result<()> {
        // At half the time after which systemd kills a process that hangs.
        let interval = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
        let mut last_notice = Instant::now();
        loop {
            let due = self.pace.due();
            let notice_due = interval.map(|interval| last_notice + interval);
            let until = due.into_iter().chain(notice_due).min();
            wait([self.events.as_fd(), self.files.as_fd(), signals.0.as_fd()], until)?;
            // What happened before a reload, a flush for example, does not end it.
            let signal = signals.received()?;
            self.receive()?;
            match signal {
                Some(Signal::SIGHUP) => self.reload(),
                Some(_) => return Ok(()),
                None => {}
            }
            let now = Instant::now();
            let is_run = self.pace.due().is_some_and(|due| due <= now);
            // A run may wait a minute for the lock.
            if is_run || notice_due.is_some_and(|due| due <= now) {
                notify(&[NotifyState::Watchdog]);
                last_notice = now;
            }
            if is_run {
                self.reconcile()?;
            }
        }
    }

    /// Records what has happened.
    fn receive(&mut self) -> Result<()> {
        let news = self.receive_events()?;
        self.causes.removed_by = news.removed_by.or(self.causes.removed_by);
        let changes = self.files.read()?;
        let now = Instant::now();
        if changes.command || changes.ifupdown {
            self.pace.request(now);
        } else if news.has_any && self.standby.is_none() {
            self.pace.event(now);
        }
        self.add_changes(changes);
        Ok(())
    }

    fn receive_events(&mut self) -> Result<News> {
        let received = self.events.read()?;
        let is_news = |event: &&Event| !self.own_ports.contains(&event.port) && self.is_relevant(event.subject);
        let news: Vec<&Event> = received.events.iter().filter(is_news).collect();
        let removal = news.iter().rev().find(|event| event.is_ours && event.is_removal && event.port != 0);
        Ok(News { has_any: !news.is_empty() || received.has_lost, removed_by: removal.map(|event| event.port) })
    }

    fn add_changes(&mut self, changes: FileChanges) {
        // A command ends a standby itself, unless it is a flush: that counts more than an 'ifup' before it.
        self.causes.request = !changes.command && (self.causes.request || changes.ifupdown);
        self.causes.command |= changes.command;
        self.effective.update(changes, self.caller);
        if changes.interfaces && self.effective.differs(&(self.caller.read)()) {
            self.log(
                Level::Info,
                "the interfaces files have changed; they take effect at the next ifup, 'symroute apply' or reload",
            );
        }
    }

    /// May it change what an uplink needs?
    fn is_relevant(&self, subject: Subject) -> bool {
        match subject {
            Subject::Route { table } => table == MAIN || self.tables.contains(&table),
            _ => true,
        }
    }

    fn reload(&mut self) {
        self.log(Level::Info, "reading the configuration again");
        self.effective.read(self.caller);
        self.leases.clear();
        self.causes.request = true;
        self.pace.request(Instant::now());
    }

    fn log(&self, level: Level, text: &str) {
        (self.caller.log)(level, text);
    }

    /// One run, and what it means for the next one. A failure of the run itself is logged and repeated.
    ///
    /// # Errors
    /// When nothing can be watched any more.
    fn reconcile(&mut self) -> Result<()> {
        if !self.lock_file.is_current() {
            self.lock_file = LockFile::open()?;
            self.files.watch_lock()?;
        }
        self.pace.begin();
        let locked = Locked { began: Cell::new(Instant::now()), changes: Cell::default() };
        let result = self.run(&locked);
        let changes = locked.changes.get();
        self.causes.command |= changes.command;
        match result {
            Ok(run) => self.finish(&run, locked.began.get())?,
            Err(error) => match error.downcast::<Standby>() {
                Ok(standby) => self.stand_by(standby),
                Err(error) => {
                    // What became of the other failures is not known.
                    let failures = self.failures.iter().cloned().chain([format!("{error:#}")]).collect();
                    self.report_failures(failures);
                    self.pace.failed(Instant::now());
                }
            },
        }
        if changes.ifupdown {
            self.pace.request(Instant::now());
        }
        // A flush in these changes is not ended by an 'ifup' before it.
        let ifupdown = changes.ifupdown && !changes.command;
        self.add_changes(FileChanges { command: false, ifupdown, ..changes });
        Ok(())
    }

    fn run(&mut self, found: &Locked) -> Result<Run> {
        let ports = RefCell::new(Vec::new());
        let (files, effective, caller) = (&self.files, RefCell::new(&mut self.effective), self.caller);
        let is_requested = self.causes.request;
        // A command may have run while this run waited for the lock.
        let locked = |lock: &Lock| {
            let changes = files.read().unwrap_or(FileChanges { ifupdown: true, ..FileChanges::default() });
            found.began.set(Instant::now());
            found.changes.set(changes);
            match lock.is_flushed() {
                true if is_requested && !changes.command => lock.set_flushed(false),
                true => Err(Standby::Flushed.into()),
                false => Ok(()),
            }
        };
        let read = || {
            let mut effective = effective.borrow_mut();
            effective.update(found.changes.get(), caller);
            effective.current().unwrap_or_else(caller.read)
        };
        let port = |port| ports.borrow_mut().push(port);
        let waits_for_first = self.standby == Some(Standby::NotInstalled) && !is_requested;
        let setting = Setting {
            read: &read,
            waiting: &|| (caller.log)(Level::Info, "waiting for another symroute that holds the lock"),
            dry_run: false,
            watch: Some(change::Watch { lock_file: &self.lock_file, locked: &locked, port: &port }),
        };
        let request = Request {
            leaving: Vec::new(),
            leases: self.leases.clone(),
            prepare: &|_| Ok(()),
            is_skipped: &|_, _| false,
            busy: Busy::Skip,
            precheck: &|configuration, plan, snapshot| {
                let is_needed = |uplink: &Uplink| uplink.up && !is_busy(uplink, configuration);
                let mut uplinks = plan.policies.iter().map(|policy| &plan.uplinks[policy.uplink]);
                match waits_for_first && !has_ours(snapshot) && uplinks.any(is_needed) {
                    true => Err(Standby::NotInstalled.into()),
                    false => Ok(()),
                }
            },
        };
        let run = run(&setting, &request);
        self.own_ports.extend(ports.into_inner());
        self.own_ports.drain(..self.own_ports.len().saturating_sub(OWN_PORTS));
        run
    }

    fn stand_by(&mut self, standby: Standby) {
        let reason = standby.to_string();
        if !self.failures.contains(&reason) {
            self.log(Level::Warning, &reason);
        }
        self.failures = [reason].into();
        self.standby = Some(standby);
        self.causes = Causes::default();
        // A flush is also how an administrator ends an uplink that the files no longer have.
        self.leases.clear();
        self.pace.succeeded(false, Instant::now());
    }

    /// Takes the results of a run over, and logs them.
    fn finish(&mut self, run: &Run, began: Instant) -> Result<()> {
        let unconditional = run.snapshot.rules.iter().filter(|rule| is_unconditional(rule)).map(|rule| rule.table);
        self.tables = run.plan.tables().map(|(_, table)| table).chain(unconditional).collect();
        // The run may have repaired what was removed after the last look.
        let news = self.receive_events()?;
        let config = &run.configuration.config;
        self.files.watch_state(config.dialect);
        self.files.watch_interfaces(config.files.iter().map(|file| &*file.path));
        let failures: BTreeSet<String> =
            run.failures(&|_| true, Direction::Up).into_iter().chain(self.files.errors()).collect();
        self.report_failures(failures);
        let now = Instant::now();
        match run.outcome().is_some_and(|outcome| !outcome.failures.is_empty()) {
            true => self.pace.failed(now),
            false => self.pace.succeeded(run.has_skipped, now),
        }
        let steps = run.outcome().map(|outcome| &outcome.steps[..]).unwrap_or_default();
        let before = std::mem::replace(&mut self.names, UplinkNames::of(&run.plan));
        let lines = lines(steps, &self.names, &before);
        self.names.add(before);
        self.remember_leases(&run.plan);
        let active = run.plan.policies.iter().filter(|policy| run.plan.uplinks[policy.uplink].up).count();
        notify(&[NotifyState::Status(&format!("{active} of {} uplinks active", run.plan.managed.len()))]);
        // An entry may also have been removed after the run: the next one repairs that.
        let next = Causes { removed_by: news.removed_by, ..Causes::default() };
        let causes = std::mem::replace(&mut self.causes, next);
        let removed_by = news.removed_by.or(causes.removed_by);
        // A file with errors has no plan, so the first run is still to come.
        if !config.is_invalid() {
            self.standby = None;
        }
        let has_added = steps.iter().any(|step| matches!(step, Step::AddRoute(_) | Step::AddRule(_)));
        let ended = match () {
            () if steps.is_empty() => Ended::InSync,
            () if has_added && removed_by.is_some() && !causes.command => Ended::Restored,
            () => Ended::Changed,
        };
        let pause = self.pace.end(ended, began, now);
        let remover = removed_by.filter(|_| ended == Ended::Restored).map(program);
        self.report(&lines, remover.as_deref(), ended, pause);
        if news.has_any && self.standby.is_none() {
            self.pace.event(now);
        }
        Ok(())
    }

    /// Keeps those of uplinks that are not active now.
    fn remember_leases(&mut self, plan: &Plan) {
        for uplink in plan.uplinks.iter().filter(|uplink| uplink.dynamic && uplink.up) {
            let Some(router) = uplink.gateway.address() else { continue };
            for source in &uplink.sources {
                let (interface, address) = (uplink.interface.clone(), source.net.addr());
                self.leases.retain(|lease| lease.interface != interface || lease.address != address);
                self.leases.push(Lease { interface, address, router, is_remembered: true });
            }
        }
        self.leases.drain(..self.leases.len().saturating_sub(LEASES));
    }

    /// Logs failures that are new, and those that have ended.
    fn report_failures(&mut self, failures: BTreeSet<String>) {
        for failure in failures.difference(&self.failures) {
            self.log(Level::Error, failure);
        }
        // The end of a standby is in what the next run adds.
        for failure in self.failures.difference(&failures).filter(|_| self.standby.is_none()) {
            self.log(Level::Info, &format!("solved: {failure}"));
        }
        self.failures = failures;
    }

    fn report(&mut self, lines: &[String], remover: Option<&str>, ended: Ended, pause: Option<Duration>) {
        let with_cause = |line: &String| match remover.filter(|_| line.contains(": added ")) {
            Some(remover) => format!("{line} (removed by {remover})"),
            None => line.clone(),
        };
        let lines: Vec<String> = lines.iter().map(with_cause).collect();
        if !lines.is_empty() {
            // Only the record is lost where /run is full.
            let _ = self.record.write(Some(&LastChange { time: now(), lines: lines.clone() }));
        }
        if pause.is_some() {
            if !std::mem::replace(&mut self.has_reported_pause, true) {
                let remover = remover.unwrap_or("another program");
                self.log(
                    Level::Warning,
                    &format!(
                        "{remover} changes or removes routes and rules of symroute again and again; they are added \
                         again after pauses of up to a minute, without further lines in this log. Run 'symroute check' \
                         for programs that do so"
                    ),
                );
            }
            return;
        }
        self.has_reported_pause &= ended == Ended::InSync;
        lines.iter().for_each(|line| self.log(Level::Info, line));
    }
}

fn has_ours(snapshot: &Snapshot) -> bool {
    snapshot.rules.iter().any(Rule::is_ours) || snapshot.routes.iter().any(Route::is_ours)
}

/// The program behind a netlink port. That of a program's first socket is its process id.
fn program(port: u32) -> String {
    program_named(port, std::fs::read_to_string(format!("/proc/{port}/comm")).unwrap_or_default().trim())
}

fn program_named(port: u32, name: &str) -> String {
    let name: String = name.chars().filter(|c| c.is_ascii_graphic()).collect();
    match (port, &*name) {
        (_, "") => "another program".into(),
        // systemd opens the socket of systemd-networkd.socket, and passes it on.
        (1, "systemd") => "netlink port 1, probably systemd-networkd".into(),
        _ => format!("netlink port {port}, probably {name}"),
    }
}

/// Until one of them can be read, or the moment comes.
fn wait(descriptors: [std::os::fd::BorrowedFd; 3], until: Option<Instant>) -> Result<()> {
    let mut descriptors = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    let timeout = match until {
        None => PollTimeout::NONE,
        // Rounded up: a moment too early is another turn for nothing.
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(&mut descriptors, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("poll"),
    }
}

/// SIGTERM, SIGINT and SIGHUP, as a descriptor.
struct Signals(SignalFd);

impl Signals {
    fn block() -> Result<Self> {
        let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
        set.thread_block().context("cannot block signals")?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Signals).context("signalfd")
    }

    fn received(&mut self) -> Result<Option<Signal>> {
        let signal = self.0.read_signal().context("signalfd")?;
        Ok(signal.and_then(|signal| Signal::try_from(signal.ssi_signo as i32).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_remove_entries_have_a_name() {
        assert_eq!(program_named(812, "systemd-network"), "netlink port 812, probably systemd-network");
        assert_eq!(program_named(1, "systemd"), "netlink port 1, probably systemd-networkd");
        assert_eq!(program_named(1, "init"), "netlink port 1, probably init");
        assert_eq!(program_named(812, ""), "another program");
    }
}
