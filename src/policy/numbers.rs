//! Assigns tables and priorities: 1, 2, … and 100, 110, … as in the article, without those in use.
//!
//! An uplink keeps its numbers: an explicit option has precedence, then the number in its block, then the one that the
//! kernel has for it, then the first free one. So a new stanza does not change the numbers of others.

use std::ops::Range;

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::installed::{Installed, Known, foreign_tables};
use crate::commands::tables::{Names, RESERVED};
use crate::interfaces::Diagnostic;
use crate::network::{Family, Snapshot};
use crate::sort::sort_by_key;
use crate::uplinks::{Layout, MAX_PRIORITY, Uplink};

/// Consecutive priorities that each uplink gets.
pub const PRIORITIES_PER_UPLINK: u32 = 10;
const FIRST_PRIORITY: u32 = 100;

/// The numbers of one uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub table: u32,
    pub priority: u32,
}

/// Numbers that others use.
pub struct ReservedNumbers {
    tables: FxHashSet<u32>,
    priorities: FxHashSet<u32>,
}

impl ReservedNumbers {
    pub fn new(names: &Names, snapshot: Option<&Snapshot>, tables: &[u32], priorities: &[u32]) -> Self {
        let mut reserved = ReservedNumbers {
            tables: RESERVED.into_iter().chain(names.numbers()).chain(tables.iter().copied()).collect(),
            priorities: priorities.iter().copied().collect(),
        };
        if let Some(snapshot) = snapshot {
            for rule in snapshot.rules.iter().filter(|rule| !rule.is_ours()) {
                reserved.tables.insert(rule.table);
                reserved.priorities.insert(rule.priority);
            }
            reserved.tables.extend(foreign_tables(snapshot));
        }
        reserved
    }
}

