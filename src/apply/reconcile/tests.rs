//! Every change of the steps, against a model of the kernel that refuses messages.

use proptest::prelude::*;

use super::*;
use crate::commands::tables::Names;
use crate::network::Family;
use crate::network::{LOCAL, MAIN, RouteState, SCOPE_LINK};
use crate::policy::difference::tests::{dangling, foreign, route, rule, snapshot, uplink};
use crate::policy::difference::{Difference, Membership};
use crate::policy::plan;
use crate::uplinks::{Discovery, Uplink};

/// What happens at a certain message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Event {
    Rejects(Errno),
    /// The link goes away with its routes, as `ip link del` has it.
    Vanishes(&'static str),
}

/// A kernel in memory, with a memory of every state that it was in.
pub(crate) struct Model {
    pub(crate) now: Snapshot,
    vanished: Vec<&'static str>,
    messages: usize,
    at: Option<(usize, Event)>,
    seen: Vec<Snapshot>,
}

impl Model {
    pub(crate) fn new(now: &Snapshot, at: Option<(usize, Event)>) -> Self {
        Model { now: now.clone(), vanished: Vec::new(), messages: 0, at, seen: vec![now.clone()] }
    }
}

impl Model {
    fn carry_out_one(&mut self, step: &Step) -> Result<bool> {
        self.messages += 1;
        match self.at {
            Some((at, Event::Rejects(errno))) if at == self.messages => {
                return Err(Error::new(errno).context(format!("the kernel rejected '{}'", step.command())));
            }
            Some((at, Event::Vanishes(link))) if at == self.messages => {
                self.vanished.push(link);
                self.now.routes.retain(|route| route.dev.as_deref() != Some(link));
                self.now.links.retain(|known| known.name != link);
            }
            _ => {}
        }
        let vanished = |route: &Route| self.vanished.iter().any(|link| route.dev.as_deref() == Some(link));
        let set = |change: &Membership| self.vanished.contains(&&change.dev[..]) && change.to != NO_GROUP;
        if matches!(step, Step::AddRoute(route) | Step::ReplaceRoute(_, route) if vanished(route))
            || matches!(step, Step::SetGroup(change) if set(change))
        {
            return Err(Errno::ENODEV.into());
        }
        let done = step.apply_to(&mut self.now);
        self.seen.push(self.now.clone());
        Ok(done)
    }
}

impl Kernel for Model {
    fn carry_out(&mut self, steps: &[Step], _: &[Link]) -> Result<Vec<Result<bool>>> {
        Ok(steps.iter().map(|step| self.carry_out_one(step)).collect())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(self.now.clone())
    }

    fn read_back(&mut self, _: &Snapshot, _: &[Step], _: RuleList) -> Result<Snapshot> {
        let mut now = Snapshot { addresses: Vec::new(), ..self.now.clone() };
        now.routes.retain(|route| route.table != MAIN || route.is_ours());
        Ok(now)
    }

    fn with_rest(&self, after: Snapshot, before: &Snapshot, _: &[Step]) -> Snapshot {
        Snapshot { addresses: before.addresses.clone(), ..after }
    }

    fn flush_cache(&mut self) {}
}

fn converge(
    kernel: &mut dyn Kernel,
    plan: &Plan,
    before: &Snapshot,
    is_skipped: &dyn Fn(usize) -> bool,
) -> Result<usize> {
    super::converge(kernel, plan, before, is_skipped).map(|steps| steps.len()).map_err(|stopped| stopped.error)
}

/// `eth0` to `eth2` in 10.N.0.0/24, main's default through `eth0`, nothing of ours yet.
fn bare() -> Snapshot {
    let route = |dst: String, dev: u8, gateway: Option<[u8; 4]>| Route {
        family: Family::Inet,
        table: MAIN,
        dst: dst.parse().unwrap(),
        gateway: gateway.map(Into::into),
        dev: Some(format!("eth{dev}")),
        scope: if gateway.is_some() { 0 } else { SCOPE_LINK },
        metric: 0,
        onlink: false,
        protocol: 3,
        extras: None,
        state: RouteState::default(),
    };
    let mut routes: Vec<Route> = (0..3).map(|n| route(format!("10.{n}.0.0/24"), n, None)).collect();
    routes.push(route("0.0.0.0/0".into(), 0, Some([10, 0, 0, 1])));
    let links =
        (0..3u8).map(|n| Link { index: n.into(), name: format!("eth{n}"), up: true, ..Link::default() }).collect();
    let local = Rule {
        family: Family::Inet,
        priority: 0,
        src: None,
        oif: None,
        table: LOCAL,
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: 2,
        extras: None,
    };
    Snapshot { links, routes, rules: vec![local], ..Snapshot::default() }
}

