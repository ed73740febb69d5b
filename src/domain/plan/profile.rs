//! The name of a set of defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of defaults. A field that is set always takes precedence over the profile.
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

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 5] = [Self::Prototype, Self::Production, Self::MultiAgent, Self::Budget, Self::Compliance];
}
