//! Uplinks that the files do not describe completely: default routes that only the main table has, and addresses on
//! other interfaces. IPv6 needs TCP here, because an echo reply uses the interface of its request.

use crate::check::{assert_quiet, broken_and_fixed, check, fixed, ids};
use crate::judge::{assert_nothing_left, state};
use crate::world::{A4, A6, B4, B6, Holder, Host, PUBLIC, World};

pub const INSTALLED: &str = "Nothing to do: everything is installed.\n";

pub fn assert_reached(world: &World, addresses: &[&str]) {
    let ways: Vec<_> = addresses.iter().map(|to| ("remote client", &world.client, *to)).collect();
    let lost = Host::lost(&ways);
    assert!(lost.is_empty(), "{lost:?}\n{}", state(world));
}

fn interfaces(eth0: [&str; 2], eth1: [&str; 2]) -> String {
    format!(
        "auto lo eth0 eth1
iface lo inet loopback
iface eth0 inet static
    address {A4}/24{}
iface eth0 inet6 static
    address {A6}/64{}
iface eth1 inet static
    address {B4}/24{}
iface eth1 inet6 static
    address {B6}/64{}
",
        eth0[0], eth0[1], eth1[0], eth1[1]
    )
}

const GATEWAYS: [&str; 2] = ["\n    gateway 192.0.2.1", "\n    gateway 2001:db8:a::1"];

/// Sends a router advertisement with a lifetime below 65536 s. `options` are further options in the syntax of `printf`,
/// `more` are socat's. The kernel adds the checksum.
pub fn advertise(isp: &Host, lifetime: u16, options: &str, more: &str) {
    let [high, low] = lifetime.to_be_bytes();
    let message = format!(r"\206\000\000\000\100\000\{high:03o}\{low:03o}\000\000\000\000\000\000\000\000{options}");
    let to = format!("IP6-SENDTO:[ff02::1]:58,so-bindtodevice=cust0,setsockopt-int=41:18:255{more}");
    isp.outside(&format!("printf '{message}' | socat -u - '{to}'")).ok();
}

/// Static addresses, with routers from advertisements. The hooks run before the advertisements arrive.
pub fn advertised_routers_are_gateways(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    world.install_hooks();
    world.configure(&interfaces(
        [GATEWAYS[0], "\n    accept_ra 2"],
        ["\n    gateway 198.51.100.1\n    metric 20", "\n    accept_ra 2"],
    ));
    server.ok("ifup -a");
    world.settle();
    server.ok("echo 2 | tee /proc/sys/net/ipv6/conf/eth0/accept_ra >/proc/sys/net/ipv6/conf/eth1/accept_ra");
    advertise(isp_a, 1800, "", "");
    advertise(isp_b, 1800, "", "");
    server.ok(
        "for n in $(seq 50); do [ $(ip -6 route show default | grep -c via) = 2 ] && exit; sleep 0.1; done; exit 1",
    );
    server.ok("symroute apply");
    let assert_unchanged = || {
        assert_reached(world, &PUBLIC);
        assert_quiet(world);
        assert_eq!(server.ok("symroute apply"), INSTALLED);
    };
    assert_unchanged();
    assert!(server.ok("symroute plan").contains("eth1 IPv6"));
    // The router sends no advertisement, or another program deletes its route. The uplink still has its own table.
    server.ok("ip -6 route del default dev eth1");
    assert_unchanged();
    server.ok("ifdown eth1");
    let remaining = server.ok("symroute status; ip -6 rule; ip -6 route show table all proto 97");
    assert!(!remaining.contains("2001:db8:b::10"), "{remaining}");
    server.ok("ifdown eth0");
    assert_nothing_left(world);
}

