//! The only way to make a paid call.
//!
//! In: a request and its purpose. Out: its answer, from the ledger if it was ever paid before, else from the model —
//! recorded before it is returned. Concurrent identical calls are paid once ([`turn`]). The budget is enforced here: a call
//! whose worst case exceeds what is left is not made ([`budget`]).
//!
//! An unusable answer is paid as well. It is recorded like any other, and the request is retried if the budget still allows
//! it.
//!
//! A running call is paid in any case, so its answer is recorded even if the caller no longer waits for it: the scenario
//! timed out, or the phase ended because something else in it failed.

mod budget;
mod spending;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field};

pub(crate) use self::budget::OUTPUT_LIMIT;
use self::budget::{Budget, Reservation, worst_case, worst_case_of_texts, worst_output};
use self::spending::Answered;
pub(crate) use self::spending::{Spending, Tally};
use self::turn::{Turn, Turns};
use super::held;
use super::ports::{CallError, CallErrorKind, CallTags, Ledger, LedgerEntry, Models, Progress, StoreError};
use super::stopwatch::{CallTime, Stopwatch};
use whetstone_domain::call::{
    Answer, CallKey, ChatAnswer, ChatRequest, EmbedRequest, Embeddings, ModelIdentity, Phase, Purpose, Unusable,
};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{ModelName, ScenarioId};
use whetstone_domain::money::{BudgetExhausted, Money, Usage};
use whetstone_domain::plan::ModelPlan;
use whetstone_domain::series::Series;

/// Why a call gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallFailure {
    /// The model gave no answer.
    #[error(transparent)]
    Call(CallError),
    /// The ledger failed; the answer, if there was one, must not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The call might have exceeded the budget, so it was not made.
    #[error(transparent)]
    BudgetExhausted(#[from] BudgetExhausted),
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
    /// Whether no other call can succeed either, so that the whole cycle has to stop.
    #[must_use]
    pub fn stops_the_cycle(&self) -> bool {
        match self {
            Self::Call(error) => error.kind == CallErrorKind::Unauthorized,
            Self::Store(_) | Self::BudgetExhausted(_) | Self::Cancelled => true,
        }
    }

    /// Whether the provider refuses the request, and would refuse it again.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Call(error) if !error.kind.is_retryable())
    }
}

/// The only way to make a paid call.
pub struct Calls {
    shared: Arc<Shared>,
    /// The series of answers that the calls belong to.
    series: Series,
}

/// What the callers and the running calls share.
struct Shared {
    cycle: ContentHash,
    models: Arc<dyn Models>,
    ledger: Arc<dyn Ledger>,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    plans: BTreeMap<ModelName, Arc<ModelPlan>>,
    budget: Arc<Budget>,
    turns: Arc<Turns>,
    spending: Mutex<Spending>,
    /// Answers in the ledger that another cycle has paid, and whether they were discarded since.
    paid_by_others: Mutex<HashMap<CallKey, bool>>,
    /// Why the ledger could not record an answer. No further call is made then, because its answer would be lost as well.
    broken: OnceLock<StoreError>,
}

/// A call to make: everything but the request itself.
struct Call {
    key: CallKey,
    model: ModelName,
    plan: Arc<ModelPlan>,
    tags: CallTags,
    worst: Usage,
    /// The stopwatch of the scenario that the call is part of.
    time: Option<Arc<Stopwatch>>,
}

impl Call {
    /// The most that it can cost.
    fn worst_cost(&self) -> Money {
        self.plan.price.map(|price| price.of(self.worst)).unwrap_or_default()
    }
}

/// Sends a request. It may be called more than once.
type Ask = Box<dyn Fn(Arc<CallTime>) -> BoxFuture<'static, Result<Answer, CallError>> + Send + Sync>;

