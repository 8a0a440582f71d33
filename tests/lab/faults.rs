//! An error of one uplink is reported. The other uplinks are managed as before.

use crate::WITH_METRIC;
use crate::check::check;
use crate::judge::*;
use crate::world::{A4, A6, B4, B6, World};

/// No table has this name.
const FAULT: &str = "    symroute-table guest\n";

fn up_by_hooks(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    world.settle();
}

fn assert_reached(world: &World, addresses: &[&str]) {
    world.settle();
    for to in addresses {
        assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
    }
}

fn rules(world: &World) -> String {
    world.server.ok("ip rule; ip -6 rule")
}

/// The error is in a stanza that is not started, then in the stanza of an active uplink.
pub fn an_error_affects_only_its_uplink(world: &World) {
    let server = &world.server;
    world.install_hooks();
    let unused = format!("iface eth7 inet static\n    address 203.0.113.130/26\n    gateway 203.0.113.129\n{FAULT}");
    world.configure(&format!("{WITH_METRIC}\n{unused}"));
    let up = server.run("ifup -a");
    assert!(up.succeeded() && !up.text().contains("symroute"), "{}", up.text());
    assert_reached(world, &[A4, A6, B4, B6]);
    // Nothing starts it: its missing metric and its unknown table are warnings.
    let report = check(world);
    let found = report["findings"].as_array().expect("a list").iter();
    let found: Vec<String> = found.map(|finding| format!("{}: {}", finding["severity"], finding["id"])).collect();
    assert!(!found.is_empty() && found.iter().all(|finding| finding.starts_with("\"warning\"")), "{found:?}");
    server.ok("ifdown eth1");
    assert!(rules(world).contains(A4) && !rules(world).contains(B4), "{}", rules(world));
    server.ok("ifup eth1");
    assert_reached(world, &[A4, A6, B4, B6]);

    // The entries of an uplink in the kernel are kept when its stanza gets an error.
    let before = settled_state(world);
    let faulty = WITH_METRIC.replace("metric 20\n", &format!("metric 20\n{FAULT}"));
    assert_ne!(faulty, WITH_METRIC);
    world.configure(&faulty);
    let apply = server.run("symroute apply");
    assert_eq!(apply.code(), 0, "{}", apply.text());
    for text in ["unknown table 'guest': no policy for eth1 (IPv4)", "eth1 (IPv4) is inactive: its stanza has an error"]
    {
        assert!(apply.text().contains(text), "{}", apply.text());
    }
    assert!(settled_state(world) == before, "{}", state(world));
    assert_reached(world, &[A4, A6, B4, B6]);
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1, "{}", status.text());
    let is_faulty = |line: &str| line.starts_with("eth1 IPv4") && line.ends_with("  error in stanza");
    assert!(status.stdout().lines().any(is_faulty), "{}", status.text());
    let check = server.run("symroute check");
    assert!(check.code() == 1 && check.stdout().contains("stanza-error"), "{}", check.text());
    let hook =
        |interface: &str, mode: &str| server.run(&format!("IFACE={interface} MODE={mode} ADDRFAM=inet symroute hook"));
    assert_eq!((hook("eth0", "start").code(), hook("eth0", "start").text()), (0, String::new()));
    let own_hook = hook("eth1", "start");
    assert_eq!((own_hook.code(), own_hook.text().lines().count()), (1, 1), "{}", own_hook.text());
    assert!(own_hook.text().starts_with("symroute: eth1: /etc/network/interfaces:"), "{}", own_hook.text());
    assert!(settled_state(world) == before, "{}", state(world));

    // They are removed with their interface.
    server.ok("ifdown eth1");
    assert!(rules(world).contains(A4) && !rules(world).contains(B4), "{}", rules(world));
    assert_eq!(server.ok("ip route show table 2"), "");
    assert_reached(world, &[A4]);
    server.run("ifup eth1");
    assert_reached(world, &[A4, A6, B6]);
    assert!(!rules(world).contains(B4), "{}", rules(world));
    world.configure(WITH_METRIC);
    server.ok("symroute apply");
    assert_symmetric(world);
}

