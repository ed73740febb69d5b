//! Paid calls: the request to a model, its answer, and the key of both in the ledger.

use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hash::ContentHash;
use super::money::Usage;
use super::tool::{ToolCall, ToolDefinition};
use super::transcript::{Message, Opaque};

/// Sampling parameters. Absent ones default to those of the provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Sampling temperature: a number from 0 to 2, or `omit` for a model that does not accept one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "temperature_schema")]
    pub temperature: Option<Temperature>,
    /// Nucleus sampling: the share of the probability mass to sample from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// The most tokens that one answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// Further fields of the request body, passed on as they are (for example `reasoning_effort`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub extra: Option<Map<String, Value>>,
}

impl Parameters {
    /// These parameters as they are sent: without a temperature if it is to be omitted.
    #[must_use]
    pub fn sent(mut self) -> Self {
        self.temperature = self.temperature.filter(|temperature| *temperature != Temperature::Omit);
        self
    }

    /// These parameters with a default temperature, which is sent unless the model rejects it.
    #[must_use]
    pub fn preferring(mut self, temperature: f64) -> Self {
        self.temperature.get_or_insert(Temperature::Preferred(temperature));
        self.sent()
    }
}

/// A sampling temperature. Written as a number, or as `omit`.
#[derive(Clone, PartialEq)]
pub enum Temperature {
    /// This one.
    Value(f64),
    /// A default, which is omitted if the model rejects it. In keys it counts like a set temperature.
    Preferred(f64),
    /// None: the model accepts no temperature, or only its own.
    Omit,
    /// Neither a number nor `omit`. No plan has it: resolving rejects it, but a watch continues.
    Unknown(Value),
}

/// Part of the identity of a cycle, in the form of the time when only numbers were supported.
impl fmt::Debug for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) | Self::Preferred(value) => value.fmt(f),
            Self::Omit => f.write_str(OMIT),
            Self::Unknown(value) => value.fmt(f),
        }
    }
}

impl Serialize for Temperature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) | Self::Preferred(value) => serializer.serialize_f64(*value),
            Self::Omit => serializer.serialize_str(OMIT),
            Self::Unknown(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Temperature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(match (value.as_f64(), value.as_str()) {
            (Some(number), _) => Self::Value(number),
            (None, Some(OMIT)) => Self::Omit,
            _ => Self::Unknown(value),
        })
    }
}

/// The word for no temperature.
const OMIT: &str = "omit";

/// A structural schema cannot express "a number or a word", so it has only bounds, each of which applies to its type of value.
fn temperature_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "minimum": 0.0,
        "maximum": 2.0,
        "minLength": OMIT.len(),
        "maxLength": OMIT.len(),
        "examples": [OMIT],
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// The JSON Schema that an answer must satisfy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerSchema {
    /// A short name, as providers ask for one.
    pub name: String,
    /// The schema, of type object.
    pub schema: Value,
}

/// A request to a chat model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatRequest {
    /// The system message.
    pub system: Arc<str>,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Arc<[ToolDefinition]>,
    /// The required form of the answer; free text if absent.
    pub answer_schema: Option<Arc<AnswerSchema>>,
    /// Sampling parameters.
    pub parameters: Arc<Parameters>,
    /// Which of several independent samples of the same request this is, from 0. A provider that
    /// takes a `seed` gets it as one.
    pub repeat: u32,
}

/// A request to an embedding model: one vector for each text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmbedRequest {
    /// The texts.
    pub texts: Vec<String>,
    /// Further fields of the request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

impl From<Vec<String>> for EmbedRequest {
    fn from(texts: Vec<String>) -> Self {
        Self { texts, extra: None }
    }
}

/// Why a chat model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finish {
    /// It was done. In older entries without [`Finish::ToolCalls`] also: it waits for the results of its tool calls.
    Stop,
    /// It waits for the results of its tool calls.
    ToolCalls,
    /// It reached the token limit; the answer is truncated.
    Length,
    /// The provider's content filter stopped it.
    ContentFilter,
    /// The model itself refused. In older entries without [`Finish::ContentFilter`] also: the content filter stopped it.
    #[serde(rename = "refused")]
    Refusal,
    /// Another reason, which the protocol does not name.
    Other,
}

