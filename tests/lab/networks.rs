//! Random hosts: where main goes without an uplink's gateway, every uplink's address goes the same way; everything
//! else leaves through the address's own uplink. `ip route get` answers; what is right is worked out here, from main's
//! routes as iproute2 shows them and the gateways, without symroute's own code.
//!
//! SYMROUTE_SEED=N repeats a run.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::explain::{Random, seed};
use crate::world::Host;

const ROUNDS: usize = 25;

struct Uplink {
    dev: &'static str,
    gateway: IpAddr,
    addresses: Vec<IpNet>,
    /// Of the network on its wire that the gateway, or, where that is of link scope, the provider is in.
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
/// Networks elsewhere, some within others.
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

    /// One more route of main's, or a network on an uplink's wire.
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

/// What a packet has to do.
#[derive(Debug, PartialEq)]
enum Right {
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

fn right(setup: &Setup, main: &[Value], local: &[IpAddr], uplink: &Uplink, to: IpAddr) -> Right {
    if local.contains(&to) {
        return Right::Local;
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
    // What refuses does so however short it is; the rest of the short ones stand for the Internet.
    let Some(best) = best else { return Right::Own };
    match text(best, "type").as_deref() {
        Some("unreachable" | "blackhole" | "prohibit") => return Right::Refused,
        Some("throw") => return Right::Own,
        _ => {}
    }
    if net(best).prefix_len() <= shortest {
        return Right::Own;
    }
    let (dev, gateway) =
        (text(best, "dev").unwrap(), text(best, "gateway").map(|text| text.parse::<IpAddr>().unwrap()));
    let same = Right::As(dev.clone(), gateway);
    let mut there =
        setup.uplinks.iter().filter(|other| other.dev == dev && other.network.addr().is_ipv6() == to.is_ipv6());
    let Some(other) = there.next() else { return same };
    // An ISP has no route to what is private.
    let only_there = is_private(net(best).addr()) && !is_private(uplink.network.addr());
    let of_provider = match gateway {
        Some(gateway) => gateway == other.gateway,
        None => net(best) == other.network,
    };
    match of_provider {
        true if other.dev == uplink.dev => Right::Own,
        true if !only_there => Right::Own,
        _ => same,
    }
}

fn agrees(right: &Right, uplink: &Uplink, to: IpAddr, answer: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let text = |key: &str| answer[0][key].as_str().map(str::to_string);
    let refused =
        answer.is_null() || text("type").is_some_and(|kind| ["unreachable", "blackhole"].contains(&&kind[..]));
    let gateway = text("gateway").map(|text| text.parse::<IpAddr>().unwrap());
    match right {
        Right::Local => text("type").as_deref() == Some("local"),
        Right::Refused => refused,
        Right::As(dev, via) => text("dev").as_ref() == Some(dev) && gateway == *via,
        Right::Own => {
            let direct = gateway.is_none() && uplink.network.contains(&to);
            text("dev").as_deref() == Some(uplink.dev) && (gateway == Some(uplink.gateway) || direct)
        }
    }
}

pub fn uplinks_go_where_main_goes(suite: &str) {
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
        let told =
            |what: &str| format!("SYMROUTE_SEED={seed} round {round}\n{}\n{}{what}", setup.interfaces, setup.commands);
        let applied = host.run("symroute apply");
        assert!(applied.succeeded(), "{}", told(&applied.text()));
        let again = host.ok("symroute apply; symroute status -q");
        assert_eq!(again, "Nothing to do: everything is in place.\n", "{}", told(""));
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
            let asked: Vec<(&Uplink, IpAddr, IpAddr)> = own
                .flat_map(|uplink| uplink.addresses.iter().map(move |from| (uplink, from.addr())))
                .flat_map(|(uplink, from)| setup.targets(family).into_iter().map(move |to| (uplink, from, to)))
                .collect();
            let list: String = asked.iter().map(|(_, from, to)| format!("{from} {to}\n")).collect();
            let answers = host.ok(&format!(
                "while read from to; do ip -j route get $to from $from 2>/dev/null || echo null; done <<END\n{list}END"
            ));
            let answers: Vec<&str> = answers.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(answers.len(), asked.len());
            for ((uplink, from, to), answer) in asked.into_iter().zip(answers) {
                let right = right(&setup, &main, &local, uplink, to);
                kinds[match right {
                    Right::Local => 0,
                    Right::Refused => 1,
                    Right::As(..) => 2,
                    Right::Own => 3,
                }] += 1;
                if !agrees(&right, uplink, to, answer) {
                    let state =
                        host.run(&format!("ip {option} rule; ip {option} route show table all; ip link")).text();
                    panic!("{}", told(&format!("from {from} to {to}: {answer}, not {right:?}\n{state}")));
                }
            }
        }
    }
    println!("SYMROUTE_SEED={seed}: {kinds:?}");
    assert!(kinds.iter().all(|kind| *kind > ROUNDS), "too much of one kind: {kinds:?}");
}
