//! The changes of files as text, as `diff -u` and `patch` have them.

use std::convert::Infallible;
use std::ops::Range;

use bstr::ByteSlice;
use rustc_hash::FxHashSet;
use similar::algorithms::{Capture, Compact, DiffHook, Replace, myers};
use similar::udiff::UnifiedHunkHeader;

use super::change::Change;

/// A unified diff of the changes.
pub fn diff(changes: &[Change]) -> String {
    changes.iter().map(unified).collect()
}

/// With one algorithm of the library: its whole text comparison, with all of them, is a tenth of the program.
fn unified(change: &Change) -> String {
    let (old, new) = (change.old.to_str_lossy(), change.new.to_str_lossy());
    let [old, new] = [&old, &new].map(|text| text.as_bytes().lines_with_terminator().collect::<Vec<&[u8]>>());
    let mut found = Compact::new(Replace::new(Capture::new()), &old[..], &new[..]);
    let Ok(()) = compare(&mut found, &old, &new);
    let mut out = String::new();
    for hunk in found.into_inner().into_inner().into_grouped_ops(3).iter().filter(|hunk| !hunk.is_empty()) {
        if out.is_empty() {
            let path = change.path.display();
            out += &format!("--- {path}\n+++ {path}\n");
        }
        out += &format!("{}\n", UnifiedHunkHeader::new(hunk));
        for line in hunk.iter().flat_map(|part| part.iter_changes(&old[..], &new[..])) {
            let end = if line.value().ends_with(b"\n") { "" } else { "\n\\ No newline at end of file\n" };
            out += &format!("{}{}{end}", line.tag(), line.value().as_bstr());
        }
    }
    out
}

/// Finds the lines that differ. Where one file has only more lines than the other, a search is not needed.
fn compare(found: &mut impl DiffHook<Error = Infallible>, old: &[&[u8]], new: &[&[u8]]) -> Result<(), Infallible> {
    let (added, removed) = (more_lines(old, new), more_lines(new, old));
    let (parts, is_added) = match (added, removed) {
        (Some(added), _) => (added, true),
        (None, Some(removed)) => (removed, false),
        (None, None) => return myers::diff(found, old, 0..old.len(), new, 0..new.len()),
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
    found.equal(in_old, in_new, old.len() - in_old)?;
    found.finish()
}

/// The parts of `long` without which it is `short`, if `short` has none of their lines: no other comparison finds fewer
/// differences. Lines that are the same at both ends do not count.
fn more_lines(short: &[&[u8]], long: &[&[u8]]) -> Option<Vec<Range<usize>>> {
    let start = short.iter().zip(long).take_while(|(one, other)| one == other).count();
    let ends = short[start..].iter().rev().zip(long[start..].iter().rev());
    let end = ends.take_while(|(one, other)| one == other).count();
    let middle = &short[start..short.len() - end];
    let known: FxHashSet<&[u8]> = middle.iter().copied().collect();
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut rest = middle.iter();
    for (index, line) in long.iter().enumerate().take(long.len() - end).skip(start) {
        if !known.contains(line) {
            match parts.last_mut().filter(|part| part.end == index) {
                Some(part) => part.end += 1,
                None => parts.push(index..index + 1),
            }
        } else if rest.next() != Some(line) {
            return None;
        }
    }
    rest.next().is_none().then_some(parts)
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
