//! Time grows with the size of a configuration: four times the input takes at most ten times as long. (Linear growth is
//! four, quadratic is sixteen.) The shortest processor time of several runs counts, so that other work on the machine does
//! not.
//!
//! Memory has a limit for each byte of the input. It is counted, so it is the same in every run.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use symroute::commands::tables::Names;
use symroute::handwritten::{lint, lint_with};
use symroute::interfaces::{Config, Dialect, Document, Edit, File};
use symroute::network::{Address, Family, Link, MAIN, Route, RouteState, Snapshot};
use symroute::policy::{Plan, plan};
use symroute::rewrite::{Change, diff, rewrite, template, verify::verify};
use symroute::system::files::Root;
use symroute::uplinks::find;

const RUNS: usize = 5;

/// The memory of one thread: the tests run at the same time.
#[derive(Clone, Copy)]
struct Memory {
    allocations: usize,
    /// In bytes; negative where another thread allocated what this one frees.
    in_use: isize,
    peak: isize,
}

thread_local! {
    static MEMORY: Cell<Memory> = const { Cell::new(Memory { allocations: 0, in_use: 0, peak: 0 }) };
}

/// The system's allocator, which also counts.
struct Counting;

impl Counting {
    fn count(freed: usize, allocated: usize) {
        // A thread that ends has no counters any more.
        let _ = MEMORY.try_with(|memory| {
            let Memory { allocations, in_use, peak } = memory.get();
            let in_use = in_use - freed as isize + allocated as isize;
            memory.set(Memory {
                allocations: allocations + usize::from(allocated > 0),
                in_use,
                peak: peak.max(in_use),
            });
        });
    }
}

// SAFETY: every call is passed on to the system's allocator, and counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count(0, layout.size());
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        Counting::count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::count(layout.size(), size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of some work, and the most memory that it has in use at one time.
fn memory<T>(work: impl FnOnce() -> T) -> (usize, isize) {
    let before = MEMORY.get();
    MEMORY.set(Memory { peak: before.in_use, ..before });
    drop(work());
    let after = MEMORY.get();
    (after.allocations - before.allocations, after.peak - before.in_use)
}

fn config(text: String) -> Config {
    let config = Config::parse(Path::new("/f"), text.into(), &Root::new(Path::new("/nowhere")), Dialect::Ifupdown);
    assert!(!config.is_invalid(), "{:?}", config.diagnostics);
    config
}

/// The shortest processor time that one of several runs takes.
fn shortest(work: &dyn Fn()) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let run = |_| {
        let begin = now();
        work();
        now() - begin
    };
    (0..RUNS).map(run).min().unwrap()
}

fn grows_like_its_input<T>(what: &str, size: usize, work: &dyn Fn(&T), input: &dyn Fn(usize) -> T) {
    let (small, large) = (input(size), input(4 * size));
    let ratio = || shortest(&|| work(&large)).as_secs_f64() / shortest(&|| work(&small)).as_secs_f64();
    let ratios: Vec<f64> = (0..3).map(|_| ratio()).take_while(|ratio| *ratio > 10.0).collect();
    assert!(ratios.len() < 3, "{what}: 4 * {size} takes {ratios:.1?} times as long as {size}");
}

/// An address of a stanza, or the router in its network.
fn address(number: usize, host: usize) -> String {
    format!("198.{}.{}.{}", 18 + number / 8192, number / 32 % 256, number % 32 * 8 + host)
}

/// The start of a stanza.
fn stanza(number: usize) -> String {
    format!("auto e{number}\niface e{number} inet static\n address {}/29\n", address(number, 2))
}

fn plan_of(config: &Config, snapshot: Option<&Snapshot>) -> Plan {
    let names = Names::default();
    plan(find(config, snapshot, &[], &names), snapshot, &names, None)
}

/// The blocks of all stanzas.
fn write_blocks(config: &Config) {
    let plan = plan_of(config, None);
    let style = template::style("iproute2").unwrap();
    let changes = rewrite(config, &plan, Some(&style)).unwrap().unwrap();
    assert_eq!((plan.policies.len(), changes.len()), (plan.uplinks.len(), 1));
}

#[test]
fn many_uplinks_need_linear_time() {
    let text = |uplinks: usize| {
        config((0..uplinks).fold(String::new(), |mut text, number| {
            let _ = write!(text, "{} gateway {}\n\n", stanza(number), address(number, 1));
            text
        }))
    };
    grows_like_its_input("uplinks", 100, &write_blocks, &text);
}

