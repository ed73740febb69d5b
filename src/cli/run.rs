//! `whetstone run`: a cycle on this machine, or one by the operator of a cluster.

use std::path::PathBuf;

use super::cluster::{ClusterArgs, Wait};
use super::exit::{Exit, WrongArguments};
use super::{Cycle, request, wire};
use crate::embed::read_plan;

/// The heading of the flags for a cycle on this machine.
const HERE: &str = "With -f, on this machine";

/// Search for a better prompt.
///
/// With -f, on this machine: runs one cycle of the resource in a file. It runs the champion on the scenarios, clusters
/// its failures, patches the prompt for them, compares the surviving candidate with the champion on held-out scenarios,
/// and applies the gate. The champion is the prompt of the target ConfigMap if `--manifests` or the file contains it,
/// else the base prompt. Every paid answer is recorded before it is used, so that running the same command again never
/// pays for a call twice, even after Ctrl-C or a crash.
///
/// With NAME, in a cluster: requests a cycle from the operator, by the annotation `whetstone.dev/run-at`. With --wait
/// it follows the cycle, and the exit code reports its verdict.
///
/// Exit codes: 0 promoted, 10 kept, 11 kept but below its threshold, 12 inconclusive, 1 error, 2 wrong arguments or
/// files, 130 stopped. In a cluster without --wait: 0 requested; with --wait, 0 also if a challenger passed the gate
/// and waits for approval.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone run -f optimization.yaml --out out
  whetstone run support --namespace shop --wait")]
pub(super) struct Arguments {
    /// The AgentOptimization in the cluster: NAME, or NAMESPACE/NAME
    name: Option<String>,
    #[command(flatten, next_help_heading = HERE)]
    source: Source,
    #[command(flatten, next_help_heading = HERE)]
    cycle: Cycle,
    /// The number of the attempt with the same inputs. Repeating a recorded attempt costs nothing; a new number
    /// requests other patches
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = HERE)]
    attempt: u32,
    #[command(flatten, next_help_heading = "With NAME, in a cluster")]
    wait: Wait,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The resource and the manifests of the ConfigMaps that it refers to.
#[derive(clap::Args, Debug)]
struct Source {
    /// A file with an AgentOptimization and, optionally, the ConfigMaps that it refers to; or a pipeline template. `-` reads
    /// standard input, and paths in it are relative to the current directory
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: Option<PathBuf>,
    /// A directory with manifests of the ConfigMaps that the resource refers to
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { name, source, cycle, attempt, wait, cluster } = arguments;
    match (name, source.file) {
        (Some(name), Some(file)) => {
            let message = format!(
                "-f {0} runs a cycle on this machine, and NAME ({name}) requests one in a cluster; give one of them",
                file.display()
            );
            Err(WrongArguments(message).into())
        }
        (Some(name), None) => {
            let local = [
                ("--manifests", source.manifests.is_some()),
                ("--simulate", cycle.simulate.is_some()),
                ("--out", cycle.out.is_some()),
                ("--attempt", attempt != 0),
            ];
            if let Some((flag, _)) = local.into_iter().find(|(_, given)| *given) {
                let message = format!(
                    "{flag} is for a cycle on this machine, and NAME ({name}) requests one in a cluster; give -f FILE instead, or remove {flag}"
                );
                return Err(WrongArguments(message).into());
            }
            request::request(&name, &wait, cycle.output, &cluster).await
        }
        (None, Some(file)) => {
            if let Some(flag) = wait.wait.then_some("--wait").or(cluster.any()) {
                let message = format!(
                    "{flag} is for a cycle in a cluster, and -f runs one on this machine; give the NAME of an AgentOptimization instead, or remove {flag}"
                );
                return Err(WrongArguments(message).into());
            }
            let plan = read_plan(&file, source.manifests.as_deref())?;
            let engine = wire::Engine::start(plan, &cycle).await?;
            let outcome = engine.run(|pipeline| pipeline.attempt(attempt).run()).await?;
            engine.finish(&cycle, &outcome).await
        }
        (None, None) => {
            let message = "no resource; give -f FILE for a cycle on this machine, or the NAME of an AgentOptimization in a cluster";
            Err(WrongArguments(message.to_owned()).into())
        }
    }
}
