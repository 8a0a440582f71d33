//! Rules and routes of others: which of them decides a wrong lookup, and the commands that move it or remove it.
//! symroute touches none of them by itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::findings::{Asked, Host};
use super::walk::{Outcome, Said, walk};
use crate::interfaces::Family;
use crate::policy::numbers::SLOT;
use crate::snapshot::{Action, Kind, LOCAL, MAIN, Route, Rule, RuleMore, Snapshot, Surroundings};

/// What a wrong lookup comes of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Somebody's rule that is asked before symroute's, or that jumps past them.
    Rule(Rule),
    /// Somebody's route in the uplink's table.
    Route(Route),
    /// Main's default route refuses.
    Default,
    /// None of these: something of ours is missing, most likely.
    Other,
}

pub fn ip(family: Family) -> &'static str {
    if family == Family::Inet6 { "ip -6" } else { "ip" }
}

/// The wrong lookups for what the host sends, each with its cause.
pub fn causes<'a>(host: &Host<'a>) -> Vec<(&'a Asked, Cause)> {
    let wrong: Vec<&Asked> = host.asked.iter().filter(|asked| !asked.is_right() && !asked.is_received()).collect();
    // Of a hundred thousand routes, few say something about these destinations.
    let to: BTreeSet<IpAddr> = wrong.iter().map(|asked| asked.probe.query.to).collect();
    let says = |route: &Route| route.table == LOCAL || to.iter().any(|to| route.dst.contains(to));
    let near = match wrong.is_empty() {
        true => Snapshot::default(),
        false => Snapshot {
            routes: host.snapshot.routes.iter().filter(|route| says(route)).cloned().collect(),
            links: host.snapshot.links.clone(),
            addresses: host.snapshot.addresses.clone(),
            rules: host.snapshot.rules.clone(),
        },
    };
    wrong.into_iter().map(|asked| (asked, cause(host, &near, asked))).collect()
}

fn cause(host: &Host, snapshot: &Snapshot, asked: &Asked) -> Cause {
    let policy = asked.probe.uplink.and_then(|at| host.plan.policy(at));
    if asked.probe.uplink.is_some() && policy.is_none() {
        return Cause::Other;
    }
    let walk = walk(snapshot, &Surroundings::default(), &asked.probe.query);
    let decided = match &walk.outcome {
        Outcome::Route { step, .. } => Some(*step),
        Outcome::Refused { step, .. } => *step,
        Outcome::OnLink { .. } | Outcome::Unsure(_) => None,
    };
    let planned = || host.plan.policies.iter().flat_map(|policy| &policy.rules);
    let somebodys = |rule: &Rule| {
        let before = policy.map_or(rule.table != MAIN, |policy| rule.priority < policy.priority + SLOT);
        rule.priority != 0 && before && !planned().any(|own| rule.same_as(&own.item))
    };
    let jump = walk.steps.iter().find(|step| matches!(step.said, Said::Goto(_)) && somebodys(&step.rule));
    let decider = decided.and_then(|step| walk.steps.get(step));
    if let Some(step) = decider.filter(|step| somebodys(&step.rule)).or(jump) {
        return Cause::Rule(step.rule.clone());
    }
    let in_table = walk.steps.iter().find_map(|step| match &step.said {
        Said::Throw(route) | Said::Route(route) | Said::Refused(Some(route), _) => {
            let policy = policy.filter(|policy| policy.table == route.table && !route.is_ours())?;
            (!policy.routes.iter().any(|own| route.same_as(&own.item))).then_some(route)
        }
        _ => None,
    });
    match (in_table, decider.map(|step| &step.said)) {
        (Some(route), _) => Cause::Route(route.clone()),
        (None, Some(Said::Refused(Some(route), _))) if route.table == MAIN && route.dst.prefix_len() == 0 => {
            Cause::Default
        }
        _ => Cause::Other,
    }
}

fn protocol(number: u8, word: &str) -> String {
    if number == 0 { String::new() } else { format!(" {word} {number}") }
}

fn more(rule: &Rule) -> RuleMore {
    rule.more.as_deref().cloned().unwrap_or_default()
}

