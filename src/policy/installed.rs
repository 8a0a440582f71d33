//! The numbers that the uplinks have in the kernel, by the rules and routes that symroute added.

use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::network::{Family, LOCAL, MAIN, Route, Rule, Snapshot};
use crate::sort::sort;
use crate::uplinks::{DEVICE_RULE, Uplink};

/// Tables from this number on are used only while tables are exchanged. If a run is killed meanwhile, the next run does
/// not keep them.
pub const SPARE: u32 = 1 << 31;

/// The numbers of an uplink that are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    pub table: Option<u32>,
    pub priority: Option<u32>,
}

impl Known {
    /// Is one of the numbers the same?
    pub fn overlaps(self, other: Known) -> bool {
        self.table.is_some() && self.table == other.table || self.priority.is_some() && self.priority == other.priority
    }

    /// Missing numbers are those of `other`.
    pub fn or(self, other: Known) -> Known {
        Known { table: self.table.or(other.table), priority: self.priority.or(other.priority) }
    }
}

/// Tables with foreign routes. The kernel lists its routes by table, so the result has few duplicates.
pub fn foreign_tables(snapshot: &Snapshot) -> impl Iterator<Item = u32> + '_ {
    let of_tables = snapshot.routes.chunk_by(|one, other| one.table == other.table);
    of_tables.filter_map(|routes| routes.iter().find(|route| !route.is_ours()).map(|route| route.table))
}

/// Positions of entries by a key that several of them may have, without memory for each key.
struct Positions<K> {
    first: FxHashMap<K, usize>,
    /// For each entry, the next one with its key.
    next: Vec<Option<usize>>,
}

impl<K: Eq + Hash> Positions<K> {
    /// Entries without a key are not found. `size` is how many keys there may be.
    fn new<T>(entries: &[T], size: usize, key: impl Fn(&T) -> Option<K>) -> Self {
        let mut first = FxHashMap::with_capacity_and_hasher(size, FxBuildHasher);
        let mut next = vec![None; entries.len()];
        // From the last one to the first, which is found first.
        for (position, entry) in entries.iter().enumerate().rev() {
            if let Some(key) = key(entry) {
                next[position] = first.insert(key, position);
            }
        }
        Positions { first, next }
    }

    /// In ascending order.
    fn of(&self, key: K) -> impl Iterator<Item = usize> {
        std::iter::successors(self.first.get(&key).copied(), |position| self.next[*position])
    }
}

/// The rules and routes of the kernel, indexed: a host may have a million routes, and hundreds of uplinks.
pub struct Installed<'a> {
    uplinks: &'a [Uplink],
    /// The number of uplinks on an interface, by family.
    counts: FxHashMap<(&'a str, Family), usize>,
    rules: Rules<'a>,
    /// Default routes that symroute added.
    defaults: Vec<&'a Route>,
    by_interface: Positions<&'a str>,
    by_table: Positions<(Family, u32)>,
    /// Tables with foreign routes.
    foreign: FxHashSet<u32>,
}

/// Rules that symroute added, in the kernel's order, and their positions by what they select and look up.
struct Rules<'a> {
    list: Vec<&'a Rule>,
    by_table: Positions<(Family, u32)>,
    by_interface: Positions<(Family, &'a str)>,
    by_source: Positions<IpNet>,
    /// The prefix lengths of the sources.
    lengths: FxHashMap<Family, Vec<u8>>,
}

impl<'a> Rules<'a> {
    /// `size` is how many interfaces and sources there may be.
    fn new(list: Vec<&'a Rule>, size: usize) -> Self {
        let mut lengths: FxHashMap<Family, Vec<u8>> = FxHashMap::default();
        for (family, length) in list.iter().filter_map(|rule| Some((rule.family, rule.src?.prefix_len()))) {
            let lengths = lengths.entry(family).or_default();
            if !lengths.contains(&length) {
                lengths.push(length);
            }
        }
        Rules {
            by_table: Positions::new(&list, size, |rule| Some((rule.family, rule.table))),
            by_interface: Positions::new(&list, size, |rule| Some((rule.family, rule.oif.as_deref()?))),
            by_source: Positions::new(&list, size, |rule| rule.src.map(|src| src.trunc())),
            lengths,
            list,
        }
    }

