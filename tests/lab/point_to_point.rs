//! Uplinks without a gateway: pppd, and tunnels. The interface is a veth pair without ARP and NDP, on which both ends
//! have one MAC address: what one end sends, the other receives, as on a point-to-point link. The provider behind it is
//! as strict as ever.

use std::path::Path;

use serde_json::Value;

use crate::check::{check, ids};
use crate::judge::{assert_nothing_left, state};
use crate::world::{A4, A6, B4, B6, PUBLIC, World};

const STATIC: &str = "iface lo inet loopback
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth0 inet6 static
    address 2001:db8:a::10/64
    gateway 2001:db8:a::1
";

/// `pon` and `poff`, and what pppd(8) does between them: no pppd. It adds the interface and the addresses, and runs
/// Debian's scripts with their environment. IPv6CP gives a link-local address; the other one is that of an advertisement.
const PON: &str = "#!/bin/sh
export PPP_IFACE=ppp0 PPP_TTY=eth1 PPP_SPEED=0 PPP_LOCAL=198.51.100.10 PPP_REMOTE=198.51.100.1 PPP_IPPARAM=
scripts() {
	run-parts \"/etc/ppp/$1.d\" --arg=ppp0 --arg=eth1 --arg=0 --arg=\"$2\" --arg=\"$3\" --arg=
}
case \"$0\" in
*pon)
	ip link set eth1 down
	ip link set eth1 name ppp0
	ip link set ppp0 up
	ip addr add 198.51.100.10 peer 198.51.100.1 dev ppp0
	ip route add default dev ppp0 metric 20
	scripts ip-up 198.51.100.10 198.51.100.1
	ip -6 addr add 2001:db8:b::10/64 dev ppp0
	ip -6 route add default dev ppp0 metric 2000
	scripts ipv6-up fe80::2 fe80::1
	;;
*)
	ip link show ppp0 >/dev/null 2>&1 || exit 0
	ip addr flush dev ppp0
	ip link set ppp0 down
	scripts ip-down 198.51.100.10 198.51.100.1
	scripts ipv6-down fe80::2 fe80::1
	ip link set ppp0 name eth1
	;;
esac
";

/// The link to provider B has no neighbours to find.
fn make_point_to_point(world: &World) {
    let arrange = |host: &crate::world::Host, name: &str| {
        host.outside(&format!("ip link set {name} address 02:00:00:00:00:77 arp off")).ok();
    };
    arrange(&world.server, "eth1");
    arrange(&world.isp_b, "cust0");
    world.client.outside("ip -6 neigh flush all").ok();
}

fn install_pppd(world: &World) {
    let server = &world.server;
    server.mount(
        "cp -a etc tmp/etc; cd tmp/etc; mkdir -p ppp/peers ppp/ip-up.d ppp/ip-down.d ppp/ipv6-up.d ppp/ipv6-down.d
        cd ../..; mount --bind tmp/etc etc; mount -t tmpfs tmpfs usr/local/bin",
    );
    for name in ["pon", "poff"] {
        server.write(&format!("/usr/local/bin/{name}"), PON.as_bytes());
    }
    let hook = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/ppp")).expect("a hook");
    for directory in ["ip-up", "ip-down", "ipv6-up", "ipv6-down"] {
        server.write(&format!("/etc/ppp/{directory}.d/symroute"), &hook);
    }
    server.ok("chmod 755 /usr/local/bin/* /etc/ppp/*/symroute");
}

/// Every host reaches every address, and the server reaches the Internet from each.
fn assert_reached(world: &World, what: &str) {
    world.settle();
    let World { server, client, neighbour_a, neighbour_b, .. } = world;
    for to in PUBLIC {
        let remote = if to.contains(':') { "2001:db8:f::99" } else { "203.0.113.190" };
        assert!(client.reaches(None, to), "{what}: the client to {to}\n{}", state(world));
        assert!(server.pings(Some(to), remote), "{what}: {to} to the client\n{}", state(world));
        for (name, neighbour) in [("A", neighbour_a), ("B", neighbour_b)] {
            assert!(neighbour.talks(None, to), "{what}: neighbour {name} to {to}\n{}", state(world));
        }
    }
}

