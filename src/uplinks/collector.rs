//! From stanzas to uplinks: which stanzas are uplinks, on which interface, with which addresses.

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};
use rustc_hash::{FxHashMap, FxHashSet};

use super::added_route::AddedRoutes;
use super::addresses::for_each_address;
use super::gateway::Gateway;
use super::link_source::LinkSource;
use super::owners::Owners;
use super::ppp::PppInterfaces;
use super::stanza::{has_address, is_of_address, is_of_uplink, is_point_to_point, makes_default, of_family};
use super::uplink::{Origin, Source, Uplink, name};
use crate::commands::lines::{Line, for_each_line};
use crate::commands::tables::Names;
use crate::commands::{Object, SameMetric};
use crate::interfaces::config::MergedOption;
use crate::interfaces::entries::NameSet;
use crate::interfaces::listed::Listed;
use crate::interfaces::{AddressFamily, Config, Diagnostic, Dialect, Location, Severity, Stanza, Text, without_alias};
use crate::network::{Family, LinkNames, Snapshot};
use crate::sort::sort;

fn has_link(links: &LinkNames, name: &BStr) -> bool {
    links.get(&without_alias(name).to_str_lossy()).is_some()
}

fn is_there(link: &BStr, links: &LinkNames, renamed: &[(String, String)]) -> bool {
    has_link(links, link) || renamed.iter().any(|(old, _)| old.as_bytes() == without_alias(link))
}

/// Is the name valid in the kernel (`dev_valid_name`), and one word for a shell?
fn is_link_name(name: &[u8]) -> bool {
    (1..=15).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+'))
        && name != b"."
        && name != b".."
        && name[0] != b'-'
}

/// The options of a stanza for one family.
struct Part<'a, 'b> {
    /// Index into `Config::stanzas`.
    index: usize,
    stanza: &'a Stanza,
    /// The link, by ifupdown's name and by the kernel's.
    link: &'a BStr,
    interface: Cow<'a, str>,
    family: Family,
    options: &'b [MergedOption],
}

impl Part<'_, '_> {
    /// `gateway`, `symroute-gateway` and `metric`.
    fn route_options(&self) -> [Option<&MergedOption>; 3] {
        let mut found = [None; 3];
        for option in self.options {
            match &option.name[..] {
                b"gateway" => found[0] = Some(option),
                b"symroute-gateway" => found[1] = Some(option),
                b"metric" => found[2] = Some(option),
                _ => {}
            }
        }
        found
    }

    /// May the stanza's uplink be of this family? By its addresses, or else by the family in its `iface` line.
    fn is_of_stanza(&self, config: &Config) -> bool {
        let has_address = config.own_options(self.stanza).iter().any(|option| option.name == "address");
        let is_of_family = || Family::of_stanza(self.stanza.family).is_none_or(|family| family == self.family);
        self.options.iter().any(|option| option.name == "address") || !has_address && is_of_family()
    }

    fn uplink(&self, location: Location, gateway: Gateway) -> Uplink {
        let name = name(self.link, self.stanza.interface.as_bstr());
        let uplink = Uplink::new(&self.interface, name, self.family, (self.index, location), gateway);
        match &self.stanza.method[..] {
            b"tunnel" | b"v4tunnel" => Uplink { same_metric: SameMetric::Fails, ..uplink },
            _ => uplink,
        }
    }
}

pub(crate) struct UplinkCollector<'a> {
    pub(crate) config: &'a Config,
    /// The kernel's links, for their names; empty if only the files are read.
    pub(crate) links: LinkNames<'a>,
    /// Links that were renamed: the name in the files, and the present one.
    pub(crate) renamed: Vec<(String, String)>,
    /// pppd's interface of a stanza is not known.
    pub(crate) has_unknown_ppp: bool,
    pub(crate) listed: Listed<'a>,
    pub(crate) names: &'a Names,
    /// The options on which uplinks depend.
    of_uplinks: NameSet,
    /// Those of the addresses of a stanza.
    pub(super) of_addresses: NameSet,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The addresses of all static stanzas.
    pub(crate) sources: Vec<LinkSource>,
    /// Each of them is on the link of its uplink.
    pub(crate) are_on_own_links: bool,
    /// The gateways of the uplinks of the options, on any interface.
    gateways: FxHashSet<(Family, Gateway)>,
    /// The `ip` commands that the administrator wrote, without the added routes.
    pub(crate) lines: Vec<Line<'a>>,
    pub(crate) added_routes: AddedRoutes,
    /// They may be manual policy routing, or a part of it.
    pub(crate) may_be_manual: bool,
}

