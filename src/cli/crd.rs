//! `whetstone crd`.

use super::exit::Exit;
use crate::api::definitions::definitions;

/// Print the CustomResourceDefinitions of AgentOptimization and PromptVersion.
///
/// Install them before the operator, and again after each upgrade.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone crd | kubectl apply --server-side -f -")]
pub(super) struct Arguments {}

pub(super) fn crd(_: &Arguments) -> anyhow::Result<Exit> {
    for definition in definitions() {
        super::print(&format!("---\n{}", serde_saphyr::to_string(&definition)?))?;
    }
    Ok(Exit::Success)
}
