//! What the flow table says of sequences of packets.

use proptest::prelude::*;

use super::*;
use crate::observe::kinds::{Count, MOST_KINDS};
use crate::observe::lines::Event;
use crate::observe::links::Router;
use crate::observe::packet::decode;

const A: &str = "192.0.2.10";
const B: &str = "198.51.100.10";
const REMOTE: &str = "203.0.113.190";
const LAN: &str = "203.0.113.2";
const ETH0: Index = 2;
const ETH1: Index = 3;
const ETH2: Index = 4;

/// A host with two uplinks and a LAN.
struct Host {
    flows: Flows,
    now: Time,
}

impl Host {
    fn new(most: usize) -> Host {
        let link = |index, name: &str, is_uplink| Link { index, name: name.into(), is_uplink };
        let links = vec![link(ETH0, "eth0", true), link(ETH1, "eth1", true), link(ETH2, "eth2", false)];
        let mut observed = Observed { links, ..Observed::default() };
        for (net, link) in [("192.0.2.0/24", ETH0), ("198.51.100.0/24", ETH1)] {
            observed.owners.add(net.parse().unwrap(), link);
            observed.near.insert((link, ETH2), vec!["203.0.113.0/26".parse().unwrap()]);
        }
        Host { flows: Flows::new(observed, most), now: 1_000_000 }
    }

    fn see(
        &mut self,
        link: Index,
        outgoing: bool,
        role: Role,
        protocol: u8,
        from: (&str, u16),
        to: (&str, u16),
    ) -> bool {
        let (source, destination) = (from.0.parse().unwrap(), to.0.parse().unwrap());
        let ends = Ends { protocol, source, destination, sport: from.1, dport: to.1 };
        let packet = Packet { ends, role, fragment: None, length: 60 };
        self.now += 1;
        self.flows.see(Sighting { link, outgoing, packet: &packet, now: self.now })
    }

    fn asks(&mut self, link: Index, role: Role, protocol: u8, from: (&str, u16), to: (&str, u16)) -> bool {
        self.see(link, false, role, protocol, from, to)
    }

    fn replies(&mut self, link: Index, role: Role, protocol: u8, from: (&str, u16), to: (&str, u16)) -> bool {
        self.see(link, true, role, protocol, from, to)
    }

    fn wait(&mut self, time: Time) {
        self.now += time;
        self.flows.pass(self.now, false);
    }

    /// `VERDICT IN>OUT ADDRESS:PORT FLOWS/PACKETS`.
    fn kinds(&mut self) -> Vec<String> {
        let link = |link: Option<Index>| link.map_or("-".into(), |link| link.to_string());
        let line = |(kind, count): (Kind, Count)| {
            let source = if kind.source == kind.local { String::new() } else { format!(" from {}", kind.source) };
            format!(
                "{} {}>{} {}:{}{source} {}/{}",
                kind.verdict.id(),
                link(kind.came_in),
                link(kind.left),
                kind.local,
                kind.port,
                count.flows,
                count.packets
            )
        };
        let mut lines: Vec<String> = self.flows.kinds.take_changed().into_iter().map(line).collect();
        lines.sort();
        lines
    }
}

#[test]
fn replies_through_each_link() {
    let mut host = Host::new(100);
    for (at, link) in [(1, ETH1), (2, ETH1), (3, ETH0)] {
        host.asks(ETH1, Role::Opens, TCP, (REMOTE, 4000 + at), (B, 22));
        assert_eq!(host.replies(link, Role::Continues, TCP, (B, 22), (REMOTE, 4000 + at)), link == ETH0);
    }
    assert!(host.replies(ETH0, Role::Continues, TCP, (B, 22), (REMOTE, 4003)));
    assert_eq!(host.kinds(), ["answered-elsewhere 3>2 198.51.100.10:22 1/2"]);
    let count = LinkCount { came_in: 3, answered_here: 2, answered_elsewhere: 1, unanswered: 0 };
    assert_eq!(host.flows.links[&ETH1], count);
    // A connection whose replies leave elsewhere only later.
    assert!(host.replies(ETH0, Role::Continues, TCP, (B, 22), (REMOTE, 4001)));
    let count = LinkCount { came_in: 3, answered_here: 1, answered_elsewhere: 2, unanswered: 0 };
    assert_eq!(host.flows.links[&ETH1], count);
}

