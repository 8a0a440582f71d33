//! The program `symroute-gen`: writes the plan into the interfaces file, or takes it out again.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{CommandFactory, Parser, ValueEnum};
use serde_json::json;

use super::common::{Color, Exit, INTERFACES, exit, print, print_diagnostics, print_error, print_json};
use crate::commands::tables::Names;
use crate::handwritten::lint_with;
use crate::interfaces::{Config, Diagnostic, Dialect, Files, Severity, reason};
use crate::netlink::{self, Socket};
use crate::network::MAIN;
use crate::policy::{Plan, plan};
use crate::report;
use crate::rewrite::kept::{self, Kind};
use crate::rewrite::template::{self, Template};
use crate::rewrite::verify::verify;
use crate::rewrite::{Change, diff, rewrite};
use crate::sort::sort_by_key;
use crate::system::configuration::Configuration;
use crate::system::files::{Root, read_bounded};
use crate::system::store;
use crate::uplinks::{self, Selection, find};

/// As Makefile and package install it.
const IF_UP_HOOK: &str = "/etc/network/if-up.d/symroute";

/// Write symmetric routing into /etc/network/interfaces
///
/// Finds the uplinks in the file and adds lines to each stanza, between two marker comments: replies then leave through
/// the uplink that the connection came in through. Without an option, shows the plan and the change and writes nothing.
#[derive(Debug, Parser)]
#[command(
    name = "symroute-gen",
    version,
    max_term_width = 80,
    after_help = "Exit codes: 0 done or nothing to do, 1 with --check: a write would change something, 2 error."
)]
pub struct Arguments {
    /// The interfaces file; - filters standard input to standard output
    #[arg(default_value = INTERFACES, value_name = "FILE")]
    file: PathBuf,
    /// Write the change
    #[arg(short, long, conflicts_with = "check")]
    write: bool,
    /// Write nothing; exit code 1 when a write would change something
    #[arg(short, long)]
    check: bool,
    /// Remove all blocks
    #[arg(short, long)]
    remove: bool,
    /// Style of the lines [default: that of the file, or iproute2]
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// Use this minijinja template for the lines
    #[arg(long, value_name = "FILE", conflicts_with = "style")]
    template: Option<PathBuf>,
    /// Layout of the rules [default: that of the file, or layered]
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Work on another root directory (an image, a chroot)
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Syntax of the file [default: that of the installed ifup]
    #[arg(long, value_enum)]
    dialect: Option<Dialect>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Use colors: on a terminal, always, or never
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, hide_possible_values = true)]
    color: Color,
    /// Show the whole plan with all routes and rules
    #[arg(short, long)]
    verbose: bool,
    /// Print only JSON and errors; the exit code is the result
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Style {
    /// 'ip' commands that are safe to run twice
    Iproute2,
    /// 'ip' commands in the order of the article; with --layout article, exactly the article's lines
    Article,
    /// Only 'metric' lines; the hooks add routes and rules
    Hook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// Specific routes of the main table (LAN, VPN) first, then the uplink's gateway
    Layered,
    /// One rule for each address, as in the article
    Article,
}

/// The command line.
pub fn command() -> clap::Command {
    Arguments::command()
}

pub fn main() -> Exit {
    exit("symroute-gen", run(&Arguments::parse()), Exit::Error)
}

