//! The lint of manual policy: its lines, and the values that all checks use.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use bstr::ByteSlice;
use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::added::AddedRules;
use super::host::{Host, ManualRoute, single};
use crate::commands::lines::Line;
use crate::commands::tables::{Table, table};
use crate::commands::{Command, Object, Verb, number};
use crate::interfaces::{Diagnostic, Severity, Stanza, without_alias};
use crate::uplinks::collector::UplinkCollector;

pub(super) struct ManualPolicyLint<'a> {
    pub(super) host: Host,
    pub(super) collector: &'a UplinkCollector<'a>,
    pub(super) added: AddedRules,
    /// The lines with the suggested corrections, so that suggestions do not contradict each other.
    pub(super) corrected: Vec<Line<'a>>,
    /// The link of each stanza, without the `:1` of an alias.
    pub(super) links: Vec<String>,
    /// Lines that add a rule which another line deletes, or for which a diagnostic suggests a deletion.
    pub(super) deleted: FxHashSet<usize>,
    pub(super) found: Vec<Diagnostic>,
    /// Words of lines that are not policy, computed when they are first needed.
    pub(super) words_of_others: OnceCell<FxHashSet<Vec<u8>>>,
    /// Priorities to suggest for rules without one, by line.
    pub(super) suggested_priorities: FxHashMap<usize, u32>,
}

