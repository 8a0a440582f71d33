//! Real packets through real ifupdown: the laboratory's cases, on each Debian suite.
//!
//! symroute acts; ping, socat and iproute2 judge. A case that cannot run here (no Debian root, no
//! namespaces) is reported as ignored, with the reason.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::unwrap_used)]

mod oracle;
mod shapes;
mod world;

use std::collections::BTreeSet;

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use world::{A4, A6, B4, B6, PUBLIC, World};

const PLAIN: &str = include_str!("../fixtures/two-uplinks.interfaces");
const WITH_METRIC: &str = include_str!("../fixtures/two-uplinks-metric.interfaces");
const TABLE_GATEWAY: &str = include_str!("../fixtures/table-gateway.interfaces");

const NATIVE: &str = include_str!("../fixtures/native.interfaces");

const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// ifupdown-ng and ifupdown2, with a file as they have it.
const OTHERS: [&str; 2] = ["bookworm-ng", "bookworm-ifupdown2"];

type Case = fn(&World);

/// A case with as many more providers.
type CountedCase = fn(&World, usize);

const OTHER_CASES: [(&str, Case); 3] = [
    ("native_lines", native_lines),
    ("native_hooks", native_hooks),
    ("reads_as_its_ifquery_does", reads_as_its_ifquery_does),
];

