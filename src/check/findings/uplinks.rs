//! Uplinks: the main table's default routes, metrics, addresses, gateways, and inactive uplinks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{EFFECT_NO_SOURCE, KEEP_SYSCTL, cuts, joined, sysctl};
use crate::check::finding::Finding;
use crate::check::foreign::{delete_route_command, quoted};
use crate::check::input::CheckInput;
use crate::interfaces::Diagnostic;
use crate::network::{Address, Family, INET6_METRIC, Kind, MAIN, PROTOCOL_DHCP, Route};
use crate::policy::Plan;
use crate::policy::networks::MAX_DEFAULT_LIKE_PREFIX_LENGTH;
use crate::uplinks::{Gateway, Origin, Source, Uplink, detached};

/// `RTPROT_RA` (linux/rtnetlink.h): from router advertisements.
const RTPROT_RA: u8 = 9;

const UPLINK_DOWN: &str = "uplink-down";

const PPP_UNKNOWN: &str = "ppp-interface-unknown";

const SAME_METRIC: &str = "IPv4: the second default route with the same metric fails ('File exists'), and 'ifup' \
                           aborts. IPv6: the second one silently replaces the first.";

impl CheckInput<'_> {
    pub(super) fn find_missing_defaults(&self, found: &mut Vec<Finding>) {
        for family in Family::ALL {
            let longest = MAX_DEFAULT_LIKE_PREFIX_LENGTH[usize::from(family == Family::Inet6)];
            let is_half = |route: &Route| (1..=longest).contains(&route.dst.prefix_len().into());
            let has_halves = self.main(family).any(|route| is_half(route) && route.kind() == Kind::Unicast);
            if has_halves || self.active_with_gateway(family).next().is_none() {
                continue;
            }
            let best = self.main(family).filter(|route| route.dst.prefix_len() == 0).min_by_key(|route| route.metric);
            match best {
                Some(route) if route.kind() == Kind::Unicast => self.find_stale_default(route, found),
                rejecting => found.push(self.missing_default(family, rejecting)),
            }
        }
    }

    /// The routes of the main table.
    fn main(&self, family: Family) -> impl Iterator<Item = &Route> {
        self.snapshot.routes.iter().filter(move |route| route.family == family && route.table == MAIN)
    }

    fn active_with_gateway(&self, family: Family) -> impl Iterator<Item = &Uplink> {
        let uplinks = self.plan.uplinks.iter();
        uplinks.filter(move |uplink| uplink.family == family && uplink.up && uplink.gateway.is_known())
    }

    /// `rejecting`: the best default route, if it rejects packets.
    fn missing_default(&self, family: Family, rejecting: Option<&Route>) -> Finding {
        let version = family.version();
        let summary = match rejecting {
            Some(route) => format!("{version}: the best default route in the main table is {}", quoted(route)),
            None => format!("{version}: default route missing in the main table"),
        };
        let has_others = self.main(family).any(|route| route.dst.prefix_len() == 0 && route.kind() == Kind::Unicast);
        let configured = self.active_with_gateway(family).filter(|uplink| uplink.in_main);
        let primary = configured.min_by_key(|uplink| self.metric(uplink));
        let has_smaller_metric =
            |route: &&Route| primary.is_none_or(|uplink| self.metric(uplink).unwrap_or(INET6_METRIC) >= route.metric);
        // A rejecting route with the largest metric may stay.
        let to_delete = rejecting.filter(|route| has_others || has_smaller_metric(route));
        let mut fix: Vec<String> = to_delete.map(delete_route_command).into_iter().collect();
        fix.extend(primary.filter(|_| !has_others).and_then(|uplink| self.add_default_command(uplink)));
        let finding = Finding { family: Some(family), ..Finding::error("no-default", summary, EFFECT_NO_SOURCE) };
        match fix.is_empty() {
            false => finding.fix(fix),
            true => finding.note(
                "No stanza has a 'gateway' line. Add one to the stanza of the uplink that the host itself uses \
                 ('symroute-gateway' adds no default route to the main table).",
            ),
        }
    }

    /// Default routes of the main table that belong to no uplink.
    pub(super) fn find_unknown_defaults(&self, found: &mut Vec<Finding>) {
        for route in &self.plan.unknown_defaults {
            let nexthops =
                route.extras.iter().flat_map(|extras| &extras.nexthops).map(|nexthop| (&nexthop.dev, nexthop.gateway));
            let hops = [(&route.dev, route.gateway)].into_iter().chain(nexthops);
            let mut hops = hops.filter_map(|(dev, gateway)| Some((dev.as_ref()?, gateway))).peekable();
            if hops.peek().is_none() {
                found.push(hidden_nexthops(route));
                continue;
            }
            let of_uplink = |dev: &String| {
                self.plan.uplinks.iter().any(|uplink| uplink.interface == *dev && uplink.family == route.family)
            };
            let Some((dev, gateway)) = hops.find(|(dev, _)| !of_uplink(dev)) else { continue };
            let family = route.family.version();
            let summary =
                format!("{dev} ({family}): default route in the main table belongs to no uplink: {}", quoted(route));
            let effect = format!(
                "symroute does not add a table and rules for it. Replies from addresses of {dev} may leave through \
                 another provider, which drops them."
            );
            let ignore = format!(
                "If the route is intended, ignore this finding: 'symroute check --ignore default-route-unknown:{dev}'."
            );
            let finding = Finding::warning("default-route-unknown", summary, effect).on(dev, route.family);
            found.push(finding.note(match gateway {
                Some(gateway) => format!(
                    "Add a stanza for {dev} with its 'address' and 'gateway {gateway}' to /etc/network/interfaces, \
                     then run 'symroute apply'. {ignore}"
                ),
                None => format!(
                    "If {dev} is point-to-point, write 'symroute-gateway none' in its stanza in \
                     /etc/network/interfaces, otherwise the address of its router. Then run 'symroute apply'. {ignore}"
                ),
            }));
        }
    }

    /// Main's default route uses an uplink's interface, but a gateway that no stanza names.
    fn find_stale_default(&self, route: &Route, found: &mut Vec<Finding>) {
        let on_link = |uplink: &&Uplink| Some(&uplink.interface) == route.dev.as_ref() && uplink.family == route.family;
        let uplinks: Vec<&Uplink> = self.plan.uplinks.iter().filter(on_link).collect();
        let (Some(gateway), Some(first)) = (route.gateway, uplinks.iter().find(|uplink| uplink.in_main)) else {
            return;
        };
        let known = |uplink: &&Uplink| !uplink.gateway.is_known() || uplink.gateway.is(gateway);
        // Router advertisements add a separate route, through the router's link-local address.
        let follows = |uplink: &Uplink| uplink.dynamic && uplink.lease.is_none();
        if route.protocol == RTPROT_RA || uplinks.iter().any(|uplink| follows(uplink) || !uplink.up || known(uplink)) {
            return;
        }
        let (which, cause) = match first.lease {
            Some(_) => ("the router of the lease", "the router of a lease changes: dhclient keeps its default route"),
            None => ("configured as a gateway", "'gateway' was changed without 'ifdown' and 'ifup'"),
        };
        let summary = format!(
            "{}: the main table's default route uses {gateway}, which is not {which} of {}",
            first.label(),
            first.interface
        );
        let effect = format!(
            "Packets from sockets without a source address use a router that may not exist any more. This happens if \
             {cause}."
        );
        // A warning: that router may forward packets.
        let finding = Finding::warning("default-stale", summary, effect).on(&first.interface, first.family);
        let metric = if route.metric == 0 { String::new() } else { format!(" metric {}", route.metric) };
        let command = first.gateway.address().map(|gateway| {
            format!("{} route replace default via {gateway} dev {}{metric} onlink", first.family.ip(), first.interface)
        });
        found.push(Finding { location: Some(first.location), ..finding.fix(command) });
    }

    /// The metric of the uplink's default route in the main table, from its stanza or its block.
    fn metric(&self, uplink: &Uplink) -> Option<u32> {
        let written = uplink.written.and_then(|written| written.metric);
        uplink.metric.or(written)
    }

    /// The command that adds the uplink's default route to the main table, as its stanza does.
    fn add_default_command(&self, uplink: &Uplink) -> Option<String> {
        let metric = self.metric(uplink).map_or(String::new(), |metric| format!(" metric {metric}"));
        let (ip, dev) = (uplink.family.ip(), &uplink.interface);
        match uplink.gateway {
            Gateway::Unknown => None,
            Gateway::OnLink => Some(format!("{ip} route add default dev {dev}{metric}")),
            Gateway::Address(gateway) => Some(format!("{ip} route add default via {gateway} dev {dev}{metric} onlink")),
        }
    }

    /// Does symroute-gen write a metric for the uplink? It cannot if a mapping or a pattern selects the stanza.
    fn writes_metric(&self, uplink: &Uplink) -> bool {
        let Plan { uplinks, metrics, .. } = self.written;
        metrics.keys().any(|index| (uplinks[*index].stanza, uplinks[*index].family) == (uplink.stanza, uplink.family))
    }

    fn metric_note(&self, index: usize, metric: u32) -> String {
        format!(
            "Add 'metric {metric}' to its stanza, then run '{}'. symroute-gen cannot add it: a mapping or a pattern \
             selects the stanza at run time.",
            self.restart(index, true)
        )
    }

    /// Does main have the default route that the uplink's stanza gives it?
    fn has_default(&self, uplink: &Uplink) -> bool {
        let mut main = self.snapshot.routes.iter().filter(|route| route.table == MAIN && route.dst.prefix_len() == 0);
        main.any(|route| route.family == uplink.family && route.is_through(&uplink.interface))
    }

    /// Has the uplink's DHCP client added a default route with a metric of its own?
    fn has_default_of_client(&self, uplink: &Uplink) -> bool {
        let defaults = self.main(uplink.family).filter(|route| route.dst.prefix_len() == 0);
        let mut of_clients = defaults.filter(|route| uplink.dynamic && route.protocol == PROTOCOL_DHCP);
        of_clients.any(|route| route.is_through(&uplink.interface))
    }

    fn is_link_up(&self, uplink: &Uplink) -> bool {
        self.snapshot.link(&uplink.interface).is_some_and(|link| link.up)
    }

    pub(super) fn find_same_metrics(&self, found: &mut Vec<Finding>) {
        let from_clash = |clash: &Diagnostic| {
            let is_at_line = |uplink: &&Uplink| match uplink.origin {
                Origin::Line { location } => Some(location) == clash.location,
                _ => Some(uplink.location) == clash.location,
            };
            let index = self.plan.uplinks.iter().position(|uplink| is_at_line(&uplink));
            let finding = self.same_metric(clash.message.clone(), index).note(clash.help.clone());
            Finding { location: clash.location, ..finding }
        };
        found.extend(self.plan.clashes.iter().map(from_clash));
        for (index, uplink) in self.plan.uplinks.iter().enumerate() {
            let Some(metric) = self.plan.metrics.get(&index) else { continue };
            if uplink.written.and_then(|written| written.metric) == Some(*metric) || self.has_default_of_client(uplink)
            {
                continue;
            }
            found.push(self.missing_metric(index, *metric));
        }
    }

    fn missing_metric(&self, index: usize, metric: u32) -> Finding {
        let uplink = &self.plan.uplinks[index];
        let summary = format!("{}: 'metric' missing; another uplink has the same default metric", uplink.label());
        let finding = self.same_metric(summary, Some(index)).on(&uplink.interface, uplink.family);
        let finding = Finding { location: Some(uplink.location), ..finding };
        if !self.writes_metric(uplink) {
            return finding.before(cuts(&uplink.interface)).note(self.metric_note(index, metric));
        }
        let style = if self.facts.hooks { " --style hook" } else { "" };
        let mut fix = vec![format!("symroute-gen{style} --write")];
        if !self.has_default(uplink) {
            // Its 'ifup' aborted, or never ran.
            fix.push(self.restart(index, true));
        }
        let before = (fix.len() > 1).then(|| cuts(&uplink.interface));
        // IPv6: it has replaced the first uplink's default route. It gets its metric, then the first one is added
        // again.
        let (ip, dev) = (uplink.family.ip(), &uplink.interface);
        let own = self.snapshot.routes.iter().filter(|route| {
            let default = route.table == MAIN && route.dst.prefix_len() == 0 && route.family == uplink.family;
            default && route.dev.as_ref() == Some(dev) && route.metric != metric
        });
        for (route, gateway) in own.filter_map(|route| Some((route, route.gateway?))) {
            let onlink = if route.onlink { " onlink" } else { "" };
            fix.push(format!("{ip} route add default via {gateway} dev {dev} metric {metric}{onlink}"));
            fix.push(format!("{ip} route del default via {gateway} dev {dev} metric {}", route.metric));
        }
        let first = self.plan.primary.get(&uplink.family).map(|index| &self.plan.uplinks[*index]);
        fix.extend(
            first
                .filter(|first| first.up && !self.has_default(first))
                .and_then(|first| self.add_default_command(first)),
        );
        Finding { before, ..finding.fix(fix) }
    }

    /// An error if the uplink should be active and is not, or if its default route is missing; otherwise the next `ifup` has
    /// the fault.
    fn same_metric(&self, summary: String, index: Option<usize>) -> Finding {
        let is_affected = |index: usize| {
            let uplink = &self.plan.uplinks[index];
            let is_missing = uplink.in_main && !self.has_default(uplink);
            if uplink.up { is_missing } else { self.at_boot.contains(&index) || self.is_link_up(uplink) }
        };
        match index.is_some_and(is_affected) {
            true => Finding::error("same-metric", summary, SAME_METRIC),
            false => Finding::warning("same-metric", summary, SAME_METRIC),
        }
    }

    /// Addresses of the stanzas that are missing on an interface that is up.
    pub(super) fn find_missing_addresses(&self, found: &mut Vec<Finding>) {
        for (index, uplink) in self.plan.uplinks.iter().enumerate() {
            let link_is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            let Some(by_files) = self.by_files.get(index).filter(|_| link_is_up && !uplink.dynamic) else { continue };
            let is_present = |address: IpAddr| {
                let mut on_link = self.snapshot.addresses.iter().filter(|known| known.dev == uplink.interface);
                on_link.any(|known| known.net.addr() == address)
            };
            // An address on another interface is added and removed with that interface.
            let needed = by_files.sources.iter().filter(|source| !source.by_prefix && source.other_interface.is_none());
            let needed: Vec<&Source> = needed.collect();
            let missing: Vec<&Source> =
                needed.iter().copied().filter(|source| !is_present(source.net.addr())).collect();
            if missing.is_empty() {
                continue;
            }
            found.push(self.missing_addresses(index, &missing, missing.len() == needed.len()));
            found.extend(self.promote_secondaries_off(uplink, &missing, &needed));
        }
    }

    /// `is_last`: the interface has no other address of the uplink.
    fn missing_addresses(&self, index: usize, missing: &[&Source], is_last: bool) -> Finding {
        let uplink = &self.plan.uplinks[index];
        let (ip, interface) = (uplink.family.ip(), &uplink.interface);
        let is_missing = |known: &&Address| missing.iter().any(|source| source.net.addr() == known.net.addr());
        let elsewhere: Vec<&Address> =
            self.snapshot.addresses.iter().filter(|known| known.dev != "lo").filter(is_missing).collect();
        let is_ipv6_disabled = uplink.family == Family::Inet6 && self.facts.without_inet6.contains(interface);
        let mut summary = format!(
            "{}: interface is up, but its configured address is missing: {}",
            uplink.label(),
            networks(missing)
        );
        if let Some(known) = elsewhere.first() {
            summary += &format!("; it is on {}", known.dev);
        }
        if is_ipv6_disabled {
            summary += &format!("; IPv6 is disabled on {interface}");
        }
        let mut fix: Vec<String> =
            elsewhere.iter().map(|known| format!("{ip} addr del {} dev {}", known.net, known.dev)).collect();
        fix.extend(is_ipv6_disabled.then(|| format!("sysctl -w net/ipv6/conf/{interface}/disable_ipv6=0")));
        if is_last {
            // With its last address, the interface also lost its routes in the main table.
            fix.push(self.restart_attached(index, true));
        } else {
            fix.extend(missing.iter().map(|source| add_address_command(source, uplink)));
            fix.push("symroute apply".into());
        }
        let cut_interface = elsewhere.first().map(|known| &known.dev).or(is_last.then_some(interface));
        if cut_interface.is_some() {
            fix = vec![detached(&fix.join("; "))];
        }
        let finding = Finding::error("address-missing", summary, "Connections to a missing address fail.")
            .on(interface, uplink.family)
            .fix(fix);
        let note = match (is_ipv6_disabled, elsewhere.is_empty()) {
            (true, _) => {
                Some("Remove 'disable_ipv6' from /etc/sysctl.d, too. Otherwise IPv6 is disabled again at boot.")
            }
            (false, false) => Some(
                "If the address belongs there (to a bridge, for example), change the stanza to that interface instead.",
            ),
            (false, true) => None,
        };
        let note = note.map(str::to_string);
        Finding {
            location: Some(uplink.location),
            before: cut_interface.map(|interface| cuts(interface)),
            note,
            ..finding
        }
    }

    /// Of several IPv4 addresses in one network, the kernel deletes the others with the first.
    fn promote_secondaries_off(&self, uplink: &Uplink, missing: &[&Source], needed: &[&Source]) -> Option<Finding> {
        let shares_network = |source: &&&Source| {
            let is_other = |other: &&Source| other.net.addr() != source.net.addr();
            needed.iter().filter(|other| is_other(other)).any(|other| other.net.trunc() == source.net.trunc())
        };
        let is_off = uplink.family == Family::Inet && !self.facts.promote_secondaries(&uplink.interface);
        missing.iter().find(shares_network).filter(|_| is_off)?;
        let summary = format!(
            "{}: {} is missing, and promote_secondaries is off (several addresses are in one network)",
            uplink.label(),
            networks(missing)
        );
        let effect = "When the first address of a network is deleted, the kernel deletes the others, too.";
        let finding = Finding::warning("promote-secondaries-off", summary, effect).on(&uplink.interface, uplink.family);
        Some(finding.fix([sysctl(&uplink.interface, "promote_secondaries", 1)]).note(KEEP_SYSCTL))
    }

    /// Addresses that the kernel does not use, because another host has them too (RFC 4862, 5.4).
    pub(super) fn find_duplicate_addresses(&self, found: &mut Vec<Finding>) {
        for uplink in &self.plan.uplinks {
            let of_uplink = |net: &IpNet| uplink.sources.iter().any(|source| source.net.addr() == net.addr());
            let on_link = self.snapshot.addresses.iter().filter(|known| known.dev == uplink.interface);
            for net in on_link.filter(|known| known.duplicate).map(|known| known.net).filter(of_uplink) {
                let (dev, ip) = (&uplink.interface, uplink.family.ip());
                let summary = format!(
                    "{}: {} is not used: another host has the same address (dadfailed)",
                    uplink.label(),
                    net.addr()
                );
                let effect = "Duplicate address detection failed. The kernel does not use the address until it is \
                              added again: connections to it fail.";
                let fix = format!("{ip} addr del {net} dev {dev}; {ip} addr add {net} dev {dev}");
                let finding = Finding::error("address-duplicate", summary, effect).on(dev, uplink.family).fix([fix]);
                found.push(finding.before(
                    "First remove the address from the other host: 'journalctl -k -g duplicate' shows its MAC address.",
                ));
            }
        }
    }

    /// Errors in the stanzas of uplinks.
    pub(super) fn find_stanza_errors(&self, found: &mut Vec<Finding>) {
        for uplink in self.plan.managed.iter().map(|index| &self.plan.uplinks[*index]) {
            for fault in &uplink.faults {
                let summary = format!("{}: error in its stanza: {}", uplink.label(), fault.message);
                let effect = "symroute does not add routes and rules for this uplink until the error is corrected. \
                              Replies from its addresses may leave through another uplink. symroute manages the other \
                              uplinks.";
                let finding = Finding::error("stanza-error", summary, effect).on(&uplink.interface, uplink.family);
                let note = format!("{} Then run 'symroute apply'.", fault.help);
                found.push(Finding { location: fault.location, ..finding.note(note) });
            }
        }
    }

    pub(super) fn find_unknown_gateways(&self, found: &mut Vec<Finding>) {
        for index in &self.plan.managed {
            let uplink = &self.plan.uplinks[*index];
            let is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            let inet6 = uplink.family == Family::Inet6;
            let has_address = self.snapshot.addresses.iter().any(|address| {
                address.dev == uplink.interface && !address.local && address.net.addr().is_ipv6() == inet6
            });
            if !uplink.dynamic || uplink.gateway.is_known() || uplink.is_faulty() || !is_up || !has_address {
                continue;
            }
            let summary = format!(
                "{}: gateway unknown: the main table has no default route through the interface",
                uplink.label()
            );
            let effect = "symroute takes the gateway from this route, or from the hook of dhclient or dhcpcd. Without \
                          it, replies from its addresses leave through another uplink.";
            let finding = Finding::error("gateway-unknown", summary, effect).on(&uplink.interface, uplink.family);
            let finding = Finding { location: Some(uplink.location), ..finding };
            let not_written = self.plan.metrics.get(index).filter(|_| !self.writes_metric(uplink));
            if let Some(metric) = not_written {
                found.push(finding.before(cuts(&uplink.interface)).note(self.metric_note(*index, *metric)));
                continue;
            }
            let style = if self.facts.hooks { " --style hook" } else { "" };
            let metric = self.plan.metrics.contains_key(index).then(|| format!("symroute-gen{style} --write"));
            let forced = metric.is_none();
            let finding = finding.fix(metric.into_iter().chain([self.restart(*index, forced)]));
            found.push(finding.before(cuts(&uplink.interface)).note(
                "dhclient and udhcpc cannot add a second default route without a metric, and udhcpc ignores 'metric'. If \
                 the client is udhcpc, or the provider announces no router, set 'symroute-gateway ADDRESS' in the \
                 stanza and run 'symroute apply'.",
            ));
        }
    }

    /// The interface of a ppp stanza: without its name, its addresses are not known.
    pub(super) fn find_unknown_interfaces(&self, found: &mut Vec<Finding>) {
        let effect = "Replies from the addresses of this uplink leave through the main table's default route, and another \
                      provider drops them.";
        for diagnostic in self.plan.diagnostics.iter().filter(|diagnostic| diagnostic.id == Some(PPP_UNKNOWN)) {
            let of_stanza = |uplink: &&Uplink| Some(uplink.location) == diagnostic.location;
            let Some(uplink) = self.plan.uplinks.iter().find(of_stanza) else { continue };
            let finding = Finding::warning(PPP_UNKNOWN, diagnostic.message.clone(), effect);
            let finding = finding.on(&uplink.interface, uplink.family);
            found.push(Finding { location: diagnostic.location, ..finding.note(diagnostic.help.clone()) });
        }
    }

    pub(super) fn find_inactive_uplinks(&self, found: &mut Vec<Finding>) {
        let effect = "One uplink is unavailable. Connections to its addresses fail.";
        for (index, uplink) in self.plan.uplinks.iter().enumerate() {
            let is_reported = |id: &str| {
                found.iter().any(|finding| {
                    let is_of_family = finding.family.is_none_or(|family| family == uplink.family);
                    finding.id == id && is_of_family && finding.interface.as_ref() == Some(&uplink.interface)
                })
            };
            if uplink.up {
                let mut routes = self.snapshot.routes.iter();
                let has_no_carrier =
                    routes.any(|route| route.state.linkdown && route.dev.as_ref() == Some(&uplink.interface));
                if has_no_carrier && !is_reported(UPLINK_DOWN) {
                    let summary = format!("{}: interface is up, but has no carrier", uplink.interface);
                    let finding = Finding::error(UPLINK_DOWN, summary, effect).on(&uplink.interface, uplink.family);
                    let note = "Check the cable and the device at its other end. No command on this host fixes it.";
                    found.push(Finding { family: None, ..finding.note(note) });
                }
                continue;
            }
            if uplink.skipped.is_some()
                || is_reported("gateway-unknown")
                || is_reported("address-missing")
                || is_reported(PPP_UNKNOWN)
                || !self.at_boot.contains(&index)
            {
                continue;
            }
            let summary = format!("{}: not active, although 'auto' starts it at boot", uplink.label());
            let finding = Finding::error(UPLINK_DOWN, summary, effect).on(&uplink.interface, uplink.family);
            let finding = Finding { location: Some(uplink.location), ..finding };
            found.push(match self.snapshot.link(&uplink.interface) {
                // Another program may have taken it down, so that ifupdown's state is out of date.
                Some(_) => finding.before(cuts(&uplink.interface)).fix([self.restart(index, true)]),
                None if uplink.dynamic && uplink.gateway == Gateway::OnLink => finding.note(
                    "The interface does not exist: the program that adds it is not running, or has no connection. For \
                     pppd, run 'journalctl -t pppd'.",
                ),
                None => finding.note(format!(
                    "The interface {} does not exist. It was removed, or has another name: check 'ip link'.",
                    uplink.interface
                )),
            });
        }
    }
}

/// A default route whose interfaces the kernel does not show.
fn hidden_nexthops(route: &Route) -> Finding {
    let summary = format!(
        "{}: the default route in the main table has a nexthop object, and the kernel does not show its interface",
        route.family.version()
    );
    let effect = "symroute does not find the uplinks of this route, and adds no tables and rules for them. Replies from \
                  their addresses may leave through another provider, which drops them.";
    let finding = Finding::warning("default-route-unknown", summary, effect);
    let finding = Finding { family: Some(route.family), ..finding };
    finding
        .fix(["sysctl -w net.ipv4.nexthop_compat_mode=1".to_string(), "symroute apply".to_string()])
        .note(KEEP_SYSCTL)
}

fn networks(sources: &[&Source]) -> String {
    joined(sources.iter().map(|source| source.net.to_string()))
}

fn add_address_command(source: &Source, uplink: &Uplink) -> String {
    let address = match source.peer {
        Some(peer) => format!("{} peer {peer}", source.net.addr()),
        None => source.net.to_string(),
    };
    format!("{} addr add {address} dev {}", uplink.family.ip(), uplink.interface)
}
