//! The limiter of one model: every attempt waits here rather than at the provider.
//!
//! An attempt needs, in this order: a free slot (as many as [`super::pace::Concurrency`] currently allows); then, one
//! attempt at a time, an open gate (closed while the provider asks to wait) and capacity in the current minute's requests
//! and tokens. Dropping a waiting future or a [`Pass`] releases everything.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turnstile, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use super::pace::{Concurrency, Signal, Ticket, Window};
use super::pauses::{Active, Stopped, Waiting};

/// Limits the concurrency and the rate of one model.
#[derive(Debug)]
pub(super) struct Limiter {
    slots: Semaphore,
    /// Held by the next attempt at the gate, so that a large call cannot be overtaken by small ones forever.
    turnstile: Turnstile<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    concurrency: Concurrency,
    /// Existing slots, free and taken. Above the limit while a reduction waits for taken ones.
    issued: usize,
    closed_until: Option<Instant>,
    requests: Option<Window>,
    tokens: Option<Window>,
}

impl State {
    /// Admits a request, or returns when to try again.
    fn enter(&mut self, tokens: u64, now: Instant) -> Result<Option<Ticket>, Instant> {
        let closed = self.closed_until.filter(|until| *until > now);
        let requests = self.requests.as_mut().and_then(|window| window.full_until(1, now));
        let full = self.tokens.as_mut().and_then(|window| window.full_until(tokens, now));
        if let Some(until) = [closed, requests, full].into_iter().flatten().max() {
            return Err(until);
        }
        if let Some(window) = &mut self.requests {
            window.enter(1, now);
        }
        Ok(self.tokens.as_mut().map(|window| window.enter(tokens, now)))
    }
}

impl Limiter {
    /// At most `concurrency` concurrent requests, and this many requests and tokens per minute.
    pub(super) fn new(concurrency: usize, requests: Option<u32>, tokens: Option<u32>) -> Self {
        let concurrency = Concurrency::new(concurrency.min(Semaphore::MAX_PERMITS));
        let issued = concurrency.limit();
        Self {
            slots: Semaphore::new(issued),
            turnstile: Turnstile::new(()),
            state: Mutex::new(State {
                concurrency,
                issued,
                closed_until: None,
                requests: requests.map(|most| Window::new(most.into())),
                tokens: tokens.map(|most| Window::new(most.into())),
            }),
        }
    }

