//! A blocking rtnetlink socket: requests, and their replies.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, NetlinkAddr, SetSockOpt, SockFlag, SockProtocol, SockType, bind,
    getsockname, recvmmsg, sendto, setsockopt, socket,
};

use crate::netlink::wire::{Message, Request, first_message};

/// A request whose replies were lost, or a dump that was interrupted, is sent again, this often at most.
const TRIES: usize = 100;
/// Larger than any datagram that the kernel sends (`NLMSG_GOODSIZE` and dumps of up to 32 KiB).
const BUFFER: usize = 64 * 1024;
/// Datagrams that one system call receives. A list of a small host has two or three.
const TOGETHER: usize = 4;
/// Changes that one system call sends. Their acknowledgements have to fit into the socket's memory: the kernel drops the
/// others.
const CHANGES: usize = 32;
/// What an acknowledgement has beside the request: headers, and the kernel's explanation of an error.
const EXPLANATION: usize = 1024;
/// Milliseconds. The kernel replies before a request has been sent; this only keeps a hook from hanging for ever.
const TIMEOUT: u16 = 30_000;

/// `NETLINK_GET_STRICT_CHK` (netlink(7)): without it the kernel ignores the filters of a dump request.
#[derive(Clone)]
struct StrictCheck;

impl SetSockOpt for StrictCheck {
    type Val = bool;

    #[allow(unsafe_code)]
    fn set<F: AsFd>(&self, fd: &F, val: &bool) -> nix::Result<()> {
        let value = libc::c_int::from(*val);
        // SAFETY: the pointer and the size are those of a C int on the stack, which setsockopt(2) only reads;
        // the descriptor is borrowed, so it is open.
        let result = unsafe {
            libc::setsockopt(
                fd.as_fd().as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_GET_STRICT_CHK,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        Errno::result(result).map(drop)
    }
}

/// The way to the kernel and back; tests put one of their own in its place.
trait Transport {
    fn send(&mut self, messages: &[u8], expected: Expected) -> nix::Result<()>;
    /// Receives a datagram.
    fn receive(&mut self) -> nix::Result<Received>;
    /// The one that was received last.
    fn datagram(&self) -> &[u8];
    /// Starts again: nothing of an earlier request arrives any more.
    fn reopen(&mut self) -> Result<()>;
    /// Its own port, which the kernel's events about its changes carry.
    fn port(&self) -> Option<u32>;
}

/// The flags of a datagram, and the port of its sender (the kernel's is 0).
type Received = (MsgFlags, Option<u32>);

/// How many datagrams one system call receives, and their largest size.
#[derive(Debug, Clone, Copy)]
struct Expected {
    datagrams: usize,
    size: usize,
}

impl Expected {
    /// An acknowledgement repeats the request, if it is a rejection.
    fn after(sent: &[Sent], messages: &[Vec<u8>]) -> Expected {
        let are_changes = sent.iter().all(|sent| sent.flags & libc::NLM_F_ACK != 0);
        let size = EXPLANATION + messages.iter().map(Vec::len).max().unwrap_or_default();
        match are_changes && sent.len() * size <= TOGETHER * BUFFER {
            true => Expected { datagrams: sent.len(), size },
            false => LISTS,
        }
    }
}

const LISTS: Expected = Expected { datagrams: TOGETHER, size: BUFFER };

/// The kernel's socket, and what was received together: the parts of a list, or the replies to several changes.
struct Kernel {
    fd: OwnedFd,
    expected: Expected,
    /// One part for each datagram. As it is large, the parts that are not used take no memory.
    buffer: Vec<u8>,
    /// The datagrams that are still to be given, each with its place.
    received: VecDeque<(Range<usize>, Received)>,
    /// The place of the one that was given last.
    last: Range<usize>,
}

impl Kernel {
    fn open() -> Result<Self> {
        let (buffer, received) = (vec![0; TOGETHER * BUFFER], VecDeque::new());
        Ok(Kernel { fd: open()?, expected: LISTS, buffer, received, last: 0..0 })
    }

    /// Takes the datagrams that are there. Waits if there is none.
    fn receive_all(&mut self) -> nix::Result<()> {
        let Expected { datagrams, size } = self.expected;
        let mut headers = MultiHeaders::<NetlinkAddr>::preallocate(datagrams, None);
        let parts = self.buffer.chunks_mut(size).take(datagrams);
        let mut slices: Vec<_> = parts.map(|part| [IoSliceMut::new(part)]).collect();
        let messages = match recvmmsg(self.fd.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
            Err(Errno::EAGAIN) => return self.wait(),
            messages => messages?,
        };
        self.received.extend((0..).step_by(size).zip(messages).map(|(start, message)| {
            (start..start + message.bytes, (message.flags, message.address.map(|address| address.pid())))
        }));
        Ok(())
    }

    fn wait(&self) -> nix::Result<()> {
        let mut descriptors = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, PollTimeout::from(TIMEOUT))? {
            0 => Err(Errno::EAGAIN),
            _ => Ok(()),
        }
    }
}

impl Transport for Kernel {
    fn send(&mut self, messages: &[u8], expected: Expected) -> nix::Result<()> {
        // Nothing of an earlier request counts any more.
        self.received.clear();
        self.expected = expected;
        sendto(self.fd.as_raw_fd(), messages, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
    }

    fn receive(&mut self) -> nix::Result<Received> {
        loop {
            if let Some((place, received)) = self.received.pop_front() {
                self.last = place;
                return Ok(received);
            }
            self.receive_all()?;
        }
    }

    fn datagram(&self) -> &[u8] {
        self.buffer.get(self.last.clone()).unwrap_or_default()
    }

    fn reopen(&mut self) -> Result<()> {
        self.fd = open()?;
        self.received.clear();
        Ok(())
    }

    fn port(&self) -> Option<u32> {
        // The first request would bind it as well. That it is bound already is no error here.
        let _ = bind(self.fd.as_raw_fd(), &NetlinkAddr::new(0, 0));
        getsockname::<NetlinkAddr>(self.fd.as_raw_fd()).ok().map(|address| address.pid())
    }
}

fn open() -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
        .context("cannot open a netlink socket")?;
    // Kernels before 4.20 know no strict checking; everything is filtered here as well.
    let _ = setsockopt(&fd, StrictCheck, &true);
    Ok(fd)
}

/// A request, and its flags beside `NLM_F_REQUEST`.
#[derive(Clone, Copy)]
struct Sent<'a> {
    request: &'a Request,
    flags: i32,
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The kernel says no. (An error is the socket's own.)
    Rejected(Errno),
    /// The tables changed during a dump.
    Interrupted,
    /// Not known: the kernel had no memory for its reply.
    Lost,
}

pub struct Socket {
    transport: Box<dyn Transport>,
    sequence: u32,
    /// Not all replies to the last request were read. While its dump is not at its end, the kernel rejects another
    /// (EBUSY).
    unfinished: bool,
    /// Datagrams that the last list came in.
    parts: usize,
}

impl Socket {
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self> {
        Ok(Socket::over(Box::new(Kernel::open()?)))
    }

