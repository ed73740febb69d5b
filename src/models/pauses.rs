//! Detects whether a cycle is idle, which means that all its calls are waiting, and pauses it.
//!
//! A cycle whose provider sends `Retry-After: 300` does nothing for five minutes. A caller that runs cycles in turns can
//! wait until all calls of a cycle are waiting, which pauses the cycle ([`Pauses::idle`]), and until a call of the paused
//! cycle could be sent ([`Pauses::wanted`]). A cycle is only paused by such a caller.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long an attempt may take before it counts as waiting: a slow provider must not delay other cycles more than one that
/// asks to retry later.
const SLOW: Duration = Duration::from_secs(30);

/// Counts the calls of one cycle by whether they wait.
#[derive(Debug)]
pub struct Pauses {
    state: watch::Sender<State>,
    /// Cancels all waiting calls.
    stop: CancellationToken,
    /// [`SLOW`], except in tests.
    slow: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Calls that wait, including those that ask to be sent.
    waiting: usize,
    /// Calls that could be sent if the cycle were not paused.
    asking: usize,
    /// Calls that are at the provider.
    active: usize,
    is_paused: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting > 0 && self.active == 0 && !self.is_paused
    }

    fn is_wanted(&self) -> bool {
        self.is_paused && (self.asking > 0 || self.active > 0 || self.waiting == 0)
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self::new(CancellationToken::new())
    }
}

/// A stop was requested while a call was waiting. Nothing of it has been sent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

impl Pauses {
    /// A counter without calls. When `stop` is cancelled, calls that wait then or later are given up.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { state: watch::Sender::default(), stop, slow: SLOW }
    }

    /// Waits until all calls have been waiting for `grace`, and pauses the cycle: no call is sent before
    /// [`resume`](Self::resume).
    pub async fn idle(&self, grace: Duration) {
        let mut states = self.state.subscribe();
        loop {
            // Infallible: `self` owns the sender.
            let _ = states.wait_for(State::is_idle).await;
            if tokio::time::timeout(grace, states.wait_for(|state| !state.is_idle())).await.is_ok() {
                continue;
            }
            let mut is_paused = false;
            self.change(|state| {
                is_paused = state.is_idle();
                state.is_paused |= is_paused;
            });
            if is_paused {
                return;
            }
        }
    }

    /// Waits until a call of the paused cycle could be sent, or no call waits any more.
    pub async fn wanted(&self) {
        let _ = self.state.subscribe().wait_for(State::is_wanted).await;
    }

    /// Resumes the cycle.
    pub fn resume(&self) {
        self.change(|state| state.is_paused = false);
    }

    /// Gives up all waiting calls.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Counts a call as waiting.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.change(|state| state.waiting += 1);
        Waiting { pauses: self, asks: false }
    }

    /// Changes the state. Observers are woken only if the change matters to them, because there are thousands of calls.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let visible = |state: &State| (state.is_idle(), state.is_wanted(), state.is_paused);
            let before = visible(state);
            change(state);
            visible(state) != before
        });
    }
}

/// A waiting call.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    pauses: &'a Pauses,
    asks: bool,
}

impl<'a> Waiting<'a> {
    /// Waits for a future, unless a stop is requested.
    pub(super) async fn until<T>(&self, what: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.pauses.stop.cancelled() => Err(Stopped),
            there = what => Ok(there),
        }
    }

    /// Waits until the cycle is not paused, and becomes active.
    pub(super) async fn go(mut self) -> Result<Active<'a>, Stopped> {
        loop {
            if self.pauses.stop.is_cancelled() {
                return Err(Stopped);
            }
            let mut goes = false;
            self.pauses.change(|state| {
                if state.is_paused {
                    state.asking += usize::from(!self.asks);
                } else {
                    goes = true;
                    state.active += 1;
                }
            });
            if goes {
                // The call is counted as active before dropping `self` ends its wait, so it is always counted.
                return Ok(Active { pauses: self.pauses });
            }
            self.asks = true;
            let mut states = self.pauses.state.subscribe();
            self.until(states.wait_for(|state| !state.is_paused)).await?.ok();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pauses.change(|state| {
            state.waiting -= 1;
            state.asking -= usize::from(self.asks);
        });
    }
}

/// A call that is at the provider.
#[derive(Debug)]
pub(super) struct Active<'a> {
    pauses: &'a Pauses,
}

