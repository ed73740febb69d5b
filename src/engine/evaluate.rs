//! Phases *run* and *score*, combined per scenario: a prompt and a set of scenarios → an evaluation.
//!
//! They are combined because all transcripts together do not fit in memory: each is scored as soon as it is complete, and
//! only its scores and, if it failed, a short failure are kept ([`outcomes`]). Nothing is measured twice in a cycle. Runs
//! that end in errors count for neither side; a cycle with too many of them stops ([`errors`]).

mod errors;
mod outcomes;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::errors::{Errors, RunFailure};
use self::outcomes::{Outcome, Outcomes, Reading, Scored};
use super::calls::{CallFailure, Calls, OUTPUT_LIMIT};
use super::error::CycleError;
use super::ports::Progress;
use super::report::AnswerCounts;
use super::run::{self, RunError, run};
use super::score::failure::failure;
use super::score::fence::fenced;
use super::score::judge::JudgeError;
use super::score::{Examined, ScoreError, examine, judged};
use super::subject::Subject;
use super::texts::Texts;
use whetstone_domain::call::{CallKey, ChatRequest, Phase, Purpose};
use whetstone_domain::cluster::Failure;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ModelName;
use whetstone_domain::plan::Plan;
use whetstone_domain::plan::RuntimePlan;
use whetstone_domain::plan::scoring::Scorer;
use whetstone_domain::scenario::Scenario;
use whetstone_domain::score::{Evaluation, Sample, ScenarioResult};
use whetstone_domain::suite::{ScenarioKey, Suite};
use whetstone_domain::transcript::Transcript;

/// The maximum number of a cycle's transcripts that are examined concurrently, if examining them may take long.
const EXAMINATIONS: usize = 2;

/// The phases under which the calls of an evaluation are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedAs {
    /// Turns of agent and user.
    pub run: Phase,
    /// Verdicts of the judge.
    pub score: Phase,
}

impl CountedAs {
    /// The first measurement of the champion.
    pub(crate) const BASELINE: Self = Self { run: Phase::Run, score: Phase::Score };
    /// Trying candidates.
    pub(crate) const VALIDATE: Self = Self { run: Phase::Validate, score: Phase::Validate };
    /// Comparing champion and challenger.
    pub(crate) const SHADOW: Self = Self { run: Phase::Shadow, score: Phase::Shadow };
}

/// Measures prompts, and keeps the results for the rest of the cycle.
pub(crate) struct Evaluator {
    plan: Arc<Plan>,
    calls: Arc<Calls>,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    /// Limits concurrent runs, over all concurrent evaluations.
    slots: Semaphore,
    /// Limits transcripts that are examined concurrently, so that one object's computations do not take all cores from the
    /// others.
    examinations: Semaphore,
    /// The texts that running runs hold.
    texts: Texts,
    outcomes: Mutex<Outcomes>,
    errors: Mutex<Errors>,
}

impl Evaluator {
    /// An evaluator for the agent and the dimensions of a plan. Scenarios may belong to any suite.
    #[must_use]
    pub(crate) fn new(
        plan: Arc<Plan>,
        calls: Arc<Calls>,
        progress: Arc<dyn Progress>,
        stop: CancellationToken,
    ) -> Self {
        let slots = Semaphore::new(plan.execution.concurrency);
        Self {
            plan,
            calls,
            progress,
            stop,
            slots,
            examinations: Semaphore::new(EXAMINATIONS),
            texts: Texts::default(),
            outcomes: Mutex::default(),
            errors: Mutex::default(),
        }
    }

