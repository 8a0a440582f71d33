//! The test lab: network namespaces with a server, two strict providers (ISP), a LAN and a remote client.
//!
//! ```text
//!                      neighbour A (.20)
//!                            |
//!            eth0 .10 --- ISP A .1 ---\
//!   server   eth1 .10 --- ISP B .1 ---- remote client
//!            eth2 .1        |
//!              |       neighbour B (.20)
//!          LAN client (.2)
//!
//!   ISP A  192.0.2.0/24     2001:db8:a::/64      LAN     203.0.113.0/26     2001:db8:c::/64
//!   ISP B  198.51.100.0/24  2001:db8:b::/64      remote  203.0.113.128/26   2001:db8:f::/64
//! ```
//! A provider drops packets from a customer's port if their source address does not belong to that port. So a reply
//! through the wrong uplink is lost, as with a real provider. Customers of one provider reach each other only through
//! its router (proxy ARP and NDP), so this also applies between neighbours.

use std::path::Path;

use ipnet::Ipv4Net;

use crate::host::{installed, start};

pub use crate::host::{Holder, Host, root_of};

/// All hosts of the test lab.
pub struct World {
    pub suite: &'static str,
    pub server: Host,
    pub isp_a: Host,
    pub isp_b: Host,
    pub neighbour_a: Host,
    pub neighbour_b: Host,
    pub lan: Host,
    pub client: Host,
    /// Further strict providers. Number N (0 to 9) is at the server's eth(N+3), with 198.51.100.(16 N)/28 and
    /// 2001:db8:10N::/64. Its gateways have the numbers .1 and ::1.
    _more: Vec<Host>,
    _first: Host,
}

pub const A4: &str = "192.0.2.10";

pub const A6: &str = "2001:db8:a::10";

pub const B4: &str = "198.51.100.10";

pub const B6: &str = "2001:db8:b::10";

/// The addresses of the server's uplinks.
pub const PUBLIC: [&str; 4] = [A4, A6, B4, B6];

impl World {
    /// Returns why there can be no such server here, if so.
    pub fn available(suite: &str) -> Result<(), String> {
        let root = root_of(suite);
        if root.join("sbin/ifup").symlink_metadata().is_err() {
            return Err(format!("no Debian {suite} with ifupdown in {}: run 'sh tests/run'", root.display()));
        }
        World::can_start()
    }

    /// Returns why there can be no namespaces or tools here, if so.
    pub fn can_start() -> Result<(), String> {
        let first = Host::bare()?;
        match ["ip", "ping", "socat"].iter().find(|tool| !first.outside(&format!("command -v {tool}")).succeeded()) {
            Some(tool) => Err(format!("'{tool}' is not installed: run 'sh tests/run'")),
            None => Ok(()),
        }
    }

    /// A server that runs Debian `suite`, without a configuration, or the reason why there can be none.
    pub fn new(suite: &'static str) -> Result<World, String> {
        let root = root_of(suite);
        let first = start(None)?;
        let host = || start(Some(&first));
        let world = World {
            suite,
            server: host()?,
            isp_a: host()?,
            isp_b: host()?,
            neighbour_a: host()?,
            neighbour_b: host()?,
            lan: host()?,
            client: host()?,
            _more: Vec::new(),
            _first: first,
        };
        world.connect(&root)
    }

    /// The same with `count` more providers.
    pub fn with_providers(suite: &'static str, count: usize) -> Result<World, String> {
        let mut world = World::new(suite)?;
        for n in 0..count {
            let isp = world.another_host();
            world.link(&world.server, &format!("eth{}", n + 3), &isp, "cust0");
            world.link(&world.client, &format!("to-{n}"), &isp, "core");
            let (gateway, core) = (16 * n + 1, 128 + 4 * (n + 3));
            let (isp_core, client_core) = (core + 1, core + 2);
            isp.arrange(
                "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                echo 1 > /proc/sys/net/ipv4/conf/cust0/rp_filter
                for dev in cust0 core; do echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad; done",
                &format!(
                    "link set cust0 up
                    link set core up
                    addr add 198.51.100.{gateway}/28 dev cust0
                    addr add 203.0.113.{isp_core}/30 dev core
                    route add default via 203.0.113.{client_core}"
                ),
                &format!(
                    "rule add from 2001:db8:10{n}::/64 iif cust0 lookup main priority 5
                    rule add iif cust0 prohibit priority 6
                    addr add 2001:db8:10{n}::1/64 dev cust0 nodad
                    addr add 2001:db8:f:10{n}::1/64 dev core nodad
                    route add default via 2001:db8:f:10{n}::2"
                ),
            );
            world.client.arrange(
                &format!("echo 0 > /proc/sys/net/ipv6/conf/to-{n}/accept_dad"),
                &format!(
                    "link set to-{n} up
                    addr add 203.0.113.{client_core}/30 dev to-{n}
                    route add 198.51.100.{}/28 via 203.0.113.{isp_core} src 203.0.113.190",
                    gateway - 1,
                ),
                &format!(
                    "addr add 2001:db8:f:10{n}::2/64 dev to-{n} nodad
                    route add 2001:db8:10{n}::/64 via 2001:db8:f:10{n}::1 src 2001:db8:f::99"
                ),
            );
            world._more.push(isp);
            world.shorten_delays(&format!("eth{}", n + 3));
        }
        Ok(world)
    }

