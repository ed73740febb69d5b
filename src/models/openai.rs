//! The OpenAI protocol: chat completions and embeddings.
//!
//! Used by OpenAI, vLLM, Ollama, LiteLLM and most gateways, each of which omits different fields. Requests only contain
//! what all of them accept; parsing tolerates everything that they are known to send.

mod answer;
mod embeddings;

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answered::Read;
use super::attempt::Unusable;
use super::form::{Form, LimitName, Structured};
use super::setting::Setting;
use super::wire::{EMPTY_OBJECT, EmbeddingWire, Wire, instructions, join, merged, temperature};
use whetstone_domain::call::{AnswerSchema, ChatRequest, EmbedRequest, Embeddings};
use whetstone_domain::plan::model::SystemRole;
use whetstone_domain::tool::{ToolCall, ToolDefinition};
use whetstone_domain::transcript::{Message, OpaqueParts};

/// The host of OpenAI itself, as opposed to others that speak its protocol.
const HOST: &str = "api.openai.com";

/// Hosts that also require the new name of the limit on output tokens.
const AZURE: [&str; 2] = [".openai.azure.com", ".cognitiveservices.azure.com"];

/// The OpenAI protocol.
#[derive(Debug)]
pub(super) struct OpenAi;

impl Wire for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn chat_url(&self, base: &Url) -> Url {
        join(base, "chat/completions")
    }

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (AUTHORIZATION, format!("Bearer {key}"))
    }

    fn usual_limit(&self, base: &Url) -> LimitName {
        match base.host_str() {
            Some(host) if host == HOST || AZURE.iter().any(|azure| host.ends_with(azure)) => {
                LimitName::MaxCompletionTokens
            }
            _ => LimitName::MaxTokens,
        }
    }

    fn instead_of(&self, refused: Structured) -> Structured {
        if refused == Structured::Schema { Structured::Object } else { Structured::Plain }
    }

    fn advice(&self, refused: Setting) -> Option<&'static str> {
        match refused {
            Setting::MaxTokens => Some("set openAI.tokenLimit of the model to MaxCompletionTokens"),
            Setting::MaxCompletionTokens => Some("set openAI.tokenLimit of the model to MaxTokens"),
            Setting::Seed => Some("set openAI.seed of the model to false"),
            Setting::StructuredOutput => Some("set structuredOutput of the model to JsonObject or Plain"),
            Setting::SystemRole => Some("set openAI.systemRole of the model to Developer or User"),
            _ => None,
        }
    }

    fn chat_body(&self, model: &str, request: &ChatRequest, form: Form) -> Vec<u8> {
        chat_body(model, request, form)
    }

    fn read_chat(&self, body: &[u8], _: &ChatRequest) -> Result<Read, Unusable> {
        answer::read_chat(body)
    }

    fn embeddings(&self) -> Option<&dyn EmbeddingWire> {
        Some(self)
    }
}

impl EmbeddingWire for OpenAi {
    fn url(&self, base: &Url) -> Url {
        join(base, "embeddings")
    }

    fn body(&self, model: &str, request: &EmbedRequest, url: &Url) -> Vec<u8> {
        embeddings::body(model, request, url.host_str() == Some(HOST))
    }

    fn read(&self, body: &[u8], texts: usize, estimate: &dyn Fn() -> u64) -> Result<Embeddings, Unusable> {
        embeddings::read(body, texts, estimate)
    }
}

