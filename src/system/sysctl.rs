//! The kernel's settings in `/proc/sys/net`.

use std::fs;

use crate::network::{Family, Query};

/// Does the kernel forward packets like this one? IPv4 is set for each interface, IPv6 for all of them.
pub fn forwards(query: &Query) -> bool {
    let setting = match (query.family(), &query.iif) {
        (Family::Inet6, _) => Some("/proc/sys/net/ipv6/conf/all/forwarding".to_string()),
        (_, Some(iif)) => Some(format!("/proc/sys/net/ipv4/conf/{iif}/forwarding")),
        _ => None,
    };
    setting.is_some_and(|path| fs::read(path).is_ok_and(|value| !value.starts_with(b"0")))
}

/// Flushes the route cache, as the article's last step does. Kernels since 3.6 have no cache for IPv4 and flush what they
/// keep for IPv6 by themselves: where it cannot be written, as in containers, nothing is lost.
pub(crate) fn flush_route_cache() {
    let _ = fs::write("/proc/sys/net/ipv4/route/flush", "-1");
}
