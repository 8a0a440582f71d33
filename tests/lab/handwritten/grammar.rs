//! symroute reads the `ip` commands in stanzas as the suite's own `ip` does.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::world::Host;
use symroute::commands::{Command, Object, commands, number};

/// Commands in every spelling: each keyword in full and in all its abbreviations, and combinations of selectors, valid
/// and invalid ones. They are the same in every run.
fn spellings() -> Vec<String> {
    let mut lines: Vec<String> = [
        "/sbin/ip -4 ru a from 192.0.2.10 lookup 5 order 70",
        "ip -6 rule add from 2001:db8::10/128 table 5 pref 70",
        "ip -family inet6 rule add from 2001:db8::10 table 5 pref 70",
        "ip rule add from 2001:db8::10 table 5",
        "ip -6 rule add from 192.0.2.10 table 5",
        "ip -4 rule add to 2001:db8::/32 table 5",
        "ip -6 rule add from default fwmark 3 table 5",
        "ip rule add not from 192.0.2.0/24 table 5",
        "ip rule add from 192.0.2.10/24 to 198.51.100.0/255.255.255.0 table 0x65 prio 010",
        "ip rule add from 192.0.2 to 10/8 table 5",
        "ip rule add from 0/0 fwmark 0x10/0xff table 5",
        "ip rule add dev $IFACE table 5",
        "ip rule add oif ${IFACE} table 5 suppress_prefixlength 0",
        "ip rule add from 192.0.2.10 t 100",
        "ip rule add from 192.0.2.10 tab 100",
        "ip rule add from 192.0.2.10 eth3",
        "ip rule add from fwmark 0x22 table 5",
        "ip rule add to lookup 5",
        "ip rule add from 192.0.2.10 lookup table 5",
        "ip rule add from 192.0.2.10 lookup 5 table",
        "ip rule add from 192.0.2.10 table 4294967295",
        "ip rule add from 192.0.2.10 table 5 prio -1",
        "ip rule add from 192.0.2.10 table 5 prio 0x",
        "ip rule add from 192.0.2.256 table 5",
        "ip rule add from 192.0.2.10/33 table 5",
        "ip rule add from 192.0.2.10/255.0.255.0 table 5",
        "ip rule add from 192.0.2.10. table 5",
        "ip rule add src 192.0.2.10 table 5",
        "ip rule add iif averylonginterfacename table 5",
        "ip rule add prohibit from 192.0.2.10",
        "ip rule add from 192.0.2.10 type unreach",
        "ip rule add from 192.0.2.10 7 pref 70",
        "ip rule add",
        "ip rule del",
        "/sbin ip rule add from 192.0.2.10 table 5",
        "ip rule add from <ip> table 5",
        "ip rule add from 192.0.2.10 table 5 pref 71 || true",
        "ip rule add from 192.0.2.10 table 5 pref 71; true",
        "sh -c 'ip rule add from 192.0.2.10 table 5 pref 71'",
        "sh -c \"ip rule add dev $IFACE table 5 pref 71\" 2>/dev/null",
        "true && ip rule add from 192.0.2.10 table 5 2>/dev/null pref 71",
        "ip rule add from 192.0.2.10 table 5>/dev/null",
        "ip rule add from '192.0.2.10' table \"5\" pref 7\\1 # pref 72",
        "false || ip rule add from $IF_ADDRESS table 5",
        "ip route add default via 192.0.2.1 table 5",
        "ip ro replace default via 192.0.2.1 dev eth1 t 100",
        "ip -4 r r default via 192.0.2.1 dev $IFACE ta 0x64",
        "ip r ap 198.51.100.0/255.255.255.0 via 192.0.2.1 t 5 m 4",
        "ip r prep 198.51.100.0/24 via inet 192.0.2.1 t 5",
        "ip route add table 5 to 0.0.0.0/0 dev eth1 src 192.0.2.10",
        "ip route add 10/8 dev eth1 table 5",
        "ip route add 192.0.2.10/24 dev eth1 table 5",
        "ip route add default via 2001:db8::1 dev eth1 table 5",
        "ip -6 r a 2001:db8:1::/48 via 2001:db8::1 t 5",
        "ip route add default dev eth1:1 table 5",
        "ip route add blackhole default table 5",
        "ip route add throw 198.51.100.0/24 table 5",
        "ip route add local default dev lo table 5",
        "ip route add default via 192.0.2.1 lookup 5",
        "ip route add default via 192.0.2.1 table",
        "ip route add default via gateway table 5",
        "ip route add default via 2001:db8::1 src 192.0.2.10 table 5",
        "ip route add default default dev eth1 table 5",
        "ip route add net/24 dev eth1 table 5",
        "ip route add default dev eth1 onlink via 198.51.100.1 mtu lock 1400 t 5",
        "ip route add default via 192.0.2.1 table 5 prio 6",
        "ip route add default via 192.0.2.1 table 5 metric high",
        "ip route add table 5 default nexthop via 192.0.2.1 dev eth1 weight 1 nexthop via 192.0.2.2 dev eth1",
    ]
    .map(String::from)
    .into();
    let rule = "from 192.0.2.10 table 5";
    for (word, more) in [
        ("preference", "71"),
        ("order", "71"),
        ("priority", "71"),
        ("dsfield", "4"),
        ("protocol", "4"),
        ("tun_id", "9"),
        ("suppress_prefixlength", "1"),
        ("lookup", "101"),
        ("table", "101"),
        ("fwmark", "9"),
        ("iif", "eth1"),
        ("goto", "32766"),
        ("prohibit", ""),
    ] {
        lines.extend((1..=word.len()).map(|n| format!("ip rule add {rule} {} {more}", &word[..n])));
    }
    for (word, more) in [
        ("table", "101"),
        ("metric", "9"),
        ("priority", "9"),
        ("preference", "9"),
        ("protocol", "9"),
        ("mtu", "1400"),
        ("advmss", "1400"),
        ("cwnd", "lock 10"),
        ("onlink", ""),
    ] {
        lines.extend(
            (1..=word.len())
                .map(|n| format!("ip route add default via 192.0.2.1 dev eth1 table 5 {} {more}", &word[..n])),
        );
    }
    for (object, least, rest) in [("rule", 2, "from 192.0.2.10 table 5"), ("route", 1, "default dev eth1 table 5")] {
        lines.extend((least..=object.len()).map(|n| format!("ip {} add {rest}", &object[..n])));
        for verb in ["add", "append", "replace", "prepend"] {
            lines.extend((1..=verb.len()).map(|n| format!("ip {object} {} {rest}", &verb[..n])));
        }
    }
    // Combinations from a generator with a fixed seed, so that a failure can be repeated.
    let parts = [
        "from 192.0.2.10",
        "from 198.51.100.0/25",
        "to 203.0.113.7",
        "to any",
        "pref 71",
        "order 0x50",
        "iif eth1",
        "oif eth1",
        "dev lo",
        "fwmark 7",
        "table 5",
        "lookup 101",
        "ta 6",
        "not",
        "sup_pl 1",
        "suppress 0",
        "tos 8",
        "unreachable",
        "from",
        "eth3",
        "table",
        "fwmark x",
        "from all",
        "pro 4",
    ];
    let mut state = 97u64;
    for _ in 0..150 {
        let mut line = "ip rule add".to_string();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(line, " {}", parts[(state >> 33) as usize % parts.len()]);
        }
        lines.push(line);
    }
    lines
}

