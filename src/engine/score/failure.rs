//! A failing scenario as the cluster and patch phases see it: what was expected, what the agent did, and what was wrong
//! with it.

use super::shorten;
use whetstone_domain::cluster::Failure;
use whetstone_domain::plan::DimensionPlan;
use whetstone_domain::scenario::Scenario;
use whetstone_domain::score::{DimensionScore, FailedCheck, Sample, ScenarioResult, ToolError};
use whetstone_domain::transcript::Transcript;

/// The maximum length of the request that is kept, in characters.
const MAX_REQUEST: usize = 1_000;
/// The maximum length of the answer that is kept, in characters.
const MAX_ANSWER: usize = 600;
/// The maximum length of the evidence that is kept, in characters.
const MAX_EVIDENCE: usize = 600;

/// The failure of a scenario, as its worst repeat shows it; `None` if all its repeats passed. `transcripts` are those of
/// the repeats, in any order; without that of the worst repeat, the answer stays empty.
///
/// The worst repeat is the one with the lowest failed score, then the lowest weighted mean, then the first.
#[must_use]
pub(crate) fn failure(
    scenario: &Scenario,
    result: &ScenarioResult,
    dimensions: &[DimensionPlan],
    transcripts: &[Transcript],
) -> Option<Failure> {
    let worst = result.samples.iter().filter(|sample| sample.passed() == Some(false)).min_by(|a, b| {
        let key = |sample: &Sample| (lowest_failed(sample), weighted_mean(sample, dimensions));
        let ((a_lowest, a_mean), (b_lowest, b_mean)) = (key(a), key(b));
        a_lowest.total_cmp(&b_lowest).then(a_mean.total_cmp(&b_mean))
    })?;
    let mut failed: Vec<(&DimensionPlan, &DimensionScore)> = dimensions
        .iter()
        .zip(&worst.dimensions)
        .filter_map(|(dimension, score)| Some((dimension, score.as_ref()?)))
        .filter(|(_, score)| !score.passed)
        .collect();
    failed.sort_by(|(a, a_score), (b, b_score)| {
        a_score.score.value().total_cmp(&b_score.score.value()).then(b.weight.total_cmp(&a.weight))
    });
    let evidence: Vec<String> = failed
        .iter()
        .filter(|(_, score)| !score.evidence.is_empty())
        .map(|(dimension, score)| format!("{}: {}", dimension.name, score.evidence))
        .collect();
    let answer =
        transcripts.iter().find(|transcript| transcript.repeat == worst.repeat).map_or("", Transcript::final_answer);
    Some(Failure {
        scenario: scenario.id.clone(),
        tags: scenario.tags.clone(),
        weight: scenario.impact(),
        request: shorten(&scenario.request_text(), MAX_REQUEST).into_owned(),
        answer: shorten(answer, MAX_ANSWER).into_owned(),
        dimensions: failed.iter().map(|(dimension, _)| dimension.name.clone()).collect(),
        score: lowest_failed(worst),
        tool_errors: failed
            .iter()
            .flat_map(|(dimension, score)| {
                let found_in =
                    |error: &ToolError| ToolError { dimension: Some(dimension.name.clone()), ..error.clone() };
                score.tool_errors.iter().map(found_in)
            })
            .collect(),
        failed_checks: failed
            .iter()
            .flat_map(|(dimension, score)| {
                let found_in =
                    |check: &FailedCheck| FailedCheck { dimension: Some(dimension.name.clone()), ..check.clone() };
                score.failed_checks.iter().map(found_in)
            })
            .collect(),
        expected_tools: scenario.expect.calls.iter().map(|call| call.tool.clone()).collect(),
        evidence: shorten(&evidence.join("\n"), MAX_EVIDENCE).into_owned(),
    })
}

fn lowest_failed(sample: &Sample) -> f64 {
    let failed = sample.dimensions.iter().flatten().filter(|score| !score.passed);
    failed.map(|score| score.score.value()).fold(1.0, f64::min)
}

