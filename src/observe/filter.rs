//! The filter that the kernel runs for each packet (classic BPF, Documentation/networking/filter.rst): it drops what is
//! certainly as it should be, so that only the rest is copied to the program, and only its headers.
//!
//! Most packets of a host are TCP packets of established connections. One of those is copied only if its address
//! belongs to another uplink. The filter must copy every packet that `flows` could report; `flows` decides.

use std::net::IpAddr;

use ipnet::IpNet;

use super::links::{Index, Observed, Router};
use super::packet::{OPENING_OR_CLOSING, TCP};
use crate::sort::sort_by_key;

/// Bytes of a packet that are copied: an IPv6 header, extension headers, and an ICMP error with the headers that it
/// quotes.
pub const SNAP: u32 = 192;

/// The kernel accepts no longer program (BPF_MAXINSNS, linux/bpf_common.h).
const MOST_INSTRUCTIONS: usize = 4096;

/// Networks that are compared for each link that is no uplink.
const MOST_NEAR: usize = 16;

/// One instruction; a jump skips this number of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_AT_X: u16 = 0x50;
/// X = 4 times the low four bits of a byte: the length of an IPv4 header.
const LOAD_X_HEADER: u16 = 0xb1;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

// linux/filter.h: what is known of a packet besides its bytes is at these places.
const ANCILLARY: u32 = 0xffff_f000;
const PROTOCOL: u32 = ANCILLARY;
const PACKET_TYPE: u32 = ANCILLARY + 4;
const INTERFACE: u32 = ANCILLARY + 8;
const VLAN_TAG: u32 = ANCILLARY + 44;
/// The Ethernet header, which begins with the destination. The packet of the socket begins behind it.
const LINK_LAYER: u32 = 0xffe0_0000;

/// linux/if_packet.h: to this host, and from it. Others are broadcasts and packets for other hosts.
pub const TO_HOST: u8 = 0;
pub const OUTGOING: u8 = 4;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// Where a jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Label {
    Next,
    Copy,
    Drop,
    /// A place in the program.
    At(usize),
}

/// A program whose jumps have labels. Conditional jumps of the kernel are short: each one here is followed by two
/// unconditional ones, which are not.
#[derive(Default)]
struct Assembler {
    lines: Vec<Line>,
    places: Vec<Option<usize>>,
}

enum Line {
    Plain(u16, u32),
    Jump(Label),
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.places.push(None);
        Label::At(self.places.len() - 1)
    }

    fn place(&mut self, label: Label) {
        if let Label::At(number) = label {
            self.places[number] = Some(self.lines.len());
        }
    }

    fn plain(&mut self, code: u16, value: u32) {
        self.lines.push(Line::Plain(code, value));
    }

    fn go(&mut self, to: Label) {
        if to != Label::Next {
            self.lines.push(Line::Jump(to));
        }
    }

    /// Compares the accumulator with a value.
    fn compare(&mut self, code: u16, value: u32, yes: Label, no: Label) {
        let end = self.label();
        let or_end = |label: Label| if label == Label::Next { end } else { label };
        self.plain(code, value);
        self.lines.push(Line::Jump(or_end(yes)));
        self.lines.push(Line::Jump(or_end(no)));
        self.place(end);
    }

    fn is(&mut self, value: u32, yes: Label, no: Label) {
        self.compare(JUMP_EQUAL, value, yes, no);
    }

    fn finish(self) -> Vec<Instruction> {
        let (copy, drop) = (self.lines.len(), self.lines.len() + 1);
        let position = |label: Label| match label {
            Label::Next => None,
            Label::Copy => Some(copy),
            Label::Drop => Some(drop),
            Label::At(number) => self.places.get(number).copied().flatten(),
        };
        let instruction = |(at, line): (usize, &Line)| match line {
            // The first of the two jumps behind it, or the second.
            Line::Plain(code @ (JUMP_EQUAL | JUMP_GREATER_EQUAL | JUMP_SET), value) => {
                Instruction { code: *code, jump_true: 0, jump_false: 1, value: *value }
            }
            Line::Plain(code, value) => Instruction { code: *code, jump_true: 0, jump_false: 0, value: *value },
            Line::Jump(label) => {
                let skipped = position(*label).map_or(0, |place| place.saturating_sub(at + 1));
                Instruction { code: JUMP, jump_true: 0, jump_false: 0, value: skipped as u32 }
            }
        };
        let end = [(RETURN, SNAP), (RETURN, 0)];
        let end = end.map(|(code, value)| Instruction { code, jump_true: 0, jump_false: 0, value });
        self.lines.iter().enumerate().map(instruction).chain(end).collect()
    }
}

