//! Why a cycle ended without a verdict.

use super::calls::CallFailure;
use super::ports::{CallError, StoreError};

/// A cycle ended without a verdict. None of these says anything about a prompt, and none of them loses what was paid.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CycleError {
    /// Somebody asked it to stop.
    #[error("stopped; everything that was paid for is in the ledger, and the same command goes on from here")]
    Stopped,
    /// A call that the whole cycle depends on failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The next call might have exceeded the budget.
    #[error("{0}")]
    BudgetExhausted(CallFailure),
    /// More scenarios than the plan tolerates ended in errors.
    #[error(
        "{errors} of {runs} runs ended in errors, more than spec.execution.errorTolerance allows ({allowed}); the first: {first}"
    )]
    TooManyErrors {
        /// Runs that ended in errors.
        errors: usize,
        /// Runs in all.
        runs: usize,
        /// How many errors were allowed.
        allowed: usize,
        /// The first error.
        first: String,
        /// Some of them may go better another time: not all were refused.
        is_retryable: bool,
    },
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
            Self::TooManyErrors { .. } => "errors",
        }
    }

    /// The same cycle may go better later, without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Call(error) => error.kind.is_retryable(),
            Self::Store(error) => error.kind.is_retryable(),
            Self::TooManyErrors { is_retryable, .. } => *is_retryable,
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
            budget @ CallFailure::BudgetExhausted { .. } => Self::BudgetExhausted(budget),
        }
    }
}
