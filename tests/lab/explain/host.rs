//! Random hosts: settings, addresses, nexthops, routes and rules, which `ip` adds.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::random::Random;
use symroute::netlink::{self, Socket};
use symroute::network::Snapshot;

/// u2 has no carrier; u1 is in group 7, u3 in symroute's group.
pub const DEVICES: [&str; 11] = [
    "link set lo up",
    "link add u0 type veth peer name v0",
    "link add u1 group 7 type veth peer name v1",
    "link add u2 type veth peer name v2",
    "link add u3 group 97 type veth peer name v3",
    "link set v0 up",
    "link set v1 up",
    "link set v3 up",
    "link set u0 addrgenmode none",
    "link set u1 addrgenmode none",
    "link set u3 addrgenmode none",
];

pub const ADDRESSES: [&str; 8] = [
    "addr add 192.0.2.10/24 dev u0",
    "addr add 198.51.100.10/24 dev u1",
    "addr add 203.0.113.10/26 dev u2",
    "addr add 203.0.113.130/26 dev u3",
    "-6 addr add 2001:db8:a::10/64 dev u0 nodad",
    "-6 addr add 2001:db8:b::10/64 dev u1 nodad",
    "-6 addr add 2001:db8:c::10/64 dev u2 nodad",
    "-6 addr add 2001:db8:d::10/64 dev u3 nodad",
];

pub const DEVS: [&str; 4] = ["u0", "u1", "u2", "u3"];

pub const OWN: [[&str; 5]; 2] = [
    ["192.0.2.10", "198.51.100.10", "203.0.113.10", "203.0.113.130", "198.51.100.10"],
    ["2001:db8:a::10", "2001:db8:b::10", "2001:db8:c::10", "2001:db8:d::10", "2001:db8:b::10"],
];

pub const OTHERS: [[&str; 9]; 2] = [
    [
        "192.0.2.1",
        "192.0.2.77",
        "192.0.2.255",
        "198.51.100.1",
        "198.51.100.99",
        "203.0.113.1",
        "203.0.113.129",
        "203.0.113.200",
        "203.0.113.201",
    ],
    [
        "2001:db8:a::1",
        "2001:db8:a::77",
        "2001:db8:b::",
        "2001:db8:b::1",
        "2001:db8:b::99",
        "2001:db8:c::1",
        "fe80::1",
        "2001:db8:f::200",
        "2001:db8:f::201",
    ],
];

const NETS: [[&str; 11]; 2] = [
    [
        "default",
        "192.0.2.0/24",
        "192.0.2.0/25",
        "192.0.2.77/32",
        "198.51.100.0/24",
        "198.51.100.96/29",
        "203.0.113.0/24",
        "203.0.113.192/26",
        "203.0.113.200/32",
        "128.0.0.0/1",
        "192.0.0.0/8",
    ],
    [
        "default",
        "2001:db8:a::/64",
        "2001:db8:a::/48",
        "2001:db8:a::77/128",
        "2001:db8:b::/64",
        "2001:db8:b::98/127",
        "2001:db8::/32",
        "2001:db8:f::/48",
        "2001:db8:f::200/128",
        "2000::/3",
        "2001:db8:f::200/127",
    ],
];

const LOCAL_NETS: [[&str; 2]; 2] = [["203.0.113.192/26", "192.0.2.77/32"], ["2001:db8:f::/48", "2001:db8:a::77/128"]];

/// For each interface.
const GATEWAYS: [[&str; 4]; 2] = [
    ["192.0.2.1", "198.51.100.1", "203.0.113.1", "203.0.113.129"],
    ["2001:db8:a::1", "2001:db8:b::1", "2001:db8:c::1", "2001:db8:d::1"],
];

const TABLES: [&str; 6] = ["1", "2", "3", "main", "500", "main"];

/// One random host.
#[derive(Clone)]
pub struct Setup {
    /// File below /proc/sys/net, and its value.
    pub settings: Vec<(String, bool)>,
    pub commands: Vec<String>,
}

