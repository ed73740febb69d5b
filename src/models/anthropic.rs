//! The Anthropic protocol: messages.
//!
//! It has no `seed`, so the number of a repeat is not sent: repeats are independent samples. It has no embeddings.
//! Structured output is a tool that the model must call; its input is the answer.

mod answer;

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::HeaderName;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answered::Read;
use super::attempt::Unusable;
use super::form::{Form, Structured};
use super::wire::{EMPTY_OBJECT, Wire, instructions, join, merged, temperature};
use whetstone_domain::call::ChatRequest;
use whetstone_domain::tool::{ToolCall, ToolDefinition};
use whetstone_domain::transcript::Message;

/// The protocol requires a limit; this default is far above what an agent says in a turn.
const MAX_TOKENS: u64 = 4096;

/// The version of the protocol.
const VERSION: &str = "2023-06-01";

/// The Anthropic protocol.
#[derive(Debug)]
pub(super) struct Anthropic;

impl Wire for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn chat_url(&self, base: &Url) -> Url {
        let has_version = base.path().trim_end_matches('/').ends_with("/v1");
        join(base, if has_version { "messages" } else { "v1/messages" })
    }

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (HeaderName::from_static("x-api-key"), key.to_owned())
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", VERSION)]
    }

    fn chat_body(&self, model: &str, request: &ChatRequest, form: Form) -> Vec<u8> {
        chat_body(model, request, form)
    }

    fn read_chat(&self, body: &[u8], request: &ChatRequest) -> Result<Read, Unusable> {
        answer::read_chat(body, request.answer_schema.as_deref().map(|schema| schema.name.as_str()))
    }
}

#[derive(Serialize)]
struct Chat<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    system: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: Role,
    content: Vec<Block<'a>>,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Ours(OwnBlock<'a>),
    /// As the model sent it.
    Kept(&'a Value),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OwnBlock<'a> {
    Text {
        text: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Cow<'a, Value>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Schema<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    OfArguments(&'a Map<String, Value>),
    OfAnswer(&'a Value),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolChoice<'a> {
    Any,
    Tool { name: &'a str },
}

fn chat_body(model: &str, request: &ChatRequest, form: Form) -> Vec<u8> {
    let parameters = &*request.parameters;
    let answer = request.answer_schema.as_deref().filter(|_| form.structured == Structured::Schema);
    let system = instructions(request, form);
    let answer_tool = answer.map(|schema| Tool {
        name: &schema.name,
        description: Some("Gives the answer. Call it once, when you are done."),
        input_schema: Schema::OfAnswer(&schema.schema),
    });
    let body = Chat {
        model,
        max_tokens: parameters.max_output_tokens.unwrap_or(MAX_TOKENS),
        system: &system,
        messages: wire_messages(&request.messages),
        tools: request.tools.iter().map(wire_tool).chain(answer_tool).collect(),
        tool_choice: answer.map(|schema| match request.tools.len() {
            0 => ToolChoice::Tool { name: &schema.name },
            _ => ToolChoice::Any,
        }),
        temperature: temperature(parameters, form),
        top_p: parameters.top_p,
    };
    merged(&body, parameters.extra.as_ref())
}

/// Converts messages to those of the protocol: without empty texts, and with consecutive messages of one role merged,
/// because the answers to the calls of one turn must be in one message.
fn wire_messages(messages: &[Message]) -> Vec<WireMessage<'_>> {
    let mut wire: Vec<WireMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        let (role, blocks) = match message {
            Message::User { text } => (Role::User, text_block(text).into_iter().collect()),
            Message::Assistant { text, calls, opaque } => {
                let kept = opaque.parts().map(|parts| parts.blocks.as_slice()).unwrap_or_default();
                (Role::Assistant, if kept.is_empty() { own_blocks(text, calls) } else { kept_blocks(kept, calls) })
            }
            Message::Tool { id, content, failed, .. } => {
                (Role::User, vec![Block::Ours(OwnBlock::ToolResult { tool_use_id: id, content, is_error: *failed })])
            }
        };
        match wire.last_mut() {
            _ if blocks.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => wire.push(WireMessage { role, content: blocks }),
        }
    }
    wire
}

fn own_blocks<'a>(text: &'a str, calls: &'a [ToolCall]) -> Vec<Block<'a>> {
    text_block(text).into_iter().chain(calls.iter().map(tool_use)).collect()
}

/// The blocks of an earlier answer, in order and unchanged. Tool calls are taken from the conversation, so that only those
/// that it contains are sent.
fn kept_blocks<'a>(blocks: &'a [Value], calls: &'a [ToolCall]) -> Vec<Block<'a>> {
    let field = |block: &'a Value, name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
    let sent = |block: &'a Value| match field(block, "type") {
        "tool_use" => calls.iter().find(|call| call.id == field(block, "id")).map(tool_use),
        "text" if field(block, "text").trim().is_empty() => None,
        _ => Some(Block::Kept(block)),
    };
    blocks.iter().filter_map(sent).collect()
}

fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Ours(OwnBlock::Text { text }))
}