fn run(arguments: &Arguments) -> Result<Exit> {
    let filter = arguments.file.as_os_str() == "-";
    let configuration = if filter {
        read_standard_input(arguments)?
    } else {
        Configuration::read(&arguments.root, &arguments.file, arguments.dialect)
    };
    let plan = planned(arguments, &configuration);
    let quiet = arguments.quiet || arguments.json;
    let of_plan = plan.diagnostics.iter().chain(&plan.clashes).filter(|_| !arguments.remove);
    let markers = configuration.config.files.iter().flat_map(|file| &file.stray_markers);
    let mut all: Vec<&Diagnostic> = configuration.config.diagnostics.iter().chain(markers).chain(of_plan).collect();
    sort_by_key(&mut all, |diagnostic| diagnostic.location);
    let failed = all.iter().any(|d| d.severity == Severity::Error);
    print_diagnostics(
        arguments.color,
        &configuration,
        all.iter().copied().filter(|d| !quiet || failed && d.severity == Severity::Error),
    );
    if failed {
        if arguments.json {
            print_json(&json!({
                "files": [], "plan": report::plan_json(&plan, &Selection::default(), &configuration.config, &configuration.root),
            }))?;
        }
        print_error("symroute-gen: nothing was written\n");
        return Ok(Exit::Error);
    }

    let template = match arguments.remove {
        true => None,
        false => Some(template(arguments, &configuration.config)?),
    };
    let mut changes = match rewrite(&configuration.config, &plan, template.as_ref())? {
        Ok(changes) => changes,
        Err(errors) => {
            print_diagnostics(arguments.color, &configuration, &errors);
            bail!("nothing was written");
        }
    };
    verify(&changes, configuration.config.dialect)?;
    if filter {
        return answer_filter(arguments, &configuration, &mut changes);
    }
    if arguments.write {
        store::write(&configuration.root, &changes).context("nothing was written")?;
    }
    let reported = report(arguments, &configuration, &plan, &changes);
    // The files are written; a failing standard output does not change the exit code.
    if !arguments.write && !arguments.check {
        reported?;
    }
    Ok(if arguments.check && !changes.is_empty() { Exit::No } else { Exit::Yes })
}

/// The plan of the files, beside the numbers that other programs use.
fn planned(arguments: &Arguments, configuration: &Configuration) -> Plan {
    let layout = arguments.layout.map(|layout| match layout {
        Layout::Layered => uplinks::Layout::Layered,
        Layout::Article => uplinks::Layout::Article,
    });
    let found = find(&configuration.config, None, &[], &configuration.names);
    // For the host's own file, the running kernel has the numbers that other programs use.
    let own = arguments.root.as_os_str() == "/" && arguments.file == Path::new(INTERFACES);
    let snapshot = if own { Socket::open().and_then(|mut socket| netlink::snapshot(&mut socket)).ok() } else { None };
    // Current routes of the main table are for the hooks: lines depend on the files only.
    let snapshot = snapshot.map(|mut snapshot| {
        snapshot.routes.retain(|route| route.table != MAIN);
        snapshot
    });
    let may_be_manual = found.may_be_manual;
    let mut plan = plan(found, snapshot.as_ref(), &configuration.names, layout);
    let in_use = plan.in_use(snapshot.as_ref());
    if may_be_manual {
        plan.diagnostics.extend(lint_with(&configuration.config, &configuration.names, &in_use));
    }
    plan
}

fn read_standard_input(arguments: &Arguments) -> Result<Configuration> {
    if arguments.write {
        bail!("--write and '-' cannot be combined: '-' writes to standard output");
    }
    let bytes = read_bounded(io::stdin().lock()).context("cannot read standard input")?;
    let root = Root::new(&arguments.root);
    let names = Names::read(&root);
    // Relative includes are looked for where the file would be.
    let dialect = arguments.dialect.unwrap_or_else(|| Dialect::installed(&root));
    Ok(Configuration { config: Config::parse(Path::new(INTERFACES), bytes, &root, dialect), root, names })
}

/// What was asked for, or else what the blocks of the file were made from.
fn template(arguments: &Arguments, config: &Config) -> Result<Template> {
    if let Some(path) = &arguments.template {
        return read_template(path);
    }
    let style = match (arguments.style, kept::kind(config)) {
        (Some(Style::Iproute2), _) => "iproute2",
        (Some(Style::Article), _) => "article",
        (Some(Style::Hook), _) => "hook",
        (None, Some(Kind::Style(style))) => style,
        (None, Some(Kind::Template { path, .. })) => {
            return read_template(&path).context(
                "the blocks in the file were made from this template; set another one with --template or --style",
            );
        }
        (None, None) => "iproute2",
    };
    template::style(style)
}

