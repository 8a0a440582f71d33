//! Reading: files into a [`Config`], as ifupdown's `read_interfaces_defn` does (config.c, 0.8.41 and 0.8.44).
//!
//! Where ifupdown aborts at an error, the reader continues to find the others, but uses nothing that ifupdown would not
//! have read. ifupdown-ng and ifupdown2 accept more: `tolerant`. `sources` follows `source` and `source-directory`.

mod sources;
mod tolerant;

use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use bstr::ByteSlice;
use rustc_hash::{FxHashMap, FxHashSet};

use super::block;
use super::config::{AddressFamily, Config, Dialect, Files, Lists, Mapping, Stanza};
use super::diagnostic::{Diagnostic, Location, Severity, reason};
use super::document::{Document, trim_end};
use super::entries::Entries;
use super::file::File;
use super::grammar::{Statement, Words, statement};
use super::lint::{keyword_like, lint};
use super::listed::is_name;
use super::text::Text;

/// The maximum number of files. It also ends an include loop.
const MAX_FILES: usize = 10_000;
/// The maximum depth of includes.
const MAX_DEPTH: usize = 100;
/// Options that a stanza of ifupdown-ng may inherit, whose templates may inherit from several others each.
const MAX_INHERITED: usize = 100_000;

impl Config {
    /// Reads `top` and everything that it sources.
    pub fn read(top: &Path, files: &dyn Files, dialect: Dialect) -> Config {
        match files.read(top) {
            Ok(bytes) => Config::parse(top, bytes, files, dialect),
            Err(error) => {
                let diagnostic = Diagnostic {
                    id: None,
                    severity: Severity::Error,
                    location: None,
                    word: Vec::new(),
                    message: format!("cannot read {}: {}", files.shown(top).display(), reason(&error)),
                    help: match error.kind() {
                        io::ErrorKind::NotFound => "Check the path. The default is /etc/network/interfaces.".into(),
                        io::ErrorKind::PermissionDenied => {
                            "Run this as root. If root is denied as well, see 'journalctl -k -g denied'.".into()
                        }
                        _ => "Check the file.".into(),
                    },
                };
                Config { diagnostics: vec![diagnostic], ..Config::default() }
            }
        }
    }

    /// The same for a top file whose bytes are given.
    pub fn parse(top: &Path, bytes: Vec<u8>, files: &dyn Files, dialect: Dialect) -> Config {
        let mut reader = Reader::new(files);
        reader.config.dialect = dialect;
        // ifupdown puts lo first in the list, whatever the file says.
        reader.allow(&"auto".into(), &"lo".into());
        reader.seen.insert(top.as_os_str().to_os_string());
        reader.file(top, bytes, 0);
        let Reader { mut config, has_loopback, listed, .. } = reader;
        config.entries.shrink();
        if !has_loopback {
            config.stanzas.insert(
                0,
                Stanza {
                    interface: "lo".into(),
                    family: AddressFamily::Inet,
                    method: "loopback".into(),
                    inherits: None,
                    is_listed: false,
                    location: None,
                    last: None,
                    entries: Entries::default(),
                },
            );
        }
        config.stanzas.shrink_to_fit();
        for stanza in &mut config.stanzas {
            stanza.is_listed = is_name(&stanza.interface) && listed.contains_key(&stanza.interface);
        }
        drop(listed);
        if dialect == Dialect::Ifupdown {
            let hints = lint(&config);
            config.diagnostics.extend(hints);
        }
        config
    }
}

/// What the lines being read belong to.
#[derive(Clone, Copy)]
enum Open {
    Nothing,
    Stanza,
    Mapping,
    /// A stanza with an invalid `iface` line: its options are not checked.
    Unknown,
}

/// Where a line is.
#[derive(Clone, Copy)]
struct Place<'a> {
    location: Location,
    /// The text that the line is a part of: its words are kept without a copy.
    whole: &'a Text,
    /// The line is in a block of symroute-gen.
    in_block: bool,
    /// The number of nested includes that lead to the line's file.
    depth: usize,
}

