//! The dependencies between modules, and what docs/architecture.md says about them.

#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of the project")
}

/// A module may use the modules before it in this list, and none after it.
const LAYERS: [&str; 17] = [
    "sort",
    "interfaces",
    "commands",
    "network",
    "uplinks",
    "policy",
    "handwritten",
    "rewrite",
    "check",
    "observe",
    "report",
    "netlink",
    "system",
    "capture",
    "apply",
    "watch",
    "cli",
];

/// The files of a crate by their module path, `policy::numbers`.
struct Crate {
    files: BTreeMap<Vec<String>, PathBuf>,
}

impl Crate {
    fn read(root: &Path) -> Crate {
        let mut files = BTreeMap::new();
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    files.insert(module(path.strip_prefix(root).expect("a path below the root")), path);
                }
            }
        }
        Crate { files }
    }

    /// The file of a path: the longest module path at its beginning.
    fn file<'a>(&self, path: &'a [String]) -> Option<&'a [String]> {
        (1..=path.len()).rev().map(|length| &path[..length]).find(|path| self.files.contains_key(*path))
    }

    /// The files of the crate that each file imports, without those of tests.
    fn imports(&self) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
        let mut imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
        for (module, path) in self.files.iter().filter(|(module, _)| !is_test(module)) {
            let text = fs::read_to_string(path).expect("a source file");
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let used = paths(text).into_iter().filter_map(|path| absolute(module, path, self));
            let used = used.filter_map(|path| Some(self.file(&path)?.to_vec())).filter(|other| other != module);
            imports.entry(module.clone()).or_default().extend(used);
        }
        imports
    }
}

/// `policy/numbers.rs` is `policy::numbers`, `policy/mod.rs` is `policy`.
fn module(path: &Path) -> Vec<String> {
    let parts = path.with_extension("");
    let parts: Vec<String> = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.as_slice() {
        [modules @ .., last] if last == "mod" => modules.to_vec(),
        _ => parts,
    }
}

fn is_test(module: &[String]) -> bool {
    module[0] == "bin" || module.iter().any(|part| part == "tests" || part == "in_namespace")
}

/// All paths that begin with `crate`, `super`, `self`, and all that `use` names.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for statement in code.split(';') {
        let words: Vec<&str> = statement.split_whitespace().collect();
        if let Some(begin) = words.iter().position(|word| *word == "use") {
            found.extend(expanded(&words[begin + 1..].concat()));
        }
    }
    let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let inline = code.split(|c: char| !is_path(c)).filter(|word| word.contains("::"));
    found.extend(inline.map(|word| word.split("::").map(str::to_string).collect()));
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expanded(tree: &str) -> Vec<Vec<String>> {
    let Some((before, inside)) = tree.split_once('{') else {
        return vec![tree.split("::").map(str::to_string).collect()];
    };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let mut items = vec![String::new()];
    let mut depth = 0;
    for c in inside.chars() {
        match c {
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().expect("an item").push(c);
            }
        }
    }
    items.iter().flat_map(|item| expanded(&format!("{before}{item}"))).collect()
}

/// The path from the root of the crate, or nothing for a path into another crate.
fn absolute(module: &[String], path: Vec<String>, files: &Crate) -> Option<Vec<String>> {
    let above = path.iter().take_while(|part| *part == "super").count();
    let begin = match path[0].as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(above)?].to_vec(),
        child => {
            let own = [module, &[child.to_string()]].concat();
            return files.files.contains_key(&own).then(|| [module, &path].concat());
        }
    };
    let rest = if above > 0 { &path[above..] } else { &path[1..] };
    Some([&begin, rest].concat())
}

#[test]
fn modules_use_those_above_them() {
    let imports = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).imports();
    let layer = |module: &[String]| LAYERS.iter().position(|name| module[0] == *name);
    let mut wrong = Vec::new();
    for (module, used) in imports.iter().filter(|(module, _)| module[0] != "lib") {
        let Some(own) = layer(module) else {
            wrong.push(format!("{} is in no layer: add it to LAYERS", module.join("::")));
            continue;
        };
        for other in used.iter().filter(|other| layer(other) > Some(own)) {
            wrong.push(format!("{} uses {}, which is below it", module.join("::"), other.join("::")));
        }
        for other in used.iter().filter(|other| *other > module) {
            if imports.get(other).is_some_and(|back| back.contains(module)) {
                wrong.push(format!("{} and {} use each other", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_have_no_cycles() {
    let mut imports = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).imports();
    // A module that uses none of the remaining ones is in no cycle.
    while let Some(free) = imports.iter().find(|(_, used)| !used.iter().any(|used| imports.contains_key(used))) {
        let free = free.0.clone();
        imports.remove(&free);
    }
    let left: Vec<String> = imports.keys().map(|module| module.join("::")).collect();
    assert!(left.is_empty(), "these modules use each other:\n{}", left.join("\n"));
}

/// The text between backquotes, and whether a new item or paragraph begins before it.
fn quoted(page: &str) -> Vec<(bool, &str)> {
    let mut found = Vec::new();
    for line in page.lines() {
        let mut begins = !line.starts_with(' ');
        for word in line.split('`').skip(1).step_by(2) {
            found.push((begins, word));
            begins = false;
        }
    }
    found
}

#[test]
fn architecture_names_the_modules_in_their_order() {
    let page = read("docs/architecture.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert_eq!(headings, LAYERS, "the headings of docs/architecture.md");
    let drawing = page.split("```").nth(1).expect("a drawing");
    let is_module = |word: &&str| LAYERS.contains(word);
    let shown: Vec<&str> = drawing.lines().filter_map(|line| line.split_whitespace().find(is_module)).collect();
    assert_eq!(shown, LAYERS, "the drawing in docs/architecture.md");
}

/// For `src/policy/layout.rs`, `rules`: the file exists, and contains the word.
#[test]
fn architecture_names_files_and_functions_that_exist() {
    let page = read("docs/architecture.md");
    let changes = page.split("\n## ").find(|part| part.starts_with("Five changes")).expect("the part about changes");
    let (mut text, mut checked) = (String::new(), 0);
    for (begins, word) in quoted(changes) {
        if begins {
            text.clear();
        }
        if word.contains('/') && !word.contains(['*', ' ']) && !word.contains("ID.md") {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(word);
            assert!(path.exists(), "{word} does not exist");
            text = fs::read_to_string(path).unwrap_or_default();
        } else if !text.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(text.split(|c| !is_word(c)).any(|known| known == word), "'{word}' is not in its file");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} names were checked");
}

/// The functions above find the imports of files.
#[test]
fn imports_are_read_from_sources() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    write("policy/mod.rs", "mod numbers;\npub use numbers::Numbers;\n");
    write(
        "policy/numbers.rs",
        "use super::Plan;\nuse crate::{cli::{Exit, self}, network};\n#[cfg(test)]\nmod tests { use crate::system; }\n",
    );
    write("cli/mod.rs", "// use crate::system;\nfn f() { crate::network::lookup() }\n");
    write("network/mod.rs", "");
    write("system.rs", "");
    let imports = Crate::read(directory.path()).imports();
    let of = |module: &str| {
        let module: Vec<String> = module.split("::").map(str::to_string).collect();
        imports[&module].iter().map(|used| used.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(of("policy"), ["policy::numbers"]);
    assert_eq!(of("policy::numbers"), ["cli", "network", "policy"]);
    assert_eq!(of("cli"), ["network"]);
}