impl Setup {
    pub fn new(random: &mut Random) -> Setup {
        let mut settings: Vec<(String, bool)> = Vec::new();
        for name in [
            "ipv4/ip_forward",
            "ipv6/conf/all/forwarding",
            "ipv4/conf/u2/ignore_routes_with_linkdown",
            "ipv6/conf/u2/ignore_routes_with_linkdown",
        ] {
            settings.push((name.into(), random.once_in(2)));
        }
        let mut commands = Vec::new();
        for _ in 0..random.below(3) {
            let index = random.below(4);
            commands.push(format!("-6 neigh replace {} dev {} nud failed", GATEWAYS[1][index], DEVS[index]));
        }
        for id in 1..=random.below(4) {
            let (family, index) = (random.below(2), random.below(4));
            let version = ["-4", "-6"][family];
            commands.push(match random.below(4) {
                0 => format!("{version} nexthop add id {id} blackhole"),
                1 if id > 1 => format!(
                    "{version} nexthop add id {id} group {}",
                    (1..id).map(|id| id.to_string()).collect::<Vec<_>>().join("/")
                ),
                _ => format!("{version} nexthop add id {id} via {} dev {}", GATEWAYS[family][index], DEVS[index]),
            });
        }
        let mut by_source: HashSet<[String; 3]> = HashSet::new();
        for _ in 0..10 + random.below(30) {
            let command = route(random);
            let mut words = command.split(' ');
            let net = words.clone().find(|word| *word == "default" || word.contains([':', '/']));
            let mut after = |key: &str| words.find(|word| *word == key).and_then(|_| words.next());
            // If a second IPv6 route with the same source and destination is rejected ("File exists"), Linux 6.18 still
            // lists the first one, but does not find it. The lookup cannot compute this.
            let key = [net, after("table"), after("from")].map(|word| word.unwrap_or_default().to_string());
            if key[2].is_empty() || by_source.insert(key) {
                commands.push(command);
            }
        }
        for _ in 0..4 + random.below(20) {
            commands.push(rule(random));
        }
        if random.once_in(8) {
            commands.push(format!("{} rule del pref {}", random.one(&["-4", "-6"]), random.one(&["0", "32766"])));
        }
        Setup { settings, commands }
    }

    /// Removes the last host, configures this one, and reads it from the kernel.
    pub fn configure(&self) -> Snapshot {
        let mut clean = String::new();
        for version in ["-4", "-6"] {
            let _ = writeln!(clean, "{version} rule flush");
            for _ in 0..3 {
                let _ = writeln!(clean, "{version} rule del pref 0");
            }
            let _ =
                writeln!(clean, "{version} rule add pref 0 lookup local\n{version} rule add pref 32766 lookup main");
            let _ = writeln!(clean, "{version} route flush table all proto 50");
        }
        let _ = writeln!(clean, "-4 rule add pref 32767 lookup default\n-4 nexthop flush\n-6 nexthop flush");
        for dev in DEVS {
            // Down and up: this removes all entries of the last host, including addresses.
            let _ = writeln!(clean, "link set {dev} down\naddr flush dev {dev}\nneigh flush dev {dev}");
        }
        ip(&clean, true);
        for (name, on) in &self.settings {
            fs::write(format!("/proc/sys/net/{name}"), if *on { "1" } else { "0" }).unwrap();
        }
        let up: String = DEVS.iter().map(|dev| format!("link set {dev} up\n")).collect();
        ip(&(up + &ADDRESSES.join("\n")), false);
        self.settle();
        // The kernel rejects some commands; the snapshot has the result.
        ip(&self.commands.join("\n"), true);
        netlink::snapshot(&mut Socket::open().unwrap()).unwrap()
    }

