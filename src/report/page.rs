//! The page of a finding, for a terminal.

use super::columns::paragraph;

/// The Markdown of a page as plain text of `width` columns. Indented lines are not changed.
pub fn page_text(markdown: &str, width: usize) -> String {
    let mut out = String::new();
    let mut block: Vec<&str> = Vec::new();
    for line in markdown.lines().chain([""]) {
        let begins = line.is_empty() || line.starts_with(['#', '|']) || line.starts_with("    ") || is_item(line);
        if begins && !block.is_empty() {
            out += &block_text(&block.join(" "), width);
            block.clear();
        }
        match line {
            "" => out.push('\n'),
            _ if line.starts_with("    ") => out += &format!("{line}\n"),
            _ if line.starts_with('#') => out += &format!("{}\n", plain(line.trim_start_matches('#').trim())),
            _ => block.push(line.trim()),
        }
    }
    out.trim_end().to_string() + "\n"
}

fn is_item(line: &str) -> bool {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.starts_with("- ") || number.len() < line.len() && number.starts_with(". ")
}

fn block_text(text: &str, width: usize) -> String {
    let begin = match text.split_once(' ') {
        Some((mark, _)) if is_item(text) => format!("{mark} "),
        _ => String::new(),
    };
    paragraph(&begin, &plain(&text[begin.len()..]), width)
}

/// The text without the marks for code and links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(middle) = rest.find("](") {
        let open = rest[..middle].rfind('[');
        let end = rest[middle..].find(')').map(|end| middle + end);
        let (Some(open), Some(end)) = (open, end) else { break };
        out += &rest[..open];
        out += &rest[open + 1..middle];
        rest = &rest[end + 1..];
    }
    (out + rest).replace('`', "'").replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_markdown() {
        let markdown = "# an-id\n\nA `rule` that [the page](a.md) names,\nagain and again.\n\n- one\n  two\n- three\n\n    ip `rule`\n";
        let text = "an-id\n\nA 'rule' that the page names,\nagain and again.\n\n- one two\n- three\n\n    ip `rule`\n";
        assert_eq!(page_text(markdown, 30), text);
        assert_eq!(plain("[ -n x ] or [a](b) and [c"), "[ -n x ] or a and [c");
    }

    #[test]
    fn every_page_fits() {
        for id in crate::check::finding::ids() {
            let page = page_text(&crate::check::finding::page(id).unwrap(), 80);
            let too_wide = page.lines().find(|line| !line.starts_with("    ") && line.chars().count() > 80);
            assert_eq!(too_wide, None, "{id}");
            assert!(page.starts_with(id) && !page.contains("]("), "{id}: {page}");
        }
    }
}
