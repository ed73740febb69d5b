//! `whetstone convert`.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Exit;
use crate::embed;

/// Convert a pipeline template to an AgentOptimization.
///
/// Prints the resource as YAML. Its paths are relative to the template, so save it in the same directory.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone convert -f pipeline.yaml > optimization.yaml")]
pub(super) struct Arguments {
    /// The pipeline template; `-` reads standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn convert(arguments: &Arguments) -> anyhow::Result<Exit> {
    let submission = embed::read_submission(&arguments.file)?;
    for warning in &submission.warnings {
        super::warn(&format!("warning: {warning}"));
    }
    let yaml = serde_saphyr::to_string(&submission.resource).context("writing the resource as YAML")?;
    super::print(&yaml)?;
    Ok(Exit::Success)
}
