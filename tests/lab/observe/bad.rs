//! Bad input, and what is written for other tools: each is reported, and the rest goes on.

use serde_json::Value;

use super::{Observer, expect, lines};
use crate::WITH_METRIC;
use crate::check::{check, ids};
use crate::world::{A4, B4, World};

fn without_symroute(world: &World) {
    world.configure(WITH_METRIC);
    world.server.ok("ifup -a");
    world.settle();
    for to in ["192.0.2.1", "198.51.100.1"] {
        assert!(world.server.pings(None, to));
    }
}

const ELSEWHERE: &str = "answered-elsewhere eth1>eth0 icmp 198.51.100.10 -: not-applied";

/// Without privileges, without uplinks, with wrong arguments: exit code 2, with the reason.
pub fn what_cannot_be_observed(world: &World) {
    let server = &world.server;
    let error = |command: &str, reason: &str| {
        let ran = server.run(command);
        assert_eq!(ran.code(), 2, "{command}: {}", ran.text());
        assert!(ran.text().contains(reason), "{command}: {}", ran.text());
    };
    world.configure(WITH_METRIC);
    server.ok("echo kept >/tmp/packets");
    error("symroute observe --for 1s --pcap /tmp/packets", "no uplink is up");
    assert_eq!(server.ok("cat /tmp/packets"), "kept\n");
    server.ok("ifup -a");
    let unprivileged = "setpriv --bounding-set=-all --inh-caps=-all";
    error(&format!("{unprivileged} symroute observe --for 1s"), "CAP_NET_RAW");
    error(&format!("{unprivileged} symroute check --traffic 1s"), "CAP_NET_RAW");
    error("symroute observe --for 1s eth7", "eth7 is not an uplink");
    error("symroute observe --for 1s --pcap /nonexistent/file", "cannot write /nonexistent/file");
    error("symroute observe --for never", "a number of seconds");
    // Its program alone can do nothing.
    error("echo hello | /usr/libexec/symroute/symroute-capture", "symroute observe");
    server.mount("mount --bind bin/true usr/libexec/symroute/symroute-capture");
    error("symroute observe --for 1s", "capture program");
}

/// What the capture program may do while it reads packets.
pub fn the_capture_program_has_no_privileges(world: &World) {
    without_symroute(world);
    let observer = Observer::start(&world.server, "");
    let status = world.server.ok("cat /proc/$(pgrep -P $(cat /tmp/observed.pid))/status");
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("{key} is not in {status}")).to_string()
    };
    for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(key), "0000000000000000", "{key}");
    }
    assert_eq!((value("NoNewPrivs"), value("Seccomp")), ("1".into(), "2".into()));
    assert_eq!(observer.finish().code, 0);
    // If symroute is killed, it ends too.
    let _killed = Observer::named(&world.server, "/tmp/killed", "");
    let capture = world.server.ok("pgrep -P $(cat /tmp/killed.pid)");
    let ends_within = |tenths: u32| {
        let process = capture.trim();
        format!("for n in $(seq {tenths}); do [ -e /proc/{process} ] || exit 0; sleep 0.1; done; exit 1")
    };
    assert!(!world.server.run(&ends_within(3)).succeeded());
    world.server.ok("kill -KILL $(cat /tmp/killed.pid)");
    world.server.ok(&ends_within(50));
}

/// An uplink disappears and returns: this is reported, and the others are still observed.
pub fn an_interface_disappears(world: &World) {
    without_symroute(world);
    let observer = Observer::start(&world.server, "");
    assert!(!world.client.pings(None, B4));
    world.unplug("eth1");
    let begins = |count: usize| {
        let wait = "for n in $(seq 50); do [ $(grep -c '\"begin\"' /tmp/observed) -ge COUNT ] && exit; sleep 0.1; done; exit 1";
        world.server.ok(&wait.replace("COUNT", &count.to_string()));
    };
    begins(2);
    assert!(world.client.pings(None, A4));
    world.plug("eth1");
    world.server.ok("ifdown --force eth1 >/dev/null 2>&1; ifup eth1");
    world.settle();
    begins(3);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(world.server.pings(None, "198.51.100.1"));
    assert!(!world.client.pings(None, B4));
    let observed = observer.finish();
    assert!(observed.text.contains("eth1 is down or removed"), "{}", observed.text);
    assert_eq!(observed.code, 1, "{}", observed.text);
    assert!(lines(&observed).iter().all(|line| line == ELSEWHERE), "{}", observed.text);
    assert!(observed.link("eth0")["answered_here"].as_u64() > Some(0), "{}", observed.text);
}

