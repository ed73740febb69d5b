//! PromptVersions: an index without their prompts, and writes.
//!
//! A prompt may have a megabyte and there may be thousands of versions, but decisions need only names, hashes and phases. So
//! the index hashes a prompt and drops it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;

use super::names::{FIELD_MANAGER, OPTIMIZATION_LABEL, ORIGIN_ANNOTATION, key_of, version_object};
use crate::api::AgentOptimization;
use crate::api::prompt_version::{OptimizationRef, PromptVersion, PromptVersionSpec};
use crate::api::status::PromptVersionStatus;
use whetstone_decide::lifecycle::{KnownVersion, NewVersion, VersionOrigin};
use whetstone_domain::ids::ObjectKey;
use whetstone_domain::prompt_set::PromptSet;
use whetstone_domain::score::Score;

/// A PromptVersion without its prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Indexed {
    /// What decisions depend on.
    pub known: KnownVersion,
    /// Its status.
    pub status: PromptVersionStatus,
    /// Its generation.
    pub generation: Option<i64>,
    /// The version that its spec names as its parent.
    pub parent: Option<String>,
    /// The version of the object. Versions are increasing numbers.
    pub revision: u64,
}

/// All PromptVersions that are watched, by their optimization and object name.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    all: Mutex<HashMap<ObjectKey, BTreeMap<String, Indexed>>>,
    /// What a restarted watch has listed so far, until the list is complete.
    listed: Mutex<HashMap<ObjectKey, BTreeMap<String, Indexed>>>,
    /// The most recently deleted objects, by namespace and name, with their last version.
    gone: Mutex<VecDeque<(ObjectKey, u64)>>,
    /// Whether the first list is complete.
    is_complete: AtomicBool,
}

/// The page size of a list. Each object may have a megabyte.
const PAGE: u32 = 50;

/// The number of deleted objects that are remembered. The answer to a write is late by a few deletions at most.
const GONE: usize = 256;

impl Versions {
    /// Processes an event of the watch. Returns the optimizations that it concerns.
    pub(crate) fn take_in(&self, event: &Event<PromptVersion>) -> Vec<ObjectKey> {
        match event {
            Event::Init => {
                lock(&self.listed).clear();
                Vec::new()
            }
            Event::InitApply(version) => {
                let owner = owner_of(version);
                lock(&self.listed).entry(owner).or_default().insert(version.name_any(), indexed(version));
                Vec::new()
            }
            Event::InitDone => {
                let mut listed = std::mem::take(&mut *lock(&self.listed));
                let mut all = lock(&self.all);
                for (owner, versions) in &mut listed {
                    for (object, version) in versions {
                        // A list may be older than our own writes since.
                        let known = all.get(owner).and_then(|known| known.get(object));
                        if let Some(known) = known.filter(|known| known.revision > version.revision) {
                            *version = known.clone();
                        }
                    }
                }
                let mut owners: Vec<ObjectKey> = all.keys().chain(listed.keys()).cloned().collect();
                owners.sort();
                owners.dedup();
                *all = listed;
                self.is_complete.store(true, Ordering::Release);
                owners
            }
            Event::Apply(version) => self.keep(version).into_iter().collect(),
            Event::Delete(version) => {
                let owner = owner_of(version);
                let mut all = lock(&self.all);
                let mut gone = lock(&self.gone);
                gone.truncate(GONE - 1);
                gone.push_front((key_of(version), revision(version)));
                if let Some(versions) = all.get_mut(&owner) {
                    versions.remove(&version.name_any());
                    if versions.is_empty() {
                        all.remove(&owner);
                    }
                }
                vec![owner]
            }
        }
    }

    /// Adds the answer to one of our writes, so that decisions do not have to wait for the watch.
    pub(crate) fn note(&self, written: &PromptVersion) {
        self.keep(written);
    }

    /// Keeps the newest state of an object. Returns its optimization if the object has changed.
    fn keep(&self, version: &PromptVersion) -> Option<ObjectKey> {
        let (owner, object, new) = (owner_of(version), version.name_any(), indexed(version));
        let mut all = lock(&self.all);
        let key = key_of(version);
        let is_gone = lock(&self.gone).iter().any(|(gone, at)| *gone == key && *at >= new.revision);
        let versions = all.entry(owner.clone()).or_default();
        let old = versions.get(&object);
        if is_gone || old.is_some_and(|old| old.revision > new.revision) {
            return None;
        }
        // Our own status writes come back through the watch and must not trigger a reconciliation.
        let is_news = old.is_none_or(|old| old.known != new.known);
        versions.insert(object, new);
        is_news.then_some(owner)
    }

