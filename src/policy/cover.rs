//! Covering many addresses with few prefixes: the kernel walks its rules one by one for every lookup.

use ipnet::IpNet;

/// The fewest prefixes that hold all of `wanted` and nothing of `keep_out`, each as long as it can be.
///
/// Two prefixes are either disjoint or one holds the other, so growing each wanted one as far as nothing
/// foreign comes in gives the smallest number; shrinking each to what it has to hold keeps that number.
pub fn cover(wanted: &[IpNet], keep_out: &[IpNet]) -> Vec<IpNet> {
    let clear = |net: &IpNet| !keep_out.iter().any(|other| net.contains(other) || other.contains(net));
    let mut grown: Vec<IpNet> = Vec::new();
    for net in wanted {
        if grown.iter().any(|known| known.contains(net)) {
            continue;
        }
        let mut largest = *net;
        while let Some(wider) = largest.supernet().filter(|wider| clear(wider)) {
            largest = wider;
        }
        grown.push(largest);
    }
    let mut tight: Vec<IpNet> = grown
        .iter()
        .filter_map(|largest| wanted.iter().filter(|net| largest.contains(*net)).copied().reduce(join))
        .collect();
    tight.sort();
    tight.dedup();
    tight
}

/// The longest prefix that holds both.
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
    use super::*;
    use proptest::prelude::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn keeps_out_what_is_foreign() {
        let wanted = nets(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.9/32"]);
        assert_eq!(cover(&wanted, &nets(&["198.51.100.0/24"])), nets(&["192.0.2.0/28"]));
        assert_eq!(cover(&wanted, &nets(&["192.0.2.3/32"])), nets(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.9/32"]));
        assert_eq!(cover(&wanted, &nets(&["192.0.2.8/32"])), nets(&["192.0.2.0/30", "192.0.2.9/32"]));
    }

    /// A world of 16 addresses, small enough to try every set of prefixes.
    fn host(n: u8) -> IpNet {
        IpNet::new([192, 0, 2, n].into(), 32).unwrap()
    }

    fn fewest(wanted: &[u8], foreign: &[u8]) -> usize {
        let holds = |net: &IpNet, n: &u8| net.contains(&host(*n));
        let candidates: Vec<IpNet> = (28..=32)
            .flat_map(|length| (0..16u8).map(move |n| IpNet::new([192, 0, 2, n].into(), length).unwrap().trunc()))
            .filter(|net| foreign.iter().all(|n| !holds(net, n)))
            .collect();
        // The least uncovered address is held by one of the candidates: try each.
        fn solve(wanted: &[u8], candidates: &[IpNet]) -> usize {
            let Some(first) = wanted.first() else { return 0 };
            let try_one = |net: &IpNet| {
                let rest: Vec<u8> = wanted.iter().copied().filter(|n| !net.contains(&host(*n))).collect();
                1 + solve(&rest, candidates)
            };
            candidates.iter().filter(|net| net.contains(&host(*first))).map(try_one).min().unwrap()
        }
        solve(wanted, &candidates)
    }

    proptest! {
        #[test]
        fn as_few_as_brute_force_finds(kind in prop::collection::vec(0u8..3, 16)) {
            let of = |what: u8| (0..16u8).filter(|n| kind[*n as usize] == what).collect::<Vec<_>>();
            let (wanted, foreign) = (of(1), of(2));
            let wanted_nets: Vec<IpNet> = wanted.iter().copied().map(host).collect();
            let mut foreign_nets: Vec<IpNet> = foreign.iter().copied().map(host).collect();
            foreign_nets.push("192.0.2.16/28".parse().unwrap());
            let found = cover(&wanted_nets, &foreign_nets);
            for n in &wanted {
                prop_assert!(found.iter().any(|net| net.contains(&host(*n))));
            }
            for net in &foreign_nets {
                prop_assert!(!found.iter().any(|found| found.contains(net)));
            }
            prop_assert_eq!(found.len(), fewest(&wanted, &foreign));
        }
    }
}
