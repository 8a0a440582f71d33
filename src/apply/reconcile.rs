//! Applies a difference, reads the result back, and rolls back on failure.

use std::borrow::Cow;

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;

use crate::apply::steps::{Step, exact, steps, steps_down, steps_to};
use crate::apply::view::View;
use crate::netlink::Socket;
use crate::netlink::message::Filter;
use crate::network::{Link, Route, Rule, Snapshot};
use crate::policy::difference::difference;
use crate::policy::group::NO_GROUP;
use crate::policy::{Plan, Policy};
use crate::system::sysctl::flush_route_cache;

/// A dump of rules is not atomic where rules before symroute's come and go: what is missing is looked for this often.
const READ_BACK_TRIES: usize = 3;

/// What a run changes: the kernel, or a model of it in tests.
trait Kernel {
    /// `Ok(false)` when it was done already: there before an add, gone before a removal.
    fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool>;
    fn snapshot(&mut self) -> Result<Snapshot>;
    /// As much of a snapshot as the plan is compared with; `before` has the rest.
    fn read_back(&mut self, before: &Snapshot) -> Result<Snapshot>;
    fn flush_cache(&mut self);
}

impl Kernel for View<'_> {
    fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
        self.socket.carry_out(step, links)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        View::snapshot(self)
    }

    fn read_back(&mut self, before: &Snapshot) -> Result<Snapshot> {
        View::read_back(self, before)
    }

    fn flush_cache(&mut self) {
        flush_route_cache();
    }
}

impl Socket {
    fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
        let (changed, adds) = match step {
            Step::AddRoute(route) => (self.add_route(route, links)?, true),
            Step::ReplaceRoute(_, route) => (self.replace_route(route, links)?, true),
            Step::RemoveRoute(route) => (self.remove_route(route, links)?, false),
            Step::AddRule(rule) => (self.add_rule(rule)?, true),
            Step::RemoveRule(rule) => (self.remove_rule(rule)?, false),
            Step::SetGroup(change) => (self.set_group(change, links)?, change.to != NO_GROUP),
        };
        match changed {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) if adds => Ok(false),
            // The routes and the group of a removed interface are removed with it.
            Err(Errno::ENOENT | Errno::ESRCH | Errno::ENODEV) if !adds => Ok(false),
            Err(Errno::ENOBUFS) if self.is_gone(step, links)? => Ok(true),
            Err(Errno::ENODEV) => Err(without_link(step)),
            Err(errno) => Err(Error::new(errno).context(format!("the kernel rejected '{}'", step.command()))),
        }
    }

    /// Was a removal done whose reply was lost?
    fn is_gone(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
        Ok(match step {
            Step::RemoveRoute(route) => {
                let filter = Filter { table: Some(route.table), protocol: Some(route.protocol) };
                !self.routes_with(filter, links)?.contains(route)
            }
            Step::RemoveRule(rule) => !self.rules()?.contains(rule),
            _ => false,
        })
    }
}

fn without_link(step: &Step) -> Error {
    Error::new(Errno::ENODEV).context(format!("interface not found for '{}'", step.command()))
}

/// What a run did.
pub struct Outcome {
    /// Every change, in its order.
    pub steps: Vec<Step>,
    /// Uplinks without a policy because of an error: what the kernel has for them is unchanged.
    pub failures: Vec<Failure>,
}

pub struct Failure {
    /// Index into `Plan::uplinks`.
    pub uplink: usize,
    pub error: Error,
}

/// Why nothing was changed.
struct Stopped {
    /// The rejected step, if its uplink can be excluded.
    step: Option<Box<Step>>,
    error: Error,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped { step: None, error }
    }
}

/// Brings the kernel to the plan and reads it back. An uplink is excluded if the kernel rejects its routes or rules, or
/// if a foreign route blocks its table. The others get their policies.
///
/// # Errors
/// When the kernel does not reply, or rejects what belongs to no uplink: then all changes of this run are rolled back.
pub fn reconcile(
    view: &mut View,
    plan: &Plan,
    before: &Snapshot,
    is_skipped: &dyn Fn(usize) -> bool,
) -> Result<Outcome> {
    converge_each(view, plan, before, is_skipped)
}

