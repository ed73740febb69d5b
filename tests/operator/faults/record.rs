//! What happened in the cluster, as an observer of its own has seen it: every state of every object, in order.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event as ClusterEvent;
use kube::Resource;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::AbortHandle;
use whetstone::api::{AgentOptimization, PromptVersion};

use super::super::cluster::{Cluster, block_on};

/// One state of an object, or its end.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub at: Instant,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// The revision of the whole cluster at which it came to be.
    pub revision: u64,
    pub is_gone: bool,
    /// It was in a list, so that states before it may have been missed.
    pub is_listed: bool,
    pub object: Value,
}

impl Seen {
    /// A text within the object.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }
}

/// The record; goes on until it is dropped.
pub(super) struct Record {
    seen: Arc<Mutex<Vec<Seen>>>,
    watches: Vec<AbortHandle>,
}

impl Record {
    /// Begins to record what happens in these namespaces.
    pub(super) fn begin(cluster: &Cluster, namespaces: &BTreeSet<String>) -> Self {
        let seen = Arc::default();
        let follow = |what: ApiResource| {
            let api: Api<DynamicObject> = Api::all_with(cluster.client(), &what);
            let (seen, namespaces) = (Arc::clone(&seen), namespaces.clone());
            block_on(async { tokio::spawn(follow(api, what.kind, namespaces, seen)).abort_handle() })
        };
        let watches = [
            resource::<AgentOptimization>(),
            resource::<PromptVersion>(),
            resource::<ConfigMap>(),
            resource::<ClusterEvent>(),
            resource::<Lease>(),
        ]
        .map(follow);
        Self { seen, watches: watches.into() }
    }

    /// All that was seen so far, by cluster revision.
    pub(super) fn all(&self) -> Vec<Seen> {
        let mut all = self.seen.lock().unwrap().clone();
        all.sort_by_key(|seen| seen.revision);
        all
    }

    /// The newest state of an object, unless it is gone.
    pub(super) fn newest(&self, kind: &str, namespace: &str, name: &str) -> Option<Seen> {
        let seen = self.seen.lock().unwrap();
        let states = seen.iter().filter(|seen| seen.kind == kind && seen.namespace == namespace && seen.name == name);
        states.max_by_key(|seen| (seen.revision, seen.is_gone)).filter(|seen| !seen.is_gone).cloned()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// The observer looks again soon, so that its own absence is not taken for that of the operator.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

async fn follow(api: Api<DynamicObject>, kind: String, namespaces: BTreeSet<String>, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut events = watcher(api, watcher::Config::default()).backoff(Soon).boxed();
    while let Some(event) = events.next().await {
        let (object, is_gone, is_listed) = match event {
            Ok(Event::Apply(object)) => (object, false, false),
            Ok(Event::InitApply(object)) => (object, false, true),
            Ok(Event::Delete(object)) => (object, true, false),
            Ok(Event::Init | Event::InitDone) | Err(_) => continue,
        };
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        if !namespaces.contains(&namespace) {
            continue;
        }
        let revision = object.metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0);
        let name = object.metadata.name.clone().unwrap_or_default();
        let object = serde_json::to_value(&object).unwrap();
        let mut seen = seen.lock().unwrap();
        // A list after a break shows again what was seen before.
        if seen
            .iter()
            .rev()
            .any(|it| it.revision == revision && it.is_gone == is_gone && it.kind == kind && it.name == name)
        {
            continue;
        }
        seen.push(Seen {
            at: Instant::now(),
            kind: kind.clone(),
            namespace,
            name,
            revision,
            is_gone,
            is_listed,
            object,
        });
    }
}
