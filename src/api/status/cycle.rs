//! Cycles in the status: the running one and the finished ones.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_zero;
use whetstone_domain::lifecycle::{Cause, CycleKind, CycleVerdict};

/// A running cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningCycle {
    /// What the cycle does: `Search` (searches for a better prompt), `Gate` (compares an existing version with the
    /// champion) or `Reevaluate` (measures the champion again).
    pub kind: CycleKind,
    /// Why the cycle was started.
    pub cause: Cause,
    /// The hash of the inputs of the cycle.
    pub inputs: String,
    /// The number of this attempt with the same inputs, counted from 0.
    pub attempt: u32,
    /// The number of the series of recorded answers that the cycle uses.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub series: u32,
    /// When that series started. Absent for the series that all cycles share by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series_since: Option<Timestamp>,
    /// The value of the annotation `whetstone.dev/run-at` that requested the cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
    /// The version that is compared with the champion, if the kind is `Gate`.
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
    /// The cost of the cycle so far, as a decimal string.
    pub cost: String,
}

/// Why a cycle is waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Number of consecutive failures.
    pub failures: u32,
    /// When the cycle is retried.
    pub until: Timestamp,
    /// What failed, and why.
    pub message: String,
    /// Whether retries fail until a person fixes the cause, such as a refused key, a wrong address or a full disk.
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
    /// The number of the attempt, as in `status.cycle.attempt`.
    pub attempt: u32,
    /// The version that was compared with the champion. Absent for a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
}

/// A cycle that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinishedCycle {
    /// The short id of the cycle, as `whetstone show` accepts it.
    pub id: String,
    /// What the cycle did, as in `status.cycle.kind`.
    pub kind: CycleKind,
    /// Why the cycle was started.
    pub cause: Cause,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The verdict. `Promoted`: a challenger was promoted. `Passed`: a challenger passed the gate, and is not promoted
    /// until it is approved or a pin ends. `Kept`: the champion stays. `BelowThreshold`: it stays, and is below its
    /// minimum score. `Inconclusive`: the evidence or the budget is insufficient. Of a re-evaluation, `Measured`: the
    /// champion is as good as before. `Worse`: it is worse than its predecessor, and stays because of `spec.pin`.
    /// `Drifted`: it is worse than before, and no predecessor is better. `RolledBack`: it was rolled back.
    #[schemars(with = "String")]
    pub verdict: CycleVerdict,
    /// The first reason for the verdict.
    pub message: String,
    /// The version that served.
    pub champion: String,
    /// The version that was compared with the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
    /// The aggregate score of the champion, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// The cost of the cycle, as a decimal string.
    pub cost: String,
    /// The value of the annotation `whetstone.dev/run-at` that requested the cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
}
