//! Finding the uplinks: which stanzas are a way out, through which gateway, with which source addresses.
//!
//! Without a snapshot this is what the files say; with one, the addresses are those that the kernel has,
//! and a gateway that the files do not name (DHCP, router advertisements) is the kernel's default route.

mod finder;
pub mod handwritten;
mod lines;
mod live;
mod named;
mod options;
mod renamed;
mod routes;

use std::net::IpAddr;

use ipnet::IpNet;

use self::finder::Finder;
pub use self::named::{restart, restarted};
pub use self::routes::StaticRoute;
use crate::interfaces::command::{Command, Meeting};
use crate::interfaces::{At, Config, Diagnostic, Dialect, Family};
use crate::snapshot::{INET6_METRIC, Route, Snapshot};
use crate::tables::Names;

/// Highest priority that leaves room for an uplink's rules before `main` (32766).
pub const MAX_PRIORITY: u32 = 32_755;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Own subnet, then main without its default, then the uplink's gateway.
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

/// Where main's default route through an uplink comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The options of its stanza, or the client that ifup starts for it.
    Options,
    /// A command in a stanza: its metric stands there.
    Line { at: At },
    /// Only the kernel's table main has it: from a router advertisement, a client, a script.
    Main,
}

/// Why an uplink is none that symroute manages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    Vrf,
    PointToPoint,
}

impl Skipped {
    pub fn reason(self) -> &'static str {
        match self {
            Skipped::Vrf => "skipped: its interface belongs to a VRF, which has its own tables",
            Skipped::PointToPoint => "not managed yet: point-to-point uplinks without a gateway",
        }
    }
}

/// What an uplink lacks that is not up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// No link has its name.
    Link,
    /// Its link is down.
    LinkUp,
    Address,
    /// No lease, no advertisement and no default route tells its gateway.
    Gateway,
    /// It has everything, and an `ifdown` takes it down.
    Stay,
}

impl Lack {
    /// The state of an uplink, in a table.
    pub fn state(self) -> &'static str {
        match self {
            Lack::Link => "no interface",
            Lack::LinkUp => "interface down",
            Lack::Address => "no address",
            Lack::Gateway => "no gateway",
            Lack::Stay => "going down",
        }
    }

    /// The same as a part of a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Lack::Link => "no interface has this name",
            Lack::LinkUp => "interface is down",
            Lack::Address => "its address is missing",
            Lack::Gateway => "its gateway is not known",
            Lack::Stay => "it is going down",
        }
    }
}

/// A source address of an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The address, with the prefix length of its on-link network.
    pub net: IpNet,
    /// The other end where the link is point-to-point: there is no other on-link host.
    pub peer: Option<IpAddr>,
    /// The stanza that brings it; nowhere when only the kernel knows it.
    pub stanza: Option<usize>,
    /// Stands for all addresses of its prefix, as IPv6 autoconfiguration makes and drops them.
    pub by_prefix: bool,
    /// The interface that has it, where that is not the uplink's: an address of the uplink's network all the same.
    pub elsewhere: Option<String>,
}

impl Source {
    /// An address that no stanza brings.
    fn of(net: IpNet) -> Self {
        Source { net, peer: None, stanza: None, by_prefix: false, elsewhere: None }
    }
}

/// What the administrator asks for in the stanza.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// `symroute yes` or `symroute no`.
    pub enabled: Option<bool>,
    pub table: Option<u32>,
    pub priority: Option<u32>,
    pub layout: Option<Layout>,
}

/// What the block in its stanza says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub table: Option<u32>,
    pub priority: Option<u32>,
    pub layout: Option<Layout>,
    pub metric: Option<u32>,
    /// It has commands: the stanza's lines do the work when its interface comes and goes.
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
    pub at: At,
    /// Not known yet for a DHCP or autoconfigured uplink that is not up.
    pub gateway: Option<IpAddr>,
    /// Further stanzas that name the same gateway.
    pub twins: Vec<usize>,
    /// The stanza puts a default route into main.
    pub in_main: bool,
    /// The metric that the administrator gave that route.
    pub metric: Option<u32>,
    pub sources: Vec<Source>,
    /// DHCP or autoconfiguration.
    pub dynamic: bool,
    pub wish: Wish,
    pub written: Option<Written>,
    /// The administrator's own `ip rule` lines serve it.
    pub hand_written: bool,
    pub origin: Origin,
    /// What its command does where main has a default route with its metric.
    pub meeting: Meeting,
    pub skipped: Option<Skipped>,
    /// The link is up and has one of the addresses; always true without a snapshot.
    pub up: bool,
    /// What is missing, where it is not up.
    pub lacks: Option<Lack>,
}

