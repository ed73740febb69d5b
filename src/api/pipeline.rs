//! The pipeline template: another way to write an optimization, converted into the resource.
//!
//! ```yaml
//! pipeline:
//!   name: agent-optimization-cycle
//!   agent: {identifier: support-assistant-v2, system_prompt_file: prompts/base.yaml, tool_definitions: [search]}
//!   evaluation:
//!     dimensions: [{name: accuracy, weight: 1.0, judge_model: claude-3-5-sonnet}]
//! ```
//!
//! Three things that a resource needs have no place in the template. Optional fields say them; without these, the scenarios
//! are the files in `scenarios/` beside the template, the agent runs on the judge's model (a warning says so), and
//! failures are embedded by the built-in vectoriser.

mod convert;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AgentOptimization;
use super::document::{Document, read};
use super::optimization::ValidationScenarios;
use super::problem::Problem;
use super::promotion::Test;
use crate::domain::tool::ToolDefinition;

/// A template as a resource.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The resource: only what the template says.
    pub resource: AgentOptimization,
    /// Paths in the resource, and the paths in the template that they came from.
    pub renamed: Vec<(String, String)>,
    /// What was chosen for the user, and what could not be carried over.
    pub warnings: Vec<String>,
}

/// Reads and converts a template. `openai_base_url` is where models go that are not Anthropic's; without it, those that are
/// not OpenAI's by their name are a problem.
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
    /// The version of this file, for people.
    #[serde(default)]
    version: Option<String>,
    /// The agent.
    agent: PipelineAgent,
    /// How the agent is scored.
    evaluation: Evaluation,
    /// How failures are grouped and patched.
    #[serde(default)]
    optimization: Option<Optimization>,
    /// What a challenger must prove.
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
    /// The model that the agent runs on. The first judge's when absent.
    #[serde(default)]
    model: Option<String>,
}

/// A tool by its mere name, with any arguments, or written out.
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
    /// The form of the judge's answers, which is always JSON.
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
    /// Its share of the aggregate.
    #[schemars(range(min = 0.0, max = 1.0))]
    weight: f64,
    /// The model that judges it. That of the first dimension when absent.
    #[serde(default)]
    judge_model: Option<String>,
    /// What the judge is to look for, in a dimension of your own.
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
    /// How patches are written and tried.
    #[serde(default)]
    patching: Option<PipelinePatching>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PipelineClustering {
    /// The method.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one value only")]
    method: Option<ClusteringMethod>,
    /// The cosine similarity from which two groups are one.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: Option<f64>,
    /// The most clusters.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    max_clusters: Option<u32>,
    /// The embedding model. A built-in vectoriser when absent.
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
    /// The most tokens that a prompt may have.
    #[serde(default)]
    #[schemars(range(min = 1))]
    max_prompt_length: Option<u32>,
    /// How much worse a single dimension may be.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    regression_tolerance: Option<f64>,
    /// What a candidate is tried on.
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
    /// Going back to the predecessor.
    #[serde(default)]
    rollback: Option<Rollback>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Gatekeeper {
    /// The aggregate score that the challenger must reach.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    minimum_score: Option<f64>,
    /// The statistical test.
    #[serde(default)]
    statistical_test: Option<Test>,
    /// The chance of promoting a challenger that is no better, at most.
    #[serde(default)]
    #[schemars(range(min = 0.0001, max = 0.5))]
    significance_level: Option<f64>,
    /// The most scenarios that are compared.
    #[serde(default)]
    #[schemars(range(min = 2))]
    shadow_sample_size: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Rollback {
    /// Go back when a promoted prompt turns out worse.
    #[serde(default)]
    enabled: Option<bool>,
    /// How many superseded versions are kept.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    max_versions_retained: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Observability {
    /// Where traces go.
    #[serde(default)]
    tracing: Option<Tracing>,
    /// What tokens cost.
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
    #[expect(dead_code, reason = "the exporter comes later, and a warning says so")]
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
    /// What one token costs, with any model.
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
    /// One input token from the provider's cache. As `input` when absent.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    cached_input: Option<f64>,
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::plan::Provider;
    use super::super::resolve::{Reference, References, Text, resolve};
    use super::super::{Plan, Submission};

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
        pipeline.agent.model: the file does not say which model the agent runs on; "claude-3-5-sonnet", the judge's, is used
        pipeline.observability.tracing: the exporter of traces is not built yet; nothing is sent
        "#);
        assert_eq!(plan.scenarios.len(), 60);
        assert_eq!(plan.tools.len(), 3);
        let judge = &plan.models["claude-3-5-sonnet"];
        assert_eq!(judge.provider, Provider::Anthropic);
        assert_eq!(judge.key.as_ref().unwrap().env.as_deref(), Some("ANTHROPIC_API_KEY"));
        let price = judge.price.unwrap();
        assert_eq!((price.input.to_string(), price.output.to_string()), ("0.000003".to_owned(), "0.000015".to_owned()));
        assert_eq!(plan.patching.unwrap().max_prompt_tokens, 2048);
        assert_eq!(plan.champion.sections().len(), 4);
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
        pipeline.yaml:26:21: pipeline.observability.cost_tracking.token_pricin.input: missing: One input token
        pipeline.yaml:26:21: pipeline.observability.cost_tracking.token_pricin.output: missing: One output token
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
        pipeline.yaml:10:39: pipeline.evaluation.dimensions[0].judge_model: the name "mistral-large" tells no provider; set OPENAI_BASE_URL to the OpenAI-compatible endpoint that serves it
        pipeline.yaml:17:16: pipeline.optimization.patching.max_prompt_length: the prompt has 149 tokens, more than 40; shorten it or raise the limit
        pipeline.yaml:23:5: pipeline.observability.cost_tracking.token_pricing: missing: cost tracking is on and no price is known; give input and output, for one token
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
