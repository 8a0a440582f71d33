//! `symroute flush`

use anyhow::Result;

use super::common::{Common, DryRun, Exit, print, print_commands};
use crate::apply::change::{Done, flush as remove_all};

pub fn flush(common: &Common, dry_run: DryRun) -> Result<Exit> {
    common.require_no_files()?;
    let read = || common.read();
    let done = remove_all(&dry_run.setting(&read))?;
    print_commands(&done)?;
    if let (Done::Changed(outcome), false) = (&done, common.quiet) {
        // What is done is done, whether or not it can be printed.
        let _ = print(format!("{} rules, routes and group memberships removed.\n", outcome.steps.len()));
    }
    Ok(Exit::Yes)
}
