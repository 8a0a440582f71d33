//! Which rules and routes a deletion in a line removes. The values decide, as in the kernel, not the words of the lines.

use bstr::ByteSlice;

use crate::commands::tables::{Names, table};
use crate::commands::{Command, commands, number};
use crate::interfaces::without_alias;
use crate::network::deletion::{would_delete, would_delete_route};
use crate::network::{Action, Family, INET6_METRIC, MAIN, Route, RouteExtras, RouteState, Rule, RuleExtras};

/// `RTPROT_BOOT` (linux/rtnetlink.h): the protocol of routes that `ip` adds without one.
pub(super) const RTPROT_BOOT: u8 = 3;

/// Does a deletion remove a rule or a route, if it matches none before?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Removal {
    No,
    /// It depends on a variable.
    Maybe,
    Yes,
}

pub(super) fn is_unknown(value: &str) -> bool {
    value.contains(['$', '`', '<'])
}

fn family(command: &Command) -> Family {
    Family::of_inet6(command.inet6)
}

/// The keywords of a deletion that have to be compared; nothing if a value differs and only `ip` can read it. False if a
/// variable may have any value.
fn compared<'a>(
    deletion: &'a Command,
    addition: &Command,
    is_readable: &dyn Fn(&Command, &str) -> bool,
) -> Option<(Vec<&'a str>, bool)> {
    let (mut keywords, mut is_certain) = (Vec::new(), true);
    for (keyword, value) in deletion.given() {
        let other = addition.get(keyword);
        // The same text has the same value.
        if other == Some(value) {
            continue;
        }
        if is_unknown(value) || other.is_some_and(is_unknown) {
            is_certain = false;
            continue;
        }
        if !is_readable(deletion, keyword) || other.is_some() && !is_readable(addition, keyword) {
            return None;
        }
        keywords.push(keyword);
    }
    Some((keywords, is_certain))
}

fn judged(matches: bool, is_certain: bool) -> Removal {
    match (matches, is_certain) {
        (false, _) => Removal::No,
        (true, false) => Removal::Maybe,
        (true, true) => Removal::Yes,
    }
}

/// Would this 'ip rule del' remove the rule that the other command adds?
pub(super) fn of_rule(deletion: &Command, addition: &Command, names: &Names) -> Removal {
    let blank = |command: &Command| Rule {
        family: family(command),
        priority: 0,
        src: None,
        oif: None,
        table: 0,
        suppress_prefixlen: None,
        suppress_ifgroup: None,
        protocol: 0,
        extras: None,
    };
    let is_readable = |command: &Command, keyword: &str| {
        read(&mut blank(command), &mut RuleExtras::default(), command, keyword, names).is_some()
    };
    let Some((keywords, is_certain)) = compared(deletion, addition, &is_readable) else { return Removal::No };
    let rule = |command: &Command| {
        let (mut rule, mut extras) = (blank(command), RuleExtras::default());
        for keyword in &keywords {
            // A missing keyword keeps its default.
            let _ = read(&mut rule, &mut extras, command, keyword, names);
        }
        extras.action = action(command).unwrap_or_default();
        Rule { extras: Some(Box::new(extras)), ..rule }
    };
    let is_given = |keyword: &str| keywords.contains(&keyword);
    // The priority of a rule without one depends on the other rules of the kernel.
    if is_given("priority") && addition.get("priority").is_none() {
        return Removal::No;
    }
    let mut added = rule(addition);
    if is_given("table") && addition.get("table").is_none() {
        added.table = table(addition, names).and_then(|table| table.number()).unwrap_or(0);
    }
    let named_action = action(deletion).filter(|_| is_given("type") || is_given("goto"));
    judged(would_delete(&rule(deletion), named_action, &added), is_certain)
}

/// Would this 'ip rule del' remove the kernel's own first rule, which looks table local up for all packets?
pub(super) fn of_local_rule(deletion: &Command, names: &Names) -> bool {
    let ip = if deletion.inet6 { "ip -6" } else { "ip" };
    let line = format!("{ip} rule add from all table local priority 0");
    let local = commands(&line, &|_| None);
    local.iter().any(|local| of_rule(deletion, local, names) == Removal::Yes)
}

