//! The options of a stanza: gateways, overrides, and the state of its block.
//!
//! Read as ifupdown reads them, including its errors; an invalid value is a diagnostic at its line.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bstr::ByteSlice;
use rustc_hash::FxHashMap;

use super::addresses::for_each_address;
use super::collector::UplinkCollector;
use super::gateway::Gateway;
use super::stanza::of_family;
use super::uplink::{BlockState, DEVICE_RULE, Layout, MAX_PRIORITY, Overrides, Uplink};
use crate::commands::tables::RESERVED;
use crate::commands::{Command, Object, commands, for_each_command, number};
use crate::interfaces::config::MergedOption;
use crate::interfaces::{Config, Diagnostic, Dialect, Stanza};
use crate::network::{Family, MAIN, table_name};

impl UplinkCollector<'_> {
    /// The addresses that a stanza's method sets, of both families.
    pub(crate) fn all_addresses_of(&self, stanza: &Stanza) -> Vec<IpAddr> {
        let options = self.config.own_options_named(stanza, &self.of_addresses);
        let mut addresses = Vec::new();
        let of = |family: Family| {
            let own: Vec<MergedOption> = options.iter().filter_map(|option| of_family(option, family)).collect();
            for_each_address(self.config.dialect, stanza, family, &own, &mut |source| {
                addresses.extend(source.map(|source| source.net.addr()));
            });
        };
        Family::ALL.into_iter().for_each(of);
        addresses
    }

    /// The gateways of an option: one, or with ifupdown-ng and ifupdown2 one in each line.
    pub(crate) fn gateways(&mut self, family: Family, option: &MergedOption) -> Vec<Gateway> {
        let mut lines = option.value.split(|byte| *byte == b'\n');
        if self.config.dialect == Dialect::Ifupdown && option.value.contains(&b'\n') {
            self.diagnostics.push(Diagnostic::error(
                option.location,
                lines.next().unwrap_or_default(),
                format!("two '{}' lines in one stanza", option.name),
                "Move the second gateway to a separate stanza. ifupdown joins both lines into one invalid command.",
            ));
            return Vec::new();
        }
        let gateway = |line: &[u8]| match line == b"none" && option.name == "symroute-gateway" {
            true => Some(Gateway::OnLink),
            false => self.gateway(family, option, line).map(Gateway::Address),
        };
        lines.filter_map(gateway).collect()
    }

    fn gateway(&mut self, family: Family, option: &MergedOption, line: &[u8]) -> Option<IpAddr> {
        let address = |word: &[u8]| word.to_str().ok().and_then(|text| text.parse::<IpAddr>().ok());
        let is_usable = |gateway: &IpAddr| !gateway.is_unspecified() && !gateway.is_multicast();
        // Mostly it is the address alone.
        if let Some(gateway) = address(line).filter(|gateway| Family::of(gateway) == family && is_usable(gateway)) {
            return Some(gateway);
        }
        let mut words = line.fields_with(char::is_whitespace);
        let word = words.next().unwrap_or_default();
        let more = words.next();
        let text = word.as_bstr();
        let error = |message: String, help: &str| Some(Diagnostic::error(option.location, word, message, help));
        let parsed = address(word);
        let problem = match parsed {
            None => error(format!("invalid gateway address '{text}'"), "Write one address, for example 192.0.2.1."),
            Some(gateway) if gateway.is_ipv6() != (family == Family::Inet6) => error(
                format!("gateway {text} is not an {} address", family.version()),
                "Move it to the stanza of its address family.",
            ),
            Some(gateway) if !is_usable(&gateway) => {
                error(format!("{text} cannot be a gateway"), "Write the router's own address.")
            }
            Some(_) if more.is_none() || self.is_taken_by_ip(family, option, line) => None,
            Some(_) if more.is_some_and(|word| !word.starts_with(b"#")) => {
                error(format!("invalid gateway address '{}'", line.as_bstr()), "Write only the gateway's address.")
            }
            Some(_) if more.is_some() => Some(Diagnostic::warning(
                option.location,
                b"#",
                "inline comments are not supported; '#' becomes part of the value of 'gateway'",
                "Move the comment to a separate line.",
            )),
            Some(_) => None,
        };
        self.diagnostics.extend(problem);
        parsed
    }

    /// ifupdown passes all words of `gateway` to `ip route`: `192.0.2.1 metric 20`.
    fn is_taken_by_ip(&self, family: Family, option: &MergedOption, line: &[u8]) -> bool {
        let is_option = self.config.dialect == Dialect::Ifupdown && option.name == "gateway";
        is_option && default_route(family, line).is_some()
    }

    /// The metric in the value of `gateway`.
    pub(crate) fn metric_beside(&self, family: Family, gateway: &MergedOption) -> Option<u32> {
        let has_more = gateway.value.iter().any(u8::is_ascii_whitespace);
        let is_taken = has_more && self.is_taken_by_ip(family, gateway, &gateway.value);
        let route = is_taken.then(|| default_route(family, &gateway.value)).flatten();
        route.and_then(|route| number(route.get("metric")?))
    }

    pub(crate) fn number(&mut self, option: &MergedOption, least: u32, most: u32, what: &str) -> Option<u32> {
        let number = option.value.to_str().ok().and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
            return Some(number);
        }
        let help = format!("Use a number from {least} to {most}.");
        self.diagnostics.push(Diagnostic::error(
            option.location,
            &option.value,
            format!("invalid {what} '{}'", option.value),
            help,
        ));
        None
    }

    pub(crate) fn overrides(&mut self, options: &[MergedOption]) -> Overrides {
        if !options.iter().any(|option| option.name.starts_with(b"symroute")) {
            return Overrides::default();
        }
        let get = |name: &str| options.iter().find(|option| option.name == name);
        let mut one_of = |option: &MergedOption, words: [&str; 2]| {
            let found = words.iter().position(|word| option.value == *word);
            if found.is_none() {
                let message = format!("invalid value '{}' of '{}'", option.value, option.name);
                let help = format!("Write '{} {}' or '{0} {}'.", option.name, words[0], words[1]);
                self.diagnostics.push(Diagnostic::error(option.location, &option.value, message, help));
            }
            found
        };
        let enabled = get("symroute").and_then(|option| one_of(option, ["no", "yes"])).map(|word| word == 1);
        let layout = get("symroute-layout")
            .filter(|option| one_of(option, ["layered", "article"]).is_some())
            .and_then(|option| Layout::parse(&option.value));
        let priority = get("symroute-priority").and_then(|option| self.number(option, 1, MAX_PRIORITY, "priority"));
        let table = get("symroute-table").and_then(|option| self.table(option));
        Overrides { enabled, table, priority, layout }
    }

    fn table(&mut self, option: &MergedOption) -> Option<u32> {
        let text = option.value.to_str_lossy();
        let help = "Use a number from 1 to 4294967295 except 253 to 255, or a name from /etc/iproute2/rt_tables.d.";
        let message = match self.names.number(&text) {
            Some(number) if !RESERVED.contains(&number) => return Some(number),
            Some(number) => format!("table {number} ({}) is reserved", reserved_name(number)),
            None if text.bytes().all(|b| b.is_ascii_digit()) => format!("table {text} is out of range"),
            None => format!("unknown table '{text}'"),
        };
        self.diagnostics.push(Diagnostic::error(option.location, &option.value, message, help));
        None
    }

    /// The numbers that symroute-gen wrote into the stanza with the gateway; the priority is in the stanzas of the
    /// addresses as well.
    pub(crate) fn written(&self, stanza: &Stanza, family: Family, own_metric: Option<u32>) -> Option<BlockState> {
        if !self.config.has_block(stanza) {
            return None;
        }
        let mut written = BlockState::default();
        for entry in self.config.entries(stanza).filter(|entry| entry.in_block) {
            let text = entry.value.to_str_lossy();
            match &entry.name[..] {
                b"metric" if own_metric.is_none() => written.metric = text.parse().ok(),
                b"symroute-layout" => {
                    written.layout = Layout::parse(entry.value);
                }
                b"up" => {
                    written.lines = true;
                    let of_family = commands(&text, &|_| None).into_iter().filter(|command| {
                        command.object != Object::Address && command.inet6 == (family == Family::Inet6)
                    });
                    for command in of_family {
                        let table = command.get("table").and_then(|table| self.names.number(table));
                        if let Some(table) = table.filter(|table| *table != MAIN) {
                            written.table.get_or_insert(table);
                        }
                        if command.object == Object::Rule {
                            let layered =
                                ["suppress_prefixlength", "oif"].iter().any(|word| command.get(word).is_some());
                            let layout = if layered { Layout::Layered } else { Layout::Article };
                            written.layout = if layered { Some(layout) } else { written.layout.or(Some(layout)) };
                        }
                    }
                }
                _ => {}
            }
        }
        Some(written)
    }

    /// The priorities of the uplinks that have a table in a block, by the rules of their stanzas.
    pub(crate) fn read_priorities(&self, uplinks: &mut [Uplink]) {
        let mut blocks: FxHashMap<usize, Vec<Command>> = FxHashMap::default();
        for uplink in uplinks {
            let Some(table) = uplink.written.and_then(|written| written.table) else { continue };
            let sources = uplink.sources.iter().filter_map(|source| source.stanza);
            let stanzas: BTreeSet<usize> =
                sources.chain(uplink.same_gateway.iter().copied()).chain([uplink.stanza]).collect();
            for stanza in &stanzas {
                blocks.entry(*stanza).or_insert_with(|| rules_of_block(self.config, &self.config.stanzas[*stanza]));
            }
            let rules = || stanzas.iter().filter_map(|stanza| blocks.get(stanza)).flatten();
            let rules = || rules().filter(|rule| rule.inet6 == (uplink.family == Family::Inet6));
            let is_own = |rule: &&Command| {
                let from = rule.prefix("from");
                from.is_some_and(|from| uplink.sources.iter().any(|source| from.contains(&source.net.addr())))
            };
            let of_table = |rule: &&Command| rule.get("table").and_then(|name| self.names.number(name)) == Some(table);
            let first = rules().filter(is_own).filter(|rule| rule.get("suppress_prefixlength").is_some());
            let first = first.filter_map(Command::priority).min();
            let of_source = || rules().filter(is_own).filter(of_table).filter_map(Command::priority).min();
            // The rule for sockets bound to the interface is the last of a layered policy.
            let of_device = || rules().filter(|rule| rule.get("oif").is_some()).filter(of_table);
            let of_device = || of_device().filter_map(Command::priority).min()?.checked_sub(DEVICE_RULE);
            if let Some(written) = &mut uplink.written {
                written.priority = first.or_else(of_source).or_else(of_device);
            }
        }
    }
}

