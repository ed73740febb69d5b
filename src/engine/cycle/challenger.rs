//! The search for a challenger: *cluster*, *patch* and *validate* by rounds, then the prompt that stands the whole suite.

use std::sync::Arc;

use tracing::Instrument;

use super::{Cycle, phase_span};
use crate::api::plan::RuntimePlan;
use crate::decide::conclude::{PatchCounts, Search, WhyNoPatches};
use crate::decide::critical::{Broken, Critical, Part, PartChecked, Standing};
use crate::decide::gate;
use crate::domain::call::Phase;
use crate::domain::cluster::{Cluster, Failure};
use crate::domain::patch::RejectedPatch;
use crate::domain::words::counted;
use crate::engine::error::CycleError;
use crate::engine::evaluate::CountedAs;
use crate::engine::patch::{Asking, LeakGuard};
use crate::engine::report::RoundGrouping;
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

/// What the search for a challenger has found.
#[derive(Default)]
pub(super) struct Findings {
    pub clusters: Vec<(u32, Cluster)>,
    pub groupings: Vec<RoundGrouping>,
    pub attempts: Vec<Attempt>,
    pub rejected: Vec<RejectedPatch>,
    /// Merged survivors of each round, each building on the one before.
    pub rounds: Vec<Merged>,
    pub failures: usize,
    pub critical: Critical,
    /// Edits that broke something critical in a round.
    pub fatal: Vec<Fatal>,
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
    /// What newly fails in a critical dimension where the gate looked, as indices into the plan.
    pub fatal: Vec<(usize, Broken)>,
}

impl Finalist {
    /// The labels of the clusters that it addresses, each once.
    pub fn addresses(&self) -> Vec<String> {
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
    pub fn rejected(&self) -> Option<RejectedPatch> {
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

impl Cycle {
    /// Cluster, patch and validate, round by round. Each round starts from what the one before has found.
    pub(super) async fn search(&self, findings: &mut Findings) -> Result<(), CycleError> {
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
                findings.failures = failures.len();
            }
            let clusters = self.cluster(round, failures, findings).await?;
            if clusters.is_empty() || self.plan.patching.is_none() {
                return Ok(());
            }
            let Some(merged) = self.patch_and_validate(round, &base, &clusters, &guard, findings).await? else {
                return Ok(());
            };
            base = Arc::clone(&merged.subject);
            findings.rounds.push(merged);
        }
        Ok(())
    }

    /// The failures that a round has left. By now many are bad luck, which no patch can fix: they have to fail again.
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
        findings: &mut Findings,
    ) -> Result<Option<Merged>, CycleError> {
        self.progress.begin(Phase::Patch, &format!("round {round}, {}", counted(clusters.len(), "cluster")), None);
        let rejected = [self.memory.rejected.as_slice(), findings.rejected.as_slice()].concat();
        let arena = Arena {
            plan: &self.plan,
            evaluator: &self.evaluator,
            base,
            asking: Asking { plan: &self.plan, calls: &self.calls, guard, rejected: &rejected },
            progress: &*self.progress,
            weights: self.plan.dimensions.iter().map(|dimension| dimension.weight).collect(),
            fatal: &findings.fatal,
            round,
            attempt: self.attempt,
        };
        let mut found = arena.search(clusters).instrument(phase_span(Phase::Patch)).await?;
        if !found.survivors.is_empty() {
            let what = format!("round {round}, {} together", counted(found.survivors.len(), "survivor"));
            self.progress.begin(Phase::Validate, &what, None);
        }
        let merged = arena.merge(&mut found).instrument(phase_span(Phase::Validate)).await?;
        findings.attempts.extend(found.attempts);
        findings.rejected.extend(found.rejected);
        findings.fatal.extend(found.fatal);
        findings.critical.add(found.critical.failures);
        findings.critical.drop_edits(found.critical.dropped);
        Ok(merged)
    }

    /// The last round's prompt with which nothing critical newly fails, and that is not worse on training and regression part.
    pub(super) async fn finalist(&self, findings: &mut Findings) -> Result<(Search, Option<Finalist>), CycleError> {
        if findings.rounds.is_empty() {
            return Ok((self.nothing_found(findings), None));
        }
        let suite = self.plan.split.suite();
        let mut search = Search::NothingCriticalHolds;
        for rounds in (1..=findings.rounds.len()).rev() {
            let units = findings.rounds[..rounds].iter().flat_map(|round| round.units.iter().cloned()).collect();
            self.progress.begin(Phase::Validate, "finalist on the training and regression scenarios", None);
            match self.stand_the_suite(units, &suite, findings).instrument(phase_span(Phase::Validate)).await? {
                (_, Some(finalist)) => return Ok((Search::Challenger, Some(finalist))),
                (Some(why), None) => search = why,
                (None, None) => {}
            }
        }
        Ok((search, None))
    }

