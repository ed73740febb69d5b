//! Step *act*: makes the cluster agree with a course. Writes only.
//!
//! In this order, so that whatever is killed in between, the next reconcile goes on:
//! 1. versions that do not exist yet,
//! 2. the record, in one write that fails if anybody has changed the resource since: here a promotion happens,
//! 3. the target ConfigMap, in one apply, from the record,
//! 4. restarts, cycles and watches. (Only a cycle that is to stop is stopped before the target.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Owner;
use super::conditions;
use super::context::Context;
use super::cycles::Order;
use super::error::{ReconcileError, fenced};
use super::lock;
use super::observe::{Observed, hash};
use super::resolve::{self, Resolved, Trouble};
use super::restarts::restart;
use super::run_cycle::{Grounds, run_cycle};
use super::watches::WatchOrder;
use crate::api::AgentOptimization;
use crate::api::status::{AgentOptimizationStatus, RunningCycle};
use crate::decide::lifecycle::{Course, NewVersion, PromptText, VersionOrigin};
use crate::engine::apply::{HASH_KEY, PROMPT_KEY, VERSION_KEY};
use crate::kubernetes::names::{FIELD_MANAGER, version_object};
use crate::kubernetes::target::{self, ApplyError, CHALLENGER_PROMPT_KEY, CHALLENGER_VERSION_KEY, MOST_BYTES, Target};
use crate::kubernetes::versions;
use crate::store::Store as _;

/// How often the target is written anew when somebody else writes it at the same time.
const TRIES: usize = 5;

/// What came of it.
#[derive(Debug, Default)]
pub struct Acted {
    /// Why the target does not hold what it should.
    pub target_trouble: Option<Trouble>,
    /// The target was put back: somebody had edited or deleted it.
    pub put_back: Option<String>,
    /// What went wrong with workloads that were to be restarted.
    pub restart_trouble: Vec<String>,
    /// What of it has not been told yet.
    pub restart_news: Vec<String>,
    /// When they are tried again.
    pub restart_after: Option<Duration>,
    /// All that was decided has been published.
    pub is_published: bool,
}

/// Creates the versions of a course.
///
/// # Errors
/// When the API server does not answer.
pub async fn create_versions(observed: &Observed, course: &Course, context: &Context) -> Result<(), ReconcileError> {
    for version in &course.create {
        fenced(context)?;
        let created = versions::create(&context.client, &observed.object, version).await;
        let Some(created) = created.map_err(ReconcileError::Cluster)? else {
            // Somebody was faster with this name; another look finds another one.
            return Err(ReconcileError::Changed);
        };
        context.versions.note(&created);
    }
    Ok(())
}

/// Writes the record, if it differs from the one before, unless anybody has changed the resource in between.
///
/// # Errors
/// [`ReconcileError::Changed`] when somebody has.
pub async fn commit(
    object: &Arc<AgentOptimization>,
    record: &AgentOptimizationStatus,
    context: &Context,
) -> Result<Arc<AgentOptimization>, ReconcileError> {
    if object.status.as_ref() == Some(record) {
        return Ok(Arc::clone(object));
    }
    fenced(context)?;
    let (namespace, name) =
        (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default());
    let api: Api<AgentOptimization> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "metadata": {"resourceVersion": object.metadata.resource_version},
        "status": replacement(object.status.as_ref(), record),
    });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&name, &parameters, &Patch::Merge(patch)).await {
        Ok(written) => {
            let written = Arc::new(written);
            lock(&context.written).insert((namespace, name), Arc::clone(&written));
            Ok(written)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Err(ReconcileError::Changed),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(ReconcileError::Gone),
        Err(error) => Err(ReconcileError::Cluster(error)),
    }
}

/// A merge patch from one status to another: what is gone is null.
fn replacement(before: Option<&AgentOptimizationStatus>, after: &AgentOptimizationStatus) -> serde_json::Value {
    fn nulls(before: &serde_json::Value, after: &mut serde_json::Value) {
        let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
        for (key, old) in before {
            match after.get_mut(key) {
                Some(new) => nulls(old, new),
                None => drop(after.insert(key.clone(), serde_json::Value::Null)),
            }
        }
    }
    let mut patch = serde_json::to_value(after).expect("a status is JSON");
    if let Some(before) = before {
        nulls(&serde_json::to_value(before).expect("a status is JSON"), &mut patch);
    }
    patch
}

