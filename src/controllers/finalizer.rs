//! The finalizer of `spec.promotion.onDelete: Revert`: it keeps a deleted optimization until the base prompt is restored in
//! its target.

use std::sync::Arc;

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;

use super::context::Context;
use super::error::{Attempt, ReconcileError};
use super::lock;
use super::observe::Observed;
use super::resolve::{COMPUTING_EVERY, resolve};
use crate::api::AgentOptimization;
use crate::kubernetes::names::{FIELD_MANAGER, REVERT_FINALIZER};
use crate::kubernetes::target::{self, ApplyError, Target};
use whetstone_domain::plan::promotion::OnDelete;
use whetstone_engine::apply::{HASH_KEY, PROMPT_KEY, VERSION_KEY};

/// Sets or removes the finalizer according to the spec. Returns the updated optimization.
///
/// # Errors
/// If it cannot be written, or was changed since it was read.
pub(super) async fn set(observed: &Observed, context: &Context) -> Result<Arc<AgentOptimization>, ReconcileError> {
    let object = &observed.object;
    let is_wanted = observed.promotion.on_delete == OnDelete::Revert;
    if is_wanted == is_held(object) {
        return Ok(Arc::clone(object));
    }
    let mut finalizers = others(object);
    finalizers.extend(is_wanted.then(|| REVERT_FINALIZER.to_owned()));
    let written = write(observed, finalizers, context).await?;
    let written = written.ok_or_else(|| ReconcileError::Gone(observed.owner.clone()))?;
    lock(&context.written).insert(observed.owner.clone(), Arc::clone(&written));
    Ok(written)
}

/// Stops the tasks of an optimization that is being deleted, writes the base prompt to its target if the finalizer requires
/// that, and removes the finalizer.
///
/// # Errors
/// If the target or the finalizers cannot be written.
pub(super) async fn finalize(observed: &Observed, context: &Context) -> Result<Action, ReconcileError> {
    context.cycles.forget(&observed.owner);
    context.watches.forget(&observed.owner);
    if !is_held(&observed.object) {
        return Ok(Action::await_change());
    }
    let Some(resolved) = resolve(observed, context).await? else { return Ok(Action::requeue(COMPUTING_EVERY)) };
    let ours = match &observed.target {
        Some(Target::Ours(held)) if held.labelled && observed.rival.is_none() => Some(held),
        _ => None,
    };
    // A base prompt that does not exist anymore cannot be written, and must not delay the deletion forever.
    if let (Some(spec), Some(held), Some(base)) = (observed.target_spec(), ours, &resolved.base) {
        let data =
            [(PROMPT_KEY, base.text.clone()), (VERSION_KEY, "base".to_owned()), (HASH_KEY, base.hash.to_string())];
        let data = data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        context.fence.check()?;
        let (namespace, name) = (&observed.owner.namespace, &spec.config_map);
        match target::apply(&context.client, namespace, name, &observed.owner.name, Some(held), &data).await {
            Ok(()) => {}
            Err(ApplyError::Changed) => return Err(Attempt::WriteTarget.conflict(namespace, name)),
            Err(ApplyError::Failed(error)) => return Err(Attempt::WriteTarget.on(namespace, name)(error)),
        }
    }
    write(observed, others(&observed.object), context).await?;
    Ok(Action::await_change())
}

fn is_held(object: &AgentOptimization) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == REVERT_FINALIZER)
}

/// The finalizers of other controllers.
fn others(object: &AgentOptimization) -> Vec<String> {
    object.finalizers().iter().filter(|finalizer| *finalizer != REVERT_FINALIZER).cloned().collect()
}

/// Writes the finalizers. Returns the updated optimization; `None` if it was deleted.
async fn write(
    observed: &Observed,
    finalizers: Vec<String>,
    context: &Context,
) -> Result<Option<Arc<AgentOptimization>>, ReconcileError> {
    context.fence.check()?;
    let (namespace, name) = (&observed.owner.namespace, &observed.owner.name);
    let api: Api<AgentOptimization> = Api::namespaced(context.client.clone(), namespace);
    let version = &observed.object.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(name, &parameters, &Patch::Merge(patch)).await {
        Ok(written) => Ok(Some(Arc::new(written))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 409 => Err(Attempt::WriteFinalizers.conflict(namespace, name)),
        Err(error) => Err(Attempt::WriteFinalizers.on(namespace, name)(error)),
    }
}
