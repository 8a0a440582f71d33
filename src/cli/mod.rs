//! What the two programs have in common: where the configuration is, how to print, how to exit.

mod check;
mod explain;
pub mod generate;
pub mod symroute;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::files::Root;
use crate::interfaces::{Config, Diagnostic, Dialect, Severity};
use crate::report;
use crate::tables::Names;

/// Exit codes of all commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Yes, done, or nothing to do.
    Yes = 0,
    /// The answer is no: differs, out of step, needs a write.
    No = 1,
    /// Could not: usage, unreadable or refused configuration, kernel error.
    CouldNot = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A configuration that was read, and what it takes to talk about it.
struct Loaded {
    pub root: Root,
    pub config: Config,
    pub names: Names,
}

impl Loaded {
    pub fn read(root: &Path, interfaces: &Path, dialect: Option<Dialect>) -> Self {
        let root = Root::new(root);
        let config = Config::read(interfaces, &root, dialect.unwrap_or_else(|| Dialect::installed(&root)));
        let names = Names::read(&root);
        Loaded { root, config, names }
    }

    /// Shows diagnostics on standard error, each as a compiler does; true if one of them is an error.
    pub fn complain<'a>(&self, diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> bool {
        let color = color(&io::stderr());
        let mut failed = false;
        for diagnostic in diagnostics {
            failed |= diagnostic.severity == Severity::Error;
            say_error(&report::diagnostic(&self.config, &self.root, diagnostic, color));
        }
        failed
    }
}

/// Colour is for terminals, and for those who did not decline it (<https://no-color.org>).
fn color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints to standard output. A reader that has left (`| head`) is no failure.
///
/// # Errors
/// When standard output cannot be written, a full disk for example.
fn say(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints JSON to standard output.
///
/// # Errors
/// As [`say`].
fn say_json(value: &serde_json::Value) -> Result<()> {
    say(format!("{value:#}\n"))
}

/// Prints to standard error; there is nobody to tell if that fails.
fn say_error(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The end of a run: an error is one line on standard error.
fn exit(program: &str, result: Result<Exit>, on_error: Exit) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            say_error(&format!("{program}: {error:#}\n"));
            on_error.into()
        }
    }
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The interfaces file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/network/interfaces", global = true)]
    pub interfaces: PathBuf,
    /// Read the configuration of another root directory (an image, a chroot)
    #[arg(long, value_name = "DIR", default_value = "/", global = true)]
    pub root: PathBuf,
    /// Read the file as this ifup does, instead of the one that dpkg says is installed
    #[arg(long, value_enum, global = true)]
    pub dialect: Option<Dialect>,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}
