//! Gives up all privileges: every capability, the way to new ones, and all system calls but those of the loop.
//!
//! The program then can read its sockets, write to what is open, and exit. What is not expected ends it.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use anyhow::{Context, Result};
use caps::CapSet;
use nix::libc;
use nix::sys::prctl;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Reading packets and standard input, writing lines and the file of packets, waiting, memory, time, and the end.
const CALLS: &[libc::c_long] = &[
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_futex,
    libc::SYS_close,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// # Errors
/// When one of them cannot be given up: then no packet must be read.
pub fn drop_all() -> Result<()> {
    // The bounding set needs CAP_SETPCAP, which a process with CAP_NET_RAW alone does not have. Without new privileges
    // it has no effect.
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).unwrap_or(false) {
        caps::clear(None, CapSet::Bounding).context("cannot drop the capability bounding set")?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).context("cannot drop capabilities")?;
    }
    prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    enter_filter()
}

/// The filter of system calls; Debian has other architectures, for which seccompiler makes none.
fn enter_filter() -> Result<()> {
    let Ok(architecture) = TargetArch::try_from(ARCH) else { return Ok(()) };
    // A c_long has 32 bits on some architectures.
    #[allow(clippy::useless_conversion)]
    let rules: BTreeMap<i64, _> = CALLS.iter().map(|call| (i64::from(*call), Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture);
    let program: BpfProgram = filter.and_then(TryInto::try_into).context("cannot make the system-call filter")?;
    seccompiler::apply_filter(&program).context("cannot enter the system-call filter")
}
