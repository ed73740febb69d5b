//! The pipeline template: an alternative format of an optimization, which is converted to the resource.
//!
//! ```yaml
//! pipeline:
//!   name: agent-optimization-cycle
//!   agent: {identifier: support-assistant-v2, system_prompt_file: prompts/base.yaml, tool_definitions: [search]}
//!   evaluation:
//!     dimensions: [{name: accuracy, weight: 1.0, judge_model: claude-3-5-sonnet}]
//! ```
//!
//! The template has no fields for three things that a resource needs, so there are optional additional fields. By default the
//! scenarios are the files in `scenarios/` beside the template, the agent uses the judge's model (with a warning), and failures
//! are embedded by the built-in vectorizer.

mod convert;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AgentOptimization;
use super::document::{Document, read};
use super::optimization::ValidationScenarios;
use super::problem::Problem;
use whetstone_domain::plan::promotion::Test;
use whetstone_domain::tool::ToolDefinition;

/// A converted template.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The resource, with only the fields that the template sets.
    pub resource: AgentOptimization,
    /// Paths in the resource, with the corresponding paths in the template.
    pub renamed: Vec<(String, String)>,
    /// Warnings about assumptions and about settings that could not be converted.
    pub warnings: Vec<String>,
}

/// Parses and converts a template. `openai_base_url` is the endpoint of all models that are not Anthropic's; without it, a model
/// whose name is not OpenAI's is a problem.
pub fn read(document: &Document, openai_base_url: Option<&str>, problems: &mut Vec<Problem>) -> Option<Converted> {
    let Template { pipeline } = read::read(document, problems)?;
    convert::convert(&pipeline, document, openai_base_url, problems)
}

