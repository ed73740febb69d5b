//! Why a reconcile could not be ended, and the one reason for which none may write.

use super::context::Context;
use crate::domain::ids::VersionName;
use crate::engine::ports::StoreError;

/// Why a reconcile could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server does not answer, or refuses.
    #[error("the API server: {0}")]
    Cluster(#[source] kube::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Store(StoreError),
    /// Somebody has changed the object meanwhile.
    #[error("it has changed meanwhile")]
    Changed,
    /// The object is gone.
    #[error("it is gone")]
    Gone,
    /// We do not hold the Lease.
    #[error("this replica does not hold the Lease")]
    NotLeader,
    /// The prompt of the champion is nowhere.
    #[error(
        "the prompt of {0} is neither in the target, nor in a PromptVersion, nor in the store; apply its PromptVersion again"
    )]
    PromptLost(VersionName),
    /// A defect.
    #[error("reconciling panicked: {0}; this is a defect of Whetstone")]
    Panicked(String),
}

impl ReconcileError {
    /// A short name for metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Cluster(kube::Error::Api(status)) if status.code == 403 => "forbidden",
            Self::Cluster(kube::Error::Api(_)) => "api",
            Self::Cluster(_) => "connection",
            Self::Store(error) => error.kind.category(),
            Self::Changed => "conflict",
            Self::Gone => "gone",
            Self::NotLeader => "not_leader",
            Self::PromptLost(_) => "prompt_lost",
            Self::Panicked(_) => "panic",
        }
    }

    /// The API server has refused what was asked for; it is not that it could not.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Cluster(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429)
    }

    /// Another attempt may go better, without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Gone | Self::PromptLost(_))
    }
}

/// Nothing is written without the Lease.
pub(super) fn fenced(context: &Context) -> Result<(), ReconcileError> {
    if context.fence.is_open() { Ok(()) } else { Err(ReconcileError::NotLeader) }
}
