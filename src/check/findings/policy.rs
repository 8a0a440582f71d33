//! Rules and tables: what is missing, stale, in the way, left over, or written by hand.

use std::collections::HashSet;

use super::lookups::explain;
use super::{Asked, Causes, Host, LOST, NOT_APPLIED, UNBOUND, listed};
use crate::check::PolicyStatus;
use crate::check::expected::tables_before_main;
use crate::check::finding::Finding;
use crate::check::foreign::{Cause, delete, delete_route, ip, move_behind, owner, quoted};
use crate::check::matrix::Target;
use crate::interfaces::{Family, Severity};
use crate::policy::Policy;
use crate::policy::difference::by_lines;
use crate::snapshot::{Kind, MAIN, Route, Rule, prefix};
use crate::uplinks::{Layout, Origin, Uplink};

impl Host<'_> {
    /// Has the kernel anything that the plan needs, or that symroute added?
    pub(super) fn is_applied(&self) -> bool {
        let is_needed = |status: &PolicyStatus| {
            status.routes.iter().any(|route| route.in_place) || status.rules.iter().any(|rule| rule.in_place)
        };
        self.status.policies.is_empty()
            || self.status.policies.iter().any(is_needed)
            || self.snapshot.rules.iter().any(Rule::is_ours)
            || self.snapshot.routes.iter().any(Route::is_ours)
    }

    /// One cause for all uplinks.
    pub(super) fn not_applied(&self, causes: &Causes, found: &mut Vec<Finding>) {
        let uplinks = self.status.policies.iter().map(|status| &self.plan.uplinks[status.uplink]);
        let labels: Vec<String> = uplinks.map(Uplink::label).collect();
        let wrong: Vec<&Asked> =
            causes.iter().filter(|(asked, _)| asked.probe.uplink.is_some()).map(|it| it.0).collect();
        let happens = self.what_happens(&wrong).map_or(String::new(), |text| format!("; {text}"));
        let seen = format!("no table and no rule of symroute is installed for {}{happens}", listed(labels));
        let finding = Finding::error(NOT_APPLIED, seen, LOST).mend(["symroute apply".to_string()]);
        let by_lines = self.plan.policies.iter().any(|policy| by_lines(self.plan, policy));
        found.push(match self.facts.hooks || by_lines {
            true => finding.advice(
                "If they disappear again, another program removes them: watch 'ip monitor rule'. Otherwise the interfaces \
                 came up before symroute was installed.",
            ),
            false => finding.advice(
                "Neither the hooks nor lines of symroute-gen are there: to install the tables and rules at every 'ifup', \
                 install the package, or run 'symroute-gen --write'.",
            ),
        });
    }

    pub(super) fn policy(&self, policy: &Policy, uplink: &Uplink, causes: &Causes, found: &mut Vec<Finding>) {
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
        // An interface that is not in the group is why.
        let by_group = self.status.groups.iter().any(|group| !group.in_place);
        if found.len() > before || unexplained.is_empty() || by_group {
            return;
        }
        let local: Vec<&Asked> =
            unexplained.into_iter().filter(|asked| matches!(asked.probe.target, Target::Local(_))).collect();
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
                (Layout::Layered, _) => match self.ways_of_main(&local, policy.table) {
                    ways if ways.is_empty() => finding.advice(explain(&local[0].probe.query)),
                    ways => finding.mend(ways).advice(
                        "To keep them, add them as 'post-up' lines where main's routes for these networks are made.",
                    ),
                },
            });
        }
    }

    /// The commands that give a table the routes that main, or a foreign table before it, has for the networks of these
    /// lookups. A route of the table for the same network stays: the kernel takes no second one.
    fn ways_of_main(&self, local: &[&Asked], table: u32) -> Vec<String> {
        let of_uplinks: Vec<u32> = self.plan.policies.iter().map(|policy| policy.table).collect();
        let mut commands = Vec::new();
        for asked in local {
            let Some(net) = asked.probe.target.local() else { continue };
            let family = asked.probe.query.family();
            let plain = |route: &&Route| route.kind() == Kind::Unicast && route.dev.is_some();
            let of_net = || self.snapshot.routes.iter().filter(|route| route.dst == net);
            let best = |table: u32| {
                of_net().filter(|route| route.table == table).filter(plain).min_by_key(|route| route.metric)
            };
            let before_main =
                tables_before_main(self.snapshot, family, &of_uplinks).into_iter().map(|(table, _)| table);
            let route = before_main.chain([MAIN]).find_map(best);
            let command = route
                .filter(|_| of_net().all(|route| route.table != table))
                .map(|route| format!("{} route add {}", ip(route.family), Route { table, ..route.clone() }));
            commands.extend(command.filter(|command| !commands.contains(command)));
        }
        commands
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
    pub(super) fn missed(&self) -> impl Iterator<Item = (usize, &Uplink)> {
        let all = self.by_files.iter().enumerate();
        all.filter(|(_, uplink)| uplink.origin != Origin::Main).filter(|(at, uplink)| {
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
