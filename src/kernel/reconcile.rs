//! Carrying a difference out, reading back, and taking back what was done when something fails.

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

use super::steps::{Step, steps, steps_to};
use super::{Socket, flush_cache, message, snapshot};
use crate::policy::Plan;
use crate::policy::difference::difference;
use crate::policy::group::NO_GROUP;
use crate::snapshot::{Link, Snapshot};

/// What a run changes: the kernel, or a model of it in tests.
trait Kernel {
    /// `Ok(false)` when it was done already: there before an add, gone before a removal.
    fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool>;
    fn snapshot(&mut self) -> Result<Snapshot>;
    fn flush_cache(&mut self) -> Result<()>;
}

impl Kernel for Socket {
    fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
        use RouteNetlinkMessage::{DelRoute, DelRule, NewRoute, NewRule, SetLink};
        const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
        let (request, flags) = match step {
            Step::AddRoute(route) | Step::ReplaceRoute(_, route) | Step::RemoveRoute(route) => {
                let Some(message) = message::write_route(route, links) else {
                    // The link is gone, and its routes with it.
                    return match step {
                        Step::RemoveRoute(_) => Ok(false),
                        _ => Err(without_link(step)),
                    };
                };
                match step {
                    Step::AddRoute(_) => (NewRoute(message), CREATE),
                    Step::ReplaceRoute(..) => (NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE),
                    _ => (DelRoute(message), 0),
                }
            }
            Step::AddRule(rule) => (NewRule(message::write_rule(rule)), CREATE),
            Step::RemoveRule(rule) => (DelRule(message::write_rule(rule)), 0),
            Step::SetGroup(change) => match message::write_group(change, links) {
                Some(message) => (SetLink(message), 0),
                // It took its group along.
                None if change.to == NO_GROUP => return Ok(false),
                None => return Err(without_link(step)),
            },
        };
        let adds = match step {
            Step::AddRoute(_) | Step::ReplaceRoute(..) | Step::AddRule(_) => true,
            Step::RemoveRoute(_) | Step::RemoveRule(_) => false,
            Step::SetGroup(change) => change.to != NO_GROUP,
        };
        match self.change(request, flags)? {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) if adds => Ok(false),
            Err(Errno::ENOENT | Errno::ESRCH | Errno::ENODEV) if !adds => Ok(false),
            Err(errno) => Err(anyhow::Error::new(errno).context(format!("the kernel refused '{}'", step.command()))),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        snapshot(self)
    }

    fn flush_cache(&mut self) -> Result<()> {
        flush_cache()
    }
}

fn without_link(step: &Step) -> anyhow::Error {
    anyhow::Error::new(Errno::ENODEV).context(format!("there is no such link for '{}'", step.command()))
}

/// Brings the kernel to the plan and reads it back; gives the number of changes. On failure everything that
/// this run did is taken back.
///
/// # Errors
/// When a foreign route stands in the way, the kernel refuses a change, or reading back shows a difference.
pub fn reconcile(
    socket: &mut Socket,
    plan: &Plan,
    before: &Snapshot,
    hands_off: &dyn Fn(usize) -> bool,
) -> Result<usize> {
    bring(socket, plan, before, hands_off)
}

fn bring(kernel: &mut dyn Kernel, plan: &Plan, before: &Snapshot, hands_off: &dyn Fn(usize) -> bool) -> Result<usize> {
    let difference = difference(plan, before, hands_off);
    if let Some((wanted, theirs)) = difference.obstructed.first() {
        bail!(
            "table {} already has a route to {} that is not symroute's (protocol {}); \
             remove it, or give the uplink another table with 'symroute-table'",
            wanted.table,
            wanted.dst,
            theirs.protocol
        );
    }
    run(kernel, steps_to(plan, before, hands_off), before, |after| {
        let left = self::difference(plan, after, hands_off);
        let obstructed = left.obstructed.first().map(|(wanted, _)| Step::AddRoute(wanted.clone()));
        obstructed.or(steps(left).into_iter().next()).as_ref().map(Step::command)
    })
}

/// Removes everything that is ours; gives the number of rules and routes.
///
/// # Errors
/// As [`reconcile`].
pub fn flush(socket: &mut Socket, before: &Snapshot) -> Result<usize> {
    run(socket, steps(difference(&Plan::default(), before, &|_| false)), before, |after| {
        steps(difference(&Plan::default(), after, &|_| false)).first().map(Step::command)
    })
}

