//! Phases *run* and *score*, joined scenario by scenario: a prompt and a set of scenarios → an evaluation.
//!
//! They are joined because transcripts are too many to hold: each is scored as soon as it is there, and only its scores
//! and, where it failed, a short failure are kept. What was measured once in a cycle is not measured again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::calls::Calls;
use super::error::CycleError;
use super::ports::Progress;
use super::run::{RunError, run};
use super::score::failure::failure;
use super::score::{ScoreError, examine, judged};
use super::subject::Subject;
use super::texts::Texts;
use crate::api::Plan;
use crate::domain::call::{ChatRequest, Phase, Purpose};
use crate::domain::cluster::Failure;
use crate::domain::hash::ContentHash;
use crate::domain::ids::ModelName;
use crate::domain::score::{Evaluation, Sample, ScenarioResult};

/// Errors that are always tolerated: in a set of three scenarios, one must not stop a cycle.
const ALWAYS_TOLERATED: usize = 2;

/// Transcripts of a cycle that are examined at once, where that may take long.
const DESKS: usize = 2;

/// Which phases the calls of an evaluation are counted in.
#[derive(Clone, Copy, Debug)]
pub struct CountedAs {
    /// Turns of agent and user.
    pub run: Phase,
    /// Verdicts of the judge.
    pub score: Phase,
}

impl CountedAs {
    /// The first measurement of the champion.
    pub const BASELINE: Self = Self { run: Phase::Run, score: Phase::Score };
    /// Trying candidates.
    pub const VALIDATE: Self = Self { run: Phase::Validate, score: Phase::Validate };
    /// Comparing champion and challenger.
    pub const SHADOW: Self = Self { run: Phase::Shadow, score: Phase::Shadow };
}

/// One run, scored.
#[derive(Clone, Debug)]
enum Outcome {
    Scored {
        sample: Sample,
        failure: Option<Arc<Failure>>,
    },
    Errored {
        message: String,
        /// Another attempt may go better.
        is_retryable: bool,
    },
}

/// Measures prompts, and remembers what it has measured.
pub struct Evaluator {
    plan: Arc<Plan>,
    calls: Arc<Calls>,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    /// Runs under way, over all evaluations that go on at once.
    slots: Semaphore,
    /// Transcripts that are examined at once: what is computed for one object must not take all cores from the others.
    desk: Semaphore,
    /// What runs under way hold.
    texts: Texts,
    outcomes: Mutex<HashMap<(ContentHash, usize, u32), Outcome>>,
}

