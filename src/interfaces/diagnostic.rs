//! What is wrong with a configuration, where, and what to do about it.

use std::io;

use nix::errno::Errno;

/// A logical line of one of the files of a [`super::Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Index into `Config::files`.
    pub file: usize,
    /// Index into that document's logical lines.
    pub line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used; exit code 2.
    Error,
    /// It can be used, but hardly means what its author meant.
    Warning,
    /// It does what it says, and could do it better.
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
    /// A stable name in kebab-case, where others may want to know the kind.
    pub id: Option<&'static str>,
    /// Nowhere for a file that could not be read at all.
    pub at: Option<At>,
    /// The word in that line to point at; nothing found there points at the whole line.
    pub word: Vec<u8>,
    pub message: String,
    /// What to do, as a sentence.
    pub help: String,
}

impl Diagnostic {
    pub fn error(at: At, word: &[u8], message: impl Into<String>, help: impl Into<String>) -> Self {
        let (word, message, help) = (word.to_vec(), message.into(), help.into());
        Diagnostic { severity: Severity::Error, id: None, at: Some(at), word, message, help }
    }

    pub fn warning(at: At, word: &[u8], message: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(at, word, message, help) }
    }

    pub fn named(self, id: &'static str) -> Self {
        Diagnostic { id: Some(id), ..self }
    }
}

/// Why the kernel did not do it, as text.
pub fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_string())
}