impl Uplink {
    /// Nothing is known of it but this.
    fn new(interface: &str, name: &str, family: Family, stanza: (usize, At), gateway: Option<IpAddr>) -> Self {
        Uplink {
            interface: interface.to_string(),
            name: name.to_string(),
            family,
            stanza: stanza.0,
            at: stanza.1,
            gateway,
            twins: Vec::new(),
            in_main: false,
            metric: None,
            sources: Vec::new(),
            dynamic: false,
            wish: Wish::default(),
            written: None,
            hand_written: false,
            origin: Origin::Options,
            meeting: if family == Family::Inet6 { Meeting::Replaces } else { Meeting::Fails },
            skipped: None,
            up: true,
            lacks: None,
        }
    }

    /// Is it up under the name of an alias, `eth0:1`?
    pub fn is_alias(&self) -> bool {
        named::is_alias(&self.name)
    }

    /// Its link as ifupdown names it: an altname, or an alias.
    fn listed_link(&self) -> &str {
        self.name.split('=').next().unwrap_or_default()
    }

    /// Its interface as ifupdown names it, which may be an altname.
    fn listed_interface(&self) -> &str {
        self.listed_link().split(':').next().unwrap_or_default()
    }

    /// Is it on the interface of this name, or of an alias `eth0:1` of it?
    pub fn is_on(&self, interface: &str) -> bool {
        let interface = interface.split(':').next().unwrap_or_default();
        self.interface == interface || self.listed_interface() == interface
    }

    /// The interface as its rule names it. A rule keeps the name that it was given, so that of the stanza's own lines
    /// has the stanza's.
    pub fn rule_interface(&self) -> &str {
        if self.written.is_some_and(|written| written.lines) { self.listed_interface() } else { &self.interface }
    }

    /// On-link networks of the interface that belong to this uplink, in the order of its sources.
    pub fn on_link(&self) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for source in self.sources.iter().filter(|source| source.elsewhere.is_none()) {
            let network = source.peer.map_or(source.net.trunc(), IpNet::from);
            if (source.peer.is_some() || network.prefix_len() < network.max_prefix_len())
                && !networks.contains(&network)
            {
                networks.push(network);
            }
        }
        networks
    }

    /// The networks that its provider's other customers may be in: those with the gateway in them, or, if
    /// there is none, that of the stanza with the gateway. (An address of a LAN on the same wire is not one.)
    pub fn provider_networks(&self) -> Vec<IpNet> {
        let with_gateway: Vec<IpNet> = self
            .on_link()
            .into_iter()
            .filter(|net| self.gateway.is_some_and(|gateway| net.contains(&gateway)))
            .collect();
        if !with_gateway.is_empty() {
            return with_gateway;
        }
        let of_uplink = |source: &Source| source.stanza == Some(self.stanza) || self.dynamic && source.stanza.is_none();
        let own = |source: &&Source| of_uplink(source) && source.peer.is_none() && source.elsewhere.is_none();
        let own = self.sources.iter().find(own).map(|source| source.net.trunc());
        own.into_iter().filter(|net| net.prefix_len() < net.max_prefix_len()).collect()
    }

    /// Counts as down: its interface is about to go.
    fn leave(&mut self) {
        if self.up || self.is_waiting() {
            self.lacks = Some(Lack::Stay);
        }
        self.up = false;
    }

    /// Its address is there, and its gateway is not known any more: it may come back at any moment.
    pub fn is_waiting(&self) -> bool {
        self.lacks == Some(Lack::Gateway)
    }

    /// `eth0 inet`, for messages.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.family)
    }

    fn owns(&self, net: &IpNet) -> bool {
        self.gateway.is_some_and(|gateway| net.contains(&gateway)) || self.on_link().iter().any(|own| own.contains(net))
    }
}

/// What a configuration has to do with uplinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In file order; then those that only the kernel's table main tells of.
    pub uplinks: Vec<Uplink>,
    /// On-link networks and addresses of the host that belong to no uplink.
    pub other_networks: Vec<IpNet>,
    /// Main's default routes that belong to no uplink, where the host has another way out.
    pub unknown_defaults: Vec<Route>,
    /// Routes that lines add to main.
    pub static_routes: Vec<StaticRoute>,
    /// Tables and priorities that hand-written lines use.
    pub taken_tables: Vec<u32>,
    pub taken_priorities: Vec<u32>,
    /// Metrics of main's inet and inet6 default routes whose stanza has no `metric`.
    pub unset_metrics: [u32; 2],
    /// An interface has one metric for both families, whichever of its stanzas names it.
    pub one_metric: bool,
    pub diagnostics: Vec<Diagnostic>,
}

/// The uplinks of a configuration. With a snapshot they are held against the kernel; `going` names the
/// interfaces (as ifupdown does, `eth0:1` included) that are about to go down.
pub fn find(config: &Config, snapshot: Option<&Snapshot>, going: &[&str], names: &Names) -> Found {
    let mut finder = finder(config, snapshot, names);
    let (mut uplinks, unknown_defaults) = finder.with_those_of_main(snapshot);
    if let Some(snapshot) = snapshot {
        live::hold_against(&mut uplinks, snapshot);
        live::take_down(&mut uplinks, &finder, going);
    }
    found(finder, uplinks, unknown_defaults, snapshot)
}

