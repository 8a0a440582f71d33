//! Text in columns, for terminals of 80 columns.

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A column: its heading and its alignment.
pub type Column = (&'static str, Align);

/// The heading and the rows, each ended by a newline; empty columns are omitted. The last column is not padded.
pub fn columns(columns: &[Column], rows: &[Vec<String>]) -> String {
    let is_used = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
    let used: Vec<usize> = (0..columns.len()).filter(is_used).collect();
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_string()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for row in &lines {
        let cell = |column: &usize| {
            let (text, width) = (&row[*column], widths[*column]);
            match columns[*column].1 {
                _ if Some(column) == used.last() => text.clone(),
                Align::Left => format!("{text:width$}"),
                Align::Right => format!("{text:>width$}"),
            }
        };
        let line: Vec<String> = used.iter().map(cell).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// `text` in lines of `width`: the first one after `label`, the others indented by its width.
pub fn paragraph(label: &str, text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut line = label.to_string();
    let indent = line.chars().count();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() > width && line.chars().count() > indent {
            out += line.trim_end();
            out.push('\n');
            line = " ".repeat(indent);
        }
        line.push_str(word);
        line.push(' ');
    }
    out += line.trim_end();
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_and_omits_empty_columns() {
        let row = |cells: [&str; 4]| cells.map(String::from).to_vec();
        let of = [("NAME", Align::Left), ("TABLE", Align::Right), ("NOTHING", Align::Left), ("STATE", Align::Left)];
        let text = columns(&of, &[row(["eth0", "1", "", "ok"]), row(["enp1s0f0", "1000000", "", ""])]);
        assert_eq!(text, "NAME        TABLE  STATE\neth0            1  ok\nenp1s0f0  1000000\n");
        assert_eq!(columns(&of, &[]), "\n");
    }

    #[test]
    fn paragraphs_stay_inside_their_width() {
        let text = paragraph("  fix  ", "one two three four five", 17);
        assert_eq!(text, "  fix  one two\n       three four\n       five\n");
        assert_eq!(paragraph("  ", "https://a-word-that-is-too-long", 10), "  https://a-word-that-is-too-long\n");
    }
}
