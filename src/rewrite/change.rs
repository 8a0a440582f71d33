//! The change of one file, as a value.

use std::path::PathBuf;

/// A file whose bytes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As in `Config::files`.
    pub path: PathBuf,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}
