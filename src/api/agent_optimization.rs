//! `AgentOptimization`: an agent, its scenarios, and what may be done to its prompt.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::Agent;
use super::intent::Schedule;
use super::models::Model;
use super::optimization::{Clustering, Patching, Validation};
use super::profile::Profile;
use super::promotion::{Budget, Promotion};
use super::scenarios::{ScenarioSource, Split};
use super::scoring::Scoring;
use super::status::AgentOptimizationStatus;
use super::watch::Watch;

/// Keeps the prompt of one agent sharp. The order of the fields is the order of the loop.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "whetstone.dev",
    version = "v1alpha1",
    kind = "AgentOptimization",
    namespaced,
    shortname = "agopt",
    category = "whetstone",
    status = "AgentOptimizationStatus",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Champion","type":"string","jsonPath":".status.champion.version"}"#,
    printcolumn = r#"{"name":"Challenger","type":"string","jsonPath":".status.challenger.version"}"#,
    printcolumn = r#"{"name":"Score","type":"string","jsonPath":".status.champion.score"}"#,
    printcolumn = r#"{"name":"Cost","type":"string","jsonPath":".status.cost.amount"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AgentOptimizationSpec {
    /// The situation that sets the defaults of everything left out below. `Production` when absent.
    #[serde(default)]
    pub profile: Profile,
    /// Starts no cycle, and stops the one under way. The champion goes on serving, and a promoted prompt is still watched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The name of a version that is to serve whatever the gate says. No cycle starts meanwhile, and nothing is promoted or taken
    /// back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pin: Option<String>,
    /// Starts cycles by the clock, besides those that a change starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The agent: its prompt, its tools, and how it is reached.
    pub agent: Agent,
    /// The models that the agent, the judge and the patch writer use, each under a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Model>,
    /// Where the scenarios come from.
    #[schemars(length(min = 1))]
    pub scenarios: Vec<ScenarioSource>,
    /// How the scenarios are divided into what the optimizer learns from and what it never sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How the agent is run on the scenarios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// Calibration of the judge. Not built yet: a warning says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<LaterPhase>,
    /// How what the agent did is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
    /// How failures are grouped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clustering: Option<Clustering>,
    /// How patches are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patching: Option<Patching>,
    /// How candidates are tried before the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Red-team attacks on candidates. Not built yet: a warning says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<LaterPhase>,
    /// The gate, and where a promoted prompt goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// How a promoted prompt is watched, and when it is taken back. The operator does it; the command line has nothing to watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// Export of fine-tuning data. Not built yet: a warning says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<LaterPhase>,
    /// What a cycle may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// How the agent is run on the scenarios.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// How often each scenario is run for a measurement. Scores are means over the repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub repeats: Option<u32>,
    /// How many scenarios are under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub concurrency: Option<u32>,
    /// The longest that one scenario may take, all its calls together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario_timeout: Option<crate::domain::duration::HumanDuration>,
    /// The model that plays simulated users. The judge's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_user: Option<super::scoring::ModelRef>,
    /// The share of scenarios that may end in errors before the cycle stops with one, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub error_tolerance: Option<f64>,
}

/// A phase whose place exists and whose work is not built yet. Any settings are kept and not looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct LaterPhase {
    /// Whatever was written here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;
    use serde_json::Value;

    /// What an API server demands of a structural schema
    /// (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>),
    /// and that nothing of the user's own is pruned.
    fn assert_structural(schema: &Value, path: &str) {
        let keeps = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        let is_typed = schema.get("type").is_some_and(Value::is_string);
        assert!(is_typed || keeps, "{path} has no type");
        assert!(schema.get("$ref").is_none(), "{path} is a reference");
        for key in ["anyOf", "oneOf", "allOf", "not"] {
            assert!(schema.get(key).is_none(), "{path} has {key}");
        }
        let others = schema.get("additionalProperties");
        assert!(!matches!(others, Some(Value::Bool(_))), "{path} would be pruned");
        if schema.get("type").is_some_and(|kind| kind == "object") {
            assert!(keeps || others.is_some() || schema.get("properties").is_some(), "{path} would be pruned");
        }
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, field) in fields {
            assert_structural(field, &format!("{path}.{name}"));
        }
        for inner in schema.get("items").into_iter().chain(others) {
            assert_structural(inner, &format!("{path}[]"));
        }
    }

    #[test]
    fn the_resource_definitions_are_structural_and_small_enough() {
        for crd in [super::AgentOptimization::crd(), crate::api::PromptVersion::crd()] {
            let crd = serde_json::to_value(crd).unwrap();
            assert!(crd.to_string().len() < 256 * 1024);
            assert_structural(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
        }
    }
}
