//! Netlink messages as bytes (netlink(7), rtnetlink(7)): bounded reading of replies, and writing of requests. Pure.
//! `message` gives the attributes their meaning, `socket` sends and receives.
//!
//! Only the attributes that symroute needs are read; any other attribute, and any value in it, is skipped. What is
//! needed and cannot be read is an error: an interface that is not read must not pass for one that does not exist.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};

/// The length of `struct nlmsghdr`.
const MESSAGE_HEADER: usize = 16;
/// The length of `struct rtattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// Messages and attributes begin at multiples of this (`NLMSG_ALIGNTO`, `RTA_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// The other bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

/// One message of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// The netlink port of the process that made the change; 0 is the kernel.
    pub port: u32,
    pub body: &'a [u8],
}

/// The first message of a datagram, and the rest of the datagram.
pub(crate) fn first_message(datagram: &[u8]) -> Result<(Message<'_>, &[u8])> {
    let Some(header) = datagram.first_chunk::<MESSAGE_HEADER>() else { bail!("its header is cut off") };
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let Some(body) = datagram.get(MESSAGE_HEADER..length) else {
        bail!("its length is {length}, with {} bytes received", datagram.len());
    };
    let message = Message {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        port: u32::from_ne_bytes([p0, p1, p2, p3]),
        body,
    };
    Ok((message, after(datagram, length)))
}

/// What follows `length` bytes and their padding. The last padding of a datagram may be missing.
pub(crate) fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default()
}

impl Message<'_> {
    /// The error number of `NLMSG_ERROR` and `NLMSG_DONE`: 0 for success.
    pub(crate) fn error(&self) -> Result<i32> {
        let code = self.body.first_chunk().map(|code| i32::from_ne_bytes(*code));
        match code.context("its error number is cut off")? {
            code @ ..=0 => Ok(code.saturating_neg()),
            code => bail!("its error number is {code}"),
        }
    }
}

/// The fixed part of a message's body, and the attributes after it.
pub(crate) fn split<const N: usize>(body: &[u8]) -> Result<(&[u8; N], Attributes<'_>)> {
    let (header, attributes) = body.split_first_chunk().context("its header is cut off")?;
    Ok((header, Attributes(attributes)))
}

/// A run of attributes. After an error there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub kind: u16,
    pub value: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes(bytes)
    }
}

/// What is wrong with the next attribute; nothing at the end.
#[cold]
fn cut_off(bytes: &[u8]) -> Option<anyhow::Error> {
    let Some(&[l0, l1, k0, k1]) = bytes.first_chunk::<ATTRIBUTE_HEADER>() else {
        return (!bytes.is_empty()).then(|| anyhow::anyhow!("an attribute is cut off"));
    };
    let (length, kind) = (u16::from_ne_bytes([l0, l1]), u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK);
    let left = bytes.len();
    Some(anyhow::anyhow!("the length of attribute {kind} is {length}, with {left} bytes left"))
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>>;

    // An interface has forty attributes: a call for each would take longer than to read them.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        let Some(&[l0, l1, k0, k1]) = bytes.first_chunk::<ATTRIBUTE_HEADER>() else { return cut_off(bytes).map(Err) };
        let (length, kind) = (u16::from_ne_bytes([l0, l1]).into(), u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK);
        let Some(value) = bytes.get(ATTRIBUTE_HEADER..length) else { return cut_off(bytes).map(Err) };
        self.0 = after(bytes, length);
        Some(Ok(Attribute { kind, value }))
    }
}