/// The file.
#[derive(Debug, Deserialize, JsonSchema)]
struct Template {
    /// The pipeline.
    pipeline: Pipeline,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Pipeline {
    /// The name of the pipeline, which becomes the name of the resource.
    #[schemars(length(min = 1))]
    name: String,
    /// The version of this file, informational.
    #[serde(default)]
    version: Option<String>,
    /// The agent.
    agent: PipelineAgent,
    /// How the agent is scored.
    evaluation: Evaluation,
    /// How failures are grouped and patched.
    #[serde(default)]
    optimization: Option<Optimization>,
    /// The requirements for a challenger.
    #[serde(default)]
    promotion: Option<PipelinePromotion>,
    /// Traces and costs.
    #[serde(default)]
    observability: Option<Observability>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PipelineAgent {
    /// The name of the agent; the ConfigMap of the promoted prompt is named after it.
    #[serde(default)]
    identifier: Option<String>,
    /// The prompt, relative to this file.
    #[schemars(length(min = 1))]
    system_prompt_file: String,
    /// The tools: names, or definitions.
    #[serde(default)]
    tool_definitions: Vec<ToolEntry>,
    /// The agent's model. Defaults to the first judge's.
    #[serde(default)]
    model: Option<String>,
}

/// A tool: its name, with any arguments, or its definition.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ToolEntry {
    Name(String),
    Definition(ToolDefinition),
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Evaluation {
    /// What is scored.
    #[schemars(length(min = 1))]
    dimensions: Vec<PipelineDimension>,
    /// The judges' temperature. Defaults to 0.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 2.0))]
    temperature: Option<f64>,
    /// The format of the judge's answers, which is always JSON.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one value only")]
    output_format: Option<OutputFormat>,
    /// A file or directory of scenarios, relative to this file. Defaults to `scenarios`.
    #[serde(default)]
    scenarios_file: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PipelineDimension {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    name: String,
    /// Its weight in the aggregate.
    #[schemars(range(min = 0.0, max = 1.0))]
    weight: f64,
    /// The model that judges it. Defaults to that of the first dimension.
    #[serde(default)]
    judge_model: Option<String>,
    /// What the judge looks for, in a custom dimension.
    #[serde(default)]
    rubric: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OutputFormat {
    Json,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Optimization {
    /// How failures are grouped.
    #[serde(default)]
    clustering: Option<PipelineClustering>,
    /// How patches are written and tested.
    #[serde(default)]
    patching: Option<PipelinePatching>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PipelineClustering {
    /// The method.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one value only")]
    method: Option<ClusteringMethod>,
    /// The cosine similarity at which two groups are merged.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: Option<f64>,
    /// The maximum number of clusters.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    max_clusters: Option<u32>,
    /// The embedding model. Defaults to a built-in vectorizer.
    #[serde(default)]
    embedding_model: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClusteringMethod {
    EmbeddingSimilarity,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PipelinePatching {
    /// The maximum length of a prompt in tokens.
    #[serde(default)]
    #[schemars(range(min = 1))]
    max_prompt_length: Option<u32>,
    /// The amount by which the score of a single dimension may fall.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    regression_tolerance: Option<f64>,
    /// What a candidate is tested on.
    #[serde(default)]
    validation_scenarios: Option<TriedOn>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TriedOn {
    FailingOnly,
    FullSuite,
}

impl From<TriedOn> for ValidationScenarios {
    fn from(tried_on: TriedOn) -> Self {
        match tried_on {
            TriedOn::FailingOnly => Self::FailingOnly,
            TriedOn::FullSuite => Self::FullSuite,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PipelinePromotion {
    /// The gate.
    #[serde(default)]
    gatekeeper: Option<Gatekeeper>,
    /// The automatic rollback.
    #[serde(default)]
    rollback: Option<Rollback>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Gatekeeper {
    /// The minimum aggregate score of the challenger.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    minimum_score: Option<f64>,
    /// The statistical test.
    #[serde(default)]
    statistical_test: Option<Test>,
    /// The maximum probability of promoting a challenger that is no better.
    #[serde(default)]
    #[schemars(range(min = 0.0001, max = 0.5))]
    significance_level: Option<f64>,
    /// The maximum number of scenarios that are compared.
    #[serde(default)]
    #[schemars(range(min = 2))]
    shadow_sample_size: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Rollback {
    /// Whether a promoted prompt that turns out worse is rolled back.
    #[serde(default)]
    enabled: Option<bool>,
    /// The number of superseded versions to keep.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    max_versions_retained: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Observability {
    /// The export of traces.
    #[serde(default)]
    tracing: Option<Tracing>,
    /// Prices of tokens.
    #[serde(default)]
    cost_tracking: Option<CostTracking>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Tracing {
    /// The protocol.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one value only")]
    protocol: Option<TracingProtocol>,
    /// The collector.
    #[serde(default)]
    #[expect(dead_code, reason = "the exporter is not implemented yet, which a warning reports")]
    endpoint: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TracingProtocol {
    Otlp,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct CostTracking {
    /// Whether costs are counted.
    #[serde(default)]
    enabled: Option<bool>,
    /// The currency of the prices.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: Option<String>,
    /// The price per token, for all models.
    #[serde(default)]
    token_pricing: Option<TokenPricing>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct TokenPricing {
    /// One input token.
    #[schemars(range(min = 0.0))]
    #[expect(dead_code, reason = "read from the document, where it is exact")]
    input: f64,
    /// One output token.
    #[schemars(range(min = 0.0))]
    #[expect(dead_code, reason = "read from the document, where it is exact")]
    output: f64,
    /// One input token from the provider's cache. Defaults to `input`.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    cached_input: Option<f64>,
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::Submission;
    use super::super::resolve::{Reference, References, Text, resolve};
    use whetstone_domain::plan::{Plan, Provider};

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pipeline")
    }

    fn template() -> String {
        std::fs::read_to_string(folder().join("pipeline.yaml")).unwrap()
    }

    /// The texts of the example folder.
    fn read_files(reference: &Reference) -> Option<Vec<Text>> {
        let text = |path: PathBuf| Text {
            name: path.strip_prefix(folder()).unwrap().display().to_string(),
            text: std::fs::read_to_string(&path).unwrap(),
        };
        match reference {
            Reference::File(path) => Some(vec![text(folder().join(path))]),
            Reference::Files(path) => {
                let entries = std::fs::read_dir(folder().join(path)).unwrap();
                let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
                files.sort();
                Some(files.into_iter().map(text).collect())
            }
            _ => None,
        }
    }

    fn plan_of(text: &str, base_url: Option<&str>) -> Result<Plan, String> {
        let submission = Submission::read("pipeline.yaml", text, base_url).map_err(|problems| problems.to_string())?;
        let references = References::gather(&submission, &[], |reference| Ok(read_files(reference)));
        resolve(&submission, &references).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_template_converts_into_the_resource_that_says_the_same() {
        let submission = Submission::read("pipeline.yaml", &template(), None).unwrap();
        insta::assert_snapshot!(submission.to_yaml(), @r#"
        apiVersion: whetstone.dev/v1alpha1
        kind: AgentOptimization
        metadata:
          annotations:
            whetstone.dev/agent: support-assistant-v2
            whetstone.dev/pipeline-version: "1.0"
          name: agent-optimization-cycle
        spec:
          profile: Production
          agent:
            prompt:
              file: prompts/base.yaml
            tools:
            - name: search
            - name: ticket_lookup
            - name: escalation
            runtime:
              model:
                ref: claude-3-5-sonnet
          models:
          - name: claude-3-5-sonnet
            anthropic:
              model: claude-3-5-sonnet
            price:
              inputPerMillion: "3"
              outputPerMillion: "15"
          scenarios:
          - file: scenarios
          scoring:
            judge:
              ref: claude-3-5-sonnet
            dimensions:
            - name: accuracy
              weight: 0.4
            - name: safety
              weight: 0.3
            - name: tool_compliance
              weight: 0.3
          clustering:
            threshold: 0.75
            maxClusters: 12
          patching:
            maxPromptTokens: 2048
          validation:
            scenarios: FailingOnly
          promotion:
            target:
              configMap: support-assistant-v2-prompt
            gate:
              test: welch_t_test
              significanceLevel: 0.05
              regressionTolerance: 0.02
              minimumScore: 0.88
              shadowSampleSize: 500
            maxVersionsRetained: 10
          watch:
            reevaluation:
              every: 24h
          budget:
            currency: USD
        "#);
        let again = Submission::read("optimization.yaml", &submission.to_yaml(), None).unwrap();
        assert_eq!(again.resource.spec, submission.resource.spec);
        assert_eq!(again.resource.metadata, submission.resource.metadata);
    }

    #[test]
    fn the_template_as_it_is_becomes_a_plan_with_what_was_chosen_said_in_warnings() {
        let plan = plan_of(&template(), None).unwrap();
        insta::assert_snapshot!(plan.warnings.join("\n"), @r#"
        pipeline.agent.model: the file does not name the agent's model; using the judge's model, "claude-3-5-sonnet"
        pipeline.observability.tracing: exporting traces is not implemented yet; no traces are sent
        "#);
        assert_eq!(plan.scenarios.len(), 60);
        assert_eq!(plan.tools.len(), 3);
        let judge = &plan.models["claude-3-5-sonnet"];
        assert_eq!(judge.provider, Provider::Anthropic);
        assert_eq!(judge.key.as_ref().unwrap().env.as_deref(), Some("ANTHROPIC_API_KEY"));
        let price = judge.price.unwrap();
        assert_eq!((price.input.to_string(), price.output.to_string()), ("0.000003".to_owned(), "0.000015".to_owned()));
        assert_eq!(plan.patching.unwrap().max_prompt_tokens, 2048);
        assert_eq!(plan.champion.system().sections().len(), 4);
    }

    #[test]
    fn problems_stand_where_the_template_has_them() {
        let text = template()
            .replace("weight: 0.4", "weight: 0.5")
            .replace("minimum_score: 0.88", "minimum_scor: 0.88")
            .replace("welch_t_test", "welsh_t_test")
            .replace("token_pricing: {input: 0.000003, output: 0.000015}", "token_pricin: {}")
            .replace("\"claude-3-5-sonnet\"}\n", "\"mistral-large\"}\n");
        insta::assert_snapshot!(plan_of(&text, None).unwrap_err(), @r#"
        pipeline.yaml:19:18: pipeline.promotion.gatekeeper.minimum_scor: unknown field "minimum_scor"; did you mean "minimum_score"?
        pipeline.yaml:19:56: pipeline.promotion.gatekeeper.statistical_test: expected "welch_t_test", "paired_t_test", "bootstrap" or "permutation", found "welsh_t_test"; did you mean "welch_t_test"?
        pipeline.yaml:26:7: pipeline.observability.cost_tracking.token_pricin: unknown field "token_pricin"; did you mean "token_pricing"?
        pipeline.yaml:26:21: pipeline.observability.cost_tracking.token_pricin.input: missing required field (One input token)
        pipeline.yaml:26:21: pipeline.observability.cost_tracking.token_pricin.output: missing required field (One output token)
        "#);
    }

    #[test]
    fn a_broken_sum_and_a_missing_price_are_told_in_the_words_of_the_template() {
        let text = template()
            .replace("weight: 0.4", "weight: 0.5")
            .replace("token_pricing: {input: 0.000003, output: 0.000015}", "")
            .replace("max_prompt_length: 2048", "max_prompt_length: 40")
            .replace("\"claude-3-5-sonnet\"}\n      - {name: safety", "mistral-large}\n      - {name: safety");
        insta::assert_snapshot!(plan_of(&text, None).unwrap_err(), @r#"
        pipeline.yaml:9:5: pipeline.evaluation.dimensions: the weights add up to 1.1; they must add up to 1
        pipeline.yaml:10:39: pipeline.evaluation.dimensions[0].judge_model: the provider of "mistral-large" is unknown; set OPENAI_BASE_URL to the OpenAI-compatible endpoint that serves it
        pipeline.yaml:17:16: pipeline.optimization.patching.max_prompt_length: the prompt has 149 tokens, and at most 40 are allowed; shorten the prompt, or raise the limit
        pipeline.yaml:23:5: pipeline.observability.cost_tracking.token_pricing: missing: cost tracking requires prices; give input and output, per token
        "#);
    }

    #[test]
    fn a_model_of_another_maker_goes_to_the_openai_compatible_endpoint_of_the_environment() {
        let text = template().replace("claude-3-5-sonnet", "mistral-large");
        let plan = plan_of(&text, Some("http://gateway:4000/v1")).unwrap();
        let model = &plan.models["mistral-large"];
        assert_eq!(model.identity.endpoint, "http://gateway:4000/v1");
        assert_eq!(model.key.as_ref().unwrap().env.as_deref(), Some("OPENAI_API_KEY"));
    }
}
