//! Failed lookups that no other finding accounts for. None goes without a finding.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::{Asked, Causes, Host, NOT_APPLIED};
use crate::check::expected::Expected;
use crate::check::finding::Finding;
use crate::check::foreign::Cause;
use crate::check::matrix::Target;
use crate::interfaces::Family;
use crate::snapshot::{Answer, Kind, Query};

const WRONG_UPLINK: &str = "Replies sent through the wrong provider are dropped. Incoming connections to this address \
                            fail; connections from the LAN may fail too.";
const WRONG_HOST: &str =
    "What the host sends to its own address leaves the host. Local connections to this address fail.";
const NO_SOURCE: &str = "Programs that choose no source address reach nothing there: name lookups, package updates, and \
                         servers that reply from a wildcard socket.";

/// What the findings of an uplink's rules and table account for.
const OF_POLICY: [&str; 4] = ["rule-missing", "route-foreign", "table-empty", "table-stale"];

impl Host<'_> {
    /// One finding for each uplink, and for each family without a source address.
    pub(super) fn failed_lookups(&self, causes: &Causes, found: &mut Vec<Finding>) {
        let sent = causes.iter().filter(|(asked, cause)| !self.is_accounted(asked, cause, found));
        let mut open: Vec<&Asked> = sent.map(|(asked, _)| *asked).collect();
        // What comes in is judged by the reverse lookup: where that one fails too, it tells more.
        let reverse: HashSet<_> = causes
            .iter()
            .map(|(asked, _)| (asked.probe.uplink, asked.probe.query.from, asked.probe.query.to))
            .collect();
        open.extend(self.asked.iter().filter(|asked| {
            let Query { from, to, iif, .. } = &asked.probe.query;
            let has_reverse = from.is_some_and(|from| reverse.contains(&(asked.probe.uplink, Some(*to), from)));
            let is_dropped =
                || found.iter().any(|finding| finding.id == "rp-filter-drops" && finding.interface == *iif);
            asked.is_received() && !asked.is_right() && !has_reverse && !is_dropped()
        }));
        let mut groups: BTreeMap<(Option<usize>, bool), Vec<&Asked>> = BTreeMap::new();
        for asked in open {
            groups.entry((asked.probe.uplink, asked.probe.query.to.is_ipv6())).or_default().push(asked);
        }
        found.extend(groups.into_values().filter_map(|failed| self.lookup_failed(&failed)));
    }

    /// Does another finding tell what a lookup failed of?
    fn is_accounted(&self, asked: &Asked, cause: &Cause, found: &[Finding]) -> bool {
        let family = asked.probe.query.family();
        let uplink = asked.probe.uplink.map(|at| &self.plan.uplinks[at]);
        let of_family = |ids: &[&str]| {
            let known = |finding: &&Finding| ids.contains(&finding.id) && finding.family.is_none_or(|of| of == family);
            found.iter().filter(known).collect::<Vec<_>>()
        };
        let of_uplink = |ids: &[&str]| {
            let on = |finding: &&Finding| finding.interface.as_ref() == uplink.map(|uplink| &uplink.interface);
            of_family(ids).iter().any(on)
        };
        match (cause, asked.probe.target) {
            (Cause::Other | Cause::Default, _) if uplink.is_some() && !of_family(&[NOT_APPLIED]).is_empty() => true,
            (Cause::Rule(_), _) => !of_family(&["rule-shadowed", "rule-duplicated"]).is_empty(),
            (Cause::Route(_), _) => of_uplink(&["route-foreign"]),
            (Cause::Default, _) => !of_family(&["no-default"]).is_empty(),
            (Cause::Other, _) if uplink.is_none() => !of_family(&["no-default"]).is_empty(),
            (Cause::Other, Target::Local(_)) => of_uplink(&OF_POLICY) || of_uplink(&["local-network-unreachable"]),
            (Cause::Other, _) => of_uplink(&OF_POLICY),
        }
    }

    fn lookup_failed(&self, failed: &[&Asked]) -> Option<Finding> {
        let first = failed.iter().find(|asked| asked.probe.target == Target::Distant).or(failed.first())?;
        let query = &first.probe.query;
        let family = query.family();
        let name = if family == Family::Inet6 { "IPv6" } else { "IPv4" };
        let uplink = first.probe.uplink.map(|at| &self.plan.uplinks[at]);
        let subject =
            uplink.map_or(format!("no source address ({name})"), |uplink| format!("{} ({name})", uplink.name));
        let expected = expected(&first.probe.expected);
        let count = match failed.len() {
            1 => String::new(),
            n => format!(" ({n} lookups failed)"),
        };
        let seen = format!("{subject}: {} {}; expected: {expected}{count}", packets(query), outcome(&first.answer));
        let effect = match (&uplink, first.probe.target) {
            (None, _) => NO_SOURCE,
            (_, Target::Host) => WRONG_HOST,
            _ => WRONG_UPLINK,
        };
        let finding = Finding::error("lookup-failed", seen, effect);
        let Some(uplink) = uplink else {
            return Some(Finding { family: Some(family), ..finding }.advice(explain(query)));
        };
        let finding = finding.on(&uplink.interface, family);
        Some(match uplink.hand_written {
            true => Finding { at: Some(uplink.at), ..finding }.advice(format!(
                "{} Correct the manual policy routing of the stanza, or remove it and run 'symroute-gen --write': see \
                 docs/hand-written.md.",
                explain(query)
            )),
            false => finding.advice(explain(query)),
        })
    }
}