impl Calls {
    /// The calls of one cycle. What it paid before it was killed and restarted counts.
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
        let shared = Shared {
            cycle,
            models,
            ledger,
            progress,
            stop,
            plans: plans.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect(),
            budget: Arc::new(Budget::new(budget, spent)),
            turns: Arc::default(),
            spending: Mutex::default(),
            paid_by_others: Mutex::default(),
            broken: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared), series: Series::default() })
    }

    /// The same calls with the same budget, for the answers of another series.
    #[must_use]
    pub fn in_series(&self, series: Series) -> Self {
        Self { shared: Arc::clone(&self.shared), series }
    }

    /// Calls a chat model, or answers from the ledger. `time` is the stopwatch of the scenario that waits for the answer.
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
        time: Option<&Arc<Stopwatch>>,
    ) -> Result<ChatAnswer, CallFailure> {
        self.chat_and_key(phase, purpose, scenario, model, request, time).await.map(|(_, answer)| answer)
    }

    /// Like [`chat`](Self::chat); also returns the key under which the answer is recorded.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn chat_and_key(
        &self,
        phase: Phase,
        purpose: Purpose,
        scenario: Option<&ScenarioId>,
        model: &ModelName,
        mut request: ChatRequest,
        time: Option<&Arc<Stopwatch>>,
    ) -> Result<(CallKey, ChatAnswer), CallFailure> {
        let plan = self.shared.plan(model);
        self.shared.budget.bound(&mut request, plan.price);
        let key = self.series.key(CallKey::chat(&plan.identity, &request));
        let call = Call {
            key,
            model: model.clone(),
            plan,
            tags: CallTags { cycle: self.shared.cycle, phase, purpose, scenario: scenario.cloned() },
            worst: if self.shared.budget.is_limited() { worst_case(&request) } else { worst_output(&request) },
            time: time.cloned(),
        };
        let (models, name, request) = (Arc::clone(&self.shared.models), model.clone(), Arc::new(request));
        let ask = move |time: Arc<CallTime>| -> BoxFuture<'static, Result<Answer, CallError>> {
            let (models, name, request) = (Arc::clone(&models), name.clone(), Arc::clone(&request));
            Box::pin(async move { models.chat(&name, &request, &time).await.map(Answer::Chat) })
        };
        match self.shared.answer(call, Box::new(ask)).await? {
            Answer::Chat(answer) => Ok((key, answer)),
            Answer::Embeddings(_) | Answer::Unusable(_) => unreachable!("the kind of call is part of its key"),
        }
    }

    /// Calls an embedding model, or answers from the ledger.
    ///
    /// # Errors
    /// [`CallFailure`] when there is no answer that may be used.
    pub async fn embed(
        &self,
        phase: Phase,
        model: &ModelName,
        request: EmbedRequest,
    ) -> Result<Embeddings, CallFailure> {
        let plan = self.shared.plan(model);
        let call = Call {
            key: self.series.key(CallKey::embed(&plan.identity, &request)),
            model: model.clone(),
            plan,
            tags: CallTags { cycle: self.shared.cycle, phase, purpose: Purpose::Embed, scenario: None },
            worst: worst_case_of_texts(&request),
            time: None,
        };
        let (models, name, request) = (Arc::clone(&self.shared.models), model.clone(), Arc::new(request));
        let ask = move |time: Arc<CallTime>| -> BoxFuture<'static, Result<Answer, CallError>> {
            let (models, name, request) = (Arc::clone(&models), name.clone(), Arc::clone(&request));
            Box::pin(async move { models.embed(&name, &request, &time).await.map(Answer::Embeddings) })
        };
        match self.shared.answer(call, Box::new(ask)).await? {
            Answer::Embeddings(answer) => Ok(answer),
            Answer::Chat(_) | Answer::Unusable(_) => unreachable!("the kind of call is part of its key"),
        }
    }

    /// Discards useless answers, so that the next identical call is made again. Their cost still counts.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be written.
    pub async fn discard(&self, keys: Vec<CallKey>) -> Result<(), StoreError> {
        if keys.is_empty() { Ok(()) } else { self.shared.ledger.discard(keys).await }
    }

    /// Like [`discard`](Self::discard), but only for answers that another cycle has paid: a fresh one may be usable.
    /// Returns whether there were any, so that a retry makes sense.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be written.
    pub async fn discard_of_others(&self, keys: &[CallKey]) -> Result<bool, StoreError> {
        let (mut any, mut old) = (false, Vec::new());
        {
            let mut paid_by_others = lock(&self.shared.paid_by_others);
            for key in keys {
                if let Some(is_discarded) = paid_by_others.get_mut(key) {
                    any = true;
                    if !std::mem::replace(is_discarded, true) {
                        old.push(*key);
                    }
                }
            }
        }
        self.discard(old).await?;
        Ok(any)
    }

    /// The calls and their cost so far.
    #[must_use]
    pub fn spending(&self) -> Spending {
        lock(&self.shared.spending).clone()
    }

    /// What the cycle has spent, including what it paid before it was killed.
    #[must_use]
    pub fn spent(&self) -> Money {
        self.shared.budget.spent()
    }

    /// What the user should know about the calls so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.shared.budget.warnings();
        warnings.extend(lock(&self.shared.spending).warnings());
        warnings
    }

    /// Waits until no call is running, so that everything that is paid for is in the ledger.
    pub async fn settle(&self) {
        self.shared.budget.settle().await;
    }
}

