//! The budget of a cycle, which is never exceeded: before a call is sent, its worst-case cost is reserved.
//!
//! This is possible because the length of a request is known and that of its answer is limited: if there is a budget, a
//! request without a limit gets one of [`OUTPUT_LIMIT`] tokens. If providers respect the limit, the budget holds for any
//! number of concurrent calls. If one does not, its answer is counted in full, and no further call is made once the budget
//! is used up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use rust_decimal::Decimal;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::lock;
use whetstone_domain::call::{ChatRequest, EmbedRequest};
use whetstone_domain::ids::ModelName;
use whetstone_domain::money::{BudgetExhausted, Money, Price, Usage};

/// The default limit on the output tokens of a request if there is a budget. `parameters.maxOutputTokens` overrides it.
pub(crate) const OUTPUT_LIMIT: u64 = 4096;

/// The most input tokens that a provider adds by itself: its chat template, and the instructions for calling tools.
const FRAMING: u64 = 64;
/// The same for each message.
const FRAMING_OF_A_MESSAGE: u64 = 16;
/// The same for tools and the answer schema.
const FRAMING_OF_TOOLS: u64 = 640;

/// The names that providers use for a limit on output tokens. One of them among the extra parameters of a request overrides
/// `maxOutputTokens`, so it counts as well.
const LIMITS: [&str; 4] = ["max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"];

/// The budget of a cycle, and what is spent and reserved of it.
#[derive(Debug)]
pub(super) struct Budget {
    limit: Option<Money>,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The cost of the cycle's calls, including those that it paid before it was killed and restarted.
    spent: Money,
    /// The worst-case cost of the running calls.
    reserved: Decimal,
    running: usize,
    /// By model: the output tokens of an answer that exceeded its limit, and that limit.
    overruns: BTreeMap<ModelName, (u64, u64)>,
}

impl Budget {
    /// The budget of a cycle that has already spent this much.
    pub(super) fn new(limit: Option<Money>, spent: Money) -> Self {
        Self { limit, state: Mutex::new(State { spent, ..State::default() }), settled: Notify::new() }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// What the cycle has spent.
    pub(super) fn spent(&self) -> Money {
        lock(&self.state).spent
    }

    /// Gives a request a limit on output tokens if it has none and each of them costs something.
    pub(super) fn bound(&self, request: &mut ChatRequest, price: Option<Price>) {
        let is_free = price.is_none_or(|price| price.output.is_zero());
        if self.limit.is_none() || is_free || output_limit(request).is_some() {
            return;
        }
        Arc::make_mut(&mut request.parameters).max_output_tokens = Some(OUTPUT_LIMIT);
    }

    /// Waits until the worst-case cost of a call fits into what is left.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if it does not, and no call is running that could leave more.
    pub(super) async fn reserve(self: &Arc<Self>, worst: Money) -> Result<Reservation, BudgetExhausted> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Registered before the check, so that a call that ends in between is not missed.
            settled.as_mut().enable();
            {
                let mut state = lock(&self.state);
                let fits = self
                    .limit
                    .is_none_or(|limit| state.spent.amount() + state.reserved + worst.amount() <= limit.amount());
                if fits {
                    state.reserved += worst.amount();
                    state.running += 1;
                    return Ok(Reservation { budget: Arc::clone(self), worst });
                }
                if state.running == 0 {
                    let budget = self.limit.unwrap_or_default();
                    return Err(BudgetExhausted { budget, spent: state.spent, worst });
                }
            }
            // Running calls usually cost less than their worst case: check again when one has ended.
            settled.await;
        }
    }

    /// Waits until no call is running.
    pub(super) async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if lock(&self.state).running == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Notes that an answer has more tokens than its request allowed.
    pub(super) fn overran(&self, model: &ModelName, answered: u64, allowed: u64) {
        lock(&self.state).overruns.entry(model.clone()).or_insert((answered, allowed));
    }

    /// What the user should know: providers that exceed the limit, if there is a budget that relies on it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let Some(limit) = self.limit else { return Vec::new() };
        let state = lock(&self.state);
        let of_model = |(model, (answered, allowed)): (&ModelName, &(u64, u64))| {
            let mut text = format!(
                "model {:?} answered with {answered} output tokens where its request allowed {allowed}, so the budget cannot \
                 be kept in advance",
                model.as_str()
            );
            if state.spent > limit {
                let _ = write!(text, "; {} is spent of {limit}", state.spent);
            }
            text
        };
        state.overruns.iter().map(of_model).collect()
    }
}

