//! What packets say about symmetry: headers as values, the flows that they belong to, and what is wrong with each.
//!
//! `packet` reads headers, `links` has what is observed, `select` and `routers` compute it from a plan, `filter` is the program
//! that the kernel runs for each packet, `flows` judges packets and `kinds` counts them, `lines` is what the capture
//! program reads and writes. Must not open a socket: `capture` does.

pub(crate) mod cause;
pub mod filter;
pub mod flows;
pub mod kinds;
pub mod lines;
pub mod links;
pub mod packet;
mod routers;
pub(crate) mod seen;
mod select;

pub(crate) use routers::shares_links;
pub(crate) use select::select;
