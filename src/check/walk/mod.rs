//! A route lookup on paper: the rules one by one, as the kernel walks them, with why each matched or not and what
//! its table answered.
//!
//! After net/core/fib_rules.c, net/ipv4/{fib_rules,fib_frontend,route}.c and net/ipv6/{fib6_rules,route}.c of Linux
//! 6.18; the lookup in one table is `table`'s. For unicast destinations, and without VRFs. The laboratory holds it
//! against the kernel on random rules and tables.

mod table;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use nix::errno::Errno;

use self::table::Looked;
use crate::interfaces::Family;
use crate::snapshot::{
    Action, Answer, Kind, LOCAL, Nexthop, Query, Route, Rule, RuleMore, Snapshot, Surroundings, Way, dscp_text, prefix,
};

/// A lookup, rule by rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// All rules of the family, in the kernel's order.
    pub steps: Vec<Step>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub rule: Rule,
    pub said: Said,
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It does not match, and why.
    No(String),
    /// On to the first rule of this priority.
    Goto(u32),
    /// There is no rule of this priority: on to the next one.
    GotoNowhere(u32),
    Nop,
    /// Its table has no route there.
    NoRoute,
    /// A route of this type says: not in this table.
    Throw(Route),
    /// Its table has a route, which the rule does not take, and why.
    Suppressed(Route, String),
    /// Its table decides.
    Route(Route),
    /// The rule, or the route that its table has, refuses.
    Refused(Option<Route>, Errno),
    /// What this rule does cannot be told.
    Unsure(String),
    /// A rule before it jumped past it.
    Passed,
    /// The answer was found before.
    NotAsked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Route {
        /// Index into `Walk::steps`.
        step: usize,
        route: Route,
        /// Any of these; several where the kernel chooses by a hash or by which router answers.
        ways: Vec<Way>,
    },
    /// inet, a socket bound to a device, and no route: the kernel takes every destination for a neighbour.
    OnLink { dev: String },
    Refused {
        /// The rule that refused; nothing where none had a route or the rules were not asked.
        step: Option<usize>,
        errno: Errno,
        why: String,
    },
    /// What the kernel does cannot be told from the snapshot, and why.
    Unsure(String),
}

/// The walk beside the kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// inet, a received packet: the kernel's source check (rp_filter, martian sources) comes beside the routing.
    SourceCheck,
    Differs,
    /// There is nothing to compare.
    Unsure,
}

/// What the rules are asked.
struct Flow<'a> {
    family: Family,
    from: Option<IpAddr>,
    to: IpAddr,
    /// `lo` for what the host itself sends.
    iif: &'a str,
    oif: Option<&'a str>,
    mark: u32,
    uid: u32,
    ip_protocol: u8,
    sport: u16,
    dport: u16,
}

impl<'a> Flow<'a> {
    fn new(query: &'a Query) -> Self {
        let (iif, oif, uid) = match &query.iif {
            Some(iif) => (iif.as_str(), None, 0),
            None => ("lo", query.oif.as_deref(), query.uid),
        };
        let Query { from, to, mark, ip_protocol, sport, dport, .. } = *query;
        Flow { family: query.family(), from, to, iif, oif, mark, uid, ip_protocol, sport, dport }
    }

    fn sent(&self) -> bool {
        self.iif == "lo"
    }
}

/// Walks the rules of the query's family.
pub fn walk(snapshot: &Snapshot, surroundings: &Surroundings, query: &Query) -> Walk {
    let flow = Flow::new(query);
    let mut steps = steps(snapshot, flow.family);
    let outcome = refused_before(snapshot, &flow).unwrap_or_else(|| {
        let end = ask(&mut steps, snapshot, surroundings, &flow);
        match (flow.family, flow.sent()) {
            (Family::Inet, true) => sent(end, &flow),
            (Family::Inet, false) => received(end, surroundings.forwards),
            _ => answered(end),
        }
    });
    Walk { steps, outcome }
}