/// A script adds the second default route, as a separate route or as a second nexthop of the first.
pub fn default_routes_of_a_script_make_uplinks(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&interfaces(GATEWAYS, ["", ""]));
    server.ok("ifup -a");
    world.settle();
    assert_eq!(server.ok("symroute apply"), "Nothing to do: neither IPv4 nor IPv6 has two or more uplinks.\n");
    server.ok("ip route add default via 198.51.100.1 dev eth1 metric 50");
    server.ok("ip -6 route add default via 2001:db8:b::1 dev eth1 metric 2000");
    assert!(!world.client.talks(None, B4));
    // The next event of any interface.
    server.ok("IFACE=eth0 LOGICAL=eth0 ADDRFAM=inet METHOD=static MODE=start PHASE=post-up symroute hook");
    let assert_unchanged = || {
        assert_eq!(server.ok("symroute apply"), INSTALLED);
        assert_reached(world, &PUBLIC);
        assert_quiet(world);
    };
    assert_unchanged();
    server.ok("ip route del default dev eth1; ip route replace default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1");
    server.ok("ip route show default | grep -q 'nexthop via 198.51.100.1'");
    assert_eq!(server.ok("symroute apply"), INSTALLED);
    assert_reached(world, &PUBLIC);
    server.ok("while ip route del default 2>/dev/null; do :; done; ip route add default via 192.0.2.1 dev eth0");
    assert_unchanged();
    // The kernel shows nexthop objects by their numbers alone.
    server.ok("symroute flush; ip route del default; sysctl -qw net.ipv4.nexthop_compat_mode=0
        ip nexthop add id 1 via 192.0.2.1 dev eth0; ip nexthop add id 2 via 198.51.100.1 dev eth1
        ip nexthop add id 10 group 1/2; ip route add default nhid 10");
    fixed(world, "default-route-unknown", &|| PUBLIC[2..3].iter().all(|to| world.client.reaches(None, to)));
    assert_unchanged();
    // The uplink is removed with its addresses.
    server.ok("ifdown eth1");
    assert_nothing_left(world);
    assert_reached(world, &PUBLIC[..2]);
    server.ok("ifdown eth0");
}

/// A default route through an interface without a stanza.
pub fn check_reports_a_default_route_without_uplink(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&interfaces(
        GATEWAYS,
        ["\n    gateway 198.51.100.1\n    metric 20", "\n    gateway 2001:db8:b::1\n    metric 2048"],
    ));
    server.ok("ifup -a");
    world.settle();
    assert_quiet(world);
    server
        .outside("ip link add vpn0 type veth peer name vpn1; for dev in vpn0 vpn1; do ip link set $dev up; done")
        .ok();
    server.ok("ip addr add 203.0.113.197/30 dev vpn0; ip route add default via 203.0.113.198 dev vpn0 metric 900");
    let line = "Default route in the main table that belongs to no uplink (IPv4): default via 203.0.113.198 dev vpn0";
    for command in ["symroute plan", "symroute status"] {
        let printed = server.ok(command);
        assert!(printed.contains(line), "{printed}");
    }
    let found = check(world);
    assert_eq!(ids(&found), ["default-route-unknown"]);
    assert_eq!(server.run("symroute check --quiet --ignore default-route-unknown:vpn0").code(), 0);
    assert_reached(world, &PUBLIC);
    server.ok("ip route del default dev vpn0");
    assert_quiet(world);

    // Another program configures all uplinks. One default route is no problem.
    server.ok("ifdown -a; ip link del vpn0");
    world.configure("auto lo\niface lo inet loopback\niface eth2 inet static\n    address 203.0.113.1/26\n");
    server.ok("ip link set eth0 up; ip addr add 192.0.2.10/24 dev eth0; ip route add default via 192.0.2.1 dev eth0");
    assert_eq!(server.run("symroute check --quiet").code(), 0);
    server.ok("ip link set eth1 up; ip addr add 198.51.100.10/24 dev eth1");
    server.ok("ip route add default via 198.51.100.1 dev eth1 metric 20");
    assert!(!world.client.reaches(None, B4));
    assert_eq!(ids(&check(world)), ["default-route-unknown"; 2]);
    server.ok("ip route del default dev eth0; ip route del default dev eth1");
    server.ok("ip route add default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1");
    assert_eq!(ids(&check(world)), ["default-route-unknown"]);
}

