//! The Anthropic protocol: messages.
//!
//! It knows no `seed`, so the index of a repeat is not sent: repeats are independent samples. It has no embeddings.
//! Structured output is a tool that the model must call; its input is the answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attempt::Unusable;
use super::{EMPTY_OBJECT, merged};
use crate::domain::call::{ChatAnswer, ChatRequest, Finish};
use crate::domain::money::Usage;
use crate::domain::tool::{ToolCall, ToolDefinition};
use crate::domain::transcript::Message;

/// The protocol wants a limit; this one is far above what an agent says in a turn.
const MAX_TOKENS: u64 = 4096;

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
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
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

/// The body of a chat request.
pub(super) fn chat_body(model: &str, request: &ChatRequest) -> Vec<u8> {
    let parameters = &*request.parameters;
    let answer = request.answer_schema.as_deref();
    let answer_tool = answer.map(|schema| Tool {
        name: &schema.name,
        description: Some("Gives the answer. Call it once, when you are done."),
        input_schema: Schema::OfAnswer(&schema.schema),
    });
    let body = Chat {
        model,
        max_tokens: parameters.max_output_tokens.unwrap_or(MAX_TOKENS),
        system: &request.system,
        messages: wire_messages(&request.messages),
        tools: request.tools.iter().map(wire_tool).chain(answer_tool).collect(),
        tool_choice: answer.map(|schema| match request.tools.len() {
            0 => ToolChoice::Tool { name: &schema.name },
            _ => ToolChoice::Any,
        }),
        temperature: parameters.temperature,
        top_p: parameters.top_p,
    };
    merged(&body, parameters.extra.as_ref())
}

/// Messages as the protocol wants them: no empty texts, and what follows one another in one role is one message, since
/// the answers to the calls of one turn must stand together.
fn wire_messages(messages: &[Message]) -> Vec<WireMessage<'_>> {
    let mut wire: Vec<WireMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        let (role, blocks) = match message {
            Message::User { text } => (Role::User, text_block(text).into_iter().collect()),
            Message::Assistant { text, calls } => {
                (Role::Assistant, text_block(text).into_iter().chain(calls.iter().map(tool_use)).collect())
            }
            Message::Tool { id, content, failed, .. } => {
                (Role::User, vec![Block::ToolResult { tool_use_id: id, content, is_error: *failed }])
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

fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text { text })
}

fn tool_use(call: &ToolCall) -> Block<'_> {
    let input = if call.arguments.is_object() {
        Cow::Borrowed(&call.arguments)
    } else {
        // The protocol has no place for arguments that are no object.
        Cow::Owned(serde_json::json!({ "malformed": call.arguments }))
    };
    Block::ToolUse { id: &call.id, name: call.name.as_str(), input }
}

fn wire_tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool {
        name: tool.name.as_str(),
        description: tool.description.as_deref(),
        input_schema: Schema::OfArguments(tool.parameters.as_ref().unwrap_or(&EMPTY_OBJECT)),
    }
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    content: Vec<AnsweredBlock<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AnsweredBlock<'a> {
    Text {
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    ToolUse {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        name: Cow<'a, str>,
        input: Value,
    },
    /// Thinking, and whatever comes later.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names are the protocol's")]
struct WireUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// Reads the answer to a chat request; `answer_tool` is the name of the schema that it was to satisfy.
pub(super) fn read_chat(body: &[u8], answer_tool: Option<&str>) -> Result<ChatAnswer, Unusable> {
    let answered: Answered = serde_json::from_slice(body)?;
    let mut text = String::new();
    let mut calls = Vec::new();
    let mut structured = None;
    for block in answered.content {
        match block {
            AnsweredBlock::Text { text: more } => text.push_str(&more),
            AnsweredBlock::ToolUse { name, input, .. } if answer_tool == Some(&*name) => {
                structured = Some(input.to_string());
            }
            AnsweredBlock::ToolUse { id, name, input } => {
                let arguments = if input.is_object() { input } else { Value::String(input.to_string()) };
                calls.push(ToolCall { id: id.into_owned(), name: name.as_ref().into(), arguments });
            }
            AnsweredBlock::Other => {}
        }
    }
    let finish = match answered.stop_reason.as_deref() {
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => Finish::Refused,
        _ => Finish::Stop,
    };
    let usage =
        answered.usage.ok_or_else(|| Unusable::Malformed("it says nothing of the tokens used (usage)".to_owned()))?;
    let cached_input = usage.cache_read_input_tokens.unwrap_or(0);
    let usage = Usage {
        input: usage.input_tokens + cached_input + usage.cache_creation_input_tokens.unwrap_or(0),
        cached_input,
        output: usage.output_tokens,
    };
    super::complete(ChatAnswer { text: structured.unwrap_or(text), calls, finish, usage })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples;
    use super::*;

    fn sent(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_whole_conversation_goes_over_the_wire() {
        let body = sent(&chat_body("claude-sonnet-4-5", &samples::conversation()));
        insta::assert_json_snapshot!(body);
    }

    #[test]
    fn structured_output_is_a_tool_that_must_be_called() {
        let body = sent(&chat_body("claude-sonnet-4-5", &samples::structured()));
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
        let body = sent(&chat_body("m", &samples::with_extra(json!({"thinking": {"type": "disabled"}}))));
        assert_eq!(body["thinking"]["type"], "disabled");
    }

    #[test]
    fn messages_without_content_are_left_out() {
        let text = |text: &str| Message::Assistant { text: text.to_owned(), calls: vec![] };
        let messages = [Message::User { text: "hello".to_owned() }, text(""), text(" \n")];
        assert_eq!(wire_messages(&messages).len(), 1);
    }

    #[test]
    fn arguments_that_are_no_object_are_sent_within_one() {
        let call = ToolCall { id: "a".to_owned(), name: "look".into(), arguments: json!("{\"q\": ") };
        let block = serde_json::to_value(tool_use(&call)).unwrap();
        assert_eq!(block["input"], json!({"malformed": "{\"q\": "}));
    }

    fn message(content: &Value, stop_reason: &str) -> Vec<u8> {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": content, "stop_reason": stop_reason, "stop_sequence": null,
            "usage": {"input_tokens": 10, "output_tokens": 5,
                      "cache_read_input_tokens": 90, "cache_creation_input_tokens": 20},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn an_answer_is_read_with_all_its_tokens() {
        let body = message(
            &json!([
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": 1}},
            ]),
            "tool_use",
        );
        assert_eq!(
            read_chat(&body, None),
            Ok(ChatAnswer {
                text: "Let me look.".to_owned(),
                calls: vec![ToolCall { id: "toolu_1".to_owned(), name: "look".into(), arguments: json!({"q": 1}) }],
                finish: Finish::Stop,
                usage: Usage { input: 120, cached_input: 90, output: 5 },
            })
        );
    }

    #[test]
    fn the_input_of_the_answer_tool_is_the_answer() {
        let body = message(
            &json!([
                {"type": "text", "text": "Here it is."},
                {"type": "tool_use", "id": "toolu_1", "name": "verdict", "input": {"score": 4}},
            ]),
            "tool_use",
        );
        let answer = read_chat(&body, Some("verdict")).unwrap();
        assert_eq!((answer.text.as_str(), answer.calls.len()), (r#"{"score":4}"#, 0));
    }

    #[test]
    fn an_answer_without_usage_is_none() {
        let body = json!({"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}).to_string();
        assert!(matches!(read_chat(body.as_bytes(), None), Err(Unusable::Malformed(_))));
    }
}
