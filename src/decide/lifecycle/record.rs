//! The record: what has been decided so far, in types of the domain.
//!
//! The status of the resource holds it as text. The conversion between the two is at the edge, where the API server is talked
//! to; what cannot be read there is absent here.

use jiff::Timestamp;

use crate::watch::SignalRecord;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{RecordedInputs, VersionName};
use whetstone_domain::lifecycle::{Cause, CycleKind, CycleVerdict, Origin, Phase};
use whetstone_domain::money::Money;
use whetstone_domain::plan::InputsId;
use whetstone_domain::score::Score;
use whetstone_domain::series::RecordedSeries;

/// What has been decided so far about one optimization.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The phase.
    pub phase: Option<Phase>,
    /// The version that serves.
    pub champion: Option<Serving>,
    /// The version that served before it, and that a rollback restores.
    pub predecessor: Option<VersionId>,
    /// Versions that were rolled back, newest first.
    pub quarantine: Vec<VersionId>,
    /// The version that is compared with the champion, or waits for approval.
    pub challenger: Option<Challenger>,
    /// The base prompt as last read.
    pub base_hash: Option<ContentHash>,
    /// The running cycle.
    pub cycle: Option<RunningCycle>,
    /// The inputs of the last finished cycle.
    pub inputs: Option<RecordedInputs>,
    /// Number of cycles that were run on these inputs.
    pub attempts: u32,
    /// Cycles that stopped because their budget was used up, newest first.
    pub exhausted: Vec<Exhausted>,
    /// The last cycles, newest first.
    pub history: Vec<FinishedCycle>,
    /// Number of finished cycles.
    pub cycles: u64,
    /// The watch over the champion.
    pub watch: Option<Watch>,
    /// Time of the last re-evaluation.
    pub reevaluated_at: Option<Timestamp>,
    /// Number of re-evaluations.
    pub reevaluations: u32,
    /// The series of answers that cycles use.
    pub evidence: RecordedSeries,
    /// The champion has drifted, and the search that follows has not started yet.
    pub drifted: bool,
    /// `spec.pin` was set at the last step.
    pub pinned: bool,
    /// The highest version number that was ever assigned; 0 before the first.
    pub last_number: u64,
    /// The annotations that were processed.
    pub handled: Option<Handled>,
    /// The state of the schedule.
    pub schedule: Option<ScheduleState>,
    /// The total cost of all cycles.
    pub cost: Option<Cost>,
}

/// A version: its name and the hash of its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionId {
    /// Its name.
    pub version: VersionName,
    /// The hash of its prompt.
    pub hash: ContentHash,
}

/// The version that serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// Its name.
    pub version: VersionName,
    /// The hash of its prompt.
    pub hash: ContentHash,
    /// How it came to serve.
    pub origin: Origin,
    /// Since when it serves.
    pub since: Timestamp,
    /// Its aggregate score at the last measurement.
    pub score: Option<Score>,
    /// Its aggregate score when the gate promoted it.
    pub promoted_with: Option<Score>,
    /// The series of answers that led to its promotion. Records of earlier releases do not have it.
    pub series: Option<RecordedSeries>,
    /// The score that it has drifted to; `None` once it has recovered.
    pub drifted_to: Option<Score>,
}

/// The version that is compared with the champion, or waits for approval.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenger {
    /// Its name.
    pub version: VersionName,
    /// The hash of its prompt.
    pub hash: ContentHash,
    /// It has passed the gate and waits for approval.
    pub awaits_approval: bool,
    /// Its aggregate score.
    pub score: Option<Score>,
}

/// A running cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningCycle {
    /// What it does.
    pub kind: CycleKind,
    /// Why it was started.
    pub cause: Cause,
    /// Its inputs.
    pub inputs: RecordedInputs,
    /// The number of this attempt at the same inputs.
    pub attempt: u32,
    /// The series of answers that it uses.
    pub series: RecordedSeries,
    /// The value of `whetstone.dev/run-at` that it answers.
    pub requested: Option<String>,
    /// The version that it gates, if it gates one.
    pub challenger: Option<VersionName>,
    /// When it was started.
    pub started_at: Timestamp,
    /// Why it is waiting, if it failed and will be retried.
    pub waiting: Option<Waiting>,
}

