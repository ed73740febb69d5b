//! The conditions of an optimization, each a pure function of the known state: whether its champion serves, and the results
//! of its last cycles, rollback and signals.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::status::{AgentOptimizationStatus, CycleKind, CycleVerdict, Origin, Serving, SignalState};
use crate::controllers::conditions::{self, Change};
use crate::controllers::resolved::Blocker;
use whetstone_decide::lifecycle::{CycleCondition, EventReason, Note, VersionVerdict};

/// What determines whether an optimization is ready.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness<'a> {
    /// The version that serves, or should.
    pub(super) champion: Option<&'a Serving>,
    /// The problem that prevents it from serving as the spec requires.
    pub(super) blocker: Option<&'a Blocker>,
    /// Whether the target contains its prompt.
    pub(super) is_written: bool,
    /// Whether `Ready` was true before.
    pub(super) was_ready: bool,
    /// What the user should know although it serves.
    pub(super) caveats: &'a [String],
}

impl Readiness<'_> {
    /// `Ready`, `Reconciling` and `Stalled`.
    pub(super) fn conditions(&self) -> [(&'static str, Change); 3] {
        let all = |ready, reconciling, stalled| {
            [(conditions::READY, ready), (conditions::RECONCILING, reconciling), (conditions::STALLED, stalled)]
        };
        let say = |ready, reason: &str, message: &str| {
            (Change::set(ready, reason, message), Change::set("True", reason, message))
        };
        match (self.blocker, self.champion) {
            (Some(Blocker { reason, message, is_transient }), _) => {
                let (ready, why) = say("False", reason, message);
                if *is_transient { all(ready, why, Change::Clear) } else { all(ready, Change::Clear, why) }
            }
            (None, None) => {
                let (ready, why) = say("False", conditions::PENDING, "waiting for a base prompt");
                all(ready, why, Change::Clear)
            }
            (None, Some(champion)) if !self.is_written => {
                let message = format!("{} is being written to the target ConfigMap", champion.version);
                let ready = if self.was_ready { "True" } else { "False" };
                let (ready, why) = say(ready, conditions::APPLYING, &message);
                all(ready, why, Change::Clear)
            }
            (None, Some(champion)) => {
                let score = champion.score.as_ref().map_or(String::new(), |score| format!(", score {score}"));
                let serves = format!("{} serves ({}{score})", champion.version, champion.origin.words());
                let caveats = self.caveats.iter().map(String::as_str);
                let message = std::iter::once(serves.as_str()).chain(caveats).collect::<Vec<_>>().join("; ");
                all(Change::set("True", conditions::SERVING, message), Change::Clear, Change::Clear)
            }
        }
    }
}

/// `Promoted`: the result of the last cycle with a challenger.
pub(super) fn promoted(before: &AgentOptimizationStatus, after: &AgentOptimizationStatus, notes: &[Note]) -> Change {
    let has_ended = after.cycles != before.cycles;
    if !has_ended && after.champion == before.champion {
        return Change::Keep;
    }
    let last = after.history.first();
    let new = new_champion(before, after);
    match new.filter(|new| matches!(new.origin, Origin::Gate | Origin::Approval | Origin::Adopted)) {
        Some(new) => {
            let note = notes.iter().rev().find(|note| note.reason == EventReason::Promoted);
            let message = note.map_or_else(|| format!("{} was promoted", new.version), |note| note.message.clone());
            Change::set("True", "Promoted", message)
        }
        None => match last.filter(|last| has_ended && last.kind != CycleKind::Reevaluate) {
            Some(last) => Change::set("False", last.verdict.as_str(), &*last.message),
            None => Change::Keep,
        },
    }
}

