//! Interfaces, addresses and neighbours: rtnetlink(7).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use nix::libc;

use super::values::{family_of, index_of, name_of};
use crate::netlink::wire::{AF_INET, AF_INET6, Attributes, Request, split};
use crate::network::{Address, Family, Link};
use crate::observe::links::Neighbour;
use crate::policy::difference::Membership;

// linux/if_link.h
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_LINK: u16 = 5;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_GROUP: u16 = 27;
const IFLA_EXT_MASK: u16 = 29;
pub(super) const IFLA_PROP_LIST: u16 = 52;
pub(super) const IFLA_ALT_IFNAME: u16 = 53;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_SLAVE_KIND: u16 = 4;
/// Kinds of interfaces that send and receive packets through another one, without a tag.
const SHARING: [&[u8]; 4] = [b"macvlan", b"macvtap", b"ipvlan", b"ipvtap"];
/// `IFF_UP` (netdevice(7)).
pub(super) const IFF_UP: u32 = 1;
pub(super) const IFF_BROADCAST: u32 = 2;
pub(super) const IFF_NOARP: u32 = 0x80;

// linux/rtnetlink.h
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

// linux/if_addr.h
pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_F_DADFAILED: u8 = 8;

// linux/neighbour.h
pub(super) const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
pub(super) const NUD_INCOMPLETE: u16 = 0x01;
pub(super) const NUD_FAILED: u16 = 0x20;

/// Which neighbours do not reply.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NeighbourStates {
    /// As a lookup of the kernel sees it.
    Failed,
    /// Also those that the kernel is resolving. While packets are sent to a missing neighbour, it is in the state
    /// "failed" for short times only.
    FailedOrIncomplete,
}

impl NeighbourStates {
    fn bits(self) -> u16 {
        match self {
            NeighbourStates::Failed => NUD_FAILED,
            NeighbourStates::FailedOrIncomplete => NUD_FAILED | NUD_INCOMPLETE,
        }
    }
}

/// The requests for lists; without an address family, for the lists of all families.
pub(crate) fn list_links() -> Request {
    get_link(0)
}

/// The request for one interface, by its index.
pub(crate) fn get_link(index: u32) -> Request {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut request = Request::new(libc::RTM_GETLINK, &header);
    // The kernel adds up the counters of all processors; nothing here reads them.
    request.attributes.add_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    request
}

pub(crate) fn list_addresses() -> Request {
    Request::new(libc::RTM_GETADDR, &[0; 8])
}

