//! A candidate for the Lease: watches, acquires, renews and releases it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fence::Fence;
use super::{Fitness, Settings};
use crate::kubernetes::names::FIELD_MANAGER;
use crate::kubernetes::revisions::revision;
use whetstone_engine::ports::Clock;

/// The delay before a failed request for the Lease is retried.
const RETRY: Duration = Duration::from_millis(500);
/// How long watches are ignored after the cluster was restored, because an API server may still serve stale objects.
const UNBELIEVED: Duration = Duration::from_mins(10);

/// The delay before a failed watch of the Lease is restarted.
#[derive(Clone)]
struct AtOnce;

impl Iterator for AtOnce {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(RETRY)
    }
}

impl Backoff for AtOnce {
    fn reset(&mut self) {}
}

/// The Lease as last seen.
#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    /// The resource version, on which writes are conditional.
    version: String,
    revision: u64,
    /// When it may be acquired, unless it changes before.
    expires: Instant,
}

impl Seen {
    /// Records an observation of a Lease, given the previous one.
    fn now(lease: &Lease, before: Option<&Self>, now: Instant, clock: jiff::Timestamp) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let lasts = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
        let expires = match before {
            _ if holder(&spec).is_none() => now,
            Some(before) if before.spec == spec => before.expires,
            Some(_) => now + lasts,
            // A Lease that expired long ago can be acquired at once. Clocks may differ by its duration.
            None => {
                let renewed = spec.renew_time.as_ref().map_or(jiff::Timestamp::MIN, |time| time.0);
                let age = Duration::try_from(clock.duration_since(renewed)).unwrap_or_default();
                if age > lasts * 2 { now } else { now + lasts }
            }
        };
        Self { spec, revision: revision(&version), version, expires }
    }
}

fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The state of a candidate.
pub(super) struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    fence: Fence,
    tell: watch::Sender<u64>,
    fitness: Arc<dyn Fitness>,
    seen: Option<Seen>,
    /// The newest revision seen so far.
    newest: u64,
    holds: bool,
    /// When the next action is due.
    due: Instant,
    /// Whether the last observation may be stale.
    must_read: bool,
    /// When the watch can be trusted again.
    hears_from: Instant,
    /// Whether the current failure was already logged.
    has_complained: bool,
}

impl Candidate {
    /// A candidate that has seen nothing yet.
    pub(super) fn new(
        api: Api<Lease>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        fence: Fence,
        tell: watch::Sender<u64>,
        fitness: Arc<dyn Fitness>,
    ) -> Self {
        Self {
            api,
            settings,
            clock,
            fence,
            tell,
            fitness,
            seen: None,
            newest: 0,
            holds: false,
            due: Instant::now(),
            must_read: false,
            hears_from: Instant::now(),
            has_complained: false,
        }
    }

    pub(super) async fn run(mut self, leaving: CancellationToken) {
        let mut events = self.watch();
        let mut is_there = false;
        loop {
            tokio::select! {
                biased;
                () = leaving.cancelled() => break,
                event = events.next() => match event {
                    Some(Ok(Event::Init)) => is_there = false,
                    Some(Ok(Event::InitApply(lease) | Event::Apply(lease))) => {
                        is_there = true;
                        self.hear(&lease);
                    }
                    Some(Ok(Event::InitDone)) if is_there => {}
                    Some(Ok(Event::InitDone | Event::Delete(_))) => self.read_at_once(),
                    // The last observation remains valid until the Lease expires.
                    Some(Err(error)) => tracing::debug!(%error, "watching the Lease"),
                    None => events = self.watch(),
                },
                () = tokio::time::sleep_until(self.due) => self.act().await,
            }
        }
        self.release().await;
    }

