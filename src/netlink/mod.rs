//! The kernel's side: the netlink socket, its messages, the kernel's lists, single changes, lookups.
//!
//! Nothing here decides what to change, and nothing starts a process.

pub(crate) mod conntrack;
pub(crate) mod events;
pub(crate) mod message;
pub(crate) mod requests;
mod single;
pub(crate) mod sock_diag;
mod socket;
mod wire;

use anyhow::Result;

use crate::network::{Family, LookupContext, Query, Snapshot};
pub use socket::Socket;

/// Everything that the kernel has.
///
/// # Errors
/// When a netlink request fails.
pub fn snapshot(socket: &mut Socket) -> Result<Snapshot> {
    let links = socket.links()?;
    let addresses = socket.addresses(&links)?;
    let rules = socket.rules()?;
    let routes = socket.routes(&links)?;
    let mut snapshot = Snapshot { links, addresses, rules, routes, ..Snapshot::default() };
    socket.read_failed_routers(&mut snapshot)?;
    Ok(snapshot)
}

/// What a lookup of `query` depends on beside the snapshot; `forwards` is the kernel's setting for it.
///
/// # Errors
/// When a netlink request fails.
pub fn context(socket: &mut Socket, query: &Query, snapshot: &Snapshot, forwards: bool) -> Result<LookupContext> {
    let failed = match query.family() {
        Family::Inet6 if !forwards => {
            socket.failed_neighbours(Family::Inet6, &snapshot.links, message::NeighbourStates::Failed)?
        }
        _ => Vec::new(),
    };
    Ok(LookupContext { forwards, failed })
}
