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

    /// Does a pattern or a logical name start it, or is it active? A list with the name itself does not count here.
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

    /// The first of them, or else the stanza's own name.
    pub fn first_link<'s>(&self, stanza: &'s Stanza) -> &'s BStr
    where
        'a: 's,
    {
        self.links(stanza).first().copied().unwrap_or(stanza.interface.as_bstr())
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::super::config::{Dialect, Files};
    use super::super::wordexp::Failure;
    use super::*;

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }
        fn expand(&self, _: &[u8]) -> Result<Vec<PathBuf>, Failure> {
            Ok(Vec::new())
        }
        fn list(&self, _: &Path) -> io::Result<Vec<Vec<u8>>> {
            Ok(Vec::new())
        }
        fn exists(&self, _: &Path) -> bool {
            false
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(Path::new("/f"), text.into(), &NoFiles, Dialect::Ifupdown)
    }

    #[test]
    fn each_list_has_a_name_once() {
        let text = "auto eth0 eth1\nallow-hotplug eth0 eth0\nallow-lan eth0\nauto eth0\nallow-hotplug eth0 eth2 eth0\n";
        let lists = config(text).lists.allow;
        let shown: Vec<String> =
            lists.iter().map(|(class, names)| format!("{class}: {}", bstr::join(" ", names).as_bstr())).collect();
        assert_eq!(shown, ["auto: lo eth0 eth1", "hotplug: eth0 eth2", "lan: eth0"]);
    }

    #[test]
    fn a_list_starts_a_stanza_by_name_logical_name_or_pattern() {
        let lists = "auto eth0 eth1=lan\nallow-hotplug /wl*\n";
        let stanzas = ["eth0", "eth1", "lan", "wlan0", "eth0:1", "eth1=lan", "/wl*"];
        let text = stanzas.iter().fold(lists.to_string(), |text, name| format!("{text}iface {name} inet dhcp\n"));
        let config = config(&text);
        let listed = config.listed();
        let started: Vec<String> = config
            .stanzas
            .iter()
            .filter(|stanza| listed.has(stanza))
            .map(|stanza| stanza.interface.to_string())
            .collect();
        assert_eq!(started, ["lo", "eth0", "lan", "wlan0"]);
        let links: Vec<&BStr> = config.stanzas.iter().map(|stanza| listed.first_link(stanza)).collect();
        assert_eq!(links, ["lo", "eth0", "eth1", "eth1", "wlan0", "eth0:1", "eth1=lan", "/wl*"]);
    }
}
