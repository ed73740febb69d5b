//! `whetstone simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Exit;
use crate::embed;
use crate::simulator::{Server, world::World};

/// Serve a simulated world.
///
/// It speaks the OpenAI API (chat completions with tools, structured output and streaming; embeddings) and the Anthropic
/// Messages API. What it answers comes from the world file; docs/world.md describes it. `GET /stats` says how many calls were
/// answered. Ctrl-C ends it.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The world file
    #[arg(long, value_name = "FILE")]
    world: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

pub(super) async fn simulate(arguments: &Arguments) -> anyhow::Result<Exit> {
    let world = World::parse_file(&arguments.world.display().to_string(), &embed::read_text_file(&arguments.world)?)?;
    let server =
        Server::start(world, arguments.listen).with_context(|| format!("listening on {}", arguments.listen))?;
    super::print(&format!("listening on {}\n", server.base_url()))?;
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    server.shutdown();
    Ok(Exit::Success)
}
