//! Proving: what is in place, which way answers would take, what else breaks symmetry.

pub(crate) mod expected;
pub(crate) mod facts;
pub(crate) mod finding;
pub(crate) mod findings;
mod foreign;
pub(crate) mod matrix;
mod status;
pub mod walk;

pub(crate) use status::{GroupStatus, PolicyStatus, Status, status};
