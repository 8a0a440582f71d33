//! Findings of rules and tables.

use super::{assert_no_finding, assert_quiet, broken_and_fixed, check, fixed, found_and_fixed, healthy, ids};
use crate::world::{B4, B6, World};
use crate::{PLAIN, WITH_METRIC};

/// Rules, tables and routes.
pub fn findings_of_policy(world: &World) {
    healthy(world);
    let page = include_str!("../../../docs/check.md");
    let healthy_text = world.server.ok("symroute check");
    for page in [page, include_str!("../../../README.md")] {
        assert!(
            page.contains(&format!("# symroute check\n{healthy_text}```\n")),
            "docs/check.md and README.md:\n{healthy_text}"
        );
    }
    world.server.ok("ip rule del priority 111");
    let broken_text = world.server.run("symroute check").stdout();
    assert!(
        page.contains(&format!("# symroute check\n{broken_text}# symroute apply\n")),
        "docs/check.md:\n{broken_text}"
    );
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
    // The rule was moved behind symroute's.
    world.server.ok("ip rule del from all lookup 200 priority 32765");
    found_and_fixed(world, "table-empty", "ip route flush table 2", &client);
    found_and_fixed(world, "table-stale", "ip route del default table 2", &client);
    let host_itself = || world.server.pings(None, "203.0.113.190");
    found_and_fixed(world, "no-default", "ip route del default; ip route del default", &host_itself);
    found_and_fixed(world, "uplink-down", "ifdown eth1", &client);
}

/// A host on which symroute was never applied has one finding, with any reverse path filter.
pub fn findings_of_a_host_without_symroute(world: &World) {
    let server = &world.server;
    world.configure(WITH_METRIC);
    server.ok("ifup -a");
    world.settle();
    let client = || world.client.talks(None, B4) && world.client.talks(None, B6);
    let note = || check(world)["findings"][0]["note"].as_str().expect("text").to_string();
    for rp_filter in [0, 1] {
        server.ok(&format!("for name in /proc/sys/net/ipv4/conf/*/rp_filter; do echo {rp_filter} >$name; done"));
        assert!(!client());
        let report = check(world);
        assert_eq!(ids(&report), ["not-applied"], "{report:#}");
        assert!(note().contains("symroute-gen --write"));
        fixed(world, "not-applied", &client);
        assert_quiet(world);
        server.ok("symroute flush");
    }
    world.install_hooks();
    assert!(!note().contains("symroute-gen --write"));
    // A run that waits for another one prints this.
    let waited = server.run("{ flock 9; sleep 2; } 9>/run/symroute.lock & sleep 0.3; symroute apply; wait");
    assert!(waited.text().contains("waiting for another symroute that holds /run/symroute.lock"), "{}", waited.text());
    // Some entries are installed: now each uplink has its own finding.
    server.ok("symroute apply; ip rule del priority 110; ip rule del priority 111");
    let report = check(world);
    assert!(ids(&report).contains(&"rule-missing") && !ids(&report).contains(&"not-applied"), "{report:#}");
}

/// A changed file: entries of the old one are stale.
pub fn findings_of_stale_entries(world: &World) {
    world.install_hooks();
    let more = "iface eth1 inet static\n    address 198.51.100.11/24\n";
    world.configure(&format!("{PLAIN}{more}"));
    world.server.ok("symroute-gen --write --style hook && ifup -a");
    world.settle();
    assert_quiet(world);
    let second = || world.client.pings(None, "198.51.100.11");
    assert!(second());
    // promote_secondaries is off: the second address is deleted with the first.
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
    // The second address is removed from the file and from the interface.
    world.server.ok("symroute-gen --remove --write");
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook && ip addr del 198.51.100.11/24 dev eth1");
    fixed(world, "rule-stale", &|| true);
    assert_quiet(world);
}

/// The layout 'article': a LAN behind the server does not reach the second uplink's address.
pub fn findings_of_the_article_layout(world: &World) {
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --layout article && ifup -a");
    world.settle();
    let lan = || world.lan.pings(None, B4);
    assert!(!lan() && world.client.pings(None, B4));
    fixed(world, "local-network-unreachable", &lan);
    assert_quiet(world);
}

