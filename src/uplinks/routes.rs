//! Routes that lines of stanzas add to the main table: the networks behind an interface, according to the files.

use std::cell::OnceCell;
use std::net::IpAddr;

use bstr::BStr;
use ipnet::IpNet;
use rustc_hash::FxHashSet;

use super::added_route::AddedRoute;
use super::by_network::ByNetwork;
use super::collector::UplinkCollector;
use super::uplink::Uplink;
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
        if self.added_routes.is_empty() {
            return Vec::new();
        }
        let links: FxHashSet<&BStr> = uplinks.iter().map(|uplink| BStr::new(&uplink.interface)).collect();
        let of_uplinks = self.first_sources(|link| links.contains(link));
        let sources = OnceCell::new();
        // `ip` finds the interface by the gateway.
        let link_towards = |gateway: IpAddr| {
            of_uplinks.containing(gateway.into()).next()?;
            let sources = sources.get_or_init(|| self.first_sources(|_| true));
            let index = sources.containing(gateway.into()).min()?;
            Some(self.sources[*index].link(self.config).to_string())
        };
        let routes = self.added_routes.iter().filter_map(|(added, dev)| {
            let AddedRoute { family, dst, gateway, is_used_first, .. } = *added;
            let named = dev.map(|dev| self.interface_of(BStr::new(dev)).into_owned());
            let dev = named.or_else(|| link_towards(gateway?))?;
            Some(StaticRoute { family, dst, gateway, dev, is_used_first })
        });
        routes.filter(|route| links.contains(BStr::new(&route.dev))).collect()
    }

    /// By network, the first of its sources.
    fn first_sources(&self, is_counted: impl Fn(&BStr) -> bool) -> ByNetwork<usize> {
        let mut sources: ByNetwork<usize> = ByNetwork::default();
        for (index, known) in self.sources.iter().enumerate().filter(|(_, known)| is_counted(known.link(self.config))) {
            sources.get_or_insert(known.net, index);
        }
        sources
    }
}
