//! An agent: a process of this program in the namespaces of a host. It runs commands there, and reads and writes files.
//! Without an agent, each command of the test lab would start six processes.
//!
//! A request is one connection to the agent's Unix socket: a letter for the operation, then its arguments until the end
//! of the stream. The reply is the exit status, then standard output and standard error, each after its length.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// If it is set, this program is an agent. The value is the root directory that it changes to.
const ROOT: &str = "SYMROUTE_LAB_AGENT";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// No command in a Debian root needs minutes. A command that hangs fails after this time.
const LONGEST: Duration = Duration::from_secs(300);
const PORT: u16 = 7000;
const RUN: u8 = b'r';
const READ: u8 = b'g';
const WRITE: u8 = b'w';
const TALK: u8 = b't';
const ECHO: u8 = b'e';

pub struct Agent {
    child: Child,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// Starts an agent with `command`, which must run a program in namespaces. If that fails, it returns the reason.
    pub fn start(mut command: Command, root: Option<&Path>) -> Result<Agent, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
        let socket = directory.path().join("agent");
        let listener = UnixListener::bind(&socket).map_err(|error| format!("no socket: {error}"))?;
        command.arg(std::env::current_exe().expect("a path of this test"));
        command.env(ROOT, root.unwrap_or(Path::new("/")));
        // Its standard output is the socket that it listens on. It exits when its standard input is closed.
        command.stdin(Stdio::piped()).stdout(OwnedFd::from(listener)).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("unshare cannot be run: {error}"))?;
        drop(command);
        let mut agent = Agent { child, socket, _directory: directory };
        // In a root directory, the interface is up already.
        let ready = if root.is_some() { "true" } else { "ip link set lo up" };
        match agent.request(RUN, ready.as_bytes()) {
            Ok(output) if output.status.success() => Ok(agent),
            Ok(output) => Err(format!("no network: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(_) => {
                let mut reason = String::new();
                let _ = agent.child.wait();
                let _ = agent.child.stderr.take().expect("a pipe").read_to_string(&mut reason);
                Err(format!("no network namespace: {}", reason.trim()))
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn request(&self, kind: u8, arguments: &[u8]) -> std::io::Result<Output> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(&[kind])?;
        stream.write_all(arguments)?;
        stream.shutdown(Shutdown::Write)?;
        let mut status = [0; 4];
        stream.read_exact(&mut status)?;
        let (stdout, stderr) = (read_part(&mut stream)?, read_part(&mut stream)?);
        Ok(Output { status: ExitStatus::from_raw(i32::from_ne_bytes(status)), stdout, stderr })
    }

    fn ask(&self, kind: u8, arguments: &[u8]) -> Output {
        self.request(kind, arguments).expect("an agent")
    }

    /// Runs a shell command.
    pub fn run(&self, script: &str) -> Output {
        self.ask(RUN, script.as_bytes())
    }

    pub fn read(&self, path: &str) -> Output {
        self.ask(READ, path.as_bytes())
    }

    pub fn write(&self, path: &str, text: &[u8]) -> Output {
        self.ask(WRITE, &[path.as_bytes(), b"\0", text].concat())
    }

    /// From now on, the host replies to [`Agent::talks`].
    pub fn echo(&self) -> Output {
        self.ask(ECHO, b"")
    }

    /// A TCP connection that transfers data in both directions.
    pub fn talks(&self, from: Option<&str>, to: &str) -> bool {
        let output = self.ask(TALK, format!("{}\0{to}", from.unwrap_or_default()).as_bytes());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.stderr.is_empty(), "{stderr}");
        output.status.success()
    }
}

fn read_part(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let mut part = vec![0; usize::from_ne_bytes(length)];
    stream.read_exact(&mut part)?;
    Ok(part)
}

/// main() calls this first. It returns immediately if this process is not an agent.
pub fn serve_if_agent() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let is_inside = root != "/";
    if is_inside {
        nix::unistd::chroot(Path::new(&root)).expect("a root directory");
        std::env::set_current_dir("/").expect("a root directory");
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = UnixListener::from(std::io::stdout().as_fd().try_clone_to_owned().expect("a descriptor"));
    for stream in listener.incoming().map(|stream| stream.expect("a connection")) {
        std::thread::spawn(move || {
            // The other end may be closed already.
            let _ = serve(stream, is_inside);
        });
    }
}

