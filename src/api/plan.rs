//! The plan: a resource after the door. Validated, defaults filled in, references resolved.

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
use super::promotion::{Approval, RequireSignificance, Target, Test};
use super::scoring::Scorer;
use crate::domain::call::{ModelIdentity, Parameters};
use crate::domain::ids::{DimensionName, ModelName};
use crate::domain::money::{Money, Price};
use crate::domain::prompt::Prompt;
use crate::domain::scenario::Scenario;
use crate::domain::score::Score;
use crate::domain::series::Series;
use crate::domain::tool::ToolDefinition;
use crate::domain::transcript::Transcript;

/// Everything that a cycle needs to know, and nothing that it has to check again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `metadata.namespace`, or `default`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The profile that the defaults came from.
    pub profile: Profile,
    /// The prompt that serves: the target ConfigMap's where one was given, else the base prompt.
    pub champion: Prompt,
    /// The tools.
    pub tools: Arc<[ToolDefinition]>,
    /// How the agent is reached.
    pub runtime: RuntimePlan,
    /// The models, by name.
    pub models: BTreeMap<ModelName, ModelPlan>,
    /// The scenarios, sorted by id.
    pub scenarios: Vec<Arc<Scenario>>,
    /// Which part each scenario belongs to.
    pub split: SplitPlan,
    /// How the agent is run.
    pub execution: ExecutionPlan,
    /// What is scored, in the order of the resource. Never empty; weights add up to 1.
    pub dimensions: Arc<[DimensionPlan]>,
    /// How failures are grouped.
    pub clustering: ClusteringPlan,
    /// How patches are written; `None` when nothing can be patched (replay).
    pub patching: Option<PatchingPlan>,
    /// How candidates are tried.
    pub validation: ValidationPlan,
    /// What a challenger must prove.
    pub gate: GatePlan,
    /// Where a promoted prompt goes.
    pub target: Option<Target>,
    /// Whether a person must agree.
    pub approval: Approval,
    /// How many superseded versions are kept.
    pub max_versions_retained: u32,
    /// The most that a cycle may cost.
    pub budget: Option<Money>,
    /// The currency of every amount.
    pub currency: String,
    /// What the user should know, each naming its field: a phase that is not built yet, say.
    pub warnings: Vec<String>,
}

/// How the agent is reached.
#[derive(Clone, Debug)]
pub enum RuntimePlan {
    /// A model with our own tool loop.
    Model {
        /// The model.
        model: ModelName,
        /// Sampling parameters of its turns.
        parameters: Arc<Parameters>,
        /// The most turns in answer to one user message.
        max_turns: u32,
    },
    /// A running agent that takes the prompt as its system message and runs its own tools.
    Endpoint {
        /// The model whose base URL is the agent's.
        model: ModelName,
        /// Sampling parameters to send along.
        parameters: Arc<Parameters>,
    },
    /// Recorded transcripts.
    Replay {
        /// The transcripts.
        transcripts: Arc<[Transcript]>,
    },
}

/// A model: where it is, what it costs, how hard it may be driven.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// Provider, endpoint and model name: what is hashed into the ledger's keys.
    pub identity: ModelIdentity,
    /// The base URL that calls really go to, where it is not that of the identity: a simulated world, whose port changes
    /// from run to run.
    pub redirect: Option<String>,
    /// Which wire protocol it speaks.
    pub provider: Provider,
    /// Where the key comes from; `None` for endpoints without one.
    pub key: Option<KeyPlan>,
    /// Send the repeat index as `seed`.
    pub seed: bool,
    /// How it is asked for an answer in a given form.
    pub structured: StructuredOutput,
    /// The name under which the limit of output tokens is sent.
    pub token_limit: TokenLimit,
    /// The role of the system message.
    pub system_role: SystemRole,
    /// Headers of every request, by their names.
    pub headers: Vec<(String, HeaderPlan)>,
    /// What its tokens cost; `None` only when there is no budget.
    pub price: Option<Price>,
    /// How hard it may be driven.
    pub limits: Limits,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPlan {
    /// It stands in the resource.
    Value(String),
    /// It is a secret.
    Secret(KeyPlan),
}

