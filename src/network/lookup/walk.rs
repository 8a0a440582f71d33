//! Evaluating the rules, one after the other.

use nix::errno::Errno;

use super::flow::Flow;
use super::result::{RuleVerdict, Step};
use super::selectors::unmatched;
use super::table::{TableLookup, hops};
use crate::network::{Action, Family, LookupContext, Nexthop, ResolvedRoute, Route, Rule, RuleExtras, Snapshot};

/// How the evaluation of the rules ended.
pub(super) enum End {
    Found { step: usize, route: Route, candidates: Vec<ResolvedRoute> },
    Rejected { step: usize, errno: Errno },
    NoRoute,
    Unknown(String),
}

/// What follows after a rule.
enum Next {
    /// The next rule.
    Rule,
    /// The first rule of a `goto`.
    Step(usize),
    End(End),
}

/// `fib_rules_lookup` (net/core/fib_rules.c). Notes the result of each rule in `steps`.
pub(super) fn walk(steps: &mut [Step], snapshot: &Snapshot, context: &LookupContext, flow: &Flow) -> End {
    let mut index = 0;
    while index < steps.len() {
        let (verdict, next) = evaluate(steps, index, snapshot, context, flow);
        steps[index].verdict = verdict;
        match next {
            Next::Rule => index += 1,
            Next::Step(target) => {
                for skipped in &mut steps[index + 1..target] {
                    skipped.verdict = RuleVerdict::Skipped;
                }
                index = target;
            }
            Next::End(end) => return end,
        }
    }
    End::NoRoute
}

fn evaluate(
    steps: &[Step],
    index: usize,
    snapshot: &Snapshot,
    context: &LookupContext,
    flow: &Flow,
) -> (RuleVerdict, Next) {
    let rule = &steps[index].rule;
    let plain = RuleExtras::default();
    let extras = rule.extras.as_deref().unwrap_or(&plain);
    match unmatched(rule, extras, snapshot, flow) {
        Some(RuleVerdict::Unknown(why)) => return unknown(why),
        Some(verdict) => return (verdict, Next::Rule),
        None => {}
    }
    let rejected = |errno| (RuleVerdict::Rejected(None, errno), Next::End(End::Rejected { step: index, errno }));
    match extras.action {
        Action::Goto(priority) => match steps.iter().position(|step| step.rule.priority == priority) {
            Some(target) if target > index => (RuleVerdict::Goto(priority), Next::Step(target)),
            _ => (RuleVerdict::GotoNowhere(priority), Next::Rule),
        },
        Action::Nop => (RuleVerdict::Nop, Next::Rule),
        Action::Unreachable => rejected(Errno::ENETUNREACH),
        Action::Prohibit => rejected(Errno::EACCES),
        Action::Blackhole | Action::Other(_) => rejected(Errno::EINVAL),
        // The table of a VRF, and the packet belongs to none.
        Action::Lookup if extras.l3mdev => (RuleVerdict::NoRoute, Next::Rule),
        Action::Lookup => look_up(rule, index, flow.look_up(rule.table, snapshot, context), snapshot, flow),
    }
}

/// What the rule makes of its table's result.
fn look_up(rule: &Rule, index: usize, found: TableLookup, snapshot: &Snapshot, flow: &Flow) -> (RuleVerdict, Next) {
    match found {
        TableLookup::NoRoute => (RuleVerdict::NoRoute, Next::Rule),
        TableLookup::Throw(route) => (RuleVerdict::Throw(route), Next::Rule),
        TableLookup::Rejected(route, errno) => {
            (RuleVerdict::Rejected(Some(route), errno), Next::End(End::Rejected { step: index, errno }))
        }
        TableLookup::Unknown(why) => unknown(why),
        TableLookup::Found { route, hops } => match is_suppressed(rule, snapshot, &route, &hops) {
            Ok(Some(why)) => (RuleVerdict::Suppressed(route, why), Next::Rule),
            Ok(None) => {
                let candidates = hops.iter().flat_map(|hop| flow.resolve(&route, hop, snapshot)).collect();
                (RuleVerdict::Route(route.clone()), Next::End(End::Found { step: index, route, candidates }))
            }
            Err(why) => unknown(why),
        },
    }
}

fn unknown(why: String) -> (RuleVerdict, Next) {
    (RuleVerdict::Unknown(why.clone()), Next::End(End::Unknown(why)))
}

/// `fib4_rule_suppress`, `fib6_rule_suppress`: why the rule suppresses the route, nothing if it does not. An error if a
/// hash decides.
fn is_suppressed(rule: &Rule, snapshot: &Snapshot, route: &Route, found: &[Nexthop]) -> Result<Option<String>, String> {
    let is_too_short = |route: &Route, limit: u32| u32::from(route.dst.prefix_len()) <= limit;
    if let Some(limit) = rule.suppress_prefixlen.filter(|_| shares_cache(route)) {
        let mut others = snapshot.routes.iter().filter(|other| shares_cache(other));
        if others.any(|other| is_too_short(other, limit) != is_too_short(route, limit)) {
            return Err(format!(
                "rule {} depends on a prefix length, and the kernel may use another one (nexthop objects)",
                rule.priority
            ));
        }
    }
    let length = u32::from(route.dst.prefix_len());
    if let Some(limit) = rule.suppress_prefixlen.filter(|limit| length <= *limit) {
        return Ok(Some(format!("prefix length {length} is not greater than {limit}")));
    }
    let Some(group) = rule.suppress_ifgroup else { return Ok(None) };
    let is_in_group = |hop: &Nexthop| {
        let link = hop.dev.as_deref().and_then(|dev| snapshot.link(dev));
        link.is_some_and(|link| link.group == group)
    };
    // IPv4 checks the route's first nexthop, whichever one is selected.
    let own = hops(route);
    let checked = if route.family == Family::Inet { &own[..1] } else { found };
    match checked.iter().filter(|hop| is_in_group(hop)).count() {
        0 => Ok(None),
        n if n == checked.len() => Ok(Some(format!("its interface is in group {group}"))),
        _ => Err(format!("rule {} suppresses one of several nexthops, and a hash selects the nexthop", rule.priority)),
    }
}

/// IPv6 routes with a nexthop object share a cached route on each processor. The table and prefix that the kernel then
/// shows, and that rules depend on, are those of the first of these routes (`rt6_get_pcpu_route`).
pub(super) fn shares_cache(route: &Route) -> bool {
    route.family == Family::Inet6 && route.extras.as_ref().is_some_and(|extras| extras.nexthop_id.is_some())
}
