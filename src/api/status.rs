//! What the operator says about the resources: the record that it goes by, and what a person reads.
//!
//! `status` is bounded: the last [`HISTORY`] cycles, never a transcript, never a secret. Scores and amounts are texts, so that
//! nothing is rounded on the way through JSON.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::version::VersionPhase;

/// How many finished cycles `status.history` holds.
pub const HISTORY: usize = 10;
/// How many versions `status.quarantine` holds. The store remembers the others.
pub const QUARANTINE: usize = 50;
/// How many cycles `status.exhausted` holds.
pub const EXHAUSTED: usize = 16;

/// Where an AgentOptimization stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentOptimizationStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub observed_generation: Option<i64>,
    /// What goes on, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `Ready` always; `Reconciling` and `Stalled` only while true; `Promoted`, `RolledBack`, `SignalsAvailable` and
    /// `BudgetExhausted` where they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The version that serves: what the target ConfigMap holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<Serving>,
    /// The version that served before it, to which a rollback goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<VersionRef>,
    /// Versions that were taken back, newest first. None of them is promoted again unless a person asks for it by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub quarantine: Vec<VersionRef>,
    /// The version that stands against the champion: in the gate, or waiting for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<Challenger>,
    /// The prompt that the workloads of the target were last restarted for, by its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_for: Option<String>,
    /// The base prompt as it was last seen, by the hash of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_hash: Option<String>,
    /// The cycle under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<RunningCycle>,
    /// The inputs (spec, tools, scenarios) that a cycle has answered last, by their hash. Others start a cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
    /// How often a cycle was run on these inputs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Searches and gates that stopped because their budget was used up, newest first. With a higher one they go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub exhausted: Vec<Exhausted>,
    /// The last cycles, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<FinishedCycle>,
    /// How many cycles have ended, for good or ill.
    #[serde(default)]
    #[schemars(extend("format" = "int64"))]
    pub cycles: i64,
    /// The watch over the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchStatus>,
    /// When the champion was measured again last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reevaluated_at: Option<Timestamp>,
    /// How often a champion was measured again: each time is a series of fresh answers of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reevaluations: u32,
    /// The series of answers that cycles rest on. A model that has drifted opens another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evidence: u32,
    /// The champion has drifted, and a search because of it has not begun yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drifted: bool,
    /// The annotations that were acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,
    /// The schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// What all cycles have cost together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Amount>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What goes on with an AgentOptimization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing is known yet.
    Pending,
    /// A cycle runs, or waits for its turn.
    Running,
    /// A challenger has passed the gate and waits for a person.
    AwaitingApproval,
    /// A promoted prompt is being watched.
    Watching,
    /// The champion serves, and nothing is to be done.
    Idle,
    /// `spec.suspend` is set.
    Suspended,
    /// Something must be mended by a person.
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

/// A version, by its name and the hash of its prompt.
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
    /// How it came to serve.
    pub origin: Origin,
    /// Since when it serves.
    pub since: Timestamp,
    /// Its aggregate score when it was measured last, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
}

/// How a version came to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    /// It is the base prompt, and there was nothing before it.
    Base,
    /// It was found in the target ConfigMap.
    Found,
    /// It passed the gate.
    Gate,
    /// A person approved it after it had passed the gate.
    Approval,
    /// The base prompt was changed and `spec.promotion.onBaseChange` is `Adopt`.
    Adopted,
    /// `spec.pin` names it.
    Pin,
    /// A breach brought it back.
    Rollback,
    /// A person brought it back.
    Requested,
}

/// The version that stands against the champion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenger {
    /// Its name.
    pub version: String,
    /// The hash of its prompt.
    pub hash: String,
    /// It has passed the gate and waits for a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_approval: bool,
    /// Its aggregate score, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
}

