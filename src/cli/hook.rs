//! `symroute hook`

use anyhow::{Context, Result};

use super::common::{Common, DryRun, Exit, print, print_commands, print_error};
use super::up_down::require_no_failure;
use crate::apply::hook::{Event, Handled};
use crate::apply::lease::Change;

/// What runs the hook.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct HookArguments {
    /// Read the environment of a DHCP client's hook, instead of ifupdown's
    #[arg(long)]
    lease: bool,
    /// Read the environment of a script of pppd, instead of ifupdown's
    #[arg(long, conflicts_with = "lease")]
    ppp: bool,
}

pub fn hook(common: &Common, arguments: HookArguments, dry_run: DryRun) -> Result<Exit> {
    if arguments.lease || arguments.ppp {
        let change = if arguments.ppp { Some(Change::of_pppd()?) } else { Change::of_environment()? };
        return change.map_or(Ok(Exit::Yes), |change| report(&change, common, dry_run));
    }
    let Some(event) = Event::of_environment()? else { return Ok(Exit::Yes) };
    let interface = event.interface();
    let read = || common.read();
    let run = match event.handle(&dry_run.setting(&read)).with_context(|| interface.clone())? {
        Handled::Ran(run) => run,
        Handled::Ignored(errors) => {
            if let Some(error) = errors {
                print_error(&format!("symroute: {interface}: {error:#}\n"));
            }
            return Ok(Exit::Yes);
        }
    };
    print_commands(&run.done)?;
    let is_verbose = common.verbose || std::env::var_os("VERBOSITY").is_some_and(|value| value == "1");
    if let (Some(changes), true) = (run.changes(), is_verbose) {
        let _ = print(format!("symroute: {interface}: {changes} changes made\n"));
    }
    let failures = run.failures(&|at| run.plan.uplinks[at].is_on(&interface), event.direction);
    // The hook ends now: on a host with hundreds of uplinks, to give the memory back takes time.
    std::mem::forget(run);
    require_no_failure(&interface, &failures)
}

fn report(change: &Change, common: &Common, dry_run: DryRun) -> Result<Exit> {
    let read = || common.read();
    let handled = change.handle(&dry_run.setting(&read)).with_context(|| change.interface().to_string())?;
    let Handled::Ran(run) = handled else { return Ok(Exit::Yes) };
    print_commands(&run.done)?;
    require_no_failure(change.interface(), &change.failures(&run))
}
