//! The interfaces of stanzas with the methods `ppp` and `wvdial`: pppd names them.

use bstr::ByteSlice;

use super::stanza::is_point_to_point;
use crate::interfaces::{Config, Diagnostic, Stanza};
use crate::network::Snapshot;

/// Which stanza has which interface.
#[derive(Debug, Default)]
pub(crate) struct PppInterfaces {
    /// The name of the stanza, and that of the interface.
    pub(crate) known: Vec<(String, String)>,
    /// A warning for each stanza whose interface cannot be told.
    pub(crate) unknown: Vec<Diagnostic>,
}

/// By pppd's files, by the stanza's own name, or because there is only one stanza and one interface.
pub(crate) fn interfaces(config: &Config, snapshot: Option<&Snapshot>) -> PppInterfaces {
    let mut stanzas: Vec<&Stanza> =
        config.stanzas.iter().filter(|stanza| stanza.location.is_some() && is_point_to_point(stanza)).collect();
    stanzas.dedup_by(|one, other| one.interface == other.interface);
    let mut found = PppInterfaces::default();
    let mut open = Vec::new();
    for stanza in &stanzas {
        let name = stanza.interface.to_str_lossy().into_owned();
        let of_files =
            config.ppp.iter().find(|(of, _)| *of == stanza.interface).map(|(_, interface)| interface.clone());
        let is_own = is_unit(&name) || snapshot.is_some_and(|snapshot| snapshot.link(&name).is_some());
        match of_files {
            Some(interface) => found.known.push((name, interface)),
            None if is_own => {}
            None => open.push(*stanza),
        }
    }
    let links = snapshot.iter().flat_map(|snapshot| &snapshot.links).map(|link| &link.name);
    let links: Vec<&String> = links.filter(|name| is_unit(name)).collect();
    match (&stanzas[..], &links[..]) {
        ([_], []) => {}
        ([_], [link]) => {
            found.known.extend(open.iter().map(|stanza| (stanza.interface.to_string(), (*link).clone())));
        }
        _ => found.unknown.extend(open.iter().filter_map(|stanza| warning(stanza))),
    }
    found
}

/// `ppp0`
pub(crate) fn is_unit(name: &str) -> bool {
    let number = name.strip_prefix("ppp").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

fn warning(stanza: &Stanza) -> Option<Diagnostic> {
    let location = stanza.location?;
    let message =
        format!("{}: the interface that pppd uses is not known; symroute adds no rules for it", stanza.interface);
    let help = "Add 'unit N' to the stanza (the interface is pppN), or 'ifname NAME' to the file in /etc/ppp/peers. Use a \
                different one in each stanza.";
    Some(Diagnostic::warning(location, &stanza.interface, message, help).named("ppp-interface-unknown"))
}
