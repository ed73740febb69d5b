//! `spec.clustering`, `spec.patching` and `spec.validation`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scoring::{ChatModelRef, EmbeddingModelRef};
use crate::domain::call::Parameters;

/// How failures are grouped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clustering {
    /// The embedding model. A built-in vectoriser that needs no model when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingModelRef>,
    /// The cosine similarity from which two groups are one, 0 to 1. Chosen from the failures when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// The most clusters. The nearest are merged beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_clusters: Option<u32>,
}

/// How patches are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patching {
    /// The model that proposes edits. The judge's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ChatModelRef>,
    /// Sampling parameters of the proposals, here or in `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Sections that no patch may touch, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub protected_sections: Vec<String>,
    /// The most tokens that a prompt may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_prompt_tokens: Option<u32>,
    /// Proposals for each cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub candidates_per_cluster: Option<u32>,
    /// How often the loop cluster → patch → validate is gone through in a cycle, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub rounds: Option<u32>,
}

/// How candidates are tried before the gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// What a candidate is tried on: `FailingOnly` (its cluster, then sentinels; the whole suite if it is complex) or
    /// `FullSuite` (the whole suite for every survivor).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<ValidationScenarios>,
    /// How many scenarios that passed before are run for each candidate, to see what it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub sentinels: Option<u32>,
    /// The share of a prompt's text that a patch may change before it counts as complex and the whole suite is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub complexity_threshold: Option<f64>,
    /// Sections whose change always counts as complex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub core_sections: Vec<String>,
}

/// What a candidate is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValidationScenarios {
    /// Its cluster, then sentinels; the whole suite only for the finalist or a complex patch.
    FailingOnly,
    /// The whole suite for every survivor.
    FullSuite,
}