/// Groups of uplinks that share their numbers: the IPv4 and the IPv6 uplink of an interface. Several uplinks of one
/// family on it do not share.
fn groups(uplinks: &[Uplink], managed: &[usize]) -> Vec<Vec<usize>> {
    let mut counts: FxHashMap<(&str, Family), usize> =
        FxHashMap::with_capacity_and_hasher(uplinks.len(), FxBuildHasher);
    let mut positions = Vec::new();
    for uplink in uplinks {
        let count = counts.entry((&uplink.interface, uplink.family)).or_default();
        positions.push(*count);
        *count += 1;
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: FxHashMap<(&str, usize), usize> =
        FxHashMap::with_capacity_and_hasher(managed.len(), FxBuildHasher);
    for &index in managed {
        let group = *group_of.entry((&uplinks[index].interface, positions[index])).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    groups
}

/// The number of priorities that the rules of one uplink use.
fn width(layout: Layout) -> u32 {
    match layout {
        Layout::Layered => 4,
        Layout::Article => 1,
    }
}

/// The uplinks that need numbers, by their index, with what the numbers depend on.
pub struct Request<'a> {
    pub uplinks: &'a [Uplink],
    pub managed: &'a [usize],
    /// Of each uplink.
    pub layouts: &'a [Layout],
    pub snapshot: Option<&'a Snapshot>,
}

/// The numbers of each uplink, and why an uplink has none, or has the number of another.
#[derive(Debug, Default)]
pub struct Assignment {
    pub numbers: Vec<Option<Numbers>>,
    pub faults: Vec<(usize, Diagnostic)>,
}

/// Assigns a table and a priority to each uplink.
pub fn assign(request: &Request, reserved: ReservedNumbers) -> Assignment {
    let uplinks = request.uplinks;
    let groups = groups(uplinks, request.managed);
    let mut allocator = Allocator::new(uplinks, reserved);
    let mut installed = vec![Known::default(); uplinks.len()];
    if let Some(snapshot) = request.snapshot {
        let in_kernel = Installed::new(snapshot, uplinks);
        for index in request.managed {
            installed[*index] = in_kernel.numbers_of(*index).unwrap_or_default();
        }
    }
    let requested = requested(uplinks, &groups);
    // Options first, over all uplinks: other numbers must not collide with them. If two uplinks request one number, the
    // one that has it in the kernel keeps it.
    let has_requested =
        |group: &[usize]| group.iter().any(|index| installed[*index].overlaps(overrides(&uplinks[*index])));
    let mut order: Vec<&[usize]> = groups.iter().map(Vec::as_slice).collect();
    sort_by_key(&mut order, |group| !has_requested(group));
    let mut assignment = Assignment { numbers: vec![None; uplinks.len()], faults: Vec::new() };
    for group in order {
        allocator.request(group, &requested, request.layouts, &mut assignment.faults);
    }
    // Uplinks that have numbers come before those that need new ones. Otherwise a new stanza before them would get
    // their numbers.
    let current = |index: &usize| {
        let written = uplinks[*index].written.unwrap_or_default();
        Known { table: written.table, priority: written.priority }.or(installed[*index])
    };
    let currents = groups.iter().map(|group| group.iter().map(current).fold(Known::default(), Known::or));
    let kept: Vec<Known> = groups.iter().zip(currents).map(|(group, current)| allocator.keep(group, current)).collect();
    for (group, kept) in groups.iter().zip(kept) {
        let allocated = allocator.complete(group, kept, &requested);
        for index in group {
            match requested[*index].or(allocated) {
                Known { table: Some(table), priority: Some(priority) } => {
                    assignment.numbers[*index] = Some(Numbers { table, priority });
                }
                _ => assignment.faults.push((*index, allocator.none_left(*index))),
            }
        }
    }
    assignment
}

/// The numbers that the options of each uplink request, or those of another one of its group.
fn requested(uplinks: &[Uplink], groups: &[Vec<usize>]) -> Vec<Known> {
    let mut requested = vec![Known::default(); uplinks.len()];
    for group in groups {
        let of_group = group.iter().map(|index| overrides(&uplinks[*index])).fold(Known::default(), Known::or);
        for index in group {
            requested[*index] = overrides(&uplinks[*index]).or(of_group);
        }
    }
    requested
}

/// The numbers that the options of an uplink request.
fn overrides(uplink: &Uplink) -> Known {
    Known { table: uplink.overrides.table, priority: uplink.overrides.priority }
}

/// Assigns numbers, one group of uplinks after the other.
struct Allocator<'a> {
    uplinks: &'a [Uplink],
    reserved: ReservedNumbers,
    /// By table, the uplink that has it.
    tables: FxHashMap<u32, usize>,
    /// By priority, which is `MAX_PRIORITY` and a few at most, the uplink that has it.
    priorities: Vec<Option<usize>>,
    /// The uplink that got priorities last, and these priorities.
    last: Option<(usize, Range<u32>)>,
    /// All numbers below these are in use.
    next_table: u32,
    next_priority: u32,
}

impl<'a> Allocator<'a> {
    fn new(uplinks: &'a [Uplink], reserved: ReservedNumbers) -> Self {
        let (tables, priorities) = (FxHashMap::with_capacity_and_hasher(uplinks.len(), FxBuildHasher), Vec::new());
        Allocator { uplinks, reserved, tables, priorities, last: None, next_table: 1, next_priority: FIRST_PRIORITY }
    }

    fn claim(&mut self, index: usize, priorities: Range<u32>) {
        let (start, end) = (priorities.start as usize, priorities.end as usize);
        self.priorities.resize(self.priorities.len().max(end), None);
        for owner in &mut self.priorities[start..end] {
            owner.get_or_insert(index);
        }
        self.last = Some((index, priorities));
    }

    fn owner_of(&self, priority: u32) -> Option<usize> {
        self.priorities.get(priority as usize).copied().flatten()
    }

    /// The uplink outside the group that has one of these priorities.
    fn other_with(&self, mut priorities: Range<u32>, group: &[usize]) -> Option<usize> {
        priorities.find_map(|priority| self.owner_of(priority).filter(|other| !group.contains(other)))
    }

