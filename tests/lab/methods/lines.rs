//! Lines that symroute-gen writes into the file.

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::world::{A4, B4, PUBLIC, World};
use crate::{PLAIN, TABLE_GATEWAY};

/// Starts and stops the interfaces twice, then removes the lines.
pub fn written(world: &World, original: &str) {
    assert_eq!(world.server.run("symroute-gen --check").code(), 0, "a second run changes nothing");
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

pub fn lines_make_routing_symmetric(world: &World) {
    let original = world.configure(PLAIN);
    assert_eq!(world.server.run("symroute-gen --check").code(), 1);
    world.server.ok("symroute-gen --write");
    written(world, &original);
}

pub fn lines_and_hooks_work_together(world: &World) {
    world.install_hooks();
    let original = world.configure(PLAIN);
    world.server.ok("symroute-gen --write");
    written(world, &original);
}

/// The article's form: eth1's gateway is only in its own table, and main has one default route.
pub fn lines_use_a_gateway_for_its_table_only(world: &World) {
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
    // The method itself fails if it runs twice ("File exists"), so only the lines run again.
    let text = String::from_utf8(world.server.read("/etc/network/interfaces")).expect("text");
    let script: String =
        text.lines().filter_map(|line| line.trim().strip_prefix("post-up ")).map(|line| format!("{line}\n")).collect();
    assert!(script.contains("rule add"));
    world.server.ok(&format!("set -e\n{script}"));
    assert_kernel_is_plan(world);
    world.server.ok("ifdown -a; ifdown --force eth0 eth1 2>/dev/null || true");
    assert_nothing_left(world);
}

/// The output that the article expects, word for word.
pub fn article_lines_give_the_listings_of_the_article(world: &World) {
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
