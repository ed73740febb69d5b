//! The first form of a plan's inputs, recorded by releases before 0.2: parts of it are hashed in Rust's `Debug` format. It is
//! built from separate types, which must not change.

use std::fmt::Debug;

use serde_json::{Map, Value, json};

use super::promotion::{RequireSignificance, Test};
use super::scoring::Scorer;
use super::{Plan, ThresholdPlan};
use crate::call;
use crate::ids::{DimensionName, ModelName};
use crate::score::Score;

/// The default threshold of clustering.
const BUILTIN_THRESHOLD: f64 = 0.6;
const EMBEDDING_THRESHOLD: f64 = 0.75;

#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug")]
struct DimensionPlan<'a> {
    name: &'a DimensionName,
    weight: f64,
    scorer: Scorer,
    judge: Option<Use<'a>>,
    rubric: &'a str,
    pass_at: Score,
    critical: bool,
    threshold: Option<ThresholdPlan>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug")]
struct ClusteringPlan<'a> {
    embeddings: Option<Use<'a>>,
    threshold: f64,
    max_clusters: usize,
}

#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug")]
struct PatchingPlan<'a> {
    model: &'a ModelName,
    parameters: Parameters<'a>,
    protected_sections: &'a [String],
    max_prompt_tokens: usize,
    candidates_per_cluster: u32,
    rounds: u32,
}

#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug")]
struct ValidationPlan<'a> {
    full_suite: bool,
    sentinels: usize,
    complexity_threshold: f64,
    core_sections: &'a [String],
}

#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug")]
struct GatePlan {
    test: Test,
    significance_level: f64,
    regression_tolerance: f64,
    require_significance: RequireSignificance,
    minimum_score: f64,
    minimum_sample_size: usize,
    shadow_sample_size: usize,
    repeats: u32,
}

#[derive(Debug, PartialEq)]
struct Parameters<'a> {
    temperature: Option<&'a call::Temperature>,
    top_p: Option<f64>,
    max_output_tokens: Option<u64>,
    extra: Option<&'a Map<String, Value>>,
}

impl<'a> From<&'a call::Parameters> for Parameters<'a> {
    fn from(parameters: &'a call::Parameters) -> Self {
        let call::Parameters { temperature, top_p, max_output_tokens, extra } = parameters;
        Self {
            temperature: temperature.as_ref(),
            top_p: *top_p,
            max_output_tokens: *max_output_tokens,
            extra: extra.as_ref(),
        }
    }
}

/// A model without parameters was printed as its name alone.
struct Use<'a>(&'a super::ModelUse);

impl Debug for Use<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let super::ModelUse { model, parameters } = self.0;
        if **parameters == call::Parameters::default() {
            return model.fmt(f);
        }
        f.debug_struct("ModelUse").field("model", model).field("parameters", &Parameters::from(&**parameters)).finish()
    }
}

impl Plan {
    pub(super) fn legacy_inputs(&self) -> Value {
        let dimensions: Vec<DimensionPlan<'_>> = self
            .dimensions
            .iter()
            .map(|dimension| {
                let super::DimensionPlan { name, weight, scorer, judge, rubric, pass_at, critical, threshold } =
                    dimension;
                DimensionPlan {
                    name,
                    weight: *weight,
                    scorer: *scorer,
                    judge: judge.as_ref().map(Use),
                    rubric,
                    pass_at: *pass_at,
                    critical: *critical,
                    threshold: *threshold,
                }
            })
            .collect();
        let clustering = {
            let super::ClusteringPlan { embeddings, threshold, max_clusters } = &self.clustering;
            let default = if embeddings.is_some() { EMBEDDING_THRESHOLD } else { BUILTIN_THRESHOLD };
            ClusteringPlan {
                embeddings: embeddings.as_ref().map(Use),
                threshold: threshold.unwrap_or(default),
                max_clusters: *max_clusters,
            }
        };
        let patching = self.patching.as_ref().map(|patching| PatchingPlan {
            model: &patching.model,
            parameters: Parameters::from(&*patching.parameters),
            protected_sections: &patching.protected_sections,
            max_prompt_tokens: patching.max_prompt_tokens,
            candidates_per_cluster: patching.candidates_per_cluster,
            rounds: patching.rounds,
        });
        let validation = ValidationPlan {
            full_suite: self.validation.full_suite,
            sentinels: self.validation.sentinels,
            complexity_threshold: self.validation.complexity_threshold,
            core_sections: &self.validation.core_sections,
        };
        let gate = GatePlan {
            test: self.gate.test,
            significance_level: self.gate.significance_level,
            regression_tolerance: self.gate.regression_tolerance,
            require_significance: self.gate.require_significance,
            minimum_score: self.gate.minimum_score,
            minimum_sample_size: self.gate.minimum_sample_size,
            shadow_sample_size: self.gate.shadow_sample_size,
            repeats: self.gate.repeats,
        };
        let mut inputs = self.unversioned();
        inputs["rules"] = json!(format!("{:?}", (dimensions, clustering, patching, validation, gate)));
        inputs
    }
}