    /// What is left of edits once nothing critical newly fails with them, if it is not worse on the suite. Else why not;
    /// nothing when no edit is left.
    async fn stand_the_suite(
        &self,
        units: Vec<Unit>,
        suite: &[usize],
        findings: &mut Findings,
    ) -> Result<(Option<Search>, Option<Finalist>), CycleError> {
        let guard = self.guard(self.plan.execution.repeats, CountedAs::VALIDATE);
        let Guarded { units, subject, dropped } = guard.guard(units, suite, &mut findings.critical).await?;
        findings.critical.drop_edits(dropped.iter().map(|(unit, breaks)| unit.dropped(breaks.clone())));
        findings.rejected.extend(rejected(&dropped));
        if units.is_empty() || subject.id == self.champion.id {
            return Ok((None, None));
        }
        if let Some(before) = self.memory.rejected.iter().find(|before| before.prompt == subject.id) {
            let (prompt, reason) = (subject.id.short(), before.reason.clone());
            return Ok((Some(Search::RejectedBefore { prompt, reason }), None));
        }
        let result = regression(&self.plan, &self.evaluator, &self.champion, &subject).await?;
        if !result.holds() {
            return Ok((Some(Search::FailedRegression { reason: result.to_string() }), None));
        }
        if guard.is_on() {
            let part =
                |part, scenarios: &[usize]| PartChecked { part, scenarios: scenarios.len(), checked: scenarios.len() };
            let split = &self.plan.split;
            findings.critical.checked =
                vec![part(Part::Training, &split.train), part(Part::Regression, &split.regression)];
        }
        Ok((None, Some(Finalist { subject, units })))
    }

    fn nothing_found(&self, findings: &Findings) -> Search {
        let (failures, clusters) = (findings.failures, findings.clusters.len());
        let counts: PatchCounts = counts(&findings.attempts, clusters);
        if failures == 0 {
            let train = &self.plan.split.train;
            let measured = self.evaluator.measured(&self.champion, train, &(0..self.plan.execution.repeats));
            let unscored = measured.results.iter().filter(|result| result.pass_rate().is_none()).count();
            Search::NothingFails { scenarios: train.len(), unscored }
        } else if self.plan.patching.is_none() {
            let is_replay = matches!(self.plan.runtime, RuntimePlan::Replay { .. });
            let why = if is_replay { WhyNoPatches::Replay } else { WhyNoPatches::NoModel };
            Search::NothingToPatch { why, failures, clusters }
        } else if counts.mergers == 0 && !findings.critical.dropped.is_empty() {
            Search::NothingCriticalHolds
        } else {
            Search::NoSurvivor(counts)
        }
    }

    /// *Shadow* and *gate*. If only critical failures among the held-out scenarios speak against the challenger, what is left
    /// of it without the edits that cause them is a challenger of its own: it stands the suite, is measured and gated, and Holm's
    /// correction counts both.
    pub(super) async fn prove(&self, finalist: Finalist, findings: &mut Findings) -> Result<Gated, CycleError> {
        let (mut finalist, mut others) = (finalist, Vec::new());
        loop {
            let paired = self.shadow(&finalist.subject, &self.plan.split.held_out).await?;
            let gated = self.judge(finalist, paired, &others, findings).await?;
            others.push(Some(gated.report.p_value));
            if others.len() >= GATED_AT_MOST || !gated.is_refused_as_critical_only() || gated.fatal.is_empty() {
                return Ok(gated);
            }
            let Some(rest) = self.without_fatal(&gated, findings).await? else { return Ok(gated) };
            findings.rejected.extend(gated.rejected());
            finalist = rest;
        }
    }

    /// What is left of a challenger without the edits that break something critical among the held-out scenarios.
    async fn without_fatal(&self, gated: &Gated, findings: &mut Findings) -> Result<Option<Finalist>, CycleError> {
        let guard = self.guard(self.plan.gate.repeats, CountedAs::SHADOW);
        let mut fatal: Vec<usize> = gated.fatal.iter().map(|(scenario, _)| *scenario).collect();
        fatal.dedup();
        let settle = guard.settle(&gated.finalist.units, &fatal);
        let (kept, dropped) = settle.instrument(phase_span(Phase::Validate)).await?;
        let suite = self.plan.split.suite();
        let stand = self.stand_the_suite(kept, &suite, findings);
        let (_, rest) = stand.instrument(phase_span(Phase::Validate)).await?;
        if rest.is_some() {
            findings.critical.drop_edits(dropped.iter().map(|(unit, breaks)| unit.dropped(breaks.clone())));
            findings.rejected.extend(rejected(&dropped));
        }
        Ok(rest)
    }

    /// *Gate*: the evidence, judged. What newly fails in a critical dimension is run again before.
    pub(super) async fn judge(
        &self,
        finalist: Finalist,
        paired: Paired,
        others: &[Option<f64>],
        findings: &mut Findings,
    ) -> Result<Gated, CycleError> {
        let guard = self.guard(self.plan.gate.repeats, CountedAs::SHADOW);
        let again =
            guard.new_failures(&finalist.subject, &paired.scenarios).instrument(phase_span(Phase::Shadow)).await?;
        if guard.is_on() {
            let (part, all) = if guard.is_comparison {
                (Part::Compared, self.plan.scenarios.len())
            } else {
                (Part::HeldOut, self.plan.split.held_out.len())
            };
            let checked = &mut findings.critical.checked;
            checked.retain(|before| before.part != part);
            checked.push(PartChecked { part, scenarios: all, checked: paired.scenarios.len() });
        }
        let confirmed = again.iter().filter(|(_, failure)| failure.standing() == Standing::Confirmed);
        let fatal = confirmed.map(|(scenario, failure)| (*scenario, Broken::from(failure))).collect();
        let report = self.gate(&paired, &again, others);
        findings.critical.add(again.into_iter().map(|(_, failure)| failure));
        Ok(Gated { finalist, paired, report, fatal })
    }

    fn guard(&self, repeats: u32, counted: CountedAs) -> Guard<'_> {
        Guard {
            plan: &self.plan,
            evaluator: &self.evaluator,
            base: &self.champion,
            repeats,
            counted,
            is_comparison: self.kind == super::Kind::Compare,
        }
    }
}
