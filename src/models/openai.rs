//! The OpenAI protocol: chat completions and embeddings.
//!
//! Spoken by OpenAI, vLLM, Ollama, LiteLLM and most gateways, each with its own idea of what may be left out. What is
//! sent is what all of them take; what is read is whatever they are known to send.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::attempt::Unusable;
use super::{EMPTY_OBJECT, merged};
use crate::domain::call::{ChatAnswer, ChatRequest, EmbedRequest, Embeddings, Finish};
use crate::domain::money::Usage;
use crate::domain::tool::{ToolCall, ToolDefinition};
use crate::domain::transcript::Message;

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
    User {
        content: &'a str,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
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
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    strict: bool,
    schema: &'a Value,
}

/// The body of a chat request. `is_openai` tells OpenAI itself, which wants `max_completion_tokens`, from all others,
/// which know `max_tokens`.
pub(super) fn chat_body(model: &str, request: &ChatRequest, seed: bool, is_openai: bool) -> Vec<u8> {
    let parameters = &*request.parameters;
    let system = (!request.system.is_empty()).then_some(WireMessage::System { content: &request.system });
    let body = Chat {
        model,
        messages: system.into_iter().chain(request.messages.iter().map(wire_message)).collect(),
        tools: request.tools.iter().map(wire_tool).collect(),
        response_format: request.answer_schema.as_deref().map(|schema| ResponseFormat {
            r#type: "json_schema",
            json_schema: JsonSchema { name: &schema.name, strict: true, schema: &schema.schema },
        }),
        temperature: parameters.temperature,
        top_p: parameters.top_p,
        max_tokens: parameters.max_output_tokens.filter(|_| !is_openai),
        max_completion_tokens: parameters.max_output_tokens.filter(|_| is_openai),
        seed: seed.then_some(request.repeat),
    };
    merged(&body, parameters.extra.as_ref())
}

fn wire_message(message: &Message) -> WireMessage<'_> {
    match message {
        Message::User { text } => WireMessage::User { content: text },
        Message::Assistant { text, calls } => WireMessage::Assistant {
            content: (!text.is_empty() || calls.is_empty()).then_some(text),
            tool_calls: calls.iter().map(wire_call).collect(),
        },
        Message::Tool { id, content, .. } => WireMessage::Tool { tool_call_id: id, content },
    }
}

fn wire_call(call: &ToolCall) -> WireCall<'_> {
    let arguments = match &call.arguments {
        Value::String(raw) => Cow::Borrowed(raw.as_str()),
        arguments => Cow::Owned(arguments.to_string()),
    };
    WireCall { id: &call.id, r#type: "function", function: CalledFunction { name: call.name.as_str(), arguments } }
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

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Answered<'a>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<AskedCall<'a>>>,
}

#[derive(Deserialize)]
struct AskedCall<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: AskedFunction<'a>,
}

#[derive(Deserialize)]
struct AskedFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl WireUsage {
    fn read(usage: Option<Self>) -> Result<Usage, Unusable> {
        let unusable = || Unusable::Malformed("it says nothing of the tokens used (usage)".to_owned());
        let usage = usage.ok_or_else(unusable)?;
        Ok(Usage {
            input: usage.prompt_tokens.ok_or_else(unusable)?,
            cached_input: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
            output: usage.completion_tokens.unwrap_or(0),
        })
    }
}

/// Reads the answer to a chat request.
pub(super) fn read_chat(body: &[u8]) -> Result<ChatAnswer, Unusable> {
    let completion: Completion = serde_json::from_slice(body)?;
    let Some(Choice { message, finish_reason }) = completion.choices.into_iter().next() else {
        return Err(Unusable::Malformed("it has no answer in it (choices is empty)".to_owned()));
    };
    let mut finish = match finish_reason.as_deref() {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Refused,
        _ => Finish::Stop,
    };
    let mut text = message.content.map(Cow::into_owned).unwrap_or_default();
    if let Some(refusal) = message.refusal.filter(|refusal| !refusal.is_empty()) {
        finish = Finish::Refused;
        if text.is_empty() {
            text = refusal.into_owned();
        }
    }
    let calls: Vec<ToolCall> =
        message.tool_calls.into_iter().flatten().enumerate().map(|(index, call)| asked(index, call)).collect();
    let usage = WireUsage::read(completion.usage)?;
    super::complete(ChatAnswer { text, calls, finish, usage })
}

