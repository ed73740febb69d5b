//! What a cycle that has ended changes.

use std::time::Duration;

use super::champion::later;
use super::failure::Failed;
use super::record::Waiting;
use super::record::{Challenger, Cost, Exhausted, FinishedCycle, RunningCycle};
use super::versions::{VersionOrigin, VersionVerdict};
use super::{EventReason, PromptText, Step};
use crate::conclude::Verdict;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{DimensionName, VersionName};
use whetstone_domain::lifecycle::{CycleKind, CycleVerdict, Origin};
use whetstone_domain::lifecycle::{EXHAUSTED, HISTORY};
use whetstone_domain::money::Money;
use whetstone_domain::plan::promotion::Approval;
use whetstone_domain::score::Score;
use whetstone_domain::version::VersionPhase;

/// The first wait after a failure; it doubles from failure to failure.
const FIRST_WAIT: Duration = Duration::from_secs(15);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The most reasons that a version keeps.
const REASONS: usize = 16;
/// A cycle that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// What it was about.
    pub cycle: RunningCycle,
    /// The hash of the prompt that served when it was started.
    pub champion: ContentHash,
    /// What came out.
    pub result: Result<CycleFacts, Failed>,
}

/// What a cycle has found out.
#[derive(Clone, Debug, PartialEq)]
pub enum CycleFacts {
    /// A search or a gate, with its verdict.
    Gated(Gated),
    /// The champion, measured again.
    Remeasured(Remeasured),
    /// The prompt to be gated cannot be parsed in the agent's format. Neither the agent nor a model has failed.
    Unreadable(String),
    /// The budget did not suffice to measure the champion again.
    TooDear(TooDear),
}

/// A measurement that the budget did not suffice for.
#[derive(Clone, Debug, PartialEq)]
pub struct TooDear {
    /// The identity of the cycle, shortened.
    pub id: String,
    /// What was spent, and what would have been.
    pub message: String,
    /// What it has cost.
    pub cost: Money,
    /// The currency.
    pub currency: String,
}

/// A search or a gate, with its verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Gated {
    /// The identity of the cycle, shortened.
    pub id: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Its reasons, the most important one first.
    pub reasons: Vec<String>,
    /// The champion's aggregate score.
    pub champion_score: Option<f64>,
    /// The prompt that was compared with the champion.
    pub challenger: Option<ChallengerFacts>,
    /// What the cycle has cost in all.
    pub cost: Money,
    /// The currency.
    pub currency: String,
    /// The budget, when it was used up.
    pub exhausted: Option<Money>,
}

/// The prompt that was compared with the champion.
#[derive(Clone, Debug, PartialEq)]
pub struct ChallengerFacts {
    /// The name that the cycle gave it.
    pub version: VersionName,
    /// Its prompt.
    pub prompt: PromptText,
    /// The difference from the champion, in unified form.
    pub diff: String,
    /// The clusters that it addresses.
    pub addresses: Vec<String>,
    /// Its aggregate score.
    pub score: Option<f64>,
    /// Its scores by dimension.
    pub dimensions: Vec<(DimensionName, f64)>,
}

/// The champion, measured again with fresh answers on the same scenarios.
#[derive(Clone, Debug, PartialEq)]
pub struct Remeasured {
    /// The identity of the cycle, shortened.
    pub id: String,
    /// Its aggregate score as it is recorded.
    pub then: f64,
    /// Its aggregate score now.
    pub now: f64,
    /// The chance of such a drop when nothing has changed: a one-sided paired test over the scenarios.
    pub p_value: f64,
    /// The predecessor's aggregate score now; measured only when the champion has dropped.
    pub predecessor: Option<f64>,
    /// The chance that it is so far above the champion's if it is no better: the same test.
    pub predecessor_p_value: Option<f64>,
    /// How many scenarios were measured.
    pub scenarios: usize,
    /// What it has cost.
    pub cost: Money,
    /// The currency.
    pub currency: String,
}

