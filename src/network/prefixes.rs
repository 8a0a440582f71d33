//! A set of networks, to find out quickly whether one of them contains an address or another network.

use crate::sort::sort;
use ipnet::IpNet;

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
        sorted.dedup_by(|net, before| before.contains(&*net));
        Prefixes { sorted }
    }

    /// Does one of them contain this whole network, or this address?
    pub fn hold(&self, net: impl Into<IpNet>) -> bool {
        let net = net.into().trunc();
        let end = self.sorted.partition_point(|known| *known <= net);
        end.checked_sub(1).is_some_and(|last| self.sorted[last].contains(&net))
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
            let any = nets.iter().any(|net| net.contains(&other));
            prop_assert_eq!(Prefixes::new(nets.iter().copied()).hold(other), any);
            let any = nets.iter().any(|net| net.contains(&other.addr()));
            prop_assert_eq!(Prefixes::new(nets).hold(other.addr()), any);
        }
    }
}
