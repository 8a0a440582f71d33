//! Symmetric routing for Debian servers with several default gateways.
//!
//! Data flows one way: `interfaces` and `commands` read the files, `uplinks` finds the uplinks, `policy` computes the
//! plan, `handwritten` checks manual policy routing, `rewrite` edits the files, `check` finds what is wrong,
//! `observe` judges packets, `report` prints. These are pure functions over values, and use `sort`. `netlink` and `system` read and
//! change the machine, `capture` reads packets, `apply` brings the kernel to a plan, `watch` does so at each event,
//! `cli` has the command line. A module uses only those before it in this order; tests/structure.rs checks that.

#![deny(unsafe_code)]

mod apply;
pub mod capture;
pub mod check;
pub mod cli;
pub mod commands;
pub mod handwritten;
#[cfg(test)]
mod in_namespace;
pub mod interfaces;
pub mod netlink;
pub mod network;
pub mod observe;
pub mod policy;
mod report;
pub mod rewrite;
mod sort;
pub mod system;
pub mod uplinks;
mod watch;
