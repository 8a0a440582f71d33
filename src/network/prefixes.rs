//! A set of networks, to find out quickly whether one of them contains an address or another network.

use ipnet::IpNet;

use super::family::Family;
use crate::sort::sort;

/// Does the first network contain the second one, whose host bits do not matter? Both may be equal.
pub fn contains(net: &IpNet, other: &IpNet) -> bool {
    // The bits in which they differ come after those of the network.
    net.prefix_len() <= other.prefix_len()
        && match (net, other) {
            (IpNet::V4(net), IpNet::V4(other)) => {
                (net.addr().to_bits() ^ other.addr().to_bits()).leading_zeros() >= net.prefix_len().into()
            }
            (IpNet::V6(net), IpNet::V6(other)) => {
                (net.addr().to_bits() ^ other.addr().to_bits()).leading_zeros() >= net.prefix_len().into()
            }
            _ => false,
        }
}

/// The order of networks as numbers: to compare these is faster.
pub fn order(net: &IpNet) -> (Family, u128, u8) {
    match net {
        IpNet::V4(net) => (Family::Inet, net.addr().to_bits().into(), net.prefix_len()),
        IpNet::V6(net) => (Family::Inet6, net.addr().to_bits(), net.prefix_len()),
    }
}

/// Networks of either family. A network inside another one is left out.
#[derive(Debug, Default)]
pub struct Prefixes {
    /// None contains another, so only the last one before a network can contain it.
    sorted: Vec<IpNet>,
}

impl Prefixes {
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut sorted: Vec<IpNet> = nets.into_iter().map(|net| net.trunc()).collect();
        sort(&mut sorted);
        sorted.dedup_by(|net, before| contains(before, net));
        Prefixes { sorted }
    }

    /// Does one of them contain this whole network, or this address?
    pub fn hold(&self, net: impl Into<IpNet>) -> bool {
        let net = net.into().trunc();
        let place = order(&net);
        let end = self.sorted.partition_point(|known| order(known) <= place);
        end.checked_sub(1).is_some_and(|last| contains(&self.sorted[last], &net))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net() -> impl Strategy<Value = IpNet> {
        (24u8..=32, any::<u8>()).prop_map(|(length, host)| IpNet::new([192, 0, 2, host].into(), length).unwrap())
    }

    proptest! {
        #[test]
        fn same_result_as_a_comparison_with_each(nets in prop::collection::vec(net(), 0..8), other in net()) {
            for net in &nets {
                prop_assert_eq!(contains(net, &other), net.contains(&other));
                prop_assert_eq!(order(net).cmp(&order(&other)), net.cmp(&other));
            }
            let any = nets.iter().any(|net| net.contains(&other));
            prop_assert_eq!(Prefixes::new(nets.iter().copied()).hold(other), any);
            let any = nets.iter().any(|net| net.contains(&other.addr()));
            prop_assert_eq!(Prefixes::new(nets).hold(other.addr()), any);
        }
    }
}
