//! Which uplink an address of the host belongs to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bstr::{BStr, BString};
use ipnet::IpNet;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::by_network::ByNetwork;
use super::gateway::Gateway;
use super::uplink::{Source, Uplink};
use crate::network::Family;

/// The uplinks, indexed by their addresses and networks, to assign further addresses to them.
pub(crate) struct Owners<'a> {
    uplinks: &'a mut [Uplink],
    families: [OfFamily; 2],
    /// By uplink.
    providers: Vec<Provider>,
}

/// A host may have hundreds of uplinks: each index is one map for all links, which are counted.
#[derive(Default)]
struct OfFamily {
    links: FxHashMap<BString, OnLink>,
    addresses: FxHashSet<IpAddr>,
    /// The same, with their links.
    on_link: FxHashSet<(usize, IpAddr)>,
    networks: ByNetwork<Vec<Member>>,
    /// The first uplink of each link and gateway.
    gateways: BTreeMap<(usize, IpAddr), usize>,
    /// The uplink of a stanza, if it is the only one.
    stanzas: FxHashMap<usize, Option<usize>>,
}

/// The uplinks of one link.
#[derive(Clone, Copy)]
struct OnLink {
    number: usize,
    /// The uplink, if it is the only one.
    only: Option<usize>,
}

/// An uplink of a network.
struct Member {
    index: usize,
    /// The number of its link.
    link: usize,
    /// Its link is in the network.
    is_on_link: bool,
    /// The network is that of its provider.
    is_of_provider: bool,
}

/// The uplink's entry in those of a network, which are sorted by uplink.
fn member(members: &mut Vec<Member>, index: usize, link: usize) -> &mut Member {
    let place = members.binary_search_by_key(&index, |member| member.index).unwrap_or_else(|place| {
        members.insert(place, Member { index, link, is_on_link: false, is_of_provider: false });
        place
    });
    &mut members[place]
}

/// The state that `Uplink::provider_networks` depends on.
#[derive(Clone, Default)]
struct Provider {
    has_gateway: bool,
    /// The network of the stanza with the gateway, if no network contains the gateway.
    first: Option<IpNet>,
}

impl OfFamily {
    fn with_capacity(size: usize) -> Self {
        OfFamily {
            links: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
            addresses: FxHashSet::with_capacity_and_hasher(size, FxBuildHasher),
            on_link: FxHashSet::with_capacity_and_hasher(size, FxBuildHasher),
            networks: ByNetwork::with_capacity(size),
            gateways: BTreeMap::new(),
            stanzas: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher),
        }
    }

    fn add(&mut self, index: usize, uplink: &Uplink) {
        self.stanzas.entry(uplink.stanza).and_modify(|only| *only = None).or_insert(Some(index));
        let number = self.links.len();
        let link = match self.links.get_mut(BStr::new(&uplink.interface)) {
            Some(link) => {
                link.only = None;
                *link
            }
            None => {
                let link = OnLink { number, only: Some(index) };
                self.links.insert(uplink.interface[..].into(), link);
                link
            }
        };
        if let Some(gateway) = uplink.gateway.address() {
            self.gateways.entry((link.number, gateway)).or_insert(index);
        }
    }

    /// The first uplink of a link that has a network which contains this one, or a gateway in it.
    fn owner(&self, link: usize, network: &IpNet) -> Option<usize> {
        let is_here = |member: &&Member| member.link == link && member.is_on_link;
        let containing = self.networks.containing(*network);
        let containing = containing.filter_map(|members| members.iter().find(is_here)).map(|member| &member.index);
        let gateways = self.gateways.range((link, network.network())..=(link, network.broadcast()));
        containing.chain(gateways.map(|(_, index)| index)).min().copied()
    }
}

impl<'a> Owners<'a> {
    pub(crate) fn new(uplinks: &'a mut [Uplink]) -> Self {
        let providers = vec![Provider::default(); uplinks.len()];
        let size = |family: Family| uplinks.iter().filter(|uplink| uplink.family == family).count();
        let families = Family::ALL.map(|family| OfFamily::with_capacity(size(family)));
        let mut owners = Owners { uplinks, families, providers };
        for index in 0..owners.uplinks.len() {
            let uplink = &owners.uplinks[index];
            if uplink.skipped.is_none() {
                owners.families[uplink.family as usize].add(index, uplink);
                for source in 0..owners.uplinks[index].sources.len() {
                    owners.add_source(index, source);
                }
            }
        }
        owners
    }

