//! `spec.models`: the models with their prices and limits.

#![allow(clippy::struct_field_names, reason = "every field is a price per million tokens")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::source::SecretSource;
use super::{defaults, patterns, rules};
use whetstone_domain::duration::HumanDuration;
use whetstone_domain::plan::model::{StructuredOutput, SystemRole, TokenLimit};

const KEY_IN_SECRET: &str = "put the key into a Secret and use apiKey.secretKeyRef";

/// A named model. Set exactly one provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one(&["openAI", "anthropic"]))]
pub struct Model {
    /// The name by which the rest of the resource refers to the model. It must be unique.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An OpenAI-compatible API: OpenAI, vLLM, Ollama, LiteLLM and most gateways.
    #[serde(default, rename = "openAI", skip_serializing_if = "Option::is_none")]
    pub openai: Option<OpenAi>,
    /// The Anthropic Messages API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic: Option<Anthropic>,
    /// Headers added to every request, for gateways that require them. They do not affect which
    /// recorded answers are reused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<ModelHeader>,
    /// How JSON is requested from the model if it judges or writes patches. `Auto` tries `JsonSchema`, `JsonObject`
    /// (not for Anthropic) and `Plain` (by the instructions alone), until the server accepts one. Defaults to `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<StructuredOutput>,
    /// The price of the model's tokens, in `spec.budget.currency`. Required if a budget is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<TokenPrice>,
    /// Concurrency, rate and timeout limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// An HTTP header. Set exactly one of `value` and `valueFrom`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::exactly_one(&["value", "valueFrom"]),
    validation = rules::demands(
        "!has(self.value) || self.value.matches('^[ -~]*$')",
        "must be printable ASCII: for any other value, store an ASCII encoding of it in a Secret and use valueFrom",
    ).field_path(".value"),
)]
pub struct ModelHeader {
    /// The name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = patterns::HEADER_NAME))]
    #[x_kube(validation = rules::forbids(
        "self.lowerAscii() in ['accept', 'connection', 'content-length', 'content-type', 'expect', 'host', 'te', 'trailer', \
         'transfer-encoding', 'upgrade']",
        "Whetstone sets this header itself: remove it",
    ))]
    pub name: String,
    /// The value of the header. Put credentials into a Secret and use `valueFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// The source of the value.
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
        "OpenAI's own API needs a key: give apiKey.secretKeyRef, or the baseURL of another API",
    ),
)]
pub struct OpenAi {
    /// The base URL, up to and including `/v1`. Defaults to `https://api.openai.com/v1`.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// The provider's name for the model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// The API key. The operator requires it unless `baseURL` is set. The command line defaults to the variable
    /// `OPENAI_API_KEY` unless `baseURL` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretSource>,
    /// Whether the index of the repeat is sent as `seed`, for reproducible answers from providers that support it.
    /// Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::SEED))]
    pub seed: Option<bool>,
    /// The request field that limits the output tokens. `Auto` is `max_completion_tokens` for OpenAI and Azure, and
    /// `max_tokens` for others. Defaults to `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_limit: Option<TokenLimit>,
    /// The role of the prompt. `User` is for models that do not accept a system message, and puts the prompt at the beginning of
    /// the first user message. Defaults to `System`.
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
    /// The base URL. Defaults to `https://api.anthropic.com`.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// The provider's name for the model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// The API key. The operator requires it unless `baseURL` is set. The command line defaults to the variable
    /// `ANTHROPIC_API_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretSource>,
}

/// Token prices in the currency of `spec.budget.currency`, as decimal strings so that nothing is rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenPrice {
    /// Price of a million input tokens. A decimal string such as `0.15`.
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::at_most_twelve_places())]
    pub input_per_million: String,
    /// Price of a million output tokens. A decimal string such as `0.15`.
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::at_most_twelve_places())]
    pub output_per_million: String,
    /// Price of a million input tokens read from the provider's cache. Defaults to `inputPerMillion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::DECIMAL), length(max = 24))]
    #[x_kube(validation = rules::at_most_twelve_places())]
    pub cached_input_per_million: Option<String>,
}

/// Concurrency, rate and timeout limits of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Maximum number of concurrent requests. Defaults to `spec.execution.concurrency`. It is lowered automatically
    /// after 429 and 5xx responses, and raised again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub concurrency: Option<u32>,
    /// Maximum number of requests per minute. Unlimited by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
    /// Maximum number of tokens per minute, input and output together. Unlimited by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u32>,
    /// Timeout of one attempt, at most `1h`. Defaults to `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::CALL_TIMEOUT))]
    #[x_kube(validation = rules::lasts("1ms"))]
    #[x_kube(validation = rules::lasts_at_most("1h"))]
    pub timeout: Option<HumanDuration>,
    /// Maximum number of attempts per call. Defaults to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20), extend("default" = defaults::CALL_ATTEMPTS))]
    pub attempts: Option<u32>,
}