fn variable(name: &str) -> Option<String> {
    match name {
        "IFACE" => Some("eth1".into()),
        "IF_ADDRESS" => Some("192.0.2.10".into()),
        _ => None,
    }
}

/// A rule or a route with iproute2's keys.
type Keys = BTreeMap<&'static str, String>;

/// The command as symroute reads it.
fn as_read(command: &Command) -> Keys {
    let mut keys = Keys::new();
    let mut net = |key: &'static str, keyword: &str| {
        if let Some(net) = command.prefix(keyword).filter(|net| net.prefix_len() > 0) {
            let whole = net.prefix_len() == net.max_prefix_len();
            let length = if whole { String::new() } else { format!("/{}", net.prefix_len()) };
            keys.insert(key, format!("{}{length}", net.addr()));
        }
    };
    let words: &[(&'static str, &str)] = match command.object {
        Object::Rule => {
            net("src", "from");
            net("dst", "to");
            &[("iif", "iif"), ("oif", "oif")]
        }
        _ => {
            net("dst", "to");
            if command.get("nexthop").is_none() {
                net("gateway", "via");
            }
            net("prefsrc", "src");
            &[]
        }
    };
    for (key, keyword) in words {
        keys.extend(command.get(keyword).map(|value| (*key, value.to_string())));
    }
    let dev = command
        .get("dev")
        .filter(|_| command.get("nexthop").is_none())
        .map(|dev| dev.split(':').next().unwrap_or_default().to_string());
    keys.extend(dev.map(|dev| ("dev", dev)));
    for (key, keyword) in [("table", "table"), ("priority", "priority"), ("tun_id", "tun_id"), ("metric", "metric")] {
        keys.extend(command.get(keyword).and_then(number).map(|value| (key, value.to_string())));
    }
    // `ip` does not show it if the rule has no table.
    let length = command.get("suppress_prefixlength").filter(|_| command.get("type").is_none()).and_then(number);
    keys.extend(length.map(|length| ("suppress_prefixlen", length.to_string())));
    let mark = command.get("fwmark").and_then(|mark| number(mark.split('/').next().unwrap_or_default()));
    keys.extend(mark.map(|mark| ("fwmark", format!("{mark:#x}"))));
    keys.extend(command.get("not").map(|_| ("not", "null".to_string())));
    keys
}

