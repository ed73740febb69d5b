//! One store for each namespace, so that no object can read what another namespace has paid for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::engine::ports::StoreError;
use crate::store::Sqlite;

/// The stores of the namespaces, each opened when it is needed first.
pub struct Stores {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<Sqlite>>>,
}

impl Stores {
    /// Stores in a folder: `NAMESPACE.db`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// The store of a namespace.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened.
    pub async fn of(&self, namespace: &str) -> Result<Arc<Sqlite>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(namespace) {
            return Ok(Arc::clone(store));
        }
        // The name of a namespace has neither slashes nor dots.
        let path = self.folder.join(format!("{namespace}.db"));
        let runtime = tokio::runtime::Handle::current();
        // Opening may wait for the disk, and its future cannot move between threads.
        let opened = tokio::task::spawn_blocking(move || runtime.block_on(Sqlite::open(&path)));
        let store = Arc::new(opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
        open.insert(namespace.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Flushes and closes all of them.
    pub async fn close(&self) {
        for (namespace, store) in self.open.lock().await.drain() {
            if let Err(error) = store.close().await {
                tracing::warn!(namespace, %error, "closing the store");
            }
        }
    }
}