#[test]
fn packets_without_a_beginning_are_judged_by_their_addresses() {
    let mut host = Host::new(100);
    assert!(!host.replies(ETH1, Role::Continues, TCP, (B, 22), (REMOTE, 4000)));
    assert!(!host.asks(ETH1, Role::Continues, TCP, (REMOTE, 4000), (B, 22)));
    assert!(host.replies(ETH0, Role::Continues, TCP, (B, 22), (REMOTE, 4000)));
    assert!(host.asks(ETH0, Role::Continues, TCP, (REMOTE, 4001), (B, 22)));
    assert!(!host.replies(ETH2, Role::Continues, TCP, (B, 22), (LAN, 4000)), "a LAN");
    assert_eq!(
        host.kinds(),
        ["arrived-elsewhere 2>- 198.51.100.10:22 0/1", "foreign-source-sent ->2 198.51.100.10:22 1/1"]
    );
}

#[test]
fn a_reply_from_another_address() {
    let mut host = Host::new(100);
    host.asks(ETH1, Role::Any, UDP, (REMOTE, 4000), (B, 53));
    assert!(host.replies(ETH0, Role::Any, UDP, (A, 53), (REMOTE, 4000)));
    assert!(host.replies(ETH0, Role::Any, UDP, (A, 53), (REMOTE, 4000)));
    assert!(host.kinds().is_empty(), "the right reply may follow");
    host.wait(LATE);
    assert_eq!(host.kinds(), ["answered-elsewhere 3>2 198.51.100.10:53 from 192.0.2.10 1/2"]);
    assert!(host.replies(ETH0, Role::Any, UDP, (A, 53), (REMOTE, 4000)));
    assert_eq!(host.kinds(), ["answered-elsewhere 3>2 198.51.100.10:53 from 192.0.2.10 1/3"]);
    assert_eq!(host.flows.links[&ETH1].unanswered, 0);
}

#[test]
fn replies_to_the_wrong_gateway() {
    let mut host = Host::new(100);
    let strays = |host: &mut Host, role, port| {
        let (source, destination) = (B.parse().unwrap(), REMOTE.parse().unwrap());
        let packet = Packet {
            ends: Ends { protocol: TCP, source, destination, sport: port, dport: 4000 },
            role,
            fragment: None,
            length: 60,
        };
        let sighting = Sighting { link: ETH1, outgoing: true, packet: &packet, now: host.now };
        // The socket for all links delivers it as well: its link has the address.
        host.flows.see(sighting) || host.flows.see_at_router(sighting, "198.51.100.2".parse().unwrap())
    };
    host.asks(ETH1, Role::Opens, TCP, (REMOTE, 4000), (B, 22));
    assert!(strays(&mut host, Role::Continues, 22));
    assert!(strays(&mut host, Role::Opens, 5000));
    assert!(!strays(&mut host, Role::OnLink, 22));
    assert_eq!(
        host.kinds(),
        ["answered-elsewhere 3>3 198.51.100.10:22 1/1", "foreign-source-sent ->3 198.51.100.10:4000 1/1"]
    );
    let count = LinkCount { came_in: 1, answered_here: 0, answered_elsewhere: 1, unanswered: 0 };
    assert_eq!(host.flows.links[&ETH1], count);
}

/// Two uplinks on one link: the source address tells which of them the reply uses.
#[test]
fn a_reply_from_another_address_of_the_link() {
    let mut host = Host::new(100);
    let sources = [("198.51.100.10/32", false), ("198.51.100.0/24", false), ("198.51.100.128/25", true)];
    host.flows.observed.routers.push(Router {
        link: ETH1,
        hardware: [2; 6],
        address: "198.51.100.1".parse().unwrap(),
        sources: sources.map(|(net, is_other)| (net.parse().unwrap(), is_other)).into(),
        near: Vec::new(),
    });
    for (port, source) in [(4000, "198.51.100.200"), (4001, "198.51.100.11"), (4002, B)] {
        host.asks(ETH1, Role::Any, UDP, (REMOTE, port), (B, 53));
        assert_eq!(host.replies(ETH1, Role::Any, UDP, (source, 53), (REMOTE, port)), source == "198.51.100.200");
    }
    host.wait(LATE);
    assert_eq!(
        host.kinds(),
        ["answered-elsewhere 3>3 198.51.100.10:53 from 198.51.100.200 1/1", "unanswered 3>- 198.51.100.10:53 1/1"]
    );
}

/// NTP peers use one port to send and to serve.
#[test]
fn a_query_of_the_host_is_no_reply() {
    let mut host = Host::new(100);
    host.asks(ETH1, Role::Any, UDP, (REMOTE, 123), (B, 123));
    host.replies(ETH0, Role::Any, UDP, (A, 123), (REMOTE, 123));
    assert!(!host.replies(ETH1, Role::Any, UDP, (B, 123), (REMOTE, 123)));
    host.wait(LATE);
    assert!(host.kinds().is_empty());
}

