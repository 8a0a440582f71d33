//! Policy routing that the administrator wrote by hand: where it stands, and what is wrong with it.
//!
//! symroute leaves such lines alone, so it owes their author a second look. Each finding stands for a mistake
//! that was found in published files, and is said once: where `ip` would refuse a line, where a rule stays
//! behind or never matches, where a table is empty or leads out by another link. `from SUBNET` rules, `to ADDR`
//! twins and flushes that fail on an empty table are as good as any other.

mod host;
mod routes;
mod rules;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use self::host::{Host, Road, Table, single, table};
use self::rules::propose;
use super::finder::{Finder, link_of};
use crate::interfaces::command::{Command, Object, Verb, commands, number};
use crate::interfaces::config::Listed;
use crate::interfaces::{At, Config, Diagnostic, Severity, Stanza};
use crate::snapshot::MAIN;
use crate::tables::Names;

/// When ifupdown runs a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    PreUp,
    Up,
    Down,
    PostDown,
}

impl Phase {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"pre-up" => Phase::PreUp,
            b"up" => Phase::Up,
            b"down" => Phase::Down,
            b"post-down" => Phase::PostDown,
            _ => return None,
        })
    }

    pub(super) fn is_up(self) -> bool {
        matches!(self, Phase::PreUp | Phase::Up)
    }

    /// The option, by the name that says most.
    fn option(self) -> &'static str {
        match self {
            Phase::PreUp => "pre-up",
            Phase::Up => "post-up",
            Phase::Down => "pre-down",
            Phase::PostDown => "post-down",
        }
    }
}

/// An `ip` command in a stanza.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Index into `Config::stanzas`.
    pub stanza: usize,
    pub phase: Phase,
    pub at: At,
    pub command: Command,
}

impl Line {
    /// A rule, or a route in another table than main.
    pub fn is_policy(&self, names: &Names) -> bool {
        match self.command.object {
            Object::Rule => true,
            Object::Route => self.command.get("table").is_some_and(|table| names.number(table) != Some(MAIN)),
            Object::Address => false,
        }
    }
}

/// All `ip` commands that are not symroute-gen's, by stanza.
pub(super) fn lines(config: &Config, listed: &Listed) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, stanza) in config.stanzas.iter().enumerate() {
        for entry in stanza.entries.iter().filter(|entry| !entry.in_block) {
            let mut value = entry.value.to_str_lossy();
            let mut phase = Phase::of(&entry.name);
            // `post up ip …` never runs, and is warned of as what it is; its author meant it to be here.
            if let (b"post" | b"pre", Some((word, rest))) = (&entry.name[..], value.split_once(' ')) {
                phase = match (&entry.name[..], word) {
                    (b"pre", "up") => Some(Phase::PreUp),
                    (b"post", "up") => Some(Phase::Up),
                    (b"pre", "down") => Some(Phase::Down),
                    (b"post", "down") => Some(Phase::PostDown),
                    _ => None,
                };
                value = rest.to_string().into();
            }
            let Some(phase) = phase else { continue };
            let found = commands(&value, &|name| variable(name, stanza, listed));
            lines.extend(found.into_iter().map(|command| Line { stanza: index, phase, at: entry.at, command }));
        }
    }
    lines
}

/// The environment that ifupdown gives to a stanza's lines (interfaces(5)).
fn variable(name: &str, stanza: &Stanza, listed: &Listed) -> Option<String> {
    let text = |bytes: &[u8]| bytes.to_str_lossy().into_owned();
    match name {
        "IFACE" => {
            Some(text(listed.links(stanza.interface.as_bstr()).first().copied().unwrap_or(stanza.interface.as_bstr())))
        }
        "LOGICAL" => Some(text(&stanza.interface)),
        "ADDRFAM" => Some(stanza.family.name().into()),
        "METHOD" => Some(text(&stanza.method)),
        _ => {
            let wanted = name.strip_prefix("IF_")?;
            let named = |option: &BStr| option.to_str_lossy().to_uppercase().replace('-', "_") == wanted;
            let entry = stanza.entries.iter().find(|entry| named(entry.name.as_bstr()))?;
            let value = text(&entry.value);
            Some(match wanted {
                "ADDRESS" => value.split('/').next().unwrap_or_default().to_string(),
                _ => value,
            })
        }
    }
}

/// What is wrong in hand-written policy, in file order; nothing for a configuration that ifupdown refuses.
pub fn judge(config: &Config, names: &Names) -> Vec<Diagnostic> {
    judge_beside(config, names, &HashSet::new())
}