/// The weighted mean of the scores over the dimensions that apply.
fn weighted_mean(sample: &Sample, dimensions: &[DimensionPlan]) -> f64 {
    let applying = dimensions.iter().zip(&sample.dimensions).filter_map(|(dimension, score)| {
        score.as_ref().map(|score| (dimension.weight, dimension.weight * score.score.value()))
    });
    let (weight, sum) = applying.fold((0.0, 0.0), |(weight, sum), (w, s)| (weight + w, sum + s));
    if weight > 0.0 { sum / weight } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use whetstone_domain::plan::scoring::Scorer;
    use whetstone_domain::score::{CheckKind, Score, ToolErrorKind};
    use whetstone_domain::transcript::{Ending, Message};

    fn dimensions() -> Vec<DimensionPlan> {
        let dimension = |name: &str, weight: f64| DimensionPlan {
            name: name.into(),
            weight,
            scorer: Scorer::Judge,
            judge: None,
            rubric: String::new(),
            pass_at: Score::clamped(0.7),
            critical: false,
            threshold: None,
        };
        vec![dimension("accuracy", 0.4), dimension("safety", 0.3), dimension("tools", 0.3)]
    }

    /// A repeat with these scores; a dimension without one does not apply.
    fn sample(repeat: u32, scores: [Option<f64>; 3]) -> Sample {
        let dimensions = scores.map(|score| {
            score.map(|score| DimensionScore {
                score: Score::clamped(score),
                passed: score >= 0.7,
                evidence: format!("scored {score} in repeat {repeat}").into(),
                tool_errors: vec![ToolError {
                    kind: ToolErrorKind::Missing,
                    tool: "find".into(),
                    arguments: vec![],
                    detail: format!("repeat {repeat}"),
                    dimension: None,
                }],
                failed_checks: vec![FailedCheck {
                    kind: CheckKind::Contains,
                    expected: "the answer to contain \"yes\"".to_owned(),
                    detail: format!("expected it in repeat {repeat}"),
                    dimension: None,
                }],
            })
        });
        Sample { repeat, dimensions: dimensions.into() }
    }

    fn transcript(repeat: u32) -> Transcript {
        let text = format!("answer {repeat}");
        Transcript {
            scenario: "s".into(),
            repeat,
            prompt: None,
            messages: vec![Message::said(text)],
            ending: Ending::Answered,
        }
    }

    fn failure_of(samples: Vec<Sample>) -> Option<Failure> {
        let scenario = json!({"id": "s", "tags": ["billing"], "weight": 3.0, "message": "Where is it?"});
        let result = ScenarioResult { scenario: "s".into(), samples, errors: vec![] };
        let transcripts = [transcript(1), transcript(0)];
        failure(&serde_json::from_value(scenario).unwrap(), &result, &dimensions(), &transcripts)
    }

    #[test]
    fn a_scenario_that_always_passes_is_no_failure() {
        assert_eq!(failure_of(vec![]), None);
        assert_eq!(failure_of(vec![sample(0, [Some(0.75), None, Some(1.0)])]), None);
    }

    #[test]
    fn the_worst_repeat_tells_what_failed_worst_first() {
        let failure = failure_of(vec![
            sample(0, [Some(0.5), Some(1.0), Some(0.5)]),
            sample(1, [Some(0.5), Some(0.75), Some(0.25)]),
            sample(2, [Some(1.0), Some(1.0), Some(1.0)]),
        ]);
        let failure = failure.unwrap();
        assert_eq!(failure.dimensions, ["tools".into(), "accuracy".into()]);
        assert_eq!((failure.answer.as_str(), failure.score, failure.weight), ("answer 1", 0.25, 3.0));
        assert_eq!(failure.evidence, "tools: scored 0.25 in repeat 1\naccuracy: scored 0.5 in repeat 1");
        assert!(failure.tool_errors.iter().all(|error| error.detail == "repeat 1") && failure.tool_errors.len() == 2);
        let checks: Vec<&str> = failure.failed_checks.iter().map(|check| check.detail.as_str()).collect();
        assert_eq!(checks, ["expected it in repeat 1"; 2]);
    }

    #[test]
    fn between_equally_bad_repeats_the_lower_mean_and_then_the_first_counts() {
        let tie = failure_of(vec![sample(0, [Some(0.0), Some(1.0), None]), sample(1, [Some(0.0), Some(0.9), None])]);
        assert_eq!(tie.unwrap().answer, "answer 1");
        let same = failure_of(vec![sample(0, [Some(0.0), None, None]), sample(1, [Some(0.0), None, None])]);
        assert_eq!(same.unwrap().answer, "answer 0");
    }
}
