//! Random hosts. If main has a route without an uplink's gateway, the addresses of all uplinks use that route. Every
//! other packet leaves through the address's own uplink. This file computes the expected route from the gateways and
//! from main's routes, as iproute2 shows them, without symroute's code. `ip route get` must return it.
//!
//! SYMROUTE_SEED=N repeats a run.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::random::{Random, seed};
use crate::world::Host;

const ROUNDS: usize = 25;

struct Uplink {
    dev: &'static str,
    gateway: IpAddr,
    addresses: Vec<IpNet>,
    /// The network on its interface that has the gateway. If the gateway is link-local, the provider's network.
    network: IpNet,
}

/// One random host.
struct Setup {
    uplinks: Vec<Uplink>,
    commands: String,
    interfaces: String,
}

const DEVS: [&str; 3] = ["u0", "u1", "u2"];
const NETS: [[&str; 3]; 2] =
    [["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/25"], ["2001:db8:a::/64", "2001:db8:b::/64", "2001:db8:c::/64"]];
const PRIVATE: [&str; 2] = ["10.20.0.0/24", "fd00:20::/64"];
/// Networks that are not on an interface, some inside others.
const BLOCKS: [[&str; 8]; 2] = [
    [
        "203.0.113.192/27",
        "203.0.113.200/29",
        "203.0.113.202/32",
        "192.168.50.0/24",
        "192.168.50.64/26",
        "172.16.0.0/12",
        "172.16.3.0/24",
        "100.64.7.0/24",
    ],
    [
        "2001:db8:f::/48",
        "2001:db8:f:1::/64",
        "2001:db8:f:1::2/128",
        "fd00:50::/48",
        "fd00:50:0:1::/64",
        "2001:db8:e000::/36",
        "2001:db8:e001::/48",
        "fd00:60::/64",
    ],
];
const LANS: [[(&str, &str); 2]; 2] =
    [[("l0", "10.1.0.1/24"), ("l1", "203.0.113.129/26")], [("l0", "fd00:1::1/64"), ("l1", "2001:db8:11::1/64")]];

/// The address with this number in a network.
fn host(net: &str, number: u128) -> IpAddr {
    let net: IpNet = net.parse().unwrap();
    match net.network() {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) + number as u32).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) + number).into()),
    }
}

impl Setup {
    fn new(random: &mut Random) -> Setup {
        let mut setup = Setup { uplinks: Vec::new(), commands: String::new(), interfaces: String::new() };
        let count = 2 + random.below(2);
        let private = random.once_in(2).then(|| random.below(count));
        for family in 0..2 {
            let ip = ["ip", "ip -6"][family];
            for (dev, address) in LANS[family] {
                let _ = writeln!(setup.commands, "{ip} addr add {address} dev {dev} nodad");
            }
            for (n, dev) in DEVS.into_iter().enumerate().take(count) {
                let net = if private == Some(n) { PRIVATE[family] } else { NETS[family][n] };
                setup.uplink(random, family, n, dev, net);
            }
            for _ in 0..random.below(12) {
                let command = setup.route(random, family, count);
                let _ = writeln!(setup.commands, "{ip} {command}");
            }
        }
        setup
    }

    fn uplink(&mut self, random: &mut Random, family: usize, n: usize, dev: &'static str, net: &str) {
        let network: IpNet = net.parse().unwrap();
        let ip = ["ip", "ip -6"][family];
        let gateway = match family == 1 && random.once_in(2) {
            true => "fe80::1".parse().unwrap(),
            false => host(net, 1),
        };
        let addresses: Vec<IpNet> = (0..1 + random.below(2) as u128)
            .map(|more| IpNet::new(host(net, 10 + more), network.prefix_len()).unwrap())
            .collect();
        for address in &addresses {
            let _ = writeln!(self.commands, "{ip} addr add {address} dev {dev} nodad");
        }
        let metric = 10 + 10 * n;
        let _ = writeln!(self.commands, "{ip} route add default via {gateway} dev {dev} metric {metric}");
        let _ = writeln!(
            self.interfaces,
            "auto {dev}\niface {dev} {} static\n address {}\n gateway {gateway}\n metric {metric}",
            ["inet", "inet6"][family],
            addresses[0]
        );
        self.uplinks.push(Uplink { dev, gateway, addresses, network });
    }

