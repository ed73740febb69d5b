//! `whetstone schema`.

use clap::ValueEnum;
use schemars::schema_for;

use super::exit::Exit;
use crate::api::AgentOptimizationSpec;
use crate::domain::scenario::Scenario;
use crate::engine::report::Report;
use crate::simulator::world::World;

/// Print a JSON Schema, for editors and for those who read the files with other programs.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// What the schema is of
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// The `spec` of an AgentOptimization
    Optimization,
    /// One scenario of a scenario file
    Scenario,
    /// A world file
    World,
    /// report.json
    Report,
}

pub(super) fn schema(arguments: &Arguments) -> anyhow::Result<Exit> {
    let schema = match arguments.of {
        Of::Optimization => schema_for!(AgentOptimizationSpec).to_value(),
        Of::Scenario => schema_for!(Scenario).to_value(),
        Of::World => World::schema(),
        Of::Report => schema_for!(Report).to_value(),
    };
    super::print(&format!("{}\n", serde_json::to_string_pretty(&schema)?))?;
    Ok(Exit::Success)
}
