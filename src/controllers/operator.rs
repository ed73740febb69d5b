//! The operator as a whole: waits for the Lease, and reconciles for as long as it holds it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{self, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use kube_lease_manager::LeaseManagerError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Owner;
use super::computing::{Computing, Desks};
use super::context::Context;
use super::cycles::Cycles;
use super::optimization::{reconcile, try_again};
use super::report::orphan_statuses;
use super::run_cycle::Grounds;
use super::stores::Stores;
use super::turns::Turns;
use super::watches::Watches;
use crate::api::{AgentOptimization, PromptVersion};
use crate::domain::endpoint::AllowList;
use crate::engine::ports::Clock;
use crate::kubernetes::lease::{Election, Fence, Settings};
use crate::kubernetes::readable::Readable;
use crate::kubernetes::references::References;
use crate::kubernetes::versions;
use crate::models::{AnswerMemory, Connections, SetupError};
use crate::telemetry::metrics::Metrics;

/// How many optimizations are reconciled at once. A reconcile waits for the API server most of its time.
const RECONCILES: u16 = 16;

/// How many objects of a list are held at once. Each may have a megabyte.
const PAGE: u32 = 50;

/// How long cycles may take to stop when the Lease is lost.
const LOST_PATIENCE: Duration = Duration::from_millis(500);

/// What the operator goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces that are watched; all of them when empty.
    pub namespaces: Vec<String>,
    /// The folder of the stores.
    pub store: PathBuf,
    /// The hosts that resources may name.
    pub allowed: AllowList,
    /// Cycles under way at once.
    pub max_cycles: usize,
    /// What the answers of all models may take.
    pub memory: AnswerMemory,
    /// The Lease.
    pub lease: Settings,
    /// How long calls under way may take to be answered and recorded when the operator ends.
    pub patience: Duration,
}

impl Options {
    /// How many of the cycles under way at once are kept for namespaces that have none: a quarter, where there is more than one
    /// namespace.
    fn kept_cycles(&self) -> usize {
        if self.namespaces.len() == 1 || self.max_cycles < 2 { 0 } else { (self.max_cycles / 4).max(1) }
    }
}

/// The API server, by what is asked of it.
#[derive(Clone)]
pub struct Clients {
    /// For watches, which may be silent for minutes.
    pub watches: Client,
    /// For everything that is answered at once.
    pub requests: Client,
    /// For the Lease alone: it must give up on a request before the Lease runs out.
    pub lease: Client,
}

/// Why the operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The Lease can be neither read nor created.
    #[error(
        "taking part in the election for the Lease {name:?} in namespace {namespace:?}: {source}; its Role must allow get, create, update, patch and watch on leases"
    )]
    Election {
        /// The Lease.
        name: String,
        /// Its namespace.
        namespace: String,
        /// What went wrong.
        source: LeaseManagerError,
    },
    /// There can be no connections to models.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// What the probes ask.
#[derive(Debug, Default)]
pub struct Health {
    /// The election goes on.
    pub is_candidate: AtomicBool,
    /// This replica acts.
    pub is_leader: AtomicBool,
    /// This replica acts, and has seen every object.
    pub has_synced: AtomicBool,
    /// Its controller has ended although nobody asked for it.
    pub has_failed: AtomicBool,
}

impl Health {
    /// It should not be restarted.
    pub fn is_alive(&self) -> bool {
        !self.has_failed.load(Ordering::Relaxed)
    }

    /// It could act, or does.
    pub fn is_ready(&self) -> bool {
        let leads = self.is_leader.load(Ordering::Relaxed);
        self.is_candidate.load(Ordering::Relaxed) && (!leads || self.has_synced.load(Ordering::Relaxed))
    }
}

