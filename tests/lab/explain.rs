//! `symroute explain` against the kernel: random rules and tables made by iproute2 in a namespace, thousands of
//! lookups, and the walk on paper has to come to the kernel's answer each time.
//!
//! SYMROUTE_SEED=N repeats a run. What disagrees is made smaller and printed as `ip` commands.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use symroute::check::walk::{Outcome, Verdict, Walk, back, walk};
use symroute::interfaces::Family;
use symroute::kernel::{self, Socket};
use symroute::snapshot::{Answer, Kind, Query, Snapshot};

use crate::PLAIN;
use crate::world::{B4, B6, Host, World};

/// Tells this program that it runs inside the namespace, with which seed.
pub const INSIDE: &str = "SYMROUTE_EXPLAIN_INSIDE";
const ROUNDS: usize = 150;
const LOOKUPS: usize = 150;
/// One lookup of so many is also asked of `ip route get`.
const JUDGED: usize = 40;

/// Another one for each run, or SYMROUTE_SEED.
pub fn seed() -> u64 {
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    std::env::var("SYMROUTE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now)
}

pub fn explain_agrees_with_the_kernel() {
    let host = Host::bare().unwrap();
    let seed = seed();
    let program = std::env::current_exe().unwrap();
    let ran = host.outside(&format!("{INSIDE}={seed} exec '{}'", program.display()));
    assert!(ran.succeeded(), "SYMROUTE_SEED={seed}\n{}", ran.text());
    println!("SYMROUTE_SEED={seed}: {}", ran.stdout().trim());
}

/// What an administrator reads, whole: on the healthy server with two uplinks, then with somebody's rules before
/// ours. Lines that begin with `# ` are run on the server.
const TRANSCRIPT: &str = include_str!("../fixtures/explain.transcript");

pub fn explains_the_server(world: &World) {
    let server = &world.server;
    world.configure(PLAIN);
    server.ok("symroute-gen --write && ifup -a");
    world.settle();
    let mut produced = String::new();
    for command in TRANSCRIPT.lines().filter_map(|line| line.strip_prefix("# ")) {
        let ran = server.run(command);
        let _ = write!(produced, "# {command}\n{}", ran.text());
        if !ran.succeeded() {
            let _ = writeln!(produced, "[exit code {}]", ran.code());
        }
    }
    assert_eq!(produced, TRANSCRIPT, "produced:\n{produced}");
}

/// The JSON has iproute2's keys: each rule as `ip -j rule` has it, and the kernel's answer as `ip -j route get` has.
pub fn explains_in_json(world: &World) {
    let server = &world.server;
    world.configure(PLAIN);
    server.ok("symroute-gen --write && ifup -a");
    world.settle();
    server.ok("ip rule add not from 192.0.2.0/25 to 203.0.113.128/26 fwmark 1/0xff iif eth2 uidrange 0-5 ipproto udp \
         sport 5 dport 50-60 pref 50 lookup 7
         ip rule add pref 60 goto 70; ip rule add pref 70 nop; ip rule add pref 80 from 203.0.113.64/26 prohibit");
    for (family, from, to) in [("-4", B4, "203.0.113.190"), ("-6", B6, "2001:db8:f::99")] {
        let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        let ours = parse(server.ok(&format!("symroute explain --json --from {from} --to {to}")));
        let rules = parse(server.ok(&format!("ip {family} -j rule")));
        let get = parse(server.ok(&format!("ip {family} -j route get {to} from {from}")));
        let (ours_rules, rules) = (ours["rules"].as_array().unwrap(), rules.as_array().unwrap());
        assert_eq!(ours_rules.len(), rules.len());
        for (ours, theirs) in ours_rules.iter().zip(rules) {
            for (key, value) in theirs.as_object().unwrap() {
                let named = ["table", "protocol"].contains(&key.as_str());
                assert!(ours.get(key).is_some_and(|ours| named || ours == value), "{key} of {theirs} in {ours}");
            }
        }
        for key in ["dev", "gateway"] {
            assert_eq!(ours["kernel"][key], get[0][key], "{ours:#}");
            assert_eq!(ours["answer"]["ways"][0][key], get[0][key], "{ours:#}");
        }
        assert_eq!((&ours["verdict"], &ours["answer"]["priority"]), (&"same".into(), &111.into()), "{ours:#}");
    }
}

/// A nexthop that lost its carrier before `ignore_routes_with_linkdown` was set is shown as dead, and still chosen; and
/// rules for a DSCP or a tunnel are for other packets.
pub fn explains_dead_nexthops_and_other_packets(world: &World) {
    let World { server, isp_b, .. } = world;
    world.configure(PLAIN);
    server.ok("symroute-gen --write && ifup -a");
    world.settle();
    server.ok("ip rule add pref 40 tun_id 7 prohibit; ip rule add pref 41 not tun_id 7 lookup 77");
    server.ok("while ip route del default 2>/dev/null; do :; done
        ip route add default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1");
    isp_b.outside("ip link set cust0 down").ok();
    server.ok("for n in $(seq 50); do ip route show default | grep -q linkdown && exit; sleep 0.1; done; exit 1");
    server.ok("echo 1 >/proc/sys/net/ipv4/conf/all/ignore_routes_with_linkdown");
    server.ok("ip route show default | grep -q 'dead linkdown'");
    let mut devs = std::collections::BTreeSet::new();
    for n in 129..169 {
        let to = format!("203.0.113.{n}");
        let ran = server.run(&format!("symroute explain --json --to {to}"));
        let told: serde_json::Value = serde_json::from_str(&ran.stdout()).expect("JSON");
        assert_eq!((ran.code(), &told["verdict"]), (0, &"same".into()), "{told:#}");
        devs.insert(told["kernel"]["dev"].to_string());
    }
    assert_eq!(devs.len(), 2, "the kernel uses both: {devs:?}");
}

/// The part that runs in the namespace.
pub fn inside(seed: &str) -> Result<String, String> {
    let mut random = Random(seed.parse().map_err(|_| "no seed")?);
    ip(&DEVICES.join("\n"), false);
    let (mut lookups, mut judged, mut kinds) = (0, 0, [0usize; 6]);
    for round in 0..ROUNDS {
        let setup = Setup::new(&mut random);
        let snapshot = setup.make();
        let mut socket = Socket::open().unwrap();
        for _ in 0..LOOKUPS {
            let query = query(&mut random);
            let (walked, answer) = ask(&mut socket, &snapshot, &query);
            let fault = fault(&mut socket, &snapshot, &query, &walked, &answer);
            lookups += 1;
            kinds[match (&walked.outcome, &answer) {
                (Outcome::Unsure(_), _) => 0,
                (Outcome::OnLink { .. }, _) => 1,
                (Outcome::Refused { .. }, _) => 2,
                (Outcome::Route { .. }, Answer::Refused(_)) => 3,
                (Outcome::Route { ways, .. }, _) if ways.len() > 1 => 4,
                _ => 5,
            }] += 1;
            let told = (random.below(JUDGED) == 0).then(|| judge(&query, &answer)).transpose();
            judged += usize::from(matches!(told, Ok(Some(()))));
            if let Some(fault) = fault.or(told.err()) {
                return Err(format!("round {round}\n{}", setup.smaller(&query).report(&query, &fault)));
            }
        }
    }
    let [unsure, on_link, refused, dropped, several, one] = kinds;
    // A run that shows only one kind of answer would prove little.
    let told = format!(
        "{lookups} lookups, {judged} of them asked of 'ip route get' too: {one} one way, {several} one of several, \
         {on_link} taken for on-link, {refused} refused, {dropped} dropped by the source check, {unsure} cannot be told"
    );
    let varied = one > lookups / 5 && refused > lookups / 50 && on_link > 0 && several > 0 && dropped > 0;
    if varied && unsure < lookups / 20 { Ok(told) } else { Err(format!("too much of one kind: {told}")) }
}

fn ask(socket: &mut Socket, snapshot: &Snapshot, query: &Query) -> (Walk, Answer) {
    let surroundings = kernel::surroundings(socket, query, snapshot).unwrap();
    (walk(snapshot, &surroundings, query), socket.lookup(query, &snapshot.links).unwrap())
}

/// What is wrong with the walk, if something is.
fn fault(socket: &mut Socket, snapshot: &Snapshot, query: &Query, walked: &Walk, answer: &Answer) -> Option<String> {
    let says = |what: &str| Some(format!("{what}\nours: {:#?}\nkernel: {answer:?}", walked.outcome));
    match walked.verdict(query, answer) {
        Verdict::Differs => return says("they differ"),
        Verdict::SourceCheck => {
            let Outcome::Route { ways, .. } = &walked.outcome else { return says("no route, and a source check") };
            if !source_check_drops(snapshot, query, &ways[0]) && ways.len() == 1 {
                return says("the source check has no reason");
            }
        }
        Verdict::Same | Verdict::Unsure => {}
    }
    // The very route, where the kernel tells it.
    if let (Outcome::Route { route, ways, .. }, Answer::Route(_)) = (&walked.outcome, answer) {
        let theirs = socket.lookup_route(query, &snapshot.links).unwrap();
        let same = theirs.as_ref().is_ok_and(|theirs| {
            let table = theirs.table == route.table || route.table == 255 && theirs.table == 254;
            table && theirs.dst == route.dst && theirs.metric == route.metric && theirs.family == route.family
        });
        // Of a nexthop object that several routes have, the kernel tells the one that came first.
        let object = route.more.as_ref().is_some_and(|more| more.nexthop_id.is_some());
        let loose = query.family() == Family::Inet6 && (ways.len() > 1 || object);
        if !same && !loose {
            return says(&format!("another route: {theirs:?}"));
        }
    }
    None
}

/// With rp_filter 0: the source looks up as the host's own, or as a broadcast address.
fn source_check_drops(snapshot: &Snapshot, query: &Query, way: &symroute::snapshot::Way) -> bool {
    let out = way.dev.as_deref().filter(|_| way.kind == Kind::Unicast);
    let asked = match way.kind {
        Kind::Broadcast => Query { to: "0.0.0.0".parse().unwrap(), ..query.clone() },
        _ => query.clone(),
    };
    match back(snapshot, &Query { mark: 0, ..asked }, out).outcome {
        Outcome::Route { ways, .. } => ways.iter().any(|way| way.kind != Kind::Unicast),
        Outcome::Unsure(_) => true,
        _ => false,
    }
}

/// `ip route get` has to say what our own lookup says.
fn judge(query: &Query, answer: &Answer) -> Result<(), String> {
    let ran = Command::new("ip").args(["-j", "route", "get"]).args(words(query)).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    let same = match answer {
        Answer::Refused(errno) => !ran.status.success() && text.contains(errno.desc()),
        Answer::Route(way) => {
            let value: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
            let text = |key: &str| value[0][key].as_str().map(str::to_string);
            let kind = text("type").unwrap_or("unicast".into());
            kind == way.kind.name() && text("dev") == way.dev && text("gateway") == way.gateway.map(|it| it.to_string())
        }
    };
    // A hash may choose another nexthop for another question, but this is the same one.
    if same { Ok(()) } else { Err(format!("our lookup says {answer:?}, 'ip route get' {text}")) }
}

fn words(query: &Query) -> Vec<String> {
    let mut words = vec![query.to.to_string()];
    let mut add = |key: &str, value: Option<String>| {
        words.extend(value.map(|value| [key.to_string(), value]).into_iter().flatten())
    };
    add("from", query.from.map(|from| from.to_string()));
    add("iif", query.iif.clone());
    add("oif", query.oif.clone());
    add("mark", Some(query.mark.to_string()).filter(|_| query.mark != 0));
    // What comes in is root's for the kernel, but inet6 takes it for nobody's when it is only asked.
    add("uid", Some(if query.iif.is_some() { "0".into() } else { query.uid.to_string() }));
    add("ipproto", Some(query.ip_protocol.to_string()));
    add("dport", Some(query.dport.to_string()).filter(|_| query.dport != 0));
    words
}

/// splitmix64: the same numbers from the same seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// u2 has no carrier; u1 is of group 7, u3 of symroute's.
const DEVICES: [&str; 11] = [
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
const ADDRESSES: [&str; 8] = [
    "addr add 192.0.2.10/24 dev u0",
    "addr add 198.51.100.10/24 dev u1",
    "addr add 203.0.113.10/26 dev u2",
    "addr add 203.0.113.130/26 dev u3",
    "-6 addr add 2001:db8:a::10/64 dev u0 nodad",
    "-6 addr add 2001:db8:b::10/64 dev u1 nodad",
    "-6 addr add 2001:db8:c::10/64 dev u2 nodad",
    "-6 addr add 2001:db8:d::10/64 dev u3 nodad",
];
const DEVS: [&str; 4] = ["u0", "u1", "u2", "u3"];
const OWN: [[&str; 5]; 2] = [
    ["192.0.2.10", "198.51.100.10", "203.0.113.10", "203.0.113.130", "198.51.100.10"],
    ["2001:db8:a::10", "2001:db8:b::10", "2001:db8:c::10", "2001:db8:d::10", "2001:db8:b::10"],
];
const OTHERS: [[&str; 9]; 2] = [
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
/// By device.
const GATEWAYS: [[&str; 4]; 2] = [
    ["192.0.2.1", "198.51.100.1", "203.0.113.1", "203.0.113.129"],
    ["2001:db8:a::1", "2001:db8:b::1", "2001:db8:c::1", "2001:db8:d::1"],
];
const TABLES: [&str; 6] = ["1", "2", "3", "main", "500", "main"];

/// One random host.
#[derive(Clone)]
struct Setup {
    /// Below /proc/sys/net, and the value.
    settings: Vec<(String, bool)>,
    commands: Vec<String>,
}

impl Setup {
    fn new(random: &mut Random) -> Setup {
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
            let at = random.below(4);
            commands.push(format!("-6 neigh replace {} dev {} nud failed", GATEWAYS[1][at], DEVS[at]));
        }
        for id in 1..=random.below(4) {
            let (family, at) = (random.below(2), random.below(4));
            let version = ["-4", "-6"][family];
            commands.push(match random.below(4) {
                0 => format!("{version} nexthop add id {id} blackhole"),
                1 if id > 1 => format!(
                    "{version} nexthop add id {id} group {}",
                    (1..id).map(|id| id.to_string()).collect::<Vec<_>>().join("/")
                ),
                _ => format!("{version} nexthop add id {id} via {} dev {}", GATEWAYS[family][at], DEVS[at]),
            });
        }
        let mut by_source: HashSet<[String; 3]> = HashSet::new();
        for _ in 0..10 + random.below(30) {
            let command = route(random);
            let mut words = command.split(' ');
            let net = words.clone().find(|word| *word == "default" || word.contains([':', '/']));
            let mut after = |key: &str| words.find(|word| *word == key).and_then(|_| words.next());
            // Linux 6.18 lists an inet6 route with a source still, but does not find it any more, once a second one
            // to the same destination from there was refused ("File exists"). No walk on paper follows that.
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

    /// Takes the last host down, makes this one, and reads what the kernel made of it.
    fn make(&self) -> Snapshot {
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
            // Down and up: nothing of the last host is left, addresses included.
            let _ = writeln!(clean, "link set {dev} down\naddr flush dev {dev}\nneigh flush dev {dev}");
        }
        ip(&clean, true);
        for (name, on) in &self.settings {
            fs::write(format!("/proc/sys/net/{name}"), if *on { "1" } else { "0" }).unwrap();
        }
        let up: String = DEVS.iter().map(|dev| format!("link set {dev} up\n")).collect();
        ip(&(up + &ADDRESSES.join("\n")), false);
        self.settle();
        // What the kernel refuses is not there; what is there counts.
        ip(&self.commands.join("\n"), true);
        kernel::snapshot(&mut Socket::open().unwrap()).unwrap()
    }

    /// inet6 addresses get their local and anycast routes a moment later.
    fn settle(&self) {
        let router = self.settings.iter().any(|(name, on)| name == "ipv6/conf/all/forwarding" && *on);
        let wanted = |own: &str| [(true, own.to_string()), (router, own.replace("::10", "::"))];
        let wanted: Vec<_> =
            ["2001:db8:a::10", "2001:db8:b::10", "2001:db8:d::10"].into_iter().flat_map(wanted).collect();
        for _ in 0..1000 {
            let routes = kernel::snapshot(&mut Socket::open().unwrap()).unwrap().routes;
            let there = |address: &str| {
                routes.iter().any(|route| route.table == 255 && route.dst.addr().to_string() == address)
            };
            if wanted.iter().all(|(needed, address)| there(address) == *needed) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("the addresses do not settle");
    }

    /// The fewest commands with which `query` still goes wrong.
    fn smaller(&self, query: &Query) -> Setup {
        let mut small = self.clone();
        let mut at = small.commands.len();
        while at > 0 {
            at -= 1;
            let mut less = small.clone();
            less.commands.remove(at);
            let snapshot = less.make();
            let mut socket = Socket::open().unwrap();
            let (walked, answer) = ask(&mut socket, &snapshot, query);
            if fault(&mut socket, &snapshot, query, &walked, &answer).is_some() {
                small = less;
            }
        }
        small
    }

    fn report(&self, query: &Query, fault: &str) -> String {
        let snapshot = self.make();
        let mut socket = Socket::open().unwrap();
        let (walked, answer) = ask(&mut socket, &snapshot, query);
        let again = self::fault(&mut socket, &snapshot, query, &walked, &answer);
        let fault = again.unwrap_or_else(|| format!("only once: {fault}"));
        let mut out = format!("{fault}\n");
        for step in &walked.steps {
            let _ =
                writeln!(out, "  {} {:?} {:?}: {:?}", step.rule.priority, step.rule.src, step.rule.table, step.said);
        }
        for line in DEVICES.iter().chain(&DEVS.map(|dev| dev)).take(DEVICES.len()) {
            let _ = writeln!(out, "ip {line}");
        }
        for (name, on) in &self.settings {
            let _ = writeln!(out, "echo {} > /proc/sys/net/{name}", u8::from(*on));
        }
        for dev in DEVS {
            let _ = writeln!(out, "ip link set {dev} up");
        }
        for line in ADDRESSES.iter().map(|line| line.to_string()).chain(self.commands.clone()) {
            let _ = writeln!(out, "ip {line}");
        }
        let _ = writeln!(out, "ip route get {}", words(query).join(" "));
        out
    }
}

/// `ip -batch`, one for each family, as its lines take no options; with `force`, what fails is passed over.
fn ip(lines: &str, force: bool) {
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
        if let (true, Ok(path)) = (force, std::env::var("SYMROUTE_REFUSED")) {
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
        let at = random.below(4);
        (GATEWAYS[family][at], DEVS[at])
    };
    let verb = random.one(&["add", "add", "append"]);
    let mut nexthops = String::new();
    let what = match random.below(24) {
        0 => format!("unreachable {net}"),
        1 => format!("prohibit {net}"),
        2 => format!("blackhole {net}"),
        3 | 4 => format!("throw {net}"),
        // No gateway lies in these: one that does when its route is made is not used, and no dump tells.
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
            let at = random.below(4);
            format!("{net} via {} dev {}", OWN[0][at], DEVS[at])
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

fn query(random: &mut Random) -> Query {
    let family = random.below(2);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let own = |random: &mut Random| address(random.one(&OWN[family]));
    let other = |random: &mut Random| address(random.one(&OTHERS[family]));
    let to = if random.once_in(8) { own(random) } else { other(random) };
    let mut query = Query::to(to);
    let received = random.once_in(4);
    query.from = match random.below(8) {
        _ if received => Some(if random.once_in(8) { own(random) } else { other(random) }),
        0..=2 => None,
        3 => Some(other(random)),
        _ => Some(own(random)),
    };
    // A source is an address of one host.
    query.from = query
        .from
        .filter(|from| !["192.0.2.255", "2001:db8:b::"].map(address).contains(from))
        .or(received.then(|| own(random)));
    if received {
        query.iif = Some(random.one(&DEVS).into());
    } else if random.once_in(3) {
        query.oif = Some(random.one(&DEVS).into());
    }
    query.mark = [0, 0, 0, 1, 0x10, 0x13][random.below(6)];
    if random.once_in(6) && maps_users() {
        query.uid = 1500;
    }
    if random.once_in(4) {
        query.ip_protocol = 6;
    }
    if random.once_in(4) {
        query.dport = 53;
    }
    query
}

/// In a user namespace of an unprivileged user there is only root.
fn maps_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 2000)
}