impl ModelPlan {
    /// Every secret that calls of it need.
    pub fn secrets(&self) -> impl Iterator<Item = &KeyPlan> {
        let headers = self.headers.iter().filter_map(|(_, value)| match value {
            HeaderPlan::Secret(key) => Some(key),
            HeaderPlan::Value(_) => None,
        });
        self.key.iter().chain(headers)
    }
}

/// A chat model, and how it is asked.
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

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlan {
    /// The environment variable that the command line reads.
    pub env: Option<String>,
    /// The key of a Secret that the cluster reads: name and key.
    pub secret: Option<(String, String)>,
    /// Going without is an error, not a request without a key.
    pub required: bool,
}

/// Which part each scenario belongs to, as indices into [`Plan::scenarios`], ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitPlan {
    /// Failures are learned from these.
    pub train: Vec<usize>,
    /// A candidate must not be worse on these, and was never patched for them.
    pub regression: Vec<usize>,
    /// The optimizer never sees these; the gate decides on them.
    pub held_out: Vec<usize>,
}

impl SplitPlan {
    /// Training and regression part together: what a candidate may be tried on.
    #[must_use]
    pub fn suite(&self) -> Vec<usize> {
        let mut suite = [self.train.as_slice(), self.regression.as_slice()].concat();
        suite.sort_unstable();
        suite
    }
}

/// How the agent is run.
#[derive(Clone, Debug)]
pub struct ExecutionPlan {
    /// Runs of each scenario for one measurement.
    pub repeats: u32,
    /// Scenarios under way at once.
    pub concurrency: usize,
    /// The longest that one scenario may take.
    pub scenario_timeout: Duration,
    /// The share of scenarios that may end in errors.
    pub error_tolerance: f64,
    /// The model that plays simulated users; always there when a scenario has one.
    pub user_model: Option<ModelUse>,
    /// Seeds whatever is drawn at random in a cycle.
    pub seed: u64,
    /// Which series of answers the runs belong to. The ledger knows those of a series; another one asks the models afresh.
    pub series: Series,
}

/// Something that is scored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DimensionPlan {
    /// Its name.
    pub name: DimensionName,
    /// Its share of the aggregate.
    pub weight: f64,
    /// Who scores it.
    pub scorer: Scorer,
    /// The judge; always there when `scorer` may ask one.
    pub judge: Option<ModelUse>,
    /// What the judge is to look for.
    pub rubric: String,
    /// The score from which a transcript passes.
    pub pass_at: Score,
    /// No scenario may newly fail in it.
    pub critical: bool,
    /// What the challenger must reach in it.
    pub threshold: Option<ThresholdPlan>,
}

/// What the challenger must reach in a dimension.
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
    /// The embedding model; the built-in vectoriser when `None`.
    pub embeddings: Option<ModelUse>,
    /// The cosine similarity from which two groups are one; chosen from the failures when `None`.
    pub threshold: Option<f64>,
    /// The most clusters.
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
    /// Sections that no patch may touch. Each exists in the champion.
    pub protected_sections: Vec<String>,
    /// The most tokens that a prompt may have.
    pub max_prompt_tokens: usize,
    /// Proposals for each cluster.
    pub candidates_per_cluster: u32,
    /// How often cluster → patch → validate is gone through, at most.
    pub rounds: u32,
}

/// How candidates are tried.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidationPlan {
    /// Run the whole suite for every survivor, not only for the finalist.
    pub full_suite: bool,
    /// Scenarios that passed before, run for each candidate.
    pub sentinels: usize,
    /// The share of changed text from which a patch is complex.
    pub complexity_threshold: f64,
    /// Sections whose change is always complex.
    pub core_sections: Vec<String>,
}

/// What a challenger must prove.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatePlan {
    /// The statistical test.
    pub test: Test,
    /// The level of each one-sided test.
    pub significance_level: f64,
    /// How much worse a dimension may be.
    pub regression_tolerance: f64,
    /// What must be significantly better.
    pub require_significance: RequireSignificance,
    /// The aggregate that the challenger must reach.
    pub minimum_score: f64,
    /// The fewest scenarios on which a verdict may stand.
    pub minimum_sample_size: usize,
    /// The most scenarios that are compared.
    pub shadow_sample_size: usize,
    /// Runs of each of them, for either side.
    pub repeats: u32,
}

fn is_default(parameters: &Parameters) -> bool {
    *parameters == Parameters::default()
}
