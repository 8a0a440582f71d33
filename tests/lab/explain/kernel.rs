//! `symroute explain` compared with the kernel. iproute2 adds random rules and tables in a namespace. Each of thousands
//! of lookups must return the kernel's route.
//!
//! If a lookup differs, the test reduces the configuration and prints it as `ip` commands.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::process::Command;

use super::host::{ADDRESSES, DEVICES, DEVS, OTHERS, OWN, Setup, ip};
use crate::random::{Random, seed};
use crate::world::Host;
use symroute::netlink::{self, Socket};
use symroute::network::lookup::{Comparison, Lookup, Outcome, lookup, reverse_lookup};
use symroute::network::{Answer, Family, Kind, Query, Snapshot};

/// Set if this program runs inside the namespace; its value is the seed.
pub const INSIDE: &str = "SYMROUTE_EXPLAIN_INSIDE";

const ROUNDS: usize = 150;

const LOOKUPS: usize = 150;

/// One of this many lookups is also compared with `ip route get`.
const COMPARED: usize = 40;

pub fn explain_agrees_with_the_kernel() {
    let host = Host::bare().unwrap();
    let seed = seed();
    let program = std::env::current_exe().unwrap();
    let ran = host.outside(&format!("{INSIDE}={seed} exec '{}'", program.display()));
    assert!(ran.succeeded(), "SYMROUTE_SEED={seed}\n{}", ran.text());
    println!("SYMROUTE_SEED={seed}: {}", ran.stdout().trim());
}

/// Runs inside the namespace.
pub fn inside(seed: &str) -> Result<String, String> {
    let mut random = Random::new(seed.parse().map_err(|_| "invalid seed")?);
    ip(&DEVICES.join("\n"), false);
    let (mut lookups, mut compared, mut kinds) = (0, 0, [0usize; 6]);
    for round in 0..ROUNDS {
        let setup = Setup::new(&mut random);
        let snapshot = setup.configure();
        let mut socket = Socket::open().unwrap();
        for _ in 0..LOOKUPS {
            let query = query(&mut random);
            let (walked, answer) = look_up(&mut socket, &snapshot, &query);
            let fault = fault(&mut socket, &snapshot, &query, &walked, &answer);
            lookups += 1;
            kinds[match (&walked.outcome, &answer) {
                (Outcome::Unknown(_), _) => 0,
                (Outcome::OnLink { .. }, _) => 1,
                (Outcome::Rejected { .. }, _) => 2,
                (Outcome::Route { .. }, Answer::Rejected(_)) => 3,
                (Outcome::Route { candidates, .. }, _) if candidates.len() > 1 => 4,
                _ => 5,
            }] += 1;
            let checked = (random.below(COMPARED) == 0).then(|| compare_with_ip(&query, &answer)).transpose();
            compared += usize::from(matches!(checked, Ok(Some(()))));
            if let Some(fault) = fault.or(checked.err()) {
                return Err(format!("round {round}\n{}", setup.reduced(&query).report(&query, &fault)));
            }
        }
    }
    let [unknown, on_link, rejected, dropped, several, one] = kinds;
    // A run with only one kind of result would test little.
    let summary = format!(
        "{lookups} lookups, {compared} of them compared with 'ip route get': {one} with one route, {several} with \
         several, {on_link} on-link, {rejected} rejected, {dropped} dropped by the source check, {unknown} unknown"
    );
    let is_varied = one > lookups / 5 && rejected > lookups / 50 && on_link > 0 && several > 0 && dropped > 0;
    if is_varied && unknown < lookups / 20 { Ok(summary) } else { Err(format!("too many of one kind: {summary}")) }
}

fn look_up(socket: &mut Socket, snapshot: &Snapshot, query: &Query) -> (Lookup, Answer) {
    let context = netlink::context(socket, query, snapshot, symroute::system::sysctl::forwards(query)).unwrap();
    (lookup(snapshot, &context, query), socket.lookup(query, &snapshot.links).unwrap())
}

