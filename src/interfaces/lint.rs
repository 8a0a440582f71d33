//! Mistakes that ifupdown silently accepts.
//!
//! Each warning is for a mistake that was found in published files; a valid file gets none.

use std::cell::OnceCell;

use bstr::{BStr, ByteSlice};
use rustc_hash::FxHashSet;

use super::config::is_command;
use super::diagnostic::{Diagnostic, Location};
use super::document::trim_start;
use super::entries::{Entry, NameSet};
use super::text::Text;
use super::{AddressFamily, Config, Dialect, Stanza};
use crate::sort::sort_by_key;

/// Keywords at the beginning of a line. ifupdown silently treats another spelling as an option.
const KEYWORDS: [&str; 8] =
    ["iface", "auto", "mapping", "source", "source-directory", "no-auto-down", "no-scripts", "rename"];

/// The options of ifupdown's methods and of symroute. Other packages have many more.
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

/// Options with free text, which may contain a `#`.
const FREE_TEXT: [&str; 5] = ["description", "wpa", "wireless", "dns", "alias"];

pub fn lint(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let listed = config.listed();
    // Few configurations have a stanza that is in no list.
    let words = OnceCell::new();
    let is_mentioned = |name: &Text| words.get_or_init(|| mentioned(config)).contains(name.as_bstr());
    // A part of a configuration does not have the lists that start its interfaces. The names that a mapping's script
    // prints are not known either.
    let other = |name: &Text| *name != "lo";
    let whole = config.lists.allow.iter().any(|(_, names)| names.iter().any(other))
        || config.stanzas.iter().any(|stanza| stanza.interface == "lo" && stanza.location.is_some());
    // With `wpa-roam`, the configuration of wpa_supplicant selects the stanza.
    let roams = !config.names(|name| *name == "wpa-roam").is_empty();
    let [addresses, gateways] = ["address", "gateway"].map(|option| config.names(|name| *name == option));
    // Most names are correct, and most files have no comment after a value: few lines need to be looked at.
    let suspicious = config.names(is_suspicious);
    let has_comments = config.files.iter().any(|file| file.document.may_have_hash_in_line());
    let with_comments = config.names(|name| has_comments && comment_is_read(name));
    let judge_lists = whole && config.mappings.is_empty() && !roams;
    for stanza in &config.stanzas {
        let Some(location) = stanza.location else { continue };
        // Inherited lines are checked in their own stanza.
        let is_here = |entry: &Entry| is_own(stanza, entry) && !entry.in_block;
        let with = |names| config.entries_named(stanza, names).filter(is_here);
        found.extend(with(&suspicious).filter_map(|entry| misspelt(&entry)));
        found.extend(with(&with_comments).filter_map(|entry| comment(&entry)));
        second_addresses(config, stanza, &addresses, &mut found);
        gateways_without_effect(config, stanza, &gateways, &mut found);
        let manual = matches!(&stanza.method[..], b"manual" | b"loopback" | b"none" | b"ppp" | b"wvdial");
        if judge_lists && !manual && !listed.has(stanza) && !is_mentioned(&stanza.interface) {
            found.push(Diagnostic::warning(
                location,
                &stanza.interface,
                format!("nothing starts {}: it is not in an 'auto' or 'allow-' list", stanza.interface),
                format!("Add 'auto {}' to start it at boot. Run 'ifup {0}' to start it manually.", stanza.interface),
            ));
        }
    }
    let files = config.files.iter().enumerate();
    for (file, read) in files.filter(|(_, read)| read.document.bytes().find_byte(b'\\').is_some()) {
        for line in 0..read.document.count() {
            found.extend(broken_continuation(Location::new(file, line), read.document.raw(line)));
        }
    }
    sort_by_key(&mut found, |diagnostic| diagnostic.location);
    found
}

/// Is the line in this stanza itself, not inherited?
fn is_own(stanza: &Stanza, entry: &Entry) -> bool {
    stanza.location.is_some_and(|start| entry.location.file() == start.file() && entry.location.line() > start.line())
}

