//! The main job on one screen: the broken server, the plan, the mended server.

#![allow(clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code)]
mod world;

use world::{A4, B4, PUBLIC, World};

const SUITE: &str = "trixie";
const PLAIN: &str = include_str!("../fixtures/two-uplinks.interfaces");
const WITH_METRIC: &str = include_str!("../fixtures/two-uplinks-metric.interfaces");

fn main() {
    if let Err(reason) = World::available(SUITE) {
        println!("The demonstration cannot run here: {reason}");
        std::process::exit(1);
    }
    let world = World::new(SUITE).expect("a laboratory");
    println!(
        "A server with Debian {SUITE} and its ifupdown, in a network namespace: eth0 at provider A (192.0.2.0/24),\n\
         eth1 at provider B (198.51.100.0/24). Each provider drops what has a foreign source. A client is far away.\n"
    );
    println!("1. TWO 'gateway' LINES, AS PEOPLE WRITE THEM");
    world.configure(PLAIN);
    shell(&world, "ifup -a 2>&1 | grep -v -e waiting -e Waiting");
    world.server.run("ifdown -a --force; ip addr flush dev eth0; ip addr flush dev eth1; ip addr flush dev eth2");
    println!("   With a 'metric' added by hand both come up:");
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    route(&world, B4);
    answers(&world);
    world.server.ok("ifdown -a");

    println!("\n2. symroute-gen WORKS IT OUT AND WRITES IT INTO THE FILE");
    world.configure(PLAIN);
    shell(&world, "symroute-gen --write");

    println!("\n3. THE SAME SERVER AGAIN");
    shell(&world, "ifup -a 2>&1 | grep -v -e waiting -e Waiting");
    shell(&world, "ip rule");
    shell(&world, "ip route show table 2");
    route(&world, A4);
    route(&world, B4);
    answers(&world);

    world.server.ok("ifdown -a");
    shell(&world, "symroute-gen --remove --write --quiet");
    let same = world.server.read("/etc/network/interfaces") == PLAIN.as_bytes();
    println!("   /etc/network/interfaces is {} bytes of before.", if same { "again the very" } else { "NOT the" });
}

fn shell(world: &World, command: &str) {
    println!("   # {}", command.split(" 2>&1").next().unwrap_or(command));
    for line in world.server.run(command).text().lines().filter(|line| !line.is_empty()) {
        println!("   {line}");
    }
}

fn route(world: &World, from: &str) {
    let command = format!("ip route get 203.0.113.190 from {from}");
    let answer = world.server.run(&command).text();
    println!("   # {command}\n   {}", answer.lines().next().unwrap_or_default());
}

/// What the remote client gets.
fn answers(world: &World) {
    for to in PUBLIC {
        let word = |answers| if answers { "answers" } else { "NO ANSWER" };
        println!(
            "   client to {to:<16} ping {:<10} TCP {}",
            word(world.client.pings(None, to)),
            word(world.client.talks(None, to))
        );
    }
}
