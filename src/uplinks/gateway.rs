//! The next hop of an uplink's default route.

use std::net::IpAddr;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Gateway {
    /// No lease, advertisement or route gives it yet.
    #[default]
    Unknown,
    /// A point-to-point link: the default route has a device only.
    OnLink,
    Address(IpAddr),
}

impl Gateway {
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Gateway::Address(address) => Some(address),
            Gateway::Unknown | Gateway::OnLink => None,
        }
    }

    pub fn is_known(self) -> bool {
        self != Gateway::Unknown
    }

    /// Can the address be that of its router?
    pub fn is(self, address: IpAddr) -> bool {
        self == Gateway::Address(address)
    }
}
