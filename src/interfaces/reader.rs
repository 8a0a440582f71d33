//! Reading: files into a [`Config`], as ifupdown's `read_interfaces_defn` does (config.c, 0.8.41 and 0.8.44).
//!
//! Where ifupdown stops at an error, this goes on to find the others, but takes nothing that ifupdown would not
//! have read. ifupdown-ng and ifupdown2 take more; `Reader::tolerant` is for them.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::block;
use super::config::{Config, Dialect, Family, File, Files, Lists, Mapping, Stanza};
use super::diagnostic::{At, Diagnostic, Severity, reason};
use super::document::{Document, trim_end};
use super::entries::{Entries, Entry};
use super::grammar::{Statement, statement, words};
use super::lint::lint;
use super::wordexp::Failure;

/// Files read at most: enough for any host, few enough that a loop ends.
const MAX_FILES: usize = 10_000;
/// Includes within includes, at most.
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
                    at: None,
                    word: Vec::new(),
                    message: format!("cannot read {}: {}", files.shown(top).display(), reason(&error)),
                    help: match error.kind() {
                        io::ErrorKind::NotFound => "Check the path; the usual one is /etc/network/interfaces.".into(),
                        io::ErrorKind::PermissionDenied => "Run this as root.".into(),
                        _ => "Check the file.".into(),
                    },
                };
                Config { diagnostics: vec![diagnostic], ..Config::default() }
            }
        }
    }

    /// The same for a top file whose bytes are at hand.
    pub fn parse(top: &Path, bytes: Vec<u8>, files: &dyn Files, dialect: Dialect) -> Config {
        let mut reader = Reader::new(files);
        reader.config.dialect = dialect;
        // ifupdown puts lo first in the list, whatever the file says.
        reader.allow(b"auto", b"lo");
        reader.seen.insert(top.as_os_str().to_os_string());
        reader.file(top, bytes, 0);
        let mut config = reader.config;
        if !reader.has_loopback {
            config.stanzas.insert(
                0,
                Stanza {
                    interface: "lo".into(),
                    family: Family::Inet,
                    method: "loopback".into(),
                    inherits: None,
                    at: None,
                    last: None,
                    entries: Entries::default(),
                },
            );
        }
        if dialect == Dialect::Ifupdown {
            let hints = lint(&config);
            config.diagnostics.extend(hints);
        }
        config
    }
}

/// Hidden files, editors' backups and what dpkg leaves behind are meant to be passed over.
fn is_left_over(name: &[u8]) -> bool {
    name.starts_with(b".") || name.ends_with(b"~") || name.contains_str(".dpkg-") || name == b"README"
}

/// What the lines being read belong to.
#[derive(Clone, Copy)]
enum Open {
    Nothing,
    Stanza,
    Mapping,
    /// A stanza whose `iface` line is wrong: its options are not judged.
    Unknown,
}

/// What `inherits` names: a stanza, in a family or in any.
type Template = (BString, Option<Family>);

/// Why ifupdown stops reading at a line.
struct Fault {
    /// The word to point at.
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

    fn diagnostic(self, at: At, depth: usize) -> Diagnostic {
        let Fault { word, reason, help } = self;
        match depth {
            0 => {
                let what = format!("{reason}; ifupdown refuses the whole file at this line");
                Diagnostic::error(at, &word, what, help)
            }
            _ => Diagnostic::warning(at, &word, format!("{reason}; ifupdown drops the rest of this file"), help),
        }
    }
}

struct Reader<'a> {
    files: &'a dyn Files,
    config: Config,
    /// Names as strings: to ifupdown `x` and `./x` are two files.
    seen: HashSet<OsString>,
    listed: HashSet<(BString, BString)>,
    /// Which of the lists is that of a class.
    classes: HashMap<BString, usize>,
    /// The first stanza of a name, and of a name in a family.
    first: HashMap<Template, usize>,
    has_loopback: bool,
    /// Reads the rest of a file that ifupdown rejected, for its other errors alone: the templates before it.
    rest_after: Option<&'a HashMap<Template, usize>>,
}

