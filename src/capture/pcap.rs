//! The packets with a fault as a pcapng file (draft-ietf-opsawg-pcapng): each link is an interface of the file. Instead
//! of an Ethernet header, packets have one with the link and the direction.

use std::io::{self, Write};
use std::time::Duration;

use crate::observe::filter::{OUTGOING, SNAP, TO_HOST};
use crate::observe::links::{Index, Link};

/// LINKTYPE_LINUX_SLL2. libpcap reads no second interface of the type LINKTYPE_RAW.
const SLL2: u16 = 276;
/// The length of its header.
const HEADER: usize = 20;
/// ARPHRD_NONE (linux/if_arp.h): the address of the sender is not in the header.
const NO_ADDRESS: u16 = 0xfffe;
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Options: the end, an interface's name, the unit of its times (10 to the power of -n), a packet's direction.
const END: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const NANOSECONDS: u8 = 9;

/// The most bytes that a block with one packet has.
const BLOCK: usize = SNAP as usize + HEADER + 64;

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(0);
    out.extend(code.to_ne_bytes());
    out.extend(length.to_ne_bytes());
    padded(out, &value[..usize::from(length)]);
}

/// A block has its length at both ends.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_ne_bytes();
    [&kind.to_ne_bytes(), &length, body, &length].concat()
}

/// The head of the file.
pub fn head(links: &[Link]) -> Vec<u8> {
    // The byte order, version 1.0, and an unknown length.
    let section =
        [&0x1a2b_3c4du32.to_ne_bytes()[..], &1u16.to_ne_bytes(), &0u16.to_ne_bytes(), &u64::MAX.to_ne_bytes()].concat();
    let mut out = block(SECTION, &section);
    for link in links {
        let mut body = [&SLL2.to_ne_bytes()[..], &[0, 0], &(SNAP + HEADER as u32).to_ne_bytes()].concat();
        option(&mut body, IF_NAME, link.name.as_bytes());
        option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
        option(&mut body, END, &[]);
        out.extend(block(INTERFACE, &body));
    }
    out
}

/// A packet, from its IP header on.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The place of its link in the head.
    pub place: usize,
    pub link: Index,
    pub outgoing: bool,
    pub time: Duration,
    pub bytes: &'a [u8],
    /// Of the whole packet.
    pub length: u32,
}

pub fn packet(written: Written) -> Vec<u8> {
    let Written { place, link, outgoing, time, bytes, length } = written;
    let time = u64::try_from(time.as_nanos()).unwrap_or(0);
    let place = u32::try_from(place).unwrap_or(0);
    let captured = bytes.len() as u32;
    let lengths = [captured, length.max(captured)].map(|length| length + HEADER as u32);
    let mut body = Vec::with_capacity(BLOCK);
    for number in [place, (time >> 32) as u32, time as u32].into_iter().chain(lengths) {
        body.extend(number.to_ne_bytes());
    }
    let protocol: u16 = if bytes.first().is_some_and(|first| first >> 4 == 6) { 0x86dd } else { 0x0800 };
    body.extend(protocol.to_be_bytes());
    body.extend([0, 0]);
    body.extend(link.to_be_bytes());
    body.extend(NO_ADDRESS.to_be_bytes());
    body.extend([if outgoing { OUTGOING } else { TO_HOST }, 0]);
    body.extend([0; 8]);
    padded(&mut body, bytes);
    option(&mut body, EPB_FLAGS, &(1 + u32::from(outgoing)).to_ne_bytes());
    option(&mut body, END, &[]);
    block(ENHANCED_PACKET, &body)
}

/// Writes to the file until that fails once.
pub struct PcapFile<W> {
    out: Option<W>,
}

impl<W: Write> PcapFile<W> {
    pub fn new(out: Option<W>) -> Self {
        PcapFile { out }
    }

    /// # Errors
    /// The first failure; nothing is written after it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let result = out.write_all(bytes);
        if result.is_err() {
            self.out = None;
        }
        result
    }

    /// # Errors
    /// As [`PcapFile::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }

    pub fn is_open(&self) -> bool {
        self.out.is_some()
    }
}
