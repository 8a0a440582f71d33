//! The packet of one lookup, as rules and tables use it.

use std::net::IpAddr;

use crate::network::{Family, Query};

/// The values that selectors are compared with.
pub(super) struct Flow<'a> {
    pub(super) family: Family,
    pub(super) from: Option<IpAddr>,
    pub(super) to: IpAddr,
    /// `lo` for packets that the host itself sends.
    pub(super) iif: &'a str,
    pub(super) oif: Option<&'a str>,
    pub(super) mark: u32,
    pub(super) uid: u32,
    pub(super) ip_protocol: u8,
    pub(super) sport: u16,
    pub(super) dport: u16,
}

impl<'a> Flow<'a> {
    pub(super) fn new(query: &'a Query) -> Self {
        let (iif, oif, uid) = match &query.iif {
            Some(iif) => (iif.as_str(), None, 0),
            None => ("lo", query.oif.as_deref(), query.uid),
        };
        let Query { from, to, mark, ip_protocol, sport, dport, .. } = *query;
        Flow { family: query.family(), from, to, iif, oif, mark, uid, ip_protocol, sport, dport }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.iif == "lo"
    }
}
