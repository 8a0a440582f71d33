//! Leases whose router the DHCP client alone knows: real clients, and servers behind both providers.

use std::path::Path;

use crate::check::{check, ids};
use crate::judge::{assert_nothing_left, state};
use crate::providers::assert_lookups;
use crate::uplinks::{INSTALLED, LEASED, assert_reached, serve, serve_router};
use crate::world::{A4, World};

/// As the package installs it.
pub fn install_client_hook(world: &World) {
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/dhclient")).expect("a hook");
    world.server.mount("mount -t tmpfs tmpfs etc/dhcp/dhclient-exit-hooks.d");
    world.server.write("/etc/dhcp/dhclient-exit-hooks.d/symroute", &text);
}

/// What a client reports, without the client.
fn report(world: &World, variables: &str) {
    let said = world.server.run(&format!("interface=eth1 {variables} symroute hook --lease"));
    assert_eq!((said.code(), said.text().as_str()), (0, ""), "{variables}");
}

/// Two default routes without a metric: dhclient adds none for the second uplink, and its table has the router.
pub fn a_lease_beside_a_default_route(world: &World) {
    let server = &world.server;
    world.install_hooks();
    install_client_hook(world);
    world.configure(&format!(
        "auto lo eth0 eth1\niface lo inet loopback\n\
         iface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\niface eth1 inet dhcp\n"
    ));
    let first = serve(&world.isp_b, "198.51.100");
    server.ok("ifup -a");
    let of_main = server.ok("ip route show default");
    assert!(!of_main.contains("eth1"), "the client adds a second default route: {of_main}");
    let reached = || {
        assert_reached(world, &[A4, LEASED]);
        assert_eq!(server.ok("symroute apply"), INSTALLED);
        // The main table has no backup default route: that is all.
        assert_eq!(ids(&check(world)), ["same-metric"]);
    };
    reached();
    assert_lookups(world);

    // A renewal with nothing new changes nothing, nor does what no client should report.
    let before = state(world);
    let lease = format!("reason=RENEW new_ip_address={LEASED}");
    report(world, &format!("{lease} new_routers=198.51.100.1"));
    for hostile in ["0.0.0.0", "127.0.0.1", "'$(touch /tmp/hostile)'", "'198.51.100.1;reboot'", "fe80::1"] {
        let said = server.run(&format!("interface=eth1 {lease} new_routers={hostile} symroute hook --lease"));
        let expected = "symroute: eth1: the routers of its lease have no usable router: ";
        assert!(said.code() == 1 && said.text().starts_with(expected), "{hostile}: {}", said.text());
        assert_eq!(state(world), before, "{hostile}");
    }
    for other in ["reason=PREINIT", "reason=RENEW new_ip_address=198.51.100.77 new_routers=198.51.100.9"] {
        report(world, other);
        assert_eq!(state(world), before, "{other}");
    }
    assert_eq!(server.run("test -e /tmp/hostile").code(), 1);

    // Another router, from the server, at the next lease.
    drop(first);
    world.isp_b.outside("ip addr add 198.51.100.2/24 dev cust0").ok();
    let second = serve_router(&world.isp_b, "198.51.100", "198.51.100.2");
    server.ok("kill $(cat /run/dhclient.eth1.pid); ifup --force eth1");
    let table = server.ok("ip route show table 2 default");
    assert!(table.starts_with("default via 198.51.100.2 dev eth1"), "{table}");
    reached();

    // The lease ends: the client removes its address.
    server.ok(&format!("ip addr del {LEASED}/24 dev eth1"));
    report(world, "reason=EXPIRE");
    let rules = server.ok("ip rule; ip route show table all proto 97");
    assert!(!rules.contains(LEASED) && !rules.contains("eth1"), "{rules}");
    server.ok("kill $(cat /run/dhclient.eth1.pid); ifup --force eth1");
    reached();
    drop(second);
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// The client's script reads the hook as a part of itself: whatever symroute does, the script goes on. What symroute
/// reports is in the system log.
pub fn hooks_of_clients_harm_no_client(world: &World) {
    let server = &world.server;
    server.write("/tmp/logger", b"#!/bin/sh\necho \"$*\" >>/tmp/logged\n");
    server.write("/tmp/fails", b"#!/bin/sh\necho 'symroute: eth1: reason' >&2\nexit 1\n");
    server.write("/tmp/empty", b"");
    server.ok("chmod 755 /tmp/logger /tmp/fails /tmp/empty");
    let silent = "eth1: /tmp/empty failed without a message";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/dhclient");
    let text = std::fs::read_to_string(path).expect("a hook");
    for (program, logged) in [
        ("/nonexistent", None),
        ("/bin/true", None),
        ("/tmp/fails", Some("eth1: reason")),
        ("/tmp/empty", Some(silent)),
    ] {
        server.write("/tmp/hook", text.replace("/usr/sbin/symroute", program).as_bytes());
        server.ok(": >/tmp/logged");
        let script = "interface=eth1 message=kept; . /tmp/hook; echo goes on, $message";
        assert_eq!(server.ok(&format!("PATH=/tmp:$PATH sh -euc '{script}'")), "goes on, kept\n");
        let expected = logged.map(|text| format!("-t symroute -p daemon.err -- symroute: {text}\n"));
        assert_eq!(server.ok("cat /tmp/logged"), expected.unwrap_or_default(), "{program}");
    }
}
