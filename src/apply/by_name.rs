//! Interfaces that go up or down by name, so that a stanza's own lines may do what the hooks do.

use std::path::Path;

use anyhow::{Result, bail};
use bstr::ByteSlice;

use super::change::{Busy, Direction, Request, Run, Setting, run};
use super::view::View;
use crate::interfaces::{Stanza, without_alias};
use crate::netlink::Socket;
use crate::network::{Snapshot, kernel_name};
use crate::policy::Plan;
use crate::system::configuration::Configuration;
use crate::uplinks::ifup_targets;

/// Which interfaces, and what the caller does about them.
pub struct Named<'a> {
    pub interfaces: &'a [String],
    /// The interfaces file, for messages.
    pub file: &'a Path,
    /// Rejects a configuration that cannot be read.
    pub require_readable: &'a dyn Fn(&Configuration) -> Result<()>,
    /// Called for an interface whose lease did not come yet: it is no failure.
    pub without_lease: &'a dyn Fn(&str),
}

/// # Errors
/// As [`run`], and for an interface that is not in the files, or that is not up.
pub fn up_or_down(direction: Direction, named: &Named, setting: &Setting) -> Result<Run> {
    let leaving = if direction == Direction::Down { named.interfaces.to_vec() } else { Vec::new() };
    let request = Request {
        leaving,
        leases: Vec::new(),
        prepare: &|configuration| match direction {
            Direction::Down if configuration.config.is_invalid() => Ok(()),
            _ => (named.require_readable)(configuration).and_then(|()| require_known(configuration, named)),
        },
        is_skipped: &|_, _| false,
        busy: Busy::SkipOthers(named.interfaces),
        precheck: &|configuration, plan, snapshot| match direction {
            Direction::Down => Ok(()),
            Direction::Up => {
                let mut interfaces = named.interfaces.iter();
                interfaces.try_for_each(|interface| require_up(configuration, plan, snapshot, interface, named))
            }
        },
    };
    run(setting, &request)
}

fn require_known(configuration: &Configuration, named: &Named) -> Result<()> {
    let config = &configuration.config;
    for interface in named.interfaces {
        let has_name = |stanza: &Stanza| without_alias(&stanza.interface) == without_alias(interface);
        let is_listed = config.lists.names().any(|name| name == interface.as_bytes());
        let in_files = is_listed || config.listed().starts(interface.as_bytes()) || config.stanzas.iter().any(has_name);
        if !in_files && !is_another_name(configuration, interface)? {
            bail!("no such interface in {}", named.file.display());
        }
    }
    Ok(())
}

/// Is it the kernel's name, or another altname, of an interface that the files have by an altname?
fn is_another_name(configuration: &Configuration, interface: &str) -> Result<bool> {
    let links = View::new(&mut Socket::open()?).snapshot()?.links;
    let kernel_name = |name: &[u8]| kernel_name(&links, &without_alias(name).to_str_lossy()).to_string();
    let of_stanza = |stanza: &Stanza| kernel_name(&stanza.interface) == kernel_name(interface.as_bytes());
    Ok(configuration.config.stanzas.iter().any(of_stanza))
}

/// Is there an address to add rules for, on an interface that its caller says is up?
fn require_up(
    configuration: &Configuration,
    plan: &Plan,
    snapshot: &Snapshot,
    interface: &str,
    named: &Named,
) -> Result<()> {
    let own: Vec<_> =
        plan.managed.iter().map(|at| &plan.uplinks[*at]).filter(|uplink| uplink.is_on(interface)).collect();
    if own.is_empty() || own.iter().any(|uplink| uplink.up || uplink.is_faulty()) {
        return Ok(());
    }
    // A lease without a router is no fault, and must not fail the 'ifup' that calls this.
    if own.iter().all(|uplink| uplink.dynamic) {
        (named.without_lease)(interface);
        return Ok(());
    }
    let names = ifup_targets(&configuration.config, snapshot, own[0]).join(" ");
    bail!("interface is down or its configured address is missing; start it with 'ifup {names}'");
}