/// Makes the target hold what the record says, restarts what is to be restarted, and makes the right cycle and watch run.
///
/// # Errors
/// When the API server does not answer.
pub async fn carry_out(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    object: &Arc<AgentOptimization>,
    grounds: &Grounds,
) -> Result<Acted, ReconcileError> {
    let context = &grounds.context;
    let mut acted = Acted::default();
    // A cycle that is to stop must not go on because a target cannot be written.
    let wanted = wanted_cycle(observed, resolved, course);
    context.cycles.stop_unless(&observed.owner, wanted);
    write_target(observed, resolved, course, grounds, &mut acted).await?;
    supervise_cycle(observed, resolved, course, object, grounds);
    // A prompt that serves is watched, whatever becomes of the workloads.
    supervise_watch(observed, resolved, course, context).await?;
    if acted.target_trouble.is_none() {
        restart(observed, course, context, &mut acted).await?;
    }
    for name in &course_retired(observed, course) {
        fenced(context)?;
        versions::delete(&context.client, &observed.owner.0, name).await.map_err(ReconcileError::Cluster)?;
    }
    Ok(acted)
}

async fn write_target(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    grounds: &Grounds,
    acted: &mut Acted,
) -> Result<(), ReconcileError> {
    let context = &grounds.context;
    let Some(champion) = &course.record.champion else { return Ok(()) };
    let (Some(spec), Some(found)) = (observed.target_spec(), &observed.target) else {
        let is_kept =
            observed.versions.iter().any(|it| it.known.version == champion.version && it.known.hash == champion.hash)
                || course.create.iter().any(|new| new.version == champion.version);
        if is_kept {
            return Ok(());
        }
        // Cycles need its prompt, wherever it serves.
        let held = text_of(observed, resolved, course, &champion.version, &champion.hash, None, grounds).await?;
        return held.map(drop).ok_or_else(|| ReconcileError::PromptLost(champion.version.clone()));
    };
    if let Some(rival) = &observed.rival {
        acted.target_trouble = Some(not_owned(
            &spec.config_map,
            &observed.owner,
            &format!("the AgentOptimization {rival:?} had it first"),
        ));
        return Ok(());
    }
    let mut found = found.clone();
    for _ in 0..TRIES {
        let held = match &found {
            Target::Foreign { managers } => {
                let who = if managers.is_empty() { "somebody else".to_owned() } else { managers.join(", ") };
                acted.target_trouble = Some(not_owned(&spec.config_map, &observed.owner, &format!("{who} wrote it")));
                return Ok(());
            }
            Target::Absent => None,
            Target::Ours(held) => Some(held),
        };
        let Some(data) = content(observed, resolved, course, held.map(|held| &held.data), grounds).await? else {
            return Err(ReconcileError::PromptLost(champion.version.clone()));
        };
        if held.is_some_and(|held| held.holds(&data)) {
            return Ok(());
        }
        if target::bytes(&data) > MOST_BYTES {
            let message = format!(
                "champion and challenger together have more than the 1 MiB that the ConfigMap {:?} may hold; shorten the prompt",
                spec.config_map
            );
            let reason = conditions::PROMPT_TOO_LARGE;
            acted.target_trouble = Some(Trouble { reason, message, may_come_right: false });
            return Ok(());
        }
        note_put_back(observed, course, held.map(|held| &held.data), &data, acted, &spec.config_map);
        fenced(context)?;
        let (namespace, name) = (&observed.owner.0, &spec.config_map);
        match target::apply(&context.client, namespace, name, &observed.owner.1, held, &data).await {
            Ok(()) => return Ok(()),
            Err(ApplyError::Changed(_)) => {
                found = target::read(&context.client, namespace, name, &observed.owner.1)
                    .await
                    .map_err(ReconcileError::Cluster)?;
            }
            Err(ApplyError::Refused { source, .. }) => return Err(ReconcileError::Cluster(source)),
        }
    }
    Err(ReconcileError::Changed)
}

