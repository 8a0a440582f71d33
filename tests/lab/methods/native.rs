//! Files in the native syntax of ifupdown-ng and ifupdown2.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lines::written;
use crate::NATIVE;
use crate::judge::{assert_kernel_is_plan, assert_nothing_left, assert_symmetric, state};
use crate::world::{A4, A6, World};

pub fn native_files_work_with_lines(world: &World) {
    world.configure(NATIVE);
    world.server.ok("symroute-gen --write");
    written(world, NATIVE);
}

pub fn native_files_work_with_hooks(world: &World) {
    world.install_hooks();
    world.configure(NATIVE);
    world.server.ok("symroute-gen --write --style hook");
    for _ in 0..2 {
        world.server.ok("ifup -a");
        world.settle();
        assert_kernel_is_plan(world);
        assert_symmetric(world);
        world.server.ok("ifdown eth1");
        for to in [A4, A6] {
            assert!(world.client.reaches(None, to), "{to}\n{}", state(world));
        }
        world.server.ok("ifup eth1");
        assert_kernel_is_plan(world);
        world.server.ok("ifdown -a");
        assert_nothing_left(world);
    }
}

/// Addresses and gateways of each interface, as the installed ifquery shows them.
pub fn native_config_matches_ifquery(world: &World) {
    let ng = world.server.run("test -e /usr/libexec/ifupdown-ng").succeeded();
    let files = [NATIVE, include_str!("../../fixtures/ng.interfaces")];
    for file in &files[..if ng { 2 } else { 1 }] {
        world.configure(file);
        let config: Value = serde_json::from_str(&world.server.ok("symroute config --json")).expect("JSON");
        for interface in ["eth0", "eth1", "eth2"] {
            let query = world.server.ok(&format!("ifquery {interface}"));
            let is_compared = |line: &&str| line.starts_with("address ") || line.starts_with("gateway ");
            let theirs: BTreeSet<String> = query.lines().map(str::trim).filter(is_compared).map(String::from).collect();
            let stanzas = config["stanzas"].as_array().expect("a list").iter();
            let options = stanzas
                .filter(|stanza| stanza["interface"] == interface)
                .flat_map(|stanza| stanza["options"].as_array().expect("a list").iter());
            let lines = options.flat_map(|option| {
                let name = option["name"].as_str().expect("a name").to_string();
                option["value"]
                    .as_str()
                    .expect("a value")
                    .lines()
                    .map(move |line| format!("{name} {line}"))
                    .collect::<Vec<_>>()
            });
            let ours: BTreeSet<String> = lines.filter(|line| is_compared(&line.as_str())).collect();
            assert!(!theirs.is_empty());
            assert_eq!(ours, theirs, "{interface}\n{query}");
        }
    }
}
