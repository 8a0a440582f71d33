//! The `ip rule`, `ip route` and `ip address` commands in a stanza's `up` and `down` lines, and the default routes
//! of route(8).
//!
//! ifupdown passes these lines to `/bin/sh`, which passes words to `ip`: `shell` splits the line, `reading` reads the words,
//! with iproute2's keywords in `keywords` and its table names in `tables`; `words` keeps them. The test lab compares it
//! with the real `ip`.
//!
//! Uses `interfaces`. Must not start a program, nor use uplinks.

mod command;
mod keywords;
pub(crate) mod lines;
mod net_tools;
mod reading;
mod script;
mod shell;
pub mod tables;
mod words;

pub use command::{Command, Object, Rejection, SameMetric, Verb};
pub use keywords::number;
pub(crate) use keywords::prefix;
pub use script::commands;
pub(crate) use script::for_each_command;