/// Some guides write 2000::/3 for the IPv6 default route.
pub fn routes_to_all_global_addresses_make_uplinks(world: &World) {
    let server = &world.server;
    world.install_hooks();
    let line = |gateway: &str, dev: &str, metric: u32| {
        format!("\n    up ip -6 route add 2000::/3 via {gateway} dev {dev} metric {metric}")
    };
    let (first, second) = (line("2001:db8:a::1", "eth0", 100), line("2001:db8:b::1", "eth1", 200));
    for first in [&first[..], GATEWAYS[1]] {
        let eth1 = ["\n    gateway 198.51.100.1\n    metric 20", &second];
        world.configure(&interfaces([GATEWAYS[0], first], eth1));
        server.ok("ifup -a");
        world.settle();
        assert_reached(world, &PUBLIC);
        assert_quiet(world);
        assert_eq!(server.ok("symroute apply"), INSTALLED);
        let status = server.ok("symroute status");
        assert!(!status.contains("missing"), "{status}");
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Addresses of one provider's network on the other uplink's interface, on lo, and on the LAN's interface.
pub fn addresses_on_other_interfaces_use_their_uplink(world: &World) {
    let World { server, isp_a, isp_b, client, .. } = world;
    const V4: &str = "192.0.2.30";
    const V6: &str = "2001:db8:a::30";
    const W4: &str = "198.51.100.30";
    world.install_hooks();
    let second = ["\n    gateway 198.51.100.1\n    metric 20", "\n    gateway 2001:db8:b::1\n    metric 2048"];
    world.configure(&interfaces(GATEWAYS, second));
    server.ok("ifup -a");
    world.settle();
    // The provider needs routes to these addresses. No interface replies to neighbour discovery for an address of
    // another interface, or to ARP if the address is on lo for a load balancer.
    isp_a.outside(&format!("ip -6 route add {V6} via {A6}; ip route add {V4} via {A4}")).ok();
    for dev in ["eth1", "lo"] {
        server.ok("echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_ignore");
        server.ok(&format!("ip addr add {V4}/32 dev {dev}; ip -6 addr add {V6}/128 dev {dev} nodad"));
        server.ok("symroute apply");
        assert_reached(world, &[V4, V6, A4, A6, B4, B6]);
        assert_quiet(world);
        let lookup =
            server.ok(&format!("ip route get 203.0.113.190 from {V4}; ip -6 route get 2001:db8:f::99 from {V6}"));
        assert_eq!(lookup.matches("dev eth0").count(), 2, "{lookup}");
        server.ok(&format!("ip addr del {V4}/32 dev {dev}; ip -6 addr del {V6}/128 dev {dev}; symroute apply"));
        assert_quiet(world);
    }
    server.ok("echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_ignore");
    // A smaller network on the LAN's interface does not belong to the provider.
    server.ok("ip addr add 192.0.2.65/28 dev eth2; ip link set eth2 up");
    assert_eq!(server.ok("symroute apply"), INSTALLED);
    server.ok("ip addr del 192.0.2.65/28 dev eth2");
    // An address of the second provider. Main's default route would send its replies through the first provider.
    broken_and_fixed(world, &["rule-missing"], &format!("ip addr add {W4}/32 dev eth0"), &|| client.reaches(None, W4));
    isp_b.outside("ip neigh flush dev cust0").ok();
    assert_reached(world, &[W4, B4, A4]);
    // The address and its rules are removed with the interface.
    server.ok("ifdown eth0");
    let remaining = server.ok("ip rule; ip -6 rule");
    assert!(!remaining.contains(W4) && !remaining.contains(A4), "{remaining}");
    server.ok("ifdown eth1");
    assert_nothing_left(world);
}

const SECOND: [&str; 2] = ["\n    gateway 198.51.100.1\n    metric 20", "\n    gateway 2001:db8:b::1\n    metric 2048"];

/// Records of ifup about other interfaces, and an alias with a logical name, remove only their own entries.
pub fn an_alias_removes_only_its_address(world: &World) {
    let server = &world.server;
    const EXTRA: &str = "198.51.100.11";
    world.install_hooks();
    world.configure(
        &(interfaces(GATEWAYS, SECOND).replace("auto lo eth0 eth1", "auto lo eth0 eth1 eth1:1=extra")
            + &format!("iface extra inet static\n    address {EXTRA}/24\n")),
    );
    server.ok("ifup -a");
    world.settle();
    let assert_unchanged = |what: &str| {
        assert_eq!(server.ok("symroute apply"), INSTALLED, "{what}");
        assert_reached(world, &[A4, A6, B4, B6]);
    };
    assert_unchanged("up");
    assert_quiet(world);
    let rules_of_extra = || server.ok("ip rule").matches(&format!("from {EXTRA} ")).count();
    assert_eq!(rules_of_extra(), 2);
    server.ok("ifdown eth1:1");
    assert_eq!(rules_of_extra(), 0, "{}", state(world));
    assert_unchanged("the alias is down");
    server.ok("ifup eth1:1=extra");
    assert_eq!(rules_of_extra(), 2);
    // The same with a name that is in no list.
    server.ok("ifdown eth1:1; sed -i 's/ eth1:1=extra//' /etc/network/interfaces; ifup eth1:1=extra");
    assert_eq!(rules_of_extra(), 2, "{}", state(world));
    server.ok("ifdown eth1:1");
    assert_eq!(rules_of_extra(), 0, "{}", state(world));
    assert_unchanged("the alias is down again");
    // An interface that does not exist, and an interface without the address.
    for hook in
        ["IFACE=nosuch LOGICAL=eth1 MODE=start symroute hook", "IFACE=eth2 LOGICAL=eth1 MODE=start symroute hook"]
    {
        server.ok(hook);
        assert_unchanged(hook);
    }
    server.ok("echo usb0=eth1 >>/run/network/ifstate; IFACE=eth0 LOGICAL=eth0 MODE=start symroute hook");
    assert_unchanged("a stale line in ifstate");
    server.ok("sed -i /usb0/d /run/network/ifstate; ifdown eth1; ifdown eth0");
    assert_nothing_left(world);
}

/// `ip link set eth1 name wan1`, and the next event of any interface.
pub fn a_renamed_interface_stays_an_uplink(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&interfaces(GATEWAYS, SECOND));
    server.ok("ifup -a");
    world.settle();
    // Some kernels rename an interface only while it is down. IPv6 then loses its addresses.
    server.outside("ip link set eth1 name wan1").ok();
    assert!(server.ok("ip -4 addr show dev wan1").contains(B4));
    server.ok("IFACE=eth0 LOGICAL=eth0 ADDRFAM=inet METHOD=static MODE=start PHASE=post-up symroute hook");
    assert_eq!(server.ok("symroute apply"), INSTALLED);
    assert_reached(world, &PUBLIC);
    let rules = server.ok("ip rule; ip -6 rule");
    assert!(rules.contains("oif wan1") && !rules.contains("oif eth1"), "{rules}");
    server.outside("ip link set wan1 name eth1").ok();
    server.ok("symroute apply; ifdown eth1; ifdown eth0");
    assert_nothing_left(world);
}

/// An uplink is found although an alias, an altname or the name of another interface is not UTF-8.
pub fn interface_names_have_any_bytes(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&interfaces(GATEWAYS, SECOND));
    server.ok("ifup -a");
    world.settle();
    let policy = || server.ok("for n in -4 -6; do ip $n rule; ip $n route show table all proto 97; done");
    let before = policy();
    server
        .outside(
            r#"set -e
            ip link set eth1 alias "$(printf 'B\374ro')"
            ip link property add dev eth1 altname "$(printf 'B\374ro')" altname a-name-that-is-longer-than-fifteen-bytes
            ip link property add dev eth0 altname "$(printf '\377\\x41')"
            ip link add "$(printf 'lan\374')" type veth peer name "$(printf '\377\376')"
            ip link set "$(printf 'lan\374')" up; ip addr add 203.0.113.193/28 dev "$(printf 'lan\374')""#,
        )
        .ok();
    assert_eq!(server.ok("symroute apply"), INSTALLED);
    server.ok("IFACE=eth0 LOGICAL=eth0 ADDRFAM=inet METHOD=static MODE=start PHASE=post-up symroute hook");
    assert_eq!((server.ok("symroute apply"), policy()), (INSTALLED.into(), before));
    assert_quiet(world);
    assert_reached(world, &PUBLIC);
    server.ok("ifdown eth1; ifdown eth0");
    assert_nothing_left(world);
}

