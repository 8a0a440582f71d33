//! What has been seen so far: the counts of the capture program, with a cause for each kind of flow.

use std::collections::HashMap;

use super::cause::Cause;
use super::flows::LinkCount;
use super::kinds::{Count, Kind};
use super::lines::{Event, Totals};
use super::links::{Index, Observed};

/// A kind of flow, with its counts and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub count: Count,
    pub cause: Cause,
}

impl Entry {
    pub fn is_fault(&self) -> bool {
        self.count.flows + self.count.packets > 0 && self.cause.is_fault(self.kind.verdict)
    }
}

#[derive(Debug, Default)]
pub struct Seen {
    /// The names of all links that have been observed.
    pub names: HashMap<Index, String>,
    pub uplinks: Vec<Index>,
    pub entries: Vec<Entry>,
    pub links: HashMap<Index, LinkCount>,
    pub totals: Totals,
    pub file_failed: Option<String>,
    /// Counts of earlier capture programs: each begins at 0.
    before: Before,
}

#[derive(Debug, Default)]
struct Before {
    counts: HashMap<Kind, Count>,
    links: HashMap<Index, LinkCount>,
    totals: Totals,
}

impl Seen {
    /// A capture program begins.
    pub fn begin(&mut self, observed: &Observed) {
        self.names.extend(observed.links.iter().map(|link| (link.index, link.name.clone())));
        for link in observed.links.iter().filter(|link| link.is_uplink) {
            if !self.uplinks.contains(&link.index) {
                self.uplinks.push(link.index);
            }
        }
        self.before = Before {
            counts: self.entries.iter().map(|entry| (entry.kind, entry.count)).collect(),
            links: self.links.clone(),
            totals: self.totals,
        };
    }

    /// Takes in events. `cause` is called for each new kind. Returns the places of new entries.
    ///
    /// # Errors
    /// Those of `cause`.
    pub fn take<E>(
        &mut self,
        events: Vec<Event>,
        mut cause: impl FnMut(&Kind, &Count) -> Result<Cause, E>,
    ) -> Result<Vec<usize>, E> {
        let mut new = Vec::new();
        for event in events {
            match event {
                Event::Kind(kind, count) => {
                    let count = match self.before.counts.get(&kind) {
                        Some(before) => added(before, &count),
                        None => count,
                    };
                    match self.entries.iter_mut().find(|entry| entry.kind == kind) {
                        Some(entry) => entry.count = count,
                        None => {
                            new.push(self.entries.len());
                            self.entries.push(Entry { kind, count, cause: cause(&kind, &count)? });
                        }
                    }
                }
                Event::Link(index, count) => {
                    let before = self.before.links.get(&index).copied().unwrap_or_default();
                    self.links.insert(index, summed(before, count));
                }
                Event::Totals(totals) => self.totals = totalled(self.before.totals, totals),
                Event::FileFailed(why) => self.file_failed = Some(why),
                Event::Ready | Event::Done => {}
            }
        }
        Ok(new)
    }

    pub fn faults(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_fault())
    }

    pub fn name(&self, link: Option<Index>) -> &str {
        link.and_then(|link| self.names.get(&link)).map_or("?", String::as_str)
    }
}

fn added(before: &Count, count: &Count) -> Count {
    Count {
        flows: before.flows + count.flows,
        packets: before.packets + count.packets,
        first: before.first,
        last: count.last,
        example: before.example,
    }
}

fn summed(before: LinkCount, count: LinkCount) -> LinkCount {
    LinkCount {
        came_in: before.came_in + count.came_in,
        answered_here: before.answered_here + count.answered_here,
        answered_elsewhere: before.answered_elsewhere + count.answered_elsewhere,
        unanswered: before.unanswered + count.unanswered,
    }
}

fn totalled(before: Totals, totals: Totals) -> Totals {
    Totals {
        packets: before.packets + totals.packets,
        dropped: before.dropped + totals.dropped,
        malformed: before.malformed + totals.malformed,
        flows_not_fitting: before.flows_not_fitting + totals.flows_not_fitting,
        kinds_not_fitting: before.kinds_not_fitting + totals.kinds_not_fitting,
        written: before.written + totals.written,
    }
}
