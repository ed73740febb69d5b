//! Restarts the workloads that read the prompt only when they start: once for each champion, with retries.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::Client;

use super::error::{Attempt, ReconcileError};
use super::lock;
use crate::api::promotion::Workload;
use crate::kubernetes::lease::Fence;
use crate::kubernetes::refusal::{is_refusal, reason};
use crate::kubernetes::workloads;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ObjectKey;

/// The wait before a refused restart is retried.
const REFUSED_EVERY: Duration = Duration::from_mins(1);
/// The same if the API server was overloaded or failed.
const FAILED_EVERY: Duration = Duration::from_secs(5);

/// The reason for restarting workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occasion {
    /// The hash of the prompt that serves.
    pub hash: ContentHash,
    /// The generation of the spec that names the workloads.
    pub generation: Option<i64>,
}

/// The results of the restarts for a champion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarted {
    /// The workloads that were not restarted, and why.
    pub failures: Vec<String>,
    /// Those that are not published yet.
    pub news: Vec<String>,
    /// When they are retried; `None` if there are none.
    pub again_after: Option<Duration>,
}

/// The failed restarts, by optimization.
#[derive(Debug, Default)]
pub(crate) struct Restarts(Mutex<HashMap<ObjectKey, Failed>>);

#[derive(Clone, Debug)]
struct Failed {
    occasion: Occasion,
    at: Instant,
    wait: Duration,
    failures: Vec<String>,
}

impl Restarts {
    /// Restarts workloads, unless that has just failed for the same reason. A workload that was restarted for a prompt is
    /// not restarted for it again.
    ///
    /// # Errors
    /// If a request to the API server fails, or the Lease is lost. Refusals are in [`Restarted`].
    pub(crate) async fn restart(
        &self,
        owner: &ObjectKey,
        workloads: &[Workload],
        occasion: Occasion,
        client: &Client,
        fence: &Fence,
    ) -> Result<Restarted, ReconcileError> {
        let before = lock(&self.0).get(owner).filter(|failed| failed.occasion == occasion).cloned();
        if let Some(Failed { at, wait, failures, .. }) =
            before.as_ref().filter(|failed| failed.at.elapsed() < failed.wait)
        {
            let again_after = Some(wait.saturating_sub(at.elapsed()));
            return Ok(Restarted { failures: failures.clone(), news: Vec::new(), again_after });
        }
        let (mut failures, mut wait) = (Vec::new(), REFUSED_EVERY);
        for workload in workloads {
            fence.check()?;
            match workloads::restart(client, &owner.namespace, workload, &occasion.hash).await {
                Ok(()) => {}
                Err(error @ kube::Error::Api(_)) => {
                    if !is_refusal(&error) {
                        wait = FAILED_EVERY;
                    }
                    let Workload { kind, name } = workload;
                    failures.push(format!("cannot restart the {kind:?} {name:?}: {}", reason(&error)));
                }
                Err(error) => return Err(Attempt::Restart.on(&owner.namespace, &workload.name)(error)),
            }
        }
        if failures.is_empty() {
            self.forget(owner);
            return Ok(Restarted::default());
        }
        let known = before.map(|before| before.failures).unwrap_or_default();
        let news = failures.iter().filter(|failure| !known.contains(failure)).cloned().collect();
        let failed = Failed { occasion, at: Instant::now(), wait, failures: failures.clone() };
        lock(&self.0).insert(owner.clone(), failed);
        Ok(Restarted { failures, news, again_after: Some(wait) })
    }

    /// Drops the failed restarts of an optimization.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        lock(&self.0).remove(owner);
    }
}