/// The answer of a chat model: text, tool calls, or both. An answer with neither is valid; [`ChatAnswer::finish`] has the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatAnswer {
    /// The text; empty if there are only tool calls or no content at all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The tool calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Parts that are returned unchanged with the next request of the conversation.
    #[serde(default, skip_serializing_if = "Opaque::is_empty")]
    pub opaque: Opaque,
    /// Why it stopped.
    pub finish: Finish,
    /// The tokens, as counted by the provider.
    pub usage: Usage,
    /// Whether the provider did not count all tokens, so that [`ChatAnswer::usage`] is an estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl ChatAnswer {
    /// A text answer without tokens.
    pub fn said(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            calls: Vec::new(),
            opaque: Opaque::default(),
            finish: Finish::Stop,
            usage: Usage::default(),
            estimated: false,
        }
    }
}

/// The answer of an embedding model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// One vector for each text, in the order of the request, all of the same length.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens, as counted by the provider.
    pub usage: Usage,
    /// Whether the provider did not count the tokens, so that [`Embeddings::usage`] is an estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// The model that a call goes to. Together with the request it determines the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelIdentity {
    /// The wire protocol: `openai` or `anthropic`.
    pub provider: String,
    /// The base URL, without credentials.
    pub endpoint: String,
    /// The provider's name for the model.
    pub model: String,
}

/// The version of the key format below. A change of any field or its encoding must raise it; old entries are then not found
/// anymore.
const KEY_VERSION: u32 = 1;

/// The key of a call in the ledger: a hash of everything that determines its answer.
///
/// The hash is BLAKE3 over canonical JSON (sorted keys, no white space) of one object:
///
/// | field | content |
/// |---|---|
/// | `v` | the version of this format, 1 |
/// | `kind` | `chat` or `embed` |
/// | `provider`, `endpoint`, `model` | [`ModelIdentity`] |
/// | `request` | for chat: `system`, `messages`, `tools`, `answerSchema`, `parameters`, `repeat` of [`ChatRequest`]; for embed: `texts`, and `extra` where there is any |
///
/// Keys, prices, time-outs, limits, and what the call is for are not part of it: they do not change the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallKey(pub ContentHash);

#[derive(Serialize)]
struct KeyContent<'a, R> {
    v: u32,
    kind: &'static str,
    #[serde(flatten)]
    to: &'a ModelIdentity,
    request: &'a R,
}

impl CallKey {
    /// The key of a chat call.
    #[must_use]
    pub fn chat(to: &ModelIdentity, request: &ChatRequest) -> Self {
        Self(ContentHash::of_json(&KeyContent { v: KEY_VERSION, kind: "chat", to, request }))
    }

    /// The key of an embedding call.
    #[must_use]
    pub fn embed(to: &ModelIdentity, request: &EmbedRequest) -> Self {
        Self(ContentHash::of_json(&KeyContent { v: KEY_VERSION, kind: "embed", to, request }))
    }
}

/// A paid answer with no usable content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unusable {
    /// What is wrong with it.
    pub why: String,
    /// The tokens, as counted by the provider.
    pub usage: Usage,
}

/// An answer as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Of a chat model.
    Chat(ChatAnswer),
    /// Of an embedding model.
    Embeddings(Embeddings),
    /// Of either, with no usable content. It is counted, but never found again.
    Unusable(Unusable),
}

impl Answer {
    /// The tokens that it took.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::Chat(answer) => answer.usage,
            Self::Embeddings(answer) => answer.usage,
            Self::Unusable(answer) => answer.usage,
        }
    }

    /// Whether the tokens are an estimate, because the provider did not count them.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        match self {
            Self::Chat(answer) => answer.estimated,
            Self::Embeddings(answer) => answer.estimated,
            Self::Unusable(_) => false,
        }
    }
}

