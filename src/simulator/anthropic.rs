//! The wire protocol of Anthropic: messages, errors.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::dice::Dice;
use super::openai::{join, pieces, text_of};
use super::request::{Chat, Form, Refusal, Reply, ReplyCall, Tokens, Tool, ToolChoice, Turn};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    system: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(borrow, default)]
    tools: Option<Vec<ToolEntry<'a>>>,
    #[serde(default)]
    tool_choice: Option<Choice>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    seed: Option<Value>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolEntry<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    disable_parallel_tool_use: bool,
}

/// A request for a message, with the fields that only this protocol has.
pub(super) struct Request<'a> {
    /// The request.
    pub chat: Chat<'a>,
    /// The tool whose input is the answer: the structured output of this protocol.
    pub answer_tool: Option<String>,
    /// Whether a part of the request is marked for the prompt cache; otherwise nothing is cached.
    pub caches: bool,
}

/// Reads the body of a request for a message.
pub(super) fn read(bytes: &[u8]) -> Result<Request<'_>, Refusal> {
    let body: Body<'_> = serde_json::from_slice(bytes).map_err(|error| Refusal {
        status: 400,
        message: format!("The request body is not valid: {error}"),
        param: None,
        code: None,
    })?;
    let missing = |field: &str| Refusal::invalid(field, format!("{field}: Field required"));
    let model = body.model.ok_or_else(|| missing("model"))?;
    if body.max_tokens.is_none_or(|max| max == 0) {
        return Err(missing("max_tokens"));
    }
    if body.seed.is_some() {
        return Err(Refusal::invalid("seed", "seed: Extra inputs are not permitted"));
    }
    if body.temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
        return Err(Refusal::invalid("temperature", "temperature: Input should be from 0 to 1"));
    }
    if body.messages.is_empty() {
        return Err(Refusal::invalid("messages", "messages: at least one message is required"));
    }
    let mut turns = Vec::with_capacity(body.messages.len());
    for (index, message) in body.messages.into_iter().enumerate() {
        read_message(index, &message, &mut turns)?;
    }
    let tools: Vec<Tool<'_>> = body
        .tools
        .unwrap_or_default()
        .into_iter()
        .map(|tool| Tool { name: tool.name, parameters: tool.input_schema })
        .collect();
    let parallel = !body.tool_choice.as_ref().is_some_and(|choice| choice.disable_parallel_tool_use);
    let choice = read_choice(body.tool_choice, &tools)?;
    let mut chat = Chat {
        model,
        system: text_of(body.system, "system")?,
        turns,
        tools,
        choice,
        parallel,
        form: Form::Text,
        seed: None,
        max_tokens: body.max_tokens,
        stream: body.stream.unwrap_or(false),
        stream_usage: true,
    };
    chat.check_calls()
        .map_err(|(index, message)| Refusal::invalid("messages", format!("messages.{index}: {message}")))?;
    let answer_tool = take_answer_tool(&mut chat);
    Ok(Request { chat, answer_tool, caches: contains(bytes, b"\"cache_control\"") })
}

/// This protocol requests structured output with a single tool that must be called.
fn take_answer_tool(chat: &mut Chat<'_>) -> Option<String> {
    let ToolChoice::Named(name) = &chat.choice else { return None };
    let [only] = chat.tools.as_slice() else { return None };
    let schema = only.schema();
    let properties = &schema["properties"];
    (properties.get("scores").is_some() || properties.get("edits").is_some()).then(|| {
        chat.form = Form::Schema(schema.clone());
        name.clone()
    })
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn read_message<'a>(index: usize, message: &Message<'a>, turns: &mut Vec<Turn<'a>>) -> Result<(), Refusal> {
    let param = format!("messages.{index}");
    let blocks: Vec<Block<'a>> = if message.content.get().starts_with('[') {
        serde_json::from_str(message.content.get())
            .map_err(|error| Refusal::invalid(param.as_str(), format!("{param}.content: {error}")))?
    } else {
        let text = text_of(Some(message.content), &param)?;
        vec![Block { kind: "text".into(), text: Some(text), id: None, tool_use_id: None, content: None }]
    };
    let mut texts = Vec::new();
    let mut calls = Vec::new();
    let assistant = message.role == "assistant";
    if !assistant && message.role != "user" {
        let message = format!("{param}.role: Input should be 'user' or 'assistant'");
        return Err(Refusal::invalid(param, message));
    }
    for block in blocks {
        match (block.kind.as_ref(), assistant) {
            ("text", _) => texts.extend(block.text),
            ("tool_use", true) => calls.extend(block.id),
            ("tool_result", false) => {
                let id = block.tool_use_id.ok_or_else(|| {
                    Refusal::invalid(param.as_str(), format!("{param}.content: tool_result without tool_use_id"))
                })?;
                turns.push(Turn::Tool { id, content: text_of(block.content, &param)? });
            }
            (other, _) => {
                let message = format!("{param}.content: {other} blocks are not allowed in {} messages", message.role);
                return Err(Refusal::invalid(param, message));
            }
        }
    }
    if assistant {
        turns.push(Turn::Assistant { text: join(texts), calls });
    } else if !texts.is_empty() {
        turns.push(Turn::User(join(texts)));
    }
    Ok(())
}

