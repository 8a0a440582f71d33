//! Deletions in lines, run by `ip` in a kernel of their own: the rule or route that goes is the one that the lint says.

use std::path::Path;
use std::process::Command as Process;

use super::added::AddedRules;
use super::removal::{Removal, added_route, of_local_rule, of_route, of_rule};
use crate::commands::Object;
use crate::commands::lines::Line;
use crate::commands::tables::Names;
use crate::in_namespace::is_inside;
use crate::interfaces::{Config, Dialect};
use crate::netlink::{self, Socket};
use crate::network::{Route, Rule, Snapshot};
use crate::system::files::Root;
use crate::uplinks::collector::UplinkCollector;

const NAME: &str = "handwritten::in_namespace::a_kernel_removes_what_the_lint_says";

const SETUP: &str = "
    ip link set lo up
    for n in 0 1; do
        ip link add eth$n type veth peer name peer$n
        ip link set eth$n up; ip link set peer$n up
        ip addr add 192.0.2.$((n * 64 + 10))/26 dev eth$n; ip addr add 2001:db8:$n::10/64 dev eth$n nodad
    done";

/// What lines add, what a line deletes, and which of the first it removes.
type Case = (&'static [&'static str], &'static str, Option<usize>);

const RULES: [Case; 21] = [
    // Without a table, the first from there.
    (&["from 192.0.2.10 table 1 pref 200", "from 192.0.2.10 table 2 pref 100"], "from 192.0.2.10", Some(1)),
    (&["from 192.0.2.10 table 1", "from 192.0.2.10 table 2"], "from 192.0.2.10", Some(1)),
    // A table alone: any that looks it up.
    (&["from 192.0.2.10 table 1 pref 100", "from 192.0.2.74 table 1 pref 200"], "table 1", Some(0)),
    (&["from 192.0.2.10 table 1 pref 100", "fwmark 7 table 2 pref 90"], "table 1", Some(0)),
    // Prefix lengths, and everything.
    (&["from 192.0.2.0/26 table 1"], "from 192.0.2.0 table 1", None),
    (&["from 192.0.2.10 table 1"], "from 192.0.2.0/26 table 1", None),
    (&["from 192.0.2.0/26 table 1"], "from 192.0.2.0/255.255.255.192", Some(0)),
    (&["from 192.0.2.10 table 1"], "from all table 1", Some(0)),
    (&["from all table 1"], "from 192.0.2.10 table 1", None),
    // The kernel's own first rule.
    (&["from 192.0.2.10 table 1"], "from all", None),
    // No priority, another one, another base.
    (&["from 192.0.2.10 table 1 pref 100"], "from 192.0.2.10 table 1", Some(0)),
    (&["from 192.0.2.10 table 1 pref 100"], "from 192.0.2.10 table 1 pref 101", None),
    (&["from 192.0.2.10 table 1 pref 100"], "priority 0x64", Some(0)),
    // The words and their order.
    (&["from 192.0.2.10 table 254 pref 10"], "lookup main from 192.0.2.10", Some(0)),
    (&["fwmark 7 table 1 pref 10"], "table 0x1 fwmark 0x7/0xffffffff", Some(0)),
    (&["fwmark 7/0xff table 1 pref 10"], "fwmark 7", None),
    (&["from 192.0.2.10 unreachable pref 10"], "from 192.0.2.10 table 1", None),
    (&["from 192.0.2.10 unreachable pref 10"], "from 192.0.2.10 unreach", Some(0)),
    (&["from 192.0.2.10 prohibit pref 10"], "from 192.0.2.10 unreachable", None),
    (&["from 192.0.2.10 goto 32766 pref 10"], "from 192.0.2.10 goto 32767", Some(0)),
    (&["ipproto tcp sport 80 table 1 pref 10"], "ipproto 6 sport 80-80", Some(0)),
];

