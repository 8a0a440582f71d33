//! The same changes in a kernel, inside a network namespace: what the model of the other tests does is what a kernel does,
//! whichever message is rejected.

use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::*;
use crate::apply::reconcile::tests::{Model, changes, planned, sorted};
use crate::in_namespace::is_inside;
use crate::network::{Family, RuleExtras};
use crate::policy::difference::tests::{foreign, route, rule, snapshot as random};
use crate::policy::difference::{Difference, Membership};

const NAME: &str = "apply::reconcile::in_namespace::the_kernel_changes_as_the_model_does";

const SETUP: &str = "
    ip link set lo up
    for n in 0 1 2 3; do
        ip link add eth$n type veth peer name peer$n
        ip link set eth$n addrgenmode none; ip link set peer$n addrgenmode none
        ip link set eth$n up; ip link set peer$n up; ip addr add 10.$n.0.10/24 dev eth$n
    done";

#[test]
fn the_kernel_changes_as_the_model_does() {
    if is_inside(NAME) {
        inside();
    }
}

/// A kernel that rejects one message.
struct Rejecting {
    socket: Socket,
    messages: usize,
    at: Option<usize>,
}

impl Kernel for Rejecting {
    fn carry_out(&mut self, steps: &[Step], links: &[Link]) -> Result<Vec<Result<bool>>> {
        let rejected = self.at.and_then(|at| at.checked_sub(self.messages + 1)).filter(|index| *index < steps.len());
        self.messages += steps.len();
        let Some(index) = rejected else { return self.socket.carry_out(steps, links) };
        let mut results = self.socket.carry_out(&steps[..index], links)?;
        let command = steps[index].command();
        results.push(Err(Error::new(Errno::EINVAL).context(format!("the kernel rejected '{command}'"))));
        results.extend(self.socket.carry_out(&steps[index + 1..], links)?);
        Ok(results)
    }

    /// Without the routes of inet6, which come when the kernel finds time.
    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = crate::netlink::snapshot(&mut self.socket)?;
        snapshot.routes.retain(|route| route.family == Family::Inet);
        Ok(snapshot)
    }

    fn read_back(&mut self, _: &Snapshot, _: &[Step], _: RuleList) -> Result<Snapshot> {
        self.snapshot()
    }

    fn with_rest(&self, after: Snapshot, _: &Snapshot, _: &[Step]) -> Snapshot {
        after
    }

    fn flush_cache(&mut self) {}
}

impl Rejecting {
    /// Takes everything away that an earlier round made, and puts `wanted` there, less what the kernel rejects.
    fn install(&mut self, wanted: &Snapshot) -> Snapshot {
        (self.messages, self.at) = (0, None);
        let now = self.snapshot().unwrap();
        let is_kernels = |protocol: u8| protocol == 2;
        let rules = now.rules.iter().filter(|rule| !is_kernels(rule.protocol));
        let routes = now.routes.iter().filter(|route| !is_kernels(route.protocol) && route.family == Family::Inet);
        let steps = rules.cloned().map(Step::RemoveRule).chain(routes.cloned().map(Step::RemoveRoute));
        for step in steps {
            let mut results = self.socket.carry_out(&[step], &now.links).unwrap();
            results.pop().unwrap().unwrap();
        }
        let groups = now.links.iter().map(|link| {
            let to = wanted.link(&link.name).map_or(NO_GROUP, |link| link.group);
            Step::SetGroup(Membership { dev: link.name.clone(), from: link.group, to })
        });
        let rules = wanted.rules.iter().filter(|rule| !is_kernels(rule.protocol));
        let routes = wanted.routes.iter().filter(|route| route.table != crate::network::MAIN);
        let steps = rules.cloned().map(Step::AddRule).chain(routes.cloned().map(Step::AddRoute));
        for step in groups.chain(steps) {
            let _ = self.socket.carry_out(&[step], &now.links);
        }
        self.snapshot().unwrap()
    }
}

