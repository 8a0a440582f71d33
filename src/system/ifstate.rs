//! What ifupdown and ifupdown-ng note about the interfaces they brought up: the only place that tells what a
//! mapping or a pattern chose, and who is on the way down.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bstr::{BString, ByteSlice};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::stat::{major, minor};
use rustc_hash::FxHashSet;

use crate::interfaces::{Dialect, Files};
use crate::system::files::{open_file, read_bounded};
use crate::system::process;

/// ifupdown(8): `/run/network/ifstate`, one `eth0=home` a line; ifupdown-ng the same with a count behind it.
fn state_file(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Ifupdown => Some("/run/network/ifstate"),
        Dialect::IfupdownNg => Some("/run/ifstate"),
        // It keeps Python objects, and knows neither mappings nor logical names.
        Dialect::Ifupdown2 => None,
    }
}

/// The links that are up, each with the stanza that it is up as.
pub fn active(files: &dyn Files, dialect: Dialect) -> Vec<(BString, BString)> {
    let state = state_file(dialect).and_then(|path| files.read(Path::new(path)).ok()).unwrap_or_default();
    entries(&state).map(|(link, logical)| (link.into(), logical.into())).collect()
}

fn entries(state: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    state.lines().filter_map(|line| {
        let mut fields = line.split(u8::is_ascii_whitespace);
        fields.find(|field| !field.is_empty())?.split_once_str("=")
    })
}

/// Up to this number, the files of the links are looked at without the list of active ones.
const FEW: usize = 8;

/// The links that an `ifdown` of ifupdown's is working on just now. It locks `ifstate.IFACE` for as long as it
/// runs, and empties that file and takes the link out of `ifstate` before anything else (main.c, `lock_interface` and
/// `update_state`); so the kernel may still have an address that will be removed.
pub fn going_down(dialect: Dialect, links: &[&str]) -> Vec<String> {
    let Some(state) = state_file(dialect).filter(|_| dialect == Dialect::Ifupdown) else { return Vec::new() };
    let read = || open_file(Path::new(state)).ok().and_then(|file| read_bounded(file).ok());
    let list = Some(links).filter(|links| links.len() > FEW).and_then(|_| read()).unwrap_or_default();
    let active: FxHashSet<&[u8]> = entries(&list).map(|(link, _)| link).collect();
    let mut path = String::from(state);
    let is_going_down = |link: &&&str| {
        path.truncate(state.len());
        path.extend([".", link]);
        // Most are there and not empty: an empty one has a line feed at most.
        if fs::metadata(&path).map_or(true, |state| state.len() > 1) {
            return false;
        }
        open_file(Path::new(&path)).is_ok_and(|file| is_locked(&file) && is_empty(&file))
    };
    let others = links.iter().filter(|link| !active.contains(link.as_bytes()));
    others.filter(is_going_down).map(|link| link.to_string()).collect()
}

/// The directory of the files that ifupdown locks while it works, and how their names begin.
pub(crate) fn locks(dialect: Dialect) -> (&'static str, &'static str) {
    match dialect {
        Dialect::Ifupdown => ("/run/network", "ifstate"),
        Dialect::IfupdownNg => ("/run", "ifstate"),
        Dialect::Ifupdown2 => ("/run/network", ".lock"),
    }
}

/// Does an `ifup` or `ifdown` work on the interface just now? ifupdown locks `ifstate.IFACE` (main.c,
/// `lock_interface`), ifupdown-ng `ifstate.IFACE.lock` (cmd/ifupdown.c, `acquire_state_lock`), ifupdown2 one file for
/// all interfaces (ifupdown/utils.py, `lockFile`).
pub(crate) fn is_busy(dialect: Dialect, interface: &str) -> bool {
    let (directory, prefix) = locks(dialect);
    let name = match dialect {
        Dialect::Ifupdown => format!("{prefix}.{interface}"),
        Dialect::IfupdownNg => format!("{prefix}.{interface}.lock"),
        Dialect::Ifupdown2 => prefix.to_string(),
    };
    let Ok(file) = open_file(&Path::new(directory).join(name)) else { return false };
    match dialect {
        Dialect::Ifupdown2 => has_flock(&file),
        _ => is_locked(&file),
    }
}

/// Does the `ifup` or `ifdown` of ifupdown2 that started this process hold the lock for all interfaces? It works on one
/// interface after the other.
pub(crate) fn is_part_of_ifupdown2() -> bool {
    let (directory, name) = locks(Dialect::Ifupdown2);
    let holder = open_file(&Path::new(directory).join(name)).ok().and_then(|file| flock_holder(&file));
    holder.is_some_and(|holder| process::ancestors().any(|ancestor| ancestor == holder))
}

fn has_flock(file: &File) -> bool {
    flock_holder(file).is_some()
}

/// The process with a lock of flock(2) on the file. By `/proc/locks`: a try of our own could fail an `ifup` at the same
/// moment.
fn flock_holder(file: &File) -> Option<u32> {
    let (metadata, locks) = (file.metadata().ok()?, fs::read_to_string("/proc/locks").ok()?);
    let device = metadata.dev();
    let id = format!("{:02x}:{:02x}:{}", major(device), minor(device), metadata.ino());
    // 1: FLOCK  ADVISORY  WRITE 1234 00:18:567 0 EOF
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_of_file = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&&*id);
        // A process of another namespace has no number here.
        is_of_file.then(|| words[4].parse().unwrap_or(0))
    })
}

fn is_locked(file: &File) -> bool {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock)).is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
}

fn is_empty(file: &File) -> bool {
    read_bounded(file).is_ok_and(|text| text.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Root;

    #[test]
    fn reads_the_state_files() {
        let noted = |path: &str, state: &str, dialect| {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, state).unwrap();
            let text = |(link, logical): (BString, BString)| format!("{link} {logical}");
            active(&Root::new(root.path()), dialect).into_iter().map(text).collect::<Vec<_>>()
        };
        let ours = "lo=lo\neth0=home\neth1:1=eth1:1\n\nbroken\n";
        assert_eq!(noted("run/network/ifstate", ours, Dialect::Ifupdown), ["lo lo", "eth0 home", "eth1:1 eth1:1"]);
        assert_eq!(noted("run/ifstate", "lo=lo 1\neth0=home 2\n", Dialect::IfupdownNg), ["lo lo", "eth0 home"]);
        assert!(noted("run/network/ifstate", "eth0=home\n", Dialect::Ifupdown2).is_empty());
    }

    #[test]
    fn a_lock_of_another_process_is_seen() {
        // A file on tmpfs, as those in /run: overlayfs may show other numbers in /proc/locks.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let file = tempfile::NamedTempFile::new_in(directory).unwrap();
        let file = file.as_file();
        assert!(!has_flock(file));
        let lock = nix::fcntl::Flock::lock(file.try_clone().unwrap(), nix::fcntl::FlockArg::LockExclusive).unwrap();
        assert_eq!(flock_holder(file), Some(std::process::id()));
        drop(lock);
        assert!(!has_flock(file));
    }
}
