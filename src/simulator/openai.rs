//! The wire protocol of OpenAI: chat completions, embeddings, models, errors.

pub(super) mod embeddings;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::dice::Dice;
use super::request::{Chat, Form, Refusal, Reply, Tokens, Tool, ToolChoice, Turn};

#[derive(Deserialize)]
struct ChatBody<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow, default)]
    tools: Option<Vec<ToolEntry<'a>>>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    response_format: Option<Value>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallEntry<'a>>>,
    #[serde(borrow, default)]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct CallEntry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ToolEntry<'a> {
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct TextOnly<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of a message: a string, or the text parts of a list.
pub(super) fn text_of<'a>(content: Option<&'a RawValue>, param: &str) -> Result<Cow<'a, str>, Refusal> {
    let Some(raw) = content else { return Ok(Cow::Borrowed("")) };
    let wrong =
        || Refusal::invalid(param, format!("Invalid type for '{param}': expected a string or a list of parts."));
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<TextOnly<'a>>(raw.get()).map(|text| text.0).map_err(|_| wrong()),
        Some(b'[') => {
            let parts: Vec<Part<'a>> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
            let texts: Vec<Cow<'a, str>> = parts.into_iter().filter_map(|part| part.text).collect();
            Ok(join(texts))
        }
        Some(b'n') => Ok(Cow::Borrowed("")),
        _ => Err(wrong()),
    }
}

/// Joins texts with line breaks.
pub(super) fn join(mut texts: Vec<Cow<'_, str>>) -> Cow<'_, str> {
    match texts.len() {
        0 => Cow::Borrowed(""),
        1 => texts.swap_remove(0),
        _ => Cow::Owned(texts.join("\n")),
    }
}

/// Reads the body of a chat completion.
pub(super) fn read_chat(body: &[u8]) -> Result<Chat<'_>, Refusal> {
    let body: ChatBody<'_> = serde_json::from_slice(body).map_err(|error| Refusal {
        status: 400,
        message: format!("We could not parse the JSON body of your request: {error}"),
        param: None,
        code: None,
    })?;
    let model = body.model.ok_or_else(|| Refusal::invalid("model", "you must provide a model parameter"))?;
    let messages = body.messages.filter(|messages| !messages.is_empty()).ok_or_else(|| {
        Refusal::invalid("messages", "Invalid 'messages': expected a list with at least one message.")
    })?;
    if body.n.is_some_and(|n| n != 1) {
        return Err(Refusal::invalid("n", "Invalid 'n': this server gives one answer; ask with n = 1."));
    }
    if body.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Err(Refusal::invalid("temperature", "Invalid 'temperature': expected a number from 0 to 2."));
    }
    let mut system = Vec::new();
    let mut turns = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let text = text_of(message.content, &format!("messages[{index}].content"))?;
        match message.role.as_ref() {
            "system" | "developer" => system.push(text),
            "user" => turns.push(Turn::User(text)),
            "assistant" => {
                let calls = message.tool_calls.unwrap_or_default().into_iter().map(|call| call.id).collect();
                turns.push(Turn::Assistant { text, calls });
            }
            "tool" => {
                let missing = || {
                    let param = format!("messages[{index}].tool_call_id");
                    Refusal::invalid(param.clone(), format!("Missing required parameter: '{param}'."))
                };
                turns.push(Turn::Tool { id: message.tool_call_id.ok_or_else(missing)?, content: text });
            }
            other => {
                let param = format!("messages[{index}].role");
                let message = format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'tool' and 'developer'."
                );
                return Err(Refusal::invalid(param, message));
            }
        }
    }
    let tools: Vec<Tool<'_>> = body
        .tools
        .unwrap_or_default()
        .into_iter()
        .map(|tool| Tool { name: tool.function.name, parameters: tool.function.parameters })
        .collect();
    let choice = read_choice(body.tool_choice.as_ref(), &tools)?;
    let chat = Chat {
        model,
        system: join(system),
        turns,
        tools,
        choice,
        parallel: body.parallel_tool_calls.unwrap_or(true),
        form: read_form(body.response_format)?,
        seed: body.seed,
        max_tokens: body.max_completion_tokens.or(body.max_tokens),
        stream: body.stream.unwrap_or(false),
        stream_usage: body.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
    };
    chat.check_calls().map_err(|(index, message)| {
        Refusal::invalid(format!("messages[{index}]"), format!("Invalid 'messages[{index}]': {message}."))
    })?;
    Ok(chat)
}

fn read_choice(choice: Option<&Value>, tools: &[Tool<'_>]) -> Result<ToolChoice, Refusal> {
    let wrong = |message: String| Err(Refusal::invalid("tool_choice", message));
    let read = match choice {
        None | Some(Value::Null) => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            other => {
                return wrong(format!(
                    "Invalid value: '{other}'. Supported values are: 'none', 'auto' and 'required'."
                ));
            }
        },
        Some(object) => match object["function"]["name"].as_str() {
            Some(name) => ToolChoice::Named(name.to_owned()),
            None => return wrong("Missing required parameter: 'tool_choice.function.name'.".to_owned()),
        },
    };
    match &read {
        _ if tools.is_empty() => wrong("'tool_choice' is only allowed when 'tools' are specified.".to_owned()),
        ToolChoice::Named(name) if tools.iter().all(|tool| tool.name != name.as_str()) => {
            wrong(format!("Tool choice '{name}' not found in 'tools' parameter."))
        }
        _ => Ok(read),
    }
}

