//! The watches of promoted prompts: one task per prompt that is being watched and has live signals.
//!
//! A watch reads and judges its signals at every interval. The next reconcile, which it triggers when something has
//! changed, acts on the result. A Prometheus that hangs blocks only the watch that queries it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument as _;

use super::lock;
use super::resolved::Keys;
use crate::models::Connections;
use crate::signals::Prometheus;
use whetstone_decide::lifecycle::{Watch, Watched};
use whetstone_decide::watch::SignalRecord;
use whetstone_decide::watch::{Gap, Reading, RoundOutcome, judge_round, judge_signal, known_baseline};
use whetstone_domain::ids::{ObjectKey, VersionName};
use whetstone_domain::plan::SecretRef;
use whetstone_domain::plan::watch::WatchPlan;
use whetstone_engine::ports::Clock;

/// How often the status shows new values if nothing else has changed.
const REFRESH: Duration = Duration::from_mins(1);

/// A watch to run.
#[derive(Clone)]
pub(crate) struct WatchOrder {
    /// The version, since when it is watched, and earlier readings.
    pub status: Watch,
    /// The settings.
    pub plan: WatchPlan,
    /// The credentials.
    pub keys: Keys,
    /// Identifies everything that it depends on.
    pub fingerprint: String,
}

/// The watches of promoted prompts.
pub(crate) struct Watches {
    tasks: Mutex<HashMap<ObjectKey, Task>>,
    connections: Connections,
    clock: Arc<dyn Clock>,
    trigger: mpsc::UnboundedSender<ObjectKey>,
}

struct Task {
    version: VersionName,
    since: Timestamp,
    fingerprint: String,
    handle: AbortHandle,
    latest: Arc<Mutex<Option<Watched>>>,
}

impl Watches {
    /// No watches yet. Optimizations with news are sent to `trigger`.
    #[must_use]
    pub(crate) fn new(
        connections: Connections,
        clock: Arc<dyn Clock>,
        trigger: mpsc::UnboundedSender<ObjectKey>,
    ) -> Self {
        Self { tasks: Mutex::default(), connections, clock, trigger }
    }

    /// The newest readings of an optimization.
    pub(crate) fn look(&self, owner: &ObjectKey) -> Option<Watched> {
        let tasks = lock(&self.tasks);
        lock(&tasks.get(owner)?.latest).clone()
    }

    /// Whether this watch of an optimization is already running.
    pub(crate) fn has(&self, owner: &ObjectKey, status: &Watch, fingerprint: &str) -> bool {
        lock(&self.tasks).get(owner).is_some_and(|task| {
            let is_same = task.version == status.version && task.since == status.since;
            is_same && task.fingerprint == fingerprint && !task.handle.is_finished()
        })
    }

    /// Runs this watch for an optimization, and stops any other.
    pub(crate) fn watch(&self, owner: &ObjectKey, order: WatchOrder) {
        if self.has(owner, &order.status, &order.fingerprint) {
            return;
        }
        let latest = Arc::new(Mutex::new(None));
        let (version, since) = (order.status.version.clone(), order.status.since);
        let fingerprint = order.fingerprint.clone();
        let span = tracing::info_span!("watch", namespace = owner.namespace, name = owner.name, %version);
        let connections = self.connections.clone();
        let (published, clock) = (Arc::clone(&latest), Arc::clone(&self.clock));
        let (trigger, whose) = (self.trigger.clone(), owner.clone());
        let task = tokio::spawn(
            async move {
                let notify = || trigger.send(whose.clone()).is_ok();
                follow(order, &connections, &*clock, &published, notify).await;
            }
            .instrument(span),
        );
        let task = Task { version, since, fingerprint, handle: task.abort_handle(), latest };
        if let Some(before) = lock(&self.tasks).insert(owner.clone(), task) {
            before.handle.abort();
        }
    }

    /// The optimizations that are watched.
    pub(crate) fn owners(&self) -> Vec<ObjectKey> {
        lock(&self.tasks).keys().cloned().collect()
    }

    /// Stops the watch of an optimization.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        if let Some(task) = lock(&self.tasks).remove(owner) {
            task.handle.abort();
        }
    }

    /// Stops all watches.
    pub(crate) fn stop(&self) {
        for (_, task) in lock(&self.tasks).drain() {
            task.handle.abort();
        }
    }
}

async fn follow(
    order: WatchOrder,
    connections: &Connections,
    clock: &dyn Clock,
    latest: &Mutex<Option<Watched>>,
    notify: impl Fn() -> bool,
) {
    let WatchOrder { status, plan, keys, .. } = order;
    let prometheus = prepare(&plan, &keys, connections);
    // A resumed watch keeps its rhythm, so that the same scrape is not read twice.
    let last = status.signals.iter().map(|signal| signal.at).max();
    let since = last.and_then(|last| Duration::try_from(clock.now().duration_since(last)).ok());
    let wait = since.map_or(Duration::ZERO, |since| plan.interval.saturating_sub(since));
    let mut ticks = tokio::time::interval_at(Instant::now() + wait, plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut signals = status.signals;
    let mut notified: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let readings = match &prometheus {
            Ok(prometheus) => prometheus.read_all(&plan, status.since, |signal| known_baseline(&signals, signal)).await,
            Err(why) => plan.signals.iter().map(|_| outage(why)).collect(),
        };
        let verdicts: Vec<_> =
            plan.signals.iter().zip(&readings).map(|(signal, reading)| judge_signal(signal, reading)).collect();
        let (next, round) = judge_round(&signals, &verdicts, plan.breaches, clock.now());
        let summary = |signals: &[SignalRecord]| {
            signals.iter().map(|signal| (signal.name.clone(), signal.state, signal.breaches)).collect::<Vec<_>>()
        };
        let is_news = summary(&signals) != summary(&next) || matches!(round.outcome, RoundOutcome::Breach { .. });
        signals.clone_from(&next);
        *lock(latest) = Some(Watched { version: status.version.clone(), signals: next, round });
        if is_news || notified.is_none_or(|at| at.elapsed() >= REFRESH) {
            notified = Some(Instant::now());
            if !notify() {
                return;
            }
        }
    }
}

fn prepare(plan: &WatchPlan, keys: &Keys, connections: &Connections) -> Result<Prometheus, String> {
    let planned = plan.prometheus.as_ref().ok_or("there is no Prometheus to ask")?;
    let http = connections.to(&planned.url).map_err(|refusal| refusal.to_string())?;
    let find = |secret: &SecretRef| keys.get(&secret.name, &secret.key);
    Prometheus::new(planned, &find, http.clone()).map_err(|error| error.to_string())
}

fn outage(why: &str) -> Reading {
    Reading { value: Err(Gap::Outage(why.to_owned())), samples: None, baseline: None }
}
