//! `symroute status`: what it prints, and that each part of the plan is needed.

use crate::WITH_METRIC;
use crate::judge::{assert_keys_documented, assert_nothing_left, state};
use crate::world::{A4, B4, B6, World};

/// Each part of the plan is needed. Without it, two hosts do not reach each other, `status` reports it, and `apply`
/// restores it.
pub fn apply_restores_each_missing_entry(world: &World) {
    world.install_hooks();
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    let cases: [(&str, &dyn Fn() -> bool); 5] = [
        ("ip link set dev eth1 group 0", &|| world.neighbour_b.pings(None, A4)),
        ("ip link set dev eth0 group 0", &|| world.neighbour_a.talks(None, B6)),
        ("ip route flush table 2", &|| world.client.pings(None, B4)),
        ("ip rule del priority 110", &|| world.lan.pings(None, B4)),
        ("ip -6 rule del priority 111", &|| world.client.talks(None, B6)),
    ];
    for (damage, reaches) in cases {
        assert!(reaches(), "before '{damage}'");
        world.server.ok(damage);
        assert!(!reaches(), "after '{damage}'\n{}", state(world));
        let status = world.server.run("symroute status");
        assert_eq!(status.code(), 1, "{}", status.text());
        assert!(status.stdout().contains(", missing:\n"), "{}", status.text());
        world.server.ok("symroute apply");
        assert!(reaches(), "after 'symroute apply'\n{}", state(world));
        assert_eq!(world.server.ok("symroute apply"), "Nothing to do: everything is installed.\n");
    }
    // A socket bound to the interface reaches a link-local neighbour directly.
    let to_neighbour = || world.server.ok("ip -6 route get fe80::77 oif eth0");
    assert!(!to_neighbour().contains("via"), "{}", to_neighbour());
    world.server.ok("ip -6 route del fe80::/64 table 1");
    assert!(to_neighbour().contains("via 2001:db8:a::1"), "{}", to_neighbour());
    world.server.ok("symroute apply; ip rule add from 203.0.113.9 table 99 priority 50; ip route add default via 203.0.113.2 table 99");
    world.server.ok("symroute flush; symroute flush");
    let rules = world.server.ok("ip rule");
    assert!(rules.contains("203.0.113.9") && !rules.contains("proto 97"), "{rules}");
    assert_eq!(world.server.ok("ip route show table 99"), "default via 203.0.113.2 dev eth2 \n");
    world.server.ok("ip rule del priority 50");
    assert_nothing_left(world);
}

