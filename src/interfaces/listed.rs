//! What the `auto` and `allow-*` lists start: stanzas by their names, logical names with their links, and patterns.

use bstr::{BStr, ByteSlice};
use rustc_hash::{FxHashMap, FxHashSet};

use super::active::Active;
use super::config::{Config, Stanza};
use super::text::Text;
use super::wordexp::matches;

impl Config {
    /// What the `auto` and `allow-*` lists start, and the active interfaces.
    pub fn listed(&self) -> Listed<'_> {
        let active = self.active.iter().map(|(link, logical)| (link.as_bstr(), logical.as_bstr()));
        Listed::new(self.lists.names(), Active::new(active))
    }

    /// What the `auto` lists start at boot.
    pub fn at_boot(&self) -> AtBoot<'_> {
        let auto = self.lists.allow.iter().filter(|(class, _)| *class == "auto");
        AtBoot::new(auto.flat_map(|(_, names)| names))
    }

    /// Is the stanza of an interface known only while the interface is up?
    pub fn chooses_at_run_time(&self) -> bool {
        !self.mappings.is_empty() || self.listed().logical.values().flatten().any(Option::is_none)
    }
}

/// What starts a stanza, besides a list with its name.
#[derive(Debug, Clone, Default)]
pub struct Listed<'a> {
    patterns: Vec<&'a BStr>,
    /// The logical names of `LINK=NAME` with their links; nothing for a pattern.
    logical: FxHashMap<&'a BStr, Vec<Option<&'a BStr>>>,
    /// Links that are up, each with the stanza that it is up as.
    active: Active<'a>,
}

/// Is it the name of a stanza? A list may also have patterns, and links with the names of their stanzas.
pub(super) fn is_name(listed: &[u8]) -> bool {
    !listed.starts_with(b"/") && !listed.contains(&b'=')
}

impl<'a> Listed<'a> {
    fn new(names: impl Iterator<Item = &'a Text>, active: Active<'a>) -> Self {
        let mut listed = Listed { active, ..Listed::default() };
        for name in names.filter(|name| !is_name(name)) {
            match name.find_byte(b'=') {
                Some(equals) => {
                    let link = (!name.starts_with(b"/")).then(|| name[..equals].as_bstr());
                    listed.logical.entry(name[equals + 1..].as_bstr()).or_default().push(link);
                }
                None => listed.patterns.push(name.as_bstr()),
            }
        }
        listed
    }

    /// Is the stanza started by a list, or active?
    pub fn has(&self, stanza: &Stanza) -> bool {
        stanza.is_listed || self.starts(&stanza.interface)
    }

    /// The same without the lists that have the name itself.
    pub fn starts(&self, name: &[u8]) -> bool {
        let name = name.as_bstr();
        self.logical.contains_key(name)
            || self.patterns.iter().any(|pattern| pattern_matches(pattern, name))
            || self.active.has_link(name)
            || self.active.has_stanza(name)
    }

    /// Removes active links that do not exist, whatever ifupdown's state has; true if there were any.
    pub fn retain_up(&mut self, is_there: impl Fn(&BStr) -> bool) -> bool {
        self.active.retain(is_there)
    }

    /// Is a link up as this stanza?
    pub fn is_up(&self, name: &BStr) -> bool {
        self.active.has_stanza(name)
    }

    /// Is the link up, as any stanza?
    pub fn is_noted(&self, link: &BStr) -> bool {
        self.active.has_link(link)
    }

    /// The links of a stanza: those that are up as it, and those for which it is listed, or else its own name. None if they
    /// are known only at run time, as for a pattern.
    pub fn links<'s>(&self, stanza: &'s Stanza) -> Vec<&'s BStr>
    where
        'a: 's,
    {
        let name = stanza.interface.as_bstr();
        let up = self.active.of_stanza(name);
        // Mostly it has one.
        let mut links = Vec::with_capacity(up.len().max(1));
        links.extend_from_slice(up);
        match self.logical.get(name) {
            Some(listed) => links.extend(listed.iter().flatten().filter(|link| !self.is_noted(link))),
            None if self.is_noted(name) => {}
            None if up.is_empty() || stanza.is_listed => links.push(name),
            None => {}
        }
        links
    }
}

/// What the `auto` lists start.
#[derive(Debug)]
pub struct AtBoot<'a> {
    names: FxHashSet<&'a BStr>,
    listed: Listed<'a>,
}

impl<'a> AtBoot<'a> {
    fn new(names: impl Iterator<Item = &'a Text> + Clone) -> Self {
        let listed = Listed::new(names.clone(), Active::default());
        AtBoot { names: names.filter(|name| is_name(name)).map(|name| name.as_bstr()).collect(), listed }
    }

    pub fn has(&self, name: &[u8]) -> bool {
        self.names.contains(name.as_bstr()) || self.listed.starts(name)
    }
}

/// `/eth*`, `/eth*/1`: shell patterns over the links of the host, after the first slash.
fn pattern_matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some(pattern) = pattern.strip_prefix(b"/") else { return false };
    matches(&pattern[..pattern.find_byte(b'/').unwrap_or(pattern.len())], name)
}
