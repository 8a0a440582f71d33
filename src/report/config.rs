//! The configuration files as ifupdown reads them.

use std::fmt::Write;

use bstr::ByteSlice;
use serde_json::{Map, Value, json};

use super::diagnostics::{diagnostics_json, file_and_line};
use crate::interfaces::{AddressFamily, Config, Files, Text};

pub fn config_json(config: &Config, root: &dyn Files) -> Value {
    let text = |bytes: &[u8]| Value::from(bytes.to_str_lossy().into_owned());
    let texts = |list: &[Text]| Value::from_iter(list.iter().map(|item| text(item)));
    let mut lists = Map::new();
    for (class, names) in &config.lists.allow {
        let key = if class == "auto" { "auto".to_string() } else { format!("allow-{class}") };
        lists.insert(key, texts(names));
    }
    for (key, list) in [
        ("no-auto-down", &config.lists.no_auto_down),
        ("no-scripts", &config.lists.no_scripts),
        ("rename", &config.lists.rename),
    ] {
        if !list.is_empty() {
            lists.insert(key.into(), texts(list));
        }
    }
    let stanzas = config.stanzas.iter().map(|stanza| {
        let place = stanza.location.map(|location| file_and_line(config, root, location));
        let options = config.options(stanza).into_iter().map(|option| {
            let (file, line) = file_and_line(config, root, option.location);
            json!({"name": text(&option.name), "value": text(&option.value), "file": file, "line": line})
        });
        json!({
            "interface": text(&stanza.interface),
            "family": (stanza.family != AddressFamily::Any).then(|| stanza.family.name()),
            "method": text(&stanza.method),
            "inherits": stanza.inherits.as_ref().map(|name| text(name)),
            "file": place.as_ref().map(|place| &place.0),
            "line": place.as_ref().map(|place| place.1),
            "block": config.has_block(stanza),
            "options": Value::from_iter(options),
        })
    });
    let mappings = config.mappings.iter().map(|mapping| {
        json!({
            "patterns": texts(&mapping.patterns),
            "script": mapping.script.as_ref().map(|script| text(script)),
            "map": texts(&mapping.maps),
        })
    });
    let files = config.files.iter().map(|file| root.shown(&file.path).display().to_string());
    json!({
        "files": Value::from_iter(files),
        "lists": lists,
        "stanzas": Value::from_iter(stanzas),
        "mappings": Value::from_iter(mappings),
        "diagnostics": diagnostics_json(config, root, &config.diagnostics),
    })
}

pub fn config_text(config: &Config, root: &dyn Files) -> String {
    let mut out = String::new();
    for (class, names) in &config.lists.allow {
        let key = if class == "auto" { "auto".to_string() } else { format!("allow-{class}") };
        let _ = writeln!(out, "{key} {}", bstr::join(" ", names).to_str_lossy());
    }
    for (key, list) in [
        ("no-auto-down", &config.lists.no_auto_down),
        ("no-scripts", &config.lists.no_scripts),
        ("rename", &config.lists.rename),
    ] {
        if !list.is_empty() {
            let _ = writeln!(out, "{key} {}", bstr::join(" ", list).to_str_lossy());
        }
    }
    for mapping in &config.mappings {
        let _ = writeln!(out, "\nmapping {}", bstr::join(" ", &mapping.patterns).to_str_lossy());
    }
    for stanza in &config.stanzas {
        let place = stanza.location.map(|location| file_and_line(config, root, location));
        let place = place.map_or("implicit".into(), |(file, line)| format!("{file}:{line}"));
        let head = format!("iface {} {} {}", stanza.interface, stanza.family, stanza.method);
        let inherits = stanza.inherits.as_ref().map_or(String::new(), |name| format!(" inherits {name}"));
        let _ = writeln!(out, "\n{:<49} # {place}", head + &inherits);
        for option in config.options(stanza) {
            let (_, line) = file_and_line(config, root, option.location);
            let value = option.value.to_str_lossy().replace('\n', "\\n");
            let _ = writeln!(out, "{:<49} # {line}", format!("    {} {value}", option.name));
        }
    }
    out
}
