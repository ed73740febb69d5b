//! One-time requests to the operator: an annotation, and its acknowledgement in `status.handled`.

use std::time::Duration;

use anyhow::bail;
use kube::ResourceExt as _;

use super::follow::{Ended, Look, until};
use super::{Answer, Cluster, Wait, say};
use crate::api::AgentOptimization;
use crate::api::intent::annotations;
use crate::api::status::Handled;
use crate::cli::Format;
use crate::cli::exit::Exit;
use whetstone_domain::duration::HumanDuration;

/// The maximum time until the operator clears an earlier answer.
const FORGET: Duration = Duration::from_secs(15);

/// A one-time request, with the version that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Request<'a> {
    /// Promote a version that waits for approval.
    Approve(&'a str),
    /// Roll back to an earlier version.
    RollBack(&'a str),
}

impl<'a> Request<'a> {
    fn key(self) -> &'static str {
        match self {
            Self::Approve(_) => annotations::APPROVE,
            Self::RollBack(_) => annotations::ROLLBACK_TO,
        }
    }

    /// The version, which is the value of the annotation.
    fn version(self) -> &'a str {
        match self {
            Self::Approve(version) | Self::RollBack(version) => version,
        }
    }

    /// The requested action, such as `promotion of v3`.
    fn action(self) -> String {
        match self {
            Self::Approve(version) => format!("promotion of {version}"),
            Self::RollBack(version) => format!("rollback to {version}"),
        }
    }

    /// The command that makes the request.
    fn verb(self) -> &'static str {
        match self {
            Self::Approve(_) => "approve",
            Self::RollBack(_) => "rollback",
        }
    }

    fn answered(self, handled: &Handled) -> Option<&str> {
        match self {
            Self::Approve(_) => handled.approve.as_deref(),
            Self::RollBack(_) => handled.rollback_to.as_deref(),
        }
    }
}

/// The answer of the operator.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    /// Whether the version serves.
    granted: bool,
    /// The operator's explanation.
    message: String,
}

/// Makes the request, waits for the answer with `--wait`, and prints the result.
///
/// # Errors
/// The API server refused the annotation; the operator did not clear the answer to an earlier, equal request; those of
/// [`until`].
pub(in crate::cli) async fn ask(
    cluster: &Cluster,
    object: &AgentOptimization,
    request: Request<'_>,
    wait: &Wait,
    output: Format,
) -> anyhow::Result<Exit> {
    let name = object.name_any();
    if let Ended::Interrupted = annotate(cluster, object, request).await? {
        say("stopped; nothing was requested");
        return Ok(Exit::Stopped);
    }
    if !wait.wait {
        let follow = cluster.view().command(&format!("status {name}"));
        let message = format!("requested the {}; see the result with `{follow}`", request.action());
        print(cluster, name, request, Some(false), message, output)?;
        return Ok(Exit::Success);
    }
    match until(cluster, &name, wait, |seen| read(seen, request)).await? {
        Ended::Interrupted => {
            say("stopped waiting; the request is still pending");
            Ok(Exit::Stopped)
        }
        Ended::Done(Reply { granted: true, message }) => {
            print(cluster, name, request, Some(true), message, output)?;
            Ok(Exit::Success)
        }
        Ended::Done(Reply { granted: false, message }) => {
            print(cluster, name, request, Some(true), format!("not done: {message}"), output)?;
            Ok(Exit::Error)
        }
    }
}

/// Prints that the version serves already.
///
/// # Errors
/// Standard output cannot be written.
pub(in crate::cli) fn granted_already(
    cluster: &Cluster,
    name: String,
    request: Request<'_>,
    output: Format,
) -> anyhow::Result<Exit> {
    let message = format!("{} already serves; nothing to do", request.version());
    print(cluster, name, request, None, message, output)?;
    Ok(Exit::Success)
}

