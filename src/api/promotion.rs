//! `spec.promotion` and `spec.budget`: the gate, the target and the budget.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{defaults, patterns, rules};
use whetstone_domain::plan::promotion::{Approval, OnBaseChange, OnDelete, RequireSignificance, Test};

/// The gate, and where a promoted prompt is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// Where a promoted prompt is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The conditions that a challenger must meet to be promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Whether promotions need manual approval. Defaults to `Manual` in the profile `Compliance`, else to `Automatic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Number of superseded versions to keep. The champion and its predecessor are always kept. The default depends on
    /// the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_versions_retained: Option<u32>,
    /// What happens if the base prompt changes while a version serves: `Gate` (the new base prompt has to pass the gate
    /// like any other challenger) or `Adopt` (it serves at once). Defaults to `Gate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Gate"))]
    pub on_base_change: Option<OnBaseChange>,
    /// What happens to the target ConfigMap if the AgentOptimization is deleted: `Keep` (it is left unchanged) or
    /// `Revert` (the base prompt is written to it). Defaults to `Keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Keep"))]
    pub on_delete: Option<OnDelete>,
}

/// Where a promoted prompt is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The name of the ConfigMap that the agent reads. Whetstone owns it; it must not be one that the resource reads
    /// from.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::OBJECT_NAME))]
    pub config_map: String,
    /// Workloads to restart after a promotion: those that read the prompt only when they start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub restart: Vec<Workload>,
}

/// A workload in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Workload {
    /// The kind of the workload.
    pub kind: WorkloadKind,
    /// The name of the workload.
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

/// The conditions that a challenger must meet to be promoted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.minimumSampleSize) && has(self.shadowSampleSize)) || self.minimumSampleSize <= self.shadowSampleSize")
    .message("must not be less than minimumSampleSize, or no verdict is possible: raise shadowSampleSize or lower minimumSampleSize")
    .field_path(".shadowSampleSize"))]
pub struct Gate {
    /// The statistical test of superiority and non-inferiority. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
    /// The maximum probability of promoting a challenger that is no better than the champion, at most 0.5. The default
    /// depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0001, max = 0.5))]
    pub significance_level: Option<f64>,
    /// The amount by which the score of a single dimension may fall, 0 to 1. An improvement of the aggregate score that
    /// is smaller than this counts only if it is significant. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub regression_tolerance: Option<f64>,
    /// What must be significantly better: the aggregate, or every single dimension. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_significance: Option<RequireSignificance>,
    /// The minimum aggregate score of the challenger. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub minimum_score: Option<f64>,
    /// The minimum number of scenarios for a verdict. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub minimum_sample_size: Option<u32>,
    /// The maximum number of scenarios on which champion and challenger are compared. The default depends on the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub shadow_sample_size: Option<u32>,
    /// Number of runs of each compared scenario, for each of champion and challenger. Defaults to
    /// `spec.execution.repeats`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub repeats: Option<u32>,
}

/// The minimum score of the challenger in a dimension. Set exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one(&["value", "percentile"]))]
pub struct Threshold {
    /// The minimum mean score, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub value: Option<f64>,
    /// The minimum mean score, as a percentile (0 to 100) of the mean scores of earlier champions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percentile: Option<f64>,
}

/// Limits on the cost of a cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// The maximum cost of one cycle, as a decimal string such as `5.00`. The cycle stops before exceeding it.
    /// Unlimited by default. Requires the price of every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::demands(
        "!self.matches('^[0-9.]+$') || self.matches('[1-9]')",
        "a budget of 0 allows no cycle: remove it for no limit, or give a positive amount"
    ))]
    pub per_cycle: Option<String>,
    /// The currency of budget and prices. Defaults to `USD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::CURRENCY), length(max = 64), extend("default" = defaults::CURRENCY))]
    pub currency: Option<String>,
}
