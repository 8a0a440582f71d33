//! From uplinks to a plan: tables and priorities are assigned, routes and rules computed, and one uplink of each
//! family is selected for the main table's default route.
//!
//! Pure functions of uplinks and a snapshot. Must not read the machine, nor know how a plan is applied or written.

mod cover;
mod device;
pub(crate) mod difference;
pub(crate) mod group;
pub(crate) mod installed;
pub(crate) mod layout;
pub(crate) mod networks;
pub(crate) mod numbers;
mod plan;
mod primary;

use std::cell::LazyCell;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use self::layout::RuleContext;
use self::networks::{Hop, Networks};
use self::numbers::{Assignment, Numbers, Request, ReservedNumbers};
pub(crate) use self::plan::any_is_managed;
use self::plan::is_managed;
pub use self::plan::{InUse, Plan, Policy, StanzaItem};
use crate::commands::tables::Names;
use crate::interfaces::{Diagnostic, Severity};
use crate::network::{Family, MAIN, Route, Snapshot};
use crate::uplinks::{Discovery, Layout, Uplink};

/// A warning for each fault of an uplink: the other uplinks get their policies.
fn without_policy(uplinks: &[Uplink]) -> Vec<Diagnostic> {
    let mut warnings: Vec<(&Diagnostic, Vec<String>)> = Vec::new();
    for uplink in uplinks {
        for fault in &uplink.faults {
            match warnings.iter_mut().find(|(known, _)| *known == fault) {
                Some((_, labels)) => labels.push(uplink.label()),
                None => warnings.push((fault, vec![uplink.label()])),
            }
        }
    }
    let warning = |(fault, labels): (&Diagnostic, Vec<String>)| {
        let message = format!("{}: no policy for {}", fault.message, labels.join(" and "));
        Diagnostic { severity: Severity::Warning, message, ..fault.clone() }
    };
    warnings.into_iter().map(warning).collect()
}

/// Foreign routes in the tables of uplinks, by table, family and destination.
type ForeignRoutes<'a> = FxHashMap<(u32, Family, IpNet), Vec<&'a Route>>;

fn foreign_routes<'a>(snapshot: Option<&'a Snapshot>, numbers: &[Option<Numbers>]) -> ForeignRoutes<'a> {
    let tables = || numbers.iter().flatten().map(|numbers| numbers.table).collect();
    let tables: LazyCell<FxHashSet<u32>, _> = LazyCell::new(tables);
    let mut found = ForeignRoutes::default();
    for route in snapshot.iter().flat_map(|snapshot| &snapshot.routes) {
        // Main, which may have a million routes, is no uplink's table.
        if route.table != MAIN && !route.is_ours() && tables.contains(&route.table) {
            found.entry((route.table, route.family, route.dst)).or_default().push(route);
        }
    }
    found
}

/// The layout of each uplink: that of its option, of the command line, of its block, of the first block.
fn layouts(uplinks: &[Uplink], requested: Option<Layout>) -> Vec<Layout> {
    let of_first_block = uplinks.iter().find_map(|uplink| uplink.written?.layout).unwrap_or(Layout::Layered);
    let layout = |uplink: &Uplink| {
        let of_block = uplink.written.and_then(|written| written.layout);
        uplink.overrides.layout.or(requested).or(of_block).unwrap_or(of_first_block)
    };
    uplinks.iter().map(layout).collect()
}

/// Uplinks for which numbers, gateway and addresses are known, with the numbers.
fn with_policy(uplinks: &[Uplink], numbers: &[Option<Numbers>]) -> Vec<(usize, Numbers)> {
    let is_complete = |uplink: &Uplink| uplink.gateway.is_known() && !uplink.sources.is_empty() && !uplink.is_faulty();
    let numbered = numbers.iter().enumerate().filter_map(|(index, numbers)| Some((index, (*numbers)?)));
    numbered.filter(|(index, _)| is_complete(&uplinks[*index])).collect()
}

/// Stanzas that name the gateway of another one: their default routes are equal.
fn same_gateways(uplinks: &[Uplink]) -> impl Iterator<Item = Diagnostic> {
    let has_same_route = |uplink: &&Uplink| uplink.in_main && uplink.family == Family::Inet;
    let uplinks = uplinks.iter().filter(has_same_route).filter(|uplink| !uplink.same_gateway.is_empty());
    uplinks.map(|uplink| {
        Diagnostic::warning(
            uplink.location,
            b"",
            format!(
                "{}: the same 'gateway' in two or more stanzas; the second 'ifup' fails with \"File exists\"",
                uplink.label()
            ),
            "Keep the 'gateway' line in one stanza. The others only add addresses.",
        )
    })
}

