//! How ifupdown-ng and ifupdown2 read: they accept more than ifupdown, and ignore what they do not understand.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::ByteSlice;

use super::{Open, Place, Reader};
use crate::interfaces::config::{AddressFamily, Dialect, Stanza};
use crate::interfaces::diagnostic::{Diagnostic, Location};
use crate::interfaces::grammar::{Statement, Words};

impl Reader<'_> {
    /// One statement, as ifupdown-ng and ifupdown2 read it: they ignore what they do not understand.
    pub(super) fn tolerant(&mut self, place: Place<'_>, statement: Statement<'_>, open: &mut Open) {
        let Place { location, whole, depth, .. } = place;
        let ng = self.config.dialect == Dialect::IfupdownNg;
        match statement {
            Statement::Iface(words) => self.tolerant_iface(place, words, open),
            Statement::Option { name: b"template" | b"interface", value } if ng => {
                self.tolerant_iface(place, Words::of(value), open);
            }
            Statement::Option { name: b"vlan", value } if !ng => self.tolerant_iface(place, Words::of(value), open),
            Statement::Source(value) if ng => {
                // A path, not a pattern, relative to the working directory of ifup.
                if let Some(path) = Words::of(value).next() {
                    self.include(location, Path::new(OsStr::from_bytes(path)), depth + 1);
                }
            }
            Statement::SourceDirectory(value) if ng => {
                if let Some(directory) = Words::of(value).next().map(|word| Path::new(OsStr::from_bytes(word))) {
                    for name in self.files.list(directory).unwrap_or_default() {
                        self.include(location, &directory.join(OsStr::from_bytes(&name)), depth + 1);
                    }
                }
            }
            Statement::Option { name, value } => {
                let stanza = self.config.stanzas.last_mut().filter(|_| matches!(open, Open::Stanza));
                match (stanza, name) {
                    (Some(stanza), b"inherit" | b"inherits") if ng => {
                        stanza.last = Some(location);
                        let template = Words::of(value).next().map(|word| whole.part(word));
                        self.inherit(template);
                    }
                    (Some(_), _) if !value.is_empty() => {
                        let name = if ng { name.to_vec() } else { name.replace("_", "-") };
                        // An option with a value has no fault.
                        let _ = self.option(place, &name, value, Open::Stanza);
                    }
                    _ => {}
                }
            }
            Statement::Mapping(_) | Statement::NoAutoDown(_) | Statement::NoScripts(_) | Statement::Rename(_) => {}
            Statement::Allow(_, names) if names.is_empty() => {}
            statement => {
                // Lists and sources are the same for all three.
                let _ = self.statement(place, statement, open);
            }
        }
    }

    fn tolerant_iface(&mut self, place: Place<'_>, mut words: Words<'_>, open: &mut Open) {
        let Place { location, whole, .. } = place;
        *open = Open::Unknown;
        let family = words.clone().find_map(AddressFamily::parse);
        let mut inherited = words.clone().skip_while(|word| !matches!(*word, b"inherits" | b"inherit"));
        let Some(name) = words.next() else { return };
        let method = words.find(|word| matches!(*word, b"dhcp" | b"loopback" | b"manual" | b"auto" | b"ppp"));
        self.has_loopback |= method == Some(b"loopback") || name == b"lo";
        self.config.stanzas.push(Stanza {
            interface: whole.part(name),
            family: family.unwrap_or(AddressFamily::Any),
            method: method.map_or("static".into(), |method| whole.part(method)),
            inherits: None,
            is_listed: false,
            location: Some(location),
            last: Some(location),
            entries: self.config.entries.begin(),
        });
        *open = Open::Stanza;
        if inherited.next().is_some() {
            self.inherit(inherited.next().map(|word| whole.part(word)));
        }
    }

    /// ifupdown2 renders a file with mako before it reads it. symroute does not, so it must not edit it.
    pub(super) fn warn_of_mako(&mut self, file: usize) {
        let document = &self.config.files[file].document;
        let is_mako = |line: &usize| {
            let text = document.text(*line);
            text.starts_with(b"%") || text.contains_str("<%") || text.contains_str("${") && text.contains_str("}")
        };
        let found = (0..document.count()).find(is_mako);
        if let Some(line) = found {
            self.config.files[file].is_rejected = true;
            self.config.diagnostics.push(Diagnostic::warning(
                Location::new(file, line),
                b"",
                "this file is a mako template; symroute reads it without rendering it and does not write to it",
                "Use the hooks, and write the uplinks as plain stanzas.",
            ));
        }
    }
}
