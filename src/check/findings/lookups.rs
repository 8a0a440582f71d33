//! Failed lookups that no other finding explains: every failed lookup has a finding.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustc_hash::FxHashSet;

use super::{EFFECT_NO_SOURCE, EFFECT_WRONG_UPLINK, NOT_APPLIED};
use crate::check::expected::Expected;
use crate::check::finding::Finding;
use crate::check::foreign::{FailedLookup, FailureCause};
use crate::check::input::{CheckInput, ProbeResult};
use crate::check::matrix::Target;
use crate::network::{Answer, Kind, Query};
use crate::uplinks::Uplink;

const EFFECT_NOT_LOCAL: &str =
    "Packets from the host to its own address are not delivered locally. Local connections to this address fail.";

/// Findings of an uplink's rules and table. They explain its failed lookups.
const OF_POLICY: [&str; 4] = ["rule-missing", "foreign-route", "table-empty", "table-stale"];

impl CheckInput<'_> {
    /// One finding for each uplink, and for each family without a source address.
    pub(super) fn find_failed_lookups(&self, failed: &[FailedLookup], found: &mut Vec<Finding>) {
        let sent = failed.iter().filter(|failed| !self.is_explained(failed, found));
        let mut open: Vec<&ProbeResult> = sent.map(|failed| failed.result).collect();
        // If the lookup for the reply fails too, its finding is the better explanation.
        let key = |result: &ProbeResult| (result.probe.uplink, result.probe.query.from, result.probe.query.to);
        let reverse: FxHashSet<_> = failed.iter().map(|failed| key(failed.result)).collect();
        open.extend(self.results.iter().filter(|result| {
            let Query { from, to, iif, .. } = &result.probe.query;
            let has_reverse = from.is_some_and(|from| reverse.contains(&(result.probe.uplink, Some(*to), from)));
            let is_dropped =
                || found.iter().any(|finding| finding.id == "rp-filter-drops" && finding.interface == *iif);
            result.is_received() && !result.is_ok() && !has_reverse && !is_dropped()
        }));
        let mut groups: BTreeMap<(Option<usize>, bool), Vec<&ProbeResult>> = BTreeMap::new();
        for result in open {
            groups.entry((result.probe.uplink, result.probe.query.to.is_ipv6())).or_default().push(result);
        }
        found.extend(groups.into_values().filter_map(|failed| self.lookup_failed(&failed)));
    }

    /// Does another finding explain why the lookup failed?
    fn is_explained(&self, failed: &FailedLookup, found: &[Finding]) -> bool {
        let FailedLookup { result, cause } = failed;
        let family = result.probe.query.family();
        let uplink = result.probe.uplink.map(|index| &self.plan.uplinks[index]);
        let of_family = |ids: &[&str]| {
            let is_one = |finding: &&Finding| ids.contains(&finding.id) && finding.family.is_none_or(|of| of == family);
            found.iter().filter(is_one).collect::<Vec<_>>()
        };
        let of_uplink = |ids: &[&str]| {
            let is_its = |finding: &&Finding| finding.interface.as_ref() == uplink.map(|uplink| &uplink.interface);
            of_family(ids).iter().any(is_its)
        };
        match (cause, result.probe.target) {
            (FailureCause::Unknown | FailureCause::MainDefault, _)
                if uplink.is_some() && !of_family(&[NOT_APPLIED]).is_empty() =>
            {
                true
            }
            (FailureCause::ForeignRule(_), _) => !of_family(&["rule-shadowed", "rule-duplicated"]).is_empty(),
            (FailureCause::ForeignRoute(_), _) => of_uplink(&["foreign-route"]),
            (FailureCause::MainDefault, _) => !of_family(&["no-default"]).is_empty(),
            (FailureCause::Unknown, _) if uplink.is_none() => !of_family(&["no-default"]).is_empty(),
            (FailureCause::Unknown, Target::Local(_)) => {
                of_uplink(&OF_POLICY) || of_uplink(&["local-network-unreachable"])
            }
            (FailureCause::Unknown, _) => of_uplink(&OF_POLICY),
        }
    }

    fn lookup_failed(&self, failed: &[&ProbeResult]) -> Option<Finding> {
        let first = clearest(failed)?;
        let query = &first.probe.query;
        let family = query.family();
        let uplink = first.probe.uplink.map(|index| &self.plan.uplinks[index]);
        let subject = uplink.map_or(format!("no source address ({})", family.version()), Uplink::label);
        let expected = expected(&first.probe.expected);
        let count = match failed.len() {
            1 => String::new(),
            n => format!(" ({n} lookups failed)"),
        };
        let summary = format!("{subject}: {}; expected: {expected}{count}", describe_one(first));
        let effect = match (&uplink, first.probe.target) {
            (None, _) => EFFECT_NO_SOURCE,
            (_, Target::Host) => EFFECT_NOT_LOCAL,
            _ => EFFECT_WRONG_UPLINK,
        };
        let finding = Finding::error("lookup-failed", summary, effect);
        let Some(uplink) = uplink else {
            return Some(Finding { family: Some(family), ..finding }.note(explain(query)));
        };
        let finding = finding.on(&uplink.interface, family);
        Some(match uplink.is_manual {
            true => Finding { location: Some(uplink.location), ..finding }.note(format!(
                "{} Correct the manual policy routing of the stanza. Or replace it with symroute's: see 'symroute \
                 check --explain manual-leaks'.",
                explain(query)
            )),
            false => finding.note(explain(query)),
        })
    }
}

