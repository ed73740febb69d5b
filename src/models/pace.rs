//! The load that a provider can take, as pure state: concurrent requests, and requests and tokens per minute.
//!
//! Nothing here waits or reads a clock; [`super::limits`] does.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What the end of an attempt says about the load of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// It keeps up.
    Answered,
    /// It failed; a single attempt does not show whether load is the reason.
    Failed,
    /// It reported that it is overloaded.
    Overloaded,
}

/// The limit of concurrent requests: additive increase, multiplicative decrease (Chiu & Jain 1989).
///
/// The limit starts at its maximum. It is halved if the provider reports that it is overloaded, or if more than a quarter
/// of a window failed: isolated failures are no sign of load. It grows by one after each other window. A window has as many
/// attempts as the limit. Attempts that started before the last reduction say nothing about the new limit and are not
/// counted, so that a burst of refusals halves the limit once.
#[derive(Debug)]
pub(super) struct Concurrency {
    limit: usize,
    most: usize,
    cut: Option<Instant>,
    ended: usize,
    failed: usize,
}

impl Concurrency {
    /// A limit that is never above `most` and never below 1.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { limit: most, most, cut: None, ended: 0, failed: 0 }
    }

    /// The current limit.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Counts the end of an attempt that started at `started`.
    pub(super) fn observe(&mut self, signal: Signal, started: Instant, now: Instant) {
        if self.cut.is_some_and(|cut| started < cut) {
            return;
        }
        self.ended += 1;
        self.failed += usize::from(signal == Signal::Failed);
        if signal == Signal::Overloaded {
            self.halve(now);
        } else if self.ended >= self.limit {
            if self.failed * 4 > self.ended {
                self.halve(now);
            } else {
                self.limit = (self.limit + 1).min(self.most);
                self.start_window();
            }
        }
    }

    fn halve(&mut self, now: Instant) {
        self.limit = (self.limit / 2).max(1);
        self.cut = Some(now);
        self.start_window();
    }

    fn start_window(&mut self) {
        self.ended = 0;
        self.failed = 0;
    }
}

const MINUTE: Duration = Duration::from_mins(1);

/// Limits the amount in any minute: everything that was admitted counts for one minute.
///
/// Unlike a token bucket, this never admits more than the limit in any sixty seconds, allows all of it at the same time,
/// and an estimate can be corrected once the actual amount is known.
#[derive(Debug)]
pub(super) struct Window {
    most: u64,
    sum: u64,
    entries: VecDeque<(Instant, u64)>,
    /// The ticket of the oldest entry.
    first: u64,
}

/// Identifies an entry of a [`Window`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

impl Window {
    /// At most `most` in a minute.
    pub(super) fn new(most: u64) -> Self {
        Self { most, sum: 0, entries: VecDeque::new(), first: 0 }
    }

    /// When there will be capacity for `weight`; `None` if there is now. A weight above the limit waits until the window is
    /// empty.
    pub(super) fn full_until(&mut self, weight: u64, now: Instant) -> Option<Instant> {
        while let Some(&(at, old)) = self.entries.front()
            && at + MINUTE <= now
        {
            self.entries.pop_front();
            self.first += 1;
            self.sum -= old;
        }
        let room = self.most.saturating_sub(weight);
        let mut sum = self.sum;
        let mut until = None;
        for &(at, old) in &self.entries {
            if sum <= room {
                break;
            }
            sum -= old;
            until = Some(at + MINUTE);
        }
        until
    }

    /// Admits `weight`.
    pub(super) fn enter(&mut self, weight: u64, now: Instant) -> Ticket {
        self.entries.push_back((now, weight));
        self.sum += weight;
        Ticket(self.first + self.entries.len() as u64 - 1)
    }

