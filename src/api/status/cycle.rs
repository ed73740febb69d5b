//! Cycles in the status: the one under way, and those that have ended.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_zero;

/// A running cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningCycle {
    /// What it does.
    pub kind: CycleKind,
    /// Why it was started.
    pub cause: Cause,
    /// The hash of the inputs of the cycle.
    pub inputs: String,
    /// The number of this attempt at the same inputs.
    pub attempt: u32,
    /// The series of answers that it uses.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub series: u32,
    /// When that series started, if it has answers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series_since: Option<Timestamp>,
    /// The value of `whetstone.dev/run-at` that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
    /// The version that it gates, when its kind is `Gate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// The progress of the cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Why the cycle is waiting, if it failed and will be retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What a cycle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CycleKind {
    /// It looks for a better prompt, and gates it.
    Search,
    /// It gates a prompt that Whetstone did not write.
    Gate,
    /// It re-evaluates the champion.
    Reevaluate,
}

/// Why a cycle was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cause {
    /// There was none yet.
    First,
    /// The spec, tools or scenarios have changed.
    InputsChanged,
    /// The schedule.
    Schedule,
    /// It was requested.
    Requested,
    /// The base prompt was changed and is gated as a new candidate.
    BaseChanged,
    /// A PromptVersion waits for the gate: it was applied manually, or was found while another one was pinned.
    VersionApplied,
    /// A re-evaluation of the champion is due.
    Watch,
    /// The champion has drifted.
    Drift,
    /// Its budget was used up and has been raised; it continues where it stopped.
    BudgetRaised,
}

/// The progress of a cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The phase of the loop, such as `run` or `shadow`; `queued` while the cycle waits for its turn.
    pub phase: String,
    /// Number of steps of the phase that are done.
    #[schemars(extend("format" = "int64"))]
    pub done: i64,
    /// Total number of steps of the phase, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub total: Option<i64>,
    /// The cost of the cycle so far.
    pub cost: String,
}

/// Why a cycle is waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Number of consecutive failures.
    pub failures: u32,
    /// When it is retried.
    pub until: Timestamp,
    /// What went wrong.
    pub message: String,
    /// Whether retrying is useless until someone fixes the cause: a key, an address, a full disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_a_person: bool,
}

/// A cycle whose budget was used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exhausted {
    /// The short id of the cycle.
    pub id: String,
    /// The budget, a decimal number.
    pub budget: String,
    /// The amount spent, a decimal number.
    pub spent: String,
    /// Which attempt at its inputs the cycle was.
    pub attempt: u32,
    /// The version that it gated; none when it was a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
}

/// A cycle that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinishedCycle {
    /// The short id of the cycle, as `whetstone show` accepts it.
    pub id: String,
    /// What it did.
    pub kind: CycleKind,
    /// Why it was started.
    pub cause: Cause,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The verdict: `Promoted`, `Passed`, `Kept`, `BelowThreshold` or `Inconclusive`; of a re-evaluation `Measured`,
    /// `Worse`, `Drifted`, `RolledBack` or `Inconclusive`.
    #[schemars(with = "String")]
    pub verdict: CycleVerdict,
    /// The first reason for the verdict.
    pub message: String,
    /// The version that served.
    pub champion: String,
    /// The version that was gated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
    /// The aggregate score of the champion, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// The cost of the cycle.
    pub cost: String,
    /// The value of `whetstone.dev/run-at` that it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
}

/// What a cycle came to, in one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum CycleVerdict {
    /// A challenger was promoted.
    Promoted,
    /// A challenger passed the gate, and another version serves: it waits for a person, or for the end of a pin.
    Passed,
    /// The champion stays.
    Kept,
    /// The champion stays although it misses its minimum score.
    BelowThreshold,
    /// The evidence, or the budget, did not suffice.
    Inconclusive,
    /// The champion was measured again, and is as good as it was.
    Measured,
    /// The champion was measured again, does worse than its predecessor, and stays: `spec.pin` keeps it.
    Worse,
    /// The champion was measured again, does worse, and so does its predecessor, if there is one.
    Drifted,
    /// The champion was measured again and taken back.
    RolledBack,
    /// It failed. (Statuses of earlier releases have it.)
    Failed,
    /// A verdict of a later release, kept as it is.
    Later(String),
}

impl CycleVerdict {
    /// Every verdict of this release.
    pub const ALL: [Self; 10] = [
        Self::Promoted,
        Self::Passed,
        Self::Kept,
        Self::BelowThreshold,
        Self::Inconclusive,
        Self::Measured,
        Self::Worse,
        Self::Drifted,
        Self::RolledBack,
        Self::Failed,
    ];

    /// The word in the status.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Promoted => "Promoted",
            Self::Passed => "Passed",
            Self::Kept => "Kept",
            Self::BelowThreshold => "BelowThreshold",
            Self::Inconclusive => "Inconclusive",
            Self::Measured => "Measured",
            Self::Worse => "Worse",
            Self::Drifted => "Drifted",
            Self::RolledBack => "RolledBack",
            Self::Failed => "Failed",
            Self::Later(word) => word,
        }
    }
}

impl From<String> for CycleVerdict {
    fn from(word: String) -> Self {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word).unwrap_or(Self::Later(word))
    }
}

impl From<CycleVerdict> for String {
    fn from(verdict: CycleVerdict) -> Self {
        verdict.as_str().to_owned()
    }
}