/// The phases of the loop, in order. Calls, time and cost are counted by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Running the agent.
    Run,
    /// Scoring its runs.
    Score,
    /// Grouping the failures.
    Cluster,
    /// Writing candidate prompts.
    Patch,
    /// Testing the candidates.
    Validate,
    /// Comparing champion and challenger on held-out scenarios.
    Shadow,
    /// Deciding on the evidence.
    Gate,
    /// Writing the result.
    Apply,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 8] =
        [Self::Run, Self::Score, Self::Cluster, Self::Patch, Self::Validate, Self::Shadow, Self::Gate, Self::Apply];

    /// The name in reports, spans and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Score => "score",
            Self::Cluster => "cluster",
            Self::Patch => "patch",
            Self::Validate => "validate",
            Self::Shadow => "shadow",
            Self::Gate => "gate",
            Self::Apply => "apply",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The purpose of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// A turn of the agent.
    Agent,
    /// A turn of the simulated user.
    User,
    /// A verdict of the judge.
    Judge,
    /// Embeddings of failures.
    Embed,
    /// A proposal for a patch.
    Patch,
}

impl Purpose {
    /// The name in the store, reports and spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Judge => "judge",
            Self::Embed => "embed",
            Self::Patch => "patch",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::ToolName;
    use crate::transcript::OpaqueParts;

    fn identity() -> ModelIdentity {
        ModelIdentity {
            provider: "openai".into(),
            endpoint: "http://litellm.llm:4000/v1".into(),
            model: "gpt-4o-mini".into(),
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value} is no object") };
        map
    }

    /// A request with every field set.
    fn request() -> ChatRequest {
        let call =
            ToolCall { id: "call_1".into(), name: "search".into(), arguments: json!({"query": "refund", "top": 3}) };
        let tool = ToolDefinition {
            name: "search".into(),
            description: Some("Searches the knowledge base.".into()),
            parameters: Some(object(json!({"type": "object", "properties": {"query": {"type": "string"}}}))),
        };
        ChatRequest {
            system: "Be brief.".into(),
            messages: vec![
                Message::User { text: "I want my money back.".into() },
                Message::Assistant { text: "One moment.".into(), calls: vec![call], opaque: Opaque::default() },
                Message::Tool { id: "call_1".into(), name: "search".into(), content: "nothing".into(), failed: true },
            ],
            tools: [tool].into(),
            answer_schema: Some(Arc::new(AnswerSchema { name: "verdict".into(), schema: json!({"type": "object"}) })),
            parameters: Arc::new(Parameters {
                temperature: Some(Temperature::Value(0.2)),
                top_p: Some(0.9),
                max_output_tokens: Some(512),
                extra: Some(object(json!({"reasoning_effort": "low"}))),
            }),
            repeat: 2,
        }
    }

    #[test]
    fn a_temperature_is_a_number_or_the_word_omit() {
        for (written, temperature) in [
            (json!(0), Temperature::Value(0.0)),
            (json!(0.7), Temperature::Value(0.7)),
            (json!("omit"), Temperature::Omit),
            (json!("none"), Temperature::Unknown(json!("none"))),
            (json!(true), Temperature::Unknown(json!(true))),
            (json!({"a": 1}), Temperature::Unknown(json!({"a": 1}))),
        ] {
            let read: Temperature = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(read, temperature, "{written}");
            assert_eq!(serde_json::to_value(&read).unwrap().as_f64(), written.as_f64());
        }
    }

    /// The key of a judge without parameters never changes.
    #[test]
    fn a_preferred_temperature_counts_as_one_that_is_written() {
        let written = |temperature| Parameters { temperature, ..Parameters::default() };
        let key = |parameters: Parameters| {
            CallKey::chat(&identity(), &ChatRequest { parameters: Arc::new(parameters), ..request() })
        };
        let preferred = written(None).preferring(0.0);
        assert_eq!(preferred.temperature, Some(Temperature::Preferred(0.0)));
        assert_eq!(key(preferred), key(written(Some(Temperature::Value(0.0)))));
        assert_eq!(written(Some(Temperature::Value(1.0))).preferring(0.0).temperature, Some(Temperature::Value(1.0)));
        assert_eq!(written(Some(Temperature::Omit)).preferring(0.0).temperature, None);
    }

