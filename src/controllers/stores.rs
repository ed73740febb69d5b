//! One store per namespace, so that no object can read answers that another namespace has paid for.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::store::Sqlite;
use crate::telemetry::metrics::Metrics;
use whetstone_engine::ports::StoreError;

/// How often to check that the files of the stores exist. Every call checks it before it is paid; this detects it if there
/// are no calls.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The stores of the namespaces, each opened when it is first needed.
pub(crate) struct Stores {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<Sqlite>>>,
}

impl Stores {
    /// Stores in a directory: `NAMESPACE.db`.
    #[must_use]
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// The store of a namespace.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened, or if its file was deleted or replaced since. Then it is not opened again:
    /// with an empty ledger, everything would be paid again.
    pub(crate) async fn of(&self, namespace: &str) -> Result<Arc<Sqlite>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(namespace) {
            store.check()?;
            return Ok(Arc::clone(store));
        }
        // The name of a namespace contains neither slashes nor dots.
        let path = self.folder.join(format!("{namespace}.db"));
        let runtime = tokio::runtime::Handle::current();
        // Opening may wait for the disk, and its future is not `Send`.
        let opened = tokio::task::spawn_blocking(move || runtime.block_on(Sqlite::open(&path)));
        let store = Arc::new(opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
        let swept = Arc::clone(&store);
        let _ = tokio::task::spawn_blocking(move || swept.sweep_locks()).await;
        open.insert(namespace.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Reports stores whose file was deleted or replaced, in the log and the metrics, while this future runs.
    pub(crate) async fn monitor(&self, metrics: &Metrics) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = HashSet::new();
        loop {
            ticks.tick().await;
            let open: Vec<_> =
                self.open.lock().await.iter().map(|(name, store)| (name.clone(), store.clone())).collect();
            for (namespace, store) in open {
                match store.check() {
                    Err(error) if lost.insert(namespace.clone()) => {
                        tracing::error!(namespace, %error, "a store is lost");
                        metrics.set_store_lost(&namespace, true);
                    }
                    Ok(()) if lost.remove(&namespace) => {
                        tracing::info!(namespace, "the store is there again");
                        metrics.set_store_lost(&namespace, false);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Flushes and closes all stores.
    pub(crate) async fn close(&self) {
        for (namespace, store) in self.open.lock().await.drain() {
            if let Err(error) = store.close().await {
                tracing::warn!(namespace, %error, "closing the store");
            }
        }
    }
}
