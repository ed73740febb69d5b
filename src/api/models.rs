//! `spec.models`: the models, what they cost, and how hard they may be driven.

#![allow(clippy::struct_field_names, reason = "the price of a million tokens says so in every field")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::SecretSource;
use super::{patterns, rules};
use crate::domain::duration::HumanDuration;

const KEY_IN_SECRET: &str = "put the key into a Secret and name it by apiKey.secretKeyRef";

/// A model under a name. Exactly one provider is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one(&["openAI", "anthropic"]))]
pub struct Model {
    /// The name by which the rest of the resource refers to it. No two models have the same.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An OpenAI-compatible API: OpenAI, vLLM, Ollama, LiteLLM and most gateways.
    #[serde(default, rename = "openAI", skip_serializing_if = "Option::is_none")]
    pub openai: Option<OpenAi>,
    /// The Anthropic Messages API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic: Option<Anthropic>,
    /// Headers of every request to it, for gateways that ask for some. They are no part of what a recorded answer is found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<ModelHeader>,
    /// How it is asked for an answer in a given form, as judges and patch writers are. `Auto` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<StructuredOutput>,
    /// What its tokens cost. Required as soon as a budget is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<TokenPrice>,
    /// How hard it may be driven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// How a model is asked for an answer in a given form.
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

/// The name under which the limit of output tokens is sent.
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
    /// None: the prompt stands at the beginning of the first message of the user.
    User,
}

/// A header. Exactly one of `value` and `valueFrom` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::exactly_one(&["value", "valueFrom"]),
    validation = rules::demands(
        "!has(self.value) || self.value.matches('^[ -~]*$')",
        "must be letters, digits and signs of ASCII: put anything else into a Secret, encoded",
    ).field_path(".value"),
)]
pub struct ModelHeader {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = patterns::HEADER_NAME))]
    #[x_kube(validation = rules::forbids(
        "self.lowerAscii() in ['accept', 'connection', 'content-length', 'content-type', 'expect', 'host', 'te', 'trailer', \
         'transfer-encoding', 'upgrade']",
        "the request sets this header itself: leave it out",
    ))]
    pub name: String,
    /// Its value. A credential belongs into a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where its value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<SecretSource>,
}

/// An OpenAI-compatible API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::is_url("baseURL", "http://litellm.llm:4000/v1"),
    validation = rules::without_credentials("baseURL", KEY_IN_SECRET),
    validation = rules::without_query("baseURL"),
    validation = rules::requires(
        "apiKey",
        "!has(self.baseURL)",
        "OpenAI's own API needs a key: give apiKey.secretKeyRef, or the baseURL of another one",
    ),
)]
pub struct OpenAi {
    /// The base URL, up to and including `/v1`. `https://api.openai.com/v1` when absent.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// The provider's name of the model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// The key. On the command line `OPENAI_API_KEY` when absent; no key at all for other base URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretSource>,
    /// Send the index of the repeat as `seed`, so that providers which honour it answer repeatably. True when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub seed: Option<bool>,
    /// The name under which the limit of output tokens is sent. `Auto` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_limit: Option<TokenLimit>,
    /// The role of the system message. `System` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_role: Option<SystemRole>,
}

/// The Anthropic Messages API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::is_url("baseURL", "https://gateway.example/anthropic"),
    validation = rules::without_credentials("baseURL", KEY_IN_SECRET),
    validation = rules::without_query("baseURL"),
    validation = rules::requires(
        "apiKey",
        "!has(self.baseURL)",
        "Anthropic's own API needs a key: give apiKey.secretKeyRef, or the baseURL of a gateway",
    ),
)]
pub struct Anthropic {
    /// The base URL. `https://api.anthropic.com` when absent.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// The provider's name of the model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// The key. On the command line `ANTHROPIC_API_KEY` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretSource>,
}

/// What tokens cost, in the currency of `spec.budget.currency`. Decimal numbers as strings, so that nothing is rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenPrice {
    /// A million input tokens.
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::at_most_twelve_places())]
    pub input_per_million: String,
    /// A million output tokens.
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::at_most_twelve_places())]
    pub output_per_million: String,
    /// A million input tokens read from the provider's cache. As `inputPerMillion` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::at_most_twelve_places())]
    pub cached_input_per_million: Option<String>,
}

/// How hard a model may be driven.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The most requests under way at once. It shrinks on its own on 429 and 5xx, and grows back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub concurrency: Option<u32>,
    /// The most requests started in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
    /// The most tokens, input and output together, in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u32>,
    /// The longest that one attempt may take. `60s` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "60s"))]
    #[x_kube(validation = rules::lasts("1ms"))]
    #[x_kube(validation = rules::lasts_at_most("1h"))]
    pub timeout: Option<HumanDuration>,
    /// How often a call is tried before it is given up. 6 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20), extend("default" = 6))]
    pub attempts: Option<u32>,
}