    /// Waits until a request of about `tokens` tokens may be sent.
    ///
    /// # Errors
    /// [`Stopped`] if it must not be sent any more; then nothing was sent.
    pub(super) async fn admit<'a>(&'a self, tokens: u64, mut waiting: Waiting<'a>) -> Result<Pass<'a>, Stopped> {
        let permit = waiting.until(self.slots.acquire()).await?.expect("nobody closes the semaphore");
        let slot = Slot { limiter: self, permit: Some(permit) };
        let _turn = waiting.until(self.turnstile.lock()).await?;
        loop {
            // An admitted request counts for the minute that begins now, so it must be sent without delay.
            let active = waiting.go().await?;
            let now = Instant::now();
            let entered = self.state().enter(tokens, now);
            match entered {
                Ok(ticket) => return Ok(Pass { slot, active, started: now, ticket }),
                Err(until) => {
                    waiting = active.wait();
                    waiting.until(sleep_until(until)).await?;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send one request.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    slot: Slot<'a>,
    /// Counts the call as active, for observers of [`super::pauses`].
    pub active: Active<'a>,
    started: Instant,
    ticket: Option<Ticket>,
}

impl<'a> Pass<'a> {
    /// Ends an attempt: adapts the concurrency, closes the gate for `closed_for`, and counts `used` tokens instead of the
    /// estimate. Returns the new limit if it was reduced, and the call, which is still active.
    pub(super) fn finish(
        self,
        signal: Signal,
        closed_for: Option<Duration>,
        used: Option<u64>,
    ) -> (Option<usize>, Active<'a>) {
        let now = Instant::now();
        let limiter = self.slot.limiter;
        let mut state = limiter.state();
        if let Some(closed_for) = closed_for {
            state.closed_until = state.closed_until.max(Some(now + closed_for));
        }
        if let (Some(window), Some(ticket), Some(used)) = (&mut state.tokens, self.ticket, used) {
            window.settle(ticket, used);
        }
        let before = state.concurrency.limit();
        state.concurrency.observe(signal, self.started, now);
        let limit = state.concurrency.limit();
        if limit > state.issued {
            limiter.slots.add_permits(limit - state.issued);
            state.issued = limit;
        } else {
            state.issued -= limiter.slots.forget_permits(state.issued - limit);
        }
        drop(state);
        ((limit < before).then_some(limit), self.active)
    }
}

/// A taken slot. It is removed instead of released if there are more than the limit.
#[derive(Debug)]
struct Slot<'a> {
    limiter: &'a Limiter,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        if state.issued > state.concurrency.limit()
            && let Some(permit) = self.permit.take()
        {
            state.issued -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use futures::FutureExt;

    use super::*;
    use crate::models::pauses::Pauses;

    /// Admits a call of a cycle that is never paused.
    async fn admit(limiter: &Limiter, tokens: u64) -> Pass<'_> {
        static PAUSES: LazyLock<Pauses> = LazyLock::new(Pauses::default);
        limiter.admit(tokens, PAUSES.wait()).await.unwrap()
    }

    fn admitted(limiter: &Limiter) -> Vec<Pass<'_>> {
        std::iter::from_fn(|| admit(limiter, 1).now_or_never()).collect()
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_admitted_concurrently() {
        let limiter = Limiter::new(3, None, None);
        let passes = admitted(&limiter);
        assert_eq!(passes.len(), 3);
        drop(passes);
        assert_eq!(admitted(&limiter).len(), 3, "a dropped pass gives its slot back");
    }

    #[tokio::test]
    async fn a_cut_takes_effect_on_slots_that_are_taken_as_they_come_back() {
        let limiter = Limiter::new(8, None, None);
        let mut passes = admitted(&limiter);
        let first = passes.pop().expect("eight were admitted");
        assert_eq!(first.finish(Signal::Overloaded, None, None).0, Some(4));
        assert_eq!(admitted(&limiter).len(), 0);
        drop(passes);
        assert_eq!(admitted(&limiter).len(), 4);
    }

    #[tokio::test]
    async fn the_limit_grows_back_with_answers() {
        let limiter = Limiter::new(4, None, None);
        admit(&limiter, 1).await.finish(Signal::Overloaded, None, None);
        assert_eq!(admitted(&limiter).len(), 2);
        for _ in 0..20 {
            admit(&limiter, 1).await.finish(Signal::Answered, None, None);
        }
        assert_eq!(admitted(&limiter).len(), 4);
    }

    #[tokio::test]
    async fn a_closed_gate_stops_every_new_call_and_opens_again() {
        let limiter = Limiter::new(8, None, None);
        let closed_for = Duration::from_millis(50);
        let before = Instant::now();
        admit(&limiter, 1).await.finish(Signal::Answered, Some(closed_for), None);
        assert!(admit(&limiter, 1).now_or_never().is_none());
        let _pass = admit(&limiter, 1).await;
        assert!(before.elapsed() >= closed_for);
    }

    #[tokio::test]
    async fn giving_up_waiting_leaves_nothing_behind() {
        let limiter = Limiter::new(2, Some(1), None);
        let pass = admit(&limiter, 1).await;
        assert!(admit(&limiter, 1).now_or_never().is_none(), "the minute is full");
        assert!(admit(&limiter, 1).now_or_never().is_none());
        drop(pass);
        assert_eq!(limiter.slots.available_permits(), 2);
        assert!(limiter.turnstile.try_lock().is_ok());
    }

    #[tokio::test]
    async fn a_request_above_the_tokens_of_a_minute_is_let_in_alone() {
        let limiter = Limiter::new(8, None, Some(100));
        let pass = admit(&limiter, 1_000_000).now_or_never().expect("an empty minute lets anything in");
        assert!(admit(&limiter, 1).now_or_never().is_none());
        pass.finish(Signal::Answered, None, Some(40));
        assert!(admit(&limiter, 60).now_or_never().is_some());
    }
}
