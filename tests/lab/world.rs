//! The laboratory: network namespaces with a server, two strict ISPs, a LAN and a remote client.
//!
//! ```text
//!                      neighbour A (.20)
//!                            |
//!            eth0 .10 --- ISP A .1 ---\
//!   server   eth1 .10 --- ISP B .1 ---- remote client
//!            eth2 .1        |
//!              |       neighbour B (.20)
//!          LAN client (.2)
//!
//!   ISP A  192.0.2.0/24     2001:db8:a::/64      LAN     203.0.113.0/26     2001:db8:c::/64
//!   ISP B  198.51.100.0/24  2001:db8:b::/64      remote  203.0.113.128/26   2001:db8:f::/64
//! ```
//! An ISP forwards nothing from a customer's port whose source is not of that port: an answer that leaves by
//! the wrong uplink is lost, as it is with a real provider. Customers of one ISP reach each other through its
//! router only (proxy ARP and NDP), so that this holds between neighbours too.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that keeps a namespace alive; it ends when its standard input closes, so none outlives the test.
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Holder {
    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.0.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a process of ours");
        self.0.wait().expect("its end");
    }
}

/// A host: a network namespace and a mount namespace.
pub struct Host {
    holder: Holder,
    user_namespace: bool,
    /// The Debian root that its commands run in; nothing for the host's own.
    root: Option<PathBuf>,
}

/// What a command did.
pub struct Ran {
    pub command: String,
    pub output: Output,
}

impl Ran {
    pub fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard output and standard error.
    pub fn text(&self) -> String {
        self.stdout() + &String::from_utf8_lossy(&self.output.stderr)
    }

