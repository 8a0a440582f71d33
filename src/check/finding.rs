//! A finding: what is wrong, why it matters, and the commands that mend it. One kind has one id, and one page
//! in docs/findings that tells the whole story.

use crate::interfaces::{At, Family, Severity};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable, in kebab case; one of [`PAGES`].
    pub id: &'static str,
    /// An error loses packets now; a warning will, or costs something else.
    pub severity: Severity,
    /// Nothing for what concerns both.
    pub family: Option<Family>,
    /// The link that it is about, if it is one.
    pub interface: Option<String>,
    /// What else tells it from others of its kind: a port.
    pub what: Option<String>,
    /// The line of the configuration that it comes from.
    pub at: Option<At>,
    pub seen: String,
    pub why: String,
    /// What has to be known or done before the commands.
    pub before: Option<String>,
    /// Shell commands that mend it, run as root.
    pub mend: Vec<String>,
    /// What a command cannot decide, or how to make the mend last.
    pub advice: Option<String>,
}

impl Finding {
    pub fn error(id: &'static str, seen: impl Into<String>, why: impl Into<String>) -> Self {
        let (seen, why) = (seen.into(), why.into());
        let (severity, family, interface, what, at) = (Severity::Error, None, None, None, None);
        let (before, mend, advice) = (None, Vec::new(), None);
        Finding { id, severity, family, interface, what, at, seen, why, before, mend, advice }
    }

    pub fn warning(id: &'static str, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(id, seen, why) }
    }

    pub fn on(self, interface: &str, family: Family) -> Self {
        Finding { interface: Some(interface.to_string()), family: Some(family), ..self }
    }

    pub fn mend(self, commands: impl IntoIterator<Item = String>) -> Self {
        Finding { mend: commands.into_iter().collect(), ..self }
    }

    /// `ID`, or `ID:WHAT` where WHAT is its interface, port or the like.
    pub fn is_named(&self, word: &str) -> bool {
        match word.split_once(':') {
            Some((id, what)) => {
                id == self.id && [&self.what, &self.interface].into_iter().flatten().any(|it| it == what)
            }
            None => word == self.id,
        }
    }

    pub fn before(self, text: impl Into<String>) -> Self {
        Finding { before: Some(text.into()), ..self }
    }

    pub fn advice(self, advice: impl Into<String>) -> Self {
        Finding { advice: Some(advice.into()), ..self }
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
    "arp-flux",
    "default-route-unknown",
    "default-stale",
    "dnat-without-marks",
    "gateway-unknown",
    "interface-group",
    "local-network-unreachable",
    "lookup-failed",
    "networkd-removes-rules",
    "networkmanager-manages",
    "no-default",
    "not-applied",
    "promote-secondaries-off",
    "route-foreign",
    "rp-filter-drops",
    "rp-filter-ignores-marks",
    "rule-duplicated",
    "rule-left-over",
    "rule-missing",
    "rule-shadowed",
    "rule-without-address",
    "same-metric",
    "table-empty",
    "table-stale",
    "uplink-down",
    "wildcard-udp",
);

/// Policy by hand has one page for all its kinds, with a table of them.
const BY_HAND: &str = include_str!("../../docs/hand-written.md");

/// All ids: those with a page of their own, then those of policy by hand.
pub fn ids() -> impl Iterator<Item = &'static str> {
    let by_hand = BY_HAND.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    PAGES.iter().map(|(id, _)| *id).chain(by_hand.filter(|id| id.starts_with("hand-written-")))
}

/// The page of one kind of finding.
pub fn page(id: &str) -> Option<&'static str> {
    let own = PAGES.iter().find(|(known, _)| *known == id).map(|(_, page)| *page);
    own.or_else(|| ids().any(|known| known == id).then_some(BY_HAND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_id_and_says_what_why_and_how() {
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
