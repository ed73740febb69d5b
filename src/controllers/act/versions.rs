//! PromptVersions: created when a course says so, found or restored when their prompt is needed, deleted when they are too old.

use std::collections::BTreeMap;

use crate::controllers::context::Context;
use crate::controllers::error::{ReconcileError, fenced};
use crate::controllers::observe::Observed;
use crate::controllers::resolve::Resolved;
use crate::controllers::run_cycle::Grounds;
use crate::decide::lifecycle::{Course, NewVersion, PromptText, VersionOrigin};
use crate::domain::hash::ContentHash;
use crate::domain::ids::VersionName;
use crate::engine::apply::PROMPT_KEY;
use crate::kubernetes::names::version_object;
use crate::kubernetes::target::CHALLENGER_PROMPT_KEY;
use crate::kubernetes::versions;
use crate::store::Store as _;

/// Creates the versions of a course.
///
/// # Errors
/// When the API server does not answer.
pub async fn create_versions(observed: &Observed, course: &Course, context: &Context) -> Result<(), ReconcileError> {
    for version in &course.create {
        fenced(context)?;
        let created = versions::create(&context.client, &observed.object, version).await;
        let Some(created) = created.map_err(ReconcileError::Cluster)? else {
            // Somebody was faster with this name; another look finds another one.
            return Err(ReconcileError::Changed);
        };
        context.versions.note(&created);
    }
    Ok(())
}

/// The prompt of a version, wherever it is: in the target, in its PromptVersion, or in the store. A PromptVersion that somebody
/// has deleted while its prompt is needed is created again.
pub(super) async fn text_of(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    version: &VersionName,
    wanted: ContentHash,
    held: Option<&BTreeMap<String, String>>,
    grounds: &Grounds,
) -> Result<Option<String>, ReconcileError> {
    let context = &grounds.context;
    let (namespace, optimization) = &observed.owner;
    let indexed =
        observed.versions.iter().find(|indexed| indexed.known.version == *version && indexed.known.hash == wanted);
    let is_kept = indexed.is_some() || course.create.iter().any(|new| new.version == *version);
    let in_target = held.and_then(|held| {
        [PROMPT_KEY, CHALLENGER_PROMPT_KEY]
            .into_iter()
            .filter_map(|key| held.get(key))
            .find(|text| hash_of(text) == wanted)
    });
    if let (Some(text), true) = (in_target, is_kept) {
        return Ok(Some(text.clone()));
    }
    if let Some(new) = course.create.iter().find(|new| new.prompt.hash == wanted) {
        return Ok(Some(new.prompt.text.clone()));
    }
    let object = indexed.map_or_else(|| version_object(optimization, version), |indexed| indexed.known.object.clone());
    let found = versions::prompt(&context.client, namespace, &object).await.map_err(ReconcileError::Cluster)?;
    if let Some(text) = found.filter(|text| hash_of(text) == wanted) {
        return Ok(Some(text));
    }
    let base = resolved.base.as_ref().filter(|base| base.hash == wanted).map(|base| &base.text);
    let text = if let Some(text) = in_target.or(base) {
        Some(text.clone())
    } else {
        let store = grounds.stores.of(namespace).await.map_err(ReconcileError::Store)?;
        let rows = store.versions(&format!("{namespace}/{optimization}")).await.map_err(ReconcileError::Store)?;
        rows.into_iter().find(|row| row.version.hash == wanted).map(|row| row.version.text)
    };
    if let Some(text) = &text {
        let lost = NewVersion {
            version: version.clone(),
            prompt: PromptText { hash: wanted, text: text.clone() },
            parent: None,
            diff: String::new(),
            addresses: Vec::new(),
            origin: VersionOrigin::Found,
        };
        fenced(context)?;
        // Its status is written when the watch tells of it. Its prompt serves even where it is refused (a quota).
        let created = versions::create(&context.client, &observed.object, &lost).await.map_err(ReconcileError::Cluster);
        match created {
            Err(error) if error.is_refusal() => {
                tracing::warn!(%version, %error, "a deleted PromptVersion cannot be restored");
            }
            created => drop(created?),
        }
    }
    Ok(text)
}

/// Deletes the versions that are too old to keep.
pub(super) async fn delete_retired(
    observed: &Observed,
    course: &Course,
    context: &Context,
) -> Result<(), ReconcileError> {
    for name in &course_retired(observed, course) {
        fenced(context)?;
        versions::delete(&context.client, &observed.owner.0, name).await.map_err(ReconcileError::Cluster)?;
    }
    Ok(())
}

/// The objects of versions that are too old to keep.
fn course_retired(observed: &Observed, course: &Course) -> Vec<String> {
    let spec = &observed.object.spec;
    let written = spec.promotion.as_ref().and_then(|promotion| promotion.max_versions_retained);
    let keep = written.unwrap_or(crate::api::profile::Defaults::of(spec.profile).max_versions_retained);
    let known: Vec<_> = observed.versions.iter().map(|indexed| indexed.known.clone()).collect();
    crate::decide::lifecycle::retained(&course.record, &known, keep as usize)
}

fn hash_of(text: &str) -> ContentHash {
    ContentHash::of_bytes(text.as_bytes())
}
