//! `whetstone crd`.

use super::exit::Exit;
use crate::api::definitions::definitions;

/// Print the CustomResourceDefinitions of AgentOptimization and PromptVersion.
///
/// They are generated from the types that also read the files: `whetstone crd | kubectl apply --server-side -f -`
/// installs them.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}

pub(super) fn crd(_: &Arguments) -> anyhow::Result<Exit> {
    for definition in definitions() {
        super::print(&format!("---\n{}", serde_saphyr::to_string(&definition)?))?;
    }
    Ok(Exit::Success)
}
