//! Uplinks themselves: main's default routes, their metrics, addresses, gateways, and those that are down.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Host, KEEP_SYSCTL, UNBOUND, listed, sysctl};
use crate::check::finding::Finding;
use crate::check::foreign::{delete_route, ip, quoted};
use crate::interfaces::{Diagnostic, Family};
use crate::policy::Plan;
use crate::policy::layout::NEARLY_DEFAULT;
use crate::snapshot::{INET6_METRIC, Kind, MAIN, Route};
use crate::uplinks::{Origin, Uplink};

/// `RTPROT_RA` (linux/rtnetlink.h): from router advertisements.
const RTPROT_RA: u8 = 9;

/// What comes before a command that takes an interface down.
fn cuts(interface: &str) -> String {
    format!(
        "This cuts connections through {interface}. Over ssh, keep the command as it is: with 'setsid' it goes on when the \
         session ends."
    )
}

const SAME_METRIC: &str = "Of two default routes with one metric in main, inet's second is refused ('File exists') and the \
                           rest of that 'ifup' never runs; inet6's second silently replaces the first.";

impl Host<'_> {
    pub(super) fn defaults(&self, found: &mut Vec<Finding>) {
        for family in [Family::Inet, Family::Inet6] {
            let of_family = |uplink: &&Uplink| uplink.family == family && uplink.up && uplink.gateway.is_some();
            let longest = NEARLY_DEFAULT[usize::from(family == Family::Inet6)];
            let main = || self.snapshot.routes.iter().filter(|route| route.family == family && route.table == MAIN);
            let halved = main()
                .any(|route| (1..=longest).contains(&route.dst.prefix_len().into()) && route.kind() == Kind::Unicast);
            if halved || !self.plan.uplinks.iter().any(|uplink| of_family(&uplink)) {
                continue;
            }
            let best = main().filter(|route| route.dst.prefix_len() == 0).min_by_key(|route| route.metric);
            let uplinks = &self.plan.uplinks;
            let in_main = |uplink: &&Uplink| of_family(uplink) && uplink.in_main;
            let chosen = uplinks.iter().filter(in_main).min_by_key(|uplink| self.metric(uplink));
            match best {
                Some(route) if route.kind() == Kind::Unicast => self.stale_default(route, found),
                refuses => {
                    let seen = match refuses {
                        Some(route) => format!("main has {}, and no better {family} default route", quoted(route)),
                        None => format!("main has no {family} default route"),
                    };
                    let others = main().any(|route| route.dst.prefix_len() == 0 && route.kind() == Kind::Unicast);
                    // A guard with the worst metric may stay.
                    let in_the_way = refuses.filter(|route| {
                        others
                            || chosen.is_none_or(|uplink| self.metric(uplink).unwrap_or(INET6_METRIC) >= route.metric)
                    });
                    let mut mend: Vec<String> = in_the_way.map(delete_route).into_iter().collect();
                    mend.extend(chosen.filter(|_| !others).and_then(|uplink| self.add_default(uplink)));
                    let finding = Finding { family: Some(family), ..Finding::error("no-default", seen, UNBOUND) };
                    found.push(match mend.is_empty() {
                        false => finding.mend(mend),
                        true => finding.advice(
                            "No stanza has a 'gateway' line: write one in the stanza of the uplink that the host itself \
                             is to use ('symroute-gateway' only serves the uplink's own table).",
                        ),
                    });
                }
            }
        }
    }

    /// Main's default routes that symroute knows no uplink for.
    pub(super) fn unknown_defaults(&self, found: &mut Vec<Finding>) {
        for route in &self.plan.unknown_defaults {
            let nexthops =
                route.more.iter().flat_map(|more| &more.nexthops).map(|nexthop| (&nexthop.dev, nexthop.gateway));
            let ways = [(&route.dev, route.gateway)].into_iter().chain(nexthops);
            let mut ways = ways.filter_map(|(dev, gateway)| Some((dev.as_ref()?, gateway)));
            let of_uplink = |dev: &String| {
                self.plan.uplinks.iter().any(|uplink| uplink.interface == *dev && uplink.family == route.family)
            };
            let Some((dev, gateway)) = ways.find(|(dev, _)| !of_uplink(dev)) else { continue };
            let family = if route.family == Family::Inet6 { "IPv6" } else { "IPv4" };
            let seen =
                format!("{dev} ({family}): default route in the main table belongs to no uplink: {}", quoted(route));
            let effect = format!(
                "symroute adds no table and no rules for it. Replies from addresses of {dev} may leave through another \
                 provider, which drops them."
            );
            let ignore =
                format!("If the route is intended as it is: 'symroute check --ignore default-route-unknown:{dev}'.");
            let finding = Finding::warning("default-route-unknown", seen, effect).on(dev, route.family);
            found.push(finding.advice(match gateway {
                Some(gateway) => format!(
                    "Add a stanza for {dev} with its 'address' and 'gateway {gateway}' to /etc/network/interfaces, then run \
                     'symroute apply'. {ignore}"
                ),
                None => format!("symroute does not manage uplinks without a gateway yet. {ignore}"),
            }));
        }
    }

    /// Main's default route leaves by an uplink's link, but to a gateway that no stanza names.
    fn stale_default(&self, route: &Route, found: &mut Vec<Finding>) {
        let on_link = |uplink: &&Uplink| Some(&uplink.interface) == route.dev.as_ref() && uplink.family == route.family;
        let uplinks: Vec<&Uplink> = self.plan.uplinks.iter().filter(on_link).collect();
        let (Some(gateway), Some(first)) = (route.gateway, uplinks.iter().find(|uplink| uplink.in_main)) else {
            return;
        };
        let known = |uplink: &&Uplink| uplink.gateway.is_none_or(|known| known == gateway);
        // Router advertisements make a route of their own, to the router's link-local address.
        if route.protocol == RTPROT_RA || uplinks.iter().any(|uplink| uplink.dynamic || !uplink.up || known(uplink)) {
            return;
        }
        let seen = format!(
            "main's {} default route leads to {gateway}, which is no gateway of {} by its stanza",
            route.family, first.interface
        );
        let why = "What is not bound to an address goes to a router that may not be there any more. It happens when \
                   'gateway' was edited and the interface was not brought down and up since.";
        let finding = Finding::error("default-stale", seen, why).on(&first.interface, first.family);
        let metric = if route.metric == 0 { String::new() } else { format!(" metric {}", route.metric) };
        let command = first.gateway.map(|gateway| {
            format!("{} route replace default via {gateway} dev {}{metric} onlink", ip(first.family), first.interface)
        });
        found.push(Finding { at: Some(first.at), ..finding.mend(command) });
    }

    /// What the uplink's default route in main has, or shall have.
    fn metric(&self, uplink: &Uplink) -> Option<u32> {
        let written = uplink.written.and_then(|written| written.metric);
        uplink.metric.or(written)
    }

    /// The command for main's default route through an uplink, as its stanza makes it.
    fn add_default(&self, uplink: &Uplink) -> Option<String> {
        let metric = self.metric(uplink).map_or(String::new(), |metric| format!(" metric {metric}"));
        let (ip, dev) = (ip(uplink.family), &uplink.interface);
        uplink.gateway.map(|gateway| format!("{ip} route add default via {gateway} dev {dev}{metric} onlink"))
    }

    /// Does symroute-gen give the uplink's default route a metric? It knows no choice of a mapping or a pattern.
    fn writes_metric(&self, uplink: &Uplink) -> bool {
        let Plan { uplinks, metrics, .. } = self.written;
        metrics.keys().any(|at| (uplinks[*at].stanza, uplinks[*at].family) == (uplink.stanza, uplink.family))
    }

    fn metric_by_hand(&self, at: usize, metric: u32) -> String {
        format!(
            "Write 'metric {metric}' into its stanza, then '{}'. symroute-gen does not: which stanza a mapping or a \
             pattern chose for a link is known only while it is up.",
            self.restart(at, true)
        )
    }

    /// Does main have the default route that the uplink's stanza gives it?
    fn has_default(&self, uplink: &Uplink) -> bool {
        let mut main = self.snapshot.routes.iter().filter(|route| route.table == MAIN && route.dst.prefix_len() == 0);
        main.any(|route| route.family == uplink.family && route.is_through(&uplink.interface))
    }

    pub(super) fn metrics(&self, found: &mut Vec<Finding>) {
        let of_file = |clash: &Diagnostic| {
            let at_line = |uplink: &&Uplink| match uplink.origin {
                Origin::Line { at } => Some(at) == clash.at,
                _ => Some(uplink.at) == clash.at,
            };
            let uplink = self.plan.uplinks.iter().find(at_line);
            let finding = self.same_metric(clash.message.clone(), uplink).advice(clash.help.clone());
            Finding { at: clash.at, ..finding }
        };
        found.extend(self.plan.clashes.iter().map(of_file));
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let Some(metric) = self.plan.metrics.get(&at) else { continue };
            if uplink.written.and_then(|written| written.metric) == Some(*metric) {
                continue;
            }
            let seen = format!("{} has a 'gateway' but no 'metric', as another uplink", uplink.label());
            let finding = self.same_metric(seen, Some(uplink)).on(&uplink.interface, uplink.family);
            let finding = Finding { at: Some(uplink.at), ..finding };
            if !self.writes_metric(uplink) {
                found.push(finding.before(cuts(&uplink.interface)).advice(self.metric_by_hand(at, *metric)));
                continue;
            }
            let style = if self.facts.hooks { " --style hook" } else { "" };
            let mut mend = vec![format!("symroute-gen{style} --write")];
            if !self.has_default(uplink) {
                // Its 'ifup' failed half-way, or never ran.
                mend.push(self.restart(at, true));
            }
            let before = (mend.len() > 1).then(|| cuts(&uplink.interface));
            // inet6: it took the place of the first one's, and has to go out of its way first.
            let (ip, dev) = (ip(uplink.family), &uplink.interface);
            let own = self.snapshot.routes.iter().filter(|route| {
                let default = route.table == MAIN && route.dst.prefix_len() == 0 && route.family == uplink.family;
                default && route.dev.as_ref() == Some(dev) && route.metric != *metric
            });
            for (route, gateway) in own.filter_map(|route| Some((route, route.gateway?))) {
                let onlink = if route.onlink { " onlink" } else { "" };
                mend.push(format!("{ip} route add default via {gateway} dev {dev} metric {metric}{onlink}"));
                mend.push(format!("{ip} route del default via {gateway} dev {dev} metric {}", route.metric));
            }
            let first = self.plan.primary.get(&uplink.family).map(|at| &self.plan.uplinks[*at]);
            mend.extend(
                first.filter(|first| first.up && !self.has_default(first)).and_then(|first| self.add_default(first)),
            );
            found.push(Finding { before, ..finding.mend(mend) });
        }
    }

    /// An error where the uplink lost something by it already; else the next `ifup` will.
    fn same_metric(&self, seen: String, uplink: Option<&Uplink>) -> Finding {
        match uplink.is_some_and(|uplink| !uplink.up || uplink.in_main && !self.has_default(uplink)) {
            true => Finding::error("same-metric", seen, SAME_METRIC),
            false => Finding::warning("same-metric", seen, SAME_METRIC),
        }
    }

    /// Addresses of the configuration that an uplink which is up has not.
    pub(super) fn addresses(&self, found: &mut Vec<Finding>) {
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let link_is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            let Some(by_files) = self.by_files.get(at).filter(|_| link_is_up && !uplink.dynamic) else { continue };
            let there = |address: IpAddr| {
                let mut on_link = self.snapshot.addresses.iter().filter(|known| known.dev == uplink.interface);
                on_link.any(|known| known.net.addr() == address)
            };
            // One that is on another interface comes and goes with that.
            let own = || by_files.sources.iter().filter(|source| !source.by_prefix && source.elsewhere.is_none());
            let missing: Vec<_> = own().filter(|source| !there(source.net.addr())).collect();
            if missing.is_empty() {
                continue;
            }
            let which = listed(missing.iter().map(|source| source.net.to_string()));
            let seen = format!("the link {} is up, but lacks {which} of its stanza", uplink.interface);
            let why = "What is sent to a missing address gets no answer.";
            let add = |source: &&&crate::uplinks::Source| match source.peer {
                Some(peer) => format!("{} peer {peer}", source.net.addr()),
                None => source.net.to_string(),
            };
            let mut mend: Vec<String> = missing
                .iter()
                .map(|source| format!("{} addr add {} dev {}", ip(uplink.family), add(&source), uplink.interface))
                .collect();
            mend.push("symroute apply".into());
            // Its routes in main went with the last address.
            let all = missing.len() == own().count();
            if all {
                mend = vec![self.restart(at, true)];
            }
            let elsewhere = self.snapshot.addresses.iter().filter(|known| {
                known.dev != "lo" && missing.iter().any(|source| source.net.addr() == known.net.addr())
            });
            let elsewhere: Vec<_> = elsewhere.collect();
            let seen = match elsewhere.first() {
                Some(known) => format!("{seen}; {} has it", known.dev),
                None => seen,
            };
            let off = uplink.family == Family::Inet6 && self.facts.without_inet6.contains(&uplink.interface);
            let seen = if off { format!("{seen}: IPv6 is switched off there") } else { seen };
            let mend = elsewhere
                .iter()
                .map(|known| format!("{} addr del {} dev {}", ip(uplink.family), known.net, known.dev))
                .chain(off.then(|| format!("sysctl -w net/ipv6/conf/{}/disable_ipv6=0", uplink.interface)))
                .chain(mend);
            let finding = Finding::error("address-missing", seen, why).on(&uplink.interface, uplink.family).mend(mend);
            let finding = match (off, elsewhere.is_empty()) {
                (true, _) => {
                    finding.advice("Take 'disable_ipv6' out of /etc/sysctl.d as well, or it comes back at boot.")
                }
                (false, false) => finding.advice(
                    "If it is meant to be there (a bridge over the old link), give the stanza that link instead.",
                ),
                (false, true) => finding,
            };
            found.push(Finding { at: Some(uplink.at), before: all.then(|| cuts(&uplink.interface)), ..finding });
            // Two addresses of one network: the second goes with the first.
            let shared = |source: &&&crate::uplinks::Source| {
                let twin = |other: &&crate::uplinks::Source| {
                    other.net.trunc() == source.net.trunc() && other.net.addr() != source.net.addr()
                };
                own().any(|other| twin(&other))
            };
            if uplink.family == Family::Inet
                && missing.iter().any(|source| shared(&source))
                && !self.facts.promote_secondaries(&uplink.interface)
            {
                let seen = format!(
                    "promote_secondaries is off on {0}, which has several addresses in one network, and {which} is gone",
                    uplink.interface
                );
                let why = "When the first address of a network is deleted, the kernel deletes the others with it.";
                let finding =
                    Finding::warning("promote-secondaries-off", seen, why).on(&uplink.interface, uplink.family);
                found.push(finding.mend([sysctl(&uplink.interface, "promote_secondaries", 1)]).advice(KEEP_SYSCTL));
            }
        }
    }

    /// Addresses that the kernel has and does not use, as another host has them too (RFC 4862, 5.4).
    pub(super) fn duplicates(&self, found: &mut Vec<Finding>) {
        for uplink in &self.plan.uplinks {
            let of_uplink = |net: &IpNet| uplink.sources.iter().any(|source| source.net.addr() == net.addr());
            let on_link = self.snapshot.addresses.iter().filter(|known| known.dev == uplink.interface);
            for net in on_link.filter(|known| known.duplicate).map(|known| known.net).filter(of_uplink) {
                let (dev, ip) = (&uplink.interface, ip(uplink.family));
                let seen = format!("{} on {dev} is not in use: another host has it too (dadfailed)", net.addr());
                let why = "The kernel found out when it was set, and neither answers for it nor sends from it until it is \
                           set anew.";
                let mend = format!("{ip} addr del {net} dev {dev}; {ip} addr add {net} dev {dev}");
                let finding = Finding::error("address-duplicate", seen, why).on(dev, uplink.family).mend([mend]);
                found.push(finding.before(
                    "First remove it from the other host: 'journalctl -k -g duplicate' shows that host's MAC address.",
                ));
            }
        }
    }

    pub(super) fn gateways(&self, found: &mut Vec<Finding>) {
        for at in &self.plan.managed {
            let uplink = &self.plan.uplinks[*at];
            let is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            let inet6 = uplink.family == Family::Inet6;
            let has_address = self.snapshot.addresses.iter().any(|address| {
                address.dev == uplink.interface && !address.local && address.net.addr().is_ipv6() == inet6
            });
            if !uplink.dynamic || uplink.gateway.is_some() || !is_up || !has_address {
                continue;
            }
            let seen = format!(
                "{} has an address, but its gateway is not known: the main table has no default route through it",
                uplink.label()
            );
            let why = "The gateway of an uplink with DHCP or router advertisements is learnt from its default route in the \
                       main table. Without it, replies from its addresses leave through another uplink.";
            let finding = Finding::error("gateway-unknown", seen, why).on(&uplink.interface, uplink.family);
            let finding = Finding { at: Some(uplink.at), ..finding };
            let by_hand = self.plan.metrics.get(at).filter(|_| !self.writes_metric(uplink));
            if let Some(metric) = by_hand {
                found.push(finding.before(cuts(&uplink.interface)).advice(self.metric_by_hand(*at, *metric)));
                continue;
            }
            let style = if self.facts.hooks { " --style hook" } else { "" };
            let metric = self.plan.metrics.contains_key(at).then(|| format!("symroute-gen{style} --write"));
            let forced = metric.is_none();
            let finding = finding.mend(metric.into_iter().chain([self.restart(*at, forced)]));
            found.push(finding.before(cuts(&uplink.interface)).advice(
                "Of two default routes without a metric, dhclient and udhcpc add one; dhcpcd gives each a metric. If the \
                 provider announces no router, set 'symroute-gateway ADDRESS' in the stanza and run 'symroute apply'.",
            ));
        }
    }

    pub(super) fn down(&self, found: &mut Vec<Finding>) {
        let less = "One uplink is unavailable. Connections to its addresses fail.";
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let said = |id: &str| {
                let is = |finding: &Finding| finding.id == id && finding.interface.as_ref() == Some(&uplink.interface);
                found.iter().any(|finding| is(finding) && finding.family.is_none_or(|family| family == uplink.family))
            };
            let link = self.snapshot.link(&uplink.interface);
            if uplink.up {
                let by_it = |route: &&Route| route.dev.as_ref() == Some(&uplink.interface);
                if !said("uplink-down") && self.snapshot.routes.iter().filter(by_it).any(|route| route.state.linkdown) {
                    let seen = format!("{} is up, but has no carrier", uplink.interface);
                    let finding = Finding::error("uplink-down", seen, less).on(&uplink.interface, uplink.family);
                    let advice = "Check the cable and the device at its other end. No command on this host fixes it.";
                    found.push(Finding { family: None, ..finding.advice(advice) });
                }
                continue;
            }
            if uplink.skipped.is_some()
                || said("gateway-unknown")
                || said("address-missing")
                || !self.at_boot.contains(&at)
            {
                continue;
            }
            let seen = format!("{} is not up, though 'auto' brings it up at boot", uplink.label());
            let finding = Finding::error("uplink-down", seen, less).on(&uplink.interface, uplink.family);
            let finding = Finding { at: Some(uplink.at), ..finding };
            found.push(match link {
                // ifupdown may take it for up: somebody else took it down.
                Some(_) => finding.before(cuts(&uplink.interface)).mend([self.restart(at, true)]),
                None => finding.advice(format!(
                    "There is no link {}: the card is gone, or has another name now ('ip link').",
                    uplink.interface
                )),
            });
        }
    }
}
