//! Finding the uplinks: which stanzas are uplinks, with which gateway and source addresses.
//!
//! Without a snapshot, all values are from the files. With one, the addresses are those of the kernel, and a gateway that
//! is not in the files (DHCP, router advertisements) is that of the kernel's default route.
//!
//! Uses the files, their commands and a snapshot. Must not use tables and priorities other than those in the files.

mod added_route;
mod addresses;
pub(crate) mod by_network;
pub(crate) mod collector;
mod found;
mod gateway;
mod lines;
mod link_source;
mod live;
mod manual;
mod named;
mod on_link;
mod options;
mod owners;
mod ppp;
mod renamed;
mod routes;
mod selection;
mod stanza;
mod unused;
pub(crate) mod uplink;

use ipnet::IpNet;
use rustc_hash::FxHashSet;

use self::collector::UplinkCollector;
pub use self::found::Discovery;
pub use self::gateway::Gateway;
pub use self::named::{detached, ifup_targets, restart};
pub use self::routes::StaticRoute;
pub use self::selection::Selection;
pub use self::uplink::{
    BlockState, DEVICE_RULE, Layout, MAX_PRIORITY, Missing, Origin, Overrides, Skipped, Source, Uplink,
};
use crate::commands::Command;
use crate::commands::tables::Names;
use crate::interfaces::{Config, Dialect};
use crate::network::{INET6_METRIC, Route, Snapshot};
use crate::sort::sort;

/// The uplinks of a configuration. With a snapshot they are compared with the kernel; `leaving` names the interfaces
/// (as ifupdown does, `eth0:1` included) that are about to go down.
pub fn find(config: &Config, snapshot: Option<&Snapshot>, leaving: &[&str], names: &Names) -> Discovery {
    let mut collector = collector(config, snapshot, names);
    let (mut uplinks, unknown_defaults) = collector.with_those_of_main(snapshot);
    if let Some(snapshot) = snapshot {
        live::merge_snapshot(&mut uplinks, snapshot);
        live::take_down(&mut uplinks, &collector, leaving);
        let warnings = collector.without_router(&uplinks, snapshot);
        collector.diagnostics.extend(warnings);
    }
    found(collector, uplinks, unknown_defaults, snapshot)
}

/// Do the uplinks of the files satisfy a condition? It has to stay true when uplinks are added.
pub(crate) fn files_satisfy(config: &Config, names: &Names, condition: &dyn Fn(&[Uplink]) -> bool) -> bool {
    collector(config, None, names).satisfies(condition)
}

/// The uplinks as they are to be, whether they are up or not: those of the files, and those that only the kernel's
/// table main tells of.
pub fn intended(config: &Config, snapshot: Option<&Snapshot>, names: &Names) -> Discovery {
    let mut collector = collector(config, snapshot, names);
    let (mut uplinks, unknown_defaults) = collector.with_those_of_main(snapshot);
    if let Some(snapshot) = snapshot {
        live::merge_snapshot_into_defaults(&mut uplinks, snapshot);
        let warnings = collector.without_router(&uplinks, snapshot);
        collector.diagnostics.extend(warnings);
    }
    found(collector, uplinks, unknown_defaults, None)
}

fn collector<'a>(config: &'a Config, snapshot: Option<&'a Snapshot>, names: &'a Names) -> UplinkCollector<'a> {
    let ppp = ppp::interfaces(config, snapshot);
    let collector = UplinkCollector::new(config, snapshot, names).with_ppp(ppp);
    let Some(snapshot) = snapshot else { return collector };
    let renamed = renamed::renamed(&collector, snapshot);
    collector.with_links_of_kernel(renamed)
}

fn found(
    collector: UplinkCollector,
    uplinks: Vec<Uplink>,
    unknown_defaults: Vec<Route>,
    snapshot: Option<&Snapshot>,
) -> Discovery {
    let unused = collector.unused_options(&uplinks);
    let (config, names) = (collector.config, collector.names);
    let owned: FxHashSet<IpNet> = uplinks.iter().flat_map(|uplink| &uplink.sources).map(|source| source.net).collect();
    let known = collector.sources.iter().map(|known| known.net);
    let in_kernel = snapshot.iter().flat_map(|snapshot| &snapshot.addresses).filter(|address| !address.local);
    let mut other_networks: Vec<IpNet> =
        known.chain(in_kernel.map(|address| address.net)).filter(|net| !owned.contains(net)).collect();
    sort(&mut other_networks);
    other_networks.dedup();
    // A table that `down` lines only flush is in use as well.
    let manual = || collector.lines.iter().filter(|line| line.is_policy(names)).map(|line| &line.command);
    Discovery {
        other_networks,
        unknown_defaults,
        static_routes: collector.static_routes(&uplinks),
        tables_in_use: manual().filter_map(|command| names.number(command.get("table")?)).collect(),
        priorities_in_use: manual().filter_map(Command::priority).collect(),
        unset_metrics: match config.dialect {
            Dialect::IfupdownNg => [1, 1],
            _ => [0, INET6_METRIC],
        },
        one_metric: config.dialect != Dialect::Ifupdown,
        may_be_manual: collector.may_be_manual,
        diagnostics: collector.diagnostics.into_iter().chain(unused).collect(),
        uplinks,
    }
}

#[cfg(test)]
mod tests;