/// The command that shows what decided.
pub(super) fn explain(query: &Query) -> String {
    let word = |name: &str, value: Option<String>| value.map_or(String::new(), |value| format!(" --{name} {value}"));
    let from = word("from", query.from.map(|from| from.to_string()));
    let (iif, oif) = (word("iif", query.iif.clone()), word("oif", query.oif.clone()));
    format!("Run 'symroute explain{from} --to {}{iif}{oif}' to see which rule and route decide.", query.to)
}

fn packets(query: &Query) -> String {
    let Query { from, to, iif, oif, .. } = query;
    let from = from.map_or(String::new(), |from| format!(" from {from}"));
    let iif = iif.as_ref().map_or(String::new(), |iif| format!(" that arrive on {iif}"));
    let oif = oif.as_ref().map_or(String::new(), |oif| format!(" of sockets bound to {oif}"));
    format!("packets{from} to {to}{iif}{oif}")
}

/// `leave through eth0 via 192.0.2.1`
fn outcome(answer: &Answer) -> String {
    match answer {
        Answer::Refused(errno) => format!("have no route ({})", errno.desc()),
        Answer::Route(way) if way.kind == Kind::Local => "are delivered locally".into(),
        Answer::Route(way) => {
            let dev = way.dev.as_deref().unwrap_or("no interface");
            format!("leave {}", through(dev, way.gateway))
        }
    }
}

