//! Transcripts: what an agent did in one scenario, turn by turn.

use serde::{Deserialize, Serialize};

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

    /// The last text that the agent addressed to the user; empty if it never spoke.
    #[must_use]
    pub fn final_answer(&self) -> &str {
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
