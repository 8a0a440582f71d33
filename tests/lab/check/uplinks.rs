//! Findings of uplinks themselves: metrics, names, addresses, gateways, links.

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

/// The same in inet6 alone: the second one silently takes the place of the first.
pub fn findings_of_metrics_inet6(world: &World) {
    world.install_hooks();
    world.configure(&crate::WITH_METRIC.replace("    metric 2000\n", ""));
    world.server.ok("ifup -a");
    world.settle();
    let defaults = || world.server.ok("ip -6 route show default").lines().filter(|it| it.contains("via")).count();
    assert_eq!(defaults(), 1);
    // So the host itself is cut off as soon as the second uplink goes down.
    let alone = || {
        world.server.ok("ifdown eth1");
        let reaches = world.server.pings(None, "2001:db8:f::99");
        world.server.ok("ifup eth1");
        world.settle();
        reaches
    };
    assert!(!alone());
    fixed(world, "same-metric", &|| defaults() == 2);
    assert_quiet(world);
    assert!(alone());
}

/// Stanzas that are not named as their links are: a name behind '=', and what a mapping chose.
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
    // A ping ends at the first 'host unreachable', which may be of the time before.
    let twice = |to| (0..2).any(|_| world.client.pings(None, to));
    let (first, second) = (|| twice(A4), || twice(B4));
    for (link, works) in [("eth0", &first as &dyn Fn() -> bool), ("eth1", &second)] {
        assert!(works());
        broken_and_fixed(world, &["address-missing"], &format!("ip addr flush dev {link}"), works);
        broken_and_fixed(world, &["uplink-down"], &format!("ip link set {link} down"), works);
    }
    server.ok("ip link set eth1 down");
    let seen = "eth1=wan inet is not up, though 'auto' brings it up at boot";
    assert_eq!(check(world)["findings"][0]["seen"], seen, "what its administrator calls it");
    server.ok("ifdown --force eth0=home eth1=wan");
    // Two 'gateway' lines without a metric.
    world.configure(&interfaces(""));
    assert!(!server.run("ifup -a").succeeded());
    assert!(!second());
    let report = check(world);
    let finding = report["findings"].as_array().expect("a list").iter().find(|it| it["id"] == "same-metric");
    let finding = finding.expect("found");
    assert_eq!(finding["mend"], serde_json::json!([]), "symroute-gen knows no mapping's choice");
    let advice = finding["advice"].as_str().expect("text");
    assert!(advice.starts_with("Write 'metric 20' into its stanza, then "), "{advice}");
    world.configure(&interfaces("    metric 20\n"));
    server.ok(advice.split('\'').nth(3).expect("a command"));
    assert!(second());
    assert_quiet(world);
    // Without a mapping it is all in the file.
    server.ok("ifdown --force eth0=home eth1=wan");
    world.configure(
        &interfaces("").replace("mapping eth0\n    script /etc/network/choose\n", "").replace("home", "eth0"),
    );
    assert!(!server.run("ifup -a").succeeded());
    assert!(!second());
    fixed(world, "same-metric", &second);
    assert_quiet(world);
}

/// Aliases: they are brought up by their own name, and go with the link that they are on.
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
    // Down by its administrator's hand, for ever: ifup notes that the alias is up still.
    broken_and_fixed(world, &["uplink-down"; 2], "ifdown eth1", &all);
}

/// Two DHCP uplinks: dhclient silently makes no second default route without a metric.
pub fn findings_of_dhcp(world: &World) {
    world.install_hooks();
    let serve = |isp: &Host, net: &str| {
        isp.background(&format!(
            "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --port=0 --interface=cust0 --bind-interfaces \
             --no-ping --leasefile-ro --dhcp-range={net}.50,{net}.50,1h --dhcp-option=3,{net}.1 --dhcp-option=6"
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

/// Somebody else on the link has the address: the kernel has it, and does not use it.
pub fn findings_of_a_duplicate_address(world: &World) {
    healthy(world);
    let (server, isp) = (&world.server, &world.isp_b);
    let client = || world.client.talks(None, B6);
    assert!(client());
    server.ok("echo 1 >/proc/sys/net/ipv6/conf/eth1/accept_dad");
    let set_anew = format!("ip -6 addr del {B6}/64 dev eth1; ip -6 addr add {B6}/64 dev eth1");
    // ifupdown's ifup gives up there, and the rules are not made either.
    for how in [&set_anew[..], "ifdown eth1; ifup eth1 || true"] {
        isp.outside(&format!("ip -6 addr add {B6}/128 dev cust0 nodad")).ok();
        server.ok(&format!(
            "{how}
            for n in $(seq 100); do ip -6 addr show dev eth1 | grep -q dadfailed && exit; sleep 0.1; done; exit 1"
        ));
        let report = check(world);
        let found = ids(&report);
        assert_eq!(found[0], "address-duplicate");
        assert!(how != set_anew || found.len() == 1, "{report:#}");
        isp.outside(&format!("ip -6 addr del {B6}/128 dev cust0")).ok();
        broken_and_fixed(world, &found, "true", &client);
    }
}

/// Links and addresses that somebody changed behind ifupdown's back, and an edited file.
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
    // A cable: no command mends that.
    world.isp_b.outside("ip link set cust0 down").ok();
    server.ok("for n in $(seq 50); do ip route show table 2 | grep -q linkdown && exit; sleep 0.1; done; exit 1");
    assert!(!client());
    assert_eq!(ids(&check(world)), ["uplink-down"]);
    assert_eq!(server.run("symroute check --quiet --ignore uplink-down:eth1").code(), 0);
}

/// A copied stanza: both links have the address, and no setting of the kernel helps.
pub fn findings_of_an_address_twice(world: &World) {
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
    fixed(world, "address-on-two-interfaces", &|| world.client.pings(None, B4));
    assert_quiet(world);
    // A router has its own address on its machines' link too, without a network.
    server.ok("ip addr add 198.51.100.10/32 dev eth2");
    assert_quiet(world);
}
