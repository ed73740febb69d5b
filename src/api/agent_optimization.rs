//! `AgentOptimization`: an agent, its scenarios, and what may be done to its prompt.

use kube::{CustomResource, KubeSchema};
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
use super::{patterns, rules};

/// Keeps the prompt of one agent sharp. The order of the fields is the order of the loop.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "whetstone.dev",
    version = "v1alpha1",
    kind = "AgentOptimization",
    namespaced,
    shortname = "agopt",
    category = "whetstone",
    doc = "Keeps the prompt of one agent sharp: runs it on scenarios, mends what fails, proves that the new prompt is better, and only then promotes it.",
    validation = rules::name_fits_a_label(),
    selectable = ".spec.promotion.target.configMap",
    selectable = ".status.phase",
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
#[x_kube(
    validation = rules::names_a_model("agent.runtime.model.ref"),
    validation = rules::names_a_model("agent.runtime.endpoint.ref"),
    validation = rules::model_must(
        "agent.runtime.endpoint.ref",
        "openAI",
        "an endpoint is OpenAI-compatible: give this model openAI.baseURL",
    ),
    validation = rules::names_a_model("execution.simulatedUser.ref"),
    validation = rules::names_a_model("scoring.judge.ref"),
    validation = rules::judges_are_models(),
    validation = rules::a_judge_for_every_dimension(),
    validation = rules::names_a_model("clustering.embeddings.ref"),
    validation = rules::model_must(
        "clustering.embeddings.ref",
        "openAI",
        "Anthropic has no embeddings API: name an OpenAI-compatible model, or leave embeddings out",
    ),
    validation = rules::names_a_model("patching.model.ref"),
    validation = rules::a_budget_needs_prices(),
    validation = rules::target_is_not("agent.prompt.configMapKeyRef", "the base prompt"),
    validation = rules::target_is_not("agent.runtime.replay.transcripts.configMapKeyRef", "the transcripts"),
    validation = rules::target_is_none_of("agent.toolsFrom", "configMapKeyRef", "the tools"),
    validation = rules::target_is_none_of("scenarios", "configMapRef", "the scenarios"),
)]
pub struct AgentOptimizationSpec {
    /// The situation that sets the defaults of everything left out below. `Production` when absent.
    #[serde(default)]
    pub profile: Profile,
    /// Starts no cycle, and stops the one under way. The champion goes on serving, and a promoted prompt is still watched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub suspend: bool,
    /// The name of a version that is to serve whatever the gate says. No cycle starts meanwhile that nobody asked for, and nothing
    /// is promoted or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::VERSION))]
    pub pin: Option<String>,
    /// Starts cycles by the clock, besides those that a change starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The agent: its prompt, its tools, and how it is reached.
    pub agent: Agent,
    /// The models that the agent, the judge and the patch writer use, each under a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<Model>,
    /// Where the scenarios come from.
    #[schemars(length(min = 1, max = 64))]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
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
    #[x_kube(validation = rules::lasts("1ms"))]
    #[x_kube(validation = rules::lasts_at_most("24h"))]
    pub scenario_timeout: Option<crate::domain::duration::HumanDuration>,
    /// The model that plays simulated users. The judge's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_user: Option<super::scoring::ChatModelRef>,
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
