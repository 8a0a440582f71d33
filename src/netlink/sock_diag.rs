//! The interface that a socket is bound to, and its mark (sock_diag(7), linux/inet_diag.h).

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use nix::sys::socket::SockProtocol;

use super::single::ask;
use super::wire::{AF_INET, AF_INET6, Request, first_message, split};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_MARK: u16 = 15;
const UDP: u8 = 17;
/// `struct inet_diag_msg`: a family and states, the ends with an interface, a cookie, and counts.
const MESSAGE: usize = 72;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The index of the interface (SO_BINDTODEVICE).
    pub link: Option<u32>,
    /// SO_MARK. Nothing without CAP_NET_ADMIN.
    pub mark: Option<u32>,
}

/// Of the socket between these ends that sends through the link. Nothing without such a socket, and if the kernel does
/// not show it.
pub(crate) fn binding(protocol: u8, local: SocketAddr, remote: SocketAddr, link: u32) -> Option<Binding> {
    look_up(&request(protocol, local, remote, link)).ok()
}

fn look_up(request: &Request) -> Result<Binding> {
    let reply = ask(SockProtocol::NetlinkSockDiag, request)?;
    let (message, _) = first_message(&reply)?;
    // An error has another type.
    if message.kind != SOCK_DIAG_BY_FAMILY {
        bail!("no such socket");
    }
    read(message.body)
}

/// `struct inet_diag_req_v2`. A socket that is bound to another interface than `link` does not match.
fn request(protocol: u8, local: SocketAddr, remote: SocketAddr, link: u32) -> Request {
    // For UDP, the kernel looks up a packet that arrives.
    let (from, to) = if protocol == UDP { (remote, local) } else { (local, remote) };
    let mut header = vec![if local.is_ipv4() { AF_INET } else { AF_INET6 }, protocol, 0, 0];
    header.extend(u32::MAX.to_ne_bytes());
    header.extend([from.port().to_be_bytes(), to.port().to_be_bytes()].concat());
    header.extend([from.ip(), to.ip()].into_iter().flat_map(sixteen));
    header.extend(link.to_ne_bytes());
    // Any cookie.
    header.extend([0xff; 8]);
    Request::new(SOCK_DIAG_BY_FAMILY, &header)
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    bytes
}

fn read(body: &[u8]) -> Result<Binding> {
    let (header, attributes) = split::<MESSAGE>(body)?;
    // Behind family and states (4), ports (4) and addresses (32).
    let link = header.get(40..44).and_then(|bytes| bytes.first_chunk()).context("its interface is cut off")?;
    let link = Some(u32::from_ne_bytes(*link)).filter(|link| *link != 0);
    let mut attributes = attributes.filter_map(Result::ok);
    let mark = attributes.find(|attribute| attribute.kind == INET_DIAG_MARK).and_then(|mark| mark.u32().ok());
    Ok(Binding { link, mark })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    /// Where the kernel shows sockets at all, it finds those of this test.
    #[test]
    fn finds_its_own_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:9").unwrap();
        let remote: SocketAddr = "127.0.0.1:9".parse().unwrap();
        for (protocol, local) in [(6, listener.local_addr().unwrap()), (UDP, client.local_addr().unwrap())] {
            match look_up(&request(protocol, local, remote, 1)) {
                Ok(found) => assert_eq!(found.link, None),
                Err(error) => assert!(!error.to_string().contains("cut off"), "{error}"),
            }
        }
    }

    #[test]
    fn reads_the_interface_and_the_mark() {
        let mut body = vec![0; MESSAGE];
        assert_eq!(read(&body).unwrap(), Binding { link: None, mark: None });
        body[40..44].copy_from_slice(&7u32.to_ne_bytes());
        body.extend([8, 0, INET_DIAG_MARK as u8, 0]);
        body.extend(5u32.to_ne_bytes());
        assert_eq!(read(&body).unwrap(), Binding { link: Some(7), mark: Some(5) });
        assert!(read(&body[..MESSAGE - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
