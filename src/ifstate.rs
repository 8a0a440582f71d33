//! What ifupdown and ifupdown-ng note about the interfaces they brought up: the only place that tells what a
//! mapping or a pattern chose, and who is on the way down.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::interfaces::{Dialect, Files};

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
pub fn up_as(files: &dyn Files, dialect: Dialect) -> Vec<(BString, BString)> {
    let state = state_file(dialect).and_then(|path| files.read(Path::new(path)).ok()).unwrap_or_default();
    let line = |line: &[u8]| {
        let (link, logical) = line.fields_with(|c| c.is_ascii_whitespace()).next()?.split_once_str("=")?;
        Some((link.into(), logical.into()))
    };
    state.lines().filter_map(line).collect()
}

/// The links that an `ifdown` of ifupdown's is working on just now. It locks `ifstate.IFACE` for as long as it
/// runs, and empties that file before anything else (main.c, `lock_interface` and `update_state`); so the
/// kernel may still have an address that is already on its way out.
pub fn going_down<'a>(dialect: Dialect, links: impl Iterator<Item = &'a str>) -> Vec<String> {
    let going = |link: &&str| {
        let path = state_file(dialect).map(|path| PathBuf::from(format!("{path}.{link}")));
        path.and_then(|path| File::open(path).ok()).is_some_and(|file| is_locked(&file) && is_empty(&file))
    };
    links.filter(|_| dialect == Dialect::Ifupdown).filter(going).map(String::from).collect()
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
    crate::files::read_bounded(file).is_ok_and(|text| text.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::Root;

    #[test]
    fn reads_what_is_noted() {
        let noted = |path: &str, state: &str, dialect| {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, state).unwrap();
            let text = |(link, logical): (BString, BString)| format!("{link} {logical}");
            up_as(&Root::new(root.path()), dialect).into_iter().map(text).collect::<Vec<_>>()
        };
        let ours = "lo=lo\neth0=home\neth1:1=eth1:1\n\nbroken\n";
        assert_eq!(noted("run/network/ifstate", ours, Dialect::Ifupdown), ["lo lo", "eth0 home", "eth1:1 eth1:1"]);
        assert_eq!(noted("run/ifstate", "lo=lo 1\neth0=home 2\n", Dialect::IfupdownNg), ["lo lo", "eth0 home"]);
        assert!(noted("run/network/ifstate", "eth0=home\n", Dialect::Ifupdown2).is_empty());
    }
}
