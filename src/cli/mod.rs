//! The command line: one file for each subcommand, with its arguments, one call, what it prints and its exit code.
//!
//! Decides nothing by itself.

mod apply;
mod check;
mod common;
mod config;
mod examined;
mod explain;
mod flush;
pub mod generate;
mod hook;
mod observe;
mod plan;
mod status;
pub mod symroute;
mod up_down;
mod watch;
