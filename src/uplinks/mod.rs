//! Finding the uplinks: which stanzas are a way out, through which gateway, with which source addresses.
//!
//! Without a snapshot this is what the files say; with one, the addresses are those that the kernel has,
//! and a gateway that the files do not name (DHCP, router advertisements) is the kernel's default route.

mod finder;
pub mod handwritten;
mod live;
mod named;
mod options;
mod routes;

use std::net::IpAddr;

use ipnet::IpNet;

use self::finder::Finder;
pub use self::named::restarted;
pub use self::routes::StaticRoute;
use crate::interfaces::command::Command;
use crate::interfaces::{At, Config, Diagnostic, Dialect, Family};
use crate::snapshot::{INET6_METRIC, Snapshot};
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
    /// The link is up and has one of the addresses; always true without a snapshot.
    pub up: bool,
}

impl Uplink {
    /// On-link networks of the interface that belong to this uplink, in the order of its sources.
    pub fn on_link(&self) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for source in &self.sources {
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
        let own = |source: &&Source| source.stanza == Some(self.stanza) && source.peer.is_none();
        let own = self.sources.iter().find(own).map(|source| source.net.trunc());
        own.into_iter().filter(|net| net.prefix_len() < net.max_prefix_len()).collect()
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
    /// In file order.
    pub uplinks: Vec<Uplink>,
    /// On-link networks and addresses of the host that belong to no uplink.
    pub other_networks: Vec<IpNet>,
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
    let mut finder = Finder::new(config, names);
    let mut uplinks = finder.uplinks();
    if let Some(snapshot) = snapshot {
        live::hold_against(&mut uplinks, snapshot);
        live::take_down(&mut uplinks, config, going);
    }
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

/// Gives an address to the uplink of its link that it belongs to, if there is one.
fn assign(uplinks: &mut [Uplink], link: &str, family: Family, source: &Source) {
    let here = |uplink: &Uplink| uplink.interface == link && uplink.family == family;
    if uplinks
        .iter()
        .any(|uplink| here(uplink) && uplink.sources.iter().any(|known| known.net.addr() == source.net.addr()))
    {
        return;
    }
    let network = source.net.trunc();
    let mut candidates: Vec<&mut Uplink> = uplinks.iter_mut().filter(|uplink| here(uplink)).collect();
    // An address in no uplink's network goes with the link's only uplink.
    let owner = match candidates.iter().position(|uplink| uplink.owns(&network)) {
        None if candidates.len() == 1 => Some(0),
        owner => owner,
    };
    if let Some(owner) = owner {
        candidates[owner].sources.push(source.clone());
    }
}
