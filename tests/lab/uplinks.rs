//! Uplinks that the files do not name in full: default routes that only the main table has, and addresses on other
//! interfaces than their uplink's. Only TCP tells in IPv6: an echo reply is bound to the interface of its request.

use crate::check::{assert_quiet, broken_and_fixed, check, fixed, ids};
use crate::judge::{assert_nothing_left, state};
use crate::world::{A4, A6, B4, B6, Holder, Host, PUBLIC, World};

const IN_PLACE: &str = "Nothing to do: everything is in place.\n";

fn assert_reached(world: &World, addresses: &[&str]) {
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

/// A router advertisement of a router without any prefix; the kernel adds the checksum.
fn advertise(isp: &Host) {
    let message = r"\206\000\000\000\100\000\007\010\000\000\000\000\000\000\000\000";
    let to = "IP6-SENDTO:[ff02::1]:58,so-bindtodevice=cust0,setsockopt-int=41:18:255";
    isp.outside(&format!("printf '{message}' | socat -u - '{to}'")).ok();
}

/// Fixed addresses, and routers by advertisement: the hooks come before those.
pub fn routers_by_advertisement(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    world.install_hooks();
    world.configure(&interfaces(
        [GATEWAYS[0], "\n    accept_ra 2"],
        ["\n    gateway 198.51.100.1\n    metric 20", "\n    accept_ra 2"],
    ));
    server.ok("ifup -a");
    world.settle();
    server.ok("echo 2 | tee /proc/sys/net/ipv6/conf/eth0/accept_ra >/proc/sys/net/ipv6/conf/eth1/accept_ra");
    advertise(isp_a);
    advertise(isp_b);
    server.ok(
        "for n in $(seq 50); do [ $(ip -6 route show default | grep -c via) = 2 ] && exit; sleep 0.1; done; exit 1",
    );
    server.ok("symroute apply");
    let keeps = || {
        assert_reached(world, &PUBLIC);
        assert_quiet(world);
        assert_eq!(server.ok("symroute apply"), IN_PLACE);
    };
    keeps();
    assert!(server.ok("symroute plan").contains("eth1 inet6"));
    // The router is silent for too long, or somebody takes its route away: the uplink has its own table still.
    server.ok("ip -6 route del default dev eth1");
    keeps();
    server.ok("ifdown eth1");
    let left = server.ok("symroute status; ip -6 rule; ip -6 route show table all proto 97");
    assert!(!left.contains("2001:db8:b::10"), "{left}");
    server.ok("ifdown eth0");
    assert_nothing_left(world);
}

/// A script adds the second default route, as one of its own or as a second nexthop of the first.
pub fn defaults_by_a_script(world: &World) {
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
    let keeps = || {
        assert_eq!(server.ok("symroute apply"), IN_PLACE);
        assert_reached(world, &PUBLIC);
        assert_quiet(world);
    };
    keeps();
    server.ok("ip route del default dev eth1; ip route replace default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1");
    server.ok("ip route show default | grep -q 'nexthop via 198.51.100.1'");
    assert_eq!(server.ok("symroute apply"), IN_PLACE);
    assert_reached(world, &PUBLIC);
    server.ok("while ip route del default 2>/dev/null; do :; done; ip route add default via 192.0.2.1 dev eth0");
    keeps();
    // It goes with its addresses.
    server.ok("ifdown eth1");
    assert_nothing_left(world);
    assert_reached(world, &PUBLIC[..2]);
    server.ok("ifdown eth0");
}

/// A default route through an interface that no stanza is for.
pub fn a_default_route_of_no_uplink(world: &World) {
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
        let said = server.ok(command);
        assert!(said.contains(line), "{said}");
    }
    let found = check(world);
    assert_eq!(ids(&found), ["default-route-unknown"]);
    assert_eq!(server.run("symroute check --quiet --ignore default-route-unknown:vpn0").code(), 0);
    assert_reached(world, &PUBLIC);
    server.ok("ip route del default dev vpn0");
    assert_quiet(world);
}