impl<'a> Active<'a> {
    /// Counts the call as waiting again.
    pub(super) fn wait(self) -> Waiting<'a> {
        self.pauses.wait()
    }

    /// Waits for the provider's answer. If that takes long, the call counts as waiting.
    pub(super) async fn answered<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        if let Ok(there) = tokio::time::timeout(self.pauses.slow, &mut answer).await {
            return there;
        }
        let _slow = Slow::begins(self.pauses);
        answer.await
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.pauses.change(|state| state.active -= 1);
    }
}

/// Counts a call at a slow provider as waiting. Its answer is accepted even if the cycle is paused.
struct Slow<'a>(&'a Pauses);

impl<'a> Slow<'a> {
    fn begins(pauses: &'a Pauses) -> Self {
        pauses.change(|state| {
            state.active -= 1;
            state.waiting += 1;
        });
        Self(pauses)
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.waiting -= 1;
            state.active += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const GRACE: Duration = Duration::from_millis(10);

    async fn active(pauses: &Pauses) -> Active<'_> {
        pauses.wait().go().await.unwrap()
    }

    #[tokio::test]
    async fn a_cycle_is_idle_once_all_its_calls_have_been_waiting_for_a_while() {
        let pauses = Pauses::default();
        assert!(
            tokio::time::timeout(GRACE * 9, pauses.idle(GRACE)).await.is_err(),
            "a cycle without calls is computing"
        );
        let (one, other) = (active(&pauses).await, active(&pauses).await);
        let _waits = one.wait();
        assert!(tokio::time::timeout(GRACE * 9, pauses.idle(GRACE)).await.is_err(), "one is at the provider");
        let _waits_too = other.wait();
        let began = tokio::time::Instant::now();
        pauses.idle(GRACE).await;
        assert!(began.elapsed() >= GRACE);
    }

    #[tokio::test]
    async fn nothing_of_a_paused_cycle_is_sent_before_it_is_resumed() {
        let pauses = Pauses::default();
        let waits = active(&pauses).await.wait();
        pauses.idle(GRACE).await;
        assert!(pauses.wanted().now_or_never().is_none());
        let mut going = Box::pin(waits.go());
        assert!(going.as_mut().now_or_never().is_none());
        pauses.wanted().now_or_never().expect("a call asks to go on");
        pauses.resume();
        let active = going.await.unwrap();
        assert!(pauses.wanted().now_or_never().is_none());
        drop(active);
        let state = *pauses.state.borrow();
        assert_eq!((state.waiting, state.asking, state.active), (0, 0, 0));
    }

    #[tokio::test]
    async fn a_stop_ends_every_wait_of_a_paused_cycle() {
        let pauses = Pauses::default();
        let (waits, asks) = (active(&pauses).await.wait(), active(&pauses).await.wait());
        pauses.idle(GRACE).await;
        let mut asking = Box::pin(asks.go());
        assert!(asking.as_mut().now_or_never().is_none());
        pauses.close();
        assert_eq!(asking.await.err(), Some(Stopped));
        assert_eq!(waits.until(std::future::pending::<()>()).await, Err(Stopped));
        drop(waits);
        pauses.wanted().await;
        let state = *pauses.state.borrow();
        assert_eq!((state.waiting, state.asking, state.active), (0, 0, 0));
    }

    #[tokio::test]
    async fn a_provider_that_does_not_answer_for_long_is_waited_for() {
        let pauses = Pauses { slow: GRACE, ..Pauses::default() };
        let active = active(&pauses).await;
        let mut answer = Box::pin(active.answered(tokio::time::sleep(GRACE * 50)));
        tokio::select! {
            () = &mut answer => panic!("answered too early"),
            () = pauses.idle(GRACE) => {}
        }
        answer.await;
        pauses.wanted().now_or_never().expect("the answer is there, and the cycle goes on");
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_leaves_nothing_behind() {
        let pauses = Pauses::default();
        drop(pauses.wait());
        let waits = active(&pauses).await.wait();
        pauses.idle(GRACE).await;
        let mut asking = Box::pin(waits.go());
        assert!(asking.as_mut().now_or_never().is_none());
        drop(asking);
        let state = *pauses.state.borrow();
        assert_eq!((state.waiting, state.asking, state.active), (0, 0, 0));
        pauses.wanted().now_or_never().expect("nothing waits any more");
    }
}