    fn of_table(&self, family: Family, table: u32) -> impl Iterator<Item = &'a Rule> {
        self.by_table.of((family, table)).map(|position| self.list[position])
    }

    /// The rules whose source contains an address of the uplink, in the kernel's order.
    fn of_sources(&self, uplink: &Uplink) -> Vec<&'a Rule> {
        let lengths = self.lengths.get(&uplink.family).map_or(&[][..], Vec::as_slice);
        let sources = uplink.sources.iter().map(|source| source.net.addr());
        let nets = sources.flat_map(|address: IpAddr| {
            lengths.iter().filter_map(move |length| IpNet::new(address, *length).ok()).map(|net| net.trunc())
        });
        let mut positions: Vec<usize> = nets.flat_map(|net| self.by_source.of(net)).collect();
        sort(&mut positions);
        positions.dedup();
        positions.into_iter().map(|position| self.list[position]).collect()
    }
}

impl<'a> Installed<'a> {
    pub fn new(snapshot: &'a Snapshot, uplinks: &'a [Uplink]) -> Self {
        let (size, is_default) = (uplinks.len(), |route: &&Route| route.is_ours() && route.dst.prefix_len() == 0);
        let defaults: Vec<&Route> = snapshot.routes.iter().filter(is_default).collect();
        let mut counts = FxHashMap::with_capacity_and_hasher(size, FxBuildHasher);
        for uplink in uplinks {
            *counts.entry((&uplink.interface[..], uplink.family)).or_default() += 1;
        }
        Installed {
            uplinks,
            counts,
            rules: Rules::new(snapshot.rules.iter().filter(|rule| rule.is_ours()).collect(), size),
            by_interface: Positions::new(&defaults, size, |route| route.dev.as_deref()),
            by_table: Positions::new(&defaults, size, |route| Some((route.family, route.table))),
            defaults,
            foreign: foreign_tables(snapshot).collect(),
        }
    }

    /// The table and priority that an uplink has.
    pub fn numbers_of(&self, index: usize) -> Option<Known> {
        let uplink = &self.uplinks[index];
        let alone = self.counts[&(&uplink.interface[..], uplink.family)] == 1;
        let of_sources = self.rules.of_sources(uplink);
        let table = self.table_of_default(uplink, alone);
        let table = table.or_else(|| self.table_of_rule(uplink, alone, &of_sources)).filter(|table| *table < SPARE)?;
        // Another program may have removed a rule: the priority of each other rule gives that of the first
        // (`layout::rules`).
        let of_table = || self.rules.of_table(uplink.family, table);
        let first_by_table = |rule: &Rule| match (rule.suppress_prefixlen, &rule.oif) {
            // As symroute added them before it used interface groups.
            (Some(_), _) => Some(rule.priority),
            (None, Some(_)) if alone => rule.priority.checked_sub(DEVICE_RULE),
            _ => None,
        };
        let first_by_main = |rule: &Rule| match rule.suppress_ifgroup {
            Some(_) => Some(rule.priority),
            None => rule.priority.checked_sub(1),
        };
        let of_main = of_sources.iter().filter(|rule| rule.table == MAIN && table != MAIN);
        let of_main = of_main.filter(|rule| rule.suppress_prefixlen.is_some()).filter_map(|rule| first_by_main(rule));
        let first = of_table().filter_map(first_by_table).chain(of_main).min();
        let last = || of_table().map(|rule| rule.priority).min();
        Some(Known { table: Some(table), priority: first.or_else(last) })
    }

    /// The table whose default route leaves through the uplink's interface. Other tables may have other routes through it.
    fn table_of_default(&self, uplink: &Uplink, alone: bool) -> Option<u32> {
        let through = self.by_interface.of(&uplink.interface[..]).map(|position| self.defaults[position]);
        let mut defaults =
            through.filter(|route| route.family == uplink.family && route.table != MAIN && route.table < SPARE);
        defaults.find(|route| alone || route.gateway == uplink.gateway.address()).map(|route| route.table)
    }

