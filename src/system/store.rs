//! Putting files on disk: all of them or none, each one old or new and never anything between.
//!
//! A file is exchanged with a new one in the same directory, so that concurrent changes are found and restored.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use xattr::FileExt;

use crate::interfaces::reason;
use crate::rewrite::Change;
use crate::sort::sort;
use crate::system::files::{Root, require_file};

/// How temporary files begin: with a dot, so that neither `source DIR/*` nor `source-directory` reads them.
const TEMPORARY: &str = ".symroute-gen-";
const LOCK: &str = ".symroute-gen-lock";
/// For file systems that cannot exchange two names.
const SPARE: &str = ".symroute-gen-spare";

/// Writes every change, or none.
///
/// # Errors
/// When a file is locked, was changed since it was read, or cannot be written; then all files are as before.
pub fn write(root: &Root, changes: &[Change]) -> Result<()> {
    let targets = targets(root, changes)?;
    let mut paths: Vec<&Path> = targets.iter().filter_map(|target| target.parent()).collect();
    sort(&mut paths);
    paths.dedup();
    let directories = paths.into_iter().map(Directory::lock).collect::<Result<Vec<_>>>()?;
    let mut files = Vec::new();
    for (target, change) in targets.iter().zip(changes) {
        let directory = directories.iter().find(|directory| Some(directory.path) == target.parent());
        let directory = directory.with_context(|| format!("{} is no file", target.display()))?;
        files.push(Replacement::prepare(directory, target, change, files.len())?);
    }
    let replaced = files.iter_mut().try_for_each(Replacement::replace);
    let replaced = replaced.and_then(|()| directories.iter().try_for_each(Directory::sync));
    let Err(error) = replaced.and_then(|()| files.iter().try_for_each(Replacement::require_unchanged)) else {
        return Ok(());
    };
    let stuck: Vec<String> = files.iter_mut().rev().filter_map(|file| file.put_back().err()).collect();
    let _ = directories.iter().try_for_each(Directory::sync);
    Err(if stuck.is_empty() { error } else { anyhow!("{error:#}; {}", stuck.join("; ")) })
}

/// The files behind the names; each must be one that can be replaced by another.
fn targets(root: &Root, changes: &[Change]) -> Result<Vec<PathBuf>> {
    let mut targets: Vec<PathBuf> = Vec::new();
    for change in changes {
        let path = root.locate(&change.file.path);
        let found = root.resolve(&change.file.path).and_then(|target| Ok((target.metadata()?.nlink(), target)));
        let (links, target) = found.map_err(|error| anyhow!("cannot find {}: {}", path.display(), reason(&error)))?;
        if let Some(first) = targets.iter().position(|known| *known == target) {
            let first = root.locate(&changes[first].file.path);
            bail!(
                "{} and {} are the same file, which ifup reads twice; remove one of the 'source' lines",
                first.display(),
                path.display()
            );
        }
        if links > 1 {
            bail!(
                "{0} has {links} hard links, and replacing it would break them; run 'cp -p {0} {0}.new && mv {0}.new \
                 {0}' first, or remove the other links",
                target.display()
            );
        }
        targets.push(target);
    }
    Ok(targets)
}

/// To disk.
fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    tests::fail_when_due()?;
    file.sync_all()
}

/// A directory in which this run alone writes.
struct Directory<'a> {
    path: &'a Path,
    file: File,
    _lock: Flock<File>,
}

impl<'a> Directory<'a> {
    /// The lock is a file that only its owner can open, so only who may write here can hold it. It is removed at the
    /// end of the run.
    fn lock(path: &'a Path) -> Result<Self> {
        let cannot = |errno: Errno| anyhow!("cannot write in {}: {}", path.display(), errno.desc());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let file: File = open(path, flags, Mode::empty()).map_err(cannot)?.into();
        loop {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let lock: File = openat(&file, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(cannot)?.into();
            let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => {
                    bail!("another symroute-gen is writing in {}; run this again later", path.display())
                }
                Err((_, errno)) => return Err(cannot(errno)),
            };
            // The previous run may have removed the file since it was opened.
            let named = fstatat(&file, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW).map(|named| named.st_ino);
            if named.is_ok_and(|inode| lock.metadata().is_ok_and(|own| own.ino() == inode)) {
                let directory = Directory { path, file, _lock: lock };
                directory.sweep();
                return Ok(directory);
            }
        }
    }