#[derive(Serialize)]
struct Chat<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    Developer {
        content: &'a str,
    },
    User {
        content: Cow<'a, str>,
    },
    Assistant {
        content: Option<Content<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
        #[serde(flatten)]
        others: Option<&'a Map<String, Value>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    /// As the server sent them.
    Parts(&'a [Value]),
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
    #[serde(flatten)]
    others: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: String,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<JsonSchema<'a>>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    strict: bool,
    schema: &'a Value,
}

fn chat_body(model: &str, request: &ChatRequest, form: Form) -> Vec<u8> {
    let parameters = &*request.parameters;
    let limit = |name: LimitName| parameters.max_output_tokens.filter(|_| form.limit == name);
    let system = instructions(request, form);
    let body = Chat {
        model,
        messages: wire_messages(&system, &request.messages, form.system),
        tools: request.tools.iter().map(wire_tool).collect(),
        response_format: request.answer_schema.as_deref().and_then(|schema| response_format(schema, form.structured)),
        temperature: temperature(parameters, form),
        top_p: parameters.top_p,
        max_tokens: limit(LimitName::MaxTokens),
        max_completion_tokens: limit(LimitName::MaxCompletionTokens),
        seed: form.seed.then_some(request.repeat),
    };
    merged(&body, parameters.extra.as_ref())
}

fn response_format(schema: &AnswerSchema, structured: Structured) -> Option<ResponseFormat<'_>> {
    let json_schema = JsonSchema { name: &schema.name, strict: true, schema: &schema.schema };
    match structured {
        Structured::Schema => Some(ResponseFormat { r#type: "json_schema", json_schema: Some(json_schema) }),
        Structured::Object => Some(ResponseFormat { r#type: "json_object", json_schema: None }),
        Structured::Plain => None,
    }
}

/// The messages, with the instructions in the form that the server accepts.
fn wire_messages<'a>(system: &'a str, messages: &'a [Message], role: SystemRole) -> Vec<WireMessage<'a>> {
    let wire = messages.iter().map(wire_message);
    if system.is_empty() {
        return wire.collect();
    }
    let first = match (role, messages.first()) {
        (SystemRole::System, _) => WireMessage::System { content: system },
        (SystemRole::Developer, _) => WireMessage::Developer { content: system },
        (SystemRole::User, Some(Message::User { text })) => {
            let both = WireMessage::User { content: Cow::Owned(format!("{system}\n\n{text}")) };
            return std::iter::once(both).chain(wire.skip(1)).collect();
        }
        (SystemRole::User, _) => WireMessage::User { content: Cow::Borrowed(system) },
    };
    std::iter::once(first).chain(wire).collect()
}

fn wire_message(message: &Message) -> WireMessage<'_> {
    match message {
        Message::User { text } => WireMessage::User { content: Cow::Borrowed(text) },
        Message::Assistant { text, calls, opaque } => {
            let parts = opaque.parts();
            let content = match parts {
                Some(parts) if !parts.blocks.is_empty() => Some(Content::Parts(&parts.blocks)),
                _ => (!text.is_empty() || calls.is_empty()).then_some(Content::Text(text)),
            };
            WireMessage::Assistant {
                content,
                tool_calls: calls.iter().map(|call| wire_call(call, parts)).collect(),
                others: parts.map(|parts| &parts.message),
            }
        }
        Message::Tool { id, content, .. } => WireMessage::Tool { tool_call_id: id, content },
    }
}

fn wire_call<'a>(call: &'a ToolCall, opaque: Option<&'a OpaqueParts>) -> WireCall<'a> {
    // Many servers parse the arguments of earlier calls, and refuse the whole request if they are not an object.
    let arguments = match &call.arguments {
        arguments @ Value::Object(_) => arguments.to_string(),
        broken => json!({ "malformed": broken }).to_string(),
    };
    WireCall {
        id: &call.id,
        r#type: "function",
        function: CalledFunction { name: call.name.as_str(), arguments },
        others: opaque.and_then(|opaque| opaque.calls.get(&call.id)),
    }
}

fn wire_tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool {
        r#type: "function",
        function: Function {
            name: tool.name.as_str(),
            description: tool.description.as_deref(),
            parameters: tool.parameters.as_ref().unwrap_or(&EMPTY_OBJECT),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples;
    use super::*;

    const FORM: Form = Form {
        structured: Structured::Schema,
        limit: LimitName::MaxTokens,
        system: SystemRole::System,
        seed: true,
        preferred_temperature: true,
    };

    fn sent(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_whole_conversation_goes_over_the_wire() {
        let body = sent(&chat_body("gpt-4o-mini", &samples::conversation(), FORM));
        insta::assert_json_snapshot!(body);
    }

    #[test]
    fn structured_output_is_a_strict_schema() {
        let body = sent(&chat_body("judge", &samples::structured(), Form { seed: false, ..FORM }));
        assert_eq!(
            body,
            json!({
                "model": "judge",
                "messages": [{"role": "system", "content": "judge"}, {"role": "user", "content": "this"}],
                "response_format": {"type": "json_schema", "json_schema": {
                    "name": "verdict",
                    "strict": true,
                    "schema": {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]},
                }},
                "temperature": 0.0,
            })
        );
    }

    #[test]
    fn openai_itself_is_told_the_token_limit_under_its_new_name() {
        let form = Form { limit: LimitName::MaxCompletionTokens, ..FORM };
        let body = sent(&chat_body("o3", &samples::conversation(), form));
        assert_eq!((&body["max_completion_tokens"], body.get("max_tokens")), (&json!(500), None));
    }

    #[test]
    fn structured_output_is_asked_for_as_the_server_takes_it() {
        let body = |structured| sent(&chat_body("judge", &samples::structured(), Form { structured, ..FORM }));
        let object = body(Structured::Object);
        assert_eq!(object["response_format"], json!({"type": "json_object"}));
        let plain = body(Structured::Plain);
        assert_eq!(plain.get("response_format"), None);
        for body in [object, plain] {
            let system = body["messages"][0]["content"].as_str().unwrap();
            assert!(
                system.starts_with("judge\n\n") && system.contains("JSON") && system.contains("integer"),
                "{system}"
            );
        }
    }

    #[test]
    fn a_temperature_that_nobody_asked_for_can_be_left_out() {
        let form = Form { preferred_temperature: false, ..FORM };
        assert_eq!(sent(&chat_body("judge", &samples::structured(), form)).get("temperature"), None);
        let written = sent(&chat_body("m", &samples::conversation(), form));
        assert_eq!(written["temperature"], json!(0.7), "one that somebody wrote stays");
    }

    #[test]
    fn instructions_stand_where_the_server_takes_them() {
        let body = |system| sent(&chat_body("m", &samples::question(), Form { system, ..FORM }))["messages"].clone();
        let question = json!({"role": "user", "content": "where is my order?"});
        assert_eq!(body(SystemRole::System), json!([{"role": "system", "content": "You help."}, question]));
        assert_eq!(body(SystemRole::Developer), json!([{"role": "developer", "content": "You help."}, question]));
        assert_eq!(body(SystemRole::User), json!([{"role": "user", "content": "You help.\n\nwhere is my order?"}]));
    }

    #[test]
    fn extra_fields_are_sent_as_they_are_and_win() {
        let body = sent(&chat_body("m", &samples::with_extra(json!({"reasoning_effort": "low", "seed": 9})), FORM));
        assert_eq!((&body["reasoning_effort"], &body["seed"]), (&json!("low"), &json!(9)));
    }

    #[test]
    fn arguments_that_are_no_object_are_sent_within_one() {
        for broken in [json!("{\"q\": "), json!("[1]"), json!([1])] {
            let call = ToolCall { id: "a".to_owned(), name: "look".into(), arguments: broken.clone() };
            let sent: Value = serde_json::from_str(&wire_call(&call, None).function.arguments).unwrap();
            assert_eq!(sent, json!({ "malformed": broken }));
        }
    }

    /// Parts that a server requires to be returned, and the message that returns them, field by field.
    #[test]
    fn what_must_go_back_goes_back_unchanged() {
        let signed = json!({"google": {"thought_signature": "c2ln"}});
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{\"q\":1}"}});
        let mut first = call("a");
        first["extra_content"] = signed;
        let message = json!({
            "role": "assistant", "content": null, "tool_calls": [first, call("b")],
            "reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}],
        });
        let body = json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).to_string();
        let read = answer::read_chat(body.as_bytes()).unwrap();
        let back = Message::Assistant { text: read.text, calls: read.calls, opaque: read.opaque };
        assert_eq!(serde_json::to_value(wire_message(&back)).unwrap(), message);
        let kept: Message = serde_json::from_value(serde_json::to_value(&back).unwrap()).unwrap();
        assert_eq!(kept, back, "a ledger keeps all of it");
    }
}
