//! Findings about everything except rules and tables: filters, sockets, other managers.

use serde_json::Value;

use super::{assert_quiet, check, fixed, healthy, healthy_but_for, ids};
use crate::world::{B4, B6, Holder, Host, World};

/// Settings of the kernel, and forwarded packets.
pub fn findings_of_filters(world: &World) {
    healthy(world);
    let server = &world.server;
    // The request arrives, even if its reply does not.
    let arrives = || {
        let received = || server.ok("nstat -asz IcmpInEchos | tail -n 1 | awk '{ print $2 }'");
        let before = received();
        world.client.pings(None, B4);
        received() != before
    };
    assert!(arrives());
    server.ok("ip rule flush protocol 97 && echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter");
    assert!(!arrives());
    fixed(world, "rp-filter-drops", &arrives);
    fixed(world, "rule-missing", &|| world.client.pings(None, B4));
    assert_quiet(world);
    server.ok("echo 1 >/proc/sys/net/ipv4/ip_forward");
    assert_quiet(world);
    // A host behind the server, such as a container, has a published port.
    let published = || {
        let ran = world.client.outside("echo there | socat -t 2 -T 3 - TCP:198.51.100.10:8080,connect-timeout=3");
        ran.stdout() == "there\n"
    };
    server.ok("nft add table ip nat && nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }' &&
        nft add rule ip nat pre iifname '\"eth*\"' tcp dport 8080 dnat to 203.0.113.2:7000");
    assert!(!published());
    fixed(world, "dnat-without-marks", &published);
    assert_quiet(world);
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter");
    assert!(!published());
    fixed(world, "rp-filter-ignores-marks", &published);
    assert_quiet(world);
}

/// A server program that does not set the source address of its replies.
pub fn findings_of_sockets(world: &World) {
    healthy(world);
    let server = &world.server;
    let replies = || {
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
    assert!(!replies());
    let report = check(world);
    assert_eq!(ids(&report), ["wildcard-udp"], "{report:#}");
    assert!(report["findings"][0]["summary"].as_str().expect("text").starts_with("socat (process "), "{report:#}");
    assert_eq!(server.run("symroute check --ignore wildcard-udp:5300").code(), 0);
    assert_eq!(server.run("symroute check --ignore wildcard-udp:53").code(), 1);
    drop(naive);
    let _bound = server.background("exec socat UDP4-RECVFROM:5300,bind=198.51.100.10,fork PIPE");
    listens();
    assert!(replies());
    assert_quiet(world);
}

/// systemd-networkd removes foreign rules as soon as it configures an interface.
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
    let finding =
        report["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == "networkd-removes-rules");
    let commands = finding.expect("the finding")["fix"].as_array().expect("a list");
    for command in commands.iter().filter_map(Value::as_str) {
        // No service manager runs in the test lab.
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

/// A NetworkManager that also manages eth1. Its own connection gives up after `timeout` seconds.
fn networkmanager(server: &Host, timeout: u32) -> Holder {
    server.write(
        "/etc/NetworkManager/NetworkManager.conf",
        format!(
            "[main]\nplugins=ifupdown,keyfile\ndns=none\nhostname-mode=none\n[ifupdown]\nmanaged=true\n\
             [connection]\nipv4.dhcp-timeout={timeout}\nipv6.ra-timeout={timeout}\n\
             [device-others]\nmatch-device=interface-name:eth0,interface-name:eth2\nmanaged=0\n"
        )
        .as_bytes(),
    );
    let manager = server.in_background("exec NetworkManager --no-daemon");
    server.ok("for n in $(seq 100); do nmcli general >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1");
    manager
}

/// NetworkManager also manages an uplink. If it starts first, it tries DHCP. If no server replies, it removes the
/// addresses that ifup has set.
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
    let wait_for_state = |state: &str| {
        let query = format!("nmcli -g GENERAL.STATE device show eth1 | grep -q '{state}'");
        server.ok(&format!("for n in $(seq 100); do {query} && exit; sleep 0.1; done; nmcli device; exit 1"));
    };
    // No service manager runs in the test lab.
    let follow_fix = |manager: Holder, timeout| {
        let report = check(world);
        let finding = report["findings"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|finding| finding["id"] == "networkmanager-manages");
        let commands = finding.unwrap_or_else(|| panic!("{report:#}"))["fix"].as_array().expect("a list").clone();
        let mut manager = Some(manager);
        for command in commands.iter().filter_map(Value::as_str) {
            if command == "systemctl try-restart NetworkManager" {
                manager.take().expect("one restart").stop();
                manager = Some(networkmanager(server, timeout));
            } else {
                server.ok(command);
            }
        }
        wait_for_state("unmanaged");
        manager
    };
    // It flushes the interface once, and adds a link-local address, before it waits for DHCP.
    let wait_for_dhcp = || {
        wait_for_state("connecting");
        let link_local = "ip -6 addr show dev eth1 scope link | grep -q noprefixroute";
        server.ok(&format!("for n in $(seq 100); do {link_local} && exit; sleep 0.1; done; ip addr; exit 1"));
    };
    let manager = networkmanager(server, 60);
    wait_for_dhcp();
    healthy_but_for(world, &["networkmanager-manages"]);
    assert!(client());
    let monitor = server.in_background("exec ip monitor link address >/run/monitor");
    let manager = follow_fix(manager, 3);
    assert!(client());
    drop(monitor);
    let events = server.ok("cat /run/monitor");
    assert!(!events.contains("Deleted") && !events.contains("state DOWN"), "{events}");
    assert_quiet(world);
    drop(manager);

    server.ok("ifdown -a; rm /etc/NetworkManager/conf.d/*");
    let manager = networkmanager(server, 3);
    wait_for_dhcp();
    server.ok("ifup -a");
    server.ok("for n in $(seq 150); do ip addr show eth1 | grep -q 198.51.100.10 || exit 0; sleep 0.1; done; exit 1");
    assert!(!world.client.pings(None, B4));
    let report = check(world);
    for id in ["networkmanager-manages", "address-missing"] {
        assert!(ids(&report).contains(&id), "{report:#}");
    }
    let _manager = follow_fix(manager, 3);
    fixed(world, "address-missing", &client);
    assert_quiet(world);
}
