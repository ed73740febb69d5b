//! One cycle, phase by phase.

mod challenger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument;

use self::challenger::{Finalist, Findings, Gated};
use super::calls::Calls;
use super::cluster::Clustered;
use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::ports::{Clock, CycleRecord, CycleStart, History, Memory, Progress};
use super::report::{
    CallCounts, ClusterReport, Cost, Kind, MeasuredOn, Report, RoundGrouping, SCHEMA_VERSION, ScenarioCounts, Side,
    means,
};
use super::shadow::{self, Paired};
use super::subject::Subject;
use super::{Outcome, Pipeline, apply, cluster, gate};
use crate::api::Plan;
use crate::api::plan::ClusteringPlan;
use crate::decide;
use crate::decide::conclude::{Conclusion, Evidence, Search, Verdict, conclude};
use crate::decide::critical::{Critical, NewFailure};
use crate::domain::call::Phase;
use crate::domain::cluster::{Cluster, Failure};
use crate::domain::hash::ContentHash;
use crate::domain::ids::DimensionName;
use crate::domain::score::{Evaluation, ScenarioResult};
use crate::domain::version::VersionPhase;
use crate::domain::words::{by_number, counted};

/// A cycle under way.
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
                champion_text: plan.champion.text().to_owned(),
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

    /// The door of its calls.
    pub(super) fn calls(&self) -> Arc<Calls> {
        Arc::clone(&self.calls)
    }

    /// The loop: run and score → (cluster → patch → validate) by rounds → shadow → gate → apply.
    pub(super) async fn run(self) -> Result<Outcome, CycleError> {
        let mut findings = Findings::default();
        match self.find_challenger(&mut findings).await {
            Ok((search, None)) => self.close(search, findings, None).await,
            Ok((search, Some(finalist))) => match self.prove(finalist, &mut findings).await {
                Ok(gated) => self.close(search, findings, Some((gated, MeasuredOn::HeldOut))).await,
                Err(error) => self.out_of_budget(error, findings).await,
            },
            Err(error) => self.out_of_budget(error, findings).await,
        }
    }

    async fn find_challenger(&self, findings: &mut Findings) -> Result<(Search, Option<Finalist>), CycleError> {
        self.measure_champion().await?;
        self.search(findings).await?;
        self.finalist(findings).await
    }

    /// A budget that is used up is a verdict, not an error: what was found until then is in the report.
    async fn out_of_budget(self, error: CycleError, findings: Findings) -> Result<Outcome, CycleError> {
        match error {
            CycleError::BudgetExhausted(why) => {
                self.close(Search::BudgetExhausted { why: why.to_string() }, findings, None).await
            }
            error => Err(error),
        }
    }

    /// A given challenger: shadow → gate, on everything.
    pub(super) async fn compare(self, challenger: Arc<Subject>) -> Result<Outcome, CycleError> {
        let all: Vec<usize> = (0..self.plan.scenarios.len()).collect();
        let mut findings = Findings::default();
        if challenger.id == self.champion.id {
            return self.close(Search::SamePrompt, findings, None).await;
        }
        let finalist = Finalist { subject: challenger, units: Vec::new() };
        let gated = match self.compare_with(finalist, &all, &mut findings).await {
            Ok(gated) => gated,
            Err(error) => return self.out_of_budget(error, findings).await,
        };
        let failures = self.failures(&self.champion, &gated.paired.scenarios, self.plan.gate.repeats);
        findings.failures = failures.len();
        self.cluster(1, failures, &mut findings).await?;
        self.close(Search::Challenger, findings, Some((gated, MeasuredOn::All))).await
    }

    async fn compare_with(
        &self,
        finalist: Finalist,
        all: &[usize],
        findings: &mut Findings,
    ) -> Result<Gated, CycleError> {
        let paired = self.shadow(&finalist.subject, all).await?;
        self.judge(finalist, paired, &[], findings).await
    }

    /// *Run* and *score*: how the champion does on what may be learned from and on the regression part.
    async fn measure_champion(&self) -> Result<(), CycleError> {
        let suite = self.plan.split.suite();
        let repeats = 0..self.plan.execution.repeats;
        let total = (suite.len() * repeats.len()) as u64;
        self.progress.begin(Phase::Run, "champion on the training and regression scenarios", Some(total));
        let measure = self.evaluator.evaluate(&self.champion, &suite, repeats, CountedAs::BASELINE);
        measure.instrument(phase_span(Phase::Run)).await.map(drop)
    }

    /// *Shadow*: both prompts on the same scenarios.
    async fn shadow(&self, challenger: &Arc<Subject>, from: &[usize]) -> Result<Paired, CycleError> {
        let drawn = shadow::sample(&self.plan, from);
        let total = (2 * drawn.len() * self.plan.gate.repeats as usize) as u64;
        self.progress.begin(Phase::Shadow, "champion and challenger on the same scenarios", Some(total));
        shadow::compare(&self.plan, &self.evaluator, &self.champion, challenger, drawn)
            .instrument(phase_span(Phase::Shadow))
            .await
    }

    /// *Gate*: the evidence, judged.
    fn gate(&self, paired: &Paired, again: &[(usize, NewFailure)], others: &[Option<f64>]) -> decide::gate::Report {
        self.progress.begin(Phase::Gate, "judging the evidence", None);
        phase_span(Phase::Gate).in_scope(|| gate::judge(&self.plan, paired, &self.memory, again, others))
    }

    /// *Apply*: the outcome is concluded and recorded.
    async fn close(
        self,
        search: Search,
        mut findings: Findings,
        gated: Option<(Gated, MeasuredOn)>,
    ) -> Result<Outcome, CycleError> {
        let compared = gated.as_ref().map(|(gated, on)| (gated.paired.compared(), *on));
        let (measured, measured_on) = if let Some((compared, on)) = &compared {
            (compared.champion.clone(), *on)
        } else {
            let suite = self.plan.split.suite();
            (self.evaluator.measured(&self.champion, &suite, &(0..self.plan.execution.repeats)), MeasuredOn::Training)
        };
        let gated = gated.map(|(gated, _)| gated);
        let critical = self.critical(std::mem::take(&mut findings.critical));
        let exhausted = self.plan.budget.filter(|_| matches!(search, Search::BudgetExhausted { .. }));
        let Conclusion { verdict, reasons } = conclude(&Evidence {
            search,
            gate: gated.as_ref().map(|gated| &gated.report),
            critical: &critical,
            challenger: gated.as_ref().map(|gated| gated.finalist.subject.id.short()),
            promotes: self.kind == Kind::Run,
            champion_score: means(&self.plan, &measured).score,
            minimum_score: self.plan.gate.minimum_score,
        });
        self.progress.begin(Phase::Apply, "recording the outcome", None);
        let fate = match verdict {
            Verdict::Promoted => VersionPhase::Champion,
            // Who compares decides for themselves what is served.
            Verdict::Passed | Verdict::Inconclusive => VersionPhase::Candidate,
            Verdict::Kept | Verdict::BelowThreshold => VersionPhase::Rejected,
        };
        // Transcripts of the same prompt are compared without there being another version.
        let other = gated.as_ref().filter(|gated| gated.finalist.subject.prompt != self.champion.prompt);
        let challenger = match other {
            Some(Gated { finalist, .. }) => {
                let prompt = &finalist.subject.prompt;
                let known = self.history.version_of(&self.object, prompt.hash()).await?;
                let name = known.unwrap_or_else(|| format!("v{}", self.memory.next_version).into());
                Some(apply::Challenger { name, prompt, addresses: finalist.addresses(), phase: fate })
            }
            None => None,
        };
        let versions = apply::versions(&self.champion.prompt, challenger, &self.memory);
        if let (Some(gated), VersionPhase::Rejected) = (&gated, fate) {
            findings.rejected.extend(gated.rejected());
        }
        let mut sides = vec![self.side(&versions[0], &measured, measured_on)];
        let mut evaluations = vec![measured.clone()];
        if let (Some((compared, _)), Some(Gated { paired, .. })) = (&compared, &gated) {
            sides.push(self.side(versions.last().unwrap_or(&versions[0]), &compared.challenger, measured_on));
            evaluations = vec![paired.champion.clone(), paired.challenger.clone()];
        }
        let mut sides = sides.into_iter();
        let spending = self.calls.spending();
        let report = Report {
            schema: SCHEMA_VERSION.to_owned(),
            kind: self.kind,
            object: self.object.clone(),
            cycle: self.id.to_string(),
            verdict,
            reasons,
            champion: sides.next().expect("there is always a champion"),
            challenger: sides.next(),
            gate: gated.map(|gated| gated.report),
            critical: (critical != Critical::default()).then_some(critical),
            clusters: findings.clusters.iter().map(|(round, cluster)| ClusterReport::of(*round, cluster)).collect(),
            groupings: findings.groupings,
            attempts: findings.attempts,
            scenarios: ScenarioCounts::of(&self.plan),
            calls: CallCounts::of(&spending),
            cost: Cost::of(&self.plan, &spending, self.calls.spent()),
            seconds: self.began.elapsed().as_secs_f64(),
            warnings: self.warnings(&evaluations),
        };
        let record = CycleRecord {
            cycle: self.id,
            object: self.object.clone(),
            verdict,
            report: serde_json::to_value(&report).expect("a report is JSON"),
            versions: versions.clone(),
            rejected: findings.rejected,
            clusters: findings.clusters.into_iter().map(|(_, cluster)| cluster).collect(),
            dimensions: self.plan.dimensions.iter().map(|dimension| dimension.name.clone()).collect(),
            champion_scores: self.remembered_scores(&evaluations[0], measured_on),
            evaluations,
            at: self.clock.now(),
        };
        self.history.close(record).await?;
        tracing::info!(verdict = verdict.as_str(), calls = report.calls.total, paid = %report.cost.paid, "cycle ends");
        Ok(Outcome { report, versions, spent: self.calls.spent(), exhausted })
    }

    /// What was found about critical dimensions; empty when nothing was looked at.
    fn critical(&self, found: Critical) -> Critical {
        if found.checked.is_empty() && found.failures.is_empty() {
            return Critical::default();
        }
        let critical = self.plan.dimensions.iter().filter(|dimension| dimension.critical);
        Critical { dimensions: critical.map(|dimension| dimension.name.clone()).collect(), ..found }
    }

    /// The mean scores that later cycles take percentiles of: those of a champion that was measured on all held-out scenarios.
    fn remembered_scores(&self, measured: &Evaluation, measured_on: MeasuredOn) -> BTreeMap<DimensionName, f64> {
        let is_complete =
            measured_on == MeasuredOn::HeldOut && measured.results.iter().all(|result| !result.samples.is_empty());
        if !is_complete {
            return BTreeMap::new();
        }
        means(&self.plan, measured).dimensions.into_iter().map(|(name, mean)| (name.into(), mean)).collect()
    }

    fn side(&self, version: &crate::domain::version::Version, measured: &Evaluation, measured_on: MeasuredOn) -> Side {
        let means = means(&self.plan, measured);
        Side {
            version: version.name.to_string(),
            hash: version.hash.to_string(),
            score: means.score,
            dimensions: means.dimensions,
            pass_rate: means.pass_rate,
            failing: failing(measured),
            measured_on,
            scenarios: measured.results.len(),
            unscored: measured.results.iter().filter(|result| result.pass_rate().is_none()).count(),
            answers: self.evaluator.answers(measured),
            diff: version.diff.clone(),
            addresses: version.addresses.clone(),
        }
    }

    fn warnings(&self, evaluations: &[Evaluation]) -> Vec<String> {
        let mut warnings = self.plan.warnings.clone();
        let errors: Vec<&String> = evaluations.iter().flat_map(|e| &e.results).flat_map(|r| &r.errors).collect();
        if let Some(first) = errors.first() {
            warnings.push(format!(
                "{} ended in {} neither for nor against a prompt; the first: {first}",
                counted(errors.len(), "run"),
                by_number(errors.len(), "an error and counts", "errors and count")
            ));
        }
        warnings.extend(self.evaluator.warnings());
        warnings.extend(self.calls.warnings());
        warnings
    }

    fn failures(&self, subject: &Subject, scenarios: &[usize], repeats: u32) -> Vec<Failure> {
        self.evaluator.failures(subject, scenarios, &(0..repeats)).into_iter().map(|(_, failure)| failure).collect()
    }

    /// *Cluster*: the groups of a round, which are also put down for the report.
    async fn cluster(
        &self,
        round: u32,
        failures: Vec<Failure>,
        findings: &mut Findings,
    ) -> Result<Vec<Cluster>, CycleError> {
        self.progress.begin(Phase::Cluster, &counted(failures.len(), "failure"), None);
        let ClusteringPlan { embeddings, threshold, max_clusters } = &self.plan.clustering;
        let Clustered { clusters, groupings } =
            cluster::group(&self.calls, embeddings.as_ref(), failures, *threshold, *max_clusters)
                .instrument(phase_span(Phase::Cluster))
                .await?;
        findings.clusters.extend(clusters.iter().map(|cluster| (round, cluster.clone())));
        findings.groupings.extend(groupings.into_iter().map(|grouping| RoundGrouping { round, grouping }));
        Ok(clusters)
    }
}

/// The scenarios that were not passed in most of their repeats.
fn failing(measured: &Evaluation) -> Vec<String> {
    let fails = |result: &&ScenarioResult| result.pass_rate().is_some_and(|rate| rate < 0.5);
    measured.results.iter().filter(fails).map(|result| result.scenario.to_string()).collect()
}

/// The span of a phase. Its beginning is an event too, so that a log shows where a cycle is.
fn phase_span(phase: Phase) -> tracing::Span {
    let span = tracing::info_span!("phase", phase = %phase);
    span.in_scope(|| tracing::info!("begins"));
    span
}
