//! *Watch*, as far as the engine is concerned: measures the champion again, with fresh answers, on the gate's scenarios.
//! This detects a model that drifts: the prompt is the same, and its effect is not.

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
use whetstone_domain::call::Phase;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::money::Money;
use whetstone_domain::plan::Plan;
use whetstone_domain::prompt::Prompt;
use whetstone_domain::score::Evaluation;
use whetstone_domain::series::Series;
use whetstone_stats::LocationTest as _;
use whetstone_stats::permutation::sign_flip;

/// The number of random sign patterns of the test.
const RESAMPLES: usize = 10_000;

/// The result of measuring the champion again.
#[derive(Clone, Debug, PartialEq)]
pub struct Remeasurement {
    /// The identity of the cycle.
    pub cycle: ContentHash,
    /// The impact-weighted mean of the recorded aggregate, 0 to 1.
    pub then: f64,
    /// The same with fresh answers.
    pub now: f64,
    /// The probability of such a drop if nothing had changed: one-sided sign-flip test over the scenarios.
    pub p_value: f64,
    /// The mean of the predecessor with fresh answers on the same scenarios; measured only if the champion has dropped by
    /// more than is allowed.
    pub predecessor: Option<f64>,
    /// The probability that the predecessor is this far above the champion if it is no better: the same test.
    pub predecessor_p_value: Option<f64>,
    /// The number of scenarios that were scored in every measurement. All values above are over these.
    pub scenarios: usize,
    /// What the remeasurement cost.
    pub cost: Money,
}

/// How the champion is measured again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The series of the fresh answers. They are compared with the answers of the plan's own series.
    pub series: Series,
    /// The version that served before the champion, if it can be measured.
    pub predecessor: Option<Prompt>,
    /// How far the score may drop before the predecessor is measured as well, 0 to 1.
    pub max_drop: f64,
    /// The score of a drop that is already known, 0 to 1: only a further drop below it counts then.
    pub known_drop: Option<f64>,
}

/// The identity of the cycle that measures the champion again with the answers of a series.
#[must_use]
pub fn identity(plan: &Plan, series: Series) -> ContentHash {
    match series.apart {
        None => ContentHash::of_json(&("remeasure", plan.identity(), series.number)),
        Some(apart) => ContentHash::of_json(&("remeasure", plan.identity(), series.number, apart)),
    }
}

impl Pipeline {
    /// Measures the champion again with the answers of another series, and its predecessor too if the champion has dropped
    /// by more than is allowed.
    ///
    /// # Errors
    /// [`CycleError`] when it could not be measured. Nothing that was paid for is lost.
    pub async fn remeasure(self, again: Again) -> Result<Remeasurement, CycleError> {
        let Again { series, predecessor, max_drop, known_drop } = again;
        let cycle = identity(&self.plan, series);
        let Self { plan, models, ledger, progress, stop, .. } = self;
        let (prices, budget) = (plan.models.clone(), plan.budget);
        let calls = Calls::open(cycle, prices, budget, models, ledger, Arc::clone(&progress), stop.clone()).await?;
        let mut fresh = Plan::clone(&plan);
        fresh.execution.series = series;
        let on = |plan: Arc<Plan>| {
            let calls = Arc::new(calls.in_series(plan.execution.series));
            Arc::new(Evaluator::new(plan, calls, Arc::clone(&progress), stop.clone()))
        };
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
            let mut compared = Compared::of(&plan, &[&then, &now]);
            let from = known_drop.map_or(compared.means[0], |known| known.min(compared.means[0]));
            let dropped = from - compared.means[1] > max_drop;
            if let Some(prompt) = predecessor.filter(|_| dropped) {
                let before = Arc::new(Subject::prompt(prompt));
                let before = fresh.evaluate(&before, &scenarios, 0..repeats, CountedAs::BASELINE).await?;
                compared = Compared::of(&plan, &[&then, &now, &before]);
            }
            Ok(Remeasurement {
                cycle,
                then: compared.means[0],
                now: compared.means[1],
                p_value: compared.p_drop(0, 1),
                predecessor: compared.means.get(2).copied(),
                predecessor_p_value: (compared.means.len() > 2).then(|| compared.p_drop(2, 1)),
                scenarios: compared.rows.len(),
                cost: calls.spent(),
            })
        }
        .await;
        calls.settle().await;
        // Read last, so that the cost of the last calls counts as well.
        measured.map(|measured| Remeasurement { cost: calls.spent(), ..measured })
    }
}