impl<'a> UplinkCollector<'a> {
    pub(crate) fn new(config: &'a Config, snapshot: Option<&'a Snapshot>, names: &'a Names) -> Self {
        let links = snapshot.map(|snapshot| LinkNames::new(&snapshot.links)).unwrap_or_default();
        let mut collector = UplinkCollector { links, ..UplinkCollector::of_files(config, names, Vec::new()) };
        collector.read_lines();
        collector
    }

    /// The same for the files alone, with their commands, which were read before.
    pub(crate) fn of_files(config: &'a Config, names: &'a Names, lines: Vec<Line<'a>>) -> Self {
        UplinkCollector {
            config,
            links: LinkNames::default(),
            renamed: Vec::new(),
            has_unknown_ppp: false,
            listed: config.listed(),
            names,
            of_uplinks: config.names(|name| is_of_uplink(name)),
            of_addresses: config.names(|name| is_of_address(name)),
            diagnostics: Vec::new(),
            sources: Vec::new(),
            are_on_own_links: false,
            gateways: FxHashSet::default(),
            lines,
            added_routes: AddedRoutes::default(),
            may_be_manual: false,
        }
    }

    /// Reads the commands of the files, and keeps those that concern uplinks.
    fn read_lines(&mut self) {
        let (mut lines, mut added_routes) = (Vec::new(), AddedRoutes::default());
        for_each_line(self.config, &self.listed, &mut |line| {
            let is_policy = line.is_policy(self.names);
            self.may_be_manual |= is_policy || line.deletes_route();
            if !added_routes.add(&line, is_policy) {
                lines.push(line.shrunk());
            }
            true
        });
        (self.lines, self.added_routes) = (lines, added_routes);
    }

    /// Uses the interfaces of pppd.
    pub(crate) fn with_ppp(mut self, ppp: PppInterfaces) -> Self {
        self.has_unknown_ppp = !ppp.unknown.is_empty();
        self.diagnostics.extend(ppp.unknown);
        self.renamed = ppp.known;
        self
    }

    /// Uses the kernel's current names of interfaces. Interfaces that do not exist are ignored, whatever ifup recorded.
    pub(crate) fn with_links_of_kernel(mut self, renamed: Vec<(String, String)>) -> Self {
        let links = &self.links;
        self.renamed.extend(renamed);
        let renamed = &self.renamed;
        // The lines may name the links, by `$IFACE`.
        if self.listed.retain_up(|link| is_there(link, links, renamed)) {
            self.read_lines();
            self.may_be_manual = true;
        }
        self
    }

    /// All uplinks of the configuration, in file order.
    pub(crate) fn uplinks(&mut self) -> Vec<Uplink> {
        let mut uplinks = Vec::new();
        let config = self.config;
        for (index, stanza) in config.stanzas.iter().enumerate() {
            self.stanza(index, stanza, &mut uplinks);
        }
        self.complete(&mut uplinks);
        uplinks
    }

    /// What depends on all stanzas.
    fn complete(&mut self, uplinks: &mut Vec<Uplink>) {
        self.share_metrics(uplinks);
        self.add_those_of_lines(uplinks);
        self.assign_sources(uplinks);
        self.read_priorities(uplinks);
        self.mark_manual(uplinks);
    }

