//! The headers of a packet as values. Strangers send these bytes: every length is checked, and nothing is trusted.
//!
//! etherparse finds its way through IPv4 options and IPv6 extension headers. What is needed behind them is at fixed
//! places, and is also in the few bytes of a packet that an ICMP error quotes.

use std::net::IpAddr;

use etherparse::{Ipv6ExtensionSlice, LaxIpSlice};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
/// DCCP, SCTP, UDP-Lite: they begin with two ports, too.
const OTHERS_WITH_PORTS: [u8; 3] = [33, 132, 136];

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Source and destination, with ports where the protocol has them. An echo request and its reply have their
/// identifier as both ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    pub protocol: u8,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub sport: u16,
    pub dport: u16,
}

/// What a packet is for its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A packet that asks for a reply: a TCP SYN, an echo request.
    Opens,
    /// It may open a flow or belong to one: UDP, and protocols without ports.
    Any,
    /// A part of a flow that has begun: TCP, an echo reply.
    Continues,
    /// The same, and it ends the flow: a TCP RST. As the first reply it says that the port is closed.
    Refuses,
    /// A later fragment: its ports are in the first one.
    Fragment,
    /// An ICMP error about the packet that it quotes, if that can be read.
    Error(Option<Ends>),
    /// Neighbour discovery and the like: it never leaves the link.
    OnLink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub ends: Ends,
    pub role: Role,
    /// The number that all fragments of one packet have.
    pub fragment: Option<u32>,
    /// Bytes from the IP header on, as the header says.
    pub length: u32,
}

/// The IP header, and the bytes behind it.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    fragment: Option<u32>,
    /// The payload does not begin with a transport header.
    is_later_fragment: bool,
    length: u32,
    payload: &'a [u8],
}

fn ip(bytes: &[u8]) -> Option<Ip<'_>> {
    let (slice, stopped) = LaxIpSlice::from_slice(bytes).ok()?;
    if stopped.is_some() {
        return None;
    }
    let (fragment, offset, length) = match &slice {
        LaxIpSlice::Ipv4(slice) => {
            let header = slice.header();
            let is_fragment = header.is_fragmenting_payload();
            let fragment = is_fragment.then(|| u32::from(header.identification()));
            (fragment, header.fragments_offset().value(), u32::from(header.total_len()))
        }
        LaxIpSlice::Ipv6(slice) => {
            let fragment = slice.extensions().clone().into_iter().find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(header) if header.is_fragmenting_payload() => {
                    Some((header.identification(), header.fragment_offset().value()))
                }
                _ => None,
            });
            let length = u32::from(slice.header().payload_length()) + 40;
            (fragment.map(|(number, _)| number), fragment.map_or(0, |(_, offset)| offset), length)
        }
    };
    let payload = slice.payload();
    Some(Ip {
        source: slice.source_addr(),
        destination: slice.destination_addr(),
        protocol: payload.ip_number.0,
        fragment,
        is_later_fragment: offset != 0,
        length,
        payload: payload.payload,
    })
}

/// The two bytes at an offset, as a number.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([*pair.first()?, *pair.last()?]))
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP) || OTHERS_WITH_PORTS.contains(&protocol)
}

impl Ip<'_> {
    fn ends(&self, sport: u16, dport: u16) -> Ends {
        Ends { protocol: self.protocol, source: self.source, destination: self.destination, sport, dport }
    }

    /// As an ICMP error quotes it: eight bytes of the payload are enough.
    fn quoted(&self) -> Option<Ends> {
        match (self.protocol, self.payload.first()) {
            _ if self.is_later_fragment => None,
            (protocol, _) if has_ports(protocol) => Some(self.ends(number(self.payload, 0)?, number(self.payload, 2)?)),
            (ICMP, Some(0 | 8)) | (ICMPV6, Some(128 | 129)) => {
                let id = number(self.payload, 4)?;
                Some(self.ends(id, id))
            }
            (ICMP | ICMPV6, _) => None,
            _ => Some(self.ends(0, 0)),
        }
    }

    fn role(&self) -> Option<Role> {
        let kind = self.payload.first().copied();
        Some(match self.protocol {
            _ if self.is_later_fragment => Role::Fragment,
            TCP => match self.payload.get(13)? & (SYN | ACK | RST) {
                SYN => Role::Opens,
                flags if flags & RST != 0 => Role::Refuses,
                _ => Role::Continues,
            },
            ICMP => match kind? {
                8 => Role::Opens,
                0 => Role::Continues,
                3 | 4 | 5 | 11 | 12 => Role::Error(self.payload.get(8..).and_then(ip).and_then(|ip| ip.quoted())),
                9 | 10 => Role::OnLink,
                _ => Role::Continues,
            },
            ICMPV6 => match kind? {
                128 => Role::Opens,
                129 => Role::Continues,
                1..=4 => Role::Error(self.payload.get(8..).and_then(ip).and_then(|ip| ip.quoted())),
                _ => Role::OnLink,
            },
            _ => Role::Any,
        })
    }
}

/// Reads the headers of a packet that begins with its IP header, and may be cut off behind them. Nothing if they are
/// malformed.
pub fn decode(bytes: &[u8]) -> Option<Packet> {
    let ip = ip(bytes)?;
    let role = ip.role()?;
    let ends = match role {
        Role::Fragment | Role::Error(_) | Role::OnLink => ip.ends(0, 0),
        _ if has_ports(ip.protocol) || matches!(ip.protocol, ICMP | ICMPV6) => match ip.quoted() {
            Some(ends) => ends,
            // Another ICMP query, such as a timestamp request.
            None if ip.protocol == ICMP => ip.ends(0, 0),
            None => return None,
        },
        _ => ip.ends(0, 0),
    };
    Some(Packet { ends, role, fragment: ip.fragment, length: ip.length })
}

