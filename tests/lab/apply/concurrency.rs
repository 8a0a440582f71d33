//! Several runs at once, killed runs, and packets that arrive while rules change.

use super::up_by_hand;
use crate::WITH_METRIC;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left};
use crate::world::{A4, A6, B4, B6, Host, PUBLIC, World};

pub fn twenty_hooks_run_at_once(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    let start =
        "for n in 1 2 3 4 5 6 7 8 9 10; do for i in 0 1; do IFACE=eth$i MODE=start symroute hook & done; done; wait";
    // On a busy machine, the last runs wait for more than a second.
    let messages = |script: &str| {
        let text = world.server.run(script).text();
        text.lines().filter(|line| !line.starts_with("symroute: waiting for another")).collect::<String>()
    };
    assert_eq!(messages(start), "");
    assert_kernel_is_plan(world);
    let stop =
        "for n in 1 2 3 4 5 6 7 8 9 10; do for i in 0 1; do IFACE=eth$i MODE=stop symroute hook & done; done; wait";
    assert_eq!(messages(stop), "");
    // The kernel still has both addresses, so the last run found the other uplink active.
    world.server.ok("symroute down eth0 eth1");
    assert_nothing_left(world);
}

/// A killed run keeps no lock. The next run repairs everything that it left.
pub fn the_next_run_repairs_a_killed_run(world: &World) {
    world.configure(WITH_METRIC);
    up_by_hand(world);
    // Each command is killed later and later, until a run ends before that: then from the beginning, at other moments. After
    // each kill, one complete run is enough.
    let output = world.server.ok("apply=1 flush=1
        for n in $(seq 60); do for command in apply flush; do
            eval microseconds=\\$$command
            timeout -s KILL $(printf 0.%06d $microseconds) symroute $command --quiet
            if [ $? = 137 ]; then echo killed; microseconds=$((microseconds * 11 / 10 + 100))
            else microseconds=$((n * 37 % 300 + 1)); fi
            eval $command=$microseconds
            symroute $command --quiet || echo \"$command fails after $n\"
            left=$(ip rule; ip -6 rule; ip route show table all; ip -6 route show table all)
            case $command in
            apply) symroute status --quiet || echo \"incomplete after $n\" ;;
            flush) case $left in *'proto 97'*) echo \"left after $n: $left\" ;; esac ;;
            esac
        done; done");
    let killed = output.lines().filter(|line| *line == "killed").count();
    assert_eq!(output.lines().count(), killed, "{output}");
    assert!(killed > 20, "the delays do not match the work: {killed} of 120");
    world.server.ok("symroute apply");
    assert_kernel_is_plan(world);
    world.server.ok("symroute flush");
    assert_nothing_left(world);
}

/// While `ifdown` runs for an interface, the kernel still has its addresses. A hook of another interface, or `symroute
/// apply`, does not add its rules again. On a host with many uplinks, ifupdown's list tells which one goes down.
pub fn no_event_restores_rules_during_an_ifdown(world: &World) {
    let server = &world.server;
    world.install_hooks();
    // This line runs after the hook in if-down.d, before the addresses are removed.
    let slow = "metric 20\n    down touch /tmp/ifdown-waits; while [ ! -e /tmp/continue ]; do sleep 0.05; done\n";
    let two = WITH_METRIC.replacen("metric 20\n", slow, 1);
    let further = |n: usize| {
        server.ok(&format!("ip link add more{n} type veth peer name end{n}; ip link set end{n} up"));
        let (gateway, address) = (8 * n + 65, 8 * n + 66);
        format!(
            "auto more{n}\niface more{n} inet static\n    address 203.0.113.{address}/29\n    \
             symroute-gateway 203.0.113.{gateway}\n"
        )
    };
    let many = format!("{two}\n{}", (0..8).map(further).collect::<String>());
    let rules = || server.ok("ip rule; ip -6 rule");
    for configuration in [&two, &many] {
        world.configure(configuration);
        server.ok("ifup -a");
        assert!(rules().contains(B4));
        std::thread::scope(|scope| {
            let down = scope.spawn(|| server.ok("ifdown eth1"));
            server.ok("for n in $(seq 200); do [ ! -e /tmp/ifdown-waits ] || exit 0; sleep 0.05; done; exit 1");
            assert!(server.ok("ip addr").contains(B4), "the address is still there");
            for command in ["IFACE=eth0 MODE=start symroute hook", "symroute apply", "symroute up eth0"] {
                server.ok(command);
                assert!(!rules().contains(B4) && !rules().contains("eth1"), "{command}:\n{}", rules());
                assert!(rules().contains(A4), "{command}:\n{}", rules());
            }
            server.ok("symroute status; touch /tmp/continue");
            down.join().expect("no panic");
        });
        assert!(!rules().contains(B4), "{}", rules());
        server.ok("ifup eth1");
        assert_kernel_is_plan(world);
        server.ok("touch /tmp/continue; ifdown -a; rm /tmp/continue /tmp/ifdown-waits");
    }
}

