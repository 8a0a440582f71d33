//! One change of the host, from its lock to its end: snapshot, plan, steps, verification, undo.
//!
//! Changes the kernel through `netlink` and reads files through `system`. Must not print, except through what its
//! callers pass in.

pub(crate) mod by_name;
pub(crate) mod change;
pub(crate) mod hook;
pub(crate) mod lease;
mod reconcile;
pub(crate) mod steps;
mod view;