/// `RolledBack`: which version was rolled back, and why; removed when another one serves.
pub(super) fn rolled_back(
    before: &AgentOptimizationStatus,
    after: &AgentOptimizationStatus,
    verdicts: &[VersionVerdict],
) -> Change {
    let Some(champion) = new_champion(before, after) else { return Change::Keep };
    let reason = match champion.origin {
        Origin::Rollback => "Breach",
        Origin::Requested => "Requested",
        Origin::Base | Origin::Found | Origin::Gate | Origin::Approval | Origin::Adopted | Origin::Pin => {
            return Change::Clear;
        }
    };
    let version = after.quarantine.first().map_or("", |it| it.version.as_str());
    let verdict = verdicts.iter().rev().find(|verdict| verdict.version.as_str() == version);
    let why = verdict.and_then(|verdict| verdict.reasons.first()).map_or(String::new(), |why| format!(": {why}"));
    Change::set("True", reason, format!("{version} was rolled back, and {} serves again{why}", champion.version))
}

/// The champion, if its prompt differs from the one before.
fn new_champion<'s>(before: &AgentOptimizationStatus, after: &'s AgentOptimizationStatus) -> Option<&'s Serving> {
    let hash = |status: &AgentOptimizationStatus| status.champion.as_ref().map(|champion| champion.hash.clone());
    after.champion.as_ref().filter(|_| hash(before) != hash(after))
}

/// The messages of the live signals without evidence at their last reading; `None` if no version is watched.
pub(super) fn silent_signals(status: &AgentOptimizationStatus) -> Option<Vec<&str>> {
    let watch = status.watch.as_ref().filter(|watch| !watch.signals.is_empty() && !watch.established)?;
    let silent = watch.signals.iter().filter(|signal| signal.state == SignalState::NoEvidence);
    Some(silent.map(|signal| signal.message.as_str()).collect())
}

/// `SignalsAvailable`: whether every live signal gave evidence at its last reading.
pub(super) fn signals_available(status: &AgentOptimizationStatus) -> Change {
    match silent_signals(status) {
        None => Change::Clear,
        Some(silent) if silent.is_empty() => Change::set("True", "Available", "every signal has a value"),
        Some(silent) => Change::set("False", "NoEvidence", silent.join("; ")),
    }
}

/// A condition that cycles set, such as `BudgetExhausted`: from the note that sets it to the end of a cycle without that note.
pub(super) fn of_cycle(condition: &CycleCondition, has_ended: bool, notes: &[Note]) -> Change {
    match notes.iter().find(|note| note.reason == condition.set_by) {
        Some(note) => Change::set(condition.status, condition.reason, &*note.message),
        None if has_ended => Change::Clear,
        None => Change::Keep,
    }
}

/// `SpecWarnings`: the warnings about the spec; removed when there are none. While the spec has a problem they are not known.
pub(super) fn spec_warnings(warnings: Option<&[String]>) -> Change {
    match warnings {
        None => Change::Keep,
        Some([]) => Change::Clear,
        Some(warnings) => Change::set("True", "Warnings", conditions::cut(&warnings.join("\n"), conditions::MESSAGE)),
    }
}