    /// Claims the numbers that the options of a group request.
    fn request(
        &mut self,
        group: &[usize],
        requested: &[Known],
        layouts: &[Layout],
        faults: &mut Vec<(usize, Diagnostic)>,
    ) {
        for &index in group {
            let requested = requested[index];
            if let Some(table) = requested.table {
                let first = *self.tables.entry(table).or_insert(index);
                if !group.contains(&first) {
                    let what = format!("table {table}");
                    faults.push((index, requested_twice(&what, &self.uplinks[first], &self.uplinks[index])));
                }
            }
            if let Some(priority) = requested.priority {
                let end = priority + width(layouts[index]);
                if let Some(other) = self.other_with(priority..end, group) {
                    let what = format!("priority {priority} (rules up to {})", end - 1);
                    faults.push((index, requested_twice(&what, &self.uplinks[other], &self.uplinks[index])));
                }
                self.claim(index, priority..end);
            }
        }
    }

    /// A group keeps the numbers that it has, unless another uplink requests them.
    fn keep(&mut self, group: &[usize], current: Known) -> Known {
        let is_free = |table: &u32| self.tables.get(table).is_none_or(|other| group.contains(other));
        let table = current.table.filter(is_free).filter(|table| !RESERVED.contains(table));
        let are_free = |priority: &u32| self.other_with(*priority..*priority + PRIORITIES_PER_UPLINK, group).is_none();
        let priority = current.priority.filter(|priority| *priority <= MAX_PRIORITY).filter(are_free);
        self.tables.extend(table.map(|table| (table, group[0])));
        if let Some(priority) = priority {
            self.claim(group[0], priority..priority + PRIORITIES_PER_UPLINK);
        }
        Known { table, priority }
    }

    /// The first free numbers for what is neither requested nor kept.
    fn complete(&mut self, group: &[usize], kept: Known, requested: &[Known]) -> Known {
        let requested = || group.iter().map(|index| requested[*index]);
        let needs_table = kept.table.is_none() && requested().any(|requested| requested.table.is_none());
        let needs_priority = kept.priority.is_none() && requested().any(|requested| requested.priority.is_none());
        let table = needs_table.then(|| self.free_table()).flatten();
        let priority = needs_priority.then(|| self.free_priority()).flatten();
        self.tables.extend(table.map(|table| (table, group[0])));
        if let Some(priority) = priority {
            self.claim(group[0], priority..priority + PRIORITIES_PER_UPLINK);
        }
        kept.or(Known { table, priority })
    }

    fn free_table(&mut self) -> Option<u32> {
        let is_free = |table: &u32| !self.tables.contains_key(table) && !self.reserved.tables.contains(table);
        let table = (self.next_table..=u32::MAX).find(is_free)?;
        self.next_table = table;
        Some(table)
    }

    fn free_priority(&mut self) -> Option<u32> {
        let is_free =
            |priority: u32| self.owner_of(priority).is_none() && !self.reserved.priorities.contains(&priority);
        let mut priorities = (self.next_priority..=MAX_PRIORITY).step_by(PRIORITIES_PER_UPLINK as usize);
        let priority = priorities.find(|first| (*first..first + PRIORITIES_PER_UPLINK).all(is_free));
        self.next_priority = priority.unwrap_or(MAX_PRIORITY + 1);
        priority
    }

    fn none_left(&self, index: usize) -> Diagnostic {
        let label = self.uplinks[index].label();
        let message = match &self.last {
            Some((other, priorities)) => format!(
                "{label}: no free priorities; {} uses {} to {}, the rest is in use",
                self.uplinks[*other].label(),
                priorities.start,
                priorities.end - 1
            ),
            None => format!("{label}: no free priorities; all are in use"),
        };
        let help = format!(
            "Remove foreign rules ('ip rule' lists them), or set 'symroute-priority'. An uplink needs \
             {PRIORITIES_PER_UPLINK} consecutive free priorities from {FIRST_PRIORITY} to {MAX_PRIORITY}."
        );
        Diagnostic::error(self.uplinks[index].location, b"", message, help)
    }
}

