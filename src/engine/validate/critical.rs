//! Critical dimensions, before the gate: detects whether a prompt causes new critical failures, and which of its edits
//! does.
//!
//! Means do not show this: one critical scenario among a hundred is within every tolerance. So each scenario is checked,
//! and apparent new failures are run again with both prompts. The responsible edit is found by trying the prompt with
//! subsets of its edits, on those scenarios only.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::compose::{Composed, Unit, compose};
use crate::error::CycleError;
use crate::evaluate::{CountedAs, Evaluator};
use crate::subject::Subject;
use whetstone_decide::critical::{Broken, NewFailure, Part, Standing};
use whetstone_domain::plan::Plan;
use whetstone_domain::plan::RuntimePlan;
use whetstone_domain::score::Passes;
use whetstone_domain::suite::ScenarioKey;

/// Further repeats, of both prompts, in a scenario that seems to newly fail: an odd number, so that there is a majority.
const FURTHER_REPEATS: u32 = 3;

/// The number of suspicious scenarios in one batch of further runs. If one is confirmed, later batches are not run.
const AT_ONCE: usize = 20;

/// What is needed to check critical dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Guard<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Measures prompts.
    pub evaluator: &'a Arc<Evaluator>,
    /// The prompt to compare with.
    pub base: &'a Arc<Subject>,
    /// The number of repeats of the first measurement.
    pub repeats: u32,
    /// The phases under which calls are counted.
    pub counted: CountedAs,
    /// Whether a given challenger is compared: then all scenarios form one part.
    pub is_comparison: bool,
}

/// A prompt without new critical failures, and what was dropped for that.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// The edits that are left.
    pub units: Vec<Unit>,
    /// The prompt that results from applying them to the base.
    pub subject: Arc<Subject>,
    /// The apparent new failures that were found in the process.
    pub failures: Vec<NewFailure>,
    /// The edits that were dropped, each with what fails because of it.
    pub dropped: Vec<(Unit, Vec<Broken>)>,
}

