//! `symroute apply`

use anyhow::{Result, bail};

use super::common::{Color, Common, DryRun, Exit, print, print_commands, print_diagnostics, print_error};
use crate::apply::change::{Busy, Direction, Request, run};
use crate::interfaces::{Diagnostic, Severity};
use crate::policy::Plan;
use crate::report;
use crate::system::configuration::Configuration;
use crate::uplinks::Selection;

pub fn apply(common: &Common, dry_run: DryRun) -> Result<Exit> {
    let read = || common.read();
    let request = Request {
        leaving: Vec::new(),
        leases: Vec::new(),
        prepare: &|configuration| require_readable(common.color, configuration),
        is_skipped: &|_, _| false,
        busy: Busy::Manage,
        precheck: &|configuration, plan, _| {
            if !common.quiet {
                print_diagnostics(
                    common.color,
                    configuration,
                    plan.diagnostics.iter().filter(|diagnostic| leaves_undone(plan, diagnostic)),
                );
            }
            Ok(())
        },
    };
    let run = run(&dry_run.setting(&read), &request)?;
    print_commands(&run.done)?;
    let failures = run.outcome().into_iter().flat_map(|outcome| &outcome.failures);
    let failed: Vec<usize> = failures.map(|failure| failure.uplink).collect();
    if let (Some(changes), false) = (run.changes(), common.quiet) {
        let inactive =
            report::inactive(&run.plan, &Selection::default(), &run.configuration.config, &run.snapshot, &failed);
        // What is done is done, whether or not it can be printed.
        let _ = print(report::applied(changes, run.plan.managed.len(), &inactive));
    }
    for failure in run.failures(&|at| failed.contains(&at), Direction::Up) {
        print_error(&format!("symroute: {failure}\n"));
    }
    Ok(if failed.is_empty() { Exit::Yes } else { Exit::Error })
}

/// Is the diagnostic about what an apply does not do? 'symroute plan' prints the others.
fn leaves_undone(plan: &Plan, diagnostic: &Diagnostic) -> bool {
    diagnostic.id == Some("interface-group")
        || plan.uplinks.iter().any(|uplink| uplink.faults.iter().any(|fault| fault.location == diagnostic.location))
}

/// Prints all errors of a configuration that cannot be read.
///
/// # Errors
/// Where there is one.
pub fn require_readable(color: Color, configuration: &Configuration) -> Result<()> {
    let errors = configuration.config.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    if print_diagnostics(color, configuration, errors) {
        bail!("nothing was changed");
    }
    Ok(())
}