/// The command that shows why the kernel selects a route.
pub(super) fn explain(query: &Query) -> String {
    let word = |name: &str, value: Option<String>| value.map_or(String::new(), |value| format!(" --{name} {value}"));
    let from = word("from", query.from.map(|from| from.to_string()));
    let (iif, oif) = (word("iif", query.iif.clone()), word("oif", query.oif.clone()));
    let option = |(name, value): (&str, String)| format!(" --{name} {}", value.trim_start_matches("ipv6-"));
    let selectors: String = query.selectors().into_iter().map(option).collect();
    format!("Run 'symroute explain{from} --to {}{iif}{oif}{selectors}' to see which rule and route decide.", query.to)
}

/// The lookup that a reader understands best: the one to a remote address, if it failed.
fn clearest<'a>(failed: &[&'a ProbeResult]) -> Option<&'a ProbeResult> {
    failed.iter().find(|result| result.probe.target == Target::Remote).or(failed.first()).copied()
}

/// `packets from A to B leave through DEV via GATEWAY`, for one of the failed lookups.
pub(super) fn describe(failed: &[&ProbeResult]) -> Option<String> {
    clearest(failed).map(describe_one)
}

fn describe_one(result: &ProbeResult) -> String {
    format!("{} {}", packets(&result.probe.query), outcome(&result.answer))
}

fn packets(query: &Query) -> String {
    let Query { from, to, iif, oif, .. } = query;
    let from = from.map_or(String::new(), |from| format!(" from {from}"));
    let iif = iif.as_ref().map_or(String::new(), |iif| format!(" that arrive on {iif}"));
    let oif = oif.as_ref().map_or(String::new(), |oif| format!(" of sockets bound to {oif}"));
    let selectors: Vec<String> = query.selectors().into_iter().map(|(word, value)| format!("{word} {value}")).collect();
    let selectors = if selectors.is_empty() { String::new() } else { format!(" with {}", selectors.join(" ")) };
    format!("packets{from} to {to}{iif}{oif}{selectors}")
}

/// `leave through eth0 via 192.0.2.1`
fn outcome(answer: &Answer) -> String {
    match answer {
        Answer::Rejected(errno) => format!("have no route ({})", errno.desc()),
        Answer::Route(route) if route.kind == Kind::Local => "are delivered locally".into(),
        Answer::Route(route) => {
            let dev = route.dev.as_deref().unwrap_or("no interface");
            format!("leave {}", through(dev, route.gateway))
        }
    }
}