/// tcpdump reads the file: the packets with a fault, and no others.
pub fn packets_are_written(world: &World) {
    without_symroute(world);
    let observer = Observer::start(&world.server, "--pcap /tmp/packets");
    assert!(!world.client.pings(None, B4) && world.client.pings(None, A4) && !world.client.talks(None, B4));
    let observed = observer.finish();
    let packets: u64 = observed.faults().iter().map(|fault| fault["packets"].as_u64().expect("a number")).sum();
    assert_eq!(observed.events.last().expect("the end")["written"], packets, "{}", observed.text);
    let file = world.server.read("/tmp/packets");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("packets");
    std::fs::write(&path, file).expect("a file");
    let ran = std::process::Command::new("tcpdump").args(["-nn", "-r"]).arg(&path).output().expect("tcpdump");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(text.lines().count() as u64, packets, "{text}");
    for line in text.lines() {
        assert!(line.contains(" Out "), "{line}");
        let is_echo = line.contains("IP 198.51.100.10 > 203.0.113.190: ICMP echo reply");
        assert!(is_echo || line.contains("IP 198.51.100.10.7000 > 203.0.113.190."), "{line}");
    }
    let year = text.split(':').next().map(str::len);
    assert_eq!(year, Some(2), "a time of today: {text}");
}

/// The file system is full: this is reported, and counting goes on.
pub fn a_disk_is_full(world: &World) {
    without_symroute(world);
    world.server.mount("mkdir -p tmp/small; mount -t tmpfs -o size=4k tmpfs tmp/small");
    world.server.ok("head -c 4096 /dev/zero >/tmp/small/full");
    let observer = Observer::start(&world.server, "--pcap /tmp/small/packets");
    assert!(!world.client.pings(None, B4));
    let observed = observer.finish();
    assert_eq!((lines(&observed), observed.code), (vec![ELSEWHERE.to_string()], 1), "{}", observed.text);
    assert_eq!(observed.events.last().expect("the end")["file_error"], "No space left on device", "{}", observed.text);
}

