//! A tenure: the time during which this replica holds the Lease.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use kube::runtime::events::Reporter;
use kube::runtime::reflector;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::namespace::NamespaceController;
use super::{Clients, Options};
use crate::controllers::computing::{ComputeSlots, Computing};
use crate::controllers::context::Context;
use crate::controllers::cycles::Cycles;
use crate::controllers::health::Health;
use crate::controllers::restarts::Restarts;
use crate::controllers::run_cycle::Grounds;
use crate::controllers::stores::Stores;
use crate::controllers::turns::Turns;
use crate::controllers::watches::Watches;
use crate::kubernetes::events::Publisher;
use crate::kubernetes::lease::Fence;
use crate::kubernetes::references::References;
use crate::models::Connections;
use crate::telemetry::metrics::Metrics;
use whetstone_engine::ports::Clock;

/// What a tenure needs.
pub(super) struct Acting<'a> {
    pub(super) clients: &'a Clients,
    pub(super) stores: &'a Arc<Stores>,
    pub(super) options: &'a Options,
    pub(super) connections: &'a Connections,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) health: &'a Arc<Health>,
    pub(super) fence: Fence,
    /// Cancelled when the tenure is over: the Lease is lost, or the process ends.
    pub(super) over: CancellationToken,
    /// Cancelled when the process ends.
    pub(super) stopping: CancellationToken,
}

impl Acting<'_> {
    /// Acts in each of the namespaces until the tenure is over.
    pub(super) async fn act(self) {
        let turns = Turns::new(self.options.max_cycles, self.options.kept_cycles());
        let slots = ComputeSlots::new();
        let reporter = Reporter {
            controller: "whetstone.dev/operator".to_owned(),
            instance: Some(self.options.lease.identity.clone()),
        };
        let events = Publisher::new(self.clients.requests.clone(), reporter, self.fence.clone());
        let scopes = match self.options.namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
        };
        let unsynced = Arc::new(AtomicUsize::new(scopes.len()));
        let controllers = scopes.into_iter().map(|namespace| {
            let (trigger, triggered) = mpsc::unbounded_channel();
            let (reader, writer) = reflector::store();
            let context = Arc::new(Context {
                client: self.clients.requests.clone(),
                optimizations: reader,
                versions: Arc::default(),
                references: References::new(self.clients.watches.clone(), trigger.clone()),
                computing: Computing::new(slots.clone(), trigger.clone()),
                cycles: Cycles::new(turns.clone(), trigger.clone(), Arc::clone(self.metrics)),
                watches: Watches::new(self.connections.clone(), Arc::clone(self.clock), trigger.clone()),
                fence: self.fence.clone(),
                events: events.clone(),
                clock: Arc::clone(self.clock),
                allowed: Arc::new(self.options.allowed.clone()),
                metrics: Arc::clone(self.metrics),
                resolved: Mutex::default(),
                written: Mutex::default(),
                restarts: Restarts::default(),
                failures: Mutex::default(),
            });
            let (stores, connections) = (Arc::clone(self.stores), self.connections.clone());
            let grounds = Arc::new(Grounds { context, stores, connections });
            let controller = NamespaceController {
                namespace: namespace.map(str::to_owned),
                client: self.clients.watches.clone(),
                grounds,
                trigger,
                triggered,
                writer,
                patience: self.options.patience,
            };
            controller.act(self.over.clone(), self.stopping.clone(), Arc::clone(self.health), Arc::clone(&unsynced))
        });
        futures::future::join_all(controllers).await;
    }
}
