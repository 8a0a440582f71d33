//! The keywords of iproute2, in its order, and how it reads numbers, addresses and prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What follows a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
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

/// A keyword of iproute2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyword {
    pub(crate) word: &'static str,
    pub(crate) may_be_short: bool,
    /// The keyword in full: several words may have the same meaning.
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
}

/// A keyword that must not be abbreviated.
const fn whole(word: &'static str, name: &'static str, takes: Takes) -> Keyword {
    Keyword { word, may_be_short: false, name, takes }
}

/// A keyword that may be abbreviated.
const fn short(word: &'static str, name: &'static str, takes: Takes) -> Keyword {
    Keyword { word, may_be_short: true, name, takes }
}

/// In the order of iprule.c, which uses the first match: `t` is `tun_id`, `ta` is `table`.
pub(crate) const RULE: [Keyword; 29] = [
    whole("not", "not", Takes::Nothing),
    whole("from", "from", Takes::Prefix),
    whole("to", "to", Takes::Prefix),
    short("preference", "priority", Takes::Number),
    short("order", "priority", Takes::Number),
    short("priority", "priority", Takes::Number),
    whole("tos", "tos", Takes::Value),
    short("dsfield", "tos", Takes::Value),
    whole("fwmark", "fwmark", Takes::Mark),
    short("realms", "realms", Takes::Value),
    short("protocol", "protocol", Takes::Value),
    short("tun_id", "tun_id", Takes::Number),
    short("table", "table", Takes::Value),
    whole("lookup", "table", Takes::Value),
    short("suppress_prefixlength", "suppress_prefixlength", Takes::Number),
    whole("sup_pl", "suppress_prefixlength", Takes::Number),
    short("suppress_ifgroup", "suppress_ifgroup", Takes::Value),
    whole("sup_group", "suppress_ifgroup", Takes::Value),
    whole("dev", "iif", Takes::Link),
    whole("iif", "iif", Takes::Link),
    whole("oif", "oif", Takes::Link),
    whole("l3mdev", "l3mdev", Takes::Nothing),
    whole("uidrange", "uidrange", Takes::Value),
    whole("nat", "nat", Takes::Value),
    short("map-to", "nat", Takes::Value),
    whole("ipproto", "ipproto", Takes::Value),
    whole("sport", "sport", Takes::Value),
    whole("dport", "dport", Takes::Value),
    whole("dscp", "dscp", Takes::Value),
];

/// In the order of iproute.c.
pub(crate) const ROUTE: [Keyword; 35] = [
    whole("src", "src", Takes::Address),
    whole("as", "as", Takes::Value),
    whole("via", "via", Takes::Gateway),
    whole("from", "from", Takes::Prefix),
    whole("tos", "tos", Takes::Value),
    short("dsfield", "tos", Takes::Value),
    whole("expires", "expires", Takes::Value),
    short("metric", "metric", Takes::Number),
    short("priority", "metric", Takes::Number),
    whole("preference", "metric", Takes::Number),
    whole("scope", "scope", Takes::Value),
    whole("mtu", "mtu", Takes::Lockable),
    whole("hoplimit", "hoplimit", Takes::Lockable),
    whole("advmss", "advmss", Takes::Lockable),
    short("reordering", "reordering", Takes::Lockable),
    whole("rtt", "rtt", Takes::Lockable),
    whole("rto_min", "rto_min", Takes::Value),
    whole("window", "window", Takes::Lockable),
    short("cwnd", "cwnd", Takes::Lockable),
    short("initcwnd", "initcwnd", Takes::Lockable),
    short("initrwnd", "initrwnd", Takes::Lockable),
    short("features", "features", Takes::Value),
    short("quickack", "quickack", Takes::Value),
    short("congctl", "congctl", Takes::Lockable),
    short("rttvar", "rttvar", Takes::Lockable),
    short("ssthresh", "ssthresh", Takes::Lockable),
    short("realms", "realms", Takes::Value),
    whole("onlink", "onlink", Takes::Nothing),
    whole("nhid", "nhid", Takes::Value),
    short("protocol", "protocol", Takes::Value),
    short("table", "table", Takes::Value),
    whole("dev", "dev", Takes::Value),
    whole("oif", "dev", Takes::Value),
    short("pref", "pref", Takes::Value),
    whole("ttl-propagate", "ttl-propagate", Takes::Value),
];

