//! Findings about uplinks: metrics, names, addresses, gateways, interfaces.

use super::{assert_quiet, broken_and_fixed, check, fixed, healthy, ids};
use crate::PLAIN;
use crate::world::{A4, B4, B6, Host, World};

/// Two 'gateway' lines without a metric.
pub fn findings_of_metrics(world: &World) {
    world.install_hooks();
    world.configure(PLAIN);
    assert!(!world.server.run("ifup -a").succeeded());
    let client = || world.client.pings(None, B4) && world.client.pings(None, B6);
    assert!(!client());
    fixed(world, "same-metric", &client);
    world.settle();
    assert_quiet(world);
}

/// The same for IPv6 only: the second default route silently replaces the first.
pub fn findings_of_metrics_inet6(world: &World) {
    world.install_hooks();
    world.configure(&crate::WITH_METRIC.replace("    metric 2000\n", ""));
    world.server.ok("ifup -a");
    world.settle();
    let defaults = || world.server.ok("ip -6 route show default").lines().filter(|line| line.contains("via")).count();
    assert_eq!(defaults(), 1);
    // Without the second uplink, the host itself has no default route.
    let reaches_with_first = || {
        world.server.ok("ifdown eth1");
        let reaches = world.server.pings(None, "2001:db8:f::99");
        world.server.ok("ifup eth1");
        world.settle();
        reaches
    };
    assert!(!reaches_with_first());
    fixed(world, "same-metric", &|| defaults() == 2);
    assert_quiet(world);
    assert!(reaches_with_first());
}

