//! What the kernel reports about links, addresses, routes and rules when they change (rtnetlink(7)).
//!
//! An event says that something changed and who changed it. What there is now is for a snapshot to read.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, setsockopt, socket, sockopt,
};

use crate::netlink::wire::{Message, first_message, split};
use crate::network::PROTOCOL;

/// Bits of `struct sockaddr_nl`: one for each multicast group (linux/rtnetlink.h).
const GROUPS: u32 = group(libc::RTNLGRP_LINK)
    | group(libc::RTNLGRP_IPV4_IFADDR)
    | group(libc::RTNLGRP_IPV4_ROUTE)
    | group(libc::RTNLGRP_IPV4_RULE)
    | group(libc::RTNLGRP_IPV6_IFADDR)
    | group(libc::RTNLGRP_IPV6_ROUTE)
    | group(libc::RTNLGRP_IPV6_RULE)
    | group(RTNLGRP_NEXTHOP);
/// linux/rtnetlink.h: the kernel removes the routes of a nexthop object without an event for each.
const RTNLGRP_NEXTHOP: libc::c_uint = 32;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

const fn group(number: libc::c_uint) -> u32 {
    1 << (number - 1)
}

/// Bytes that the kernel keeps for events that were not read yet: a few thousand of them.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Datagrams read at once: a flood of events must not keep the caller from its work.
const MAX_DATAGRAMS: usize = 1000;
/// Larger than a datagram of an event.
const BUFFER: usize = 64 * 1024;
/// An IPv6 route that the kernel keeps for one destination (linux/rtnetlink.h).
const RTM_F_CLONED: u32 = 0x200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Link,
    Address,
    Rule,
    Nexthop,
    Route {
        table: u32,
    },
    /// It cannot be read, so it may be about anything.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub subject: Subject,
    /// Is the route or rule tagged with symroute's protocol?
    pub is_ours: bool,
    pub is_removal: bool,
    /// The netlink port of the process that made the change, often its process id; 0 is the kernel.
    pub port: u32,
}

/// What was there to read.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub events: Vec<Event>,
    /// The kernel dropped events: anything may have changed.
    pub has_lost: bool,
}

/// A socket that receives the kernel's reports.
pub(crate) struct Events {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Events {
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .context("cannot open a netlink socket")?;
        // Without CAP_NET_ADMIN the limit of net.core.rmem_max holds, and events are lost sooner.
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).context("cannot subscribe to netlink events")?;
        Ok(Events { fd, buffer: vec![0; BUFFER] })
    }

    /// Everything that the kernel has reported since the last call; does not wait.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn read(&mut self) -> Result<Received> {
        let mut received = Received::default();
        for _ in 0..MAX_DATAGRAMS {
            let mut slices = [IoSliceMut::new(&mut self.buffer)];
            match recvmsg::<NetlinkAddr>(self.fd.as_raw_fd(), &mut slices, None, MsgFlags::empty()) {
                // Any process may send to the socket's port.
                Ok(message) if message.address.is_none_or(|address| address.pid() != 0) => {}
                Ok(message) => {
                    received.has_lost |= message.flags.contains(MsgFlags::MSG_TRUNC);
                    let length = message.bytes;
                    received.events.extend(events(&self.buffer[..length]));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => received.has_lost = true,
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno).context("cannot read netlink events"),
            }
        }
        Ok(received)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The events of a datagram. What cannot be read is an event too.
fn events(datagram: &[u8]) -> Vec<Event> {
    let unknown = Event { subject: Subject::Unknown, is_ours: false, is_removal: false, port: 0 };
    let mut events = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let Ok((message, after)) = first_message(rest) else {
            events.push(unknown);
            break;
        };
        rest = after;
        events.extend(event(&message).unwrap_or(Some(Event { port: message.port, ..unknown })));
    }
    events
}

