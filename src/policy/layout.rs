//! The routes and rules of one uplink.
//!
//! Layered, the default, for each source A of an uplink on DEV with table T and priority P:
//! ```text
//! P     from A lookup main suppress_prefixlength 1 suppress_ifgroup 97   main's routes through other interfaces (inet6: 3)
//! P+1   from A lookup T                                                  everything else: the uplink's own table
//! P+3   oif DEV lookup T                                                 sockets bound to the interface
//! ```
//! Prefixes of up to 1 or 3 bits are used instead of a default route: VPNs halve it, and IPv6 hosts use 2000::/3.
//!
//! A prefix may contain addresses of other hosts, such as a container's or a routed machine's. Rules whose source is a
//! prefix therefore match only packets that the host itself sends (`iif lo`), and received packets that the kernel's
//! source check looks up.
//!
//! Before these, if they are needed:
//! ```text
//! P-2   from A lookup local                                              if these rules come before that of table local
//! P-1   from A lookup N suppress_prefixlength 1 suppress_ifgroup 97      for a table N that a foreign rule looks up
//! ```
//! Article: `P from A lookup T` alone.
//!
//! Several uplinks on one interface have one rule for it, after the rules of all its addresses (`device`).

use std::cell::LazyCell;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustc_hash::{FxHashMap, FxHashSet};

use super::cover;
use super::group::Group;
use super::networks::{Hop, MAX_DEFAULT_LIKE_PREFIX_LENGTH};
use super::numbers::Numbers;
use super::plan::StanzaItem;
use crate::network::prefixes::Prefixes;
use crate::network::{
    Family, INET6_METRIC, Kind, LOCAL, MAIN, PROTOCOL, Route, RouteExtras, RouteState, Rule, RuleExtras, SCOPE_LINK,
    Snapshot,
};
use crate::uplinks::{Gateway, Layout, Source, Uplink};

/// `default`, `main` and `local`.
const KERNEL_TABLES: [u32; 3] = [253, MAIN, LOCAL];
/// Up to this number, each source has its own rules; more sources are covered by prefixes.
const MAX_EXACT_SOURCES: usize = 4;

/// The routes of an uplink in `table`: to its networks `on_link`, `copies` of the main table's routes in a layered
/// policy, the default route.
pub fn routes(
    uplink: &Uplink,
    table: u32,
    on_link: Vec<IpNet>,
    copies: Option<Vec<(IpNet, Hop<'_>)>>,
) -> Vec<StanzaItem<Route>> {
    // On a point-to-point link, the default route covers its networks.
    let is_point_to_point = uplink.gateway == Gateway::OnLink;
    let on_link = if is_point_to_point { Vec::new() } else { on_link };
    let reached = Prefixes::new(on_link.iter().copied());
    let route = |dst: IpNet, Hop { gateway, dev }: Hop| {
        let is_reached = |gateway: &IpAddr| reached.hold(*gateway) || is_link_local(gateway);
        Route {
            family: uplink.family,
            table,
            dst,
            gateway,
            dev: Some(dev.to_string()),
            scope: if gateway.is_none() && uplink.family == Family::Inet { SCOPE_LINK } else { 0 },
            metric: if uplink.family == Family::Inet { 0 } else { INET6_METRIC },
            // The kernel accepts such a gateway even if the network that contains it is missing.
            onlink: gateway.is_some_and(|gateway| !is_reached(&gateway)),
            protocol: PROTOCOL,
            extras: None,
            state: RouteState::default(),
        }
    };
    let through = |gateway: Option<IpAddr>| Hop { gateway, dev: &uplink.interface };
    let mut routes = Vec::with_capacity(on_link.len() + 1);
    let stanzas = LazyCell::new(|| stanzas_by_network(uplink));
    for net in &on_link {
        let stanza = match &uplink.sources[..] {
            [source] => source.stanza,
            _ => stanzas.get(net).copied().flatten(),
        };
        routes.push(StanzaItem { item: route(*net, through(None)), stanza: stanza.unwrap_or(uplink.stanza) });
    }
    let of_uplink = |item| StanzaItem { item, stanza: uplink.stanza };
    if let Some(copies) = copies {
        let link_local = Ipv6Net::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64).ok();
        if let (Family::Inet6, false, Some(net)) = (uplink.family, is_point_to_point, link_local) {
            // Sockets bound to the interface look up this table for link-local destinations too.
            routes.push(of_uplink(route(net.into(), through(None))));
        }
        routes.extend(copies.into_iter().map(|(dst, hop)| of_uplink(route(dst, hop))));
    }
    let default: IpNet = match uplink.family {
        Family::Inet => Ipv4Net::default().into(),
        Family::Inet6 => Ipv6Net::default().into(),
    };
    let extras = uplink.lease.map(|address| Box::new(RouteExtras { prefsrc: Some(address), ..RouteExtras::default() }));
    routes.push(of_uplink(Route { extras, ..route(default, through(uplink.gateway.address())) }));
    routes
}

