//! The cycles of this process: at most one per object, and a limited number in total, in fair turns.
//!
//! A cycle is a task that writes nothing to the API server. It can be stopped at any time: running calls are still recorded
//! in the ledger, so the same cycle continues there when it is started again. A panic in a cycle is a failure of that
//! object only.

mod meter;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub(crate) use self::meter::{Meter, PROGRESS_EVERY};

use super::lock;
use super::turns::{Turn, Turns};
use crate::api::status::Progress as ProgressStatus;
use crate::models::Pauses;
use crate::telemetry::metrics::Metrics;
use whetstone_decide::lifecycle::{CycleFacts, Ended, Failed, RunningCycle};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ObjectKey;

/// How long a stopped cycle may take to react. Then its task is aborted; running calls are recorded anyway.
const PATIENCE: Duration = Duration::from_millis(800);
/// How long all calls of a cycle must have been waiting before it gives up its turn.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// A cycle to run.
pub(crate) struct Order {
    /// What it does.
    pub cycle: RunningCycle,
    /// The hash of the prompt that serves.
    pub champion: ContentHash,
    /// Identifies everything that it depends on.
    pub fingerprint: String,
    /// Identifies its limits, such as the budget. If they change, the cycle is stopped and continues under the new ones.
    pub terms: String,
    /// The cycle itself. It gets a separate thread, because a cycle computes as well as waits, and must not block
    /// reconciles.
    pub run: Box<dyn FnOnce(Supervision) -> LocalBoxFuture<'static, Finish> + Send>,
}

/// The means to supervise a cycle.
pub(crate) struct Supervision {
    /// Requests that it stop.
    pub stop: CancellationToken,
    /// Receives its progress.
    pub meter: Arc<Meter>,
    /// Is notified whether its calls wait.
    pub pauses: Arc<Pauses>,
}

/// The result of a cycle; `None` if it was stopped.
pub(crate) type Finish = Option<Result<CycleFacts, Failed>>;

/// The progress or the result of a cycle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervised {
    /// Its progress, while it runs or waits for its turn.
    pub progress: Option<ProgressStatus>,
    /// Whether it waits for its turn.
    pub is_queued: bool,
    /// Its result, if it has ended.
    pub ended: Option<Ended>,
    /// The fingerprint with which it was started.
    pub fingerprint: Option<String>,
}

/// The cycles of this process.
pub(crate) struct Cycles {
    tasks: Mutex<HashMap<ObjectKey, Task>>,
    turns: Turns,
    trigger: mpsc::UnboundedSender<ObjectKey>,
    metrics: Arc<Metrics>,
}

struct Task {
    cycle: RunningCycle,
    champion: ContentHash,
    fingerprint: String,
    terms: String,
    /// Requests that the cycle stop.
    stop: CancellationToken,
    /// Aborts it at its next await.
    kill: CancellationToken,
    handle: Option<JoinHandle<()>>,
    meter: Arc<Meter>,
    ended: Arc<Mutex<Option<Ended>>>,
    /// Whether its result was processed.
    is_settled: bool,
}

impl Cycles {
    /// No cycles yet; each runs when it is its turn. Optimizations whose cycle has ended are sent to `trigger`.
    #[must_use]
    pub(crate) fn new(turns: Turns, trigger: mpsc::UnboundedSender<ObjectKey>, metrics: Arc<Metrics>) -> Self {
        Self { tasks: Mutex::default(), turns, trigger, metrics }
    }

    /// The state of the cycle of an optimization.
    pub(crate) fn look(&self, owner: &ObjectKey) -> Supervised {
        let tasks = lock(&self.tasks);
        let Some(task) = tasks.get(owner) else { return Supervised::default() };
        let ended = lock(&task.ended).clone().filter(|_| !task.is_settled);
        let is_under_way = ended.is_none() && !task.is_settled;
        Supervised {
            progress: is_under_way.then(|| task.meter.progress()),
            is_queued: is_under_way && task.meter.is_queued(),
            ended,
            fingerprint: Some(task.fingerprint.clone()),
        }
    }

    /// Marks the result of a cycle as processed. Its fingerprint is kept.
    pub(crate) fn settle(&self, owner: &ObjectKey) {
        if let Some(task) = lock(&self.tasks).get_mut(owner) {
            task.is_settled = lock(&task.ended).is_some();
        }
    }

