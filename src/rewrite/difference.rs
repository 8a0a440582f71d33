//! The changes of files as text, as `diff -u` and `patch` have them.

use std::convert::Infallible;
use std::fmt::Write;
use std::ops::{Index, Range};

use bstr::{BStr, ByteSlice};
use rustc_hash::FxHashSet;
use similar::DiffTag;
use similar::algorithms::{Capture, Compact, DiffHook, Replace, myers};
use similar::udiff::UnifiedHunkHeader;

use super::change::Change;

/// A unified diff of the changes.
pub fn diff(changes: &[Change]) -> String {
    changes.iter().map(unified).collect()
}

/// The number of lines around a difference.
const CONTEXT: usize = 3;

/// A part of a text, split into lines. Of each only its place is kept: there may be many.
struct Lines<'a> {
    text: &'a [u8],
    /// The number of lines before this part.
    before: usize,
    /// The first byte of each line, and the end of the text.
    starts: Vec<u32>,
}

impl<'a> Lines<'a> {
    /// Files are much smaller than 4 GiB.
    fn new(before: usize, text: &'a [u8]) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for line in text.lines_with_terminator() {
            end += line.len() as u32;
            starts.push(end);
        }
        Lines { text, before, starts }
    }

    /// The numbers of the lines in the whole text, counted from 0.
    fn range(&self) -> Range<usize> {
        self.before..self.before + self.starts.len() - 1
    }
}

impl Index<usize> for Lines<'_> {
    type Output = [u8];

    fn index(&self, line: usize) -> &[u8] {
        let line = line - self.before;
        &self.text[self.starts[line] as usize..self.starts[line + 1] as usize]
    }
}

/// The file is compared only where it was edited.
fn unified(change: &Change) -> String {
    let document = &change.file.document;
    let path = change.file.path.display();
    let mut out = String::new();
    let (mut added, mut removed) = (0, 0);
    for edits in change.edits.chunk_by(|edit, next| next.lines.start - edit.lines.end <= 2 * CONTEXT) {
        let (first, last) = (&edits[0].lines, &edits[edits.len() - 1].lines);
        let around = first.start.saturating_sub(CONTEXT)..document.count().min(last.end + CONTEXT);
        let before = document.first_number(around.start) - 1;
        let old = document.raw_lines(around.clone()).to_str_lossy();
        let new = document.edited(around, edits).collect::<Vec<_>>().concat();
        let (old, new) = (Lines::new(before, old.as_bytes()), new.to_str_lossy());
        let new = Lines::new(before + added - removed, new.as_bytes());
        (added, removed) = (added + new.range().len(), removed + old.range().len());
        let hunks = hunks(&old, &new);
        if out.is_empty() && !hunks.is_empty() {
            let _ = write!(out, "--- {path}\n+++ {path}\n");
        }
        out += &hunks;
    }
    out
}

/// With one algorithm of the library: its whole text comparison, with all of them, is a tenth of the program.
fn hunks(old: &Lines, new: &Lines) -> String {
    let mut found = Compact::new(Replace::new(Capture::new()), old, new);
    let Ok(()) = compare(&mut found, old, new);
    let add = |out: &mut String, sign: char, text: &Lines, lines: Range<usize>| {
        for line in lines.map(|line| &text[line]) {
            let end = if line.ends_with(b"\n") { "" } else { "\n\\ No newline at end of file\n" };
            let _ = write!(out, "{sign}{}{end}", line.as_bstr());
        }
    };
    let mut out = String::new();
    for hunk in found.into_inner().into_inner().into_grouped_ops(CONTEXT).iter().filter(|hunk| !hunk.is_empty()) {
        let _ = writeln!(out, "{}", UnifiedHunkHeader::new(hunk));
        for part in hunk {
            if part.tag() == DiffTag::Equal {
                add(&mut out, ' ', old, part.old_range());
            } else {
                add(&mut out, '-', old, part.old_range());
                add(&mut out, '+', new, part.new_range());
            }
        }
    }
    out
}

/// Finds the lines that differ. Where one text has only more lines than the other, a search is not needed.
fn compare(found: &mut impl DiffHook<Error = Infallible>, old: &Lines, new: &Lines) -> Result<(), Infallible> {
    let (added, removed) = (more_lines(old, new), more_lines(new, old));
    let (parts, is_added) = match (added, removed) {
        (Some(added), _) => (added, true),
        (None, Some(removed)) => (removed, false),
        (None, None) => return myers::diff(found, old, old.range(), new, new.range()),
    };
    let (mut in_old, mut in_new) = (old.before, new.before);
    for part in parts {
        let same = part.start - if is_added { in_new } else { in_old };
        found.equal(in_old, in_new, same)?;
        (in_old, in_new) = (in_old + same, in_new + same);
        match is_added {
            true => found.insert(in_old, in_new, part.len())?,
            false => found.delete(in_old, part.len(), in_new)?,
        }
        *(if is_added { &mut in_new } else { &mut in_old }) += part.len();
    }
    found.equal(in_old, in_new, old.range().end - in_old)?;
    found.finish()
}

