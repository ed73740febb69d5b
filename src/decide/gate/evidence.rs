//! What is known of champion and challenger when the gate decides.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::Rules;
use whetstone_domain::ids::{DimensionName, ScenarioId};
use whetstone_domain::score::{Evaluation, ScenarioResult};
use whetstone_domain::suite::ScenarioKey;

/// What is known of champion and challenger when the gate decides.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The scenarios on which at least one side was scored, in any order. A side without any score has `None` in every
    /// dimension.
    pub pairs: Vec<Pair>,
    /// Scenarios that are not compared because one side or both have no score at all: every repeat ended in an error,
    /// or no transcript was recorded.
    pub excluded: usize,
    /// Mean scores by dimension of the champions of earlier cycles, oldest first, for percentile thresholds.
    pub history: Vec<BTreeMap<DimensionName, f64>>,
    /// The other challengers of this cycle: the p-value of each one's claim ([`Report::p_value`]), or `None` for one
    /// that has not come to the gate yet. Holm's correction counts them all.
    ///
    /// [`Report::p_value`]: super::Report::p_value
    pub other_challengers: Vec<Option<f64>>,
    /// A prompt with the challenger's hash was rejected before.
    pub rejected_before: bool,
}

/// How both did in one scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The scenario.
    pub scenario: ScenarioId,
    /// Its impact, relative to others: at least 0.
    pub weight: f64,
    /// The champion's scores, one for each dimension of the rules; `None` where it does not apply.
    pub champion: Vec<Option<Scored>>,
    /// The challenger's.
    pub challenger: Vec<Option<Scored>>,
}

/// How one side did in one scenario and dimension, over its repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The mean score.
    pub mean: f64,
    /// More than half of the repeats passed.
    pub passed: bool,
}

impl Evidence {
    /// Pairs two evaluations on the given scenarios. Whatever else is known is left empty.
    #[must_use]
    pub fn pair(champion: &Evaluation, challenger: &Evaluation, scenarios: &[ScenarioKey]) -> Self {
        let (champion, challenger) = (by_scenario(champion), by_scenario(challenger));
        let mut evidence = Self::default();
        for scenario in scenarios {
            let found = (champion.get(&scenario.id), challenger.get(&scenario.id));
            let (champion, challenger) = match found {
                (Some(champion), Some(challenger)) => (scores(champion), scores(challenger)),
                (Some(champion), None) => with_nothing(scores(champion)),
                (None, Some(challenger)) => swap(with_nothing(scores(challenger))),
                (None, None) => {
                    evidence.excluded += 1;
                    continue;
                }
            };
            evidence.excluded += usize::from(found.0.is_none() || found.1.is_none());
            let (scenario, weight) = (scenario.id.clone(), scenario.impact());
            evidence.pairs.push(Pair { scenario, weight, champion, challenger });
        }
        evidence
    }

    /// Why nothing can be concluded from this evidence: a number that is none, a shape that does not fit the rules.
    pub(super) fn problem(&self, rules: &Rules) -> Option<String> {
        let mut seen = BTreeSet::new();
        for pair in &self.pairs {
            let scenario = &pair.scenario;
            if !seen.insert(scenario) {
                return Some(format!("duplicate scenario {scenario:?}"));
            }
            if !pair.weight.is_finite() || pair.weight < 0.0 {
                return Some(format!("the weight of scenario {scenario:?} is {}", pair.weight));
            }
            for (side, scores) in [("champion", &pair.champion), ("challenger", &pair.challenger)] {
                if scores.len() != rules.dimensions.len() {
                    return Some(format!(
                        "the {side} has {} scores in scenario {scenario:?} instead of {}",
                        scores.len(),
                        rules.dimensions.len()
                    ));
                }
                let unsound = rules.dimensions.iter().zip(scores).find_map(|(dimension, score)| {
                    score.filter(|score| !score.mean.is_finite()).map(|score| (&dimension.name, score.mean))
                });
                if let Some((dimension, mean)) = unsound {
                    return Some(format!("the {side}'s {dimension} in scenario {scenario:?} is {mean}"));
                }
            }
        }
        None
    }
}

/// The results that have a score, by scenario.
fn by_scenario(evaluation: &Evaluation) -> BTreeMap<&ScenarioId, &ScenarioResult> {
    let scored = evaluation.results.iter().filter(|result| !result.samples.is_empty());
    scored.map(|result| (&result.scenario, result)).collect()
}

/// The scores of the side that has some, and of the one that has none.
fn with_nothing(scores: Vec<Option<Scored>>) -> (Vec<Option<Scored>>, Vec<Option<Scored>>) {
    let nothing = vec![None; scores.len()];
    (scores, nothing)
}

fn swap<T>((left, right): (T, T)) -> (T, T) {
    (right, left)
}

fn scores(result: &ScenarioResult) -> Vec<Option<Scored>> {
    let dimensions = result.samples.iter().map(|sample| sample.dimensions.len()).max().unwrap_or(0);
    (0..dimensions).map(|dimension| scored(result, dimension)).collect()
}

fn scored(result: &ScenarioResult, dimension: usize) -> Option<Scored> {
    Some(Scored { mean: result.mean(dimension)?, passed: result.passes(dimension).majority()? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use whetstone_domain::suite::Suite;

    fn evaluation(results: &serde_json::Value) -> Evaluation {
        serde_json::from_value(json!({"prompt": "0".repeat(64), "results": results})).unwrap()
    }

    fn scenarios(ids: &[&str]) -> Vec<ScenarioKey> {
        let scenarios = ids.iter().map(|id| serde_json::from_value(json!({"id": id, "weight": 2.0})).unwrap());
        Suite::new(scenarios.map(Arc::new).collect()).keys().collect()
    }

    fn sample(score: f64, passed: bool) -> serde_json::Value {
        json!({"repeat": 0, "dimensions": [{"score": score, "passed": passed}, null]})
    }

    #[test]
    fn scenarios_are_paired_and_those_without_a_score_on_one_side_are_counted() {
        let champion = evaluation(&json!([
            {"scenario": "a", "samples": [sample(1.0, true), sample(0.5, false)]},
            {"scenario": "b", "samples": [], "errors": ["judge answered prose"]},
            {"scenario": "c", "samples": [sample(1.0, true)]},
        ]));
        let challenger = evaluation(&json!([
            {"scenario": "a", "samples": [sample(1.0, true), sample(1.0, true), sample(0.0, false)]},
            {"scenario": "b", "samples": [sample(1.0, true)]},
        ]));
        let evidence = Evidence::pair(&champion, &challenger, &scenarios(&["a", "b", "c"]));
        assert_eq!(evidence.excluded, 2);
        let pair = |scenario: &str, champion, challenger| Pair {
            scenario: scenario.into(),
            weight: 2.0,
            champion: vec![champion, None],
            challenger: vec![challenger, None],
        };
        let passed = Some(Scored { mean: 1.0, passed: true });
        let flaky = Some(Scored { mean: 0.75, passed: false });
        let mostly = Some(Scored { mean: 2.0 / 3.0, passed: true });
        assert_eq!(evidence.pairs, vec![pair("a", flaky, mostly), pair("b", None, passed), pair("c", passed, None)]);
    }

    #[test]
    fn a_scenario_that_neither_side_scored_is_counted_and_not_paired() {
        let nothing = evaluation(&json!([{"scenario": "a", "samples": [], "errors": ["timed out"]}]));
        let evidence = Evidence::pair(&nothing, &nothing, &scenarios(&["a", "b"]));
        assert_eq!((evidence.excluded, evidence.pairs), (2, Vec::new()));
    }
}
