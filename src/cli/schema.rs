//! `whetstone schema`.

use clap::ValueEnum;
use schemars::schema_for;

use super::exit::Exit;
use crate::api::AgentOptimizationSpec;
use crate::simulator::world::World;
use whetstone_domain::scenario::Scenario;
use whetstone_engine::report::Report;

/// Print a JSON Schema, for validation and completion in editors.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone schema scenario > scenario.schema.json")]
pub(super) struct Arguments {
    /// The type to describe
    #[arg(value_enum, value_name = "TYPE")]
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
    /// A report.json
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
