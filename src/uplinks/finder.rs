//! From stanzas to uplinks: which of them are one, on which link, with whose addresses, and which are served by hand.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use super::handwritten::{Line, lines};
use super::named::name;
use super::options::of_family;
use super::{Source, Uplink, assign};
use crate::interfaces::command::Object;
use crate::interfaces::config::{Listed, Opt};
use crate::interfaces::{Config, Diagnostic, Dialect, Family, Severity, Stanza};
use crate::tables::Names;

/// The link of `eth0:1` is `eth0`.
pub(super) fn link_of(name: &BStr) -> &[u8] {
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

pub(super) struct Finder<'a> {
    pub(super) config: &'a Config,
    pub(super) listed: Listed<'a>,
    pub(super) names: &'a Names,
    pub(super) wrong: Vec<Diagnostic>,
    /// Addresses of all static stanzas, with link and family.
    pub(super) sources: Vec<(String, Family, Source)>,
    /// The `ip` commands that the administrator wrote.
    pub(super) lines: Vec<Line>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(config: &'a Config, names: &'a Names) -> Self {
        let listed = config.listed();
        let lines = lines(config, &listed);
        Finder { config, listed, names, wrong: Vec::new(), sources: Vec::new(), lines }
    }

    /// All uplinks of the configuration, in file order.
    pub(super) fn uplinks(&mut self) -> Vec<Uplink> {
        let mut uplinks = Vec::new();
        for (index, stanza) in self.config.stanzas.iter().enumerate() {
            self.stanza(index, stanza, &mut uplinks);
        }
        self.share_metrics(&mut uplinks);
        self.assign_sources(&mut uplinks);
        self.mark_hand_written(&mut uplinks);
        uplinks
    }

    /// An interface has one `metric` for both families: ifupdown-ng takes the last of its stanzas that has one,
    /// ifupdown2 the first.
    fn share_metrics(&mut self, uplinks: &mut [Uplink]) {
        if self.config.dialect == Dialect::Ifupdown {
            return;
        }
        for at in 0..uplinks.len() {
            let same = |other: &&Uplink| other.interface == uplinks[at].interface && other.in_main;
            let mut metrics: Vec<(usize, u32)> =
                uplinks.iter().filter(same).filter_map(|other| Some((other.stanza, other.metric?))).collect();
            metrics.sort_unstable();
            let metric = if self.config.dialect == Dialect::IfupdownNg { metrics.last() } else { metrics.first() };
            uplinks[at].metric = metric.map(|(_, metric)| *metric).or(uplinks[at].metric);
        }
    }

    fn stanza(&mut self, index: usize, stanza: &Stanza, uplinks: &mut Vec<Uplink>) {
        let families: &[Family] = match (self.config.dialect, stanza.family) {
            (Dialect::Ifupdown, Family::Inet) => &[Family::Inet],
            (Dialect::Ifupdown, Family::Inet6) => &[Family::Inet6],
            (Dialect::Ifupdown, _) => return,
            // There, both may stand in one stanza, whatever its first line says.
            _ => &[Family::Inet, Family::Inet6],
        };
        let options = stanza.own_options();
        let links = self.listed.links(stanza.interface.as_bstr());
        let by_files = self.config.up_as.is_empty();
        let has_address = stanza.method == "static";
        if links.is_empty() && by_files || links.len() > 1 && (by_files || has_address) {
            let gateway = options.iter().find(|option| option.name.ends_with(b"gateway"));
            self.wrong.extend(gateway.map(|option| {
                let message = format!(
                    "'{}' does not say which one link it is for: no lines are written for it",
                    stanza.interface
                );
                let help = format!(
                    "The hooks know it when it is up. Or name one link, as in 'auto eth0={}'.",
                    stanza.interface
                );
                Diagnostic::warning(option.at, &option.name, message, help)
            }));
            return;
        }
        self.added_addresses(index);
        for link in links {
            let name = name(link, stanza.interface.as_bstr());
            let link = link_of(link).to_str_lossy().into_owned();
            for family in families {
                let of_family = match self.config.dialect {
                    Dialect::Ifupdown => options.clone(),
                    _ => options.iter().filter_map(|option| of_family(option, *family)).collect(),
                };
                self.stanza_in(index, stanza, (&link, &name), *family, &of_family, uplinks);
            }
        }
    }

    fn stanza_in(
        &mut self,
        index: usize,
        stanza: &Stanza,
        (link, name): (&str, &str),
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
        if !brought_up && self.chosen_by_mapping(stanza.interface.as_bstr()) {
            let option = own_gateway.or(table_gateway).filter(|_| self.config.up_as.is_empty());
            self.wrong.extend(option.map(|option| {
                let message =
                    format!("a mapping decides which link '{}' is for: no lines are written for it", stanza.interface);
                let help = "The hooks know it when it is up; give its default route a 'metric' of its own.";
                Diagnostic::warning(option.at, &option.name, message, help)
            }));
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
                name: name.to_string(),
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

    /// Is the name only there to inherit from?
    fn only_a_template(&self, name: &BStr) -> bool {
        let inherits = |stanza: &Stanza| stanza.inherits.as_ref().is_some_and(|other| other == name);
        name == "default" || self.config.stanzas.iter().any(inherits)
    }

    /// May a mapping's script print the name? Its `map` lines hold it, or it has none.
    fn chosen_by_mapping(&self, name: &BStr) -> bool {
        let has = |map: &bstr::BString| map.fields_with(char::is_whitespace).any(|word| word == name.as_bytes());
        self.config.mappings.iter().any(|mapping| mapping.maps.is_empty() || mapping.maps.iter().any(has))
    }

    /// Takes in the addresses that a stanza's own commands add.
    fn added_addresses(&mut self, index: usize) {
        let first = self.lines.partition_point(|line| line.stanza < index);
        let own = self.lines[first..].iter().take_while(|line| line.stanza == index);
        for command in own.filter(|line| line.phase.is_up()).map(|line| &line.command) {
            let dev = command.get("dev").unwrap_or_default();
            if let (Object::Address, true, Some(net)) = (command.object, command.adds(), command.prefix("to")) {
                let family = if command.inet6 { Family::Inet6 } else { Family::Inet };
                let source = Source { net, peer: None, stanza: Some(index), by_prefix: false };
                self.sources.push((link_of(BStr::new(dev)).to_str_lossy().into_owned(), family, source));
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
        let policy = |line: &&Line| line.phase.is_up() && line.is_policy(self.names);
        let mut policies = Vec::new();
        for line in self.lines.iter().filter(policy) {
            let from = line.command.prefix("from").filter(|from| from.prefix_len() > 0);
            let dev = line.command.get("dev").map(|dev| link_of(BStr::new(dev)));
            policies.push((line, from, line.command.address("via"), dev));
        }
        for uplink in uplinks {
            let inet6 = uplink.family == Family::Inet6;
            let serves = |(line, from, via, dev): &&(&Line, Option<IpNet>, Option<IpAddr>, Option<&[u8]>)| {
                if line.command.inet6 != inet6 {
                    return false;
                }
                let names_address =
                    from.is_some_and(|from| uplink.sources.iter().any(|source| from.contains(&source.net.addr())));
                let same_link = dev.is_none_or(|dev| dev == uplink.interface.as_bytes());
                // A lease's address and gateway are not known here, so whatever its stanza has is taken for its own.
                line.stanza == uplink.stanza && (uplink.dynamic || from.is_none() && via.is_none())
                    || names_address
                    || via.is_some() && *via == uplink.gateway && same_link
            };
            if let Some(stanza) = policies.iter().find(serves).map(|(line, ..)| line.stanza) {
                uplink.hand_written = true;
                self.wrong.push(Diagnostic::warning(
                    self.config.stanzas[stanza].at.unwrap_or(uplink.at),
                    &self.config.stanzas[stanza].interface,
                    format!("policy routing for {} is written here by hand: symroute leaves it alone", uplink.label()),
                    "Take those 'ip rule' and 'ip route … table' lines out to let symroute do it, or write 'symroute no' to keep them.",
                ));
            }
        }
    }
}