    /// Corrects the weight of an admitted entry, if it still counts.
    pub(super) fn settle(&mut self, ticket: Ticket, weight: u64) {
        let Some(index) = ticket.0.checked_sub(self.first) else { return };
        if let Some((_, old)) = usize::try_from(index).ok().and_then(|index| self.entries.get_mut(index)) {
            self.sum = self.sum - *old + weight;
            *old = weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn concurrency_halves_once_for_a_burst_of_refusals_and_again_for_the_next() {
        let start = Instant::now();
        let mut concurrency = Concurrency::new(64);
        for millis in 10..20 {
            concurrency.observe(Signal::Overloaded, start, after(start, millis));
        }
        assert_eq!(concurrency.limit(), 32);
        concurrency.observe(Signal::Overloaded, after(start, 30), after(start, 40));
        assert_eq!(concurrency.limit(), 16);
    }

    #[test]
    fn concurrency_never_falls_below_one() {
        let start = Instant::now();
        let mut concurrency = Concurrency::new(3);
        for millis in 0..10 {
            concurrency.observe(Signal::Overloaded, after(start, millis), after(start, millis));
        }
        assert_eq!(concurrency.limit(), 1);
    }

    #[test]
    fn concurrency_grows_back_by_one_a_window_and_not_above_its_maximum() {
        let start = Instant::now();
        let mut concurrency = Concurrency::new(8);
        concurrency.observe(Signal::Overloaded, start, start);
        assert_eq!(concurrency.limit(), 4);
        for _ in 0..4 {
            concurrency.observe(Signal::Answered, after(start, 1), after(start, 2));
        }
        assert_eq!(concurrency.limit(), 5);
        for _ in 0..100 {
            concurrency.observe(Signal::Answered, after(start, 1), after(start, 2));
        }
        assert_eq!(concurrency.limit(), 8);
    }

    #[test]
    fn what_started_before_a_cut_does_not_help_to_grow_back() {
        let start = Instant::now();
        let mut concurrency = Concurrency::new(8);
        concurrency.observe(Signal::Overloaded, start, after(start, 5));
        for _ in 0..100 {
            concurrency.observe(Signal::Answered, after(start, 4), after(start, 6));
        }
        assert_eq!(concurrency.limit(), 4);
    }

    #[test]
    fn one_failure_in_ten_costs_no_concurrency_and_an_outage_does() {
        let start = Instant::now();
        let mut concurrency = Concurrency::new(64);
        for attempt in 0..640 {
            let signal = if attempt % 10 == 0 { Signal::Failed } else { Signal::Answered };
            concurrency.observe(signal, start, start);
        }
        assert_eq!(concurrency.limit(), 64);
        for _ in 0..64 {
            concurrency.observe(Signal::Failed, start, after(start, 1));
        }
        assert_eq!(concurrency.limit(), 32);
    }

    #[test]
    fn a_minute_holds_no_more_than_its_amount_wherever_it_begins() {
        let start = Instant::now();
        let mut window = Window::new(3);
        for millis in [0, 10_000, 20_000] {
            assert_eq!(window.full_until(1, after(start, millis)), None);
            window.enter(1, after(start, millis));
        }
        assert_eq!(window.full_until(1, after(start, 30_000)), Some(after(start, 60_000)));
        assert_eq!(window.full_until(2, after(start, 30_000)), Some(after(start, 70_000)));
        assert_eq!(window.full_until(1, after(start, 60_000)), None);
    }

    #[test]
    fn what_is_heavier_than_the_window_waits_for_an_empty_one_and_then_goes() {
        let start = Instant::now();
        let mut window = Window::new(100);
        assert_eq!(window.full_until(5_000, start), None);
        window.enter(5_000, start);
        assert_eq!(window.full_until(1, after(start, 59_999)), Some(after(start, 60_000)));
        assert_eq!(window.full_until(5_000, after(start, 60_000)), None);
    }

    #[test]
    fn an_estimate_gives_way_to_what_was_really_used() {
        let start = Instant::now();
        let mut window = Window::new(100);
        let ticket = window.enter(90, start);
        assert!(window.full_until(50, start).is_some());
        window.settle(ticket, 20);
        assert_eq!(window.full_until(50, start), None);
        let later = after(start, 60_000);
        assert_eq!(window.full_until(100, later), None);
        window.settle(ticket, 90);
        assert_eq!(window.full_until(100, later), None, "what no longer counts is not settled");
    }
}
