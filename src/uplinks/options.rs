//! What a stanza's options say: addresses, gateways, what the administrator asks for, what the block has.
//!
//! Read as ifupdown reads them, slips included; what cannot be meant is a diagnostic that points at its line.

use std::net::IpAddr;

use bstr::ByteSlice;
use ipnet::IpNet;

use super::finder::Finder;
use super::{Layout, MAX_PRIORITY, Source, Wish, Written};
use crate::interfaces::command::{Object, commands};
use crate::interfaces::config::Opt;
use crate::interfaces::{Diagnostic, Dialect, Family, Stanza};
use crate::snapshot::MAIN;
use crate::tables::RESERVED;

impl Finder<'_> {
    /// The addresses of a static stanza, as ifupdown's conversions make them (archcommon.c
    /// `compute_v4_mask`): one, or for the others as many as there are.
    pub(super) fn addresses_of(
        &self,
        stanza: &Stanza,
        family: Family,
        index: usize,
        options: &[Opt],
    ) -> Vec<Result<Source, Diagnostic>> {
        let get = |name: &str| options.iter().find(|option| option.name == name);
        let Some(option) = get("address").filter(|_| has_address(self.config.dialect, stanza)) else {
            return Vec::new();
        };
        let tunnel = || get("dstaddr").filter(|_| stanza.method == "tunnel");
        let peer = get("pointopoint").or(get("point-to-point")).or_else(tunnel);
        let peer = peer.and_then(|option| option.value.to_str().ok()?.parse::<IpAddr>().ok());
        let one = |value: &[u8]| -> Result<Source, Diagnostic> {
            let wrong = |option: &Opt, what: &str| {
                let text = option.value.as_bstr();
                let help = match family {
                    Family::Inet6 => "Write 'address 2001:db8:a::10/64'.",
                    _ => "Write 'address 192.0.2.10/24'.",
                };
                Err(Diagnostic::error(option.at, text, format!("'{text}' is no {what}"), help))
            };
            // ifupdown cuts at the first slash, even where a second 'address' line was joined on.
            let (address, length) = match value.find_byte(b'/') {
                Some(at) => (&value[..at], Some(&value[at + 1..])),
                None => (value, None),
            };
            let Some(address) = address.to_str().ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
                return wrong(option, "address");
            };
            if address.is_ipv6() != (family == Family::Inet6) {
                return wrong(option, &format!("{family} address"));
            }
            let (option, length) = match get("netmask") {
                Some(netmask) => (netmask, Some(&netmask.value[..])),
                None => (option, length),
            };
            let classes = self.config.dialect == Dialect::Ifupdown;
            let length = match (length, address) {
                (Some(text), _) => prefix_length(text, address),
                (None, IpAddr::V4(address)) if classes => Some(match address.octets()[0] {
                    0..=127 => 8,
                    128..=191 => 16,
                    192..=223 => 24,
                    _ => 32,
                }),
                (None, IpAddr::V4(_)) => Some(32),
                (None, IpAddr::V6(_)) => Some(128),
            };
            let Some(net) = length.and_then(|length| IpNet::new(address, length).ok()) else {
                return wrong(option, "netmask or prefix length");
            };
            Ok(Source { peer, stanza: Some(index), ..Source::of(net) })
        };
        match self.config.dialect {
            Dialect::Ifupdown => vec![one(&option.value)],
            _ => option.value.lines().map(one).collect(),
        }
    }

    /// The addresses that a stanza's method sets, of both families.
    pub(super) fn all_addresses_of(&self, stanza: &Stanza) -> Vec<IpAddr> {
        let options = stanza.own_options();
        let of = |family: Family| {
            let own: Vec<Opt> = options.iter().filter_map(|option| of_family(option, family)).collect();
            self.addresses_of(stanza, family, 0, &own).into_iter().flatten().map(|source| source.net.addr())
        };
        [Family::Inet, Family::Inet6].into_iter().flat_map(of).collect()
    }

    /// The gateways of an option: one, or for ifupdown-ng and ifupdown2 one a line.
    pub(super) fn gateways(&mut self, family: Family, option: &Opt) -> Vec<IpAddr> {
        let lines: Vec<&[u8]> = option.value.split_str("\n").collect();
        if lines.len() > 1 && self.config.dialect == Dialect::Ifupdown {
            self.wrong.push(Diagnostic::error(
                option.at,
                lines[0],
                format!("two '{}' lines in one stanza", option.name),
                "Give the second uplink a stanza of its own; ifupdown makes one broken command of two gateways.",
            ));
            return Vec::new();
        }
        lines.into_iter().filter_map(|line| self.gateway(family, option, line)).collect()
    }

    fn gateway(&mut self, family: Family, option: &Opt, line: &[u8]) -> Option<IpAddr> {
        let mut words = line.fields_with(char::is_whitespace);
        let word = words.next().unwrap_or_default();
        let more = words.next();
        let text = word.as_bstr();
        let error = |message: String, help: &str| Some(Diagnostic::error(option.at, word, message, help));
        let parsed = word.to_str().ok().and_then(|text| text.parse::<IpAddr>().ok());
        let wrong = match parsed {
            None => error(format!("'{text}' is no address"), "Give the gateway's address, for example 192.0.2.1."),
            Some(gateway) if gateway.is_ipv6() != (family == Family::Inet6) => error(
                format!("the gateway {text} is of another family than its {family} stanza"),
                "Move it to the stanza of its own family.",
            ),
            Some(gateway) if gateway.is_unspecified() || gateway.is_multicast() => {
                error(format!("{text} cannot be a gateway"), "Give the router's own address.")
            }
            Some(_) if more.is_some_and(|word| !word.starts_with(b"#")) => {
                error(format!("'{}' is no address", line.as_bstr()), "Leave only the gateway's address there.")
            }
            Some(_) if more.is_some() => Some(Diagnostic::warning(
                option.at,
                b"#",
                "'#' begins no comment here: ifupdown takes it for a part of the gateway",
                "Put the comment on a line of its own.",
            )),
            Some(_) => None,
        };
        self.wrong.extend(wrong);
        parsed
    }

    pub(super) fn number(&mut self, option: &Opt, least: u32, most: u32, what: &str) -> Option<u32> {
        let number = option.value.to_str().ok().and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
            return Some(number);
        }
        let help = format!("Give a number from {least} to {most}.");
        self.wrong.push(Diagnostic::error(option.at, &option.value, format!("'{}' is not {what}", option.value), help));
        None
    }

    pub(super) fn wish(&mut self, options: &[Opt]) -> Wish {
        let get = |name: &str| options.iter().find(|option| option.name == name);
        let mut one_of = |option: &Opt, words: [&str; 2]| {
            let found = words.iter().position(|word| option.value == *word);
            if found.is_none() {
                let message = format!("'{} {}' is not understood", option.name, option.value);
                let help = format!("Write '{} {}' or '{0} {}'.", option.name, words[0], words[1]);
                self.wrong.push(Diagnostic::error(option.at, &option.value, message, help));
            }
            found
        };
        let enabled = get("symroute").and_then(|option| one_of(option, ["no", "yes"])).map(|word| word == 1);
        let layout = get("symroute-layout")
            .filter(|option| one_of(option, ["layered", "article"]).is_some())
            .and_then(|option| Layout::parse(&option.value));
        let priority = get("symroute-priority").and_then(|option| self.number(option, 1, MAX_PRIORITY, "a priority"));
        let table = get("symroute-table").and_then(|option| self.table(option));
        Wish { enabled, table, priority, layout }
    }

    fn table(&mut self, option: &Opt) -> Option<u32> {
        let text = option.value.to_str_lossy();
        let help = "Give a number from 1 to 4294967295 except 253 to 255, or a name from /etc/iproute2/rt_tables.d.";
        let message = match self.names.number(&text) {
            Some(number) if !RESERVED.contains(&number) => return Some(number),
            Some(number) => format!("table {number} is the kernel's own"),
            None if text.bytes().all(|b| b.is_ascii_digit()) => format!("table {text} is out of range"),
            None => format!("no table is named '{text}'"),
        };
        self.wrong.push(Diagnostic::error(option.at, &option.value, message, help));
        None
    }

    /// Reads the numbers back that symroute-gen wrote.
    pub(super) fn written(&self, stanza: &Stanza, family: Family, own_metric: Option<u32>) -> Option<Written> {
        if !stanza.has_block() {
            return None;
        }
        let mut written = Written::default();
        for entry in stanza.entries.iter().filter(|entry| entry.in_block) {
            let text = entry.value.to_str_lossy();
            match &entry.name[..] {
                b"metric" if own_metric.is_none() => written.metric = text.parse().ok(),
                b"symroute-layout" => {
                    written.layout = Layout::parse(&entry.value);
                }
                b"up" => {
                    written.lines = true;
                    let of_family = commands(&text, &|_| None)
                        .into_iter()
                        .filter(|it| it.object != Object::Address && it.inet6 == (family == Family::Inet6));
                    for command in of_family {
                        let table = command.get("table").and_then(|table| self.names.number(table));
                        if let Some(table) = table.filter(|table| *table != MAIN) {
                            written.table.get_or_insert(table);
                        }
                        if command.object == Object::Rule {
                            written.priority = written.priority.into_iter().chain(command.priority()).min();
                            let layered = command.get("suppress_prefixlength").is_some();
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
}

/// Does the stanza's method set its `address`? ifupdown-ng and ifupdown2 set it whatever the method is.
pub(super) fn has_address(dialect: Dialect, stanza: &Stanza) -> bool {
    match (dialect, &stanza.method[..]) {
        (_, b"dhcp") => false,
        (Dialect::Ifupdown, method) => matches!(method, b"static" | b"tunnel" | b"v4tunnel"),
        _ => true,
    }
}

/// Does the stanza's `gateway` make a default route in main? (inet.defn and inet6.defn; `ifup -nv` shows it.) An
/// `inet6 tunnel` may be IPv4's way out: then the gateway is an IPv4 address, and no address of the stanza goes there.
pub(super) fn makes_default(dialect: Dialect, stanza: &Stanza, gateway: &[u8]) -> bool {
    let of_family = stanza.method != "tunnel" || gateway.contains(&b':') == (stanza.family == Family::Inet6);
    has_address(dialect, stanza) && (of_family || dialect != Dialect::Ifupdown)
}

/// pppd makes the interface, and its default route without a gateway.
pub(super) fn is_point_to_point(stanza: &Stanza) -> bool {
    matches!(&stanza.method[..], b"ppp" | b"wvdial")
}

/// The lines of an address or gateway option that are of one family; others belong to both.
pub(super) fn of_family(option: &Opt, family: Family) -> Option<Opt> {
    if !matches!(
        &option.name[..],
        b"address" | b"gateway" | b"symroute-gateway" | b"netmask" | b"pointopoint" | b"point-to-point"
    ) {
        return Some(option.clone());
    }
    // A mask in dots or bits alone is IPv4's; what is no address at all is complained about once.
    let here = |line: &&[u8]| line.contains(&b':') == (family == Family::Inet6);
    let lines: Vec<&[u8]> = option.value.split_str("\n").filter(here).collect();
    (!lines.is_empty()).then(|| Opt { value: bstr::join("\n", lines).into(), ..option.clone() })
}

/// The prefix length of `24`, `255.255.255.0`, or `24 # text` (ifupdown reads digits and stops).
fn prefix_length(text: &[u8], address: IpAddr) -> Option<u8> {
    let text = text.to_str_lossy();
    let text = text.split(|c: char| c.is_whitespace()).next().unwrap_or_default();
    match (text.parse::<IpAddr>(), address) {
        (Ok(mask), IpAddr::V4(_)) => ipnet::ip_mask_to_prefix(mask).ok(),
        _ => text.parse().ok(),
    }
}
