//! The configuration as ifupdown reads it: included files, stanzas and their options, lists and mappings.
//!
//! Plain values; `reader` fills them.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use rustc_hash::FxHashMap;

use super::diagnostic::{Diagnostic, Location, Severity};
use super::entries::{Entries, Entry, EntryList, Iter, NameSet};
use super::file::File;
use super::text::Text;
use super::wordexp::Failure;

/// The file system operations that reading a configuration needs.
pub trait Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The paths of a `source` argument.
    ///
    /// # Errors
    /// If ifupdown reads nothing, or if only ifupdown can expand it.
    fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure>;
    /// The names in a directory, in alphasort(3) order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>>;
    fn exists(&self, path: &Path) -> bool;
    /// The path for messages.
    fn shown(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
}

/// The implementation of ifupdown whose grammar is used: that of the installed `ifup`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// Debian's own
    #[default]
    Ifupdown,
    /// ifupdown-ng: stanzas without a family, several addresses, templates
    IfupdownNg,
    /// ifupdown2: stanzas without a family, several addresses, mako templates
    Ifupdown2,
}

impl Dialect {
    /// That of the installed package; ifupdown if no package is known.
    pub fn installed(files: &dyn Files) -> Self {
        // dpkg removes these with the package, unlike the lists of configuration files.
        let has = |package: &str| files.exists(Path::new(&format!("/var/lib/dpkg/info/{package}.md5sums")));
        match () {
            () if has("ifupdown-ng") => Dialect::IfupdownNg,
            () if has("ifupdown2") => Dialect::Ifupdown2,
            () => Dialect::Ifupdown,
        }
    }

    /// Options that begin a stanza, or inherit from one.
    pub(crate) fn is_statement(self, name: &[u8]) -> bool {
        match self {
            Dialect::Ifupdown => false,
            Dialect::IfupdownNg => matches!(name, b"template" | b"interface" | b"inherit" | b"inherits"),
            Dialect::Ifupdown2 => name == b"vlan",
        }
    }
}

/// The interface of an alias: `eth0` of `eth0:1`.
pub(crate) fn without_alias<T: AsRef<[u8]> + ?Sized>(name: &T) -> &[u8] {
    let name = name.as_ref();
    &name[..name.iter().position(|byte| *byte == b':').unwrap_or(name.len())]
}

/// The address family of a stanza (interfaces(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    Inet,
    Inet6,
    Ipx,
    Can,
    Meta,
    /// An `iface` line without a family, in ifupdown-ng and ifupdown2.
    Any,
}

impl AddressFamily {
    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"inet" => AddressFamily::Inet,
            b"inet6" => AddressFamily::Inet6,
            b"ipx" => AddressFamily::Ipx,
            b"can" => AddressFamily::Can,
            b"meta" => AddressFamily::Meta,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            AddressFamily::Inet => "inet",
            AddressFamily::Inet6 => "inet6",
            AddressFamily::Ipx => "ipx",
            AddressFamily::Can => "can",
            AddressFamily::Meta => "meta",
            AddressFamily::Any => "any",
        }
    }

    /// The methods of ifupdown's `*.defn` files on Linux.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            AddressFamily::Inet => {
                &["loopback", "static", "manual", "dhcp", "bootp", "tunnel", "ppp", "wvdial", "ipv4ll"]
            }
            AddressFamily::Inet6 => &["auto", "loopback", "static", "manual", "dhcp", "tunnel", "v4tunnel", "6to4"],
            AddressFamily::Ipx => &["static", "dynamic"],
            AddressFamily::Can => &["static"],
            AddressFamily::Meta => &["none"],
            AddressFamily::Any => &[],
        }
    }
}

impl fmt::Display for AddressFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An option as ifupdown stores it: repeated lines are joined with a newline, except command lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedOption {
    pub name: Text,
    pub value: Text,
    /// Its first line.
    pub location: Location,
}

#[derive(Debug, Clone)]
pub struct Stanza {
    pub interface: Text,
    pub family: AddressFamily,
    pub method: Text,
    /// Few stanzas have it.
    pub inherits: Option<Box<Text>>,
    /// Its name is in an `auto` or `allow-*` list.
    pub is_listed: bool,
    /// The `iface` line; nothing for the implicit `lo`.
    pub location: Option<Location>,
    /// Its last line that is not from symroute-gen: the `iface` line or an option.
    pub last: Option<Location>,
    pub entries: Entries,
}

/// Most stanzas have no more options.
const USUAL: usize = 8;
/// So many options are searched one by one.
const FEW: usize = 16;

