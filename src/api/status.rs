//! The status of the resources: the operator's record, and information for people.
//!
//! `status` is bounded: the last [`HISTORY`] cycles, no transcripts, no secrets. Scores and amounts are strings, so that JSON does
//! not round them.

mod cycle;
mod version;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::cycle::{Exhausted, FinishedCycle, Progress, RunningCycle, Waiting};
pub use self::version::{DimensionScore, PromptVersionStatus};
pub use whetstone_domain::lifecycle::{Cause, CycleKind, CycleVerdict, HISTORY, Origin, Phase, SignalState};
pub use whetstone_domain::series::RecordedSeries;

/// The maximum length of `status.notices`.
pub const NOTICES: usize = 16;

/// The observed state of an AgentOptimization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentOptimizationStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub observed_generation: Option<i64>,
    /// The current phase: `Pending` (nothing serves yet), `Running` (a cycle runs or is queued), `AwaitingApproval` (a
    /// challenger has passed the gate), `Watching` (a promoted version is being watched), `Idle` (the champion serves,
    /// and nothing is pending), `Suspended` (`spec.suspend`) or `Stalled` (a person has to fix a problem).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Conditions: `Ready` always; `Reconciling`, `Stalled`, `Degraded` and `SpecWarnings` only while true; `Promoted`, `RolledBack`,
    /// `SignalsAvailable` and `BudgetExhausted` where they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The version that serves, which is what the target ConfigMap holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<Serving>,
    /// The version that served before the champion, and that a rollback restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<VersionRef>,
    /// Versions that were rolled back, newest first. They are not promoted again, unless one is requested by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub quarantine: Vec<VersionRef>,
    /// The version that is compared with the champion, or waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<Challenger>,
    /// The hash of the prompt for which the workloads of the target were last restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_for: Option<String>,
    /// The hash of the base prompt as last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_hash: Option<String>,
    /// The running cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<RunningCycle>,
    /// The hash of the inputs (spec, tools, scenarios) of the last finished cycle. Different inputs start a cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
    /// Number of finished searches with the inputs in `status.inputs`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Cycles that stopped because their budget was used up, newest first. They continue if the budget is raised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub exhausted: Vec<Exhausted>,
    /// The last cycles, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<FinishedCycle>,
    /// Number of finished cycles, whatever their outcome.
    #[serde(default)]
    #[schemars(extend("format" = "int64"))]
    pub cycles: i64,
    /// The watch over the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchStatus>,
    /// Time of the last re-evaluation of the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reevaluated_at: Option<Timestamp>,
    /// Number of re-evaluations. Each one starts a new series of answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reevaluations: u32,
    /// The number of the series of recorded answers that cycles use. A new series, in which every call is made again,
    /// starts when a model has drifted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evidence: u32,
    /// When that series started. Absent for the series that all cycles share by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_since: Option<Timestamp>,
    /// Whether the champion's model has drifted and the resulting search has not started yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drifted: bool,
    /// Whether `spec.pin` was set at the last reconciliation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// The highest version number that was ever assigned, so that no name is used twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub last_number: Option<i64>,
    /// Decisions that are not published as Events yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub notices: Vec<Notice>,
    /// The annotations that were processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,
    /// The state of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// The total cost of all cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Amount>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A version, identified by its name and the hash of its prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionRef {
    /// Its name, such as `v3`.
    pub version: String,
    /// The BLAKE3 hash of its prompt, 64 hexadecimal digits.
    pub hash: String,
}

/// The version that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// Its name, such as `v3`.
    pub version: String,
    /// The BLAKE3 hash of its prompt, 64 hexadecimal digits.
    pub hash: String,
    /// How it came to serve: `Base` (the initial base prompt), `Found` (in the target ConfigMap), `Gate` (promoted by
    /// the gate), `Approval` (promoted after approval), `Adopted` (a changed base prompt), `Pin` (`spec.pin`),
    /// `Rollback` (restored automatically) or `Requested` (restored on request).
    pub origin: Origin,
    /// When it started to serve.
    pub since: Timestamp,
    /// Its aggregate score at the last measurement, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// Its aggregate score when the gate promoted it, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_with: Option<String>,
    /// The number of the series of recorded answers that led to its promotion. Re-evaluations are compared with this series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<u32>,
    /// When that series started. Absent for the series that all cycles share by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series_since: Option<Timestamp>,
    /// Its aggregate score, 0 to 1, after its model has drifted. Absent once it has recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drifted_to: Option<String>,
}

/// The version that is compared with the champion, or waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenger {
    /// Its name, such as `v3`.
    pub version: String,
    /// The BLAKE3 hash of its prompt, 64 hexadecimal digits.
    pub hash: String,
    /// Whether it has passed the gate and waits for approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_approval: bool,
    /// Its aggregate score, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
}

/// A decision to be published as an Event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When it was decided.
    pub at: Timestamp,
    /// The reason of the Event, in one CamelCase word.
    pub reason: String,
    /// The message of the Event.
    pub message: String,
    /// Whether the Event is a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
    /// How the version came to serve, if the decision changed the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The watch over the champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchStatus {
    /// The version that is watched.
    pub version: String,
    /// When the watch started.
    pub since: Timestamp,
    /// When the version becomes established, unless a breach occurs before.
    pub until: Timestamp,
    /// Whether the version has passed its window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub established: bool,
    /// The highest number of consecutive breaches of any signal.
    #[serde(default)]
    pub breaches: u32,
    /// The newest reading of each signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33))]
    pub signals: Vec<SignalStatus>,
}

/// The newest reading of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// The name of the signal.
    pub name: String,
    /// The state of the reading: `Ok` (within its limits), `Breach` (beyond a limit) or `NoEvidence` (no data, NaN, too
    /// little traffic, or Prometheus unreachable).
    pub state: SignalState,
    /// The value. Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its mean before the promotion, over a period as long as the window, if a limit refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The reading in words, with its figures.
    pub message: String,
    /// A short hash of the query, limits and window. If it changes, counting starts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Number of consecutive readings that breached a limit. Readings without evidence are skipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub breaches: u32,
    /// When it was read.
    pub at: Timestamp,
}

/// The annotations that were processed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// The value of `whetstone.dev/run-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// The value of `whetstone.dev/approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<String>,
    /// The value of `whetstone.dev/rollback-to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<String>,
    /// The result of the last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The state of the schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The time up to which scheduled cycles were started. One cycle makes up for all that were missed.
    pub handled_until: Timestamp,
    /// The time of the next scheduled cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// The amount, as a decimal string.
    pub amount: String,
    /// The currency, such as `USD`.
    pub currency: String,
}