/// Would `ip rule del` with the words of `named` take `other`? What the command does not name may be anything
/// (`rule_find`, net/core/fib_rules.c).
fn takes(named: &Rule, other: &Rule) -> bool {
    fn is<T: PartialEq>(named: &Option<T>, other: &Option<T>) -> bool {
        named.is_none() || named == other
    }
    let (n, o) = (more(named), more(other));
    (named.family, named.priority) == (other.family, other.priority)
        && (named.table == 0 || named.table == other.table)
        && (named.protocol == 0 || named.protocol == other.protocol)
        && (n.action == Action::Lookup || n.action == o.action)
        && (n.tos == 0 || n.tos == o.tos)
        && (!n.l3mdev || o.l3mdev)
        && is(&named.src, &other.src)
        && is(&named.oif, &other.oif)
        && is(&named.suppress_prefixlen, &other.suppress_prefixlen)
        && is(&named.suppress_ifgroup, &other.suppress_ifgroup)
        && is(&n.dst, &o.dst)
        && is(&n.iif, &o.iif)
        && is(&n.mark, &o.mark)
        && is(&n.uids, &o.uids)
        && is(&n.ip_protocol, &o.ip_protocol)
        && is(&n.sports, &o.sports)
        && is(&n.dports, &o.dports)
}

pub fn add(rule: &Rule) -> String {
    format!("{} rule add {rule}{}", ip(rule.family), protocol(rule.protocol, "protocol"))
}

/// The commands that remove this very rule. `ip rule del` takes the first one that has all that it names: what
/// stands before and would go instead is made again.
pub fn delete(rule: &Rule, snapshot: &Snapshot) -> Vec<String> {
    let before = snapshot.rules.iter().take_while(|known| *known != rule);
    let taken: Vec<&Rule> = before.filter(|known| takes(rule, known)).collect();
    let command = format!("{} rule del {rule}{}", ip(rule.family), protocol(rule.protocol, "protocol"));
    let mut commands = vec![command; taken.len() + 1];
    commands.extend(taken.iter().filter(|known| !known.is_ours()).map(|known| add(known)));
    commands.extend(taken.iter().any(|known| known.is_ours()).then(|| "symroute apply".to_string()));
    commands
}

/// The commands that put somebody's rule behind all of symroute's, where it decides for whatever those leave; nothing
/// where it would do no good there.
pub fn move_behind(rule: &Rule, host: &Host) -> Option<Vec<String>> {
    let of_family = |policy: &&crate::policy::Policy| host.plan.uplinks[policy.uplink].family == rule.family;
    let last = host.plan.policies.iter().filter(of_family).map(|policy| policy.priority + SLOT).max()?;
    // Before whatever follows, to keep the order among others.
    let rules = host.snapshot.rules.iter().filter(|known| known.family == rule.family && known.priority >= last);
    let priority = rules.map(|known| known.priority).min().unwrap_or(32_766).checked_sub(1)?;
    let serves = match more(rule).action {
        Action::Lookup => true,
        Action::Goto(target) => target > priority,
        _ => false,
    };
    let moved = Rule { priority, ..rule.clone() };
    let commands = || std::iter::once(add(&moved)).chain(delete(rule, host.snapshot)).collect();
    (serves && priority >= last).then(commands)
}

/// A route in the words that `ip route del` takes, which takes main for granted.
fn words(route: &Route) -> String {
    let unset = if route.family == Family::Inet6 { [0, crate::snapshot::INET6_METRIC] } else { [0, 0] };
    let metric = if unset.contains(&route.metric) { String::new() } else { format!(" metric {}", route.metric) };
    let text = match route.kind() {
        Kind::Unicast => format!("{route}{metric}"),
        kind => format!("{} {}{metric}", kind.name(), Route { dev: None, ..route.clone() }),
    };
    text.replace(" table 254", "")
}

/// `'blackhole 203.0.113.0/24 table 2'`.
pub fn quoted(route: &Route) -> String {
    format!("'{}'", words(route))
}

pub fn delete_route(route: &Route) -> String {
    format!("{} route del {}{}", ip(route.family), words(route), protocol(route.protocol, "proto"))
}

/// Whose rule it may be, by the numbers that programs are known to use.
pub fn owner(rule: &Rule) -> Option<&'static str> {
    Some(match (rule.priority, rule.table, rule.protocol) {
        (_, _, 18) => "keepalived's, by its protocol",
        (_, _, 3) => "made at boot, by its protocol",
        (5200..=5299, ..) => "Tailscale's, by its number",
        (1000, _, _) => "for a VRF, by its number",
        (30200..=30499, ..) => "nm-cloud-setup's, by its number",
        (_, 51820, _) => "wg-quick's, by its table",
        _ => return None,
    })
}
