//! Links that have another name than in the files, and no altname with that name: `ip link set eth1 name wan1`.
//!
//! The new interface is the one with the addresses of the stanza whose interface is missing. Or it is the one that the
//! table uses which symroute's rule for the old name looks up: a rule keeps its interface name.

use std::borrow::Cow;
use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use rustc_hash::FxHashMap;

use super::collector::UplinkCollector;
use crate::interfaces::{Stanza, without_alias};
use crate::network::{Family, MAIN, Route, Rule, Snapshot};

/// The old and the new name of each renamed link.
pub(crate) fn renamed(collector: &UplinkCollector, snapshot: &Snapshot) -> Vec<(String, String)> {
    let has_link = |name: &str| collector.links.get(name).is_some();
    // A name that a mapping may select, or that others inherit from, is not the name of a link.
    let is_listed = |(stanza, _): &(&Stanza, _)| collector.listed.has(stanza);
    let links = || {
        collector.config.stanzas.iter().flat_map(|stanza| {
            let links = collector.listed.links(stanza);
            links.into_iter().map(move |link| (stanza, text(link)))
        })
    };
    let missing: Vec<(&Stanza, Cow<str>)> = links().filter(|(_, link)| !has_link(link)).filter(is_listed).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let named: Vec<(&Stanza, Cow<str>)> = links().filter(is_listed).collect();
    let traces = Traces::new(snapshot);
    let is_of_stanza = |link: &str| named.iter().any(|(_, name)| collector.links.get(name).unwrap_or(name) == link);
    let mut found: Vec<(String, String)> = Vec::new();
    for (stanza, old) in &missing {
        let link = traces.by_address(collector, stanza).or_else(|| traces.by_rule(old));
        let is_known = |new: &str| found.iter().any(|(known, link)| known == old || link == new);
        if let Some(new) = link.filter(|new| !is_of_stanza(new) && !is_known(new)) {
            found.push((old.to_string(), new.to_string()));
        }
    }
    found
}

fn text(link: &BStr) -> Cow<'_, str> {
    without_alias(link).to_str_lossy()
}

/// Values that identify a link without its name.
struct Traces<'a> {
    /// The link that has an address; nothing if several have it.
    addresses: FxHashMap<IpAddr, Option<&'a str>>,
    /// By the interface name in a rule of symroute, the links of its table's default route.
    rules: FxHashMap<&'a str, &'a str>,
}

impl<'a> Traces<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let mut addresses: FxHashMap<IpAddr, Option<&str>> = FxHashMap::default();
        for address in snapshot.addresses.iter().filter(|address| !address.local) {
            let dev = &address.dev[..];
            addresses.entry(address.net.addr()).and_modify(|known| *known = None).or_insert(Some(dev));
        }
        let is_default = |route: &&Route| route.is_ours() && route.dst.prefix_len() == 0 && route.table != MAIN;
        let defaults = snapshot.routes.iter().filter(is_default);
        let defaults = defaults.filter_map(|route| Some(((route.family, route.table), route.dev.as_deref()?)));
        let devs: FxHashMap<(Family, u32), &str> = defaults.collect();
        let of_rule = |rule: &'a Rule| Some((rule.oif.as_deref()?, *devs.get(&(rule.family, rule.table))?));
        let rules = snapshot.rules.iter().filter(|rule| rule.is_ours()).filter_map(of_rule).collect();
        Traces { addresses, rules }
    }

    fn by_address(&self, collector: &UplinkCollector, stanza: &Stanza) -> Option<&'a str> {
        let addresses = collector.all_addresses_of(stanza);
        addresses.iter().find_map(|address| self.addresses.get(address).copied().flatten())
    }

    fn by_rule(&self, old: &str) -> Option<&'a str> {
        self.rules.get(old).copied()
    }
}
