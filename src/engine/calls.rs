//! The one door through which every paid call goes.
//!
//! In: a request and what it is for. Out: its answer, from the ledger if it was ever paid before, else from the
//! model — recorded before it is handed out. Identical calls that run at the same time are paid once. The budget
//! is kept here: a call whose worst case does not fit any more is not made.
//!
//! A call that is under way is paid for, so it goes on to the ledger even if whoever asked does not wait for it any more: a
//! scenario that took too long, or a phase that ends because something else in it failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rust_decimal::Decimal;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field};

use super::held;
use super::ports::{CallError, CallErrorKind, CallTags, Ledger, LedgerEntry, Models, Progress, StoreError};
use crate::api::plan::ModelPlan;
use crate::domain::call::{
    Answer, CallKey, ChatAnswer, ChatRequest, EmbedRequest, Embeddings, ModelIdentity, Phase, Purpose,
};
use crate::domain::hash::ContentHash;
use crate::domain::ids::{ModelName, ScenarioId};
use crate::domain::money::{Money, Usage};
use crate::domain::series::Series;

/// What an answer may cost at most when its request sets no limit, in output tokens.
const ASSUMED_OUTPUT_TOKENS: u64 = 4096;

/// Why a call gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallFailure {
    /// The model gave none.
    #[error(transparent)]
    Call(CallError),
    /// The ledger failed; the answer, if there was one, must not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The call might have exceeded the budget, so it was not made.
    #[error(
        "the budget of {budget} has no room for one more call: {spent} is spent, and the call could cost up to {worst} \
         (parameters.maxOutputTokens bounds it)"
    )]
    BudgetExhausted {
        /// The budget of the cycle.
        budget: Money,
        /// What the cycle has spent.
        spent: Money,
        /// What the call could have cost.
        worst: Money,
    },
    /// The cycle is being stopped.
    #[error("stopped")]
    Cancelled,
}

impl From<CallError> for CallFailure {
    fn from(error: CallError) -> Self {
        if error.kind == CallErrorKind::Stopped { Self::Cancelled } else { Self::Call(error) }
    }
}

impl CallFailure {
    /// Nothing else will work either: the whole cycle has to stop.
    #[must_use]
    pub fn stops_the_cycle(&self) -> bool {
        match self {
            Self::Call(error) => error.kind == CallErrorKind::Unauthorized,
            Self::Store(_) | Self::BudgetExhausted { .. } | Self::Cancelled => true,
        }
    }

    /// The provider does not take the request, and will not another time.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Call(error) if !error.kind.is_retryable())
    }
}

/// Calls and cost of one phase or model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Answers used.
    pub total: u64,
    /// Those that were in the ledger already.
    pub from_ledger: u64,
    /// What was paid for the others.
    #[schemars(with = "String")]
    pub paid: Money,
    /// Tokens of the calls that were paid.
    #[schemars(skip)]
    pub usage: Usage,
}

/// What a cycle has asked and paid so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// By phase.
    pub phases: BTreeMap<Phase, Tally>,
    /// By model.
    pub models: BTreeMap<ModelName, Tally>,
    /// By scenario: what was paid.
    pub scenarios: BTreeMap<ScenarioId, Money>,
}

impl Spending {
    /// Everything together.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.phases.values().fold(Tally::default(), |sum, tally| Tally {
            total: sum.total + tally.total,
            from_ledger: sum.from_ledger + tally.from_ledger,
            paid: sum.paid + tally.paid,
            usage: sum.usage + tally.usage,
        })
    }
}

/// The money of a cycle.
#[derive(Debug, Default)]
struct Purse {
    /// What calls of this cycle cost, those included that it paid before it was killed and started again.
    spent: Money,
    /// The worst case of the calls under way.
    reserved: Decimal,
    under_way: usize,
}

/// The one door through which every paid call goes.
pub struct Calls {
    door: Arc<Door>,
    /// The series of answers that they belong to.
    series: Series,
}

/// What callers and the calls under way share.
struct Door {
    cycle: ContentHash,
    models: Arc<dyn Models>,
    ledger: Arc<dyn Ledger>,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    plans: BTreeMap<ModelName, Arc<ModelPlan>>,
    budget: Option<Money>,
    purse: Mutex<Purse>,
    settled: Notify,
    turns: Mutex<HashMap<CallKey, Arc<tokio::sync::Mutex<()>>>>,
    spending: Mutex<Spending>,
    /// Why the ledger could not record an answer. Nothing more is asked then: what it comes to would be lost as well.
    broken: OnceLock<StoreError>,
}

/// A call on its way: everything but the request itself.
struct Errand {
    key: CallKey,
    model: ModelName,
    plan: Arc<ModelPlan>,
    tags: CallTags,
    worst: Usage,
}

