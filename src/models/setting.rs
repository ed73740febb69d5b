//! Identifies the setting of a request that a provider refuses, as far as its message tells, and the remedy.

use super::complaint::Complaint;
use super::wire::Wire;

/// A part of a request that some servers refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// `temperature`.
    Temperature,
    /// `top_p`.
    TopP,
    /// `max_tokens`, by its name.
    MaxTokens,
    /// `max_completion_tokens`, by its name.
    MaxCompletionTokens,
    /// The value of the limit on tokens.
    TokenLimit,
    /// `seed`.
    Seed,
    /// The form of structured output: `response_format`, or a tool that must be called.
    StructuredOutput,
    /// The role of the system message.
    SystemRole,
    /// Tools.
    Tools,
    /// The length of the whole request.
    Length,
}

/// Phrases with which providers report that a parameter is unknown, rather than its value invalid.
const UNKNOWN: [&str; 10] = [
    "unsupported",
    "not support",
    "unrecognized",
    "unknown",
    "unexpected",
    "extra inputs",
    "extra_forbidden",
    "not permitted",
    "not allowed",
    "instead",
];

impl Setting {
    /// The setting that is refused; `None` if the message names none.
    pub(super) fn refused(complaint: &Complaint) -> Option<Self> {
        let param = complaint.param.as_deref().unwrap_or_default();
        let message = complaint.message.as_deref().unwrap_or_default();
        // The first name counts: later ones are what to use instead.
        let text = format!("{param} {message} {}", complaint.codes.join(" ")).to_lowercase();
        if text.contains("context_length_exceeded")
            || text.contains("maximum context length")
            || text.contains("prompt is too long")
        {
            return Some(Self::Length);
        }
        let is_unknown = UNKNOWN.iter().any(|word| text.contains(word));
        let named = [
            ("temperature", Self::Temperature),
            ("top_p", Self::TopP),
            ("max_tokens", if is_unknown { Self::MaxTokens } else { Self::TokenLimit }),
            ("max_completion_tokens", if is_unknown { Self::MaxCompletionTokens } else { Self::TokenLimit }),
            ("seed", Self::Seed),
            ("response_format", Self::StructuredOutput),
            ("tool_choice", Self::StructuredOutput),
            ("json_schema", Self::StructuredOutput),
            ("json_object", Self::StructuredOutput),
            ("guided_json", Self::StructuredOutput),
        ];
        let first =
            named.iter().filter_map(|(name, setting)| Some((position(&text, name)?, *setting))).min_by_key(|at| at.0);
        if let Some((_, setting)) = first {
            return Some(setting);
        }
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        if says(&["json schema", "structured output", "json mode"]) {
            Some(Self::StructuredOutput)
        } else if says(&["system role", "role 'system'", "role \"system\"", "'system' role", "developer instruction"])
            || (param.rsplit_once('.').is_some_and(|(_, field)| field == "role") && text.contains("system"))
        {
            Some(Self::SystemRole)
        } else if says(&["support tool", "tool use", "tool calling", "function calling"]) {
            Some(Self::Tools)
        } else {
            None
        }
    }

    /// The remedy, with the names of the resource's fields.
    pub(super) fn advice(self, wire: &dyn Wire) -> &'static str {
        wire.advice(self).unwrap_or(match self {
            Self::Temperature => {
                "set temperature to a value that the model takes, or to omit, in the parameters of what refers to it"
            }
            Self::TopP => "leave topP out of the parameters of what refers to the model",
            Self::MaxTokens | Self::MaxCompletionTokens | Self::TokenLimit => {
                "change maxOutputTokens in the parameters of what refers to the model"
            }
            Self::Seed => "leave seed out of parameters.extra",
            Self::StructuredOutput => "set structuredOutput of the model to Plain",
            Self::SystemRole => "choose a model that takes a system message",
            Self::Tools => "choose a model and a server that support tools",
            Self::Length => {
                "the request is too long for the model: shorten the prompt or the scenario, lower maxOutputTokens, or choose a \
                 model with a larger context"
            }
        })
    }
}

/// The position of a name as a separate word.
fn position(text: &str, name: &str) -> Option<usize> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        let (before, after) = (text[..*at].chars().next_back(), text[at + name.len()..].chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    /// Messages that providers and servers are known to send.
    #[test]
    fn a_refused_setting_is_understood() {
        for (body, setting) in [
            (
                json!({"error": {"message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", "param": "temperature", "code": "unsupported_value"}}),
                Some(Setting::Temperature),
            ),
            (
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."}}),
                Some(Setting::Temperature),
            ),
            (
                json!({"error": {"message": "`temperature` may only be set to 1 when thinking is enabled."}}),
                Some(Setting::Temperature),
            ),
            (
                json!({"error": {"message": "`temperature` and `top_p` cannot both be specified for this model."}}),
                Some(Setting::Temperature),
            ),
            (
                json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens", "code": "unsupported_parameter"}}),
                Some(Setting::MaxTokens),
            ),
            (
                json!({"error": {"message": "Unrecognized request argument supplied: max_completion_tokens"}}),
                Some(Setting::MaxCompletionTokens),
            ),
            (
                json!({"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens"}}),
                Some(Setting::TokenLimit),
            ),
            (
                json!({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted: seed"}]}),
                Some(Setting::Seed),
            ),
            (
                json!({"error": {"message": "This response_format type is unavailable now"}}),
                Some(Setting::StructuredOutput),
            ),
            (
                json!({"error": {"message": "'response_format' of type 'json_schema' is not supported by this model. Use json_object.", "param": "response_format"}}),
                Some(Setting::StructuredOutput),
            ),
            (
                json!({"error": {"message": "Thinking may not be enabled when tool_choice forces tool use."}}),
                Some(Setting::StructuredOutput),
            ),
            (
                json!({"error": {"message": "This model does not support structured outputs"}}),
                Some(Setting::StructuredOutput),
            ),
            (json!({"error": {"message": "System role not supported"}}), Some(Setting::SystemRole)),
            (
                json!({"error": {"message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.", "param": "messages[0].role"}}),
                Some(Setting::SystemRole),
            ),
            (
                json!({"error": {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}),
                Some(Setting::SystemRole),
            ),
            (
                json!({"error": {"message": "registry.ollama.ai/library/gemma does not support tools"}}),
                Some(Setting::Tools),
            ),
            (
                json!({"error": {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000 (max_tokens)", "code": "context_length_exceeded"}}),
                Some(Setting::Length),
            ),
            (json!({"error": {"message": "messages: at least one message is required"}}), None),
            (json!({"error": {"message": "the seedling is too small"}}), None),
            (
                json!({"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 0}]}}),
                Some(Setting::Seed),
            ),
            (json!({}), None),
        ] {
            let complaint = Complaint::read(body.to_string().as_bytes(), StatusCode::BAD_REQUEST, &HeaderMap::new());
            assert_eq!(Setting::refused(&complaint), setting, "{body}");
        }
    }
}