impl<'a> ManualPolicyLint<'a> {
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &'a Line<'a>)> + use<'a> {
        self.collector.lines.iter().enumerate()
    }

    pub(super) fn line(&self, index: usize) -> &'a Line<'a> {
        &self.collector.lines[index]
    }

    pub(super) fn link(&self, line: &Line) -> &str {
        &self.links[line.stanza]
    }

    pub(super) fn stanza(&self, line: &Line) -> &Stanza {
        &self.collector.config.stanzas[line.stanza]
    }

    pub(super) fn warn(&mut self, id: &'static str, index: usize, word: &str, message: String, help: String) {
        let location = self.line(index).location;
        self.found.push(Diagnostic::warning(location, word.as_bytes(), message, help).named(id));
    }

    pub(super) fn hint(&mut self, id: &'static str, index: usize, word: &str, message: String, help: String) {
        self.warn(id, index, word, message, help);
        if let Some(diagnostic) = self.found.last_mut() {
            diagnostic.severity = Severity::Hint;
        }
    }

    /// The effect of a command that fails with an exit code.
    pub(super) fn failing(line: &Line, exit: u8) -> String {
        match (line.phase.is_up(), line.command.failure_propagates) {
            (true, true) => format!("the line fails (exit code {exit}), and ifup aborts there"),
            _ => format!("the command fails (exit code {exit}) and has no effect"),
        }
    }

    pub(super) fn table(&self, command: &Command) -> Option<Table> {
        table(command, self.collector.names)
    }

    /// The link that has the address, according to the files. A text that is not an address is compared as text.
    pub(super) fn owner(&self, text: &str, inet6: bool) -> Option<&str> {
        let owner = match single(text, inet6) {
            Some(address) => self.host.owners.get(&address),
            None => self.host.owners_by_text.get(text),
        };
        owner.map(String::as_str)
    }

    /// On-link networks of a link: other hosts are reached there without a gateway.
    pub(super) fn networks(&self, link: &str, inet6: bool) -> &[IpNet] {
        self.host.networks.get(&(link.to_string(), inet6)).map_or(&[], Vec::as_slice)
    }

    /// May the link have addresses that are not in the files?
    pub(super) fn is_open(&self, link: &str, inet6: bool) -> bool {
        self.host.open.get(&(link.to_string(), inet6)).is_none_or(|open| *open)
    }

    /// Is the stanza's name probably that of a link? (A mapping may select the stanza.)
    pub(super) fn is_link(&self, line: &Line) -> bool {
        let stanza = self.stanza(line);
        self.collector.listed.has(stanza) && !matches!(&stanza.method[..], b"ppp" | b"wvdial")
    }

    pub(super) fn is_stanza_link(&self, link: &str) -> bool {
        self.host.known.contains(link)
    }

    /// Routes that lines add to a table.
    pub(super) fn routes_in(&self, table: &Table) -> impl Iterator<Item = &ManualRoute> {
        self.host.by_table.get(table).into_iter().flatten().map(|manual_route| &self.host.manual_routes[*manual_route])
    }

    pub(super) fn added_rules(&self) -> impl Iterator<Item = (usize, &'a Line<'a>)> + use<'a> {
        self.lines().filter(|(_, line)| line.adds_rule())
    }

    /// The interface that a route leaves through: the one that it names, or that of its gateway's network.
    pub(super) fn leaves_by(&self, line: &Line) -> Option<String> {
        if let Some(dev) = line.command.get("dev").filter(|dev| !dev.contains('$')) {
            return Some(without_alias(dev).to_str_lossy().into_owned());
        }
        let via = line.command.address("via");
        let own = via
            .is_some_and(|via| self.networks(self.link(line), line.command.inet6).iter().any(|net| net.contains(&via)));
        match via.map(|via| self.links_towards(via)) {
            Some(links) if links.len() == 1 => links.first().map(|link| (*link).to_string()),
            // A placeholder, for example: the route probably uses the link of its stanza.
            _ if own || via.is_none() => Some(self.link(line).to_string()),
            _ => None,
        }
    }

    pub(super) fn links_towards(&self, via: IpAddr) -> BTreeSet<&str> {
        self.host.links.containing(via.into()).flatten().map(String::as_str).collect()
    }

    /// Lines that `ip` or the shell rejects.
    pub(super) fn rejected_lines(&mut self) {
        for index in 0..self.collector.lines.len() {
            let line = &self.collector.lines[index];
            let Some(rejection) = line.command.rejection.as_ref().filter(|_| line.is_policy(self.collector.names))
            else {
                if line.command.object == Object::Rule && line.command.get("tun_id").is_some() {
                    self.tunnel(index);
                }
                continue;
            };
            let down = line.command.object == Object::Rule && !line.phase.is_up() && line.command.verb == Verb::Delete;
            let then = if down {
                format!("the command fails (exit code {}), and the rule stays", rejection.exit)
            } else {
                Self::failing(line, rejection.exit)
            };
            let deletes = |other: &Command| other.rejection.is_none() && self.removes(&line.command, other);
            let removable = if down { self.removable(&line.command) } else { &[] };
            let added = removable.iter().map(|index| &self.line(*index).command).find(|other| deletes(other));
            let corrected = added.map(|other| other.with_verb("del")).or(rejection.corrected.clone());
            let help = match (corrected, rejection.word.starts_with('<')) {
                (_, true) => "Replace it with the real value.".into(),
                (Some(corrected), _) => format!("Write '{corrected}'."),
                (None, false) => "Fix this word. See ip-rule(8) and ip-route(8).".into(),
            };
            let (word, message) = (rejection.word.clone(), format!("{}: {then}", rejection.why));
            self.warn("manual-never-runs", index, &word, message, help);
        }
    }

    /// In `ip rule`, `t` is short for `tun_id`.
    pub(super) fn tunnel(&mut self, index: usize) {
        let command = &self.line(index).command;
        let short =
            command.text().split(' ').any(|word| word.len() < 6 && !word.is_empty() && "tun_id".starts_with(word));
        let (true, Some(id), None) = (short, command.get("tun_id"), command.get("table")) else { return };
        let (id, text) = (id.to_string(), command.text());
        let corrected = text.replacen(&format!(" t {id}"), &format!(" table {id}"), 1);
        let message =
            "'ip rule' reads 't' as 'tun_id': this rule matches only packets of a tunnel, and looks up the main table";
        self.warn("manual-never-matches", index, &format!("t {id}"), message.into(), format!("Write '{corrected}'."));
    }

    /// Names of tables that are missing in the files of iproute2; each is reported once.
    pub(super) fn unknown_tables(&mut self, in_use: &FxHashSet<u32>) {
        let config = self.collector.config;
        let names_them = |entry: crate::interfaces::Entry| entry.value.contains_str("rt_tables");
        if config.stanzas.iter().flat_map(|stanza| config.entries(stanza)).any(names_them) {
            return;
        }
        let mut seen = FxHashSet::default();
        let in_lines = self.lines().filter_map(|(_, line)| line.command.get("table").and_then(number));
        let used: FxHashSet<u32> =
            self.collector.names.numbers().chain(in_lines).chain(in_use.iter().copied()).collect();
        let mut free = (101..253).filter(|free| !used.contains(free));
        let mut found = Vec::new();
        for (index, line) in self.lines() {
            let Some(Table::Name(name)) = self.table(&line.command) else { continue };
            if name.contains(['$', '`', '<']) || !seen.insert(name.clone()) {
                continue;
            }
            let then = Self::failing(line, 255);
            let plausible = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
                && !name.bytes().all(|b| b.is_ascii_digit());
            let (message, help) = if plausible {
                let number = free.next().unwrap_or(100);
                (
                    format!("unknown table '{name}': {then}"),
                    format!(
                        "Assign a number: mkdir -p /etc/iproute2/rt_tables.d; echo '{number} {name}' >> \
                         /etc/iproute2/rt_tables.d/local.conf"
                    ),
                )
            } else {
                (
                    format!("'{name}' is not a valid table: {then}"),
                    "Use a number from 1 to 4294967295 except 253 to 255, or a name.".to_string(),
                )
            };
            found.push((index, line.command.written("table"), message, help));
        }
        for (index, word, message, help) in found {
            self.warn("manual-unknown-table", index, &word, message, help);
        }
    }
}
