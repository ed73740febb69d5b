//! The search for a challenger: *cluster*, *patch* and *validate* by rounds, then the prompt that stands the whole suite, and its
//! proof on scenarios that nothing has seen: *shadow* and *gate*.

use std::sync::Arc;

use tracing::Instrument;

use super::close::End;
use super::{Cycle, phase_span};
use crate::api::plan::RuntimePlan;
use crate::decide::conclude::{NoChallenger, PatchCounts, WhyNoPatches};
use crate::decide::critical::{Broken, Critical, Part, PartChecked, Standing};
use crate::decide::gate;
use crate::domain::call::Phase;
use crate::domain::cluster::{Cluster, Failure};
use crate::domain::patch::RejectedPatch;
use crate::domain::suite::ScenarioKey;
use crate::domain::words::counted;
use crate::engine::cluster::Clustered;
use crate::engine::error::CycleError;
use crate::engine::evaluate::CountedAs;
use crate::engine::patch::{Asking, LeakGuard};
use crate::engine::report::{Kind, RoundGrouping};
use crate::engine::shadow::Paired;
use crate::engine::subject::Subject;
use crate::engine::validate::compose::Unit;
use crate::engine::validate::critical::{Guard, Guarded};
use crate::engine::validate::{
    Arena, Attempt, CONFIRMING_REPEATS, Fatal, Merged, counts, patch_of, regression, rejected,
};

/// Prompts of one search that come to the gate, at most: the challenger, and what is left of it without edits that break
/// something critical among the held-out scenarios.
const GATED_AT_MOST: usize = 3;

/// What a search has found. All of it goes into the report, whatever ends the search.
#[derive(Default)]
pub(super) struct Findings {
    pub clusters: Vec<(u32, Cluster)>,
    pub groupings: Vec<RoundGrouping>,
    pub attempts: Vec<Attempt>,
    pub rejected: Vec<RejectedPatch>,
    pub critical: Critical,
    /// Edits that broke something critical in a round.
    fatal: Vec<Fatal>,
}

/// What the rounds of a search came to.
struct Rounds {
    /// How many failures the first one began with.
    failures: usize,
    /// The merged survivors of each, each building on the one before.
    merged: Vec<Merged>,
}

/// What is left of edits once nothing critical newly fails with them, on the training and regression part.
enum Stands {
    /// A prompt that is not worse there.
    Finalist(Finalist),
    /// One that is not to be gated.
    Refused(NoChallenger),
    /// No edit.
    Nothing,
}

/// A prompt that is to be gated, and the edits that lead to it from the champion: none for a given one.
pub(super) struct Finalist {
    pub subject: Arc<Subject>,
    pub units: Vec<Unit>,
}

/// A prompt that was gated.
pub(super) struct Gated {
    pub finalist: Finalist,
    pub paired: Paired,
    pub report: gate::Report,
    /// What newly fails in a critical dimension where the gate looked.
    pub fatal: Vec<(ScenarioKey, Broken)>,
}

impl Finalist {
    /// The labels of the clusters that it addresses, each once.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for member in self.units.iter().flat_map(|unit| &unit.origin.members) {
            if !labels.contains(&member.label) {
                labels.push(member.label.clone());
            }
        }
        labels
    }
}

impl Gated {
    /// Nothing but new failures in critical dimensions speaks against it.
    fn is_refused_as_critical_only(&self) -> bool {
        let refuted = self.report.reasons.iter().filter(|reason| reason.verdict == gate::Verdict::Reject);
        self.report.verdict == gate::Verdict::Reject
            && refuted.into_iter().all(|reason| reason.code == gate::Code::CriticalDimensionFailed)
    }

    /// The patch of a challenger that the gate did not take: it is not proposed again.
    pub(super) fn rejected(&self) -> Option<RejectedPatch> {
        if self.finalist.units.is_empty() {
            return None;
        }
        let breaks: Vec<Broken> = self.fatal.iter().map(|(_, broken)| broken.clone()).collect();
        let reason = match &breaks[..] {
            [] => self.report.decisive().message.clone(),
            breaks => Critical::why_rejected(breaks),
        };
        Some(RejectedPatch { prompt: self.finalist.subject.id, patch: patch_of(&self.finalist.units), reason })
    }
}

