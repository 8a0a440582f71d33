//! Rules (linux/fib_rules.h).

use anyhow::{Result, bail};
use ipnet::IpNet;
use nix::libc;

use super::values::{family_of, ip_family, prefix};
use crate::netlink::wire::{Attached, Attribute, Attributes, Request, split};
use crate::network::{Action, Rule, RuleExtras};

// linux/fib_rules.h
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_FLOW: u16 = 11;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PAD: u16 = 18;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FRA_DSCP: u16 = 25;
const FRA_SPORT_MASK: u16 = 28;
const FRA_DPORT_MASK: u16 = 29;
const FRA_DSCP_MASK: u16 = 30;
/// Other protocols with rules of their own: multicast routing (`RTNL_FAMILY_IPMR`, `RTNL_FAMILY_IP6MR`) and DECnet.
const OTHER_FAMILIES: [u8; 3] = [128, 129, 12];
/// All bits of a DSCP.
const DSCP_BITS: u8 = 0x3f;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;
const FR_ACT_BLACKHOLE: u8 = 6;
const FR_ACT_UNREACHABLE: u8 = 7;
const FR_ACT_PROHIBIT: u8 = 8;
const FIB_RULE_INVERT: u32 = 2;
/// `PERMANENT`, `INVERT`, and flags that depend on the links and on other rules: `UNRESOLVED`, `IIF_DETACHED`,
/// `OIF_DETACHED`.
const FIB_RULE_KNOWN: u32 = 0x1f;

/// `struct fib_rule_hdr`
#[derive(Default)]
struct RuleHeader {
    family: u8,
    dst_len: u8,
    src_len: u8,
    tos: u8,
    table: u8,
    action: u8,
    flags: u32,
}

impl RuleHeader {
    fn split(body: &[u8]) -> Result<(RuleHeader, Attributes<'_>)> {
        let (&[family, dst_len, src_len, tos, table, _, _, action, f0, f1, f2, f3], attributes) = split(body)?;
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
        Ok((RuleHeader { family, dst_len, src_len, tos, table, action, flags }, attributes))
    }

    /// What rules of symroute do not have; nothing if the header is that of such a rule.
    fn extras(&self) -> Option<Box<RuleExtras>> {
        let (action, tos) = (action_of(self.action), self.tos);
        let (not, unknown) = (self.flags & FIB_RULE_INVERT != 0, self.flags & !FIB_RULE_KNOWN != 0);
        let is_plain = action == Action::Lookup && tos == 0 && !not && !unknown;
        (!is_plain).then(|| Box::new(RuleExtras { action, not, tos, unknown, ..RuleExtras::default() }))
    }

    fn bytes(&self) -> [u8; 12] {
        let [f0, f1, f2, f3] = self.flags.to_ne_bytes();
        let RuleHeader { family, dst_len, src_len, tos, table, action, .. } = *self;
        [family, dst_len, src_len, tos, table, 0, 0, action, f0, f1, f2, f3]
    }
}

/// Of all families.
pub(crate) fn list_rules() -> Request {
    Request::new(libc::RTM_GETRULE, &RuleHeader::default().bytes())
}

/// The kernel does not send the priority 0.
pub(crate) fn priority_of_rule(body: &[u8]) -> Result<u32> {
    let (_, attributes) = RuleHeader::split(body)?;
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == FRA_PRIORITY {
            return attribute.u32();
        }
    }
    Ok(0)
}