/// The lines of each block put the interface of another uplink into the group, which has no lines of its own. It may leave
/// the group with the rules of all others, but no line names them.
#[test]
fn lines_do_not_grow_with_the_number_of_uplinks() {
    let longest = |uplinks: usize| {
        let without = format!("{} gateway {}\n symroute no\n\n", stanza(uplinks), address(uplinks, 1));
        let config = config((0..uplinks).fold(without, |mut text, number| {
            let _ = write!(text, "{} gateway {}\n\n", stanza(number), address(number, 1));
            text
        }));
        let plan = plan_of(&config, None);
        assert_eq!((plan.policies.len(), plan.group.interfaces.len()), (uplinks, uplinks + 1));
        let style = template::style("iproute2").unwrap();
        let changes = rewrite(&config, &plan, Some(&style)).unwrap().unwrap();
        let edits = changes.iter().flat_map(|change| &change.edits);
        edits.flat_map(|edit| edit.text.split(|byte| *byte == b'\n')).map(<[u8]>::len).max().unwrap()
    };
    // Names and numbers have up to two digits more.
    assert!(longest(1000) <= longest(10) + 20, "{} bytes, {} bytes", longest(1000), longest(10));
}

/// Half of the uplinks need a metric, and the other half have those that would be suggested first. (This test only plans:
/// the time to write the lines would hide the growth of planning.)
#[test]
fn many_metrics_need_linear_time() {
    let work = |config: &Config| {
        let metrics: BTreeSet<u32> = plan_of(config, None).metrics.into_values().collect();
        assert_eq!(metrics.len() + 1, config.stanzas.iter().filter(|stanza| stanza.interface != "lo").count() / 2);
    };
    let text = |uplinks: usize| {
        config((0..uplinks).fold(String::new(), |mut text, number| {
            let own = number.checked_sub(uplinks / 2).map(|place| format!(" metric {}\n", 10 * place + 10));
            let _ = write!(text, "{} gateway {}\n{}", stanza(number), address(number, 1), own.unwrap_or_default());
            text
        }))
    };
    grows_like_its_input("metrics", 2000, &work, &text);
}

/// Two uplinks. The first one has an address in each of many networks. (This test only plans: the time to write the
/// lines would hide the growth of planning.)
#[test]
fn many_networks_of_one_interface_need_linear_time() {
    let work = |config: &Config| assert_eq!(plan_of(config, None).policies.len(), 2);
    let text = |networks: usize| {
        let start = format!("auto e\n{} gateway {}\n metric 20\n", stanza(networks), address(networks, 1));
        config((0..networks).fold(start, |mut text, number| {
            let gateway = if number == 0 { format!(" gateway {}\n", address(0, 1)) } else { String::new() };
            let _ = write!(text, "iface e inet static\n address {}/29\n{gateway}", address(number, 2));
            text
        }))
    };
    grows_like_its_input("networks of one interface", 300, &work, &text);
}

/// The lines of a block between those of each stanza.
#[test]
fn many_added_lines_are_compared_in_linear_time() {
    let work = |(file, edits): &(File, Vec<Edit>)| {
        assert!(!diff(&[Change { file, edits: edits.clone() }]).is_empty());
    };
    let change = |stanzas: usize| {
        let text = |block: &dyn Fn(usize) -> String| {
            let stanza = |number: usize| format!("iface e inet static\n address {}/29\n", address(number, 2));
            (0..stanzas).fold(String::new(), |text, number| text + &stanza(number) + &block(number)).into_bytes()
        };
        let lines = |number: usize| {
            let line = |priority: usize| format!(" up ip rule add table {number} priority {priority}\n");
            (0..10).map(line).collect::<String>()
        };
        let document = Document::parse(text(&|_| String::new()).into());
        let edits = vec![Edit { lines: 0..document.count(), text: text(&lines) }];
        (File { document, ..File::default() }, edits)
    };
    grows_like_its_input("a diff of added lines", 300, &work, &change);
}

/// Each gateway is an uplink with its own network. (This test only plans: the lines name the tables of all uplinks.)
#[test]
fn many_gateways_of_one_interface_need_linear_time() {
    let work = |config: &Config| {
        let plan = plan_of(config, None);
        assert_eq!(plan.policies.len(), plan.uplinks.len());
    };
    let text = |gateways: usize| {
        config((0..gateways).fold(String::from("auto e\n"), |mut text, number| {
            let _ = write!(
                text,
                "iface e inet static\n address {}/29\n gateway {}\n",
                address(number, 2),
                address(number, 1)
            );
            text
        }))
    };
    grows_like_its_input("gateways of one interface", 100, &work, &text);
}

