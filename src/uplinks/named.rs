//! What `ifdown` and `ifup` have to be given, so that an uplink goes down and comes up again.
//!
//! ifupdown takes back what a stanza did only if it is told which one: `ifdown --force eth0` of a link that is up as
//! `eth0=home` forgets it and leaves everything in place, and `ifup eth0` knows no such interface, or finds the
//! address in its way. An alias (`eth0:1`) loses its address with its link, but stays noted as up.

use bstr::{BStr, ByteSlice};

use super::Uplink;
use crate::interfaces::{Config, Dialect};
use crate::snapshot::Snapshot;

/// The words for `ifup`, in its order; `ifdown` takes them the other way round.
pub fn restarted(config: &Config, snapshot: &Snapshot, uplink: &Uplink) -> Vec<String> {
    // ifupdown2 makes one interface of a link and its aliases.
    if config.dialect == Dialect::Ifupdown2 {
        return vec![uplink.interface.clone()];
    }
    let link_is_up = snapshot.link(&uplink.interface).is_some_and(|link| link.up);
    // ifupdown-ng takes the whole link down with an alias.
    if is_alias(&uplink.name) && link_is_up && config.dialect == Dialect::Ifupdown {
        return vec![word(&uplink.name)];
    }
    let on_link = config.up_as.iter().filter(|(link, _)| link.to_str().is_ok_and(|link| uplink.is_on(link)));
    let mut names: Vec<String> = on_link.map(|(link, stanza)| name(link.as_bstr(), stanza.as_bstr())).collect();
    if !names.contains(&uplink.name) {
        names.push(uplink.name.clone());
    }
    names.sort_by_key(|name| is_alias(name));
    names.iter().map(|name| word(name)).collect()
}

/// The command that takes these words down and up again; `forced` where ifup may not know what is up. It goes on when the
/// ssh session that it cuts ends.
pub fn restart(words: &[String], forced: bool) -> String {
    let down: Vec<&str> = words.iter().rev().map(String::as_str).collect();
    let force = if forced { "--force " } else { "" };
    let command = format!("ifdown {force}{}; ifup {}", down.join(" "), words.join(" "));
    let is_special = |c: char| matches!(c, '\\' | '"' | '$' | '`');
    let quoted: String = command.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect();
    format!("setsid -w sh -c \"{quoted}\"")
}

/// A link and its stanza, as ifup takes them.
pub(super) fn name(link: &BStr, stanza: &BStr) -> String {
    if link == stanza { link.to_string() } else { format!("{link}={stanza}") }
}

pub(super) fn is_alias(name: &str) -> bool {
    name.split('=').next().is_some_and(|link| link.contains(':'))
}

/// For a shell: a stanza's name may have anything but blanks.
fn word(name: &str) -> String {
    match name.bytes().all(|b| b.is_ascii_alphanumeric() || b".:=_@+-".contains(&b)) {
        true => name.to_string(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Root;
    use crate::snapshot::Link;
    use crate::tables::Names;
    use crate::uplinks::find;

    #[test]
    fn takes_what_is_up_on_the_link_along() {
        let text = "auto eth0=home eth1 eth1:1\niface home inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                    iface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n\
                    iface eth1:1 inet static\n address 203.0.113.10/24\n gateway 203.0.113.1\n";
        let words = |text: &str, dialect, up: bool| -> Vec<String> {
            let mut config = Config::parse("/f".as_ref(), text.into(), &Root::new("/".as_ref()), dialect);
            let up_as = [("eth0", "home"), ("eth1:1", "eth1:1"), ("eth1", "eth1"), ("eth10", "eth10")];
            config.up_as = up_as.map(|(link, stanza)| (link.into(), stanza.into())).into();
            let link = |name: &str| Link { index: 1, name: name.into(), up, ..Link::default() };
            let snapshot = Snapshot { links: ["eth0", "eth1"].map(link).into(), ..Snapshot::default() };
            let uplinks = find(&config, None, &[], &Names::default()).uplinks;
            uplinks.iter().map(|uplink| restarted(&config, &snapshot, uplink).join(" ")).collect()
        };
        let whole = "eth1 eth1:1";
        assert_eq!(words(text, Dialect::Ifupdown, true), ["eth0=home", whole, "eth1:1"]);
        assert_eq!(words(text, Dialect::Ifupdown, false), ["eth0=home", whole, whole]);
        assert_eq!(words(text, Dialect::IfupdownNg, true), ["eth0=home", whole, whole]);
        assert_eq!(words(text, Dialect::Ifupdown2, true), ["eth0", "eth1", "eth1"]);
        assert_eq!(
            restart(&["eth1".into(), "eth1:1".into()], false),
            "setsid -w sh -c \"ifdown eth1:1 eth1; ifup eth1 eth1:1\""
        );
        let strange = restart(&[word("eth2=a$b\"c`d\\'e")], true);
        let said =
            std::process::Command::new("sh").args(["-c", &strange.replacen("setsid -w sh -c", "echo", 1)]).output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        assert!(said.starts_with("ifdown --force 'eth2=a$b\"c`d\\'\\''e'; ifup "), "{said}");
        let odd = "auto eth2=a;b'c\niface a;b'c inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n";
        assert_eq!(words(odd, Dialect::Ifupdown, true), [r"'eth2=a;b'\''c'"]);
    }
}