const ROUTES: [Case; 8] = [
    (&["default via 192.0.2.1 metric 10", "default via 192.0.2.65 metric 5"], "default", Some(1)),
    (&["default via 192.0.2.1 dev eth0", "default via 192.0.2.65 dev eth1 metric 5"], "default dev eth1", Some(1)),
    (&["default via 192.0.2.1", "default via 192.0.2.65 metric 5"], "default via 192.0.2.65", Some(1)),
    (&["default via 192.0.2.1 metric 5"], "default metric 6", None),
    (&["default via 192.0.2.1 table 5"], "default", None),
    (&["default via 192.0.2.1 table 5"], "0.0.0.0/0 table 0x5", Some(0)),
    (&["198.51.100.0/24 via 192.0.2.1"], "198.51.100.0/25", None),
    (&["default via 192.0.2.1 proto static"], "default proto 3", None),
];

fn shell(script: &str) -> bool {
    Process::new("sh").args(["-ec", script]).output().unwrap().status.success()
}

/// Of `before`, the positions that are not in `after`.
fn missing<T: PartialEq>(before: &[T], after: &[T]) -> Vec<usize> {
    (0..before.len()).filter(|index| !after.contains(&before[*index])).collect()
}

fn snapshot() -> Snapshot {
    netlink::snapshot(&mut Socket::open().unwrap()).unwrap()
}

/// What `ip` and the kernel do: the lines that could be added, and which of them the deletion removes.
fn by_kernel<'a, T: PartialEq + Clone>(
    ip: &str,
    added: &[&'a str],
    deletion: &str,
    list: &dyn Fn(Snapshot) -> Vec<T>,
) -> (Vec<&'a str>, Option<usize>) {
    let flush = "for ip in 'ip' 'ip -6'; do
            while $ip rule del pref 0 2>/dev/null; do :; done
            $ip rule flush; $ip rule add table local pref 0; $ip rule add table main pref 32766
            for words in 'proto boot' 'proto static' 'table 5'; do $ip route flush $words 2>/dev/null || true; done
        done";
    assert!(shell(flush));
    let (mut accepted, mut items) = (Vec::new(), Vec::new());
    for line in added {
        let before = list(snapshot());
        if shell(&format!("{ip} add {line}")) {
            let after = list(snapshot());
            accepted.push(*line);
            items.push(after[missing(&after, &before)[0]].clone());
        }
    }
    shell(deletion);
    let removed = missing(&items, &list(snapshot()));
    assert!(removed.len() < 2, "{added:?} {deletion}");
    (accepted, removed.first().copied())
}

/// The same by the lint.
fn by_lint(ip: &str, added: &[&str], deletion: &str) -> Option<usize> {
    let names = Names::default();
    let lines: String = added.iter().map(|line| format!(" up {ip} add {line}\n")).collect();
    let text = format!("iface eth0 inet manual\n{lines} down {deletion}\n");
    let root = Root::new(Path::new("/nonexistent"));
    let config = Config::parse(Path::new("/f"), text.clone().into(), &root, Dialect::Ifupdown);
    let lines: Vec<Line> = UplinkCollector::new(&config, None, &names).lines;
    let (deletion, added) = lines.split_last().unwrap();
    let is_rule = deletion.command.object == Object::Rule;
    if deletion.command.rejection.is_some() || is_rule && of_local_rule(&deletion.command, &names) {
        return None;
    }
    let mut matching: Vec<usize> = match deletion.command.object {
        Object::Rule => {
            let matches = |index: &usize| of_rule(&deletion.command, &added[*index].command, &names) == Removal::Yes;
            let mut matching: Vec<usize> = (0..added.len()).filter(matches).collect();
            let order = AddedRules::new(&lines, &names).order;
            // The index by selectors has all of them.
            let candidates = AddedRules::new(&lines, &names).removable(&deletion.command, &names).to_vec();
            assert!(matching.iter().all(|index| candidates.contains(index)), "{text:?}");
            matching.sort_by_key(|index| order[index]);
            matching
        }
        _ => {
            let route = |index: usize| {
                let command = &added[index].command;
                let dev = if command.address("via").unwrap().to_string().ends_with(".1") { "eth0" } else { "eth1" };
                added_route(command, Some(dev.into()), &names).unwrap()
            };
            let matches = |index: &usize| {
                of_route(&deletion.command, Some(&added[*index].command), &route(*index), &names) == Removal::Yes
            };
            let mut matching: Vec<usize> = (0..added.len()).filter(matches).collect();
            matching.sort_by_key(|index| route(*index).metric);
            matching
        }
    };
    matching.truncate(1);
    matching.pop()
}

