//! Uplinks whose default route a line of a stanza makes: `post-up ip route add default via …`.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};

use super::finder::Finder;
use super::handwritten::Line;
use super::named::name;
use super::{Origin, Uplink};
use crate::interfaces::command::{Meeting, Object, number};
use crate::interfaces::{Family, Severity};
use crate::snapshot::{INET6_METRIC, MAIN};

/// A default route that a line adds to main.
struct DefaultLine {
    family: Family,
    gateway: IpAddr,
    /// The kernel's name, where the line names an interface.
    interface: Option<String>,
    metric: u32,
    origin: Origin,
    meeting: Meeting,
    /// Index into `Config::stanzas`.
    stanza: usize,
}

impl Finder<'_> {
    /// Adds the uplinks of such lines to those of the options, in file order.
    pub(super) fn add_those_of_lines(&mut self, uplinks: &mut Vec<Uplink>) {
        let lines: Vec<DefaultLine> = self.lines.iter().filter_map(|line| self.default_line(line)).collect();
        for line in lines {
            let Some(interface) = line.interface.clone().or_else(|| self.interface_towards(&line)) else { continue };
            if self.is_known(&line, &interface, uplinks) {
                continue;
            }
            // The stanza of another interface than its own may have the line.
            let own = self.interface_of_stanza(line.stanza).is_some_and(|own| own == interface);
            let stanza = if own { Some(line.stanza) } else { self.stanza_of(&interface, line.family) };
            let Some(uplink) = stanza.and_then(|stanza| self.uplink_in(stanza, &interface, line.family)) else {
                continue;
            };
            let (gateway, metric) = (Some(line.gateway), Some(line.metric));
            let DefaultLine { origin, meeting, .. } = line;
            uplinks.push(Uplink { gateway, in_main: true, metric, origin, meeting, ..uplink });
        }
        uplinks.sort_by_key(|uplink| uplink.stanza);
    }

    fn default_line(&self, line: &Line) -> Option<DefaultLine> {
        let command = &line.command;
        let adds = line.phase.is_up() && command.object == Object::Route && command.adds() && command.is_default();
        let in_main = command.get("table").is_none_or(|table| self.names.number(table) == Some(MAIN));
        let plain = command.refused.is_none() && ["nexthop", "type"].iter().all(|word| command.get(word).is_none());
        let gateway = command.address("via").filter(|via| via.is_ipv6() == command.inet6)?;
        let stanza = &self.config.stanzas[line.stanza];
        let name = stanza.interface.as_bstr();
        let may_come_up = self.listed.has(name) || !self.chosen_by_mapping(name) && !self.only_a_template(name);
        let unset = if command.inet6 { INET6_METRIC } else { 0 };
        let metric = command.get("metric").and_then(number).filter(|metric| *metric > 0).unwrap_or(unset);
        let dev = command.get("dev").map(|dev| self.interface_of(BStr::new(dev)));
        (adds && in_main && plain && may_come_up).then_some(DefaultLine {
            family: if command.inet6 { Family::Inet6 } else { Family::Inet },
            gateway,
            interface: dev,
            metric,
            origin: Origin::Line { at: line.at },
            meeting: command.meets_its_like(),
            stanza: line.stanza,
        })
    }

    /// The interface in whose network the gateway is: the stanza's own, or else the only other one.
    fn interface_towards(&self, line: &DefaultLine) -> Option<String> {
        let own = self.interface_of_stanza(line.stanza)?;
        let towards = self.sources.iter().filter(|(_, family, source)| {
            let peer = source.peer.is_some_and(|peer| peer == line.gateway);
            *family == line.family && (peer || source.peer.is_none() && source.net.contains(&line.gateway))
        });
        let towards: Vec<&String> = towards.map(|(interface, ..)| interface).collect();
        match towards.first() {
            Some(first) if !towards.contains(&&own) => Some((*first).clone()),
            _ => Some(own),
        }
    }

    /// Does an uplink of the options account for it? One may lack this default route in main alone; a second router
    /// in the network of the first is no other uplink; and a lease is known when it is there.
    fn is_known(&self, line: &DefaultLine, interface: &str, uplinks: &mut [Uplink]) -> bool {
        let on_interface = |uplink: &&mut Uplink| uplink.interface == interface && uplink.family == line.family;
        let own = |(of, family, _): &&(String, Family, super::Source)| of == interface && *family == line.family;
        let networks: Vec<_> = self.sources.iter().filter(own).map(|(_, _, source)| source.net.trunc()).collect();
        for known in uplinks.iter_mut().filter(on_interface) {
            if known.gateway == Some(line.gateway) && !known.in_main {
                known.in_main = true;
                known.metric = Some(line.metric);
                known.origin = line.origin;
                known.meeting = line.meeting;
            }
            let both =
                |gateway: IpAddr| networks.iter().any(|net| net.contains(&gateway) && net.contains(&line.gateway));
            if known.dynamic || known.gateway.is_some_and(|gateway| gateway == line.gateway || both(gateway)) {
                return true;
            }
        }
        false
    }

    /// The kernel's name of a stanza's interface, if the stanza is for one.
    fn interface_of_stanza(&self, stanza: usize) -> Option<String> {
        let links = self.links_of(&self.config.stanzas[stanza]);
        links.first().map(|link| self.interface_of(link))
    }

    /// The stanza of an interface that has most to do with a family.
    pub(super) fn stanza_of(&self, interface: &str, family: Family) -> Option<usize> {
        let stanzas = self.config.stanzas.iter().enumerate().filter(|(_, stanza)| {
            stanza.at.is_some() && self.links_of(stanza).into_iter().any(|link| self.interface_of(link) == interface)
        });
        stanzas.min_by_key(|(index, stanza)| (stanza.family != family, *index)).map(|(index, _)| index)
    }

    /// An uplink of this stanza, with what its options ask for; nothing where they have a fault.
    pub(super) fn uplink_in(&mut self, stanza: usize, interface: &str, family: Family) -> Option<Uplink> {
        let index = stanza;
        let stanza = &self.config.stanzas[index];
        let link = self.links_of(stanza).into_iter().find(|link| self.interface_of(link) == interface)?;
        let before = self.wrong.len();
        let wish = self.wish(&stanza.own_options());
        // Its options may have been complained of already.
        let faults = self.wrong.split_off(before);
        let faulty = faults.iter().any(|fault| fault.severity == Severity::Error);
        for fault in faults {
            if !self.wrong.contains(&fault) {
                self.wrong.push(fault);
            }
        }
        let written = self.written(stanza, family, Some(0));
        let name = name(link, stanza.interface.as_bstr());
        let uplink = Uplink::new(interface, &name, family, (index, stanza.at?), None);
        (!faulty).then_some(Uplink { wish, written, ..uplink })
    }
}
