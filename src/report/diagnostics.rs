//! Diagnostics as a compiler shows them, on one line, and as JSON.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet as Cited};
use bstr::ByteSlice;
use serde_json::{Value, json};

use crate::files::Root;
use crate::interfaces::{At, Config, Diagnostic, Severity};

/// A cited line is cut here, in characters.
const LONGEST: usize = 300;

/// A diagnostic's place: file as it was opened, line as ifupdown counts, column in characters, cited text,
/// and the bytes of it to point at.
struct Place {
    file: String,
    line: usize,
    column: usize,
    text: String,
    span: std::ops::Range<usize>,
}

fn place(config: &Config, root: &Root, at: At, word: &[u8]) -> Place {
    let file = &config.files[at.file];
    let raw = file.document.lines().get(at.line).map_or(&b""[..], |_| file.document.raw(at.line));
    let last = raw.strip_suffix(b"\n").unwrap_or(raw).rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let text: String = last.to_str_lossy().trim_end().chars().take(LONGEST).collect();
    let start = text.len() - text.trim_start().len();
    let word = word.lines().next().unwrap_or_default().to_str_lossy();
    let span = match text.find(word.as_ref()) {
        Some(at) if !word.is_empty() => at..at + word.len(),
        _ => start..text.len(),
    };
    Place {
        file: root.locate(&file.path).display().to_string(),
        line: file.document.lines().get(at.line).map_or(1, |line| line.last),
        column: text[..span.start].chars().count() + 1,
        text,
        span,
    }
}

/// As a compiler shows it: `file:line:column`, the cited line, a caret, what to do.
pub fn diagnostic(config: &Config, root: &Root, diagnostic: &Diagnostic, color: bool) -> String {
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
    let report = match diagnostic.at {
        Some(at) => {
            let place = place(config, root, at, &diagnostic.word);
            let annotation = AnnotationKind::Primary.span(place.span);
            let cited = Cited::source(place.text).line_start(place.line).path(place.file).annotation(annotation);
            title.element(cited).element(help)
        }
        None => annotate_snippets::Group::with_title(title).element(help),
    };
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[report]) + "\n"
}

/// The same on one line, for hooks: `file:line: message`.
pub fn one_line(config: &Config, root: &Root, diagnostic: &Diagnostic) -> String {
    match diagnostic.at {
        Some(at) => {
            let place = place(config, root, at, &diagnostic.word);
            format!("{}:{}: {}", place.file, place.line, diagnostic.message)
        }
        None => diagnostic.message.clone(),
    }
}

pub fn diagnostics_json<'a>(
    config: &Config,
    root: &Root,
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
) -> Value {
    let one = |diagnostic: &Diagnostic| {
        let place = diagnostic.at.map(|at| place(config, root, at, &diagnostic.word));
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

/// Where a logical line begins: file and line.
pub(super) fn begins(config: &Config, root: &Root, at: At) -> (String, usize) {
    let file = &config.files[at.file];
    (root.locate(&file.path).display().to_string(), file.document.lines()[at.line].first)
}
