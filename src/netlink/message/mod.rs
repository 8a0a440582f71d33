//! Between netlink messages and the snapshot's values (rtnetlink(7), linux/fib_rules.h). Pure: `requests` sends them.

mod link;
mod route;
mod rule;
mod values;

pub(crate) use link::{
    NeighbourStates, get_link, list_addresses, list_links, list_neighbours, read_address, read_failed_neighbour,
    read_link, read_neighbour, write_group,
};
pub(crate) use route::{
    Filter, RTM_F_FIB_MATCH, is_cached, is_link_local, list_routes, read_route, read_way, write_query, write_route,
};
pub(crate) use rule::{list_rules, priority_of_rule, read_rule, write_rule};

#[cfg(test)]
mod tests;
