//! Any bytes are read without a panic and given back unchanged; what can be rewritten obeys the laws: a
//! second run changes nothing, and removing gives the first bytes back.
#![no_main]

use std::io;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use symroute::interfaces::{Config, Dialect, Failure, Files, Severity};
use symroute::policy::plan;
use symroute::rewrite::{rewrite, template};
use symroute::tables::Names;
use symroute::uplinks::find;

struct Alone;

impl Files for Alone {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn expand(&self, _: &[u8]) -> Result<Vec<PathBuf>, Failure> {
        Ok(Vec::new())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn exists(&self, _: &Path) -> bool {
        false
    }
}

fn rewritten(bytes: &[u8], style: Option<&str>) -> Option<Vec<u8>> {
    let config = Config::parse(Path::new("/etc/network/interfaces"), bytes.to_vec(), &Alone, Dialect::Ifupdown);
    assert_eq!(config.files[0].document.bytes(), bytes);
    let names = Names::default();
    let plan = plan(find(&config, None, &[], &names), None, &names, None);
    let markers = config.files.iter().flat_map(|file| &file.stray_markers);
    let mut all = config.diagnostics.iter().chain(markers).chain(&plan.diagnostics).chain(&plan.clashes);
    if all.any(|diagnostic| diagnostic.severity == Severity::Error) {
        return None;
    }
    let template = style.map(|style| template::style(style).unwrap());
    let changes = rewrite(&config, &plan, template.as_ref()).ok()?.ok()?;
    Some(changes.into_iter().next().map_or(bytes.to_vec(), |change| change.new))
}

fuzz_target!(|bytes: &[u8]| {
    // The laws are about files without a block of somebody's making.
    let Some(original) = rewritten(bytes, None) else { return };
    for (style, _) in template::STYLES {
        let Some(once) = rewritten(&original, Some(style)) else { continue };
        assert_eq!(rewritten(&once, Some(style)).as_ref(), Some(&once));
        assert_eq!(rewritten(&once, None).as_ref(), Some(&original));
    }
});
