//! Hosts of the test lab: a network namespace and a mount namespace, some with a Debian root.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::Agent;

/// A process in a namespace. It exits when its standard input is closed, so it ends with the test.
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Holder {
    /// Terminates the process, and waits for its end.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.0.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a process of ours");
        self.0.wait().expect("its exit");
    }
}

/// A host: a network namespace and a mount namespace.
pub struct Host {
    pub agent: Agent,
    user_namespace: bool,
    /// The Debian root that its commands run in, and the agent there. Without one, commands run in the machine's root.
    debian: Option<(PathBuf, Agent)>,
}

/// A command and its result.
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

    /// The standard output of a command that must succeed.
    pub fn ok(self) -> String {
        assert!(self.succeeded(), "'{}' failed ({}):\n{}", self.command, self.output.status, self.text());
        self.stdout()
    }
}

/// A mount point that every Linux has. The server's root is mounted below it, in a mount namespace of its own, so no
/// mount propagates to the machine.
const STAGE: &str = "/sys";

/// The root directory with the installed package, if the test lab tests the package instead of the programs that cargo
/// built.
pub fn installed() -> Option<PathBuf> {
    std::env::var_os("SYMROUTE_INSTALLED").map(PathBuf::from)
}

/// The program under test; it has two names. Cargo puts tests into a directory below the programs.
fn program() -> PathBuf {
    if let Some(root) = installed() {
        return root.join("usr/sbin/symroute");
    }
    let this = std::env::current_exe().expect("a path of this test");
    let directory = this.parent().expect("a directory");
    let programs = if directory.ends_with("deps") { directory.parent().expect("a directory") } else { directory };
    programs.join("symroute")
}

/// The capture program that it starts.
fn capture_program() -> PathBuf {
    match installed() {
        Some(root) => root.join("usr/libexec/symroute/symroute-capture"),
        None => program().with_file_name("symroute-capture"),
    }
}

