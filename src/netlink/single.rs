//! One request to a netlink family other than rtnetlink, and the first message of its reply.

use std::os::fd::AsRawFd;

use anyhow::Result;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::{read, write};

use super::wire::Request;

/// Seconds to wait for the kernel's reply.
const WAIT: i64 = 1;

/// The datagram with the reply.
pub(super) fn ask(family: SockProtocol, request: &Request) -> Result<Vec<u8>> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(family))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(WAIT, 0))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let bytes = request.serialize(libc::NLM_F_REQUEST as u16, 1)?;
    // send(2) and recv(2) are used nowhere else: the hook would look up two more functions at its start.
    write(&socket, &bytes)?;
    let mut buffer = vec![0; 4096];
    let length = read(&socket, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
