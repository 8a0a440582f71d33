//! Rules and tables: missing, stale, foreign, or with a lower precedence than a foreign rule.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;

use super::lookups::{describe, explain};
use super::{EFFECT_NO_SOURCE, EFFECT_WRONG_UPLINK, EFFECT_WRONG_UPLINKS, NOT_APPLIED, joined};
use crate::check::PolicyStatus;
use crate::check::expected::tables_before_main;
use crate::check::finding::Finding;
use crate::check::foreign::{
    FailedLookup, FailureCause, delete_route_command, delete_rule_commands, known_user, move_behind, quoted,
};
use crate::check::input::{CheckInput, ProbeResult};
use crate::check::matrix::Target;
use crate::interfaces::Severity;
use crate::network::{Family, Kind, MAIN, Route, Rule, prefix};
use crate::policy::Policy;
use crate::policy::difference::is_managed_by_lines;
use crate::sort::sort_by_key;
use crate::uplinks::{Layout, Origin, Uplink};

const LOG_OF_WATCH: &str = "journalctl -u symroute -n 20";
const NOTE_WATCH: &str =
    "symroute watch is running and adds missing routes by itself. If they stay missing, its log says why.";
const NOTE_DISAPPEAR: &str = "If they disappear again, another program removes them: 'ip monitor rule' shows when.";
const NOTE_ARTICLE: &str =
    "The layout 'article' has one rule for each address, and its table has no route to these networks.";
const NOTE_KEEP_ROUTES: &str = "To keep these routes, add them as 'post-up' lines to the stanza that adds the main \
                                table's routes to these networks.";

/// One policy, and what the findings about it share.
struct PolicyCheck<'a> {
    policy: &'a Policy,
    uplink: &'a Uplink,
    status: &'a PolicyStatus,
    /// The failed lookups of this uplink.
    failed: Vec<&'a FailedLookup<'a>>,
}

impl<'a> PolicyCheck<'a> {
    /// The failed lookups that no foreign entry explains.
    fn unexplained(&self) -> Vec<&'a ProbeResult> {
        let unknown = self.failed.iter().filter(|failed| failed.cause == FailureCause::Unknown);
        unknown.map(|failed| failed.result).collect()
    }

    fn error(&self, id: &'static str, summary: String, effect: impl Into<String>) -> Finding {
        let summary = format!("{}: {summary}", self.uplink.label());
        Finding::error(id, summary, effect).on(&self.uplink.interface, self.uplink.family)
    }

    fn missing_routes(&self) -> impl Iterator<Item = &'a Route> {
        self.status.routes.iter().filter(|route| !route.is_installed).map(|route| &route.item)
    }
}

