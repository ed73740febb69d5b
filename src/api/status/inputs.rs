//! Inputs in the status, in whichever form the release that recorded them used.

use super::AgentOptimizationStatus;
use crate::api::plan::InputsId;

impl AgentOptimizationStatus {
    /// Writes inputs that an earlier release recorded in the present form, where they are these: an upgrade changes no inputs, and
    /// starts no cycle.
    pub fn adopt_inputs(&mut self, inputs: &InputsId) {
        let running = self.cycle.iter_mut().map(|cycle| &mut cycle.inputs);
        for recorded in self.inputs.iter_mut().chain(running) {
            if inputs.is_legacy(recorded) {
                *recorded = inputs.to_string();
            }
        }
    }
}
