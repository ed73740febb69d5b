//! Step *act*, first part: commits a decision. First the versions that it creates and the verdicts on what was requested,
//! then the record in one conditional write, which is where a promotion happens; then what follows from the record alone:
//! verdicts of cycles, and Events.

use std::sync::Arc;

use super::act::create_versions;
use super::context::Context;
use super::decision::decide_without_new_versions;
use super::error::ReconcileError;
use super::observe::Observed;
use super::report::{self, Status, VersionReports};
use super::resolved::Resolved;
use crate::api::AgentOptimization;
use whetstone_decide::lifecycle::Course;

/// A decision whose record was written.
pub(super) struct Committed<'o> {
    /// What is to be done.
    pub course: Course,
    /// The optimization with the written record.
    pub object: Arc<AgentOptimization>,
    /// The changes of the statuses of versions.
    pub versions: VersionReports<'o>,
    /// Whether every Event of the decision was published.
    pub is_published: bool,
    /// Why a version could not be created, if the decision was made without it; to be retried.
    pub refused: Option<ReconcileError>,
}

/// Commits a course.
///
/// # Errors
/// If a request to the API server fails, or the optimization was changed since it was read.
pub(super) async fn commit<'o>(
    observed: &'o Observed,
    resolved: &Resolved,
    course: Course,
    context: &Context,
) -> Result<Committed<'o>, ReconcileError> {
    let (course, has_concluded, refused) = match create_versions(observed, &course, context).await {
        Ok(()) => (course, true, None),
        Err(error) if error.is_refusal() => match decide_without_new_versions(observed, resolved, context) {
            Some(deferred) => (deferred.course, deferred.has_concluded, Some(error)),
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let versions = VersionReports::of(observed, &course);
    versions.write_asked(context).await?;
    let status = Status::proposed(observed, resolved, &course);
    let object = status.commit(&observed.object, context).await?;
    if observed.cycle.ended.is_some() && has_concluded {
        context.cycles.settle(&observed.owner);
    }
    report::count(observed, &course, context);
    versions.write_gated(context).await?;
    let is_published = report::publish(observed, &course, &status, context).await;
    Ok(Committed { course, object, versions, is_published, refused })
}
