//! Which cycle should be under way.

use super::champion::{handled, later};
use super::record::ScheduleState;
use super::record::{Challenger, Exhausted, RunningCycle};
use super::versions::{KnownVersion, NewVersion, VersionOrigin, VersionVerdict};
use super::{EventReason, Step};
use whetstone_domain::ids::VersionName;
use whetstone_domain::lifecycle::{Cause, CycleKind};
use whetstone_domain::plan::promotion::Approval;
use whetstone_domain::series::RecordedSeries;
use whetstone_domain::version::VersionPhase;

impl<'a> Step<'a> {
    /// Decides what should be under way: what is under way already if it still makes sense, else what is due first.
    pub(super) fn set_agenda(&mut self) {
        self.keep_schedule();
        if self.situation.wants.approval == Approval::Automatic {
            // What waited for a person goes through the gate again, which costs nothing, and is promoted by it.
            self.record.challenger.take_if(|challenger| challenger.awaits_approval);
        }
        if self.situation.wants.suspend || self.situation.inputs.is_none() {
            // The record keeps the cycle: it goes on where it was.
            return;
        }
        let mut unanswered = None;
        if self.record.cycle.is_some() && !self.still_makes_sense() {
            unanswered = self.record.cycle.take().and_then(|cycle| cycle.requested);
            self.drop_challenger_in_the_gate();
        }
        if let Some(running) = &self.record.cycle {
            if let Some(until) = running.waiting.as_ref().map(|waiting| waiting.until) {
                // While it is tried again there is nothing to wait for.
                if until > self.situation.now {
                    self.wake_at(until);
                }
            }
            return;
        }
        self.drop_challenger_in_the_gate();
        self.start_what_is_due();
        // A cycle that a person asked for, and whose inputs were changed, is answered by the one that starts instead.
        let search = self.record.cycle.as_mut().filter(|cycle| cycle.kind == CycleKind::Search);
        if let Some(cycle) = search.filter(|cycle| cycle.requested.is_none()) {
            cycle.requested = unanswered;
        }
    }

    /// The cycle of the record is for these inputs, and gates a version that is there.
    fn still_makes_sense(&self) -> bool {
        let Some(running) = &self.record.cycle else { return false };
        let same_inputs = self.situation.inputs == Some(&running.inputs);
        let gated = running.challenger.as_ref();
        let has_challenger =
            gated.is_none_or(|version| self.holder(version).is_some_and(|known| self.waits_for_gate(known)));
        same_inputs && has_challenger
    }

    fn drop_challenger_in_the_gate(&mut self) {
        if self.record.challenger.as_ref().is_some_and(|challenger| !challenger.awaits_approval) {
            self.record.challenger = None;
        }
    }

