//! Files, locks, `/proc`, `/sys`, ifupdown's state and the processes of others.
//!
//! Everything here reads or changes the machine, but not its rules and routes.

pub(crate) mod configuration;
pub(crate) mod file_events;
pub mod files;
pub(crate) mod host;
pub(crate) mod ifstate;
pub(crate) mod lock;
mod pppd;
pub mod process;
pub(crate) mod running;
pub(crate) mod sockets;
pub mod store;
pub mod sysctl;
