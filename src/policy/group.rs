//! The interface group of the uplinks. The rules reject what main routes through an interface of the group
//! (`suppress_ifgroup`), so that an address leaves through its own uplink only.

use crate::interfaces::{Diagnostic, Family};
use crate::snapshot::{PROTOCOL, Snapshot};
use crate::uplinks::Uplink;

/// What symroute puts an interface into. An interface in this group is symroute's: nothing else says who put it there.
pub const GROUP: u32 = PROTOCOL as u32;
/// `INIT_NETDEV_GROUP` (linux/netdevice.h), `default` in iproute2: an interface that nobody put anywhere.
pub const NO_GROUP: u32 = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What the rules name: [`GROUP`], or the number that the administrator gave to the interfaces of all uplinks.
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

/// The group for all uplinks of the families in which a layered policy is in place: also of those that have no
/// policy, as their networks are behind a gateway for the others.
pub fn group(
    uplinks: &[Uplink],
    layered: &[usize],
    snapshot: Option<&Snapshot>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Group {
    let is_layered = |family: Family| layered.iter().any(|at| uplinks[*at].family == family && uplinks[*at].up);
    let is_member = |uplink: &&Uplink| {
        uplink.up && uplink.gateway.is_some() && uplink.skipped.is_none() && is_layered(uplink.family)
    };
    let mut members: Vec<&Uplink> = Vec::new();
    for uplink in uplinks.iter().filter(is_member) {
        if !members.iter().any(|known| known.interface == uplink.interface) {
            members.push(uplink);
        }
    }
    let links = || snapshot.iter().flat_map(|snapshot| &snapshot.links);
    let number =
        |uplink: &Uplink| links().find(|link| link.name == uplink.interface).map_or(NO_GROUP, |link| link.group);
    let is_foreign = |number: u32| ![NO_GROUP, GROUP].contains(&number);
    let interfaces = |members: &[&Uplink]| members.iter().map(|uplink| uplink.interface.clone()).collect();
    let is_shared = |shared: &u32| {
        let is_member = |name: &str| members.iter().any(|uplink| uplink.interface == name);
        // An interface that is no uplink must not be in it: main's routes through it would be rejected as well.
        let others = links().any(|link| link.group == *shared && link.name != "lo" && !is_member(&link.name));
        is_foreign(*shared) && !others && members.iter().all(|uplink| number(uplink) == *shared)
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
        uplink.at,
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