fn not_owned(config_map: &str, (namespace, name): &Owner, why: &str) -> Trouble {
    Trouble {
        reason: conditions::TARGET_NOT_OWNED,
        message: format!(
            "spec.promotion.target.configMap: {config_map:?} belongs to somebody else ({why}), and is not overwritten; name another, delete it, \
             or hand it over: kubectl -n {namespace} annotate configmap {config_map} {}={name}",
            crate::api::intent::annotations::ADOPT
        ),
        may_come_right: false,
    }
}

/// Whether somebody has edited or deleted a target that had what it should have.
fn note_put_back(
    observed: &Observed,
    course: &Course,
    held: Option<&BTreeMap<String, String>>,
    wanted: &BTreeMap<String, String>,
    acted: &mut Acted,
    name: &str,
) {
    // Only where the record says that this target has held this version is it not we who are late: a promotion is committed
    // before its target is written, and we may have been killed in between.
    let before = &observed.record;
    let generation = observed.object.metadata.generation;
    let is_settled = before.champion == course.record.champion
        && before.conditions.iter().any(|it| {
            it.type_ == conditions::READY && it.reason == conditions::SERVING && it.observed_generation == generation
        });
    if !is_settled {
        return;
    }
    let ours = [PROMPT_KEY, VERSION_KEY, HASH_KEY];
    acted.put_back = match held {
        None => Some(format!("the ConfigMap {name:?} was deleted, and is there again")),
        Some(held) => {
            let edited: Vec<&str> = ours.into_iter().filter(|key| held.get(*key) != wanted.get(*key)).collect();
            let keys = edited.join(", ");
            (!edited.is_empty())
                .then(|| format!("somebody edited {keys} of the ConfigMap {name:?}, and it is put back"))
        }
    };
}

/// What the target should hold; `None` when the prompt of the champion is nowhere to be found.
async fn content(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    held: Option<&BTreeMap<String, String>>,
    grounds: &Grounds,
) -> Result<Option<BTreeMap<String, String>>, ReconcileError> {
    let Some(champion) = &course.record.champion else { return Ok(None) };
    let Some(prompt) = text_of(observed, resolved, course, &champion.version, &champion.hash, held, grounds).await?
    else {
        return Ok(None);
    };
    let mut data = BTreeMap::from([
        (PROMPT_KEY.to_owned(), prompt),
        (VERSION_KEY.to_owned(), champion.version.clone()),
        (HASH_KEY.to_owned(), champion.hash.clone()),
    ]);
    if let Some(challenger) = &course.record.challenger {
        let text = text_of(observed, resolved, course, &challenger.version, &challenger.hash, held, grounds).await?;
        if let Some(text) = text {
            data.insert(CHALLENGER_PROMPT_KEY.to_owned(), text);
            data.insert(CHALLENGER_VERSION_KEY.to_owned(), challenger.version.clone());
        }
    }
    Ok(Some(data))
}

/// The prompt of a version, wherever it is: in the target, in its PromptVersion, or in the store. A PromptVersion that somebody
/// has deleted while its prompt is needed is created again.
async fn text_of(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    version: &str,
    wanted: &str,
    held: Option<&BTreeMap<String, String>>,
    grounds: &Grounds,
) -> Result<Option<String>, ReconcileError> {
    let context = &grounds.context;
    let (namespace, optimization) = &observed.owner;
    let indexed =
        observed.versions.iter().find(|indexed| indexed.known.version == version && indexed.known.hash == wanted);
    let is_kept = indexed.is_some() || course.create.iter().any(|new| new.version == version);
    let in_target = held.and_then(|held| {
        [PROMPT_KEY, CHALLENGER_PROMPT_KEY]
            .into_iter()
            .filter_map(|key| held.get(key))
            .find(|text| hash(text) == wanted)
    });
    if let (Some(text), true) = (in_target, is_kept) {
        return Ok(Some(text.clone()));
    }
    if let Some(new) = course.create.iter().find(|new| new.prompt.hash == wanted) {
        return Ok(Some(new.prompt.text.clone()));
    }
    let object = indexed.map_or_else(|| version_object(optimization, version), |indexed| indexed.known.object.clone());
    let found = versions::prompt(&context.client, namespace, &object).await.map_err(ReconcileError::Cluster)?;
    if let Some(text) = found.filter(|text| hash(text) == wanted) {
        return Ok(Some(text));
    }
    let base = resolved.base.as_ref().filter(|base| base.hash == wanted).map(|base| &base.text);
    let text = if let Some(text) = in_target.or(base) {
        Some(text.clone())
    } else {
        let store = grounds.stores.of(namespace).await.map_err(ReconcileError::Store)?;
        let rows = store.versions(&format!("{namespace}/{optimization}")).await.map_err(ReconcileError::Store)?;
        rows.into_iter().find(|row| row.version.hash.to_string() == wanted).map(|row| row.version.text)
    };
    if let Some(text) = &text {
        let lost = NewVersion {
            version: version.to_owned(),
            prompt: PromptText { hash: wanted.to_owned(), text: text.clone() },
            parent: None,
            diff: String::new(),
            addresses: Vec::new(),
            origin: VersionOrigin::Found,
        };
        fenced(context)?;
        // Its status is written when the watch tells of it. Its prompt serves even where it is refused (a quota).
        let created = versions::create(&context.client, &observed.object, &lost).await.map_err(ReconcileError::Cluster);
        match created {
            Err(error) if error.is_refusal() => {
                tracing::warn!(version, %error, "a deleted PromptVersion cannot be restored");
            }
            created => drop(created?),
        }
    }
    Ok(text)
}

