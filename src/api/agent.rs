//! `spec.agent`: the prompt, the tools, and how the agent is reached.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::source::TextSource;
use crate::domain::call::Parameters;
use crate::domain::prompt::PromptFormat;
use crate::domain::tool::ToolDefinition;

/// The agent: its prompt, its tools, and how it is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The base prompt. It is read, never written.
    pub prompt: TextSource,
    /// How the prompt is divided into sections: `Markdown` by its headings, `Yaml` by its top-level keys. Told from the
    /// name of the file or key when absent (`.yaml`, `.yml`: Yaml).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_format: Option<PromptFormat>,
    /// Tools, written out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tools: Vec<ToolDefinition>,
    /// Files or keys with tools: a JSON or YAML list of definitions, in the form of `tools` or of the OpenAI API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tools_from: Vec<TextSource>,
    /// How the agent is reached. Exactly one way is given.
    pub runtime: Runtime,
}

/// How the agent is reached. Exactly one way is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one(&["model", "endpoint", "replay"]))]
pub struct Runtime {
    /// A model that Whetstone drives itself: prompt as system message, tools answered by the scenario's mocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRuntime>,
    /// A running agent behind an OpenAI-compatible endpoint, which takes the candidate prompt as its system message and
    /// runs its own tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointRuntime>,
    /// Recorded transcripts stand in for runs: what production did is scored, clustered and gated for free. Nothing is
    /// patched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayRuntime>,
}

/// A model that Whetstone drives itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelRuntime {
    /// The name of one of `spec.models`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub model: String,
    /// Sampling parameters of the agent's turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// The most turns of the model in answer to one user message. The profile's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub max_turns: Option<u32>,
}

/// A running agent behind an OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRuntime {
    /// The name of one of `spec.models`, whose `openAI.baseURL` is the agent's.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub model: String,
    /// Sampling parameters to send along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

/// Recorded transcripts in place of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRuntime {
    /// Transcripts as JSONL, one a line, as `whetstone import` writes them.
    pub transcripts: TextSource,
}
