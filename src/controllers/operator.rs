//! The whole operator: waits for the Lease, and reconciles while it holds it.

mod follow;
mod namespace;
mod tenure;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::Client;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::tenure::Acting;
use super::health::Health;
use super::stores::Stores;
use crate::kubernetes::lease::{CandidacyEnded, Election, Settings};
use crate::models::{AnswerMemory, Connections, SetupError};
use crate::telemetry::metrics::Metrics;
use whetstone_domain::endpoint::AllowList;
use whetstone_engine::ports::Clock;

/// The settings of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The namespaces to watch; empty for all.
    pub namespaces: Vec<String>,
    /// The directory of the stores.
    pub store: PathBuf,
    /// The hosts that resources may refer to.
    pub allowed: AllowList,
    /// The maximum number of concurrent cycles.
    pub max_cycles: usize,
    /// The limits of the memory for the answers of all models.
    pub memory: AnswerMemory,
    /// The settings of the Lease.
    pub lease: Settings,
    /// How long running calls may take to be answered and recorded when the operator ends.
    pub patience: Duration,
}

impl Options {
    /// The number of concurrent cycles that are reserved for namespaces without any: a quarter, if there is more than one
    /// namespace.
    fn kept_cycles(&self) -> usize {
        if self.namespaces.len() == 1 || self.max_cycles < 2 { 0 } else { (self.max_cycles / 4).max(1) }
    }
}

/// Clients of the API server, by purpose.
#[derive(Clone)]
pub(crate) struct Clients {
    /// For watches, which may receive nothing for minutes.
    pub watches: Client,
    /// For everything that is answered immediately.
    pub requests: Client,
    /// For the Lease alone, created on the runtime of [`Self::vital`].
    pub lease: Client,
    /// The runtime of the Lease, which nothing else blocks.
    pub vital: Handle,
}

/// Why the operator could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    /// The Lease can neither be read nor created.
    #[error(
        "taking part in the election for the Lease {name:?} in namespace {namespace:?}: {source}; its Role must allow get, list, watch, create and patch on leases"
    )]
    Election {
        /// The Lease.
        name: String,
        /// Its namespace.
        namespace: String,
        /// The error.
        source: kube::Error,
    },
    /// The candidacy has ended, so nothing would be reconciled anymore.
    #[error(transparent)]
    Candidacy(#[from] CandidacyEnded),
    /// The connections to models cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Runs the operator until `stop`: waits for the Lease, acts while it holds it, and waits again after losing it.
///
/// # Errors
/// [`OperatorError`] if it cannot start. Later problems do not end it.
pub(crate) async fn run(
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
        tokio::spawn(async move { stores.monitor(&metrics).await })
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

/// Starts the candidacy; waits for a cluster that cannot be reached.
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

/// A task that is aborted when this is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
