//! Putting files on disk: all of them or none, each one old or new and never anything between.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tempfile::NamedTempFile;

use super::Change;
use crate::files::{Root, read_bounded};

/// How temporary files begin: with a dot, so that neither `source DIR/*` nor `source-directory` reads them.
const TEMPORARY: &str = ".symroute-gen-";

/// A file made ready beside its target.
struct Ready {
    target: PathBuf,
    old: Vec<u8>,
    temporary: NamedTempFile,
}

/// Writes every change, or none.
///
/// # Errors
/// When a file is locked, was changed since it was read, or cannot be written; then all files are as before.
pub fn write(root: &Root, changes: &[Change]) -> Result<()> {
    let mut targets = Vec::new();
    for change in changes {
        // A symlink stays a link: its target is replaced.
        let path = root.locate(&change.path);
        let target = fs::canonicalize(&path).with_context(|| format!("cannot find {}", path.display()))?;
        if !root.holds(&target) {
            bail!("{} is a link out of the given root, to {}", path.display(), target.display());
        }
        targets.push(target);
    }
    let _locks = lock(&targets)?;
    targets.iter().filter_map(|target| target.parent()).for_each(sweep);
    let mut ready = Vec::new();
    for (change, target) in changes.iter().zip(targets) {
        let is = |error: io::Error| anyhow::Error::new(error).context(format!("cannot write {}", target.display()));
        unchanged(&target, &change.old)?;
        let temporary = beside(&target, &change.new).map_err(is)?;
        ready.push(Ready { target, old: change.old.clone(), temporary });
    }
    let mut replaced: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for Ready { target, old, temporary } in ready {
        let result = unchanged(&target, &old)
            .and_then(|()| temporary.persist(&target).map_err(|error| error.error.into()).and_then(|_| sync(&target)));
        if let Err(error) = result {
            let mut stuck = Vec::new();
            for (path, bytes) in replaced {
                let back = beside(&path, &bytes).and_then(|old| old.persist(&path).map_err(|error| error.error));
                if let Err(second) = back {
                    stuck.push(format!("; {} could not be put back: {second}", path.display()));
                }
            }
            return Err(error).with_context(|| format!("cannot replace {}{}", target.display(), stuck.concat()));
        }
        replaced.push((target, old));
    }
    Ok(())
}

/// Locks the directories of the targets: no lock file is left behind, and writers of one configuration meet.
fn lock(targets: &[PathBuf]) -> Result<Vec<Flock<File>>> {
    let mut directories: Vec<&Path> = targets.iter().filter_map(|target| target.parent()).collect();
    directories.sort();
    directories.dedup();
    let lock = |directory: &Path| {
        let file = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) => {
                bail!("another symroute-gen is writing in {}; try again when it is done", directory.display())
            }
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", directory.display())),
        }
    };
    directories.into_iter().map(lock).collect()
}

/// Takes away what a killed run left: under the lock, no other run has a temporary file here.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(TEMPORARY.as_bytes()) {
            // If it cannot be removed, writing will say why.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn unchanged(path: &Path, bytes: &[u8]) -> Result<()> {
    let now = File::open(path).and_then(read_bounded).with_context(|| format!("cannot read {}", path.display()))?;
    if now != bytes {
        bail!("{} was changed by somebody else since it was read; run this again", path.display());
    }
    Ok(())
}

/// A temporary file in the same directory with the target's mode, owner and extended attributes, on disk.
fn beside(target: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let metadata = fs::metadata(target)?;
    let directory = target.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    temporary.write_all(bytes)?;
    let file = temporary.as_file();
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    copy_attributes(target, temporary.path());
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// As far as the file system lets us: it may know none, and some of them are not ours to set.
fn copy_attributes(from: &Path, to: &Path) {
    for name in xattr::list(from).into_iter().flatten() {
        let name: &OsStr = &name;
        if let Ok(Some(value)) = xattr::get(from, name) {
            let _ = xattr::set(to, name, &value);
        }
    }
}

/// The rename itself on disk.
fn sync(target: &Path) -> Result<()> {
    let directory = target.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all().with_context(|| format!("cannot sync {}", directory.display()))
}
