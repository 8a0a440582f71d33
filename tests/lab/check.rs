//! `symroute check` in the laboratory: a healthy server is broken in one way, real packets show it, the finding
//! names it, the command that it advises mends it, and packets flow again.

use serde_json::Value;

use crate::PLAIN;
use crate::judge::state;
use crate::world::{A4, B4, B6, Holder, Host, World};

/// `symroute check --json`, with its exit code held against what it says.
fn check(world: &World) -> Value {
    let ran = world.server.run("symroute check --json");
    let report: Value = serde_json::from_str(&ran.stdout()).unwrap_or_else(|_| panic!("no JSON: {}", ran.text()));
    assert_eq!(ran.code(), if report["healthy"] == true { 0 } else { 1 }, "{report:#}");
    assert_eq!(world.server.run("symroute check --quiet").code(), ran.code());
    // The schema is what is promised to monitoring; somebody else's validator judges.
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, &ran.output.stdout).expect("room for it");
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/check.schema.json");
    let judged = world.client.outside(&format!("/usr/bin/jsonschema -i {} {schema}", file.path().display()));
    assert!(judged.succeeded(), "{}", judged.text());
    report
}

fn ids(report: &Value) -> Vec<&str> {
    report["findings"].as_array().expect("a list").iter().map(|finding| finding["id"].as_str().expect("text")).collect()
}

/// Healthy servers have no finding at all.
pub fn assert_quiet(world: &World) {
    let ran = world.server.run("symroute check -v");
    assert!(ran.succeeded(), "{}\n{}", ran.text(), state(world));
    assert!(ran.text().contains("All is symmetric"), "{}", ran.text());
}

/// Breaks a healthy server: `works` is what packets say, before, in between and after the advice is followed.
pub fn found_and_mended(world: &World, id: &str, how: &str, works: &dyn Fn() -> bool) {
    assert!(works(), "{id}: works before\n{}", state(world));
    let broken = world.server.run(how);
    assert!(broken.succeeded(), "{id}: {}", broken.text());
    assert!(!works(), "{id}: still works after '{how}'\n{}", state(world));
    mended(world, id, works);
    assert_quiet(world);
}

