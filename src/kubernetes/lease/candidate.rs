//! A candidate for the Lease: watches it, takes it, renews it, lets it go.

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
use crate::engine::ports::Clock;
use crate::kubernetes::names::FIELD_MANAGER;
use crate::kubernetes::revisions::revision;

/// How long after a failure the Lease is asked for again.
const RETRY: Duration = Duration::from_millis(500);
/// How long after the cluster was restored watches are not believed: an API server may still tell of what is no more.
const UNBELIEVED: Duration = Duration::from_mins(10);

/// How long after a failure the Lease is watched again.
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

/// The Lease as it was seen last.
#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    /// As the API server writes it: what a write is conditional on.
    version: String,
    revision: u64,
    /// When it may be taken, unless it changes before.
    expires: Instant,
}

impl Seen {
    /// What is seen of a Lease at this moment, after what was seen before.
    fn now(lease: &Lease, before: Option<&Self>, now: Instant, clock: jiff::Timestamp) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let lasts = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
        let expires = match before {
            _ if holder(&spec).is_none() => now,
            Some(before) if before.spec == spec => before.expires,
            Some(_) => now + lasts,
            // One that was given up long ago need not be waited for. Clocks may differ by as long as it lasts.
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

/// Who campaigns.
pub(super) struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    fence: Fence,
    tell: watch::Sender<u64>,
    fitness: Arc<dyn Fitness>,
    seen: Option<Seen>,
    /// The newest revision that was ever seen.
    newest: u64,
    holds: bool,
    /// When something is to be done.
    due: Instant,
    /// What was seen may be wrong.
    must_read: bool,
    /// From when on the watch is believed.
    hears_from: Instant,
    /// That it fails was said already.
    has_complained: bool,
}

impl Candidate {
    /// Has seen nothing yet.
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
                    // What was seen last counts until it has run out.
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

    /// Takes in what the watch says.
    fn hear(&mut self, lease: &Lease) {
        let now = Instant::now();
        let seen = Seen::now(lease, self.seen.as_ref(), now, self.clock.now());
        if now < self.hears_from || self.seen.as_ref().is_some_and(|before| before.revision == seen.revision) {
            return;
        }
        if seen.revision < self.newest {
            // An old one, or revisions have gone back.
            return self.read_at_once();
        }
        self.take_in(seen);
        self.due = self.next(now);
    }

    /// Takes in how the Lease stands.
    fn take_in(&mut self, seen: Seen) {
        self.newest = seen.revision;
        if self.holds && holder(&seen.spec) != Some(self.settings.identity.as_str()) {
            tracing::warn!(holder = holder(&seen.spec), "the Lease was taken away");
            self.lose();
        }
        self.seen = Some(seen);
    }

    /// When something is to be done, as things stand.
    fn next(&self, now: Instant) -> Instant {
        if self.must_read {
            return now;
        }
        match &self.seen {
            // It was renewed when this long was left.
            _ if self.holds => self.fence.present().until().map_or(now, |until| until - self.settings.duration * 2 / 3),
            Some(seen) if holder(&seen.spec) == Some(self.settings.identity.as_str()) => now,
            Some(seen) if now < self.hears_from => seen.expires.min(now + self.settings.duration / 3),
            Some(seen) => seen.expires,
            None => now,
        }
    }

    /// Renews or takes the Lease, or reads it.
    async fn act(&mut self) {
        if self.holds && !self.fence.present().is_open() {
            tracing::warn!("the Lease has run out before it could be renewed");
            self.lose();
        }
        let now = Instant::now();
        if !self.fitness.is_fit() {
            if self.holds {
                tracing::error!("this process holds the Lease and cannot act: letting go");
                self.release().await;
            }
            // Another replica has its chance first.
            self.due = Instant::now() + self.settings.duration;
            self.must_read = true;
            return;
        }
        let done = if self.must_read || (!self.holds && now < self.hears_from) {
            let read = self.read().await;
            // What is free now is taken now.
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
                    tracing::info!("the Lease can be reached again");
                }
                self.next(now)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.must_read = true;
                now
            }
            Err(error) => {
                // Twice a second for as long as an API server is away would be all that is in the log.
                if !std::mem::replace(&mut self.has_complained, true) {
                    tracing::warn!(%error, "the Lease could not be read, taken or renewed; trying again");
                }
                now + RETRY
            }
        };
    }

    /// Reads the Lease from where it is kept, past every cache; one that is not there is created.
    pub(super) async fn read(&mut self) -> Result<(), kube::Error> {
        let found = self.within(self.api.get_opt(&self.settings.name)).await?;
        let lease = if let Some(lease) = found {
            lease
        } else {
            let metadata = ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: None };
            if self.seen.is_some() {
                tracing::warn!(name = self.settings.name, "the Lease was deleted, and is created again");
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
                 anew. If what is shown of the cluster is out of date, restart every kube-apiserver"
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

    /// Renews the Lease, or takes it, if it is as we have seen it.
    async fn write(&mut self) -> Result<(), kube::Error> {
        let Some(seen) = &self.seen else {
            self.must_read = true;
            return Ok(());
        };
        // The time counts from before anybody can have seen what we write.
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
            // It cannot be: what was written over was newer.
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

    /// Gives up on a request while there is time for another one.
    async fn within<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
        let patience = self.settings.duration / 3;
        tokio::time::timeout(patience, request).await.unwrap_or_else(|_| {
            let why = format!("no answer within {patience:?}");
            Err(kube::Error::Service(why.into()))
        })
    }

    /// We do not hold the Lease any more.
    fn lose(&mut self) {
        self.fence.close();
        self.holds = false;
        self.fitness.holds(false);
        self.tell.send_modify(|changes| *changes += 1);
    }

    /// Gives the Lease back, if we hold it.
    async fn release(&mut self) {
        if !self.holds {
            return;
        }
        self.lose();
        let Some(seen) = &self.seen else { return };
        let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": {"holderIdentity": null}});
        if let Err(error) = self.patch(&patch).await {
            tracing::warn!(%error, "the Lease could not be given back; it runs out by itself");
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
