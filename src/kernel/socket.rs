//! A blocking rtnetlink socket: one request, its replies.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SetSockOpt, SockFlag, SockProtocol, SockType, bind, recvmsg, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

/// `NLM_F_DUMP_INTR` (netlink(7)): the tables changed while they were dumped.
const DUMP_INTERRUPTED: u16 = 0x10;
/// A dump that is interrupted is asked for again, this often at most.
const TRIES: usize = 100;
/// Larger than any datagram that the kernel sends (`NLMSG_GOODSIZE` and dumps of up to 32 KiB).
const BUFFER: usize = 64 * 1024;

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
trait Wire {
    fn send(&mut self, message: &[u8]) -> nix::Result<()>;
    /// One datagram: its length, its flags, and the port of its sender (the kernel's is 0).
    fn receive(&mut self, buffer: &mut [u8]) -> nix::Result<(usize, MsgFlags, Option<u32>)>;
}

impl Wire for OwnedFd {
    fn send(&mut self, message: &[u8]) -> nix::Result<()> {
        sendto(self.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> nix::Result<(usize, MsgFlags, Option<u32>)> {
        let mut slices = [IoSliceMut::new(buffer)];
        recvmsg::<NetlinkAddr>(self.as_raw_fd(), &mut slices, None, MsgFlags::empty())
            .map(|message| (message.bytes, message.flags, message.address.map(|address| address.pid())))
    }
}

/// What a request came to.
enum Answer {
    All(Vec<RouteNetlinkMessage>),
    /// The kernel says no. (An error is the socket's own.)
    Refused(Errno),
    /// Not known: the tables changed during a dump, or the kernel had no memory for its reply.
    Incomplete,
}

pub struct Socket {
    wire: Box<dyn Wire>,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .context("cannot open a netlink socket")?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("cannot bind a netlink socket")?;
        // Kernels before 4.20 know no strict checking; everything is filtered here as well.
        let _ = setsockopt(&fd, StrictCheck, &true);
        // The kernel answers at once; this only keeps a hook from hanging for ever.
        setsockopt(&fd, nix::sys::socket::sockopt::ReceiveTimeout, &TimeVal::new(30, 0))
            .context("cannot set a timeout on a netlink socket")?;
        Ok(Socket::over(Box::new(fd)))
    }

    fn over(wire: Box<dyn Wire>) -> Self {
        Socket { wire, sequence: 0, buffer: vec![0; BUFFER] }
    }

    /// Asks for a list.
    ///
    /// # Errors
    /// As the kernel says, or when the list keeps changing while it is read.
    pub fn dump(&mut self, request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..TRIES {
            match self.request(request.clone(), NLM_F_DUMP)? {
                Answer::All(replies) => return Ok(replies),
                Answer::Refused(errno) => return Err(errno.into()),
                Answer::Incomplete => {}
            }
        }
        bail!("the kernel's tables keep changing while they are read")
    }

    /// Asks for a change; the kernel's refusal comes back as an `Errno` inside the result.
    ///
    /// # Errors
    /// When the socket fails, or the kernel's answers keep getting lost.
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<Result<(), Errno>> {
        for tries in 0..TRIES {
            match self.request(request.clone(), NLM_F_ACK | flags)? {
                Answer::All(_) => return Ok(Ok(())),
                Answer::Incomplete => {}
                // It was done at an earlier try, whose answer was lost.
                Answer::Refused(Errno::EEXIST | Errno::ENOENT | Errno::ESRCH) if tries > 0 => return Ok(Ok(())),
                Answer::Refused(errno) => return Ok(Err(errno)),
            }
        }
        bail!("the kernel has no memory for its answers")
    }

    /// Asks for one thing; the kernel's refusal comes back as an `Errno` inside the result.
    ///
    /// # Errors
    /// When the socket fails, the kernel answers nothing, or its answers keep getting lost.
    pub fn ask(&mut self, request: RouteNetlinkMessage) -> Result<Result<RouteNetlinkMessage, Errno>> {
        for _ in 0..TRIES {
            // The answer is one message, a refusal is another: no need for an acknowledgement after it.
            match self.request(request.clone(), 0)? {
                Answer::All(replies) => {
                    let first = replies.into_iter().next();
                    return first.map(Ok).context("the kernel gave no answer that can be read");
                }
                Answer::Refused(errno) => return Ok(Err(errno)),
                Answer::Incomplete => {}
            }
        }
        bail!("the kernel has no memory for its answers")
    }

    fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<Answer> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        // A fresh buffer for each request: serializing skips padding bytes, which must be zero.
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        retry(|| self.wire.send(&bytes)).context("cannot send to the kernel")?;

        let mut replies = Vec::new();
        let mut interrupted = false;
        loop {
            let Some(length) = self.receive()? else { return Ok(Answer::Incomplete) };
            let mut rest = &self.buffer[..length];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
                let size = rest.get(..4).map(|size| u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) as usize);
                let size = size.filter(|size| (16..=rest.len()).contains(size));
                let Some(size) = size else { bail!("the kernel sent a broken netlink message") };
                rest = &rest[size.next_multiple_of(4).min(rest.len())..];
                // A message that this library cannot read is about something that symroute never made.
                let Ok(message) = message else { continue };
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= message.header.flags & DUMP_INTERRUPTED != 0;
                match message.payload {
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Ok(Answer::Refused(Errno::from_raw(done.code.saturating_abs())));
                    }
                    NetlinkPayload::Done(_) => {
                        return Ok(if interrupted { Answer::Incomplete } else { Answer::All(replies) });
                    }
                    NetlinkPayload::Error(error) => {
                        return Ok(match error.code {
                            None => Answer::All(replies),
                            Some(code) => Answer::Refused(Errno::from_raw(code.get().saturating_abs())),
                        });
                    }
                    NetlinkPayload::InnerMessage(reply) => {
                        replies.push(reply);
                        if flags == 0 {
                            return Ok(Answer::All(replies));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// One datagram from the kernel (and from nobody else) into the buffer; nothing when one was lost, which
    /// netlink(7) reports as ENOBUFS. What still comes for the lost request has an old sequence number.
    fn receive(&mut self) -> Result<Option<usize>> {
        loop {
            let (length, flags, sender) = match retry(|| self.wire.receive(&mut self.buffer)) {
                Err(Errno::ENOBUFS) => return Ok(None),
                received => received.context("no answer from the kernel")?,
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

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use netlink_packet_core::NLM_F_MULTIPART;
    use netlink_packet_route::rule::RuleMessage;

    use super::*;

    /// What the kernel does with a request.
    #[derive(Clone, Copy)]
    enum Does {
        /// Two rules and the end, or an acknowledgement.
        Answer,
        /// The same, in two datagrams with an interrupted system call, a stranger's datagram and an old reply between.
        Haltingly,
        /// The same, marked `NLM_F_DUMP_INTR`.
        Interrupted,
        /// A part, then ENOBUFS.
        Loses,
        Refuses(Errno),
    }

    struct Scripted {
        script: VecDeque<Does>,
        incoming: VecDeque<nix::Result<(Vec<u8>, u32)>>,
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

    impl Wire for Scripted {
        fn send(&mut self, bytes: &[u8]) -> nix::Result<()> {
            let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
            let sequence = number(8);
            let dump = number(4) >> 16 & u32::from(NLM_F_DUMP) == u32::from(NLM_F_DUMP);
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
            let does = self.script.pop_front().expect("no further request");
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
                Does::Refuses(errno) => vec![Ok((error(errno as i32), 0))],
            });
            Ok(())
        }

        fn receive(&mut self, buffer: &mut [u8]) -> nix::Result<(usize, MsgFlags, Option<u32>)> {
            let (bytes, sender) = self.incoming.pop_front().expect("nothing more to wait for")?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok((bytes.len(), MsgFlags::empty(), Some(sender)))
        }
    }

    fn socket(script: &[Does]) -> Socket {
        Socket::over(Box::new(Scripted { script: script.iter().copied().collect(), incoming: VecDeque::new() }))
    }

    fn dump(script: &[Does]) -> Result<usize> {
        Ok(socket(script).dump(RouteNetlinkMessage::GetRule(RuleMessage::default()))?.len())
    }

    fn change(script: &[Does]) -> Result<Result<(), Errno>> {
        socket(script).change(RouteNetlinkMessage::NewRule(RuleMessage::default()), 0)
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
        assert_eq!(dump(&[Refuses(Errno::EPERM)]).unwrap_err().downcast_ref(), Some(&Errno::EPERM));
        let never = dump(&[Interrupted; TRIES]).unwrap_err();
        assert_eq!(never.to_string(), "the kernel's tables keep changing while they are read");
    }

    #[test]
    fn a_change_whose_answer_was_lost_is_asked_for_again() {
        use Does::*;
        assert_eq!(change(&[Answer]).unwrap(), Ok(()));
        assert_eq!(change(&[Haltingly]).unwrap(), Ok(()));
        assert_eq!(change(&[Refuses(Errno::EEXIST)]).unwrap(), Err(Errno::EEXIST));
        assert_eq!(change(&[Loses, Answer]).unwrap(), Ok(()));
        assert_eq!(change(&[Loses, Refuses(Errno::EEXIST)]).unwrap(), Ok(()), "the lost answer was yes");
        assert_eq!(change(&[Loses, Refuses(Errno::EINVAL)]).unwrap(), Err(Errno::EINVAL));
        assert_eq!(change(&[Loses; TRIES]).unwrap_err().to_string(), "the kernel has no memory for its answers");
    }
}
