//! What is wrong with a host, from the plan, the kernel, the lookups and the facts. Pure: values in, findings out.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Status;
use super::facts::Facts;
use super::finding::Finding;
use super::matrix::{Expected, Probe, Target};
use super::walk::{Outcome, walk};
use crate::interfaces::{Diagnostic, Family, Severity};
use crate::policy::layout::NEARLY_DEFAULT;
use crate::policy::numbers::SLOT;
use crate::policy::{Plan, Policy};
use crate::snapshot::{Answer, Kind, MAIN, Query, Route, Rule, Snapshot, Surroundings, Way, prefix};
use crate::uplinks::{Layout, Uplink};

/// A lookup and what the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub probe: Probe,
    pub answer: Answer,
}

impl Asked {
    pub fn is_right(&self) -> bool {
        let Answer::Route(way) = &self.answer else { return false };
        match &self.probe.expected {
            Expected::Routable => true,
            Expected::Delivered => way.kind == Kind::Local,
            Expected::Dev(dev) => way.kind == Kind::Unicast && way.dev.as_ref() == Some(dev),
            Expected::Way(dev, gateway) => {
                let straight = way.gateway == Some(self.probe.query.to);
                way.kind == Kind::Unicast && way.dev.as_ref() == Some(dev) && (way.gateway == *gateway || straight)
            }
        }
    }

    fn is_received(&self) -> bool {
        self.probe.query.iif.is_some()
    }
}

/// Everything that is known of a host.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    pub plan: &'a Plan,
    /// The uplinks as the files alone have them, in the same order.
    pub by_files: &'a [Uplink],
    /// Uplinks that `auto` brings up at boot, an index for each.
    pub at_boot: &'a HashSet<usize>,
    /// What is wrong with policy by hand.
    pub by_hand: &'a [Diagnostic],
    pub snapshot: &'a Snapshot,
    pub status: &'a Status,
    pub facts: &'a Facts,
    pub asked: &'a [Asked],
}

/// All findings: what loses packets first.
pub fn findings(host: &Host) -> Vec<Finding> {
    let mut found = Vec::new();
    for policy in &host.plan.policies {
        let uplink = &host.plan.uplinks[policy.uplink];
        if uplink.up {
            host.policy(policy, uplink, &mut found);
        }
    }
    host.others_policy(&mut found);
    host.shadowed(&mut found);
    host.left_over(&mut found);
    host.duplicated(&mut found);
    host.without_address(&mut found);
    host.defaults(&mut found);
    host.metrics(&mut found);
    host.addresses(&mut found);
    host.gateways(&mut found);
    host.down(&mut found);
    host.reverse_path(&mut found);
    host.marks(&mut found);
    host.same_subnet(&mut found);
    host.managers(&mut found);
    host.translations(&mut found);
    host.sockets(&mut found);
    host.by_hand(&mut found);
    found.sort_by_key(|finding| finding.severity);
    found
}

fn ip(family: Family) -> &'static str {
    if family == Family::Inet6 { "ip -6" } else { "ip" }
}

fn listed(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.len() {
        0..=3 => items.join(", "),
        n => format!("{} and {} more", items[..2].join(", "), n - 2),
    }
}

/// `sysctl -w` with the name's slashes: a link's name may have dots.
fn sysctl(link: &str, name: &str, value: u8) -> String {
    match link.contains('.') {
        true => format!("sysctl -w net/ipv4/conf/{link}/{name}={value}"),
        false => format!("sysctl -w net.ipv4.conf.{link}.{name}={value}"),
    }
}

const KEEP_SYSCTL: &str = "To keep it over a reboot, put 'NAME = VALUE' into /etc/sysctl.d/60-symroute.conf.";

/// What answers do that do not leave by their uplink.
const LOST: &str = "What answers from an address of one provider through another is dropped there: connections from \
                    outside die, and those to the LAN may too.";

