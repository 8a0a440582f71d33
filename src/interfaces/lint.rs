//! What ifupdown takes in silence and people hardly mean.
//!
//! Each warning stands for a mistake that was found in published files; a healthy file gets none.

use std::collections::HashSet;

use bstr::{BStr, BString, ByteSlice};

use super::config::is_command;
use super::diagnostic::{At, Diagnostic};
use super::document::trim_start;
use super::entries::Entry;
use super::{Config, Dialect, Family, Stanza};

/// Words at the beginning of a line that are no options; in another spelling they silently become one.
const KEYWORDS: [&str; 8] =
    ["iface", "auto", "mapping", "source", "source-directory", "no-auto-down", "no-scripts", "rename"];

/// The options of ifupdown's own methods, and symroute's. Those of other packages are too many to know.
const OPTIONS: [&str; 49] = [
    "address",
    "netmask",
    "broadcast",
    "network",
    "gateway",
    "metric",
    "pointopoint",
    "hwaddress",
    "mtu",
    "scope",
    "hostname",
    "leasetime",
    "vendor",
    "client",
    "bootfile",
    "server",
    "hwaddr",
    "provider",
    "unit",
    "options",
    "endpoint",
    "local",
    "mode",
    "ttl",
    "dstaddr",
    "media",
    "accept_ra",
    "autoconf",
    "privext",
    "preferred-lifetime",
    "dad-attempts",
    "dad-interval",
    "request_prefix",
    "ll-attempts",
    "ll-interval",
    "bitrate",
    "samplepoint",
    "loopback",
    "pre-up",
    "post-up",
    "pre-down",
    "post-down",
    "up",
    "down",
    "symroute",
    "symroute-gateway",
    "symroute-table",
    "symroute-priority",
    "symroute-layout",
];

/// Free text, where a `#` may well be meant.
const FREE_TEXT: [&str; 5] = ["description", "wpa", "wireless", "dns", "alias"];

pub fn lint(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let (mentioned, listed) = (mentioned(config), config.listed());
    // A part of a configuration, read alone, does not know what brings its interfaces up; nor is it known what
    // names a mapping's script prints.
    let other = |name: &BString| name != "lo";
    let whole = config.lists.allow.iter().any(|(_, names)| names.iter().any(other))
        || config.stanzas.iter().any(|stanza| stanza.interface == "lo" && stanza.at.is_some());
    // `wpa-roam` lets wpa_supplicant's configuration choose.
    let roams = config.stanzas.iter().flat_map(|stanza| &stanza.entries).any(|entry| entry.name == "wpa-roam");
    let judge_lists = whole && config.mappings.is_empty() && !roams;
    for stanza in &config.stanzas {
        let Some(at) = stanza.at else { continue };
        // Inherited lines were judged where they stand.
        let own = |entry: &&Entry| entry.at.file == at.file && entry.at.line > at.line && !entry.in_block;
        for entry in stanza.entries.iter().filter(own) {
            found.extend(misspelt(entry));
            found.extend(comment(entry));
        }
        found.extend(without_effect(config.dialect, stanza));
        let manual = matches!(&stanza.method[..], b"manual" | b"loopback" | b"none" | b"ppp" | b"wvdial");
        if judge_lists && !manual && !mentioned.contains(stanza.interface.as_bstr()) && !listed.has(&stanza.interface) {
            found.push(Diagnostic::warning(
                at,
                &stanza.interface,
                format!("nothing brings {} up: it is in no 'auto' or 'allow-' list", stanza.interface),
                format!("Add 'auto {}' if it should come up at boot; 'ifup {0}' does it by hand.", stanza.interface),
            ));
        }
    }
    for (file, read) in config.files.iter().enumerate() {
        for line in 0..read.document.lines().len() {
            found.extend(broken_continuation(At { file, line }, read.document.raw(line)));
        }
    }
    found.sort_by_key(|diagnostic| diagnostic.at);
    found
}

/// Every word of an option of another stanza, of a mapping or an `inherits`: an interface that is named there
/// has its use.
fn mentioned(config: &Config) -> HashSet<&BStr> {
    fn words(value: &BString) -> impl Iterator<Item = &BStr> {
        value.fields_with(|c| c.is_whitespace() || c == '=').map(BStr::new)
    }
    let options = config.stanzas.iter().flat_map(|stanza| {
        let values = stanza.entries.iter().map(|entry| &entry.value);
        values.flat_map(words).filter(|word| *word != stanza.interface)
    });
    let maps = config.mappings.iter().flat_map(|mapping| &mapping.maps).flat_map(words);
    let words = options.chain(maps);
    let inherited = config.stanzas.iter().filter_map(|stanza| stanza.inherits.as_ref()).map(|name| name.as_bstr());
    words.chain(inherited).chain([BStr::new("default")]).collect()
}

