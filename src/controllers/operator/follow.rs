//! Follows the watched objects: their changes, and errors of the watches.

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::{mpsc, watch};

use crate::api::{AgentOptimization, PromptVersion};
use crate::controllers::context::Context;
use crate::controllers::report::orphan_statuses;
use crate::kubernetes::names::key_of;
use crate::kubernetes::readable::Readable;
use crate::kubernetes::versions;
use whetstone_domain::ids::ObjectKey;

/// The number of objects of a list that are in memory together. Each may have a megabyte.
const PAGE: u32 = 50;

/// The stream of optimizations: updates the store, and drops what belongs to deleted ones. Signals when the store has a
/// complete list. The stream has no errors, because the controller would delay everything else after one.
pub(super) fn follow_optimizations(
    api: Api<Readable<AgentOptimization>>,
    writer: reflector::store::Writer<AgentOptimization>,
    context: Arc<Context>,
    trigger: mpsc::UnboundedSender<ObjectKey>,
    listed: watch::Sender<bool>,
) -> impl Stream<Item = watcher::Result<AgentOptimization>> + Send + 'static {
    let known = context.optimizations.clone();
    let events = watcher(api, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .filter_map(move |event| std::future::ready(event.map(|event| read(event, &known)).transpose()))
        .modify(|object| object.managed_fields_mut().clear());
    let mut complaint = Complaint::about("AgentOptimizations");
    let kept = reflector::reflector(writer, events).inspect(move |event| match event {
        Ok(Event::Delete(object)) => {
            complaint.is_over();
            context.forget(&key_of(object));
        }
        Ok(Event::InitDone) => {
            complaint.is_over();
            let there = context.optimizations.state();
            context.forget_all_but(&there);
            // New objects in a list were not yet in the store when the controller looked them up.
            for object in there {
                let _ = trigger.send(key_of(&*object));
            }
            listed.send_replace(true);
        }
        Ok(Event::Init) => {}
        Ok(_) => complaint.is_over(),
        Err(error) => complaint.make(error),
    });
    kept.applied_objects().filter(|object| std::future::ready(object.is_ok()))
}

/// The readable part of an event. An object that cannot be parsed is treated as absent, and the reason is logged.
fn read(
    event: Event<Readable<AgentOptimization>>,
    known: &reflector::Store<AgentOptimization>,
) -> Option<Event<AgentOptimization>> {
    let readable = |it: Readable<AgentOptimization>| {
        let (name, namespace) = (it.name_any(), it.namespace().unwrap_or_default());
        it.object.map_err(|error| {
            tracing::warn!(namespace, name, error, "an AgentOptimization that cannot be read is left out");
            ObjectRef::new(&name).within(&namespace)
        })
    };
    let was = |reference: ObjectRef<AgentOptimization>| known.get(&reference).map(|was| (*was).clone());
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(it) => readable(it).ok().map(Event::InitApply),
        Event::Apply(it) => match readable(it) {
            Ok(object) => Some(Event::Apply(object)),
            Err(reference) => was(reference).map(Event::Delete),
        },
        Event::Delete(it) => match readable(it) {
            Ok(object) => Some(Event::Delete(object)),
            Err(reference) => was(reference).map(Event::Delete),
        },
    }
}

/// An error of a watch, logged once and not at each attempt.
struct Complaint {
    what: &'static str,
    logged: Option<String>,
}

impl Complaint {
    fn about(what: &'static str) -> Self {
        Self { what, logged: None }
    }

    fn make(&mut self, error: &watcher::Error) {
        let words = self.words(error);
        if self.logged.as_ref() != Some(&words) {
            tracing::warn!("{words}");
            self.logged = Some(words);
        }
    }

    fn is_over(&mut self) {
        if self.logged.take().is_some() {
            tracing::info!("{} are watched", self.what);
        }
    }

    fn words(&self, error: &watcher::Error) -> String {
        let (watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source)) = error
        else {
            return format!("watching {}: {error}", self.what);
        };
        match source {
            kube::Error::Api(status) if status.code == 404 => format!(
                "the cluster does not know {}; `whetstone crd | kubectl apply --server-side -f -` teaches it",
                self.what
            ),
            kube::Error::Api(status) if status.code == 403 => {
                format!("watching {} is not allowed: {}; the Role must allow list and watch", self.what, status.message)
            }
            source => format!("watching {}: {source}", self.what),
        }
    }
}

/// Follows the versions of one or all namespaces.
pub(super) async fn follow_versions(
    api: Api<PromptVersion>,
    context: Arc<Context>,
    trigger: mpsc::UnboundedSender<ObjectKey>,
    mut listed: watch::Receiver<bool>,
) {
    let mut events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff().boxed();
    let mut complaint = Complaint::about("PromptVersions");
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) {
                    complaint.is_over();
                }
                let was_complete = context.versions.is_complete();
                let mut owners = context.versions.take_in(&event);
                if !was_complete && context.versions.is_complete() {
                    // Nothing was decided before the list was complete.
                    let there = context.optimizations.state();
                    owners.extend(there.iter().map(|object| key_of(&**object)));
                    owners.sort();
                    owners.dedup();
                }
                for owner in owners {
                    if listed.wait_for(|listed| *listed).await.is_err() {
                        return;
                    }
                    report_orphans(&owner, &context).await;
                    if trigger.send(owner).is_err() {
                        return;
                    }
                }
            }
            Err(error) => complaint.make(&error),
        }
    }
}

/// Reports on versions of an absent optimization that it does not exist. If it is created later, its own reconcile updates
/// them.
async fn report_orphans(owner: &ObjectKey, context: &Context) {
    if context.optimizations.get(&ObjectRef::new(&owner.name).within(&owner.namespace)).is_some() {
        return;
    }
    for (object, status) in orphan_statuses(owner, &context.versions, context.clock.now()) {
        if !context.fence.is_open() {
            return;
        }
        if let Err(error) = versions::report(&context.client, &owner.namespace, &object, &status).await {
            tracing::warn!(namespace = owner.namespace, object, %error, "reporting on a version without an optimization");
        }
    }
}
