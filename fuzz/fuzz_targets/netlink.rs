//! Reading any bytes instead of the kernel's replies does not panic. A snapshot has every interface, rule and route in
//! the bytes. The seed is a recording of a kernel (tests/fixtures/snapshot.netlink).
#![no_main]

use libfuzzer_sys::fuzz_target;
use symroute::netlink::{Socket, snapshot};

const INTERRUPTED: u16 = 0x10;
const CLONED: u32 = 0x200;

struct Message {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
    /// The bytes from the beginning of its datagram to the end of the recording.
    datagram: usize,
}

/// The messages, read in the simplest way. Nothing if one is cut off.
fn messages(mut recorded: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    while recorded.len() >= 4 {
        let number = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = (number(recorded, 0) as usize).min(recorded.len() - 4);
        let from = recorded.len();
        let mut datagram = &recorded[4..4 + length];
        recorded = &recorded[4 + length..];
        while !datagram.is_empty() {
            let size = (datagram.len() >= 16).then(|| number(datagram, 0) as usize)?;
            let message = datagram.get(..size).filter(|_| size >= 16)?;
            messages.push(Message {
                kind: number(message, 4) as u16,
                flags: (number(message, 4) >> 16) as u16,
                sequence: number(message, 8),
                body: message[16..].to_vec(),
                datagram: from,
            });
            datagram = &datagram[size.next_multiple_of(4).min(datagram.len())..];
        }
    }
    Some(messages)
}

fuzz_target!(|recorded: &[u8]| {
    let Ok(snapshot) = snapshot(&mut Socket::recorded(recorded)) else { return };
    // Bytes after the last list are not read, and may be incomplete.
    let Some(messages) = messages(recorded) else { return };
    // A reply to an earlier request is skipped.
    let mut request = 1;
    let mut is_old = |message: &Message| {
        let is_old = message.sequence < request;
        // NLMSG_ERROR is 2, NLMSG_DONE is 3.
        request += u32::from(!is_old && matches!(message.kind, 2 | 3));
        is_old
    };
    let messages: Vec<Message> = messages.into_iter().filter(|message| !is_old(message)).collect();
    // NLMSG_OVERRUN is 4. The lists are then requested again.
    if messages.iter().any(|message| message.kind == 4 || message.flags & INTERRUPTED != 0) {
        return;
    }
    // A list of rules in several parts is requested again, too, to confirm it.
    let mut rules =
        messages.iter().filter(|message| message.kind == 32).map(|message| (message.sequence, message.datagram));
    let first = rules.clone().collect::<std::collections::BTreeMap<u32, usize>>();
    if rules.any(|(sequence, datagram)| first[&sequence] != datagram) {
        return;
    }
    let count = |kind: u16, sequences: [u32; 2], belongs: &dyn Fn(&Message) -> bool| {
        let of_list = |message: &&Message| message.kind == kind && sequences.contains(&message.sequence);
        messages.iter().filter(of_list).filter(|message| belongs(message)).count()
    };
    assert_eq!(count(16, [1, 1], &|_| true), snapshot.links.len());
    assert_eq!(count(32, [3, 4], &|_| true), snapshot.rules.len());
    let routes = count(24, [5, 6], &|message| {
        let family = if message.sequence == 5 { 2 } else { 10 };
        let flags = u32::from_ne_bytes(message.body[8..12].try_into().unwrap());
        message.body[0] == family && flags & CLONED == 0
    });
    assert_eq!(routes, snapshot.routes.len());
});
