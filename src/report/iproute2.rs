//! Rules and routes in the formats of `ip rule show`, `ip route show` and `ip -j`.

use std::fmt::Write;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::network::{
    Action, Family, INET6_METRIC, Kind, PROTOCOL, Route, RouteExtras, RouteState, Rule, RuleExtras, SCOPE_LINK,
    dscp_text, ip_protocol_name, prefix, table_name,
};

/// A rule in the format of `ip rule show`.
pub(super) fn rule_text(rule: &Rule) -> String {
    format!("{}:\t{}", rule.priority, rule_words(rule))
}

/// The same without its priority.
pub(super) fn rule_words(rule: &Rule) -> String {
    let plain = RuleExtras::default();
    let extras = rule.extras.as_deref().unwrap_or(&plain);
    let mut text = if extras.not { "not " } else { "" }.to_string();
    let _ = write!(text, "from {}", rule.src.as_ref().map_or("all".into(), prefix));
    let mut add = |key: &str, value: Option<String>| {
        let _ = value.map(|value| write!(text, " {key} {value}"));
    };
    let range = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    add("to", extras.dst.as_ref().map(prefix));
    add("tos", Some(extras.tos).filter(|tos| *tos != 0).map(|tos| format!("{tos:#x}")));
    add("dscp", extras.dscp.map(dscp_text));
    add(
        "fwmark",
        extras
            .mark
            .map(|mark| [Some(fwmark(mark).0), fwmark(mark).1].into_iter().flatten().collect::<Vec<_>>().join("/")),
    );
    add("iif", extras.iif.clone());
    add("oif", rule.oif.clone());
    add("tun_id", extras.tun_id.map(|id| id.to_string()));
    add("uidrange", extras.uids.map(|(first, last)| format!("{first}-{last}")));
    add("ipproto", extras.ip_protocol.map(ip_protocol_name));
    add("sport", extras.sports.map(range));
    add("dport", extras.dports.map(range));
    let table = if extras.l3mdev { "[l3mdev-table]".into() } else { table_name(rule.table) };
    match extras.action {
        Action::Lookup => add("lookup", Some(table)),
        Action::Goto(priority) => add("goto", Some(priority.to_string())),
        action => text.push_str(&format!(" {}", action_name(action))),
    }
    if let Some(length) = rule.suppress_prefixlen {
        let _ = write!(text, " suppress_prefixlength {length}");
    }
    if let Some(group) = rule.suppress_ifgroup {
        let _ = write!(text, " suppress_ifgroup {group}");
    }
    text + if extras.unknown { " and more" } else { "" }
}

/// Mark and mask; no mask if all bits count.
fn fwmark((mark, mask): (u32, u32)) -> (String, Option<String>) {
    (format!("{mark:#x}"), (mask != u32::MAX).then(|| format!("{mask:#x}")))
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Lookup => "lookup",
        Action::Goto(_) => "goto",
        Action::Nop => "nop",
        Action::Unreachable => "unreachable",
        Action::Prohibit => "prohibit",
        Action::Blackhole | Action::Other(_) => "blackhole",
    }
}

/// A route in the format of `ip route show table N`.
pub(super) fn route_text(route: &Route) -> String {
    let plain = RouteExtras::default();
    let extras = route.extras.as_deref().unwrap_or(&plain);
    let has_interface =
        matches!(extras.kind, Kind::Unicast | Kind::Local | Kind::Broadcast | Kind::Anycast | Kind::Multicast);
    let mut text = if extras.kind == Kind::Unicast { String::new() } else { format!("{} ", extras.kind.name()) };
    let of_route = Route { dev: route.dev.clone().filter(|_| has_interface), ..route.clone() }.to_string();
    text.push_str(of_route.rsplit_once(" table ").map_or(of_route.as_str(), |(text, _)| text));
    if let Some(src) = &extras.src {
        let _ = write!(text, " from {}", prefix(src));
    }
    let unset = if route.family == Family::Inet6 { [0, INET6_METRIC] } else { [0, 0] };
    if !unset.contains(&route.metric) {
        let _ = write!(text, " metric {}", route.metric);
    }
    if let Some(id) = extras.nexthop_id {
        let _ = write!(text, " nhid {id}");
    }
    for hop in &extras.nexthops {
        text.push_str(" nexthop");
        if let Some(gateway) = hop.gateway {
            let _ = write!(text, " via {gateway}");
        }
        let _ = write!(text, " dev {}{}", hop.dev.as_deref().unwrap_or("?"), state_text(hop.state));
    }
    text + state_text(route.state)
}

fn state_text(state: RouteState) -> &'static str {
    match (state.dead, state.linkdown) {
        (false, false) => "",
        (false, true) => " linkdown",
        (true, false) => " dead",
        (true, true) => " dead linkdown",
    }
}

/// The name that `ip -j` prints with iproute2's and symroute's files in rt_protos.d; otherwise the number.
fn routing_protocol_name(protocol: u8) -> String {
    let name = match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        PROTOCOL => "symroute",
        99 => "openr",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        number => return number.to_string(),
    };
    name.into()
}

