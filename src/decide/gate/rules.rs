//! What a challenger must prove.

use whetstone_domain::ids::DimensionName;
use whetstone_domain::plan::promotion::{RequireSignificance, Test};
use whetstone_domain::plan::{DimensionPlan, GatePlan, ThresholdPlan};
use whetstone_stats::RESAMPLES;

/// What a challenger must prove.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The statistical test.
    pub test: Test,
    /// The level of each one-sided test, between 0 and 0.5.
    pub significance_level: f64,
    /// How much worse a dimension may be, in score points; also the improvement below which a change is not worth
    /// having.
    pub regression_tolerance: f64,
    /// What must be significantly better.
    pub require_significance: RequireSignificance,
    /// The aggregate that the challenger must reach.
    pub minimum_score: f64,
    /// The fewest scenarios on which a statistical verdict may stand.
    pub minimum_sample_size: usize,
    /// The dimensions, in the order of the evidence.
    pub dimensions: Vec<DimensionRule>,
    /// How many resamples bootstrap and sign-flip draw.
    pub resamples: usize,
    /// Seeds them.
    pub seed: u64,
}

/// What a challenger must prove in one dimension.
#[derive(Clone, Debug)]
pub struct DimensionRule {
    /// Its name.
    pub name: DimensionName,
    /// Its share of the aggregate.
    pub weight: f64,
    /// No scenario may newly fail in it.
    pub critical: bool,
    /// What the challenger's mean must reach.
    pub threshold: Option<ThresholdPlan>,
}

impl Rules {
    /// The rules of a plan.
    #[must_use]
    pub fn from_plan(gate: &GatePlan, dimensions: &[DimensionPlan], seed: u64) -> Self {
        let dimensions = dimensions
            .iter()
            .map(|dimension| DimensionRule {
                name: dimension.name.clone(),
                weight: dimension.weight,
                critical: dimension.critical,
                threshold: dimension.threshold,
            })
            .collect();
        Self {
            test: gate.test,
            significance_level: gate.significance_level,
            regression_tolerance: gate.regression_tolerance,
            require_significance: gate.require_significance,
            minimum_score: gate.minimum_score,
            minimum_sample_size: gate.minimum_sample_size,
            dimensions,
            resamples: RESAMPLES,
            seed,
        }
    }
}
