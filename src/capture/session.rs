//! A run of the capture program: until its time is over, a signal arrives, or the caller has seen enough. When links,
//! addresses, rules or routes change, another capture program starts: this one has given up the privilege to open
//! another socket.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::child::Child;
use crate::netlink::events::Events;
use crate::observe::lines::{Event, Order};
use crate::observe::links::Observed;

/// After a change in the kernel, further ones are awaited for this time.
const SETTLES: Duration = Duration::from_millis(500);

/// What happens during a run.
pub(crate) enum News<'a> {
    /// A capture program starts to count.
    Begins(&'a Observed),
    /// The counts since it began; they belong together.
    Counts(Vec<Event>),
}

/// What to capture, and how long.
pub(crate) struct Request<'a> {
    pub observed: &'a mut dyn FnMut() -> Result<Observed>,
    pub duration: Option<Duration>,
    /// How often what is observed is computed again, without a change that the kernel reports.
    pub rereads: Option<Duration>,
    pub pcap: Option<&'a File>,
}

/// Runs until the end. `take` returns false when it has seen enough.
///
/// # Errors
/// When the capture program cannot start, or ends by itself.
pub(crate) fn run(request: Request, take: &mut dyn FnMut(News) -> Result<bool>) -> Result<()> {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    // The capture program gets the signals of the terminal, too, and ignores them.
    set.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")?;
    let events = Events::open()?;
    let observed = (request.observed)()?;
    let order = Order { observed, pcap: None };
    let child = Child::start(&order, request.pcap)?;
    let settled = request.rereads.map(|rereads| Instant::now() + rereads);
    let mut session = Session { request, take, events, signals, order, child, until: None, settled, batch: Vec::new() };
    let result = session.run();
    let _ = set.thread_unblock();
    result
}

struct Session<'a, 'b> {
    request: Request<'a>,
    take: &'b mut dyn FnMut(News) -> Result<bool>,
    events: Events,
    signals: SignalFd,
    order: Order,
    child: Child,
    /// The end, once it has begun.
    until: Option<Instant>,
    /// When to read the kernel again.
    settled: Option<Instant>,
    /// Events that belong together.
    batch: Vec<Event>,
}

impl Session<'_, '_> {
    fn run(&mut self) -> Result<()> {
        loop {
            let [is_counted, is_signalled, is_changed] = self.wait()?;
            if is_counted && !self.read()? {
                bail!("the capture program has ended unexpectedly");
            }
            if is_changed {
                self.events.read()?;
                let soon = Instant::now() + SETTLES;
                self.settled = Some(self.settled.map_or(soon, |settled| settled.min(soon)));
            }
            let is_over = |moment: Option<Instant>| moment.is_some_and(|moment| Instant::now() >= moment);
            if is_signalled && self.signals.read_signal().context("signalfd")?.is_some() || is_over(self.until) {
                return self.finish();
            }
            if is_over(self.settled) {
                self.settled = self.request.rereads.map(|rereads| Instant::now() + rereads);
                self.restart()?;
            }
        }
    }

    /// Which of the descriptors can be read: the capture program's, that of signals, and that of the kernel's events.
    fn wait(&self) -> Result<[bool; 3]> {
        let ends = [self.child.as_fd(), self.signals.as_fd(), self.events.as_fd()];
        let mut ends = ends.map(|end| PollFd::new(end, PollFlags::POLLIN));
        let next = [self.until, self.settled].into_iter().flatten().min();
        let left = next.map(|next| next.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        match poll(&mut ends, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(ends.map(|end| end.any().unwrap_or(false))),
            Err(errno) => Err(errno).context("poll"),
        }
    }

    /// Takes in what the capture program has written. False when it has ended.
    fn read(&mut self) -> Result<bool> {
        let Some(events) = self.child.read()? else { return Ok(false) };
        for event in events {
            match event {
                Event::Ready => {
                    // The time runs from the first capture program on.
                    self.until = self.until.or(self.request.duration.map(|duration| Instant::now() + duration));
                    (self.take)(News::Begins(&self.order.observed))?;
                }
                Event::Done => {
                    if !(self.take)(News::Counts(std::mem::take(&mut self.batch)))? {
                        self.until = Some(Instant::now());
                    }
                }
                event => self.batch.push(event),
            }
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<()> {
        self.child.finish();
        while self.read()? {}
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let observed = (self.request.observed)()?;
        if observed != self.order.observed {
            self.finish()?;
            self.order.observed = observed;
            self.child = Child::start(&self.order, self.request.pcap)?;
        }
        Ok(())
    }
}
