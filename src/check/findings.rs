//! What is wrong with a host, from the plan, the kernel, the lookups and the facts. Pure: values in, findings out.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Status;
use super::facts::Facts;
use super::finding::Finding;
use super::foreign::{Cause, causes, delete, delete_route, ip, move_behind, owner, quoted};
use super::matrix::{Expected, Probe, Target};
use crate::interfaces::{Diagnostic, Family, Severity};
use crate::policy::layout::NEARLY_DEFAULT;
use crate::policy::{Plan, Policy};
use crate::snapshot::{Answer, INET6_METRIC, Kind, MAIN, Route, Rule, Snapshot, Way, prefix};
use crate::uplinks::{Layout, Uplink};

/// A lookup and what the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub probe: Probe,
    pub answer: Answer,
}

impl Asked {
    pub fn is_right(&self) -> bool {
        let Answer::Route(way) = &self.answer else { return matches!(self.probe.expected, Expected::NotBy(_)) };
        match &self.probe.expected {
            Expected::Routable => true,
            Expected::Delivered => way.kind == Kind::Local,
            Expected::Dev(dev) => way.kind == Kind::Unicast && way.dev.as_ref() == Some(dev),
            Expected::NotBy(links) => !way.dev.as_ref().is_some_and(|dev| links.contains(dev)),
            Expected::Way(dev, gateway) => {
                let straight = way.gateway == Some(self.probe.query.to);
                way.kind == Kind::Unicast && way.dev.as_ref() == Some(dev) && (way.gateway == *gateway || straight)
            }
        }
    }

    pub(super) fn is_received(&self) -> bool {
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
    let causes = &causes(host);
    for policy in &host.plan.policies {
        let uplink = &host.plan.uplinks[policy.uplink];
        if uplink.up {
            host.policy(policy, uplink, causes, &mut found);
        }
    }
    host.others_policy(&mut found);
    host.shadowed(causes, &mut found);
    host.left_over(&mut found);
    host.duplicated(&mut found);
    host.without_address(&mut found);
    host.defaults(&mut found);
    host.unbound(causes, &mut found);
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

/// `RTPROT_RA` (linux/rtnetlink.h): from router advertisements.
const RTPROT_RA: u8 = 9;

const KEEP_SYSCTL: &str = "To keep it over a reboot, put 'NAME = VALUE' into /etc/sysctl.d/60-symroute.conf.";

/// The wrong lookups and what each comes of.
type Causes<'a> = [(&'a Asked, Cause)];

/// What answers do that do not leave by their uplink.
const LOST: &str = "What answers from an address of one provider through another is dropped there: connections from \
                    outside die, and those to the LAN may too.";