/// Where the fields of a header are.
struct Header {
    is_ipv4: bool,
    source: u32,
    destination: u32,
}

const HEADERS: [Header; 2] =
    [Header { is_ipv4: true, source: 12, destination: 16 }, Header { is_ipv4: false, source: 8, destination: 24 }];

/// The program for a socket that receives the packets of all links, from their IP header on.
pub fn filter(observed: &Observed) -> Vec<Instruction> {
    let program = assemble(observed, true);
    if program.len() <= MOST_INSTRUCTIONS { program } else { assemble(observed, false) }
}

/// `compares`: with the networks; without them, every packet with a known interface and family is copied.
fn assemble(observed: &Observed, compares: bool) -> Vec<Instruction> {
    let mut program = Assembler::default();
    program.plain(LOAD_WORD, PACKET_TYPE);
    let (is_known, checked) = (program.label(), program.label());
    program.is(u32::from(OUTGOING), is_known, Label::Next);
    program.is(u32::from(TO_HOST), is_known, Label::Drop);
    program.place(is_known);
    // A packet with a VLAN tag belongs to the link of the VLAN, which has it without a tag. Tag 0 is a priority only.
    program.plain(LOAD_HALF, VLAN_TAG);
    program.plain(AND, 0xfff);
    program.is(0, checked, Label::Drop);
    program.place(checked);
    let (uplinks, others) = (program.label(), program.label());
    program.plain(LOAD_WORD, INTERFACE);
    for link in &observed.links {
        match link.is_uplink {
            true => program.is(link.index, uplinks, Label::Next),
            false => program.is(link.index, others, Label::Next),
        }
    }
    program.go(Label::Drop);
    program.place(uplinks);
    of_uplinks(&mut program, observed, compares);
    program.place(others);
    of_others(&mut program, observed, compares);
    program.finish()
}

/// The program for a socket that receives the packets which are sent to this gateway with a source address of another
/// uplink. Nothing if it would be too long.
pub fn router_filter(router: &Router) -> Option<Vec<Instruction>> {
    let mut program = Assembler::default();
    let equals = |program: &mut Assembler, code: u16, place: u32, value: u32| {
        program.plain(code, place);
        program.is(value, Label::Next, Label::Drop);
    };
    equals(&mut program, LOAD_WORD, PACKET_TYPE, u32::from(OUTGOING));
    equals(&mut program, LOAD_WORD, INTERFACE, router.link);
    program.plain(LOAD_HALF, VLAN_TAG);
    program.plain(AND, 0xfff);
    program.is(0, Label::Next, Label::Drop);
    equals(&mut program, LOAD_WORD, LINK_LAYER, word(&router.hardware[..4]));
    equals(&mut program, LOAD_HALF, LINK_LAYER + 4, word(&router.hardware[4..]));
    let is_ipv4 = router.address.is_ipv4();
    for header in HEADERS.iter().filter(|header| header.is_ipv4 == is_ipv4) {
        of_family(&mut program, header, Label::Drop);
        for net in &router.near {
            unless_in(&mut program, net, header, header.destination, Label::Drop);
        }
        let mut sources: Vec<(&IpNet, &bool)> = router.sources.iter().collect();
        sort_by_key(&mut sources, |(net, _)| std::cmp::Reverse(net.prefix_len()));
        for (net, is_other) in sources {
            let decision = if *is_other { Label::Copy } else { Label::Drop };
            unless_in(&mut program, net, header, header.source, decision);
        }
    }
    program.go(Label::Drop);
    Some(program.finish()).filter(|program| program.len() <= MOST_INSTRUCTIONS)
}

