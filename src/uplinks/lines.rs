//! Uplinks whose default route a line of a stanza adds: `post-up ip route add default via …`.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};

use super::collector::UplinkCollector;
use super::gateway::Gateway;
use super::link_source::LinkSource;
use super::uplink::{Origin, Uplink, name};
use crate::commands::lines::Line;
use crate::commands::{Object, SameMetric, number};
use crate::network::{Family, INET6_METRIC, MAIN};
use crate::sort::sort_by_key;

/// A default route that a line adds to main.
struct DefaultLine {
    family: Family,
    gateway: Gateway,
    /// The kernel's name of the interface, if the line names one.
    interface: Option<String>,
    metric: u32,
    origin: Origin,
    same_metric: SameMetric,
    /// Index into `Config::stanzas`.
    stanza: usize,
}

impl UplinkCollector<'_> {
    /// Adds the uplinks of such lines to those of the options, in file order.
    pub(crate) fn add_those_of_lines(&mut self, uplinks: &mut Vec<Uplink>) {
        let lines: Vec<DefaultLine> = self.lines.iter().filter_map(|line| self.default_line(line)).collect();
        for line in lines {
            let Some(interface) = line.interface.clone().or_else(|| self.interface_towards(&line)) else { continue };
            if self.is_known(&line, &interface, uplinks) {
                continue;
            }
            // The line may be in the stanza of another interface.
            let own = self.interface_of_stanza(line.stanza).is_some_and(|own| own == interface);
            let stanza = if own { Some(line.stanza) } else { self.stanza_of(&interface, line.family) };
            let Some(uplink) = stanza.and_then(|stanza| self.uplink_in(stanza, &interface, line.family)) else {
                continue;
            };
            let DefaultLine { gateway, origin, same_metric, .. } = line;
            let metric = Some(line.metric);
            uplinks.push(Uplink { gateway, in_main: true, metric, origin, same_metric, ..uplink });
        }
        sort_by_key(uplinks, |uplink| uplink.stanza);
    }

    fn default_line(&self, line: &Line) -> Option<DefaultLine> {
        let command = &line.command;
        let adds = line.phase.is_up() && command.object == Object::Route && command.adds();
        if !adds || !command.is_default() {
            return None;
        }
        let in_main = command.get("table").is_none_or(|table| self.names.number(table) == Some(MAIN));
        let plain = command.rejection.is_none() && ["nexthop", "type"].iter().all(|word| command.get(word).is_none());
        let gateway = match (command.get("via"), command.get("dev")) {
            (Some(_), _) => Gateway::Address(command.address("via").filter(|via| via.is_ipv6() == command.inet6)?),
            (None, Some(_)) => Gateway::OnLink,
            (None, None) => return None,
        };
        let stanza = &self.config.stanzas[line.stanza];
        let name = stanza.interface.as_bstr();
        let may_come_up = self.listed.has(stanza) || !self.chosen_by_mapping(name) && !self.only_a_template(name);
        let unset = if command.inet6 { INET6_METRIC } else { 0 };
        let metric = command.get("metric").and_then(number).filter(|metric| *metric > 0).unwrap_or(unset);
        let dev = command.get("dev").map(|dev| self.interface_of(BStr::new(dev)).into_owned());
        (in_main && plain && may_come_up).then_some(DefaultLine {
            family: Family::of_inet6(command.inet6),
            gateway,
            interface: dev,
            metric,
            origin: Origin::Line { location: line.location },
            same_metric: command.same_metric(),
            stanza: line.stanza,
        })
    }

    /// The interface whose network contains the gateway: the stanza's own, or else the only other one.
    fn interface_towards(&self, line: &DefaultLine) -> Option<String> {
        let own = self.interface_of_stanza(line.stanza)?;
        let gateway = line.gateway.address()?;
        let towards = self.sources.iter().filter(|known| {
            let is_towards = known.peer().map_or_else(|| known.net.contains(&gateway), |peer| peer == gateway);
            known.family() == line.family && is_towards
        });
        let mut links = towards.map(|known| known.link(self.config));
        match links.next() {
            Some(first) if *first != own[..] && links.all(|link| *link != own[..]) => Some(first.to_string()),
            _ => Some(own),
        }
    }

    /// Does the route belong to an uplink of the options? That uplink may have no default route in the main table yet; a
    /// second router in its network is not another uplink; and the gateway of a lease is not known here.
    fn is_known(&self, line: &DefaultLine, interface: &str, uplinks: &mut [Uplink]) -> bool {
        let on_interface = |uplink: &&mut Uplink| uplink.interface == interface && uplink.family == line.family;
        let is_on_link = |source: &&LinkSource| source.family() == line.family && source.link(self.config) == interface;
        let networks: Vec<_> = self.sources.iter().filter(is_on_link).map(|known| known.net.trunc()).collect();
        for known in uplinks.iter_mut().filter(on_interface) {
            if known.gateway == line.gateway && !known.in_main {
                known.in_main = true;
                known.metric = Some(line.metric);
                known.origin = line.origin;
                known.same_metric = line.same_metric;
            }
            let both =
                |one: IpAddr, other: IpAddr| networks.iter().any(|net| net.contains(&one) && net.contains(&other));
            let are_both =
                known.gateway.address().zip(line.gateway.address()).is_some_and(|(one, other)| both(one, other));
            let is_same = known.gateway == line.gateway || line.gateway == Gateway::OnLink;
            if known.dynamic || is_same || are_both {
                return true;
            }
        }
        false
    }

    /// The kernel's name of a stanza's interface, if the stanza is for one.
    fn interface_of_stanza(&self, stanza: usize) -> Option<String> {
        let links = self.links_of(&self.config.stanzas[stanza]);
        links.first().map(|link| self.interface_of(link).into_owned())
    }

    /// The first stanza of an interface, preferably one of the family.
    pub(crate) fn stanza_of(&self, interface: &str, family: Family) -> Option<usize> {
        let stanzas = self.config.stanzas.iter().enumerate().filter(|(_, stanza)| {
            stanza.location.is_some()
                && self.links_of(stanza).into_iter().any(|link| self.interface_of(link) == interface)
        });
        stanzas
            .min_by_key(|(index, stanza)| (Family::of_stanza(stanza.family) != Some(family), *index))
            .map(|(index, _)| index)
    }

    /// An uplink of this stanza, with the overrides of its options and their faults.
    pub(crate) fn uplink_in(&mut self, stanza: usize, interface: &str, family: Family) -> Option<Uplink> {
        let index = stanza;
        let stanza = &self.config.stanzas[index];
        let link = self.links_of(stanza).into_iter().find(|link| self.interface_of(link) == interface)?;
        let before = self.diagnostics.len();
        let overrides = self.overrides(&self.config.own_options(stanza));
        let faults = self.take_errors(before);
        let written = self.written(stanza, family, Some(0));
        let name = name(link, stanza.interface.as_bstr());
        let uplink = Uplink::new(interface, &name, family, (index, stanza.location?), Gateway::Unknown);
        Some(Uplink { overrides, written, faults, ..uplink })
    }
}
