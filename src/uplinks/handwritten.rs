//! Policy routing that the administrator wrote by hand: where it stands, and what is wrong with it.
//!
//! symroute leaves such lines alone, so it owes their author a second look. Each finding stands for a mistake
//! that was found in published files, and is said once: where `ip` would refuse a line, where a rule stays
//! behind or never matches, where a table is empty or leads out by another link. `from SUBNET` rules, `to ADDR`
//! twins and flushes that fail on an empty table are as good as any other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use super::Source;
use super::finder::{Finder, link_of};
use crate::interfaces::command::{Command, Object, Verb, commands, number, prefix};
use crate::interfaces::config::Listed;
use crate::interfaces::{At, Config, Diagnostic, Family, Severity, Stanza};
use crate::snapshot::MAIN;
use crate::tables::{Names, RESERVED};

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
    let mut finder = Finder::new(config, names);
    if config.refused() || !finder.lines.iter().any(|line| line.is_policy(names)) {
        return Vec::new();
    }
    finder.uplinks();
    let links = config.stanzas.iter().map(|stanza| {
        let link =
            finder.listed.links(stanza.interface.as_bstr()).first().copied().unwrap_or(stanza.interface.as_bstr());
        link_of(link).to_str_lossy().into_owned()
    });
    let links: Vec<String> = links.collect();
    let host = Host::new(&finder, &links);
    let proposed = propose(&finder.lines);
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

/// Free priorities for rules that have none. Without one, the kernel puts a rule before all others, so what comes
/// later in the file has to have the smaller number.
fn propose(lines: &[Line]) -> HashMap<usize, u32> {
    let rules = || lines.iter().enumerate().filter(|(_, line)| line.command.object == Object::Rule);
    let used: HashSet<u32> = rules().filter_map(|(_, line)| line.command.priority()).collect();
    let without =
        rules().filter(|(_, line)| line.phase.is_up() && line.command.adds() && line.command.get("priority").is_none());
    let free = (10..).map(|tens| tens * 10).filter(|priority| !used.contains(priority));
    without.map(|(at, _)| at).rev().zip(free).collect()
}

/// A table, by number where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Table {
    Number(u32),
    Name(String),
}

/// The table that a command is about; none for a rule that says `unreachable` and the like.
fn table(command: &Command, names: &Names) -> Option<Table> {
    let Some(text) = command.get("table") else {
        let elsewhere = ["type", "goto", "l3mdev"].into_iter().any(|other| command.get(other).is_some());
        return (command.object == Object::Route || !elsewhere).then_some(Table::Number(MAIN));
    };
    Some(names.number(text).map_or_else(|| Table::Name(text.to_string()), Table::Number))
}

/// The text as one address, whatever its prefix length says in full.
fn single(text: &str, inet6: bool) -> Option<IpAddr> {
    prefix(text, inet6).filter(|net| net.prefix_len() == net.max_prefix_len()).map(|net| net.addr())
}

/// A route that a line adds.
struct Road {
    /// Index into the lines.
    at: usize,
    table: Table,
    /// Where to; nothing for everywhere, or for what is no network.
    net: Option<IpNet>,
    /// No gateway.
    on_link: bool,
}

/// What the files tell of the host, ready to be asked.
#[derive(Default)]
struct Host {
    known: HashSet<String>,
    owners: HashMap<IpAddr, String>,
    owners_by_text: HashMap<String, String>,
    /// By link and family (true for inet6).
    networks: HashMap<(String, bool), Vec<IpNet>>,
    /// May it have addresses that the files do not tell?
    open: HashMap<(String, bool), bool>,
    roads: Vec<Road>,
    by_table: HashMap<Table, Vec<usize>>,
    /// Tables that rules by source look into.
    by_source: HashSet<Table>,
    /// Destinations that rules send to main first; nothing for all of them.
    main_first: Vec<Option<IpNet>>,
}

