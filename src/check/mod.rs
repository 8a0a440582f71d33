//! Proving: what is in place, which way answers would take, what else breaks symmetry.

pub mod facts;
pub mod finding;
pub mod findings;
mod foreign;
pub mod matrix;
mod status;
pub mod walk;

pub use status::{Compared, PolicyStatus, Status, status};
