//! An interfaces file as it is on disk: lossless, edited by whole lines.
//!
//! ifupdown joins physical lines that end in a backslash, so the unit here is the *logical line*: the physical lines that
//! ifupdown reads as one. The raw bytes are kept: printing returns them unchanged.

use std::borrow::Cow;
use std::ops::Range;

use bstr::ByteSlice;

/// The blanks of ifupdown: C's `isspace` in the C locale.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | b'\n')
}

/// One logical line: its bytes, and its physical lines (counted from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Bytes of the document, the line ends included.
    pub bytes: Range<usize>,
    /// First physical line.
    pub first: usize,
    /// The line number in ifupdown's messages: the last physical line that it read.
    pub last: usize,
}

/// A file, split into logical lines without gap or overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// Replaces the logical lines `lines` by `text`; an empty range inserts before `lines.start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub lines: Range<usize>,
    pub text: Vec<u8>,
}

impl Document {
    /// Splits any bytes into logical lines; accepts every input.
    pub fn parse(bytes: Vec<u8>) -> Self {
        let mut lines = Vec::new();
        let (mut offset, mut number) = (0, 0);
        while offset < bytes.len() {
            let (start, first) = (offset, number + 1);
            let mut physical = next_physical(&bytes, &mut offset);
            number += 1;
            // A comment does not continue on the next line, even if it ends in a backslash.
            let comment = visible(physical).iter().find(|b| !is_blank(**b)) == Some(&b'#');
            while !comment && visible(physical).ends_with(b"\\") {
                // ifupdown counts a line even if the file ends after the backslash.
                number += 1;
                if offset >= bytes.len() {
                    break;
                }
                physical = next_physical(&bytes, &mut offset);
            }
            lines.push(Line { bytes: start..offset, first, last: number });
        }
        Document { bytes, lines }
    }

    /// The whole file, unchanged.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The raw bytes of logical line `index`, line ends included.
    pub fn raw(&self, index: usize) -> &[u8] {
        &self.bytes[self.lines[index].bytes.clone()]
    }

    /// Logical line `index` as ifupdown reads it: joined, cut at NUL, without blanks at both ends; empty for a comment.
    pub fn text(&self, index: usize) -> Cow<'_, [u8]> {
        let mut offset = self.lines[index].bytes.start;
        let end = self.lines[index].bytes.end;
        let raw = &self.bytes[..end];
        let first = trim_start(visible(next_physical(raw, &mut offset)));
        if first.starts_with(b"#") {
            return Cow::Borrowed(&[]);
        }
        if !first.ends_with(b"\\") {
            return Cow::Borrowed(trim_end(first));
        }
        let mut joined = first.to_vec();
        while joined.last() == Some(&b'\\') {
            joined.pop();
            if offset < end {
                joined.extend_from_slice(visible(next_physical(raw, &mut offset)));
            }
        }
        joined.truncate(trim_end(&joined).len());
        Cow::Owned(joined)
    }

    /// Would a line inserted after logical line `index` become a part of it? (The file ends after a backslash.)
    pub fn ends_in_continuation(&self, index: usize) -> bool {
        let raw = self.raw(index);
        let start = raw.strip_suffix(b"\n").unwrap_or(raw).iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let comment = self.lines[index].first == self.lines[index].last && trim_start(raw).starts_with(b"#");
        !comment && visible(&raw[start..]).ends_with(b"\\")
    }

    /// The document after `edits` (in order, not overlapping).
    pub fn edited(&self, edits: &[Edit]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut offset = 0;
        for edit in edits {
            let start = self.start_of(edit.lines.start);
            out.extend_from_slice(&self.bytes[offset..start]);
            out.extend_from_slice(&edit.text);
            offset = self.start_of(edit.lines.end);
        }
        out.extend_from_slice(&self.bytes[offset..]);
        out
    }

    fn start_of(&self, line: usize) -> usize {
        self.lines.get(line).map_or(self.bytes.len(), |line| line.bytes.start)
    }
}

/// The next physical line with its line end; moves `offset` to the line after it.
fn next_physical<'a>(bytes: &'a [u8], offset: &mut usize) -> &'a [u8] {
    let rest = &bytes[*offset..];
    let length = rest.find_byte(b'\n').map_or(rest.len(), |n| n + 1);
    *offset += length;
    &rest[..length]
}

/// A physical line as ifupdown reads it with `fgets` and `strlen`: without line feed, and up to a NUL.
fn visible(physical: &[u8]) -> &[u8] {
    let line = physical.strip_suffix(b"\n").unwrap_or(physical);
    &line[..line.find_byte(0).unwrap_or(line.len())]
}

pub(super) fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len())..]
}

pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|b| !is_blank(*b)).map_or(0, |n| n + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(input: &str) -> Vec<(String, usize)> {
        let document = Document::parse(input.into());
        (0..document.lines().len())
            .map(|i| (String::from_utf8_lossy(&document.text(i)).into_owned(), document.lines()[i].last))
            .collect()
    }

    #[test]
    fn joins_lines_as_ifupdown_does() {
        let line = |text: &str, last| (text.to_string(), last);
        assert_eq!(texts("au\\\nto eth0\n"), [line("auto eth0", 2)]);
        assert_eq!(texts("a\\\\\nb\n"), [line("a\\b", 2)], "one backslash goes, the other stays");
        assert_eq!(texts("a \\\r\nb"), [line("a \\", 1), line("b", 2)], "CR between backslash and line feed");
        assert_eq!(texts("# x \\\nauto eth0\n"), [line("", 1), line("auto eth0", 2)], "comments do not continue");
        assert_eq!(texts("\\\n# foo\n"), [line("# foo", 2)], "a joined line is never a comment");
        assert_eq!(texts("mtu 14\0 00\r\n"), [line("mtu 14", 1)]);
        assert_eq!(texts("a\\"), [line("a", 2)], "ifupdown counts the line that is not there");
        assert_eq!(texts("a\\\n\nb"), [line("a", 2), line("b", 3)]);
    }

    proptest! {
        #[test]
        fn lines_tile_any_bytes(bytes in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\n'), Just(b'\\'), Just(b'#'), Just(b' '), Just(b'\r'), Just(0u8)], 0..200)) {
            let document = Document::parse(bytes.clone());
            let printed: Vec<u8> = (0..document.lines().len()).flat_map(|i| document.raw(i).to_vec()).collect();
            prop_assert_eq!(&printed, &bytes);
            prop_assert_eq!(document.edited(&[]), bytes);
            let mut next = 1;
            for (i, line) in document.lines().iter().enumerate() {
                prop_assert_eq!(line.first, next);
                next = line.last + 1;
                document.text(i);
            }
        }
    }
}
