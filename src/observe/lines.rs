//! The lines between `symroute observe` and its capture program. A line is a word and values, separated by spaces.
//!
//! Text is enough, and both sides can read it with little code. What the capture program writes depends on packets
//! that strangers send: a line that is not well-formed is an error.

use std::fmt::{self, Display, Write};
use std::str::{FromStr, SplitAsciiWhitespace};

use super::flows::LinkCount;
use super::kinds::{Count, Example, Kind, Verdict};
use super::links::{Hardware, Index, Link, Observed, Router};

/// The most bytes of a line.
pub const LONGEST: usize = 512;

/// What the capture program is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    pub observed: Observed,
    /// Writes the packets with a fault to this descriptor.
    pub pcap: Option<i32>,
}

/// Counts of the whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets that the kernel has copied to the program.
    pub packets: u64,
    /// Packets that the kernel could not copy, because the program was too slow.
    pub dropped: u64,
    pub malformed: u64,
    /// Flows that the table had no room for.
    pub flows_not_fitting: u64,
    /// Packets of kinds of flows that did not fit.
    pub kinds_not_fitting: u64,
    /// Packets with a fault that are in the file.
    pub written: u64,
}

/// What the capture program writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// From now on, packets are counted.
    Ready,
    Kind(Kind, Count),
    Link(Index, LinkCount),
    Totals(Totals),
    /// The file of packets cannot be written any more, and why.
    FileFailed(String),
    /// Everything before this line belongs together.
    Done,
}

/// A value that may be missing.
fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

impl Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Link { index, name, is_uplink } in &self.observed.links {
            writeln!(f, "link {index} {} {name}", u8::from(*is_uplink))?;
        }
        for (net, links) in self.observed.owners.iter() {
            let links: String = links.iter().fold(String::new(), |mut text, link| {
                let _ = write!(text, " {link}");
                text
            });
            writeln!(f, "owner {net}{links}")?;
        }
        for ((owner, link), networks) in &self.observed.near {
            networks.iter().try_for_each(|net| writeln!(f, "near {owner} {link} {net}"))?;
        }
        for router in &self.observed.routers {
            let hardware: String = router.hardware.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(f, "router {} {hardware} {}", router.link, router.address)?;
            router.sources.iter().try_for_each(|(net, other)| writeln!(f, "source {} {net}", u8::from(*other)))?;
            router.near.iter().try_for_each(|net| writeln!(f, "excepted {net}"))?;
        }
        if let Some(descriptor) = self.pcap {
            writeln!(f, "pcap {descriptor}")?;
        }
        writeln!(f, "go")
    }
}

impl Order {
    /// Takes in a line. True for the last one; nothing if it is malformed.
    pub fn read(&mut self, line: &str) -> Option<bool> {
        let mut words = Words(line.split_ascii_whitespace());
        match words.text()? {
            "link" => {
                let (index, is_uplink) = (words.value()?, words.value::<u8>()? != 0);
                // A name has no spaces (dev_valid_name, net/core/dev.c).
                self.observed.links.push(Link { index, name: words.text()?.to_string(), is_uplink });
            }
            "owner" => {
                let net = words.value()?;
                while let Some(link) = words.value() {
                    self.observed.owners.add(net, link);
                }
            }
            "near" => {
                let key = (words.value()?, words.value()?);
                self.observed.near.entry(key).or_default().push(words.value()?);
            }
            "router" => {
                let (link, hardware, address) = (words.value()?, hardware(words.text()?)?, words.value()?);
                let (sources, near) = Default::default();
                self.observed.routers.push(Router { link, hardware, address, sources, near });
            }
            "source" => {
                let is_other = words.value::<u8>()? != 0;
                self.observed.routers.last_mut()?.sources.insert(words.value()?, is_other);
            }
            "excepted" => self.observed.routers.last_mut()?.near.push(words.value()?),
            "pcap" => self.pcap = Some(words.value()?),
            "go" => return Some(true),
            _ => return None,
        }
        Some(false)
    }
}

/// Twelve hexadecimal digits.
fn hardware(text: &str) -> Option<Hardware> {
    let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 12)?;
    let [_, _, bytes @ ..] = number.to_be_bytes();
    Some(bytes)
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Ready => f.write_str("ready"),
            Event::Kind(kind, count) => {
                let Kind { verdict, came_in, left, router, local, source, protocol, port, is_server } = kind;
                let Count { flows, packets, first, last, example } = count;
                let Example { local_port, remote, remote_port } = example;
                let (verdict, came_in, left) = (verdict.id(), or_dash(*came_in), or_dash(*left));
                let router = or_dash(*router);
                write!(
                    f,
                    "kind {verdict} {came_in} {left} {router} {local} {source} {protocol} {port} {}",
                    u8::from(*is_server)
                )?;
                write!(f, " {flows} {packets} {first} {last} {local_port} {remote} {remote_port}")
            }
            Event::Link(index, count) => {
                let LinkCount { came_in, answered_here, answered_elsewhere, unanswered } = count;
                write!(f, "link {index} {came_in} {answered_here} {answered_elsewhere} {unanswered}")
            }
            Event::Totals(totals) => {
                let Totals { packets, dropped, malformed, flows_not_fitting, kinds_not_fitting, written } = totals;
                write!(f, "totals {packets} {dropped} {malformed} {flows_not_fitting} {kinds_not_fitting} {written}")
            }
            Event::FileFailed(why) => write!(f, "file-failed {why}"),
            Event::Done => f.write_str("done"),
        }
    }
}