impl Calls {
    /// The calls of one cycle. What it paid before it was killed and started again counts.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be read.
    pub async fn open(
        cycle: ContentHash,
        plans: BTreeMap<ModelName, ModelPlan>,
        budget: Option<Money>,
        models: Arc<dyn Models>,
        ledger: Arc<dyn Ledger>,
        progress: Arc<dyn Progress>,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let spent = ledger.paid(cycle).await?;
        let door = Door {
            cycle,
            models,
            ledger,
            progress,
            stop,
            plans: plans.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect(),
            budget,
            purse: Mutex::new(Purse { spent, ..Purse::default() }),
            settled: Notify::new(),
            turns: Mutex::default(),
            spending: Mutex::default(),
            broken: OnceLock::new(),
        };
        Ok(Self { door: Arc::new(door), series: Series::default() })
    }

    /// The same door, money and all, for the answers of a series.
    #[must_use]
    pub fn in_series(&self, series: Series) -> Self {
        Self { door: Arc::clone(&self.door), series }
    }

    /// Asks a chat model, or the ledger.
    ///
    /// # Errors
    /// [`CallFailure`] when there is no answer that may be used.
    pub async fn chat(
        &self,
        phase: Phase,
        purpose: Purpose,
        scenario: Option<&ScenarioId>,
        model: &ModelName,
        request: ChatRequest,
    ) -> Result<ChatAnswer, CallFailure> {
        let plan = self.door.plan(model);
        let errand = Errand {
            key: self.series.key(CallKey::chat(&plan.identity, &request)),
            model: model.clone(),
            plan,
            tags: CallTags { cycle: self.door.cycle, phase, purpose, scenario: scenario.cloned() },
            worst: worst_case(&request),
        };
        let (models, name) = (Arc::clone(&self.door.models), model.clone());
        let ask = async move { models.chat(&name, &request).await.map(Answer::Chat) };
        match self.door.answer(errand, ask).await? {
            Answer::Chat(answer) => Ok(answer),
            Answer::Embeddings(_) => unreachable!("the kind of call is part of its key"),
        }
    }

    /// Asks an embedding model, or the ledger.
    ///
    /// # Errors
    /// [`CallFailure`] when there is no answer that may be used.
    pub async fn embed(
        &self,
        phase: Phase,
        model: &ModelName,
        request: EmbedRequest,
    ) -> Result<Embeddings, CallFailure> {
        let plan = self.door.plan(model);
        let bytes: usize = request.texts.iter().map(String::len).sum();
        let errand = Errand {
            key: self.series.key(CallKey::embed(&plan.identity, &request)),
            model: model.clone(),
            plan,
            tags: CallTags { cycle: self.door.cycle, phase, purpose: Purpose::Embed, scenario: None },
            worst: Usage { input: bytes as u64, cached_input: 0, output: 0 },
        };
        let (models, name) = (Arc::clone(&self.door.models), model.clone());
        let ask = async move { models.embed(&name, &request).await.map(Answer::Embeddings) };
        match self.door.answer(errand, ask).await? {
            Answer::Embeddings(answer) => Ok(answer),
            Answer::Chat(_) => unreachable!("the kind of call is part of its key"),
        }
    }

    /// What has been asked and paid so far.
    #[must_use]
    pub fn spending(&self) -> Spending {
        lock(&self.door.spending).clone()
    }

    /// What the cycle has spent, what it paid before a kill included.
    #[must_use]
    pub fn spent(&self) -> Money {
        lock(&self.door.purse).spent
    }

    /// Waits until no call is under way: until all that is paid for is in the ledger.
    pub async fn settle(&self) {
        loop {
            let settled = self.door.settled.notified();
            if lock(&self.door.purse).under_way == 0 {
                return;
            }
            settled.await;
        }
    }
}

impl Door {
    fn plan(&self, model: &ModelName) -> Arc<ModelPlan> {
        Arc::clone(self.plans.get(model).expect("a plan refers only to models that it has"))
    }

