//! The attempts of one call: whether to retry, and after which wait.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::{Client, Request};
use tracing::{Span, debug};

use super::attempt::{Failure, Unusable, attempt};
use super::endpoint::Endpoint;
use super::pace::Signal;
use super::pauses::{Pauses, Stopped};
use super::room::Expected;
use super::setting::Setting;
use whetstone_domain::duration::HumanDuration;
use whetstone_domain::money::Usage;
use whetstone_engine::ports::{CallError, CallErrorKind};
use whetstone_engine::stopwatch::CallTime;

/// When a call is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The minimum wait before the second attempt. It doubles with each further attempt, and a random share of up to as
    /// much is added, so that calls that failed together are not retried together.
    pub first_wait: Duration,
    /// The maximum of the doubled wait.
    pub longest_wait: Duration,
    /// The longest wait that a provider may ask for. If it asks for more, the call is given up.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(15),
            patience: Duration::from_mins(5),
        }
    }
}

/// What follows after a failure.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// A retry after this wait.
    Retry(Duration),
    /// Giving up: a retry cannot succeed, or there were enough.
    GiveUp,
    /// Giving up: the provider asks for a longer wait than is allowed.
    TooLong(Duration),
}

/// The waits of one call.
struct Waits {
    backoff: ExponentialBackoff,
    patience: Duration,
}

impl Waits {
    fn new(policy: &RetryPolicy, attempts: u32, seed: u64) -> Self {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(policy.first_wait)
            .with_max_delay(policy.longest_wait)
            .with_max_times(attempts.saturating_sub(1) as usize)
            .with_jitter()
            .with_jitter_seed(seed)
            .build();
        Self { backoff, patience: policy.patience }
    }

    fn after(&mut self, failure: &Failure) -> Next {
        // A paid answer is recorded first; the owner of the budget decides on a retry.
        if !failure.kind.is_retryable() || failure.usage.is_some() {
            return Next::GiveUp;
        }
        match (failure.retry_after, self.backoff.next()) {
            (_, None) => Next::GiveUp,
            (Some(asked), _) if asked > self.patience => Next::TooLong(asked),
            (asked, Some(wait)) => Next::Retry(wait.max(asked.unwrap_or_default())),
        }
    }
}

/// A call that was given up.
#[derive(Debug)]
pub(super) struct GivenUp {
    /// Why.
    pub error: CallError,
    /// The setting that the server refuses, if that is the reason.
    pub refused: Option<Setting>,
}

/// A call, with everything that its attempts need.
pub(super) struct Call<'a> {
    pub http: &'a Client,
    pub endpoint: &'a Endpoint,
    pub policy: &'a RetryPolicy,
    /// The seed of the jitter.
    pub seed: u64,
    /// The request; all attempts share its body.
    pub request: Request,
    /// The estimated tokens of the call.
    pub tokens: u64,
    /// The maximum size of its answer.
    pub expected: Expected,
    /// Is notified whether the call waits.
    pub pauses: &'a Pauses,
    /// Is notified when a request is running.
    pub time: &'a CallTime,
}

