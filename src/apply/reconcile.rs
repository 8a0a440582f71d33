//! Applies a difference, reads the result back, and rolls back on failure.

use std::borrow::Cow;

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;

use crate::apply::steps::{Step, exact, steps, steps_down, steps_to, together};
use crate::apply::view::{RuleList, View};
use crate::netlink::Socket;
use crate::netlink::message::Filter;
use crate::netlink::requests::Change;
use crate::network::{Link, Route, Rule, Snapshot};
use crate::policy::difference::difference;
use crate::policy::group::NO_GROUP;
use crate::policy::{Plan, Policy};
use crate::system::sysctl::flush_route_cache;

/// A dump of rules is not atomic where rules before symroute's come and go: what is missing is looked for this often.
const READ_BACK_TRIES: usize = 3;
/// Steps whose effects are searched one by one: an uplink has about six.
const FEW: usize = 16;

/// What a run changes: the kernel, or a model of it in tests.
trait Kernel {
    /// For each of the steps, `Ok(false)` when it was done already: there before an add, gone before a removal. A step that
    /// is rejected does not keep the kernel from those after it.
    fn carry_out(&mut self, steps: &[Step], links: &[Link]) -> Result<Vec<Result<bool>>>;
    fn snapshot(&mut self) -> Result<Snapshot>;
    /// What these steps were to change, as it is now; of the rest as much as was read with it.
    fn read_back(&mut self, before: &Snapshot, steps: &[Step], rules: RuleList) -> Result<Snapshot>;
    /// The same with the rest, as it was before.
    fn with_rest(&self, after: Snapshot, before: &Snapshot, steps: &[Step]) -> Snapshot;
    fn flush_cache(&mut self);
}

impl Kernel for View<'_> {
    fn carry_out(&mut self, steps: &[Step], links: &[Link]) -> Result<Vec<Result<bool>>> {
        self.socket.carry_out(steps, links)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        View::snapshot(self)
    }

    fn read_back(&mut self, before: &Snapshot, steps: &[Step], rules: RuleList) -> Result<Snapshot> {
        View::read_back(self, before, steps, rules)
    }

    fn with_rest(&self, after: Snapshot, before: &Snapshot, steps: &[Step]) -> Snapshot {
        View::with_rest(after, before, steps)
    }

    fn flush_cache(&mut self) {
        flush_route_cache();
    }
}

impl Socket {
    fn carry_out(&mut self, steps: &[Step], links: &[Link]) -> Result<Vec<Result<bool>>> {
        let changes: Vec<Change> = steps.iter().map(change).collect();
        let results = self.make(&changes, links)?;
        Ok(steps.iter().zip(results).map(|(step, result)| self.carried_out(step, result, links)).collect())
    }

    fn carried_out(&mut self, step: &Step, result: Result<(), Errno>, links: &[Link]) -> Result<bool> {
        let adds = match step {
            Step::AddRoute(_) | Step::ReplaceRoute(..) | Step::AddRule(_) => true,
            Step::RemoveRoute(_) | Step::RemoveRule(_) => false,
            Step::SetGroup(change) => change.to != NO_GROUP,
        };
        match result {
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
                let (table, protocol) = (Some(route.table), Some(route.protocol));
                let filter = Filter { table, protocol, ..Filter::default() };
                !self.routes_with(filter, links)?.contains(route)
            }
            Step::RemoveRule(rule) => !self.rules()?.contains(rule),
            _ => false,
        })
    }
}