    /// Do the uplinks satisfy a condition, which has to stay true when uplinks are added? Mostly the first ones decide. If
    /// lines may make an uplink manual, all of them are needed.
    pub(crate) fn satisfies(mut self, condition: &dyn Fn(&[Uplink]) -> bool) -> bool {
        let mut uplinks = Vec::new();
        let config = self.config;
        for (index, stanza) in config.stanzas.iter().enumerate() {
            self.stanza(index, stanza, &mut uplinks);
            // At 2, 4, 8 uplinks and so on, so that the time is linear.
            if !self.may_be_manual && uplinks.len().is_power_of_two() && condition(&uplinks) {
                return true;
            }
        }
        self.complete(&mut uplinks);
        condition(&uplinks)
    }

    /// An interface has one `metric` for both families: ifupdown-ng takes the last of its stanzas that has one,
    /// ifupdown2 the first. To ifupdown-ng, an alias is another interface.
    fn share_metrics(&mut self, uplinks: &mut [Uplink]) {
        if self.config.dialect == Dialect::Ifupdown {
            return;
        }
        let is_alias_apart = self.config.dialect == Dialect::IfupdownNg;
        for index in 0..uplinks.len() {
            let is_on_interface = |other: &&Uplink| {
                let name = |uplink: &Uplink| is_alias_apart.then(|| uplink.listed_link().to_string());
                other.interface == uplinks[index].interface && name(other) == name(&uplinks[index]) && other.in_main
            };
            let mut metrics: Vec<(usize, u32)> = uplinks
                .iter()
                .filter(is_on_interface)
                .filter_map(|other| Some((other.stanza, other.metric?)))
                .collect();
            sort(&mut metrics);
            let metric = if self.config.dialect == Dialect::IfupdownNg { metrics.last() } else { metrics.first() };
            uplinks[index].metric = metric.map(|(_, metric)| *metric).or(uplinks[index].metric);
        }
    }

    fn stanza(&mut self, index: usize, stanza: &'a Stanza, uplinks: &mut Vec<Uplink>) {
        let families: &[Family] = match (self.config.dialect, stanza.family) {
            (Dialect::Ifupdown, AddressFamily::Inet) => &[Family::Inet],
            (Dialect::Ifupdown, AddressFamily::Inet6) => &[Family::Inet6],
            (Dialect::Ifupdown, _) => return,
            // With these dialects, every stanza may have addresses of both families.
            (Dialect::IfupdownNg | Dialect::Ifupdown2, _) => &Family::ALL,
        };
        let options = self.config.own_options_named(stanza, &self.of_uplinks);
        let links = self.links_of(stanza);
        let by_files = self.config.active.is_empty();
        let is_up = || self.listed.is_up(stanza.interface.as_bstr());
        let is_open = || by_files || has_address(self.config.dialect, stanza) && !is_up();
        if links.is_empty() && by_files || links.len() > 1 && is_open() {
            let gateway = options.iter().find(|option| option.name.ends_with(b"gateway"));
            self.diagnostics.extend(gateway.map(|option| {
                let message =
                    format!("'{}' does not name one interface; symroute-gen writes no lines for it", stanza.interface);
                let help = format!(
                    "The hooks add the routes and rules while it is up. If symroute-gen should write lines, name one \
                     interface: 'auto eth0={}'.",
                    stanza.interface
                );
                Diagnostic::warning(option.location, &option.name, message, help)
            }));
            return;
        }
        self.added_addresses(index);
        for link in links {
            let interface = self.interface_of(link);
            for family in families {
                let interface = interface.clone();
                let part = Part { index, stanza, link, interface, family: *family, options: &options };
                if self.config.dialect == Dialect::Ifupdown {
                    self.part(&part, uplinks);
                    continue;
                }
                let options: Vec<MergedOption> =
                    options.iter().filter_map(|option| of_family(option, *family)).collect();
                self.part(&Part { options: &options, ..part }, uplinks);
            }
        }
    }