/// What `inherits` names: a stanza, in a family or in any.
type Template = (Text, Option<AddressFamily>);

/// The first stanza of a name, and of a name in a family. Few files have `inherits`: nothing is entered before one.
#[derive(Default)]
struct Templates {
    first: FxHashMap<Template, usize>,
    /// The number of stanzas that are entered.
    count: usize,
}

impl Templates {
    fn enter(&mut self, stanzas: &[Stanza]) {
        for (index, stanza) in stanzas.iter().enumerate().skip(self.count) {
            self.first.entry((stanza.interface.clone(), None)).or_insert(index);
            self.first.entry((stanza.interface.clone(), Some(stanza.family))).or_insert(index);
        }
        self.count = stanzas.len();
    }
}

/// Why ifupdown stops reading at a line.
struct Fault {
    /// The word that the caret marks.
    word: Vec<u8>,
    /// ifupdown's reason.
    reason: String,
    /// What to do.
    help: String,
}

impl Fault {
    fn new(word: &[u8], reason: impl Into<String>, help: impl Into<String>) -> Self {
        Fault { word: word.to_vec(), reason: reason.into(), help: help.into() }
    }

    fn diagnostic(self, location: Location, depth: usize) -> Diagnostic {
        let Fault { word, reason, help } = self;
        match depth {
            0 => {
                let what = format!("{reason}; ifupdown rejects the whole file at this line");
                Diagnostic::error(location, &word, what, help)
            }
            _ => {
                Diagnostic::warning(location, &word, format!("{reason}; ifupdown ignores the rest of this file"), help)
            }
        }
    }
}

/// A line before the first stanza that begins with no keyword. ifupdown reports it as a misplaced option.
fn outside_of_stanzas(name: &[u8]) -> Fault {
    if name.starts_with(b"\xEF\xBB\xBF") {
        let reason = "misplaced option: the file begins with a byte order mark (BOM)";
        return Fault::new(name, reason, "Remove the mark: sed -i '1s/^\\xEF\\xBB\\xBF//' FILE");
    }
    if let Some(keyword) = name.to_str().ok().and_then(keyword_like) {
        let reason = format!("misplaced option: unknown keyword '{}' (keywords are case-sensitive)", name.as_bstr());
        return Fault::new(name, reason, format!("Write '{keyword}'."));
    }
    Fault::new(name, "misplaced option", "Move it below its 'iface' line, or comment it out with '#'.")
}

/// The words of an `iface` line.
struct IfaceLine<'a> {
    name: &'a [u8],
    family: Option<AddressFamily>,
    method: Option<&'a [u8]>,
    /// The stanza to inherit from.
    inherits: Option<&'a [u8]>,
    /// A word that ifupdown ignores.
    extra: Option<&'a [u8]>,
}