impl Evaluator {
    /// An evaluator for the scenarios and dimensions of a plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>, calls: Arc<Calls>, progress: Arc<dyn Progress>, stop: CancellationToken) -> Self {
        let slots = Semaphore::new(plan.execution.concurrency);
        Self {
            plan,
            calls,
            progress,
            stop,
            slots,
            desk: Semaphore::new(DESKS),
            texts: Texts::default(),
            outcomes: Mutex::default(),
        }
    }

    /// Runs a subject in each of the scenarios (indices into [`Plan::scenarios`]), once for each of the repeats, and scores
    /// it. Progress is told as a step a run.
    ///
    /// # Errors
    /// [`CycleError`] when nothing else can work either, or more runs ended in errors than the plan tolerates.
    pub async fn evaluate(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        scenarios: &[usize],
        repeats: Range<u32>,
        counted: CountedAs,
    ) -> Result<Evaluation, CycleError> {
        let mut missing: Vec<(usize, u32)> = {
            let measured = self.lock();
            scenarios
                .iter()
                .flat_map(|&scenario| repeats.clone().map(move |repeat| (scenario, repeat)))
                .filter(|&(scenario, repeat)| !measured.contains_key(&(subject.id, scenario, repeat)))
                .collect()
        };
        self.progress.advance((scenarios.len() * repeats.len() - missing.len()) as u64);
        if self.plan.budget.is_some() {
            // When the money runs out, what counts most has been measured.
            let impact = |scenario: usize| self.plan.scenarios[scenario].impact();
            missing.sort_by(|a, b| impact(b.0).total_cmp(&impact(a.0)));
        }
        self.measure(subject, missing, counted).await?;
        Ok(self.measured(subject, scenarios, &repeats))
    }

    /// The failures of a subject in those of the scenarios that it did not pass in most of its repeats.
    #[must_use]
    pub fn failures(&self, subject: &Subject, scenarios: &[usize], repeats: &Range<u32>) -> Vec<(usize, Failure)> {
        let measured = self.lock();
        scenarios
            .iter()
            .filter_map(|&scenario| {
                let outcomes: Vec<_> =
                    repeats.clone().filter_map(|repeat| measured.get(&(subject.id, scenario, repeat))).collect();
                let (mut scored, mut failed, mut worst) = (0_usize, 0_usize, None::<&Arc<Failure>>);
                for outcome in outcomes {
                    let Outcome::Scored { failure, .. } = outcome else { continue };
                    scored += 1;
                    if let Some(failure) = failure {
                        failed += 1;
                        if worst.is_none_or(|worst| failure.score < worst.score) {
                            worst = Some(failure);
                        }
                    }
                }
                let mostly_failed = 2 * failed >= scored;
                worst.filter(|_| mostly_failed).map(|failure| (scenario, Failure::clone(failure)))
            })
            .collect()
    }

    /// Those of the scenarios that a subject did not pass in most of its repeats.
    #[must_use]
    pub fn failing(&self, subject: &Subject, scenarios: &[usize], repeats: &Range<u32>) -> Vec<usize> {
        self.failures(subject, scenarios, repeats).into_iter().map(|(scenario, _)| scenario).collect()
    }

    async fn measure(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        missing: Vec<(usize, u32)>,
        counted: CountedAs,
    ) -> Result<(), CycleError> {
        let runs = missing.len();
        let allowed = ALWAYS_TOLERATED.max((self.plan.execution.error_tolerance * runs as f64).ceil() as usize);
        let mut queue = missing.into_iter();
        let mut under_way = JoinSet::new();
        let mut errors: Vec<(String, bool)> = Vec::new();
        let mut stopped: Option<CycleError> = None;
        loop {
            while stopped.is_none() && under_way.len() < self.plan.execution.concurrency {
                if self.stop.is_cancelled() {
                    stopped = Some(CycleError::Stopped);
                    break;
                }
                let Some((scenario, repeat)) = queue.next() else { break };
                let this = Arc::clone(self);
                let subject = Arc::clone(subject);
                let span = tracing::info_span!("scenario", id = %self.plan.scenarios[scenario].id, repeat);
                under_way.spawn(
                    async move {
                        let outcome = this.measure_one(&subject, scenario, repeat, counted).await;
                        (subject.id, scenario, repeat, outcome)
                    }
                    .instrument(span),
                );
            }
            // Runs under way are waited for even when the cycle stops: their calls are paid, and go into the ledger.
            let Some(joined) = under_way.join_next().await else { break };
            let (subject, scenario, repeat, outcome) = joined.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => unreachable!("runs are not aborted one by one: {error}"),
            });
            self.progress.advance(1);
            match outcome {
                Ok(outcome) => {
                    if let Outcome::Errored { message, is_retryable } = &outcome {
                        errors.push((message.clone(), *is_retryable));
                    }
                    self.lock().insert((subject, scenario, repeat), outcome);
                }
                Err(CycleError::Call(error)) => return Err(CycleError::Call(error)),
                Err(error) => stopped = stopped.or(Some(error)),
            }
            let too_many = errors.len() > allowed || (errors.len() == runs && self.has_scored_nothing());
            if stopped.is_none() && too_many {
                let first = errors[0].0.clone();
                let is_retryable = errors.iter().any(|(_, is_retryable)| *is_retryable);
                stopped = Some(CycleError::TooManyErrors { errors: errors.len(), runs, allowed, first, is_retryable });
            }
        }
        stopped.map_or(Ok(()), Err)
    }

    async fn measure_one(
        &self,
        subject: &Subject,
        scenario: usize,
        repeat: u32,
        counted: CountedAs,
    ) -> Result<Outcome, CycleError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let what = &self.plan.scenarios[scenario];
        let held = self.texts.run();
        let transcript = match run(&self.plan, &self.calls, counted.run, subject, what, repeat, &held).await {
            Ok(transcript) => transcript,
            Err(RunError::Call(failure)) if failure.stops_the_cycle() => return Err(failure.into()),
            Err(error) => {
                let is_retryable = match &error {
                    RunError::Call(failure) => !failure.is_refused(),
                    RunError::TooMuchText { .. } => false,
                    RunError::Timeout { .. } | RunError::NotRecorded { .. } => true,
                };
                return Ok(Outcome::Errored { message: error.to_string(), is_retryable });
            }
        };
        let examined = examine(what, &self.plan.dimensions, &transcript, &self.desk).await;
        let examined = examined.expect("the checks of a plan have been compiled once already");
        let ask = |model: ModelName, request: ChatRequest| async move {
            self.calls.chat(counted.score, Purpose::Judge, Some(&what.id), &model, request).await
        };
        let sample = match judged(&examined, &transcript, &ask).await {
            Ok(sample) => sample,
            Err(ScoreError::Call(failure)) if failure.stops_the_cycle() => return Err(failure.into()),
            Err(error) => {
                let is_retryable = !matches!(&error, ScoreError::Call(failure) if failure.is_refused());
                return Ok(Outcome::Errored { message: error.to_string(), is_retryable });
            }
        };
        let result = ScenarioResult { scenario: what.id.clone(), samples: vec![sample], errors: Vec::new() };
        let failure = failure(what, &result, &self.plan.dimensions, &[transcript]).map(Arc::new);
        let sample = result.samples.into_iter().next().expect("it was put there");
        Ok(Outcome::Scored { sample, failure })
    }

    /// What has been measured of a subject in these scenarios, without measuring more.
    #[must_use]
    pub fn measured(&self, subject: &Subject, scenarios: &[usize], repeats: &Range<u32>) -> Evaluation {
        let measured = self.lock();
        let results = scenarios.iter().map(|&scenario| {
            let mut result = ScenarioResult {
                scenario: self.plan.scenarios[scenario].id.clone(),
                samples: Vec::new(),
                errors: Vec::new(),
            };
            for repeat in repeats.clone() {
                match measured.get(&(subject.id, scenario, repeat)) {
                    Some(Outcome::Scored { sample, .. }) => result.samples.push(sample.clone()),
                    Some(Outcome::Errored { message, .. }) => result.errors.push(message.clone()),
                    None => {}
                }
            }
            result
        });
        Evaluation { prompt: subject.id, results: results.collect() }
    }

    /// Whether every run of the cycle so far has ended in an error: then nothing works. A small set that has nothing but errors is
    /// bad luck otherwise.
    fn has_scored_nothing(&self) -> bool {
        !self.lock().values().any(|outcome| matches!(outcome, Outcome::Scored { .. }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(ContentHash, usize, u32), Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
