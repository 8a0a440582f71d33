//! A finding: the problem, its effect, and the commands that fix it. Each kind has one id, and one page in
//! docs/findings.

use crate::interfaces::{Location, Severity};
use crate::network::Family;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable, in kebab case; one of [`PAGES`].
    pub id: &'static str,
    /// An error loses packets now. A warning will lose packets later, or has another disadvantage.
    pub severity: Severity,
    /// Nothing if it concerns both.
    pub family: Option<Family>,
    /// The interface that it concerns, if it is one.
    pub interface: Option<String>,
    /// What else distinguishes it from others of its kind: a port.
    pub what: Option<String>,
    /// The line of the configuration that causes it.
    pub location: Option<Location>,
    pub summary: String,
    pub effect: String,
    /// The precondition of the commands.
    pub before: Option<String>,
    /// Shell commands that fix it, run as root.
    pub fix: Vec<String>,
    /// Instructions that are not commands, and how to make the fix permanent.
    pub note: Option<String>,
}

impl Finding {
    pub fn error(id: &'static str, summary: impl Into<String>, effect: impl Into<String>) -> Self {
        let (summary, effect) = (summary.into(), effect.into());
        let (severity, family, interface, what, location) = (Severity::Error, None, None, None, None);
        let (before, fix, note) = (None, Vec::new(), None);
        Finding { id, severity, family, interface, what, location, summary, effect, before, fix, note }
    }

    pub fn warning(id: &'static str, summary: impl Into<String>, effect: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(id, summary, effect) }
    }

    pub fn on(self, interface: &str, family: Family) -> Self {
        Finding { interface: Some(interface.to_string()), family: Some(family), ..self }
    }

    pub fn fix(self, commands: impl IntoIterator<Item = String>) -> Self {
        Finding { fix: commands.into_iter().collect(), ..self }
    }

    /// `ID`, or `ID:WHAT` where WHAT is its interface, port or the like.
    pub fn is_named(&self, word: &str) -> bool {
        match word.split_once(':') {
            Some((id, what)) => {
                id == self.id && [&self.what, &self.interface].into_iter().flatten().any(|known| known == what)
            }
            None => word == self.id,
        }
    }

    pub fn before(self, text: impl Into<String>) -> Self {
        Finding { before: Some(text.into()), ..self }
    }

    pub fn note(self, note: impl Into<String>) -> Self {
        Finding { note: Some(note.into()), ..self }
    }
}

macro_rules! pages {
    ($($id:literal),* $(,)?) => {
        /// The page of every finding, by id.
        pub const PAGES: &[(&str, &str)] = &[$(($id, include_str!(concat!("../../docs/findings/", $id, ".md")))),*];
    };
}

pages!(
    "address-duplicate",
    "address-missing",
    "address-on-two-interfaces",
    "answered-elsewhere",
    "arp-flux",
    "arrived-elsewhere",
    "default-route-unknown",
    "default-stale",
    "dnat-without-marks",
    "foreign-route",
    "foreign-source-sent",
    "gateway-unknown",
    "interface-group",
    "local-network-unreachable",
    "lookup-failed",
    "networkd-removes-rules",
    "networkmanager-manages",
    "no-default",
    "not-applied",
    "ppp-interface-unknown",
    "promote-secondaries-off",
    "rp-filter-drops",
    "rp-filter-ignores-marks",
    "rule-duplicated",
    "rule-missing",
    "rule-shadowed",
    "rule-stale",
    "rule-without-address",
    "same-metric",
    "stanza-error",
    "table-empty",
    "table-stale",
    "unanswered",
    "uplink-down",
    "wildcard-udp",
);

/// The index of all kinds.
const INDEX: &str = include_str!("../../docs/check.md");

/// Manual policy routing has one page for all its kinds, with a table of them.
const MANUAL: &str = include_str!("../../docs/hand-written.md");

/// All ids: those with a page of their own, then those of manual policy routing.
pub fn ids() -> impl Iterator<Item = &'static str> {
    let manual = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    PAGES.iter().map(|(id, _)| *id).chain(manual.filter(|id| id.starts_with("manual-")))
}

/// The page of one kind of finding, as Markdown: one of its own, or its row in the table of manual policy routing.
pub fn page(id: &str) -> Option<String> {
    let page = PAGES.iter().find(|(known, _)| *known == id).map(|(_, page)| (*page).to_string());
    page.or_else(|| {
        let row =
            MANUAL.lines().find(|line| line.strip_prefix("| `").is_some_and(|row| row.starts_with(&format!("{id}`"))));
        let meaning = row?.trim_matches('|').split_once('|')?.1.trim();
        Some(format!("# {id}\n\n{meaning}\n\nAll kinds, and how symroute manages such uplinks: docs/hand-written.md\n"))
    })
}

/// What is wrong, in a few words: from the index of all kinds.
pub fn title(id: &str) -> Option<String> {
    let row = INDEX.lines().find(|line| line.starts_with(&format!("| [`{id}`]")))?;
    Some(row.trim_matches('|').split_once('|')?.1.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_id_and_the_three_headings() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/findings");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        files.sort();
        assert_eq!(files, PAGES.iter().map(|(id, _)| format!("{id}.md")).collect::<Vec<_>>());
        for (id, page) in PAGES {
            let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
            let expected = [&format!("# {id}")[..], "## What is seen", "## Why it matters", "## How to fix it"];
            assert_eq!(headings, expected, "{id}");
            assert!(page.lines().all(|line| line.starts_with("    ") || line.chars().count() < 80), "{id}: too wide");
        }
    }
}
