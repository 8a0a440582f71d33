//! What goes wrong: bad input, refusals, kills, races, damage, and what happens to a server that is up.

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, settled_state, state};
use crate::world::{A4, A6, B4, B6, World};
use crate::{PLAIN, WITH_METRIC};

/// Each part of the plan is there for somebody: without it that pair is cut off, `status` says so, and
/// `apply` brings it back.
pub fn what_is_taken_away_is_missed_and_fixed(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    let cases: [(&str, &dyn Fn() -> bool); 5] = [
        ("ip link set dev eth1 group 0", &|| world.neighbour_b.pings(None, A4)),
        ("ip link set dev eth0 group 0", &|| world.neighbour_a.talks(None, B6)),
        ("ip route flush table 2", &|| world.client.pings(None, B4)),
        ("ip rule del priority 110", &|| world.lan.pings(None, B4)),
        ("ip -6 rule del priority 111", &|| world.client.talks(None, B6)),
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

pub fn bad_input_changes_nothing(world: &World) {
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
    // A fault that leaves one uplink: it is said, and the only uplink's 'ifup' does not fail for it.
    world.configure(
        "auto eth0 eth1\niface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n\
         iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    symroute-table main\n",
    );
    let hook = world.server.run("IFACE=eth0 MODE=start PHASE=post-up ADDRFAM=inet symroute hook");
    assert_eq!(hook.code(), 0);
    assert!(hook.text().starts_with("symroute: eth0: /etc/network/interfaces:8: "), "{}", hook.text());
}

/// Addresses and links as after `ifup -a`, without ifupdown.
fn up_by_hand(world: &World) {
    world.server.ok("set -e; for n in 0 1 2; do ip link set eth$n up; done
        ip addr add 192.0.2.10/24 dev eth0; ip addr add 198.51.100.10/24 dev eth1; ip addr add 203.0.113.1/26 dev eth2
        ip addr add 2001:db8:a::10/64 dev eth0 nodad; ip addr add 2001:db8:b::10/64 dev eth1 nodad
        ip route add default via 192.0.2.1 dev eth0; ip -6 route add default via 2001:db8:a::1 dev eth0");
}

/// The kernel takes the first routes and refuses a later one: nothing of the run may stay.
pub fn a_refused_change_is_taken_back(world: &World) {
    up_by_hand(world);
    // The server's own address on the LAN is no gateway to the kernel.
    world.configure(&WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 203.0.113.1\n"));
    let before = settled_state(world);
    let apply = world.server.run("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    let refused =
        "symroute: the kernel refused 'ip route add default via 203.0.113.1 dev eth1 onlink table 2 proto 97': EINVAL";
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

pub fn up_and_down_by_name(world: &World) {
    world.configure(WITH_METRIC);
    let early = world.server.run("symroute up eth1");
    assert_eq!(early.code(), 1);
    assert!(early.text().contains("'ifup eth1' brings it up"), "{}", early.text());
    up_by_hand(world);
    let dry = world.server.ok("symroute apply --dry-run");
    assert_eq!(dry.lines().count(), 24, "{dry}");
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

pub fn twenty_hooks_at_once(world: &World) {
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

pub fn without_privileges(world: &World) {
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

/// A killed run leaves the lock free and nothing that the next run does not bring in order.
pub fn killed_at_any_point(world: &World) {
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
pub fn beside_many_foreign_rules_and_routes(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    let rules = (1..=10_000)
        .map(|n| format!("rule add from 10.{}.{}.1 table 500 priority {}\n", n / 250, n % 250, 20_000 + n / 2));
    let routes = (1..=100_000)
        .map(|n| format!("route add 10.{}.{}.{} via 203.0.113.2 table 501\n", n / 65_536, n / 256 % 256, n % 256));
    world.server.write("/tmp/many", rules.chain(routes).collect::<String>().as_bytes());
    world.server.ok("ip -batch /tmp/many");
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
pub fn what_happens_to_a_running_server(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    let in_step = |what: &str, changed: bool| {
        let status = server.run("symroute status");
        assert_eq!(status.code(), i32::from(changed), "{what}: {}", status.text());
        server.ok("symroute apply");
        // What is not active is named.
        let (applied, status) = (server.ok("symroute apply"), server.ok("symroute status"));
        let is_active = !status.contains("is inactive");
        let nothing = "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n";
        if status.ends_with(nothing) {
            assert_eq!(applied, nothing, "{what}: {status}");
            return;
        }
        assert_eq!(applied == "Nothing to do: everything is in place.\n", is_active, "{what}: {applied}");
        assert!(is_active || applied.starts_with("Nothing to do for the active uplinks.\n"), "{what}: {applied}");
        assert_eq!(status.contains("Everything is in place."), is_active, "{what}: {status}");
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
    // Its addresses are there, and its own tables have its gateways: it is an uplink until it is flushed.
    in_step("its gateways are nowhere else", false);
    assert!(world.client.reaches(None, B4) && world.client.reaches(None, B6), "{}", state(world));
    server.ok("symroute flush");
    in_step("one uplink less", false);
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

/// In containers /proc/sys is often read-only: the route cache cannot be flushed, and nothing needs it to be.
pub fn read_only_proc(world: &World) {
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

/// While `ifdown` works on one interface the kernel still has its addresses; a hook of another one, or an
/// administrator's `apply`, does not bring its rules back.
pub fn beside_an_ifdown(world: &World) {
    let server = &world.server;
    world.install_hooks();
    // This line runs after the hook of if-down.d, before the addresses go.
    let slow = "metric 20\n    down touch /tmp/going; while [ ! -e /tmp/go ]; do sleep 0.05; done\n";
    world.configure(&WITH_METRIC.replacen("metric 20\n", slow, 1));
    server.ok("ifup -a");
    let rules = || server.ok("ip rule; ip -6 rule");
    assert!(rules().contains(B4));
    std::thread::scope(|scope| {
        let down = scope.spawn(|| server.ok("ifdown eth1"));
        server.ok("for n in $(seq 200); do [ ! -e /tmp/going ] || exit 0; sleep 0.05; done; exit 1");
        assert!(server.ok("ip addr").contains(B4), "the address is still there");
        for command in ["IFACE=eth0 MODE=start symroute hook", "symroute apply", "symroute up eth0"] {
            server.ok(command);
            assert!(!rules().contains(B4) && !rules().contains("eth1"), "{command}:\n{}", rules());
            assert!(rules().contains(A4), "{command}:\n{}", rules());
        }
        server.ok("symroute status; touch /tmp/go");
        down.join().expect("no panic");
    });
    assert!(!rules().contains(B4), "{}", rules());
    server.ok("ifup eth1");
    assert_kernel_is_plan(world);
}

/// What a mapping or a pattern chose is known while it is up: to `status` and `apply` as well, and to the hook
/// of the last one that goes.
pub fn chosen_at_run_time(world: &World) {
    let server = &world.server;
    let interfaces = "auto lo
iface lo inet loopback
auto eth0 /eth1=wan
mapping eth0
    script /etc/network/choose
iface home inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface wan inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    metric 10
";
    world.configure(interfaces);
    server.write("/etc/network/choose", b"#!/bin/sh\necho home\n");
    server.ok("chmod 755 /etc/network/choose");
    let written = server.run("symroute-gen --write");
    assert_eq!(written.code(), 0);
    assert_eq!(
        written.text(),
        "No uplinks found.

Nothing to write.
warning: a mapping decides which link 'home' is for: no lines are written for it
 --> /etc/network/interfaces:8:5
  |
8 |     gateway 192.0.2.1
  |     ^^^^^^^
  |
  = help: The hooks know it when it is up; give its default route a 'metric' of its own.
warning: 'wan' does not say which one link it is for: no lines are written for it
  --> /etc/network/interfaces:11:5
   |
11 |     gateway 198.51.100.1
   |     ^^^^^^^
   |
   = help: The hooks know it when it is up. Or name one link, as in 'auto eth0=wan'.
"
    );
    assert_eq!(server.read("/etc/network/interfaces"), interfaces.as_bytes());
    world.install_hooks();
    for _ in 0..2 {
        server.ok("ifup -a");
        for to in [A4, B4] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        assert_kernel_is_plan(world);
        server.ok("ip rule del priority 100");
        assert_eq!(server.run("symroute status").code(), 1);
        assert_eq!(server.ok("symroute apply"), "1 change made; everything is in place.\n");
        server.ok("symroute status");
        // One uplink is left, and needs no rules.
        server.ok("ifdown eth0");
        assert_nothing_left(world);
        server.ok("ifdown eth1; ifup eth1; ifup eth0=home");
        assert_kernel_is_plan(world);
        server.ok("ifdown eth1; ifdown eth0");
        assert_nothing_left(world);
    }
}

/// Not one packet is lost while tables and priorities change, to and fro and among the uplinks.
pub fn no_packet_is_lost_while_numbers_change(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    let with = |a: &str, b: &str| {
        let (first, second) = WITH_METRIC.split_once("    gateway 192.0.2.1\n").expect("a gateway");
        format!(
            "{first}    gateway 192.0.2.1\n    {a}\n{}",
            second.replacen("metric 20\n", &format!("metric 20\n    {b}\n"), 1)
        )
    };
    let numbers = [
        with("symroute-table 2", "symroute-table 1"),
        with("symroute-table 42", "symroute-table 43"),
        with("symroute-priority 110", "symroute-priority 100"),
        with("symroute-priority 1000", "symroute-priority 105"),
        WITH_METRIC.to_string(),
    ];
    let ways = [
        (&world.client, A4),
        (&world.client, B4),
        (&world.client, A6),
        (&world.client, B6),
        (&world.neighbour_a, B4),
        (&world.neighbour_b, A4),
        (&world.lan, B4),
    ];
    for (host, to) in ways {
        assert!(host.pings(None, to), "{to}");
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pings: Vec<_> = ways
            .iter()
            .map(|(host, to)| {
                let done = &done;
                scope.spawn(move || {
                    let mut lost = Vec::new();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let ran = host.outside(&format!("ping -q -n -c 250 -i 0.002 -W 2 {to}"));
                        if !ran.stdout().contains(" 0% packet loss") {
                            lost.push(format!("{to}: {}", ran.text()));
                        }
                    }
                    lost
                })
            })
            .collect();
        let mut changes = 0;
        for n in 0..20 {
            world.configure(&numbers[n % numbers.len()]);
            changes += usize::from(!server.ok("symroute apply").starts_with("Nothing"));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let lost: Vec<String> = pings.into_iter().flat_map(|ping| ping.join().expect("no panic")).collect();
        assert!(lost.is_empty(), "{}", lost.join("\n"));
        assert!(changes > 10, "only {changes} of 20 runs changed something");
    });
    assert_kernel_is_plan(world);
}

/// Cards that come late and in another order, and that are gone before `ifdown`.
pub fn cards_come_and_go(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(
        &WITH_METRIC.replace("auto lo eth0 eth1 eth2", "auto lo eth2\nallow-hotplug eth0\nallow-hotplug eth1"),
    );
    let reached = |addresses: &[&str]| {
        for to in addresses {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
    };
    let rules = || server.ok("ip rule; ip -6 rule");
    world.unplug("eth0");
    world.unplug("eth1");
    server.ok("ifup -a");
    assert_nothing_left(world);
    let gone = |name: &str, family: &str| {
        format!("{name} ({family}) is inactive: no interface has this name. 'ip link' shows the interfaces.\n")
    };
    let all = ["IPv4", "IPv6"]
        .map(|family| format!("0 of 2 {family} uplinks are active.\n{}{}", gone("eth0", family), gone("eth1", family)));
    let status = server.ok("symroute status");
    assert!(status.ends_with(&format!("\n\n{}", all.concat())), "{status}");
    assert!(status.contains("no interface  eth0 inet"), "{status}");
    assert_eq!(server.ok("symroute apply"), format!("Nothing to do for the active uplinks.\n{}", all.concat()));

    world.plug("eth1");
    server.ok("ifup eth1");
    reached(&[B4, B6]);
    let half = ["IPv4", "IPv6"].map(|family| format!("1 of 2 {family} uplinks is active.\n{}", gone("eth0", family)));
    assert!(server.ok("symroute status").ends_with(&format!("\n\n{}", half.concat())));
    world.plug("eth0");
    server.ok("ifup eth0");
    assert_kernel_is_plan(world);
    reached(&[A4, A6, B4, B6]);
    assert!(server.ok("symroute status").ends_with("\nEverything is in place.\n"));

    world.unplug("eth1");
    let status = server.run("symroute status");
    assert_eq!(status.code(), 1, "{}", status.text());
    assert!(status.stdout().contains("Made by symroute, but wanted by no uplink that is up:"), "{}", status.text());
    // ifupdown complains of the missing card; the hook of if-down.d has run before. ifupdown2 runs nothing then.
    server.run("ifdown eth1");
    if world.suite == "bookworm-ifupdown2" {
        assert_eq!(server.run("symroute status").code(), 1);
        server.ok("symroute apply");
    }
    assert!(!rules().contains(B4) && !rules().contains("eth1"), "{}", rules());
    server.ok("symroute status");
    reached(&[A4, A6]);
    world.plug("eth1");
    server.ok("ifup eth1");
    assert_kernel_is_plan(world);
    reached(&[B4, B6]);

    // Gone and back in between two looks: its rules are still there, and its routes are not.
    world.unplug("eth1");
    world.plug("eth1");
    assert_eq!(server.run("symroute status").code(), 1);
    server.run("ifdown eth1");
    server.ok("ifup eth1");
    assert_kernel_is_plan(world);
    reached(&[A4, A6, B4, B6]);
}

/// What an administrator sees at one glance: a healthy host, a half-broken one as the README shows it, an empty
/// one; colour for terminals only, and not for those who decline it.
pub fn status_at_a_glance(world: &World) {
    let server = &world.server;
    world.configure(
        "auto lo eth0 eth1
iface lo inet loopback
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    metric 20
",
    );
    assert_eq!(
        server.ok("symroute status"),
        "interface down  eth0 inet  192.0.2.10/24     via 192.0.2.1     table 1 priority 100  main's default route
interface down  eth1 inet  198.51.100.10/24  via 198.51.100.1  table 2 priority 110  backup default route, metric 20

0 of 2 IPv4 uplinks are active.
eth0 (IPv4) is inactive: interface is down. Start it with 'ifup eth0'.
eth1 (IPv4) is inactive: interface is down. Start it with 'ifup eth1'.
"
    );
    server.ok("ifup -a; symroute apply");
    let healthy = "ok  eth0 inet  192.0.2.10/24     via 192.0.2.1     table 1 priority 100  main's default route
ok  eth1 inet  198.51.100.10/24  via 198.51.100.1  table 2 priority 110  backup default route, metric 20

eth0 inet: table 1, layout layered
    in place  dev eth0 group 97
    in place  192.0.2.0/24 dev eth0 scope link
    in place  default via 192.0.2.1 dev eth0
    in place  100:\tfrom 192.0.2.10 lookup main suppress_prefixlength 1 suppress_ifgroup 97
    in place  101:\tfrom 192.0.2.10 lookup 1
    in place  103:\tfrom all oif eth0 lookup 1

eth1 inet: table 2, layout layered
    in place  dev eth1 group 97
    in place  198.51.100.0/24 dev eth1 scope link
    in place  default via 198.51.100.1 dev eth1
    in place  110:\tfrom 198.51.100.10 lookup main suppress_prefixlength 1 suppress_ifgroup 97
    in place  111:\tfrom 198.51.100.10 lookup 2
    in place  113:\tfrom all oif eth1 lookup 2

Everything is in place.
";
    assert_eq!(server.ok("symroute status"), healthy);

    server.ok("ip rule del priority 111; ip rule add from 203.0.113.0/26 lookup 2 priority 115");
    let broken = healthy
        .replacen("ok  eth0 inet  ", "ok         eth0 inet  ", 1)
        .replacen("ok  eth1 inet  ", "1 missing  eth1 inet  ", 1)
        .replacen("in place  111", "MISSING   111", 1)
        .replacen(
            "Everything is in place.",
            "Foreign entries in the same tables or priority range:
    not ours  115:\tfrom 203.0.113.0/26 lookup 2

Routing does not match the configuration. Preview: 'symroute apply --dry-run'. Fix: 'symroute apply'.",
            1,
        );
    let status = server.run("symroute status");
    assert_eq!((status.code(), status.text()), (1, broken.clone()));
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("# symroute status\n{broken}# symroute apply\n")), "README.md:\n{broken}");

    // Not every machine has terminals to give away: a chroot often lacks /dev/pts.
    world
        .server
        .mount("mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts; mount --bind dev/pts/ptmx dev/ptmx");
    let terminal = |variable: &str| server.run(&format!("{variable} script -qec 'symroute status' /dev/null")).stdout();
    let colored = terminal("");
    assert!(colored.starts_with("\u{1b}[32mok       \u{1b}[0m  eth0 inet"), "{colored:?}");
    assert!(colored.contains("\u{1b}[31m1 missing\u{1b}[0m  eth1 inet"), "{colored:?}");
    let plain = |colored: &str| colored.replace('\r', "");
    assert_eq!(plain(&terminal("NO_COLOR=1")), broken);
    assert!(terminal("NO_COLOR=").contains('\u{1b}'), "an empty NO_COLOR declines nothing");

    assert_eq!(server.ok("symroute apply"), "1 change made; everything is in place.\n");
    // Somebody takes an interface down behind ifupdown's back.
    server.ok("ip link set eth1 down");
    // ifupdown2 keeps no record, and its ifup brings up what is down.
    let restart = match world.suite {
        "bookworm-ifupdown2" => "Start it with 'ifup eth1'.",
        _ => "Restart it, which cuts its connections: setsid -w sh -c \"ifdown --force eth1; ifup eth1\"",
    };
    let inactive = format!("1 of 2 IPv4 uplinks is active.\neth1 (IPv4) is inactive: interface is down. {restart}\n");
    assert_eq!(server.ok("symroute apply"), format!("4 changes made.\n{inactive}"));
    let status = server.ok("symroute status");
    assert!(status.ends_with(&format!("\n\n{inactive}")) && !status.contains("Everything is in place"), "{status}");
    server.ok("setsid -w sh -c \"ifdown --force eth1; ifup eth1\"; symroute apply");
    assert!(world.client.pings(None, B4));
    server.ok("ip route del default dev eth1");
    assert!(server.ok("symroute status").contains("  default route missing in main\n"));
    server.ok("ip rule del priority 115; symroute flush; ifdown -a");
    world.configure("auto lo\niface lo inet loopback\n");
    assert_eq!(
        server.ok("symroute status"),
        "No uplinks found.\n\nNothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n"
    );
    assert_eq!(server.ok("symroute apply"), "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n");
}