/// The lookup that the kernel's source check (rp_filter) does for a received inet packet (`__fib_validate_source`,
/// net/ipv4/fib_frontend.c): where would an answer go? `out` is the device that it is forwarded by, nothing where it
/// is for the host. The mark counts only with `src_valid_mark`; leave it out of the query otherwise.
pub fn back(snapshot: &Snapshot, query: &Query, out: Option<&str>) -> Walk {
    let Some(source) = query.from else {
        let why = "a packet without a source has no way back".to_string();
        return Walk { steps: Vec::new(), outcome: Outcome::Refused { step: None, errno: Errno::EINVAL, why } };
    };
    let (sport, dport) = (query.dport, query.sport);
    let query = Query { from: Some(query.to), to: source, sport, dport, ..query.clone() };
    let flow = Flow { iif: out.unwrap_or("lo"), oif: None, uid: 0, ..Flow::new(&query) };
    let mut steps = steps(snapshot, flow.family);
    let outcome = answered(ask(&mut steps, snapshot, &Surroundings::default(), &flow));
    Walk { steps, outcome }
}

fn steps(snapshot: &Snapshot, family: Family) -> Vec<Step> {
    let rules = snapshot.rules.iter().filter(|rule| rule.family == family);
    let mut steps: Vec<Step> = rules.map(|rule| Step { rule: rule.clone(), said: Said::NotAsked }).collect();
    steps.sort_by_key(|step| step.rule.priority);
    steps
}

/// What is decided before any rule is asked (`ip_route_output_key_hash_rcu`).
fn refused_before(snapshot: &Snapshot, flow: &Flow) -> Option<Outcome> {
    let link = |dev: &str| snapshot.link(dev);
    let vrf = [Some(flow.iif), flow.oif].into_iter().flatten().find(|dev| link(dev).is_some_and(|link| link.vrf));
    if let Some(dev) = vrf {
        return Some(Outcome::Unsure(format!("{dev} is of a VRF, and symroute does not follow lookups in VRFs")));
    }
    if flow.family != Family::Inet || !flow.sent() {
        return None;
    }
    let refused = |why: String| Some(Outcome::Refused { step: None, errno: Errno::ENETUNREACH, why });
    match (flow.from, flow.oif) {
        (Some(from), _) if !is_local(snapshot, from) => {
            refused(format!("{from} is not an address of this host, so the host sends nothing from it"))
        }
        (_, Some(oif)) if !link(oif).is_some_and(|link| link.up) => refused(format!("{oif} is down")),
        _ => None,
    }
}

/// An address of any device, or one that table local takes for the host's.
fn is_local(snapshot: &Snapshot, address: IpAddr) -> bool {
    let in_table = || {
        let looked = Flow::new(&Query::to(address)).look_in(LOCAL, snapshot, &Surroundings::default());
        matches!(looked, Looked::Found { route, .. } if route.kind() == Kind::Local)
    };
    snapshot.addresses.iter().any(|known| known.net.addr() == address) || in_table()
}

/// How the walk through the rules ended.
enum End {
    Found { step: usize, route: Route, ways: Vec<Way> },
    Refused { step: usize, errno: Errno },
    Nothing,
    Unsure(String),
}

