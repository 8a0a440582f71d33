//! What a second run keeps: tables and priorities, styles, layouts and templates.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use symroute::interfaces::{Config, Dialect};
use symroute::system::files::Root;

use super::{TWO, generate, in_root, read, root, text};

#[test]
fn a_new_stanza_keeps_all_numbers() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let before = fs::read_to_string(&file).unwrap();
    let more = "auto eth5\niface eth5 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n\n";
    fs::write(&file, more.to_string() + &before).unwrap();
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let after = fs::read_to_string(&file).unwrap();
    for line in before.lines() {
        assert!(after.contains(line), "gone: {line}");
    }
    assert!(after.contains("table 3 priority 121"), "{after}");
}

/// A block of an earlier version is replaced, and keeps its table and priorities.
#[test]
fn an_older_block_keeps_its_numbers() {
    let root = root(include_str!("../fixtures/three-rules.interfaces"), &[]);
    let file = root.path().join("etc/network/interfaces");
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(1));
    assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
    let after = fs::read_to_string(&file).unwrap();
    let rules = |text: &str| -> Vec<String> {
        let added = text.lines().filter_map(|line| line.split("|| ").find(|word| word.starts_with("ip rule add")));
        added.map(String::from).collect()
    };
    assert_eq!(
        rules(&after),
        [
            "ip rule add from 192.0.2.10 table main priority 300 suppress_prefixlength 1 suppress_ifgroup 97 protocol 97",
            "ip rule add from 192.0.2.10 table 7 priority 301 protocol 97",
            "ip rule add oif eth0 table 7 priority 303 protocol 97",
            "ip rule add from 198.51.100.10 table main priority 250 suppress_prefixlength 1 suppress_ifgroup 97 protocol 97",
            "ip rule add from 198.51.100.10 table 9 priority 251 protocol 97",
            "ip rule add oif eth1 table 9 priority 253 protocol 97",
        ]
    );
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0));
}

#[test]
fn a_custom_template_is_rendered() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("mine.j2");
    let with = |template: &str| {
        fs::write(&file, template).unwrap();
        generate(&["--template", file.to_str().unwrap(), "-"], TWO.as_bytes())
    };
    let output =
        with("{% if owner %}post-up logger {{ interface }} {{ family }} {{ table }} {{ gateway }}{% endif %}\n");
    assert!(text(&output.stdout).contains("    post-up logger eth1 inet 2 198.51.100.1\n"), "{}", text(&output.stdout));
    for (wrong, why) in
        [("{% if %}", "mine.j2:1"), ("post-up {{ nonsense }}", "mine.j2:1"), ("iface eth9 inet dhcp", "not an option")]
    {
        let output = with(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

/// The style and layout of the last run are kept, also for new stanzas.
#[test]
fn style_and_layout_are_kept() {
    let more = "\nauto eth5\niface eth5 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n";
    for style in ["iproute2", "article", "hook"] {
        for layout in ["layered", "article"] {
            let root = root(TWO, &[]);
            let file = root.path().join("etc/network/interfaces");
            let chosen = ["--style", style, "--layout", layout];
            assert_eq!(in_root(&root, &[&["--write"], &chosen[..]].concat()).status.code(), Some(0));
            let written = fs::read_to_string(&file).unwrap();
            assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0), "{style} {layout}");
            assert_eq!(in_root(&root, &["--write"]).status.code(), Some(0));
            assert_eq!(fs::read_to_string(&file).unwrap(), written, "{style} {layout}");
            fs::write(&file, written + more).unwrap();
            let chosen = in_root(&root, &[&["--json"], &chosen[..]].concat());
            let plain = in_root(&root, &["--json"]);
            assert_eq!(text(&plain.stdout), text(&chosen.stdout), "{style} {layout}");
            // Options still select another style and layout.
            assert_eq!(
                in_root(&root, &["--write", "--style", "iproute2", "--layout", "layered"]).status.code(),
                Some(0)
            );
            let fresh = text(&generate(&["-"], (TWO.to_string() + more).as_bytes()).stdout);
            assert_eq!(fs::read_to_string(&file).unwrap(), fresh, "{style} {layout}");
        }
    }
}

#[test]
fn a_custom_template_is_kept() {
    let root = root(TWO, &[]);
    let file = root.path().join("etc/network/interfaces");
    let template = root.path().join("mine.j2");
    fs::write(&template, "post-up logger {{ interface }} {{ table }}\n# of mine\n").unwrap();
    let path = template.to_str().unwrap();
    assert_eq!(in_root(&root, &["--write", "--template", path]).status.code(), Some(0));
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("post-up logger eth1 2"), "{written}");
    assert_eq!(in_root(&root, &["--check"]).status.code(), Some(0));
    fs::remove_file(&template).unwrap();
    let output = in_root(&root, &["--write"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains(path) && text(&output.stderr).contains("--style"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    assert_eq!(in_root(&root, &["--remove", "--write"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), TWO);
}

/// The memory for a chain of stanzas that inherit from each other grows with the file.
#[test]
fn a_chain_of_inheritance_needs_little_memory() {
    let links = |n: usize| format!("iface t{n} inet static inherits t{}\n mtu 1400\n", n - 1);
    let chain = "iface t0 inet static\n mtu 1400\n".to_string() + &(1..4000).map(links).collect::<String>();
    let config = read(chain.as_bytes());
    assert!(!config.is_invalid());
    assert_eq!(config.entries(config.stanzas.last().unwrap()).count(), 4000);
    let memory = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = memory.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages < 30_000, "{pages} pages");
    // Dropping it needs no recursion of that depth.
    let long = "iface t0 inet manual\n".to_string() + &(1..30_000).map(links).collect::<String>();
    drop(Config::parse(Path::new("/f"), long.into(), &Root::new(Path::new("/nonexistent")), Dialect::IfupdownNg));
}