fn requested_twice(what: &str, first: &Uplink, second: &Uplink) -> Diagnostic {
    Diagnostic::error(
        second.location,
        b"",
        format!("{what} is requested by two uplinks: {} and {}", first.label(), second.label()),
        "Set another number for one of them. Or remove the option: symroute then assigns a free number.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{PROTOCOL, Route, RouteState};
    use crate::policy::difference::tests::uplink;

    fn route(table: u32, dst: &str, dev: u8) -> Route {
        Route {
            family: Family::Inet,
            table,
            dst: dst.parse().unwrap(),
            gateway: (dst == "0.0.0.0/0").then(|| [10, dev, 0, 1].into()),
            dev: Some(format!("eth{dev}")),
            scope: 0,
            metric: 0,
            onlink: false,
            protocol: PROTOCOL,
            extras: None,
            state: RouteState::default(),
        }
    }

    /// An uplink that is up keeps its table, even if another stanza requests it.
    #[test]
    fn an_active_uplink_keeps_its_table() {
        let layouts = [Layout::Layered; 2];
        let mut uplinks = [uplink(0, true), uplink(1, true)];
        uplinks.iter_mut().for_each(|uplink| uplink.overrides.table = Some(7));
        let faulty = |snapshot: &Snapshot| {
            let reserved = ReservedNumbers::new(&Names::default(), Some(snapshot), &[], &[]);
            let request = Request { uplinks: &uplinks, managed: &[0, 1], layouts: &layouts, snapshot: Some(snapshot) };
            assign(&request, reserved).faults.into_iter().map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(faulty(&Snapshot::default()), [1]);
        for (dev, without_policy) in [(0, 1), (1, 0)] {
            let snapshot = Snapshot { routes: vec![route(7, "0.0.0.0/0", dev)], ..Snapshot::default() };
            assert_eq!(faulty(&snapshot), [without_policy]);
        }
    }

    /// The table of another uplink may have a route through its interface too.
    #[test]
    fn its_own_table_is_that_of_its_default() {
        let table_1 = [("192.0.2.0/24", 1), ("0.0.0.0/0", 0)].map(|(dst, dev)| route(1, dst, dev));
        let routes = table_1.into_iter().chain([route(2, "0.0.0.0/0", 1)]).collect();
        let snapshot = Snapshot { routes, ..Snapshot::default() };
        let uplinks = [uplink(0, true), uplink(1, true)];
        let installed = Installed::new(&snapshot, &uplinks);
        let tables = [0, 1].map(|index| installed.numbers_of(index));
        assert_eq!(tables, [1, 2].map(|table| Some(Known { table: Some(table), priority: None })));
    }

    #[test]
    fn out_of_priorities() {
        let uplinks = [uplink(0, true), uplink(1, true)];
        let layouts = [Layout::Layered; 2];
        // Only 200 to 209 are free.
        let priorities: Vec<u32> =
            (1..=MAX_PRIORITY + PRIORITIES_PER_UPLINK).filter(|priority| !(200..210).contains(priority)).collect();
        let reserved = ReservedNumbers::new(&Names::default(), None, &[1, 3], &priorities);
        let request = Request { uplinks: &uplinks, managed: &[0, 1], layouts: &layouts, snapshot: None };
        let Assignment { numbers, faults } = assign(&request, reserved);
        assert_eq!(numbers, [Some(Numbers { table: 2, priority: 200 }), None]);
        let texts: Vec<String> = faults.iter().map(|(index, d)| format!("{index} {}: {}", d.message, d.help)).collect();
        assert_eq!(
            texts,
            [
                "1 eth1 (IPv4): no free priorities; eth0 (IPv4) uses 200 to 209, the rest is in use: Remove foreign rules \
                 ('ip rule' lists them), or set 'symroute-priority'. An uplink needs 10 consecutive free priorities \
                 from 100 to 32755."
            ]
        );
    }
}
