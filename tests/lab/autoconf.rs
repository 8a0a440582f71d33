//! IPv6 autoconfiguration. An advertisement is no event for ifupdown, so each case runs 'symroute apply' after it. The cases
//! need TCP: an echo reply is bound to the interface of its request.

use std::net::Ipv6Addr;

use serde_json::Value;

use crate::check::assert_quiet;
use crate::dhcp::{Client, Clients};
use crate::judge::{assert_nothing_left, state};
use crate::uplinks::INSTALLED;
use crate::world::{A4, B4, Holder, Host, World};

const FAR: &str = "2001:db8:f::99";
const HOUR: u32 = 3600;

#[derive(Clone, Copy)]
enum Preference {
    Medium = 0x00,
    High = 0x08,
    Low = 0x18,
}

/// A router advertisement (RFC 4861, 4.2; RFC 4191).
#[derive(Clone, Copy)]
struct Advertisement<'a> {
    /// The router's address on the link.
    router: &'a str,
    lifetime: u16,
    preference: Preference,
    /// Networks for autoconfiguration, each with its preferred and its valid lifetime.
    networks: &'a [(&'a str, u32, u32)],
    /// Its hosts reach each other directly. Otherwise the router is between them.
    is_on_link: bool,
}

impl Advertisement<'_> {
    fn bytes(&self) -> Vec<u8> {
        // The kernel adds the checksum.
        let mut bytes = vec![134, 0, 0, 0, 64, self.preference as u8];
        bytes.extend(self.lifetime.to_be_bytes());
        bytes.extend([0; 8]);
        for (network, preferred, valid) in self.networks {
            bytes.extend([3, 4, 64, if self.is_on_link { 0xc0 } else { 0x40 }]);
            bytes.extend(valid.to_be_bytes());
            bytes.extend(preferred.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(network.parse::<Ipv6Addr>().expect("a network").octets());
        }
        bytes
    }

    fn send(&self, isp: &Host) {
        let text: String = self.bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
        let to = "IP6-SENDTO:[ff02::1]:58,so-bindtodevice=cust0,setsockopt-int=41:18:255";
        isp.outside(&format!("printf '{text}' | socat -u - '{to},bind=[{}]'", self.router)).ok();
    }
}

const A: Advertisement<'static> = Advertisement {
    router: "fe80::1",
    lifetime: 1800,
    preference: Preference::Medium,
    networks: &[("2001:db8:a::", HOUR, HOUR)],
    is_on_link: true,
};
const B: Advertisement<'static> = Advertisement { networks: &[("2001:db8:b::", HOUR, HOUR)], ..A };

fn wait(world: &World, what: &str, condition: &str) {
    let script = format!("for n in $(seq 200); do {{ {condition}; }} && exit 0; sleep 0.1; done; exit 1");
    let waited = world.server.run(&script);
    let seen = || world.server.run("ip -6 addr; ip -6 neigh").text();
    assert!(waited.succeeded(), "{what}: not '{condition}'\n{}{}\n{}", waited.text(), seen(), state(world));
}

/// The server's addresses in a network, the temporary ones last.
fn addresses(world: &World, network: &str) -> Vec<String> {
    wait(world, network, &format!("ip -6 addr show scope global -tentative | grep -q 'inet6 {network}'"));
    let links: Value = serde_json::from_str(&world.server.ok("ip -j -6 addr show scope global")).expect("JSON");
    let infos = links.as_array().into_iter().flatten().filter_map(|link| link["addr_info"].as_array()).flatten();
    let mut infos: Vec<&Value> =
        infos.filter(|info| info["local"].as_str().is_some_and(|it| it.starts_with(network))).collect();
    infos.sort_by_key(|info| info["temporary"] == true);
    infos.iter().map(|info| info["local"].as_str().expect("an address").to_string()).collect()
}

/// Each address is reached by a remote client, and reaches it.
fn lost(world: &World, addresses: &[String]) -> Vec<String> {
    let ways: Vec<_> = addresses.iter().map(|to| ("remote client", &world.client, &to[..])).collect();
    let mut lost = Host::lost(&ways);
    lost.extend(
        addresses.iter().filter(|from| !world.server.reaches(Some(from), FAR)).map(|from| format!("{from} ->")),
    );
    lost
}

/// After 'symroute apply', every address is reached, and a second one changes nothing.
fn assert_applied(world: &World, what: &str, addresses: &[String]) {
    world.server.ok("symroute apply");
    let lost = lost(world, addresses);
    assert!(lost.is_empty(), "{what}: {lost:#?}\n{}", state(world));
    assert_eq!(world.server.ok("symroute apply"), INSTALLED, "{what}");
    world.server.ok("symroute status");
}

