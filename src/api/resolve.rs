//! Resolves a resource and the texts that it refers to into a [`Plan`], or reports all problems at once.
//!
//! Everything here is pure. The caller (the command line, a controller) first reads everything that [`requested`] lists; then
//! [`resolve`] validates, fills in the profile's defaults, and follows the references, part by part in the order of the
//! resource. Optional fields of the resource have values in the plan.

mod findings;
mod models;
mod names;
mod promotion;
mod prompt;
mod references;
mod scenario_checks;
mod scenarios;
mod scoring;
mod split;
mod tools;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use promotion::{currency, plan as promotion};
pub(crate) use references::{ConfigMap, Reference, References, Text, requested};
pub(crate) use watch::{breaches, max_drop};

use self::findings::Findings;
use super::agent::Runtime;
use super::agent_optimization::{AgentOptimizationSpec, Execution};
use super::defaults::{self, Defaults};
use super::optimization::{Clustering, Patching, Validation, ValidationScenarios};
use super::problem::Problems;
use super::promotion::Promotion;
use super::scoring::{ChatModelRef, EmbeddingModelRef};
use super::submission::Submission;
use whetstone_domain::call::Parameters;
use whetstone_domain::ids::{ModelName, ScenarioId};
use whetstone_domain::plan::Profile;
use whetstone_domain::plan::promotion::Approval;
use whetstone_domain::plan::watch::WatchPlan;
use whetstone_domain::plan::{
    ClusteringPlan, ExecutionPlan, ModelUse, PatchingPlan, Plan, RuntimePlan, ValidationPlan,
};
use whetstone_domain::prompt::Prompt;
use whetstone_domain::scenario::Scenario;
use whetstone_domain::series::Series;
use whetstone_domain::suite::Suite;

/// Resolves a submission into a plan.
///
/// # Errors
/// All problems of the submission and of the referenced texts, sorted by place.
pub(crate) fn resolve(submission: &Submission, references: &References) -> Result<Plan, Problems> {
    let spec = &submission.resource.spec;
    let metadata = &submission.resource.metadata;
    let defaults = Defaults::of(spec.profile);
    let mut findings = Findings::new(submission);

    warn_of_later_phases(spec, &mut findings);
    let models = models::resolve(spec, &mut findings);
    let budget = promotion::budget(spec, &mut findings);
    let champion = prompt::champion(spec, references, &mut findings);
    let tools = tools::resolve(spec, references, &mut findings);
    let runtime = runtime(spec, &defaults, references, &mut findings);
    let dimensions = scoring::resolve(spec, &defaults, &mut findings);
    names::check(submission, tools.as_deref(), &mut findings);
    let patching = patching(spec, &defaults, champion.as_ref(), &mut findings);
    let validation = validation(spec, &defaults, champion.as_ref(), &mut findings);
    let clustering = clustering(spec, &defaults, &mut findings);
    let gate = promotion::gate(spec, &defaults, runtime.as_ref(), &mut findings);
    let referents =
        scenarios::Referents { tools: tools.as_deref(), dimensions: &dimensions, runtime: runtime.as_ref() };
    let scenarios = Suite::new(scenarios::resolve(spec, references, &referents, &mut findings));
    let split = split::resolve(spec, &defaults, &scenarios, gate.minimum_sample_size, &mut findings);
    promotion::target(spec, &mut findings);
    watch::resolve(spec, &mut findings);
    scoring::warn_of_idle_dimensions(&dimensions, scenarios.scenarios(), &mut findings);
    models::warn_of_unused(spec, &mut findings);

    let user_model = user_model(spec, scenarios.scenarios(), &mut findings);

    let (Some(champion), Some(tools), Some(runtime)) = (champion, tools, runtime) else {
        return Err(findings.into_problems());
    };
    let warnings = findings.finish()?;
    let target = promotion_of(spec).and_then(|promotion| Some(promotion.target.as_ref()?.config_map.clone()));
    Ok(Plan {
        namespace: metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
        profile: spec.profile,
        champion: champion.into(),
        tools: tools.into(),
        execution: execution(spec, &defaults, &runtime, user_model),
        runtime,
        models,
        scenarios,
        split,
        dimensions: dimensions.into(),
        clustering,
        patching,
        validation,
        gate,
        target,
        budget,
        currency: promotion::currency(spec),
        warnings,
    })
}