fn converge_each(
    kernel: &mut dyn Kernel,
    plan: &Plan,
    before: &Snapshot,
    is_skipped: &dyn Fn(usize) -> bool,
) -> Result<Outcome> {
    let (mut plan, mut before, mut failures) = (Cow::Borrowed(plan), Cow::Borrowed(before), Vec::new());
    loop {
        let Stopped { step, error } = match converge(kernel, &plan, &before, is_skipped) {
            Ok(steps) => return Ok(Outcome { steps, failures }),
            Err(stopped) => stopped,
        };
        // Without the permission nothing is changed for any uplink.
        let step = step.filter(|_| error.downcast_ref() != Some(&Errno::EPERM));
        let Some(step) = step else { return Err(error) };
        let uplinks = owners(&plan, &step);
        if uplinks.is_empty() {
            return Err(error);
        }
        if let Step::SetGroup(change) = *step {
            plan.to_mut().group.interfaces.retain(|interface| *interface != change.dev);
        }
        for uplink in uplinks {
            plan.to_mut().exclude(uplink);
            failures.push(Failure { uplink, error: anyhow!("{error:#}") });
        }
        before = Cow::Owned(kernel.snapshot()?);
    }
}

/// The uplinks that the step is for: one, or all on the interface whose group it sets.
fn owners(plan: &Plan, step: &Step) -> Vec<usize> {
    if let Step::SetGroup(change) = step {
        return (0..plan.uplinks.len()).filter(|at| plan.uplinks[*at].interface == change.dev).collect();
    }
    let has = |policy: &Policy, table: bool| match step {
        Step::AddRoute(route) | Step::ReplaceRoute(_, route) => policy.routes.iter().any(|placed| {
            let own = &placed.item;
            let own = Route { table: if table { own.table } else { route.table }, ..own.clone() };
            own == *route
        }),
        Step::AddRule(rule) => policy.rules.iter().any(|placed| {
            let own = &placed.item;
            let own = Rule { table: if table { own.table } else { rule.table }, ..own.clone() };
            own == *rule
        }),
        _ => false,
    };
    // A table that changes hands is another one meanwhile.
    let find = |table: bool| plan.policies.iter().find(|policy| has(policy, table));
    find(true).or_else(|| find(false)).map(|policy| policy.uplink).into_iter().collect()
}

/// One attempt at the plan; gives the changes. On failure everything is as it was.
fn converge(
    kernel: &mut dyn Kernel,
    plan: &Plan,
    before: &Snapshot,
    is_skipped: &dyn Fn(usize) -> bool,
) -> std::result::Result<Vec<Step>, Stopped> {
    let difference = difference(plan, before, is_skipped);
    if let Some((wanted, theirs)) = difference.conflicts.first() {
        let error = anyhow!(
            "table {} already has a foreign route to {} (protocol {}); remove it, or set another table with \
             'symroute-table'",
            wanted.table,
            wanted.dst,
            theirs.protocol
        );
        return Err(Stopped { step: Some(Box::new(Step::AddRoute(wanted.clone()))), error });
    }
    run(kernel, steps_to(plan, before, difference, is_skipped), before, |after| {
        let left = self::difference(plan, after, is_skipped);
        let conflicts = left.conflicts.first().map(|(wanted, _)| Step::AddRoute(wanted.clone()));
        conflicts.or_else(|| steps(left, after).into_iter().next())
    })
}

/// Removes everything that is ours; gives the changes.
///
/// # Errors
/// When the kernel rejects a change, or reading back shows a difference: then all changes are rolled back.
pub fn flush(view: &mut View, before: &Snapshot) -> Result<Vec<Step>> {
    let steps = |now: &Snapshot| steps(difference(&Plan::default(), now, &|_| false), now);
    run(view, steps(before), before, |after| steps(after).into_iter().next()).map_err(|stopped| stopped.error)
}

/// Removes what the kernel has for these interfaces; gives the changes.
///
/// # Errors
/// As [`flush`].
pub fn take_down(view: &mut View, before: &Snapshot, interfaces: &[&str]) -> Result<Vec<Step>> {
    let steps = |now: &Snapshot| steps_down(now, interfaces);
    run(view, steps(before), before, |after| steps(after).into_iter().next()).map_err(|stopped| stopped.error)
}

