//! The program `symroute-gen`: writes the plan into the interfaces file, or takes it out again.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, ValueEnum};
use serde_json::json;

use super::{Exit, Loaded, exit, say, say_error, say_json};
use crate::files::{Root, read_bounded};
use crate::interfaces::{Config, Diagnostic, Dialect, Failure, Files, Severity, reason};
use crate::kernel::{self, Socket};
use crate::policy::{Plan, plan};
use crate::report;
use crate::rewrite::kept::{self, Kind};
use crate::rewrite::template::{self, Template};
use crate::rewrite::{Change, diff, rewrite, store};
use crate::snapshot::MAIN;
use crate::tables::Names;
use crate::uplinks::handwritten::judge_beside;
use crate::uplinks::{self, find};

const USUAL: &str = "/etc/network/interfaces";

/// Write symmetric routing into /etc/network/interfaces
///
/// Finds the uplinks in the file and gives each stanza the lines that route its answers through its own
/// gateway, between two marker comments. Without an option it shows the plan and the change and writes nothing.
#[derive(Debug, Parser)]
#[command(
    name = "symroute-gen",
    version,
    after_help = "Exit codes: 0 done or nothing to do, 1 with --check: a write would change something, 2 could not."
)]
pub struct Arguments {
    /// The interfaces file; - filters standard input to standard output
    #[arg(default_value = USUAL, value_name = "FILE")]
    file: PathBuf,
    /// Write the change
    #[arg(short, long, conflicts_with = "check")]
    write: bool,
    /// Write nothing; the exit code says whether a write would change something
    #[arg(short, long)]
    check: bool,
    /// Take every block out instead
    #[arg(short, long)]
    remove: bool,
    /// The kind of lines; without it, the kind that the file has, or else iproute2
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// Make the lines from this minijinja template instead
    #[arg(long, value_name = "FILE", conflicts_with = "style")]
    template: Option<PathBuf>,
    /// The kind of rules; without it, the kind that the file has, or else layered
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Work on another root directory (an image, a chroot)
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Read the file as this ifup does, instead of the one that dpkg says is installed
    #[arg(long, value_enum)]
    dialect: Option<Dialect>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show the whole plan with all routes and rules
    #[arg(short, long)]
    verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Style {
    /// 'ip' commands that are safe to run twice
    Iproute2,
    /// 'ip' commands as in the article, in its order; with --layout article, its own lines
    Article,
    /// Only 'metric' where it is needed: the hooks do the rest
    Hook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// Own subnet, then LAN and VPN routes, then the uplink's gateway
    Layered,
    /// One rule for each address, as in the article
    Article,
}

pub fn main() -> std::process::ExitCode {
    exit("symroute-gen", run(&Arguments::parse()), Exit::CouldNot)
}

fn run(arguments: &Arguments) -> Result<Exit> {
    let filter = arguments.file.as_os_str() == "-";
    let loaded = if filter {
        read_standard_input(arguments)?
    } else {
        Loaded::read(&arguments.root, &arguments.file, arguments.dialect)
    };
    let layout = arguments.layout.map(|layout| match layout {
        Layout::Layered => uplinks::Layout::Layered,
        Layout::Article => uplinks::Layout::Article,
    });
    let found = find(&loaded.config, None, &[], &loaded.names);
    // On the host's own file, the running kernel tells which numbers others use.
    let own = arguments.root.as_os_str() == "/" && arguments.file == Path::new(USUAL);
    let snapshot = if own { Socket::open().and_then(|mut socket| kernel::snapshot(&mut socket)).ok() } else { None };
    // What main has now is for the hooks: lines stand for what the files tell, at every start of the host.
    let snapshot = snapshot.map(|mut snapshot| {
        snapshot.routes.retain(|route| route.table != MAIN);
        snapshot
    });
    let mut plan = plan(found, snapshot.as_ref(), &loaded.names, layout);
    let priorities = plan.priorities(snapshot.as_ref());
    plan.diagnostics.extend(judge_beside(&loaded.config, &loaded.names, &priorities));

    let quiet = arguments.quiet || arguments.json;
    let of_plan = plan.diagnostics.iter().chain(&plan.clashes).filter(|_| !arguments.remove);
    let markers = loaded.config.files.iter().flat_map(|file| &file.stray_markers);
    let mut all: Vec<&Diagnostic> = loaded.config.diagnostics.iter().chain(markers).chain(of_plan).collect();
    all.sort_by_key(|diagnostic| diagnostic.at);
    let failed = all.iter().any(|d| d.severity == Severity::Error);
    loaded.complain(all.iter().copied().filter(|d| !quiet || failed && d.severity == Severity::Error));
    if failed {
        if arguments.json {
            say_json(&json!({
                "files": [], "plan": report::plan_json(&plan, &loaded.config, &loaded.root),
            }))?;
        }
        say_error("symroute-gen: nothing was written\n");
        return Ok(Exit::CouldNot);
    }

    let template = match arguments.remove {
        true => None,
        false => Some(template(arguments, &loaded.config)?),
    };
    let mut changes = match rewrite(&loaded.config, &plan, template.as_ref())? {
        Ok(changes) => changes,
        Err(wrong) => {
            loaded.complain(&wrong);
            bail!("nothing was written");
        }
    };
    verify(&loaded, &changes)?;
    if filter {
        return answer_filter(arguments, &loaded, &mut changes);
    }
    if arguments.write {
        store::write(&loaded.root, &changes).context("nothing was written")?;
    }
    let reported = report(arguments, &loaded, &plan, &changes);
    // What is done is done, and what the exit code says is said.
    if !arguments.write && !arguments.check {
        reported?;
    }
    Ok(if arguments.check && !changes.is_empty() { Exit::No } else { Exit::Yes })
}

fn read_standard_input(arguments: &Arguments) -> Result<Loaded> {
    if arguments.write {
        bail!("'-' writes to standard output already; leave --write out");
    }
    let bytes = read_bounded(io::stdin().lock()).context("cannot read standard input")?;
    let root = Root::new(&arguments.root);
    let names = Names::read(&root);
    // Relative includes are looked for where the file would be.
    let dialect = arguments.dialect.unwrap_or_else(|| Dialect::installed(&root));
    Ok(Loaded { config: Config::parse(Path::new(USUAL), bytes, &root, dialect), root, names })
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
                "the blocks of the file were made from a template of yours; give another one with --template, or a --style",
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
        None => bail!("the name of the template {} has characters that do not fit into a comment", path.display()),
    }
}

