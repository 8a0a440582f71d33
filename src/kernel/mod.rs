//! The kernel's side, over netlink: taking a snapshot, and bringing it to a plan.
//!
//! The only room that changes the running system. Nothing here starts a process.

mod message;
mod reconcile;
mod requests;
mod socket;
mod steps;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

pub(crate) use reconcile::{flush, reconcile};
pub use socket::Socket;
pub(crate) use steps::reconciled;

use crate::interfaces::Family;
use crate::snapshot::{Query, Snapshot, Surroundings};

/// Where the lock is; /run belongs to root.
const LOCK: &str = "/run/symroute.lock";
/// How long one run waits for another. A run takes milliseconds; a minute means that one hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Held while rules and routes are changed; released when dropped or when the process dies.
pub(crate) struct Lock(#[allow(dead_code)] Flock<File>);

/// Waits for the lock.
///
/// # Errors
/// When the file cannot be made (not root), or another run holds it for a minute.
pub(crate) fn lock() -> Result<Lock> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(LOCK);
    let mut file = open.with_context(|| format!("cannot open {LOCK} (changing routes needs root)"))?;
    let begin = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((_, error)) if error != nix::errno::Errno::EWOULDBLOCK => {
                return Err(error).with_context(|| format!("cannot lock {LOCK}"));
            }
            Err((_, _)) if begin.elapsed() > PATIENCE => {
                bail!("another symroute has held {LOCK} for a minute; 'fuser -v {LOCK}' shows which")
            }
            Err((again, _)) => {
                file = again;
                sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Everything that the kernel has.
///
/// # Errors
/// When a netlink request fails.
pub fn snapshot(socket: &mut Socket) -> Result<Snapshot> {
    let links = socket.links()?;
    let addresses = socket.addresses(&links)?;
    let rules = socket.rules()?;
    let routes = socket.routes(&links)?;
    Ok(Snapshot { links, addresses, rules, routes })
}

/// What a lookup of `query` depends on beside the snapshot.
///
/// # Errors
/// When a netlink request fails.
pub fn surroundings(socket: &mut Socket, query: &Query, snapshot: &Snapshot) -> Result<Surroundings> {
    let setting = match (query.family(), &query.iif) {
        (Family::Inet6, _) => Some("/proc/sys/net/ipv6/conf/all/forwarding".to_string()),
        (_, Some(iif)) => Some(format!("/proc/sys/net/ipv4/conf/{iif}/forwarding")),
        _ => None,
    };
    let forwards = setting.is_some_and(|path| std::fs::read(path).is_ok_and(|value| !value.starts_with(b"0")));
    let failed = match query.family() {
        Family::Inet6 if !forwards => socket.failed_neighbours(Family::Inet6, &snapshot.links)?,
        _ => Vec::new(),
    };
    Ok(Surroundings { forwards, failed })
}

/// Flushes the route cache, as the article's last step does.
///
/// # Errors
/// As `write(2)`, but not where /proc/sys is missing or read-only, as in containers: kernels since 3.6 have no
/// cache for IPv4 and flush what they keep for IPv6 by themselves.
fn flush_cache() -> Result<()> {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    let path = Path::new("/proc/sys/net/ipv4/route/flush");
    match std::fs::write(path, "-1") {
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem) => Ok(()),
        written => written.with_context(|| format!("cannot write {}", path.display())),
    }
}
