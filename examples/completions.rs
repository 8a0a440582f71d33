//! Writes the shells' completions: `cargo run --example completions`. They are kept in completions/, so that
//! building a package runs nothing but the compiler; tests/manual.rs says when they are stale.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

fn main() -> std::io::Result<()> {
    let there = std::env::args_os().nth(1).unwrap_or("completions".into());
    let there = Path::new(&there);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut symroute::cli::symroute::Arguments::command(), "symroute", there)?;
        generate_to(shell, &mut symroute::cli::generate::Arguments::command(), "symroute-gen", there)?;
    }
    Ok(())
}
