//! Which version serves, and everything that changes it.

use jiff::Timestamp;

use super::record::Handled;
use super::record::{Challenger, Record, Serving, VersionId, Watch};
use super::versions::{KnownVersion, VersionOrigin, VersionVerdict};
use super::{EventReason, Obstacle, ObstacleReason, Step};
use crate::watch::{RoundOutcome, unproven};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::VersionName;
use whetstone_domain::lifecycle::Origin;
use whetstone_domain::lifecycle::QUARANTINE;
use whetstone_domain::plan::promotion::OnBaseChange;
use whetstone_domain::score::Score;
use whetstone_domain::version::VersionPhase;

impl Step<'_> {
    /// There is always a version that serves: the one that was found in the target, else the base prompt.
    pub(super) fn serve_something(&mut self) {
        if self.record.champion.is_some() {
            return;
        }
        let serves = |version: &&KnownVersion| version.phase == Some(VersionPhase::Champion) && self.holds(version);
        let champion = self.situation.versions.iter().find(serves);
        if let Some(found) = self.situation.found {
            let proposed = found.version.as_ref();
            let version = self.version_for(&found.prompt, proposed, VersionOrigin::Found, Default::default());
            self.serve(&version, found.prompt.hash, Origin::Found, None);
            self.say_who_serves(
                EventReason::ChampionFound,
                format!("{version} serves: it was found in the target ConfigMap"),
            );
        } else if let Some(champion) = champion {
            self.serve(&champion.version, champion.hash, Origin::Found, None);
            let message = format!("{} serves: its PromptVersion has the phase Champion", champion.version);
            self.say_who_serves(EventReason::ChampionFound, message);
        } else if let Some(base) = self.situation.base {
            let version = self.version_for(base, None, VersionOrigin::Base, Default::default());
            self.serve(&version, base.hash, Origin::Base, None);
            let message = format!("{version} serves: it is the base prompt, and no version has been promoted yet");
            self.say_who_serves(EventReason::BasePromptServes, message);
        }
        self.record.base_hash = self.record.champion.as_ref().and(self.situation.base).map(|base| base.hash);
    }

    fn serve(&mut self, version: &VersionName, hash: ContentHash, origin: Origin, score: Option<Score>) {
        let since = self.situation.now;
        let promoted_with = score.filter(|_| matches!(origin, Origin::Gate | Origin::Approval));
        let score = score.or_else(|| self.known_score(version, hash));
        self.record.champion = Some(Serving {
            version: version.clone(),
            hash,
            origin,
            since,
            score,
            promoted_with,
            series: Some(self.record.evidence),
            drifted_to: None,
        });
    }

    /// Another version serves, and the one that served is its predecessor. A cycle that was run against that one is no
    /// evidence any more.
    fn replace(&mut self, version: &VersionName, hash: ContentHash, origin: Origin, score: Option<Score>) {
        let before = self.record.champion.take();
        if let Some(before) = before.as_ref().filter(|before| before.score.is_some()) {
            // It may have been measured just now, and come back one day.
            let score = before.score;
            self.verdicts.push(VersionVerdict { score, ..VersionVerdict::about(before.version.clone()) });
        }
        self.record.predecessor = before.map(|before| VersionId { version: before.version, hash: before.hash });
        self.serve(version, hash, origin, score);
        self.record.challenger = None;
        self.record.cycle = None;
        self.record.watch = None;
        self.record.drifted = false;
    }

    /// A version that has proved itself serves, and is watched.
    pub(super) fn promote(
        &mut self,
        version: &VersionName,
        hash: ContentHash,
        origin: Origin,
        score: Option<Score>,
        why: &str,
    ) {
        self.replace(version, hash, origin, score);
        self.watch_over(version);
        let before = self.record.predecessor.as_ref().map_or("nothing", |before| before.version.as_str());
        let message = format!("{version} serves instead of {before}: {why}");
        self.say_who_serves(EventReason::Promoted, message);
    }

    fn watch_over(&mut self, version: &VersionName) {
        let now = self.situation.now;
        let Some(window) = self.situation.wants.watch.as_ref().map(|watch| watch.window) else { return };
        self.record.watch = Some(Watch {
            version: version.clone(),
            since: now,
            until: later(now, window),
            established: false,
            breaches: 0,
            signals: Vec::new(),
        });
    }

    /// The champion is taken back for good. The version that serves instead is not watched: there is nothing to go back to.
    fn take_back(&mut self, to: &VersionId, origin: Origin, score: Option<Score>, why: &str) {
        let Some(champion) = self.record.champion.clone() else { return };
        self.record.quarantine.retain(|taken_back| taken_back.hash != champion.hash && taken_back.hash != to.hash);
        let taken_back = VersionId { version: champion.version.clone(), hash: champion.hash };
        self.record.quarantine.insert(0, taken_back);
        self.record.quarantine.truncate(QUARANTINE);
        self.replace(&to.version, to.hash, origin, score);
        self.record.predecessor = None;
        self.verdicts.push(VersionVerdict {
            phase: Some(VersionPhase::RolledBack),
            reasons: vec![why.to_owned()],
            ..VersionVerdict::about(champion.version.clone())
        });
        let message = format!("{} serves again and {} is quarantined: {why}", to.version, champion.version);
        self.say_who_serves(EventReason::RolledBack, message);
    }

    /// What the newest readings of the live signals say.
    pub(super) fn judge_round(&mut self) {
        let Some(watched) = self.situation.round else { return };
        let Some(watch) = self.record.watch.as_mut() else { return };
        // A reading of the version before says nothing about this one.
        if watch.version != watched.version || watch.established {
            return;
        }
        let needed = self.situation.wants.watch.as_ref().map_or(0, |plan| plan.breaches);
        let is_known = watch.breaches >= needed;
        watch.breaches = watched.round.breaches;
        watch.signals.clone_from(&watched.signals);
        if let RoundOutcome::Breach { reasons } = &watched.round.outcome {
            // A pinned version goes on breaching; it is said once.
            if self.situation.wants.pin.is_none() || !is_known {
                self.breach(EventReason::PinnedVersionBreaches, None, &reasons.join("; "));
            }
        }
    }

    /// The champion breaches a limit: its predecessor serves again, if there is one and nobody has pinned the champion. `score` is
    /// the predecessor's, where it was just measured, and `pinned` the reason of what is said of a pinned champion.
    pub(super) fn breach(&mut self, pinned: EventReason, score: Option<Score>, why: &str) -> Breached {
        let Some(champion) = self.record.champion.clone() else { return Breached::Stays };
        if self.situation.wants.pin.is_some() {
            let message = format!("{} would be rolled back, but spec.pin keeps it: {why}", champion.version);
            self.warn(pinned, message);
            return Breached::Stays;
        }
        if let Some(predecessor) = self.record.predecessor.clone() {
            self.take_back(&predecessor, Origin::Rollback, score, why);
            Breached::TakenBack
        } else {
            self.record.watch = None;
            let message =
                format!("{} breaches a limit and has no predecessor to roll back to: {why}", champion.version);
            self.warn(EventReason::NothingToRollBackTo, message);
            Breached::Stays
        }
    }

    /// A changed base prompt is a new candidate, or serves at once.
    pub(super) fn notice_base_change(&mut self) {
        let Some(base) = self.situation.base else { return };
        if self.record.base_hash == Some(base.hash) {
            return;
        }
        let is_first_sight = self.record.base_hash.is_none();
        self.record.base_hash = Some(base.hash);
        let Some(champion) = self.record.champion.clone() else { return };
        // What was found in the target serves, and is no reason to gate the base prompt against it.
        if is_first_sight || champion.hash == base.hash {
            return;
        }
        self.withdraw_earlier_bases(base.hash);
        let parent = Some(champion.version.clone());
        let version = self.version_for(base, None, VersionOrigin::Base, (parent, String::new(), Vec::new()));
        match self.situation.wants.on_base_change {
            OnBaseChange::Adopt if self.situation.wants.pin.is_none() => {
                self.record.quarantine.retain(|taken_back| taken_back.hash != base.hash);
                let why = "the base prompt was changed, and spec.promotion.onBaseChange is Adopt";
                self.promote(&version, base.hash, Origin::Adopted, None, why);
            }
            _ if self.is_quarantined(base.hash) => {
                let message = format!(
                    "the base prompt now has the text of {version}, which was rolled back and is still quarantined; change \
                     the base prompt, or promote {version} anyway with the annotation {}={version}",
                    whetstone_domain::annotations::ROLLBACK_TO
                );
                self.warn(EventReason::BasePromptQuarantined, message);
            }
            _ => {
                self.verdicts.push(VersionVerdict {
                    phase: Some(VersionPhase::Candidate),
                    reasons: vec!["the base prompt was changed, and has to pass the gate".to_owned()],
                    ..VersionVerdict::about(version.clone())
                });
                self.say(
                    EventReason::BasePromptChanged,
                    format!("{version} is the changed base prompt, and has to pass the gate"),
                );
            }
        }
    }

    /// Earlier edits of the base prompt that no gate has seen yet are not wanted any more.
    fn withdraw_earlier_bases(&mut self, hash: ContentHash) {
        let situation = self.situation;
        for earlier in
            situation.versions.iter().filter(|known| known.origin == VersionOrigin::Base && known.hash != hash)
        {
            if matches!(self.phase(earlier), VersionPhase::Candidate | VersionPhase::Challenger) {
                self.record.challenger.take_if(|challenger| challenger.version == earlier.version);
                self.verdicts.push(VersionVerdict {
                    phase: Some(VersionPhase::Superseded),
                    reasons: vec!["the base prompt was changed again before this version was gated".to_owned()],
                    ..VersionVerdict::about(earlier.version.clone())
                });
            }
        }
    }

    /// A person approves the version that has passed the gate.
    pub(super) fn answer_approval(&mut self) {
        let Some(value) = self.situation.wants.approve.clone() else {
            return self.forget(|handled| handled.approve = None);
        };
        if handled(&self.record).approve.as_ref() == Some(&value) {
            return;
        }
        let asked = version_asked_for(&value);
        let waiting = self.record.challenger.clone().filter(|challenger| challenger.awaits_approval);
        let message = match (waiting, &self.situation.wants.pin) {
            (Some(_), Some(pin)) => format!("{asked} is not promoted: spec.pin names {pin}"),
            (Some(Challenger { version, hash, score, .. }), None) if version == asked => {
                self.promote(&version, hash, Origin::Approval, score, "it passed the gate and was approved");
                format!("{version} was approved and serves")
            }
            (Some(challenger), None) => format!("{asked} is not waiting for approval; {} is", challenger.version),
            (None, _) if self.serves(&asked) => format!("{asked} already serves"),
            (None, _) => format!("{asked} is not waiting for approval; no version is"),
        };
        self.acknowledge(|handled| handled.approve = Some(value), message);
    }

    /// A person wants an earlier version back.
    pub(super) fn answer_rollback(&mut self) {
        let Some(value) = self.situation.wants.rollback_to.clone() else {
            return self.forget(|handled| handled.rollback_to = None);
        };
        if handled(&self.record).rollback_to.as_ref() == Some(&value) {
            return;
        }
        let asked = version_asked_for(&value);
        let message = if self.serves(&asked) {
            match self.record.challenger.take_if(|challenger| challenger.awaits_approval) {
                Some(refused) => {
                    self.verdicts.push(VersionVerdict {
                        phase: Some(VersionPhase::Rejected),
                        reasons: vec![format!("rejected by annotation: {asked} keeps serving")],
                        ..VersionVerdict::about(refused.version.clone())
                    });
                    format!("{asked} keeps serving, and {} is rejected", refused.version)
                }
                None => format!("{asked} already serves"),
            }
        } else if let Some(pin) = &self.situation.wants.pin {
            format!("{asked} is not restored: spec.pin names {pin}")
        } else if let Some(hash) = self.hash_of(&asked) {
            let from = self.champion_name();
            let to = VersionId { version: asked.clone(), hash };
            self.take_back(&to, Origin::Requested, None, "requested by annotation");
            format!("{asked} serves again instead of {from}")
        } else {
            format!("there is no version {asked} to roll back to; kubectl get pver lists the versions")
        };
        self.acknowledge(|handled| handled.rollback_to = Some(value), message);
    }

    /// Without its annotation an answer is forgotten: so the same can be asked for again, such as to go back to a version for
    /// the second time.
    fn forget(&mut self, note: impl FnOnce(&mut Handled)) {
        if let Some(handled) = self.record.handled.as_mut() {
            note(handled);
        }
    }

    pub(super) fn acknowledge(&mut self, note: impl FnOnce(&mut Handled), message: String) {
        let handled = self.record.handled.get_or_insert_default();
        note(handled);
        handled.message = Some(message.clone());
        self.say(EventReason::RequestHandled, message);
    }

    /// The version that `spec.pin` names serves. What it has put there is watched once nothing holds it any more.
    pub(super) fn honour_pin(&mut self) {
        let Some(pin) = self.situation.wants.pin.clone() else { return self.unpin() };
        self.record.pinned = true;
        if self.serves(&pin) {
            return;
        }
        if let Some(hash) = self.hash_of(&pin) {
            // Whoever pins it wants it back.
            self.record.quarantine.retain(|taken_back| taken_back.hash != hash);
            self.replace(&pin, hash, Origin::Pin, None);
            self.say_who_serves(EventReason::Pinned, format!("{pin} serves: spec.pin names it"));
        } else {
            let message = format!(
                "spec.pin: there is no version {pin:?}, so {} keeps serving; `kubectl get pver` lists the versions",
                self.champion()
            );
            self.obstacle = Some(Obstacle { reason: ObstacleReason::PinnedVersionUnknown, message });
        }
    }

    fn unpin(&mut self) {
        if !std::mem::take(&mut self.record.pinned) {
            return;
        }
        let Some(champion) = self.record.champion.clone().filter(|champion| champion.origin == Origin::Pin) else {
            return;
        };
        self.watch_over(&champion.version);
        let watched = self.record.watch.as_ref().map_or("", |_| ", and is watched from now on");
        self.say(EventReason::Unpinned, format!("{} keeps serving without a pin{watched}", champion.version));
    }

    /// A version that has come through its window is established, once every signal has been found within its limits: an
    /// outage is no pass.
    pub(super) fn establish(&mut self) {
        let situation = self.situation;
        let Some(watch) = self.record.watch.as_mut() else { return };
        if watch.established {
            return;
        }
        // A watch that nobody can read at the moment has not come to an end.
        let is_unreadable = situation.wants.watch.is_none() && situation.inputs.is_none();
        if is_unreadable {
            return;
        }
        if let Some(plan) = &situation.wants.watch {
            if situation.now < watch.until {
                let until = watch.until;
                return self.wake_at(until);
            }
            if unproven(plan, &watch.signals).is_some() {
                // The next reading is what it waits for.
                return;
            }
        }
        watch.established = true;
        watch.breaches = 0;
        let message = format!(
            "{} is established: its watch, which began at {}, has ended without a rollback",
            watch.version, watch.since
        );
        self.say(EventReason::Established, message);
    }

    /// The name of the version that serves, where one must.
    pub(super) fn champion_name(&self) -> VersionName {
        self.champion().into()
    }

    /// The name of the version that serves, in a sentence.
    pub(super) fn champion(&self) -> &str {
        self.record.champion.as_ref().map_or("nothing", |champion| champion.version.as_str())
    }
}

