//! Starts the capture program and reads its lines.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use crate::observe::lines::{Event, LONGEST, Order};

const PROGRAM: &str = "symroute-capture";
const INSTALLED: &str = "/usr/libexec/symroute/symroute-capture";
/// The file of packets, as the capture program finds it.
const PCAP: i32 = 3;

/// The program that was built with this one, or the installed one.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(PROGRAM));
    beside.filter(|path| path.exists()).unwrap_or_else(|| Path::new(INSTALLED).into())
}

/// A capture program that runs. It ends when this value is dropped.
pub(crate) struct Child {
    pid: Pid,
    input: Option<OwnedFd>,
    output: File,
    buffer: Vec<u8>,
}

impl Child {
    /// Starts it. Signals that are blocked stay blocked in it.
    ///
    /// # Errors
    /// When the program is missing, or cannot be started.
    pub fn start(order: &Order, pcap: Option<&File>) -> Result<Self> {
        let path = program();
        let name = CString::new(path.as_os_str().as_bytes()).context("a path with a NUL byte")?;
        let (order_end, input) = pipe2(OFlag::O_CLOEXEC)?;
        let (output, event_end) = pipe2(OFlag::O_CLOEXEC)?;
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(order_end.as_raw_fd(), 0)?;
        actions.add_dup2(event_end.as_raw_fd(), 1)?;
        if let Some(file) = pcap {
            actions.add_dup2(file.as_raw_fd(), PCAP)?;
        }
        let environment: [CString; 0] = [];
        let attributes = PosixSpawnAttr::init()?;
        let pid = posix_spawn(name.as_c_str(), &actions, &attributes, &[&name], &environment)
            .with_context(|| format!("cannot start {}", path.display()))?;
        let child = Child { pid, input: Some(input), output: File::from(output), buffer: Vec::new() };
        let order = Order { pcap: pcap.map(|_| PCAP), ..order.clone() };
        let input = child.input.as_ref().map(AsFd::as_fd).and_then(|input| input.try_clone_to_owned().ok());
        let written = input.map(|input| File::from(input).write_all(order.to_string().as_bytes()));
        match written {
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context(PROGRAM),
            // It has ended, and has said why.
            _ => Ok(child),
        }
    }

    /// Lets it end: it writes its last counts.
    pub fn finish(&mut self) {
        self.input = None;
    }

    /// Reads what it has written: waits if nothing is there. Nothing when it has ended.
    ///
    /// # Errors
    /// When it writes something else, or cannot be read.
    pub fn read(&mut self) -> Result<Option<Vec<Event>>> {
        let mut bytes = [0; 16384];
        let length = match self.output.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(Vec::new())),
            length => length.context(PROGRAM)?,
        };
        if length == 0 {
            return Ok(None);
        }
        self.buffer.extend(&bytes[..length]);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let event = std::str::from_utf8(&line[..end]).ok().and_then(Event::read);
            events.push(event.with_context(|| format!("{PROGRAM}: unexpected output"))?);
        }
        if self.buffer.len() > LONGEST {
            bail!("{PROGRAM}: unexpected output");
        }
        Ok(Some(events))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.input = None;
        // It may still write; then its next line fails.
        let _ = io::copy(&mut self.output, &mut io::sink());
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}