/// Nothing for a rule of another protocol.
pub(crate) fn read_rule(body: &[u8]) -> Result<Option<Rule>> {
    let (header, attributes) = RuleHeader::split(body)?;
    let family = match ip_family(header.family) {
        Some(family) => family,
        None if OTHER_FAMILIES.contains(&header.family) => return Ok(None),
        None => bail!("a rule of address family {}", header.family),
    };
    let mut rule = Rule {
        family,
        priority: 0,
        src: None,
        oif: None,
        table: header.table.into(),
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: 0,
        extras: None,
    };
    let mut extras = header.extras();
    let (mut src, mut dst) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            FRA_PRIORITY => rule.priority = attribute.u32()?,
            FRA_SRC => src = Some(attribute.address(header.family)?),
            FRA_DST => dst = Some(attribute.address(header.family)?),
            FRA_OIFNAME => rule.oif = Some(attribute.name()?),
            FRA_TABLE => rule.table = attribute.u32()?,
            FRA_SUPPRESS_PREFIXLEN => rule.suppress_prefixlen = suppressor(attribute)?,
            FRA_SUPPRESS_IFGROUP => rule.suppress_ifgroup = suppressor(attribute)?,
            FRA_PROTOCOL => rule.protocol = attribute.u8()?,
            FRA_PAD => {}
            _ => read_rule_extra(attribute, extras.get_or_insert_default())?,
        }
    }
    rule.src = prefix(src, header.src_len)?;
    if let Some(dst) = prefix(dst, header.dst_len)? {
        extras.get_or_insert_default().dst = Some(dst);
    }
    rule.extras = extras.filter(|extras| **extras != RuleExtras::default());
    Ok(Some(rule))
}

/// The kernel sends -1 if a suppressor is not set.
fn suppressor(attribute: Attribute<'_>) -> Result<Option<u32>> {
    Ok(Some(attribute.u32()?).filter(|number| *number != u32::MAX))
}

/// Attributes that symroute's rules do not have.
fn read_rule_extra(attribute: Attribute<'_>, extras: &mut RuleExtras) -> Result<()> {
    match attribute.kind {
        FRA_IIFNAME => extras.iif = Some(attribute.name()?),
        FRA_GOTO => extras.action = Action::Goto(attribute.u32()?),
        FRA_FWMARK => extras.mark = Some((attribute.u32()?, extras.mark.map_or(u32::MAX, |(_, mask)| mask))),
        FRA_FWMASK => extras.mark = Some((extras.mark.map_or(0, |(mark, _)| mark), attribute.u32()?)),
        FRA_UID_RANGE => {
            let [a, b, c, d, e, f, g, h] = attribute.array()?;
            extras.uids = Some((u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])));
        }
        FRA_IP_PROTO => extras.ip_protocol = Some(attribute.u8()?).filter(|protocol| *protocol != 0),
        FRA_SPORT_RANGE => extras.sports = Some(ports(attribute)?),
        FRA_DPORT_RANGE => extras.dports = Some(ports(attribute)?),
        // A mask of all bits for a single port: kernels since 6.15 always send it.
        FRA_SPORT_MASK | FRA_DPORT_MASK => extras.unknown |= attribute.value != [0xff, 0xff],
        FRA_L3MDEV => extras.l3mdev = attribute.u8()? != 0,
        FRA_FLOW => extras.realms = true,
        FRA_TUN_ID => extras.tun_id = Some(u64::from_be_bytes(attribute.array()?)),
        FRA_DSCP if attribute.value.len() == 1 => {
            extras.dscp = Some((attribute.u8()?, extras.dscp.map_or(DSCP_BITS, |(_, mask)| mask)));
        }
        FRA_DSCP_MASK if attribute.value.len() == 1 => {
            extras.dscp = Some((extras.dscp.map_or(0, |(dscp, _)| dscp), attribute.u8()?));
        }
        _ => extras.unknown = true,
    }
    Ok(())
}

fn ports(attribute: Attribute<'_>) -> Result<(u16, u16)> {
    let [a, b, c, d] = attribute.array()?;
    Ok((u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])))
}

fn action_of(number: u8) -> Action {
    match number {
        FR_ACT_TO_TBL => Action::Lookup,
        FR_ACT_GOTO => Action::Goto(0),
        FR_ACT_NOP => Action::Nop,
        FR_ACT_BLACKHOLE => Action::Blackhole,
        FR_ACT_UNREACHABLE => Action::Unreachable,
        FR_ACT_PROHIBIT => Action::Prohibit,
        number => Action::Other(number),
    }
}

