//! Converts the template to the resource.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::super::AgentOptimization;
use super::super::agent::{Agent, ModelRuntime, Runtime};
use super::super::agent_optimization::AgentOptimizationSpec;
use super::super::document::{Content, Document};
use super::super::models::{Anthropic, Model, OpenAi, TokenPrice};
use super::super::optimization::{Clustering, Patching, Validation};
use super::super::problem::Problem;
use super::super::promotion::{Budget, Gate, Promotion, Target};
use super::super::scenarios::ScenarioSource;
use super::super::scoring::{ChatModelRef, Dimension, EmbeddingModelRef, Scoring};
use super::super::source::{SecretSource, TextSource};
use super::super::watch::{Reevaluation, Watch};
use super::{Converted, Pipeline, ToolEntry};
use whetstone_domain::call::{Parameters, Temperature};
use whetstone_domain::duration::HumanDuration;
use whetstone_domain::tool::ToolDefinition;

/// The default location of scenarios.
const SCENARIOS: &str = "scenarios";
const PRICING: &str = "pipeline.observability.cost_tracking.token_pricing";
const OPENAI_KEY: &str = "OPENAI_API_KEY";

struct Conversion<'a> {
    pipeline: &'a Pipeline,
    document: &'a Document,
    openai_base_url: Option<&'a str>,
    problems: &'a mut Vec<Problem>,
    renamed: Vec<(String, String)>,
    warnings: Vec<String>,
    models: Vec<Model>,
}

