//! What else of a host decides whether answers find their way: kernel settings, other managers of routes,
//! translated addresses, sockets. Plain values; `host` reads them.

use std::collections::HashMap;

/// `net.ipv4.conf.NAME` (kernel, Documentation/networking/ip-sysctl.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// 0 off, 1 strict, 2 loose.
    pub rp_filter: u8,
    pub arp_filter: bool,
    /// 1 and more: answers only for addresses of the link that was asked.
    pub arp_ignore: u8,
    pub src_valid_mark: bool,
    pub promote_secondaries: bool,
}

/// A UDP socket on the wildcard address and a fixed port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wildcard {
    pub port: u16,
    /// Bound to `::`, which serves IPv4 as well unless told otherwise.
    pub inet6: bool,
    /// Who holds it, as far as that may be seen: its command name.
    pub program: Option<String>,
    pub pid: Option<u32>,
}

/// A packet filter rule that gives what comes in another destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// `FAMILY TABLE CHAIN`, as `nft list chain` takes it.
    pub chain: String,
    /// Matches only what comes in through these links, or not through these.
    pub iif: Option<(bool, Vec<String>)>,
    /// Matches only what is for this address.
    pub daddr: Option<String>,
}

/// systemd-networkd, if it runs or will at the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Networkd {
    pub runs: bool,
    /// Not told to keep rules that no `.network` file describes (networkd.conf(5),
    /// `ManageForeignRoutingPolicyRules`).
    pub removes_rules: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub all: Settings,
    /// By link.
    pub settings: HashMap<String, Settings>,
    /// Links on which IPv6 is switched off (`net.ipv6.conf.NAME.disable_ipv6`).
    pub without_inet6: Vec<String>,
    /// The kernel forwards IPv4.
    pub forwards: bool,
    /// Packets that rp_filter has dropped since boot (`TcpExt: IPReversePathFilter`).
    pub dropped: u64,
    pub networkd: Option<Networkd>,
    /// Links that NetworkManager manages, and the state that it gives them.
    pub networkmanager: HashMap<String, String>,
    pub translations: Vec<Translation>,
    pub udp: Vec<Wildcard>,
    /// The hook for if-up.d is installed.
    pub hooks: bool,
}

impl Facts {
    fn of(&self, link: &str) -> Settings {
        self.settings.get(link).copied().unwrap_or_default()
    }

    /// As the kernel applies it: the larger of all's and the link's (ip-sysctl.rst).
    pub fn rp_filter(&self, link: &str) -> u8 {
        self.all.rp_filter.max(self.of(link).rp_filter)
    }

    /// One of all's and the link's is enough for these.
    pub fn arp_filter(&self, link: &str) -> bool {
        self.all.arp_filter || self.of(link).arp_filter
    }

    /// The larger of the two.
    pub fn arp_ignore(&self, link: &str) -> u8 {
        self.all.arp_ignore.max(self.of(link).arp_ignore)
    }

    pub fn src_valid_mark(&self, link: &str) -> bool {
        self.all.src_valid_mark || self.of(link).src_valid_mark
    }

    pub fn promote_secondaries(&self, link: &str) -> bool {
        self.all.promote_secondaries || self.of(link).promote_secondaries
    }
}
