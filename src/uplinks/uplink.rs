//! An uplink, as a value.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;
use rustc_hash::FxHashSet;

use super::gateway::Gateway;
use crate::commands::SameMetric;
use crate::interfaces::{Diagnostic, Location, without_alias};
use crate::network::Family;

/// Highest priority that leaves room for an uplink's rules before `main` (32766).
pub const MAX_PRIORITY: u32 = 32_755;

/// In a layered policy, the priority of the rule for sockets bound to the interface, relative to the uplink's first rule.
pub const DEVICE_RULE: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The main table without routes through uplinks and without its default route, then the uplink's table.
    Layered,
    /// One rule per source, as in the article.
    Article,
}

impl Layout {
    pub fn name(self) -> &'static str {
        match self {
            Layout::Layered => "layered",
            Layout::Article => "article",
        }
    }

    pub fn parse(name: &[u8]) -> Option<Self> {
        [Layout::Layered, Layout::Article].into_iter().find(|layout| layout.name().as_bytes() == name)
    }
}

/// Who adds the default route through an uplink to the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The options of its stanza, or the client that ifup starts for it.
    Options,
    /// A command in a stanza, which sets the metric.
    Line { location: Location },
    /// It is only in the kernel's main table: a router advertisement, a client or a script added it.
    Main,
}

/// Why symroute does not manage an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    Vrf,
}

impl Skipped {
    pub fn reason(self) -> &'static str {
        match self {
            Skipped::Vrf => "skipped: its interface belongs to a VRF, which has its own tables",
        }
    }
}

/// What is missing for an uplink to be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No link has its name.
    Link,
    /// Its link is down.
    LinkUp,
    Address,
    /// Neither a lease, an advertisement nor a default route gives its gateway.
    Gateway,
    /// Nothing is missing, but an `ifdown` takes it down.
    Stay,
}

impl Missing {
    /// The state of an uplink, in a table.
    pub fn state(self) -> &'static str {
        match self {
            Missing::Link => "no interface",
            Missing::LinkUp => "interface down",
            Missing::Address => "no address",
            Missing::Gateway => "no gateway",
            Missing::Stay => "going down",
        }
    }

    /// The same as part of a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Missing::Link => "no interface has this name",
            Missing::LinkUp => "interface is down",
            Missing::Address => "its address is missing",
            Missing::Gateway => "its gateway is not known",
            Missing::Stay => "it is going down",
        }
    }
}

/// A source address of an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The address, with the prefix length of its on-link network.
    pub net: IpNet,
    /// The peer of a point-to-point link: no other host is on-link.
    pub peer: Option<IpAddr>,
    /// The stanza that adds it; nothing if it is only in the kernel.
    pub stanza: Option<usize>,
    /// It stands for all addresses of its prefix: IPv6 autoconfiguration adds and removes them.
    pub by_prefix: bool,
    /// The interface that has it, if that is not the uplink's interface.
    pub other_interface: Option<String>,
}

impl Source {
    /// An address that no stanza adds.
    pub(crate) fn of(net: IpNet) -> Self {
        Source { net, peer: None, stanza: None, by_prefix: false, other_interface: None }
    }

    /// The on-link network of the uplink's interface that it is in.
    pub(crate) fn network(&self) -> Option<IpNet> {
        let network = self.peer.map_or(self.net.trunc(), IpNet::from);
        let is_network = self.peer.is_some() || network.prefix_len() < network.max_prefix_len();
        (self.other_interface.is_none() && is_network).then_some(network)
    }
}

/// The options of symroute in the stanza.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `symroute yes` or `symroute no`.
    pub enabled: Option<bool>,
    pub table: Option<u32>,
    pub priority: Option<u32>,
    pub layout: Option<Layout>,
}

/// The values in the block of its stanza.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockState {
    pub table: Option<u32>,
    pub priority: Option<u32>,
    pub layout: Option<Layout>,
    pub metric: Option<u32>,
    /// It has commands: the stanza's lines add and remove routes and rules.
    pub lines: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The kernel's name of the link: without the `:1` of an alias.
    pub interface: String,
    /// As its stanza and ifup name it: `eth0`, `eth0:1`, `eth0=home`.
    pub name: String,
    pub family: Family,
    /// The stanza with the gateway, an index into `Config::stanzas`.
    pub stanza: usize,
    pub location: Location,
    /// Not known yet for a DHCP or autoconfigured uplink that is not up.
    pub gateway: Gateway,
    /// The address of the lease that has the gateway, where the main table has another one: the source of the uplink's
    /// own default route, which records this.
    pub lease: Option<IpAddr>,
    /// Further stanzas that name the same gateway.
    pub same_gateway: Vec<usize>,
    /// The stanza adds a default route to the main table.
    pub in_main: bool,
    /// The metric that the administrator gave that route.
    pub metric: Option<u32>,
    pub sources: Vec<Source>,
    /// DHCP, autoconfiguration, or another program adds its addresses.
    pub dynamic: bool,
    pub overrides: Overrides,
    pub written: Option<BlockState>,
    /// It has manual policy routing.
    pub is_manual: bool,
    pub origin: Origin,
    /// What its command does if the main table already has a default route with its metric.
    pub same_metric: SameMetric,
    pub skipped: Option<Skipped>,
    /// The link is up and has one of the addresses; always true without a snapshot.
    pub up: bool,
    /// What is missing, if it is not up.
    pub missing: Option<Missing>,
    /// The errors of its stanza: with errors it gets no policy, and its installed entries stay.
    pub faults: Vec<Diagnostic>,
}

