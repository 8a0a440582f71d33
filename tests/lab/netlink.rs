//! Netlink messages compared with the kernel and iproute2. symroute reads, removes and adds each rule and route that
//! `ip` adds. Afterwards `ip` must show the same as before.

use std::process::Command;

use crate::world::Host;
use symroute::netlink::{self, Socket};
use symroute::network::{Action, Family, Link, Rule, RuleExtras, Snapshot};

/// If it is set, this program runs inside the namespace.
pub const INSIDE: &str = "SYMROUTE_NETLINK_INSIDE";

pub fn netlink_removes_and_restores_what_ip_adds() {
    let host = Host::bare().unwrap();
    let program = std::env::current_exe().unwrap();
    let ran = host.outside(&format!("{INSIDE}=1 exec '{}'", program.display()));
    assert!(ran.succeeded(), "{}", ran.text());
    println!("{}", ran.stdout().trim());
}

const SETUP: &str = "
    ip link set lo up
    ip link add eth0 type veth peer name eth1
    ip link set eth0 alias \"$(printf 'B\\374ro')\"
    ip link property add dev eth0 altname \"$(printf 'B\\374ro')\"
    ip link set eth1 name \"$(printf 'B\\374ro1')\"
    for dev in /proc/sys/net/ipv6/conf/*; do echo 0 >$dev/accept_dad; done
    ip link set eth0 up; ip link set \"$(printf 'B\\374ro1')\" up
    ip addr add 192.0.2.10/24 dev eth0; ip addr add 198.51.100.10/24 dev \"$(printf 'B\\374ro1')\"
    ip addr add 2001:db8:a::10/64 dev eth0 nodad; ip addr add 2001:db8:b::10/64 dev \"$(printf 'B\\374ro1')\" nodad
    ip nexthop add id 7 via 192.0.2.1 dev eth0; ip nexthop add id 8 via 2001:db8:a::1 dev eth0";

/// What `ip` adds: its families, the first words of the command, and the words that follow.
const ADDED: [(&[&str], &str, &[&str]); 5] = [
    (
        &["-4", "-6"],
        RULE,
        &[
            "iif lo oif eth0 table 1",
            "iif $B oif $B table 1",
            "fwmark 0x1 table 1",
            "fwmark 0x10/0xf0 table 1",
            "fwmark 0/0xf0 table 1",
            // A user namespace of an ordinary user has only root.
            "uidrange 0-0 table 1",
            "tos 0x10 table 1",
            "ipproto 6 sport 22 table 1",
            "ipproto 17 sport 1000-2000 dport 53-53 table 1",
            "tun_id 4294967297 table 1",
            "goto 32766",
            "nop",
            "blackhole",
            "unreachable from all fwmark 7",
            "prohibit",
            "l3mdev",
        ],
    ),
    (
        &["-4"],
        RULE,
        &[
            "from 192.0.2.10 table 1 suppress_prefixlength 1 suppress_ifgroup 97",
            "from 192.0.2.0/24 to 203.0.113.0/26 table 1",
            "not from 192.0.2.10 table 1",
        ],
    ),
    (&["-6"], RULE, &["from 2001:db8:a::/64 table 70000", "to 2001:db8:b::1 table 1"]),
    (
        &["-4"],
        ROUTE,
        &[
            "default via 192.0.2.1 dev eth0 table 1",
            "203.0.113.0/24 dev eth0 scope link table 70000 metric 5",
            "203.0.113.0/24 dev $B scope host table 1",
            "203.0.113.0/24 via 203.0.113.1 dev eth0 onlink table 1 src 192.0.2.10",
            "203.0.113.0/24 via 192.0.2.1 table 1 tos 0x10 metric 4294967295",
            "203.0.113.0/24 table 1 nexthop via 192.0.2.1 dev eth0 weight 3 nexthop via 198.51.100.1 dev $B weight 256",
            "203.0.113.0/24 table 1 nexthop via 203.0.113.1 dev eth0 onlink nexthop dev $B",
            "203.0.113.0/24 table 1 nexthop via 192.0.2.1 dev eth0 nexthop via inet6 2001:db8:b::1 dev $B",
            "203.0.113.0/24 via inet6 2001:db8:a::1 dev eth0 table 1",
            "203.0.113.0/24 nhid 7 table 1",
            "local 203.0.113.7 dev lo table 1 src 192.0.2.10",
            "broadcast 203.0.113.255 dev eth0 table 1",
            "blackhole 203.0.113.0/24 table 1",
            "unreachable default table 1 metric 9",
            "prohibit 203.0.113.0/24 table 1",
            "throw 203.0.113.0/24 table 1",
        ],
    ),
    (
        &["-6"],
        ROUTE,
        &[
            "default via 2001:db8:a::1 dev eth0 table 1",
            "default via fe80::1 dev eth0 table 70000 metric 5 pref high",
            "2001:db8:f::/48 from 2001:db8:a::/64 via 2001:db8:a::1 dev eth0 table 1 pref low",
            "2001:db8:f::/48 dev $B table 1 src 2001:db8:b::10",
            "2001:db8:f::/48 via 2001:db8:ff::1 dev eth0 onlink table 1",
            "2001:db8:f::/48 table 1 nexthop via 2001:db8:a::1 dev eth0 weight 3 nexthop via fe80::2 dev $B weight 7",
            "2001:db8:f::/48 nhid 8 table 1",
            "local 2001:db8:f::7 dev lo table 1",
            "blackhole 2001:db8:f::/48 table 1",
            "unreachable default table 1 metric 4294967295",
        ],
    ),
];
const RULE: &str = "rule add pref 50 protocol 97";
const ROUTE: &str = "route add proto 97";

fn sh(script: &str) -> Result<String, String> {
    let script = format!("B=\"$(printf 'B\\374ro1')\"\n{script}");
    let output = Command::new("sh").args(["-ec", &script]).output().map_err(|error| error.to_string())?;
    // Names in the output may not be UTF-8.
    let text = output.stdout.iter().chain(&output.stderr).map(|byte| char::from(*byte)).collect();
    if output.status.success() { Ok(text) } else { Err(format!("{script}\n{text}")) }
}

fn shown() -> Result<String, String> {
    sh("for family in -4 -6; do ip $family -d rule; ip $family -d route show table all proto 97; done")
}

/// The entries that are only in the second list.
fn added<T: PartialEq + Clone>(before: &[T], after: &[T]) -> Vec<T> {
    after.iter().filter(|entry| !before.contains(entry)).cloned().collect()
}

/// Removes the entry that was added between two snapshots and adds it again, as a failed run does.
fn remove_and_add_again(socket: &mut Socket, before: &Snapshot, what: &str, bare: &str) -> Result<(), String> {
    let full = shown()?;
    let after = netlink::snapshot(socket).map_err(|error| format!("{what}: {error:#}"))?;
    let (rules, routes) = (added(&before.rules, &after.rules), added(&before.routes, &after.routes));
    if rules.len() + routes.len() != 1 {
        return Err(format!("{what}: {rules:#?}{routes:#?} were added"));
    }
    let done = |changed: anyhow::Result<Result<(), nix::errno::Errno>>, step: &str| match changed {
        Ok(Ok(())) => Ok(()),
        other => Err(format!("{what}: {step}: {other:?}\n{rules:#?}{routes:#?}")),
    };
    let links = &after.links;
    for rule in &rules {
        done(socket.remove_rule(rule), "remove")?;
    }
    for route in &routes {
        done(socket.remove_route(route, links), "remove")?;
    }
    same(what, bare, &shown()?)?;
    for rule in &rules {
        done(socket.add_rule(rule), "add")?;
    }
    for route in &routes {
        done(socket.add_route(route, links), "add")?;
    }
    same(what, &full, &shown()?)?;
    let again = netlink::snapshot(socket).map_err(|error| format!("{what}: {error:#}"))?;
    if (&again.rules, &again.routes) != (&after.rules, &after.routes) {
        return Err(format!("{what}: the snapshot differs"));
    }
    Ok(())
}

fn same(what: &str, expected: &str, shown: &str) -> Result<(), String> {
    if expected == shown { Ok(()) } else { Err(format!("{what}: expected\n{expected}\nip shows\n{shown}")) }
}

fn check_links(links: &[Link]) -> Result<(), String> {
    let names: Vec<(&str, Vec<&str>)> =
        links.iter().map(|link| (&link.name[..], link.altnames.iter().map(|name| &name[..]).collect())).collect();
    let expected = [("lo", vec![]), ("B\\xfcro1", vec![]), ("eth0", vec!["B\\xfcro"])];
    if expected.iter().all(|link| names.contains(link)) { Ok(()) } else { Err(format!("{names:?}")) }
}

/// A DSCP, with and without a mask: this machine's `ip` has no syntax for it.
fn by_dscp(socket: &mut Socket) -> Result<(), String> {
    for (family, dscp) in [(Family::Inet, (10, 63)), (Family::Inet6, (8, 56))] {
        let more = Some(Box::new(RuleExtras { dscp: Some(dscp), action: Action::Blackhole, ..RuleExtras::default() }));
        let rule = Rule {
            family,
            priority: 50,
            src: None,
            oif: None,
            table: 0,
            suppress_prefixlen: None,
            suppress_ifgroup: None,
            protocol: 97,
            extras: more,
        };
        let failure = |what: String| Err(format!("dscp {dscp:?}: {what}"));
        match socket.add_rule(&rule) {
            Ok(Ok(())) => {}
            // Kernels before 6.13 have no rules by DSCP.
            Ok(Err(nix::errno::Errno::EINVAL)) => continue,
            other => return failure(format!("{other:?}")),
        }
        let rules = netlink::snapshot(socket).map_err(|error| format!("{error:#}"))?.rules;
        if !rules.contains(&rule) {
            return failure(format!("{rules:#?}"));
        }
        match socket.remove_rule(&rule) {
            Ok(Ok(())) => {}
            other => return failure(format!("{other:?}")),
        }
    }
    Ok(())
}

/// Runs inside the namespace.
pub fn inside() -> Result<String, String> {
    sh(SETUP)?;
    let bare = shown()?;
    let mut socket = Socket::open().map_err(|error| format!("{error:#}"))?;
    let before = netlink::snapshot(&mut socket).map_err(|error| format!("{error:#}"))?;
    check_links(&before.links)?;
    let commands: Vec<String> = ADDED
        .iter()
        .flat_map(|(families, add, words)| {
            families.iter().flat_map(move |family| words.iter().map(move |word| format!("ip {family} {add} {word}")))
        })
        .collect();
    let mut failed = Vec::new();
    for command in &commands {
        let undo = command.replace(" add ", " del ");
        let result = sh(command).and_then(|_| remove_and_add_again(&mut socket, &before, command, &bare));
        failed.extend(result.err());
        let _ = sh(&undo);
        same(&undo, &bare, &shown()?)?;
    }
    failed.extend(by_dscp(&mut socket).err());
    if let Some(path) = std::env::var_os("SYMROUTE_NETLINK_RECORD") {
        record(&path)?;
    }
    let summary = format!("{} rules and routes, {} failed", commands.len(), failed.len());
    if failed.is_empty() { Ok(summary) } else { Err(format!("{summary}\n{}", failed.join("\n\n"))) }
}

/// A request for a list of all address families. Its header has `length` bytes.
fn dump_request(sequence: u32, kind: u16, length: usize) -> Vec<u8> {
    let flags = (nix::libc::NLM_F_DUMP | nix::libc::NLM_F_REQUEST) as u16;
    let mut request = (16 + length as u32).to_ne_bytes().to_vec();
    request.extend([kind, flags].map(u16::to_ne_bytes).concat());
    request.extend([sequence, 0].map(u32::to_ne_bytes).concat());
    request.resize(16 + length, 0);
    request
}

/// Records the kernel's replies to each request of a snapshot, in the format of `Socket::recorded`:
/// SYMROUTE_NETLINK_RECORD=tests/fixtures/snapshot.netlink cargo test --test lab -- netlink_removes
fn record(path: &std::ffi::OsStr) -> Result<(), String> {
    use nix::libc::{RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_GETRULE};
    use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
    use std::os::fd::AsRawFd;
    for (number, (families, add, words)) in (100..).zip(ADDED) {
        for (n, words) in (0..).zip(words) {
            let words = words.replace("table 1", &format!("table {}", 100 * number + n));
            // The kernel rejects some routes in one table. They are not needed here.
            for family in families {
                let _ = sh(&format!("ip {family} {add} {words}"));
            }
        }
    }
    let netlink = SockProtocol::NetlinkRoute;
    let socket = nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), netlink)
        .map_err(|error| error.to_string())?;
    let requests: [(u16, usize); 4] = [(RTM_GETLINK, 16), (RTM_GETADDR, 8), (RTM_GETRULE, 12), (RTM_GETROUTE, 12)];
    let mut recorded = Vec::new();
    for (sequence, (kind, length)) in (1u32..).zip(requests) {
        let request = dump_request(sequence, kind, length);
        let kernel = NetlinkAddr::new(0, 0);
        nix::sys::socket::sendto(socket.as_raw_fd(), &request, &kernel, MsgFlags::empty())
            .map_err(|e| e.to_string())?;
        loop {
            let mut buffer = vec![0; 0x10000];
            let length = nix::unistd::read(&socket, &mut buffer).map_err(|error| error.to_string())?;
            recorded.extend((length as u32).to_ne_bytes());
            recorded.extend(&buffer[..length]);
            // NLMSG_DONE: 20 bytes, the last message of a dump.
            if length >= 20 && buffer[length - 16..length - 14] == 3u16.to_ne_bytes() {
                break;
            }
        }
    }
    std::fs::write(path, recorded).map_err(|error| error.to_string())
}
