//! Reading `/etc/network/interfaces` as ifupdown does, losing nothing.
//!
//! `document` keeps the bytes, `grammar` reads one line, `reader` puts files, stanzas and options together into a
//! `config` the way ifupdown does, `diagnostic` says what is wrong and where, `lint` what can hardly be meant,
//! `wordexp` what a `source` line names, `block` finds the lines that symroute-gen keeps in a stanza, `command`
//! understands the `ip` commands that people write into stanzas.

pub(crate) mod block;
pub mod command;
pub(crate) mod config;
mod diagnostic;
mod document;
mod entries;
pub(crate) mod grammar;
mod lint;
mod reader;
pub(crate) mod wordexp;

pub use config::{Config, Dialect, Family, Files, Stanza};
pub use diagnostic::{At, Diagnostic, Severity, reason};
pub use document::{Document, Edit};
pub use entries::Entry;
pub use wordexp::Failure;
