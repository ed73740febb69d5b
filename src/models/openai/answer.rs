//! Parses a chat completion, in every form that servers of this protocol are known to send.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::answered::{Counted, Lenient, Read, identifier, tokens};
use super::super::attempt::Unusable;
use whetstone_domain::call::Finish;
use whetstone_domain::tool::ToolCall;
use whetstone_domain::transcript::OpaqueParts;

#[derive(Deserialize)]
struct Completion {
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Lenient<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Answered>,
    finish_reason: Option<String>,
}

// Every field is named and none is flattened: `flatten` would hold a second copy of the whole message.
#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    content: Value,
    refusal: Option<String>,
    tool_calls: Option<Vec<AskedCall>>,
    /// The form that was used before `tool_calls`.
    function_call: Option<AskedFunction>,
    /// Signed or encrypted: always returned with the message.
    reasoning_details: Option<Value>,
    thinking_blocks: Option<Value>,
    extra_content: Option<Value>,
    /// Reasoning in plain text. Providers that require it back (DeepSeek, Kimi, MiniMax) do so while tool calls are being
    /// answered; some refuse it otherwise.
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
}

#[derive(Deserialize)]
struct AskedCall {
    #[serde(default)]
    id: Value,
    function: AskedFunction,
    /// Thought signatures: returned with the call.
    extra_content: Option<Value>,
    provider_specific_fields: Option<Value>,
}

#[derive(Deserialize)]
struct AskedFunction {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// Parses the answer to a chat request.
pub(super) fn read_chat(body: &[u8]) -> Result<Read, Unusable> {
    let completion: Completion = serde_json::from_slice(body)?;
    let counted = counted(&completion.usage.0);
    let choice = completion.choices.into_iter().flatten().next();
    let Some(Choice { message: Some(message), finish_reason }) = choice else {
        return Err(Unusable::Malformed("it has no answer in it (choices is empty)".to_owned()));
    };
    let Answered { content, refusal, tool_calls, function_call, .. } = message;
    let mut opaque = OpaqueParts::default();
    let mut calls = Vec::new();
    let legacy = function_call.map(|function| AskedCall {
        id: Value::Null,
        function,
        extra_content: None,
        provider_specific_fields: None,
    });
    for call in tool_calls.into_iter().flatten().chain(legacy) {
        let (call, kept) = asked(calls.len(), call);
        if !kept.is_empty() {
            opaque.calls.entry(call.id.clone()).or_insert(kept);
        }
        calls.push(call);
    }
    let content = Content::read(content);
    let mut text = content.text;
    let mut finish = finish(finish_reason.as_deref(), !calls.is_empty())?;
    if let Some(refusal) = refusal.or(content.refusal).filter(|refusal| !refusal.trim().is_empty()) {
        finish = Finish::Refusal;
        if text.trim().is_empty() {
            text = refusal;
        }
    }
    let thoughts = [("reasoning_content", message.reasoning_content), ("reasoning", message.reasoning)];
    let reasoning: u64 =
        thoughts.iter().filter_map(|(_, text)| text.as_ref()?.as_str()).map(|text| text.len() as u64).sum();
    let is_silent = text.trim().is_empty() && calls.is_empty();
    opaque.message = there([
        ("reasoning_details", message.reasoning_details),
        ("thinking_blocks", message.thinking_blocks),
        ("extra_content", message.extra_content),
    ])
    .collect();
    if !calls.is_empty() {
        opaque.message.extend(there(thoughts));
    }
    if !calls.is_empty() {
        opaque.blocks = content.parts;
    }
    Ok(Read {
        text,
        calls,
        opaque: opaque.into(),
        finish,
        counted,
        reasoning,
        only_reasoned: is_silent && reasoning > 0,
    })
}

/// The fields that are not empty.
fn there<const N: usize>(fields: [(&str, Option<Value>); N]) -> impl Iterator<Item = (String, Value)> {
    let fields = fields.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
    fields.filter(|(_, value)| is_there(value))
}

fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Why the model stopped; an error if the server reports that the answer was interrupted.
fn finish(reason: Option<&str>, has_calls: bool) -> Result<Finish, Unusable> {
    Ok(match reason {
        // Some servers report `stop` although there are calls.
        None | Some("stop" | "eos" | "end_turn" | "") if has_calls => Finish::ToolCalls,
        None | Some("stop" | "eos" | "end_turn" | "") => Finish::Stop,
        Some("tool_calls" | "function_call") => Finish::ToolCalls,
        Some("length" | "max_tokens" | "model_length") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        Some("refusal") => Finish::Refusal,
        Some(broken @ ("error" | "abort")) => {
            return Err(Unusable::Malformed(format!("the answer broke off (finish_reason {broken})")));
        }
        Some(_) => Finish::Other,
    })
}

/// The content of a message: a string, or a list of parts.
#[derive(Default)]
struct Content {
    text: String,
    refusal: Option<String>,
    /// The unchanged parts, if not all of them are text.
    parts: Vec<Value>,
}

impl Content {
    fn read(content: Value) -> Self {
        match content {
            Value::String(text) => Self { text, ..Self::default() },
            Value::Array(parts) => Self::of_parts(parts),
            Value::Object(_) => Self::of_parts(vec![content]),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::default(),
        }
    }