pub(super) fn route_json(route: &Route) -> Map<String, Value> {
    let plain = RouteExtras::default();
    let extras = route.extras.as_deref().unwrap_or(&plain);
    let mut out = Map::new();
    if extras.kind != Kind::Unicast {
        out.insert("type".into(), extras.kind.name().into());
    }
    let dst = if route.dst.prefix_len() == 0 { "default".into() } else { prefix(&route.dst) };
    out.insert("dst".into(), dst.into());
    if let Some(src) = &extras.src {
        out.insert("from".into(), prefix(src).into());
    }
    if let Some(gateway) = route.gateway {
        out.insert("gateway".into(), gateway.to_string().into());
    }
    if let Some(dev) = &route.dev {
        out.insert("dev".into(), dev.as_str().into());
    }
    out.insert("table".into(), table_name(route.table).into());
    out.insert("protocol".into(), routing_protocol_name(route.protocol).into());
    if route.scope == SCOPE_LINK {
        out.insert("scope".into(), "link".into());
    }
    if let Some(source) = extras.prefsrc {
        out.insert("prefsrc".into(), source.to_string().into());
    }
    if route.metric != 0 {
        out.insert("metric".into(), route.metric.into());
    }
    if let Some(id) = extras.nexthop_id {
        out.insert("nhid".into(), id.into());
    }
    let flags = |onlink: bool, state: RouteState| {
        let named = [("dead", state.dead), ("onlink", onlink), ("linkdown", state.linkdown)];
        Value::from_iter(named.into_iter().filter(|(_, set)| *set).map(|(name, _)| name))
    };
    out.insert("flags".into(), flags(route.onlink, route.state));
    if !extras.nexthops.is_empty() {
        let nexthops = extras.nexthops.iter().map(|hop| {
            let mut out = Map::new();
            out.extend(hop.gateway.map(|gateway| ("gateway".into(), gateway.to_string().into())));
            out.extend(hop.dev.as_deref().map(|dev| ("dev".into(), dev.into())));
            out.insert("weight".into(), hop.weight.into());
            out.insert("flags".into(), flags(hop.onlink, hop.state));
            out
        });
        out.insert("nexthops".into(), Value::from_iter(nexthops));
    }
    out
}

pub(super) fn rule_json(rule: &Rule) -> Map<String, Value> {
    let plain = RuleExtras::default();
    let extras = rule.extras.as_deref().unwrap_or(&plain);
    let mut out = Map::new();
    let mut add = |key: &str, value: Option<Value>| out.extend(value.map(|value| (key.to_string(), value)));
    let length = |net: &Option<IpNet>| {
        net.filter(|net| net.prefix_len() < net.max_prefix_len()).map(|net| net.prefix_len().into())
    };
    add("priority", Some(rule.priority.into()));
    add("not", extras.not.then_some(Value::Null));
    add("src", Some(rule.src.map_or("all".into(), |src| src.addr().to_string()).into()));
    add("srclen", length(&rule.src));
    add("dst", extras.dst.map(|dst| dst.addr().to_string().into()));
    add("dstlen", length(&extras.dst));
    add("tos", Some(extras.tos).filter(|tos| *tos != 0).map(|tos| format!("{tos:#x}").into()));
    add("dscp", extras.dscp.map(|(dscp, _)| format!("{dscp:#x}").into()));
    add("dscp_mask", extras.dscp.filter(|(_, mask)| *mask < 0x3f).map(|(_, mask)| format!("{mask:#x}").into()));
    add("fwmark", extras.mark.map(|mark| fwmark(mark).0.into()));
    add("fwmask", extras.mark.and_then(|mark| fwmark(mark).1).map(Value::from));
    add("iif", extras.iif.as_deref().map(Value::from));
    add("oif", rule.oif.as_deref().map(Value::from));
    add("tun_id", extras.tun_id.map(Value::from));
    add("uid_start", extras.uids.map(|(first, _)| first.into()));
    add("uid_end", extras.uids.map(|(_, last)| last.into()));
    add("ipproto", extras.ip_protocol.map(|protocol| ip_protocol_name(protocol).into()));
    for (key, ports) in [("sport", extras.sports), ("dport", extras.dports)] {
        if let Some((first, last)) = ports.filter(|(first, last)| first != last) {
            add(&format!("{key}_start"), Some(first.into()));
            add(&format!("{key}_end"), Some(last.into()));
        } else {
            add(key, ports.map(|(first, _)| first.into()));
        }
    }
    match extras.action {
        Action::Lookup if extras.l3mdev => add("l3mdev", Some(Value::Null)),
        Action::Lookup => add("table", Some(table_name(rule.table).into())),
        Action::Goto(priority) => add("goto", Some(priority.into())),
        Action::Nop => add("nop", Some(Value::Null)),
        action => add("action", Some(action_name(action).into())),
    }
    add("suppress_prefixlen", rule.suppress_prefixlen.map(Value::from));
    add("suppress_ifgroup", rule.suppress_ifgroup.map(|group| group.to_string().into()));
    add("protocol", Some(routing_protocol_name(rule.protocol).into()));
    out
}