/// The name of one of [`RESERVED`].
fn reserved_name(table: u32) -> String {
    if table == 0 { "unspec".into() } else { table_name(table) }
}

/// The route that ifupdown's command adds for the value of `gateway` (inet.defn, inet6.defn); nothing if `ip` or the shell
/// reads the value as another command.
fn default_route(family: Family, words: &[u8]) -> Option<Command<'static>> {
    let ip = family.ip();
    let line = format!("{ip} route add default via {} dev lo onlink", words.to_str().ok()?);
    let mut found = Vec::new();
    for_each_command(&line.into(), &|_| None, &mut |command| found.push(command));
    let route = found.pop().filter(|_| found.is_empty())?;
    let is_whole = route.get("dev") == Some("lo") && route.is_default() && route.rejection.is_none();
    (is_whole && route.address("via").is_some()).then_some(route)
}

/// The rules that a block adds.
fn rules_of_block<'a>(config: &'a Config, stanza: &Stanza) -> Vec<Command<'a>> {
    let mut rules = Vec::new();
    for line in config.entries(stanza).filter(|entry| entry.in_block && entry.name == "up") {
        for_each_command(&line.value.to_str_lossy(), &|_| None, &mut |command| {
            if command.object == Object::Rule && command.adds() {
                rules.push(command);
            }
        });
    }
    rules
}