impl CheckInput<'_> {
    /// Does the kernel have an entry that the plan needs, or that symroute added?
    pub(super) fn is_applied(&self) -> bool {
        let is_needed = |status: &PolicyStatus| {
            status.routes.iter().any(|route| route.is_installed) || status.rules.iter().any(|rule| rule.is_installed)
        };
        self.status.policies.is_empty()
            || self.status.policies.iter().any(is_needed)
            || self.snapshot.rules.iter().any(Rule::is_ours)
            || self.snapshot.routes.iter().any(Route::is_ours)
    }

    /// One finding for all uplinks: they have one cause.
    pub(super) fn find_not_applied(&self, failed: &[FailedLookup], found: &mut Vec<Finding>) {
        let uplinks = self.status.policies.iter().map(|status| &self.plan.uplinks[status.uplink]);
        let labels = joined(uplinks.map(Uplink::label));
        let of_uplinks: Vec<&ProbeResult> =
            failed.iter().map(|failed| failed.result).filter(|result| result.probe.uplink.is_some()).collect();
        let summary = format!("{labels}: tables and rules of symroute not installed{}", example(&of_uplinks));
        let finding = Finding::error(NOT_APPLIED, summary, EFFECT_WRONG_UPLINKS).fix(apply());
        let by_lines = self.plan.policies.iter().any(|policy| is_managed_by_lines(self.plan, policy));
        found.push(match self.facts.hooks || by_lines {
            true => {
                finding.note(format!("The interfaces may have come up before symroute was installed. {NOTE_DISAPPEAR}"))
            }
            false => finding.note(
                "Both the hooks and symroute-gen's lines are missing. To install tables and rules at every 'ifup', \
                 install the package or run 'symroute-gen --write'.",
            ),
        });
    }

    /// What differs from one policy, and local networks that its addresses do not reach.
    pub(super) fn find_policy_faults(
        &self,
        policy: &Policy,
        uplink: &Uplink,
        failed: &[FailedLookup],
        found: &mut Vec<Finding>,
    ) {
        let Some(status) = self.status.policies.iter().find(|status| status.uplink == policy.uplink) else { return };
        let failed = failed.iter().filter(|failed| failed.result.probe.uplink == Some(policy.uplink)).collect();
        let check = PolicyCheck { policy, uplink, status, failed };
        let before = found.len();
        found.extend(missing_rules(&check));
        found.extend(self.foreign_routes(&check));
        found.extend(self.missing_routes(&check));
        // An interface that is not in the group explains the failed lookups, too.
        let by_group = self.status.groups.iter().any(|group| !group.is_installed);
        if found.len() == before && !by_group {
            found.extend(self.unreached_networks(&check));
        }
    }

    /// The foreign route in whose place the kernel accepts no second one.
    fn obstacle(&self, route: &Route) -> Option<&Route> {
        let known = self.snapshot.routes.iter().find(|known| known.key() == route.key());
        known.filter(|known| !known.is_ours())
    }

    fn foreign_routes(&self, check: &PolicyCheck) -> Option<Finding> {
        let mut routes: Vec<&Route> = check.missing_routes().filter_map(|route| self.obstacle(route)).collect();
        let decided_by_foreign = check.failed.iter().filter_map(|failed| match &failed.cause {
            FailureCause::ForeignRoute(route) => Some((failed.result, route)),
            _ => None,
        });
        let (failed, deciding): (Vec<&ProbeResult>, Vec<&Route>) = decided_by_foreign.unzip();
        for route in deciding {
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        if routes.is_empty() {
            return None;
        }
        let noun = if routes.len() == 1 { "foreign route" } else { "foreign routes" };
        let listed = joined(routes.iter().map(|route| quoted(route)));
        let summary = format!("{noun} in table {}: {listed}{}", check.policy.table, example(&failed));
        let effect = "The route with the longest matching prefix decides, whoever added it. Packets to these \
                      destinations are rejected or take another route.";
        let fix = routes.iter().map(|route| delete_route_command(route)).chain(apply());
        Some(check.error("foreign-route", summary, effect).fix(fix).note(
            "If another program needs this table, set another table for the uplink: 'symroute-table' in its stanza.",
        ))
    }

    fn missing_routes(&self, check: &PolicyCheck) -> Option<Finding> {
        let missing: Vec<&Route> = check.missing_routes().filter(|route| self.obstacle(route).is_none()).collect();
        if missing.is_empty() {
            return None;
        }
        let table = check.policy.table;
        let in_table = |route: &&Route| route.table == table && route.family == check.uplink.family;
        let is_empty = !self.snapshot.routes.iter().any(|route| in_table(&route));
        let example = example(&check.unexplained());
        let (id, summary) = match is_empty {
            true => ("table-empty", format!("table {table} is empty{example}")),
            false => {
                let listed = joined(missing.iter().map(|route| format!("'{route}'")));
                let (count, needed) = (missing.len(), check.status.routes.len());
                ("table-stale", format!("{count} of {needed} routes missing in table {table}: {listed}{example}"))
            }
        };
        let effect = format!(
            "The kernel deletes routes when an interface loses its last address or goes down, but keeps rules. Lookups \
             then fall through to the main table. {EFFECT_WRONG_UPLINK}"
        );
        let finding = check.error(id, summary, effect);
        Some(match &self.facts.watch {
            None => finding.fix(apply()),
            Some(_) => finding.fix([LOG_OF_WATCH.to_string()]).note(NOTE_WATCH),
        })
    }

    fn unreached_networks(&self, check: &PolicyCheck) -> Option<Finding> {
        let local: Vec<&ProbeResult> =
            check.unexplained().into_iter().filter(|result| matches!(result.probe.target, Target::Local(_))).collect();
        let first = local.first()?;
        let summary = format!("wrong route to {}{}", joined(networks_of(&local)), example(&local));
        let effect = "Hosts in these networks (a LAN, a VPN, containers) get no reply from this uplink's addresses.";
        let finding = check.error("local-network-unreachable", summary, effect);
        Some(match (check.policy.layout, check.uplink.overrides.layout) {
            (Layout::Article, Some(_)) => Finding { location: Some(check.uplink.location), ..finding }.note(format!(
                "{NOTE_ARTICLE} Remove 'symroute-layout article' from the stanza, then run 'symroute apply' (or \
                 'symroute-gen --write' if the stanza has a block).",
            )),
            (Layout::Article, None) => finding
                .fix(["symroute-gen --layout layered --write".to_string(), "symroute apply".to_string()])
                .note(NOTE_ARTICLE),
            // The table has a route to a wider network, and is looked up before main.
            (Layout::Layered, _) => match self.copy_routes_of_main(&local, check.policy.table) {
                commands if commands.is_empty() => finding.note(explain(&first.probe.query)),
                commands => finding.fix(commands).note(NOTE_KEEP_ROUTES),
            },
        })
    }

    /// Networks that an address with manual policy routing does not reach: its table has no route to them.
    pub(super) fn find_unreached_by_manual(&self, failed: &[FailedLookup], found: &mut Vec<Finding>) {
        for (index, uplink) in self.plan.uplinks.iter().enumerate().filter(|(_, uplink)| uplink.is_manual) {
            let of_uplink =
                failed.iter().map(|failed| failed.result).filter(|result| result.probe.uplink == Some(index));
            let local: Vec<&ProbeResult> =
                of_uplink.filter(|result| matches!(result.probe.target, Target::Local(_))).collect();
            let Some(first) = local.first() else { continue };
            let networks = joined(networks_of(&local));
            let summary = format!("{}: wrong route to {networks}{}", uplink.label(), example(&local));
            let effect = "The manual policy routing has no route to these networks. Hosts there get no reply from this \
                          uplink's addresses.";
            let finding =
                Finding::error("local-network-unreachable", summary, effect).on(&uplink.interface, uplink.family);
            let tables: BTreeSet<u32> = local.iter().filter_map(|result| result.table()).collect();
            let copy_into = |table: u32| {
                let of_table: Vec<&ProbeResult> =
                    local.iter().copied().filter(|result| result.table() == Some(table)).collect();
                self.copy_routes_of_main(&of_table, table)
            };
            let fix: Vec<String> = tables.into_iter().filter(|table| *table != MAIN).flat_map(copy_into).collect();
            let finding = match fix.is_empty() {
                true => finding.note(explain(&first.probe.query)),
                false => finding.fix(fix).note(format!(
                    "{NOTE_KEEP_ROUTES} Or let symroute manage the uplink: see 'symroute check --explain manual-leaks'."
                )),
            };
            found.push(Finding { location: Some(uplink.location), ..finding });
        }
    }

    /// The commands that copy into a table the routes that main, or a foreign table before it, has for the networks of
    /// these lookups. A route of the table for the same network stays: the kernel accepts no second one.
    fn copy_routes_of_main(&self, local: &[&ProbeResult], table: u32) -> Vec<String> {
        let of_uplinks: Vec<u32> = self.plan.policies.iter().map(|policy| policy.table).collect();
        let mut commands = Vec::new();
        for result in local {
            let Some(net) = result.probe.target.local() else { continue };
            let family = result.probe.query.family();
            let is_plain = |route: &&Route| route.kind() == Kind::Unicast && route.dev.is_some();
            let of_net = || self.snapshot.routes.iter().filter(|route| route.dst == net);
            let best = |table: u32| {
                of_net().filter(|route| route.table == table).filter(is_plain).min_by_key(|route| route.metric)
            };
            let before_main =
                tables_before_main(self.snapshot, family, &of_uplinks).into_iter().map(|(table, _)| table);
            let route = before_main.chain([MAIN]).find_map(best);
            let command = route
                .filter(|_| of_net().all(|route| route.table != table))
                .map(|route| format!("{} route add {}", route.family.ip(), Route { table, ..route.clone() }));
            commands.extend(command.filter(|command| !commands.contains(command)));
        }
        commands
    }

    /// What is wrong in manual policy routing. Hints are shown by 'symroute plan'.
    pub(super) fn find_manual_errors(&self, found: &mut Vec<Finding>) {
        let effect = "Such lines abort 'ifup', leave entries behind, or route packets through the wrong uplink. This \
                      appears when the interface goes down and up, or at the next boot.";
        for diagnostic in self.manual.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning) {
            let finding = diagnostic.id.map(|id| Finding::warning(id, diagnostic.message.clone(), effect));
            let finding = finding.map(|finding| finding.note(diagnostic.help.clone()));
            found.extend(finding.map(|finding| Finding { location: diagnostic.location, ..finding }));
        }
    }

    pub(super) fn find_shadowing_rules(&self, failed: &[FailedLookup], found: &mut Vec<Finding>) {
        let mut by_rule: Vec<(&Rule, Vec<&ProbeResult>)> = Vec::new();
        for FailedLookup { result, cause } in failed {
            let FailureCause::ForeignRule(rule) = cause else { continue };
            match by_rule.iter_mut().find(|(known, _)| *known == rule) {
                Some((_, results)) => results.push(result),
                None => by_rule.push((rule, vec![*result])),
            }
        }
        // The commands keep the order of the rules.
        sort_by_key(&mut by_rule, |(rule, _)| self.snapshot.rules.iter().position(|known| known == *rule));
        // 'rule-duplicated' reports copies of symroute's rules.
        by_rule.retain(|(rule, _)| self.copied_rule(rule).is_none());
        found.extend(by_rule.into_iter().map(|(rule, results)| self.shadowing_rule(rule, &results)));
    }

    fn shadowing_rule(&self, rule: &Rule, failed: &[&ProbeResult]) -> Finding {
        let uplink = failed.iter().find_map(|result| result.probe.uplink).map(|index| &self.plan.uplinks[index]);
        let later = uplink.map_or("main's".to_string(), |uplink| format!("those of {}", uplink.label()));
        let user = known_user(rule).map_or(String::new(), |user| format!(" ({user})"));
        let summary =
            format!("rule '{rule}'{user} has a higher precedence than {later} and matches first{}", example(failed));
        let effect = if uplink.is_some() { EFFECT_WRONG_UPLINK } else { EFFECT_NO_SOURCE };
        let finding = Finding::error("rule-shadowed", summary, effect);
        let finding = match uplink {
            Some(uplink) => finding.on(&uplink.interface, uplink.family),
            None => Finding { family: Some(rule.family), ..finding },
        };
        let has_source = failed.iter().all(|result| result.probe.uplink.is_some());
        match move_behind(rule, self).filter(|_| has_source) {
            Some(commands) => finding.fix(commands).note(
                "The moved rule still matches packets that symroute's rules do not match. The program that added it \
                 may add it in front again at its next start: see 'symroute check --explain rule-shadowed'.",
            ),
            None => finding
                .fix(delete_rule_commands(rule, self.snapshot))
                .note("If a program needs this rule, restrict the rule to the packets of that program."),
        }
    }

    /// Uplinks that are not as in their stanzas: another finding reports them.
    pub(super) fn differing_uplinks(&self) -> impl Iterator<Item = (usize, &Uplink)> {
        let uplinks = self.by_files.iter().enumerate();
        uplinks.filter(|(_, uplink)| uplink.origin != Origin::Main).filter(|(index, uplink)| {
            let link_is_up = self.snapshot.link(&uplink.interface).is_some_and(|link| link.up);
            self.at_boot.contains(index) || link_is_up
        })
    }

    /// Is the rule for an address, or an interface, that should be there?
    fn is_rule_of_differing(&self, rule: &Rule) -> bool {
        let mut uplinks = self.differing_uplinks().filter(|(_, uplink)| uplink.family == rule.family);
        uplinks.any(|(index, uplink)| match (&rule.src, &rule.oif) {
            (Some(src), _) => uplink.sources.iter().any(|source| source.net.addr() == src.addr()),
            (None, Some(oif)) => uplink.interface == *oif && !self.plan.uplinks[index].up,
            (None, None) => false,
        })
    }

    fn is_route_of_differing(&self, route: &Route) -> bool {
        let mut uplinks = self
            .differing_uplinks()
            .filter(|(index, uplink)| uplink.family == route.family && !self.plan.uplinks[*index].up);
        uplinks.any(|(_, uplink)| route.dev.as_ref() == Some(&uplink.interface))
    }

    /// Rules and routes that symroute added, and that no active uplink needs.
    pub(super) fn find_stale_entries(&self, found: &mut Vec<Finding>) {
        let rules = self.status.stale_rules.iter().filter(|rule| !self.is_rule_of_differing(rule));
        let rules = rules.map(|rule| format!("rule '{rule}'"));
        let routes = self.status.stale_routes.iter().filter(|route| !self.is_route_of_differing(route));
        let routes = routes.map(|route| format!("route '{route}'"));
        let entries: Vec<String> = rules.chain(routes).collect();
        if !entries.is_empty() {
            let summary = format!("stale entries (added by symroute, no longer needed): {}", joined(entries));
            let effect = "They route packets according to an earlier configuration.";
            found.push(Finding::warning("rule-stale", summary, effect).fix(apply()));
        }
    }

    /// The planned rule that a foreign one repeats at another priority, or with another protocol.
    fn copied_rule(&self, rule: &Rule) -> Option<&Rule> {
        let active = self.plan.policies.iter().filter(|policy| self.plan.uplinks[policy.uplink].up);
        let mut planned = active.flat_map(|policy| &policy.rules).map(|placed| &placed.item);
        planned.find(|planned| {
            let moved = Rule { priority: planned.priority, protocol: planned.protocol, ..rule.clone() };
            &moved == *planned
        })
    }

    pub(super) fn find_duplicated_rules(&self, failed: &[FailedLookup], found: &mut Vec<Finding>) {
        let by_lines: Vec<&Rule> = self
            .status
            .policies
            .iter()
            .filter(|status| self.plan.uplinks[status.uplink].written.is_some_and(|written| written.lines))
            .flat_map(|status| status.rules.iter().map(|rule| &rule.item))
            .collect();
        let mut seen_before: Vec<&Rule> = Vec::new();
        for rule in &self.snapshot.rules {
            let is_repeated = seen_before.contains(&rule);
            seen_before.push(rule);
            let Some(planned) = self.copied_rule(rule) else { continue };
            let is_needed =
                rule.same_as(planned) && (rule.is_ours() || by_lines.iter().any(|written| rule.same_as(written)));
            if is_needed && !is_repeated {
                continue;
            }
            let summary = format!("rule '{rule}' repeats symroute's rule with priority {}", planned.priority);
            let effect = "The copy stays after 'ifdown' and then points to an empty table. With a higher precedence, \
                          it cuts the address off from LAN, VPN and containers.";
            let decides =
                |failed: &FailedLookup| matches!(&failed.cause, FailureCause::ForeignRule(known) if known == rule);
            let severity = if failed.iter().any(decides) { Severity::Error } else { Severity::Warning };
            let fix = delete_rule_commands(rule, self.snapshot);
            let finding = Finding::warning("rule-duplicated", summary, effect).fix(fix).note(
                "Remove the line or the script that adds it. 'up ip rule add' without a priority adds another copy at \
                 every 'ifup'.",
            );
            found.push(Finding { family: Some(rule.family), severity, ..finding });
        }
    }

    /// Rules for an address that the host does not have, into a table of an uplink.
    pub(super) fn find_rules_without_address(&self, found: &mut Vec<Finding>) {
        let tables: FxHashSet<(Family, u32)> =
            self.plan.policies.iter().map(|policy| (self.plan.uplinks[policy.uplink].family, policy.table)).collect();
        for rule in self.snapshot.rules.iter().filter(|rule| !rule.is_ours()) {
            let Some(src) = rule.src.filter(|src| src.prefix_len() == src.max_prefix_len()) else { continue };
            let is_of_host = self.snapshot.addresses.iter().any(|address| address.net.addr() == src.addr());
            if is_of_host || !tables.contains(&(rule.family, rule.table)) {
                continue;
            }
            let summary = format!("rule '{rule}': no interface has the address {}", src.addr());
            let effect = "If another host, a container for example, now has this address, the packets that this host \
                          forwards for it use the uplink's table.";
            let finding = Finding::warning("rule-without-address", summary, effect);
            let finding = finding.fix(delete_rule_commands(rule, self.snapshot));
            found.push(Finding { family: Some(rule.family), ..finding });
        }
    }
}

