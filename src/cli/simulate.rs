//! `whetstone simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use crate::domain::duration::HumanDuration;
use crate::embed;
use crate::simulator::{
    Server,
    world::{Latency, World},
};

/// Serve a simulated world.
///
/// It speaks the OpenAI API (chat completions with tools, structured output and streaming; embeddings) and the Anthropic
/// Messages API. What it answers comes from the world file; docs/world.md describes it. `GET /stats` says how many calls were
/// answered, `GET /metrics` says it to Prometheus. Ctrl-C or SIGTERM ends it.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The world file
    #[arg(long, value_name = "FILE")]
    world: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// How long every answer takes, in place of what the world file says, such as 300ms
    #[arg(long, value_name = "DURATION")]
    latency: Option<HumanDuration>,
    /// Play the agent in production too: serve the prompt in FILE to the customers of the world's `traffic`
    #[arg(long, value_name = "FILE")]
    live_prompt: Option<PathBuf>,
}

pub(super) async fn simulate(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut world =
        World::parse_file(&arguments.world.display().to_string(), &embed::read_text_file(&arguments.world)?)?;
    if let Some(latency) = arguments.latency {
        world.faults.latency = Some(Latency::Fixed(latency));
    }
    anyhow::ensure!(
        arguments.live_prompt.is_none() || world.traffic.is_some(),
        "--live-prompt needs customers, and {} has none; give it a section `traffic`",
        arguments.world.display()
    );
    let server =
        Server::start(world, arguments.listen).with_context(|| format!("listening on {}", arguments.listen))?;
    super::print(&format!("listening on {}\n", server.base_url()))?;
    if let Some(prompt) = &arguments.live_prompt {
        server.go_live(prompt.clone());
    }
    ended().await?;
    server.shutdown();
    Ok(Exit::Success)
}

/// Waits for Ctrl-C, or for the signal by which a container is stopped: to the first process of one it does nothing unless
/// it is waited for.
async fn ended() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