/// The stanza of the first source in each network.
fn stanzas_by_network(uplink: &Uplink) -> FxHashMap<IpNet, Option<usize>> {
    let mut stanzas = FxHashMap::default();
    for source in &uplink.sources {
        stanzas.entry(source.peer.map_or(source.net.trunc(), IpNet::from)).or_insert(source.stanza);
    }
    stanzas
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What the rules of all uplinks depend on.
pub struct RuleContext<'a> {
    pub uplinks: &'a [Uplink],
    pub group: &'a Group,
    /// On-link networks and addresses of the host that belong to no uplink.
    pub other_networks: &'a [IpNet],
    /// The kernel's rules for every packet; nothing without a kernel.
    pub for_all: Option<Vec<&'a Rule>>,
    /// Tables that these rules look up, with more than a default route or a route through an uplink.
    pub with_networks: FxHashSet<(Family, u32)>,
}

/// The rules for every packet.
pub fn for_all(snapshot: &Snapshot) -> Vec<&Rule> {
    snapshot.rules.iter().filter(|rule| is_unconditional(rule)).collect()
}

/// The tables of these rules with more than a default route or a route through an uplink.
pub fn with_networks(snapshot: Option<&Snapshot>, for_all: &[&Rule], group: &Group) -> FxHashSet<(Family, u32)> {
    let tables = for_all.iter().map(|rule| rule.table).filter(|table| !KERNEL_TABLES.contains(table));
    let tables: FxHashSet<u32> = tables.collect();
    if tables.is_empty() {
        return FxHashSet::default();
    }
    let group: FxHashSet<&str> = group.interfaces.iter().map(String::as_str).collect();
    let is_network = |route: &&Route| {
        let longest = MAX_DEFAULT_LIKE_PREFIX_LENGTH[usize::from(route.family == Family::Inet6)];
        let specific = u32::from(route.dst.prefix_len()) > longest;
        specific && route.kind() != Kind::Throw && !route.dev.as_ref().is_some_and(|dev| group.contains(&dev[..]))
    };
    let routes = snapshot.iter().flat_map(|snapshot| &snapshot.routes).filter(|route| tables.contains(&route.table));
    routes.filter(is_network).map(|route| (route.family, route.table)).collect()
}

/// The table and priority of the rule for sockets that are bound to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub table: u32,
    pub priority: u32,
}

/// The rules of `uplinks[index]`, in order of priority. `device` is the rule for its interface, if this uplink has it.
pub fn rules(
    context: &RuleContext,
    index: usize,
    numbers: Numbers,
    layout: Layout,
    device: Option<DeviceRule>,
) -> Vec<StanzaItem<Rule>> {
    let uplink = &context.uplinks[index];
    let Numbers { table, priority } = numbers;
    let rule = |priority: u32, src: Option<IpNet>, table: u32| Rule {
        family: uplink.family,
        priority,
        oif: src.is_none().then(|| uplink.rule_interface().to_string()),
        src,
        table,
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: PROTOCOL,
        extras: src.filter(|src| src.prefix_len() < src.max_prefix_len()).map(|_| Box::new(sent_by_this_host())),
    };
    let without_uplinks = |rule: Rule| Rule {
        suppress_prefixlen: Some(MAX_DEFAULT_LIKE_PREFIX_LENGTH[usize::from(uplink.family == Family::Inet6)]),
        suppress_ifgroup: Some(context.group.number),
        ..rule
    };
    let sources = sources(context.uplinks, index, context.other_networks);
    let mut rules = Vec::with_capacity(2 * sources.len() + 1);
    let mut each = |rule: &dyn Fn(Option<IpNet>) -> Rule| {
        rules.extend(sources.iter().map(|source| StanzaItem { item: rule(Some(source.item)), stanza: source.stanza }));
    };
    if layout == Layout::Article {
        each(&|src| rule(priority, src, table));
        return rules;
    }
    if let Some(for_all) = &context.for_all {
        if is_local_behind(for_all, uplink.family, priority) {
            each(&|src| rule(priority.saturating_sub(2), src, LOCAL));
        }
        for table in foreign_tables(context, for_all, uplink.family, priority) {
            each(&|src| without_uplinks(rule(priority.saturating_sub(1), src, table)));
        }
    }
    each(&|src| without_uplinks(rule(priority, src, MAIN)));
    each(&|src| rule(priority + 1, src, table));
    if let Some(DeviceRule { table, priority }) = device {
        rules.push(StanzaItem { item: rule(priority, None, table), stanza: uplink.stanza });
    }
    rules
}

