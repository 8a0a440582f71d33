//! Tests that need a kernel of their own: they run once more in a network namespace, where they may change everything.

use std::process::Command;

/// Tells a program that it runs inside the namespace.
const INSIDE: &str = "SYMROUTE_TEST_INSIDE";

/// Runs the test of this name inside a namespace; true where this is that run.
#[allow(clippy::print_stderr)]
pub fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(user).arg("--net");
        command
    };
    if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("SYMROUTE_NOTHING_IGNORED").is_none(), "no network namespace can be made");
        eprintln!("skipped: no network namespace can be made");
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let output = unshare().arg(program).args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}
