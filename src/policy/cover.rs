//! Covering many addresses with few prefixes: the kernel evaluates its rules one by one for every lookup.

use ipnet::IpNet;

use crate::network::prefixes::Prefixes;
use crate::sort::sort;

/// The fewest prefixes that contain all of `wanted` and nothing of `keep_out`, each as long as possible and inside one of
/// the networks `within`. Prefixes outside these networks do not change.
///
/// Two prefixes are either disjoint, or one contains the other. So the number is smallest if each prefix is extended as
/// far as it contains nothing foreign. Then each is shortened to what it has to contain, which keeps the number.
pub fn cover(wanted: &[IpNet], within: &[IpNet], keep_out: &[IpNet]) -> Vec<IpNet> {
    let (foreign, within) = (Foreign::new(keep_out), Prefixes::new(within.iter().copied()));
    let mut wanted: Vec<IpNet> = wanted.iter().map(IpNet::trunc).collect();
    sort(&mut wanted);
    let mut grown: Vec<IpNet> = Vec::new();
    for net in &wanted {
        // They are sorted: only the last one can contain it.
        if grown.last().is_some_and(|last| last.contains(net)) {
            continue;
        }
        let mut largest = *net;
        let is_clear = |wider: &IpNet| within.hold(*wider) && !foreign.touches(wider);
        while let Some(wider) = largest.supernet().filter(is_clear) {
            largest = wider;
        }
        // One of a smaller network may be inside it.
        while grown.last().is_some_and(|last| largest.contains(last)) {
            grown.pop();
        }
        grown.push(largest);
    }
    let tight = |largest: &IpNet| {
        let first = wanted.partition_point(|net| net < largest);
        let held = wanted[first..].iter().take_while(|net| largest.contains(*net));
        held.copied().reduce(join)
    };
    grown.iter().filter_map(tight).collect()
}

/// Networks that no prefix may contain or be inside of.
struct Foreign {
    sorted: Vec<IpNet>,
    prefixes: Prefixes,
}

impl Foreign {
    fn new(keep_out: &[IpNet]) -> Self {
        let mut sorted: Vec<IpNet> = keep_out.iter().map(IpNet::trunc).collect();
        sort(&mut sorted);
        Foreign { prefixes: Prefixes::new(sorted.iter().copied()), sorted }
    }

    fn touches(&self, net: &IpNet) -> bool {
        let first = self.sorted.partition_point(|known| known < net);
        let is_inside = self.sorted.get(first).is_some_and(|known| net.contains(known));
        is_inside || self.prefixes.hold(*net)
    }
}

