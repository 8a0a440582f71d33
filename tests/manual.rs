//! What users read about the programs, held against what the programs are: man pages, completions, versions.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn program(name: &str) -> Command {
    let mut command = match name {
        "symroute" => symroute::cli::symroute::Arguments::command(),
        _ => symroute::cli::generate::Arguments::command(),
    };
    command.build();
    command
}

/// A tagged paragraph of a man page.
struct Paragraph {
    section: String,
    tag: String,
    text: String,
}

/// A line of roff as it is read.
fn plain(line: &str) -> String {
    let mut text = line.to_string();
    for (code, meaning) in [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\-", "-"), ("\\&", "")] {
        text = text.replace(code, meaning);
    }
    let Some(request) = text.strip_prefix('.') else { return text };
    let (_, arguments) = request.split_once(' ').unwrap_or_default();
    arguments.replace('"', "")
}

fn paragraphs(page: &str) -> Vec<Paragraph> {
    let (mut section, mut found, mut depth) = (String::new(), Vec::<Paragraph>::new(), 0);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        match line.split(' ').next().unwrap_or_default() {
            ".SH" => section = plain(line),
            ".RS" => depth += 1,
            ".RE" => depth -= 1,
            ".TP" if depth == 0 => {
                let tag = plain(lines.next().unwrap_or_default());
                found.push(Paragraph { section: section.clone(), tag, text: String::new() });
                continue;
            }
            _ => {}
        }
        if let Some(last) = found.last_mut().filter(|last| last.section == section) {
            last.text += &plain(line);
            last.text.push('\n');
        }
    }
    found
}

fn tags(page: &str, section: &str) -> BTreeSet<String> {
    paragraphs(page).into_iter().filter(|it| it.section == section).map(|it| it.tag).collect()
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn value(arg: &Arg) -> String {
    arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default()
}

/// `-i, --interfaces FILE`
fn option_tag(arg: &Arg) -> String {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let mut tag = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if takes_value(arg) {
        tag += &format!(" {}", value(arg));
    }
    tag
}

/// `up [--dry-run] IFACE...`
fn command_tag(command: &Command, global: &BTreeSet<String>) -> String {
    if command.get_name() == "help" {
        return "help [COMMAND]".to_string();
    }
    let mut words = vec![command.get_name().to_string()];
    for arg in command.get_arguments().filter(|arg| !arg.is_positional() && !global.contains(arg.get_id().as_str())) {
        let tag = option_tag(arg);
        let name = tag.rsplit(", ").next().unwrap_or_default();
        words.push(if arg.is_required_set() { name.to_string() } else { format!("[{name}]") });
    }
    for arg in command.get_positionals() {
        let many = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
        let name = format!("{}{many}", value(arg));
        words.push(if arg.is_required_set() { name } else { format!("[{name}]") });
    }
    words.join(" ")
}

/// Options of the program and of all its commands.
fn options(command: &Command) -> Vec<Arg> {
    let own = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).cloned();
    let below = command.get_subcommands().filter(|below| below.get_name() != "help").flat_map(options);
    own.chain(below).collect()
}

fn assert_same(page: &str, what: &str, in_page: &BTreeSet<String>, in_program: &BTreeSet<String>) {
    let missing: Vec<_> = in_program.difference(in_page).collect();
    let unknown: Vec<_> = in_page.difference(in_program).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page}, {what}:\n  a paragraph with each of these tags is wanted: {missing:#?}\n  \
         these tags are there, and the program has no such thing: {unknown:#?}"
    );
}

#[test]
fn man_pages_and_programs_have_the_same_options_and_commands() {
    for name in ["symroute", "symroute-gen"] {
        let file = format!("man/{name}.8");
        let (page, program) = (read(&file), program(name));
        let wanted: BTreeSet<String> = options(&program).iter().map(option_tag).collect();
        assert_same(&file, "OPTIONS", &tags(&page, "OPTIONS"), &wanted);
        let global: BTreeSet<String> = program.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        let wanted: BTreeSet<String> = program.get_subcommands().map(|it| command_tag(it, &global)).collect();
        assert_same(&file, "COMMANDS", &tags(&page, "COMMANDS"), &wanted);
    }
}

#[test]
fn man_pages_name_every_value_and_default() {
    for name in ["symroute", "symroute-gen"] {
        let page = read(&format!("man/{name}.8"));
        let paragraphs = paragraphs(&page);
        for arg in options(&program(name)).iter().filter(|arg| takes_value(arg)) {
            let tag = option_tag(arg);
            let paragraph = paragraphs.iter().find(|it| it.tag == tag).unwrap_or_else(|| panic!("{name}.8: no {tag}"));
            let values = arg.get_possible_values().iter().map(|it| it.get_name().to_string()).collect::<Vec<_>>();
            let shown = |_: &&std::ffi::OsStr| !arg.is_hide_default_value_set();
            let defaults = arg
                .get_default_values()
                .iter()
                .map(|it| &**it)
                .filter(shown)
                .map(|it| it.to_string_lossy().into_owned());
            for word in values.into_iter().chain(defaults) {
                let words: Vec<_> = paragraph
                    .text
                    .split_whitespace()
                    .map(|it| it.trim_matches([',', '.', ';', ':', ')', '(']))
                    .collect();
                assert!(words.contains(&&word[..]), "man/{name}.8, {tag}: '{word}' is not named");
            }
        }
    }
}

#[test]
fn every_option_and_command_that_texts_mention_exists() {
    let longs: BTreeSet<String> = ["symroute", "symroute-gen"]
        .iter()
        .flat_map(|name| options(&program(name)))
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .collect();
    for file in ["man/symroute.8", "man/symroute-gen.8", "man/symroute-interfaces.5"] {
        for line in read(file).lines().filter(|line| !line.starts_with(".\\\"")) {
            for word in plain(line).split(|c: char| c != '-' && !c.is_ascii_alphanumeric()) {
                let option = word.starts_with("--") && word.len() > 2;
                assert!(!option || longs.contains(word), "{file}: there is no option {word} ('{line}')");
            }
        }
    }
}

#[test]
fn man_page_of_the_options_in_a_stanza() {
    let known: BTreeSet<String> = include_str!("../src/interfaces/lint.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .filter(|name| *name == "symroute" || name.starts_with("symroute-"))
        .map(ToString::to_string)
        .collect();
    assert!(known.contains("symroute-gateway"), "the list of options is elsewhere now");
    let page = read("man/symroute-interfaces.5");
    let first = |tag: String| tag.split(' ').next().unwrap_or_default().to_string();
    let documented = tags(&page, "OPTIONS").into_iter().map(first).collect();
    assert_same("man/symroute-interfaces.5", "OPTIONS (first words)", &documented, &known);
}

#[test]
fn completions_are_those_of_the_programs() {
    for name in ["symroute", "symroute-gen"] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut made = Vec::new();
            clap_complete::generate(shell, &mut program(name), name, &mut made);
            let file = match shell {
                Shell::Zsh => format!("completions/_{name}"),
                other => format!("completions/{name}.{other}"),
            };
            let kept = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap_or_default();
            assert!(kept == made, "{file} is stale: 'cargo run --example completions' makes it anew");
        }
    }
}

/// Every file of the package that names the version names the same.
#[test]
fn one_version() {
    let changelog = read("debian/changelog");
    let first = changelog.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("symroute ({}) ", env!("CARGO_PKG_VERSION"))),
        "Cargo.toml has version {}, debian/changelog begins with '{first}'",
        env!("CARGO_PKG_VERSION")
    );
}
