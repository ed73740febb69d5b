//! `whetstone suspend` and `whetstone resume`.

use super::Format;
use super::cluster::{Answer, Cluster, ClusterArgs, say};
use super::exit::Exit;
use crate::kubernetes::ownership::gitops;

/// Stop the running cycle, and start no new ones.
///
/// Sets `spec.suspend`. The paid calls of a stopped cycle stay in the ledger. The champion keeps serving, and a promoted
/// prompt is still watched and rolled back if necessary. Repeating the command has no effect.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone suspend support
  whetstone suspend support --namespace shop")]
pub(super) struct Suspend {
    #[command(flatten)]
    target: Target,
}

/// Allow cycles to start again.
///
/// Clears `spec.suspend`. A cycle that was stopped continues where it stopped. Repeating the command has no effect.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone resume support")]
pub(super) struct Resume {
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
struct Target {
    /// The AgentOptimization: NAME, or NAMESPACE/NAME
    name: String,
    /// The format of standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn suspend(arguments: &Suspend) -> anyhow::Result<Exit> {
    set(&arguments.target, true).await
}

pub(super) async fn resume(arguments: &Resume) -> anyhow::Result<Exit> {
    set(&arguments.target, false).await
}

async fn set(target: &Target, suspended: bool) -> anyhow::Result<Exit> {
    let (cluster, name) = Cluster::reach_object(&target.cluster, &target.name).await?;
    let before = cluster.optimizations.get(&name).await?;
    let message = if before.spec.suspend == suspended {
        if suspended { "already suspended".to_owned() } else { "not suspended".to_owned() }
    } else {
        cluster.optimizations.suspend(&name, suspended).await?;
        // Uses the owner of the field before the change, which made it ours.
        if let Some(keeper) = gitops(&before.metadata, "suspend") {
            let keeper_name = keeper.name;
            say(&if keeper.owns_field {
                format!("note: {keeper_name} manages spec.suspend and will revert it; change it in Git as well")
            } else {
                format!(
                    "note: {keeper_name} applies this object from Git and will revert spec.suspend if Git contains it; change it in Git as well"
                )
            });
        }
        if suspended {
            let resume = cluster.view().command(&format!("resume {name}"));
            format!("suspended; start cycles again with `{resume}`")
        } else {
            "resumed; cycles can start again".to_owned()
        }
    };
    let asked = if suspended { "suspend" } else { "resume" };
    let namespace = cluster.optimizations.namespace().to_owned();
    Answer { namespace, name, asked, message, ..Answer::default() }.print(target.output)?;
    Ok(Exit::Success)
}
