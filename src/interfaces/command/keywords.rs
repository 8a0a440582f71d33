//! The words that iproute2 knows, in its order, and how it reads the numbers, addresses and prefixes behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What follows a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// `lock` may come before the value.
    Lockable,
    Number,
    Mark,
    Prefix,
    /// The family may come before the value.
    Gateway,
    Address,
    Link,
}

/// A keyword as iproute2 spells it, whether it may be abbreviated, its name here, and what follows it.
pub(super) type Keyword = (&'static str, bool, &'static str, Takes);

/// In the order of iprule.c, where the first that matches wins: `t` is `tun_id`, `ta` is `table`.
pub(super) const RULE: [Keyword; 29] = [
    ("not", false, "not", Takes::Nothing),
    ("from", false, "from", Takes::Prefix),
    ("to", false, "to", Takes::Prefix),
    ("preference", true, "priority", Takes::Number),
    ("order", true, "priority", Takes::Number),
    ("priority", true, "priority", Takes::Number),
    ("tos", false, "tos", Takes::Value),
    ("dsfield", true, "tos", Takes::Value),
    ("fwmark", false, "fwmark", Takes::Mark),
    ("realms", true, "realms", Takes::Value),
    ("protocol", true, "protocol", Takes::Value),
    ("tun_id", true, "tun_id", Takes::Number),
    ("table", true, "table", Takes::Value),
    ("lookup", false, "table", Takes::Value),
    ("suppress_prefixlength", true, "suppress_prefixlength", Takes::Number),
    ("sup_pl", false, "suppress_prefixlength", Takes::Number),
    ("suppress_ifgroup", true, "suppress_ifgroup", Takes::Value),
    ("sup_group", false, "suppress_ifgroup", Takes::Value),
    ("dev", false, "iif", Takes::Link),
    ("iif", false, "iif", Takes::Link),
    ("oif", false, "oif", Takes::Link),
    ("l3mdev", false, "l3mdev", Takes::Nothing),
    ("uidrange", false, "uidrange", Takes::Value),
    ("nat", false, "nat", Takes::Value),
    ("map-to", true, "nat", Takes::Value),
    ("ipproto", false, "ipproto", Takes::Value),
    ("sport", false, "sport", Takes::Value),
    ("dport", false, "dport", Takes::Value),
    ("dscp", false, "dscp", Takes::Value),
];

/// In the order of iproute.c.
pub(super) const ROUTE: [Keyword; 35] = [
    ("src", false, "src", Takes::Address),
    ("as", false, "as", Takes::Value),
    ("via", false, "via", Takes::Gateway),
    ("from", false, "from", Takes::Prefix),
    ("tos", false, "tos", Takes::Value),
    ("dsfield", true, "tos", Takes::Value),
    ("expires", false, "expires", Takes::Value),
    ("metric", true, "metric", Takes::Number),
    ("priority", true, "metric", Takes::Number),
    ("preference", false, "metric", Takes::Number),
    ("scope", false, "scope", Takes::Value),
    ("mtu", false, "mtu", Takes::Lockable),
    ("hoplimit", false, "hoplimit", Takes::Lockable),
    ("advmss", false, "advmss", Takes::Lockable),
    ("reordering", true, "reordering", Takes::Lockable),
    ("rtt", false, "rtt", Takes::Lockable),
    ("rto_min", false, "rto_min", Takes::Value),
    ("window", false, "window", Takes::Lockable),
    ("cwnd", true, "cwnd", Takes::Lockable),
    ("initcwnd", true, "initcwnd", Takes::Lockable),
    ("initrwnd", true, "initrwnd", Takes::Lockable),
    ("features", true, "features", Takes::Value),
    ("quickack", true, "quickack", Takes::Value),
    ("congctl", true, "congctl", Takes::Lockable),
    ("rttvar", true, "rttvar", Takes::Lockable),
    ("ssthresh", true, "ssthresh", Takes::Lockable),
    ("realms", true, "realms", Takes::Value),
    ("onlink", false, "onlink", Takes::Nothing),
    ("nhid", false, "nhid", Takes::Value),
    ("protocol", true, "protocol", Takes::Value),
    ("table", true, "table", Takes::Value),
    ("dev", false, "dev", Takes::Value),
    ("oif", false, "dev", Takes::Value),
    ("pref", true, "pref", Takes::Value),
    ("ttl-propagate", false, "ttl-propagate", Takes::Value),
];

/// Those of `ip address` that have a value; its flags have none.
pub(super) const ADDRESS: [Keyword; 13] = [
    ("local", false, "to", Takes::Value),
    ("dev", false, "dev", Takes::Value),
    ("peer", false, "peer", Takes::Value),
    ("remote", false, "peer", Takes::Value),
    ("broadcast", true, "broadcast", Takes::Value),
    ("brd", false, "broadcast", Takes::Value),
    ("anycast", true, "anycast", Takes::Value),
    ("scope", false, "scope", Takes::Value),
    ("label", false, "label", Takes::Value),
    ("metric", false, "metric", Takes::Value),
    ("valid_lft", false, "valid_lft", Takes::Value),
    ("preferred_lft", false, "preferred_lft", Takes::Value),
    ("proto", false, "proto", Takes::Value),
];

/// iproute2's `matches()`: an abbreviation is taken for the first keyword that it begins.
pub(super) fn abbreviated<'a>(word: &str, keywords: &[&'a str]) -> Option<&'a str> {
    keywords.iter().find(|keyword| !word.is_empty() && keyword.starts_with(word)).copied()
}

pub(super) fn keyword<'a>(word: &str, keywords: &'a [Keyword]) -> Option<&'a Keyword> {
    keywords
        .iter()
        .find(|(name, abbreviates, ..)| *name == word || *abbreviates && !word.is_empty() && name.starts_with(word))
}

/// `rtnl_rtntype_a2n`: the types of routes, which rules may have too.
pub(super) fn is_type(word: &str) -> bool {
    const SHORT: [&str; 8] =
        ["broadcast", "anycast", "multicast", "prohibit", "unreachable", "blackhole", "xresolve", "unicast"];
    matches!(word, "local" | "nat" | "brd")
        || abbreviated(word, &SHORT).is_some()
        || abbreviated(word, &["throw"]).is_some()
        || number(word).is_some_and(|number| number <= 255)
}

/// A number as C's `strtoul` with base 0 reads it: decimal, `0x` hexadecimal, `0` octal.
pub fn number(text: &str) -> Option<u32> {
    let (digits, base) = match (text.strip_prefix("0x").or(text.strip_prefix("0X")), text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    if digits.starts_with(['+', '-']) { None } else { u32::from_str_radix(digits, base).ok() }
}

/// An address as iproute2 reads it (utils.c `get_addr_ipv4`): `10` is 10.0.0.0, and `192.0.2` is 192.0.2.0.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        match parts.next() {
            Some(part) => *octet = u8::try_from(number(part)?).ok()?,
            None => break,
        }
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A prefix as iproute2 reads it (utils.c `get_prefix_1`): a single address, `ADDR/LENGTH`, `ADDR/MASK`,
/// `default`, `any` or `all`. Host bits stay.
pub fn prefix(text: &str, inet6: bool) -> Option<IpNet> {
    if matches!(text, "default" | "any" | "all") {
        let everything = if inet6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        return IpNet::new(everything, 0).ok();
    }
    let Some((text, length)) = text.split_once('/') else { return address(text).map(IpNet::from) };
    let length = match number(length) {
        Some(length) => u8::try_from(length).ok(),
        None => address(length).and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok()),
    };
    IpNet::new(address(text)?, length?).ok()
}
