//! Cycles that end without a verdict, and who can do something about it.

use super::note::EventReason;

/// A cycle that ended without a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What was attempted, why it failed, and what to do.
    pub message: String,
    /// The kind of failure.
    pub cause: FailureCause,
}

/// The kind of a failure. It decides whether a person is needed, and which Event reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// Something that passes: an outage of a provider, a conflict, an object that does not exist yet.
    Temporary,
    /// Something that stays until a person fixes it: a key, an address, a full disk.
    Permanent,
}

impl Failed {
    /// A failure that passes.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: FailureCause::Temporary }
    }

    /// A failure that a person has to fix.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: FailureCause::Permanent }
    }
}

impl FailureCause {
    /// The cause of a failure that a retry may, or cannot, overcome.
    #[must_use]
    pub fn of(is_retryable: bool) -> Self {
        if is_retryable { Self::Temporary } else { Self::Permanent }
    }

    /// Whether retrying is useless until a person fixes the cause.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::Temporary => false,
            Self::Permanent => true,
        }
    }

    /// The Event that reports the failure.
    #[must_use]
    pub fn event(self) -> EventReason {
        match self {
            Self::Temporary | Self::Permanent => EventReason::CycleFailed,
        }
    }
}
