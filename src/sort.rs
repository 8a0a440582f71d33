//! Sorting. The standard library's sort is compiled for each type and each key, some kilobytes each time. Here it is
//! compiled once, for positions, and what differs is the comparison.

use std::cmp::Ordering;

/// Sorts as `slice::sort` does.
pub fn sort<T: Ord>(items: &mut Vec<T>) {
    sort_by(items, T::cmp);
}

/// Sorts as `slice::sort_by_key` does: items with equal keys keep their order.
pub fn sort_by_key<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

fn sort_by<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    if items.is_sorted_by(|a, b| compare(a, b) != Ordering::Greater) {
        return;
    }
    let positions = sorted_positions(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut unsorted: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(positions.into_iter().filter_map(|at| unsorted[at].take()));
}

fn sorted_positions(length: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..length).collect();
    positions.sort_by(|a, b| compare(*a, *b));
    positions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{sort, sort_by_key};

    proptest! {
        #[test]
        fn sorts_as_the_standard_library(items in prop::collection::vec((0..9_u8, any::<u8>()), 0..99)) {
            let (mut sorted, mut by_key) = (items.clone(), items.clone());
            sort(&mut sorted);
            sort_by_key(&mut by_key, |item| item.0);
            let (mut expected, mut expected_by_key) = (items.clone(), items);
            expected.sort();
            expected_by_key.sort_by_key(|item| item.0);
            prop_assert_eq!(sorted, expected);
            prop_assert_eq!(by_key, expected_by_key);
        }
    }
}