fn sent_by_this_host() -> RuleExtras {
    RuleExtras { iif: Some("lo".into()), ..RuleExtras::default() }
}

/// Does the rule match every packet?
pub(crate) fn is_unconditional(rule: &Rule) -> bool {
    rule.src.is_none() && rule.oif.is_none() && rule.suppress_ifgroup.is_none() && rule.extras.is_none()
}

/// Is the rule for table local missing before `priority`? (ifupdown2 moves it when it adds VRFs.)
fn is_local_behind(for_all: &[&Rule], family: Family, priority: u32) -> bool {
    let mut before = for_all.iter().filter(|rule| rule.family == family && rule.priority < priority);
    !before.any(|rule| rule.table == LOCAL && rule.suppress_prefixlen.is_none())
}

/// Tables that a foreign rule looks up for every packet, after `priority` and before the main table, and that have more
/// than a default route or a route through an uplink. (Tailscale's table is the known example.)
fn foreign_tables(context: &RuleContext, for_all: &[&Rule], family: Family, priority: u32) -> Vec<u32> {
    let has_route = |table: u32| context.with_networks.contains(&(family, table));
    let mut tables: Vec<u32> = Vec::new();
    let for_all = || for_all.iter().filter(|rule| rule.family == family);
    let is_main = |rule: &&&Rule| rule.table == MAIN && rule.suppress_prefixlen.is_none();
    let main = for_all().filter(is_main).map(|rule| rule.priority).min().unwrap_or(u32::MAX);
    let rules = for_all().filter(|rule| rule.protocol != PROTOCOL && (priority..main).contains(&rule.priority));
    for rule in rules {
        if !KERNEL_TABLES.contains(&rule.table) && !tables.contains(&rule.table) && has_route(rule.table) {
            tables.push(rule.table);
        }
    }
    tables
}

/// The sources of the rules: the addresses if they are few, otherwise the fewest prefixes inside the uplink's networks
/// that contain them and no foreign address or network.
fn sources(uplinks: &[Uplink], index: usize, other_networks: &[IpNet]) -> Vec<StanzaItem<IpNet>> {
    let uplink = &uplinks[index];
    let source = |source: &Source| StanzaItem {
        item: if source.by_prefix { source.net.trunc() } else { source.net.addr().into() },
        stanza: source.stanza.unwrap_or(uplink.stanza),
    };
    let mut each: Vec<StanzaItem<IpNet>> = uplink.sources.iter().map(source).collect();
    if each.len() > 1 {
        let mut seen: FxHashSet<IpNet> = FxHashSet::default();
        each.retain(|source| seen.insert(source.item));
    }
    if each.len() <= MAX_EXACT_SOURCES {
        return each;
    }
    let own_networks = uplink.on_link();
    let others = uplinks.iter().filter(|other| !std::ptr::eq(*other, uplink));
    let others = others.flat_map(|other| other.sources.iter().map(|source| source.net));
    // Inside the uplink's networks, only single addresses can belong to others: two links may share a subnet.
    let within = Prefixes::new(own_networks.iter().copied());
    let others = others.chain(other_networks.iter().copied()).map(|net| net.addr());
    let keep_out: Vec<IpNet> = others.filter(|address| within.hold(*address)).map(IpNet::from).collect();
    let wanted: Vec<IpNet> = each.iter().map(|source| source.item).collect();
    let covering = cover::cover(&wanted, &own_networks, &keep_out).into_iter();
    covering.map(|item| StanzaItem { item, stanza: uplink.stanza }).collect()
}
