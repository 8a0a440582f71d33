//! What the files tell of the host, gathered once and ready to be asked.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bstr::ByteSlice;
use ipnet::IpNet;

use super::Phase;
use crate::interfaces::Family;
use crate::interfaces::command::{Command, Object, prefix};
use crate::snapshot::MAIN;
use crate::tables::Names;
use crate::uplinks::Uplink;
use crate::uplinks::finder::Finder;

/// A table, by number where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Table {
    Number(u32),
    Name(String),
}

/// The table that a command is about; none for a rule that says `unreachable` and the like.
pub(super) fn table(command: &Command, names: &Names) -> Option<Table> {
    let Some(text) = command.get("table") else {
        let elsewhere = ["type", "goto", "l3mdev"].into_iter().any(|other| command.get(other).is_some());
        return (command.object == Object::Route || !elsewhere).then_some(Table::Number(MAIN));
    };
    Some(names.number(text).map_or_else(|| Table::Name(text.to_string()), Table::Number))
}

/// The text as one address, whatever its prefix length says in full.
pub(super) fn single(text: &str, inet6: bool) -> Option<IpAddr> {
    prefix(text, inet6).filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr())
}

/// A route that a line adds.
pub(super) struct Road {
    /// Index into the lines.
    pub(super) at: usize,
    pub(super) table: Table,
    /// Where to; nothing for everywhere, or for what is no network.
    pub(super) net: Option<IpNet>,
    /// No gateway.
    pub(super) on_link: bool,
}

/// What the files tell of the host, ready to be asked.
#[derive(Default)]
pub(super) struct Host {
    pub(super) known: HashSet<String>,
    pub(super) owners: HashMap<IpAddr, String>,
    pub(super) owners_by_text: HashMap<String, String>,
    /// By link and family (true for inet6).
    pub(super) networks: HashMap<(String, bool), Vec<IpNet>>,
    /// May it have addresses that the files do not tell?
    pub(super) open: HashMap<(String, bool), bool>,
    pub(super) roads: Vec<Road>,
    pub(super) by_table: HashMap<Table, Vec<usize>>,
    /// Tables that symroute fills and that stay what they are: the files name them.
    pub(super) by_symroute: HashSet<Table>,
    /// Tables that rules by source look into.
    pub(super) by_source: HashSet<Table>,
    /// Destinations that rules send to main first; nothing for all of them.
    pub(super) main_first: Vec<Option<IpNet>>,
}

impl Host {
    pub(super) fn new(finder: &Finder<'_>, uplinks: &[Uplink], links: &[String]) -> Self {
        let served = uplinks.iter().filter(|uplink| !uplink.hand_written && uplink.wish.enabled != Some(false));
        let numbers = served.flat_map(|uplink| [uplink.wish.table, uplink.written.and_then(|written| written.table)]);
        let by_symroute = numbers.flatten().map(Table::Number).collect();
        let mut host = Host { known: links.iter().cloned().collect(), by_symroute, ..Host::default() };
        let mut told = HashSet::new();
        for (link, family, source) in &finder.sources {
            let inet6 = *family == Family::Inet6;
            told.extend(source.stanza.map(|stanza| (stanza, inet6)));
            host.owners.entry(source.net.addr()).or_insert_with(|| link.clone());
            let network = source.peer.map_or(source.net.trunc(), IpNet::from);
            host.networks.entry((link.clone(), inet6)).or_default().push(network);
        }
        for (index, (stanza, link)) in finder.config.stanzas.iter().zip(links).enumerate() {
            for entry in stanza.entries.iter().filter(|entry| entry.name == "address") {
                let text = entry.value.to_str_lossy().split('/').next().unwrap_or_default().to_string();
                host.owners_by_text.entry(text).or_insert_with(|| link.clone());
            }
            let runs = stanza.entries.iter().any(|entry| Phase::of(&entry.name).is_some_and(Phase::is_up));
            for (family, inet6) in [(Family::Inet, false), (Family::Inet6, true)] {
                if stanza.family == family || stanza.family == Family::Any {
                    let closed = match &stanza.method[..] {
                        b"static" => told.contains(&(index, inet6)),
                        b"manual" => !runs,
                        method => method == b"loopback",
                    };
                    *host.open.entry((link.clone(), inet6)).or_default() |= !closed;
                }
            }
        }
        for (at, line) in finder.lines.iter().enumerate().filter(|(_, line)| line.phase.is_up() && line.command.adds())
        {
            let (command, to) = (&line.command, line.command.prefix("to"));
            let net = to.filter(|net| net.prefix_len() > 0);
            match (table(command, finder.names), command.object) {
                (Some(table), Object::Route) => {
                    host.by_table.entry(table.clone()).or_default().push(host.roads.len());
                    host.roads.push(Road { at, table, net, on_link: command.get("via").is_none() });
                }
                (Some(Table::Number(MAIN)), Object::Rule) => {
                    let all = command.get("suppress_prefixlength").is_some();
                    host.main_first.extend((all || net.is_some()).then_some(net.filter(|_| !all)));
                }
                (Some(table), Object::Rule) if command.get("from").is_some() => _ = host.by_source.insert(table),
                _ => {}
            }
        }
        host
    }

    /// May some link have addresses that the files do not tell?
    pub(super) fn any_open(&self, inet6: bool) -> bool {
        self.open.iter().any(|((link, of), open)| *open && *of == inet6 && link != "lo")
    }
}
