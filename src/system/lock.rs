//! The lock of everything that changes rules and routes.

use std::cell::Cell;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::system::files::require_file;

/// Where the lock is; /run belongs to root.
pub(crate) const LOCK: &str = "/run/symroute.lock";
/// How long one run waits for another. A run takes milliseconds; a minute means that one hangs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Held while rules and routes are changed; released when dropped or when the process dies.
pub(crate) struct Lock {
    file: Flock<File>,
    inode: Inode,
    /// Of the file, if it was looked at since it is locked: only who has the lock changes it.
    length: Cell<Option<u64>>,
}

/// What the lock file has in it after `symroute flush`.
const FLUSHED: &[u8] = b"flushed\n";

impl Lock {
    /// As [`LockFile::is_current`].
    pub fn is_current(&self) -> bool {
        let current = current(self.inode);
        self.length.set(current.as_ref().map(Metadata::len));
        current.is_some()
    }

    /// Has `symroute flush` run after every other command?
    pub fn is_flushed(&self) -> bool {
        if self.length.get() == Some(0) {
            return false;
        }
        let mut text = [0; FLUSHED.len()];
        self.file.read_exact_at(&mut text, 0).is_ok() && text == FLUSHED
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn set_flushed(&self, is_flushed: bool) -> Result<()> {
        if is_flushed == self.is_flushed() {
            return Ok(());
        }
        self.length.set(None);
        let write = || match is_flushed {
            true => self.file.write_all_at(FLUSHED, 0),
            false => self.file.set_len(0),
        };
        write().with_context(|| format!("cannot write {LOCK}"))
    }
}

/// The open lock file. A process that locks it repeatedly opens it once, so that it can tell by `IN_OPEN` of
/// inotify(7) when another process comes to change something.
pub(crate) struct LockFile {
    file: File,
    inode: Inode,
}

/// Which file it is: its device and its number there.
type Inode = (u64, u64);

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// The file of the name, if it is this one.
fn current(own: Inode) -> Option<Metadata> {
    fs::metadata(LOCK).ok().filter(|current| inode(current) == own)
}

impl LockFile {
    /// # Errors
    /// When the file cannot be made (not root), or is no file.
    pub fn open() -> Result<Self> {
        // A FIFO in its place must not block a run.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
        let mut options = OpenOptions::new();
        let open =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(LOCK);
        let file = open.with_context(|| format!("cannot open {LOCK} (changing routes requires root)"))?;
        let metadata = require_file(&file).with_context(|| format!("cannot lock {LOCK}"))?;
        Ok(LockFile { inode: inode(&metadata), file })
    }

    /// For one lock of several.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().with_context(|| format!("cannot lock {LOCK}"))?;
        Ok(LockFile { file, inode: self.inode })
    }

    /// Do other processes lock the same file? Not if it was deleted.
    pub fn is_current(&self) -> bool {
        current(self.inode).is_some()
    }

    /// Waits for the lock; calls `waiting` once when that takes longer than a second.
    ///
    /// # Errors
    /// When another run holds it for a minute.
    pub fn lock(self, waiting: &dyn Fn()) -> Result<Lock> {
        let LockFile { mut file, inode } = self;
        let (begin, mut has_reported) = (Instant::now(), false);
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => return Ok(Lock { file, inode, length: Cell::new(None) }),
                Err((_, error)) if error != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(error).with_context(|| format!("cannot lock {LOCK}"));
                }
                Err((_, _)) if begin.elapsed() > LOCK_TIMEOUT => {
                    bail!("other processes have held {LOCK} for a minute; run 'fuser -v {LOCK}' to see which")
                }
                Err((again, _)) => {
                    file = again;
                    if !has_reported && begin.elapsed() > Duration::from_secs(1) {
                        waiting();
                        has_reported = true;
                    }
                    sleep(Duration::from_millis(5));
                }
            }
        }
    }
}
