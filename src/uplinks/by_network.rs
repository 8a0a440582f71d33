//! Values by network, to find those whose network contains another one or an address.

use ipnet::IpNet;
use rustc_hash::{FxBuildHasher, FxHashMap};

#[derive(Debug, Clone)]
pub(crate) struct ByNetwork<T> {
    values: FxHashMap<IpNet, T>,
    /// The prefix lengths of the networks, of both families, sorted: others are not looked up.
    lengths: Vec<u8>,
}

impl<T> Default for ByNetwork<T> {
    fn default() -> Self {
        ByNetwork { values: FxHashMap::default(), lengths: Vec::new() }
    }
}

impl<T> ByNetwork<T> {
    pub(crate) fn with_capacity(size: usize) -> Self {
        ByNetwork { values: FxHashMap::with_capacity_and_hasher(size, FxBuildHasher), lengths: Vec::new() }
    }

    /// The value of a network; `new` if it has none.
    pub(crate) fn get_or_insert(&mut self, net: IpNet, new: T) -> &mut T {
        if let Err(place) = self.lengths.binary_search(&net.prefix_len()) {
            self.lengths.insert(place, net.prefix_len());
        }
        self.values.entry(net.trunc()).or_insert(new)
    }

    pub(crate) fn get_mut(&mut self, net: &IpNet) -> Option<&mut T> {
        self.values.get_mut(net)
    }

    /// The values whose network contains all of `net`, the shortest prefix first.
    pub(crate) fn containing(&self, net: IpNet) -> impl DoubleEndedIterator<Item = &T> {
        self.containing_from(net, 0)
    }

    /// The same without prefixes shorter than `shortest`.
    pub(crate) fn containing_from(&self, net: IpNet, shortest: u8) -> impl DoubleEndedIterator<Item = &T> {
        let lengths = shortest.min(net.prefix_len())..=net.prefix_len();
        let lengths = self.lengths.iter().filter(move |length| lengths.contains(length));
        lengths.filter_map(move |length| self.values.get(&IpNet::new(net.addr(), *length).ok()?.trunc()))
    }
}

impl<T> ByNetwork<Vec<T>> {
    pub(crate) fn push(&mut self, net: IpNet, value: T) {
        self.get_or_insert(net, Vec::new()).push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_families_are_found_by_length() {
        let nets = ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.64/26", "192.0.2.128/26", "::/0", "2001:db8::/32"];
        let mut by_network = ByNetwork::default();
        nets.iter().for_each(|net| by_network.push(net.parse().unwrap(), *net));
        let containing = |net: &str| by_network.containing(net.parse().unwrap()).flatten().copied().collect::<Vec<_>>();
        assert_eq!(containing("192.0.2.65/32"), ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.64/26"]);
        assert_eq!(containing("192.0.2.65/25"), ["0.0.0.0/0", "192.0.2.0/24"]);
        assert_eq!(containing("2001:db8::1/128"), ["::/0", "2001:db8::/32"]);
    }
}
