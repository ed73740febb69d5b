//! Exit codes. They are documented in `docs/cli.md`, and CI depends on them.

use std::process::ExitCode;

use crate::api::problem::Problems;
use crate::api::status::CycleVerdict;
use crate::import::ImportError;
use crate::models::SetupError;
use crate::web::status::Health;
use whetstone_decide::conclude::Verdict;
use whetstone_engine::error::CycleError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Promoted; for commands without a verdict: done.
    Success = 0,
    /// An error of a provider, the store or the machine; no verdict about a prompt.
    Error = 1,
    /// The arguments or the files are wrong, or a key is missing.
    Invalid = 2,
    /// Of `status`: not ready yet.
    NotReady = 3,
    /// Of `status`: a person has to fix a problem.
    Stalled = 4,
    /// The champion is kept, and reaches its minimum score.
    Kept = 10,
    /// The champion is kept, and is below its minimum score.
    BelowThreshold = 11,
    /// The evidence is insufficient.
    Inconclusive = 12,
    /// Stopped by Ctrl-C.
    Stopped = 130,
}

/// Invalid arguments that the parser cannot detect.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongArguments(pub(super) String);

impl Exit {
    /// The code for an error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Problems>()
            || error.is::<ImportError>()
            || error.is::<SetupError>()
            || error.is::<WrongArguments>()
        {
            Self::Invalid
        } else if matches!(error.downcast_ref(), Some(CycleError::Stopped)) {
            Self::Stopped
        } else {
            Self::Error
        }
    }

    /// The code for the verdict of a cycle in `status.history`.
    pub(super) fn of_verdict(verdict: &CycleVerdict) -> Self {
        match verdict {
            CycleVerdict::Promoted | CycleVerdict::Passed | CycleVerdict::Measured => Self::Success,
            CycleVerdict::Kept => Self::Kept,
            CycleVerdict::BelowThreshold => Self::BelowThreshold,
            CycleVerdict::Inconclusive => Self::Inconclusive,
            CycleVerdict::Worse
            | CycleVerdict::Drifted
            | CycleVerdict::RolledBack
            | CycleVerdict::Failed
            | CycleVerdict::Later(_) => Self::Error,
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Promoted | Verdict::Passed => Self::Success,
            Verdict::Kept => Self::Kept,
            Verdict::BelowThreshold => Self::BelowThreshold,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

impl From<Health> for Exit {
    fn from(health: Health) -> Self {
        match health {
            Health::Ready => Self::Success,
            Health::NotReady => Self::NotReady,
            Health::Stalled => Self::Stalled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
