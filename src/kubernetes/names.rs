//! Labels, annotations and names that the operator puts on objects of the cluster.

use std::fmt;

use whetstone_domain::ids::ObjectKey;

/// The field manager of everything that the operator writes.
pub(crate) const FIELD_MANAGER: &str = "whetstone";
/// The label with the AgentOptimization of an object.
pub(crate) const OPTIMIZATION_LABEL: &str = "whetstone.dev/optimization";
/// The label with the phase of a version.
pub(crate) const PHASE_LABEL: &str = "whetstone.dev/phase";
/// The annotation with the origin of a version. A version without it was not created by the operator.
pub(crate) const ORIGIN_ANNOTATION: &str = "whetstone.dev/origin";
/// The annotation on the pods of a restarted workload: the hash of the prompt that it was restarted for.
pub(crate) const PROMPT_HASH_ANNOTATION: &str = "whetstone.dev/prompt-hash";
/// The finalizer that delays the deletion of an AgentOptimization until the base prompt was written to its target
/// (`spec.promotion.onDelete: Revert`).
pub(crate) const REVERT_FINALIZER: &str = "whetstone.dev/revert";

/// The namespace and name of an object.
#[must_use]
pub(crate) fn key_of<K: kube::Resource>(object: &K) -> ObjectKey {
    let metadata = object.meta();
    ObjectKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// The object name of a version.
#[must_use]
pub(crate) fn version_object(optimization: &str, version: impl fmt::Display) -> String {
    format!("{optimization}-{version}")
}
