//! When to reconcile: after a burst of events, and less often where that does not help. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A burst is over when nothing has come for this long…
const QUIET: Duration = Duration::from_millis(10);
/// …or after this long.
const BURST: Duration = Duration::from_millis(100);
/// After a run that took a second there are this many seconds without one: listing a million routes takes seconds.
const REST: u32 = 9;
/// Another program that removes entries this often within [`MEMORY`] will do it again.
const TOLERATED: usize = 5;
const MEMORY: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest time that an uplink waits if the end of its `ifup` was not seen.
const SKIPPED: Duration = Duration::from_secs(5);
/// Changes for any other reason: at most so many within [`BUSY`] without a pause.
const CHANGES: usize = 20;
const BUSY: Duration = Duration::from_secs(10);

/// How one run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There was nothing to change.
    InSync,
    Changed,
    /// Entries were added again that another program had removed.
    Restored,
}

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The first and the last event since the last run began.
    burst: Option<(Instant, Instant)>,
    /// The end of a rest after a long run.
    rested: Option<Instant>,
    /// The end of a pause.
    paused: Option<Instant>,
    /// A run without an event: the last one failed, or skipped an uplink.
    retry: Option<Instant>,
    restored: VecDeque<Instant>,
    changed: VecDeque<Instant>,
    /// Runs in a row that were too many in too short a time.
    beyond: usize,
    failed: usize,
}

impl Pace {
    pub fn event(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// An event that an administrator has caused, which ends a pause.
    pub fn request(&mut self, now: Instant) {
        self.paused = None;
        self.event(now);
    }

    /// When the next run is due.
    pub fn due(&self) -> Option<Instant> {
        let after_burst = self.burst.map(|(first, last)| (last + QUIET).min(first + BURST));
        let after_burst = after_burst.map(|due| self.paused.map_or(due, |paused| due.max(paused)));
        let due = after_burst.into_iter().chain(self.retry).min()?;
        Some(self.rested.map_or(due, |rested| due.max(rested)))
    }

    /// A run begins, for all events until now.
    pub fn begin(&mut self) {
        self.burst = None;
        self.retry = None;
    }

    /// A run has ended, whose work has begun at `began`. Returns the pause before the next one, if there is one.
    pub fn end(&mut self, ended: Ended, began: Instant, now: Instant) -> Option<Duration> {
        let rest = (now.duration_since(began) * REST).min(LONGEST_PAUSE);
        self.rested = Some(now + rest);
        let pause = self.pause(ended, now);
        self.paused = pause.map(|pause| now + pause);
        pause
    }

    /// The last run failed, as a whole or for one uplink: it is repeated without an event, less and less often.
    pub fn failed(&mut self, now: Instant) {
        self.failed += 1;
        self.retry = Some(now + growing(self.failed));
    }

    /// The last run did not fail. It is repeated if it has skipped an uplink, in case the end of the `ifup` is missed.
    pub fn succeeded(&mut self, has_skipped: bool, now: Instant) {
        self.failed = 0;
        self.retry = has_skipped.then_some(now + SKIPPED);
    }

    fn pause(&mut self, ended: Ended, now: Instant) -> Option<Duration> {
        let is_recent = |within: Duration| move |at: &Instant| now.duration_since(*at) < within;
        self.restored.retain(is_recent(MEMORY));
        self.changed.retain(is_recent(BUSY));
        let (times, tolerated) = match ended {
            Ended::InSync => return None,
            Ended::Restored => {
                self.restored.push_back(now);
                (self.restored.len(), TOLERATED)
            }
            Ended::Changed => {
                self.changed.push_back(now);
                (self.changed.len(), CHANGES + 1)
            }
        };
        // With pauses, fewer runs fit into the time that is remembered.
        let is_beyond = times >= tolerated || self.beyond > 0 && times > 1;
        self.beyond = if is_beyond { self.beyond + 1 } else { 0 };
        is_beyond.then(|| growing(self.beyond))
    }
}

/// 1 s, 2 s, 4 s and so on.
fn growing(times: usize) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_one_run() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(), None);
        pace.event(begin);
        assert_eq!(pace.due(), Some(after(begin, 10)), "a single event");
        pace.event(after(begin, 8));
        assert_eq!(pace.due(), Some(after(begin, 18)));
        (1..40).for_each(|n| pace.event(after(begin, 8 * n)));
        assert_eq!(pace.due(), Some(after(begin, 100)), "events without an end");
        pace.begin();
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn a_long_run_is_followed_by_a_long_rest() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.end(Ended::InSync, begin, after(begin, 500)), None);
        pace.event(after(begin, 501));
        assert_eq!(pace.due(), Some(after(begin, 500 + 4500)));
    }

    /// The pauses after so many runs, one each second.
    fn pauses(ended: Ended, runs: u64) -> Vec<u64> {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let pause =
            |n| pace.end(ended, after(begin, n * 1000), after(begin, n * 1000)).map_or(0, |pause| pause.as_secs());
        (0..runs).map(pause).collect()
    }

    #[test]
    fn pauses_grow_where_a_run_does_not_help() {
        assert_eq!(pauses(Ended::Restored, 12), [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses(Ended::Changed, 30), [0; 30], "one each second");
        assert_eq!(pauses(Ended::InSync, 3), [0; 3]);
    }

    #[test]
    fn a_request_ends_a_pause_and_no_rest() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        (0..12).for_each(|_| _ = pace.end(Ended::Restored, begin, after(begin, 100)));
        pace.event(after(begin, 101));
        assert_eq!(pace.due(), Some(after(begin, 60_100)));
        pace.request(after(begin, 102));
        assert_eq!(pace.due(), Some(after(begin, 1000)));
    }

    #[test]
    fn a_failure_is_repeated_without_an_event_and_delays_none() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        pace.failed(begin);
        assert_eq!(pace.due(), Some(after(begin, 1000)));
        pace.event(after(begin, 10));
        assert_eq!(pace.due(), Some(after(begin, 20)), "another uplink does not wait");
        pace.begin();
        pace.failed(after(begin, 20));
        assert_eq!(pace.due(), Some(after(begin, 2020)));
        pace.begin();
        pace.succeeded(false, after(begin, 2020));
        assert_eq!(pace.due(), None);
        pace.failed(after(begin, 3000));
        assert_eq!(pace.due(), Some(after(begin, 4000)), "the first failure after a success");
        pace.succeeded(true, after(begin, 4000));
        assert_eq!(pace.due(), Some(after(begin, 9000)), "an uplink was skipped");
    }

    #[test]
    fn many_changes_at_once_are_slowed_down() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..22).map(|n| pace.end(Ended::Changed, begin, after(begin, n * 100))).collect();
        assert_eq!(pauses[..20], [None; 20]);
        assert_eq!(pauses[20..], [Some(FIRST_PAUSE), Some(FIRST_PAUSE * 2)]);
        assert_eq!(pace.end(Ended::Changed, begin, after(begin, 60_000)), None);
    }

    #[test]
    fn old_removals_do_not_count() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        (0..9).for_each(|_| _ = pace.end(Ended::Restored, begin, begin));
        let later = begin + MEMORY;
        assert_eq!(pace.end(Ended::Restored, later, later), None);
    }
}
