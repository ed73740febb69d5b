//! Parses a message of the Anthropic protocol.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answered::{Counted, Read, identifier, tokens};
use super::super::attempt::Unusable;
use whetstone_domain::call::Finish;
use whetstone_domain::tool::ToolCall;
use whetstone_domain::transcript::OpaqueParts;

#[derive(Deserialize)]
struct Answered {
    content: Vec<Value>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

/// Parses the answer to a chat request; `answer_tool` is the name of the schema that it has to satisfy.
pub(super) fn read_chat(body: &[u8], answer_tool: Option<&str>) -> Result<Read, Unusable> {
    let answered: Answered = serde_json::from_slice(body)?;
    let mut text = String::new();
    let mut calls: Vec<ToolCall> = Vec::new();
    let mut structured = None;
    let mut blocks = Vec::with_capacity(answered.content.len());
    let mut reasoning = 0;
    let mut goes_back = false;
    for block in answered.content {
        let field = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "text" => {
                text.push_str(field("text"));
                blocks.push(block);
            }
            "tool_use" if answer_tool == Some(field("name")) => {
                structured = Some(block.get("input").unwrap_or(&Value::Null).to_string());
            }
            "tool_use" => {
                let id = block.get("id").and_then(identifier).unwrap_or_else(|| format!("call_{}", calls.len()));
                let input = block.get("input").cloned().unwrap_or_else(|| json!({}));
                let arguments = if input.is_object() { input } else { Value::String(input.to_string()) };
                blocks.push(json!({"type": "tool_use", "id": id}));
                calls.push(ToolCall { id, name: field("name").into(), arguments });
            }
            _ => {
                // Thinking, signed or encrypted, and unknown kinds of blocks: all are returned, in their place.
                reasoning += field("thinking").len() as u64;
                goes_back = true;
                blocks.push(block);
            }
        }
    }
    let finish = match answered.stop_reason.as_deref() {
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => Finish::Refusal,
        None | Some("end_turn" | "stop_sequence" | "tool_use") if calls.is_empty() => Finish::Stop,
        None | Some("end_turn" | "stop_sequence" | "tool_use") => Finish::ToolCalls,
        Some(_) => Finish::Other,
    };
    let opaque = OpaqueParts { blocks: if goes_back { blocks } else { Vec::new() }, ..OpaqueParts::default() };
    let text = structured.unwrap_or(text);
    let only_reasoned = goes_back && calls.is_empty() && text.trim().is_empty();
    let counted = counted(&answered.usage);
    Ok(Read { text, calls, opaque: opaque.into(), finish, counted, reasoning, only_reasoned })
}

fn counted(usage: &Value) -> Counted {
    let count = |name: &str| usage.get(name).and_then(tokens);
    let cached_input = count("cache_read_input_tokens").unwrap_or(0);
    let written = count("cache_creation_input_tokens").unwrap_or(0);
    let input = count("input_tokens").map(|fresh| fresh + cached_input + written);
    Counted { input, cached_input, output: count("output_tokens") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::money::Usage;

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

    fn read(content: &Value, stop_reason: &str, answer_tool: Option<&str>) -> Read {
        read_chat(&message(content, stop_reason), answer_tool).unwrap()
    }

    #[test]
    fn an_answer_is_read_with_all_its_tokens() {
        let content = json!([
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": 1}},
        ]);
        let read = read(&content, "tool_use", None);
        assert!(read.opaque.is_empty(), "nothing in it has to go back as it is");
        let answer = read.settle(|| unreachable!("all was counted"));
        assert_eq!((answer.text.as_str(), answer.finish), ("Let me look.", Finish::ToolCalls));
        let call = ToolCall { id: "toolu_1".to_owned(), name: "look".into(), arguments: json!({"q": 1}) };
        assert_eq!(answer.calls, [call]);
        assert_eq!(answer.usage, Usage { input: 120, cached_input: 90, output: 5 });
        assert!(!answer.estimated);
    }

    #[test]
    fn thinking_is_kept_in_its_place() {
        let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
        let redacted = json!({"type": "redacted_thinking", "data": "eA=="});
        let content = json!([
            thinking,
            {"type": "text", "text": "Let me look."},
            redacted,
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": 1}},
        ]);
        let read = read(&content, "tool_use", None);
        assert_eq!((read.text.as_str(), read.reasoning), ("Let me look.", 2));
        let kept = read.opaque;
        assert_eq!(
            kept.parts().unwrap().blocks,
            [
                thinking,
                json!({"type": "text", "text": "Let me look."}),
                redacted,
                json!({"type": "tool_use", "id": "toolu_1"})
            ]
        );
    }

    #[test]
    fn the_input_of_the_answer_tool_is_the_answer() {
        let content = json!([
            {"type": "text", "text": "Here it is."},
            {"type": "tool_use", "id": "toolu_1", "name": "verdict", "input": {"score": 4}},
        ]);
        let read = read(&content, "tool_use", Some("verdict"));
        assert_eq!((read.text.as_str(), read.calls.len(), read.finish), (r#"{"score":4}"#, 0, Finish::Stop));
    }

    #[test]
    fn saying_nothing_is_an_answer_and_the_reason_is_kept() {
        for (content, reason, finish) in [
            (json!([]), "end_turn", Finish::Stop),
            (json!([{"type": "text", "text": ""}]), "end_turn", Finish::Stop),
            (json!([]), "refusal", Finish::Refusal),
            (json!([{"type": "thinking", "thinking": "hm", "signature": "s"}]), "max_tokens", Finish::Length),
            (json!([]), "pause_turn", Finish::Other),
        ] {
            let read = read(&content, reason, None);
            assert_eq!((read.text.as_str(), read.calls.len(), read.finish), ("", 0, finish), "{content} {reason}");
        }
    }

    #[test]
    fn an_answer_without_usage_is_estimated() {
        let body = json!({"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}).to_string();
        let answer = read_chat(body.as_bytes(), None).unwrap().settle(|| 12);
        assert_eq!((answer.usage, answer.estimated), (Usage { input: 12, cached_input: 0, output: 1 }, true));
    }
}