    /// The uplinks of one family of a stanza, by its options.
    fn part(&mut self, part: &Part<'a, '_>, uplinks: &mut Vec<Uplink>) {
        let Part { stanza, family, .. } = *part;
        let Some(location) = stanza.location else { return };
        let invalid_addresses = self.add_sources(part);
        let is_of_family = Family::of_stanza(stanza.family) == Some(family);
        let point_to_point = is_of_family && is_point_to_point(stanza);
        let is_automatic = stanza.method == "dhcp" || family == Family::Inet6 && stanza.method == "auto";
        let dynamic = point_to_point || is_of_family && is_automatic;
        let makes_default =
            |option: &&MergedOption| !dynamic && makes_default(self.config.dialect, stanza, &option.value);
        let [gateway, table_gateway, metric] = part.route_options();
        let own_gateway = gateway.filter(makes_default);
        let table_gateway = table_gateway.filter(|option| option.value != "none" || part.is_of_stanza(self.config));
        if own_gateway.is_none() && table_gateway.is_none() && !dynamic {
            return;
        }
        if !self.is_started(stanza, own_gateway.or(table_gateway), dynamic) {
            return;
        }
        if !point_to_point && !is_link_name(part.interface.as_bytes()) {
            self.diagnostics.push(Diagnostic::warning(
                location,
                &stanza.interface,
                format!("'{}' is not a valid interface name; symroute skips this stanza", stanza.interface),
                "Use 1 to 15 letters, digits, '.', '_', '-', '@' or '+'.",
            ));
            return;
        }
        let before = self.diagnostics.len();
        self.diagnostics.extend(invalid_addresses);
        let mut gateways = self.gateways_of(family, own_gateway, table_gateway);
        if point_to_point && table_gateway.is_none() {
            gateways = vec![Gateway::OnLink];
        }
        let metric = metric.and_then(|option| self.number(option, 0, u32::MAX, "metric"));
        let metric = metric.or_else(|| self.metric_beside(family, own_gateway?));
        let overrides = self.overrides(part.options);
        let faults = self.take_errors(before);
        let in_main = own_gateway.is_some() || dynamic && !point_to_point && table_gateway.is_none();
        let written = self.written(stanza, family, metric);
        let uplink =
            Uplink { in_main, metric, dynamic, overrides, written, faults, ..part.uplink(location, Gateway::Unknown) };
        self.add_by_gateway(uplinks, uplink, &gateways);
    }

    /// Adds an uplink for each gateway, or one without a gateway.
    fn add_by_gateway(&mut self, uplinks: &mut Vec<Uplink>, uplink: Uplink, gateways: &[Gateway]) {
        let Some((last, others)) = gateways.split_last() else { return uplinks.push(uplink) };
        for gateway in others {
            self.add_with_gateway(uplinks, Uplink { gateway: *gateway, ..uplink.clone() });
        }
        self.add_with_gateway(uplinks, Uplink { gateway: *last, ..uplink });
    }

    /// A gateway that an uplink of the interface has already adds only the stanza to it.
    fn add_with_gateway(&mut self, uplinks: &mut Vec<Uplink>, uplink: Uplink) {
        let is_known = !self.gateways.insert((uplink.family, uplink.gateway));
        let has_gateway = |known: &&mut Uplink| {
            (known.gateway, known.family) == (uplink.gateway, uplink.family) && known.interface == uplink.interface
        };
        match is_known.then(|| uplinks.iter_mut().find(has_gateway)).flatten() {
            Some(known) => {
                known.same_gateway.push(uplink.stanza);
                known.faults.extend(uplink.faults);
            }
            None => uplinks.push(uplink),
        }
    }

    /// Adds the addresses of the options. Returns those that are invalid.
    fn add_sources(&mut self, part: &Part<'a, '_>) -> Vec<Diagnostic> {
        let mut invalid = Vec::new();
        for_each_address(self.config.dialect, part.stanza, part.family, part.options, &mut |source| match source {
            Ok(source) => self.sources.push(LinkSource::new(&part.interface, part.index, part.stanza, &source)),
            Err(error) => invalid.push(error),
        });
        invalid
    }

