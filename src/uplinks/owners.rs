//! Which uplink an address of the host belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::by_network::ByNetwork;
use super::gateway::Gateway;
use super::uplink::{Source, Uplink};
use crate::network::Family;

/// The uplinks, indexed by their addresses and networks, to assign further addresses to them.
pub(crate) struct Owners<'a> {
    uplinks: &'a mut [Uplink],
    families: FxHashMap<Family, OfFamily>,
    /// By uplink.
    providers: Vec<Provider>,
}

#[derive(Default)]
struct OfFamily {
    links: FxHashMap<String, OnLink>,
    addresses: FxHashSet<IpAddr>,
    /// Uplinks by the networks of their providers.
    providers: ByNetwork<BTreeSet<usize>>,
    /// The uplink of a stanza, if it is the only one.
    stanzas: FxHashMap<usize, Option<usize>>,
}

/// The addresses, networks and gateways of the uplinks of one link.
#[derive(Default)]
struct OnLink {
    uplinks: Vec<usize>,
    addresses: FxHashSet<IpAddr>,
    /// The first uplink of each network and gateway.
    networks: ByNetwork<usize>,
    gateways: BTreeMap<IpAddr, usize>,
}

/// The state that `Uplink::provider_networks` depends on.
#[derive(Clone, Default)]
struct Provider {
    has_gateway: bool,
    /// The network of the stanza with the gateway, if no network contains the gateway.
    first: Option<IpNet>,
}

impl OnLink {
    /// The first uplink that has a network which contains this one, or a gateway in it.
    fn owner(&self, network: &IpNet) -> Option<usize> {
        let containing = self.networks.containing(*network);
        let gateways = self.gateways.range(network.network()..=network.broadcast()).map(|(_, index)| index);
        containing.chain(gateways).min().copied()
    }
}

impl<'a> Owners<'a> {
    pub(crate) fn new(uplinks: &'a mut [Uplink]) -> Self {
        let providers = vec![Provider::default(); uplinks.len()];
        let mut owners = Owners { uplinks, families: FxHashMap::default(), providers };
        for index in 0..owners.uplinks.len() {
            if owners.uplinks[index].skipped.is_none() {
                owners.add(index);
            }
        }
        owners
    }

    fn add(&mut self, index: usize) {
        let uplink = &self.uplinks[index];
        let of_family = self.families.entry(uplink.family).or_default();
        of_family.stanzas.entry(uplink.stanza).and_modify(|only| *only = None).or_insert(Some(index));
        let on_link = of_family.links.entry(uplink.interface.clone()).or_default();
        on_link.uplinks.push(index);
        if let Some(gateway) = uplink.gateway.address() {
            on_link.gateways.entry(gateway).or_insert(index);
        }
        for source in 0..uplink.sources.len() {
            self.add_source(index, source);
        }
    }

    /// Adds a source of an uplink to the indexes.
    fn add_source(&mut self, index: usize, source: usize) {
        let uplink = &self.uplinks[index];
        let source = &uplink.sources[source];
        let Some(of_family) = self.families.get_mut(&uplink.family) else { return };
        let Some(on_link) = of_family.links.get_mut(&uplink.interface) else { return };
        of_family.addresses.insert(source.net.addr());
        on_link.addresses.insert(source.net.addr());
        let provider = &mut self.providers[index];
        if let Some(network) = source.network() {
            let first = on_link.networks.get_or_insert(network, index);
            *first = (*first).min(index);
            if uplink.gateway.address().is_some_and(|gateway| network.contains(&gateway)) {
                if let Some(uplinks) = provider.first.and_then(|first| of_family.providers.get_mut(&first)) {
                    uplinks.remove(&index);
                }
                provider.has_gateway = true;
                of_family.providers.get_or_insert(network, BTreeSet::new()).insert(index);
            }
        }
        let may_have_network = !provider.has_gateway && uplink.gateway != Gateway::OnLink;
        if may_have_network && provider.first.is_none() && uplink.is_own(source) {
            let network = source.net.trunc();
            provider.first = Some(network);
            if network.prefix_len() < network.max_prefix_len() {
                of_family.providers.get_or_insert(network, BTreeSet::new()).insert(index);
            }
        }
    }

    /// Assigns an address of `link` to an uplink: to one of the link that has its network, or else to one of another link,
    /// or else to the only uplink of the link, or else to the uplink whose stanza adds it.
    pub(crate) fn assign(&mut self, link: &str, family: Family, source: &Source) {
        let Some(owner) = self.owner(link, family, source) else { return };
        let uplink = &mut self.uplinks[owner];
        let is_on_link = uplink.interface == link;
        let other_interface = (!is_on_link).then(|| link.to_string());
        let by_prefix = source.by_prefix && is_on_link && uplink.dynamic;
        uplink.sources.push(Source { other_interface, by_prefix, ..source.clone() });
        let last = uplink.sources.len() - 1;
        self.add_source(owner, last);
    }

    /// Nothing if an uplink of the link already has the address.
    fn owner(&self, link: &str, family: Family, source: &Source) -> Option<usize> {
        let of_family = self.families.get(&family)?;
        let on_link = of_family.links.get(link);
        let address = source.net.addr();
        if on_link.is_some_and(|on_link| on_link.addresses.contains(&address)) {
            return None;
        }
        let only = || on_link.filter(|on_link| on_link.uplinks.len() == 1).map(|on_link| on_link.uplinks[0]);
        // A point-to-point link has the addresses of its provider only, whatever networks these are in.
        let is_point_to_point = |index: &usize| self.uplinks[*index].gateway == Gateway::OnLink;
        let of_link = on_link.and_then(|on_link| on_link.owner(&source.net.trunc()));
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
    fn other_interface(&self, of_family: &OfFamily, link: &str, address: &IpNet) -> Option<usize> {
        let (length, most) = (address.prefix_len(), address.max_prefix_len());
        let shortest = if length == most { 0 } else { length };
        let providers = of_family.providers.containing_from(address.addr().into(), shortest).rev();
        let mut uplinks = providers.flatten().copied();
        uplinks.find(|index| self.uplinks[*index].interface != link)
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
            let location = Location { file: 0, line: 0 };
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
                    owners.assign(link, Family::Inet, source);
                }
            }
            prop_assert_eq!(one_by_one, by_index);
        }
    }
}
