//! The option lines of a stanza. What it inherits is shared, not copied: a chain of stanzas that inherit from each
//! other takes memory that grows with the file.

use std::rc::Rc;
use std::slice;

use super::diagnostic::Location;
use super::text::Text;

/// One option line of a stanza. Repeated ones are not joined yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `post-up` is `up` and `pre-down` is `down`, as in ifupdown.
    pub name: Text,
    pub value: Text,
    pub location: Location,
    /// It is from symroute-gen.
    pub in_block: bool,
    /// Written as `name?`: used only if the name has no value yet.
    pub(super) if_unset: bool,
}

#[derive(Debug, Clone)]
enum Part {
    Own(Entry),
    Inherited(Rc<Entries>),
}

/// In the order of ifupdown: inherited lines come where they were inherited.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    parts: Vec<Part>,
    count: usize,
}

impl Entries {
    pub fn iter(&self) -> Iter<'_> {
        Iter { parts: self.parts.iter(), outer: Vec::new() }
    }

    /// The number of lines.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.count = self.count.saturating_add(1);
        self.parts.push(Part::Own(entry));
    }

    /// Gives back the memory for further lines.
    pub(super) fn shrink(&mut self) {
        self.parts.shrink_to_fit();
    }

    pub(super) fn inherit(&mut self, template: Rc<Entries>) {
        self.count = self.count.saturating_add(template.count);
        self.parts.push(Part::Inherited(template));
    }

    /// The same lines, to be inherited.
    pub(super) fn share(&mut self) -> Rc<Entries> {
        if let [Part::Inherited(shared)] = &self.parts[..] {
            return shared.clone();
        }
        let shared = Rc::new(std::mem::take(self));
        self.inherit(shared.clone());
        shared
    }
}

/// A long chain is dropped in a loop: recursion would overflow the stack.
impl Drop for Entries {
    fn drop(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        while let Some(part) = parts.pop() {
            if let Part::Inherited(template) = part {
                parts.extend(Rc::into_inner(template).iter_mut().flat_map(|template| template.parts.drain(..)));
            }
        }
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[derive(Debug, Clone)]
pub struct Iter<'a> {
    parts: slice::Iter<'a, Part>,
    /// The rest of the stanzas that inherit these.
    outer: Vec<slice::Iter<'a, Part>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        loop {
            match self.parts.next() {
                Some(Part::Own(entry)) => return Some(entry),
                Some(Part::Inherited(template)) => {
                    self.outer.push(std::mem::replace(&mut self.parts, template.parts.iter()));
                }
                None => self.parts = self.outer.pop()?,
            }
        }
    }
}