    /// The number of further providers.
    pub fn more(&self) -> usize {
        self._more.len()
    }

    /// The network of further provider `n`.
    pub fn more_network(&self, n: usize) -> Ipv4Net {
        format!("198.51.100.{}/28", 16 * n).parse().expect("a network")
    }

    /// One more host, without interfaces.
    pub fn another_host(&self) -> Host {
        start(Some(&self._first)).expect("a namespace")
    }

    /// Connects two hosts with a veth pair.
    pub fn link(&self, host: &Host, name: &str, other: &Host, peer: &str) {
        self.links(&[(host, name, other, peer)]);
    }

    fn links(&self, wires: &[(&Host, &str, &Host, &str)]) {
        let line = |(host, name, other, peer): &(&Host, &str, &Host, &str)| {
            let (host, other) = (host.agent.id(), other.agent.id());
            format!("link add {name} netns {host} type veth peer name {peer} netns {other}\n")
        };
        self._first.arrange("", &wires.iter().map(line).collect::<String>(), "");
    }

    fn connect(mut self, root: &Path) -> Result<World, String> {
        self.links(&[
            (&self.server, "eth0", &self.isp_a, "cust0"),
            (&self.server, "eth1", &self.isp_b, "cust0"),
            (&self.server, "eth2", &self.lan, "eth0"),
            (&self.neighbour_a, "eth0", &self.isp_a, "cust1"),
            (&self.neighbour_b, "eth0", &self.isp_b, "cust1"),
            (&self.client, "to-a", &self.isp_a, "core"),
            (&self.client, "to-b", &self.isp_b, "core"),
        ]);
        for (isp, v4, v6, number) in [(&self.isp_a, "192.0.2", "a", 1), (&self.isp_b, "198.51.100", "b", 2)] {
            isp.arrange(
                "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                for dev in cust0 cust1; do
                    echo 1 > /proc/sys/net/ipv4/conf/$dev/rp_filter
                    echo 1 > /proc/sys/net/ipv4/conf/$dev/proxy_arp
                    echo 0 > /proc/sys/net/ipv4/neigh/$dev/proxy_delay
                    echo 1 > /proc/sys/net/ipv6/conf/$dev/proxy_ndp
                    echo 0 > /proc/sys/net/ipv6/neigh/$dev/proxy_delay
                    echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad
                done
                echo 0 > /proc/sys/net/ipv6/conf/core/accept_dad",
                &format!(
                    "link set cust0 up
                    link set cust1 up
                    link set core up
                    addr add {v4}.1/24 dev cust0
                    addr add {v4}.1/32 dev cust1
                    route add {v4}.20/32 dev cust1
                    addr add 203.0.113.{core}/30 dev core
                    route add default via 203.0.113.{client}",
                    core = 128 + 4 * number + 1,
                    client = 128 + 4 * number + 2,
                ),
                &format!(
                    "rule add from 2001:db8:{v6}::/64 iif cust0 lookup main priority 5
                    rule add from 2001:db8:{v6}::/64 iif cust1 lookup main priority 5
                    rule add iif cust0 prohibit priority 6
                    rule add iif cust1 prohibit priority 6
                    addr add fe80::1/64 dev cust0 nodad
                    addr add 2001:db8:{v6}::1/64 dev cust0 nodad
                    addr add 2001:db8:{v6}::1/128 dev cust1 nodad
                    route add 2001:db8:{v6}::20/128 dev cust1
                    neigh add proxy 2001:db8:{v6}::20 dev cust0
                    neigh add proxy 2001:db8:{v6}::10 dev cust1
                    addr add 2001:db8:f:{number}::1/64 dev core nodad
                    route add default via 2001:db8:f:{number}::2"
                ),
            );
        }
        for (host, own, gateway, own6, gateway6) in [
            (&self.neighbour_a, "192.0.2.20/24", "192.0.2.1", "2001:db8:a::20/64", "2001:db8:a::1"),
            (&self.neighbour_b, "198.51.100.20/24", "198.51.100.1", "2001:db8:b::20/64", "2001:db8:b::1"),
            (&self.lan, "203.0.113.2/26", "203.0.113.1", "2001:db8:c::2/64", "2001:db8:c::1"),
        ] {
            host.arrange(
                "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad",
                &format!("link set eth0 up\naddr add {own} dev eth0\nroute add default via {gateway}"),
                &format!("addr add {own6} dev eth0 nodad\nroute add default via {gateway6}"),
            );
        }
        // The client also connects the providers with each other. It does not check source addresses.
        self.client.arrange(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
            for dev in to-a to-b; do echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad; done",
            "link set to-a up
            link set to-b up
            addr add 203.0.113.134/30 dev to-a
            addr add 203.0.113.138/30 dev to-b
            addr add 203.0.113.190/32 dev lo
            route add 192.0.2.0/24 via 203.0.113.133 src 203.0.113.190
            route add 198.51.100.0/24 via 203.0.113.137 src 203.0.113.190",
            "addr add 2001:db8:f::99/128 dev lo nodad
            addr add 2001:db8:f:1::2/64 dev to-a nodad
            addr add 2001:db8:f:2::2/64 dev to-b nodad
            route add 2001:db8:a::/64 via 2001:db8:f:1::1 src 2001:db8:f::99
            route add 2001:db8:b::/64 via 2001:db8:f:2::1 src 2001:db8:f::99",
        );
        self.server.outside("echo 0 > /proc/sys/net/ipv6/conf/default/router_solicitation_delay").ok();
        self.shorten_delays("eth0 eth1 eth2");
        self.server.mount_debian(root)?;
        for host in [&self.server, &self.lan, &self.client, &self.neighbour_a, &self.neighbour_b] {
            host.echo();
        }
        Ok(self)
    }

