//! Changes of the lock file, of ifupdown's state and of the interfaces files (inotify(7)).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use rustc_hash::FxHashMap;

use crate::interfaces::Dialect;
use crate::system::ifstate;
use crate::system::lock::LOCK;

/// What happened since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FileChanges {
    /// Another symroute opened or closed the lock file: it changes something, or has done so.
    pub command: bool,
    /// An `ifup` or `ifdown` has ended.
    pub ifupdown: bool,
    /// A file in a directory of the interfaces files was written, renamed or removed.
    pub interfaces: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Lock,
    State,
    Interfaces,
}

pub(crate) struct FileEvents {
    inotify: Inotify,
    watched: FxHashMap<WatchDescriptor, Watched>,
    state_prefix: &'static str,
    directories: Vec<PathBuf>,
    /// Why a directory cannot be watched.
    errors: BTreeMap<PathBuf, Errno>,
}

impl FileEvents {
    /// # Errors
    /// When the kernel gives no inotify descriptor: fs.inotify.max_user_instances is reached.
    pub fn open(dialect: Dialect) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify")?;
        let mut events = FileEvents {
            inotify,
            watched: FxHashMap::default(),
            state_prefix: "",
            directories: Vec::new(),
            errors: BTreeMap::new(),
        };
        events.watch_lock()?;
        events.watch_state(dialect);
        Ok(events)
    }

    /// Watches the directory of ifupdown's state, if it is there by now. ifupdown opens its locks for writing; they are
    /// unlocked when they are closed.
    pub fn watch_state(&mut self, dialect: Dialect) {
        let (directory, state_prefix) = ifstate::locks(dialect);
        self.state_prefix = state_prefix;
        self.watch(Path::new(directory), AddWatchFlags::IN_CLOSE_WRITE, Watched::State);
    }

    /// Directories that exist and cannot be watched: fs.inotify.max_user_watches is reached.
    pub fn errors(&self) -> Vec<String> {
        let text = |(path, errno): (&PathBuf, &Errno)| format!("cannot watch {}: {}", path.display(), errno.desc());
        self.errors.iter().map(text).collect()
    }

    /// Watches the lock file; again after it was deleted and created.
    ///
    /// # Errors
    /// When there is none, or fs.inotify.max_user_watches is reached.
    pub fn watch_lock(&mut self) -> Result<()> {
        let changes = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_CLOSE_WRITE;
        let watch = self.inotify.add_watch(LOCK, changes).with_context(|| format!("inotify: {LOCK}"))?;
        self.watched.insert(watch, Watched::Lock);
        Ok(())
    }

    /// Watches the directories of the interfaces files, so that a file that an editor renames is seen too.
    pub fn watch_interfaces<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        for directory in files.filter_map(Path::parent).chain([Path::new("/etc/network/interfaces.d")]) {
            let changes = AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_DELETE;
            self.watch(directory, changes, Watched::Interfaces);
        }
    }

    /// A directory that does not exist is tried again by the next call.
    fn watch(&mut self, path: &Path, events: AddWatchFlags, watched: Watched) {
        if self.directories.iter().any(|known| known == path) {
            return;
        }
        self.errors.remove(path);
        match self.inotify.add_watch(path, events | AddWatchFlags::IN_ONLYDIR) {
            Ok(watch) => {
                self.watched.insert(watch, watched);
                self.directories.push(path.to_path_buf());
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => _ = self.errors.insert(path.to_path_buf(), errno),
        }
    }

    /// # Errors
    /// When the descriptor cannot be read.
    pub fn read(&self) -> Result<FileChanges> {
        let mut changes = FileChanges::default();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(changes),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno).context("inotify"),
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    changes = FileChanges { command: true, ifupdown: true, interfaces: true };
                }
                let has_state_name = || event.name.as_deref().is_some_and(|name| self.is_of_state(name));
                match self.watched.get(&event.wd) {
                    Some(Watched::Lock) => {
                        let lock_file = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_CLOSE_WRITE;
                        changes.command |= event.mask.intersects(lock_file);
                    }
                    Some(Watched::State) => changes.ifupdown |= has_state_name(),
                    Some(Watched::Interfaces) => changes.interfaces = true,
                    None => {}
                }
            }
        }
    }

    fn is_of_state(&self, name: &OsStr) -> bool {
        name.as_encoded_bytes().starts_with(self.state_prefix.as_bytes())
    }
}

impl AsFd for FileEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
