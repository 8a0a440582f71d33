//! A route lookup without the kernel: evaluates the rules one by one, as the kernel does, and says why each matched
//! or not, and what its table returned.
//!
//! After net/core/fib_rules.c, net/ipv4/{fib_rules,fib_frontend,route}.c and net/ipv6/{fib6_rules,route}.c of Linux
//! 6.18. `selectors` compares a packet with a rule, `walk` evaluates the rules, `table` looks up one table. For unicast
//! destinations, without VRFs. The test lab compares it with the kernel on random rules and tables.

mod flow;
mod result;
mod selectors;
mod table;
mod walk;

use std::net::IpAddr;

use nix::errno::Errno;

pub use self::result::{Comparison, Lookup, Outcome, RuleVerdict, Step};

use self::flow::Flow;
use self::table::TableLookup;
use self::walk::{End, shares_cache, walk};
use crate::network::{Answer, Family, Kind, LOCAL, LookupContext, MAIN, Query, ResolvedRoute, Rule, Snapshot};
use crate::sort::sort_by_key;

/// Evaluates the rules of the query's family.
pub fn lookup(snapshot: &Snapshot, context: &LookupContext, query: &Query) -> Lookup {
    let flow = Flow::new(query);
    let mut steps = steps(snapshot, flow.family);
    let outcome = decided_before_rules(snapshot, &flow).unwrap_or_else(|| {
        let end = walk(&mut steps, snapshot, context, &flow);
        match (flow.family, flow.is_sent()) {
            (Family::Inet, true) => outcome_of_sent(end, &flow),
            (Family::Inet, false) => outcome_of_received(end, context.forwards),
            (Family::Inet6, _) => plain_outcome(end),
        }
    });
    Lookup { steps, outcome }
}

/// The reverse lookup of the kernel's source check (rp_filter) for a received IPv4 packet (`__fib_validate_source`,
/// net/ipv4/fib_frontend.c): the route of a reply. `out` is the interface through which the packet is forwarded,
/// nothing if it is for the host. The mark counts only with `src_valid_mark`: leave it out of the query otherwise.
pub fn reverse_lookup(snapshot: &Snapshot, query: &Query, out: Option<&str>) -> Lookup {
    let Some(source) = query.from else {
        let why = "a packet without a source address has no reverse route".to_string();
        return Lookup { steps: Vec::new(), outcome: Outcome::Rejected { step: None, errno: Errno::EINVAL, why } };
    };
    let (sport, dport) = (query.dport, query.sport);
    let query = Query { from: Some(query.to), to: source, sport, dport, ..query.clone() };
    let mut flow = Flow { iif: out.unwrap_or("lo"), oif: None, uid: 0, ..Flow::new(&query) };
    if !snapshot.rules.iter().any(|rule| rule.family == flow.family && reads_ports(rule)) {
        (flow.ip_protocol, flow.sport, flow.dport) = (0, 0, 0);
    }
    let mut steps = steps(snapshot, flow.family);
    let outcome = plain_outcome(walk(&mut steps, snapshot, &LookupContext::default(), &flow));
    Lookup { steps, outcome }
}

/// Without such a rule, the kernel does not read protocol and ports of a received packet (`fib_rule_requires_fldissect`,
/// include/net/fib_rules.h).
fn reads_ports(rule: &Rule) -> bool {
    rule.extras.as_ref().is_some_and(|extras| {
        let selects = extras.ip_protocol.is_some() || extras.sports.is_some() || extras.dports.is_some();
        selects && extras.iif.as_deref() != Some("lo")
    })
}

fn steps(snapshot: &Snapshot, family: Family) -> Vec<Step> {
    let rules = snapshot.rules.iter().filter(|rule| rule.family == family);
    let not_evaluated = |rule: &Rule| Step { rule: rule.clone(), verdict: RuleVerdict::NotEvaluated };
    let mut steps: Vec<Step> = rules.map(not_evaluated).collect();
    sort_by_key(&mut steps, |step| step.rule.priority);
    steps
}

/// What is decided before any rule is evaluated (`ip_route_output_key_hash_rcu`).
fn decided_before_rules(snapshot: &Snapshot, flow: &Flow) -> Option<Outcome> {
    let link = |dev: &str| snapshot.link(dev);
    let in_vrf = |dev: &&str| link(dev).is_some_and(|link| link.vrf);
    if let Some(dev) = [Some(flow.iif), flow.oif].into_iter().flatten().find(in_vrf) {
        return Some(Outcome::Unknown(format!("{dev} belongs to a VRF, and symroute cannot compute lookups in VRFs")));
    }
    if flow.family != Family::Inet || !flow.is_sent() {
        return None;
    }
    let rejected = |why: String| Some(Outcome::Rejected { step: None, errno: Errno::ENETUNREACH, why });
    match (flow.from, flow.oif) {
        (Some(from), _) if !is_local(snapshot, from) => rejected(format!("{from} is not an address of this host")),
        (_, Some(oif)) if !link(oif).is_some_and(|link| link.up) => rejected(format!("{oif} is down")),
        _ => None,
    }
}