/// Words of rules that differ in little, each to be left out too.
const WORDS: [&[&str]; 6] = [
    &["", "from 192.0.2.10", "from 192.0.2.0/26", "from 192.0.2.10/26", "from all", "from 192.0.2.10/32"],
    &["", "", "", "to 198.51.100.0/24", "to 198.51.100.1"],
    &["", "", "", "fwmark 7", "fwmark 0x7", "fwmark 7/0xff", "iif lo", "oif eth0", "tos 8"],
    &["", "", "pref 100", "prio 0x64", "order 101"],
    &["", "table 1", "lookup 0x1", "table main", "lookup 2", "unreachable", "prohibit"],
    &["", "", "", "suppress_prefixlength 0", "protocol static", "pro 4", "ipproto udp", "ipproto 17 dport 53"],
];

#[test]
fn a_kernel_removes_what_the_lint_says() {
    if is_inside(NAME) {
        inside();
    }
}

fn inside() {
    assert!(shell(SETUP));
    let rules = |snapshot: Snapshot| -> Vec<Rule> { snapshot.rules };
    let routes = |snapshot: Snapshot| -> Vec<Route> { snapshot.routes };
    for (added, deletion, expected) in RULES {
        let (accepted, removed) = by_kernel("ip rule", added, &format!("ip rule del {deletion}"), &rules);
        assert_eq!((accepted.len(), removed), (added.len(), expected), "{added:?} {deletion}");
        assert_eq!(by_lint("ip rule", added, &format!("ip rule del {deletion}")), expected, "{added:?} {deletion}");
    }
    for (added, deletion, expected) in ROUTES {
        let (accepted, removed) = by_kernel("ip route", added, &format!("ip route del {deletion}"), &routes);
        assert_eq!((accepted.len(), removed), (added.len(), expected), "{added:?} {deletion}");
        assert_eq!(by_lint("ip route", added, &format!("ip route del {deletion}")), expected, "{added:?} {deletion}");
    }
    // Of the other family, nothing.
    let added = ["fwmark 7 table 1 pref 10"];
    for (ip, other) in [("ip -6 rule", "ip rule"), ("ip rule", "ip -6 rule")] {
        for (deletion, expected) in [(ip, Some(0)), (other, None)] {
            let deletion = format!("{deletion} del fwmark 7 table 1");
            assert_eq!(by_kernel(ip, &added, &deletion, &rules).1, expected, "{deletion}");
            assert_eq!(by_lint(ip, &added, &deletion), expected, "{deletion}");
        }
    }
    // Drawn by a generator of our own, so that a failure can be repeated.
    let mut state = 97u64;
    let mut draw = |count: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % count
    };
    let text = |words: &[&str]| words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
    let mut removals = 0;
    for _ in 0..100 {
        let added: Vec<Vec<&str>> =
            (0..3).map(|_| WORDS.iter().map(|choice| choice[draw(choice.len())]).collect()).collect();
        // Most words are those of a rule that is there.
        let words = added[0].iter().zip(WORDS).map(|(own, choice)| match draw(8) {
            0..4 => "",
            4 => choice[draw(choice.len())],
            _ => *own,
        });
        let deletion = format!("ip rule del {}", text(&words.collect::<Vec<_>>()));
        let added: Vec<String> = added.iter().map(|words| text(words)).collect();
        let added: Vec<&str> = added.iter().map(String::as_str).collect();
        let (accepted, removed) = by_kernel("ip rule", &added, &deletion, &rules);
        // The lint does not count on a priority that the kernel chose.
        let has_priority = |text: &str| ["pref ", "prio ", "order "].into_iter().any(|word| text.contains(word));
        if has_priority(&deletion) && removed.is_some_and(|index| !has_priority(accepted[index])) {
            continue;
        }
        assert_eq!(by_lint("ip rule", &accepted, &deletion), removed, "{accepted:?} {deletion}");
        removals += usize::from(removed.is_some());
    }
    assert!(removals > 20, "{removals}");
}
