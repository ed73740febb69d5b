//! One cycle, phase by phase.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument;

use super::calls::Calls;
use super::cluster::Clustered;
use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::patch::{Asking, LeakGuard};
use super::ports::{Clock, CycleRecord, CycleStart, History, Memory, Progress};
use super::report::{
    CallCounts, ClusterReport, Cost, Kind, Report, RoundGrouping, SCHEMA_VERSION, ScenarioCounts, Side, means,
};
use super::shadow::{self, Paired};
use super::subject::Subject;
use super::validate::{Arena, Attempt, CONFIRMING_REPEATS, Merged, regression};
use super::{Outcome, Pipeline, apply, cluster, gate};
use crate::api::Plan;
use crate::api::plan::ClusteringPlan;
use crate::decide;
use crate::decide::conclude::{Conclusion, Evidence, Search, Verdict, conclude, counted};
use crate::domain::call::Phase;
use crate::domain::cluster::{Cluster, Failure};
use crate::domain::hash::ContentHash;
use crate::domain::ids::DimensionName;
use crate::domain::patch::RejectedPatch;
use crate::domain::score::{Evaluation, ScenarioResult};
use crate::domain::version::VersionPhase;

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

/// What the search for a challenger has found.
#[derive(Default)]
struct Hunt {
    clusters: Vec<(u32, Cluster)>,
    groupings: Vec<RoundGrouping>,
    attempts: Vec<Attempt>,
    rejected: Vec<RejectedPatch>,
    /// Merged survivors of each round, each building on the one before.
    rounds: Vec<Merged>,
    failures: usize,
}