    /// Standard output of a command that has to succeed.
    pub fn ok(self) -> String {
        assert!(self.succeeded(), "'{}' failed ({}):\n{}", self.command, self.output.status, self.text());
        self.stdout()
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn start(inside: Option<&Host>) -> Result<Holder, String> {
    let mut command = match inside {
        Some(host) => host.enter(),
        None => Command::new("unshare"),
    };
    match inside {
        Some(_) => command.args(["unshare", "--net", "--mount"]),
        None if is_root() => command.args(["--net", "--mount"]),
        None => command.args(["--user", "--map-root-user", "--net", "--mount"]),
    };
    // Changing the propagation of `/` fails in a chroot; what is mounted later goes below STAGE.
    command.args(["--propagation", "unchanged", "sh", "-c", "ip link set lo up; echo ready; exec cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("unshare cannot be run: {error}"))?;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a readable pipe");
    if line.trim() != "ready" {
        let output = child.wait_with_output().expect("its output");
        return Err(format!("no network namespace: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(Holder(child))
}

impl Host {
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        // In a chroot, entering the mount namespace alone would leave it.
        command.args(["--target", &self.holder.0.id().to_string(), "--net", "--mount", "--root"]);
        if self.user_namespace {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// Starts a shell command in this host, in its Debian root if it has one.
    fn command(&self, script: &str) -> Command {
        let mut command = self.enter();
        if let Some(root) = &self.root {
            command.arg("chroot").arg(root);
        }
        command.args(["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]);
        // Nothing here takes minutes; what hangs is to fail, not to hang the tests.
        command.args(["timeout", "--signal=KILL", "300", "sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, script: &str) -> Ran {
        let output = self.command(script).output().expect("nsenter");
        Ran { command: script.to_string(), output }
    }

    /// Runs a command that has to succeed; gives its standard output.
    pub fn ok(&self, script: &str) -> String {
        self.run(script).ok()
    }

    /// Like [`Host::run`], with the tools of the machine instead of those of the Debian root.
    pub fn outside(&self, script: &str) -> Ran {
        let mut command = self.enter();
        command.args(["sh", "-c", script]).stdin(Stdio::null());
        Ran { command: script.to_string(), output: command.output().expect("nsenter") }
    }

    /// Puts a Debian root where this host's commands expect it. What they write there stays in memory.
    fn mount_debian(&self, root: &Path) {
        self.outside(&format!(
            "set -e
            mount --make-private {STAGE}; mount -t tmpfs tmpfs {STAGE}; mkdir {STAGE}/debian
            mount --bind {root} {STAGE}/debian; mount --make-private {STAGE}/debian; cd {STAGE}/debian
            mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp; mount -t tmpfs tmpfs var/tmp
            mkdir tmp/network; cp -r --preserve=mode,links etc/network/. tmp/network/
            mount --bind tmp/network etc/network
            mount --rbind /proc proc; mount --rbind /dev dev; mount --make-rslave dev; mount -t sysfs sysfs sys 2>/dev/null || true
            [ ! -d var/lib/dhcp ] || mount -t tmpfs tmpfs var/lib/dhcp
            mkdir tmp/systemd && mount --bind tmp/systemd etc/systemd 2>/dev/null || true
            mkdir run/network etc/network/interfaces.d 2>/dev/null || true
            mount --bind {program} usr/sbin/symroute; mount --bind {program} usr/sbin/symroute-gen",
            root = root.display(),
            program = program().display(),
        ))
        .ok();
    }

    /// A host of its own without a Debian root, without links.
    pub fn bare() -> Result<Host, String> {
        Ok(Host { holder: start(None)?, user_namespace: !is_root(), root: None })
    }

    /// A host of its own that runs Debian `suite`, without links.
    pub fn debian(suite: &str) -> Result<Host, String> {
        let holder = start(None)?;
        let host = Host { holder, user_namespace: !is_root(), root: Some(Path::new(STAGE).join("debian")) };
        host.mount_debian(&root_of(suite));
        Ok(host)
    }

    /// Mounts with the machine's `mount`, paths relative to this host's Debian root.
    pub fn mount(&self, script: &str) {
        self.outside(&format!("cd {STAGE}/debian && {{ {script}; }}")).ok();
    }

    /// Starts something that runs until the host ends.
    pub fn background(&self, script: &str) -> Holder {
        let mut command = self.enter();
        command.args(["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Holder(command.spawn().expect("nsenter"))
    }

    /// The same inside its Debian root.
    pub fn in_background(&self, script: &str) -> Holder {
        let mut command = self.enter();
        if let Some(root) = &self.root {
            command.arg("chroot").arg(root);
        }
        command.args(["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Holder(command.spawn().expect("nsenter"))
    }

    /// Answers what [`Host::talks`] asks, until it is dropped.
    pub fn echo(&self) -> Holder {
        self.background("exec socat TCP6-LISTEN:7000,ipv6only=0,fork,reuseaddr PIPE")
    }

    pub fn write(&self, path: &str, text: &[u8]) {
        use std::io::Write;
        let mut command = self.command(&format!("cat > {path}"));
        let mut child = command.stdin(Stdio::piped()).spawn().expect("nsenter");
        child.stdin.take().expect("a pipe").write_all(text).expect("a writable pipe");
        assert!(child.wait().expect("cat").success(), "cannot write {path}");
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        let ran = self.run(&format!("cat {path}"));
        assert!(ran.succeeded(), "cannot read {path}: {}", ran.text());
        ran.output.stdout
    }

    /// One answer within three seconds, asked for every half second.
    pub fn pings(&self, from: Option<&str>, to: &str) -> bool {
        let from = from.map_or(String::new(), |from| format!("-I {from}"));
        self.outside(&format!("ping -q -n -c 1 -w 3 -i 0.5 {from} {to}")).succeeded()
    }

    /// A TCP connection that carries data both ways.
    pub fn talks(&self, from: Option<&str>, to: &str) -> bool {
        let bracket = |address: &str| if address.contains(':') { format!("[{address}]") } else { address.to_string() };
        let from = from.map_or(String::new(), |from| format!(",bind={}", bracket(from)));
        let ran = self.outside(&format!(
            "echo there and back | socat -t 2 -T 3 - TCP:{}:7000,connect-timeout=4{from}",
            bracket(to)
        ));
        ran.stdout() == "there and back\n"
    }

    pub fn reaches(&self, from: Option<&str>, to: &str) -> bool {
        self.pings(from, to) && self.talks(from, to)
    }

    /// Those of `ways`, each a name, a host and an address, that lead nowhere by ping or by TCP; all at once.
    pub fn lost(ways: &[(&str, &Host, &str)]) -> Vec<String> {
        std::thread::scope(|scope| {
            let tries: Vec<_> = ways
                .iter()
                .map(|(name, host, to)| {
                    scope.spawn(move || (!host.reaches(None, to)).then(|| format!("{name} -> {to}")))
                })
                .collect();
            tries.into_iter().filter_map(|tried| tried.join().expect("no panic")).collect()
        })
    }
}

/// The whole laboratory.
pub struct World {
    pub suite: &'static str,
    pub server: Host,
    pub isp_a: Host,
    pub isp_b: Host,
    pub neighbour_a: Host,
    pub neighbour_b: Host,
    pub lan: Host,
    pub client: Host,
    _echo: Vec<Holder>,
    /// Further strict providers: number N (0 to 9) at the server's eth(N+3), 198.51.100.(16 N)/28 and
    /// 2001:db8:10N::/64, gateway .1 and ::1 of it.
    _more: Vec<Host>,
    _first: Host,
}

pub const A4: &str = "192.0.2.10";
pub const A6: &str = "2001:db8:a::10";
pub const B4: &str = "198.51.100.10";
pub const B6: &str = "2001:db8:b::10";

/// The addresses of the server's uplinks.
pub const PUBLIC: [&str; 4] = [A4, A6, B4, B6];

/// A mount point on every Linux. The server's root is put below it, in its own mount namespace: nothing is
/// mounted where it could spread to the machine, whatever its mounts share.
const STAGE: &str = "/sys";

/// The root directory that the package is installed in, if that is to be tested instead of what cargo built.
fn installed() -> Option<PathBuf> {
    std::env::var_os("SYMROUTE_INSTALLED").map(PathBuf::from)
}

/// The program under test, which has two names. Cargo puts tests into a directory below the programs.
fn program() -> PathBuf {
    if let Some(root) = installed() {
        return root.join("usr/sbin/symroute");
    }
    let this = std::env::current_exe().expect("a path of this test");
    let directory = this.parent().expect("a directory");
    let programs = if directory.ends_with("deps") { directory.parent().expect("a directory") } else { directory };
    programs.join("symroute")
}

/// Where `sh tests/run` keeps the Debian roots.
fn root_of(suite: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/roots").join(suite)
}

impl World {
    /// Can there be one here? If not, why.
    pub fn available(suite: &str) -> Result<(), String> {
        let root = root_of(suite);
        if root.join("sbin/ifup").symlink_metadata().is_err() {
            return Err(format!("no Debian {suite} with ifupdown in {}: 'sh tests/run' makes it", root.display()));
        }
        World::possible()
    }

    /// Are there namespaces here, and the tools that judge? If not, why.
    pub fn possible() -> Result<(), String> {
        let first = Host::bare()?;
        match ["ip", "ping", "socat"].iter().find(|tool| !first.outside(&format!("command -v {tool}")).succeeded()) {
            Some(tool) => Err(format!("'{tool}' is not installed: 'sh tests/run' does it")),
            None => Ok(()),
        }
    }

    /// A server that runs Debian `suite`, nothing configured yet; or the reason why there can be none.
    pub fn new(suite: &'static str) -> Result<World, String> {
        let root = root_of(suite);
        let first = Host { holder: start(None)?, user_namespace: !is_root(), root: None };
        let host = |root: Option<PathBuf>| -> Result<Host, String> {
            Ok(Host { holder: start(Some(&first))?, user_namespace: !is_root(), root })
        };
        let world = World {
            suite,
            server: host(Some(Path::new(STAGE).join("debian")))?,
            isp_a: host(None)?,
            isp_b: host(None)?,
            neighbour_a: host(None)?,
            neighbour_b: host(None)?,
            lan: host(None)?,
            client: host(None)?,
            _echo: Vec::new(),
            _more: Vec::new(),
            _first: first,
        };
        Ok(world.wired(&root))
    }

    /// The same with `count` more providers.
    pub fn with_providers(suite: &'static str, count: usize) -> Result<World, String> {
        let mut world = World::new(suite)?;
        for n in 0..count {
            let isp = world.another_host();
            world.link(&world.server, &format!("eth{}", n + 3), &isp, "cust0");
            world.link(&world.client, &format!("to-{n}"), &isp, "core");
            let (gateway, core) = (16 * n + 1, 128 + 4 * (n + 3));
            isp.outside(&format!(
                "set -e
                echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                echo 1 > /proc/sys/net/ipv4/conf/cust0/rp_filter
                for dev in cust0 core; do echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad; ip link set $dev up; done
                ip -6 rule add from 2001:db8:10{n}::/64 iif cust0 lookup main priority 5
                ip -6 rule add iif cust0 prohibit priority 6
                ip addr add 198.51.100.{gateway}/28 dev cust0; ip addr add 2001:db8:10{n}::1/64 dev cust0 nodad
                ip addr add 203.0.113.{}/30 dev core; ip route add default via 203.0.113.{}
                ip addr add 2001:db8:f:10{n}::1/64 dev core nodad; ip route add default via 2001:db8:f:10{n}::2",
                core + 1,
                core + 2
            ))
            .ok();
            let client = format!(
                "set -e
                echo 0 > /proc/sys/net/ipv6/conf/to-{n}/accept_dad; ip link set to-{n} up
                ip addr add 203.0.113.{}/30 dev to-{n}; ip addr add 2001:db8:f:10{n}::2/64 dev to-{n} nodad
                ip route add 198.51.100.{}/28 via 203.0.113.{} src 203.0.113.190
                ip route add 2001:db8:10{n}::/64 via 2001:db8:f:10{n}::1 src 2001:db8:f::99",
                core + 2,
                gateway - 1,
                core + 1
            );
            world.client.outside(&client).ok();
            world._more.push(isp);
        }
        Ok(world)
    }

    /// One more host, without links.
    pub fn another_host(&self) -> Host {
        Host { holder: start(Some(&self._first)).expect("a namespace"), user_namespace: !is_root(), root: None }
    }

    /// A wire between two hosts.
    pub fn link(&self, host: &Host, name: &str, other: &Host, peer: &str) {
        let (pid, other) = (host.holder.0.id(), other.holder.0.id());
        self._first.outside(&format!("ip link add {name} netns {pid} type veth peer name {peer} netns {other}")).ok();
    }

    fn wired(mut self, root: &Path) -> World {
        self.link(&self.server, "eth0", &self.isp_a, "cust0");
        self.link(&self.server, "eth1", &self.isp_b, "cust0");
        self.link(&self.server, "eth2", &self.lan, "eth0");
        self.link(&self.neighbour_a, "eth0", &self.isp_a, "cust1");
        self.link(&self.neighbour_b, "eth0", &self.isp_b, "cust1");
        self.link(&self.client, "to-a", &self.isp_a, "core");
        self.link(&self.client, "to-b", &self.isp_b, "core");
        for (isp, v4, v6, at) in [(&self.isp_a, "192.0.2", "a", 1), (&self.isp_b, "198.51.100", "b", 2)] {
            isp.outside(&format!(
                "set -e
                echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                for dev in cust0 cust1; do
                    echo 1 > /proc/sys/net/ipv4/conf/$dev/rp_filter
                    echo 1 > /proc/sys/net/ipv4/conf/$dev/proxy_arp
                    echo 0 > /proc/sys/net/ipv4/neigh/$dev/proxy_delay
                    echo 1 > /proc/sys/net/ipv6/conf/$dev/proxy_ndp
                    echo 0 > /proc/sys/net/ipv6/neigh/$dev/proxy_delay
                    echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad
                    ip link set $dev up
                    ip -6 rule add from 2001:db8:{v6}::/64 iif $dev lookup main priority 5
                    ip -6 rule add iif $dev prohibit priority 6
                done
                echo 0 > /proc/sys/net/ipv6/conf/core/accept_dad; ip link set core up
                ip addr add {v4}.1/24 dev cust0; ip addr add {v4}.1/32 dev cust1
                ip route add {v4}.20/32 dev cust1
                ip addr add 203.0.113.{core}/30 dev core; ip route add default via 203.0.113.{client}
                ip addr add fe80::1/64 dev cust0 nodad
                ip addr add 2001:db8:{v6}::1/64 dev cust0 nodad; ip addr add 2001:db8:{v6}::1/128 dev cust1 nodad
                ip route add 2001:db8:{v6}::20/128 dev cust1
                ip -6 neigh add proxy 2001:db8:{v6}::20 dev cust0; ip -6 neigh add proxy 2001:db8:{v6}::10 dev cust1
                ip addr add 2001:db8:f:{at}::1/64 dev core nodad; ip route add default via 2001:db8:f:{at}::2",
                core = 128 + 4 * at + 1,
                client = 128 + 4 * at + 2,
            ))
            .ok();
        }
        for (host, v4, v6) in [(&self.neighbour_a, "192.0.2", "a"), (&self.neighbour_b, "198.51.100", "b")] {
            host.outside(&format!(
                "set -e; echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up
                ip addr add {v4}.20/24 dev eth0; ip route add default via {v4}.1
                ip addr add 2001:db8:{v6}::20/64 dev eth0 nodad; ip route add default via 2001:db8:{v6}::1"
            ))
            .ok();
        }
        // The client is also the transit between the ISPs; a loose host by intent.
        self.client
            .outside(
                "set -e
                echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                for dev in to-a to-b; do echo 0 > /proc/sys/net/ipv6/conf/$dev/accept_dad; ip link set $dev up; done
                ip addr add 203.0.113.134/30 dev to-a; ip addr add 203.0.113.138/30 dev to-b
                ip addr add 203.0.113.190/32 dev lo; ip addr add 2001:db8:f::99/128 dev lo nodad
                ip addr add 2001:db8:f:1::2/64 dev to-a nodad; ip addr add 2001:db8:f:2::2/64 dev to-b nodad
                ip route add 192.0.2.0/24 via 203.0.113.133 src 203.0.113.190
                ip route add 198.51.100.0/24 via 203.0.113.137 src 203.0.113.190
                ip route add 2001:db8:a::/64 via 2001:db8:f:1::1 src 2001:db8:f::99
                ip route add 2001:db8:b::/64 via 2001:db8:f:2::1 src 2001:db8:f::99",
            )
            .ok();
        self.lan
            .outside(
                "set -e; echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up
                ip addr add 203.0.113.2/26 dev eth0; ip route add default via 203.0.113.1
                ip addr add 2001:db8:c::2/64 dev eth0 nodad; ip route add default via 2001:db8:c::1",
            )
            .ok();
        // Duplicate address detection as always, but without its second of silence and random delay.
        self.server
            .outside(
                "cd /proc/sys/net/ipv6; for dev in default eth0 eth1 eth2; do
                echo 0 > conf/$dev/router_solicitation_delay; echo 200 > neigh/$dev/retrans_time_ms; done",
            )
            .ok();
        self.server.mount_debian(root);
        let hosts = [&self.server, &self.lan, &self.client, &self.neighbour_a, &self.neighbour_b];
        self._echo = hosts.map(Host::echo).into();
        self
    }

    /// Takes a card out of the server; the other end of its wire stays as it is.
    pub fn unplug(&self, card: &str) {
        let elsewhere = self._first.holder.0.id();
        self.server.outside(&format!("ip link set {card} netns {elsewhere}")).ok();
    }

    /// Puts it in again: a new device with the old name and MAC address.
    pub fn plug(&self, card: &str) {
        let server = self.server.holder.0.id();
        self._first.outside(&format!("ip link set {card} netns {server}")).ok();
    }

    /// Installs the hooks as the package does.
    pub fn install_hooks(&self) {
        for hook in ["if-up", "if-down"] {
            let source = match installed() {
                Some(root) => root.join(format!("etc/network/{hook}.d/symroute")),
                None => Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks").join(hook),
            };
            let text = std::fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
            self.server.ok(&format!("mkdir -p /etc/network/{hook}.d"));
            self.server.write(&format!("/etc/network/{hook}.d/symroute"), &text);
            self.server.ok(&format!("chmod 755 /etc/network/{hook}.d/symroute"));
        }
    }

    /// Waits for duplicate address detection, as ifupdown does and the others do not.
    pub fn settle(&self) {
        self.server
            .ok("for n in $(seq 50); do [ -n \"$(ip -6 addr show tentative)\" ] || exit 0; sleep 0.1; done; exit 1");
    }

    /// Writes the interfaces file, as this server's ifup reads it; gives what was written.
    pub fn configure(&self, interfaces: &str) -> String {
        let line = |line: &str| match line.strip_prefix("auto ") {
            // ifupdown-ng takes one name a line, and the others for nothing.
            Some(names) if self.suite == "bookworm-ng" => {
                names.split_whitespace().map(|name| format!("auto {name}\n")).collect()
            }
            _ => format!("{line}\n"),
        };
        let text: String = interfaces.lines().map(line).collect();
        self.server.write("/etc/network/interfaces", text.as_bytes());
        text
    }
}
