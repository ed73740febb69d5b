//! The words for the life of an optimization: its phase, how a version came to serve, what cycles do, why, and with which
//! verdict.
//!
//! The words are those of the resource's status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The maximum number of finished cycles in a record, `status.history`.
pub const HISTORY: usize = 10;
/// The maximum number of versions in quarantine, `status.quarantine`. The store has all of them.
pub const QUARANTINE: usize = 50;
/// The maximum number of cycles without a budget in a record, `status.exhausted`.
pub const EXHAUSTED: usize = 16;

/// The phase of an AgentOptimization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing is known yet.
    Pending,
    /// A cycle runs, or waits for its turn.
    Running,
    /// A challenger has passed the gate and waits for approval.
    AwaitingApproval,
    /// A promoted prompt is being watched.
    Watching,
    /// The champion serves, and nothing is pending.
    Idle,
    /// `spec.suspend` is set.
    Suspended,
    /// A problem has to be fixed manually.
    Stalled,
}

impl Phase {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Watching => "Watching",
            Self::Idle => "Idle",
            Self::Suspended => "Suspended",
            Self::Stalled => "Stalled",
        }
    }
}

/// How a version came to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    /// It is the initial base prompt.
    Base,
    /// It was found in the target ConfigMap.
    Found,
    /// It passed the gate.
    Gate,
    /// It passed the gate and was approved manually.
    Approval,
    /// The base prompt was changed and `spec.promotion.onBaseChange` is `Adopt`.
    Adopted,
    /// `spec.pin` names it.
    Pin,
    /// It was restored by an automatic rollback.
    Rollback,
    /// It was restored by a requested rollback.
    Requested,
}

impl Origin {
    /// In words, such as `promoted by the gate`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Base => "taken from the base prompt",
            Self::Found => "found in the target ConfigMap",
            Self::Gate => "promoted by the gate",
            Self::Approval => "promoted by approval",
            Self::Adopted => "adopted from a changed base prompt",
            Self::Pin => "pinned",
            Self::Rollback => "restored by an automatic rollback",
            Self::Requested => "restored by a requested rollback",
        }
    }
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

/// The verdict of a cycle, in one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum CycleVerdict {
    /// A challenger was promoted.
    Promoted,
    /// A challenger passed the gate, and another version serves until a person approves it, or a pin ends.
    Passed,
    /// The champion stays.
    Kept,
    /// The champion stays, although it misses its minimum score.
    BelowThreshold,
    /// The evidence or the budget did not suffice.
    Inconclusive,
    /// The re-evaluated champion is as good as it was.
    Measured,
    /// The re-evaluated champion does worse than its predecessor, and stays because of `spec.pin`.
    Worse,
    /// The re-evaluated champion does worse, and so does its predecessor, if there is one.
    Drifted,
    /// The re-evaluated champion was rolled back.
    RolledBack,
    /// The cycle failed. Only statuses of earlier releases have this verdict.
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

/// The state of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignalState {
    /// Within its limits.
    Ok,
    /// Beyond a limit.
    Breach,
    /// No evidence: no data, NaN, too little traffic, or Prometheus unreachable.
    NoEvidence,
}