impl<'a> Reader<'a> {
    fn new(files: &'a dyn Files) -> Self {
        Reader {
            files,
            config: Config::default(),
            seen: HashSet::new(),
            listed: HashSet::new(),
            classes: HashMap::new(),
            first: HashMap::new(),
            has_loopback: false,
            rest_after: None,
        }
    }

    fn allow(&mut self, class: &[u8], name: &[u8]) {
        if !self.listed.insert((class.into(), name.into())) {
            return;
        }
        let lists = &mut self.config.lists.allow;
        let list = *self.classes.entry(class.into()).or_insert(lists.len());
        match lists.get_mut(list) {
            Some((_, names)) => names.push(name.into()),
            None => lists.push((class.into(), vec![name.into()])),
        }
    }

    fn file(&mut self, path: &Path, bytes: Vec<u8>, depth: usize) {
        let file = self.config.files.len();
        let document = Document::parse(bytes);
        let (blocks, stray_markers) = block::find(file, &document);
        self.config.files.push(File { path: path.to_path_buf(), document, blocks, stray_markers, refused: false });

        if self.config.dialect == Dialect::Ifupdown2 {
            self.mako(file);
        }
        let mut open = Open::Nothing;
        if let Some(line) = self.lines(file, 0, &mut open, depth) {
            self.rest(file, line + 1, open, depth);
        }
    }

    /// Reads a file from one line on. Gives the line at which ifupdown stops and goes on with the including file.
    fn lines(&mut self, file: usize, from: usize, open: &mut Open, depth: usize) -> Option<usize> {
        let mut block_at = 0;
        for line in from..self.config.files[file].document.lines().len() {
            // The statement borrows the document while everything else changes; one line is copied, not the file.
            let mut text = self.config.files[file].document.text(line).into_owned();
            if self.config.dialect == Dialect::IfupdownNg {
                // Here a comment begins anywhere.
                text.truncate(text.find_byte(b'#').unwrap_or(text.len()));
                text.truncate(trim_end(&text).len());
            }
            let blocks = &self.config.files[file].blocks;
            while blocks.get(block_at).is_some_and(|block| block.end <= line) {
                block_at += 1;
            }
            let in_block = blocks.get(block_at).is_some_and(|block| block.contains(&line));
            let at = At { file, line };
            let statement = statement(&text);
            if self.config.dialect != Dialect::Ifupdown {
                self.tolerant(at, statement, in_block, open, depth);
            } else if let Err(fault) = self.statement(at, statement, in_block, open, depth) {
                self.config.files[file].refused = true;
                self.config.diagnostics.push(fault.diagnostic(at, depth));
                if depth > 0 && self.rest_after.is_none() {
                    return Some(line);
                }
            }
        }
        None
    }

    /// Finds the other errors of a sourced file that ifupdown stopped reading; nothing else of it is used.
    fn rest(&mut self, file: usize, from: usize, open: Open, depth: usize) {
        let read = std::mem::take(&mut self.config.files[file]);
        let mut rest = Reader::new(self.files);
        rest.rest_after = Some(&self.first);
        rest.config.files = vec![read];
        if matches!(open, Open::Mapping) {
            rest.config.mappings.push(Mapping::default());
        }
        rest.lines(0, from, &mut { open }, depth);
        let Config { mut files, diagnostics, .. } = rest.config;
        let here = |diagnostic: Diagnostic| {
            let at = diagnostic.at.map(|at| At { file, ..at });
            Diagnostic { at, ..diagnostic }
        };
        self.config.diagnostics.extend(diagnostics.into_iter().map(here));
        self.config.files[file] = files.swap_remove(0);
    }