/// Entries are removed with their interface, even if the files are invalid.
pub fn down_works_with_invalid_files(world: &World) {
    let server = &world.server;
    up_by_hooks(world);
    let before = settled_state(world);
    world.configure("iface eth0 inet static\n\"\nmapping\n  foo\nauto\nsource /\niface eth1 nonsense static\n");
    assert_eq!(server.run("symroute apply --dialect ifupdown").code(), 2);
    assert_eq!(server.run("symroute up eth1 --dialect ifupdown").code(), 1);
    assert!(settled_state(world) == before, "{}", state(world));
    let dry = server.ok("symroute down eth1 --dialect ifupdown --dry-run");
    assert!(dry.contains(B4) && !dry.contains(A4) && settled_state(world) == before, "{dry}");
    server.ok("symroute down eth1 --dialect ifupdown");
    let remaining = rules(world);
    assert!(
        remaining.contains(A4) && remaining.contains(A6) && !remaining.contains(B4) && !remaining.contains("eth1"),
        "{remaining}"
    );
    assert_eq!(server.ok("ip route show table 2; ip -6 route show table 2"), "");
    assert_eq!(in_group(world), ["eth0".to_string()].into());
    assert_reached(world, &[A4, A6]);
    world.configure("nonsense\n");
    let hook = server.run("IFACE=eth0 MODE=stop symroute hook --dialect ifupdown");
    assert_eq!(hook.code(), 0, "{}", hook.text());
    assert_nothing_left(world);
}

