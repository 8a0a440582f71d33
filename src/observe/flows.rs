//! The flow table: which flow a packet belongs to, through which link the flow came in, and whether its replies leave
//! through the same one.
//!
//! The kernel's filter hides most packets of TCP connections, and what happened before the program started is not
//! known. So a packet is judged by its addresses alone where its flow is not in the table. The table has a limit;
//! flows that do not fit are counted.

use std::collections::HashMap;
use std::net::IpAddr;

use super::kinds::{Example, Kind, Kinds, Time, Verdict};
use super::links::{Index, Link, Observed, Owner, is_ordinary};
use super::packet::{Ends, Packet, Role, TCP, UDP};
use crate::policy::networks::is_private;
use crate::sort::sort_by_key;

/// Flows in the table. The program needs about 17 MB with all of them.
pub const MOST_FLOWS: usize = 65_536;
/// Flows between the same ports: a remote host has one for each address that it connects to.
const MOST_OF_PORTS: usize = 16;
/// First fragments that are remembered.
const MOST_FRAGMENTS: usize = 256;

/// A reply after this time is late: the flow counts as unanswered until then.
pub const LATE: Time = 3_000;
/// A flow without packets is forgotten after this time.
const IDLE: Time = 60_000;
/// The same for one that got no reply.
const IDLE_UNANSWERED: Time = 15_000;
/// The same for one with a fault: the filter copies only some packets of TCP connections.
const IDLE_FAULTY: Time = 300_000;

/// The ports and the remote end; the local address is in the flow. A program that replies from another address than
/// that of the request keeps these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ports {
    protocol: u8,
    remote: IpAddr,
    remote_port: u16,
    local_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// From outside.
    In(Index),
    /// By this host, or by a host behind it; or the filter has hidden its beginning.
    Out(Index),
    /// Replies to the flow of this local address, from another one.
    Instead(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    local: IpAddr,
    opened: Opened,
    first: Time,
    last: Time,
    is_answered: bool,
    /// The first reply says that the port is closed.
    is_closed: bool,
    is_counted_elsewhere: bool,
    /// No reply has left in time.
    is_late: bool,
    is_counted_unanswered: bool,
    /// The verdicts that it has been counted for, one bit each.
    counted: u8,
    /// Replies of `Instead` that are not counted yet, and the link that they left through.
    pending: Option<(Index, u64)>,
}

/// What one link has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCount {
    /// Flows that came in.
    pub came_in: u64,
    pub answered_here: u64,
    pub answered_elsewhere: u64,
    pub unanswered: u64,
}

/// A packet as the socket delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    pub link: Index,
    pub outgoing: bool,
    pub packet: &'a Packet,
    pub now: Time,
}

#[derive(Debug)]
pub struct Flows {
    observed: Observed,
    // Strangers choose the keys: they must not be able to choose ones with equal hashes.
    table: HashMap<Ports, Vec<Flow>>,
    length: usize,
    most: usize,
    /// First fragments, as the later ones name them; the oldest is replaced.
    fragments: Vec<((IpAddr, IpAddr, u32), Ends)>,
    next_fragment: usize,
    pub kinds: Kinds,
    pub links: HashMap<Index, LinkCount>,
    /// Flows that did not fit.
    pub not_fitting: u64,
}