fn asked(index: usize, call: AskedCall<'_>) -> ToolCall {
    // Ollama once sent arguments as an object; some servers send no ids.
    let arguments = match call.function.arguments {
        Value::String(raw) => match serde_json::from_str(&raw) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            _ if raw.trim().is_empty() => Value::Object(Map::new()),
            _ => Value::String(raw),
        },
        Value::Object(arguments) => Value::Object(arguments),
        Value::Null => Value::Object(Map::new()),
        other => Value::String(other.to_string()),
    };
    let id = call.id.filter(|id| !id.is_empty());
    ToolCall {
        id: id.map_or_else(|| format!("call_{index}"), Cow::into_owned),
        name: call.function.name.as_ref().into(),
        arguments,
    }
}

#[derive(Serialize)]
struct Embed<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
}

/// The body of an embedding request. OpenAI itself is asked for base64, half as long; not every other server knows it.
pub(super) fn embed_body(model: &str, request: &EmbedRequest, is_openai: bool) -> Vec<u8> {
    let encoding_format = if is_openai { "base64" } else { "float" };
    merged(&Embed { model, input: &request.texts, encoding_format }, None)
}

#[derive(Deserialize)]
struct EmbeddingList {
    #[serde(default)]
    data: Vec<Embedded>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Embedded {
    index: Option<usize>,
    #[serde(deserialize_with = "vector")]
    embedding: Vec<f32>,
}

/// A vector as numbers, or as base64 of little-endian `f32`s. Not an untagged enum: that would hold each number twice.
fn vector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    struct Numbers;

    impl<'de> Visitor<'de> for Numbers {
        type Value = Vec<f32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("numbers, or base64 of them")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Self::Value, A::Error> {
            let mut vector = Vec::with_capacity(1536);
            while let Some(number) = numbers.next_element()? {
                vector.push(number);
            }
            Ok(vector)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let bytes = STANDARD.decode(text).map_err(E::custom)?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            if rest.is_empty() {
                Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            } else {
                Err(E::custom("base64 of a number that is cut off"))
            }
        }
    }

    deserializer.deserialize_any(Numbers)
}

