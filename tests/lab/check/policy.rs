//! Findings of rules and tables.

use super::{assert_quiet, broken_and_fixed, check, fixed, found_and_fixed, healthy, ids};
use crate::world::{B4, B6, World};
use crate::{PLAIN, WITH_METRIC};

/// Rules, tables and routes.
pub fn findings_of_policy(world: &World) {
    healthy(world);
    let page = include_str!("../../../docs/check.md");
    let well = world.server.ok("symroute check");
    assert!(page.contains(&format!("# symroute check\n{well}```\n")), "docs/check.md:\n{well}");
    world.server.ok("ip rule del priority 111");
    let ill = world.server.run("symroute check").stdout();
    assert!(page.contains(&format!("# symroute check\n{ill}# symroute apply\n")), "docs/check.md:\n{ill}");
    world.server.ok("symroute apply");
    let client = || world.client.pings(None, B4);
    let lan = || world.lan.pings(None, B4);
    found_and_fixed(world, "rule-missing", "ip rule del priority 111", &client);
    found_and_fixed(world, "rule-duplicated", "ip rule add from 198.51.100.10 table 2", &lan);
    found_and_fixed(
        world,
        "rule-shadowed",
        "ip route add default via 192.0.2.1 dev eth0 table 200 && ip rule add from all lookup 200 priority 50",
        &client,
    );
    // It was moved behind symroute's, and serves on.
    world.server.ok("ip rule del from all lookup 200 priority 32765");
    found_and_fixed(world, "table-empty", "ip route flush table 2", &client);
    found_and_fixed(world, "table-stale", "ip route del default table 2", &client);
    let out = || world.server.pings(None, "203.0.113.190");
    found_and_fixed(world, "no-default", "ip route del default; ip route del default", &out);
    found_and_fixed(world, "uplink-down", "ifdown eth1", &client);
}

/// A host on which symroute was never applied has one finding, whatever the reverse path filter does.
pub fn findings_of_a_host_without_symroute(world: &World) {
    let server = &world.server;
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    let client = || world.client.talks(None, B4) && world.client.talks(None, B6);
    let advice = || check(world)["findings"][0]["advice"].as_str().expect("text").to_string();
    for rp_filter in [0, 1] {
        server.ok(&format!("for name in /proc/sys/net/ipv4/conf/*/rp_filter; do echo {rp_filter} >$name; done"));
        assert!(!client());
        let report = check(world);
        assert_eq!(ids(&report), ["not-applied"], "{report:#}");
        assert!(advice().contains("symroute-gen --write"));
        fixed(world, "not-applied", &client);
        assert_quiet(world);
        server.ok("symroute flush");
    }
    world.install_hooks();
    assert!(!advice().contains("symroute-gen --write"));
    // One of them is there: then each has its own.
    server.ok("symroute apply; ip rule del priority 110; ip rule del priority 111");
    let report = check(world);
    assert!(ids(&report).contains(&"rule-missing") && !ids(&report).contains(&"not-applied"), "{report:#}");
}

/// An edited file: what was made for the old one is left over, and the address is somebody else's now.
pub fn findings_of_what_is_left(world: &World) {
    world.install_hooks();
    let more = "iface eth1 inet static\n    address 198.51.100.11/24\n";
    world.configure(&format!("{PLAIN}{more}"));
    world.server.ok("symroute-gen --write --style hook && ifup -a");
    world.settle();
    assert_quiet(world);
    let second = || world.client.pings(None, "198.51.100.11");
    assert!(second());
    // The first address takes the second along: promote_secondaries is off.
    world.server.ok("ip addr del 198.51.100.10/24 dev eth1");
    assert!(!second());
    let report = check(world);
    assert!(
        ids(&report).contains(&"address-missing") && ids(&report).contains(&"promote-secondaries-off"),
        "{report:#}"
    );
    fixed(world, "promote-secondaries-off", &|| true);
    fixed(world, "address-missing", &second);
    assert_quiet(world);
    world.server.ok("ip addr del 198.51.100.10/24 dev eth1");
    assert!(second(), "with promote_secondaries the other one stays");
    fixed(world, "address-missing", &|| world.client.pings(None, B4));
    // The second address goes from the file and from the link.
    world.server.ok("symroute-gen --remove --write");
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook && ip addr del 198.51.100.11/24 dev eth1");
    fixed(world, "rule-left-over", &|| true);
    assert_quiet(world);
}

