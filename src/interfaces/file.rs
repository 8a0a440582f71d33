//! A file that was read, with the blocks in it.

use std::ops::Range;
use std::path::PathBuf;

use super::diagnostic::Diagnostic;
use super::document::Document;

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// The path with which ifupdown opens it.
    pub path: PathBuf,
    pub document: Document,
    /// The blocks in it, as ranges of logical lines.
    pub blocks: Vec<Range<usize>>,
    /// Markers of a block without their partner: ifupdown ignores them, but the file must not be edited.
    pub stray_markers: Vec<Diagnostic>,
    /// ifupdown stops reading it at an error.
    pub is_rejected: bool,
}
