//! `whetstone simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, WrongArguments};
use crate::embed;
use crate::simulator::{
    Server,
    world::{Latency, World},
};
use whetstone_domain::duration::HumanDuration;

/// Serve a simulated OpenAI-compatible and Anthropic API.
///
/// Serves the OpenAI API (chat completions with tools, structured output and streaming; embeddings) and the Anthropic
/// Messages API. The world file determines the answers; docs/world.md describes its format. `GET /stats` returns the
/// number of answered calls, and `GET /metrics` the same for Prometheus. Ctrl-C or SIGTERM stops the server.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone simulate --world examples/quickstart/world.yaml --listen 127.0.0.1:0")]
pub(super) struct Arguments {
    /// The world file
    #[arg(long, value_name = "FILE")]
    world: PathBuf,
    /// The address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The latency of every answer, such as 300ms; defaults to that of the world file
    #[arg(long, value_name = "DURATION")]
    latency: Option<HumanDuration>,
    /// Also simulate production traffic: an agent with the prompt in this file answers the customers that the world file
    /// defines in `traffic`
    #[arg(long, value_name = "FILE")]
    live_prompt: Option<PathBuf>,
}

pub(super) async fn simulate(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut world =
        World::parse_file(&arguments.world.display().to_string(), &embed::read_text_file(&arguments.world)?)?;
    if let Some(latency) = arguments.latency {
        world.faults.latency = Some(Latency::Fixed(latency));
    }
    if arguments.live_prompt.is_some() && world.traffic.is_none() {
        let message = format!("--live-prompt: {} has no section `traffic`; add one", arguments.world.display());
        return Err(WrongArguments(message).into());
    }
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

/// Waits for Ctrl-C or SIGTERM. The first process of a container ignores SIGTERM unless it handles it.
async fn ended() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
