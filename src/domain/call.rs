//! Paid calls: what is asked of a model, what it answered, and the key under which that is kept.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hash::ContentHash;
use super::money::Usage;
use super::tool::{ToolCall, ToolDefinition};
use super::transcript::Message;

/// Sampling parameters. What is absent is left to the provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Sampling temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Nucleus sampling: the share of the probability mass to sample from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// The most tokens that one answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// Further fields of the request body, passed on as they are (for example `reasoning_effort`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub extra: Option<Map<String, Value>>,
}

/// The JSON Schema that an answer must satisfy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerSchema {
    /// A short name, as providers ask for one.
    pub name: String,
    /// The schema, of type object.
    pub schema: Value,
}

/// A request to a chat model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatRequest {
    /// The system message.
    pub system: Arc<str>,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Arc<[ToolDefinition]>,
    /// The form that the answer must have; free text when absent.
    pub answer_schema: Option<Arc<AnswerSchema>>,
    /// Sampling parameters.
    pub parameters: Arc<Parameters>,
    /// Which of several independent samples of the same request this is, from 0. A provider that
    /// takes a `seed` gets it as one.
    pub repeat: u32,
}

/// A request to an embedding model: one vector for each text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmbedRequest {
    /// The texts.
    pub texts: Vec<String>,
}

/// Why a chat model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finish {
    /// It was done, or wants its tool calls answered.
    Stop,
    /// It reached the token limit; the answer is cut short.
    Length,
    /// The provider's content filter or the model itself refused.
    Refused,
}

/// The answer of a chat model: text, tool calls, or both, never neither.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatAnswer {
    /// The text; empty when there are only tool calls.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The tool calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish: Finish,
    /// The tokens, as the provider counted them.
    pub usage: Usage,
}

/// The answer of an embedding model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// One vector for each text, in the order of the request, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens, as the provider counted them.
    pub usage: Usage,
}

/// Where a call goes. Together with the request it determines the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelIdentity {
    /// The wire protocol: `openai` or `anthropic`.
    pub provider: String,
    /// The base URL, without credentials.
    pub endpoint: String,
    /// The provider's name of the model.
    pub model: String,
}

/// The version of the key format below. A change of any field, or of how one is written, must raise it:
/// old entries are then simply never found again.
const KEY_VERSION: u32 = 1;

/// The key of a call in the ledger: a hash of everything that determines its answer.
///
/// The hash is BLAKE3 over canonical JSON (sorted keys, no white space) of one object:
///
/// | field | content |
/// |---|---|
/// | `v` | the version of this format, 1 |
/// | `kind` | `chat` or `embed` |
/// | `provider`, `endpoint`, `model` | [`ModelIdentity`] |
/// | `request` | for chat: `system`, `messages`, `tools`, `answerSchema`, `parameters`, `repeat` of [`ChatRequest`]; for embed: `texts` |
///
/// Keys, prices, time-outs, limits, and what the call is for are not part of it: they do not change the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallKey(pub ContentHash);

#[derive(Serialize)]
struct KeyContent<'a, R> {
    v: u32,
    kind: &'static str,
    #[serde(flatten)]
    to: &'a ModelIdentity,
    request: &'a R,
}

impl CallKey {
    /// The key of a chat call.
    #[must_use]
    pub fn chat(to: &ModelIdentity, request: &ChatRequest) -> Self {
        Self(ContentHash::of_json(&KeyContent { v: KEY_VERSION, kind: "chat", to, request }))
    }

    /// The key of an embedding call.
    #[must_use]
    pub fn embed(to: &ModelIdentity, request: &EmbedRequest) -> Self {
        Self(ContentHash::of_json(&KeyContent { v: KEY_VERSION, kind: "embed", to, request }))
    }
}

/// An answer as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Of a chat model.
    Chat(ChatAnswer),
    /// Of an embedding model.
    Embeddings(Embeddings),
}

impl Answer {
    /// The tokens that it took.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::Chat(answer) => answer.usage,
            Self::Embeddings(answer) => answer.usage,
        }
    }
}

/// The phases of the loop, in its order. Calls, time and cost are counted by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Running the agent.
    Run,
    /// Scoring what it did.
    Score,
    /// Grouping the failures.
    Cluster,
    /// Writing candidate prompts.
    Patch,
    /// Finding the candidates that hold.
    Validate,
    /// Comparing champion and challenger on what the optimizer never saw.
    Shadow,
    /// Judging the evidence.
    Gate,
    /// Writing the result.
    Apply,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 8] =
        [Self::Run, Self::Score, Self::Cluster, Self::Patch, Self::Validate, Self::Shadow, Self::Gate, Self::Apply];

    /// The name in reports, spans and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Score => "score",
            Self::Cluster => "cluster",
            Self::Patch => "patch",
            Self::Validate => "validate",
            Self::Shadow => "shadow",
            Self::Gate => "gate",
            Self::Apply => "apply",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// A turn of the agent.
    Agent,
    /// A turn of the simulated user.
    User,
    /// A verdict of the judge.
    Judge,
    /// Embeddings of failures.
    Embed,
    /// A proposal for a patch.
    Patch,
}

impl Purpose {
    /// The name in the store, reports and spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Judge => "judge",
            Self::Embed => "embed",
            Self::Patch => "patch",
        }
    }
}