impl Host {
    fn new(finder: &Finder<'_>, links: &[String]) -> Self {
        let mut host = Host { known: links.iter().cloned().collect(), ..Host::default() };
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
    fn any_open(&self, inet6: bool) -> bool {
        self.open.iter().any(|((link, of), open)| *open && *of == inet6 && link != "lo")
    }
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
            let mended = added.map(|(_, other)| other.command.with_verb("del")).or(refused.mended.clone());
            let help = match (mended, refused.word.starts_with('<')) {
                (_, true) => "Put the real value in its place.".into(),
                (Some(mended), _) => format!("Write '{mended}'."),
                (None, false) => "Mend the word; ip-rule(8) and ip-route(8) say what may stand there.".into(),
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
        let mended = text.replacen(&format!(" t {id}"), &format!(" table {id}"), 1);
        let message =
            "'ip rule' takes 't' for 'tun_id': this rule is for packets of a tunnel, and looks into table main";
        self.warn("hand-written-never-matches", at, &format!("t {id}"), message.into(), format!("Write '{mended}'."));
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

    /// Would this deletion remove the rule that the other adds? (net/core/fib_rules.c `rule_find`: what is not
    /// given is not compared.)
    fn removes(&self, deletion: &Command, addition: &Command) -> bool {
        deletion.inet6 == addition.inet6
            && deletion.given().all(|(keyword, value)| match keyword {
                "not" => true,
                "table" => self.table(deletion) == self.table(addition),
                "from" | "to" => self.same_side(keyword, deletion, addition),
                "priority" | "tun_id" | "suppress_prefixlength" => {
                    addition.get(keyword).is_some_and(|other| number(other) == number(value))
                }
                _ => addition.get(keyword) == Some(value),
            })
    }

    fn same_side(&self, side: &str, one: &Command, other: &Command) -> bool {
        match (one.prefix(side), other.prefix(side)) {
            (Some(net), _) if net.prefix_len() == 0 => true,
            (Some(net), Some(other)) => net == other,
            _ => one.get(side) == other.get(side),
        }
    }

    /// Does each rule that is added go, and does each that goes come?
    fn rules(&mut self) {
        let added: Vec<usize> = self.added_rules().map(|(at, _)| at).collect();
        let deletions: Vec<usize> = self
            .lines()
            .filter(|(_, line)| line.command.object == Object::Rule && line.command.verb == Verb::Delete)
            .map(|(at, _)| at)
            .collect();
        let mut of_stanza: HashMap<usize, Vec<usize>> = HashMap::new();
        for at in &added {
            of_stanza.entry(self.line(*at).stanza).or_default().push(*at);
        }
        let mut unmatched = Vec::new();
        for at in deletions {
            let line = self.line(at);
            let matching = |other: &&usize| {
                let removes = |command| self.removes(&line.command, command);
                let (written, meant) = (&self.line(**other).command, &self.meant[**other].command);
                !self.gone.contains(*other) && (removes(written) || removes(meant))
            };
            let distance = |other: &&usize| self.link(self.line(**other)) != self.link(line);
            let beside = of_stanza.get(&line.stanza).into_iter().flatten().find(matching);
            match beside.or_else(|| added.iter().filter(matching).min_by_key(distance)) {
                Some(other) => _ = self.gone.insert(*other),
                None if !line.phase.is_up() && line.command.refused.is_none() => unmatched.push(at),
                None => {}
            }
        }
        let with_deletion = self.gone.clone();
        for at in unmatched {
            self.useless_deletion(at, &added);
        }
        let flushes: Vec<(bool, Option<Table>)> = self
            .lines()
            .filter(|(_, line)| line.command.object == Object::Rule && line.command.verb == Verb::Flush)
            .map(|(_, line)| (line.command.inet6, line.command.get("table").and_then(|_| self.table(&line.command))))
            .collect();
        let flushed = |command: &Command| {
            flushes.iter().any(|(inet6, table)| {
                *inet6 == command.inet6
                    && table.as_ref().is_none_or(|table| self.table(command).as_ref() == Some(table))
            })
        };
        let stays = |at: &&usize| {
            let command = &self.line(**at).command;
            !self.gone.contains(*at) && !command.conditional && !flushed(command)
        };
        let left: Vec<usize> = added.iter().filter(stays).copied().collect();
        self.by_stanza(&left, Self::leaks);
        let unnumbered: Vec<usize> = added
            .into_iter()
            .filter(|at| with_deletion.contains(at) && self.line(*at).command.get("priority").is_none())
            .collect();
        self.by_stanza(&unnumbered, Self::unnumbered);
    }

    /// Calls `say` with the lines of each stanza.
    fn by_stanza(&mut self, lines: &[usize], say: fn(&mut Self, &[usize])) {
        for group in lines.chunk_by(|a, b| self.finder.lines[*a].stanza == self.finder.lines[*b].stanza) {
            say(self, group);
        }
    }

    /// A deletion on the way down that meets no rule.
    fn useless_deletion(&mut self, at: usize, added: &[usize]) {
        let line = self.line(at);
        let shared = |other: &usize| {
            let other = &self.line(*other).command;
            let same = |side: &str| {
                line.command.get(side).is_some()
                    && other.get(side).is_some()
                    && self.same_side(side, &line.command, other)
            };
            let sides = ["from", "to", "fwmark", "iif", "oif"].into_iter().filter(|side| same(side)).count();
            if other.inet6 == line.command.inet6 { sides } else { 0 }
        };
        let similar = added
            .iter()
            .filter(|other| !self.gone.contains(*other) && shared(other) > 0)
            .max_by_key(|other| (shared(other), self.line(**other).stanza == line.stanza));
        if let Some(&similar) = similar {
            let other = &self.meant[similar].command;
            let differs = |keyword: &str| other.get(keyword) != line.command.get(keyword);
            let own = |command: &Command, keyword: &str| command.get(keyword).unwrap_or("none").to_string();
            let what = ["table", "priority", "from", "to", "fwmark", "iif", "oif"].into_iter().find(|it| differs(it));
            let (word, what) = match what {
                Some(keyword) => {
                    let (its, here) = (own(other, keyword), own(&line.command, keyword));
                    (line.command.said(keyword), format!("'{keyword} {its}', and this line says '{keyword} {here}'"))
                }
                None => (String::new(), "other words".to_string()),
            };
            let message = format!("this deletes no rule: the one that is added has {what}, and stays");
            let help = format!("Write '{}'.", other.with_verb("del"));
            self.gone.insert(similar);
            self.warn("hand-written-never-matches", at, &word, message, help);
            return;
        }
        // A second deletion of the same rule does no harm.
        if added.iter().any(|other| self.removes(&line.command, &self.line(*other).command)) {
            return;
        }
        let message = match line.command.get("from") {
            Some(from) => {
                format!("no line adds the rule that this one deletes: what {from} sends goes by main's default route")
            }
            None => "no line adds the rule that this one deletes".to_string(),
        };
        let help = format!("Add 'post-up {}', or take this line out.", line.command.with_verb("add"));
        self.warn("hand-written-never-matches", at, "", message, help);
    }

    /// The lines that add rules and take them away again, each with a priority.
    fn whole(&self, lines: &[usize]) -> String {
        let mut out = String::new();
        for at in lines {
            let (add, del) = (self.meant[*at].command.text(), self.meant[*at].command.with_verb("del"));
            let option = self.line(*at).phase.option();
            let priority = self.proposed.get(at).map_or(String::new(), |priority| format!(" priority {priority}"));
            out += &format!("\n{option} {add}{priority}\npre-down {del}{priority}");
        }
        out
    }

    fn leaks(&mut self, lines: &[usize]) {
        let first = self.line(lines[0]);
        let what = match lines.len() {
            1 => "this rule".to_string(),
            2 => "this rule, nor the next one".to_string(),
            more => format!("this rule, nor the {} others of its stanza", more - 1),
        };
        let then = match (first.command.get("priority"), first.command.heeded) {
            (None, _) => "each 'ifdown' and 'ifup' adds another copy, with an ever smaller priority",
            (Some(_), true) => "the next 'ifup' stops here with \"File exists\"",
            (Some(_), false) => "it stays while its table is empty",
        };
        let message = format!("nothing takes away {what}: {then}");
        let help = format!("In its place write{}", self.whole(lines));
        self.warn("hand-written-leaks", lines[0], "rule", message, help);
    }

    fn unnumbered(&mut self, lines: &[usize]) {
        let message = "without a priority the kernel chooses one, and an 'ifup' that is run again adds a second copy of \
                       this rule, which 'ifdown' leaves behind";
        let help = format!("In place of these lines write{}", self.whole(lines));
        self.say(Severity::Hint, "hand-written-no-priority", lines[0], "rule", message.into(), help);
    }

    /// Does a rule lead to a table with routes, out by the link that has the address?
    fn rules_and_their_tables(&mut self) {
        let routes: Vec<(Table, bool, Option<String>, usize)> = self
            .host
            .roads
            .iter()
            .map(|road| {
                let line = self.line(road.at);
                let default = line.command.is_default();
                (road.table.clone(), default, default.then(|| self.leaves_by(line)).flatten(), line.stanza)
            })
            .collect();
        let looked_up: HashSet<Table> = self.added_rules().filter_map(|(_, line)| self.table(&line.command)).collect();
        let rules: Vec<usize> = self.added_rules().map(|(at, _)| at).collect();
        let mut empty = HashSet::new();
        for at in rules {
            let line = self.line(at);
            let Some(table) = self.table(&line.command) else { continue };
            if matches!(table, Table::Number(number) if RESERVED.contains(&number)) {
                continue;
            }
            let written = line.command.get("table").unwrap_or_default().to_string();
            let Some(from) = line.command.get("from").map(str::to_string) else {
                self.towards_own_address(at);
                continue;
            };
            if from.contains('$') || written.contains('$') {
                continue;
            }
            let owner = self.owner(&from, line.command.inet6).map(str::to_string);
            if !routes.iter().any(|(other, ..)| *other == table) {
                let own = routes.iter().filter(|(_, _, _, stanza)| *stanza == line.stanza);
                let idle = own.map(|(table, ..)| table).find(|other| {
                    !looked_up.contains(*other) && !matches!(other, Table::Number(number) if RESERVED.contains(number))
                });
                let idle = idle.map(|table| match table {
                    Table::Number(number) => number.to_string(),
                    Table::Name(name) => name.clone(),
                });
                if idle.is_none() && owner.is_none() || !empty.insert(table) {
                    continue;
                }
                let word = line.command.said("table");
                let Some(other) = idle else {
                    let message = format!(
                        "no line puts a route into table {written}: what {from} sends goes by main's default route"
                    );
                    let help = format!(
                        "Add 'post-up ip route add default via GATEWAY dev {} table {written}' to the stanza.",
                        self.link(line)
                    );
                    self.warn("hand-written-wrong-table", at, &word, message, help);
                    continue;
                };
                let message = format!(
                    "this rule looks into table {written}, and the routes are in table {other}: it finds nothing"
                );
                let help = self.correct_table(at, &other);
                self.warn("hand-written-wrong-table", at, &word, message, help);
                continue;
            }
            let ways: Option<BTreeSet<&String>> = routes
                .iter()
                .filter(|(other, default, ..)| *other == table && *default)
                .map(|(_, _, link, _)| link.as_ref())
                .collect();
            if let (Some(ways), Some(owner)) = (ways, owner) {
                let known = ways.iter().all(|way| self.is_stanza_link(way));
                if known && !ways.is_empty() && !ways.contains(&owner) {
                    let way = ways.into_iter().next().cloned().unwrap_or_default();
                    let right = routes.iter().find(|(_, default, link, _)| *default && link.as_ref() == Some(&owner));
                    let right = right.map(|(table, ..)| match table {
                        Table::Number(number) => number.to_string(),
                        Table::Name(name) => name.clone(),
                    });
                    let message = format!(
                        "{from} is {owner}'s address, and the default route of table {written} leaves by {way}: its answers go out there"
                    );
                    let help = match right {
                        Some(right) => self.correct_table(at, &right),
                        None => format!("Let the rule look into a table whose default route leaves by {owner}."),
                    };
                    let word = self.line(at).command.said("table");
                    self.warn("hand-written-wrong-table", at, &word, message, help);
                }
            }
        }
    }

    /// Notes and proposes another table for a rule.
    fn correct_table(&mut self, at: usize, table: &str) -> String {
        let written = self.line(at).command.clone();
        let meant = &mut self.meant[at].command;
        meant.set("table", table);
        let text = meant.text();
        let also = self.lines().any(|(_, other)| {
            !other.phase.is_up()
                && other.command.verb == Verb::Delete
                && other.command.object == Object::Rule
                && self.removes(&other.command, &written)
        });
        format!("Write '{text}'{}.", if also { ", and the same table where it is deleted" } else { "" })
    }

    /// A rule for packets *to* the server's own address: table local has had them before.
    fn towards_own_address(&mut self, at: usize) {
        let line = self.line(at);
        let Some(to) = line
            .command
            .get("to")
            .filter(|_| line.command.given().all(|(it, _)| matches!(it, "to" | "table" | "priority")))
        else {
            return;
        };
        let own = self.owner(to, line.command.inet6).is_some();
        let twin = self.added_rules().any(|(_, other)| {
            other.command.get("from").is_some() && self.table(&other.command) == self.table(&line.command)
        });
        if own && !twin {
            let message =
                format!("this rule matches nothing: packets to {to} are the server's own, and table local comes first");
            let mended = line.command.text().replacen(" to ", " from ", 1);
            self.warn("hand-written-never-matches", at, "to", message, format!("Is 'from' meant? '{mended}'"));
        }
    }

    fn routes(&mut self) {
        let others = |road: &&Road| !matches!(road.table, Table::Number(number) if RESERVED.contains(&number));
        let routes: Vec<(usize, Table)> =
            self.host.roads.iter().filter(others).map(|road| (road.at, road.table.clone())).collect();
        let (mut devices, mut leased, mut subnets) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (at, table) in routes {
            self.device(at, &mut devices);
            self.gateway(at);
            self.source(at, &table, &mut leased);
            self.subnet(at, &table, &mut subnets);
        }
        let rules: Vec<usize> = self.added_rules().map(|(at, _)| at).collect();
        for at in rules {
            let from = self.line(at).command.get("from").unwrap_or_default().to_string();
            self.leased(at, &from, &mut leased);
        }
    }

    /// A route by a link that nothing in these files knows.
    fn device(&mut self, at: usize, seen: &mut HashSet<(usize, String)>) {
        let line = self.line(at);
        let Some(dev) = line.command.get("dev").filter(|dev| !dev.contains(['$', '`', '<'])) else { return };
        let dev = link_of(BStr::new(dev)).to_str_lossy().into_owned();
        let (link, stanza) = (self.link(line).to_string(), line.stanza);
        if dev == link || dev == "lo" || !self.is_link(line) || self.is_stanza_link(&dev) {
            return;
        }
        // Another command may make it: a tunnel, a bridge, `wg-quick up wg0`.
        let entries = self.finder.config.stanzas.iter().flat_map(|stanza| &stanza.entries);
        let policy: HashSet<At> =
            self.lines().filter(|(_, it)| it.command.object != Object::Address).map(|(_, it)| it.at).collect();
        let mut others = entries.filter(|entry| !policy.contains(&entry.at));
        let made = others
            .any(|entry| entry.value.fields_with(|c| c.is_whitespace() || c == '=').any(|word| word == dev.as_bytes()));
        if made || !seen.insert((stanza, dev.clone())) {
            return;
        }
        let message = format!("{dev} is no interface of these files: {}", Self::failing(line, 1));
        let help = format!("If {link} is meant, write '{}'.", line.command.with_value("dev", &link));
        let word = self.line(at).command.said("dev");
        self.warn("hand-written-wrong-device", at, &word, message, help);
    }

    /// A gateway that is on none of the link's networks, or on those of two links.
    fn gateway(&mut self, at: usize) {
        let line = self.line(at);
        let command = &line.command;
        let (Some(text), Some(via)) = (command.get("via"), command.address("via")) else { return };
        let link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
        if command.get("onlink").is_some() || command.get("nexthop").is_some() {
            return;
        }
        let (text, link) = (text.to_string(), self.link(line).to_string());
        let dev = command.get("dev").map(|dev| link_of(BStr::new(dev)).to_str_lossy().into_owned());
        let fails = Self::failing(line, 2);
        if link_local {
            if dev.is_none() {
                let message = format!("a link-local gateway wants its 'dev': {fails}");
                let help = format!("Write '{}'.", command.text().replacen(&text, &format!("{text} dev {link}"), 1));
                let word = self.line(at).command.said("via");
                self.warn("hand-written-wrong-gateway", at, &word, message, help);
            }
            return;
        }
        let leads_there = |road: &Road| road.on_link && road.net.is_some_and(|net| net.contains(&via));
        let routed = self.host.roads.iter().any(leads_there);
        let towards = self.links_towards(via);
        // The kernel looks for the gateway in the route's own table first (net/ipv4/fib_semantics.c `fib_check_nh`).
        let in_table = self.table(command).is_some_and(|table| {
            let mut before = self.routes_in(&table).filter(|road| road.at < at);
            before.any(|road| leads_there(road) && self.link(self.line(road.at)) == link)
        });
        match &dev {
            None if towards.len() > 1 && towards.contains(&link) && !in_table => {
                let others: Vec<&str> = towards.iter().filter(|other| **other != link).map(String::as_str).collect();
                let message = format!(
                    "{text} is in a network of {link} and of {}: without 'dev' the kernel takes the one that it finds first",
                    others.join(", ")
                );
                let help = format!("Write '{}'.", command.text().replacen(&text, &format!("{text} dev {link}"), 1));
                let word = self.line(at).command.said("via");
                self.warn("hand-written-wrong-device", at, &word, message, help);
            }
            None if towards.is_empty() && !routed && !self.host.any_open(command.inet6) => {
                self.off_link(at, via, "the host", &format!(" dev {link} onlink"));
            }
            Some(dev) if !towards.contains(dev) && !routed => {
                let known = self.is_stanza_link(dev) && !self.is_open(dev, command.inet6);
                known.then(|| self.off_link(at, via, dev, " onlink"));
            }
            _ => {}
        }
    }

    fn off_link(&mut self, at: usize, via: IpAddr, whose: &str, more: &str) {
        let line = self.line(at);
        let text = line.command.get("via").unwrap_or_default().to_string();
        let fails = Self::failing(line, 2);
        let (what, help) = if text == via.to_string() || via.is_ipv6() {
            let with = line.command.text() + more;
            (format!("{text} is"), format!("Give the router's address; if that is outside on purpose, write '{with}'."))
        } else {
            (format!("'ip' reads '{text}' as {via}, which is"), "Write the router's whole address.".to_string())
        };
        let message = format!("{what} on none of {whose}'s networks: {fails}");
        let word = self.line(at).command.said("via");
        self.warn("hand-written-wrong-gateway", at, &word, message, help);
    }

    /// `src` has to be an address of the server, and the one that the rules send here.
    fn source(&mut self, at: usize, table: &Table, leased: &mut HashSet<usize>) {
        let line = self.line(at);
        let command = &line.command;
        let (Some(src), Some(address)) = (command.get("src"), command.address("src")) else { return };
        let (src, link) = (src.to_string(), self.link(line).to_string());
        let of_link =
            |(of, family, _): &&(String, Family, Source)| *of == link && (*family == Family::Inet6) == command.inet6;
        let own = self.finder.sources.iter().filter(of_link);
        let own: Vec<IpAddr> = own.map(|(_, _, source)| source.net.addr()).collect();
        let mended = |own: Option<&IpAddr>| {
            let mended = own.map(|own| command.with_value("src", &own.to_string()));
            mended.map_or("Give the link's own address.".to_string(), |mended| format!("Write '{mended}'."))
        };
        match self.owner(&src, command.inet6).map(str::to_string) {
            Some(owner) if owner == link => {}
            Some(owner) => {
                // A LAN's address may well be the source behind a tunnel.
                let for_own = self.added_rules().find_map(|(_, rule)| {
                    let from = rule.command.address("from").filter(|from| own.contains(from))?;
                    (self.table(&rule.command).as_ref() == Some(table)).then_some(from)
                });
                if let Some(from) = for_own {
                    let message = format!(
                        "{src} is {owner}'s address, and table {} serves {from}",
                        command.get("table").unwrap_or_default()
                    );
                    let help = mended(Some(&from));
                    let word = self.line(at).command.said("src");
                    self.warn("hand-written-wrong-source", at, &word, message, help);
                }
            }
            None => {
                let within = self.networks(&link, command.inet6).iter().any(|net| net.contains(&address));
                let known = within && !self.is_open(&link, command.inet6) || !self.host.any_open(command.inet6);
                if !known {
                    self.leased(at, &src, leased);
                    return;
                }
                let gateways = self.stanza(line).entries.iter().filter(|entry| entry.name.ends_with(b"gateway"));
                let is_gateway = gateways.into_iter().any(|entry| entry.value == src.as_bytes());
                let what = if is_gateway { "is the gateway's address" } else { "is the address of no stanza" };
                let message = format!("{src} {what}, and 'src' wants one of the server's: {}", Self::failing(line, 2));
                let help = mended(own.first());
                let word = self.line(at).command.said("src");
                self.warn("hand-written-wrong-source", at, &word, message, help);
            }
        }
    }

    /// An address in the lines of a stanza that gets its address from elsewhere.
    fn leased(&mut self, at: usize, text: &str, seen: &mut HashSet<usize>) {
        let line = self.line(at);
        let stanza = self.stanza(line);
        let command = &line.command;
        let single = single(text, command.inet6).is_some();
        if !single || stanza.method != "dhcp" || self.owner(text, command.inet6).is_some() || !seen.insert(line.stanza)
        {
            return;
        }
        let message = format!(
            "{} gets its address by DHCP, and these lines know {text} alone: with another lease they fail or match nothing",
            stanza.interface
        );
        let help = "Give the stanza the method 'static' if the address is fixed, or take the lines out and let symroute follow the lease.";
        self.say(Severity::Hint, "hand-written-fixed-address", at, text, message, help.into());
    }

    /// A table with a default route and without the link's own network.
    fn subnet(&mut self, at: usize, table: &Table, seen: &mut HashSet<(Table, IpNet)>) {
        let line = self.line(at);
        let command = &line.command;
        let (true, Some(via), Some(link)) = (command.is_default(), command.address("via"), self.leaves_by(line)) else {
            return;
        };
        // In the smallest networks there is nobody but the router.
        let others = |net: &IpNet| net.max_prefix_len() - net.prefix_len() > 2;
        let Some(net) =
            self.networks(&link, command.inet6).iter().copied().find(|net| net.contains(&via) && others(net))
        else {
            return;
        };
        let holds = |to: IpNet| to.contains(&net);
        let has_it = self.routes_in(table).any(|road| road.net.is_some_and(holds));
        let main_first = self.host.main_first.iter().any(|to| to.is_none_or(holds));
        let by_source = self.host.by_source.contains(table);
        if has_it || main_first || !by_source || !seen.insert((table.clone(), net)) {
            return;
        }
        let name = command.get("table").unwrap_or_default();
        let ip = if command.inet6 { "ip -6" } else { "ip" };
        let message = format!(
            "table {name} has no route to {net}: hosts on {link}'s own network are answered through the gateway"
        );
        let help =
            format!("Add '{} {ip} route add {net} dev {link} table {name}' before this line.", line.phase.option());
        self.say(Severity::Hint, "hand-written-no-subnet", at, "", message, help);
    }

    /// Lines about another stanza's link: they come and go with the wrong one.
    fn other_stanzas(&mut self) {
        let mut seen = HashSet::new();
        for at in 0..self.finder.lines.len() {
            let line = self.line(at);
            if !line.phase.is_up() || !line.is_policy(self.finder.names) || !line.command.adds() || !self.is_link(line)
            {
                continue;
            }
            let other = match line.command.object {
                Object::Rule => {
                    let from = line.command.get("from").filter(|from| !from.contains('$'));
                    from.and_then(|from| self.owner(from, line.command.inet6)).map(str::to_string)
                }
                _ if line.command.is_default() && line.command.get("dev").is_some() => self.leaves_by(line),
                _ => None,
            };
            let link = self.link(line).to_string();
            let Some(other) = other.filter(|other| *other != link && other != "lo" && self.is_stanza_link(other))
            else {
                continue;
            };
            let stanza = line.stanza;
            // A rule that leads to the wrong table was complained of as that.
            let known = self.found.iter().any(|it| it.at == Some(line.at) && it.id == Some("hand-written-wrong-table"));
            if known || !seen.insert((stanza, other.clone())) {
                continue;
            }
            let message =
                format!("this is about {other} and stands in the stanza of {link}: it comes and goes with {link}");
            let help = format!("Move the lines about {other} to its own stanza.");
            let keyword = if self.line(at).command.object == Object::Rule { "from" } else { "dev" };
            let word = self.line(at).command.said(keyword);
            self.warn("hand-written-wrong-stanza", at, &word, message, help);
        }
    }
}
