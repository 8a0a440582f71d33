//! The numbers that the uplinks have in the kernel, by the rules and routes that symroute added.

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

/// The rules and routes of the kernel, indexed: a host may have a million routes, and hundreds of uplinks.
pub struct Installed<'a> {
    uplinks: &'a [Uplink],
    /// The number of uplinks on an interface, by family.
    counts: FxHashMap<(&'a str, Family), usize>,
    rules: Rules<'a>,
    /// Default routes that symroute added, by interface.
    defaults: FxHashMap<Option<&'a str>, Vec<&'a Route>>,
    /// The interfaces of these default routes, by table.
    devs: FxHashMap<(Family, u32), Vec<Option<&'a str>>>,
    /// Tables with foreign routes.
    foreign: FxHashSet<u32>,
}

/// Rules that symroute added, in the kernel's order, and their positions by what they select and look up.
#[derive(Default)]
struct Rules<'a> {
    list: Vec<&'a Rule>,
    by_table: FxHashMap<(Family, u32), Vec<usize>>,
    by_interface: FxHashMap<(Family, &'a str), usize>,
    by_source: FxHashMap<IpNet, Vec<usize>>,
    /// The prefix lengths of the sources.
    lengths: FxHashMap<Family, Vec<u8>>,
}

impl<'a> Rules<'a> {
    /// `size` is how many interfaces and sources there may be.
    fn new(rules: impl Iterator<Item = &'a Rule>, size: usize) -> Self {
        let mut indexed = Rules {
            by_table: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
            by_interface: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
            by_source: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
            ..Rules::default()
        };
        for (position, rule) in rules.enumerate() {
            indexed.list.push(rule);
            indexed.by_table.entry((rule.family, rule.table)).or_default().push(position);
            if let Some(oif) = rule.oif.as_deref() {
                indexed.by_interface.entry((rule.family, oif)).or_insert(position);
            }
            if let Some(src) = rule.src {
                indexed.by_source.entry(src.trunc()).or_default().push(position);
                let lengths = indexed.lengths.entry(rule.family).or_default();
                if !lengths.contains(&src.prefix_len()) {
                    lengths.push(src.prefix_len());
                }
            }
        }
        indexed
    }

    fn of_table(&self, family: Family, table: u32) -> impl Iterator<Item = &'a Rule> {
        let positions = self.by_table.get(&(family, table)).into_iter().flatten();
        positions.map(|position| self.list[*position])
    }

    /// The rules whose source contains an address of the uplink, in the kernel's order.
    fn of_sources(&self, uplink: &Uplink) -> Vec<&'a Rule> {
        let lengths = self.lengths.get(&uplink.family).map_or(&[][..], Vec::as_slice);
        let sources = uplink.sources.iter().map(|source| source.net.addr());
        let nets = sources.flat_map(|address: IpAddr| {
            lengths.iter().filter_map(move |length| IpNet::new(address, *length).ok()).map(|net| net.trunc())
        });
        let mut positions: Vec<usize> = nets.filter_map(|net| self.by_source.get(&net)).flatten().copied().collect();
        sort(&mut positions);
        positions.dedup();
        positions.into_iter().map(|position| self.list[position]).collect()
    }
}

impl<'a> Installed<'a> {
    pub fn new(snapshot: &'a Snapshot, uplinks: &'a [Uplink]) -> Self {
        let mut installed = Installed {
            uplinks,
            counts: FxHashMap::with_capacity_and_hasher(uplinks.len(), FxBuildHasher),
            rules: Rules::new(snapshot.rules.iter().filter(|rule| rule.is_ours()), uplinks.len()),
            defaults: FxHashMap::with_capacity_and_hasher(uplinks.len(), FxBuildHasher),
            devs: FxHashMap::with_capacity_and_hasher(uplinks.len(), FxBuildHasher),
            foreign: foreign_tables(snapshot).collect(),
        };
        for uplink in uplinks {
            *installed.counts.entry((&uplink.interface, uplink.family)).or_default() += 1;
        }
        for route in snapshot.routes.iter().filter(|route| route.is_ours() && route.dst.prefix_len() == 0) {
            let dev = route.dev.as_deref();
            installed.defaults.entry(dev).or_default().push(route);
            installed.devs.entry((route.family, route.table)).or_default().push(dev);
        }
        installed
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
        let through = self.defaults.get(&Some(&uplink.interface[..]))?.iter();
        let mut defaults =
            through.filter(|route| route.family == uplink.family && route.table != MAIN && route.table < SPARE);
        defaults.find(|route| alone || route.gateway == uplink.gateway.address()).map(|route| route.table)
    }

    /// The table that rules for the uplink look up. The kernel deletes routes with their link, and keeps the rules.
    fn table_of_rule(&self, uplink: &Uplink, alone: bool, of_sources: &[&Rule]) -> Option<u32> {
        let of_device = self.rules.by_interface.get(&(uplink.family, &uplink.interface[..])).filter(|_| alone);
        let of_device = of_device.map(|position| self.rules.list[*position]);
        let is_source_rule = |rule: &&&Rule| rule.suppress_ifgroup.is_none() && ![MAIN, LOCAL].contains(&rule.table);
        let rule = of_device.or_else(|| of_sources.iter().find(is_source_rule).copied())?;
        // Another uplink may have the address as well: a table with its default route belongs to that uplink.
        let mut devs = self.devs.get(&(uplink.family, rule.table)).into_iter().flatten();
        let is_of_other = devs.any(|dev| *dev != Some(&uplink.interface[..]));
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
