//! One cycle, phase by phase.

mod challenger;
mod close;

use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument;

use self::challenger::{ChallengerSearch, Findings};
use self::close::End;
use super::calls::Calls;
use super::cluster::Clustered;
use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::ports::{Clock, CycleStart, History, Memory, Progress};
use super::report::Kind;
use super::shadow::{self, Paired};
use super::subject::Subject;
use super::{Outcome, Pipeline, cluster, gate};
use whetstone_decide::conclude::NoChallenger;
use whetstone_decide::critical::NewFailure;
use whetstone_domain::call::Phase;
use whetstone_domain::cluster::Failure;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::plan::ClusteringPlan;
use whetstone_domain::plan::Plan;
use whetstone_domain::suite::ScenarioKey;
use whetstone_domain::words::counted;

/// A running cycle.
pub(super) struct Cycle {
    id: ContentHash,
    object: String,
    plan: Arc<Plan>,
    calls: Arc<Calls>,
    evaluator: Arc<Evaluator>,
    history: Arc<dyn History>,
    clock: Arc<dyn Clock>,
    progress: Arc<dyn Progress>,
    champion: Arc<Subject>,
    memory: Memory,
    kind: Kind,
    attempt: u32,
    began: Instant,
}

impl Cycle {
    pub(super) async fn open(pipeline: Pipeline, challenger: Option<ContentHash>) -> Result<Self, CycleError> {
        let Pipeline { plan, models, ledger, history, clock, progress, stop, attempt } = pipeline;
        let inputs = (plan.identity(), attempt, challenger);
        let id = if attempt == 0 && challenger.is_none() { inputs.0 } else { ContentHash::of_json(&inputs) };
        let object = format!("{}/{}", plan.namespace, plan.name);
        let memory = history
            .open(CycleStart {
                cycle: id,
                object: object.clone(),
                champion: plan.champion.hash(),
                champion_text: plan.champion.system().text().to_owned(),
                at: clock.now(),
            })
            .await?;
        let (models_of_plan, budget) = (plan.models.clone(), plan.budget);
        let calls =
            Calls::open(id, models_of_plan, budget, models, ledger, Arc::clone(&progress), stop.clone()).await?;
        let calls = Arc::new(calls.in_series(plan.execution.series));
        let evaluator = Arc::new(Evaluator::new(Arc::clone(&plan), Arc::clone(&calls), Arc::clone(&progress), stop));
        let champion = Arc::new(Subject::champion(&plan));
        let kind = if challenger.is_some() { Kind::Compare } else { Kind::Run };
        let began = Instant::now();
        Ok(Self {
            id,
            object,
            plan,
            calls,
            evaluator,
            history,
            clock,
            progress,
            champion,
            memory,
            kind,
            attempt,
            began,
        })
    }

    /// The calls of the cycle.
    pub(super) fn calls(&self) -> Arc<Calls> {
        Arc::clone(&self.calls)
    }

    /// The loop: run and score → (cluster → patch → validate) in rounds → shadow → gate → apply.
    pub(super) async fn run(self) -> Result<Outcome, CycleError> {
        let mut search = ChallengerSearch::new(&self);
        let end = match self.measure_champion().await {
            Ok(()) => search.run().await,
            Err(error) => Err(error),
        };
        let findings = search.into_findings();
        self.end(end, findings).await
    }

    /// Gates a given challenger on all scenarios: shadow → gate → cluster → apply.
    pub(super) async fn compare(self, challenger: Arc<Subject>) -> Result<Outcome, CycleError> {
        let mut search = ChallengerSearch::new(&self);
        let end = search.compare(challenger).await;
        let findings = search.into_findings();
        self.end(end, findings).await
    }

    /// Ends the cycle. An exhausted budget is a verdict, not an error: the report has what was found until then.
    async fn end(self, end: Result<End, CycleError>, findings: Findings) -> Result<Outcome, CycleError> {
        let end = match end {
            Err(CycleError::BudgetExhausted(why)) => End::Nothing(NoChallenger::BudgetExhausted(why)),
            end => end?,
        };
        self.close(end, findings).await
    }

    /// *Run* and *score*: measures the champion on the training and the regression part.
    async fn measure_champion(&self) -> Result<(), CycleError> {
        let suite = self.plan.split.suite();
        let repeats = 0..self.plan.execution.repeats;
        let total = (suite.len() * repeats.len()) as u64;
        self.progress.begin(Phase::Run, "champion on the training and regression scenarios", Some(total));
        let measure = self.evaluator.evaluate(&self.champion, &suite, repeats, CountedAs::BASELINE);
        measure.instrument(phase_span(Phase::Run)).await.map(drop)
    }

    /// *Shadow*: measures both prompts on the same scenarios.
    async fn shadow(&self, challenger: &Arc<Subject>, from: &[ScenarioKey]) -> Result<Paired, CycleError> {
        let drawn = shadow::sample(&self.plan, from);
        let total = (2 * drawn.len() * self.plan.gate.repeats as usize) as u64;
        self.progress.begin(Phase::Shadow, "champion and challenger on the same scenarios", Some(total));
        shadow::compare(&self.plan, &self.evaluator, &self.champion, challenger, drawn)
            .instrument(phase_span(Phase::Shadow))
            .await
    }

    /// *Gate*: judges the evidence.
    fn gate(
        &self,
        paired: &Paired,
        again: &[(ScenarioKey, NewFailure)],
        others: &[Option<f64>],
    ) -> whetstone_decide::gate::Report {
        self.progress.begin(Phase::Gate, "judging the evidence", None);
        phase_span(Phase::Gate).in_scope(|| gate::judge(&self.plan, paired, &self.memory, again, others))
    }

    fn failures(&self, subject: &Subject, scenarios: &[ScenarioKey], repeats: u32) -> Vec<Failure> {
        self.evaluator.failures(subject, scenarios, &(0..repeats)).into_iter().map(|(_, failure)| failure).collect()
    }

    /// *Cluster*: groups failures.
    async fn cluster(&self, failures: Vec<Failure>) -> Result<Clustered, CycleError> {
        self.progress.begin(Phase::Cluster, &counted(failures.len(), "failure"), None);
        let ClusteringPlan { embeddings, threshold, max_clusters } = &self.plan.clustering;
        cluster::group(&self.calls, embeddings.as_ref(), failures, *threshold, *max_clusters)
            .instrument(phase_span(Phase::Cluster))
            .await
    }
}

/// The span of a phase. Its beginning is also an event, so that the log shows the progress of a cycle.
fn phase_span(phase: Phase) -> tracing::Span {
    let span = tracing::info_span!("phase", phase = %phase);
    span.in_scope(|| tracing::info!("begins"));
    span
}