/// `NAME FAMILY METHOD [inherits NAME]`; `inherits` may also replace the method, or the family.
fn iface_line(mut words: Words<'_>) -> Result<IfaceLine<'_>, Fault> {
    const FORM: &str = "Write 'iface NAME inet|inet6 METHOD'.";
    let words: [Option<&[u8]>; 5] = std::array::from_fn(|_| words.next());
    let word = |position: usize| words[position];
    let Some(name) = word(0) else {
        return Err(Fault::new(b"iface", "too few parameters for iface line", FORM));
    };
    let family = word(1).and_then(AddressFamily::parse);
    let method = word(2)
        .filter(|word| family.is_some_and(|family| family.methods().iter().any(|known| known.as_bytes() == *word)));
    // The position of `inherits`, if the line has it.
    let position = match (family, method) {
        (None, _) => 1,
        (Some(_), None) => 2,
        (Some(_), Some(_)) => 3,
    };
    let mut line = IfaceLine { name, family, method, inherits: None, extra: None };
    match (word(position), family) {
        (Some(b"inherits"), _) => {
            let help = "Name the stanza to inherit from.";
            let missing = || Fault::new(b"inherits", "'inherits' keyword is missing a parameter", help);
            line.inherits = Some(word(position + 1).ok_or_else(missing)?);
        }
        (extra, Some(_)) if method.is_some() => line.extra = extra,
        (unknown, Some(family)) => {
            let reason = "unknown or no method and no inherits keyword specified";
            let help = format!("Use one of the {family} methods: {}.", family.methods().join(", "));
            return Err(Fault::new(unknown.unwrap_or(family.name().as_bytes()), reason, help));
        }
        (unknown, None) => {
            let reason = "unknown or no address type and no inherits keyword specified";
            return Err(Fault::new(unknown.unwrap_or(name), reason, FORM));
        }
    }
    Ok(line)
}

struct Reader<'a> {
    files: &'a dyn Files,
    config: Config,
    /// Paths as strings: ifupdown treats `x` and `./x` as two files.
    seen: FxHashSet<OsString>,
    /// The index of the list of each class, and of the last one that was used.
    classes: FxHashMap<Text, usize>,
    last_list: usize,
    /// The listed names, each with the first list that has it.
    listed: FxHashMap<Text, usize>,
    /// The names that are in several lists, each with a further list.
    listed_again: FxHashSet<(usize, Text)>,
    /// The positions of the names of options.
    names: FxHashMap<Text, usize>,
    templates: Templates,
    has_loopback: bool,
    /// Set while the reader only looks for further errors in a file that ifupdown rejected: the templates before it.
    rest_after: Option<&'a FxHashMap<Template, usize>>,
}

impl<'a> Reader<'a> {
    fn new(files: &'a dyn Files) -> Self {
        Reader {
            files,
            config: Config::default(),
            seen: FxHashSet::default(),
            classes: FxHashMap::default(),
            last_list: 0,
            listed: FxHashMap::default(),
            listed_again: FxHashSet::default(),
            names: FxHashMap::default(),
            templates: Templates::default(),
            has_loopback: false,
            rest_after: None,
        }
    }

    fn allow(&mut self, class: &Text, name: &Text) {
        let lists = &mut self.config.lists.allow;
        let is_last = lists.get(self.last_list).is_some_and(|(last, _)| last == class);
        if !is_last {
            self.last_list = *self.classes.entry(class.clone()).or_insert_with(|| {
                lists.push((class.clone(), Vec::new()));
                lists.len() - 1
            });
        }
        let is_first = match self.listed.entry(name.clone()) {
            Entry::Vacant(vacant) => *vacant.insert(self.last_list) == self.last_list,
            Entry::Occupied(first) => {
                *first.get() != self.last_list && self.listed_again.insert((self.last_list, name.clone()))
            }
        };
        if is_first {
            lists[self.last_list].1.push(name.clone());
        }
    }

    fn file(&mut self, path: &Path, bytes: Vec<u8>, depth: usize) {
        let file = self.config.files.len();
        let document = Document::parse(bytes.into());
        let (blocks, stray_markers) = block::find(file, &document);
        self.config.files.push(File { path: path.to_path_buf(), document, blocks, stray_markers, is_rejected: false });

        if self.config.dialect == Dialect::Ifupdown2 {
            self.warn_of_mako(file);
        }
        let mut open = Open::Nothing;
        if let Some(line) = self.lines(file, 0, &mut open, depth) {
            self.find_other_errors(file, line + 1, open, depth);
        }
    }

    /// Reads the lines of a file, beginning with `from`. Returns the line at which ifupdown stops and continues with the
    /// including file.
    fn lines(&mut self, file: usize, from: usize, open: &mut Open, depth: usize) -> Option<usize> {
        // The statements borrow the document while everything else changes.
        let document = std::mem::take(&mut self.config.files[file].document);
        let stopped = self.statements(file, &document, from, open, depth);
        self.config.files[file].document = document;
        stopped
    }