impl RunningCycle {
    /// Whether two are the same cycle, whether waiting or not.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |cycle: &Self| {
            let Self { kind, inputs, attempt, series, challenger, .. } = cycle;
            (*kind, inputs.clone(), *attempt, *series, challenger.clone())
        };
        key(self) == key(other)
    }
}

/// Why a cycle is waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Number of consecutive failures.
    pub failures: u32,
    /// When it is retried.
    pub until: Timestamp,
    /// What went wrong.
    pub message: String,
    /// Whether retrying is useless until a person fixes the cause: a key, an address, a full disk.
    pub needs_a_person: bool,
}

/// A cycle whose budget was used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The short id of the cycle.
    pub id: String,
    /// The budget.
    pub budget: Money,
    /// The amount spent.
    pub spent: Money,
    /// Which attempt at its inputs it was.
    pub attempt: u32,
    /// The version that it gated; none when it was a search.
    pub challenger: Option<VersionName>,
}

/// A cycle that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedCycle {
    /// Its short id.
    pub id: String,
    /// What it did.
    pub kind: CycleKind,
    /// Why it was started.
    pub cause: Cause,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The verdict.
    pub verdict: CycleVerdict,
    /// The first reason for it.
    pub message: String,
    /// The version that served.
    pub champion: VersionName,
    /// The version that was gated.
    pub challenger: Option<VersionName>,
    /// The aggregate score of the champion.
    pub score: Option<Score>,
    /// What it cost.
    pub cost: Money,
    /// The value of `whetstone.dev/run-at` that it answered.
    pub requested: Option<String>,
}

/// The watch over the champion.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The version that is watched.
    pub version: VersionName,
    /// Since when.
    pub since: Timestamp,
    /// When the version becomes established, unless a breach occurs before.
    pub until: Timestamp,
    /// It has passed its window.
    pub established: bool,
    /// The highest number of consecutive breaches of any signal.
    pub breaches: u32,
    /// The newest reading of each signal.
    pub signals: Vec<SignalRecord>,
}

/// The values of the annotations that were processed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// That of [`RUN_AT`](whetstone_domain::annotations::RUN_AT).
    pub run_at: Option<String>,
    /// That of [`APPROVE`](whetstone_domain::annotations::APPROVE).
    pub approve: Option<String>,
    /// That of [`ROLLBACK_TO`](whetstone_domain::annotations::ROLLBACK_TO).
    pub rollback_to: Option<String>,
    /// The result of the newest of them, in words.
    pub message: Option<String>,
}

/// The state of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleState {
    /// The time up to which scheduled cycles were started. One cycle makes up for all that were missed.
    pub handled_until: Timestamp,
    /// The next time.
    pub next: Option<Timestamp>,
}

/// What the cycles of an object cost together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The amount.
    pub amount: Money,
    /// Its currency.
    pub currency: String,
}

impl Record {
    /// Writes inputs that an earlier release recorded in the present form, where they are these: an upgrade changes no inputs,
    /// and starts no cycle.
    pub fn adopt_inputs(&mut self, inputs: &InputsId) {
        let running = self.cycle.iter_mut().map(|cycle| &mut cycle.inputs);
        for recorded in self.inputs.iter_mut().chain(running) {
            if inputs.is_legacy(recorded.as_str()) {
                *recorded = inputs.into();
            }
        }
    }

    /// The series that the champion came to serve by. Records of earlier releases do not say: then it is that of all cycles.
    #[must_use]
    pub fn champion_series(&self) -> RecordedSeries {
        self.champion.as_ref().and_then(|champion| champion.series).unwrap_or(self.evidence)
    }
}
