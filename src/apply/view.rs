//! What a change looks at. A host may have a million routes; few of them have a part in the policy of its uplinks.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::netlink::Socket;
use crate::netlink::message::Filter;
use crate::network::{Family, LOCAL, Link, MAIN, PROTOCOL, Route, Snapshot};
use crate::policy::layout::is_unconditional;

/// Links, addresses and rules; of the routes those of table main, symroute's own, and all in the tables of the plan and in
/// those that rules look up for every packet.
pub(crate) struct View<'a> {
    pub(crate) socket: &'a mut Socket,
    tables: BTreeSet<(Family, u32)>,
}

impl<'a> View<'a> {
    pub(crate) fn new(socket: &'a mut Socket) -> Self {
        View { socket, tables: BTreeSet::new() }
    }

    /// # Errors
    /// When a netlink request fails.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot> {
        let links = self.socket.links()?;
        let addresses = self.socket.addresses(&links)?;
        let rules = self.socket.rules()?;
        let mut routes = self.socket.routes_with(Filter { table: Some(MAIN), ..Filter::default() }, &links)?;
        routes.extend(self.ours(&links)?.into_iter().filter(|route| route.table != MAIN));
        // A rule for every packet may have a part in every policy.
        let looked_up = rules.iter().filter(|rule| is_unconditional(rule) && ![0, MAIN, LOCAL].contains(&rule.table));
        self.tables.extend(looked_up.map(|rule| (rule.family, rule.table)));
        let mut snapshot = Snapshot { links, addresses, rules, routes, ..Snapshot::default() };
        self.socket.read_failed_routers(&mut snapshot)?;
        for (family, table) in self.tables.clone() {
            self.add_foreign(family, table, &mut snapshot)?;
        }
        Ok(snapshot)
    }

    /// What a change can have changed, for a comparison with the plan: links, rules, and symroute's routes. The addresses and
    /// the foreign routes are those of `before`, without the main table's.
    ///
    /// # Errors
    /// When a netlink request fails.
    pub(crate) fn read_back(&mut self, before: &Snapshot) -> Result<Snapshot> {
        let (links, rules) = (self.socket.links()?, self.socket.rules()?);
        let (routes, addresses) = (self.ours(&links)?, before.addresses.clone());
        let mut snapshot = Snapshot { links, addresses, rules, routes, ..Snapshot::default() };
        let is_foreign = |route: &&Route| route.table != MAIN && !route.is_ours();
        snapshot.routes.extend(before.routes.iter().filter(is_foreign).cloned());
        Ok(snapshot)
    }

    fn ours(&mut self, links: &[Link]) -> Result<Vec<Route>> {
        self.socket.routes_with(Filter { protocol: Some(PROTOCOL), ..Filter::default() }, links)
    }

    /// Takes further tables in, whatever is in them; true where they have foreign routes, on which a plan depends.
    ///
    /// # Errors
    /// When a netlink request fails.
    pub(crate) fn extend(
        &mut self,
        snapshot: &mut Snapshot,
        tables: impl IntoIterator<Item = (Family, u32)>,
    ) -> Result<bool> {
        let before = snapshot.routes.len();
        for (family, table) in tables {
            if table != MAIN && self.tables.insert((family, table)) {
                self.add_foreign(family, table, snapshot)?;
            }
        }
        Ok(snapshot.routes.len() > before)
    }

    fn add_foreign(&mut self, family: Family, table: u32, snapshot: &mut Snapshot) -> Result<()> {
        let filter = Filter { table: Some(table), ..Filter::default() };
        let routes = self.socket.family_routes(family, filter, &snapshot.links)?;
        snapshot.routes.extend(routes.into_iter().filter(|route| !route.is_ours()));
        Ok(())
    }
}