/// The cycle that should be under way, and the hash of the champion that it is about.
fn wanted_cycle<'a>(
    observed: &Observed,
    resolved: &Resolved,
    course: &'a Course,
) -> Option<(&'a RunningCycle, &'a str)> {
    let may_run = !observed.object.spec.suspend && resolved.inputs.is_some() && !observed.is_refused();
    let cycle = course.record.cycle.as_ref().filter(|_| may_run)?;
    Some((cycle, &course.record.champion.as_ref()?.hash))
}

fn supervise_cycle(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    object: &Arc<AgentOptimization>,
    grounds: &Grounds,
) {
    let (context, owner) = (&grounds.context, &observed.owner);
    let Some((cycle, champion)) = wanted_cycle(observed, resolved, course) else {
        return context.cycles.forget(owner);
    };
    if let Some(waiting) = &cycle.waiting {
        // It failed. It is due later, or now if something has changed that it may have failed for.
        // Not known before, or not known now, is no change.
        let before = observed.cycle.fingerprint.as_ref().filter(|before| !before.is_empty());
        let now = Some(&resolved.fingerprint).filter(|now| !now.is_empty());
        let has_changed = before.zip(now).is_some_and(|(before, now)| before != now);
        if observed.now < waiting.until && !has_changed {
            return;
        }
    }
    let order_cycle = RunningCycle { progress: None, waiting: None, ..cycle.clone() };
    let (grounds, object, running) = (grounds.clone(), Arc::clone(object), order_cycle.clone());
    context.cycles.run(
        owner,
        Order {
            cycle: order_cycle,
            champion: champion.to_owned(),
            fingerprint: resolved.fingerprint.clone(),
            terms: resolved.terms.clone(),
            run: Box::new(move |supervision| Box::pin(run_cycle(grounds, object, running, supervision))),
        },
    );
}

async fn supervise_watch(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    context: &Context,
) -> Result<(), ReconcileError> {
    let owner = &observed.owner;
    let status = course.record.watch.as_ref().filter(|watch| !watch.established);
    let plan = resolved.watch.as_ref().filter(|plan| !plan.signals.is_empty());
    let (Some(status), Some(plan)) = (status, plan) else {
        context.watches.forget(owner);
        return Ok(());
    };
    if !context.watches.has(owner, status, &resolved.fingerprint) {
        let keys = resolve::watch_keys(&context.client, &owner.0, plan).await.map_err(ReconcileError::Cluster)?;
        let fingerprint = resolved.fingerprint.clone();
        context.watches.watch(owner, WatchOrder { status: status.clone(), plan: plan.clone(), keys, fingerprint });
    }
    Ok(())
}

/// The objects of versions that are too old to keep.
fn course_retired(observed: &Observed, course: &Course) -> Vec<String> {
    let spec = &observed.object.spec;
    let written = spec.promotion.as_ref().and_then(|promotion| promotion.max_versions_retained);
    let keep = written.unwrap_or(crate::api::profile::Defaults::of(spec.profile).max_versions_retained);
    let known: Vec<_> = observed.versions.iter().map(|indexed| indexed.known.clone()).collect();
    crate::decide::lifecycle::retained(&course.record, &known, keep as usize)
}