/// A prompt that is to be gated, and the clusters that it addresses.
struct Finalist {
    subject: Arc<Subject>,
    addresses: Vec<String>,
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
        let mut hunt = Hunt::default();
        match self.find_challenger(&mut hunt).await {
            Ok((search, None)) => self.close(search, hunt, None).await,
            Ok((search, Some(finalist))) => match self.shadow(&finalist.subject, &self.plan.split.held_out).await {
                Ok(paired) => self.close(search, hunt, Some((finalist, paired, "heldOut"))).await,
                Err(error) => self.out_of_budget(error, hunt).await,
            },
            Err(error) => self.out_of_budget(error, hunt).await,
        }
    }

    async fn find_challenger(&self, hunt: &mut Hunt) -> Result<(Search, Option<Finalist>), CycleError> {
        self.measure_champion().await?;
        self.hunt(hunt).await?;
        self.finalist(hunt).await
    }

    /// A budget that is used up is a verdict, not an error: what was found until then is in the report.
    async fn out_of_budget(self, error: CycleError, hunt: Hunt) -> Result<Outcome, CycleError> {
        match error {
            CycleError::BudgetExhausted(why) => {
                self.close(Search::BudgetExhausted { why: why.to_string() }, hunt, None).await
            }
            error => Err(error),
        }
    }

    /// A given challenger: shadow → gate, on everything.
    pub(super) async fn compare(self, challenger: Arc<Subject>) -> Result<Outcome, CycleError> {
        let all: Vec<usize> = (0..self.plan.scenarios.len()).collect();
        let mut hunt = Hunt::default();
        if challenger.id == self.champion.id {
            return self.close(Search::SamePrompt, hunt, None).await;
        }
        let paired = match self.shadow(&challenger, &all).await {
            Ok(paired) => paired,
            Err(error) => return self.out_of_budget(error, hunt).await,
        };
        let failures = self.failures(&self.champion, &paired.scenarios, self.plan.gate.repeats);
        hunt.failures = failures.len();
        self.cluster(1, failures, &mut hunt).await?;
        let finalist = Finalist { subject: challenger, addresses: Vec::new() };
        self.close(Search::Challenger, hunt, Some((finalist, paired, "all"))).await
    }

    /// *Run* and *score*: how the champion does on what may be learned from and on the regression part.
    async fn measure_champion(&self) -> Result<(), CycleError> {
        let suite = self.suite();
        let repeats = 0..self.plan.execution.repeats;
        let total = (suite.len() * repeats.len()) as u64;
        self.progress.begin(Phase::Run, "champion on the training and regression scenarios", Some(total));
        let measure = self.evaluator.evaluate(&self.champion, &suite, repeats, CountedAs::BASELINE);
        measure.instrument(phase_span(Phase::Run)).await.map(drop)
    }

    /// *Cluster*, *patch* and *validate*, round by round. Each round starts from what the one before has found.
    async fn hunt(&self, hunt: &mut Hunt) -> Result<(), CycleError> {
        let rounds = self.plan.patching.as_ref().map_or(1, |patching| patching.rounds);
        let mut base = Arc::clone(&self.champion);
        let guard =
            LeakGuard::new(self.plan.scenarios.iter().map(AsRef::as_ref), &self.champion.prompt, &self.plan.tools);
        for round in 1..=rounds {
            let failures = match round {
                1 => self.failures(&base, &self.plan.split.train, self.plan.execution.repeats),
                _ => self.failures_left(&base).instrument(phase_span(Phase::Validate)).await?,
            };
            if round == 1 {
                hunt.failures = failures.len();
            }
            let clusters = self.cluster(round, failures, hunt).await?;
            if clusters.is_empty() || self.plan.patching.is_none() {
                return Ok(());
            }
            let Some(merged) = self.patch_and_validate(round, &base, &clusters, &guard, hunt).await? else {
                return Ok(());
            };
            base = Arc::clone(&merged.candidate.subject);
            hunt.rounds.push(merged);
        }
        Ok(())
    }

    /// The failures that a round has left. By now many are bad luck, which no patch can mend: they have to fail again.
    async fn failures_left(&self, base: &Arc<Subject>) -> Result<Vec<Failure>, CycleError> {
        let (train, repeats) = (&self.plan.split.train, self.plan.execution.repeats);
        self.evaluator.evaluate(base, train, 0..repeats, CountedAs::VALIDATE).await?;
        let failing = self.evaluator.failing(base, train, &(0..repeats));
        let again = repeats + CONFIRMING_REPEATS;
        self.evaluator.evaluate(base, &failing, repeats..again, CountedAs::VALIDATE).await?;
        Ok(self.failures(base, &failing, again))
    }

    async fn patch_and_validate(
        &self,
        round: u32,
        base: &Arc<Subject>,
        clusters: &[Cluster],
        guard: &LeakGuard,
        hunt: &mut Hunt,
    ) -> Result<Option<Merged>, CycleError> {
        self.progress.begin(Phase::Patch, &format!("round {round}, {}", counted(clusters.len(), "cluster")), None);
        let rejected = [self.memory.rejected.as_slice(), hunt.rejected.as_slice()].concat();
        let arena = Arena {
            plan: &self.plan,
            evaluator: &self.evaluator,
            base,
            asking: Asking { plan: &self.plan, calls: &self.calls, guard, rejected: &rejected },
            weights: self.plan.dimensions.iter().map(|dimension| dimension.weight).collect(),
            round,
            attempt: self.attempt,
        };
        let mut found = arena.search(clusters).instrument(phase_span(Phase::Patch)).await?;
        if !found.survivors.is_empty() {
            let what = format!("round {round}, {} together", counted(found.survivors.len(), "survivor"));
            self.progress.begin(Phase::Validate, &what, None);
        }
        let merged = arena.merge(&mut found).instrument(phase_span(Phase::Validate)).await?;
        hunt.attempts.extend(found.attempts);
        hunt.rejected.extend(found.rejected);
        Ok(merged)
    }

    /// The last round's prompt that stands the full regression suite.
    async fn finalist(&self, hunt: &Hunt) -> Result<(Search, Option<Finalist>), CycleError> {
        if hunt.rounds.is_empty() {
            let (failures, clusters, attempts) = (hunt.failures, hunt.clusters.len(), hunt.attempts.len());
            let search = if self.plan.patching.is_none() {
                Search::NothingToPatch { failures, clusters }
            } else if failures == 0 {
                Search::NothingFails { scenarios: self.plan.split.train.len() }
            } else {
                Search::NoSurvivor { attempts, clusters }
            };
            return Ok((search, None));
        }
        let mut why = String::new();
        for (index, merged) in hunt.rounds.iter().enumerate().rev() {
            let subject = &merged.candidate.subject;
            self.progress.begin(Phase::Validate, "finalist on the full regression suite", None);
            let suite = regression(&self.plan, &self.evaluator, &self.champion, subject);
            let (stands, reason) = suite.instrument(phase_span(Phase::Validate)).await?;
            if stands {
                let addressed = hunt.rounds[..=index].iter().flat_map(|round| &round.members);
                let addresses = addressed.map(|member| member.label.clone()).collect();
                return Ok((Search::Challenger, Some(Finalist { subject: Arc::clone(subject), addresses })));
            }
            why = reason;
        }
        Ok((Search::FailedRegression { reason: why }, None))
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
    fn gate(&self, paired: &Paired) -> decide::gate::Report {
        self.progress.begin(Phase::Gate, "judging the evidence", None);
        phase_span(Phase::Gate).in_scope(|| gate::judge(&self.plan, paired, &self.memory))
    }

    /// *Gate* and *apply*: the evidence is judged, and the outcome recorded.
    async fn close(
        self,
        search: Search,
        mut hunt: Hunt,
        gated: Option<(Finalist, Paired, &str)>,
    ) -> Result<Outcome, CycleError> {
        let judged = gated.as_ref().map(|(_, paired, _)| self.gate(paired));
        let compared = gated.as_ref().map(|(_, paired, on)| (paired.compared(), *on));
        let (measured, measured_on) = match &compared {
            Some((compared, on)) => (compared.champion.clone(), *on),
            None => {
                (self.evaluator.measured(&self.champion, &self.suite(), &(0..self.plan.execution.repeats)), "training")
            }
        };
        let Conclusion { verdict, reasons } = conclude(&Evidence {
            search,
            gate: judged.as_ref(),
            champion_score: means(&self.plan, &measured).score,
            minimum_score: self.plan.gate.minimum_score,
        });
        self.progress.begin(Phase::Apply, "recording the outcome", None);
        let fate = match verdict {
            Verdict::Promoted if self.kind == Kind::Run => VersionPhase::Champion,
            // Who compares decides for themselves what is served.
            Verdict::Promoted | Verdict::Inconclusive => VersionPhase::Candidate,
            Verdict::Kept | Verdict::BelowThreshold => VersionPhase::Rejected,
        };
        // Transcripts of the same prompt are compared without there being another version.
        let other = gated.as_ref().filter(|(finalist, ..)| finalist.subject.prompt != self.champion.prompt);
        let challenger = match other {
            Some((finalist, ..)) => {
                let prompt = &finalist.subject.prompt;
                let known = self.history.version_of(&self.object, prompt.hash()).await?;
                let name = known.unwrap_or_else(|| format!("v{}", self.memory.next_version).into());
                Some(apply::Challenger { name, prompt, addresses: finalist.addresses.clone(), phase: fate })
            }
            None => None,
        };
        let versions = apply::versions(&self.champion.prompt, challenger, &self.memory);
        if let (Some((finalist, ..)), VersionPhase::Rejected) = (&gated, fate) {
            hunt.rejected.extend(Self::rejected_challenger(finalist, &hunt, &reasons));
        }
        let mut sides = vec![self.side(&versions[0], &measured, measured_on)];
        let mut evaluations = vec![measured.clone()];
        if let (Some((compared, _)), Some((_, paired, _))) = (&compared, gated) {
            sides.push(self.side(versions.last().unwrap_or(&versions[0]), &compared.challenger, measured_on));
            evaluations = vec![paired.champion, paired.challenger];
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
            gate: judged,
            clusters: hunt.clusters.iter().map(|(round, cluster)| ClusterReport::of(*round, cluster)).collect(),
            groupings: hunt.groupings,
            attempts: hunt.attempts,
            scenarios: ScenarioCounts::of(&self.plan),
            calls: CallCounts::of(&spending),
            cost: Cost::of(&self.plan, &spending, self.calls.spent()),
            seconds: self.began.elapsed().as_secs_f64(),
            warnings: self.warnings(&evaluations),
        };
        let record = CycleRecord {
            cycle: self.id,
            object: self.object.clone(),
            verdict: verdict.as_str().to_owned(),
            report: serde_json::to_value(&report).expect("a report is JSON"),
            versions: versions.clone(),
            rejected: hunt.rejected,
            clusters: hunt.clusters.into_iter().map(|(_, cluster)| cluster).collect(),
            dimensions: self.plan.dimensions.iter().map(|dimension| dimension.name.clone()).collect(),
            champion_scores: self.remembered_scores(&measured, measured_on),
            evaluations,
            at: self.clock.now(),
        };
        self.history.close(record).await?;
        tracing::info!(verdict = verdict.as_str(), calls = report.calls.total, paid = %report.cost.paid, "cycle ends");
        Ok(Outcome { report, versions })
    }

    /// The patch of a challenger that the gate did not take: it is not proposed again.
    fn rejected_challenger(
        finalist: &Finalist,
        hunt: &Hunt,
        reasons: &[decide::conclude::Reason],
    ) -> Option<RejectedPatch> {
        let merged = hunt.rounds.iter().find(|round| round.candidate.subject.id == finalist.subject.id)?;
        let reason = reasons.first().map_or_else(|| "rejected by the gate".to_owned(), |reason| reason.message.clone());
        Some(RejectedPatch { prompt: finalist.subject.id, patch: merged.candidate.patch.clone(), reason })
    }

    /// The mean scores that later cycles take percentiles of: those of a champion that was measured on all held-out scenarios.
    fn remembered_scores(&self, measured: &Evaluation, measured_on: &str) -> BTreeMap<DimensionName, f64> {
        let is_complete = measured_on == "heldOut" && measured.results.iter().all(|result| !result.samples.is_empty());
        if !is_complete {
            return BTreeMap::new();
        }
        means(&self.plan, measured).dimensions.into_iter().map(|(name, mean)| (name.into(), mean)).collect()
    }

    fn side(&self, version: &crate::domain::version::Version, measured: &Evaluation, measured_on: &str) -> Side {
        let means = means(&self.plan, measured);
        Side {
            version: version.name.to_string(),
            hash: version.hash.to_string(),
            score: means.score,
            dimensions: means.dimensions,
            pass_rate: means.pass_rate,
            failing: failing(measured),
            measured_on: measured_on.to_owned(),
            scenarios: measured.results.len(),
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
                "{} runs ended in errors and count neither for nor against a prompt; the first: {first}",
                errors.len()
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
    async fn cluster(&self, round: u32, failures: Vec<Failure>, hunt: &mut Hunt) -> Result<Vec<Cluster>, CycleError> {
        self.progress.begin(Phase::Cluster, &counted(failures.len(), "failure"), None);
        let ClusteringPlan { embeddings, threshold, max_clusters } = &self.plan.clustering;
        let Clustered { clusters, groupings } =
            cluster::group(&self.calls, embeddings.as_ref(), failures, *threshold, *max_clusters)
                .instrument(phase_span(Phase::Cluster))
                .await?;
        hunt.clusters.extend(clusters.iter().map(|cluster| (round, cluster.clone())));
        hunt.groupings.extend(groupings.into_iter().map(|grouping| RoundGrouping { round, grouping }));
        Ok(clusters)
    }

    /// Training and regression part.
    fn suite(&self) -> Vec<usize> {
        let mut suite = [self.plan.split.train.as_slice(), self.plan.split.regression.as_slice()].concat();
        suite.sort_unstable();
        suite
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
