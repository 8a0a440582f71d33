//! The capture program: reads its order, opens the socket, gives up all privileges, and counts packets until its
//! standard input is closed.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, StdinLock, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::pcap::{self, PcapFile, Written};
use super::privileges;
use super::socket::{PacketSocket, Received};
use crate::observe::filter::filter;
use crate::observe::flows::{Flows, MOST_FLOWS, Sighting};
use crate::observe::lines::{Event, LONGEST, Order, Totals};
use crate::observe::packet::decode;

/// How often counts are written.
const INTERVAL: Duration = Duration::from_millis(250);
/// A pause between two reads: many packets are read at once then, with few system calls. The buffer of the socket holds
/// those of a million packets a second.
const PAUSE: Duration = Duration::from_millis(2);
/// Packets that are read at the end, at most: a link may deliver them faster than the program reads.
const BATCHES_AT_END: usize = 1_000;
/// Batches between two looks at the clock.
const BATCHES: usize = 32;

pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "symroute-capture: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let mut input = io::stdin().lock();
    let order = read_order(&mut input)?;
    let file = order.pcap.map(|descriptor| {
        File::options()
            .append(true)
            .open(format!("/proc/self/fd/{descriptor}"))
            .context("cannot write the file of packets")
    });
    let file = file.transpose()?.map(BufWriter::new);
    let socket = PacketSocket::open(&filter(&order.observed))?;
    privileges::drop_all()?;
    Capture::new(order, socket, file).run(&mut input)
}

fn read_order(input: &mut impl BufRead) -> Result<Order> {
    let mut order = Order::default();
    loop {
        let mut line = String::new();
        let length = input.by_ref().take(LONGEST as u64).read_line(&mut line).context("standard input")?;
        match order.read(&line) {
            Some(true) => return Ok(order),
            Some(false) if length > 0 => {}
            _ => bail!("this program is started by 'symroute observe' and 'symroute check --traffic'"),
        }
    }
}

struct Capture {
    order: Order,
    socket: PacketSocket,
    flows: Flows,
    file: PcapFile<BufWriter<File>>,
    totals: Totals,
    failed: Option<io::Error>,
}

impl Capture {
    fn new(order: Order, socket: PacketSocket, file: Option<BufWriter<File>>) -> Self {
        let flows = Flows::new(order.observed.clone(), MOST_FLOWS);
        let (file, totals) = (PcapFile::new(file), Totals::default());
        Capture { order, socket, flows, file, totals, failed: None }
    }

    fn run(&mut self, input: &mut StdinLock) -> Result<()> {
        self.failed = self.file.write(&pcap::head(&self.order.observed.links)).err();
        write(&[Event::Ready])?;
        let mut next = Instant::now() + INTERVAL;
        while !self.wait(input, next)? {
            for _ in 0..BATCHES {
                if self.receive()? == 0 {
                    sleep(PAUSE);
                    break;
                }
            }
            if Instant::now() >= next {
                self.report(false)?;
                next = Instant::now() + INTERVAL;
            }
        }
        for _ in 0..BATCHES_AT_END {
            if self.receive()? == 0 {
                break;
            }
        }
        self.report(true)
    }

    /// Waits for packets. True at the end of standard input.
    fn wait(&self, input: &mut StdinLock, until: Instant) -> Result<bool> {
        let left = TimeSpec::from_duration(until.saturating_duration_since(Instant::now()));
        let is_closed = {
            let ends = [input.as_fd(), self.socket.as_fd()];
            let mut ends = ends.map(|end| PollFd::new(end, PollFlags::POLLIN));
            match ppoll(&mut ends, Some(left), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
            ends[0].any().unwrap_or(true)
        };
        Ok(is_closed && input.read(&mut [0; 64]).context("standard input")? == 0)
    }

    fn receive(&mut self) -> Result<usize> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Capture { order, socket, flows, file, totals, failed } = self;
        let take = |received: Received| {
            totals.packets += 1;
            let Some(packet) = decode(received.bytes) else {
                totals.malformed += 1;
                return;
            };
            let Received { link, outgoing, bytes } = received;
            let is_fault = flows.see(Sighting { link, outgoing, packet: &packet, now });
            if is_fault && file.is_open() {
                let place = order.observed.links.iter().position(|known| known.index == link).unwrap_or(0);
                let written = Written { place, link, outgoing, time, bytes, length: packet.length };
                match file.write(&pcap::packet(written)) {
                    Ok(()) => totals.written += 1,
                    Err(error) => *failed = Some(error),
                }
            }
        };
        socket.receive(take).context("cannot receive packets")
    }

    /// Writes what has changed, and at the end everything.
    fn report(&mut self, at_end: bool) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.flows.pass(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), at_end);
        if let Err(error) = self.file.flush() {
            self.failed.get_or_insert(error);
        }
        let mut events: Vec<Event> =
            self.flows.kinds.take_changed().into_iter().map(|(kind, count)| Event::Kind(kind, count)).collect();
        if let Some(error) = self.failed.take() {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            events.push(Event::FileFailed(errno.desc().to_string()));
        }
        events.extend(self.flows.links.iter().map(|(index, count)| Event::Link(*index, *count)));
        self.totals.dropped = self.socket.dropped();
        self.totals.flows_not_fitting = self.flows.not_fitting;
        self.totals.kinds_not_fitting = self.flows.kinds.not_fitting;
        events.push(Event::Totals(self.totals));
        events.push(Event::Done);
        write(&events)
    }
}

fn write(events: &[Event]) -> Result<()> {
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}