/// Two active uplinks, with many routes in the main table and many addresses that are in no file.
fn running(routes: usize, addresses: usize) -> (Config, Snapshot) {
    let host = |net: u32, host: u32| format!("2001:db8:{:x}:{:x}::{host:x}", net >> 16, net & 0xffff);
    let uplink = |number: u32| u32::MAX - number;
    let text = (0..2).fold(String::new(), |mut text, number| {
        let net = uplink(number);
        let _ = write!(
            text,
            "auto e{number}\niface e{number} inet6 static\n address {}/64\n gateway {}\n",
            host(net, 2),
            host(net, 1)
        );
        text
    });
    let link = |name: &str| Link { name: name.to_string(), up: true, ..Link::default() };
    let address = |dev: u32, host: String| Address {
        dev: format!("e{dev}"),
        net: format!("{host}/64").parse().unwrap(),
        peer: None,
        local: false,
        duplicate: false,
    };
    let own = (0..2).map(|number| address(number, host(uplink(number), 2)));
    let more = (0..addresses as u32).map(|number| address(number % 2, host(uplink(number % 2), 3 + number)));
    // Through each uplink's gateway, through another router, and through a LAN.
    let route = |number: u32| Route {
        family: Family::Inet6,
        table: MAIN,
        dst: format!("{}/64", host(number, 0)).parse().unwrap(),
        gateway: (number % 4 != 3).then(|| host(uplink(number % 2), 1 + number / 2 % 2).parse().unwrap()),
        dev: Some(if number % 4 == 3 { "lan".to_string() } else { format!("e{}", number % 2) }),
        scope: 0,
        metric: 1024,
        onlink: false,
        protocol: 186,
        extras: None,
        state: RouteState::default(),
    };
    let snapshot = Snapshot {
        links: ["lo", "e0", "e1", "lan"].map(link).to_vec(),
        addresses: own.chain(more).collect(),
        rules: Vec::new(),
        routes: (0..routes as u32).map(route).collect(),
        ..Snapshot::default()
    };
    (config(text), snapshot)
}

fn plan_running((config, snapshot): &(Config, Snapshot)) {
    let plan = plan_of(config, Some(snapshot));
    assert_eq!(plan.policies.len(), 2);
    let sources: usize = plan.uplinks.iter().map(|uplink| uplink.sources.len()).sum();
    assert_eq!(sources, snapshot.addresses.len());
}

#[test]
fn many_routes_need_linear_time() {
    grows_like_its_input("routes of main", 5_000, &plan_running, &|routes| running(routes, 0));
}

#[test]
fn many_addresses_need_linear_time() {
    grows_like_its_input("addresses", 6_000, &plan_running, &|addresses| running(0, addresses));
}

#[test]
fn manual_policy_needs_linear_time() {
    let work = |config: &Config| assert!(!lint(config, &Names::default()).is_empty());
    // Each rule is deleted in the next stanza, every second one with another table.
    let text = |stanzas: usize| {
        config((0..stanzas).fold(String::new(), |mut text, number| {
            let (table, next) = (1000 + number, (number + 1) % stanzas);
            let _ =
                writeln!(text, "{} up ip route add default via {} table {table}", stanza(number), address(number, 1));
            let _ = writeln!(text, " up ip rule add from {} table {table}", address(number, 2));
            let _ = writeln!(text, " down ip rule del from {} table {}", address(next, 2), 1000 + next + number % 2);
            text
        }))
    };
    grows_like_its_input("manual policy routing", 250, &work, &text);
}

/// Each uplink has its own policy routing, and the metric of all others.
#[test]
fn manual_uplinks_need_linear_time() {
    let work = |config: &Config| {
        let plan = plan_of(config, None);
        assert!(plan.uplinks.iter().all(|uplink| uplink.is_manual));
        // Each warning suggests another metric.
        let helps = plan.diagnostics.iter().filter(|diagnostic| diagnostic.message.contains("both have metric 0"));
        let helps: BTreeSet<&str> = helps.map(|diagnostic| &diagnostic.help[..]).collect();
        assert_eq!(helps.len() + 1, plan.uplinks.len());
    };
    let text = |stanzas: usize| {
        config((0..stanzas).fold(String::new(), |mut text, number| {
            let (gateway, table) = (address(number, 1), 1000 + number);
            let _ = writeln!(text, "{} gateway {gateway}", stanza(number));
            let _ = writeln!(text, " up ip route add default via {gateway} table {table}");
            let _ = writeln!(text, " up ip rule add from {} table {table}", address(number, 2));
            text
        }))
    };
    grows_like_its_input("manual uplinks", 500, &work, &text);
}