/// Reads the answer to an embedding request of `texts` texts.
pub(super) fn read_embeddings(body: &[u8], texts: usize) -> Result<Embeddings, Unusable> {
    let list: EmbeddingList = serde_json::from_slice(body)?;
    let malformed = |why: String| Err(Unusable::Malformed(why));
    if list.data.len() != texts {
        return malformed(format!("it has {} vectors for {texts} texts", list.data.len()));
    }
    let mut vectors = vec![Vec::new(); texts];
    for (position, embedded) in list.data.into_iter().enumerate() {
        match vectors.get_mut(embedded.index.unwrap_or(position)) {
            Some(vector) if vector.is_empty() => *vector = embedded.embedding,
            _ => return malformed("the indices of its vectors do not match the texts".to_owned()),
        }
    }
    let length = vectors.first().map_or(0, Vec::len);
    if vectors.iter().any(|vector| vector.is_empty() || vector.len() != length) {
        return malformed("its vectors are empty or of different lengths".to_owned());
    }
    if vectors.iter().flatten().any(|number| !number.is_finite()) {
        return malformed("its vectors have something in them that is no number".to_owned());
    }
    Ok(Embeddings { vectors, usage: WireUsage::read(list.usage)? })
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
        let body = sent(&chat_body("gpt-4o-mini", &samples::conversation(), true, false));
        insta::assert_json_snapshot!(body);
    }

    #[test]
    fn structured_output_is_a_strict_schema() {
        let body = sent(&chat_body("judge", &samples::structured(), false, false));
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
        let body = sent(&chat_body("o3", &samples::conversation(), false, true));
        assert_eq!((&body["max_completion_tokens"], body.get("max_tokens")), (&json!(500), None));
    }

    #[test]
    fn extra_fields_are_sent_as_they_are_and_win() {
        let body =
            sent(&chat_body("m", &samples::with_extra(json!({"reasoning_effort": "low", "seed": 9})), true, false));
        assert_eq!((&body["reasoning_effort"], &body["seed"]), (&json!("low"), &json!(9)));
    }

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

    #[test]
    fn an_answer_is_read_with_its_usage() {
        let body = completion(&json!({"role": "assistant", "content": "Fünf \"Tage\"", "refusal": null}), "stop");
        assert_eq!(
            read_chat(&body),
            Ok(ChatAnswer {
                text: "Fünf \"Tage\"".to_owned(),
                calls: vec![],
                finish: Finish::Stop,
                usage: Usage { input: 100, cached_input: 64, output: 20 },
            })
        );
    }

    #[test]
    fn tool_calls_are_read_and_broken_arguments_are_kept_as_they_are() {
        let call = |id: Value, arguments: Value| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}});
        let body = completion(
            &json!({"role": "assistant", "content": null, "tool_calls": [
                call(json!("a"), json!("{\"q\": 1}")),
                call(json!("b"), json!("{\"q\": ")),
                call(json!("c"), json!("[1]")),
                call(json!(""), json!({"q": 2})),
                call(json!(null), json!("")),
            ]}),
            "tool_calls",
        );
        let calls: Vec<(String, Value)> =
            read_chat(&body).unwrap().calls.into_iter().map(|call| (call.id, call.arguments)).collect();
        let expected = [
            ("a", json!({"q": 1})),
            ("b", json!("{\"q\": ")),
            ("c", json!("[1]")),
            ("call_3", json!({"q": 2})),
            ("call_4", json!({})),
        ];
        assert_eq!(calls, expected.map(|(id, arguments)| (id.to_owned(), arguments)));
    }

    #[test]
    fn a_refusal_is_the_answer_and_says_that_it_is_one() {
        let body = completion(&json!({"role": "assistant", "content": null, "refusal": "I cannot"}), "stop");
        let answer = read_chat(&body).unwrap();
        assert_eq!((answer.text.as_str(), answer.finish), ("I cannot", Finish::Refused));
    }

    #[test]
    fn vectors_are_read_as_numbers_and_as_base64_and_put_in_order() {
        let base64 = STANDARD.encode([0.5f32, -1.0].map(f32::to_le_bytes).concat());
        let body = json!({
            "object": "list",
            "data": [{"index": 1, "embedding": base64}, {"index": 0, "embedding": [1, 0.25]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        });
        let embeddings = read_embeddings(body.to_string().as_bytes(), 2).unwrap();
        assert_eq!(embeddings.vectors, [[1.0, 0.25], [0.5, -1.0]]);
        assert_eq!(embeddings.usage, Usage { input: 8, cached_input: 0, output: 0 });
    }

    #[test]
    fn vectors_that_do_not_match_the_texts_are_refused() {
        let usage = json!({"prompt_tokens": 1});
        for data in [
            json!([{"index": 0, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]),
            json!([{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]),
            json!([{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": [1.0]}]),
            json!([{"index": 0, "embedding": [1e300]}, {"index": 1, "embedding": [1.0]}]),
        ] {
            let body = json!({"data": data, "usage": usage}).to_string();
            assert!(matches!(read_embeddings(body.as_bytes(), 2), Err(Unusable::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn embeddings_are_asked_for_in_a_form_that_the_server_knows() {
        let request = EmbedRequest { texts: vec!["a".to_owned()] };
        let body = sent(&embed_body("e", &request, false));
        assert_eq!(body, json!({"model": "e", "input": ["a"], "encoding_format": "float"}));
        assert_eq!(sent(&embed_body("e", &request, true))["encoding_format"], "base64");
    }
}
