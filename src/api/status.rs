//! What the operator says about the resources: the record that it goes by, and what a person reads.
//!
//! `status` is bounded: the last [`HISTORY`] cycles, never a transcript, never a secret. Scores and amounts are texts, so that
//! nothing is rounded on the way through JSON.

mod cycle;
mod inputs;
mod series;
mod version;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::cycle::{Cause, CycleKind, CycleVerdict, Exhausted, FinishedCycle, Progress, RunningCycle, Waiting};
pub use self::series::RecordedSeries;
pub use self::version::{DimensionScore, PromptVersionStatus};

/// How many finished cycles `status.history` holds.
pub const HISTORY: usize = 10;
/// How many versions `status.quarantine` holds. The store remembers the others.
pub const QUARANTINE: usize = 50;
/// How many cycles `status.exhausted` holds.
pub const EXHAUSTED: usize = 16;
/// How many notices `status.notices` holds.
pub const NOTICES: usize = 16;

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
    /// When that series was begun, where it has answers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_since: Option<Timestamp>,
    /// The champion has drifted, and a search because of it has not begun yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drifted: bool,
    /// `spec.pin` was in force at the last look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// The highest number that a version was ever named by, so that none is named twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub last_number: Option<i64>,
    /// What was decided and is not published as Events yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub notices: Vec<Notice>,
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
    /// The aggregate score that the gate promoted it with, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_with: Option<String>,
    /// The series of answers that it came to serve by. A re-evaluation compares with these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<u32>,
    /// When that series was begun, where it has answers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series_since: Option<Timestamp>,
    /// The score that it was found to have dropped to, 0 to 1, while it has not recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drifted_to: Option<String>,
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

/// Something that was decided, to be published as an Event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When it was decided.
    pub at: Timestamp,
    /// In one word, for machines.
    pub reason: String,
    /// In words, for people.
    pub message: String,
    /// Somebody should look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
    /// How the version came to serve that it speaks of, when another one does than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
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
