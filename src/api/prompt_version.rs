//! `PromptVersion`: one version of a prompt, with its lineage.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::patterns;
use super::status::PromptVersionStatus;

/// One version of a prompt. Whetstone creates versions; one that is applied manually goes through the gate like any
/// other, and needs only `optimizationRef` and `prompt`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "whetstone.dev",
    version = "v1alpha1",
    kind = "PromptVersion",
    namespaced,
    shortname = "pver",
    category = "whetstone",
    status = "PromptVersionStatus",
    doc = "One version of a prompt. Whetstone creates versions; one that is applied manually goes through the gate like any other.",
    selectable = ".spec.optimizationRef.name",
    selectable = ".status.phase",
    printcolumn = r#"{"name":"Optimization","type":"string","jsonPath":".spec.optimizationRef.name"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Parent","type":"string","jsonPath":".status.parent"}"#,
    printcolumn = r#"{"name":"Score","type":"string","jsonPath":".status.score"}"#,
    printcolumn = r#"{"name":"Since","type":"date","jsonPath":".status.since"}"#,
    printcolumn = r#"{"name":"Why","type":"string","jsonPath":".status.reasons[0]"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a PromptVersion cannot be changed: apply another one").reason(Reason::FieldValueForbidden))]
pub struct PromptVersionSpec {
    /// The AgentOptimization in the same namespace that the version belongs to.
    pub optimization_ref: OptimizationRef,
    /// The name of the version, such as `v3`. Defaults to the name of the object, without the prefix `NAME-` of an
    /// AgentOptimization called NAME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::VERSION))]
    pub version: Option<String>,
    /// The complete text of the prompt.
    #[schemars(length(min = 1, max = 1_000_000))]
    pub prompt: String,
    /// The BLAKE3 hash of the prompt, 64 hexadecimal digits. Optional; a hash that does not match the prompt is
    /// refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = patterns::HASH))]
    pub hash: Option<String>,
    /// The version from which this one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::VERSION))]
    pub parent: Option<String>,
    /// The difference from the parent, as a unified diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_000_000))]
    pub diff: Option<String>,
    /// The labels of the failure clusters that the version addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub addresses: Vec<String>,
}

/// An AgentOptimization in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct OptimizationRef {
    /// The name of the AgentOptimization.
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::OBJECT_NAME))]
    pub name: String,
}