fn tool_use(call: &ToolCall) -> Block<'_> {
    let input = if call.arguments.is_object() {
        Cow::Borrowed(&call.arguments)
    } else {
        // The protocol only allows objects as arguments.
        Cow::Owned(serde_json::json!({ "malformed": call.arguments }))
    };
    Block::Ours(OwnBlock::ToolUse { id: &call.id, name: call.name.as_str(), input })
}

fn wire_tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool {
        name: tool.name.as_str(),
        description: tool.description.as_deref(),
        input_schema: Schema::OfArguments(tool.parameters.as_ref().unwrap_or(&EMPTY_OBJECT)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::form::LimitName;
    use super::super::samples;
    use super::*;
    use whetstone_domain::plan::model::SystemRole;

    const FORM: Form = Form {
        structured: Structured::Schema,
        limit: LimitName::MaxTokens,
        system: SystemRole::System,
        seed: false,
        preferred_temperature: true,
    };

    fn sent(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn without_a_tool_the_answer_is_described_in_words() {
        let form = Form { structured: Structured::Plain, preferred_temperature: false, ..FORM };
        let body = sent(&chat_body("claude-opus-4-7", &samples::structured(), form));
        assert_eq!((body.get("tools"), body.get("tool_choice"), body.get("temperature")), (None, None, None));
        assert!(body["system"].as_str().unwrap().contains("integer"), "{body}");
    }

    #[test]
    fn a_whole_conversation_goes_over_the_wire() {
        let body = sent(&chat_body("claude-sonnet-4-5", &samples::conversation(), FORM));
        insta::assert_json_snapshot!(body);
    }

    #[test]
    fn structured_output_is_a_tool_that_must_be_called() {
        let body = sent(&chat_body("claude-sonnet-4-5", &samples::structured(), FORM));
        assert_eq!(
            body,
            json!({
                "model": "claude-sonnet-4-5",
                "max_tokens": 4096,
                "system": "judge",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "this"}]}],
                "tools": [{
                    "name": "verdict",
                    "description": "Gives the answer. Call it once, when you are done.",
                    "input_schema":
                        {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]},
                }],
                "tool_choice": {"type": "tool", "name": "verdict"},
                "temperature": 0.0,
            })
        );
    }

    #[test]
    fn extra_fields_are_sent_as_they_are() {
        let body = sent(&chat_body("m", &samples::with_extra(json!({"thinking": {"type": "disabled"}})), FORM));
        assert_eq!(body["thinking"]["type"], "disabled");
    }

    #[test]
    fn messages_without_content_are_left_out() {
        let text = |text: &str| Message::said(text);
        let messages = [Message::User { text: "hello".to_owned() }, text(""), text(" \n")];
        assert_eq!(wire_messages(&messages).len(), 1);
    }

    #[test]
    fn arguments_that_are_no_object_are_sent_within_one() {
        let call = ToolCall { id: "a".to_owned(), name: "look".into(), arguments: json!("{\"q\": ") };
        let block = serde_json::to_value(tool_use(&call)).unwrap();
        assert_eq!(block["input"], json!({"malformed": "{\"q\": "}));
    }

    /// Signed thinking must be returned unchanged, in its place, before the results of the calls that it led to.
    #[test]
    fn thinking_goes_back_unchanged() {
        let content = json!([
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "Let me look."},
            {"type": "redacted_thinking", "data": "eA=="},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": 1}},
            {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {"q": 2}},
        ]);
        let body = json!({"content": content, "stop_reason": "tool_use"}).to_string();
        let read = answer::read_chat(body.as_bytes(), None).unwrap();
        let mut back = Message::Assistant { text: read.text, calls: read.calls, opaque: read.opaque };
        let sent =
            |message: &Message| serde_json::to_value(&wire_messages(std::slice::from_ref(message))[0].content).unwrap();
        assert_eq!(sent(&back), content);
        let kept: Message = serde_json::from_value(serde_json::to_value(&back).unwrap()).unwrap();
        assert_eq!(sent(&kept), content, "a ledger keeps all of it");
        if let Message::Assistant { calls, .. } = &mut back {
            calls.truncate(1);
        }
        assert_eq!(sent(&back).as_array().unwrap().len(), 4, "a call that the conversation does not have is left out");
    }
}