/// Stanzas that do not have the name of their interface: a name after '=', and the choice of a mapping.
pub fn findings_of_logical_names(world: &World) {
    let server = &world.server;
    let interfaces = |metric: &str| {
        format!(
            "auto lo eth2 eth0 eth1=wan\niface lo inet loopback\niface eth2 inet static\n    address 203.0.113.1/26\n\
             mapping eth0\n    script /etc/network/choose\n\
             iface home inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n\
             iface wan inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n{metric}"
        )
    };
    world.install_hooks();
    server.write("/etc/network/choose", b"#!/bin/sh\necho home\n");
    server.ok("chmod 755 /etc/network/choose");
    world.configure(&interfaces("    metric 20\n"));
    server.ok("ifup -a");
    assert_quiet(world);
    // A ping ends at the first 'host unreachable', which may be from the broken state.
    let twice = |to| (0..2).any(|_| world.client.pings(None, to));
    let (first, second) = (|| twice(A4), || twice(B4));
    for (link, works) in [("eth0", &first as &dyn Fn() -> bool), ("eth1", &second)] {
        assert!(works());
        broken_and_fixed(world, &["address-missing"], &format!("ip addr flush dev {link}"), works);
        broken_and_fixed(world, &["uplink-down"], &format!("ip link set {link} down"), works);
    }
    server.ok("ip link set eth1 down");
    let summary = "eth1=wan (IPv4): not active, although 'auto' starts it at boot";
    assert_eq!(check(world)["findings"][0]["summary"], summary, "the name in the file");
    server.ok("ifdown --force eth0=home eth1=wan");
    // Two 'gateway' lines without a metric.
    world.configure(&interfaces(""));
    assert!(!server.run("ifup -a").succeeded());
    assert!(!second());
    let report = check(world);
    let finding = report["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == "same-metric");
    let finding = finding.expect("found");
    assert_eq!(finding["fix"], serde_json::json!([]), "symroute-gen cannot add the metric");
    let note = finding["note"].as_str().expect("text");
    assert!(note.starts_with("Add 'metric 20' to its stanza, then run "), "{note}");
    world.configure(&interfaces("    metric 20\n"));
    server.ok(note.split('\'').nth(3).expect("a command"));
    assert!(second());
    assert_quiet(world);
    // Without a mapping, symroute-gen can add the metric.
    server.ok("ifdown --force eth0=home eth1=wan");
    world.configure(
        &interfaces("").replace("mapping eth0\n    script /etc/network/choose\n", "").replace("home", "eth0"),
    );
    assert!(!server.run("ifup -a").succeeded());
    assert!(!second());
    fixed(world, "same-metric", &second);
    assert_quiet(world);
}

/// Aliases: ifup starts them by their own name, and they are removed with their interface.
pub fn findings_of_aliases(world: &World) {
    let server = &world.server;
    world.install_hooks();
    let lan_and_a = "auto lo eth0 eth2\niface lo inet loopback\niface eth2 inet static\n    address 203.0.113.1/26\n\
                     iface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n\
                     iface eth0 inet6 static\n    address 2001:db8:a::10/64\n    gateway 2001:db8:a::1\n\
                     auto eth1 eth1:1\n\
                     iface eth1 inet6 static\n    address 2001:db8:b::10/64\n    gateway 2001:db8:b::1\n    metric 2000\n";
    let first = || world.client.pings(None, B4);
    let both = || first() && world.client.pings(None, B6);
    // The uplink is the alias.
    world.configure(&format!(
        "{lan_and_a}iface eth1:1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 2000\n"
    ));
    server.ok("ifup -a");
    world.settle();
    assert_quiet(world);
    assert!(both());
    broken_and_fixed(world, &["address-missing"], "ip -4 addr flush dev eth1", &both);
    broken_and_fixed(world, &["uplink-down"; 2], "ip link set eth1 down", &both);
    server.ok("ifdown -a");
    // The alias is one more address of the uplink.
    world.configure(&format!(
        "{lan_and_a}iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 2000\n\
         iface eth1:1 inet static\n    address 198.51.100.11/24\n"
    ));
    server.ok("ifup -a");
    world.settle();
    assert_quiet(world);
    let all = || both() && world.client.pings(None, "198.51.100.11");
    assert!(all());
    broken_and_fixed(world, &["uplink-down"; 2], "ip link set eth1 down", &all);
    let both_missing = ["address-missing", "promote-secondaries-off"];
    broken_and_fixed(world, &both_missing, "ip -4 addr flush dev eth1", &all);
    // 'ifdown eth1' does not change the state of the alias: for ifup it is still up.
    broken_and_fixed(world, &["uplink-down"; 2], "ifdown eth1", &all);
}

/// Two DHCP uplinks: dhclient silently adds no second default route without a metric.
pub fn findings_of_dhcp(world: &World) {
    world.install_hooks();
    let serve = |isp: &Host, net: &str| {
        isp.background(&format!(
            "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --group= --port=0 \
             --interface=cust0 --bind-interfaces --no-ping --leasefile-ro --dhcp-range={net}.50,{net}.50,1h \
             --dhcp-option=3,{net}.1 --dhcp-option=6"
        ))
    };
    let _servers = [serve(&world.isp_a, "192.0.2"), serve(&world.isp_b, "198.51.100")];
    let client = || world.client.reaches(None, "192.0.2.50") && world.client.reaches(None, "198.51.100.50");
    for names in [
        "eth0 eth1\niface eth0 inet dhcp\niface eth1 inet dhcp\n",
        "eth0=home eth1=wan\niface home inet dhcp\niface wan inet dhcp\n",
    ] {
        world.configure(&format!("auto {names}"));
        world.server.ok("ifup -a");
        assert!(!client());
        fixed(world, "gateway-unknown", &client);
        assert_quiet(world);
        world.server.ok("ifdown -a");
        crate::judge::assert_nothing_left(world);
    }
}

/// A renewed lease has another router, and dhclient keeps the first one's default route.
pub fn findings_of_a_router_of_a_lease(world: &World) {
    let World { server, isp_a, .. } = world;
    world.install_hooks();
    let _dhcp = crate::uplinks::serve(isp_a, "192.0.2");
    world.configure(&format!(
        "auto lo eth0 eth1\niface lo inet loopback\niface eth0 inet dhcp\n\
         iface eth1 inet static\n    address {B4}/24\n    gateway 198.51.100.1\n    metric 20\n"
    ));
    server.ok("ifup -a");
    assert_quiet(world);
    crate::lease_changes::replace_router(isp_a, "192.0.2.1", "192.0.2.2");
    let hook = "interface=eth0 reason=RENEW new_ip_address=192.0.2.50 new_routers=192.0.2.2 symroute hook --lease";
    // The commands of a dry run do the same.
    let commands = server.ok(&format!("{hook} --dry-run"));
    server.ok(&commands);
    assert_eq!(server.ok(&format!("{hook} --dry-run")), "# Nothing to do.\n", "{commands}");
    server.ok(hook);
    assert!(world.client.reaches(None, "192.0.2.50"));
    let unspecified = || server.reaches(None, "203.0.113.190");
    assert!(!unspecified());
    fixed(world, "default-stale", &unspecified);
    assert_eq!(server.ok("symroute apply"), crate::uplinks::INSTALLED);
    server.ok("ifdown -a");
    crate::judge::assert_nothing_left(world);
}

/// Another host on the link has the address: the kernel has it, but does not use it.
pub fn findings_of_a_duplicate_address(world: &World) {
    healthy(world);
    let (server, isp) = (&world.server, &world.isp_b);
    let client = || world.client.talks(None, B6);
    assert!(client());
    server.ok("echo 1 >/proc/sys/net/ipv6/conf/eth1/accept_dad");
    let add_again = format!("ip -6 addr del {B6}/64 dev eth1; ip -6 addr add {B6}/64 dev eth1");
    // ifupdown's ifup aborts, and the rules are not added either.
    for how in [&add_again[..], "ifdown eth1; ifup eth1 || true"] {
        isp.outside(&format!("ip -6 addr add {B6}/128 dev cust0 nodad")).ok();
        server.ok(&format!(
            "{how}
            for n in $(seq 100); do ip -6 addr show dev eth1 | grep -q dadfailed && exit; sleep 0.1; done; exit 1"
        ));
        let report = check(world);
        let found = ids(&report);
        assert_eq!(found[0], "address-duplicate");
        assert!(how != add_again || found.len() == 1, "{report:#}");
        isp.outside(&format!("ip -6 addr del {B6}/128 dev cust0")).ok();
        broken_and_fixed(world, &found, "true", &client);
    }
}

/// Interfaces and addresses that were changed without ifupdown.
pub fn findings_of_links(world: &World) {
    healthy(world);
    let server = &world.server;
    let client = || world.client.pings(None, B4);
    let client6 = || world.client.pings(None, B6);
    broken_and_fixed(world, &["uplink-down"; 2], "ip link set eth1 down", &|| client() && client6());
    let moved = "ip addr del 198.51.100.10/24 dev eth1 && ip addr add 198.51.100.10/24 dev eth2";
    broken_and_fixed(world, &["address-missing"], moved, &client);
    let off = "echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6";
    broken_and_fixed(world, &["address-missing"], off, &client6);
    // Without a carrier: no command fixes this.
    world.isp_b.outside("ip link set cust0 down").ok();
    server.ok("for n in $(seq 50); do ip route show table 2 | grep -q linkdown && exit; sleep 0.1; done; exit 1");
    assert!(!client());
    assert_eq!(ids(&check(world)), ["uplink-down"]);
    assert_eq!(server.run("symroute check --quiet --ignore uplink-down:eth1").code(), 0);
}

/// A copied stanza: both interfaces have the address, and no setting of the kernel helps.
pub fn findings_of_an_address_on_two_interfaces(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(
        "auto lo eth0 eth1 eth2\niface lo inet loopback\n\
         iface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n\
         iface eth1 inet static\n    address 198.51.100.10/24\n    gateway 198.51.100.1\n    metric 20\n\
         iface eth2 inet static\n    address 198.51.100.10/24\n",
    );
    server.ok("ifup -a");
    world.settle();
    server.ok("for dev in eth1 eth2; do
        echo 1 >/proc/sys/net/ipv4/conf/$dev/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/$dev/arp_announce; done");
    let report = check(world);
    assert!(ids(&report).contains(&"address-on-two-interfaces") && !ids(&report).contains(&"arp-flux"), "{report:#}");
    let of_id = |finding: &&serde_json::Value| finding["id"] == "address-on-two-interfaces";
    let finding = report["findings"].as_array().expect("a list").iter().find(of_id).expect("the finding");
    assert!(finding["fix"][0].as_str().expect("text").starts_with("setsid -w sh -c"), "{finding:#}");
    assert!(finding["before"].as_str().expect("text").contains("cuts connections through eth2"), "{finding:#}");
    fixed(world, "address-on-two-interfaces", &|| world.client.pings(None, B4));
    assert_quiet(world);
    // Without a network, an address may be on two interfaces.
    server.ok("ip addr add 198.51.100.10/32 dev eth2");
    assert_quiet(world);
}