    fn statements(
        &mut self,
        file: usize,
        document: &Document,
        from: usize,
        open: &mut Open,
        depth: usize,
    ) -> Option<usize> {
        let mut next_block = 0;
        for line in from..document.count() {
            let mut text = document.text(line);
            if self.config.dialect == Dialect::IfupdownNg {
                // A comment may begin anywhere in a line.
                text = trim_end(&text[..text.find_byte(b'#').unwrap_or(text.len())]);
            }
            let blocks = &self.config.files[file].blocks;
            while blocks.get(next_block).is_some_and(|block| block.end <= line) {
                next_block += 1;
            }
            let in_block = blocks.get(next_block).is_some_and(|block| block.contains(&line));
            let place = Place { location: Location::new(file, line), whole: document.whole(), in_block, depth };
            let statement = statement(text);
            if self.config.dialect != Dialect::Ifupdown {
                self.tolerant(place, statement, open);
            } else if let Err(fault) = self.statement(place, statement, open) {
                self.config.files[file].is_rejected = true;
                self.config.diagnostics.push(fault.diagnostic(place.location, depth));
                if depth > 0 && self.rest_after.is_none() {
                    return Some(line);
                }
            }
        }
        None
    }

    /// Finds the other errors of a sourced file that ifupdown stopped reading; nothing else of it is used.
    fn find_other_errors(&mut self, file: usize, from: usize, open: Open, depth: usize) {
        let read = std::mem::take(&mut self.config.files[file]);
        let mut reader = Reader::new(self.files);
        self.templates.enter(&self.config.stanzas);
        reader.rest_after = Some(&self.templates.first);
        reader.config.files = vec![read];
        if matches!(open, Open::Mapping) {
            reader.config.mappings.push(Mapping::default());
        }
        reader.lines(0, from, &mut { open }, depth);
        let Config { mut files, diagnostics, .. } = reader.config;
        let here = |diagnostic: Diagnostic| {
            let location = diagnostic.location.map(|location| Location::new(file, location.line()));
            Diagnostic { location, ..diagnostic }
        };
        self.config.diagnostics.extend(diagnostics.into_iter().map(here));
        self.config.files[file] = files.swap_remove(0);
    }

    /// One statement, as ifupdown reads it.
    fn statement(&mut self, place: Place<'_>, statement: Statement<'_>, open: &mut Open) -> Result<(), Fault> {
        match statement {
            Statement::Nothing => {}
            Statement::Mapping(words) => {
                let patterns = words.map(|word| place.whole.part(word)).collect();
                self.config.mappings.push(Mapping { patterns, ..Mapping::default() });
                *open = Open::Mapping;
            }
            Statement::Source(_) | Statement::SourceDirectory(_) if self.rest_after.is_some() => *open = Open::Nothing,
            Statement::Source(value) => {
                for path in self.expand(place.location, value) {
                    if self.files.exists(&path) {
                        self.include(place.location, &path, place.depth + 1);
                    }
                }
                *open = Open::Nothing;
            }
            Statement::SourceDirectory(value) => {
                for directory in self.expand(place.location, value) {
                    self.directory(place, value, &directory);
                }
                *open = Open::Nothing;
            }
            Statement::Iface(words) => {
                *open = Open::Unknown;
                self.iface(place, words)?;
                *open = Open::Stanza;
            }
            Statement::Allow(class, names) => self.allow_line(place, class, names, open),
            Statement::NoAutoDown(names) => self.named(place, names, open, |lists| &mut lists.no_auto_down),
            Statement::NoScripts(names) => self.named(place, names, open, |lists| &mut lists.no_scripts),
            Statement::Rename(names) => {
                self.config.lists.rename.extend(names.map(|name| place.whole.part(name)));
                *open = Open::Nothing;
            }
            Statement::Option { name, value } => self.option(place, name, value, *open)?,
        }
        Ok(())
    }

