//! Prompt versions: the lineage of a prompt.

use serde::{Deserialize, Serialize};

use super::hash::ContentHash;
use super::ids::VersionName;

/// Where a version stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum VersionPhase {
    /// Written, not yet compared.
    Candidate,
    /// Being compared with the champion.
    Challenger,
    /// Serving.
    Champion,
    /// Served until a better one came.
    Superseded,
    /// Compared and not taken.
    Rejected,
    /// Taken back after it had served.
    RolledBack,
}

impl VersionPhase {
    /// The name, as the API spells it.
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
    /// The difference from the parent, in unified form; empty without a parent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diff: String,
    /// The labels of the clusters that it addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Where it stands.
    pub phase: VersionPhase,
}
