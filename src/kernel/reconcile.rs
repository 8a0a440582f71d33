//! Carrying a difference out, reading back, and taking back what was done when something fails.

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

use super::{Socket, flush_cache, message, snapshot};
use crate::policy::Plan;
use crate::policy::difference::{Difference, difference};
use crate::snapshot::{Link, Route, Rule, Snapshot};

/// One message to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    AddRoute(Route),
    /// The old one, for taking it back, and the new one.
    ReplaceRoute(Route, Route),
    RemoveRoute(Route),
    AddRule(Rule),
    RemoveRule(Rule),
}

impl Step {
    fn undone(self) -> Step {
        match self {
            Step::AddRoute(route) => Step::RemoveRoute(route),
            Step::ReplaceRoute(old, new) => Step::ReplaceRoute(new, old),
            Step::RemoveRoute(route) => Step::AddRoute(route),
            Step::AddRule(rule) => Step::RemoveRule(rule),
            Step::RemoveRule(rule) => Step::AddRule(rule),
        }
    }

    /// The `ip` command that would do it, for messages.
    fn command(&self) -> String {
        let family = |family: crate::interfaces::Family| match family {
            crate::interfaces::Family::Inet6 => "ip -6",
            _ => "ip",
        };
        match self {
            Step::AddRoute(route) => format!("{} route add {route} proto 97", family(route.family)),
            Step::ReplaceRoute(_, route) => format!("{} route replace {route} proto 97", family(route.family)),
            Step::RemoveRoute(route) => format!("{} route del {route} proto 97", family(route.family)),
            Step::AddRule(rule) => format!("{} rule add {rule} protocol 97", family(rule.family)),
            Step::RemoveRule(rule) => format!("{} rule del {rule} protocol 97", family(rule.family)),
        }
    }

    /// `Ok(false)` when it was done already: there before an add, gone before a removal.
    fn run(&self, socket: &mut Socket, links: &[Link]) -> Result<bool> {
        use RouteNetlinkMessage::{DelRoute, DelRule, NewRoute, NewRule};
        const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
        let (request, flags) = match self {
            Step::AddRoute(route) | Step::ReplaceRoute(_, route) | Step::RemoveRoute(route) => {
                let Some(message) = message::write_route(route, links) else {
                    // The link is gone, and its routes with it.
                    return if matches!(self, Step::RemoveRoute(_)) { Ok(false) } else { Err(Errno::ENODEV.into()) };
                };
                match self {
                    Step::AddRoute(_) => (NewRoute(message), CREATE),
                    Step::ReplaceRoute(..) => (NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE),
                    _ => (DelRoute(message), 0),
                }
            }
            Step::AddRule(rule) => (NewRule(message::write_rule(rule)), CREATE),
            Step::RemoveRule(rule) => (DelRule(message::write_rule(rule)), 0),
        };
        let adds = matches!(self, Step::AddRoute(_) | Step::ReplaceRoute(..) | Step::AddRule(_));
        match socket.change(request, flags)? {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) if adds => Ok(false),
            Err(Errno::ENOENT | Errno::ESRCH | Errno::ENODEV) if !adds => Ok(false),
            Err(errno) => Err(anyhow::Error::new(errno).context(format!("the kernel refused '{}'", self.command()))),
        }
    }
}

fn steps(difference: Difference) -> Vec<Step> {
    let Difference { add_routes, replace_routes, add_rules, remove_rules, remove_routes, obstructed: _ } = difference;
    let replace = replace_routes.into_iter().map(|(old, new)| Step::ReplaceRoute(old, new));
    let mut steps: Vec<Step> = add_routes.into_iter().map(Step::AddRoute).chain(replace).collect();
    steps.extend(add_rules.into_iter().map(Step::AddRule));
    steps.extend(remove_rules.into_iter().map(Step::RemoveRule));
    steps.extend(remove_routes.into_iter().map(Step::RemoveRoute));
    steps
}

/// The commands that [`reconcile`] would amount to, in its order.
pub fn reconciled(plan: &Plan, before: &Snapshot, hands_off: &dyn Fn(usize) -> bool) -> Vec<String> {
    steps(difference(plan, before, hands_off)).iter().map(Step::command).collect()
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
    run(socket, steps(difference), before, |after| {
        let left = self::difference(plan, after, hands_off);
        steps(left).first().map(Step::command)
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
    socket: &mut Socket,
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
            if step.run(socket, &before.links)? {
                done.push(step);
            }
        }
        let after = snapshot(socket).context("reading back")?;
        match still_missing(&after) {
            Some(command) => {
                bail!("after all changes the kernel still lacks '{command}'; something else changed it meanwhile")
            }
            None => Ok(()),
        }
    })();
    let result = result.and_then(|()| flush_cache());
    let Err(error) = result else { return Ok(done.len()) };
    for step in done.into_iter().rev().map(Step::undone) {
        // The first failure is the one to report; what cannot be taken back went with its link.
        let _ = step.run(socket, &before.links);
    }
    Err(error)
}
