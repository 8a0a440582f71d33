//! What a hook asks of the kernel, by strace(1): system calls and netlink messages. They are the same in every run, so
//! that a change which adds some is seen. Calls of the C library's start and of its memory allocation do not count.

#![allow(clippy::expect_used, clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

/// The host: uplinks `eth0`, `eth1` and so on, each with an address and a default route, all active by ifupdown's
/// record. Then `prepare` runs, and one hook under strace.
fn script(uplinks: usize, prepare: &str, environment: &str, trace: &Path) -> String {
    let symroute = env!("CARGO_BIN_EXE_symroute");
    let trace = trace.display();
    format!(
        "set -e; exec >/dev/null
        mount -t tmpfs run /run; mkdir /run/network
        ip link set lo up
        n=0; while [ $n -lt {uplinks} ]; do
            net=198.18.$n; metric=$((n + 1))
            ip link add eth$n type veth peer name peer$n
            ip link set eth$n up; ip link set peer$n up; ip address add $net.2/24 dev eth$n
            ip route add default via $net.1 metric $metric
            echo \"auto eth$n\niface eth$n inet static\n address $net.2/24\n gateway $net.1\n metric $metric\" >>/run/interfaces
            echo eth$n=eth$n >>/run/network/ifstate; echo eth$n >/run/network/ifstate.eth$n
            n=$((n + 1))
        done
        hook() {{ env IFACE=$1 LOGICAL=$1 ADDRFAM=inet METHOD=static MODE=$2 {symroute} -i /run/interfaces hook; }}
        {prepare}
        env {environment} ADDRFAM=inet METHOD=static strace -f -o {trace} {symroute} -i /run/interfaces hook"
    )
}

/// The calls of one hook, in their order.
struct Calls(Vec<String>);

impl Calls {
    fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|call| call.starts_with(name)).count()
    }

    /// Requests to the kernel: several changes are sent together.
    fn messages(&self) -> usize {
        let sent = self.0.iter().filter(|call| call.starts_with("sendto("));
        sent.map(|call| call.matches("nlmsg_type=").count()).sum()
    }
}

/// Nothing where the calls cannot be counted: then the reason is printed, or it is a failure.
fn calls(uplinks: usize, prepare: &str, environment: &str) -> Option<Calls> {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(user).args(["--net", "--mount", "sh", "-c", script]).output().expect("unshare of util-linux")
    };
    if !inside("strace -o /dev/null true").status.success() {
        let what = "strace is not installed, or no namespace can be made";
        assert!(std::env::var_os("SYMROUTE_NOTHING_IGNORED").is_none(), "{what}");
        eprintln!("skipped: {what}");
        return None;
    }
    let output = inside(&script(uplinks, prepare, environment, &trace));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(trace).expect("a trace");
    let calls = text.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim_start().to_string()));
    // The first question is which ifupdown is installed, except if the environment decides everything.
    let own = calls.skip_while(|call| !call.contains("/var/lib/dpkg/") && !call.contains("/run/symroute.lock"));
    // Builds with assertions ask whether a file is open before they close it.
    let ignored = ["brk(", "mmap(", "munmap(", "mremap(", "sigaltstack(", "exit_group(", "+++"];
    let counts = |call: &String| !ignored.iter().any(|name| call.starts_with(name)) && !call.contains("F_GETFD");
    Some(Calls(own.filter(counts).collect()))
}

const UP: &str = "IFACE=eth1 LOGICAL=eth1 MODE=start PHASE=post-up";
const DOWN: &str = "IFACE=eth1 LOGICAL=eth1 MODE=stop PHASE=pre-down";
/// The routes and rules of both uplinks are installed.
const DONE: &str = "hook eth0 start";

/// Which files name tables depends on the suite.
const FILES_OF_NAMES: usize = 4;

fn require(what: &str, calls: &Calls, all: usize, messages: usize) {
    let all = all + FILES_OF_NAMES;
    let list = calls.0.iter().map(|call| call.chars().take(120).collect::<String>()).collect::<Vec<_>>().join("\n");
    assert!(calls.0.len() <= all, "{what}: {} system calls instead of {all}:\n{list}", calls.0.len());
    assert!(calls.messages() <= messages, "{what}: {} messages instead of {messages}:\n{list}", calls.messages());
}

#[test]
fn a_hook_makes_few_system_calls() {
    let with_eth0 = "hook eth0 start; hook eth1 stop";
    for (what, prepare, environment, all, messages) in
        [("up", with_eth0, UP, 54, 15), ("down", DONE, DOWN, 52, 14), ("nothing to change", DONE, UP, 39, 5)]
    {
        let Some(calls) = calls(2, prepare, environment) else { return };
        eprintln!("{what}: {} system calls, {} messages", calls.0.len(), calls.messages());
        require(what, &calls, all, messages);
    }
}

/// Rust's own start would read the process's memory map and set up signal handlers. That the installed program loads no
/// library is checked where the package is built.
#[test]
fn a_start_is_that_of_the_c_library() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&trace).args([env!("CARGO_BIN_EXE_symroute"), "--version"]);
    if !strace.output().is_ok_and(|output| output.status.success()) {
        let what = "strace is not installed";
        assert!(std::env::var_os("SYMROUTE_NOTHING_IGNORED").is_none(), "{what}");
        eprintln!("skipped: {what}");
        return;
    }
    let text = std::fs::read_to_string(trace).expect("a trace");
    assert!(!text.contains("/proc/self/maps"), "{text}");
    assert!(!text.contains("sigaltstack("), "{text}");
}

#[test]
fn a_host_with_one_uplink_opens_no_socket() {
    let Some(calls) = calls(1, "", "IFACE=eth0 LOGICAL=eth0 MODE=start PHASE=post-up") else { return };
    require("one uplink", &calls, 27, 0);
    assert_eq!(calls.count("socket("), 0);
}

/// Interfaces that are no uplinks, and routes in tables that are not symroute's.
#[test]
fn what_does_not_matter_costs_no_message() {
    let (Some(few), Some(many)) = (
        calls(2, DONE, UP),
        calls(
            2,
            "hook eth0 start
            n=1; while [ $n -le 200 ]; do
                echo \"route add 10.0.$n.0/24 dev eth0 table 4000\nroute add 10.0.$n.0/24 dev eth0 table 4001\"
                n=$((n + 1))
            done | ip -batch -
            n=1; while [ $n -le 20 ]; do ip link add veth$n type veth peer name other$n; n=$((n + 1)); done",
            UP,
        ),
    ) else {
        return;
    };
    assert_eq!(few.messages(), many.messages());
}

/// A hook lists the table of its uplink. The tables of the others are complete, or their uplinks come later.
#[test]
fn messages_do_not_grow_with_the_uplinks() {
    let with_eth0 = "hook eth0 start; hook eth1 stop";
    for (what, prepare, environment) in [("up", with_eth0, UP), ("down", DONE, DOWN), ("nothing to change", DONE, UP)] {
        let (Some(few), Some(many)) = (calls(2, prepare, environment), calls(20, prepare, environment)) else { return };
        assert_eq!(few.messages(), many.messages(), "{what}");
        // Each interface has a state file of ifupdown; its list may need a call more.
        require(what, &many, few.0.len() + 20, many.messages());
    }
}
