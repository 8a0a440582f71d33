//! Routes that lines of stanzas add to the main table: the networks behind an interface, according to the files.

use std::cell::OnceCell;
use std::net::IpAddr;

use bstr::BStr;
use ipnet::IpNet;
use rustc_hash::FxHashSet;

use super::by_network::ByNetwork;
use super::collector::UplinkCollector;
use super::uplink::Uplink;
use crate::commands::Object;
use crate::commands::lines::Line;
use crate::network::Family;

/// A route that `ip route add` in a stanza adds to the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    pub family: Family,
    pub dst: IpNet,
    pub gateway: Option<IpAddr>,
    pub dev: String,
    /// The main table uses it instead of the on-link route of an address.
    pub is_used_first: bool,
}

impl UplinkCollector<'_> {
    /// Only those through interfaces of uplinks: no plan uses others.
    pub(crate) fn static_routes(&self, uplinks: &[Uplink]) -> Vec<StaticRoute> {
        if self.lines.is_empty() {
            return Vec::new();
        }
        let links: FxHashSet<&str> = uplinks.iter().map(|uplink| &uplink.interface[..]).collect();
        let of_uplinks = self.first_sources(|link| links.contains(link));
        let sources = OnceCell::new();
        let link_towards = |gateway: IpAddr| {
            of_uplinks.containing(gateway.into()).next()?;
            let sources = sources.get_or_init(|| self.first_sources(|_| true));
            let index = sources.containing(gateway.into()).min()?;
            Some(self.sources[*index].link.to_string())
        };
        let routes = self.lines.iter().filter_map(|line| self.static_route(line, &link_towards));
        routes.filter(|route| links.contains(&route.dev[..])).collect()
    }

    /// By network, the first of its sources.
    fn first_sources(&self, is_counted: impl Fn(&str) -> bool) -> ByNetwork<usize> {
        let mut sources: ByNetwork<usize> = ByNetwork::default();
        for (index, known) in self.sources.iter().enumerate().filter(|(_, known)| is_counted(&known.link)) {
            sources.get_or_insert(known.source.net, index);
        }
        sources
    }

    fn static_route(&self, line: &Line, link_towards: &dyn Fn(IpAddr) -> Option<String>) -> Option<StaticRoute> {
        let command = &line.command;
        let adds = line.phase.is_up() && command.object == Object::Route && command.adds();
        if !adds || line.is_policy(self.names) || command.rejection.is_some() || command.get("type").is_some() {
            return None;
        }
        let gateway = command.address("via");
        if gateway.is_none() && command.get("via").is_some() || command.get("nexthop").is_some() {
            return None;
        }
        let family = Family::of_inet6(command.inet6);
        let named = command.get("dev").map(|dev| self.interface_of(BStr::new(dev)));
        // `ip` finds the interface by the gateway.
        let dev = named.or_else(|| link_towards(gateway?))?;
        let dst = command.prefix("to").filter(|dst| dst.prefix_len() > 0)?;
        let is_used_first = family == Family::Inet && command.get("metric").is_none() && command.is_used_first();
        Some(StaticRoute { family, dst, gateway, dev, is_used_first })
    }
}
