//! Rules and routes as `ip rule show`, `ip route show` and `ip -j` have them.

use std::fmt::Write;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::interfaces::Family;
use crate::snapshot::{
    Action, INET6_METRIC, Kind, LOCAL, MAIN, Route, RouteMore, Rule, RuleMore, SCOPE_LINK, State, dscp_text, prefix,
};

/// `RT_TABLE_DEFAULT` (rtnetlink(7)).
const DEFAULT: u32 = 253;

/// A rule as `ip rule show` has it.
pub(super) fn rule_text(rule: &Rule) -> String {
    format!("{}:\t{}", rule.priority, rule_words(rule))
}

/// The same without its priority.
pub(super) fn rule_words(rule: &Rule) -> String {
    let plain = RuleMore::default();
    let more = rule.more.as_deref().unwrap_or(&plain);
    let mut text = if more.not { "not " } else { "" }.to_string();
    let _ = write!(text, "from {}", rule.src.as_ref().map_or("all".into(), prefix));
    let mut add = |key: &str, value: Option<String>| {
        let _ = value.map(|value| write!(text, " {key} {value}"));
    };
    let range = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    add("to", more.dst.as_ref().map(prefix));
    add("tos", Some(more.tos).filter(|tos| *tos != 0).map(|tos| format!("{tos:#x}")));
    add("dscp", more.dscp.map(dscp_text));
    add(
        "fwmark",
        more.mark
            .map(|mark| [Some(fwmark(mark).0), fwmark(mark).1].into_iter().flatten().collect::<Vec<_>>().join("/")),
    );
    add("iif", more.iif.clone());
    add("oif", rule.oif.clone());
    add("tun_id", more.tun_id.map(|id| id.to_string()));
    add("uidrange", more.uids.map(|(first, last)| format!("{first}-{last}")));
    add("ipproto", more.ip_protocol.map(protocol_name));
    add("sport", more.sports.map(range));
    add("dport", more.dports.map(range));
    let table = if more.l3mdev { "[l3mdev-table]".into() } else { table_name(rule.table) };
    match more.action {
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
    text + if more.unknown { " and more" } else { "" }
}

/// Mark and mask; no mask where all bits count.
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

/// As iproute2 names the protocols that a rule is likely to have.
pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "ipv6-icmp".into(),
        number => number.to_string(),
    }
}

/// A route as `ip route show table N` has it.
pub(super) fn route_text(route: &Route) -> String {
    let plain = RouteMore::default();
    let more = route.more.as_deref().unwrap_or(&plain);
    let leads = matches!(more.kind, Kind::Unicast | Kind::Local | Kind::Broadcast | Kind::Anycast | Kind::Multicast);
    let mut text = if more.kind == Kind::Unicast { String::new() } else { format!("{} ", more.kind.name()) };
    let of_route = Route { dev: route.dev.clone().filter(|_| leads), ..route.clone() }.to_string();
    text.push_str(of_route.rsplit_once(" table ").map_or(of_route.as_str(), |(text, _)| text));
    if let Some(src) = &more.src {
        let _ = write!(text, " from {}", prefix(src));
    }
    let unset = if route.family == Family::Inet6 { [0, INET6_METRIC] } else { [0, 0] };
    if !unset.contains(&route.metric) {
        let _ = write!(text, " metric {}", route.metric);
    }
    if let Some(id) = more.nexthop_id {
        let _ = write!(text, " nhid {id}");
    }
    for hop in &more.nexthops {
        text.push_str(" nexthop");
        if let Some(gateway) = hop.gateway {
            let _ = write!(text, " via {gateway}");
        }
        let _ = write!(text, " dev {}{}", hop.dev.as_deref().unwrap_or("?"), state_text(hop.state));
    }
    text + state_text(route.state)
}

fn state_text(state: State) -> &'static str {
    match (state.dead, state.linkdown) {
        (false, false) => "",
        (false, true) => " linkdown",
        (true, false) => " dead",
        (true, true) => " dead linkdown",
    }
}

pub(super) fn table_name(table: u32) -> String {
    match table {
        MAIN => "main".into(),
        LOCAL => "local".into(),
        DEFAULT => "default".into(),
        number => number.to_string(),
    }
}

