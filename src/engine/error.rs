//! Why a cycle ended without a verdict.

use super::calls::CallFailure;
use super::ports::{CallError, StoreError};
use whetstone_decide::lifecycle::FailureCause;
use whetstone_domain::money::BudgetExhausted;
use whetstone_domain::words::{by_number, counted};

/// A cycle ended without a verdict. No variant says anything about a prompt, and none loses what was paid.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CycleError {
    /// It was asked to stop.
    #[error("stopped; everything that was paid for is in the ledger, and the same command continues from here")]
    Stopped,
    /// A call that the whole cycle depends on failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The next call might have exceeded the budget.
    #[error(transparent)]
    BudgetExhausted(#[from] BudgetExhausted),
    /// More runs than the plan tolerates ended in errors.
    #[error(
        "{failed} of {} ended in {}{}, more than spec.execution.errorTolerance allows ({allowed}); the first: {first}",
        counted(*.runs, "run"), by_number(*.failed, "an error", "errors"), of_causes(*.errors, *.failed)
    )]
    TooManyErrors {
        /// The number of distinct causes: runs that failed for the same cause count once.
        errors: usize,
        /// Runs that ended in errors.
        failed: usize,
        /// Runs of the cycle so far, including the running ones.
        runs: usize,
        /// How many errors were allowed.
        allowed: usize,
        /// The first error.
        first: String,
        /// Whether a retry may succeed: not all of them were refused.
        is_retryable: bool,
    },
    /// No run could be scored.
    #[error("{}, so there is nothing to score; the first error: {first}", all_of(*.runs))]
    NothingScored {
        /// Runs.
        runs: usize,
        /// The first error.
        first: String,
        /// Whether a retry may succeed: not all of them were refused.
        is_retryable: bool,
    },
}

fn of_causes(causes: usize, failed: usize) -> String {
    match causes {
        all if all == failed => String::new(),
        1 => ", of one cause".to_owned(),
        several => format!(", of {}", counted(several, "cause")),
    }
}

fn all_of(runs: usize) -> String {
    if runs == 1 { "the only run ended in an error".to_owned() } else { format!("all {runs} runs ended in errors") }
}

impl CycleError {
    /// A short name for metrics and exit codes.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Call(error) => error.kind.category(),
            Self::Store(error) => error.kind.category(),
            Self::BudgetExhausted(_) => "budget",
            Self::TooManyErrors { .. } | Self::NothingScored { .. } => "errors",
        }
    }

    /// What the operator makes of the failure; `None` if the cycle was asked to stop.
    #[must_use]
    pub fn cause(&self) -> Option<FailureCause> {
        match self {
            Self::Stopped => None,
            error => Some(FailureCause::of(error.is_retryable())),
        }
    }

    /// Whether the same cycle may succeed later, without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Call(error) => error.kind.is_retryable(),
            Self::Store(error) => error.kind.is_retryable(),
            Self::TooManyErrors { is_retryable, .. } | Self::NothingScored { is_retryable, .. } => *is_retryable,
            Self::Stopped => true,
            Self::BudgetExhausted(_) => false,
        }
    }
}

impl From<CallFailure> for CycleError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Call(error) => Self::Call(error),
            CallFailure::Store(error) => Self::Store(error),
            CallFailure::Cancelled => Self::Stopped,
            CallFailure::BudgetExhausted(why) => Self::BudgetExhausted(why),
        }
    }
}
