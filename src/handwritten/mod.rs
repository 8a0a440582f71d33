//! Manual policy routing in stanzas, and the mistakes in it.
//!
//! symroute skips these lines but reports mistakes. Each diagnostic is for a mistake that was found in published files,
//! and is reported once: lines that `ip` rejects, rules that are never deleted or never match, tables that are empty or
//! use another interface. `from SUBNET` rules, `to ADDR` twins and flushes that fail on an empty table are valid.

mod added;
mod host;
#[cfg(test)]
mod in_namespace;
mod lint;
mod removal;
mod routes;
mod rules;

use std::cell::OnceCell;

use bstr::ByteSlice;
use rustc_hash::FxHashSet;

use self::added::{AddedRules, suggest_priorities};
use self::host::Host;
use self::lint::ManualPolicyLint;
use crate::commands::lines::{Line, any_line, lines};
use crate::commands::tables::Names;
use crate::interfaces::{Config, Diagnostic, without_alias};
use crate::policy::InUse;
use crate::sort::sort_by_key;
use crate::uplinks::collector::UplinkCollector;

/// Mistakes in manual policy routing, in file order; none for a configuration that ifupdown rejects.
pub fn lint(config: &Config, names: &Names) -> Vec<Diagnostic> {
    lint_with(config, names, &InUse::default())
}

/// The same where these numbers are in use.
pub fn lint_with(config: &Config, names: &Names, in_use: &InUse) -> Vec<Diagnostic> {
    let (listed, may_be_manual) = (config.listed(), |line: &Line| line.is_policy(names) || line.deletes_route());
    if config.is_invalid() || !any_line(config, &listed, &may_be_manual) {
        return Vec::new();
    }
    let mut collector = UplinkCollector::of_files(config, names, lines(config, &listed));
    let uplinks = collector.uplinks();
    let links = config
        .stanzas
        .iter()
        .map(|stanza| without_alias(collector.listed.first_link(stanza)).to_str_lossy().into_owned());
    let links: Vec<String> = links.collect();
    let host = Host::new(&collector, &uplinks, &links);
    let suggested_priorities = suggest_priorities(&collector.lines, &in_use.priorities);
    let corrected = collector.lines.clone();
    let added = AddedRules::new(&collector.lines, names);
    let mut lint = ManualPolicyLint {
        host,
        added,
        collector: &collector,
        corrected,
        links,
        deleted: FxHashSet::default(),
        found: Vec::new(),
        words_of_others: OnceCell::new(),
        suggested_priorities,
    };
    lint.rejected_lines();
    lint.unknown_tables(&in_use.tables);
    lint.rules_and_their_tables();
    lint.rules();
    lint.routes();
    lint.deleted_routes();
    lint.other_stanzas();
    let mut found = lint.found;
    sort_by_key(&mut found, |diagnostic| diagnostic.location);
    // A line that several stanzas inherit is reported once.
    found.dedup();
    found
}