/// What a breach has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breached {
    /// The predecessor serves again.
    TakenBack,
    /// The champion stays.
    Stays,
}

/// The version in the value of an annotation: what comes after an `@` only makes the value another one than before.
fn version_asked_for(value: &str) -> VersionName {
    value.split_once('@').map_or(value, |(version, _)| version).into()
}

/// The annotations that were acted on.
pub(super) fn handled(record: &Record) -> Handled {
    record.handled.clone().unwrap_or_default()
}

/// A time that is so much later.
pub(super) fn later(at: Timestamp, by: std::time::Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Situation, Wants, next};
    use super::*;

    #[test]
    fn what_was_answered_can_be_asked_again_once_its_annotation_was_away() {
        let serving = |version: &str| Serving {
            version: version.into(),
            hash: ContentHash::of_bytes(version.as_bytes()),
            origin: Origin::Gate,
            since: Timestamp::UNIX_EPOCH,
            score: None,
            promoted_with: None,
            series: None,
            drifted_to: None,
        };
        let asked = Wants { rollback_to: Some("v2".to_owned()), ..Wants::default() };
        let handled =
            Handled { rollback_to: Some("v2".to_owned()), message: Some("x".to_owned()), ..Handled::default() };
        let record = Record { champion: Some(serving("v4")), handled: Some(handled), ..Record::default() };
        let answer = |wants: &Wants, record: &Record| {
            let situation = Situation {
                now: Timestamp::UNIX_EPOCH,
                wants,
                record,
                versions: &[],
                taken: &[],
                remembered: &[],
                base: None,
                found: None,
                inputs: None,
                ended: None,
                round: None,
            };
            next(&situation).record
        };
        assert_eq!(answer(&asked, &record).handled, record.handled, "an answer is given once");
        let without = answer(&Wants::default(), &record);
        assert_eq!(without.handled.as_ref().unwrap().rollback_to, None);
        let again = answer(&asked, &without).handled.unwrap();
        assert_eq!(again.rollback_to.as_deref(), Some("v2"));
        assert!(again.message.unwrap().starts_with("there is no version v2"), "it was looked at again");
    }
}
