//! Measuring a candidate against the prompt that it is a patch of: what it mends, what it breaks, and whether the whole
//! suite bears it.

use std::sync::Arc;

use super::{Arena, CONFIRMING_REPEATS, Mended};
use crate::api::Plan;
use crate::domain::hash::ContentHash;
use crate::domain::score::{Evaluation, ScenarioResult};
use crate::engine::error::CycleError;
use crate::engine::evaluate::{CountedAs, Evaluator};
use crate::engine::subject::Subject;
use crate::stats::distributions::student_isf;
use crate::stats::t_test;

/// The gain of a scenario's aggregate score from which it seems mended, in whole or in part: where two things are wrong, the
/// patch for one of them must not be held against the other.
const MENDS: f64 = 0.1;

/// Fresh runs of either prompt from which a difference can be told, at least: few scenarios are repeated more often.
const CONFIRMING_RUNS: u32 = 6;

/// The level at which a prompt counts as worse on the regression suite.
const REGRESSION_LEVEL: f64 = 0.05;

impl Arena<'_> {
    /// Those of the scenarios in which a subject does better than the base.
    pub(super) async fn mended(&self, subject: &Arc<Subject>, scenarios: &[usize]) -> Result<Mended, CycleError> {
        let before = self.evaluate(self.base, scenarios, self.repeats()).await?;
        let after = self.evaluate(subject, scenarios, self.repeats()).await?;
        let mut mended = Mended::default();
        for (&scenario, (before, after)) in scenarios.iter().zip(before.results.iter().zip(&after.results)) {
            let Some((after, before)) = self.score(after).zip(self.score(before)) else { continue };
            let gain = after - before;
            mended.compared += 1;
            if gain >= MENDS {
                mended.scenarios.push(scenario);
                mended.gain += gain;
            }
        }
        Ok(mended)
    }

    /// The sum of a figure's gains over the base, in fresh repeats of both.
    pub(super) async fn fresh_gain(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[usize],
        figure: &(dyn Fn(&ScenarioResult) -> Option<f64> + Sync),
    ) -> Result<f64, CycleError> {
        let more = CONFIRMING_REPEATS.max(CONFIRMING_RUNS.div_ceil(scenarios.len().max(1) as u32));
        let fresh = self.plan.execution.repeats..self.plan.execution.repeats + more;
        let before = self.evaluate(self.base, scenarios, fresh.clone()).await?;
        let after = self.evaluate(subject, scenarios, fresh).await?;
        Ok(differences(&before, &after, figure).iter().sum())
    }

    /// The aggregate score of a scenario.
    pub(super) fn score(&self, result: &ScenarioResult) -> Option<f64> {
        result.aggregate(&self.weights)
    }

    /// Scenarios that the base passes, in an order that is random but always the same.
    pub(super) fn sentinels(&self, except: &[usize]) -> Vec<usize> {
        let failing = self.evaluator.failing(self.base, &self.plan.split.train, &self.repeats());
        let mut passing: Vec<usize> = self
            .plan
            .split
            .train
            .iter()
            .copied()
            .filter(|scenario| !failing.contains(scenario) && !except.contains(scenario))
            .collect();
        let seed = self.plan.execution.seed;
        passing.sort_by_key(|&scenario| ContentHash::of_json(&(seed, &self.plan.scenarios[scenario].id)));
        passing.truncate(self.plan.validation.sentinels);
        passing
    }

    /// The loss of pass rate over the sentinels, confirmed by fresh repeats of both prompts on those that seem broken.
    pub(super) async fn sentinel_loss(&self, subject: &Arc<Subject>, sentinels: &[usize]) -> Result<f64, CycleError> {
        let after = self.evaluate(subject, sentinels, self.repeats()).await?;
        let broken: Vec<usize> = sentinels
            .iter()
            .zip(&after.results)
            .filter(|(_, result)| result.pass_rate().is_some_and(|rate| rate < 1.0))
            .map(|(&scenario, _)| scenario)
            .collect();
        if broken.is_empty() {
            return Ok(0.0);
        }
        let gain = self.fresh_gain(subject, &broken, &ScenarioResult::pass_rate).await?;
        Ok(-gain / sentinels.len() as f64)
    }

    pub(super) fn breaks_sentinels(&self, loss: f64, sentinels: usize) -> Option<String> {
        // Less than half a scenario is within what a single unlucky repeat does.
        let tolerated = self.plan.gate.regression_tolerance.max(0.5 / sentinels.max(1) as f64);
        (loss > tolerated).then(|| format!("breaks {:.0}% of {sentinels} sentinels that passed before", 100.0 * loss))
    }
}

/// Whether a prompt stands the full regression suite (training and regression part) against another: no dimension may be
/// worse, beyond the tolerance, with significance. Returns that, and the figures in words.
///
/// # Errors
/// [`CycleError`] when nothing else can work either.
pub async fn regression(
    plan: &Plan,
    evaluator: &Arc<Evaluator>,
    base: &Arc<Subject>,
    subject: &Arc<Subject>,
) -> Result<(bool, String), CycleError> {
    let mut suite = [plan.split.train.as_slice(), plan.split.regression.as_slice()].concat();
    suite.sort_unstable();
    let repeats = 0..plan.execution.repeats;
    let before = evaluator.evaluate(base, &suite, repeats.clone(), CountedAs::VALIDATE).await?;
    let after = evaluator.evaluate(subject, &suite, repeats, CountedAs::VALIDATE).await?;
    for (index, dimension) in plan.dimensions.iter().enumerate() {
        let differences = differences(&before, &after, |result| result.mean(index));
        let Some(test) = t_test::paired(&differences) else { continue };
        let worst = test.estimate + test.standard_error * student_isf(REGRESSION_LEVEL, test.degrees_of_freedom);
        if worst < -plan.gate.regression_tolerance {
            let reason = format!(
                "is worse in {} on the full suite: at best {:+.3}, and {:.3} is tolerated",
                dimension.name, worst, plan.gate.regression_tolerance
            );
            return Ok((false, reason));
        }
    }
    Ok((true, format!("stands the full suite of {} scenarios", suite.len())))
}

/// A figure's differences over the scenarios where both sides have it.
pub(super) fn differences(
    before: &Evaluation,
    after: &Evaluation,
    figure: impl Fn(&ScenarioResult) -> Option<f64>,
) -> Vec<f64> {
    let pairs = before.results.iter().zip(&after.results);
    pairs.filter_map(|(before, after)| Some(figure(after)? - figure(before)?)).collect()
}
