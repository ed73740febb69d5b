//! What a re-evaluation changes.

use super::champion::Breached;
use super::outcome::{Ending, Remeasured, recorded};
use super::record::{RunningCycle, Serving};
use super::{EventReason, Step};
use crate::watch::{Predecessor, Reevaluated, Reference, Remeasurement, judge_reevaluation};
use whetstone_domain::lifecycle::CycleVerdict;
use whetstone_domain::score::Score;

impl Step<'_> {
    /// The champion was measured again: has it dropped, and is its prompt to blame?
    pub(super) fn judge_remeasured(&mut self, running: &RunningCycle, measured: &Remeasured) {
        self.record.reevaluated_at = Some(self.situation.now);
        self.record.reevaluations = self.record.reevaluations.max(running.series.number);
        let Some(before) = self.record.champion.clone() else { return };
        let score = recorded(measured.now);
        if let (Some(serving), Some(score)) = (self.record.champion.as_mut(), score) {
            serving.score = Some(score);
        }
        let plan = self.situation.wants.watch.as_ref().and_then(|watch| watch.reevaluation);
        let judged = plan.map(|plan| judge_reevaluation(&plan, &self.remeasurement(&before, measured)));
        let (verdict, message) = match judged {
            None => (
                CycleVerdict::Measured,
                "spec.watch.reevaluation was removed meanwhile, so the score was not compared".to_owned(),
            ),
            Some(judged) => (self.act_on(&judged, running, measured, score), judged.message().to_owned()),
        };
        let (id, cost) = (measured.id.clone(), measured.cost);
        self.remember(
            running,
            Ending { id, verdict, message, champion: before.version, challenger: None, score, cost },
        );
    }

    /// What was measured, beside what it is compared with.
    fn remeasurement(&self, champion: &Serving, measured: &Remeasured) -> Remeasurement {
        Remeasurement {
            scenarios: measured.scenarios,
            before: measured.then,
            reference: match champion.promoted_with {
                Some(score) if Some(score) == recorded(measured.then) => Reference::Promotion,
                Some(score) => Reference::PromotedWith(score.value()),
                None if champion.score.is_some() => Reference::Earlier,
                None => Reference::First,
            },
            drifted_to: champion.drifted_to.map(Score::value),
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
        score: Option<Score>,
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
            Reevaluated::MeasurePredecessor(_) | Reevaluated::Drift(_) => {
                let (dropped, unknown) = (judged.message(), "; its predecessor could not be measured");
                let is_unknown = matches!(judged, Reevaluated::MeasurePredecessor(_));
                self.warn(EventReason::Drifted, format!("{dropped}{}", if is_unknown { unknown } else { "" }));
                self.rest_on(running);
                self.record.drifted = true;
                if let Some(serving) = self.record.champion.as_mut() {
                    serving.drifted_to = score;
                }
                CycleVerdict::Drifted
            }
            Reevaluated::Breach(message) => {
                match self.breach(EventReason::PinnedVersionWorse, measured.predecessor.and_then(recorded), message) {
                    Breached::TakenBack => CycleVerdict::RolledBack,
                    Breached::Stays => CycleVerdict::Worse,
                }
            }
        }
    }

    /// From now on cycles rest on the answers of this one.
    fn rest_on(&mut self, running: &RunningCycle) {
        self.record.evidence = running.series;
    }
}