/// The reserved worst-case cost of a running call, released when the call is settled or dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    worst: Money,
}

impl Reservation {
    /// Ends the call and counts its cost.
    pub(super) fn settle(self, cost: Option<Money>) {
        lock(&self.budget.state).spent += cost.unwrap_or_default();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = lock(&self.budget.state);
        state.reserved -= self.worst.amount();
        state.running -= 1;
        drop(state);
        self.budget.settled.notify_waiters();
    }
}

/// The most output tokens of a chat call. Input tokens are 0: without a budget nothing depends on them.
pub(super) fn worst_output(request: &ChatRequest) -> Usage {
    let output = output_limit(request).unwrap_or(OUTPUT_LIMIT);
    Usage { output: output.saturating_mul(answers(request)), ..Usage::default() }
}

/// The most tokens of a chat call: a token is at least one byte of the request.
pub(super) fn worst_case(request: &ChatRequest) -> Usage {
    let mut sent = Bytes(0);
    // Infallible: the writer only counts.
    let _ = serde_json::to_writer(&mut sent, request);
    let tools = if request.tools.is_empty() && request.answer_schema.is_none() { 0 } else { FRAMING_OF_TOOLS };
    let framing = FRAMING + FRAMING_OF_A_MESSAGE * request.messages.len() as u64 + tools;
    Usage { input: sent.0 + framing, ..worst_output(request) }
}

/// The most tokens of an embedding call.
pub(super) fn worst_case_of_texts(request: &EmbedRequest) -> Usage {
    let bytes: usize = request.texts.iter().map(|text| text.len() + FRAMING_OF_A_MESSAGE as usize).sum();
    Usage { input: bytes as u64, cached_input: 0, output: 0 }
}

/// The limit on output tokens that a request has.
fn output_limit(request: &ChatRequest) -> Option<u64> {
    let extra = request.parameters.extra.as_ref();
    let among_extra = extra.and_then(|extra| LIMITS.iter().filter_map(|name| extra.get(*name)?.as_u64()).max());
    among_extra.max(request.parameters.max_output_tokens)
}

/// The number of answers that a request asks for: `n` among the extra parameters asks for several, and each is billed.
fn answers(request: &ChatRequest) -> u64 {
    let count =
        |extra: &Map<String, Value>| ["n", "best_of"].iter().filter_map(|name| extra.get(*name)?.as_u64()).max();
    request.parameters.extra.as_ref().and_then(count).unwrap_or(1).max(1)
}

/// A writer that counts bytes.
struct Bytes(u64);