pub(crate) fn planned(now: &Snapshot, change: impl Fn(usize, &mut Uplink)) -> Plan {
    let mut uplinks: Vec<Uplink> = (0..3).map(|n| uplink(n, true)).collect();
    for (n, uplink) in uplinks.iter_mut().enumerate() {
        change(n, uplink);
    }
    plan(Discovery { uplinks, ..Discovery::default() }, Some(now), &Names::default(), None)
}

pub(crate) fn sorted(mut snapshot: Snapshot) -> (Vec<Link>, Vec<Route>, Vec<Rule>) {
    snapshot.routes.sort();
    snapshot.rules.sort();
    (snapshot.links, snapshot.routes, snapshot.rules)
}

/// What the same plan was before the rules used interface groups: own networks, then main, then the rest; other
/// uplinks' networks through the own gateway.
fn without_groups(full: &Snapshot) -> Snapshot {
    let mut old = full.clone();
    old.links.iter_mut().for_each(|link| link.group = NO_GROUP);
    for n in 0..3u32 {
        let (table, priority) = (n + 1, 100 + 10 * n);
        let find = |offset: u32| full.rules.iter().find(|rule| rule.priority == priority + offset).unwrap();
        let (main, own) = (find(0), find(1));
        old.rules.retain(|rule| rule != main && rule != own);
        old.rules.extend([
            Rule { priority, suppress_prefixlen: Some(0), ..own.clone() },
            Rule { priority: priority + 1, suppress_ifgroup: None, ..main.clone() },
            Rule { priority: priority + 2, ..own.clone() },
        ]);
        let default = full.routes.iter().find(|route| route.table == table && route.dst.prefix_len() == 0).unwrap();
        let others = (0..3).filter(|other| *other != n).map(|other| format!("10.{other}.0.0/24").parse().unwrap());
        old.routes.extend(others.map(|dst| Route { dst, ..default.clone() }));
    }
    old
}

/// A VPN with a table that a rule behind symroute's looks up for every packet; and the rule for table local last.
fn with_foreign_rules(full: &Snapshot) -> Snapshot {
    let mut now = full.clone();
    let local = now.rules.iter().find(|rule| rule.table == LOCAL).unwrap().clone();
    now.rules.retain(|rule| rule.table != LOCAL);
    now.rules.push(Rule { priority: 32765, ..local.clone() });
    now.rules.push(Rule { priority: 5270, table: 52, ..local });
    let route = now.routes.iter().find(|route| route.table == MAIN).unwrap().clone();
    let (dst, dev) = ("10.9.9.9/32".parse().unwrap(), Some("vpn0".into()));
    now.routes.push(Route { table: 52, dst, dev, ..route });
    now
}

/// From a plan to another: numbers, another gateway, an uplink less.
pub(crate) fn changes() -> Vec<(&'static str, Snapshot, Plan)> {
    let empty = bare();
    let first = planned(&empty, |_, _| {});
    let mut apply_to = Model::new(&empty, None);
    converge(&mut apply_to, &first, &empty, &|_| false).unwrap();
    let full = apply_to.now;
    let numbers = |n: usize, uplink: &mut Uplink| {
        uplink.overrides.table = Some([2, 3, 1][n]);
        uplink.overrides.priority = Some([200, 100, 110][n]);
    };
    vec![
        ("everything new", empty.clone(), first),
        ("tables and priorities of each other", full.clone(), planned(&full, numbers)),
        ("other tables", full.clone(), planned(&full, |n, uplink| uplink.overrides.table = Some(40 + n as u32))),
        (
            "another gateway",
            full.clone(),
            planned(&full, |n, uplink| uplink.gateway = crate::uplinks::Gateway::Address([10, n as u8, 0, 254].into())),
        ),
        ("from rules without groups", without_groups(&full), planned(&full, |_, _| {})),
        ("beside foreign rules", with_foreign_rules(&full), planned(&with_foreign_rules(&full), |_, _| {})),
        ("one uplink less", full.clone(), planned(&full, |n, uplink| uplink.up = n != 1)),
        ("nothing left", full, Plan::default()),
    ]
}

