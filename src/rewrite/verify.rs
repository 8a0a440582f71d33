//! Whether changed files still have the same configuration.

use std::ops::Range;

use anyhow::{Result, bail};

use super::change::Change;
use crate::interfaces::grammar::{Statement, statement};
use crate::interfaces::{Config, Dialect, Document, File, Text, block, is_blank};

/// Checks the result before it is written: outside of blocks it has the same lines, and in blocks only options of a
/// stanza. What ifupdown reads is then the same, apart from these options.
///
/// # Errors
/// If it does not.
pub fn verify(config: &Config, changes: &[Change]) -> Result<()> {
    let is_same = |change: &Change| {
        let before = config.files.iter().find(|file| file.path == change.path);
        before.is_some_and(|before| has_same_lines(before, &change.new, config.dialect))
    };
    if !changes.iter().all(is_same) {
        bail!("the result does not read as the same configuration, nothing was written; this is a bug in symroute-gen");
    }
    Ok(())
}

fn has_same_lines(before: &File, new: &Text, dialect: Dialect) -> bool {
    let document = Document::parse(new.clone());
    let (blocks, _) = block::find(0, &document);
    let without_blocks = |document, blocks| outside(document, blocks).filter(|part| !part.is_empty());
    have_options(&document, &blocks, dialect)
        && is_same(without_blocks(&before.document, &before.blocks), without_blocks(&document, &blocks))
}

/// The parts of a file before, between and after blocks.
fn outside<'a>(document: &'a Document, blocks: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> {
    let ends = [0].into_iter().chain(blocks.iter().map(|block| block.end));
    let starts = blocks.iter().map(|block| block.start).chain([document.count()]);
    ends.zip(starts).map(|(from, to)| document.raw_lines(from..to))
}

/// Are the parts the same text, apart from blanks at its end? A file with a block ends in a newline.
fn is_same<'a>(mut one: impl Iterator<Item = &'a [u8]>, mut other: impl Iterator<Item = &'a [u8]>) -> bool {
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
    [part, other_part].into_iter().chain(one).chain(other).flatten().all(|byte| is_blank(*byte))
}

/// Have blocks only comments and options of a stanza?
fn have_options(document: &Document, blocks: &[Range<usize>], dialect: Dialect) -> bool {
    let (mut before, mut in_stanza) = (0, false);
    blocks.iter().all(|block| {
        let begins_or_ends = |line: usize| match statement(document.text(line)) {
            Statement::Nothing | Statement::Option { .. } => None,
            // Without a name they are lines of the stanza.
            Statement::Allow(_, names) | Statement::NoAutoDown(names) | Statement::NoScripts(names)
                if names.is_empty() =>
            {
                None
            }
            other => Some(matches!(other, Statement::Iface(_))),
        };
        in_stanza = (before..block.start).rev().find_map(begins_or_ends).unwrap_or(in_stanza);
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
    use std::path::Path;

    use super::*;
    use crate::interfaces::block::{BEGIN, END};
    use crate::system::files::Root;

    #[test]
    fn only_options_in_blocks_may_differ() {
        let old = "auto eth0\niface eth0 inet dhcp\n mtu 1400 \\\n \n# end\nsource x";
        let verified = |new: &str, dialect: Dialect| {
            let config = Config::parse(Path::new("/f"), old.into(), &Root::new(Path::new("/nowhere")), dialect);
            let change = Change { path: "/f".into(), old: old.into(), new: new.into() };
            verify(&config, &[change]).is_ok()
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
}
