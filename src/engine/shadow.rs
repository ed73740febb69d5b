//! Phase *shadow*: champion and challenger on the same scenarios → paired scores.
//!
//! The scenarios are the held-out ones, which no cluster, patch or candidate has ever seen. Champion and challenger run
//! with the same repeats on the same mocks, so the difference on a scenario is the prompt's.

use std::sync::Arc;

use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::subject::Subject;
use crate::api::Plan;
use crate::domain::hash::ContentHash;
use crate::domain::score::Evaluation;

/// Champion and challenger on the same scenarios, in the same order.
#[derive(Clone, Debug)]
pub struct Paired {
    /// The scenarios, as indices into the plan.
    pub scenarios: Vec<usize>,
    /// How the champion did.
    pub champion: Evaluation,
    /// How the challenger did.
    pub challenger: Evaluation,
}

/// Draws the scenarios to compare on: at most `spec.promotion.gate.shadowSampleSize` of `from`, at random, but always the
/// same ones for the same seed.
#[must_use]
pub fn sample(plan: &Plan, from: &[usize]) -> Vec<usize> {
    let mut drawn = from.to_vec();
    let seed = plan.execution.seed;
    drawn.sort_by_key(|&scenario| ContentHash::of_json(&("shadow", seed, &plan.scenarios[scenario].id)));
    drawn.truncate(plan.gate.shadow_sample_size);
    drawn.sort_unstable();
    drawn
}

/// Measures both on the same scenarios.
///
/// # Errors
/// [`CycleError`] when nothing else can work either.
pub async fn compare(
    plan: &Plan,
    evaluator: &Arc<Evaluator>,
    champion: &Arc<Subject>,
    challenger: &Arc<Subject>,
    scenarios: Vec<usize>,
) -> Result<Paired, CycleError> {
    let measure = |subject| evaluator.evaluate(subject, &scenarios, 0..plan.gate.repeats, CountedAs::SHADOW);
    futures::try_join!(measure(champion), measure(challenger))?;
    // Read once both are there: whether an endpoint shows its tool calls is a matter of all its answers.
    let read = |subject| evaluator.measured(subject, &scenarios, &(0..plan.gate.repeats));
    let (champion, challenger) = (read(champion), read(challenger));
    Ok(Paired { scenarios, champion, challenger })
}