/// Addresses of one provider's network on the other uplink's interface, on the loopback, and on the LAN's.
pub fn addresses_on_other_interfaces(world: &World) {
    let World { server, isp_a, isp_b, client, .. } = world;
    const V4: &str = "192.0.2.30";
    const V6: &str = "2001:db8:a::30";
    const W4: &str = "198.51.100.30";
    world.install_hooks();
    let second = ["\n    gateway 198.51.100.1\n    metric 20", "\n    gateway 2001:db8:b::1\n    metric 2048"];
    world.configure(&interfaces(GATEWAYS, second));
    server.ok("ifup -a");
    world.settle();
    // For what is not to be asked for there, a provider needs a route: no interface replies to neighbour discovery for
    // the address of another, nor to ARP where the servers behind a load balancer have it on lo.
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
    // A smaller network of its own is not the provider's.
    server.ok("ip addr add 192.0.2.65/28 dev eth2; ip link set eth2 up");
    assert_eq!(server.ok("symroute apply"), IN_PLACE);
    server.ok("ip addr del 192.0.2.65/28 dev eth2");
    // Of the second provider, where main's default route would send its replies through the first.
    broken_and_fixed(world, &["rule-missing"], &format!("ip addr add {W4}/32 dev eth0"), &|| client.reaches(None, W4));
    isp_b.outside("ip neigh flush dev cust0").ok();
    assert_reached(world, &[W4, B4, A4]);
    // Its interface goes, and the address and its rules with it.
    server.ok("ifdown eth0");
    let left = server.ok("ip rule; ip -6 rule");
    assert!(!left.contains(W4) && !left.contains(A4), "{left}");
    server.ok("ifdown eth1");
    assert_nothing_left(world);
}

const SECOND: [&str; 2] = ["\n    gateway 198.51.100.1\n    metric 20", "\n    gateway 2001:db8:b::1\n    metric 2048"];

/// What ifup notes of other links, and an alias with a logical name, takes nothing away but its own.
pub fn noted_links_and_aliases(world: &World) {
    let server = &world.server;
    const EXTRA: &str = "198.51.100.11";
    world.install_hooks();
    world.configure(
        &(interfaces(GATEWAYS, SECOND).replace("auto lo eth0 eth1", "auto lo eth0 eth1 eth1:1=extra")
            + &format!("iface extra inet static\n    address {EXTRA}/24\n")),
    );
    server.ok("ifup -a");
    world.settle();
    let keeps = |what: &str| {
        assert_eq!(server.ok("symroute apply"), IN_PLACE, "{what}");
        assert_reached(world, &[A4, A6, B4, B6]);
    };
    keeps("up");
    assert_quiet(world);
    let of_extra = || server.ok("ip rule").matches(&format!("from {EXTRA} ")).count();
    assert_eq!(of_extra(), 2);
    server.ok("ifdown eth1:1");
    assert_eq!(of_extra(), 0, "{}", state(world));
    keeps("the alias is down");
    server.ok("ifup eth1:1=extra");
    assert_eq!(of_extra(), 2);
    // The same under a name that no list has.
    server.ok("ifdown eth1:1; sed -i 's/ eth1:1=extra//' /etc/network/interfaces; ifup eth1:1=extra");
    assert_eq!(of_extra(), 2, "{}", state(world));
    server.ok("ifdown eth1:1");
    assert_eq!(of_extra(), 0, "{}", state(world));
    keeps("the alias is down again");
    // A link that is not there, and one without the address.
    for hook in
        ["IFACE=nosuch LOGICAL=eth1 MODE=start symroute hook", "IFACE=eth2 LOGICAL=eth1 MODE=start symroute hook"]
    {
        server.ok(hook);
        keeps(hook);
    }
    server.ok("echo usb0=eth1 >>/run/network/ifstate; IFACE=eth0 LOGICAL=eth0 MODE=start symroute hook");
    keeps("a stale line in ifstate");
    server.ok("sed -i /usb0/d /run/network/ifstate; ifdown eth1; ifdown eth0");
    assert_nothing_left(world);
}

/// `ip link set eth1 name wan1`, and the next event of any interface.
pub fn a_renamed_link(world: &World) {
    let server = &world.server;
    world.install_hooks();
    world.configure(&interfaces(GATEWAYS, SECOND));
    server.ok("ifup -a");
    world.settle();
    // IPv6 loses its addresses where a link has to be down for that.
    server.outside("ip link set eth1 name wan1").ok();
    assert!(server.ok("ip -4 addr show dev wan1").contains(B4));
    server.ok("IFACE=eth0 LOGICAL=eth0 ADDRFAM=inet METHOD=static MODE=start PHASE=post-up symroute hook");
    assert_eq!(server.ok("symroute apply"), IN_PLACE);
    assert_reached(world, &PUBLIC);
    let rules = server.ok("ip rule; ip -6 rule");
    assert!(rules.contains("oif wan1") && !rules.contains("oif eth1"), "{rules}");
    server.outside("ip link set wan1 name eth1").ok();
    server.ok("symroute apply; ifdown eth1; ifdown eth0");
    assert_nothing_left(world);
}

