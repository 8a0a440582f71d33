//! The capture program: reads its order, opens the socket, gives up all privileges, and counts packets until its
//! standard input is closed.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, StdinLock, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::pcap::{self, PcapFile, Written};
use super::privileges;
use super::socket::{PacketSocket, Received};
use crate::observe::filter::{filter, router_filter};
use crate::observe::flows::{Flows, MOST_FLOWS, Sighting};
use crate::observe::lines::{Event, LONGEST, Order, Totals};
use crate::observe::links::{Link, Observed};
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

/// Gives the exit code: 0, or 2 after an error.
pub fn main() -> i32 {
    let Err(error) = run() else { return 0 };
    let _ = writeln!(io::stderr(), "symroute-capture: {error:#}");
    2
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
    let sockets = Sockets::open(&order.observed)?;
    privileges::drop_all()?;
    Capture::new(order, sockets, file).run(&mut input)
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

/// The socket for all links, and those for packets to the wrong one of several gateways on a link.
struct Sockets {
    links: PacketSocket,
    routers: Vec<(IpAddr, PacketSocket)>,
}

impl Sockets {
    fn open(observed: &Observed) -> Result<Self> {
        let links = PacketSocket::open(&filter(observed))?;
        let routers = observed.routers.iter().filter_map(|router| Some((router.address, router_filter(router)?)));
        let open = |(address, filter): (IpAddr, Vec<_>)| Ok((address, PacketSocket::open(&filter)?));
        Ok(Sockets { links, routers: routers.map(open).collect::<Result<_>>()? })
    }

    /// Passes one batch of each to `take`, with the wrong gateway; their number. A request is read before its reply.
    fn receive(&mut self, mut take: impl FnMut(Received, Option<IpAddr>)) -> Result<usize> {
        let mut count = self.links.receive(|received| take(received, None)).context("cannot receive packets")?;
        for (address, socket) in &mut self.routers {
            let of_router = socket.receive(|received| take(received, Some(*address)));
            count += of_router.context("cannot receive packets")?;
        }
        Ok(count)
    }

    fn dropped(&mut self) -> u64 {
        self.links.dropped() + self.routers.iter_mut().map(|(_, socket)| socket.dropped()).sum::<u64>()
    }
}

struct Capture {
    sockets: Sockets,
    counter: Counter,
}

/// What the packets are counted in.
struct Counter {
    links: Vec<Link>,
    flows: Flows,
    file: PcapFile<BufWriter<File>>,
    totals: Totals,
    failed: Option<io::Error>,
}

impl Counter {
    fn take(&mut self, received: Received, router: Option<IpAddr>, time: Duration) {
        let now = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // What is sent to a gateway is a copy of what its link has.
        self.totals.packets += u64::from(router.is_none());
        let Some(packet) = decode(received.bytes) else {
            self.totals.malformed += u64::from(router.is_none());
            return;
        };
        let Received { link, outgoing, bytes } = received;
        let sighting = Sighting { link, outgoing, packet: &packet, now };
        let is_fault = match router {
            Some(router) => self.flows.see_at_router(sighting, router),
            None => self.flows.see(sighting),
        };
        if is_fault && self.file.is_open() {
            let place = self.links.iter().position(|known| known.index == link).unwrap_or(0);
            let written = Written { place, link, outgoing, time, bytes, length: packet.length };
            match self.file.write(&pcap::packet(written)) {
                Ok(()) => self.totals.written += 1,
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

impl Capture {
    fn new(order: Order, sockets: Sockets, file: Option<BufWriter<File>>) -> Self {
        let links = order.observed.links.clone();
        let flows = Flows::new(order.observed, MOST_FLOWS);
        let (file, totals) = (PcapFile::new(file), Totals::default());
        Capture { sockets, counter: Counter { links, flows, file, totals, failed: None } }
    }

    fn run(&mut self, input: &mut StdinLock) -> Result<()> {
        let counter = &mut self.counter;
        counter.failed = counter.file.write(&pcap::head(&counter.links)).err();
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
            let routers = self.sockets.routers.iter().map(|(_, socket)| socket.as_fd());
            let ends = [input.as_fd(), self.sockets.links.as_fd()].into_iter().chain(routers);
            let mut ends: Vec<PollFd> = ends.map(|end| PollFd::new(end, PollFlags::POLLIN)).collect();
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
        let Capture { sockets, counter } = self;
        sockets.receive(|received, router| counter.take(received, router, time))
    }

    /// Writes what has changed, and at the end everything.
    fn report(&mut self, at_end: bool) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Counter { flows, file, totals, failed, .. } = &mut self.counter;
        flows.pass(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), at_end);
        if let Err(error) = file.flush() {
            failed.get_or_insert(error);
        }
        let mut events: Vec<Event> =
            flows.kinds.take_changed().into_iter().map(|(kind, count)| Event::Kind(kind, count)).collect();
        if let Some(error) = failed.take() {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            events.push(Event::FileFailed(errno.desc().to_string()));
        }
        events.extend(flows.links.iter().map(|(index, count)| Event::Link(*index, *count)));
        totals.dropped = self.sockets.dropped();
        totals.flows_not_fitting = flows.not_fitting;
        totals.kinds_not_fitting = flows.kinds.not_fitting;
        events.push(Event::Totals(*totals));
        events.push(Event::Done);
        write(&events)
    }
}

fn write(events: &[Event]) -> Result<()> {
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}