pub(super) fn route_json(route: &Route) -> Map<String, Value> {
    let plain = RouteMore::default();
    let more = route.more.as_deref().unwrap_or(&plain);
    let mut out = Map::new();
    if more.kind != Kind::Unicast {
        out.insert("type".into(), more.kind.name().into());
    }
    let dst = if route.dst.prefix_len() == 0 { "default".into() } else { prefix(&route.dst) };
    out.insert("dst".into(), dst.into());
    if let Some(src) = &more.src {
        out.insert("from".into(), prefix(src).into());
    }
    if let Some(gateway) = route.gateway {
        out.insert("gateway".into(), gateway.to_string().into());
    }
    if let Some(dev) = &route.dev {
        out.insert("dev".into(), dev.as_str().into());
    }
    out.insert("table".into(), table_name(route.table).into());
    out.insert("protocol".into(), route.protocol.to_string().into());
    if route.scope == SCOPE_LINK {
        out.insert("scope".into(), "link".into());
    }
    if let Some(source) = more.prefsrc {
        out.insert("prefsrc".into(), source.to_string().into());
    }
    if route.metric != 0 {
        out.insert("metric".into(), route.metric.into());
    }
    if let Some(id) = more.nexthop_id {
        out.insert("nhid".into(), id.into());
    }
    let flags = |onlink: bool, state: State| {
        let named = [("dead", state.dead), ("onlink", onlink), ("linkdown", state.linkdown)];
        Value::from_iter(named.into_iter().filter(|(_, set)| *set).map(|(name, _)| name))
    };
    out.insert("flags".into(), flags(route.onlink, route.state));
    if !more.nexthops.is_empty() {
        let nexthops = more.nexthops.iter().map(|hop| {
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
    let plain = RuleMore::default();
    let more = rule.more.as_deref().unwrap_or(&plain);
    let mut out = Map::new();
    let mut add = |key: &str, value: Option<Value>| out.extend(value.map(|value| (key.to_string(), value)));
    let length = |net: &Option<IpNet>| {
        net.filter(|net| net.prefix_len() < net.max_prefix_len()).map(|net| net.prefix_len().into())
    };
    add("priority", Some(rule.priority.into()));
    add("not", more.not.then_some(Value::Null));
    add("src", Some(rule.src.map_or("all".into(), |src| src.addr().to_string()).into()));
    add("srclen", length(&rule.src));
    add("dst", more.dst.map(|dst| dst.addr().to_string().into()));
    add("dstlen", length(&more.dst));
    add("tos", Some(more.tos).filter(|tos| *tos != 0).map(|tos| format!("{tos:#x}").into()));
    add("dscp", more.dscp.map(|(dscp, _)| format!("{dscp:#x}").into()));
    add("dscp_mask", more.dscp.filter(|(_, mask)| *mask < 0x3f).map(|(_, mask)| format!("{mask:#x}").into()));
    add("fwmark", more.mark.map(|mark| fwmark(mark).0.into()));
    add("fwmask", more.mark.and_then(|mark| fwmark(mark).1).map(Value::from));
    add("iif", more.iif.as_deref().map(Value::from));
    add("oif", rule.oif.as_deref().map(Value::from));
    add("tun_id", more.tun_id.map(Value::from));
    add("uid_start", more.uids.map(|(first, _)| first.into()));
    add("uid_end", more.uids.map(|(_, last)| last.into()));
    add("ipproto", more.ip_protocol.map(|protocol| protocol_name(protocol).into()));
    for (key, ports) in [("sport", more.sports), ("dport", more.dports)] {
        if let Some((first, last)) = ports.filter(|(first, last)| first != last) {
            add(&format!("{key}_start"), Some(first.into()));
            add(&format!("{key}_end"), Some(last.into()));
        } else {
            add(key, ports.map(|(first, _)| first.into()));
        }
    }
    match more.action {
        Action::Lookup if more.l3mdev => add("l3mdev", Some(Value::Null)),
        Action::Lookup => add("table", Some(table_name(rule.table).into())),
        Action::Goto(priority) => add("goto", Some(priority.into())),
        Action::Nop => add("nop", Some(Value::Null)),
        action => add("action", Some(action_name(action).into())),
    }
    add("suppress_prefixlen", rule.suppress_prefixlen.map(Value::from));
    add("suppress_ifgroup", rule.suppress_ifgroup.map(|group| group.to_string().into()));
    add("protocol", Some(rule.protocol.to_string().into()));
    out
}
