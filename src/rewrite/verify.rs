//! Whether changed files still have the same configuration.

use std::ops::Range;

use anyhow::{Result, bail};

use super::change::Change;
use crate::interfaces::grammar::{Statement, statement};
use crate::interfaces::{Dialect, Document, Edit, File, block, is_blank};

/// Checks the result before it is written: outside of blocks it has the same lines, and in blocks only options of a
/// stanza. What ifupdown reads is then the same, apart from these options.
///
/// # Errors
/// If it does not.
pub fn verify(changes: &[Change], dialect: Dialect) -> Result<()> {
    let is_same = |change: &Change| {
        let apart = change.edits.windows(2).all(|edits| edits[0].lines.end < edits[1].lines.start);
        apart && change.edits.iter().all(|edit| has_same_lines(change.file, edit, dialect))
    };
    if !changes.iter().all(is_same) {
        bail!("the result does not read as the same configuration, nothing was written; this is a bug in symroute-gen");
    }
    Ok(())
}

/// Does an edit keep the lines around it, and those in it that are in no block?
fn has_same_lines(file: &File, edit: &Edit, dialect: Dialect) -> bool {
    let (old, range) = (&file.document, edit.lines.clone());
    let new = Document::parse(edit.text.clone().into());
    let (blocks, stray) = block::find(0, &new);
    // Where one line ends, the next one is read as if it were the first.
    let ends_line = |document: &Document, end: usize| {
        end.checked_sub(1)
            .is_none_or(|last| document.raw(last).ends_with(b"\n") && !document.ends_in_continuation(last))
    };
    let is_last = range.end == old.count();
    if !stray.is_empty() || !ends_line(old, range.start) || !is_last && !ends_line(&new, new.count()) {
        return false;
    }
    let touched = file.blocks.iter().filter(|block| block.start < range.end && block.end > range.start);
    let old_blocks: Vec<Range<usize>> = touched.cloned().collect();
    let is_whole = |block: &Range<usize>| range.start <= block.start && block.end <= range.end;
    let without_blocks = |document, lines, blocks| outside(document, lines, blocks).filter(|part| !part.is_empty());
    let new_lines = without_blocks(&new, 0..new.count(), &blocks);
    old_blocks.iter().all(is_whole)
        && have_options(&new, &blocks, dialect, is_in_stanza(old, 0..range.start).unwrap_or(false))
        && is_same(without_blocks(old, range, &old_blocks), new_lines, is_last)
}

/// The parts of some lines before, between and after blocks.
fn outside<'a>(
    document: &'a Document,
    lines: Range<usize>,
    blocks: &'a [Range<usize>],
) -> impl Iterator<Item = &'a [u8]> {
    let ends = [lines.start].into_iter().chain(blocks.iter().map(|block| block.end));
    let starts = blocks.iter().map(|block| block.start).chain([lines.end]);
    ends.zip(starts).map(|(from, to)| document.raw_lines(from..to))
}

/// Are the parts the same text, apart from blanks at the end of the file? A file with a block ends in a newline.
fn is_same<'a>(
    mut one: impl Iterator<Item = &'a [u8]>,
    mut other: impl Iterator<Item = &'a [u8]>,
    is_last: bool,
) -> bool {
    let (mut part, mut other_part): (&[u8], &[u8]) = (&[], &[]);
    loop {
        if part.is_empty() {
            part = one.next().unwrap_or_default();
        }
        if other_part.is_empty() {
            other_part = other.next().unwrap_or_default();
        }
        let length = part.len().min(other_part.len());
        if length == 0 {
            break;
        }
        let (same, rest) = part.split_at(length);
        if !other_part.starts_with(same) {
            return false;
        }
        (part, other_part) = (rest, &other_part[length..]);
    }
    [part, other_part].into_iter().chain(one).chain(other).flatten().all(|byte| is_last && is_blank(*byte))
}

/// Is the line after these lines one of a stanza? Nothing if none of them begins or ends one.
fn is_in_stanza(document: &Document, lines: Range<usize>) -> Option<bool> {
    lines.rev().find_map(|line| match statement(document.text(line)) {
        Statement::Nothing | Statement::Option { .. } => None,
        // Without a name they are lines of the stanza.
        Statement::Allow(_, names) | Statement::NoAutoDown(names) | Statement::NoScripts(names) if names.is_empty() => {
            None
        }
        other => Some(matches!(other, Statement::Iface(_))),
    })
}

