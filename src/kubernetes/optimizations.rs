//! Reads and changes of AgentOptimizations by the command line.

use futures::{Stream, StreamExt as _};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::client::Connection;
use super::refusal::{Request, RequestError, is_missing_object};
use crate::api::document::nearest::hint;
use crate::api::{AgentOptimization, PromptVersion};

/// The field manager of the command line.
pub(crate) const FIELD_MANAGER: &str = "whetstone-cli";

const OPTIMIZATIONS: &str = "agentoptimizations";
const VERSIONS: &str = "promptversions";

/// A change of an object that is followed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The object was created or changed.
    Seen(Box<AgentOptimization>),
    /// The object was deleted: `NAMESPACE/NAME`.
    Gone(String),
}

/// The AgentOptimizations and PromptVersions of a namespace.
#[derive(Clone)]
pub(crate) struct Optimizations {
    connection: Connection,
}

impl Optimizations {
    /// The client of a connection.
    #[must_use]
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The namespace.
    #[must_use]
    pub(crate) fn namespace(&self) -> &str {
        &self.connection.namespace
    }

    /// One of them.
    ///
    /// # Errors
    /// [`RequestError`]; if there is no such object, it lists similar names.
    pub(crate) async fn get(&self, name: &str) -> Result<AgentOptimization, RequestError> {
        let object = self.object(name);
        match self.api().get(name).await {
            Ok(found) => Ok(found),
            Err(error) if is_missing_object(&error) => {
                Err(RequestError::NotFound { kind: "AgentOptimization", near: self.near(name).await, object })
            }
            Err(error) => Err(self.failed(&error, "get", OPTIMIZATIONS, format!("reading AgentOptimization {object}"))),
        }
    }

    /// All of them, by name. `everywhere` means all namespaces.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn list(&self, everywhere: bool) -> Result<Vec<AgentOptimization>, RequestError> {
        let list = self.scope(everywhere).list(&ListParams::default()).await;
        let mut items =
            list.map_err(|error| self.failed(&error, "list", OPTIMIZATIONS, self.listing(everywhere)))?.items;
        items.sort_by_key(|item| (item.namespace(), item.name_any()));
        Ok(items)
    }

    /// The versions of one of them, in no order.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn versions(&self, name: &str) -> Result<Vec<PromptVersion>, RequestError> {
        let api: Api<PromptVersion> = Api::namespaced(self.connection.client.clone(), self.namespace());
        let parameters = ListParams::default().fields(&format!("spec.optimizationRef.name={name}"));
        let attempt = format!("listing the PromptVersions of {}", self.object(name));
        let list = api.list(&parameters).await.map_err(|error| self.failed(&error, "list", VERSIONS, attempt))?;
        Ok(list.items)
    }

    /// Sets an annotation.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn annotate(&self, name: &str, key: &str, value: &str) -> Result<AgentOptimization, RequestError> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.patch(name, &patch, &format!("setting the annotation {key} of")).await
    }

    /// Removes an annotation.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn unannotate(&self, name: &str, key: &str) -> Result<AgentOptimization, RequestError> {
        let patch = json!({"metadata": {"annotations": {key: null}}});
        self.patch(name, &patch, &format!("removing the annotation {key} of")).await
    }

    /// Sets `spec.suspend`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn suspend(&self, name: &str, suspend: bool) -> Result<AgentOptimization, RequestError> {
        let attempt = if suspend { "suspending" } else { "resuming" };
        self.patch(name, &json!({"spec": {"suspend": suspend}}), attempt).await
    }

    /// An object, now and after every change. The stream reconnects by itself; temporary errors are items of the stream and do not
    /// end it.
    pub(crate) fn follow(&self, name: &str) -> impl Stream<Item = Result<Change, RequestError>> + Send + use<> {
        let attempt = format!("watching AgentOptimization {}", self.object(name));
        let object = self.object(name);
        let this = self.clone();
        watcher::watch_object(self.api(), name).default_backoff().filter_map(move |seen| {
            let change = match seen {
                Ok(Some(seen)) => Some(Ok(Change::Seen(Box::new(seen)))),
                Ok(None) => Some(Ok(Change::Gone(object.clone()))),
                Err(error) => this.watch_failed(&error, attempt.clone()).map(Err),
            };
            std::future::ready(change)
        })
    }

    /// All objects, now and after every change of one of them.
    pub(crate) fn follow_all(
        &self,
        everywhere: bool,
    ) -> impl Stream<Item = Result<Change, RequestError>> + Send + use<> {
        let attempt = self.listing(everywhere).replace("listing", "watching");
        let this = self.clone();
        let events = watcher::watcher(self.scope(everywhere), watcher::Config::default()).default_backoff();
        events.filter_map(move |event| {
            let change = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    Some(Ok(Change::Seen(Box::new(object))))
                }
                Ok(watcher::Event::Delete(object)) => {
                    let namespace = object.namespace().unwrap_or_default();
                    Some(Ok(Change::Gone(format!("{namespace}/{}", object.name_any()))))
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
                Err(error) => this.watch_failed(&error, attempt.clone()).map(Err),
            };
            std::future::ready(change)
        })
    }

    fn api(&self) -> Api<AgentOptimization> {
        self.scope(false)
    }

    fn scope(&self, everywhere: bool) -> Api<AgentOptimization> {
        let client = self.connection.client.clone();
        if everywhere { Api::all(client) } else { Api::namespaced(client, self.namespace()) }
    }

    fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace())
    }

    fn listing(&self, everywhere: bool) -> String {
        if everywhere {
            "listing the AgentOptimizations of all namespaces".to_owned()
        } else {
            format!("listing the AgentOptimizations of namespace {}", self.namespace())
        }
    }

    async fn patch(
        &self,
        name: &str,
        patch: &serde_json::Value,
        attempt: &str,
    ) -> Result<AgentOptimization, RequestError> {
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let attempt = format!("{attempt} AgentOptimization {}", self.object(name));
        self.api()
            .patch(name, &parameters, &Patch::Merge(patch))
            .await
            .map_err(|error| self.failed(&error, "patch", OPTIMIZATIONS, attempt))
    }

    /// A hint with similar names, if they may be listed.
    async fn near(&self, name: &str) -> String {
        let Ok(all) = self.list(false).await else { return String::new() };
        let names: Vec<String> = all.iter().map(kube::ResourceExt::name_any).collect();
        if names.is_empty() {
            return format!(
                "; namespace {} has none: select another with --namespace, or list all with status -A",
                self.namespace()
            );
        }
        hint(name, names.iter().map(String::as_str))
    }

    fn failed(&self, error: &kube::Error, verb: &'static str, resource: &'static str, attempt: String) -> RequestError {
        RequestError::new(error, Request { verb, resource, attempt }, &self.connection.server)
    }

    /// The error of a watch; `None` if it is not worth reporting, because the watch restarts by itself.
    fn watch_failed(&self, error: &watcher::Error, attempt: String) -> Option<RequestError> {
        let request = |verb| Request { verb, resource: OPTIMIZATIONS, attempt: attempt.clone() };
        let server = &self.connection.server;
        match error {
            watcher::Error::InitialListFailed(error) => Some(RequestError::new(error, request("list"), server)),
            watcher::Error::WatchStartFailed(error) => Some(RequestError::new(error, request("watch"), server)),
            // The server no longer has the revision at which the watch was interrupted: the objects are listed again.
            watcher::Error::WatchError(status) if status.code == 410 => None,
            error => Some(RequestError::Unreachable { attempt, server: server.clone(), reason: error.to_string() }),
        }
    }
}
