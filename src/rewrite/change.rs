//! The change of one file, as a value.

use crate::interfaces::{Edit, File};

/// A file whose bytes change. What stays is not copied: a file may be large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// As it was read.
    pub file: &'a File,
    /// In order, with lines that stay between them.
    pub edits: Vec<Edit>,
}

impl Change<'_> {
    /// The parts of the new file.
    pub fn new_parts(&self) -> impl Iterator<Item = &[u8]> {
        let document = &self.file.document;
        document.edited(0..document.count(), &self.edits)
    }
}