/// The same where these priorities are in use: none of them is proposed.
pub fn judge_beside(config: &Config, names: &Names, priorities: &HashSet<u32>) -> Vec<Diagnostic> {
    let mut finder = Finder::new(config, None, names);
    if config.refused() || !finder.lines.iter().any(|line| line.is_policy(names)) {
        return Vec::new();
    }
    let uplinks = finder.uplinks();
    let links = config.stanzas.iter().map(|stanza| {
        let link =
            finder.listed.links(stanza.interface.as_bstr()).first().copied().unwrap_or(stanza.interface.as_bstr());
        link_of(link).to_str_lossy().into_owned()
    });
    let links: Vec<String> = links.collect();
    let host = Host::new(&finder, &uplinks, &links);
    let proposed = propose(&finder.lines, priorities);
    let meant = finder.lines.clone();
    let mut judge = Judge { host, finder: &finder, meant, links, gone: HashSet::new(), found: Vec::new(), proposed };
    judge.refused_lines();
    judge.unknown_tables();
    judge.rules_and_their_tables();
    judge.rules();
    judge.routes();
    judge.other_stanzas();
    let mut found = judge.found;
    found.sort_by_key(|diagnostic| diagnostic.at);
    // What several stanzas inherit is wrong once.
    found.dedup();
    found
}

struct Judge<'a> {
    host: Host,
    finder: &'a Finder<'a>,
    /// The lines with the corrections that were proposed, so that one proposal does not gainsay another.
    meant: Vec<Line>,
    /// By stanza, without the `:1` of an alias.
    links: Vec<String>,
    /// Lines that add a rule which another line takes away, or that were spoken of as such.
    gone: HashSet<usize>,
    found: Vec<Diagnostic>,
    /// Priorities to propose for rules without one, by line.
    proposed: HashMap<usize, u32>,
}

