//! The host as described in the files, indexed for lookups.

use std::net::IpAddr;

use bstr::ByteSlice;
use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::removal::RTPROT_BOOT;
use crate::commands::lines::{Line, Phase};
use crate::commands::tables::{MAIN, Names, Table, table};
use crate::commands::{Object, prefix};
use crate::interfaces::AddressFamily;
use crate::network::{Family, INET6_METRIC, Route, RouteState};
use crate::uplinks::by_network::ByNetwork;
use crate::uplinks::collector::UplinkCollector;
use crate::uplinks::{Origin, Uplink};

/// The address of a text that names one address, with or without its full prefix length.
pub(crate) fn single(text: &str, inet6: bool) -> Option<IpAddr> {
    prefix(text, inet6).filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr())
}

/// A route that a line adds.
pub(crate) struct ManualRoute {
    /// Index of the line.
    pub(crate) line: usize,
    pub(crate) table: Table,
    /// The destination; nothing for a default route, or if the text is not a network.
    pub(crate) net: Option<IpNet>,
    /// No gateway.
    pub(crate) on_link: bool,
}

/// The default route that the options of an uplink's stanza add to the main table; nothing if a lease or a line adds it.
pub(super) fn default_of_options(uplink: &Uplink) -> Option<Route> {
    let inet6 = uplink.family == Family::Inet6;
    let is_known = uplink.in_main && !uplink.dynamic && uplink.origin == Origin::Options;
    Some(Route {
        family: uplink.family,
        table: MAIN,
        dst: prefix("default", inet6)?,
        gateway: uplink.gateway.address().filter(|_| is_known).map(Some)?,
        dev: Some(uplink.interface.clone()),
        scope: 0,
        metric: uplink.metric.unwrap_or(if inet6 { INET6_METRIC } else { 0 }),
        onlink: false,
        protocol: RTPROT_BOOT,
        extras: None,
        state: RouteState::default(),
    })
}

/// The host as described in the files.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) known: FxHashSet<String>,
    pub(crate) owners: FxHashMap<IpAddr, String>,
    pub(crate) owners_by_text: FxHashMap<String, String>,
    /// By link and family (true for inet6).
    pub(crate) networks: FxHashMap<(String, bool), Vec<IpNet>>,
    /// Links by their networks.
    pub(crate) links: ByNetwork<Vec<String>>,
    /// Routes without a gateway, by destination.
    pub(crate) on_link: ByNetwork<Vec<usize>>,
    /// Addresses by link and family.
    pub(crate) addresses: FxHashMap<(String, bool), Vec<IpAddr>>,
    /// May a link have addresses that are not in the files? By family.
    pub(crate) any_open: [bool; 2],
    /// May the link have addresses that are not in the files? By link and family.
    pub(crate) open: FxHashMap<(String, bool), bool>,
    pub(crate) manual_routes: Vec<ManualRoute>,
    /// The default routes that options of stanzas add.
    pub(crate) defaults: Vec<Route>,
    pub(crate) by_table: FxHashMap<Table, Vec<usize>>,
    /// Tables of symroute whose numbers are in the files.
    pub(crate) by_symroute: FxHashSet<Table>,
    /// Tables that rules by source look up.
    pub(crate) by_source: FxHashSet<Table>,
    /// Destinations for which rules look up the main table first; nothing for all destinations.
    pub(crate) main_first: Vec<Option<IpNet>>,
}

impl Host {
    pub(crate) fn new(collector: &UplinkCollector<'_>, uplinks: &[Uplink], links: &[String]) -> Self {
        let managed = uplinks.iter().filter(|uplink| !uplink.is_manual && uplink.overrides.enabled != Some(false));
        let numbers =
            managed.flat_map(|uplink| [uplink.overrides.table, uplink.written.and_then(|written| written.table)]);
        let by_symroute = numbers.flatten().map(Table::Number).collect();
        let defaults = uplinks.iter().filter_map(default_of_options).collect();
        let mut host = Host { known: links.iter().cloned().collect(), by_symroute, defaults, ..Host::default() };
        host.add_addresses(collector);
        host.add_stanzas(collector, links);
        for (index, line) in collector.lines.iter().enumerate() {
            if line.phase.is_up() && line.command.adds() {
                host.add_line(index, line, collector.names);
            }
        }
        host.any_open =
            [false, true].map(|inet6| host.open.iter().any(|((link, of), open)| *open && *of == inet6 && link != "lo"));
        host
    }

    fn add_addresses(&mut self, collector: &UplinkCollector<'_>) {
        for source in &collector.sources {
            let (link, inet6) = (source.link(collector.config).to_string(), source.family() == Family::Inet6);
            self.owners.entry(source.net.addr()).or_insert_with(|| link.clone());
            let network = source.peer().map_or(source.net.trunc(), IpNet::from);
            self.networks.entry((link.clone(), inet6)).or_default().push(network);
            self.links.push(network, link.clone());
            self.addresses.entry((link, inet6)).or_default().push(source.net.addr());
        }
    }

    fn add_stanzas(&mut self, collector: &UplinkCollector<'_>, links: &[String]) {
        let with_address: FxHashSet<(usize, Family)> =
            collector.sources.iter().map(|known| (known.stanza(), known.family())).collect();
        for (index, (stanza, link)) in collector.config.stanzas.iter().zip(links).enumerate() {
            for entry in collector.config.entries(stanza).filter(|entry| entry.name == "address") {
                let text = entry.value.to_str_lossy().split('/').next().unwrap_or_default().to_string();
                self.owners_by_text.entry(text).or_insert_with(|| link.clone());
            }
            let runs = collector.config.entries(stanza).any(|entry| Phase::of(entry.name).is_some_and(Phase::is_up));
            let is_of = |family: &Family| {
                stanza.family == AddressFamily::Any || Family::of_stanza(stanza.family) == Some(*family)
            };
            for family in Family::ALL.into_iter().filter(is_of) {
                let closed = match &stanza.method[..] {
                    b"static" => with_address.contains(&(index, family)),
                    b"manual" => !runs,
                    method => method == b"loopback",
                };
                *self.open.entry((link.clone(), family == Family::Inet6)).or_default() |= !closed;
            }
        }
    }

    /// A line that adds a route or a rule.
    fn add_line(&mut self, index: usize, line: &Line, names: &Names) {
        let command = &line.command;
        let net = command.prefix("to").filter(|net| net.prefix_len() > 0);
        match (table(command, names), command.object) {
            (Some(table), Object::Route) => {
                let on_link = command.get("via").is_none();
                self.by_table.entry(table.clone()).or_default().push(self.manual_routes.len());
                if let Some(net) = net.filter(|_| on_link) {
                    self.on_link.push(net, self.manual_routes.len());
                }
                self.manual_routes.push(ManualRoute { line: index, table, net, on_link });
            }
            (Some(Table::Number(MAIN)), Object::Rule) => {
                let is_for_every_network = command.get("suppress_prefixlength").is_some();
                let destination = net.filter(|_| !is_for_every_network);
                self.main_first.extend((is_for_every_network || net.is_some()).then_some(destination));
            }
            (Some(table), Object::Rule) if command.get("from").is_some() => _ = self.by_source.insert(table),
            _ => {}
        }
    }

    pub(crate) fn any_open(&self, inet6: bool) -> bool {
        self.any_open[usize::from(inet6)]
    }
}