/// The search of a cycle for a challenger, and what it has found so far.
pub(super) struct ChallengerSearch<'a> {
    cycle: &'a Cycle,
    findings: Findings,
}

impl<'a> ChallengerSearch<'a> {
    pub(super) fn new(cycle: &'a Cycle) -> Self {
        Self { cycle, findings: Findings::default() }
    }

    pub(super) fn into_findings(self) -> Findings {
        self.findings
    }

    /// From the champion to a challenger that the gate has judged, if there is one.
    pub(super) async fn run(&mut self) -> Result<End, CycleError> {
        self.cycle.measure_champion().await?;
        let rounds = self.rounds().await?;
        match self.finalist(&rounds).await? {
            Ok(finalist) => Ok(End::Gated(Box::new(self.prove(finalist).await?))),
            Err(why) => Ok(End::Nothing(why)),
        }
    }

    /// A given challenger, on all scenarios. The champion's failures are grouped for the report.
    pub(super) async fn compare(&mut self, challenger: Arc<Subject>) -> Result<End, CycleError> {
        let Cycle { plan, champion, .. } = self.cycle;
        if challenger.id == champion.id {
            return Ok(End::Nothing(NoChallenger::SamePrompt));
        }
        let all: Vec<ScenarioKey> = plan.scenarios.keys().collect();
        let paired = self.cycle.shadow(&challenger, &all).await?;
        let gated = self.judge(Finalist { subject: challenger, units: Vec::new() }, paired, &[]).await?;
        let failures = self.cycle.failures(champion, &gated.paired.scenarios, plan.gate.repeats);
        self.cluster(1, failures).await?;
        Ok(End::Gated(Box::new(gated)))
    }

    /// *Cluster*, *patch* and *validate*, round by round. Each round starts from what the one before has found.
    async fn rounds(&mut self) -> Result<Rounds, CycleError> {
        let Cycle { plan, champion, .. } = self.cycle;
        let last = plan.patching.as_ref().map_or(1, |patching| patching.rounds);
        let guard = LeakGuard::new(
            plan.scenarios.scenarios().iter().map(AsRef::as_ref),
            champion.prompts.system(),
            &plan.tools,
        );
        let mut failures = self.cycle.failures(champion, &plan.split.train, plan.execution.repeats);
        let mut rounds = Rounds { failures: failures.len(), merged: Vec::new() };
        let mut base = Arc::clone(champion);
        for round in 1..=last {
            if round > 1 {
                failures = self.cycle.failures_left(&base).instrument(phase_span(Phase::Validate)).await?;
            }
            let clusters = self.cluster(round, std::mem::take(&mut failures)).await?;
            if clusters.is_empty() || plan.patching.is_none() {
                break;
            }
            let Some(merged) = self.patch_and_validate(round, &base, &clusters, &guard).await? else { break };
            base = Arc::clone(&merged.subject);
            rounds.merged.push(merged);
        }
        Ok(rounds)
    }

    /// The groups of a round.
    async fn cluster(&mut self, round: u32, failures: Vec<Failure>) -> Result<Vec<Cluster>, CycleError> {
        let Clustered { clusters, groupings } = self.cycle.cluster(failures).await?;
        self.findings.clusters.extend(clusters.iter().map(|cluster| (round, cluster.clone())));
        self.findings.groupings.extend(groupings.into_iter().map(|grouping| RoundGrouping { round, grouping }));
        Ok(clusters)
    }

    async fn patch_and_validate(
        &mut self,
        round: u32,
        base: &Arc<Subject>,
        clusters: &[Cluster],
        guard: &LeakGuard,
    ) -> Result<Option<Merged>, CycleError> {
        let Cycle { plan, calls, evaluator, progress, memory, attempt, .. } = self.cycle;
        progress.begin(Phase::Patch, &format!("round {round}, {}", counted(clusters.len(), "cluster")), None);
        let rejected = [memory.rejected.as_slice(), self.findings.rejected.as_slice()].concat();
        let arena = Arena {
            plan,
            evaluator,
            base,
            asking: Asking { plan, calls, guard, rejected: &rejected },
            progress: &**progress,
            weights: plan.dimensions.iter().map(|dimension| dimension.weight).collect(),
            fatal: &self.findings.fatal,
            round,
            attempt: *attempt,
        };
        let found = arena.search(clusters).instrument(phase_span(Phase::Patch)).await?;
        if !found.survivors.is_empty() {
            let what = format!("round {round}, {} together", counted(found.survivors.len(), "survivor"));
            progress.begin(Phase::Validate, &what, None);
        }
        let found = arena.merge(found).instrument(phase_span(Phase::Validate)).await?;
        let findings = &mut self.findings;
        findings.attempts.extend(found.attempts);
        findings.rejected.extend(found.rejected);
        findings.fatal.extend(found.fatal);
        findings.critical.add(found.critical.failures);
        findings.critical.drop_edits(found.critical.dropped);
        Ok(found.merged)
    }

