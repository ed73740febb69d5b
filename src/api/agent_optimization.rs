//! `AgentOptimization`: an agent, its scenarios, and the settings of the loop.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::Agent;
use super::intent::Schedule;
use super::models::Model;
use super::optimization::{Clustering, Patching, Validation};
use super::promotion::{Budget, Promotion};
use super::scenarios::{ScenarioSource, Split};
use super::scoring::Scoring;
use super::status::AgentOptimizationStatus;
use super::watch::Watch;
use super::{patterns, rules};
use whetstone_domain::plan::Profile;

/// The agent, its scenarios, and the settings of the loop.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "whetstone.dev",
    version = "v1alpha1",
    kind = "AgentOptimization",
    namespaced,
    shortname = "agopt",
    category = "whetstone",
    doc = "Improves the prompt of one agent: runs the agent on scenarios, patches the prompt for those that fail, and promotes a new prompt only if a statistical gate shows that it is better.",
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
        "an endpoint must be OpenAI-compatible: set openAI.baseURL of this model",
    ),
    validation = rules::names_a_model("execution.simulatedUser.ref"),
    validation = rules::names_a_model("scoring.judge.ref"),
    validation = rules::judges_are_models(),
    validation = rules::a_judge_for_every_dimension(),
    validation = rules::names_a_model("clustering.embeddings.ref"),
    validation = rules::model_must(
        "clustering.embeddings.ref",
        "openAI",
        "Anthropic has no embeddings API: name an OpenAI-compatible model, or remove embeddings",
    ),
    validation = rules::names_a_model("patching.model.ref"),
    validation = rules::a_budget_needs_prices(),
    validation = rules::target_is_not("agent.prompt.configMapKeyRef", "the base prompt"),
    validation = rules::target_is_not("agent.runtime.replay.transcripts.configMapKeyRef", "the transcripts"),
    validation = rules::target_is_none_of("agent.toolsFrom", "configMapKeyRef", "the tools"),
    validation = rules::target_is_none_of("scenarios", "configMapRef", "the scenarios"),
)]
pub struct AgentOptimizationSpec {
    /// A set of defaults for the fields that are not set. Defaults to `Production`.
    #[serde(default)]
    pub profile: Profile,
    /// Suspends the optimization: no cycle starts, and a running cycle is stopped. The champion keeps serving, and a
    /// promoted prompt is still watched. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub suspend: bool,
    /// The name of a version to serve regardless of the gate. While it is set, cycles start only on request, and
    /// nothing is promoted or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::VERSION))]
    pub pin: Option<String>,
    /// A schedule for cycles, in addition to those started by changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The agent: its prompt, its tools, and how it is run.
    pub agent: Agent,
    /// The models that the agent, the judge and the patch writer use, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<Model>,
    /// Where the scenarios come from.
    #[schemars(length(min = 1, max = 64))]
    pub scenarios: Vec<ScenarioSource>,
    /// How the scenarios are split into a training, a regression and a held-out part. The
    /// remainder is divided among the shares that are not set, in the proportions of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How the agent is run on the scenarios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// Calibration of the judge. Not implemented yet; setting it causes a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<LaterPhase>,
    /// How the runs of the agent are scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
    /// How failures are grouped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clustering: Option<Clustering>,
    /// How patches are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patching: Option<Patching>,
    /// How candidates are tested before the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Red-team attacks on candidates. Not implemented yet; setting it causes a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<LaterPhase>,
    /// The gate, and where a promoted prompt is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// How a promoted prompt is watched, and when it is rolled back. Only the operator uses it; the command line
    /// ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// Export of fine-tuning data. Not implemented yet; setting it causes a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<LaterPhase>,
    /// Limits on the cost of a cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl AgentOptimizationSpec {
    /// An agent and its scenarios, with defaults for everything else.
    #[must_use]
    pub fn new(agent: Agent, scenarios: Vec<ScenarioSource>) -> Self {
        Self {
            profile: Profile::default(),
            suspend: false,
            pin: None,
            schedule: None,
            agent,
            models: Vec::new(),
            scenarios,
            split: None,
            execution: None,
            calibration: None,
            scoring: None,
            clustering: None,
            patching: None,
            validation: None,
            probe: None,
            promotion: None,
            watch: None,
            export: None,
            budget: None,
        }
    }
}

/// How the agent is run on the scenarios.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// Number of runs of each scenario per measurement. Scores are means over these repeats. The default depends on the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub repeats: Option<u32>,
    /// Maximum number of concurrent runs. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub concurrency: Option<u32>,
    /// Time limit for one run of a scenario, including all of its calls, at most `24h`. The default depends on the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts("1ms"))]
    #[x_kube(validation = rules::lasts_at_most("24h"))]
    pub scenario_timeout: Option<whetstone_domain::duration::HumanDuration>,
    /// The model that plays simulated users. Defaults to the judge's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_user: Option<super::scoring::ChatModelRef>,
    /// The fraction of runs, 0 to 1, that may end in an error before the cycle fails. The default depends on the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub error_tolerance: Option<f64>,
}

/// A phase that is not implemented yet. Any settings are accepted and ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct LaterPhase {
    /// The ignored settings.
    #[serde(flatten)]
    #[schemars(skip)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}