    /// One statement, as ifupdown takes it.
    fn statement(
        &mut self,
        at: At,
        statement: Statement<'_>,
        in_block: bool,
        open: &mut Open,
        depth: usize,
    ) -> Result<(), Fault> {
        match statement {
            Statement::Nothing => {}
            Statement::Mapping(words) => {
                let patterns = words.into_iter().map(BString::from).collect();
                self.config.mappings.push(Mapping { patterns, ..Mapping::default() });
                *open = Open::Mapping;
            }
            Statement::Source(_) | Statement::SourceDirectory(_) if self.rest_after.is_some() => *open = Open::Nothing,
            Statement::Source(value) => {
                for path in self.expand(at, value) {
                    if self.files.exists(&path) {
                        self.include(at, &path, depth + 1);
                    }
                }
                *open = Open::Nothing;
            }
            Statement::SourceDirectory(value) => {
                for directory in self.expand(at, value) {
                    self.directory(at, value, &directory, depth);
                }
                *open = Open::Nothing;
            }
            Statement::Iface(words) => {
                *open = Open::Unknown;
                self.iface(at, &words)?;
                *open = Open::Stanza;
            }
            Statement::Allow(class, names) => {
                if let (Open::Stanza, true) = (*open, names.is_empty()) {
                    if let Some(stanza) = self.config.stanzas.last_mut() {
                        stanza.last = Some(at);
                        let name = stanza.interface.clone();
                        self.allow(class, &name);
                    }
                } else {
                    self.no_comment(at, &names);
                    let all = if self.config.dialect == Dialect::IfupdownNg { 1 } else { names.len() };
                    for name in names.iter().take(all) {
                        self.allow(class, name);
                    }
                    self.config.diagnostics.extend(names.get(all).map(|name| {
                        let what =
                            format!("ifupdown-ng takes one name from this line: '{}' is not listed", name.as_bstr());
                        Diagnostic::warning(at, name, what, "Give each interface a line of its own.")
                    }));
                    *open = Open::Nothing;
                }
            }
            Statement::NoAutoDown(names) => self.named(at, names, open, |lists| &mut lists.no_auto_down),
            Statement::NoScripts(names) => self.named(at, names, open, |lists| &mut lists.no_scripts),
            Statement::Rename(names) => {
                self.config.lists.rename.extend(names.into_iter().map(BString::from));
                *open = Open::Nothing;
            }
            Statement::Option { name, value } => self.option(at, name, value, in_block, *open)?,
        }
        Ok(())
    }

    /// The paths of a `source` argument. Where ifupdown silently reads nothing, that is a warning.
    fn expand(&mut self, at: At, value: &[u8]) -> Vec<PathBuf> {
        let (word, message, help) = match self.files.expand(&self.beside(at, value)) {
            Ok(paths) => return paths,
            Err(Failure::Rejected(character)) => (
                character.to_string(),
                format!("ifupdown reads nothing here: wordexp(3) rejects the '{character}'"),
                "Write a path or a pattern; put quotes around a character that belongs to a name.",
            ),
            Err(Failure::Unknown(words)) => (
                words.clone(),
                format!("symroute reads nothing here: only ifup knows what '{words}' stands for"),
                "Write the path, or a variable with a name.",
            ),
        };
        self.config.diagnostics.push(Diagnostic::warning(at, word.as_bytes(), message, help));
        Vec::new()
    }