impl Flows {
    pub fn new(observed: Observed, most: usize) -> Self {
        let links = observed.links.iter().map(|link| (link.index, LinkCount::default())).collect();
        Flows {
            observed,
            table: HashMap::new(),
            length: 0,
            most,
            fragments: Vec::new(),
            next_fragment: 0,
            kinds: Kinds::default(),
            links,
            not_fitting: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Judges a packet. True if something is wrong with it.
    pub fn see(&mut self, sighting: Sighting) -> bool {
        let Some(ends) = self.ends(sighting) else { return false };
        // Of other links, only packets of the uplinks' addresses are observed.
        let own = if sighting.outgoing { ends.source } else { ends.destination };
        let is_uplink = self.observed.is_uplink(sighting.link);
        if !is_uplink && self.observed.owner(own, sighting.link) == Owner::None {
            return false;
        }
        match (sighting.packet.role, sighting.outgoing) {
            (Role::OnLink, _) | (Role::Error(_), false) => false,
            (Role::Error(quoted), true) => self.error(sighting, quoted),
            (_, true) => self.leaves(sighting, ends),
            (_, false) => self.arrives(sighting, ends),
        }
    }

    /// A packet to this gateway, which must not get packets with its source address.
    pub fn see_at_router(&mut self, sighting: Sighting, router: IpAddr) -> bool {
        let Sighting { link, packet, now, .. } = sighting;
        let Some(ends) = self.ends(sighting).filter(|_| packet.role != Role::OnLink) else { return false };
        let (ports, local) = (sent(ends), ends.source);
        let opened = self.find(&ports, local).map(|flow| flow.opened);
        let kind = match opened {
            Some(Opened::In(came_in)) => {
                let is_closed = self.is_closed(&ports, local, packet.role == Role::Refuses);
                self.note_answer(&ports, local, came_in, true, now);
                answered_elsewhere(&ports, local, local, came_in, link).of_closed_port(is_closed)
            }
            _ => {
                if opened.is_none() {
                    self.insert(ports, local, Opened::Out(link), now);
                }
                let is_server = self.is_server(&ports, local) && packet.role != Role::Opens;
                foreign_source(&ports, local, link, is_server)
            }
        };
        self.count(Kind { router: Some(router), ..kind }, &ports, local, 1, now);
        true
    }

    /// The ends of the packet's flow. Nothing for what is not observed.
    fn ends(&mut self, sighting: Sighting) -> Option<Ends> {
        let ends = sighting.packet.ends;
        let is_observed = self.observed.link(sighting.link).is_some();
        if !is_observed || !is_ordinary(&ends.source) || !is_ordinary(&ends.destination) {
            return None;
        }
        match (sighting.packet.fragment, sighting.packet.role) {
            (Some(number), Role::Fragment) => return Some(self.first_fragment(ends, number).unwrap_or(ends)),
            (Some(number), _) => self.remember_fragment(ends, number),
            (None, _) => {}
        }
        Some(ends)
    }

    fn first_fragment(&self, ends: Ends, number: u32) -> Option<Ends> {
        let key = (ends.source, ends.destination, number);
        self.fragments.iter().find(|(known, _)| *known == key).map(|(_, ends)| *ends)
    }

    fn remember_fragment(&mut self, ends: Ends, number: u32) {
        let entry = ((ends.source, ends.destination, number), ends);
        match self.fragments.get_mut(self.next_fragment) {
            Some(oldest) => *oldest = entry,
            None => self.fragments.push(entry),
        }
        self.next_fragment = (self.next_fragment + 1) % MOST_FRAGMENTS;
    }

    fn find(&mut self, ports: &Ports, local: IpAddr) -> Option<&mut Flow> {
        self.table.get_mut(ports)?.iter_mut().find(|flow| flow.local == local)
    }

    /// A new flow, if there is room.
    fn insert(&mut self, ports: Ports, local: IpAddr, opened: Opened, now: Time) -> Option<&mut Flow> {
        let has_room = self.length < self.most;
        let flows = self.table.get(&ports).map_or(0, Vec::len);
        if !has_room || flows >= MOST_OF_PORTS {
            self.not_fitting += 1;
            return None;
        }
        self.length += 1;
        let flows = self.table.entry(ports).or_default();
        // Nearly always there is one.
        flows.reserve_exact(1);
        flows.push(Flow {
            local,
            opened,
            first: now,
            last: now,
            is_answered: false,
            is_closed: false,
            is_counted_elsewhere: false,
            is_late: false,
            is_counted_unanswered: false,
            counted: 0,
            pending: None,
        });
        flows.last_mut()
    }

    fn arrives(&mut self, sighting: Sighting, ends: Ends) -> bool {
        let Sighting { link, packet, now, .. } = sighting;
        let (ports, local) = (received(ends), ends.destination);
        let is_uplink = self.observed.is_uplink(link);
        let is_misplaced = is_uplink
            && matches!(self.observed.owner(local, link), Owner::Elsewhere(owners)
                if !self.observed.is_near(owners, link, ends.source));
        let opens = matches!(packet.role, Role::Opens | Role::Any);
        if self.find(&ports, local).is_none() && opens {
            if let Some(count) = self.links.get_mut(&link) {
                count.came_in += 1;
            }
            self.insert(ports, local, Opened::In(link), now);
        }
        let mut is_own = false;
        if let Some(flow) = self.find(&ports, local) {
            flow.last = now;
            if let Opened::Out(out) = flow.opened {
                flow.is_answered = true;
                is_own = out == link;
            }
        }
        if is_misplaced && !is_own {
            let is_server = self.is_server(&ports, local);
            let kind = Kind {
                verdict: Verdict::ArrivedElsewhere,
                came_in: Some(link),
                left: None,
                router: None,
                local,
                source: local,
                protocol: ports.protocol,
                port: service(&ports, is_server),
                is_server,
            };
            self.count(kind, &ports, local, 1, now);
        }
        is_misplaced && !is_own
    }

    fn leaves(&mut self, sighting: Sighting, ends: Ends) -> bool {
        let Sighting { link, packet, now, .. } = sighting;
        let (ports, local) = (sent(ends), ends.source);
        match self.find(&ports, local).map(|flow| flow.opened) {
            Some(Opened::In(came_in)) => self.reply(sighting, ports, local, came_in, local),
            Some(Opened::Instead(asked)) => self.reply_instead(sighting, ports, local, asked),
            Some(Opened::Out(_)) => self.send(sighting, ports, local),
            None => match self.asked_of_another_address(&ports, local, link) {
                Some(asked) => {
                    self.insert(ports, local, Opened::Instead(asked), now);
                    self.reply_instead(sighting, ports, local, asked)
                }
                None => {
                    // The end of a connection that began earlier, or a fragment, is no new flow.
                    let opens = matches!(packet.role, Role::Opens | Role::Any) && self.observed.is_uplink(link);
                    if opens || self.is_foreign(sighting, &ports, local) {
                        self.insert(ports, local, Opened::Out(link), now);
                    }
                    self.send(sighting, ports, local)
                }
            },
        }
    }

    /// A packet to a host that asked another address of this host, of another uplink, and has got no reply from it.
    fn asked_of_another_address(&self, ports: &Ports, local: IpAddr, link: Index) -> Option<IpAddr> {
        let is_near = matches!(self.observed.owner(local, link), Owner::Elsewhere(owners)
            if self.observed.is_near(owners, link, ports.remote));
        if ports.protocol != UDP || is_near {
            return None;
        }
        let waits = |flow: &&Flow| {
            let is_other = |came_in: Index| match came_in == link {
                true => self.observed.have_different_routers(link, flow.local, local),
                false => !self.observed.is_near(&[came_in], link, ports.remote),
            };
            let is_elsewhere = matches!(flow.opened, Opened::In(came_in) if is_other(came_in));
            is_elsewhere && flow.local != local && !flow.is_answered
        };
        self.table.get(ports)?.iter().find(waits).map(|flow| flow.local)
    }

    /// A reply, to a flow that came in through `came_in` for `asked`.
    fn reply(&mut self, sighting: Sighting, ports: Ports, local: IpAddr, came_in: Index, asked: IpAddr) -> bool {
        let Sighting { link, packet, now, .. } = sighting;
        let is_here = came_in == link;
        let is_fault = !is_here && self.is_answer_elsewhere(came_in, link, local, ports.remote);
        let is_closed = self.is_closed(&ports, asked, packet.role == Role::Refuses);
        self.note_answer(&ports, asked, came_in, is_fault, now);
        if is_fault {
            let kind = answered_elsewhere(&ports, asked, local, came_in, link).of_closed_port(is_closed);
            self.count(kind, &ports, asked, 1, now);
        }
        is_fault
    }

    /// Is the flow one to a closed port? `refuses`: this reply says so. Scans of many ports are one kind of flow then.
    fn is_closed(&mut self, ports: &Ports, asked: IpAddr, refuses: bool) -> bool {
        let Some(flow) = self.find(ports, asked) else { return false };
        flow.is_closed |= refuses && !flow.is_answered;
        flow.is_closed
    }

    /// A reply through another link than the request: is it wrong?
    fn is_answer_elsewhere(&self, came_in: Index, link: Index, local: IpAddr, remote: IpAddr) -> bool {
        let (from, to) = (self.observed.is_uplink(came_in), self.observed.is_uplink(link));
        match self.observed.owner(local, link) {
            // The request arrived through the wrong uplink, and the reply leaves through the right one.
            Owner::Here => !from,
            Owner::Elsewhere(owners) => !self.observed.is_near(owners, link, remote),
            Owner::None => from && to,
        }
    }

    fn note_answer(&mut self, ports: &Ports, asked: IpAddr, came_in: Index, is_elsewhere: bool, now: Time) {
        let Some(flow) = self.find(ports, asked) else { return };
        flow.last = now;
        let was_answered_here = flow.is_answered && !flow.is_counted_elsewhere;
        let is_first = !std::mem::replace(&mut flow.is_answered, true);
        let is_first_elsewhere = is_elsewhere && !std::mem::replace(&mut flow.is_counted_elsewhere, true);
        let was_unanswered = std::mem::replace(&mut flow.is_counted_unanswered, false);
        let Some(count) = self.links.get_mut(&came_in) else { return };
        count.answered_elsewhere += u64::from(is_first_elsewhere);
        count.answered_here += u64::from(is_first && !is_elsewhere);
        // A flow is counted once: as the worse of both.
        if was_answered_here && is_first_elsewhere {
            count.answered_here = count.answered_here.saturating_sub(1);
        }
        if was_unanswered {
            count.unanswered = count.unanswered.saturating_sub(1);
            self.kinds.take_back(unanswered(ports, asked, came_in), 1);
        }
    }

    /// A reply from another address. It is one only if no reply from the right address follows: a client may use one
    /// port to send and to serve.
    fn reply_instead(&mut self, sighting: Sighting, ports: Ports, local: IpAddr, asked: IpAddr) -> bool {
        let Sighting { link, now, .. } = sighting;
        let Some(Opened::In(came_in)) = self.find(&ports, asked).map(|flow| flow.opened) else {
            return self.send(sighting, ports, local);
        };
        let Some(flow) = self.find(&ports, local) else { return false };
        flow.last = now;
        if !flow.is_answered {
            flow.pending = Some((link, flow.pending.map_or(0, |(_, packets)| packets) + 1));
            return true;
        }
        let kind = answered_elsewhere(&ports, asked, local, came_in, link);
        self.count(kind, &ports, asked, 1, now);
        true
    }

    /// A packet of a flow that this host, or one behind it, has opened.
    fn send(&mut self, sighting: Sighting, ports: Ports, local: IpAddr) -> bool {
        let Sighting { link, packet, now, .. } = sighting;
        let is_fault = self.is_foreign(sighting, &ports, local);
        if let Some(flow) = self.find(&ports, local) {
            flow.last = now;
        }
        if is_fault {
            let is_server = self.is_server(&ports, local) && packet.role != Role::Opens;
            self.count(foreign_source(&ports, local, link, is_server), &ports, local, 1, now);
        }
        is_fault
    }

    /// Does the packet leave with a source address that its link does not have?
    fn is_foreign(&self, sighting: Sighting, ports: &Ports, local: IpAddr) -> bool {
        let Sighting { link, packet, .. } = sighting;
        match self.observed.owner(local, link) {
            Owner::Here => false,
            Owner::Elsewhere(owners) => !self.observed.is_near(owners, link, ports.remote),
            // A private address on its way to the internet: address translation is missing. The kernel does not
            // translate late packets of connections that have ended.
            Owner::None => {
                (ports.protocol != TCP || packet.role == Role::Opens)
                    && self.observed.is_uplink(link)
                    && is_private(&local.into())
                    && !is_private(&ports.remote.into())
                    && !self.observed.is_private_link(link, local.is_ipv4())
            }
        }
    }

    /// An ICMP error of this host is a reply to the packet that it quotes.
    fn error(&mut self, sighting: Sighting, quoted: Option<Ends>) -> bool {
        let Sighting { link, packet, now, .. } = sighting;
        let (source, remote) = (packet.ends.source, packet.ends.destination);
        let asked = quoted.map(|ends| (received(ends), ends.destination));
        let came_in = asked.and_then(|(ports, local)| match self.find(&ports, local)?.opened {
            Opened::In(came_in) => Some((ports, local, came_in)),
            _ => None,
        });
        let is_fault = match self.observed.owner(source, link) {
            Owner::Here | Owner::None => false,
            Owner::Elsewhere(owners) => !self.observed.is_near(owners, link, remote),
        };
        match came_in {
            Some((ports, local, came_in)) => {
                let is_elsewhere = is_fault && came_in != link;
                let is_closed = self.is_closed(&ports, local, true);
                self.note_answer(&ports, local, came_in, is_elsewhere, now);
                if is_elsewhere {
                    let kind = answered_elsewhere(&ports, local, source, came_in, link).of_closed_port(is_closed);
                    self.count(kind, &ports, local, 1, now);
                }
                is_elsewhere
            }
            None if is_fault => {
                let ports = sent(packet.ends);
                self.count(foreign_source(&ports, source, link, false), &ports, source, 1, now);
                true
            }
            None => false,
        }
    }

    /// Is the service on this side? Without the beginning of a connection, the lower port decides.
    fn is_server(&self, ports: &Ports, local: IpAddr) -> bool {
        let flow = self.table.get(ports).and_then(|flows| flows.iter().find(|flow| flow.local == local));
        match flow.map(|flow| flow.opened) {
            Some(Opened::In(_)) => true,
            _ => ports.local_port != 0 && ports.local_port < ports.remote_port && ports.local_port < 32_768,
        }
    }

    /// Counts packets of the flow, and the flow when it is the first of its kind there.
    fn count(&mut self, kind: Kind, ports: &Ports, local: IpAddr, packets: u64, now: Time) {
        let bit = 1 << (kind.verdict as u8);
        let example = Example { local_port: ports.local_port, remote: ports.remote, remote_port: ports.remote_port };
        let is_new = match self.find(ports, local) {
            Some(flow) => {
                let is_new = flow.counted & bit == 0;
                flow.counted |= bit;
                is_new
            }
            None => false,
        };
        self.kinds.count(kind, example, u64::from(is_new), packets, now);
    }

    /// Decides what waits for time to pass, and forgets flows. `at_end`: decides everything.
    pub fn pass(&mut self, now: Time, at_end: bool) {
        let replaced: Vec<(Ports, Flow)> = self.due(now, |flow| flow.pending.is_some(), at_end);
        replaced.into_iter().for_each(|(ports, flow)| self.decide_instead(ports, flow, now));
        let waiting = |flow: &Flow| matches!(flow.opened, Opened::In(_)) && !flow.is_answered && !flow.is_late;
        let silent: Vec<(Ports, Flow)> = self.due(now, waiting, false);
        silent.into_iter().for_each(|(ports, flow)| self.note_unanswered(ports, flow));
        let mut length = 0;
        self.table.retain(|_, flows| {
            flows.retain(|flow| now.saturating_sub(flow.last) < limit(flow));
            length += flows.len();
            !flows.is_empty()
        });
        self.length = length;
    }

    fn due(&self, now: Time, waits: impl Fn(&Flow) -> bool, at_end: bool) -> Vec<(Ports, Flow)> {
        let is_due = |flow: &Flow| waits(flow) && (at_end || now.saturating_sub(flow.first) >= LATE);
        let all = self.table.iter().flat_map(|(ports, flows)| flows.iter().map(move |flow| (*ports, *flow)));
        let mut due: Vec<(Ports, Flow)> = all.filter(|(_, flow)| is_due(flow)).collect();
        sort_by_key(&mut due, |(_, flow)| flow.first);
        due
    }

    fn decide_instead(&mut self, ports: Ports, flow: Flow, now: Time) {
        let (Opened::Instead(asked), Some((link, packets))) = (flow.opened, flow.pending) else { return };
        let request = self.find(&ports, asked).map(|request| (request.opened, request.is_answered));
        let came_in = match request {
            Some((Opened::In(came_in), false)) => Some(came_in),
            _ => None,
        };
        if let Some(flow) = self.find(&ports, flow.local) {
            flow.pending = None;
            match came_in {
                Some(_) => flow.is_answered = true,
                None => flow.opened = Opened::Out(link),
            }
        }
        if let Some(came_in) = came_in {
            self.note_answer(&ports, asked, came_in, true, now);
            let kind = answered_elsewhere(&ports, asked, flow.local, came_in, link);
            self.count(kind, &ports, asked, packets, flow.last);
        }
    }

    fn note_unanswered(&mut self, ports: Ports, flow: Flow) {
        let Opened::In(came_in) = flow.opened else { return };
        if let Some(known) = self.find(&ports, flow.local) {
            known.is_late = true;
        }
        // Replies to the LAN are not all observed.
        let is_near = |link: &Link| self.observed.is_near(&[came_in], link.index, ports.remote);
        let is_uplink = self.observed.is_uplink(came_in);
        if !is_uplink
            || self.observed.owner(flow.local, came_in) == Owner::None
            || self.observed.links.iter().any(is_near)
        {
            return;
        }
        if let Some(count) = self.links.get_mut(&came_in) {
            count.unanswered += 1;
        }
        if let Some(known) = self.find(&ports, flow.local) {
            known.is_counted_unanswered = true;
        }
        let kind = unanswered(&ports, flow.local, came_in);
        let example = Example { local_port: ports.local_port, remote: ports.remote, remote_port: ports.remote_port };
        self.kinds.count(kind, example, 1, 1, flow.first);
    }
}

fn limit(flow: &Flow) -> Time {
    match flow {
        Flow { counted: 1.., .. } => IDLE_FAULTY,
        Flow { is_late: true, is_answered: false, .. } => IDLE_UNANSWERED,
        _ => IDLE,
    }
}

/// This side of a packet that arrives.
fn received(ends: Ends) -> Ports {
    Ports { protocol: ends.protocol, remote: ends.source, remote_port: ends.sport, local_port: ends.dport }
}

/// This side of a packet that leaves.
fn sent(ends: Ends) -> Ports {
    Ports { protocol: ends.protocol, remote: ends.destination, remote_port: ends.dport, local_port: ends.sport }
}

fn answered_elsewhere(ports: &Ports, asked: IpAddr, source: IpAddr, came_in: Index, left: Index) -> Kind {
    Kind {
        verdict: Verdict::AnsweredElsewhere,
        came_in: Some(came_in),
        left: Some(left),
        router: None,
        local: asked,
        source,
        protocol: ports.protocol,
        port: service(ports, true),
        is_server: true,
    }
}

fn foreign_source(ports: &Ports, local: IpAddr, left: Index, is_server: bool) -> Kind {
    Kind {
        verdict: Verdict::ForeignSource,
        came_in: None,
        left: Some(left),
        router: None,
        local,
        source: local,
        protocol: ports.protocol,
        port: service(ports, is_server),
        is_server,
    }
}

fn unanswered(ports: &Ports, local: IpAddr, came_in: Index) -> Kind {
    Kind {
        verdict: Verdict::Unanswered,
        came_in: Some(came_in),
        left: None,
        router: None,
        local,
        source: local,
        protocol: ports.protocol,
        port: service(ports, true),
        is_server: true,
    }
}

/// The port of the service. An echo request has an identifier instead, which says nothing.
fn service(ports: &Ports, is_server: bool) -> u16 {
    match ports.protocol {
        1 | 58 => 0,
        _ if is_server => ports.local_port,
        _ => ports.remote_port,
    }
}

#[cfg(test)]
mod tests;
