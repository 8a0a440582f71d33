//! `source` and `source-directory`: which files they name, and reading them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::{MAX_DEPTH, MAX_FILES, Place, Reader};
use crate::interfaces::diagnostic::{Diagnostic, Location, Severity, reason};
use crate::interfaces::wordexp::Failure;

/// Hidden files, backups of editors and of dpkg: no warning is needed for these.
fn is_backup(name: &[u8]) -> bool {
    name.starts_with(b".") || name.ends_with(b"~") || name.contains_str(".dpkg-") || name == b"README"
}

impl Reader<'_> {
    /// The paths of a `source` argument; a warning where ifupdown silently reads nothing.
    pub(super) fn expand(&mut self, location: Location, value: &[u8]) -> Vec<PathBuf> {
        let (word, message, help) = match self.files.expand(&self.resolve_include(location, value)) {
            Ok(paths) => return paths,
            Err(Failure::Rejected(character)) => (
                character.to_string(),
                format!("wordexp(3) rejects '{character}' in this path; ifupdown silently reads no file here"),
                "Write a path or a pattern. Quote a character that is part of a name.",
            ),
            Err(Failure::Unknown(words)) => (
                words.clone(),
                format!("only ifup can expand '{words}'; symroute reads no file here"),
                "Write the path, or a named variable.",
            ),
        };
        self.config.diagnostics.push(Diagnostic::warning(location, word.as_bytes(), message, help));
        Vec::new()
    }

    /// The files of a directory whose names are letters, digits, '_' and '-'.
    pub(super) fn directory(&mut self, place: Place<'_>, word: &[u8], directory: &Path) {
        for name in self.files.list(directory).unwrap_or_default() {
            if name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
                // As ifupdown joins them: with a slash, even after another slash.
                let mut path = directory.as_os_str().as_bytes().to_vec();
                path.push(b'/');
                path.extend_from_slice(&name);
                self.include(place.location, Path::new(OsStr::from_bytes(&path)), place.depth + 1);
            } else if !is_backup(&name) {
                let message = format!(
                    "{}/{} is ignored: a file name may contain only letters, digits, '_' and '-'",
                    self.files.shown(directory).display(),
                    name.as_bstr()
                );
                let help = "Rename the file, or write 'source' with a pattern.";
                self.config.diagnostics.push(Diagnostic::warning(place.location, word, message, help));
            }
        }
    }

    /// A `source` argument, relative to the directory of the including file. Only its first word is changed.
    fn resolve_include(&self, location: Location, value: &[u8]) -> Vec<u8> {
        if value.starts_with(b"/") {
            return value.to_vec();
        }
        let including = &self.config.files[location.file()].path;
        let directory = including.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        [directory.as_os_str().as_bytes(), b"/", value].concat()
    }

    pub(super) fn include(&mut self, location: Location, path: &Path, depth: usize) {
        if !self.seen.insert(path.as_os_str().to_os_string()) {
            return;
        }
        let failure = if depth > MAX_DEPTH || self.config.files.len() >= MAX_FILES {
            Some((Severity::Error, "too many files or include levels".to_string()))
        } else {
            match self.files.read(path) {
                Ok(bytes) => {
                    self.file(path, bytes, depth);
                    None
                }
                Err(error) => Some((Severity::Warning, reason(&error))),
            }
        };
        if let Some((severity, reason)) = failure {
            self.config.diagnostics.push(Diagnostic {
                severity,
                id: None,
                location: Some(location),
                word: Vec::new(),
                message: format!("cannot read {}: {reason}", self.files.shown(path).display()),
                help: match severity {
                    Severity::Error => {
                        "Remove the include loop. symroute reads up to 100 levels and 10,000 files.".into()
                    }
                    _ => "Correct that file or this line. ifupdown ignores a file that it cannot read.".into(),
                },
            });
        }
    }
}