fn read_template(path: &Path) -> Result<Template> {
    let source = std::fs::read_to_string(path).map_err(|error| anyhow!("{}", reason(&error)));
    let template =
        Template::new(&path.display().to_string(), source.with_context(|| format!("cannot read {}", path.display()))?)?;
    let absolute = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    // Its name becomes part of a comment.
    match absolute.to_str().filter(|path| !path.contains(char::is_control)) {
        Some(path) => Ok(template.named(path)),
        None => bail!("the path of template {} contains characters that are invalid in a comment", path.display()),
    }
}

/// Standard output is the filtered text and nothing else.
fn answer_filter(arguments: &Arguments, configuration: &Configuration, changes: &mut Vec<Change>) -> Result<Exit> {
    let Some(top) = configuration.config.files.first() else { return Ok(Exit::Error) };
    let at = changes.iter().position(|change| std::ptr::eq(change.file, top));
    let change = at.map(|at| changes.remove(at));
    for other in changes {
        print_error(&format!(
            "symroute-gen: {} needs changes too, but '-' prints only the file from standard input\n",
            other.file.path.display()
        ));
    }
    if arguments.check {
        return Ok(if change.is_some() { Exit::No } else { Exit::Yes });
    }
    match change {
        Some(change) => print(change.new_parts().collect::<Vec<_>>().concat())?,
        None => print(top.document.bytes())?,
    }
    Ok(Exit::Yes)
}

/// What becomes of the routes and rules of blocks that are removed while their interfaces are up.
fn removed(config: &Config, hooks: bool) -> String {
    let next = match (kept::kind(config), hooks) {
        (Some(Kind::Style("article")), _) => {
            "Remove them manually: lines of the style 'article' are not tagged with protocol 97. 'ip rule' lists them."
        }
        (_, true) => {
            "The hooks are installed: the next 'ifup' adds them again. To remove them permanently, add 'symroute no' \
             to the stanzas, then run 'symroute apply'."
        }
        (_, false) => "'ifdown' no longer removes them. Remove them: 'symroute flush'.",
    };
    format!("Active interfaces keep their routes and rules. {next}\n")
}

fn report(arguments: &Arguments, configuration: &Configuration, plan: &Plan, changes: &[Change]) -> Result<()> {
    let shown = |change: &Change| configuration.root.locate(&change.file.path).display().to_string();
    if arguments.json {
        let files = changes.iter().map(|change| {
            json!({"path": shown(change), "written": arguments.write, "diff": diff(std::slice::from_ref(change))})
        });
        let plan = report::plan_json(plan, &Selection::default(), &configuration.config, &configuration.root);
        return print_json(&json!({"files": serde_json::Value::from_iter(files), "plan": plan}));
    }
    if arguments.quiet {
        return Ok(());
    }
    let mut text = String::new();
    if !arguments.remove {
        text += &if arguments.verbose {
            report::plan_text(plan, &Selection::default())
        } else {
            report::summary(plan, &Selection::default())
        };
        text.push('\n');
    }
    let end = match (changes.is_empty(), arguments.write) {
        (true, _) if arguments.remove => "Nothing to remove: the file has no block.\n".to_string(),
        (true, _) if plan.managed.is_empty() => "Nothing to write.\n".to_string(),
        (true, _) => "Nothing to write: the file is up to date.\n".to_string(),
        (false, false) => {
            let option = if arguments.remove { "--remove --write" } else { "--write" };
            text += &diff(changes);
            format!("\nNothing was written. To write this, run 'symroute-gen {option}'.\n")
        }
        (false, true) => {
            for change in changes {
                text += &format!("Wrote {}.\n", shown(change));
            }
            if arguments.remove {
                removed(&configuration.config, configuration.root.exists(Path::new(IF_UP_HOOK)))
            } else {
                "The change takes effect at the next 'ifup'. To apply it now without taking interfaces down, run \
                 'symroute apply'.\n"
                    .to_string()
            }
        }
    };
    print(text + &end)
}