/// What one has and the other does not.
fn apart(one: Snapshot, other: Snapshot) -> String {
    fn missing<T: PartialEq + std::fmt::Debug>(of: &[T], list: &[T]) -> String {
        of.iter().filter(|item| !list.contains(item)).map(|item| format!("{item:?}\n")).collect()
    }
    let ((links, routes, rules), (other_links, other_routes, other_rules)) = (sorted(one), sorted(other));
    [
        missing(&links, &other_links),
        missing(&routes, &other_routes),
        missing(&rules, &other_rules),
        missing(&other_links, &links),
        missing(&other_routes, &routes),
        missing(&other_rules, &rules),
    ]
    .join("--\n")
}

fn assert_same(one: &Snapshot, other: &Snapshot, what: &str) {
    assert!(sorted(one.clone()) == sorted(other.clone()), "{what}:\n{}", apart(one.clone(), other.clone()));
}

/// Every message rejected once: all is as before. None rejected: the plan, and what the model has.
fn compare(kernel: &mut Rejecting, wanted: &Snapshot, plan: &Plan, rejected: &dyn Fn(usize) -> Vec<usize>) {
    let before = kernel.install(wanted);
    let mut apply_to = Model::new(&before, None);
    let in_model = converge(&mut apply_to, plan, &before, &|_| false).map_err(|stopped| format!("{:#}", stopped.error));
    let in_kernel = converge(kernel, plan, &before, &|_| false).map_err(|stopped| format!("{:#}", stopped.error));
    assert_eq!(in_kernel, in_model, "{before:#?}");
    let after = kernel.snapshot().unwrap();
    assert_same(&after, &apply_to.now, "the model");
    assert_eq!(foreign(&after), foreign(&before));
    if in_kernel.is_err() {
        assert_same(&after, &before, "undone");
        return;
    }
    assert_eq!(difference(plan, &after, &|_| false), Difference::default());
    for at in rejected(kernel.messages) {
        let before = kernel.install(wanted);
        kernel.at = Some(at);
        assert!(converge(kernel, plan, &before, &|_| false).is_err());
        assert_same(&kernel.snapshot().unwrap(), &before, &format!("message {at}"));
    }
}

/// Rules that differ in few words: a removal of one may take another. (With a source: the kernel takes `from all` for
/// there already beside a rule that only has a source more.)
fn alike() -> impl Strategy<Value = Rule> {
    let marks = prop_oneof![3 => Just(None), 1 => Just(Some((5, u32::MAX)))];
    (100u32..102, any::<bool>(), 1u32..3, 0u32..3, any::<bool>(), marks, rule()).prop_map(
        |(priority, other, table, length, group, mark, like)| Rule {
            priority,
            src: Some(format!("10.{}.0.10/32", u8::from(other)).parse().unwrap()),
            oif: None,
            table: if length == 1 { crate::network::MAIN } else { table },
            suppress_prefixlen: length.checked_sub(1),
            suppress_ifgroup: (length > 0 && group).then_some(97),
            extras: mark.map(|mark| Box::new(RuleExtras { mark: Some(mark), ..RuleExtras::default() })),
            ..like
        },
    )
}

fn inside() {
    let setup = Command::new("sh").args(["-ec", SETUP]).output().unwrap();
    assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stderr));
    let mut kernel = Rejecting { socket: Socket::open().unwrap(), messages: 0, at: None };
    // A VPN that is not there.
    for (_, before, plan) in changes().into_iter().filter(|(what, ..)| *what != "beside foreign rules") {
        compare(&mut kernel, &before, &plan, &|all| (1..=all).collect());
    }
    let strategy = (
        Just(vec![1u32, 2, 3]).prop_shuffle(),
        prop::collection::vec(any::<bool>(), 3),
        prop::collection::vec(route(), 0..25),
        prop_oneof![prop::collection::vec(rule(), 0..25), prop::collection::vec(alike(), 0..12)],
        any::<prop::sample::Index>(),
    );
    let kernel = std::cell::RefCell::new(kernel);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&strategy, |(tables, ups, routes, rules, rejected)| {
        let wanted = random(routes, rules);
        let kernel = &mut *kernel.borrow_mut();
        let before = kernel.install(&wanted);
        let plan = planned(&before, |n, uplink| {
            uplink.up = ups[n];
            uplink.overrides.table = Some(tables[n]);
        });
        compare(kernel, &wanted, &plan, &|all| if all == 0 { Vec::new() } else { vec![rejected.index(all) + 1] });
        Ok::<(), TestCaseError>(())
    });
    result.unwrap();
}
