//! Allotting tables and priorities: 1, 2, … and 100, 110, … as in the article, past everything taken.
//!
//! What an uplink has stays: an explicit option wins, then the number in its block, then the one that the
//! kernel already has for it, then the first free one. So a new stanza renumbers nothing.

use std::collections::{HashMap, HashSet};

use crate::interfaces::Diagnostic;
use crate::snapshot::{LOCAL, MAIN, Route, Rule, Snapshot};
use crate::tables::{Names, RESERVED};
use crate::uplinks::{Layout, MAX_PRIORITY, Uplink};

/// Priorities per uplink.
pub const SLOT: u32 = 10;
const FIRST_PRIORITY: u32 = 100;
/// From here on, tables that are exchanged wait for each other; none is kept, should a run be killed meanwhile.
pub const SPARE: u32 = 1 << 31;

/// Numbers that others use.
pub struct Taken {
    tables: HashSet<u32>,
    priorities: HashSet<u32>,
}

impl Taken {
    pub fn new(names: &Names, snapshot: Option<&Snapshot>, tables: &[u32], priorities: &[u32]) -> Self {
        let mut taken = Taken {
            tables: RESERVED.into_iter().chain(names.numbers()).chain(tables.iter().copied()).collect(),
            priorities: priorities.iter().copied().collect(),
        };
        if let Some(snapshot) = snapshot {
            for rule in snapshot.rules.iter().filter(|rule| !rule.is_ours()) {
                taken.tables.insert(rule.table);
                taken.priorities.insert(rule.priority);
            }
            taken.tables.extend(snapshot.routes.iter().filter(|route| !route.is_ours()).map(|route| route.table));
        }
        taken
    }
}

/// inet and inet6 of one interface share their numbers; several uplinks of one family on it do not.
fn group(uplinks: &[Uplink], at: usize) -> (&str, usize) {
    let it = &uplinks[at];
    let before = uplinks[..at].iter().filter(|other| other.interface == it.interface && other.family == it.family);
    (&it.interface, before.count())
}

/// Rules of one uplink, by layout.
fn width(layout: Layout) -> u32 {
    match layout {
        Layout::Layered => 4,
        Layout::Article => 1,
    }
}