/// The kernel sends packets from the provider's addresses through the interface without a gateway.
fn assert_routes(world: &World, interface: &str) {
    let route = |from: &str, to: &str| world.server.ok(&format!("ip -o route get {to} from {from}"));
    for (from, to) in [(B4, "203.0.113.190"), (B6, "2001:db8:f::99"), (B4, "192.0.2.20"), (B6, "2001:db8:a::20")] {
        let route = route(from, to);
        assert!(route.contains(&format!("dev {interface} ")) && !route.contains("via"), "{route}");
    }
    for (from, to, gateway) in
        [(A4, "198.51.100.1", "192.0.2.1"), (A4, "198.51.100.20", "192.0.2.1"), (A6, "2001:db8:b::20", "2001:db8:a::1")]
    {
        let route = route(from, to);
        assert!(route.contains(&format!("via {gateway} dev eth0")), "{route}");
    }
}

/// `symroute check` has no finding; the plan has no gateway.
fn assert_agreed(world: &World, interface: &str, expected: &[&str]) {
    assert_eq!(ids(&check(world)), expected);
    world.server.ok("symroute status");
    let explained = world.server.ok(&format!("symroute explain --json --from {B4} --to 203.0.113.190"));
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    let kernel = &explained["kernel"];
    assert_eq!(
        (&kernel["dev"], &kernel["gateway"], &explained["verdict"]),
        (&interface.into(), &Value::Null, &"same".into())
    );
    let status: Value = serde_json::from_str(&world.server.ok("symroute status --json")).expect("JSON");
    let uplinks = status["uplinks"].as_array().expect("a list");
    let own: Vec<&Value> = uplinks.iter().filter(|uplink| uplink["interface"] == interface).collect();
    assert_eq!(own.len(), 2, "{status:#}");
    for uplink in own {
        assert_eq!(
            (&uplink["gateway"], &uplink["point_to_point"], &uplink["state"]),
            (&Value::Null, &true.into(), &"ok".into())
        );
    }
}

/// Starts the server with these files by lines or by hooks, with a loose and a strict reverse path filter. Returns which,
/// for messages.
fn start(world: &World, interfaces: &str, interface: &str, lines: bool) -> &'static str {
    let what = if lines { "lines" } else { "hooks" };
    world.configure(interfaces);
    match lines {
        true => {
            _ = world
                .server
                .ok("rm -f /etc/network/if-up.d/symroute /etc/network/if-down.d/symroute; symroute-gen --write")
        }
        false => world.install_hooks(),
    }
    for filter in [0, 1] {
        world.server.ok(&format!("sysctl -q net.ipv4.conf.all.rp_filter={filter}; ifup -a"));
        assert_reached(world, what);
        assert_routes(world, interface);
    }
    assert_agreed(world, interface, &[]);
    what
}

pub fn ppp_is_an_uplink(world: &World) {
    let server = &world.server;
    make_point_to_point(world);
    install_pppd(world);
    for lines in [false, true] {
        let what =
            start(world, &format!("auto lo eth0 dsl\n{STATIC}iface dsl inet ppp\n    provider isp\n"), "ppp0", lines);
        // pppd loses the link and dials again. ifupdown does not know.
        server.ok("poff isp");
        let rules = server.ok("ip rule; ip -6 rule");
        assert!(!rules.contains(B4) && !rules.contains(B6) && !rules.contains("ppp0"), "{what}: {rules}");
        server.ok("pon isp");
        assert_reached(world, what);
        server.ok("ifdown dsl");
        let rules = server.ok("ip rule; ip -6 rule");
        assert!(!rules.contains(B4) && !rules.contains("ppp0"), "{what}: {rules}");
        server.ok("ifup dsl");
        assert_reached(world, what);
        server.ok("ifdown dsl; ifdown eth0");
        assert_nothing_left(world);
    }
    world.install_hooks();
    // The interface is not known: two stanzas, and pppd's files do not tell.
    let two = format!(
        "auto lo eth0 dsl umts\n{STATIC}iface dsl inet ppp\n    provider isp\niface umts inet ppp\n    provider gsm\n"
    );
    world.configure(&two);
    let said = server.run("symroute plan").text();
    assert!(said.contains("dsl: the interface that pppd uses is not known"), "{said}");
    server.ok("ifup eth0 dsl");
    assert_eq!(ids(&check(world)), ["ppp-interface-unknown", "ppp-interface-unknown"]);
    server.ok("ifdown dsl; ifdown eth0");
    server.write("/etc/ppp/peers/gsm", b"unit 1\n");
    server.write("/etc/ppp/peers/isp", b"# unit 5\nunit 0\n");
    let said = server.run("symroute plan").text();
    assert!(!said.contains("is not known"), "{said}");
    server.ok("ifup eth0 dsl");
    assert_reached(world, "unit");
    server.ok("ifdown dsl; ifdown eth0");
    assert_nothing_left(world);
}

