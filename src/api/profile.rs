//! Profiles: defaults that fit a situation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The situation that sets the defaults. A field that is written always wins over the profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// Targeted patching, few repeats: an early agent, a developer at a laptop.
    Prototype,
    /// The closed loop with the statistical gate: an agent that serves customers.
    #[default]
    Production,
    /// Red team and orchestration scenarios: several agents that work together.
    MultiAgent,
    /// Targeted validation in the order of impact: a team that watches its bill.
    Budget,
    /// All dimensions critical, judge calibration required, manual approval: a regulated business.
    Compliance,
}