/// Runs the operator until `stop`: waits for the Lease, acts while it holds it, waits again when it has lost it.
///
/// # Errors
/// [`OperatorError`] when it cannot start. Once it runs, it goes on.
pub async fn run(
    clients: Clients,
    options: Options,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let connections = Connections::guarded(Arc::new(options.allowed.clone()))?.with_memory(options.memory);
    let mut election = tokio::select! {
        election = campaign(&clients.lease, &options.lease, &clock) => election?,
        () = stop.cancelled() => return Ok(()),
    };
    let stores = Arc::new(Stores::new(options.store.clone()));
    let looking = {
        let (stores, metrics) = (Arc::clone(&stores), Arc::clone(&metrics));
        tokio::spawn(async move { stores.look_after(&metrics).await })
    };
    health.is_candidate.store(true, Ordering::Relaxed);
    tracing::info!(identity = options.lease.identity, lease = options.lease.name, "waiting for the Lease");
    loop {
        let tenure = tokio::select! {
            tenure = election.won() => tenure,
            () = stop.cancelled() => break,
        };
        tracing::info!("holding the Lease: acting");
        metrics.set_leader(true);
        health.is_leader.store(true, Ordering::Relaxed);
        let over = tenure.lost.child_token();
        let stopping = stop.clone();
        let ending = over.clone();
        let forward = tokio::spawn(async move {
            stopping.cancelled().await;
            ending.cancel();
        });
        let acting = Acting {
            clients: &clients,
            options: &options,
            stores: &stores,
            connections: &connections,
            clock: &clock,
            metrics: &metrics,
            health: &health,
            fence: tenure.fence,
            over,
            stopping: stop.clone(),
        };
        acting.act().await;
        forward.abort();
        health.is_leader.store(false, Ordering::Relaxed);
        health.has_synced.store(false, Ordering::Relaxed);
        metrics.set_leader(false);
        metrics.rest();
        if stop.is_cancelled() {
            break;
        }
        tracing::warn!("lost the Lease: not acting");
    }
    looking.abort();
    stores.close().await;
    election.resign().await;
    Ok(())
}

/// Begins to campaign; a cluster that cannot be reached is waited for.
async fn campaign(client: &Client, lease: &Settings, clock: &Arc<dyn Clock>) -> Result<Election, OperatorError> {
    let mut wait = Duration::from_millis(500);
    loop {
        match Election::campaign(client.clone(), lease, Arc::clone(clock)).await {
            Ok(election) => return Ok(election),
            Err(source) if is_forbidden(&source) => {
                let (name, namespace) = (lease.name.clone(), lease.namespace.clone());
                return Err(OperatorError::Election { name, namespace, source });
            }
            Err(error) => {
                tracing::warn!(%error, "the Lease cannot be reached; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(10));
            }
        }
    }
}

fn is_forbidden(error: &LeaseManagerError) -> bool {
    format!("{error:?}").contains("403") || format!("{error:?}").contains("Forbidden")
}

/// What a tenure acts with.
struct Acting<'a> {
    clients: &'a Clients,
    stores: &'a Arc<Stores>,
    options: &'a Options,
    connections: &'a Connections,
    clock: &'a Arc<dyn Clock>,
    metrics: &'a Arc<Metrics>,
    health: &'a Arc<Health>,
    fence: Fence,
    /// The tenure is over: the Lease is lost, or the process ends.
    over: CancellationToken,
    /// The process ends.
    stopping: CancellationToken,
}

