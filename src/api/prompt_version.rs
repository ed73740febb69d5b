//! `PromptVersion`: one version of a prompt, with its lineage.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One version of a prompt. Whetstone writes them; a person may apply one by hand, and it enters the gate like any other.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "whetstone.dev",
    version = "v1alpha1",
    kind = "PromptVersion",
    namespaced,
    shortname = "pver",
    category = "whetstone",
    printcolumn = r#"{"name":"Optimization","type":"string","jsonPath":".spec.optimizationRef.name"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"Parent","type":"string","jsonPath":".spec.parent"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PromptVersionSpec {
    /// The AgentOptimization of the same namespace that it belongs to.
    pub optimization_ref: OptimizationRef,
    /// The name of the version, such as `v3`.
    #[schemars(length(min = 1, max = 63))]
    pub version: String,
    /// The whole prompt.
    pub prompt: String,
    /// The BLAKE3 hash of the prompt, 64 hexadecimal digits.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub hash: String,
    /// The version that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The difference from the parent, in unified form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The clusters of failures that it addresses, by their labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// An AgentOptimization of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptimizationRef {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}