fn read_choice(choice: Option<Choice>, tools: &[Tool<'_>]) -> Result<ToolChoice, Refusal> {
    let Some(choice) = choice else { return Ok(ToolChoice::Auto) };
    let wrong = |message: String| Err(Refusal::invalid("tool_choice", message));
    match (choice.kind.as_str(), choice.name) {
        ("auto", _) => Ok(ToolChoice::Auto),
        ("none", _) => Ok(ToolChoice::None),
        _ if tools.is_empty() => wrong("tool_choice: may only be specified while providing tools".to_owned()),
        ("any", _) => Ok(ToolChoice::Required),
        ("tool", Some(name)) if tools.iter().any(|tool| tool.name == name.as_str()) => Ok(ToolChoice::Named(name)),
        ("tool", Some(name)) => wrong(format!("tool_choice: tool '{name}' not found in provided tools")),
        ("tool", None) => wrong("tool_choice.name: Field required".to_owned()),
        (other, _) => wrong(format!("tool_choice.type: '{other}' should be 'auto', 'any', 'tool' or 'none'")),
    }
}

/// The reply in this protocol: a structured answer is the input of its tool.
fn blocks(request: &Request<'_>, reply: &Reply, dice: Dice) -> Vec<Value> {
    let answer = request.answer_tool.as_ref().and_then(|tool| {
        let arguments = serde_json::from_str(&reply.text).ok()?;
        Some(ReplyCall { tool: tool.clone(), arguments })
    });
    let mut blocks = Vec::new();
    if answer.is_none() && (!reply.text.is_empty() || reply.calls.is_empty()) {
        blocks.push(json!({"type": "text", "text": reply.text}));
    }
    for (index, call) in answer.iter().chain(&reply.calls).enumerate() {
        let id = format!("toolu_{:016x}{index:02}", dice.id());
        blocks.push(json!({"type": "tool_use", "id": id, "name": call.tool, "input": call.arguments}));
    }
    blocks
}

fn stop_reason(reply: &Reply, blocks: &[Value]) -> &'static str {
    if reply.cut {
        "max_tokens"
    } else if blocks.iter().any(|block| block["type"] == "tool_use") {
        "tool_use"
    } else {
        "end_turn"
    }
}

fn usage(request: &Request<'_>, tokens: Tokens) -> Value {
    let cached = if request.caches { tokens.cached } else { 0 };
    // Unlike in OpenAI's protocol, cached tokens are not part of `input_tokens`.
    json!({
        "input_tokens": tokens.input - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": tokens.output,
        "service_tier": "standard",
    })
}

/// The body of a message.
pub(super) fn write(request: &Request<'_>, reply: &Reply, tokens: Tokens, dice: Dice) -> Vec<u8> {
    let blocks = blocks(request, reply, dice);
    let stop = stop_reason(reply, &blocks);
    let body = json!({
        "id": format!("msg_{:016x}", dice.id()),
        "type": "message",
        "role": "assistant",
        "model": request.chat.model,
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage(request, tokens),
    });
    body.to_string().into_bytes()
}

/// The events of a streamed message.
pub(super) fn stream(request: &Request<'_>, reply: &Reply, tokens: Tokens, dice: Dice) -> Vec<String> {
    let event = |body: Value| format!("event: {}\ndata: {body}\n\n", body["type"].as_str().unwrap_or_default());
    let blocks = blocks(request, reply, dice);
    let mut opening = usage(request, tokens);
    opening["output_tokens"] = json!(1);
    let mut events = vec![event(json!({"type": "message_start", "message": {
        "id": format!("msg_{:016x}", dice.id()), "type": "message", "role": "assistant", "model": request.chat.model,
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": opening,
    }}))];
    for (index, block) in blocks.iter().enumerate() {
        let (empty, deltas): (Value, Vec<Value>) = if block["type"] == "text" {
            let text = block["text"].as_str().unwrap_or_default();
            let deltas = pieces(text).map(|piece| json!({"type": "text_delta", "text": piece})).collect();
            (json!({"type": "text", "text": ""}), deltas)
        } else {
            let input = block["input"].to_string();
            let deltas =
                pieces(&input).map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect();
            (json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}), deltas)
        };
        events.push(event(json!({"type": "content_block_start", "index": index, "content_block": empty})));
        for delta in deltas {
            events.push(event(json!({"type": "content_block_delta", "index": index, "delta": delta})));
        }
        events.push(event(json!({"type": "content_block_stop", "index": index})));
    }
    let delta = json!({"stop_reason": stop_reason(reply, &blocks), "stop_sequence": null});
    let usage = json!({"output_tokens": tokens.output});
    events.push(event(json!({"type": "message_delta", "delta": delta, "usage": usage})));
    events.push(event(json!({"type": "message_stop"})));
    events
}

/// The body of an error.
pub(super) fn write_error(refusal: &Refusal) -> Vec<u8> {
    let kind = match refusal.status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": "req_simulated"})
        .to_string()
        .into_bytes()
}
