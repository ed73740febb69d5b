//! Phase *gate*: paired scores → the evidence that [`whetstone_decide::gate`] judges.

use super::ports::Memory;
use super::shadow::Paired;
use whetstone_decide::critical::NewFailure;
use whetstone_decide::gate::{Evidence, Report, Rules, gate};
use whetstone_domain::plan::Plan;
use whetstone_domain::suite::ScenarioKey;

/// Judges the measurements of *shadow*. `again` are the scenarios that seemed to newly fail in a critical dimension, with
/// further repeats; whether they fail is decided by all repeats together. The scores are those of the first repeats, which
/// were not selected by their outcome. `others` are the p-values of other challengers of the cycle.
#[must_use]
pub(crate) fn judge(
    plan: &Plan,
    paired: &Paired,
    memory: &Memory,
    again: &[(ScenarioKey, NewFailure)],
    others: &[Option<f64>],
) -> Report {
    let mut evidence = Evidence {
        history: memory.champion_scores.clone(),
        rejected_before: memory.rejected.iter().any(|rejected| rejected.prompt == paired.challenger.prompt),
        other_challengers: others.to_vec(),
        ..Evidence::pair(&paired.champion, &paired.challenger, &paired.scenarios)
    };
    for (_, failure) in again {
        let Some(pair) = evidence.pairs.iter_mut().find(|pair| pair.scenario == failure.scenario) else { continue };
        let dimension = plan.dimensions.iter().position(|dimension| dimension.name == failure.dimension);
        let dimension = dimension.expect("what fails is a dimension of the plan");
        let sides = [
            (&mut pair.champion, failure.before + failure.before_again),
            (&mut pair.challenger, failure.after + failure.after_again),
        ];
        for (side, passes) in sides {
            if let (Some(Some(scored)), Some(passed)) = (side.get_mut(dimension), passes.majority()) {
                scored.passed = passed;
            }
        }
    }
    let rules = Rules::from_plan(&plan.gate, &plan.dimensions, plan.execution.seed);
    gate(&evidence, &rules)
}
