//! Sources of texts and secrets.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{patterns, rules};
use whetstone_domain::plan::SecretRef;

/// The source of a text: a ConfigMap key, a file (command line only), or inline. Set exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::not_in_the_cluster("file", "put the content of the file into a ConfigMap and use configMapKeyRef"),
    validation = rules::exactly_one_but(&["configMapKeyRef", "inline"], &["file"])
)]
pub struct TextSource {
    /// A key of a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// A path relative to the resource file. Only the command line supports it; the API server rejects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The text, inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
}

/// A key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema)]
pub struct ConfigMapKeyRef {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::OBJECT_NAME))]
    pub name: String,
    /// The key in the data of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::DATA_KEY))]
    pub key: String,
}

/// The source of a secret. The operator reads `secretKeyRef`, the command line reads `env`; both can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::requires("secretKeyRef", "true", "the operator does not read environment variables: put the key into a Secret and use secretKeyRef")
)]
pub struct SecretSource {
    /// A key of a Secret in the same namespace. The command line does not read it: it uses the variable `env`, or the
    /// provider's usual variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// The name of an environment variable for the command line. The operator does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::OBJECT_NAME))]
    pub name: String,
    /// The key in the data of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::DATA_KEY))]
    pub key: String,
}

impl From<&SecretKeyRef> for SecretRef {
    fn from(SecretKeyRef { name, key }: &SecretKeyRef) -> Self {
        Self { name: name.clone(), key: key.clone() }
    }
}