    /// The last round's prompt with which nothing critical newly fails, and that is not worse on training and regression part.
    async fn finalist(&mut self, rounds: &Rounds) -> Result<Result<Finalist, NoChallenger>, CycleError> {
        if rounds.merged.is_empty() {
            return Ok(Err(self.nothing_found(rounds.failures)));
        }
        let mut why = NoChallenger::NothingCriticalHolds;
        for last in (1..=rounds.merged.len()).rev() {
            let units = rounds.merged[..last].iter().flat_map(|round| round.units.iter().cloned()).collect();
            self.cycle.progress.begin(Phase::Validate, "finalist on the training and regression scenarios", None);
            match self.stand_the_suite(units).instrument(phase_span(Phase::Validate)).await? {
                Stands::Finalist(finalist) => return Ok(Ok(finalist)),
                Stands::Refused(refused) => why = refused,
                Stands::Nothing => {}
            }
        }
        Ok(Err(why))
    }

    async fn stand_the_suite(&mut self, units: Vec<Unit>) -> Result<Stands, CycleError> {
        let Cycle { plan, evaluator, champion, memory, .. } = self.cycle;
        let guard = self.cycle.guard(plan.execution.repeats, CountedAs::VALIDATE);
        let Guarded { units, subject, failures, dropped } = guard.guard(units, &plan.split.suite()).await?;
        self.findings.critical.add(failures);
        self.drop_edits(&dropped);
        if units.is_empty() || subject.id == champion.id {
            return Ok(Stands::Nothing);
        }
        if let Some(before) = memory.rejected.iter().find(|before| before.prompt == subject.id) {
            let (prompt, reason) = (subject.id.short(), before.reason.clone());
            return Ok(Stands::Refused(NoChallenger::RejectedBefore { prompt, reason }));
        }
        let result = regression(plan, evaluator, champion, &subject).await?;
        if !result.holds() {
            return Ok(Stands::Refused(NoChallenger::FailedRegression { reason: result.to_string() }));
        }
        if guard.is_on() {
            let part = |part, scenarios: &[ScenarioKey]| PartChecked {
                part,
                scenarios: scenarios.len(),
                checked: scenarios.len(),
            };
            self.findings.critical.checked =
                vec![part(Part::Training, &plan.split.train), part(Part::Regression, &plan.split.regression)];
        }
        Ok(Stands::Finalist(Finalist { subject, units }))
    }

    /// Takes in edits that had to go.
    fn drop_edits(&mut self, dropped: &[(Unit, Vec<Broken>)]) {
        self.findings.critical.drop_edits(dropped.iter().map(|(unit, breaks)| unit.dropped(breaks.clone())));
        self.findings.rejected.extend(rejected(dropped));
    }

    fn nothing_found(&self, failures: usize) -> NoChallenger {
        let Cycle { plan, evaluator, champion, .. } = self.cycle;
        let clusters = self.findings.clusters.len();
        let counts: PatchCounts = counts(&self.findings.attempts, clusters);
        if failures == 0 {
            let train = &plan.split.train;
            let measured = evaluator.measured(champion, train, &(0..plan.execution.repeats));
            let unscored = measured.results.iter().filter(|result| result.pass_rate().is_none()).count();
            NoChallenger::NothingFails { scenarios: train.len(), unscored }
        } else if plan.patching.is_none() {
            let is_replay = matches!(plan.runtime, RuntimePlan::Replay { .. });
            let why = if is_replay { WhyNoPatches::Replay } else { WhyNoPatches::NoModel };
            NoChallenger::NothingToPatch { why, failures, clusters }
        } else if counts.mergers == 0 && !self.findings.critical.dropped.is_empty() {
            NoChallenger::NothingCriticalHolds
        } else {
            NoChallenger::NoSurvivor(counts)
        }
    }

