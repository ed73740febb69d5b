//! `whetstone run`.

use super::exit::Exit;
use super::{Cycle, Source, wire};
use crate::embed::read_plan;

/// Look for a better prompt.
///
/// Runs one cycle: the champion on the scenarios, its failures in clusters, patches for them, the survivors against the
/// champion on held-out scenarios, and the gate. The champion is the target ConfigMap's prompt where `--manifests` or
/// the file has one, else the base prompt. Every paid call is in the store before its answer is used: the same command
/// started again pays nothing twice, also after Ctrl-C or a crash.
///
/// Exit codes: 0 promoted, 10 kept, 11 kept but below its threshold, 12 inconclusive, 1 error, 2 wrong arguments or
/// files, 130 stopped.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    cycle: Cycle,
    /// Which attempt at the same inputs this is: 0 repeats what is recorded, a higher number tries other patches
    #[arg(long, value_name = "N", default_value_t = 0)]
    attempt: u32,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { source, cycle, attempt } = arguments;
    let plan = read_plan(&source.file, source.manifests.as_deref())?;
    let engine = wire::Engine::start(plan, &cycle).await?;
    let outcome = engine.run(|pipeline| pipeline.attempt(attempt).run()).await?;
    engine.finish(&cycle, &outcome).await
}
