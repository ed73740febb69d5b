//! The plan: a resolved resource. Validated, with defaults filled in and references resolved.

mod inputs;
mod legacy;
pub mod watch;

pub use self::inputs::InputsId;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::models::{Limits, StructuredOutput, SystemRole, TokenLimit};
use super::profile::Profile;
use super::promotion::{Approval, OnBaseChange, OnDelete, RequireSignificance, Target, Test};
use super::scoring::Scorer;
use crate::domain::call::{ModelIdentity, Parameters};
use crate::domain::ids::{DimensionName, ModelName};
use crate::domain::money::{Money, Price};
use crate::domain::prompt_set::PromptSet;
use crate::domain::score::Score;
use crate::domain::series::Series;
use crate::domain::suite::{ScenarioKey, Suite};
use crate::domain::tool::ToolDefinition;
use crate::domain::transcript::Transcript;

/// Everything that a cycle needs, validated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `metadata.namespace`, or `default`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The profile that provided the defaults.
    pub profile: Profile,
    /// The champion's prompts: that of the target ConfigMap if it exists, else the base prompt.
    pub champion: PromptSet,
    /// The tools.
    pub tools: Arc<[ToolDefinition]>,
    /// How the agent is run.
    pub runtime: RuntimePlan,
    /// The models, by name.
    pub models: BTreeMap<ModelName, ModelPlan>,
    /// The scenarios of the spec. What later cycles grow is another suite, and no part of the [inputs](Plan::inputs).
    pub scenarios: Suite,
    /// The split of the scenarios.
    pub split: SplitPlan,
    /// How the agent is run.
    pub execution: ExecutionPlan,
    /// What is scored, in the order of the resource. Never empty; weights add up to 1.
    pub dimensions: Arc<[DimensionPlan]>,
    /// How failures are grouped.
    pub clustering: ClusteringPlan,
    /// How patches are written; `None` if nothing can be patched (replay).
    pub patching: Option<PatchingPlan>,
    /// How candidates are tested.
    pub validation: ValidationPlan,
    /// The requirements for a challenger.
    pub gate: GatePlan,
    /// Where a promoted prompt is written.
    pub target: Option<Target>,
    /// The maximum cost of a cycle.
    pub budget: Option<Money>,
    /// The currency of all amounts.
    pub currency: String,
    /// Warnings, each with its field.
    pub warnings: Vec<String>,
}

/// How the agent is run.
#[derive(Clone, Debug)]
pub enum RuntimePlan {
    /// A model with Whetstone's own tool loop.
    Model {
        /// The model.
        model: ModelName,
        /// Sampling parameters of its turns.
        parameters: Arc<Parameters>,
        /// The maximum number of turns per user message.
        max_turns: u32,
    },
    /// A running agent that takes the prompt as its system message and runs its own tools.
    Endpoint {
        /// The model whose base URL is that of the agent.
        model: ModelName,
        /// Sampling parameters sent with each request.
        parameters: Arc<Parameters>,
    },
    /// Recorded transcripts.
    Replay {
        /// The transcripts.
        transcripts: Arc<[Transcript]>,
    },
}

/// A model with its endpoint, prices and limits.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// Provider, endpoint and model name, which are hashed into the ledger's keys.
    pub identity: ModelIdentity,
    /// The actual base URL of calls, if it differs from the identity: that of a simulated world, whose port changes from run to
    /// run.
    pub redirect: Option<String>,
    /// Which wire protocol it speaks.
    pub provider: Provider,
    /// The source of the API key; `None` for endpoints without one.
    pub key: Option<KeyPlan>,
    /// Send the repeat index as `seed`.
    pub seed: bool,
    /// How structured output is requested.
    pub structured: StructuredOutput,
    /// The request field that limits the output tokens.
    pub token_limit: TokenLimit,
    /// The role of the system message.
    pub system_role: SystemRole,
    /// Headers of every request, by their names.
    pub headers: Vec<(String, HeaderPlan)>,
    /// Its prices; `None` only if there is no budget.
    pub price: Option<Price>,
    /// Its limits.
    pub limits: Limits,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPlan {
    /// A literal in the resource.
    Value(String),
    /// A secret.
    Secret(KeyPlan),
}

impl ModelPlan {
    /// All secrets that its calls need.
    pub fn secrets(&self) -> impl Iterator<Item = &KeyPlan> {
        let headers = self.headers.iter().filter_map(|(_, value)| match value {
            HeaderPlan::Secret(key) => Some(key),
            HeaderPlan::Value(_) => None,
        });
        self.key.iter().chain(headers)
    }
}