impl Uplink {
    /// An uplink with default values for all other fields.
    pub(crate) fn new(
        interface: &str,
        name: impl Into<String>,
        family: Family,
        stanza: (usize, Location),
        gateway: Gateway,
    ) -> Self {
        Uplink {
            interface: interface.to_string(),
            name: name.into(),
            family,
            stanza: stanza.0,
            location: stanza.1,
            gateway,
            lease: None,
            same_gateway: Vec::new(),
            in_main: false,
            metric: None,
            sources: Vec::new(),
            dynamic: false,
            overrides: Overrides::default(),
            written: None,
            is_manual: false,
            origin: Origin::Options,
            same_metric: if family == Family::Inet6 { SameMetric::Replaces } else { SameMetric::Fails },
            skipped: None,
            up: true,
            missing: None,
            faults: Vec::new(),
        }
    }

    /// Is it up under the name of an alias, `eth0:1`?
    pub fn is_alias(&self) -> bool {
        is_alias(&self.name)
    }

    /// Its link as ifupdown names it: an altname, or an alias.
    pub(crate) fn listed_link(&self) -> &str {
        self.name.split('=').next().unwrap_or_default()
    }

    /// Its interface as ifupdown names it, which may be an altname.
    pub(crate) fn listed_interface(&self) -> &str {
        let link = self.listed_link();
        &link[..without_alias(link).len()]
    }

    /// Is it on the interface of this name, or of an alias `eth0:1` of it?
    pub fn is_on(&self, interface: &str) -> bool {
        let interface = without_alias(interface);
        self.interface.as_bytes() == interface || self.listed_interface().as_bytes() == interface
    }

    /// The interface name in its rule. A rule keeps the name with which it was added: the stanza's own lines use the name in
    /// the stanza.
    pub fn rule_interface(&self) -> &str {
        // pppd does not know the stanza's name; the lines of such a stanza run symroute.
        let is_of_program = self.dynamic && self.gateway == Gateway::OnLink;
        if !is_of_program && self.written.is_some_and(|written| written.lines) {
            self.listed_interface()
        } else {
            &self.interface
        }
    }

    /// On-link networks of the interface that belong to this uplink, in the order of its sources.
    pub fn on_link(&self) -> Vec<IpNet> {
        if let [source] = &self.sources[..] {
            return source.network().into_iter().collect();
        }
        let mut seen = FxHashSet::default();
        self.networks().filter(|network| seen.insert(*network)).collect()
    }

    /// The same, with one network for each source.
    pub(crate) fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.sources.iter().filter_map(Source::network)
    }

    /// May the hosts of this network be behind the router? An advertisement says so (RFC 4861, L flag), and then the main
    /// table has no on-link route.
    pub fn may_be_off_link(&self, net: &IpNet) -> bool {
        let mut sources = self.sources.iter().filter(|source| source.network().as_ref() == Some(net));
        sources.all(|source| source.by_prefix)
    }

    /// The other ones: their hosts are not behind the router.
    pub(crate) fn certainly_on_link(&self) -> FxHashSet<IpNet> {
        self.sources.iter().filter(|source| !source.by_prefix).filter_map(Source::network).collect()
    }

    /// The networks that other customers of its provider may use: those that contain the gateway, or else the network of the
    /// stanza with the gateway. (A LAN on the same interface is not one of them.) A point-to-point link has none.
    pub fn provider_networks(&self) -> Vec<IpNet> {
        let mut with_gateway = self.on_link();
        with_gateway.retain(|net| self.gateway.address().is_some_and(|gateway| net.contains(&gateway)));
        if !with_gateway.is_empty() || self.gateway == Gateway::OnLink {
            return with_gateway;
        }
        let own = self.sources.iter().find(|source| self.is_own(source)).map(|source| source.net.trunc());
        own.into_iter().filter(|net| net.prefix_len() < net.max_prefix_len()).collect()
    }

    /// Is it an address of the stanza with the gateway?
    pub(crate) fn is_own(&self, source: &Source) -> bool {
        let of_uplink = source.stanza == Some(self.stanza) || self.dynamic && source.stanza.is_none();
        of_uplink && source.peer.is_none() && source.other_interface.is_none()
    }

    /// Marks it as down: its interface is about to go down.
    pub(crate) fn leave(&mut self) {
        if self.up || self.is_waiting() || self.is_faulty() {
            self.missing = Some(Missing::Stay);
        }
        self.up = false;
    }

    /// It has its address, but its gateway is not known any more: the gateway may return at any time.
    pub fn is_waiting(&self) -> bool {
        self.missing == Some(Missing::Gateway)
    }

    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Do its installed entries stay, whatever the plan is?
    pub fn keeps_installed(&self) -> bool {
        (self.is_waiting() || self.is_faulty()) && self.missing != Some(Missing::Stay)
    }

    /// `eth0 (IPv4)`, for messages.
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.family.version())
    }
}

/// A link and its stanza, as an argument of ifup.
pub(crate) fn name(link: &BStr, stanza: &BStr) -> String {
    if link == stanza { link.to_str_lossy().into_owned() } else { format!("{link}={stanza}") }
}

pub(crate) fn is_alias(name: &str) -> bool {
    name.split('=').next().is_some_and(|link| link.contains(':'))
}