    /// The table that rules for the uplink look up. The kernel deletes routes with their link, and keeps the rules.
    fn table_of_rule(&self, uplink: &Uplink, alone: bool, of_sources: &[&Rule]) -> Option<u32> {
        let of_device = self.rules.by_interface.of((uplink.family, &uplink.interface[..])).next().filter(|_| alone);
        let of_device = of_device.map(|position| self.rules.list[position]);
        let is_source_rule = |rule: &&&Rule| rule.suppress_ifgroup.is_none() && ![MAIN, LOCAL].contains(&rule.table);
        let rule = of_device.or_else(|| of_sources.iter().find(is_source_rule).copied())?;
        // Another uplink may have the address as well: a table with its default route belongs to that uplink.
        let mut defaults = self.by_table.of((uplink.family, rule.table)).map(|position| self.defaults[position]);
        let is_of_other = defaults.any(|route| route.dev.as_deref() != Some(&uplink.interface[..]));
        (!self.foreign.contains(&rule.table) && !is_of_other).then_some(rule.table)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::difference::tests::{route, rule, snapshot, uplink};
    use crate::policy::group::GROUP;

    /// The same by a search through all rules and routes.
    fn by_search(snapshot: &Snapshot, uplinks: &[Uplink], index: usize) -> Option<Known> {
        let uplink = &uplinks[index];
        let is_here = |other: &&Uplink| (&other.interface, other.family) == (&uplink.interface, uplink.family);
        let alone = uplinks.iter().filter(is_here).count() == 1;
        let ours = || snapshot.rules.iter().filter(|rule| rule.is_ours() && rule.family == uplink.family);
        let of_source =
            |rule: &Rule| rule.src.is_some_and(|src| uplink.sources.iter().any(|own| src.contains(&own.net.addr())));
        let is_default = |route: &&Route| route.is_ours() && route.dst.prefix_len() == 0;
        let defaults = || snapshot.routes.iter().filter(is_default).filter(|route| route.family == uplink.family);
        let mut of_interface = defaults().filter(|route| route.dev.as_deref() == Some(&uplink.interface));
        let of_default = of_interface.find(|route| {
            let is_free = route.table != MAIN && route.table < SPARE;
            is_free && (alone || route.gateway == uplink.gateway.address())
        });
        let of_rule = || {
            let of_device = ours().find(|rule| alone && rule.oif.as_deref() == Some(&uplink.interface));
            let is_source_rule =
                |rule: &&Rule| of_source(rule) && rule.suppress_ifgroup.is_none() && rule.table != LOCAL;
            let rule = of_device.or_else(|| ours().find(|rule| is_source_rule(rule) && rule.table != MAIN))?;
            let is_other = |route: &Route| route.dev.as_deref() != Some(&uplink.interface) && route.table == rule.table;
            let is_foreign = foreign_tables(snapshot).any(|table| table == rule.table);
            (!is_foreign && !defaults().any(is_other)).then_some(rule.table)
        };
        let table = of_default.map(|route| route.table).or_else(of_rule).filter(|table| *table < SPARE)?;
        let first = |rule: &Rule| match (rule.table == table, rule.suppress_prefixlen, &rule.oif) {
            (false, Some(_), _) if rule.table == MAIN && of_source(rule) && rule.suppress_ifgroup.is_some() => {
                Some(rule.priority)
            }
            (true, Some(_), _) => Some(rule.priority),
            (false, Some(_), _) if rule.table == MAIN && of_source(rule) => rule.priority.checked_sub(1),
            (true, None, Some(_)) if alone => rule.priority.checked_sub(DEVICE_RULE),
            _ => None,
        };
        let last = || ours().filter(|rule| rule.table == table).map(|rule| rule.priority).min();
        Some(Known { table: Some(table), priority: ours().filter_map(first).min().or_else(last) })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
        #[test]
        fn numbers_equal_those_of_a_search(
            interfaces in prop::collection::vec(0u8..3, 1..4),
            routes in prop::collection::vec(route(), 0..25),
            rules in prop::collection::vec((rule(), 24u8..=32, any::<bool>()), 0..25),
        ) {
            let rules = rules.into_iter().map(|(mut rule, length, is_grouped)| {
                rule.src = rule.src.and_then(|src| IpNet::new(src.addr(), length).ok()).map(|src| src.trunc());
                rule.suppress_ifgroup = rule.suppress_ifgroup.or(is_grouped.then_some(GROUP));
                rule
            });
            let snapshot = snapshot(routes, rules.collect());
            let uplinks: Vec<Uplink> = interfaces.iter().enumerate().map(|(n, interface)| {
                Uplink { interface: format!("eth{interface}"), ..uplink(n as u8, true) }
            }).collect();
            let installed = Installed::new(&snapshot, &uplinks);
            for index in 0..uplinks.len() {
                prop_assert_eq!(installed.numbers_of(index), by_search(&snapshot, &uplinks, index));
            }
        }
    }
}