pub(super) fn is_command(name: &[u8]) -> bool {
    matches!(name, b"pre-up" | b"up" | b"down" | b"post-down")
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    pub patterns: Vec<Text>,
    pub script: Option<Text>,
    pub maps: Vec<Text>,
}

/// The named lists of interfaces: `auto` and `allow-*` by class in order of first mention, then the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    pub allow: Vec<(Text, Vec<Text>)>,
    pub no_auto_down: Vec<Text>,
    pub no_scripts: Vec<Text>,
    pub rename: Vec<Text>,
}

impl Lists {
    /// The names in the `auto` and `allow-*` lists, and the patterns.
    pub fn names(&self) -> impl Iterator<Item = &Text> {
        self.allow.iter().flat_map(|(_, names)| names)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub dialect: Dialect,
    pub files: Vec<File>,
    pub lists: Lists,
    pub stanzas: Vec<Stanza>,
    /// The lines of all stanzas.
    pub(super) entries: EntryList,
    pub mappings: Vec<Mapping>,
    /// Links that are up, each with the stanza that it is up as, from ifupdown's state: only this state has the stanza that
    /// a mapping or a pattern selected. Empty if only the files are read.
    pub active: Vec<(bstr::BString, bstr::BString)>,
    /// Stanzas with the method `ppp`, each with its interface, as far as pppd's files have it.
    pub ppp: Vec<(Text, String)>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Config {
    /// Does ifupdown reject it, or is symroute unable to use it?
    pub fn is_invalid(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// The lines of a stanza.
    pub fn entries(&self, stanza: &Stanza) -> Iter<'_, '_> {
        self.entries.iter(&self.files, stanza.entries, None)
    }

    /// The names of options, of all stanzas, that satisfy a condition.
    pub(crate) fn names(&self, is_such: impl FnMut(&Text) -> bool) -> NameSet {
        self.entries.names(is_such)
    }

    /// The lines of a stanza that have one of the names.
    pub(crate) fn entries_named<'a, 'n>(&'a self, stanza: &Stanza, names: &'n NameSet) -> Iter<'a, 'n> {
        self.entries.iter(&self.files, stanza.entries, Some(names))
    }

    /// The options of a stanza as ifupdown stores them.
    pub fn options(&self, stanza: &Stanza) -> Vec<MergedOption> {
        self.merged(&mut self.entries(stanza))
    }

    /// The same without the lines of symroute-gen.
    pub fn own_options(&self, stanza: &Stanza) -> Vec<MergedOption> {
        self.merged(&mut self.entries(stanza).filter(|entry| !entry.in_block))
    }

    /// Those of them that have one of the names.
    pub(crate) fn own_options_named(&self, stanza: &Stanza, names: &NameSet) -> Vec<MergedOption> {
        self.merged(&mut self.entries_named(stanza, names).filter(|entry| !entry.in_block))
    }

    fn merged<'a>(&'a self, entries: &mut dyn Iterator<Item = Entry<'a>>) -> Vec<MergedOption> {
        let mut options: Vec<MergedOption> = Vec::with_capacity(USUAL);
        // Most stanzas have few options: these are found by a search.
        let mut others: FxHashMap<usize, u32> = FxHashMap::default();
        // By option; empty for one line.
        let mut joined: Vec<Vec<u8>> = Vec::new();
        for entry in entries {
            let first = || options.iter().take(FEW).position(|option| option.name == *entry.name);
            let known = || first().or_else(|| others.get(&entry.name_at).map(|known| *known as usize));
            let is_joined = entry.if_unset || !is_command(entry.name);
            match is_joined.then(known).flatten() {
                Some(_) if entry.if_unset => {}
                Some(index) => {
                    joined.resize_with(options.len(), Vec::new);
                    let value = &mut joined[index];
                    if value.is_empty() {
                        value.extend_from_slice(&options[index].value);
                    }
                    value.push(b'\n');
                    value.extend_from_slice(entry.value);
                }
                None => {
                    if options.len() >= FEW {
                        others.entry(entry.name_at).or_insert(options.len() as u32);
                    }
                    let value = self.files[entry.location.file()].document.whole().part(entry.value);
                    options.push(MergedOption { name: entry.name.clone(), value, location: entry.location });
                }
            }
        }
        for (option, value) in options.iter_mut().zip(joined).filter(|(_, value)| !value.is_empty()) {
            option.value = value.into();
        }
        options
    }

    pub fn has_block(&self, stanza: &Stanza) -> bool {
        self.entries.has_block && self.entries(stanza).any(|entry| entry.in_block)
    }

    /// The raw bytes of a logical line, for messages.
    pub fn raw(&self, location: Location) -> &[u8] {
        self.files[location.file()].document.raw(location.line())
    }
}