    /// One more route of main, or a network on an uplink's interface.
    fn route(&self, random: &mut Random, family: usize, count: usize) -> String {
        let own = self.uplinks.iter().filter(|uplink| uplink.network.addr().is_ipv6() == (family == 1));
        let own: Vec<&Uplink> = own.collect();
        let uplink = own[random.below(count)];
        let (dev, net) = (uplink.dev, uplink.network.to_string());
        let block = random.one(&BLOCKS[family]);
        let lan = host(LANS[family][0].1, 2);
        let metric = random.one(&["", "", " metric 5", " metric 3000"]);
        match random.below(10) {
            0 | 1 => format!("route add {} dev l0{metric}", host(&net, 30 + random.below(3) as u128)),
            2 | 3 => format!("route add {block} via {} dev {dev}{metric}", uplink.gateway),
            4 | 5 => format!("route add {block} via {} dev {dev}{metric}", host(&net, 77)),
            6 if family == 0 => format!("addr add 10.5.{}.10/24 dev {dev}", &dev[1..]),
            6 => format!("addr add fd00:5:{}::10/64 dev {dev} nodad", &dev[1..]),
            7 => format!("route add {} {block}", random.one(&["unreachable", "blackhole", "throw"])),
            8 if family == 0 && random.once_in(2) => "route add 128.0.0.0/1 dev l1".into(),
            8 if random.once_in(2) => "route add 2000::/3 dev l1".into(),
            _ => format!("route add {block} via {lan} dev l0{metric}"),
        }
    }

    fn targets(&self, family: usize) -> Vec<IpAddr> {
        let mut targets: Vec<IpAddr> = BLOCKS[family].iter().flat_map(|block| [1, 2].map(|n| host(block, n))).collect();
        targets.retain(|target| target.to_string() != "203.0.113.203");
        for (_, net) in LANS[family] {
            let net: IpNet = net.parse().unwrap();
            targets.extend([host(&net.trunc().to_string(), 1), host(&net.trunc().to_string(), 9)]);
        }
        for net in self.uplinks.iter().map(|uplink| uplink.network).filter(|net| net.addr().is_ipv6() == (family == 1))
        {
            targets.extend([1, 10, 30, 31, 77, 99].map(|n| host(&net.to_string(), n)));
        }
        let on_wire = ["10.5.0.0/24", "10.5.1.0/24", "fd00:5::/64", "fd00:5:1::/64"];
        let on_wire = on_wire.iter().filter(|net| net.contains(':') == (family == 1));
        targets.extend(on_wire.map(|net| host(net, 20)));
        targets.push(["203.0.113.250", "2001:db8:ffff::1"][family].parse().unwrap());
        targets
    }
}

/// The expected result of a lookup.
#[derive(Debug, PartialEq)]
enum Expected {
    Local,
    Refused,
    /// Through this interface and gateway.
    As(String, Option<IpAddr>),
    /// Through its own uplink: by the gateway, or directly to a neighbour.
    Own,
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || (address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64),
        IpAddr::V6(address) => address.segments()[0] & 0xfe00 == 0xfc00,
    }
}

fn expected_route(setup: &Setup, main: &[Value], local: &[IpAddr], uplink: &Uplink, to: IpAddr) -> Expected {
    if local.contains(&to) {
        return Expected::Local;
    }
    let text = |route: &Value, key: &str| route[key].as_str().map(str::to_string);
    let net = |route: &Value| -> IpNet {
        let default = if to.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
        match text(route, "dst").unwrap().as_str() {
            "default" => default.parse().unwrap(),
            dst if dst.contains('/') => dst.parse().unwrap(),
            dst => dst.parse::<IpAddr>().unwrap().into(),
        }
    };
    let metric = |route: &Value| route["metric"].as_u64().unwrap_or(0);
    let matching = main.iter().filter(|route| net(route).contains(&to));
    let best = matching.max_by_key(|route| (net(route).prefix_len(), u64::MAX - metric(route)));
    let shortest = if to.is_ipv6() { 3 } else { 1 };
    // A rejecting route applies with any length. Other short routes stand for the Internet.
    let Some(best) = best else { return Expected::Own };
    match text(best, "type").as_deref() {
        Some("unreachable" | "blackhole" | "prohibit") => return Expected::Refused,
        Some("throw") => return Expected::Own,
        _ => {}
    }
    if net(best).prefix_len() <= shortest {
        return Expected::Own;
    }
    let (dev, gateway) =
        (text(best, "dev").unwrap(), text(best, "gateway").map(|text| text.parse::<IpAddr>().unwrap()));
    let same = Expected::As(dev.clone(), gateway);
    let mut others =
        setup.uplinks.iter().filter(|other| other.dev == dev && other.network.addr().is_ipv6() == to.is_ipv6());
    let Some(other) = others.next() else { return same };
    // A provider has no route to private networks.
    let is_private_elsewhere = is_private(net(best).addr()) && !is_private(uplink.network.addr());
    let of_provider = match gateway {
        Some(gateway) => gateway == other.gateway,
        None => net(best) == other.network,
    };
    match of_provider {
        true if other.dev == uplink.dev => Expected::Own,
        true if !is_private_elsewhere => Expected::Own,
        _ => same,
    }
}

