//! A blocking rtnetlink socket: one request, its replies.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, NetlinkAddr, SetSockOpt, SockFlag, SockProtocol, SockType, bind,
    getsockname, recvmmsg, sendto, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::netlink::wire::{Request, first_message};

/// A request whose replies were lost, or a dump that was interrupted, is sent again, this often at most.
const TRIES: usize = 100;
/// Larger than any datagram that the kernel sends (`NLMSG_GOODSIZE` and dumps of up to 32 KiB).
const BUFFER: usize = 64 * 1024;
/// Datagrams that one system call receives. A list of a small host has two or three.
const TOGETHER: usize = 4;

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
    fn send(&mut self, message: &[u8]) -> nix::Result<()>;
    /// One datagram: its length, its flags, and the port of its sender (the kernel's is 0).
    fn receive(&mut self, buffer: &mut Vec<u8>) -> nix::Result<Received>;
    /// Starts again: nothing of an earlier request arrives any more.
    fn reopen(&mut self) -> Result<()>;
    /// Its own port, which the kernel's events about its changes carry.
    fn port(&self) -> Option<u32>;
}

/// The length of a datagram, its flags, and the port of its sender.
type Received = (usize, MsgFlags, Option<u32>);

/// The kernel's socket, and what was received together: the parts of a list, for which one system call is enough.
struct Kernel {
    fd: OwnedFd,
    /// One part for each datagram. As it is large, the parts that are not used take no memory.
    buffer: Vec<u8>,
    /// The datagrams that are still to be given, each with the place where it begins.
    received: VecDeque<(usize, Received)>,
}

impl Kernel {
    fn open() -> Result<Self> {
        Ok(Kernel { fd: open()?, buffer: vec![0; TOGETHER * BUFFER], received: VecDeque::new() })
    }

    /// Waits for one datagram, and takes those that are there by then.
    fn receive_all(&mut self) -> nix::Result<()> {
        let mut headers = MultiHeaders::<NetlinkAddr>::preallocate(TOGETHER, None);
        let mut slices: Vec<_> = self.buffer.chunks_mut(BUFFER).map(|part| [IoSliceMut::new(part)]).collect();
        let messages = recvmmsg(self.fd.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None)?;
        let received =
            messages.map(|message| (message.bytes, message.flags, message.address.map(|address| address.pid())));
        self.received.extend((0..).step_by(BUFFER).zip(received));
        Ok(())
    }
}

