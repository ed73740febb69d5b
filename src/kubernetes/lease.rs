//! Leader election: one replica acts, the others wait.
//!
//! Who holds the Lease renews it three times in the time that it lasts, by a write that fails if anybody else has written since. It may
//! act for as long as the Lease lasts, from before that write was sent and by the clock of its own process. Who does not hold it
//! watches, and takes it when it has not seen it change for as long as it lasts: from after it was written. So no two act at once,
//! whatever their clocks say. A replica that was paused, or pushed out, stops before it writes ([`Fence`]).
//!
//! Revisions never go back, unless somebody has restored the cluster to an older state. All that was read before is worth nothing then,
//! and watches are silent for as long as it takes until the revisions have caught up. So the tenure ends, and everything is read anew.

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

pub use self::fence::Fence;

use self::candidate::Candidate;
use crate::engine::ports::Clock;

/// Where the Lease is, who we are, and how long it lasts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are: unique among the replicas.
    pub identity: String,
    /// How long the Lease lasts after it was renewed, in whole seconds. It is renewed three times in that time.
    pub duration: Duration,
}

/// Whether this process is fit to hold the Lease, and who is told that it does.
pub trait Fitness: Send + Sync + 'static {
    /// It can act. Who cannot lets the Lease go.
    fn is_fit(&self) -> bool;
    /// The Lease is held from now on, or is not any more.
    fn holds(&self, holds: bool);
}

/// A candidacy that goes on until it is given up.
pub struct Election {
    runtime: Handle,
    fence: Fence,
    /// Changes whenever the fence does.
    changed: watch::Receiver<u64>,
    leaving: CancellationToken,
    candidacy: JoinHandle<()>,
}

/// A time in which we hold the Lease.
pub struct Tenure {
    /// Open as long as we hold the Lease: to be looked at before every write.
    pub fence: Fence,
    /// Cancelled when the Lease is lost.
    pub lost: CancellationToken,
}

/// The candidacy has ended although nobody gave it up: a defect.
#[derive(Debug, thiserror::Error)]
#[error("the candidacy for the Lease has ended by itself; this is a defect of Whetstone")]
pub struct CandidacyEnded;

impl Election {
    /// Begins to campaign, on a runtime that nothing else may block. `client` must have been made in it.
    ///
    /// # Errors
    /// When the Lease can be neither read nor created.
    pub async fn campaign(
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

    /// Waits until we hold the Lease.
    ///
    /// # Errors
    /// [`CandidacyEnded`] when we never will.
    pub async fn won(&mut self) -> Result<Tenure, CandidacyEnded> {
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

    /// Gives the Lease back, so that another replica need not wait until it runs out.
    pub async fn resign(self) {
        self.leaving.cancel();
        let _ = self.candidacy.await;
    }
}

/// Cancels a tenure when the fence closes.
async fn guard(fence: Fence, mut changed: watch::Receiver<u64>, lost: CancellationToken) {
    while let Some(until) = fence.until().filter(|until| Instant::now() < *until) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            told = changed.changed() => {
                if told.is_err() {
                    break;
                }
            }
        }
    }
    lost.cancel();
}
