//! The record of a running `symroute watch`: /run/symroute-watch, locked while it runs, so that what a dead process left
//! counts for nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use serde_json::{Value, json};

use crate::check::facts::{LastChange, Running};
use crate::system::files::{open_file, read_bounded, require_file};

const RECORD: &str = "/run/symroute-watch";
/// A read that meets a write is repeated.
const RECORD_TRIES: usize = 10;

/// Seconds since 1970 in UTC.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The record of this process; only one process has it.
pub(crate) struct Record {
    file: File,
    since: u64,
}

impl Record {
    /// # Errors
    /// When the file cannot be made (not root), or another process has it.
    pub fn acquire() -> Result<Self> {
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
        let mut options = OpenOptions::new();
        let open = options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags);
        let file = open.open(RECORD).with_context(|| format!("cannot open {RECORD} (watch requires root)"))?;
        require_file(&file).with_context(|| format!("cannot lock {RECORD}"))?;
        let mut lock = whole_file(libc::F_WRLCK);
        match fcntl(file.as_fd(), FcntlArg::F_SETLK(&lock)) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let _ = fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock));
                bail!("another symroute watch is running (process {})", lock.l_pid);
            }
            Err(errno) => return Err(errno).with_context(|| format!("cannot lock {RECORD}")),
        }
        let record = Record { file, since: now() };
        record.write(None)?;
        Ok(record)
    }

    /// # Errors
    /// When /run is full.
    pub fn write(&self, last_change: Option<&LastChange>) -> Result<()> {
        let last_change = last_change.map(|change| json!({"time": change.time, "lines": change.lines}));
        let text = json!({"since": self.since, "last_change": last_change}).to_string();
        let write = || -> io::Result<()> {
            self.file.write_all_at(text.as_bytes(), 0)?;
            self.file.set_len(text.len() as u64)?;
            (&self.file).flush()
        };
        write().with_context(|| format!("cannot write {RECORD}"))
    }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// The `symroute watch` that runs now.
pub(crate) fn running() -> Option<Running> {
    let file = open_file(Path::new(RECORD)).ok()?;
    let mut lock = whole_file(libc::F_RDLCK);
    fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock)).ok()?;
    if lock.l_type == libc::F_UNLCK as libc::c_short {
        return None;
    }
    // It may be written at this moment.
    let read = || {
        let bytes = read_bounded(open_file(Path::new(RECORD)).ok()?).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    let record = (0..RECORD_TRIES).find_map(|_| read())?;
    let last_change = record["last_change"].as_object().map(|change| LastChange {
        time: change.get("time").and_then(Value::as_u64).unwrap_or_default(),
        lines: change
            .get("lines")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|line| line.as_str().map(String::from))
            .collect(),
    });
    Some(Running { pid: lock.l_pid, since: record["since"].as_u64().unwrap_or_default(), last_change })
}
