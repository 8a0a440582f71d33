//! Rewriting: the plan as lines in the stanzas.
//!
//! Bytes in, bytes out. `system::store` replaces the files.

mod change;
mod difference;
pub mod kept;
pub mod template;
pub mod verify;

use std::collections::BTreeMap;
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};

pub use self::change::Change;
pub use self::difference::diff;
use self::template::Template;
use crate::interfaces::block::{BEGIN, END, removal};
use crate::interfaces::{Config, Diagnostic, Document, Edit, File, Location, Stanza, Text, without_alias};
use crate::policy::Plan;
use crate::sort::sort_by_key;

/// The files without their blocks or, with a template, with the blocks of the plan. Then a stanza of an uplink with an
/// error keeps its block.
///
/// # Errors
/// If a file cannot be edited safely, or a line of the template is not an option.
pub fn rewrite<'a>(
    config: &'a Config,
    plan: &Plan,
    template: Option<&Template>,
) -> anyhow::Result<Result<Vec<Change<'a>>, Vec<Diagnostic>>> {
    let mut bodies: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    if let Some(template) = template {
        bodies = template.bodies(plan)?;
    }
    let faulty = if template.is_some() { faulty_stanzas(config, plan) } else { FxHashSet::default() };
    bodies.retain(|stanza, _| !faulty.contains(stanza));
    let mut errors = kept::foreign_lines(config);
    errors.extend(inherited(config, bodies.keys().copied()));
    // By file.
    let removed = removed(config, &faulty);
    let mut edits = removed.clone();
    for (stanza, body) in &bodies {
        let stanza = &config.stanzas[*stanza];
        let (Some(first), Some(last)) = (stanza.location, stanza.last) else { continue };
        let (document, removed) = (&config.files[first.file()].document, &removed[first.file()]);
        let marker = template.map_or(BEGIN, |template| template.marker());
        let lines = Lines { marker, indent: indentation(config, stanza), body };
        match insertion(document, removed, [first.line(), last.line()], &lines) {
            Some(edit) => edits[first.file()].push(edit),
            None => errors.push(Diagnostic::error(
                first,
                b"",
                "the file ends with a backslash; added lines would become part of this line",
                "Remove the backslash, or add an empty line at the end of the file.",
            )),
        }
    }
    let change = |(file, edits): (&'a File, _)| Change { file, edits: changing(&file.document, edits) };
    let changes = config.files.iter().zip(edits).map(change);
    let changes: Vec<Change> = changes.filter(|change| !change.edits.is_empty()).collect();
    for (index, file) in config.files.iter().enumerate() {
        if file.is_rejected && changes.iter().any(|change| std::ptr::eq(change.file, file)) {
            let what = "this file needs new lines, but ifupdown does not read it to its end";
            errors.push(Diagnostic::error(Location::new(index, 0), b"", what, "Fix the line of the warning first."));
        }
    }
    Ok(if errors.is_empty() { Ok(changes) } else { Err(errors) })
}

/// The edits that remove the blocks of each file, apart from those of faulty stanzas.
fn removed(config: &Config, faulty: &FxHashSet<usize>) -> Vec<Vec<Edit>> {
    let entries = faulty.iter().flat_map(|stanza| config.entries(&config.stanzas[*stanza]));
    let kept: FxHashSet<Location> = entries.filter(|entry| entry.in_block).map(|entry| entry.location).collect();
    let of_file = |(index, file): (usize, &File)| {
        let is_kept = |block: &Range<usize>| block.clone().any(|line| kept.contains(&Location::new(index, line)));
        let blocks: Vec<Range<usize>> = file.blocks.iter().filter(|block| !is_kept(block)).cloned().collect();
        removal(&file.document, &blocks)
    };
    config.files.iter().enumerate().map(of_file).collect()
}

/// The edits in order, with those that touch as one, and without those that change nothing.
fn changing(document: &Document, mut edits: Vec<Edit>) -> Vec<Edit> {
    sort_by_key(&mut edits, |edit| (edit.lines.start, edit.lines.end));
    let mut joined: Vec<Edit> = Vec::new();
    for edit in edits {
        match joined.last_mut().filter(|before| before.lines.end >= edit.lines.start) {
            Some(before) => {
                before.lines.end = edit.lines.end;
                before.text.extend(edit.text);
            }
            None => joined.push(edit),
        }
    }
    joined.retain(|edit| document.raw_lines(edit.lines.clone()) != edit.text);
    joined
}