/// Continues behind this for packets of the family.
fn of_family(program: &mut Assembler, header: &Header, other: Label) {
    program.plain(LOAD_HALF, PROTOCOL);
    program.is(if header.is_ipv4 { IPV4 } else { IPV6 }, Label::Next, other);
    // Packets to many hosts belong to no flow.
    program.plain(LOAD_BYTE, header.destination);
    match header.is_ipv4 {
        true => program.compare(JUMP_GREATER_EQUAL, 224, Label::Drop, Label::Next),
        false => program.is(0xff, Label::Drop, Label::Next),
    }
}

fn of_uplinks(program: &mut Assembler, observed: &Observed, compares: bool) {
    for header in &HEADERS {
        let (other, received) = (program.label(), program.label());
        of_family(program, header, other);
        established(program, header, Label::Copy);
        program.plain(LOAD_WORD, PACKET_TYPE);
        program.is(u32::from(OUTGOING), Label::Next, received);
        copy_if_elsewhere(program, observed, header, header.source, compares);
        program.place(received);
        copy_if_elsewhere(program, observed, header, header.destination, compares);
        program.place(other);
    }
    program.go(Label::Drop);
}

fn of_others(program: &mut Assembler, observed: &Observed, compares: bool) {
    for header in &HEADERS {
        let (other, received, copied) = (program.label(), program.label(), program.label());
        of_family(program, header, other);
        program.plain(LOAD_WORD, PACKET_TYPE);
        program.is(u32::from(OUTGOING), Label::Next, received);
        if compares {
            drop_near(program, observed, header);
        }
        copy_if_elsewhere(program, observed, header, header.source, compares);
        program.place(received);
        // Only the beginning of a connection is needed.
        established(program, header, copied);
        program.go(Label::Drop);
        program.place(copied);
        copy_if_elsewhere(program, observed, header, header.destination, compares);
        program.place(other);
    }
    program.go(Label::Drop);
}

/// Drops what every uplink's address sends through this link to a LAN, a VPN or a routed machine.
fn drop_near(program: &mut Assembler, observed: &Observed, header: &Header) {
    for link in observed.links.iter().filter(|link| !link.is_uplink) {
        let uplinks = observed.links.iter().filter(|link| link.is_uplink);
        let mut lists = uplinks.map(|uplink| observed.near.get(&(uplink.index, link.index)));
        let Some(Some(first)) = lists.next() else { continue };
        let for_all = |net: &&IpNet| lists.clone().all(|list| list.is_some_and(|list| list.contains(net)));
        let other = program.label();
        program.plain(LOAD_WORD, INTERFACE);
        program.is(link.index, Label::Next, other);
        for net in first.iter().filter(for_all).take(MOST_NEAR) {
            unless_in(program, net, header, header.destination, Label::Drop);
        }
        program.place(other);
    }
}

/// Continues behind this only for TCP packets of established connections: those that neither open nor close one.
fn established(program: &mut Assembler, header: &Header, other: Label) {
    let (code, place) = match header.is_ipv4 {
        true => {
            program.plain(LOAD_BYTE, 9);
            program.is(u32::from(TCP), Label::Next, other);
            // A later fragment has no TCP header.
            program.plain(LOAD_HALF, 6);
            program.compare(JUMP_SET, 0x1fff, other, Label::Next);
            program.plain(LOAD_X_HEADER, 0);
            (LOAD_BYTE_AT_X, 13)
        }
        // 'packet' finds TCP behind extension headers.
        false => {
            program.plain(LOAD_BYTE, 6);
            program.is(u32::from(TCP), Label::Next, other);
            (LOAD_BYTE, 40 + 13)
        }
    };
    program.plain(code, place);
    program.compare(JUMP_SET, u32::from(OPENING_OR_CLOSING), other, Label::Next);
}

/// Copies the packet if the address belongs to another uplink, and drops it otherwise.
fn copy_if_elsewhere(program: &mut Assembler, observed: &Observed, header: &Header, offset: u32, compares: bool) {
    if !compares {
        return program.go(Label::Copy);
    }
    let owners = observed.owners.iter().filter(|(net, _)| net.addr().is_ipv4() == header.is_ipv4);
    let mut owners: Vec<(&IpNet, &[Index])> = owners.collect();
    sort_by_key(&mut owners, |(net, _)| std::cmp::Reverse(net.prefix_len()));
    for (at, (net, links)) in owners.iter().enumerate() {
        // An address inside a network of the same links needs no comparison of its own.
        let wider = owners[at + 1..].iter().find(|(other, _)| other.contains(*net));
        if wider.is_some_and(|(_, other)| other == links) {
            continue;
        }
        let (found, other) = (program.label(), program.label());
        unless_in(program, net, header, offset, found);
        program.go(other);
        program.place(found);
        program.plain(LOAD_WORD, INTERFACE);
        for link in *links {
            program.is(*link, Label::Drop, Label::Next);
        }
        program.go(Label::Copy);
        program.place(other);
    }
    program.go(Label::Drop);
}

