//! Wiring: a plan, a store, models and a progress display become an engine that runs.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::progress::Meter;
use super::simulate::parse_world;
use super::{Cycle, exit::Exit};
use crate::api::Plan;
use crate::api::plan::Provider;
use crate::domain::hash::ContentHash;
use crate::engine::error::CycleError;
use crate::engine::ports::Clock;
use crate::engine::{Outcome, Pipeline};
use crate::models;
use crate::simulator::Server;
use crate::store::{ObjectLock, Sqlite};

/// The clock of this machine.
struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where the clock comes from")]
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// Everything that a cycle runs on.
pub(super) struct Engine {
    pub(super) plan: Plan,
    models: Arc<models::Client>,
    store: Arc<Sqlite>,
    progress: Arc<Meter>,
    simulated: Option<Server>,
    /// Two runs of the same resource at once would pay the same calls twice.
    _lock: ObjectLock,
}

impl Engine {
    /// Opens the store, starts the simulated world if there is one, and connects the models.
    pub(super) async fn start(mut plan: Plan, cycle: &Cycle) -> anyhow::Result<Self> {
        for warning in &plan.warnings {
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
        let store = Sqlite::open(&cycle.store).await?;
        let simulated = match &cycle.simulate {
            Some(path) => Some(simulate(&mut plan, path).await?),
            None => None,
        };
        let options = models::Options { concurrency: plan.execution.concurrency, ..models::Options::default() };
        let client = models::Client::new(&plan.models, &models::key_from_environment, options)?;
        let object = format!("{}/{}", plan.namespace, plan.name);
        let waiting = || {
            let why = "waiting until it is done, so that nothing is paid twice";
            let _ = writeln!(std::io::stderr(), "another run of {object} uses this store: {why}");
        };
        let lock = store.lock_object(&object, waiting).await?;
        let progress = Arc::new(Meter::new(&plan.currency, cycle.quiet));
        Ok(Self { plan, models: Arc::new(client), store: Arc::new(store), progress, simulated, _lock: lock })
    }

    /// Runs a cycle to its end, or until Ctrl-C. The first Ctrl-C lets the calls under way finish, so that what is paid is
    /// recorded; the second one ends the process at once.
    pub(super) async fn run<F>(&self, cycle: impl FnOnce(Pipeline) -> F) -> anyhow::Result<Outcome>
    where
        F: Future<Output = Result<Outcome, CycleError>>,
    {
        let stop = CancellationToken::new();
        let watch = tokio::spawn(stop_on_ctrl_c(stop.clone()));
        let pipeline = Pipeline::new(
            self.plan.clone(),
            Arc::clone(&self.models) as _,
            Arc::clone(&self.store) as _,
            Arc::clone(&self.store) as _,
            Arc::new(SystemClock),
        );
        let outcome = cycle(pipeline.progress(Arc::clone(&self.progress) as _).stop(stop)).await;
        watch.abort();
        self.progress.finish();
        Ok(outcome?)
    }

    /// Flushes the store and ends the simulated world.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if let Some(server) = self.simulated {
            server.shutdown();
        }
        self.store.close().await.context("closing the store")
    }
}

async fn stop_on_ctrl_c(stop: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    let _ = writeln!(
        std::io::stderr(),
        "stopping once the calls under way are answered and recorded; Ctrl-C again stops at once"
    );
    stop.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(i32::from(Exit::Stopped as u8));
    }
}

/// Starts a simulated world and sends every model of the plan there, each over its own protocol. What identifies a call
/// in the ledger becomes the world, not the port that it happens to listen on.
async fn simulate(plan: &mut Plan, path: &std::path::Path) -> anyhow::Result<Server> {
    let text = super::load::read(path)?;
    let identity = format!("simulated:{}", ContentHash::of_bytes(text.as_bytes()).short());
    let world = parse_world(path, &text)?;
    let server = Server::start(world, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .context("starting the simulated world on a loopback port")?;
    let with_version = server.base_url();
    let without_version = with_version.trim_end_matches("/v1").to_owned();
    for model in plan.models.values_mut() {
        let url = match model.provider {
            Provider::OpenAi => with_version.clone(),
            Provider::Anthropic => without_version.clone(),
        };
        model.identity.endpoint.clone_from(&identity);
        model.redirect = Some(url);
        model.key = None;
    }
    Ok(server)
}