    fn of_parts(parts: Vec<Value>) -> Self {
        let mut content = Self::default();
        let mut is_text = true;
        for part in &parts {
            let field = |name: &str| part.get(name).and_then(Value::as_str);
            match field("type") {
                _ if part.is_string() => content.text.push_str(part.as_str().unwrap_or_default()),
                Some("text" | "output_text") | None => content.text.push_str(field("text").unwrap_or_default()),
                Some("refusal") => content.refusal = field("refusal").map(str::to_owned),
                // Reasoning, citations and unknown kinds: not part of the text.
                Some(_) => is_text = false,
            }
        }
        if !is_text {
            content.parts = parts;
        }
        content
    }
}

/// A call, and the parts that are returned with it.
fn asked(index: usize, call: AskedCall) -> (ToolCall, Map<String, Value>) {
    let AskedCall { id, function, extra_content, provider_specific_fields } = call;
    // Ollama once sent arguments as an object; some servers send no ids, or numbers.
    let arguments = match function.arguments {
        Value::String(raw) => match serde_json::from_str(&raw) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            _ if raw.trim().is_empty() => Value::Object(Map::new()),
            _ => Value::String(raw),
        },
        Value::Object(arguments) => Value::Object(arguments),
        Value::Null => Value::Object(Map::new()),
        other => Value::String(other.to_string()),
    };
    let id = identifier(&id).unwrap_or_else(|| format!("call_{index}"));
    let kept: BTreeMap<String, Value> =
        there([("extra_content", extra_content), ("provider_specific_fields", provider_specific_fields)]).collect();
    (ToolCall { id, name: function.name.as_str().into(), arguments }, kept.into_iter().collect())
}

/// The token counts of a server. Some omit fields, or send `null`, floats or strings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    prompt_tokens: Value,
    completion_tokens: Value,
    total_tokens: Value,
    prompt_tokens_details: Lenient<Details>,
    completion_tokens_details: Lenient<Details>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Value,
    reasoning_tokens: Value,
}

