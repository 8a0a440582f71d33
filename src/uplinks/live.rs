//! The uplinks as the kernel has them.

use std::net::IpAddr;

use super::{Source, Uplink, assign};
use crate::interfaces::{Config, Family};
use crate::snapshot::{MAIN, Snapshot};

/// Which uplinks are up, with which addresses, and for dynamic ones through which router.
pub(super) fn hold_against(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    for uplink in &mut *uplinks {
        as_the_kernel_has_it(uplink, snapshot);
    }
    assign_kernel_addresses(uplinks, snapshot);
}

/// Counts interfaces that are about to go down as down already; an alias (`eth0:1`) takes only what is its own.
pub(super) fn take_down(uplinks: &mut [Uplink], config: &Config, going: &[&str]) {
    for interface in going {
        let alias = interface.contains(':');
        let named = |stanza: usize| config.stanzas[stanza].interface == interface.as_bytes();
        for uplink in &mut *uplinks {
            if alias {
                uplink.sources.retain(|source| !source.stanza.is_some_and(named));
            }
            uplink.up &= if alias { !named(uplink.stanza) } else { uplink.interface != *interface };
        }
    }
}

/// Holds an uplink against the kernel: is it up, which of its addresses are there, and for a dynamic one,
/// through which router.
fn as_the_kernel_has_it(uplink: &mut Uplink, snapshot: &Snapshot) {
    let Uplink { interface, family, .. } = uplink;
    let up = snapshot.link(interface).is_some_and(|link| link.up);
    let present =
        |address: IpAddr| snapshot.addresses.iter().any(|known| known.dev == *interface && known.net.addr() == address);
    if uplink.dynamic && uplink.gateway.is_none() {
        uplink.gateway = snapshot
            .routes
            .iter()
            .filter(|route| route.family == *family && route.table == MAIN && route.dst.prefix_len() == 0)
            .filter(|route| route.dev.as_ref() == Some(interface))
            .min_by_key(|route| route.metric)
            .and_then(|route| route.gateway);
    }
    let there: Vec<Source> = uplink.sources.iter().filter(|source| present(source.net.addr())).cloned().collect();
    uplink.up = up && (uplink.dynamic && uplink.gateway.is_some() || !there.is_empty());
    if uplink.up {
        uplink.sources = there;
    }
}

/// Adds the addresses that only the kernel knows.
fn assign_kernel_addresses(uplinks: &mut [Uplink], snapshot: &Snapshot) {
    for address in snapshot.addresses.iter().filter(|address| !address.local) {
        let family = if address.net.addr().is_ipv6() { Family::Inet6 } else { Family::Inet };
        let by_prefix = family == Family::Inet6
            && address.net.prefix_len() < 128
            && uplinks
                .iter()
                .any(|uplink| uplink.interface == address.dev && uplink.family == family && uplink.dynamic);
        let source = Source { net: address.net, peer: address.peer, stanza: None, by_prefix };
        assign(uplinks, &address.dev, family, &source);
    }
    for uplink in uplinks {
        uplink.up &= !uplink.sources.is_empty();
    }
}