/// Evaluations, restricted to the scenarios that were scored in each of them: otherwise the means would be over different
/// scenarios, and a judge that fails occasionally would look like a change.
struct Compared {
    /// The aggregates by scenario, one for each evaluation.
    rows: Vec<Vec<f64>>,
    /// The impact-weighted mean of each evaluation; NaN if no scenario was scored in all.
    means: Vec<f64>,
    seed: u64,
}

impl Compared {
    fn of(plan: &Plan, evaluations: &[&Evaluation]) -> Self {
        let weights: Vec<f64> = plan.dimensions.iter().map(|dimension| dimension.weight).collect();
        let aggregates: Vec<Vec<Option<f64>>> = evaluations
            .iter()
            .map(|evaluation| evaluation.results.iter().map(|result| result.aggregate(&weights)).collect())
            .collect();
        let shared = scored_in_all(&aggregates);
        let means = evaluations.iter().map(|evaluation| {
            let results = shared.iter().map(|(scenario, _)| evaluation.results[*scenario].clone()).collect();
            means(plan, &Evaluation { prompt: evaluation.prompt, results }).score.unwrap_or(f64::NAN)
        });
        let means = means.collect();
        Self { means, rows: shared.into_iter().map(|(_, row)| row).collect(), seed: plan.execution.seed }
    }

    /// The probability that one evaluation is this far above another if there is no difference: one-sided, paired by
    /// scenario.
    fn p_drop(&self, above: usize, below: usize) -> f64 {
        let drops: Vec<f64> = self.rows.iter().map(|row| row[above] - row[below]).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let test = sign_flip(&[&drops], RESAMPLES, &mut rng).pop().flatten();
        test.map_or(1.0, |test| test.p_greater(0.0))
    }
}

/// The scenarios that were scored in each of the evaluations, with their aggregates.
fn scored_in_all(aggregates: &[Vec<Option<f64>>]) -> Vec<(usize, Vec<f64>)> {
    let scenarios = aggregates.iter().map(Vec::len).min().unwrap_or(0);
    let row = |scenario: usize| aggregates.iter().map(|all| all[scenario]).collect::<Option<Vec<f64>>>();
    (0..scenarios).filter_map(|scenario| Some((scenario, row(scenario)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scenarios_that_were_scored_each_time_are_compared() {
        let now = vec![Some(0.8), Some(0.8), Some(0.2), Some(0.2)];
        let before = vec![Some(0.8), None, None, Some(0.2)];
        assert_eq!(scored_in_all(&[now.clone(), before]), [(0, vec![0.8, 0.8]), (3, vec![0.2, 0.2])]);
        assert_eq!(scored_in_all(&[now, vec![None; 4]]), []);
    }

    #[test]
    fn a_difference_that_every_scenario_shows_is_no_chance_and_one_that_half_of_them_show_is() {
        let chance = |above: f64, others: f64| {
            let rows = (0..20).map(|row| vec![if row % 2 == 0 { above } else { others }, 0.5]).collect();
            Compared { rows, means: vec![0.5, 0.5], seed: 1 }.p_drop(0, 1)
        };
        assert!(chance(0.7, 0.7) < 0.001, "{}", chance(0.7, 0.7));
        assert!(chance(0.7, 0.3) > 0.2, "{}", chance(0.7, 0.3));
    }
}
