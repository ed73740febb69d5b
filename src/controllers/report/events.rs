//! Events: about decisions, which the record keeps until they are published, and about their results.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::status::{Applied, Proposed, Status};
use crate::api::status::{NOTICES, Notice, Origin};
use crate::controllers::act::Acted;
use crate::controllers::conditions::{self, find};
use crate::controllers::context::Context;
use crate::controllers::observe::Observed;
use crate::kubernetes::events::Said;
use whetstone_decide::lifecycle::Course;

/// The decisions that are not published yet: new ones, and those of an operator that was killed before publishing them.
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

/// The number of a course's notes that fit into the record.
fn kept(observed: &Observed, course: &Course) -> usize {
    NOTICES.saturating_sub(observed.status.notices.len()).min(course.notes.len())
}

/// Publishes the decisions and counts them. Returns whether all of them were published.
pub(crate) async fn publish(
    observed: &Observed,
    course: &Course,
    committed: &Status<Proposed>,
    context: &Context,
) -> bool {
    let (new, is_all) = context.events.publish(&observed.object, &committed.fields().notices).await;
    // Only new ones are counted, so those of an operator that was killed after publishing them may be missing.
    for origin in new.iter().filter_map(|notice| notice.origin) {
        match origin {
            Origin::Rollback => context.metrics.rolled_back(&observed.owner, "Breach"),
            Origin::Requested => context.metrics.rolled_back(&observed.owner, "Requested"),
            origin => context.metrics.promoted(&observed.owner, &format!("{origin:?}")),
        }
    }
    // The record has a limit: a hundred refused versions may be applied at the same time.
    context.events.say(&observed.object, course.notes[kept(observed, course)..].iter().map(Said::from).collect()).await;
    is_all
}

/// Publishes results that no record keeps, before the status is written: an operator that is killed in between repeats an
/// Event rather than losing it.
pub(crate) async fn publish_outcome(observed: &Observed, acted: &Acted, status: &Status<Applied>, context: &Context) {
    let warn = |reason, message: &str| Said { is_warning: true, reason, message: message.to_owned() };
    let restored = acted.restored().map(|message| warn("TargetPutBack", message));
    let restarts = acted.restarted().news.iter().map(|message| warn("RestartFailed", message));
    let worsened = worsened(&observed.status.conditions, &status.fields().conditions);
    context.events.say(&observed.object, restored.into_iter().chain(restarts).chain(worsened).collect()).await;
}

/// A problem that did not exist before.
fn worsened(before: &[Condition], after: &[Condition]) -> Option<Said> {
    const TROUBLES: [&str; 5] = [
        conditions::INVALID_SPEC,
        conditions::REFERENCE_MISSING,
        conditions::ENDPOINT_REFUSED,
        conditions::PROMPT_TOO_LARGE,
        conditions::TARGET_NOT_OWNED,
    ];
    let ready = find(after, conditions::READY).filter(|it| it.status == "False")?;
    let reason = TROUBLES.into_iter().find(|reason| *reason == ready.reason)?;
    let is_known = find(before, conditions::READY).is_some_and(|it| it.message == ready.message);
    (!is_known).then(|| Said { is_warning: true, reason, message: ready.message.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::conditions::{Change, Conditions};

    fn ready(status: &'static str, reason: &str, message: &str) -> Vec<Condition> {
        let mut conditions = Conditions::of(&[], None, jiff::Timestamp::UNIX_EPOCH);
        conditions.apply(conditions::READY, Change::set(status, reason, message));
        conditions.into_list()
    }

    #[test]
    fn what_is_wrong_is_an_event_once_and_what_passes_by_itself_is_none() {
        let wrong = ready("False", conditions::INVALID_SPEC, "spec.budget is wrong");
        let note = worsened(&ready("True", conditions::SERVING, "v1 serves"), &wrong).unwrap();
        assert_eq!((note.reason, note.message.as_str()), (conditions::INVALID_SPEC, "spec.budget is wrong"));
        assert!(note.is_warning);
        assert_eq!(worsened(&wrong, &wrong), None);
        assert!(worsened(&wrong, &ready("False", conditions::INVALID_SPEC, "spec.models is wrong")).is_some());
        assert_eq!(worsened(&[], &ready("False", conditions::APPLYING, "v1 is being written")), None);
        assert_eq!(worsened(&[], &ready("True", conditions::INVALID_SPEC, "v1 serves")), None);
    }
}
