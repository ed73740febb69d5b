//! Step *act*, first part: commits a decision. Versions that it creates, verdicts on what a person has asked for, then the record in
//! one conditional write, which is where a promotion happens; then what follows from the record alone: verdicts of cycles and Events.

use std::sync::Arc;

use super::act::create_versions;
use super::context::Context;
use super::decision::decide_without_new_versions;
use super::error::ReconcileError;
use super::observe::Observed;
use super::report::{self, Status, VersionReports};
use super::resolved::Resolved;
use crate::api::AgentOptimization;
use crate::decide::lifecycle::Course;

/// A decision whose record is written.
pub(super) struct Committed<'o> {
    /// What is to be done.
    pub course: Course,
    /// The optimization as it is with the record.
    pub object: Arc<AgentOptimization>,
    /// What the course means for the statuses of versions.
    pub versions: VersionReports<'o>,
    /// Every Event of the decision is published.
    pub is_published: bool,
    /// Why a version could not be created, if the decision had to do without: to be tried again.
    pub refused: Option<ReconcileError>,
}

/// Commits a course.
///
/// # Errors
/// When the API server does not answer, or somebody has changed the optimization since it was read.
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
