//! What a step has to say: notes that become Events, and what only a person can fix.

use whetstone_domain::lifecycle::Origin;

/// Something to say: an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Somebody should look.
    pub is_warning: bool,
    /// For programs.
    pub reason: EventReason,
    /// In words, for people.
    pub message: String,
    /// How the version came to serve that it speaks of, if another one serves than before.
    pub origin: Option<Origin>,
}

/// The reason of an Event. The names of the variants are the words in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReason {
    /// A challenger waits for approval.
    AwaitingApproval,
    /// The base prompt was changed and is a candidate.
    BasePromptChanged,
    /// The base prompt was changed to one that was rolled back before.
    BasePromptQuarantined,
    /// The base prompt serves, as the first version.
    BasePromptServes,
    /// A budget was used up.
    BudgetExhausted,
    /// The champion was found in the target ConfigMap or among the versions.
    ChampionFound,
    /// A cycle has ended, and the champion stays.
    CycleEnded,
    /// A cycle failed and is retried.
    CycleFailed,
    /// A re-evaluation found the champion worse than it was.
    Drifted,
    /// A promoted version has passed its watch.
    Established,
    /// A challenger passed the gate.
    GatePassed,
    /// The champion breaches a limit and has no predecessor.
    NothingToRollBackTo,
    /// `spec.pin` put a version in place.
    Pinned,
    /// A pinned version breaches a limit.
    PinnedVersionBreaches,
    /// A pinned version does worse than its predecessor.
    PinnedVersionWorse,
    /// A version was promoted.
    Promoted,
    /// A request by annotation was answered.
    RequestHandled,
    /// A version was rolled back.
    RolledBack,
    /// `spec.pin` was removed.
    Unpinned,
    /// A version is not gated.
    VersionRefused,
}

/// A condition of the resource that a note of a cycle sets, until a cycle ends without that note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleCondition {
    /// The type of the condition.
    pub type_: &'static str,
    /// The note that sets it.
    pub set_by: EventReason,
    /// The status that it then has.
    pub status: &'static str,
    /// The reason that it then has.
    pub reason: &'static str,
}

/// The conditions that cycles set.
pub const CYCLE_CONDITIONS: [CycleCondition; 1] = [CycleCondition {
    type_: "BudgetExhausted",
    set_by: EventReason::BudgetExhausted,
    status: "True",
    reason: "Exhausted",
}];

impl EventReason {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "AwaitingApproval",
            Self::BasePromptChanged => "BasePromptChanged",
            Self::BasePromptQuarantined => "BasePromptQuarantined",
            Self::BasePromptServes => "BasePromptServes",
            Self::BudgetExhausted => "BudgetExhausted",
            Self::ChampionFound => "ChampionFound",
            Self::CycleEnded => "CycleEnded",
            Self::CycleFailed => "CycleFailed",
            Self::Drifted => "Drifted",
            Self::Established => "Established",
            Self::GatePassed => "GatePassed",
            Self::NothingToRollBackTo => "NothingToRollBackTo",
            Self::Pinned => "Pinned",
            Self::PinnedVersionBreaches => "PinnedVersionBreaches",
            Self::PinnedVersionWorse => "PinnedVersionWorse",
            Self::Promoted => "Promoted",
            Self::RequestHandled => "RequestHandled",
            Self::RolledBack => "RolledBack",
            Self::Unpinned => "Unpinned",
            Self::VersionRefused => "VersionRefused",
        }
    }
}

/// Something that only a person can fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// For programs.
    pub reason: ObstacleReason,
    /// In words, for people.
    pub message: String,
}

/// Why only a person can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleReason {
    /// `spec.pin` names a version that does not exist.
    PinnedVersionUnknown,
    /// The spec is invalid: its schedule cannot be read.
    InvalidSpec,
}

impl ObstacleReason {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PinnedVersionUnknown => "PinnedVersionUnknown",
            Self::InvalidSpec => "InvalidSpec",
        }
    }
}
