//! The properties of a stanza that depend on its method and options.

use bstr::ByteSlice;

use crate::interfaces::config::MergedOption;
use crate::interfaces::{AddressFamily, Dialect, Stanza};
use crate::network::Family;

/// Does the stanza's method set its `address`? ifupdown-ng and ifupdown2 set it whatever the method is.
pub(crate) fn has_address(dialect: Dialect, stanza: &Stanza) -> bool {
    match (dialect, &stanza.method[..]) {
        (_, b"dhcp") => false,
        (Dialect::Ifupdown, method) => matches!(method, b"static" | b"tunnel" | b"v4tunnel"),
        _ => true,
    }
}

/// Does the stanza's `gateway` add a default route to the main table? (inet.defn and inet6.defn; `ifup -nv` shows it.) An
/// `inet6 tunnel` may have an IPv4 gateway: no address of the stanza uses it.
pub(crate) fn makes_default(dialect: Dialect, stanza: &Stanza, gateway: &[u8]) -> bool {
    let of_family = stanza.method != "tunnel" || gateway.contains(&b':') == (stanza.family == AddressFamily::Inet6);
    has_address(dialect, stanza) && (of_family || dialect != Dialect::Ifupdown)
}

/// pppd adds the interface, and its default route without a gateway.
pub(crate) fn is_point_to_point(stanza: &Stanza) -> bool {
    matches!(&stanza.method[..], b"ppp" | b"wvdial")
}

/// Does the uplink of a stanza depend on such an option?
pub(crate) fn is_of_uplink(name: &[u8]) -> bool {
    is_of_address(name) || name == b"metric" || name.ends_with(b"gateway") || name.starts_with(b"symroute")
}

/// Does the option belong to an address of the stanza?
pub(crate) fn is_of_address(name: &[u8]) -> bool {
    matches!(name, b"address" | b"netmask" | b"pointopoint" | b"point-to-point" | b"dstaddr")
}

/// The lines of an address or gateway option that are of one family; others belong to both.
pub(crate) fn of_family(option: &MergedOption, family: Family) -> Option<MergedOption> {
    if !matches!(
        &option.name[..],
        b"address" | b"gateway" | b"symroute-gateway" | b"netmask" | b"pointopoint" | b"point-to-point"
    ) {
        return Some(option.clone());
    }
    // A netmask without a colon is for IPv4. An invalid address also counts as IPv4, to be reported once. No gateway is
    // one of both families.
    let is_of_both = |line: &&[u8]| option.name == "symroute-gateway" && *line == b"none";
    let here = |line: &&[u8]| is_of_both(line) || line.contains(&b':') == (family == Family::Inet6);
    if !option.value.contains(&b'\n') {
        return here(&&option.value[..]).then(|| option.clone());
    }
    let lines: Vec<&[u8]> = option.value.split_str("\n").filter(here).collect();
    (!lines.is_empty()).then(|| MergedOption { value: bstr::join("\n", lines).into(), ..option.clone() })
}
