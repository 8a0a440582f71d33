//! The host behind this one that has a translated connection: a lookup in the kernel's table of connections (ctnetlink,
//! linux/netfilter/nfnetlink_conntrack.h).

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use nix::sys::socket::SockProtocol;

use super::single::ask;
use super::wire::{AF_INET, AF_INET6, Attached, Attribute, Request, first_message, split};

/// NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_GET.
const GET: u16 = 1 << 8 | 1;
const NESTED: u16 = 0x8000;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// A host behind this one that has a connection with `remote`, which knows it as `local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It replies to the connection.
    To(SocketAddr),
    /// It has opened the connection.
    From(SocketAddr),
}

/// Nothing without a translated connection, and if the kernel does not show it.
pub(crate) fn behind(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<Behind> {
    let (opening, replying) = look_up(protocol, local, remote).ok()?;
    match (opening == remote, replying == remote) {
        (true, false) => Some(Behind::To(replying)).filter(|_| replying != local),
        (false, true) => Some(Behind::From(opening)).filter(|_| opening != local),
        _ => None,
    }
}

/// The sources of both directions.
fn look_up(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Result<(SocketAddr, SocketAddr)> {
    let reply = ask(SockProtocol::NetlinkNetFilter, &request(protocol, local, remote))?;
    let (message, _) = first_message(&reply)?;
    // An error has another type.
    if message.kind >> 8 != GET >> 8 {
        bail!("no such connection");
    }
    Ok((source(message.body, CTA_TUPLE_ORIG)?, source(message.body, CTA_TUPLE_REPLY)?))
}

fn request(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Request {
    let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut request = Request::new(GET, &[family, 0, 0, 0]);
    let first = if local.is_ipv4() { CTA_IP_V4_SRC } else { CTA_IP_V6_SRC };
    let (mut addresses, mut ports, mut tuple) = (Attached::default(), Attached::default(), Attached::default());
    addresses.add_address(first, remote.ip());
    addresses.add_address(first + 1, local.ip());
    ports.add(CTA_PROTO_NUM, &[protocol]);
    ports.add(CTA_PROTO_SRC_PORT, &remote.port().to_be_bytes());
    ports.add(CTA_PROTO_DST_PORT, &local.port().to_be_bytes());
    tuple.add(CTA_TUPLE_IP | NESTED, addresses.bytes());
    tuple.add(CTA_TUPLE_PROTO | NESTED, ports.bytes());
    request.attributes.add(CTA_TUPLE_ORIG | NESTED, tuple.bytes());
    request
}

fn source(body: &[u8], direction: u16) -> Result<SocketAddr> {
    let ([family, ..], attributes) = split::<4>(body)?;
    let (mut address, mut port): (Option<IpAddr>, u16) = (None, 0);
    let tuples = attributes.filter_map(Result::ok).filter(|attribute| attribute.kind == direction);
    for part in tuples.flat_map(|tuple| tuple.nested().filter_map(Result::ok).collect::<Vec<Attribute>>()) {
        for value in part.nested().filter_map(Result::ok) {
            match (part.kind, value.kind) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC | CTA_IP_V6_SRC) => address = Some(value.address(*family)?),
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => port = u16::from_be_bytes(value.array()?),
                _ => {}
            }
        }
    }
    Ok(SocketAddr::new(address.context("no address")?, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel sends: the connection as it came in, and the tuple of its replies.
    #[test]
    fn reads_the_sources_of_both_directions() {
        let (local, remote) = ("198.51.100.10:8080".parse().unwrap(), "203.0.113.190:4000".parse().unwrap());
        let host: SocketAddr = "203.0.113.2:7000".parse().unwrap();
        let mut body = request(6, local, remote).body();
        assert!(source(&body, CTA_TUPLE_REPLY).is_err());
        let reply = request(6, remote, host).body();
        let mut attributes = reply[4..].to_vec();
        attributes[2] = CTA_TUPLE_REPLY as u8;
        body.extend(attributes);
        assert_eq!(source(&body, CTA_TUPLE_REPLY).unwrap(), host);
        assert_eq!(source(&body, CTA_TUPLE_ORIG).unwrap(), remote);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..9u8], 0..100)) {
            let _ = source(&bytes, CTA_TUPLE_REPLY);
        }
    }
}