    /// Replies that were recorded, in the order of the requests: for tests of what reads them.
    #[doc(hidden)]
    pub fn recorded(replies: &[u8]) -> Self {
        Socket::over(Box::new(Recording::new(replies)))
    }

    fn over(transport: Box<dyn Transport>) -> Self {
        Socket { transport, sequence: 0, unfinished: false, parts: 0 }
    }

    /// The port that the kernel's events about its changes carry.
    pub(crate) fn port(&self) -> Option<u32> {
        self.transport.port()
    }

    /// Asks for a list: whole, or not at all. `read` gives nothing for what does not belong to the list.
    ///
    /// # Errors
    /// As the kernel says, when a message cannot be read, or when the list keeps changing while it is read.
    pub(crate) fn dump<T>(&mut self, request: &Request, read: impl Fn(&[u8]) -> Result<Option<T>>) -> Result<Vec<T>> {
        for _ in 0..TRIES {
            let mut list = Vec::new();
            let mut each = |body: &[u8]| {
                match read(body) {
                    Ok(Some(entry)) => list.push(entry),
                    Ok(None) => {}
                    Err(error) => return Err(error),
                }
                Ok(())
            };
            match self.exchange_one(Sent { request, flags: libc::NLM_F_DUMP }, &mut each)? {
                Outcome::Done => return Ok(list),
                Outcome::Rejected(errno) if list.is_empty() => return Err(errno.into()),
                Outcome::Rejected(errno) => bail!("the kernel's list ends with an error: {errno}"),
                Outcome::Interrupted | Outcome::Lost => {}
            }
        }
        bail!("the kernel's tables keep changing while they are read")
    }

    /// Was the last list read at one moment? The kernel makes the others in parts, and may change them in between.
    pub(crate) fn was_read_at_once(&self) -> bool {
        self.parts <= 1
    }