/// Two uplinks on one interface, by lines. The rule of the interface is removed with the last of them.
pub fn two_uplinks_share_the_rule_of_an_interface(world: &World) {
    let server = &world.server;
    let alias = "iface eth1:1 inet static\n    address 198.51.100.11/24\n    gateway 198.51.100.20\n    metric 30\n";
    for style in ["iproute2", "hook"] {
        if style == "hook" {
            world.install_hooks();
        }
        world.configure(
            &(interfaces(GATEWAYS, SECOND).replace("auto lo eth0 eth1", "auto lo eth0 eth1 eth1:1") + alias),
        );
        server.ok(&format!("symroute-gen --write --style {style} && ifup -a"));
        world.settle();
        let assert_one_rule = |what: &str| {
            let rules = server.ok("ip rule show oif eth1");
            assert_eq!(rules.lines().count(), 1, "{style}, {what}: {rules}");
            let status = server.run("symroute status");
            assert!(status.succeeded(), "{style}, {what}: {}", status.text());
            assert!(server.ok("ip route get 203.0.113.190 oif eth1").contains("via 198.51.100.1 "), "{what}");
        };
        assert_one_rule("both up");
        server.ok("ifdown eth1:1");
        assert_one_rule("the alias is down");
        server.ok("ifup eth1:1");
        assert_one_rule("both up again");
        server.ok("ifdown eth1:1; ifdown eth1; ifdown eth0");
        assert_nothing_left(world);
        server.ok("symroute-gen --remove --write --quiet");
    }
}

