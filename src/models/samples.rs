//! Requests for the tests of both protocols.

use std::sync::Arc;

use serde_json::{Value, json};

use whetstone_domain::call::{AnswerSchema, ChatRequest, Parameters, Temperature};
use whetstone_domain::tool::{ToolCall, ToolDefinition};
use whetstone_domain::transcript::{Message, Opaque};

fn map(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn request(system: &str, messages: Vec<Message>) -> ChatRequest {
    ChatRequest {
        system: system.into(),
        messages,
        tools: Arc::new([]),
        answer_schema: None,
        parameters: Arc::default(),
        repeat: 0,
    }
}

/// One question.
pub(super) fn question() -> ChatRequest {
    request("You help.", vec![Message::User { text: "where is my order?".to_owned() }])
}

/// A conversation with every kind of content.
pub(super) fn conversation() -> ChatRequest {
    let call = |id: &str, name: &str, arguments: Value| ToolCall { id: id.to_owned(), name: name.into(), arguments };
    let answer = |id: &str, name: &str, content: &str, failed| Message::Tool {
        id: id.to_owned(),
        name: name.into(),
        content: content.to_owned(),
        failed,
    };
    ChatRequest {
        tools: Arc::new([
            ToolDefinition {
                name: "lookup".into(),
                description: Some("Finds an order.".to_owned()),
                parameters: Some(map(json!({"type": "object", "properties": {"order": {"type": "string"}}}))),
            },
            ToolDefinition { name: "escalate".into(), description: None, parameters: None },
        ]),
        parameters: Arc::new(Parameters {
            temperature: Some(Temperature::Value(0.7)),
            top_p: Some(0.9),
            max_output_tokens: Some(500),
            extra: None,
        }),
        repeat: 3,
        ..request(
            "You help.",
            vec![
                Message::User { text: "where is my order?".to_owned() },
                Message::Assistant {
                    text: "I look.".to_owned(),
                    calls: vec![call("c1", "lookup", json!({"order": "A-1"})), call("c2", "escalate", json!({}))],
                    opaque: Opaque::default(),
                },
                answer("c1", "lookup", "shipped", false),
                answer("c2", "escalate", "nobody is there", true),
                Message::Assistant {
                    text: String::new(),
                    calls: vec![call("c3", "lookup", json!({"order": "A-2"}))],
                    opaque: Opaque::default(),
                },
                answer("c3", "lookup", "lost", false),
                Message::User { text: "and?".to_owned() },
            ],
        )
    }
}

/// A request to a judge.
pub(super) fn structured() -> ChatRequest {
    ChatRequest {
        answer_schema: Some(Arc::new(AnswerSchema {
            name: "verdict".to_owned(),
            schema: json!({"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}),
        })),
        parameters: Arc::new(Parameters { temperature: Some(Temperature::Preferred(0.0)), ..Parameters::default() }),
        ..request("judge", vec![Message::User { text: "this".to_owned() }])
    }
}

/// A question with extra fields of the user.
pub(super) fn with_extra(extra: Value) -> ChatRequest {
    ChatRequest { parameters: Arc::new(Parameters { extra: Some(map(extra)), ..Parameters::default() }), ..question() }
}
