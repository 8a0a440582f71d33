//! Any bytes as packets, in any order, on any interface: nothing panics, the flow table stays within its limit, and the
//! lines about it are read as they were written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symroute::observe::flows::{Flows, Sighting};
use symroute::observe::kinds::{MOST_KINDS, Verdict};
use symroute::observe::lines::{Event, LONGEST, Order};
use symroute::observe::packet::decode;

const ORDER: &str = "link 2 1 eth0
link 3 1 eth1
link 4 0 tun0
owner 192.0.2.0/24 2
owner 198.51.100.10/32 3
owner 2001:db8:a::/64 2
owner 2001:db8:b::/64 3
near 2 4 203.0.113.0/26
go";
const MOST: usize = 50;

fuzz_target!(|bytes: &[u8]| {
    let mut order = Order::default();
    assert!(ORDER.lines().map(|line| order.read(line)).all(|read| read.is_some()));
    let mut flows = Flows::new(order.observed, MOST);
    let (mut rest, mut now) = (bytes, 1_000_000);
    // A byte for the interface and the direction, one for the time, one for the length.
    while let [place, time, length, after @ ..] = rest {
        let (frame, after) = after.split_at((*length as usize).min(after.len()));
        rest = after;
        now += u64::from(*time) * 40;
        if let Some(packet) = decode(frame) {
            let (link, outgoing) = (u32::from(place & 7), place & 8 != 0);
            let sighting = Sighting { link, outgoing, packet: &packet, now };
            flows.see(sighting);
            if outgoing && place & 16 != 0 {
                flows.see_at_router(sighting, packet.ends.destination);
            }
        }
        if time % 8 == 0 {
            flows.pass(now, false);
        }
        assert!(flows.len() <= MOST);
    }
    flows.pass(now, true);
    let kinds = flows.kinds.take_changed();
    assert!(kinds.len() <= MOST_KINDS * Verdict::ALL.len());
    for (kind, count) in kinds {
        let line = Event::Kind(kind, count).to_string();
        assert!(line.len() < LONGEST);
        assert_eq!(Event::read(&line), Some(Event::Kind(kind, count)));
    }
    // The same bytes as a line of the capture program, and of the order.
    let text = String::from_utf8_lossy(bytes);
    let _ = (Event::read(&text), Order::default().read(&text));
});
