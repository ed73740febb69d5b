//! Chat messages in the formats of the tools: OpenAI's, Inspect's and tau2's.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::Notes;
use super::error::ImportError;
use super::read::Item;
use whetstone_domain::scenario::ScriptedTurn;
use whetstone_domain::tool::ToolCall;
use whetstone_domain::transcript::{Message, Opaque};

/// A parsed conversation.
pub(super) struct Conversation {
    /// The system messages, joined.
    pub system: Option<String>,
    /// The other messages. The ids of the calls are unique.
    pub messages: Vec<Message>,
}

/// Reads messages. A tool has failed if its message has `error`, or if `failed` returns true for its content.
pub(super) fn conversation(
    items: &[Item],
    failed: impl Fn(&str) -> bool,
    notes: &mut Notes,
) -> Result<Conversation, ImportError> {
    let mut read = Conversation { system: None, messages: Vec::new() };
    let mut calls = OpenCalls::default();
    for item in items {
        let role = item.need("role")?;
        match role.text()? {
            "system" | "developer" => {
                let text = content(item, notes)?;
                super::scenario::append(&mut read.system, &text);
            }
            "user" => read.messages.push(Message::User { text: content(item, notes)? }),
            "assistant" => {
                let text = content(item, notes)?;
                let calls = calls.open(tool_calls(item)?);
                if !text.is_empty() || !calls.is_empty() {
                    read.messages.push(Message::Assistant { text, calls, opaque: Opaque::default() });
                }
            }
            "tool" | "function" => {
                let content = content(item, notes)?;
                let says_so = item.get("error").is_some_and(|error| error.value != &Value::Bool(false));
                let failed = says_so || failed(&content);
                let content = if content.is_empty() { error_message(item) } else { content };
                let (id, name) = calls.answer(item)?;
                read.messages.push(Message::Tool { id, name: name.into(), content, failed });
            }
            other => {
                return Err(role.error(format!("is {other:?}"), "make it system, developer, user, assistant or tool"));
            }
        }
    }
    Ok(read)
}

fn error_message(item: &Item) -> String {
    let message = item.get("error").and_then(|error| error.get("message"));
    message.and_then(|message| message.scalar().ok()).unwrap_or_default()
}

/// The text of a message; other parts are left out.
pub(super) fn content(item: &Item, notes: &mut Notes) -> Result<String, ImportError> {
    let Some(content) = item.get("content") else { return Ok(String::new()) };
    if !content.value.is_array() && !content.value.is_object() {
        return content.scalar();
    }
    let mut texts = Vec::new();
    for part in content.one_or_many() {
        match (part.value, part.get("text")) {
            (Value::String(text), _) => texts.push(text.clone()),
            (_, Some(text)) => texts.push(text.scalar()?),
            _ => match part.get("type").map(|kind| kind.scalar()).transpose()?.as_deref() {
                // Reasoning is not part of the message.
                Some("reasoning" | "thinking") => {}
                kind => notes.add(
                    part.place(),
                    format!("content of type `{}`", kind.unwrap_or("unknown")),
                    "only text is supported; this part was left out",
                ),
            },
        }
    }
    Ok(texts.join("\n"))
}

fn tool_calls(item: &Item) -> Result<Vec<ToolCall>, ImportError> {
    if let Some(call) = item.get("function_call") {
        return Ok(vec![tool_call(&call, String::new())?]);
    }
    let calls = item.list_or_empty("tool_calls")?;
    calls.iter().map(|call| tool_call(call, call.get("id").map_or(Ok(String::new()), |id| id.scalar())?)).collect()
}

fn tool_call(item: &Item, id: String) -> Result<ToolCall, ImportError> {
    // OpenAI nests name and arguments in `function`; Inspect has the name there; tau2 has both at the top.
    let (name, holder) = match item.get("function") {
        Some(function) if function.value.is_object() => (function.need("name")?, function),
        Some(function) => (function, item.clone()),
        None => (item.need("name")?, item.clone()),
    };
    let arguments = match holder.get("arguments").map(|arguments| arguments.value.clone()) {
        None => Value::Object(serde_json::Map::new()),
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            _ if text.trim().is_empty() => Value::Object(serde_json::Map::new()),
            _ => Value::String(text),
        },
        Some(Value::Object(arguments)) => Value::Object(arguments),
        Some(other) => Value::String(other.to_string()),
    };
    Ok(ToolCall { id, name: name.text()?.into(), arguments })
}

/// Matches answers with the calls of a conversation. Recorded ids may repeat (gpt-4o's do in tau-bench) or be missing, and the
/// answers of calls must not be confused: such calls get unique ids.
#[derive(Default)]
struct OpenCalls {
    taken: HashSet<String>,
    /// By the id in the source: the calls without an answer, oldest first.
    waiting: HashMap<String, Vec<(String, String)>>,
}

impl OpenCalls {
    fn open(&mut self, calls: Vec<ToolCall>) -> Vec<ToolCall> {
        let opened = calls.into_iter().map(|mut call| {
            let source = std::mem::take(&mut call.id);
            let base = if source.is_empty() { "call" } else { source.as_str() };
            base.clone_into(&mut call.id);
            let mut number = 2;
            while !self.taken.insert(call.id.clone()) {
                call.id = format!("{base}-{number}");
                number += 1;
            }
            let waiting = self.waiting.entry(source).or_default();
            waiting.push((call.id.clone(), call.name.as_str().to_owned()));
            call
        });
        opened.collect()
    }

    /// The id and tool of the call that a message answers.
    fn answer(&mut self, item: &Item) -> Result<(String, String), ImportError> {
        let id = ["tool_call_id", "id"].iter().find_map(|key| item.get(key));
        let id = id.map(|id| id.scalar()).transpose()?.unwrap_or_default();
        let name = ["name", "function"].iter().find_map(|key| item.get(key));
        let name = name.map(|name| name.scalar()).transpose()?;
        if let Some(waiting) = self.waiting.get_mut(&id).filter(|waiting| !waiting.is_empty()) {
            // Without an id, an answer belongs to the oldest call of its tool.
            let named = waiting.iter().position(|(_, tool)| Some(tool) == name.as_ref());
            return Ok(waiting.remove(named.unwrap_or(0)));
        }
        match name {
            Some(name) => Ok((id, name)),
            None => Err(item.error(
                "answers no tool call before it, and does not name its tool",
                "add the assistant message with the call, or \"name\"",
            )),
        }
    }
}

/// The turns of a scripted conversation. Tool calls and their answers cannot be scripted.
pub(super) fn scripted(messages: Vec<Message>, place: &str, notes: &mut Notes) -> Vec<ScriptedTurn> {
    let mut turns = Vec::new();
    let mut tools = false;
    for message in messages {
        match message {
            Message::User { text } => turns.push(ScriptedTurn { user: Some(text), assistant: None }),
            Message::Assistant { text, calls, .. } => {
                tools |= !calls.is_empty();
                if !text.is_empty() {
                    turns.push(ScriptedTurn { user: None, assistant: Some(text) });
                }
            }
            Message::Tool { .. } => tools = true,
        }
    }
    if tools {
        notes.add(
            place,
            "tool calls in the input",
            "a scripted conversation contains only user and assistant messages; the calls and answers were left out",
        );
    }
    turns
}