    /// *Shadow* and *gate*. If only critical failures among the held-out scenarios speak against the challenger, what is left
    /// of it without the edits that cause them is a challenger of its own: it stands the suite, is measured and gated, and Holm's
    /// correction counts both.
    async fn prove(&mut self, mut finalist: Finalist) -> Result<Gated, CycleError> {
        let mut others = Vec::new();
        loop {
            let paired = self.cycle.shadow(&finalist.subject, &self.cycle.plan.split.held_out).await?;
            let gated = self.judge(finalist, paired, &others).await?;
            others.push(Some(gated.report.p_value));
            if others.len() >= GATED_AT_MOST || !gated.is_refused_as_critical_only() || gated.fatal.is_empty() {
                return Ok(gated);
            }
            let Some(rest) = self.without_fatal(&gated).await? else { return Ok(gated) };
            self.findings.rejected.extend(gated.rejected());
            finalist = rest;
        }
    }

    /// What is left of a challenger without the edits that break something critical among the held-out scenarios.
    async fn without_fatal(&mut self, gated: &Gated) -> Result<Option<Finalist>, CycleError> {
        let plan = &self.cycle.plan;
        let guard = self.cycle.guard(plan.gate.repeats, CountedAs::SHADOW);
        let mut fatal: Vec<ScenarioKey> = gated.fatal.iter().map(|(scenario, _)| scenario.clone()).collect();
        fatal.dedup();
        let settle = guard.settle(&gated.finalist.units, &fatal);
        let (kept, dropped) = settle.instrument(phase_span(Phase::Validate)).await?;
        let stand = self.stand_the_suite(kept);
        let Stands::Finalist(rest) = stand.instrument(phase_span(Phase::Validate)).await? else { return Ok(None) };
        self.drop_edits(&dropped);
        Ok(Some(rest))
    }

    /// *Gate*: the evidence, judged. What newly fails in a critical dimension is run again before.
    async fn judge(&mut self, finalist: Finalist, paired: Paired, others: &[Option<f64>]) -> Result<Gated, CycleError> {
        let Cycle { plan, .. } = self.cycle;
        let guard = self.cycle.guard(plan.gate.repeats, CountedAs::SHADOW);
        let again =
            guard.new_failures(&finalist.subject, &paired.scenarios).instrument(phase_span(Phase::Shadow)).await?;
        if guard.is_on() {
            let (part, all) = if guard.is_comparison {
                (Part::Compared, plan.scenarios.len())
            } else {
                (Part::HeldOut, plan.split.held_out.len())
            };
            let checked = &mut self.findings.critical.checked;
            checked.retain(|before| before.part != part);
            checked.push(PartChecked { part, scenarios: all, checked: paired.scenarios.len() });
        }
        let confirmed = again.iter().filter(|(_, failure)| failure.standing() == Standing::Confirmed);
        let fatal = confirmed.map(|(scenario, failure)| (scenario.clone(), Broken::from(failure))).collect();
        let report = self.cycle.gate(&paired, &again, others);
        self.findings.critical.add(again.into_iter().map(|(_, failure)| failure));
        Ok(Gated { finalist, paired, report, fatal })
    }
}

impl Cycle {
    /// The failures that a round has left. By now many are bad luck, which no patch can fix: they have to fail again.
    async fn failures_left(&self, base: &Arc<Subject>) -> Result<Vec<Failure>, CycleError> {
        let (train, repeats) = (&self.plan.split.train, self.plan.execution.repeats);
        self.evaluator.evaluate(base, train, 0..repeats, CountedAs::VALIDATE).await?;
        let failing = self.evaluator.failing(base, train, &(0..repeats));
        let again = repeats + CONFIRMING_REPEATS;
        self.evaluator.evaluate(base, &failing, repeats..again, CountedAs::VALIDATE).await?;
        Ok(self.failures(base, &failing, again))
    }

    fn guard(&self, repeats: u32, counted: CountedAs) -> Guard<'_> {
        Guard {
            plan: &self.plan,
            evaluator: &self.evaluator,
            base: &self.champion,
            repeats,
            counted,
            is_comparison: self.kind == Kind::Compare,
        }
    }
}
