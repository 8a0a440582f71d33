//! Leases of each DHCP client of Debian: renewals without a change, with another router, address or network, and expiry.
//! After each step, both addresses exchange packets with a remote client, in both directions.

use crate::check::{check, ids};
use crate::dhcp::{Client, Clients, FIRST, Offer, ShortLeases};
use crate::judge::{assert_nothing_left, state};
use crate::uplinks::INSTALLED;
use crate::world::{A4, Holder, Host, World};

fn wait(world: &World, what: &str, condition: &str) {
    let script = format!("for n in $(seq 300); do {{ {condition}; }} && exit 0; sleep 0.1; done; exit 1");
    let waited = world.server.run(&script);
    let reasons = || world.server.run("tail -n 20 /tmp/reasons; ip addr").text();
    assert!(waited.succeeded(), "{what}: not '{condition}'\n{}{}\n{}", waited.text(), reasons(), state(world));
}

/// Each address is reached by a remote client, and reaches it.
fn assert_both_ways(world: &World, what: &str, addresses: &[&str]) {
    let ways: Vec<_> = addresses.iter().map(|to| ("remote client", &world.client, *to)).collect();
    let mut lost = Host::lost(&ways);
    let far = "203.0.113.190";
    let back = addresses.iter().filter(|from| !world.server.reaches(Some(from), far));
    lost.extend(back.map(|from| format!("{from} -> remote client")));
    assert!(lost.is_empty(), "{what}: {lost:?}\n{}", state(world));
}

/// Packets arrive, and nothing is missing or stale.
fn assert_good(world: &World, what: &str, addresses: &[&str]) {
    assert_both_ways(world, what, addresses);
    assert_eq!(world.server.ok("symroute apply"), INSTALLED, "{what}");
    world.server.ok("symroute status");
}

/// No entry of symroute's has these words.
fn assert_gone(world: &World, what: &str, words: &[&str]) {
    let entries = world.server.ok("ip rule; ip route show table all proto 97");
    let stale: Vec<&str> = entries.lines().filter(|line| words.iter().any(|word| line.contains(word))).collect();
    assert!(stale.is_empty(), "{what}: {stale:?}\n{entries}");
}

/// What happens to rules and routes while `during` runs. The kernel adds routes when duplicate address detection ends.
fn monitored(world: &World, during: impl FnOnce()) -> String {
    world.settle();
    let monitor = world.server.in_background("exec ip monitor route rule >/tmp/monitor");
    world.server.ok("sleep 0.5");
    during();
    monitor.stop();
    world.server.ok("cat /tmp/monitor")
}

/// The provider has a new router, with another MAC address.
pub fn replace_router(isp: &Host, old: &str, new: &str) {
    isp.outside(&format!(
        "set -e; ip addr del {old}/24 dev cust0; ip addr del {old}/32 dev cust1; ip addr add {new}/24 dev cust0
        ip link set cust0 address 02:00:00:00:00:02"
    ))
    .ok();
}

fn default_is(gateway: &str) -> String {
    format!("ip route show table 2 default | grep -q '^default via {gateway} dev eth1'")
}

fn rule_of(address: &str) -> String {
    format!("ip rule | grep -q 'from {address} '")
}

/// ISP B's offers, one after the other, to a server that has another uplink at ISP A.
struct Offers<'a> {
    world: &'a World,
    client: Client,
    /// The address of the other uplink.
    other: &'a str,
    dhcp: Option<Holder>,
}

