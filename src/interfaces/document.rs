//! An interfaces file as it is on disk: lossless, edited by whole lines.
//!
//! ifupdown joins physical lines that end in a backslash, so the unit here is the *logical line*: the physical lines that
//! ifupdown reads as one. The raw bytes are kept: printing returns them unchanged.

use std::ops::Range;

use bstr::ByteSlice;

use super::text::Text;

/// The blanks of ifupdown: C's `isspace` in the C locale.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | b'\n')
}

/// A file, split into logical lines without gap or overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The file, and after it the texts of the lines that are joined.
    whole: Text,
    /// The number of bytes of the file.
    length: u32,
    /// The first byte of each logical line. Lines after 4 GiB are one.
    starts: Vec<u32>,
    /// The logical lines that have several physical lines, in order.
    joined: Vec<Joined>,
    /// Most files have none, so that it is not looked for in each line.
    has_nul: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Joined {
    line: usize,
    /// The number of physical lines that were joined to the line before them, up to the end of this one.
    count: usize,
    /// The end of its text.
    end: usize,
}

/// Replaces the logical lines `lines` by `text`; an empty range inserts before `lines.start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub lines: Range<usize>,
    pub text: Vec<u8>,
}

impl Document {
    /// Splits any bytes into logical lines; accepts every input.
    pub fn parse(bytes: Text) -> Self {
        let (mut starts, mut joined) = (Vec::new(), Vec::new());
        let [has_nul, has_backslash] = [0, b'\\'].map(|byte| bytes.find_byte(byte).is_some());
        let is_continued = |physical| has_backslash && visible(physical, has_nul).ends_with(b"\\");
        let (length, mut offset, mut count) = (bytes.len(), 0, 0);
        let mut texts = Vec::new();
        while offset < length {
            let (start, before) = (offset, count);
            let mut physical = next_physical(&bytes, &mut offset);
            // A comment does not continue on the next line, even if it ends in a backslash.
            let mut is_open = is_continued(physical) && !trim_start(physical).starts_with(b"#");
            while is_open {
                // ifupdown counts a line even if the file ends after the backslash.
                count += 1;
                if offset >= length {
                    break;
                }
                physical = next_physical(&bytes, &mut offset);
                is_open = is_continued(physical);
            }
            if count > before {
                join(&bytes[start..offset], has_nul, &mut texts);
                joined.push(Joined { line: starts.len(), count, end: length + texts.len() });
            }
            starts.push(u32::try_from(start).unwrap_or(u32::MAX));
        }
        starts.shrink_to_fit();
        let whole = if texts.is_empty() { bytes } else { [&bytes, &texts[..]].concat().into() };
        Document { whole, length: u32::try_from(length).unwrap_or(u32::MAX), starts, joined, has_nul }
    }

    /// The whole file, unchanged.
    pub fn bytes(&self) -> &[u8] {
        self.whole.between([0, self.length])
    }

    /// The same without a copy.
    pub fn file(&self) -> Text {
        self.whole.part(self.bytes())
    }

    /// The text of which the lines are parts.
    pub(super) fn whole(&self) -> &Text {
        &self.whole
    }

    /// The number of logical lines.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// The first physical line of logical line `index`, counted from 1.
    pub fn first_number(&self, index: usize) -> usize {
        let before = self.joined.partition_point(|joined| joined.line < index);
        let joined = before.checked_sub(1).map_or(0, |last| self.joined[last].count);
        1 + index + joined
    }

    /// The line number in ifupdown's messages: the last physical line that it read.
    pub fn last_number(&self, index: usize) -> usize {
        self.first_number(index + 1) - 1
    }

    /// The raw bytes of some logical lines, line ends included.
    pub fn raw_lines(&self, lines: Range<usize>) -> &[u8] {
        self.whole.between([self.start_of(lines.start), self.start_of(lines.end)])
    }

    /// The raw bytes of logical line `index`, line ends included.
    pub fn raw(&self, index: usize) -> &[u8] {
        self.raw_lines(index..index + 1)
    }

    /// Logical line `index` as ifupdown reads it: joined, cut at NUL, without blanks at both ends; empty for a comment.
    pub fn text(&self, index: usize) -> &[u8] {
        if let Some(text) = self.joined_text(index) {
            return text;
        }
        let line = trim_start(visible(self.raw(index), self.has_nul));
        if line.starts_with(b"#") { &line[..0] } else { trim_end(line) }
    }

    fn joined_text(&self, index: usize) -> Option<&[u8]> {
        let position = self.joined.binary_search_by_key(&index, |joined| joined.line).ok()?;
        let start = position.checked_sub(1).map_or(self.length as usize, |before| self.joined[before].end);
        Some(&self.whole[start..self.joined[position].end])
    }

