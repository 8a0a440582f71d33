//! The value of a line that adds a route to the main table.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::commands::Object;
use crate::commands::lines::Line;
use crate::network::Family;

/// A route that `ip route add` in a stanza adds to the main table. Its interface is found by all addresses of the files.
pub(crate) struct AddedRoute {
    pub(super) family: Family,
    pub(super) dst: IpNet,
    pub(super) gateway: Option<IpAddr>,
    /// As the line names it.
    pub(super) dev: Option<Box<str>>,
    pub(super) is_used_first: bool,
}

impl AddedRoute {
    /// Nothing for other commands.
    pub(super) fn of(line: &Line, is_policy: bool) -> Option<AddedRoute> {
        let command = &line.command;
        let adds = line.phase.is_up() && command.object == Object::Route && command.adds();
        if !adds || is_policy || command.rejection.is_some() || command.get("type").is_some() {
            return None;
        }
        let gateway = command.address("via");
        if gateway.is_none() && command.get("via").is_some() || command.get("nexthop").is_some() {
            return None;
        }
        let family = Family::of_inet6(command.inet6);
        let dst = command.prefix("to").filter(|dst| dst.prefix_len() > 0)?;
        let is_used_first = family == Family::Inet && command.get("metric").is_none() && command.is_used_first();
        Some(AddedRoute { family, dst, gateway, dev: command.get("dev").map(Box::from), is_used_first })
    }
}