#[test]
fn no_reply_and_a_late_one() {
    let mut host = Host::new(100);
    host.asks(ETH0, Role::Any, UDP, (REMOTE, 4000), (A, 53));
    host.asks(ETH0, Role::Opens, TCP, (REMOTE, 4000), (A, 22));
    host.wait(LATE);
    assert_eq!(host.kinds(), ["unanswered 2>- 192.0.2.10:22 1/1", "unanswered 2>- 192.0.2.10:53 1/1"]);
    assert!(!host.replies(ETH0, Role::Any, UDP, (A, 53), (REMOTE, 4000)));
    assert_eq!(host.kinds(), ["unanswered 2>- 192.0.2.10:53 0/0"]);
    let count = LinkCount { came_in: 2, answered_here: 1, answered_elsewhere: 0, unanswered: 1 };
    assert_eq!(host.flows.links[&ETH0], count);
}

/// Flows to addresses that no uplink has are not counted as unanswered, so a late reply changes no count.
#[test]
fn a_late_reply_of_a_routed_host() {
    let mut host = Host::new(100);
    host.asks(ETH0, Role::Any, UDP, (REMOTE, 4000), (A, 53));
    host.asks(ETH0, Role::Any, UDP, (REMOTE, 4001), ("203.0.113.70", 53));
    host.wait(LATE);
    assert!(!host.replies(ETH0, Role::Any, UDP, ("203.0.113.70", 53), (REMOTE, 4001)));
    let count = LinkCount { came_in: 2, answered_here: 1, answered_elsewhere: 0, unanswered: 1 };
    assert_eq!(host.flows.links[&ETH0], count);
}

/// A port that is closed: the error is the reply.
#[test]
fn errors_are_replies() {
    let mut host = Host::new(100);
    let request = |port| Ends {
        protocol: UDP,
        source: REMOTE.parse().unwrap(),
        destination: B.parse().unwrap(),
        sport: port,
        dport: 9,
    };
    for port in [4000, 4001] {
        host.asks(ETH1, Role::Any, UDP, (REMOTE, port), (B, 9));
    }
    assert!(!host.replies(ETH1, Role::Error(Some(request(4000))), 1, (B, 0), (REMOTE, 0)));
    assert!(host.replies(ETH0, Role::Error(Some(request(4001))), 1, (B, 0), (REMOTE, 0)));
    assert!(!host.replies(ETH0, Role::Error(None), 1, (A, 0), (REMOTE, 0)));
    assert!(host.replies(ETH0, Role::Error(None), 1, (B, 0), (REMOTE, 0)));
    host.wait(LATE);
    assert_eq!(
        host.kinds(),
        ["answered-elsewhere 3>2 198.51.100.10:0 1/1", "foreign-source-sent ->2 198.51.100.10:0 0/1"]
    );
}

/// A scan of many ports is one kind of flow. A connection that is reset later keeps its port.
#[test]
fn closed_ports_are_one_kind() {
    let mut host = Host::new(100);
    for port in 1..=30 {
        for _ in 0..2 {
            host.asks(ETH1, Role::Opens, TCP, (REMOTE, 4000), (B, port));
            assert!(host.replies(ETH0, Role::Refuses, TCP, (B, port), (REMOTE, 4000)));
        }
    }
    host.asks(ETH1, Role::Opens, TCP, (REMOTE, 5000), (B, 22));
    assert!(host.replies(ETH0, Role::Continues, TCP, (B, 22), (REMOTE, 5000)));
    assert!(host.replies(ETH0, Role::Refuses, TCP, (B, 22), (REMOTE, 5000)));
    assert_eq!(
        host.kinds(),
        ["answered-elsewhere 3>2 198.51.100.10:0 30/60", "answered-elsewhere 3>2 198.51.100.10:22 1/2"]
    );
}

#[test]
fn a_lan_client_with_the_articles_rule() {
    let mut host = Host::new(100);
    host.asks(ETH2, Role::Opens, TCP, (LAN, 4000), (B, 22));
    assert!(host.replies(ETH1, Role::Continues, TCP, (B, 22), (LAN, 4000)));
    assert_eq!(host.kinds(), ["answered-elsewhere 4>3 198.51.100.10:22 1/1"]);
    host.asks(ETH2, Role::Opens, TCP, (LAN, 4001), (B, 22));
    assert!(!host.replies(ETH2, Role::Continues, TCP, (B, 22), (LAN, 4001)));
}