    /// Entries from before answers had more fields are still valid.
    #[test]
    fn answers_of_earlier_ledgers_are_read() {
        for (written, finish) in [
            (r#"{"chat":{"text":"hi","finish":"stop","usage":{"input":3,"output":1}}}"#, Finish::Stop),
            (r#"{"chat":{"text":"hi","finish":"length","usage":{"input":3,"output":1}}}"#, Finish::Length),
            (r#"{"chat":{"text":"no","finish":"refused","usage":{"input":3,"output":1}}}"#, Finish::Refusal),
        ] {
            let answer: Answer = serde_json::from_str(written).unwrap();
            assert!(matches!(&answer, Answer::Chat(chat) if chat.finish == finish), "{written}");
            assert!(!answer.is_estimated());
            assert_eq!(serde_json::to_string(&answer).unwrap(), written, "and written as they were");
        }
        let embedded = r#"{"embeddings":{"vectors":[[0.5]],"usage":{"input":3,"output":0}}}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Answer>(embedded).unwrap()).unwrap(), embedded);
    }

    /// What is returned to a provider is part of the request, and absent from the keys of conversations without it.
    #[test]
    fn opaque_parts_count_in_the_key_where_there_are_some() {
        let with = |opaque: Opaque| {
            let mut request = request();
            if let Message::Assistant { opaque: own, .. } = &mut request.messages[1] {
                *own = opaque;
            }
            CallKey::chat(&identity(), &request)
        };
        let signed = |signature: &str| {
            let block = json!({"type": "thinking", "thinking": "hm", "signature": signature});
            Opaque::from(OpaqueParts { blocks: vec![block], ..OpaqueParts::default() })
        };
        assert_eq!(with(Opaque::default()), CallKey::chat(&identity(), &request()));
        assert_eq!(with(OpaqueParts::default().into()), CallKey::chat(&identity(), &request()));
        assert_ne!(with(signed("a")), with(Opaque::default()));
        assert_ne!(with(signed("a")), with(signed("b")));
        assert_eq!(with(signed("a")).0.to_string(), "fe58a5485171e37d62452d67a957544faa63279391286246f7e3f05bf8a3c4fc");
    }

    /// All existing ledgers depend on these keys: after a change, everything is paid again. If a change is intended, raise
    /// `KEY_VERSION` too.
    #[test]
    fn the_key_of_a_call_never_changes() {
        let chat = CallKey::chat(&identity(), &request());
        assert_eq!(chat.0.to_string(), "a74e4bf8da2eed7d7549c9fda6d047a696fe99a33f7c8650601f9a77407860a7");
        let embed = CallKey::embed(&identity(), &vec!["refund".to_owned(), "späte Lieferung".to_owned()].into());
        assert_eq!(embed.0.to_string(), "3a71f6440bababeedf9a0116275aabd2c14d10a541fffc2a4a85dc2bc56006eb");
    }

    /// Everything that is hashed: no price, no time-out, no limit, no API key, no purpose.
    #[test]
    fn a_key_has_what_determines_the_answer_and_nothing_else() {
        let (to, request) = (identity(), request());
        let content = KeyContent { v: KEY_VERSION, kind: "chat", to: &to, request: &request };
        assert_eq!(
            serde_json::to_value(content).unwrap(),
            json!({
                "v": 1,
                "kind": "chat",
                "provider": "openai",
                "endpoint": "http://litellm.llm:4000/v1",
                "model": "gpt-4o-mini",
                "request": {
                    "system": "Be brief.",
                    "messages": [
                        {"role": "user", "text": "I want my money back."},
                        {"role": "assistant", "text": "One moment.", "calls": [
                            {"id": "call_1", "name": "search", "arguments": {"query": "refund", "top": 3}}
                        ]},
                        {"role": "tool", "id": "call_1", "name": "search", "content": "nothing", "failed": true}
                    ],
                    "tools": [{
                        "name": "search",
                        "description": "Searches the knowledge base.",
                        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}
                    }],
                    "answerSchema": {"name": "verdict", "schema": {"type": "object"}},
                    "parameters": {
                        "temperature": 0.2,
                        "topP": 0.9,
                        "maxOutputTokens": 512,
                        "extra": {"reasoning_effort": "low"}
                    },
                    "repeat": 2
                }
            })
        );
    }

    #[test]
    fn every_field_of_a_chat_request_changes_its_key() {
        type Change = (&'static str, fn(&mut ModelIdentity, &mut ChatRequest));
        fn tool(request: &mut ChatRequest) -> &mut ToolDefinition {
            &mut Arc::get_mut(&mut request.tools).unwrap()[0]
        }
        fn parameters(request: &mut ChatRequest) -> &mut Parameters {
            Arc::make_mut(&mut request.parameters)
        }
        fn schema(request: &mut ChatRequest) -> &mut AnswerSchema {
            Arc::make_mut(request.answer_schema.as_mut().unwrap())
        }
        fn call(request: &mut ChatRequest) -> &mut ToolCall {
            let Message::Assistant { calls, .. } = &mut request.messages[1] else {
                panic!("the assistant spoke second")
            };
            &mut calls[0]
        }
        fn answer(request: &mut ChatRequest) -> (&mut String, &mut ToolName, &mut String, &mut bool) {
            let Message::Tool { id, name, content, failed } = &mut request.messages[2] else {
                panic!("a tool was third")
            };
            (id, name, content, failed)
        }
        let changes: &[Change] = &[
            ("nothing", |_, _| ()),
            ("provider", |to, _| to.provider = "anthropic".into()),
            ("endpoint", |to, _| to.endpoint.push('/')),
            ("model", |to, _| to.model = "gpt-4o".into()),
            ("system", |_, request| request.system = "Be kind.".into()),
            ("a user's text", |_, request| request.messages[0] = Message::User { text: "Hello.".into() }),
            ("who spoke", |_, request| {
                request.messages[0] = Message::said("I want my money back.");
            }),
            ("one message less", |_, request| drop(request.messages.pop())),
            ("the order of messages", |_, request| request.messages.swap(0, 2)),
            ("an assistant's text", |_, request| {
                let calls = vec![call(request).clone()];
                request.messages[1] = Message::Assistant { text: String::new(), calls, opaque: Opaque::default() };
            }),
            ("a call's id", |_, request| call(request).id = "call_2".into()),
            ("a call's tool", |_, request| call(request).name = "escalate".into()),
            ("a call's arguments", |_, request| call(request).arguments = json!({"query": "refund", "top": "3"})),
            ("a tool answer's id", |_, request| *answer(request).0 = "call_2".into()),
            ("a tool answer's tool", |_, request| *answer(request).1 = "escalate".into()),
            ("a tool answer's content", |_, request| *answer(request).2 = "something".into()),
            ("a tool answer's failure", |_, request| *answer(request).3 = false),
            ("no tools", |_, request| request.tools = [].into()),
            ("a tool's name", |_, request| tool(request).name = "find".into()),
            ("a tool's description", |_, request| tool(request).description = None),
            ("a tool's parameters", |_, request| tool(request).parameters = None),
            ("no schema", |_, request| request.answer_schema = None),
            ("the schema's name", |_, request| schema(request).name = "score".into()),
            ("the schema", |_, request| schema(request).schema = json!({"type": "array"})),
            ("temperature", |_, request| parameters(request).temperature = Some(Temperature::Value(0.0))),
            ("no temperature", |_, request| parameters(request).temperature = None),
            ("top p", |_, request| parameters(request).top_p = Some(1.0)),
            ("most tokens", |_, request| parameters(request).max_output_tokens = Some(513)),
            ("further fields", |_, request| parameters(request).extra = None),
            ("repeat", |_, request| request.repeat = 3),
        ];
        let mut keys = std::collections::HashMap::new();
        for (what, change) in changes {
            let (mut to, mut request) = (identity(), request());
            change(&mut to, &mut request);
            if let Some(same) = keys.insert(CallKey::chat(&to, &request), what) {
                panic!("{what} has the key of {same}");
            }
        }
    }

    #[test]
    fn the_texts_their_order_the_model_and_further_fields_change_the_key_of_an_embedding() {
        let with = |model: &str, texts: &[&str], extra: Value| {
            let to = ModelIdentity { model: model.into(), ..identity() };
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            CallKey::embed(&to, &EmbedRequest { texts, extra: extra.as_object().cloned() })
        };
        let key = |model: &str, texts: &[&str]| with(model, texts, Value::Null);
        let shorter = |dimensions: u32| with("m", &["a", "b"], json!({"dimensions": dimensions}));
        let keys = [
            key("m", &["a", "b"]),
            key("m", &["b", "a"]),
            key("m", &["ab"]),
            key("n", &["a", "b"]),
            shorter(256),
            shorter(512),
        ];
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
    }
}