    /// Removes the errors from the diagnostics after `first`: they are faults of one uplink.
    pub(crate) fn take_errors(&mut self, first: usize) -> Vec<Diagnostic> {
        if self.diagnostics.len() == first {
            return Vec::new();
        }
        let found = self.diagnostics.split_off(first);
        let (errors, others) = found.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
        self.diagnostics.extend::<Vec<Diagnostic>>(others);
        errors
    }

    /// The gateways of `gateway`, or else of `symroute-gateway`.
    fn gateways_of(
        &mut self,
        family: Family,
        own: Option<&MergedOption>,
        for_table: Option<&MergedOption>,
    ) -> Vec<Gateway> {
        let of_main = own.map(|option| self.gateways(family, option)).unwrap_or_default();
        let of_table = for_table.map(|option| self.gateways(family, option)).unwrap_or_default();
        if let (Some(main), Some(table), Some(option)) = (of_main.first(), of_table.first(), for_table) {
            if main != table {
                let [main, table] =
                    [main, table].map(|gateway| gateway.address().map_or("none".into(), |ip| ip.to_string()));
                self.diagnostics.push(Diagnostic::error(
                    option.location,
                    &option.value,
                    format!("two gateways in one stanza: 'gateway {main}' and 'symroute-gateway {table}'"),
                    "Keep one. 'gateway' also adds the default route of the main table, 'symroute-gateway' only that \
                     of the uplink's table.",
                ));
            }
        }
        if own.is_some() { of_main } else { of_table }
    }

    /// Do the files start the stanza? If a mapping selects it, there is a warning at its gateway.
    fn is_started(&mut self, stanza: &Stanza, gateway: Option<&MergedOption>, without_gateway: bool) -> bool {
        if self.listed.has(stanza) {
            return true;
        }
        if self.chosen_by_mapping(stanza.interface.as_bstr()) {
            self.diagnostics.extend(gateway.filter(|_| self.config.active.is_empty()).map(|option| {
                let message = format!(
                    "a mapping selects the interface of '{}' at run time; symroute-gen writes no lines for it",
                    stanza.interface
                );
                let help = "Set a unique 'metric' for its default route. The hooks manage it while it is up.";
                Diagnostic::warning(option.location, &option.name, message, help)
            }));
            return false;
        }
        !without_gateway && !self.only_a_template(stanza.interface.as_bstr())
    }

