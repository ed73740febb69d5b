//! The search for a challenger: *cluster*, *patch* and *validate* in rounds, then the prompt that passes the whole suite,
//! and its proof on unseen scenarios: *shadow* and *gate*.

use std::sync::Arc;

use tracing::Instrument;

use super::close::End;
use super::{Cycle, phase_span};
use crate::cluster::Clustered;
use crate::error::CycleError;
use crate::evaluate::CountedAs;
use crate::patch::{Asking, LeakGuard};
use crate::ports::Kept;
use crate::report::{ClusterReport, Found, Kind, RoundGrouping};
use crate::shadow::Paired;
use crate::subject::Subject;
use crate::validate::compose::Unit;
use crate::validate::critical::{Guard, Guarded};
use crate::validate::{Arena, CONFIRMING_REPEATS, Fatal, Merged, counts, patch_of, regression, rejected};
use whetstone_decide::conclude::{NoChallenger, PatchCounts, WhyNoPatches};
use whetstone_decide::critical::{Broken, Critical, Part, PartChecked, Standing};
use whetstone_decide::gate;
use whetstone_domain::call::Phase;
use whetstone_domain::cluster::{Cluster, Failure};
use whetstone_domain::patch::RejectedPatch;
use whetstone_domain::plan::RuntimePlan;
use whetstone_domain::suite::ScenarioKey;
use whetstone_domain::words::counted;

/// The maximum number of prompts of one search that are gated: the challenger, and what is left of it without edits that
/// break critical held-out scenarios.
const GATED_AT_MOST: usize = 3;

/// What a search has found.
#[derive(Default)]
pub(super) struct Findings {
    /// The part of the report.
    pub found: Found,
    /// What is left to later cycles.
    pub kept: Kept,
    pub critical: Critical,
    /// Edits that broke something critical in one of the rounds.
    fatal: Vec<Fatal>,
}

/// The result of the rounds of a search.
struct Rounds {
    /// The number of failures at the beginning of the first round.
    failures: usize,
    /// The merged survivors of each round, each based on the one before.
    merged: Vec<Merged>,
}

/// The result of removing the edits that cause new critical failures in the training and regression part.
enum SuiteOutcome {
    /// A prompt that is not worse there, and can be gated.
    Finalist(Finalist),
    /// A prompt that is worse there, and is not gated.
    Refused(NoChallenger),
    /// No edits are left.
    Nothing,
}

/// A prompt to be gated, and the edits that lead to it from the champion; no edits for a given challenger.
pub(super) struct Finalist {
    pub subject: Arc<Subject>,
    pub units: Vec<Unit>,
}

/// A prompt that was gated.
pub(super) struct Gated {
    pub finalist: Finalist,
    pub paired: Paired,
    pub report: gate::Report,
    /// The new critical failures on the gate's scenarios.
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
    /// Whether new critical failures are the only reason against it.
    fn is_refused_as_critical_only(&self) -> bool {
        let refuted = self.report.reasons.iter().filter(|reason| reason.verdict == gate::Verdict::Reject);
        self.report.verdict == gate::Verdict::Reject
            && refuted.into_iter().all(|reason| reason.code == gate::Code::CriticalDimensionFailed)
    }

    /// The patch of a challenger that the gate rejected, so that it is not proposed again.
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

    /// Searches for a challenger of the measured champion and gates it, if there is one.
    pub(super) async fn run(&mut self) -> Result<End, CycleError> {
        let rounds = self.rounds().await?;
        match self.finalist(&rounds).await? {
            Ok(finalist) => Ok(End::Gated(Box::new(self.prove(finalist).await?))),
            Err(why) => Ok(End::Nothing(why)),
        }
    }

    /// Gates a given challenger on all scenarios. The champion's failures are clustered for the report.
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

    /// *Cluster*, *patch* and *validate*, in rounds. Each round starts from the result of the one before.
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

    /// The clusters of a round.
    async fn cluster(&mut self, round: u32, failures: Vec<Failure>) -> Result<Vec<Cluster>, CycleError> {
        let Clustered { clusters, groupings } = self.cycle.cluster(failures).await?;
        let found = &mut self.findings.found;
        found.clusters.extend(clusters.iter().map(|cluster| ClusterReport::of(round, cluster)));
        found.groupings.extend(groupings.into_iter().map(|grouping| RoundGrouping { round, grouping }));
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
        let rejected = [memory.rejected.as_slice(), self.findings.kept.rejected.as_slice()].concat();
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
        findings.found.attempts.extend(found.attempts);
        findings.kept.rejected.extend(found.rejected);
        findings.fatal.extend(found.fatal);
        findings.critical.add(found.critical.failures);
        findings.critical.drop_edits(found.critical.dropped);
        Ok(found.merged)
    }

