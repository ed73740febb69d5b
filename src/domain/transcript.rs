//! Transcripts: what an agent did in one scenario, turn by turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hash::ContentHash;
use super::ids::{ScenarioId, ToolName};
use super::tool::ToolCall;

/// One message of a conversation. The system message is not part of a transcript: it is the prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "camelCase")]
pub enum Message {
    /// The user spoke.
    User {
        /// What was said.
        text: String,
    },
    /// The agent answered, called tools, or both.
    Assistant {
        /// What was said; empty when the agent only called tools.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// The calls, in the order in which the model asked for them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
        /// What the provider wants back with it.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// A tool answered.
    Tool {
        /// The id of the call that this answers.
        id: String,
        /// The tool.
        name: ToolName,
        /// What it answered, as the model sees it.
        content: String,
        /// The tool failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
}

impl Message {
    /// The agent said this, and called no tools.
    pub fn said(text: impl Into<String>) -> Self {
        Self::Assistant { text: text.into(), calls: Vec::new(), opaque: Opaque::default() }
    }

    /// Its length as JSON, in bytes.
    pub fn bytes(&self) -> usize {
        struct Count(usize);
        impl std::io::Write for Count {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        serde_json::to_writer(&mut count, self).expect("a message is texts and JSON, and counting does not fail");
        count.0
    }

    /// The agent had its turn, and neither said anything nor called a tool.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Assistant { text, calls, .. } if text.trim().is_empty() && calls.is_empty())
    }
}

/// Parts that a provider requires, unchanged, in the next request of a conversation: signed thinking, thought signatures,
/// reasoning. Only the adapter of its protocol reads it; it is not part of the agent's message. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opaque(Option<Arc<OpaqueParts>>);

/// The parts of [`Opaque`], under the provider's own names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpaqueParts {
    /// Fields of the message.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub message: Map<String, Value>,
    /// Fields of its tool calls, by the id of the call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, Map<String, Value>>,
    /// The blocks that the message is made of, in order. A tool call is a block with its id only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Value>,
}

impl Opaque {
    /// Whether nothing has to be returned to the provider.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The parts, if there are any.
    #[must_use]
    pub fn parts(&self) -> Option<&OpaqueParts> {
        self.0.as_deref()
    }

    /// Its approximate length in a request, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts().and_then(|parts| serde_json::to_string(parts).ok()).map_or(0, |text| text.len())
    }
}

impl From<OpaqueParts> for Opaque {
    fn from(parts: OpaqueParts) -> Self {
        Self((parts != OpaqueParts::default()).then(|| Arc::new(parts)))
    }
}

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// The agent gave its last answer.
    Answered,
    /// The simulated user had nothing more to say.
    UserDone,
    /// The agent was still calling tools when its turns ran out. It counts against the prompt.
    TurnLimit,
}

/// One run of the agent in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcript {
    /// The scenario that was run.
    pub scenario: ScenarioId,
    /// Which of the repeats this is, from 0.
    pub repeat: u32,
    /// The hash of the system prompt that the agent ran with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<ContentHash>,
    /// The conversation, without the system message.
    pub messages: Vec<Message>,
    /// Why it ended.
    pub ending: Ending,
}

impl Transcript {
    /// Every tool call of the agent, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.messages.iter().flat_map(|message| match message {
            Message::Assistant { calls, .. } => calls.as_slice(),
            _ => &[],
        })
    }

    /// Whether the agent had a turn in which it neither said anything nor called a tool.
    #[must_use]
    pub fn is_ever_silent(&self) -> bool {
        self.messages.iter().any(Message::is_silent)
    }

    /// The last text that the agent addressed to the user; empty if it never spoke, or ended without a word.
    #[must_use]
    pub fn final_answer(&self) -> &str {
        let last = self.messages.iter().rev().find(|message| matches!(message, Message::Assistant { .. }));
        if last.is_some_and(Message::is_silent) {
            return "";
        }
        self.messages
            .iter()
            .rev()
            .find_map(|message| match message {
                Message::Assistant { text, .. } if !text.is_empty() => Some(text.as_str()),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Everything that the agent addressed to the user, one text a line.
    #[must_use]
    pub fn everything_said(&self) -> String {
        let said = self.messages.iter().filter_map(|message| match message {
            Message::Assistant { text, .. } if !text.is_empty() => Some(text.as_str()),
            _ => None,
        });
        said.collect::<Vec<_>>().join("\n")
    }
}
