//! Step *resolve*: the references of an optimization → its base prompt, the identity of its inputs, and problems with them.
//! Reads only. The inputs of a cycle are resolved again when it starts ([`plan`]), so that no plan is in memory for an idle
//! optimization.

mod gather;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use url::Url;

pub(crate) use self::keys::watch_keys;

use self::gather::{Gathered, MOST_GATHERED, gather, referred};
use self::keys::{keys, no_secret, wanted_keys};

use super::conditions;
use super::context::Context;
use super::error::ReconcileError;
use super::lock;
use super::observe::Observed;
use super::resolved::{Blocker, Computed, Prepared, Resolved};
use crate::api::problem::Problems;
use crate::api::resolve::{Reference, References, resolve as resolve_submission, watch};
use crate::api::{AgentOptimization, Submission};
use crate::kubernetes::target::MOST_BYTES;
use whetstone_decide::lifecycle::PromptText;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ObjectKey;
use whetstone_domain::plan::Plan;
use whetstone_domain::plan::watch::WatchPlan;
use whetstone_domain::words::counted;

/// How often an optimization is reconciled while its references are being computed. It is reconciled when that is done,
/// too.
pub(super) const COMPUTING_EVERY: Duration = Duration::from_secs(15);

/// Parses everything that was gathered. Untrusted input determines how long this takes, so it must not run on the threads
/// of the runtime.
fn compute(object: &AgentOptimization, references: &References) -> Computed {
    let submission = Submission::from(object.clone());
    let plan = resolve_submission(&submission, references);
    Computed {
        base: base(object, references),
        watch: watch(&submission).ok().flatten(),
        inputs: plan.as_ref().ok().map(Plan::inputs),
        terms: plan.as_ref().map(terms).unwrap_or_default(),
        plan,
    }
}

/// Resolves an optimization, unless nothing has changed since the last time. `None` while it is being computed: then a
/// reconcile is triggered when that is done.
///
/// # Errors
/// If a request to the API server fails.
pub(crate) async fn resolve(observed: &Observed, context: &Context) -> Result<Option<Arc<Resolved>>, ReconcileError> {
    let Observed { owner, object, .. } = observed;
    context.references.set(owner, referred(object));
    let fingerprint = fingerprint(object, context, owner);
    let known = lock(&context.resolved).get(owner).cloned();
    if let (Some(fingerprint), Some(known)) = (&fingerprint, known)
        && known.is_final
        && known.fingerprint == *fingerprint
    {
        return Ok(Some(known));
    }
    let champion = observed
        .record
        .champion
        .as_ref()
        .zip(observed.found())
        .and_then(|(champion, found)| (champion.hash == found.prompt.hash).then_some(found.prompt.text));
    let gathered = gather(&context.client, &owner.namespace, object, champion).await?;
    let (work, references) = (Arc::clone(object), Arc::clone(&gathered.references));
    let computing = context.computing.of(owner, gathered.key, move || compute(&work, &references));
    let Some(computed) = computing.await else { return Ok(None) };
    let Computed { inputs, terms, .. } = &computed;
    let (inputs, terms) = (inputs.clone(), terms.clone());
    let checked = check(&context.client, object, &owner.namespace, computed, &gathered, context).await?;
    // A permission may be granted again without a change of any of the objects.
    let is_final = fingerprint.is_some() && !checked.is_forbidden;
    let is_prepared = checked.prepared.is_ok();
    let resolved = Arc::new(Resolved {
        inputs: inputs.filter(|_| is_prepared),
        budget: checked.prepared.as_ref().ok().and_then(|prepared| prepared.plan.budget),
        terms: if is_prepared { terms } else { String::new() },
        warnings: checked.prepared.as_ref().ok().map(|prepared| prepared.plan.warnings.clone()),
        blocker: checked.prepared.as_ref().err().cloned(),
        base: checked.base,
        watch: checked.watch,
        is_final,
        fingerprint: fingerprint.filter(|_| is_final).unwrap_or_default(),
    });
    lock(&context.resolved).insert(owner.clone(), Arc::clone(&resolved));
    Ok(Some(resolved))
}

/// The plan of an optimization and its keys, for a cycle that starts. Computes on the current thread.
///
/// # Errors
/// If a request to the API server fails. The inner result has the problems of the resource.
pub(crate) async fn plan(
    object: &AgentOptimization,
    champion: &str,
    context: &Context,
) -> Result<Result<Prepared, Blocker>, ReconcileError> {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let gathered = gather(&context.client, &namespace, object, Some(champion.to_owned())).await?;
    let computed = compute(object, &gathered.references);
    Ok(check(&context.client, object, &namespace, computed, &gathered, context).await?.prepared)
}

/// Identifies the limits of a cycle: its budget, concurrency, time-outs and prices.
fn terms(plan: &Plan) -> String {
    let terms = format!("{:?}", (plan.budget, &plan.execution, &plan.models));
    ContentHash::of_bytes(terms.as_bytes()).to_string()
}