/// The stanzas of the interfaces of faulty uplinks.
fn faulty_stanzas(config: &Config, plan: &Plan) -> FxHashSet<usize> {
    let link = |stanza: &Stanza| without_alias(&stanza.interface).to_vec();
    let faulty = plan.uplinks.iter().filter(|uplink| uplink.is_faulty());
    let links: FxHashSet<Vec<u8>> = faulty.map(|uplink| link(&config.stanzas[uplink.stanza])).collect();
    (0..config.stanzas.len()).filter(|index| links.contains(&link(&config.stanzas[*index]))).collect()
}

/// Stanzas that others inherit from: lines written into them would run for both.
fn inherited(config: &Config, stanzas: impl Iterator<Item = usize>) -> Vec<Diagnostic> {
    let mut heirs: FxHashMap<&Text, usize> = FxHashMap::default();
    for (index, stanza) in config.stanzas.iter().enumerate() {
        heirs.extend(stanza.inherits.as_deref().map(|template| (template, index)));
    }
    let one = |index: usize| {
        let stanza = &config.stanzas[index];
        // The last heir is enough: if any heir comes after the stanza, it does.
        let heir = heirs.get(&stanza.interface).filter(|heir| **heir > index)?;
        let (interface, heir) = (&stanza.interface, &config.stanzas[*heir].interface);
        let message = format!("{interface} needs new lines, but {heir} inherits from it and would run them too");
        let help = "Move the shared options to a third stanza that is not started, and let both inherit from it.";
        Some(Diagnostic::error(stanza.location?, interface, message, help))
    };
    stanzas.filter_map(one).collect()
}

/// The lines of a block.
struct Lines<'a> {
    /// The opening marker.
    marker: &'a str,
    indent: Vec<u8>,
    body: &'a [String],
}

/// The edit that inserts the block after the stanza's last line, once `removed` blocks are not there; nothing if it cannot
/// be inserted safely. `iface` and `last` are the stanza's first and last line.
fn insertion(document: &Document, removed: &[Edit], [iface, last]: [usize; 2], lines: &Lines) -> Option<Edit> {
    let end: &[u8] = if document.raw(iface).ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let body = [lines.marker].into_iter().chain(lines.body.iter().map(String::as_str)).chain([END]);
    let block = body.flat_map(|line| [&lines.indent, line.as_bytes(), end]);
    if document.ends_in_continuation(last) {
        let lines = last..last;
        return (last != iface).then(|| Edit { lines, text: block.collect::<Vec<_>>().concat() });
    }
    let raw = document.raw(last);
    let is_removed = removed.iter().any(|edit| edit.lines.contains(&last));
    let (lines, before) = match (is_removed, raw.ends_with(b"\n")) {
        (false, true) => (last + 1..last + 1, None),
        // The file has no final newline, and has none afterwards.
        (false, false) => (last..last + 1, Some(raw)),
        // The same where this line became the last one.
        (true, _) => (document.count()..document.count(), Some(&b""[..])),
    };
    let mut text: Vec<&[u8]> = before.into_iter().flat_map(|before| [before, end]).chain(block).collect();
    text.truncate(text.len() - usize::from(before.is_some()));
    Some(Edit { lines, text: text.concat() })
}

/// The blanks before the stanza's last option; if it has none, before the last option of the first stanza that has one.
fn indentation(config: &Config, stanza: &Stanza) -> Vec<u8> {
    let of_last_option = |stanza: &Stanza| {
        let start = stanza.location?;
        let is_own = |entry: &crate::interfaces::Entry| {
            !entry.in_block && entry.location.file() == start.file() && entry.location.line() > start.line()
        };
        let entry = config.entries(stanza).filter(is_own).last()?;
        let raw = config.raw(entry.location);
        Some(raw.iter().copied().take_while(|b| matches!(b, b' ' | b'\t')).collect::<Vec<u8>>())
    };
    of_last_option(stanza)
        .or_else(|| config.stanzas.iter().find_map(of_last_option))
        .unwrap_or_else(|| b"    ".to_vec())
}