#[test]
fn a_rejected_message_rolls_back_all_changes() {
    for (what, before, plan) in changes() {
        let mut apply_to = Model::new(&before, None);
        let all = converge(&mut apply_to, &plan, &before, &|_| false).unwrap();
        assert!(all > 2, "{what}: {all} messages");
        for at in 1..=all {
            for errno in [Errno::EINVAL, Errno::EPERM, Errno::ENOBUFS, Errno::ENOMEM] {
                let mut apply_to = Model::new(&before, Some((at, Event::Rejects(errno))));
                let error = format!("{:#}", converge(&mut apply_to, &plan, &before, &|_| false).unwrap_err());
                assert!(
                    error.starts_with("the kernel rejected 'ip ") && error.contains(&format!("{errno}")),
                    "{error}"
                );
                assert_eq!(sorted(apply_to.now), sorted(before.clone()), "{what}: message {at} of {all}, {errno}");
            }
        }
    }
}

/// What is left is what was there, less what went with the link; the next run finds its way from there.
#[test]
fn a_link_that_vanishes_half_way() {
    for (what, before, plan) in changes() {
        let mut apply_to = Model::new(&before, None);
        let all = converge(&mut apply_to, &plan, &before, &|_| false).unwrap();
        for at in 1..=all {
            let mut apply_to = Model::new(&before, Some((at, Event::Vanishes("eth1"))));
            let result = converge(&mut apply_to, &plan, &before, &|_| false);
            if let Err(error) = &result {
                assert!(!format!("{error:#}").contains("rolled back"), "{what}: message {at}: {error:#}");
                let mut rest = before.clone();
                rest.routes.retain(|route| route.dev.as_deref() != Some("eth1"));
                rest.links.retain(|link| link.name != "eth1" || !apply_to.vanished.contains(&"eth1"));
                assert_eq!(sorted(apply_to.now.clone()), sorted(rest), "{what}: message {at} of {all}");
            }
            apply_to.at = None;
            let now = apply_to.now.clone();
            let next = planned(&now, |_, uplink| uplink.up &= uplink.interface != "eth1");
            converge(&mut apply_to, &next, &now, &|_| false).unwrap();
            let left = difference(&next, &apply_to.now, &|_| false);
            assert_eq!(left, Difference::default(), "{what}: message {at} of {all}");
        }
    }
}

/// Whatever the kernel rejects for one uplink: the others get their policies, and that uplink is unchanged.
#[test]
fn a_rejection_excludes_one_uplink() {
    type Rejects = fn(&Step) -> bool;
    /// Rejects a kind of step each time.
    struct Rejecting(Model, Rejects);
    impl Kernel for Rejecting {
        fn carry_out(&mut self, steps: &[Step], _: &[Link]) -> Result<Vec<Result<bool>>> {
            let (model, rejects) = (&mut self.0, self.1);
            let one = |step| if rejects(step) { Err(Errno::EOPNOTSUPP.into()) } else { model.carry_out_one(step) };
            Ok(steps.iter().map(one).collect())
        }
        fn snapshot(&mut self) -> Result<Snapshot> {
            self.0.snapshot()
        }
        fn read_back(&mut self, before: &Snapshot, steps: &[Step], rules: RuleList) -> Result<Snapshot> {
            self.0.read_back(before, steps, rules)
        }
        fn with_rest(&self, after: Snapshot, before: &Snapshot, steps: &[Step]) -> Snapshot {
            self.0.with_rest(after, before, steps)
        }
        fn flush_cache(&mut self) {}
    }
    let kinds: [(&str, Rejects); 4] = [
        ("group", |step| matches!(step, Step::SetGroup(change) if change.dev == "eth1")),
        (
            "route",
            |step| matches!(step, Step::AddRoute(route) if route.dev.as_deref() == Some("eth1") && route.table == 2),
        ),
        (
            "rule of an address",
            |step| matches!(step, Step::AddRule(rule) if rule.src.is_some() && rule.priority == 111),
        ),
        ("rule of the interface", |step| matches!(step, Step::AddRule(rule) if rule.oif.as_deref() == Some("eth1"))),
    ];
    let before = bare();
    let plan = planned(&before, |_, _| {});
    for (what, rejects) in kinds {
        let mut kernel = Rejecting(Model::new(&before, None), rejects);
        let outcome = converge_each(&mut kernel, &plan, &before, &|_| false).unwrap();
        assert_eq!(outcome.failures.iter().map(|failure| failure.uplink).collect::<Vec<_>>(), [1], "{what}");
        let now = kernel.0.now;
        for policy in &plan.policies {
            let is_there = policy.uplink != 1;
            let rules = policy.rules.iter().filter(|placed| now.rules.contains(&placed.item)).count();
            let routes = policy.routes.iter().filter(|placed| now.routes.contains(&placed.item)).count();
            let wanted = if is_there { (policy.rules.len(), policy.routes.len()) } else { (0, 0) };
            assert_eq!((rules, routes), wanted, "{what}: uplink {}", policy.uplink);
        }
    }
    // Nothing is left of a kernel that rejects all of one kind, and every uplink is named.
    let mut kernel = Rejecting(Model::new(&before, None), |step| matches!(step, Step::SetGroup(_)));
    let outcome = converge_each(&mut kernel, &plan, &before, &|_| false).unwrap();
    assert_eq!((outcome.steps.len(), outcome.failures.len()), (0, 3));
    assert_eq!(sorted(kernel.0.now), sorted(before));
}