fn agrees(expected_route: &Expected, uplink: &Uplink, to: IpAddr, result: &Value) -> bool {
    let text = |key: &str| result[key].as_str().map(str::to_string);
    let refused =
        result.is_null() || text("type").is_some_and(|kind| ["unreachable", "blackhole"].contains(&&kind[..]));
    let gateway = text("gateway").map(|text| text.parse::<IpAddr>().unwrap());
    match expected_route {
        Expected::Local => text("type").as_deref() == Some("local"),
        Expected::Refused => refused,
        Expected::As(dev, via) => text("dev").as_ref() == Some(dev) && gateway == *via,
        Expected::Own => {
            let direct = gateway.is_none() && uplink.network.contains(&to);
            text("dev").as_deref() == Some(uplink.dev) && (gateway == Some(uplink.gateway) || direct)
        }
    }
}

fn address(value: &Value) -> IpAddr {
    value.as_str().and_then(|text| text.parse().ok()).expect("an address")
}

pub fn lookups_follow_the_main_table(suite: &str) {
    let seed = seed();
    let mut random = Random::new(seed);
    let host = Host::debian(suite).unwrap();
    let mut kinds = [0usize; 4];
    for round in 0..ROUNDS {
        let setup = Setup::new(&mut random);
        host.write("/etc/network/interfaces", setup.interfaces.as_bytes());
        let devs = "u0 u1 u2 l0 l1";
        host.ok(&format!(
            "symroute flush -q; for dev in {devs}; do ip link del $dev 2>/dev/null; done
            ip link set lo up
            for dev in {devs}; do ip link add $dev type veth peer name x$dev; ip link set x$dev up
                echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad; ip link set $dev up; done
            ip -6 route flush table main 2>/dev/null; ip route flush table main
            {} true",
            setup.commands.replace('\n', " 2>/dev/null\n")
        ));
        let context =
            |what: &str| format!("SYMROUTE_SEED={seed} round {round}\n{}\n{}{what}", setup.interfaces, setup.commands);
        let applied = host.run("symroute apply");
        assert!(applied.succeeded(), "{}", context(&applied.text()));
        let again = host.ok("symroute apply; symroute status -q");
        assert_eq!(again, "Nothing to do: everything is installed.\n", "{}", context(""));
        for family in 0..2 {
            let option = ["-4", "-6"][family];
            let json = |command: &str| -> Vec<Value> {
                let value: Value = serde_json::from_str(&host.ok(&format!("ip {option} -j {command}"))).expect("JSON");
                value.as_array().expect("a list").clone()
            };
            let main = json("route show table main");
            let addresses = json("addr show");
            let local = addresses.iter().flat_map(|link| link["addr_info"].as_array().expect("a list"));
            let local: Vec<IpAddr> = local.filter_map(|info| info["local"].as_str()?.parse().ok()).collect();
            let own = setup.uplinks.iter().filter(|uplink| uplink.network.addr().is_ipv6() == (family == 1));
            let lookups: Vec<(&Uplink, IpAddr, IpAddr)> = own
                .flat_map(|uplink| uplink.addresses.iter().map(move |from| (uplink, from.addr())))
                .flat_map(|(uplink, from)| setup.targets(family).into_iter().map(move |to| (uplink, from, to)))
                .collect();
            let line = |(_, from, to): &(&Uplink, IpAddr, IpAddr)| format!("route get {to} from {from}\n");
            let batch: String = lookups.iter().map(line).collect();
            // A rejected lookup prints nothing.
            let text = host.run(&format!("ip -j -force -batch - 2>/dev/null <<'END'\n{batch}END")).stdout();
            let lists = serde_json::Deserializer::from_str(&text).into_iter::<Vec<Value>>();
            let results: HashMap<(IpAddr, IpAddr), Value> = lists
                .flat_map(|list| list.expect("JSON"))
                .map(|result| ((address(&result["from"]), address(&result["dst"])), result))
                .collect();
            for (uplink, from, to) in lookups {
                let result = results.get(&(from, to)).unwrap_or(&Value::Null);
                let expected_route = expected_route(&setup, &main, &local, uplink, to);
                kinds[match expected_route {
                    Expected::Local => 0,
                    Expected::Refused => 1,
                    Expected::As(..) => 2,
                    Expected::Own => 3,
                }] += 1;
                if !agrees(&expected_route, uplink, to, result) {
                    let state =
                        host.run(&format!("ip {option} rule; ip {option} route show table all; ip link")).text();
                    panic!("{}", context(&format!("from {from} to {to}: {result}, not {expected_route:?}\n{state}")));
                }
            }
        }
    }
    println!("SYMROUTE_SEED={seed}: {kinds:?}");
    assert!(kinds.iter().all(|kind| *kind > ROUNDS), "too many results of one kind: {kinds:?}");
}
