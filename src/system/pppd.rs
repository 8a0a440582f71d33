//! Which interface pppd uses for a stanza, as far as its files say.

use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use crate::interfaces::{Config, Files, Stanza, Text};

/// The stanzas with the method `ppp` whose interface is known, each with the interface.
pub fn interfaces(files: &dyn Files, config: &Config) -> Vec<(Text, String)> {
    let stanzas = config.stanzas.iter().filter(|stanza| stanza.method == "ppp");
    stanzas.filter_map(|stanza| Some((stanza.interface.clone(), interface(files, config, stanza)?))).collect()
}

/// By pppd's options: `ifname`, `linkname` (pppd writes its interface into a file), `unit`. ifup runs
/// `pon PROVIDER unit N OPTIONS` (inet.defn): options of the stanza have precedence.
fn interface(files: &dyn Files, config: &Config, stanza: &Stanza) -> Option<String> {
    let options = config.own_options(stanza);
    let option = |name: &str| options.iter().find(|option| option.name == name).map(|option| &option.value[..]);
    let mut words = peer(files, option("provider").unwrap_or(b"provider"));
    words.extend(option("unit").map(|unit| [b"unit", unit].map(BString::from)).into_iter().flatten());
    words.extend(split(option("options").unwrap_or_default()));
    let value = |name: &str| words.windows(2).rev().find(|pair| pair[0] == name).and_then(|pair| pair[1].to_str().ok());
    let of_link = || {
        let name = value("linkname").filter(|name| is_file_name(name))?;
        let text = files.read(Path::new(&format!("/run/ppp-{name}.pid"))).ok()?;
        // The process, then the interface.
        Some(text.lines().nth(1)?.trim_ascii().to_str().ok()?.to_string())
    };
    let of_unit = || value("unit")?.parse::<u32>().ok().map(|unit| format!("ppp{unit}"));
    value("ifname").map(String::from).or_else(of_link).or_else(of_unit).filter(|name| is_file_name(name))
}

/// The words of `/etc/ppp/peers/NAME`; none if pppd would reject the name.
fn peer(files: &dyn Files, name: &[u8]) -> Vec<BString> {
    let path = name.to_str().ok().map(PathBuf::from);
    let is_below = |path: &PathBuf| path.is_relative() && path.components().all(|part| part.as_os_str() != "..");
    let text = path.filter(is_below).and_then(|path| files.read(&Path::new("/etc/ppp/peers").join(path)).ok());
    text.unwrap_or_default().lines().flat_map(split).collect()
}

/// The words of a line of an options file (pppd(8)): quotes group, and `#` begins a comment.
fn split(line: &[u8]) -> Vec<BString> {
    let (mut words, mut quote, mut word) = (Vec::new(), None, None::<BString>);
    for byte in line {
        match (quote, byte) {
            (None, b'#') if word.is_none() => break,
            (None, byte) if byte.is_ascii_whitespace() => words.extend(word.take()),
            (None, b'"' | b'\'') => {
                quote = Some(*byte);
                word.get_or_insert_default();
            }
            (Some(open), byte) if open == *byte => quote = None,
            (_, byte) => word.get_or_insert_default().push(*byte),
        }
    }
    words.extend(word);
    words
}

/// One word without a slash, not too long for an interface.
fn is_file_name(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/') && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::interfaces::Dialect;
    use crate::system::files::Root;

    /// The interface of `iface dsl inet ppp` with these options, and this text of /etc/ppp/peers/isp.
    fn of(options: &str, peer: &str) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/ppp/peers")).unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        fs::write(root.path().join("etc/ppp/peers/isp"), peer).unwrap();
        fs::write(root.path().join("etc/secret"), "unit 9\n").unwrap();
        fs::write(root.path().join("run/ppp-home.pid"), "123\nppp4\n").unwrap();
        fs::write(root.path().join("run/ppp-old.pid"), "123\n").unwrap();
        let text = format!("iface dsl inet ppp\n{}", options.replace(';', "\n"));
        let root = Root::new(root.path());
        let config = Config::parse("/f".as_ref(), text.into_bytes(), &root, Dialect::Ifupdown);
        interfaces(&root, &config).first().map(|(_, name)| name.clone())
    }

    #[test]
    fn the_interface_by_pppds_options() {
        let known = |name: &str| Some(name.to_string());
        assert_eq!(of(" provider isp", "noauth\ndefaultroute\n"), None);
        assert_eq!(of(" provider isp", "plugin pppoe.so\nunit 3\n"), known("ppp3"));
        assert_eq!(of(" provider isp", "ifname wan0 unit 3\n"), known("wan0"));
        assert_eq!(of(" provider isp", "linkname 'home'\n"), known("ppp4"));
        assert_eq!(of(" provider isp; unit 2", "unit 3\n"), known("ppp2"));
        assert_eq!(of(" provider isp; options ifname \"wan1\"", "ifname wan0\n"), known("wan1"));
        // No value of these names an interface.
        for peer in
            ["# unit 3\n", "user a#b unit\n", "unit x\n", "linkname old\n", "linkname ../secret\n", "ifname a/b\n"]
        {
            assert_eq!(of(" provider isp", peer), None, "{peer}");
        }
        for provider in ["../../secret", "/etc/secret", "missing"] {
            assert_eq!(of(&format!(" provider {provider}"), ""), None, "{provider}");
        }
    }
}