    fn start_what_is_due(&mut self) {
        let situation = self.situation;
        let wants = situation.wants;
        if let Some(due) = self.reevaluation_due() {
            if due <= situation.now {
                return self.start(CycleKind::Reevaluate, Cause::Watch, None);
            }
            self.wake_at(due);
        }
        // While a promoted prompt is on trial, another promotion would blur what the signals say.
        if self.is_on_trial() {
            return;
        }
        let asked = wants.run_at.clone().filter(|asked| handled(&self.record).run_at.as_ref() != Some(asked));
        // A version that waits for a person is what the next ones will have to beat, or not: they wait with it.
        let awaits = self.record.challenger.as_ref().is_some_and(|challenger| challenger.awaits_approval);
        let may_gate = wants.pin.is_none() && !awaits;
        if may_gate && let Some(known) = self.first_candidate() {
            let cause = match known.origin {
                _ if self.has_room_again(known) => Cause::BudgetRaised,
                VersionOrigin::Base => Cause::BaseChanged,
                _ => Cause::VersionApplied,
            };
            return self.start(CycleKind::Gate, cause, Some(known));
        }
        // A changed base prompt that this very step creates is gated as soon as it is there, and before any search.
        let is_coming = |new: &NewVersion| new.origin == VersionOrigin::Base && !self.serves(&new.version);
        if may_gate && self.create.iter().any(is_coming) {
            return;
        }
        if let Some(asked) = asked {
            self.start(CycleKind::Search, Cause::Requested, None);
            if let Some(cycle) = &mut self.record.cycle {
                cycle.requested = Some(asked.clone());
            }
            return self.acknowledge(|handled| handled.run_at = Some(asked), "a cycle was started".to_owned());
        }
        if wants.pin.is_some() {
            return;
        }
        if self.record.drifted && !awaits {
            self.start(CycleKind::Search, Cause::Drift, None);
        } else if self.record.inputs.as_ref() != situation.inputs {
            let cause = if self.record.inputs.is_none() { Cause::First } else { Cause::InputsChanged };
            self.start(CycleKind::Search, cause, None);
        } else if let Some(attempt) = self.raised(None).filter(|_| !awaits).map(|it| it.attempt) {
            self.start(CycleKind::Search, Cause::BudgetRaised, None);
            // The same attempt goes on.
            if let Some(cycle) = &mut self.record.cycle {
                cycle.attempt = attempt;
            }
        } else if self.schedule_is_due() && !awaits {
            self.start(CycleKind::Search, Cause::Schedule, None);
        }
    }

    /// Notes a cycle as begun. It is under way once the record is committed.
    pub(super) fn start(&mut self, kind: CycleKind, cause: Cause, challenger: Option<&KnownVersion>) {
        let Some(inputs) = self.situation.inputs else { return };
        let attempt = match kind {
            CycleKind::Search if self.record.inputs.as_ref() == Some(inputs) => self.record.attempts,
            CycleKind::Search | CycleKind::Gate | CycleKind::Reevaluate => 0,
        };
        let series = match kind {
            // Fresh answers, whatever else is in the ledger: of a twin, of an earlier life, or of a record that was set back.
            CycleKind::Reevaluate => {
                RecordedSeries { number: self.record.reevaluations + 1, since: Some(self.situation.now) }
            }
            CycleKind::Search | CycleKind::Gate => self.record.evidence,
        };
        if let Some(known) = challenger {
            self.record.challenger = Some(Challenger {
                version: known.version.clone(),
                hash: known.hash,
                awaits_approval: false,
                score: None,
            });
        }
        if kind == CycleKind::Search {
            self.record.drifted = false;
            // Whatever the clock says: a cycle that starts now makes up for those that were missed.
            if let (Some(schedule), Some(due)) = (self.record.schedule.as_mut(), self.situation.wants.schedule) {
                schedule.handled_until = due.passed.unwrap_or(schedule.handled_until);
            }
        }
        self.record.cycle = Some(RunningCycle {
            kind,
            cause,
            inputs: inputs.clone(),
            attempt,
            series,
            requested: None,
            challenger: challenger.map(|known| known.version.clone()),
            started_at: self.situation.now,
            waiting: None,
        });
    }

    /// When the champion is to be measured again.
    fn reevaluation_due(&self) -> Option<jiff::Timestamp> {
        let every = self.situation.wants.watch.as_ref()?.reevaluation?.every;
        let since = self.record.champion.as_ref()?.since;
        Some(later(self.record.reevaluated_at.map_or(since, |last| last.max(since)), every))
    }