    /// Asks for changes, in this order; the kernel's rejection comes back as an `Errno` inside the result. The kernel makes
    /// each change, whatever came of those before it. A removal is not repeated when its reply was lost: it could remove the
    /// next entry that matches. It comes back as ENOBUFS.
    ///
    /// # Errors
    /// When the socket fails, or the kernel's answers keep getting lost.
    pub(crate) fn change(&mut self, changes: &[(Request, i32)]) -> Result<Vec<Result<(), Errno>>> {
        let mut results = Vec::with_capacity(changes.len());
        for some in changes.chunks(CHANGES) {
            let sent: Vec<Sent> =
                some.iter().map(|(request, flags)| Sent { request, flags: libc::NLM_F_ACK | flags }).collect();
            let outcomes = self.exchange(&sent, &mut no_list)?;
            for (sent, outcome) in sent.into_iter().zip(outcomes) {
                results.push(self.changed(sent, outcome)?);
            }
        }
        Ok(results)
    }

    /// The result of one change; sends it again if its reply was lost.
    fn changed(&mut self, sent: Sent, mut outcome: Outcome) -> Result<Result<(), Errno>> {
        for tries in 0..TRIES {
            if tries > 0 {
                outcome = self.exchange_one(sent, &mut |body| no_list(0, body))?;
            }
            match outcome {
                Outcome::Done => return Ok(Ok(())),
                Outcome::Interrupted | Outcome::Lost if sent.request.is_deletion() => return Ok(Err(Errno::ENOBUFS)),
                Outcome::Interrupted | Outcome::Lost => {}
                // It was done at an earlier try, whose answer was lost.
                Outcome::Rejected(Errno::EEXIST) if tries > 0 => return Ok(Ok(())),
                Outcome::Rejected(errno) => return Ok(Err(errno)),
            }
        }
        bail!("the kernel has no memory for its replies")
    }

    /// Asks for one thing; the kernel's rejection comes back as an `Errno` inside the result.
    ///
    /// # Errors
    /// When the socket fails, the answer cannot be read, or the kernel's answers keep getting lost.
    pub(crate) fn ask<T>(&mut self, request: &Request, read: impl Fn(&[u8]) -> Result<T>) -> Result<Result<T, Errno>> {
        for _ in 0..TRIES {
            let mut answer = None;
            let mut each = |body: &[u8]| {
                answer = Some(read(body)?);
                Ok(())
            };
            // The answer is one message, a rejection is another: no need for an acknowledgement after it.
            match self.exchange_one(Sent { request, flags: 0 }, &mut each)? {
                Outcome::Done => return answer.map(Ok).context("the kernel sent no reply"),
                Outcome::Rejected(errno) => return Ok(Err(errno)),
                Outcome::Interrupted | Outcome::Lost => {}
            }
        }
        bail!("the kernel has no memory for its replies")
    }