/// Nothing for a message that is no change.
fn event(message: &Message) -> Result<Option<Event>> {
    let kind = message.kind;
    let is_removal =
        matches!(kind, libc::RTM_DELLINK | libc::RTM_DELADDR | libc::RTM_DELROUTE | libc::RTM_DELRULE | RTM_DELNEXTHOP);
    let (subject, is_ours) = match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => (Subject::Link, false),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => (Subject::Address, false),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => (Subject::Nexthop, false),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            // struct rtmsg: the table is the fifth byte, the protocol the sixth, the flags the last four.
            let ([_, _, _, _, table, protocol, _, _, f0, f1, f2, f3], attributes) = split(message.body)?;
            if u32::from_ne_bytes([*f0, *f1, *f2, *f3]) & RTM_F_CLONED != 0 {
                return Ok(None);
            }
            let mut table = u32::from(*table);
            for attribute in attributes {
                let attribute = attribute?;
                if attribute.kind == libc::RTA_TABLE {
                    table = attribute.u32()?;
                }
            }
            (Subject::Route { table }, *protocol == PROTOCOL)
        }
        libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            let (_, attributes) = split::<12>(message.body)?;
            let mut is_ours = false;
            for attribute in attributes {
                let attribute = attribute?;
                is_ours |= attribute.kind == FRA_PROTOCOL && attribute.u8()? == PROTOCOL;
            }
            (Subject::Rule, is_ours)
        }
        _ => return Ok(None),
    };
    Ok(Some(Event { subject, is_ours, is_removal, port: message.port }))
}

/// linux/fib_rules.h
const FRA_PROTOCOL: u16 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, port: u32, body: &[u8]) -> Vec<u8> {
        let length = 16 + body.len() as u32;
        let header = [length.to_ne_bytes(), [0; 4], [0; 4], port.to_ne_bytes()].concat();
        let mut bytes = [header, body.to_vec()].concat();
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [(4 + value.len() as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn reads_who_changed_what() {
        let route = |table: u8, protocol: u8, flags: u32| {
            [&[2, 24, 0, 0, table, protocol, 0, 1][..], &flags.to_ne_bytes()].concat()
        };
        let high = [route(252, 97, 0), attribute(libc::RTA_TABLE, &1001u32.to_ne_bytes())].concat();
        let rule = |protocol: u8| [vec![2; 12], attribute(FRA_PROTOCOL, &[protocol])].concat();
        let event = |subject, is_ours, is_removal, port| Event { subject, is_ours, is_removal, port };
        for (kind, body, expected) in [
            (libc::RTM_NEWLINK, vec![0; 16], Some(event(Subject::Link, false, false, 7))),
            (libc::RTM_DELADDR, vec![0; 8], Some(event(Subject::Address, false, true, 7))),
            (libc::RTM_NEWROUTE, route(254, 4, 0), Some(event(Subject::Route { table: 254 }, false, false, 7))),
            (libc::RTM_DELROUTE, high, Some(event(Subject::Route { table: 1001 }, true, true, 7))),
            (libc::RTM_NEWROUTE, route(254, 2, RTM_F_CLONED), None),
            (libc::RTM_DELRULE, rule(97), Some(event(Subject::Rule, true, true, 7))),
            (libc::RTM_NEWRULE, rule(4), Some(event(Subject::Rule, false, false, 7))),
            (RTM_DELNEXTHOP, vec![0; 8], Some(event(Subject::Nexthop, false, true, 7))),
            (libc::RTM_NEWNEIGH, vec![0; 12], None),
            (libc::RTM_NEWROUTE, vec![0; 3], Some(event(Subject::Unknown, false, false, 7))),
        ] {
            assert_eq!(events(&message(kind, 7, &body)), expected.into_iter().collect::<Vec<_>>(), "{kind}");
        }
        let two = [message(libc::RTM_NEWLINK, 1, &[0; 16]), message(libc::RTM_NEWADDR, 2, &[0; 8])].concat();
        assert_eq!(events(&two).iter().map(|event| event.port).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(events(&two[..two.len() - 3])[1].subject, Subject::Unknown);
    }
}
