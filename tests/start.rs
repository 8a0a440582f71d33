//! How the programs start.

#![allow(clippy::expect_used)]

use std::process::Command;

/// The exit code, and what it printed.
fn sh(script: &str) -> (Option<i32>, String) {
    let output = Command::new("sh").args(["-c", script]).env("PROGRAM", env!("CARGO_BIN_EXE_symroute")).output();
    let output = output.expect("a shell");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A closed standard stream is `/dev/null`, an empty file. The file that is opened first does not take its place.
#[test]
fn closed_streams_are_empty_files() {
    for (stream, closed) in [("stdin", "<&-"), ("stdout", ">&-"), ("stderr", "2>&-")] {
        let (code, text) = sh(&format!("\"$PROGRAM\" -i /dev/{stream} plan {closed}"));
        assert_eq!(code, Some(0), "{stream}: {text}");
    }
    let (code, text) = sh("\"$PROGRAM\" -i /dev/stdin plan <&- >&- 2>&-");
    assert_eq!((code, &text[..]), (Some(0), ""));
}

/// It ends without a signal, and without a message.
#[test]
fn a_closed_pipe_is_no_error() {
    for command in ["plan -i /dev/null", "--help", "config -i /dev/null --json"] {
        let (_, text) = sh(&format!("{{ sleep 0.2; \"$PROGRAM\" {command}; echo $? >&2; }} | :"));
        assert_eq!(text, "0\n", "{command}");
    }
}

/// The name that it is called by decides what it does.
#[test]
fn the_other_name_is_the_other_program() {
    let (code, text) =
        sh("\"$PROGRAM\" --version; \"$PROGRAM\"-gen --version; \"$PROGRAM\"-gen --nonsense 2>/dev/null");
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((code, &names[..]), (Some(2), &["symroute", "symroute-gen"][..]), "{text}");
}