/// The TCP flags of packets that are always looked at.
pub const OPENING_OR_CLOSING: u8 = SYN | FIN | RST;

#[cfg(test)]
pub(crate) mod tests {
    use etherparse::{IpNumber, PacketBuilder};
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A packet without payload, made by etherparse.
    pub(crate) fn bytes(ends: Ends, opens: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let builder = match (ends.source, ends.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), 9)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                PacketBuilder::ipv6(source.octets(), destination.octets(), 9)
            }
            _ => panic!("two families"),
        };
        match (ends.protocol, opens) {
            (UDP, _) => builder.udp(ends.sport, ends.dport).write(&mut out, &[]).unwrap(),
            (TCP, true) => builder.tcp(ends.sport, ends.dport, 1, 100).syn().write(&mut out, &[]).unwrap(),
            (TCP, false) => builder.tcp(ends.sport, ends.dport, 1, 100).ack(1).write(&mut out, &[]).unwrap(),
            (ICMP, true) => builder.icmpv4_echo_request(ends.sport, 1).write(&mut out, &[]).unwrap(),
            (ICMP, false) => builder.icmpv4_echo_reply(ends.sport, 1).write(&mut out, &[]).unwrap(),
            (ICMPV6, true) => builder.icmpv6_echo_request(ends.sport, 1).write(&mut out, &[]).unwrap(),
            (ICMPV6, false) => builder.icmpv6_echo_reply(ends.sport, 1).write(&mut out, &[]).unwrap(),
            (other, _) => builder.write(&mut out, IpNumber(other), &[0; 8]).unwrap(),
        }
        out
    }

    fn ends(protocol: u8, source: &str, destination: &str, sport: u16, dport: u16) -> Ends {
        Ends { protocol, source: address(source), destination: address(destination), sport, dport }
    }

    fn any_ends() -> impl Strategy<Value = Ends> {
        let pair = prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        ];
        (pair, prop::sample::select(vec![TCP, UDP, ICMP, 47, 132]), any::<u16>(), any::<u16>()).prop_map(
            |((source, destination), protocol, sport, dport)| {
                let protocol = if protocol == ICMP && source.is_ipv6() { ICMPV6 } else { protocol };
                let (sport, dport) = match protocol {
                    ICMP | ICMPV6 => (sport, sport),
                    47 | 132 => (0, 0),
                    _ => (sport, dport),
                };
                Ends { protocol, source, destination, sport, dport }
            },
        )
    }

    proptest! {
        #[test]
        fn reads_what_etherparse_writes(ends in any_ends(), opens: bool) {
            let packet = decode(&bytes(ends, opens)).unwrap();
            prop_assert_eq!(packet.ends, ends);
            let role = match (ends.protocol, opens) {
                (UDP | 47 | 132, _) => Role::Any,
                (_, true) => Role::Opens,
                (_, false) => Role::Continues,
            };
            prop_assert_eq!(packet.role, role);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0..16u8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | (*first & 15);
            }
            let _ = decode(&bytes);
        }

        /// An error quotes the flow, also with the eight bytes of its payload that RFC 792 requires.
        #[test]
        fn errors_quote_a_flow(quoted in any_ends(), opens: bool) {
            let inner = bytes(quoted, opens);
            let header = if quoted.source.is_ipv4() { 20 } else { 40 };
            let mut out = Vec::new();
            match (quoted.destination, quoted.source) {
                (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 9)
                    .icmpv4_raw(3, 3, [0; 4]).write(&mut out, &inner[..header + 8]).unwrap(),
                (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 9)
                    .icmpv6_raw(1, 4, [0; 4]).write(&mut out, &inner[..header + 8]).unwrap(),
                _ => unreachable!(),
            }
            prop_assert_eq!(decode(&out).unwrap().role, Role::Error(Some(quoted)));
        }
    }

    #[test]
    fn extension_headers_and_fragments() {
        let plain = bytes(ends(UDP, "2001:db8::1", "2001:db8::2", 53, 4000), false);
        // Hop-by-hop options, then a fragment header: the first, and a later one.
        for (offset, role) in [(1u16, Role::Any), (0x0109, Role::Fragment)] {
            let mut out = plain[..40].to_vec();
            out[6] = 0;
            out[5] += 16;
            out.extend([44, 0, 1, 4, 0, 0, 0, 0]);
            out.extend([UDP, 0, (offset >> 8) as u8, offset as u8, 0, 0, 1, 2]);
            out.extend(&plain[40..]);
            let packet = decode(&out).unwrap();
            assert_eq!((packet.role, packet.fragment), (role, Some(258)));
            assert_eq!(packet.ends.sport, if role == Role::Any { 53 } else { 0 });
        }
        // A chain of extension headers that is cut off.
        let mut cut = plain[..40].to_vec();
        cut[6] = 0;
        cut.extend([0, 200, 0, 0]);
        assert_eq!(decode(&cut), None);
        let mut later = bytes(ends(UDP, "192.0.2.1", "192.0.2.2", 53, 4000), false);
        later[6..8].copy_from_slice(&[0x20, 0x05]);
        assert_eq!(decode(&later).unwrap().role, Role::Fragment);
    }

    #[test]
    fn neighbour_discovery_stays_on_the_link() {
        let mut out = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 255).icmpv6_raw(135, 0, [0; 4]).write(&mut out, &[0; 16]).unwrap();
        assert_eq!(decode(&out).unwrap().role, Role::OnLink);
    }
}