impl Offers<'_> {
    /// The next offer; the client has taken it when `condition` holds.
    fn next(&mut self, what: &str, offer: &Offer, condition: &str) {
        drop(self.dhcp.take());
        self.dhcp = Some(offer.serve(&self.world.isp_b, self.client));
        self.client.renew(self.world);
        wait(self.world, what, condition);
        assert_good(self.world, what, &[self.other, offer.address]);
    }

    fn renew_without_a_change(&self) {
        let world = self.world;
        let renewals = "grep -cE 'eth1 (RENEW|REBIND)' /tmp/reasons || true";
        let before: u32 = world.server.ok(renewals).trim().parse().expect("a number");
        let seen = monitored(world, || {
            for n in 1..3 {
                self.client.renew(world);
                wait(world, "renewals", &format!("[ $({renewals}) -ge {} ]", before + n));
            }
        });
        assert_eq!(seen, "", "a renewal with nothing new changes something");
    }

    fn change_router_and_address(&mut self) {
        replace_router(&self.world.isp_b, "198.51.100.1", "198.51.100.2");
        let offer = Offer { router: "198.51.100.2", ..FIRST };
        self.next("another router", &offer, &default_is("198.51.100.2"));
        assert_gone(self.world, "another router", &["via 198.51.100.1 "]);
        let offer = Offer { address: "198.51.100.60", ..offer };
        self.next("another address", &offer, &rule_of("198.51.100.60"));
        assert_gone(self.world, "another address", &["198.51.100.50"]);
        let offer = Offer { mask: "255.255.254.0", ..offer };
        self.next("another prefix length", &offer, "ip route show table 2 | grep -q '^198.51.100.0/23 dev eth1'");
    }

    fn change_network(&mut self) {
        let World { isp_b, client, .. } = self.world;
        isp_b.outside("set -e; ip addr add 203.0.113.65/26 dev cust0; ip addr add 203.0.113.66/26 dev cust0").ok();
        client.outside("ip route add 203.0.113.64/26 via 203.0.113.137 src 203.0.113.190").ok();
        let offer = Offer { address: "203.0.113.100", mask: "255.255.255.192", router: "203.0.113.65", more: "" };
        self.next("another network", &offer, &rule_of("203.0.113.100"));
        assert_gone(self.world, "another network", &["198.51.100."]);
        // With classless routes, the option `routers` does not count.
        let more = "--dhcp-option-force=121,10.0.0.0/8,203.0.113.65,0.0.0.0/0,203.0.113.66";
        let classless = Offer { router: "203.0.113.67", more, ..offer };
        self.next("classless routes", &classless, &default_is("203.0.113.66"));
        let single = Offer { address: "203.0.113.110", mask: "255.255.255.255", ..offer };
        self.next("a router outside of the network", &single, &rule_of("203.0.113.110"));
    }

    /// No server until the lease expires, and then there is one again.
    fn expire(&mut self) {
        let World { server, isp_b, .. } = self.world;
        drop(self.dhcp.take());
        let short = ShortLeases::serve(isp_b, "198.51.100.50", "198.51.100.2");
        server.ok("ifdown eth1; ifup eth1");
        assert_good(self.world, "a short lease", &[self.other, "198.51.100.50"]);
        drop(short);
        let without = "! ip addr show dev eth1 | grep -q 'inet 198.51.100' && ! ip rule | grep -q 'lookup 2 '";
        wait(self.world, "no server", without);
        assert_gone(self.world, "no server", &["198.51.100.50", "203.0.113.", "eth1"]);
        assert_both_ways(self.world, "no server", &[self.other]);
        let offer = Offer { router: "198.51.100.2", ..FIRST };
        self.next("a server again", &offer, &rule_of("198.51.100.50"));
    }

    /// The interface has no carrier for longer than the kernel waits to report it.
    fn lose_carrier(&self) {
        let World { server, isp_b, .. } = self.world;
        isp_b.outside("ip link set cust0 down").ok();
        wait(self.world, "no carrier", "ip link show dev eth1 | grep -q 'state DOWN'");
        server.ok("sleep 2");
        assert_both_ways(self.world, "no carrier", &[self.other]);
        isp_b.outside("ip link set cust0 up").ok();
        wait(self.world, "a carrier again", &rule_of("198.51.100.50"));
        assert_good(self.world, "a carrier again", &[self.other, "198.51.100.50"]);
    }
}