/// The layout of the article: a LAN behind the server does not reach the second uplink's address.
pub fn findings_of_the_article_layout(world: &World) {
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --layout article && ifup -a");
    world.settle();
    let lan = || world.lan.pings(None, B4);
    assert!(!lan() && world.client.pings(None, B4));
    fixed(world, "local-network-unreachable", &lan);
    assert_quiet(world);
}

/// Policy by hand, with the mistakes that people make.
pub fn findings_of_policy_by_hand(world: &World) {
    world.install_hooks();
    let by_hand = |lines: &str| {
        world.configure(&format!(
            "auto lo eth0 eth1 eth2\niface lo inet loopback\n\
             iface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n\
             iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n{lines}\
             iface eth2 inet static\n    address 203.0.113.1/26\n"
        ));
    };
    let client = || world.client.pings(None, B4);
    let routes =
        "    up ip route add 198.51.100.0/24 dev eth1 table 7\n    up ip route add default via 198.51.100.1 table 7\n";
    let rule = "    up ip rule add from 198.51.100.10 table 7 priority 70\n";
    // Nothing takes the rule away.
    by_hand(&format!("{routes}{rule}"));
    world.server.ok("ifup -a");
    assert!(client());
    assert_eq!(ids(&check(world)), ["hand-written-leaks"]);
    // Lines to be copied stay lines.
    let text = world.server.run("symroute check").stdout();
    assert!(text.contains("\n        pre-down ip rule del from 198.51.100.10 table 7 priority 70\n"), "{text}");
    world.server.ok("ifdown eth1");
    world.server.ok("ip rule del priority 70");
    // A rule for a table that has no way out.
    by_hand(&format!("{routes}{}    down ip rule del priority 70\n", rule.replace("table 7", "table 8")));
    world.server.ok("ifup eth1");
    assert!(!client());
    let report = check(world);
    assert!(
        ids(&report).contains(&"hand-written-wrong-table") && ids(&report).contains(&"lookup-failed"),
        "{report:#}"
    );
    world.server.ok("ifdown eth1");
    by_hand(&format!("{routes}{rule}    down ip rule del priority 70\n"));
    world.server.ok("ifup eth1");
    assert!(client());
    assert_quiet(world);
}

/// Rules of other tools, before symroute's.
pub fn findings_of_foreign_rules(world: &World) {
    healthy(world);
    let server = &world.server;
    let client = || world.client.pings(None, B4);
    let client6 = || world.client.pings(None, B6);
    let out = || server.pings(None, "203.0.113.190");
    assert!(client() && client6() && out());
    let shadowed = |how: &str, works: &dyn Fn() -> bool| broken_and_fixed(world, &["rule-shadowed"], how, works);
    server.ok("ip route add default via 192.0.2.1 dev eth0 table 200");
    shadowed("ip rule add to 203.0.113.128/26 table 200 priority 50", &client);
    shadowed("ip rule add iif lo table 200 priority 50", &client);
    // Moved, not lost: they still serve what symroute leaves.
    let moved = server.ok("ip rule");
    assert!(moved.contains("to 203.0.113.128/26 lookup 200") && moved.contains("iif lo lookup 200"), "{moved}");
    server.ok("ip rule del table 200; ip rule del table 200");
    shadowed("ip rule add goto 32766 priority 50", &client);
    server.ok("ip rule del goto 32766");
    shadowed("ip rule add iif lo unreachable priority 5000", &out);
    // 'ip rule del' takes the first one that has what it names: one of symroute's, one of somebody else's.
    shadowed("ip rule add from 198.51.100.10 table main priority 110", &client);
    server.ok("ip rule del priority 32765");
    shadowed(
        "ip -6 rule add from 2001:db8:b::10 iif eth2 prohibit priority 50 &&
        ip -6 rule add from 2001:db8:b::10 prohibit priority 50",
        &client6,
    );
    assert!(server.ok("ip -6 rule").contains("from 2001:db8:b::10 iif eth2 prohibit"));
    // What is left of a policy says where it was.
    broken_and_fixed(world, &["rule-missing"], "ip rule del priority 110 && ip rule del priority 111", &client);
}