    /// Whether all versions were listed. Nothing may be decided before, because an unknown version looks like a missing one.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Version names of an optimization that are unavailable because an object of that name exists: one of another optimization
    /// with the same prefix, or one that a person created.
    #[must_use]
    pub(crate) fn taken(&self, optimization: &ObjectKey) -> Vec<String> {
        let all = lock(&self.all);
        let there = all
            .iter()
            .filter(|(owner, _)| owner.namespace == optimization.namespace)
            .flat_map(|(_, versions)| versions.keys());
        let prefix = version_object(&optimization.name, "");
        there.filter_map(|object| object.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    /// The versions of an optimization.
    #[must_use]
    pub(crate) fn of(&self, owner: &ObjectKey) -> Vec<Indexed> {
        let all = lock(&self.all);
        all.get(owner).map(|versions| versions.values().cloned().collect()).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn revision(version: &PromptVersion) -> u64 {
    version.resource_version().and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn owner_of(version: &PromptVersion) -> ObjectKey {
    ObjectKey::new(version.namespace().unwrap_or_default(), &*version.spec.optimization_ref.name)
}

fn indexed(version: &PromptVersion) -> Indexed {
    let hash = PromptSet::hash_of(&version.spec.prompt);
    let fault = match &version.spec.hash {
        Some(said) if *said != hash.to_string() => Some(format!(
            "spec.hash is {said}, but the prompt has the hash {hash}; remove spec.hash, or apply the matching prompt"
        )),
        _ if version.spec.prompt.trim().is_empty() => Some("spec.prompt is empty".to_owned()),
        _ => None,
    };
    let object = version.name_any();
    let prefix = format!("{}-", version.spec.optimization_ref.name);
    let name = version.spec.version.clone();
    Indexed {
        known: KnownVersion {
            version: name.as_deref().unwrap_or_else(|| object.strip_prefix(&prefix).unwrap_or(&object)).into(),
            object,
            hash,
            phase: version.status.as_ref().and_then(|status| status.phase),
            score: version.status.as_ref().and_then(|status| Score::new(status.score.as_ref()?.parse().ok()?)),
            origin: VersionOrigin::of(version.annotations().get(ORIGIN_ANNOTATION).map(String::as_str)),
            created: version.creation_timestamp().map(|time| time.0).unwrap_or_default(),
            fault,
        },
        status: version.status.clone().unwrap_or_default(),
        generation: version.metadata.generation,
        parent: version.spec.parent.clone(),
        revision: revision(version),
    }
}

/// Creates a version that the optimization owns, and returns the object. Returns an existing object if it has the same prompt and
/// is not about to be deleted with an earlier optimization of the same name; otherwise `None`.
///
/// # Errors
/// The API server is unreachable or refuses the write.
pub(crate) async fn create(
    client: &Client,
    owner: &AgentOptimization,
    version: &NewVersion,
) -> Result<Option<PromptVersion>, kube::Error> {
    let namespace = owner.namespace().unwrap_or_default();
    let optimization = owner.name_any();
    let api: Api<PromptVersion> = Api::namespaced(client.clone(), &namespace);
    let mut object = PromptVersion::new(
        &version_object(&optimization, &version.version),
        PromptVersionSpec {
            optimization_ref: OptimizationRef { name: optimization.clone() },
            version: Some(version.version.to_string()),
            prompt: version.prompt.text.clone(),
            hash: Some(version.prompt.hash.to_string()),
            parent: version.parent.as_ref().map(ToString::to_string),
            diff: (!version.diff.is_empty()).then(|| version.diff.clone()),
            addresses: version.addresses.clone(),
        },
    );
    object.metadata.labels = Some(BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "whetstone".to_owned()),
        (OPTIMIZATION_LABEL.to_owned(), optimization),
    ]));
    object.metadata.annotations =
        Some(BTreeMap::from([(ORIGIN_ANNOTATION.to_owned(), version.origin.as_str().to_owned())]));
    object.metadata.owner_references = owner.controller_owner_ref(&()).map(|reference| {
        // Deleting an optimization must not wait for its versions.
        vec![OwnerReference { block_owner_deletion: None, ..reference }]
    });
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&parameters, &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
            let there = api.get_opt(&object.name_any()).await?;
            Ok(there.filter(|there| {
                let is_ours = there.spec.optimization_ref.name == object.spec.optimization_ref.name;
                let mut owners = there.owner_references().iter();
                let goes = owners.any(|it| it.controller == Some(true) && Some(&it.uid) != owner.metadata.uid.as_ref());
                is_ours && !goes && there.spec.prompt == version.prompt.text
            }))
        }
        created => created.map(Some),
    }
}

/// Writes the status of a version, and returns the object; `None` if it was deleted.
///
/// # Errors
/// The API server is unreachable or refuses the write.
pub(crate) async fn report(
    client: &Client,
    namespace: &str,
    object: &str,
    status: &PromptVersionStatus,
) -> Result<Option<PromptVersion>, kube::Error> {
    let api: Api<PromptVersion> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(object, &parameters, &Patch::Merge(json!({"status": status}))).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        reported => reported.map(Some),
    }
}

/// Deletes a version beyond the retention limit.
///
/// # Errors
/// The API server is unreachable or refuses the write.
pub(crate) async fn delete(client: &Client, namespace: &str, object: &str) -> Result<(), kube::Error> {
    let api: Api<PromptVersion> = Api::namespaced(client.clone(), namespace);
    match api.delete(object, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// The versions of an optimization with their prompts.
///
/// # Errors
/// The API server is unreachable or refuses the request.
pub(crate) async fn list(client: &Client, optimization: &ObjectKey) -> Result<Vec<PromptVersion>, kube::Error> {
    let api: Api<PromptVersion> = Api::namespaced(client.clone(), &optimization.namespace);
    let selector = format!("spec.optimizationRef.name={}", optimization.name);
    let mut parameters = ListParams::default().fields(&selector).limit(PAGE);
    let mut versions = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        versions.extend(page.items);
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => parameters = parameters.continue_token(&more),
            None => return Ok(versions),
        }
    }
}

/// The prompt of a version.
///
/// # Errors
/// The API server is unreachable or refuses the request.
pub(crate) async fn prompt(client: &Client, namespace: &str, object: &str) -> Result<Option<String>, kube::Error> {
    let api: Api<PromptVersion> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(object).await?.map(|version| version.spec.prompt))
}
