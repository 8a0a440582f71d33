//! Rewriting: the plan as lines in the stanzas. Pure: bytes in, bytes out; `store` puts them on disk.

pub mod kept;
pub mod store;
pub mod template;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bstr::{BString, ByteSlice};

use crate::interfaces::block::{BEGIN, END, removal};
use crate::interfaces::grammar::{Statement, statement};
use crate::interfaces::{Config, Diagnostic, Document, Edit, Stanza};
use crate::policy::Plan;
use template::Template;

/// A file whose bytes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As in `Config::files`.
    pub path: PathBuf,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// The files with every block taken out, and, given a template, the plan's blocks put in.
///
/// # Errors
/// Where a file cannot be edited safely, or the template makes what is no option.
pub fn rewrite(
    config: &Config,
    plan: &Plan,
    template: Option<&Template>,
) -> anyhow::Result<Result<Vec<Change>, Vec<Diagnostic>>> {
    let mut bodies: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    if let Some(template) = template {
        bodies = template.bodies(plan)?;
    }
    let mut changes = Vec::new();
    let marker = template.map_or(BEGIN, |template| template.marker());
    let mut wrong = kept::foreign_lines(config);
    wrong.extend(inherited(config, bodies.keys().copied()));
    for (index, file) in config.files.iter().enumerate() {
        let blocks = &file.blocks;
        let stripped = Document::parse(file.document.edited(&removal(&file.document, blocks)));
        let moved = |line: usize| {
            line - blocks.iter().filter(|block| block.start < line).map(|block| block.end - block.start).sum::<usize>()
        };
        let mut edits = Vec::new();
        for (stanza, body) in &bodies {
            let stanza = &config.stanzas[*stanza];
            let (Some(at), Some(last)) = (stanza.at, stanza.last) else { continue };
            if at.file != index {
                continue;
            }
            let lines = Lines { marker, indent: indentation(config, stanza), body };
            match insertion(&stripped, moved(at.line), moved(last.line), &lines) {
                Some(edit) => edits.push(edit),
                None => wrong.push(Diagnostic::error(
                    at,
                    b"",
                    "the file ends in a backslash: whatever follows would become a part of this line",
                    "Take the backslash away, or end the file with an empty line.",
                )),
            }
        }
        edits.sort_by_key(|edit| edit.lines.start);
        let new = stripped.edited(&edits);
        if new == file.document.bytes() {
            continue;
        }
        if file.refused {
            let at = crate::interfaces::At { file: index, line: 0 };
            let what = "this file needs lines, but ifupdown does not read it to its end";
            wrong.push(Diagnostic::error(at, b"", what, "Correct the line that the warning names first."));
        }
        changes.push(Change { path: file.path.clone(), old: file.document.bytes().to_vec(), new });
    }
    Ok(if wrong.is_empty() { Ok(changes) } else { Err(wrong) })
}

/// What is written into a stanza that another one inherits from would run for both.
fn inherited(config: &Config, stanzas: impl Iterator<Item = usize>) -> Vec<Diagnostic> {
    let mut heirs: HashMap<&BString, usize> = HashMap::new();
    for (index, stanza) in config.stanzas.iter().enumerate() {
        heirs.extend(stanza.inherits.as_ref().map(|template| (template, index)));
    }
    let one = |index: usize| {
        let stanza = &config.stanzas[index];
        // The last heir is the one that counts: it comes after the stanza if any does.
        let heir = heirs.get(&stanza.interface).filter(|heir| **heir > index)?;
        let (interface, heir) = (&stanza.interface, &config.stanzas[*heir].interface);
        let message = format!("{interface} needs lines of its own, but {heir} inherits from it and would run them too");
        let help = format!(
            "Put what both share into a third stanza that nothing brings up, and let {interface} inherit from that."
        );
        Some(Diagnostic::error(stanza.at?, interface, message, help))
    };
    stanzas.filter_map(one).collect()
}

/// The lines of a block.
struct Lines<'a> {
    /// The opening one.
    marker: &'a str,
    indent: Vec<u8>,
    body: &'a [String],
}

/// The block as an edit behind the stanza's last line; nothing where it cannot be put safely.
fn insertion(document: &Document, iface: usize, last: usize, lines: &Lines) -> Option<Edit> {
    let crlf = document.raw(iface).ends_with(b"\r\n");
    let end: &[u8] = if crlf { b"\r\n" } else { b"\n" };
    let mut text = Vec::new();
    for line in [lines.marker].into_iter().chain(lines.body.iter().map(String::as_str)).chain([END]) {
        text.extend_from_slice(&lines.indent);
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(end);
    }
    let mut at = last + 1;
    if document.swallows_next(last) {
        if last == iface {
            return None;
        }
        at = last;
    } else if !document.raw(last).ends_with(b"\n") {
        // The file has no final newline, and has none afterwards.
        text.truncate(text.len() - end.len());
        text.splice(0..0, end.iter().copied());
    }
    Some(Edit { lines: at..at, text })
}

/// The blanks before the stanza's last own option; without one, those of the first option of any stanza.
fn indentation(config: &Config, stanza: &Stanza) -> Vec<u8> {
    let own = |stanza: &Stanza| {
        let at = stanza.at?;
        let mine =
            |entry: &&crate::interfaces::Entry| !entry.in_block && entry.at.file == at.file && entry.at.line > at.line;
        let entry = stanza.entries.iter().filter(mine).last()?;
        let raw = config.raw(entry.at);
        Some(raw.iter().copied().take_while(|b| matches!(b, b' ' | b'\t')).collect::<Vec<u8>>())
    };
    own(stanza).or_else(|| config.stanzas.iter().find_map(own)).unwrap_or_else(|| b"    ".to_vec())
}

/// Is it a line that can stand in a block?
fn is_option(line: &str) -> bool {
    let text = line.trim();
    let comment = text.starts_with('#') && !text.starts_with("# symroute:");
    let option = matches!(statement(text.as_bytes()), Statement::Option { value, .. } if !value.is_empty());
    !line.contains(['\n', '\r', '\0']) && (comment || option && !text.ends_with('\\'))
}

/// A unified diff of the changes, as `diff -u` and `patch` have it.
pub fn diff(changes: &[Change]) -> String {
    changes
        .iter()
        .map(|change| {
            let (old, new) = (change.old.to_str_lossy(), change.new.to_str_lossy());
            let path = change.path.display().to_string();
            similar::TextDiff::from_lines(old.as_ref(), new.as_ref()).unified_diff().header(&path, &path).to_string()
        })
        .collect()
}