pub(crate) fn list_neighbours(family: Family) -> Request {
    Request::new(libc::RTM_GETNEIGH, &[family_of(family), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

pub(crate) fn read_link(body: &[u8]) -> Result<Link> {
    let (header, attributes) = split::<16>(body)?;
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let mut link = Link { index: u32::from_ne_bytes([i0, i1, i2, i3]), ..Link::default() };
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    link.up = flags & IFF_UP != 0;
    link.broadcast = flags & (IFF_BROADCAST | IFF_NOARP) == IFF_BROADCAST;
    let index = link.index;
    read_link_attributes(attributes, &mut link).with_context(|| format!("interface {index}"))?;
    Ok(link)
}

fn read_link_attributes(attributes: Attributes<'_>, link: &mut Link) -> Result<()> {
    let (mut below, mut is_sharing) = (None, false);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_LINK => below = attribute.u32().ok(),
            IFLA_IFNAME => link.name = attribute.name()?,
            IFLA_GROUP => link.group = attribute.u32()?,
            IFLA_PROP_LIST => {
                for property in attribute.nested() {
                    let property = property?;
                    if property.kind == IFLA_ALT_IFNAME {
                        link.altnames.push(property.name()?);
                    }
                }
            }
            IFLA_LINKINFO => {
                for info in attribute.nested() {
                    let info = info?;
                    let is_kind = [IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND].contains(&info.kind);
                    let kind = info.value.strip_suffix(&[0]).unwrap_or(info.value);
                    link.vrf |= is_kind && kind == b"vrf";
                    is_sharing |= info.kind == IFLA_INFO_KIND && SHARING.contains(&kind);
                }
            }
            _ => {}
        }
    }
    link.shares = below.filter(|_| is_sharing);
    ensure!(!link.name.is_empty(), "it has no name");
    Ok(())
}

/// Nothing for an address of another family, or of an interface that was added after the list of links was read.
pub(crate) fn read_address(body: &[u8], links: &[Link]) -> Result<Option<Address>> {
    let (&[family, length, flags, scope, i0, i1, i2, i3], attributes) = split::<8>(body)?;
    if family != AF_INET && family != AF_INET6 {
        return Ok(None);
    }
    let (mut local, mut other) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            IFA_LOCAL => local = Some(attribute.address(family)?),
            IFA_ADDRESS => other = Some(attribute.address(family)?),
            _ => {}
        }
    }
    // IFA_ADDRESS is the peer if IFA_LOCAL differs from it, otherwise the address itself.
    let own = local.or(other).context("neither IFA_LOCAL nor IFA_ADDRESS")?;
    let peer = other.filter(|other| *other != own);
    let length = if peer.is_some() { IpNet::from(own).max_prefix_len() } else { length };
    let net = IpNet::new(own, length).with_context(|| format!("{own} has length {length}"))?;
    let Some(dev) = name_of(u32::from_ne_bytes([i0, i1, i2, i3]), links) else { return Ok(None) };
    // dhcpcd gives an address of RFC 3927 the scope global.
    let local = scope != 0 || matches!(own, IpAddr::V4(own) if own.is_link_local());
    Ok(Some(Address { dev, net, peer, local, duplicate: flags & IFA_F_DADFAILED != 0 }))
}

/// The interface and the address of a neighbour that does not reply; nothing for other neighbours.
pub(crate) fn read_failed_neighbour(
    body: &[u8],
    links: &[Link],
    states: NeighbourStates,
) -> Result<Option<(String, IpAddr)>> {
    let (&[family, _, _, _, i0, i1, i2, i3, s0, s1, ..], attributes) = split::<12>(body)?;
    if family != AF_INET && family != AF_INET6 || u16::from_ne_bytes([s0, s1]) & states.bits() == 0 {
        return Ok(None);
    }
    let mut address = None;
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == NDA_DST {
            address = Some(attribute.address(family)?);
        }
    }
    let address = address.context("a neighbour has no address")?;
    Ok(name_of(u32::from_ne_bytes([i0, i1, i2, i3]), links).map(|dev| (dev, address)))
}

/// A neighbour with its Ethernet address; nothing for others.
pub(crate) fn read_neighbour(body: &[u8]) -> Result<Option<Neighbour>> {
    let (&[family, _, _, _, i0, i1, i2, i3, s0, s1, ..], attributes) = split::<12>(body)?;
    let is_failed = u16::from_ne_bytes([s0, s1]) & NeighbourStates::FailedOrIncomplete.bits() != 0;
    if family != AF_INET && family != AF_INET6 || is_failed {
        return Ok(None);
    }
    let (mut address, mut hardware) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            NDA_DST => address = Some(attribute.address(family)?),
            NDA_LLADDR => hardware = attribute.value.try_into().ok(),
            _ => {}
        }
    }
    let link = u32::from_ne_bytes([i0, i1, i2, i3]);
    Ok(address.zip(hardware).map(|(address, hardware)| Neighbour { link, address, hardware }))
}

/// Nothing if the link does not exist any more: a request without an index applies to every link of a group.
pub(crate) fn write_group(change: &Membership, links: &[Link]) -> Option<Request> {
    let index = index_of(&change.dev, links).filter(|index| *index != 0)?;
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut request = Request::new(libc::RTM_SETLINK, &header);
    request.attributes.add_u32(IFLA_GROUP, change.to);
    Some(request)
}