pub(super) fn convert(
    pipeline: &Pipeline,
    document: &Document,
    openai_base_url: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Option<Converted> {
    let mut conversion = Conversion {
        pipeline,
        document,
        openai_base_url,
        problems,
        renamed: Vec::new(),
        warnings: Vec::new(),
        models: Vec::new(),
    };
    let resource = conversion.resource()?;
    let Conversion { renamed, warnings, .. } = conversion;
    Some(Converted { resource, renamed, warnings })
}

impl Conversion<'_> {
    fn resource(&mut self) -> Option<AgentOptimization> {
        let pipeline = self.pipeline;
        self.came_from("metadata.name", "pipeline.name");
        let agent = self.agent()?;
        let scoring = self.scoring();
        let clustering = self.clustering();
        let spec = AgentOptimizationSpec {
            scoring: Some(scoring),
            clustering,
            patching: self.patching(),
            validation: self.validation(),
            promotion: Some(self.promotion()),
            watch: self.watch(),
            budget: self.budget(),
            models: std::mem::take(&mut self.models),
            ..AgentOptimizationSpec::new(agent, self.scenarios())
        };
        self.note_what_stays_behind();
        let mut resource = AgentOptimization::new(&object_name(&pipeline.name, 63), spec);
        let version =
            pipeline.version.iter().map(|version| ("whetstone.dev/pipeline-version".to_owned(), version.clone()));
        let agent = pipeline.agent.identifier.iter().map(|agent| ("whetstone.dev/agent".to_owned(), agent.clone()));
        let annotations: BTreeMap<String, String> = version.chain(agent).collect();
        resource.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
        Some(resource)
    }

    fn agent(&mut self) -> Option<Agent> {
        let agent = &self.pipeline.agent;
        self.came_from("spec.agent", "pipeline.agent");
        self.came_from("spec.agent.prompt", "pipeline.agent.system_prompt_file");
        self.came_from("spec.agent.prompt.file", "pipeline.agent.system_prompt_file");
        self.came_from("spec.agent.tools", "pipeline.agent.tool_definitions");
        let tools = agent.tool_definitions.iter().map(|entry| match entry {
            ToolEntry::Name(name) => ToolDefinition { name: name.as_str().into(), description: None, parameters: None },
            ToolEntry::Definition(tool) => tool.clone(),
        });
        Some(Agent {
            prompt: TextSource { file: Some(agent.system_prompt_file.clone()), ..TextSource::default() },
            prompt_format: None,
            tools: tools.collect(),
            tools_from: Vec::new(),
            runtime: Runtime { model: Some(self.agent_model()?), ..Runtime::default() },
        })
    }

    fn agent_model(&mut self) -> Option<ModelRuntime> {
        let (name, path) = if let Some(model) = &self.pipeline.agent.model {
            (model.clone(), "pipeline.agent.model".to_owned())
        } else if let Some((index, judge)) = self.first_judge() {
            let path = format!("pipeline.evaluation.dimensions[{index}].judge_model");
            let message = format!("the file does not name the agent's model; using the judge's model, {judge:?}");
            self.warnings.push(format!("pipeline.agent.model: {message}"));
            (judge, path)
        } else {
            let message = "missing: the agent's model (there is no judge_model to use instead)";
            self.problems.push(self.document.problem("pipeline.agent.model", message));
            return None;
        };
        self.came_from("spec.agent.runtime.model.ref", &path);
        self.model(&name, &path);
        Some(ModelRuntime { model: name, parameters: None, max_turns: None })
    }

    fn first_judge(&self) -> Option<(usize, String)> {
        let mut dimensions = self.pipeline.evaluation.dimensions.iter().enumerate();
        dimensions.find_map(|(index, dimension)| Some((index, dimension.judge_model.clone()?)))
    }

    fn scenarios(&mut self) -> Vec<ScenarioSource> {
        self.came_from("spec.scenarios", "pipeline.evaluation.scenarios_file");
        self.came_from("spec.scenarios[0].file", "pipeline.evaluation.scenarios_file");
        let file = self.pipeline.evaluation.scenarios_file.clone().unwrap_or_else(|| SCENARIOS.to_owned());
        vec![ScenarioSource { file: Some(file), ..ScenarioSource::default() }]
    }

    fn scoring(&mut self) -> Scoring {
        let pipeline = self.pipeline;
        self.came_from("spec.scoring.dimensions", "pipeline.evaluation.dimensions");
        let judge = self.first_judge();
        if let Some((index, _)) = &judge {
            let path = format!("pipeline.evaluation.dimensions[{index}].judge_model");
            self.came_from("spec.scoring.judge.ref", &path);
        }
        // 0 is the default temperature of a judge.
        let temperature = pipeline.evaluation.temperature.filter(|temperature| *temperature != 0.0);
        let parameters = temperature.map(|temperature| Parameters {
            temperature: Some(Temperature::Value(temperature)),
            ..Parameters::default()
        });
        let judge_of = |model: String| ChatModelRef { model, parameters: parameters.clone() };
        let judge = judge.map(|(_, model)| judge_of(model));
        let mut dimensions = Vec::new();
        for (index, dimension) in pipeline.evaluation.dimensions.iter().enumerate() {
            let path = format!("pipeline.evaluation.dimensions[{index}].judge_model");
            self.came_from(&format!("spec.scoring.dimensions[{index}].judge.ref"), &path);
            let own = dimension.judge_model.as_ref().map(|model| judge_of(model.clone()));
            if let Some(ChatModelRef { model, .. }) = &own {
                self.model(model, &path);
            }
            dimensions.push(Dimension {
                name: dimension.name.clone(),
                weight: dimension.weight,
                scorer: None,
                judge: own.filter(|own| Some(own) != judge.as_ref()),
                rubric: dimension.rubric.clone(),
                pass_at: None,
                critical: None,
                threshold: None,
            });
        }
        Scoring::of(judge, dimensions)
    }

    fn clustering(&mut self) -> Option<Clustering> {
        let clustering = self.pipeline.optimization.as_ref()?.clustering.as_ref()?;
        let path = "pipeline.optimization.clustering";
        self.came_from("spec.clustering", path);
        self.came_from("spec.clustering.maxClusters", &format!("{path}.max_clusters"));
        self.came_from("spec.clustering.embeddings.ref", &format!("{path}.embedding_model"));
        if let Some(model) = &clustering.embedding_model {
            self.model(model, &format!("{path}.embedding_model"));
        }
        Some(Clustering {
            embeddings: clustering
                .embedding_model
                .as_ref()
                .map(|model| EmbeddingModelRef { model: model.clone(), parameters: None }),
            threshold: clustering.threshold,
            max_clusters: clustering.max_clusters,
        })
    }

    fn patching(&mut self) -> Option<Patching> {
        let max_prompt_tokens = self.pipeline.optimization.as_ref()?.patching.as_ref()?.max_prompt_length;
        self.came_from("spec.patching.maxPromptTokens", "pipeline.optimization.patching.max_prompt_length");
        max_prompt_tokens?;
        Some(Patching { max_prompt_tokens, ..Patching::default() })
    }

    fn validation(&mut self) -> Option<Validation> {
        let tried_on = self.pipeline.optimization.as_ref()?.patching.as_ref()?.validation_scenarios?;
        self.came_from("spec.validation.scenarios", "pipeline.optimization.patching.validation_scenarios");
        Some(Validation { scenarios: Some(tried_on.into()), ..Validation::default() })
    }

    fn promotion(&mut self) -> Promotion {
        let pipeline = self.pipeline;
        self.came_from("spec.promotion", "pipeline.promotion");
        self.came_from("spec.promotion.target.configMap", "pipeline.agent.identifier");
        let gatekeeper = pipeline.promotion.as_ref().and_then(|promotion| promotion.gatekeeper.as_ref());
        let patching = pipeline.optimization.as_ref().and_then(|optimization| optimization.patching.as_ref());
        let regression_tolerance = patching.and_then(|patching| patching.regression_tolerance);
        self.came_from("spec.promotion.gate", "pipeline.promotion.gatekeeper");
        for (field, original) in [
            ("test", "pipeline.promotion.gatekeeper.statistical_test"),
            ("significanceLevel", "pipeline.promotion.gatekeeper.significance_level"),
            ("minimumScore", "pipeline.promotion.gatekeeper.minimum_score"),
            ("shadowSampleSize", "pipeline.promotion.gatekeeper.shadow_sample_size"),
            ("regressionTolerance", "pipeline.optimization.patching.regression_tolerance"),
        ] {
            self.came_from(&format!("spec.promotion.gate.{field}"), original);
        }
        let gate = Gate {
            test: gatekeeper.and_then(|gate| gate.statistical_test),
            significance_level: gatekeeper.and_then(|gate| gate.significance_level),
            regression_tolerance,
            minimum_score: gatekeeper.and_then(|gate| gate.minimum_score),
            shadow_sample_size: gatekeeper.and_then(|gate| gate.shadow_sample_size),
            ..Gate::default()
        };
        let agent = pipeline.agent.identifier.as_ref().unwrap_or(&pipeline.name);
        let rollback = pipeline.promotion.as_ref().and_then(|promotion| promotion.rollback.as_ref());
        self.came_from("spec.promotion.maxVersionsRetained", "pipeline.promotion.rollback.max_versions_retained");
        Promotion {
            target: Some(Target { config_map: object_name(&format!("{agent}-prompt"), 253), restart: Vec::new() }),
            gate: (gate != Gate::default()).then_some(gate),
            approval: None,
            max_versions_retained: rollback.and_then(|rollback| rollback.max_versions_retained),
            ..Promotion::default()
        }
    }

    fn watch(&mut self) -> Option<Watch> {
        let rollback = self.pipeline.promotion.as_ref()?.rollback.as_ref()?;
        self.came_from("spec.watch", "pipeline.promotion.rollback.enabled");
        if rollback.enabled != Some(true) {
            return None;
        }
        // The template has no signals, so the rollback depends on re-evaluations of the suite.
        let every = HumanDuration(Duration::from_hours(24));
        Some(Watch { reevaluation: Some(Reevaluation { every, max_drop: None }), ..Watch::default() })
    }

    fn budget(&mut self) -> Option<Budget> {
        let costs = self.pipeline.observability.as_ref()?.cost_tracking.as_ref()?;
        self.came_from("spec.budget", "pipeline.observability.cost_tracking");
        if costs.enabled == Some(true) && costs.token_pricing.is_none() {
            let message = "missing: cost tracking requires prices; give input and output, per token";
            self.problems.push(self.document.problem(PRICING, message));
        }
        let currency = costs.currency.clone()?;
        Some(Budget { per_cycle: None, currency: Some(currency) })
    }

    fn note_what_stays_behind(&mut self) {
        let pipeline = self.pipeline;
        if pipeline.observability.as_ref().is_some_and(|observability| observability.tracing.is_some()) {
            let message = "exporting traces is not implemented yet; no traces are sent";
            self.warnings.push(format!("pipeline.observability.tracing: {message}"));
        }
    }

    /// Adds a model, unless it exists. Its provider is inferred from its name.
    fn model(&mut self, name: &str, path: &str) {
        if self.models.iter().any(|model| model.name == name) {
            return;
        }
        let index = self.models.len();
        self.came_from(&format!("spec.models[{index}]"), path);
        self.came_from(&format!("spec.models[{index}].price"), PRICING);
        let is_anthropic = name.starts_with("claude");
        let is_openai =
            ["gpt", "chatgpt", "o1", "o3", "o4", "text-embedding"].iter().any(|beginning| name.starts_with(beginning));
        if !is_anthropic && !is_openai && self.openai_base_url.is_none() {
            let message = format!(
                "the provider of {name:?} is unknown; set OPENAI_BASE_URL to the OpenAI-compatible endpoint that serves it"
            );
            self.problems.push(self.document.problem(path, message));
        }
        let anthropic = is_anthropic.then(|| Anthropic { base_url: None, model: name.to_owned(), api_key: None });
        let openai = (!is_anthropic).then(|| OpenAi {
            base_url: self.openai_base_url.map(str::to_owned),
            model: name.to_owned(),
            api_key: self
                .openai_base_url
                .map(|_| SecretSource { secret_key_ref: None, env: Some(OPENAI_KEY.to_owned()) }),
            seed: None,
            token_limit: None,
            system_role: None,
        });
        let price = self.price();
        self.models.push(Model {
            name: name.to_owned(),
            openai,
            anthropic,
            headers: Vec::new(),
            structured_output: None,
            price,
            limits: None,
        });
    }

    fn price(&mut self) -> Option<TokenPrice> {
        let pricing = self.pipeline.observability.as_ref()?.cost_tracking.as_ref()?.token_pricing.as_ref()?;
        let cached = pricing.cached_input.is_some();
        Some(TokenPrice {
            input_per_million: self.per_million("input")?,
            output_per_million: self.per_million("output")?,
            cached_input_per_million: if cached { self.per_million("cached_input") } else { None },
        })
    }

    /// Converts a price per token to one per million tokens, exactly, from the original digits.
    fn per_million(&mut self, field: &str) -> Option<String> {
        let path = format!("{PRICING}.{field}");
        let Some(Content::Number { written, .. }) = self.document.node(&path).map(|node| &node.content) else {
            return None;
        };
        let price = Decimal::from_str_exact(written).or_else(|_| Decimal::from_scientific(written)).ok();
        let million = price.and_then(|price| price.checked_mul(Decimal::from(1_000_000)));
        if million.is_none() {
            let message = format!("the price {written} cannot be represented exactly; write it as a decimal number");
            self.problems.push(self.document.problem(path, message));
        }
        million.map(|million| million.normalize().to_string())
    }

    fn came_from(&mut self, field: &str, original: &str) {
        self.renamed.push((field.to_owned(), original.to_owned()));
    }
}

