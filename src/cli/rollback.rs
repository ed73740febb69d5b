//! `whetstone rollback`.

use anyhow::bail;

use super::Format;
use super::cluster::ask::{Request, ask, granted_already};
use super::cluster::{Cluster, ClusterArgs, Wait, confirm, say};
use super::exit::Exit;
use crate::api::{AgentOptimization, PromptVersion};
use crate::web::status::{newest_first, proposal, version_name};

/// Roll back to an earlier version.
///
/// Sets the annotation `whetstone.dev/rollback-to` to the predecessor, or to the version given with --to. The version
/// that serves now is quarantined: its prompt is not promoted again automatically. Asks for confirmation; without a
/// terminal it requires `--yes`.
///
/// Exit codes: 0 requested (with --wait: done), 1 error, no version to roll back to, or the operator refused, 2 wrong
/// arguments, 130 stopped by Ctrl-C.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone rollback support
  whetstone rollback support --to v2 --yes --wait

To reject the challenger that waits for approval, pass the version that serves with --to.")]
pub(super) struct Arguments {
    /// The AgentOptimization: NAME, or NAMESPACE/NAME
    name: String,
    /// The version to roll back to; defaults to the predecessor
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
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

pub(super) async fn rollback(arguments: &Arguments) -> anyhow::Result<Exit> {
    let (cluster, name) = Cluster::reach_object(&arguments.cluster, &arguments.name).await?;
    let object = cluster.optimizations.get(&name).await?;
    let versions = cluster.optimizations.versions(&name).await?;
    let of = cluster.object(&name);
    let to = target(&object, arguments.to.as_deref(), &versions).map_err(|reason| anyhow::anyhow!("{of}: {reason}"))?;
    let champion = object.status.as_ref().and_then(|status| status.champion.as_ref());
    if champion.is_some_and(|champion| champion.version == to) {
        let challenger = object.status.as_ref().and_then(|status| status.challenger.as_ref());
        let Some(waiting) = challenger.filter(|challenger| challenger.awaits_approval) else {
            return granted_already(&cluster, name, Request::RollBack(&to), arguments.output);
        };
        // Rolling back to the serving version rejects the challenger that waits for approval.
        confirm(&format!("Keep {to}, and reject {}?", waiting.version), arguments.yes)?;
        return ask(&cluster, &object, Request::RollBack(&to), &arguments.wait, arguments.output).await;
    }
    if let Some(pin) = &object.spec.pin {
        bail!("{of}: spec.pin is {pin}, which overrides a rollback; change or remove spec.pin");
    }
    say(proposal::rollback(&object, &to, &versions, &cluster.conversation()).trim_end());
    confirm(&format!("Roll back to {to}?"), arguments.yes)?;
    say("");
    ask(&cluster, &object, Request::RollBack(&to), &arguments.wait, arguments.output).await
}

/// The version to roll back to.
///
/// # Errors
/// There is no predecessor, or no version of that name; the message lists the known ones.
fn target(object: &AgentOptimization, named: Option<&str>, versions: &[PromptVersion]) -> Result<String, String> {
    let Some(named) = named else {
        let before = object.status.as_ref().and_then(|status| status.predecessor.as_ref());
        return before
            .map(|before| before.version.clone())
            .ok_or_else(|| "there is no predecessor to roll back to; name another version with --to".to_owned());
    };
    let names: Vec<String> = newest_first(versions).into_iter().map(version_name).collect();
    if names.iter().any(|name| name == named) {
        return Ok(named.to_owned());
    }
    if names.is_empty() {
        return Err(format!("there is no version {named:?}, because the AgentOptimization has no versions yet"));
    }
    Err(format!("there is no version {named:?}; known: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_version_is_reported_with_the_known_ones() {
        let object: AgentOptimization = serde_saphyr::from_str("apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {name: support}\nspec: {agent: {prompt: {text: x}, runtime: {model: {ref: worker}}}, scenarios: [{configMapRef: {name: s}}]}\n").unwrap();
        let version: PromptVersion = serde_saphyr::from_str("apiVersion: whetstone.dev/v1alpha1\nkind: PromptVersion\nmetadata: {name: support-v12}\nspec: {optimizationRef: {name: support}, prompt: x, version: v12}\n").unwrap();
        assert_eq!(target(&object, Some("v12"), std::slice::from_ref(&version)), Ok("v12".to_owned()));
        let other = target(&object, Some("nightly"), &[version]);
        assert_eq!(other, Err("there is no version \"nightly\"; known: v12".to_owned()));
        assert_eq!(
            target(&object, Some("v1"), &[]),
            Err("there is no version \"v1\", because the AgentOptimization has no versions yet".to_owned())
        );
        assert!(target(&object, None, &[]).unwrap_err().contains("--to"));
    }
}