    /// Adds a source of an uplink to the indexes.
    fn add_source(&mut self, index: usize, source: usize) {
        let uplink = &self.uplinks[index];
        let source = &uplink.sources[source];
        let of_family = &mut self.families[uplink.family as usize];
        let Some(link) = of_family.links.get(BStr::new(&uplink.interface)).map(|link| link.number) else { return };
        of_family.addresses.insert(source.net.addr());
        of_family.on_link.insert((link, source.net.addr()));
        let provider = &mut self.providers[index];
        if let Some(network) = source.network() {
            let has_gateway = uplink.gateway.address().is_some_and(|gateway| network.contains(&gateway));
            let first = provider.first.filter(|_| has_gateway);
            if let Some(members) = first.and_then(|first| of_family.networks.get_mut(&first)) {
                member(members, index, link).is_of_provider = false;
            }
            let member = member(of_family.networks.get_or_insert(network, Vec::new()), index, link);
            member.is_on_link = true;
            member.is_of_provider |= has_gateway;
            provider.has_gateway |= has_gateway;
        }
        let may_have_network = !provider.has_gateway && uplink.gateway != Gateway::OnLink;
        if may_have_network && provider.first.is_none() && uplink.is_own(source) {
            let network = source.net.trunc();
            provider.first = Some(network);
            if network.prefix_len() < network.max_prefix_len() {
                member(of_family.networks.get_or_insert(network, Vec::new()), index, link).is_of_provider = true;
            }
        }
    }

    /// Assigns an address of `link` to an uplink: to one of the link that has its network, or else to one of another link,
    /// or else to the only uplink of the link, or else to the uplink whose stanza adds it. True if it belongs to one of the
    /// link, or did before.
    pub(crate) fn assign(&mut self, link: &BStr, family: Family, source: &Source) -> bool {
        let of_family = &self.families[family as usize];
        let on_link = of_family.links.get(link).copied();
        if on_link.is_some_and(|on_link| of_family.on_link.contains(&(on_link.number, source.net.addr()))) {
            return true;
        }
        let Some(owner) = self.owner(of_family, (link, on_link), source) else { return false };
        let uplink = &mut self.uplinks[owner];
        let is_on_link = *link == uplink.interface[..];
        let other_interface = (!is_on_link).then(|| link.to_string());
        let by_prefix = source.by_prefix && is_on_link && uplink.dynamic;
        uplink.sources.push(Source { other_interface, by_prefix, ..source.clone() });
        let last = uplink.sources.len() - 1;
        self.add_source(owner, last);
        is_on_link
    }

    fn owner(&self, of_family: &OfFamily, link: (&BStr, Option<OnLink>), source: &Source) -> Option<usize> {
        let (link, on_link) = link;
        let address = source.net.addr();
        let only = || on_link.and_then(|on_link| on_link.only);
        // A point-to-point link has the addresses of its provider only, whatever networks these are in.
        let is_point_to_point = |index: &usize| self.uplinks[*index].gateway == Gateway::OnLink;
        let of_link = on_link.and_then(|on_link| of_family.owner(on_link.number, &source.net.trunc()));
        let of_link = of_link.or_else(|| only().filter(is_point_to_point));
        if of_link.is_some() || of_family.addresses.contains(&address) {
            return of_link;
        }
        // Its provider routes it to the uplink's address.
        let of_stanza = || of_family.stanzas.get(&source.stanza?).copied().flatten().filter(|_| is_public(address));
        self.other_interface(of_family, link, &source.net).or_else(only).or_else(of_stanza)
    }

    /// The first uplink of another link whose provider has the smallest network that contains the address. If the address
    /// has a smaller network (a VPN inside 10.0.0.0/8), that network is not the provider's.
    fn other_interface(&self, of_family: &OfFamily, link: &BStr, address: &IpNet) -> Option<usize> {
        let (length, most) = (address.prefix_len(), address.max_prefix_len());
        let shortest = if length == most { 0 } else { length };
        let networks = of_family.networks.containing_from(address.addr().into(), shortest).rev();
        let members = networks.flatten().filter(|member| member.is_of_provider);
        let mut uplinks = members.map(|member| member.index);
        uplinks.find(|index| *link != self.uplinks[*index].interface[..])
    }
}