impl Event {
    /// Nothing if the line is malformed.
    pub fn read(line: &str) -> Option<Event> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = Words(rest.split_ascii_whitespace());
        let event = match word {
            "ready" => Event::Ready,
            "kind" => {
                let kind = Kind {
                    verdict: Verdict::of_id(words.text()?)?,
                    came_in: words.optional()?,
                    left: words.optional()?,
                    router: words.optional()?,
                    local: words.value()?,
                    source: words.value()?,
                    protocol: words.value()?,
                    port: words.value()?,
                    is_server: words.value::<u8>()? != 0,
                };
                let (flows, packets, first, last) = (words.value()?, words.value()?, words.value()?, words.value()?);
                let example =
                    Example { local_port: words.value()?, remote: words.value()?, remote_port: words.value()? };
                Event::Kind(kind, Count { flows, packets, first, last, example })
            }
            "link" => Event::Link(
                words.value()?,
                LinkCount {
                    came_in: words.value()?,
                    answered_here: words.value()?,
                    answered_elsewhere: words.value()?,
                    unanswered: words.value()?,
                },
            ),
            "totals" => Event::Totals(Totals {
                packets: words.value()?,
                dropped: words.value()?,
                malformed: words.value()?,
                flows_not_fitting: words.value()?,
                kinds_not_fitting: words.value()?,
                written: words.value()?,
            }),
            "file-failed" => return Some(Event::FileFailed(rest.to_string())),
            "done" => Event::Done,
            _ => return None,
        };
        words.text().is_none().then_some(event)
    }
}

struct Words<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn value<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn optional<T: FromStr>(&mut self) -> Option<Option<T>> {
        match self.text()? {
            "-" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    fn event() -> impl Strategy<Value = Event> {
        let kind =
            (prop::sample::select(Verdict::ALL.to_vec()), any::<[Option<u32>; 2]>(), address(), address(), any::<u8>())
                .prop_flat_map(|(verdict, [came_in, left], local, source, protocol)| {
                    let remote = (address(), prop::option::of(address()));
                    (any::<[u16; 3]>(), any::<[u64; 4]>(), remote, any::<bool>()).prop_map(
                        move |(ports, [flows, packets, first, last], (remote, router), is_server)| {
                            let [port, local_port, remote_port] = ports;
                            let kind =
                                Kind { verdict, came_in, left, router, local, source, protocol, port, is_server };
                            let example = Example { local_port, remote, remote_port };
                            Event::Kind(kind, Count { flows, packets, first, last, example })
                        },
                    )
                });
        prop_oneof![
            Just(Event::Ready),
            Just(Event::Done),
            kind,
            (any::<u32>(), any::<[u64; 4]>()).prop_map(
                |(index, [came_in, answered_here, answered_elsewhere, unanswered])| {
                    Event::Link(index, LinkCount { came_in, answered_here, answered_elsewhere, unanswered })
                }
            ),
            any::<[u64; 6]>().prop_map(
                |[packets, dropped, malformed, flows_not_fitting, kinds_not_fitting, written]| {
                    let totals = Totals { packets, dropped, malformed, flows_not_fitting, kinds_not_fitting, written };
                    Event::Totals(totals)
                }
            ),
            "[A-Za-z ]{0,30}".prop_map(Event::FileFailed),
        ]
    }

    proptest! {
        #[test]
        fn events_are_read_as_written(event in event()) {
            let line = event.to_string();
            prop_assert!(line.len() < LONGEST && !line.contains('\n'));
            prop_assert_eq!(Event::read(&line), Some(event));
        }

        #[test]
        fn orders_are_read_as_written(
            links in prop::collection::vec((any::<u32>(), "[a-z0-9.@-]{1,15}", any::<bool>()), 0..5),
            owners in prop::collection::vec((address(), 0..=32u8, any::<u32>()), 0..20),
            near in prop::collection::vec((any::<(u8, u8)>(), address(), 0..=32u8), 0..20),
            routers in prop::collection::vec((any::<(u32, Hardware)>(), address(), address(), 0..=32u8, any::<bool>()), 0..4),
            pcap in prop::option::of(3..9),
        ) {
            let mut order = Order { pcap, ..Order::default() };
            for (index, name, is_uplink) in links {
                order.observed.links.push(Link { index, name, is_uplink });
            }
            for (address, length, link) in owners {
                order.observed.owners.add(ipnet::IpNet::new(address, length).unwrap().trunc(), link);
            }
            for ((owner, link), address, length) in near {
                let net = ipnet::IpNet::new(address, length).unwrap();
                order.observed.near.entry((owner.into(), link.into())).or_default().push(net);
            }
            for ((link, hardware), address, net, length, is_other) in routers {
                let net = ipnet::IpNet::new(net, length).unwrap();
                let (sources, near) = ([(net, is_other)].into(), vec![net]);
                order.observed.routers.push(Router { link, hardware, address, sources, near });
            }
            let mut read = Order::default();
            let lines: Vec<Option<bool>> = order.to_string().lines().map(|line| read.read(line)).collect();
            prop_assert_eq!(lines.last(), Some(&Some(true)));
            prop_assert!(lines[..lines.len() - 1].iter().all(|last| *last == Some(false)));
            prop_assert_eq!(read, order);
        }

        #[test]
        fn other_lines_do_not_panic(line in "(kind|link|totals|ready|near|owner|router|source|excepted)?[ -~]{0,80}") {
            let _ = (Event::read(&line), Order::default().read(&line));
        }
    }
}
