//! The block: the lines that symroute-gen keeps in a stanza, between two marker comments.

use std::ops::Range;

use bstr::ByteSlice;

use super::diagnostic::{Diagnostic, Location};
use super::document::{Document, Edit, trim_end, trim_start};

/// The opening marker, as it is written.
pub const BEGIN: &str = "# symroute: begin (made by symroute-gen; 'symroute-gen --remove' removes it)";
/// The closing marker, as it is written.
pub const END: &str = "# symroute: end";

/// The beginning of both.
const MARK: &[u8] = b"# symroute:";
/// The beginning by which a marker is recognised: the text in brackets may change.
const BEGIN_MARK: &[u8] = b"# symroute: begin";
/// The text around the path of a template in the opening marker.
const FROM_TEMPLATE: [&str; 2] =
    ["# symroute: begin (made by symroute-gen --template ", "; 'symroute-gen --remove' removes it)"];
/// The end of that marker in earlier versions.
const FROM_TEMPLATE_BEFORE: &str = "; 'symroute-gen --remove' takes it out)";

/// The opening marker of a block from a custom template.
pub fn begin_from(template: &str) -> String {
    FROM_TEMPLATE.join(template)
}

/// The path of the custom template in an opening marker.
pub fn template_of(marker: &[u8]) -> Option<&[u8]> {
    let [before, after] = FROM_TEMPLATE;
    let path = trim_end(trim_start(marker)).strip_prefix(before.as_bytes())?;
    [after, FROM_TEMPLATE_BEFORE].iter().find_map(|after| path.strip_suffix(after.as_bytes()))
}

/// The blocks of a document, as ranges of logical lines with both markers. A marker without its partner is an error:
/// which lines belong to the block is then unknown.
pub fn find(file: usize, document: &Document) -> (Vec<Range<usize>>, Vec<Diagnostic>) {
    let (mut blocks, mut diagnostics) = (Vec::new(), Vec::new());
    if !document.bytes().contains_str(MARK) {
        return (blocks, diagnostics);
    }
    let mut open = None;
    let mut report = |line: usize, what: &str| {
        diagnostics.push(Diagnostic::error(
            Location::new(file, line),
            MARK,
            what,
            "Restore the missing marker line. Or remove this marker and the lines that symroute-gen added.",
        ));
    };
    for line in 0..document.count() {
        let text = trim_start(document.raw(line));
        if text.starts_with(BEGIN_MARK) {
            if let Some(earlier) = open.replace(line) {
                report(earlier, "'# symroute: end' is missing before the next block begins");
            }
        } else if text.starts_with(END.as_bytes()) {
            match open.take() {
                Some(begin) => blocks.push(begin..line + 1),
                None => report(line, "'# symroute: begin' is missing before this line"),
            }
        }
    }
    if let Some(line) = open {
        report(line, "'# symroute: end' is missing after this line");
    }
    (blocks, diagnostics)
}

/// The edits that remove `blocks` and restore the bytes from before they were added.
pub fn removal(document: &Document, blocks: &[Range<usize>]) -> Vec<Edit> {
    let remove = |blocks: &[Range<usize>]| {
        let block = blocks[0].start..blocks[blocks.len() - 1].end;
        let ends_file = !document.raw(block.end - 1).ends_with(b"\n");
        match block.start.checked_sub(1) {
            // The file had no final newline: the block added one to the line before it.
            Some(before) if ends_file => {
                let raw = document.raw(before);
                let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
                let text = raw.strip_suffix(b"\r").filter(|_| is_crlf(document, &block)).unwrap_or(raw);
                Edit { lines: before..block.end, text: text.to_vec() }
            }
            _ => Edit { lines: block, text: Vec::new() },
        }
    };
    // Blocks without a line between them are removed as one.
    blocks.chunk_by(|block, next| block.end == next.start).map(remove).collect()
}

fn is_crlf(document: &Document, block: &Range<usize>) -> bool {
    document.raw(block.start).ends_with(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_of_earlier_versions_are_recognised() {
        let earlier = "# symroute: begin (made by symroute-gen; 'symroute-gen --remove' takes it out)";
        let text = format!("iface eth0 inet dhcp\n    {earlier}\n    metric 20\n    {END}\n");
        let (blocks, diagnostics) = find(0, &Document::parse(text.into()));
        assert_eq!((blocks.first(), blocks.len(), diagnostics), (Some(&(1..4)), 1, Vec::new()));
        let earlier = earlier.replace("gen;", "gen --template /etc/mine.j2;");
        assert_eq!(template_of(earlier.as_bytes()), Some(&b"/etc/mine.j2"[..]));
        assert_eq!(template_of(begin_from("/etc/mine.j2").as_bytes()), Some(&b"/etc/mine.j2"[..]));
    }

    #[test]
    fn blocks_without_a_line_between_them_are_removed() {
        let block = format!("{BEGIN}\n metric 20\n{END}");
        for (before, end) in [("iface eth0 inet dhcp\n", "\n"), ("iface eth0 inet dhcp", ""), ("", "\n"), ("", "")] {
            let newline = if end.is_empty() && !before.is_empty() { "\n" } else { "" };
            let document = Document::parse(format!("{before}{newline}{block}\n{block}{end}").into());
            let edits = removal(&document, &find(0, &document).0);
            let left = document.edited(0..document.count(), &edits).collect::<Vec<_>>().concat();
            assert_eq!(left, before.as_bytes());
        }
    }
}