/// An address of any interface, or one that table local delivers to the host.
fn is_local(snapshot: &Snapshot, address: IpAddr) -> bool {
    let in_table = || {
        let found = Flow::new(&Query::to(address)).look_up(LOCAL, snapshot, &LookupContext::default());
        matches!(found, TableLookup::Found { route, .. } if route.kind() == Kind::Local)
    };
    snapshot.addresses.iter().any(|known| known.net.addr() == address) || in_table()
}

/// IPv4, sent by this host.
fn outcome_of_sent(end: End, flow: &Flow) -> Outcome {
    match (end, flow.oif) {
        (End::Rejected { .. } | End::NoRoute, Some(oif)) => Outcome::OnLink { dev: oif.to_string() },
        (end, _) => plain_outcome(end),
    }
}

fn no_route() -> Outcome {
    Outcome::Rejected { step: None, errno: Errno::ENETUNREACH, why: "no rule returns a route".into() }
}

fn plain_outcome(end: End) -> Outcome {
    match end {
        End::Found { step, route, candidates } => Outcome::Route { step, route, candidates },
        End::Rejected { step, errno } => Outcome::Rejected { step: Some(step), errno, why: String::new() },
        End::NoRoute => no_route(),
        End::Unknown(why) => Outcome::Unknown(why),
    }
}

/// IPv4, received on an interface (`ip_route_input_slow`).
fn outcome_of_received(end: End, forwards: bool) -> Outcome {
    let rejected = |step, errno, why: &str| Outcome::Rejected { step, errno, why: why.into() };
    let (step, kind) = match &end {
        End::Unknown(why) => return Outcome::Unknown(why.clone()),
        End::NoRoute => (None, None),
        End::Rejected { step, .. } => (Some(*step), None),
        End::Found { step, route, .. } => (Some(*step), Some(route.kind())),
    };
    match kind {
        Some(Kind::Local | Kind::Broadcast) => {}
        _ if !forwards => {
            let why = "the packet is not for this host, and the interface that it arrives on does not forward";
            return rejected(step, Errno::EHOSTUNREACH, why);
        }
        None | Some(Kind::Unicast) => {}
        Some(_) => return rejected(step, Errno::EINVAL, "the kernel forwards nothing through a route of this type"),
    }
    match end {
        End::Found { step, route, candidates } => Outcome::Route { step, route, candidates },
        End::Rejected { step, errno } => rejected(Some(step), errno, ""),
        End::NoRoute | End::Unknown(_) => no_route(),
    }
}

impl Lookup {
    /// Compares this lookup with the kernel's answer.
    pub fn compare(&self, query: &Query, answer: &Answer) -> Comparison {
        let is_same = match (&self.outcome, answer) {
            (Outcome::Unknown(_), _) => return Comparison::Unknown,
            (Outcome::Route { route, candidates, .. }, Answer::Route(theirs)) => {
                candidates.iter().any(|ours| is_same_route(ours, theirs, shares_cache(route)))
            }
            (Outcome::OnLink { dev }, Answer::Route(theirs)) => {
                is_same_route(&ResolvedRoute { dev: Some(dev.clone()), ..ResolvedRoute::default() }, theirs, false)
            }
            (Outcome::Rejected { errno, .. }, Answer::Rejected(theirs)) => errno == theirs,
            _ => false,
        };
        let is_received = query.iif.is_some() && query.family() == Family::Inet;
        match answer {
            _ if is_same => Comparison::Same,
            Answer::Rejected(Errno::EINVAL | Errno::EXDEV) if is_received => Comparison::SourceCheck,
            _ => Comparison::Differs,
        }
    }
}