/// Starts a provider's DHCP server for one address.
pub fn serve(isp: &Host, net: &str) -> Holder {
    serve_router(isp, net, &format!("{net}.1"))
}

/// The same with another router.
pub fn serve_router(isp: &Host, net: &str, router: &str) -> Holder {
    isp.background(&format!(
        "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --group= --port=0 --interface=cust0 \
         --bind-interfaces --no-ping --leasefile-ro --dhcp-range={net}.50,{net}.50,1h --dhcp-option=3,{router} \
         --dhcp-option=6"
    ))
}

pub const LEASED: &str = "198.51.100.50";

/// A lease and a static address on one interface, by lines. The second stanza starts after the lines of the first one.
pub fn a_lease_and_a_fixed_address_share_an_interface(world: &World) {
    let server = &world.server;
    let _dhcp = serve(&world.isp_b, "198.51.100");
    for second in ["", "first"] {
        let dhcp = "iface eth1 inet dhcp\n    metric 100\n";
        let fixed = format!("iface eth1 inet static\n    address {B4}/24\n");
        let stanzas = if second.is_empty() { format!("{dhcp}{fixed}") } else { format!("{fixed}{dhcp}") };
        world.configure(&format!(
            "auto lo eth0 eth1\niface lo inet loopback\n\
             iface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\n{stanzas}"
        ));
        server.ok("symroute-gen --write && ifup -a");
        assert_reached(world, &[A4, B4, LEASED]);
        assert_quiet(world);
        assert_eq!(server.ok("symroute-gen --check --quiet; symroute apply"), INSTALLED);
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Main loses the default route of a lease, then the uplink's table is emptied. No message suggests to remove the
/// remaining entries.
pub fn a_lease_keeps_its_uplink_without_default_route(world: &World) {
    let server = &world.server;
    let _dhcp = [serve(&world.isp_a, "192.0.2"), serve(&world.isp_b, "198.51.100")];
    world.install_hooks();
    world.configure(
        "auto lo eth0 eth1\niface lo inet loopback\niface eth0 inet dhcp\niface eth1 inet dhcp\n    metric 20\n",
    );
    server.ok("ifup -a");
    let reached = || assert_reached(world, &["192.0.2.50", LEASED]);
    reached();
    let other_hook = "IFACE=eth0 LOGICAL=eth0 ADDRFAM=inet METHOD=dhcp MODE=start PHASE=post-up symroute hook";
    server.ok(&format!("ip route del default dev eth1; {other_hook}"));
    let assert_unchanged = || {
        server.ok(other_hook);
        assert_eq!(server.ok("symroute apply"), INSTALLED);
        reached();
        assert_quiet(world);
    };
    assert_unchanged();
    // Both gateways in one default route.
    let nexthops = "nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1";
    server.ok(&format!("while ip route del default 2>/dev/null; do :; done; ip route add default {nexthops}"));
    assert_unchanged();
    server.ok("ip route del default; ip route add default via 192.0.2.1 dev eth0");
    assert_unchanged();
    // `ip link set down` and `up` empties its table and keeps its address. Its rules are kept until the gateway is
    // known again.
    let rules = || server.ok("ip rule; ip link show dev eth1 | grep -o 'group [0-9]*'");
    let before = rules();
    server.ok(&format!("ip link set eth1 down; ip link set eth1 up; {other_hook}"));
    assert_eq!(rules(), before);
    let inactive = server.ok("symroute apply");
    assert!(inactive.contains("eth1 (IPv4) is inactive: its gateway is not known."), "{inactive}");
    assert_eq!(rules(), before);
    let status = server.ok("symroute status");
    let is_waiting = |line: &str| line.starts_with("eth1 IPv4") && line.ends_with("  no gateway");
    assert!(status.lines().any(is_waiting) && !status.contains("Stale"), "{status}");
    let found = check(world);
    assert_eq!(ids(&found), ["gateway-unknown"], "{found:#}");
    assert!(!found.to_string().contains("symroute-gen"), "it has a metric: {found:#}");
    fixed(world, "gateway-unknown", &|| world.client.reaches(None, LEASED));
    assert_unchanged();
    server.ok("ifdown -a");
    assert_nothing_left(world);
}
