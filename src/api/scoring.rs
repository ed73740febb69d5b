//! `spec.scoring`: the dimensions and their scorers.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::promotion::Threshold;
use super::rules;
use whetstone_domain::call::Parameters;
use whetstone_domain::plan::scoring::Scorer;

/// How the runs of the agent are scored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scoring {
    /// The model that scores what checks do not, in every dimension without its own judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<ChatModelRef>,
    /// What is scored. Defaults to `accuracy` (weight 0.4), `safety` (0.3) and `tool_compliance` (0.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[x_kube(validation = rules::demands(
        "size(self) == 0 || (self.map(d, d.weight).sum() - 1.0 < 0.000000001 && 1.0 - self.map(d, d.weight).sum() < 0.000000001)",
        "the weights of the dimensions must add up to 1"
    ))]
    pub dimensions: Vec<Dimension>,
}

impl Scoring {
    /// These dimensions, and this judge of what checks do not score.
    pub(super) fn of(judge: Option<ChatModelRef>, dimensions: Vec<Dimension>) -> Self {
        Self { judge, dimensions }
    }
}

/// An embedding model of `spec.models`, by name, and how it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct EmbeddingModelRef {
    /// The name of one of `spec.models`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub model: String,
    /// Further parameters of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<EmbeddingParameters>,
}

/// What requests to an embedding model say besides the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmbeddingParameters {
    /// Further fields of the request body, passed on as they are (for example `dimensions`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "whetstone_domain::free::object")]
    pub extra: Option<Map<String, Value>>,
}

/// One of `spec.models`, by name, with sampling parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct ChatModelRef {
    /// The name of one of `spec.models`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub model: String,
    /// Sampling parameters. The temperature defaults to 0 for judges, and to the provider's default for other models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

/// A quality of the agent's behavior that is scored from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::a_rubric_for_the_judge())]
pub struct Dimension {
    /// The name of the dimension. `accuracy`, `safety` and `tool_compliance` have a built-in rubric and scorer.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The weight of the dimension in the aggregate score. The weights of all dimensions add up to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// What scores the dimension: `ToolCalls` (the scenario's tool expectations), `Checks` (its checks), `Judge` (the
    /// judge) or `ChecksOrJudge` (its checks if it has any for the dimension, else the judge). Defaults to `ToolCalls` for `tool_compliance` and to
    /// `ChecksOrJudge` for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<Scorer>,
    /// The judge of this dimension. Defaults to `spec.scoring.judge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<ChatModelRef>,
    /// What the judge looks for. Required for custom dimensions that a judge scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rubric: Option<String>,
    /// The minimum score, 0 to 1, with which a run passes in this dimension. Defaults to 0.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub pass_at: Option<f64>,
    /// Whether a challenger is rejected if any scenario newly fails in this dimension. Defaults to true in the profile
    /// `Compliance`, else to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// The minimum mean score of the challenger in this dimension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
}
