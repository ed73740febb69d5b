//! Computing for reconciles: reading suites, compiling their patterns, hashing them. It takes as long as somebody makes it take,
//! so it is done off the threads that everything else runs on.
//!
//! A namespace computes one thing at a time, and a process a few, so that nobody's suites delay another one's by more than
//! their turn. A reconcile waits only a moment: what takes longer goes on without it, and asks for another look when it is
//! done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::domain::hash::ContentHash;
use crate::domain::ids::ObjectKey;

/// How long a reconcile waits for a result.
const PATIENCE: Duration = Duration::from_millis(200);

/// Turns to compute, over all namespaces. Copies hand out the same ones.
#[derive(Clone)]
pub(crate) struct Desks {
    free: Arc<Semaphore>,
    namespaces: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Desks {
    /// As many as there are cores, within reason.
    #[must_use]
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { free: Arc::new(Semaphore::new(cores.clamp(2, 4))), namespaces: Arc::default() }
    }

    /// Computes something on a thread of its own when it is the namespace's turn. The turn lasts until it is done, even if nobody
    /// waits any more. `None` when it panicked.
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
        // Whoever waits for a desk has its namespace's turn already, so no namespace has two in that queue.
        let turn = own.lock_owned().await;
        let desk = Arc::clone(&self.free).acquire_owned().await;
        let computed = tokio::task::spawn_blocking(move || {
            let computed = work();
            drop((turn, desk));
            computed
        });
        computed.await.ok()
    }
}

impl Default for Desks {
    fn default() -> Self {
        Self::new()
    }
}

/// What is computed for each optimization.
pub(crate) struct Computing<T> {
    desks: Desks,
    jobs: Arc<Mutex<HashMap<ObjectKey, Job<T>>>>,
    /// Where optimizations go whose result nobody has waited for.
    trigger: mpsc::UnboundedSender<ObjectKey>,
}

struct Job<T> {
    /// What it depends on.
    key: ContentHash,
    task: AbortHandle,
    done: CancellationToken,
    result: Option<T>,
    /// The reconcile has gone on without it.
    is_left: bool,
}

impl<T: Send + 'static> Computing<T> {
    /// Computes nothing yet.
    #[must_use]
    pub(crate) fn new(desks: Desks, trigger: mpsc::UnboundedSender<ObjectKey>) -> Self {
        Self { desks, jobs: Arc::default(), trigger }
    }

    /// The result of some work that depends on what has this hash. `None` when it takes longer: then the optimization is to be
    /// looked at again once it is there. What was computed for the same optimization from something else is dropped.
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
            // It panicked, and will again.
            tracing::error!(
                namespace = owner.namespace,
                name = owner.name,
                "what it refers to could not be read: a defect of Whetstone"
            );
        }
        result
    }

    /// An optimization is gone.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        if let Some(job) = lock(&self.jobs).remove(owner) {
            job.task.abort();
        }
    }

    fn start(&self, owner: ObjectKey, key: ContentHash, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let (desks, jobs, trigger) = (self.desks.clone(), Arc::clone(&self.jobs), self.trigger.clone());
        let done = CancellationToken::new();
        let ended = done.clone();
        let task = tokio::spawn(async move {
            let result = desks.compute(&owner.namespace, work).await;
            let mut jobs = lock(&jobs);
            if let Some(job) = jobs.get_mut(&owner).filter(|job| job.key == key) {
                job.result = result;
                ended.cancel();
                if job.is_left {
                    // The receiver is gone only when the operator ends.
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
        (Computing::new(Desks::new(), trigger), triggered)
    }

    /// Work that ends when it is told to.
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