impl Judge<'_> {
    fn lines(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.finder.lines.iter().enumerate()
    }

    fn line(&self, at: usize) -> &Line {
        &self.finder.lines[at]
    }

    fn link(&self, line: &Line) -> &str {
        &self.links[line.stanza]
    }

    fn stanza(&self, line: &Line) -> &Stanza {
        &self.finder.config.stanzas[line.stanza]
    }

    fn say(&mut self, severity: Severity, id: &'static str, line: usize, word: &str, message: String, help: String) {
        let at = self.line(line).at;
        let warning = Diagnostic::warning(at, word.as_bytes(), message, help).named(id);
        self.found.push(Diagnostic { severity, ..warning });
    }

    fn warn(&mut self, id: &'static str, line: usize, word: &str, message: String, help: String) {
        self.say(Severity::Warning, id, line, word, message, help);
    }

    /// What follows when the command fails with an exit code.
    fn failing(line: &Line, exit: u8) -> String {
        match (line.phase.is_up(), line.command.heeded) {
            (true, true) => format!("the line fails ({exit}), and ifup stops there"),
            _ => format!("the command fails ({exit}) and does nothing"),
        }
    }

    fn table(&self, command: &Command) -> Option<Table> {
        table(command, self.finder.names)
    }

    /// The link that has the address, by the files; the text is compared where it is no address.
    fn owner(&self, text: &str, inet6: bool) -> Option<&str> {
        let owner = match single(text, inet6) {
            Some(address) => self.host.owners.get(&address),
            None => self.host.owners_by_text.get(text),
        };
        owner.map(String::as_str)
    }

    /// On-link networks of a link: other hosts are reached there without a gateway.
    fn networks(&self, link: &str, inet6: bool) -> &[IpNet] {
        self.host.networks.get(&(link.to_string(), inet6)).map_or(&[], Vec::as_slice)
    }

    /// May the link have addresses that the files do not tell?
    fn is_open(&self, link: &str, inet6: bool) -> bool {
        self.host.open.get(&(link.to_string(), inet6)).is_none_or(|open| *open)
    }

    /// Is the stanza's own name that of a link, as far as can be told? (A mapping may choose it.)
    fn is_link(&self, line: &Line) -> bool {
        let stanza = self.stanza(line);
        self.finder.listed.has(&stanza.interface) && !matches!(&stanza.method[..], b"ppp" | b"wvdial")
    }

    fn is_stanza_link(&self, link: &str) -> bool {
        self.host.known.contains(link)
    }

    /// Routes that lines add to a table.
    fn routes_in(&self, table: &Table) -> impl Iterator<Item = &Road> {
        self.host.by_table.get(table).into_iter().flatten().map(|road| &self.host.roads[*road])
    }

    fn added_rules(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines()
            .filter(|(_, line)| line.phase.is_up() && line.command.object == Object::Rule && line.command.adds())
    }

    /// The link that a route leaves by: the one that it names, or that of its gateway's network.
    fn leaves_by(&self, line: &Line) -> Option<String> {
        if let Some(dev) = line.command.get("dev").filter(|dev| !dev.contains('$')) {
            return Some(link_of(BStr::new(dev)).to_str_lossy().into_owned());
        }
        let via = line.command.address("via");
        let own = via
            .is_some_and(|via| self.networks(self.link(line), line.command.inet6).iter().any(|net| net.contains(&via)));
        match via.map(|via| self.links_towards(via)) {
            Some(links) if links.len() == 1 => links.into_iter().next(),
            // Placeholders and the like: in its own stanza, its own link is meant.
            _ if own || via.is_none() => Some(self.link(line).to_string()),
            _ => None,
        }
    }

    fn links_towards(&self, via: IpAddr) -> BTreeSet<String> {
        let there = self.host.networks.iter().filter(|(_, networks)| networks.iter().any(|net| net.contains(&via)));
        there.map(|((link, _), _)| link.clone()).collect()
    }

    /// Lines that `ip` or the shell will not carry out as they stand.
    fn refused_lines(&mut self) {
        for at in 0..self.finder.lines.len() {
            let line = &self.finder.lines[at];
            let Some(refused) = line.command.refused.as_ref().filter(|_| line.is_policy(self.finder.names)) else {
                if line.command.object == Object::Rule && line.command.get("tun_id").is_some() {
                    self.tunnel(at);
                }
                continue;
            };
            let down = line.command.object == Object::Rule && !line.phase.is_up() && line.command.verb == Verb::Delete;
            let then = if down {
                format!("the command fails ({}), and the rule stays", refused.exit)
            } else {
                Self::failing(line, refused.exit)
            };
            let deletes = |other: &Command| other.refused.is_none() && self.removes(&line.command, other);
            let added = self.added_rules().find(|(_, other)| down && deletes(&other.command));
            let corrected = added.map(|(_, other)| other.command.with_verb("del")).or(refused.corrected.clone());
            let help = match (corrected, refused.word.starts_with('<')) {
                (_, true) => "Put the real value in its place.".into(),
                (Some(corrected), _) => format!("Write '{corrected}'."),
                (None, false) => "Correct the word; ip-rule(8) and ip-route(8) say what may stand there.".into(),
            };
            let (word, message) = (refused.word.clone(), format!("{}: {then}", refused.why));
            self.warn("hand-written-never-runs", at, &word, message, help);
        }
    }

    /// In `ip rule`, `t` is short for `tun_id`.
    fn tunnel(&mut self, at: usize) {
        let command = &self.line(at).command;
        let short =
            command.text().split(' ').any(|word| word.len() < 6 && !word.is_empty() && "tun_id".starts_with(word));
        let (true, Some(id), None) = (short, command.get("tun_id"), command.get("table")) else { return };
        let (id, text) = (id.to_string(), command.text());
        let corrected = text.replacen(&format!(" t {id}"), &format!(" table {id}"), 1);
        let message =
            "'ip rule' takes 't' for 'tun_id': this rule is for packets of a tunnel, and looks into table main";
        self.warn(
            "hand-written-never-matches",
            at,
            &format!("t {id}"),
            message.into(),
            format!("Write '{corrected}'."),
        );
    }

    /// Tables by a name that no file of iproute2's has; each is said once.
    fn unknown_tables(&mut self) {
        let config = self.finder.config;
        let names_them = |entry: &crate::interfaces::Entry| entry.value.contains_str("rt_tables");
        if config.stanzas.iter().flat_map(|stanza| &stanza.entries).any(names_them) {
            return;
        }
        let mut seen = HashSet::new();
        let mut free = (101..253).filter(|free| {
            !self.finder.names.numbers().any(|known| known == *free)
                && !self.lines().any(|(_, line)| line.command.get("table").and_then(number) == Some(*free))
        });
        let mut found = Vec::new();
        for (at, line) in self.lines() {
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
                    format!("no table has the name '{name}': {then}"),
                    format!(
                        "Give it a number: mkdir -p /etc/iproute2/rt_tables.d; echo '{number} {name}' >> \
                         /etc/iproute2/rt_tables.d/local.conf"
                    ),
                )
            } else {
                (
                    format!("'{name}' is no table: {then}"),
                    "Give a number from 1 to 4294967295 except 253 to 255, or a name.".to_string(),
                )
            };
            found.push((at, line.command.said("table"), message, help));
        }
        drop(free);
        for (at, word, message, help) in found {
            self.warn("hand-written-unknown-table", at, &word, message, help);
        }
    }
}
