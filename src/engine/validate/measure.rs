//! Measures a candidate against the prompt that it patches: what it fixes, what it breaks, and how it does on the whole
//! suite.

use std::sync::Arc;

use super::attempt::{Sentinels, SuiteResult, Worse};
use super::{Arena, CONFIRMING_REPEATS, Gains};
use crate::error::CycleError;
use crate::evaluate::{CountedAs, Evaluator};
use crate::subject::Subject;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::plan::Plan;
use whetstone_domain::score::{Evaluation, ScenarioResult};
use whetstone_domain::suite::ScenarioKey;
use whetstone_stats::distributions::student_isf;
use whetstone_stats::{reaches, t_test};

/// The gain of a scenario's aggregate score from which it counts as fixed, fully or partly: if two things are wrong, the
/// patch for one of them must not be rejected because of the other.
const FIXES: f64 = 0.1;

/// The minimum number of fresh runs of each prompt that show a difference: if there are few scenarios, they are repeated
/// more often.
const CONFIRMING_RUNS: u32 = 6;

/// The level at which a prompt counts as worse on the regression suite.
const REGRESSION_LEVEL: f64 = 0.05;

impl Arena<'_> {
    /// The given scenarios in which a subject does better than the base.
    pub(super) async fn gains(&self, subject: &Arc<Subject>, scenarios: &[ScenarioKey]) -> Result<Gains, CycleError> {
        let before = self.evaluate(self.base, scenarios, self.repeats()).await?;
        let after = self.evaluate(subject, scenarios, self.repeats()).await?;
        let mut gains = Gains::default();
        for (scenario, (before, after)) in scenarios.iter().zip(before.results.iter().zip(&after.results)) {
            let Some((after, before)) = self.score(after).zip(self.score(before)) else { continue };
            let gain = after - before;
            gains.compared += 1;
            if reaches(gain, FIXES) {
                gains.scenarios.push(scenario.clone());
                gains.sum += gain;
            }
        }
        Ok(gains)
    }

    /// Fresh repeats of the base and of a subject.
    pub(super) async fn fresh(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[ScenarioKey],
    ) -> Result<(Evaluation, Evaluation), CycleError> {
        let more = CONFIRMING_REPEATS.max(CONFIRMING_RUNS.div_ceil(scenarios.len().max(1) as u32));
        let fresh = self.plan.execution.repeats..self.plan.execution.repeats + more;
        let before = self.evaluate(self.base, scenarios, fresh.clone()).await?;
        let after = self.evaluate(subject, scenarios, fresh).await?;
        Ok((before, after))
    }

    /// The aggregate score of a scenario.
    pub(super) fn score(&self, result: &ScenarioResult) -> Option<f64> {
        result.aggregate(&self.weights)
    }

    /// Scenarios that the base passes in most of their repeats, in a random but fixed order.
    pub(super) fn sentinels(&self, except: &[ScenarioKey]) -> Vec<ScenarioKey> {
        let train = &self.plan.split.train;
        let measured = self.evaluator.measured(self.base, train, &self.repeats());
        let passes = |result: &ScenarioResult| result.passes_in_all().majority() == Some(true);
        let passing =
            train.iter().zip(&measured.results).filter(|(_, result)| passes(result)).map(|(scenario, _)| scenario);
        let mut passing: Vec<ScenarioKey> = passing.filter(|scenario| !except.contains(scenario)).cloned().collect();
        let seed = self.plan.execution.seed;
        passing.sort_by_cached_key(|scenario| ContentHash::of_json(&(seed, &scenario.id)));
        passing.truncate(self.plan.validation.sentinels);
        passing
    }

    /// The effect of a subject on the sentinels. Those that seem broken are run again with both prompts.
    pub(super) async fn try_sentinels(
        &self,
        subject: &Arc<Subject>,
        sentinels: &[ScenarioKey],
    ) -> Result<Sentinels, CycleError> {
        let scenarios = sentinels.len();
        // A loss of less than half a scenario may be a single unlucky repeat.
        let tolerated = self.plan.gate.regression_tolerance.max(0.5 / scenarios.max(1) as f64);
        let after = self.evaluate(subject, sentinels, self.repeats()).await?;
        let suspects: Vec<ScenarioKey> = sentinels
            .iter()
            .zip(&after.results)
            .filter(|(_, result)| result.pass_rate().is_some_and(|rate| rate < 1.0))
            .map(|(scenario, _)| scenario.clone())
            .collect();
        if suspects.is_empty() {
            return Ok(Sentinels { scenarios, broken: 0, loss: 0.0, tolerated });
        }
        let (before, after) = self.fresh(subject, &suspects).await?;
        let loss = -differences(&before, &after, ScenarioResult::pass_rate).iter().sum::<f64>() / scenarios as f64;
        let pairs = before.results.iter().zip(&after.results);
        // One of two fresh repeats fails by luck too often to reject a candidate for it: most of them must fail.
        let is_broken = |(before, after): &(&ScenarioResult, &ScenarioResult)| {
            before.passes_in_all().majority() == Some(true) && after.pass_rate().is_some_and(|rate| rate < 0.5)
        };
        Ok(Sentinels { scenarios, broken: pairs.filter(is_broken).count(), loss, tolerated })
    }
}

/// How a prompt does on the full regression suite (training and regression part), compared with another: no dimension may
/// be significantly worse by more than the tolerance.
///
/// # Errors
/// [`CycleError`] when nothing else can work either.
pub(crate) async fn regression(
    plan: &Plan,
    evaluator: &Arc<Evaluator>,
    base: &Arc<Subject>,
    subject: &Arc<Subject>,
) -> Result<SuiteResult, CycleError> {
    let suite = plan.split.suite();
    let repeats = 0..plan.execution.repeats;
    let before = evaluator.evaluate(base, &suite, repeats.clone(), CountedAs::VALIDATE).await?;
    let after = evaluator.evaluate(subject, &suite, repeats, CountedAs::VALIDATE).await?;
    let worse = plan.dimensions.iter().enumerate().find_map(|(index, dimension)| {
        let differences = differences(&before, &after, |result| result.mean(index));
        let test = t_test::paired(&differences)?;
        let at_best = test.estimate + test.standard_error * student_isf(REGRESSION_LEVEL, test.degrees_of_freedom);
        let tolerated = plan.gate.regression_tolerance;
        is_beyond(at_best, tolerated).then(|| Worse { dimension: dimension.name.clone(), at_best, tolerated })
    });
    Ok(SuiteResult { scenarios: suite.len(), worse })
}

/// Whether a drop exceeds the tolerance. Differences within rounding do not.
fn is_beyond(difference: f64, tolerated: f64) -> bool {
    !reaches(difference, -tolerated)
}

/// The differences of a figure over the scenarios where both sides have it.
pub(super) fn differences(
    before: &Evaluation,
    after: &Evaluation,
    figure: impl Fn(&ScenarioResult) -> Option<f64>,
) -> Vec<f64> {
    let pairs = before.results.iter().zip(&after.results);
    pairs.filter_map(|(before, after)| Some(figure(after)? - figure(before)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_of_just_what_is_tolerated_is_tolerated() {
        let drop = 0.7 - 0.75;
        assert!(drop < -0.05, "or this test shows nothing");
        assert!(!is_beyond(drop, 0.05) && is_beyond(drop - 1e-9, 0.05));
        assert!(!is_beyond(0.0, 0.0) && is_beyond(-1e-9, 0.0));
    }
}