fn through(dev: &str, gateway: Option<IpAddr>) -> String {
    gateway.map_or(format!("directly through {dev}"), |gateway| format!("through {dev} via {gateway}"))
}

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Through(dev, gateway) => through(dev, *gateway),
        Expected::AnyOf(hops) => {
            hops.iter().map(|(dev, gateway)| through(dev, *gateway)).collect::<Vec<_>>().join(" or ")
        }
        Expected::Dev(dev) => format!("through {dev}"),
        Expected::NotThrough(devs) => format!("not through {}", devs.join(", ")),
        Expected::Routable => "any route".into(),
        Expected::Delivered => "delivered locally".into(),
        Expected::Rejected => "rejected, as in the main table".into(),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::super::findings;
    use super::*;
    use crate::check::expected::tests::{snapshot, uplinks};
    use crate::check::facts::Facts;
    use crate::check::matrix::{Probe, probes};
    use crate::check::status;
    use crate::commands::tables::Names;
    use crate::interfaces::Severity;
    use crate::network::{MAIN, ResolvedRoute, Snapshot};
    use crate::policy::{Plan, plan};
    use crate::uplinks::Discovery;

    const ROUTES: &str = "0.0.0.0/0 via 192.0.2.1 dev eth0
        192.0.2.0/24 dev eth0
        198.51.100.0/24 dev eth1
        local 198.51.100.10 dev eth1
        ";

    /// The findings if some lookups get these answers; the others get the expected one.
    fn found(uplink: &str, answer: &dyn Fn(&Probe) -> Option<Answer>) -> Vec<String> {
        found_with(uplink, 0, answer)
    }

    /// The same if the kernel has this many of the planned rules.
    fn found_with(uplink: &str, rules: usize, answer: &dyn Fn(&Probe) -> Option<Answer>) -> Vec<String> {
        let text =
            |finding: Finding| format!("{}: {}; {}", finding.id, finding.summary, finding.note.unwrap_or_default());
        findings_with(uplink, rules, answer).into_iter().map(text).collect()
    }

    fn findings_with(uplink: &str, rules: usize, answer: &dyn Fn(&Probe) -> Option<Answer>) -> Vec<Finding> {
        let names = Names::default();
        let plan: Plan = plan(Discovery { uplinks: uplinks(uplink), ..Discovery::default() }, None, &names, None);
        let planned = plan.policies.iter().flat_map(|policy| &policy.rules).take(rules);
        let snapshot = Snapshot { rules: planned.map(|placed| placed.item.clone()).collect(), ..snapshot(ROUTES) };
        let expected_answer = |probe: &Probe| {
            let route = |kind, dev: &str, gateway| {
                Answer::Route(ResolvedRoute { kind, dev: Some(dev.into()), gateway, ..ResolvedRoute::default() })
            };
            match &probe.expected {
                Expected::Through(dev, gateway) => route(Kind::Unicast, dev, *gateway),
                Expected::Delivered => route(Kind::Local, "lo", None),
                Expected::Dev(dev) => route(Kind::Unicast, dev, None),
                Expected::NotThrough(_) | Expected::Rejected => Answer::Rejected(Errno::ENETUNREACH),
                _ => route(Kind::Unicast, "eth1", None),
            }
        };
        let look_up =
            |probe: Probe| ProbeResult { answer: answer(&probe).unwrap_or_else(|| expected_answer(&probe)), probe };
        let results: Vec<ProbeResult> = probes(&plan, &snapshot, &[]).into_iter().map(look_up).collect();
        let (status, facts) = (status(&plan, &snapshot), Facts::default());
        let input = CheckInput::of(&plan, &snapshot, &status, &facts, &results);
        findings(&input).into_iter().filter(|finding| finding.id != "default-route-unknown").collect()
    }

    const ONE: &str = "eth1 198.51.100.10/24 via 198.51.100.1";

    #[test]
    fn no_finding_if_all_lookups_are_ok() {
        assert_eq!(found(ONE, &|_| None), Vec::<String>::new());
    }

    /// The only known uplink, and main's default route uses another interface.
    #[test]
    fn another_interface() {
        let (dev, gateway) = (Some("eth0".to_string()), Some(IpAddr::from([192, 0, 2, 1])));
        let other_route = Answer::Route(ResolvedRoute { table: MAIN, dev, gateway, ..ResolvedRoute::default() });
        let of = |target: Target| {
            let other_route = other_route.clone();
            move |probe: &Probe| {
                let is_sent = probe.query.iif.is_none() && probe.uplink.is_some();
                (is_sent && probe.target == target).then(|| other_route.clone())
            }
        };
        assert_eq!(
            found(ONE, &of(Target::Remote)),
            ["lookup-failed: eth1 (IPv4): packets from 198.51.100.10 to 203.0.113.1 leave through eth0 via \
              192.0.2.1; expected: through eth1 via 198.51.100.1; Run 'symroute explain --from 198.51.100.10 --to \
              203.0.113.1' to see which rule and route decide."]
        );
        assert_eq!(
            found(ONE, &of(Target::Host)),
            ["lookup-failed: eth1 (IPv4): packets from 198.51.100.10 to 198.51.100.10 leave through eth0 via \
              192.0.2.1; expected: delivered locally; Run 'symroute explain --from 198.51.100.10 --to 198.51.100.10' \
              to see which rule and route decide."]
        );
    }

    /// One finding for each uplink and family: for received packets, for sockets without a source, for both.
    #[test]
    fn without_a_route() {
        let rejected = || Some(Answer::Rejected(Errno::ENETUNREACH));
        assert_eq!(
            found(ONE, &|probe| rejected().filter(|_| probe.query.iif.is_some() && probe.target == Target::Remote)),
            ["lookup-failed: eth1 (IPv4): packets from 203.0.113.1 to 198.51.100.10 that arrive on eth1 have no \
              route (Network is unreachable); expected: delivered locally; Run 'symroute explain --from 203.0.113.1 \
              --to 198.51.100.10 --iif eth1' to see which rule and route decide."]
        );
        let all = found(ONE, &|_| rejected());
        let subjects: Vec<_> = all.iter().map(|line| line.split(" (IPv4)").next().unwrap()).collect();
        assert_eq!(subjects, ["lookup-failed: no source address", "lookup-failed: eth1"], "{all:#?}");
    }

    /// The other finding is enough.
    #[test]
    fn no_finding_if_another_one_explains_the_lookup() {
        let two = format!("eth0 192.0.2.10/24 via 192.0.2.1\n {ONE}");
        for (rules, id) in [(1, "rule-missing"), (0, "not-applied")] {
            let found = found_with(&two, rules, &|probe| {
                (probe.uplink.is_some() && probe.query.iif.is_none()).then_some(Answer::Rejected(Errno::ENETUNREACH))
            });
            let ids: Vec<_> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
            assert!(ids.contains(&id) && !ids.contains(&"lookup-failed"), "{ids:?}");
            assert!(rules > 0 || !ids.iter().any(|id| OF_POLICY.contains(id)), "{ids:?}");
        }
    }

    #[test]
    fn ids_of_this_module_are_known() {
        let ids: Vec<&str> = crate::check::finding::ids().collect();
        for id in super::super::BY_LOOKUPS.iter().chain(&OF_POLICY) {
            assert!(ids.contains(id), "{id}");
        }
    }

    /// An error loses packets now: a lookup fails.
    #[test]
    fn error_only_if_a_lookup_fails() {
        let two = format!("eth0 192.0.2.10/24 via 192.0.2.1\n {ONE}");
        let rejected = Answer::Rejected(Errno::ENETUNREACH);
        let of_eth1 = |probe: &Probe| probe.uplink == Some(1) && probe.query.iif.is_none();
        for (rules, fails) in [(5, true), (5, false), (0, true), (0, false)] {
            let found = findings_with(&two, rules, &|probe| Some(rejected.clone()).filter(|_| fails && of_eth1(probe)));
            for (id, interface) in [("rule-missing", "eth1"), ("table-empty", "eth1"), ("table-empty", "eth0")] {
                let is_about = |finding: &&Finding| finding.id == id && finding.interface.as_deref() == Some(interface);
                let expected = match fails && interface == "eth1" {
                    _ if rules == 0 => None,
                    true => Some(Severity::Error),
                    false => Some(Severity::Warning),
                };
                assert_eq!(
                    found.iter().find(is_about).map(|finding| finding.severity),
                    expected,
                    "{id} {interface} {found:#?}"
                );
            }
            let expected = if fails { Severity::Error } else { Severity::Warning };
            let not_applied = found.iter().find(|finding| finding.id == NOT_APPLIED);
            assert!(rules > 0 || not_applied.is_some_and(|finding| finding.severity == expected), "{found:#?}");
        }
    }
}