impl Transport for Kernel {
    fn send(&mut self, message: &[u8]) -> nix::Result<()> {
        // Nothing of an earlier request counts any more.
        self.received.clear();
        sendto(self.fd.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> nix::Result<Received> {
        if self.received.is_empty() {
            self.receive_all()?;
        }
        let (begin, received) = self.received.pop_front().ok_or(Errno::EAGAIN)?;
        buffer.clear();
        buffer.extend_from_slice(&self.buffer[begin..][..received.0]);
        Ok(received)
    }

    fn reopen(&mut self) -> Result<()> {
        self.fd = open()?;
        self.received.clear();
        Ok(())
    }

    fn port(&self) -> Option<u32> {
        getsockname::<NetlinkAddr>(self.fd.as_raw_fd()).ok().map(|address| address.pid())
    }
}

fn open() -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
        .context("cannot open a netlink socket")?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("cannot bind a netlink socket")?;
    // Kernels before 4.20 know no strict checking; everything is filtered here as well.
    let _ = setsockopt(&fd, StrictCheck, &true);
    // The kernel answers at once; this only keeps a hook from hanging for ever.
    setsockopt(&fd, nix::sys::socket::sockopt::ReceiveTimeout, &TimeVal::new(30, 0))
        .context("cannot set a timeout on a netlink socket")?;
    Ok(fd)
}

/// What a request came to.
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
    buffer: Vec<u8>,
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
        Socket { transport, sequence: 0, buffer: Vec::new(), unfinished: false, parts: 0 }
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
                list.extend(read(body)?);
                Ok(())
            };
            match self.exchange(request, libc::NLM_F_DUMP, &mut each)? {
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

    /// Asks for a change; the kernel's rejection comes back as an `Errno` inside the result. A removal is not repeated
    /// when its reply was lost: it could remove the next entry that matches. It comes back as ENOBUFS.
    ///
    /// # Errors
    /// When the socket fails, or the kernel's answers keep getting lost.
    pub(crate) fn change(&mut self, request: &Request, flags: i32) -> Result<Result<(), Errno>> {
        let mut each = |_: &[u8]| bail!("the kernel replied to a change with a list");
        for tries in 0..TRIES {
            match self.exchange(request, libc::NLM_F_ACK | flags, &mut each)? {
                Outcome::Done => return Ok(Ok(())),
                Outcome::Interrupted | Outcome::Lost if request.is_deletion() => return Ok(Err(Errno::ENOBUFS)),
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
            match self.exchange(request, 0, &mut each)? {
                Outcome::Done => return answer.map(Ok).context("the kernel sent no reply"),
                Outcome::Rejected(errno) => return Ok(Err(errno)),
                Outcome::Interrupted | Outcome::Lost => {}
            }
        }
        bail!("the kernel has no memory for its replies")
    }

    /// Sends a request and reads its replies to the end.
    fn exchange(
        &mut self,
        request: &Request,
        flags: i32,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Outcome> {
        if self.unfinished {
            self.transport.reopen()?;
        }
        self.unfinished = true;
        self.sequence += 1;
        let bytes = request.serialize((libc::NLM_F_REQUEST | flags) as u16, self.sequence)?;
        retry(|| self.transport.send(&bytes)).context("cannot send to the kernel")?;
        let mut interrupted = false;
        self.parts = 0;
        let outcome = loop {
            let Some(length) = self.receive()? else { break Outcome::Lost };
            let replies = Replies { request, flags, sequence: self.sequence };
            let mut has_entries = false;
            let mut each = |body: &[u8]| {
                has_entries = true;
                each(body)
            };
            let outcome = replies.read(&self.buffer[..length], &mut interrupted, &mut each)?;
            self.parts += usize::from(has_entries);
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        self.unfinished = matches!(outcome, Outcome::Lost);
        Ok(outcome)
    }

    /// One datagram from the kernel (those of other senders are skipped) into the buffer; nothing when one was
    /// lost, which netlink(7) reports as ENOBUFS.
    fn receive(&mut self) -> Result<Option<usize>> {
        loop {
            let (length, flags, sender) = match retry(|| self.transport.receive(&mut self.buffer)) {
                Err(Errno::ENOBUFS) => return Ok(None),
                received => received.context("no reply from the kernel")?,
            };
            if sender != Some(0) {
                continue;
            }
            if flags.contains(MsgFlags::MSG_TRUNC) {
                bail!("the kernel sent a datagram of more than {BUFFER} bytes");
            }
            return Ok(Some(length));
        }
    }
}

/// The replies to one request.
struct Replies<'a> {
    request: &'a Request,
    flags: i32,
    sequence: u32,
}

impl Replies<'_> {
    /// Reads one datagram; gives the outcome at the end of the replies.
    fn read(
        &self,
        datagram: &[u8],
        interrupted: &mut bool,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<Outcome>> {
        let is_dump = self.flags == libc::NLM_F_DUMP;
        let mut rest = datagram;
        while !rest.is_empty() {
            let (message, after) = first_message(rest).context("the kernel sent a broken netlink message")?;
            rest = after;
            // Of an earlier request.
            if message.sequence < self.sequence {
                continue;
            }
            ensure!(message.sequence == self.sequence, "the kernel replied to a request that was not made");
            *interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
            let is_reply = self.request.reply() == Some(message.kind);
            let outcome = match i32::from(message.kind) {
                _ if is_reply => {
                    each(message.body)?;
                    if self.flags != 0 {
                        continue;
                    }
                    Outcome::Done
                }
                kind @ (libc::NLMSG_DONE | libc::NLMSG_ERROR) => {
                    match message.error().context("the kernel sent a broken netlink message")? {
                        // A dump ends with the one, a change with the other.
                        0 if is_dump != (kind == libc::NLMSG_DONE) => bail!("the kernel's reply ends too early"),
                        0 if *interrupted => Outcome::Interrupted,
                        0 => Outcome::Done,
                        errno => Outcome::Rejected(Errno::from_raw(errno)),
                    }
                }
                libc::NLMSG_OVERRUN => Outcome::Lost,
                kind => bail!("the kernel replied with a message of type {kind}"),
            };
            ensure!(rest.is_empty(), "the kernel sent a message after the end of its reply");
            return Ok(Some(outcome));
        }
        Ok(None)
    }
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
struct Recording(VecDeque<Vec<u8>>);

impl Recording {
    fn new(mut bytes: &[u8]) -> Self {
        let mut datagrams = VecDeque::new();
        while let Some((length, rest)) = bytes.split_first_chunk() {
            let (datagram, after) = rest.split_at((u32::from_ne_bytes(*length) as usize).min(rest.len()).min(BUFFER));
            datagrams.push_back(datagram.to_vec());
            bytes = after;
        }
        Recording(datagrams)
    }
}

impl Transport for Recording {
    fn send(&mut self, _: &[u8]) -> nix::Result<()> {
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> nix::Result<Received> {
        let datagram = self.0.pop_front().ok_or(Errno::EAGAIN)?;
        let length = datagram.len();
        *buffer = datagram;
        Ok((length, MsgFlags::empty(), Some(0)))
    }

    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }

    fn port(&self) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP_INTERRUPTED: u16 = libc::NLM_F_DUMP_INTR as u16;
    const NLM_F_MULTIPART: u16 = libc::NLM_F_MULTI as u16;
    const NLM_F_DUMP: u32 = libc::NLM_F_DUMP as u32;

    /// What the kernel does with a request.
    #[derive(Clone, Copy)]
    enum Does {
        /// Two rules and the end, or an acknowledgement.
        Answer,
        /// The same, in two datagrams with an interrupted system call, a stranger's datagram and an old reply between.
        Haltingly,
        /// The same, marked `NLM_F_DUMP_INTR`.
        Interrupted,
        /// A part, then ENOBUFS. As the rest is not read, a dump goes on.
        Loses,
        Rejects(Errno),
    }

    struct Scripted {
        script: VecDeque<Does>,
        incoming: VecDeque<nix::Result<(Vec<u8>, u32)>>,
        /// A dump that is not at its end: there is no other one on the same socket (EBUSY).
        dumping: bool,
    }

    /// `struct nlmsghdr` and a body.
    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((16 + body.len() as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    const RTM_NEWRULE: u16 = 32;
    const RULE: [u8; 12] = [2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];

    impl Scripted {
        fn next(&mut self) -> Does {
            self.script.pop_front().expect("no further request")
        }
    }

    impl Transport for Scripted {
        fn send(&mut self, bytes: &[u8]) -> nix::Result<()> {
            let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
            let sequence = number(8);
            let dump = number(4) >> 16 & NLM_F_DUMP == NLM_F_DUMP;
            let rule = |flags, sequence| message(RTM_NEWRULE, NLM_F_MULTIPART | flags, sequence, &RULE);
            let error = |errno: i32| {
                let body = [&(-errno).to_ne_bytes()[..], &bytes[..16]].concat();
                message(libc::NLMSG_ERROR as u16, 0, sequence, &body)
            };
            let end = |flags| match dump {
                true => message(libc::NLMSG_DONE as u16, NLM_F_MULTIPART | flags, sequence, &[0; 4]),
                false => error(0),
            };
            let rules = |flags| if dump { [rule(flags, sequence), rule(flags, sequence)].concat() } else { Vec::new() };
            let does = if self.dumping && dump { Does::Rejects(Errno::EBUSY) } else { self.next() };
            self.dumping |= dump && matches!(does, Does::Loses);
            self.incoming.extend(match does {
                Does::Answer => vec![Ok(([rules(0), end(0)].concat(), 0))],
                Does::Haltingly => vec![
                    Err(Errno::EINTR),
                    Ok((end(0), 4711)),
                    Ok((rule(0, sequence - 1), 0)),
                    Ok((rules(0), 0)),
                    Err(Errno::EINTR),
                    Ok((end(0), 0)),
                ],
                Does::Interrupted => {
                    vec![Ok((rules(DUMP_INTERRUPTED), 0)), Ok((end(DUMP_INTERRUPTED), 0))]
                }
                Does::Loses => vec![Ok((rules(0), 0)), Err(Errno::ENOBUFS)],
                Does::Rejects(errno) => vec![Ok((error(errno as i32), 0))],
            });
            Ok(())
        }

        fn receive(&mut self, buffer: &mut Vec<u8>) -> nix::Result<Received> {
            let (bytes, sender) = self.incoming.pop_front().expect("nothing more to wait for")?;
            let length = bytes.len();
            *buffer = bytes;
            Ok((length, MsgFlags::empty(), Some(sender)))
        }

        fn reopen(&mut self) -> Result<()> {
            self.incoming.clear();
            self.dumping = false;
            Ok(())
        }

        fn port(&self) -> Option<u32> {
            None
        }
    }

    fn socket(script: &[Does]) -> Socket {
        Socket::over(Box::new(Scripted {
            script: script.iter().copied().collect(),
            incoming: VecDeque::new(),
            dumping: false,
        }))
    }

    fn dump(script: &[Does]) -> Result<usize> {
        Ok(socket(script).dump(&Request::new(libc::RTM_GETRULE, &[0; 12]), |body| Ok(Some(body.len())))?.len())
    }

    fn change(script: &[Does]) -> Result<Result<(), Errno>> {
        socket(script).change(&Request::new(libc::RTM_NEWRULE, &[0; 12]), 0)
    }

    #[test]
    fn starts_over_until_a_list_is_whole() {
        use Does::*;
        for script in [
            &[Answer][..],
            &[Haltingly],
            &[Interrupted, Answer],
            &[Loses, Answer],
            &[Loses, Interrupted, Loses, Haltingly],
        ] {
            assert_eq!(dump(script).unwrap(), 2);
        }
        assert_eq!(dump(&[Rejects(Errno::EPERM)]).unwrap_err().downcast_ref(), Some(&Errno::EPERM));
        let never = dump(&[Interrupted; TRIES]).unwrap_err();
        assert_eq!(never.to_string(), "the kernel's tables keep changing while they are read");
    }

    #[test]
    fn a_change_whose_answer_was_lost_is_asked_for_again() {
        use Does::*;
        assert_eq!(change(&[Answer]).unwrap(), Ok(()));
        assert_eq!(change(&[Haltingly]).unwrap(), Ok(()));
        assert_eq!(change(&[Rejects(Errno::EEXIST)]).unwrap(), Err(Errno::EEXIST));
        assert_eq!(change(&[Loses, Answer]).unwrap(), Ok(()));
        assert_eq!(change(&[Loses, Rejects(Errno::EEXIST)]).unwrap(), Ok(()), "the lost answer was yes");
        assert_eq!(change(&[Loses, Rejects(Errno::EINVAL)]).unwrap(), Err(Errno::EINVAL));
        assert_eq!(change(&[Loses; TRIES]).unwrap_err().to_string(), "the kernel has no memory for its replies");
    }

    /// It may have been done: the next one that matches would be removed.
    #[test]
    fn a_removal_whose_answer_was_lost_is_not_repeated() {
        use Does::*;
        for kind in [libc::RTM_DELRULE, libc::RTM_DELROUTE] {
            let remove = |script| socket(script).change(&Request::new(kind, &[0; 12]), 0).unwrap();
            assert_eq!(remove(&[Answer]), Ok(()));
            assert_eq!(remove(&[Rejects(Errno::ENOENT)]), Err(Errno::ENOENT));
            assert_eq!(remove(&[Loses]), Err(Errno::ENOBUFS), "no second request");
        }
    }

    /// What the socket could not read, it does not read later as something else.
    #[test]
    fn an_answer_that_cannot_be_read_leaves_no_rest() {
        let mut socket = socket(&[Does::Haltingly, Does::Answer]);
        let request = Request::new(libc::RTM_GETRULE, &[0; 12]);
        let error = socket.dump(&request, |_| -> Result<Option<()>> { bail!("not this one") }).unwrap_err();
        assert_eq!(error.to_string(), "not this one");
        assert_eq!(socket.dump(&request, |body| Ok(Some(body.len()))).unwrap(), [12, 12]);
    }

    /// An answer that ends too early, or in which something else stands, is not a short list.
    #[test]
    fn an_unexpected_message_is_an_error() {
        let rule = message(RTM_NEWRULE, NLM_F_MULTIPART, 1, &RULE);
        let ends = |kind: i32, body: &[u8]| message(kind as u16, 0, 1, body);
        let done = ends(libc::NLMSG_DONE, &[0; 4]);
        let mut too_long = rule.clone();
        too_long[..4].copy_from_slice(&29u32.to_ne_bytes());
        let other = message(RTM_NEWRULE, 0, 2, &RULE);
        for (datagrams, expected_error) in [
            (vec![&rule, &done], None),
            (vec![&rule, &ends(libc::NLMSG_ERROR, &[0; 20])], Some("the kernel's reply ends too early")),
            (
                vec![&rule, &ends(libc::NLMSG_DONE, &(-97i32).to_ne_bytes())],
                Some("the kernel's list ends with an error: EAFNOSUPPORT: Address family not supported by protocol"),
            ),
            (vec![&ends(libc::NLMSG_DONE, &[1; 4])], Some("the kernel sent a broken netlink message")),
            (vec![&ends(libc::NLMSG_DONE, &[])], Some("the kernel sent a broken netlink message")),
            (vec![&too_long, &done], Some("the kernel sent a broken netlink message")),
            (vec![&rule, &ends(24, &RULE)], Some("the kernel replied with a message of type 24")),
            (vec![&rule, &ends(libc::NLMSG_NOOP, &[])], Some("the kernel replied with a message of type 1")),
            (vec![&rule, &other, &done], Some("the kernel replied to a request that was not made")),
            (vec![&rule], Some("no reply from the kernel")),
            (vec![&[&done[..], &rule].concat()], Some("the kernel sent a message after the end of its reply")),
        ] {
            let recorded: Vec<u8> = datagrams
                .into_iter()
                .flat_map(|datagram| [&(datagram.len() as u32).to_ne_bytes()[..], datagram].concat())
                .collect();
            let request = Request::new(libc::RTM_GETRULE, &[0; 12]);
            let listed = Socket::recorded(&recorded).dump(&request, |_| Ok(Some(())));
            assert_eq!(
                listed.map(|list| list.len()).map_err(|error| error.to_string()),
                expected_error.map_or(Ok(1), |expected_error| Err(expected_error.to_string()))
            );
        }
    }
}