/// `fib_rules_lookup` (net/core/fib_rules.c).
fn ask(steps: &mut [Step], snapshot: &Snapshot, surroundings: &Surroundings, flow: &Flow) -> End {
    let mut at = 0;
    while at < steps.len() {
        let rule = steps[at].rule.clone();
        let plain = RuleMore::default();
        let more = rule.more.as_deref().unwrap_or(&plain);
        if let Some(no) = unmatched(&rule, more, snapshot, flow) {
            let end = if let Said::Unsure(why) = &no { Some(End::Unsure(why.clone())) } else { None };
            steps[at].said = no;
            if let Some(end) = end {
                return end;
            }
            at += 1;
            continue;
        }
        let refused = |errno| (Said::Refused(None, errno), Some(End::Refused { step: at, errno }));
        let (said, end) = match more.action {
            Action::Goto(target) => match steps.iter().position(|step| step.rule.priority == target) {
                Some(to) if to > at => {
                    for passed in &mut steps[at + 1..to] {
                        passed.said = Said::Passed;
                    }
                    steps[at].said = Said::Goto(target);
                    at = to;
                    continue;
                }
                _ => (Said::GotoNowhere(target), None),
            },
            Action::Nop => (Said::Nop, None),
            Action::Unreachable => refused(Errno::ENETUNREACH),
            Action::Prohibit => refused(Errno::EACCES),
            Action::Blackhole | Action::Other(_) => refused(Errno::EINVAL),
            // The table of a VRF, and the packet is of none.
            Action::Lookup if more.l3mdev => (Said::NoRoute, None),
            Action::Lookup => match flow.look_in(rule.table, snapshot, surroundings) {
                Looked::Nothing => (Said::NoRoute, None),
                Looked::Throw(route) => (Said::Throw(route), None),
                Looked::Refused(route, errno) => {
                    (Said::Refused(Some(route), errno), Some(End::Refused { step: at, errno }))
                }
                Looked::Unsure(why) => (Said::Unsure(why.clone()), Some(End::Unsure(why))),
                Looked::Found { route, hops } => match suppressed(&rule, snapshot, &route, &hops) {
                    Ok(Some(why)) => (Said::Suppressed(route, why), None),
                    Ok(None) => {
                        let ways = hops.iter().flat_map(|hop| flow.ways(&route, hop, snapshot)).collect();
                        (Said::Route(route.clone()), Some(End::Found { step: at, route, ways }))
                    }
                    Err(why) => (Said::Unsure(why.clone()), Some(End::Unsure(why))),
                },
            },
        };
        steps[at].said = said;
        if let Some(end) = end {
            return end;
        }
        at += 1;
    }
    End::Nothing
}

/// `fib_rule_match` (net/core/fib_rules.c), `fib4_rule_match` and `fib6_rule_match`: why the rule is not for the
/// packet; nothing if it is.
fn unmatched(rule: &Rule, more: &RuleMore, snapshot: &Snapshot, flow: &Flow) -> Option<Said> {
    match (mismatch(rule, more, snapshot, flow), more.not) {
        (None, _) if more.unknown => Some(Said::Unsure(format!(
            "rule {} has a selector that symroute does not know; 'ip rule' may show it",
            rule.priority
        ))),
        (None, false) | (Some(_), true) => None,
        (Some(why), false) => Some(Said::No(why)),
        (None, true) => Some(Said::No("its selectors match, and it is for everything else".into())),
    }
}

