//! Everything else of a host on which replies depend: kernel settings, other managers of routes, address translation,
//! sockets. Plain values; `system::host` reads them.

use rustc_hash::FxHashMap;

/// `net.ipv4.conf.NAME` (kernel, Documentation/networking/ip-sysctl.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// 0 off, 1 strict, 2 loose.
    pub rp_filter: u8,
    pub arp_filter: bool,
    /// 1 and more: the interface replies for its own addresses only.
    pub arp_ignore: u8,
    pub src_valid_mark: bool,
    pub promote_secondaries: bool,
}

/// A UDP socket on the wildcard address and a fixed port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wildcard {
    pub port: u16,
    /// Bound to `::`, which receives IPv4 too by default.
    pub inet6: bool,
    /// The command name of its process, if it is visible.
    pub program: Option<String>,
    pub pid: Option<u32>,
}

/// A packet filter rule that changes the destination of received packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// `FAMILY TABLE CHAIN`, as `nft list chain` takes it.
    pub chain: String,
    /// Matches only packets that arrive on these interfaces, or not on these.
    pub iif: Option<(bool, Vec<String>)>,
    /// Matches only packets to this address.
    pub daddr: Option<String>,
}

/// systemd-networkd, if it runs or is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Networkd {
    pub runs: bool,
    /// It removes rules that no `.network` file describes (networkd.conf(5), `ManageForeignRoutingPolicyRules`).
    pub removes_rules: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub all: Settings,
    /// By interface.
    pub settings: FxHashMap<String, Settings>,
    /// Interfaces on which IPv6 is disabled (`net.ipv6.conf.NAME.disable_ipv6`).
    pub without_inet6: Vec<String>,
    /// The kernel forwards IPv4.
    pub forwards: bool,
    /// Packets that rp_filter has dropped since boot (`TcpExt: IPReversePathFilter`).
    pub dropped: u64,
    pub networkd: Option<Networkd>,
    /// Interfaces that NetworkManager manages, and its state of them.
    pub networkmanager: FxHashMap<String, String>,
    pub translations: Vec<Translation>,
    pub udp: Vec<Wildcard>,
    /// The hook for if-up.d is installed.
    pub hooks: bool,
    /// The `symroute watch` that runs.
    pub watch: Option<Running>,
}

impl Facts {
    fn settings_of(&self, interface: &str) -> Settings {
        self.settings.get(interface).copied().unwrap_or_default()
    }

    /// The value that the kernel uses: the larger of `all` and the interface (ip-sysctl.rst).
    pub fn rp_filter(&self, interface: &str) -> u8 {
        self.all.rp_filter.max(self.settings_of(interface).rp_filter)
    }

    /// For these, either of `all` and the interface is enough.
    pub fn arp_filter(&self, interface: &str) -> bool {
        self.all.arp_filter || self.settings_of(interface).arp_filter
    }

    /// The larger of `all` and the interface.
    pub fn arp_ignore(&self, interface: &str) -> u8 {
        self.all.arp_ignore.max(self.settings_of(interface).arp_ignore)
    }

    pub fn src_valid_mark(&self, interface: &str) -> bool {
        self.all.src_valid_mark || self.settings_of(interface).src_valid_mark
    }

    pub fn promote_secondaries(&self, interface: &str) -> bool {
        self.all.promote_secondaries || self.settings_of(interface).promote_secondaries
    }
}

/// A `symroute watch` that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub pid: i32,
    /// Seconds since 1970 in UTC.
    pub since: u64,
    pub last_change: Option<LastChange>,
}

/// What it changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastChange {
    /// Seconds since 1970 in UTC.
    pub time: u64,
    /// One line for each uplink, as in the log.
    pub lines: Vec<String>,
}
