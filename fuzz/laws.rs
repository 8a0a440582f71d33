//! Laws for any bytes, in each dialect: reading them does not panic, a second write changes nothing, and a removal
//! restores the file. The fuzzer and `cargo test` check them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use symroute::commands::tables::Names;
use symroute::interfaces::{Config, Dialect, Failure, Files, Severity};
use symroute::policy::plan;
use symroute::rewrite::{rewrite, template};
use symroute::uplinks::find;

/// Separates the files.
pub const SEPARATOR: u8 = 0x1e;
const TOP: &str = "/etc/network/interfaces";
const DIRECTORY: &str = "/etc/network/interfaces.d";

/// An interfaces file, and files in its directory that it may read with `source`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Tree(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Tree {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }
    /// Any pattern matches all files in the directory of the first one.
    fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure> {
        let name = String::from_utf8_lossy(argument);
        let is_meant = |path: &&PathBuf| {
            name.contains('*') && path.parent() == Some(Path::new(DIRECTORY)) || path.ends_with(&*name)
        };
        let directory = PathBuf::from(DIRECTORY);
        let paths = self.0.keys().chain([&directory]).filter(is_meant);
        Ok(paths.cloned().collect())
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>> {
        let inside = self.0.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| path.file_name()).map(|name| name.as_encoded_bytes().to_vec()).collect())
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path) || path == Path::new(DIRECTORY)
    }
}

impl Tree {
    fn new(bytes: &[u8]) -> Self {
        let name = |n| if n == 0 { PathBuf::from(TOP) } else { Path::new(DIRECTORY).join(format!("f{n}")) };
        Tree(
            bytes
                .split(|byte| *byte == SEPARATOR)
                .take(4)
                .enumerate()
                .map(|(n, part)| (name(n), part.to_vec()))
                .collect(),
        )
    }

    /// The file with the blocks of a style, or without blocks. Nothing if the file is rejected.
    fn rewritten(&self, dialect: Dialect, style: Option<&str>) -> Option<Tree> {
        let config = Config::parse(Path::new(TOP), self.0[Path::new(TOP)].clone(), self, dialect);
        for file in &config.files {
            let lines = (0..file.document.count()).flat_map(|line| file.document.raw(line));
            assert!(lines.eq(&self.0[&file.path]), "lines of {} are not its bytes", file.path.display());
        }
        let names = Names::default();
        let plan = plan(find(&config, None, &[], &names), None, &names, None);
        let markers = config.files.iter().flat_map(|file| &file.stray_markers);
        let mut found = config.diagnostics.iter().chain(markers).chain(&plan.diagnostics).chain(&plan.clashes);
        if found.any(|diagnostic| diagnostic.severity == Severity::Error) {
            return None;
        }
        let template = style.map(|style| template::style(style).unwrap());
        let mut tree = self.clone();
        for change in rewrite(&config, &plan, template.as_ref()).ok()?.ok()? {
            tree.0.insert(change.file.path.clone(), change.new_parts().collect::<Vec<_>>().concat());
        }
        Some(tree)
    }
}

/// The number of files that get lines, in all dialects and styles.
pub fn hold(bytes: &[u8]) -> usize {
    let mut written = 0;
    for dialect in [Dialect::Ifupdown, Dialect::IfupdownNg, Dialect::Ifupdown2] {
        // The laws apply to files without a block.
        let Some(original) = Tree::new(bytes).rewritten(dialect, None) else { continue };
        for (style, _) in template::STYLES {
            let Some(once) = original.rewritten(dialect, Some(style)) else { continue };
            assert_eq!(once.rewritten(dialect, Some(style)).as_ref(), Some(&once), "{dialect:?} {style} twice");
            assert_eq!(once.rewritten(dialect, None).as_ref(), Some(&original), "{dialect:?} {style} removed");
            written += once.0.iter().filter(|(path, text)| original.0[*path] != **text).count();
        }
    }
    written
}