impl Shared {
    fn plan(&self, model: &ModelName) -> Arc<ModelPlan> {
        Arc::clone(self.plans.get(model).expect("a plan refers only to models that it has"))
    }

    async fn answer(self: &Arc<Self>, call: Call, ask: Ask) -> Result<Answer, CallFailure> {
        // Identical calls take turns: the second finds the answer of the first in the ledger.
        let turn = Turn::take(&self.turns, call.key).await;
        if let Some(recorded) = self.ledger.find(call.key).await? {
            if recorded.cycle != self.cycle {
                lock(&self.paid_by_others).entry(call.key).or_insert(false);
            }
            self.count(&call, Answered::FromLedger);
            return Ok(recorded.answer);
        }
        if self.stop.is_cancelled() {
            return Err(CallFailure::Cancelled);
        }
        let reservation = self.budget.reserve(call.worst_cost()).await?;
        if let Some(error) = self.broken.get() {
            return Err(error.clone().into());
        }
        let shared = Arc::clone(self);
        let paying = tokio::spawn(
            held::until_done(async move {
                let paid = shared.pay(&call, &ask, reservation).await;
                drop(turn);
                paid
            })
            .in_current_span(),
        );
        match paying.await {
            Ok(paid) => paid,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and the process with it.
                Err(_) => Err(CallFailure::Cancelled),
            },
        }
    }

    /// Sends the request until an answer is usable, and records every answer that is paid.
    async fn pay(&self, call: &Call, ask: &Ask, mut reservation: Reservation) -> Result<Answer, CallFailure> {
        let allowed = call.plan.limits.attempts;
        let mut attempts = 0;
        loop {
            let time = Arc::new(CallTime::within(call.time.clone()));
            let span = span(call);
            let mut error = match ask(Arc::clone(&time)).instrument(span.clone()).await {
                Ok(answer) => {
                    self.book(call, answer.clone(), &time, &span, reservation).await?;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let Some(usage) = error.usage else { return Err(error.into()) };
            attempts += error.attempts;
            error.attempts = attempts;
            let unusable = Answer::Unusable(Unusable { why: error.to_string(), usage });
            self.book(call, unusable, &time, &span, reservation).await?;
            if !error.kind.is_retryable() || attempts >= allowed {
                return Err(error.into());
            }
            if self.stop.is_cancelled() {
                return Err(CallFailure::Cancelled);
            }
            reservation = self.budget.reserve(call.worst_cost()).await?;
        }
    }

    /// Records an answer, and counts what it cost.
    async fn book(
        &self,
        call: &Call,
        answer: Answer,
        time: &CallTime,
        span: &tracing::Span,
        reservation: Reservation,
    ) -> Result<(), CallFailure> {
        let usage = answer.usage();
        let cost = call.plan.price.map(|price| price.of(usage));
        span.record("gen_ai.usage.input_tokens", usage.input);
        span.record("gen_ai.usage.output_tokens", usage.output);
        if let Some(cost) = cost {
            span.record("cost", field::display(cost));
        }
        let answered = match &answer {
            Answer::Unusable(_) => Answered::Unusable(usage, cost),
            _ if answer.is_estimated() => Answered::Estimated(usage, cost),
            Answer::Chat(_) | Answer::Embeddings(_) => Answered::Paid(usage, cost),
        };
        let entry = LedgerEntry {
            key: call.key,
            identity: call.plan.identity.clone(),
            model: call.model.clone(),
            answer,
            cost,
            latency: time.last(),
            tags: call.tags.clone(),
        };
        if let Err(error) = self.ledger.record(entry).await {
            // Only the first error is kept.
            let _ = self.broken.set(error.clone());
            return Err(error.into());
        }
        if usage.output > call.worst.output {
            self.budget.overran(&call.model, usage.output, call.worst.output);
        }
        reservation.settle(cost);
        self.count(call, answered);
        Ok(())
    }

    fn count(&self, call: &Call, answered: Answered) {
        let CallTags { phase, scenario, .. } = &call.tags;
        self.progress.call(*phase, !matches!(answered, Answered::FromLedger), answered.cost());
        lock(&self.spending).count(*phase, &call.model, scenario.as_ref(), answered);
    }
}

/// The span of a request.
fn span(call: &Call) -> tracing::Span {
    let ModelIdentity { provider, model, .. } = &call.plan.identity;
    tracing::info_span!(
        "call",
        phase = %call.tags.phase,
        purpose = call.tags.purpose.as_str(),
        gen_ai.provider.name = %provider,
        gen_ai.request.model = %model,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        cost = field::Empty,
    )
}

/// Locks a mutex. Only plain assignments happen under it, so the value is consistent even if the lock is poisoned.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
