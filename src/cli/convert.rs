//! `whetstone convert`.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Exit;
use crate::embed;

/// Turn a pipeline file into an AgentOptimization.
///
/// The result goes to standard output. Paths in it stay relative to the pipeline file, so put it into the same directory.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The pipeline file
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