    /// Removes the files of a killed run: under the lock, no other run has a temporary file here.
    fn sweep(&self) {
        for entry in std::fs::read_dir(self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_bytes().starts_with(TEMPORARY.as_bytes()) && name != LOCK {
                // If it cannot be removed, writing will say why.
                let _ = unlinkat(&self.file, &name[..], UnlinkatFlags::NoRemoveDir);
            }
        }
    }

    /// The renames themselves on disk.
    fn sync(&self) -> Result<()> {
        sync(&self.file).map_err(|error| anyhow!("cannot sync {}: {}", self.path.display(), reason(&error)))
    }
}

impl Drop for Directory<'_> {
    fn drop(&mut self) {
        let _ = unlinkat(&self.file, LOCK, UnlinkatFlags::NoRemoveDir);
    }
}

/// A file and what takes its place; afterwards the temporary name has the old one, until the end of the run.
struct Replacement<'a> {
    directory: &'a Directory<'a>,
    path: &'a Path,
    name: &'a OsStr,
    temporary: OsString,
    /// What was read.
    old: &'a [u8],
    /// The inode of the new file.
    inode: u64,
    replaced: bool,
    /// The temporary file is the only copy.
    keep: bool,
}

impl<'a> Replacement<'a> {
    fn prepare(directory: &'a Directory, path: &'a Path, change: &'a Change, number: usize) -> Result<Self> {
        let name = path.file_name().unwrap_or_default();
        let temporary = OsString::from(format!("{TEMPORARY}{number}"));
        let old = change.file.document.bytes();
        let mut file = Replacement { directory, path, name, temporary, old, inode: 0, replaced: false, keep: false };
        file.require_bytes(name)?;
        let made = file.make(change);
        file.inode = made.map_err(|error| anyhow!("cannot write {}: {}", path.display(), reason(&error)))?;
        Ok(file)
    }

