//! Reading `/etc/network/interfaces` as ifupdown does, losing nothing.
//!
//! `document` keeps the bytes of a `file`, `text` is a part of them, `entries` are the options of all stanzas, `grammar`
//! reads one line, `reader` puts files, stanzas and options together into a `config` the way ifupdown does, `diagnostic`
//! says what is wrong and where, `listed` knows which stanzas the lists start, `lint` warns of probable mistakes, `wordexp`
//! expands what a `source` line names, `block` finds the lines that symroute-gen keeps in a stanza.
//!
//! Uses no other module. Reads files only through the trait `Files`.

mod active;
pub(crate) mod block;
pub(crate) mod config;
mod diagnostic;
mod document;
pub(crate) mod entries;
mod file;
pub(crate) mod grammar;
mod lint;
pub(crate) mod listed;
mod reader;
mod text;
pub(crate) mod wordexp;

pub(crate) use config::without_alias;
pub use config::{AddressFamily, Config, Dialect, Files, Stanza};
pub use diagnostic::{Diagnostic, Location, Severity, reason};
pub(crate) use document::is_blank;
pub use document::{Document, Edit};
pub use entries::Entry;
pub use file::File;
pub use text::Text;
pub use wordexp::Failure;
