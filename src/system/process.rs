//! The start of this program; runs another program and reads its standard output; finds the processes that started this
//! one.
//!
//! Without `std::process::Command`: a dynamic program with it, built on Debian 13, refers to `pidfd_spawnp` of glibc 2.39
//! and does not start on Debian 12.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::pipe2;

/// The whole environment of the program.
const ENVIRONMENT: [&CStr; 2] = [c"LC_ALL=C", c"PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

/// What has to be done before anything else. A write to a closed pipe gives an error instead of a signal. Where a standard
/// stream is closed, a file that is opened later would become it, and get messages: it becomes `/dev/null`.
pub fn begin() {
    let _ = SigSet::from(Signal::SIGPIPE).thread_block();
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut streams = streams.map(|stream| PollFd::new(stream, PollFlags::empty()));
    if poll(&mut streams, PollTimeout::ZERO).is_err() {
        return;
    }
    let is_closed = |stream: &&PollFd| stream.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL));
    for _ in streams.iter().filter(is_closed) {
        // The first descriptor that is closed.
        let _ = File::options().read(true).write(true).open("/dev/null").map(IntoRawFd::into_raw_fd);
    }
}

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
    // This program blocks SIGPIPE, or ignores it; other programs expect that it ends them.
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
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
        // Its signals are not blocked, as they are here.
        begin();
        let script = c"cat; echo out; echo error >&2; env; kill -PIPE $$; echo still here";
        let printed = output(&[c"/bin/sh", c"-c", script]).unwrap();
        let mut lines: Vec<&str> = std::str::from_utf8(&printed).unwrap().lines().collect();
        lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("_="));
        lines.sort();
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