/// A valid object name with at most this many characters.
fn object_name(text: &str, longest: usize) -> String {
    let letters = text.to_lowercase().replace(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'), "-");
    let parts: Vec<&str> = letters.split('.').map(|part| part.trim_matches('-')).filter(|it| !it.is_empty()).collect();
    let name: String = parts.join(".").chars().take(longest).collect();
    // The truncated name may end with a character that is not allowed there.
    let name = name.trim_end_matches(['-', '.']);
    if name.is_empty() { "pipeline".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::api::patterns::OBJECT_NAME;

    #[test]
    fn a_pipeline_of_any_name_becomes_an_object_of_a_name_that_the_cluster_takes() {
        let object = Regex::new(OBJECT_NAME).unwrap();
        for (text, name) in [
            ("Support Assistant v1.2", "support-assistant-v1.2"),
            ("a. b", "a.b"),
            ("..a..b.-", "a.b"),
            ("你好", "pipeline"),
            ("-", "pipeline"),
        ] {
            assert_eq!(object_name(text, 63), name, "{text:?}");
            assert!(object.is_match(name), "{name:?}");
        }
        // The cut falls on a letter, a hyphen and a dot.
        for text in [&"n".repeat(80), &format!("{} b", "n".repeat(62)), &format!("{}.b", "n".repeat(62))] {
            let name = object_name(text, 63);
            assert!((62..=63).contains(&name.len()) && object.is_match(&name), "{name:?}");
        }
    }
}
