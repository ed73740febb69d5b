//! What a re-evaluation changes.

use super::Step;
use super::champion::Breached;
use super::outcome::{Remeasured, score_text};
use crate::api::status::{CycleVerdict, RunningCycle, Serving};
use crate::decide::watch::{Predecessor, Reevaluated, Reference, Remeasurement, judge_reevaluation};

impl Step<'_> {
    /// The champion was measured again: has it dropped, and is its prompt to blame?
    pub(super) fn judge_remeasured(&mut self, running: &RunningCycle, measured: &Remeasured) {
        self.record.reevaluated_at = Some(self.situation.now);
        self.record.reevaluations = self.record.reevaluations.max(running.series);
        let Some(before) = self.record.champion.clone() else { return };
        let score = measured.now.is_finite().then(|| score_text(measured.now));
        if let (Some(serving), Some(score)) = (self.record.champion.as_mut(), &score) {
            serving.score = Some(score.clone());
        }
        let plan = self.situation.wants.watch.as_ref().and_then(|watch| watch.reevaluation);
        let judged = plan.map(|plan| judge_reevaluation(&plan, &self.remeasurement(&before, measured)));
        let (verdict, message) = match judged {
            None => {
                (CycleVerdict::Measured, "nobody wants to know any more: spec.watch.reevaluation is gone".to_owned())
            }
            Some(judged) => (self.act_on(&judged, running, measured, score.as_ref()), judged.message().to_owned()),
        };
        self.remember(running, &measured.id, verdict, message, before.version, None, score, &measured.cost);
    }

    /// What was measured, beside what it is compared with.
    fn remeasurement(&self, champion: &Serving, measured: &Remeasured) -> Remeasurement {
        Remeasurement {
            scenarios: measured.scenarios,
            before: measured.then,
            reference: match &champion.promoted_with {
                Some(score) if *score == score_text(measured.then) => Reference::Promotion,
                Some(score) => score.parse().map_or(Reference::Earlier, Reference::PromotedWith),
                None if champion.score.is_some() => Reference::Earlier,
                None => Reference::First,
            },
            drifted_to: champion.drifted_to.as_ref().and_then(|score| score.parse().ok()),
            measured: measured.now,
            p_value: Some(measured.p_value),
            predecessor: match (&self.record.predecessor, measured.predecessor) {
                (_, Some(score)) => Predecessor::Measured { score, p_value: measured.predecessor_p_value },
                (None, None) => Predecessor::Absent,
                (Some(_), None) => Predecessor::Unmeasured,
            },
        }
    }

    /// What a re-evaluation leads to.
    fn act_on(
        &mut self,
        judged: &Reevaluated,
        running: &RunningCycle,
        measured: &Remeasured,
        score: Option<&String>,
    ) -> CycleVerdict {
        match judged {
            Reevaluated::Steady(_) => {
                let serving = self.record.champion.as_mut();
                if serving.and_then(|serving| serving.drifted_to.take()).is_some() {
                    // It is as good as it was. What was answered in between is no evidence any more.
                    self.rest_on(running);
                }
                CycleVerdict::Measured
            }
            Reevaluated::StillDrifted(_) => CycleVerdict::Measured,
            Reevaluated::NoEvidence(_) => CycleVerdict::Inconclusive,
            // The predecessor cannot be measured any more: then nothing says that it would do better.
            Reevaluated::MeasurePredecessor(message) | Reevaluated::Drift(message) => {
                self.warn("Drifted", message.clone());
                self.rest_on(running);
                self.record.drifted = true;
                if let Some(serving) = self.record.champion.as_mut() {
                    serving.drifted_to = score.cloned();
                }
                CycleVerdict::Drifted
            }
            Reevaluated::Breach(message) => {
                match self.breach("PinnedVersionWorse", measured.predecessor.map(score_text), message) {
                    Breached::TakenBack => CycleVerdict::RolledBack,
                    Breached::Stays => CycleVerdict::Worse,
                }
            }
        }
    }

    /// From now on cycles rest on the answers of this one.
    fn rest_on(&mut self, running: &RunningCycle) {
        (self.record.evidence, self.record.evidence_since) = (running.series, running.series_since);
    }
}
