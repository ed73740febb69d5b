//! The gate's requirements, and what happens to a challenger that meets them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requirements for a challenger.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatePlan {
    /// The statistical test.
    pub test: Test,
    /// The significance level of each one-sided test.
    pub significance_level: f64,
    /// The amount by which the score of a dimension may fall.
    pub regression_tolerance: f64,
    /// What must be significantly better.
    pub require_significance: RequireSignificance,
    /// The minimum aggregate score of the challenger.
    pub minimum_score: f64,
    /// The minimum number of scenarios for a verdict.
    pub minimum_sample_size: usize,
    /// The maximum number of scenarios that are compared.
    pub shadow_sample_size: usize,
    /// The number of runs of each of them, for each side.
    pub repeats: u32,
}

/// What the operator does with promotions. It depends on nothing but the spec, and is known whatever else is wrong with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromotionPlan {
    /// Whether promotions need manual approval.
    pub approval: Approval,
    /// How many superseded versions are kept.
    pub max_versions_retained: u32,
    /// What happens if the base prompt changes while a version serves.
    pub on_base_change: OnBaseChange,
    /// What happens to the target if the optimization is deleted.
    pub on_delete: OnDelete,
}

/// What becomes of a base prompt that is changed once a version serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnBaseChange {
    /// It must prove itself against the champion.
    #[default]
    Gate,
    /// It serves at once.
    Adopt,
}

/// What becomes of the target ConfigMap when the AgentOptimization is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDelete {
    /// It stays as it is.
    #[default]
    Keep,
    /// It gets the base prompt.
    Revert,
}

/// Whether promotions need manual approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// The gate decides alone.
    Automatic,
    /// A challenger that passes the gate waits for approval.
    Manual,
}

/// Statistical tests. The unit is the scenario: the mean of its repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Welch's t-test of two independent samples. Ignores the pairing, so it needs more scenarios.
    WelchTTest,
    /// Student's t-test of the paired differences.
    PairedTTest,
    /// BCa bootstrap of the mean paired difference.
    Bootstrap,
    /// Sign-flip permutation test of the mean paired difference.
    Permutation,
}

/// What must be significantly better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequireSignificance {
    /// The weighted aggregate.
    Aggregate,
    /// Every dimension, Holm-corrected.
    EveryDimension,
}