/// A chat model with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelUse {
    /// The model.
    pub model: ModelName,
    /// Sampling parameters.
    #[serde(skip_serializing_if = "is_default")]
    pub parameters: Arc<Parameters>,
}

impl From<ModelName> for ModelUse {
    fn from(model: ModelName) -> Self {
        Self { model, parameters: Arc::default() }
    }
}

impl From<&str> for ModelUse {
    fn from(model: &str) -> Self {
        ModelName::from(model).into()
    }
}

/// Wire protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// OpenAI-compatible chat completions and embeddings.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
}

/// The source of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlan {
    /// The environment variable, for the command line.
    pub env: Option<String>,
    /// The name and key of a Secret, for the operator.
    pub secret: Option<(String, String)>,
    /// Whether a missing key is an error rather than a request without a key.
    pub required: bool,
}

/// The parts of the suite, each sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitPlan {
    /// The training part, from whose failures the optimizer learns.
    pub train: Vec<ScenarioKey>,
    /// The regression part, on which a candidate must not be worse.
    pub regression: Vec<ScenarioKey>,
    /// The held-out part, which the optimizer never sees and on which the gate decides.
    pub held_out: Vec<ScenarioKey>,
}

impl SplitPlan {
    /// Training and regression part together, on which candidates are tested.
    #[must_use]
    pub fn suite(&self) -> Vec<ScenarioKey> {
        let mut suite = [self.train.as_slice(), self.regression.as_slice()].concat();
        suite.sort_unstable();
        suite
    }
}

/// How the agent is run.
#[derive(Clone, Debug)]
pub struct ExecutionPlan {
    /// The number of runs of each scenario per measurement.
    pub repeats: u32,
    /// The maximum number of concurrent scenarios.
    pub concurrency: usize,
    /// The time limit for one scenario.
    pub scenario_timeout: Duration,
    /// The fraction of scenarios that may end in errors.
    pub error_tolerance: f64,
    /// The model that plays simulated users; always set if a scenario has one.
    pub user_model: Option<ModelUse>,
    /// The seed of all randomness in a cycle.
    pub seed: u64,
    /// The series of answers. The ledger has the answers of earlier series; a new one calls the models again.
    pub series: Series,
}

/// A dimension.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DimensionPlan {
    /// Its name.
    pub name: DimensionName,
    /// Its weight in the aggregate.
    pub weight: f64,
    /// Its scorer.
    pub scorer: Scorer,
    /// The judge; always set if `scorer` may use one.
    pub judge: Option<ModelUse>,
    /// What the judge looks for.
    pub rubric: String,
    /// The minimum score of a passing transcript.
    pub pass_at: Score,
    /// Whether no scenario may newly fail in it.
    pub critical: bool,
    /// The minimum score of the challenger in it.
    pub threshold: Option<ThresholdPlan>,
}

/// The minimum score of the challenger in a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ThresholdPlan {
    /// A mean score.
    Value(f64),
    /// A percentile, 0 to 100, of the champion's mean scores in earlier cycles.
    Percentile(f64),
}

/// How failures are grouped.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusteringPlan {
    /// The embedding model; the built-in vectorizer if `None`.
    pub embeddings: Option<ModelUse>,
    /// The cosine similarity at which two groups are merged; chosen from the failures if `None`.
    pub threshold: Option<f64>,
    /// The maximum number of clusters.
    pub max_clusters: usize,
}

/// How patches are written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchingPlan {
    /// The model that proposes edits.
    pub model: ModelName,
    /// Sampling parameters of the proposals.
    pub parameters: Arc<Parameters>,
    /// Sections that no patch may change. Each exists in the champion.
    pub protected_sections: Vec<String>,
    /// The maximum length of a prompt in tokens.
    pub max_prompt_tokens: usize,
    /// The number of proposals per cluster.
    pub candidates_per_cluster: u32,
    /// The maximum number of rounds of cluster, patch and validate.
    pub rounds: u32,
}

/// How candidates are tested.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidationPlan {
    /// Whether the whole suite is run for every survivor rather than only for the finalist.
    pub full_suite: bool,
    /// The number of previously passing scenarios that are run for each candidate.
    pub sentinels: usize,
    /// The fraction of changed text above which a patch is complex.
    pub complexity_threshold: f64,
    /// Sections for which any change is complex.
    pub core_sections: Vec<String>,
}

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

fn is_default(parameters: &Parameters) -> bool {
    *parameters == Parameters::default()
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
