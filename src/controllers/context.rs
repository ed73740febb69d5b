//! What every reconcile shares.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kube::runtime::reflector::Store;
use kube::{Client, Resource as _};

use super::computing::Computing;
use super::cycles::Cycles;
use super::lock;
use super::resolved::{Computed, Resolved};
use super::restarts::Restarts;
use super::watches::Watches;
use crate::api::AgentOptimization;
use crate::domain::endpoint::AllowList;
use crate::domain::ids::ObjectKey;
use crate::engine::ports::Clock;
use crate::kubernetes::events::Publisher;
use crate::kubernetes::lease::Fence;
use crate::kubernetes::names::key_of;
use crate::kubernetes::references::References;
use crate::kubernetes::versions::Versions;
use crate::telemetry::metrics::Metrics;

/// What every reconcile shares.
pub(crate) struct Context {
    /// The API server.
    pub client: Client,
    /// Every AgentOptimization that is watched.
    pub optimizations: Store<AgentOptimization>,
    /// Every PromptVersion that is watched, without its prompt.
    pub versions: Arc<Versions>,
    /// Watches over what optimizations refer to.
    pub references: References,
    /// What is computed of what optimizations refer to.
    pub computing: Computing<Computed>,
    /// The cycles of this process.
    pub cycles: Cycles,
    /// The watches over promoted prompts.
    pub watches: Watches,
    /// Whether we may write.
    pub fence: Fence,
    /// Where Events go.
    pub events: Publisher,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The hosts that resources may name.
    pub allowed: Arc<AllowList>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What was resolved last for each optimization.
    pub resolved: Mutex<HashMap<ObjectKey, Arc<Resolved>>>,
    /// What our own last write of each optimization returned, until the watch has caught up with it.
    pub written: Mutex<HashMap<ObjectKey, Arc<AgentOptimization>>>,
    /// The restarts that have failed.
    pub restarts: Restarts,
    /// How often each optimization has failed to be reconciled in a row.
    pub failures: Mutex<HashMap<ObjectKey, u32>>,
}

impl Context {
    /// The newest that is known of an optimization: what we wrote last, unless the watch has seen something newer.
    pub(crate) fn newest(&self, owner: &ObjectKey, seen: Arc<AgentOptimization>) -> Arc<AgentOptimization> {
        let mut written = lock(&self.written);
        match written.get(owner) {
            Some(ours) if ours.meta().uid == seen.meta().uid && is_newer(ours, &seen) => Arc::clone(ours),
            Some(_) => {
                written.remove(owner);
                seen
            }
            None => seen,
        }
    }

    /// An optimization is gone: nothing of it stays.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.cycles.forget(owner);
        self.computing.forget(owner);
        self.watches.forget(owner);
        self.references.forget(owner);
        self.metrics.forget(owner);
        lock(&self.resolved).remove(owner);
        lock(&self.written).remove(owner);
        lock(&self.failures).remove(owner);
        self.restarts.forget(owner);
    }

    /// Of all that is known, only these optimizations are still there.
    pub(crate) fn forget_all_but(&self, there: &[Arc<AgentOptimization>]) {
        let there: HashSet<ObjectKey> = there.iter().map(|object| key_of(&**object)).collect();
        let mut known: HashSet<ObjectKey> = lock(&self.resolved).keys().cloned().collect();
        known.extend(self.cycles.owners());
        known.extend(self.watches.owners());
        for owner in known.difference(&there) {
            self.forget(owner);
        }
    }
}

/// Whether an object was written later than another. Versions of one object are numbers that grow.
fn is_newer(one: &AgentOptimization, other: &AgentOptimization) -> bool {
    let number = |object: &AgentOptimization| {
        object.meta().resource_version.as_ref().and_then(|version| version.parse::<u64>().ok()).unwrap_or(0)
    };
    number(one) > number(other)
}
