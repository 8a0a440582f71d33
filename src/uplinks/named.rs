//! The arguments of `ifdown` and `ifup` that take an uplink down and up again.
//!
//! ifupdown runs the `down` lines of a stanza only if its name is given. If a link is up as `eth0=home`, then
//! `ifdown --force eth0` only removes it from ifupdown's state, and `ifup eth0` fails: the interface is unknown, or the
//! address exists. An alias (`eth0:1`) loses its address with its link, but stays recorded as up.

use bstr::ByteSlice;

use super::uplink::{Uplink, is_alias, name};
use crate::interfaces::{Config, Dialect};
use crate::network::Snapshot;
use crate::sort::sort_by_key;

/// The arguments of `ifup`, in this order; `ifdown` needs them in reverse order.
pub fn ifup_targets(config: &Config, snapshot: &Snapshot, uplink: &Uplink) -> Vec<String> {
    // ifupdown2 treats a link and its aliases as one interface.
    if config.dialect == Dialect::Ifupdown2 {
        return vec![uplink.interface.clone()];
    }
    let link_is_up = snapshot.link(&uplink.interface).is_some_and(|link| link.up);
    // ifupdown-ng takes the link down with an alias.
    if is_alias(&uplink.name) && link_is_up && config.dialect == Dialect::Ifupdown {
        return vec![word(&uplink.name)];
    }
    let on_link = config.active.iter().filter(|(link, _)| link.to_str().is_ok_and(|link| uplink.is_on(link)));
    let mut names: Vec<String> = on_link.map(|(link, stanza)| name(link.as_bstr(), stanza.as_bstr())).collect();
    if !names.contains(&uplink.name) {
        names.push(uplink.name.clone());
    }
    sort_by_key(&mut names, |name| is_alias(name));
    names.iter().map(|name| word(name)).collect()
}

/// The command that takes these interfaces down and up again; `forced` if ifup's state may differ from the kernel.
pub fn restart(words: &[String], forced: bool) -> String {
    let down: Vec<&str> = words.iter().rev().map(String::as_str).collect();
    let force = if forced { "--force " } else { "" };
    format!("ifdown {force}{}; ifup {}", down.join(" "), words.join(" "))
}

/// The same command, which also runs to its end if it cuts the ssh session.
pub fn detached(command: &str) -> String {
    let is_special = |c: char| matches!(c, '\\' | '"' | '$' | '`');
    let quoted: String = command.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect();
    format!("setsid -w sh -c \"{quoted}\"")
}

/// Quoted for a shell: the name of a stanza may have any characters except blanks.
fn word(name: &str) -> String {
    match name.bytes().all(|b| b.is_ascii_alphanumeric() || b".:=_@+-".contains(&b)) {
        true => name.to_string(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tables::Names;
    use crate::network::Link;
    use crate::system::files::Root;
    use crate::uplinks::find;

    #[test]
    fn restarts_all_stanzas_of_the_interface() {
        let text = "auto eth0=home eth1 eth1:1\niface home inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n\
                    iface eth1 inet static\n address 198.51.100.10/24\n gateway 198.51.100.1\n\
                    iface eth1:1 inet static\n address 203.0.113.10/24\n gateway 203.0.113.1\n";
        let words = |text: &str, dialect, up: bool| -> Vec<String> {
            let mut config = Config::parse("/f".as_ref(), text.into(), &Root::new("/".as_ref()), dialect);
            let active = [("eth0", "home"), ("eth1:1", "eth1:1"), ("eth1", "eth1"), ("eth10", "eth10")];
            config.active = active.map(|(link, stanza)| (link.into(), stanza.into())).into();
            let link = |name: &str| Link { index: 1, name: name.into(), up, ..Link::default() };
            let snapshot = Snapshot { links: ["eth0", "eth1"].map(link).into(), ..Snapshot::default() };
            let uplinks = find(&config, None, &[], &Names::default()).uplinks;
            uplinks.iter().map(|uplink| ifup_targets(&config, &snapshot, uplink).join(" ")).collect()
        };
        let suggested_lines = "eth1 eth1:1";
        assert_eq!(words(text, Dialect::Ifupdown, true), ["eth0=home", suggested_lines, "eth1:1"]);
        assert_eq!(words(text, Dialect::Ifupdown, false), ["eth0=home", suggested_lines, suggested_lines]);
        assert_eq!(words(text, Dialect::IfupdownNg, true), ["eth0=home", suggested_lines, suggested_lines]);
        assert_eq!(words(text, Dialect::Ifupdown2, true), ["eth0", "eth1", "eth1"]);
        assert_eq!(
            detached(&restart(&["eth1".into(), "eth1:1".into()], false)),
            "setsid -w sh -c \"ifdown eth1:1 eth1; ifup eth1 eth1:1\""
        );
        let strange = detached(&restart(&[word("eth2=a$b\"c`d\\'e")], true));
        let said =
            std::process::Command::new("sh").args(["-c", &strange.replacen("setsid -w sh -c", "echo", 1)]).output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        assert!(said.starts_with("ifdown --force 'eth2=a$b\"c`d\\'\\''e'; ifup "), "{said}");
        let odd = "auto eth2=a;b'c\niface a;b'c inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n";
        assert_eq!(words(odd, Dialect::Ifupdown, true), [r"'eth2=a;b'\''c'"]);
    }
}