/// How the lookup differs from the kernel's; nothing if it does not.
fn fault(socket: &mut Socket, snapshot: &Snapshot, query: &Query, walked: &Lookup, answer: &Answer) -> Option<String> {
    let differs = |what: &str| Some(format!("{what}\nours: {:#?}\nkernel: {answer:?}", walked.outcome));
    match walked.compare(query, answer) {
        Comparison::Differs => return differs("they differ"),
        Comparison::SourceCheck => {
            let Outcome::Route { candidates, .. } = &walked.outcome else {
                return differs("no route, but a source check");
            };
            if !source_check_drops(snapshot, query, &candidates[0]) && candidates.len() == 1 {
                return differs("the source check accepts this packet");
            }
        }
        Comparison::Same | Comparison::Unknown => {}
    }
    // The same route, if the kernel shows it.
    if let (Outcome::Route { route, candidates, .. }, Answer::Route(_)) = (&walked.outcome, answer) {
        let theirs = socket.lookup_route(query, &snapshot.links).unwrap();
        let same = theirs.as_ref().is_ok_and(|theirs| {
            let table = theirs.table == route.table || route.table == 255 && theirs.table == 254;
            table && theirs.dst == route.dst && theirs.metric == route.metric && theirs.family == route.family
        });
        // If several routes have one nexthop object, the kernel shows the first of them.
        let object = route.extras.as_ref().is_some_and(|more| more.nexthop_id.is_some());
        let loose = query.family() == Family::Inet6 && (candidates.len() > 1 || object);
        if !same && !loose {
            return differs(&format!("another route: {theirs:?}"));
        }
    }
    None
}

/// With rp_filter 0, the source check drops packets whose source is an address of the host, or a broadcast address.
fn source_check_drops(snapshot: &Snapshot, query: &Query, route: &symroute::network::ResolvedRoute) -> bool {
    let out = route.dev.as_deref().filter(|_| route.kind == Kind::Unicast);
    let received = match route.kind {
        Kind::Broadcast => Query { to: "0.0.0.0".parse().unwrap(), ..query.clone() },
        _ => query.clone(),
    };
    match reverse_lookup(snapshot, &Query { mark: 0, ..received }, out).outcome {
        Outcome::Route { candidates, .. } => candidates.iter().any(|route| route.kind != Kind::Unicast),
        Outcome::Unknown(_) => true,
        _ => false,
    }
}

/// `ip route get` must return the same as symroute's netlink lookup.
fn compare_with_ip(query: &Query, answer: &Answer) -> Result<(), String> {
    let ran = Command::new("ip").args(["-j", "route", "get"]).args(words(query)).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    let same = match answer {
        Answer::Rejected(errno) => !ran.status.success() && text.contains(errno.desc()),
        Answer::Route(route) => {
            let value: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
            let text = |key: &str| value[0][key].as_str().map(str::to_string);
            let kind = text("type").unwrap_or("unicast".into());
            let gateway = route.gateway.map(|gateway| gateway.to_string());
            kind == route.kind.name() && text("dev") == route.dev && text("gateway") == gateway
        }
    };
    // The query is the same, so a hash selects the same nexthop.
    if same { Ok(()) } else { Err(format!("netlink returns {answer:?}, 'ip route get' {text}")) }
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
    // Received packets have user 0. For IPv6, 'ip route get' needs this explicitly.
    add("uid", Some(if query.iif.is_some() { "0".into() } else { query.uid.to_string() }));
    add("ipproto", Some(query.ip_protocol.to_string()));
    add("dport", Some(query.dport.to_string()).filter(|_| query.dport != 0));
    words
}

impl Setup {
    /// The fewest commands with which `query` still differs.
    fn reduced(&self, query: &Query) -> Setup {
        let mut small = self.clone();
        let mut index = small.commands.len();
        while index > 0 {
            index -= 1;
            let mut less = small.clone();
            less.commands.remove(index);
            let snapshot = less.configure();
            let mut socket = Socket::open().unwrap();
            let (walked, answer) = look_up(&mut socket, &snapshot, query);
            if fault(&mut socket, &snapshot, query, &walked, &answer).is_some() {
                small = less;
            }
        }
        small
    }

    fn report(&self, query: &Query, fault: &str) -> String {
        let snapshot = self.configure();
        let mut socket = Socket::open().unwrap();
        let (walked, answer) = look_up(&mut socket, &snapshot, query);
        let again = self::fault(&mut socket, &snapshot, query, &walked, &answer);
        let fault = again.unwrap_or_else(|| format!("not repeatable: {fault}"));
        let mut out = format!("{fault}\n");
        for step in &walked.steps {
            let _ =
                writeln!(out, "  {} {:?} {:?}: {:?}", step.rule.priority, step.rule.src, step.rule.table, step.verdict);
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
    // A source is the address of one host.
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

/// In a user namespace of an unprivileged user, only root exists.
fn maps_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 2000)
}
