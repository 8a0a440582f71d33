//! Diagnostics in the style of a compiler, on one line, and as JSON.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet as Cited};
use bstr::ByteSlice;
use serde_json::{Value, json};

use crate::interfaces::{Config, Diagnostic, Files, Location, Severity};

/// Longer cited lines are cut to this number of characters.
const LONGEST: usize = 300;

/// The place of a diagnostic: the file as it was opened, ifupdown's line number, the column in characters, the cited
/// text, and the range of bytes to mark in it.
struct Place {
    file: String,
    line: usize,
    column: usize,
    text: String,
    span: std::ops::Range<usize>,
}

fn place(config: &Config, root: &dyn Files, location: Location, word: &[u8]) -> Place {
    let file = &config.files[location.file()];
    let is_there = location.line() < file.document.count();
    let raw = if is_there { file.document.raw(location.line()) } else { b"" };
    let last = raw.strip_suffix(b"\n").unwrap_or(raw).rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let text: String = last.to_str_lossy().trim_end().chars().take(LONGEST).collect();
    let start = text.len() - text.trim_start().len();
    let word = word.lines().next().unwrap_or_default().to_str_lossy();
    let span = match text.find(word.as_ref()) {
        Some(start) if !word.is_empty() => start..start + word.len(),
        _ => start..text.len(),
    };
    Place {
        file: root.shown(&file.path).display().to_string(),
        line: if is_there { file.document.last_number(location.line()) } else { 1 },
        column: text[..span.start].chars().count() + 1,
        text,
        span,
    }
}

/// In the style of a compiler: `file:line:column`, the cited line, a caret, the fix.
pub fn diagnostic(config: &Config, root: &dyn Files, diagnostic: &Diagnostic, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Hint => Level::INFO.with_name(Some("hint")),
    };
    let mut title = level.primary_title(diagnostic.message.as_str());
    if let Some(id) = diagnostic.id {
        title = title.id(id);
    }
    let help = Level::HELP.message(diagnostic.help.as_str());
    let report = match diagnostic.location {
        Some(location) => {
            let place = place(config, root, location, &diagnostic.word);
            let annotation = AnnotationKind::Primary.span(place.span);
            let cited = Cited::source(place.text).line_start(place.line).path(place.file).annotation(annotation);
            title.element(cited).element(help)
        }
        None => annotate_snippets::Group::with_title(title).element(help),
    };
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[report]) + "\n"
}

/// The same on one line, for hooks and the log: `file:line:column: message`.
pub fn one_line(config: &Config, root: &dyn Files, diagnostic: &Diagnostic) -> String {
    match diagnostic.location {
        Some(location) => {
            let place = place(config, root, location, &diagnostic.word);
            format!("{}:{}:{}: {}", place.file, place.line, place.column, diagnostic.message)
        }
        None => diagnostic.message.clone(),
    }
}

pub fn diagnostics_json<'a>(
    config: &Config,
    root: &dyn Files,
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
) -> Value {
    let one = |diagnostic: &Diagnostic| {
        let place = diagnostic.location.map(|location| place(config, root, location, &diagnostic.word));
        json!({
            "severity": diagnostic.severity.name(),
            "id": diagnostic.id,
            "file": place.as_ref().map(|place| &place.file),
            "line": place.as_ref().map(|place| place.line),
            "column": place.as_ref().map(|place| place.column),
            "message": diagnostic.message,
            "help": diagnostic.help,
        })
    };
    diagnostics.into_iter().map(one).collect()
}

/// File and number of the first line of a logical line.
pub(super) fn file_and_line(config: &Config, root: &dyn Files, location: Location) -> (String, usize) {
    let file = &config.files[location.file()];
    (root.shown(&file.path).display().to_string(), file.document.first_number(location.line()))
}
