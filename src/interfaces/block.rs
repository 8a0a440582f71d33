//! The block: the lines that symroute-gen keeps in a stanza, between two marker comments.

use std::ops::Range;

use super::diagnostic::{At, Diagnostic};
use super::document::{Document, Edit, trim_end, trim_start};

/// The opening marker, as it is written.
pub const BEGIN: &str = "# symroute: begin (made by symroute-gen; 'symroute-gen --remove' takes it out)";
/// The closing marker, as it is written.
pub const END: &str = "# symroute: end";

/// What is recognised: the sentence in brackets may be reworded one day.
const BEGIN_MARK: &[u8] = b"# symroute: begin";
/// What surrounds the path of a template in the opening marker.
const FROM_TEMPLATE: [&str; 2] =
    ["# symroute: begin (made by symroute-gen --template ", "; 'symroute-gen --remove' takes it out)"];

/// The opening marker of a block that is made from a template of the user's.
pub fn begin_from(template: &str) -> String {
    FROM_TEMPLATE.join(template)
}

/// The path of the user's template that a block was made from, by its opening marker.
pub fn template_of(marker: &[u8]) -> Option<&[u8]> {
    let [before, after] = FROM_TEMPLATE.map(str::as_bytes);
    trim_end(trim_start(marker)).strip_prefix(before)?.strip_suffix(after)
}

/// The blocks of a document, as ranges of logical lines with both markers; a marker without its partner is an
/// error, for nobody can tell then which lines are ours.
pub fn find(file: usize, document: &Document) -> (Vec<Range<usize>>, Vec<Diagnostic>) {
    let (mut blocks, mut wrong) = (Vec::new(), Vec::new());
    let mut open = None;
    let mut complain = |line: usize, what: &str| {
        wrong.push(Diagnostic::error(
            At { file, line },
            b"# symroute:",
            what,
            "Restore the missing marker line, or take this marker and the lines that symroute-gen made out by hand.",
        ));
    };
    for line in 0..document.lines().len() {
        let text = trim_start(document.raw(line));
        if text.starts_with(BEGIN_MARK) {
            if let Some(earlier) = open.replace(line) {
                complain(earlier, "this symroute block has no end before the next one begins");
            }
        } else if text.starts_with(END.as_bytes()) {
            match open.take() {
                Some(begin) => blocks.push(begin..line + 1),
                None => complain(line, "the end of a symroute block that never began"),
            }
        }
    }
    if let Some(line) = open {
        complain(line, "this symroute block has no end");
    }
    (blocks, wrong)
}

/// The edits that take `blocks` out and give back the bytes from before they were put in.
pub fn removal(document: &Document, blocks: &[Range<usize>]) -> Vec<Edit> {
    blocks
        .iter()
        .map(|block| {
            let ends_file = !document.raw(block.end - 1).ends_with(b"\n");
            match block.start.checked_sub(1) {
                // The file had no final newline: the block brought one for the line before it.
                Some(before) if ends_file => {
                    let raw = document.raw(before);
                    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
                    let text = raw.strip_suffix(b"\r").filter(|_| is_crlf(document, block)).unwrap_or(raw);
                    Edit { lines: before..block.end, text: text.to_vec() }
                }
                _ => Edit { lines: block.clone(), text: Vec::new() },
            }
        })
        .collect()
}

fn is_crlf(document: &Document, block: &Range<usize>) -> bool {
    document.raw(block.start).ends_with(b"\r\n")
}
