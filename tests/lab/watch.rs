//! `symroute watch` repairs changes between two hooks.

use std::thread::sleep;
use std::time::Duration;

use crate::WITH_METRIC;
use crate::check::check;
use crate::judge::{assert_nothing_left, assert_symmetric, state};
use crate::leases::install_client_hook;
use crate::providers::assert_lookups;
use crate::random::{Random, seed};
use crate::uplinks::{INSTALLED, LEASED, assert_reached, serve};
use crate::world::{A4, A6, B4, B6, Holder, PUBLIC, World};

/// A server with hooks and a running watch.
fn start(world: &World) -> Holder {
    world.install_hooks();
    // Static IPv6 addresses are kept when an interface goes down, as IPv4 addresses are.
    world.server.ok("for file in /proc/sys/net/ipv6/conf/*/keep_addr_on_down; do echo 1 >$file; done");
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    world.settle();
    restart(world)
}

fn restart(world: &World) -> Holder {
    let watch = world.server.in_background("exec symroute watch 2>>/run/watch.log");
    // It writes the record before it subscribes to events, and applies once before it waits.
    world
        .server
        .ok("for n in $(seq 100); do grep -q since /run/symroute-watch 2>/dev/null && exit; sleep 0.05; done; exit 1");
    wait_until_in_sync(world);
    watch
}

/// The process id of watch.
fn process(world: &World) -> String {
    let status: serde_json::Value =
        serde_json::from_str(&world.server.run("symroute status --json").stdout()).expect("JSON");
    status["watch"]["pid"].to_string()
}

fn log(world: &World) -> String {
    world.server.ok("cat /run/watch.log")
}

/// Waits at most ten seconds. Watch must repair the server: 'apply' then does nothing.
fn wait_until_in_sync(world: &World) {
    let ran = world.server.run("for n in $(seq 200); do symroute --quiet status && exit; sleep 0.05; done; exit 1");
    assert!(
        ran.succeeded(),
        "not repaired: {}\n{}\n{}",
        world.server.run("symroute status").text(),
        log(world),
        state(world)
    );
}

fn wait_for_line(world: &World, text: &str) {
    let wait = format!("for n in $(seq 100); do grep -qF '{text}' /run/watch.log && exit; sleep 0.1; done; exit 1");
    assert!(world.server.run(&wait).succeeded(), "{text}: {}", log(world));
}

/// Waits for the rules of the file in effect. `status` does not know this file.
fn wait_for_rules(world: &World) {
    let ran =
        world.server.run(&format!("for n in $(seq 200); do ip rule | grep -q {B4} && exit; sleep 0.05; done; exit 1"));
    assert!(ran.succeeded(), "not repaired: {}", log(world));
}

/// After `script`, watch repairs the kernel and logs `line`.
fn repairs(world: &World, script: &str, line: &str) {
    world.server.ok(": >/run/watch.log");
    world.server.ok(script);
    let logged = format!("for n in $(seq 200); do grep -qF '{line}' /run/watch.log && exit; sleep 0.05; done; exit 1");
    assert!(world.server.run(&logged).succeeded(), "after '{script}' not logged: {line}\n{}", log(world));
    wait_until_in_sync(world);
    assert_lookups(world);
}

