//! `spec.promotion` and `spec.budget`: the gate, the target, the money.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{patterns, rules};

/// The gate, and where a promoted prompt goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// Where a promoted prompt goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What a challenger must prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Whether a person must agree to each promotion. The profile's when absent: `Manual` for `Compliance`, else `Automatic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// How many superseded versions are kept. Champion and predecessor always are. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_versions_retained: Option<u32>,
    /// What becomes of a base prompt that is changed once a version serves: `Gate` (it must prove itself against the champion
    /// like any other candidate) or `Adopt` (it serves at once). `Gate` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Gate"))]
    pub on_base_change: Option<OnBaseChange>,
    /// What becomes of the target ConfigMap when the AgentOptimization is deleted: `Keep` (it stays as it is) or `Revert`
    /// (it gets the base prompt). `Keep` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Keep"))]
    pub on_delete: Option<OnDelete>,
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

/// Whether a person must agree to each promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// The gate decides alone.
    Automatic,
    /// What passes the gate waits for a person.
    Manual,
}

/// Where a promoted prompt goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The ConfigMap that the agent reads. Whetstone owns it; it must not be the one that holds the base prompt.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::OBJECT_NAME))]
    pub config_map: String,
    /// Workloads to restart after a promotion: those that read the prompt only when they start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub restart: Vec<Workload>,
}

/// A workload of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::OBJECT_NAME))]
    pub name: String,
}

/// Kinds of workloads that can be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

/// What a challenger must prove.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.minimumSampleSize) && has(self.shadowSampleSize)) || self.minimumSampleSize <= self.shadowSampleSize")
    .message("fewer scenarios are compared than are demanded, so no verdict could ever stand: raise shadowSampleSize or lower minimumSampleSize")
    .field_path(".shadowSampleSize"))]
pub struct Gate {
    /// The statistical test of superiority and non-inferiority. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
    /// The chance of promoting a challenger that is no better, at most. Between 0 and 0.5. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0001, max = 0.5))]
    pub significance_level: Option<f64>,
    /// How much worse a single dimension may be, in score points. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub regression_tolerance: Option<f64>,
    /// What must be significantly better: the aggregate, or every single dimension. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_significance: Option<RequireSignificance>,
    /// The aggregate score that the challenger must reach. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub minimum_score: Option<f64>,
    /// The fewest scenarios on which a verdict may stand. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub minimum_sample_size: Option<u32>,
    /// The most scenarios that champion and challenger are compared on. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub shadow_sample_size: Option<u32>,
    /// How often each of the compared scenarios is run, for champion and challenger each. As `spec.execution.repeats` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub repeats: Option<u32>,
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

/// What the challenger must reach in a dimension. Exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one(&["value", "percentile"]))]
pub struct Threshold {
    /// A mean score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub value: Option<f64>,
    /// A percentile (0 to 100) of the champion's mean scores in earlier cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percentile: Option<f64>,
}

/// What a cycle may cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// The most that one cycle may cost, as a decimal string such as `5.00`. The cycle stops before it is exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::demands(
        "!self.matches('^[0-9.]+$') || self.matches('[1-9]')",
        "a budget of nothing allows no cycle: leave it out for none, or give an amount"
    ))]
    pub per_cycle: Option<String>,
    /// The currency of budget and prices. `USD` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::CURRENCY), length(max = 64), extend("default" = "USD"))]
    pub currency: Option<String>,
}