/// Two uplinks on one interface, by lines: the rule for the interface goes with neither of them alone.
pub fn the_rule_of_an_interface_stays(world: &World) {
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
        let one = |what: &str| {
            let rules = server.ok("ip rule show oif eth1");
            assert_eq!(rules.lines().count(), 1, "{style}, {what}: {rules}");
            let status = server.run("symroute status");
            assert!(status.succeeded(), "{style}, {what}: {}", status.text());
            assert!(server.ok("ip route get 203.0.113.190 oif eth1").contains("via 198.51.100.1 "), "{what}");
        };
        one("both up");
        server.ok("ifdown eth1:1");
        one("the alias is down");
        server.ok("ifup eth1:1");
        one("both up again");
        server.ok("ifdown eth1:1; ifdown eth1; ifdown eth0");
        assert_nothing_left(world);
        server.ok("symroute-gen --remove --write --quiet");
    }
}

/// A DHCP server of a provider, for one address.
fn serve(isp: &Host, net: &str) -> Holder {
    isp.background(&format!(
        "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --port=0 --interface=cust0 \
         --bind-interfaces --no-ping --leasefile-ro --dhcp-range={net}.50,{net}.50,1h --dhcp-option=3,{net}.1 --dhcp-option=6"
    ))
}

const LEASED: &str = "198.51.100.50";

/// A lease and a fixed address on one interface, by lines alone: the second stanza comes after the first one's lines.
pub fn a_lease_and_a_fixed_address(world: &World) {
    let server = &world.server;
    let _dhcp = serve(&world.isp_b, "198.51.100");
    for second in ["", "first"] {
        let dhcp = "iface eth1 inet dhcp\n    metric 100\n";
        let fixed = format!("iface eth1 inet static\n    address {B4}/24\n");
        let both = if second.is_empty() { format!("{dhcp}{fixed}") } else { format!("{fixed}{dhcp}") };
        world.configure(&format!(
            "auto lo eth0 eth1\niface lo inet loopback\n\
             iface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\n{both}"
        ));
        server.ok("symroute-gen --write && ifup -a");
        assert_reached(world, &[A4, B4, LEASED]);
        assert_quiet(world);
        assert_eq!(server.ok("symroute-gen --check --quiet; symroute apply"), IN_PLACE);
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// A lease whose default route main loses, and then the uplink's own table: nothing advises to remove what is left.
pub fn a_lease_without_its_default_route(world: &World) {
    let server = &world.server;
    let _dhcp = [serve(&world.isp_a, "192.0.2"), serve(&world.isp_b, "198.51.100")];
    world.install_hooks();
    world.configure(
        "auto lo eth0 eth1\niface lo inet loopback\niface eth0 inet dhcp\niface eth1 inet dhcp\n    metric 20\n",
    );
    server.ok("ifup -a");
    let reached = || assert_reached(world, &["192.0.2.50", LEASED]);
    reached();
    let another = "IFACE=eth0 LOGICAL=eth0 ADDRFAM=inet METHOD=dhcp MODE=start PHASE=post-up symroute hook";
    server.ok(&format!("ip route del default dev eth1; {another}"));
    let keeps = || {
        server.ok(another);
        assert_eq!(server.ok("symroute apply"), IN_PLACE);
        reached();
        assert_quiet(world);
    };
    keeps();
    // Both ways in one default route.
    let nexthops = "nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1";
    server.ok(&format!("while ip route del default 2>/dev/null; do :; done; ip route add default {nexthops}"));
    keeps();
    server.ok("ip route del default; ip route add default via 192.0.2.1 dev eth0");
    keeps();
    // A flap empties its table, and the address stays: its rules stay too, for when the gateway is back.
    let rules = || server.ok("ip rule; ip link show dev eth1 | grep -o 'group [0-9]*'");
    let before = rules();
    server.ok(&format!("ip link set eth1 down; ip link set eth1 up; {another}"));
    assert_eq!(rules(), before);
    let inactive = server.ok("symroute apply");
    assert!(inactive.contains("eth1 (IPv4) is inactive: its gateway is not known."), "{inactive}");
    assert_eq!(rules(), before);
    let status = server.ok("symroute status");
    assert!(status.contains("\nno gateway  eth1 inet") && !status.contains("LEFT"), "{status}");
    let found = check(world);
    assert_eq!(ids(&found), ["gateway-unknown"], "{found:#}");
    assert!(!found.to_string().contains("symroute-gen"), "it has a metric: {found:#}");
    fixed(world, "gateway-unknown", &|| world.client.reaches(None, LEASED));
    keeps();
    server.ok("ifdown -a");
    assert_nothing_left(world);
}
