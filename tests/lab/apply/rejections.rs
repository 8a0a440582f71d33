//! Invalid files, rejected messages and missing privileges: nothing of a failed run remains.

use super::up_by_hand;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, settled_state, state};
use crate::world::{A4, A6, B4, B6, World};
use crate::{PLAIN, WITH_METRIC};

pub fn invalid_files_change_nothing(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    let before = settled_state(world);
    let bad = WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 2001:db8:b::1\n");
    world.configure(&bad);
    for command in ["symroute apply", "symroute plan", "symroute status"] {
        let ran = world.server.run(command);
        // The error of one uplink is a warning.
        assert_eq!(ran.code(), i32::from(command == "symroute status"), "{command}: {}", ran.text());
        assert!(ran.text().contains("/etc/network/interfaces:18:13"), "{}", ran.text());
        assert!(ran.text().contains("is not an IPv4 address"), "{}", ran.text());
    }
    let hook = world.server.run("IFACE=eth1 MODE=start PHASE=post-up ADDRFAM=inet symroute hook");
    assert_eq!(hook.code(), 1);
    assert_eq!(hook.text().lines().count(), 1, "{}", hook.text());
    assert!(hook.text().starts_with("symroute: eth1: /etc/network/interfaces:18:13: "), "{}", hook.text());
    assert!(settled_state(world) == before, "{}", state(world));
    let refused = format!("{bad}\niface eth1 inett static\n");
    world.configure(&refused);
    for command in ["symroute apply", "symroute plan", "symroute status", "symroute-gen --write"] {
        let ran = world.server.run(command);
        assert_eq!(ran.code(), 2, "{command}: {}", ran.text());
        assert!(ran.text().contains("unknown or no address type"), "{}", ran.text());
    }
    for command in ["symroute status --json", "symroute check --json"] {
        let ran = world.server.run(command);
        let document: serde_json::Value = serde_json::from_str(&ran.stdout()).expect("JSON");
        let message = document["diagnostics"][0]["message"].as_str().unwrap_or_default();
        assert_eq!((ran.code(), document["version"].as_u64()), (2, Some(1)), "{command}: {}", ran.text());
        assert!(message.contains("unknown or no address type"), "{command}: {document:#}");
    }
    let hook = world.server.run("IFACE=eth0 MODE=start PHASE=post-up ADDRFAM=inet symroute hook");
    assert_eq!(hook.code(), 1);
    assert_eq!(hook.text().lines().count(), 1, "{}", hook.text());
    assert!(settled_state(world) == before, "{}", state(world));
    assert_eq!(world.server.read("/etc/network/interfaces"), refused.as_bytes());
}

/// The kernel accepts the first routes and rejects a later one. No entry of the run remains.
pub fn a_rejected_change_is_rolled_back(world: &World) {
    up_by_hand(world);
    // The kernel does not accept the server's own address on the LAN as a gateway.
    world.configure(&WITH_METRIC.replace("gateway 198.51.100.1\n", "gateway 203.0.113.1\n"));
    let apply = world.server.run("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    let refused = "\nsymroute: no policy for eth1 (IPv4): the kernel rejected 'ip route add default via 203.0.113.1 dev eth1 \
                   onlink table 2 proto 97': EINVAL";
    assert!(apply.text().contains(refused), "{}", apply.text());
    let before = settled_state(world);
    assert!(!before.contains(&format!("from {B4} ")) && before.contains(&format!("from {A4} ")), "{before}");
    assert_eq!(world.server.ok("ip route show table 2"), "");
    let hook = world.server.run("IFACE=eth1 MODE=start symroute hook");
    assert_eq!(hook.code(), 1);
    assert!(
        hook.text().starts_with("symroute: eth1: no policy for eth1 (IPv4): the kernel rejected"),
        "{}",
        hook.text()
    );
    assert!(settled_state(world) == before, "{}", state(world));
    // A foreign route in the uplink's table is not replaced.
    world.configure(&WITH_METRIC.replace("metric 20\n", "metric 20\n    symroute-table 7\n"));
    world.server.ok("ip route add default via 198.51.100.20 dev eth1 table 7");
    for _ in 0..2 {
        let apply = world.server.run("symroute apply");
        assert_eq!(apply.code(), 2, "{}", apply.text());
        let obstructed = "no policy for eth1 (IPv4): table 7 already has a foreign route to 0.0.0.0/0";
        assert!(apply.text().contains(obstructed), "{}", apply.text());
        assert_eq!(world.server.ok("ip route show table 7"), "default via 198.51.100.20 dev eth1 \n");
        let rules = world.server.ok("ip rule; ip -6 rule");
        assert!(!rules.contains(B4) && [A4, A6, B6].iter().all(|address| rules.contains(address)), "{rules}");
    }
}

pub fn commands_without_privileges_change_nothing(world: &World) {
    world.configure(WITH_METRIC);
    let unprivileged =
        |command: &str| world.server.run(&format!("setpriv --bounding-set=-all --inh-caps=-all sh -c '{command}'"));
    up_by_hand(world);
    // Root without capabilities can read and lock, but not change anything.
    let apply = unprivileged("symroute apply");
    assert_eq!(apply.code(), 2, "{}", apply.text());
    assert!(apply.text().contains("EPERM"), "{}", apply.text());
    assert_nothing_left(world);
    assert_eq!(unprivileged("symroute plan").code(), 0);
    assert_eq!(unprivileged("symroute status").code(), 1);
    world.server.ok("chmod 000 /etc/network/interfaces");
    for command in ["symroute plan", "symroute apply", "symroute config", "symroute-gen --write"] {
        let ran = unprivileged(command);
        assert_eq!(ran.code(), 2, "{command}: {}", ran.text());
        assert!(ran.text().contains("cannot read /etc/network/interfaces: Permission denied"), "{}", ran.text());
        assert!(ran.text().contains("Run this as root"), "{}", ran.text());
    }
}

/// In containers /proc/sys is often read-only. The route cache is not flushed then, and need not be.
pub fn apply_works_with_read_only_proc(world: &World) {
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
