//! The packet socket: one for all links, so that a request is read before its reply.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, GetSockOpt, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, recvmmsg,
    setsockopt, socket, sockopt,
};
use nix::{getsockopt_impl, libc};
use socket2::{SockFilter, SockRef};

use crate::observe::filter::{Instruction, OUTGOING, SNAP};

/// Bytes that the kernel may hold for the program: about ten thousand packets.
const BUFFER: usize = 8 << 20;
/// Packets that one system call reads.
const BATCH: usize = 64;

/// linux/if_packet.h: packets that were copied, and packets for which there was no room. Reading it resets both.
const PACKET_STATISTICS: libc::c_int = 6;

#[derive(Debug, Clone, Copy)]
struct Statistics;

/// `struct tpacket_stats`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    packets: libc::c_uint,
    dropped: libc::c_uint,
}

getsockopt_impl!(Statistics, libc::SOL_PACKET, PACKET_STATISTICS, Counts, sockopt::GetStruct<Counts>);

/// A packet as the kernel delivers it: from the IP header on.
#[derive(Debug)]
pub struct Received<'a> {
    pub link: u32,
    pub outgoing: bool,
    pub bytes: &'a [u8],
}

pub struct PacketSocket {
    socket: OwnedFd,
    buffers: Vec<[u8; SNAP as usize]>,
    dropped: u64,
}

impl PacketSocket {
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn open(filter: &[Instruction]) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, Some(SockProtocol::EthAll))
            .context("cannot open a packet socket (this requires CAP_NET_RAW: run it as root)")?;
        let instruction = |line: &Instruction| SockFilter::new(line.code, line.jump_true, line.jump_false, line.value);
        let filter: Vec<SockFilter> = filter.iter().map(instruction).collect();
        SockRef::from(&socket).attach_filter(&filter).context("the kernel rejects the packet filter")?;
        // Without CAP_NET_ADMIN, the limit is net.core.rmem_max.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).context("cannot set the size of the socket's buffer")?;
        }
        let mut opened = PacketSocket { socket, buffers: vec![[0; SNAP as usize]; BATCH], dropped: 0 };
        // Packets that arrived before the filter was there.
        while opened.receive(|_| ())? > 0 {}
        Ok(opened)
    }

    /// Passes the packets that are there, at most one batch, to `take`; their number.
    ///
    /// # Errors
    /// As recvmmsg(2). That a link disappears is not one: the socket is for all links.
    pub fn receive(&mut self, mut take: impl FnMut(Received)) -> io::Result<usize> {
        let mut slices: Vec<[IoSliceMut; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        // New for each call: the kernel writes the length of an address into it, which may be more than was there.
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
        let results = recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let results = match results {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(Errno::ENETDOWN | Errno::ENOBUFS) => return Ok(0),
            results => results?,
        };
        let mut count = 0;
        for message in results {
            count += 1;
            let Some(address) = message.address else { continue };
            let Ok(link) = u32::try_from(address.ifindex()) else { continue };
            let Some(bytes) = message.iovs().next() else { continue };
            take(Received { link, outgoing: address.pkttype() == OUTGOING, bytes });
        }
        Ok(count)
    }

    /// Packets that the kernel had no room for, since the beginning.
    pub fn dropped(&mut self) -> u64 {
        let counts = Statistics.get(&self.socket).unwrap_or_default();
        self.dropped += u64::from(counts.dropped);
        self.dropped
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