fn action_number(action: Action) -> u8 {
    match action {
        Action::Lookup => FR_ACT_TO_TBL,
        Action::Goto(_) => FR_ACT_GOTO,
        Action::Nop => FR_ACT_NOP,
        Action::Blackhole => FR_ACT_BLACKHOLE,
        Action::Unreachable => FR_ACT_UNREACHABLE,
        Action::Prohibit => FR_ACT_PROHIBIT,
        Action::Other(number) => number,
    }
}

/// The message for a rule; `kind` is `RTM_NEWRULE` or `RTM_DELRULE`. Realms and unknown attributes are missing.
pub(crate) fn write_rule(rule: &Rule, kind: u16) -> Request {
    let plain = RuleExtras::default();
    let extras = rule.extras.as_deref().unwrap_or(&plain);
    let length = |net: Option<IpNet>| net.map_or(0, |net| net.prefix_len());
    let header = RuleHeader {
        family: family_of(rule.family),
        dst_len: length(extras.dst),
        src_len: length(rule.src),
        tos: extras.tos,
        // RT_TABLE_UNSPEC: the table is in the attribute.
        table: u8::try_from(rule.table).unwrap_or(0),
        action: action_number(extras.action),
        flags: if extras.not { FIB_RULE_INVERT } else { 0 },
    };
    let mut request = Request::new(kind, &header.bytes());
    let attributes = &mut request.attributes;
    // The kernel rejects a table together with l3mdev, even 0.
    if rule.table != 0 {
        attributes.add_u32(FRA_TABLE, rule.table);
    }
    attributes.add_u32(FRA_PRIORITY, rule.priority);
    for (kind, net) in [(FRA_SRC, rule.src), (FRA_DST, extras.dst)] {
        if let Some(net) = net {
            attributes.add_address(kind, net.addr());
        }
    }
    for (kind, name) in [(FRA_OIFNAME, &rule.oif), (FRA_IIFNAME, &extras.iif)] {
        if let Some(name) = name {
            attributes.add_name(kind, name);
        }
    }
    for (kind, number) in
        [(FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefixlen), (FRA_SUPPRESS_IFGROUP, rule.suppress_ifgroup)]
    {
        if let Some(number) = number {
            attributes.add_u32(kind, number);
        }
    }
    attributes.add(FRA_PROTOCOL, &[rule.protocol]);
    write_rule_extras(extras, attributes);
    request
}

/// Attributes that symroute's rules do not have.
fn write_rule_extras(extras: &RuleExtras, attributes: &mut Attached) {
    if let Action::Goto(target) = extras.action {
        attributes.add_u32(FRA_GOTO, target);
    }
    if let Some((mark, mask)) = extras.mark {
        attributes.add_u32(FRA_FWMARK, mark);
        attributes.add_u32(FRA_FWMASK, mask);
    }
    if let Some((first, last)) = extras.uids {
        attributes.add(FRA_UID_RANGE, &[first.to_ne_bytes(), last.to_ne_bytes()].concat());
    }
    if let Some(protocol) = extras.ip_protocol {
        attributes.add(FRA_IP_PROTO, &[protocol]);
    }
    for (kind, ports) in [(FRA_SPORT_RANGE, extras.sports), (FRA_DPORT_RANGE, extras.dports)] {
        if let Some((first, last)) = ports {
            attributes.add(kind, &[first.to_ne_bytes(), last.to_ne_bytes()].concat());
        }
    }
    if extras.l3mdev {
        attributes.add(FRA_L3MDEV, &[1]);
    }
    if let Some(id) = extras.tun_id {
        attributes.add(FRA_TUN_ID, &id.to_be_bytes());
    }
    if let Some((dscp, mask)) = extras.dscp {
        attributes.add(FRA_DSCP, &[dscp]);
        // Older kernels have no masks.
        if mask != DSCP_BITS {
            attributes.add(FRA_DSCP_MASK, &[mask]);
        }
    }
}