#[test]
fn later_fragments_belong_to_the_first_one() {
    let mut host = Host::new(100);
    let fragment = |role, ports: (u16, u16)| Packet {
        ends: Ends {
            protocol: UDP,
            source: B.parse().unwrap(),
            destination: REMOTE.parse().unwrap(),
            sport: ports.0,
            dport: ports.1,
        },
        role,
        fragment: Some(77),
        length: 1500,
    };
    host.asks(ETH1, Role::Any, UDP, (REMOTE, 4000), (B, 53));
    for packet in [fragment(Role::Any, (53, 4000)), fragment(Role::Fragment, (0, 0)), fragment(Role::Fragment, (0, 0))]
    {
        assert!(host.flows.see(Sighting { link: ETH0, outgoing: true, packet: &packet, now: host.now }));
    }
    assert_eq!(host.kinds(), ["answered-elsewhere 3>2 198.51.100.10:53 1/3"]);
}

#[test]
fn private_addresses_without_translation() {
    let mut host = Host::new(100);
    assert!(host.replies(ETH0, Role::Opens, TCP, ("10.0.0.5", 4000), (REMOTE, 443)));
    assert!(!host.replies(ETH0, Role::Continues, TCP, ("10.0.0.5", 4001), (REMOTE, 443)), "a late packet");
    assert!(!host.replies(ETH0, Role::Opens, TCP, ("10.0.0.5", 4000), ("10.1.0.5", 443)));
    assert!(!host.replies(ETH0, Role::Opens, TCP, ("203.0.113.70", 4000), (REMOTE, 443)), "a routed network");
    assert_eq!(host.kinds(), ["foreign-source-sent ->2 10.0.0.5:443 1/1"]);
}

#[test]
fn the_table_has_a_limit() {
    let mut host = Host::new(10);
    for port in 0..25 {
        host.asks(ETH0, Role::Any, UDP, (REMOTE, 4000 + port), (A, 53));
    }
    assert_eq!((host.flows.len(), host.flows.not_fitting), (10, 15));
    host.wait(LATE);
    host.wait(IDLE_UNANSWERED);
    assert!(host.flows.is_empty());
    host.asks(ETH0, Role::Any, UDP, (REMOTE, 4000), (A, 53));
    assert_eq!(host.flows.len(), 1);
    for address in 0..100 {
        host.asks(ETH0, Role::Any, UDP, (REMOTE, 4000), (&format!("192.0.2.{address}"), 53));
    }
    assert_eq!(host.flows.len(), 10, "one remote port");
}

/// Any bytes behind an IP header with known addresses.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let address = || prop::sample::select(vec![A, B, REMOTE, LAN, "192.0.2.77", "10.0.0.5", "224.0.0.1"]);
    let protocol = prop::sample::select(vec![1u8, TCP, UDP, 47, 58]);
    let header = (any::<bool>(), protocol, address(), address(), prop::sample::select(vec![0u8, 0, 0, 0x20, 0x01]));
    (header, prop::collection::vec(prop_oneof![any::<u8>(), 0..4u8], 0..60)).prop_map(
        |((is_plain, protocol, source, destination, fragment), rest)| {
            let mut bytes = vec![0x45, 0, 0, 20 + rest.len() as u8, 0, 1, fragment, 0, 64, protocol, 0, 0];
            for text in [source, destination] {
                let address: std::net::Ipv4Addr = text.parse().unwrap();
                bytes.extend(address.octets());
            }
            bytes.extend(&rest);
            if is_plain { bytes } else { rest }
        },
    )
}

proptest! {
    /// As fuzz/fuzz_targets/packets.rs does it at length: any bytes, in any order, on any interface.
    #[test]
    fn any_bytes(
        frames in prop::collection::vec((0..6u32, any::<bool>(), any::<bool>(), 0..5_000u64, frame()), 0..120),
    ) {
        const MOST: usize = 20;
        let mut host = Host::new(MOST);
        for (link, outgoing, is_at_router, time, bytes) in frames {
            host.now += time;
            if let Some(packet) = decode(&bytes) {
                let sighting = Sighting { link, outgoing, packet: &packet, now: host.now };
                host.flows.see(sighting);
                if outgoing && is_at_router {
                    host.flows.see_at_router(sighting, A.parse().unwrap());
                }
            }
            if time % 4 == 0 {
                host.flows.pass(host.now, false);
            }
            prop_assert!(host.flows.len() <= MOST);
        }
        host.flows.pass(host.now, true);
        for count in host.flows.links.values() {
            prop_assert!(count.answered_here + count.answered_elsewhere + count.unanswered <= count.came_in);
        }
        let kinds = host.flows.kinds.take_changed();
        prop_assert!(kinds.len() <= MOST_KINDS * Verdict::ALL.len());
        for (kind, count) in kinds {
            let event = Event::Kind(kind, count);
            prop_assert_eq!(Event::read(&event.to_string()), Some(event));
        }
    }
}
