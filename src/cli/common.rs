//! What the subcommands have in common: their options, exit codes and printing.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::apply::change::{Done, Setting};
use crate::interfaces::{Diagnostic, Dialect, Severity};
use crate::network::Family;
use crate::policy::Plan;
use crate::report;
use crate::system::configuration::Configuration;
use crate::uplinks::Selection;

/// Where ifupdown has its configuration.
pub const INTERFACES: &str = "/etc/network/interfaces";

/// Exit codes of all commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Yes = 0,
    /// The condition is not met: differs, out of sync, needs a write.
    No = 1,
    /// Usage, unreadable or invalid configuration, kernel error.
    Error = 2,
}

/// Options that every command has.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Common {
    /// The interfaces file
    #[arg(short, long, value_name = "FILE", default_value = INTERFACES, global = true)]
    pub interfaces: PathBuf,
    /// Read the configuration of another root directory (an image, a chroot)
    #[arg(long, value_name = "DIR", default_value = "/", global = true)]
    pub root: PathBuf,
    /// Syntax of the file [default: that of the installed ifup]
    #[arg(long, value_enum, global = true)]
    pub dialect: Option<Dialect>,
    /// Print more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Use colors: on a terminal, always, or never
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, hide_possible_values = true, global = true)]
    pub color: Color,
    /// Print only JSON and errors; the exit code is the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Without options. The parser has the same values.
impl Default for Common {
    fn default() -> Self {
        let (interfaces, root) = (INTERFACES.into(), "/".into());
        Common { interfaces, root, dialect: None, verbose: false, color: Color::Auto, quiet: false }
    }
}

impl Common {
    /// The configuration, and which interfaces are up by it.
    pub fn read(&self) -> Configuration {
        Configuration::read_with_active(&self.root, &self.interfaces, self.dialect)
    }

    /// # Errors
    /// Where a command that reads no configuration is given one.
    pub fn require_no_files(&self) -> Result<()> {
        if self.interfaces != Path::new(INTERFACES) || self.dialect.is_some() {
            bail!("this command reads no configuration: omit --interfaces and --dialect");
        }
        Ok(())
    }
}

/// The option of every command that changes the host.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct DryRun {
    /// Change nothing; show the 'ip' commands that would do the same
    #[arg(long)]
    pub dry_run: bool,
}

impl DryRun {
    pub fn setting<'a>(self, read: &'a dyn Fn() -> Configuration) -> Setting<'a> {
        Setting { read, waiting: &print_waiting, dry_run: self.dry_run, watch: None }
    }
}

/// The option of every command that prints JSON.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Json {
    /// Print JSON; routes and rules have the keys of 'ip -json'
    #[arg(long)]
    pub json: bool,
}

/// A command that waits without a message looks as if it hangs.
fn print_waiting() {
    print_error("symroute: waiting for another symroute that holds /run/symroute.lock\n");
}

/// Prints the commands of a dry run, as a script of the shell.
///
/// # Errors
/// As [`print()`].
pub fn print_commands(done: &Done) -> Result<()> {
    match done {
        Done::Commands(commands) if commands.is_empty() => print("# Nothing to do.\n"),
        Done::Commands(commands) => print(commands.iter().map(|command| format!("{command}\n")).collect::<String>()),
        Done::Changed(_) => Ok(()),
    }
}

/// When to use colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// `auto`: for terminals that have colors, and for users who did not decline them (<https://no-color.org>).
    pub fn is_for(self, stream: &impl IsTerminal) -> bool {
        let declined = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        match self {
            Color::Auto => stream.is_terminal() && !declined() && !is_dumb(),
            Color::Always => true,
            Color::Never => false,
        }
    }
}

/// Columns of the terminal, 80 where there is none.
pub fn width() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(width), _)| usize::from(width).max(40))
}

/// The uplinks to report.
#[derive(Debug, Clone, clap::Args)]
pub struct Selected {
    /// Only the uplinks of these interfaces
    #[arg(value_name = "IFACE")]
    names: Vec<String>,
    /// Only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
}

impl Selected {
    /// # Errors
    /// Where no uplink of the plan has one of the names.
    pub fn of(&self, plan: &Plan) -> Result<Selection> {
        let family = match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::Inet),
            (_, true) => Some(Family::Inet6),
            _ => None,
        };
        for name in &self.names {
            let named = Selection { interfaces: vec![name.clone()], family: None };
            if !plan.uplinks.iter().any(|uplink| named.has(uplink)) {
                let mut known: Vec<&str> = plan.uplinks.iter().map(|uplink| &uplink.name[..]).collect();
                known.dedup();
                bail!("{name} is not an uplink; uplinks: {}", known.join(", "));
            }
        }
        Ok(Selection { interfaces: self.names.clone(), family })
    }
}

/// Prints diagnostics to standard error, each as a compiler does; true if one of them is an error.
pub fn print_diagnostics<'a>(
    color: Color,
    configuration: &Configuration,
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
) -> bool {
    let color = color.is_for(&io::stderr());
    let mut failed = false;
    // A configuration may have many.
    let mut out = BufWriter::new(io::stderr().lock());
    for diagnostic in diagnostics {
        failed |= diagnostic.severity == Severity::Error;
        let text = report::diagnostic(&configuration.config, &configuration.root, diagnostic, color);
        // A failure cannot be reported.
        let _ = out.write_all(text.as_bytes());
    }
    failed
}

/// Prints to standard output. A closed pipe (`| head`) is not an error.
///
/// # Errors
/// When standard output cannot be written, a full disk for example.
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints JSON to standard output. Keys, ids and their meaning stay within one version.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    let mut value = value.clone();
    value["version"] = 1.into();
    print(format!("{value:#}\n"))
}

/// Prints to standard error; a failure cannot be reported.
pub fn print_error(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The end of a run: an error is one line on standard error.
pub fn exit(program: &str, result: Result<Exit>, on_error: Exit) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) => {
            print_error(&format!("{program}: {error:#}\n"));
            on_error
        }
    }
}
