//! What the hooks in if-up.d and if-down.d do: one event of ifupdown, ifupdown-ng or ifupdown2.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Error, Result, bail};
use bstr::BString;

use super::change::{Busy, Direction, Request, Run, Setting, run_locked};
use super::view::View;
use crate::interfaces::{Dialect, Severity, without_alias};
use crate::netlink::Socket;
use crate::network::{Route, Rule};
use crate::report;
use crate::system::configuration::Configuration;
use crate::system::ifstate;

/// An event, from the environment that interfaces(5) describes.
pub struct Event {
    pub direction: Direction,
    /// IFACE.
    interface: BString,
    /// LOGICAL: its stanza; empty where it is not set.
    logical: BString,
}

/// What became of an event.
pub enum Handled {
    /// It concerns no uplink. With the errors of the files, where these may be why.
    Ignored(Option<Error>),
    Ran(Box<Run>),
}

impl Event {
    /// Nothing where it is about no interface that could be an uplink.
    ///
    /// # Errors
    /// Without IFACE, or where neither MODE (`start`, `stop`) nor PHASE (ifupdown-ng and ifupdown2: `up`, `down`) is
    /// known.
    pub fn of_environment() -> Result<Option<Event>> {
        let variable = |name: &str| BString::from(std::env::var_os(name).map(OsString::into_vec).unwrap_or_default());
        let interface = variable("IFACE");
        if interface.is_empty() {
            bail!(
                "IFACE is not set: the hooks in /etc/network/if-up.d and if-down.d run 'symroute hook'; \
                 otherwise run 'symroute up IFACE'"
            );
        }
        if matches!(interface.as_slice(), b"--all" | b"lo") || variable("ADDRFAM") == "meta" {
            return Ok(None);
        }
        let (mode, phase) = (variable("MODE"), variable("PHASE"));
        let direction = match (mode.as_slice(), phase.as_slice()) {
            (b"start", _) | (_, b"up" | b"post-up") => Direction::Up,
            (b"stop", _) | (_, b"down" | b"pre-down") => Direction::Down,
            _ => bail!("{interface}: invalid hook environment: MODE must be start or stop, or PHASE up or down"),
        };
        Ok(Some(Event { direction, interface, logical: variable("LOGICAL") }))
    }

    /// IFACE, for messages.
    pub fn interface(&self) -> String {
        self.interface.to_string()
    }

    /// # Errors
    /// As [`run`](super::change::run).
    pub fn handle(&self, setting: &Setting) -> Result<Handled> {
        // The files are read once. Whether the lock can be had matters only to a host that needs it.
        let lock = setting.lock();
        let mut configuration = (setting.read)();
        self.note(&mut configuration);
        if !self.concerns(&configuration) {
            // A host with one uplink is no concern of symroute, so its 'ifup' does not fail. But the other uplink may be
            // missing for an error of the files.
            let errors = configuration.config.is_invalid().then(|| unreadable(&configuration));
            return Ok(Handled::Ignored(errors));
        }
        // An `ifup` of ifupdown2 has one lock for all interfaces, and takes none down.
        let is_by_turns = configuration.config.dialect == Dialect::Ifupdown2
            && self.direction == Direction::Up
            && ifstate::is_part_of_ifupdown2();
        let interface = self.interface();
        let own = std::slice::from_ref(&interface);
        let request = Request {
            leaving: self.leaving(),
            leases: Vec::new(),
            prepare: &|configuration| {
                self.note(configuration);
                match configuration.config.is_invalid() && self.direction == Direction::Up {
                    true => Err(unreadable(configuration)),
                    false => Ok(()),
                }
            },
            // A stanza with its own lines manages its uplink while its interface goes up or down.
            is_skipped: &|plan, at| {
                let uplink = &plan.uplinks[at];
                uplink.written.is_some_and(|written| written.lines) && uplink.is_on(&interface)
            },
            busy: if is_by_turns { Busy::SkipLines(own) } else { Busy::SkipOthers(own) },
            precheck: &|_, _, _| Ok(()),
        };
        let lock = lock?;
        let run = run_locked(setting, &request, lock.as_ref(), configuration)?;
        // The hook ends now, which unlocks and closes the file.
        std::mem::forget(lock);
        Ok(Handled::Ran(Box::new(run)))
    }

    /// The interface that goes down, with the name of its stanza: only the environment has it.
    fn leaving(&self) -> Vec<String> {
        match self.direction {
            Direction::Up => Vec::new(),
            Direction::Down if self.logical.is_empty() => vec![self.interface()],
            Direction::Down => vec![format!("{}={}", self.interface, self.logical)],
        }
    }

    /// ifupdown notes only after the hooks which stanza the interface is up as.
    fn note(&self, configuration: &mut Configuration) {
        let active = &mut configuration.config.active;
        active.retain(|(link, _)| *link != self.interface);
        if self.direction == Direction::Up && !self.logical.is_empty() {
            active.push((self.interface.clone(), self.logical.clone()));
        }
    }

    /// May this call change anything? Decided by the files: no socket is opened on a host with one uplink. But uplinks
    /// may depend on the active interfaces, and then the entries of the last one have to be removed.
    fn concerns(&self, configuration: &Configuration) -> bool {
        let has_other_name = !(self.logical.is_empty() || self.logical == self.interface);
        let without_files = configuration.config.is_invalid() && self.direction == Direction::Down;
        without_files
            || has_other_name
            || configuration.has_managed()
            || configuration.config.chooses_at_run_time()
            || kernel_has_more(configuration)
    }
}

/// Does the main table have uplinks that the files do not, or are there entries to remove? It cannot where the files
/// have one interface. Where the kernel does not reply, a host that has nothing to do does not fail for it.
pub(super) fn kernel_has_more(configuration: &Configuration) -> bool {
    let stanzas = || configuration.config.stanzas.iter().map(|stanza| without_alias(&stanza.interface));
    let first = stanzas().find(|name| name != b"lo");
    if stanzas().all(|name| name == b"lo" || Some(&name) == first.as_ref()) {
        return false;
    }
    let Ok(snapshot) = Socket::open().and_then(|mut socket| View::new(&mut socket).snapshot()) else { return false };
    let ours = snapshot.rules.iter().any(Rule::is_ours) || snapshot.routes.iter().any(Route::is_ours);
    ours || configuration.has_managed_in(&snapshot)
}

/// The errors of the files on one line.
pub(crate) fn unreadable(configuration: &Configuration) -> Error {
    let Configuration { config, root, .. } = configuration;
    let errors = config.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|error| report::one_line(config, root, error)).collect();
    Error::msg(format!("{} (nothing was changed; details: 'symroute plan')", errors.join("; ")))
}