impl Host<'_> {
    fn wrong_of(&self, uplink: usize) -> impl Iterator<Item = &Asked> {
        let wrong = self.asked.iter().filter(|asked| !asked.is_right() && !asked.is_received());
        wrong.filter(move |asked| asked.probe.uplink == Some(uplink))
    }

    /// `answers from A to B leave by DEV via GW`, for the first of the wrong lookups.
    fn what_happens(&self, wrong: &[&Asked]) -> Option<String> {
        let first = wrong.iter().find(|asked| asked.probe.target == Target::Distant).or(wrong.first())?;
        let query = &first.probe.query;
        let who = match (query.from, &query.oif) {
            (Some(from), _) => format!("what {from} sends to {}", query.to),
            (None, Some(oif)) => format!("what a socket bound to {oif} sends to {}", query.to),
            (None, None) => format!("what is sent to {}", query.to),
        };
        Some(match &first.answer {
            Answer::Route(way) => format!("{who} leaves {}", leaves(way)),
            Answer::Refused(errno) => format!("{who} has no way ({})", errno.desc()),
        })
    }

    fn policy(&self, policy: &Policy, uplink: &Uplink, found: &mut Vec<Finding>) {
        let Some(status) = self.status.policies.iter().find(|status| status.uplink == policy.uplink) else { return };
        let not_shadowed: Vec<&Asked> =
            self.wrong_of(policy.uplink).filter(|asked| self.shadowing(asked).is_none()).collect();
        let happens = self.what_happens(&not_shadowed).map_or(String::new(), |text| format!("; {text}"));
        let label = uplink.label();
        let before = found.len();
        let missing: Vec<&Rule> = status.rules.iter().filter(|rule| !rule.in_place).map(|rule| &rule.item).collect();
        let apply = || vec!["symroute apply".to_string()];
        if !missing.is_empty() {
            let which = listed(missing.iter().map(|rule| format!("'{rule}'")));
            let seen = format!("{label} lacks {} of its {} rules: {which}{happens}", missing.len(), status.rules.len());
            let advice = "If they go again, something removes them: 'ip monitor rule' shows when, and the other \
                          findings may say what.";
            let finding = Finding::error("rule-missing", seen, LOST).on(&uplink.interface, uplink.family);
            found.push(finding.mend(apply()).advice(advice));
        }
        let gone: Vec<_> = status.routes.iter().filter(|route| !route.in_place).map(|route| &route.item).collect();
        let in_table = |route: &&Route| route.table == policy.table && route.family == uplink.family;
        if !gone.is_empty() {
            let there = self.snapshot.routes.iter().filter(in_table).count();
            let (id, what) = match there {
                0 => ("table-empty", format!("table {} of {label} is empty{happens}", policy.table)),
                _ => {
                    let which = listed(gone.iter().map(|route| format!("'{route}'")));
                    let what = format!(
                        "table {} of {label} lacks {} of its {} routes: {which}{happens}",
                        policy.table,
                        gone.len(),
                        status.routes.len()
                    );
                    ("table-stale", what)
                }
            };
            let why = format!(
                "The kernel empties tables by itself, when a link goes down or its last address goes, and leaves the \
                 rules: they find nothing and the next table answers. {LOST}"
            );
            found.push(Finding::error(id, what, why).on(&uplink.interface, uplink.family).mend(apply()));
        }
        if found.len() > before || not_shadowed.is_empty() {
            return;
        }
        let (local, rest): (Vec<&Asked>, Vec<&Asked>) =
            not_shadowed.into_iter().partition(|asked| matches!(asked.probe.target, Target::Local(_)));
        if let Some(happens) = self.what_happens(&local) {
            let networks: Vec<String> = networks_of(&local);
            let seen = format!("{label} does not reach {}: {happens}", listed(networks));
            let why = "Hosts in the LAN, a VPN or a container network get no answer from this uplink's addresses.";
            let finding = Finding::error("local-network-unreachable", seen, why).on(&uplink.interface, uplink.family);
            found.push(match (policy.layout, uplink.wish.layout) {
                (Layout::Article, Some(_)) => Finding { at: Some(uplink.at), ..finding }.advice(
                    "The layout 'article' has one rule for each address, and its table knows no other network. Take \
                     'symroute-layout article' out of the stanza, then run 'symroute apply' (or 'symroute-gen --write' \
                     where the stanza has a block).",
                ),
                (Layout::Article, None) => finding
                    .mend(["symroute-gen --layout layered --write".to_string(), "symroute apply".to_string()])
                    .advice(
                        "The layout 'article' has one rule for each address, and its table knows no other network.",
                    ),
                (Layout::Layered, _) => finding.mend(apply()),
            });
        }
        self.wrong_way(uplink, &rest, found);
    }

    /// Uplinks whose policy is not ours, because it was written by hand.
    fn others_policy(&self, found: &mut Vec<Finding>) {
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            if uplink.up && uplink.hand_written && self.plan.is_multihomed(uplink.family) {
                let wrong: Vec<&Asked> = self.wrong_of(at).collect();
                self.wrong_way(uplink, &wrong, found);
            }
        }
    }

    fn wrong_way(&self, uplink: &Uplink, wrong: &[&Asked], found: &mut Vec<Finding>) {
        let (Some(happens), Some(first)) = (self.what_happens(wrong), wrong.first()) else { return };
        let query = &first.probe.query;
        let from = query.from.map_or(String::new(), |from| format!(" --from {from}"));
        let oif = query.oif.as_ref().map_or(String::new(), |oif| format!(" --oif {oif}"));
        let seen = format!("{}: {happens}, not {}", uplink.label(), expected(&first.probe.expected));
        let finding = Finding::error("wrong-way", seen, LOST).on(&uplink.interface, uplink.family);
        let finding = if uplink.hand_written {
            let advice = "Its policy was written by hand. Take those lines out of the stanza and let symroute-gen write \
                          them, or mend them; docs/hand-written.md says how.";
            Finding { at: Some(uplink.at), ..finding }.advice(advice)
        } else {
            finding
                .advice(format!("'symroute explain{from} --to {}{oif}' shows which rule and route decide.", query.to))
        };
        found.push(finding);
    }

    /// What is wrong in lines by hand. Hints are for 'symroute plan'.
    fn by_hand(&self, found: &mut Vec<Finding>) {
        let why = "Policy by hand that ifup stops at, that stays behind or that leads elsewhere shows when an interface \
                   goes down and up again, or at the next boot.";
        for diagnostic in self.by_hand.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning) {
            let finding = diagnostic.id.map(|id| Finding::warning(id, diagnostic.message.clone(), why));
            let finding = finding.map(|finding| finding.advice(diagnostic.help.clone()));
            found.extend(finding.map(|finding| Finding { at: diagnostic.at, ..finding }));
        }
    }

    /// The rule of somebody else that answers a wrong lookup before ours could.
    fn shadowing(&self, asked: &Asked) -> Option<Rule> {
        let policy = self.plan.policy(asked.probe.uplink?)?;
        let rule = winner(self.snapshot, &asked.probe.query)?;
        let ours = self.plan.policies.iter().flat_map(|policy| &policy.rules).any(|own| rule.same_as(&own.item));
        (!ours && rule.priority != 0 && rule.priority < policy.priority + SLOT).then_some(rule)
    }

    fn shadowed(&self, found: &mut Vec<Finding>) {
        let mut by_rule: Vec<(Rule, Vec<&Asked>)> = Vec::new();
        for asked in self.asked.iter().filter(|asked| !asked.is_right() && !asked.is_received()) {
            let Some(rule) = self.shadowing(asked) else { continue };
            match by_rule.iter_mut().find(|(known, _)| *known == rule) {
                Some((_, all)) => all.push(asked),
                None => by_rule.push((rule, vec![asked])),
            }
        }
        for (rule, wrong) in by_rule {
            let Some(uplink) = wrong[0].probe.uplink.map(|at| &self.plan.uplinks[at]) else { continue };
            // A copy of one of ours at another priority is said to be that.
            if self.copied(&rule).is_some() {
                continue;
            }
            let happens = self.what_happens(&wrong).unwrap_or_default();
            let named = owner(&rule).map_or(String::new(), |owner| format!(" ({owner})"));
            let seen =
                format!("the rule '{rule}'{named} comes before those of {} and answers: {happens}", uplink.label());
            let finding = Finding::error("rule-shadowed", seen, LOST).on(&uplink.interface, uplink.family);
            let below = rule.priority.saturating_sub(SLOT).max(1);
            found.push(finding.mend([delete(&rule)]).advice(format!(
                "If something needs that rule, let it follow symroute's, or put symroute's before it: \
                 'symroute-priority {below}' in the stanza of {}.",
                uplink.label()
            )));
        }
    }

    /// Rules of ours that no uplink wants.
    fn left_over(&self, found: &mut Vec<Finding>) {
        let rules = self.status.left_over_rules.iter().map(|rule| format!("'{rule}'"));
        let routes = self.status.left_over_routes.iter().map(|route| format!("route '{route}'"));
        let all: Vec<String> = rules.chain(routes).collect();
        if !all.is_empty() {
            let seen = format!("made by symroute, but wanted by no uplink that is up: {}", listed(all));
            let why = "They steer packets as an earlier configuration wanted it.";
            found.push(Finding::warning("rule-left-over", seen, why).mend(["symroute apply".to_string()]));
        }
    }

    /// The planned rule that a foreign one repeats at another priority, or with another protocol.
    fn copied(&self, rule: &Rule) -> Option<&Rule> {
        let wanted = self.plan.policies.iter().filter(|policy| self.plan.uplinks[policy.uplink].up);
        let mut wanted = wanted.flat_map(|policy| &policy.rules).map(|placed| &placed.item);
        wanted.find(|own| {
            let there = Rule { priority: own.priority, protocol: own.protocol, ..rule.clone() };
            &there == *own
        })
    }

    fn duplicated(&self, found: &mut Vec<Finding>) {
        let by_lines: Vec<&Rule> = self
            .status
            .policies
            .iter()
            .filter(|status| self.plan.uplinks[status.uplink].written.is_some_and(|written| written.lines))
            .flat_map(|status| status.rules.iter().map(|rule| &rule.item))
            .collect();
        let mut seen_before: Vec<&Rule> = Vec::new();
        for rule in &self.snapshot.rules {
            let twice = seen_before.contains(&rule);
            seen_before.push(rule);
            let Some(own) = self.copied(rule) else { continue };
            let wanted = rule.same_as(own) && (rule.is_ours() || by_lines.iter().any(|made| rule.same_as(made)));
            if wanted && !twice {
                continue;
            }
            let seen = format!("'{rule}' repeats what symroute's rule with priority {} does", own.priority);
            let why = "The copy outlives symroute's: after 'ifdown' it points to an empty table, and one before \
                       symroute's own cuts the address off from LAN, VPN and containers. Lines such as 'up ip rule add' \
                       without a priority make one more at every 'ifup'.";
            let finding = Finding::warning("rule-duplicated", seen, why).mend([delete(rule)]);
            found.push(Finding { family: Some(rule.family), ..finding });
        }
    }

    /// Rules for an address that the host does not have, into a table of an uplink.
    fn without_address(&self, found: &mut Vec<Finding>) {
        let tables: HashSet<(Family, u32)> =
            self.plan.policies.iter().map(|policy| (self.plan.uplinks[policy.uplink].family, policy.table)).collect();
        for rule in self.snapshot.rules.iter().filter(|rule| !rule.is_ours()) {
            let Some(src) = rule.src.filter(|src| src.prefix_len() == src.max_prefix_len()) else { continue };
            let local = self.snapshot.addresses.iter().any(|address| address.net.addr() == src.addr());
            if local || !tables.contains(&(rule.family, rule.table)) {
                continue;
            }
            let seen = format!("'{rule}', but no link has the address {}", src.addr());
            let why = "If the address is now that of another host, a container for example, what it sends through this \
                       host is steered into the uplink's table.";
            let finding = Finding::warning("rule-without-address", seen, why);
            let finding = finding.mend([delete(rule)]);
            found.push(Finding { family: Some(rule.family), ..finding });
        }
    }

    fn defaults(&self, found: &mut Vec<Finding>) {
        for family in [Family::Inet, Family::Inet6] {
            let of_family = |uplink: &&Uplink| uplink.family == family && uplink.up && uplink.gateway.is_some();
            let longest = NEARLY_DEFAULT[usize::from(family == Family::Inet6)];
            let mut main = self.snapshot.routes.iter().filter(|route| route.family == family && route.table == MAIN);
            if main.any(|route| u32::from(route.dst.prefix_len()) <= longest)
                || !self.plan.uplinks.iter().any(|uplink| of_family(&uplink))
            {
                continue;
            }
            let in_main = |uplink: &&Uplink| of_family(uplink) && uplink.in_main;
            let uplinks = &self.plan.uplinks;
            let chosen = uplinks.iter().filter(in_main).min_by_key(|uplink| uplink.metric.unwrap_or(0));
            let seen = format!("main has no {family} default route");
            let why = "Whatever is not bound to an address finds no way out: name lookups, package updates, and servers \
                       that answer from a wildcard socket.";
            let finding = Finding::error("no-default", seen, why);
            let finding = match chosen.and_then(add_default) {
                Some(command) => finding.mend([command]),
                None => finding.advice(
                    "No stanza has a 'gateway' line: write one in the stanza of the uplink that the host itself is to \
                     use ('symroute-gateway' only serves the uplink's own table).",
                ),
            };
            found.push(Finding { family: Some(family), ..finding });
        }
    }

    /// Does main have the default route that the uplink's stanza gives it?
    fn has_default(&self, uplink: &Uplink) -> bool {
        let mut main = self.snapshot.routes.iter().filter(|route| route.table == MAIN && route.dst.prefix_len() == 0);
        main.any(|route| route.family == uplink.family && route.dev.as_ref() == Some(&uplink.interface))
    }

    fn metrics(&self, found: &mut Vec<Finding>) {
        let of_file = |clash: &Diagnostic| {
            let finding = Finding::error("same-metric", clash.message.clone(), SAME_METRIC).advice(clash.help.clone());
            Finding { at: clash.at, ..finding }
        };
        found.extend(self.plan.clashes.iter().map(of_file));
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let Some(metric) = self.plan.metrics.get(&at) else { continue };
            if uplink.written.and_then(|written| written.metric) == Some(*metric) {
                continue;
            }
            let seen = format!("{} has a 'gateway' but no 'metric', as another uplink", uplink.label());
            let style = if self.facts.hooks { " --style hook" } else { "" };
            let mut mend = vec![format!("symroute-gen{style} --write")];
            if !self.has_default(uplink) {
                // Its 'ifup' failed half-way, or never ran.
                mend.push(format!("ifdown --force {0}; ifup {0}", uplink.interface));
            }
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
            mend.extend(first.filter(|first| first.up && !self.has_default(first)).and_then(add_default));
            let finding = Finding::error("same-metric", seen, SAME_METRIC).on(&uplink.interface, uplink.family);
            found.push(Finding { at: Some(uplink.at), ..finding.mend(mend) });
        }
    }

    /// Addresses of the configuration that an uplink which is up has not.
    fn addresses(&self, found: &mut Vec<Finding>) {
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let link_is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            let Some(by_files) = self.by_files.get(at).filter(|_| link_is_up && !uplink.dynamic) else { continue };
            let there = |address: IpAddr| {
                let mut on_link = self.snapshot.addresses.iter().filter(|known| known.dev == uplink.interface);
                on_link.any(|known| known.net.addr() == address)
            };
            let missing: Vec<_> =
                by_files.sources.iter().filter(|source| !source.by_prefix && !there(source.net.addr())).collect();
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
            if missing.len() == by_files.sources.len() {
                // Its routes in main went with the last address.
                mend = vec![format!("ifdown --force {0}; ifup {0}", uplink.interface)];
            }
            let finding = Finding::error("address-missing", seen, why).on(&uplink.interface, uplink.family);
            found.push(Finding { at: Some(uplink.at), ..finding.mend(mend) });
            // Two addresses of one network: the second goes with the first.
            let shared = |source: &&&crate::uplinks::Source| {
                let twin = |other: &&crate::uplinks::Source| {
                    other.net.trunc() == source.net.trunc() && other.net.addr() != source.net.addr()
                };
                by_files.sources.iter().any(|other| twin(&other))
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

    fn gateways(&self, found: &mut Vec<Finding>) {
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
            let seen = format!("{} has an address, but main has no default route through it", uplink.label());
            let why = "The gateway of an uplink that is configured by DHCP or router advertisements is learnt from main's \
                       default route. dhclient does not make a second one without a metric, so this uplink has no table \
                       and what comes in through it is answered through another.";
            let style = if self.facts.hooks { " --style hook" } else { "" };
            let finding = Finding::error("gateway-unknown", seen, why).on(&uplink.interface, uplink.family);
            let finding = finding
                .mend([format!("symroute-gen{style} --write"), format!("ifdown {0}; ifup {0}", uplink.interface)]);
            let finding = finding.advice(
                "Where the provider gives no router at all, name it: 'symroute-gateway ADDRESS' in the stanza, then \
                 'symroute apply'.",
            );
            found.push(Finding { at: Some(uplink.at), ..finding });
        }
    }

    fn down(&self, found: &mut Vec<Finding>) {
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let said = found.iter().any(|finding| {
                let same =
                    finding.family == Some(uplink.family) && finding.interface.as_ref() == Some(&uplink.interface);
                same && matches!(finding.id, "gateway-unknown" | "address-missing")
            });
            if uplink.up || said || !self.at_boot.contains(&at) {
                continue;
            }
            let seen = format!("{} is not up, though 'auto' brings it up at boot", uplink.label());
            let finding = Finding::warning("uplink-down", seen, "There is one way out less than there should be.");
            let finding = finding.on(&uplink.interface, uplink.family);
            found.push(Finding { at: Some(uplink.at), ..finding.mend([format!("ifup {}", uplink.interface)]) });
        }
    }

    /// What comes in and is dropped: the reverse lookup names another link than the one it came through.
    fn reverse_path(&self, found: &mut Vec<Finding>) {
        let mut links: Vec<&String> = Vec::new();
        for asked in self.asked.iter().filter(|asked| asked.is_received() && !asked.is_right()) {
            let Some(iif) = &asked.probe.query.iif else { continue };
            if self.facts.rp_filter(iif) != 1 || links.contains(&iif) {
                continue;
            }
            links.push(iif);
            let query = &asked.probe.query;
            let from = query.from.map_or(String::new(), |from| from.to_string());
            let seen = format!(
                "rp_filter is strict on {iif}, and the kernel refuses what comes in there from {from} to {}: it would \
                 answer another way ({} packets dropped so far, on all links)",
                query.to, self.facts.dropped
            );
            let why = "With rp_filter 1 the kernel drops what it would not answer through the link that it came from, \
                       without a word.";
            let finding = Finding::error("rp-filter-drops", seen, why).on(iif, Family::Inet);
            let finding = finding.mend([sysctl(iif, "rp_filter", 2)]);
            found.push(finding.advice(format!(
                "Mend what else is wrong with {iif} first: with its rules in place, strict drops nothing. {KEEP_SYSCTL}"
            )));
        }
    }

    /// Uplinks that a rule for marked packets leads to.
    fn marked(&self, uplink: &Uplink) -> bool {
        let table_is_its = |table: u32| {
            let in_table =
                self.snapshot.routes.iter().filter(|route| route.table == table && route.family == uplink.family);
            in_table
                .filter(|route| route.dst.prefix_len() == 0)
                .any(|route| route.dev.as_ref() == Some(&uplink.interface))
        };
        let rules =
            self.snapshot.rules.iter().filter(|rule| {
                rule.family == uplink.family && rule.more.as_ref().is_some_and(|more| more.mark.is_some())
            });
        rules.filter(|rule| rule.table != MAIN).any(|rule| table_is_its(rule.table))
    }

    fn marks(&self, found: &mut Vec<Finding>) {
        for uplink in self.plan.uplinks.iter().filter(|uplink| uplink.family == Family::Inet && uplink.up) {
            let link = &uplink.interface;
            if self.facts.rp_filter(link) != 1 || self.facts.src_valid_mark(link) || !self.marked(uplink) {
                continue;
            }
            let seen =
                format!("a rule leads marked packets to {link}, but rp_filter is strict there and ignores marks");
            let why = "The reverse lookup for what comes in has no mark, finds another link and drops the packet: \
                       forwarded connections through this uplink get no answer.";
            let finding = Finding::error("rp-filter-ignores-marks", seen, why).on(link, Family::Inet);
            found.push(finding.mend([sysctl(link, "rp_filter", 2)]).advice(KEEP_SYSCTL));
        }
    }

    fn same_subnet(&self, found: &mut Vec<Finding>) {
        let mut met: HashSet<(&str, &str)> = HashSet::new();
        let inet = || {
            let up = |dev: &str| self.snapshot.link(dev).is_some_and(|link| link.up && link.name != "lo");
            self.snapshot.addresses.iter().filter(move |address| address.net.addr().is_ipv4() && up(&address.dev))
        };
        let is_uplink = |dev: &str| self.plan.uplinks.iter().any(|uplink| uplink.interface == dev && uplink.up);
        for (first, second) in inet().flat_map(|first| inet().map(move |second| (first, second))) {
            let overlap = first.net.contains(&second.net.addr()) || second.net.contains(&first.net.addr());
            let wide = first.net.prefix_len() < 32 && second.net.prefix_len() < 32;
            if first.dev >= second.dev || !overlap || !wide || !(is_uplink(&first.dev) || is_uplink(&second.dev)) {
                continue;
            }
            let open: Vec<&str> = [&first.dev[..], &second.dev]
                .into_iter()
                .filter(|dev| {
                    !self.facts.arp_filter(dev) && self.facts.rp_filter(dev) != 1 && self.facts.arp_ignore(dev) == 0
                })
                .collect();
            if open.is_empty() || !met.insert((&first.dev, &second.dev)) {
                continue;
            }
            let seen = format!(
                "{} and {} are both in {}, and each answers ARP for the other's address",
                first.dev,
                second.dev,
                first.net.trunc()
            );
            let why =
                "Neighbours learn one card for both addresses: what is for one uplink comes in through the other.";
            let managed = |dev: &str| {
                let mut own = self.plan.policies.iter().map(|policy| &self.plan.uplinks[policy.uplink]);
                own.any(|uplink| uplink.interface == dev && uplink.family == Family::Inet)
            };
            let finding = Finding::error("arp-flux", seen, why).on(open[0], Family::Inet);
            // arp_filter answers where a packet to the asker would leave: that needs a rule for each address.
            let mend: Vec<String> = match managed(&first.dev) && managed(&second.dev) {
                true => open.iter().map(|dev| sysctl(dev, "arp_filter", 1)).collect(),
                false => {
                    open.iter().flat_map(|dev| [sysctl(dev, "arp_ignore", 1), sysctl(dev, "arp_announce", 2)]).collect()
                }
            };
            found.push(
                finding.mend(mend).advice(format!("Neighbours keep what they learnt for some minutes. {KEEP_SYSCTL}")),
            );
        }
    }

    fn managers(&self, found: &mut Vec<Finding>) {
        if self.plan.managed.is_empty() {
            return;
        }
        if let Some(networkd) = self.facts.networkd.filter(|networkd| networkd.removes_rules) {
            let when = if networkd.runs { "runs" } else { "is enabled" };
            let seen = format!("systemd-networkd {when} and is not told to leave other programs' rules alone");
            let why = "Whenever it starts or reloads, it removes every rule that no .network file describes, symroute's \
                       too (networkd.conf(5), ManageForeignRoutingPolicyRules).";
            let finding = Finding::warning("networkd-removes-rules", seen, why).mend(
                [
                    "mkdir -p /etc/systemd/networkd.conf.d",
                    "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\n' >/etc/systemd/networkd.conf.d/symroute.conf",
                    "systemctl try-restart systemd-networkd",
                    "symroute apply",
                ]
                .map(str::to_string),
            );
            found.push(finding.advice(
                "For good measure 'ManageForeignRoutes=no' in the same file keeps it from routes on links that it manages.",
            ));
        }
        for uplink in self.plan.managed.iter().map(|at| &self.plan.uplinks[*at]) {
            let known = |finding: &Finding| finding.interface.as_ref() == Some(&uplink.interface) && finding.id == NM;
            if !self.facts.networkmanager.contains(&uplink.interface) || found.iter().any(known) {
                continue;
            }
            let seen = format!("NetworkManager manages {} as well as ifupdown", uplink.interface);
            let why = "Two programs set its addresses and routes, each when it sees fit: either may take away what the \
                       other has set.";
            let finding = Finding::warning(NM, seen, why).on(&uplink.interface, uplink.family);
            let mend = [
                format!(
                    "printf '[keyfile]\\nunmanaged-devices+=interface-name:{0}\\n' \
                     >/etc/NetworkManager/conf.d/symroute-{0}.conf",
                    uplink.interface
                ),
                "nmcli general reload".to_string(),
                "symroute apply".to_string(),
            ];
            found.push(Finding { family: None, ..finding.mend(mend) });
        }
    }

    fn translations(&self, found: &mut Vec<Finding>) {
        for (at, uplink) in self.plan.uplinks.iter().enumerate() {
            let primary = self.plan.primary.get(&Family::Inet) == Some(&at);
            if uplink.family != Family::Inet || primary || !uplink.up || !self.plan.managed.contains(&at) {
                continue;
            }
            let own = |address: &String| uplink.sources.iter().any(|source| source.net.addr().to_string() == *address);
            let concerns = |translation: &&super::facts::Translation| {
                // nft's only pattern is a star at the end (nft(8)).
                let named = |name: &String| match name.strip_suffix('*') {
                    Some(prefix) => uplink.interface.starts_with(prefix),
                    None => *name == uplink.interface,
                };
                let through = translation.iif.as_ref().is_none_or(|(is, names)| names.iter().any(named) == *is);
                through && translation.daddr.as_ref().is_none_or(own)
            };
            let Some(translation) = self.facts.translations.iter().find(concerns) else { continue };
            if self.marked(uplink) {
                continue;
            }
            let Some(policy) = self.plan.policy(at) else { continue };
            let seen = format!(
                "connections that come in through {} are passed on to other hosts ('nft list chain {}'), but their \
                 answers are not marked to leave by it",
                uplink.interface, translation.chain
            );
            let why = "An answer of such a host, a container for example, has that host's address until the last moment: \
                       no rule for the uplink's addresses matches it, it leaves through main's default and is dropped.";
            let (link, mark, priority) = (&uplink.interface, policy.table, policy.priority + 4);
            let table = format!("symroute_{}", link.replace(['.', '-', '@', '+'], "_"));
            let mend = [
                format!("nft add table ip {table}"),
                format!("nft add chain ip {table} prerouting '{{ type filter hook prerouting priority mangle; }}'"),
                format!("nft add rule ip {table} prerouting iifname {link} ct state new ct mark set {mark}"),
                format!("nft add rule ip {table} prerouting iifname != {link} ct mark {mark} meta mark set ct mark"),
                format!("ip rule add fwmark {mark} lookup main suppress_prefixlength 1 priority {priority}"),
                format!("ip rule add fwmark {mark} lookup {} priority {}", policy.table, priority + 1),
            ];
            let finding = Finding::error("dnat-without-marks", seen, why).on(link, Family::Inet).mend(mend);
            found.push(finding.advice(
                "These last until the next boot: 'symroute check --explain dnat-without-marks' says how to keep them. If \
                 nothing outside is to reach those ports through this uplink, restrict the translation to the other one.",
            ));
        }
    }

    fn sockets(&self, found: &mut Vec<Finding>) {
        for socket in &self.facts.udp {
            let family = if socket.inet6 { Family::Inet6 } else { Family::Inet };
            // A socket on [::] serves IPv4 too: either family with a second way out is enough.
            let families = [family, Family::Inet];
            let several = |family: &Family| {
                let up = self.plan.uplinks.iter().filter(|uplink| uplink.family == *family && uplink.up);
                up.count() > 1
            };
            if !families.iter().any(several) {
                continue;
            }
            let address = if socket.inet6 { "[::]" } else { "0.0.0.0" };
            let who = match (&socket.program, socket.pid) {
                (Some(program), Some(pid)) => format!("{program} (process {pid})"),
                _ => "a program".to_string(),
            };
            let seen = format!("{who} serves UDP on {address}:{} for all addresses with one socket", socket.port);
            let why = "Unless the program answers from the address that was asked (IP_PKTINFO), its answers carry that of \
                       main's default uplink: clients of the other uplinks never see them. No rule can repair that.";
            let finding =
                Finding { what: Some(socket.port.to_string()), ..Finding::warning("wildcard-udp", seen, why) };
            found.push(finding.advice(format!(
                "Let it listen on each address by name. If it does answer right: 'symroute check --ignore \
                 wildcard-udp:{}'.",
                socket.port
            )));
        }
    }
}

