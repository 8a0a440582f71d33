//! symroute-gen as a program: complete outputs, the three laws over many files, replaced files, and errors.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod blocks;
mod errors;
mod files;
#[path = "../../fuzz/laws.rs"]
mod laws;
mod properties;
mod transcripts;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use symroute::interfaces::{Config, Dialect};
use symroute::system::files::Root;
use tempfile::TempDir;

pub fn generate(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_symroute-gen"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that rejects its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A root with only an interfaces file and these other files.
pub fn root(interfaces: &str, others: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("etc/network/interfaces.d")).unwrap();
    for (path, text) in others.iter().chain(&[("etc/network/interfaces", interfaces)]) {
        fs::write(root.path().join(path), text).unwrap();
    }
    root
}

pub fn in_root(root: &TempDir, arguments: &[&str]) -> Output {
    let path = root.path().to_str().unwrap();
    generate(&[&["--root", path], arguments].concat(), b"")
}

pub const TWO: &str = include_str!("../fixtures/two-uplinks.interfaces");

pub fn read(bytes: &[u8]) -> Config {
    read_as(bytes, Dialect::Ifupdown)
}

/// Reads only this file: the root does not exist.
pub fn read_as(bytes: &[u8], dialect: Dialect) -> Config {
    let alone = Root::new(Path::new("/nonexistent"));
    Config::parse(Path::new("/etc/network/interfaces"), bytes.to_vec(), &alone, dialect)
}