/// Follows the advice of a finding, and sees the packets and the finding go.
pub fn mended(world: &World, id: &str, works: &dyn Fn() -> bool) {
    let report = check(world);
    let finding = report["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == id);
    let finding = finding.unwrap_or_else(|| panic!("{id} is not among {:?}\n{}", ids(&report), state(world)));
    for command in finding["mend"].as_array().expect("a list") {
        world.server.ok(command.as_str().expect("text"));
    }
    assert!(works(), "{id}: does not work after {}\n{}", finding["mend"], state(world));
    assert!(!ids(&check(world)).contains(&id), "{id} is still found");
}

/// The same where nothing but these findings may be there, and all their advice is followed.
fn broken_and_mended(world: &World, expected: &[&str], how: &str, works: &dyn Fn() -> bool) {
    world.server.ok(how);
    assert!(!works(), "still works after '{how}'\n{}", state(world));
    let report = check(world);
    assert_eq!(ids(&report), expected, "'{how}': {report:#}");
    let findings = report["findings"].as_array().expect("a list").iter();
    for command in findings.flat_map(|finding| finding["mend"].as_array().expect("a list")) {
        world.server.ok(command.as_str().expect("text"));
    }
    world.settle();
    assert!(works(), "'{how}' is not mended by {report:#}\n{}", state(world));
    assert_quiet(world);
}

fn healthy(world: &World) {
    healthy_but_for(world, &[]);
    assert_quiet(world);
}

fn healthy_but_for(world: &World, expected: &[&str]) {
    world.install_hooks();
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook");
    world.server.ok("ifup -a");
    world.settle();
    let report = check(world);
    assert_eq!(ids(&report), expected, "{report:#}");
}

/// Rules, tables and routes.
pub fn findings_of_policy(world: &World) {
    healthy(world);
    let page = include_str!("../../docs/check.md");
    let well = world.server.ok("symroute check");
    assert!(page.contains(&format!("# symroute check\n{well}```\n")), "docs/check.md:\n{well}");
    world.server.ok("ip rule del priority 112");
    let ill = world.server.run("symroute check").stdout();
    assert!(page.contains(&format!("# symroute check\n{ill}# symroute apply\n")), "docs/check.md:\n{ill}");
    world.server.ok("symroute apply");
    let client = || world.client.pings(None, B4);
    let lan = || world.lan.pings(None, B4);
    found_and_mended(world, "rule-missing", "ip rule del priority 112", &client);
    found_and_mended(world, "rule-duplicated", "ip rule add from 198.51.100.10 table 2", &lan);
    found_and_mended(
        world,
        "rule-shadowed",
        "ip route add default via 192.0.2.1 dev eth0 table 200 && ip rule add from all lookup 200 priority 50",
        &client,
    );
    // It was moved behind symroute's, and serves on.
    world.server.ok("ip rule del from all lookup 200 priority 32765");
    found_and_mended(world, "table-empty", "ip route flush table 2", &client);
    found_and_mended(world, "table-stale", "ip route del default table 2", &client);
    let out = || world.server.pings(None, "203.0.113.190");
    found_and_mended(world, "no-default", "ip route del default; ip route del default", &out);
    found_and_mended(world, "uplink-down", "ifdown eth1", &client);
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
    mended(world, "promote-secondaries-off", &|| true);
    mended(world, "address-missing", &second);
    assert_quiet(world);
    world.server.ok("ip addr del 198.51.100.10/24 dev eth1");
    assert!(second(), "with promote_secondaries the other one stays");
    mended(world, "address-missing", &|| world.client.pings(None, B4));
    // The second address goes from the file and from the link.
    world.server.ok("symroute-gen --remove --write");
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook && ip addr del 198.51.100.11/24 dev eth1");
    mended(world, "rule-left-over", &|| true);
    assert_quiet(world);
}

/// The layout of the article: a LAN behind the server does not reach the second uplink's address.
pub fn findings_of_the_article_layout(world: &World) {
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --layout article && ifup -a");
    world.settle();
    let lan = || world.lan.pings(None, B4);
    assert!(!lan() && world.client.pings(None, B4));
    mended(world, "local-network-unreachable", &lan);
    assert_quiet(world);
}

/// Two 'gateway' lines without a metric.
pub fn findings_of_metrics(world: &World) {
    world.install_hooks();
    world.configure(PLAIN);
    assert!(!world.server.run("ifup -a").succeeded());
    let client = || world.client.pings(None, B4) && world.client.pings(None, B6);
    assert!(!client());
    mended(world, "same-metric", &client);
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
    mended(world, "same-metric", &|| defaults() == 2);
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
        broken_and_mended(world, &["address-missing"], &format!("ip addr flush dev {link}"), works);
        broken_and_mended(world, &["uplink-down"], &format!("ip link set {link} down"), works);
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
    mended(world, "same-metric", &second);
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
    broken_and_mended(world, &["address-missing"], "ip -4 addr flush dev eth1", &both);
    broken_and_mended(world, &["uplink-down"; 2], "ip link set eth1 down", &both);
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
    broken_and_mended(world, &["uplink-down"; 2], "ip link set eth1 down", &all);
    let both_missing = ["address-missing", "promote-secondaries-off"];
    broken_and_mended(world, &both_missing, "ip -4 addr flush dev eth1", &all);
    // Down by its administrator's hand, for ever: ifup notes that the alias is up still.
    broken_and_mended(world, &["uplink-down"; 2], "ifdown eth1", &all);
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
    world.server.ok("ifdown eth1");
    world.server.ok("ip rule del priority 70");
    // A rule for a table that has no way out.
    by_hand(&format!("{routes}{}    down ip rule del priority 70\n", rule.replace("table 7", "table 8")));
    world.server.ok("ifup eth1");
    assert!(!client());
    let report = check(world);
    assert!(ids(&report).contains(&"hand-written-wrong-table") && ids(&report).contains(&"wrong-way"), "{report:#}");
    world.server.ok("ifdown eth1");
    by_hand(&format!("{routes}{rule}    down ip rule del priority 70\n"));
    world.server.ok("ifup eth1");
    assert!(client());
    assert_quiet(world);
}

/// Settings of the kernel, and packets that are passed on.
pub fn findings_of_filters(world: &World) {
    healthy(world);
    let server = &world.server;
    // A question arrives, whether or not its answer does.
    let arrives = || {
        let asked = || server.ok("nstat -asz IcmpInEchos | tail -n 1 | awk '{ print $2 }'");
        let before = asked();
        world.client.pings(None, B4);
        asked() != before
    };
    assert!(arrives());
    server.ok("ip rule flush protocol 97 && echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter");
    assert!(!arrives());
    mended(world, "rp-filter-drops", &arrives);
    mended(world, "rule-missing", &|| world.client.pings(None, B4));
    assert_quiet(world);
    server.ok("echo 1 >/proc/sys/net/ipv4/ip_forward");
    assert_quiet(world);
    // A host behind the server, as a container is, has a published port.
    let published = || {
        let ran = world.client.outside("echo there | socat -t 2 -T 3 - TCP:198.51.100.10:8080,connect-timeout=3");
        ran.stdout() == "there\n"
    };
    server.ok("nft add table ip nat && nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }' &&
        nft add rule ip nat pre iifname '\"eth*\"' tcp dport 8080 dnat to 203.0.113.2:7000");
    assert!(!published());
    mended(world, "dnat-without-marks", &published);
    assert_quiet(world);
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter");
    assert!(!published());
    mended(world, "rp-filter-ignores-marks", &published);
    assert_quiet(world);
}

/// A server program that does not care which address it was asked at.
pub fn findings_of_sockets(world: &World) {
    healthy(world);
    let server = &world.server;
    let answers = || {
        let ran = world.client.outside("echo there | socat -t 1 -T 1 - UDP4:198.51.100.10:5300");
        ran.stdout() == "there\n"
    };
    let naive = server.background("exec socat UDP4-RECVFROM:5300,fork PIPE");
    let listens = || {
        assert!(
            server
                .outside("for n in $(seq 50); do ss -lun | grep -q :5300 && exit; sleep 0.1; done; exit 1")
                .succeeded()
        )
    };
    listens();
    assert!(!answers());
    let report = check(world);
    assert_eq!(ids(&report), ["wildcard-udp"], "{report:#}");
    assert!(report["findings"][0]["seen"].as_str().expect("text").starts_with("socat (process "), "{report:#}");
    assert_eq!(server.run("symroute check --ignore wildcard-udp:5300").code(), 0);
    assert_eq!(server.run("symroute check --ignore wildcard-udp:53").code(), 1);
    drop(naive);
    let _bound = server.background("exec socat UDP4-RECVFROM:5300,bind=198.51.100.10,fork PIPE");
    listens();
    assert!(answers());
    assert_quiet(world);
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
        mended(world, "gateway-unknown", &client);
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
        broken_and_mended(world, &found, "true", &client);
    }
}

/// systemd-networkd removes the rules of others as soon as it configures a link of its own.
pub fn findings_of_networkd(world: &World) {
    let server = &world.server;
    healthy(world);
    let client = || world.client.pings(None, B4);
    // With a writable /sys it waits for udev.
    server.mount("mount -o remount,ro,bind sys");
    server.ok("mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /etc/systemd/network
        chown -R systemd-network: /run/systemd/netif
        ip link add ve0 type veth peer name ve1; ip link set ve1 up");
    server.write(
        "/etc/systemd/network/ve0.network",
        b"[Match]\nName=ve0\n[Network]\nAddress=203.0.113.65/28\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n",
    );
    let configured = "for n in $(seq 100); do ip addr show ve0 | grep -q 203.0.113.65 && exit; sleep 0.1; done; exit 1";
    let networkd = server.in_background("exec /usr/lib/systemd/systemd-networkd");
    server.ok(configured);
    assert!(!client());
    let report = check(world);
    assert!(ids(&report).contains(&"networkd-removes-rules") && ids(&report).contains(&"rule-missing"), "{report:#}");
    let finding = report["findings"].as_array().expect("a list").iter().find(|it| it["id"] == "networkd-removes-rules");
    let commands = finding.expect("there")["mend"].as_array().expect("a list");
    for command in commands.iter().filter_map(Value::as_str) {
        // There is no service manager here that could restart it.
        if !command.starts_with("systemctl") {
            server.ok(command);
        }
    }
    drop(networkd);
    assert_quiet(world);
    server.ok("ip addr flush dev ve0");
    let _again = server.in_background("exec /usr/lib/systemd/systemd-networkd");
    server.ok(configured);
    assert!(client());
    assert_quiet(world);
}

/// A NetworkManager that manages eth1 too, and whose own connection for it gives up after `patience` seconds.
fn networkmanager(server: &Host, patience: u32) -> Holder {
    server.write(
        "/etc/NetworkManager/NetworkManager.conf",
        format!(
            "[main]\nplugins=ifupdown,keyfile\ndns=none\nhostname-mode=none\n[ifupdown]\nmanaged=true\n\
             [connection]\nipv4.dhcp-timeout={patience}\nipv6.ra-timeout={patience}\n\
             [device-others]\nmatch-device=interface-name:eth0,interface-name:eth2\nmanaged=0\n"
        )
        .as_bytes(),
    );
    let manager = server.in_background("exec NetworkManager --no-daemon");
    server.ok("for n in $(seq 100); do nmcli general >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1");
    manager
}

/// NetworkManager manages an uplink too: where it comes first, it asks for DHCP and takes away, when there is no
/// answer, what ifup has set in the meantime.
pub fn findings_of_networkmanager(world: &World) {
    let server = &world.server;
    let client = || world.client.pings(None, B4) && world.client.pings(None, B6);
    // With a writable /sys it waits for udev. The bus has no user to change to.
    server.mount(
        "mkdir tmp/manager; cp -r etc/NetworkManager/. tmp/manager/; mount --bind tmp/manager etc/NetworkManager
        mount -t tmpfs tmpfs var/lib/NetworkManager; mount -o remount,ro,bind sys",
    );
    server.write(
        "/run/bus.conf",
        b"<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN'
        'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>
        <busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><policy context='default'>
        <allow user='*'/><allow own='*'/><allow send_type='method_call'/><allow send_type='signal'/>
        <allow send_destination='*'/><allow receive_sender='*'/></policy></busconfig>",
    );
    server.ok("mkdir -p /run/dbus");
    let _bus = server.in_background("exec dbus-daemon --nofork --nopidfile --config-file=/run/bus.conf");
    server.ok("for n in $(seq 50); do [ -S /run/dbus/system_bus_socket ] && exit; sleep 0.1; done; exit 1");
    let is = |state: &str| {
        let asked = format!("nmcli -g GENERAL.STATE device show eth1 | grep -q '{state}'");
        server.ok(&format!("for n in $(seq 100); do {asked} && exit; sleep 0.1; done; nmcli device; exit 1"));
    };
    // There is no service manager here that could restart it.
    let advised = |manager: Holder, patience| {
        let report = check(world);
        let finding =
            report["findings"].as_array().expect("a list").iter().find(|it| it["id"] == "networkmanager-manages");
        let commands = finding.unwrap_or_else(|| panic!("{report:#}"))["mend"].as_array().expect("a list").clone();
        let mut manager = Some(manager);
        for command in commands.iter().filter_map(Value::as_str) {
            if command == "systemctl try-restart NetworkManager" {
                manager.take().expect("one restart").stop();
                manager = Some(networkmanager(server, patience));
            } else {
                server.ok(command);
            }
        }
        is("unmanaged");
        manager
    };
    // It clears the link once, and gives it a link-local address, before it waits for DHCP.
    let waits = || {
        is("connecting");
        let own = "ip -6 addr show dev eth1 scope link | grep -q noprefixroute";
        server.ok(&format!("for n in $(seq 100); do {own} && exit; sleep 0.1; done; ip addr; exit 1"));
    };
    let manager = networkmanager(server, 60);
    waits();
    healthy_but_for(world, &["networkmanager-manages"]);
    assert!(client());
    let monitor = server.in_background("exec ip monitor link address >/run/monitor");
    let manager = advised(manager, 3);
    assert!(client());
    drop(monitor);
    let heard = server.ok("cat /run/monitor");
    assert!(!heard.contains("Deleted") && !heard.contains("state DOWN"), "{heard}");
    assert_quiet(world);
    drop(manager);

    server.ok("ifdown -a; rm /etc/NetworkManager/conf.d/*");
    let manager = networkmanager(server, 3);
    waits();
    server.ok("ifup -a");
    server.ok("for n in $(seq 150); do ip addr show eth1 | grep -q 198.51.100.10 || exit 0; sleep 0.1; done; exit 1");
    assert!(!world.client.pings(None, B4));
    let report = check(world);
    for id in ["networkmanager-manages", "address-missing"] {
        assert!(ids(&report).contains(&id), "{report:#}");
    }
    let _manager = advised(manager, 3);
    mended(world, "address-missing", &client);
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
    let shadowed = |how: &str, works: &dyn Fn() -> bool| broken_and_mended(world, &["rule-shadowed"], how, works);
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
    shadowed("ip rule add from 198.51.100.10 table main priority 111", &client);
    server.ok("ip rule del priority 32765");
    shadowed(
        "ip -6 rule add from 2001:db8:b::10 iif eth2 prohibit priority 50 &&
        ip -6 rule add from 2001:db8:b::10 prohibit priority 50",
        &client6,
    );
    assert!(server.ok("ip -6 rule").contains("from 2001:db8:b::10 iif eth2 prohibit"));
    // What is left of a policy says where it was.
    broken_and_mended(world, &["rule-missing"], "ip rule del priority 110 && ip rule del priority 112", &client);
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
    broken_and_mended(world, &["rule-shadowed"; 4], wg_quick, &reached);
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
    let foreign = |how: &str, works: &dyn Fn() -> bool| broken_and_mended(world, &["route-foreign"], how, works);
    foreign("ip route replace default via 198.51.100.99 dev eth1 table 2 proto static", &client);
    foreign("ip route replace throw default table 2", &client);
    foreign("ip route add blackhole 203.0.113.128/26 table 2", &client);
    foreign("ip -6 route add 2001:db8:f::/48 via 2001:db8:a::1 dev eth0 table 2", &client6);
    // Such that lead out by the uplink's own link, or as main does, are nobody's business.
    server.ok("ip route add 203.0.113.192/28 via 198.51.100.1 dev eth1 table 2 &&
        ip route add 203.0.113.0/26 dev eth2 table 2 && ip route add 203.0.113.208/28 via 203.0.113.2 table 2");
    assert_quiet(world);
    broken_and_mended(world, &["default-stale"], "ip route replace default via 192.0.2.99 dev eth0 onlink", &out);
    // A guard, once the routes that it guards are gone; it refuses what is bound to an address as well.
    server.ok("ip route add unreachable default metric 4278198272");
    assert_quiet(world);
    let gone = "ip route flush exact default && ip route add unreachable default metric 4278198272";
    broken_and_mended(world, &["no-default"], gone, &|| client() && out());
    broken_and_mended(
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
    // The kernel's own routes name a source too.
    for source in ["", " src 203.0.113.97"] {
        let how = format!("ip route add 192.0.2.77 dev br0{source}");
        broken_and_mended(world, &["local-network-unreachable"], &how, &near);
        server.ok("ip route del 192.0.2.77; ip route del 192.0.2.77 table 1");
    }
}

/// Links and addresses that somebody changed behind ifupdown's back, and an edited file.
pub fn findings_of_links(world: &World) {
    healthy(world);
    let server = &world.server;
    let client = || world.client.pings(None, B4);
    let client6 = || world.client.pings(None, B6);
    broken_and_mended(world, &["uplink-down"; 2], "ip link set eth1 down", &|| client() && client6());
    let moved = "ip addr del 198.51.100.10/24 dev eth1 && ip addr add 198.51.100.10/24 dev eth2";
    broken_and_mended(world, &["address-missing"], moved, &client);
    let off = "echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6";
    broken_and_mended(world, &["address-missing"], off, &client6);
    // A cable: no command mends that.
    world.isp_b.outside("ip link set cust0 down").ok();
    server.ok("for n in $(seq 50); do ip route show table 2 | grep -q linkdown && exit; sleep 0.1; done; exit 1");
    assert!(!client());
    assert_eq!(ids(&check(world)), ["uplink-down"]);
    assert_eq!(server.run("symroute check --quiet --ignore uplink-down:eth1").code(), 0);
}

/// Addresses of a provider's network that are on another link than its uplink: no rule of symroute's is for them.
pub fn findings_of_addresses_elsewhere(world: &World) {
    healthy(world);
    let (server, isp) = (&world.server, &world.isp_b);
    const V4: &str = "198.51.100.30";
    const V6: &str = "2001:db8:b::30";
    // For what is on no link, or is not to be asked for there, a provider needs a route.
    isp.outside(&format!("ip route add {V4} via {B4} && ip -6 route add {V6} via {B6}")).ok();
    // TCP too: an ICMPv6 echo is answered by the link that it came through, whatever the source.
    let answers = |to: &str| world.client.reaches(None, to);
    let elsewhere = |how: &str, to: &str| {
        assert!(!answers(to));
        broken_and_mended(world, &["address-elsewhere"], how, &|| answers(to));
        assert!(answers(B4) && answers(B6));
    };
    elsewhere(&format!("ip addr add {V4}/32 dev lo"), V4);
    elsewhere(&format!("ip -6 addr add {V6}/128 dev lo"), V6);
    // What the host itself sends still comes from the address that it came from before.
    let source = server.ok("ip -6 route get 2001:db8:f::99 oif eth1");
    assert!(source.contains(&format!("src {B6} ")), "{source}");
    // The same lines in the stanza keep it.
    let file = String::from_utf8(server.read("/etc/network/interfaces")).expect("text");
    let gateway = "    gateway 198.51.100.1\n";
    world.configure(&file.replace(
        gateway,
        &format!(
            "{gateway}    up ip addr replace {V4}/32 dev eth1
    up ip -6 addr replace {V6}/128 dev eth1 preferred_lft 0\n"
        ),
    ));
    server.ok("ifdown eth1; ifup eth1");
    world.settle();
    assert_quiet(world);
    assert!(answers(V4) && answers(V6));
    world.configure(&file);
    server.ok(&format!("ip addr del {V4}/32 dev lo; ip -6 addr del {V6}/128 dev lo"));
    server.ok(&format!("ip addr del {V4}/32 dev eth1; ip -6 addr del {V6}/128 dev eth1; symroute apply"));
    assert_quiet(world);
    elsewhere(&format!("ip addr add {V4}/32 dev eth2"), V4);
    server.ok(&format!("ip addr del {V4}/32 dev eth2; ip addr del {V4}/32 dev eth1; symroute apply"));
    // A smaller network of its own is not the provider's; that eth1's address does not reach it is another matter.
    server.ok("ip addr add 198.51.100.65/28 dev eth2");
    assert!(!ids(&check(world)).contains(&"address-elsewhere"));
    server.ok("ip addr del 198.51.100.65/28 dev eth2");
    // As a load balancer's servers have it: its link is not to answer for the address.
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/eth1/arp_ignore");
    elsewhere(&format!("ip addr add {V4}/32 dev lo"), V4);
    assert!(!server.ok("ip addr show dev eth1").contains(V4));
    assert!(server.pings(Some(V4), "203.0.113.2"), "the LAN as well");
    // Kept by hand: the page says how.
    let rules = [
        format!("from {V4} table 2 priority 114 suppress_prefixlength 0"),
        format!("from {V4} table main priority 115 suppress_prefixlength 1"),
        format!("from {V4} table 2 priority 116"),
    ];
    let lines: String =
        rules.iter().map(|rule| format!("    up ip rule add {rule}\n    down ip rule del {rule}\n")).collect();
    let lo = "iface lo inet loopback\n";
    let numbers = format!("{gateway}    symroute-table 2\n    symroute-priority 110\n");
    let kept = format!("{lo}    up ip addr replace {V4}/32 dev lo\n{lines}");
    world.configure(&file.replace(lo, &kept).replace(gateway, &numbers));
    assert_quiet(world);
    server.ok(&format!("ip rule del {}; ip rule del {}; ip rule del {}", rules[0], rules[1], rules[2]));
    server.ok("ifdown eth0 eth1 && ifup --force lo && ifup eth0 eth1");
    world.settle();
    assert_quiet(world);
    assert!(answers(V4) && answers(B4));
    // The first provider's are answered by main's default route, and others are nobody's.
    server
        .ok("ip addr add 192.0.2.30/32 dev lo; ip addr add 203.0.113.80/32 dev lo; ip addr add 192.0.2.31/32 dev eth2");
    assert_quiet(world);
}

/// '--to' takes what an answer can be sent to, near ones too.
pub fn asks_for_an_address(world: &World) {
    healthy(world);
    let code = |to: &str| world.server.run(&format!("symroute check --quiet --to {to}")).code();
    for to in ["203.0.113.190", "203.0.113.190 --to 2001:db8:f::99", "198.51.100.20", "203.0.113.2", "2001:db8:b::20"] {
        assert_eq!(code(to), 0, "{to}");
    }
    let refused = ["127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1", "255.255.255.255", "198.51.100.10"];
    for to in refused.into_iter().chain(["203.0.113.190 --to 203.0.113.191", "203.0.113", ""]) {
        assert_eq!(code(to), 2, "{to}");
    }
}

/// What other tools have beside symroute, and no packet is lost.
pub fn quiet_beside_others(world: &World) {
    healthy(world);
    let server = &world.server;
    for line in [
        // Tailscale's, but for the reverse order of its numbers and the tunnel.
        "for family in -4 -6; do ip $family rule add fwmark 0x80000/0xff0000 priority 5210 lookup main
            ip $family rule add fwmark 0x80000/0xff0000 priority 5230 lookup default
            ip $family rule add fwmark 0x80000/0xff0000 priority 5250 unreachable
            ip $family rule add priority 5270 lookup 52; done
        ip route add throw 203.0.113.68 table 52",
        // wg-quick's, started before symroute's.
        "ip route add unreachable default table 51820; ip rule add not fwmark 51820 table 51820 priority 32765
        ip rule add table main suppress_prefixlength 0 priority 32764; ip route add default dev eth0 metric 5 table 51820
        ip route del unreachable default table 51820",
        // An administrator's: the LAN by the second uplink, a mark, a tunnel for one network, networks not to talk to.
        "ip route add default via 198.51.100.1 table 300; ip rule add from 203.0.113.0/26 table 300 priority 50
        ip rule add fwmark 7 table 300 priority 60
        ip rule add to 203.0.113.72/29 table 301 priority 61; ip route add default dev eth2 table 301
        ip rule add to 203.0.113.80/29 blackhole priority 62
        ip route add blackhole 198.51.100.128/27; ip route add unreachable 2001:db8:c::/48
        ip -6 route add blackhole 2001:db8:ffff::/48",
        // Addresses of a LAN's keepalived, of the host, of SLAAC that are on their way out, and one that is taken.
        "ip addr add 203.0.113.50/32 dev eth2; ip addr add 203.0.113.80/32 dev lo; ip -6 addr add 2001:db8:77::1/128 dev lo
        ip -6 addr add 2001:db8:b::beef/64 dev eth1 preferred_lft 0 valid_lft 1000 nodad
        ip addr add 198.51.100.77/32 dev eth1; ip addr add 192.0.2.78/24 dev eth0 noprefixroute
        ip -6 addr add 2001:db8:c::2/64 dev eth2; symroute apply",
        // Routes for one host by one uplink, and main's default with this and that.
        "ip route add 203.0.113.254 via 192.0.2.1 dev eth0; ip route add 203.0.113.253 dev eth1 scope link
        ip route replace default via 192.0.2.1 dev eth0 mtu 1400 advmss 1360 src 192.0.2.10",
        "ip route flush exact default
        ip route add default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1",
        "ip nexthop add id 1 via 192.0.2.1 dev eth0; ip nexthop add id 2 via 198.51.100.1 dev eth1
        ip nexthop add id 10 group 1/2; ip route replace default nhid 10",
    ] {
        server.ok(line);
        assert_quiet(world);
    }
    let ways = [("client", &world.client, B4), ("client", &world.client, B6), ("client", &world.client, A4)];
    assert_eq!(Host::lost(&ways), Vec::<String>::new());
    assert!(world.client.pings(None, "198.51.100.77"));
}
