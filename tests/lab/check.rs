//! `symroute check` in the laboratory: a healthy server is broken in one way, real packets show it, the finding
//! names it, the command that it advises mends it, and packets flow again.

use serde_json::Value;

use crate::PLAIN;
use crate::judge::state;
use crate::world::{B4, World};

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

fn healthy(world: &World) {
    world.install_hooks();
    world.configure(PLAIN);
    world.server.ok("symroute-gen --write --style hook");
    world.server.ok("ifup -a");
    world.settle();
    assert_quiet(world);
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
    let client = || world.client.pings(None, B4) && world.client.pings(None, crate::world::B6);
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
    let serve = |isp: &crate::world::Host, net: &str| {
        isp.background(&format!(
            "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --port=0 --interface=cust0 --bind-interfaces \
             --no-ping --leasefile-ro --dhcp-range={net}.50,{net}.50,1h --dhcp-option=3,{net}.1 --dhcp-option=6"
        ))
    };
    let _servers = [serve(&world.isp_a, "192.0.2"), serve(&world.isp_b, "198.51.100")];
    world.configure("auto eth0 eth1\niface eth0 inet dhcp\niface eth1 inet dhcp\n");
    world.server.ok("ifup -a");
    let client = || world.client.reaches(None, "192.0.2.50") && world.client.reaches(None, "198.51.100.50");
    assert!(!client());
    mended(world, "gateway-unknown", &client);
    assert_quiet(world);
    world.server.ok("ifdown -a");
    crate::judge::assert_nothing_left(world);
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

/// NetworkManager manages an uplink too. Its process and its note for the link are played by stand-ins: it does not
/// run without a message bus. What it does to a link is played as well: the address goes and comes back.
pub fn findings_of_networkmanager(world: &World) {
    healthy(world);
    let server = &world.server;
    server.ok("cp /bin/sleep /tmp/NetworkManager && mkdir -p /run/NetworkManager/devices
        printf '[device]\\nmanaged=true\\n' >/run/NetworkManager/devices/$(cat /sys/class/net/eth1/ifindex)");
    assert_quiet(world);
    let manager = server.in_background("exec /tmp/NetworkManager 1000");
    let found = || ids(&check(world)).contains(&"networkmanager-manages").to_string();
    server.ok("for n in $(seq 50); do grep -qs NetworkManager /proc/[0-9]*/comm && exit; sleep 0.1; done; exit 1");
    assert_eq!(found(), "true");
    server.ok("ip addr del 198.51.100.10/24 dev eth1 && ip -6 addr del 2001:db8:b::10/64 dev eth1 &&
        ip addr add 198.51.100.10/24 dev eth1");
    assert!(!world.client.pings(None, B4));
    assert!(ids(&check(world)).contains(&"table-empty"));
    drop(manager);
    server.ok("symroute apply");
    assert!(world.client.pings(None, B4));
}
