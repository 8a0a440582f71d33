//! The routes and rules of one uplink.
//!
//! Layered, the default, for each source A of an uplink on DEV with table T and priority P:
//! ```text
//! P     from A lookup main suppress_prefixlength 1 suppress_ifgroup 97   what main routes through no uplink (inet6: 3)
//! P+1   from A lookup T                                                  everything else: the uplink's own table
//! P+3   oif DEV lookup T                                                 sockets bound to the interface
//! ```
//! The lengths 1 and 3 because VPNs halve the default route and IPv6 hosts write 2000::/3 for it.
//!
//! A source that is a prefix holds addresses of other hosts too (a container's, a routed machine's, now or later): its
//! rules are for what the host itself sends alone (`iif lo`), as is the kernel's source check of what it receives.
//!
//! Before these, where they are needed:
//! ```text
//! P-2   from A lookup local                                              where rules come before that of table local
//! P-1   from A lookup N suppress_prefixlength 1 suppress_ifgroup 97      for a table N that a foreign rule looks up
//! ```
//! Article: `P from A lookup T` alone.
//!
//! Where several uplinks share an interface, there is one rule for it, behind those of all its addresses (`device`).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::group::Group;
use super::networks::Hop;
use super::{Placed, cover};
use crate::interfaces::Family;
use crate::snapshot::{INET6_METRIC, Kind, LOCAL, MAIN, PROTOCOL, Route, Rule, RuleMore, SCOPE_LINK, Snapshot, State};
use crate::uplinks::{Layout, Uplink};

/// The longest prefixes, inet and inet6, that stand for the whole Internet: VPNs halve the default route, and IPv6
/// hosts write 2000::/3 for it.
pub const NEARLY_DEFAULT: [u32; 2] = [1, 3];
/// `default`, `main` and `local`.
const KERNEL_TABLES: [u32; 3] = [253, MAIN, LOCAL];
/// Sources that are left as they are; more are covered by prefixes.
const FEW: usize = 4;

/// The routes of an uplink in `table`: on-link networks, `copies` of main's in a layered policy, the default.
pub fn routes(it: &Uplink, table: u32, copies: Option<Vec<(IpNet, Hop)>>) -> Vec<Placed<Route>> {
    let on_link = it.on_link();
    let route = |dst: IpNet, Hop { gateway, dev }: Hop| {
        let near = |gateway: &IpAddr| on_link.iter().any(|net| net.contains(gateway)) || is_link_local(gateway);
        Route {
            family: it.family,
            table,
            dst,
            gateway,
            dev: Some(dev),
            scope: if gateway.is_none() && it.family == Family::Inet { SCOPE_LINK } else { 0 },
            metric: if it.family == Family::Inet { 0 } else { INET6_METRIC },
            // Whatever became of the network that it is in, the kernel accepts it.
            onlink: gateway.is_some_and(|gateway| !near(&gateway)),
            protocol: PROTOCOL,
            more: None,
            state: State::default(),
        }
    };
    let through = |gateway: Option<IpAddr>| Hop { gateway, dev: it.interface.clone() };
    let mut routes = Vec::new();
    for net in &on_link {
        let has =
            |net: &IpNet| it.sources.iter().find(|source| source.peer.map_or(source.net.trunc(), IpNet::from) == *net);
        let stanza = has(net).and_then(|source| source.stanza).unwrap_or(it.stanza);
        routes.push(Placed { item: route(*net, through(None)), stanza });
    }
    let own = |item| Placed { item, stanza: it.stanza };
    if let Some(copies) = copies {
        if let (Family::Inet6, Some(net)) =
            (it.family, Ipv6Net::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64).ok())
        {
            // Sockets bound to the device reach this table for link-local destinations too.
            routes.push(own(route(net.into(), through(None))));
        }
        routes.extend(copies.into_iter().map(|(dst, hop)| own(route(dst, hop))));
    }
    let default: IpNet = match it.family {
        Family::Inet6 => Ipv6Net::default().into(),
        _ => Ipv4Net::default().into(),
    };
    routes.push(own(route(default, through(it.gateway))));
    routes
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What the rules of all uplinks depend on.
pub struct Surroundings<'a> {
    pub uplinks: &'a [Uplink],
    pub group: &'a Group,
    /// On-link networks and addresses of the host that belong to no uplink.
    pub other_networks: &'a [IpNet],
    pub snapshot: Option<&'a Snapshot>,
}

/// The numbers of one uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub table: u32,
    pub priority: u32,
}

/// Where sockets bound to an interface go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub table: u32,
    pub priority: u32,
}

