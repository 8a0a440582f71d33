//! From stanzas to uplinks: which of them are one, on which link, with whose addresses, and which are served by hand.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use super::handwritten::{Line, lines};
use super::named::name;
use super::options::{has_address, is_point_to_point, makes_default, of_family};
use super::{Origin, Skipped, Source, Uplink, assign};
use crate::interfaces::command::{Meeting, Object};
use crate::interfaces::config::{Listed, Opt};
use crate::interfaces::{At, Config, Diagnostic, Dialect, Family, Severity, Stanza};
use crate::snapshot::{Link, Snapshot, kernel_name};
use crate::tables::Names;

/// The link of `eth0:1` is `eth0`.
pub(super) fn link_of(name: &BStr) -> &[u8] {
    &name[..name.find_byte(b':').unwrap_or(name.len())]
}

fn has_link(links: &[Link], name: &BStr) -> bool {
    let name = link_of(name).to_str_lossy();
    links.iter().any(|link| link.name == name || link.altnames.iter().any(|altname| *altname == name))
}

fn is_there(link: &BStr, links: &[Link], renamed: &[(String, String)]) -> bool {
    has_link(links, link) || renamed.iter().any(|(old, _)| old.as_bytes() == link_of(link))
}

/// A name that can stand in a shell line and in the kernel: `dev_valid_name`, less what a shell takes apart.
fn is_link_name(name: &[u8]) -> bool {
    (1..=15).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+'))
        && name != b"."
        && name != b".."
        && name[0] != b'-'
}

/// What a stanza says of one family.
struct Part<'a> {
    /// Index into `Config::stanzas`.
    index: usize,
    stanza: &'a Stanza,
    interface: String,
    name: String,
    family: Family,
    options: Vec<Opt>,
}

impl Part<'_> {
    fn get(&self, name: &str) -> Option<&Opt> {
        self.options.iter().find(|option| option.name == name)
    }

    fn uplink(&self, at: At, gateway: Option<IpAddr>) -> Uplink {
        let uplink = Uplink::new(&self.interface, &self.name, self.family, (self.index, at), gateway);
        match &self.stanza.method[..] {
            b"tunnel" | b"v4tunnel" => Uplink { meeting: Meeting::Fails, ..uplink },
            _ => uplink,
        }
    }
}