/// The entry as `ip -j` shows it, without the keys that the command does not set.
fn shown(item: &Value, command: &Command) -> Keys {
    const RULE: [&str; 9] =
        ["iif", "oif", "table", "priority", "tun_id", "suppress_prefixlen", "fwmark", "not", "protocol"];
    const ROUTE: [&str; 5] = ["gateway", "dev", "prefsrc", "table", "metric"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let mut keys = Keys::new();
    let names = if command.object == Object::Rule { &RULE[..8] } else { &ROUTE[..] };
    keys.extend(names.iter().filter_map(|name| Some((*name, text(item.get(name)?)))));
    for (name, length) in [("src", "srclen"), ("dst", "dstlen")] {
        let Some(net) = item.get(name).map(text).filter(|net| !matches!(net.as_str(), "all" | "default")) else {
            continue;
        };
        let length = item.get(length).map_or(String::new(), |length| format!("/{length}"));
        keys.insert(name, format!("{net}{length}"));
    }
    // The kernel chooses these values if the command does not set them.
    if command.get("priority").is_none() && command.object == Object::Rule {
        keys.remove("priority");
    }
    if command.get("table").is_none() {
        keys.remove("table");
    }
    if command.get("dev").is_none() {
        keys.remove("dev");
    }
    if command.get("metric").is_none() && command.inet6 {
        keys.remove("metric");
    }
    keys
}

/// The rules and routes in a section of the script's output, without those that always exist.
fn added(section: &str) -> Vec<(Object, Value)> {
    let mut found = Vec::new();
    // `flush` prints an empty list.
    let shown = section.lines().filter(|line| line.len() > "[ ]".len());
    for (line, object) in shown.zip([Object::Rule, Object::Route, Object::Rule]) {
        let list: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for item in list.as_array().expect("a list") {
            let always_there = match object {
                Object::Rule => matches!(item["priority"].as_u64(), Some(0 | 32766 | 32767)),
                // Routes of main have no table in the output.
                _ => matches!(item["table"].as_str(), None | Some("local")),
            };
            if !always_there {
                found.push((object, item.clone()));
            }
        }
    }
    found
}

pub fn symroute_reads_commands_as_ip_does(suite: &str) {
    let host = Host::debian(suite).unwrap();
    host.ok("ip link add eth1 type veth peer name far && ip link set eth1 up && ip link set far up
        echo 0 > /proc/sys/net/ipv6/conf/eth1/accept_dad
        ip addr add 192.0.2.10/24 dev eth1 && ip addr add 2001:db8::10/64 dev eth1 nodad");
    let lines = spellings();
    // Lists everything after a line and removes it. There are hundreds of lines, so two processes do this.
    let reset = |what: &str| {
        let tables: String = ["5", "100", "101"].map(|table| format!("route flush table {table}\n")).concat();
        format!("rule show\n{what}rule flush\nrule add lookup main pref 32766\n{tables}")
    };
    host.write("/tmp/inet", reset("route show table all\n").as_bytes());
    host.write("/tmp/inet6", reset("").as_bytes());
    // In parts, so that a slow machine does not reach the time limit of a command.
    let mut out = String::new();
    for part in lines.chunks(50) {
        let mut script = String::from("export IFACE=eth1 IF_ADDRESS=192.0.2.10; cd /tmp\n");
        for (n, line) in part.iter().enumerate() {
            let quoted = line.replace('\'', "'\\''");
            let _ = write!(
                script,
                "sh -c '{quoted}' >/dev/null 2>&1; echo \"== {n} $?\"
            ip -j -force -batch inet 2>/dev/null; ip -6 -j -force -batch inet6 2>/dev/null\n"
            );
        }
        host.write("/tmp/script", script.as_bytes());
        out += &host.run("sh /tmp/script").stdout();
    }
    let sections: Vec<&str> = out.split("== ").skip(1).collect();
    assert_eq!(sections.len(), lines.len(), "{out}");
    let (mut wrong, mut rejected, mut accepted) = (Vec::new(), 0, 0);
    for (line, section) in lines.iter().zip(sections) {
        let (head, rest) = section.split_once('\n').expect("a line");
        let exit: u8 = head.split(' ').nth(1).and_then(|exit| exit.parse().ok()).expect("an exit code");
        let added = added(rest);
        let read = commands(line, &variable);
        let ours = match &read[..] {
            [] => None,
            [one] => Some(one),
            _ => panic!("one command: {line}"),
        };
        let verdict = match ours {
            // If symroute finds no rule or route in the line, `ip` must not add one.
            None if added.is_empty() => Ok(()),
            None => Err("not read as a command".to_string()),
            Some(command) => match &command.rejection {
                Some(why) if !added.is_empty() => Err(format!("expected to be rejected ({}), but accepted", why.why)),
                Some(why) if command.failure_propagates && why.exit != exit => {
                    Err(format!("exits with {exit}, not {}", why.exit))
                }
                Some(_) => {
                    rejected += 1;
                    Ok(())
                }
                // The grammar does not know which table names exist.
                None if command.get("table").is_some_and(|table| number(table).is_none()) => match (exit, &added[..]) {
                    (255, []) => Ok(()),
                    _ => Err(format!("a table by name, exits with {exit}")),
                },
                None => match &added[..] {
                    [(object, item)] if *object == command.object => {
                        accepted += 1;
                        let (ours, theirs) = (as_read(command), shown(item, command));
                        if ours == theirs { Ok(()) } else { Err(format!("read as {ours:?}, added {theirs:?}")) }
                    }
                    other => Err(format!("exits with {exit}, and adds {other:?}")),
                },
            },
        };
        if let Err(what) = verdict {
            wrong.push(format!("{line}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
    assert!(rejected > 80 && accepted > 120, "too few lines: {rejected} rejected, {accepted} accepted");
}
