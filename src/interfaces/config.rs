//! What ifupdown understands: included files, stanzas and their options, lists and mappings.
//!
//! Plain values; `reader` makes them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use bstr::{BStr, BString, ByteSlice};

use super::diagnostic::{At, Diagnostic, Severity};
use super::document::Document;
use super::entries::{Entries, Entry};
use super::wordexp::{Failure, matches};

/// The file system, as reading a configuration needs it.
pub trait Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The paths of a `source` argument.
    ///
    /// # Errors
    /// Where ifupdown reads nothing, or only it can tell what.
    fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure>;
    /// The names in a directory, in alphasort(3) order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>>;
    fn exists(&self, path: &Path) -> bool;
    /// Where it is, for messages.
    fn shown(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
}

/// Whose reading to follow: that of the `ifup` that is installed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// Debian's own
    #[default]
    Ifupdown,
    /// A stanza has no family and several addresses; templates; nothing is refused
    IfupdownNg,
    /// A stanza may have no family and several addresses; mako; nothing is refused
    Ifupdown2,
}

impl Dialect {
    /// By what dpkg has installed; ifupdown's own where it is not told.
    pub fn installed(files: &dyn Files) -> Self {
        // dpkg removes these with the package, unlike the lists of configuration files.
        let has = |package: &str| files.exists(Path::new(&format!("/var/lib/dpkg/info/{package}.md5sums")));
        match () {
            () if has("ifupdown-ng") => Dialect::IfupdownNg,
            () if has("ifupdown2") => Dialect::Ifupdown2,
            () => Dialect::Ifupdown,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Inet,
    Inet6,
    Ipx,
    Can,
    Meta,
    /// An `iface` line that names none, in ifupdown-ng and ifupdown2.
    Any,
}

impl Family {
    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"inet" => Family::Inet,
            b"inet6" => Family::Inet6,
            b"ipx" => Family::Ipx,
            b"can" => Family::Can,
            b"meta" => Family::Meta,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
            Family::Ipx => "ipx",
            Family::Can => "can",
            Family::Meta => "meta",
            Family::Any => "any",
        }
    }

    /// The methods of ifupdown's `*.defn` files on Linux.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            Family::Inet => &["loopback", "static", "manual", "dhcp", "bootp", "tunnel", "ppp", "wvdial", "ipv4ll"],
            Family::Inet6 => &["auto", "loopback", "static", "manual", "dhcp", "tunnel", "v4tunnel", "6to4"],
            Family::Ipx => &["static", "dynamic"],
            Family::Can => &["static"],
            Family::Meta => &["none"],
            Family::Any => &[],
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An option as ifupdown has it: repeated lines are joined with a newline, command lines stay apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt {
    pub name: BString,
    pub value: BString,
    /// Its first line.
    pub at: At,
}

#[derive(Debug, Clone)]
pub struct Stanza {
    pub interface: BString,
    pub family: Family,
    pub method: BString,
    pub inherits: Option<BString>,
    /// The `iface` line; nowhere for the implicit `lo`.
    pub at: Option<At>,
    /// The last line of it that symroute-gen did not make: the `iface` line or an option.
    pub last: Option<At>,
    pub entries: Entries,
}

impl Stanza {
    /// The options that ifupdown has for it.
    pub fn options(&self) -> Vec<Opt> {
        merge(self.entries.iter())
    }

    /// The same without what symroute-gen put there: what the administrator wrote.
    pub fn own_options(&self) -> Vec<Opt> {
        merge(self.entries.iter().filter(|entry| !entry.in_block))
    }

    pub fn has_block(&self) -> bool {
        self.entries.iter().any(|entry| entry.in_block)
    }
}

pub(super) fn is_command(name: &[u8]) -> bool {
    matches!(name, b"pre-up" | b"up" | b"down" | b"post-down")
}

fn merge<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Opt> {
    let mut options: Vec<Opt> = Vec::new();
    let mut index: HashMap<&BStr, usize> = HashMap::new();
    for entry in entries {
        let known = index.get(entry.name.as_bstr()).copied();
        match known {
            Some(_) if entry.if_unset => {}
            Some(at) if !is_command(&entry.name) => {
                options[at].value.push(b'\n');
                options[at].value.extend_from_slice(&entry.value);
            }
            _ => {
                index.entry(entry.name.as_bstr()).or_insert(options.len());
                options.push(Opt { name: entry.name.clone(), value: entry.value.clone(), at: entry.at });
            }
        }
    }
    options
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    pub patterns: Vec<BString>,
    pub script: Option<BString>,
    pub maps: Vec<BString>,
}

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// The name it was opened by, as ifupdown forms it.
    pub path: PathBuf,
    pub document: Document,
    /// The blocks in it, as ranges of logical lines.
    pub blocks: Vec<std::ops::Range<usize>>,
    /// Markers of a block without their partner: no matter to ifupdown, but the file must not be edited.
    pub stray_markers: Vec<Diagnostic>,
    /// ifupdown stops reading it at an error.
    pub refused: bool,
}

