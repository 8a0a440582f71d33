//! Writes the completions of the shells: `cargo run --example completions`. The directory completions/ has them, so
//! that the build of a package needs only the compiler. tests/manual.rs fails if they are old.
//!
//! clap does not know interfaces. This program adds the names that the kernel has.

#![allow(clippy::expect_used)]

use std::path::Path;

use clap_complete::{Shell, generate_to};

/// Commands that take names of interfaces.
const WITH_INTERFACES: [&str; 5] = ["up", "down", "status", "plan", "check"];

#[allow(dead_code)] // tests/manual.rs does not call it.
fn main() -> std::io::Result<()> {
    write(Path::new("completions"))
}

/// Writes all completions into a directory.
pub fn write(there: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = generate_to(shell, &mut symroute::cli::symroute::command_for_completions(), "symroute", there)?;
        let text = with_interfaces(shell, std::fs::read_to_string(&path)?);
        std::fs::write(&path, text)?;
        generate_to(shell, &mut symroute::cli::generate::command(), "symroute-gen", there)?;
    }
    Ok(())
}

fn with_interfaces(shell: Shell, mut text: String) -> String {
    for name in WITH_INTERFACES {
        match shell {
            Shell::Bash => {
                let begin = format!("        symroute__subcmd__{name})\n            opts=\"");
                let names = format!("{begin}$(command ls /sys/class/net 2>/dev/null) ");
                text = replaced(&text, &begin, &names);
            }
            Shell::Fish => {
                text += &format!(
                    "complete -c symroute -n \"__fish_symroute_using_subcommand {name}\" -f -a '(command ls /sys/class/net 2>/dev/null)'\n"
                );
            }
            _ => {}
        }
    }
    match shell {
        Shell::Zsh => text.lines().map(|line| format!("{}\n", zsh_line(line))).collect(),
        _ => text,
    }
}

fn zsh_line(line: &str) -> String {
    if line.starts_with("'*::names") { replaced(line, ":_default'", ":_net_interfaces'") } else { line.to_string() }
}

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "clap_complete writes no '{old}' any more");
    text.replacen(old, new, 1)
}