    fn open(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory.file, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// The new file with the mode, owner and extended attributes of the old one, on disk; gives its inode.
    fn make(&self, change: &Change) -> io::Result<u64> {
        let old = self.open(self.name, OFlag::O_RDONLY)?;
        let new = self.open(&self.temporary, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        let mut out = BufWriter::new(&new);
        change.new_parts().try_for_each(|part| out.write_all(part))?;
        out.flush()?;
        drop(out);
        let (from, made) = (old.metadata()?, new.metadata()?);
        if (made.uid(), made.gid()) != (from.uid(), from.gid()) {
            fchown(&new, Some(from.uid()), Some(from.gid()))?;
        }
        new.set_permissions(Permissions::from_mode(from.mode() & 0o7777))?;
        // As far as possible: the file system may have none, and root alone may set some.
        for attribute in old.list_xattr().into_iter().flatten() {
            if let Ok(Some(value)) = old.get_xattr(&attribute) {
                let _ = new.set_xattr(&attribute, &value);
            }
        }
        sync(&new)?;
        Ok(made.ino())
    }

    fn replace(&mut self) -> Result<()> {
        self.require_bytes(self.name)?;
        self.exchange().map_err(|errno| {
            let path = self.path.display();
            match errno {
                Errno::EBUSY => anyhow!(
                    "cannot replace {path}: it is a mount point; unmount it first, or run symroute-gen on the \
                     original file"
                ),
                errno => anyhow!("cannot replace {path}: {}", errno.desc()),
            }
        })?;
        self.replaced = true;
        self.require_unchanged()
    }

    fn exchange(&self) -> nix::Result<()> {
        let (directory, temporary) = (&self.directory.file, &self.temporary[..]);
        match renameat2(directory, temporary, directory, self.name, RenameFlags::RENAME_EXCHANGE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                linkat(directory, self.name, directory, SPARE, AtFlags::empty())?;
                renameat(directory, temporary, directory, self.name)?;
                renameat(directory, SPARE, directory, temporary)
            }
            done => done,
        }
    }

    /// No program wrote to the old file since it was read, and none has it open for writing.
    fn require_unchanged(&self) -> Result<()> {
        let is_open = || self.open(&self.temporary, OFlag::O_RDONLY).is_ok_and(|old| is_open_for_writing(&old));
        let mut tries = 0;
        while is_open() {
            tries += 1;
            if tries == CLOSE_TRIES {
                bail!("another program has {} open for writing; run this again later", self.path.display());
            }
            sleep(CLOSE_WAIT);
        }
        self.require_bytes(&self.temporary)
    }

    fn require_bytes(&self, name: &OsStr) -> Result<()> {
        let path = self.path.display();
        let same = self.open(name, OFlag::O_RDONLY).and_then(|file| has_bytes(&file, self.old));
        if !same.map_err(|error| anyhow!("cannot read {path}: {}", reason(&error)))? {
            bail!("{path} was changed by another program since it was read; run this again");
        }
        Ok(())
    }

    /// Rolls back the replacement. A file that another program put there meanwhile stays.
    fn put_back(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.replaced) {
            return Ok(());
        }
        let is_ours = |name: &OsStr| {
            let found = fstatat(&self.directory.file, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            found.is_ok_and(|found| found.st_ino == self.inode)
        };
        if !is_ours(self.name) {
            return Ok(());
        }
        let inverse = self.exchange().and_then(|()| match is_ours(&self.temporary) {
            true => Ok(()),
            false => self.exchange(),
        });
        self.keep = inverse.is_err();
        inverse.map_err(|errno| {
            let old = self.directory.path.join(&self.temporary);
            format!("cannot restore {}: {}; the old file is {}", self.path.display(), errno.desc(), old.display())
        })
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if !self.keep {
            let _ = unlinkat(&self.directory.file, &self.temporary[..], UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Are these the bytes of the file?
fn has_bytes(file: &File, mut bytes: &[u8]) -> io::Result<bool> {
    require_file(file)?;
    let mut reader = BufReader::new(file);
    loop {
        let read = reader.fill_buf()?;
        match bytes.strip_prefix(read) {
            Some(rest) if !read.is_empty() => bytes = rest,
            rest => return Ok(rest.is_some_and(<[u8]>::is_empty)),
        }
        let length = read.len();
        reader.consume(length);
    }
}

/// A program that writes a file at once closes it within milliseconds. So does a process that was just forked by one that
/// has it open.
const CLOSE_TRIES: usize = 10;
const CLOSE_WAIT: Duration = Duration::from_millis(20);

/// include/uapi/asm-generic/fcntl.h; the libc crate lacks it.
const F_SETSIG: libc::c_int = 10;

/// fcntl(2): a lease for reading is rejected where another process has the file open for writing. Where the file
/// system has no leases, or the file belongs to another user, this is unknown.
#[allow(unsafe_code)]
fn is_open_for_writing(file: &File) -> bool {
    let descriptor = file.as_raw_fd();
    // SAFETY: the descriptor is open and these commands take an integer. Who opens the file for writing while the lease
    // is held, which is until the third call, sends this process SIGURG, which is ignored.
    unsafe {
        libc::fcntl(descriptor, F_SETSIG, libc::SIGURG);
        let rejected = libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) == -1 && Errno::last() == Errno::EAGAIN;
        libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
        rejected
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::interfaces::{self, Document, Edit};

    thread_local! {
        /// How many files are written to disk before one fails.
        static SYNCS: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    pub(crate) fn fail_when_due() -> io::Result<()> {
        let left = SYNCS.get();
        SYNCS.set(left.wrapping_sub(1));
        if left == 0 { Err(Errno::EIO.into()) } else { Ok(()) }
    }

    /// Whichever file or directory cannot be written to disk: all files are as before, and nothing else is there.
    #[test]
    fn all_or_none_when_the_disk_fails() {
        let names = ["a/one", "a/two", "b/three"];
        for failing in 0.. {
            let directory = tempfile::tempdir().unwrap();
            let file = |name: &str| directory.path().join(name);
            for name in names {
                fs::create_dir_all(file(name).parent().unwrap()).unwrap();
                fs::write(file(name), format!("old {name}")).unwrap();
            }
            let read = names.map(|name| interfaces::File {
                path: file(name),
                document: Document::parse(format!("old {name}").into()),
                ..interfaces::File::default()
            });
            let edits = |name: &str| vec![Edit { lines: 0..1, text: format!("new {name}").into() }];
            let change = |(file, name)| Change { file, edits: edits(name) };
            SYNCS.set(failing);
            let written = write(&Root::new(Path::new("/")), &read.iter().zip(names).map(change).collect::<Vec<_>>());
            SYNCS.set(usize::MAX);
            let state = if written.is_ok() { "new" } else { "old" };
            for name in names {
                assert_eq!(fs::read_to_string(file(name)).unwrap(), format!("{state} {name}"), "{failing}");
            }
            assert_eq!(fs::read_dir(file("a")).unwrap().count() + fs::read_dir(file("b")).unwrap().count(), 3);
            match written {
                Err(error) => assert!(format!("{error:#}").ends_with("I/O error"), "{error:#}"),
                // Three files, two directories.
                Ok(()) => return assert_eq!(failing, 5),
            }
        }
    }
}