fn gateway(world: &World) -> String {
    let table = world.server.ok("ip -6 route show table 2 default");
    table.split_whitespace().nth(2).unwrap_or_default().to_string()
}

/// Static IPv4, and IPv6 by advertisement on both uplinks, with `more` in each IPv6 stanza.
fn start(world: &World, more: &str) {
    let World { server, isp_a, isp_b, .. } = world;
    world.install_hooks();
    world.configure(&format!(
        "auto lo eth0 eth1\niface lo inet loopback\n\
         iface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\niface eth0 inet6 auto\n{more}\
         iface eth1 inet static\n    address {B4}/24\n    gateway 198.51.100.1\n    metric 20\niface eth1 inet6 auto\n{more}"
    ));
    server.ok("ifup -a");
    world.settle();
    A.send(isp_a);
    B.send(isp_b);
}

fn stop(world: &World) {
    world.server.ok("ifdown -a; for dev in eth0 eth1; do ip -6 addr flush dev $dev scope global; done");
    world.server.ok("ip -6 route flush proto ra; symroute apply");
    assert_nothing_left(world);
}

/// A link has a router with a high preference, and one with a low preference, which does not reply.
pub fn preferences_of_routers(world: &World) {
    let isp_b = &world.isp_b;
    start(world, "");
    let both = [addresses(world, "2001:db8:a:"), addresses(world, "2001:db8:b:")].concat();
    assert_applied(world, "a router each", &both);
    assert_quiet(world);
    // The same advertisement again changes nothing.
    B.send(isp_b);
    assert_eq!(world.server.ok("symroute apply"), INSTALLED);
    assert_eq!(gateway(world), "fe80::1");
    isp_b.outside("ip addr add fe80::3/64 dev cust0 nodad").ok();
    Advertisement { router: "fe80::3", preference: Preference::Low, ..B }.send(isp_b);
    isp_b.outside("ip addr del fe80::3/64 dev cust0; ip addr add fe80::2/64 dev cust0 nodad").ok();
    wait(world, "the second router", "ip -6 route show default | grep -q fe80::3");
    assert_applied(world, "a dead router with a low preference", &both);
    assert_eq!(gateway(world), "fe80::1");
    Advertisement { router: "fe80::2", preference: Preference::High, ..B }.send(isp_b);
    wait(world, "the third router", "ip -6 route show default | grep -q fe80::2");
    // The router that is preferred now is the only one.
    isp_b.outside("ip addr del fe80::1/64 dev cust0; ip link set cust0 address 02:00:00:00:00:02").ok();
    assert_applied(world, "a router with a high preference", &both);
    assert_eq!(gateway(world), "fe80::2");
    assert_quiet(world);
    stop(world);
}

/// A router replaces another one, first without an advertisement with lifetime 0, then with one.
pub fn another_router(world: &World) {
    let World { server, isp_b, .. } = world;
    start(world, "");
    let both = [addresses(world, "2001:db8:a:"), addresses(world, "2001:db8:b:")].concat();
    assert_applied(world, "a router each", &both);
    isp_b.outside("ip addr del fe80::1/64 dev cust0; ip link set cust0 address 02:00:00:00:00:02").ok();
    isp_b.outside("ip addr add fe80::2/64 dev cust0 nodad").ok();
    Advertisement { router: "fe80::2", ..B }.send(isp_b);
    wait(world, "the second router", "ip -6 route show default | grep -q fe80::2");
    // A neighbour that has replied counts as reachable for half a minute.
    server.ok("cd /proc/sys/net/ipv6/neigh/eth1; echo 500 >base_reachable_time_ms; echo 1 >delay_first_probe_time");
    // While packets are sent to it, the kernel resolves its address again and again.
    let requests = world.client.background(&format!("exec ping -q -i 0.2 {}", both[1]));
    wait(world, "no reply", "ip -6 neigh show fe80::1 dev eth1 | grep -qE 'INCOMPLETE|FAILED'");
    server.ok("symroute apply");
    assert_eq!(gateway(world), "fe80::2");
    drop(requests);
    assert_applied(world, "a router that does not reply", &both);
    assert_eq!(gateway(world), "fe80::2");
    // The first router replies again. The present one stays.
    isp_b.outside("ip addr add fe80::1/64 dev cust0 nodad").ok();
    B.send(isp_b);
    assert_applied(world, "both routers", &both);
    assert_eq!(gateway(world), "fe80::2");
    Advertisement { router: "fe80::2", lifetime: 0, ..B }.send(isp_b);
    wait(world, "lifetime 0", "! ip -6 route show default | grep -q fe80::2");
    isp_b.outside("ip addr del fe80::2/64 dev cust0").ok();
    assert_applied(world, "the first router again", &both);
    assert_eq!(gateway(world), "fe80::1");
    // Without a router, packets from the address still need its provider.
    Advertisement { lifetime: 0, ..B }.send(isp_b);
    wait(world, "no router", "! ip -6 route show default | grep -q 'dev eth1'");
    assert_applied(world, "no router", &both);
    assert_eq!(gateway(world), "fe80::1");
    stop(world);
}