/// Have blocks only comments and options of a stanza?
fn have_options(document: &Document, blocks: &[Range<usize>], dialect: Dialect, mut in_stanza: bool) -> bool {
    let mut before = 0;
    blocks.iter().all(|block| {
        in_stanza = is_in_stanza(document, before..block.start).unwrap_or(in_stanza);
        before = block.end;
        // ifupdown rejects an option outside of a stanza, the others ignore it.
        let may_have_option = in_stanza || dialect != Dialect::Ifupdown;
        block.clone().all(|line| match statement(document.text(line)) {
            Statement::Nothing => true,
            Statement::Option { name, value } => may_have_option && !value.is_empty() && !dialect.is_statement(name),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::block::{BEGIN, END};

    #[test]
    fn only_options_in_blocks_may_differ() {
        let old = "auto eth0\niface eth0 inet dhcp\n mtu 1400 \\\n \n# end\nsource x";
        let verified = |new: &str, dialect: Dialect| {
            let file = File { document: Document::parse(old.into()), ..File::default() };
            let edits = vec![Edit { lines: 0..file.document.count(), text: new.into() }];
            verify(&[Change { file: &file, edits }], dialect).is_ok()
        };
        let with = |lines: &str| old.replace("# end", &format!("{BEGIN}\n{lines}\n{END}\n# end"));
        for (new, is_same) in [
            (with(" metric 5\n # comment"), true),
            (format!("{old}\n"), true),
            (old.replace("# end", ""), false),
            (with(" metric"), false),
            (with("iface eth1 inet dhcp"), false),
            (with(" auto"), false),
            (with(&format!(" metric 5\n{END}\n mtu 5")), false),
            (old.replace("1400", "1500"), false),
            (old.replace("\\\n ", "\\\n metric 5"), false),
            (old.replace("source x", ""), false),
            (format!("{old}\n{BEGIN}\n metric 5\n{END}\n"), false),
            (format!("{old}\n{BEGIN}\n{END}\n"), true),
        ] {
            assert_eq!(verified(&new, Dialect::Ifupdown), is_same, "{new}");
        }
        for (line, dialects) in [("inherit eth1", [true, false, true]), ("vlan eth1", [true, true, false])] {
            let all = [Dialect::Ifupdown, Dialect::IfupdownNg, Dialect::Ifupdown2];
            assert_eq!(all.map(|dialect| verified(&with(line), dialect)), dialects, "{line}");
        }
    }

    #[test]
    fn an_edit_keeps_the_lines_around_it() {
        let block = format!("{BEGIN}\n metric 5\n{END}\n");
        let old = format!("auto eth0\niface eth0 inet dhcp\n{block} mtu 1400\n\niface eth1 inet dhcp\n mtu \\\n");
        let file = File { document: Document::parse(old.into()), ..File::default() };
        let (blocks, _) = block::find(0, &file.document);
        let file = File { blocks, ..file };
        let holds = |edits: &[(Range<usize>, &str)]| {
            let edit = |(lines, text): &(Range<usize>, &str)| Edit { lines: lines.clone(), text: (*text).into() };
            verify(&[Change { file: &file, edits: edits.iter().map(edit).collect() }], Dialect::Ifupdown).is_ok()
        };
        let half = block.trim_end();
        for (edits, is_same) in [
            (&[(2..2, &block[..])][..], true),
            (&[(2..5, ""), (6..6, &block)], true),
            (&[(6..6, &block), (2..5, "")], false),
            (&[(2..5, &block), (5..5, &block)], false),
            (&[(2..4, "")], false),
            (&[(2..5, half)], false),
            (&[(2..6, &block)], false),
            (&[(2..5, "\n")], false),
            (&[(1..1, &block)], false),
            (&[(8..8, &block)], true),
            (&[(9..9, &block)], false),
            (&[(8..9, " mtu \\\n\n")], true),
            (&[(2..5, "# \\\n"), (6..6, &block)], false),
        ] {
            assert_eq!(holds(edits), is_same, "{edits:?}");
        }
    }
}