const CASES: [(&str, Case); 22] = [
    ("broken_two_gateway_lines", broken_two_gateway_lines),
    ("broken_with_metric_alone", broken_with_metric_alone),
    ("lines", lines),
    ("lines_with_hooks_too", lines_with_hooks_too),
    ("lines_for_the_table_alone", lines_for_the_table_alone),
    ("lines_are_safe_to_run_twice", lines_are_safe_to_run_twice),
    ("article", article),
    ("article_layout_through_hooks", article_layout_through_hooks),
    ("hooks", hooks),
    ("strict_reverse_path_filter", strict_reverse_path_filter),
    ("hooks_again_and_out_of_order", hooks_again_and_out_of_order),
    ("hooks_keep_the_other_uplink", hooks_keep_the_other_uplink),
    ("what_is_taken_away_is_missed_and_mended", what_is_taken_away_is_missed_and_mended),
    ("bad_input_changes_nothing", bad_input_changes_nothing),
    ("a_refused_change_is_taken_back", a_refused_change_is_taken_back),
    ("up_and_down_by_name", up_and_down_by_name),
    ("twenty_hooks_at_once", twenty_hooks_at_once),
    ("without_privileges", without_privileges),
    ("read_only_proc", read_only_proc),
    ("what_happens_to_a_running_server", what_happens_to_a_running_server),
    ("killed_at_any_point", killed_at_any_point),
    ("beside_many_foreign_rules_and_routes", beside_many_foreign_rules_and_routes),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for suite in OTHERS {
        let missing = World::available(suite).err();
        if let Some(reason) = &missing {
            eprintln!("The cases on {suite} are ignored: {reason}");
        }
        for (name, case) in OTHER_CASES {
            let run = move || {
                case(&World::new(suite)?);
                Ok(())
            };
            trials.push(Trial::test(format!("{suite}::{name}"), run).with_ignored_flag(missing.is_some()));
        }
    }
    for suite in SUITES {
        let missing = World::available(suite).err();
        if let Some(reason) = &missing {
            eprintln!("The cases on {suite} are ignored: {reason}");
        }
        for (name, case) in oracle::CASES {
            let run = move || {
                case(suite);
                Ok(())
            };
            trials.push(Trial::test(format!("{suite}::{name}"), run).with_ignored_flag(missing.is_some()));
        }
        let others: [(&str, usize, CountedCase); 3] = [
            ("three_uplinks", 3, many_uplinks),
            ("ten_uplinks", 10, many_uplinks),
            ("two_gateways_on_one_bridge", 2, two_gateways_on_one_bridge),
        ];
        for (name, count, case) in others {
            let run = move || {
                case(&World::with_providers(suite, count)?, count);
                Ok(())
            };
            trials.push(Trial::test(format!("{suite}::{name}"), run).with_ignored_flag(missing.is_some()));
        }
        for (name, shape) in shapes::SHAPES {
            for way in [shapes::Way::Lines, shapes::Way::Hooks] {
                let run = move || {
                    shapes::run(&World::new(suite)?, shape, way);
                    Ok(())
                };
                let name = format!("{suite}::shape_{name}_{way:?}").to_lowercase();
                trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
            }
        }
        for (name, case) in CASES {
            let run = move || {
                case(&World::new(suite)?);
                Ok(())
            };
            trials.push(Trial::test(format!("{suite}::{name}"), run).with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

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
                    let (ping, tcp) = (host.pings(from, to), host.talks(from, to));
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

fn assert_symmetric(world: &World) {
    let unreached = unreached(world);
    assert!(unreached.is_empty(), "not reached:\n{}\n{}", unreached.join("\n"), state(world));
}

/// What the kernel has, for messages.
fn state(world: &World) -> String {
    world.server.run("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all").text()
}

/// The same without link-local addresses, which come as duplicate address detection ends.
fn settled_state(world: &World) -> String {
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

const RULE: [&str; 7] = ["priority", "src", "srclen", "oif", "table", "suppress_prefixlen", "protocol"];
const ROUTE: [&str; 7] = ["dst", "gateway", "dev", "scope", "metric", "flags", "protocol"];

/// The rules and the uplinks' tables as iproute2 shows them are those of `symroute plan`, and nothing more.
fn assert_kernel_is_plan(world: &World) {
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
    world.server.ok("symroute status");
}

fn assert_nothing_left(world: &World) {
    let rules = world.server.ok("ip rule; ip -6 rule");
    let expected = "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n\
                    0:\tfrom all lookup local\n32766:\tfrom all lookup main\n";
    assert_eq!(rules, expected);
    assert_eq!(world.server.ok("ip route show table all proto 97; ip -6 route show table all proto 97"), "");
}

fn broken_two_gateway_lines(world: &World) {
    world.configure(PLAIN);
    let up = world.server.run("ifup -a");
    assert!(!up.succeeded());
    assert!(up.text().contains("File exists"), "{}", up.text());
    assert!(up.text().contains("failed to bring up eth1"), "{}", up.text());
    assert!(world.client.reaches(None, A4));
    assert!(!world.client.pings(None, B4));
}

fn broken_with_metric_alone(world: &World) {
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    for (to, answers) in [(A4, true), (A6, true), (B4, false), (B6, false)] {
        assert_eq!(world.client.pings(None, to), answers, "{to}");
        assert_eq!(world.client.talks(None, to), answers, "{to}");
    }
}

/// Brings a written file up, twice, and takes it down; then takes the lines out again.
fn written(world: &World, original: &str) {
    assert_eq!(world.server.run("symroute-gen --check").code(), 0, "a second run has nothing to do");
    for round in ["first", "second"] {
        let up = world.server.run("ifup -a");
        assert!(up.succeeded(), "{round} ifup -a: {}", up.text());
        world.settle();
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
    world.server.ok("symroute-gen --remove --write");
    assert_eq!(world.server.read("/etc/network/interfaces"), original.as_bytes());
}

fn lines(world: &World) {
    world.configure(PLAIN);
    assert_eq!(world.server.run("symroute-gen --check").code(), 1);
    world.server.ok("symroute-gen --write");
    written(world, PLAIN);
}

fn lines_with_hooks_too(world: &World) {
    world.install_hooks();
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write");
    written(world, PLAIN);
}

/// The article's form: eth1's gateway is for its table alone, main has one default route.
fn lines_for_the_table_alone(world: &World) {
    world.configure(TABLE_GATEWAY);
    world.server.ok("symroute-gen --write");
    assert!(!String::from_utf8_lossy(&world.server.read("/etc/network/interfaces")).contains("metric"));
    world.server.ok("ifup -a");
    let defaults = world.server.ok("ip route show default; ip -6 route show default");
    assert_eq!(defaults.lines().filter(|line| line.starts_with("default")).count(), 2, "{defaults}");
    world.server.ok("ifdown -a");
    written(world, TABLE_GATEWAY);
}

fn lines_are_safe_to_run_twice(world: &World) {
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write");
    world.server.ok("ifup -a");
    // The method itself fails on its second run ("File exists"), so only the lines are run again.
    let text = String::from_utf8(world.server.read("/etc/network/interfaces")).expect("text");
    let script: String =
        text.lines().filter_map(|line| line.trim().strip_prefix("post-up ")).map(|line| format!("{line}\n")).collect();
    assert!(script.contains("rule add"));
    world.server.ok(&format!("set -e\n{script}"));
    assert_kernel_is_plan(world);
    world.server.ok("ifdown -a; ifdown --force eth0 eth1 2>/dev/null || true");
    assert_nothing_left(world);
}

/// The listings that the article gives as the expected result, word for word.
fn article(world: &World) {
    let expected = "0:\tfrom all lookup local\n100:\tfrom 192.0.2.10 lookup 1\n110:\tfrom 198.51.100.10 lookup 2\n\
                    32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n";
    world.configure(TABLE_GATEWAY);
    world.server.ok("symroute-gen --write --layout article --style article");
    for _ in 0..2 {
        world.server.ok("ifup -a");
        assert_eq!(world.server.ok("ip rule show"), expected);
        let table = |n: u32| world.server.ok(&format!("ip route show table {n}"));
        assert_eq!(table(1), "default via 192.0.2.1 dev eth0 \n192.0.2.0/24 dev eth0 scope link \n");
        assert_eq!(table(2), "default via 198.51.100.1 dev eth1 \n198.51.100.0/24 dev eth1 scope link \n");
        for (from, dev) in [(A4, "eth0"), (B4, "eth1")] {
            let get = world.server.ok(&format!("ip route get 203.0.113.190 from {from}"));
            assert!(get.contains(&format!("dev {dev}")), "{get}");
        }
        world.server.ok("ip route get 203.0.113.190");
        for to in PUBLIC {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        world.server.ok("symroute status");
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
    world.server.ok("symroute-gen --remove --write");
    assert_eq!(world.server.read("/etc/network/interfaces"), TABLE_GATEWAY.as_bytes());
}

fn article_layout_through_hooks(world: &World) {
    world.install_hooks();
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --layout article --style hook");
    world.server.ok("ifup -a");
    assert_kernel_is_plan(world);
    let rules = world.server.ok("ip rule show");
    assert_eq!(rules.lines().count(), 5, "{rules}");
    assert_eq!(world.server.ok("ip route show table 2").lines().count(), 2);
    for to in PUBLIC {
        assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
    }
    world.server.ok("ifdown -a");
    assert_nothing_left(world);
}

fn hooks(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    for _ in 0..2 {
        world.server.ok("ifup -a");
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

fn hooks_again_and_out_of_order(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup eth1; ifup eth2; ifup eth0");
    assert_kernel_is_plan(world);
    for _ in 0..2 {
        // ifupdown itself says "File exists" to the address; the hooks run with --ignore-errors all the same.
        world.server.run("ifup --force --ignore-errors eth0");
        assert_kernel_is_plan(world);
    }
    assert_symmetric(world);
    world.server.ok("ifdown eth0; ifdown eth0; ifdown eth2");
    let rules = world.server.ok("ip rule; ip -6 rule");
    assert!(!rules.contains("192.0.2.10") && !rules.contains("eth0"), "{rules}");
    assert!(rules.contains("198.51.100.10"), "{rules}");
    for to in [B4, B6] {
        assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
    }
    world.server.ok("ifdown eth1; ifdown eth1");
    assert_nothing_left(world);
}

fn hooks_keep_the_other_uplink(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    std::thread::scope(|scope| {
        let long: Vec<_> = [B4, "[2001:db8:b::10]"]
            .into_iter()
            .map(|to| {
                let talk = format!("(echo one; sleep 9; echo two) | socat -t 3 -T 30 - TCP:{to}:7000");
                scope.spawn(move || world.client.outside(&talk).stdout())
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_secs(1));
        world.server.ok("ifdown eth0");
        for to in [B4, B6] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        world.server.ok("ifup eth0");
        for talk in long {
            assert_eq!(talk.join().expect("no panic"), "one\ntwo\n", "the connection through eth1 broke");
        }
    });
    assert_kernel_is_plan(world);
    assert_symmetric(world);
}

/// Each part of the plan is there for somebody: without it that pair is cut off, `status` says so, and
/// `apply` brings it back.
fn what_is_taken_away_is_missed_and_mended(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    let cases: [(&str, &dyn Fn() -> bool); 5] = [
        ("ip route del 198.51.100.0/24 table 1", &|| world.neighbour_b.pings(None, A4)),
        ("ip -6 route del 2001:db8:a::/64 table 2", &|| world.neighbour_a.pings(None, B6)),
        ("ip route flush table 2", &|| world.client.pings(None, B4)),
        ("ip rule del priority 111", &|| world.lan.pings(None, B4)),
        ("ip -6 rule del priority 112", &|| world.client.talks(None, B6)),
    ];
    for (damage, reaches) in cases {
        assert!(reaches(), "before '{damage}'");
        world.server.ok(damage);
        assert!(!reaches(), "after '{damage}'\n{}", state(world));
        let status = world.server.run("symroute status");
        assert_eq!(status.code(), 1, "{}", status.text());
        assert!(status.stdout().contains("MISSING"), "{}", status.text());
        world.server.ok("symroute apply");
        assert!(reaches(), "after 'symroute apply'\n{}", state(world));
        assert_eq!(world.server.ok("symroute apply"), "Nothing to do: everything is in place.\n");
    }
    // A link-local neighbour of a socket bound to the device is no business of the gateway's.
    let to_neighbour = || world.server.ok("ip -6 route get fe80::77 oif eth0");
    assert!(!to_neighbour().contains("via"), "{}", to_neighbour());
    world.server.ok("ip -6 route del fe80::/64 table 1");
    assert!(to_neighbour().contains("via 2001:db8:a::1"), "{}", to_neighbour());
    world.server.ok("symroute apply; ip rule add from 203.0.113.9 table 99 priority 50; ip route add default via 203.0.113.2 table 99");
    world.server.ok("symroute flush; symroute flush");
    let rules = world.server.ok("ip rule");
    assert!(rules.contains("203.0.113.9") && !rules.contains("proto 97"), "{rules}");
    assert_eq!(world.server.ok("ip route show table 99"), "default via 203.0.113.2 dev eth2 \n");
    world.server.ok("ip rule del priority 50");
    assert_nothing_left(world);
}

fn bad_input_changes_nothing(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    let before = settled_state(world);
    let bad = WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 2001:db8:b::1\n");
    world.configure(&bad);
    for command in ["symroute apply", "symroute plan", "symroute status", "symroute-gen --write"] {
        let ran = world.server.run(command);
        assert_eq!(ran.code(), 2, "{command}: {}", ran.text());
        assert!(ran.text().contains("/etc/network/interfaces:18:13"), "{}", ran.text());
        assert!(ran.text().contains("another family"), "{}", ran.text());
    }
    let hook = world.server.run("IFACE=eth0 MODE=start PHASE=post-up ADDRFAM=inet symroute hook");
    assert_eq!(hook.code(), 1);
    assert_eq!(hook.text().lines().count(), 1, "{}", hook.text());
    assert!(hook.text().starts_with("symroute: eth0: /etc/network/interfaces:18: "), "{}", hook.text());
    assert!(settled_state(world) == before, "{}", state(world));
    assert_eq!(world.server.read("/etc/network/interfaces"), bad.as_bytes());
}

/// Addresses and links as after `ifup -a`, without ifupdown.
fn up_by_hand(world: &World) {
    world.server.ok("set -e; for n in 0 1 2; do ip link set eth$n up; done
        ip addr add 192.0.2.10/24 dev eth0; ip addr add 198.51.100.10/24 dev eth1; ip addr add 203.0.113.1/26 dev eth2
        ip addr add 2001:db8:a::10/64 dev eth0 nodad; ip addr add 2001:db8:b::10/64 dev eth1 nodad
        ip route add default via 192.0.2.1 dev eth0; ip -6 route add default via 2001:db8:a::1 dev eth0");
}

/// The kernel takes the first routes and refuses a later one: nothing of the run may stay.
fn a_refused_change_is_taken_back(world: &World) {
    up_by_hand(world);
    // The server's own address on the LAN is no gateway to the kernel.
    world.configure(&WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 203.0.113.1\n"));
    let before = settled_state(world);
    let apply = world.server.run("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    let refused = "symroute: the kernel refused 'ip route add 192.0.2.0/24 via 203.0.113.1 dev eth1 onlink table 2 proto 97': EINVAL";
    assert!(apply.text().starts_with(refused), "{}", apply.text());
    assert!(settled_state(world) == before, "{}", state(world));
    let hook = world.server.run("IFACE=eth1 MODE=start symroute hook");
    assert_eq!(hook.code(), 1);
    assert!(hook.text().starts_with("symroute: eth1: the kernel refused"), "{}", hook.text());
    assert!(settled_state(world) == before, "{}", state(world));
    // A route of somebody else in the uplink's table is not replaced.
    world.configure(&WITH_METRIC.replace("metric 20\n", "metric 20\n    symroute-table 7\n"));
    world.server.ok("ip route add default via 198.51.100.20 dev eth1 table 7");
    let before = settled_state(world);
    let apply = world.server.run("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    assert!(
        apply.text().contains("table 7 already has a route to 0.0.0.0/0 that is not symroute's"),
        "{}",
        apply.text()
    );
    assert!(settled_state(world) == before, "{}", state(world));
}

fn up_and_down_by_name(world: &World) {
    world.configure(WITH_METRIC);
    let early = world.server.run("symroute up eth1");
    assert_eq!(early.code(), 1);
    assert!(early.text().contains("'ifup eth1' brings it up"), "{}", early.text());
    up_by_hand(world);
    let dry = world.server.ok("symroute apply --dry-run");
    assert_eq!(dry.lines().count(), 30, "{dry}");
    assert_nothing_left(world);
    // What it shows is what `ip` would do.
    world.server.ok(&format!("set -e\n{dry}"));
    assert_eq!(world.server.ok("symroute apply"), "Nothing to do: everything is in place.\n");
    assert_kernel_is_plan(world);
    world.server.ok("symroute flush");
    assert_nothing_left(world);
    world.server.ok("symroute up eth1");
    assert_kernel_is_plan(world);
    world.server.ok("symroute down eth1 && symroute down eth1");
    let rules = world.server.ok("ip rule; ip -6 rule");
    assert!(rules.contains(A4) && rules.contains(A6) && !rules.contains(B4) && !rules.contains(B6), "{rules}");
    world.server.ok("symroute down eth0 eth1");
    assert_nothing_left(world);
    assert_eq!(world.server.run("symroute up eth9").code(), 1);
    world.server.ok("symroute up eth2");
}

fn twenty_hooks_at_once(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    let both =
        "for n in 1 2 3 4 5 6 7 8 9 10; do for i in 0 1; do IFACE=eth$i MODE=start symroute hook & done; done; wait";
    assert_eq!(world.server.run(both).text(), "");
    assert_kernel_is_plan(world);
    let down =
        "for n in 1 2 3 4 5 6 7 8 9 10; do for i in 0 1; do IFACE=eth$i MODE=stop symroute hook & done; done; wait";
    assert_eq!(world.server.run(down).text(), "");
    // The kernel still has both addresses, so the last to come found the other uplink up.
    world.server.ok("symroute down eth0 eth1");
    assert_nothing_left(world);
}

fn without_privileges(world: &World) {
    world.configure(WITH_METRIC);
    let nobody =
        |command: &str| world.server.run(&format!("setpriv --bounding-set=-all --inh-caps=-all sh -c '{command}'"));
    up_by_hand(world);
    // Root without capabilities may read and lock, but change nothing.
    let apply = nobody("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    assert!(apply.text().contains("EPERM"), "{}", apply.text());
    assert_nothing_left(world);
    assert_eq!(nobody("symroute plan").code(), 0);
    assert_eq!(nobody("symroute status").code(), 1);
    world.server.ok("chmod 000 /etc/network/interfaces");
    for command in ["symroute plan", "symroute apply", "symroute config", "symroute-gen --write"] {
        let ran = nobody(command);
        assert_eq!(ran.code(), 2, "{command}: {}", ran.text());
        assert!(ran.text().contains("cannot read /etc/network/interfaces: Permission denied"), "{}", ran.text());
        assert!(ran.text().contains("Run this as root"), "{}", ran.text());
    }
}

fn native_lines(world: &World) {
    world.configure(NATIVE);
    world.server.ok("symroute-gen --write");
    written(world, NATIVE);
}

fn native_hooks(world: &World) {
    world.install_hooks();
    world.configure(NATIVE);
    world.server.ok("symroute-gen --write --style hook");
    for _ in 0..2 {
        world.server.ok("ifup -a");
        world.settle();
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        world.server.ok("ifdown eth1");
        for to in [A4, A6] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        world.server.ok("ifup eth1");
        assert_kernel_is_plan(world);
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Addresses and gateways by interface, as the installed ifquery has them.
fn reads_as_its_ifquery_does(world: &World) {
    let ng = world.server.run("test -e /usr/libexec/ifupdown-ng").succeeded();
    let files = [NATIVE, include_str!("../fixtures/ng.interfaces")];
    for file in &files[..if ng { 2 } else { 1 }] {
        world.configure(file);
        let config: Value = serde_json::from_str(&world.server.ok("symroute config --json")).expect("JSON");
        for interface in ["eth0", "eth1", "eth2"] {
            let query = world.server.ok(&format!("ifquery {interface}"));
            let wanted = |line: &&str| line.starts_with("address ") || line.starts_with("gateway ");
            let theirs: BTreeSet<String> = query.lines().map(str::trim).filter(wanted).map(String::from).collect();
            let stanzas = config["stanzas"].as_array().expect("a list").iter();
            let options = stanzas
                .filter(|stanza| stanza["interface"] == interface)
                .flat_map(|stanza| stanza["options"].as_array().expect("a list").iter());
            let lines = options.flat_map(|option| {
                let name = option["name"].as_str().expect("a name").to_string();
                option["value"]
                    .as_str()
                    .expect("a value")
                    .lines()
                    .map(move |line| format!("{name} {line}"))
                    .collect::<Vec<_>>()
            });
            let ours: BTreeSet<String> = lines.filter(|line| wanted(&line.as_str())).collect();
            assert!(!theirs.is_empty());
            assert_eq!(ours, theirs, "{interface}\n{query}");
        }
    }
}

/// The server itself drops what it would not answer by the same link; nothing may be caught by that.
fn strict_reverse_path_filter(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
    world.server.ok("ifup -a");
    assert_kernel_is_plan(world);
    assert_symmetric(world);
}

/// A killed run leaves the lock free and nothing that the next run does not bring in order.
fn killed_at_any_point(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    // From nothing to everything and back, killed after 0 to 6 ms.
    let killed = world.server.ok(
        "for n in $(seq 0 60); do
            command=apply; [ $((n % 2)) = 0 ] || command=flush
            symroute $command --quiet & sleep 0.00$((n / 10)); kill -9 $! 2>/dev/null; wait $! 2>/dev/null || echo killed
        done",
    );
    assert!(killed.lines().count() > 10, "the delays miss the work: {killed}");
    world.server.ok("symroute apply");
    assert_kernel_is_plan(world);
    world.server.ok("symroute flush");
    assert_nothing_left(world);
}

/// Ten thousand rules and a hundred thousand routes of others are not touched.
fn beside_many_foreign_rules_and_routes(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    world.server.ok(
        "set -e
        for n in $(seq 10000); do echo rule add from 10.$((n / 250)).$((n % 250)).1 table 500 priority $((20000 + n / 2)); done > /tmp/many
        for n in $(seq 100000); do echo route add 10.$((n / 65536)).$((n / 256 % 256)).$((n % 256)) via 203.0.113.2 table 501; done >> /tmp/many
        ip -batch /tmp/many",
    );
    let foreign = || world.server.ok("(ip rule | grep -v 'proto 97'; ip route show table 501) | cksum");
    let before = foreign();
    world.server.ok("symroute apply");
    assert_kernel_is_plan(world);
    assert_eq!(foreign(), before);
    world.server.ok("IFACE=eth1 MODE=stop symroute hook; symroute flush");
    assert_eq!(foreign(), before);
}

/// After each thing that happens, `status` tells the truth, `apply` brings the kernel in step with what is
/// left, and a second one has nothing to do.
fn what_happens_to_a_running_server(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    let in_step = |what: &str, changed: bool| {
        let status = server.run("symroute status");
        assert_eq!(status.code(), i32::from(changed), "{what}: {}", status.text());
        server.ok("symroute apply");
        assert_eq!(server.ok("symroute apply"), "Nothing to do: everything is in place.\n", "{what}");
        assert_eq!(server.run("symroute status").code(), 0, "{what}");
    };
    let rules = || server.ok("ip rule; ip -6 rule");

    server.ok("ip link set eth1 down");
    in_step("link down by hand", true);
    assert!(!rules().contains(B4) && rules().contains(A4), "{}", rules());
    server.ok("ip link set eth1 up");
    server.ok(
        "ip -6 addr add 2001:db8:b::10/64 dev eth1 nodad; ip route add default via 198.51.100.1 dev eth1 metric 20",
    );
    in_step("link up by hand", true);
    assert_kernel_is_plan(world);

    server.ok("ip addr del 198.51.100.10/24 dev eth1");
    in_step("address deleted", true);
    assert!(!rules().contains(B4) && rules().contains(B6), "{}", rules());
    server.ok("ip addr add 198.51.100.10/24 dev eth1");
    in_step("address added", true);
    server.ok("ip addr add 198.51.100.77/24 dev eth1");
    in_step("another address added by hand", true);
    assert!(world.client.reaches(None, "198.51.100.77"), "{}", state(world));
    server.ok("ip addr del 198.51.100.77/24 dev eth1");
    in_step("and deleted again", true);
    assert_kernel_is_plan(world);

    server.ok("symroute flush");
    in_step("everything flushed", true);
    // Rules and routes of an older plan with other numbers, and a rule twice as old kernels leave it.
    server.ok(
        "set -e; ip rule add from 192.0.2.10 lookup 9 priority 900 protocol 97; ip rule add from 192.0.2.99 lookup 1 priority 901 protocol 97
        ip route add default via 203.0.113.2 table 9 protocol 97; ip -6 rule add from 2001:db8:a::10 lookup 9 priority 902 protocol 97",
    );
    in_step("an older plan", true);
    assert!(!rules().contains("lookup 9"), "{}", rules());

    // The file is edited while everything is up: another table, then one uplink less.
    world.configure(&WITH_METRIC.replace("    metric 20\n", "    metric 20\n    symroute-table 42\n"));
    in_step("another table asked for", true);
    assert!(rules().contains("lookup 42") && !rules().contains("lookup 2 "), "{}", rules());
    assert!(world.client.reaches(None, B4), "{}", state(world));
    world.configure(
        &WITH_METRIC
            .replace("    gateway 198.51.100.1\n    metric 20\n", "")
            .replace("    gateway 2001:db8:b::1\n    metric 2000\n", ""),
    );
    in_step("one uplink less", true);
    assert_nothing_left(world);
    world.configure(WITH_METRIC);
    in_step("and back", true);
    assert_kernel_is_plan(world);

    server.ok("ip link del eth1");
    in_step("device deleted", true);
    assert!(!rules().contains(B4) && !rules().contains("eth1"), "{}", rules());
    server.run("ifdown eth1");
    in_step("ifdown after the device is gone", false);
    for to in [A4, A6] {
        assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
    }
    server.ok("ifdown eth0");
    assert_nothing_left(world);
}

/// Each of many uplinks is reached in both families, through lines and then through hooks.
fn many_uplinks(world: &World, count: usize) {
    use std::fmt::Write;
    let mut interfaces =
        "auto lo eth2\niface lo inet loopback\niface eth2 inet static\n    address 203.0.113.1/26\n".to_string();
    for n in 0..count {
        let net = format!("198.51.100.{}", 16 * n + 1);
        let own = format!("198.51.100.{}", 16 * n + 2);
        let _ = write!(
            interfaces,
            "\nauto eth{0}\niface eth{0} inet static\n    address {own}/28\n    gateway {net}\n\
             iface eth{0} inet6 static\n    address 2001:db8:10{n}::2/64\n    gateway 2001:db8:10{n}::1\n",
            n + 3
        );
    }
    for style in ["iproute2", "hook"] {
        world.configure(&interfaces);
        world.server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        world.server.ok("ifup -a");
        assert_kernel_is_plan(world);
        for n in 0..count {
            for to in [format!("198.51.100.{}", 16 * n + 2), format!("2001:db8:10{n}::2")] {
                assert!(world.client.reaches(None, &to), "{style}: {to}\n{}", state(world));
            }
            assert!(world.lan.reaches(None, &format!("198.51.100.{}", 16 * n + 2)), "{style}: LAN");
        }
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Two providers on one wire: each address is answered through its own provider's router.
fn two_gateways_on_one_bridge(world: &World, _: usize) {
    let interfaces = "auto lo eth2 br0
iface lo inet loopback
iface eth2 inet static
    address 203.0.113.1/26
iface br0 inet static
    pre-up ip link add br0 type bridge 2>/dev/null || true
    pre-up for port in eth3 eth4; do ip link set $port master br0 up; done
    address 198.51.100.2/28
    gateway 198.51.100.1
iface br0 inet static
    address 198.51.100.18/28
    gateway 198.51.100.17
iface br0 inet6 static
    address 2001:db8:100::2/64
    gateway 2001:db8:100::1
iface br0 inet6 static
    address 2001:db8:101::2/64
    gateway 2001:db8:101::1
";
    for style in ["iproute2", "hook"] {
        world.configure(interfaces);
        world.server.ok(&format!("symroute-gen --write --style {style}"));
        if style == "hook" {
            world.install_hooks();
        }
        world.server.ok("ifup -a");
        assert_kernel_is_plan(world);
        for to in ["198.51.100.2", "198.51.100.18", "2001:db8:100::2", "2001:db8:101::2"] {
            assert!(world.client.reaches(None, to), "{style}: {to}\n{}", state(world));
            assert!(to.contains(':') || world.lan.reaches(None, to), "{style}: LAN to {to}");
        }
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
        world.server.ok("ip link del br0");
    }
}

/// In containers /proc/sys is often read-only: the route cache cannot be flushed, and nothing needs it to be.
fn read_only_proc(world: &World) {
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write");
    world.server.mount("mount --bind proc/sys proc/sys && mount -o remount,ro,bind proc/sys");
    assert!(!world.server.run("echo -1 > /proc/sys/net/ipv4/route/flush").succeeded());
    world.server.ok("ifup eth0 eth1 eth2");
    assert_kernel_is_plan(world);
    world.server.ok("symroute flush && symroute apply");
    assert_kernel_is_plan(world);
    world.server.ok("ifdown eth0 eth1 eth2");
    assert_nothing_left(world);
}
