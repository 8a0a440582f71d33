//! Diagnostics in the style of a compiler, on one line, and as JSON.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet as Cited};
use bstr::ByteSlice;
use serde_json::{Value, json};

use crate::interfaces::{Config, Diagnostic, Files, Location, Severity};

/// Longer cited lines are cut to this number of characters.
const LONGEST: usize = 300;

/// Longer lines, and lines with more blanks at their beginning, may be cut by the library.
const LONGEST_WHOLE: usize = 120;
const MOST_BLANKS: usize = 20;

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
    let file = &config.files[location.file];
    let is_there = location.line < file.document.count();
    let raw = if is_there { file.document.raw(location.line) } else { b"" };
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
        line: if is_there { file.document.last_number(location.line) } else { 1 },
        column: text[..span.start].chars().count() + 1,
        text,
        span,
    }
}

/// In the style of a compiler: `file:line:column`, the cited line, a caret, the fix.
pub fn diagnostic(config: &Config, root: &dyn Files, diagnostic: &Diagnostic, color: bool) -> String {
    let place = diagnostic.location.map(|location| place(config, root, location, &diagnostic.word));
    let simple = place.as_ref().filter(|_| !color).and_then(|place| simple(diagnostic, place));
    simple.unwrap_or_else(|| rendered(diagnostic, place, color))
}

/// What the library prints without colors, which takes it a hundred times as long. Nothing for texts that it changes:
/// it replaces characters that are not printed as they are, and cuts long lines.
fn simple(diagnostic: &Diagnostic, place: &Place) -> Option<String> {
    let Diagnostic { severity, id, message, help, .. } = diagnostic;
    let Place { file, line, column, text, span } = place;
    let blanks = text.len() - text.trim_start().len();
    let is_whole = text.len() <= LONGEST_WHOLE && blanks <= MOST_BLANKS && !span.is_empty();
    let is_printed = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let has_lines = help.split('\n').all(|line| !line.is_empty() && is_printed(line));
    if !is_whole || !has_lines || ![text, file, message].into_iter().all(|text| is_printed(text)) {
        return None;
    }
    let severity = severity.name();
    let id = id.map_or(String::new(), |id| format!("[{id}]"));
    let margin = " ".repeat(line.to_string().len());
    let mark = " ".repeat(span.start) + &"^".repeat(span.len());
    let help = help.replace('\n', &format!("\n{margin} {}", " ".repeat("= help: ".len())));
    Some(format!(
        "{severity}{id}: {message}\n{margin}--> {file}:{line}:{column}\n{margin} |\n{line} | {text}\n{margin} | {mark}\n\
         {margin} |\n{margin} = help: {help}\n"
    ))
}

/// As the library prints it.
fn rendered(diagnostic: &Diagnostic, place: Option<Place>, color: bool) -> String {
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
    let report = match place {
        Some(place) => {
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
    let file = &config.files[location.file];
    (root.shown(&file.path).display().to_string(), file.document.first_number(location.line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn simple_texts_are_printed_as_by_the_library(
            (blanks, text, message, help) in (0..30_usize, "[!-~]([ -~]{0,130}[!-~])?", "[ -~]{0,150}[\t\u{e9}]?", "([ -~]{0,40}\n?){0,4}"),
            (start, length, line) in (0..120_usize, 0..120_usize, 1..20_000_usize),
            (id, severity) in (
                prop::option::of(Just("manual-never-runs")),
                prop_oneof![Just(Severity::Error), Just(Severity::Warning), Just(Severity::Hint)],
            ),
        ) {
            let text = " ".repeat(blanks) + &text;
            let start = start.min(text.len());
            let span = start..text.len().min(start + length);
            let place = Place { file: "/etc/network/interfaces".into(), line, column: start + 1, text, span };
            let diagnostic = Diagnostic { severity, id, location: None, word: Vec::new(), message, help };
            if let Some(simple) = simple(&diagnostic, &place) {
                prop_assert_eq!(simple, rendered(&diagnostic, Some(place), false));
            }
        }
    }
}