/// Two uplinks with leases, or one of them with a fixed address.
fn run(world: &World, client: Client, first: &str, metric: &str) {
    let World { server, isp_a, isp_b, .. } = world;
    let _clients = Clients(server);
    world.install_hooks();
    client.install(world);
    world.configure(&format!("auto lo eth0 eth1\niface lo inet loopback\n{first}iface eth1 inet dhcp\n{metric}"));
    let other = if first.contains("dhcp") { "192.0.2.50" } else { A4 };
    let _dhcp = Offer { address: "192.0.2.50", router: "192.0.2.1", ..FIRST }.serve(isp_a, client);
    let mut offers = Offers { world, client, other, dhcp: Some(FIRST.serve(isp_b, client)) };
    server.ok("ifup -a");
    assert_good(world, "first lease", &[other, "198.51.100.50"]);
    offers.renew_without_a_change();
    offers.change_router_and_address();
    offers.change_network();
    offers.expire();
    offers.lose_carrier();
    server.ok("ifdown eth1");
    assert_gone(world, "ifdown eth1", &["198.51.100.", "eth1"]);
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// A server sends a router that is not a host, and names that are shell commands. The other uplink still works.
fn run_hostile(world: &World, client: Client) {
    let World { server, isp_b, .. } = world;
    let _clients = Clients(server);
    world.install_hooks();
    client.install(world);
    world.configure(&format!("auto lo eth0 eth1\niface lo inet loopback\n{FIXED}iface eth1 inet dhcp\n"));
    let more = "--dhcp-option-force=15,'$(touch /tmp/hostile)' --dhcp-option-force=12,'`touch /tmp/hostile`' \
                --dhcp-option-force=17,'; touch /tmp/hostile'";
    let dhcp = Offer { router: "127.0.0.1", more, ..FIRST }.serve(isp_b, client);
    let said = server.run("ifup -a").text();
    let message = "symroute: eth1: the routers of its lease have no usable router: '127.0.0.1'";
    assert!(said.contains(message), "{said}");
    wait(world, "an address", "ip addr show dev eth1 | grep -q 198.51.100.50");
    assert_both_ways(world, "a bad router", &[A4]);
    assert_gone(world, "a bad router", &["127.0.0.1", "198.51.100.50"]);
    let plan = server.ok("symroute plan; symroute status || true");
    assert!(!plan.contains("127.0.0.1"), "{plan}");
    drop(dhcp);
    let _dhcp = FIRST.serve(isp_b, client);
    client.renew(world);
    wait(world, "a good router", &default_is("198.51.100.1"));
    assert_good(world, "a good router", &[A4, "198.51.100.50"]);
    assert_eq!(server.run("test -e /tmp/hostile").code(), 1);
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

/// udhcpc has no directory for hooks: the hook in if-up.d installs the first lease, 'symroute apply' a changed one.
pub fn of_udhcpc(world: &World) {
    run_udhcpc(world, &|what| {
        assert!(!world.server.run("symroute status").succeeded(), "{what}");
        world.server.ok("symroute apply");
    });
}

pub fn of_udhcpc_beside_watch(world: &World) {
    let server = &world.server;
    let watch = server.in_background("exec symroute watch");
    run_udhcpc(world, &|what| wait(world, what, "symroute status --quiet"));
    watch.stop();
}

/// `follow` runs after each change of the lease.
fn run_udhcpc(world: &World, follow: &dyn Fn(&str)) {
    let World { server, isp_b, .. } = world;
    let _clients = Clients(server);
    let client = Client::Udhcpc;
    world.install_hooks();
    client.install(world);
    // ifup passes no metric to udhcpc: its default route has metric 0.
    let first = format!("{FIXED}    metric 10\n");
    world.configure(&format!("auto lo eth0 eth1\niface lo inet loopback\n{first}iface eth1 inet dhcp\n"));
    let dhcp = FIRST.serve(isp_b, client);
    server.ok("ifup -a");
    assert_good(world, "first lease", &[A4, "198.51.100.50"]);
    let seen = monitored(world, || {
        client.renew(world);
        world.server.ok("sleep 2");
    });
    assert_eq!(seen, "", "a renewal with nothing new changes something");

    drop(dhcp);
    replace_router(isp_b, "198.51.100.1", "198.51.100.2");
    let dhcp = Offer { router: "198.51.100.2", ..FIRST }.serve(isp_b, client);
    let of_main = |router: &str| format!("ip route show default dev eth1 | grep -q 'via {router} '");
    let renewed = |what: &str, condition: &str| {
        // A renewal is unicast to the first server, which does not run any more.
        server.ok("kill -USR2 $(cat /run/udhcpc.eth1.pid)");
        client.renew(world);
        wait(world, what, condition);
        follow(what);
    };
    renewed("another router", &of_main("198.51.100.2"));
    assert_good(world, "another router", &[A4, "198.51.100.50"]);
    assert_gone(world, "another router", &["via 198.51.100.1 "]);

    drop(dhcp);
    let dhcp = Offer { address: "198.51.100.60", router: "198.51.100.2", ..FIRST }.serve(isp_b, client);
    let address = "ip addr show dev eth1 | grep -q 'inet 198.51.100.60'";
    renewed("another address", &format!("{address} && {}", of_main("198.51.100.2")));
    assert_good(world, "another address", &[A4, "198.51.100.60"]);
    assert_gone(world, "another address", &["198.51.100.50"]);

    server.ok("ifdown eth1");
    assert_gone(world, "ifdown", &["198.51.100.", "eth1"]);
    server.ok("ifdown -a");
    drop(dhcp);
    assert_nothing_left(world);
}

/// The kernel rejects the second default route of udhcpc. An option in the stanza replaces it.
pub fn of_udhcpc_with_a_gateway_in_the_stanza(world: &World) {
    let World { server, isp_a, isp_b, .. } = world;
    let _clients = Clients(server);
    let client = Client::Udhcpc;
    world.install_hooks();
    client.install(world);
    let _dhcp = [
        Offer { address: "192.0.2.50", router: "192.0.2.1", ..FIRST }.serve(isp_a, client),
        FIRST.serve(isp_b, client),
    ];
    let file = "auto lo eth0 eth1\niface lo inet loopback\niface eth0 inet dhcp\niface eth1 inet dhcp\n";
    world.configure(file);
    server.ok("ifup -a");
    let found = check(world);
    assert!(ids(&found).contains(&"gateway-unknown"), "{found:#}");
    world.configure(&format!("{file}    symroute-gateway 198.51.100.1\n"));
    server.ok("symroute apply");
    assert_good(world, "a gateway in the stanza", &["192.0.2.50", "198.51.100.50"]);
    server.ok("ifdown -a");
    assert_nothing_left(world);
}

const FIXED: &str = "iface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n";
const LEASED: &str = "iface eth0 inet dhcp\n";
const METRIC: &str = "    metric 20\n";

/// Without a metric, the second default route is in no table but the uplink's.
pub fn of_dhclient(world: &World) {
    run(world, Client::Dhclient, LEASED, "");
}

pub fn of_dhclient_with_a_metric(world: &World) {
    run(world, Client::Dhclient, LEASED, METRIC);
}

/// The lease that changes has the main table's best default route.
pub fn of_dhclient_on_the_primary_uplink(world: &World) {
    run(world, Client::Dhclient, &format!("{LEASED}{METRIC}"), "");
}

pub fn of_dhclient_beside_watch(world: &World) {
    let watch = world.server.in_background("exec symroute watch");
    run(world, Client::Dhclient, LEASED, METRIC);
    watch.stop();
}

pub fn of_dhclient_beside_a_fixed_address(world: &World) {
    run(world, Client::Dhclient, FIXED, "");
}

pub fn of_dhcpcd(world: &World) {
    run(world, Client::Dhcpcd, LEASED, "");
}

pub fn of_dhcpcd_beside_a_fixed_address(world: &World) {
    run(world, Client::Dhcpcd, FIXED, METRIC);
}

pub fn of_dhclient_from_a_hostile_server(world: &World) {
    run_hostile(world, Client::Dhclient);
}

pub fn of_dhcpcd_from_a_hostile_server(world: &World) {
    run_hostile(world, Client::Dhcpcd);
}