fn through(dev: &str, gateway: Option<IpAddr>) -> String {
    gateway.map_or(format!("directly through {dev}"), |gateway| format!("through {dev} via {gateway}"))
}

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Way(dev, gateway) => through(dev, *gateway),
        Expected::AnyOf(ways) => {
            ways.iter().map(|(dev, gateway)| through(dev, *gateway)).collect::<Vec<_>>().join(" or ")
        }
        Expected::Dev(dev) => format!("through {dev}"),
        Expected::NotBy(devs) => format!("not through {}", devs.join(", ")),
        Expected::Routable => "any route".into(),
        Expected::Delivered => "delivered locally".into(),
        Expected::Rejected => "rejected, as the main table has it".into(),
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
    use crate::policy::{Plan, plan};
    use crate::snapshot::{MAIN, Snapshot, Way};
    use crate::tables::Names;
    use crate::uplinks::Found;

    const ROUTES: &str = "0.0.0.0/0 via 192.0.2.1 dev eth0
        192.0.2.0/24 dev eth0
        198.51.100.0/24 dev eth1
        local 198.51.100.10 dev eth1
        ";

    /// The findings where lookups get these answers, the others the expected one.
    fn found(uplink: &str, answer: &dyn Fn(&Probe) -> Option<Answer>) -> Vec<String> {
        found_with(uplink, 0, answer)
    }

    /// The same where the kernel has this many of the planned rules.
    fn found_with(uplink: &str, rules: usize, answer: &dyn Fn(&Probe) -> Option<Answer>) -> Vec<String> {
        let names = Names::default();
        let plan: Plan = plan(Found { uplinks: uplinks(uplink), ..Found::default() }, None, &names, None);
        let planned = plan.policies.iter().flat_map(|policy| &policy.rules).take(rules);
        let snapshot = Snapshot { rules: planned.map(|placed| placed.item.clone()).collect(), ..snapshot(ROUTES) };
        let right = |probe: &Probe| {
            let way = |kind, dev: &str, gateway| {
                Answer::Route(Way { kind, dev: Some(dev.into()), gateway, ..Way::default() })
            };
            match &probe.expected {
                Expected::Way(dev, gateway) => way(Kind::Unicast, dev, *gateway),
                Expected::Delivered => way(Kind::Local, "lo", None),
                _ => way(Kind::Unicast, "eth1", None),
            }
        };
        let ask = |probe: Probe| Asked { answer: answer(&probe).unwrap_or_else(|| right(&probe)), probe };
        let asked: Vec<Asked> = probes(&plan, &snapshot, &[]).into_iter().map(ask).collect();
        let host = Host {
            plan: &plan,
            by_files: &plan.uplinks,
            written: &plan,
            restarted: &[],
            at_boot: &HashSet::new(),
            by_hand: &[],
            snapshot: &snapshot,
            status: &status(&plan, &snapshot),
            facts: &Facts::default(),
            asked: &asked,
        };
        let text = |finding: &Finding| {
            format!("{}: {}; {}", finding.id, finding.seen, finding.advice.clone().unwrap_or_default())
        };
        findings(&host).iter().filter(|finding| finding.id != "default-route-unknown").map(text).collect()
    }

    const ONE: &str = "eth1 198.51.100.10/24 via 198.51.100.1";

    #[test]
    fn none_where_all_is_right() {
        assert_eq!(found(ONE, &|_| None), Vec::<String>::new());
    }

    /// The only known uplink, and main's default route leads elsewhere.
    #[test]
    fn by_another_interface() {
        let (dev, gateway) = (Some("eth0".to_string()), Some(IpAddr::from([192, 0, 2, 1])));
        let way = Answer::Route(Way { table: MAIN, dev, gateway, ..Way::default() });
        let of = |target: Target| {
            let way = way.clone();
            move |probe: &Probe| {
                let is_sent = probe.query.iif.is_none() && probe.uplink.is_some();
                (is_sent && probe.target == target).then(|| way.clone())
            }
        };
        assert_eq!(
            found(ONE, &of(Target::Distant)),
            [
                "lookup-failed: eth1 (IPv4): packets from 198.51.100.10 to 203.0.113.1 leave through eth0 via 192.0.2.1; \
              expected: through eth1 via 198.51.100.1; Run 'symroute explain --from 198.51.100.10 --to 203.0.113.1' to \
              see which rule and route decide."
            ]
        );
        assert_eq!(
            found(ONE, &of(Target::Host)),
            [
                "lookup-failed: eth1 (IPv4): packets from 198.51.100.10 to 198.51.100.10 leave through eth0 via 192.0.2.1; \
              expected: delivered locally; Run 'symroute explain --from 198.51.100.10 --to 198.51.100.10' to see which \
              rule and route decide."
            ]
        );
    }

    /// What comes in, what has no source, and all of it: one finding for each uplink and family.
    #[test]
    fn without_a_route() {
        let refused = || Some(Answer::Refused(Errno::ENETUNREACH));
        assert_eq!(
            found(ONE, &|probe| refused().filter(|_| probe.query.iif.is_some() && probe.target == Target::Distant)),
            [
                "lookup-failed: eth1 (IPv4): packets from 203.0.113.1 to 198.51.100.10 that arrive on eth1 have no route \
              (Network is unreachable); expected: delivered locally; Run 'symroute explain --from 203.0.113.1 --to \
              198.51.100.10 --iif eth1' to see which rule and route decide."
            ]
        );
        let all = found(ONE, &|_| refused());
        let subjects: Vec<_> = all.iter().map(|line| line.split(" (IPv4)").next().unwrap()).collect();
        assert_eq!(subjects, ["lookup-failed: no source address", "lookup-failed: eth1"], "{all:#?}");
    }

    /// Another finding tells what is wrong.
    #[test]
    fn none_beside_the_finding_that_accounts_for_it() {
        let two = format!("eth0 192.0.2.10/24 via 192.0.2.1\n {ONE}");
        for (rules, id) in [(1, "rule-missing"), (0, "not-applied")] {
            let found = found_with(&two, rules, &|probe| {
                (probe.uplink.is_some() && probe.query.iif.is_none()).then_some(Answer::Refused(Errno::ENETUNREACH))
            });
            let ids: Vec<_> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
            assert!(ids.contains(&id) && !ids.contains(&"lookup-failed"), "{ids:?}");
            assert!(rules > 0 || !ids.iter().any(|id| OF_POLICY.contains(id)), "{ids:?}");
        }
    }
}
