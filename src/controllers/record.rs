//! The record of decisions, converted from and to a status: strings there, types of the domain here.
//!
//! A status that was edited manually may contain invalid hashes, scores or amounts. They are read as absent: the champion
//! is then found in the target ConfigMap or among the versions.

use std::str::FromStr;

use crate::api::status::{
    AgentOptimizationStatus, Amount, Challenger, Exhausted, FinishedCycle, Handled, RunningCycle, ScheduleStatus,
    Serving, SignalStatus, VersionRef, Waiting, WatchStatus,
};
use whetstone_decide::lifecycle::{self as decided, Cost, Record, VersionId, Watch};
use whetstone_decide::watch::SignalRecord;
use whetstone_domain::ids::VersionName;
use whetstone_domain::money::Money;
use whetstone_domain::score::Score;
use whetstone_domain::series::RecordedSeries;

/// Reads the record in a status.
#[must_use]
pub(super) fn read(status: &AgentOptimizationStatus) -> Record {
    let AgentOptimizationStatus {
        observed_generation: _,
        phase,
        conditions: _,
        champion,
        predecessor,
        quarantine,
        challenger,
        restarted_for: _,
        base_hash,
        cycle,
        inputs,
        attempts,
        exhausted,
        history,
        cycles,
        watch,
        reevaluated_at,
        reevaluations,
        evidence,
        evidence_since,
        drifted,
        pinned,
        last_number,
        notices: _,
        handled,
        schedule,
        cost,
    } = status;
    Record {
        phase: *phase,
        champion: champion.as_ref().and_then(read_serving),
        predecessor: predecessor.as_ref().and_then(read_id),
        quarantine: quarantine.iter().filter_map(read_id).collect(),
        challenger: challenger.as_ref().and_then(read_challenger),
        base_hash: parsed(base_hash.as_ref()),
        cycle: cycle.as_ref().map(read_cycle),
        inputs: inputs.as_deref().map(Into::into),
        attempts: *attempts,
        exhausted: exhausted.iter().filter_map(read_exhausted).collect(),
        history: history.iter().map(read_finished).collect(),
        cycles: u64::try_from(*cycles).unwrap_or(0),
        watch: watch.as_ref().map(read_watch),
        reevaluated_at: *reevaluated_at,
        reevaluations: *reevaluations,
        evidence: RecordedSeries { number: *evidence, since: *evidence_since },
        drifted: *drifted,
        pinned: *pinned,
        last_number: last_number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
        handled: handled.as_ref().map(read_handled),
        schedule: schedule.as_ref().map(read_schedule),
        cost: cost
            .as_ref()
            .and_then(|cost| Some(Cost { amount: parsed(Some(&cost.amount))?, currency: cost.currency.clone() })),
    }
}

/// The status with a record. Fields that are not part of the record are taken from `before`.
#[must_use]
pub(super) fn write(record: &Record, before: &AgentOptimizationStatus) -> AgentOptimizationStatus {
    let Record {
        phase,
        champion,
        predecessor,
        quarantine,
        challenger,
        base_hash,
        cycle,
        inputs,
        attempts,
        exhausted,
        history,
        cycles,
        watch,
        reevaluated_at,
        reevaluations,
        evidence,
        drifted,
        pinned,
        last_number,
        handled,
        schedule,
        cost,
    } = record;
    AgentOptimizationStatus {
        observed_generation: before.observed_generation,
        phase: *phase,
        conditions: before.conditions.clone(),
        champion: champion.as_ref().map(write_serving),
        predecessor: predecessor.as_ref().map(write_id),
        quarantine: quarantine.iter().map(write_id).collect(),
        challenger: challenger.as_ref().map(write_challenger),
        restarted_for: before.restarted_for.clone(),
        base_hash: base_hash.map(|hash| hash.to_string()),
        cycle: cycle.as_ref().map(|cycle| write_cycle(cycle, before.cycle.as_ref())),
        inputs: inputs.as_ref().map(ToString::to_string),
        attempts: *attempts,
        exhausted: exhausted.iter().map(write_exhausted).collect(),
        history: history.iter().map(write_finished).collect(),
        cycles: i64::try_from(*cycles).unwrap_or(i64::MAX),
        watch: watch.as_ref().map(write_watch),
        reevaluated_at: *reevaluated_at,
        reevaluations: *reevaluations,
        evidence: evidence.number,
        evidence_since: evidence.since,
        drifted: *drifted,
        pinned: *pinned,
        last_number: i64::try_from(*last_number).ok().filter(|number| *number > 0),
        notices: before.notices.clone(),
        handled: handled.as_ref().map(write_handled),
        schedule: schedule.as_ref().map(write_schedule),
        cost: cost
            .as_ref()
            .map(|Cost { amount, currency }| Amount { amount: amount.to_string(), currency: currency.clone() }),
    }
}

