//! Symmetric routing for Debian servers with several default gateways.
//!
//! Data flows one way: `interfaces` reads the files, `uplinks` finds the ways out, `policy` decides tables,
//! routes and rules; `rewrite` puts them into the file as lines, `kernel` into the running system, `check`
//! compares and proves. All but `files`, `host`, `ifstate`, `kernel`, `process`, `rewrite::store` and `cli` are pure functions over values.

#![deny(unsafe_code)]

pub mod check;
pub mod cli;
pub mod files;
mod host;
mod ifstate;
pub mod interfaces;
pub mod kernel;
pub mod policy;
mod process;
mod report;
pub mod rewrite;
pub mod snapshot;
pub mod tables;
pub mod uplinks;