/// A failure during the rollback.
#[test]
fn a_failed_rollback_is_reported() {
    struct Stubborn(Model);
    impl Kernel for Stubborn {
        fn carry_out(&mut self, steps: &[Step], _: &[Link]) -> Result<Vec<Result<bool>>> {
            let one = |step: &Step| match self.0.messages {
                0..3 => self.0.carry_out_one(step),
                _ => Err(Error::new(Errno::EPERM).context(format!("the kernel rejected '{}'", step.command()))),
            };
            Ok(steps.iter().map(one).collect())
        }
        fn snapshot(&mut self) -> Result<Snapshot> {
            self.0.snapshot()
        }
        fn read_back(&mut self, before: &Snapshot, steps: &[Step], rules: RuleList) -> Result<Snapshot> {
            self.0.read_back(before, steps, rules)
        }
        fn with_rest(&self, after: Snapshot, before: &Snapshot, steps: &[Step]) -> Snapshot {
            self.0.with_rest(after, before, steps)
        }
        fn flush_cache(&mut self) {}
    }
    let before = bare();
    let plan = planned(&before, |_, _| {});
    let mut stubborn = Stubborn(Model::new(&before, None));
    let error = format!("{:#}", converge(&mut stubborn, &plan, &before, &|_| false).unwrap_err());
    assert_eq!(
        error,
        "some changes remain because the rollback failed (the kernel rejected \
         'ip link set dev eth2 group 0': EPERM: Operation not permitted); \
         run 'symroute apply' to repair: the kernel rejected \
         'ip route add 10.0.0.0/24 dev eth0 scope link table 1 proto 97': EPERM: Operation not permitted"
    );
}

/// A list that is not confirmed may lack rules: it counts for those that it has, and not for those that are to be gone.
#[test]
fn a_removal_needs_a_confirmed_list() {
    /// The lists that are not confirmed have this number of rules.
    struct Listing(Model, usize, Vec<RuleList>);
    impl Kernel for Listing {
        fn carry_out(&mut self, steps: &[Step], links: &[Link]) -> Result<Vec<Result<bool>>> {
            self.0.carry_out(steps, links)
        }
        fn snapshot(&mut self) -> Result<Snapshot> {
            self.0.snapshot()
        }
        fn read_back(&mut self, before: &Snapshot, steps: &[Step], rules: RuleList) -> Result<Snapshot> {
            self.2.push(rules);
            let mut after = self.0.read_back(before, steps, rules)?;
            if rules == RuleList::Once {
                after.rules.truncate(self.1);
            }
            Ok(after)
        }
        fn with_rest(&self, after: Snapshot, before: &Snapshot, steps: &[Step]) -> Snapshot {
            self.0.with_rest(after, before, steps)
        }
        fn flush_cache(&mut self) {}
    }
    let mut model = Model::new(&bare(), None);
    let plan = planned(&bare(), |_, _| {});
    converge(&mut model, &plan, &bare(), &|_| false).unwrap();
    let whole = model.now;
    let (mut without, mut with) = (whole.clone(), whole.clone());
    let missing = without.rules.pop().unwrap();
    with.rules.push(Rule { priority: missing.priority + 1, ..missing });
    let cases = [
        (&without, usize::MAX, vec![RuleList::Once]),
        (&without, 0, vec![RuleList::Once, RuleList::Confirmed]),
        (&with, usize::MAX, vec![RuleList::Confirmed]),
    ];
    for (before, listed, expected) in cases {
        let mut kernel = Listing(Model::new(before, None), listed, Vec::new());
        assert_eq!(converge(&mut kernel, &plan, before, &|_| false).unwrap(), 1);
        assert_eq!((sorted(kernel.0.now), kernel.2), (sorted(whole.clone()), expected));
    }
}