/// A second network is advertised and the first is deprecated; then the first address expires.
pub fn another_network(world: &World) {
    let World { server, isp_b, client, .. } = world;
    start(world, "");
    let both = [addresses(world, "2001:db8:a:"), addresses(world, "2001:db8:b:")].concat();
    assert_applied(world, "a network each", &both);
    isp_b
        .outside(
            "set -e; ip -6 rule add from 2001:db8:b2::/64 iif cust0 lookup main priority 5
            ip addr add 2001:db8:b2::1/64 dev cust0 nodad",
        )
        .ok();
    client.outside("ip -6 route add 2001:db8:b2::/64 via 2001:db8:f:2::1 src 2001:db8:f::99").ok();
    Advertisement { networks: &[("2001:db8:b::", 0, 2 * HOUR), ("2001:db8:b2::", HOUR, HOUR)], ..B }.send(isp_b);
    let new = addresses(world, "2001:db8:b2:");
    assert!(server.ok("ip -6 addr show deprecated").contains(&both[1]));
    assert_applied(world, "a deprecated network", &[&both[..], &new].concat());
    server.ok(&format!("ip -6 addr change {}/64 dev eth1 valid_lft 1 preferred_lft 0", both[1]));
    wait(world, "the address expires", &format!("! ip -6 addr | grep -q {}", both[1]));
    assert_applied(world, "one network again", &[&both[..1], &new].concat());
    let rules = server.ok("ip -6 rule");
    assert!(!rules.contains("2001:db8:b::"), "{rules}");
    stop(world);
}

/// The hosts of an advertised network reach each other through the router.
pub fn network_behind_the_router(world: &World) {
    let World { server, isp_b, neighbour_b, client, .. } = world;
    start(world, "");
    let both = [addresses(world, "2001:db8:a:"), addresses(world, "2001:db8:b:")].concat();
    isp_b
        .outside(
            "set -e; for dev in cust0 cust1; do ip -6 rule add from 2001:db8:b2::/64 iif $dev lookup main priority 5; done
            ip addr add 2001:db8:b2::1/64 dev cust0 nodad; ip -6 route add 2001:db8:b2::20/128 dev cust1",
        )
        .ok();
    neighbour_b.outside("ip addr add 2001:db8:b2::20/128 dev eth0 nodad").ok();
    client.outside("ip -6 route add 2001:db8:b2::/64 via 2001:db8:f:2::1 src 2001:db8:f::99").ok();
    Advertisement { networks: &[("2001:db8:b2::", HOUR, HOUR)], is_on_link: false, ..B }.send(isp_b);
    let new = addresses(world, "2001:db8:b2:");
    assert_applied(world, "a network behind the router", &[&both[..], &new].concat());
    for from in [&both[0], &new[0]] {
        assert!(server.talks(Some(from), "2001:db8:b2::20"), "from {from}\n{}", state(world));
    }
    assert_quiet(world);
    stop(world);
}

/// Temporary addresses need no event: the rules are for their networks.
pub fn temporary_addresses(world: &World) {
    let World { server, isp_b, .. } = world;
    start(world, "    privext 2\n");
    let of = |network: &str| addresses(world, network);
    let (a, b) = (of("2001:db8:a:"), of("2001:db8:b:"));
    assert!(a.len() == 2 && b.len() == 2, "{a:?} {b:?}");
    assert_applied(world, "temporary addresses", &[a, b.clone()].concat());
    assert_quiet(world);
    let rules = server.ok("ip -6 rule");
    // Another temporary address replaces one.
    server.ok(&format!("ip -6 addr del {}/64 dev eth1", b[0]));
    wait(world, "no address", "! ip -6 addr show dev eth1 temporary | grep -q 2001:");
    B.send(isp_b);
    wait(world, "another address", "ip -6 addr show dev eth1 temporary -tentative | grep -q 2001:db8:b:");
    let again = of("2001:db8:b:");
    assert_ne!(again[1], b[1]);
    let lost = lost(world, &again);
    assert!(lost.is_empty(), "{lost:?}\n{}", state(world));
    assert_eq!(server.ok("symroute apply"), INSTALLED);
    assert_eq!(server.ok("ip -6 rule"), rules);
    stop(world);
}

