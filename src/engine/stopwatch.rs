//! The time that a provider or a tool takes, without what a call waits for in a queue of ours.
//!
//! A scenario may take `spec.execution.scenarioTimeout`, and a healthy provider that is asked by many runs at once must not use
//! that up: permits, rate limits, a closed gate, an identical call under way, room in the budget and the waits between attempts
//! are ours. So a [`Stopwatch`] stands still unless a request is on its way or a tool takes its time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Adds up the time during which something is under way. Things that overlap count once.
#[derive(Debug, Default)]
pub struct Stopwatch {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many things are under way.
    running: usize,
    /// Since when something is.
    since: Option<Instant>,
    /// The time until then.
    before: Duration,
}

impl Stopwatch {
    /// Something begins; it is under way until what is returned is dropped.
    #[must_use]
    pub fn start(self: &Arc<Self>) -> Running {
        let mut state = self.state();
        if state.running == 0 {
            state.since = Some(Instant::now());
        }
        state.running += 1;
        drop(state);
        self.changed.notify_waiters();
        Running(Arc::clone(self))
    }

    /// Comes back once so much time has been counted, and never if it never is.
    pub async fn reaches(&self, limit: Duration) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // A change between here and the wait below must not be missed.
            changed.as_mut().enable();
            let (since, before) = {
                let state = self.state();
                (state.since, state.before)
            };
            match (since, limit.checked_sub(before)) {
                (_, None) => return,
                (None, Some(left)) if left.is_zero() => return,
                (None, Some(_)) => changed.await,
                (Some(since), Some(left)) => {
                    tokio::select! {
                        () = sleep_until(since + left) => return,
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn stop(&self) {
        let mut state = self.state();
        state.running -= 1;
        if state.running == 0
            && let Some(since) = state.since.take()
        {
            state.before += since.elapsed();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is under way.
#[derive(Debug)]
pub struct Running(Arc<Stopwatch>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// How long the requests of one call take: what an implementation of [`Models`](super::ports::Models) reports to.
#[derive(Debug, Default)]
pub struct CallTime {
    scenario: Option<Arc<Stopwatch>>,
    last: Mutex<Duration>,
}

impl CallTime {
    /// For a call that is part of a scenario, whose time goes on while a request is under way.
    #[must_use]
    pub fn within(scenario: Option<Arc<Stopwatch>>) -> Self {
        Self { scenario, last: Mutex::default() }
    }

    /// A request goes out now, and is under way until what is returned is dropped.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request { time: self, began: Instant::now(), _running: self.scenario.as_ref().map(Stopwatch::start) }
    }

    /// How long the last request took.
    #[must_use]
    pub fn last(&self) -> Duration {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct Request<'a> {
    time: &'a CallTime,
    began: Instant,
    _running: Option<Running>,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        *self.time.last.lock().unwrap_or_else(PoisonError::into_inner) = self.began.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use futures::FutureExt as _;

    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn only_what_is_under_way_counts_and_what_overlaps_counts_once() {
        let watch = Arc::new(Stopwatch::default());
        sleep(20 * TICK);
        assert!(watch.reaches(TICK).now_or_never().is_none(), "nothing has begun");
        let first = watch.start();
        let second = watch.start();
        sleep(2 * TICK);
        drop(first);
        drop(second);
        let counted = watch.state().before;
        assert!(counted >= 2 * TICK && counted < 20 * TICK, "{counted:?}");
        sleep(10 * TICK);
        assert_eq!(watch.state().before, counted, "nothing is under way");
        assert!(watch.reaches(counted).now_or_never().is_some());
        assert!(watch.reaches(counted + TICK).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_limit_is_reached_while_a_request_is_under_way_and_never_in_a_queue() {
        let watch = Arc::new(Stopwatch::default());
        let began = Instant::now();
        let work = async {
            tokio::time::sleep(5 * TICK).await;
            let time = CallTime::within(Some(Arc::clone(&watch)));
            let request = time.request();
            tokio::time::sleep(TICK).await;
            drop(request);
            assert!(time.last() >= TICK && time.last() < 5 * TICK, "{:?}", time.last());
            tokio::time::sleep(5 * TICK).await;
            let _request = time.request();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => unreachable!("it never ends"),
            () = watch.reaches(3 * TICK) => {}
        }
        assert!(began.elapsed() >= 12 * TICK, "{:?}", began.elapsed());
    }
}