    /// `auto` and `allow-CLASS`: without a name in a stanza they mean its interface.
    fn allow_line(&mut self, place: Place<'_>, class: &[u8], mut names: Words<'_>, open: &mut Open) {
        let Place { location, whole, .. } = place;
        let class = whole.part(class);
        if let (Open::Stanza, true) = (*open, names.is_empty()) {
            if let Some(stanza) = self.config.stanzas.last_mut() {
                stanza.last = Some(location);
                let name = stanza.interface.clone();
                self.allow(&class, &name);
            }
            return;
        }
        self.warn_of_comment(location, names.clone());
        let count = if self.config.dialect == Dialect::IfupdownNg { 1 } else { usize::MAX };
        for name in names.by_ref().take(count) {
            self.allow(&class, &whole.part(name));
        }
        if let Some(name) = names.next() {
            let what = format!("'{}' is ignored: ifupdown-ng reads one name from this line", name.as_bstr());
            let help = "Write one line for each interface.";
            self.config.diagnostics.push(Diagnostic::warning(location, name, what, help));
        }
        *open = Open::Nothing;
    }

    /// A list of names cannot have an inline comment.
    fn warn_of_comment(&mut self, location: Location, mut names: Words<'_>) {
        if !names.may_have_comment() {
            return;
        }
        if let Some(word) = names.find(|name| name.starts_with(b"#")) {
            self.config.diagnostics.push(Diagnostic::warning(
                location,
                word,
                "inline comments are not supported; ifupdown reads '#' and each word after it as an interface name",
                "Move the comment to a separate line.",
            ));
        }
    }

    /// Adds the options of the template, if it exists.
    fn inherit(&mut self, template: Option<Text>) {
        let Some(template) = template else { return };
        self.templates.enter(&self.config.stanzas);
        let index = self.templates.first.get(&(template.clone(), None)).copied();
        let last = self.config.stanzas.len().saturating_sub(1);
        // A stanza that inherits from itself, or from a template twice, gets no new options.
        let again = |stanza: &Stanza| stanza.inherits.as_deref() == Some(&template);
        let entries = index.filter(|index| *index != last && !self.config.stanzas.get(last).is_some_and(again));
        let entries = entries.map(|index| self.config.stanzas[index].entries);
        let Some(stanza) = self.config.stanzas.last_mut() else { return };
        stanza.inherits = Some(template.into());
        let Some(entries) = entries else { return };
        if stanza.entries.count() + entries.count() <= MAX_INHERITED {
            self.config.entries.inherit(&mut stanza.entries, entries);
        } else if let Some(location) = stanza.location {
            let message = format!("{} inherits more than {MAX_INHERITED} options", stanza.interface);
            let help = "Move the shared options to one template.";
            self.config.diagnostics.push(Diagnostic::error(location, &stanza.interface, message, help));
        }
    }

    /// `no-auto-down` and `no-scripts`: without a name in a stanza they mean its interface.
    fn named(&mut self, place: Place<'_>, names: Words<'_>, open: &mut Open, list: fn(&mut Lists) -> &mut Vec<Text>) {
        match (self.config.stanzas.last_mut(), *open) {
            (Some(stanza), Open::Stanza) if names.is_empty() => {
                stanza.last = Some(place.location);
                list(&mut self.config.lists).push(stanza.interface.clone());
            }
            _ => {
                self.warn_of_comment(place.location, names.clone());
                list(&mut self.config.lists).extend(names.map(|name| place.whole.part(name)));
                *open = Open::Nothing;
            }
        }
    }