const UNBOUND: &str = "Whatever is not bound to an address finds no way out: name lookups, package updates, and servers \
                       that answer from a wildcard socket.";

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

    /// What no address is bound to, and nothing else explains.
    fn unbound(&self, causes: &Causes, found: &mut Vec<Finding>) {
        for family in [Family::Inet, Family::Inet6] {
            let unexplained = causes.iter().filter(|(asked, cause)| {
                asked.probe.uplink.is_none() && asked.probe.query.family() == family && *cause == Cause::Other
            });
            let wrong: Vec<&Asked> = unexplained.map(|it| it.0).collect();
            let said = found.iter().any(|finding| finding.id == "no-default" && finding.family == Some(family));
            let Some(happens) = self.what_happens(&wrong).filter(|_| !said) else { continue };
            let finding = Finding::error("wrong-way", happens, UNBOUND);
            let advice =
                format!("'symroute explain --to {}' shows which rule and route decide.", wrong[0].probe.query.to);
            found.push(Finding { family: Some(family), ..finding }.advice(advice));
        }
    }

    fn policy(&self, policy: &Policy, uplink: &Uplink, causes: &Causes, found: &mut Vec<Finding>) {
        let Some(status) = self.status.policies.iter().find(|status| status.uplink == policy.uplink) else { return };
        let own = || causes.iter().filter(|(asked, _)| asked.probe.uplink == Some(policy.uplink));
        let unexplained: Vec<&Asked> = own().filter(|(_, cause)| *cause == Cause::Other).map(|it| it.0).collect();
        let happens = self.what_happens(&unexplained).map_or(String::new(), |text| format!("; {text}"));
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
        let gone = || status.routes.iter().filter(|route| !route.in_place).map(|route| &route.item);
        // The kernel takes no second route of one key.
        let obstacle = |route: &Route| self.snapshot.routes.iter().find(|known| known.key() == route.key());
        let obstacle = |route: &Route| obstacle(route).filter(|known| !known.is_ours());
        let mut theirs: Vec<&Route> = gone().filter_map(obstacle).collect();
        let wrong_by_theirs = own().filter_map(|(asked, cause)| match cause {
            Cause::Route(route) => Some((*asked, route)),
            _ => None,
        });
        let (wrong, deciding): (Vec<&Asked>, Vec<&Route>) = wrong_by_theirs.unzip();
        for route in deciding {
            if !theirs.contains(&route) {
                theirs.push(route);
            }
        }
        if !theirs.is_empty() {
            let which = listed(theirs.iter().map(|route| quoted(route)));
            let happens = self.what_happens(&wrong).map_or(String::new(), |text| format!("; {text}"));
            let seen = format!("table {} of {label} has what symroute did not make: {which}{happens}", policy.table);
            let why = "The kernel takes the longest prefix of the table, whoever made it: what it leads elsewhere, or \
                       refuses, never leaves by the uplink.";
            let finding = Finding::error("route-foreign", seen, why).on(&uplink.interface, uplink.family);
            let mend = theirs.iter().map(|route| delete_route(route)).chain(apply());
            found.push(finding.mend(mend).advice(
                "If something needs that table for itself, give the uplink another one: 'symroute-table' in its stanza.",
            ));
        }
        let gone: Vec<&Route> = gone().filter(|route| obstacle(route).is_none()).collect();
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
        if found.len() > before || unexplained.is_empty() {
            return;
        }
        let (local, rest): (Vec<&Asked>, Vec<&Asked>) =
            unexplained.into_iter().partition(|asked| matches!(asked.probe.target, Target::Local(_)));
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
                // The table has it in a wider network of its own, and is asked before main.
                (Layout::Layered, _) => finding.mend(self.ways_of_main(&local, policy.table)).advice(
                    "To keep them, add them as 'post-up' lines where main's routes for these networks are made.",
                ),
            });
        }
        self.wrong_way(uplink, &rest, found);
    }

    /// The commands that give a table main's routes for the networks of these lookups.
    fn ways_of_main(&self, local: &[&Asked], table: u32) -> Vec<String> {
        let mut commands = Vec::new();
        for net in local.iter().filter_map(|asked| asked.probe.target.local()) {
            let main = |route: &&Route| route.table == MAIN && route.dst == net && route.more.is_none();
            let route = self.snapshot.routes.iter().filter(main).min_by_key(|route| route.metric);
            let command =
                route.map(|route| format!("{} route add {}", ip(route.family), Route { table, ..route.clone() }));
            commands.extend(command.filter(|command| !commands.contains(command)));
        }
        commands
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

    fn shadowed(&self, causes: &Causes, found: &mut Vec<Finding>) {
        let mut by_rule: Vec<(&Rule, Vec<&Asked>)> = Vec::new();
        for (asked, cause) in causes {
            let Cause::Rule(rule) = cause else { continue };
            match by_rule.iter_mut().find(|(known, _)| *known == rule) {
                Some((_, all)) => all.push(asked),
                None => by_rule.push((rule, vec![*asked])),
            }
        }
        // Moved in their own order, they keep it.
        by_rule.sort_by_key(|(rule, _)| self.snapshot.rules.iter().position(|known| known == *rule));
        for (rule, wrong) in by_rule {
            // A copy of one of ours at another priority is said to be that.
            if self.copied(rule).is_some() {
                continue;
            }
            let happens = self.what_happens(&wrong).unwrap_or_default();
            let named = owner(rule).map_or(String::new(), |owner| format!(" ({owner})"));
            let uplink = wrong.iter().find_map(|asked| asked.probe.uplink).map(|at| &self.plan.uplinks[at]);
            let whose = uplink.map_or("main's".to_string(), |uplink| format!("those of {}", uplink.label()));
            let seen = format!("the rule '{rule}'{named} comes before {whose} and answers: {happens}");
            let finding = Finding::error("rule-shadowed", seen, if uplink.is_some() { LOST } else { UNBOUND });
            let finding = match uplink {
                Some(uplink) => finding.on(&uplink.interface, uplink.family),
                None => Finding { family: Some(rule.family), ..finding },
            };
            let bound = wrong.iter().all(|asked| asked.probe.uplink.is_some());
            found.push(match move_behind(rule, self).filter(|_| bound) {
                Some(commands) => finding.mend(commands).advice(
                    "Behind symroute's it decides for whatever those leave. The program that made it puts it in front \
                     again when it starts next: 'symroute check --explain rule-shadowed' says what to do about that.",
                ),
                None => {
                    finding.mend(delete(rule, self.snapshot)).advice("If something needs it, it has to ask for less.")
                }
            });
        }
    }

    /// Uplinks that are not as their stanzas say: another finding tells about them.
    fn missed(&self) -> impl Iterator<Item = (usize, &Uplink)> {
        let all = self.by_files.iter().enumerate();
        all.filter(|(at, uplink)| {
            let link_is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            self.at_boot.contains(at) || link_is_up
        })
    }

    /// Is the rule for an address, or a link, that should be there?
    fn is_missed(&self, rule: &Rule) -> bool {
        let mut missed = self.missed().filter(|(_, uplink)| uplink.family == rule.family);
        missed.any(|(at, uplink)| match (&rule.src, &rule.oif) {
            (Some(src), _) => uplink.sources.iter().any(|source| source.net.addr() == src.addr()),
            (None, Some(oif)) => uplink.interface == *oif && !self.plan.uplinks[at].up,
            (None, None) => false,
        })
    }

    fn is_of_missed(&self, route: &Route) -> bool {
        let mut missed =
            self.missed().filter(|(at, uplink)| uplink.family == route.family && !self.plan.uplinks[*at].up);
        missed.any(|(_, uplink)| route.dev.as_ref() == Some(&uplink.interface))
    }

    /// Rules of ours that no uplink wants.
    fn left_over(&self, found: &mut Vec<Finding>) {
        let rules = self.status.left_over_rules.iter().filter(|rule| !self.is_missed(rule));
        let rules = rules.map(|rule| format!("'{rule}'"));
        let routes = self.status.left_over_routes.iter().filter(|route| !self.is_of_missed(route));
        let routes = routes.map(|route| format!("route '{route}'"));
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
            let finding = Finding::warning("rule-duplicated", seen, why).mend(delete(rule, self.snapshot));
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
            let finding = finding.mend(delete(rule, self.snapshot));
            found.push(Finding { family: Some(rule.family), ..finding });
        }
    }

    fn defaults(&self, found: &mut Vec<Finding>) {
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
            mend.extend(
                first.filter(|first| first.up && !self.has_default(first)).and_then(|first| self.add_default(first)),
            );
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
            found.push(Finding { at: Some(uplink.at), ..finding });
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
        let less = "There is one way out less than there should be.";
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
                    let finding = Finding::warning("uplink-down", seen, less).on(&uplink.interface, uplink.family);
                    let advice = "The cable, or what it leads to: nothing that a command here could mend.";
                    found.push(Finding { family: None, ..finding.advice(advice) });
                }
                continue;
            }
            if said("gateway-unknown") || said("address-missing") || !self.at_boot.contains(&at) {
                continue;
            }
            let seen = format!("{} is not up, though 'auto' brings it up at boot", uplink.label());
            let finding = Finding::warning("uplink-down", seen, less).on(&uplink.interface, uplink.family);
            let finding = Finding { at: Some(uplink.at), ..finding };
            found.push(match link {
                // ifupdown may take it for up: somebody else took it down.
                Some(_) => finding.mend([format!("ifdown --force {0}; ifup {0}", uplink.interface)]),
                None => finding.advice(format!(
                    "There is no link {}: the card is gone, or has another name now ('ip link').",
                    uplink.interface
                )),
            });
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
        if let Some(net) = asked.probe.target.local() {
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

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Way(dev, Some(gateway)) => format!("by {dev} via {gateway}"),
        Expected::Way(dev, None) => format!("straight by {dev}"),
        Expected::Dev(dev) => format!("by {dev}"),
        Expected::NotBy(_) => "by its own link".into(),
        Expected::Routable | Expected::Delivered => "at all".into(),
    }
}
