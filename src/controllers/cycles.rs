//! The cycles of this process: one for an object, bounded over all, first come first served.
//!
//! A cycle is a task that writes nothing to the API server. It can be stopped at any moment: calls under way still reach the
//! ledger, so the same cycle started again goes on where it was. A panic in one is that object's failure.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Owner;
use super::context::lock;
use crate::api::status::{Progress as ProgressStatus, RunningCycle};
use crate::decide::lifecycle::{CycleFacts, Ended, Failed};
use crate::domain::call::Phase;
use crate::domain::money::Money;
use crate::engine::ports::Progress;
use crate::telemetry::metrics::Metrics;

/// How long a cycle that is stopped may take to notice. Then its task is ended; calls under way are recorded all the same.
const PATIENCE: Duration = Duration::from_millis(800);

/// A cycle to run.
pub struct Order {
    /// What it is about.
    pub cycle: RunningCycle,
    /// The hash of the prompt that serves.
    pub champion: String,
    /// Tells whether anything that it depends on has changed.
    pub fingerprint: String,
    /// The cycle itself.
    pub run: Box<dyn FnOnce(CancellationToken, Arc<Meter>) -> BoxFuture<'static, Option<Result<CycleFacts, Failed>>> + Send>,
}

/// What a cycle does, or has come to.
#[derive(Clone, Debug, Default)]
pub struct Supervised {
    /// How far it is, while it runs or waits for its turn.
    pub progress: Option<ProgressStatus>,
    /// It waits for its turn.
    pub is_queued: bool,
    /// What it has come to.
    pub ended: Option<Ended>,
    /// What it was started on.
    pub fingerprint: Option<String>,
}

/// The cycles of this process.
pub struct Cycles {
    tasks: Mutex<HashMap<Owner, Task>>,
    slots: Arc<Semaphore>,
    trigger: mpsc::UnboundedSender<Owner>,
    metrics: Arc<Metrics>,
}

struct Task {
    cycle: RunningCycle,
    champion: String,
    fingerprint: String,
    stop: CancellationToken,
    handle: Option<JoinHandle<()>>,
    meter: Arc<Meter>,
    ended: Arc<Mutex<Option<Ended>>>,
    /// What it has come to has been taken in.
    is_settled: bool,
}

impl Cycles {
    /// None yet; at most `limit` run at once. Optimizations whose cycle has ended go to `trigger`.
    #[must_use]
    pub fn new(limit: usize, trigger: mpsc::UnboundedSender<Owner>, metrics: Arc<Metrics>) -> Self {
        Self { tasks: Mutex::default(), slots: Arc::new(Semaphore::new(limit)), trigger, metrics }
    }

    /// What the cycle of an optimization does.
    pub fn look(&self, owner: &Owner) -> Supervised {
        let tasks = lock(&self.tasks);
        let Some(task) = tasks.get(owner) else { return Supervised::default() };
        let ended = lock(&task.ended).clone().filter(|_| !task.is_settled);
        let is_under_way = ended.is_none() && !task.is_settled;
        Supervised {
            progress: is_under_way.then(|| task.meter.read()),
            is_queued: is_under_way && task.meter.is_queued(),
            ended,
            fingerprint: Some(task.fingerprint.clone()),
        }
    }

    /// What the cycle of an optimization has come to has been taken in. What it was started on is remembered.
    pub fn settle(&self, owner: &Owner) {
        if let Some(task) = lock(&self.tasks).get_mut(owner) {
            task.is_settled = lock(&task.ended).is_some();
        }
    }