/// Resolves only the plan of the watch, which needs neither prompt nor scenarios: the champion is watched even while they are
/// missing. `None` if nothing is watched.
///
/// # Errors
/// All problems of `spec.watch`, and those of the submission's form.
pub(crate) fn watch(submission: &Submission) -> Result<Option<WatchPlan>, Problems> {
    let mut findings = Findings::new(submission);
    let plan = watch::resolve(&submission.resource.spec, &mut findings);
    findings.finish().map(|_| plan)
}

fn warn_of_later_phases(spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) {
    let later = [
        ("spec.calibration", spec.calibration.is_some()),
        ("spec.probe", spec.probe.is_some()),
        ("spec.export", spec.export.is_some()),
    ];
    for (field, _) in later.into_iter().filter(|(_, written)| *written) {
        findings.warn(field, "not implemented yet; the setting has no effect");
    }
    match spec.profile {
        Profile::Compliance if spec.calibration.is_none() => {
            findings.warn("spec.profile", "Compliance requires calibration of the judge, which is not implemented yet");
        }
        Profile::MultiAgent if spec.probe.is_none() => {
            findings.warn("spec.profile", "MultiAgent includes red-team attacks, which are not implemented yet");
        }
        _ => {}
    }
}

/// The fields that only the operator uses, each with advice for the command line.
#[must_use]
pub(crate) fn left_to_the_operator(spec: &AgentOptimizationSpec) -> Vec<String> {
    let promotion = promotion_of(spec).cloned().unwrap_or_default();
    let approval = promotion::plan(spec).approval;
    let restarts = promotion.target.as_ref().is_some_and(|target| !target.restart.is_empty());
    let fields = [
        ("spec.suspend", spec.suspend, "this command runs a cycle anyway"),
        ("spec.pin", spec.pin.is_some(), "a run searches for a better prompt anyway"),
        ("spec.schedule", spec.schedule.is_some(), "schedule the command in your CI"),
        ("spec.promotion.approval", approval == Approval::Manual, "review what a run writes before you apply it"),
        (
            "spec.promotion.maxVersionsRetained",
            promotion.max_versions_retained.is_some(),
            "the store keeps every version",
        ),
        ("spec.promotion.target.restart", restarts, "restart the workloads after applying the ConfigMap"),
        ("spec.watch", spec.watch.is_some(), "monitor the prompt after you apply it"),
    ];
    let written = fields.into_iter().filter(|(_, is_written, _)| *is_written);
    written.map(|(field, _, instead)| format!("{field}: used only by the operator; {instead}")).collect()
}

/// The runtime of the agent; `None` if it is invalid, which is recorded as a problem.
fn runtime(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    references: &References,
    findings: &mut Findings<'_>,
) -> Option<RuntimePlan> {
    let path = "spec.agent.runtime";
    let Runtime { model, endpoint, replay } = &spec.agent.runtime;
    let given = [("model", model.is_some()), ("endpoint", endpoint.is_some()), ("replay", replay.is_some())];
    findings.exactly_one(path, &given)?;
    if let Some(model) = model {
        let field = format!("{path}.model");
        findings.parameters(&format!("{field}.parameters"), model.parameters.as_ref());
        return Some(RuntimePlan::Model {
            model: findings.model(&format!("{field}.ref"), &model.model)?,
            parameters: Arc::new(model.parameters.clone().unwrap_or_default().sent()),
            max_turns: model.max_turns.unwrap_or(defaults.max_turns),
        });
    }
    if let Some(endpoint) = endpoint {
        let field = format!("{path}.endpoint.ref");
        let name = findings.model(&field, &endpoint.model)?;
        let named = spec.models.iter().find(|model| model.name == endpoint.model);
        if named.is_some_and(|model| model.openai.is_none()) {
            findings.problem(
                &field,
                format!("an endpoint must be OpenAI-compatible; set openAI.baseURL of the model {name:?}"),
            );
        }
        findings.parameters(&format!("{path}.endpoint.parameters"), endpoint.parameters.as_ref());
        let parameters = Arc::new(endpoint.parameters.clone().unwrap_or_default().sent());
        return Some(RuntimePlan::Endpoint { model: name, parameters });
    }
    let transcripts = scenarios::transcripts(&replay.as_ref()?.transcripts, references, findings)?;
    Some(RuntimePlan::Replay { transcripts: transcripts.into() })
}