    fn option(&mut self, place: Place<'_>, name: &[u8], value: &[u8], open: Open) -> Result<(), Fault> {
        let Place { location, whole, in_block, .. } = place;
        let misplaced = |help: &str| Err(Fault::new(name, "misplaced option", help));
        match open {
            Open::Unknown => Ok(()),
            Open::Nothing => Err(outside_of_stanzas(name)),
            Open::Mapping => {
                let Some(mapping) = self.config.mappings.last_mut() else { return Ok(()) };
                match name {
                    b"script" if mapping.script.is_some() => {
                        Err(Fault::new(name, "duplicate script in mapping", "Keep one 'script' line."))
                    }
                    b"script" => {
                        mapping.script = Some(whole.part(value));
                        Ok(())
                    }
                    b"map" => {
                        mapping.maps.push(whole.part(value));
                        Ok(())
                    }
                    _ => misplaced("Remove it. A mapping may contain only 'script' and 'map' lines."),
                }
            }
            Open::Stanza => {
                if value.is_empty() {
                    let help = "Add a value, or comment the line out with '#'.";
                    return Err(Fault::new(name, "option with empty value", help));
                }
                let Some(stanza) = self.config.stanzas.last_mut() else { return Ok(()) };
                let (name, if_unset) = match (name, name.strip_suffix(b"?")) {
                    (b"post-up", _) => (&name[5..], false),
                    (b"pre-down", _) => (&name[4..], false),
                    (_, Some(bare)) => (bare, true),
                    (name, None) => (name, false),
                };
                if !in_block {
                    stanza.last = Some(location);
                }
                // No file is so large that its value has no place.
                if let Some(value) = whole.place(value) {
                    let entries = &mut self.config.entries;
                    let name = match self.names.get(name.as_bstr()) {
                        Some(position) => *position,
                        None => {
                            *self.names.entry(name.into()).or_insert_with_key(|name| entries.add_name(name.clone()))
                        }
                    };
                    entries.push(&mut stanza.entries, name, value, (location, in_block, if_unset));
                }
                Ok(())
            }
        }
    }

    fn iface(&mut self, place: Place<'_>, words: Words<'_>) -> Result<(), Fault> {
        let Place { location, whole, .. } = place;
        let IfaceLine { name, family, method, inherits, extra } = iface_line(words)?;
        if let Some(extra) = extra {
            let what = "extra parameter for the iface line not understood and ignored";
            let help = "Remove it. Inline comments are not supported.";
            self.config.diagnostics.push(Diagnostic::warning(location, extra, what, help));
        }
        let mut stanza = Stanza {
            interface: whole.part(name),
            family: family.unwrap_or(AddressFamily::Meta),
            method: method.map_or_else(Text::default, |method| whole.part(method)),
            inherits: inherits.map(|template| whole.part(template).into()),
            is_listed: false,
            location: Some(location),
            last: Some(location),
            entries: self.config.entries.begin(),
        };
        if let Some(template) = &stanza.inherits {
            if let Some(template) = self.template(template, family)? {
                let entries = template.entries;
                if family.is_none() {
                    stanza.family = template.family;
                }
                if method.is_none() {
                    stanza.method = template.method.clone();
                }
                self.config.entries.inherit(&mut stanza.entries, entries);
            }
        }
        if method == Some(b"loopback") {
            self.has_loopback = true;
        }
        self.config.stanzas.push(stanza);
        Ok(())
    }

    /// The stanza that `inherits` names; nothing if it is in the part of the file that ifupdown read.
    fn template(&mut self, name: &Text, family: Option<AddressFamily>) -> Result<Option<&Stanza>, Fault> {
        let key = (name.clone(), family);
        self.templates.enter(&self.config.stanzas);
        let Some(index) = self.templates.first.get(&key) else {
            if self.rest_after.is_some_and(|before| before.contains_key(&key)) {
                return Ok(None);
            }
            let family = family.map_or("*", AddressFamily::name);
            let reason = format!("unknown iface to inherit from: {name} ({family})");
            let help = "Define that stanza earlier in the file, with the same family.";
            return Err(Fault::new(name, reason, help));
        };
        Ok(self.config.stanzas.get(*index))
    }
}