/// The first problems in words. A suite may have thousands, and the text stays in memory as long as the problems exist.
fn summary_of(problems: &Problems) -> String {
    const LISTED: usize = 20;
    let mut words: Vec<String> = problems.0.iter().take(LISTED).map(ToString::to_string).collect();
    let more = problems.0.len().saturating_sub(LISTED);
    if more > 0 {
        words.push(format!("and {}", counted(more, "more problem")));
    }
    conditions::cut(&words.join("\n"), conditions::MESSAGE)
}

struct Checked {
    base: Option<PromptText>,
    watch: Option<WatchPlan>,
    prepared: Result<Prepared, Blocker>,
    /// Whether a Secret may not be read.
    is_forbidden: bool,
}

/// The results of the computation together with its keys, or the problem that prevents their use.
async fn check(
    client: &kube::Client,
    object: &AgentOptimization,
    namespace: &str,
    Computed { base, watch, plan, .. }: Computed,
    gathered: &Gathered,
    context: &Context,
) -> Result<Checked, ReconcileError> {
    let blocker = |reason, message: String, is_transient| Blocker { reason, message, is_transient };
    // All problems are reported together, so that the user does not create a ConfigMap only to learn that a Secret is
    // missing too.
    let mut is_forbidden = false;
    let wanted = wanted_keys(object, watch.as_ref());
    let (keys, missing) = keys(client, namespace, wanted, &mut is_forbidden).await?;
    let with_missing = |message: String| [vec![message], missing.clone()].concat().join("\n");
    let prepared = match plan {
        _ if gathered.is_too_large => {
            let message = format!(
                "spec.scenarios: the ConfigMaps that it refers to have more than {} MiB together; take scenarios out, or divide \
                 them among several optimizations",
                MOST_GATHERED >> 20
            );
            Err(blocker(conditions::INVALID_SPEC, with_missing(message), false))
        }
        Err(problems) => {
            let is_transient = gathered.is_incomplete;
            let reason = if is_transient { conditions::REFERENCE_MISSING } else { conditions::INVALID_SPEC };
            Err(blocker(reason, with_missing(summary_of(&problems)), is_transient))
        }
        Ok(plan) => match (refused(&plan, watch.as_ref(), context), no_secret(&plan)) {
            (Some(message), _) => Err(blocker(conditions::ENDPOINT_REFUSED, with_missing(message), false)),
            (None, Some(message)) => Err(blocker(conditions::REFERENCE_MISSING, with_missing(message), true)),
            (None, None) if !missing.is_empty() => {
                Err(blocker(conditions::REFERENCE_MISSING, missing.join("\n"), true))
            }
            (None, None) => Ok(Prepared { plan, keys }),
        },
    };
    let too_large = base.as_ref().is_some_and(|base| base.text.len() > MOST_BYTES / 2);
    let prepared = match prepared {
        Ok(_) if too_large => {
            let message = "spec.agent.prompt: the base prompt has more than half a MiB, and a ConfigMap must hold it beside a challenger; shorten it";
            Err(blocker(conditions::PROMPT_TOO_LARGE, message.to_owned(), false))
        }
        prepared => prepared,
    };
    Ok(Checked { base: base.filter(|_| !too_large), watch, prepared, is_forbidden })
}

/// The base prompt, whatever the other problems.
fn base(object: &AgentOptimization, references: &References) -> Option<PromptText> {
    let source = &object.spec.agent.prompt;
    let text = match (&source.config_map_key_ref, &source.inline) {
        (Some(key), None) => {
            let reference = Reference::ConfigMapKey { name: key.name.clone(), key: key.key.clone() };
            references.get(&reference)?.as_ref().ok()?.first()?.text.clone()
        }
        (None, Some(inline)) => inline.clone(),
        _ => return None,
    };
    (!text.trim().is_empty()).then(|| PromptText::new(text))
}

/// Why the operator's allow-list refuses an endpoint of a plan.
fn refused(plan: &Plan, watch: Option<&WatchPlan>, context: &Context) -> Option<String> {
    let models = plan.models.iter().filter_map(|(name, model)| {
        let url = Url::parse(&model.identity.endpoint).ok()?;
        let refusal = context.allowed.check(&url).err()?;
        Some(format!("spec.models[{:?}].baseURL: {refusal}", name.as_str()))
    });
    let prometheus = watch.and_then(|watch| watch.prometheus.as_ref()).and_then(|prometheus| {
        let refusal = context.allowed.check(&prometheus.url).err()?;
        Some(format!("spec.watch.prometheus.url: {refusal}"))
    });
    let all: Vec<String> = models.chain(prometheus).collect();
    (!all.is_empty()).then(|| all.join("\n"))
}

/// Identifies everything that the result depends on; `None` while the watches do not know all of it.
fn fingerprint(object: &AgentOptimization, context: &Context, owner: &ObjectKey) -> Option<String> {
    let versions = context.references.versions(owner)?;
    let target = object.spec.promotion.as_ref().and_then(|promotion| promotion.target.as_ref());
    let target = target.map(|target| format!("ConfigMap/{}", target.config_map));
    // Our own writes to the target are no change.
    let read: Vec<_> = versions.into_iter().filter(|(name, _)| Some(name) != target.as_ref()).collect();
    Some(ContentHash::of_json(&(object.metadata.uid.as_ref(), object.metadata.generation, read)).to_string())
}