/// `any_table`: the kernel may name the table of another route.
fn is_same_route(ours: &ResolvedRoute, theirs: &ResolvedRoute, any_table: bool) -> bool {
    // Until the first rule is added, the kernel keeps tables local and main in one table and calls it main.
    let is_merged = ours.table == LOCAL && theirs.table == MAIN;
    let table = if any_table || is_merged { ours.table } else { theirs.table };
    *ours == ResolvedRoute { source: None, table, ..theirs.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::expected;
    use crate::network::{Link, Route, RouteExtras, RuleExtras};

    fn rule(priority: u32, table: u32, extras: RuleExtras) -> Rule {
        expected::tests::rule(priority, table, (extras != RuleExtras::default()).then_some(extras))
    }

    /// Table 1 has a default route through eth0.
    fn host(rules: Vec<Rule>) -> Snapshot {
        let route = Route {
            family: Family::Inet,
            table: 1,
            dst: "0.0.0.0/0".parse().unwrap(),
            gateway: None,
            dev: Some("eth0".into()),
            scope: 0,
            metric: 0,
            onlink: false,
            protocol: 3,
            extras: None,
            state: Default::default(),
        };
        let link = |index, name: &str, vrf| Link { index, name: name.into(), up: true, vrf, ..Link::default() };
        let links = vec![link(1, "lo", false), link(2, "eth0", false), link(3, "red", true)];
        Snapshot { links, rules, routes: vec![route], ..Snapshot::default() }
    }

    fn look_up(snapshot: &Snapshot, query: Query) -> Lookup {
        lookup(snapshot, &LookupContext::default(), &query)
    }

    fn query() -> Query {
        Query::to("203.0.113.9".parse().unwrap())
    }

    /// What the kernel of the test lab cannot do: the outcome is unknown, but only if it depends on this.
    #[test]
    fn unknown_outcomes() {
        let unknown = RuleExtras { unknown: true, ..RuleExtras::default() };
        let found = look_up(&host(vec![rule(5, 1, unknown.clone())]), query());
        assert!(matches!(found.outcome, Outcome::Unknown(_)), "{found:?}");

        let other_destination = RuleExtras { dst: "192.0.2.0/24".parse().ok(), ..unknown };
        let found = look_up(&host(vec![rule(5, 7, other_destination), rule(6, 1, RuleExtras::default())]), query());
        assert!(matches!(found.outcome, Outcome::Route { step: 1, .. }), "{found:?}");

        let mut hidden = host(vec![rule(5, 1, RuleExtras::default())]);
        hidden.routes[0].dev = None;
        hidden.routes[0].extras = Some(Box::new(RouteExtras { nexthop_id: Some(9), ..RouteExtras::default() }));
        assert!(matches!(look_up(&hidden, query()).outcome, Outcome::Unknown(_)));

        let bound = Query { oif: Some("red".into()), ..query() };
        let found = look_up(&host(vec![rule(5, 1, RuleExtras::default())]), bound);
        assert!(matches!(found.outcome, Outcome::Unknown(_)), "{found:?}");
        assert_eq!(found.compare(&query(), &Answer::Rejected(Errno::ENETUNREACH)), Comparison::Unknown);
    }

    /// The packet has neither; rules for all DSCPs but one, or for DSCP 0, match it.
    #[test]
    fn rules_with_a_dscp_or_a_tunnel() {
        let decides = |extras: RuleExtras| {
            let found = look_up(&host(vec![rule(5, 1, extras)]), query());
            matches!(found.outcome, Outcome::Route { step: 0, .. })
        };
        let plain = RuleExtras::default;
        assert!(!decides(RuleExtras { dscp: Some((10, 63)), ..plain() }));
        assert!(decides(RuleExtras { dscp: Some((10, 63)), not: true, ..plain() }));
        assert!(decides(RuleExtras { dscp: Some((0, 63)), ..plain() }));
        assert!(decides(RuleExtras { dscp: Some((1, 56)), ..plain() }));
        assert!(!decides(RuleExtras { tun_id: Some(7), ..plain() }));
        assert!(decides(RuleExtras { tun_id: Some(7), not: true, ..plain() }));
    }

    /// Where only rules with 'iif lo' select by protocol, the source check compares them with protocol 0.
    #[test]
    fn the_source_check_reads_ports_for_some_rules() {
        let udp = |iif: Option<&str>| RuleExtras {
            ip_protocol: Some(17),
            iif: iif.map(str::to_string),
            ..RuleExtras::default()
        };
        let received = Query { from: "192.0.2.9".parse().ok(), iif: Some("eth0".into()), ..query() };
        let is_found = |rules: Vec<Rule>| {
            matches!(reverse_lookup(&host(rules), &received, None).outcome, Outcome::Route { step: 0, .. })
        };
        assert!(!is_found(vec![rule(5, 1, udp(Some("lo")))]));
        assert!(is_found(vec![rule(5, 1, udp(None))]));
        assert!(is_found(vec![rule(5, 1, udp(Some("lo"))), rule(6, 7, udp(Some("eth0")))]));
        assert!(!is_found(vec![rule(5, 1, udp(Some("lo"))), Rule { family: Family::Inet6, ..rule(6, 7, udp(None)) }]));
    }

    /// Each difference from the kernel is reported.
    #[test]
    fn comparison_with_the_kernel() {
        let found = look_up(&host(vec![rule(5, 1, RuleExtras::default())]), query());
        let theirs = ResolvedRoute { table: 1, dev: Some("eth0".into()), ..ResolvedRoute::default() };
        let compare = |answer| found.compare(&query(), &answer);
        assert_eq!(compare(Answer::Route(theirs.clone())), Comparison::Same);
        assert_eq!(compare(Answer::Route(ResolvedRoute { table: 2, ..theirs.clone() })), Comparison::Differs);
        assert_eq!(
            compare(Answer::Route(ResolvedRoute { dev: Some("eth1".into()), ..theirs.clone() })),
            Comparison::Differs
        );
        assert_eq!(
            compare(Answer::Route(ResolvedRoute { gateway: "192.0.2.1".parse().ok(), ..theirs })),
            Comparison::Differs
        );
        assert_eq!(compare(Answer::Rejected(Errno::EINVAL)), Comparison::Differs);
        let received = Query { iif: Some("eth0".into()), ..query() };
        assert_eq!(found.compare(&received, &Answer::Rejected(Errno::EINVAL)), Comparison::SourceCheck);
        assert_eq!(found.compare(&received, &Answer::Rejected(Errno::EACCES)), Comparison::Differs);
    }
}
