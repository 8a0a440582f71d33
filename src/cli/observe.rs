//! `symroute observe`: asymmetry in the packets themselves.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use terminal_size::{Height, terminal_size};

use super::common::{Common, Exit, Selected, print, print_error, width};
use super::examined::Examined;
use crate::capture::session::{News, Request, run};
use crate::check::facts::Facts;
use crate::check::finding::Finding;
use crate::netlink::conntrack::{Behind, behind};
use crate::netlink::sock_diag::binding;
use crate::netlink::{self, Socket};
use crate::network::{Family, Snapshot};
use crate::observe::cause::{Cause, Host, Local, local_ends};
use crate::observe::kinds::{Count, Kind};
use crate::observe::links::Observed;
use crate::observe::seen::{Entry, Seen};
use crate::observe::{select, shares_links};
use crate::policy::Plan;
use crate::report::observe as report;
use crate::system::sockets::program;
use crate::uplinks::Selection;

/// The Ethernet address of a gateway may be unknown at first, and may change.
const NEIGHBOURS: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, clap::Args)]
pub struct ObserveArguments {
    #[command(flatten)]
    selected: Selected,
    /// Stop after this time, such as 30s or 5m [default: at Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Stop at the first asymmetric packet
    #[arg(long)]
    once: bool,
    /// Print one JSON object for each event
    #[arg(long)]
    json: bool,
    /// Write the asymmetric packets to a file that Wireshark and tcpdump read
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// `30`, `30s`, `5m` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number of seconds, or a number with s, m or h".into()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("between one second and 8760 hours".into()),
    }
}

/// The host, as it is when new kinds of flows are seen: it may have changed.
struct Causes<'a> {
    common: &'a Common,
    known: Option<(Examined, Facts, Vec<Finding>)>,
}

impl<'a> Causes<'a> {
    fn new(common: &'a Common) -> Self {
        Causes { common, known: None }
    }

    fn of(&mut self, kind: &Kind, count: &Count) -> Result<Cause> {
        let (examined, facts, findings) = match self.known.take() {
            Some(known) => known,
            None => {
                let examined = Examined::read(self.common)?;
                let (facts, findings) = (examined.facts(), examined.findings());
                (examined, facts, findings)
            }
        };
        let Examined { snapshot, plan, .. } = &examined;
        let host = Host { snapshot, facts: &facts, findings: &findings, uplinks: &plan.uplinks };
        let (protocol, local, remote) = local_ends(kind, count);
        let (forwarded_to, translated_from) = match behind(protocol, local, remote) {
            Some(Behind::To(host)) if kind.is_server => (Some(host), None),
            Some(Behind::From(host)) => (None, Some(host)),
            _ => (None, None),
        };
        let binding = binding(protocol, local, remote, kind.left.unwrap_or_default()).unwrap_or_default();
        let (program, bound_to, mark) = (program(protocol, local, remote), binding.link, binding.mark);
        let cause = host.cause(kind, count, Local { program, forwarded_to, translated_from, bound_to, mark });
        self.known = Some((examined, facts, findings));
        Ok(cause)
    }
}

pub fn observe(common: &Common, arguments: &ObserveArguments) -> Result<Exit> {
    let mut socket = Socket::open()?;
    let configuration = common.read();
    let snapshot = netlink::snapshot(&mut socket)?;
    let plan = configuration.plan(Some(&snapshot), &[]);
    let selection = arguments.selected.of(&plan)?;
    if !plan.uplinks.iter().any(|uplink| uplink.up && selection.has(uplink)) {
        bail!("no uplink is up; 'symroute status' shows why");
    }
    // A file that exists is replaced, so not before a packet can come.
    let pcap = arguments.pcap.as_ref().map(|path| {
        let mut options = OpenOptions::new();
        let open = options.write(true).create(true).truncate(true).mode(0o600);
        open.open(path).with_context(|| format!("cannot write {}", path.display()))
    });
    let pcap = pcap.transpose()?;
    let mut view = View { common, arguments, selection, seen: Seen::default(), lines: 0, has_begun: false };
    let mut observed = || observed(common, &mut socket);
    let (duration, rereads) = (arguments.duration, rereads(&plan, &snapshot));
    let request = Request { observed: &mut observed, duration, rereads, pcap: pcap.as_ref() };
    run(request, &mut |news| view.take(news)).context("observe")?;
    view.end()
}

/// What is wrong with the packets of this time, as findings.
pub(super) fn seen_within(common: &Common, duration: Duration) -> Result<Vec<Finding>> {
    let mut socket = Socket::open()?;
    let mut observed = || observed(common, &mut socket);
    let request = Request { observed: &mut observed, duration: Some(duration), rereads: None, pcap: None };
    let mut seen = Seen::default();
    run(request, &mut |news| {
        match news {
            News::Begins(observed) => seen.begin(observed),
            News::Counts(events) => {
                let mut causes = Causes::new(common);
                seen.take(events, |kind, count| causes.of(kind, count))?;
            }
        }
        Ok(true)
    })?;
    Ok(seen.faults().map(|entry| report::finding(&seen, entry)).collect())
}

fn observed(common: &Common, socket: &mut Socket) -> Result<Observed> {
    let snapshot = netlink::snapshot(socket)?;
    let plan = common.read().plan(Some(&snapshot), &[]);
    let mut neighbours = Vec::new();
    if shares_links(&plan, &snapshot) {
        for family in Family::ALL {
            neighbours.extend(socket.neighbours(family)?);
        }
    }
    Ok(select(&plan, &snapshot, &neighbours))
}

