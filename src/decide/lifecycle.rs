//! The life of a prompt in the cluster: what is known → which version serves, and which cycle should be under way.
//!
//! [`next`] is the whole operator as a pure function. The record is what the resource's status says, in types of the domain; the
//! course that comes out holds the next record, the versions to write, and what there is to say. The caller commits the record
//! in one write, and makes the cluster agree with it, as often as it takes: so a promotion happens once, whatever is killed.
//!
//! The steps are in the order in which they win over each other: a person's word over a breach, a breach over a verdict.

mod agenda;
mod champion;
mod deferral;
mod failure;
mod note;
mod outcome;
mod record;
mod remeasured;
mod versions;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use self::deferral::{Deferred, without_new_versions};
pub use self::failure::{Failed, FailureCause};
pub use self::note::{CYCLE_CONDITIONS, CycleCondition, EventReason, Note, Obstacle, ObstacleReason};
pub use self::outcome::{ChallengerFacts, CycleFacts, Ended, Gated, Remeasured, TooDear};
pub use self::record::{
    Challenger, Cost, Exhausted, FinishedCycle, Handled, Record, RunningCycle, ScheduleState, Serving, VersionId,
    Waiting, Watch,
};
pub use self::versions::{KnownVersion, Names, NewVersion, VersionOrigin, VersionVerdict, phase_of, retained};
use super::watch::Round;
use crate::watch::SignalRecord;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{RecordedInputs, VersionName};
use whetstone_domain::lifecycle::{Origin, Phase};
use whetstone_domain::money::Money;
use whetstone_domain::plan::promotion::{Approval, OnBaseChange};
use whetstone_domain::plan::watch::WatchPlan;
use whetstone_domain::prompt_set::PromptSet;

/// What a person wants: from the spec and the annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Wants {
    /// `spec.suspend`
    pub suspend: bool,
    /// `spec.pin`
    pub pin: Option<VersionName>,
    /// `spec.promotion.approval`, or the profile's.
    pub approval: Approval,
    /// `spec.promotion.onBaseChange`
    pub on_base_change: OnBaseChange,
    /// `spec.budget.perCycle`; without one there is no limit.
    pub budget: Option<Money>,
    /// `spec.watch`
    pub watch: Option<WatchPlan>,
    /// The newest time of the schedule that has passed, and the next one.
    pub schedule: Option<Due>,
    /// `whetstone.dev/run-at`
    pub run_at: Option<String>,
    /// `whetstone.dev/approve`
    pub approve: Option<String>,
    /// `whetstone.dev/rollback-to`
    pub rollback_to: Option<String>,
}

impl Default for Wants {
    fn default() -> Self {
        Self {
            suspend: false,
            pin: None,
            approval: Approval::Automatic,
            on_base_change: OnBaseChange::Gate,
            budget: None,
            watch: None,
            schedule: None,
            run_at: None,
            approve: None,
            rollback_to: None,
        }
    }
}

/// The times of a schedule around now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The newest time since the last one that was handled; `None` when none has passed. However many have passed, one
    /// cycle makes up for them.
    pub passed: Option<Timestamp>,
    /// The next time.
    pub next: Option<Timestamp>,
}

/// A prompt's text and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptText {
    /// The hash of the text.
    pub hash: ContentHash,
    /// The text.
    pub text: String,
}

impl PromptText {
    /// This text, with its hash.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { hash: PromptSet::hash_of(&text), text }
    }
}

/// What was found in the target ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version that it names.
    pub version: Option<VersionName>,
    /// The prompt in it.
    pub prompt: PromptText,
}

