//! Problems of a configuration: message, location and fix.

use std::io;
use std::num::NonZero;

use nix::errno::Errno;

/// A logical line of one of the files of a [`super::Config`]. Small, because each stanza has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Counted from 1, so that an `Option` of a location is not larger.
    file: NonZero<u32>,
    line: u32,
}

impl Location {
    /// The reader limits the number of files, and the size of each.
    pub fn new(file: usize, line: usize) -> Self {
        Location { file: NonZero::<u32>::MIN.saturating_add(file as u32), line: line as u32 }
    }

    /// Index into `Config::files`.
    pub fn file(self) -> usize {
        self.file.get() as usize - 1
    }

    /// Index into that document's logical lines.
    pub fn line(self) -> usize {
        self.line as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used; exit code 2.
    Error,
    /// It can be used, but is probably a mistake.
    Warning,
    /// It works, but can be improved.
    Hint,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Hint => "hint",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable id in kebab-case, for other programs.
    pub id: Option<&'static str>,
    /// Nothing for a file that cannot be read.
    pub location: Option<Location>,
    /// The word that the caret marks; the whole line if the line does not contain it.
    pub word: Vec<u8>,
    pub message: String,
    /// The fix, as a sentence.
    pub help: String,
}

impl Diagnostic {
    pub fn error(location: Location, word: &[u8], message: impl Into<String>, help: impl Into<String>) -> Self {
        let (word, message, help) = (word.to_vec(), message.into(), help.into());
        Diagnostic { severity: Severity::Error, id: None, location: Some(location), word, message, help }
    }

    pub fn warning(location: Location, word: &[u8], message: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(location, word, message, help) }
    }

    pub fn named(self, id: &'static str) -> Self {
        Diagnostic { id: Some(id), ..self }
    }
}

/// The reason of an I/O error as text, without its number.
pub fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_string())
}