/// Table and priority by uplink; a clash is a diagnostic that names both sides.
pub fn allot(
    uplinks: &[Uplink],
    layouts: &HashMap<usize, Layout>,
    managed: &[usize],
    snapshot: Option<&Snapshot>,
    taken: Taken,
    diagnostics: &mut Vec<Diagnostic>,
) -> HashMap<usize, (u32, u32)> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut index: HashMap<(&str, usize), usize> = HashMap::new();
    for &at in managed {
        let slot = *index.entry(group(uplinks, at)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[slot].push(at);
    }
    // Explicit wishes first, over all uplinks: what is allotted must keep clear of them.
    let mut tables: HashMap<u32, usize> = HashMap::new();
    let mut priorities: Vec<(u32, u32, usize)> = Vec::new();
    let mut wished: HashMap<usize, (Option<u32>, Option<u32>)> = HashMap::new();
    for group in &groups {
        for &at in group {
            let of_group = |wish: fn(&Uplink) -> Option<u32>| {
                wish(&uplinks[at]).or_else(|| group.iter().find_map(|other| wish(&uplinks[*other])))
            };
            let (table, priority) = (of_group(|it| it.wish.table), of_group(|it| it.wish.priority));
            if let Some(table) = table {
                let first = *tables.entry(table).or_insert(at);
                if !group.contains(&first) {
                    let what = format!("table {table}");
                    diagnostics.push(both_ask(&what, &uplinks[first], &uplinks[at]));
                }
            }
            if let Some(priority) = priority {
                let end = priority + width(layouts[&at]);
                let clash = priorities
                    .iter()
                    .find(|(start, stop, other)| *start < end && priority < *stop && !group.contains(other));
                if let Some((_, _, other)) = clash {
                    let what = format!("priority {priority} (the rules reach to {})", end - 1);
                    diagnostics.push(both_ask(&what, &uplinks[*other], &uplinks[at]));
                }
                priorities.push((priority, end, at));
            }
            wished.insert(at, (table, priority));
        }
    }
    let mut numbers = HashMap::new();
    // Those that have numbers come before those that need new ones, or a stanza put before them would take
    // their numbers away.
    let in_use = |at: usize| {
        let written = uplinks[at].written;
        let kernel = snapshot.and_then(|snapshot| in_kernel(snapshot, uplinks, at));
        let table = written.and_then(|written| written.table).or(kernel.map(|(table, _)| table));
        (table, written.and_then(|written| written.priority).or(kernel.and_then(|(_, priority)| priority)))
    };
    let had: Vec<(Option<u32>, Option<u32>)> = groups
        .iter()
        .map(|group| {
            let each: Vec<_> = group.iter().map(|at| in_use(*at)).collect();
            (each.iter().find_map(|had| had.0), each.iter().find_map(|had| had.1))
        })
        .collect();
    let mut kept: Vec<(Option<u32>, Option<u32>)> = Vec::new();
    for (group, (table, priority)) in groups.iter().zip(had) {
        let free = |table: &u32| tables.get(table).is_none_or(|other| group.contains(other));
        let table = table.filter(free).filter(|table| !RESERVED.contains(table));
        if let Some(table) = table {
            tables.insert(table, group[0]);
        }
        let clear = |priority: &u32| {
            priorities
                .iter()
                .all(|(start, stop, other)| *start >= priority + SLOT || priority >= stop || group.contains(other))
        };
        let priority = priority.filter(|priority| *priority <= MAX_PRIORITY).filter(clear);
        if let Some(priority) = priority {
            priorities.push((priority, priority + SLOT, group[0]));
        }
        kept.push((table, priority));
    }
    for (group, (table, priority)) in groups.iter().zip(kept) {
        let needs_table = group.iter().any(|at| wished[at].0.is_none());
        let needs_priority = group.iter().any(|at| wished[at].1.is_none());
        let table = table.or_else(|| {
            let free = |table: &u32| !tables.contains_key(table) && !taken.tables.contains(table);
            let table = needs_table.then(|| (1..=u32::MAX).find(free)).flatten();
            tables.extend(table.map(|table| (table, group[0])));
            table
        });
        let priority = priority.or_else(|| {
            let clear = |priority: &u32| {
                let end = priority + SLOT;
                priorities.iter().all(|(start, stop, _)| *start >= end || priority >= stop)
                    && !(*priority..end).any(|number| taken.priorities.contains(&number))
            };
            let mut slots = (FIRST_PRIORITY..=MAX_PRIORITY).step_by(SLOT as usize);
            let priority = needs_priority.then(|| slots.find(clear)).flatten();
            priorities.extend(priority.map(|priority| (priority, priority + SLOT, group[0])));
            priority
        });
        for at in group {
            let (wished_table, wished_priority) = wished[at];
            match (wished_table.or(table), wished_priority.or(priority)) {
                (Some(table), Some(priority)) => {
                    numbers.insert(*at, (table, priority));
                }
                _ => diagnostics.push(Diagnostic::error(
                    uplinks[*at].at,
                    b"",
                    match priorities.last() {
                        Some((start, end, other)) => format!(
                            "no priorities are left for {}: {} has {start} to {}, and others the rest",
                            uplinks[*at].label(),
                            uplinks[*other].label(),
                            end - 1
                        ),
                        None => format!("no priorities are left for {}: others have all", uplinks[*at].label()),
                    },
                    format!(
                        "Between {FIRST_PRIORITY} and {MAX_PRIORITY}, no {SLOT} priorities in a row are free of other \
                         uplinks and of rules that are not symroute's ('ip rule' shows them): remove some of those, or \
                         name one with 'symroute-priority'."
                    ),
                )),
            }
        }
    }
    numbers
}

fn both_ask(what: &str, first: &Uplink, second: &Uplink) -> Diagnostic {
    Diagnostic::error(
        second.at,
        b"",
        format!("{what} is asked for by two uplinks: {} and {}", first.label(), second.label()),
        "Give one of them another number, or take its line out to have one allotted.",
    )
}

