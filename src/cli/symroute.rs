//! The program `symroute`: applies the plan, shows it, compares it with the kernel.

use std::ffi::OsString;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::apply::apply;
use super::check::{CheckArguments, check};
use super::common::{Common, DryRun, Exit, Json, Selected, exit};
use super::config::config;
use super::explain::{ExplainArguments, explain};
use super::flush::flush;
use super::hook::{HookArguments, hook};
use super::observe::{ObserveArguments, observe};
use super::plan::plan;
use super::status::status;
use super::up_down::up_or_down;
use super::watch::watch;
use crate::apply::change::Direction;
use crate::check::finding::ids;

/// Symmetric routing on a server with several default gateways
///
/// Replies leave through the uplink that the connection came in through: each uplink has a routing table, and rules by
/// source address. symroute reads /etc/network/interfaces. 'symroute-gen' writes commands that add the same tables and
/// rules into that file.
#[derive(Debug, Parser)]
#[command(
    name = "symroute",
    version,
    max_term_width = 80,
    after_help = "Exit codes: 0 done or nothing to do, 1 condition not met, 2 error.
\
    'hook', 'up' and 'down' exit with 1 on every error, and with 2 only for wrong arguments.

\
    Examples:
  \
    symroute status                    compare the kernel with the configuration
  \
    symroute check                     find what breaks symmetric routing
  \
    symroute apply --dry-run           show what would change
  \
    symroute explain 203.0.113.190 from 198.51.100.10
                                     \
    show which rule and route a packet takes"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add routes and rules for interfaces that came up; does not start them
    Up {
        #[arg(required = true, value_name = "IFACE")]
        names: Vec<String>,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Remove routes and rules of interfaces that go down; does not stop them
    Down {
        #[arg(required = true, value_name = "IFACE")]
        names: Vec<String>,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Install the routes and rules of all active interfaces
    Apply {
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Remove all routes and rules that symroute added, and nothing else
    Flush {
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Add and remove routes and rules whenever something changes; usually run by systemd
    Watch,
    /// Handle an event of ifupdown; reads IFACE, MODE and so on from the environment
    #[command(hide = true)]
    Hook {
        #[command(flatten)]
        arguments: HookArguments,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Show the interfaces files as ifupdown reads them
    Config {
        #[command(flatten)]
        json: Json,
    },
    /// Show the uplinks, tables, routes and rules that the configuration needs
    Plan {
        #[command(flatten)]
        selected: Selected,
        #[command(flatten)]
        json: Json,
    },
    /// Compare the kernel's routes and rules with the configuration; exit code 1 if they differ
    Status {
        #[command(flatten)]
        selected: Selected,
        #[command(flatten)]
        json: Json,
    },
    /// Find what breaks symmetric routing; sends no packet
    Check {
        #[command(flatten)]
        arguments: CheckArguments,
    },
    /// Watch packets of the uplinks, and find asymmetry in them; exit code 1 if there is any
    Observe {
        #[command(flatten)]
        arguments: ObserveArguments,
    },
    /// Show which rule and route a packet takes; exit code 1 when there is none
    Explain {
        #[command(flatten)]
        arguments: ExplainArguments,
    },
}

impl Command {
    /// The name of a command that reads or changes the running kernel.
    fn on_running_system(&self) -> Option<&'static str> {
        match self {
            Command::Config { .. } | Command::Plan { .. } => None,
            Command::Up { .. } => Some("up"),
            Command::Down { .. } => Some("down"),
            Command::Apply { .. } => Some("apply"),
            Command::Flush { .. } => Some("flush"),
            Command::Watch => Some("watch"),
            Command::Hook { .. } => Some("hook"),
            Command::Status { .. } => Some("status"),
            Command::Check { .. } => Some("check"),
            Command::Explain { .. } => Some("explain"),
            Command::Observe { .. } => Some("observe"),
        }
    }
}

/// The commands by what they are for; whatever is in no group comes last.
const GROUPS: [(&str, &[&str]); 2] = [
    ("Inspect (changes nothing)", &["status", "check", "explain", "observe", "plan", "config"]),
    ("Configure", &["apply", "up", "down", "flush", "watch"]),
];

/// The command line, with help that lists the commands by group.
pub fn command() -> clap::Command {
    let command = Arguments::command();
    let mut groups = String::new();
    for (title, names) in GROUPS {
        groups += &format!("{title}:\n");
        for subcommand in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            groups += &format!("  {:<8} {about}\n", subcommand.get_name());
        }
        groups.push('\n');
    }
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}");
    command.help_template(template)
}

/// The same with the ids of findings as values, for the completions of shells.
pub fn command_for_completions() -> clap::Command {
    let ids: Vec<&str> = ids().collect();
    let with_list = ids.iter().copied().chain(["list"]).collect::<Vec<_>>();
    command().mut_subcommand("check", |check| {
        let check = check.mut_arg("explain", |argument| argument.value_parser(PossibleValuesParser::new(with_list)));
        check.mut_arg("ignore", |argument| argument.value_parser(PossibleValuesParser::new(ids)))
    })
}

/// `explain ADDR from ADDR iif DEV`, as `ip route get` takes it, is the same with `--`.
fn with_dashes(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const WORDS: [&str; 9] = ["to", "from", "iif", "oif", "mark", "uid", "ipproto", "sport", "dport"];
    let mut out: Vec<OsString> = Vec::new();
    let (mut is_explain, mut is_value) = (false, false);
    for argument in arguments {
        let text = argument.to_string_lossy().into_owned();
        if is_explain && !is_value && WORDS.contains(&&*text) {
            out.push(format!("--{text}").into());
            is_value = true;
            continue;
        }
        if is_explain && !is_value && text.parse::<IpAddr>().is_ok() {
            out.push("--to".into());
        }
        is_value = is_explain && text.strip_prefix("--").is_some_and(|word| WORDS.contains(&word));
        is_explain |= text == "explain";
        out.push(argument);
    }
    out
}

pub fn main() -> Exit {
    // ifupdown's hooks run this for each interface at boot. To build the parser would be a third of their work.
    if std::env::args_os().skip(1).eq(["hook"]) {
        let done = hook(&Common::default(), HookArguments::default(), DryRun::default());
        return exit("symroute", done, Exit::No);
    }
    by_arguments()
}

/// Its frame is several pages of the stack, which a hook need not touch.
#[inline(never)]
fn by_arguments() -> Exit {
    let matches = command().get_matches_from(with_dashes(std::env::args_os()));
    let Arguments { command, common } = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let event = matches!(command, Command::Up { .. } | Command::Down { .. } | Command::Hook { .. });
    exit("symroute", run(command, &common), if event { Exit::No } else { Exit::Error })
}

fn run(command: Command, common: &Common) -> Result<Exit> {
    if let (Some(name), false) = (command.on_running_system(), common.root.as_os_str() == "/") {
        bail!("'{name}' works on the running system; --root is supported by 'config', 'plan' and symroute-gen");
    }
    match command {
        Command::Hook { arguments, dry_run } => hook(common, arguments, dry_run),
        Command::Up { names, dry_run } => up_or_down(Direction::Up, &names, common, dry_run),
        Command::Down { names, dry_run } => up_or_down(Direction::Down, &names, common, dry_run),
        Command::Apply { dry_run } => apply(common, dry_run),
        Command::Flush { dry_run } => flush(common, dry_run),
        Command::Watch => watch(common).context("watch"),
        Command::Config { json } => config(common, json),
        Command::Plan { selected, json } => plan(common, &selected, json),
        Command::Status { selected, json } => status(common, &selected, json),
        Command::Check { arguments } => check(common, &arguments),
        Command::Explain { arguments } => explain(common, &arguments),
        Command::Observe { arguments } => observe(common, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explain_takes_the_words_of_ip_route_get() {
        let given = |line: &str| {
            with_dashes(line.split(' ').map(OsString::from))
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            given("symroute explain 203.0.113.190 from 198.51.100.10 iif eth0"),
            "symroute explain --to 203.0.113.190 --from 198.51.100.10 --iif eth0"
        );
        assert_eq!(
            given("symroute -v explain to 2001:db8::1 oif from --json"),
            "symroute -v explain --to 2001:db8::1 --oif from --json"
        );
        assert_eq!(
            given("symroute explain --to 192.0.2.1 --from 192.0.2.2"),
            "symroute explain --to 192.0.2.1 --from 192.0.2.2"
        );
        assert_eq!(given("symroute up from to"), "symroute up from to");
    }

    #[test]
    fn a_hook_without_options_needs_no_parser() {
        let Arguments { command, common } = Arguments::parse_from(["symroute", "hook"]);
        assert_eq!(common, Common::default());
        let Command::Hook { arguments, dry_run } = command else { panic!("{command:?}") };
        assert_eq!(format!("{arguments:?}"), format!("{:?}", HookArguments::default()));
        assert_eq!(dry_run.dry_run, DryRun::default().dry_run);
    }

    #[test]
    fn help_has_every_command_once() {
        let help = command().render_help().to_string();
        for subcommand in Arguments::command().get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let lines = help.lines().filter(|line| line.split_whitespace().next() == Some(subcommand.get_name()));
            assert_eq!(lines.count(), 1, "{}: {help}", subcommand.get_name());
        }
    }
}