    /// The oldest version that waits for the gate. One that cannot be gated is told why.
    fn first_candidate(&mut self) -> Option<&'a KnownVersion> {
        let situation = self.situation;
        let mut waiting: Vec<&'a KnownVersion> =
            situation.versions.iter().filter(|known| self.waits_for_gate(known)).collect();
        waiting.sort_by(|a, b| (a.created, &a.version).cmp(&(b.created, &b.version)));
        for known in waiting {
            let refused = self.refusal(known);
            let Some(reason) = refused else { return Some(known) };
            if self.holds(known) {
                self.record.exhausted.retain(|exhausted| exhausted.challenger.as_ref() != Some(&known.version));
            }
            self.verdicts.push(VersionVerdict {
                object: Some(known.object.clone()),
                phase: Some(VersionPhase::Rejected),
                reasons: vec![reason.clone()],
                ..VersionVerdict::about(known.version.clone())
            });
            // By its object: another one may have the same version.
            self.warn(EventReason::VersionRefused, format!("PromptVersion {} is not gated: {reason}", known.object));
        }
        None
    }

    fn waits_for_gate(&self, known: &KnownVersion) -> bool {
        let holds = self.holds(known);
        let told = self.verdicts.iter().rev().find(|told| told.is_about(known, holds)).and_then(|told| told.phase);
        let phase = told.unwrap_or_else(|| self.phase(known));
        let challenger = self.record.challenger.as_ref();
        let awaits = holds && challenger.is_some_and(|it| it.version == known.version && it.awaits_approval);
        let may_wait = matches!(phase, VersionPhase::Candidate | VersionPhase::Challenger)
            || (holds && phase == VersionPhase::Rejected && self.has_room_again(known));
        !awaits && may_wait
    }

    /// The gate of a version, or the search, if its budget was used up and there is more now.
    fn raised(&self, challenger: Option<&VersionName>) -> Option<&Exhausted> {
        let budget = self.situation.wants.budget;
        let exhausted = self.record.exhausted.iter().find(|exhausted| exhausted.challenger.as_ref() == challenger);
        exhausted.filter(|exhausted| budget.is_none_or(|budget| budget > exhausted.budget))
    }

    /// The gate of a version stopped because its budget was used up, and there is more now.
    fn has_room_again(&self, known: &KnownVersion) -> bool {
        self.raised(Some(&known.version)).is_some()
    }

    /// Why a version is not gated.
    fn refusal(&self, known: &KnownVersion) -> Option<String> {
        if let Some(fault) = &known.fault {
            return Some(fault.clone());
        }
        if let Some(champion) = self.record.champion.as_ref().filter(|champion| champion.hash == known.hash) {
            return Some(format!("its prompt is that of {}, the champion", champion.version));
        }
        if !self.holds(known) {
            let by = self.holder(&known.version).map_or("another prompt", |holder| holder.object.as_str());
            return Some(format!(
                "{by} already has the version {}; apply a new PromptVersion with another spec.version",
                known.version
            ));
        }
        let mut others = self.situation.versions.iter().filter(|other| other.object != known.object);
        if self.is_quarantined(known.hash) {
            return Some(format!(
                "its prompt is that of a version that was rolled back and is quarantined; to promote that version anyway, \
                 annotate the AgentOptimization with {}=VERSION",
                whetstone_domain::annotations::ROLLBACK_TO
            ));
        }
        let before = others.find(|other| other.hash == known.hash && self.phase(other) == VersionPhase::Rejected);
        before.map(|before| format!("its prompt is that of {}, which was rejected", before.version))
    }

    /// Notes the next time of the schedule. A clock that was set back does not make the schedule wait for the future that it
    /// has seen.
    fn keep_schedule(&mut self) {
        let now = self.situation.now;
        let Some(due) = self.situation.wants.schedule else {
            self.record.schedule = None;
            return;
        };
        let before = self.record.schedule.as_ref().map(|schedule| schedule.handled_until);
        let handled_until = before.map_or(now, |before| before.min(now));
        self.record.schedule = Some(ScheduleState { handled_until, next: due.next });
        if let Some(next) = due.next {
            self.wake_at(next);
        }
    }

    fn schedule_is_due(&self) -> bool {
        let (Some(due), Some(schedule)) = (self.situation.wants.schedule, &self.record.schedule) else { return false };
        due.passed.is_some_and(|passed| passed > schedule.handled_until)
    }
}