    /// Runs this cycle for an optimization, and stops any other. A cycle that has ended is not started again before its
    /// result was processed.
    pub(crate) fn run(&self, owner: &ObjectKey, order: Order) {
        let mut tasks = lock(&self.tasks);
        let before = match tasks.get_mut(owner) {
            Some(task)
                if !task.is_settled
                    && !task.stop.is_cancelled()
                    && task.cycle.is_same(&order.cycle)
                    && task.champion == order.champion
                    && (task.terms == order.terms || lock(&task.ended).is_some()) =>
            {
                // The first cycle of an object starts before all objects that it refers to are watched.
                if task.fingerprint.is_empty() {
                    task.fingerprint = order.fingerprint;
                }
                return;
            }
            Some(_) => tasks.remove(owner).and_then(end),
            None => None,
        };
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (meter, ended) = (Arc::new(Meter::default()), Arc::new(Mutex::new(None)));
        let handle = {
            let (stop, kill) = (stop.clone(), kill.clone());
            let (meter, ended) = (Arc::clone(&meter), Arc::clone(&ended));
            let (turns, trigger, owner) = (self.turns.clone(), self.trigger.clone(), owner.clone());
            let (cycle, champion, run) = (order.cycle.clone(), order.champion, order.run);
            let metrics = Arc::clone(&self.metrics);
            let span = tracing::info_span!("object", namespace = owner.namespace, name = owner.name);
            let task = async move {
                // Two concurrent cycles of one object would pay for the same calls.
                if let Some(before) = before {
                    let _ = before.await;
                }
                let queued = metrics.queued();
                let turn = tokio::select! {
                    turn = turns.take(&owner.namespace) => turn,
                    () = stop.cancelled() => return,
                };
                drop(queued);
                meter.begins();
                let _ = trigger.send(owner.clone());
                let runtime = tokio::runtime::Handle::current();
                let span = tracing::Span::current();
                // However the cycle has ended, its waiting calls are given up.
                let pauses = Arc::new(Pauses::new(stop.child_token()));
                let supervision = Supervision { stop, meter, pauses: Arc::clone(&pauses) };
                let thread = tokio::task::spawn_blocking(move || {
                    let cycle = async {
                        tokio::select! {
                            result = run(supervision) => result,
                            () = kill.cancelled() => None,
                        }
                    };
                    runtime.block_on(cycle.instrument(span))
                });
                let result = in_turns(thread, turn, &pauses, &metrics).await;
                pauses.close();
                let result = match result.map_err(JoinError::try_into_panic) {
                    Ok(Some(result)) => result,
                    Ok(None) | Err(Err(_)) => return,
                    Err(Ok(panic)) => {
                        let message = format!("the cycle panicked: {}; this is a defect of Whetstone", words(&*panic));
                        Err(Failed::permanent(message))
                    }
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
            terms: order.terms,
            stop,
            kill,
            handle: Some(handle),
            meter,
            ended,
            is_settled: false,
        };
        tasks.insert(owner.clone(), task);
    }

    /// Stops the cycle of an optimization unless it is this one, for a champion with this hash.
    pub(crate) fn stop_unless(&self, owner: &ObjectKey, wanted: Option<(&RunningCycle, ContentHash)>) {
        if let Some(task) = lock(&self.tasks).get(owner)
            && !wanted.is_some_and(|(cycle, champion)| task.cycle.is_same(cycle) && task.champion == champion)
        {
            task.stop.cancel();
        }
    }

    /// The optimizations with a known cycle.
    pub(crate) fn owners(&self) -> Vec<ObjectKey> {
        lock(&self.tasks).keys().cloned().collect()
    }

    /// Stops the cycle of an optimization, and drops its result.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        if let Some(task) = lock(&self.tasks).remove(owner) {
            end(task);
        }
    }

    /// Stops all cycles, and waits until they have stopped. Running calls have `patience` to be answered and recorded.
    pub(crate) async fn stop(&self, patience: Duration) {
        let tasks: Vec<Task> = lock(&self.tasks).drain().map(|(_, task)| task).collect();
        let ending: Vec<JoinHandle<()>> = tasks.into_iter().filter_map(|task| end_within(task, patience)).collect();
        futures::future::join_all(ending).await;
    }
}

/// Waits for the end of a cycle. While all its calls wait, it gives up its turn, and it resumes when it has one again.
async fn in_turns<T>(
    mut cycle: JoinHandle<T>,
    mut turn: Turn,
    pauses: &Pauses,
    metrics: &Metrics,
) -> Result<T, JoinError> {
    loop {
        let running = metrics.running();
        tokio::select! {
            ended = &mut cycle => return ended,
            () = pauses.idle(IDLE_GRACE) => {}
        }
        drop(running);
        let (parked, counted) = (turn.park(), metrics.parked());
        tokio::select! {
            ended = &mut cycle => return ended,
            () = pauses.wanted() => {}
        }
        turn = tokio::select! {
            ended = &mut cycle => return ended,
            turn = parked.take() => turn,
        };
        drop(counted);
        pauses.resume();
    }
}

/// Stops a task. The returned handle completes when it has stopped.
fn end(task: Task) -> Option<JoinHandle<()>> {
    end_within(task, PATIENCE)
}

fn end_within(mut task: Task, patience: Duration) -> Option<JoinHandle<()>> {
    task.stop.cancel();
    let mut handle = task.handle.take()?;
    Some(tokio::spawn(async move {
        if tokio::time::timeout(patience, &mut handle).await.is_err() {
            task.kill.cancel();
            let _ = handle.await;
        }
    }))
}

/// The message of a panic.
pub(super) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
