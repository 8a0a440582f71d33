//! Values that several kinds of messages contain.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;

use crate::netlink::wire::{AF_INET, AF_INET6};
use crate::network::{Family, Link};

pub(crate) fn family_of(family: Family) -> u8 {
    match family {
        Family::Inet => AF_INET,
        Family::Inet6 => AF_INET6,
    }
}

/// Nothing for the families of other protocols.
pub(crate) fn ip_family(number: u8) -> Option<Family> {
    match number {
        AF_INET => Some(Family::Inet),
        AF_INET6 => Some(Family::Inet6),
        _ => None,
    }
}

pub(crate) fn index_of(name: &str, links: &[Link]) -> Option<u32> {
    links.iter().find(|link| link.is_named(name)).map(|link| link.index)
}

/// The links are sorted by their index (`Socket::links`).
pub(crate) fn name_of(index: u32, links: &[Link]) -> Option<String> {
    // Mostly they are numbered without gaps.
    let place = index.checked_sub(links.first()?.index)? as usize;
    let link = links.get(place).filter(|link| link.index == index);
    let searched = || links.binary_search_by_key(&index, |link| link.index).ok().map(|place| &links[place]);
    link.or_else(searched).map(|link| link.name.clone())
}

/// The prefix of the address in an attribute; nothing without the attribute, and then the length has to be 0.
pub(crate) fn prefix(address: Option<IpAddr>, length: u8) -> Result<Option<IpNet>> {
    match address {
        Some(address) => {
            IpNet::new(address, length).map(Some).with_context(|| format!("{address} has length {length}"))
        }
        None => {
            ensure!(length == 0, "a prefix of length {length} without an address");
            Ok(None)
        }
    }
}