/// Every word of an option of another stanza, of a mapping or an `inherits`: an interface that is named there is used.
fn mentioned(config: &Config) -> FxHashSet<&BStr> {
    fn words(value: &[u8]) -> impl Iterator<Item = &BStr> {
        value.fields_with(|c| c.is_whitespace() || c == '=').map(BStr::new)
    }
    // Inherited lines count once, in their own stanza: otherwise a long chain takes quadratic time.
    let options = config.stanzas.iter().flat_map(|stanza| {
        let values = config.entries(stanza).filter(|entry| is_own(stanza, entry)).map(|entry| entry.value);
        values.flat_map(|value| words(value)).filter(|word| stanza.interface != **word)
    });
    let maps = config.mappings.iter().flat_map(|mapping| &mapping.maps).flat_map(|map| words(map));
    let words = options.chain(maps);
    let inherited = config.stanzas.iter().filter_map(|stanza| stanza.inherits.as_deref()).map(|name| name.as_bstr());
    words.chain(inherited).chain([BStr::new("default")]).collect()
}

/// The keyword to which a misspelled word is similar.
pub(super) fn keyword_like(name: &str) -> Option<&'static str> {
    let alike = name.to_ascii_lowercase().replace('_', "-");
    let keyword = KEYWORDS.into_iter().find(|keyword| alike == *keyword);
    keyword.or_else(|| (alike.starts_with("allow-") && alike != name).then_some("allow-CLASS"))
}

/// May a line with this name be misspelt? Sometimes its value decides.
fn is_suspicious(name: &Text) -> bool {
    matches!(&name[..], b"pre" | b"post") || name.to_str().is_ok_and(|name| correction(name).is_some())
}

fn misspelt(entry: &Entry) -> Option<Diagnostic> {
    let name = entry.name.to_str().ok()?;
    let is_split =
        matches!(name, "pre" | "post") && (entry.value.starts_with(b"up") || entry.value.starts_with(b"down"));
    let (message, help) = if is_split {
        let word = entry.value.fields_with(char::is_whitespace).next().unwrap_or_default().as_bstr();
        let message = format!("unknown option '{name}'; ifupdown never runs this line");
        (message, format!("Write '{name}-{word}' as one word."))
    } else {
        correction(name)?
    };
    Some(Diagnostic::warning(entry.location, name.as_bytes(), message, help))
}

/// The message and the help for a name that is similar to a known one.
fn correction(name: &str) -> Option<(String, String)> {
    if OPTIONS.contains(&name) {
        return None;
    }
    if let Some(keyword) = keyword_like(name) {
        let message = format!("unknown keyword '{name}' (keywords are case-sensitive); ifupdown ignores this line");
        return Some((message, format!("Write '{keyword}'.")));
    }
    let alike = name.to_ascii_lowercase().replace('_', "-");
    let exact = OPTIONS.iter().find(|known| known.replace('_', "-") == alike);
    let similar = || {
        let close =
            |known: &&&str| known.len() >= 5 && strsim::damerau_levenshtein(&alike, known) <= known.len() / 6 + 1;
        let long = OPTIONS.iter().filter(|_| alike.len() >= 5);
        long.filter(close).min_by_key(|known| strsim::damerau_levenshtein(&alike, known))
    };
    let suggestion = match exact.or_else(similar) {
        None if name.starts_with("symroute") => "symroute-gateway, -table, -priority or -layout",
        None => return None,
        Some(known) => known,
    };
    let message = format!("unknown option '{name}'; ifupdown ignores it");
    Some((message, format!("Check the spelling: did you mean '{suggestion}'?")))
}

/// Is a comment a part of the option's value? The check of gateways is more exact. Commands are read by a shell, for which
/// `#` begins a comment.
fn comment_is_read(name: &Text) -> bool {
    let is_free = FREE_TEXT.iter().any(|word| name.starts_with(word.as_bytes()));
    !is_command(name) && *name != "gateway" && !is_free
}

fn comment(entry: &Entry) -> Option<Diagnostic> {
    if !entry.value.contains(&b'#') {
        return None;
    }
    let words = entry.value.fields_with(char::is_whitespace);
    words.skip(1).find(|word| word.starts_with(b"#")).map(|word| {
        Diagnostic::warning(
            entry.location,
            word,
            format!("inline comments are not supported; '#' becomes part of the value of '{}'", entry.name),
            "Move the comment to a separate line.",
        )
    })
}

fn second_addresses(config: &Config, stanza: &Stanza, addresses: &NameSet, found: &mut Vec<Diagnostic>) {
    if stanza.method != "static" || !matches!(stanza.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return;
    }
    for second in config.entries_named(stanza, addresses).filter(|entry| !entry.in_block).skip(1) {
        found.push(Diagnostic::warning(
            second.location,
            second.value,
            "a second 'address' in one stanza is ignored",
            format!("Move it to a second 'iface {} {} static' stanza.", stanza.interface, stanza.family),
        ));
    }
}