    /// Runs a subject in each of the scenarios, once per repeat, and scores the runs. Each run is a step of progress.
    ///
    /// # Errors
    /// [`CycleError`] if no other run can succeed either, or if more runs ended in errors than the plan tolerates.
    pub(crate) async fn evaluate(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        scenarios: &[ScenarioKey],
        repeats: Range<u32>,
        counted: CountedAs,
    ) -> Result<Evaluation, CycleError> {
        let mut missing: Vec<(ScenarioKey, u32)> = {
            let mut measured = self.outcomes();
            measured.look_at(subject, self.most_repeats());
            scenarios
                .iter()
                .flat_map(|scenario| repeats.clone().map(move |repeat| (scenario.clone(), repeat)))
                .filter(|(scenario, repeat)| !measured.contains(&(subject.id, scenario.clone(), *repeat)))
                .collect()
        };
        self.progress.advance((scenarios.len() * repeats.len() - missing.len()) as u64);
        if self.plan.budget.is_some() {
            // In this order, so that the most important runs are done if the budget runs out.
            missing.sort_by(|a, b| b.0.impact().total_cmp(&a.0.impact()));
        }
        self.measure(subject, missing, counted).await?;
        Ok(self.measured(subject, scenarios, &repeats))
    }

    /// The failures of a subject in the given scenarios that it fails, which means that it passes at most half of the
    /// repeats.
    #[must_use]
    pub(crate) fn failures(
        &self,
        subject: &Subject,
        scenarios: &[ScenarioKey],
        repeats: &Range<u32>,
    ) -> Vec<(ScenarioKey, Failure)> {
        self.outcomes().failures(subject, scenarios, repeats)
    }

    /// The given scenarios that a subject fails.
    #[must_use]
    pub(crate) fn failing(
        &self,
        subject: &Subject,
        scenarios: &[ScenarioKey],
        repeats: &Range<u32>,
    ) -> Vec<ScenarioKey> {
        self.failures(subject, scenarios, repeats).into_iter().map(|(scenario, _)| scenario).collect()
    }

    /// What was measured of a subject in these scenarios so far. Measures nothing.
    #[must_use]
    pub(crate) fn measured(&self, subject: &Subject, scenarios: &[ScenarioKey], repeats: &Range<u32>) -> Evaluation {
        self.outcomes().measured(subject, scenarios, repeats)
    }

    /// Counts unusual answers of the agent in the runs of an evaluation.
    #[must_use]
    pub(crate) fn answers(&self, suite: &Suite, measured: &Evaluation) -> AnswerCounts {
        self.outcomes().answers(suite, measured)
    }

    /// What the user should know about the runs so far.
    #[must_use]
    pub(crate) fn warnings(&self) -> Vec<String> {
        let outcomes = self.outcomes();
        let mut warnings = Vec::new();
        let unseen = outcomes.unseen_calls();
        if unseen > 0 {
            warnings.push(format!(
                "spec.agent.runtime.endpoint: no answer of the agent has ever shown a tool call, so what the scenarios expect of \
                 tool calls was not scored in {}; have the endpoint return its tool calls in its last message, or \
                 judge by checks and rubrics",
                counted(unseen, "run", "runs")
            ));
        }
        if let Some((runs, first)) = outcomes.not_recorded() {
            let runs = counted(runs, "run has no transcript and counts", "runs have no transcript and count");
            warnings.push(format!("{runs} neither for nor against a prompt; the first: {first}"));
        }
        let unused = outcomes.unused();
        if unused > 0 {
            let transcripts = counted(unused, "recorded transcript is", "recorded transcripts are");
            let repeats = counted(self.most_repeats() as usize, "repeat", "repeats");
            warnings.push(format!(
                "{transcripts} ignored: only {repeats} of each scenario count; raise spec.execution.repeats to use more"
            ));
        }
        let cut_short = outcomes.cut_short();
        if cut_short > 0 && self.plan.budget.is_some() && !self.has_output_limit() {
            let runs = counted(cut_short, "run", "runs");
            warnings.push(format!(
                "in {runs} an answer of the agent was cut at {OUTPUT_LIMIT} output tokens, the limit that goes along where there \
                 is a budget; set parameters.maxOutputTokens of spec.agent.runtime"
            ));
        }
        warnings
    }

    /// The most repeats of a scenario that a verdict may use.
    fn most_repeats(&self) -> u32 {
        self.plan.execution.repeats.max(self.plan.gate.repeats)
    }

