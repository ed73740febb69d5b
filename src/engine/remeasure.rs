//! *Watch*, on the side of the engine: the champion measured again, with fresh answers, on the scenarios that the gate decides
//! on. A model that drifts is found this way: the prompt is the same, and what comes of it is not.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::Pipeline;
use super::calls::Calls;
use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::report::means;
use super::shadow;
use super::subject::Subject;
use crate::api::Plan;
use crate::domain::call::Phase;
use crate::domain::hash::ContentHash;
use crate::domain::money::Money;
use crate::domain::prompt::Prompt;
use crate::domain::score::Evaluation;
use crate::stats::LocationTest as _;
use crate::stats::permutation::sign_flip;

/// Sign patterns that the test draws.
const RESAMPLES: usize = 10_000;

/// The champion, measured again.
#[derive(Clone, Debug, PartialEq)]
pub struct Remeasurement {
    /// The identity of the cycle.
    pub cycle: ContentHash,
    /// The impact-weighted mean of the aggregate as it is recorded, 0 to 1.
    pub then: f64,
    /// The same with fresh answers.
    pub now: f64,
    /// The chance of such a drop if nothing had changed: one-sided sign-flip test over the scenarios.
    pub p_value: f64,
    /// The predecessor with fresh answers on the same scenarios; measured only when the champion has dropped beyond what is
    /// allowed.
    pub predecessor: Option<f64>,
    /// Scenarios that were scored both times.
    pub scenarios: usize,
    /// What it has cost.
    pub cost: Money,
}

impl Pipeline {
    /// Measures the champion again with the answers of another series, and its predecessor too when the champion has dropped by
    /// more than `max_drop`.
    ///
    /// # Errors
    /// [`CycleError`] when it could not be measured. Nothing that was paid for is lost.
    pub async fn remeasure(
        self,
        series: u32,
        predecessor: Option<Prompt>,
        max_drop: f64,
    ) -> Result<Remeasurement, CycleError> {
        let cycle = ContentHash::of_json(&("remeasure", self.plan.identity(), series));
        let Self { plan, models, ledger, progress, stop, .. } = self;
        let (prices, budget) = (plan.models.clone(), plan.budget);
        let calls = Calls::open(cycle, prices, budget, models, ledger, Arc::clone(&progress), stop.clone()).await?;
        let calls = Arc::new(calls);
        let mut fresh = Plan::clone(&plan);
        fresh.execution.series = series;
        let on =
            |plan: Arc<Plan>| Arc::new(Evaluator::new(plan, Arc::clone(&calls), Arc::clone(&progress), stop.clone()));
        let (recorded, fresh) = (on(Arc::clone(&plan)), on(Arc::new(fresh)));
        let scenarios = shadow::sample(&plan, &plan.split.held_out);
        let repeats = plan.gate.repeats;
        progress.begin(
            Phase::Run,
            "the champion again, with fresh answers",
            Some(2 * scenarios.len() as u64 * u64::from(repeats)),
        );
        let measured = async {
            let champion = Arc::new(Subject::champion(&plan));
            let then = recorded.evaluate(&champion, &scenarios, 0..repeats, CountedAs::BASELINE).await?;
            let now = fresh.evaluate(&champion, &scenarios, 0..repeats, CountedAs::BASELINE).await?;
            let (mean_then, mean_now) = (score(&plan, &then), score(&plan, &now));
            let dropped = mean_then - mean_now > max_drop;
            let predecessor = match predecessor.filter(|_| dropped) {
                Some(prompt) => {
                    let before = Arc::new(Subject::prompt(prompt));
                    let measured = fresh.evaluate(&before, &scenarios, 0..repeats, CountedAs::BASELINE).await?;
                    Some(score(&plan, &measured))
                }
                None => None,
            };
            let (p_value, scenarios) = p_value(&plan, &then, &now);
            Ok(Remeasurement {
                cycle,
                then: mean_then,
                now: mean_now,
                p_value,
                predecessor,
                scenarios,
                cost: calls.spent(),
            })
        }
        .await;
        calls.settle().await;
        // What was paid while the last calls came in counts as well.
        measured.map(|measured| Remeasurement { cost: calls.spent(), ..measured })
    }
}

fn score(plan: &Plan, evaluation: &Evaluation) -> f64 {
    means(plan, evaluation).score.unwrap_or(0.0)
}

/// The chance of such a drop if nothing had changed, and the number of scenarios that it rests on.
fn p_value(plan: &Plan, then: &Evaluation, now: &Evaluation) -> (f64, usize) {
    let weights: Vec<f64> = plan.dimensions.iter().map(|dimension| dimension.weight).collect();
    let drops: Vec<f64> = then
        .results
        .iter()
        .zip(&now.results)
        .filter_map(|(then, now)| Some(then.aggregate(&weights)? - now.aggregate(&weights)?))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(plan.execution.seed);
    let test = sign_flip(&[&drops], RESAMPLES, &mut rng).pop().flatten();
    (test.map_or(1.0, |test| test.p_greater(0.0)), drops.len())
}
