//! The selectors of a rule: whether a packet matches them, and why not.
//!
//! After `fib_rule_match` (net/core/fib_rules.c), `fib4_rule_match` and `fib6_rule_match`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::flow::Flow;
use super::result::RuleVerdict;
use crate::network::{Family, Rule, RuleExtras, Snapshot, dscp_text, prefix};

/// Why the rule does not match; nothing if it does.
pub(super) fn unmatched(rule: &Rule, extras: &RuleExtras, snapshot: &Snapshot, flow: &Flow) -> Option<RuleVerdict> {
    let mismatch = interface_mismatch(rule, extras, snapshot, flow)
        .or_else(|| socket_mismatch(extras, flow))
        .or_else(|| address_mismatch(rule, extras, flow))
        .or_else(|| packet_mismatch(extras, flow));
    match (mismatch, extras.not) {
        (None, _) if extras.unknown => Some(RuleVerdict::Unknown(format!(
            "rule {} has an unsupported selector; 'ip rule' may show it",
            rule.priority
        ))),
        (None, false) | (Some(_), true) => None,
        (Some(why), false) => Some(RuleVerdict::NoMatch(why)),
        (None, true) => Some(RuleVerdict::NoMatch("its selectors match, but the rule has 'not'".into())),
    }
}

fn interface_mismatch(rule: &Rule, extras: &RuleExtras, snapshot: &Snapshot, flow: &Flow) -> Option<String> {
    let is_missing = |dev: &str| snapshot.link(dev).is_none();
    if let Some(iif) = extras.iif.as_deref().filter(|iif| *iif != flow.iif || is_missing(iif)) {
        return Some(match (is_missing(iif), iif) {
            (true, _) => format!("interface {iif} does not exist"),
            (_, "lo") => "only for packets that this host sends".into(),
            _ => format!("only for packets that arrive on {iif}"),
        });
    }
    let oif = rule.oif.as_deref().filter(|oif| Some(*oif) != flow.oif || is_missing(oif))?;
    Some(match is_missing(oif) {
        true => format!("interface {oif} does not exist"),
        false => format!("only for sockets bound to {oif}"),
    })
}

fn socket_mismatch(extras: &RuleExtras, flow: &Flow) -> Option<String> {
    if let Some((mark, mask)) = extras.mark.filter(|(mark, mask)| (mark ^ flow.mark) & mask != 0) {
        return Some(match mask {
            u32::MAX => format!("the mark is {:#x}, not {mark:#x}", flow.mark),
            _ => format!("the mark is {:#x}, not {mark:#x}/{mask:#x}", flow.mark),
        });
    }
    if extras.l3mdev {
        return Some("only for VRFs".into());
    }
    let (first, last) = extras.uids.filter(|(first, last)| !(*first..=*last).contains(&flow.uid))?;
    Some(format!("only for users {first} to {last}, not {}", flow.uid))
}

fn address_mismatch(rule: &Rule, extras: &RuleExtras, flow: &Flow) -> Option<String> {
    // IPv4 treats a source that is not selected yet as 0.0.0.0; for IPv6 it matches no prefix.
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let from = flow.from.or((flow.family == Family::Inet).then_some(any));
    if let Some(src) = rule.src.filter(|src| src.prefix_len() > 0 && !from.is_some_and(|from| src.contains(&from))) {
        return Some(match flow.from {
            Some(_) => format!("the source is not {}", in_prefix(&src)),
            None => "no source address is selected yet".into(),
        });
    }
    let dst = extras.dst.filter(|dst| dst.prefix_len() > 0 && !dst.contains(&flow.to))?;
    Some(format!("the destination is not {}", in_prefix(&dst)))
}

fn packet_mismatch(extras: &RuleExtras, flow: &Flow) -> Option<String> {
    if extras.tos != 0 {
        return Some(format!("only for TOS {:#x}", extras.tos));
    }
    // The packets of a lookup have DSCP 0 and no tunnel number.
    if let Some(dscp) = extras.dscp.filter(|(dscp, mask)| dscp & mask != 0) {
        return Some(format!("only for DSCP {}", dscp_text(dscp)));
    }
    if let Some(id) = extras.tun_id.filter(|id| *id != 0) {
        return Some(format!("only for packets of tunnel {id}"));
    }
    if let Some(protocol) = extras.ip_protocol.filter(|protocol| *protocol != flow.ip_protocol) {
        return Some(format!("only for IP protocol {protocol}, not {}", flow.ip_protocol));
    }
    let ports = [("source", extras.sports, flow.sport), ("destination", extras.dports, flow.dport)];
    ports.into_iter().find_map(|(side, ports, port)| {
        let (first, last) = ports.filter(|(first, last)| !(*first..=*last).contains(&port))?;
        Some(match first == last {
            true => format!("only for {side} port {first}"),
            false => format!("only for {side} ports {first} to {last}"),
        })
    })
}

/// `192.0.2.10`, or `in 192.0.2.0/24`.
fn in_prefix(net: &IpNet) -> String {
    let is_address = net.prefix_len() == net.max_prefix_len();
    format!("{}{}", if is_address { "" } else { "in " }, prefix(net))
}
