//! An interfaces file as it stands on disk: nothing is lost, edits are whole lines.
//!
//! ifupdown joins physical lines that end in a backslash before it looks at them, so the unit here is
//! the *logical line*: the run of physical lines that ifupdown would read as one. The raw bytes stay
//! beside it; printing gives them back unchanged.

use std::borrow::Cow;
use std::ops::Range;

/// What C's `isspace` takes for a blank in the C locale; ifupdown uses nothing else.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | b'\n')
}

/// One logical line: where its bytes are and which physical lines (counted from 1) it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Bytes of the document, the line ends included.
    pub bytes: Range<usize>,
    /// First physical line.
    pub first: usize,
    /// The number that ifupdown gives in a message: the last physical line that it read.
    pub last: usize,
}

/// A file, cut into logical lines that tile it without gap or overlap.
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
    /// Cuts any bytes into logical lines; there is no input that it refuses.
    pub fn parse(bytes: Vec<u8>) -> Self {
        let mut lines = Vec::new();
        let (mut at, mut number) = (0, 0);
        while at < bytes.len() {
            let (start, first) = (at, number + 1);
            let mut physical = next_physical(&bytes, &mut at);
            number += 1;
            // A comment does not continue: `# foo \` leaves the next line alive.
            let comment = visible(physical).iter().find(|b| !is_blank(**b)) == Some(&b'#');
            while !comment && visible(physical).ends_with(b"\\") {
                // ifupdown counts a line even where the file ends after the backslash.
                number += 1;
                if at >= bytes.len() {
                    break;
                }
                physical = next_physical(&bytes, &mut at);
            }
            lines.push(Line { bytes: start..at, first, last: number });
        }
        Document { bytes, lines }
    }

    /// The whole file, byte for byte as it was read.
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

    /// Logical line `index` as ifupdown sees it: joined, cut at NUL, blanks gone at both ends; empty for
    /// a comment.
    pub fn text(&self, index: usize) -> Cow<'_, [u8]> {
        let mut at = self.lines[index].bytes.start;
        let end = self.lines[index].bytes.end;
        let raw = &self.bytes[..end];
        let first = trim_start(visible(next_physical(raw, &mut at)));
        if first.starts_with(b"#") {
            return Cow::Borrowed(&[]);
        }
        if !first.ends_with(b"\\") {
            return Cow::Borrowed(trim_end(first));
        }
        let mut joined = first.to_vec();
        while joined.last() == Some(&b'\\') {
            joined.pop();
            if at < end {
                joined.extend_from_slice(visible(next_physical(raw, &mut at)));
            }
        }
        joined.truncate(trim_end(&joined).len());
        Cow::Owned(joined)
    }

    /// Would a line put behind logical line `index` become a part of it? (The file ends after a backslash.)
    pub fn swallows_next(&self, index: usize) -> bool {
        let raw = self.raw(index);
        let start = raw.strip_suffix(b"\n").unwrap_or(raw).iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let comment = self.lines[index].first == self.lines[index].last && trim_start(raw).starts_with(b"#");
        !comment && visible(&raw[start..]).ends_with(b"\\")
    }

    /// The document with `edits` (in order, not overlapping) carried out.
    pub fn edited(&self, edits: &[Edit]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut at = 0;
        for edit in edits {
            let start = self.start_of(edit.lines.start);
            out.extend_from_slice(&self.bytes[at..start]);
            out.extend_from_slice(&edit.text);
            at = self.start_of(edit.lines.end);
        }
        out.extend_from_slice(&self.bytes[at..]);
        out
    }

    fn start_of(&self, line: usize) -> usize {
        self.lines.get(line).map_or(self.bytes.len(), |line| line.bytes.start)
    }
}

/// The next physical line with its line end; moves `at` behind it.
fn next_physical<'a>(bytes: &'a [u8], at: &mut usize) -> &'a [u8] {
    let rest = &bytes[*at..];
    let length = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |n| n + 1);
    *at += length;
    &rest[..length]
}

/// A physical line as `fgets` and `strlen` leave it: no line feed, nothing behind a NUL.
fn visible(physical: &[u8]) -> &[u8] {
    let line = physical.strip_suffix(b"\n").unwrap_or(physical);
    &line[..line.iter().position(|b| *b == 0).unwrap_or(line.len())]
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
