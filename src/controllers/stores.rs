//! One store for each namespace, so that no object can read what another namespace has paid for.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::engine::ports::StoreError;
use crate::store::Sqlite;
use crate::telemetry::metrics::Metrics;

/// How often the files of the stores are looked for. Every call looks before it is paid; this tells when there are none.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The stores of the namespaces, each opened when it is needed first.
pub(crate) struct Stores {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<Sqlite>>>,
}

impl Stores {
    /// Stores in a folder: `NAMESPACE.db`.
    #[must_use]
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// The store of a namespace.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened, or its file was deleted or replaced since. It is not opened anew then: an empty
    /// ledger would let everything be paid again.
    pub(crate) async fn of(&self, namespace: &str) -> Result<Arc<Sqlite>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(namespace) {
            store.check()?;
            return Ok(Arc::clone(store));
        }
        // The name of a namespace has neither slashes nor dots.
        let path = self.folder.join(format!("{namespace}.db"));
        let runtime = tokio::runtime::Handle::current();
        // Opening may wait for the disk, and its future cannot move between threads.
        let opened = tokio::task::spawn_blocking(move || runtime.block_on(Sqlite::open(&path)));
        let store = Arc::new(opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
        let swept = Arc::clone(&store);
        let _ = tokio::task::spawn_blocking(move || swept.sweep_locks()).await;
        open.insert(namespace.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Tells of stores whose file was deleted or replaced, in the log and the metrics, for as long as it is polled.
    pub(crate) async fn look_after(&self, metrics: &Metrics) {
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

    /// Flushes and closes all of them.
    pub(crate) async fn close(&self) {
        for (namespace, store) in self.open.lock().await.drain() {
            if let Err(error) = store.close().await {
                tracing::warn!(namespace, %error, "closing the store");
            }
        }
    }
}