fn mismatch(rule: &Rule, more: &RuleMore, snapshot: &Snapshot, flow: &Flow) -> Option<String> {
    let gone = |dev: &str| snapshot.link(dev).is_none();
    if let Some(iif) = more.iif.as_deref().filter(|iif| *iif != flow.iif || gone(iif)) {
        return Some(match (gone(iif), iif) {
            (true, _) => format!("there is no device {iif}"),
            (_, "lo") => "it is for what this host itself sends".into(),
            _ => format!("it is for what comes in by {iif}"),
        });
    }
    if let Some(oif) = rule.oif.as_deref().filter(|oif| Some(*oif) != flow.oif || gone(oif)) {
        return Some(match gone(oif) {
            true => format!("there is no device {oif}"),
            false => format!("it is for sockets bound to {oif}"),
        });
    }
    if let Some((mark, mask)) = more.mark.filter(|(mark, mask)| (mark ^ flow.mark) & mask != 0) {
        return Some(match mask {
            u32::MAX => format!("the mark is {:#x}, not {mark:#x}", flow.mark),
            _ => format!("the mark is {:#x}, not {mark:#x}/{mask:#x}", flow.mark),
        });
    }
    if more.l3mdev {
        return Some("it is for VRFs".into());
    }
    if let Some((first, last)) = more.uids.filter(|(first, last)| !(*first..=*last).contains(&flow.uid)) {
        return Some(format!("it is for users {first} to {last}, not for {}", flow.uid));
    }
    // inet takes a source that is not chosen yet for 0.0.0.0, inet6 matches none.
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let from = flow.from.or((flow.family == Family::Inet).then_some(any));
    if let Some(src) = rule.src.filter(|src| src.prefix_len() > 0 && !from.is_some_and(|from| src.contains(&from))) {
        return Some(match flow.from {
            Some(_) => format!("the source is not {}", in_prefix(&src)),
            None => "no source address is chosen yet".into(),
        });
    }
    if let Some(dst) = more.dst.filter(|dst| dst.prefix_len() > 0 && !dst.contains(&flow.to)) {
        return Some(format!("the destination is not {}", in_prefix(&dst)));
    }
    if more.tos != 0 {
        return Some(format!("it is for TOS {:#x}", more.tos));
    }
    // Packets here have no DSCP, and come out of no tunnel that sets a number.
    if let Some(dscp) = more.dscp.filter(|(dscp, mask)| dscp & mask != 0) {
        return Some(format!("it is for DSCP {}", dscp_text(dscp)));
    }
    if let Some(id) = more.tun_id.filter(|id| *id != 0) {
        return Some(format!("it is for packets of tunnel {id}"));
    }
    if let Some(protocol) = more.ip_protocol.filter(|protocol| *protocol != flow.ip_protocol) {
        return Some(format!("it is for IP protocol {protocol}, not for {}", flow.ip_protocol));
    }
    for (what, ports, port) in [("source", more.sports, flow.sport), ("destination", more.dports, flow.dport)] {
        if let Some((first, last)) = ports.filter(|(first, last)| !(*first..=*last).contains(&port)) {
            return Some(match first == last {
                true => format!("it is for {what} port {first}"),
                false => format!("it is for {what} ports {first} to {last}"),
            });
        }
    }
    None
}

/// `192.0.2.10`, or `in 192.0.2.0/24`.
fn in_prefix(net: &IpNet) -> String {
    let whole = net.prefix_len() == net.max_prefix_len();
    format!("{}{}", if whole { "" } else { "in " }, prefix(net))
}

/// `fib4_rule_suppress`, `fib6_rule_suppress`: why the rule does not take the route; an error where a hash decides.
fn suppressed(rule: &Rule, snapshot: &Snapshot, route: &Route, hops: &[Nexthop]) -> Result<Option<String>, String> {
    let too_short = |route: &Route, limit: u32| u32::from(route.dst.prefix_len()) <= limit;
    if let Some(limit) = rule.suppress_prefixlen.filter(|_| shares_cache(route)) {
        let others = snapshot.routes.iter().filter(|other| shares_cache(other));
        if others.into_iter().any(|other| too_short(other, limit) != too_short(route, limit)) {
            return Err(format!(
                "rule {} looks at a prefix length, and the kernel may take that of another route by a nexthop object",
                rule.priority
            ));
        }
    }
    let length = u32::from(route.dst.prefix_len());
    if let Some(limit) = rule.suppress_prefixlen.filter(|limit| length <= *limit) {
        return Ok(Some(format!("its prefix length {length} is not more than {limit}")));
    }
    let Some(group) = rule.suppress_ifgroup else { return Ok(None) };
    let of_group = |hop: &Nexthop| {
        let link = hop.dev.as_deref().and_then(|dev| snapshot.link(dev));
        link.is_some_and(|link| link.group == group)
    };
    // inet looks at the route's first nexthop, whichever one it takes.
    let first = table::hops(route);
    let looked_at = if route.family == Family::Inet { &first[..1] } else { hops };
    match looked_at.iter().filter(|hop| of_group(hop)).count() {
        0 => Ok(None),
        n if n == looked_at.len() => Ok(Some(format!("its device is of group {group}"))),
        _ => Err(format!("rule {} suppresses one of several nexthops, and a hash chooses", rule.priority)),
    }
}

/// inet6 routes through one nexthop object share a cached route on each processor, and what the kernel then tells
/// (or a rule looks at) of table and prefix is that of the route that came first (`rt6_get_pcpu_route`).
fn shares_cache(route: &Route) -> bool {
    route.family == Family::Inet6 && route.more.as_ref().is_some_and(|more| more.nexthop_id.is_some())
}

