//! Faults of a host: the route lookups to make, the comparison of the plan with the kernel, the findings.
//!
//! Pure functions of values that `netlink` and `system` read. Must not change anything, and must not suggest a command
//! that was not checked.

pub(crate) mod expected;
pub(crate) mod facts;
pub(crate) mod finding;
pub(crate) mod findings;
mod foreign;
pub(crate) mod input;
pub(crate) mod matrix;
mod status;

pub(crate) use status::{PolicyStatus, Status, status};
