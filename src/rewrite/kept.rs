//! The present blocks of a file: the kind of their lines, and foreign lines in them.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bstr::ByteSlice;

use crate::commands::{Object, commands};
use crate::interfaces::block::template_of;
use crate::interfaces::grammar::{Statement, statement};
use crate::interfaces::{Config, Diagnostic, Document, Location};

/// The source of the lines of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// By its name for `--style`.
    Style(&'static str),
    /// A custom template, with the marker that names it.
    Template { path: PathBuf, location: Location },
}

/// The kind of the first block that has one; the lines of an uplink with a lease are the same in every style.
pub fn kind(config: &Config) -> Option<Kind> {
    let files = config.files.iter().enumerate();
    let mut blocks = files.flat_map(|(file, read)| read.blocks.iter().map(move |block| (file, &read.document, block)));
    blocks.find_map(|(file, document, block)| {
        if let Some(path) = template_of(document.raw(block.start)) {
            let path = PathBuf::from(OsStr::from_bytes(path));
            return Some(Kind::Template { path, location: Location::new(file, block.start) });
        }
        style(document, block).map(Kind::Style)
    })
}

fn style(document: &Document, block: &Range<usize>) -> Option<&'static str> {
    let lines = inner(block).map(|line| document.text(line));
    let commands: Vec<&[u8]> = lines.filter(|line| is_command(line)).collect();
    let has_word = |word: &str| commands.iter().any(|line| line.contains_str(word));
    match () {
        () if commands.is_empty() => Some("hook"),
        () if has_word(" proto 97") || has_word(" protocol 97") => Some("iproute2"),
        () if has_word("ip route ") || has_word("ip -6 route ") || has_word("ip rule ") || has_word("ip -6 rule ") => {
            Some("article")
        }
        () => None,
    }
}

/// Foreign lines inside blocks: a write would lose them.
pub fn foreign_lines(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (file, read) in config.files.iter().enumerate() {
        for block in &read.blocks {
            let from_template = template_of(read.document.raw(block.start)).is_some();
            let tables = tables(&read.document, block);
            for line in inner(block) {
                let text = read.document.text(line);
                let is_ours = match statement(text) {
                    Statement::Option { .. } if from_template => true,
                    Statement::Option { name, value } => is_ours(name, value, &tables),
                    Statement::Nothing => from_template,
                    _ => false,
                };
                if !is_ours {
                    found.push(Diagnostic::error(
                        Location::new(file, line),
                        b"",
                        "this line in the block was not written by symroute-gen; replacing the block would remove it",
                        "Move the line out of the block: above 'symroute: begin' or below 'symroute: end'.",
                    ));
                }
            }
        }
    }
    found
}

/// The lines between the two markers.
fn inner(block: &Range<usize>) -> Range<usize> {
    block.start + 1..block.end - 1
}

fn is_command(line: &[u8]) -> bool {
    matches!(
        statement(line),
        Statement::Option { name: b"up" | b"post-up" | b"down" | b"pre-down" | b"pre-up" | b"post-down", .. }
    )
}

/// The tables of the block's routes and rules: that of its uplink, or none for a block that only sets a metric. If a
/// stanza has several gateways, its block has the lines of several uplinks.
fn tables(document: &Document, block: &Range<usize>) -> Vec<String> {
    let mut tables: Vec<String> = Vec::new();
    let mut first = None;
    for line in inner(block) {
        let text = document.text(line);
        let Statement::Option { name: b"post-up", value } = statement(text) else { continue };
        // The cache is flushed after the routes and rules of each uplink.
        if value.starts_with(b"ip route flush cache") {
            tables.push("main".into());
            tables.extend(first.take());
            continue;
        }
        for command in commands(&value.to_str_lossy(), &|_| None) {
            let table = command.get("table").filter(|table| *table != "main" && command.object != Object::Address);
            first = first.or(table.map(str::to_string));
        }
    }
    tables
}

/// Can symroute-gen have written this line, in any of its styles?
fn is_ours(name: &[u8], value: &[u8], tables: &[String]) -> bool {
    match name {
        b"metric" => value.iter().all(u8::is_ascii_digit),
        b"symroute-layout" => matches!(value, b"layered" | b"article"),
        b"post-up" | b"pre-down" => is_our_command(&value.to_str_lossy(), tables),
        _ => false,
    }
}

fn is_our_command(line: &str, tables: &[String]) -> bool {
    let tagged = [" proto 97", " protocol 97", "symroute up \"$IFACE\"", "symroute down \"$IFACE\""];
    let group = line.contains("ip link set dev ") && line.contains(" group ") && line.contains("$(ip link show dev ");
    // A route of another uplink through this interface, in that uplink's table.
    let lent = line.starts_with("! ip ") && line.contains(" rule show table ") && line.contains(" route replace ");
    if tagged.iter().any(|word| line.contains(word)) || group || lent {
        return true;
    }
    let commands = commands(line, &|_| None);
    let flushes_cache = matches!(line, "ip route flush cache" | "ip route flush cache || true");
    let is_of_block = |table: Option<&str>| table.is_some_and(|table| tables.iter().any(|known| known == table));
    flushes_cache
        || !commands.is_empty()
            && commands.iter().all(|command| command.object != Object::Address && is_of_block(command.get("table")))
}