fn misspelt(entry: &Entry) -> Option<Diagnostic> {
    let name = entry.name.to_str().ok()?;
    if OPTIONS.contains(&name) {
        return None;
    }
    let alike = name.to_ascii_lowercase().replace('_', "-");
    let keyword = KEYWORDS.iter().find(|keyword| alike == **keyword).or_else(|| {
        let allow = alike.starts_with("allow-") && alike != name;
        allow.then_some(&"allow-CLASS")
    });
    let warn = |message: String, help: String| Some(Diagnostic::warning(entry.at, name.as_bytes(), message, help));
    if let Some(keyword) = keyword {
        return warn(
            format!(
                "'{name}' is no keyword: ifupdown takes it for an option of the stanza above and does nothing with it"
            ),
            format!("Write '{keyword}', in lower case."),
        );
    }
    if matches!(name, "pre" | "post") && entry.value.starts_with(b"up") | entry.value.starts_with(b"down") {
        return warn(
            format!("'{name}' is no option: this line never runs"),
            format!(
                "Join the words: '{name}-{}'.",
                entry.value.fields_with(char::is_whitespace).next().unwrap_or_default().as_bstr()
            ),
        );
    }
    let exact = OPTIONS.iter().find(|known| known.replace('_', "-") == alike);
    let near = || {
        let close =
            |known: &&&str| known.len() >= 5 && strsim::damerau_levenshtein(&alike, known) <= known.len() / 6 + 1;
        OPTIONS
            .iter()
            .filter(|_| alike.len() >= 5)
            .filter(close)
            .min_by_key(|known| strsim::damerau_levenshtein(&alike, known))
    };
    let meant = match exact.or_else(near) {
        None if name.starts_with("symroute") => "symroute-gateway, -table, -priority or -layout",
        None => return None,
        Some(known) => known,
    };
    warn(format!("'{name}' is no option that ifupdown knows: it does nothing"), format!("Is '{meant}' meant?"))
}

fn comment(entry: &Entry) -> Option<Diagnostic> {
    let free = FREE_TEXT.iter().any(|word| entry.name.starts_with(word.as_bytes()));
    // The gateway's own check says it more exactly, and commands are read by a shell, where it is a comment.
    if free || is_command(&entry.name) || entry.name == "gateway" {
        return None;
    }
    let words = entry.value.fields_with(char::is_whitespace);
    words.skip(1).find(|word| word.starts_with(b"#")).map(|word| {
        Diagnostic::warning(
            entry.at,
            word,
            format!("'#' begins no comment here: ifupdown takes it for a part of the value of '{}'", entry.name),
            "Put the comment on a line of its own.",
        )
    })
}

fn without_effect(dialect: Dialect, stanza: &Stanza) -> Vec<Diagnostic> {
    let own: Vec<&Entry> = stanza.entries.iter().filter(|entry| !entry.in_block).collect();
    let named = |name: &str| own.iter().filter(|entry| entry.name == name).collect::<Vec<_>>();
    let mut found = Vec::new();
    let ip = matches!(stanza.family, Family::Inet | Family::Inet6);
    if ip && stanza.method == "static" {
        for second in named("address").iter().skip(1) {
            found.push(Diagnostic::warning(
                second.at,
                &second.value,
                "a second 'address' in one stanza is not used",
                format!("Give it an 'iface {} {} static' stanza of its own.", stanza.interface, stanza.family),
            ));
        }
    }
    // The others make a default route of it whatever the method is.
    if ip && dialect == Dialect::Ifupdown && matches!(&stanza.method[..], b"dhcp" | b"manual" | b"auto" | b"6to4") {
        for gateway in named("gateway") {
            found.push(Diagnostic::warning(
                gateway.at,
                &gateway.value,
                format!("'gateway' has no effect in a stanza with the method '{}'", stanza.method),
                "Take it out, or give the stanza the method 'static'.",
            ));
        }
    }
    found
}

