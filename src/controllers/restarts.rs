//! Restarts of the workloads that read the prompt only when they start: once for each champion, and again, later, where one failed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::Client;

use super::error::{Attempt, ReconcileError};
use super::lock;
use crate::api::promotion::Workload;
use crate::domain::hash::ContentHash;
use crate::domain::ids::ObjectKey;
use crate::kubernetes::lease::Fence;
use crate::kubernetes::refusal::{is_refusal, reason};
use crate::kubernetes::workloads;

/// How often a restart that was refused is tried again.
const REFUSED_EVERY: Duration = Duration::from_mins(1);
/// The same if the API server was overloaded or failed.
const FAILED_EVERY: Duration = Duration::from_secs(5);

/// What workloads are restarted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occasion {
    /// The hash of the prompt that serves.
    pub hash: ContentHash,
    /// The generation of the spec that names the workloads.
    pub generation: Option<i64>,
}

/// What the restarts for a champion came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarted {
    /// Which workloads were not restarted, and why.
    pub failures: Vec<String>,
    /// Those of them that are not published yet.
    pub news: Vec<String>,
    /// When they are tried again; `None` without failures.
    pub again_after: Option<Duration>,
}

/// The restarts that have failed, by optimization.
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
    /// Restarts workloads, unless that has failed for the same occasion a moment ago. A workload that was restarted for a prompt
    /// is not restarted for it again.
    ///
    /// # Errors
    /// When there is no answer from the API server, or the Lease is lost. What the API server refuses is in [`Restarted`].
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

    /// Forgets what has failed for an optimization.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        lock(&self.0).remove(owner);
    }
}