    fn watch(&self) -> BoxStream<'static, watcher::Result<Event<Lease>>> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.settings.name));
        watcher(self.api.clone(), config).backoff(AtOnce).boxed()
    }

    fn read_at_once(&mut self) {
        self.must_read = true;
        self.due = Instant::now();
    }

    /// Processes an event of the watch.
    fn hear(&mut self, lease: &Lease) {
        let now = Instant::now();
        let seen = Seen::now(lease, self.seen.as_ref(), now, self.clock.now());
        if now < self.hears_from || self.seen.as_ref().is_some_and(|before| before.revision == seen.revision) {
            return;
        }
        if seen.revision < self.newest {
            // A stale event, or the revisions have decreased.
            return self.read_at_once();
        }
        self.take_in(seen);
        self.due = self.next(now);
    }

    /// Processes the current state of the Lease.
    fn take_in(&mut self, seen: Seen) {
        self.newest = seen.revision;
        if self.holds && holder(&seen.spec) != Some(self.settings.identity.as_str()) {
            tracing::warn!(holder = holder(&seen.spec), "another replica has acquired the Lease");
            self.lose();
        }
        self.seen = Some(seen);
    }

    /// When the next action is due in the current state.
    fn next(&self, now: Instant) -> Instant {
        if self.must_read {
            return now;
        }
        match &self.seen {
            // The time of the next renewal.
            _ if self.holds => self.fence.present().until().map_or(now, |until| until - self.settings.duration * 2 / 3),
            Some(seen) if holder(&seen.spec) == Some(self.settings.identity.as_str()) => now,
            Some(seen) if now < self.hears_from => seen.expires.min(now + self.settings.duration / 3),
            Some(seen) => seen.expires,
            None => now,
        }
    }

    /// Renews, acquires or reads the Lease.
    async fn act(&mut self) {
        if self.holds && !self.fence.present().is_open() {
            tracing::warn!("the Lease expired before it could be renewed");
            self.lose();
        }
        let now = Instant::now();
        if !self.fitness.is_fit() {
            if self.holds {
                tracing::error!("this process holds the Lease but cannot act; releasing it");
                self.release().await;
            }
            // Gives another replica the first chance.
            self.due = Instant::now() + self.settings.duration;
            self.must_read = true;
            return;
        }
        let done = if self.must_read || (!self.holds && now < self.hears_from) {
            let read = self.read().await;
            // A free Lease is acquired at once.
            if read.is_ok() && self.next(Instant::now()) <= Instant::now() { self.write().await } else { read }
        } else if self.holds || self.next(now) <= now {
            self.write().await
        } else {
            Ok(())
        };
        let now = Instant::now();
        self.due = match done {
            Ok(()) => {
                if std::mem::take(&mut self.has_complained) {
                    tracing::info!("the Lease is available again");
                }
                self.next(now)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.must_read = true;
                now
            }
            Err(error) => {
                // Logged once per outage: retries happen twice a second.
                if !std::mem::replace(&mut self.has_complained, true) {
                    tracing::warn!(%error, "reading, acquiring or renewing the Lease failed; retrying");
                }
                now + RETRY
            }
        };
    }

    /// Reads the Lease from etcd rather than from a cache. Creates it if it does not exist.
    pub(super) async fn read(&mut self) -> Result<(), kube::Error> {
        let found = self.within(self.api.get_opt(&self.settings.name)).await?;
        let lease = if let Some(lease) = found {
            lease
        } else {
            let metadata = ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: None };
            if self.seen.is_some() {
                tracing::warn!(name = self.settings.name, "the Lease was deleted; creating it again");
            }
            self.within(self.api.create(&PostParams::default(), &lease)).await?
        };
        let now = Instant::now();
        let seen = Seen::now(&lease, self.seen.as_ref(), now, self.clock.now());
        if seen.revision < self.newest {
            tracing::error!(
                was = self.newest,
                is = seen.revision,
                "the revisions of the cluster have gone back: its etcd was restored to an older state; reading everything \
                 again. If the API server returns outdated objects, restart every kube-apiserver"
            );
            self.hears_from = now + UNBELIEVED;
            if self.holds {
                self.lose();
            }
        }
        self.must_read = false;
        self.take_in(seen);
        Ok(())
    }

    /// Renews or acquires the Lease, if it has not changed since it was seen.
    async fn write(&mut self) -> Result<(), kube::Error> {
        let Some(seen) = &self.seen else {
            self.must_read = true;
            return Ok(());
        };
        // The duration counts from before any replica can see this write.
        let (began, time) = (Instant::now(), MicroTime(self.clock.now()));
        let is_ours = holder(&seen.spec) == Some(self.settings.identity.as_str());
        let transitions = seen.spec.lease_transitions.unwrap_or(0);
        let seconds = self.settings.duration.as_secs();
        let mut spec = json!({
            "holderIdentity": self.settings.identity,
            "leaseDurationSeconds": seconds,
            "renewTime": time,
            "leaseTransitions": if is_ours { transitions } else { transitions.saturating_add(1) },
        });
        if !self.holds {
            spec["acquireTime"] = json!(time);
        }
        let lease = self.patch(&json!({"metadata": {"resourceVersion": seen.version}, "spec": spec})).await?;
        let seen = Seen::now(&lease, None, Instant::now(), self.clock.now());
        if seen.revision < self.newest {
            // Impossible unless the revisions decreased: the overwritten Lease was newer.
            self.must_read = true;
        }
        self.newest = self.newest.max(seen.revision);
        self.seen = Some(seen);
        self.fence.extend(began + self.settings.duration);
        if !self.holds {
            self.holds = true;
            self.fitness.holds(true);
        }
        self.tell.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn patch(&self, patch: &serde_json::Value) -> Result<Lease, kube::Error> {
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.within(self.api.patch(&self.settings.name, &parameters, &Patch::Merge(patch))).await
    }

    /// Times a request out early enough for another attempt.
    async fn within<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
        let patience = self.settings.duration / 3;
        tokio::time::timeout(patience, request).await.unwrap_or_else(|_| {
            let why = format!("no answer within {patience:?}");
            Err(kube::Error::Service(why.into()))
        })
    }

    /// Marks the Lease as lost.
    fn lose(&mut self) {
        self.fence.close();
        self.holds = false;
        self.fitness.holds(false);
        self.tell.send_modify(|changes| *changes += 1);
    }

    /// Releases the Lease, if this replica holds it.
    async fn release(&mut self) {
        if !self.holds {
            return;
        }
        self.lose();
        let Some(seen) = &self.seen else { return };
        let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": {"holderIdentity": null}});
        if let Err(error) = self.patch(&patch).await {
            tracing::warn!(%error, "releasing the Lease failed; it will expire");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, revision: u64, renewed: &str) -> Lease {
        serde_saphyr::from_str(&format!(
            "metadata: {{resourceVersion: \"{revision}\"}}\n\
             spec: {{holderIdentity: {holder:?}, leaseDurationSeconds: 15, renewTime: \"{renewed}\"}}"
        ))
        .unwrap()
    }

    const RENEWED: &str = "2026-01-01T00:00:00.000000Z";

    fn seen(lease: &Lease, before: Option<&Seen>, now: Instant, clock: &str) -> Seen {
        Seen::now(lease, before, now, clock.parse().unwrap())
    }

    #[test]
    fn a_lease_may_be_taken_when_it_has_not_changed_for_as_long_as_it_lasts_whatever_the_clocks_say() {
        let (now, lasts) = (Instant::now(), Duration::from_secs(15));
        let first = seen(&lease("one", 7, RENEWED), None, now, "2026-01-01T00:00:20Z");
        assert_eq!(first.expires, now + lasts, "the other clock may be behind");
        let later = now + Duration::from_secs(5);
        // A write of something else does not make it last longer, a renewal does.
        let same = seen(&lease("one", 8, RENEWED), Some(&first), later, "2027-01-01T00:00:00Z");
        assert_eq!((same.expires, same.revision), (now + lasts, 8));
        let renewed = seen(&lease("one", 9, "2020-01-01T00:00:00.000000Z"), Some(&same), later, "2026-01-01T00:00:20Z");
        assert_eq!(renewed.expires, later + lasts);
    }

    #[test]
    fn one_that_nobody_holds_or_was_given_up_long_ago_may_be_taken_at_once() {
        let now = Instant::now();
        assert_eq!(seen(&lease("", 7, RENEWED), None, now, "2026-01-01T00:00:01Z").expires, now);
        assert_eq!(seen(&lease("one", 7, RENEWED), None, now, "2026-01-01T00:00:31Z").expires, now);
        assert_eq!(seen(&Lease::default(), None, now, "2026-01-01T00:00:31Z").expires, now);
    }
}
