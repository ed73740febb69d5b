//! The controller of one namespace, or of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::follow::{follow_optimizations, follow_versions};
use crate::api::AgentOptimization;
use crate::controllers::health::Health;
use crate::controllers::optimization::{error_policy, reconcile};
use crate::controllers::run_cycle::Grounds;
use crate::kubernetes::revisions;
use whetstone_domain::ids::ObjectKey;

/// The number of concurrent reconciles. A reconcile waits for the API server most of the time.
const RECONCILES: u16 = 16;

/// How often to check whether the cluster was restored to an older state. The Lease detects it sooner, if it is in the same
/// etcd.
const REVISIONS_EVERY: Duration = Duration::from_secs(30);

/// How long cycles may take to stop after the Lease was lost.
const LOST_PATIENCE: Duration = Duration::from_millis(500);

/// What the controller of one namespace, or of all, needs.
pub(super) struct NamespaceController {
    pub(super) namespace: Option<String>,
    pub(super) client: Client,
    pub(super) patience: Duration,
    pub(super) grounds: Arc<Grounds>,
    pub(super) trigger: mpsc::UnboundedSender<ObjectKey>,
    pub(super) triggered: mpsc::UnboundedReceiver<ObjectKey>,
    pub(super) writer: reflector::store::Writer<AgentOptimization>,
}

impl NamespaceController {
    pub(super) async fn act(
        self,
        over: CancellationToken,
        stopping: CancellationToken,
        health: Arc<Health>,
        unsynced: Arc<AtomicUsize>,
    ) {
        let Self { namespace, client, patience, grounds, trigger, mut triggered, writer } = self;
        let context = Arc::clone(&grounds.context);
        let mut followers = JoinSet::new();
        // The store wakes only one of those that wait for it to be ready, and the controller is one.
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
            .map(|ObjectKey { namespace, name }| ObjectRef::new(&name).within(&namespace));
        followers.spawn({
            let (api, over) = (scope::<AgentOptimization>(&context.client, namespace.as_deref()), over.clone());
            async move {
                revisions::gone_back(&api, REVISIONS_EVERY).await;
                // The tenure ends, and the next one starts every watch again.
                over.cancel();
            }
        });
        let ended = over.clone();
        let error_context = Arc::clone(&context);
        let controller = Controller::for_stream(objects, context.optimizations.clone())
            .with_config(controller::Config::default().concurrency(RECONCILES))
            .reconcile_on(triggered)
            .graceful_shutdown_on(async move { ended.cancelled().await })
            .run(reconcile, move |object, error, _| error_policy(&object, error, &error_context), grounds)
            .for_each(|_| std::future::ready(()));
        tokio::select! {
            () = controller => {
                if !over.is_cancelled() {
                    tracing::error!("the controller has ended by itself");
                    health.has_failed.store(true, Ordering::Relaxed);
                }
            }
            // The controller waits for running reconciles. They cannot write any more, and may wait for a cluster that does
            // not answer.
            () = async { over.cancelled().await; tokio::time::sleep(Duration::from_millis(500)).await } => {}
        }
        followers.abort_all();
        context.watches.stop();
        // After losing the Lease, this replica must stop before the next holder starts.
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
