//! Links, addresses, rules and routes as plain values, in iproute2's terms, and what the kernel does with them.
//!
//! May use the address families of `interfaces` and the table names of `commands`. Must not use uplinks or policies.

pub mod deletion;
mod family;
pub mod lookup;
pub(crate) mod prefixes;
mod query;
mod route;
mod rule;
mod snapshot;

pub use crate::commands::tables::{DEFAULT, LOCAL, MAIN, table_name};
pub use family::Family;
pub use query::{Answer, LookupContext, Query, ResolvedRoute, ip_protocol_name};
pub use route::{
    INET6_METRIC, Kind, Nexthop, PROTOCOL, PROTOCOL_DHCP, Route, RouteExtras, RouteKey, RouteState, SCOPE_LINK,
    is_host, is_ipv4_link_local, prefix,
};
pub use rule::{Action, Rule, RuleExtras, dscp_text};
pub use snapshot::{Address, Lease, Link, LinkNames, Snapshot, kernel_name};
