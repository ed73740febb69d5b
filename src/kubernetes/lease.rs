//! Leader election: one replica acts, the others wait.
//!
//! `kube-lease-manager` takes the Lease and renews it. Whether we may act is read from the Lease itself, which is watched:
//! it must name us and must not have run out by our clock. So a replica that was paused, or that another one has pushed out,
//! stops before it writes, whatever its own bookkeeping says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

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
    /// How long the Lease lasts after it was renewed. It is renewed three times in that time.
    pub duration: Duration,
}

/// Until when we may act.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Option<Instant>>>);

impl Fence {
    /// A fence that is always open, for programs that act without a Lease.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now() + Duration::from_hours(24 * 365)))))
    }

    /// Whether we hold the Lease at this moment.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    fn until(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A candidacy that goes on until it is given up.
pub struct Election {
    fence: Fence,
    /// Changes whenever the Lease does.
    changed: watch::Receiver<u64>,
    manager: JoinHandle<kube_lease_manager::Result<()>>,
    /// Dropping it makes the manager release the Lease.
    holding: DropGuard,
    observer: JoinHandle<()>,
}

/// A time in which we hold the Lease.
pub struct Tenure {
    /// Open as long as we hold the Lease: to be looked at before every write.
    pub fence: Fence,
    /// Cancelled when the Lease is lost.
    pub lost: CancellationToken,
}

