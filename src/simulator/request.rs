//! Chat requests and answers, independent of the wire protocol.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::dice::Dice;

/// A chat request.
#[derive(Debug)]
pub(super) struct Chat<'a> {
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// The system messages, joined.
    pub system: Cow<'a, str>,
    /// The conversation after it.
    pub turns: Vec<Turn<'a>>,
    /// The tools on offer.
    pub tools: Vec<Tool<'a>>,
    /// Which of them may or must be called.
    pub choice: ToolChoice,
    /// Whether several calls may be made in one turn.
    pub parallel: bool,
    /// The required form of the answer.
    pub form: Form,
    /// Which of several independent samples is requested.
    pub seed: Option<i64>,
    /// The maximum number of tokens of the answer.
    pub max_tokens: Option<u64>,
    /// Stream the answer.
    pub stream: bool,
    /// Send the usage at the end of the stream.
    pub stream_usage: bool,
}

/// A message of the conversation.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// The user spoke.
    User(Cow<'a, str>),
    /// The assistant answered or called tools.
    Assistant {
        /// Its text.
        text: Cow<'a, str>,
        /// The ids of its calls.
        calls: Vec<Cow<'a, str>>,
    },
    /// A tool answered.
    Tool {
        /// The id of the call.
        id: Cow<'a, str>,
        /// Its answer.
        content: Cow<'a, str>,
    },
}

/// A tool on offer.
#[derive(Debug)]
pub(super) struct Tool<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// The JSON Schema of its arguments, not parsed.
    pub parameters: Option<&'a RawValue>,
}

impl Tool<'_> {
    /// The JSON Schema of its arguments.
    pub(super) fn schema(&self) -> Value {
        self.parameters.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null)
    }
}

/// Which tools may or must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    Schema(Value),
}

/// The role that a request is for, inferred from the request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The agent.
    Agent,
    /// The judge: its answer has `scores`.
    Judge,
    /// The patch writer: its answer has `edits`.
    Patch,
    /// The simulated user.
    User,
}

/// The words in a system message that identify a request to the simulated user.
const USER_MARK: &str = "You are simulating a user";

impl Chat<'_> {
    /// The role that the request is for.
    pub(super) fn role(&self) -> Role {
        if let Form::Schema(schema) = &self.form {
            let properties = &schema["properties"];
            if properties.get("scores").is_some() {
                return Role::Judge;
            }
            if properties.get("edits").is_some() {
                return Role::Patch;
            }
        }
        if self.system.contains(USER_MARK) { Role::User } else { Role::Agent }
    }

    /// What the user said, first to last.
    pub(super) fn user_texts(&self) -> impl Iterator<Item = &str> {
        self.turns.iter().filter_map(|turn| match turn {
            Turn::User(text) => Some(text.as_ref()),
            _ => None,
        })
    }

    /// The dice of this conversation: the same at each of its turns, and different for another sample, another prompt or
    /// another request of the user.
    pub(super) fn dice(&self, seed: u64) -> Dice {
        let first = self.user_texts().next().unwrap_or_default();
        let sample = self.seed.unwrap_or_default().to_le_bytes();
        Dice::new(seed, &[self.system.as_bytes(), first.as_bytes(), &sample])
    }

    /// Checks that every tool call is answered before the conversation goes on, as providers do.
    ///
    /// # Errors
    /// The index of the first wrong turn, and the problem.
    pub(super) fn check_calls(&self) -> Result<(), (usize, String)> {
        let mut open: Vec<&str> = Vec::new();
        for (index, turn) in self.turns.iter().enumerate() {
            match turn {
                Turn::Tool { id, .. } => {
                    let Some(place) = open.iter().position(|call| call == id) else {
                        return Err((
                            index,
                            format!("it answers the tool call {id:?}, which was not made just before"),
                        ));
                    };
                    open.swap_remove(place);
                }
                _ if !open.is_empty() => {
                    return Err((index, format!("tool calls without an answer before it: {}", open.join(", "))));
                }
                Turn::Assistant { calls, .. } => open.extend(calls.iter().map(AsRef::as_ref)),
                Turn::User(_) => {}
            }
        }
        match open.as_slice() {
            [] => Ok(()),
            open => Err((self.turns.len(), format!("tool calls without an answer: {}", open.join(", ")))),
        }
    }
}

/// A tool call in an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReplyCall {
    /// The tool.
    pub tool: String,
    /// The arguments.
    pub arguments: Value,
}

/// The content of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reply {
    /// The text.
    pub text: String,
    /// The tool calls.
    pub calls: Vec<ReplyCall>,
    /// Whether the text was truncated at `max_tokens`.
    pub cut: bool,
}

impl Reply {
    /// An answer that is only text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Truncates the text to a number of tokens.
    pub(super) fn limit(&mut self, max_tokens: Option<u64>) {
        let Some(max) = max_tokens.and_then(|max| usize::try_from(max).ok()) else { return };
        if self.text.len().div_ceil(BYTES_PER_TOKEN) > max {
            self.text.truncate(self.text.floor_char_boundary(max * BYTES_PER_TOKEN));
            self.cut = true;
        }
    }
}

const BYTES_PER_TOKEN: usize = 4;

/// The estimated tokens of a text of this length in bytes: a quarter, rounded up. Deterministic, and about right for English.
pub(super) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// The tokens of a request and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Of the request, including cached ones.
    pub input: u64,
    /// Of the request, served from the prompt cache.
    pub cached: u64,
    /// Of the answer.
    pub output: u64,
}

/// The minimum length of a cached prefix in tokens. Longer ones are cached in steps of `CACHE_STEP`.
const CACHE_FROM: u64 = 1024;
const CACHE_STEP: u64 = 128;

impl Chat<'_> {
    /// The tokens of this request and an answer. The prefix that all conversations under one prompt share, system message and tools,
    /// counts as cached.
    pub(super) fn tokens(&self, reply: &Reply) -> Tokens {
        let prefix: usize = self.system.len()
            + self
                .tools
                .iter()
                .map(|tool| tool.name.len() + tool.parameters.map_or(0, |raw| raw.get().len()))
                .sum::<usize>();
        let messages: usize = self
            .turns
            .iter()
            .map(|turn| match turn {
                Turn::User(text) => text.len(),
                Turn::Assistant { text, calls } => text.len() + 32 * calls.len(),
                Turn::Tool { content, .. } => content.len(),
            })
            .sum();
        let answer: usize = reply.text.len()
            + reply.calls.iter().map(|call| call.tool.len() + text_len(&call.arguments)).sum::<usize>();
        let shared = tokens(prefix);
        Tokens {
            input: tokens(prefix + messages).max(1),
            cached: if shared < CACHE_FROM { 0 } else { shared / CACHE_STEP * CACHE_STEP },
            output: tokens(answer).max(1),
        }
    }
}

fn text_len(arguments: &Value) -> usize {
    arguments.to_string().len()
}

/// A refused request: an error of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// The provider's short name of the error.
    pub code: Option<&'static str>,
}

impl Refusal {
    /// A 400 that names a field.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), param: Some(param.into()), code: None }
    }
}
