//! `whetstone approve`.

use anyhow::bail;
use kube::ResourceExt as _;

use super::Format;
use super::cluster::ask::{Request, ask, granted_already};
use super::cluster::{Cluster, ClusterArgs, Wait, confirm, say};
use super::exit::Exit;
use crate::api::AgentOptimization;
use crate::api::status::Challenger;
use crate::web::status::proposal;

/// Promote the challenger that waits for approval.
///
/// If `spec.promotion.approval` is Manual, a challenger that has passed the gate waits for approval. This command shows
/// its changes and the reasons, asks for confirmation, and sets the annotation `whetstone.dev/approve`. Without a
/// terminal it requires `--yes`.
///
/// Exit codes: 0 requested (with --wait: promoted), 1 error, nothing to approve, or the operator refused, 2 wrong
/// arguments, 130 stopped by Ctrl-C.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone approve support
  whetstone approve support v3 --yes --wait --timeout 2m")]
pub(super) struct Arguments {
    /// The AgentOptimization: NAME, or NAMESPACE/NAME
    name: String,
    /// The version to promote; defaults to the challenger that waits for approval
    version: Option<String>,
    /// Do not ask for confirmation; required without a terminal
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
    /// The format of standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn approve(arguments: &Arguments) -> anyhow::Result<Exit> {
    let (cluster, name) = Cluster::reach_object(&arguments.cluster, &arguments.name).await?;
    let object = cluster.optimizations.get(&name).await?;
    let challenger = match waiting(&object, arguments.version.as_deref(), &cluster)? {
        Waiting::Serves(version) => {
            return granted_already(&cluster, name, Request::Approve(version), arguments.output);
        }
        Waiting::Challenger(challenger) => challenger,
    };
    let version = challenger.version.as_str();
    if let Some(pin) = &object.spec.pin {
        bail!("{}: spec.pin is {pin}, which overrides an approval; change or remove spec.pin", cluster.object(&name));
    }
    let versions = cluster.optimizations.versions(&name).await?;
    say(proposal::approval(&object, challenger, &versions, &cluster.conversation()).trim_end());
    confirm(&format!("Promote {version}?"), arguments.yes)?;
    say("");
    ask(&cluster, &object, Request::Approve(version), &arguments.wait, arguments.output).await
}

enum Waiting<'a> {
    Challenger(&'a Challenger),
    Serves(&'a str),
}

/// The challenger that waits for approval, or the named version if it serves already.
///
/// # Errors
/// No challenger waits, or another version than the named one.
fn waiting<'a>(
    object: &'a AgentOptimization,
    named: Option<&'a str>,
    cluster: &Cluster,
) -> anyhow::Result<Waiting<'a>> {
    let name = object.name_any();
    let status = object.status.as_ref();
    let of = cluster.object(&name);
    let champion = status.and_then(|status| status.champion.as_ref()).map(|champion| champion.version.as_str());
    if let (Some(named), Some(champion)) = (named, champion)
        && named == champion
    {
        return Ok(Waiting::Serves(champion));
    }
    let challenger = status.and_then(|status| status.challenger.as_ref());
    match (challenger.filter(|challenger| challenger.awaits_approval), named) {
        (Some(waiting), Some(named)) if waiting.version != named => {
            bail!("{of}: {named} is not waiting for approval, but {} is", waiting.version)
        }
        (Some(waiting), _) => Ok(Waiting::Challenger(waiting)),
        (None, _) => {
            let instead = match (challenger, champion) {
                (Some(challenger), _) => format!("{} is still being gated", challenger.version),
                (None, Some(champion)) => format!("{champion} serves, and there is no challenger"),
                (None, None) => "there is no status yet".to_owned(),
            };
            bail!(
                "{of}: no challenger waits for approval: {instead}; see `{}`",
                cluster.view().command(&format!("status {name}"))
            )
        }
    }
}