/// `status` on a healthy host, on the broken host of docs/usage.md, and on a host without uplinks. Colours appear only
/// on a terminal, and not with NO_COLOR.
pub fn status_shows_each_state(world: &World) {
    let server = &world.server;
    world.configure(
        "auto lo eth0 eth1
iface lo inet loopback
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet static
    address 198.51.100.10/24
    gateway 198.51.100.1
    metric 20
",
    );
    assert_eq!(
        server.ok("symroute status"),
        "UPLINK     ADDRESS           GATEWAY       TABLE  PRIO  STATE
eth0 IPv4  192.0.2.10/24     192.0.2.1         1   100  interface down
eth1 IPv4  198.51.100.10/24  198.51.100.1      2   110  interface down

0 of 2 IPv4 uplinks are active.
eth0 (IPv4) is inactive: interface is down. Start it with 'ifup eth0'.
eth1 (IPv4) is inactive: interface is down. Start it with 'ifup eth1'.
symroute watch is not running.
"
    );
    server.ok("ifup -a; symroute apply");
    let table = "UPLINK     ADDRESS           GATEWAY       TABLE  PRIO  STATE
eth0 IPv4  192.0.2.10/24     192.0.2.1         1   100  ok
eth1 IPv4  198.51.100.10/24  198.51.100.1      2   110  ok

";
    let entries = "eth0 IPv4: table 1, layout layered
    installed dev eth0 group 97
    installed 192.0.2.0/24 dev eth0 scope link
    installed default via 192.0.2.1 dev eth0
    installed 100:\tfrom 192.0.2.10 lookup main suppress_prefixlength 1 suppress_ifgroup 97
    installed 101:\tfrom 192.0.2.10 lookup 1
    installed 103:\tfrom all oif eth0 lookup 1

eth1 IPv4: table 2, layout layered
    installed dev eth1 group 97
    installed 198.51.100.0/24 dev eth1 scope link
    installed default via 198.51.100.1 dev eth1
    installed 110:\tfrom 198.51.100.10 lookup main suppress_prefixlength 1 suppress_ifgroup 97
    installed 111:\tfrom 198.51.100.10 lookup 2
    installed 113:\tfrom all oif eth1 lookup 2

";
    assert_eq!(
        server.ok("symroute status"),
        format!("{table}Everything is installed.\nsymroute watch is not running.\n")
    );
    assert_eq!(
        server.ok("symroute status -v"),
        format!("{table}{entries}Everything is installed.\nsymroute watch is not running.\n")
    );

    server.ok("ip rule del priority 111; ip rule add from 203.0.113.0/26 lookup 2 priority 115");
    let table = table.replacen("2   110  ok", "2   110  1 of 6 missing", 1);
    let foreign = "Foreign entries in the same tables or priority range:
    115:\tfrom 203.0.113.0/26 lookup 2

Out of sync. Preview: symroute apply --dry-run   Fix: symroute apply
symroute watch is not running.
";
    let broken = format!("{table}eth1 IPv4, missing:\n    111:\tfrom 198.51.100.10 lookup 2\n\n{foreign}");
    let status = server.run("symroute status");
    assert_eq!((status.code(), status.text()), (1, broken.clone()));
    let entries = entries.replacen("installed 111", "MISSING   111", 1);
    assert_eq!(server.run("symroute status -v").text(), format!("{table}{entries}{foreign}"));
    assert_keys_documented(&server.run("symroute status --json").stdout());
    let page = include_str!("../../../docs/usage.md");
    assert!(page.contains(&format!("# symroute status\n{broken}# symroute apply\n")), "docs/usage.md:\n{broken}");

    // A chroot often has no /dev/pts.
    world
        .server
        .mount("mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts; mount --bind dev/pts/ptmx dev/ptmx");
    let terminal = |variable: &str| server.run(&format!("{variable} script -qec 'symroute status' /dev/null")).stdout();
    let colored = terminal("");
    assert!(colored.contains("1   100  \u{1b}[32mok\u{1b}[0m"), "{colored:?}");
    assert!(colored.contains("2   110  \u{1b}[31m1 of 6 missing\u{1b}[0m"), "{colored:?}");
    let plain = |colored: &str| colored.replace('\r', "");
    assert_eq!(plain(&terminal("NO_COLOR=1")), broken);
    assert!(terminal("NO_COLOR=").contains('\u{1b}'), "an empty NO_COLOR keeps the colours");

    assert_eq!(server.ok("symroute apply"), "1 change made; everything is installed.\n");
    // Another program sets the interface down. ifupdown does not record this.
    server.ok("ip link set eth1 down");
    // ifupdown2 has no record: its ifup starts an interface that is down.
    let restart = match world.suite {
        "bookworm-ifupdown2" => "Start it with 'ifup eth1'.",
        _ => "Restart it, which cuts its connections: setsid -w sh -c \"ifdown --force eth1; ifup eth1\"",
    };
    let inactive = format!("1 of 2 IPv4 uplinks is active.\neth1 (IPv4) is inactive: interface is down. {restart}\n");
    assert_eq!(server.ok("symroute apply"), format!("4 changes made.\n{inactive}"));
    let status = server.ok("symroute status");
    assert!(
        status.ends_with(&format!("\n\n{inactive}symroute watch is not running.\n"))
            && !status.contains("Everything is installed"),
        "{status}"
    );
    server.ok("setsid -w sh -c \"ifdown --force eth1; ifup eth1\"; symroute apply");
    assert!(world.client.pings(None, B4));
    server.ok("ip route del default dev eth1");
    assert!(server.ok("symroute status").contains("  ok, default route missing in main\n"));
    // Each address is on the other interface, as after an exchange of their names.
    server.ok(&format!(
        "ip addr flush dev eth0; ip addr flush dev eth1; ip addr add {A4}/24 dev eth1; ip addr add {B4}/24 dev eth0"
    ));
    let status = server.run("symroute status").text();
    assert!(!status.contains("Fix: symroute apply") && status.contains("Run 'symroute check' first.\n"), "{status}");
    server.ok("ip addr flush dev eth0; ip addr flush dev eth1");
    server.ok("ip rule del priority 115; symroute flush; ifdown -a");
    world.configure("auto lo\niface lo inet loopback\n");
    assert_eq!(
        server.ok("symroute status"),
        "No uplinks found.\n\nNothing to do: neither IPv4 nor IPv6 has two or more uplinks.\nsymroute watch is not running.\n"
    );
    assert_eq!(server.ok("symroute apply"), "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n");
}