const NM: &str = "networkmanager-manages";
const SAME_METRIC: &str = "Of two default routes with one metric in main, inet's second is refused ('File exists') and the \
                           rest of that 'ifup' never runs; inet6's second silently replaces the first.";

fn networks_of(wrong: &[&Asked]) -> Vec<String> {
    let mut networks: Vec<String> = Vec::new();
    for asked in wrong {
        if let Target::Local(net) = asked.probe.target {
            let net = prefix(&net);
            if !networks.contains(&net) {
                networks.push(net);
            }
        }
    }
    networks
}

fn leaves(way: &Way) -> String {
    let dev = way.dev.as_deref().unwrap_or("no link");
    way.gateway.map_or(format!("straight by {dev}"), |gateway| format!("by {dev} via {gateway}"))
}

/// The command for main's default route through an uplink, as its stanza makes it.
fn add_default(uplink: &Uplink) -> Option<String> {
    let metric = uplink.metric.map_or(String::new(), |metric| format!(" metric {metric}"));
    let (ip, dev) = (ip(uplink.family), &uplink.interface);
    uplink.gateway.map(|gateway| format!("{ip} route add default via {gateway} dev {dev}{metric} onlink"))
}

/// The command that removes this very rule and no like one.
fn delete(rule: &Rule) -> String {
    let protocol = if rule.protocol == 0 { String::new() } else { format!(" protocol {}", rule.protocol) };
    format!("{} rule del {rule}{protocol}", ip(rule.family))
}

