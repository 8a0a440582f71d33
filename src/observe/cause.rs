//! Why a flow is asymmetric: the lookup of that very flow, and the finding of `check` that accounts for it.

use std::net::{IpAddr, SocketAddr};

use super::kinds::{Count, Kind, Verdict};
use super::links::Index;
use super::packet::{ICMP, ICMPV6, TCP, UDP};
use crate::check::facts::Facts;
use crate::check::finding::Finding;
use crate::network::lookup::{Lookup, Outcome, lookup};
use crate::network::{Family, LookupContext, Query, Snapshot};
use crate::policy::networks::is_private;
use crate::uplinks::Uplink;

/// The local program of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Nothing for a socket of the kernel.
    pub process: Option<(u32, String)>,
    pub uid: u32,
    /// Its socket has no address of its own.
    pub is_wildcard: bool,
}

/// Who replies to a flow on this side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    pub program: Option<Program>,
    /// A host behind this one.
    pub forwarded_to: Option<SocketAddr>,
    /// A host behind this one that has opened the flow, with another address.
    pub translated_from: Option<SocketAddr>,
    /// The interface that the socket is bound to (SO_BINDTODEVICE).
    pub bound_to: Option<Index>,
    /// The mark of the socket (SO_MARK).
    pub mark: Option<u32>,
}

/// What accounts for a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The rules send the packets there.
    Routes,
    /// The socket has no source address, and the kernel selects one by the route.
    WildcardSocket,
    /// The host forwards the packets, and only marks could lead them back.
    Forwarded,
    /// The same for a host behind this one, whose address no rule matches.
    RoutedHost,
    /// A host behind this one has a private address, which the packet filter does not translate.
    NotTranslated,
    /// The packet filter gives the packets of a host behind this one an address of another uplink.
    TranslatedFrom(IpAddr),
    /// The socket is bound to the interface.
    BoundSocket,
    /// Packets with this mark are routed there.
    Marked(u32),
    /// Rules and routes lead elsewhere, and no mark and no socket accounts for it.
    NotRoutes,
    /// Another host sends them through this link.
    Sender,
    /// The same, and the kernel drops them: replies would leave through another link.
    SenderDropped,
    /// The kernel drops the packets: their replies would leave through another link.
    ReversePath,
    /// The host has no route for the replies.
    NoRoute,
    /// Neither a route nor a filter of symroute's knowledge.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: Reason,
    pub local: Local,
    /// The lookup of the packets that leave, or would leave.
    pub lookup: Option<(Query, Lookup)>,
    /// Its id and summary, and its first command.
    pub finding: Option<Finding>,
}

impl Cause {
    /// Is a flow of this kind a fault? A packet without a reply alone is not: the service may be closed.
    pub fn is_fault(&self, verdict: Verdict) -> bool {
        verdict != Verdict::Unanswered || !matches!(self.reason, Reason::Unknown)
    }
}

/// What causes are found in.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    pub snapshot: &'a Snapshot,
    pub facts: &'a Facts,
    pub findings: &'a [Finding],
    pub uplinks: &'a [Uplink],
}

/// The protocol and the ends of the socket that a flow of this kind has on this host.
pub fn local_ends(kind: &Kind, count: &Count) -> (u8, SocketAddr, SocketAddr) {
    let example = &count.example;
    let remote = SocketAddr::new(example.remote, example.remote_port);
    (kind.protocol, SocketAddr::new(kind.local, example.local_port), remote)
}

/// Findings about rules and routes, the most likely cause first.
const ROUTING: [&str; 15] = [
    "not-applied",
    "table-empty",
    "rule-missing",
    "rule-shadowed",
    "stanza-error",
    "interface-group",
    "table-stale",
    "foreign-route",
    "local-network-unreachable",
    "default-stale",
    "rule-duplicated",
    "gateway-unknown",
    "address-missing",
    "default-route-unknown",
    "lookup-failed",
];
const SHARED_LINKS: [&str; 3] = ["address-on-two-interfaces", "arp-flux", "address-duplicate"];

