//! The change of one file, as a value.

use std::path::PathBuf;

use crate::interfaces::Text;

/// A file whose bytes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As in `Config::files`.
    pub path: PathBuf,
    pub old: Text,
    pub new: Text,
}