    /// The kernel adds the local and anycast routes of IPv6 addresses with a delay.
    fn settle(&self) {
        let router = self.settings.iter().any(|(name, on)| name == "ipv6/conf/all/forwarding" && *on);
        let expected = |own: &str| [(true, own.to_string()), (router, own.replace("::10", "::"))];
        let expected: Vec<_> =
            ["2001:db8:a::10", "2001:db8:b::10", "2001:db8:d::10"].into_iter().flat_map(expected).collect();
        for _ in 0..1000 {
            let routes = netlink::snapshot(&mut Socket::open().unwrap()).unwrap().routes;
            let is_present = |address: &str| {
                routes.iter().any(|route| route.table == 255 && route.dst.addr().to_string() == address)
            };
            if expected.iter().all(|(needed, address)| is_present(address) == *needed) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("the kernel does not add the routes of the addresses");
    }
}

/// `ip -batch`, once for each family, because its lines accept no options. With `force`, failures are ignored.
pub fn ip(lines: &str, force: bool) {
    for version in ["-4", "-6"] {
        let own = |line: &&str| line.starts_with(version) || version == "-4" && !line.starts_with('-');
        let plain = |line: &str| line.trim_start_matches(version).to_string() + "\n";
        let batch: String = lines.lines().filter(own).map(plain).collect();
        let mut command = Command::new("ip");
        command.arg(version).args(force.then_some("-force")).args(["-batch", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(force || output.status.success(), "{batch}\n{}", String::from_utf8_lossy(&output.stderr));
        if let (true, Ok(path)) = (force, std::env::var("SYMROUTE_REJECTED")) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(&output.stderr).unwrap();
        }
    }
}

fn route(random: &mut Random) -> String {
    let family = random.below(2);
    let version = ["-4", "-6"][family];
    let net = random.one(&NETS[family]);
    let nexthop = |random: &mut Random| {
        let index = random.below(4);
        (GATEWAYS[family][index], DEVS[index])
    };
    let verb = random.one(&["add", "add", "append"]);
    let mut nexthops = String::new();
    let what = match random.below(24) {
        0 => format!("unreachable {net}"),
        1 => format!("prohibit {net}"),
        2 => format!("blackhole {net}"),
        3 | 4 => format!("throw {net}"),
        // No gateway is in these networks: the kernel would not use it, and no dump shows this.
        5 => format!("local {} dev {}", random.one(&LOCAL_NETS[family]), random.one(&DEVS)),
        6 => format!("{} {net} dev {}", ["broadcast", "anycast"][family], random.one(&DEVS)),
        7 => format!("{net} nhid {}", 1 + random.below(3)),
        8..=10 => {
            for _ in 0..2 + random.below(2) {
                let (gateway, dev) = nexthop(random);
                let _ = write!(nexthops, " nexthop via {gateway} dev {dev} weight {}", 1 + random.below(3));
            }
            net.to_string()
        }
        11..=13 => format!("{net} dev {}", random.one(&DEVS)),
        14 if family == 0 => {
            let index = random.below(4);
            format!("{net} via {} dev {}", OWN[0][index], DEVS[index])
        }
        15 => format!("{net} via {} dev {} onlink", OTHERS[family][1 + random.below(2)], random.one(&DEVS)),
        _ => {
            let (gateway, dev) = nexthop(random);
            format!("{net} via {gateway} dev {dev}")
        }
    };
    let mut text = format!("{version} route {verb} {what} proto 50");
    let table = if random.once_in(25) { "local" } else { random.one(&TABLES) };
    let _ = write!(text, " table {table}");
    if random.once_in(2) {
        let _ = write!(text, " metric {}", random.one(&["5", "10", "20"]));
    }
    if random.once_in(20) && family == 0 {
        text += " tos 0x10";
    }
    if random.once_in(8) && family == 1 {
        let _ = write!(text, " from {}", random.one(&["2001:db8:a::/64", "2001:db8:b::10", "2001:db8::/32"]));
    }
    if random.once_in(8) && family == 1 {
        let _ = write!(text, " pref {}", random.one(&["low", "high"]));
    }
    if random.once_in(8) && family == 0 {
        let _ = write!(text, " src {}", random.one(&OWN[0]));
    }
    text + &nexthops
}

fn rule(random: &mut Random) -> String {
    let family = random.below(2);
    let mut text = format!("{} rule add", ["-4", "-6"][family]);
    if random.once_in(6) {
        text += " not";
    }
    let mut selectors = 0;
    let mut maybe = |random: &mut Random, times: usize, key: &str, values: &[&str]| {
        if random.once_in(times) {
            selectors += 1;
            let _ = write!(text, " {key} {}", random.one(values));
        }
    };
    let from = [
        ["192.0.2.10", "198.51.100.10", "192.0.2.0/24", "203.0.113.0/24", "192.0.0.0/7"],
        ["2001:db8:a::10", "2001:db8:b::10", "2001:db8:a::/64", "2001:db8::/32", "2000::/3"],
    ];
    maybe(random, 2, "from", &from[family]);
    maybe(random, 4, "to", &NETS[family][1..]);
    maybe(random, 8, "iif", &["u0", "u1", "u2", "lo", "gone"]);
    maybe(random, 6, "oif", &["u0", "u1", "u2", "gone"]);
    maybe(random, 8, "fwmark", &["1", "0x10/0xf0", "0/1"]);
    maybe(random, 16, "uidrange", &["0-0", "1000-2000"]);
    maybe(random, 16, "ipproto", &["udp", "tcp"]);
    maybe(random, 24, "tun_id", &["7"]);
    maybe(random, 16, "dport", &["53", "50-60"]);
    maybe(random, 24, "tos", &["0x10"]);
    let priority = 10 * (1 + random.below(9));
    let _ = write!(text, " pref {priority}");
    match random.below(16) {
        0 => text += " blackhole",
        1 => text += " unreachable",
        2 => text += " prohibit",
        3 => text += " nop",
        4 | 5 => {
            let _ = write!(text, " goto {}", 10 * (1 + random.below(10)));
        }
        _ => {
            let _ = write!(text, " lookup {}", random.one(&TABLES));
            if random.once_in(2) {
                let _ = write!(text, " suppress_prefixlength {}", random.one(&["0", "0", "1", "3", "24", "48"]));
            }
            if random.once_in(3) {
                let _ = write!(text, " suppress_ifgroup {}", random.one(&["7", "97", "97", "0"]));
            }
        }
    }
    text
}