/// inet, sent by this host.
fn sent(end: End, flow: &Flow) -> Outcome {
    match (end, flow.oif) {
        (End::Refused { .. } | End::Nothing, Some(oif)) => Outcome::OnLink { dev: oif.to_string() },
        (end, _) => answered(end),
    }
}

fn no_route() -> Outcome {
    Outcome::Refused { step: None, errno: Errno::ENETUNREACH, why: "no rule leads to a route".into() }
}

fn answered(end: End) -> Outcome {
    match end {
        End::Found { step, route, ways } => Outcome::Route { step, route, ways },
        End::Refused { step, errno } => Outcome::Refused { step: Some(step), errno, why: String::new() },
        End::Nothing => no_route(),
        End::Unsure(why) => Outcome::Unsure(why),
    }
}

/// inet, come in by a device (`ip_route_input_slow`).
fn received(end: End, forwards: bool) -> Outcome {
    let refused = |step, errno, why: &str| Outcome::Refused { step, errno, why: why.into() };
    let (step, kind) = match &end {
        End::Unsure(why) => return Outcome::Unsure(why.clone()),
        End::Nothing => (None, None),
        End::Refused { step, .. } => (Some(*step), None),
        End::Found { step, route, .. } => (Some(*step), Some(route.kind())),
    };
    match kind {
        Some(Kind::Local | Kind::Broadcast) => {}
        _ if !forwards => {
            let why = "it is not for this host, and the device that it comes in by does not forward";
            return refused(step, Errno::EHOSTUNREACH, why);
        }
        None | Some(Kind::Unicast) => {}
        Some(_) => return refused(step, Errno::EINVAL, "the route is of a type that nothing is forwarded by"),
    }
    match end {
        End::Found { step, route, ways } => Outcome::Route { step, route, ways },
        End::Refused { step, errno } => refused(Some(step), errno, ""),
        End::Nothing | End::Unsure(_) => no_route(),
    }
}

impl Walk {
    /// Holds the walk against what the kernel says.
    pub fn verdict(&self, query: &Query, answer: &Answer) -> Verdict {
        // While nobody ever added a rule, the kernel keeps tables local and main as one and calls it main.
        let merged = |ours: u32, theirs: u32| ours == LOCAL && theirs == crate::snapshot::MAIN;
        let same_way = |ours: &Way, theirs: &Way| {
            let table = if merged(ours.table, theirs.table) { ours.table } else { theirs.table };
            *ours == Way { source: None, table, ..theirs.clone() }
        };
        let shared = matches!(&self.outcome, Outcome::Route { route, .. } if shares_cache(route));
        let same_way = |ours: &Way, theirs: &Way| {
            let table = if shared { ours.table } else { theirs.table };
            same_way(ours, &Way { table, ..theirs.clone() })
        };
        let same = match (&self.outcome, answer) {
            (Outcome::Unsure(_), _) => return Verdict::Unsure,
            (Outcome::Route { ways, .. }, Answer::Route(theirs)) => ways.iter().any(|ours| same_way(ours, theirs)),
            (Outcome::OnLink { dev }, Answer::Route(theirs)) => {
                same_way(&Way { dev: Some(dev.clone()), ..Way::default() }, theirs)
            }
            (Outcome::Refused { errno, .. }, Answer::Refused(theirs)) => errno == theirs,
            _ => false,
        };
        let received = query.iif.is_some() && query.family() == Family::Inet;
        match answer {
            _ if same => Verdict::Same,
            Answer::Refused(Errno::EINVAL | Errno::EXDEV) if received => Verdict::SourceCheck,
            _ => Verdict::Differs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::expected;
    use crate::snapshot::{Link, RouteMore, RuleMore};

    fn rule(priority: u32, table: u32, more: RuleMore) -> Rule {
        expected::tests::rule(priority, table, (more != RuleMore::default()).then_some(more))
    }

    /// Table 1 leads to eth0.
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
            more: None,
            state: Default::default(),
        };
        let link = |index, name: &str, vrf| Link { index, name: name.into(), up: true, vrf, ..Link::default() };
        let links = vec![link(1, "lo", false), link(2, "eth0", false), link(3, "red", true)];
        Snapshot { links, addresses: Vec::new(), rules, routes: vec![route] }
    }

