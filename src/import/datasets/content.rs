//! The user's message and the expected output, in the formats of applications: a text, chat messages of OpenAI or
//! LangChain, or a custom object.

use serde_json::{Map, Value, json};

use super::super::error::ImportError;
use super::super::read::{Item, scalar};
use super::super::scenario::set_conversation;
use super::super::{Notes, chat};
use whetstone_domain::scenario::{Expectation, Scenario};
use whetstone_domain::transcript::Message;

/// Fields with the user's message, the likeliest first.
const SAID: [&str; 9] =
    ["question", "query", "input", "message", "user_message", "user_input", "prompt", "request", "text"];
/// Fields with the right answer, the likeliest first.
const ANSWERED: [&str; 10] =
    ["answer", "output", "expected_output", "expected", "response", "completion", "content", "result", "text", "label"];

/// Sets the user's messages, and returns the system message.
pub(super) fn say(scenario: &mut Scenario, input: &Item, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    match input.value {
        Value::Array(items) if items.iter().any(Value::is_object) => converse(scenario, input, notes),
        Value::Object(fields) => {
            if let Some(messages) = input.get("messages").filter(|messages| messages.value.is_array()) {
                note_others(input, fields, "messages", notes);
                return converse(scenario, &messages, notes);
            }
            let (name, text) = the_text(fields, &SAID).ok_or_else(|| {
                input.error("has no string field", format!("put the user's message into {:?}", SAID[0]))
            })?;
            note_others(input, fields, name, notes);
            scenario.message = Some(text);
            Ok(None)
        }
        _ => {
            let text = input.scalar()?;
            if text.trim().is_empty() {
                return Err(input.error("is empty", "write the user's message"));
            }
            scenario.message = Some(text);
            Ok(None)
        }
    }
}

/// The string field with the likeliest name, else the first string.
fn the_text<'a>(fields: &'a Map<String, Value>, likeliest: &[&'a str]) -> Option<(&'a str, String)> {
    let text = |name: &'a str| {
        let text = fields.get(name).and_then(scalar).filter(|text| !text.trim().is_empty())?;
        Some((name, text))
    };
    let named = likeliest.iter().find_map(|name| text(name));
    named.or_else(|| fields.keys().find_map(|name| text(name)))
}

fn note_others(item: &Item, fields: &Map<String, Value>, taken: &str, notes: &mut Notes) {
    let empty = [Value::Null, json!(""), json!([]), json!({})];
    for (name, _) in fields.iter().filter(|(name, value)| *name != taken && !empty.contains(value)) {
        notes.add(
            item.place(),
            format!("field `{name}` beside `{taken}`"),
            format!("only `{taken}` was imported; add `{name}` to it, or to mocks, if necessary"),
        );
    }
}

fn converse(scenario: &mut Scenario, messages: &Item, notes: &mut Notes) -> Result<Option<String>, ImportError> {
    let value: Value = messages.list()?.iter().map(|message| of_lang_chain(message.value)).collect();
    let items = messages.holding(&value).list()?;
    let read = chat::conversation(&items, |_| false, notes)?;
    set_conversation(scenario, chat::scripted(read.messages, &messages.place(), notes));
    if scenario.message.is_none() && !scenario.conversation.iter().any(|turn| turn.user.is_some()) {
        return Err(messages.error("has no user message", "add one with the role user"));
    }
    Ok(read.system)
}

/// Converts a message of LangChain to OpenAI's format: `{"type": "human", "content": …}`, with the rest in `data`, or its
/// constructor with `kwargs`. Other messages are unchanged.
fn of_lang_chain(message: &Value) -> Value {
    if message.get("role").is_some() {
        return message.clone();
    }
    let class = message.get("id").and_then(Value::as_array).and_then(|path| path.last()).and_then(Value::as_str);
    let kind = message.get("type").and_then(Value::as_str).filter(|kind| *kind != "constructor").or(class);
    let inner = ["data", "kwargs"].iter().find_map(|key| message.get(*key)).unwrap_or(message);
    let role = match kind.unwrap_or_default().trim_end_matches("Chunk").trim_end_matches("Message") {
        "human" | "Human" => "user",
        "ai" | "AI" => "assistant",
        "system" | "System" => "system",
        "tool" | "Tool" => "tool",
        _ => return message.clone(),
    };
    let calls = inner.get("tool_calls").and_then(Value::as_array).map(|calls| {
        let call = |call: &Value| {
            json!({
                "id": call.get("id").cloned().unwrap_or_default(),
                "name": call.get("name").cloned().unwrap_or_default(),
                "arguments": call.get("args").cloned().unwrap_or_default(),
            })
        };
        calls.iter().map(call).collect::<Value>()
    });
    json!({
        "role": role,
        "content": inner.get("content").cloned().unwrap_or_default(),
        "tool_calls": calls,
        "tool_call_id": inner.get("tool_call_id").cloned().unwrap_or_default(),
        "name": inner.get("name").cloned().unwrap_or_default(),
    })
}

