//! `spec.clustering`, `spec.patching` and `spec.validation`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scoring::{ChatModelRef, EmbeddingModelRef};
use whetstone_domain::call::Parameters;

/// How failures are grouped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clustering {
    /// The embedding model. By default a built-in vectorizer is used, which needs no model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingModelRef>,
    /// The cosine similarity, 0 to 1, at which two groups are merged. By default it is chosen from the failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// Maximum number of clusters. The closest ones are merged until the limit is met. The default depends on the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_clusters: Option<u32>,
}

/// How patches are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patching {
    /// The model that writes patches. Defaults to the judge's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ChatModelRef>,
    /// Sampling parameters for proposals. Set them here or in `model`, not in both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Names of the sections that no patch may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub protected_sections: Vec<String>,
    /// Maximum length of a prompt in tokens, counted with `o200k_base`. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_prompt_tokens: Option<u32>,
    /// Maximum number of proposals per cluster. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub candidates_per_cluster: Option<u32>,
    /// Maximum number of rounds of clustering, patching and validation in a cycle. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub rounds: Option<u32>,
}

/// How candidates are tested before the gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// What a candidate is tested on: `FailingOnly` (the failing scenarios that it addresses, then the sentinels; all
    /// training and regression scenarios only if its patch is complex) or `FullSuite` (the same, then always all
    /// training and regression scenarios). The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<ValidationScenarios>,
    /// Number of sentinels: scenarios that the champion passes, and that are run for each candidate to detect what it
    /// breaks. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub sentinels: Option<u32>,
    /// The fraction of the prompt's text, 0 to 1, that a patch may change before it counts as complex and is tested on
    /// all training and regression scenarios. The default depends on the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub complexity_threshold: Option<f64>,
    /// Names of sections for which any change counts as complex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub core_sections: Vec<String>,
}

/// What a candidate is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValidationScenarios {
    /// The failing scenarios that it addresses, then sentinels; all training and regression scenarios only for the finalist or
    /// a complex patch.
    FailingOnly,
    /// All training and regression scenarios for every survivor.
    FullSuite,
}
