//! Rules (ip-rule(8)).
//!
//! symroute adds plain rules. Further attributes of foreign rules are in `extras`, so that they never equal a rule of
//! symroute.

use std::fmt;

use ipnet::IpNet;

use super::family::Family;
use super::route::{PROTOCOL, prefix};
use crate::commands::tables::table_name;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    /// Nothing for `from all`.
    pub src: Option<IpNet>,
    pub oif: Option<String>,
    pub table: u32,
    pub suppress_prefixlen: Option<u32>,
    /// Routes of the table through an interface of this group are suppressed.
    pub suppress_ifgroup: Option<u32>,
    pub protocol: u8,
    /// Further selectors and actions.
    pub extras: Option<Box<RuleExtras>>,
}

/// Attributes of a rule that symroute does not use itself (linux/fib_rules.h, ip-rule(8)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleExtras {
    pub action: Action,
    /// The rule matches the packets that its selectors do not match.
    pub not: bool,
    pub dst: Option<IpNet>,
    /// `lo` for packets that the host itself sends.
    pub iif: Option<String>,
    pub tos: u8,
    /// DSCP and mask (`FRA_DSCP`).
    pub dscp: Option<(u8, u8)>,
    /// The packet was received through a tunnel with this number.
    pub tun_id: Option<u64>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    pub uids: Option<(u32, u32)>,
    pub ip_protocol: Option<u8>,
    pub sports: Option<(u16, u16)>,
    pub dports: Option<(u16, u16)>,
    /// Looks up the table of the packet's VRF.
    pub l3mdev: bool,
    /// It has realms, which no lookup uses.
    pub realms: bool,
    /// It has selectors that symroute does not know.
    pub unknown: bool,
}

/// `FR_ACT_*` (linux/fib_rules.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    #[default]
    Lookup,
    /// The priority of a later rule.
    Goto(u32),
    Nop,
    Blackhole,
    Unreachable,
    Prohibit,
    /// The kernel treats it as a blackhole.
    Other(u8),
}

impl Rule {
    /// Added by symroute, according to its protocol.
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    /// The same rule, whoever added it.
    pub fn same_as(&self, other: &Rule) -> bool {
        let Rule { family, priority, src, oif, table, suppress_prefixlen, suppress_ifgroup, protocol: _, extras } =
            self;
        (family, priority, table, src) == (&other.family, &other.priority, &other.table, &other.src)
            && (suppress_prefixlen, suppress_ifgroup) == (&other.suppress_prefixlen, &other.suppress_ifgroup)
            && (oif, extras) == (&other.oif, &other.extras)
    }
}

/// `0x12`, or `0x10/0x3c`; a DSCP has six bits.
pub fn dscp_text((value, mask): (u8, u8)) -> String {
    if mask >= 0x3f { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

/// As `ip rule add` and `ip rule del` accept it, without the protocol.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = RuleExtras::default();
        let extras = self.extras.as_deref().unwrap_or(&plain);
        let mut words: Vec<String> = Vec::new();
        words.extend(extras.not.then(|| "not".to_string()));
        if self.src.is_some() || self.oif.is_none() {
            words.push(format!("from {}", self.src.as_ref().map_or("all".into(), prefix)));
        }
        words.extend(extras.dst.as_ref().map(|dst| format!("to {}", prefix(dst))));
        words.extend((extras.tos != 0).then(|| format!("tos {:#x}", extras.tos)));
        words.extend(extras.dscp.map(dscp_text).map(|dscp| format!("dscp {dscp}")));
        words.extend(extras.mark.map(|(mark, mask)| match mask {
            u32::MAX => format!("fwmark {mark:#x}"),
            mask => format!("fwmark {mark:#x}/{mask:#x}"),
        }));
        words.extend(extras.iif.as_ref().map(|iif| format!("iif {iif}")));
        words.extend(self.oif.as_ref().map(|oif| format!("oif {oif}")));
        words.extend(extras.tun_id.map(|id| format!("tun_id {id}")));
        words.extend(extras.uids.map(|(first, last)| format!("uidrange {first}-{last}")));
        words.extend(extras.ip_protocol.map(|protocol| format!("ipproto {protocol}")));
        words.extend(extras.sports.map(|(first, last)| format!("sport {first}-{last}")));
        words.extend(extras.dports.map(|(first, last)| format!("dport {first}-{last}")));
        words.push(match extras.action {
            Action::Lookup if extras.l3mdev => "l3mdev".into(),
            Action::Lookup => format!("table {}", table_name(self.table)),
            Action::Goto(target) => format!("goto {target}"),
            Action::Nop => "nop".into(),
            Action::Unreachable => "unreachable".into(),
            Action::Prohibit => "prohibit".into(),
            Action::Blackhole | Action::Other(_) => "blackhole".into(),
        });
        words.push(format!("priority {}", self.priority));
        words.extend(self.suppress_prefixlen.map(|length| format!("suppress_prefixlength {length}")));
        words.extend(self.suppress_ifgroup.map(|group| format!("suppress_ifgroup {group}")));
        f.write_str(&words.join(" "))
    }
}
