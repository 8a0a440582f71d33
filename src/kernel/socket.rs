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

pub struct Socket {
    fd: OwnedFd,
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
        Ok(Socket { fd, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Asks for a list.
    ///
    /// # Errors
    /// As the kernel says, or when the list keeps changing while it is read.
    pub fn dump(&mut self, request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..TRIES {
            if let Some(replies) = self.request(request.clone(), NLM_F_DUMP)? {
                return Ok(replies);
            }
        }
        bail!("the kernel's tables keep changing while they are read")
    }

    /// Asks for a change; the kernel's refusal comes back as an `Errno` inside the result.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<Result<(), Errno>> {
        match self.request(request, NLM_F_ACK | flags) {
            Ok(_) => Ok(Ok(())),
            Err(error) => match error.downcast::<Errno>() {
                Ok(errno) => Ok(Err(errno)),
                Err(error) => Err(error),
            },
        }
    }

    /// Asks for one thing; the kernel's refusal comes back as an `Errno` inside the result.
    ///
    /// # Errors
    /// When the socket fails, or the kernel answers nothing.
    pub fn ask(&mut self, request: RouteNetlinkMessage) -> Result<Result<RouteNetlinkMessage, Errno>> {
        match self.request(request, NLM_F_ACK) {
            Ok(replies) => {
                let first = replies.into_iter().flatten().next();
                first.map(Ok).context("the kernel gave no answer that can be read")
            }
            Err(error) => error.downcast::<Errno>().map(Err),
        }
    }

    /// The replies, or nothing for a dump that was interrupted.
    fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<Option<Vec<RouteNetlinkMessage>>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        // A fresh buffer for each request: serializing skips padding bytes, which must be zero.
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        retry(|| sendto(self.fd.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty()))
            .context("cannot send to the kernel")?;

        let mut replies = Vec::new();
        let mut interrupted = false;
        loop {
            let length = self.receive()?;
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
                        return Err(Errno::from_raw(done.code.saturating_abs()).into());
                    }
                    NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(replies)),
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(Some(replies)),
                            Some(code) => Err(Errno::from_raw(code.get().saturating_abs()).into()),
                        };
                    }
                    NetlinkPayload::InnerMessage(reply) => replies.push(reply),
                    _ => {}
                }
            }
        }
    }

    /// One datagram from the kernel (and from nobody else) into the buffer.
    fn receive(&mut self) -> Result<usize> {
        loop {
            let mut slices = [IoSliceMut::new(&mut self.buffer)];
            let received = retry(|| {
                recvmsg::<NetlinkAddr>(self.fd.as_raw_fd(), &mut slices, None, MsgFlags::empty())
                    .map(|message| (message.bytes, message.flags, message.address.map(|address| address.pid())))
            });
            let (length, flags, sender) = received.context("no answer from the kernel")?;
            if sender != Some(0) {
                continue;
            }
            if flags.contains(MsgFlags::MSG_TRUNC) {
                bail!("the kernel sent a datagram of more than {BUFFER} bytes");
            }
            return Ok(length);
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