/// What the policies of all uplinks depend on.
struct PolicyContext<'a> {
    rules: RuleContext<'a>,
    networks: [Networks<'a>; 2],
    devices: device::Rules,
    foreign: ForeignRoutes<'a>,
}

impl PolicyContext<'_> {
    fn policy(&self, index: usize, numbers: Numbers, layout: Layout) -> Policy {
        let uplink = &self.rules.uplinks[index];
        let Numbers { table, priority } = numbers;
        let networks = &self.networks[usize::from(uplink.family == Family::Inet6)];
        // A foreign route to the same destination has precedence.
        let is_blocked = |dst: &IpNet, hop: &Hop| {
            let mut foreign = self.foreign.get(&(table, uplink.family, *dst)).into_iter().flatten();
            foreign.any(|route| (route.gateway, route.dev.as_deref()) != (hop.gateway, Some(hop.dev)))
        };
        let on_link = networks.on_link(index);
        let copies = (layout == Layout::Layered).then(|| {
            let copies = networks.copies(index, &on_link).into_iter();
            copies.filter(|(dst, hop)| !is_blocked(dst, hop)).collect::<Vec<_>>()
        });
        let has_copies = copies.as_ref().is_some_and(|copies| !copies.is_empty());
        Policy {
            uplink: index,
            table,
            priority,
            layout,
            routes: layout::routes(uplink, table, on_link, copies),
            rules: layout::rules(&self.rules, index, numbers, layout, self.devices.of(index)),
            has_copies,
        }
    }
}

/// The plan for the uplinks that were found: a pure function of configuration and snapshot. `layout` is that of the
/// command line; the `symroute-layout` of a stanza has precedence over it.
pub fn plan(found: Discovery, snapshot: Option<&Snapshot>, names: &Names, layout: Option<Layout>) -> Plan {
    let Discovery { mut uplinks, other_networks, static_routes, tables_in_use, priorities_in_use, .. } = found;
    let Discovery { unknown_defaults, unset_metrics, one_metric, mut diagnostics, .. } = found;
    let managed: Vec<usize> = (0..uplinks.len()).filter(|index| is_managed(&uplinks, &uplinks[*index])).collect();
    let layouts = layouts(&uplinks, layout);
    let reserved = ReservedNumbers::new(names, snapshot, &tables_in_use, &priorities_in_use);
    let request = Request { uplinks: &uplinks, managed: &managed, layouts: &layouts, snapshot };
    let Assignment { numbers, faults } = numbers::assign(&request, reserved);
    for (index, fault) in faults {
        uplinks[index].faults.push(fault);
    }
    diagnostics.extend(without_policy(&uplinks));
    let with_policy = with_policy(&uplinks, &numbers);
    let layered = with_policy.iter().map(|(index, _)| *index).filter(|index| layouts[*index] == Layout::Layered);
    let layered: Vec<usize> = layered.collect();
    let group = group::group(&uplinks, &layered, snapshot, &mut diagnostics);
    let for_all = snapshot.map(layout::for_all);
    let with_networks = layout::with_networks(snapshot, for_all.as_deref().unwrap_or_default(), &group);
    let context = PolicyContext {
        rules: RuleContext {
            uplinks: &uplinks,
            group: &group,
            other_networks: &other_networks,
            for_all,
            with_networks,
        },
        networks: Family::ALL.map(|family| Networks::new(&uplinks, &static_routes, family, &group, snapshot)),
        devices: device::Rules::new(&uplinks, &layered, &numbers),
        foreign: foreign_routes(snapshot, &numbers),
    };
    let policy = |(index, numbers): (usize, Numbers)| context.policy(index, numbers, layouts[index]);
    let policies = with_policy.into_iter().map(policy).collect();
    diagnostics.extend(same_gateways(&uplinks));
    let mut plan = Plan { uplinks, managed, policies, group, unknown_defaults, diagnostics, ..Plan::default() };
    plan.choose_primaries(unset_metrics, one_metric);
    plan
}
