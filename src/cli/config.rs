//! `symroute config`

use anyhow::Result;

use super::common::{Common, Exit, Json, print, print_diagnostics, print_json};
use crate::handwritten::lint_with;
use crate::interfaces::Severity;
use crate::report;
use crate::sort::sort_by_key;

pub fn config(common: &Common, json: Json) -> Result<Exit> {
    let mut configuration = common.read();
    let is_invalid = configuration.config.is_invalid();
    let in_use = configuration.plan(None, &[]).in_use(None);
    let manual = lint_with(&configuration.config, &configuration.names, &in_use);
    configuration.config.diagnostics.extend(manual);
    sort_by_key(&mut configuration.config.diagnostics, |diagnostic| diagnostic.location);
    if json.json {
        print_json(&report::config_json(&configuration.config, &configuration.root))?;
    } else if !is_invalid && !common.quiet {
        print(report::config_text(&configuration.config, &configuration.root))?;
    }
    let diagnostics = configuration.config.diagnostics.iter();
    print_diagnostics(
        common.color,
        &configuration,
        diagnostics.filter(|diagnostic| !common.quiet || diagnostic.severity == Severity::Error),
    );
    Ok(if is_invalid { Exit::Error } else { Exit::Yes })
}
