//! What every reconcile shares.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::{Client, Resource as _, ResourceExt as _};

use super::computing::Computing;
use super::cycles::Cycles;
use super::resolve::{Computed, Resolved};
use super::restarts::FailedRestart;
use super::watches::Watches;
use super::{Owner, lock};
use crate::api::AgentOptimization;
use crate::api::status::Notice;
use crate::decide::lifecycle::Note;
use crate::domain::endpoint::AllowList;
use crate::domain::hash::ContentHash;
use crate::engine::ports::Clock;
use crate::kubernetes::events::{self, Published};
use crate::kubernetes::lease::Fence;
use crate::kubernetes::references::References;
use crate::kubernetes::versions::Versions;
use crate::telemetry::metrics::Metrics;

/// What every reconcile shares.
pub struct Context {
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
    pub recorder: Recorder,
    /// Who publishes them.
    pub reporter: Reporter,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The hosts that resources may name.
    pub allowed: Arc<AllowList>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What was resolved last for each optimization.
    pub resolved: Mutex<HashMap<Owner, Arc<Resolved>>>,
    /// What our own last write of each optimization returned, until the watch has caught up with it.
    pub written: Mutex<HashMap<Owner, Arc<AgentOptimization>>>,
    /// The workloads of each optimization that could not be restarted.
    pub restarts: Mutex<HashMap<Owner, FailedRestart>>,
    /// How often each optimization has failed to be reconciled in a row.
    pub failures: Mutex<HashMap<Owner, u32>>,
}

impl Context {
    /// The newest that is known of an optimization: what we wrote last, unless the watch has seen something newer.
    pub fn newest(&self, owner: &Owner, seen: Arc<AgentOptimization>) -> Arc<AgentOptimization> {
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
    pub fn forget(&self, owner: &Owner) {
        self.cycles.forget(owner);
        self.computing.forget(owner);
        self.watches.forget(owner);
        self.references.forget(owner);
        self.metrics.forget(owner);
        lock(&self.resolved).remove(owner);
        lock(&self.written).remove(owner);
        lock(&self.failures).remove(owner);
        lock(&self.restarts).remove(owner);
    }

    /// Of all that is known, only these optimizations are still there.
    pub fn forget_all_but(&self, there: &[Arc<AgentOptimization>]) {
        let there: HashSet<Owner> =
            there.iter().map(|object| (object.namespace().unwrap_or_default(), object.name_any())).collect();
        let mut known: HashSet<Owner> = lock(&self.resolved).keys().cloned().collect();
        known.extend(self.cycles.owners());
        known.extend(self.watches.owners());
        for owner in known.difference(&there) {
            self.forget(owner);
        }
    }

    /// Publishes what the record says was decided, each thing once, whoever had begun to. What the API server refuses is logged and
    /// done with. Returns what is new, and whether all is done with; where the API server could not, it is to be tried again.
    pub async fn publish(&self, object: &AgentOptimization, notices: &[Notice]) -> (Vec<Notice>, bool) {
        let mut new = Vec::new();
        for notice in notices {
            if !self.fence.is_open() {
                return (new, false);
            }
            match events::publish(&self.client, object, &self.reporter, notice).await {
                Ok(Published::Before) => continue,
                Ok(Published::Now) => tracing::info!(reason = notice.reason, "{}", notice.message),
                Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                    tracing::warn!(%status, reason = notice.reason, "publishing an Event: {}", notice.message);
                }
                Err(error) => {
                    tracing::warn!(%error, reason = notice.reason, "publishing an Event; trying again later");
                    return (new, false);
                }
            }
            new.push(notice.clone());
        }
        (new, true)
    }

    /// Publishes Events that no record keeps. An Event that cannot be published is logged; nothing depends on it.
    pub async fn say(&self, object: &AgentOptimization, said: Vec<Said>) {
        let reference = object.object_ref(&());
        for note in said {
            tracing::info!(reason = note.reason, "{}", note.message);
            let event = Event {
                type_: if note.is_warning { EventType::Warning } else { EventType::Normal },
                reason: note.reason.to_owned(),
                note: Some(events::cut(&note.message)),
                // Events that differ in their action are not counted as one.
                action: format!("{}-{}", note.reason, ContentHash::of_bytes(note.message.as_bytes()).short()),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(%error, reason = note.reason, "publishing an Event");
            }
        }
    }
}

/// An Event that no record keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Somebody should look.
    pub is_warning: bool,
    /// In one word, for programs.
    pub reason: &'static str,
    /// In words, for people.
    pub message: String,
}

impl From<&Note> for Said {
    fn from(note: &Note) -> Self {
        Self { is_warning: note.is_warning, reason: note.reason.as_str(), message: note.message.clone() }
    }
}

/// Whether an object was written later than another. Versions of one object are numbers that grow.
fn is_newer(one: &AgentOptimization, other: &AgentOptimization) -> bool {
    let number = |object: &AgentOptimization| {
        object.meta().resource_version.as_ref().and_then(|version| version.parse::<u64>().ok()).unwrap_or(0)
    };
    number(one) > number(other)
}
