//! Many packets of mixed flows, in an order that a seed decides. tcpdump captures them as well, and the counts of both
//! are equal.

use serde_json::Value;

use super::{Observed, Observer};
use crate::WITH_METRIC;
use crate::random::seed;
use crate::world::{Holder, World};

/// Sends packets on both ends of veth pairs.
const SEND: &str = include_str!("load.py");
const PACKETS: usize = 1_000_000;

/// The server has both ends of its uplinks, so that one process sends all packets, and their order is known. It replies to
/// nothing.
pub fn prepare(world: &World) {
    let server = &world.server;
    server.outside("ip link del eth0; ip link del eth1").ok();
    let pair = |number: usize| {
        format!("ip link add eth{number} type veth peer name peer{number}; ip link set peer{number} up; ")
    };
    server
        .outside(&format!(
            "{}{}for dev in peer0 peer1; do echo 1 >/proc/sys/net/ipv6/conf/$dev/disable_ipv6; done",
            pair(0),
            pair(1)
        ))
        .ok();
    server.ok(
        "nft add table inet quiet; nft add chain inet quiet in '{ type filter hook input priority 0; policy drop; }'
        nft add chain inet quiet out '{ type filter hook output priority 0; policy drop; }'",
    );
    world.configure(WITH_METRIC);
    // Duplicate address detection cannot end: nothing arrives.
    server.outside("for dev in eth0 eth1; do echo 0 >/proc/sys/net/ipv6/conf/$dev/accept_dad; done").ok();
    server.ok("ifup -a");
}

/// A command that sends packets. The machine's python3 runs it, in the server's namespace.
pub fn send(world: &World, packets: usize, pause: f64) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("load.py");
    std::fs::write(&path, SEND).expect("a file");
    world.server.outside(&format!("/usr/bin/python3 {} {} {packets} {pause}", path.display(), seed())).ok()
}

/// A capture of one direction of an interface.
struct Capture<'a> {
    world: &'a World,
    process: Option<Holder>,
    file: String,
}

impl<'a> Capture<'a> {
    fn start(world: &'a World, directory: &std::path::Path, interface: &str, direction: &str) -> Self {
        let file = directory.join(format!("{interface}-{direction}")).display().to_string();
        let command =
            format!("exec tcpdump -Z root -U -i {interface} -Q {direction} -B 131072 -s 96 -w {file} 2>{file}.log");
        let process = world.server.background(&command);
        let listens =
            format!("for n in $(seq 100); do grep -q 'listening on' {file}.log && exit; sleep 0.1; done; exit 1");
        world.server.outside(&listens).ok();
        Capture { world, process: Some(process), file }
    }

    fn stop(&mut self) {
        self.process.take().expect("a process").stop();
        let log = std::fs::read_to_string(format!("{}.log", self.file)).expect("a log");
        assert!(log.contains("\n0 packets dropped by kernel"), "{log}");
    }

    /// The packets that the filter matches.
    fn lines(&self, filter: &str) -> Vec<String> {
        let ran = self.world.server.outside(&format!("tcpdump -nn -q -t -r {} '{filter}' 2>/dev/null", self.file));
        ran.ok().lines().map(str::to_string).collect()
    }

    fn packets(&self, filter: &str) -> u64 {
        self.lines(filter).len() as u64
    }

    /// Pairs of ends among them.
    fn flows(&self, filter: &str) -> u64 {
        let ends = |line: &String| line.split(": ").next().unwrap_or_default().to_string();
        let echo =
            |line: &String| line.split(" id ").nth(1).and_then(|rest| rest.split(',').next().map(str::to_string));
        let lines = self.lines(filter);
        let flows: std::collections::BTreeSet<_> = lines.iter().map(|line| (ends(line), echo(line))).collect();
        flows.len() as u64
    }
}

/// The sum of a count over the faults that match.
fn sum(observed: &Observed, key: &str, matches: impl Fn(&Value) -> bool) -> u64 {
    let faults = observed.last();
    faults.iter().filter(|fault| matches(fault)).map(|fault| fault[key].as_u64().expect("a number")).sum()
}

pub fn a_million_packets(world: &World) {
    prepare(world);
    let directory = tempfile::tempdir().expect("a directory");
    let start = |interface, direction| Capture::start(world, directory.path(), interface, direction);
    let mut captures = [start("eth0", "in"), start("eth0", "out"), start("eth1", "in"), start("eth1", "out")];
    let observer = Observer::start(&world.server, "");
    send(world, PACKETS, 0.001);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let observed = observer.finish();
    captures.iter_mut().for_each(Capture::stop);
    let [in0, out0, in1, out1] = &captures;
    let all: u64 = captures.iter().map(|capture| capture.packets("")).sum();
    assert!(all >= PACKETS as u64, "{all} packets");
    let end = observed.events.last().expect("the end");
    for lost in ["dropped", "malformed", "flows_not_fitting", "kinds_not_fitting"] {
        assert_eq!(end[lost], 0, "{lost}: {end}");
    }
    let copied = end["copied"].as_u64().expect("a number");
    assert!(copied < all * 9 / 10, "{copied} of {all} packets were copied");

    let networks = [("192.0.2.0/24", "2001:db8:a::/64"), ("198.51.100.0/24", "2001:db8:b::/64")];
    let owner = |address: &Value| {
        usize::from(
            address.as_str().expect("text").contains("198.51.100.") || address.as_str().expect("text").contains(":b::"),
        )
    };
    let nd = "not (icmp6 and ip6[40] >= 133)";
    for (link, (received, sent)) in [(in0, out0), (in1, out1)].into_iter().enumerate() {
        let (v4, v6) = networks[1 - link];
        let interface = format!("eth{link}");
        // Packets with an address of the other uplink.
        let foreign = format!("(src net {v4} or src net {v6}) and {nd}");
        let left = |fault: &Value| fault["left"] == *interface && owner(&fault["source"]) != link;
        assert_eq!(sum(&observed, "packets", left), sent.packets(&foreign), "{interface}: {foreign}");
        assert_eq!(sum(&observed, "flows", left), sent.flows(&foreign), "{interface}, flows: {foreign}");
        let misplaced = format!("(dst net {v4} or dst net {v6}) and {nd}");
        let arrived = |fault: &Value| fault["id"] == "arrived-elsewhere" && fault["came_in"] == *interface;
        assert_eq!(sum(&observed, "packets", arrived), received.packets(&misplaced), "{interface}: {misplaced}");
        assert_eq!(sum(&observed, "flows", arrived), received.flows(&misplaced), "{interface}, flows: {misplaced}");
        // Replies from the other address.
        let (v4, v6) = networks[link];
        let instead = format!("udp src port 5300 and (src net {v4} or src net {v6})");
        let wildcard = |fault: &Value| fault["left"] == *interface && fault["source"] != fault["address"];
        assert_eq!(sum(&observed, "packets", wildcard), sent.packets(&instead), "{interface}: {instead}");
        // Flows that came in: not those that the host opened.
        let opening = "(ip and tcp[13] & 18 = 2) or (ip6 and ip6[6] = 6 and ip6[53] & 18 = 2) or (udp and not src port 443) or \
                       icmp[0] = 8 or (icmp6 and ip6[40] = 128) or ip proto 47 or ip6 proto 47";
        assert_eq!(observed.link(&interface)["came_in"], received.flows(opening), "{interface}: {opening}");
    }
    assert_eq!(observed.code, 1);
}