/// The device and gateway by which a packet leaves: rules by priority, the longest prefix, suppression.
fn way(now: &Snapshot, from: &str, to: &str) -> Option<(Option<String>, Option<std::net::IpAddr>)> {
    let (from, to): (std::net::IpAddr, std::net::IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let mut rules: Vec<(u32, u32, Option<u32>, Option<u32>)> = now
        .rules
        .iter()
        .filter(|rule| rule.oif.is_none() && rule.src.is_none_or(|src| src.contains(&from)))
        .map(|rule| (rule.priority, rule.table, rule.suppress_prefixlen, rule.suppress_ifgroup))
        .collect();
    rules.push((32766, MAIN, None, None));
    rules.sort_by_key(|(priority, ..)| *priority);
    rules.iter().find_map(|(_, table, length, group)| {
        let routes = now.routes.iter().filter(|route| route.table == *table && route.dst.contains(&to));
        let best = routes.max_by_key(|route| route.dst.prefix_len())?;
        let link = best.dev.as_deref().and_then(|dev| now.link(dev));
        let suppressed = length.is_some_and(|length| u32::from(best.dst.prefix_len()) <= length)
            || group.is_some_and(|group| link.is_some_and(|link| link.group == group));
        (!suppressed).then(|| (best.dev.clone(), best.gateway))
    })
}

/// At no moment of a change of numbers does an address that stays have no route.
#[test]
fn a_change_of_numbers_never_leaves_an_address_without_its_route() {
    let all = changes();
    let full = &all[1].1;
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut cases: Vec<(String, Snapshot, Plan)> = Vec::new();
    for tables in orders {
        for (begin, slots) in [100, 102, 200].into_iter().flat_map(|begin| orders.map(|slots| (begin, slots))) {
            let renumbered = planned(full, |n, uplink| {
                uplink.overrides.table = Some(tables[n] + 1);
                uplink.overrides.priority = Some(begin + 10 * slots[n]);
            });
            cases.push((format!("{tables:?} {begin} {slots:?}"), full.clone(), renumbered));
        }
    }
    cases.extend(all.iter().map(|(what, before, plan)| (what.to_string(), before.clone(), plan.clone())));
    for (what, before, plan) in cases {
        let mut apply_to = Model::new(&before, None);
        converge(&mut apply_to, &plan, &before, &|_| false).unwrap();
        for n in 0..3 {
            let from = format!("10.{n}.0.10");
            for to in ["203.0.113.9", "10.0.0.77", "10.1.0.77", "10.2.0.77", "10.9.9.9"] {
                let (first, last) = (way(&before, &from, to), way(&apply_to.now, &from, to));
                for (at, now) in apply_to.seen.iter().enumerate() {
                    let now = way(now, &from, to);
                    assert!(now == first || now == last, "{what}: {from} to {to} after {at} messages: {now:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    /// From anything to any plan, whoever had the tables before; and back from any message that is rejected.
    #[test]
    fn any_kernel_comes_to_any_plan_or_stays_as_it_is(
        tables in Just(vec![1u32, 2, 3]).prop_shuffle(),
        ups in prop::collection::vec(any::<bool>(), 3),
        routes in prop::collection::vec(route(), 0..25),
        rules in prop::collection::vec(rule(), 0..25),
        off in 0usize..6,
        rejected in any::<prop::sample::Index>(),
    ) {
        let mut before = snapshot(routes, rules);
        // A rule that the kernel has twice is added back as one.
        before.rules.sort();
        before.rules.dedup();
        let plan = planned(&before, |n, uplink| {
            uplink.up = ups[n];
            uplink.overrides.table = Some(tables[n]);
        });
        let is_skipped = |at: usize| at == off;
        let mut apply_to = Model::new(&before, None);
        let done = converge(&mut apply_to, &plan, &before, &is_skipped);
        prop_assert_eq!(foreign(&apply_to.now), foreign(&before));
        let Ok(all) = done else {
            prop_assert_eq!(sorted(apply_to.now), sorted(before));
            return Ok(());
        };
        prop_assert_eq!(difference(&plan, &apply_to.now, &is_skipped), Difference::default());
        prop_assert_eq!(converge(&mut Model::new(&apply_to.now, None), &plan, &apply_to.now, &is_skipped).unwrap(), 0);
        for now in &apply_to.seen {
            prop_assert!(dangling(now) <= dangling(&before), "a rule points to an empty table");
        }
        if all > 0 {
            let at = rejected.index(all) + 1;
            let mut apply_to = Model::new(&before, Some((at, Event::Rejects(Errno::EINVAL))));
            prop_assert!(converge(&mut apply_to, &plan, &before, &is_skipped).is_err());
            prop_assert_eq!(sorted(apply_to.now), sorted(before.clone()), "message {} of {}", at, all);
            for now in &apply_to.seen {
                prop_assert!(dangling(now) <= dangling(&before), "a rule points to an empty table during the rollback");
            }
        }
    }
}
