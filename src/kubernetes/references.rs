//! Watches over what optimizations refer to: ConfigMaps and Secrets, their metadata only.
//!
//! ConfigMaps are watched by namespace, one watch for each namespace that has an optimization. Secrets are watched one by
//! one, so that a Role can name them. No content is kept: a change triggers the reconciliation of the optimizations that
//! refer to the object, and the resource versions show whether anything has changed since the last one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use whetstone_domain::ids::ObjectKey;

/// The time after which a watch of a Secret is restarted.
const WATCH_SECONDS: u32 = 290;

/// The timeout until the API server begins its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An object that an optimization refers to, in the namespace of the optimization.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A referenced object: its kind, namespace and name.
type Named = (Kind, String, String);
/// The scope of a watch: a namespace, or one object in it.
type Scope = (Kind, String, Option<String>);

/// Watches of the objects that optimizations refer to.
pub(crate) struct References {
    client: Client,
    /// Receives the optimizations to reconcile.
    trigger: mpsc::UnboundedSender<ObjectKey>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashMap<ObjectKey, BTreeSet<Named>>,
    users: HashMap<Named, BTreeSet<ObjectKey>>,
    watches: HashMap<Scope, Watch>,
}

#[derive(Debug)]
struct Watch {
    task: AbortHandle,
    /// The versions of the objects, by name; complete after the first list.
    versions: BTreeMap<String, String>,
    is_complete: bool,
}

impl References {
    /// Watches nothing yet. Sends optimizations to reconcile to `trigger`.
    #[must_use]
    pub(crate) fn new(client: Client, trigger: mpsc::UnboundedSender<ObjectKey>) -> Self {
        Self { client, trigger, state: Arc::default() }
    }

    /// Sets the current references of an optimization.
    pub(crate) fn set(&self, owner: &ObjectKey, wanted: BTreeSet<(Kind, String)>) {
        let wanted: BTreeSet<Named> =
            wanted.into_iter().map(|(kind, name)| (kind, owner.namespace.clone(), name)).collect();
        let mut state = lock(&self.state);
        if state.wanted.get(owner) == Some(&wanted) {
            return;
        }
        state.forget(owner);
        for named in &wanted {
            state.users.entry(named.clone()).or_default().insert(owner.clone());
            let scope = scope(named);
            state.watches.entry(scope.clone()).or_insert_with(|| self.watch(scope));
        }
        state.wanted.insert(owner.clone(), wanted);
        state.end_idle_watches();
    }

    /// Forgets a deleted optimization.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        let mut state = lock(&self.state);
        state.forget(owner);
        state.end_idle_watches();
    }

    /// The versions of all objects that an optimization refers to; `None` while they are not known yet. An object that does not
    /// exist has no version.
    #[must_use]
    pub(crate) fn versions(&self, owner: &ObjectKey) -> Option<Vec<(String, Option<String>)>> {
        let state = lock(&self.state);
        let wanted = state.wanted.get(owner)?;
        wanted
            .iter()
            .map(|named| {
                let watch = state.watches.get(&scope(named)).filter(|watch| watch.is_complete)?;
                Some((format!("{:?}/{}", named.0, named.2), watch.versions.get(&named.2).cloned()))
            })
            .collect()
    }

    fn watch(&self, scope: Scope) -> Watch {
        let client = self.client.clone();
        let (state, trigger) = (Arc::clone(&self.state), self.trigger.clone());
        let task = tokio::spawn(async move {
            let (kind, namespace, name) = &scope;
            let mut config = watcher::Config::default();
            if let Some(name) = name {
                config = config.fields(&format!("metadata.name={name}"));
            }
            match kind {
                Kind::ConfigMap => {
                    let api: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client, namespace);
                    let events = watcher(api, config).default_backoff().boxed();
                    follow(events, &scope, &state, &trigger).await;
                }
                Kind::Secret => {
                    let name = name.clone().unwrap_or_default();
                    let events = single(Api::namespaced(client, namespace), name);
                    follow(Box::pin(events), &scope, &state, &trigger).await;
                }
            }
        });
        Watch { task: task.abort_handle(), versions: BTreeMap::new(), is_complete: false }
    }
}

