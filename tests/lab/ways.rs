//! The main job, in every way: as people have it (broken), with lines, with hooks, as the article has it, with
//! ifupdown's relatives, and with many uplinks.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::world::{A4, A6, B4, B6, PUBLIC, World};
use crate::{NATIVE, PLAIN, TABLE_GATEWAY, WITH_METRIC};

pub fn broken_two_gateway_lines(world: &World) {
    world.configure(PLAIN);
    let up = world.server.run("ifup -a");
    assert!(!up.succeeded());
    assert!(up.text().contains("File exists"), "{}", up.text());
    assert!(up.text().contains("failed to bring up eth1"), "{}", up.text());
    assert!(world.client.reaches(None, A4));
    assert!(!world.client.pings(None, B4));
}

pub fn broken_with_metric_alone(world: &World) {
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

pub fn lines(world: &World) {
    let original = world.configure(PLAIN);
    assert_eq!(world.server.run("symroute-gen --check").code(), 1);
    world.server.ok("symroute-gen --write");
    written(world, &original);
}

pub fn lines_with_hooks_too(world: &World) {
    world.install_hooks();
    let original = world.configure(PLAIN);
    world.server.ok("symroute-gen --write");
    written(world, &original);
}

/// The article's form: eth1's gateway is for its table alone, main has one default route.
pub fn lines_for_the_table_alone(world: &World) {
    let original = world.configure(TABLE_GATEWAY);
    world.server.ok("symroute-gen --write");
    assert!(!String::from_utf8_lossy(&world.server.read("/etc/network/interfaces")).contains("metric"));
    world.server.ok("ifup -a");
    let defaults = world.server.ok("ip route show default; ip -6 route show default");
    assert_eq!(defaults.lines().filter(|line| line.starts_with("default")).count(), 2, "{defaults}");
    world.server.ok("ifdown -a");
    written(world, &original);
}

pub fn lines_are_safe_to_run_twice(world: &World) {
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
pub fn article(world: &World) {
    let expected = "0:\tfrom all lookup local\n100:\tfrom 192.0.2.10 lookup 1\n110:\tfrom 198.51.100.10 lookup 2\n\
                    32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n";
    let original = world.configure(TABLE_GATEWAY);
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
    assert_eq!(world.server.read("/etc/network/interfaces"), original.as_bytes());
}

pub fn article_layout_through_hooks(world: &World) {
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

pub fn hooks(world: &World) {
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

pub fn hooks_again_and_out_of_order(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup eth1; ifup eth2; ifup eth0");
    assert_kernel_is_plan(world);
    for _ in 0..2 {
        // Damage, so that it shows whether the hook ran.
        world.server.ok("ip rule del priority 101; ip link set dev eth1 group 0");
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

pub fn hooks_keep_the_other_uplink(world: &World) {
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

pub fn native_lines(world: &World) {
    world.configure(NATIVE);
    world.server.ok("symroute-gen --write");
    written(world, NATIVE);
}

pub fn native_hooks(world: &World) {
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
pub fn reads_as_its_ifquery_does(world: &World) {
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
pub fn strict_reverse_path_filter(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
    world.server.ok("ifup -a");
    assert_kernel_is_plan(world);
    assert_symmetric(world);
}

/// Each of many uplinks is reached in both families, through lines and then through hooks.
pub fn many_uplinks(world: &World, count: usize) {
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
pub fn two_gateways_on_one_bridge(world: &World, _: usize) {
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

/// Numbers of others are passed over, and what an uplink has stays with it, whatever is put before it.
pub fn numbers(world: &World) {
    let server = &world.server;
    server.mount(
        "set -e; mkdir tmp/etc; cp -a etc/. tmp/etc/; mount --bind tmp/etc etc
        if [ -d usr/share/iproute2 ]; then
            mkdir tmp/share; cp -r usr/share/iproute2/. tmp/share/; mount --bind tmp/share usr/share/iproute2
        fi
        mkdir -p etc/iproute2/rt_tables.d; echo '1 first' >etc/iproute2/rt_tables.d/one.conf
        if [ -d usr/share/iproute2 ]; then
            mkdir -p usr/share/iproute2/rt_tables.d; echo '2 second' >usr/share/iproute2/rt_tables.d/two.conf
        else
            echo '2 second' >>etc/iproute2/rt_tables
        fi",
    );
    server.ok("ip link set lo up; ip rule add from 203.0.113.40 lookup 3 priority 100
        ip route add 203.0.113.50/32 dev lo table 4");
    let lan = "auto lo\niface lo inet loopback\nauto eth2\niface eth2 inet static\n    address 203.0.113.1/26
    up ip rule add from 203.0.113.9 table 5 priority 120\n    down ip rule del from 203.0.113.9 table 5 priority 120\n\n";
    let a = "auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n";
    let b =
        "auto eth1\niface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n";
    let other =
        "auto eth7\niface eth7 inet static\n    address 203.0.113.70/26\n    gateway 203.0.113.65\n    metric 30\n";
    let have = |what: &str, wanted: &[&str]| {
        let plan = server.ok("symroute plan");
        for line in wanted {
            let (uplink, numbers) = line.split_once(": ").expect("a colon");
            let found = plan.lines().find(|line| line.starts_with(uplink)).unwrap_or_default();
            assert!(found.contains(numbers), "{what}: {uplink} {numbers}\n{plan}");
        }
    };
    let (first, second) = ("eth0 inet: table 6 priority 110 ", "eth1 inet: table 7 priority 130 ");

    // With hooks, the kernel remembers.
    world.configure(&format!("{lan}{a}{b}"));
    server.ok("ifup -a; symroute apply");
    have("taken", &[first, second]);
    for (what, file) in [
        ("exchanged", format!("{lan}{b}{a}")),
        ("one before", format!("{lan}{other}{a}{b}")),
        ("one between", format!("{lan}{b}{other}{a}")),
    ] {
        world.configure(&file);
        have(what, &[first, second]);
        let applied = server.ok("symroute apply");
        let new = "eth7 (IPv4) is inactive: no interface has this name.";
        let expected = if file.contains("eth7") { new } else { "everything is in place" };
        assert!(applied.contains(expected), "{what}: {applied}");
        assert!(server.ok("ip rule").contains("131:\tfrom 198.51.100.10 lookup 7 proto 97"), "{what}");
    }
    have("the new one", &["eth7 inet: table 8 priority 140 "]);
    server.ok("symroute flush");

    // With lines, the file does.
    world.configure(&format!("{lan}{a}{b}"));
    server.ok("symroute-gen --write");
    let written = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
    let at = |name: &str| written.find(&format!("auto {name}\n")).expect("a stanza");
    let (written_a, written_b) = (&written[at("eth0")..at("eth1")], &written[at("eth1")..]);
    for (what, file) in [
        ("written, exchanged", format!("{lan}{written_b}{written_a}")),
        ("written, one before", format!("{lan}{other}{written_a}{written_b}")),
        ("written, one less and back", format!("{lan}{written_b}{other}")),
    ] {
        world.configure(&file);
        server.ok("symroute-gen --write");
        have(what, &[second]);
        let now = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
        assert!(now.contains("ip rule add from 198.51.100.10 table 7 priority 131 protocol 97"), "{what}\n{now}");
        assert!(what.ends_with("back") || now.contains("from 192.0.2.10 table 6 priority 111 protocol 97"), "{what}");
    }

    // Whoever asks for what another asks for is told of both.
    let wish = |text: &str, wish: &str| format!("{text}    {wish}\n");
    world.configure(&format!("{lan}{}{}", wish(a, "symroute-table 9"), wish(b, "symroute-table 9")));
    let clash = server.run("symroute plan");
    assert_eq!(clash.code(), 2);
    assert!(
        clash.text().contains("error: table 9 is asked for by two uplinks: eth0 inet and eth1 inet\n"),
        "{}",
        clash.text()
    );
    world.configure(&format!("{lan}{}{}", wish(a, "symroute-priority 500"), wish(b, "symroute-priority 502")));
    let clash = server.run("symroute-gen --write");
    assert_eq!(clash.code(), 2);
    let both = "error: priority 502 (the rules reach to 505) is asked for by two uplinks: eth0 inet and eth1 inet\n";
    assert!(clash.text().contains(both), "{}", clash.text());
}