/// DHCPv6 with advertisements by dnsmasq.
fn serve(isp: &Host, net: &str, host: &str) -> Holder {
    isp.background(&format!(
        "exec dnsmasq --keep-in-foreground --pid-file= --conf-file=/dev/null --user=root --group= --port=0 --interface=cust0 \
         --bind-dynamic --leasefile-ro --dhcp-authoritative --enable-ra --ra-param=cust0,4,1800 \
         --dhcp-range=2001:db8:{net}::{host},2001:db8:{net}::{host},64,2m"
    ))
}

/// `inet6 dhcp` on both uplinks: DHCPv6 assigns the address, and advertisements have the router and the network.
pub fn addresses_by_dhcpv6(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    let _clients = Clients(server);
    world.install_hooks();
    Client::Dhclient.install(world);
    world.configure(&format!(
        "auto lo eth0 eth1\niface lo inet loopback\n\
         iface eth0 inet static\n    address {A4}/24\n    gateway 192.0.2.1\niface eth0 inet6 dhcp\n\
         iface eth1 inet static\n    address {B4}/24\n    gateway 198.51.100.1\n    metric 20\niface eth1 inet6 dhcp\n"
    ));
    let dhcp = [serve(isp_a, "a", "50"), serve(isp_b, "b", "50")];
    server.ok("ifup -a");
    let both = |b: &str| ["2001:db8:a::50".to_string(), b.to_string()];
    wait(world, "two routers", "[ $(ip -6 route show default | grep -c via) = 2 ]");
    assert_applied(world, "first leases", &both("2001:db8:b::50"));
    assert_quiet(world);
    let [a, b] = dhcp;
    drop(b);
    let b = serve(isp_b, "b", "60");
    // Without its file, the client does not ask for the address that it had.
    server.ok("ifdown eth1; rm /var/lib/dhcp/*eth1*; ifup eth1");
    wait(world, "a router", "ip -6 route show default | grep -q 'via .* eth1'");
    assert_applied(world, "another address", &both("2001:db8:b::60"));
    let rules = server.ok("ip -6 rule");
    assert!(!rules.contains("2001:db8:b::50"), "{rules}");
    server.ok("ifdown eth1");
    let rules = server.ok("ip -6 rule");
    assert!(!rules.contains("2001:db8:b:") && !rules.contains("eth1"), "{rules}");
    drop([a, b]);
    stop(world);
}

/// dhcpcd also configures IPv6 for an `inet dhcp` stanza, and runs the hook after each change.
pub fn of_dhcpcd(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    let _clients = Clients(server);
    world.install_hooks();
    Client::Dhcpcd.install(world);
    world.configure("auto lo eth0 eth1\niface lo inet loopback\niface eth0 inet dhcp\niface eth1 inet dhcp\n");
    let _dhcp = [crate::uplinks::serve(isp_a, "192.0.2"), crate::uplinks::serve(isp_b, "198.51.100")];
    server.ok("ifup -a");
    A.send(isp_a);
    B.send(isp_b);
    let mut all = [addresses(world, "2001:db8:a:"), addresses(world, "2001:db8:b:")].concat();
    let both = all.clone();
    all.extend(["192.0.2.50".to_string(), "198.51.100.50".to_string()]);
    let good = |what: &str, router: &str| {
        wait(world, what, &format!("ip -6 route show table 2 default | grep -q 'via {router} '"));
        let lost = lost(world, &both);
        assert!(lost.is_empty(), "{what}: {lost:#?}\n{}", state(world));
        assert_eq!(server.ok("symroute apply"), INSTALLED, "{what}");
    };
    good("a router each", "fe80::1");
    assert_quiet(world);
    // Another router. The first one sends lifetime 0.
    isp_b.outside("ip addr add fe80::2/64 dev cust0 nodad").ok();
    Advertisement { router: "fe80::2", ..B }.send(isp_b);
    Advertisement { lifetime: 0, ..B }.send(isp_b);
    isp_b.outside("ip addr del fe80::1/64 dev cust0; ip link set cust0 address 02:00:00:00:00:02").ok();
    good("another router", "fe80::2");
    server.ok("ifdown eth1");
    let rules = server.ok("ip -6 rule; ip rule");
    assert!(!rules.contains("2001:db8:b:") && !rules.contains("eth1"), "{rules}");
    server.ok("ifdown -a");
    stop(world);
}
