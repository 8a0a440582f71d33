//! What has to hold of a server: who reaches whom, and what iproute2 shows.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::check::assert_quiet;
use crate::world::{PUBLIC, World};

/// Everybody who has to reach somebody, each by ping and by TCP; gives those who do not.
fn unreached(world: &World) -> Vec<String> {
    let World { server, neighbour_a, neighbour_b, lan, client, .. } = world;
    let mut pairs = Vec::new();
    for to in PUBLIC {
        pairs.push(("remote client", client, None, to));
        pairs.push(("LAN client", lan, None, to));
        let far = if to.contains(':') { "2001:db8:f::99" } else { "203.0.113.190" };
        pairs.push(("server", server, Some(to), far));
        let near = if to.contains(':') { "2001:db8:c::2" } else { "203.0.113.2" };
        pairs.push(("server", server, Some(to), near));
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
        let tries: Vec<_> = pairs
            .into_iter()
            .map(|(name, host, from, to)| {
                scope.spawn(move || {
                    let way = format!("{name} {} -> {to}", from.unwrap_or_default());
                    // A second try: on a busy machine a connection may take longer than its limit, but what goes the
                    // wrong way is always lost.
                    let (ping, tcp) = (host.pings(from, to), (0..2).any(|_| host.talks(from, to)));
                    (!ping || !tcp).then(|| format!("{way}: ping {ping}, TCP {tcp}"))
                })
            })
            .collect();
        unreached.extend(tries.into_iter().filter_map(|tried| tried.join().expect("no panic")));
    });
    // Sockets bound to a device: through its own gateway, link-local neighbours straight out.
    for (device, far) in
        [("eth0", "203.0.113.190"), ("eth1", "203.0.113.190"), ("eth0", "2001:db8:f::99"), ("eth1", "2001:db8:f::99")]
    {
        if !server.pings(Some(device), far) {
            unreached.push(format!("server bound to {device} -> {far}"));
        }
    }
    unreached
}

pub fn assert_symmetric(world: &World) {
    world.settle();
    let unreached = unreached(world);
    assert!(unreached.is_empty(), "not reached:\n{}\n{}", unreached.join("\n"), state(world));
    // Where every packet arrives, 'symroute check' has nothing to say.
    assert_quiet(world);
}

/// What the kernel has, for messages.
pub fn state(world: &World) -> String {
    world.server.run("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip link").text()
}

/// The same without link-local addresses, which come as duplicate address detection ends.
pub fn settled_state(world: &World) -> String {
    let state = state(world);
    let stays = |line: &&str| line.contains("proto 97") || !line.contains("fe80:");
    state.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).expect("JSON").as_array().expect("a list").clone()
}

/// The keys that both symroute and iproute2 give, as one comparable line.
fn line(item: &Value, keys: &[&str]) -> String {
    keys.iter().filter_map(|key| item.get(key).map(|value| format!("{key}={value} "))).collect()
}

const RULE: [&str; 8] =
    ["priority", "src", "srclen", "oif", "table", "suppress_prefixlen", "suppress_ifgroup", "protocol"];

const ROUTE: [&str; 7] = ["dst", "gateway", "dev", "scope", "metric", "flags", "protocol"];

/// The rules and the uplinks' tables as iproute2 shows them are those of `symroute plan`, and nothing more.
pub fn assert_kernel_is_plan(world: &World) {
    let plan: Value = serde_json::from_str(&world.server.ok("symroute plan --json")).expect("JSON");
    let plan = plan["uplinks"].as_array().expect("a list");
    for (family, option) in [("inet", "-4"), ("inet6", "-6")] {
        let uplinks: Vec<&Value> = plan.iter().filter(|uplink| uplink["family"] == family).collect();
        let wanted: BTreeSet<String> = uplinks
            .iter()
            .flat_map(|uplink| uplink["rules"].as_array().expect("a list"))
            .map(|rule| line(rule, &RULE))
            .collect();
        let rules = json(&world.server.ok(&format!("ip {option} -j rule")));
        // 0, 32766 and 32767 are the kernel's; above 20000 is what a case puts there itself.
        let rules = rules.iter().filter(|rule| (1..20000).contains(&rule["priority"].as_u64().expect("a number")));
        assert_eq!(rules.map(|rule| line(rule, &RULE)).collect::<BTreeSet<_>>(), wanted);
        for uplink in uplinks.into_iter().filter(|uplink| !uplink["table"].is_null()) {
            let wanted: BTreeSet<String> =
                uplink["routes"].as_array().expect("a list").iter().map(|route| line(route, &ROUTE)).collect();
            let found = json(&world.server.ok(&format!("ip {option} -j route show table {}", uplink["table"])));
            assert_eq!(found.iter().map(|route| line(route, &ROUTE)).collect::<BTreeSet<_>>(), wanted);
        }
    }
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for uplink in plan.iter().filter(|uplink| uplink["group"] == "97") {
        wanted.insert(uplink["interface"].as_str().expect("a name").to_string());
    }
    assert_eq!(in_group(world), wanted);
    world.server.ok("symroute status");
}

/// The interfaces of symroute's group, as iproute2 shows them.
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