/// The rule whose table or refusal decided.
fn winner(snapshot: &Snapshot, query: &Query) -> Option<Rule> {
    let walk = walk(snapshot, &Surroundings::default(), query);
    let step = match walk.outcome {
        Outcome::Route { step, .. } => Some(step),
        Outcome::Refused { step, .. } => step,
        Outcome::OnLink { .. } | Outcome::Unsure(_) => None,
    };
    walk.steps.get(step?).map(|step| step.rule.clone())
}

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Way(dev, Some(gateway)) => format!("by {dev} via {gateway}"),
        Expected::Way(dev, None) => format!("straight by {dev}"),
        Expected::Dev(dev) => format!("by {dev}"),
        Expected::Routable | Expected::Delivered => "at all".into(),
    }
}

/// Whose rule it may be, by the numbers that programs are known to use.
fn owner(rule: &Rule) -> Option<&'static str> {
    Some(match (rule.priority, rule.table, rule.protocol) {
        (_, _, 18) => "keepalived's, by its protocol",
        (_, _, 3) => "made at boot, by its protocol",
        (5200..=5299, 52, _) | (5200..=5299, ..) => "Tailscale's, by its number",
        (1000, _, _) => "for a VRF, by its number",
        (30200..=30499, ..) => "nm-cloud-setup's, by its number",
        (_, 51820, _) => "wg-quick's, by its table",
        _ => return None,
    })
}