fn print(
    cluster: &Cluster,
    name: String,
    request: Request<'_>,
    answered: Option<bool>,
    message: String,
    output: Format,
) -> anyhow::Result<()> {
    let namespace = cluster.optimizations.namespace().to_owned();
    let value = Some(request.version().to_owned());
    Answer { namespace, name, asked: request.verb(), value, answered, message, cycle: None }.print(output)
}

/// Sets the annotation.
async fn annotate(cluster: &Cluster, object: &AgentOptimization, request: Request<'_>) -> anyhow::Result<Ended<()>> {
    let name = object.name_any();
    let (key, version) = (request.key(), request.version());
    let requested = object.annotations().get(key).map(String::as_str);
    let answered = |seen: &AgentOptimization| {
        let handled = seen.status.as_ref().and_then(|status| status.handled.as_ref());
        handled.and_then(|handled| request.answered(handled)) == Some(version)
    };
    if requested == Some(version) && answered(object) {
        // Setting the same value would change nothing. Removing the annotation makes the operator clear its answer.
        cluster.optimizations.unannotate(&name, key).await?;
        let forgotten = |seen: &AgentOptimization| if answered(seen) { Look::Unanswered } else { Look::Done(()) };
        let wait = Wait { wait: true, timeout: Some(HumanDuration(FORGET)) };
        match until(cluster, &name, &wait, forgotten).await {
            Ok(Ended::Done(())) => {}
            Ok(Ended::Interrupted) => return Ok(Ended::Interrupted),
            Err(error) => bail!("repeating the request for {version}, which was answered before: {error:#}"),
        }
    }
    cluster.optimizations.annotate(&name, key, version).await?;
    Ok(Ended::Done(()))
}

/// Reads the answer from an object.
fn read(seen: &AgentOptimization, request: Request<'_>) -> Look<Reply> {
    let Some(status) = &seen.status else { return Look::Unanswered };
    let Some(handled) = &status.handled else { return Look::Unanswered };
    if request.answered(handled) != Some(request.version()) {
        return Look::Unanswered;
    }
    let granted = status.champion.as_ref().is_some_and(|champion| champion.version == request.version());
    let message = handled.message.clone().unwrap_or_else(|| "the operator gave no reason".to_owned());
    Look::Done(Reply { granted, message: crate::web::terminal::line(&message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: &str) -> AgentOptimization {
        let yaml = format!(
            "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {{name: support, namespace: shop}}\nspec: {{agent: {{prompt: {{text: x}}, runtime: {{model: {{ref: worker}}}}}}, scenarios: [{{configMapRef: {{name: s}}}}]}}\n{status}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn reply(status: &str, request: Request<'_>) -> Option<Reply> {
        match read(&object(status), request) {
            Look::Done(reply) => Some(reply),
            _ => None,
        }
    }

    #[test]
    fn an_answer_to_another_request_is_ignored() {
        assert_eq!(reply("", Request::Approve("v3")), None);
        assert_eq!(reply("status: {handled: {approve: v2, message: v2 serves}}", Request::Approve("v3")), None);
        assert_eq!(reply("status: {handled: {rollbackTo: v3, message: v3 serves}}", Request::Approve("v3")), None);
    }

    #[test]
    fn it_is_granted_when_the_version_serves() {
        let champion = "champion: {version: v3, hash: aa, origin: Approval, since: '2026-11-23T12:00:00Z'}";
        let granted = format!("status: {{handled: {{approve: v3, message: v3 serves}}, {champion}}}");
        let expected = Reply { granted: true, message: "v3 serves".to_owned() };
        assert_eq!(reply(&granted, Request::Approve("v3")), Some(expected));
        let refused = format!("status: {{handled: {{rollbackTo: v1, message: there is no v1}}, {champion}}}");
        let expected = Reply { granted: false, message: "there is no v1".to_owned() };
        assert_eq!(reply(&refused, Request::RollBack("v1")), Some(expected));
    }
}