/// Frames with random bytes instead of headers, from a provider.
pub fn malformed_packets_are_counted(world: &World) {
    without_symroute(world);
    let mac = world.server.ok("cat /sys/class/net/eth1/address");
    let send = format!(
        "/usr/bin/python3 -c '
import random, socket
random.seed(7)
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((\"cust0\", 0))
head = bytes.fromhex(\"{}\") + bytes(6)
for n in range(2000):
    kind, first = random.choice([(b\"\\x08\\x00\", 0x40), (b\"\\x86\\xdd\", 0x60)])
    body = bytearray(random.randbytes(random.randrange(1, 300)))
    body[0] = first | body[0] & 15 if n % 2 else body[0]
    link.send(head + kind + bytes(body))
'",
        mac.trim().replace(':', "")
    );
    let observer = Observer::start(&world.server, "");
    world.isp_b.outside(&send).ok();
    assert!(!world.client.pings(None, B4));
    let observed = observer.finish();
    assert!(lines(&observed).contains(&ELSEWHERE.to_string()), "{}", observed.text);
    let malformed = observed.events.last().expect("the end")["malformed"].as_u64();
    assert!(malformed > Some(100), "{}", observed.text);
}

/// `check --traffic` has what was seen among its findings, `--once` ends with the first fault, and text is for readers.
pub fn faults_are_findings(world: &World) {
    without_symroute(world);
    let before = check(world);
    let client = &world.client;
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| client.outside("ping -q -n -c 20 -i 0.2 198.51.100.10"));
        world.server.run("symroute check --json --traffic 3s")
    });
    let report: Value = serde_json::from_str(&ran.stdout()).expect("JSON");
    assert_eq!(ran.code(), 1);
    let mut expected = ids(&before);
    expected.push("answered-elsewhere");
    let (mut found, mut expected) = (ids(&report), expected);
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{report:#}");
    let observer = Observer::start(&world.server, "--once");
    assert!(!world.client.pings(None, B4));
    let observed = observer.wait();
    assert_eq!((lines(&observed), observed.code), (vec![ELSEWHERE.to_string()], 1), "{}", observed.text);

    let text = std::thread::scope(|scope| {
        scope.spawn(|| client.outside("ping -q -n -c 10 -i 0.2 198.51.100.10"));
        world.server.run("symroute observe --for 2s")
    });
    assert_eq!(text.code(), 1, "{}", text.text());
    for part in [
        "Observing eth0, eth1 for 2 s",
        "answered-elsewhere eth0: icmp to 198.51.100.10",
        "rule 32766",
        "fix      symroute apply",
        "CAME IN",
    ] {
        assert!(text.stdout().contains(part), "'{part}' is not in:\n{}", text.text());
    }
    // On a terminal it is drawn again.
    let drawn = std::thread::scope(|scope| {
        scope.spawn(|| client.outside("ping -q -n -c 10 -i 0.2 198.51.100.10"));
        world.server.run("script -qec 'symroute observe --for 2s' /tmp/typescript </dev/null; echo code $?")
    });
    let (text, times) = (drawn.stdout(), drawn.stdout().matches("\x1b[").count());
    assert!(times > 3 && text.contains("code 1"), "drawn {times} times:\n{text}");
    assert!(text.matches("UPLINK").count() > 3 && text.contains("rule 32766"), "{text}");
    // It ends when its reader does.
    let ended = world.server.run("timeout 20 sh -c 'symroute observe | head -n 1'; echo code $?");
    assert!(ended.stdout().ends_with("code 0\n"), "{}", ended.text());
    // Other uplinks.
    let other = std::thread::scope(|scope| {
        scope.spawn(|| client.outside("ping -q -n -c 10 -i 0.2 198.51.100.10"));
        world.server.run("symroute observe --for 1s --ipv6")
    });
    assert_eq!(other.code(), 0, "{}", other.text());
    expect(world, &[], &|| assert!(client.pings(None, A4)));
}

/// Frames with a VLAN tag belong to another interface, except with tag 0. Extension headers and fragments are read.
pub fn tags_extension_headers_and_fragments(world: &World) {
    world.install_hooks();
    world.configure(crate::PLAIN);
    world.server.ok("symroute-gen --write --style hook && ifup -a");
    world.settle();
    let mac = world.server.ok("cat /sys/class/net/eth1/address");
    let send = format!(
        "/usr/bin/python3 -c '
import socket, struct
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((\"cust0\", 0))
head = bytes.fromhex(\"{}\") + bytes(6)
v4 = socket.inet_aton(\"203.0.113.190\") + socket.inet_aton(\"198.51.100.10\")
v6 = socket.inet_pton(10, \"2001:db8:f::99\") + socket.inet_pton(10, \"2001:db8:b::10\")
def udp(port):
    return struct.pack(\"!HHHH\", port, 53, 16, 0) + bytes(8)
def ip(body, fragment):
    return b\"\\x08\\x00\" + struct.pack(\"!BBHHHBBH\", 0x45, 0, 20 + len(body), 7, fragment, 9, 17, 0) + v4 + body
link.send(head + struct.pack(\"!HH\", 0x8100, 5) + ip(udp(4000), 0))
link.send(head + struct.pack(\"!HH\", 0x8100, 0xe000) + ip(udp(4001), 0))
link.send(head + ip(udp(4002), 0x2000))
link.send(head + ip(bytes(16), 0x2002))
options = bytes([60, 0, 1, 4, 0, 0, 0, 0]) + bytes([44, 0, 1, 4, 0, 0, 0, 0]) + bytes([17, 0, 0, 1, 0, 0, 0, 9])
body = options + udp(4003)
link.send(head + b\"\\x86\\xdd\" + struct.pack(\"!IHBB\", 6 << 28, len(body), 0, 9) + v6 + body)
'",
        mac.trim().replace(':', "")
    );
    let observer = Observer::start(&world.server, "");
    world.isp_b.outside(&send).ok();
    let observed = observer.finish();
    assert_eq!((lines(&observed), observed.code), (Vec::new(), 0), "{}", observed.text);
    assert_eq!(observed.link("eth1")["came_in"], 3, "{}", observed.text);
    assert_eq!(observed.events.last().expect("the end")["malformed"], 0, "{}", observed.text);
}
