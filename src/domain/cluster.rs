//! Clusters: groups of similar failures, with a rule that describes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{DimensionName, ScenarioId, ToolName};
use super::score::{FailedCheck, ToolError, ToolErrorKind};

/// One failing scenario, as the cluster and patch phases see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The scenario.
    pub scenario: ScenarioId,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its impact.
    pub weight: f64,
    /// What the user wanted.
    pub request: String,
    /// What the agent said last.
    pub answer: String,
    /// The failed dimensions, worst first.
    pub dimensions: Vec<DimensionName>,
    /// The worst score among them, 0 to 1.
    pub score: f64,
    /// What was wrong with the tool calls.
    pub tool_errors: Vec<ToolError>,
    /// The checks that the answer did not satisfy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_checks: Vec<FailedCheck>,
    /// The tools whose calls the scenario expects. Where it expects none, an extra call should not have been made at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected_tools: Vec<ToolName>,
    /// Why it failed, in the words of judge and scorers.
    pub evidence: String,
}

/// What the members of a cluster have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The dimension that fails most.
    pub dimension: DimensionName,
    /// The most frequent error of tool calls, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_error: Option<ToolErrorKind>,
    /// The tool that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
    /// The arguments that it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The check that most members fail: what it expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Terms that are frequent in this cluster and rare in the others, most telling first.
    pub terms: Vec<String>,
}

/// Failures that look alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// An identifier inside the cycle: `c1` is the heaviest.
    pub id: String,
    /// One line for a person: what goes wrong, and where.
    pub label: String,
    /// What the members have in common.
    pub rule: Rule,
    /// The members, nearest to the centre first.
    pub failures: Vec<Failure>,
}

impl Cluster {
    /// The summed impact of the members.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.failures.iter().map(|failure| failure.weight).sum()
    }

    /// The scenarios of the members.
    pub fn scenarios(&self) -> impl Iterator<Item = &ScenarioId> {
        self.failures.iter().map(|failure| &failure.scenario)
    }
}

/// How failures were grouped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grouping {
    /// Which failures were grouped.
    pub of: Grouped,
    /// Their number.
    pub failures: usize,
    /// The mean similarity at which two groups were merged, 0 to 1.
    pub threshold: f64,
    /// The origin of the threshold.
    pub from: ThresholdFrom,
    /// How well the groups are separated at this threshold: the mean silhouette, from -1 to 1. Absent if it was not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silhouette: Option<f64>,
    /// The groups at this threshold, before those beyond `maxClusters` were merged.
    pub groups: usize,
}

/// Which failures are compared with one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Grouped {
    /// All.
    All,
    /// Those with a wrong tool call or a failed check.
    Found,
    /// Those that only a judge found.
    Judged,
}

/// The origin of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ThresholdFrom {
    /// The spec.
    Spec,
    /// The failures: no other threshold separates the groups better.
    Silhouette,
    /// The default: the failures do not form separate clusters, or are too few.
    Default,
}
