//! Man pages, completions and documents compared with the programs.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../examples/completions.rs"]
mod completions;

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};

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

/// The text of a line of roff.
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
        "{page}, {what}:\n  paragraphs with these tags are missing: {missing:#?}\n  \
         the program does not have these: {unknown:#?}"
    );
}

#[test]
fn man_pages_and_programs_have_the_same_options_and_commands() {
    for name in ["symroute", "symroute-gen"] {
        let file = format!("man/{name}.8");
        let (page, program) = (read(&file), program(name));
        let expected: BTreeSet<String> = options(&program).iter().map(option_tag).collect();
        assert_same(&file, "OPTIONS", &tags(&page, "OPTIONS"), &expected);
        let global: BTreeSet<String> = program.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        let expected: BTreeSet<String> = program.get_subcommands().map(|it| command_tag(it, &global)).collect();
        assert_same(&file, "COMMANDS", &tags(&page, "COMMANDS"), &expected);
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
fn man_pages_mention_only_existing_options() {
    let longs: BTreeSet<String> = ["symroute", "symroute-gen"]
        .iter()
        .flat_map(|name| options(&program(name)))
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .collect();
    for file in ["man/symroute.8", "man/symroute-gen.8", "man/symroute-interfaces.5"] {
        for line in read(file).lines().filter(|line| !line.starts_with(".\\\"")) {
            for word in plain(line).split(|c: char| c != '-' && !c.is_ascii_alphanumeric()) {
                let option = word.starts_with("--") && word.len() > 2;
                assert!(!option || longs.contains(word), "{file}: the option {word} does not exist ('{line}')");
            }
        }
    }
}

#[test]
fn man_page_has_the_options_of_stanzas() {
    let known: BTreeSet<String> = include_str!("../src/interfaces/lint.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .filter(|name| *name == "symroute" || name.starts_with("symroute-"))
        .map(ToString::to_string)
        .collect();
    assert!(known.contains("symroute-gateway"), "the list of options has moved");
    let page = read("man/symroute-interfaces.5");
    let first = |tag: String| tag.split(' ').next().unwrap_or_default().to_string();
    let documented = tags(&page, "OPTIONS").into_iter().map(first).collect();
    assert_same("man/symroute-interfaces.5", "OPTIONS (first words)", &documented, &known);
}

#[test]
fn completions_match_the_programs() {
    let directory = tempfile::tempdir().unwrap();
    completions::write(directory.path()).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let mut files = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let text = std::fs::read_to_string(kept.join(entry.file_name())).unwrap_or_default();
        let is_kept = text == std::fs::read_to_string(entry.path()).unwrap();
        assert!(is_kept, "{:?} is old. Run 'cargo run --example completions'.", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 6);
}

/// Every transcript in docs/explain.md is part of the one that the test lab compares.
#[test]
fn explain_page_shows_tested_transcripts() {
    let compared = read("tests/fixtures/explain.transcript");
    let page = read("docs/explain.md");
    let shown: Vec<&str> = page.split("```\n").filter(|block| block.starts_with("# symroute explain ")).collect();
    assert!(shown.len() >= 2, "{} transcripts", shown.len());
    for transcript in shown {
        assert!(compared.contains(transcript), "not in tests/fixtures/explain.transcript:\n{transcript}");
    }
}

/// Links between documents have an existing file and heading as their target.
#[test]
fn links_in_documents_have_targets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let in_findings = std::fs::read_dir(root.join("docs/findings")).unwrap().map(|entry| entry.unwrap().path());
    let top = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name));
    let is_page = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let mut links = 0;
    for page in in_docs.chain(in_findings).chain(top).filter(is_page) {
        let text = std::fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let target_page = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target_page.exists(), "{}: {target} does not exist", page.display());
            let anchor =
                |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace('`', "").replace(' ', "-");
            let has = |text: String| text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            let known = heading.is_empty() || has(std::fs::read_to_string(&target_page).unwrap());
            assert!(known, "{}: {target} has no such heading", page.display());
            links += 1;
        }
    }
    assert!(links > 40, "{links} links");
    let index = read("docs/README.md");
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_named = name == "README.md" || name.ends_with(".svg") || index.contains(&format!("({name})"));
        assert!(is_named, "docs/README.md does not have {name}");
    }
}

