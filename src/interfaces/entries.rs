//! The option lines of all stanzas, in little memory: a file may have many. What a stanza inherits is a reference to the
//! lines of another one: a chain of stanzas that inherit from each other takes memory that grows with the file.

use std::slice;

use bstr::{BStr, ByteSlice};

use super::diagnostic::Location;
use super::file::File;
use super::text::Text;

/// One option line of a stanza. Repeated ones are not joined yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `post-up` is `up` and `pre-down` is `down`, as in ifupdown.
    pub name: &'a Text,
    pub value: &'a BStr,
    pub location: Location,
    /// It is from symroute-gen.
    pub in_block: bool,
    /// Written as `name?`: used only if the name has no value yet.
    pub(super) if_unset: bool,
    /// The position of the name among all names.
    pub(super) name_at: usize,
}

/// The lines of one stanza, in the order of ifupdown: inherited lines come where they were inherited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entries {
    start: u32,
    end: u32,
    /// The number of lines.
    count: u32,
}

/// An option line. Its value is a part of its file.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: u32,
    value: [u32; 2],
    line: u32,
    file: u16,
    in_block: bool,
    if_unset: bool,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Own(Line),
    Inherited { start: u32, end: u32 },
}

/// The lines of all stanzas, and the names in them.
#[derive(Debug, Clone, Default)]
pub(super) struct EntryList {
    parts: Vec<Part>,
    names: Vec<Text>,
    /// Most configurations have no line from symroute-gen.
    pub(super) has_block: bool,
}

/// Some of the names of options: the other lines of a stanza need not be looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameSet {
    has: Vec<bool>,
    is_empty: bool,
}

impl NameSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    fn has(&self, name: u32) -> bool {
        self.has.get(name as usize) == Some(&true)
    }
}

impl EntryList {
    /// The lines of a stanza that begins here.
    pub(super) fn begin(&self) -> Entries {
        let start = self.parts.len() as u32;
        Entries { start, end: start, count: 0 }
    }

    /// Adds a name; returns its position.
    pub(super) fn add_name(&mut self, name: Text) -> usize {
        self.names.push(name);
        self.names.len() - 1
    }

    /// Adds a line to the last stanza, whose lines are `entries`. `name` is a position, `value` a place in the file.
    pub(super) fn push(&mut self, entries: &mut Entries, name: usize, value: [u32; 2], kind: (Location, bool, bool)) {
        let (location, in_block, if_unset) = kind;
        // The reader limits the number of files, and the size of each.
        let (name, line, file) = (name as u32, location.line() as u32, location.file() as u16);
        self.parts.push(Part::Own(Line { name, value, line, file, in_block, if_unset }));
        self.has_block |= in_block;
        (entries.end, entries.count) = (entries.end + 1, entries.count.saturating_add(1));
    }

    /// Adds the lines of another stanza to the last one, whose lines are `entries`.
    pub(super) fn inherit(&mut self, entries: &mut Entries, template: Entries) {
        let part = match self.parts[template.start as usize..template.end as usize] {
            [inherited @ Part::Inherited { .. }] => inherited,
            _ => Part::Inherited { start: template.start, end: template.end },
        };
        self.parts.push(part);
        (entries.end, entries.count) = (entries.end + 1, entries.count.saturating_add(template.count));
    }

    /// The names of all lines that satisfy a condition.
    pub(super) fn names(&self, is_such: impl FnMut(&Text) -> bool) -> NameSet {
        let has: Vec<bool> = self.names.iter().map(is_such).collect();
        NameSet { is_empty: !has.contains(&true), has }
    }

    /// Gives back the memory for further lines.
    pub(super) fn shrink(&mut self) {
        self.parts.shrink_to_fit();
    }

    /// The lines of a stanza, or those that have one of the names.
    pub(super) fn iter<'a, 'n>(
        &'a self,
        files: &'a [File],
        entries: Entries,
        names: Option<&'n NameSet>,
    ) -> Iter<'a, 'n> {
        let start = if names.is_some_and(NameSet::is_empty) { entries.end } else { entries.start };
        Iter { list: self, files, parts: self.between(start, entries.end), names, outer: Vec::new() }
    }

    fn between(&self, start: u32, end: u32) -> slice::Iter<'_, Part> {
        let parts: &[Part] = &self.parts;
        parts[start as usize..end as usize].iter()
    }
}

impl Entries {
    pub(super) fn count(self) -> usize {
        self.count as usize
    }
}

#[derive(Debug, Clone)]
pub struct Iter<'a, 'n> {
    list: &'a EntryList,
    files: &'a [File],
    parts: slice::Iter<'a, Part>,
    names: Option<&'n NameSet>,
    /// The rest of the stanzas that inherit these.
    outer: Vec<slice::Iter<'a, Part>>,
}

impl<'a> Iterator for Iter<'a, '_> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            match self.parts.next() {
                Some(Part::Own(line)) if self.names.is_none_or(|names| names.has(line.name)) => {
                    return Some(self.entry(line));
                }
                Some(Part::Own(_)) => {}
                Some(Part::Inherited { start, end }) => {
                    self.outer.push(std::mem::replace(&mut self.parts, self.list.between(*start, *end)));
                }
                None => self.parts = self.outer.pop()?,
            }
        }
    }
}

impl<'a> Iter<'a, '_> {
    fn entry(&self, line: &Line) -> Entry<'a> {
        let Line { name, value, line, file, in_block, if_unset } = *line;
        let (name_at, location) = (name as usize, Location::new(file.into(), line as usize));
        let value = self.files[location.file()].document.whole().between(value).as_bstr();
        let names: &[Text] = &self.list.names;
        Entry { name: &names[name_at], value, location, in_block, if_unset, name_at }
    }
}
