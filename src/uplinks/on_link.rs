//! `symroute-gateway none` on an interface that is not point-to-point.

use super::collector::UplinkCollector;
use super::gateway::Gateway;
use super::uplink::Uplink;
use crate::interfaces::Diagnostic;
use crate::network::Snapshot;

impl UplinkCollector<'_> {
    /// One warning for each stanza: the interface has broadcast, and an address with an on-link network.
    pub(crate) fn without_router(&self, uplinks: &[Uplink], snapshot: &Snapshot) -> Vec<Diagnostic> {
        let is_broadcast = |uplink: &&Uplink| snapshot.link(&uplink.interface).is_some_and(|link| link.broadcast);
        let has_network =
            |uplink: &&Uplink| uplink.sources.iter().any(|source| source.peer.is_none() && source.network().is_some());
        let uplinks = uplinks.iter().filter(|uplink| uplink.gateway == Gateway::OnLink);
        uplinks.filter(is_broadcast).filter(has_network).filter_map(|uplink| self.warning(uplink)).collect()
    }

    fn warning(&self, uplink: &Uplink) -> Option<Diagnostic> {
        let options = self.config.own_options(&self.config.stanzas[uplink.stanza]);
        let option = options.iter().find(|option| option.name == "symroute-gateway")?;
        let protocol = if uplink.family.version() == "IPv6" { "NDP" } else { "ARP" };
        Some(Diagnostic::warning(
            option.location,
            &option.value,
            format!(
                "{}: 'symroute-gateway none' on an interface that is not point-to-point: the host resolves every \
                 destination by {protocol}, and most are unreachable",
                uplink.label()
            ),
            "Write the address of the provider's router: 'symroute-gateway ADDRESS'.",
        ))
    }
}
