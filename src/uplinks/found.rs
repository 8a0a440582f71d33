//! The uplinks of a configuration, and the other networks of the host.

use ipnet::IpNet;

use super::routes::StaticRoute;
use super::uplink::Uplink;
use crate::interfaces::Diagnostic;
use crate::network::Route;

/// The uplinks of a configuration, and the values that their plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// In file order; then those that only the kernel's main table has.
    pub uplinks: Vec<Uplink>,
    /// On-link networks and addresses of the host that belong to no uplink.
    pub other_networks: Vec<IpNet>,
    /// Default routes of the main table that belong to no uplink, if the host has other uplinks.
    pub unknown_defaults: Vec<Route>,
    /// Routes that lines add to the main table.
    pub static_routes: Vec<StaticRoute>,
    /// Tables and priorities that manual lines use.
    pub tables_in_use: Vec<u32>,
    pub priorities_in_use: Vec<u32>,
    /// Metrics of IPv4 and IPv6 default routes whose stanza has no `metric`.
    pub unset_metrics: [u32; 2],
    /// An interface has one metric for both families, whichever of its stanzas names it.
    pub one_metric: bool,
    /// The `ip` commands of the stanzas may be manual policy routing.
    pub(crate) may_be_manual: bool,
    pub diagnostics: Vec<Diagnostic>,
}
