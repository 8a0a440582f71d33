//! The rule for sockets that are bound to an interface: one for each interface and family, whichever uplinks share it.
//!
//! It comes after the rules of all addresses of the interface, up or not: a reply may be bound to the interface and to a
//! source (ICMPv6 echo), and then the source decides. It belongs to the uplink whose stanza has the interface's name. With
//! the uplink of an alias, it would be removed too early.

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::layout::DeviceRule;
use super::numbers::Numbers;
use crate::network::Family;
use crate::uplinks::{DEVICE_RULE, Uplink};

type Interface<'a> = (&'a str, Family);

/// The rules of interfaces, by the uplink that has the rule.
pub struct Rules(FxHashMap<usize, DeviceRule>);

impl Rules {
    /// `layered` are the uplinks that have a policy with rules by interface; `numbers` their tables and priorities.
    pub fn new(uplinks: &[Uplink], layered: &[usize], numbers: &FxHashMap<usize, Numbers>) -> Self {
        let interface = |index: usize| (uplinks[index].interface.as_str(), uplinks[index].family);
        let mut owners: FxHashMap<Interface, usize> = FxHashMap::with_capacity_and_hasher(layered.len(), FxBuildHasher);
        let rank = |index: usize| (!uplinks[index].up, uplinks[index].is_alias(), index);
        for index in layered.iter().copied() {
            let owner = owners.entry(interface(index)).or_insert(index);
            if rank(index) < rank(*owner) {
                *owner = index;
            }
        }
        let mut last: FxHashMap<Interface, u32> = FxHashMap::with_capacity_and_hasher(numbers.len(), FxBuildHasher);
        for (index, numbers) in numbers {
            let highest = last.entry(interface(*index)).or_insert(numbers.priority);
            *highest = (*highest).max(numbers.priority);
        }
        let rule = |(interface, owner): (Interface, usize)| {
            let (table, priority) = (numbers.get(&owner)?.table, *last.get(&interface)?);
            Some((owner, DeviceRule { table, priority: priority + DEVICE_RULE }))
        };
        Rules(owners.into_iter().filter_map(rule).collect())
    }

    pub fn of(&self, uplink: usize) -> Option<DeviceRule> {
        self.0.get(&uplink).copied()
    }
}
