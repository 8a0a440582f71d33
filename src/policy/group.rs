//! The interface group of the uplinks. The rules suppress the main table's routes through an interface of the group
//! (`suppress_ifgroup`), so that an address leaves through its own uplink only.

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::interfaces::Diagnostic;
use crate::network::{Family, Link, PROTOCOL, Snapshot};
use crate::uplinks::Uplink;

/// The group that symroute sets. An interface in this group counts as set by symroute: the kernel does not record who
/// set it.
pub const GROUP: u32 = PROTOCOL as u32;
/// `INIT_NETDEV_GROUP` (linux/netdevice.h), `default` in iproute2: an interface without a group.
pub const NO_GROUP: u32 = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group in the rules: [`GROUP`], or the number that the administrator gave to the interfaces of all uplinks.
    pub number: u32,
    /// The interfaces that are in it, or that symroute puts into it.
    pub interfaces: Vec<String>,
}

impl Default for Group {
    fn default() -> Self {
        Group { number: GROUP, interfaces: Vec::new() }
    }
}

impl Group {
    pub fn has(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|known| known == interface)
    }

    /// Does symroute have to put the interface into the group?
    pub fn is_set_by_us(&self, interface: &str) -> bool {
        self.number == GROUP && self.has(interface)
    }
}

/// The group of all uplinks of the families that have a layered policy. It includes uplinks without a policy: the others
/// reach their networks via a gateway.
pub fn group(
    uplinks: &[Uplink],
    layered: &[usize],
    snapshot: Option<&Snapshot>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Group {
    let layered = layered.iter().map(|index| &uplinks[*index]).filter(|uplink| uplink.up);
    let layered: FxHashSet<Family> = layered.map(|uplink| uplink.family).collect();
    let is_layered = |family: Family| layered.contains(&family);
    let is_member = |uplink: &&Uplink| {
        let is_complete = !(uplink.dynamic && uplink.sources.is_empty());
        uplink.up && uplink.gateway.is_known() && is_complete && uplink.skipped.is_none() && is_layered(uplink.family)
    };
    let mut names: FxHashSet<&str> = FxHashSet::with_capacity_and_hasher(uplinks.len(), FxBuildHasher);
    let members: Vec<&Uplink> =
        uplinks.iter().filter(is_member).filter(|uplink| names.insert(&uplink.interface)).collect();
    let links = || snapshot.iter().flat_map(|snapshot| &snapshot.links);
    let is_foreign = |number: u32| ![NO_GROUP, GROUP].contains(&number);
    let in_foreign = links().filter(|link| is_foreign(link.group));
    let numbers: FxHashMap<&str, u32> = in_foreign.map(|link| (&link.name[..], link.group)).collect();
    let number = |uplink: &Uplink| numbers.get(&uplink.interface[..]).copied().unwrap_or(NO_GROUP);
    let interfaces = |members: &[&Uplink]| members.iter().map(|uplink| uplink.interface.clone()).collect();
    let is_shared = |shared: &u32| {
        let is_member = |name: &str| names.contains(name);
        // No other interface may be in it: the rules would suppress the main table's routes through it as well.
        let is_other = |link: &Link| link.group == *shared && link.name != "lo" && !is_member(&link.name);
        is_foreign(*shared) && !links().any(is_other) && members.iter().all(|uplink| number(uplink) == *shared)
    };
    if let Some(number) = members.first().map(|first| number(first)).filter(is_shared) {
        return Group { number, interfaces: interfaces(&members) };
    }
    let (foreign, own): (Vec<&Uplink>, Vec<&Uplink>) =
        members.into_iter().partition(|uplink| is_foreign(number(uplink)));
    diagnostics.extend(foreign.iter().map(|uplink| in_the_way(uplink, number(uplink))));
    Group { number: GROUP, interfaces: interfaces(&own) }
}

fn in_the_way(uplink: &Uplink, number: u32) -> Diagnostic {
    let dev = &uplink.interface;
    Diagnostic::warning(
        uplink.location,
        b"",
        format!(
            "{dev} is in interface group {number}, which symroute did not set: replies from the other uplinks' addresses \
             to the networks of {dev} leave through {dev}"
        ),
        format!(
            "Run 'ip link set dev {dev} group 0' and then 'symroute apply'. Or put the interfaces of all uplinks, and no \
             other, into one group."
        ),
    )
    .named("interface-group")
}