impl Acting<'_> {
    /// Acts until the tenure is over, in each of the namespaces.
    async fn act(self) {
        let turns = Turns::new(self.options.max_cycles, self.options.kept_cycles());
        let desks = Desks::new();
        let reporter = Reporter {
            controller: "whetstone.dev/operator".to_owned(),
            instance: Some(self.options.lease.identity.clone()),
        };
        let recorder = Recorder::new(self.clients.requests.clone(), reporter.clone());
        let scopes = match self.options.namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
        };
        let unsynced = Arc::new(AtomicUsize::new(scopes.len()));
        let rooms = scopes.into_iter().map(|namespace| {
            let (trigger, triggered) = mpsc::unbounded_channel();
            let (reader, writer) = reflector::store();
            let context = Arc::new(Context {
                client: self.clients.requests.clone(),
                optimizations: reader,
                versions: Arc::default(),
                references: References::new(self.clients.watches.clone(), trigger.clone()),
                computing: Computing::new(desks.clone(), trigger.clone()),
                cycles: Cycles::new(turns.clone(), trigger.clone(), Arc::clone(self.metrics)),
                watches: Watches::new(self.connections.clone(), Arc::clone(self.clock), trigger.clone()),
                fence: self.fence.clone(),
                recorder: recorder.clone(),
                reporter: reporter.clone(),
                clock: Arc::clone(self.clock),
                allowed: Arc::new(self.options.allowed.clone()),
                metrics: Arc::clone(self.metrics),
                resolved: Mutex::default(),
                written: Mutex::default(),
                restarts: Mutex::default(),
                failures: Mutex::default(),
            });
            let (stores, connections) = (Arc::clone(self.stores), self.connections.clone());
            let grounds = Arc::new(Grounds { context, stores, connections });
            let room = Room {
                namespace: namespace.map(str::to_owned),
                client: self.clients.watches.clone(),
                grounds,
                trigger,
                triggered,
                writer,
                patience: self.options.patience,
            };
            room.act(self.over.clone(), self.stopping.clone(), Arc::clone(self.health), Arc::clone(&unsynced))
        });
        futures::future::join_all(rooms).await;
    }
}

/// One namespace, or all of them: what one controller is for.
struct Room {
    namespace: Option<String>,
    client: Client,
    patience: Duration,
    grounds: Arc<Grounds>,
    trigger: mpsc::UnboundedSender<Owner>,
    triggered: mpsc::UnboundedReceiver<Owner>,
    writer: reflector::store::Writer<AgentOptimization>,
}

impl Room {
    async fn act(
        self,
        over: CancellationToken,
        stopping: CancellationToken,
        health: Arc<Health>,
        unsynced: Arc<AtomicUsize>,
    ) {
        let Self { namespace, client, patience, grounds, trigger, mut triggered, writer } = self;
        let context = Arc::clone(&grounds.context);
        let mut followers = JoinSet::new();
        // The store wakes only one of those who wait until it is ready, and the controller does.
        let (tell, listed) = watch::channel(false);
        followers.spawn(follow_versions(
            scope(&client, namespace.as_deref()),
            Arc::clone(&context),
            trigger.clone(),
            listed.clone(),
        ));
        followers.spawn({
            let (mut listed, health) = (listed, Arc::clone(&health));
            async move {
                if listed.wait_for(|listed| *listed).await.is_ok() && unsynced.fetch_sub(1, Ordering::Relaxed) == 1 {
                    health.has_synced.store(true, Ordering::Relaxed);
                }
            }
        });
        let objects = follow_optimizations(
            scope(&client, namespace.as_deref()),
            writer,
            Arc::clone(&context),
            trigger.clone(),
            tell,
        );
        let triggered = futures::stream::poll_fn(move |waker| triggered.poll_recv(waker))
            .map(|(namespace, name): Owner| ObjectRef::new(&name).within(&namespace));
        let ended = over.clone();
        let error_context = Arc::clone(&context);
        let controller = Controller::for_stream(objects, context.optimizations.clone())
            .with_config(controller::Config::default().concurrency(RECONCILES))
            .reconcile_on(triggered)
            .graceful_shutdown_on(async move { ended.cancelled().await })
            .run(reconcile, move |object, error, _| try_again(&object, error, &error_context), grounds)
            .for_each(|_| std::future::ready(()));
        tokio::select! {
            () = controller => {
                if !over.is_cancelled() {
                    tracing::error!("the controller has ended by itself");
                    health.has_failed.store(true, Ordering::Relaxed);
                }
            }
            // The controller waits for reconciles under way. They cannot write any more, and may wait for a cluster that does
            // not answer.
            () = async { over.cancelled().await; tokio::time::sleep(Duration::from_millis(500)).await } => {}
        }
        followers.abort_all();
        context.watches.stop();
        // Who has lost the Lease must be out of the way of who has it now.
        let patience = if stopping.is_cancelled() { patience } else { LOST_PATIENCE };
        context.cycles.stop(patience).await;
    }
}