/// Adds the expected output as the reference answer.
pub(super) fn expected(expect: &mut Expectation, item: &Item, notes: &mut Notes) {
    let value = item.value;
    if let Some(text) = scalar(value) {
        expect.answer = Some(text).filter(|text| !text.is_empty());
        return;
    }
    if let Some(messages) = value.get("messages").unwrap_or(value).as_array()
        && messages.iter().any(Value::is_object)
    {
        let said: Value = messages.iter().map(of_lang_chain).collect();
        let read = item.holding(&said).list().and_then(|items| chat::conversation(&items, |_| false, notes));
        if let Ok(read) = read {
            last_answer(expect, &read.messages, item, notes);
            return;
        }
    }
    if let Some(fields) = value.as_object().filter(|fields| !fields.is_empty()) {
        let named = ANSWERED.iter().any(|name| fields.get(*name).is_some_and(|value| scalar(value).is_some()));
        let alone = fields.len() == 1 && !fields.values().any(|value| value.is_object() || value.is_array());
        if let Some((name, text)) = the_text(fields, &ANSWERED).filter(|_| named || alone) {
            note_others(item, fields, name, notes);
            expect.answer = Some(text);
            return;
        }
    }
    if !value.is_null() && *value != json!({}) && *value != json!([]) {
        expect.answer = Some(value.to_string());
    }
}

fn last_answer(expect: &mut Expectation, messages: &[Message], item: &Item, notes: &mut Notes) {
    for message in messages {
        match message {
            Message::Assistant { text, calls, .. } => {
                if !text.is_empty() {
                    expect.answer = Some(text.clone());
                }
                if !calls.is_empty() {
                    notes.add(
                        item.place(),
                        "tool calls in the expected output",
                        "add them as `calls` if they are required",
                    );
                }
            }
            Message::User { .. } | Message::Tool { .. } => {
                notes.add(
                    item.place(),
                    "further messages in the expected output",
                    "only the last answer is the reference",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scenario::empty;
    use super::*;

    fn said(input: &Value) -> (Scenario, Option<String>, usize) {
        let (mut scenario, mut notes) = (empty("a"), Notes::default());
        let system = say(&mut scenario, &Item::new("d.json", "", input), &mut notes).unwrap();
        (scenario, system, notes.finish().0.len())
    }

    #[test]
    fn what_the_user_says_is_found_in_every_form() {
        for (input, message, notes) in [
            (json!("Hi"), "Hi", 0),
            (json!({"question": "Hi", "user_id": 7}), "Hi", 1),
            (json!({"anything": "Hi", "history": []}), "Hi", 0),
            (json!({"messages": [{"role": "user", "content": "Hi"}]}), "Hi", 0),
            (json!([{"type": "human", "content": "Hi"}]), "Hi", 0),
            (json!([{"type": "human", "data": {"content": "Hi"}}]), "Hi", 0),
            (
                json!([{"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "Hi"}}]),
                "Hi",
                0,
            ),
        ] {
            let (scenario, _, noted) = said(&input);
            assert_eq!((scenario.message.as_deref(), noted), (Some(message), notes), "{input}");
        }
        let (scenario, system, _) = said(&json!([
            {"type": "system", "content": "Be kind."}, {"type": "human", "content": "Hi"}, {"type": "ai", "content": "Yes?"},
            {"type": "human", "content": "Where?"},
        ]));
        assert_eq!(system.as_deref(), Some("Be kind."));
        assert_eq!(scenario.conversation.len(), 3);
    }

    #[test]
    fn what_is_expected_is_found_in_every_form() {
        for (value, answer) in [
            (json!("24 months"), Some("24 months")),
            (json!(24), Some("24")),
            (json!({"answer": "24 months", "sources": ["faq"]}), Some("24 months")),
            (json!({"months": 24}), Some("24")),
            (json!({"tool": "find", "id": 7}), Some(r#"{"tool":"find","id":7}"#)),
            (json!({"role": "assistant", "content": "24 months"}), Some("24 months")),
            (
                json!({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "24"}]}),
                Some("24"),
            ),
            (json!([1, 2]), Some("[1,2]")),
            (json!(null), None),
            (json!({}), None),
        ] {
            let mut expect = Expectation::default();
            expected(&mut expect, &Item::new("d.json", "", &value), &mut Notes::default());
            assert_eq!(expect.answer.as_deref(), answer, "{value}");
        }
    }
}
