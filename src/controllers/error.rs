//! Why a reconcile failed, and when it is retried.

use std::time::Duration;

use crate::kubernetes::lease::NotLeader;
use crate::kubernetes::refusal::{is_refusal, reason};
use whetstone_domain::ids::{ObjectKey, VersionName};
use whetstone_engine::ports::StoreError;

/// The wait before a reconcile is retried after a conflict.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);
/// The number of consecutive conflicts that are retried after this short wait.
const CONFLICTS: u32 = 10;
/// The wait after the first failure with any other error. It doubles with each failure.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// The maximum wait after an error.
const LONGEST: Duration = Duration::from_mins(1);

/// The steps of a reconcile, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Reads the target.
    Observe,
    /// Reads references.
    Resolve,
    /// Writes the record, versions and the target.
    Act,
    /// Writes statuses.
    Report,
}

/// A request to the API server that a reconcile depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Read the target ConfigMap, in *observe* and again in *act*.
    ReadTarget,
    /// Read a ConfigMap that a spec refers to.
    ReadConfigMap,
    /// Read a Secret that a spec refers to.
    ReadSecret,
    /// Read the prompt of a PromptVersion.
    ReadVersion,
    /// List the PromptVersions of an AgentOptimization.
    ListVersions,
    /// Create a PromptVersion.
    CreateVersion,
    /// Delete a PromptVersion that is too old to keep.
    DeleteVersion,
    /// Write the finalizers of an AgentOptimization.
    WriteFinalizers,
    /// Write the status of an AgentOptimization.
    WriteStatus,
    /// Write the target ConfigMap.
    WriteTarget,
    /// Restart a workload.
    Restart,
    /// Write the status of a PromptVersion.
    WriteVersionStatus,
}

impl Attempt {
    /// Every request.
    #[cfg(test)]
    const ALL: [Self; 12] = [
        Self::ReadTarget,
        Self::ReadConfigMap,
        Self::ReadSecret,
        Self::ReadVersion,
        Self::ListVersions,
        Self::CreateVersion,
        Self::DeleteVersion,
        Self::WriteFinalizers,
        Self::WriteStatus,
        Self::WriteTarget,
        Self::Restart,
        Self::WriteVersionStatus,
    ];

    /// The step that makes it, a description, and the verb and resource that a Role must allow for it.
    const fn facts(self) -> (Step, &'static str, &'static str, &'static str) {
        match self {
            Self::ReadTarget => (Step::Observe, "read the ConfigMap", "get", "configmaps"),
            Self::ReadConfigMap => (Step::Resolve, "read the ConfigMap", "get", "configmaps"),
            Self::ReadSecret => (Step::Resolve, "read the Secret", "get", "secrets"),
            Self::ReadVersion => (Step::Act, "read the PromptVersion", "get", "promptversions"),
            Self::ListVersions => (Step::Act, "list the PromptVersions of", "list", "promptversions"),
            Self::CreateVersion => (Step::Act, "create the PromptVersion", "create", "promptversions"),
            Self::DeleteVersion => (Step::Act, "delete the PromptVersion", "delete", "promptversions"),
            Self::WriteFinalizers => {
                (Step::Act, "write the finalizers of the AgentOptimization", "patch", "agentoptimizations")
            }
            Self::WriteStatus => {
                (Step::Act, "write the status of the AgentOptimization", "patch", "agentoptimizations/status")
            }
            Self::WriteTarget => (Step::Act, "write the ConfigMap", "patch", "configmaps"),
            Self::Restart => (Step::Act, "restart the workload", "patch", "deployments"),
            Self::WriteVersionStatus => {
                (Step::Report, "write the status of the PromptVersion", "patch", "promptversions/status")
            }
        }
    }

    /// The verb and the resource that a Role must allow.
    #[must_use]
    pub(crate) const fn permission(self) -> (&'static str, &'static str) {
        let (_, _, verb, resource) = self.facts();
        (verb, resource)
    }

    /// Converts an error of the client: this request failed for this object.
    pub(crate) fn on(self, namespace: &str, name: &str) -> impl FnOnce(kube::Error) -> ReconcileError {
        move |source| ReconcileError::Request { attempt: self, object: ObjectKey::new(namespace, name), source }
    }

    /// The error if another client changed or created this object.
    #[must_use]
    pub(crate) fn conflict(self, namespace: &str, name: &str) -> ReconcileError {
        ReconcileError::Conflict { attempt: self, object: ObjectKey::new(namespace, name) }
    }

    fn words(self) -> &'static str {
        self.facts().1
    }

    fn remedy(self, error: &kube::Error) -> String {
        let (verb, resource) = self.permission();
        match error {
            // The message is RBAC's own; the messages of a quota or an admission webhook are different.
            kube::Error::Api(status) if status.code == 403 && status.message.contains(" cannot ") => {
                format!("; the operator's Role must allow {verb} on {resource}")
            }
            _ => String::new(),
        }
    }
}

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// A request to the API server failed or was refused.
    #[error("cannot {} {object}: {}{}", attempt.words(), reason(source), attempt.remedy(source))]
    Request {
        /// The request.
        attempt: Attempt,
        /// The object of the request.
        object: ObjectKey,
        /// The error of the client.
        source: kube::Error,
    },
    /// An object was changed since it was read.
    #[error("cannot {} {object}: it was changed by somebody else in the meantime", attempt.words())]
    Conflict {
        /// The request.
        attempt: Attempt,
        /// The object that was changed.
        object: ObjectKey,
    },
    /// The store cannot be read.
    #[error("cannot read the versions of {object} from the store: {source}")]
    Store {
        /// The AgentOptimization.
        object: ObjectKey,
        /// The error of the store.
        source: StoreError,
    },
    /// The AgentOptimization was deleted.
    #[error("the AgentOptimization {0} was deleted in the meantime")]
    Gone(ObjectKey),
    /// This process does not hold the Lease.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// The prompt of the champion cannot be found anywhere.
    #[error(
        "cannot find the prompt of {version} of {object}: it is neither in the target, nor in a PromptVersion, nor in the store; \
         apply its PromptVersion again"
    )]
    PromptLost {
        /// The AgentOptimization.
        object: ObjectKey,
        /// The name of the version.
        version: VersionName,
    },
    /// A defect of this program.
    #[error("reconciling panicked: {0}; this is a defect of Whetstone")]
    Panicked(String),
}

