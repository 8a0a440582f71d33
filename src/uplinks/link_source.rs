//! An address that a stanza adds to a link. Small, because a file may have many.

use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use ipnet::IpNet;

use super::uplink::Source;
use crate::interfaces::{Config, Stanza, without_alias};
use crate::network::Family;

#[derive(Debug, Clone)]
pub(crate) struct LinkSource {
    pub(crate) net: IpNet,
    stanza: u32,
    rare: Option<Box<Rare>>,
}

/// What few addresses have.
#[derive(Debug, Clone)]
struct Rare {
    /// Another link than that of the stanza's name.
    link: Option<String>,
    peer: Option<IpAddr>,
}

impl LinkSource {
    /// `index` is that of the stanza. The reader limits the size of files, and so the number of stanzas.
    pub(crate) fn new(link: &str, index: usize, stanza: &Stanza, source: &Source) -> Self {
        let link = (link.as_bytes() != without_alias(&stanza.interface)).then(|| link.to_string());
        let rare = (link.is_some() || source.peer.is_some()).then(|| Box::new(Rare { link, peer: source.peer }));
        LinkSource { net: source.net, stanza: index as u32, rare }
    }

    /// The kernel's name of the link.
    pub(crate) fn link<'a>(&'a self, config: &'a Config) -> &'a BStr {
        let other = self.rare.as_ref().and_then(|rare| rare.link.as_ref());
        other.map_or_else(|| without_alias(&config.stanzas[self.stanza()].interface), |link| link.as_bytes()).as_bstr()
    }

    /// Index into `Config::stanzas`.
    pub(crate) fn stanza(&self) -> usize {
        self.stanza as usize
    }

    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.rare.as_ref()?.peer
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(&self.net.addr())
    }

    pub(crate) fn source(&self) -> Source {
        Source { peer: self.peer(), stanza: Some(self.stanza()), ..Source::of(self.net) }
    }
}