/// The model that plays simulated users: the given one, else the judge.
fn user_model(
    spec: &AgentOptimizationSpec,
    scenarios: &[Arc<Scenario>],
    findings: &mut Findings<'_>,
) -> Option<ModelUse> {
    let named = spec.execution.as_ref().and_then(|execution| execution.simulated_user.as_ref());
    if let Some(named) = named {
        let user = findings.chat_model("spec.execution.simulatedUser", named)?;
        return Some(ModelUse { parameters: Arc::new(Parameters::clone(&user.parameters).sent()), ..user });
    }
    let judge = spec.scoring.as_ref().and_then(|scoring| scoring.judge.as_ref());
    if let Some(ChatModelRef { model, .. }) = judge {
        return spec.models.iter().any(|known| known.name == *model).then(|| model.as_str().into());
    }
    let played = scenarios.iter().find(|scenario| scenario.simulated_user.is_some())?;
    if spec.agent.runtime.replay.is_none() {
        let message = format!(
            "missing: scenario {:?} has a simulated user, but there is no model to play it; name one of spec.models, or set spec.scoring.judge",
            played.id.as_str()
        );
        findings.problem("spec.execution.simulatedUser", message);
    }
    None
}

fn execution(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    runtime: &RuntimePlan,
    user_model: Option<ModelUse>,
) -> ExecutionPlan {
    let Execution { repeats, concurrency, scenario_timeout, error_tolerance, simulated_user: _ } =
        spec.execution.clone().unwrap_or_default();
    ExecutionPlan {
        user_model,
        repeats: repeats.unwrap_or_else(|| default_repeats(defaults, runtime)),
        concurrency: concurrency.unwrap_or(defaults.concurrency) as usize,
        scenario_timeout: scenario_timeout.map_or(defaults.scenario_timeout, |timeout| timeout.0),
        error_tolerance: error_tolerance.unwrap_or(defaults.error_tolerance),
        seed: spec.split.as_ref().and_then(|split| split.seed).unwrap_or(defaults::SPLIT_SEED),
        series: Series::default(),
    }
}

/// All recorded repeats are used; runs cost money, so the profile sets their number.
fn default_repeats(defaults: &Defaults, runtime: &RuntimePlan) -> u32 {
    match runtime {
        RuntimePlan::Replay { transcripts } => {
            let mut recorded: BTreeMap<&ScenarioId, u32> = BTreeMap::new();
            for transcript in transcripts.iter() {
                *recorded.entry(&transcript.scenario).or_default() += 1;
            }
            recorded.into_values().max().unwrap_or(1)
        }
        _ => defaults.repeats,
    }
}

fn clustering(spec: &AgentOptimizationSpec, defaults: &Defaults, findings: &mut Findings<'_>) -> ClusteringPlan {
    let Clustering { embeddings, threshold, max_clusters } = spec.clustering.clone().unwrap_or_default();
    let path = "spec.clustering.embeddings.ref";
    let embeddings = embeddings.and_then(|EmbeddingModelRef { model, parameters }| {
        if spec.models.iter().any(|known| known.name == model && known.anthropic.is_some()) {
            findings.problem(path, format!("{model:?} is an Anthropic model, and Anthropic has no embeddings API"));
        }
        let extra = parameters.unwrap_or_default().extra.filter(|extra| !extra.is_empty());
        for (name, why) in
            [("model", "the model is set in spec.models"), ("input", "the texts are those of the failures")]
        {
            if extra.as_ref().is_some_and(|extra| extra.contains_key(name)) {
                findings.problem(&format!("spec.clustering.embeddings.parameters.extra.{name}"), why);
            }
        }
        let model = findings.model(path, &model)?;
        Some(ModelUse { model, parameters: Arc::new(Parameters { extra, ..Parameters::default() }) })
    });
    ClusteringPlan { embeddings, threshold, max_clusters: max_clusters.unwrap_or(defaults.max_clusters) as usize }
}