/// The same with each ifupdown, for hooks and for watch: a line in the stanza removes the rules and takes its time.
pub fn hooks_skip_an_interface_during_its_ifdown(world: &World) {
    let server = &world.server;
    world.install_hooks();
    let waits = "#!/bin/sh\nsymroute down eth1\ntouch /tmp/ifdown-waits\n\
                 while [ ! -e /tmp/continue ]; do sleep 0.05; done\n";
    server.write("/tmp/leave", waits.as_bytes());
    server.ok("chmod 755 /tmp/leave");
    world.configure(&WITH_METRIC.replacen("metric 20\n", "metric 20\n    pre-down /tmp/leave\n", 1));
    server.ok("ifup -a");
    world.settle();
    let watch = server.in_background("exec symroute watch 2>/run/watch.log");
    server.ok("for n in $(seq 100); do [ -e /run/symroute-watch ] && symroute --quiet status && exit; sleep 0.1; done; exit 1");
    let rules = || server.ok("ip rule; ip -6 rule");
    std::thread::scope(|scope| {
        let down = scope.spawn(|| server.ok("ifdown eth1"));
        server.ok("for n in $(seq 200); do [ ! -e /tmp/ifdown-waits ] || exit 0; sleep 0.05; done; exit 1");
        assert!(server.ok("ip addr").contains(B4), "the address is still there");
        for command in [
            "IFACE=eth0 LOGICAL=eth0 MODE=start PHASE=up symroute hook",
            "symroute up eth0",
            "ip link set lo txqueuelen 1001",
        ] {
            server.ok(&format!("{command}; sleep 0.3"));
            assert!(!rules().contains(B4), "{command}:\n{}{}", rules(), server.ok("cat /run/watch.log"));
        }
        server.ok("touch /tmp/continue");
        down.join().expect("no panic");
    });
    server.ok("sleep 0.3");
    assert!(!rules().contains(B4), "{}{}", rules(), server.ok("cat /run/watch.log"));
    server.ok("ifup eth1");
    world.settle();
    server.ok("for n in $(seq 100); do symroute --quiet status && exit; sleep 0.1; done; exit 1");
    let lost = Host::lost(&PUBLIC.map(|to| ("remote client", &world.client, to)));
    assert!(lost.is_empty(), "{lost:?}");
    watch.stop();
}

/// No packet is lost while tables and priorities change, also if two uplinks exchange them.
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
    let connections = [
        (&world.client, A4),
        (&world.client, B4),
        (&world.client, A6),
        (&world.client, B6),
        (&world.neighbour_a, B4),
        (&world.neighbour_b, A4),
        (&world.lan, B4),
    ];
    for (host, to) in connections {
        assert!(host.pings(None, to), "{to}");
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pings: Vec<_> = connections
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
