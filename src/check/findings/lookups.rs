//! Failed lookups that no other finding accounts for. None goes without a finding.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::{Asked, Causes, Host};
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
            (Cause::Rule(_), _) => !of_family(&["rule-shadowed", "rule-duplicated"]).is_empty(),
            (Cause::Route(_), _) => of_uplink(&["route-foreign"]),
            (Cause::Default, _) => !of_family(&["no-default"]).is_empty(),
            (Cause::Other, _) if uplink.is_none() => !of_family(&["no-default"]).is_empty(),
            (Cause::Other, Target::Elsewhere) => of_uplink(&["address-elsewhere", "address-missing"]),
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