    /// Duplicate address detection runs on the server's interfaces, but without its delays. Neighbours are resolved for
    /// as long as by default, in more and shorter steps. A network namespace has no defaults for these settings.
    pub fn shorten_delays(&self, interfaces: &str) {
        self.server
            .outside(&format!(
                "set -e; cd /proc/sys/net/ipv6; for dev in {interfaces}; do
                echo 0 > conf/$dev/router_solicitation_delay; echo 50 > neigh/$dev/retrans_time_ms
                for kind in mcast ucast; do echo 60 > neigh/$dev/${{kind}}_solicit; done; done"
            ))
            .ok();
    }

    /// Removes an interface from the server. The other end of the veth pair does not change.
    pub fn unplug(&self, interface: &str) {
        let namespace = self._first.agent.id();
        self.server.outside(&format!("ip link set {interface} netns {namespace}")).ok();
    }

    /// Adds the interface again: a new device with the old name and MAC address.
    pub fn plug(&self, interface: &str) {
        let server = self.server.agent.id();
        self._first.outside(&format!("ip link set {interface} netns {server}")).ok();
    }

    /// Installs the hooks as the package does.
    pub fn install_hooks(&self) {
        self.server.ok("mkdir -p /etc/network/if-up.d /etc/network/if-down.d");
        for hook in ["if-up", "if-down"] {
            let source = match installed() {
                Some(root) => root.join(format!("etc/network/{hook}.d/symroute")),
                None => Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks").join(hook),
            };
            let text = std::fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
            self.server.write(&format!("/etc/network/{hook}.d/symroute"), &text);
        }
        self.server.ok("chmod 755 /etc/network/if-up.d/symroute /etc/network/if-down.d/symroute");
    }

    /// Waits for duplicate address detection. Only ifupdown does this itself.
    pub fn settle(&self) {
        self.server
            .ok("for n in $(seq 50); do [ -n \"$(ip -6 addr show tentative)\" ] || exit 0; sleep 0.1; done; exit 1");
    }

    /// Writes the interfaces file in the syntax of this server's ifup, and returns the text.
    pub fn configure(&self, interfaces: &str) -> String {
        let line = |line: &str| match line.strip_prefix("auto ") {
            // ifupdown-ng accepts one name per 'auto' line, and ignores the others.
            Some(names) if self.suite == "bookworm-ng" => {
                names.split_whitespace().map(|name| format!("auto {name}\n")).collect()
            }
            _ => format!("{line}\n"),
        };
        let text: String = interfaces.lines().map(line).collect();
        self.server.write("/etc/network/interfaces", text.as_bytes());
        text
    }
}