fn apply() -> [String; 1] {
    ["symroute apply".to_string()]
}

/// `; packets from A to B leave through DEV via GATEWAY` for one of the failed lookups; nothing if there are none.
fn example(failed: &[&ProbeResult]) -> String {
    describe(failed).map_or(String::new(), |text| format!("; {text}"))
}

fn missing_rules(check: &PolicyCheck) -> Option<Finding> {
    let missing: Vec<&Rule> =
        check.status.rules.iter().filter(|rule| !rule.is_installed).map(|rule| &rule.item).collect();
    if missing.is_empty() {
        return None;
    }
    let listed = joined(missing.iter().map(|rule| format!("'{rule}'")));
    let (count, needed) = (missing.len(), check.status.rules.len());
    let summary = format!("{count} of {needed} rules missing: {listed}{}", example(&check.unexplained()));
    let finding = check.error("rule-missing", summary, EFFECT_WRONG_UPLINK).fix(apply());
    Some(finding.note(format!("{NOTE_DISAPPEAR} The other findings may name the program.")))
}

fn networks_of(failed: &[&ProbeResult]) -> Vec<String> {
    let mut networks: Vec<String> = Vec::new();
    for net in failed.iter().filter_map(|result| result.probe.target.local()) {
        let net = prefix(&net);
        if !networks.contains(&net) {
            networks.push(net);
        }
    }
    networks
}