/// ifupdown-ng and ifupdown2 add a default route for it with every method.
fn gateways_without_effect(config: &Config, stanza: &Stanza, gateways: &NameSet, found: &mut Vec<Diagnostic>) {
    let is_ip = matches!(stanza.family, AddressFamily::Inet | AddressFamily::Inet6);
    let has_none = matches!(&stanza.method[..], b"dhcp" | b"manual" | b"auto" | b"6to4");
    if !is_ip || !has_none || config.dialect != Dialect::Ifupdown {
        return;
    }
    for gateway in config.entries_named(stanza, gateways).filter(|entry| !entry.in_block) {
        found.push(Diagnostic::warning(
            gateway.location,
            gateway.value,
            format!("'gateway' has no effect in a stanza with the method '{}'", stanza.method),
            "Remove it, or set the method to 'static'.",
        ));
    }
}

/// A backslash joins lines only if it is the last byte.
fn broken_continuation(location: Location, raw: &[u8]) -> Option<Diagnostic> {
    let line = raw.strip_suffix(b"\n")?;
    let text = line.trim_end_with(|c| matches!(c, ' ' | '\t' | '\r'));
    if text.len() == line.len() || !text.ends_with(b"\\") || trim_start(text).starts_with(b"#") {
        return None;
    }
    let what = if line.ends_with(b"\r") { "a carriage return" } else { "a space or tab" };
    Some(Diagnostic::warning(
        location,
        b"\\",
        format!("the backslash does not join this line with the next: {what} follows it"),
        "Remove everything between the backslash and the end of the line.",
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
        config.diagnostics.iter().map(|d| (d.location.unwrap().line() + 1, d.message.clone())).collect()
    }

    #[test]
    fn lines_before_the_first_stanza() {
        for (text, reason) in [
            ("\u{feff}auto eth0\n", "byte order mark"),
            ("Iface eth0 inet dhcp\n", "unknown keyword 'Iface' (keywords are case-sensitive)"),
            ("allow_hotplug eth0\n", "unknown keyword 'allow_hotplug'"),
            ("mtu 1400\n", "misplaced option; ifupdown rejects"),
        ] {
            let found = warnings(text);
            assert!(found.len() == 1 && found[0].0 == 1 && found[0].1.contains(reason), "{found:?}");
        }
    }

    #[test]
    fn each_mistake_is_reported_at_its_line() {
        let cases: [(&str, usize, &str); 17] = [
            ("auto eth0 # wan\niface eth0 inet dhcp\n", 1, "each word after it"),
            ("auto eth0\niface eth0 inet dhcp # wan\n", 2, "extra parameter"),
            (
                "auto eth0\niface eth0 inet static\n address 192.0.2.1 # wan\n",
                3,
                "becomes part of the value of 'address'",
            ),
            ("auto eth0\niface eth0 inet dhcp\n Auto eth1\n", 3, "unknown keyword 'Auto'"),
            ("auto eth0\niface eth0 inet dhcp\n Iface eth1 inet dhcp\n", 3, "unknown keyword 'Iface'"),
            ("auto eth0\niface eth0 inet dhcp\n allow_hotplug eth1\n", 3, "unknown keyword 'allow_hotplug'"),
            ("auto eth0\niface eth0 inet dhcp\n post_up x\n", 3, "unknown option 'post_up'"),
            (
                "auto eth0\niface eth0 inet dhcp\n post up x\n",
                3,
                "unknown option 'post'; ifupdown never runs this line",
            ),
            ("auto eth0\niface eth0 inet static\n address 192.0.2.1/24\n netamsk 2\n", 4, "unknown option 'netamsk'"),
            ("auto eth0\niface eth0 inet dhcp\n symroute-metric 5\n", 3, "unknown option 'symroute-metric'"),
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
            ("auto eth0\niface eth0 inet dhcp\niface eth1 inet dhcp\n", 3, "nothing starts eth1"),
            ("auto eth0\niface eth0 inet dhcp\niface eth1 inet dhcp\n up x dev eth1\n", 3, "nothing starts eth1"),
            ("auto eth0\niface eth0 inet dhcp\n up x \\\r\n y z\n", 3, "a carriage return follows it"),
            ("auto eth0\niface eth0 inet dhcp\n up x \\ \n y z\n", 3, "a space or tab follows it"),
            ("auto eth0\niface eth0 inet dhcp\nsource-directory /d\n", 3, "/d/eth9.cfg is ignored"),
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
