//! Shows the problem, the plan and the fix on one screen.

#![allow(clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code)]
mod agent;
#[allow(dead_code)]
mod host;
#[allow(dead_code, unused_imports)]
mod world;

use std::process::ExitCode;

use world::{B4, PUBLIC, World};

/// A Debian 13 with its ifupdown. tests/demo makes this root.
const ROOT: &str = "demo";
const INTERFACES: &str = include_str!("../fixtures/two-uplinks-metric.interfaces");

fn main() -> ExitCode {
    agent::serve_if_agent();
    if let Err(reason) = World::available(ROOT) {
        println!("The demonstration cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    let world = World::new(ROOT).expect("a test lab");
    world.configure(INTERFACES);
    println!(
        "A server with Debian 13 and ifupdown, in network namespaces: eth0 at provider A (192.0.2.0/24), eth1 at\n\
         provider B (198.51.100.0/24). A provider drops packets with a source address that is not its own.\n"
    );
    println!("1. THE PROBLEM: replies from provider B's address leave through provider A");
    world.server.ok("ifup -a");
    show(&world, &route_from_b());
    let broken = replies(&world);
    world.server.ok("ifdown -a");

    println!("\n2. THE PLAN: a routing table for each uplink, rules that select it by source address");
    show(&world, "symroute plan | sed '/^$/q'");

    println!("\n3. THE FIX: symroute-gen writes the plan into /etc/network/interfaces");
    show(&world, "symroute-gen --write --quiet");
    show(&world, "ifup -a");
    show(&world, "ip rule");

    println!("\n4. THE PROOF: every address replies through its own uplink");
    show(&world, &route_from_b());
    let fixed = replies(&world);
    let checked = show(&world, "symroute check");
    world.server.ok("ifdown -a");

    if broken == 2 && fixed == PUBLIC.len() && checked { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn route_from_b() -> String {
    format!("ip route get 203.0.113.190 from {B4}")
}

/// Runs a command on the server and prints its output without the progress of ifup. Returns whether it succeeded.
fn show(world: &World, command: &str) -> bool {
    println!("   # {command}");
    let ran = world.server.run(command);
    let is_progress = |line: &str| line.is_empty() || line.starts_with("Waiting") || line.ends_with("cache ");
    for line in ran.text().lines().filter(|line| !is_progress(line)) {
        println!("   {}", line.trim_end());
    }
    ran.succeeded()
}

/// Sends packets to every address from the remote client, and prints the results. Returns the number of addresses that
/// replied.
fn replies(world: &World) -> usize {
    let word = |replied| if replied { "reply" } else { "NO REPLY" };
    let results = std::thread::scope(|scope| {
        let tries = PUBLIC.map(|to| {
            let client = &world.client;
            (scope.spawn(move || client.pings(None, to)), scope.spawn(move || client.talks(None, to)))
        });
        tries.map(|(ping, tcp)| (ping.join().expect("no panic"), tcp.join().expect("no panic")))
    });
    for (to, (ping, tcp)) in PUBLIC.iter().zip(results) {
        println!("   remote client to {to:<16} ping: {:<10} TCP: {}", word(ping), word(tcp));
    }
    results.iter().filter(|(ping, tcp)| *ping && *tcp).count()
}