    /// Makes the cycle of an optimization be this one: whatever else runs is stopped. One that has ended is not started again
    /// before that was taken in.
    pub fn run(&self, owner: &Owner, order: Order) {
        let mut tasks = lock(&self.tasks);
        let before = match tasks.get(owner) {
            Some(task) if !task.is_settled && is_same(&task.cycle, &order.cycle) && task.champion == order.champion => return,
            Some(_) => tasks.remove(owner).and_then(end),
            None => None,
        };
        let (stop, meter, ended) = (CancellationToken::new(), Arc::new(Meter::default()), Arc::new(Mutex::new(None)));
        let handle = {
            let (stop, meter, ended) = (stop.clone(), Arc::clone(&meter), Arc::clone(&ended));
            let (slots, trigger, owner) = (Arc::clone(&self.slots), self.trigger.clone(), owner.clone());
            let (cycle, champion, run) = (order.cycle.clone(), order.champion.clone(), order.run);
            let metrics = Arc::clone(&self.metrics);
            let span = tracing::info_span!("object", namespace = owner.0, name = owner.1);
            let task = async move {
                // Two cycles of one object would pay for the same calls.
                if let Some(before) = before {
                    let _ = before.await;
                }
                let queued = metrics.queued();
                let slot = tokio::select! {
                    slot = slots.acquire_owned() => slot,
                    () = stop.cancelled() => return,
                };
                drop(queued);
                let _running = metrics.running();
                meter.begins();
                let result = AssertUnwindSafe(run(stop, meter)).catch_unwind().await;
                drop(slot);
                let result = match result {
                    Ok(Some(result)) => result,
                    Ok(None) => return,
                    Err(panic) => Err(Failed {
                        message: format!("the cycle panicked: {}; this is a defect of Whetstone", words(&*panic)),
                        needs_a_person: true,
                    }),
                };
                *lock(&ended) = Some(Ended { cycle, champion, result });
                let _ = trigger.send(owner);
            };
            tokio::spawn(task.instrument(span))
        };
        let task = Task {
            cycle: order.cycle,
            champion: order.champion,
            fingerprint: order.fingerprint,
            stop,
            handle: Some(handle),
            meter,
            ended,
            is_settled: false,
        };
        tasks.insert(owner.clone(), task);
    }

    /// Stops the cycle of an optimization, and forgets what it has come to.
    pub fn forget(&self, owner: &Owner) {
        if let Some(task) = lock(&self.tasks).remove(owner) {
            end(task);
        }
    }

    /// Stops all, and waits until they have stopped.
    pub async fn stop(&self) {
        let tasks: Vec<Task> = lock(&self.tasks).drain().map(|(_, task)| task).collect();
        let ending: Vec<JoinHandle<()>> = tasks.into_iter().filter_map(end).collect();
        futures::future::join_all(ending).await;
    }
}

/// Whether two are the same cycle, however far it is.
fn is_same(one: &RunningCycle, other: &RunningCycle) -> bool {
    let key = |cycle: &RunningCycle| {
        (cycle.kind, cycle.inputs.clone(), cycle.attempt, cycle.series, cycle.challenger.clone())
    };
    key(one) == key(other)
}

/// Stops a task. The handle ends when it has.
fn end(mut task: Task) -> Option<JoinHandle<()>> {
    task.stop.cancel();
    let mut handle = task.handle.take()?;
    Some(tokio::spawn(async move {
        if tokio::time::timeout(PATIENCE, &mut handle).await.is_err() {
            handle.abort();
            let _ = handle.await;
        }
    }))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// How far a cycle is.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Reading>);

#[derive(Clone, Debug, Default)]
struct Reading {
    has_begun: bool,
    phase: Option<Phase>,
    done: u64,
    total: Option<u64>,
    cost: Money,
}

impl Meter {
    fn begins(&self) {
        lock(&self.0).has_begun = true;
    }

    fn is_queued(&self) -> bool {
        !lock(&self.0).has_begun
    }

    fn read(&self) -> ProgressStatus {
        let reading = lock(&self.0).clone();
        let phase = reading.phase.map_or("starting", Phase::as_str);
        ProgressStatus {
            phase: if reading.has_begun { phase } else { "queued" }.to_owned(),
            done: i64::try_from(reading.done).unwrap_or(i64::MAX),
            total: reading.total.map(|total| i64::try_from(total).unwrap_or(i64::MAX)),
            cost: reading.cost.to_string(),
        }
    }
}

impl Progress for Meter {
    fn begin(&self, phase: Phase, _: &str, total: Option<u64>) {
        let mut reading = lock(&self.0);
        (reading.phase, reading.done, reading.total) = (Some(phase), 0, total);
    }

    fn advance(&self, steps: u64) {
        lock(&self.0).done += steps;
    }

    fn call(&self, _: Phase, paid: bool, cost: Option<Money>) {
        if let Some(cost) = cost.filter(|_| paid) {
            lock(&self.0).cost += cost;
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }
}
