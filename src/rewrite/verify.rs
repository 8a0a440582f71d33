//! Whether changed files still have the same configuration.

use std::ops::Range;

use anyhow::{Result, bail};

use super::change::Change;
use crate::interfaces::config::File;
use crate::interfaces::grammar::{Statement, statement};
use crate::interfaces::{Config, Dialect, Document, Text, block};

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

fn has_same_lines(before: &File, new: &[u8], dialect: Dialect) -> bool {
    let document = Document::parse(new.to_vec());
    let (blocks, _) = block::find(0, &document);
    let mut before = own_lines(&before.document, &before.blocks, dialect);
    own_lines(&document, &blocks, dialect).all(|line| line.is_some() && before.next() == Some(line))
        && before.next().is_none()
}

/// The lines outside of blocks that are not comments. Nothing in place of a line of a block that is not an option of a
/// stanza.
fn own_lines<'a>(
    document: &'a Document,
    blocks: &'a [Range<usize>],
    dialect: Dialect,
) -> impl Iterator<Item = Option<Text>> + 'a {
    let mut blocks = blocks.iter().peekable();
    let mut in_stanza = false;
    (0..document.count()).filter_map(move |line| {
        blocks.next_if(|block| block.end <= line);
        let text = document.text(line);
        let read = statement(&text);
        if blocks.peek().is_some_and(|block| block.contains(&line)) {
            // ifupdown rejects an option outside of a stanza, the others ignore it.
            let may_have_option = in_stanza || dialect != Dialect::Ifupdown;
            let is_valid = match read {
                Statement::Nothing => true,
                Statement::Option { name, value } => {
                    may_have_option && !value.is_empty() && !dialect.is_statement(name)
                }
                _ => false,
            };
            return (!is_valid).then_some(None);
        }
        in_stanza = match read {
            Statement::Nothing => return None,
            Statement::Iface(_) => true,
            Statement::Option { .. } => in_stanza,
            // Without a name they are lines of the stanza.
            Statement::Allow(_, names) | Statement::NoAutoDown(names) | Statement::NoScripts(names) => {
                in_stanza && names.is_empty()
            }
            _ => false,
        };
        Some(Some(text))
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
        let with = |lines: &str| old.replace("# end", &format!("{BEGIN}\n{lines}\n{END}"));
        for (new, is_same) in [
            (with(" metric 5\n # comment"), true),
            (old.replace("# end", "") + "\n", true),
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
