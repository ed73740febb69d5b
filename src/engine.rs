//! The loop: one cycle from a champion to a verdict.
//!
//! [`Pipeline`] composes it and runs it; each phase is a file of its own, in the order of the loop. The engine makes
//! evidence, [`decide`](crate::decide) judges it, and whoever runs the cycle acts on what it returns. It knows the outside
//! only through its [`ports`].
//!
//! A cycle is a deterministic function of its plan and of the ledger: killed and started again, it pays nothing twice and
//! comes to the same verdict.

pub mod apply;
pub(crate) mod calls;
pub mod cluster;
mod cycle;
pub mod error;
pub(crate) mod evaluate;
pub(crate) mod gate;
pub(crate) mod held;
pub(crate) mod patch;
pub mod ports;
pub(crate) mod remeasure;
pub mod report;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod shadow;
pub(crate) mod stopwatch;
pub(crate) mod subject;
pub(crate) mod texts;
pub(crate) mod validate;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::cycle::Cycle;
use self::error::CycleError;
use self::ports::{Clock, History, Ledger, Models, Progress, Silent};
use self::report::Report;
use self::subject::Subject;
use crate::api::Plan;
use crate::domain::money::Money;
use crate::domain::version::Version;

/// What a cycle returns: what there is to read, and what there is to act on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// Champion and challenger. The one in phase `Champion` is to be served.
    pub versions: Vec<Version>,
    /// What the cycle has paid in all, runs that were interrupted included.
    pub spent: Money,
    /// The budget, if it ended the cycle.
    pub exhausted: Option<Money>,
}

/// A cycle, composed from a plan and the ports that it runs on.
/// The front page of the crate shows one at work.
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

    /// Where progress goes. Nowhere unless given.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Cancelling this token stops the cycle: no further call is begun, and those under way are waited for and recorded.
    /// To stop at once, drop the future of [`run`](Self::run).
    #[must_use]
    pub fn stop(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Which attempt at the same inputs this is. Attempt 0 repeats what is recorded; a higher one asks for other patches, with
    /// the memory of those that were rejected before.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Runs a cycle: looks for a better prompt, and gates it.
    ///
    /// # Errors
    /// [`CycleError`] when there is no verdict. Nothing that was paid for is lost.
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

    /// Gates a given challenger against the champion, on all scenarios: nobody has optimised for any of them here.
    ///
    /// # Errors
    /// [`CycleError`] when there is no verdict. Nothing that was paid for is lost.
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