    /// The files of a directory whose names are letters, digits, '_' and '-'.
    fn directory(&mut self, at: At, word: &[u8], directory: &Path, depth: usize) {
        for name in self.files.list(directory).unwrap_or_default() {
            if name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
                // As ifupdown joins them: a slash even where one is already there.
                let mut path = directory.as_os_str().as_bytes().to_vec();
                path.push(b'/');
                path.extend_from_slice(&name);
                self.include(at, Path::new(OsStr::from_bytes(&path)), depth + 1);
            } else if !is_left_over(&name) {
                let message = format!(
                    "{}/{} is not read: its name has other characters than letters, digits, '_' and '-'",
                    self.files.shown(directory).display(),
                    name.as_bstr()
                );
                let help = "Rename the file, or write 'source' with a pattern.";
                self.config.diagnostics.push(Diagnostic::warning(at, word, message, help));
            }
        }
    }

    /// A list of names has no end-of-line comment either.
    fn no_comment(&mut self, at: At, names: &[&[u8]]) {
        if let Some(word) = names.iter().find(|name| name.starts_with(b"#")) {
            self.config.diagnostics.push(Diagnostic::warning(
                at,
                word,
                "'#' begins no comment here: ifupdown takes every word behind it for the name of an interface",
                "Put the comment on a line of its own.",
            ));
        }
    }

    /// One statement as ifupdown-ng and ifupdown2 take it: what they do not understand is passed over.
    fn tolerant(&mut self, at: At, statement: Statement<'_>, in_block: bool, open: &mut Open, depth: usize) {
        let ng = self.config.dialect == Dialect::IfupdownNg;
        match statement {
            Statement::Iface(words) => self.tolerant_iface(at, &words, open),
            Statement::Option { name: b"template" | b"interface", value } if ng => {
                self.tolerant_iface(at, &words(value), open);
            }
            Statement::Option { name: b"vlan", value } if !ng => self.tolerant_iface(at, &words(value), open),
            Statement::Source(value) if ng => {
                // No pattern, and relative to where ifup runs.
                if let Some(path) = words(value).first() {
                    self.include(at, Path::new(OsStr::from_bytes(path)), depth + 1);
                }
            }
            Statement::SourceDirectory(value) if ng => {
                if let Some(directory) = words(value).first().map(|word| Path::new(OsStr::from_bytes(word))) {
                    for name in self.files.list(directory).unwrap_or_default() {
                        self.include(at, &directory.join(OsStr::from_bytes(&name)), depth + 1);
                    }
                }
            }
            Statement::Option { name, value } => {
                let stanza = self.config.stanzas.last_mut().filter(|_| matches!(open, Open::Stanza));
                match (stanza, name) {
                    (Some(stanza), b"inherit" | b"inherits") if ng => {
                        stanza.last = Some(at);
                        let template = words(value).first().map(|word| BString::from(*word));
                        self.inherit(template);
                    }
                    (Some(_), _) if !value.is_empty() => {
                        let name = if ng { name.to_vec() } else { name.replace("_", "-") };
                        // An option with a value is never refused.
                        let _ = self.option(at, &name, value, in_block, Open::Stanza);
                    }
                    _ => {}
                }
            }
            Statement::Mapping(_) | Statement::NoAutoDown(_) | Statement::NoScripts(_) | Statement::Rename(_) => {}
            Statement::Allow(_, ref names) if names.is_empty() => {}
            statement => {
                // Lists and sources are the same for all three.
                let _ = self.statement(at, statement, in_block, open, depth);
            }
        }
    }

    fn tolerant_iface(&mut self, at: At, words: &[&[u8]], open: &mut Open) {
        *open = Open::Unknown;
        let Some(name) = words.first() else { return };
        let family = words.iter().find_map(|word| Family::parse(word));
        let method =
            words.iter().skip(1).find(|word| matches!(**word, b"dhcp" | b"loopback" | b"manual" | b"auto" | b"ppp"));
        let index = self.config.stanzas.len();
        self.first.entry((BString::from(*name), None)).or_insert(index);
        self.has_loopback |= method == Some(&&b"loopback"[..]) || *name == b"lo";
        self.config.stanzas.push(Stanza {
            interface: BString::from(*name),
            family: family.unwrap_or(Family::Any),
            method: method.map_or("static".into(), |method| BString::from(*method)),
            inherits: None,
            at: Some(at),
            last: Some(at),
            entries: Entries::default(),
        });
        *open = Open::Stanza;
        if let Some(keyword) = words.iter().position(|word| matches!(*word, b"inherits" | b"inherit")) {
            self.inherit(words.get(keyword + 1).map(|word| BString::from(*word)));
        }
    }

    /// ifupdown2 renders a file with mako before it reads it. symroute does not, so it must not edit it.
    fn mako(&mut self, file: usize) {
        let document = &self.config.files[file].document;
        let is_mako = |line: &usize| {
            let text = document.text(*line);
            text.starts_with(b"%") || text.contains_str("<%") || text.contains_str("${") && text.contains_str("}")
        };
        let found = (0..document.lines().len()).find(is_mako);
        if let Some(line) = found {
            self.config.files[file].refused = true;
            self.config.diagnostics.push(Diagnostic::warning(
                At { file, line },
                b"",
                "this file is a mako template: symroute reads it as it stands and does not write to it",
                "Use the hooks, and put what symroute has to know into plain stanzas.",
            ));
        }
    }

    /// Takes over what the template has, if there is one.
    fn inherit(&mut self, template: Option<BString>) {
        let Some(template) = template else { return };
        let index = self.first.get(&(template.clone(), None)).copied();
        let last = self.config.stanzas.len().saturating_sub(1);
        // A stanza that inherits from itself, or from a template twice, has nothing new by it.
        let again = |stanza: &Stanza| stanza.inherits.as_ref() == Some(&template);
        let entries = index.filter(|index| *index != last && !self.config.stanzas.get(last).is_some_and(again));
        let entries = entries.map(|index| self.config.stanzas[index].entries.share());
        let Some(stanza) = self.config.stanzas.last_mut() else { return };
        stanza.inherits = Some(template);
        let Some(entries) = entries else { return };
        if stanza.entries.count() + entries.count() <= MAX_INHERITED {
            stanza.entries.inherit(entries);
        } else if let Some(at) = stanza.at {
            let message = format!("{} inherits more than {MAX_INHERITED} options", stanza.interface);
            let help = "Put what stanzas share into one template.";
            self.config.diagnostics.push(Diagnostic::error(at, &stanza.interface, message, help));
        }
    }

    /// `no-auto-down` and `no-scripts`: bare in a stanza they mean its interface.
    fn named(&mut self, at: At, names: Vec<&[u8]>, open: &mut Open, list: fn(&mut Lists) -> &mut Vec<BString>) {
        match (self.config.stanzas.last_mut(), *open) {
            (Some(stanza), Open::Stanza) if names.is_empty() => {
                stanza.last = Some(at);
                list(&mut self.config.lists).push(stanza.interface.clone());
            }
            _ => {
                self.no_comment(at, &names);
                list(&mut self.config.lists).extend(names.into_iter().map(BString::from));
                *open = Open::Nothing;
            }
        }
    }

    fn option(&mut self, at: At, name: &[u8], value: &[u8], in_block: bool, open: Open) -> Result<(), Fault> {
        let misplaced = |help: &str| Err(Fault::new(name, "misplaced option", help));
        match open {
            Open::Unknown => Ok(()),
            Open::Nothing => misplaced("Put it below the 'iface' line that it belongs to, or begin the line with '#'."),
            Open::Mapping => {
                let Some(mapping) = self.config.mappings.last_mut() else { return Ok(()) };
                match name {
                    b"script" if mapping.script.is_some() => {
                        Err(Fault::new(name, "duplicate script in mapping", "Leave one 'script' line."))
                    }
                    b"script" => {
                        mapping.script = Some(value.into());
                        Ok(())
                    }
                    b"map" => {
                        mapping.maps.push(value.into());
                        Ok(())
                    }
                    _ => misplaced("A mapping has 'script' and 'map' lines only."),
                }
            }
            Open::Stanza => {
                if value.is_empty() {
                    let help = "Give it a value, or begin the line with '#'.";
                    return Err(Fault::new(name, "option with empty value", help));
                }
                let Some(stanza) = self.config.stanzas.last_mut() else { return Ok(()) };
                let (name, if_unset) = match (name, name.strip_suffix(b"?")) {
                    (b"post-up", _) => (&b"up"[..], false),
                    (b"pre-down", _) => (&b"down"[..], false),
                    (_, Some(bare)) => (bare, true),
                    (name, None) => (name, false),
                };
                if !in_block {
                    stanza.last = Some(at);
                }
                stanza.entries.push(Entry { name: name.into(), value: value.into(), at, in_block, if_unset });
                Ok(())
            }
        }
    }

    fn iface(&mut self, at: At, words: &[&[u8]]) -> Result<(), Fault> {
        const FORM: &str = "Write 'iface NAME inet|inet6 METHOD'.";
        let word = |n: usize| words.get(n).copied();
        let Some(name) = word(0) else {
            return Err(Fault::new(b"iface", "too few parameters for iface line", FORM));
        };
        let family = word(1).and_then(Family::parse);
        let mut next = 2;
        let (method, mut inherits) = match (family, word(1)) {
            (None, Some(b"inherits")) => (None, true),
            (None, word) => {
                let reason = "unknown or no address type and no inherits keyword specified";
                return Err(Fault::new(word.unwrap_or(name), reason, FORM));
            }
            (Some(family), _) => {
                next = 3;
                let known = word(2).filter(|word| family.methods().iter().any(|known| known.as_bytes() == *word));
                match (known, word(2)) {
                    (Some(method), _) => (Some(method), false),
                    (None, Some(b"inherits")) => (None, true),
                    (None, word) => {
                        let reason = "unknown or no method and no inherits keyword specified";
                        let help = format!("The methods of {family} are: {}.", family.methods().join(", "));
                        return Err(Fault::new(word.unwrap_or(family.name().as_bytes()), reason, help));
                    }
                }
            }
        };
        if let (false, Some(extra)) = (inherits, word(3)) {
            next = 4;
            inherits = extra == b"inherits";
            if !inherits {
                self.config.diagnostics.push(Diagnostic::warning(
                    at,
                    extra,
                    "extra parameter for the iface line not understood and ignored",
                    "A comment needs a line of its own; ifupdown knows none at the end of a line.",
                ));
            }
        }
        let mut stanza = Stanza {
            interface: name.into(),
            family: family.unwrap_or(Family::Meta),
            method: method.unwrap_or_default().into(),
            inherits: None,
            at: Some(at),
            last: Some(at),
            entries: Entries::default(),
        };
        if inherits {
            let Some(template) = word(next) else {
                let help = "Name the stanza to inherit from.";
                return Err(Fault::new(b"inherits", "'inherits' keyword is missing a parameter", help));
            };
            let key = (BString::from(template), family);
            let other = self.first.get(&key).map(|index| &mut self.config.stanzas[*index]);
            if other.is_none() && !self.rest_after.is_some_and(|before| before.contains_key(&key)) {
                let family = family.map_or("*", Family::name);
                let reason = format!("unknown iface to inherit from: {} ({family})", template.as_bstr());
                let help = "The stanza to inherit from stands earlier in the file and has the same family.";
                return Err(Fault::new(template, reason, help));
            }
            stanza.inherits = Some(template.into());
            if let Some(other) = other {
                stanza.entries.inherit(other.entries.share());
                if family.is_none() {
                    stanza.family = other.family;
                }
                if method.is_none() {
                    stanza.method = other.method.clone();
                }
            }
        }
        if method == Some(b"loopback") {
            self.has_loopback = true;
        }
        let index = self.config.stanzas.len();
        self.first.entry((name.into(), None)).or_insert(index);
        self.first.entry((name.into(), Some(stanza.family))).or_insert(index);
        self.config.stanzas.push(stanza);
        Ok(())
    }

    /// A `source` argument, relative to the directory of the file that it stands in; only its first word is.
    fn beside(&self, at: At, value: &[u8]) -> Vec<u8> {
        if value.starts_with(b"/") {
            return value.to_vec();
        }
        let including = &self.config.files[at.file].path;
        let directory = including.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        [directory.as_os_str().as_bytes(), b"/", value].concat()
    }

    fn include(&mut self, at: At, path: &Path, depth: usize) {
        if !self.seen.insert(path.as_os_str().to_os_string()) {
            return;
        }
        let wrong = if depth > MAX_DEPTH || self.config.files.len() >= MAX_FILES {
            Some((Severity::Error, "too many files, or too many within each other".to_string()))
        } else {
            match self.files.read(path) {
                Ok(bytes) => {
                    self.file(path, bytes, depth);
                    None
                }
                Err(error) => Some((Severity::Warning, reason(&error))),
            }
        };
        if let Some((severity, reason)) = wrong {
            self.config.diagnostics.push(Diagnostic {
                severity,
                id: None,
                at: Some(at),
                word: Vec::new(),
                message: format!("cannot read {}: {reason}", self.files.shown(path).display()),
                help: match severity {
                    Severity::Error => "Take the loop apart; symroute follows 100 levels and 10,000 files.".into(),
                    _ => "ifupdown goes on without it; correct the file or this line.".into(),
                },
            });
        }
    }
}