    /// The kernel's name of a link, by ifupdown's name.
    pub(crate) fn interface_of<'n>(&self, link: &'n BStr) -> Cow<'n, str>
    where
        'a: 'n,
    {
        let name = without_alias(link).to_str_lossy();
        match self.renamed.iter().find(|(old, _)| *old == name) {
            Some((_, new)) => Cow::Owned(new.clone()),
            None => self.links.get(&name).map_or(name, Cow::Borrowed),
        }
    }

    /// The links of a stanza, by ifupdown's names. If it is up, they include the link of its own name, unless that link
    /// is up as another stanza.
    pub(crate) fn links_of(&self, stanza: &'a Stanza) -> Vec<&'a BStr> {
        let name = stanza.interface.as_bstr();
        let mut links = self.listed.links(stanza);
        let is_own = || self.listed.is_up(name) && !links.contains(&name) && has_link(&self.links, name);
        if is_own() && !self.listed.is_noted(name) {
            links.push(name);
        }
        links
    }

    /// Do other stanzas only inherit from it?
    pub(crate) fn only_a_template(&self, name: &BStr) -> bool {
        let inherits = |stanza: &Stanza| stanza.inherits.as_deref().is_some_and(|other| other == name);
        name == "default" || self.config.stanzas.iter().any(inherits)
    }

    /// May a mapping's script print the name? Its `map` lines contain it, or it has no such lines.
    pub(crate) fn chosen_by_mapping(&self, name: &BStr) -> bool {
        let has_name = |map: &Text| map.fields_with(char::is_whitespace).any(|word| word == name.as_bytes());
        self.config.mappings.iter().any(|mapping| mapping.maps.is_empty() || mapping.maps.iter().any(has_name))
    }

    /// Adds the addresses that commands of a stanza add.
    fn added_addresses(&mut self, index: usize) {
        let first = self.lines.partition_point(|line| line.stanza < index);
        let of_stanza = self.lines[first..].iter().take_while(|line| line.stanza == index);
        for command in of_stanza.filter(|line| line.phase.is_up()).map(|line| &line.command) {
            let dev = command.get("dev").unwrap_or_default();
            if let (Object::Address, true, Some(net)) = (command.object, command.adds(), command.prefix("to")) {
                let (link, stanza) = (self.interface_of(BStr::new(dev)), &self.config.stanzas[index]);
                let source = LinkSource::new(&link, index, stanza, &Source::of(net));
                self.sources.push(source);
            }
        }
    }

    /// Assigns to each uplink the address of its stanza, which decides which networks are the uplink's. Which addresses are
    /// assigned?
    fn assign_own_sources(&self, uplinks: &mut [Uplink]) -> Vec<bool> {
        let mut are_assigned = vec![false; self.sources.len()];
        let mut counts: FxHashMap<(usize, Family), usize> = FxHashMap::default();
        uplinks.iter().for_each(|uplink| *counts.entry((uplink.stanza, uplink.family)).or_default() += 1);
        for uplink in &mut *uplinks {
            // A line may add a second uplink to a stanza; the stanza's address belongs to the first one.
            let alone = uplink.origin == Origin::Options || counts[&(uplink.stanza, uplink.family)] == 1;
            let is_of_uplink = |known: &LinkSource| {
                let belongs = alone || uplink.gateway.address().is_some_and(|gateway| known.net.contains(&gateway));
                known.family() == uplink.family && belongs && *known.link(self.config) == uplink.interface[..]
            };
            // They are in the order of the stanzas.
            let start = self.sources.partition_point(|known| known.stanza() < uplink.stanza);
            let of_stanza = self.sources[start..].iter().take_while(|known| known.stanza() == uplink.stanza);
            if let Some((index, first)) = (start..).zip(of_stanza).find(|(_, known)| is_of_uplink(known)) {
                are_assigned[index] = true;
                uplink.sources.push(first.source());
            }
        }
        are_assigned
    }

    /// Assigns each address to the uplink that it belongs to.
    fn assign_sources(&mut self, uplinks: &mut [Uplink]) {
        // The stanza with the gateway first.
        let are_assigned = self.assign_own_sources(uplinks);
        self.are_on_own_links = true;
        if are_assigned.contains(&false) {
            let mut owners = Owners::new(uplinks);
            let others = self.sources.iter().zip(are_assigned).filter(|(_, is_assigned)| !is_assigned);
            for (known, _) in others {
                self.are_on_own_links &= owners.assign(known.link(self.config), known.family(), &known.source());
            }
        }
        for uplink in uplinks {
            let gateway = uplink.gateway;
            if uplink.sources.iter().any(|source| gateway.is(source.net.addr())) {
                let stanza = &self.config.stanzas[uplink.stanza];
                let line = self.config.own_options(stanza).into_iter().find(|option| option.name.ends_with(b"gateway"));
                uplink.faults.push(Diagnostic::error(
                    line.map_or(uplink.location, |option| option.location),
                    b"gateway",
                    format!("the gateway of {} is its own address", uplink.interface),
                    "Give the address of the provider's router.",
                ));
            } else if uplink.sources.is_empty() && uplink.gateway == Gateway::OnLink {
                // A program outside the files adds its addresses: wg-quick, openvpn, pppd.
                uplink.dynamic = true;
            } else if uplink.sources.is_empty() && !uplink.dynamic && uplink.skipped.is_none() && !uplink.is_faulty() {
                self.diagnostics.push(Diagnostic::warning(
                    uplink.location,
                    &self.config.stanzas[uplink.stanza].interface,
                    format!("{}: gateway without an address; symroute adds no rules for it", uplink.label()),
                    "Add an 'address'. Rules match by source address.",
                ));
            }
        }
    }
}
