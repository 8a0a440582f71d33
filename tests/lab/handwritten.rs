//! Hand-written policy: what symroute reads in a line is what the suite's own `ip` does with it, what a warning
//! says comes to pass, and its mend mends.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use symroute::interfaces::command::{Command, Object, commands, number};

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, state};
use crate::world::{A4, A6, B4, Host, World};

/// Takes the suite.
type Case = fn(&str);

pub const HOST_CASES: [(&str, Case); 1] = [("commands_are_read_as_ip_reads_them", commands_are_read_as_ip_reads_them)];

/// Lines in every spelling: each of `WORDS` in full and in all its abbreviations, and combinations, right and
/// wrong ones, the same in every run.
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
    // Combinations, drawn by a generator of our own so that a failure can be repeated.
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

/// What a rule or a route is, in iproute2's keys.
type Keys = BTreeMap<&'static str, String>;

/// As the command was understood.
fn understood(command: &Command) -> Keys {
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
    // Not shown where the rule looks into no table.
    let length = command.get("suppress_prefixlength").filter(|_| command.get("type").is_none()).and_then(number);
    keys.extend(length.map(|length| ("suppress_prefixlen", length.to_string())));
    let mark = command.get("fwmark").and_then(|mark| number(mark.split('/').next().unwrap_or_default()));
    keys.extend(mark.map(|mark| ("fwmark", format!("{mark:#x}"))));
    keys.extend(command.get("not").map(|_| ("not", "null".to_string())));
    keys
}

/// As `ip -j` shows it, less what the command did not say.
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
    // What the kernel chooses where nothing is said.
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

/// The rules and routes that a script's section shows beyond those that are always there.
fn added(section: &str) -> Vec<(Object, Value)> {
    let mut found = Vec::new();
    for (line, object) in section.lines().zip([Object::Rule, Object::Rule, Object::Route]) {
        let list: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for item in list.as_array().expect("a list") {
            let always_there = match object {
                Object::Rule => matches!(item["priority"].as_u64(), Some(0 | 32766 | 32767)),
                // Main's have no table there.
                _ => matches!(item["table"].as_str(), None | Some("local")),
            };
            if !always_there {
                found.push((object, item.clone()));
            }
        }
    }
    found
}