/// A kind of flow, with the names of its links and the lookup of what leaves.
#[derive(Clone, Copy)]
struct Flow<'a> {
    kind: &'a Kind,
    /// Its packets have another address while they are routed.
    is_translated: bool,
    /// The same for flows that a host behind this one has opened.
    translated_from: Option<IpAddr>,
    /// A host behind this one sends them.
    is_forwarded: bool,
    found: &'a Lookup,
    came_in: Option<&'a str>,
    left: Option<&'a str>,
}

impl Flow<'_> {
    fn family(&self) -> Family {
        Family::of(&self.kind.local)
    }

    fn goes_through(&self, dev: Option<&str>) -> bool {
        interfaces(self.found).any(|known| Some(known) == dev)
    }

    /// Does the lookup account for the packets that left?
    fn leaves_so(&self) -> bool {
        leaves_so(self.found, self.left, self.kind.router)
    }
}

impl Host<'_> {
    pub fn cause(&self, kind: &Kind, count: &Count, mut local: Local) -> Cause {
        let link = |index: Option<Index>| {
            let link = self.snapshot.links.iter().find(|link| Some(link.index) == index);
            link.map(|link| &link.name[..])
        };
        let (came_in, left) = (link(kind.came_in), link(kind.left));
        // A routed host behind this one.
        if kind.is_server && self.interface_of(kind.local).is_none() {
            let behind = SocketAddr::new(kind.local, count.example.local_port);
            local.forwarded_to.get_or_insert(behind);
        }
        let is_foreign = self.interface_of(kind.source).is_none();
        let sender = is_foreign.then(|| SocketAddr::new(kind.source, count.example.local_port));
        let behind = local.forwarded_to.or(local.translated_from).or(sender);
        let mut query = self.query(kind, count, &local, behind);
        let mut found = self.look_up(&query);
        let is_translated = local.forwarded_to.is_some_and(|host| host.ip() != kind.local);
        let translated_from = local.translated_from.map(|host| host.ip());
        let is_forwarded = behind.is_some();
        let flow = Flow { kind, is_translated, translated_from, is_forwarded, found: &found, came_in, left };
        let (mut reason, finding) = self.reason(&flow);
        let other =
            if reason == Reason::NotRoutes { self.other_reason(&query, &local, left, kind.router) } else { None };
        if let Some(other) = other {
            (reason, query, found) = other;
        }
        // Nothing is looked up for what another host sends, or where the lookup is not the cause.
        let is_shown = !matches!(reason, Reason::Sender | Reason::SenderDropped | Reason::Unknown);
        Cause { reason, local, lookup: is_shown.then_some((query, found)), finding }
    }

    fn look_up(&self, query: &Query) -> Lookup {
        lookup(self.snapshot, &LookupContext { forwards: true, ..LookupContext::default() }, query)
    }

    fn reason(&self, flow: &Flow) -> (Reason, Option<Finding>) {
        let Flow { kind, is_forwarded, came_in, .. } = *flow;
        match kind.verdict {
            Verdict::ArrivedElsewhere => {
                let is_dropped = self.drops_by_reverse_path(came_in, flow.family()) && !flow.goes_through(came_in);
                let reason = if is_dropped { Reason::SenderDropped } else { Reason::Sender };
                (reason, self.shared_links(came_in))
            }
            Verdict::Unanswered => self.reason_of_silence(flow),
            _ if flow.is_translated => (Reason::Forwarded, self.first(&["dnat-without-marks"], came_in, flow.family())),
            Verdict::ForeignSource if flow.translated_from.is_some() && flow.leaves_so() => {
                (flow.translated_from.map_or(Reason::Routes, Reason::TranslatedFrom), None)
            }
            _ if kind.source != kind.local => (Reason::WildcardSocket, self.wildcard_socket(kind)),
            Verdict::ForeignSource if is_forwarded && is_private(&kind.source.into()) => (Reason::NotTranslated, None),
            _ if flow.leaves_so() => {
                let owner = self.interface_of(kind.source);
                let of_owner = self.first(&ROUTING, owner.as_deref().or(came_in), flow.family());
                let reason = if is_forwarded { Reason::RoutedHost } else { Reason::Routes };
                (reason, of_owner.or_else(|| self.routing(flow)))
            }
            _ => (Reason::NotRoutes, None),
        }
    }

    /// What leads there instead of the rules for the address: the interface of the socket, or a mark.
    fn other_reason(
        &self,
        query: &Query,
        local: &Local,
        left: Option<&str>,
        router: Option<IpAddr>,
    ) -> Option<(Reason, Query, Lookup)> {
        let dev = left?;
        let is_bound = local.bound_to.is_some() && self.snapshot.link(dev).map(|link| link.index) == local.bound_to;
        let bound = is_bound.then(|| (Reason::BoundSocket, Query { oif: Some(dev.to_string()), ..query.clone() }));
        let family = query.family();
        let rules = self.snapshot.rules.iter().filter(|rule| rule.family == family).filter_map(|rule| {
            let extras = rule.extras.as_ref().filter(|extras| !extras.not)?;
            extras.mark.map(|(mark, _)| mark)
        });
        let marks = local.mark.into_iter().chain(rules).filter(|mark| *mark != 0);
        let marked = marks.map(|mark| (Reason::Marked(mark), Query { mark, ..query.clone() }));
        let looked_up = bound.into_iter().chain(marked).map(|(reason, query)| {
            let found = self.look_up(&query);
            (reason, query, found)
        });
        let mut leading = looked_up.filter(|(_, _, found)| leaves_so(found, left, router));
        leading.next()
    }

    /// The finding about the program's socket, or about another one with this port.
    fn wildcard_socket(&self, kind: &Kind) -> Option<Finding> {
        let by_port = |finding: &&Finding| finding.is_named(&format!("wildcard-udp:{}", kind.port));
        let is_family = |finding: &&Finding| finding.summary.contains("[::]") == kind.local.is_ipv6();
        let found = || self.findings.iter().filter(by_port);
        found().find(is_family).or_else(|| found().next()).cloned()
    }

    /// Why no reply leaves.
    fn reason_of_silence(&self, flow: &Flow) -> (Reason, Option<Finding>) {
        let Flow { kind, is_forwarded, came_in, .. } = *flow;
        match &flow.found.outcome {
            // What is forwarded may have a mark, and a route that rejects a remote host is a decision.
            _ if is_forwarded => (Reason::Unknown, None),
            Outcome::Rejected { step: None, .. } => (Reason::NoRoute, self.routing(flow)),
            Outcome::Rejected { .. } | Outcome::Unknown(_) => (Reason::Unknown, None),
            _ if self.uses_other_gateway(flow) => (Reason::Routes, self.routing(flow)),
            _ if flow.goes_through(came_in) => (Reason::Unknown, None),
            _ if self.interface_of(kind.local).as_deref() != came_in => (Reason::Unknown, None),
            _ if self.drops_by_reverse_path(came_in, flow.family()) => {
                let filter = self.first(&["rp-filter-drops", "rp-filter-ignores-marks"], came_in, flow.family());
                (Reason::ReversePath, filter.or_else(|| self.routing(flow)))
            }
            // Where the gateway of the wrong uplink does not reply to ARP requests for a foreign address, no reply
            // leaves at all.
            _ => (Reason::Routes, self.routing(flow)),
        }
    }

    /// Would the reply be sent to the gateway of another uplink of the same interface?
    fn uses_other_gateway(&self, flow: &Flow) -> bool {
        let (kind, family) = (flow.kind, flow.family());
        let here = |uplink: &&Uplink| uplink.family == family && Some(&uplink.interface[..]) == flow.came_in;
        let has_address = |uplink: &&Uplink| uplink.sources.iter().any(|source| source.net.addr() == kind.local);
        let uplinks = || self.uplinks.iter().filter(here);
        let own: Vec<IpAddr> = uplinks().filter(has_address).filter_map(|uplink| uplink.gateway.address()).collect();
        let mut others = uplinks().filter_map(|uplink| uplink.gateway.address()).filter(|other| !own.contains(other));
        !own.is_empty() && others.any(|other| leaves_so(flow.found, flow.came_in, Some(other)))
    }

    /// The finding about rules and routes of the link that the flow came in through. A foreign rule for several uplinks is
    /// one finding.
    fn routing(&self, flow: &Flow) -> Option<Finding> {
        let is_family = |finding: &&Finding| finding.family.is_none_or(|family| family == flow.family());
        let shadowing = || self.findings.iter().filter(is_family).find(|finding| finding.id == "rule-shadowed");
        self.first(&ROUTING, flow.came_in, flow.family()).or_else(|| shadowing().cloned())
    }

    /// The packet that leaves, as its rules see it.
    fn query(&self, kind: &Kind, count: &Count, local: &Local, behind: Option<SocketAddr>) -> Query {
        let has_ports = matches!(kind.protocol, TCP | UDP);
        let port = |port: u16| if has_ports { port } else { 0 };
        let forwarded = behind.and_then(|host| {
            let found = lookup(self.snapshot, &LookupContext::default(), &Query::to(host.ip()));
            Some((host, interfaces(&found).next()?.to_string()))
        });
        let (from, iif, sport) = match forwarded {
            Some((host, dev)) => (Some(host.ip()), Some(dev), host.port()),
            None => ((kind.source == kind.local).then_some(kind.source), None, count.example.local_port),
        };
        Query {
            from,
            iif,
            uid: local.program.as_ref().map_or(0, |program| program.uid),
            // The kernel accepts these only.
            ip_protocol: if matches!(kind.protocol, ICMP | TCP | ICMPV6) { kind.protocol } else { UDP },
            sport: port(sport),
            dport: port(count.example.remote_port),
            ..Query::to(count.example.remote)
        }
    }

    /// The first finding with one of these ids about the interface, or about the whole host.
    fn first(&self, ids: &[&str], interface: Option<&str>, family: Family) -> Option<Finding> {
        let concerns = |finding: &&Finding| {
            let is_interface = finding.interface.is_none() || finding.interface.as_deref() == interface;
            is_interface && finding.family.is_none_or(|of| of == family)
        };
        let found = |id: &&str| self.findings.iter().filter(concerns).find(|finding| finding.id == *id);
        ids.iter().find_map(found).cloned()
    }

    /// Findings about two interfaces in one network name only one of them.
    fn shared_links(&self, came_in: Option<&str>) -> Option<Finding> {
        let names = |finding: &&Finding| came_in.is_some_and(|dev| finding.summary.contains(dev));
        SHARED_LINKS.iter().find_map(|id| self.findings.iter().filter(names).find(|finding| finding.id == *id)).cloned()
    }

    fn drops_by_reverse_path(&self, came_in: Option<&str>, family: Family) -> bool {
        family == Family::Inet && came_in.is_some_and(|dev| self.facts.rp_filter(dev) == 1)
    }

    fn interface_of(&self, address: IpAddr) -> Option<String> {
        let known = self.snapshot.addresses.iter().find(|known| known.net.addr() == address);
        known.map(|known| known.dev.clone())
    }
}

/// Does the route lead through this interface, and to this gateway?
fn leaves_so(found: &Lookup, dev: Option<&str>, router: Option<IpAddr>) -> bool {
    match (&found.outcome, router) {
        (Outcome::Route { candidates, .. }, Some(_)) => {
            candidates.iter().any(|route| route.dev.as_deref() == dev && route.gateway == router)
        }
        (_, Some(_)) => false,
        (_, None) => interfaces(found).any(|known| Some(known) == dev),
    }
}

/// The interfaces of the route that the lookup returns: several if the kernel selects one.
fn interfaces(found: &Lookup) -> impl Iterator<Item = &str> {
    let (candidates, on_link) = match &found.outcome {
        Outcome::Route { candidates, .. } => (candidates.as_slice(), None),
        Outcome::OnLink { dev } => (&[][..], Some(dev.as_str())),
        Outcome::Rejected { .. } | Outcome::Unknown(_) => (&[][..], None),
    };
    candidates.iter().filter_map(|route| route.dev.as_deref()).chain(on_link)
}