    /// Whether the resource sets a limit on the agent's output tokens.
    fn has_output_limit(&self) -> bool {
        match &self.plan.runtime {
            RuntimePlan::Model { parameters, .. } | RuntimePlan::Endpoint { parameters, .. } => {
                parameters.max_output_tokens.is_some()
            }
            RuntimePlan::Replay { .. } => true,
        }
    }

    async fn measure(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        missing: Vec<(ScenarioKey, u32)>,
        counted: CountedAs,
    ) -> Result<(), CycleError> {
        let runs = missing.len();
        self.errors().expect(runs);
        let mut queue = missing.into_iter();
        let mut under_way = JoinSet::new();
        let mut in_vain: Vec<String> = Vec::new();
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
                let span = tracing::info_span!("scenario", id = %scenario.id, repeat);
                under_way.spawn(
                    async move {
                        let outcome = this.measure_one(&subject, &scenario, repeat, counted).await;
                        (subject.id, scenario, repeat, outcome)
                    }
                    .instrument(span),
                );
            }
            // Running runs are awaited even if the cycle stops: their calls are paid, and must be recorded.
            let Some(joined) = under_way.join_next().await else { break };
            let (subject, scenario, repeat, outcome) = joined.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => unreachable!("runs are not aborted one by one: {error}"),
            });
            self.progress.advance(1);
            match outcome {
                Ok(outcome) => {
                    match &outcome {
                        Outcome::Scored(_) => {}
                        Outcome::Errored(failure) => {
                            self.errors().add(failure);
                            in_vain.push(failure.message.clone());
                        }
                        Outcome::NotRecorded(message) => in_vain.push(message.clone()),
                    }
                    self.outcomes().insert((subject, scenario, repeat), outcome);
                }
                Err(CycleError::Call(error)) => return Err(CycleError::Call(error)),
                Err(error) => stopped = stopped.or(Some(error)),
            }
            if stopped.is_none() {
                let errors = self.errors();
                stopped = errors.too_many(self.plan.execution.error_tolerance);
                if stopped.is_none() && in_vain.len() == runs && self.outcomes().has_scored_nothing() {
                    stopped = Some(errors.nothing_scored(runs, &in_vain[0]));
                }
            }
        }
        if let Some(CycleError::TooManyErrors { .. } | CycleError::NothingScored { .. }) = &stopped {
            // Unusable answers are discarded, so that the next attempt at the cycle requests new ones.
            let useless = self.errors().take_useless();
            self.calls.discard(useless).await?;
        }
        stopped.map_or(Ok(()), Err)
    }

    async fn measure_one(
        &self,
        subject: &Subject,
        what: &ScenarioKey,
        repeat: u32,
        counted: CountedAs,
    ) -> Result<Outcome, CycleError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let held = self.texts.run();
        let ran = match run(&self.plan, &self.calls, counted.run, subject, what, repeat, &held).await {
            Ok(ran) => ran,
            Err(RunError::Call(failure)) if failure.stops_the_cycle() => return Err(failure.into()),
            Err(error @ RunError::NotRecorded { .. }) => return Ok(Outcome::NotRecorded(error.to_string())),
            Err(error) => {
                let is_retryable = match &error {
                    RunError::Call(failure) => !failure.is_refused(),
                    RunError::TooMuchText { .. } => false,
                    RunError::Timeout { .. } | RunError::SilentUser { .. } | RunError::NotRecorded { .. } => true,
                };
                let useless = match &error {
                    RunError::SilentUser { key, .. } => vec![*key],
                    _ => Vec::new(),
                };
                let cause = ContentHash::of_json(&(subject.id, what.suite(), &what.id, repeat));
                return Ok(Outcome::Errored(RunFailure { message: error.to_string(), is_retryable, cause, useless }));
            }
        };
        let examined = examine(what.scenario(), &self.plan.dimensions, &ran.transcript, &self.examinations).await;
        let mut examined = examined.expect("the checks of a plan have been compiled once already");
        if self.may_hide_calls(&ran.transcript) && what.expects_tools() {
            examined = examined.without_calls();
        }
        match self.score(&examined, what, &ran.transcript, counted).await? {
            Ok(sample) => Ok(Outcome::Scored(self.read(what, sample, ran))),
            Err(failure) => Ok(Outcome::Errored(failure)),
        }
    }

    /// Scores a transcript. Judges whose answers were unusable in another cycle are called again.
    async fn score(
        &self,
        examined: &Examined,
        what: &Scenario,
        transcript: &Transcript,
        counted: CountedAs,
    ) -> Result<Result<Sample, RunFailure>, CycleError> {
        let asked = Mutex::new(Vec::<(ModelName, CallKey)>::new());
        let ask = |model: ModelName, request: ChatRequest| {
            let asked = &asked;
            async move {
                let call =
                    self.calls.chat_and_key(counted.score, Purpose::Judge, Some(&what.id), &model, request, None);
                let (key, answer) = call.await?;
                asked.lock().unwrap_or_else(PoisonError::into_inner).push((model, key));
                Ok::<_, CallFailure>(answer)
            }
        };
        let mut is_new = false;
        let error = loop {
            let error = match judged(examined, transcript, &ask).await {
                Ok(sample) => return Ok(Ok(sample)),
                Err(ScoreError::Call(failure)) if failure.stops_the_cycle() => return Err(failure.into()),
                Err(error) => error,
            };
            let ScoreError::Judge(JudgeError { model, .. }) = &error else { break error };
            let useless = by_model(&asked, model);
            if is_new || !self.calls.discard_of_others(&useless).await? {
                break error;
            }
            is_new = true;
        };
        let useless = match &error {
            ScoreError::Judge(JudgeError { model, .. }) => by_model(&asked, model),
            ScoreError::Call(_) => Vec::new(),
        };
        Ok(Err(RunFailure {
            message: error.to_string(),
            is_retryable: !matches!(&error, ScoreError::Call(failure) if failure.is_refused()),
            // Repeats with the same text make the same requests to the judge.
            cause: ContentHash::of_json(&(&what.id, fenced(transcript))),
            useless,
        }))
    }

    /// Extracts what is kept of a run.
    fn read(&self, what: &Scenario, sample: Sample, ran: run::Run) -> Scored {
        let run::Run { transcript, unusual } = ran;
        let transcripts = std::slice::from_ref(&transcript);
        let reading = |sample: Sample| {
            let result = ScenarioResult { scenario: what.id.clone(), samples: vec![sample], errors: Vec::new() };
            let failure = failure(what, &result, &self.plan.dimensions, transcripts).map(|mut failure| {
                failure.evidence = unusual.explain(&failure.evidence);
                Arc::new(failure)
            });
            Reading { sample: result.samples.into_iter().next().expect("it was put there"), failure }
        };
        let shows_calls = transcript.tool_calls().next().is_some();
        let without_calls = (self.may_hide_calls(&transcript) && what.expects_tools()).then(|| {
            let mut sample = sample.clone();
            for (score, dimension) in sample.dimensions.iter_mut().zip(&*self.plan.dimensions) {
                if dimension.scorer == Scorer::ToolCalls {
                    *score = None;
                }
            }
            reading(sample)
        });
        Scored { reading: reading(sample), without_calls, shows_calls, unusual }
    }

    /// Whether the agent may have made tool calls that a transcript does not show.
    fn may_hide_calls(&self, transcript: &Transcript) -> bool {
        matches!(self.plan.runtime, RuntimePlan::Endpoint { .. }) && transcript.tool_calls().next().is_none()
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn errors(&self) -> MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_model(asked: &Mutex<Vec<(ModelName, CallKey)>>, model: &ModelName) -> Vec<CallKey> {
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.iter().filter(|(of, _)| of == model).map(|(_, key)| *key).collect()
}

fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

#[cfg(test)]
mod tests;