fn patching(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    champion: Option<&Prompt>,
    findings: &mut Findings<'_>,
) -> Option<PatchingPlan> {
    let Patching { model, parameters, protected_sections, max_prompt_tokens, candidates_per_cluster, rounds } =
        spec.patching.clone().unwrap_or_default();
    let path = "spec.patching";
    let writer = match &model {
        Some(named) => findings.chat_model(&format!("{path}.model"), named).map(|writer| writer.model),
        None => judge_of(spec),
    };
    findings.parameters(&format!("{path}.parameters"), parameters.as_ref());
    let of_model = model.as_ref().and_then(|named| named.parameters.clone());
    if parameters.is_some() && of_model.is_some() {
        let message = "spec.patching.parameters sets the same parameters; keep one of them";
        findings.problem(&format!("{path}.model.parameters"), message);
    }
    findings.sections(&format!("{path}.protectedSections"), &protected_sections, champion);
    let max_prompt_tokens = max_prompt_tokens.unwrap_or(defaults.max_prompt_tokens) as usize;
    if let Some(champion) = champion {
        prompt::check_length(champion, max_prompt_tokens, findings);
        prompt::check_room(champion, spec, findings);
    }
    if spec.agent.runtime.replay.is_some() {
        return None;
    }
    if writer.is_none() && model.is_none() {
        let message =
            "there is no model to write patches, so failures are found but not fixed; name a model, or a judge";
        findings.warn("spec.patching.model", message);
    }
    Some(PatchingPlan {
        model: writer?,
        parameters: Arc::new(parameters.or(of_model).unwrap_or_default().sent()),
        protected_sections,
        max_prompt_tokens,
        candidates_per_cluster: candidates_per_cluster.unwrap_or(defaults.candidates_per_cluster),
        rounds: rounds.unwrap_or(defaults.rounds),
    })
}

/// The judge of all dimensions, or else the first judge that one of them has.
fn judge_of(spec: &AgentOptimizationSpec) -> Option<ModelName> {
    let scoring = spec.scoring.as_ref()?;
    let own = scoring.dimensions.iter().filter_map(|dimension| dimension.judge.as_ref());
    let judge = scoring.judge.iter().chain(own).next()?;
    Some(judge.model.as_str().into())
}

fn validation(
    spec: &AgentOptimizationSpec,
    defaults: &Defaults,
    champion: Option<&Prompt>,
    findings: &mut Findings<'_>,
) -> ValidationPlan {
    let Validation { scenarios, sentinels, complexity_threshold, core_sections } =
        spec.validation.clone().unwrap_or_default();
    findings.sections("spec.validation.coreSections", &core_sections, champion);
    ValidationPlan {
        full_suite: scenarios.map_or(defaults.full_suite, |scenarios| scenarios == ValidationScenarios::FullSuite),
        sentinels: sentinels.unwrap_or(defaults.sentinels) as usize,
        complexity_threshold: complexity_threshold.unwrap_or(defaults.complexity_threshold),
        core_sections,
    }
}

/// The names of the models that a resource uses.
fn used_models(spec: &AgentOptimizationSpec) -> BTreeSet<&str> {
    let runtime = &spec.agent.runtime;
    let agent = runtime.model.iter().map(|model| &model.model);
    let endpoint = runtime.endpoint.iter().map(|endpoint| &endpoint.model);
    let scoring = spec.scoring.iter();
    let judges = scoring.flat_map(|scoring| {
        scoring.judge.iter().chain(scoring.dimensions.iter().filter_map(|dimension| dimension.judge.as_ref()))
    });
    let embeddings = spec.clustering.iter().filter_map(|clustering| Some(&clustering.embeddings.as_ref()?.model));
    let writer = spec.patching.iter().filter_map(|patching| patching.model.as_ref());
    let user = spec.execution.iter().filter_map(|execution| execution.simulated_user.as_ref());
    let referred = judges.chain(writer).chain(user).map(|reference| &reference.model);
    agent.chain(endpoint).chain(embeddings).chain(referred).map(String::as_str).collect()
}

/// The part of the resource about promotion, where there is one.
fn promotion_of(spec: &AgentOptimizationSpec) -> Option<&Promotion> {
    spec.promotion.as_ref()
}

#[cfg(test)]
mod tests;