/// The keywords of `ip address` that have a value; its flags have none.
pub(crate) const ADDRESS: [Keyword; 13] = [
    whole("local", "to", Takes::Value),
    whole("dev", "dev", Takes::Value),
    whole("peer", "peer", Takes::Value),
    whole("remote", "peer", Takes::Value),
    short("broadcast", "broadcast", Takes::Value),
    whole("brd", "broadcast", Takes::Value),
    short("anycast", "anycast", Takes::Value),
    whole("scope", "scope", Takes::Value),
    whole("label", "label", Takes::Value),
    whole("metric", "metric", Takes::Value),
    whole("valid_lft", "valid_lft", Takes::Value),
    whole("preferred_lft", "preferred_lft", Takes::Value),
    whole("proto", "proto", Takes::Value),
];

/// iproute2's `matches()`: an abbreviation stands for the first keyword that begins with it.
pub(crate) fn abbreviated<'a>(word: &str, keywords: &[&'a str]) -> Option<&'a str> {
    let first = word.as_bytes().first()?;
    keywords.iter().find(|keyword| keyword.as_bytes().first() == Some(first) && keyword.starts_with(word)).copied()
}

pub(crate) fn keyword<'a>(word: &str, keywords: &'a [Keyword]) -> Option<&'a Keyword> {
    let first = word.bytes().next().filter(u8::is_ascii_lowercase)?;
    keywords.iter().find(|known| {
        let may_be = known.word.as_bytes().first() == Some(&first);
        may_be && (known.word == word || known.may_be_short && known.word.starts_with(word))
    })
}

/// `rtnl_rtntype_a2n`: the types of routes, which rules may have too.
pub(crate) fn is_type(word: &str) -> bool {
    const SHORT: [&str; 8] =
        ["broadcast", "anycast", "multicast", "prohibit", "unreachable", "blackhole", "xresolve", "unicast"];
    matches!(word, "local" | "nat" | "brd")
        || abbreviated(word, &SHORT).is_some()
        || abbreviated(word, &["throw"]).is_some()
        || number(word).is_some_and(|number| number <= 255)
}

/// A number as C's `strtoul` with base 0 reads it: decimal, `0x` hexadecimal, `0` octal.
pub fn number(text: &str) -> Option<u32> {
    // `parse` would accept a sign.
    match text.as_bytes().first()? {
        b'1'..=b'9' => return text.parse().ok(),
        b'0' => {}
        _ => return None,
    }
    let (digits, base) = match (text.strip_prefix("0x").or(text.strip_prefix("0X")), &text[1..]) {
        (Some(hex), _) => (hex, 16),
        (None, "") => (text, 10),
        (None, octal) => (octal, 8),
    };
    if digits.starts_with(['+', '-']) { None } else { u32::from_str_radix(digits, base).ok() }
}

/// Without a colon, every address is of IPv4.
pub(crate) fn has_colon(text: &str) -> bool {
    text.bytes().any(|byte| byte == b':')
}

/// An address as iproute2 reads it (utils.c `get_addr_ipv4`): `10` is 10.0.0.0, and `192.0.2` is 192.0.2.0.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    // Most addresses are written in full.
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    if has_colon(text) {
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
    let Some(slash) = text.bytes().position(|byte| byte == b'/') else { return address(text).map(IpNet::from) };
    let (text, length) = (&text[..slash], &text[slash + 1..]);
    let length = match number(length) {
        Some(length) => u8::try_from(length).ok(),
        None => address(length).and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok()),
    };
    IpNet::new(address(text)?, length?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_in_full_is_read_as_its_numbers(text in "(0?[0-9]{1,3}\\.){3}0?[0-9]{1,3}") {
            let octets: Option<Vec<u8>> = text.split('.').map(|part| u8::try_from(number(part)?).ok()).collect();
            let expected = octets.map(|octets| IpAddr::from([octets[0], octets[1], octets[2], octets[3]]));
            prop_assert_eq!(address(&text), expected);
        }
    }
}