/// How a cycle ended, as its line in the history says it.
pub(super) struct Ending {
    /// The short id of the cycle.
    pub(super) id: String,
    /// The verdict.
    pub(super) verdict: CycleVerdict,
    /// The first reason for it.
    pub(super) message: String,
    /// The version that served.
    pub(super) champion: VersionName,
    /// The version that was gated.
    pub(super) challenger: Option<VersionName>,
    /// The aggregate score of the champion.
    pub(super) score: Option<Score>,
    /// What it cost.
    pub(super) cost: Money,
}

impl Step<'_> {
    /// Takes in what a cycle has come to. What was run for other inputs, or against another champion, is no evidence.
    pub(super) fn conclude(&mut self) {
        let Some(ended) = self.situation.ended else { return };
        let Some(running) = self.record.cycle.clone() else { return };
        if !running.is_same(&ended.cycle) || self.situation.wants.suspend {
            return;
        }
        let is_current = self.record.champion.as_ref().is_some_and(|champion| champion.hash == ended.champion);
        // A person may have changed the inputs since. Nothing else may be known of the change yet.
        let is_wanted = self.situation.inputs.is_none_or(|inputs| *inputs == running.inputs);
        if !is_current || !is_wanted {
            self.record.cycle = None;
            return;
        }
        match &ended.result {
            Err(failed) => self.wait_after(running, failed),
            Ok(CycleFacts::Gated(gated)) => {
                self.record.cycle = None;
                self.add_cost(self.not_yet_counted(gated), &gated.currency);
                self.count_attempt(&running);
                self.take_in(&running, gated);
            }
            Ok(CycleFacts::Remeasured(remeasured)) => {
                self.record.cycle = None;
                self.add_cost(remeasured.cost, &remeasured.currency);
                self.judge_remeasured(&running, remeasured);
            }
            Ok(CycleFacts::Unreadable(why)) => {
                self.record.cycle = None;
                self.record.exhausted.retain(|exhausted| exhausted.challenger != running.challenger);
                self.refuse_gated(&running, vec![why.clone()]);
                let version = running.challenger.as_ref().map_or("", VersionName::as_str);
                self.warn(EventReason::VersionRefused, format!("{version} is not gated: {why}"));
            }
            Ok(CycleFacts::TooDear(too_dear)) => {
                self.record.cycle = None;
                self.add_cost(too_dear.cost, &too_dear.currency);
                self.record.reevaluated_at = Some(self.situation.now);
                self.record.reevaluations = self.record.reevaluations.max(running.series.number);
                let (champion, message) = (self.champion_name(), too_dear.message.clone());
                self.warn(EventReason::BudgetExhausted, message.clone());
                let (id, cost) = (too_dear.id.clone(), too_dear.cost);
                let verdict = CycleVerdict::Inconclusive;
                self.remember(&running, Ending { id, verdict, message, champion, challenger: None, score: None, cost });
            }
        }
    }

    /// A cycle that failed is retried with growing delays.
    fn wait_after(&mut self, mut running: RunningCycle, failed: &Failed) {
        let before = running.waiting.take();
        let failures = before.as_ref().map_or(0, |waiting| waiting.failures) + 1;
        let wait = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_WAIT);
        let until = later(self.situation.now, wait);
        if before.is_none_or(|before| before.message != failed.message) {
            self.warn(
                failed.cause.event(),
                format!(
                    "{}; the cycle will be retried, and calls that were already paid for are not repeated",
                    failed.message
                ),
            );
        }
        running.waiting = Some(Waiting {
            failures,
            until,
            message: failed.message.clone(),
            needs_a_person: failed.cause.needs_a_person(),
        });
        self.record.cycle = Some(running);
    }

    fn add_cost(&mut self, cost: Money, currency: &str) {
        let so_far = self.record.cost.as_ref().filter(|so_far| so_far.currency == currency);
        let so_far = so_far.map_or(Money::ZERO, |so_far| so_far.amount);
        self.record.cost = Some(Cost { amount: so_far + cost, currency: currency.to_owned() });
    }

    /// The cost of a cycle, excluding what was already counted when it ran out of its budget.
    fn not_yet_counted(&self, gated: &Gated) -> Money {
        let before = self.record.exhausted.iter().find(|exhausted| exhausted.id == gated.id);
        gated.cost.saturating_sub(before.map_or(Money::ZERO, |before| before.spent))
    }

    fn count_attempt(&mut self, running: &RunningCycle) {
        if running.kind != CycleKind::Search {
            return;
        }
        if self.record.inputs.as_ref() == Some(&running.inputs) {
            self.record.attempts = self.record.attempts.max(running.attempt) + 1;
        } else {
            self.record.inputs = Some(running.inputs.clone());
            self.record.attempts = running.attempt + 1;
        }
    }

    fn take_in(&mut self, running: &RunningCycle, gated: &Gated) {
        let score = gated.champion_score.and_then(recorded);
        if let Some(champion) = self.record.champion.as_mut().filter(|_| score.is_some()) {
            champion.score = score;
        }
        let why = gated.reasons.first().cloned().unwrap_or_default();
        let champion = self.champion_name();
        self.record.exhausted.retain(|exhausted| exhausted.challenger != running.challenger);
        if let Some(budget) = gated.exhausted {
            let exhausted = Exhausted {
                id: gated.id.clone(),
                budget,
                spent: gated.cost,
                attempt: running.attempt,
                challenger: running.challenger.clone(),
            };
            self.record.exhausted.insert(0, exhausted);
            self.record.exhausted.truncate(EXHAUSTED);
        }
        let (version, verdict) = if let Some(challenger) = &gated.challenger {
            let (version, verdict) = self.dispose(running, gated, challenger, &why);
            (Some(version), verdict)
        } else {
            self.refuse_gated(running, gated.reasons.clone());
            (running.challenger.clone(), word(gated.verdict))
        };
        if verdict != CycleVerdict::Promoted {
            let against =
                version.as_ref().map_or(String::new(), |version| format!(" and is not replaced by {version}"));
            let message = match verdict {
                CycleVerdict::Passed => {
                    let version = version.as_ref().map_or("the challenger", VersionName::as_str);
                    format!("{version} passed the gate: {why}")
                }
                _ => format!("{champion} remains the champion{against}: {why}"),
            };
            self.say(
                if verdict == CycleVerdict::Passed { EventReason::GatePassed } else { EventReason::CycleEnded },
                message,
            );
        }
        if gated.exhausted.is_some() {
            self.warn(EventReason::BudgetExhausted, why.clone());
        }
        let (id, cost) = (gated.id.clone(), gated.cost);
        self.remember(running, Ending { id, verdict, message: why, champion, challenger: version, score, cost });
    }

    /// The version that a cycle has gated did not get as far as a comparison. It is not gated again by itself.
    fn refuse_gated(&mut self, running: &RunningCycle, mut reasons: Vec<String>) {
        let Some(version) = running.challenger.clone() else { return };
        self.record.challenger.take_if(|challenger| challenger.version == version);
        reasons.truncate(REASONS);
        let phase = Some(VersionPhase::Rejected);
        self.verdicts.push(VersionVerdict { phase, reasons, ..VersionVerdict::about(version) });
    }

    /// What becomes of the challenger: its version, and the verdict of the cycle in one word.
    fn dispose(
        &mut self,
        running: &RunningCycle,
        gated: &Gated,
        facts: &ChallengerFacts,
        why: &str,
    ) -> (VersionName, CycleVerdict) {
        let parent = Some(self.champion_name());
        let details = (parent, facts.diff.clone(), facts.addresses.clone());
        // A prompt that a person applied keeps the name that it was gated under.
        let version = match &running.challenger {
            Some(gated) => gated.clone(),
            None => self.version_for(&facts.prompt, Some(&facts.version), VersionOrigin::Search, details),
        };
        let score = facts.score.and_then(recorded);
        let dimensions = facts.dimensions.iter();
        let mut entry = VersionVerdict {
            reasons: gated.reasons.clone(),
            score,
            dimensions: dimensions.filter_map(|(name, mean)| Some((name.clone(), recorded(*mean)?))).collect(),
            ..VersionVerdict::about(version.clone())
        };
        if self.record.challenger.as_ref().is_some_and(|challenger| challenger.version == version) {
            self.record.challenger = None;
        }
        let verdict = match gated.verdict {
            Verdict::Promoted | Verdict::Passed if self.is_quarantined(facts.prompt.hash) => {
                entry.phase = Some(VersionPhase::RolledBack);
                entry
                    .reasons
                    .insert(0, "it passed the gate, but was rolled back before and is still quarantined".to_owned());
                CycleVerdict::Kept
            }
            Verdict::Promoted | Verdict::Passed if self.situation.wants.pin.is_some() => {
                entry.phase = Some(VersionPhase::Candidate);
                entry.reasons.insert(0, "it passed the gate, but spec.pin keeps another version".to_owned());
                CycleVerdict::Passed
            }
            Verdict::Promoted | Verdict::Passed if self.situation.wants.approval == Approval::Manual => {
                entry.reasons.insert(0, format!("it passed the gate and is waiting for approval: {why}"));
                self.displace_waiting(&version);
                self.record.challenger = Some(Challenger {
                    version: version.clone(),
                    hash: facts.prompt.hash,
                    awaits_approval: true,
                    score,
                });
                let message = format!(
                    "{version} passed the gate and is waiting for approval: annotate the AgentOptimization with {}={version}, or run \
                     whetstone approve",
                    whetstone_domain::annotations::APPROVE
                );
                self.say(EventReason::AwaitingApproval, message);
                CycleVerdict::Passed
            }
            Verdict::Promoted | Verdict::Passed => {
                self.promote(&version, facts.prompt.hash, Origin::Gate, score, why);
                CycleVerdict::Promoted
            }
            Verdict::Kept | Verdict::BelowThreshold => {
                entry.phase = Some(VersionPhase::Rejected);
                word(gated.verdict)
            }
            // It may be gated again when there is more evidence; the operator does not ask the same question twice by itself.
            Verdict::Inconclusive => {
                entry.phase = Some(VersionPhase::Rejected);
                entry.reasons.insert(0, "the evidence is insufficient".to_owned());
                CycleVerdict::Inconclusive
            }
        };
        entry.reasons.truncate(REASONS);
        self.verdicts.push(entry);
        (version, verdict)
    }

    /// Another version waits for approval from now on: the one that did before is not wanted any more.
    fn displace_waiting(&mut self, by: &VersionName) {
        let Some(before) = self.record.challenger.take().filter(|before| before.awaits_approval) else { return };
        self.verdicts.push(VersionVerdict {
            phase: Some(VersionPhase::Superseded),
            reasons: vec![format!("{by} passed the gate after it, and is waiting for approval instead")],
            ..VersionVerdict::about(before.version)
        });
    }

    /// Adds a cycle that has ended to the history.
    pub(super) fn remember(&mut self, running: &RunningCycle, ending: Ending) {
        let Ending { id, verdict, message, champion, challenger, score, cost } = ending;
        let finished = FinishedCycle {
            id,
            kind: running.kind,
            cause: running.cause,
            started_at: running.started_at,
            ended_at: self.situation.now,
            verdict,
            message,
            champion,
            challenger,
            score,
            cost,
            requested: running.requested.clone(),
        };
        self.record.cycles += 1;
        self.record.history.insert(0, finished);
        self.record.history.truncate(HISTORY);
    }
}

/// A verdict about a champion that stays, in one word.
fn word(verdict: Verdict) -> CycleVerdict {
    match verdict {
        Verdict::Promoted => CycleVerdict::Promoted,
        Verdict::Passed => CycleVerdict::Passed,
        Verdict::Kept => CycleVerdict::Kept,
        Verdict::BelowThreshold => CycleVerdict::BelowThreshold,
        Verdict::Inconclusive => CycleVerdict::Inconclusive,
    }
}

/// A measured score as the record holds it: to three decimals. `None` if it is not a score.
pub(super) fn recorded(score: f64) -> Option<Score> {
    Score::new(score).map(Score::recorded)
}