    /// The prompt of the latest round that causes no new critical failures and is not worse on the training and regression part.
    async fn finalist(&mut self, rounds: &Rounds) -> Result<Result<Finalist, NoChallenger>, CycleError> {
        if rounds.merged.is_empty() {
            return Ok(Err(self.nothing_found(rounds.failures)));
        }
        let mut why = NoChallenger::NothingCriticalHolds;
        for last in (1..=rounds.merged.len()).rev() {
            let units = rounds.merged[..last].iter().flat_map(|round| round.units.iter().cloned()).collect();
            self.cycle.progress.begin(Phase::Validate, "finalist on the training and regression scenarios", None);
            match self.validate_on_suite(units).instrument(phase_span(Phase::Validate)).await? {
                SuiteOutcome::Finalist(finalist) => return Ok(Ok(finalist)),
                SuiteOutcome::Refused(refused) => why = refused,
                SuiteOutcome::Nothing => {}
            }
        }
        Ok(Err(why))
    }

    async fn validate_on_suite(&mut self, units: Vec<Unit>) -> Result<SuiteOutcome, CycleError> {
        let Cycle { plan, evaluator, champion, memory, .. } = self.cycle;
        let guard = self.cycle.guard(plan.execution.repeats, CountedAs::VALIDATE);
        let Guarded { units, subject, failures, dropped } = guard.guard(units, &plan.split.suite()).await?;
        self.findings.critical.add(failures);
        self.drop_edits(&dropped);
        if units.is_empty() || subject.id == champion.id {
            return Ok(SuiteOutcome::Nothing);
        }
        if let Some(before) = memory.rejected.iter().find(|before| before.prompt == subject.id) {
            let (prompt, reason) = (subject.id.short(), before.reason.clone());
            return Ok(SuiteOutcome::Refused(NoChallenger::RejectedBefore { prompt, reason }));
        }
        let result = regression(plan, evaluator, champion, &subject).await?;
        if !result.holds() {
            return Ok(SuiteOutcome::Refused(NoChallenger::FailedRegression { reason: result.to_string() }));
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
        Ok(SuiteOutcome::Finalist(Finalist { subject, units }))
    }

    /// Records edits that were dropped.
    fn drop_edits(&mut self, dropped: &[(Unit, Vec<Broken>)]) {
        self.findings.critical.drop_edits(dropped.iter().map(|(unit, breaks)| unit.dropped(breaks.clone())));
        self.findings.kept.rejected.extend(rejected(dropped));
    }

    fn nothing_found(&self, failures: usize) -> NoChallenger {
        let Cycle { plan, evaluator, champion, .. } = self.cycle;
        let clusters = self.findings.found.clusters.len();
        let counts: PatchCounts = counts(&self.findings.found.attempts, clusters);
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

    /// *Shadow* and *gate*. If critical failures on held-out scenarios are the only reason against the challenger, the rest
    /// of it, without the edits that cause them, becomes another challenger: it is validated on the suite, measured and
    /// gated, and Holm's correction counts both.
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
            self.findings.kept.rejected.extend(gated.rejected());
            finalist = rest;
        }
    }

    /// What is left of a challenger without the edits that break critical held-out scenarios.
    async fn without_fatal(&mut self, gated: &Gated) -> Result<Option<Finalist>, CycleError> {
        let plan = &self.cycle.plan;
        let guard = self.cycle.guard(plan.gate.repeats, CountedAs::SHADOW);
        let mut fatal: Vec<ScenarioKey> = gated.fatal.iter().map(|(scenario, _)| scenario.clone()).collect();
        fatal.dedup();
        let settle = guard.settle(&gated.finalist.units, &fatal);
        let (kept, dropped) = settle.instrument(phase_span(Phase::Validate)).await?;
        let stand = self.validate_on_suite(kept);
        let SuiteOutcome::Finalist(rest) = stand.instrument(phase_span(Phase::Validate)).await? else {
            return Ok(None);
        };
        self.drop_edits(&dropped);
        Ok(Some(rest))
    }

    /// *Gate*: judges the evidence. Scenarios with new critical failures are run again first.
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
    /// The failures that are left after a round. By now many are due to chance, which no patch can fix, so they are confirmed by
    /// further repeats.
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