/// Follows one Secret with `get` and `watch` only: permission to `list` would expose the contents of all Secrets, and not every
/// API server supports watches that begin with a list.
fn single(
    api: Api<Secret>,
    name: String,
) -> impl futures::Stream<Item = watcher::Result<Event<PartialObjectMeta<Secret>>>> {
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    async_stream::stream! {
        let mut backoff = watcher::DefaultBackoff::default();
        loop {
            let failed = 'attempt: {
                // Version 0 sends the existing object first. The watch starts before the read, so that no change in between is missed.
                let events = match tokio::time::timeout(PATIENCE, api.watch_metadata(&parameters, "0")).await {
                    Ok(Ok(events)) => events,
                    Ok(Err(error)) => break 'attempt Some(watcher::Error::WatchStartFailed(error)),
                    Err(_) => break 'attempt None,
                };
                match tokio::time::timeout(PATIENCE, api.get_metadata_opt(&name)).await {
                    Ok(Ok(there)) => {
                        yield Ok(Event::Init);
                        if let Some(there) = there {
                            yield Ok(Event::InitApply(there));
                        }
                        yield Ok(Event::InitDone);
                    }
                    Ok(Err(error)) => break 'attempt Some(watcher::Error::InitialListFailed(error)),
                    Err(_) => break 'attempt None,
                }
                backoff.reset();
                let mut events = std::pin::pin!(events);
                // A connection that died unnoticed must not block the watch forever.
                let until = Duration::from_secs(u64::from(WATCH_SECONDS)) + PATIENCE;
                loop {
                    match tokio::time::timeout(until, events.next()).await.unwrap_or(None) {
                        Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => yield Ok(Event::Apply(object)),
                        Some(Ok(WatchEvent::Deleted(object))) => yield Ok(Event::Delete(object)),
                        Some(Ok(WatchEvent::Bookmark(_))) => {}
                        Some(Ok(WatchEvent::Error(status))) => break 'attempt Some(watcher::Error::WatchError(status)),
                        Some(Err(error)) => break 'attempt Some(watcher::Error::WatchFailed(error)),
                        None => break 'attempt None,
                    }
                }
            };
            let wait = match failed {
                Some(error) => {
                    yield Err(error);
                    backoff.next().unwrap_or(PATIENCE)
                }
                None => Duration::from_secs(1),
            };
            tokio::time::sleep(wait).await;
        }
    }
}

impl Drop for References {
    fn drop(&mut self) {
        for watch in lock(&self.state).watches.values() {
            watch.task.abort();
        }
    }
}

impl State {
    fn forget(&mut self, owner: &ObjectKey) {
        for named in self.wanted.remove(owner).unwrap_or_default() {
            if let Some(users) = self.users.get_mut(&named) {
                users.remove(owner);
                if users.is_empty() {
                    self.users.remove(&named);
                }
            }
        }
    }

    fn end_idle_watches(&mut self) {
        let used: BTreeSet<Scope> = self.users.keys().map(scope).collect();
        self.watches.retain(|scope, watch| {
            let is_used = used.contains(scope);
            if !is_used {
                watch.task.abort();
            }
            is_used
        });
    }
}

async fn follow<K>(
    mut events: impl futures::Stream<Item = watcher::Result<Event<PartialObjectMeta<K>>>> + Unpin,
    scope: &Scope,
    state: &Mutex<State>,
    trigger: &mpsc::UnboundedSender<ObjectKey>,
) where
    K: kube::Resource<DynamicType = ()>,
{
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let mut state = lock(state);
        let Some(watch) = state.watches.get_mut(scope) else { return };
        let changed: Vec<String> = match event {
            Ok(Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                listed.insert(object.name_any(), object.resource_version().unwrap_or_default());
                Vec::new()
            }
            Ok(Event::InitDone) => {
                let before = std::mem::replace(&mut watch.versions, std::mem::take(&mut listed));
                let was_complete = std::mem::replace(&mut watch.is_complete, true);
                let names = before.keys().chain(watch.versions.keys()).cloned().collect::<BTreeSet<_>>();
                let differs = |name: &String| !was_complete || before.get(name) != watch.versions.get(name);
                names.into_iter().filter(differs).collect()
            }
            Ok(Event::Apply(object)) => {
                let (name, version) = (object.name_any(), object.resource_version().unwrap_or_default());
                let number = |version: &String| version.parse::<u64>().unwrap_or(0);
                // A restarted watch may begin with a stale state.
                let is_known = watch.versions.get(&name).is_some_and(|known| number(known) >= number(&version));
                if is_known {
                    Vec::new()
                } else {
                    watch.versions.insert(name.clone(), version);
                    vec![name]
                }
            }
            Ok(Event::Delete(object)) => {
                watch.versions.remove(&object.name_any());
                vec![object.name_any()]
            }
            Err(error) => {
                tracing::debug!(?scope, %error, "watching references");
                Vec::new()
            }
        };
        let (kind, namespace, _) = scope;
        for name in changed {
            let users = state.users.get(&(kind.clone(), namespace.clone(), name)).into_iter().flatten();
            for owner in users {
                // The receiver is dropped only when the operator shuts down.
                let _ = trigger.send(owner.clone());
            }
        }
    }
}

fn scope((kind, namespace, name): &Named) -> Scope {
    match kind {
        Kind::ConfigMap => (Kind::ConfigMap, namespace.clone(), None),
        Kind::Secret => (Kind::Secret, namespace.clone(), Some(name.clone())),
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
