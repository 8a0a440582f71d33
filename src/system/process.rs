//! Runs another program and reads its standard output, and finds the processes that started this one.
//!
//! Without `std::process::Command`: built on Debian 13, that refers to `pidfd_spawnp` of glibc 2.39, and a program
//! that refers to it does not start on Debian 12.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;

use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::pipe2;

/// The whole environment of the program.
const ENVIRONMENT: [&CStr; 2] = [c"LC_ALL=C", c"PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

/// Standard output of the program at the path `command[0]`, whatever its exit code; its standard input and standard
/// error are `/dev/null`.
///
/// # Errors
/// As posix_spawn(3), pipe(2) and read(2); `ENOENT` where the program is missing.
pub fn output(command: &[&CStr]) -> io::Result<Vec<u8>> {
    let Some(program) = command.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut actions = PosixSpawnFileActions::init()?;
    for (source, target) in [(null.as_raw_fd(), 0), (to.as_raw_fd(), 1), (null.as_raw_fd(), 2)] {
        actions.add_dup2(source, target)?;
    }
    // Rust ignores SIGPIPE; other programs expect that it ends them.
    let mut attributes = PosixSpawnAttr::init()?;
    let mut defaults = SigSet::empty();
    defaults.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&defaults)?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    let child = posix_spawn(*program, &actions, &attributes, command, &ENVIRONMENT)?;
    drop(to);
    let mut printed = Vec::new();
    let read = File::from(from).read_to_end(&mut printed);
    waitpid(child, None)?;
    read.map(|_| printed)
}

/// The processes that started this one, the nearest first.
pub(crate) fn ancestors() -> impl Iterator<Item = u32> {
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // 1234 (name) S 1233
        stat.rsplit_once(") ")?.1.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    std::iter::successors(parent(&std::process::id()), parent).take_while(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_standard_output_alone() {
        let script = c"cat; echo out; echo error >&2; env; kill -PIPE $$; echo still here";
        let printed = output(&[c"/bin/sh", c"-c", script]).unwrap();
        let mut lines: Vec<&str> = std::str::from_utf8(&printed).unwrap().lines().collect();
        lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("_="));
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "out"]);
    }

    #[test]
    fn gives_more_than_a_pipe_holds() {
        let printed = output(&[c"/bin/sh", c"-c", c"head -c 1000000 /dev/zero"]).unwrap();
        assert_eq!(printed.len(), 1_000_000);
    }

    #[test]
    fn finds_the_processes_that_started_this_one() {
        let found: Vec<u32> = ancestors().collect();
        assert_eq!(found.first(), Some(&std::os::unix::process::parent_id()));
        assert!(!found.contains(&std::process::id()) && found.len() < 1000, "{found:?}");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = output(&[c"/nonexistent/program"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(output(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