/// pppd goes on, whatever symroute does.
pub fn hooks_of_pppd_harm_no_pppd(world: &World) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/ppp")).expect("a hook");
    for program in ["/nonexistent", "/bin/false", "/bin/true"] {
        world.server.write("/tmp/hook", text.replace("/usr/sbin/symroute", program).as_bytes());
        assert_eq!(world.server.run("PPP_IFACE=ppp0 sh -eu /tmp/hook").code(), 0, "{program}");
    }
    let said = world.server.run("symroute hook --ppp");
    assert_eq!(said.code(), 1, "{}", said.text());
}

/// The stanzas of a tunnel that exists.
const TUNNEL: &str = "iface tun0 inet static
    address 198.51.100.10/32
    symroute-gateway none
iface tun0 inet6 static
    address 2001:db8:b::10/128
    symroute-gateway none
";

pub fn a_tunnel_without_a_gateway_is_an_uplink(world: &World) {
    let server = &world.server;
    make_point_to_point(world);
    server.ok("ip link set eth1 name tun0");
    for lines in [false, true] {
        let what = start(world, &format!("auto lo eth0 tun0\n{STATIC}{TUNNEL}"), "tun0", lines);
        // The kernel removes the routes of an interface that goes down.
        server.ok("ip link set tun0 down; ip link set tun0 up; ip -6 addr replace 2001:db8:b::10/128 dev tun0; symroute apply");
        assert_reached(world, what);
        server.ok("ifdown tun0");
        let rules = server.ok("ip rule; ip -6 rule");
        assert!(!rules.contains(B4) && !rules.contains(B6) && !rules.contains("tun0"), "{what}: {rules}");
        server.ok("ifup tun0");
        assert_reached(world, what);
        server.ok("ifdown tun0; ifdown eth0");
        assert_nothing_left(world);
    }
}

/// A program that adds the addresses and the default route: symroute learns both.
pub fn a_default_route_without_a_gateway_makes_an_uplink(world: &World) {
    let server = &world.server;
    make_point_to_point(world);
    world.install_hooks();
    // Guides for tunnels write 2000::/3.
    for default in ["default", "2000::/3"] {
        world.configure(&format!(
            "auto lo eth0 eth1\n{STATIC}iface eth1 inet manual\n    up ip link set eth1 up\n    \
             up ip addr add 198.51.100.10 peer 198.51.100.1 dev eth1\n    \
             up ip -6 addr add 2001:db8:b::10/64 dev eth1\n    \
             up sh -c 'ip route add default dev eth1 metric 50; ip -6 route add {default} dev eth1 metric 2000'\n    \
             down ip addr flush dev eth1\n    down ip link set eth1 down\n"
        ));
        server.ok("ifup -a");
        assert_reached(world, "main");
        assert_routes(world, "eth1");
        assert_agreed(world, "eth1", &[]);
        // Main's default goes: the uplink keeps its own.
        server.ok(&format!("ip route del default dev eth1; ip -6 route del {default} dev eth1; symroute apply"));
        assert_reached(world, "without main");
        server.ok("ifdown eth1; ifdown eth0");
        assert_nothing_left(world);
    }
}

/// The layout of the article, and its lines.
pub fn lines_of_the_article_without_a_gateway(world: &World) {
    let server = &world.server;
    make_point_to_point(world);
    server.ok("ip link set eth1 name tun0");
    world.configure(&format!("auto lo eth0 tun0\n{STATIC}{TUNNEL}"));
    server.ok(
        "rm -f /etc/network/if-up.d/symroute /etc/network/if-down.d/symroute; symroute-gen --write --style article",
    );
    let text = server.ok("cat /etc/network/interfaces");
    assert!(text.contains("post-up ip route add default dev tun0 table 2\n"), "{text}");
    server.ok("ifup -a");
    for to in PUBLIC {
        assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
    }
    server.ok("ifdown tun0; ifdown eth0");
    assert_nothing_left(world);
}
