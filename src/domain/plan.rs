//! The plan: a resolved resource. Validated, with defaults filled in and references resolved.
//!
//! It is what the engine and `decide` know of a resource. How a resource is written, and which of its fields may be left out,
//! is known to `api` alone.

mod inputs;
mod legacy;
pub mod model;
pub mod profile;
pub mod promotion;
pub mod scoring;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

pub use self::inputs::InputsId;
pub use self::model::{HeaderPlan, KeyPlan, LimitsPlan, ModelPlan, ModelUse, Provider};
pub use self::profile::Profile;
pub use self::promotion::{GatePlan, PromotionPlan};
pub use self::scoring::{DimensionPlan, ThresholdPlan};
use crate::call::Parameters;
use crate::ids::ModelName;
use crate::money::Money;
use crate::prompt_set::PromptSet;
use crate::series::Series;
use crate::suite::{ScenarioKey, Suite};
use crate::tool::ToolDefinition;
use crate::transcript::Transcript;

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
    /// The name of the ConfigMap that a promoted prompt is written to.
    pub target: Option<String>,
    /// The maximum cost of a cycle.
    pub budget: Option<Money>,
    /// The currency of all amounts.
    pub currency: String,
    /// Warnings, each with its field.
    pub warnings: Vec<String>,
}

impl Plan {
    /// The settings that are inputs of a cycle as they are, by name. A new field of the plan has to be named here, and a new
    /// setting is omitted at its default, so that plans without it keep their identity.
    fn settings(&self) -> [(&'static str, Value); 5] {
        let Self {
            dimensions,
            clustering,
            patching,
            validation,
            gate,
            // Converted for the identity: see `inputs`.
            namespace: _,
            name: _,
            champion: _,
            tools: _,
            runtime: _,
            models: _,
            scenarios: _,
            split: _,
            execution: _,
            // No inputs: changing them starts no cycle.
            profile: _,
            target: _,
            budget: _,
            currency: _,
            warnings: _,
        } = self;
        [
            ("dimensions", json!(dimensions)),
            ("clustering", json!(clustering)),
            ("patching", json!(patching)),
            ("validation", json!(validation)),
            ("gate", json!(gate)),
        ]
    }
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
    /// The maximum number of rounds of clustering, patching and validation.
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

/// A key of a Secret in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The name of the Secret.
    pub name: String,
    /// The key in its data.
    pub key: String,
}