fn run(
    kernel: &mut dyn Kernel,
    steps: Vec<Step>,
    before: &Snapshot,
    still_missing: impl Fn(&Snapshot) -> Option<String>,
) -> Result<usize> {
    if steps.is_empty() {
        return Ok(0);
    }
    let mut done: Vec<Step> = Vec::new();
    let result = (|| {
        for step in steps {
            if kernel.carry_out(&step, &before.links)? {
                done.push(step);
            }
        }
        let after = kernel.snapshot().context("reading back")?;
        match still_missing(&after) {
            Some(command) => {
                bail!("after all changes the kernel still lacks '{command}'; something else changed it meanwhile")
            }
            None => Ok(()),
        }
    })();
    let result = result.and_then(|()| kernel.flush_cache());
    let Err(mut error) = result else { return Ok(done.len()) };
    // The first failure is the one to report. What went with its link cannot and need not be taken back.
    let mut stays = None;
    for step in done.into_iter().rev().map(Step::undone) {
        let Err(failure) = kernel.carry_out(&step, &before.links) else { continue };
        match (failure.downcast_ref(), step) {
            (Some(Errno::ENODEV | Errno::ENETDOWN), Step::ReplaceRoute(new, _)) => {
                let _ = kernel.carry_out(&Step::RemoveRoute(new), &before.links);
            }
            (Some(Errno::ENODEV | Errno::ENETDOWN), _) => {}
            _ => stays = stays.or(Some(failure)),
        }
    }
    if let Some(failure) = stays {
        let what =
            format!("a part was done and could not be taken back ({failure:#}); 'symroute apply' goes on from there");
        error = error.context(what);
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::interfaces::Family;
    use crate::policy::difference::tests::{dangling, foreign, route, rule, snapshot, uplink};
    use crate::policy::difference::{Difference, Membership};
    use crate::policy::plan;
    use crate::snapshot::{LOCAL, MAIN, Route, Rule, SCOPE_LINK, State};
    use crate::tables::Names;
    use crate::uplinks::{Found, Uplink};

    /// What happens at a certain message.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Event {
        Refuses(Errno),
        /// The link goes away with its routes, as `ip link del` has it.
        Vanishes(&'static str),
    }

    /// A kernel in memory, with a memory of every state that it was in.
    struct Model {
        now: Snapshot,
        gone: Vec<&'static str>,
        messages: usize,
        at: Option<(usize, Event)>,
        seen: Vec<Snapshot>,
    }

    impl Model {
        fn new(now: &Snapshot, at: Option<(usize, Event)>) -> Self {
            Model { now: now.clone(), gone: Vec::new(), messages: 0, at, seen: vec![now.clone()] }
        }
    }

    impl Kernel for Model {
        fn carry_out(&mut self, step: &Step, _: &[Link]) -> Result<bool> {
            self.messages += 1;
            match self.at {
                Some((at, Event::Refuses(errno))) if at == self.messages => {
                    return Err(anyhow::Error::new(errno).context(format!("the kernel refused '{}'", step.command())));
                }
                Some((at, Event::Vanishes(link))) if at == self.messages => {
                    self.gone.push(link);
                    self.now.routes.retain(|route| route.dev.as_deref() != Some(link));
                    self.now.links.retain(|known| known.name != link);
                }
                _ => {}
            }
            let gone = |route: &Route| self.gone.iter().any(|link| route.dev.as_deref() == Some(link));
            let set = |change: &Membership| self.gone.contains(&&change.dev[..]) && change.to != NO_GROUP;
            if matches!(step, Step::AddRoute(route) | Step::ReplaceRoute(_, route) if gone(route))
                || matches!(step, Step::SetGroup(change) if set(change))
            {
                return Err(Errno::ENODEV.into());
            }
            let done = step.model(&mut self.now);
            self.seen.push(self.now.clone());
            Ok(done)
        }

        fn snapshot(&mut self) -> Result<Snapshot> {
            Ok(self.now.clone())
        }

        fn flush_cache(&mut self) -> Result<()> {
            Ok(())
        }
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
            more: None,
            state: State::default(),
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
            more: None,
        };
        Snapshot { links, routes, rules: vec![local], ..Snapshot::default() }
    }

    fn planned(now: &Snapshot, change: impl Fn(usize, &mut Uplink)) -> Plan {
        let mut uplinks: Vec<Uplink> = (0..3).map(|n| uplink(n, true)).collect();
        for (n, uplink) in uplinks.iter_mut().enumerate() {
            change(n, uplink);
        }
        plan(Found { uplinks, ..Found::default() }, Some(now), &Names::default(), None)
    }

    fn sorted(mut snapshot: Snapshot) -> (Vec<Link>, Vec<Route>, Vec<Rule>) {
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
    fn changes() -> Vec<(&'static str, Snapshot, Plan)> {
        let empty = bare();
        let first = planned(&empty, |_, _| {});
        let mut model = Model::new(&empty, None);
        bring(&mut model, &first, &empty, &|_| false).unwrap();
        let full = model.now;
        let numbers = |n: usize, it: &mut Uplink| {
            it.wish.table = Some([2, 3, 1][n]);
            it.wish.priority = Some([200, 100, 110][n]);
        };
        vec![
            ("everything new", empty.clone(), first),
            ("tables and priorities of each other", full.clone(), planned(&full, numbers)),
            ("other tables", full.clone(), planned(&full, |n, it| it.wish.table = Some(40 + n as u32))),
            ("another gateway", full.clone(), planned(&full, |n, it| it.gateway = Some([10, n as u8, 0, 254].into()))),
            ("from rules without groups", without_groups(&full), planned(&full, |_, _| {})),
            ("beside foreign rules", with_foreign_rules(&full), planned(&with_foreign_rules(&full), |_, _| {})),
            ("one uplink less", full.clone(), planned(&full, |n, it| it.up = n != 1)),
            ("nothing left", full, Plan::default()),
        ]
    }

    #[test]
    fn whichever_message_is_refused_nothing_stays() {
        for (what, before, plan) in changes() {
            let mut model = Model::new(&before, None);
            let all = bring(&mut model, &plan, &before, &|_| false).unwrap();
            assert!(all > 2, "{what}: {all} messages");
            for at in 1..=all {
                for errno in [Errno::EINVAL, Errno::EPERM, Errno::ENOBUFS, Errno::ENOMEM] {
                    let mut model = Model::new(&before, Some((at, Event::Refuses(errno))));
                    let error = format!("{:#}", bring(&mut model, &plan, &before, &|_| false).unwrap_err());
                    assert!(
                        error.starts_with("the kernel refused 'ip ") && error.contains(&format!("{errno}")),
                        "{error}"
                    );
                    assert_eq!(sorted(model.now), sorted(before.clone()), "{what}: message {at} of {all}, {errno}");
                }
            }
        }
    }

    /// What is left is what was there, less what went with the link; the next run finds its way from there.
    #[test]
    fn a_link_that_vanishes_half_way() {
        for (what, before, plan) in changes() {
            let mut model = Model::new(&before, None);
            let all = bring(&mut model, &plan, &before, &|_| false).unwrap();
            for at in 1..=all {
                let mut model = Model::new(&before, Some((at, Event::Vanishes("eth1"))));
                let result = bring(&mut model, &plan, &before, &|_| false);
                if let Err(error) = &result {
                    assert!(!format!("{error:#}").contains("taken back"), "{what}: message {at}: {error:#}");
                    let mut rest = before.clone();
                    rest.routes.retain(|route| route.dev.as_deref() != Some("eth1"));
                    rest.links.retain(|link| link.name != "eth1" || !model.gone.contains(&"eth1"));
                    assert_eq!(sorted(model.now.clone()), sorted(rest), "{what}: message {at} of {all}");
                }
                model.at = None;
                let now = model.now.clone();
                let next = planned(&now, |_, it| it.up &= it.interface != "eth1");
                bring(&mut model, &next, &now, &|_| false).unwrap();
                let left = difference(&next, &model.now, &|_| false);
                assert_eq!(left, Difference::default(), "{what}: message {at} of {all}");
            }
        }
    }

    /// A failure while taking back is not kept quiet.
    #[test]
    fn what_cannot_be_taken_back_is_said() {
        struct Stubborn(Model);
        impl Kernel for Stubborn {
            fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
                if self.0.messages >= 3 {
                    return Err(
                        anyhow::Error::new(Errno::EPERM).context(format!("the kernel refused '{}'", step.command()))
                    );
                }
                self.0.carry_out(step, links)
            }
            fn snapshot(&mut self) -> Result<Snapshot> {
                self.0.snapshot()
            }
            fn flush_cache(&mut self) -> Result<()> {
                Ok(())
            }
        }
        let before = bare();
        let plan = planned(&before, |_, _| {});
        let mut stubborn = Stubborn(Model::new(&before, None));
        let error = format!("{:#}", bring(&mut stubborn, &plan, &before, &|_| false).unwrap_err());
        assert_eq!(
            error,
            "a part was done and could not be taken back (the kernel refused \
             'ip link set dev eth2 group 0': EPERM: Operation not permitted); \
             'symroute apply' goes on from there: the kernel refused \
             'ip route add 10.0.0.0/24 dev eth0 scope link table 1 proto 97': EPERM: Operation not permitted"
        );
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

    /// At no moment of a change of numbers does an address that stays lose its way.
    #[test]
    fn there_is_no_window() {
        let all = changes();
        let full = &all[1].1;
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mut cases: Vec<(String, Snapshot, Plan)> = Vec::new();
        for tables in orders {
            for (begin, slots) in [100, 102, 200].into_iter().flat_map(|begin| orders.map(|slots| (begin, slots))) {
                let renumbered = planned(full, |n, it| {
                    it.wish.table = Some(tables[n] + 1);
                    it.wish.priority = Some(begin + 10 * slots[n]);
                });
                cases.push((format!("{tables:?} {begin} {slots:?}"), full.clone(), renumbered));
            }
        }
        cases.extend(all.iter().map(|(what, before, plan)| (what.to_string(), before.clone(), plan.clone())));
        for (what, before, plan) in cases {
            let mut model = Model::new(&before, None);
            bring(&mut model, &plan, &before, &|_| false).unwrap();
            for n in 0..3 {
                let from = format!("10.{n}.0.10");
                for to in ["203.0.113.9", "10.0.0.77", "10.1.0.77", "10.2.0.77", "10.9.9.9"] {
                    let (first, last) = (way(&before, &from, to), way(&model.now, &from, to));
                    for (at, now) in model.seen.iter().enumerate() {
                        let now = way(now, &from, to);
                        assert!(now == first || now == last, "{what}: {from} to {to} after {at} messages: {now:?}");
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
        /// From anything to any plan, whoever had the tables before; and back from any message that is refused.
        #[test]
        fn any_kernel_comes_to_any_plan_or_stays_as_it_is(
            tables in Just(vec![1u32, 2, 3]).prop_shuffle(),
            ups in prop::collection::vec(any::<bool>(), 3),
            routes in prop::collection::vec(route(), 0..25),
            rules in prop::collection::vec(rule(), 0..25),
            off in 0usize..6,
            refused in any::<prop::sample::Index>(),
        ) {
            let mut before = snapshot(routes, rules);
            // A rule that the kernel has twice is taken back as one.
            before.rules.sort();
            before.rules.dedup();
            let plan = planned(&before, |n, it| {
                it.up = ups[n];
                it.wish.table = Some(tables[n]);
            });
            let hands_off = |at: usize| at == off;
            let mut model = Model::new(&before, None);
            let done = bring(&mut model, &plan, &before, &hands_off);
            prop_assert_eq!(foreign(&model.now), foreign(&before));
            let Ok(all) = done else {
                prop_assert_eq!(sorted(model.now), sorted(before));
                return Ok(());
            };
            prop_assert_eq!(difference(&plan, &model.now, &hands_off), Difference::default());
            prop_assert_eq!(bring(&mut Model::new(&model.now, None), &plan, &model.now, &hands_off).unwrap(), 0);
            for now in &model.seen {
                prop_assert!(dangling(now) <= dangling(&before), "a rule points to an empty table");
            }
            if all > 0 {
                let at = refused.index(all) + 1;
                let mut model = Model::new(&before, Some((at, Event::Refuses(Errno::EINVAL))));
                prop_assert!(bring(&mut model, &plan, &before, &hands_off).is_err());
                prop_assert_eq!(sorted(model.now), sorted(before), "message {} of {}", at, all);
            }
        }
    }
}
