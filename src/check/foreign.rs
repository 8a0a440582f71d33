//! Foreign rules and routes: which of them decides a failed lookup, and the commands that move or delete it.
//! symroute itself changes none of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::input::{CheckInput, ProbeResult};
use crate::network::deletion::would_delete;
use crate::network::lookup::{Outcome, RuleVerdict, lookup};
use crate::network::{Action, Family, Kind, LOCAL, LookupContext, MAIN, Route, Rule, RuleExtras, Snapshot};
use crate::policy::numbers::PRIORITIES_PER_UPLINK;

/// A failed lookup for packets that the host sends, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedLookup<'a> {
    pub result: &'a ProbeResult,
    pub cause: FailureCause,
}

/// Why a lookup failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureCause {
    /// A foreign rule that is evaluated before symroute's, or that skips them.
    ForeignRule(Rule),
    /// A foreign route in the uplink's table.
    ForeignRoute(Route),
    /// The default route of the main table rejects packets.
    MainDefault,
    /// None of these: an entry of symroute's is missing, most likely.
    Unknown,
}

/// The failed lookups for packets that the host sends, each with its cause.
pub fn failed_lookups<'a>(input: &CheckInput<'a>) -> Vec<FailedLookup<'a>> {
    let failed: Vec<&ProbeResult> =
        input.results.iter().filter(|result| !result.is_ok() && !result.is_received()).collect();
    // Of a hundred thousand routes, few match these destinations.
    let destinations: BTreeSet<IpAddr> = failed.iter().map(|result| result.probe.query.to).collect();
    let is_relevant = |route: &Route| route.table == LOCAL || destinations.iter().any(|to| route.dst.contains(to));
    let relevant = match failed.is_empty() {
        true => Snapshot::default(),
        false => Snapshot {
            routes: input.snapshot.routes.iter().filter(|route| is_relevant(route)).cloned().collect(),
            links: input.snapshot.links.clone(),
            addresses: input.snapshot.addresses.clone(),
            rules: input.snapshot.rules.clone(),
            ..Snapshot::default()
        },
    };
    let with_cause = |result| FailedLookup { result, cause: find_cause(input, &relevant, result) };
    failed.into_iter().map(with_cause).collect()
}

fn find_cause(input: &CheckInput, snapshot: &Snapshot, result: &ProbeResult) -> FailureCause {
    let policy = result.probe.uplink.and_then(|index| input.plan.policy(index));
    if result.probe.uplink.is_some() && policy.is_none() {
        return FailureCause::Unknown;
    }
    let lookup = lookup(snapshot, &LookupContext::default(), &result.probe.query);
    let decided = match &lookup.outcome {
        Outcome::Route { step, .. } => Some(*step),
        Outcome::Rejected { step, .. } => *step,
        Outcome::OnLink { .. } | Outcome::Unknown(_) => None,
    };
    let planned = || input.plan.policies.iter().flat_map(|policy| &policy.rules);
    let is_foreign_before = |rule: &Rule| {
        let is_before =
            policy.map_or(rule.table != MAIN, |policy| rule.priority < policy.priority + PRIORITIES_PER_UPLINK);
        rule.priority != 0 && is_before && !planned().any(|placed| rule.same_as(&placed.item))
    };
    let is_goto = |verdict: &RuleVerdict| matches!(verdict, RuleVerdict::Goto(_));
    let goto = lookup.steps.iter().find(|step| is_goto(&step.verdict) && is_foreign_before(&step.rule));
    let decider = decided.and_then(|step| lookup.steps.get(step));
    if let Some(step) = decider.filter(|step| is_foreign_before(&step.rule)).or(goto) {
        return FailureCause::ForeignRule(step.rule.clone());
    }
    let foreign_route = lookup.steps.iter().find_map(|step| match &step.verdict {
        RuleVerdict::Throw(route) | RuleVerdict::Route(route) | RuleVerdict::Rejected(Some(route), _) => {
            let policy = policy.filter(|policy| policy.table == route.table && !route.is_ours())?;
            (!policy.routes.iter().any(|placed| route.same_as(&placed.item))).then_some(route)
        }
        _ => None,
    });
    match (foreign_route, decider.map(|step| &step.verdict)) {
        (Some(route), _) => FailureCause::ForeignRoute(route.clone()),
        (None, Some(RuleVerdict::Rejected(Some(route), _))) if route.table == MAIN && route.dst.prefix_len() == 0 => {
            FailureCause::MainDefault
        }
        _ => FailureCause::Unknown,
    }
}

fn protocol_words(number: u8, keyword: &str) -> String {
    if number == 0 { String::new() } else { format!(" {keyword} {number}") }
}

fn extras(rule: &Rule) -> RuleExtras {
    rule.extras.as_deref().cloned().unwrap_or_default()
}

/// `ip rule del` names every action but a lookup.
fn named_action(rule: &Rule) -> Option<Action> {
    Some(extras(rule).action).filter(|action| *action != Action::Lookup)
}

