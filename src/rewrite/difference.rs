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

/// A text, split into lines. Of each only its place is kept: a file may have many.
struct Lines<'a> {
    text: &'a [u8],
    /// The first byte of each line, and the end of the text.
    starts: Vec<u32>,
}

impl<'a> Lines<'a> {
    /// Files are much smaller than 4 GiB.
    fn new(text: &'a [u8]) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for line in text.lines_with_terminator() {
            end += line.len() as u32;
            starts.push(end);
        }
        Lines { text, starts }
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }
}

impl Index<usize> for Lines<'_> {
    type Output = [u8];

    fn index(&self, line: usize) -> &[u8] {
        &self.text[self.starts[line] as usize..self.starts[line + 1] as usize]
    }
}

/// With one algorithm of the library: its whole text comparison, with all of them, is a tenth of the program.
fn unified(change: &Change) -> String {
    let (old, new) = (change.old.to_str_lossy(), change.new.to_str_lossy());
    let (old, new) = (Lines::new(old.as_bytes()), Lines::new(new.as_bytes()));
    let mut found = Compact::new(Replace::new(Capture::new()), &old, &new);
    let Ok(()) = compare(&mut found, &old, &new);
    let add = |out: &mut String, sign: char, text: &Lines, lines: Range<usize>| {
        for line in lines.map(|line| &text[line]) {
            let end = if line.ends_with(b"\n") { "" } else { "\n\\ No newline at end of file\n" };
            let _ = write!(out, "{sign}{}{end}", line.as_bstr());
        }
    };
    let mut out = String::new();
    for hunk in found.into_inner().into_inner().into_grouped_ops(3).iter().filter(|hunk| !hunk.is_empty()) {
        if out.is_empty() {
            let path = change.path.display();
            let _ = write!(out, "--- {path}\n+++ {path}\n");
        }
        let _ = writeln!(out, "{}", UnifiedHunkHeader::new(hunk));
        for part in hunk {
            if part.tag() == DiffTag::Equal {
                add(&mut out, ' ', &old, part.old_range());
            } else {
                add(&mut out, '-', &old, part.old_range());
                add(&mut out, '+', &new, part.new_range());
            }
        }
    }
    out
}

/// Finds the lines that differ. Where one file has only more lines than the other, a search is not needed.
fn compare(found: &mut impl DiffHook<Error = Infallible>, old: &Lines, new: &Lines) -> Result<(), Infallible> {
    let (added, removed) = (more_lines(old, new), more_lines(new, old));
    let (parts, is_added) = match (added, removed) {
        (Some(added), _) => (added, true),
        (None, Some(removed)) => (removed, false),
        (None, None) => return myers::diff(found, old, 0..old.count(), new, 0..new.count()),
    };
    let (mut in_old, mut in_new) = (0, 0);
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
    found.equal(in_old, in_new, old.count() - in_old)?;
    found.finish()
}

/// The parts of `long` without which it is `short`, if `short` has none of their lines: no other comparison finds fewer
/// differences. Lines that are the same at both ends do not count.
fn more_lines(short: &Lines, long: &Lines) -> Option<Vec<Range<usize>>> {
    let least = short.count().min(long.count());
    let start = (0..least).take_while(|line| short[*line] == long[*line]).count();
    let is_same_end = |back: &usize| short[short.count() - back] == long[long.count() - back];
    let end = (1..=least - start).take_while(is_same_end).count();
    let mut middle = start..short.count() - end;
    let known: FxHashSet<&BStr> = middle.clone().map(|line| short[line].as_bstr()).collect();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for index in start..long.count() - end {
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
            let path = "interfaces";
            let expected = similar::TextDiff::from_lines(&old, &new).unified_diff().header(path, path).to_string();
            let change = Change { path: path.into(), old: old.into(), new: new.into() };
            prop_assert_eq!(diff(&[change]), expected);
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
            let path = "interfaces";
            for (old, new) in [(&old, &new), (&new, &old)] {
                let expected = similar::TextDiff::from_lines(old, new).unified_diff().header(path, path).to_string();
                let change = Change { path: path.into(), old: old.clone().into(), new: new.clone().into() };
                prop_assert_eq!(diff(&[change]), expected);
            }
        }
    }
}
