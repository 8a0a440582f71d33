//! Complete outputs, word for word.

use std::fs;
use std::path::Path;
use std::process::Command;

use symroute::rewrite::template::STYLES;

use super::{TWO, generate, in_root, root, text};

/// The transcript in README.md, and the part of the file that it shows.
#[test]
fn readme_matches_the_written_file() {
    let root = root(TWO, &[]);
    let output = in_root(&root, &["--write"]);
    let printed = text(&output.stdout).replace(root.path().to_str().unwrap(), "");
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("# symroute-gen --write\n{printed}```\n")), "README.md:\n{printed}");
    let written = fs::read_to_string(root.path().join("etc/network/interfaces")).unwrap();
    let shown = readme.split("```\n").find(|block| block.starts_with("iface eth1 inet static\n")).unwrap();
    let (begin, end) = shown.split_once("    ...\n").unwrap();
    assert!(written.contains(begin) && written.contains(end), "README.md:\n{written}");
}

#[test]
fn lines_of_the_article_match_the_fixture() {
    let input = include_bytes!("../fixtures/article.interfaces");
    let output = generate(&["--layout", "article", "--style", "article", "-"], input);
    assert_eq!(text(&output.stdout), include_str!("../fixtures/article.expected"));
    assert_eq!(output.status.code(), Some(0));
    let back = generate(&["--remove", "-"], &output.stdout);
    assert_eq!(back.stdout, input);
}

#[test]
fn each_style_matches_its_fixture() {
    for (name, _) in STYLES {
        let output = generate(&["--style", name, "-"], TWO.as_bytes());
        let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/two-uplinks.{name}"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &output.stdout).unwrap();
        }
        assert_eq!(text(&output.stdout), fs::read_to_string(expected).unwrap(), "{name}");
    }
}

/// The complete plans of other servers.
#[test]
fn plans_match_their_fixtures() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plans");
    let mut compared = 0;
    for entry in
        fs::read_dir(&directory).unwrap().map(Result::unwrap).filter(|entry| entry.path().extension().is_none())
    {
        // The root is not the host's, so the kernel is not read.
        let root = root(&fs::read_to_string(entry.path()).unwrap(), &[]);
        let output = Command::new(env!("CARGO_BIN_EXE_symroute"))
            .args(["plan", "--root", root.path().to_str().unwrap()])
            .output()
            .unwrap();
        let printed = text(&output.stderr).replace(root.path().to_str().unwrap(), "") + &text(&output.stdout);
        let expected = entry.path().with_extension("plan");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &printed).unwrap();
        }
        assert_eq!(printed, fs::read_to_string(&expected).unwrap(), "{}", entry.path().display());
        compared += 1;
    }
    assert_eq!(compared, 10);
}
