//! Finding the uplinks: which stanzas are a way out, through which gateway, with which source addresses.
//!
//! Without a snapshot this is what the files say; with one, the addresses are those that the kernel has,
//! and a gateway that the files do not name (DHCP, router advertisements) is the kernel's default route.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use crate::interfaces::command::{Command, Policy, commands};
use crate::interfaces::config::{Listed, Opt};
use crate::interfaces::{At, Config, Diagnostic, Dialect, Family, Severity, Stanza};
use crate::snapshot::{INET6_METRIC, MAIN, Snapshot};
use crate::tables::{Names, RESERVED};

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
        format!("{} {}", self.interface, self.family)
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
    /// Tables and priorities that hand-written lines use.
    pub taken_tables: Vec<u32>,
    pub taken_priorities: Vec<u32>,
    /// Metrics of main's inet and inet6 default routes whose stanza has no `metric`.
    pub unset_metrics: [u32; 2],
    pub diagnostics: Vec<Diagnostic>,
}

/// The uplinks of a configuration. With a snapshot they are held against the kernel; `going` names the
/// interfaces (as ifupdown does, `eth0:1` included) that are about to go down.
pub fn find(config: &Config, snapshot: Option<&Snapshot>, going: &[&str], names: &Names) -> Found {
    let mut finder =
        Finder { config, listed: config.listed(), names, wrong: Vec::new(), sources: Vec::new(), policies: Vec::new() };
    let mut uplinks = Vec::new();
    for (index, stanza) in config.stanzas.iter().enumerate() {
        finder.stanza(index, stanza, &mut uplinks);
    }
    finder.assign_sources(&mut uplinks);
    finder.mark_hand_written(&mut uplinks);
    if let Some(snapshot) = snapshot {
        for uplink in &mut uplinks {
            as_the_kernel_has_it(uplink, snapshot);
        }
        assign_kernel_addresses(&mut uplinks, snapshot);
        for interface in going {
            let alias = interface.contains(':');
            let named = |stanza: usize| config.stanzas[stanza].interface == interface.as_bytes();
            for uplink in &mut uplinks {
                if alias {
                    uplink.sources.retain(|source| !source.stanza.is_some_and(named));
                }
                uplink.up &= if alias { !named(uplink.stanza) } else { uplink.interface != *interface };
            }
        }
    }
    let owned = |net: &IpNet| uplinks.iter().any(|uplink| uplink.sources.iter().any(|source| source.net == *net));
    let known = finder.sources.iter().map(|(_, _, source)| source.net);
    let in_kernel = snapshot.iter().flat_map(|snapshot| &snapshot.addresses).filter(|address| !address.local);
    let mut other_networks: Vec<IpNet> =
        known.chain(in_kernel.map(|address| address.net)).filter(|net| !owned(net)).collect();
    other_networks.sort();
    other_networks.dedup();
    let by_hand = || finder.policies.iter().map(|(_, policy)| policy);
    Found {
        other_networks,
        taken_tables: by_hand().filter_map(|policy| names.number(policy.table.as_deref()?)).collect(),
        taken_priorities: by_hand().filter_map(|policy| policy.priority.as_deref()?.parse().ok()).collect(),
        unset_metrics: match config.dialect {
            Dialect::IfupdownNg => [1, 1],
            _ => [0, INET6_METRIC],
        },
        diagnostics: finder.wrong,
        uplinks,
    }
}

/// The link of `eth0:1` is `eth0`.
fn link_of(name: &BStr) -> &[u8] {
    &name[..name.find_byte(b':').unwrap_or(name.len())]
}

/// A name that can stand in a shell line and in the kernel: `dev_valid_name`, less what a shell takes apart.
fn is_link_name(name: &[u8]) -> bool {
    (1..=15).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+'))
        && name != b"."
        && name != b".."
        && name[0] != b'-'
}

struct Finder<'a> {
    config: &'a Config,
    listed: Listed<'a>,
    names: &'a Names,
    wrong: Vec<Diagnostic>,
    /// Addresses of all static stanzas, with link and family.
    sources: Vec<(String, Family, Source)>,
    /// Hand-written rules and routes, with the stanza that they stand in.
    policies: Vec<(usize, Policy)>,
}

