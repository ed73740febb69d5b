//! Restarting the workloads that mount the target ConfigMap, as `kubectl rollout restart` does: by an annotation of the pod
//! template.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;

use super::names::{FIELD_MANAGER, PROMPT_HASH_ANNOTATION};
use crate::api::promotion::{Workload, WorkloadKind};
use whetstone_domain::hash::ContentHash;

/// Annotates the pod template of a workload with the hash of the prompt. Repeating it changes nothing, so a promotion restarts a
/// workload once.
///
/// # Errors
/// [`kube::Error::Api`] with code 404 if there is no such workload.
pub(crate) async fn restart(
    client: &Client,
    namespace: &str,
    workload: &Workload,
    hash: &ContentHash,
) -> Result<(), kube::Error> {
    let kind = match workload.kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
        WorkloadKind::DaemonSet => "DaemonSet",
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {PROMPT_HASH_ANNOTATION: hash}}}}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&workload.name, &parameters, &Patch::Merge(patch)).await.map(drop)
}
