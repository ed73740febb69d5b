//! What all reconciles share.

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
use crate::kubernetes::events::Publisher;
use crate::kubernetes::lease::Fence;
use crate::kubernetes::names::key_of;
use crate::kubernetes::references::References;
use crate::kubernetes::versions::Versions;
use crate::telemetry::metrics::Metrics;
use whetstone_domain::endpoint::AllowList;
use whetstone_domain::ids::ObjectKey;
use whetstone_engine::ports::Clock;

/// What all reconciles share.
pub(crate) struct Context {
    /// The API server.
    pub client: Client,
    /// Every AgentOptimization that is watched.
    pub optimizations: Store<AgentOptimization>,
    /// Every PromptVersion that is watched, without its prompt.
    pub versions: Arc<Versions>,
    /// Watches on the objects that optimizations refer to.
    pub references: References,
    /// Computes what optimizations refer to.
    pub computing: Computing<Computed>,
    /// The cycles of this process.
    pub cycles: Cycles,
    /// The watches of promoted prompts.
    pub watches: Watches,
    /// Whether this process may write.
    pub fence: Fence,
    /// Publishes Events.
    pub events: Publisher,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The hosts that resources may refer to.
    pub allowed: Arc<AllowList>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The last result of *resolve* for each optimization.
    pub resolved: Mutex<HashMap<ObjectKey, Arc<Resolved>>>,
    /// The result of the last write of each optimization, until the watch has caught up with it.
    pub written: Mutex<HashMap<ObjectKey, Arc<AgentOptimization>>>,
    /// The restarts that have failed.
    pub restarts: Restarts,
    /// The number of consecutive failed reconciles of each optimization.
    pub failures: Mutex<HashMap<ObjectKey, u32>>,
}

impl Context {
    /// The newest known state of an optimization: the result of the last write, unless the watch has reported a newer one.
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

    /// Drops everything about a deleted optimization.
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

    /// Drops everything about optimizations that do not exist anymore; `there` are those that do.
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

/// Whether an object was written later than another. The resource versions of one object are increasing numbers.
fn is_newer(one: &AgentOptimization, other: &AgentOptimization) -> bool {
    let number = |object: &AgentOptimization| {
        object.meta().resource_version.as_ref().and_then(|version| version.parse::<u64>().ok()).unwrap_or(0)
    };
    number(one) > number(other)
}
