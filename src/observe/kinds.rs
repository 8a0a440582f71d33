//! Kinds of flows, with counts: what is reported. Their number is bounded, however many flows there are.

use std::collections::HashMap;
use std::net::IpAddr;

use super::links::Index;
use super::packet::{TCP, UDP};
use crate::sort::sort_by_key;

/// What is wrong with a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It came in through one link, and its replies leave through another one.
    AnsweredElsewhere,
    /// Packets leave through a link that does not have their source address.
    ForeignSource,
    /// Packets arrive through another uplink than that of their destination address.
    ArrivedElsewhere,
    /// It came in, and no reply has left.
    Unanswered,
}

impl Verdict {
    pub const ALL: [Verdict; 4] =
        [Verdict::AnsweredElsewhere, Verdict::ForeignSource, Verdict::ArrivedElsewhere, Verdict::Unanswered];

    /// The id of its finding.
    pub fn id(self) -> &'static str {
        match self {
            Verdict::AnsweredElsewhere => "answered-elsewhere",
            Verdict::ForeignSource => "foreign-source-sent",
            Verdict::ArrivedElsewhere => "arrived-elsewhere",
            Verdict::Unanswered => "unanswered",
        }
    }

    pub fn of_id(id: &str) -> Option<Self> {
        Verdict::ALL.into_iter().find(|verdict| verdict.id() == id)
    }
}

/// What flows of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    pub verdict: Verdict,
    /// The link through which the flow came in.
    pub came_in: Option<Index>,
    /// The link through which its packets leave.
    pub left: Option<Index>,
    /// The gateway of another uplink of that link, if they are sent to it.
    pub router: Option<IpAddr>,
    /// The address of this side: that of the first packet.
    pub local: IpAddr,
    /// The source address of the packets that leave, or the address that packets arrived for.
    pub source: IpAddr,
    pub protocol: u8,
    /// The port of the service, 0 for a protocol without ports, and for closed ports.
    pub port: u16,
    /// The service is on this side.
    pub is_server: bool,
}

impl Kind {
    /// Flows to closed ports of an address are one kind.
    pub fn of_closed_port(self, is_closed: bool) -> Kind {
        if is_closed { Kind { port: 0, ..self } } else { self }
    }

    pub fn is_of_closed_ports(&self) -> bool {
        self.port == 0 && matches!(self.protocol, TCP | UDP)
    }
}

/// A flow of a kind: the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
}

/// Milliseconds since 1970 in UTC.
pub type Time = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub flows: u64,
    pub packets: u64,
    pub first: Time,
    pub last: Time,
    pub example: Example,
}

/// Further kinds of a verdict are counted together.
pub const MOST_KINDS: usize = 256;

#[derive(Debug, Default)]
pub struct Kinds {
    /// With whether the count has changed.
    counts: HashMap<Kind, (Count, bool)>,
    /// The number of kinds of each verdict.
    lengths: HashMap<Verdict, usize>,
    /// Packets of kinds that did not fit.
    pub not_fitting: u64,
}

impl Kinds {
    pub fn count(&mut self, kind: Kind, example: Example, flows: u64, packets: u64, now: Time) {
        if !self.counts.contains_key(&kind) {
            let length = self.lengths.entry(kind.verdict).or_default();
            if *length >= MOST_KINDS {
                self.not_fitting += packets;
                return;
            }
            *length += 1;
        }
        let new = Count { flows: 0, packets: 0, first: now, last: now, example };
        let (count, has_changed) = self.counts.entry(kind).or_insert((new, true));
        count.flows += flows;
        count.packets += packets;
        count.last = count.last.max(now);
        *has_changed = true;
    }

    /// A flow is not of this kind after all.
    pub fn take_back(&mut self, kind: Kind, packets: u64) {
        if let Some((count, has_changed)) = self.counts.get_mut(&kind) {
            count.flows = count.flows.saturating_sub(1);
            count.packets = count.packets.saturating_sub(packets);
            *has_changed = true;
        }
    }

    /// Those that have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<(Kind, Count)> {
        let changed = self.counts.iter_mut().filter(|(_, (_, has_changed))| *has_changed);
        let mut changed: Vec<(Kind, Count)> = changed
            .map(|(kind, (count, has_changed))| {
                *has_changed = false;
                (*kind, *count)
            })
            .collect();
        sort_by_key(&mut changed, |(_, count)| count.first);
        changed
    }
}
