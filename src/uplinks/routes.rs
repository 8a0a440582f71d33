//! Routes that lines of stanzas add to main: what the files tell of networks behind an interface.

use std::net::IpAddr;

use bstr::BStr;
use ipnet::IpNet;

use super::finder::Finder;
use super::handwritten::Line;
use crate::interfaces::Family;
use crate::interfaces::command::Object;

/// A route of main, as `ip route add` in a stanza makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    pub family: Family,
    pub dst: IpNet,
    pub gateway: Option<IpAddr>,
    pub dev: String,
}

impl Finder<'_> {
    pub(super) fn static_routes(&self) -> Vec<StaticRoute> {
        self.lines.iter().filter_map(|line| self.static_route(line)).collect()
    }

    fn static_route(&self, line: &Line) -> Option<StaticRoute> {
        let command = &line.command;
        let adds = line.phase.is_up() && command.object == Object::Route && command.adds();
        if !adds || line.is_policy(self.names) || command.refused.is_some() || command.get("type").is_some() {
            return None;
        }
        let dst = command.prefix("to").filter(|dst| dst.prefix_len() > 0)?;
        let gateway = command.address("via");
        if gateway.is_none() && command.get("via").is_some() || command.get("nexthop").is_some() {
            return None;
        }
        let family = if command.inet6 { Family::Inet6 } else { Family::Inet };
        let named = command.get("dev").map(|dev| self.interface_of(BStr::new(dev)));
        // `ip` finds the interface by the gateway.
        let holds = |(_, _, source): &&(String, Family, super::Source)| {
            gateway.is_some_and(|gateway| source.net.contains(&gateway))
        };
        let found = || self.sources.iter().find(holds).map(|(dev, ..)| dev.clone());
        Some(StaticRoute { family, dst, gateway, dev: named.or_else(found)? })
    }
}