pub(super) struct Finder<'a> {
    pub(super) config: &'a Config,
    /// The kernel's links, for their names; none where only the files are read.
    pub(super) links: &'a [Link],
    /// Links of the files that have another name now, with that.
    pub(super) renamed: Vec<(String, String)>,
    pub(super) listed: Listed<'a>,
    pub(super) names: &'a Names,
    pub(super) wrong: Vec<Diagnostic>,
    /// Addresses of all static stanzas, with link and family.
    pub(super) sources: Vec<(String, Family, Source)>,
    /// The `ip` commands that the administrator wrote.
    pub(super) lines: Vec<Line>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(config: &'a Config, snapshot: Option<&'a Snapshot>, names: &'a Names) -> Self {
        let links = snapshot.map_or(&[][..], |snapshot| &snapshot.links);
        let (listed, renamed, wrong) = (config.listed(), Vec::new(), Vec::new());
        let lines = lines(config, &listed);
        Finder { config, links, renamed, listed, names, wrong, sources: Vec::new(), lines }
    }

    /// Takes in what the kernel's links are called now. A link that is not there counts for nothing, whatever ifup noted.
    pub(super) fn with_links_of_kernel(mut self, renamed: Vec<(String, String)>) -> Self {
        let links = self.links;
        self.listed.retain_up(|link| is_there(link, links, &renamed));
        self.renamed = renamed;
        self.lines = lines(self.config, &self.listed);
        self
    }

    /// All uplinks of the configuration, in file order.
    pub(super) fn uplinks(&mut self) -> Vec<Uplink> {
        let mut uplinks = Vec::new();
        let config = self.config;
        for (index, stanza) in config.stanzas.iter().enumerate() {
            self.stanza(index, stanza, &mut uplinks);
        }
        self.share_metrics(&mut uplinks);
        self.add_those_of_lines(&mut uplinks);
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

    fn stanza(&mut self, index: usize, stanza: &'a Stanza, uplinks: &mut Vec<Uplink>) {
        let families: &[Family] = match (self.config.dialect, stanza.family) {
            (Dialect::Ifupdown, Family::Inet) => &[Family::Inet],
            (Dialect::Ifupdown, Family::Inet6) => &[Family::Inet6],
            (Dialect::Ifupdown, _) => return,
            // There, both may stand in one stanza, whatever its first line says.
            _ => &[Family::Inet, Family::Inet6],
        };
        let options = stanza.own_options();
        let links = self.links_of(stanza);
        let by_files = self.config.up_as.is_empty();
        let has_address = has_address(self.config.dialect, stanza);
        let is_open = by_files || has_address && !self.listed.is_up(stanza.interface.as_bstr());
        if links.is_empty() && by_files || links.len() > 1 && is_open {
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
            for family in families {
                let options = match self.config.dialect {
                    Dialect::Ifupdown => options.clone(),
                    _ => options.iter().filter_map(|option| of_family(option, *family)).collect(),
                };
                let interface = self.interface_of(link);
                self.part(&Part { index, stanza, interface, name: name.clone(), family: *family, options }, uplinks);
            }
        }
    }

    /// The uplinks of one family of a stanza, by its options.
    fn part(&mut self, part: &Part, uplinks: &mut Vec<Uplink>) {
        let Part { stanza, family, .. } = *part;
        let Some(at) = stanza.at else { return };
        let mut wrong_address = Vec::new();
        for source in self.addresses_of(stanza, family, part.index, &part.options) {
            match source {
                Ok(source) => self.sources.push((part.interface.clone(), family, source)),
                Err(wrong) => wrong_address.push(wrong),
            }
        }
        let dynamic =
            stanza.family == family && (stanza.method == "dhcp" || family == Family::Inet6 && stanza.method == "auto");
        let point_to_point = stanza.family == family && is_point_to_point(stanza);
        let makes_default = |option: &&Opt| !dynamic && makes_default(self.config.dialect, stanza, &option.value);
        let own_gateway = part.get("gateway").filter(makes_default);
        let table_gateway = part.get("symroute-gateway");
        if own_gateway.is_none() && table_gateway.is_none() && !dynamic && !point_to_point {
            return;
        }
        if !self.is_brought_up(stanza, own_gateway.or(table_gateway), dynamic || point_to_point) {
            return;
        }
        if point_to_point {
            let skipped = Some(Skipped::PointToPoint);
            uplinks.push(Uplink { skipped, ..part.uplink(at, None) });
            return;
        }
        if !is_link_name(part.interface.as_bytes()) {
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
        let gateways = self.gateways_of(family, own_gateway, table_gateway);
        let metric = part.get("metric").and_then(|option| self.number(option, 0, u32::MAX, "a metric"));
        let wish = self.wish(&part.options);
        // A stanza with a fault is no uplink; its fault stops everything before a plan is made of the rest.
        if self.wrong[before..].iter().any(|d| d.severity == Severity::Error) {
            return;
        }
        let in_main = own_gateway.is_some() || dynamic && table_gateway.is_none();
        let written = self.written(stanza, family, metric);
        let uplink = Uplink { in_main, metric, dynamic, wish, written, ..part.uplink(at, None) };
        if dynamic && gateways.is_empty() {
            uplinks.push(uplink.clone());
        }
        for gateway in gateways.into_iter().map(Some) {
            let same = |known: &&mut Uplink| {
                (known.interface == part.interface && known.family == family) && known.gateway == gateway
            };
            match uplinks.iter_mut().find(same) {
                Some(known) => known.twins.push(part.index),
                None => uplinks.push(Uplink { gateway, ..uplink.clone() }),
            }
        }
    }

    /// The gateways of a stanza: those of `gateway`, or else of `symroute-gateway`.
    fn gateways_of(&mut self, family: Family, own: Option<&Opt>, for_table: Option<&Opt>) -> Vec<IpAddr> {
        let of_main = own.map(|option| self.gateways(family, option)).unwrap_or_default();
        let of_table = for_table.map(|option| self.gateways(family, option)).unwrap_or_default();
        if let (Some(main), Some(table), Some(option)) = (of_main.first(), of_table.first(), for_table) {
            if main != table {
                self.wrong.push(Diagnostic::error(
                    option.at,
                    &option.value,
                    format!("two gateways in one stanza: 'gateway {main}' and 'symroute-gateway {table}'"),
                    "Keep one: 'gateway' also makes main's default route, 'symroute-gateway' only that of the uplink's table.",
                ));
            }
        }
        if own.is_some() { of_main } else { of_table }
    }

    /// Does something bring the stanza up, as far as the files tell? A mapping's choice is warned of at its gateway.
    fn is_brought_up(&mut self, stanza: &Stanza, gateway: Option<&Opt>, without_gateway: bool) -> bool {
        if self.listed.has(&stanza.interface) {
            return true;
        }
        if self.chosen_by_mapping(stanza.interface.as_bstr()) {
            self.wrong.extend(gateway.filter(|_| self.config.up_as.is_empty()).map(|option| {
                let message =
                    format!("a mapping decides which link '{}' is for: no lines are written for it", stanza.interface);
                let help = "The hooks know it when it is up; give its default route a 'metric' of its own.";
                Diagnostic::warning(option.at, &option.name, message, help)
            }));
            return false;
        }
        !without_gateway && !self.only_a_template(stanza.interface.as_bstr())
    }

    /// The kernel's name of the link that ifupdown calls so.
    pub(super) fn interface_of(&self, link: &BStr) -> String {
        let name = link_of(link).to_str_lossy();
        let renamed = self.renamed.iter().find(|(old, _)| *old == name).map(|(_, new)| &new[..]);
        renamed.unwrap_or_else(|| kernel_name(self.links, &name)).to_string()
    }

    /// The links of a stanza, in ifupdown's words. One that is up as the stanza of another takes nothing from that.
    pub(super) fn links_of(&self, stanza: &'a Stanza) -> Vec<&'a BStr> {
        let name = stanza.interface.as_bstr();
        let mut links = self.listed.links(name);
        let is_own = || self.listed.is_up(name) && !links.contains(&name) && has_link(self.links, name);
        if is_own() && !self.listed.is_noted(name) {
            links.push(name);
        }
        links
    }

    /// Is the name only there to inherit from?
    pub(super) fn only_a_template(&self, name: &BStr) -> bool {
        let inherits = |stanza: &Stanza| stanza.inherits.as_ref().is_some_and(|other| other == name);
        name == "default" || self.config.stanzas.iter().any(inherits)
    }

    /// May a mapping's script print the name? Its `map` lines hold it, or it has none.
    pub(super) fn chosen_by_mapping(&self, name: &BStr) -> bool {
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
                let source = Source { stanza: Some(index), ..Source::of(net) };
                self.sources.push((self.interface_of(BStr::new(dev)), family, source));
            }
        }
    }

    /// Gives every address to the uplink of its link that it belongs to.
    fn assign_sources(&mut self, uplinks: &mut [Uplink]) {
        // The gateway's own stanza first: it decides which networks are the uplink's.
        for at in 0..uplinks.len() {
            let uplink = &uplinks[at];
            let same = |other: &&Uplink| (other.stanza, other.family) == (uplink.stanza, uplink.family);
            // A line may add a second uplink to a stanza, whose address is the first one's.
            let alone = uplink.origin == Origin::Options || uplinks.iter().filter(same).count() == 1;
            let own = |(link, family, source): &&(String, Family, Source)| {
                let belongs = alone || uplink.gateway.is_some_and(|gateway| source.net.contains(&gateway));
                let of_stanza = *family == uplink.family && source.stanza == Some(uplink.stanza);
                *link == uplink.interface && of_stanza && belongs
            };
            if let Some((_, _, source)) = self.sources.iter().find(own) {
                uplinks[at].sources.push(source.clone());
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
            } else if uplink.sources.is_empty() && !uplink.dynamic && uplink.skipped.is_none() {
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
    pub(super) fn mark_hand_written(&mut self, uplinks: &mut [Uplink]) {
        let policy = |line: &&Line| line.phase.is_up() && line.is_policy(self.names);
        let mut policies = Vec::new();
        for line in self.lines.iter().filter(policy) {
            let from = line.command.prefix("from").filter(|from| from.prefix_len() > 0);
            let dev = line.command.get("dev").map(|dev| self.interface_of(BStr::new(dev)));
            policies.push((line, from, line.command.address("via"), dev));
        }
        for uplink in uplinks {
            let inet6 = uplink.family == Family::Inet6;
            let serves = |(line, from, via, dev): &&(&Line, Option<IpNet>, Option<IpAddr>, Option<String>)| {
                if line.command.inet6 != inet6 {
                    return false;
                }
                let names_address =
                    from.is_some_and(|from| uplink.sources.iter().any(|source| from.contains(&source.net.addr())));
                let same_link = dev.as_ref().is_none_or(|dev| *dev == uplink.interface);
                // A lease's address and gateway are not known here, so whatever its stanza has is taken for its own.
                line.stanza == uplink.stanza && (uplink.dynamic || from.is_none() && via.is_none())
                    || names_address
                    || via.is_some() && *via == uplink.gateway && same_link
            };
            if let Some(stanza) = policies.iter().find(serves).map(|(line, ..)| line.stanza) {
                uplink.hand_written = true;
                let asked_for = uplink.wish.enabled == Some(false);
                self.wrong.extend((!asked_for).then(|| manual(self.config, uplink, stanza)));
            }
        }
    }
}

/// The warning of manual policy routing, or of the marker that made it so.
fn manual(config: &Config, uplink: &Uplink, stanza: usize) -> Diagnostic {
    let it = &config.stanzas[stanza];
    if let Some(marker) = damaged_block(config, it) {
        let label = uplink.label();
        let what =
            format!("{}; so symroute treats the policy routing for {label} as manual and skips it", marker.message);
        return Diagnostic { severity: Severity::Warning, message: what, ..marker.clone() };
    }
    Diagnostic::warning(
        it.at.unwrap_or(uplink.at),
        &it.interface,
        format!("policy routing for {} is written here by hand: symroute leaves it alone", uplink.label()),
        "Take those 'ip rule' and 'ip route ... table' lines out to let symroute do it. 'symroute no' keeps the lines \
         and silences this warning.",
    )
}

/// A marker without its partner between the stanza's first line and the next stanza.
fn damaged_block<'a>(config: &'a Config, stanza: &Stanza) -> Option<&'a Diagnostic> {
    let start = stanza.at?;
    let starts = config.stanzas.iter().filter_map(|other| other.at).filter(|at| at.file == start.file);
    let end = starts.map(|at| at.line).filter(|line| *line > start.line).min();
    let markers = config.files.get(start.file)?.stray_markers.iter();
    let is_inside = |line: usize| line > start.line && end.is_none_or(|end| line < end);
    markers.into_iter().find(|marker| marker.at.is_some_and(|at| is_inside(at.line)))
}