/// The named lists of interfaces: `auto` and `allow-*` by class in order of first mention, then the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    pub allow: Vec<(BString, Vec<BString>)>,
    pub no_auto_down: Vec<BString>,
    pub no_scripts: Vec<BString>,
    pub rename: Vec<BString>,
}

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub dialect: Dialect,
    pub files: Vec<File>,
    pub lists: Lists,
    pub stanzas: Vec<Stanza>,
    pub mappings: Vec<Mapping>,
    /// Links that are up, each with the stanza that it is up as: what `ifup` noted, which alone tells what a
    /// mapping or a pattern chose. Nothing where only the files are read.
    pub up_as: Vec<(BString, BString)>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Config {
    /// Would ifupdown refuse it, or can symroute not use it?
    pub fn refused(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// The logical line's raw bytes, for citing.
    pub fn raw(&self, at: At) -> &[u8] {
        self.files[at.file].document.raw(at.line)
    }

    /// What the `auto` and `allow-*` lists name, and what is up.
    pub fn listed(&self) -> Listed<'_> {
        let up_as = self.up_as.iter().map(|(link, logical)| (link.as_bstr(), logical.as_bstr())).collect();
        Listed { up_as, ..Listed::of(self.lists.allow.iter().flat_map(|(_, names)| names)) }
    }

    /// What the `auto` lists name: comes up at boot.
    pub fn at_boot(&self) -> Listed<'_> {
        let auto = self.lists.allow.iter().filter(|(class, _)| class == "auto");
        Listed::of(auto.flat_map(|(_, names)| names))
    }

    /// Is it only known while an interface is up which stanza it is up as?
    pub fn chooses_at_run_time(&self) -> bool {
        !self.mappings.is_empty() || self.listed().logical.values().flatten().any(Option::is_none)
    }
}

/// The names in the `auto` and `allow-*` lists, the logical ones of `PATTERN=NAME`, and patterns.
#[derive(Debug, Clone, Default)]
pub struct Listed<'a> {
    names: HashSet<&'a BStr>,
    patterns: Vec<&'a BStr>,
    /// Logical names with the links that they are for; nothing for a pattern.
    logical: HashMap<&'a BStr, Vec<Option<&'a BStr>>>,
    /// Links that are up, each with the stanza that it is up as.
    up_as: Vec<(&'a BStr, &'a BStr)>,
}

impl<'a> Listed<'a> {
    fn of(names: impl Iterator<Item = &'a BString>) -> Self {
        let mut listed = Listed::default();
        for name in names {
            match (name.find_byte(b'='), name.starts_with(b"/")) {
                (Some(at), pattern) => {
                    let link = (!pattern).then(|| name[..at].as_bstr());
                    listed.logical.entry(name[at + 1..].as_bstr()).or_default().push(link);
                }
                (None, true) => listed.patterns.push(name.as_bstr()),
                (None, false) => _ = listed.names.insert(name.as_bstr()),
            }
        }
        listed
    }

    /// Does something bring the interface up?
    pub fn has(&self, name: &[u8]) -> bool {
        self.names.contains(name.as_bstr())
            || self.logical.contains_key(name.as_bstr())
            || self.patterns.iter().any(|pattern| pattern_matches(pattern, name))
            || self.up_as.iter().any(|(link, logical)| *link == name || *logical == name)
    }

    /// Without the links that are not there: what ifup noted of them counts for nothing.
    pub fn retain_up(&mut self, is_there: impl Fn(&BStr) -> bool) {
        self.up_as.retain(|(link, _)| is_there(link));
    }

    /// Is a link up as this stanza?
    pub fn is_up(&self, name: &BStr) -> bool {
        self.up_as.iter().any(|(_, logical)| *logical == name)
    }

    /// Is the link up, as whatever stanza?
    pub fn is_noted(&self, link: &BStr) -> bool {
        self.up_as.iter().any(|(up, _)| *up == link)
    }

    /// The links of a stanza: those that are up as it, and those that it is listed for, or else its own name. None
    /// where only `ifup` will tell, as for a pattern.
    pub fn links(&self, name: &'a BStr) -> Vec<&'a BStr> {
        let up: Vec<&BStr> = self.up_as.iter().filter(|(_, logical)| *logical == name).map(|(link, _)| *link).collect();
        let listed = match self.logical.get(name) {
            Some(links) => links.iter().copied().flatten().collect(),
            None if up.is_empty() || self.names.contains(name) => vec![name],
            None => Vec::new(),
        };
        up.iter().copied().chain(listed.into_iter().filter(|link| !self.is_noted(link))).collect()
    }
}

/// `/eth*`, `/eth*/1`: shell patterns over the links of the host, after the first slash.
fn pattern_matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some(pattern) = pattern.strip_prefix(b"/") else { return false };
    matches(&pattern[..pattern.find_byte(b'/').unwrap_or(pattern.len())], name)
}
