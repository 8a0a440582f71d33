//! Routes that lines of stanzas add to the main table: the networks behind an interface, according to the files.

use std::net::IpAddr;

use bstr::BStr;
use ipnet::IpNet;

use super::by_network::ByNetwork;
use super::collector::UplinkCollector;
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
    pub(crate) fn static_routes(&self) -> Vec<StaticRoute> {
        if self.lines.is_empty() {
            return Vec::new();
        }
        // By network, the first of its sources.
        let mut sources: ByNetwork<usize> = ByNetwork::default();
        for (index, known) in self.sources.iter().enumerate() {
            sources.get_or_insert(known.source.net, index);
        }
        let link_towards = |gateway: IpAddr| {
            let index = sources.containing(gateway.into()).min()?;
            Some(self.sources[*index].link.clone())
        };
        self.lines.iter().filter_map(|line| self.static_route(line, &link_towards)).collect()
    }

    fn static_route(&self, line: &Line, link_towards: &dyn Fn(IpAddr) -> Option<String>) -> Option<StaticRoute> {
        let command = &line.command;
        let adds = line.phase.is_up() && command.object == Object::Route && command.adds();
        if !adds || line.is_policy(self.names) || command.rejection.is_some() || command.get("type").is_some() {
            return None;
        }
        let dst = command.prefix("to").filter(|dst| dst.prefix_len() > 0)?;
        let gateway = command.address("via");
        if gateway.is_none() && command.get("via").is_some() || command.get("nexthop").is_some() {
            return None;
        }
        let family = Family::of_inet6(command.inet6);
        let named = command.get("dev").map(|dev| self.interface_of(BStr::new(dev)));
        // `ip` finds the interface by the gateway.
        let dev = named.or_else(|| link_towards(gateway?))?;
        let is_used_first = family == Family::Inet && command.get("metric").is_none() && command.is_used_first();
        Some(StaticRoute { family, dst, gateway, dev, is_used_first })
    }
}
