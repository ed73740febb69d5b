//! What is said: Events about what was decided, which the record keeps until they are published, and about what came of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::act::Acted;
use super::super::conditions;
use super::super::context::{Context, Said};
use super::super::observe::Observed;
use crate::api::status::{AgentOptimizationStatus, NOTICES, Notice, Origin};
use crate::decide::lifecycle::Course;

/// What was decided and is not published yet: now, and before the last operator was killed.
pub(super) fn notices(observed: &Observed, course: &Course) -> Vec<Notice> {
    let at = conditions::whole_seconds(observed.now);
    let decided = course.notes.iter().map(|note| Notice {
        at,
        reason: note.reason.as_str().to_owned(),
        message: conditions::cut(&note.message, conditions::MESSAGE / 4),
        warning: note.is_warning,
        origin: note.origin,
    });
    observed.status.notices.iter().cloned().chain(decided.take(kept(observed, course))).collect()
}

/// How many of the notes of a course the record has room for.
fn kept(observed: &Observed, course: &Course) -> usize {
    NOTICES.saturating_sub(observed.status.notices.len()).min(course.notes.len())
}

/// Publishes what was decided, and counts it. Returns whether all of it is published.
pub async fn publish(
    observed: &Observed,
    course: &Course,
    committed: &AgentOptimizationStatus,
    context: &Context,
) -> bool {
    let (new, is_all) = context.publish(&observed.object, &committed.notices).await;
    // What is counted is what is new: whoever was killed before it was published did not come to count it for long.
    for origin in new.iter().filter_map(|notice| notice.origin) {
        match origin {
            Origin::Rollback => context.metrics.rolled_back(&observed.owner, "Breach"),
            Origin::Requested => context.metrics.rolled_back(&observed.owner, "Requested"),
            origin => context.metrics.promoted(&observed.owner, &format!("{origin:?}")),
        }
    }
    // Somebody may apply a hundred versions at once that are refused.
    context.say(&observed.object, course.notes[kept(observed, course)..].iter().map(Said::from).collect()).await;
    is_all
}

/// Says what came of it that no record keeps. Before the status is written: said again after a kill, rather than never.
pub async fn say_what_came_of_it(
    observed: &Observed,
    acted: &Acted,
    status: &AgentOptimizationStatus,
    context: &Context,
) {
    let warn = |reason, message: &String| Said { is_warning: true, reason, message: message.clone() };
    let mut said: Vec<Said> = acted.put_back.iter().map(|message| warn("TargetPutBack", message)).collect();
    said.extend(acted.restart_news.iter().map(|message| warn("RestartFailed", message)));
    said.extend(worsened(&observed.status.conditions, &status.conditions));
    context.say(&observed.object, said).await;
}

/// What has come to be wrong: said once, not at every look.
fn worsened(before: &[Condition], after: &[Condition]) -> Option<Said> {
    let ready = after.iter().find(|it| it.type_ == conditions::READY && it.status == "False")?;
    let reason = TROUBLES.into_iter().find(|reason| *reason == ready.reason)?;
    let is_known = before.iter().any(|it| it.type_ == ready.type_ && it.message == ready.message);
    (!is_known).then(|| Said { is_warning: true, reason, message: ready.message.clone() })
}

/// What is wrong with a resource, or with what it refers to.
const TROUBLES: [&str; 5] = [
    conditions::INVALID_SPEC,
    conditions::REFERENCE_MISSING,
    conditions::ENDPOINT_REFUSED,
    conditions::PROMPT_TOO_LARGE,
    conditions::TARGET_NOT_OWNED,
];