fn read_form(format: Option<Value>) -> Result<Form, Refusal> {
    let Some(mut format) = format.filter(|format| !format.is_null()) else { return Ok(Form::Text) };
    match format["type"].as_str() {
        Some("text") => Ok(Form::Text),
        Some("json_object") => Ok(Form::JsonObject),
        Some("json_schema") => {
            if format["json_schema"]["name"].as_str().is_none() {
                let param = "response_format.json_schema.name";
                return Err(Refusal::invalid(param, format!("Missing required parameter: '{param}'.")));
            }
            if let schema @ Value::Object(_) = format["json_schema"]["schema"].take() {
                Ok(Form::Schema(schema))
            } else {
                let param = "response_format.json_schema.schema";
                Err(Refusal::invalid(param, format!("Missing required parameter: '{param}'.")))
            }
        }
        _ => Err(Refusal::invalid(
            "response_format.type",
            "Invalid 'response_format.type'. Supported values are: 'text', 'json_object' and 'json_schema'.",
        )),
    }
}

/// The creation time of every answer: a world has no clock.
const CREATED: u64 = 1_750_000_000;

fn call_id(dice: Dice, index: usize) -> String {
    format!("call_{:016x}{index:02}", dice.id())
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn finish_reason(reply: &Reply) -> &'static str {
    match reply {
        Reply { cut: true, .. } => "length",
        Reply { calls, .. } if !calls.is_empty() => "tool_calls",
        _ => "stop",
    }
}

/// The body of a chat completion. `dice` are those of the whole request.
pub(super) fn write_chat(model: &str, reply: &Reply, tokens: Tokens, dice: Dice) -> Vec<u8> {
    let content = if reply.text.is_empty() && !reply.calls.is_empty() { Value::Null } else { json!(reply.text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null, "annotations": []});
    if !reply.calls.is_empty() {
        message["tool_calls"] = reply
            .calls
            .iter()
            .enumerate()
            .map(|(index, call)| {
                json!({
                    "id": call_id(dice, index),
                    "type": "function",
                    "function": {"name": call.tool, "arguments": call.arguments.to_string()},
                })
            })
            .collect();
    }
    let body = json!({
        "id": format!("chatcmpl-{:016x}", dice.id()),
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(reply)}],
        "usage": usage(tokens),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    });
    body.to_string().into_bytes()
}

/// The events of a streamed chat completion.
pub(super) fn stream_chat(chat: &Chat<'_>, reply: &Reply, tokens: Tokens, dice: Dice) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{:016x}", dice.id()),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": chat.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
            "choices": choices,
        });
        if chat.stream_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), Value::Null)
    };
    let mut events = vec![delta(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null)];
    events.extend(pieces(&reply.text).map(|piece| delta(json!({"content": piece}), Value::Null)));
    for (index, call) in reply.calls.iter().enumerate() {
        let function = json!({"name": call.tool, "arguments": ""});
        let opening = json!([{"index": index, "id": call_id(dice, index), "type": "function", "function": function}]);
        events.push(delta(json!({"tool_calls": opening}), Value::Null));
        let arguments = call.arguments.to_string();
        events.extend(pieces(&arguments).map(|piece| {
            delta(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), Value::Null)
        }));
    }
    events.push(delta(json!({}), json!(finish_reason(reply))));
    if chat.stream_usage {
        events.push(chunk(json!([]), usage(tokens)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The maximum size of a piece of a streamed text, in bytes.
const PIECE: usize = 24;

/// Splits a text into the pieces of a stream.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(PIECE.min(rest.len())));
        rest = after;
        Some(piece)
    })
}

/// The list of models.
pub(super) fn write_models(models: &[String]) -> Vec<u8> {
    let data: Vec<Value> = models.iter().map(|id| model(id)).collect();
    json!({"object": "list", "data": data}).to_string().into_bytes()
}

/// One model.
pub(super) fn write_model(id: &str) -> Vec<u8> {
    model(id).to_string().into_bytes()
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "whetstone"})
}

/// The body of an error.
pub(super) fn write_error(refusal: &Refusal) -> Vec<u8> {
    let kind = match refusal.status {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let error = json!({"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code});
    json!({"error": error}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_text_is_the_whole_text_at_any_boundary() {
        let text = "Grüße aus Köln — your refund of 12,50 € is on its way. ".repeat(3);
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert!(pieces(&text).count() > 3);
    }

    #[test]
    fn an_unanswered_tool_call_is_refused_as_the_provider_would() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"user","content":"and?"}]}"#;
        let refusal = read_chat(body).unwrap_err();
        assert_eq!((refusal.status, refusal.param.as_deref()), (400, Some("messages[2]")));
    }
}