/// What a cycle is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningCycle {
    /// What it does.
    pub kind: CycleKind,
    /// Why it was started.
    pub cause: Cause,
    /// The inputs that it was started on, by their hash.
    pub inputs: String,
    /// Which attempt at these inputs it is.
    pub attempt: u32,
    /// The series of answers that it rests on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub series: u32,
    /// The version that it gates, when its kind is `Gate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Why it is not under way, when it failed and will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What a cycle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CycleKind {
    /// It looks for a better prompt, and gates it.
    Search,
    /// It gates a prompt that somebody else wrote.
    Gate,
    /// It measures the champion again.
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
    /// A person asked for it.
    Requested,
    /// The base prompt was changed and is gated as a new candidate.
    BaseChanged,
    /// A PromptVersion waits for the gate: it was applied by hand, or was found while another one was pinned.
    VersionApplied,
    /// The watch wants the champion measured again.
    Watch,
    /// The champion has drifted.
    Drift,
    /// Its budget was used up before, and is higher now: it goes on where it stopped.
    BudgetRaised,
}

/// How far a cycle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The phase of the loop, such as `run` or `shadow`; `queued` while the cycle waits for its turn.
    pub phase: String,
    /// Steps of the phase that are done.
    #[schemars(extend("format" = "int64"))]
    pub done: i64,
    /// All steps of the phase, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub total: Option<i64>,
    /// What the cycle has cost so far.
    pub cost: String,
}

/// Why a cycle is not under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// How often it has failed in a row.
    pub failures: u32,
    /// When it is tried again.
    pub until: Timestamp,
    /// What went wrong.
    pub message: String,
    /// It will not go better unless somebody mends something: a key, an address, a full disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_a_person: bool,
}

/// A cycle whose budget was used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exhausted {
    /// The identity of the cycle, shortened.
    pub id: String,
    /// The budget, a decimal number.
    pub budget: String,
    /// What of it was spent, a decimal number.
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
    /// Its identity, shortened: `whetstone show` takes it.
    pub id: String,
    /// What it did.
    pub kind: CycleKind,
    /// Why it was started.
    pub cause: Cause,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What came out: `Promoted`, `Passed`, `Kept`, `BelowThreshold`, `Inconclusive`, `Measured` or `Failed`.
    pub verdict: String,
    /// The first reason, in words.
    pub message: String,
    /// The version that served.
    pub champion: String,
    /// The version that was gated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<String>,
    /// The aggregate score of the champion, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// What it cost.
    pub cost: String,
}

/// The watch over the champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchStatus {
    /// The version that is watched.
    pub version: String,
    /// Since when.
    pub since: Timestamp,
    /// When the version is established, unless something is wrong with it before.
    pub until: Timestamp,
    /// It has come through its window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub established: bool,
    /// How many readings in a row the worst signal has breached.
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
    /// The signal.
    pub name: String,
    /// What the reading says.
    pub state: SignalState,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its mean over the window before the promotion, where a limit refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// In words.
    pub message: String,
    /// What the reading was held against (query, limits, window), by a short hash. When it changes, counting begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// How many of its readings in a row breached a limit. One without evidence is passed over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub breaches: u32,
    /// When it was read.
    pub at: Timestamp,
}

/// What a reading says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignalState {
    /// Within its limits.
    Ok,
    /// Beyond a limit.
    Breach,
    /// No evidence: no data, NaN, too little traffic, or Prometheus out of reach.
    NoEvidence,
}

/// The annotations that were acted on.
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
    /// What became of the newest of them, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The time up to which due cycles were started. Several that were missed are made up for by one.
    pub handled_until: Timestamp,
    /// The next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// A decimal number.
    pub amount: String,
    /// Its currency.
    pub currency: String,
}

/// Where a PromptVersion stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromptVersionStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub observed_generation: Option<i64>,
    /// Where it stands in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<VersionPhase>,
    /// `Ready` always, `Reconciling` while it waits for the gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Its name in the lineage, such as `v3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The BLAKE3 hash of its prompt, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The version that it was made from, or gated against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its aggregate score when it was measured last, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// Mean scores by dimension, 0 to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<DimensionScore>,
    /// Why it stands where it stands, the most important reason first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub reasons: Vec<String>,
    /// When it came to stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A mean score in one dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DimensionScore {
    /// The dimension.
    pub name: String,
    /// The mean, 0 to 1.
    pub score: String,
}
