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
    Mapping(Vec<&'a [u8]>),
    Source(&'a [u8]),
    SourceDirectory(&'a [u8]),
    Iface(Vec<&'a [u8]>),
    /// `auto` and `allow-CLASS`: the class and the names; `auto` is the class `auto`.
    Allow(&'a [u8], Vec<&'a [u8]>),
    NoAutoDown(Vec<&'a [u8]>),
    NoScripts(Vec<&'a [u8]>),
    Rename(Vec<&'a [u8]>),
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
        b"mapping" => Statement::Mapping(words(value)),
        b"source" => Statement::Source(value),
        b"iface" => Statement::Iface(words(value)),
        b"auto" => Statement::Allow(name, words(value)),
        b"no-auto-down" => Statement::NoAutoDown(words(value)),
        b"no-scripts" => Statement::NoScripts(words(value)),
        b"rename" => Statement::Rename(words(value)),
        _ if name.starts_with(b"source-dir") => Statement::SourceDirectory(value),
        _ if name.starts_with(b"allow-") && name.len() > 6 => Statement::Allow(&name[6..], words(value)),
        _ => Statement::Option { name, value },
    }
}

/// The words of a value.
pub fn words(mut value: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    loop {
        let (first, rest) = word(value);
        if first.is_empty() {
            return words;
        }
        words.push(first);
        value = rest;
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
        assert_eq!(statement(b"allow-auto eth0"), Statement::Allow(b"auto", vec![b"eth0"]));
        assert_eq!(statement(b"allow- eth0"), Statement::Option { name: b"allow-", value: b"eth0" });
        assert_eq!(statement(b"source-dirXYZ a b"), Statement::SourceDirectory(b"a b"));
        assert_eq!(statement(b"Iface eth0"), Statement::Option { name: b"Iface", value: b"eth0" });
        assert_eq!(
            statement(b"up echo  a\tb"),
            Statement::Option { name: b"up", value: b"echo  a\tb" },
            "blanks inside a value stay"
        );
        assert_eq!(statement(&[b'x'; 200]), Statement::Option { name: &[b'x'; WORD], value: b"" });
    }
}