    /// Would a line inserted after logical line `index` become a part of it? (The file ends after a backslash.)
    pub fn ends_in_continuation(&self, index: usize) -> bool {
        let raw = self.raw(index);
        let start = raw.strip_suffix(b"\n").unwrap_or(raw).iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let comment = self.first_number(index) == self.last_number(index) && trim_start(raw).starts_with(b"#");
        !comment && visible(&raw[start..], self.has_nul).ends_with(b"\\")
    }

    /// May the text of a line have a `#`? Mostly it begins a line, which is a comment and has no text.
    pub(super) fn may_have_hash_in_line(&self) -> bool {
        let mut rest = self.bytes();
        while let Some(hash) = rest.find_byte(b'#') {
            let before = rest[..hash].iter().rfind(|byte| **byte == b'\n' || !is_blank(**byte));
            if before.is_some_and(|byte| *byte != b'\n') {
                return true;
            }
            rest = &rest[hash..];
            rest = &rest[rest.find_byte(b'\n').unwrap_or(rest.len())..];
        }
        !self.joined.is_empty()
    }

    /// The parts of some lines after `edits` (in order, not overlapping, of these lines).
    pub fn edited<'a>(&'a self, lines: Range<usize>, edits: &'a [Edit]) -> impl Iterator<Item = &'a [u8]> {
        let mut start = lines.start;
        let changed = edits.iter().flat_map(move |edit| {
            let kept = self.raw_lines(start..edit.lines.start);
            start = edit.lines.end;
            [kept, &edit.text]
        });
        let end = edits.last().map_or(lines.start, |edit| edit.lines.end);
        changed.chain([self.raw_lines(end..lines.end)])
    }

    fn start_of(&self, line: usize) -> u32 {
        self.starts.get(line).copied().unwrap_or(self.length)
    }
}

/// Appends the text of physical lines, all but the last of which end in a backslash.
fn join(lines: &[u8], has_nul: bool, texts: &mut Vec<u8>) {
    let (start, mut offset) = (texts.len(), 0);
    texts.extend_from_slice(trim_start(visible(next_physical(lines, &mut offset), has_nul)));
    while texts.len() > start && texts.ends_with(b"\\") {
        texts.pop();
        if offset < lines.len() {
            texts.extend_from_slice(visible(next_physical(lines, &mut offset), has_nul));
        }
    }
    texts.truncate(start + trim_end(&texts[start..]).len());
}

/// The next physical line with its line end; moves `offset` to the line after it.
fn next_physical<'a>(bytes: &'a [u8], offset: &mut usize) -> &'a [u8] {
    let rest = &bytes[*offset..];
    let length = rest.find_byte(b'\n').map_or(rest.len(), |n| n + 1);
    *offset += length;
    &rest[..length]
}

/// A physical line as ifupdown reads it with `fgets` and `strlen`: without line feed, and up to a NUL.
fn visible(physical: &[u8], has_nul: bool) -> &[u8] {
    let line = physical.strip_suffix(b"\n").unwrap_or(physical);
    let end = if has_nul { line.find_byte(0) } else { None };
    &line[..end.unwrap_or(line.len())]
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
        (0..document.count())
            .map(|i| (String::from_utf8_lossy(document.text(i)).into_owned(), document.last_number(i)))
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

    #[test]
    fn a_hash_in_the_text_of_a_line() {
        let may_have = |input: &str| Document::parse(input.into()).may_have_hash_in_line();
        assert!(["mtu 1500 # x", "\\\n# foo\n", "# x\n\n \tup a#b\n", "a\r# b"].into_iter().all(may_have));
        assert!(!["# a # b\n \t## c\nauto eth0\n#", "", "mtu 1500\n#\n"].into_iter().any(may_have));
    }

    proptest! {
        #[test]
        fn lines_tile_any_bytes(bytes in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\n'), Just(b'\\'), Just(b'#'), Just(b' '), Just(b'\r'), Just(0u8)], 0..200)) {
            let document = Document::parse(bytes.clone().into());
            let printed: Vec<u8> = (0..document.count()).flat_map(|i| document.raw(i).to_vec()).collect();
            prop_assert_eq!(&printed, &bytes);
            prop_assert_eq!(document.raw_lines(0..document.count()), bytes);
            let mut next = 1;
            for i in 0..document.count() {
                prop_assert_eq!(document.first_number(i), next);
                next = document.last_number(i) + 1;
            }
            let has_hash = (0..document.count()).any(|i| document.text(i).contains(&b'#'));
            prop_assert!(!has_hash || document.may_have_hash_in_line());
        }
    }
}
