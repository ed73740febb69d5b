//! PromptVersions: created as a course requires, deleted when they are too old to keep.

use crate::controllers::context::Context;
use crate::controllers::error::{Attempt, ReconcileError};
use crate::controllers::observe::Observed;
use crate::kubernetes::names::version_object;
use crate::kubernetes::versions;
use whetstone_decide::lifecycle::{Course, retained};

/// Creates the versions of a course.
///
/// # Errors
/// If a request to the API server fails, or a name was taken in the meantime.
pub(crate) async fn create_versions(
    observed: &Observed,
    course: &Course,
    context: &Context,
) -> Result<(), ReconcileError> {
    for version in &course.create {
        context.fence.check()?;
        let (namespace, object) = (&observed.owner.namespace, version_object(&observed.owner.name, &version.version));
        let created = versions::create(&context.client, &observed.object, version).await;
        let created = created.map_err(Attempt::CreateVersion.on(namespace, &object))?;
        // If the name is taken, the next reconcile chooses another.
        let created = created.ok_or_else(|| Attempt::CreateVersion.conflict(namespace, &object))?;
        context.versions.note(&created);
    }
    Ok(())
}

/// Deletes the versions that are too old to keep.
pub(super) async fn delete_retired(
    observed: &Observed,
    course: &Course,
    context: &Context,
) -> Result<(), ReconcileError> {
    let keep = observed.promotion.max_versions_retained as usize;
    let known: Vec<_> = observed.versions.iter().map(|indexed| indexed.known.clone()).collect();
    for object in &retained(&course.record, &known, keep) {
        context.fence.check()?;
        let deleted = versions::delete(&context.client, &observed.owner.namespace, object).await;
        deleted.map_err(Attempt::DeleteVersion.on(&observed.owner.namespace, object))?;
    }
    Ok(())
}
