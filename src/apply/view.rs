//! What a change looks at. A host may have a million routes; few of them have a part in the policy of its uplinks.

use std::collections::BTreeSet;

use anyhow::Result;

use super::steps::Step;
use crate::netlink::Socket;
use crate::netlink::message::Filter;
use crate::network::{DEFAULT, Family, LOCAL, Link, MAIN, PROTOCOL, Route, Snapshot};
use crate::policy::layout::is_unconditional;

/// Up to this number, interfaces and tables are read one by one after a change.
const FEW: usize = 3;

/// Links, addresses and rules; of the routes those of table main, symroute's own, and all in the tables that rules look up
/// for every packet, and in those whose foreign routes decide what the plan is.
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
        // A rule for every packet may have a part in every policy, except that for a table of the kernel.
        let of_kernel = [0, MAIN, LOCAL, DEFAULT];
        let looked_up = rules.iter().filter(|rule| is_unconditional(rule) && !of_kernel.contains(&rule.table));
        self.tables.extend(looked_up.map(|rule| (rule.family, rule.table)));
        let mut snapshot = Snapshot { links, addresses, rules, routes, ..Snapshot::default() };
        self.socket.read_failed_routers(&mut snapshot)?;
        for (family, table) in self.tables.clone() {
            self.add_foreign(family, table, &mut snapshot)?;
        }
        Ok(snapshot)
    }

    /// What these steps were to change, for a comparison with the plan: the groups of interfaces, the rules, and symroute's
    /// routes in their tables. The rest is that of `before`, without the foreign routes of the main table.
    ///
    /// # Errors
    /// When a netlink request fails.
    pub(crate) fn read_back(&mut self, before: &Snapshot, steps: &[Step]) -> Result<Snapshot> {
        let links = self.links_again(before, steps)?;
        let rules = match steps.iter().any(|step| matches!(step, Step::AddRule(_) | Step::RemoveRule(_))) {
            true => self.socket.rules()?,
            false => before.rules.clone(),
        };
        let tables: BTreeSet<(Family, u32)> = steps.iter().filter_map(Step::table).collect();
        let is_read_again = |route: &Route| tables.len() > FEW || tables.contains(&(route.family, route.table));
        let mut routes = match tables.len() {
            0..=FEW => self.ours_in(&tables, &links)?,
            _ => self.ours(&links)?,
        };
        let is_kept = |route: &&Route| if route.is_ours() { !is_read_again(route) } else { route.table != MAIN };
        routes.extend(before.routes.iter().filter(is_kept).cloned());
        Ok(Snapshot { links, addresses: before.addresses.clone(), rules, routes, ..Snapshot::default() })
    }

    /// The interfaces, with the groups that they have now.
    fn links_again(&mut self, before: &Snapshot, steps: &[Step]) -> Result<Vec<Link>> {
        let devs: BTreeSet<&str> = steps.iter().filter_map(Step::interface).collect();
        if devs.len() > FEW {
            return self.socket.links();
        }
        let mut links = Vec::with_capacity(before.links.len());
        for link in &before.links {
            match devs.contains(&link.name[..]) {
                true => links.extend(self.socket.link(link.index)?),
                false => links.push(link.clone()),
            }
        }
        Ok(links)
    }

    fn ours_in(&mut self, tables: &BTreeSet<(Family, u32)>, links: &[Link]) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for (family, table) in tables {
            let filter = Filter { table: Some(*table), protocol: Some(PROTOCOL) };
            routes.extend(self.socket.family_routes(*family, filter, links)?);
        }
        Ok(routes)
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