/// `Degraded`: the champion does worse than it should, and serves anyway.
pub(super) fn degraded(
    condition: Option<&Condition>,
    before: &AgentOptimizationStatus,
    after: &AgentOptimizationStatus,
    notes: &[Note],
    is_pinned: bool,
) -> Change {
    use EventReason::{Drifted, NothingToRollBackTo, PinnedVersionBreaches, PinnedVersionWorse};
    let degrading = [Drifted, PinnedVersionWorse, PinnedVersionBreaches, NothingToRollBackTo];
    if let Some(note) = notes.iter().rev().find(|note| degrading.contains(&note.reason)) {
        return Change::set("True", note.reason.as_str(), &*note.message);
    }
    let Some(condition) = condition else { return Change::Keep };
    let hash = |status: &AgentOptimizationStatus| status.champion.as_ref().map(|champion| champion.hash.clone());
    let last = after.history.first().filter(|_| after.cycles != before.cycles);
    let is_measured = last.is_some_and(|last| last.verdict == CycleVerdict::Measured);
    let is_over = match degrading.into_iter().find(|reason| reason.as_str() == condition.reason) {
        _ if hash(before) != hash(after) => true,
        Some(Drifted) => after.champion.as_ref().is_some_and(|champion| champion.drifted_to.is_none()),
        Some(PinnedVersionWorse) => !is_pinned || is_measured,
        Some(PinnedVersionBreaches) => !is_pinned || after.watch.as_ref().is_none_or(|watch| watch.breaches == 0),
        _ => is_measured,
    };
    if is_over { Change::Clear } else { Change::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_decide::lifecycle::CYCLE_CONDITIONS;

    fn status(yaml: &str) -> AgentOptimizationStatus {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn serving(version: &str, origin: &str) -> AgentOptimizationStatus {
        status(&format!(
            "champion: {{version: {version}, hash: hash-of-{version}, origin: {origin}, since: '2026-11-28T10:00:00Z', score: '0.900'}}"
        ))
    }

    /// The status after a cycle of this kind and verdict, with this version serving.
    fn ended(version: &str, origin: &str, kind: &str, verdict: &str) -> AgentOptimizationStatus {
        let history = status(&format!(
            "cycles: 1\nhistory: [{{kind: {kind}, cause: First, id: a, verdict: {verdict}, message: why, champion: v1, startedAt: '2026-11-28T10:00:00Z', endedAt: '2026-11-28T10:01:00Z', cost: '1'}}]"
        ));
        AgentOptimizationStatus { champion: serving(version, origin).champion, ..history }
    }

    fn note(reason: EventReason) -> Note {
        Note { is_warning: true, reason, message: format!("{} happened", reason.as_str()), origin: None }
    }

    fn blocker(reason: &'static str, is_transient: bool) -> Blocker {
        Blocker { reason, message: "what is wrong".to_owned(), is_transient }
    }

    fn set(status: &'static str, reason: &str, message: &str) -> Change {
        Change::set(status, reason, message)
    }

    fn ready(readiness: Readiness<'_>) -> [Change; 3] {
        readiness.conditions().map(|(_, change)| change)
    }

    #[test]
    fn a_blocker_is_reconciling_while_it_may_pass_and_stalled_while_a_person_must_act() {
        let champion = serving("v2", "Gate").champion;
        let reasons = [
            conditions::INVALID_SPEC,
            conditions::REFERENCE_MISSING,
            conditions::ENDPOINT_REFUSED,
            conditions::PROMPT_TOO_LARGE,
            conditions::TARGET_NOT_OWNED,
            conditions::CYCLE_FAILED,
        ];
        for reason in reasons {
            for champion in [None, champion.as_ref()] {
                let says = |status| set(status, reason, "what is wrong");
                let of = |blocker: &Blocker| {
                    ready(Readiness {
                        champion,
                        blocker: Some(blocker),
                        is_written: true,
                        was_ready: true,
                        caveats: &[],
                    })
                };
                assert_eq!(of(&blocker(reason, true)), [says("False"), says("True"), Change::Clear]);
                assert_eq!(of(&blocker(reason, false)), [says("False"), Change::Clear, says("True")]);
            }
        }
    }

    #[test]
    fn without_a_champion_the_base_prompt_is_awaited() {
        let message = "waiting for a base prompt";
        let expected =
            [set("False", conditions::PENDING, message), set("True", conditions::PENDING, message), Change::Clear];
        assert_eq!(ready(Readiness { is_written: true, was_ready: true, ..Readiness::default() }), expected);
    }

    #[test]
    fn a_champion_that_is_being_written_stays_ready_if_the_one_before_was() {
        let champion = serving("v2", "Gate").champion;
        for (was_ready, status) in [(true, "True"), (false, "False")] {
            let message = "v2 is being written to the target ConfigMap";
            let says = |status| set(status, conditions::APPLYING, message);
            let readiness = Readiness { champion: champion.as_ref(), was_ready, ..Readiness::default() };
            assert_eq!(ready(readiness), [says(status), says("True"), Change::Clear]);
        }
    }

    #[test]
    fn a_champion_that_serves_says_how_it_came_to_and_what_is_wrong_all_the_same() {
        let caveats = ["one".to_owned(), "another".to_owned()];
        let mut champion = serving("v2", "Rollback").champion.unwrap();
        let readiness = |champion: &Serving, caveats: &[String]| {
            ready(Readiness { champion: Some(champion), is_written: true, caveats, ..Readiness::default() })
        };
        let serves = |message| [set("True", conditions::SERVING, message), Change::Clear, Change::Clear];
        let expected = serves("v2 serves (restored by an automatic rollback, score 0.900); one; another");
        assert_eq!(readiness(&champion, &caveats), expected);
        champion.score = None;
        assert_eq!(readiness(&champion, &[]), serves("v2 serves (restored by an automatic rollback)"));
    }

    #[test]
    fn warnings_about_the_spec_are_a_condition_while_there_are_any() {
        let warnings = ["spec.a: one".to_owned(), "spec.b: another".to_owned()];
        assert_eq!(spec_warnings(Some(&warnings)), set("True", "Warnings", "spec.a: one\nspec.b: another"));
        assert_eq!(spec_warnings(Some(&[])), Change::Clear);
        assert_eq!(spec_warnings(None), Change::Keep, "an invalid spec says nothing of them");
        let many = vec!["spec.a: ä".repeat(100); 100];
        let Change::Set { message, .. } = spec_warnings(Some(&many)) else { panic!("no condition") };
        assert_eq!(message.chars().count(), conditions::MESSAGE);
    }

    #[test]
    fn promoted_is_true_for_each_origin_that_is_a_promotion_and_no_other() {
        for origin in ["Gate", "Approval", "Adopted"] {
            let after = ended("v2", origin, "Search", "Promoted");
            let notes = [note(EventReason::CycleEnded), note(EventReason::Promoted)];
            let is_set = set("True", "Promoted", "Promoted happened");
            assert_eq!(promoted(&serving("v1", "Base"), &after, &notes), is_set, "the reason is the decision's own");
            assert_eq!(promoted(&after, &after, &[]), Change::Keep, "it is said once");
        }
        for origin in ["Base", "Found", "Pin", "Rollback", "Requested"] {
            assert_eq!(promoted(&serving("v1", "Gate"), &serving("v2", origin), &[]), Change::Keep, "{origin}");
        }
    }

    #[test]
    fn promoted_is_false_with_the_verdict_of_a_cycle_that_compared_and_did_not_promote() {
        let before = serving("v1", "Base");
        for verdict in ["Kept", "BelowThreshold", "Inconclusive", "Passed", "Worse", "Failed"] {
            for kind in ["Search", "Gate"] {
                let after = ended("v1", "Base", kind, verdict);
                assert_eq!(promoted(&before, &after, &[]), set("False", verdict, "why"), "{kind}");
            }
        }
        let measured = ended("v1", "Base", "Reevaluate", "Measured");
        assert_eq!(promoted(&before, &measured, &[]), Change::Keep, "a re-evaluation compares nothing");
        assert_eq!(promoted(&measured, &measured, &[]), Change::Keep);
    }

    #[test]
    fn rolled_back_names_both_versions_and_the_breach_and_goes_when_another_serves() {
        let before = serving("v2", "Gate");
        let verdict = |version: &str, why: &str| VersionVerdict {
            reasons: vec![why.to_owned()],
            ..VersionVerdict::about(version.into())
        };
        for (origin, reason) in [("Rollback", "Breach"), ("Requested", "Requested")] {
            let mut after = serving("v1", origin);
            after.quarantine = status("quarantine: [{version: v2, hash: hash-of-v2}]").quarantine;
            let message = "v2 was rolled back, and v1 serves again: failures is 0.5";
            let verdicts = [verdict("v2", "failures is 0.5"), verdict("v3", "no")];
            assert_eq!(rolled_back(&before, &after, &verdicts), set("True", reason, message));
            let message = "v2 was rolled back, and v1 serves again";
            assert_eq!(rolled_back(&before, &after, &[]), set("True", reason, message));
            assert_eq!(rolled_back(&after, &after, &[]), Change::Keep, "until another one serves");
            assert_eq!(rolled_back(&after, &serving("v3", "Gate"), &[]), Change::Clear);
        }
    }

    #[test]
    fn signals_are_available_unless_one_gives_no_evidence() {
        let watched = |established: bool, state: &str| {
            status(&format!(
                "watch: {{version: v2, since: '2026-11-28T10:00:00Z', until: '2026-11-28T11:00:00Z', breaches: 0, established: {established}, signals: [{{name: a, state: Ok, at: '2026-11-28T10:00:00Z', message: a is 1}}, {{name: b, state: {state}, at: '2026-11-28T10:00:00Z', message: b has no data}}]}}"
            ))
        };
        let available = set("True", "Available", "every signal has a value");
        assert_eq!(signals_available(&watched(false, "Ok")), available);
        let silent = watched(false, "NoEvidence");
        assert_eq!(signals_available(&silent), set("False", "NoEvidence", "b has no data"));
        assert_eq!(silent_signals(&silent).unwrap().len(), 1);
        assert_eq!(signals_available(&watched(true, "NoEvidence")), Change::Clear, "it is established");
        assert_eq!(signals_available(&serving("v2", "Gate")), Change::Clear, "nothing is watched");
    }

    #[test]
    fn a_budget_is_exhausted_until_a_cycle_ends_within_it() {
        let [exhausted] = &CYCLE_CONDITIONS;
        let of = |has_ended, notes: &[EventReason]| {
            of_cycle(exhausted, has_ended, &notes.iter().copied().map(note).collect::<Vec<_>>())
        };
        let is_set = set("True", "Exhausted", "BudgetExhausted happened");
        assert_eq!(of(true, &[EventReason::CycleEnded, EventReason::BudgetExhausted]), is_set);
        assert_eq!(of(true, &[EventReason::CycleEnded]), Change::Clear);
        assert_eq!(of(false, &[EventReason::CycleFailed]), Change::Keep);
    }

    #[test]
    fn degraded_lasts_until_what_it_says_is_over() {
        let before = serving("v2", "Gate");
        let mut drifted = before.clone();
        drifted.champion.as_mut().unwrap().drifted_to = Some("0.500".to_owned());
        let breaching = |breaches: u32| {
            let watch = status(&format!(
                "watch: {{version: v2, since: '2026-11-28T10:00:00Z', until: '2026-11-28T11:00:00Z', breaches: {breaches}, established: false, signals: []}}"
            ));
            AgentOptimizationStatus { watch: watch.watch, ..before.clone() }
        };
        let measured = ended("v2", "Gate", "Reevaluate", "Measured");
        // The reason, and for an unpinned and a pinned champion: why it stays, and what ends the condition.
        let cases = [
            (EventReason::Drifted, [(&drifted, true), (&drifted, false)], [(&before, false), (&before, true)]),
            (
                EventReason::PinnedVersionWorse,
                [(&before, true), (&drifted, true)],
                [(&before, false), (&measured, true)],
            ),
            (
                EventReason::PinnedVersionBreaches,
                [(&breaching(2), true), (&breaching(1), true)],
                [(&before, false), (&breaching(0), true)],
            ),
            (
                EventReason::NothingToRollBackTo,
                [(&before, true), (&before, false)],
                [(&measured, false), (&measured, true)],
            ),
        ];
        for (reason, keeping, ending) in cases {
            let message = format!("{} happened", reason.as_str());
            let said = degraded(None, &before, &before, &[note(EventReason::CycleEnded), note(reason)], true);
            assert_eq!(said, set("True", reason.as_str(), &message));
            let mut list = conditions::Conditions::of(&[], None, jiff::Timestamp::UNIX_EPOCH);
            list.apply(conditions::DEGRADED, said);
            let list = list.into_list();
            for (after, is_pinned) in keeping {
                assert_eq!(degraded(list.first(), &before, after, &[], is_pinned), Change::Keep, "{reason:?}");
            }
            for (after, is_pinned) in ending {
                assert_eq!(degraded(list.first(), &before, after, &[], is_pinned), Change::Clear, "{reason:?}");
            }
            let another = serving("v3", "Gate");
            assert_eq!(degraded(list.first(), &before, &another, &[], true), Change::Clear, "another one serves");
        }
        assert_eq!(degraded(None, &before, &measured, &[note(EventReason::CycleEnded)], false), Change::Keep);
    }
}
