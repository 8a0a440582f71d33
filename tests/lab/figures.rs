//! Measures 'symroute watch': the time from an event until replies leave through the right uplink again, and the packets
//! that are lost meanwhile, out of 1,000 a second. Prints the table of docs/watch.md.

#![allow(clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code)]
mod agent;
#[allow(dead_code)]
mod dhcp;
#[allow(dead_code)]
mod host;
#[allow(dead_code, unused_imports)]
mod world;

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use dhcp::{Client, Clients, FIRST, Offer};
use world::{B4, World};

const ROOT: &str = "trixie";
const INTERFACES: &str = include_str!("../fixtures/two-uplinks-metric.interfaces");
/// The second uplink has its address and its router from ISP B.
const LEASED: &str = "auto lo eth0 eth1
iface lo inet loopback
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
iface eth1 inet dhcp
    metric 20
";
/// Packets that the remote client sends to the server for each event, one each millisecond.
const PACKETS: u32 = 600;

/// An event, and what ends it before the next one.
struct Event {
    name: &'static str,
    script: &'static str,
    undo: &'static str,
}

const EVENTS: [Event; 4] = [
    Event { name: "`ip rule flush protocol 97`", script: "ip rule flush protocol 97", undo: "" },
    Event { name: "`ip route flush table 2`", script: "ip route flush table 2", undo: "" },
    Event {
        name: "`ip link set eth1 down; ip link set eth1 up`",
        script: "ip link set eth1 down; ip link set eth1 up",
        undo: "",
    },
    Event {
        name: "systemd-networkd starts",
        script: "ip addr flush dev ve0; setsid /usr/lib/systemd/systemd-networkd >/dev/null 2>&1 &",
        undo: "pkill -x systemd-network; sleep 0.2",
    },
];

/// Both routers work, so that only the time counts that symroute takes.
const RENEWAL: Event = Event {
    name: "the router of a lease changes (dhcpcd)",
    script: "before=$(ip route show table 2); dhcpcd --rebind eth1
        for n in $(seq 100); do [ \"$(ip route show table 2)\" = \"$before\" ] || exit 0; sleep 0.1; done
        ip route; exit 1",
    undo: "",
};

fn main() -> ExitCode {
    agent::serve_if_agent();
    let repetitions: usize = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100);
    if let Err(reason) = World::available(ROOT) {
        println!("The test lab cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    println!("{repetitions} repetitions of each event, {PACKETS} packets, one each millisecond.\n");
    println!(
        "| event | time, median | time, worst | lost packets, median | lost packets, worst |\n|---|---|---|---|---|"
    );
    let world = prepare();
    for event in &EVENTS {
        print(event, (0..repetitions).map(|_| measure(&world, event)).collect());
    }
    drop(world);
    print(&RENEWAL, renewals(repetitions));
    ExitCode::SUCCESS
}

fn print(event: &Event, mut results: Vec<Result>) {
    let middle = results.len() / 2;
    results.sort_by_key(|result| result.micros);
    let (time, worst) = (results[middle].micros, results[results.len() - 1].micros);
    results.sort_by_key(|result| result.lost);
    let (lost, most) = (results[middle].lost, results[results.len() - 1].lost);
    let millis = |micros: u64| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    println!("| {} | {} | {} | {lost} | {most} |", event.name, millis(time), millis(worst));
}

/// The server of ISP B offers the one and the other router in turn.
fn renewals(repetitions: usize) -> Vec<Result> {
    let world = World::new(ROOT).expect("a test lab");
    let (server, isp_b) = (&world.server, &world.isp_b);
    let _clients = Clients(server);
    isp_b.outside("ip addr add 198.51.100.2/24 dev cust0").ok();
    world.install_hooks();
    Client::Dhcpcd.install(&world);
    world.configure(LEASED);
    let offer = |router| Offer { address: B4, router, ..FIRST }.serve(isp_b, Client::Dhcpcd);
    let mut dhcp = Some(offer("198.51.100.1"));
    server.ok("ifup -a; symroute apply");
    let mut results = Vec::new();
    for n in 0..repetitions {
        dhcp.take();
        dhcp = Some(offer(["198.51.100.2", "198.51.100.1"][n % 2]));
        results.push(measure(&world, &RENEWAL));
    }
    results
}

fn prepare() -> World {
    let world = World::new(ROOT).expect("a test lab");
    world.configure(INTERFACES);
    world.server.mount("mount -o remount,ro,bind sys");
    world.server.ok("mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/network
        chown -R systemd-network: /run/systemd/netif
        ip link add ve0 type veth peer name ve1; ip link set ve1 up; ifup -a; symroute apply");
    world.server.write(
        "/run/systemd/network/ve0.network",
        b"[Match]\nName=ve0\n[Network]\nAddress=203.0.113.65/28\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n",
    );
    world
}

struct Result {
    micros: u64,
    lost: u32,
}

/// One event with a new process of watch, which has no reason to pause.
fn measure(world: &World, event: &Event) -> Result {
    let server = &world.server;
    let watch = server.in_background("exec symroute watch >/run/watch.log 2>&1");
    server.ok("for n in $(seq 200); do symroute --quiet status && exit; sleep 0.02; done; cat /run/watch.log; exit 1");
    let monitor = server.in_background("exec ip -ts monitor rule route link address >/run/monitor");
    sleep(Duration::from_millis(50));
    let lost = std::thread::scope(|scope| {
        let ping = scope.spawn(|| {
            let sent = world.client.outside(&format!("ping -q -n -i 0.001 -c {PACKETS} -W 1 {B4}")).stdout();
            let received = sent.split(", ").nth(1).and_then(|part| part.split(' ').next()?.parse::<u32>().ok());
            PACKETS - received.expect("ping's summary")
        });
        sleep(Duration::from_millis(100));
        server.ok(event.script);
        ping.join().expect("no panic")
    });
    server.ok("for n in $(seq 500); do symroute --quiet status && exit; sleep 0.02; done; symroute status; exit 1");
    monitor.stop();
    watch.stop();
    let monitor = server.ok("cat /run/monitor");
    let micros = until_repaired(&monitor);
    assert!(micros > 0, "{}: symroute changed nothing\n{monitor}", event.name);
    if !event.undo.is_empty() {
        server.run(event.undo);
    }
    Result { micros, lost }
}

/// From the first event to the last entry that watch has added.
fn until_repaired(monitor: &str) -> u64 {
    // [2026-11-28T21:05:01.123456] 111: from 198.51.100.10 lookup 2 proto 97
    let time = |line: &str| -> Option<u64> {
        let clock = line.strip_prefix('[')?.split_once('T')?.1.split_once(']')?.0;
        let mut parts = clock.split([':', '.']).map(|part| part.parse::<u64>().ok());
        let (hours, minutes, seconds, micros) = (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
        Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
    };
    let lines: Vec<&str> = monitor.lines().filter(|line| line.starts_with('[')).collect();
    let first = lines.iter().find_map(|line| time(line)).unwrap_or_default();
    let is_added = |line: &&&str| line.contains("proto 97") && !line.contains("Deleted");
    let last = lines.iter().rev().find(is_added).and_then(|line| time(line)).unwrap_or(first);
    last.saturating_sub(first)
}