/// How often neighbours are read again, where they are needed.
fn rereads(plan: &Plan, snapshot: &Snapshot) -> Option<Duration> {
    shares_links(plan, snapshot).then_some(NEIGHBOURS)
}

/// What the user sees.
struct View<'a> {
    common: &'a Common,
    arguments: &'a ObserveArguments,
    selection: Selection,
    seen: Seen,
    /// Lines of the last drawing on a terminal.
    lines: usize,
    has_begun: bool,
}

impl View<'_> {
    fn is_redrawn(&self) -> bool {
        !self.arguments.json && !self.common.quiet && io::stdout().is_terminal()
    }

    /// False with `--once`, at the first fault.
    fn take(&mut self, news: News) -> Result<bool> {
        match news {
            News::Begins(observed) => {
                for lost in self.seen.uplinks.iter().filter(|index| self.has_begun && observed.link(**index).is_none())
                {
                    print_error(&format!(
                        "symroute: observe: {} is down or removed; the others are still observed\n",
                        self.seen.name(Some(*lost))
                    ));
                }
                self.seen.begin(observed);
                self.begin()?;
                Ok(true)
            }
            News::Counts(events) => {
                let mut causes = Causes::new(self.common);
                let new = self.seen.take(events, |kind, count| causes.of(kind, count))?;
                self.show(&new)?;
                let has_fault = self.seen.faults().any(|entry| self.is_selected(entry));
                let is_over = is_closed() || self.arguments.once && has_fault;
                Ok(!is_over)
            }
        }
    }

    fn is_selected(&self, entry: &Entry) -> bool {
        let links = [entry.kind.came_in, entry.kind.left];
        let is_family = self.selection.has_family(Family::of(&entry.kind.local));
        is_family && links.iter().flatten().any(|link| self.selection.has_interface(self.seen.name(Some(*link))))
    }

    fn begin(&mut self) -> Result<()> {
        let is_again = std::mem::replace(&mut self.has_begun, true);
        if self.arguments.json {
            return print(format!("{}\n", report::begin_json(&self.seen)));
        }
        if is_again || self.common.quiet {
            return Ok(());
        }
        let names: Vec<&str> = self.seen.uplinks.iter().map(|index| self.seen.name(Some(*index))).collect();
        let until = match self.arguments.duration {
            Some(duration) => format!("for {} s, or until Ctrl-C", duration.as_secs()),
            None => "until Ctrl-C".into(),
        };
        print(format!("Observing {} {until}.\n", names.join(", ")))
    }

    /// Shows new entries, or everything again on a terminal.
    fn show(&mut self, new: &[usize]) -> Result<()> {
        if self.is_redrawn() {
            return self.draw(&fitting(&self.summary()));
        }
        let is_shown = |entry: &&Entry| self.is_selected(entry) && (self.arguments.json || entry.is_fault());
        let new = new.iter().filter_map(|place| Some((*place, self.seen.entries.get(*place)?)));
        for (place, entry) in new.filter(|(_, entry)| is_shown(entry)) {
            match self.arguments.json {
                true => print(format!("{}\n", report::entry_json(&self.seen, entry)))?,
                false if self.common.quiet => {}
                false => {
                    let before: Vec<&Entry> = self.seen.entries[..place].iter().filter(is_shown).collect();
                    match before.len() {
                        ..report::MOST_SHOWN => print(report::entry_text(&self.seen, entry, &before, width()))?,
                        report::MOST_SHOWN => print("Further kinds of flows are counted.\n")?,
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Draws over the last drawing.
    fn draw(&mut self, text: &str) -> Result<()> {
        let erase = if self.lines > 0 { format!("\x1b[{}F\x1b[J", self.lines) } else { String::new() };
        self.lines = text.lines().count();
        print(erase + text)
    }

    fn summary(&self) -> String {
        let entries: Vec<&Entry> = self.seen.faults().filter(|entry| self.is_selected(entry)).collect();
        report::summary_text(&self.seen, &entries, width())
    }

    fn end(&mut self) -> Result<Exit> {
        let is_symmetric = !self.seen.faults().any(|entry| self.is_selected(entry));
        if self.arguments.json {
            for entry in self.seen.entries.iter().filter(|entry| self.is_selected(entry)) {
                print(format!("{}\n", report::entry_json(&self.seen, entry)))?;
            }
            print(format!("{}\n", report::end_json(&self.seen, is_symmetric)))?;
        } else if self.is_redrawn() {
            self.draw(&self.summary())?;
        } else if !self.common.quiet {
            print(format!("\n{}", self.summary()))?;
        }
        Ok(if is_symmetric { Exit::Yes } else { Exit::No })
    }
}

/// The part of a text that fits on the terminal: what has scrolled away cannot be drawn again.
fn fitting(text: &str) -> String {
    let height = terminal_size().map_or(24, |(_, Height(height))| usize::from(height));
    let lines = text.lines().take(height.saturating_sub(1));
    lines.map(|line| line.chars().take(width()).chain(['\n']).collect::<String>()).collect()
}

/// The reader of standard output has ended (`| head`).
fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut ends = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let is_known = poll(&mut ends, PollTimeout::ZERO).is_ok();
    is_known && ends[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text: &str| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("30"), Ok(30));
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("2h"), Ok(7200));
        for invalid in ["", "s", "0", "-1s", "1d", "1.5s", "99999999999999999999h", "8761h"] {
            assert!(seconds(invalid).is_err(), "{invalid}");
        }
    }
}
