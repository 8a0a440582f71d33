//! The rule for sockets that are bound to an interface: one for each interface and family, whichever uplinks share it.
//!
//! It comes after the rules of every address of the interface, up or not: a reply may be bound to the interface and to
//! a source (ICMPv6 echo), and then the source decides. It belongs to the uplink whose stanza is named as the interface
//! is, and not to that of an alias, with which it would go.

use std::collections::HashMap;

use super::layout::DeviceRule;
use crate::interfaces::Family;
use crate::uplinks::Uplink;

type Interface<'a> = (&'a str, Family);

/// By uplink that has the rule of its interface.
pub struct Rules(HashMap<usize, DeviceRule>);

impl Rules {
    /// `layered` are the uplinks that have a policy with rules by interface; `numbers` their tables and priorities.
    pub fn new(uplinks: &[Uplink], layered: &[usize], numbers: &HashMap<usize, (u32, u32)>) -> Self {
        let interface = |at: usize| (uplinks[at].interface.as_str(), uplinks[at].family);
        let mut owners: HashMap<Interface, usize> = HashMap::new();
        let rank = |at: usize| (!uplinks[at].up, uplinks[at].is_alias(), at);
        for at in layered.iter().copied() {
            let owner = owners.entry(interface(at)).or_insert(at);
            if rank(at) < rank(*owner) {
                *owner = at;
            }
        }
        let mut last: HashMap<Interface, u32> = HashMap::new();
        for (at, (_, priority)) in numbers {
            let highest = last.entry(interface(*at)).or_insert(*priority);
            *highest = (*highest).max(*priority);
        }
        let rule = |(interface, owner): (Interface, usize)| {
            let (table, priority) = (numbers.get(&owner)?.0, *last.get(&interface)?);
            Some((owner, DeviceRule { table, priority: priority + 3 }))
        };
        Rules(owners.into_iter().filter_map(rule).collect())
    }

    pub fn of(&self, uplink: usize) -> Option<DeviceRule> {
        self.0.get(&uplink).copied()
    }
}
