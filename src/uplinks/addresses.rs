//! The addresses in the options of a stanza, as ifupdown converts them.

use std::net::IpAddr;

use bstr::ByteSlice;
use ipnet::IpNet;

use super::stanza::has_address;
use super::uplink::Source;
use crate::interfaces::config::MergedOption;
use crate::interfaces::{Diagnostic, Dialect, Stanza};
use crate::network::Family;

/// The addresses of a static stanza, or their errors: one, or with ifupdown-ng and ifupdown2 several.
pub(crate) fn for_each_address(
    dialect: Dialect,
    stanza: &Stanza,
    family: Family,
    options: &[MergedOption],
    found: &mut dyn FnMut(Result<Source, Diagnostic>),
) {
    if !has_address(dialect, stanza) {
        return;
    }
    let (mut address, mut netmask, mut peers) = (None, None, [None; 3]);
    for option in options {
        match &option.name[..] {
            b"address" => address = Some(option),
            b"netmask" => netmask = Some(option),
            b"pointopoint" => peers[0] = Some(option),
            b"point-to-point" => peers[1] = Some(option),
            b"dstaddr" if stanza.method == "tunnel" => peers[2] = Some(option),
            _ => {}
        }
    }
    let Some(address) = address else { return };
    let peer = peers.into_iter().flatten().next();
    let peer = peer.and_then(|option| option.value.to_str().ok()?.parse::<IpAddr>().ok());
    let of_stanza = AddressOptions { dialect, family, address, netmask };
    let mut one = |value: &[u8]| found(of_stanza.net(value).map(|net| Source { peer, ..Source::of(net) }));
    match dialect {
        Dialect::Ifupdown => one(&address.value),
        _ => address.value.lines().for_each(one),
    }
}

/// What an address of a stanza depends on.
struct AddressOptions<'o> {
    dialect: Dialect,
    family: Family,
    address: &'o MergedOption,
    netmask: Option<&'o MergedOption>,
}

impl AddressOptions<'_> {
    /// As ifupdown converts it (archcommon.c `compute_v4_mask`).
    fn net(&self, value: &[u8]) -> Result<IpNet, Diagnostic> {
        let value = value.to_str_lossy();
        // ifupdown cuts at the first slash, even where a second 'address' line was joined on.
        let (address, length) = match value.bytes().position(|byte| byte == b'/') {
            Some(slash) => (&value[..slash], Some(&value[slash + 1..])),
            None => (&*value, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return Err(self.invalid(self.address, "address")) };
        if address.is_ipv6() != (self.family == Family::Inet6) {
            return Err(self.invalid(self.address, &format!("{} address", self.family.version())));
        }
        let length = match (self.netmask, length, address) {
            (Some(netmask), ..) => prefix_length(&netmask.value.to_str_lossy(), address),
            (None, Some(length), _) => prefix_length(length, address),
            (None, None, IpAddr::V4(address)) if self.dialect == Dialect::Ifupdown => Some(match address.octets()[0] {
                0..=127 => 8,
                128..=191 => 16,
                192..=223 => 24,
                _ => 32,
            }),
            (None, None, IpAddr::V4(_)) => Some(32),
            (None, None, IpAddr::V6(_)) => Some(128),
        };
        let net = length.and_then(|length| IpNet::new(address, length).ok());
        net.ok_or_else(|| self.invalid(self.netmask.unwrap_or(self.address), "netmask or prefix length"))
    }

    fn invalid(&self, option: &MergedOption, what: &str) -> Diagnostic {
        let text = option.value.as_bstr();
        let help = match self.family {
            Family::Inet6 => "Write 'address 2001:db8:a::10/64'.",
            Family::Inet => "Write 'address 192.0.2.10/24'.",
        };
        Diagnostic::error(option.location, text, format!("invalid {what} '{text}'"), help)
    }
}

/// The prefix length of `24`, `255.255.255.0`, or `24 # text` (ifupdown reads digits and stops).
fn prefix_length(text: &str, address: IpAddr) -> Option<u8> {
    // Mostly it is the length alone.
    if let Ok(length) = text.parse() {
        return Some(length);
    }
    let text = text.split(char::is_whitespace).next().unwrap_or_default();
    let of_mask = || ipnet::ip_mask_to_prefix(text.parse().ok().filter(|_| address.is_ipv4())?).ok();
    text.parse().ok().or_else(of_mask)
}
