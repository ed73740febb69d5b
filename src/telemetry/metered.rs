//! Instrumented ports of the engine: a store that counts paid calls, and progress that times the phases.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use super::metrics::Metrics;
use whetstone_domain::call::{CallKey, Phase};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ObjectKey;
use whetstone_domain::ids::VersionName;
use whetstone_domain::money::Money;
use whetstone_engine::ports::{
    CycleRecord, CycleStart, History, Ledger, LedgerEntry, Memory, Progress, Recorded, StoreError,
};

/// A store that counts paid calls.
pub(crate) struct Metered<S> {
    /// Dropped when nothing can be recorded anymore.
    _kept: Option<Box<dyn Any + Send + Sync>>,
    store: Arc<S>,
    metrics: Arc<Metrics>,
    owner: ObjectKey,
    currency: String,
}

impl<S> Metered<S> {
    /// Counts the calls that are recorded in a store for an object.
    pub(crate) fn new(store: Arc<S>, metrics: Arc<Metrics>, owner: ObjectKey, currency: String) -> Self {
        Self { _kept: None, store, metrics, owner, currency }
    }

    /// Keeps a value alive while calls may still be recorded.
    #[must_use]
    pub(crate) fn keeping(self, what: impl Any + Send + Sync) -> Self {
        Self { _kept: Some(Box::new(what)), ..self }
    }
}

impl<S: Ledger> Ledger for Metered<S> {
    fn find(&self, key: CallKey) -> BoxFuture<'_, Result<Option<Recorded>, StoreError>> {
        Box::pin(async move {
            let found = self.store.find(key).await?;
            if found.is_some() {
                self.metrics.answered_by_ledger(&self.owner);
            }
            Ok(found)
        })
    }

    fn paid(&self, cycle: ContentHash) -> BoxFuture<'_, Result<Money, StoreError>> {
        self.store.paid(cycle)
    }

    fn record(&self, entry: LedgerEntry) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.store.record(entry.clone()).await?;
            self.metrics.paid(&self.owner, &self.currency, &entry);
            Ok(())
        })
    }

    fn discard(&self, keys: Vec<CallKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.discard(keys)
    }
}

impl<S: History> History for Metered<S> {
    fn open(&self, start: CycleStart) -> BoxFuture<'_, Result<Memory, StoreError>> {
        self.store.open(start)
    }

    fn version_of<'a>(
        &'a self,
        object: &'a str,
        prompt: ContentHash,
    ) -> BoxFuture<'a, Result<Option<VersionName>, StoreError>> {
        self.store.version_of(object, prompt)
    }

    fn close(&self, record: CycleRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.close(record)
    }
}

/// Progress that also times the phases.
pub(crate) struct Timed {
    progress: Arc<dyn Progress>,
    metrics: Arc<Metrics>,
    began: Mutex<Option<(Phase, std::time::Instant)>>,
}

impl Timed {
    /// Times the phases that are reported to `progress`.
    pub(crate) fn new(progress: Arc<dyn Progress>, metrics: Arc<Metrics>) -> Self {
        Self { progress, metrics, began: Mutex::default() }
    }

    fn turn_to(&self, next: Option<Phase>) {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        if began.as_ref().map(|(phase, _)| *phase) == next {
            return;
        }
        let next = next.map(|phase| (phase, std::time::Instant::now()));
        if let Some((phase, since)) = std::mem::replace(&mut *began, next) {
            self.metrics.phase_ended(phase, since.elapsed());
        }
    }
}

impl Progress for Timed {
    fn begin(&self, phase: Phase, what: &str, total: Option<u64>) {
        self.turn_to(Some(phase));
        self.progress.begin(phase, what, total);
    }

    fn advance(&self, steps: u64) {
        self.progress.advance(steps);
    }

    fn step(&self, what: &str) {
        self.progress.step(what);
    }

    fn call(&self, phase: Phase, paid: bool, cost: Option<Money>) {
        self.progress.call(phase, paid, cost);
    }

    fn note(&self, text: &str) {
        self.progress.note(text);
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.turn_to(None);
    }
}