/// All that there is to decide on.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The time.
    pub now: Timestamp,
    /// What a person wants.
    pub wants: &'a Wants,
    /// What has been decided so far.
    pub record: &'a Record,
    /// The PromptVersions there are.
    pub versions: &'a [KnownVersion],
    /// Version names that are unavailable because an object of that name already exists.
    pub taken: &'a [String],
    /// The versions that the object, or one that had its name before, is remembered to have had. Needed where one is created.
    pub remembered: &'a [VersionId],
    /// The base prompt; `None` while it cannot be read.
    pub base: Option<&'a PromptText>,
    /// What our own target ConfigMap holds; `None` when there is none.
    pub found: Option<&'a Found>,
    /// The hash of the inputs (spec, tools, scenarios); `None` while they cannot be resolved.
    pub inputs: Option<&'a RecordedInputs>,
    /// The cycle that has ended, if one has.
    pub ended: Option<&'a Ended>,
    /// The newest round of the watch.
    pub round: Option<&'a Watched>,
}

/// A round of the watch: every signal read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The version that served when it was read.
    pub version: VersionName,
    /// The readings, as the status shows them.
    pub signals: Vec<SignalRecord>,
    /// What they come to.
    pub round: Round,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The next record.
    pub record: Record,
    /// Versions to create, before the record is committed.
    pub create: Vec<NewVersion>,
    /// What is to be written about versions whose fate the record itself does not tell.
    pub verdicts: Vec<VersionVerdict>,
    /// What there is to say once the record is committed.
    pub notes: Vec<Note>,
    /// What a person must mend.
    pub obstacle: Option<Obstacle>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Timestamp>,
}

/// Decides what is to be done.
#[must_use]
pub fn next(situation: &Situation<'_>) -> Course {
    let mut step = Step {
        situation,
        names: Names::of(situation.versions),
        record: situation.record.clone(),
        create: Vec::new(),
        verdicts: Vec::new(),
        notes: Vec::new(),
        obstacle: None,
        wake: None,
    };
    step.serve_something();
    if step.record.champion.is_some() {
        step.conclude();
        step.judge_round();
        step.notice_base_change();
        step.answer_approval();
        step.answer_rollback();
        step.honour_pin();
        step.establish();
        step.set_agenda();
    }
    step.finish()
}

/// A step under way.
struct Step<'a> {
    situation: &'a Situation<'a>,
    names: Names<'a>,
    record: Record,
    create: Vec<NewVersion>,
    verdicts: Vec<VersionVerdict>,
    notes: Vec<Note>,
    obstacle: Option<Obstacle>,
    wake: Option<Timestamp>,
}

impl Step<'_> {
    fn say(&mut self, reason: EventReason, message: impl Into<String>) {
        self.notes.push(Note { is_warning: false, reason, message: message.into(), origin: None });
    }

    fn warn(&mut self, reason: EventReason, message: impl Into<String>) {
        self.notes.push(Note { is_warning: true, reason, message: message.into(), origin: None });
    }

    /// Says that another version serves than before.
    fn say_who_serves(&mut self, reason: EventReason, message: String) {
        let origin = self.record.champion.as_ref().map(|champion| champion.origin);
        let is_warning = matches!(origin, Some(Origin::Rollback | Origin::Requested));
        self.notes.push(Note { is_warning, reason, message, origin });
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Whether a promoted prompt is still on trial.
    fn is_on_trial(&self) -> bool {
        self.record.watch.as_ref().is_some_and(|watch| !watch.established)
    }

    fn finish(mut self) -> Course {
        self.count_names();
        let record = &self.record;
        let phase = if self.situation.wants.suspend {
            Phase::Suspended
        } else if record.champion.is_none() {
            Phase::Pending
        } else if record.cycle.is_some() {
            Phase::Running
        } else if record.challenger.as_ref().is_some_and(|challenger| challenger.awaits_approval) {
            Phase::AwaitingApproval
        } else if self.is_on_trial() {
            Phase::Watching
        } else {
            Phase::Idle
        };
        self.record.phase = Some(phase);
        Course {
            record: self.record,
            create: self.create,
            verdicts: self.verdicts,
            notes: self.notes,
            obstacle: self.obstacle,
            wake: self.wake,
        }
    }
}
