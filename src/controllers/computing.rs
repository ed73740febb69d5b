//! Computations for reconciles: parsing suites, compiling their patterns, hashing them. Untrusted input determines how long
//! this takes, so it does not run on the threads of the runtime.
//!
//! A namespace runs one computation at a time, and a process a few, so that large suites delay other namespaces by at most
//! one turn. A reconcile waits only briefly: if a computation takes longer, the reconcile ends without its result, and
//! another one is triggered when it is done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::lock;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ObjectKey;

/// How long a reconcile waits for a result.
const PATIENCE: Duration = Duration::from_millis(200);

/// Limits concurrent computations over all namespaces. Clones share the limit.
#[derive(Clone)]
pub(crate) struct ComputeSlots {
    free: Arc<Semaphore>,
    namespaces: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl ComputeSlots {
    /// One per core, within limits.
    #[must_use]
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { free: Arc::new(Semaphore::new(cores.clamp(2, 4))), namespaces: Arc::default() }
    }

    /// Runs a computation on a separate thread when it is the namespace's turn. The turn lasts until it is done, even if
    /// the caller no longer waits. `None` if it panicked.
    async fn compute<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let own = {
            let mut namespaces = lock(&self.namespaces);
            namespaces.retain(|_, own| Arc::strong_count(own) > 1);
            Arc::clone(namespaces.entry(namespace.to_owned()).or_default())
        };
        // The namespace's lock is taken first, so no namespace has two computations in the queue of the semaphore.
        let turn = own.lock_owned().await;
        let slot = Arc::clone(&self.free).acquire_owned().await;
        let computed = tokio::task::spawn_blocking(move || {
            let computed = work();
            drop((turn, slot));
            computed
        });
        computed.await.ok()
    }
}

impl Default for ComputeSlots {
    fn default() -> Self {
        Self::new()
    }
}

/// The computations for each optimization.
pub(crate) struct Computing<T> {
    slots: ComputeSlots,
    jobs: Arc<Mutex<HashMap<ObjectKey, Job<T>>>>,
    /// Receives optimizations whose result came too late for their reconcile.
    trigger: mpsc::UnboundedSender<ObjectKey>,
}

struct Job<T> {
    /// Identifies its inputs.
    key: ContentHash,
    task: AbortHandle,
    done: CancellationToken,
    result: Option<T>,
    /// Whether the reconcile has ended without its result.
    is_left: bool,
}