impl io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use whetstone_domain::call::Parameters;
    use whetstone_domain::transcript::Message;

    fn request(parameters: Value) -> ChatRequest {
        ChatRequest {
            system: "Be brief.".into(),
            messages: vec![Message::User { text: "Hello.".to_owned() }],
            tools: Arc::from([]),
            answer_schema: None,
            parameters: Arc::new(serde_json::from_value::<Parameters>(parameters).unwrap()),
            repeat: 0,
        }
    }

    fn money(amount: &str) -> Money {
        Money::from(amount.parse::<Decimal>().unwrap())
    }

    fn price(output: &str) -> Price {
        Price { input: Decimal::ONE, cached_input: Decimal::ONE, output: output.parse().unwrap() }
    }

    #[test]
    fn a_request_gets_a_limit_only_where_there_is_a_budget_that_needs_one() {
        let bounded = |budget: Option<&str>, parameters: Value, output: &str| {
            let mut request = request(parameters);
            Budget::new(budget.map(money), Money::ZERO).bound(&mut request, Some(price(output)));
            request.parameters.max_output_tokens
        };
        assert_eq!(bounded(Some("1"), json!({}), "2"), Some(OUTPUT_LIMIT));
        assert_eq!(bounded(None, json!({}), "2"), None);
        assert_eq!(bounded(Some("1"), json!({}), "0"), None, "output that costs nothing needs no limit");
        assert_eq!(bounded(Some("1"), json!({"maxOutputTokens": 9}), "2"), Some(9));
        assert_eq!(bounded(Some("1"), json!({"extra": {"max_completion_tokens": 9}}), "2"), None);
    }

    #[test]
    fn the_worst_case_is_that_of_what_is_really_sent() {
        let output = |parameters| worst_case(&request(parameters)).output;
        assert_eq!(output(json!({})), OUTPUT_LIMIT);
        assert_eq!(output(json!({"maxOutputTokens": 10})), 10);
        assert_eq!(output(json!({"maxOutputTokens": 10, "extra": {"max_tokens": 50_000}})), 50_000);
        assert_eq!(output(json!({"maxOutputTokens": 10, "extra": {"n": 4}})), 40);
        assert_eq!(output(json!({"maxOutputTokens": 10, "extra": {"n": 0, "stop": ["x"]}})), 10);
        let long = ChatRequest { system: "x".repeat(10_000).into(), ..request(json!({})) };
        assert!(worst_case(&long).input > 10_000);
    }

    proptest! {
        /// For any calls, however they overlap: the budget holds as long as no call costs more than its worst case.
        #[test]
        fn a_budget_is_kept_however_calls_overlap(
            calls in prop::collection::vec((1_u32..100, 0_u32..=100, 0_u8..4), 1..60),
            limit in 1_u32..500,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let spent = runtime.block_on(async {
                let budget = Arc::new(Budget::new(Some(Decimal::from(limit).into()), Money::ZERO));
                let mut running = tokio::task::JoinSet::new();
                for (worst, share, steps) in calls {
                    let budget = Arc::clone(&budget);
                    running.spawn(async move {
                        let worst = Decimal::from(worst);
                        let Ok(reservation) = budget.reserve(worst.into()).await else { return };
                        for _ in 0..steps {
                            tokio::task::yield_now().await;
                        }
                        reservation.settle(Some((worst * Decimal::from(share) / Decimal::from(100)).into()));
                    });
                }
                running.join_all().await;
                budget.spent()
            });
            prop_assert!(spent.amount() <= Decimal::from(limit), "{spent} of {limit}");
        }
    }

    #[tokio::test]
    async fn a_call_that_does_not_fit_waits_for_running_ones_and_is_refused_if_there_are_none() {
        let budget = Arc::new(Budget::new(Some(money("10")), Money::ZERO));
        let first = budget.reserve(money("8")).await.unwrap();
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(money("5")).await.map(|reservation| reservation.settle(Some(money("5")))) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.settle(Some(money("1")));
        assert!(waiting.await.unwrap().is_ok(), "the first was cheaper than it could have been");
        let refused = budget.reserve(money("5")).await.unwrap_err();
        assert!(
            refused.to_string().starts_with("the budget of 10 does not allow another call: 6 had been spent"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn an_answer_beyond_its_limit_is_counted_and_reported() {
        let budget = Arc::new(Budget::new(Some(money("10")), Money::ZERO));
        assert!(budget.warnings().is_empty());
        budget.reserve(money("5")).await.unwrap().settle(Some(money("12")));
        budget.overran(&"worker".into(), 20_000, 4_096);
        assert_eq!(budget.spent(), money("12"));
        assert!(budget.reserve(money("0.01")).await.is_err());
        assert_eq!(
            budget.warnings(),
            [
                "model \"worker\" answered with 20000 output tokens where its request allowed 4096, so the budget cannot be kept \
              in advance; 12 is spent of 10"
            ]
        );
    }
}