/// The tokens that a server counted.
pub(super) fn counted(usage: &Counts) -> Counted {
    let input = tokens(&usage.prompt_tokens);
    let said = tokens(&usage.completion_tokens);
    let rest = tokens(&usage.total_tokens).zip(input).and_then(|(total, input)| total.checked_sub(input));
    // Gemini and xAI bill reasoning, but include it only in the total, not in `completion_tokens`.
    let output = match (said, rest) {
        (Some(said), Some(rest)) => Some(said.max(rest)),
        (said, rest) => said.or(rest),
    };
    let reasoning = tokens(&usage.completion_tokens_details.0.reasoning_tokens).unwrap_or(0);
    Counted {
        input,
        cached_input: tokens(&usage.prompt_tokens_details.0.cached_tokens)
            .or_else(|| tokens(&usage.prompt_cache_hit_tokens))
            .unwrap_or(0),
        output: output.map(|output| output.max(reasoning)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use whetstone_domain::money::Usage;

    fn completion(message: &Value, finish: &str) -> Vec<u8> {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                      "prompt_tokens_details": {"cached_tokens": 64}},
        })
        .to_string()
        .into_bytes()
    }

    fn read(message: &Value, finish: &str) -> Read {
        read_chat(&completion(message, finish)).unwrap()
    }

    #[test]
    fn an_answer_is_read_with_its_usage() {
        let read = read(&json!({"role": "assistant", "content": "Fünf \"Tage\"", "refusal": null}), "stop");
        assert_eq!((read.text.as_str(), read.calls.len(), read.finish), ("Fünf \"Tage\"", 0, Finish::Stop));
        assert!(read.opaque.is_empty());
        let answer = read.settle(|| unreachable!("everything was counted"));
        assert_eq!(answer.usage, Usage { input: 100, cached_input: 64, output: 20 });
        assert!(!answer.estimated);
    }

    #[test]
    fn tool_calls_are_read_and_broken_arguments_are_kept_as_they_are() {
        let call = |id: Value, arguments: Value| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [
            call(json!("a"), json!("{\"q\": 1}")),
            call(json!("b"), json!("{\"q\": ")),
            call(json!("c"), json!("[1]")),
            call(json!(""), json!({"q": 2})),
            call(json!(null), json!("")),
            call(json!(7), json!("{}")),
        ]});
        let read = read(&message, "tool_calls");
        let calls: Vec<(String, Value)> = read.calls.into_iter().map(|call| (call.id, call.arguments)).collect();
        let expected = [
            ("a", json!({"q": 1})),
            ("b", json!("{\"q\": ")),
            ("c", json!("[1]")),
            ("call_3", json!({"q": 2})),
            ("call_4", json!({})),
            ("7", json!({})),
        ];
        assert_eq!(calls, expected.map(|(id, arguments)| (id.to_owned(), arguments)));
    }

    #[test]
    fn a_function_call_of_the_old_form_is_a_call() {
        let message = json!({"content": null, "function_call": {"name": "refund", "arguments": "{\"order\": 1}"}});
        let read = read(&message, "function_call");
        assert_eq!((read.calls[0].name.as_str(), &read.calls[0].arguments), ("refund", &json!({"order": 1})));
        assert_eq!(read.finish, Finish::ToolCalls);
    }

    #[test]
    fn saying_nothing_is_an_answer_and_the_reason_is_kept() {
        for (content, reason, finish) in [
            (json!(""), "stop", Finish::Stop),
            (json!(null), "stop", Finish::Stop),
            (json!(" \n"), "stop", Finish::Stop),
            (json!([]), "stop", Finish::Stop),
            (json!(""), "length", Finish::Length),
            (json!(null), "content_filter", Finish::ContentFilter),
            (json!(""), "something_new", Finish::Other),
        ] {
            let read = read(&json!({"role": "assistant", "content": content}), reason);
            assert_eq!((read.text.trim(), read.calls.len(), read.finish), ("", 0, finish), "{content} {reason}");
        }
    }

    #[test]
    fn an_answer_that_broke_off_is_none() {
        for reason in ["error", "abort"] {
            let answer = read_chat(&completion(&json!({"content": "I am"}), reason));
            assert!(matches!(answer, Err(Unusable::Malformed(_))), "{reason}");
        }
        for body in [r#"{"choices":null}"#, r#"{"choices":[]}"#, r#"{"choices":[{"message":null}]}"#, "{}"] {
            assert!(matches!(read_chat(body.as_bytes()), Err(Unusable::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_refusal_is_the_answer_and_says_that_it_is_one() {
        let refused = read(&json!({"role": "assistant", "content": null, "refusal": "I cannot"}), "stop");
        assert_eq!((refused.text.as_str(), refused.finish), ("I cannot", Finish::Refusal));
        let part = read(&json!({"content": [{"type": "refusal", "refusal": "I cannot"}]}), "stop");
        assert_eq!((part.text.as_str(), part.finish), ("I cannot", Finish::Refusal));
        let empty = read(&json!({"content": "fine", "refusal": ""}), "stop");
        assert_eq!((empty.text.as_str(), empty.finish), ("fine", Finish::Stop));
    }

    #[test]
    fn content_in_parts_is_its_text_without_the_reasoning() {
        let content = json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "The order was sent."}]},
            {"type": "text", "text": "It was "},
            {"type": "text", "text": "sent."},
        ]);
        let said = read(&json!({"content": content}), "stop");
        assert_eq!(said.text, "It was sent.");
        assert!(said.opaque.is_empty(), "nobody wants it back after an answer");
        let call = json!({"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}});
        let asked = read(&json!({"content": content, "tool_calls": [call]}), "tool_calls");
        assert_eq!(json!(asked.opaque.parts().unwrap().blocks), content);
    }

    #[test]
    fn what_must_go_back_is_kept_and_nothing_else() {
        let signed = json!({"google": {"thought_signature": "c2ln"}});
        let call = json!({"id": "a", "type": "function", "index": 0, "extra_content": signed,
                          "function": {"name": "look", "arguments": "{}"}});
        let message = json!({"content": null, "tool_calls": [call], "reasoning_content": "hm", "annotations": [],
                             "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}], "audio": null});
        let parts = read(&message, "tool_calls").opaque;
        assert_eq!(
            serde_json::to_value(parts).unwrap(),
            json!({
                "message": {"reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
                "calls": {"a": {"extra_content": signed}},
            })
        );
        let said = read(&json!({"content": "sent", "reasoning_content": "hm", "reasoning": null}), "stop");
        assert!(said.opaque.is_empty(), "reasoning in plain text goes back only with calls");
    }

    #[test]
    fn an_answer_of_reasoning_alone_says_nothing() {
        let read = read(&json!({"content": null, "reasoning_content": "yes it is"}), "stop");
        assert_eq!((read.text.as_str(), read.only_reasoned, read.reasoning), ("", true, 9));
    }

    #[test]
    fn tokens_are_counted_however_a_server_writes_them() {
        for (usage, input, cached, output) in [
            (json!({"prompt_tokens": 10, "completion_tokens": 5}), Some(10), 0, Some(5)),
            (json!({"prompt_tokens": 10.0, "completion_tokens": 5.0}), Some(10), 0, Some(5)),
            (json!({"prompt_tokens": "10", "completion_tokens": "5"}), Some(10), 0, Some(5)),
            (json!({"prompt_tokens": 10, "total_tokens": 15}), Some(10), 0, Some(5)),
            // Gemini: the total includes the reasoning, the completion does not.
            (json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}), Some(10), 0, Some(30)),
            (json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 0}), Some(10), 0, Some(5)),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 30}}),
                Some(10),
                0,
                Some(30),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}),
                Some(10),
                8,
                Some(5),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": null}}),
                Some(10),
                0,
                Some(5),
            ),
            (json!({"prompt_tokens": 10, "prompt_cache_hit_tokens": 8, "completion_tokens": 5}), Some(10), 8, Some(5)),
            (json!({"total_tokens": 15}), None, 0, None),
            (json!({"prompt_tokens": null, "completion_tokens": -1}), None, 0, None),
            (json!(null), None, 0, None),
            (json!("many"), None, 0, None),
            (json!(["many"]), None, 0, None),
            (
                json!({"prompt_tokens": 10, "prompt_tokens_details": 8, "completion_tokens_details": [[8]]}),
                Some(10),
                0,
                None,
            ),
        ] {
            let counts: Lenient<Counts> = serde_json::from_value(usage.clone()).unwrap();
            assert_eq!(counted(&counts.0), Counted { input, cached_input: cached, output }, "{usage}");
        }
    }
}