/// A LAN or a VPN may have the address otherwise (RFC 1918, RFC 6598, RFC 4193).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            !(address.is_private() || is_shared || address.is_link_local() || address.is_loopback())
        }
        IpAddr::V6(address) => !(address.is_unique_local() || address.is_unicast_link_local() || address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;
    use crate::interfaces::Location;
    use crate::uplinks::Skipped;

    /// The same without indexes: it compares the address with each uplink.
    fn assign(uplinks: &mut [Uplink], link: &str, family: Family, source: &Source) {
        let of_family = |uplink: &Uplink| uplink.family == family && uplink.skipped.is_none();
        let here = |uplink: &Uplink| of_family(uplink) && uplink.interface == link;
        let has = |uplink: &Uplink| uplink.sources.iter().any(|known| known.net.addr() == source.net.addr());
        if uplinks.iter().any(|uplink| here(uplink) && has(uplink)) {
            return;
        }
        let network = source.net.trunc();
        let owns = |uplink: &Uplink| {
            uplink.gateway.address().is_some_and(|gateway| network.contains(&gateway))
                || uplink.networks().any(|own| own.contains(&network))
        };
        let own = uplinks.iter().position(|uplink| here(uplink) && owns(uplink));
        let only = || {
            let mut candidates = (0..uplinks.len()).filter(|index| here(&uplinks[*index]));
            candidates.next().filter(|_| candidates.next().is_none())
        };
        let own = own.or_else(|| only().filter(|index| uplinks[*index].gateway == Gateway::OnLink));
        let (length, most) = (source.net.prefix_len(), source.net.max_prefix_len());
        let holds = |net: &IpNet| net.contains(&source.net.addr()) && (length == most || length <= net.prefix_len());
        let others = || uplinks.iter().enumerate().filter(|(_, uplink)| of_family(uplink) && uplink.interface != link);
        let networks =
            others().flat_map(|(index, uplink)| uplink.provider_networks().into_iter().map(move |net| (index, net)));
        let holding = networks.filter(|(_, net)| holds(net));
        let other_interface =
            holding.min_by_key(|(index, net)| (Reverse(net.prefix_len()), *index)).map(|(index, _)| index);
        let owner = match own {
            Some(own) => Some(own),
            None if uplinks.iter().any(|uplink| of_family(uplink) && has(uplink)) => None,
            None => other_interface.or_else(only).or_else(|| {
                let of_stanza =
                    |index: &usize| of_family(&uplinks[*index]) && Some(uplinks[*index].stanza) == source.stanza;
                let mut candidates = (0..uplinks.len()).filter(of_stanza);
                candidates.next().filter(|_| candidates.next().is_none())
            }),
        };
        let Some(owner) = owner.map(|owner| &mut uplinks[owner]) else { return };
        let here = owner.interface == link;
        let other_interface = (!here).then(|| link.to_string());
        owner.sources.push(Source {
            other_interface,
            by_prefix: source.by_prefix && here && owner.dynamic,
            ..source.clone()
        });
    }

    fn uplink() -> impl Strategy<Value = Uplink> {
        let gateway = prop::option::weighted(0.8, 0u8..32);
        (0u8..3, gateway, 0usize..4, any::<bool>(), 0u8..8).prop_map(|(link, gateway, stanza, dynamic, skipped)| {
            let location = Location::new(0, 0);
            let gateway = match gateway {
                None => Gateway::Unknown,
                Some(0) => Gateway::OnLink,
                Some(host) => Gateway::Address([192, 0, 2, host].into()),
            };
            let interface = format!("eth{link}");
            let uplink = Uplink::new(&interface, &interface, Family::Inet, (stanza, location), gateway);
            Uplink { dynamic, skipped: (skipped == 0).then_some(Skipped::Vrf), ..uplink }
        })
    }

    fn source() -> impl Strategy<Value = (String, Source)> {
        let length = prop_oneof![27u8..=31, Just(32u8)];
        let peer = prop::option::weighted(0.1, 0u8..32);
        (0u8..4, 0u8..32, length, peer, prop::option::of(0usize..4), any::<bool>()).prop_map(
            |(link, host, length, peer, stanza, by_prefix)| {
                let net = IpNet::new([192, 0, 2, host].into(), length).unwrap();
                let peer = peer.map(|host| [192, 0, 2, host].into());
                (format!("eth{link}"), Source { peer, stanza, by_prefix, ..Source::of(net) })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
        #[test]
        fn owners_equal_those_of_a_search_one_by_one(
            uplinks in prop::collection::vec(uplink(), 0..5),
            sources in prop::collection::vec(source(), 0..12),
            before in 0usize..12,
        ) {
            let (mut one_by_one, mut by_index) = (uplinks.clone(), uplinks);
            // Uplinks that already have addresses.
            for sources in [&sources[..before.min(sources.len())], &sources[..]] {
                let mut owners = Owners::new(&mut by_index);
                for (link, source) in sources {
                    assign(&mut one_by_one, link, Family::Inet, source);
                    owners.assign(BStr::new(link), Family::Inet, source);
                }
            }
            prop_assert_eq!(one_by_one, by_index);
        }
    }
}
