//! Measures the time that a provider or a tool takes, without the time that a call waits in our own queues.
//!
//! A scenario may take `spec.execution.scenarioTimeout`. With many concurrent runs, waiting must not use that up if the
//! provider is healthy: permits, rate limits, a requested pause, an identical running call, a reservation of the budget,
//! and the waits between attempts. So a [`Stopwatch`] only runs while a request is sent or a tool is working.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Adds up the time during which at least one activity is running. Overlapping activities count once.
#[derive(Debug, Default)]
pub struct Stopwatch {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of running activities.
    running: usize,
    /// Since when at least one is running.
    since: Option<Instant>,
    /// The time before that.
    before: Duration,
}

impl Stopwatch {
    /// Starts an activity, which ends when the returned value is dropped.
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

    /// Completes once this much time has been counted.
    pub async fn reaches(&self, limit: Duration) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that a change in between is not missed.
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

/// A running activity.
#[derive(Debug)]
pub struct Running(Arc<Stopwatch>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Measures the requests of one call: an implementation of [`Models`](super::ports::Models) reports to it.
#[derive(Debug, Default)]
pub struct CallTime {
    scenario: Option<Arc<Stopwatch>>,
    last: Mutex<Duration>,
}

impl CallTime {
    /// For a call that is part of a scenario, whose stopwatch runs during its requests.
    #[must_use]
    pub fn within(scenario: Option<Arc<Stopwatch>>) -> Self {
        Self { scenario, last: Mutex::default() }
    }

    /// Starts a request, which ends when the returned value is dropped.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request { time: self, began: Instant::now(), _running: self.scenario.as_ref().map(Stopwatch::start) }
    }

    /// The duration of the last request.
    #[must_use]
    pub fn last(&self) -> Duration {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running request.
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
    async fn only_running_activities_count_and_overlaps_count_once() {
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
    async fn a_limit_is_reached_while_a_request_is_running_and_never_in_a_queue() {
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
