//! A route lookup: the query, and the kernel's answer.

use std::net::IpAddr;

use nix::errno::Errno;

use super::family::Family;
use super::route::Kind;

/// The query of a route lookup: the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Nothing for a socket without a source address.
    pub from: Option<IpAddr>,
    pub to: IpAddr,
    /// The packet arrives on this interface; nothing if the host itself sends it.
    pub iif: Option<String>,
    /// The interface to which the socket is bound.
    pub oif: Option<String>,
    pub mark: u32,
    /// The user of the socket; not used for received packets.
    pub uid: u32,
    /// `IPPROTO_*`; the kernel accepts only 1, 6, 17 and 58.
    pub ip_protocol: u8,
    /// 0 matches no rule with ports.
    pub sport: u16,
    pub dport: u16,
}

impl Query {
    /// A UDP packet of root: the defaults of the kernel.
    pub fn to(to: IpAddr) -> Query {
        Query { from: None, to, iif: None, oif: None, mark: 0, uid: 0, ip_protocol: 17, sport: 0, dport: 0 }
    }

    pub fn family(&self) -> Family {
        Family::of(&self.to)
    }

    /// The user, the protocol and the ports, in the words of `ip route get`; nothing for defaults.
    pub fn selectors(&self) -> Vec<(&'static str, String)> {
        let uid = Some(self.uid).filter(|uid| *uid != 0 && self.iif.is_none()).map(|uid| uid.to_string());
        let protocol = Some(self.ip_protocol).filter(|protocol| *protocol != 17).map(ip_protocol_name);
        let [sport, dport] =
            [self.sport, self.dport].map(|port| Some(port).filter(|port| *port != 0).map(|port| port.to_string()));
        let selectors = [("uid", uid), ("ipproto", protocol), ("sport", sport), ("dport", dport)];
        selectors.into_iter().filter_map(|(word, value)| Some((word, value?))).collect()
    }
}

/// As iproute2 prints `IPPROTO_*`.
pub fn ip_protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "ipv6-icmp".into(),
        number => number.to_string(),
    }
}

/// The kernel's answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Route(ResolvedRoute),
    /// ENETUNREACH no route, or a rule 'unreachable'; EHOSTUNREACH a route 'unreachable'; EACCES 'prohibit';
    /// EINVAL 'blackhole', or a received packet that its source check drops.
    Rejected(Errno),
}

/// The route that a lookup returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedRoute {
    pub kind: Kind,
    /// 0 if the route is from no table.
    pub table: u32,
    /// `lo` for packets to the host itself.
    pub dev: Option<String>,
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel selected, if the query has none.
    pub source: Option<IpAddr>,
}

/// What a lookup depends on, except rules and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookupContext {
    /// IPv4: `forwarding` of the interface that the packet arrives on; IPv6: of the host (`net.ipv6.conf.all`).
    pub forwards: bool,
    /// IPv6: neighbours that do not reply (interface and address). A host that does not forward prefers other routers.
    pub failed: Vec<(String, IpAddr)>,
}