/// Continues behind this for an address that is not in the network.
fn unless_in(program: &mut Assembler, net: &IpNet, header: &Header, offset: u32, inside: Label) {
    if net.addr().is_ipv4() != header.is_ipv4 {
        return;
    }
    let other = program.label();
    let (address, mask) = (octets(net.network()), octets(net.netmask()));
    let words = address.chunks_exact(4).zip(mask.chunks_exact(4)).map(|(address, mask)| (word(address), word(mask)));
    for (number, (word, mask)) in words.enumerate().filter(|(_, (_, mask))| *mask != 0) {
        program.plain(LOAD_WORD, offset + 4 * number as u32);
        if mask != u32::MAX {
            program.plain(AND, mask);
        }
        program.is(word, Label::Next, other);
    }
    program.go(inside);
    program.place(other);
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::observe::flows::{Flows, MOST_FLOWS, Sighting};
    use crate::observe::kinds::{Kind, Verdict};
    use crate::observe::links::{Hardware, Link, Owner};
    use crate::observe::packet::tests::bytes;
    use crate::observe::packet::{Ends, ICMP, ICMPV6, UDP, decode};

    #[derive(Debug)]
    struct Frame {
        link: Index,
        outgoing: bool,
        tag: u16,
        to: Hardware,
        bytes: Vec<u8>,
    }

    /// Runs the program as the kernel does (Documentation/networking/filter.rst): the bytes to copy. A load outside of
    /// the packet ends it.
    fn run(program: &[Instruction], frame: &Frame) -> u32 {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0);
        loop {
            let Instruction { code, jump_true, jump_false, value } = program[at];
            let load = |offset: u32, size: usize| {
                let known = match offset {
                    PROTOCOL => Some(if frame.bytes[0] >> 4 == 4 { IPV4 } else { IPV6 }),
                    PACKET_TYPE => Some(if frame.outgoing { 4 } else { 0 }),
                    INTERFACE => Some(frame.link),
                    VLAN_TAG => Some(u32::from(frame.tag)),
                    LINK_LAYER..ANCILLARY => Some(word(&frame.to[(offset - LINK_LAYER) as usize..][..size])),
                    _ => None,
                };
                known.or_else(|| Some(word(frame.bytes.get(offset as usize..offset as usize + size)?)))
            };
            let loaded = match code {
                LOAD_WORD => load(value, 4),
                LOAD_HALF => load(value, 2),
                LOAD_BYTE => load(value, 1),
                LOAD_BYTE_AT_X => load(x + value, 1),
                _ => Some(a),
            };
            let Some(loaded) = loaded else { return 0 };
            a = loaded;
            let jump = |is_true: bool| usize::from(if is_true { jump_true } else { jump_false });
            at += 1 + match code {
                LOAD_X_HEADER => {
                    x = u32::from(frame.bytes[value as usize] & 15) * 4;
                    0
                }
                AND => {
                    a &= value;
                    0
                }
                JUMP => value as usize,
                JUMP_EQUAL => jump(a == value),
                JUMP_GREATER_EQUAL => jump(a >= value),
                JUMP_SET => jump(a & value != 0),
                RETURN => return value,
                _ => 0,
            };
        }
    }

    /// Addresses of two uplinks with networks, a LAN, and remote hosts.
    const POOL: [&str; 12] = [
        "192.0.2.10",
        "192.0.2.77",
        "198.51.100.10",
        "198.51.100.11",
        "203.0.113.2",
        "203.0.113.190",
        "10.0.0.5",
        "2001:db8:a::10",
        "2001:db8:a::99",
        "2001:db8:b::10",
        "2001:db8:c::2",
        "2001:db8:f::99",
    ];

    fn observed() -> Observed {
        let link = |index, name: &str, is_uplink| Link { index, name: name.into(), is_uplink };
        let links = vec![link(2, "eth0", true), link(3, "eth1", true), link(4, "eth2", false), link(5, "tun0", false)];
        let mut observed = Observed { links, ..Observed::default() };
        for (net, link) in [
            ("192.0.2.10/32", 2),
            ("192.0.2.0/24", 2),
            // An address of the other uplink inside this network.
            ("192.0.2.77/32", 3),
            ("198.51.100.10/32", 3),
            ("198.51.100.0/24", 3),
            // A network of both.
            ("198.51.100.11/32", 2),
            ("2001:db8:a::/64", 2),
            ("2001:db8:b::10/128", 3),
        ] {
            observed.owners.add(net.parse().unwrap(), link);
        }
        for owner in [2, 3] {
            for (link, net) in [(4, "203.0.113.0/26"), (4, "2001:db8:c::/64")] {
                observed.near.entry((owner, link)).or_default().push(net.parse().unwrap());
            }
        }
        observed.near.entry((3, 2)).or_default().push("10.0.0.0/8".parse().unwrap());
        observed
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let pair = any::<(bool, prop::sample::Index, prop::sample::Index)>().prop_map(|(is_ipv4, first, second)| {
            let pool = POOL.iter().map(|text| text.parse::<IpAddr>().unwrap());
            let pool: Vec<IpAddr> = pool.filter(|address| address.is_ipv4() == is_ipv4).collect();
            (*first.get(&pool), *second.get(&pool))
        });
        let port = || prop::sample::select(vec![22u16, 53, 4000, 40_000]);
        let protocol = prop::sample::select(vec![TCP, TCP, UDP, ICMP, 47]);
        (pair, protocol, port(), port(), any::<bool>(), 1..=6u32, any::<bool>(), 0..20u16).prop_map(
            |((source, destination), protocol, sport, dport, opens, link, outgoing, tag)| {
                let protocol = if protocol == ICMP && source.is_ipv6() { ICMPV6 } else { protocol };
                let bytes = bytes(Ends { protocol, source, destination, sport, dport }, opens);
                Frame { link, outgoing, tag: tag.saturating_sub(18), to: [0; 6], bytes }
            },
        )
    }

    /// The kinds of faults in these frames, of those that `accepts`.
    fn faults(frames: &[Frame], accepts: impl Fn(&Frame) -> bool) -> Vec<String> {
        let mut flows = Flows::new(observed(), MOST_FLOWS);
        for (now, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.tag == 0 && accepts(frame)) {
            let packet = decode(&frame.bytes).unwrap();
            flows.see(Sighting { link: frame.link, outgoing: frame.outgoing, packet: &packet, now: now as u64 });
        }
        flows.pass(10_000, true);
        let kinds = flows.kinds.take_changed().into_iter();
        // The filter hides whether TCP is answered, and packets of connections from a LAN or to networks that are no
        // uplink's.
        let observed = observed();
        let is_hidden = |kind: &Kind| {
            let is_foreign = |link: Index| observed.owner(kind.source, link) == Owner::None;
            let is_of_lan = kind.came_in.is_some_and(|link| !observed.is_uplink(link));
            let is_hidden = kind.verdict == Verdict::Unanswered || is_of_lan || kind.left.is_some_and(is_foreign);
            kind.protocol == TCP && is_hidden
        };
        let kinds = kinds.filter(|(kind, _)| !is_hidden(kind));
        let mut lines: Vec<String> = kinds.map(|kind| format!("{kind:?}")).collect();
        lines.sort();
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn hides_no_fault(frames in prop::collection::vec(frame(), 1..60)) {
            for program in [filter(&observed()), assemble(&observed(), false)] {
                prop_assert_eq!(faults(&frames, |frame| run(&program, frame) > 0), faults(&frames, |_| true));
            }
        }

        /// It jumps forward only, and not behind its end: otherwise the kernel rejects it.
        #[test]
        fn is_a_valid_program(nets in prop::collection::vec((any::<[u8; 16]>(), any::<bool>(), 0..=32u8, 0..9u32), 0..80)) {
            let mut observed = observed();
            for (octets, is_ipv4, length, link) in nets {
                let address = match is_ipv4 {
                    true => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
                    false => IpAddr::from(octets),
                };
                observed.owners.add(IpNet::new(address, length).unwrap().trunc(), link);
            }
            let program = filter(&observed);
            prop_assert!(program.len() <= MOST_INSTRUCTIONS);
            for (at, line) in program.iter().enumerate() {
                let jumps = match line.code {
                    JUMP => vec![line.value as usize],
                    JUMP_EQUAL | JUMP_GREATER_EQUAL | JUMP_SET => vec![line.jump_true.into(), line.jump_false.into()],
                    _ => vec![0],
                };
                prop_assert!(line.code == RETURN || jumps.iter().all(|jump| at + 1 + jump < program.len()));
            }
        }
    }

    /// Two gateways on one link: only what is sent to this one with a foreign source address.
    #[test]
    fn packets_to_the_wrong_gateway() {
        let hardware = [2, 0, 0, 0, 0, 1];
        let mut router = Router {
            link: 2,
            hardware,
            address: "192.0.2.1".parse().unwrap(),
            sources: [("192.0.2.0/24", false), ("198.51.100.0/24", true), ("192.0.2.77/32", true)]
                .map(|(net, is_other)| (net.parse().unwrap(), is_other))
                .into(),
            near: vec!["192.0.2.0/24".parse().unwrap()],
        };
        let program = router_filter(&router).unwrap();
        let copies = |link, outgoing, to: Hardware, source: &str, destination: &str| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let bytes = bytes(Ends { protocol: TCP, source, destination, sport: 22, dport: 4000 }, false);
            run(&program, &Frame { link, outgoing, tag: 0, to, bytes }) > 0
        };
        let remote = "203.0.113.190";
        assert!(copies(2, true, hardware, "198.51.100.10", remote));
        assert!(copies(2, true, hardware, "192.0.2.77", remote));
        assert!(!copies(2, true, hardware, "192.0.2.10", remote), "its own uplink");
        assert!(!copies(2, true, hardware, "203.0.113.2", remote), "an address of no uplink");
        assert!(!copies(2, true, hardware, "198.51.100.10", "192.0.2.1"), "to the gateway itself");
        assert!(!copies(2, true, [2, 0, 0, 0, 0, 2], "198.51.100.10", remote), "the other gateway");
        assert!(!copies(3, true, hardware, "198.51.100.10", remote), "another link");
        assert!(!copies(2, false, hardware, "198.51.100.10", remote), "received");
        assert!(!copies(2, true, hardware, "2001:db8:b::10", "2001:db8:f::99"), "another family");
        router.near.extend((0..=255u8).flat_map(|a| (0..5).map(move |b| IpNet::from(IpAddr::from([10, a, b, 1])))));
        assert_eq!(router_filter(&router), None, "more networks than the kernel takes");
    }

    #[test]
    fn established_connections_are_not_copied() {
        let program = filter(&observed());
        let copies = |link, outgoing, source: &str, destination: &str, opens, tag| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let bytes = bytes(Ends { protocol: TCP, source, destination, sport: 22, dport: 4000 }, opens);
            run(&program, &Frame { link, outgoing, tag, to: [0; 6], bytes }) > 0
        };
        assert!(!copies(2, true, "192.0.2.10", "203.0.113.190", false, 0));
        assert!(!copies(2, false, "203.0.113.190", "192.0.2.10", false, 0));
        assert!(!copies(3, true, "2001:db8:b::10", "2001:db8:f::99", false, 0));
        assert!(copies(2, true, "192.0.2.10", "203.0.113.190", true, 0));
        assert!(copies(2, true, "198.51.100.10", "203.0.113.190", false, 0));
        assert!(copies(2, true, "192.0.2.77", "203.0.113.190", false, 0));
        assert!(!copies(2, true, "198.51.100.10", "203.0.113.190", false, 7), "of a VLAN");
        assert!(copies(2, true, "198.51.100.10", "203.0.113.190", false, 0xe000), "with a priority only");
        assert!(!copies(6, true, "198.51.100.10", "203.0.113.190", true, 0), "an interface that is not observed");
        assert!(!copies(4, true, "198.51.100.10", "203.0.113.2", false, 0), "to the LAN");
        assert!(copies(5, true, "198.51.100.10", "203.0.113.190", false, 0), "into a VPN");
    }
}