impl Guard<'_> {
    /// Drops edits until nothing critical newly fails in the scenarios.
    ///
    /// # Errors
    /// [`CycleError`] if the cycle cannot continue.
    pub(crate) async fn guard(&self, units: Vec<Unit>, scenarios: &[ScenarioKey]) -> Result<Guarded, CycleError> {
        let mut guarded = Guarded { subject: self.compose(&units), units, failures: Vec::new(), dropped: Vec::new() };
        let mut fatal = BTreeSet::new();
        // Each iteration drops at least one edit.
        while !guarded.units.is_empty() {
            let failures = self.new_failures(&guarded.subject, scenarios).await?;
            let confirmed: Vec<ScenarioKey> = failures
                .iter()
                .filter(|(_, failure)| failure.standing() == Standing::Confirmed)
                .map(|(scenario, _)| scenario.clone())
                .collect();
            guarded.failures.extend(failures.into_iter().map(|(_, failure)| failure));
            if confirmed.is_empty() {
                break;
            }
            fatal.extend(confirmed);
            let fatal: Vec<ScenarioKey> = fatal.iter().cloned().collect();
            let (kept, dropped) = self.settle(&guarded.units, &fatal).await?;
            guarded.subject = self.compose(&kept);
            guarded.units = kept;
            guarded.dropped.extend(dropped);
        }
        // An edit may have been dropped with another one that it was anchored in.
        guarded.units = self.composed(&guarded.units).units;
        Ok(guarded)
    }

    /// The apparent new failures in the scenarios with a prompt, with the figures of further repeats; none if there is no
    /// critical dimension. Once one is confirmed, the remaining ones are neither run again nor returned.
    ///
    /// # Errors
    /// [`CycleError`] if the cycle cannot continue.
    pub(crate) async fn new_failures(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[ScenarioKey],
    ) -> Result<Vec<(ScenarioKey, NewFailure)>, CycleError> {
        if !self.is_on() || subject.id == self.base.id {
            return Ok(Vec::new());
        }
        let mut suspects = self.compare(subject, scenarios, 0..self.repeats).await?;
        let mut ids: Vec<ScenarioKey> = suspects.iter().map(|(scenario, _)| scenario.clone()).collect();
        ids.dedup();
        ids.sort_by(|a, b| b.impact().total_cmp(&a.impact()).then_with(|| a.cmp(b)));
        let mut run_again = 0;
        for batch in ids.chunks(AT_ONCE) {
            self.run_again(subject, batch, &mut suspects).await?;
            run_again += batch.len();
            let is_confirmed = |(scenario, failure): &(ScenarioKey, NewFailure)| {
                batch.contains(scenario) && failure.standing() == Standing::Confirmed
            };
            if suspects.iter().any(is_confirmed) {
                break;
            }
        }
        suspects.retain(|(scenario, _)| ids[..run_again].contains(scenario));
        Ok(suspects)
    }

    /// Whether any dimension is critical.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.dimensions().next().is_some()
    }

    /// The indices of the critical dimensions.
    fn dimensions(&self) -> impl Iterator<Item = usize> {
        self.plan.dimensions.iter().enumerate().filter(|(_, dimension)| dimension.critical).map(|(index, _)| index)
    }

    /// Runs both prompts again in suspicious scenarios. Recorded transcripts cannot be run again: there the first figures
    /// count.
    async fn run_again(
        &self,
        subject: &Arc<Subject>,
        batch: &[ScenarioKey],
        suspects: &mut [(ScenarioKey, NewFailure)],
    ) -> Result<(), CycleError> {
        let is_recorded = matches!(self.plan.runtime, RuntimePlan::Replay { .. });
        if is_recorded || self.base.transcripts.is_some() || subject.transcripts.is_some() {
            return Ok(());
        }
        let further = self.repeats..self.repeats + FURTHER_REPEATS;
        let before = self.evaluator.evaluate(self.base, batch, further.clone(), self.counted).await?;
        let after = self.evaluator.evaluate(subject, batch, further, self.counted).await?;
        for (index, scenario) in batch.iter().enumerate() {
            for (_, failure) in suspects.iter_mut().filter(|(suspect, _)| suspect == scenario) {
                let dimension = self.plan.dimensions.iter().position(|dimension| dimension.name == failure.dimension);
                let dimension = dimension.expect("it was taken from there");
                failure.before_again = before.results[index].passes(dimension);
                failure.after_again = after.results[index].passes(dimension);
            }
        }
        Ok(())
    }

    /// The scenarios that seem to newly fail over some repeats.
    async fn compare(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[ScenarioKey],
        repeats: Range<u32>,
    ) -> Result<Vec<(ScenarioKey, NewFailure)>, CycleError> {
        let before = self.evaluator.evaluate(self.base, scenarios, repeats.clone(), self.counted).await?;
        let after = self.evaluator.evaluate(subject, scenarios, repeats, self.counted).await?;
        let mut found = Vec::new();
        for (index, scenario) in scenarios.iter().enumerate() {
            for dimension in self.dimensions() {
                let (before, after) = (before.results[index].passes(dimension), after.results[index].passes(dimension));
                if NewFailure::seems(before, after) {
                    let failure = NewFailure {
                        scenario: scenario.id.clone(),
                        part: self.part(scenario),
                        dimension: self.plan.dimensions[dimension].name.clone(),
                        prompt: subject.id.short(),
                        before,
                        after,
                        before_again: Passes::default(),
                        after_again: Passes::default(),
                    };
                    found.push((scenario.clone(), failure));
                }
            }
        }
        Ok(found)
    }

    /// Divides edits into as many as possible that do not make one of the scenarios newly fail, and those that do. Groups
    /// of edits are halved until the harmful one is isolated, so a few measurements find it among many edits.
    ///
    /// # Errors
    /// [`CycleError`] if the cycle cannot continue.
    #[allow(clippy::type_complexity, reason = "two lists, named in the documentation")]
    pub(crate) async fn settle(
        &self,
        units: &[Unit],
        fatal: &[ScenarioKey],
    ) -> Result<(Vec<Unit>, Vec<(Unit, Vec<Broken>)>), CycleError> {
        let repeats = 0..self.repeats + FURTHER_REPEATS;
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        let mut open = vec![units.to_vec()];
        while let Some(group) = open.pop() {
            let together = [kept.as_slice(), group.as_slice()].concat();
            let failures = self.compare(&self.compose(&together), fatal, repeats.clone()).await?;
            match &group[..] {
                _ if failures.is_empty() => kept = together,
                [one] => {
                    let breaks = failures.iter().map(|(_, failure)| Broken::from(failure)).collect();
                    dropped.push((one.clone(), breaks));
                }
                several => {
                    let (first, second) = several.split_at(several.len() / 2);
                    open.push(second.to_vec());
                    open.push(first.to_vec());
                }
            }
        }
        Ok((kept, dropped))
    }

    /// The prompt that results from applying edits to the base.
    #[must_use]
    pub(crate) fn compose(&self, units: &[Unit]) -> Arc<Subject> {
        Arc::new(Subject::prompt(self.composed(units).prompts))
    }

    fn composed(&self, units: &[Unit]) -> Composed {
        compose(self.plan.patching.as_ref(), &self.base.prompts, units)
    }

    fn part(&self, scenario: &ScenarioKey) -> Part {
        let split = &self.plan.split;
        match scenario {
            _ if self.is_comparison => Part::Compared,
            scenario if split.held_out.binary_search(scenario).is_ok() => Part::HeldOut,
            scenario if split.regression.binary_search(scenario).is_ok() => Part::Regression,
            _ => Part::Training,
        }
    }
}