fn change(step: &Step) -> Change<'_> {
    match step {
        Step::AddRoute(route) => Change::AddRoute(route),
        Step::ReplaceRoute(_, route) => Change::ReplaceRoute(route),
        Step::RemoveRoute(route) => Change::RemoveRoute(route),
        Step::AddRule(rule) => Change::AddRule(rule),
        Step::RemoveRule(rule) => Change::RemoveRule(rule),
        Step::SetGroup(change) => Change::SetGroup(change),
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
    let result = carry_out(kernel, &steps, before, &mut done, &still_missing);
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
    steps: &[Step],
    before: &Snapshot,
    done: &mut Vec<Step>,
    still_missing: &dyn Fn(&Snapshot) -> Option<Step>,
) -> std::result::Result<(), Stopped> {
    let mut rest = steps;
    while !rest.is_empty() {
        let (some, others) = rest.split_at(together(rest));
        send(kernel, some, before, done)?;
        rest = others;
    }
    // A rule that is in a list was there when the kernel sent it. That one is gone, only a confirmed list shows.
    let removes_rules = steps.iter().any(|step| matches!(step, Step::RemoveRule(_)));
    if steps.len() <= FEW && !removes_rules {
        let after = kernel.read_back(before, steps, RuleList::Once).context("reading back")?;
        if are_done(steps, &after) {
            return Ok(());
        }
    }
    let mut missing = None;
    for _ in 0..READ_BACK_TRIES {
        let after = kernel.read_back(before, steps, RuleList::Confirmed).context("reading back")?;
        if are_done(steps, &after) {
            return Ok(());
        }
        missing = still_missing(&kernel.with_rest(after, before, steps));
        if missing.is_none() {
            return Ok(());
        }
    }
    let Some(step) = missing else { return Ok(()) };
    let command = step.command();
    let error = anyhow!("'{command}' is still not done after all changes; another program changed it meanwhile");
    Err(Stopped { step: Some(Box::new(step)), error })
}

/// Has every one of these steps its effect? Then nothing is missing. The search is for few steps: a comparison with the
/// whole plan is faster than a search for many.
fn are_done(steps: &[Step], after: &Snapshot) -> bool {
    let is_done = |step: &Step| match step {
        Step::AddRoute(route) => after.routes.contains(route),
        Step::ReplaceRoute(old, route) => after.routes.contains(route) && !after.routes.contains(old),
        Step::RemoveRoute(route) => !after.routes.contains(route),
        Step::AddRule(rule) => after.rules.contains(rule),
        Step::RemoveRule(rule) => !after.rules.contains(rule),
        Step::SetGroup(change) => after.link(&change.dev).is_some_and(|link| link.group == change.to),
    };
    steps.len() <= FEW && steps.iter().all(is_done)
}

/// Sends steps together. The first one that the kernel rejects is the failure; those after it may be done.
fn send(
    kernel: &mut dyn Kernel,
    steps: &[Step],
    before: &Snapshot,
    done: &mut Vec<Step>,
) -> std::result::Result<(), Stopped> {
    let results = kernel.carry_out(steps, &before.links).inspect_err(|_| {
        // Any of them may be done. To undo what is not done changes nothing.
        done.extend_from_slice(steps);
    })?;
    let mut failure = None;
    for (step, result) in steps.iter().zip(results) {
        match result {
            Ok(true) => done.push(step.clone()),
            Ok(false) => {}
            Err(error) => failure = failure.or(Some(Stopped { step: Some(Box::new(step.clone())), error })),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Undoes what was done; gives the first failure. What was removed with its interface cannot and need not be restored.
fn undo(kernel: &mut dyn Kernel, done: Vec<Step>, before: &Snapshot) -> Option<Error> {
    let mut now = kernel.snapshot().unwrap_or_else(|_| before.clone());
    let mut stays = None;
    for step in done.into_iter().rev().map(Step::inverse).flat_map(|step| exact(step, &mut now, &mut Vec::new())) {
        let mut results = match kernel.carry_out(std::slice::from_ref(&step), &before.links) {
            Ok(results) => results,
            Err(failure) => vec![Err(failure)],
        };
        let Some(Err(failure)) = results.pop() else { continue };
        match (failure.downcast_ref(), step) {
            (Some(Errno::ENODEV | Errno::ENETDOWN), Step::ReplaceRoute(new, _)) => {
                let _ = kernel.carry_out(&[Step::RemoveRoute(new)], &before.links);
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
mod tests;
