//! Prompt versions: the lineage of a prompt.

use serde::{Deserialize, Serialize};

use super::hash::ContentHash;
use super::ids::VersionName;

/// The phase of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum VersionPhase {
    /// Created, not yet compared.
    Candidate,
    /// Being compared with the champion.
    Challenger,
    /// Serving.
    Champion,
    /// Served before the current champion.
    Superseded,
    /// Rejected by the gate.
    Rejected,
    /// Rolled back.
    RolledBack,
}

impl VersionPhase {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "Candidate",
            Self::Challenger => "Challenger",
            Self::Champion => "Champion",
            Self::Superseded => "Superseded",
            Self::Rejected => "Rejected",
            Self::RolledBack => "RolledBack",
        }
    }
}

/// One version of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its name, unique for the resource.
    pub name: VersionName,
    /// The hash of its text.
    pub hash: ContentHash,
    /// The text.
    pub text: String,
    /// The version that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<VersionName>,
    /// The unified diff from the parent; empty without a parent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diff: String,
    /// The labels of the clusters that it addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Its phase.
    pub phase: VersionPhase,
}
