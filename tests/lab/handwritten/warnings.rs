//! The effects that the warnings name occur, and the fixes work.

use super::{clean, fixture, own_etc, rules};
use crate::judge::state;
use crate::world::World;

pub fn warnings_of_manual_policy_are_correct(world: &World) {
    own_etc(world);
    let server = &world.server;
    // `ip` fails with this exit code, and ifup reports it.
    for (name, exit, reason) in [
        ("directory-for-program", 126, "Permission denied"),
        ("from-fwmark", 1, "prefix is expected rather than \"fwmark\""),
        ("lookup-table", 255, "invalid table ID"),
        ("lookup-in-a-route", 255, "\"to\" is duplicate"),
        ("address-for-a-network", 2, "Invalid prefix for given prefix length"),
        ("unknown-name", 255, "\"isp-c\" is wrong"),
        ("wrong-source", 2, "Invalid prefsrc"),
        ("wrong-gateway", 2, "invalid gateway"),
        ("wrong-device", 1, "Cannot find device"),
        ("ipv6-without-6", 2, "Invalid source address"),
        ("link-local-without-dev", 2, "Egress device not specified"),
        ("placeholders", 2, "annot open"),
    ] {
        world.configure(&fixture(name));
        let warned = server.run("symroute config").text();
        assert!(
            warned.contains(&format!("the line fails (exit code {exit}), and ifup aborts there")),
            "{name}: {warned}"
        );
        let up = server.run("ifup eth1");
        assert!(!up.succeeded() && up.text().contains(reason), "{name}: {}", up.text());
        // The line itself, as ifup ran it.
        let place = warned.lines().find(|line| line.trim_start().starts_with("--> ")).expect("a place");
        let number: usize = place.split(':').nth(1).and_then(|number| number.parse().ok()).expect("a line");
        let line = fixture(name).lines().nth(number - 1).expect("that line").trim().to_string();
        let command = line.split_once(' ').expect("an option").1.replace('\'', "'\\''");
        assert_eq!(server.run(&format!("cd /tmp; sh -c '{command}'")).code(), exit, "{name}: {command}");
        clean(world);
    }
    // Rules that are not deleted.
    for (name, copies) in
        [("leaks", 4), ("no-priority", 0), ("deletes-another-table", 1), ("deletes-without-table-word", 1)]
    {
        world.configure(&fixture(name));
        server.ok("ifup eth0");
        for _ in 0..2 {
            server.run("ifup eth1");
            server.ok("ifdown eth1");
        }
        assert_eq!(rules(world, "198.51.100.10").len(), copies, "{name}");
        clean(world);
    }
    world.configure(&fixture("leaks-with-priority"));
    server.ok("ifup eth1; ifdown eth1");
    let again = server.run("ifup eth1");
    assert!(!again.succeeded() && again.text().contains("File exists"), "{}", again.text());
    clean(world);
    // The lines run twice, as after a failure of a later line.
    world.configure(&fixture("no-priority"));
    server.ok("ifup eth1");
    server.run("ifup --force --ignore-errors eth1");
    assert_eq!(rules(world, "198.51.100.10").len(), 4);
    server.ok("ifdown eth1");
    assert_eq!(rules(world, "198.51.100.10").len(), 2);
    clean(world);
    // Rules and routes that use the wrong route.
    for (name, lookup, route) in [
        ("wrong-table", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("empty-table", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("to-for-from", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("tunnel-for-table", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("deletes-an-unknown-rule", "203.0.113.190 from 198.51.100.10", "via 192.0.2.1 dev eth0"),
        ("no-subnet", "198.51.100.20 from 198.51.100.10", "via 198.51.100.1 dev eth1"),
        ("source-of-the-other-link", "203.0.113.190 from 198.51.100.10", "via 198.51.100.1 dev eth1"),
    ] {
        world.configure(&fixture(name));
        server.ok("ifup eth0; ifup eth1");
        let get = server.ok(&format!("ip route get {lookup}"));
        assert!(get.contains(route), "{name}: {get}");
        server.ok("ifdown eth1; ifdown eth0");
        clean(world);
    }
    world.configure(&fixture("wrong-stanza"));
    server.ok("ifup eth0; ifup eth1; ifdown eth1");
    assert_eq!(rules(world, "192.0.2.10"), [""; 0], "eth0 is up, but its rule was deleted with eth1");
    clean(world);
    deletions_remove_what_the_warning_names(world);
    // Both interfaces have the network. The route uses the interface that was started first.
    world.configure(&fixture("gateway-of-two-links"));
    server.ok("ifup eth0; ifup eth1");
    let table = server.ok("ip route show table 2");
    assert!(table.contains("default via 198.51.100.1 dev eth0"), "{table}");
    clean(world);
    // The fixes, as they are printed.
    for name in ["leaks", "leaks-with-priority", "leaks-in-part", "no-priority"] {
        world.configure(&corrected(world, &fixture(name)));
        let printed = server.run("symroute config").text();
        assert!(!printed.contains("[manual-"), "{name}: {printed}");
        for _ in 0..2 {
            server.ok("ifup eth1; ifdown eth1");
            assert_eq!(rules(world, "198.51.100.10").len() + rules(world, "fwmark").len(), 0, "{name}");
        }
        let order = |interfaces: &str| {
            world.configure(interfaces);
            server.ok("ifup eth1");
            let rules = rules(world, "198.51.100.10");
            server.ok("ifdown eth1");
            clean(world);
            rules.iter().map(|rule| rule.split_once('\t').expect("a rule").1.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&corrected(world, &fixture(name))),
            order(&fixture(name)),
            "{name}: the same rules in the same order"
        );
    }
    // A name for the table, with the proposed command.
    world.configure(&fixture("unknown-name"));
    let printed = server.run("symroute config").text();
    let command = printed.lines().find_map(|line| line.split_once("Assign a number: ")).expect("a command").1;
    server.ok(command);
    assert!(!server.run("symroute config").text().contains("[manual-"));
    server.ok("ifup eth1; ifdown eth1");
}

/// A deletion with too few selectors deletes an entry of another interface, or of the kernel. Its fix does not.
fn deletions_remove_what_the_warning_names(world: &World) {
    let server = &world.server;
    let rules_of = |net: &str| rules(world, net).len();
    let defaults = || server.ok("ip route show default dev eth0").lines().count();
    let local = || rules(world, "from all lookup local").len();
    // With the warning, then with the fix instead of the last line.
    let with_and_without = |name: &str, remaining: &dyn Fn() -> Vec<usize>, expected: [&[usize]; 2]| {
        let text = fixture(name);
        world.configure(&text);
        let printed = server.run("symroute config").text();
        assert!(printed.contains("[manual-deletes-another]"), "{name}: {printed}");
        let written = printed.lines().find_map(|line| line.split_once("help: Write '")?.1.strip_suffix("'."));
        let last = text.lines().next_back().expect("a line");
        let option = last.split_whitespace().next().expect("an option");
        let line = written.map_or(String::new(), |command| format!("    {option} {command}"));
        for (interfaces, expected) in [&text, &text.replace(last, &line)].into_iter().zip(expected) {
            world.configure(interfaces);
            server.ok("ifup eth0; ifup eth1; ifdown eth1");
            assert_eq!(remaining(), expected, "{interfaces}\n{}", state(world));
            clean(world);
            server.ok("for f in -4 -6; do ip $f rule | grep -q local || ip $f rule add lookup local pref 0; done");
        }
        let printed = server.run("symroute config").text();
        assert!(!printed.contains("manual-"), "{name}: {printed}");
    };
    let of_rules = || vec![rules_of("192.0.2.10"), rules_of("198.51.100.10")];
    with_and_without("deletes-another-rule", &of_rules, [&[0, 1], &[1, 0]]);
    with_and_without("deletes-another-route", &|| vec![defaults()], [&[0], &[1]]);
    with_and_without("deletes-another-route-late", &|| vec![defaults()], [&[0], &[1]]);
    with_and_without("deletes-the-local-rule", &|| vec![local()], [&[1], &[2]]);
}

/// Replaces lines by the lines that the warnings propose.
fn corrected(world: &World, interfaces: &str) -> String {
    world.configure(interfaces);
    let printed = world.server.run("symroute config").text();
    let proposed: Vec<&str> = printed
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("post-up") || line.starts_with("pre-down"))
        .collect();
    assert!(!proposed.is_empty(), "{printed}");
    let about = |line: &str| {
        let add = line.replacen("del", "add", 1).replacen("pre-down", "post-up", 1).replacen("post-down", "post-up", 1);
        proposed.iter().any(|proposed| proposed.starts_with(&add))
    };
    let rest = interfaces.lines().filter(|line| !about(line.trim()));
    rest.map(|line| format!("{line}\n")).chain(proposed.iter().map(|line| format!("    {line}\n"))).collect()
}