pub fn watch_repairs(world: &World) {
    let server = &world.server;
    let mut watch = start(world);
    assert_symmetric(world);
    let before = state(world);
    let family = "symroute: watch: eth1 (IPv4): added";
    repairs(world, "ip rule flush protocol 97", family);
    assert!(state(world) == before, "{}{}", state(world), log(world));
    let line = "eth1 (IPv4): added 3 rules (removed by another program)\n";
    assert!(log(world).contains(line), "{}", log(world));
    assert!(include_str!("../../docs/watch.md").contains(line), "docs/watch.md");
    repairs(world, "ip route flush dev eth1 proto 97 table all", family);
    repairs(world, "ip link set eth0 group 0", "symroute: watch: eth0: set interface group");
    repairs(world, "ip link set eth1 down", "symroute: watch: eth1 (IPv4): removed");
    repairs(world, "ip link set eth1 up", family);
    world.settle();
    wait_until_in_sync(world);
    assert_reached(world, &[A4, A6, B4, B6]);
    // No hook runs for this address, and for this network behind a customer of the provider.
    repairs(world, "ip addr add 198.51.100.11/24 dev eth1", family);
    assert_reached(world, &["198.51.100.11"]);
    repairs(world, "ip route add 203.0.113.192/28 via 198.51.100.20", "symroute: watch: eth1 (IPv4): added 1 route");
    repairs(world, "ip route del 203.0.113.192/28", "symroute: watch: eth1 (IPv4): removed 1 route");
    repairs(world, "ip addr del 198.51.100.11/24 dev eth1", "symroute: watch: eth1 (IPv4): removed");
    assert_eq!(server.ok("symroute apply"), INSTALLED);
    // 'flush' is the way back of a user who is locked out: it removes everything, and watch does not add it again.
    for _ in 0..5 {
        server.ok("symroute flush; sleep 0.3; ip addr add 198.51.100.11/24 dev eth1; sleep 0.3");
        let left = server.ok("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all");
        assert!(!left.contains("proto 97"), "{left}{}", log(world));
        server.ok("ip addr del 198.51.100.11/24 dev eth1; symroute apply");
        wait_until_in_sync(world);
    }
    // It installs nothing by itself where nothing is installed, not even after a restart.
    server.ok("symroute flush");
    for (before, reason) in [("true", "has removed all routes and rules"), ("rm /run/symroute.lock", "are installed")] {
        watch.stop();
        server.ok(before);
        watch = server.in_background("exec symroute watch 2>/run/watch.log");
        wait_for_line(world, &format!("{reason}; waiting for"));
        server.ok("ip addr add 198.51.100.11/24 dev eth1; sleep 0.3; ip addr del 198.51.100.11/24 dev eth1");
        assert!(!server.ok("ip rule; ip -6 rule").contains("proto 97"), "{}", log(world));
    }
    server.ok("symroute apply");
    wait_until_in_sync(world);
    repairs(world, "ip rule flush protocol 97", family);
    assert_reports_defer_to_watch(world);
    let status = server.ok("symroute status");
    assert!(
        status.contains("symroute watch has been running for ") && status.contains("Its last change, "),
        "{status}"
    );
    watch.stop();
    let status = server.ok("symroute status");
    assert!(status.ends_with("symroute watch is not running.\n"), "{status}");
}

