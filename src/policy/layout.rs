//! The routes and rules of one uplink.
//!
//! Layered, the default, for each source A of an uplink on DEV with table T and priority P:
//! ```text
//! P     from A lookup T    suppress_prefixlength 0   own subnet straight out, the other uplinks' round by the gateway
//! P+1   from A lookup main suppress_prefixlength 1   LAN, VPN, containers, static routes still win (inet6: 3)
//! P+2   from A lookup T                              everything else through the uplink's own gateway
//! P+3   oif DEV lookup T                             sockets bound to the device
//! ```
//! The lengths 1 and 3 because VPNs halve the default route and IPv6 hosts write 2000::/3 for it.
//! Article: `P from A lookup T` alone.
//!
//! Where several uplinks share a device, the last of them has the rule for it, and the first one's table in it:
//! an answer may be bound to the device and to a source (ICMPv6 echo), and then the source decides.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Placed, cover};
use crate::interfaces::Family;
use crate::snapshot::{INET6_METRIC, MAIN, PROTOCOL, Route, Rule, SCOPE_LINK, State};
use crate::uplinks::{Layout, Uplink};

/// The longest prefixes, inet and inet6, that stand for the whole Internet: VPNs halve the default route, and IPv6
/// hosts write 2000::/3 for it.
pub const NEARLY_DEFAULT: [u32; 2] = [1, 3];
/// Sources that are left as they are; more are covered by prefixes.
const FEW: usize = 4;

/// The routes of `uplinks[at]` in `table`: on-link networks, the other uplinks' networks through the own
/// gateway, the default.
pub fn routes(uplinks: &[Uplink], at: usize, table: u32, layout: Layout) -> Vec<Placed<Route>> {
    let it = &uplinks[at];
    let on_link = it.on_link();
    let route = |dst: IpNet, gateway: Option<IpAddr>| {
        let near = |gateway: &IpAddr| on_link.iter().any(|net| net.contains(gateway)) || is_link_local(gateway);
        Route {
            family: it.family,
            table,
            dst,
            gateway,
            dev: Some(it.interface.clone()),
            scope: if gateway.is_none() && it.family == Family::Inet { SCOPE_LINK } else { 0 },
            metric: if it.family == Family::Inet { 0 } else { INET6_METRIC },
            onlink: gateway.is_some_and(|gateway| !near(&gateway)),
            protocol: PROTOCOL,
            more: None,
            state: State::default(),
        }
    };
    let mut routes = Vec::new();
    for net in &on_link {
        let has =
            |net: &IpNet| it.sources.iter().find(|source| source.peer.map_or(source.net.trunc(), IpNet::from) == *net);
        let stanza = has(net).and_then(|source| source.stanza).unwrap_or(it.stanza);
        routes.push(Placed { item: route(*net, None), stanza });
    }
    let own = |item| Placed { item, stanza: it.stanza };
    if layout == Layout::Layered {
        if let (Family::Inet6, Some(net)) =
            (it.family, Ipv6Net::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64).ok())
        {
            // Sockets bound to the device reach this table for link-local destinations too.
            routes.push(own(route(net.into(), None)));
        }
        let others = uplinks.iter().filter(|other| other.family == it.family && !std::ptr::eq(*other, it));
        for net in others.flat_map(Uplink::provider_networks) {
            let known = routes.iter().any(|known| known.item.dst == net);
            if !known && !on_link.iter().any(|own| own.contains(&net)) {
                routes.push(own(route(net, it.gateway)));
            }
        }
    }
    let default: IpNet = match it.family {
        Family::Inet6 => Ipv6Net::default().into(),
        _ => Ipv4Net::default().into(),
    };
    routes.push(own(route(default, it.gateway)));
    routes
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The rules of `uplinks[at]`, in order of priority. `device_table` is where sockets bound to the device go, if it
/// is this uplink that has the rule for them.
pub fn rules(
    uplinks: &[Uplink],
    at: usize,
    table: u32,
    priority: u32,
    layout: Layout,
    device_table: Option<u32>,
    other_networks: &[IpNet],
) -> Vec<Placed<Rule>> {
    let it = &uplinks[at];
    let rule = |offset: u32, src: Option<IpNet>, table: u32, suppress_prefixlen: Option<u32>| Rule {
        family: it.family,
        priority: priority + offset,
        oif: src.is_none().then(|| it.rule_interface().to_string()),
        src,
        table,
        suppress_prefixlen,
        protocol: PROTOCOL,
        more: None,
    };
    let sources = sources(uplinks, at, other_networks);
    let mut rules = Vec::new();
    let mut layer = |offset: u32, table: u32, suppress_prefixlen: Option<u32>| {
        for Placed { item, stanza } in &sources {
            rules.push(Placed { item: rule(offset, Some(*item), table, suppress_prefixlen), stanza: *stanza });
        }
    };
    match layout {
        Layout::Article => layer(0, table, None),
        Layout::Layered => {
            layer(0, table, Some(0));
            layer(1, MAIN, Some(NEARLY_DEFAULT[usize::from(it.family == Family::Inet6)]));
            layer(2, table, None);
            if let Some(table) = device_table {
                rules.push(Placed { item: rule(3, None, table, None), stanza: it.stanza });
            }
        }
    }
    rules
}

/// What the rules match: the addresses while they are few, else the fewest prefixes that hold them and no
/// address or network of anything else.
fn sources(uplinks: &[Uplink], at: usize, other_networks: &[IpNet]) -> Vec<Placed<IpNet>> {
    let it = &uplinks[at];
    let mut each: Vec<Placed<IpNet>> = Vec::new();
    for source in &it.sources {
        let item = if source.by_prefix { source.net.trunc() } else { source.net.addr().into() };
        if !each.iter().any(|known| known.item == item) {
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
    cover::cover(&wanted, &keep_out).into_iter().map(|item| Placed { item, stanza: it.stanza }).collect()
}