/// A foreign route in the table of one uplink, and a gateway that the kernel rejects.
pub fn a_rejected_route_affects_only_its_uplink(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&WITH_METRIC.replace("metric 20\n", "metric 20\n    symroute-table 7\n"));
    server.ok("ip link set eth1 up; ip route add 203.0.113.192/26 dev eth1 table 7");
    server.ok("ip route add default via 203.0.113.193 dev eth1 table 7");
    let foreign = server.ok("ip route show table 7");
    let up = server.run("ifup -a");
    assert!(up.succeeded() || world.suite.ends_with("ifupdown2"), "{}", up.text());
    assert!(up.text().contains("table 7 already has a foreign route to 0.0.0.0/0"), "{}", up.text());
    assert_reached(world, &[A4, A6, B6]);
    assert_eq!(server.ok("ip route show table 7"), foreign);
    let apply = server.run("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    assert!(
        apply.text().contains("\nsymroute: no policy for eth1 (IPv4): table 7 already has a foreign route"),
        "{}",
        apply.text()
    );
    assert!(apply.text().contains("eth1 (IPv4) is inactive"), "{}", apply.text());
    assert!(!rules(world).contains(B4), "{}", rules(world));
    server.ok("ip route flush table 7");
    server.ok("symroute apply");
    assert_reached(world, &[A4, A6, B4, B6]);

    // The kernel does not accept the server's own address on the LAN as a gateway.
    let working = settled_state(world);
    world.configure(&WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 203.0.113.1\n"));
    server.ok("ip rule del priority 100");
    let apply = server.run("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    assert!(apply.text().contains("no policy for eth1 (IPv4): the kernel rejected 'ip route"), "{}", apply.text());
    assert!(settled_state(world) == working, "eth0 is repaired, eth1 is unchanged: {}", state(world));
}

/// If the kernel removes another rule instead, symroute adds that rule again.
pub fn apply_removes_only_its_own_rules(world: &World) {
    let server = &world.server;
    up_by_hooks(world);
    let expected = rules(world);
    // Older rules with fewer selectors before and after the new ones. A killed change of the layout leaves them.
    for (before, added) in [
        ("", "from 192.0.2.10 table main priority 100 protocol 97"),
        ("ip rule del priority 100; ", "from 192.0.2.10 table main priority 100 protocol 97"),
        ("ip rule del priority 101; ", "from 192.0.2.10 table 1 priority 101 suppress_prefixlength 0 protocol 97"),
        ("ip rule del priority 113; ", "table 2 priority 113 protocol 97"),
        ("", "table 2 priority 113 protocol 97"),
        ("", "from 192.0.2.10 fwmark 0x5/0xff table 1 priority 101 protocol 97"),
        ("", "not from 192.0.2.10 table 1 priority 102 protocol 97"),
        ("", "from 192.0.2.10 to 203.0.113.9 ipproto 6 dport 22 table 1 priority 101 protocol 97"),
        ("", "iif eth2 blackhole priority 90 protocol 97"),
    ] {
        server.ok(&format!("{before}ip rule add {added}"));
        let apply = server.run("symroute apply");
        assert_eq!(apply.code(), 0, "{before}{added}: {}", apply.text());
        assert_eq!(rules(world), expected, "{before}{added}");
    }
    let foreign = "from 192.0.2.10 fwmark 0x5 table 1 priority 101";
    server.ok(&format!("ip rule add {foreign}; ip rule add {foreign} protocol 97; symroute flush"));
    assert!(rules(world).contains("fwmark 0x5") && !rules(world).contains("proto 97"), "{}", rules(world));
}

/// Two `ifup` run at once, each for a stanza that a mapping or a pattern selects. Neither removes the rules of the
/// other.
pub fn parallel_ifups_install_all_rules(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(
        "auto lo\niface lo inet loopback\nauto eth0 /eth1=wan\nmapping eth0\n    script /etc/network/choose\n\
         iface home inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n\
         iface wan inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 10\n",
    );
    server.write("/etc/network/choose", b"#!/bin/sh\necho home\n");
    server.ok("chmod 755 /etc/network/choose");
    // Both uplinks have their rules after each run. Otherwise the script prints what is installed.
    let runs = server.run(
        "for n in $(seq 1 100); do
            ifup eth0 & ifup eth1=wan & wait
            set -- $(ip rule | sed -n 's/^\\(1[01][0-9]:\\).*/\\1/p')
            [ \"$*\" = '100: 101: 103: 110: 111: 113:' ] || { echo \"run $n:\"; ip rule; cat /run/network/ifstate; }
            ifdown eth0 & ifdown eth1 & wait
            ! ip rule | grep -q 'proto 97' || { echo \"run $n keeps:\"; ip rule; symroute apply; }
        done",
    );
    assert_eq!(runs.text(), "");
}

/// Thousands of foreign rules before symroute's, some of which are added and deleted all the time. A dump of rules then
/// has some entries twice, and others are missing.
pub fn apply_works_while_foreign_rules_change(world: &World) {
    let server = &world.server;
    up_by_hooks(world);
    let rule = |verb: &str, n: usize, priority: usize| {
        format!("rule {verb} from 203.0.113.{} table 500 priority {priority}\n", n % 250)
    };
    let many: String = (0..1000).map(|n| rule("add", n, 20 + n / 250)).collect();
    let flood: String = ["add", "del"].iter().flat_map(|verb| (0..200).map(|n| rule(verb, n, 10))).collect();
    server.write("/tmp/many", many.as_bytes());
    server.write("/tmp/flood", flood.as_bytes());
    server.ok("ip -batch /tmp/many");
    let floods = server.in_background("while :; do ip -batch /tmp/flood; done");
    let applies = server.run("for n in $(seq 1 150); do symroute apply; done | sort | uniq -c");
    let repairs =
        server.run("for n in $(seq 1 20); do ip rule del priority 111; symroute apply; done | sort | uniq -c");
    drop(floods);
    assert_eq!(applies.text().trim(), "150 Nothing to do: everything is installed.");
    assert_eq!(repairs.text().trim(), "20 1 change made; everything is installed.");
}

/// symroute-gen cannot replace a file that is a mount point. The message names the fix.
pub fn write_rejects_a_mount_point(world: &World) {
    world.configure(WITH_METRIC);
    world.server.mount("cp etc/network/interfaces tmp/mounted; mount --bind tmp/mounted etc/network/interfaces");
    let write = world.server.run("symroute-gen --write");
    assert_eq!(write.code(), 2, "{}", write.text());
    assert!(
        write.text().contains("/etc/network/interfaces: it is a mount point; unmount it first"),
        "{}",
        write.text()
    );
    assert_eq!(world.server.read("/etc/network/interfaces"), WITH_METRIC.as_bytes());
    assert_eq!(world.server.ok("ls -A /etc/network | grep symroute-gen || true"), "");
    world.server.mount("umount etc/network/interfaces");
    world.server.ok("symroute-gen --write");
    world.server.ok("symroute-gen --check");
}

/// Names that are not UTF-8, outputs that cannot be written, FIFOs instead of files: each step succeeds or is reported.
pub fn apply_works_with_full_outputs_and_fifos(world: &World) {
    let server = &world.server;
    up_by_hooks(world);
    let before = settled_state(world);
    for hook in [
        "IFACE=\"$(printf 'e\\377')\" MODE=start ADDRFAM=inet symroute hook",
        "IFACE=eth2 LOGICAL=\"$(printf 'e\\377')\" MODE=stop ADDRFAM=inet symroute hook",
    ] {
        let ran = server.run(hook);
        assert_eq!((ran.code(), ran.text()), (0, String::new()), "{hook}");
        assert!(settled_state(world) == before, "{hook}: {}", state(world));
    }
    for (damage, repair) in [
        ("ip rule del priority 111", "symroute apply >/dev/full"),
        ("ip rule del priority 111", "IFACE=eth0 MODE=start VERBOSITY=1 symroute hook >/dev/full"),
        ("ip rule del priority 111", "symroute up eth1 --verbose >/dev/full"),
        ("ip rule del priority 111", "(ulimit -n 5; symroute apply)"),
    ] {
        server.ok(damage);
        let ran = server.run(repair);
        assert_eq!(ran.code(), 0, "{repair}: {}", ran.text());
        assert!(settled_state(world) == before, "{repair}: {}", state(world));
    }
    assert_eq!(server.run("symroute plan >/dev/full").code(), 2, "the output is the result");
    // Opening a FIFO blocks.
    server.ok("rm /run/symroute.lock; mkfifo /run/symroute.lock");
    let lock = server.run("timeout 20 symroute apply");
    assert_eq!(lock.code(), 2, "{}", lock.text());
    assert!(lock.text().contains("/run/symroute.lock"), "{}", lock.text());
    server.ok("rm /run/symroute.lock; rm -f /run/network/ifstate.eth1; mkdir -p /run/network; mkfifo /run/network/ifstate.eth1");
    assert_eq!(server.run("timeout 20 symroute apply").code(), 0);
    server.ok("rm /run/network/ifstate.eth1");
    // Another root has no kernel of its own.
    server.ok(
        "mkdir -p /tmp/root/etc/network; cp /etc/network/interfaces /tmp/root/etc/network; ip rule del priority 111",
    );
    let damaged = settled_state(world);
    for command in ["apply", "flush", "up eth1", "down eth1", "status", "check", "explain --to 203.0.113.190"] {
        let ran = server.run(&format!("symroute --root /tmp/root {command}"));
        assert_eq!(ran.code(), if command.contains("eth1") { 1 } else { 2 }, "{command}: {}", ran.text());
        assert!(ran.text().contains("works on the running system; --root is supported"), "{}", ran.text());
        assert!(settled_state(world) == damaged, "{command}: {}", state(world));
    }
    assert_eq!(server.run("symroute --root /tmp/root plan").code(), 0);
}
