//! The grammar of one logical line, as in ifupdown's `read_interfaces_defn` (config.c).
//!
//! Words are separated by blanks and cannot be quoted. ifupdown keeps words in buffers of 80 bytes, so a word is cut after
//! 79 bytes; values are not. For a longer word ifupdown reads past the end of the buffer: the result is undefined, usually
//! the first 79 bytes.

use super::document::{is_blank, trim_start};

/// The maximum length of a word, in bytes.
const WORD: usize = 79;

/// A logical line. `Option` is every line that begins with no keyword: the reader checks whether it is in a stanza or a
/// mapping.
#[derive(Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    Nothing,
    Mapping(Words<'a>),
    Source(&'a [u8]),
    SourceDirectory(&'a [u8]),
    Iface(Words<'a>),
    /// `auto` and `allow-CLASS`: the class and the names; `auto` is the class `auto`.
    Allow(&'a [u8], Words<'a>),
    NoAutoDown(Words<'a>),
    NoScripts(Words<'a>),
    Rename(Words<'a>),
    Option {
        name: &'a [u8],
        value: &'a [u8],
    },
}

/// Reads a logical line as [`super::document::Document::text`] returns it. Every line has a result.
pub fn statement(text: &[u8]) -> Statement<'_> {
    let (name, value) = word(text);
    match name {
        b"" => Statement::Nothing,
        b"mapping" => Statement::Mapping(Words(value)),
        b"source" => Statement::Source(value),
        b"iface" => Statement::Iface(Words(value)),
        b"auto" => Statement::Allow(name, Words(value)),
        b"no-auto-down" => Statement::NoAutoDown(Words(value)),
        b"no-scripts" => Statement::NoScripts(Words(value)),
        b"rename" => Statement::Rename(Words(value)),
        _ if name.starts_with(b"source-dir") => Statement::SourceDirectory(value),
        _ if name.starts_with(b"allow-") && name.len() > 6 => Statement::Allow(&name[6..], Words(value)),
        _ => Statement::Option { name, value },
    }
}

/// The words of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// Of a value as in [`Statement::Option`].
    pub(super) fn of(value: &'a [u8]) -> Self {
        Words(value)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn may_have_comment(&self) -> bool {
        self.0.contains(&b'#')
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = word(self.0);
        self.0 = rest;
        (!first.is_empty()).then_some(first)
    }
}

/// The first word, and what follows the blanks after it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len());
    (&text[..end.min(WORD)], trim_start(&text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_exact() {
        assert_eq!(statement(b""), Statement::Nothing);
        assert_eq!(statement(b"allow-auto eth0"), Statement::Allow(b"auto", Words(b"eth0")));
        assert_eq!(statement(b"allow- eth0"), Statement::Option { name: b"allow-", value: b"eth0" });
        assert_eq!(statement(b"source-dirXYZ a b"), Statement::SourceDirectory(b"a b"));
        assert_eq!(statement(b"Iface eth0"), Statement::Option { name: b"Iface", value: b"eth0" });
        assert_eq!(
            statement(b"up echo  a\tb"),
            Statement::Option { name: b"up", value: b"echo  a\tb" },
            "blanks inside a value stay"
        );
        assert!(Words(b"a  b\tc").eq([b"a", b"b", b"c"]));
        assert_eq!(statement(&[b'x'; 200]), Statement::Option { name: &[b'x'; WORD], value: b"" });
    }
}
