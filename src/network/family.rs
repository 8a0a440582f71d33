//! The two address families that have uplinks, rules and routes.

use std::fmt;
use std::net::IpAddr;

use crate::interfaces::AddressFamily;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Inet,
    Inet6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::Inet, Family::Inet6];

    pub fn of(address: &IpAddr) -> Self {
        Family::of_inet6(address.is_ipv6())
    }

    /// Of an `ip` command, which is for IPv6 or for IPv4.
    pub fn of_inet6(inet6: bool) -> Self {
        if inet6 { Family::Inet6 } else { Family::Inet }
    }

    /// Of a stanza; nothing for those that have no IP addresses, or that name no family.
    pub fn of_stanza(family: AddressFamily) -> Option<Self> {
        match family {
            AddressFamily::Inet => Some(Family::Inet),
            AddressFamily::Inet6 => Some(Family::Inet6),
            AddressFamily::Ipx | AddressFamily::Can | AddressFamily::Meta | AddressFamily::Any => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        }
    }

    /// In sentences: `IPv4` or `IPv6`.
    pub fn version(self) -> &'static str {
        match self {
            Family::Inet => "IPv4",
            Family::Inet6 => "IPv6",
        }
    }

    /// The beginning of a command for the family.
    pub fn ip(self) -> &'static str {
        match self {
            Family::Inet => "ip",
            Family::Inet6 => "ip -6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