fn add_rule_command(rule: &Rule) -> String {
    format!("{} rule add {rule}{}", rule.family.ip(), protocol_words(rule.protocol, "protocol"))
}

/// The commands that delete exactly this rule. `ip rule del` deletes the first rule that matches its selectors: an
/// earlier rule that it would delete instead is added again.
pub fn delete_rule_commands(rule: &Rule, snapshot: &Snapshot) -> Vec<String> {
    let before = snapshot.rules.iter().take_while(|known| *known != rule);
    let deleted_first: Vec<&Rule> = before.filter(|known| would_delete(rule, named_action(rule), known)).collect();
    let command = format!("{} rule del {rule}{}", rule.family.ip(), protocol_words(rule.protocol, "protocol"));
    let mut commands = vec![command; deleted_first.len() + 1];
    commands.extend(deleted_first.iter().filter(|known| !known.is_ours()).map(|known| add_rule_command(known)));
    commands.extend(deleted_first.iter().any(|known| known.is_ours()).then(|| "symroute apply".to_string()));
    commands
}

/// The commands that give a foreign rule a lower precedence than all of symroute's; nothing if it would have no use
/// there.
pub fn move_behind(rule: &Rule, input: &CheckInput) -> Option<Vec<String>> {
    let of_family = |policy: &&crate::policy::Policy| input.plan.uplinks[policy.uplink].family == rule.family;
    let last =
        input.plan.policies.iter().filter(of_family).map(|policy| policy.priority + PRIORITIES_PER_UPLINK).max()?;
    // Before all rules that follow, to keep the order of the foreign rules.
    let rules = input.snapshot.rules.iter().filter(|known| known.family == rule.family && known.priority >= last);
    let priority = rules.map(|known| known.priority).min().unwrap_or(32_766).checked_sub(1)?;
    let is_useful = match extras(rule).action {
        Action::Lookup => true,
        Action::Goto(target) => target > priority,
        _ => false,
    };
    let moved = Rule { priority, ..rule.clone() };
    let commands =
        || std::iter::once(add_rule_command(&moved)).chain(delete_rule_commands(rule, input.snapshot)).collect();
    (is_useful && priority >= last).then(commands)
}

/// A route as `ip route del` accepts it; the main table is its default.
fn route_words(route: &Route) -> String {
    let unset = if route.family == Family::Inet6 { [0, crate::network::INET6_METRIC] } else { [0, 0] };
    let metric = if unset.contains(&route.metric) { String::new() } else { format!(" metric {}", route.metric) };
    let words = match route.kind() {
        Kind::Unicast => route.to_string(),
        kind => format!("{} {}", kind.name(), Route { dev: None, ..route.clone() }),
    };
    words.strip_suffix(" table main").unwrap_or(&words).to_string() + &metric
}

/// `'blackhole 203.0.113.0/24 table 2'`.
pub fn quoted(route: &Route) -> String {
    format!("'{}'", route_words(route))
}

pub fn delete_route_command(route: &Route) -> String {
    format!("{} route del {}{}", route.family.ip(), route_words(route), protocol_words(route.protocol, "proto"))
}

/// Which program may have added the rule: its known protocol, priority or table.
pub fn known_user(rule: &Rule) -> Option<&'static str> {
    Some(match (rule.priority, rule.table, rule.protocol) {
        (_, _, 18) => "keepalived uses protocol 18",
        (_, _, 3) => "added at boot: protocol 3",
        (5200..=5299, ..) => "Tailscale uses priorities 5200 to 5299",
        (1000, _, _) => "VRFs use priority 1000",
        (30200..=30499, ..) => "nm-cloud-setup uses priorities 30200 to 30499",
        (_, 51820, _) => "wg-quick uses table 51820",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{RouteExtras, RouteState};

    #[test]
    fn only_the_main_table_is_left_out() {
        let route = |table, kind| Route {
            family: Family::Inet,
            table,
            dst: "203.0.113.0/24".parse().unwrap(),
            gateway: None,
            dev: Some("eth0".into()),
            scope: 0,
            metric: 5,
            onlink: false,
            protocol: 0,
            extras: Some(Box::new(RouteExtras { kind, ..RouteExtras::default() })),
            state: RouteState::default(),
        };
        for (table, expected) in [
            (254, "203.0.113.0/24 dev eth0 metric 5"),
            (2541, "203.0.113.0/24 dev eth0 table 2541 metric 5"),
            (253, "203.0.113.0/24 dev eth0 table default metric 5"),
        ] {
            assert_eq!(route_words(&route(table, Kind::Unicast)), expected);
        }
        assert_eq!(route_words(&route(254, Kind::Blackhole)), "blackhole 203.0.113.0/24 metric 5");
        assert_eq!(route_words(&route(2540, Kind::Blackhole)), "blackhole 203.0.113.0/24 table 2540 metric 5");
    }
}
