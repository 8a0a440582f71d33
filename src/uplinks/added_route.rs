//! The value of a line that adds a route to the main table.

use std::net::IpAddr;
use std::num::NonZero;

use ipnet::IpNet;

use crate::commands::Object;
use crate::commands::lines::Line;
use crate::network::Family;

/// A route that `ip route add` in a stanza adds to the main table. Its interface is found by all addresses of the files.
/// Small, because a file may have many.
pub(super) struct AddedRoute {
    pub(super) family: Family,
    pub(super) dst: IpNet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) is_used_first: bool,
    /// The position of the interface that its line names, counted from 1.
    dev: Option<NonZero<u32>>,
}

/// The routes of all lines.
#[derive(Default)]
pub(crate) struct AddedRoutes {
    routes: Vec<AddedRoute>,
    /// As the lines name them.
    devs: Vec<Box<str>>,
}

impl AddedRoutes {
    /// Adds the route of a line. False for other commands.
    pub(super) fn add(&mut self, line: &Line, is_policy: bool) -> bool {
        let Some(route) = AddedRoute::of(line, is_policy) else { return false };
        let dev = line.command.get("dev").and_then(|dev| {
            self.devs.push(dev.into());
            NonZero::new(self.devs.len() as u32)
        });
        self.routes.push(AddedRoute { dev, ..route });
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Each route with the interface that its line names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AddedRoute, Option<&str>)> {
        self.routes.iter().map(|route| (route, route.dev.map(|dev| &*self.devs[dev.get() as usize - 1])))
    }
}

impl AddedRoute {
    fn of(line: &Line, is_policy: bool) -> Option<AddedRoute> {
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
        Some(AddedRoute { family, dst, gateway, is_used_first, dev: None })
    }
}
