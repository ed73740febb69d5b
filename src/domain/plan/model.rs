//! Models: identity, keys, prices and limits, and how a model is asked.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;
use crate::call::{ModelIdentity, Parameters};
use crate::ids::ModelName;
use crate::money::Price;

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
    pub limits: LimitsPlan,
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
    /// The Secret, for the operator.
    pub secret: Option<SecretRef>,
    /// Whether a missing key is an error rather than a request without a key.
    pub required: bool,
}

/// Concurrency, rate and timeout limits of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsPlan {
    /// The maximum number of concurrent requests; that of the scenarios if `None`.
    pub concurrency: Option<u32>,
    /// The maximum number of requests per minute.
    pub requests_per_minute: Option<u32>,
    /// The maximum number of tokens per minute, input and output together.
    pub tokens_per_minute: Option<u32>,
    /// The timeout of one attempt.
    pub timeout: Duration,
    /// The maximum number of attempts per call, at least 1.
    pub attempts: u32,
}

/// How a model is asked for structured output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StructuredOutput {
    /// By its JSON Schema; where the server refuses that, for a JSON object; where it refuses that too, by the instructions alone.
    #[default]
    Auto,
    /// By its JSON Schema: `response_format` `json_schema`, or for Anthropic a tool that must be called.
    JsonSchema,
    /// For a JSON object of the form that the instructions describe: `response_format` `json_object`. Not for Anthropic.
    JsonObject,
    /// By the instructions alone.
    Plain,
}

/// The request field that limits the output tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokenLimit {
    /// `max_completion_tokens` for OpenAI and Azure, `max_tokens` for others, and the other one where the server refuses it.
    #[default]
    Auto,
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// The role of the system message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SystemRole {
    /// `system`.
    #[default]
    System,
    /// `developer`, OpenAI's newer name for it.
    Developer,
    /// None: the prompt is put at the beginning of the first user message.
    User,
}

fn is_default(parameters: &Parameters) -> bool {
    *parameters == Parameters::default()
}