fn run(
    kernel: &mut dyn Kernel,
    steps: Vec<Step>,
    before: &Snapshot,
    still_missing: impl Fn(&Snapshot) -> Option<Step>,
) -> std::result::Result<Vec<Step>, Stopped> {
    if steps.is_empty() {
        return Ok(steps);
    }
    let mut done: Vec<Step> = Vec::new();
    let result = carry_out(kernel, steps, before, &mut done, &still_missing);
    let Err(mut stopped) = result else {
        kernel.flush_cache();
        return Ok(done);
    };
    if let Some(failure) = undo(kernel, done, before) {
        let what =
            format!("some changes remain because the rollback failed ({failure:#}); run 'symroute apply' to repair");
        stopped = Stopped { step: None, error: stopped.error.context(what) };
    }
    Err(stopped)
}

fn carry_out(
    kernel: &mut dyn Kernel,
    steps: Vec<Step>,
    before: &Snapshot,
    done: &mut Vec<Step>,
    still_missing: &dyn Fn(&Snapshot) -> Option<Step>,
) -> std::result::Result<(), Stopped> {
    for step in steps {
        match kernel.carry_out(&step, &before.links) {
            Ok(true) => done.push(step),
            Ok(false) => {}
            Err(error) => return Err(Stopped { step: Some(Box::new(step)), error }),
        }
    }
    for _ in 1..READ_BACK_TRIES {
        if still_missing(&kernel.read_back(before).context("reading back")?).is_none() {
            return Ok(());
        }
    }
    let Some(step) = still_missing(&kernel.read_back(before).context("reading back")?) else { return Ok(()) };
    let command = step.command();
    let error = anyhow!("'{command}' is still not done after all changes; another program changed it meanwhile");
    Err(Stopped { step: Some(Box::new(step)), error })
}

/// Undoes what was done; gives the first failure. What was removed with its interface cannot and need not be restored.
fn undo(kernel: &mut dyn Kernel, done: Vec<Step>, before: &Snapshot) -> Option<Error> {
    let mut now = kernel.snapshot().unwrap_or_else(|_| before.clone());
    let mut stays = None;
    for step in done.into_iter().rev().map(Step::inverse).flat_map(|step| exact(step, &mut now, &mut Vec::new())) {
        let Err(failure) = kernel.carry_out(&step, &before.links) else { continue };
        match (failure.downcast_ref(), step) {
            (Some(Errno::ENODEV | Errno::ENETDOWN), Step::ReplaceRoute(new, _)) => {
                let _ = kernel.carry_out(&Step::RemoveRoute(new), &before.links);
            }
            (Some(Errno::ENODEV | Errno::ENETDOWN), _) => {}
            _ => stays = stays.or(Some(failure)),
        }
    }
    stays
}

#[cfg(test)]
mod in_namespace;
#[cfg(test)]
mod tests {
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

    impl Kernel for Model {
        fn carry_out(&mut self, step: &Step, _: &[Link]) -> Result<bool> {
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

        fn snapshot(&mut self) -> Result<Snapshot> {
            Ok(self.now.clone())
        }

        fn read_back(&mut self, before: &Snapshot) -> Result<Snapshot> {
            let mut now = Snapshot { addresses: before.addresses.clone(), ..self.now.clone() };
            now.routes.retain(|route| route.table != MAIN || route.is_ours());
            Ok(now)
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
                planned(&full, |n, uplink| {
                    uplink.gateway = crate::uplinks::Gateway::Address([10, n as u8, 0, 254].into())
                }),
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
            fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
                if self.1(step) { Err(Errno::EOPNOTSUPP.into()) } else { self.0.carry_out(step, links) }
            }
            fn snapshot(&mut self) -> Result<Snapshot> {
                self.0.snapshot()
            }
            fn read_back(&mut self, before: &Snapshot) -> Result<Snapshot> {
                self.0.read_back(before)
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
            (
                "rule of the interface",
                |step| matches!(step, Step::AddRule(rule) if rule.oif.as_deref() == Some("eth1")),
            ),
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
            fn carry_out(&mut self, step: &Step, links: &[Link]) -> Result<bool> {
                if self.0.messages >= 3 {
                    return Err(Error::new(Errno::EPERM).context(format!("the kernel rejected '{}'", step.command())));
                }
                self.0.carry_out(step, links)
            }
            fn snapshot(&mut self) -> Result<Snapshot> {
                self.0.snapshot()
            }
            fn read_back(&mut self, before: &Snapshot) -> Result<Snapshot> {
                self.0.read_back(before)
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
                prop_assert_eq!(sorted(apply_to.now), sorted(before), "message {} of {}", at, all);
            }
        }
    }
}