/// Each rule uses a table that the routes of another stanza fill. The warning corrects the rule and its deletion.
#[test]
fn wrong_tables_need_linear_time() {
    let work = |config: &Config| {
        let found = lint(config, &Names::default());
        let wrong = found.iter().filter(|diagnostic| diagnostic.id == Some("manual-wrong-table"));
        let of_rules = config.stanzas.iter().filter(|stanza| stanza.interface != "lo");
        assert_eq!(wrong.count(), of_rules.count());
    };
    let text = |stanzas: usize| {
        config((0..stanzas).fold(String::new(), |mut text, number| {
            let (table, next) = (1000 + number, 1000 + (number + 1) % stanzas);
            let _ =
                writeln!(text, "{} up ip route add default via {} table {table}", stanza(number), address(number, 1));
            let _ = writeln!(text, " up ip rule add from {} table {next}", address(number, 2));
            let _ = writeln!(text, " down ip rule del from {} table {next}", address(number, 2));
            text
        }))
    };
    grows_like_its_input("wrong tables", 250, &work, &text);
}

/// Interfaces that are no uplinks, each with a route.
fn plain(stanzas: usize) -> String {
    let start = String::from("auto e0 e1\niface e0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\n");
    (1..=stanzas).fold(start, |mut text, number| {
        let _ = writeln!(text, "{} mtu 1500\n vlan-raw-device eth0", stanza(number));
        let _ = writeln!(text, " up ip route add 203.0.113.0/24 via {}\n", address(number, 1));
        text
    })
}

fn require_memory(what: &str, text: &str, allocations: usize, times_the_text: f64, work: &dyn Fn(String)) {
    let stanzas = text.matches("\niface ").count();
    let (counted, peak) = memory(|| work(text.to_string()));
    let (counted, times) = (counted / stanzas, peak as f64 / text.len() as f64);
    let found = format!("{what}: {counted} allocations for each stanza, {times:.1} times the text");
    eprintln!("{found}");
    assert!(counted <= allocations && times <= times_the_text, "{found}");
}

/// As `symroute-gen` does it.
fn generate(text: String) {
    let names = Names::default();
    let config = config(text);
    let plan = plan_of(&config, None);
    let _ = lint_with(&config, &names, &plan.in_use(None));
    let style = template::style("iproute2").unwrap();
    let changes = rewrite(&config, &plan, Some(&style)).unwrap().unwrap();
    verify(&changes, config.dialect).unwrap();
}

/// Uplinks that are all active, with their routes and rules in the kernel.
fn installed(uplinks: usize) -> (Config, Snapshot) {
    let text = (0..uplinks).fold(String::new(), |mut text, number| {
        let _ = write!(text, "{} gateway {}\n metric {}\n\n", stanza(number), address(number, 1), number + 1);
        text
    });
    let link = |number: usize| Link { name: format!("e{number}"), up: true, group: 97, ..Link::default() };
    let present = |number: usize| Address {
        dev: format!("e{number}"),
        net: format!("{}/29", address(number, 2)).parse().unwrap(),
        peer: None,
        local: false,
        duplicate: false,
    };
    let snapshot = Snapshot {
        links: (0..uplinks).map(link).collect(),
        addresses: (0..uplinks).map(present).collect(),
        ..Snapshot::default()
    };
    let config = config(text);
    let plan = plan_of(&config, Some(&snapshot));
    let rules = plan.policies.iter().flat_map(|policy| &policy.rules).map(|rule| rule.item.clone()).collect();
    let routes = plan.policies.iter().flat_map(|policy| &policy.routes).map(|route| &route.item);
    let routes =
        routes.flat_map(|route| [Route { table: MAIN, protocol: 3, ..route.clone() }, route.clone()]).collect();
    (config, Snapshot { rules, routes, ..snapshot })
}

/// A hook compares every uplink of the host with the kernel, and `ifup -a` runs a hook for each.
#[test]
fn planning_takes_little_memory() {
    const UPLINKS: usize = 200;
    let (config, snapshot) = installed(UPLINKS);
    let (allocations, _) = memory(|| assert_eq!(plan_of(&config, Some(&snapshot)).policies.len(), UPLINKS));
    let allocations = allocations / UPLINKS;
    eprintln!("planning: {allocations} allocations for each uplink");
    assert!(allocations <= 30, "{allocations} allocations for each uplink");
}

#[test]
fn reading_takes_little_memory() {
    let read = |text: String| assert!(!config(text).stanzas.is_empty());
    require_memory("reading", &plain(2000), 1, 3.2, &read);
    require_memory("writing", &plain(2000), 8, 3.3, &generate);
}
