//! The store in one SQLite file.
//!
//! - **One writer.** A single task owns the only connection that writes. Callers queue; the task writes all queued calls in one
//!   transaction, and wakes the callers after the commit. So a hundred concurrent calls share one flush to disk.
//! - **Durable.** Write-ahead log with `synchronous = FULL`: acknowledged writes survive a killed process and a power failure.
//!   `NORMAL` would lose the newest writes in a power failure, and with them paid answers; sharing the flush makes `FULL` affordable.
//! - **Lookups are grouped** in the same way: one task, one query for all queued lookups.
//! - **Other processes** may read and write the same file at the same time. A lock is waited for, up to [`PATIENCE`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use whetstone_domain::call::CallKey;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::VersionName;
use whetstone_domain::money::Money;
#[cfg(doc)]
use whetstone_engine::ports::StoreErrorKind;
use whetstone_engine::ports::{CycleRecord, CycleStart, History, Ledger, LedgerEntry, Memory, Recorded, StoreError};

mod calls;
mod error;
mod finder;
mod identity;
mod lock;
mod memory;
mod open;
mod outcome;
mod read;
mod rows;
mod versions;
mod writer;

use error::Place;
use finder::Lookup;
use identity::Identity;
pub use lock::ObjectLock;
use writer::{Job, Reply};

/// The maximum wait for a lock of another process.
const PATIENCE: Duration = Duration::from_secs(10);

/// The length of the queue, which limits the memory.
const QUEUE: usize = 1024;

/// The number of read connections for `history`, `show` and reports.
const READERS: u32 = 2;

/// The store in one SQLite file. Clones share it.
#[derive(Clone, Debug)]
pub struct Sqlite {
    place: Place,
    identity: Identity,
    jobs: mpsc::Sender<Job>,
    lookups: mpsc::Sender<Lookup>,
    readers: SqlitePool,
}

impl Sqlite {
    /// Opens the store in this file, and creates the file and its directory if they do not exist. Must be called inside a
    /// Tokio runtime.
    ///
    /// # Errors
    /// [`StoreErrorKind::Newer`] for a file of a newer version of this program, [`StoreErrorKind::Damaged`] for one that is not a
    /// store, [`StoreErrorKind::Locked`] if another process keeps it locked, [`StoreErrorKind::Full`] if the disk is full.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, PATIENCE).await
    }

    async fn open_with(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        let place = Place { path: Arc::new(path.to_owned()), patience };
        let writing = open::writing(&place).await?;
        let finding = open::reading(&place).await?;
        Ok(Self::start(place, writing, finding))
    }

    /// Starts the tasks on their connections.
    fn start(place: Place, writing: SqliteConnection, finding: SqliteConnection) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(open::read_options(&place));
        let identity = Identity::of(&place.path);
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer::run(writing, place.clone(), identity.clone(), queue));
        let (lookups, queue) = mpsc::channel(QUEUE);
        tokio::spawn(finder::run(finding, place.clone(), identity.clone(), queue));
        Self { place, identity, jobs, lookups, readers }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Checks that the file was neither deleted nor replaced. Lookups and writes check it as well, so that no paid answer is lost;
    /// this is for callers that want to know before.
    ///
    /// # Errors
    /// [`StoreErrorKind::Replaced`] if the file was deleted or replaced.
    pub fn check(&self) -> Result<(), StoreError> {
        self.identity.check(&self.place, "use it")
    }

    /// Writes all queued calls, merges the write-ahead log into the file and closes it. Afterwards every method fails.
    ///
    /// # Errors
    /// [`StoreError`] if the file could not be closed properly. Acknowledged writes are kept anyway.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.ask(&self.lookups, "close it", |reply| Lookup::Finish { reply }).await?;
        self.ask(&self.jobs, "close it", |reply| Job::Finish { reply }).await
    }

    /// Sends a request to one of the tasks and waits for its answer.
    async fn ask<T, R>(
        &self,
        task: &mpsc::Sender<R>,
        doing: &str,
        request: impl FnOnce(Reply<T>) -> R,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        if task.send(request(reply)).await.is_err() {
            return Err(self.place.closed(doing));
        }
        answer.await.unwrap_or_else(|_| Err(self.place.closed(doing)))
    }
}

impl Ledger for Sqlite {
    fn find(&self, key: CallKey) -> BoxFuture<'_, Result<Option<Recorded>, StoreError>> {
        Box::pin(async move {
            let found = self.ask(&self.lookups, "look up a call", |reply| Lookup::Find { key, reply }).await?;
            found.map(|row| calls::decode(&self.place, key, &row)).transpose()
        })
    }

    fn paid(&self, cycle: ContentHash) -> BoxFuture<'_, Result<Money, StoreError>> {
        Box::pin(async move {
            let totals = super::Store::totals(self, Some(cycle)).await?;
            Ok(totals.iter().map(|total| total.cost).sum())
        })
    }

    fn record(&self, entry: LedgerEntry) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let row = calls::encode(&self.place, &entry)?;
            self.ask(&self.jobs, "record a call", |reply| Job::Record { row, reply }).await
        })
    }

    fn discard(&self, keys: Vec<CallKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(&self.jobs, "discard answers", |reply| Job::Discard { keys, reply }))
    }
}

impl History for Sqlite {
    fn open(&self, start: CycleStart) -> BoxFuture<'_, Result<Memory, StoreError>> {
        Box::pin(self.ask(&self.jobs, "open a cycle", |reply| Job::Open { start: Box::new(start), reply }))
    }

    fn version_of<'a>(
        &'a self,
        object: &'a str,
        prompt: ContentHash,
    ) -> BoxFuture<'a, Result<Option<VersionName>, StoreError>> {
        Box::pin(async move {
            let versions = super::Store::versions(self, object).await?;
            Ok(versions.into_iter().find(|row| row.version.hash == prompt).map(|row| row.version.name))
        })
    }

    fn close(&self, record: CycleRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(&self.jobs, "close a cycle", |reply| Job::Close { record: Box::new(record), reply }))
    }
}

#[cfg(test)]
mod tests;