/// The stream of optimizations: their changes go into the store, and those that are gone are forgotten. Tells when the store has
/// had a whole list. It has no errors: the controller would let everything else wait after one.
fn follow_optimizations(
    api: Api<Readable<AgentOptimization>>,
    writer: reflector::store::Writer<AgentOptimization>,
    context: Arc<Context>,
    trigger: mpsc::UnboundedSender<Owner>,
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
            context.forget(&(object.namespace().unwrap_or_default(), object.name_any()));
        }
        Ok(Event::InitDone) => {
            complaint.is_over();
            let there = context.optimizations.state();
            context.forget_all_but(&there);
            // Those that are new in a list were not in the store yet when the controller looked for them.
            for object in there {
                let _ = trigger.send((object.namespace().unwrap_or_default(), object.name_any()));
            }
            listed.send_replace(true);
        }
        Ok(Event::Init) => {}
        Ok(_) => complaint.is_over(),
        Err(error) => complaint.make(error),
    });
    kept.applied_objects().filter(|object| std::future::ready(object.is_ok()))
}

/// What can be read of an event. An object that cannot be read is as one that is not there, and the log says why.
fn read(
    event: Event<Readable<AgentOptimization>>,
    known: &reflector::Store<AgentOptimization>,
) -> Option<Event<AgentOptimization>> {
    let told = |it: Readable<AgentOptimization>| {
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
        Event::InitApply(it) => told(it).ok().map(Event::InitApply),
        Event::Apply(it) => match told(it) {
            Ok(object) => Some(Event::Apply(object)),
            Err(reference) => was(reference).map(Event::Delete),
        },
        Event::Delete(it) => match told(it) {
            Ok(object) => Some(Event::Delete(object)),
            Err(reference) => was(reference).map(Event::Delete),
        },
    }
}

/// What goes wrong with a watch, told once and not at each attempt.
struct Complaint {
    what: &'static str,
    told: Option<String>,
}

impl Complaint {
    fn about(what: &'static str) -> Self {
        Self { what, told: None }
    }

    fn make(&mut self, error: &watcher::Error) {
        let words = self.words(error);
        if self.told.as_ref() != Some(&words) {
            tracing::warn!("{words}");
            self.told = Some(words);
        }
    }

    fn is_over(&mut self) {
        if self.told.take().is_some() {
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

/// Follows the versions of a namespace, or of all.
async fn follow_versions(
    api: Api<PromptVersion>,
    context: Arc<Context>,
    trigger: mpsc::UnboundedSender<Owner>,
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
                    // Nothing was decided before.
                    let there = context.optimizations.state();
                    owners
                        .extend(there.iter().map(|object| (object.namespace().unwrap_or_default(), object.name_any())));
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

/// Says of versions of an optimization that is not there that it is not there. What it is later, its own reconcile says.
async fn report_orphans((namespace, name): &Owner, context: &Context) {
    if context.optimizations.get(&ObjectRef::new(name).within(namespace)).is_some() {
        return;
    }
    for (object, status) in orphan_statuses(namespace, name, &context.versions, context.clock.now()) {
        if !context.fence.is_open() {
            return;
        }
        if let Err(error) = versions::report(&context.client, namespace, &object, &status).await {
            tracing::warn!(namespace, object, %error, "reporting on a version without an optimization");
        }
    }
}

/// An API for one namespace, or for all.
fn scope<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