impl Finder<'_> {
    fn stanza(&mut self, index: usize, stanza: &Stanza, uplinks: &mut Vec<Uplink>) {
        let families: &[Family] = match (self.config.dialect, stanza.family) {
            (Dialect::Ifupdown, Family::Inet) => &[Family::Inet],
            (Dialect::Ifupdown, Family::Inet6) => &[Family::Inet6],
            (Dialect::Ifupdown, _) => return,
            // There, both may stand in one stanza, whatever its first line says.
            _ => &[Family::Inet, Family::Inet6],
        };
        let options = stanza.own_options();
        let Some(link) = self.listed.link(stanza.interface.as_bstr()) else {
            let gateway = options.iter().find(|option| option.name.ends_with(b"gateway"));
            self.wrong.extend(gateway.map(|option| {
                let message =
                    format!("'{}' stands for more than one link: this stanza is left alone", stanza.interface);
                let help = format!(
                    "Name one link for it, as in 'auto eth0={}', or give each link a stanza.",
                    stanza.interface
                );
                Diagnostic::warning(option.at, &option.name, message, help)
            }));
            return;
        };
        let link = link_of(link).to_str_lossy().into_owned();
        self.commands(index, &link, &options);
        for family in families {
            let of_family = match self.config.dialect {
                Dialect::Ifupdown => options.clone(),
                _ => options.iter().filter_map(|option| of_family(option, *family)).collect(),
            };
            self.stanza_in(index, stanza, &link, *family, &of_family, uplinks);
        }
    }

    fn stanza_in(
        &mut self,
        index: usize,
        stanza: &Stanza,
        link: &str,
        family: Family,
        options: &[Opt],
        uplinks: &mut Vec<Uplink>,
    ) {
        let Some(at) = stanza.at else { return };
        let interface = link.to_string();
        let mut wrong_address = Vec::new();
        for source in self.addresses_of(stanza, family, index, options) {
            match source {
                Ok(source) => self.sources.push((interface.clone(), family, source)),
                Err(wrong) => wrong_address.push(wrong),
            }
        }
        let get = |name: &str| options.iter().find(|option| option.name == name);
        let dynamic =
            stanza.family == family && (stanza.method == "dhcp" || family == Family::Inet6 && stanza.method == "auto");
        let own_gateway = get("gateway").filter(|_| stanza.method == "static");
        let table_gateway = get("symroute-gateway");
        let brought_up = self.listed.has(&stanza.interface);
        if own_gateway.is_none() && table_gateway.is_none() && !dynamic {
            return;
        }
        if !brought_up && (dynamic || self.only_a_template(stanza.interface.as_bstr())) {
            return;
        }
        if !is_link_name(link.as_bytes()) {
            self.wrong.push(Diagnostic::warning(
                at,
                &stanza.interface,
                format!("'{}' is no name that a link can have: this stanza is left alone", stanza.interface),
                "A link's name has 1 to 15 letters, digits, '.', '_', '-', '@' or '+'.",
            ));
            return;
        }
        let before = self.wrong.len();
        self.wrong.extend(wrong_address);
        let gateways = own_gateway.map(|option| self.gateways(family, option)).unwrap_or_default();
        let for_table = table_gateway.map(|option| self.gateways(family, option)).unwrap_or_default();
        if let (Some(main), Some(table), Some(option)) = (gateways.first(), for_table.first(), table_gateway) {
            if main != table {
                self.wrong.push(Diagnostic::error(
                    option.at,
                    &option.value,
                    format!("two gateways in one stanza: 'gateway {main}' and 'symroute-gateway {table}'"),
                    "Keep one: 'gateway' also makes main's default route, 'symroute-gateway' only that of the uplink's table.",
                ));
            }
        }
        let metric = get("metric").and_then(|option| self.number(option, 0, u32::MAX, "a metric"));
        let wish = self.wish(options);
        // A stanza with a fault is no uplink; its fault stops everything before a plan is made of the rest.
        if self.wrong[before..].iter().any(|d| d.severity == Severity::Error) {
            return;
        }
        let mut gateways: Vec<Option<IpAddr>> =
            if own_gateway.is_some() { gateways } else { for_table }.into_iter().map(Some).collect();
        if dynamic && gateways.is_empty() {
            gateways.push(None);
        }
        for gateway in gateways {
            let same = |known: &&mut Uplink| {
                known.interface == interface && known.family == family && gateway.is_some() && known.gateway == gateway
            };
            if let Some(known) = uplinks.iter_mut().find(same) {
                known.twins.push(index);
                continue;
            }
            uplinks.push(Uplink {
                interface: interface.clone(),
                family,
                stanza: index,
                at,
                gateway,
                twins: Vec::new(),
                in_main: own_gateway.is_some() || dynamic && table_gateway.is_none(),
                metric,
                sources: Vec::new(),
                dynamic,
                wish,
                written: self.written(stanza, family, metric),
                hand_written: false,
                up: true,
            });
        }
    }

    /// Is the name only there to inherit from, or for a mapping to choose?
    fn only_a_template(&self, name: &BStr) -> bool {
        let inherited =
            self.config.stanzas.iter().any(|stanza| stanza.inherits.as_ref().is_some_and(|other| other == name));
        let mapped = self.config.mappings.iter().flat_map(|mapping| &mapping.maps);
        inherited
            || name == "default"
            || mapped.flat_map(|map| map.fields_with(char::is_whitespace)).any(|word| word == name.as_bytes())
    }

    /// The addresses of a static stanza, as ifupdown's conversions make them (archcommon.c
    /// `compute_v4_mask`): one, or for the others as many as there are.
    fn addresses_of(
        &self,
        stanza: &Stanza,
        family: Family,
        index: usize,
        options: &[Opt],
    ) -> Vec<Result<Source, Diagnostic>> {
        let get = |name: &str| options.iter().find(|option| option.name == name);
        let (Some(option), b"static") = (get("address"), &stanza.method[..]) else { return Vec::new() };
        let peer = get("pointopoint").or(get("point-to-point"));
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
            Ok(Source { net, peer, stanza: Some(index), by_prefix: false })
        };
        match self.config.dialect {
            Dialect::Ifupdown => vec![one(&option.value)],
            _ => option.value.lines().map(one).collect(),
        }
    }

    /// The gateways of an option: one, or for ifupdown-ng and ifupdown2 one a line.
    fn gateways(&mut self, family: Family, option: &Opt) -> Vec<IpAddr> {
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

    fn number(&mut self, option: &Opt, least: u32, most: u32, what: &str) -> Option<u32> {
        let number = option.value.to_str().ok().and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
            return Some(number);
        }
        let help = format!("Give a number from {least} to {most}.");
        self.wrong.push(Diagnostic::error(option.at, &option.value, format!("'{}' is not {what}", option.value), help));
        None
    }

    fn wish(&mut self, options: &[Opt]) -> Wish {
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
    fn written(&self, stanza: &Stanza, family: Family, own_metric: Option<u32>) -> Option<Written> {
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
                    let of_family = |command: &Command| matches!(command, Command::Rule(policy) | Command::Route(policy) if policy.inet6 == (family == Family::Inet6));
                    for command in commands(&text, "").into_iter().filter(of_family) {
                        if let Command::Rule(policy) | Command::Route(policy) = &command {
                            let table = policy.table.as_deref().and_then(|table| self.names.number(table));
                            if let Some(table) = table.filter(|table| *table != MAIN) {
                                written.table.get_or_insert(table);
                            }
                        }
                        if let Command::Rule(policy) = &command {
                            let priority = policy.priority.as_deref().and_then(|text| text.parse::<u32>().ok());
                            written.priority = written.priority.into_iter().chain(priority).min();
                            let layered = policy.suppress_prefixlength.is_some();
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

    /// The `ip` commands that the administrator wrote: addresses are taken in, rules and routes noted.
    fn commands(&mut self, index: usize, interface: &str, options: &[Opt]) {
        let lines = options.iter().filter(|option| matches!(&option.name[..], b"pre-up" | b"up"));
        for command in lines.flat_map(|option| commands(&option.value.to_str_lossy(), interface)) {
            match command {
                Command::Address(address) if address.adds => {
                    let family = if address.inet6 { Family::Inet6 } else { Family::Inet };
                    let text = address.what.unwrap_or_default();
                    let net = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
                    let dev = address.dev.unwrap_or_default();
                    if let Some(net) = net {
                        let source = Source { net, peer: None, stanza: Some(index), by_prefix: false };
                        self.sources.push((link_of(BStr::new(&dev)).to_str_lossy().into_owned(), family, source));
                    }
                }
                Command::Rule(policy) => self.policies.push((index, policy)),
                Command::Route(policy) => {
                    let table = policy.table.as_deref();
                    if table.is_some_and(|table| self.names.number(table) != Some(MAIN)) {
                        self.policies.push((index, policy));
                    }
                }
                Command::Address(_) => {}
            }
        }
    }

    /// Gives every address to the uplink of its link that it belongs to.
    fn assign_sources(&mut self, uplinks: &mut [Uplink]) {
        // The gateway's own stanza first: it decides which networks are the uplink's.
        for uplink in uplinks.iter_mut() {
            let own = |(link, family, source): &&(String, Family, Source)| {
                *link == uplink.interface && *family == uplink.family && source.stanza == Some(uplink.stanza)
            };
            if let Some((_, _, source)) = self.sources.iter().find(own) {
                uplink.sources.push(source.clone());
            }
        }
        for (link, family, source) in &self.sources {
            assign(uplinks, link, *family, source);
        }
        for uplink in uplinks.iter() {
            let gateway = uplink.gateway;
            if uplink.sources.iter().any(|source| Some(source.net.addr()) == gateway) {
                let stanza = &self.config.stanzas[uplink.stanza];
                let line = stanza.own_options().into_iter().find(|option| option.name.ends_with(b"gateway"));
                self.wrong.push(Diagnostic::error(
                    line.map_or(uplink.at, |option| option.at),
                    b"gateway",
                    format!("the gateway of {} is its own address", uplink.interface),
                    "Give the address of the provider's router.",
                ));
            } else if uplink.sources.is_empty() && !uplink.dynamic {
                self.wrong.push(Diagnostic::warning(
                    uplink.at,
                    &self.config.stanzas[uplink.stanza].interface,
                    format!("{} has a gateway but no address", uplink.label()),
                    "Without a source address there is nothing to route by; give it an 'address'.",
                ));
            }
        }
    }

    /// Hand-written policy serves the uplink whose stanza it stands in, whose address it names, or whose
    /// gateway it routes through.
    fn mark_hand_written(&mut self, uplinks: &mut [Uplink]) {
        for uplink in uplinks {
            let inet6 = uplink.family == Family::Inet6;
            let serves = |(stanza, policy): &&(usize, Policy)| {
                if policy.inet6 != inet6 {
                    return false;
                }
                let from = policy.from.as_deref().and_then(|from| {
                    from.parse::<IpNet>().ok().or_else(|| from.parse::<IpAddr>().ok().map(IpNet::from))
                });
                let names_address =
                    from.is_some_and(|from| uplink.sources.iter().any(|source| from.contains(&source.net.addr())));
                let via = policy.via.as_deref().and_then(|via| via.parse::<IpAddr>().ok());
                let same_link = policy.dev.as_deref().is_none_or(|dev| dev == uplink.interface);
                *stanza == uplink.stanza && from.is_none() && via.is_none()
                    || names_address
                    || via.is_some() && via == uplink.gateway && same_link
            };
            if let Some((stanza, _)) = self.policies.iter().find(serves) {
                uplink.hand_written = true;
                self.wrong.push(Diagnostic::warning(
                    self.config.stanzas[*stanza].at.unwrap_or(uplink.at),
                    &self.config.stanzas[*stanza].interface,
                    format!("policy routing for {} is written here by hand: symroute leaves it alone", uplink.label()),
                    "Take those 'ip rule' and 'ip route … table' lines out to let symroute do it, or write 'symroute no' to keep them.",
                ));
            }
        }
    }
}

/// The lines of an address or gateway option that are of one family; others belong to both.
fn of_family(option: &Opt, family: Family) -> Option<Opt> {
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

/// Holds an uplink against the kernel: is it up, which of its addresses are there, and for a dynamic one,
/// through which router.
fn as_the_kernel_has_it(uplink: &mut Uplink, snapshot: &Snapshot) {
    let Uplink { interface, family, .. } = uplink;
    let up = snapshot.link(interface).is_some_and(|link| link.up);
    let present =
        |address: IpAddr| snapshot.addresses.iter().any(|known| known.dev == *interface && known.net.addr() == address);
    if uplink.dynamic && uplink.gateway.is_none() {
        uplink.gateway = snapshot
            .routes
            .iter()
            .filter(|route| route.family == *family && route.table == MAIN && route.dst.prefix_len() == 0)
            .filter(|route| route.dev.as_ref() == Some(interface))
            .min_by_key(|route| route.metric)
            .and_then(|route| route.gateway);
    }
    let there: Vec<Source> = uplink.sources.iter().filter(|source| present(source.net.addr())).cloned().collect();
    uplink.up = up && (uplink.dynamic && uplink.gateway.is_some() || !there.is_empty());
    if uplink.up {
        uplink.sources = there;
    }
}

/// Adds the addresses that only the kernel knows.
fn assign_kernel_addresses(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    for address in snapshot.addresses.iter().filter(|address| !address.local) {
        let family = if address.net.addr().is_ipv6() { Family::Inet6 } else { Family::Inet };
        let by_prefix = family == Family::Inet6
            && address.net.prefix_len() < 128
            && uplinks
                .iter()
                .any(|uplink| uplink.interface == address.dev && uplink.family == family && uplink.dynamic);
        let source = Source { net: address.net, peer: address.peer, stanza: None, by_prefix };
        assign(uplinks, &address.dev, family, &source);
    }
    for uplink in uplinks {
        uplink.up &= !uplink.sources.is_empty();
    }
}