/// wg-quick's rules, as it makes them: before all others. Its tunnel is one end of a wire.
pub fn findings_of_a_vpn(world: &World) {
    healthy(world);
    let server = &world.server;
    server.ok("ip link add wg0 type veth peer name far && ip link set far up && ip link set wg0 up
        ip addr add 203.0.113.65/32 dev wg0 && ip -6 addr add 2001:db8:e::65/128 dev wg0");
    world.settle();
    let reached = || world.client.pings(None, B4) && world.client.pings(None, B6);
    assert!(reached());
    let wg_quick = "for family in -4 -6; do ip $family route add default dev wg0 table 51820
        ip $family rule add not fwmark 51820 table 51820
        ip $family rule add table main suppress_prefixlength 0; done";
    broken_and_fixed(world, &["rule-shadowed"; 4], wg_quick, &reached);
    // What is bound to nothing goes into the tunnel as before, the LAN does not.
    for (to, dev) in [("203.0.113.190", "wg0"), ("2001:db8:f::99", "wg0"), ("203.0.113.2", "eth2")] {
        let way = server.ok(&format!("ip route get {to}"));
        assert!(way.contains(&format!("dev {dev} ")), "{way}");
    }
    // As it stops.
    server.ok("for family in -4 -6; do
        while ip $family rule | grep -q 'lookup 51820'; do ip $family rule delete table 51820; done
        while ip $family rule | grep -q 'from all lookup main suppress_prefixlength 0'; do
            ip $family rule delete table main suppress_prefixlength 0; done; done");
    assert!(reached());
    assert_quiet(world);
    // The page says how to keep wg-quick's rules behind.
    let page = server.ok("symroute check --explain rule-shadowed");
    let lines: Vec<&str> = page.lines().filter_map(|line| line.trim().strip_prefix("PostUp = ")).collect();
    assert_eq!(lines.len(), 4, "{page}");
    server.ok("ip rule add not fwmark 51820 table 51820 && ip rule add table main suppress_prefixlength 0");
    server.ok(&lines.join(" && "));
    assert_quiet(world);
    assert!(server.ok("ip route get 203.0.113.190").contains("dev wg0 ") && reached());
}

/// Routes of others, in symroute's tables and in main.
pub fn findings_of_foreign_routes(world: &World) {
    healthy(world);
    let server = &world.server;
    let client = || world.client.pings(None, B4);
    let client6 = || world.client.pings(None, B6);
    let out = || server.pings(None, "203.0.113.190");
    let foreign = |how: &str, works: &dyn Fn() -> bool| broken_and_fixed(world, &["route-foreign"], how, works);
    foreign("ip route replace default via 198.51.100.99 dev eth1 table 2 proto static", &client);
    foreign("ip route replace throw default table 2", &client);
    foreign("ip route add blackhole 203.0.113.128/26 table 2", &client);
    foreign("ip -6 route add 2001:db8:f::/48 via 2001:db8:a::1 dev eth0 table 2", &client6);
    // Such that lead out by the uplink's own link, or as main does, are nobody's business.
    server.ok("ip route add 203.0.113.192/28 via 198.51.100.1 dev eth1 table 2 &&
        ip route add 203.0.113.0/26 dev eth2 table 2 && ip route add 203.0.113.208/28 via 203.0.113.2 table 2");
    assert_quiet(world);
    broken_and_fixed(world, &["default-stale"], "ip route replace default via 192.0.2.99 dev eth0 onlink", &out);
    // A guard, once the routes that it guards are gone; it refuses what is bound to an address as well.
    server.ok("ip route add unreachable default metric 4278198272");
    assert_quiet(world);
    let gone = "ip route flush exact default && ip route add unreachable default metric 4278198272";
    broken_and_fixed(world, &["no-default"], gone, &|| client() && out());
    broken_and_fixed(
        world,
        &["no-default"],
        "ip -6 route flush exact default && ip -6 route add unreachable default",
        &|| server.pings(None, "2001:db8:f::99"),
    );
    // A machine with one of the provider's addresses, behind a bridge.
    let machine = world.another_host();
    world.link(server, "br0", &machine, "eth0");
    machine
        .outside("ip link set eth0 up && ip addr add 192.0.2.77/32 dev eth0 && ip route add 192.0.2.10 dev eth0")
        .ok();
    server.ok("ip link set br0 up && ip addr add 203.0.113.97/28 dev br0");
    assert_quiet(world);
    let near = || machine.pings(None, "192.0.2.10");
    assert!(!near());
    // Main's own route to it is enough; the kernel's own routes name a source too.
    for source in ["", " src 203.0.113.97"] {
        server.ok(&format!("ip route add 192.0.2.77 dev br0{source}"));
        assert!(near());
        assert_quiet(world);
        server.ok("ip route del 192.0.2.77");
    }
}
