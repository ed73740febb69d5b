//! Scenarios: a situation to put the agent in, and what a good agent does there.
//!
//! These types are the scenario file format and, inside a resource, part of its schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::HumanDuration;
use super::ids::{DimensionName, ScenarioId, ToolName};

/// One situation to put the agent in. Exactly one of `message`, `conversation` and `simulatedUser` says what
/// the user does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// A name that is unique in the suite and stays the same over time.
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub id: ScenarioId,
    /// Labels, used to stratify the split and to select scenarios. `split:train`, `split:regression` and `split:held-out` put the
    /// scenario into that part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Complexity, from 1 (simple) up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub tier: Option<u8>,
    /// Impact: how much this scenario counts in the aggregate, relative to others. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub weight: Option<f64>,
    /// The one message that the user sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the user says, turn by turn, whatever the agent answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conversation: Vec<ScriptedTurn>,
    /// A user played by a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_user: Option<SimulatedUser>,
    /// What the tools answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mocks: Vec<ToolMock>,
    /// The state that the mocks start from (see `mocks[].when` and `mocks[].set`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub state: Option<Map<String, Value>>,
    /// What a good agent does.
    #[serde(default)]
    pub expect: Expectation,
}

/// One turn of a scripted conversation: a user message, or a scripted answer of the assistant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScriptedTurn {
    /// What the user says. The agent answers it before the next turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A scripted answer of the assistant, used instead of calling the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant: Option<String>,
}

/// A user played by a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedUser {
    /// Who the user is, what they want, what they know.
    pub instructions: String,
    /// The first message. By default the model writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<String>,
    /// The most messages that the user sends. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_turns: Option<u32>,
}

/// The answer of a tool to a matching call. If several mocks match, the first is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolMock {
    /// The tool.
    pub tool: ToolName,
    /// Arguments that the call must have; others are allowed. By default any call matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub arguments: Option<Map<String, Value>>,
    /// Entries that the state must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub when: Option<Map<String, Value>>,
    /// What the tool answers. A string is passed on as it is, anything else as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::value")]
    pub returns: Option<Value>,
    /// The message of the error with which the tool fails, instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long the tool takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<HumanDuration>,
    /// Entries written to the state once the tool has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub set: Option<Map<String, Value>>,
}

/// What a good agent does in a scenario. What is absent is not checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// A reference answer, for the judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The tool calls that must be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ExpectedCall>,
    /// Whether the order of `calls` counts. Defaults to `Any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<CallOrder>,
    /// Whether calls beyond `calls` are allowed. Defaults to `Allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_calls: Option<ExtraCalls>,
    /// Tools whose calls are never counted as extra: look-ups, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_tools: Vec<ToolName>,
    /// Calls that must not be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden_calls: Vec<ForbiddenCall>,
    /// Checks of the final answer that need no judge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What the judge is to look for in this scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rubric: Option<String>,
}

/// A tool call that must be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedCall {
    /// The tool.
    pub tool: ToolName,
    /// The expected arguments. By default any arguments match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub arguments: Option<Map<String, Value>>,
    /// How arguments are compared. Defaults to `Exact`.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<ArgumentMatch>,
}

/// How the arguments of a call are compared with the expected ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArgumentMatch {
    /// The same arguments and no others. Numbers compare by value.
    #[default]
    Exact,
    /// At least these arguments, recursively in objects.
    Subset,
}

/// Whether the order of the expected calls counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CallOrder {
    /// Any order will do.
    #[default]
    Any,
    /// As listed; other calls may stand between them.
    Strict,
}

/// Whether calls that are not expected are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExtraCalls {
    /// They are.
    #[default]
    Allow,
    /// They count as errors, except for `freeTools`.
    Forbid,
}

/// A tool call that must not be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForbiddenCall {
    /// The tool.
    pub tool: ToolName,
    /// Arguments that make the call forbidden; others may be present. By default any call of the tool is forbidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub arguments: Option<Map<String, Value>>,
}

/// A check of the final answer that needs no judge. Exactly one kind of check is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The dimension that it counts for. Defaults to `accuracy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<DimensionName>,
    /// The answer equals this text, ignoring leading and trailing whitespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// The answer contains this text, ignoring case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// The answer does not contain this text, ignoring case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_contains: Option<String>,
    /// The answer matches this regular expression somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The answer is JSON that satisfies this schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub json_schema: Option<Map<String, Value>>,
    /// The answer has a number close enough to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberCheck>,
}

/// A number to look for in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumberCheck {
    /// The number.
    pub value: f64,
    /// The maximum absolute difference. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub tolerance: Option<f64>,
}

impl Scenario {
    /// Impact relative to other scenarios; 1 unless given.
    #[must_use]
    pub fn impact(&self) -> f64 {
        self.weight.unwrap_or(1.0)
    }

    /// What the user wants, in one text: for vectors, labels and the leak guard.
    #[must_use]
    pub fn request_text(&self) -> String {
        if let Some(message) = &self.message {
            return message.clone();
        }
        if let Some(user) = &self.simulated_user {
            return user.opening.clone().unwrap_or_else(|| user.instructions.clone());
        }
        let turns: Vec<&str> = self.conversation.iter().filter_map(|turn| turn.user.as_deref()).collect();
        turns.join("\n")
    }

    /// Whether the scenario says anything about tool calls.
    #[must_use]
    pub fn expects_tools(&self) -> bool {
        !self.expect.calls.is_empty()
            || !self.expect.forbidden_calls.is_empty()
            || self.expect.extra_calls == Some(ExtraCalls::Forbid)
    }
}
