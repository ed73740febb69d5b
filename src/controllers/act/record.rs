//! The record: the status of an optimization, in one write that fails if anybody has changed the resource since.

use std::sync::Arc;

use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::api::AgentOptimization;
use crate::api::status::AgentOptimizationStatus;
use crate::controllers::context::Context;
use crate::controllers::error::{ReconcileError, fenced};
use crate::controllers::lock;
use crate::kubernetes::names::FIELD_MANAGER;

/// Writes the record, if it differs from the one before, unless anybody has changed the resource in between.
///
/// # Errors
/// [`ReconcileError::Changed`] when somebody has.
pub async fn commit(
    object: &Arc<AgentOptimization>,
    record: &AgentOptimizationStatus,
    context: &Context,
) -> Result<Arc<AgentOptimization>, ReconcileError> {
    if object.status.as_ref() == Some(record) {
        return Ok(Arc::clone(object));
    }
    fenced(context)?;
    let (namespace, name) =
        (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default());
    let api: Api<AgentOptimization> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "metadata": {"resourceVersion": object.metadata.resource_version},
        "status": replacement(object.status.as_ref(), record),
    });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&name, &parameters, &Patch::Merge(patch)).await {
        Ok(written) => {
            let written = Arc::new(written);
            lock(&context.written).insert((namespace, name), Arc::clone(&written));
            Ok(written)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Err(ReconcileError::Changed),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(ReconcileError::Gone),
        Err(error) => Err(ReconcileError::Cluster(error)),
    }
}

/// A merge patch from one status to another: what is gone is null.
fn replacement(before: Option<&AgentOptimizationStatus>, after: &AgentOptimizationStatus) -> serde_json::Value {
    fn nulls(before: &serde_json::Value, after: &mut serde_json::Value) {
        let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
        for (key, old) in before {
            match after.get_mut(key) {
                Some(new) => nulls(old, new),
                None => drop(after.insert(key.clone(), serde_json::Value::Null)),
            }
        }
    }
    let mut patch = serde_json::to_value(after).expect("a status is JSON");
    if let Some(before) = before {
        nulls(&serde_json::to_value(before).expect("a status is JSON"), &mut patch);
    }
    patch
}
