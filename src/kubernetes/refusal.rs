//! Why the API server did not do what was asked, in a sentence with a remedy.

/// A request that was made: which verb on which resource, and how to speak of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The verb of RBAC, such as `patch`.
    pub verb: &'static str,
    /// The resource, plural, such as `promptversions`.
    pub resource: &'static str,
    /// What is attempted on what, such as `reading AgentOptimization shop/support`.
    pub attempt: String,
}

/// The API server did not do it, or was not reached.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
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
        "{attempt}: the cluster {server} does not know this resource; `whetstone crd | kubectl apply --server-side -f -` teaches it, or look whether it is another cluster than you meant (--context)"
    )]
    NotInstalled {
        /// What was attempted.
        attempt: String,
        /// The API server.
        server: String,
    },
    /// RBAC forbids it.
    #[error(
        "{}: not allowed: {message}; a Role for you needs apiGroups: [whetstone.dev], resources: [{}], verbs: [{}]",
        request.attempt, request.resource, request.verb
    )]
    Forbidden {
        /// The request.
        request: Request,
        /// The server's own words.
        message: String,
    },
    /// Who asks is not known.
    #[error(
        "{attempt}: {server} does not accept the credentials of this context; log in again, or choose another context"
    )]
    Unauthorized {
        /// What was attempted.
        attempt: String,
        /// The API server.
        server: String,
    },
    /// The object is not as it must be, or changed meanwhile, or an admission webhook is against it.
    #[error("{attempt}: refused: {message}")]
    Refused {
        /// What was attempted.
        attempt: String,
        /// The server's own words.
        message: String,
    },
    /// No answer, or none that is an API server's.
    #[error(
        "{attempt}: no answer from {server}: {reason}; is the cluster up, and is this the one you meant (--context, --kubeconfig)?"
    )]
    Unreachable {
        /// What was attempted.
        attempt: String,
        /// The API server.
        server: String,
        /// Why.
        reason: String,
    },
    /// The answer cannot be understood.
    #[error("{attempt}: {reason}; the resource definitions in the cluster may be of another version than this program")]
    Unreadable {
        /// What was attempted.
        attempt: String,
        /// Why.
        reason: String,
    },
}

impl RequestError {
    /// Gives an error of the client its sentence.
    #[must_use]
    pub fn new(error: &kube::Error, request: Request, server: &str) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => Self::answered(status, request, server),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self::Unreadable { attempt: request.attempt, reason: plain(error) }
            }
            _ => Self::Unreachable { attempt: request.attempt, server, reason: plain(error) },
        }
    }

    /// The same for an answer of the API server.
    #[must_use]
    pub fn answered(status: &kube::core::Status, request: Request, server: String) -> Self {
        let Request { attempt, .. } = request;
        let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
        match status.code {
            // An object that is missing is told with its kind; a path that is missing is not.
            404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                Self::NotInstalled { attempt, server }
            }
            401 => Self::Unauthorized { attempt, server },
            403 => Self::Forbidden { request: Request { attempt, ..request }, message },
            429 | 500.. => Self::Unreachable { attempt, server, reason: message },
            _ => Self::Refused { attempt, message },
        }
    }

    /// What to say while it is tried again, when it may pass by itself: no answer, rather than an answer that says no.
    #[must_use]
    pub fn passing(&self) -> Option<String> {
        match self {
            Self::Unreachable { server, reason, .. } => {
                Some(format!("no answer from {server}: {reason}; trying again"))
            }
            _ => None,
        }
    }
}

/// Whether the answer is that there is no such object, on a path that exists.
#[must_use]
pub fn is_missing_object(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// The innermost reason of an error: the outer ones name layers of the client.
#[must_use]
pub fn plain(error: &kube::Error) -> String {
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
        insta::assert_snapshot!(said(forbidden), @r#"suspending AgentOptimization shop/support: not allowed: agentoptimizations.whetstone.dev "support" is forbidden: User "ann" cannot patch resource "agentoptimizations" in API group "whetstone.dev" in the namespace "shop"; a Role for you needs apiGroups: [whetstone.dev], resources: [agentoptimizations], verbs: [patch]"#);
    }

    #[test]
    fn a_cluster_without_the_definitions_is_told_how_to_get_them() {
        insta::assert_snapshot!(said(r#"{"status":"Failure","code":404,"message":"404 page not found"}"#), @"suspending AgentOptimization shop/support: the cluster https://10.0.0.1:6443 does not know this resource; `whetstone crd | kubectl apply --server-side -f -` teaches it, or look whether it is another cluster than you meant (--context)");
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
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