impl<'a> Attribute<'a> {
    pub(crate) fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }

    #[inline(always)]
    pub(crate) fn array<const N: usize>(&self) -> Result<[u8; N]> {
        match self.value.try_into() {
            Ok(array) => Ok(array),
            Err(_) => Err(self.wrong_length(N)),
        }
    }

    #[cold]
    fn wrong_length(&self, expected: usize) -> anyhow::Error {
        let Attribute { kind, value } = self;
        anyhow::anyhow!("attribute {kind} has {} bytes instead of {expected}", value.len())
    }

    pub(crate) fn u8(&self) -> Result<u8> {
        self.array().map(u8::from_ne_bytes)
    }

    pub(crate) fn u32(&self) -> Result<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    /// An address of the family of its message.
    pub(crate) fn address(&self, family: u8) -> Result<IpAddr> {
        match family {
            AF_INET6 => self.array::<16>().map(|bytes| Ipv6Addr::from(bytes).into()),
            _ => self.array::<4>().map(|bytes| Ipv4Addr::from(bytes).into()),
        }
    }

    /// `struct rtvia`: a family of its own and an address. Nothing for families other than IPv4 and IPv6.
    pub(crate) fn via(&self) -> Result<Option<IpAddr>> {
        let Some(([f0, f1], value)) = self.value.split_first_chunk() else {
            bail!("attribute {} has {} bytes", self.kind, self.value.len());
        };
        match u8::try_from(u16::from_ne_bytes([*f0, *f1])) {
            Ok(family @ (AF_INET | AF_INET6)) => Attribute { value, ..*self }.address(family).map(Some),
            _ => Ok(None),
        }
    }

    /// The name of an interface.
    pub(crate) fn name(&self) -> Result<String> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        let name = &self.value[..end];
        ensure!(!name.is_empty(), "attribute {} has no name in it", self.kind);
        Ok(name_text(name))
    }
}

/// An interface's name as text. The kernel takes nearly any bytes: those that are not UTF-8 become `\xHH`, and a `\x`
/// of the name itself becomes `\x5cx`, so that two names never give the same text.
pub(crate) fn name_text(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !name.contains(&b'\\') => text.to_string(),
        _ => escaped(name),
    }
}

fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(&chunk.valid().replace("\\x", "\\x5cx"));
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The name that [`name_text`] made `text` of.
pub(crate) fn name_bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut name = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                name.push(byte);
                name.extend(&part.as_bytes()[2..]);
            }
            None => {
                name.extend(b"\\x");
                name.extend(part.as_bytes());
            }
        }
    }
    name
}

/// A run of attributes to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attached {
    bytes: Vec<u8>,
    /// An attribute does not fit its 16 bits of length.
    too_long: bool,
}