/// The table and priority that an uplink already has in the kernel, by what is ours there.
fn in_kernel(snapshot: &Snapshot, uplinks: &[Uplink], at: usize) -> Option<(u32, Option<u32>)> {
    let it = &uplinks[at];
    let alone =
        uplinks.iter().filter(|other| other.interface == it.interface && other.family == it.family).count() == 1;
    let ours = || snapshot.rules.iter().filter(|rule| rule.is_ours() && rule.family == it.family);
    let of_source =
        |rule: &Rule| rule.src.is_some_and(|src| it.sources.iter().any(|own| src.contains(&own.net.addr())));
    // Other tables have routes through its interface as well; the default route is the table's own.
    let defaults = snapshot.routes.iter().filter(|route| route.is_ours() && route.dst.prefix_len() == 0);
    let defaults = defaults.filter(|route| route.family == it.family && route.table != MAIN && route.table < SPARE);
    let by_default = defaults
        .filter(|route| route.dev.as_deref() == Some(&it.interface))
        .find(|route| alone || route.gateway == it.gateway)
        .map(|route| route.table);
    // The kernel drops routes with their link, and keeps the rules.
    let by_rule = || {
        let of_device = ours().find(|rule| alone && rule.oif.as_deref() == Some(&it.interface));
        let own = |rule: &&Rule| of_source(rule) && rule.suppress_ifgroup.is_none() && rule.table != LOCAL;
        let rule = of_device.or_else(|| ours().find(|rule| own(rule) && rule.table != MAIN))?;
        // Another uplink may have the address as well: a table with its default route is that one's.
        let is_anothers = |route: &Route| {
            route.family == it.family && route.dst.prefix_len() == 0 && route.dev.as_deref() != Some(&it.interface)
        };
        let is_free = |route: &Route| route.table != rule.table || route.is_ours() && !is_anothers(route);
        snapshot.routes.iter().all(is_free).then_some(rule.table)
    };
    let table = by_default.or_else(by_rule).filter(|table| *table < SPARE)?;
    // Somebody may have taken a rule away: each of the others tells where the first one was (`layout::rules`).
    let first = |rule: &Rule| match (rule.table == table, rule.suppress_prefixlen, &rule.oif) {
        (false, Some(_), _) if rule.table == MAIN && of_source(rule) && rule.suppress_ifgroup.is_some() => {
            Some(rule.priority)
        }
        // As symroute had them before it used interface groups.
        (true, Some(_), _) => Some(rule.priority),
        (false, Some(_), _) if rule.table == MAIN && of_source(rule) => rule.priority.checked_sub(1),
        (true, None, Some(_)) if alone => rule.priority.checked_sub(3),
        _ => None,
    };
    let last = || ours().filter(|rule| rule.table == table).map(|rule| rule.priority).min();
    Some((table, ours().filter_map(first).min().or_else(last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::Family;
    use crate::policy::difference::tests::uplink;
    use crate::snapshot::{PROTOCOL, State};

    /// The table of another uplink may have a route through its interface too.
    #[test]
    fn its_own_table_is_that_of_its_default() {
        let route = |table: u32, dst: &str, dev: u8| Route {
            family: Family::Inet,
            table,
            dst: dst.parse().unwrap(),
            gateway: (dst == "0.0.0.0/0").then(|| [10, dev, 0, 1].into()),
            dev: Some(format!("eth{dev}")),
            scope: 0,
            metric: 0,
            onlink: false,
            protocol: PROTOCOL,
            more: None,
            state: State::default(),
        };
        let all = [("192.0.2.0/24", 1), ("0.0.0.0/0", 0)].map(|(dst, dev)| route(1, dst, dev));
        let routes = all.into_iter().chain([route(2, "0.0.0.0/0", 1)]).collect();
        let snapshot = Snapshot { routes, ..Snapshot::default() };
        let uplinks = [uplink(0, true), uplink(1, true)];
        assert_eq!([0, 1].map(|at| in_kernel(&snapshot, &uplinks, at)), [Some((1, None)), Some((2, None))]);
    }

    #[test]
    fn out_of_priorities() {
        let uplinks = [uplink(0, true), uplink(1, true)];
        let layouts = HashMap::from([(0, Layout::Layered), (1, Layout::Layered)]);
        // One slot of ten is left.
        let priorities: Vec<u32> =
            (1..=MAX_PRIORITY + SLOT).filter(|priority| !(200..210).contains(priority)).collect();
        let taken = Taken::new(&Names::default(), None, &[1, 3], &priorities);
        let mut diagnostics = Vec::new();
        let numbers = allot(&uplinks, &layouts, &[0, 1], None, taken, &mut diagnostics);
        assert_eq!(numbers, HashMap::from([(0, (2, 200))]));
        let said: Vec<String> = diagnostics.iter().map(|d| format!("{}: {}", d.message, d.help)).collect();
        assert_eq!(
            said,
            [
                "no priorities are left for eth1 inet: eth0 inet has 200 to 209, and others the rest: Between 100 and 32755, no 10 priorities in a row are free of \
              other uplinks and of rules that are not symroute's ('ip rule' shows them): remove some of those, or name \
              one with 'symroute-priority'."
            ]
        );
    }
}
