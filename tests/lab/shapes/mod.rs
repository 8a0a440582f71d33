//! Interfaces files with more than two plain stanzas. Each server is started with the lines alone and with the hooks
//! alone. Every address must be reached, and nothing must remain afterwards.

mod names;
mod routes;
mod stanzas;
pub mod topologies;

use crate::check::{assert_quiet, fixed};
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, state};
use crate::observe::expect_nothing;
use crate::world::{Host, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Lines,
    Hooks,
}

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// `/etc/network/interfaces`, without the LAN.
    interfaces: &'static str,
    /// Other files, by path.
    files: &'static [(&'static str, &'static str)],
    /// The addresses that the remote client and the LAN client must reach.
    reached: &'static [&'static str],
    /// Commands that the machine's tools run on the server before each `ifup -a`.
    before: &'static str,
    /// A further check while everything is up.
    also: fn(&World),
    /// `Lines` if the file does not name the interface of a stanza: only the hooks know it.
    without: Option<Method>,
}

const PLAIN: Shape = Shape {
    interfaces: "",
    files: &[],
    reached: &["192.0.2.10", "198.51.100.10"],
    before: "",
    also: |_| (),
    without: None,
};

const BOTH_FAMILIES: &[&str] = &["192.0.2.10", "198.51.100.10", "2001:db8:a::10", "2001:db8:b::10"];

const LAN: &str = "
auto lo eth2
iface lo inet loopback
iface eth2 inet static
    address 203.0.113.1/26
iface eth2 inet6 static
    address 2001:db8:c::1/64
";

const ETH0: &str = "auto eth0\niface eth0 inet static\n    address 192.0.2.10/24\n    gateway 192.0.2.1\n";

impl Shape {
    pub fn methods(&self) -> impl Iterator<Item = Method> {
        let without = self.without;
        [Method::Lines, Method::Hooks].into_iter().filter(move |method| Some(*method) != without)
    }
}

pub fn all() -> impl Iterator<Item = (&'static str, Shape)> {
    names::SHAPES.into_iter().chain(stanzas::SHAPES).chain(routes::SHAPES)
}

pub fn run(world: &World, shape: Shape, method: Method) {
    let server = &world.server;
    let original = world.configure(&(LAN.to_string() + shape.interfaces));
    for (path, text) in shape.files {
        server.write(path, text.as_bytes());
        server.ok(&format!("case {path} in */choose) chmod 755 {path};; esac"));
    }
    let style = match method {
        Method::Lines => "iproute2",
        Method::Hooks => "hook",
    };
    if method == Method::Hooks {
        world.install_hooks();
    }
    server.ok(&format!("symroute-gen --write --style {style}"));
    for round in 0..2 {
        server.outside(&format!("set -e; {}", shape.before)).ok();
        let up = server.run("ifup -a");
        assert!(
            up.succeeded(),
            "round {round}: {}\n{}",
            up.text(),
            String::from_utf8_lossy(&server.read("/etc/network/interfaces"))
        );
        world.settle();
        assert_kernel_is_plan(world);
        let from = [("remote client", &world.client), ("LAN client", &world.lan)];
        let connections: Vec<_> =
            shape.reached.iter().flat_map(|to| from.map(|(name, host)| (name, host, *to))).collect();
        expect_nothing(world, &|| {
            let unreached = Host::lost(&connections);
            assert!(unreached.is_empty(), "{unreached:#?}\n{}", state(world));
            (shape.also)(world);
        });
        if server.ok("ip route show default").is_empty() {
            // ifupdown-ng adds no default route for a gateway outside every network.
            fixed(world, "no-default", &|| server.pings(None, "203.0.113.190"));
        }
        assert_quiet(world);
        let rules = server.ok("ip rule").lines().count();
        assert!(rules < 25, "{rules} rules");
        server.ok("ifdown -a");
        assert_nothing_left(world);
    }
    server.ok("symroute-gen --remove --write");
    assert_eq!(server.read("/etc/network/interfaces"), original.as_bytes());
    for (path, text) in shape.files {
        assert_eq!(server.read(path), text.as_bytes(), "{path}");
    }
}