    async fn answer(
        self: &Arc<Self>,
        errand: Errand,
        ask: impl Future<Output = Result<Answer, CallError>> + Send + 'static,
    ) -> Result<Answer, CallFailure> {
        // Identical calls take turns: whoever comes second finds the answer of the first in the ledger.
        let turn = Turn::take(self, errand.key).await;
        if let Some(recorded) = self.ledger.find(errand.key).await? {
            self.count(&errand, None);
            return Ok(recorded.answer);
        }
        if self.stop.is_cancelled() {
            return Err(CallFailure::Cancelled);
        }
        let reservation = self.reserve(&errand).await?;
        if let Some(error) = self.broken.get() {
            return Err(error.clone().into());
        }
        let door = Arc::clone(self);
        let paying = tokio::spawn(
            held::until_done(async move {
                let paid = door.pay(&errand, ask, reservation).await;
                drop(turn);
                paid
            })
            .in_current_span(),
        );
        match paying.await {
            Ok(paid) => paid,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going away, and the process with it.
                Err(_) => Err(CallFailure::Cancelled),
            },
        }
    }

    async fn pay(
        &self,
        errand: &Errand,
        ask: impl Future<Output = Result<Answer, CallError>>,
        reservation: Reservation,
    ) -> Result<Answer, CallFailure> {
        let ModelIdentity { provider, model, .. } = &errand.plan.identity;
        let span = tracing::info_span!(
            "call",
            phase = %errand.tags.phase,
            purpose = errand.tags.purpose.as_str(),
            gen_ai.provider.name = %provider,
            gen_ai.request.model = %model,
            gen_ai.usage.input_tokens = field::Empty,
            gen_ai.usage.output_tokens = field::Empty,
            cost = field::Empty,
        );
        let began = Instant::now();
        let answer = ask.instrument(span.clone()).await?;
        let usage = answer.usage();
        let cost = errand.plan.price.map(|price| price.of(usage));
        span.record("gen_ai.usage.input_tokens", usage.input);
        span.record("gen_ai.usage.output_tokens", usage.output);
        if let Some(cost) = cost {
            span.record("cost", field::display(cost));
        }
        let entry = LedgerEntry {
            key: errand.key,
            identity: errand.plan.identity.clone(),
            model: errand.model.clone(),
            answer: answer.clone(),
            cost,
            latency: began.elapsed(),
            tags: errand.tags.clone(),
        };
        if let Err(error) = self.ledger.record(entry).await {
            // The first one counts.
            let _ = self.broken.set(error.clone());
            return Err(error.into());
        }
        reservation.settle(cost);
        self.count(errand, Some((usage, cost)));
        Ok(answer)
    }

    /// Waits until the worst case of a call fits into what is left.
    async fn reserve(self: &Arc<Self>, errand: &Errand) -> Result<Reservation, CallFailure> {
        let worst = errand.plan.price.map(|price| price.of(errand.worst)).unwrap_or_default();
        loop {
            let settled = self.settled.notified();
            {
                let mut purse = lock(&self.purse);
                let fits = self
                    .budget
                    .is_none_or(|budget| purse.spent.amount() + purse.reserved + worst.amount() <= budget.amount());
                if fits {
                    purse.reserved += worst.amount();
                    purse.under_way += 1;
                    return Ok(Reservation { door: Arc::clone(self), worst });
                }
                if purse.under_way == 0 {
                    let budget = self.budget.unwrap_or_default();
                    return Err(CallFailure::BudgetExhausted { budget, spent: purse.spent, worst });
                }
            }
            // Calls under way cost less than their worst case, as a rule: see what is left when one is done.
            settled.await;
        }
    }

    fn count(&self, errand: &Errand, paid: Option<(Usage, Option<Money>)>) {
        let cost = paid.and_then(|(_, cost)| cost);
        self.progress.call(errand.tags.phase, paid.is_some(), cost);
        let mut spending = lock(&self.spending);
        let Spending { phases, models, scenarios } = &mut *spending;
        let tallies = [phases.entry(errand.tags.phase).or_default(), models.entry(errand.model.clone()).or_default()];
        for tally in tallies {
            tally.total += 1;
            match paid {
                Some((usage, cost)) => {
                    tally.usage += usage;
                    tally.paid += cost.unwrap_or_default();
                }
                None => tally.from_ledger += 1,
            }
        }
        if let (Some(cost), Some(scenario)) = (cost, &errand.tags.scenario) {
            *scenarios.entry(scenario.clone()).or_default() += cost;
        }
    }
}

/// The worst case of a call under way, given back when it is settled or dropped.
struct Reservation {
    door: Arc<Door>,
    worst: Money,
}

impl Reservation {
    fn settle(self, cost: Option<Money>) {
        lock(&self.door.purse).spent += cost.unwrap_or_default();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut purse = lock(&self.door.purse);
        purse.reserved -= self.worst.amount();
        purse.under_way -= 1;
        drop(purse);
        self.door.settled.notify_waiters();
    }
}

/// The turn of one among identical calls, given back when it is dropped.
struct Turn {
    door: Arc<Door>,
    key: CallKey,
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Turn {
    async fn take(door: &Arc<Door>, key: CallKey) -> Self {
        let turn = Arc::clone(lock(&door.turns).entry(key).or_default());
        let mut taken = Self { door: Arc::clone(door), key, guard: None };
        taken.guard = Some(turn.lock_owned().await);
        taken
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = lock(&self.door.turns);
        // Whoever waits holds a clone of it.
        if turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.key);
        }
    }
}

/// The most tokens that a call can take: a token is at least one byte of input.
fn worst_case(request: &ChatRequest) -> Usage {
    use crate::domain::transcript::Message;
    let said: usize = request
        .messages
        .iter()
        .map(|message| match message {
            Message::User { text } => text.len(),
            Message::Assistant { text, calls, opaque } => {
                opaque.size()
                    + text.len()
                    + calls.iter().map(|call| call.arguments.to_string().len() + 64).sum::<usize>()
            }
            Message::Tool { content, .. } => content.len(),
        })
        .sum();
    let tools: usize = request.tools.iter().map(|tool| serde_json::to_string(tool).map_or(0, |text| text.len())).sum();
    let schema = request.answer_schema.as_ref().map_or(0, |schema| schema.schema.to_string().len());
    let framing = 64 + 16 * request.messages.len();
    Usage {
        input: (request.system.len() + said + tools + schema + framing) as u64,
        cached_input: 0,
        output: request.parameters.max_output_tokens.unwrap_or(ASSUMED_OUTPUT_TOKENS),
    }
}

/// Locks what only plain assignments happen under, so that a poisoned lock still holds a whole value.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