/// Manual policy routing, with its usual mistakes.
pub fn findings_of_manual_policy(world: &World) {
    world.install_hooks();
    let configure = |lines: &str| {
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
    // The uplink's table has no route to the LAN, and main has one.
    let lan = || world.lan.pings(None, B4);
    let undone = "    down ip rule del priority 70\n    down ip route flush table 7\n";
    configure(&format!("{routes}{rule}{undone}"));
    world.server.ok("ifup -a");
    assert!(client() && !lan());
    let report = check(world);
    assert_eq!(ids(&report), ["local-network-unreachable"], "{report:#}");
    let finding = &report["findings"][0];
    assert_eq!(finding["fix"], serde_json::json!(["ip route add 203.0.113.0/26 dev eth2 scope link table 7"]));
    let text = world.server.run("symroute check").stdout();
    assert!(!text.contains("OK: all"), "{text}");
    fixed(world, "local-network-unreachable", &|| client() && lan());
    assert_no_finding(world);
    world.server.ok("ifdown eth1");
    // The same with a network behind a router of the LAN, and with a rule for main first.
    world.server.ok("ip route add 203.0.113.64/28 via 203.0.113.5 dev eth2");
    let with_lan = format!("{routes}    up ip route add 203.0.113.0/26 dev eth2 table 7\n");
    configure(&format!("{with_lan}{rule}{undone}"));
    world.server.ok("ifup eth1");
    let report = check(world);
    let fix = serde_json::json!(["ip route add 203.0.113.64/28 via 203.0.113.5 dev eth2 table 7"]);
    assert_eq!((ids(&report), &report["findings"][0]["fix"]), (vec!["local-network-unreachable"], &fix), "{report:#}");
    world.server.ok("ip rule add from 198.51.100.10 table main suppress_prefixlength 0 priority 69");
    assert!(client() && lan());
    // Destinations that main routes through the other uplink now use that uplink.
    assert_eq!(ids(&check(world)), ["lookup-failed"]);
    world.server.ok("ip rule del priority 69; ip route del 203.0.113.64/28; ifdown eth1");
    // The rule is never deleted.
    configure(&format!("{with_lan}{rule}    down ip route flush table 7\n"));
    world.server.ok("ifup eth1");
    assert!(client() && lan());
    assert_eq!(ids(&check(world)), ["manual-leaks"]);
    // Lines of the configuration stay lines.
    let text = world.server.run("symroute check").stdout();
    assert!(text.contains("\n           pre-down ip rule del from 198.51.100.10 table 7 priority 70\n"), "{text}");
    world.server.ok("ifdown eth1");
    world.server.ok("ip rule del priority 70");
    // A rule for a table without a default route.
    configure(&format!("{with_lan}{}{undone}", rule.replace("table 7", "table 8")));
    world.server.ok("ifup eth1");
    assert!(!client());
    let report = check(world);
    assert!(ids(&report).contains(&"manual-wrong-table") && ids(&report).contains(&"lookup-failed"), "{report:#}");
    world.server.ok("ifdown eth1");
    configure(&format!("{with_lan}{rule}{undone}"));
    world.server.ok("ifup eth1");
    assert!(client() && lan());
    assert_no_finding(world);
}

/// Rules of other tools with a higher precedence than symroute's.
pub fn findings_of_foreign_rules(world: &World) {
    healthy(world);
    let server = &world.server;
    let client = || world.client.pings(None, B4);
    let client6 = || world.client.pings(None, B6);
    let host_itself = || server.pings(None, "203.0.113.190");
    assert!(client() && client6() && host_itself());
    let shadowed = |how: &str, works: &dyn Fn() -> bool| broken_and_fixed(world, &["rule-shadowed"], how, works);
    server.ok("ip route add default via 192.0.2.1 dev eth0 table 200");
    shadowed("ip rule add to 203.0.113.128/26 table 200 priority 50", &client);
    shadowed("ip rule add iif lo table 200 priority 50", &client);
    // They were moved, not deleted.
    let moved = server.ok("ip rule");
    assert!(moved.contains("to 203.0.113.128/26 lookup 200") && moved.contains("iif lo lookup 200"), "{moved}");
    server.ok("ip rule del table 200; ip rule del table 200");
    // Pings still arrive.
    let connects = || world.client.talks(None, B4);
    let connects6 = || world.client.talks(None, B6);
    for selector in ["ipproto 6", "from 198.51.100.10 to 203.0.113.128/26 ipproto 6 sport PORT", "iif lo sport PORT"] {
        let selector = selector.replace("PORT", "1-65534");
        server.ok(&format!("ip rule add {selector} table 200 priority 50"));
        assert!(client(), "{selector}");
        server.ok(&format!("ip rule del {selector} table 200 priority 50"));
        shadowed(&format!("ip rule add {selector} table 200 priority 50"), &connects);
        server.ok("ip rule del table 200");
    }
    server.ok("ip -6 route add default via 2001:db8:a::1 dev eth0 table 200");
    shadowed("ip -6 rule add ipproto 6 dport 1024-65534 table 200 priority 50", &connects6);
    server.ok("ip -6 rule del table 200");
    shadowed("ip rule add goto 32766 priority 50", &client);
    server.ok("ip rule del goto 32766");
    shadowed("ip rule add iif lo unreachable priority 5000", &host_itself);
    // 'ip rule del' deletes the first rule that matches: here symroute's, then another foreign one.
    shadowed("ip rule add from 198.51.100.10 table main priority 110", &client);
    server.ok("ip rule del priority 32765");
    shadowed(
        "ip -6 rule add from 2001:db8:b::10 iif eth2 prohibit priority 50 &&
        ip -6 rule add from 2001:db8:b::10 prohibit priority 50",
        &client6,
    );
    assert!(server.ok("ip -6 rule").contains("from 2001:db8:b::10 iif eth2 prohibit"));
    // The rest of a policy still has its numbers.
    broken_and_fixed(world, &["rule-missing"], "ip rule del priority 110 && ip rule del priority 111", &client);
}

/// wg-quick's rules, as it adds them: before all others. The tunnel is a veth interface.
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
    // Packets without a source address still use the tunnel, packets to the LAN do not.
    for (to, dev) in [("203.0.113.190", "wg0"), ("2001:db8:f::99", "wg0"), ("203.0.113.2", "eth2")] {
        let route = server.ok(&format!("ip route get {to}"));
        assert!(route.contains(&format!("dev {dev} ")), "{route}");
    }
    // As wg-quick stops.
    server.ok("for family in -4 -6; do
        while ip $family rule | grep -q 'lookup 51820'; do ip $family rule delete table 51820; done
        while ip $family rule | grep -q 'from all lookup main suppress_prefixlength 0'; do
            ip $family rule delete table main suppress_prefixlength 0; done; done");
    assert!(reached());
    assert_quiet(world);
    // The page shows how to give wg-quick's rules a lower precedence.
    let page = server.ok("symroute check --explain rule-shadowed");
    let lines: Vec<&str> = page.lines().filter_map(|line| line.trim().strip_prefix("PostUp = ")).collect();
    assert_eq!(lines.len(), 4, "{page}");
    server.ok("ip rule add not fwmark 51820 table 51820 && ip rule add table main suppress_prefixlength 0");
    server.ok(&lines.join(" && "));
    assert_quiet(world);
    assert!(server.ok("ip route get 203.0.113.190").contains("dev wg0 ") && reached());
}

/// Foreign routes in symroute's tables and in main.
pub fn findings_of_foreign_routes(world: &World) {
    healthy(world);
    let server = &world.server;
    let client = || world.client.pings(None, B4);
    let client6 = || world.client.pings(None, B6);
    let host_itself = || server.pings(None, "203.0.113.190");
    let foreign = |how: &str, works: &dyn Fn() -> bool| broken_and_fixed(world, &["foreign-route"], how, works);
    foreign("ip route replace default via 198.51.100.99 dev eth1 table 2 proto static", &client);
    foreign("ip route replace throw default table 2", &client);
    foreign("ip route add blackhole 203.0.113.128/26 table 2", &client);
    foreign("ip -6 route add 2001:db8:f::/48 via 2001:db8:a::1 dev eth0 table 2", &client6);
    // Routes through the uplink's own interface, or equal to main's, are not reported.
    server.ok("ip route add 203.0.113.192/28 via 198.51.100.1 dev eth1 table 2 &&
        ip route add 203.0.113.0/26 dev eth2 table 2 && ip route add 203.0.113.208/28 via 203.0.113.2 table 2");
    assert_quiet(world);
    broken_and_fixed(
        world,
        &["default-stale"],
        "ip route replace default via 192.0.2.99 dev eth0 onlink",
        &host_itself,
    );
    // A rejecting route with the largest metric, after the other default routes are deleted.
    server.ok("ip route add unreachable default metric 4278198272");
    assert_quiet(world);
    let reject_default = "ip route flush exact default && ip route add unreachable default metric 4278198272";
    broken_and_fixed(world, &["no-default"], reject_default, &|| client() && host_itself());
    broken_and_fixed(
        world,
        &["no-default"],
        "ip -6 route flush exact default && ip -6 route add unreachable default",
        &|| server.pings(None, "2001:db8:f::99"),
    );
    // A host with one of the provider's addresses, behind a bridge.
    let inner = world.another_host();
    world.link(server, "br0", &inner, "eth0");
    inner.outside("ip link set eth0 up && ip addr add 192.0.2.77/32 dev eth0 && ip route add 192.0.2.10 dev eth0").ok();
    server.ok("ip link set br0 up && ip addr add 203.0.113.97/28 dev br0");
    assert_quiet(world);
    let is_reached = || inner.pings(None, "192.0.2.10");
    assert!(!is_reached());
    // A route in main is enough, also one with a source address as the kernel adds it.
    for source in ["", " src 203.0.113.97"] {
        server.ok(&format!("ip route add 192.0.2.77 dev br0{source}"));
        assert!(is_reached());
        assert_quiet(world);
        server.ok("ip route del 192.0.2.77");
    }
}
