//! `symroute plan`

use anyhow::Result;

use super::common::{Common, Exit, Json, Selected, print, print_diagnostics, print_json};
use crate::handwritten::lint_with;
use crate::interfaces::{Diagnostic, Severity};
use crate::netlink::{Socket, snapshot};
use crate::policy::{self, Plan};
use crate::report;
use crate::sort::sort_by_key;
use crate::system::configuration::Configuration;
use crate::uplinks::intended;

pub fn plan(common: &Common, selected: &Selected, json: Json) -> Result<Exit> {
    let configuration = common.read();
    let Configuration { config, names, root } = &configuration;
    // The kernel has the numbers in use; another root has another kernel.
    let snapshot = match root.is_host() {
        true => Some(snapshot(&mut Socket::open()?)?),
        false => None,
    };
    let found = intended(config, snapshot.as_ref(), names);
    let may_be_manual = found.may_be_manual;
    let mut plan = policy::plan(found, snapshot.as_ref(), names, None);
    let in_use = plan.in_use(snapshot.as_ref());
    if may_be_manual {
        plan.diagnostics.extend(lint_with(config, names, &in_use));
    }
    let selection = selected.of(&plan)?;
    if json.json {
        print_json(&report::plan_json(&plan, &selection, config, root))?;
        let has_error = plan.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        return Ok(if config.is_invalid() || has_error { Exit::Error } else { Exit::Yes });
    }
    if print_problems(common, &configuration, &plan, common.quiet) {
        return Ok(Exit::Error);
    }
    if !common.quiet {
        print(report::plan_text(&plan, &selection))?;
    }
    Ok(Exit::Yes)
}

/// Prints the diagnostics of the files and of the plan; true if one is an error.
pub fn print_problems(common: &Common, configuration: &Configuration, plan: &Plan, quiet: bool) -> bool {
    let mut diagnostics: Vec<&Diagnostic> = configuration.config.diagnostics.iter().chain(&plan.diagnostics).collect();
    sort_by_key(&mut diagnostics, |diagnostic| diagnostic.location);
    let shown = diagnostics.into_iter().filter(|diagnostic| !quiet || diagnostic.severity == Severity::Error);
    let failed = print_diagnostics(common.color, configuration, shown);
    if !quiet {
        // They take effect at the next ifup; the plan for the active interfaces is valid.
        let as_warning = |clash: &Diagnostic| Diagnostic { severity: Severity::Warning, ..clash.clone() };
        print_diagnostics(common.color, configuration, &plan.clashes.iter().map(as_warning).collect::<Vec<_>>());
    }
    failed
}
