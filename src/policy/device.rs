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

/// The rules of interfaces, for each uplink that has one.
pub struct Rules(Vec<Option<DeviceRule>>);

/// The uplinks of an interface.
struct Shared {
    /// The uplink that has the rule.
    owner: usize,
    /// The highest priority of an uplink.
    last: u32,
}

impl Rules {
    /// `layered` are the uplinks that have a policy with rules by interface; `numbers` the tables and priorities of each.
    pub fn new(uplinks: &[Uplink], layered: &[usize], numbers: &[Option<Numbers>]) -> Self {
        let interface = |index: usize| (uplinks[index].interface.as_str(), uplinks[index].family);
        let mut interfaces: FxHashMap<Interface, Shared> =
            FxHashMap::with_capacity_and_hasher(layered.len(), FxBuildHasher);
        let rank = |index: usize| (!uplinks[index].up, uplinks[index].is_alias(), index);
        for index in layered.iter().copied() {
            let shared = interfaces.entry(interface(index)).or_insert(Shared { owner: index, last: 0 });
            if shared.owner != index && rank(index) < rank(shared.owner) {
                shared.owner = index;
            }
        }
        for (index, numbers) in numbers.iter().enumerate().filter_map(|(index, numbers)| Some((index, (*numbers)?))) {
            if let Some(shared) = interfaces.get_mut(&interface(index)) {
                shared.last = shared.last.max(numbers.priority);
            }
        }
        let mut rules = vec![None; uplinks.len()];
        for Shared { owner, last } in interfaces.into_values() {
            rules[owner] =
                numbers[owner].map(|Numbers { table, .. }| DeviceRule { table, priority: last + DEVICE_RULE });
        }
        Rules(rules)
    }

    pub fn of(&self, uplink: usize) -> Option<DeviceRule> {
        self.0[uplink]
    }
}