/// The parts of `long` without which it is `short`, if `short` has none of their lines: no other comparison finds fewer
/// differences. Lines that are the same at both ends do not count.
fn more_lines(short: &Lines, long: &Lines) -> Option<Vec<Range<usize>>> {
    let (of_short, of_long) = (short.range(), long.range());
    let same = of_short.clone().zip(of_long.clone()).take_while(|(one, other)| short[*one] == long[*other]).count();
    let (of_short, of_long) = (of_short.start + same..of_short.end, of_long.start + same..of_long.end);
    let from_end = of_short.clone().rev().zip(of_long.clone().rev());
    let same = from_end.take_while(|(one, other)| short[*one] == long[*other]).count();
    let mut middle = of_short.start..of_short.end - same;
    let known: FxHashSet<&BStr> = middle.clone().map(|line| short[line].as_bstr()).collect();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for index in of_long.start..of_long.end - same {
        let line = &long[index];
        if !known.contains(line.as_bstr()) {
            match parts.last_mut().filter(|part| part.end == index) {
                Some(part) => part.end += 1,
                None => parts.push(index..index + 1),
            }
        } else if middle.next().is_none_or(|other| short[other] != *line) {
            return None;
        }
    }
    middle.next().is_none().then_some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::interfaces::{Document, Edit, File};

    fn file(text: String) -> File {
        File { path: "interfaces".into(), document: Document::parse(text.into()), ..File::default() }
    }

    /// The diff of a file, with all lines as one edit.
    fn diff_to(old: String, new: &str) -> String {
        let file = file(old);
        let edits = vec![Edit { lines: 0..file.document.count(), text: new.into() }];
        diff(&[Change { file: &file, edits }])
    }

    fn of_library(old: &str, new: &str) -> String {
        similar::TextDiff::from_lines(old, new).unified_diff().header("interfaces", "interfaces").to_string()
    }

    proptest! {
        /// Few different lines, so that many are the same; large files too, and files without a newline at the end.
        #[test]
        fn a_diff_is_that_of_the_whole_library(
            old in prop::collection::vec("[ab]?", 0..250),
            new in prop::collection::vec("[abc]?", 0..250),
            ends in any::<(bool, bool)>(),
        ) {
            let text = |lines: Vec<String>, end: bool| lines.join("\n") + if end { "\n" } else { "" };
            let (old, new) = (text(old, ends.0), text(new, ends.1));
            let expected = of_library(&old, &new);
            prop_assert_eq!(diff_to(old, &new), expected);
        }

        /// Lines that the other file does not have, between its lines: added, and removed.
        #[test]
        fn added_lines_are_found_as_by_the_whole_library(
            lines in prop::collection::vec(("[ab]?", prop::collection::vec("[cd]", 0..4)), 0..100),
            ends_alike in any::<bool>(),
        ) {
            let old: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
            let more = |(line, added): &(String, Vec<String>)| {
                let last = if ends_alike { added.first().map(|_| line) } else { None };
                added.iter().chain(last).chain([line]).map(|line| format!("{line}\n")).collect::<String>()
            };
            let new: String = lines.iter().map(more).collect();
            for (old, new) in [(&old, &new), (&new, &old)] {
                prop_assert_eq!(diff_to(old.clone(), new), of_library(old, new));
            }
        }

        /// Several edits of one file, with lines in them that stay. All lines differ, so there is one shortest diff.
        #[test]
        fn edits_are_found_where_they_are(
            parts in prop::collection::vec((1_usize..12, 0_usize..4, prop::collection::vec(any::<bool>(), 0..4)), 0..8),
            has_end in any::<bool>(),
        ) {
            let (mut old, mut new, mut edits) = (String::new(), String::new(), Vec::new());
            let mut count = 0;
            for (number, (kept, replaced, texts)) in parts.iter().enumerate() {
                let line = |line: usize| if line % 5 == 0 { format!("{line} \\\n and\n") } else { format!("{line}\n") };
                let all: String = (count..count + kept).map(line).collect();
                old += &all;
                new += &all;
                count += kept;
                let lines = count..count + replaced;
                // Some of the new lines are the old ones.
                let text = |(at, is_old): (usize, &bool)| match lines.clone().nth(at).filter(|_| *is_old) {
                    Some(old) => line(old),
                    None => format!("new {number} {at}\n"),
                };
                let text: String = texts.iter().enumerate().map(text).collect();
                old.extend(lines.clone().map(line));
                new += &text;
                count += replaced;
                edits.push(Edit { lines, text: text.into() });
            }
            if has_end {
                old += "end";
                new += "end";
            }
            let file = file(old.clone());
            let change = Change { file: &file, edits };
            prop_assert_eq!(change.new_parts().collect::<Vec<_>>().concat(), new.as_bytes());
            prop_assert_eq!(diff(&[change]), of_library(&old, &new));
        }
    }
}