/// The rules of `uplinks[at]`, in order of priority. `device` is there if this uplink has the rule for its interface.
pub fn rules(
    around: &Surroundings,
    at: usize,
    numbers: Numbers,
    layout: Layout,
    device: Option<DeviceRule>,
) -> Vec<Placed<Rule>> {
    let it = &around.uplinks[at];
    let Numbers { table, priority } = numbers;
    let rule = |priority: u32, src: Option<IpNet>, table: u32| Rule {
        family: it.family,
        priority,
        oif: src.is_none().then(|| it.rule_interface().to_string()),
        src,
        table,
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: PROTOCOL,
        more: src.filter(|src| src.prefix_len() < src.max_prefix_len()).map(|_| Box::new(sent_by_this_host())),
    };
    let but_for_uplinks = |rule: Rule| Rule {
        suppress_prefixlen: Some(NEARLY_DEFAULT[usize::from(it.family == Family::Inet6)]),
        suppress_ifgroup: Some(around.group.number),
        ..rule
    };
    let sources = sources(around.uplinks, at, around.other_networks);
    let mut rules = Vec::new();
    let mut each = |rule: &dyn Fn(Option<IpNet>) -> Rule| {
        rules.extend(sources.iter().map(|source| Placed { item: rule(Some(source.item)), stanza: source.stanza }));
    };
    if layout == Layout::Article {
        each(&|src| rule(priority, src, table));
        return rules;
    }
    if let Some(snapshot) = around.snapshot {
        if is_local_behind(snapshot, it.family, priority) {
            each(&|src| rule(priority.saturating_sub(2), src, LOCAL));
        }
        for table in foreign_tables(snapshot, it.family, priority, around.group) {
            each(&|src| but_for_uplinks(rule(priority.saturating_sub(1), src, table)));
        }
    }
    each(&|src| but_for_uplinks(rule(priority, src, MAIN)));
    each(&|src| rule(priority + 1, src, table));
    if let Some(DeviceRule { table, priority }) = device {
        rules.push(Placed { item: rule(priority, None, table), stanza: it.stanza });
    }
    rules
}

fn sent_by_this_host() -> RuleMore {
    RuleMore { iif: Some("lo".into()), ..RuleMore::default() }
}

/// A rule for every packet.
fn is_unconditional(rule: &Rule) -> bool {
    rule.src.is_none() && rule.oif.is_none() && rule.suppress_ifgroup.is_none() && rule.more.is_none()
}

/// Does no rule before `priority` look up the host's own addresses? (ifupdown2 moves it where it makes VRFs.)
fn is_local_behind(snapshot: &Snapshot, family: Family, priority: u32) -> bool {
    let mut before = snapshot.rules.iter().filter(|rule| rule.family == family && rule.priority < priority);
    !before.any(|rule| rule.table == LOCAL && is_unconditional(rule) && rule.suppress_prefixlen.is_none())
}

/// Tables that a foreign rule looks up for every packet, behind `priority` and before the main table, and that have
/// more than a default route or a route through an uplink. (Tailscale's is the known one.)
fn foreign_tables(snapshot: &Snapshot, family: Family, priority: u32, group: &Group) -> Vec<u32> {
    let has_route = |table: u32| {
        let routes = snapshot.routes.iter().filter(|route| route.table == table && route.family == family);
        let mut routes = routes.filter(|route| route.kind() != Kind::Throw);
        routes.any(|route| {
            let specific = u32::from(route.dst.prefix_len()) > NEARLY_DEFAULT[usize::from(family == Family::Inet6)];
            specific && !route.dev.as_ref().is_some_and(|dev| group.has(dev))
        })
    };
    let mut tables: Vec<u32> = Vec::new();
    let for_all = || snapshot.rules.iter().filter(|rule| rule.family == family && is_unconditional(rule));
    let is_main = |rule: &&Rule| rule.table == MAIN && rule.suppress_prefixlen.is_none();
    let main = for_all().filter(is_main).map(|rule| rule.priority).min().unwrap_or(u32::MAX);
    let rules = for_all().filter(|rule| rule.protocol != PROTOCOL && (priority..main).contains(&rule.priority));
    for rule in rules {
        if !KERNEL_TABLES.contains(&rule.table) && !tables.contains(&rule.table) && has_route(rule.table) {
            tables.push(rule.table);
        }
    }
    tables
}

/// What the rules match: the addresses while they are few, else the fewest prefixes of the uplink's own networks that
/// hold them and no address or network of anything else.
fn sources(uplinks: &[Uplink], at: usize, other_networks: &[IpNet]) -> Vec<Placed<IpNet>> {
    let it = &uplinks[at];
    let mut met: HashSet<IpNet> = HashSet::new();
    let mut each: Vec<Placed<IpNet>> = Vec::new();
    for source in &it.sources {
        let item = if source.by_prefix { source.net.trunc() } else { source.net.addr().into() };
        if met.insert(item) {
            each.push(Placed { item, stanza: source.stanza.unwrap_or(it.stanza) });
        }
    }
    if each.len() <= FEW {
        return each;
    }
    let own_networks = it.on_link();
    let others = uplinks.iter().filter(|other| !std::ptr::eq(*other, it));
    let others =
        others.flat_map(|other| other.sources.iter().map(|source| source.net)).chain(other_networks.iter().copied());
    // A network that is also this uplink's (two links in one subnet) keeps out only its address.
    let keep_out: Vec<IpNet> = others
        .flat_map(|net| {
            let network = net.trunc();
            let shared = own_networks.iter().any(|own| own.contains(&network) || network.contains(own));
            [Some(IpNet::from(net.addr())), Some(network).filter(|_| !shared)]
        })
        .flatten()
        .collect();
    let wanted: Vec<IpNet> = each.iter().map(|source| source.item).collect();
    let covering = cover::cover(&wanted, &own_networks, &keep_out).into_iter();
    covering.map(|item| Placed { item, stanza: it.stanza }).collect()
}
