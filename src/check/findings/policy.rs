//! Rules and tables: what is missing, stale, in the way, left over, or written by hand.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Asked, Causes, Host, LOST, UNBOUND, listed};
use crate::check::finding::Finding;
use crate::check::foreign::{Cause, add, delete, delete_route, ip, move_behind, owner, quoted};
use crate::check::matrix::{Expected, Target};
use crate::interfaces::{Family, Severity};
use crate::policy::Policy;
use crate::snapshot::{Kind, MAIN, Route, Rule, prefix};
use crate::uplinks::{Layout, Uplink};

impl Host<'_> {
    /// What no address is bound to, and nothing else explains.
    pub(super) fn unbound(&self, causes: &Causes, found: &mut Vec<Finding>) {
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

    pub(super) fn policy(&self, policy: &Policy, uplink: &Uplink, causes: &Causes, found: &mut Vec<Finding>) {
        let Some(status) = self.status.policies.iter().find(|status| status.uplink == policy.uplink) else { return };
        let own = || {
            let own = causes.iter().filter(|(asked, _)| asked.probe.uplink == Some(policy.uplink));
            own.filter(|(asked, _)| asked.probe.target != Target::Elsewhere)
        };
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
        // An interface that is not in the group is why.
        let by_group = self.status.groups.iter().any(|group| !group.in_place);
        if found.len() > before || unexplained.is_empty() || by_group {
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

    /// Addresses of the uplink's network that another link has, and that main's default route answers for.
    pub(super) fn elsewhere(&self, policy: &Policy, uplink: &Uplink, causes: &Causes, found: &mut Vec<Finding>) {
        let missed = |from: &IpAddr| {
            let mut by_files = self.by_files.iter().flat_map(|uplink| &uplink.sources);
            by_files.any(|source| source.net.addr() == *from)
        };
        let wrong = causes.iter().filter(|(asked, cause)| {
            let here = (asked.probe.uplink, asked.probe.target) == (Some(policy.uplink), Target::Elsewhere);
            here && *cause == Cause::Other && !asked.probe.query.from.is_some_and(|from| missed(&from))
        });
        let wrong: Vec<&Asked> = wrong.map(|it| it.0).collect();
        let Some(happens) = self.what_happens(&wrong) else { return };
        let (dev, ip) = (&uplink.interface, ip(uplink.family));
        let from: Vec<IpAddr> = wrong.iter().filter_map(|asked| asked.probe.query.from).collect();
        let on = |from: &IpAddr| self.snapshot.addresses.iter().find(|known| known.net.addr() == *from);
        let which = listed(from.iter().filter_map(on).map(|known| format!("{} on {}", known.net.addr(), known.dev)));
        let seen = format!("in a network of {}, but not on {dev}: {which}; {happens}", uplink.label());
        let why = format!("symroute makes rules for the addresses that an uplink's own link has. {LOST}");
        let finding = Finding::warning("address-elsewhere", seen, why).on(dev, uplink.family);
        found.push(match uplink.family == Family::Inet && self.facts.arp_ignore(dev) > 0 {
            false => {
                // Not preferred: the host's own connections keep the address that they come from.
                let (length, how) = if uplink.family == Family::Inet6 { (128, " preferred_lft 0") } else { (32, "") };
                let add = |from: &IpAddr| format!("{ip} addr replace {from}/{length} dev {dev}{how}");
                finding.mend(from.iter().map(add).chain(["symroute apply".to_string()])).advice(format!(
                    "To keep it, write the same after an 'up' into the stanza of {}. Who has it already keeps it: an \
                     address may be on two links. If no connection ever comes to it from outside, leave it out: \
                     '--ignore address-elsewhere:{dev}'.",
                    uplink.label()
                ))
            }
            true => {
                let rules = policy.rules.iter().map(|placed| &placed.item).filter(|rule| rule.src.is_some());
                let mut kinds: Vec<&Rule> = Vec::new();
                for rule in rules {
                    if !kinds.iter().any(|known| known.priority == rule.priority) {
                        kinds.push(rule);
                    }
                }
                // Behind the uplink's own, in what is set aside for it.
                let behind = |from: IpAddr, rule: &Rule| Rule {
                    src: Some(from.into()),
                    priority: rule.priority + 4,
                    protocol: 0,
                    ..rule.clone()
                };
                let rules = from.iter().flat_map(|from| kinds.iter().map(|rule| behind(*from, rule)));
                finding.mend(rules.map(|rule| add(&rule))).advice(format!(
                    "arp_ignore is set on {dev}, so it may have to be silent about this address, as the servers behind \
                     a load balancer are: it is not given to {dev}. The rules go at the next boot: 'symroute check \
                     --explain address-elsewhere' says how to keep them."
                ))
            }
        });
    }

    /// The commands that give a table main's routes for the networks of these lookups.
    fn ways_of_main(&self, local: &[&Asked], table: u32) -> Vec<String> {
        let mut commands = Vec::new();
        for net in local.iter().filter_map(|asked| asked.probe.target.local()) {
            let plain = |route: &&Route| route.kind() == Kind::Unicast && route.dev.is_some();
            let main = |route: &&Route| route.table == MAIN && route.dst == net && plain(route);
            let route = self.snapshot.routes.iter().filter(main).min_by_key(|route| route.metric);
            let command =
                route.map(|route| format!("{} route add {}", ip(route.family), Route { table, ..route.clone() }));
            commands.extend(command.filter(|command| !commands.contains(command)));
        }
        commands
    }

    /// Uplinks whose policy is not ours, because it was written by hand.
    pub(super) fn others_policy(&self, found: &mut Vec<Finding>) {
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
    pub(super) fn by_hand(&self, found: &mut Vec<Finding>) {
        let why = "Policy by hand that ifup stops at, that stays behind or that leads elsewhere shows when an interface \
                   goes down and up again, or at the next boot.";
        for diagnostic in self.by_hand.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning) {
            let finding = diagnostic.id.map(|id| Finding::warning(id, diagnostic.message.clone(), why));
            let finding = finding.map(|finding| finding.advice(diagnostic.help.clone()));
            found.extend(finding.map(|finding| Finding { at: diagnostic.at, ..finding }));
        }
    }

    pub(super) fn shadowed(&self, causes: &Causes, found: &mut Vec<Finding>) {
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
    pub(super) fn left_over(&self, found: &mut Vec<Finding>) {
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

    pub(super) fn duplicated(&self, found: &mut Vec<Finding>) {
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
    pub(super) fn without_address(&self, found: &mut Vec<Finding>) {
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
}

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

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Way(dev, Some(gateway)) => format!("by {dev} via {gateway}"),
        Expected::Way(dev, None) => format!("straight by {dev}"),
        Expected::Dev(dev) => format!("by {dev}"),
        Expected::NotBy(_) => "by its own link".into(),
        Expected::Routable | Expected::Delivered => "at all".into(),
    }
}