/// A backslash joins lines only as the very last byte.
fn broken_continuation(at: At, raw: &[u8]) -> Option<Diagnostic> {
    let line = raw.strip_suffix(b"\n")?;
    let text = line.trim_end_with(|c| matches!(c, ' ' | '\t' | '\r'));
    if text.len() == line.len() || !text.ends_with(b"\\") || trim_start(text).starts_with(b"#") {
        return None;
    }
    let what = if line.ends_with(b"\r") { "a carriage return" } else { "a blank" };
    Some(Diagnostic::warning(
        at,
        b"\\",
        format!("the backslash does not join this line with the next: {what} follows it"),
        "Take away what stands between the backslash and the end of the line.",
    ))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::interfaces::{Failure, Files};

    /// A directory `d` with three files in it.
    struct One;

    impl Files for One {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(b"auto eth9\niface eth9 inet dhcp\n".to_vec())
        }
        fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure> {
            Ok(vec![PathBuf::from(argument.to_str_lossy().into_owned())])
        }
        fn list(&self, _: &Path) -> io::Result<Vec<Vec<u8>>> {
            Ok(["eth9", "eth9.cfg", "eth9~", ".hidden", "x.dpkg-dist"].map(|name| name.as_bytes().to_vec()).to_vec())
        }
        fn exists(&self, _: &Path) -> bool {
            true
        }
    }

    fn warnings(text: &str) -> Vec<(usize, String)> {
        let config = Config::parse(Path::new("/f"), text.into(), &One, Dialect::Ifupdown);
        config.diagnostics.iter().map(|d| (d.at.unwrap().line + 1, d.message.clone())).collect()
    }

    #[test]
    fn each_mistake_is_named_where_it_stands() {
        let cases: [(&str, usize, &str); 17] = [
            ("auto eth0 # wan\niface eth0 inet dhcp\n", 1, "every word behind it"),
            ("auto eth0\niface eth0 inet dhcp # wan\n", 2, "extra parameter"),
            ("auto eth0\niface eth0 inet static\n address 192.0.2.1 # wan\n", 3, "part of the value of 'address'"),
            ("auto eth0\niface eth0 inet dhcp\n Auto eth1\n", 3, "'Auto' is no keyword"),
            ("auto eth0\niface eth0 inet dhcp\n Iface eth1 inet dhcp\n", 3, "'Iface' is no keyword"),
            ("auto eth0\niface eth0 inet dhcp\n allow_hotplug eth1\n", 3, "'allow_hotplug' is no keyword"),
            ("auto eth0\niface eth0 inet dhcp\n post_up x\n", 3, "'post_up' is no option"),
            ("auto eth0\niface eth0 inet dhcp\n post up x\n", 3, "'post' is no option: this line never runs"),
            ("auto eth0\niface eth0 inet static\n address 192.0.2.1/24\n netamsk 2\n", 4, "'netamsk' is no option"),
            ("auto eth0\niface eth0 inet dhcp\n symroute-metric 5\n", 3, "'symroute-metric' is no option"),
            (
                "auto eth0\niface eth0 inet static\n address 192.0.2.1/24\n address 192.0.2.2/24\n",
                4,
                "second 'address'",
            ),
            (
                "auto eth0\niface eth0 inet dhcp\n gateway 192.0.2.1\n",
                3,
                "no effect in a stanza with the method 'dhcp'",
            ),
            ("auto eth0\niface eth0 inet dhcp\niface eth1 inet dhcp\n", 3, "nothing brings eth1 up"),
            ("auto eth0\niface eth0 inet dhcp\niface eth1 inet dhcp\n up x dev eth1\n", 3, "nothing brings eth1 up"),
            ("auto eth0\niface eth0 inet dhcp\n up x \\\r\n y z\n", 3, "a carriage return follows it"),
            ("auto eth0\niface eth0 inet dhcp\n up x \\ \n y z\n", 3, "a blank follows it"),
            ("auto eth0\niface eth0 inet dhcp\nsource-directory /d\n", 3, "/d/eth9.cfg is not read"),
        ];
        for (text, line, what) in cases {
            let found = warnings(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, line, "{text}: {found:?}");
            assert!(found[0].1.contains(what), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_healthy_file_gets_none() {
        for text in [
            include_str!("../../tests/fixtures/two-uplinks.interfaces"),
            include_str!("../../tests/fixtures/two-uplinks.iproute2"),
            include_str!("../../tests/fixtures/article.expected"),
            include_str!("../../tests/fixtures/healthy.interfaces"),
        ] {
            assert_eq!(warnings(text), []);
        }
    }
}