impl<T: Send + 'static> Computing<T> {
    /// Without any computations.
    #[must_use]
    pub(crate) fn new(slots: ComputeSlots, trigger: mpsc::UnboundedSender<ObjectKey>) -> Self {
        Self { slots, jobs: Arc::default(), trigger }
    }

    /// The result of a computation whose inputs have this hash. `None` if it takes longer: then a reconcile is triggered
    /// when it is done. A computation for the same optimization with other inputs is dropped.
    pub(crate) async fn of(
        &self,
        owner: &ObjectKey,
        key: ContentHash,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let done = {
            let mut jobs = lock(&self.jobs);
            match jobs.get_mut(owner) {
                Some(job) if job.key == key => {
                    job.is_left = false;
                    job.done.clone()
                }
                _ => {
                    let job = self.start(owner.clone(), key, work);
                    let done = job.done.clone();
                    if let Some(before) = jobs.insert(owner.clone(), job) {
                        before.task.abort();
                    }
                    done
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE, done.cancelled()).await;
        let mut jobs = lock(&self.jobs);
        let job = jobs.get_mut(owner).filter(|job| job.key == key)?;
        if !job.done.is_cancelled() {
            job.is_left = true;
            return None;
        }
        let result = jobs.remove(owner)?.result;
        if result.is_none() {
            // It panicked, and would panic again.
            tracing::error!(
                namespace = owner.namespace,
                name = owner.name,
                "what it refers to could not be read: a defect of Whetstone"
            );
        }
        result
    }

    /// Drops the computation for a deleted optimization.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        if let Some(job) = lock(&self.jobs).remove(owner) {
            job.task.abort();
        }
    }

    fn start(&self, owner: ObjectKey, key: ContentHash, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let (slots, jobs, trigger) = (self.slots.clone(), Arc::clone(&self.jobs), self.trigger.clone());
        let done = CancellationToken::new();
        let ended = done.clone();
        let task = tokio::spawn(async move {
            let result = slots.compute(&owner.namespace, work).await;
            let mut jobs = lock(&jobs);
            if let Some(job) = jobs.get_mut(&owner).filter(|job| job.key == key) {
                job.result = result;
                ended.cancel();
                if job.is_left {
                    // The receiver is dropped only when the operator ends.
                    let _ = trigger.send(owner.clone());
                }
            }
        });
        Job { key, task: task.abort_handle(), done, result: None, is_left: false }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as std_mpsc;

    use super::*;

    fn owner(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(namespace, name)
    }

    fn key(text: &str) -> ContentHash {
        ContentHash::of_bytes(text.as_bytes())
    }

    fn computing() -> (Computing<u32>, mpsc::UnboundedReceiver<ObjectKey>) {
        let (trigger, triggered) = mpsc::unbounded_channel();
        (Computing::new(ComputeSlots::new(), trigger), triggered)
    }

    /// Work that ends when the sender is used.
    fn held() -> (std_mpsc::Sender<u32>, impl FnOnce() -> u32 + Send + 'static) {
        let (tell, told) = std_mpsc::channel();
        (tell, move || told.recv().unwrap_or(0))
    }

    #[tokio::test]
    async fn what_is_quick_is_there_at_once_and_triggers_nothing() {
        let (computing, mut triggered) = computing();
        assert_eq!(computing.of(&owner("a", "x"), key("1"), || 7).await, Some(7));
        assert_eq!(computing.of(&owner("a", "x"), key("1"), || 8).await, Some(8), "it is not kept");
        assert!(triggered.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_takes_longer_is_fetched_when_it_is_done() {
        let (computing, mut triggered) = computing();
        let (tell, work) = held();
        assert_eq!(computing.of(&owner("a", "x"), key("1"), work).await, None);
        assert_eq!(computing.of(&owner("a", "x"), key("1"), || panic!("it runs already")).await, None);
        tell.send(5).unwrap();
        assert_eq!(triggered.recv().await, Some(owner("a", "x")));
        assert_eq!(computing.of(&owner("a", "x"), key("1"), || panic!("it is there")).await, Some(5));
    }

    #[tokio::test]
    async fn a_namespace_that_computes_without_end_delays_itself_and_nobody_else() {
        let (computing, _triggered) = computing();
        let mut held_ones = Vec::new();
        for name in 0..20 {
            let (tell, work) = held();
            held_ones.push(tell);
            assert_eq!(computing.of(&owner("hostile", &name.to_string()), key("1"), work).await, None);
        }
        assert_eq!(computing.of(&owner("good", "x"), key("1"), || 7).await, Some(7));
        drop(held_ones);
    }

    #[tokio::test]
    async fn what_was_changed_meanwhile_is_computed_anew_and_the_old_result_goes() {
        let (computing, mut triggered) = computing();
        let (tell, work) = held();
        assert_eq!(computing.of(&owner("a", "x"), key("1"), work).await, None);
        assert_eq!(computing.of(&owner("a", "x"), key("2"), || 2).await, None, "its namespace is still busy");
        tell.send(1).unwrap();
        assert_eq!(triggered.recv().await, Some(owner("a", "x")));
        assert_eq!(computing.of(&owner("a", "x"), key("2"), || panic!("it is there")).await, Some(2));
        computing.forget(&owner("a", "x"));
        assert!(lock(&computing.jobs).is_empty());
    }
}