    /// Sends a request and reads its replies to the end.
    fn exchange_one(&mut self, sent: Sent, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Outcome> {
        let outcomes = self.exchange(&[sent], &mut |_, body| each(body))?;
        outcomes.first().copied().context("the kernel sent no reply")
    }

    /// Sends requests together and reads their replies to the end. There may be one list among them, the last of them: the
    /// kernel makes one list at a time. `each` has the index of the request.
    fn exchange(&mut self, sent: &[Sent], each: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<Vec<Outcome>> {
        if self.unfinished {
            self.transport.reopen()?;
        }
        self.unfinished = true;
        let first = self.sequence + 1;
        let mut messages = Vec::with_capacity(sent.len());
        for Sent { request, flags } in sent {
            self.sequence += 1;
            messages.push(request.serialize((libc::NLM_F_REQUEST | flags) as u16, self.sequence)?);
        }
        let expected = Expected::after(sent, &messages);
        let bytes = messages.concat();
        retry(|| self.transport.send(&bytes, expected)).context("cannot send to the kernel")?;
        let mut replies =
            Replies { sent, first, outcomes: vec![None; sent.len()], interrupted: vec![false; sent.len()] };
        self.parts = 0;
        while replies.outcomes.contains(&None) {
            if !self.receive(expected)? {
                break;
            }
            let mut has_entries = false;
            let mut each = |index: usize, body: &[u8]| {
                has_entries = true;
                each(index, body)
            };
            replies.read(self.transport.datagram(), &mut each)?;
            self.parts += usize::from(has_entries);
        }
        let outcomes: Vec<Outcome> = replies.outcomes.iter().map(|outcome| outcome.unwrap_or(Outcome::Lost)).collect();
        self.unfinished = outcomes.contains(&Outcome::Lost);
        Ok(outcomes)
    }

    /// Receives one datagram from the kernel (those of other senders are skipped); false when one was lost, which
    /// netlink(7) reports as ENOBUFS.
    fn receive(&mut self, expected: Expected) -> Result<bool> {
        loop {
            let (flags, sender) = match retry(|| self.transport.receive()) {
                Err(Errno::ENOBUFS) => return Ok(false),
                received => received.context("no reply from the kernel")?,
            };
            if sender != Some(0) {
                continue;
            }
            if flags.contains(MsgFlags::MSG_TRUNC) {
                bail!("the kernel sent a datagram of more than {} bytes", expected.size);
            }
            return Ok(true);
        }
    }
}

/// A change has no list.
fn no_list(_: usize, _: &[u8]) -> Result<()> {
    bail!("the kernel replied to a change with a list")
}

/// The replies to requests that were sent together.
struct Replies<'a> {
    sent: &'a [Sent<'a>],
    /// The number of the first request.
    first: u32,
    outcomes: Vec<Option<Outcome>>,
    interrupted: Vec<bool>,
}

impl Replies<'_> {
    /// Reads one datagram. It has replies to one of the requests, or the end of them.
    fn read(&mut self, datagram: &[u8], each: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let (message, after) = first_message(rest).context("the kernel sent a broken netlink message")?;
            rest = after;
            // Of an earlier request.
            let Some(index) = message.sequence.checked_sub(self.first) else { continue };
            let index = index as usize;
            let sent = self.sent.get(index).context("the kernel replied to a request that was not made")?;
            ensure!(self.outcomes[index].is_none(), "the kernel sent a message after the end of its reply");
            self.interrupted[index] |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
            let outcome = match sent.request.reply() == Some(message.kind) {
                true => {
                    each(index, message.body)?;
                    if sent.flags != 0 {
                        continue;
                    }
                    Outcome::Done
                }
                false => end(sent, &message, self.interrupted[index])?,
            };
            ensure!(rest.is_empty(), "the kernel sent a message after the end of its reply");
            self.outcomes[index] = Some(outcome);
        }
        Ok(())
    }
}

/// What the last reply to a request says.
fn end(sent: &Sent, message: &Message, is_interrupted: bool) -> Result<Outcome> {
    let is_dump = sent.flags == libc::NLM_F_DUMP;
    Ok(match i32::from(message.kind) {
        kind @ (libc::NLMSG_DONE | libc::NLMSG_ERROR) => {
            match message.error().context("the kernel sent a broken netlink message")? {
                // A dump ends with the one, a change with the other.
                0 if is_dump != (kind == libc::NLMSG_DONE) => bail!("the kernel's reply ends too early"),
                0 if is_interrupted => Outcome::Interrupted,
                0 => Outcome::Done,
                errno => Outcome::Rejected(Errno::from_raw(errno)),
            }
        }
        libc::NLMSG_OVERRUN => Outcome::Lost,
        kind => bail!("the kernel replied with a message of type {kind}"),
    })
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Datagrams that were recorded: each after its length, of four bytes in the machine's order.
struct Recording {
    /// The first one was received last.
    datagrams: VecDeque<Vec<u8>>,
}

impl Recording {
    fn new(mut bytes: &[u8]) -> Self {
        let mut datagrams = VecDeque::from([Vec::new()]);
        while let Some((length, rest)) = bytes.split_first_chunk() {
            let (datagram, after) = rest.split_at((u32::from_ne_bytes(*length) as usize).min(rest.len()).min(BUFFER));
            datagrams.push_back(datagram.to_vec());
            bytes = after;
        }
        Recording { datagrams }
    }
}

impl Transport for Recording {
    fn send(&mut self, _: &[u8], _: Expected) -> nix::Result<()> {
        Ok(())
    }

    fn receive(&mut self) -> nix::Result<Received> {
        self.datagrams.pop_front();
        self.datagrams.front().map(|_| (MsgFlags::empty(), Some(0))).ok_or(Errno::EAGAIN)
    }

    fn datagram(&self) -> &[u8] {
        self.datagrams.front().map_or(&[], Vec::as_slice)
    }

    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }

    fn port(&self) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests;
