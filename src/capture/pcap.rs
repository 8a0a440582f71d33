//! The packets with a fault as a pcapng file (draft-ietf-opsawg-pcapng): each link is an interface of the file, packets
//! begin with their IP header.

use std::io::{self, Write};
use std::time::Duration;

use crate::observe::filter::SNAP;
use crate::observe::links::Link;

/// Packets that begin with an IPv4 or IPv6 header (LINKTYPE_RAW).
const RAW: u16 = 101;
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
const BLOCK: usize = SNAP as usize + 64;

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
        let mut body = [&RAW.to_ne_bytes()[..], &[0, 0], &SNAP.to_ne_bytes()].concat();
        option(&mut body, IF_NAME, link.name.as_bytes());
        option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
        option(&mut body, END, &[]);
        out.extend(block(INTERFACE, &body));
    }
    out
}

/// A packet of the link with this place in the head. `length` is that of the whole packet.
pub fn packet(place: usize, outgoing: bool, time: Duration, bytes: &[u8], length: u32) -> Vec<u8> {
    let time = u64::try_from(time.as_nanos()).unwrap_or(0);
    let place = u32::try_from(place).unwrap_or(0);
    let captured = bytes.len() as u32;
    let numbers = [place, (time >> 32) as u32, time as u32, captured, length.max(captured)];
    let mut body = Vec::with_capacity(BLOCK);
    numbers.iter().for_each(|number| body.extend(number.to_ne_bytes()));
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
