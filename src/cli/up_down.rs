//! `symroute up` and `symroute down`

use anyhow::{Context, Result, bail};

use super::apply::require_readable;
use super::common::{Common, DryRun, Exit, print, print_commands, print_error};
use crate::apply::by_name::{Named, up_or_down as carry_out};
use crate::apply::change::Direction;

pub fn up_or_down(direction: Direction, interfaces: &[String], common: &Common, dry_run: DryRun) -> Result<Exit> {
    let read = || common.read();
    let named = Named {
        interfaces,
        file: &common.interfaces,
        require_readable: &|configuration| require_readable(common.color, configuration),
        without_lease: &|interface| {
            print_error(&format!("symroute: {interface}: pending: no lease\n"));
        },
    };
    let names = interfaces.join(", ");
    let run = carry_out(direction, &named, &dry_run.setting(&read)).with_context(|| names.clone())?;
    print_commands(&run.done)?;
    if let (Some(changes), true) = (run.changes(), common.verbose) {
        let _ = print(format!("{names}: {changes} changes made\n"));
    }
    let is_own = |at: usize| interfaces.iter().any(|interface| run.plan.uplinks[at].is_on(interface));
    require_no_failure(&names, &run.failures(&is_own, direction))
}

/// # Errors
/// With all of the failures, where there are some.
pub fn require_no_failure(interfaces: &str, failures: &[String]) -> Result<Exit> {
    if !failures.is_empty() {
        bail!("{interfaces}: {}", failures.join("; "));
    }
    Ok(Exit::Yes)
}