/// The longest prefix that contains both.
fn join(a: IpNet, b: IpNet) -> IpNet {
    let mut both = a;
    while !both.contains(&b) {
        match both.supernet() {
            Some(wider) => both = wider,
            None => break,
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn keeps_out_what_is_foreign() {
        let wanted = nets(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.9/32"]);
        let cover = |foreign: &[&str]| cover(&wanted, &nets(&["192.0.2.0/24"]), &nets(foreign));
        assert_eq!(cover(&["198.51.100.0/24"]), nets(&["192.0.2.0/28"]));
        assert_eq!(cover(&["192.0.2.3/32"]), wanted);
        assert_eq!(cover(&["192.0.2.8/32"]), nets(&["192.0.2.0/30", "192.0.2.9/32"]));
        assert_eq!(cover(&["192.0.2.0/24"]), wanted);
    }

    #[test]
    fn stays_inside_the_own_networks() {
        let wanted = nets(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "198.51.100.9/32", "203.0.113.1/32"]);
        let apart = nets(&["192.0.2.0/30", "198.51.100.9/32", "203.0.113.1/32"]);
        assert_eq!(cover(&wanted, &nets(&["192.0.2.0/24", "203.0.113.0/26"]), &[]), apart);
        assert_eq!(cover(&wanted, &[], &[]), wanted);
        // A smaller network in a larger one.
        let nested = nets(&["192.0.2.0/24", "192.0.2.0/31"]);
        assert_eq!(cover(&nets(&["192.0.2.1/32", "192.0.2.130/32"]), &nested, &[]), nets(&["192.0.2.0/24"]));
        let inet6 = nets(&["2001:db8:a::1/128", "2001:db8:a::2/128", "2001:db8:a:1::1/128"]);
        let two = nets(&["2001:db8:a::/126", "2001:db8:a:1::1/128"]);
        assert_eq!(cover(&inet6, &nets(&["2001:db8:a::/64", "2001:db8:a:1::/64"]), &[]), two);
    }

    #[test]
    fn thousands_of_addresses() {
        let host = |n: u32| IpNet::from(std::net::IpAddr::from((0xc612_0000 + n).to_be_bytes()));
        let wanted: Vec<IpNet> = (0..5000).map(|n| host(3 * n)).collect();
        let own = nets(&["198.18.0.0/17"]);
        assert_eq!(cover(&wanted, &own, &[]), nets(&["198.18.0.0/18"]));
        let foreign: Vec<IpNet> = (0..5000).map(|n| host(3 * n + 1)).collect();
        assert_eq!(cover(&wanted, &own, &foreign).len(), 5000);
    }

    /// A world of 16 addresses, small enough to try every set of prefixes.
    fn host(n: u8) -> IpNet {
        IpNet::new([192, 0, 2, n].into(), 32).unwrap()
    }

    /// The prefixes of that world that may be used: written down as numbers, without `IpNet`.
    fn allowed(own: &[(u8, u8)], foreign: &[u8]) -> Vec<(u8, u8)> {
        let blocks = [1u8, 2, 4, 8, 16].into_iter();
        let all = blocks.flat_map(|size| (0..16 / size).map(move |n| (n * size, n * size + size - 1)));
        let is_own = |(first, last): &(u8, u8)| own.iter().any(|(from, to)| from <= first && last <= to);
        let holds_foreign = |(first, last): &(u8, u8)| foreign.iter().any(|n| (first..=last).contains(&n));
        all.filter(|block| block.0 == block.1 || is_own(block)).filter(|block| !holds_foreign(block)).collect()
    }

    fn fewest(wanted: &[u8], candidates: &[(u8, u8)]) -> usize {
        // The least uncovered address is held by one of the candidates: try each.
        let Some(first) = wanted.first() else { return 0 };
        let holding = candidates.iter().filter(|(from, to)| (from..=to).contains(&first));
        let rests = holding.map(|(_, to)| wanted.iter().copied().filter(|n| n > to).collect::<Vec<u8>>());
        rests.map(|rest| 1 + fewest(&rest, candidates)).min().unwrap()
    }

    proptest! {
        #[test]
        fn as_few_as_brute_force_finds(
            kind in prop::collection::vec(0u8..3, 16),
            own in prop::collection::vec((28u8..=31, 0u8..16), 0..4),
        ) {
            let of = |what: u8| (0..16u8).filter(|n| kind[*n as usize] == what).collect::<Vec<_>>();
            let (wanted, foreign) = (of(1), of(2));
            let nets = |numbers: &[u8]| numbers.iter().copied().map(host).collect::<Vec<_>>();
            let within: Vec<IpNet> =
                own.iter().map(|(length, n)| IpNet::new(host(*n).addr(), *length).unwrap().trunc()).collect();
            let found = cover(&nets(&wanted), &within, &nets(&foreign));
            for n in &wanted {
                prop_assert!(found.iter().any(|net| net.contains(&host(*n))));
            }
            for n in &foreign {
                prop_assert!(!found.iter().any(|net| net.contains(&host(*n))));
            }
            let is_inside = |net: &IpNet| net.prefix_len() == 32 || within.iter().any(|own| own.contains(net));
            prop_assert!(found.iter().all(is_inside), "{found:?} in {within:?}");
            let blocks: Vec<(u8, u8)> =
                own.iter().map(|(length, n)| { let size = 1 << (32 - length); (n / size * size, n / size * size + size - 1) }).collect();
            prop_assert_eq!(found.len(), fewest(&wanted, &allowed(&blocks, &foreign)));
        }
    }
}