/// The directory in which `sh tests/run` makes the Debian roots.
pub fn root_of(suite: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/roots").join(suite)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A host without a Debian root and without interfaces. An ordinary user starts it in the user namespace of another
/// host.
pub fn start(inside: Option<&Host>) -> Result<Host, String> {
    let mut command = Command::new("unshare");
    match inside {
        _ if is_root() => {}
        Some(host) => {
            command = host.enter();
            command.arg("unshare");
        }
        None => {
            command.args(["--user", "--map-root-user"]);
        }
    }
    // Changing the propagation of `/` fails in a chroot. Everything is mounted below STAGE.
    command.args(["--net", "--mount", "--propagation", "unchanged"]);
    Ok(Host { agent: Agent::start(command, None)?, user_namespace: !is_root(), debian: None })
}

impl Host {
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        // In a chroot, `--mount` alone would leave the chroot.
        command.args(["--target", &self.agent.id().to_string(), "--net", "--mount", "--root"]);
        if self.user_namespace {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// The agent that runs its commands.
    fn inside(&self) -> &Agent {
        self.debian.as_ref().map_or(&self.agent, |(_, agent)| agent)
    }

    /// Runs a shell command in this host, in its Debian root if it has one.
    pub fn run(&self, script: &str) -> Ran {
        Ran { command: script.to_string(), output: self.inside().run(script) }
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn ok(&self, script: &str) -> String {
        self.run(script).ok()
    }

    /// Like [`Host::run`], with the machine's tools instead of those of the Debian root.
    pub fn outside(&self, script: &str) -> Ran {
        Ran { command: script.to_string(), output: self.agent.run(script) }
    }

    /// Runs the machine's shell commands, which must succeed, then iproute2's commands, in one process for each family.
    pub fn arrange(&self, script: &str, v4: &str, v6: &str) {
        let batch = |ip: &str, lines: &str| match lines {
            "" => String::new(),
            _ => format!("{ip} -batch - <<'END'\n{lines}\nEND\n"),
        };
        self.outside(&format!("set -e; {script}\n{}{}", batch("ip", v4), batch("ip -6", v6))).ok();
    }

    /// Mounts a Debian root read-only for this host's commands. The directories that they write to are in memory.
    pub fn mount_debian(&mut self, root: &Path) -> Result<(), String> {
        let is_there = |path: &&str| root.join(path).exists();
        let tmpfs = ["run", "tmp", "var/tmp", "var/lib/dhcp"].into_iter().filter(is_there);
        let tmpfs: String = tmpfs.map(|path| format!("tmpfs {STAGE}/debian/{path} tmpfs\n")).collect();
        let mount = |(program, place): (PathBuf, &str)| {
            format!("{} {STAGE}/debian/usr/{place} none bind,ro\n", program.display())
        };
        // The demonstration does not build the capture program.
        let programs = [
            (program(), "sbin/symroute"),
            (program(), "sbin/symroute-gen"),
            (capture_program(), "libexec/symroute/symroute-capture"),
        ]
        .into_iter()
        .filter(|(program, _)| program.exists());
        let programs: String = programs.map(mount).collect();
        // One `mount` for each list, because starting processes takes most of the time.
        self.outside(&format!(
            "set -e
            mount --make-private {STAGE}; mount -t tmpfs tmpfs {STAGE}; mkdir {STAGE}/debian; cd {STAGE}/debian
            cat >../first <<'END'
{root} {STAGE}/debian none bind,ro,private
{tmpfs}/proc {STAGE}/debian/proc none rbind
/dev {STAGE}/debian/dev none rbind,rslave
END
            mount --all --fstab ../first; cd {STAGE}/debian
            mount -t sysfs sysfs sys 2>/dev/null || true
            mkdir -p tmp/network tmp/systemd run/network
            cp -r --preserve=mode,links etc/network/. tmp/network/; mkdir -p tmp/network/interfaces.d
            # For systemd-resolved, which is not there.
            rm -f tmp/network/if-*.d/resolved
            cat >../second <<'END'
{STAGE}/debian/tmp/network {STAGE}/debian/etc/network none bind
{STAGE}/debian/tmp/systemd {STAGE}/debian/etc/systemd none bind
{programs}
END
            mount --all --fstab ../second",
            root = root.display(),
        ))
        .ok();
        let place = Path::new(STAGE).join("debian");
        let agent = Agent::start(self.enter(), Some(&place))?;
        self.debian = Some((place, agent));
        Ok(())
    }

    /// A separate host without a Debian root and without interfaces.
    pub fn bare() -> Result<Host, String> {
        start(None)
    }

    /// A separate host that runs Debian `suite`, without interfaces.
    pub fn debian(suite: &str) -> Result<Host, String> {
        let mut host = start(None)?;
        host.mount_debian(&root_of(suite))?;
        Ok(host)
    }

    /// Mounts with the machine's `mount`. Paths are relative to this host's Debian root.
    pub fn mount(&self, script: &str) {
        self.outside(&format!("cd {STAGE}/debian && {{ {script}; }}")).ok();
    }

    /// Gives this host its own `/etc`, in memory.
    pub fn own_etc(&self) {
        self.mount("mkdir tmp/etc; cp -a etc/. tmp/etc/; mount --bind tmp/etc etc");
    }

    /// Starts a command that runs until the host ends.
    pub fn background(&self, script: &str) -> Holder {
        let mut command = self.enter();
        command.args(["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Holder(command.spawn().expect("nsenter"))
    }

    /// The same in its Debian root.
    pub fn in_background(&self, script: &str) -> Holder {
        let mut command = self.enter();
        if let Some((root, _)) = &self.debian {
            command.arg("chroot").arg(root);
        }
        command.args(["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Holder(command.spawn().expect("nsenter"))
    }

    /// From now on, the host replies to [`Host::talks`].
    pub fn echo(&self) {
        Ran { command: "echo".to_string(), output: self.agent.echo() }.ok();
    }

    pub fn write(&self, path: &str, text: &[u8]) {
        Ran { command: format!("write {path}"), output: self.inside().write(path, text) }.ok();
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        let ran = Ran { command: format!("read {path}"), output: self.inside().read(path) };
        assert!(ran.succeeded(), "cannot read {path}: {}", ran.text());
        ran.output.stdout
    }

    /// One reply within three seconds, with a request every half second.
    pub fn pings(&self, from: Option<&str>, to: &str) -> bool {
        let from = from.map_or(String::new(), |from| format!("-I {from}"));
        self.outside(&format!("ping -q -n -c 1 -w 3 -i 0.5 {from} {to}")).succeeded()
    }

    /// A TCP connection that transfers data in both directions.
    pub fn talks(&self, from: Option<&str>, to: &str) -> bool {
        self.agent.talks(from, to)
    }

    /// Two attempts: on a busy machine a connection may exceed its time limit. Packets through the wrong provider are
    /// lost in both.
    pub fn connects(&self, from: Option<&str>, to: &str) -> bool {
        (0..2).any(|_| self.talks(from, to))
    }

    pub fn reaches(&self, from: Option<&str>, to: &str) -> bool {
        self.pings(from, to) && self.connects(from, to)
    }

    /// The connections (name, host, address) that fail by ping or by TCP. All are tried at once.
    pub fn lost(connections: &[(&str, &Host, &str)]) -> Vec<String> {
        std::thread::scope(|scope| {
            let attempts: Vec<_> = connections
                .iter()
                .map(|(name, host, to)| {
                    scope.spawn(move || (!host.reaches(None, to)).then(|| format!("{name} -> {to}")))
                })
                .collect();
            attempts.into_iter().filter_map(|attempt| attempt.join().expect("no panic")).collect()
        })
    }
}
