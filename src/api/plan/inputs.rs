//! The identity of a plan: the user's input in a canonical form that is stable across releases.
//!
//! The form is JSON with sorted keys and a version. A field that is added later is omitted at its default, so that plans which
//! do not use it keep their identity; any other change of the form raises [`VERSION`], and the previous form moves to
//! [`legacy`](super::legacy), so that recorded identities are still recognized. A golden test pins the form.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Plan, RuntimePlan, SplitPlan};
use crate::domain::call::{ModelIdentity, Parameters};
use crate::domain::hash::ContentHash;
use crate::domain::ids::ModelName;
use crate::domain::series::Series;
use crate::domain::suite::ScenarioKey;

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

    fn canonical(&self) -> Value {
        let mut inputs = self.unversioned();
        inputs["version"] = json!(VERSION);
        inputs["dimensions"] = json!(self.dimensions);
        inputs["clustering"] = json!(self.clustering);
        inputs["patching"] = json!(self.patching);
        inputs["validation"] = json!(self.validation);
        inputs["gate"] = json!(self.gate);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Submission;
    use crate::api::resolve::{References, resolve};

    const PLAIN: &str = include_str!("fixtures/plain.yaml");
    const FULL: &str = include_str!("fixtures/full.yaml");

    fn plan(text: &str) -> Plan {
        let submission = Submission::read("agent.yaml", text, None).unwrap_or_else(|problems| panic!("{problems}"));
        let references = References::gather(&submission, &[], |_| Ok(None));
        resolve(&submission, &references).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// A change of these makes every optimization of every user run, and pay, another cycle on the day of the upgrade.
    #[test]
    fn the_identity_of_inputs_is_pinned() {
        insta::assert_json_snapshot!("canonical form", plan(FULL).canonical());
        assert_eq!(
            [PLAIN, FULL].map(|text| plan(text).inputs().to_string()),
            [
                "v2:76893e9687e71cb065fa91e78a32c20f5d82dd770534f34f1440265c98da4984",
                "v2:220547e3ad4941b3380fc023c7e76cfafe0600faf93ab55526b021886df8da7d",
            ]
        );
        // Of cycles: one that is interrupted by an upgrade goes on.
        assert_eq!([PLAIN, FULL].map(|text| plan(text).identity().short()), ["d9cece349073", "855cc80b5123"]);
    }

    /// The literals were recorded by the program of 2026-11-27, which knew no versions.
    #[test]
    fn what_the_first_release_recorded_is_recognised_and_written_anew() {
        let recorded = [
            (PLAIN, "59f0957c300f7e706656112d3439997e1b42bb76b9dd8e81678d41e4aafe8beb"),
            (FULL, "c641ab4f8b2a8c5f20665d4156e1c9a770ebe405d32a94ad9ffebc7d4c719f31"),
        ];
        for (text, recorded) in recorded {
            let inputs = plan(text).inputs();
            assert!(inputs.is_legacy(recorded), "{}", inputs.legacy);
            assert!(!inputs.is_legacy("of something else"));
        }
    }
}
