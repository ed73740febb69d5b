//! Phase *shadow*: champion and challenger on the same scenarios → paired scores.
//!
//! The scenarios are the held-out ones, which no cluster, patch or candidate has seen. Champion and challenger run with the
//! same repeats and mocks, so any difference in a scenario is due to the prompt.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::subject::Subject;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::plan::Plan;
use whetstone_domain::score::{Evaluation, ScenarioResult};
use whetstone_domain::suite::ScenarioKey;

/// The results of champion and challenger on the same scenarios, in the same order.
#[derive(Clone, Debug)]
pub(crate) struct Paired {
    /// The scenarios.
    pub scenarios: Vec<ScenarioKey>,
    /// The results of the champion.
    pub champion: Evaluation,
    /// The results of the challenger.
    pub challenger: Evaluation,
}

impl Paired {
    /// The part that is compared: the scenarios in which both have a score, and the dimensions in which both have one. The
    /// gate computes its means over it.
    #[must_use]
    pub(crate) fn compared(&self) -> Self {
        let (mut champion, mut challenger) = (Vec::new(), Vec::new());
        let found: BTreeMap<&ScenarioId, &ScenarioResult> =
            scored(&self.challenger).map(|result| (&result.scenario, result)).collect();
        for ours in scored(&self.champion) {
            let Some(&theirs) = found.get(&ours.scenario) else { continue };
            champion.push(scored_as_well(ours, theirs));
            challenger.push(scored_as_well(theirs, ours));
        }
        Self {
            scenarios: self.scenarios.clone(),
            champion: Evaluation { results: champion, ..self.champion.clone() },
            challenger: Evaluation { results: challenger, ..self.challenger.clone() },
        }
    }
}

fn scored(evaluation: &Evaluation) -> impl Iterator<Item = &ScenarioResult> {
    evaluation.results.iter().filter(|result| !result.samples.is_empty())
}

/// A result, restricted to the dimensions in which another one of the same scenario has a score too.
fn scored_as_well(result: &ScenarioResult, other: &ScenarioResult) -> ScenarioResult {
    let mut result = result.clone();
    for sample in &mut result.samples {
        for (dimension, score) in sample.dimensions.iter_mut().enumerate() {
            if other.mean(dimension).is_none() {
                *score = None;
            }
        }
    }
    result
}

/// Draws the scenarios for the comparison: at most `spec.promotion.gate.shadowSampleSize` of `from`, at random, and always
/// the same for the same seed.
#[must_use]
pub(crate) fn sample(plan: &Plan, from: &[ScenarioKey]) -> Vec<ScenarioKey> {
    let mut drawn = from.to_vec();
    let seed = plan.execution.seed;
    drawn.sort_by_cached_key(|scenario| ContentHash::of_json(&("shadow", seed, &scenario.id)));
    drawn.truncate(plan.gate.shadow_sample_size);
    drawn.sort_unstable();
    drawn
}

/// Measures both prompts on the same scenarios.
///
/// # Errors
/// [`CycleError`] if no other run can succeed either.
pub(crate) async fn compare(
    plan: &Plan,
    evaluator: &Arc<Evaluator>,
    champion: &Arc<Subject>,
    challenger: &Arc<Subject>,
    scenarios: Vec<ScenarioKey>,
) -> Result<Paired, CycleError> {
    let measure = |subject| evaluator.evaluate(subject, &scenarios, 0..plan.gate.repeats, CountedAs::SHADOW);
    futures::try_join!(measure(champion), measure(challenger))?;
    // Read only when both are measured: whether an endpoint shows its tool calls depends on all its answers.
    let read = |subject| evaluator.measured(subject, &scenarios, &(0..plan.gate.repeats));
    let (champion, challenger) = (read(champion), read(challenger));
    Ok(Paired { scenarios, champion, challenger })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluation(results: &serde_json::Value) -> Evaluation {
        serde_json::from_value(json!({"prompt": "0".repeat(64), "results": results})).unwrap()
    }

    fn sample(scores: [Option<f64>; 2]) -> serde_json::Value {
        let dimension = |score: Option<f64>| score.map(|score| json!({"score": score, "passed": score > 0.5}));
        json!({"repeat": 0, "dimensions": scores.map(dimension)})
    }

    #[test]
    fn only_what_both_have_a_score_in_is_compared() {
        let champion = evaluation(&json!([
            {"scenario": "a", "samples": [sample([Some(0.2), Some(1.0)])]},
            {"scenario": "b", "samples": [sample([Some(0.9), None])]},
            {"scenario": "c", "samples": [], "errors": ["timed out"]},
        ]));
        let challenger = evaluation(&json!([
            {"scenario": "a", "samples": [sample([Some(0.6), None]), sample([Some(0.8), None])]},
            {"scenario": "b", "samples": [], "errors": ["timed out"]},
            {"scenario": "c", "samples": [sample([Some(0.9), Some(0.9)])]},
        ]));
        let compared = Paired { scenarios: Vec::new(), champion, challenger }.compared();
        let means = |evaluation: &Evaluation| -> Vec<(String, Option<f64>)> {
            let aggregate = |result: &ScenarioResult| (result.scenario.to_string(), result.aggregate(&[0.5, 0.5]));
            evaluation.results.iter().map(aggregate).collect()
        };
        assert_eq!(means(&compared.champion), [("a".to_owned(), Some(0.2))]);
        assert_eq!(means(&compared.challenger), [("a".to_owned(), Some(0.7))]);
    }
}