impl Attached {
    pub(crate) fn add(&mut self, kind: u16, value: &[u8]) {
        let length = ATTRIBUTE_HEADER + value.len();
        match u16::try_from(length) {
            Ok(length) => {
                self.bytes.extend_from_slice(&length.to_ne_bytes());
                self.bytes.extend_from_slice(&kind.to_ne_bytes());
            }
            Err(_) => self.too_long = true,
        }
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(crate) fn add_u32(&mut self, kind: u16, value: u32) {
        self.add(kind, &value.to_ne_bytes());
    }

    pub(crate) fn add_address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.add(kind, &address.octets()),
            IpAddr::V6(address) => self.add(kind, &address.octets()),
        }
    }

    /// Of another family than its message's: `struct rtvia`.
    pub(crate) fn add_via(&mut self, kind: u16, address: IpAddr) {
        let family = u16::from(if address.is_ipv6() { AF_INET6 } else { AF_INET });
        self.add(kind, &[&family.to_ne_bytes(), &octets(address)[..]].concat());
    }

    pub(crate) fn add_name(&mut self, kind: u16, name: &str) {
        let mut bytes = name_bytes(name);
        bytes.push(0);
        self.add(kind, &bytes);
    }

    /// `struct rtnexthop`, with attributes of its own.
    pub(crate) fn add_nexthop(&mut self, flags: u8, hops: u8, index: u32, attributes: &Attached) {
        // An address or two and a name: it always fits.
        let length = (8 + attributes.bytes.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend([flags, hops]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(&attributes.bytes);
        self.pad();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The attributes of most messages fit into this number of bytes.
const ATTRIBUTES: usize = 96;

/// One message to the kernel.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub kind: u16,
    header: Vec<u8>,
    pub attributes: Attached,
}

impl Request {
    /// `header` is the fixed part of the body.
    pub(crate) fn new(kind: u16, header: &[u8]) -> Request {
        let attributes = Attached { bytes: Vec::with_capacity(ATTRIBUTES), too_long: false };
        Request { kind, header: header.to_vec(), attributes }
    }

    /// The type of the replies, where there are any: `RTM_NEWLINK` is 16, `RTM_GETLINK` is 18, and so on by fours.
    pub(crate) fn reply(&self) -> Option<u16> {
        (self.kind % 4 == 2).then(|| self.kind - 2)
    }

    /// `RTM_DELLINK` is 17, and so on by fours.
    pub(crate) fn is_deletion(&self) -> bool {
        self.kind % 4 == 1
    }

    #[cfg(test)]
    pub(crate) fn body(&self) -> Vec<u8> {
        [&self.header[..], self.attributes.bytes()].concat()
    }

    /// # Errors
    /// When it does not fit the lengths of netlink.
    pub(crate) fn serialize(&self, flags: u16, sequence: u32) -> Result<Vec<u8>> {
        let length = u32::try_from(MESSAGE_HEADER + self.header.len() + self.attributes.bytes.len());
        let Some(length) = length.ok().filter(|_| !self.attributes.too_long) else {
            bail!("the request is too long for netlink");
        };
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        // The port is for the kernel to know.
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.header);
        bytes.extend_from_slice(self.attributes.bytes());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_any_bytes() {
        let texts: [(&[u8], &str); 5] = [
            (b"eth0", "eth0"),
            (b"B\xfcro", "B\\xfcro"),
            ("B\u{fc}ro".as_bytes(), "B\u{fc}ro"),
            (b"a\\x41", "a\\x5cx41"),
            (b"a\\", "a\\"),
        ];
        for (name, text) in texts {
            assert_eq!((name_text(name), name_bytes(text)), (text.into(), name.to_vec()));
        }
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let mut request = Request::new(24, &[0; 12]);
        request.attributes.add(9, &[1; 0xffff - 4]);
        assert_eq!(request.serialize(1, 1).unwrap().len(), 16 + 12 + 0x1_0000);
        request.attributes.add(9, &[1; 0xffff - 3]);
        assert_eq!(request.serialize(1, 1).unwrap_err().to_string(), "the request is too long for netlink");
    }

    proptest! {
        #[test]
        fn any_name_is_given_back(
            name in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x'), Just(b'4')], 0..20)
        ) {
            prop_assert_eq!(name_bytes(&name_text(&name)), name);
        }

        #[test]
        fn attributes_are_given_back(
            values in prop::collection::vec((0..NLA_TYPE_MASK, prop::collection::vec(any::<u8>(), 0..40)), 0..10)
        ) {
            let mut attached = Attached::default();
            for (kind, value) in &values {
                attached.add(*kind, value);
            }
            prop_assert_eq!(attached.bytes().len() % ALIGNMENT, 0);
            let read = Attributes(attached.bytes()).map(|attribute| {
                let Attribute { kind, value } = attribute.unwrap();
                (kind, value.to_vec())
            });
            prop_assert_eq!(read.collect::<Vec<_>>(), values);
        }

        /// Whatever the bytes: no panic, an end, and no byte read twice.
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..20u8], 0..200)) {
            let mut rest = &bytes[..];
            while let Ok((message, after)) = first_message(rest) {
                prop_assert!(after.len() + MESSAGE_HEADER <= rest.len());
                let _ = message.error();
                rest = after;
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len().div_ceil(ATTRIBUTE_HEADER));
            for attribute in Attributes(&bytes).flatten() {
                let _ = (attribute.u8(), attribute.u32(), attribute.via(), attribute.name(), attribute.address(AF_INET6));
                let _ = attribute.nested().count();
            }
        }
    }
}
