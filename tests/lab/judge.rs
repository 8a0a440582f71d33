//! Assertions about a server: which addresses are reached, and what iproute2 shows.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::check::assert_quiet;
use crate::observe::expect_nothing;
use crate::providers::assert_lookups;
use crate::world::{PUBLIC, World};

/// Tries each pair of hosts by ping and by TCP, and returns the pairs that fail.
fn unreached(world: &World) -> Vec<String> {
    let World { server, neighbour_a, neighbour_b, lan, client, .. } = world;
    let mut pairs = Vec::new();
    for to in PUBLIC {
        pairs.push(("remote client", client, None, to));
        pairs.push(("LAN client", lan, None, to));
        let remote = if to.contains(':') { "2001:db8:f::99" } else { "203.0.113.190" };
        pairs.push(("server", server, Some(to), remote));
        let in_lan = if to.contains(':') { "2001:db8:c::2" } else { "203.0.113.2" };
        pairs.push(("server", server, Some(to), in_lan));
    }
    for (name, neighbour) in [("neighbour A", neighbour_a), ("neighbour B", neighbour_b)] {
        for to in PUBLIC {
            pairs.push((name, neighbour, None, to));
        }
    }
    pairs.push(("server", server, None, "203.0.113.190"));
    pairs.push(("server", server, None, "2001:db8:f::99"));
    let mut unreached = Vec::new();
    std::thread::scope(|scope| {
        let attempts: Vec<_> = pairs
            .into_iter()
            .map(|(name, host, from, to)| {
                scope.spawn(move || {
                    let path = format!("{name} {} -> {to}", from.unwrap_or_default());
                    let (ping, tcp) = (host.pings(from, to), host.connects(from, to));
                    (!ping || !tcp).then(|| format!("{path}: ping {ping}, TCP {tcp}"))
                })
            })
            .collect();
        unreached.extend(attempts.into_iter().filter_map(|attempt| attempt.join().expect("no panic")));
    });
    // Sockets bound to an interface use its gateway. Link-local neighbours are reached directly.
    for (device, remote) in
        [("eth0", "203.0.113.190"), ("eth1", "203.0.113.190"), ("eth0", "2001:db8:f::99"), ("eth1", "2001:db8:f::99")]
    {
        if !server.pings(Some(device), remote) {
            unreached.push(format!("server bound to {device} -> {remote}"));
        }
    }
    unreached
}

pub fn assert_symmetric(world: &World) {
    world.settle();
    // If every packet arrives, 'symroute check' and 'symroute observe' report nothing.
    expect_nothing(world, &|| {
        let unreached = unreached(world);
        assert!(unreached.is_empty(), "not reached:\n{}\n{}", unreached.join("\n"), state(world));
    });
    assert_quiet(world);
}

/// Rules and routes of the kernel, for messages.
pub fn state(world: &World) -> String {
    world.server.run("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip link").text()
}

/// The same without link-local addresses, which appear when duplicate address detection ends.
pub fn settled_state(world: &World) -> String {
    let state = state(world);
    let stays = |line: &&str| line.contains("proto 97") || !line.contains("fe80:");
    state.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).expect("JSON").as_array().expect("a list").clone()
}

/// The keys that symroute and iproute2 have in common, as one line.
fn line(item: &Value, keys: &[&str]) -> String {
    let text: String = keys.iter().filter_map(|key| item.get(key).map(|value| format!("{key}={value} "))).collect();
    // The roots have no name for it in rt_protos.d.
    text.replace("protocol=\"symroute\"", "protocol=\"97\"")
}

const RULE: [&str; 8] =
    ["priority", "src", "srclen", "oif", "table", "suppress_prefixlen", "suppress_ifgroup", "protocol"];

const ROUTE: [&str; 7] = ["dst", "gateway", "dev", "scope", "metric", "flags", "protocol"];

/// The rules and the uplinks' tables are exactly those of `symroute plan`.
pub fn assert_kernel_is_plan_alone(world: &World) {
    let plan: Value = serde_json::from_str(&world.server.ok("symroute plan --json")).expect("JSON");
    let plan = plan["uplinks"].as_array().expect("a list");
    for (family, option) in [("inet", "-4"), ("inet6", "-6")] {
        let uplinks: Vec<&Value> = plan.iter().filter(|uplink| uplink["family"] == family).collect();
        let expected: BTreeSet<String> = uplinks
            .iter()
            .flat_map(|uplink| uplink["rules"].as_array().expect("a list"))
            .map(|rule| line(rule, &RULE))
            .collect();
        let rules = json(&world.server.ok(&format!("ip {option} -j rule")));
        // 0, 32766 and 32767 are the kernel's rules. Rules above 20000 are those of a case.
        let rules = rules.iter().filter(|rule| (1..20000).contains(&rule["priority"].as_u64().expect("a number")));
        assert_eq!(rules.map(|rule| line(rule, &RULE)).collect::<BTreeSet<_>>(), expected);
        for uplink in uplinks.into_iter().filter(|uplink| !uplink["table"].is_null()) {
            let expected: BTreeSet<String> =
                uplink["routes"].as_array().expect("a list").iter().map(|route| line(route, &ROUTE)).collect();
            let found = json(&world.server.ok(&format!("ip {option} -j route show table {}", uplink["table"])));
            assert_eq!(found.iter().map(|route| line(route, &ROUTE)).collect::<BTreeSet<_>>(), expected);
        }
    }
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for uplink in plan.iter().filter(|uplink| uplink["group"] == "97") {
        expected.insert(uplink["interface"].as_str().expect("a name").to_string());
    }
    assert_eq!(in_group(world), expected);
    world.server.ok("symroute status");
}

/// The same if every uplink is managed: packets use the expected uplinks, too.
pub fn assert_kernel_is_plan(world: &World) {
    assert_kernel_is_plan_alone(world);
    assert_lookups(world);
}

/// The interfaces in symroute's group, as iproute2 shows them.
pub fn in_group(world: &World) -> BTreeSet<String> {
    let links = json(&world.server.ok("ip -j link show"));
    let links = links.iter().filter(|link| link["group"] == "97");
    links.map(|link| link["ifname"].as_str().expect("a name").to_string()).collect()
}

pub fn assert_nothing_left(world: &World) {
    let rules = world.server.ok("ip rule; ip -6 rule");
    let expected = "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n\
                    0:\tfrom all lookup local\n32766:\tfrom all lookup main\n";
    assert_eq!(rules, expected);
    assert_eq!(world.server.ok("ip route show table all proto 97; ip -6 route show table all proto 97"), "");
    assert_eq!(in_group(world), BTreeSet::new());
}

/// docs/json.md has every key of a JSON document.
pub fn assert_keys_documented(document: &str) {
    fn check(value: &Value) {
        let page = include_str!("../../docs/json.md");
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    assert!(page.contains(&format!("`{key}`")), "docs/json.md does not have '{key}'");
                    check(value);
                }
            }
            Value::Array(list) => list.iter().for_each(check),
            _ => {}
        }
    }
    check(&serde_json::from_str(document).expect("JSON"));
}
