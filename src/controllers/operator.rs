//! The operator as a whole: waits for the Lease, and reconciles for as long as it holds it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::controller::{self, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::{Api, Client};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Owner;
use super::computing::{Computing, Desks};
use super::context::Context;
use super::cycles::Cycles;
use super::follow::{follow_optimizations, follow_versions};
use super::health::Health;
use super::optimization::{reconcile, try_again};
use super::run_cycle::Grounds;
use super::stores::Stores;
use super::turns::Turns;
use super::watches::Watches;
use crate::api::AgentOptimization;
use crate::domain::endpoint::AllowList;
use crate::engine::ports::Clock;
use crate::kubernetes::lease::{CandidacyEnded, Election, Fence, Settings};
use crate::kubernetes::references::References;
use crate::kubernetes::revisions;
use crate::models::{AnswerMemory, Connections, SetupError};
use crate::telemetry::metrics::Metrics;

/// How many optimizations are reconciled at once. A reconcile waits for the API server most of its time.
const RECONCILES: u16 = 16;

/// How often it is looked whether the cluster was restored to an older state. The Lease tells sooner, where it is kept in the same etcd.
const REVISIONS_EVERY: Duration = Duration::from_secs(30);

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
    /// For the Lease alone, made on the runtime of [`Self::vital`].
    pub lease: Client,
    /// The runtime of the Lease, which nothing else blocks.
    pub vital: Handle,
}

/// Why the operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The Lease can be neither read nor created.
    #[error(
        "taking part in the election for the Lease {name:?} in namespace {namespace:?}: {source}; its Role must allow get, list, watch, create and patch on leases"
    )]
    Election {
        /// The Lease.
        name: String,
        /// Its namespace.
        namespace: String,
        /// What went wrong.
        source: kube::Error,
    },
    /// Nothing would be done any more.
    #[error(transparent)]
    Candidacy(#[from] CandidacyEnded),
    /// There can be no connections to models.
    #[error(transparent)]
    Setup(#[from] SetupError),
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
    let beating = Arc::clone(&health);
    let _heart = AbortOnDrop(tokio::spawn(async move { beating.beat().await }));
    let mut election = tokio::select! {
        election = campaign(&clients, &options.lease, &clock, &health) => election?,
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
            tenure = election.won() => tenure?,
            () = stop.cancelled() => break,
        };
        tracing::info!("holding the Lease: acting");
        metrics.set_leader(true);
        health.set_leader(true);
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
        health.set_leader(false);
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
async fn campaign(
    clients: &Clients,
    lease: &Settings,
    clock: &Arc<dyn Clock>,
    health: &Arc<Health>,
) -> Result<Election, OperatorError> {
    let mut wait = Duration::from_millis(500);
    loop {
        let fitness = Arc::clone(health) as _;
        match Election::campaign(&clients.vital, clients.lease.clone(), lease, Arc::clone(clock), fitness).await {
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

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// A task that ends with whoever has started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
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
        followers.spawn({
            let (api, over) = (scope::<AgentOptimization>(&context.client, namespace.as_deref()), over.clone());
            async move {
                revisions::gone_back(&api, REVISIONS_EVERY).await;
                // Another tenure begins, and with it every watch.
                over.cancel();
            }
        });
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
