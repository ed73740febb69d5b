//! `spec.agent`: the prompt, the tools and the runtime.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::source::TextSource;
use whetstone_domain::call::Parameters;
use whetstone_domain::prompt::PromptFormat;
use whetstone_domain::tool::ToolDefinition;

/// The agent: its prompt, its tools, and how it is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The base prompt. It is only read, never written.
    pub prompt: TextSource,
    /// How the prompt is divided into sections: `Markdown` by its headings, `Yaml` by its top-level keys. By default it
    /// is inferred from the extension of the file or key: `Yaml` for `.yaml` and `.yml`, else `Markdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_format: Option<PromptFormat>,
    /// Tool definitions, inline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tools: Vec<ToolDefinition>,
    /// Files or ConfigMap keys with tool definitions: a JSON or YAML list, in the format of `tools` or of the OpenAI
    /// API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tools_from: Vec<TextSource>,
    /// How the agent is run. Set exactly one of the fields.
    pub runtime: Runtime,
}

/// How the agent is run. Set exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one(&["model", "endpoint", "replay"]))]
pub struct Runtime {
    /// A model that Whetstone calls itself, with the prompt as system message; the scenario's mocks answer its tool
    /// calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRuntime>,
    /// A running agent behind an OpenAI-compatible endpoint, which takes the candidate prompt as its system message and
    /// runs its own tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointRuntime>,
    /// Recorded transcripts instead of runs. They are scored, clustered and gated without calling the agent; no patches
    /// are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayRuntime>,
}

/// A model that Whetstone calls itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelRuntime {
    /// The name of one of `spec.models`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub model: String,
    /// Sampling parameters for the agent's model calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Maximum number of model turns per user message. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub max_turns: Option<u32>,
}

/// A running agent behind an OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRuntime {
    /// The name of one of `spec.models`, whose `openAI.baseURL` is the URL of the agent.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub model: String,
    /// Sampling parameters sent with each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

/// Recorded transcripts instead of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRuntime {
    /// Transcripts as JSONL, one per line, as written by `whetstone import`.
    pub transcripts: TextSource,
}
