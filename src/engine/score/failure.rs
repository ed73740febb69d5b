//! A failing scenario as the cluster and patch phases see it: what was wanted, what came, and what was wrong with it.

use super::shorten;
use crate::api::plan::DimensionPlan;
use crate::domain::cluster::Failure;
use crate::domain::scenario::Scenario;
use crate::domain::score::{DimensionScore, Sample, ScenarioResult};
use crate::domain::transcript::Transcript;

/// The longest request that is kept, in characters.
const MAX_REQUEST: usize = 1_000;
/// The longest answer that is kept, in characters.
const MAX_ANSWER: usize = 600;
/// The longest evidence that is kept, in characters.
const MAX_EVIDENCE: usize = 600;

/// The failure of a scenario, told by its worst repeat; `None` when all its repeats passed. The transcripts are those of
/// the repeats, in any order; without that of the worst repeat the answer stays empty.
///
/// The worst repeat is the one with the lowest failed score, then the lowest weighted mean, then the first.
#[must_use]
pub fn failure(
    scenario: &Scenario,
    result: &ScenarioResult,
    dimensions: &[DimensionPlan],
    transcripts: &[Transcript],
) -> Option<Failure> {
    let worst = result.samples.iter().filter(|sample| !sample.passed()).min_by(|a, b| {
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
        tool_errors: failed.iter().flat_map(|(_, score)| score.tool_errors.iter().cloned()).collect(),
        evidence: shorten(&evidence.join("\n"), MAX_EVIDENCE).into_owned(),
    })
}

fn lowest_failed(sample: &Sample) -> f64 {
    let failed = sample.dimensions.iter().flatten().filter(|score| !score.passed);
    failed.map(|score| score.score.value()).fold(1.0, f64::min)
}

/// The mean of the scores by the weights of the dimensions that apply.
fn weighted_mean(sample: &Sample, dimensions: &[DimensionPlan]) -> f64 {
    let applying = dimensions.iter().zip(&sample.dimensions).filter_map(|(dimension, score)| {
        score.as_ref().map(|score| (dimension.weight, dimension.weight * score.score.value()))
    });
    let (weight, sum) = applying.fold((0.0, 0.0), |(weight, sum), (w, s)| (weight + w, sum + s));
    if weight > 0.0 { sum / weight } else { 0.0 }
}