/// Sets the value of a keyword in a rule; nothing if it is missing, or if only `ip` can read it: names from files of
/// iproute2.
fn read(rule: &mut Rule, extras: &mut RuleExtras, command: &Command, keyword: &str, names: &Names) -> Option<()> {
    let value = command.get(keyword)?;
    match keyword {
        // The kernel does not compare it.
        "not" => {}
        "type" => drop(action(command)?),
        "goto" => {}
        "from" => rule.src = Some(command.prefix(keyword)?),
        "to" => extras.dst = Some(command.prefix(keyword)?),
        "priority" => rule.priority = number(value)?,
        "table" => rule.table = names.number(value)?,
        "oif" => rule.oif = Some(value.to_string()),
        "iif" => extras.iif = Some(value.to_string()),
        "suppress_prefixlength" => rule.suppress_prefixlen = Some(number(value)?),
        "suppress_ifgroup" => rule.suppress_ifgroup = Some(if value == "default" { 0 } else { number(value)? }),
        "protocol" => rule.protocol = protocol(value)?,
        "fwmark" => {
            let (mark, mask) = value.split_once('/').map_or((value, None), |(mark, mask)| (mark, Some(mask)));
            extras.mark = Some((number(mark)?, mask.map_or(Some(u32::MAX), number)?));
        }
        "tos" => extras.tos = u8::from_str_radix(value.trim_start_matches("0x"), 16).ok()?,
        "tun_id" => extras.tun_id = Some(number(value)?.into()),
        "uidrange" => extras.uids = Some(range(value)?),
        "ipproto" => extras.ip_protocol = Some(ip_protocol(value)?),
        "sport" => extras.sports = Some(ports(value)?),
        "dport" => extras.dports = Some(ports(value)?),
        "l3mdev" => extras.l3mdev = true,
        _ => return None,
    }
    Some(())
}

/// The action of a rule, if the command names it. (`rtnl_rtntype_a2n`: the first type that begins with the word.)
fn action(command: &Command) -> Option<Action> {
    const TYPES: [(&str, Action); 5] = [
        ("prohibit", Action::Prohibit),
        ("unreachable", Action::Unreachable),
        ("blackhole", Action::Blackhole),
        ("unicast", Action::Lookup),
        ("nop", Action::Nop),
    ];
    if let Some(target) = command.get("goto") {
        return Some(Action::Goto(number(target).unwrap_or_default()));
    }
    let word = command.get("type")?;
    TYPES.iter().find(|(name, _)| name.starts_with(word)).map(|(_, action)| *action)
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = range(text)?;
    Some((first.try_into().ok()?, last.try_into().ok()?))
}

/// The names that iproute2 knows without its files (lib/rt_names.c).
fn protocol(text: &str) -> Option<u8> {
    const NAMES: [(&str, u8); 7] =
        [("unspec", 0), ("none", 0), ("redirect", 1), ("kernel", 2), ("boot", 3), ("static", 4), ("ra", 9)];
    let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| number(text)?.try_into().ok())
}

fn ip_protocol(text: &str) -> Option<u8> {
    const NAMES: [(&str, u8); 5] = [("icmp", 1), ("tcp", 6), ("udp", 17), ("ipv6-icmp", 58), ("sctp", 132)];
    let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok())
}

/// Would this 'ip route del' remove the route? `addition` is the command that adds it, if one does.
pub(super) fn of_route(deletion: &Command, addition: Option<&Command>, route: &Route, names: &Names) -> Removal {
    // 'ip route del' names neither scope nor type: they are equal to those of the route.
    let kind = RouteExtras { kind: route.kind(), ..RouteExtras::default() };
    let mut named =
        Route { gateway: None, dev: None, metric: 0, protocol: 0, extras: Some(Box::new(kind)), ..route.clone() };
    named.family = family(deletion);
    let mut is_certain = true;
    if deletion.get("table").is_none() {
        named.table = MAIN;
    }
    for (keyword, value) in deletion.given() {
        let other = addition.and_then(|addition| addition.get(keyword));
        if other == Some(value) {
            continue;
        }
        if is_unknown(value) || other.is_some_and(is_unknown) {
            is_certain = false;
        } else if name(&mut named, deletion, keyword, names).is_none() {
            return Removal::No;
        }
    }
    judged(would_delete_route(&named, route), is_certain)
}

/// Sets the value of a keyword of 'ip route del'.
fn name(named: &mut Route, deletion: &Command, keyword: &str, names: &Names) -> Option<()> {
    let value = deletion.get(keyword)?;
    match keyword {
        "to" => named.dst = deletion.prefix(keyword)?,
        "via" => named.gateway = Some(deletion.address(keyword)?),
        "dev" => named.dev = Some(without_alias(value).to_str_lossy().into_owned()),
        "metric" => named.metric = number(value)?,
        "protocol" => named.protocol = protocol(value)?,
        "table" => named.table = names.number(value)?,
        "src" => named.extras.get_or_insert_default().prefsrc = Some(deletion.address(keyword)?),
        "onlink" => {}
        _ => return None,
    }
    Some(())
}

/// The route that a command adds, if its values are known.
pub(super) fn added_route(command: &Command, dev: Option<String>, names: &Names) -> Option<Route> {
    let unset = if command.inet6 { INET6_METRIC } else { 0 };
    let extras =
        command.address("src").map(|src| Box::new(RouteExtras { prefsrc: Some(src), ..RouteExtras::default() }));
    Some(Route {
        family: family(command),
        table: table(command, names)?.number()?,
        dst: command.prefix("to")?,
        gateway: command.address("via"),
        dev,
        scope: 0,
        metric: command.get("metric").and_then(number).filter(|metric| *metric > 0).unwrap_or(unset),
        onlink: false,
        protocol: command.get("protocol").map_or(Some(RTPROT_BOOT), protocol)?,
        extras,
        state: RouteState::default(),
    })
}