/// The names in all objects of a document, without those in lists that the file defines.
fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                if key != "lists" {
                    keys(value, found);
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn keys_of_json_are_documented() {
    let root = root();
    let page = read("docs/json.md");
    for (program, command, least) in
        [("symroute", &["plan"][..], 25), ("symroute", &["config"], 15), ("symroute-gen", &[], 30)]
    {
        let ran = run(program, &[&["--root", root.path().to_str().unwrap()], command, &["--json"]].concat());
        let mut found = BTreeSet::new();
        keys(&serde_json::from_str(&ran.1).unwrap(), &mut found);
        assert!(found.len() >= least, "{program} {command:?}: {found:?}");
        let is_missing = |key: &&String| !page.contains(&format!("`{key}`")) && !page.contains(&format!("\"{key}\":"));
        let missing: Vec<&String> = found.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "docs/json.md does not have these of {program} {command:?}: {missing:?}");
    }
}

/// Every file with the version has the same version.
#[test]
fn all_files_have_one_version() {
    let changelog = read("debian/changelog");
    let first = changelog.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("symroute ({}) ", env!("CARGO_PKG_VERSION"))),
        "Cargo.toml has version {}, debian/changelog begins with '{first}'",
        env!("CARGO_PKG_VERSION")
    );
    let changes = read("CHANGELOG.md");
    let heading = changes.lines().find(|line| line.starts_with("## ")).unwrap_or_default();
    assert!(heading.starts_with(&format!("## {}", env!("CARGO_PKG_VERSION"))), "CHANGELOG.md begins with '{heading}'");
}

fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let file = match program {
        "symroute" => env!("CARGO_BIN_EXE_symroute"),
        _ => env!("CARGO_BIN_EXE_symroute-gen"),
    };
    let output = std::process::Command::new(file).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A root whose interfaces file has two uplinks, and a line that is wider than the column of line numbers.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/network/if-up.d")).unwrap();
    let wide = "    up echo a line that is much wider than the column\n";
    let text = read("tests/fixtures/two-uplinks.interfaces") + wide;
    std::fs::write(root.path().join("etc/network/interfaces"), text).unwrap();
    root
}

#[test]
fn quiet_prints_nothing() {
    let root = root();
    let of_root = ["--root", root.path().to_str().unwrap()];
    for (program, arguments, code) in [
        ("symroute", &["plan"][..], 0),
        ("symroute", &["config"], 0),
        ("symroute-gen", &[], 0),
        ("symroute-gen", &["--check"], 1),
    ] {
        let loud = run(program, &[&of_root, arguments].concat());
        assert!(loud.0 == Some(code) && !loud.1.is_empty(), "{program} {arguments:?}: {loud:?}");
        let quiet = run(program, &[&of_root[..], &["--quiet"], arguments].concat());
        assert_eq!(quiet, (Some(code), String::new(), String::new()), "{program} {arguments:?}");
    }
}

#[test]
fn config_puts_the_place_after_wide_lines() {
    let root = root();
    let of_root = ["--root", root.path().to_str().unwrap()];
    let config = run("symroute", &[&of_root[..], &["config"]].concat()).1;
    let line = config.lines().find(|line| line.contains("much wider than the column")).unwrap();
    assert!(line.contains("column # "), "{line}");
}

/// As 'ip -j' prints it if rt_protos.d/symroute.conf is installed.
#[test]
fn plan_names_the_protocol_in_json() {
    let root = root();
    let of_root = ["--root", root.path().to_str().unwrap()];
    let plan = run("symroute", &[&of_root[..], &["plan", "--json"]].concat()).1;
    assert!(plan.contains(r#""protocol": "symroute""#) && !plan.contains(r#""protocol": "97""#), "{plan}");
}

#[test]
fn commands_that_read_no_files_reject_an_interfaces_file() {
    for arguments in [&["explain", "--to", "203.0.113.1"][..], &["flush", "--dry-run"]] {
        let ran = run("symroute", &[&["--interfaces", "/nowhere"], arguments].concat());
        assert!(ran.0 == Some(2) && ran.2.contains("reads no configuration"), "{ran:?}");
    }
}

/// The message says whether the installed rules are removed after their lines are.
#[test]
fn removal_names_the_next_command() {
    for (style, hooks, message) in [
        ("iproute2", false, "'symroute flush'"),
        ("iproute2", true, "'symroute no'"),
        ("article", false, "not tagged with protocol 97"),
    ] {
        let root = root();
        let of_root = ["--root", root.path().to_str().unwrap()];
        assert_eq!(run("symroute-gen", &[&of_root[..], &["--write", "--style", style]].concat()).0, Some(0));
        if hooks {
            std::fs::write(root.path().join("etc/network/if-up.d/symroute"), "").unwrap();
        }
        let ran = run("symroute-gen", &[&of_root[..], &["--remove", "--write"]].concat());
        assert!(ran.0 == Some(0) && ran.1.contains(message), "{style} {hooks}: {ran:?}");
    }
}