/// Standard output is the filtered text and nothing else.
fn answer_filter(arguments: &Arguments, loaded: &Loaded, changes: &mut Vec<Change>) -> Result<Exit> {
    let Some(top) = loaded.config.files.first() else { return Ok(Exit::CouldNot) };
    let at = changes.iter().position(|change| change.path == top.path);
    let change = at.map(|at| changes.remove(at));
    for other in changes {
        say_error(&format!(
            "symroute-gen: {} needs lines too; only standard input is filtered\n",
            other.path.display()
        ));
    }
    if arguments.check {
        return Ok(if change.is_some() { Exit::No } else { Exit::Yes });
    }
    say(change.as_ref().map_or(top.document.bytes(), |change| &change.new))?;
    Ok(Exit::Yes)
}

/// The files as they are about to be.
struct Overlay<'a> {
    root: &'a Root,
    changes: &'a [Change],
}

impl Files for Overlay<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.changes.iter().find(|change| change.path == path) {
            Some(change) => Ok(change.new.clone()),
            None => self.root.read(path),
        }
    }

    fn expand(&self, argument: &[u8]) -> Result<Vec<PathBuf>, Failure> {
        self.root.expand(argument)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Vec<u8>>> {
        self.root.list(directory)
    }

    fn exists(&self, path: &Path) -> bool {
        self.root.exists(path)
    }

    fn shown(&self, path: &Path) -> PathBuf {
        self.root.shown(path)
    }
}

/// Reads the result before it is written: it must be accepted, and differ in our lines alone.
fn verify(loaded: &Loaded, changes: &[Change]) -> Result<()> {
    let Some(top) = loaded.config.files.first() else { return Ok(()) };
    let overlay = Overlay { root: &loaded.root, changes };
    let bytes =
        changes.iter().find(|change| change.path == top.path).map_or(top.document.bytes(), |change| &change.new);
    let after = Config::parse(&top.path, bytes.to_vec(), &overlay, loaded.config.dialect);
    let own = |config: &Config| -> Vec<_> {
        let stanza = |stanza: &crate::interfaces::Stanza| {
            let options = stanza.own_options().into_iter().map(|option| (option.name, option.value));
            (stanza.interface.clone(), stanza.family, stanza.method.clone(), options.collect::<Vec<_>>())
        };
        config.stanzas.iter().map(stanza).collect()
    };
    if after.refused() || after.lists != loaded.config.lists || own(&after) != own(&loaded.config) {
        bail!(
            "the result would not be read as the same configuration; nothing was written. This is a defect of symroute-gen"
        );
    }
    Ok(())
}

fn report(arguments: &Arguments, loaded: &Loaded, plan: &Plan, changes: &[Change]) -> Result<()> {
    let shown = |change: &Change| loaded.root.locate(&change.path).display().to_string();
    if arguments.json {
        let files = changes.iter().map(|change| {
            json!({"path": shown(change), "written": arguments.write, "diff": diff(std::slice::from_ref(change))})
        });
        let plan = report::plan_json(plan, &loaded.config, &loaded.root);
        return say_json(&json!({"files": serde_json::Value::from_iter(files), "plan": plan}));
    }
    if arguments.quiet {
        return Ok(());
    }
    let mut text = String::new();
    if !arguments.remove {
        text += &if arguments.verbose { report::plan_text(plan) } else { report::summary(plan) };
        text.push('\n');
    }
    let end = match (changes.is_empty(), arguments.write) {
        (true, _) if arguments.remove => "Nothing to take out: there is no block in it.\n".to_string(),
        (true, _) if plan.managed.is_empty() => "Nothing to write.\n".to_string(),
        (true, _) => "Nothing to write: the file has it all.\n".to_string(),
        (false, false) => {
            let option = if arguments.remove { "--remove --write" } else { "--write" };
            text += &diff(changes);
            format!("\nNothing was written. 'symroute-gen {option}' writes this.\n")
        }
        (false, true) => {
            for change in changes {
                text += &format!("Wrote {}.\n", shown(change));
            }
            if arguments.remove {
                "What is up keeps its routes and rules until it goes down; 'symroute flush' removes them now.\n"
                    .to_string()
            } else {
                "It takes effect at the next 'ifup'. For what is up now: 'symroute apply', no interface goes down.\n"
                    .to_string()
            }
        }
    };
    say(text + &end)
}