/// The uplinks as they are to be, whether they are up or not: those of the files, and those that only the kernel's
/// table main tells of.
pub fn intended(config: &Config, snapshot: Option<&Snapshot>, names: &Names) -> Found {
    let mut finder = finder(config, snapshot, names);
    let (mut uplinks, unknown_defaults) = finder.with_those_of_main(snapshot);
    if let Some(snapshot) = snapshot {
        live::hold_those_of_main_against(&mut uplinks, snapshot);
    }
    found(finder, uplinks, unknown_defaults, None)
}

fn finder<'a>(config: &'a Config, snapshot: Option<&'a Snapshot>, names: &'a Names) -> Finder<'a> {
    let finder = Finder::new(config, snapshot, names);
    let Some(snapshot) = snapshot else { return finder };
    let renamed = renamed::renamed(&finder, snapshot);
    finder.with_links_of_kernel(renamed)
}

fn found(finder: Finder, uplinks: Vec<Uplink>, unknown_defaults: Vec<Route>, snapshot: Option<&Snapshot>) -> Found {
    let Finder { config, names, .. } = finder;
    let owned = |net: &IpNet| uplinks.iter().any(|uplink| uplink.sources.iter().any(|source| source.net == *net));
    let known = finder.sources.iter().map(|(_, _, source)| source.net);
    let in_kernel = snapshot.iter().flat_map(|snapshot| &snapshot.addresses).filter(|address| !address.local);
    let mut other_networks: Vec<IpNet> =
        known.chain(in_kernel.map(|address| address.net)).filter(|net| !owned(net)).collect();
    other_networks.sort();
    other_networks.dedup();
    // A table that is only flushed on the way down is in use as well.
    let by_hand = || finder.lines.iter().filter(|line| line.is_policy(names)).map(|line| &line.command);
    Found {
        other_networks,
        unknown_defaults,
        static_routes: finder.static_routes(),
        taken_tables: by_hand().filter_map(|command| names.number(command.get("table")?)).collect(),
        taken_priorities: by_hand().filter_map(Command::priority).collect(),
        unset_metrics: match config.dialect {
            Dialect::IfupdownNg => [1, 1],
            _ => [0, INET6_METRIC],
        },
        one_metric: config.dialect != Dialect::Ifupdown,
        diagnostics: finder.wrong,
        uplinks,
    }
}

/// Gives an address of `link` to the uplink that it belongs to, if there is one: to one of its own link in whose
/// network it is, or else to the one of another link, or else to its link's only uplink.
fn assign(uplinks: &mut [Uplink], link: &str, family: Family, source: &Source) {
    let of_family = |uplink: &Uplink| uplink.family == family && uplink.skipped.is_none();
    let here = |uplink: &Uplink| of_family(uplink) && uplink.interface == link;
    let has = |uplink: &Uplink| uplink.sources.iter().any(|known| known.net.addr() == source.net.addr());
    if uplinks.iter().any(|uplink| here(uplink) && has(uplink)) {
        return;
    }
    let network = source.net.trunc();
    let own = uplinks.iter().position(|uplink| here(uplink) && uplink.owns(&network));
    let only = || {
        let mut candidates = (0..uplinks.len()).filter(|at| here(&uplinks[*at]));
        candidates.next().filter(|_| candidates.next().is_none())
    };
    let elsewhere = || {
        let others = uplinks.iter().enumerate().filter(|(_, uplink)| of_family(uplink) && uplink.interface != link);
        owner_elsewhere(others, &source.net)
    };
    let owner = match own {
        Some(own) => Some(own),
        None if uplinks.iter().any(|uplink| of_family(uplink) && has(uplink)) => None,
        None => elsewhere().or_else(only),
    };
    let Some(owner) = owner.map(|owner| &mut uplinks[owner]) else { return };
    let here = owner.interface == link;
    let elsewhere = (!here).then(|| link.to_string());
    owner.sources.push(Source { elsewhere, by_prefix: source.by_prefix && here && owner.dynamic, ..source.clone() });
}

/// The first uplink of another link that has the address in a network of its provider, the smallest one that holds it.
/// A smaller network of the address's own (a VPN's inside 10.0.0.0/8) is not the provider's.
fn owner_elsewhere<'a>(uplinks: impl Iterator<Item = (usize, &'a Uplink)>, address: &IpNet) -> Option<usize> {
    let (length, most) = (address.prefix_len(), address.max_prefix_len());
    let holds = |net: &IpNet| net.contains(&address.addr()) && (length == most || length <= net.prefix_len());
    let networks = uplinks.flat_map(|(at, uplink)| uplink.provider_networks().into_iter().map(move |net| (at, net)));
    let holding = networks.filter(|(_, net)| holds(net));
    holding.min_by_key(|(at, net)| (std::cmp::Reverse(net.prefix_len()), *at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
