//! Wiring: a plan, a store, models and a progress display become an engine that runs.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::progress::Meter;
use super::{Cycle, exit::Exit, output};
use crate::embed::{self, SystemClock};
use crate::models;
use crate::simulator::Server;
use crate::store::{ObjectLock, Sqlite};
use whetstone_domain::plan::Plan;
use whetstone_engine::error::CycleError;
use whetstone_engine::{Outcome, Pipeline};

/// A plan with everything needed to run it.
pub(super) struct Engine {
    pub(super) plan: Plan,
    models: Arc<models::Client>,
    store: Arc<Sqlite>,
    progress: Arc<Meter>,
    /// Stops the cycle, and calls that wait for their provider.
    stop: CancellationToken,
    simulated: Option<Server>,
    /// Prevents that two runs of the same resource pay for the same calls.
    _lock: ObjectLock,
}

impl Engine {
    /// Opens the store, starts the simulated world if there is one, and connects the models.
    pub(super) async fn start(mut plan: Plan, cycle: &Cycle) -> anyhow::Result<Self> {
        for warning in &plan.warnings {
            super::warn(&format!("warning: {warning}"));
        }
        if let Some(dir) = &cycle.out {
            output::prepare(dir)?;
        }
        let store = Sqlite::open(&cycle.store).await?;
        let simulated = match &cycle.simulate {
            Some(world) => Some(embed::simulate(&mut plan, world)?),
            None => None,
        };
        let stop = CancellationToken::new();
        let options = models::Options {
            concurrency: plan.execution.concurrency,
            connections: Some(models::Connections::new()?.with_memory(cycle.memory.into())),
            pauses: Arc::new(models::Pauses::new(stop.clone())),
            ..models::Options::default()
        };
        let client = models::Client::new(&plan.models, &models::key_from_environment, options)?;
        let object = format!("{}/{}", plan.namespace, plan.name);
        let waiting = || {
            let _ = writeln!(
                std::io::stderr(),
                "another run of {object} uses this store; waiting for it, so that no call is paid for twice"
            );
        };
        let lock = store.lock_object(&object, waiting).await?;
        let progress = Arc::new(Meter::new(&plan.currency, cycle.quiet));
        Ok(Self { plan, models: Arc::new(client), store: Arc::new(store), progress, stop, simulated, _lock: lock })
    }

    /// Runs a cycle to its end, or until Ctrl-C. The first Ctrl-C waits for running calls, so that every paid answer is
    /// recorded; the second one exits at once.
    pub(super) async fn run<F>(&self, cycle: impl FnOnce(Pipeline) -> F) -> anyhow::Result<Outcome>
    where
        F: Future<Output = Result<Outcome, CycleError>>,
    {
        let watch = tokio::spawn(stop_on_signal(self.stop.clone()));
        let pipeline = Pipeline::new(
            self.plan.clone(),
            Arc::clone(&self.models) as _,
            Arc::clone(&self.store),
            Arc::new(SystemClock),
        );
        let outcome = cycle(pipeline.progress(Arc::clone(&self.progress) as _).stop(self.stop.clone())).await;
        watch.abort();
        self.progress.finish();
        Ok(outcome?)
    }

    /// Writes the output of the cycle, closes the store and stops the simulated world.
    pub(super) async fn finish(self, cycle: &Cycle, outcome: &Outcome) -> anyhow::Result<Exit> {
        let written = cycle.out.as_ref().map_or(Ok(Vec::new()), |dir| output::write(dir, &self.plan, outcome));
        // The verdict is printed even if its files could not be written.
        let (written, failed) = match written {
            Ok(written) => (written, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let Outcome { report, .. } = outcome;
        let is_simulated = self.simulated.is_some();
        output::print(cycle.output, report, &self.plan.warnings, is_simulated, cycle.out.as_deref(), &written)?;
        if let Some(server) = self.simulated {
            server.shutdown();
        }
        self.store.close().await.context("closing the store")?;
        match failed {
            Some(error) => Err(error),
            None => Ok(report.verdict.into()),
        }
    }
}

async fn stop_on_signal(stop: CancellationToken) {
    if interrupted().await.is_err() {
        return;
    }
    let _ = writeln!(
        std::io::stderr(),
        "stopping after the running calls are answered and recorded; press Ctrl-C again to stop at once"
    );
    stop.cancel();
    if interrupted().await.is_ok() {
        std::process::exit(i32::from(Exit::Stopped as u8));
    }
}

/// Waits for Ctrl-C or SIGTERM, which canceled jobs and terminated pods receive.
pub(super) async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