impl Election {
    /// Begins to campaign.
    ///
    /// # Errors
    /// When the Lease can be neither read nor created.
    pub async fn campaign(
        client: Client,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LeaseManagerError> {
        let seconds = settings.duration.as_secs().max(3);
        let manager = LeaseManagerBuilder::new(client.clone(), &settings.name)
            .with_namespace(&settings.namespace)
            .with_identity(&settings.identity)
            .with_duration(seconds)
            .with_grace(seconds - seconds / 3)
            .build()
            .await?;
        let leaving = CancellationToken::new();
        let holding = leaving.clone().drop_guard();
        let manager = tokio::spawn(hold(manager, leaving));
        let fence = Fence::default();
        let (tell, changed) = watch::channel(0);
        let observer = tokio::spawn(observe(client, settings.clone(), clock, fence.clone(), tell));
        Ok(Self { fence, changed, manager, holding, observer })
    }

    /// Waits until we hold the Lease.
    pub async fn won(&mut self) -> Tenure {
        while !self.fence.is_open() {
            if self.changed.changed().await.is_err() {
                // The observer never ends while we are here.
                std::future::pending::<()>().await;
            }
        }
        let lost = CancellationToken::new();
        tokio::spawn(guard(self.fence.clone(), self.changed.clone(), lost.clone()));
        Tenure { fence: self.fence.clone(), lost }
    }

    /// Gives the Lease back, so that another replica need not wait until it runs out.
    pub async fn resign(self) {
        let Self { manager, holding, observer, fence, .. } = self;
        observer.abort();
        *fence.lock() = None;
        drop(holding);
        if let Ok(Err(error)) = manager.await {
            tracing::warn!(%error, "the Lease could not be given back; it runs out by itself");
        }
    }
}

/// Takes the Lease whenever it is free and renews it, until we are leaving. The manager's own loop waits longer after each error, up
/// to twice the length of a Lease, and remembers that for as long as it leads: one request that failed would cost the Lease.
async fn hold(manager: LeaseManager, leaving: CancellationToken) -> kube_lease_manager::Result<()> {
    loop {
        tokio::select! {
            () = leaving.cancelled() => return manager.release().await,
            changed = manager.changed() => if let Err(error) = changed {
                tracing::warn!(%error, "the Lease could not be renewed or taken; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// How long after a failure the Lease is asked for again.
const RETRY: Duration = Duration::from_millis(500);

/// How long after a failure the Lease is looked at again. Who does not see it renewed has lost it.
#[derive(Clone)]
struct AtOnce;

impl Iterator for AtOnce {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(250))
    }
}

impl Backoff for AtOnce {
    fn reset(&mut self) {}
}

/// Follows the Lease and keeps the fence by it.
async fn observe(client: Client, settings: Settings, clock: Arc<dyn Clock>, fence: Fence, tell: watch::Sender<u64>) {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    // A watch that ends by itself is taken up again at once. One that is silent for as long as the client waits for an answer
    // would fail, and between two renewals all are silent.
    let seconds = u32::try_from(settings.duration.as_secs() / 3).unwrap_or(u32::MAX);
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={}", settings.name))
        .timeout(seconds.saturating_sub(1).clamp(1, 60));
    let mut leases = watcher(api.clone(), config).backoff(AtOnce).boxed();
    let mut is_there = false;
    while let Some(event) = leases.next().await {
        match event {
            Ok(Event::Init) => {
                is_there = false;
                continue;
            }
            Ok(Event::InitApply(lease) | Event::Apply(lease)) => {
                is_there = true;
                *fence.lock() = left(&lease, &settings, clock.now()).map(|left| Instant::now() + left);
            }
            Ok(Event::InitDone) if is_there => continue,
            Ok(Event::InitDone | Event::Delete(_)) => {
                *fence.lock() = None;
                tell.send_modify(|changes| *changes += 1);
                create_again(&api, &settings).await;
            }
            Err(error) => {
                // What was read last counts until it has run out.
                tracing::debug!(%error, "watching the Lease");
                continue;
            }
        }
        tell.send_modify(|changes| *changes += 1);
    }
}

/// Creates a Lease that somebody has deleted: the manager does so only when it starts, and nobody could hold one ever again.
async fn create_again(api: &Api<Lease>, settings: &Settings) {
    let metadata = ObjectMeta { name: Some(settings.name.clone()), ..ObjectMeta::default() };
    let lease = Lease { metadata, spec: None };
    loop {
        match api.create(&PostParams::default(), &lease).await {
            Ok(_) => return tracing::warn!(name = settings.name, "the Lease was deleted, and is created again"),
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => return,
            Err(error) => {
                tracing::warn!(%error, name = settings.name, "the Lease was deleted, and cannot be created again yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// How long we may act by this Lease; `None` when it is not ours.
fn left(lease: &Lease, settings: &Settings, now: jiff::Timestamp) -> Option<Duration> {
    let spec = lease.spec.as_ref()?;
    if spec.holder_identity.as_deref() != Some(settings.identity.as_str()) {
        return None;
    }
    let seconds = u64::try_from(spec.lease_duration_seconds?).ok()?;
    let until = spec.renew_time.as_ref()?.0.checked_add(Duration::from_secs(seconds)).ok()?;
    // A clock that was set back must not lengthen the Lease.
    Duration::try_from(until.duration_since(now)).ok().map(|left| left.min(Duration::from_secs(seconds)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            namespace: "whetstone".to_owned(),
            name: "whetstone".to_owned(),
            identity: "one".to_owned(),
            duration: Duration::from_secs(15),
        }
    }

    fn lease(holder: &str) -> Lease {
        serde_saphyr::from_str(&format!(
            "spec: {{holderIdentity: {holder}, leaseDurationSeconds: 15, renewTime: \"2026-01-01T00:00:00.000000Z\"}}"
        ))
        .unwrap()
    }

    #[test]
    fn a_lease_is_good_until_it_runs_out_and_only_for_its_holder() {
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(left(&lease("one"), &settings(), at("2026-01-01T00:00:05Z")), Some(Duration::from_secs(10)));
        assert_eq!(left(&lease("one"), &settings(), at("2026-01-01T00:00:16Z")), None);
        assert_eq!(left(&lease("two"), &settings(), at("2026-01-01T00:00:05Z")), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_lengthen_a_lease() {
        let before = "2025-12-31T23:00:00Z".parse().unwrap();
        assert_eq!(left(&lease("one"), &settings(), before), Some(Duration::from_secs(15)));
    }
}