fn parsed<T: FromStr>(text: Option<&String>) -> Option<T> {
    text?.parse().ok()
}

/// A score in a status, 0 to 1.
pub(super) fn score(text: Option<&String>) -> Option<Score> {
    Score::new(parsed(text)?)
}

fn name(version: Option<&String>) -> Option<VersionName> {
    version.map(|version| version.as_str().into())
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

fn read_id(VersionRef { version, hash }: &VersionRef) -> Option<VersionId> {
    Some(VersionId { version: version.as_str().into(), hash: hash.parse().ok()? })
}

fn write_id(VersionId { version, hash }: &VersionId) -> VersionRef {
    VersionRef { version: version.to_string(), hash: hash.to_string() }
}

fn read_serving(serving: &Serving) -> Option<decided::Serving> {
    let Serving { version, hash, origin, since, score: last, promoted_with, series, series_since, drifted_to } =
        serving;
    Some(decided::Serving {
        version: version.as_str().into(),
        hash: hash.parse().ok()?,
        origin: *origin,
        since: *since,
        score: score(last.as_ref()),
        promoted_with: score(promoted_with.as_ref()),
        series: series.map(|number| RecordedSeries { number, since: *series_since }),
        drifted_to: score(drifted_to.as_ref()),
    })
}

fn write_serving(serving: &decided::Serving) -> Serving {
    let decided::Serving { version, hash, origin, since, score, promoted_with, series, drifted_to } = serving;
    Serving {
        version: version.to_string(),
        hash: hash.to_string(),
        origin: *origin,
        since: *since,
        score: text(score.as_ref()),
        promoted_with: text(promoted_with.as_ref()),
        series: series.map(|series| series.number),
        series_since: series.and_then(|series| series.since),
        drifted_to: text(drifted_to.as_ref()),
    }
}

fn read_challenger(challenger: &Challenger) -> Option<decided::Challenger> {
    let Challenger { version, hash, awaits_approval, score: last } = challenger;
    Some(decided::Challenger {
        version: version.as_str().into(),
        hash: hash.parse().ok()?,
        awaits_approval: *awaits_approval,
        score: score(last.as_ref()),
    })
}

fn write_challenger(challenger: &decided::Challenger) -> Challenger {
    let decided::Challenger { version, hash, awaits_approval, score } = challenger;
    Challenger {
        version: version.to_string(),
        hash: hash.to_string(),
        awaits_approval: *awaits_approval,
        score: text(score.as_ref()),
    }
}

fn read_cycle(cycle: &RunningCycle) -> decided::RunningCycle {
    let RunningCycle {
        kind,
        cause,
        inputs,
        attempt,
        series,
        series_since,
        requested,
        challenger,
        started_at,
        progress: _,
        waiting,
    } = cycle;
    decided::RunningCycle {
        kind: *kind,
        cause: *cause,
        inputs: inputs.as_str().into(),
        attempt: *attempt,
        series: RecordedSeries { number: *series, since: *series_since },
        requested: requested.clone(),
        challenger: name(challenger.as_ref()),
        started_at: *started_at,
        waiting: waiting.as_ref().map(read_waiting),
    }
}

fn write_cycle(cycle: &decided::RunningCycle, before: Option<&RunningCycle>) -> RunningCycle {
    let decided::RunningCycle { kind, cause, inputs, attempt, series, requested, challenger, started_at, waiting } =
        cycle;
    RunningCycle {
        kind: *kind,
        cause: *cause,
        inputs: inputs.to_string(),
        attempt: *attempt,
        series: series.number,
        series_since: series.since,
        requested: requested.clone(),
        challenger: text(challenger.as_ref()),
        started_at: *started_at,
        progress: before.and_then(|before| before.progress.clone()),
        waiting: waiting.as_ref().map(write_waiting),
    }
}

fn read_waiting(waiting: &Waiting) -> decided::Waiting {
    let Waiting { failures, until, message, needs_a_person } = waiting;
    decided::Waiting { failures: *failures, until: *until, message: message.clone(), needs_a_person: *needs_a_person }
}

fn write_waiting(waiting: &decided::Waiting) -> Waiting {
    let decided::Waiting { failures, until, message, needs_a_person } = waiting;
    Waiting { failures: *failures, until: *until, message: message.clone(), needs_a_person: *needs_a_person }
}

fn read_handled(handled: &Handled) -> decided::Handled {
    let Handled { run_at, approve, rollback_to, message } = handled.clone();
    decided::Handled { run_at, approve, rollback_to, message }
}

fn write_handled(handled: &decided::Handled) -> Handled {
    let decided::Handled { run_at, approve, rollback_to, message } = handled.clone();
    Handled { run_at, approve, rollback_to, message }
}

fn read_schedule(schedule: &ScheduleStatus) -> decided::ScheduleState {
    let ScheduleStatus { handled_until, next } = schedule;
    decided::ScheduleState { handled_until: *handled_until, next: *next }
}

fn write_schedule(schedule: &decided::ScheduleState) -> ScheduleStatus {
    let decided::ScheduleState { handled_until, next } = schedule;
    ScheduleStatus { handled_until: *handled_until, next: *next }
}

fn read_signal(signal: &SignalStatus) -> SignalRecord {
    let SignalStatus { name, state, value, baseline, message, definition, breaches, at } = signal;
    let finite = |text: Option<&String>| parsed(text).filter(|number: &f64| number.is_finite());
    SignalRecord {
        name: name.clone(),
        state: *state,
        value: finite(value.as_ref()),
        baseline: finite(baseline.as_ref()),
        message: message.clone(),
        definition: definition.clone(),
        breaches: *breaches,
        at: *at,
    }
}

fn write_signal(signal: &SignalRecord) -> SignalStatus {
    let SignalRecord { name, state, value, baseline, message, definition, breaches, at } = signal;
    let text = |number: &f64| format!("{number:?}");
    SignalStatus {
        name: name.clone(),
        state: *state,
        value: value.as_ref().map(text),
        baseline: baseline.as_ref().map(text),
        message: message.clone(),
        definition: definition.clone(),
        breaches: *breaches,
        at: *at,
    }
}

fn read_exhausted(exhausted: &Exhausted) -> Option<decided::Exhausted> {
    let Exhausted { id, budget, spent, attempt, challenger } = exhausted;
    Some(decided::Exhausted {
        id: id.clone(),
        budget: budget.parse().ok()?,
        spent: spent.parse().ok()?,
        attempt: *attempt,
        challenger: name(challenger.as_ref()),
    })
}

fn write_exhausted(exhausted: &decided::Exhausted) -> Exhausted {
    let decided::Exhausted { id, budget, spent, attempt, challenger } = exhausted;
    Exhausted {
        id: id.clone(),
        budget: budget.to_string(),
        spent: spent.to_string(),
        attempt: *attempt,
        challenger: text(challenger.as_ref()),
    }
}

fn read_finished(cycle: &FinishedCycle) -> decided::FinishedCycle {
    let FinishedCycle {
        id,
        kind,
        cause,
        started_at,
        ended_at,
        verdict,
        message,
        champion,
        challenger,
        score: measured,
        cost,
        requested,
    } = cycle;
    decided::FinishedCycle {
        id: id.clone(),
        kind: *kind,
        cause: *cause,
        started_at: *started_at,
        ended_at: *ended_at,
        verdict: verdict.clone(),
        message: message.clone(),
        champion: champion.as_str().into(),
        challenger: name(challenger.as_ref()),
        score: score(measured.as_ref()),
        cost: cost.parse().unwrap_or(Money::ZERO),
        requested: requested.clone(),
    }
}

fn write_finished(cycle: &decided::FinishedCycle) -> FinishedCycle {
    let decided::FinishedCycle {
        id,
        kind,
        cause,
        started_at,
        ended_at,
        verdict,
        message,
        champion,
        challenger,
        score,
        cost,
        requested,
    } = cycle;
    FinishedCycle {
        id: id.clone(),
        kind: *kind,
        cause: *cause,
        started_at: *started_at,
        ended_at: *ended_at,
        verdict: verdict.clone(),
        message: message.clone(),
        champion: champion.to_string(),
        challenger: text(challenger.as_ref()),
        score: text(score.as_ref()),
        cost: cost.to_string(),
        requested: requested.clone(),
    }
}

fn read_watch(watch: &WatchStatus) -> Watch {
    let WatchStatus { version, since, until, established, breaches, signals } = watch;
    Watch {
        version: version.as_str().into(),
        since: *since,
        until: *until,
        established: *established,
        breaches: *breaches,
        signals: signals.iter().map(read_signal).collect(),
    }
}

fn write_watch(watch: &Watch) -> WatchStatus {
    let Watch { version, since, until, established, breaches, signals } = watch;
    WatchStatus {
        version: version.to_string(),
        since: *since,
        until: *until,
        established: *established,
        breaches: *breaches,
        signals: signals.iter().map(write_signal).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::hash::ContentHash;

    /// A status of an earlier release with every field set.
    const WHOLE: &str = include_str!("record/status.json");

    #[test]
    fn a_status_is_the_same_after_it_was_read_and_written() {
        let status: AgentOptimizationStatus = serde_json::from_str(WHOLE).unwrap();
        assert_eq!(write(&read(&status), &status), status);
        let fields: serde_json::Value = serde_json::from_str(WHOLE).unwrap();
        assert_eq!(serde_json::to_value(&status).unwrap(), fields, "and so is its JSON");
        let mut schema = schemars::schema_for!(AgentOptimizationStatus).to_value();
        let known = schema["properties"].as_object_mut().unwrap();
        let missing: Vec<&String> = known.keys().filter(|name| fields.get(name.as_str()).is_none()).collect();
        assert_eq!(missing, Vec::<&String>::new(), "the fixture has every field");
    }

    #[test]
    fn what_somebody_has_made_unreadable_is_absent() {
        let mut status: AgentOptimizationStatus = serde_json::from_str(WHOLE).unwrap();
        status.champion.as_mut().unwrap().hash = "edited".to_owned();
        status.predecessor.as_mut().unwrap().hash = String::new();
        status.challenger.as_mut().unwrap().score = Some("NaN".to_owned());
        status.exhausted[0].budget = "much".to_owned();
        status.cost.as_mut().unwrap().amount = "1,5".to_owned();
        status.cycles = -1;
        status.last_number = Some(-7);
        let record = read(&status);
        assert_eq!((&record.champion, &record.predecessor), (&None, &None));
        assert_eq!(record.challenger.unwrap().score, None);
        assert_eq!(record.exhausted.len(), status.exhausted.len() - 1);
        assert_eq!((record.cost, record.cycles, record.last_number), (None, 0, 0));
    }

    #[test]
    fn scores_are_written_to_three_decimals() {
        let id = ContentHash::of_bytes(b"prompt");
        let score = |value: f64| Some(Score::clamped(value));
        let challenger =
            decided::Challenger { version: "v2".into(), hash: id, awaits_approval: false, score: score(2.0 / 3.0) };
        let written = write_challenger(&challenger);
        assert_eq!(written.score.as_deref(), Some("0.667"));
        assert_eq!(read_challenger(&written).unwrap().score, score(2.0 / 3.0).map(Score::recorded));
    }
}