/// While it is running, `check` does not suggest what it does by itself.
fn assert_reports_defer_to_watch(world: &World) {
    let process = process(world);
    world.server.ok(&format!("kill -STOP {process}; ip route flush table 2"));
    let report = check(world);
    let finding = report["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == "table-empty");
    assert_eq!(finding.expect("the finding")["fix"][0], "journalctl -u symroute -n 20");
    assert_eq!(report["watch"]["pid"].to_string(), process);
    world.server.ok(&format!("kill -CONT {process}"));
    wait_until_in_sync(world);
}

/// Hooks and watch at the same time: entries that an ifdown removed are not added again, and only ifup applies a new
/// file.
pub fn watch_beside_ifupdown(world: &World) {
    let server = &world.server;
    let watch = start(world);
    for _ in 0..3 {
        server.ok("ifdown eth1");
        wait_until_in_sync(world);
        let rules = server.ok("ip rule; ip -6 rule");
        assert!(!rules.contains(B4) && !rules.contains("2001:db8:b:"), "{rules}\n{}", log(world));
        server.ok("ifup eth1");
        wait_until_in_sync(world);
    }
    assert_flush_lasts_until_a_reload(world);
    // An edited file has no effect until an ifup.
    let edited = WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 198.51.100.1\n    symroute-table 77\n");
    server.ok("sleep 0.5");
    world.configure(&edited);
    wait_for_line(world, "the interfaces files have changed");
    server.ok("ip rule flush protocol 97; sleep 0.2");
    wait_for_rules(world);
    assert!(!server.ok("ip rule").contains("lookup 77"), "{}", log(world));
    server.ok("symroute apply");
    assert!(server.ok("ip rule").contains("lookup 77"));
    assert_failures_are_logged_until_they_end(world, &edited);
    // ifupdown-ng and ifupdown2 never reject a whole file.
    if !world.suite.contains('-') {
        assert_errors_change_nothing(world);
    }
    world.configure(&edited);
    watch.stop();
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// An `ifup` that has just ended does not end what a flush begins; a reload after the flush does, however soon it comes.
fn assert_flush_lasts_until_a_reload(world: &World) {
    let server = &world.server;
    let process = process(world);
    for _ in 0..3 {
        server.ok("ifdown eth1; ifup eth1; symroute flush; sleep 0.5");
        assert!(!server.ok("ip rule; ip -6 rule").contains("proto 97"), "{}", log(world));
        server.ok(&format!("symroute apply; symroute flush; kill -HUP {process}"));
        wait_until_in_sync(world);
    }
    // Both happen while watch waits for the lock. 'flush' leaves this text in the lock file.
    let ended = if world.suite == "bookworm-ng" { "/run/ifstate.x" } else { "/run/network/ifstate.x" };
    let ended = if world.suite == "bookworm-ifupdown2" { "/run/network/.lock" } else { ended };
    let flush = "ip rule flush protocol 97; ip -6 rule flush protocol 97; printf 'flushed\\n' >/run/symroute.lock";
    server.ok(&format!("flock /run/symroute.lock sh -c \"sleep 0.3; : >>{ended}; {flush}\"; rm -f {ended}; sleep 0.5"));
    assert!(!server.ok("ip rule; ip -6 rule").contains("proto 97"), "{}", log(world));
    server.ok(&format!("kill -HUP {process}"));
    wait_until_in_sync(world);
}

/// A failure is logged once, and its end too.
fn assert_failures_are_logged_until_they_end(world: &World, correct: &str) {
    let server = &world.server;
    let failure = ": unknown table 'none-such': no policy for eth1 (IPv4)";
    let lines =
        || -> Vec<_> { log(world).lines().filter(|line| line.contains("none-such")).map(String::from).collect() };
    world.configure(&correct.replace("symroute-table 77", "symroute-table none-such"));
    let reload = format!("kill -HUP {}", process(world));
    for _ in 0..2 {
        server.ok(&reload);
        wait_for_line(world, "unknown table");
        server.ok("ip addr add 198.51.100.11/24 dev eth1; sleep 0.3; ip addr del 198.51.100.11/24 dev eth1; sleep 0.3");
    }
    assert!(lines().len() == 1 && lines()[0].contains(failure), "{}", log(world));
    world.configure(correct);
    server.ok(&reload);
    wait_for_line(world, "solved: ");
    let solved = lines()[0].replace("symroute: watch: ", "symroute: watch: solved: ");
    assert_eq!(lines()[1..], [solved], "{}", log(world));
}

/// The files in effect still apply if the new ones have errors.
fn assert_errors_change_nothing(world: &World) {
    let server = &world.server;
    let before = state(world);
    let process = process(world);
    server.write("/etc/network/interfaces", b"iface eth0 inet\n");
    server.ok(&format!("kill -HUP {process}"));
    server.ok("ip rule flush protocol 97; sleep 0.2");
    wait_for_rules(world);
    assert!(state(world) == before, "{}{}", state(world), log(world));
    assert!(log(world).contains("interfaces:1:"), "{}", log(world));
}

/// Only one watch runs, and a restart loses no event. It reports a program that removes its entries once, then pauses.
pub fn watch_does_not_fight(world: &World) {
    let server = &world.server;
    let watch = start(world);
    let second = server.run("symroute watch");
    assert_eq!(second.code(), 2);
    assert!(
        second.text().starts_with("symroute: watch: another symroute watch is running (process "),
        "{}",
        second.text()
    );
    // A program removes the rules as soon as they are installed.
    server.ok(": >/run/watch.log");
    let remover = server.in_background(
        "while :; do
             ip rule | grep -q 198.51.100.10 && { ip rule flush protocol 97; echo removed >>/run/removals; }; sleep 0.02
         done",
    );
    let removals = || server.ok("cat /run/removals").lines().count();
    let warned = "for n in $(seq 300); do grep -q 'again and again' /run/watch.log && exit; sleep 0.1; done; exit 1";
    assert!(server.run(warned).succeeded(), "{}", log(world));
    let (before, lines) = (removals(), log(world));
    sleep(Duration::from_secs(6));
    // After 1, 2 and 4 seconds.
    assert!(removals() - before <= 3, "{before}, then {}\n{}", removals(), log(world));
    drop(remover);
    sleep(Duration::from_secs(5));
    wait_until_in_sync(world);
    assert_eq!(log(world), lines, "nothing more is said");
    // After watch stops, the rules are kept. The next start repairs later changes.
    watch.stop();
    server.ok("symroute status; ip rule flush protocol 97; ip link set eth1 down; ip link set eth1 up");
    assert_eq!(server.run("symroute status").code(), 1);
    let watch = restart(world);
    world.settle();
    assert_reached(world, &PUBLIC);
    watch.stop();
}

/// Another program removes the rules whenever it starts. Its name is in the log.
pub fn watch_repairs_what_networkd_removes(world: &World) {
    let server = &world.server;
    let watch = start(world);
    // With a writable /sys it waits for udev.
    server.mount("mount -o remount,ro,bind sys");
    server.ok("mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/network
        chown -R systemd-network: /run/systemd/netif
        ip link add ve0 type veth peer name ve1; ip link set ve1 up");
    server.write(
        "/run/systemd/network/ve0.network",
        b"[Match]\nName=ve0\n[Network]\nAddress=203.0.113.65/28\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n",
    );
    for _ in 0..3 {
        server.ok("ip addr flush dev ve0; : >/run/watch.log");
        let networkd = server.in_background("exec /usr/lib/systemd/systemd-networkd");
        wait_for_line(world, "eth1 (IPv4): added");
        wait_until_in_sync(world);
        assert!(log(world).contains("probably systemd-network)"), "{}", log(world));
        drop(networkd);
    }
    assert_reached(world, &PUBLIC);
    watch.stop();
}

/// dhclient adds no second default route without a metric, so the router of its lease is in the uplink's table alone. The
/// kernel empties the table when the interface goes down, and dhclient does not notice.
pub fn a_lease_watch_remembers_the_router(world: &World) {
    let server = &world.server;
    world.install_hooks();
    install_client_hook(world);
    world.configure(&format!(
        "auto lo eth0 eth1\niface lo inet loopback\n\
         iface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\niface eth1 inet dhcp\n"
    ));
    let _dhcp = serve(&world.isp_b, "198.51.100");
    server.ok("ifup -a");
    let watch = restart(world);
    assert_reached(world, &[A4, LEASED]);
    for _ in 0..3 {
        repairs(world, "ip link set eth1 down", "symroute: watch: eth1 (IPv4): removed");
        repairs(world, "ip link set eth1 up", "symroute: watch: eth1 (IPv4): added");
        assert_reached(world, &[A4, LEASED]);
    }
    server.ok("ifdown eth1");
    wait_until_in_sync(world);
    watch.stop();
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// More events than the kernel keeps for a process that does not read them: it reads everything again.
pub fn watch_survives_lost_events(world: &World) {
    let server = &world.server;
    let watch = start(world);
    let process = process(world);
    let routes: String = (0..20_000)
        .map(|n| format!("route add 10.{}.{}.0/24 dev eth2 table 500\n", n / 256, n % 256))
        .chain(["route flush table 500\n".to_string()])
        .collect();
    server.write("/tmp/routes", routes.as_bytes());
    server.ok(&format!("kill -STOP {process}; ip -batch /tmp/routes; ip rule flush protocol 97; ip route flush dev eth1 proto 97 table all"));
    assert_eq!(server.run("symroute status").code(), 1);
    server.ok(&format!("kill -CONT {process}"));
    wait_until_in_sync(world);
    assert_lookups(world);
    watch.stop();
}

/// Random events for some seconds. The end is as the files say, and the process has not grown.
pub fn watch_survives_random_events(world: &World) {
    let server = &world.server;
    let watch = start(world);
    let process = process(world);
    let memory = || -> u64 {
        let line = server.ok(&format!("grep RssAnon /proc/{process}/status"));
        line.split_whitespace().nth(1).expect("a size").parse().expect("kB")
    };
    let seed = seed();
    println!("SYMROUTE_SEED={seed}");
    let mut random = Random::new(seed);
    // What removes entries of symroute comes less often than what makes watch pause.
    let removals = ["ip rule flush protocol 97", "ip route flush table all proto 97", "ip -6 rule flush protocol 97"];
    let events = [
        "ip link set eth1 down; ip link set eth1 up",
        "ip link set eth0 down; sleep 0.1; ip link set eth0 up",
        "ip addr add 198.51.100.77/24 dev eth1",
        "ip addr del 198.51.100.77/24 dev eth1",
        "ip -6 addr add 2001:db8:b::77/64 dev eth1 nodad",
        "ip addr add 203.0.113.1/26 dev eth1; ip addr del 203.0.113.1/26 dev eth1",
        "ip route add 203.0.113.192/28 via 198.51.100.20",
        "ip route del 203.0.113.192/28",
        "ip link add ve0 type veth peer name ve1; ip link set ve0 up; ip link set ve1 up",
        "ip link del ve0",
        "ip rule add from 203.0.113.9 lookup 9 priority 30000; ip rule del priority 30000",
        "ip link set eth1 group 0",
        "symroute apply",
        "IFACE=eth1 LOGICAL=eth1 MODE=start PHASE=post-up ADDRFAM=inet METHOD=static symroute hook",
        "ifdown eth1; ifup eth1",
        "sleep 0.2",
    ];
    let round = |random: &mut Random, count: usize| {
        for n in 0..count {
            let event = if n % 20 == 19 { random.one(&removals) } else { random.one(&events) };
            server.run(&format!("exec >/dev/null 2>&1; {event}"));
        }
        server.ok("ip link set eth0 up; ip link set eth1 up");
        wait_until_in_sync(world);
        assert_lookups(world);
    };
    round(&mut random, 20);
    let before = memory();
    round(&mut random, 60);
    let after = memory();
    assert!(after <= before + 512, "{before} kB before, {after} kB after, SYMROUTE_SEED={seed}");
    watch.stop();
    server.ok("symroute status");
}
