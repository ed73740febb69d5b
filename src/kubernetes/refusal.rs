//! Errors of the API server as sentences with a remedy.

/// A request: its verb and resource, and a description of the attempt.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The verb of RBAC, such as `patch`.
    pub verb: &'static str,
    /// The resource, plural, such as `promptversions`.
    pub resource: &'static str,
    /// The attempt, such as `reading AgentOptimization shop/support`.
    pub attempt: String,
}

/// The API server refused a request, or was unreachable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// There is no such object.
    #[error("no {kind} {object}{near}")]
    NotFound {
        /// Its kind.
        kind: &'static str,
        /// `NAMESPACE/NAME`.
        object: String,
        /// What may have been meant.
        near: String,
    },
    /// The resource definitions are not in the cluster.
    #[error(
        "{attempt}: the CustomResourceDefinitions are not installed in the cluster {server}; run `whetstone crd | kubectl apply --server-side -f -`, or select another cluster with --context"
    )]
    NotInstalled {
        /// The attempt.
        attempt: String,
        /// The API server.
        server: String,
    },
    /// RBAC forbids it.
    #[error(
        "{}: not allowed: {message}; the Role must include apiGroups: [whetstone.dev], resources: [{}], verbs: [{}]",
        request.attempt, request.resource, request.verb
    )]
    Forbidden {
        /// The request.
        request: Request,
        /// The message of the server.
        message: String,
    },
    /// The credentials are not accepted.
    #[error(
        "{attempt}: {server} does not accept the credentials of this context; log in again, or select another context with --context"
    )]
    Unauthorized {
        /// The attempt.
        attempt: String,
        /// The API server.
        server: String,
    },
    /// The object is invalid or was changed meanwhile, or an admission webhook refused it.
    #[error("{attempt}: refused: {message}")]
    Refused {
        /// The attempt.
        attempt: String,
        /// The message of the server.
        message: String,
    },
    /// No answer, or not that of an API server.
    #[error(
        "{attempt}: no answer from {server}: {reason}; check that the cluster is running, and that --context and --kubeconfig select the right one"
    )]
    Unreachable {
        /// The attempt.
        attempt: String,
        /// The API server.
        server: String,
        /// Why.
        reason: String,
    },
    /// The API server answers that it cannot process the request now.
    #[error("{attempt}: {server} cannot process the request at the moment: {reason}; try again later")]
    Overloaded {
        /// The attempt.
        attempt: String,
        /// The API server.
        server: String,
        /// The message of the server.
        reason: String,
    },
    /// The answer cannot be parsed.
    #[error(
        "{attempt}: {reason}; the CustomResourceDefinitions in the cluster may be from a different version of Whetstone; run `whetstone crd | kubectl apply --server-side -f -`, or use the version of the command line that matches the operator"
    )]
    Unreadable {
        /// The attempt.
        attempt: String,
        /// Why.
        reason: String,
    },
}

impl RequestError {
    /// Converts an error of the client.
    #[must_use]
    pub(crate) fn new(error: &kube::Error, request: Request, server: &str) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => Self::answered(status, request, server),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self::Unreadable { attempt: request.attempt, reason: plain(error) }
            }
            _ => Self::Unreachable { attempt: request.attempt, server, reason: plain(error) },
        }
    }

    /// Converts an error response of the API server.
    #[must_use]
    pub(crate) fn answered(status: &kube::core::Status, request: Request, server: String) -> Self {
        let Request { attempt, .. } = request;
        let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
        match status.code {
            // A missing object is reported with its kind, a missing path is not.
            404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                Self::NotInstalled { attempt, server }
            }
            401 => Self::Unauthorized { attempt, server },
            403 => Self::Forbidden { request: Request { attempt, ..request }, message },
            429 | 500.. => Self::Overloaded { attempt, server, reason: message },
            _ => Self::Refused { attempt, message },
        }
    }

    /// The message to show while the request is retried, if the error may be temporary: no answer or an overloaded server, rather than a refusal.
    #[must_use]
    pub(crate) fn passing(&self) -> Option<String> {
        match self {
            Self::Unreachable { server, reason, .. } => Some(format!("no answer from {server}: {reason}; retrying")),
            Self::Overloaded { server, reason, .. } => {
                Some(format!("{server} cannot process the request at the moment: {reason}; retrying"))
            }
            _ => None,
        }
    }
}

/// Whether the object does not exist, on a path that does.
#[must_use]
pub(crate) fn is_missing_object(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// Whether the API server refuses the request and will refuse it again, rather than being overloaded or out of reach.
#[must_use]
pub(crate) fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}

/// Why the API server refuses in its own words, or why there is no answer.
#[must_use]
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => status.reason.clone(),
        kube::Error::Api(status) => status.message.clone(),
        error => plain(error),
    }
}

/// The innermost reason of an error: the outer ones name layers of the client.
#[must_use]
pub(crate) fn plain(error: &kube::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> String {
        let status: kube::core::Status = serde_json::from_str(json).unwrap();
        let request = Request {
            verb: "patch",
            resource: "agentoptimizations",
            attempt: "suspending AgentOptimization shop/support".to_owned(),
        };
        RequestError::new(&kube::Error::Api(status.boxed()), request, "https://10.0.0.1:6443").to_string()
    }

    #[test]
    fn what_is_not_allowed_names_the_missing_permission() {
        let forbidden = r#"{"status":"Failure","code":403,"reason":"Forbidden","message":"agentoptimizations.whetstone.dev \"support\" is forbidden: User \"ann\" cannot patch resource \"agentoptimizations\" in API group \"whetstone.dev\" in the namespace \"shop\""}"#;
        insta::assert_snapshot!(said(forbidden), @r#"suspending AgentOptimization shop/support: not allowed: agentoptimizations.whetstone.dev "support" is forbidden: User "ann" cannot patch resource "agentoptimizations" in API group "whetstone.dev" in the namespace "shop"; the Role must include apiGroups: [whetstone.dev], resources: [agentoptimizations], verbs: [patch]"#);
    }

    #[test]
    fn a_cluster_without_the_definitions_is_reported_with_the_command_to_install_them() {
        insta::assert_snapshot!(said(r#"{"status":"Failure","code":404,"message":"404 page not found"}"#), @"suspending AgentOptimization shop/support: the CustomResourceDefinitions are not installed in the cluster https://10.0.0.1:6443; run `whetstone crd | kubectl apply --server-side -f -`, or select another cluster with --context");
    }

    #[test]
    fn temporary_errors_are_distinguished_from_permanent_ones() {
        let of = |code: u16| {
            let status = kube::core::Status::failure("no", "").with_code(code);
            let request = Request { verb: "get", resource: "agentoptimizations", attempt: String::new() };
            RequestError::answered(&status, request, String::new())
        };
        let may_pass = |code| of(code).passing().is_some();
        assert!(may_pass(503) && may_pass(429));
        assert!(!may_pass(401) && !may_pass(403) && !may_pass(404) && !may_pass(422));
    }
}
