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

/// How the rules are read after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleList {
    /// Those of symroute are complete.
    Confirmed,
    /// Only those with the priorities of the steps. Some may be missing, or listed twice.
    Once,
}

/// Links, addresses and rules; of the routes those of table main, symroute's own, and all in the tables that rules look up
/// for every packet, and in those whose foreign routes decide what the plan is. No policy depends on main's IPv6 link-local
/// routes, of which each interface has one: they are left out.
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
        let of_main = Filter { table: Some(MAIN), without_link_local: true, ..Filter::default() };
        let mut routes = self.socket.routes_with(of_main, &links)?;
        let mut ours = self.ours(&links)?;
        ours.retain(|route| route.table != MAIN);
        routes.append(&mut ours);
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

    /// What these steps were to change: the groups of interfaces, the rules, and symroute's routes in their tables. With
    /// all interfaces, routes or rules, if that takes one request instead of many.
    ///
    /// # Errors
    /// When a netlink request fails.
    pub(crate) fn read_back(&mut self, before: &Snapshot, steps: &[Step], rules: RuleList) -> Result<Snapshot> {
        let links = self.links_again(before, steps)?;
        let known = if interfaces(steps).len() > FEW { &links } else { &before.links };
        let rules = match rules {
            _ if !have_rules(steps) => Vec::new(),
            RuleList::Confirmed => self.socket.rules()?,
            RuleList::Once => self.socket.rules_listed_once(&priorities(steps))?,
        };
        let tables = tables(steps);
        let routes = match tables.len() {
            0..=FEW => self.ours_in(&tables, known)?,
            _ => self.ours(known)?,
        };
        Ok(Snapshot { links, rules, routes, ..Snapshot::default() })
    }

    /// What was read back, with the rest of `before` but for the foreign routes of the main table: for a comparison with the
    /// plan.
    pub(crate) fn with_rest(after: Snapshot, before: &Snapshot, steps: &[Step]) -> Snapshot {
        let Snapshot { links, rules, mut routes, .. } = after;
        let tables = tables(steps);
        let is_read_again = |route: &Route| tables.len() > FEW || tables.contains(&(route.family, route.table));
        let is_kept = |route: &&Route| if route.is_ours() { !is_read_again(route) } else { route.table != MAIN };
        routes.extend(before.routes.iter().filter(is_kept).cloned());
        Snapshot {
            links: with_rest_of_links(links, before, &interfaces(steps)),
            addresses: before.addresses.clone(),
            rules: if have_rules(steps) { rules } else { before.rules.clone() },
            routes,
            ..Snapshot::default()
        }
    }

    /// The interfaces that these steps change, with the groups that they have now; all of them if they are many.
    fn links_again(&mut self, before: &Snapshot, steps: &[Step]) -> Result<Vec<Link>> {
        let devs = interfaces(steps);
        if devs.len() > FEW {
            return self.socket.links();
        }
        let mut links = Vec::new();
        for link in before.links.iter().filter(|link| devs.contains(&link.name[..])) {
            links.extend(self.socket.link(link.index)?);
        }
        Ok(links)
    }

    fn ours_in(&mut self, tables: &BTreeSet<(Family, u32)>, links: &[Link]) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for (family, table) in tables {
            let filter = Filter { table: Some(*table), protocol: Some(PROTOCOL), ..Filter::default() };
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

fn interfaces(steps: &[Step]) -> BTreeSet<&str> {
    steps.iter().filter_map(Step::interface).collect()
}

fn tables(steps: &[Step]) -> BTreeSet<(Family, u32)> {
    steps.iter().filter_map(Step::table).collect()
}

fn priorities(steps: &[Step]) -> Vec<u32> {
    let rules = steps.iter().filter_map(|step| match step {
        Step::AddRule(rule) | Step::RemoveRule(rule) => Some(rule),
        _ => None,
    });
    rules.map(|rule| rule.priority).collect()
}

fn have_rules(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::AddRule(_) | Step::RemoveRule(_)))
}

/// In the order of `before`, those of `devs` as they are now.
fn with_rest_of_links(now: Vec<Link>, before: &Snapshot, devs: &BTreeSet<&str>) -> Vec<Link> {
    if devs.len() > FEW {
        return now;
    }
    let mut now = now.into_iter().peekable();
    let mut links = Vec::with_capacity(before.links.len());
    for link in &before.links {
        match devs.contains(&link.name[..]) {
            true => links.extend(now.next_if(|now| now.index == link.index)),
            false => links.push(link.clone()),
        }
    }
    links
}