    fn ask(snapshot: &Snapshot, query: Query) -> Walk {
        walk(snapshot, &Surroundings::default(), &query)
    }

    fn question() -> Query {
        Query::to("203.0.113.9".parse().unwrap())
    }

    /// What the kernel of the laboratory cannot make: the walk must say that it does not know, but only where it matters.
    #[test]
    fn says_what_it_cannot_tell() {
        let unknown = RuleMore { unknown: true, ..RuleMore::default() };
        let walked = ask(&host(vec![rule(5, 1, unknown.clone())]), question());
        assert!(matches!(walked.outcome, Outcome::Unsure(_)), "{walked:?}");

        let elsewhere = RuleMore { dst: "192.0.2.0/24".parse().ok(), ..unknown };
        let walked = ask(&host(vec![rule(5, 7, elsewhere), rule(6, 1, RuleMore::default())]), question());
        assert!(matches!(walked.outcome, Outcome::Route { step: 1, .. }), "{walked:?}");

        let mut hidden = host(vec![rule(5, 1, RuleMore::default())]);
        hidden.routes[0].dev = None;
        hidden.routes[0].more = Some(Box::new(RouteMore { nexthop_id: Some(9), ..RouteMore::default() }));
        assert!(matches!(ask(&hidden, question()).outcome, Outcome::Unsure(_)));

        let bound = Query { oif: Some("red".into()), ..question() };
        let walked = ask(&host(vec![rule(5, 1, RuleMore::default())]), bound);
        assert!(matches!(walked.outcome, Outcome::Unsure(_)), "{walked:?}");
        assert_eq!(walked.verdict(&question(), &Answer::Refused(Errno::ENETUNREACH)), Verdict::Unsure);
    }

    /// The packet has neither; a rule for all DSCPs but one, or for a zero, is for it.
    #[test]
    fn rules_with_a_dscp_or_a_tunnel() {
        let decides = |more: RuleMore| {
            let walked = ask(&host(vec![rule(5, 1, more)]), question());
            matches!(walked.outcome, Outcome::Route { step: 0, .. })
        };
        let plain = RuleMore::default;
        assert!(!decides(RuleMore { dscp: Some((10, 63)), ..plain() }));
        assert!(decides(RuleMore { dscp: Some((10, 63)), not: true, ..plain() }));
        assert!(decides(RuleMore { dscp: Some((0, 63)), ..plain() }));
        assert!(decides(RuleMore { dscp: Some((1, 56)), ..plain() }));
        assert!(!decides(RuleMore { tun_id: Some(7), ..plain() }));
        assert!(decides(RuleMore { tun_id: Some(7), not: true, ..plain() }));
    }

    /// A difference is told, not passed over.
    #[test]
    fn tells_a_difference() {
        let walked = ask(&host(vec![rule(5, 1, RuleMore::default())]), question());
        let way = Way { table: 1, dev: Some("eth0".into()), ..Way::default() };
        let verdict = |answer| walked.verdict(&question(), &answer);
        assert_eq!(verdict(Answer::Route(way.clone())), Verdict::Same);
        assert_eq!(verdict(Answer::Route(Way { table: 2, ..way.clone() })), Verdict::Differs);
        assert_eq!(verdict(Answer::Route(Way { dev: Some("eth1".into()), ..way.clone() })), Verdict::Differs);
        assert_eq!(verdict(Answer::Route(Way { gateway: "192.0.2.1".parse().ok(), ..way })), Verdict::Differs);
        assert_eq!(verdict(Answer::Refused(Errno::EINVAL)), Verdict::Differs);
        let received = Query { iif: Some("eth0".into()), ..question() };
        assert_eq!(walked.verdict(&received, &Answer::Refused(Errno::EINVAL)), Verdict::SourceCheck);
        assert_eq!(walked.verdict(&received, &Answer::Refused(Errno::EACCES)), Verdict::Differs);
    }
}
