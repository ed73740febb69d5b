//! The loop: one cycle from a champion to a verdict.
//!
//! [`Pipeline`] composes it and runs it; each phase is a file, in the order of the loop. The engine produces evidence,
//! [`whetstone_decide`] judges it, and the caller acts on what is returned. The engine knows the outside only through
//! its [`ports`].
//!
//! A cycle is a deterministic function of its plan and the ledger: if it is killed and restarted, it pays nothing twice and
//! comes to the same verdict.

pub mod apply;
mod calls;
pub mod cluster;
mod cycle;
pub mod error;
mod evaluate;
mod gate;
pub mod held;
mod patch;
pub mod ports;
pub mod remeasure;
pub mod report;
mod run;
mod score;
mod shadow;
pub mod stopwatch;
pub mod subject;
mod texts;
pub mod validate;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::cycle::Cycle;
use self::error::CycleError;
use self::ports::{Clock, History, Ledger, Models, Progress, Silent};
use self::report::Report;
use self::subject::Subject;
use whetstone_domain::money::Money;
use whetstone_domain::plan::Plan;
use whetstone_domain::version::Version;

/// What a cycle returns: the report to read, and the versions to act on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// Champion and challenger. The one in phase `Champion` is the one to serve.
    pub versions: Vec<Version>,
    /// What the cycle has paid in total, including interrupted runs.
    pub spent: Money,
    /// The budget, if the cycle ended because it was exhausted.
    pub exhausted: Option<Money>,
}

/// A cycle, composed of a plan and the ports that it uses. The front page of the crate has an example.
pub struct Pipeline {
    plan: Arc<Plan>,
    models: Arc<dyn Models>,
    ledger: Arc<dyn Ledger>,
    history: Arc<dyn History>,
    clock: Arc<dyn Clock>,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    attempt: u32,
}

impl Pipeline {
    /// A pipeline for a plan, on these models and this store.
    #[must_use]
    pub fn new<S: Ledger + History + 'static>(
        plan: Plan,
        models: Arc<dyn Models>,
        store: Arc<S>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            plan: Arc::new(plan),
            models,
            ledger: Arc::clone(&store) as _,
            history: store,
            clock,
            progress: Arc::new(Silent),
            stop: CancellationToken::new(),
            attempt: 0,
        }
    }

    /// Sets the receiver of progress. By default, progress is ignored.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Sets a token that stops the cycle when it is cancelled: no further call is started, and running ones are awaited and
    /// recorded. To stop immediately, drop the future of [`run`](Self::run).
    #[must_use]
    pub fn stop(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Sets which attempt at the same inputs this is. Attempt 0 repeats what is recorded; a higher one requests other
    /// patches, knowing those that were rejected before.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Runs a cycle: looks for a better prompt, and gates it.
    ///
    /// # Errors
    /// [`CycleError`] if there is no verdict. Nothing that was paid for is lost.
    pub async fn run(self) -> Result<Outcome, CycleError> {
        let span = self.span();
        async {
            let cycle = Cycle::open(self, None).await?;
            let calls = cycle.calls();
            let outcome = cycle.run().await;
            calls.settle().await;
            outcome
        }
        .instrument(span)
        .await
    }

    /// Gates a given challenger against the champion, on all scenarios: the challenger was not optimised on any of them.
    ///
    /// # Errors
    /// [`CycleError`] if there is no verdict. Nothing that was paid for is lost.
    pub async fn compare(self, challenger: Subject) -> Result<Outcome, CycleError> {
        let span = self.span();
        async {
            let cycle = Cycle::open(self, Some(challenger.id)).await?;
            let calls = cycle.calls();
            let outcome = cycle.compare(Arc::new(challenger)).await;
            calls.settle().await;
            outcome
        }
        .instrument(span)
        .await
    }

    fn span(&self) -> tracing::Span {
        tracing::info_span!("cycle", object = %format_args!("{}/{}", self.plan.namespace, self.plan.name))
    }
}