impl Call<'_> {
    /// Makes the call: waits at the limiter of the model, and attempts and retries according to the policy. The result is
    /// recorded in the current span.
    pub(super) async fn make<T>(
        self,
        read: impl Fn(&[u8]) -> Result<T, Unusable>,
        usage: impl Fn(&T) -> Usage,
    ) -> Result<T, GivenUp> {
        let endpoint = self.endpoint;
        let mut waits = Waits::new(self.policy, endpoint.attempts, self.seed);
        let mut attempts = 0;
        let mut waiting = self.pauses.wait();
        loop {
            let admitted = endpoint.limiter.admit(self.tokens, waiting).await;
            let pass = admitted.map_err(|Stopped| stopped(endpoint, attempts))?;
            attempts += 1;
            let request = self.request.try_clone().expect("a body in memory can be sent again");
            let under_way = self.time.request();
            let asking = attempt(self.http, endpoint, request, self.expected, &read);
            let outcome = pass.active.answered(asking).await;
            drop(under_way);
            let mut failure = match outcome {
                Ok(answer) => {
                    let usage = usage(&answer);
                    let _ = pass.finish(Signal::Answered, None, Some(usage.input + usage.output));
                    record(attempts, Ok(usage));
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let next = waits.after(&failure);
            let signal = failure.signal();
            let closed_for =
                failure.retry_after.filter(|asked| signal == Signal::Overloaded && *asked <= self.policy.patience);
            let (cut, active) = pass.finish(signal, closed_for, None);
            if let Some(limit) = cut {
                debug!(model = endpoint.name.as_str(), limit, "fewer requests at once");
            }
            match next {
                Next::Retry(wait) => {
                    debug!(attempts, ?wait, reason = failure.message, "trying again");
                    waiting = active.wait();
                    let waited = waiting.until(tokio::time::sleep(wait)).await;
                    waited.map_err(|Stopped| stopped(endpoint, attempts))?;
                    continue;
                }
                Next::TooLong(asked) => {
                    failure.message =
                        format!("{}; it asks to wait {}, too long", failure.message, HumanDuration(asked));
                }
                Next::GiveUp => {}
            }
            record(attempts, Err(&failure));
            let error = CallError {
                model: endpoint.name.clone(),
                kind: failure.kind,
                attempts,
                message: failure.message,
                usage: failure.usage,
            };
            return Err(GivenUp { error, refused: failure.refused });
        }
    }
}

fn stopped(endpoint: &Endpoint, attempts: u32) -> GivenUp {
    let message = "stopped while it was waiting to be sent".to_owned();
    let (model, kind) = (endpoint.name.clone(), CallErrorKind::Stopped);
    let error = CallError { model, kind, attempts, message, usage: None };
    GivenUp { error, refused: None }
}

fn record(attempts: u32, outcome: Result<Usage, &Failure>) {
    let span = Span::current();
    span.record("attempts", attempts);
    match outcome {
        Ok(usage) => {
            span.record("gen_ai.usage.input_tokens", usage.input);
            span.record("gen_ai.usage.output_tokens", usage.output);
        }
        Err(failure) => {
            span.record("error.type", failure.kind.category());
            if let Some(status) = failure.status {
                span.record("http.response.status_code", status);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: CallErrorKind, retry_after: Option<u64>) -> Failure {
        Failure {
            kind,
            status: None,
            retry_after: retry_after.map(Duration::from_secs),
            message: String::new(),
            refused: None,
            usage: None,
        }
    }

    fn waits(attempts: u32) -> Waits {
        Waits::new(&RetryPolicy::default(), attempts, 7)
    }

    #[test]
    fn waits_double_with_jitter_until_the_attempts_are_used_up() {
        let mut waits = waits(4);
        let server = failure(CallErrorKind::Server, None);
        for (least, most) in [(250, 500), (500, 1_000), (1_000, 2_000)] {
            let Next::Retry(wait) = waits.after(&server) else { panic!("another attempt was due") };
            assert!((least..=most).contains(&wait.as_millis()), "{wait:?}");
        }
        assert_eq!(waits.after(&server), Next::GiveUp);
    }

    #[test]
    fn the_same_seed_waits_the_same() {
        let server = failure(CallErrorKind::Server, None);
        let drawn = |seed| Waits::new(&RetryPolicy::default(), 6, seed).after(&server);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn retry_after_is_the_shortest_wait() {
        let wait = waits(6).after(&failure(CallErrorKind::RateLimited, Some(20)));
        assert_eq!(wait, Next::Retry(Duration::from_secs(20)));
        let Next::Retry(wait) = waits(6).after(&failure(CallErrorKind::RateLimited, Some(0))) else {
            panic!("another attempt was due")
        };
        assert!(wait >= Duration::from_millis(250), "{wait:?}");
    }

    #[test]
    fn nobody_waits_for_an_hour() {
        let asked = Duration::from_hours(1);
        assert_eq!(waits(6).after(&failure(CallErrorKind::RateLimited, Some(3_600))), Next::TooLong(asked));
    }

    #[test]
    fn what_is_paid_is_given_back_to_be_recorded_before_anything_else_is_paid() {
        let paid = Failure { usage: Some(Usage::default()), ..failure(CallErrorKind::Malformed, None) };
        assert_eq!(waits(6).after(&paid), Next::GiveUp);
    }

    #[test]
    fn what_cannot_go_better_is_not_tried_again() {
        for kind in [CallErrorKind::Unauthorized, CallErrorKind::Refused] {
            assert_eq!(waits(6).after(&failure(kind, Some(1))), Next::GiveUp, "{kind:?}");
        }
    }
}
