//! The identity of a plan: the user's input in a canonical form that is stable across releases.
//!
//! The form is JSON with sorted keys and a version. A field that is added later is omitted at its default, so that plans which
//! do not use it keep their identity; any other change of the form raises [`VERSION`], and the previous form moves to
//! [`legacy`](super::legacy), so that recorded identities are still recognized. A golden test pins the form.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Plan, RuntimePlan, SplitPlan};
use crate::call::{ModelIdentity, Parameters};
use crate::hash::ContentHash;
use crate::ids::{ModelName, RecordedInputs};
use crate::series::Series;
use crate::suite::ScenarioKey;

/// The version of the form.
const VERSION: u32 = 2;

/// The identity of the user's input: of the inputs of a cycle except the champion. While it is the same, another cycle is another
/// attempt. Formatted as `v2:` and the hash; identities of version 1 are the hash alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputsId {
    hash: ContentHash,
    legacy: ContentHash,
}

impl InputsId {
    /// Whether `recorded` is the identity of the same inputs in the form of an earlier release.
    #[must_use]
    pub fn is_legacy(&self, recorded: &str) -> bool {
        recorded == self.legacy.to_string()
    }
}

impl fmt::Display for InputsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{VERSION}:{}", self.hash)
    }
}

impl Plan {
    /// The identity of the cycle that this plan describes: a hash of everything that determines its outcome apart
    /// from the ledger. Limits, time-outs, keys and prices are not part of it.
    #[must_use]
    pub fn identity(&self) -> ContentHash {
        let mut inputs = self.canonical();
        inputs["champion"] = json!(self.champion.hash());
        let Series { number, apart } = self.execution.series;
        if number > 0 {
            inputs["series"] = json!(number);
        }
        if let Some(apart) = apart {
            inputs["apart"] = json!(apart);
        }
        ContentHash::of_json(&inputs)
    }

    /// The same without the champion and the series.
    #[must_use]
    pub fn inputs(&self) -> InputsId {
        InputsId { hash: ContentHash::of_json(&self.canonical()), legacy: ContentHash::of_json(&self.legacy_inputs()) }
    }

    /// The canonical form that is hashed, without the champion and the series.
    #[must_use]
    pub fn canonical(&self) -> Value {
        let mut inputs = self.unversioned();
        inputs["version"] = json!(VERSION);
        for (name, setting) in self.settings() {
            inputs[name] = setting;
        }
        inputs
    }

    /// The parts as positions in the suite, which is how all versions of the form have them.
    fn split_by_position(&self) -> Value {
        let SplitPlan { train, regression, held_out } = &self.split;
        let positions = |part: &[ScenarioKey]| -> Vec<usize> {
            part.iter().filter_map(|scenario| self.scenarios.position(&scenario.id)).collect()
        };
        json!({"train": positions(train), "regression": positions(regression), "held_out": positions(held_out)})
    }

    /// The common part of all versions of the form.
    pub(super) fn unversioned(&self) -> Value {
        let runtime = match &self.runtime {
            RuntimePlan::Model { model, parameters, max_turns } => {
                json!({"model": model, "parameters": parameters, "maxTurns": max_turns})
            }
            RuntimePlan::Endpoint { model, parameters } => json!({"endpoint": model, "parameters": parameters}),
            RuntimePlan::Replay { transcripts } => json!({"replay": ContentHash::of_json(transcripts)}),
        };
        let models: BTreeMap<&ModelName, (&ModelIdentity, bool)> =
            self.models.iter().map(|(name, model)| (name, (&model.identity, model.seed))).collect();
        let mut inputs = json!({
            "object": [self.namespace, self.name],
            "tools": self.tools,
            "runtime": runtime,
            "models": models,
            "scenarios": self.scenarios,
            "split": self.split_by_position(),
            "repeats": self.execution.repeats,
            "user": self.execution.user_model.as_ref().map(|user| &user.model),
            "seed": self.execution.seed,
        });
        let user = self.execution.user_model.as_ref().map(|user| &*user.parameters);
        if let Some(parameters) = user.filter(|parameters| **parameters != Parameters::default()) {
            inputs["userParameters"] = json!(parameters);
        }
        inputs
    }
}

impl From<&InputsId> for RecordedInputs {
    fn from(inputs: &InputsId) -> Self {
        inputs.to_string().into()
    }
}
