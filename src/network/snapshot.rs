//! Links, addresses, rules and routes of the kernel at one moment. `netlink` reads them.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::family::Family;
use super::route::Route;
use super::rule::Rule;
use crate::commands::tables::MAIN;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub rules: Vec<Rule>,
    pub routes: Vec<Route>,
    /// The lease of the DHCP event that this run handles, and remembered ones.
    pub leases: Vec<Lease>,
    /// IPv6 neighbours that do not reply; read only where the main table has several routers of one
    /// interface.
    pub failed: Vec<(String, IpAddr)>,
}

/// A DHCP lease with a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub interface: String,
    pub address: IpAddr,
    pub router: IpAddr,
    /// Known from an earlier run: it counts only where the kernel has lost the gateway.
    pub is_remembered: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Its alternative names (`ip link property`): iproute2 accepts them as names.
    pub altnames: Vec<String>,
    /// Administratively up (`IFF_UP`); a missing carrier does not matter.
    pub up: bool,
    /// Its hosts are found by ARP or NDP (`IFF_BROADCAST` without `IFF_NOARP`).
    pub broadcast: bool,
    /// The group that `suppress_ifgroup` compares.
    pub group: u32,
    /// A VRF, or a member of one.
    pub vrf: bool,
    /// The index of the interface that its packets also use (macvlan, ipvlan).
    pub shares: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub dev: String,
    /// With the prefix length of the on-link network; the host bits are the address.
    pub net: IpNet,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Loopback and link-local addresses: scope below global, or 169.254.0.0/16.
    pub local: bool,
    /// Duplicate address detection failed: the kernel has the address, but does not use it (ip-address(8),
    /// `dadfailed`).
    pub duplicate: bool,
}

impl Link {
    /// Is this its name? Names differ in the last character most of the time.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.len() == name.len() && self.name.as_bytes().last() == name.as_bytes().last() && self.name == name
    }
}

impl Snapshot {
    /// Has the main table several IPv6 default routes through one interface? Then the kernel selects the router by what it
    /// knows of neighbours.
    pub fn has_several_routers(&self) -> bool {
        let is_default =
            |route: &&Route| (route.table, route.family, route.dst.prefix_len()) == (MAIN, Family::Inet6, 0);
        let mut interfaces = FxHashSet::default();
        let mut devs = self.routes.iter().filter(is_default).filter_map(|route| route.dev.as_ref());
        devs.any(|dev| !interfaces.insert(dev))
    }

    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.is_named(name))
    }
}

/// The kernel's names of interfaces, by their names and altnames.
#[derive(Debug, Clone, Default)]
pub struct LinkNames<'a>(FxHashMap<&'a str, &'a str>);

impl<'a> LinkNames<'a> {
    pub fn new(links: &'a [Link]) -> Self {
        let mut names: FxHashMap<&str, &str> = links.iter().map(|link| (&link.name[..], &link.name[..])).collect();
        for link in links {
            for altname in &link.altnames {
                names.entry(altname).or_insert(&link.name);
            }
        }
        LinkNames(names)
    }

    /// As [`kernel_name`]; nothing if no interface has this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }
}

/// The kernel's name of the interface that has this name or altname; the name itself if there is none.
pub fn kernel_name<'a>(links: &'a [Link], name: &'a str) -> &'a str {
    let by_altname = || links.iter().find(|link| link.altnames.iter().any(|altname| altname == name));
    let by_name = links.iter().find(|link| link.is_named(name));
    by_name.or_else(by_altname).map_or(name, |link| &link.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name has precedence over an altname, and the first interface over the others.
    #[test]
    fn names_of_interfaces_are_found_by_index() {
        let link = |name: &str, altnames: &[&str]| Link {
            name: name.into(),
            altnames: altnames.iter().map(ToString::to_string).collect(),
            ..Link::default()
        };
        let links = [link("eth0", &["eth1", "wan"]), link("eth1", &["lan"]), link("eth2", &["wan", "eth0"])];
        let names = LinkNames::new(&links);
        for (name, expected) in [("eth0", "eth0"), ("eth1", "eth1"), ("wan", "eth0"), ("lan", "eth1"), ("eth2", "eth2")]
        {
            assert_eq!((names.get(name), kernel_name(&links, name)), (Some(expected), expected));
        }
        assert_eq!((names.get("eth3"), kernel_name(&links, "eth3")), (None, "eth3"));
    }
}
