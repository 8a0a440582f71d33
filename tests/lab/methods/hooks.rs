//! The hooks in if-up.d and if-down.d.

use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::providers::wrong_lookups;
use crate::world::{A4, B4, B6, PUBLIC, World};
use crate::{PLAIN, WITH_METRIC};

pub fn hooks_install_the_article_layout(world: &World) {
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

pub fn hooks_make_routing_symmetric(world: &World) {
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

/// The check by the providers' addresses finds missing rules on its own.
pub fn lookups_show_a_missing_rule(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    world.settle();
    // From each of four addresses to a remote address, a customer of the other provider, and the LAN.
    assert_eq!(wrong_lookups(world), (Vec::new(), 12));
    // The first default route of main differs between the ifupdowns. One of two lookups may be correct.
    for (family, address, priority) in
        [("-4", A4, 100), ("-4", B4, 110), ("-4", B4, 111), ("-6", B6, 110), ("-6", B6, 111)]
    {
        world.server.ok(&format!("ip {family} rule del priority {priority}"));
        let (found, _) = wrong_lookups(world);
        let of_address = found.iter().filter(|fault| fault.starts_with(&format!("{address} -> "))).count();
        assert!(
            of_address > 0 && of_address == found.len(),
            "{address}, rule {priority}: {found:#?}\n{}",
            state(world)
        );
        world.server.ok("symroute apply");
    }
    world.server.ok("ip route replace default via 198.51.100.20 dev eth1 table 2 proto 97");
    assert_eq!(wrong_lookups(world).0.len(), 2, "{}", state(world));
    world.server.ok("symroute apply");
    assert_eq!(wrong_lookups(world).0, Vec::<String>::new());
}

pub fn hooks_run_twice_and_in_any_order(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup eth1; ifup eth2; ifup eth0");
    assert_kernel_is_plan(world);
    for _ in 0..2 {
        // The damage shows whether the hook ran.
        world.server.ok("ip rule del priority 101; ip link set dev eth1 group 0");
        // ifupdown itself prints "File exists" for the address. The hooks still run because of --ignore-errors.
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

pub fn hooks_keep_connections_of_the_other_uplink(world: &World) {
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

/// The server drops packets if their replies would use another interface. With the rules, no packet is dropped.
pub fn strict_reverse_path_filters_drop_nothing(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
    world.server.ok("ifup -a");
    assert_kernel_is_plan(world);
    assert_symmetric(world);
}