fn serve(mut stream: UnixStream, is_inside: bool) -> std::io::Result<()> {
    let mut request = Vec::new();
    stream.read_to_end(&mut request)?;
    let Some((kind, arguments)) = request.split_first() else { return Ok(()) };
    let text = || String::from_utf8_lossy(arguments);
    let output = match *kind {
        RUN => run(arguments, is_inside),
        READ => std::fs::read(&*text()).map(|stdout| done(0, stdout)),
        WRITE => write(arguments),
        TALK => Ok(done(i32::from(!talk(&text())), Vec::new())),
        _ => TcpListener::bind(("::", PORT)).map(echo),
    };
    let output =
        output.unwrap_or_else(|error| Output { stderr: error.to_string().into_bytes(), ..done(1, Vec::new()) });
    stream.write_all(&output.status.into_raw().to_ne_bytes())?;
    for part in [output.stdout, output.stderr] {
        stream.write_all(&part.len().to_ne_bytes())?;
        stream.write_all(&part)?;
    }
    Ok(())
}

fn done(code: i32, stdout: Vec<u8>) -> Output {
    Output { status: ExitStatus::from_raw(code << 8), stdout, stderr: Vec::new() }
}

/// A command without shell syntax runs without a shell. These are three of four commands, and starting processes takes
/// most of the time.
fn command(script: &[u8]) -> Command {
    let is_plain = script.iter().all(|byte| byte.is_ascii_alphanumeric() || b" -_./:,@%+=".contains(byte));
    let text = String::from_utf8_lossy(script);
    let (name, arguments) = text.split_once(' ').unwrap_or((&text, ""));
    // The name is a program, not a shell builtin or an assignment.
    let program = PATH.split(':').map(|place| Path::new(place).join(name)).find(|program| program.is_file());
    match program {
        Some(program) if is_plain => {
            let mut command = Command::new(program);
            command.args(arguments.split_whitespace());
            command
        }
        _ => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(OsStr::from_bytes(script));
            command
        }
    }
}

fn run(script: &[u8], is_inside: bool) -> std::io::Result<Output> {
    let mut command = command(script);
    if is_inside {
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
    }
    command.env_remove(ROOT).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (ended, end) = channel::<()>();
    std::thread::spawn(move || {
        if is_inside && end.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output();
    drop(ended);
    output
}

fn write(arguments: &[u8]) -> std::io::Result<Output> {
    let end = arguments.iter().position(|byte| *byte == 0).ok_or(ErrorKind::InvalidInput)?;
    std::fs::write(&*String::from_utf8_lossy(&arguments[..end]), &arguments[end + 1..])?;
    Ok(done(0, Vec::new()))
}

fn echo(listener: TcpListener) -> Output {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    done(0, Vec::new())
}

fn talk(arguments: &str) -> bool {
    let (from, to) = arguments.split_once('\0').expect("two addresses");
    let talk = || -> std::io::Result<bool> {
        let mut stream = connected(from, to)?;
        stream.write_all(b"there and back")?;
        stream.shutdown(Shutdown::Write)?;
        let mut back = Vec::new();
        stream.read_to_end(&mut back)?;
        Ok(back == b"there and back")
    };
    talk().unwrap_or(false)
}

/// The standard library cannot bind a socket before it connects.
fn connected(from: &str, to: &str) -> std::io::Result<TcpStream> {
    let address = |text: &str, port| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, port));
    let to = address(to, PORT).expect("an address");
    let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // SO_SNDTIMEO also limits connect().
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(4, 0))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(3, 0))?;
    if !from.is_empty() {
        let from = SockaddrStorage::from(address(from, 0).expect("an address"));
        // A new IPv6 address is tentative for a moment, even without duplicate address detection.
        let mut tries =
            (0..20).map(|_| bind(socket.as_raw_fd(), &from).inspect_err(|_| sleep(Duration::from_millis(50))));
        tries.find(Result::is_ok).ok_or(ErrorKind::AddrNotAvailable)??;
    }
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(socket))
}