impl ReconcileError {
    /// A short name for metrics.
    #[must_use]
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Request { source: kube::Error::Api(status), .. } if status.code == 403 => "forbidden",
            Self::Request { source: kube::Error::Api(_), .. } => "api",
            Self::Request { .. } => "connection",
            Self::Store { source, .. } => source.kind.category(),
            Self::Conflict { .. } => "conflict",
            Self::Gone(_) => "gone",
            Self::NotLeader(_) => "not_leader",
            Self::PromptLost { .. } => "prompt_lost",
            Self::Panicked(_) => "panic",
        }
    }

    /// The step that failed; `None` if that is not known.
    #[must_use]
    pub(crate) fn step(&self) -> Option<Step> {
        match self {
            Self::Request { attempt, .. } | Self::Conflict { attempt, .. } => Some(attempt.facts().0),
            Self::Store { .. } | Self::PromptLost { .. } | Self::Gone(_) => Some(Step::Act),
            Self::NotLeader(_) | Self::Panicked(_) => None,
        }
    }

    /// Whether the API server refuses the request, and would refuse it again.
    #[must_use]
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Request { source, .. } if is_refusal(source))
    }

    /// The wait before the next attempt, after this many consecutive failures; `None` if there is nothing left to
    /// reconcile.
    #[must_use]
    pub(crate) fn retry_after(&self, failures: u32) -> Option<Duration> {
        match self {
            Self::Gone(_) => None,
            Self::Conflict { .. } if failures < CONFLICTS => Some(AFTER_CONFLICT),
            _ => Some(AFTER_FAILURE.saturating_mul(1 << failures.min(7)).min(LONGEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(attempt: Attempt, code: u16, reason: &str, message: &str) -> ReconcileError {
        let status = Status::failure(message, reason).with_code(code);
        attempt.on("shop", "live")(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn an_error_names_the_step_and_the_object() {
        let error = refused(Attempt::WriteTarget, 500, "InternalError", "etcdserver: request timed out");
        assert_eq!(error.to_string(), "cannot write the ConfigMap shop/live: etcdserver: request timed out");
        assert_eq!((error.step(), error.category()), (Some(Step::Act), "api"));
        let error = Attempt::WriteStatus.conflict("shop", "support");
        assert_eq!(
            error.to_string(),
            "cannot write the status of the AgentOptimization shop/support: it was changed by somebody else in the meantime"
        );
        for attempt in Attempt::ALL {
            let error = refused(attempt, 503, "", "no");
            assert!(
                error.to_string().starts_with("cannot ") && error.to_string().contains(" shop/live: no"),
                "{error}"
            );
            assert!(error.step().is_some() && !error.is_refusal());
        }
    }

    #[test]
    fn what_a_role_forbids_says_what_the_role_must_allow() {
        let said =
            r#"promptversions.whetstone.dev "live" is forbidden: User "w" cannot delete resource "promptversions""#;
        let error = refused(Attempt::DeleteVersion, 403, "Forbidden", said);
        assert!(error.is_refusal());
        assert_eq!(error.category(), "forbidden");
        assert!(error.to_string().ends_with("; the operator's Role must allow delete on promptversions"), "{error}");
        let quota = refused(Attempt::CreateVersion, 403, "Forbidden", "exceeded quota: versions");
        assert_eq!(quota.to_string(), "cannot create the PromptVersion shop/live: exceeded quota: versions");
    }

    #[test]
    fn the_role_that_is_installed_allows_every_request() {
        let role = include_str!("../../deploy/kustomize/namespace-access/role.yaml");
        let list = |line: &str, field: &str| -> Vec<String> {
            let list = line.trim().strip_prefix(field).map(|list| list.trim_matches(['[', ']']));
            list.into_iter().flat_map(|list| list.split(", ")).map(str::to_owned).collect()
        };
        let lines: Vec<&str> = role.lines().collect();
        for (verb, resource) in Attempt::ALL.map(Attempt::permission) {
            let is_allowed = lines.windows(2).any(|pair| {
                list(pair[0], "resources: ").iter().any(|it| it == resource)
                    && list(pair[1], "verbs: ").iter().any(|it| it == verb)
            });
            assert!(is_allowed, "{verb} on {resource}");
        }
    }

    #[test]
    fn a_conflict_is_tried_again_at_once_anything_else_later_and_later_and_what_is_gone_never() {
        let conflict = Attempt::WriteStatus.conflict("shop", "support");
        assert_eq!(conflict.retry_after(1), Some(AFTER_CONFLICT));
        assert_eq!(conflict.retry_after(CONFLICTS), Some(LONGEST));
        let failed = refused(Attempt::ReadTarget, 500, "", "");
        let waits: Vec<u64> = (1..=7).map(|failures| failed.retry_after(failures).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(ReconcileError::Gone(ObjectKey::new("shop", "support")).retry_after(1), None);
        assert_eq!(ReconcileError::from(NotLeader).retry_after(1), Some(Duration::from_secs(1)));
    }
}