fn commands_are_read_as_ip_reads_them(suite: &str) {
    let host = Host::debian(suite).unwrap();
    host.ok("ip link add eth1 type veth peer name far && ip link set eth1 up && ip link set far up
        echo 0 > /proc/sys/net/ipv6/conf/eth1/accept_dad
        ip addr add 192.0.2.10/24 dev eth1 && ip addr add 2001:db8::10/64 dev eth1 nodad");
    let lines = spellings();
    // In parts: a slow machine is not to meet the time limit of one command.
    let mut out = String::new();
    for part in lines.chunks(50) {
        let mut script = String::from("export IFACE=eth1 IF_ADDRESS=192.0.2.10; cd /tmp\n");
        for (n, line) in part.iter().enumerate() {
            let quoted = line.replace('\'', "'\\''");
            let _ = write!(
                script,
                "sh -c '{quoted}' >/dev/null 2>&1; echo \"== {n} $?\"; ip -j rule; ip -6 -j rule
            ip -j route show table all
            ip rule flush; ip rule add lookup main pref 32766; ip rule add lookup default pref 32767
            ip -6 rule flush; ip -6 rule add lookup main pref 32766
            for t in 5 100 101; do ip route flush table $t; ip -6 route flush table $t; done 2>/dev/null\n"
            );
        }
        host.write("/tmp/script", script.as_bytes());
        out += &host.run("sh /tmp/script").stdout();
    }
    let sections: Vec<&str> = out.split("== ").skip(1).collect();
    assert_eq!(sections.len(), lines.len(), "{out}");
    let (mut wrong, mut refused, mut taken) = (Vec::new(), 0, 0);
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
            // Not a rule or a route to us: then it is none to `ip` either.
            None if added.is_empty() => Ok(()),
            None => Err("not recognised".to_string()),
            Some(command) => match &command.refused {
                Some(why) if !added.is_empty() => Err(format!("said to be refused ({}), and taken", why.why)),
                Some(why) if command.heeded && why.exit != exit => Err(format!("exits with {exit}, not {}", why.exit)),
                Some(_) => {
                    refused += 1;
                    Ok(())
                }
                // Whether there is such a name is not the grammar's business.
                None if command.get("table").is_some_and(|table| number(table).is_none()) => match (exit, &added[..]) {
                    (255, []) => Ok(()),
                    _ => Err(format!("a table by name, exits with {exit}")),
                },
                None => match &added[..] {
                    [(object, item)] if *object == command.object => {
                        taken += 1;
                        let (ours, theirs) = (understood(command), shown(item, command));
                        if ours == theirs { Ok(()) } else { Err(format!("understood {ours:?}, made {theirs:?}")) }
                    }
                    other => Err(format!("exits with {exit}, and makes {other:?}")),
                },
            },
        };
        if let Err(what) = verdict {
            wrong.push(format!("{line}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
    assert!(refused > 80 && taken > 120, "too few of either: {refused} refused, {taken} taken");
}

pub const CASES: [(&str, crate::Case); 3] = [
    ("what_the_warnings_say_comes_true", what_the_warnings_say_comes_true),
    ("right_policy_by_hand_is_left_alone", right_policy_by_hand_is_left_alone),
    ("from_lines_by_hand_to_symroute", from_lines_by_hand_to_symroute),
];

fn fixture(name: &str) -> String {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/handwritten");
    std::fs::read_to_string(directory.join(name)).expect("a fixture")
}

/// Gives the server an `/etc` of its own, in memory.
fn own_etc(world: &World) {
    world.server.mount("mkdir tmp/etc; cp -a etc/. tmp/etc/; mount --bind tmp/etc etc");
    world.server.ok("mkdir -p /etc/iproute2/rt_tables.d; echo '200 isp-b' > /etc/iproute2/rt_tables.d/local.conf");
}

fn rules(world: &World, with: &str) -> Vec<String> {
    let rules = world.server.ok("ip rule; ip -6 rule");
    rules.lines().filter(|line| line.contains(with)).map(String::from).collect()
}

fn what_the_warnings_say_comes_true(world: &World) {
    own_etc(world);
    let server = &world.server;
    // Fails with an exit code of `ip` that ifup tells.
    for (name, exit, reason) in [
        ("directory-for-program", 126, "Permission denied"),
        ("from-fwmark", 1, "prefix is expected rather than \"fwmark\""),
        ("lookup-table", 255, "invalid table ID"),
        ("lookup-in-a-route", 255, "\"to\" is duplicate"),
        ("address-for-a-network", 2, "Invalid prefix for given prefix length"),
        ("unknown-name", 255, "\"isp-c\" is wrong"),
        ("wrong-source", 2, "Invalid prefsrc"),
        ("wrong-gateway", 2, "invalid gateway"),
        ("wrong-device", 1, "Cannot find device"),
        ("ipv6-without-6", 2, "Invalid source address"),
        ("link-local-without-dev", 2, "Egress device not specified"),
        ("placeholders", 2, "annot open"),
    ] {
        world.configure(&fixture(name));
        let warned = server.run("symroute config").text();
        assert!(warned.contains(&format!("the line fails ({exit}), and ifup stops there")), "{name}: {warned}");
        let up = server.run("ifup eth1");
        assert!(!up.succeeded() && up.text().contains(reason), "{name}: {}", up.text());
        // The line itself, as ifup ran it.
        let place = warned.lines().find(|line| line.trim_start().starts_with("--> ")).expect("a place");
        let number: usize = place.split(':').nth(1).and_then(|number| number.parse().ok()).expect("a line");
        let line = fixture(name).lines().nth(number - 1).expect("that line").trim().to_string();
        let command = line.split_once(' ').expect("an option").1.replace('\'', "'\\''");
        assert_eq!(server.run(&format!("cd /tmp; sh -c '{command}'")).code(), exit, "{name}: {command}");
        clean(world);
    }
    // Rules that stay.
    for (name, copies) in
        [("leaks", 4), ("no-priority", 0), ("deletes-another-table", 1), ("deletes-without-table-word", 1)]
    {
        world.configure(&fixture(name));
        server.ok("ifup eth0");
        for _ in 0..2 {
            server.run("ifup eth1");
            server.ok("ifdown eth1");
        }
        assert_eq!(rules(world, "198.51.100.10").len(), copies, "{name}");
        clean(world);
    }
    world.configure(&fixture("leaks-with-priority"));
    server.ok("ifup eth1; ifdown eth1");
    let again = server.run("ifup eth1");
    assert!(!again.succeeded() && again.text().contains("File exists"), "{}", again.text());
    clean(world);
    // Run again, as after a failure further down.
    world.configure(&fixture("no-priority"));
    server.ok("ifup eth1");
    server.run("ifup --force --ignore-errors eth1");
    assert_eq!(rules(world, "198.51.100.10").len(), 4);
    server.ok("ifdown eth1");
    assert_eq!(rules(world, "198.51.100.10").len(), 2);
    clean(world);
    // Rules and routes that lead elsewhere.
    for (name, lookup, goes) in [
        ("wrong-table", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("empty-table", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("to-for-from", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("tunnel-for-table", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("deletes-what-nobody-added", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("no-subnet", "198.51.100.20 from 198.51.100.10", "via 198.51.100.1 dev eth1"),
        ("source-of-the-other-link", "203.0.113.190 from 198.51.100.10", "via 198.51.100.1 dev eth1"),
    ] {
        world.configure(&fixture(name));
        server.ok("ifup eth0; ifup eth1");
        let get = server.ok(&format!("ip route get {lookup}"));
        assert!(get.contains(goes), "{name}: {get}");
        server.ok("ifdown eth1; ifdown eth0");
        clean(world);
    }
    world.configure(&fixture("wrong-stanza"));
    server.ok("ifup eth0; ifup eth1; ifdown eth1");
    assert_eq!(rules(world, "192.0.2.10"), [""; 0], "eth0 is up, and its rule went with eth1");
    clean(world);
    // Both links have the network; the route goes by the one that came first.
    world.configure(&fixture("gateway-of-two-links"));
    server.ok("ifup eth0; ifup eth1");
    let table = server.ok("ip route show table 2");
    assert!(table.contains("default via 198.51.100.1 dev eth0"), "{table}");
    clean(world);
    // The mends, as they are proposed.
    for name in ["leaks", "leaks-with-priority", "leaks-in-part", "no-priority"] {
        world.configure(&corrected(world, &fixture(name)));
        let said = server.run("symroute config").text();
        assert!(!said.contains("hand-written"), "{name}: {said}");
        for _ in 0..2 {
            server.ok("ifup eth1; ifdown eth1");
            assert_eq!(rules(world, "198.51.100.10").len() + rules(world, "fwmark").len(), 0, "{name}");
        }
        let order = |interfaces: &str| {
            world.configure(interfaces);
            server.ok("ifup eth1");
            let rules = rules(world, "198.51.100.10");
            server.ok("ifdown eth1");
            clean(world);
            rules.iter().map(|rule| rule.split_once('\t').expect("a rule").1.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&corrected(world, &fixture(name))),
            order(&fixture(name)),
            "{name}: the same rules in the same order"
        );
    }
    // A name for the table, by the command that is proposed.
    world.configure(&fixture("unknown-name"));
    let said = server.run("symroute config").text();
    let command = said.lines().find_map(|line| line.split_once("Give it a number: ")).expect("a command").1;
    server.ok(command);
    assert!(!server.run("symroute config").text().contains("hand-written"));
    server.ok("ifup eth1; ifdown eth1");
}

/// The proposed lines in place of those that they are about.
fn corrected(world: &World, interfaces: &str) -> String {
    world.configure(interfaces);
    let said = world.server.run("symroute config").text();
    let proposed: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("post-up") || line.starts_with("pre-down"))
        .collect();
    assert!(!proposed.is_empty(), "{said}");
    let about = |line: &str| {
        let add = line.replacen("del", "add", 1).replacen("pre-down", "post-up", 1).replacen("post-down", "post-up", 1);
        proposed.iter().any(|proposed| proposed.starts_with(&add))
    };
    let rest = interfaces.lines().filter(|line| !about(line.trim()));
    rest.map(|line| format!("{line}\n")).chain(proposed.iter().map(|line| format!("    {line}\n"))).collect()
}

/// As if nothing had been up.
fn clean(world: &World) {
    world.server.run(
        "ifdown --force --ignore-errors eth0 eth1 eth0:1 eth1:1; rm -f /run/network/ifstate*
        for dev in eth0 eth1; do ip addr flush dev $dev; ip link set $dev down; done
        for f in -4 -6; do ip $f rule flush; ip $f rule add lookup main pref 32766; done
        ip rule add lookup default pref 32767; for t in 1 2 3 100 200 300; do ip route flush table $t; done",
    );
}

fn right_policy_by_hand_is_left_alone(world: &World) {
    own_etc(world);
    world.install_hooks();
    let interfaces = fixture("right");
    world.configure(&interfaces);
    let server = &world.server;
    for style in ["iproute2", "article", "hook"] {
        let said = server.run(&format!("symroute-gen --write --style {style}"));
        assert!(said.succeeded() && !said.text().contains("[hand-written"), "{}", said.text());
        assert_eq!(server.read("/etc/network/interfaces"), interfaces.as_bytes());
    }
    for _ in 0..2 {
        server.ok("ifup -a");
        world.settle();
        server.ok("symroute apply");
        assert_eq!(server.ok("ip route show table all proto 97; ip -6 route show table all proto 97"), "");
        assert_eq!(rules(world, "proto 97"), [""; 0]);
        for (from, count) in [("192.0.2.10", 2), ("2001:db8:a::/64", 1), ("198.51.100.0/24", 1), ("198.51.100.11", 1)] {
            assert_eq!(rules(world, &format!(" {from} ")).len(), count, "{from}\n{}", state(world));
        }
        for to in [A4, A6, B4, "198.51.100.11"] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// The way that docs/hand-written.md describes, on a server that stays up and is reached all the time.
fn from_lines_by_hand_to_symroute(world: &World) {
    let server = &world.server;
    let lines = |n: u8, net: &str, dev: &str| {
        format!(
            "    post-up ip route add {net}.0/24 dev {dev} table {n}\n    post-up ip route add default via {net}.1 dev {dev} table {n}\n    \
             post-up ip rule add from {net}.10 table {n} priority {n}00\n    \
             pre-down ip rule del from {net}.10 table {n} priority {n}00\n    pre-down ip route flush table {n}\n"
        )
    };
    let stanzas = |a: &str, b: &str| {
        format!(
            "auto lo eth0 eth1 eth2\niface lo inet loopback\niface eth0 inet static\n    address 192.0.2.10/24\n    \
             gateway 192.0.2.1\n{a}iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n{b}\
             iface eth2 inet static\n    address 203.0.113.1/26\n"
        )
    };
    world.configure(&stanzas(&lines(1, "192.0.2", "eth0"), &lines(2, "198.51.100", "eth1")));
    server.ok("ifup -a");
    let reached = |when: &str| {
        for to in [A4, B4] {
            assert!(world.client.reaches(None, to), "{when}: {to}\n{}", state(world));
        }
    };
    reached("by hand");
    // 1: the lines out of the file; 2: symroute's in; 3: the running system; 4: what the lines had made.
    world.configure(&stanzas("", ""));
    server.ok("symroute-gen --write");
    let text = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
    assert!(
        text.contains("table 3") && !text.contains("table 1 "),
        "numbers that are in use are left to those who use them: {text}"
    );
    server.ok("symroute apply");
    reached("beside each other");
    server.ok("ip rule del from 192.0.2.10 table 1 priority 100; ip route flush table 1
         ip rule del from 198.51.100.10 table 2 priority 200; ip route flush table 2");
    assert_kernel_is_plan(world);
    reached("symroute alone");
    assert!(world.lan.reaches(None, B4), "what the lines by hand did not have");
    server.ok("ifdown -a");
    assert_nothing_left(world);
    server.ok("ifup -a");
    assert_kernel_is_plan(world);
    reached("after ifdown and ifup");
}
