//! Whether changed files still have the same configuration.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::change::Change;
use crate::interfaces::{Config, Failure, Files, Stanza};

/// The files with the changes.
struct Overlay<'a> {
    files: &'a dyn Files,
    changes: &'a [Change],
}

impl Files for Overlay<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.changes.iter().find(|change| change.path == path) {
            Some(change) => Ok(change.new.clone()),
            None => self.files.read(path),
        }
    }

    fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure> {
        self.files.expand(argument)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>> {
        self.files.list(directory)
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.exists(path)
    }

    fn shown(&self, path: &Path) -> PathBuf {
        self.files.shown(path)
    }
}

/// Reads the result before it is written: it must be valid, and differ only in the lines of symroute-gen.
///
/// # Errors
/// If it is not.
pub fn verify(config: &Config, files: &dyn Files, changes: &[Change]) -> Result<()> {
    let Some(top) = config.files.first() else { return Ok(()) };
    let overlay = Overlay { files, changes };
    let bytes =
        changes.iter().find(|change| change.path == top.path).map_or(top.document.bytes(), |change| &change.new);
    let after = Config::parse_without_lint(&top.path, bytes.to_vec(), &overlay, config.dialect);
    let key = |stanza: &Stanza| (stanza.interface.clone(), stanza.family, stanza.method.clone());
    let is_same = |(one, other): (&Stanza, &Stanza)| key(one) == key(other) && one.has_own_options_of(other);
    let same_stanzas =
        after.stanzas.len() == config.stanzas.len() && after.stanzas.iter().zip(&config.stanzas).all(is_same);
    if after.is_invalid() || after.lists != config.lists || !same_stanzas {
        bail!("the result does not read as the same configuration, nothing was written; this is a bug in symroute-gen");
    }
    Ok(())
}
