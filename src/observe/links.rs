//! What is observed: the links, which addresses belong to which uplink, and what an uplink's address may reach through
//! another link.
//!
//! Plain values: `select` computes them from the plan. Links are numbers (ifindex), so that a packet is judged without
//! names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::networks::is_private;

/// A link (ifindex).
pub type Index = u32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: Index,
    pub name: String,
    /// Other links are observed only for packets of the uplinks' addresses.
    pub is_uplink: bool,
}

/// The uplinks' addresses and on-link networks, and the links that they belong to. The longest prefix counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    links: BTreeMap<IpNet, Vec<Index>>,
    /// The prefix lengths that there are, IPv4 and IPv6, the longest first.
    lengths: [Vec<u8>; 2],
}

impl Owners {
    pub fn add(&mut self, net: IpNet, link: Index) {
        let lengths = &mut self.lengths[usize::from(net.addr().is_ipv6())];
        if let Err(at) = lengths.binary_search_by(|length| net.prefix_len().cmp(length)) {
            lengths.insert(at, net.prefix_len());
        }
        let links = self.links.entry(net.trunc()).or_default();
        if !links.contains(&link) {
            links.push(link);
        }
    }

    /// Addresses of a link are also used on the other one.
    pub fn share(&mut self, link: Index, other: Index) {
        let shared = self.links.values_mut().filter(|links| links.contains(&link) && !links.contains(&other));
        shared.for_each(|links| links.push(other));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &[Index])> {
        self.links.iter().map(|(net, links)| (net, links.as_slice()))
    }

    /// The links of the longest prefix that has the address.
    fn of(&self, address: IpAddr) -> &[Index] {
        let lengths = self.lengths[usize::from(address.is_ipv6())].iter();
        let mut networks = lengths.filter_map(|length| IpNet::new(address, *length).ok());
        networks.find_map(|net| self.links.get(&net.trunc())).map(Vec::as_slice).unwrap_or_default()
    }
}

/// An Ethernet address.
pub type Hardware = [u8; 6];

/// A host on a link, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub link: Index,
    pub address: IpAddr,
    pub hardware: Hardware,
}

/// The gateway of an uplink whose link has other uplinks, too. The link of a packet does not say which uplink it uses; the
/// destination of its Ethernet header does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    pub link: Index,
    pub hardware: Hardware,
    pub address: IpAddr,
    /// Source networks, and whether they belong to uplinks with another gateway. The longest prefix counts.
    pub sources: BTreeMap<IpNet, bool>,
    /// Destinations that the other uplinks' addresses may reach through it.
    pub near: Vec<IpNet>,
}

impl Router {
    /// Must packets with this source address not be sent to it? Nothing for an address of no uplink.
    fn is_wrong_for(&self, source: IpAddr) -> Option<bool> {
        let networks = self.sources.iter().filter(|(net, _)| net.contains(&source));
        networks.max_by_key(|(net, _)| net.prefix_len()).map(|(_, is_other)| *is_other)
    }
}

/// Addresses of uplinks, and what may be reached without the uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    pub links: Vec<Link>,
    pub owners: Owners,
    /// Networks that addresses of the first link reach through the second one: LANs, VPNs, routed machines.
    pub near: BTreeMap<(Index, Index), Vec<IpNet>>,
    pub routers: Vec<Router>,
}

/// The uplink that an address belongs to, for packets of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// This link.
    Here,
    /// Other uplinks.
    Elsewhere(&'a [Index]),
    /// No uplink.
    None,
}

/// A unicast address that does not depend on the link.
pub fn is_ordinary(address: &IpAddr) -> bool {
    !address.is_multicast()
        && !address.is_loopback()
        && match address {
            IpAddr::V4(address) => address.octets()[0] != 0 && address.octets()[0] < 224 && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_unspecified(),
        }
}

impl Observed {
    pub fn link(&self, index: Index) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    pub fn is_uplink(&self, index: Index) -> bool {
        self.link(index).is_some_and(|link| link.is_uplink)
    }

    pub fn owner(&self, address: IpAddr, link: Index) -> Owner<'_> {
        match self.owners.of(address) {
            [] => Owner::None,
            owners if owners.contains(&link) => Owner::Here,
            owners => Owner::Elsewhere(owners),
        }
    }

    /// May addresses of these uplinks reach, or be reached by, this address through the link?
    pub fn is_near(&self, owners: &[Index], link: Index, address: IpAddr) -> bool {
        owners.iter().filter_map(|owner| self.near.get(&(*owner, link))).flatten().any(|net| net.contains(&address))
    }

    /// Do two addresses belong to uplinks of this link with different gateways?
    pub fn have_different_routers(&self, link: Index, first: IpAddr, second: IpAddr) -> bool {
        let mut routers = self.routers.iter().filter(|router| router.link == link);
        routers.any(|router| {
            let both = router.is_wrong_for(first).zip(router.is_wrong_for(second));
            both.is_some_and(|(first, second)| first != second)
        })
    }

    /// Has the uplink a private address? Then others may be private, too.
    pub fn is_private_link(&self, link: Index, is_ipv4: bool) -> bool {
        let mut own =
            self.owners.iter().filter(|(net, links)| net.addr().is_ipv4() == is_ipv4 && links.contains(&link));
        own.any(|(net, _)| is_private(net))
    }
}
