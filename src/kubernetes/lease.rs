//! Leader election: one replica acts, the others wait.
//!
//! The holder renews the Lease three times within its duration, with a write that fails if another replica has written since. It
//! may act for the duration of the Lease, counted from before that write was sent, by its own clock. The other replicas watch the
//! Lease, and acquire it if they have not seen it change for its duration, counted from after it was written. So no two replicas
//! act at the same time, whatever their clocks show. A replica that was paused or replaced stops before it writes ([`Fence`]).
//!
//! Revisions never decrease, unless the cluster was restored to an older state. Then everything read before is invalid, and watches
//! deliver nothing until the revisions have caught up. So the tenure ends, and everything is read again.

mod candidate;
mod fence;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::Api;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::fence::{Fence, NotLeader};

use self::candidate::Candidate;
use whetstone_engine::ports::Clock;

/// The Lease, the identity of this replica, and the duration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The identity of this replica, unique among the replicas.
    pub identity: String,
    /// The duration of the Lease after a renewal, in whole seconds. It is renewed three times within it.
    pub duration: Duration,
}

/// Whether this process can hold the Lease; is notified when it does.
pub(crate) trait Fitness: Send + Sync + 'static {
    /// Whether the process can act. If it cannot, the Lease is released.
    fn is_fit(&self) -> bool;
    /// The Lease was acquired or lost.
    fn holds(&self, holds: bool);
}

/// A candidacy for the Lease, until it is dropped.
pub(crate) struct Election {
    runtime: Handle,
    fence: Fence,
    /// Changes whenever the fence does.
    changed: watch::Receiver<u64>,
    leaving: CancellationToken,
    candidacy: JoinHandle<()>,
}

/// A period in which this replica holds the Lease.
pub(crate) struct Tenure {
    /// Open while this replica holds the Lease. Checked before every write.
    pub fence: Fence,
    /// Canceled when the Lease is lost.
    pub lost: CancellationToken,
}

/// The candidacy has ended unexpectedly: a bug.
#[derive(Debug, thiserror::Error)]
#[error("the candidacy for the Lease has ended unexpectedly; this is a bug in Whetstone")]
pub(crate) struct CandidacyEnded;

impl Election {
    /// Starts the candidacy on a runtime that nothing else may block. `client` must have been created in it.
    ///
    /// # Errors
    /// The Lease can neither be read nor created.
    pub(crate) async fn campaign(
        runtime: &Handle,
        client: Client,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        fitness: Arc<dyn Fitness>,
    ) -> Result<Self, kube::Error> {
        let fence = Fence::default();
        let (tell, changed) = watch::channel(0);
        let api = Api::namespaced(client, &settings.namespace);
        let mut candidate = Candidate::new(api, settings.clone(), clock, fence.clone(), tell, fitness);
        let (candidate, read) = runtime
            .spawn(async move {
                let read = candidate.read().await;
                (candidate, read)
            })
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        read?;
        let leaving = CancellationToken::new();
        let candidacy = runtime.spawn(candidate.run(leaving.clone()));
        Ok(Self { runtime: runtime.clone(), fence, changed, leaving, candidacy })
    }

    /// Waits until this replica holds the Lease.
    ///
    /// # Errors
    /// [`CandidacyEnded`] if it never will.
    pub(crate) async fn won(&mut self) -> Result<Tenure, CandidacyEnded> {
        loop {
            self.changed.borrow_and_update();
            let fence = self.fence.present();
            if fence.is_open() {
                let lost = CancellationToken::new();
                self.runtime.spawn(guard(fence.clone(), self.changed.clone(), lost.clone()));
                return Ok(Tenure { fence, lost });
            }
            self.changed.changed().await.map_err(|_| CandidacyEnded)?;
        }
    }

    /// Releases the Lease, so that another replica does not have to wait until it expires.
    pub(crate) async fn resign(self) {
        self.leaving.cancel();
        let _ = self.candidacy.await;
    }
}

/// Cancels a tenure when the fence closes.
async fn guard(fence: Fence, mut changed: watch::Receiver<u64>, lost: CancellationToken) {
    while let Some(until) = fence.until().filter(|until| Instant::now() < *until) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            change = changed.changed() => {
                if change.is_err() {
                    break;
                }
            }
        }
    }
    lost.cancel();
}
