//! A hook that fails is reported. It does not stop ifup or the hooks of other packages.

use crate::WITH_METRIC;
use crate::judge::*;
use crate::world::World;

/// A hook of another package, which ifupdown calls after symroute's.
const LATER: &str = "#!/bin/sh\necho \"$IFACE\" >>/run/later\n";
/// A replacement of logger(1): the test lab has no system log.
const LOGGER: &str = "#!/bin/sh\necho \"$@\" >>/run/log\n";

fn install_observers(world: &World) {
    world.install_hooks();
    for (path, text) in [("/etc/network/if-up.d/zz-later", LATER), ("/tmp/logger", LOGGER)] {
        world.server.write(path, text.as_bytes());
        world.server.ok(&format!("chmod 755 {path}"));
    }
    world.server.mount("mount --bind tmp/logger usr/bin/logger");
}

/// `ifup -a` succeeds, every later hook runs, and `ifdown -a` stops the interfaces because ifup has recorded them.
fn assert_up_and_down(world: &World, what: &str) {
    world.server.ok("rm -f /run/later /run/log; touch /run/log");
    let up = world.server.run("ifup -a");
    assert!(up.succeeded(), "{what}: ifup -a: {}", up.text());
    let later = world.server.ok("cat /run/later");
    for interface in ["lo", "eth0", "eth1", "eth2"] {
        assert!(later.lines().any(|line| line == interface), "{what}: no later hook for {interface}: {later}");
    }
    let report =
        "symroute: eth1: routing tables and rules were not updated. Fix the cause, then run 'symroute apply'.\n";
    assert!(up.text().contains(report), "{what}: {}", up.text());
    assert!(!up.text().contains("symroute: lo"), "{what}: {}", up.text());
    let log = world.server.ok("cat /run/log");
    assert!(log.contains("-t symroute -p daemon.err -- ") && log.contains(report), "{what}: {log}");
    let down = world.server.run("ifdown -a");
    assert!(down.succeeded(), "{what}: ifdown -a: {}", down.text());
    let addresses = world.server.ok("ip -brief address show scope global");
    let are_removed = !addresses.contains("192.0.2.10") && !addresses.contains("198.51.100.10");
    // ifupdown2 has no record, and never removes the addresses of a veth interface.
    assert!(are_removed || world.suite == "bookworm-ifupdown2", "{what}: {addresses}");
}

/// A program that does not start, or is killed.
pub fn a_broken_program_does_not_stop_ifup(world: &World) {
    install_observers(world);
    world.configure(WITH_METRIC);
    let broken = [
        ("truncated", "head -c 20000 usr/sbin/symroute >tmp/broken"),
        ("empty", ": >tmp/broken"),
        ("missing loader", "echo '#!/nonexistent/loader' >tmp/broken"),
        ("missing symbol", "printf '#!/bin/sh\\necho \"version GLIBC_9.99 not found\" >&2; exit 1' >tmp/broken"),
        ("killed", "printf '#!/bin/sh\\nkill -ABRT $$' >tmp/broken"),
    ];
    for (what, make) in broken {
        world.server.mount(&format!("{make}; chmod 755 tmp/broken; mount --bind tmp/broken usr/sbin/symroute"));
        assert_up_and_down(world, what);
        world.server.mount("umount usr/sbin/symroute");
    }
    world.server.ok("ifup -a");
    assert_symmetric(world);
}

/// An error in the stanza of one uplink: its interface is up, and 'symroute apply' is enough after the file is
/// corrected.
pub fn a_failed_hook_does_not_stop_ifup(world: &World) {
    install_observers(world);
    let faulty = WITH_METRIC.replace("metric 20\n", "metric 20\n    symroute-table main\n");
    assert_ne!(faulty, WITH_METRIC);
    world.configure(&faulty);
    assert_up_and_down(world, "a fault in the stanza");
    world.server.ok("ifup -a");
    assert_ne!(world.server.run("symroute status").code(), 0, "status reports the fault");
    world.configure(WITH_METRIC);
    world.server.ok("symroute apply");
    assert_symmetric(world);
}
